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

// SplitMix64's finaliser: a bijection that mixes all bits; 0 stays 0.
//     x ^= x >> 30, x *= 0xbf58476d1ce4e5b9, x ^= x >> 27, x *= 0x94d049bb133111eb, x ^= x >> 31
static inline uint64_t bm_mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// The numbers of one stream, for any language (proto/golden/order.json has test vectors):
//     key     = mix64(mix64(mix64(seed) ^ epoch) ^ action), its low 32 bits first
//     counter = low 32 bits of item, high 32 bits of item, block (low, high); block = 0, 1, 2, ...
//     u32     = word 0, 1, 2, 3 of philox(counter, key) for block 0, then those of block 1, ...
//     u64     = the next u32 as the low half, the one after it as the high half
//     below   = high 64 bits of u64 * bound; drawn again while the low 64 bits are below
//               2^64 mod bound
//     uniform = (u64 >> 11) * 2^-53
//     ratio   = low * exp(uniform * log(high / low)), both by the series in random.c
//     beta    = x / (x + y) for two draws of gamma: with d = alpha + 2/3, c = 1 / sqrt(9 d), again
//     and
//               again n = normal, v = (1 + c n)^3 and, if v > 0, u = open, until v > 0 and
//               log(u) < n^2 / 2 + d - d v + d log(v); then d v exp(log(open) / alpha), where
//               open = ((u64 >> 12) + 0.5) * 2^-52
//     normal  = the normal quantile (AS 241, PPND16) of ((u64 >> 12) + 0.5) * 2^-52
void bm_random_init(struct bm_random *random, uint64_t seed, uint64_t epoch, uint64_t item,
                    uint32_t action);
uint32_t bm_random_u32(struct bm_random *random);
uint64_t bm_random_u64(struct bm_random *random);
uint64_t bm_random_below(struct bm_random *random, uint64_t bound); // 0 .. bound-1, unbiased
double bm_random_uniform(struct bm_random *random);                 // [0, 1), 53 bits
double bm_random_normal(struct bm_random *random);                  // mean 0, deviation 1
// Between low > 0 and high, the logarithm evenly: as often below 1 as above in 1/2 .. 2.
double bm_random_ratio(struct bm_random *random, double low, double high);
// Beta(alpha, alpha), alpha at least 0.1: [0, 1], about 1/2.
double bm_random_beta(struct bm_random *random, double alpha);

// The generator's bare function, for test vectors.
void bm_philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t ret[4]);
