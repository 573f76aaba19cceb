// csv_plan.h -- which columns of a CSV make which component. Layer: sources.
//
// What a user writes under `components`:
//
//     pixels: {columns: 0-63, dtype: uint8, shape: [8, 8]}
//     label: {columns: 64, dtype: int64}
//     name: {columns: [species], dtype: string}
//
// A column is a number counted from 0, a range of them, or a name of the header line.
// Threads: one thread at a time.
#pragma once
#include <stdbool.h>

#include "data/schema.h"
#include "pipeline/value.h"
#include "sources/csv_reader.h"

enum bm_csv_kind {
    BM_CSV_PLAIN,    // what the dtype says
    BM_CSV_DATE,     // int64: days since 1970-01-01
    BM_CSV_DATETIME, // int64: nanoseconds since 1970-01-01 00:00 UTC
    BM_CSV_CATEGORY  // int64: index in a vocabulary
};

struct bm_csv_type {
    enum bm_csv_kind kind;
    enum bm_dtype dtype;
};

struct bm_csv_field { // one component and where its elements stand, in C order
    struct bm_component component;
    struct bm_csv_type type;
    unsigned ncolumns;
    unsigned *columns;
    // What bm_csv_options_apply() fills in.
    char *fill;                       // stands for missing cells; borrowed; NULL: nothing does
    bool mask;                        // beside it there is a component that says what is missing
    struct bm_vocabulary *vocabulary; // of a category, else NULL; the plan holds a reference
    bool closed;                      // the user gave all its names
    unsigned table_column;            // where its values go; those of the mask are next
};

struct bm_csv_plan { // all zero = empty
    unsigned nfields;
    struct bm_csv_field *fields;
};

struct bm_csv_header { // all zero names = no header line
    const char *name;  // of the file, for errors
    unsigned ncolumns;
    char **names; // [ncolumns] or NULL
};

enum bm_status bm_csv_plan_parse(const struct bm_value *components,
                                 const struct bm_csv_header *header, struct bm_csv_plan *ret_plan,
                                 struct bm_error *err);
// Every column a component under its name, of the type that `types` gives it.
enum bm_status bm_csv_plan_all(const struct bm_csv_header *header, const struct bm_csv_type *types,
                               struct bm_csv_plan *ret_plan, struct bm_error *err);
void bm_csv_plan_free(struct bm_csv_plan *plan);

// A dtype, "date", "datetime" or "category".
enum bm_status bm_csv_type_parse(const char *text, const char *where, struct bm_csv_type *ret_type,
                                 struct bm_error *err);

// Copies the names of the reader's current record, or only counts them.
enum bm_status bm_csv_header_init(struct bm_csv_header *header, const struct bm_csv_reader *record,
                                  bool named, struct bm_error *err);
void bm_csv_header_fini(struct bm_csv_header *header);
