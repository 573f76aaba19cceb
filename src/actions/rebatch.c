// rebatch.c -- where batches of one size become batches of another.
#include "actions/types.h"
#include "data/order.h"

struct rebatch {
    int64_t from;
};

static const struct bm_param rebatch_params[] = {
    BM_PARAM(struct rebatch, from, BM_PARAM_INTEGER, .required = true, .min = 1,
             .max = BM_BATCH_SIZE_MAX,
             .doc = "items of a batch before it; the last one of each batch behind it may have "
                    "fewer"),
};

static enum bm_status rebatch_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                    struct bm_error *err)
{
    (void)ret_plan;
    infer->gathers = (uint64_t)((const struct rebatch *)config)->from;
    return bm_infer_keep_all(infer, err);
}

// The pipeline sees to the rest: src/pipeline/rebatched.c.
const struct bm_action_type bm_rebatch_action = {
    .name = "rebatch",
    .doc = "The actions before it work on batches of `from` items, those behind it on batches of "
           "the size that the stream asks for, in the same order. A batch goes through an action "
           "with a lock as a whole.",
    .form = BM_PER_BATCH,
    .params = rebatch_params,
    .nparams = sizeof rebatch_params / sizeof rebatch_params[0],
    .config_bytes = sizeof(struct rebatch),
    .infer = rebatch_infer,
    .run = bm_run_nothing,
};
