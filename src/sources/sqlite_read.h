// sqlite_read.h -- a source of rows from SQLite, once it is open. Layer: sources.
//
// Threads: built by one thread, then like every source (pipeline/source.h).
#pragma once
#include "pipeline/source.h"
#include "sources/file.h"
#include "sources/sqlite_db.h"

struct bm_sqlite_column {
    char *name;
    enum bm_dtype dtype;
    bool given;             // the dtype, by the user
    uint64_t nulls;         // that it has
    char *fill;             // of texts; NULL: none
    bool filled;            // `fill` or `value` stands for NULL
    unsigned char value[8]; // of numbers
};

struct bm_sqlite_source {
    struct bm_source base;
    struct bm_data_file data;
    struct bm_sqlite_pool pool;
    bool pooled;
    unsigned ncolumns;
    struct bm_sqlite_column *columns; // in the order of the schema
    char *row_sql;                    // reads the row of a key
    int64_t first_key;
    int64_t *keys; // [nitems], or NULL: they follow one another
};

enum bm_status bm_sqlite_read(const struct bm_source *base, struct bm_batch *batch,
                              int64_t *ret_row, struct bm_error *err);
