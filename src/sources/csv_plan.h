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

struct bm_csv_field { // one component and where its elements stand, in C order
    struct bm_component component;
    unsigned ncolumns;
    unsigned *columns;
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
// Every column a component under its name, of the dtype that `dtypes` gives it.
enum bm_status bm_csv_plan_all(const struct bm_csv_header *header, const enum bm_dtype *dtypes,
                               struct bm_csv_plan *ret_plan, struct bm_error *err);
void bm_csv_plan_free(struct bm_csv_plan *plan);

// Copies the names of the reader's current record, or only counts them.
enum bm_status bm_csv_header_init(struct bm_csv_header *header, const struct bm_csv_reader *record,
                                  bool named, struct bm_error *err);
void bm_csv_header_fini(struct bm_csv_header *header);
