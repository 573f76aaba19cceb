// batch.h -- some items as named tensors, with their indices. Layer: data (may include base).
//
// Memory: the bytes of a tensor lie in a block, shared by reference count, so that a component an
// action leaves alone passes to the next schema without a copy, and a source may lend mapped
// memory. A block that only this tensor refers to and that is not lent may be written in place.
// Threads: a batch belongs to one thread at a time; blocks may be shared between threads.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "data/schema.h"
#include "data/shared.h"

enum { BM_TENSOR_ALIGNMENT = 64 }; // of the first byte of every block that bm_block_new() makes

struct bm_block;
struct bm_block *bm_block_new(uint64_t size_bytes); // not zeroed; NULL when out of memory
// One that a client on this host may map, as long as it is referred to. NULL: there is none to be
// had.
struct bm_block *bm_block_new_shared(struct bm_shared_pool *pool, uint64_t size_bytes);
// Lends memory that somebody else owns: read-only, `release(owner)` is called at the last unref.
struct bm_block *bm_block_lend(void *data, uint64_t size_bytes, void (*release)(void *owner),
                               void *owner);
struct bm_block *bm_block_ref(struct bm_block *block);
struct bm_block *bm_block_unref(struct bm_block *block); // returns NULL; NULL is fine
void *bm_block_data(struct bm_block *block);
uint64_t bm_block_size(const struct bm_block *block);
const struct bm_shared *bm_block_shared(const struct bm_block *block); // NULL: it is not
// A client may see it for longer than anybody here refers to it: nobody writes it any more.
void bm_block_taint(struct bm_block *block);
bool bm_block_writable(const struct bm_block *block); // one reference, not lent, not tainted
// Neither lent nor tainted, and all its references are these: whoever holds them may write.
bool bm_block_owned(const struct bm_block *block, unsigned references);

struct bm_tensor { // of component c of the batch's schema; all zero = not there yet
    struct bm_block *block;
    unsigned char *data; // in `block`; values of a ragged component; may be NULL if size is 0
    uint64_t size_bytes; // of the values
    struct bm_block *offsets_block;
    const uint64_t *offsets; // [batch + 1] rows (bytes for text) for ragged components, or NULL
};

struct bm_batch {
    const struct bm_schema *schema; // borrowed from the pipeline
    struct bm_tensor *tensors;      // [schema->ncomponents]
    bool tensors_borrowed;          // by bm_batch_init_in()
    // Where large dense components lie, so that clients may map them; NULL: in memory of our own.
    struct bm_shared_pool *shared;
    uint64_t nitems;
    const uint64_t *items;       // [nitems] index of each item in the source; borrowed
    const uint64_t *item_epochs; // [nitems] epoch of each item; borrowed
};

// An empty batch of `schema`: tensors all zero. `items` and `item_epochs` are borrowed.
enum bm_status bm_batch_init(struct bm_batch *batch, const struct bm_schema *schema,
                             const uint64_t *items, const uint64_t *item_epochs, uint64_t nitems,
                             struct bm_error *err);
// The same in memory for schema->ncomponents tensors, which the batch borrows: it cannot fail.
void bm_batch_init_in(struct bm_batch *batch, const struct bm_schema *schema,
                      struct bm_tensor *tensors, const uint64_t *items, const uint64_t *item_epochs,
                      uint64_t nitems);
void bm_batch_fini(struct bm_batch *batch); // an all-zero batch is fine

// Gives component `c` its memory: dense ones from the schema; ragged ones need `offsets`, of
// which the batch takes a reference on success (its data are uint64_t[nitems + 1]).
enum bm_status bm_batch_alloc(struct bm_batch *batch, unsigned c, struct bm_error *err);
enum bm_status bm_batch_alloc_ragged(struct bm_batch *batch, unsigned c, struct bm_block *offsets,
                                     struct bm_error *err);
void bm_batch_share(struct bm_batch *to, unsigned to_c, const struct bm_batch *from,
                    unsigned from_c); // the same memory under another schema, by reference
// Takes over from `from`, which is of no use any more, blocks that are as large as dense components
// of `to` without memory need, and that nobody else refers to. bm_batch_alloc() gives the rest.
void bm_batch_salvage(struct bm_batch *to, struct bm_batch *from);
// The same for component c alone; false: it found none. An all-zero `from` is fine.
bool bm_batch_salvage_one(struct bm_batch *to, unsigned c, struct bm_batch *from);
void bm_batch_move(struct bm_batch *to, unsigned to_c, struct bm_batch *from, unsigned from_c);

// Whether component `c` lies in a block that a client may map.
bool bm_batch_maps(const struct bm_batch *batch, unsigned c);

uint64_t bm_batch_bytes(const struct bm_batch *batch); // values and offsets of all tensors
// Where the rows [first, first + count) of component c lie, and how many elements they have.
unsigned char *bm_batch_rows(const struct bm_batch *batch, unsigned c, uint64_t first,
                             uint64_t count, uint64_t *ret_elements);
// The tensor's shape on the wire: [nitems, shape...], or [rows, shape[1..]...] when ragged
// ([bytes] for text). Returns the number of axes.
unsigned bm_batch_shape(const struct bm_batch *batch, unsigned c,
                        uint64_t ret_shape[BM_NDIM_MAX + 1]);
