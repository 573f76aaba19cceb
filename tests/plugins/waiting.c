// waiting.c -- a plug-in whose action is done by a thread of its own, while no worker waits. Built
// by tests/integration/plugin.sh.
#include <batchmill/plugin.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

struct twice {
    int number, y;
};

static bool twice_open(struct batchmill_setup *setup, void **ret_self)
{
    struct batchmill_component y = {.name = "y", .dtype = BATCHMILL_FLOAT32};
    struct twice *twice = malloc(sizeof *twice);
    if (twice == NULL)
        return batchmill_refuse(setup, "out of memory");
    twice->number = batchmill_find(setup, "number");
    if (twice->number < 0)
        batchmill_refuse(setup, "expected a component \"number\", got none of that name");
    batchmill_keep_all(setup);
    twice->y = batchmill_write(setup, &y, twice->number);
    *ret_self = twice;
    return true;
}

static void *work(void *context)
{
    struct batchmill_call *call = context;
    const struct twice *twice = call->self;
    enum batchmill_result result = BATCHMILL_RESULT_OK;
    uint64_t n;
    const float *from = batchmill_input(call, twice->number, 0, call->nitems, &n);
    float *to = batchmill_output(call, twice->y, 0, call->nitems, &n);
    for (uint64_t i = 0; i < n && result == BATCHMILL_RESULT_OK; i++) {
        to[i] = 2 * from[i];
        if (isnan(from[i]))
            result = batchmill_fail(call, (int64_t)i, "nobody can double this");
    }
    batchmill_finish(call, result);
    return NULL;
}

static enum batchmill_result twice_run(struct batchmill_call *call)
{
    struct batchmill_call *lasting = batchmill_defer(call);
    pthread_t thread;
    if (lasting == NULL)
        return BATCHMILL_RESULT_FAIL;
    if (pthread_create(&thread, NULL, work, lasting) == 0)
        pthread_detach(thread);
    else
        batchmill_finish(lasting, batchmill_fail(lasting, -1, "cannot start a thread"));
    return BATCHMILL_RESULT_PENDING;
}

static const struct batchmill_action_type twice = {
    .size = sizeof twice,
    .name = "twice",
    .doc = "y = 2 * number.",
    .flags = BATCHMILL_PER_BATCH | BATCHMILL_WAITS | BATCHMILL_ALONE,
    .open = twice_open,
    .close = free,
    .run = twice_run,
};

static enum batchmill_result nap_run(struct batchmill_call *call)
{
    return batchmill_sleep(call, 1000000);
}

static bool nap_open(struct batchmill_setup *setup, void **ret_self)
{
    *ret_self = NULL;
    return batchmill_keep_all(setup);
}

static const struct batchmill_action_type nap = {
    .size = sizeof nap,
    .name = "nap",
    .doc = "Waits for a millisecond.",
    .flags = BATCHMILL_PER_BATCH | BATCHMILL_WAITS,
    .open = nap_open,
    .run = nap_run,
};

static const struct batchmill_action_type *const actions[] = {&twice, &nap, NULL};
static const struct batchmill_plugin plugin = {BATCHMILL_PLUGIN_HEAD, .name = "waiting",
                                               .version = "0", .actions = actions};

const struct batchmill_plugin *batchmill_plugin(unsigned abi)
{
    return abi >= BATCHMILL_PLUGIN_ABI ? &plugin : NULL;
}
