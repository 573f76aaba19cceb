// timing.c -- actions that take time: wait holds no worker, burn keeps one busy.
#include <math.h>
#include <time.h>

#include "actions/types.h"

enum { MS_MAX = 24 * 60 * 60 * 1000, NS_PER_MS = 1000 * 1000 };

// ---- wait ----

struct wait {
    double ms, jitter_ms;
};

static const struct bm_param wait_params[] = {
    BM_PARAM(struct wait, ms, BM_PARAM_FLOAT, .required = true, .max = MS_MAX,
             .doc = "how long every batch waits, in milliseconds"),
    BM_PARAM(struct wait, jitter_ms, BM_PARAM_FLOAT, .fallback = "0", .max = MS_MAX,
             .doc = "up to this much longer, drawn at random for each batch"),
};

static enum bm_result wait_run(struct bm_call *call)
{
    const struct wait *wait = call->config;
    double ms = wait->ms;
    if (wait->jitter_ms > 0 && call->count > 0) {
        struct bm_random random;
        bm_call_random(call, 0, &random);
        ms += wait->jitter_ms * bm_random_uniform(&random);
    }
    return bm_call_sleep(call, (uint64_t)llround(ms * NS_PER_MS));
}

// Not `random`: what it draws does not reach the bytes of the batch.
const struct bm_action_type bm_wait_action = {
    .name = "wait",
    .doc = "Waits without holding a worker, as for a slow disk or a remote answer. A lock that it "
           "uses stays held meanwhile.",
    .form = BM_PER_BATCH,
    .waits = true,
    .params = wait_params,
    .nparams = sizeof wait_params / sizeof wait_params[0],
    .config_bytes = sizeof(struct wait),
    .infer = bm_infer_nothing,
    .run = wait_run,
};

// ---- burn ----

struct burn {
    double ms;
};

static const struct bm_param burn_params[] = {
    BM_PARAM(struct burn, ms, BM_PARAM_FLOAT, .required = true, .max = MS_MAX,
             .doc = "how much processor time every batch takes, in milliseconds"),
};

// The engine reads no clock: nothing it decides may hang on one. This is the work itself, told in
// the thread's own processor time, so that it is the same amount on a machine that is busy.
static double burn_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / NS_PER_MS;
}

static enum bm_result burn_run(struct bm_call *call)
{
    const struct burn *burn = call->config;
    if (burn->ms == 0)
        return BM_RESULT_OK;
    double end_ms = burn_now_ms() + burn->ms;
    while (burn_now_ms() < end_ms) {
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_burn_action = {
    .name = "burn",
    .doc = "Keeps a worker busy, as heavy arithmetic would.",
    .form = BM_PER_BATCH,
    .params = burn_params,
    .nparams = sizeof burn_params / sizeof burn_params[0],
    .config_bytes = sizeof(struct burn),
    .infer = bm_infer_nothing,
    .run = burn_run,
};
