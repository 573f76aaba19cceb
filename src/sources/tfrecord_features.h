// tfrecord_features.h -- which features of an Example become which components. Layer: sources.
//
// Threads: built by one thread, then immutable.
#pragma once
#include "pipeline/params.h"
#include "pipeline/source.h"
#include "sources/tfrecord_example.h"

struct bm_tf_column {
    char *feature;     // its name in the Example
    bool text, ragged; // ragged: a list of any length
    uint64_t elements; // of a dense item; of one row of a ragged one
};
struct bm_tf_plan {
    unsigned n;
    struct bm_tf_column *columns; // in the order of the schema
    const char **names;           // [n] their features
};

// Reads {component: {feature, dtype, shape, ragged}} and adds the components to `schema`. On
// failure bm_tf_plan_fini() frees what there is.
enum bm_status bm_tf_plan_parse(struct bm_tf_plan *plan, const struct bm_value *components,
                                const char *where, struct bm_schema *schema, struct bm_error *err);
void bm_tf_plan_fini(struct bm_tf_plan *plan);

// How many rows (bytes of a text) the feature gives its item; of a dense one 1. An error says what
// was expected; its place is the component.
enum bm_status bm_tf_column_rows(const struct bm_tf_column *column,
                                 const struct bm_component *component,
                                 const struct bm_tf_feature *feature, uint64_t *ret_rows,
                                 struct bm_error *err);
// Writes the values of a feature that has passed the above.
enum bm_status bm_tf_column_fill(const struct bm_tf_column *column,
                                 const struct bm_component *component,
                                 const struct bm_tf_feature *feature, unsigned char *to,
                                 struct bm_error *err);
