// plugin_leaks.c -- whether memory comes back: a type is opened, run and closed again and again on
// this thread alone, so that what the heap holds afterwards can be counted.
#include <malloc.h>
#include <string.h>
#include <time.h>

#include "base/mutex.h"
#include "client/cli/plugin.h"

enum {
    WARM_CYCLES = 8,
    WINDOWS = 8,
    CYCLES = CHECK_OPENED / WINDOWS,
    BATCH = 16,
    NBATCHES = 4,
    CHUNK_BYTES = 32, // the least that malloc() takes from the heap
    ENDING_NS = 5000000,
};

// The scheduler's side of a call that waits.
struct waiter {
    struct bm_call_host host;    // first
    struct bm_deferred deferred; // of the one call
    struct bm_mutex mutex;       // what follows
    struct bm_cond cond;
    bool finished;
    enum bm_result result;
};

static enum bm_result waiter_sleep(struct bm_call_host *host, uint64_t ns)
{
    struct waiter *waiter = (struct waiter *)(void *)host;
    (void)ns; // nobody waits for it here
    waiter->finished = true;
    waiter->result = BM_RESULT_OK;
    return BM_RESULT_PENDING;
}

static struct bm_deferred *waiter_defer(struct bm_call_host *host)
{
    return &((struct waiter *)(void *)host)->deferred;
}

static void waiter_finish(struct bm_deferred *deferred, enum bm_result result)
{
    struct waiter *waiter =
        (struct waiter *)(void *)((char *)deferred - offsetof(struct waiter, deferred));
    bm_mutex_lock(&waiter->mutex);
    waiter->finished = true;
    waiter->result = result;
    bm_cond_signal(&waiter->cond);
    bm_mutex_unlock(&waiter->mutex);
}

static enum bm_result waiter_wait(struct waiter *waiter)
{
    bm_mutex_lock(&waiter->mutex);
    while (!waiter->finished)
        bm_cond_wait(&waiter->cond, &waiter->mutex);
    waiter->finished = false;
    enum bm_result result = waiter->result;
    bm_mutex_unlock(&waiter->mutex);
    return result;
}

static enum bm_status run_batch(const struct bm_pipeline *pipeline, const struct bm_order *order,
                                uint64_t seq, struct waiter *waiter, struct bm_error *err)
{
    struct bm_work work;
    enum bm_status status = bm_work_init(&work, pipeline, order, seq, err);
    if (status != BM_OK)
        return status;
    work.stream = "check";
    work.attempt = 1;
    work.host = &waiter->host;
    enum bm_result result = BM_RESULT_OK;
    for (unsigned step = 0; step < bm_pipeline_nsteps(pipeline) && result == BM_RESULT_OK; step++) {
        result = bm_work_step(&work, step);
        if (result == BM_RESULT_PENDING)
            result = bm_work_resume(&work, step, waiter_wait(waiter));
    }
    bm_work_fini(&work); // failures were looked at before
    return BM_OK;
}

static enum bm_status cycle(const struct check *check, struct waiter *waiter, struct bm_error *err)
{
    struct bm_pipeline *pipeline = NULL;
    struct bm_order order;
    enum bm_status status = check_build(check, &pipeline, err);
    if (status != BM_OK)
        return status;
    const struct bm_order_params params = {
        .batch_size = BATCH, .n_epochs = 1, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    status = bm_order_init(&order, &params, bm_pipeline_source(pipeline)->nitems, err);
    uint64_t nbatches = status == BM_OK ? bm_order_nbatches(&order) : 0;
    for (uint64_t seq = 0; seq < nbatches && seq < NBATCHES && status == BM_OK; seq++)
        status = run_batch(pipeline, &order, seq, waiter, err);
    bm_pipeline_unref(pipeline);
    return status;
}

// A thread of the plug-in that has ended an action holds some memory until it is gone itself.
static int64_t heap_used(const struct check *check)
{
    if (check->action != NULL && check->action->waits)
        nanosleep(&(struct timespec){.tv_nsec = ENDING_NS}, NULL);
    struct mallinfo2 info = mallinfo2();
    return (int64_t)(info.uordblks + info.hblkhd);
}

enum bm_status check_leaks(const struct check *check, int64_t *ret_bytes, struct bm_error *err)
{
    struct waiter waiter = {.host = {.sleep = waiter_sleep, .defer = waiter_defer},
                            .deferred = {.finish = waiter_finish}};
    bm_mutex_init(&waiter.mutex);
    bm_cond_init(&waiter.cond);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < WARM_CYCLES && status == BM_OK; i++)
        status = cycle(check, &waiter, err);
    // A table that grew once is no leak, nor is what the C library keeps for threads: what is lost
    // each time is lost in every window.
    int64_t least = INT64_MAX;
    for (unsigned window = 0; window < WINDOWS && status == BM_OK; window++) {
        int64_t before = heap_used(check);
        for (unsigned i = 0; i < CYCLES && status == BM_OK; i++)
            status = cycle(check, &waiter, err);
        int64_t grown = heap_used(check) - before;
        least = grown < least ? grown : least;
    }
    if (status == BM_OK)
        *ret_bytes = heap_used(check) == 0                   ? -1
                     : least < (int64_t)CYCLES * CHUNK_BYTES ? 0
                                                             : least / CYCLES;
    bm_cond_fini(&waiter.cond);
    bm_mutex_fini(&waiter.mutex);
    return status;
}
