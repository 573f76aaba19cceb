// scheduler.h -- streams of batches on a pool of workers: window, order, locks, memory.
// Layer: run (may include base, data, pipeline).
//
// THE SEED. A stream works on `prefetch` batches more than the one its consumer holds, runs their
// steps on whatever worker is free, and hands them out strictly by seq. This is a pure state
// machine: events in (ask, pick, done, timer), effects out (executor calls, listener calls). It has
// no thread, clock or randomness of its own; tests drive it on virtual time.
//
// Threads: with the executor's mutex held (bm_executor.enter), except bm_job_begin() and
// bm_job_step(), which run on the worker that picked the job, without it.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "pipeline/pipeline.h"
#include "run/executor.h"
#include "run/outcome.h"

enum {
    BM_PREFETCH_MAX = 4095,
    BM_STREAM_ID_MAX = 40,
    // Waking another worker and joining takes some 20 us, on machines that sleep deeply 60.
    BM_SPREAD_NS = 200000,
};

struct bm_scheduler;
struct bm_stream;
struct bm_job;

enum bm_event_kind { // in the order of a batch's life
    BM_EVENT_CREATED,
    BM_EVENT_STARTED,   // a step began; without the mutex, on its worker
    BM_EVENT_FINISHED,  // a step ended; without the mutex when it did not wait
    BM_EVENT_PARKED,    // waits for the step's lock
    BM_EVENT_GRANTED,   // has it now
    BM_EVENT_WAITING,   // the step waits without a worker
    BM_EVENT_READY,     // outcome known
    BM_EVENT_COMMITTED, // took its place in the order: may be handed out
    BM_EVENT_RELEASED,  // the consumer asked for the next one
};
struct bm_event {
    enum bm_event_kind kind;
    const struct bm_stream *stream;
    uint64_t seq;
    unsigned step; // of the STARTED .. WAITING kinds
    uint64_t now_ns;
};
struct bm_observer { // for tests and tracing; called on the thread of the event
    void (*event)(struct bm_observer *self, const struct bm_event *event);
};

struct bm_scheduler_config {
    struct bm_executor *executor; // borrowed
    struct bm_observer *observer; // borrowed, or NULL
    uint64_t memory_bytes;        // budget of all streams together; 0 = unlimited
    // How many workers pick, numbered from 0, if idle ones are to help with a long step of
    // another's batch; 0: they are not.
    unsigned nworkers;
    uint64_t spread_ns; // which is long; 0: every one
};

enum bm_status bm_scheduler_new(const struct bm_scheduler_config *config,
                                struct bm_scheduler **ret_scheduler, struct bm_error *err);
void bm_scheduler_free(struct bm_scheduler *scheduler); // all streams closed, no job running

// ---- Streams, for the consumer's side ----

enum bm_on_error { BM_ON_ERROR_STOP = 0, BM_ON_ERROR_SKIP = 1, BM_ON_ERROR_REPORT = 2 };

struct bm_stream_listener { // embedded by the consumer's side
    // Something new may be had with bm_stream_get(); with the mutex held. It may call ask() and
    // get(), but not close().
    void (*changed)(struct bm_stream_listener *self);
};

struct bm_stream_config {
    struct bm_pipeline *pipeline; // the stream takes a reference
    struct bm_order order;
    uint64_t first_seq; // where it starts: 0, or a position
    unsigned prefetch;  // batches beside the one the consumer holds, 0 to BM_PREFETCH_MAX
    unsigned width;     // of the window at first, see bm_stream_widen(); 0: all of it
    enum bm_on_error on_error;
    bool traced;                         // keep spans
    const char *id;                      // copied; seen by actions
    struct bm_stream_listener *listener; // borrowed until closed, or NULL
};

enum bm_status bm_stream_open(struct bm_scheduler *scheduler, const struct bm_stream_config *config,
                              struct bm_stream **ret_stream, struct bm_error *err);
// The consumer has asked for batch `seq`, and so is done with all before it: releases those and
// fills the window [seq, seq + prefetch]. Asking for an earlier one than before changes nothing,
// and nobody can be done with what was never handed out: a later one than the next is cut to that.
// Nothing is created before the first ask.
void bm_stream_ask(struct bm_stream *stream, uint64_t seq);

// From now on `width` batches of the window are worked on; 1 to prefetch + 1, never fewer than
// before.
void bm_stream_widen(struct bm_stream *stream, unsigned width);

// From now on the large tensors of new batches lie in `shared`, where clients on this host may map
// them; NULL: not so.
void bm_stream_share(struct bm_stream *stream, struct bm_shared_pool *shared);

enum bm_got {
    BM_GOT_OUTCOME,  // *ret_outcome is referenced for the caller
    BM_GOT_NOT_YET,  // in the window, but not ready
    BM_GOT_END,      // the stream has ended before `seq`
    BM_GOT_RELEASED, // it was asked past `seq`
    BM_GOT_BEYOND,   // beyond the window: ask() first
};
enum bm_got bm_stream_get(struct bm_stream *stream, uint64_t seq, struct bm_outcome **ret_outcome);

// Stops the work at the next action boundary, gives back locks and memory. The handle is gone
// for the caller; what still runs is cleaned up behind it. The listener is called no more.
void bm_stream_close(struct bm_stream *stream);

struct bm_stream_counts {
    uint64_t batches, items, skipped, failed; // committed so far
    uint64_t bytes;
    uint64_t created, asked; // asked: next_seq the consumer wants; first_seq before the first ask
    uint64_t end_seq;        // no batch here or later, as far as known; BM_ORDER_ENDLESS
    unsigned in_flight;      // created and not released
    bool ended;              // everything was committed
    bool stopped;            // by a failure, with on_error: stop
};
struct bm_stream_counts bm_stream_counts(const struct bm_stream *stream);
const struct bm_variables *bm_stream_variables(const struct bm_stream *stream);
const char *bm_stream_id(const struct bm_stream *stream);

// ---- Jobs, for the executor's side ----

// The next job for a free worker, or NULL. Afterwards, without the mutex:
//
//     while (bm_job_begin(job) && bm_job_step(job))
//         ;
//
// and then bm_job_done() with it, which says what to go round again with: the job, or nothing.
// begin() says that a step starts now, or a piece of one (false: there is none to run), step() runs
// it (true: what comes next needs no decision of the scheduler). They are two so that virtual time
// can pass between them. Who helps with a step of another worker's batch has a job of its own, and
// may get that batch from done().
struct bm_job *bm_scheduler_pick(struct bm_scheduler *scheduler, unsigned worker);
bool bm_job_begin(struct bm_job *job);
bool bm_job_step(struct bm_job *job);
struct bm_job *bm_job_done(struct bm_job *job);

// What was released and still has to be freed, as a chain for bm_outcomes_free(): the executor
// takes it with the mutex, and frees it without.
struct bm_outcome *bm_scheduler_garbage(struct bm_scheduler *scheduler);
void bm_outcomes_free(struct bm_outcome *chain);

// The step that begin() and step() would run next, and whose it is; for virtual time.
unsigned bm_job_next_step(const struct bm_job *job);
uint64_t bm_job_seq(const struct bm_job *job);
const struct bm_stream *bm_job_stream(const struct bm_job *job);

// ---- Batches that outlive their place in a window ----

// Takes a reference, and the batch's bytes once more out of the budget for windows. False: there
// are not so many left.
bool bm_scheduler_keep(struct bm_scheduler *scheduler, struct bm_outcome *outcome);
void bm_scheduler_give_back(struct bm_scheduler *scheduler, struct bm_outcome *outcome);

// ---- Figures ----

struct bm_scheduler_status {
    unsigned nstreams;                    // open
    unsigned nready;                      // jobs that wait for a worker
    unsigned nrunning, nparked, nwaiting; // parked: for a lock; waiting: without a worker
    uint64_t memory_used_bytes, memory_bytes;
    uint64_t batches; // committed since the start
};
struct bm_scheduler_status bm_scheduler_status(const struct bm_scheduler *scheduler);
// No job anywhere, no stream open, no thread that ends a deferred action.
bool bm_scheduler_idle(const struct bm_scheduler *scheduler);
