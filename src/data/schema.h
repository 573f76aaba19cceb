// schema.h -- the components a batch has: names, dtypes and the shape of one item.
// Layer: data (may include base).
//
// A *dense* component gives every item the same shape: its tensor is [batch, shape...], C order.
// A *ragged* component gives each item its own length along the item's first axis: its values
// are [sum of lengths, shape[1..]...] and offsets[batch + 1] say where each item starts;
// shape[0] is written 0 and means "varies". bytes and string are always ragged with ndim 0: the
// values are bytes, and offsets count bytes.
// Threads: immutable after it was built.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/name.h"
#include "data/dtype.h"
#include "data/vocabulary.h"

enum { BM_NDIM_MAX = 16, BM_COMPONENTS_MAX = 256 };

struct bm_component {
    char name[BM_NAME_MAX + 1];
    enum bm_dtype dtype;
    bool ragged;
    unsigned ndim;               // of one item, without the batch axis; 0 = a scalar
    uint64_t shape[BM_NDIM_MAX]; // of one item; C order
    // What the values of an integer component stand for, or NULL. A schema holds a reference; in a
    // component that lies elsewhere it is borrowed.
    struct bm_vocabulary *vocabulary;
};

struct bm_schema { // owns `components`
    unsigned ncomponents;
    struct bm_component *components;
};

void bm_schema_init(struct bm_schema *schema);
void bm_schema_fini(struct bm_schema *schema);
enum bm_status bm_schema_copy(const struct bm_schema *from, struct bm_schema *to,
                              struct bm_error *err); // `to` was not initialised

// Appends a copy. Refuses bad or repeated names, too many components or axes, a shape whose size
// overflows, and text that is not ragged with ndim 0. Only integers keep a vocabulary.
enum bm_status bm_schema_add(struct bm_schema *schema, const struct bm_component *component,
                             struct bm_error *err);
int bm_schema_find(const struct bm_schema *schema, const char *name); // -1: none
// Like find, with an error that lists the names there are; `where` is the parameter's path.
enum bm_status bm_schema_require(const struct bm_schema *schema, const char *name,
                                 const char *where, unsigned *ret_index, struct bm_error *err);

uint64_t bm_component_elements(const struct bm_component *component);   // of one item; for ragged
                                                                        // ones of one row of it
uint64_t bm_component_item_bytes(const struct bm_component *component); // the same, in bytes
bool bm_schema_fixed(const struct bm_schema *schema);                   // true: no ragged component

// "pixels float32 [8, 8], label int64 []", for describe and error texts.
void bm_component_print(const struct bm_component *component, struct bm_buffer *out);
void bm_schema_print(const struct bm_schema *schema, struct bm_buffer *out);
