// probe.c -- actions that fail, skip or end at given items: to test a pipeline's consumer with.
#include "actions/types.h"

struct probe {
    struct bm_integers items;
    char *message; // of fail_at
};

#define PARAM_ITEMS(text)                                                                          \
    BM_PARAM(struct probe, items, BM_PARAM_INTEGERS, .required = true, .max = __builtin_inf(),     \
             .doc = text)

static const struct bm_param fail_at_params[] = {
    PARAM_ITEMS("indices in the source: one or a list"),
    BM_PARAM(struct probe, message, BM_PARAM_TEXT, .fallback = "told to fail at this item",
             .doc = "text of the error"),
};
static const struct bm_param item_params[] = {
    PARAM_ITEMS("indices in the source: one or a list"),
};

// The first row that holds one of the items, or -1.
static int64_t probe_find(const struct bm_call *call)
{
    const struct probe *probe = call->config;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        for (unsigned i = 0; i < probe->items.n; i++) {
            if (call->in->items[row] == (uint64_t)probe->items.values[i])
                return (int64_t)row;
        }
    }
    return -1;
}

static enum bm_result fail_at_run(struct bm_call *call)
{
    const struct probe *probe = call->config;
    int64_t row = probe_find(call);
    return row < 0 ? BM_RESULT_OK : bm_call_fail(call, row, BM_UNKNOWN, "%s", probe->message);
}

const struct bm_action_type bm_fail_at_action = {
    .name = "fail_at",
    .doc = "Fails the batch that holds one of these items, with UNKNOWN: to see what a consumer "
           "does about it.",
    .form = BM_PER_BATCH,
    .params = fail_at_params,
    .nparams = sizeof fail_at_params / sizeof fail_at_params[0],
    .config_bytes = sizeof(struct probe),
    .infer = bm_infer_nothing,
    .run = fail_at_run,
};

static enum bm_result skip_at_run(struct bm_call *call)
{
    return probe_find(call) < 0 ? BM_RESULT_OK : BM_RESULT_SKIP;
}

const struct bm_action_type bm_skip_at_action = {
    .name = "skip_at",
    .doc = "Leaves the batch that holds one of these items out of the stream: to see what a "
           "consumer does about it.",
    .form = BM_PER_BATCH,
    .params = item_params,
    .nparams = sizeof item_params / sizeof item_params[0],
    .config_bytes = sizeof(struct probe),
    .infer = bm_infer_nothing,
    .run = skip_at_run,
};

static enum bm_result end_at_run(struct bm_call *call)
{
    return probe_find(call) < 0 ? BM_RESULT_OK : BM_RESULT_END;
}

const struct bm_action_type bm_end_at_action = {
    .name = "end_at",
    .doc = "Ends the stream before the batch that holds one of these items: to see what a "
           "consumer does about it.",
    .form = BM_PER_BATCH,
    .params = item_params,
    .nparams = sizeof item_params / sizeof item_params[0],
    .config_bytes = sizeof(struct probe),
    .infer = bm_infer_nothing,
    .run = end_at_run,
};
