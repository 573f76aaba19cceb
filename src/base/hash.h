// hash.h -- XXH3, 64 bits: fingerprints of definitions and data, digests of tensors. Layer: base.
//
// Not cryptographic: it tells apart what differs by accident, not what somebody forged.
// Equal bytes give equal hashes on every machine (the canonical, seedless XXH3_64bits).
// Threads: one thread at a time per struct bm_hash.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct bm_hash; // running state

uint64_t bm_hash_bytes(const void *data, size_t size);

struct bm_hash *bm_hash_new(void); // NULL when out of memory
void bm_hash_free(struct bm_hash *hash);
void bm_hash_add(struct bm_hash *hash, const void *data, size_t size);
void bm_hash_add_text(struct bm_hash *hash, const char *text); // with its final NUL, so that
                                                               // "ab","c" is not "a","bc"
void bm_hash_add_u64(struct bm_hash *hash, uint64_t value);    // as 8 little-endian bytes
uint64_t bm_hash_end(const struct bm_hash *hash);
