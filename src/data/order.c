#include "data/order.h"

#include <stddef.h>

#include "base/random.h"

// ---- The permutation ----
//
// A Feistel network over the numbers of `bits` bits, applied again until the result is below n
// (cycle walking: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). `bits`
// is the length of n, so the domain is always larger than n: a network on exactly n = 2^k would
// give even permutations only.

//
// Measured: with 16 rounds the 24 permutations of 4 items are still unequally likely, with 24 no
// longer; from 256 items on 8 rounds are indistinguishable from chance, at 26 ns per item.
enum { ROUNDS_MAX = 32, ROUNDS_TINY = 32, ROUNDS = 8, TINY_BITS = 8 };

struct feistel {
    unsigned left_bits, right_bits;
    unsigned rounds;
    uint64_t keys[ROUNDS_MAX];
};

static void feistel_init(struct feistel *feistel, uint64_t seed, uint64_t epoch, uint64_t n)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(n);
    feistel->left_bits = bits / 2;
    feistel->right_bits = bits - bits / 2;
    feistel->rounds = bits <= TINY_BITS ? ROUNDS_TINY : ROUNDS;
    uint64_t key = bm_mix64(bm_mix64(seed + 0x9e3779b97f4a7c15u) ^ epoch);
    for (unsigned round = 0; round < feistel->rounds; round++)
        feistel->keys[round] = bm_mix64(key + (round + 1) * 0x9e3779b97f4a7c15u);
}

static uint64_t low_bits(uint64_t x, unsigned bits)
{
    return bits == 64 ? x : x & (((uint64_t)1 << bits) - 1);
}

// The halves may differ by one bit: they swap roles each round, and the rounds are even.
static uint64_t feistel_apply(const struct feistel *feistel, uint64_t x)
{
    unsigned left_bits = feistel->left_bits, right_bits = feistel->right_bits;
    uint64_t left = x >> right_bits, right = low_bits(x, right_bits);
    for (unsigned round = 0; round < feistel->rounds; round++) {
        uint64_t mixed = left ^ low_bits(bm_mix64(feistel->keys[round] ^ right), left_bits);
        left = right;
        right = mixed;
        unsigned bits = left_bits;
        left_bits = right_bits;
        right_bits = bits;
    }
    return left << right_bits | right;
}

static uint64_t feistel_walk(const struct feistel *feistel, uint64_t n, uint64_t position)
{
    do
        position = feistel_apply(feistel, position);
    while (position >= n);
    return position;
}

uint64_t bm_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position)
{
    struct feistel feistel;
    feistel_init(&feistel, seed, epoch, n);
    return feistel_walk(&feistel, n, position);
}

// ---- How many batches ----

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

// A bound that no seq reaches, so that position arithmetic cannot overflow.
static uint64_t order_seq_max(const struct bm_order_params *params)
{
    return ((uint64_t)1 << 62) / (params->batch_size * params->shard_count);
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
    if (nitems > (uint64_t)1 << 62)
        return bm_fail(err, BM_INVALID_ARGUMENT, "source", "expected at most 2^62 items");
    if (nitems == 0 && params->n_iters != BM_ORDER_UNSET)
        return bm_fail(err, BM_INVALID_ARGUMENT, "n_iters", "the source is empty: it has no batch");
    return BM_OK;
}

static enum bm_status order_no_batch(const struct bm_order *order, struct bm_error *err)
{
    return bm_fail(err, BM_INVALID_ARGUMENT, "batch_size",
                   "with drop_last expected at most %llu items, for a shard of %llu; got %llu",
                   (unsigned long long)(order->nitems / order->params.shard_count),
                   (unsigned long long)order->nitems, (unsigned long long)order->params.batch_size);
}

static void order_count_stop(struct bm_order *order, uint64_t n_epochs)
{
    uint64_t seq_max = order_seq_max(&order->params);
    order->epoch_batches = order_count(&order->params, order->nitems);
    if (order->params.n_iters != BM_ORDER_UNSET)
        order->nbatches = order->params.n_iters;
    else if (n_epochs == 0)
        order->nbatches = BM_ORDER_ENDLESS;
    else if (__builtin_mul_overflow(order->epoch_batches, n_epochs, &order->nbatches))
        order->nbatches = seq_max;
    if (order->nbatches != BM_ORDER_ENDLESS && order->nbatches > seq_max)
        order->nbatches = seq_max;
}

static void order_count_cross(struct bm_order *order, uint64_t n_epochs)
{
    uint64_t seq_max = order_seq_max(&order->params);
    order->length = BM_ORDER_ENDLESS;
    if (order->params.n_iters != BM_ORDER_UNSET)
        order->nbatches = order->params.n_iters;
    else if (n_epochs == 0)
        order->nbatches = BM_ORDER_ENDLESS;
    else if (__builtin_mul_overflow(order->nitems, n_epochs, &order->length) ||
             order->length > (uint64_t)1 << 62)
        order->nbatches = seq_max;
    else
        order->nbatches = order_count(&order->params, order->length);
    if (order->nbatches != BM_ORDER_ENDLESS && order->nbatches > seq_max)
        order->nbatches = seq_max;
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
    uint64_t n_epochs = params->n_epochs == BM_ORDER_UNSET ? 1 : params->n_epochs;
    if (nitems == 0) {
        *order = made;
        return BM_OK;
    }
    if (made.params.epoch_border == BM_BORDER_STOP) {
        order_count_stop(&made, n_epochs);
        if (made.epoch_batches == 0)
            return order_no_batch(&made, err);
    } else {
        order_count_cross(&made, n_epochs);
        if (made.nbatches == 0)
            return order_no_batch(&made, err);
    }
    *order = made;
    return BM_OK;
}

uint64_t bm_order_nbatches(const struct bm_order *order)
{
    return order->nbatches;
}

uint64_t bm_order_epoch_batches(const struct bm_order *order)
{
    return order->epoch_batches;
}

// ---- Which positions ----

// The shard's positions first, first + shards, ..., of a row of `positions`.
struct slice {
    uint64_t first, count;
    uint64_t positions;
};

// Batch t of the shard's share of a row. Where it would be empty although other shards have one,
// it is one position from the start of the row.
static struct slice order_slice(const struct bm_order *order, uint64_t t, uint64_t positions)
{
    uint64_t shards = order->params.shard_count, size = order->params.batch_size;
    uint64_t first = order->params.shard_index + shards * t * size;
    struct slice slice = {.first = first, .count = 1, .positions = positions};
    if (first < positions) {
        uint64_t left = ceil_divide(positions - first, shards);
        slice.count = left < size ? left : size;
    }
    return slice;
}

static struct slice order_batch(const struct bm_order *order, uint64_t seq, uint64_t *ret_epoch)
{
    if (order->params.epoch_border == BM_BORDER_STOP) {
        *ret_epoch = seq / order->epoch_batches;
        return order_slice(order, seq % order->epoch_batches, order->nitems);
    }
    *ret_epoch = 0;
    return order_slice(order, seq, order->length);
}

uint64_t bm_order_size(const struct bm_order *order, uint64_t seq)
{
    uint64_t epoch;
    return order_batch(order, seq, &epoch).count;
}

void bm_order_items(const struct bm_order *order, uint64_t seq, uint64_t *items, uint64_t *epochs)
{
    uint64_t epoch, keyed_epoch = 0;
    struct slice slice = order_batch(order, seq, &epoch);
    struct feistel feistel;
    bool keyed = false;
    for (uint64_t i = 0; i < slice.count; i++) {
        uint64_t position = (slice.first + i * order->params.shard_count) % slice.positions;
        uint64_t in_epoch = epoch + position / order->nitems;
        position %= order->nitems;
        if (order->params.shuffle && (!keyed || keyed_epoch != in_epoch)) {
            feistel_init(&feistel, order->params.seed, in_epoch, order->nitems);
            keyed = true;
            keyed_epoch = in_epoch;
        }
        items[i] =
            order->params.shuffle ? feistel_walk(&feistel, order->nitems, position) : position;
        if (epochs != NULL)
            epochs[i] = in_epoch;
    }
}

uint64_t bm_order_epoch(const struct bm_order *order, uint64_t seq)
{
    uint64_t epoch;
    struct slice slice = order_batch(order, seq, &epoch);
    return epoch + slice.first % slice.positions / order->nitems;
}
