#include "run/outcome.h"

#include <stdlib.h>

struct bm_outcome *bm_outcome_new(uint64_t seq, unsigned nspans)
{
    struct bm_outcome *outcome = calloc(1, sizeof *outcome);
    if (outcome == NULL)
        return NULL;
    if (nspans > 0) {
        outcome->spans = calloc(nspans, sizeof *outcome->spans);
        if (outcome->spans == NULL) {
            free(outcome);
            return NULL;
        }
    }
    outcome->seq = seq;
    outcome->nspans = nspans;
    atomic_init(&outcome->refs, 1);
    return outcome;
}

struct bm_outcome *bm_outcome_ref(struct bm_outcome *outcome)
{
    atomic_fetch_add_explicit(&outcome->refs, 1, memory_order_relaxed);
    return outcome;
}

struct bm_outcome *bm_outcome_unref(struct bm_outcome *outcome)
{
    if (outcome != NULL &&
        atomic_fetch_sub_explicit(&outcome->refs, 1, memory_order_acq_rel) == 1) {
        if (outcome->pipeline != NULL)
            bm_work_fini(&outcome->work);
        bm_pipeline_unref(outcome->pipeline);
        free(outcome->spans);
        free(outcome);
    }
    return NULL;
}
