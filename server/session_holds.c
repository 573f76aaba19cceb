// Batches that a client sees in our memory.
#include <stdlib.h>

#include "server/session_internal.h"

enum { HOLDS_MAX = 2 * BM_SHARED_HELD_MAX }; // a client may have lost some of them

static bool outcome_maps(const struct bm_outcome *outcome)
{
    if (outcome->kind != BM_OUTCOME_BATCH)
        return false;
    const struct bm_batch *batch = &outcome->work.batch;
    for (unsigned c = 0; c < batch->schema->ncomponents; c++) {
        if (bm_batch_maps(batch, c))
            return true;
    }
    return false;
}

static bool holds_have_room(struct session_holds *holds)
{
    if (holds->n < holds->room)
        return true;
    if (holds->room == HOLDS_MAX)
        return false;
    unsigned room = holds->room == 0 ? 8 : 2 * holds->room;
    struct bm_outcome **list = realloc(holds->list, room * sizeof(struct bm_outcome *));
    if (list == NULL)
        return false;
    holds->list = list;
    holds->room = room;
    return true;
}

bool session_holds_add(struct session_holds *holds, struct bm_outcome *outcome, bool *ret_new)
{
    *ret_new = false;
    if (!outcome_maps(outcome))
        return true;
    for (unsigned i = holds->n; i > 0; i--) {
        if (holds->list[i - 1] == outcome)
            return true; // asked for again
    }
    if (!holds_have_room(holds) || !bm_scheduler_keep(holds->scheduler, outcome))
        return false;
    holds->list[holds->n++] = outcome;
    *ret_new = true;
    return true;
}

static int seq_compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static bool request_holds(const struct bm_next_request *next, uint64_t seq)
{
    return next->nheld > 0 &&
           bsearch(&seq, next->held, next->nheld, sizeof next->held[0], seq_compare) != NULL;
}

void session_holds_settle(struct session_holds *holds, const struct bm_next_request *next)
{
    struct bm_outcome *done[HOLDS_MAX];
    unsigned ndone = 0, kept = 0;
    for (unsigned i = 0; i < holds->n; i++) {
        struct bm_outcome *outcome = holds->list[i];
        if (outcome->seq >= next->ack || request_holds(next, outcome->seq))
            holds->list[kept++] = outcome;
        else
            done[ndone++] = outcome;
    }
    holds->n = kept;
    // Memory that comes free may let streams go on, and so change the holds.
    for (unsigned i = 0; i < ndone; i++)
        bm_scheduler_give_back(holds->scheduler, done[i]);
}

static void outcome_taint(struct bm_outcome *outcome)
{
    const struct bm_batch *batch = &outcome->work.batch;
    for (unsigned c = 0; c < batch->schema->ncomponents; c++) {
        if (bm_batch_maps(batch, c))
            bm_block_taint(batch->tensors[c].block);
    }
}

void session_holds_fini(struct session_holds *holds, bool seen)
{
    for (unsigned i = 0; seen && i < holds->n; i++)
        outcome_taint(holds->list[i]);
    while (holds->n > 0)
        bm_scheduler_give_back(holds->scheduler, holds->list[--holds->n]);
    free(holds->list);
}
