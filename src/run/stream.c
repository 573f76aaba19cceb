#include <stdlib.h>
#include <string.h>

#include "run/internal.h"

// A stream is a window that slides over an endless row of batches:
//
//        released      handed out or to be    in flight, in any order    not created
//     ... ------- asked ------------- committed ------------- created ------------- end_seq
//                 |<-------------------- window = prefetch + 1 -------------------->|
//
// Only the consumer's ask moves it. Jobs finish in any order; *committing* takes them in the order
// of seq, and only what is committed is handed out, counted, and merged into variables. So every
// consequence of a batch (an error that stops, an end, a sum) is the same at every prefetch.

// What any batch takes of the budget, so that tiny ones are not free.
enum { BATCH_OVERHEAD = sizeof(struct bm_job) + sizeof(struct bm_outcome) };

// ---- Slots: a window may be wide and its consumer idle, so memory comes with the batches ----

static struct slab **stream_slab(const struct bm_stream *stream, uint64_t seq)
{
    return &stream->slabs[seq % stream->window / SLAB_SLOTS];
}

struct bm_job *stream_slot(const struct bm_stream *stream, uint64_t seq)
{
    struct slab *slab = *stream_slab(stream, seq);
    return slab == NULL ? NULL : &slab->slots[seq % stream->window % SLAB_SLOTS];
}

static struct bm_job *stream_job(const struct bm_stream *stream, uint64_t seq)
{
    struct bm_job *job = stream_slot(stream, seq);
    BM_ASSERT(job != NULL);
    return job;
}

// False: out of memory, which cannot be when no batch is in flight: then some slab is unused.
static bool stream_get_slab(struct bm_stream *stream, uint64_t seq)
{
    struct slab **slab = stream_slab(stream, seq);
    if (*slab == NULL && stream->idle_slab == NULL)
        stream->idle_slab = calloc(1, sizeof **slab);
    if (*slab == NULL) {
        *slab = stream->idle_slab;
        stream->idle_slab = NULL;
    }
    return *slab != NULL;
}

static void stream_put_slab(struct bm_stream *stream, uint64_t seq)
{
    struct slab **slab = stream_slab(stream, seq);
    if (--(*slab)->nused > 0)
        return;
    if (stream->idle_slab == NULL)
        stream->idle_slab = *slab; // one is kept, so that there always is one
    else
        free(*slab);
    *slab = NULL;
}

// ---- Opening and closing ----

static enum bm_status stream_get_locks(struct bm_stream *stream, struct bm_error *err)
{
    unsigned nsteps = bm_pipeline_nsteps(stream->pipeline);
    for (unsigned step = 0; step < nsteps; step++) {
        const char *name = bm_pipeline_step_lock(stream->pipeline, step);
        enum bm_status status =
            name == NULL ? BM_OK
                         : bm_lock_get(stream->scheduler->locks, name, &stream->locks[step], err);
        if (status != BM_OK)
            return status;
    }
    return BM_OK;
}

static void stream_free(struct bm_stream *stream)
{
    for (unsigned step = 0; step < bm_pipeline_nsteps(stream->pipeline); step++)
        bm_lock_put(stream->locks[step]);
    for (unsigned i = 0; i < stream->nslabs; i++)
        free(stream->slabs[i]); // one may wait there for a batch that found no memory
    free(stream->idle_slab);
    free(stream->row_ns);
    bm_variables_free(stream->variables);
    bm_outcome_unref(stream->spare);
    bm_pipeline_unref(stream->pipeline);
    free(stream);
}

enum bm_status bm_stream_open(struct bm_scheduler *scheduler, const struct bm_stream_config *config,
                              struct bm_stream **ret_stream, struct bm_error *err)
{
    if (config->prefetch > BM_PREFETCH_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "prefetch", "expected 0 to %d batches, got %u",
                       BM_PREFETCH_MAX, config->prefetch);
    BM_ASSERT(strlen(config->id) <= BM_STREAM_ID_MAX);
    unsigned nsteps = bm_pipeline_nsteps(config->pipeline);
    unsigned nslabs = (config->prefetch + SLAB_SLOTS) / SLAB_SLOTS; // of prefetch + 1 slots
    struct bm_stream *stream =
        calloc(1, sizeof *stream + (nsteps + nslabs) * sizeof(void *)); // near each other
    if (stream == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the stream");
    stream->locks = (struct bm_lock **)(stream + 1);
    stream->slabs = (struct slab **)(stream->locks + nsteps);
    stream->nslabs = nslabs;
    stream->scheduler = scheduler;
    stream->pipeline = bm_pipeline_ref(config->pipeline);
    stream->order = config->order;
    stream->listener = config->listener;
    stream->on_error = config->on_error;
    stream->traced = config->traced;
    strcpy(stream->id, config->id);
    stream->asked = stream->committed = stream->created = config->first_seq;
    stream->end_seq = bm_order_nbatches(&config->order);
    if (stream->end_seq < config->first_seq)
        stream->end_seq = config->first_seq;
    stream->window = config->prefetch + 1;
    BM_ASSERT(config->width <= stream->window);
    stream->width = config->width == 0 ? stream->window : config->width;
    stream->batch_bytes =
        BATCH_OVERHEAD + bm_pipeline_batch_bytes(stream->pipeline, config->order.params.batch_size);
    bm_list_init(&stream->ready);
    stream->idle_slab = calloc(1, sizeof *stream->idle_slab);
    stream->spare = bm_outcome_new(0, 0);
    enum bm_status status = BM_OK;
    if (stream->idle_slab == NULL || stream->spare == NULL)
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a window of %u",
                         stream->window);
    if (status == BM_OK)
        status = bm_variables_new(stream->pipeline, &stream->variables, err);
    if (status == BM_OK)
        status = spread_open(stream, err);
    if (status == BM_OK)
        status = stream_get_locks(stream, err);
    if (status == BM_OK && !scheduler_stand(scheduler, stream->batch_bytes))
        status = bm_fail(
            err, BM_RESOURCE_EXHAUSTED, "batch_size",
            "a batch takes %llu bytes; expected at most %llu, which is half of the "
            "memory budget without a batch of each other open stream",
            (unsigned long long)stream->batch_bytes,
            (unsigned long long)(scheduler->memory_bytes / 2 > scheduler->standing_bytes
                                     ? scheduler->memory_bytes / 2 - scheduler->standing_bytes
                                     : 0));
    if (status != BM_OK) {
        stream_free(stream);
        return status;
    }
    bm_list_push_back(&scheduler->streams, &stream->node);
    scheduler->nstreams++;
    *ret_stream = stream;
    return BM_OK;
}

static void stream_not_hungry(struct bm_stream *stream)
{
    if (stream->hungry)
        bm_list_remove(&stream->hungry_node);
    stream->hungry = false;
}

void bm_stream_close(struct bm_stream *stream)
{
    BM_ASSERT(!stream->closed);
    stream->closed = true;
    stream->listener = NULL;
    stream->scheduler->nstreams--;
    stream_not_hungry(stream);
    for (unsigned i = 0; i < stream->window; i++) {
        struct bm_job *job = stream_slot(stream, i);
        if (job == NULL || job->state == JOB_FREE)
            continue;
        if (job->state == JOB_DONE)
            stream_job_done(stream, job);
        else
            job_drop(job);
    }
    stream_free_if_over(stream);
}

void stream_free_if_over(struct bm_stream *stream)
{
    if (!stream->closed || stream->nalive > 0)
        return;
    bm_list_remove(&stream->node);
    stream->scheduler->standing_bytes -= stream->batch_bytes;
    stream_free(stream);
}

// ---- Creating: the window ----

// One that the consumer does not hold on to; NULL: there is none.
static struct bm_outcome *stream_take_released(struct bm_stream *stream)
{
    while (stream->released != NULL) {
        struct bm_outcome *outcome = stream->released;
        stream->released = outcome->next;
        if (!bm_outcome_shared(outcome))
            return outcome;
        scheduler_discard(stream->scheduler, outcome);
    }
    return NULL;
}

static bool stream_create(struct bm_stream *stream)
{
    struct bm_scheduler *scheduler = stream->scheduler;
    bool alone = stream->created == stream->asked;
    bool standing = !stream->standing_used; // true when it is alone, so that one always goes on
    if (!stream_get_slab(stream, stream->created))
        return false;
    if (!standing && !scheduler_reserve(scheduler, stream->batch_bytes))
        return false;
    uint64_t seq = stream->created;
    unsigned nspans = stream->traced ? bm_pipeline_nsteps(stream->pipeline) : 0;
    struct bm_outcome *outcome = stream_take_released(stream);
    if (outcome != NULL)
        bm_outcome_again(outcome, seq);
    else
        outcome = bm_outcome_new(seq, nspans);
    if (outcome == NULL && !alone) {
        if (!standing)
            scheduler_unreserve(scheduler, stream->batch_bytes);
        return false; // what is in flight will give memory back
    }
    bool stillborn = outcome == NULL;
    if (stillborn) { // nothing will: say so in this batch's place, and end
        outcome = stream->spare;
        stream->spare = NULL;
        outcome->seq = seq;
        outcome->work.failed_action = -1;
        outcome->work.failed_item = -1;
        bm_fail(&outcome->work.error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    }
    stream->created++;
    struct bm_job *job = stream_job(stream, seq);
    (*stream_slab(stream, seq))->nused++;
    stream->standing_used = true;
    job_create(job, stream, seq, outcome, standing, stillborn);
    return true;
}

void stream_fill(struct bm_stream *stream)
{
    while (stream->created < stream->end_seq && stream->created - stream->asked < stream->width) {
        if (!stream_create(stream)) {
            if (!stream->hungry)
                bm_list_push_back(&stream->scheduler->hungry, &stream->hungry_node);
            stream->hungry = true;
            return;
        }
    }
    stream_not_hungry(stream);
}

// ---- Committing: the order ----

// Its outcome is in stream->released until stream_discard_released().
static void stream_release(struct bm_stream *stream, struct bm_job *job)
{
    struct bm_outcome *outcome = job->outcome;
    uint64_t reserved_bytes = job->reserved_bytes;
    if (job->standing)
        stream->standing_used = false;
    uint64_t seq = job->seq;
    job->outcome = NULL;
    job_free(job);
    stream_put_slab(stream, seq);
    outcome->next = stream->released;
    stream->released = outcome;
    scheduler_unreserve(stream->scheduler, reserved_bytes);
}

static void stream_discard_released(struct bm_stream *stream)
{
    while (stream->released != NULL) {
        struct bm_outcome *outcome = stream->released;
        stream->released = outcome->next;
        scheduler_discard(stream->scheduler, outcome);
    }
}

static void stream_end_at(struct bm_stream *stream, uint64_t seq)
{
    stream->end_seq = seq;
    for (uint64_t later = seq; later < stream->created; later++) {
        struct bm_job *job = stream_job(stream, later);
        if (job->state == JOB_DONE)
            stream_release(stream, job);
        else
            job_drop(job);
    }
    stream_discard_released(stream);
    if (stream->created > seq)
        stream->created = seq;
}

static void stream_commit(struct bm_stream *stream, struct bm_job *job)
{
    struct bm_outcome *outcome = job->outcome;
    struct bm_stream_counts *counts = &stream->counts;
    if (job->result == BM_RESULT_END) {
        stream_end_at(stream, job->seq); // and this batch is not one of it
        return;
    }
    stream->committed++;
    if (outcome->kind == BM_OUTCOME_BATCH) {
        counts->batches++;
        counts->items += outcome->nitems;
        counts->bytes += outcome->bytes;
        if (outcome->work.updates != NULL)
            bm_variables_merge(stream->variables, &outcome->work);
    } else if (outcome->kind == BM_OUTCOME_SKIPPED) {
        counts->skipped++;
    } else {
        counts->failed++;
        // Want of memory is no property of the batch: leaving it out, or going on behind it, would
        // give other bytes than the next time. So it ends the stream, which can go on from here.
        bool starved = outcome->work.error.status == BM_RESOURCE_EXHAUSTED;
        if (starved || stream->on_error == BM_ON_ERROR_STOP) {
            stream->stopped = true;
            stream_end_at(stream, job->seq + 1);
        } else if (stream->on_error == BM_ON_ERROR_SKIP) {
            outcome->kind = BM_OUTCOME_SKIPPED;
        }
    }
    stream->scheduler->batches++;
    scheduler_event(stream->scheduler, BM_EVENT_COMMITTED, job);
}

static void stream_commit_all(struct bm_stream *stream)
{
    uint64_t committed = stream->committed, end_seq = stream->end_seq;
    while (stream->committed < stream->created && stream->committed < stream->end_seq) {
        struct bm_job *job = stream_job(stream, stream->committed);
        if (job->state != JOB_DONE)
            break;
        stream_commit(stream, job);
    }
    if ((committed != stream->committed || end_seq != stream->end_seq) && stream->listener != NULL)
        stream->listener->changed(stream->listener);
}

// What the batch was thought to take becomes what it takes. A source whose items differ in size may
// have been thought too little of.
static void stream_account(struct bm_stream *stream, struct bm_job *job, uint64_t nread)
{
    struct bm_scheduler *scheduler = stream->scheduler;
    const struct bm_outcome *outcome = job->outcome;
    uint64_t keeps =
        BATCH_OVERHEAD + outcome->bytes + bm_pipeline_batch_overhead(stream->pipeline, nread);
    if (keeps > stream->batch_bytes) {
        scheduler->standing_bytes += keeps - stream->batch_bytes;
        stream->batch_bytes = keeps;
    }
    if (job->standing)
        return;
    uint64_t reserved_bytes = job->reserved_bytes;
    job->reserved_bytes = keeps;
    if (keeps > reserved_bytes)
        scheduler->window_bytes += keeps - reserved_bytes;
    else
        scheduler_unreserve(scheduler, reserved_bytes - keeps);
}

// What the job's last step said becomes an outcome.
static void stream_judge(struct bm_stream *stream, struct bm_job *job)
{
    struct bm_outcome *outcome = job->outcome;
    struct bm_clock *clock = stream->scheduler->executor->clock;
    uint64_t nread = outcome->nitems;
    if (stream->traced)
        outcome->finished_ns = clock->now_ns(clock);
    if (job->result == BM_RESULT_OK) {
        outcome->kind = BM_OUTCOME_BATCH;
        outcome->nitems = outcome->work.batch.nitems; // some left out, or repeated
        outcome->epoch = outcome->work.epoch;
        outcome->bytes = bm_batch_bytes(&outcome->work.batch);
    } else if (job->result == BM_RESULT_FAIL) {
        outcome->kind = BM_OUTCOME_FAILED;
    } else {
        outcome->kind = BM_OUTCOME_SKIPPED;
    }
    stream_account(stream, job, nread);
    scheduler_event(stream->scheduler, BM_EVENT_READY, job);
}

void stream_job_done(struct bm_stream *stream, struct bm_job *job)
{
    if (stream->closed || job->seq >= stream->end_seq) { // dropped
        stream_release(stream, job);
        stream_discard_released(stream);
        return;
    }
    stream_judge(stream, job);
    stream_commit_all(stream);
}

// ---- The consumer ----

void bm_stream_ask(struct bm_stream *stream, uint64_t seq)
{
    BM_ASSERT(!stream->closed);
    if (seq > stream->committed)
        seq = stream->committed;
    stream->started = true;
    while (stream->asked < seq) {
        struct bm_job *job = stream_job(stream, stream->asked++);
        scheduler_event(stream->scheduler, BM_EVENT_RELEASED, job);
        stream_release(stream, job);
    }
    stream_fill(stream);
    stream_discard_released(stream);
}

enum bm_got bm_stream_get(struct bm_stream *stream, uint64_t seq, struct bm_outcome **ret_outcome)
{
    if (seq < stream->asked)
        return BM_GOT_RELEASED;
    if (seq < stream->committed) {
        *ret_outcome = bm_outcome_ref(stream_job(stream, seq)->outcome);
        return BM_GOT_OUTCOME;
    }
    if (stream->committed == stream->end_seq)
        return BM_GOT_END;
    return seq - stream->asked < stream->width ? BM_GOT_NOT_YET : BM_GOT_BEYOND;
}

void bm_stream_widen(struct bm_stream *stream, unsigned width)
{
    BM_ASSERT(width >= stream->width && width <= stream->window);
    stream->width = width;
    if (stream->started)
        stream_fill(stream);
}

void bm_stream_share(struct bm_stream *stream, struct bm_shared_pool *shared)
{
    stream->shared = shared;
}

struct bm_stream_counts bm_stream_counts(const struct bm_stream *stream)
{
    struct bm_stream_counts counts = stream->counts;
    counts.created = stream->created;
    counts.asked = stream->asked;
    counts.in_flight = (unsigned)(stream->created - stream->asked);
    counts.ended = stream->committed == stream->end_seq;
    counts.stopped = stream->stopped;
    counts.end_seq = stream->end_seq;
    return counts;
}

const struct bm_variables *bm_stream_variables(const struct bm_stream *stream)
{
    return stream->variables;
}

const char *bm_stream_id(const struct bm_stream *stream)
{
    return stream->id;
}
