#include "data/order.h"

#include <stddef.h>

#include "base/size.h"
#include "data/groups.h"
#include "data/permutation.h"

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
    const struct bm_order_params *params = &order->params;
    if (!params->shuffle)
        return;
    if (params->groups != NULL) {
        bm_groups_apply(params->groups, params->seed, epoch, params->batch_size,
                        params->shard_count, items, count);
        return;
    }
    struct bm_permutation permutation;
    bm_permutation_init(&permutation, params->seed, epoch, order->nitems);
    bm_permutation_apply(&permutation, items, count);
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
        order_shuffle(order, epoch, items + done, count);
        epoch += position / nitems; // on into a later one
        position %= nitems;
        done += count;
    }
}
