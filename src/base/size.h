// size.h -- sizes that come from users, peers and files: arithmetic, and how they are written.
// Layer: base.
//
// Each returns false on overflow or bad text and leaves *ret alone; the caller turns that into an
// error that names the input. Threads: any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

static inline bool bm_size_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *ret = product;
    return true;
}

static inline bool bm_size_add(uint64_t a, uint64_t b, uint64_t *ret)
{
    uint64_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *ret = sum;
    return true;
}

static inline uint64_t bm_size_align(uint64_t size, uint64_t alignment) // a power of two
{
    return (size + alignment - 1) & ~(alignment - 1);
}

// "1048576", "512MiB", "4GiB", "10GB": B, and kilo to tera in powers of 1000 (kB) or 1024 (KiB).
bool bm_size_parse(const char *text, uint64_t *ret_bytes);
#define BM_SIZE_RULE "a number of bytes such as 1048576, 512MiB or 4GiB"
