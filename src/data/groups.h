// groups.h -- an order in which batches hold items of like length. Layer: data (may include base).
//
// Sequences are padded to the longest of their batch, so batches of like lengths waste little. The
// items are sorted by length once, 4 bytes each. In every epoch they change places within blocks of
// `width` batches of that order, each batch is cut out of it, and the batches come in an order of
// their own. So an item's place is a pure function, like that of any other order, and costs the
// same. proto/ORDER.md gives the algorithm for other languages.
// Threads: immutable after bm_groups_new(); any thread.
#pragma once
#include <stdint.h>

#include "base/error.h"

struct bm_groups;

// `lengths` [n] are in any unit; not a number counts as 0. Copies what it needs. Errors: n above
// 2^32 - 1, out of memory.
enum bm_status bm_groups_new(const double *lengths, uint64_t n, uint64_t width,
                             struct bm_groups **ret_groups, struct bm_error *err);
void bm_groups_free(struct bm_groups *groups);

// Positions of one epoch become items, in place. From position 0, every batch_size * nshards on
// end are to be of like length: a batch of each shard.
void bm_groups_apply(const struct bm_groups *groups, uint64_t seed, uint64_t epoch,
                     uint64_t batch_size, uint64_t nshards, uint64_t *x, uint64_t count);
