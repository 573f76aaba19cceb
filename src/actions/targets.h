// targets.h -- which components an action works on, found when the pipeline is built.
// Layer: actions.
// Threads: bm_target* while the pipeline is built, by one thread; a plan is immutable then.
#pragma once
#include "pipeline/action.h"

enum bm_want { // what the action can work on
    BM_WANT_ANY,
    BM_WANT_NUMBER, // and bool
    BM_WANT_REAL,   // integers and floats
    BM_WANT_FLOAT,
    BM_WANT_LABEL, // one integer per item
    BM_WANT_DENSE,
};

// Every action that takes `components` takes one name or a list, none of them twice.
#define BM_PARAM_COMPONENTS(type, text)                                                            \
    BM_PARAM(type, components, BM_PARAM_NAMES, .required = true, .doc = text)

struct bm_targets { // from malloc(), so that it can be an action's plan
    unsigned n;
    unsigned components[]; // indices in the schema before the action
};

// `parameter` is the one that gave the name, for errors.
enum bm_status bm_target_find(const struct bm_infer *infer, const char *parameter, const char *name,
                              enum bm_want want, unsigned *ret_component, struct bm_error *err);
// Of the parameter `components`.
enum bm_status bm_targets_find(const struct bm_infer *infer, const struct bm_texts *names,
                               enum bm_want want, struct bm_targets **ret_targets,
                               struct bm_error *err);
// Keeps all components and writes the targets in their places, as they were.
enum bm_status bm_targets_write(struct bm_infer *infer, const struct bm_targets *targets,
                                struct bm_error *err);
// Whether two actions work on the same components, in the same order.
bool bm_names_equal(const struct bm_texts *names, const struct bm_texts *others);
// Find and write, for actions whose plan is the targets.
enum bm_status bm_targets_plan(struct bm_infer *infer, const struct bm_texts *names,
                               enum bm_want want, void **ret_plan, struct bm_error *err);
// Keeps all components and writes `component`, which is computed from `from`: as a new one with the
// name `into`, or, when that is NULL, in the place of `from`. Fills in the name. A ragged one has
// the rows of `from`, or `allocates`: then run() gives it its memory.
enum bm_status bm_target_write(struct bm_infer *infer, unsigned from, const char *into,
                               struct bm_component *component, bool allocates, unsigned *ret_index,
                               struct bm_error *err);
// A copy of the action's plan in memory of its own, for *ret_plan.
enum bm_status bm_plan_copy(const struct bm_infer *infer, const void *plan, size_t size,
                            void **ret_plan, struct bm_error *err);
