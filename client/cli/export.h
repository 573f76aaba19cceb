// export.h -- how `export` writes: one kind of files each. Layer: client/cli.
//
// Threads: the main thread only.
#pragma once
#include "client/cli/drain.h"

struct cli_exporter;

struct cli_export {
    struct cli_drain drain;
    const char *directory;
    uint64_t shard_items; // of tar shards; 0: not given
    int folder;           // the directory, open
    bool begun;           // a run was killed between its first file and its first checkpoint
    bool marked;          // and this one would look like it now
    struct cli_exporter *exporter;
};

struct cli_exporter { // embedded at the start of each kind
    bool (*batch)(struct cli_export *export_, const struct batchmill_batch *batch,
                  struct batchmill_error *error);
    // All files are whole as they are, and on the disk; says in drain.done where they end.
    bool (*flush)(struct cli_export *export_, struct batchmill_error *error);
    void (*free)(struct cli_exporter *exporter);
};

// Begin, or go on behind what drain.kept says is there. NULL: *error says why.
struct cli_exporter *cli_export_npy(struct cli_export *export_,
                                    const struct batchmill_stream_info *info,
                                    struct batchmill_error *error);
struct cli_exporter *cli_export_tar(struct cli_export *export_,
                                    const struct batchmill_stream_info *info,
                                    struct batchmill_error *error);

struct cli_exporter *cli_export_arrow(struct cli_export *export_,
                                      const struct batchmill_stream_info *info,
                                      struct batchmill_error *error);

// "cannot write DIRECTORY/NAME: what errno says"; false.
bool cli_export_fail(const struct cli_export *export_, const char *name,
                     struct batchmill_error *error);
// How a file is opened: the one of the checkpoint, or a new one, which must not overwrite others'.
int cli_export_flags(const struct cli_export *export_);
bool cli_write_all(int file, const void *data, size_t size); // false: errno says why
