#include "run/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/list.h"
#include "base/mutex.h"

struct worker {
    struct bm_pool *pool;
    pthread_t thread;
    unsigned index;
};

struct bm_pool {
    struct bm_executor base;
    struct bm_mutex mutex; // everything below, and the scheduler
    struct bm_scheduler *scheduler;
    void (*flush)(void *context);
    void *flush_context;
    struct bm_cond work; // a job can be picked, or the pool stops
    unsigned nready;     // jobs that can be picked, at most
    unsigned nidle;      // workers that wait for `work`
    unsigned nwoken;     // of those, how many were signalled and are not awake yet
    struct bm_cond due;  // the first timer changed, or the pool stops
    struct bm_heap timers;
    bool stopping, timing;
    pthread_t timer_thread;
    unsigned nworkers, nstarted;
    struct worker workers[];
};

static struct bm_pool *pool_of(struct bm_executor *executor)
{
    return BM_CONTAINER(executor, struct bm_pool, base);
}

static void pool_lock(struct bm_pool *pool) BM_ACQUIRES(pool->mutex)
{
    bm_mutex_lock(&pool->mutex);
}

// How many workers to wake: as many as there are jobs for, beside those that are on their way.
static unsigned pool_take_wakes(struct bm_pool *pool) BM_REQUIRES(pool->mutex)
{
    unsigned asleep = pool->nidle - pool->nwoken;
    unsigned wanted = pool->nready > pool->nwoken ? pool->nready - pool->nwoken : 0;
    unsigned wakes = wanted < asleep ? wanted : asleep;
    pool->nwoken += wakes;
    return wakes;
}

// Carries out, without the mutex, what was decided under it. Workers are woken here and not at
// once: whoever has the mutex may take the job himself, and they would only run into the mutex.
static void pool_unlock(struct bm_pool *pool) BM_RELEASES(pool->mutex)
{
    unsigned wakes = pool_take_wakes(pool);
    struct bm_outcome *garbage =
        pool->scheduler == NULL ? NULL : bm_scheduler_garbage(pool->scheduler);
    void (*flush)(void *) = pool->flush;
    void *context = pool->flush_context;
    bm_mutex_unlock(&pool->mutex);
    while (wakes-- > 0)
        bm_cond_signal(&pool->work);
    bm_outcomes_free(garbage);
    if (flush != NULL)
        flush(context);
}

// Called through the executor's table, where the analysis cannot follow.
BM_UNCHECKED static void pool_enter(struct bm_executor *self)
{
    pool_lock(pool_of(self));
}

BM_UNCHECKED static void pool_leave(struct bm_executor *self)
{
    pool_unlock(pool_of(self));
}

static void pool_wake(struct bm_executor *self)
{
    pool_of(self)->nready++; // pool_unlock() does it
}

static void pool_disarm(struct bm_executor *self, struct bm_timer *timer)
{
    if (timer->node.queued)
        bm_heap_remove(&pool_of(self)->timers, &timer->node);
}

static void pool_arm(struct bm_executor *self, struct bm_timer *timer, uint64_t due_ns)
{
    struct bm_pool *pool = pool_of(self);
    pool_disarm(self, timer);
    bm_heap_insert(&pool->timers, &timer->node, due_ns);
    if (bm_heap_first(&pool->timers) == &timer->node)
        bm_cond_signal(&pool->due);
}

// The next job, or NULL: then there is none, whatever was thought.
static struct bm_job *pool_pick(struct bm_pool *pool, unsigned worker) BM_REQUIRES(pool->mutex)
{
    struct bm_job *job = bm_scheduler_pick(pool->scheduler, worker);
    pool->nready = job == NULL || pool->nready == 0 ? 0 : pool->nready - 1;
    return job;
}

static void worker_sleep(struct bm_pool *pool) BM_REQUIRES(pool->mutex)
{
    pool->nidle++;
    bm_cond_wait(&pool->work, &pool->mutex);
    pool->nidle--;
    if (pool->nwoken > 0)
        pool->nwoken--;
}

// Gives back its job and takes the next one in one go: a batch whose steps need no decision costs
// the mutex once.
static void *worker_main(void *context)
{
    struct worker *worker = context;
    struct bm_pool *pool = worker->pool;
    struct bm_job *job = NULL;
    bool decided = false; // something that pool_unlock() has to carry out
    pool_lock(pool);
    for (;;) {
        if (job != NULL)
            job = bm_job_done(job);
        if (job == NULL)
            job = pool->stopping ? NULL : pool_pick(pool, worker->index);
        if (job != NULL) {
            pool_unlock(pool);
            while (bm_job_begin(job) && bm_job_step(job))
                ;
            pool_lock(pool);
            decided = true;
        } else if (decided) { // nobody else may do it while this worker sleeps
            pool_unlock(pool);
            pool_lock(pool);
            decided = false;
        } else if (pool->stopping) {
            break;
        } else {
            worker_sleep(pool);
        }
    }
    pool_unlock(pool);
    return NULL;
}

// Fires what is due; between two timers the mutex is given back, so that a burst of them does
// not keep the workers out.
static void *timer_main(void *context)
{
    struct bm_pool *pool = context;
    struct bm_clock *clock = pool->base.clock;
    // Linux wakes a thread up to 50 us late, to wake several at once.
    (void)prctl(PR_SET_TIMERSLACK, 1UL);
    pool_lock(pool);
    while (!pool->stopping) {
        struct bm_heap_node *first = bm_heap_first(&pool->timers);
        if (first == NULL) {
            bm_cond_wait(&pool->due, &pool->mutex);
        } else if (first->key > clock->now_ns(clock)) {
            bm_cond_wait_until(&pool->due, &pool->mutex, first->key);
        } else {
            bm_heap_remove(&pool->timers, first);
            struct bm_timer *timer = BM_CONTAINER(first, struct bm_timer, node);
            timer->fire(timer);
            pool_unlock(pool);
            pool_lock(pool);
        }
    }
    pool_unlock(pool);
    return NULL;
}

enum bm_status bm_pool_new(unsigned nworkers, struct bm_pool **ret_pool, struct bm_error *err)
{
    if (nworkers < 1 || nworkers > BM_WORKERS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "workers", "expected 1 to %d, got %u",
                       BM_WORKERS_MAX, nworkers);
    struct bm_pool *pool = calloc(1, sizeof *pool + nworkers * sizeof pool->workers[0]);
    if (pool == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, "workers", "out of memory for %u", nworkers);
    pool->base = (struct bm_executor){
        .wake = pool_wake,
        .arm = pool_arm,
        .disarm = pool_disarm,
        .enter = pool_enter,
        .leave = pool_leave,
        .clock = bm_clock_system(),
    };
    bm_mutex_init(&pool->mutex);
    bm_cond_init(&pool->work);
    bm_cond_init(&pool->due);
    pool->nworkers = nworkers;
    *ret_pool = pool;
    return BM_OK;
}

struct bm_executor *bm_pool_executor(struct bm_pool *pool)
{
    return &pool->base;
}

void bm_pool_set_flush(struct bm_pool *pool, void (*flush)(void *context), void *context)
{
    bm_mutex_lock(&pool->mutex);
    pool->flush = flush;
    pool->flush_context = context;
    bm_mutex_unlock(&pool->mutex);
}

enum bm_status bm_pool_start(struct bm_pool *pool, struct bm_scheduler *scheduler,
                             struct bm_error *err)
{
    // Signals are for the program's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pool->scheduler = scheduler;
    int failed = pthread_create(&pool->timer_thread, NULL, timer_main, pool);
    pool->timing = failed == 0;
    for (unsigned i = 0; i < pool->nworkers && failed == 0; i++) {
        pool->workers[i] = (struct worker){.pool = pool, .index = i};
        failed = pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]);
        if (failed == 0)
            pool->nstarted++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0)
        return BM_OK;
    unsigned started = pool->nstarted;
    bm_pool_stop(pool);
    errno = failed; // for %m
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, "workers", "cannot start thread %u of %u: %m",
                   started + 1, pool->nworkers);
}

void bm_pool_stop(struct bm_pool *pool)
{
    bm_mutex_lock(&pool->mutex);
    pool->stopping = true;
    bm_cond_broadcast(&pool->work);
    bm_cond_broadcast(&pool->due);
    bm_mutex_unlock(&pool->mutex);
    for (unsigned i = 0; i < pool->nstarted; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pool->nstarted = 0;
    if (pool->timing)
        pthread_join(pool->timer_thread, NULL);
    pool->timing = false;
}

void bm_pool_free(struct bm_pool *pool)
{
    if (pool == NULL)
        return;
    BM_ASSERT(pool->nstarted == 0 && !pool->timing);
    bm_cond_fini(&pool->due);
    bm_cond_fini(&pool->work);
    bm_mutex_fini(&pool->mutex);
    free(pool);
}

unsigned bm_pool_nworkers(const struct bm_pool *pool)
{
    return pool->nworkers;
}
