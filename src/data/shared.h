// shared.h -- memory that another process on this host may map, but not write.
// Layer: data (may include base).
//
// Each piece is a file of its own in memory, sealed so that nobody can resize it, nor write it
// through any other mapping than ours: what a client sees does not change until we change it, and
// never goes away under it. Pieces that are given back are kept for the next of their size, up to
// a bound; one that was *tainted*, as a client may still look at it, is not.
// Threads: any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/shared_head.h"

enum {
    BM_SHARED_BYTES_MIN = 64 * 1024, // a smaller piece is cheaper to send
    BM_SHARED_POOL_BYTES = 64 * 1024 * 1024,
    BM_SHARED_DESCRIPTORS_MAX = 512, // of a pool; fewer where the process may open few files
};

// Where the pieces come from, and where those that are given back are kept.
struct bm_shared_pool;
// `bytes_min`: a smaller tensor need not be shared. NULL: out of memory.
struct bm_shared_pool *bm_shared_pool_new(uint64_t bytes_min);
void bm_shared_pool_free(struct bm_shared_pool *pool); // all was given back; NULL is fine
uint64_t bm_shared_pool_bytes_min(const struct bm_shared_pool *pool);

// A file in memory that holds a number nobody can guess: who reads the same number under our pid
// and descriptor sees this process and may open what it has open, so is on the same host, in the
// same namespace of processes, and the same user or a stronger one.
struct bm_probe {
    uint32_t pid, fd;
    unsigned char nonce[BM_SHARED_NONCE_BYTES];
};
bool bm_probe_open(struct bm_probe *ret_probe); // false: there can be none
void bm_probe_close(const struct bm_probe *probe);

struct bm_shared;
// NULL: there is no more memory, no more file, or no such thing on this system.
struct bm_shared *bm_shared_new(struct bm_shared_pool *pool, uint64_t size_bytes);
void bm_shared_free(struct bm_shared *shared); // NULL is fine
void *bm_shared_data(struct bm_shared *shared);
void bm_shared_taint(struct bm_shared *shared); // it is never used for anything else
bool bm_shared_tainted(const struct bm_shared *shared);

struct bm_shared_place { // where another process finds it
    int fd;              // of this process
    uint64_t block;      // as in its head
};
struct bm_shared_place bm_shared_place(const struct bm_shared *shared);

unsigned bm_shared_descriptors_max(void); // how many files a pool may take
