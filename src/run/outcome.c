#include "run/outcome.h"

#include <stdlib.h>
#include <string.h>

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

void bm_outcome_again(struct bm_outcome *outcome, uint64_t seq)
{
    BM_ASSERT(!bm_outcome_shared(outcome));
    outcome->seq = seq;
    outcome->epoch = outcome->nitems = outcome->bytes = 0;
    outcome->finished_ns = 0;
    outcome->next = NULL;
    if (outcome->nspans > 0)
        memset(outcome->spans, 0, outcome->nspans * sizeof *outcome->spans);
}

// Whoever gave up a reference has done so before this thread goes on.
bool bm_outcome_shared(const struct bm_outcome *outcome)
{
    return atomic_load_explicit(&outcome->refs, memory_order_acquire) > 1;
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
