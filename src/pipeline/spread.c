// spread.c -- one step of a batch, its rows taken by several workers.
#include <stdlib.h>

#include "base/mutex.h"
#include "pipeline/internal.h"

struct bm_spread {
    struct chain chain;
    unsigned npieces;
    atomic_uint nclaimed;
    // Of the failed pieces the first one counts, as it would have been the first to fail on one
    // worker. Those behind it need not run, those before it must.
    atomic_uint failed_piece; // npieces: none
    struct bm_mutex mutex;    // of what follows
    enum bm_result result;
    struct bm_error error;
    struct chain_failure failure;
};

struct bm_spread *bm_spread_new(struct bm_work *work, unsigned step, unsigned npieces)
{
    BM_ASSERT(bm_pipeline_step_spreads(work->pipeline, step) && npieces > 0);
    struct bm_spread *spread = malloc(sizeof *spread);
    struct bm_error unused;
    struct chain_failure failure = {.error = &unused};
    if (spread == NULL)
        return NULL;
    dropped_begin(work, &work->pipeline->steps[step]);
    if (chain_init(&spread->chain, work, &work->pipeline->steps[step], &failure) != BM_RESULT_OK) {
        // Taken back, so that one worker may try it: it says what is missing.
        chain_undo(&spread->chain);
        free(spread);
        return NULL;
    }
    spread->npieces = npieces;
    spread->result = BM_RESULT_OK;
    spread->error.status = BM_OK;
    spread->failure = (struct chain_failure){.error = &spread->error};
    atomic_init(&spread->nclaimed, 0);
    atomic_init(&spread->failed_piece, npieces);
    bm_mutex_init(&spread->mutex);
    return spread;
}

bool bm_spread_claim(struct bm_spread *spread, unsigned *ret_piece)
{
    if (atomic_load_explicit(&spread->nclaimed, memory_order_relaxed) >= spread->npieces)
        return false;
    *ret_piece = atomic_fetch_add_explicit(&spread->nclaimed, 1, memory_order_relaxed);
    return *ret_piece < spread->npieces;
}

// The pieces differ by one row at most.
static struct bm_range spread_rows(const struct bm_spread *spread, unsigned piece)
{
    uint64_t n = spread->chain.batches[0].nitems, each = n / spread->npieces;
    uint64_t longer = n % spread->npieces; // as many as have one row more; they come first
    uint64_t before = piece < longer ? piece : longer;
    return (struct bm_range){piece * each + before, each + (piece < longer)};
}

uint64_t bm_spread_run(struct bm_spread *spread, unsigned piece)
{
    const struct bm_range rows = spread_rows(spread, piece);
    struct bm_error error = {.status = BM_OK};
    struct chain_failure failure = {.error = &error};
    if (piece > atomic_load_explicit(&spread->failed_piece, memory_order_relaxed))
        return 0;
    enum bm_result result = chain_run(&spread->chain, &rows, &failure);
    if (result == BM_RESULT_OK)
        return rows.count;
    bm_mutex_lock(&spread->mutex);
    if (piece < atomic_load_explicit(&spread->failed_piece, memory_order_relaxed)) {
        atomic_store_explicit(&spread->failed_piece, piece, memory_order_relaxed);
        spread->result = result;
        spread->error = error;
        spread->failure.action = failure.action;
        spread->failure.row = failure.row;
    }
    bm_mutex_unlock(&spread->mutex);
    return 0;
}

enum bm_result bm_spread_end(struct bm_spread *spread)
{
    struct bm_work *work = spread->chain.work;
    enum bm_result result = spread->result;
    if (result == BM_RESULT_FAIL) {
        work->error = spread->error;
        work_fail(work, spread->failure.action, spread->failure.row);
    }
    const struct step *step = spread->chain.step;
    chain_fini(&spread->chain);
    bm_mutex_fini(&spread->mutex);
    free(spread);
    return result == BM_RESULT_OK ? dropped_end(work, step) : result;
}
