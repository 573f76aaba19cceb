// variable.h -- what actions add up over a stream, exactly once per batch and in order.
// Layer: pipeline (may include base, data).
//
// An action never touches shared state. It fills an *update* that belongs to its batch; when the
// batch takes its place in the order (all earlier ones have theirs), the scheduler merges the
// update into the stream's variable, with its mutex held. So an update is atomic, is applied once
// however often the batch was attempted, leaves out batches that failed or were skipped, and the
// sums round alike at every prefetch and worker count. `run` returns what report() prints.
// Threads: an update, with the worker that has its batch; merge and report, with the mutex held.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/name.h"

enum bm_number_kind { BM_NUMBER_INTEGER, BM_NUMBER_FLOAT };

struct bm_number {
    char name[2 * BM_NAME_MAX + 2]; // "pixels.mean"
    enum bm_number_kind kind;
    int64_t integer;
    double real;
};

struct bm_variable_type {
    size_t state_bytes; // of a state and of an update; both start as zero bytes
    void (*merge)(const void *config, void *state, const void *update);
    unsigned nnumbers; // how many report() writes
    void (*report)(const void *config, const void *state, struct bm_number *ret_numbers);
};
