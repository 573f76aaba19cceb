// outcome.h -- what became of one batch: the batch, an error in its place, a skip, or the end.
// Layer: run (may include base, data, pipeline).
//
// Shared by reference, so that a reply is encoded, and repeated, without the scheduler's mutex.
// Threads: immutable once a stream hands it out; _ref and _unref from any thread.
#pragma once
#include <stdatomic.h>
#include <stdint.h>

#include "pipeline/pipeline.h"

enum bm_outcome_kind {
    BM_OUTCOME_BATCH,
    BM_OUTCOME_SKIPPED, // by an action, or failed with on_error: skip
    BM_OUTCOME_FAILED,  // reported in its place; with on_error: stop the last of the stream
};

struct bm_span { // one step of a traced batch, in ns of the server's clock; all 0: did not happen
    uint64_t queued_ns; // ready for the step: after the step before, or created
    uint64_t parked_ns; // began to wait for the lock; 0: it was free
    uint64_t started_ns;
    uint64_t ended_ns;
    unsigned worker; // which worker started it, from 0
};

struct bm_outcome {
    enum bm_outcome_kind kind;
    uint64_t seq, epoch;
    uint64_t nitems;
    uint64_t bytes;                   // of its tensors
    uint64_t created_ns, finished_ns; // of a traced batch; 0: not traced, or not finished yet
    unsigned nspans;
    struct bm_span *spans;        // [steps of the pipeline], or NULL when not traced
    struct bm_pipeline *pipeline; // referenced: the batch's schema is the pipeline's
    atomic_uint refs;
    struct bm_outcome *next; // in a chain of the scheduler or a stream
    struct bm_work work;     // .batch and .items of a BATCH; .error, .failed_* of a failure
};

// With one reference; its work is all zero. NULL: out of memory.
struct bm_outcome *bm_outcome_new(uint64_t seq, unsigned nspans);
// Makes one that nobody else refers to that of another batch of its stream. Its work stays as it
// is, for bm_work_again().
void bm_outcome_again(struct bm_outcome *outcome, uint64_t seq);
bool bm_outcome_shared(const struct bm_outcome *outcome); // somebody else refers to it

struct bm_outcome *bm_outcome_ref(struct bm_outcome *outcome);
struct bm_outcome *bm_outcome_unref(struct bm_outcome *outcome); // returns NULL; NULL is fine
