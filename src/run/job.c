#include "run/internal.h"

// The life of one batch, in the order the seed tells it.
//
//   FREE -> READY -> RUNNING -> DONE -> FREE
//            ^  ^     |  |  |
//            |  |     |  |  +--> WAITING --+     an action waits, no worker does
//            |  +-----|--|-----------------+
//            |        v
//            +----- PARKED                       its lock is taken; granted by the holder
//
// A job goes from step to step without leaving its worker, until a lock, a wait or the end needs
// a decision. Whoever is dropped (closed stream, beyond the end) goes to DONE from wherever it is,
// at once or at its next boundary, and gives its lock back on the way.
static const struct bm_state_rule job_rules[JOB_NSTATES] = {
    [JOB_FREE] = {"free", BM_TO(JOB_READY) | BM_TO(JOB_PARKED) | BM_TO(JOB_DONE)},
    [JOB_READY] = {"ready", BM_TO(JOB_RUNNING) | BM_TO(JOB_DONE)},
    [JOB_PARKED] = {"parked", BM_TO(JOB_READY) | BM_TO(JOB_DONE)},
    [JOB_RUNNING] = {"running", BM_TO(JOB_PARKED) | BM_TO(JOB_WAITING) | BM_TO(JOB_DONE)},
    [JOB_WAITING] = {"waiting", BM_TO(JOB_READY) | BM_TO(JOB_DONE)},
    [JOB_DONE] = {"done", BM_TO(JOB_FREE)},
};

// The only writer of job->state; keeps the figures of bm_scheduler_status() along the way.
static void job_move(struct bm_job *job, enum job_state next)
{
    struct bm_scheduler *scheduler = job->stream->scheduler;
    unsigned *figures[JOB_NSTATES] = {
        [JOB_READY] = &scheduler->nready,
        [JOB_PARKED] = &scheduler->nparked,
        [JOB_RUNNING] = &scheduler->nrunning,
        [JOB_WAITING] = &scheduler->nwaiting,
    };
    if (figures[job->state] != NULL)
        --*figures[job->state];
    job->state = (enum job_state)bm_state_next(job_rules, (int)job->state, (int)next);
    if (figures[job->state] != NULL)
        ++*figures[job->state];
}

static struct bm_lock *job_lock(const struct bm_job *job) // of the step it is at, or NULL
{
    return job->stream->locks[job->step];
}

static bool job_is_dropped(const struct bm_job *job)
{
    return atomic_load_explicit(&job->dropped, memory_order_relaxed);
}

static uint64_t job_now(const struct bm_job *job)
{
    struct bm_clock *clock = job->stream->scheduler->executor->clock;
    return clock->now_ns(clock);
}

static struct bm_span *job_span(const struct bm_job *job) // of the current step; NULL: not traced
{
    struct bm_outcome *outcome = job->outcome;
    return outcome->spans == NULL ? NULL : &outcome->spans[job->step];
}

// ---- Between steps, with the mutex ----

// The outcome is known, or nobody wants it. The stream decides what it means.
static void job_finish(struct bm_job *job)
{
    job_move(job, JOB_DONE);
    stream_job_done(job->stream, job);
}

static void job_leave_lock(struct bm_job *job)
{
    if (!job->holds)
        return;
    job->holds = false;
    struct bm_waiter *waiter = bm_lock_leave(job_lock(job));
    if (waiter == NULL)
        return;
    struct bm_job *next = BM_CONTAINER(waiter, struct bm_job, waiter);
    next->holds = true;
    job_move(next, JOB_READY);
    scheduler_event(next->stream->scheduler, BM_EVENT_GRANTED, next);
    scheduler_queue(next, true);
}

// True: the job may go on with its step. False: it is parked until the lock's holder leaves.
static bool job_enter_lock(struct bm_job *job)
{
    struct bm_lock *lock = job_lock(job);
    if (lock == NULL)
        return true;
    if (bm_lock_enter(lock, &job->waiter)) {
        job->holds = true;
        return true;
    }
    job_move(job, JOB_PARKED);
    struct bm_span *span = job_span(job);
    if (span != NULL)
        span->parked_ns = job_now(job);
    scheduler_event(job->stream->scheduler, BM_EVENT_PARKED, job);
    return false;
}

static enum bm_result job_host_sleep(struct bm_call_host *host, uint64_t ns);
static struct bm_deferred *job_host_defer(struct bm_call_host *host);
static void job_deferred_finish(struct bm_deferred *deferred, enum bm_result result);
static void job_deferred_finish_within(struct bm_deferred *deferred, enum bm_result result);
static void job_sleep_over(struct bm_timer *timer);

void job_create(struct bm_job *job, struct bm_stream *stream, uint64_t seq,
                struct bm_outcome *outcome, bool standing, bool stillborn)
{
    BM_ASSERT(job->state == JOB_FREE);
    *job = (struct bm_job){
        .stream = stream,
        .seq = seq,
        .outcome = outcome,
        .shared = stream->shared,
        .standing = standing,
        .reserved_bytes = standing ? 0 : stream->batch_bytes,
        .result = stillborn ? BM_RESULT_FAIL : BM_RESULT_OK,
        .host = {.sleep = job_host_sleep, .defer = job_host_defer},
        .deferred = {.finish = job_deferred_finish, .finish_within = job_deferred_finish_within},
        .timer = {.fire = job_sleep_over},
    };
    atomic_init(&job->dropped, false);
    stream->nalive++;
    struct bm_span *span = job_span(job);
    if (span != NULL)
        span->queued_ns = outcome->created_ns = job_now(job);
    scheduler_event(stream->scheduler, BM_EVENT_CREATED, job);
    if (stillborn) {
        job_finish(job);
    } else if (job_enter_lock(job)) {
        job_move(job, JOB_READY);
        scheduler_queue(job, false);
    }
}

void job_run(struct bm_job *job)
{
    job_move(job, JOB_RUNNING);
}

void job_free(struct bm_job *job)
{
    job_move(job, JOB_FREE);
    job->stream->nalive--;
}

// The step goes on without a worker.
static void job_wait(struct bm_job *job)
{
    BM_ASSERT(job->wait != WAIT_NONE);
    job_move(job, JOB_WAITING);
    scheduler_event(job->stream->scheduler, BM_EVENT_WAITING, job);
    if (job->resumed) { // it has ended already, on another thread
        job_move(job, JOB_READY);
        job_leave_lock(job);
        scheduler_queue(job, false);
    } else if (job_is_dropped(job)) {
        job_drop(job); // a sleep need not be slept out
    } else if (job->wait == WAIT_SLEEP) {
        struct bm_executor *executor = job->stream->scheduler->executor;
        executor->arm(executor, &job->timer, job_now(job) + job->sleep_ns);
    }
}

// A step of the job said how it ended. What its worker goes on with: the job, or nothing.
struct bm_job *bm_job_done(struct bm_job *job)
{
    struct bm_stream *stream = job->stream;
    if (job->spread != NULL)
        return spread_leave(job);
    if (job->result == BM_RESULT_PENDING) {
        job_wait(job);
        stream_free_if_over(stream);
        return NULL;
    }
    job_leave_lock(job);
    if (job->result != BM_RESULT_OK || job_is_dropped(job) ||
        job->step + 1 == bm_pipeline_nsteps(stream->pipeline)) {
        job_finish(job);
        stream_free_if_over(stream);
        return NULL;
    }
    job->step++;
    struct bm_span *span = job_span(job);
    if (span != NULL)
        span->queued_ns = job_now(job);
    return job_enter_lock(job) ? job : NULL;
}

void job_drop(struct bm_job *job)
{
    struct bm_executor *executor = job->stream->scheduler->executor;
    atomic_store_explicit(&job->dropped, true, memory_order_relaxed);
    switch (job->state) {
    case JOB_READY:
        scheduler_unqueue(job);
        break;
    case JOB_PARKED:
        bm_lock_abandon(job_lock(job), &job->waiter);
        break;
    case JOB_WAITING:
        if (job->wait == WAIT_DEFERRED && job->deferred.let_go == NULL)
            return; // its action still has the memory: it ends when the action says so
        if (job->wait == WAIT_DEFERRED)
            job->deferred.let_go(&job->deferred);
        else
            executor->disarm(executor, &job->timer);
        break;
    case JOB_RUNNING:
        return; // bm_job_done() finds it dropped
    case JOB_FREE:
    case JOB_DONE:
    case JOB_NSTATES:
        return;
    }
    job_leave_lock(job);
    job_finish(job);
}

// ---- Actions that wait ----

// Called by the action, on the worker, without the mutex; bm_job_done() arms the timer.
static enum bm_result job_host_sleep(struct bm_call_host *host, uint64_t ns)
{
    struct bm_job *job = BM_CONTAINER(host, struct bm_job, host);
    job->wait = WAIT_SLEEP;
    job->sleep_ns = ns;
    return BM_RESULT_PENDING;
}

static struct bm_deferred *job_host_defer(struct bm_call_host *host)
{
    struct bm_job *job = BM_CONTAINER(host, struct bm_job, host);
    job->wait = WAIT_DEFERRED;
    job->deferred.let_go = NULL;
    return &job->deferred;
}

// The step has ended. Its lock is given back now; what is left to do, a worker does.
static void job_resume(struct bm_job *job, enum bm_result result)
{
    BM_ASSERT(!job->resumed && result != BM_RESULT_PENDING);
    job->resumed = true;
    job->waited = result;
    struct bm_span *span = job_span(job);
    if (span != NULL)
        span->ended_ns = job_now(job);
    scheduler_event(job->stream->scheduler, BM_EVENT_FINISHED, job);
    if (job->state == JOB_RUNNING)
        return; // faster than its own bm_job_done(), which goes on from here
    job_leave_lock(job);
    if (job_is_dropped(job)) {
        struct bm_stream *stream = job->stream;
        job_finish(job);
        stream_free_if_over(stream);
        return;
    }
    job_move(job, JOB_READY);
    scheduler_queue(job, false);
}

static void job_sleep_over(struct bm_timer *timer)
{
    job_resume(BM_CONTAINER(timer, struct bm_job, timer), BM_RESULT_OK);
}

static void job_deferred_finish_within(struct bm_deferred *deferred, enum bm_result result)
{
    job_resume(BM_CONTAINER(deferred, struct bm_job, deferred), result);
}

static void job_deferred_finish(struct bm_deferred *deferred, enum bm_result result)
{
    struct bm_job *job = BM_CONTAINER(deferred, struct bm_job, deferred);
    struct bm_scheduler *scheduler = job->stream->scheduler;
    struct bm_executor *executor = scheduler->executor;
    atomic_fetch_add_explicit(&scheduler->nfinishing, 1, memory_order_relaxed);
    executor->enter(executor);
    job_resume(job, result);
    executor->leave(executor);
    atomic_fetch_sub_explicit(&scheduler->nfinishing, 1, memory_order_release);
}

// ---- On a worker, without the mutex ----

static bool job_begin_work(struct bm_job *job)
{
    struct bm_stream *stream = job->stream;
    struct bm_outcome *outcome = job->outcome;
    struct bm_work *work = &outcome->work;
    struct bm_error error;
    enum bm_status status =
        work->pipeline == NULL
            ? bm_work_init(work, stream->pipeline, &stream->order, job->seq, &error)
            : bm_work_again(work, &stream->order, job->seq, &error);
    if (status != BM_OK) {
        *work = (struct bm_work){.error = error, .failed_action = -1, .failed_item = -1};
        job->result = BM_RESULT_FAIL;
        return false;
    }
    if (outcome->pipeline == NULL)
        outcome->pipeline = bm_pipeline_ref(stream->pipeline);
    job->begun = true;
    work->stream = stream->id;
    work->attempt = 1;
    work->host = &job->host;
    work->shared = job->shared;
    outcome->epoch = work->epoch;
    outcome->nitems = work->batch.nitems;
    return true;
}

// What a failed or skipped batch made so far is of no use to anybody.
static void job_drop_tensors(struct bm_job *job)
{
    if (job->result != BM_RESULT_OK && job->result != BM_RESULT_PENDING)
        bm_work_drop(&job->outcome->work);
}

// The step is over: true if the next one needs no decision.
static bool job_step_over(struct bm_job *job, enum bm_result result)
{
    job->result = result;
    job_drop_tensors(job);
    struct bm_span *span = job_span(job);
    if (span != NULL)
        span->ended_ns = job_now(job);
    scheduler_event(job->stream->scheduler, BM_EVENT_FINISHED, job);
    unsigned next = job->step + 1;
    if (job->result != BM_RESULT_OK || job->holds ||
        next == bm_pipeline_nsteps(job->stream->pipeline) || job->stream->locks[next] != NULL)
        return false;
    job->step = next;
    if (span != NULL)
        job_span(job)->queued_ns = span->ended_ns;
    return true;
}

bool bm_job_begin(struct bm_job *job)
{
    if (job->spread != NULL) {
        if (!spread_joined(job))
            return spread_go_on(job);
        if (!job_step_over(job, spread_end(job)))
            return false;
    }
    if (job_is_dropped(job)) {
        job->result = BM_RESULT_SKIP;
        return false;
    }
    if (!job->begun && !job_begin_work(job))
        return false;
    if (job->resumed) {
        job->resumed = false;
        job->wait = WAIT_NONE;
        job->result = bm_work_resume(&job->outcome->work, job->step, job->waited);
        job_drop_tensors(job);
        return false; // bm_job_done() takes it to the next step
    }
    struct bm_span *span = job_span(job);
    if (span != NULL) {
        span->started_ns = job_now(job);
        span->worker = job->worker;
    }
    scheduler_event(job->stream->scheduler, BM_EVENT_STARTED, job);
    return !spread_begin(job) || spread_go_on(job);
}

bool bm_job_step(struct bm_job *job)
{
    if (job->spread != NULL) {
        spread_run(job);
        return true; // bm_job_begin() says whether there is more
    }
    uint64_t began_ns = spread_clock(job), nrows = job->outcome->work.batch.nitems;
    enum bm_result result = bm_work_step(&job->outcome->work, job->step);
    if (result == BM_RESULT_PENDING) {
        job->result = result;
        return false; // job_resume() says when it finished
    }
    spread_measure(job, began_ns, nrows);
    return job_step_over(job, result);
}

unsigned bm_job_next_step(const struct bm_job *job)
{
    return job->step;
}

uint64_t bm_job_seq(const struct bm_job *job)
{
    return job->seq;
}

const struct bm_stream *bm_job_stream(const struct bm_job *job)
{
    return job->stream;
}
