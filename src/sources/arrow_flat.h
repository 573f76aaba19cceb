// arrow_flat.h -- walks a FlatBuffer that nobody has checked: every offset is, when it is followed.
// Layer: sources.
//
// https://flatbuffers.dev/internals/ has the layout. What leads outside of the bytes sets `bad` and
// reads as absent; so does everything after it. Whoever walks looks at `bad` once, at the end, and
// bounds how many tables he visits: several offsets may lead to the same one.
// Threads: one thread at a time.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct bm_flat {
    const unsigned char *data;
    uint64_t size;
    bool bad;
};

struct bm_flat_table {
    struct bm_flat *flat;
    uint64_t at; // 0: absent; all its fields are, too
    uint64_t size;
    uint64_t slots; // where the offsets of its fields are
    unsigned nslots;
};

struct bm_flat_vector { // all zero: absent, which is the same as empty
    uint64_t at, n;
};

struct bm_flat_table bm_flat_root(struct bm_flat *flat);
// Of 1 to 8 bytes, sign-extended; `fallback` where it is absent.
int64_t bm_flat_integer(const struct bm_flat_table *table, unsigned slot, unsigned bytes,
                        int64_t fallback);
struct bm_flat_table bm_flat_child(const struct bm_flat_table *table, unsigned slot);
struct bm_flat_vector bm_flat_vector(const struct bm_flat_table *table, unsigned slot,
                                     unsigned element_bytes); // a string has elements of 1 byte
struct bm_flat_table bm_flat_vector_table(struct bm_flat *flat, struct bm_flat_vector vector,
                                          uint64_t i); // i < vector.n, elements of 4 bytes
