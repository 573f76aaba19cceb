// random.h -- a counter-based generator: number j of key k is a pure function. Layer: base.
//
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3",
// SC11). A stream of numbers is keyed by (seed, epoch, item index, action position), so what an
// action draws for an item does not depend on prefetch, workers, retries or the batch the item
// is in. Everything here is integer arithmetic or plain IEEE double operations without libm, so
// it gives the same bits on every machine (built with -ffp-contract=off).
// Threads: one thread at a time per struct bm_random; it is small and lives on the stack.
#pragma once
#include <stdint.h>

struct bm_random {
    uint32_t key[2];
    uint32_t counter[4]; // item index (2 words), block number (2 words)
    uint32_t block[4];   // the numbers of the current block
    unsigned used;       // how many of them were given out
};

uint64_t bm_mix64(uint64_t x); // SplitMix64's finaliser: a bijection that mixes all bits

void bm_random_init(struct bm_random *random, uint64_t seed, uint64_t epoch, uint64_t item,
                    uint32_t action);
uint32_t bm_random_u32(struct bm_random *random);
uint64_t bm_random_u64(struct bm_random *random);
uint64_t bm_random_below(struct bm_random *random, uint64_t bound); // 0 .. bound-1, unbiased
double bm_random_uniform(struct bm_random *random);                 // [0, 1), 53 bits
double bm_random_normal(struct bm_random *random);                  // mean 0, deviation 1

// The generator's bare function, for test vectors.
void bm_philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t ret[4]);
