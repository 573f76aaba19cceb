// concat.c -- sources one after the other.
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "sources/parts.h"
#include "sources/types.h"

struct concat_config {
    struct bm_texts sources;
};

static const struct bm_param concat_params[] = {
    BM_PARAM(struct concat_config, sources, BM_PARAM_NAMES, .required = true,
             .doc = "those that follow one another; all have the same components"),
};

struct concat {
    struct bm_parts parts;
    uint64_t *ends; // [parts.n]: items up to the end of each
};

static void concat_over(const void *config, char *const **ret_names, unsigned *ret_n)
{
    const struct bm_texts *sources = &((const struct concat_config *)config)->sources;
    *ret_names = sources->values;
    *ret_n = sources->n;
}

static void concat_close(struct bm_source *source)
{
    struct concat *concat = (struct concat *)source;
    bm_parts_fini(&concat->parts);
    free(concat->ends);
    free(concat);
}

static enum bm_status concat_build(struct concat *concat, const char *where, struct bm_error *err)
{
    struct bm_source *source = &concat->parts.base;
    concat->ends = malloc(concat->parts.n * sizeof concat->ends[0]);
    struct bm_hash *hash = bm_hash_new();
    if (concat->ends == NULL || hash == NULL) {
        bm_hash_free(hash);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    }
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < concat->parts.n && status == BM_OK; i++) {
        if (!bm_size_add(source->nitems, bm_parts_at(&concat->parts, i)->nitems, &source->nitems))
            status = bm_fail(err, BM_INVALID_ARGUMENT, where, "expected fewer than 2^64 items");
        else
            concat->ends[i] = source->nitems;
    }
    if (status == BM_OK)
        status = bm_parts_same_schema(&concat->parts, where, err);
    if (status == BM_OK) {
        bm_parts_identify(&concat->parts, hash);
        source->identity = bm_hash_end(hash);
    }
    bm_hash_free(hash);
    return status;
}

static enum bm_status concat_open(const void *config, struct bm_source_ref *const *refs, unsigned n,
                                  const char *where, struct bm_source **ret_source,
                                  struct bm_error *err)
{
    (void)config;
    struct concat *concat = calloc(1, sizeof *concat);
    if (concat == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status = bm_parts_init(&concat->parts, &bm_concat_source, refs, n, where, err);
    if (status == BM_OK)
        status = concat_build(concat, where, err);
    if (status != BM_OK) {
        concat_close(&concat->parts.base);
        return status;
    }
    *ret_source = &concat->parts.base;
    return BM_OK;
}

static struct bm_part_row concat_find(const struct concat *concat, uint64_t item)
{
    unsigned low = 0, high = concat->parts.n - 1; // the first part that ends behind the item
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (concat->ends[middle] <= item)
            low = middle + 1;
        else
            high = middle;
    }
    return (struct bm_part_row){low, item - (low == 0 ? 0 : concat->ends[low - 1])};
}

static enum bm_status concat_read(const struct bm_source *source, struct bm_batch *batch,
                                  int64_t *ret_row, struct bm_error *err)
{
    const struct concat *concat = (const struct concat *)source;
    struct bm_part_row *rows = malloc((batch->nitems + 1) * sizeof rows[0]);
    if (rows == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    for (uint64_t row = 0; row < batch->nitems; row++)
        rows[row] = concat_find(concat, batch->items[row]);
    enum bm_status status = bm_parts_read(&concat->parts, batch, rows, ret_row, err);
    free(rows);
    return status;
}

static enum bm_status concat_numbers(const struct bm_source *source, unsigned c,
                                     double *ret_numbers, struct bm_error *err)
{
    const struct concat *concat = (const struct concat *)source;
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < concat->parts.n && status == BM_OK; i++) {
        const struct bm_source *part = bm_parts_at(&concat->parts, i);
        status = bm_source_numbers(part, c, ret_numbers + concat->ends[i] - part->nitems, err);
        if (status != BM_OK)
            return bm_parts_fail(&concat->parts, i, status, err);
    }
    return status;
}

const struct bm_source_type bm_concat_source = {
    .name = "concat",
    .doc = "Other sources one after the other, as one.",
    .params = concat_params,
    .nparams = sizeof concat_params / sizeof concat_params[0],
    .config_bytes = sizeof(struct concat_config),
    .over = concat_over,
    .open_over = concat_open,
    .close = concat_close,
    .read = concat_read,
    .numbers = concat_numbers,
};
