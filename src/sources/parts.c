#include "sources/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum bm_status bm_parts_init(struct bm_parts *parts, const struct bm_source_type *type,
                             struct bm_source_ref *const *refs, unsigned n, const char *where,
                             struct bm_error *err)
{
    *parts = (struct bm_parts){.base.type = type};
    bm_schema_init(&parts->base.schema);
    parts->refs = calloc(n, sizeof(struct bm_source_ref *));
    if (parts->refs == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    for (parts->n = 0; parts->n < n; parts->n++) {
        parts->refs[parts->n] = bm_source_ref(refs[parts->n]);
        parts->base.by_epoch = parts->base.by_epoch || bm_parts_at(parts, parts->n)->by_epoch;
    }
    return BM_OK;
}

void bm_parts_fini(struct bm_parts *parts)
{
    for (unsigned i = 0; i < parts->n; i++)
        bm_source_unref(parts->refs[i]);
    free(parts->refs);
    bm_schema_fini(&parts->base.schema);
}

const struct bm_source *bm_parts_at(const struct bm_parts *parts, unsigned i)
{
    return bm_source_get(parts->refs[i]);
}

static bool component_equals(const struct bm_component *a, const struct bm_component *b)
{
    return strcmp(a->name, b->name) == 0 && a->dtype == b->dtype && a->ragged == b->ragged &&
           a->ndim == b->ndim && memcmp(a->shape, b->shape, a->ndim * sizeof a->shape[0]) == 0 &&
           bm_vocabulary_hash(a->vocabulary) == bm_vocabulary_hash(b->vocabulary);
}

static bool schema_equals(const struct bm_schema *a, const struct bm_schema *b)
{
    bool equal = a->ncomponents == b->ncomponents;
    for (unsigned c = 0; c < a->ncomponents && equal; c++)
        equal = component_equals(&a->components[c], &b->components[c]);
    return equal;
}

enum bm_status bm_parts_same_schema(struct bm_parts *parts, const char *where, struct bm_error *err)
{
    const struct bm_schema *first = &bm_parts_at(parts, 0)->schema;
    for (unsigned i = 1; i < parts->n; i++) {
        const struct bm_schema *other = &bm_parts_at(parts, i)->schema;
        if (schema_equals(first, other))
            continue;
        struct bm_buffer shown;
        bm_buffer_init(&shown);
        bm_buffer_print(&shown, "expected in %s the components and vocabularies of %s: ",
                        bm_source_name(parts->refs[i]), bm_source_name(parts->refs[0]));
        bm_schema_print(first, &shown);
        bm_buffer_add_text(&shown, "; got ");
        bm_schema_print(other, &shown);
        bm_fail(err, BM_INVALID_ARGUMENT, where, "%s", bm_buffer_text(&shown));
        bm_buffer_fini(&shown);
        return BM_INVALID_ARGUMENT;
    }
    bm_schema_fini(&parts->base.schema);
    return bm_schema_copy(first, &parts->base.schema, err);
}

void bm_parts_identify(const struct bm_parts *parts, struct bm_hash *hash)
{
    bm_identity_add_source(hash, &parts->base);
    for (unsigned i = 0; i < parts->n; i++) {
        const struct bm_source *part = bm_parts_at(parts, i);
        bm_hash_add_u64(hash, part->identity);
        bm_hash_add_u64(hash, part->nitems);
    }
}

enum bm_status bm_parts_fail(const struct bm_parts *parts, unsigned part, enum bm_status status,
                             struct bm_error *err)
{
    if (err == NULL)
        return status;
    struct bm_error before = *err;
    return bm_fail(err, status, bm_source_name(parts->refs[part]), "%s%s%s", before.where,
                   before.where[0] == '\0' ? "" : ": ", before.text);
}

// ---- Reading ----

// All rows from one part: it fills the batch itself.
static enum bm_status read_one(const struct bm_parts *parts, struct bm_batch *batch,
                               const struct bm_part_row *rows, int64_t *ret_row,
                               struct bm_error *err)
{
    const struct bm_source *part = bm_parts_at(parts, rows[0].part);
    uint64_t *items = malloc((batch->nitems + 1) * sizeof items[0]);
    if (items == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    for (uint64_t row = 0; row < batch->nitems; row++)
        items[row] = rows[row].item;
    struct bm_batch all = *batch; // the same tensors
    all.items = items;
    enum bm_status status = part->type->read(part, &all, ret_row, err);
    free(items);
    return status == BM_OK ? BM_OK : bm_parts_fail(parts, rows[0].part, status, err);
}

struct share { // of one part in a batch
    struct bm_batch batch;
    uint64_t *rows, *items, *epochs; // rows of the whole; items of the part
};

static void share_fini(struct share *share)
{
    bm_batch_fini(&share->batch);
    free(share->rows);
    free(share->items);
    free(share->epochs);
}

static enum bm_status share_read(const struct bm_parts *parts, unsigned i, struct share *share,
                                 const struct bm_batch *batch, const struct bm_part_row *rows,
                                 int64_t *ret_row, struct bm_error *err)
{
    const struct bm_source *part = bm_parts_at(parts, i);
    uint64_t n = 0;
    int64_t failed = -1;
    share->rows = malloc((batch->nitems + 1) * sizeof share->rows[0]);
    share->items = malloc((batch->nitems + 1) * sizeof share->items[0]);
    share->epochs = malloc((batch->nitems + 1) * sizeof share->epochs[0]);
    if (share->rows == NULL || share->items == NULL || share->epochs == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    for (uint64_t row = 0; row < batch->nitems; row++) {
        if (rows[row].part != i)
            continue;
        share->rows[n] = row;
        share->items[n] = rows[row].item;
        share->epochs[n++] = batch->item_epochs[row];
    }
    if (n == 0)
        return BM_OK;
    enum bm_status status =
        bm_batch_init(&share->batch, &part->schema, share->items, share->epochs, n, err);
    for (unsigned c = 0; c < part->schema.ncomponents && status == BM_OK; c++) {
        if (!part->schema.components[c].ragged)
            status = bm_batch_alloc(&share->batch, c, err);
    }
    if (status != BM_OK)
        return status;
    status = part->type->read(part, &share->batch, &failed, err);
    if (status != BM_OK && failed >= 0)
        *ret_row = (int64_t)share->rows[failed];
    return status == BM_OK ? BM_OK : bm_parts_fail(parts, i, status, err);
}

// Lays out ragged component c of the whole: each row is as long as in its share.
static enum bm_status whole_alloc_ragged(struct bm_batch *batch, unsigned c,
                                         const struct share *shares, unsigned nshares,
                                         struct bm_error *err)
{
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    uint64_t *offsets = bm_block_data(block);
    for (unsigned i = 0; i < nshares; i++) {
        for (uint64_t k = 0; k < shares[i].batch.nitems; k++) {
            const uint64_t *of_share = shares[i].batch.tensors[c].offsets;
            offsets[shares[i].rows[k] + 1] = of_share[k + 1] - of_share[k];
        }
    }
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems; row++)
        offsets[row + 1] += offsets[row];
    enum bm_status status = bm_batch_alloc_ragged(batch, c, block, err);
    bm_block_unref(block);
    return status;
}

static void share_copy(const struct share *share, struct bm_batch *batch, unsigned c)
{
    size_t element = bm_dtype_size(batch->schema->components[c].dtype);
    for (uint64_t k = 0; k < share->batch.nitems; k++) {
        uint64_t n;
        const unsigned char *from = bm_batch_rows(&share->batch, c, k, 1, &n);
        unsigned char *to = bm_batch_rows(batch, c, share->rows[k], 1, &n);
        if (n > 0)
            memcpy(to, from, n * element);
    }
}

static enum bm_status read_many(const struct bm_parts *parts, struct bm_batch *batch,
                                const struct bm_part_row *rows, int64_t *ret_row,
                                struct bm_error *err)
{
    struct share *shares = calloc(parts->n, sizeof shares[0]);
    enum bm_status status = BM_OK;
    if (shares == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    for (unsigned i = 0; i < parts->n && status == BM_OK; i++)
        status = share_read(parts, i, &shares[i], batch, rows, ret_row, err);
    for (unsigned c = 0; c < batch->schema->ncomponents && status == BM_OK; c++) {
        if (batch->schema->components[c].ragged)
            status = whole_alloc_ragged(batch, c, shares, parts->n, err);
        for (unsigned i = 0; i < parts->n && status == BM_OK; i++)
            share_copy(&shares[i], batch, c);
    }
    for (unsigned i = 0; i < parts->n; i++)
        share_fini(&shares[i]);
    free(shares);
    return status;
}

enum bm_status bm_parts_read(const struct bm_parts *parts, struct bm_batch *batch,
                             const struct bm_part_row *rows, int64_t *ret_row, struct bm_error *err)
{
    bool one = true;
    for (uint64_t row = 1; row < batch->nitems && one; row++)
        one = rows[row].part == rows[0].part;
    return one && batch->nitems > 0 ? read_one(parts, batch, rows, ret_row, err)
                                    : read_many(parts, batch, rows, ret_row, err);
}
