// internal.h -- what scheduler.c, stream.c and job.c share. Layer: run (private).
//
// Four files, one idea each: job.c takes one batch through its steps, spread.c one of them over
// several workers, stream.c keeps the window and the order, scheduler.c says who runs next and what
// memory is left.
// Threads: with the executor's mutex held, but for what is marked otherwise.
#pragma once
#include <stdatomic.h>

#include "base/list.h"
#include "base/state.h"
#include "run/lock.h"
#include "run/scheduler.h"

enum job_state { // the rules are in job.c
    JOB_FREE,
    JOB_READY,
    JOB_PARKED,
    JOB_RUNNING,
    JOB_WAITING,
    JOB_DONE,
    JOB_NSTATES
};

enum job_wait { WAIT_NONE, WAIT_SLEEP, WAIT_DEFERRED };

struct bm_job { // one batch in flight; lives in a slot of its stream's window
    struct bm_stream *stream;
    enum job_state state;
    uint64_t seq;
    struct bm_outcome *outcome;    // NULL once dropped
    struct bm_node node;           // in a line for workers, while READY
    struct bm_waiter waiter;       // in a lock's line, while PARKED; its holder afterwards
    bool holds;                    // the lock of `step`
    bool first_in_line;            // in scheduler->granted, while READY
    atomic_bool dropped;           // nobody wants it any more: stop at the next boundary. Read by
                                   // workers without the mutex
    struct bm_shared_pool *shared; // where its large tensors lie, or NULL
    bool standing;                 // uses the memory that its stream always has for one batch
    uint64_t reserved_bytes;       // of the memory for windows, unless it is standing

    // The worker's while RUNNING, without the mutex:
    bool begun; // it has its items
    unsigned step;
    unsigned worker;
    enum bm_result result; // of the last step

    // How a pending step goes on:
    struct bm_call_host host;
    struct bm_deferred deferred;
    struct bm_timer timer;
    enum job_wait wait;
    uint64_t sleep_ns;
    bool resumed; // its end is known (`waited`), and a worker has to carry on from it
    enum bm_result waited;

    bool helps;            // no batch of its own: lends its worker to `spread`
    struct spread *spread; // of its step, while several workers are at it; NULL: none
    unsigned piece;        // of it, that this worker has claimed
};

enum { SLAB_SLOTS = 16 };
struct slab { // slots of batches that follow each other; there only while one of them is in use
    unsigned nused;
    struct bm_job slots[SLAB_SLOTS];
};

struct bm_stream {
    struct bm_node node; // in scheduler->streams
    struct bm_scheduler *scheduler;
    struct bm_pipeline *pipeline;
    struct bm_order order;
    struct bm_stream_listener *listener;
    enum bm_on_error on_error;
    bool traced, closed, stopped;
    struct bm_shared_pool *shared; // where large tensors of new batches lie, or NULL
    char id[BM_STREAM_ID_MAX + 1];

    // first_seq <= asked <= committed <= created; created <= asked + width
    bool started;
    uint64_t asked;     // first batch not released: what the consumer holds or waits for
    uint64_t committed; // every one before it has taken its place in the order
    uint64_t created;
    uint64_t end_seq; // there is no batch here or later
    unsigned nalive;  // jobs that are not FREE
    unsigned window;  // prefetch + 1
    unsigned width;   // how much of it is worked on
    unsigned nslabs;
    struct slab *idle_slab; // for the next that is needed; NULL: the slabs have it
    struct slab **slabs;    // [nslabs]: a ring of `window` slots; stream_slot() finds that of a seq
    struct bm_lock **locks; // [steps], NULL where a step has none
    atomic_uint *row_ns;    // [steps]: how long a row takes, about; any thread. NULL: no step of
                            // it is ever spread

    uint64_t batch_bytes; // what one batch took at most so far; the stream has that much standing
    bool standing_used;   // by one of its batches
    struct bm_node hungry_node;
    bool hungry;                 // wants to create more than the budget allows
    struct bm_outcome *spare;    // so that running out of memory can still be said
    struct bm_outcome *released; // just now: their memory serves the batches that take their place

    struct bm_node ring_node; // in scheduler->turns, while it has ready jobs
    struct bm_list ready;     // of bm_job
    unsigned nready;

    struct bm_variables *variables;
    struct bm_stream_counts counts;
};

struct bm_scheduler {
    struct bm_executor *executor;
    struct bm_observer *observer;
    struct bm_lock_table *locks;
    struct bm_list streams; // also closed ones that still have a job
    unsigned nstreams;      // open ones
    struct bm_list turns;   // streams with ready jobs, round robin
    struct bm_list granted; // jobs that hold a lock and wait for a worker: they go first
    struct bm_list hungry;  // streams that wait for memory
    uint64_t memory_bytes, standing_bytes, window_bytes; // budget, and what is taken of it
    unsigned nready, nrunning, nparked, nwaiting;
    uint64_t batches;
    bool feeding; // hungry streams, right now
    // Threads in bm_deferred_finish(). They are nobody's: that their job is over does not mean that
    // they are out of here. Without the mutex.
    atomic_uint nfinishing;
    struct bm_outcome *garbage;
    struct bm_list offers;   // of struct spread, to workers with nothing else to do
    uint64_t spread_ns;      // from how long on a step is worth it
    unsigned nworkers;       // who may help
    struct bm_job helpers[]; // [nworkers]
};

// ---- scheduler.c ----
void scheduler_event(struct bm_scheduler *scheduler, enum bm_event_kind kind,
                     const struct bm_job *job);         // any thread: tells the observer
void scheduler_queue(struct bm_job *job, bool granted); // job->state is READY
void scheduler_unqueue(struct bm_job *job);
// Half of the budget is for one batch of every open stream, which so can always go on; the other
// half is for the rest of their windows. False: there is not so much left.
bool scheduler_stand(struct bm_scheduler *scheduler, uint64_t bytes);
bool scheduler_reserve(struct bm_scheduler *scheduler, uint64_t bytes);
void scheduler_unreserve(struct bm_scheduler *scheduler, uint64_t bytes);
void scheduler_discard(struct bm_scheduler *scheduler, struct bm_outcome *outcome); // takes it

// ---- job.c ----
// Stillborn: there was no memory to begin with; it fails in its place.
void job_create(struct bm_job *job, struct bm_stream *stream, uint64_t seq,
                struct bm_outcome *outcome, bool standing, bool stillborn);
void job_run(struct bm_job *job);  // a READY one: a worker picked it
void job_free(struct bm_job *job); // a DONE one: its slot is free again
// Nobody wants it: ends it now, or at its next boundary when a worker or an action has it.
void job_drop(struct bm_job *job);

// ---- spread.c ----
enum bm_status spread_open(struct bm_stream *stream, struct bm_error *err); // stream->row_ns
// A step begins, on its worker, without the mutex; true: job->spread has its rows.
bool spread_begin(struct bm_job *job);
bool spread_go_on(struct bm_job *job); // claims a piece; false: none is left, or it is all over
void spread_run(struct bm_job *job);   // the claimed piece
bool spread_joined(const struct bm_job *job); // all who had a part are done: spread_end() it
enum bm_result spread_end(struct bm_job *job);
// With the mutex. Who helps with a step that is offered, or NULL; then, who has to go on with the
// batch: NULL while others are at it.
struct bm_job *spread_pick(struct bm_scheduler *scheduler, unsigned worker);
struct bm_job *spread_leave(struct bm_job *job);
// Remembers how long a step took that was not spread; `began_ns` 0: nobody looked.
uint64_t spread_clock(const struct bm_job *job);
void spread_measure(const struct bm_job *job, uint64_t began_ns, uint64_t nrows);

// ---- stream.c ----
struct bm_job *stream_slot(const struct bm_stream *stream, uint64_t seq); // NULL: not in use
void stream_job_done(struct bm_stream *stream, struct bm_job *job);       // job->state is DONE
void stream_fill(struct bm_stream *stream);
void stream_free_if_over(struct bm_stream *stream); // closed, and its last job is gone
