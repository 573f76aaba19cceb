// table.h -- typed columns in memory, as what the text formats parse their files into at open.
// Layer: sources.
//
// A component is dense, or ragged: then its values lie one behind the other and offsets say where
// each item begins. A read only copies rows.
// Threads: built by one thread, then like every source (pipeline/source.h).
#pragma once
#include "base/buffer.h"
#include "pipeline/source.h"

struct bm_column {           // the values of one component
    uint64_t element_bytes;  // ragged: of one row
    uint64_t item_bytes;     // dense
    unsigned char *values;   // dense: [nitems * item_bytes]
    struct bm_buffer pieces; // ragged: one after the other
    uint64_t *offsets;       // ragged: [nitems + 1], in rows (bytes for text); NULL: dense
};

struct bm_table {
    struct bm_source base;
    const char *name; // of the file, for errors while it is built
    unsigned ncolumns;
    struct bm_column *columns; // in the order of the schema
};

// For `ncolumns` components at most and this many items.
enum bm_status bm_table_new(const struct bm_source_type *type, const char *name, unsigned ncolumns,
                            uint64_t nitems, struct bm_table **ret_table, struct bm_error *err);
// Dense values come zeroed; ragged items are to be set in order, each once.
enum bm_status bm_table_add(struct bm_table *table, const struct bm_component *component,
                            struct bm_error *err);
// Want of memory shows in bm_table_finish().
void bm_table_set_ragged(struct bm_table *table, unsigned column, uint64_t row, const void *data,
                         uint64_t size_bytes);
// All values are there: computes the identity, which is that of the values and vocabularies. How
// the file spells them does not matter.
enum bm_status bm_table_finish(struct bm_table *table, struct bm_error *err);

// Of every source that is a table.
void bm_table_close(struct bm_source *source);
enum bm_status bm_table_read(const struct bm_source *source, struct bm_batch *batch,
                             int64_t *ret_row, struct bm_error *err);
