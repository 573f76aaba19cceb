// vocabulary.h -- the names behind the integers of a component: of classes, categories, words.
// Layer: data (may include base).
//
// The vocabulary of a component says that value k means names[k]. Schemas share it by reference.
// Threads: one thread builds it; once a schema has it, it is immutable, and _ref, _unref and the
// questions may come from any thread.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { BM_VOCABULARY_MAX = 1 << 24 }; // names

struct bm_vocabulary;

enum bm_status bm_vocabulary_new(struct bm_vocabulary **ret_vocabulary, struct bm_error *err);
struct bm_vocabulary *bm_vocabulary_ref(struct bm_vocabulary *vocabulary); // NULL is fine
struct bm_vocabulary *bm_vocabulary_unref(struct bm_vocabulary *vocabulary);

// The index of the name, which is appended if it is not there yet.
enum bm_status bm_vocabulary_add(struct bm_vocabulary *vocabulary, const char *name, size_t length,
                                 uint64_t *ret_index, struct bm_error *err);
// Puts the names in bytewise order. `ret_new_index`, if not NULL, receives for every old index the
// new one.
enum bm_status bm_vocabulary_sort(struct bm_vocabulary *vocabulary, uint64_t *ret_new_index,
                                  struct bm_error *err);

uint64_t bm_vocabulary_count(const struct bm_vocabulary *vocabulary); // NULL: 0
// NUL-terminated, borrowed until the next add or sort.
const char *bm_vocabulary_name(const struct bm_vocabulary *vocabulary, uint64_t index);
int64_t bm_vocabulary_find(const struct bm_vocabulary *vocabulary, const char *name,
                           size_t length);                           // -1: none
uint64_t bm_vocabulary_hash(const struct bm_vocabulary *vocabulary); // of the names; NULL: 0
