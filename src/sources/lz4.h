// lz4.h -- decompresses a frame of LZ4 that lies in memory. Layer: sources (the only user of
// liblz4).
// Threads: any thread.
#pragma once
#include "base/error.h"

#include <stdint.h>

// A byte of LZ4 stands for no more than this many.
enum { BM_LZ4_RATIO_MAX = 255 };

// One frame that gives exactly `to_size` bytes. `where` is for errors.
enum bm_status bm_unlz4(const void *packed, uint64_t packed_size, void *to, uint64_t to_size,
                        const char *where, struct bm_error *err);
