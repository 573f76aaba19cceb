// drain.h -- what `gen` and `export` share: a stream to its end, with a checkpoint if wanted.
// Layer: client/cli.
//
// A command embeds it at the start of its own struct, and says what is done with each batch. What
// was written is on the disk before the checkpoint says that it was consumed.
// Threads: the main thread only.
#pragma once
#include "client/cli/cli.h"

struct cli_drain {
    struct cli_target target;
    struct cli_order order;
    const char *pipeline;
    const char *checkpoint;   // a file; NULL: none
    uint64_t every, every_ns; // batches, and time, between two checkpoints
    bool quiet, digest;       // no progress; a digest in `done` also without a checkpoint

    // All may be NULL but `batch`, and `flush` where there is a checkpoint. False: *error says why.
    // Before the first batch; drain->found: what drain->kept says is there already.
    bool (*begin)(struct cli_drain *drain, const struct batchmill_stream_info *info,
                  struct batchmill_error *error);
    bool (*batch)(struct cli_drain *drain, const struct batchmill_batch *batch,
                  struct batchmill_error *error);
    // A failure in its place.
    void (*failed)(struct cli_drain *drain, const struct batchmill_error *error);
    bool (*flush)(struct cli_drain *drain, struct batchmill_error *error);
    void (*result)(const struct cli_drain *drain); // at the end, however it came

    bool found; // the checkpoint was there
    struct cli_checkpoint kept, done;
    struct cli_progress progress; // of this process
    uint64_t not_kept;            // batches consumed since the last checkpoint
    uint64_t kept_at_ns;          // done.elapsed_ns then
};

enum cli_exit cli_drain(struct cli_drain *drain);
