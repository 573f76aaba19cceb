// order.h -- which items batch `seq` holds: a pure function. Layer: data (may include base).
//
// Nothing is remembered: any server computes batch 123,456 without the ones before it, and a
// billion items cost no memory. proto/ORDER.md gives the algorithm for other languages, and
// proto/golden/order.json its test vectors.
// Threads: immutable after bm_order_init(); any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct bm_groups; // groups.h

#define BM_ORDER_UNSET UINT64_MAX   // a parameter that was not given
#define BM_ORDER_ENDLESS UINT64_MAX // bm_order_nbatches() of an endless stream

enum { BM_BATCH_SIZE_MAX = 1 << 24, BM_SHARDS_MAX = 1 << 20 };

enum bm_epoch_border { BM_BORDER_STOP = 0, BM_BORDER_CROSS = 1 };

struct bm_order_params {
    uint64_t batch_size; // items, 1 to BM_BATCH_SIZE_MAX
    bool shuffle;
    uint64_t seed;     // of the permutation, and of random actions also without shuffle
    uint64_t n_epochs; // 0 = endless, BM_ORDER_UNSET = 1 unless n_iters is given
    uint64_t n_iters;  // batches; BM_ORDER_UNSET = until the epochs end
    bool drop_last;
    enum bm_epoch_border epoch_border;
    uint64_t shard_index, shard_count; // shard i of n; 0 of 1 for all (count 0 reads as 1)
    // With `shuffle`: batches of items of like length. NULL: of any items. Borrowed.
    const struct bm_groups *groups;
};

struct bm_order { // treat as opaque
    struct bm_order_params params;
    uint64_t nitems;
    uint64_t nbatches;      // in the stream, or BM_ORDER_ENDLESS
    uint64_t epoch_batches; // with BM_BORDER_STOP: batches of one epoch
    uint64_t length;        // with BM_BORDER_CROSS: positions of all epochs, or ENDLESS
};

// Checks the parameters against a source of `nitems` items. An error's `where` is the
// parameter's name. An empty source gives a stream of no batches.
enum bm_status bm_order_init(struct bm_order *order, const struct bm_order_params *params,
                             uint64_t nitems, struct bm_error *err);
uint64_t bm_order_nbatches(const struct bm_order *order); // or BM_ORDER_ENDLESS
// What no seq exceeds: the number of batches; of an endless stream, where positions run out.
uint64_t bm_order_seq_max(const struct bm_order *order);
uint64_t bm_order_size(const struct bm_order *order, uint64_t seq); // items in batch seq
// Fills items[bm_order_size()] and epochs[] (may be NULL) of batch `seq` < nbatches.
void bm_order_items(const struct bm_order *order, uint64_t seq, uint64_t *items, uint64_t *epochs);
uint64_t bm_order_epoch(const struct bm_order *order, uint64_t seq); // of its first item
// Batches in one epoch (0 when batches cross epochs), for progress.
uint64_t bm_order_epoch_batches(const struct bm_order *order);
