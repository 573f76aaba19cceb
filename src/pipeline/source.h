// source.h -- where items come from: knows how many there are, reads any of them.
// Layer: pipeline (may include base, data).
//
// Threads: open() and close() on one thread; read() from any worker, for several batches at once.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "data/batch.h"
#include "pipeline/params.h"

struct bm_source_type;
struct bm_source_ref; // pipeline.h

struct bm_source { // embedded at the start of a type's own struct
    const struct bm_source_type *type;
    uint64_t nitems;
    struct bm_schema schema;
    // Hash of the data's identity: equal for equal data on two servers (contents, or an id that
    // the user gave), never of a modification time.
    uint64_t identity;
    bool by_epoch; // what item i is depends on the epoch as well (batch->item_epochs)
};

struct bm_source_type {
    const char *name;
    const char *doc;
    const struct bm_param *params;
    unsigned nparams;
    size_t config_bytes;
    uint64_t code; // hash of code that is not the product's own: part of fingerprints; else 0
    // Relative paths are meant from `directory` (of the configuration file). Copies what it
    // needs of `config`. Errors about data name file, row and column.
    enum bm_status (*open)(const void *config, const char *directory, const char *where,
                           struct bm_source **ret_source, struct bm_error *err);
    // Instead of open(), for types that were made at run time: it knows which one it is.
    enum bm_status (*open_type)(const struct bm_source_type *type, const void *config,
                                const char *directory, const char *where,
                                struct bm_source **ret_source, struct bm_error *err);
    // A source over others has these two instead of open(). Which others: names that `config` has,
    // borrowed.
    void (*over)(const void *config, char *const **ret_names, unsigned *ret_n);
    // The same as open(), with those sources in that order; it takes references.
    enum bm_status (*open_over)(const void *config, struct bm_source_ref *const *parts,
                                unsigned nparts, const char *where, struct bm_source **ret_source,
                                struct bm_error *err);
    void (*close)(struct bm_source *source); // NULL never comes
    // Fills every component of `batch` for its items (all < nitems). Dense tensors are allocated;
    // ragged ones are for the source to allocate. An error names the item in `ret_row` (row in
    // the batch), or leaves it alone.
    enum bm_status (*read)(const struct bm_source *source, struct bm_batch *batch, int64_t *ret_row,
                           struct bm_error *err);
    // What bm_source_numbers() gives, without reading whole items; or NULL.
    enum bm_status (*numbers)(const struct bm_source *source, unsigned c, double *ret_numbers,
                              struct bm_error *err);
};

// Component c of all items, [nitems], for sources and orders that depend on it: the value of a
// scalar number, the length of what is ragged. Where the type has no numbers() of its own, it
// reads everything once. An error's place is the component, or the item that cannot be read; a
// source whose items depend on the epoch is refused.
enum bm_status bm_source_numbers(const struct bm_source *source, unsigned c, double *ret_numbers,
                                 struct bm_error *err);

// "directory/path", or `path` itself when absolute. NULL when out of memory; the caller frees.
char *bm_source_path(const char *directory, const char *path);
