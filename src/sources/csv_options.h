// csv_options.h -- what a user says about missing values and categories. Layer: sources.
//
// Without a list of the user's, empty cells, NA, N/A and null are missing; in texts and categories
// only empty ones are, as NA may be a word there.
// Threads: one thread at a time.
#pragma once
#include "pipeline/params.h"
#include "sources/csv_plan.h"

struct bm_csv_options { // borrowed from the parameters; all zero: nothing said
    struct bm_texts missing;
    struct bm_text_map fill;           // component: text
    struct bm_texts masks;             // names of components
    const struct bm_value *categories; // component: list of names; NULL: none
};

// Writes into the fields of the plan what the options say about them. `where` is the source's.
enum bm_status bm_csv_options_apply(const struct bm_csv_options *options, struct bm_csv_plan *plan,
                                    const char *where, struct bm_error *err);
// Whether the cell says that there is no value; `is_text`: as a text or a category.
bool bm_csv_cell_missing(const struct bm_csv_options *options, const struct bm_csv_cell *cell,
                         bool is_text);
