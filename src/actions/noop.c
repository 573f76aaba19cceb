// noop.c -- the action that does nothing, and the parts of others that do.
#include "actions/types.h"

enum bm_status bm_infer_nothing(const void *config, struct bm_infer *infer, void **ret_plan,
                                struct bm_error *err)
{
    (void)config, (void)ret_plan;
    return bm_infer_keep_all(infer, err);
}

enum bm_result bm_run_nothing(struct bm_call *call)
{
    (void)call;
    return BM_RESULT_OK;
}

const struct bm_action_type bm_noop_action = {
    .name = "noop",
    .doc = "Does nothing: to measure what an action costs.",
    .form = BM_PER_ITEM,
    .infer = bm_infer_nothing,
    .run = bm_run_nothing,
};
