// params.h -- parameters of actions and sources: one table declares, checks, fills and documents
// them. Layer: pipeline (may include base, data).
//
// An action writes a struct and a table:
//
//     struct scale { char *component; double factor, offset; };
//     static const struct bm_param scale_params[] = {
//         BM_PARAM(struct scale, component, BM_PARAM_NAME, .required = true,
//                  .doc = "the component to change"),
//         BM_PARAM(struct scale, factor, BM_PARAM_FLOAT, .fallback = "1",
//                  .doc = "multiplies every element"),
//     };
//
// Unknown keys, missing required ones, wrong kinds and values out of range are errors that say
// where, what was expected and what came. Threads: tables are constant; one owner per struct.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/hash.h"
#include "data/dtype.h"
#include "pipeline/value.h"

enum bm_param_kind {   // field in the struct
    BM_PARAM_BOOL,     // bool
    BM_PARAM_INTEGER,  // int64_t, min/max
    BM_PARAM_FLOAT,    // double, min/max; finite
    BM_PARAM_BYTES,    // uint64_t; 1048576, 512MiB or 4GiB
    BM_PARAM_TEXT,     // char *, NULL when absent without fallback
    BM_PARAM_NAME,     // char *, a valid name (base/name.h)
    BM_PARAM_DTYPE,    // enum bm_dtype; BM_DTYPE_NONE when absent
    BM_PARAM_CHOICE,   // int: index into `choices`
    BM_PARAM_INTEGERS, // struct bm_integers; a single integer reads as a list of one
    BM_PARAM_FLOATS,   // struct bm_floats; likewise
    BM_PARAM_NAMES,    // struct bm_texts of valid names; likewise
    BM_PARAM_TEXTS,    // struct bm_texts; likewise
    BM_PARAM_TEXT_MAP, // struct bm_text_map: text to text
    BM_PARAM_VALUE,    // const struct bm_value *: checked by the owner; borrowed
};

struct bm_integers {
    unsigned n;
    int64_t *values;
};
struct bm_floats {
    unsigned n;
    double *values;
};
struct bm_texts {
    unsigned n;
    char **values;
};
struct bm_text_map {
    unsigned n;
    char **keys, **values;
};

struct bm_param {
    const char *name;
    enum bm_param_kind kind;
    size_t offset; // of the field in the struct
    bool required;
    const char *fallback; // default as YAML text ("0.5", "true", "[1, 2]" is not supported); NULL:
                          // the field stays zero
    double min, max;      // both 0: no range
    const char *choices[12];
    const char *doc; // one sentence
};

#define BM_PARAM(type, field, kind_, ...)                                                          \
    {                                                                                              \
        .name = #field, .kind = (kind_), .offset = offsetof(type, field), __VA_ARGS__              \
    }

// Fills the fields of `ret_config` that the table names from the map `values`; NULL or a null value
// reads as an empty map. `where` is used when `values` is NULL. On failure nothing needs freeing.
enum bm_status bm_params_parse(const struct bm_param *params, unsigned nparams,
                               const struct bm_value *values, const char *where, void *ret_config,
                               struct bm_error *err);
void bm_params_free(const struct bm_param *params, unsigned nparams, void *config);
// Adds names and values in the order of the table, with defaults filled in: equal configurations
// give equal hashes however they were written.
void bm_params_hash(const struct bm_param *params, unsigned nparams, const void *config,
                    struct bm_hash *hash);
// One line per parameter: "  factor  float, default 1: multiplies every element".
void bm_params_print(const struct bm_param *params, unsigned nparams, struct bm_buffer *out);
const char *bm_param_kind_name(enum bm_param_kind kind); // "integer", "one of", "names"
// `where` of a parameter, for the errors of the owner: "pipelines.digits.actions[2].factor".
// The text is in `text` (BM_ERROR_WHERE_MAX bytes) and returned.
const char *bm_params_where(const char *where, const char *name, char *text);
