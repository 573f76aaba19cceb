#include "data/permutation.h"

#include "base/error.h"
#include "base/random.h"

// A Feistel network over the numbers of `bits` bits, applied again until the result is below n
// (cycle walking: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). Each
// round of such a network is an even permutation, so parity would betray it (with n = 15 just 1
// epoch in 16 would be even): one key bit swaps items 0 and 1.
//
// Measured: halves of 3 bits make every order of 2 to 6 items equally likely within 8 rounds,
// which smaller domains miss even after 16; 8 rounds of any larger domain cannot be told from
// chance. About 11 ns an item.
enum { ROUNDS = BM_PERMUTATION_ROUNDS, BITS_MIN = 6 };
enum { LANES = 8, CHUNK = 64 }; // positions in one go; between two looks at which are below n
static const uint64_t GOLDEN = 0x9e3779b97f4a7c15; // 2^64 / the golden ratio: SplitMix64's step

void bm_permutation_init(struct bm_permutation *permutation, uint64_t seed, uint64_t epoch,
                         uint64_t n)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(n);
    if (bits < BITS_MIN)
        bits = BITS_MIN;
    permutation->n = n;
    permutation->left_bits = bits / 2;
    permutation->right_bits = bits - bits / 2;
    uint64_t key = bm_mix64(bm_mix64(seed + GOLDEN) ^ epoch);
    for (unsigned round = 0; round < ROUNDS; round++)
        permutation->keys[round] = bm_mix64(key + (round + 1) * GOLDEN);
    permutation->swap = n > 1 ? bm_mix64(key) & 1 : 0;
}

// Takes `lanes` positions through the rounds together: they do not depend on each other, so the
// processor works on several at once, and an item takes half the time.
static inline __attribute__((always_inline)) void
permutation_rounds(const struct bm_permutation *permutation, uint64_t *x, unsigned lanes)
{
    const unsigned right_bits = permutation->right_bits;
    const uint64_t masks[2] = {((uint64_t)1 << permutation->left_bits) - 1,
                               ((uint64_t)1 << right_bits) - 1};
    uint64_t left[LANES], right[LANES];
    for (unsigned i = 0; i < lanes; i++) {
        left[i] = x[i] >> right_bits;
        right[i] = x[i] & masks[1];
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t key = permutation->keys[round], mask = masks[round % 2];
#pragma GCC unroll 8
        for (unsigned i = 0; i < lanes; i++) {
            uint64_t mixed = left[i] ^ (bm_mix64(key ^ right[i]) & mask);
            left[i] = right[i];
            right[i] = mixed;
        }
    }
    for (unsigned i = 0; i < lanes; i++)
        x[i] = left[i] << right_bits | right[i];
}

static void permutation_pass(const struct bm_permutation *permutation, uint64_t *x, uint64_t count)
{
    uint64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        permutation_rounds(permutation, x + i, LANES);
    for (; i < count; i++)
        permutation_rounds(permutation, x + i, 1);
}

// Positions become items, `count` <= CHUNK of them: what is not below n yet goes round again.
static void permutation_chunk(const struct bm_permutation *permutation, uint64_t *x, uint64_t count)
{
    uint64_t walking[CHUNK], places[CHUNK], nwalking = 0;
    permutation_pass(permutation, x, count);
    for (uint64_t i = 0; i < count; i++) {
        walking[nwalking] = x[i];
        places[nwalking] = i;
        nwalking += x[i] >= permutation->n;
    }
    while (nwalking > 0) {
        permutation_pass(permutation, walking, nwalking);
        uint64_t still = 0;
        for (uint64_t i = 0; i < nwalking; i++) {
            uint64_t item = walking[i];
            x[places[i]] = item;
            walking[still] = item;
            places[still] = places[i];
            still += item >= permutation->n;
        }
        nwalking = still;
    }
    for (uint64_t i = 0; i < count; i++)
        x[i] ^= x[i] < 2 ? permutation->swap : 0;
}

void bm_permutation_apply(const struct bm_permutation *permutation, uint64_t *x, uint64_t count)
{
    for (uint64_t i = 0; i < count; i += CHUNK)
        permutation_chunk(permutation, x + i, count - i < CHUNK ? count - i : CHUNK);
}

uint64_t bm_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position)
{
    BM_ASSERT(position < n); // walking from outside might never come in
    struct bm_permutation permutation;
    bm_permutation_init(&permutation, seed, epoch, n);
    permutation_chunk(&permutation, &position, 1);
    return position;
}
