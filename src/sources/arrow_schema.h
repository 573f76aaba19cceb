// arrow_schema.h -- the schema of an Arrow file: which of its columns make which component, and
// where their bytes are within a record batch. Layer: sources.
//
// https://arrow.apache.org/docs/format/Columnar.html ("Serialization and Interprocess
// Communication") has the format. A record batch lists nodes (lengths) and buffers of all fields,
// depth first; a column here knows at which of them it begins.
// Threads: one thread builds it, then it is immutable.
#pragma once
#include "data/schema.h"
#include "pipeline/params.h"
#include "sources/arrow_flat.h"

enum bm_arrow_kind {
    BM_ARROW_PLAIN, // the bytes as they are
    BM_ARROW_BITS,  // bool, 8 in a byte
    BM_ARROW_DATE,  // int64: days since 1970-01-01
    BM_ARROW_TIME,  // int64: nanoseconds since 1970-01-01 00:00 UTC
    BM_ARROW_CODE   // int64: index in a vocabulary
};

struct bm_arrow_column {
    struct bm_component component;
    enum bm_arrow_kind kind;
    enum bm_dtype stored;    // of an element in the file, where kind is not bits
    int64_t factor, divisor; // from the file's unit of time to ours
    int64_t dictionary;      // of codes: its id
    unsigned name_bytes;     // of codes: of an offset in the dictionary
    unsigned offset_bytes;   // of ragged ones, 4 or 8; else 0
    unsigned node, buffer;   // the first of each
    unsigned nlevels;        // lists of fixed size in each other, within a row
    uint64_t level_sizes[BM_NDIM_MAX];
};

struct bm_arrow_schema { // all zero: empty
    unsigned ncolumns;
    struct bm_arrow_column *columns; // in the order of the components
    uint64_t nnodes, nbuffers;       // of a record batch, columns that nobody wants included
};

// `components`: {name: column}; an empty one is every column under its name. `name` is the file's,
// `where` the source's.
enum bm_status bm_arrow_schema_parse(const struct bm_flat_table *schema,
                                     const struct bm_text_map *components, const char *name,
                                     const char *where, struct bm_arrow_schema *ret_schema,
                                     struct bm_error *err);
void bm_arrow_schema_free(struct bm_arrow_schema *schema);
