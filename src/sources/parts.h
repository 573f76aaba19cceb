// parts.h -- what sources over other sources share: rows of their batches come from the parts.
// Layer: sources.
//
// Threads: built by one thread, then immutable; reading from any thread.
#pragma once
#include "pipeline/pipeline.h"
#include "sources/identity.h"

struct bm_parts { // embedded at the start of a type's own struct
    struct bm_source base;
    unsigned n;
    struct bm_source_ref **refs; // [n]
};

// Takes references. On failure nothing needs freeing.
enum bm_status bm_parts_init(struct bm_parts *parts, const struct bm_source_type *type,
                             struct bm_source_ref *const *refs, unsigned n, const char *where,
                             struct bm_error *err);
void bm_parts_fini(struct bm_parts *parts);
const struct bm_source *bm_parts_at(const struct bm_parts *parts, unsigned i);

// Makes the schema of the first part that of the whole; an error names what differs in another.
enum bm_status bm_parts_same_schema(struct bm_parts *parts, const char *where,
                                    struct bm_error *err);
// The type, the length, and the parts' identities; the caller adds parameters.
void bm_parts_identify(const struct bm_parts *parts, struct bm_hash *hash);

struct bm_part_row {
    unsigned part;
    uint64_t item; // of that part
};
// Fills the batch: row r is rows[r]. For parts with the schema of the whole.
enum bm_status bm_parts_read(const struct bm_parts *parts, struct bm_batch *batch,
                             const struct bm_part_row *rows, int64_t *ret_row,
                             struct bm_error *err);
// "a: " in front of where the error is.
enum bm_status bm_parts_fail(const struct bm_parts *parts, unsigned part, enum bm_status status,
                             struct bm_error *err);
