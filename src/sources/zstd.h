// zstd.h -- decompresses Zstandard files that lie in memory. Layer: sources (the only user of
// libzstd).
// Threads: any thread.
#pragma once
#include "sources/file.h"

// All frames of `packed`, one after the other. More than `size_max` bytes are an error, found
// before the memory for them is taken. `name` is the file's, for errors.
enum bm_status bm_unzstd(const struct bm_content *packed, uint64_t size_max, const char *name,
                         struct bm_content *ret_content, struct bm_error *err);
