// plugin.h -- what the files of `batchmill plugin check` share. Layer: client/cli (may include
// everything).
//
// Each type of a plug-in is checked in a process of its own, so that one that crashes or hangs is a
// line of the table. The process that waits for it learns from a struct check_progress, which both
// see, how far it came.
//
// Threads: the main thread only.
#pragma once
#include "pipeline/pipeline.h"

struct check_progress { // in memory that parent and child share
    char running[24];   // the line that is being checked; empty between them
    unsigned nfailed;
};

struct check {
    struct check_progress *progress;
    struct bm_registry *registry;
    const struct bm_action_type *action; // the type: this one,
    const struct bm_source_type *source; // or this one
    const struct bm_value *parameters;   // as given, or NULL: to be found
    const struct bm_value *data;         // of --source, or NULL: the sample
    struct bm_value *definition;         // of the source that is read; found by check_type()
    struct bm_value *actions;            // likewise, or NULL
};

// ---- plugin.c: one line of the table ----

void check_begin(struct check *check, const char *line);
void check_end(struct check *check, bool fine, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void check_skip(struct check *check, const char *why);

// ---- plugin_sample.c: the source check_sample ----

// Components of many kinds, as a list of names; with {odd: true} some items have the values that
// are easily forgotten: NaN, infinity, extremes, nothing.
extern const char *const check_sample_names[]; // then NULL
enum bm_status check_sample_register(struct bm_registry *registry, struct bm_error *err);

// ---- plugin_type.c ----

void check_type(struct check *check);
// The pipeline of check->definition and check->actions, opened anew.
enum bm_status check_build(const struct check *check, struct bm_pipeline **ret_pipeline,
                           struct bm_error *err);

// ---- plugin_stream.c: a stream of a server in this process ----

enum { CHECK_ITEMS = 240 };

struct check_run {
    unsigned workers, prefetch, batch_size;
    int fill; // byte that new memory is full of, so that what nobody wrote differs
};
struct check_record {
    uint64_t digest, variables; // of all batches and failures; of what a run reports
    unsigned nbatches, nfailed, nitems;
    uint64_t items[CHECK_ITEMS], digests[CHECK_ITEMS]; // of each item that came
    char failure[640];                                 // the first
    bool mute;                                         // one failed without a reason
};
enum bm_status check_stream(struct bm_pipeline *pipeline, const struct check_run *run,
                            struct check_record *ret_record, struct bm_error *err);

// ---- plugin_leaks.c ----

enum { CHECK_OPENED = 200 };

// Opens, runs and closes that often, and a few times before it counts. What is not given back each
// time, in bytes; -1: nobody can tell, as in a sanitizer's heap.
enum bm_status check_leaks(const struct check *check, int64_t *ret_bytes, struct bm_error *err);
