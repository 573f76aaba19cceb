// value.h -- a tree of values with the place each was written: what a configuration file or a
// request gives to an action or a source. Layer: pipeline (may include base, data).
//
// Threads: immutable after it was built; one owner frees the root.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

enum bm_value_kind {
    BM_VALUE_NULL,
    BM_VALUE_BOOL,
    BM_VALUE_INTEGER, // fits int64
    BM_VALUE_FLOAT,
    BM_VALUE_TEXT,
    BM_VALUE_LIST,
    BM_VALUE_MAP
};

struct bm_value {
    enum bm_value_kind kind;
    char *where; // "pipelines.yaml:14: pipelines.digits.actions[2].factor"
    bool boolean;
    int64_t integer;
    double number; // also set for integers
    char *text;    // also what the user wrote, for the scalars
    unsigned nchildren, capacity;
    char **keys; // of a map, in the order written
    struct bm_value **children;
};

// All copy their strings; NULL when out of memory.
struct bm_value *bm_value_new(enum bm_value_kind kind, const char *where);
// Resolves what YAML calls a plain scalar: null, true, 12, 0x1f, 1.5, .inf, else text.
struct bm_value *bm_value_new_scalar(const char *text, bool quoted, const char *where);
void bm_value_free(struct bm_value *value); // and its children; NULL is fine
// Takes `child` on success; `key` is NULL in lists. False: out of memory, `child` stays yours.
bool bm_value_append(struct bm_value *parent, const char *key, struct bm_value *child);
const struct bm_value *bm_value_find(const struct bm_value *map, const char *key); // or NULL

const char *bm_value_kind_name(const struct bm_value *value); // "a number", "a list", ...
void bm_value_show(const struct bm_value *value, struct bm_buffer *out); // short, for errors
