// value_set.h -- values of a component, as a user wrote them, to be found again. Layer: actions.
//
// Texts stand for strings and bytes as they are, for names of a vocabulary, for true and false, and
// for numbers in the component's dtype. Of two that mean the same value the first one counts.
// Threads: immutable after _init.
#pragma once
#include "pipeline/action.h"

struct bm_value_set;
size_t bm_value_set_bytes(unsigned n); // of one with that many values, in an action's plan

// Of a component of one value per item. `set` has the memory for the texts, which are borrowed.
enum bm_status bm_value_set_init(struct bm_value_set *set, const struct bm_component *component,
                                 const struct bm_texts *texts, const char *where,
                                 struct bm_error *err);
// The place among the texts of what the row holds, or -1. NaN is in no set.
int64_t bm_value_set_find(const struct bm_value_set *set, const struct bm_batch *batch, unsigned c,
                          uint64_t row);
