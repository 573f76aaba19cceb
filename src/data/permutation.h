// permutation.h -- a keyed bijection on 0 .. n-1: what shuffling is made of. Layer: data (may
// include base).
//
// proto/ORDER.md gives the algorithm for other languages.
// Threads: immutable after bm_permutation_init(); any thread.
#pragma once
#include <stdint.h>

enum { BM_PERMUTATION_ROUNDS = 8 };

struct bm_permutation { // treat as opaque
    uint64_t n;
    unsigned left_bits, right_bits; // of the first round; they swap roles each round
    uint64_t keys[BM_PERMUTATION_ROUNDS];
    uint64_t swap; // 1: items 0 and 1 are exchanged
};

// That of (seed, epoch) on 0 .. n-1; n > 0.
void bm_permutation_init(struct bm_permutation *permutation, uint64_t seed, uint64_t epoch,
                         uint64_t n);
// Positions below n become items, in place.
void bm_permutation_apply(const struct bm_permutation *permutation, uint64_t *x, uint64_t count);

// The item at one position.
uint64_t bm_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position);
