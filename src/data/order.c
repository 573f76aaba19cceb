#include "data/order.h"

#include <stddef.h>

#include "base/random.h"
#include "base/size.h"

// ---- The permutation ----
//
// A Feistel network over the numbers of `bits` bits, applied again until the result is below n
// (cycle walking: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). Each
// round of such a network is an even permutation, so parity would betray it (with n = 15 just 1
// epoch in 16 would be even): one key bit swaps items 0 and 1.
//
// Measured: halves of 3 bits make every order of 2 to 6 items equally likely within 8 rounds,
// which smaller domains miss even after 16; 8 rounds of any larger domain cannot be told from
// chance. About 11 ns an item.
enum { ROUNDS = 8, BITS_MIN = 6 };
enum { LANES = 8, CHUNK = 64 }; // positions in one go; between two looks at which are below n
static const uint64_t GOLDEN = 0x9e3779b97f4a7c15; // 2^64 / the golden ratio: SplitMix64's step

struct permutation {
    uint64_t n;
    unsigned left_bits, right_bits; // of the first round; they swap roles each round
    uint64_t keys[ROUNDS];
    uint64_t swap; // 1: items 0 and 1 are exchanged
};

static void permutation_init(struct permutation *permutation, uint64_t seed, uint64_t epoch,
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
permutation_rounds(const struct permutation *permutation, uint64_t *x, unsigned lanes)
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

static void permutation_pass(const struct permutation *permutation, uint64_t *x, uint64_t count)
{
    uint64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        permutation_rounds(permutation, x + i, LANES);
    for (; i < count; i++)
        permutation_rounds(permutation, x + i, 1);
}

// Positions become items, `count` <= CHUNK of them: what is not below n yet goes round again.
static void permutation_apply(const struct permutation *permutation, uint64_t *x, uint64_t count)
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

uint64_t bm_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position)
{
    BM_ASSERT(position < n); // walking from outside might never come in
    struct permutation permutation;
    permutation_init(&permutation, seed, epoch, n);
    permutation_apply(&permutation, &position, 1);
    return position;
}

// ---- How many batches ----

#define POSITIONS_MAX ((uint64_t)1 << 62)

static uint64_t ceil_divide(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

// Batches of each shard over `positions`: equally many for all.
static uint64_t order_count(const struct bm_order_params *params, uint64_t positions)
{
    uint64_t shards = params->shard_count;
    if (params->drop_last)
        return positions / shards / params->batch_size;
    return ceil_divide(ceil_divide(positions, shards), params->batch_size);
}

// Up to here the arithmetic on positions cannot overflow, and no stream lasts that long. An epoch
// of 2^62 items is well below it.
static uint64_t order_seq_max(const struct bm_order_params *params)
{
    return ((uint64_t)1 << 63) / (params->batch_size * params->shard_count);
}

static enum bm_status order_check(const struct bm_order_params *params, uint64_t nitems,
                                  struct bm_error *err)
{
    if (params->batch_size < 1 || params->batch_size > BM_BATCH_SIZE_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "batch_size", "expected 1 to %d items, got %llu",
                       BM_BATCH_SIZE_MAX, (unsigned long long)params->batch_size);
    if (params->shard_count > BM_SHARDS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "shard_count", "expected at most %d, got %llu",
                       BM_SHARDS_MAX, (unsigned long long)params->shard_count);
    if (params->shard_index >= params->shard_count)
        return bm_fail(err, BM_INVALID_ARGUMENT, "shard_index", "expected 0 to %llu, got %llu",
                       (unsigned long long)params->shard_count - 1,
                       (unsigned long long)params->shard_index);
    if (params->n_epochs != BM_ORDER_UNSET && params->n_iters != BM_ORDER_UNSET)
        return bm_fail(err, BM_INVALID_ARGUMENT, "n_iters",
                       "n_epochs and n_iters exclude each other");
    if (params->n_iters == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, "n_iters", "expected at least 1 batch, got 0");
    if (params->n_iters != BM_ORDER_UNSET && params->n_iters > order_seq_max(params))
        return bm_fail(err, BM_INVALID_ARGUMENT, "n_iters",
                       "expected at most %llu batches of this size, got %llu",
                       (unsigned long long)order_seq_max(params),
                       (unsigned long long)params->n_iters);
    if (nitems > POSITIONS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "source", "expected at most 2^62 items, got %llu",
                       (unsigned long long)nitems);
    if (nitems == 0 && params->n_iters != BM_ORDER_UNSET)
        return bm_fail(err, BM_INVALID_ARGUMENT, "n_iters", "the source is empty: it has no batch");
    return BM_OK;
}

static enum bm_status order_no_batch(const struct bm_order *order, struct bm_error *err)
{
    const struct bm_order_params *params = &order->params;
    bool stop = params->epoch_border == BM_BORDER_STOP;
    uint64_t positions = stop ? order->nitems : order->length;
    if (positions < params->shard_count)
        return bm_fail(err, BM_INVALID_ARGUMENT, "shard_count",
                       "with drop_last expected at most %llu, one item for each shard, got %llu",
                       (unsigned long long)positions, (unsigned long long)params->shard_count);
    return bm_fail(err, BM_INVALID_ARGUMENT, "batch_size",
                   "with drop_last expected at most %llu items, as there are no more in %s, "
                   "got %llu",
                   (unsigned long long)(positions / params->shard_count),
                   params->shard_count > 1 ? "a shard" : (stop ? "an epoch" : "all epochs"),
                   (unsigned long long)params->batch_size);
}

static void order_count_stop(struct bm_order *order, uint64_t n_epochs)
{
    uint64_t seq_max = order_seq_max(&order->params);
    order->epoch_batches = order_count(&order->params, order->nitems);
    if (order->params.n_iters != BM_ORDER_UNSET)
        order->nbatches = order->params.n_iters;
    else if (n_epochs == 0)
        order->nbatches = BM_ORDER_ENDLESS;
    else if (!bm_size_mul(order->epoch_batches, n_epochs, &order->nbatches) ||
             order->nbatches > seq_max)
        order->nbatches = seq_max;
}

static void order_count_cross(struct bm_order *order, uint64_t n_epochs)
{
    order->length = BM_ORDER_ENDLESS;
    uint64_t length;
    if (order->params.n_iters != BM_ORDER_UNSET) {
        order->nbatches = order->params.n_iters;
    } else if (n_epochs == 0) {
        order->nbatches = BM_ORDER_ENDLESS;
    } else if (!bm_size_mul(order->nitems, n_epochs, &length) || length > POSITIONS_MAX) {
        order->nbatches = order_seq_max(&order->params);
    } else {
        order->length = length;
        order->nbatches = order_count(&order->params, length);
    }
}

enum bm_status bm_order_init(struct bm_order *order, const struct bm_order_params *params,
                             uint64_t nitems, struct bm_error *err)
{
    struct bm_order made = {.params = *params, .nitems = nitems};
    if (made.params.shard_count == 0)
        made.params.shard_count = 1;
    enum bm_status status = order_check(&made.params, nitems, err);
    if (status != BM_OK)
        return status;
    if (nitems > 0) {
        bool stop = params->epoch_border == BM_BORDER_STOP;
        uint64_t n_epochs = params->n_epochs == BM_ORDER_UNSET ? 1 : params->n_epochs;
        if (stop)
            order_count_stop(&made, n_epochs);
        else
            order_count_cross(&made, n_epochs);
        if ((stop ? made.epoch_batches : made.nbatches) == 0)
            return order_no_batch(&made, err);
    }
    *order = made;
    return BM_OK;
}

uint64_t bm_order_nbatches(const struct bm_order *order)
{
    return order->nbatches;
}

uint64_t bm_order_seq_max(const struct bm_order *order)
{
    return order->nbatches == BM_ORDER_ENDLESS ? order_seq_max(&order->params) : order->nbatches;
}

uint64_t bm_order_epoch_batches(const struct bm_order *order)
{
    return order->epoch_batches;
}

// ---- Which positions ----

// Part of a shard's share of a row of positions: first, first + shards, ...
struct slice {
    uint64_t epoch; // of the row's position 0
    uint64_t first, count;
};

// Batch t of the shard's share. Where it would be empty although other shards have one, it is one
// position from the start of the row.
static struct slice order_slice(const struct bm_order *order, uint64_t t, uint64_t positions)
{
    uint64_t shards = order->params.shard_count, size = order->params.batch_size;
    uint64_t first = order->params.shard_index + shards * t * size;
    if (first >= positions)
        return (struct slice){.first = first % positions, .count = 1};
    uint64_t left = ceil_divide(positions - first, shards);
    return (struct slice){.first = first, .count = left < size ? left : size};
}

static struct slice order_batch(const struct bm_order *order, uint64_t seq)
{
    if (order->params.epoch_border == BM_BORDER_CROSS)
        return order_slice(order, seq, order->length);
    struct slice slice = order_slice(order, seq % order->epoch_batches, order->nitems);
    slice.epoch = seq / order->epoch_batches;
    return slice;
}

uint64_t bm_order_size(const struct bm_order *order, uint64_t seq)
{
    return order_batch(order, seq).count;
}

uint64_t bm_order_epoch(const struct bm_order *order, uint64_t seq)
{
    struct slice slice = order_batch(order, seq);
    return slice.epoch + slice.first / order->nitems;
}

static void order_shuffle(const struct bm_order *order, uint64_t epoch, uint64_t *items,
                          uint64_t count)
{
    struct permutation permutation;
    permutation_init(&permutation, order->params.seed, epoch, order->nitems);
    for (uint64_t i = 0; i < count; i += CHUNK)
        permutation_apply(&permutation, items + i, count - i < CHUNK ? count - i : CHUNK);
}

void bm_order_items(const struct bm_order *order, uint64_t seq, uint64_t *items, uint64_t *epochs)
{
    struct slice slice = order_batch(order, seq);
    const uint64_t nitems = order->nitems, shards = order->params.shard_count;
    uint64_t epoch = slice.epoch + slice.first / nitems, position = slice.first % nitems;
    for (uint64_t done = 0; done < slice.count;) {
        uint64_t left = slice.count - done, in_epoch = ceil_divide(nitems - position, shards);
        uint64_t count = left < in_epoch ? left : in_epoch; // of one epoch
        for (uint64_t i = done; i < done + count; i++) {
            items[i] = position;
            position += shards;
        }
        for (uint64_t i = done; epochs != NULL && i < done + count; i++)
            epochs[i] = epoch;
        if (order->params.shuffle)
            order_shuffle(order, epoch, items + done, count);
        epoch += position / nitems; // on into a later one
        position %= nitems;
        done += count;
    }
}
