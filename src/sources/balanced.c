// balanced.c -- a source's classes in turn, each equally often, however many items they have.
//
// Number j of the endless row of all epochs belongs to class j mod K, of which it is number j / K:
// so any K items on end have every class once, and a class begins anew, in another order, only
// when all its items have come.
#include <inttypes.h>
#include <stdlib.h>

#include "data/permutation.h"
#include "sources/parts.h"
#include "sources/types.h"

struct balanced_config {
    char *source, *by;
    int64_t seed, n;
};

static const struct bm_param balanced_params[] = {
    BM_PARAM(struct balanced_config, source, BM_PARAM_NAME, .required = true,
             .doc = "the source whose items come"),
    BM_PARAM(struct balanced_config, by, BM_PARAM_NAME, .fallback = "label",
             .doc = "the integer component whose values are the classes; it is read once at the "
                    "start, and takes 4 bytes an item"),
    BM_PARAM(struct balanced_config, seed, BM_PARAM_INTEGER, .fallback = "0", .min = 0,
             .max = 0x1p62, .doc = "of the order in which each class's items come"),
    BM_PARAM(struct balanced_config, n, BM_PARAM_INTEGER, .min = 1, .max = 0x1p62,
             .doc = "items of an epoch; default: of the source"),
};

enum { BALANCED_NPARAMS = sizeof balanced_params / sizeof balanced_params[0] };

struct balanced {
    struct bm_parts parts;
    uint64_t seed;
    uint64_t nclasses;
    uint64_t *ends;  // [nclasses] where each class ends in `items`
    uint32_t *items; // class by class
};

static void balanced_over(const void *config, char *const **ret_names, unsigned *ret_n)
{
    *ret_names = &((const struct balanced_config *)config)->source;
    *ret_n = 1;
}

static void balanced_close(struct bm_source *source)
{
    struct balanced *balanced = (struct balanced *)source;
    bm_parts_fini(&balanced->parts);
    free(balanced->ends);
    free(balanced->items);
    free(balanced);
}

// ---- Opening ----

static int labels_compare(const void *a_, const void *b_, void *labels_)
{
    const double *labels = labels_;
    uint32_t a = *(const uint32_t *)a_, b = *(const uint32_t *)b_;
    if (labels[a] != labels[b])
        return labels[a] < labels[b] ? -1 : 1;
    return a < b ? -1 : a > b;
}

static enum bm_status classes_find(struct balanced *balanced, const double *labels,
                                   struct bm_error *err)
{
    uint64_t n = bm_parts_at(&balanced->parts, 0)->nitems;
    balanced->items = malloc(n * sizeof balanced->items[0]);
    if (balanced->items == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for %" PRIu64 " items", n);
    for (uint64_t i = 0; i < n; i++)
        balanced->items[i] = (uint32_t)i;
    qsort_r(balanced->items, n, sizeof balanced->items[0], labels_compare, (void *)labels);
    const uint32_t *items = balanced->items;
    for (uint64_t i = 0; i < n; i++)
        balanced->nclasses += i + 1 == n || labels[items[i]] != labels[items[i + 1]];
    balanced->ends = malloc(balanced->nclasses * sizeof balanced->ends[0]);
    if (balanced->ends == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    for (uint64_t i = 0, class = 0; i < n; i++) {
        if (i + 1 == n || labels[items[i]] != labels[items[i + 1]])
            balanced->ends[class ++] = i + 1;
    }
    return BM_OK;
}

static enum bm_status classes_read(struct balanced *balanced, const struct balanced_config *config,
                                   const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    const struct bm_source *part = bm_parts_at(&balanced->parts, 0);
    const char *where_by = bm_params_where(where, "by", text);
    unsigned c;
    enum bm_status status = bm_schema_require(&part->schema, config->by, where_by, &c, err);
    if (status != BM_OK)
        return status;
    const struct bm_component *component = &part->schema.components[c];
    if (component->ndim > 0 || component->ragged ||
        !(bm_dtype_is_integer(component->dtype) || component->dtype == BM_BOOL))
        return bm_fail(err, BM_INVALID_ARGUMENT, where_by,
                       "expected a component of one integer per item, got %s of %s with %u axes",
                       component->name, bm_dtype_name(component->dtype), component->ndim);
    if (part->nitems == 0 || part->nitems > UINT32_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a source with 1 to 2^32 - 1 items, got %" PRIu64, part->nitems);
    double *labels = malloc(part->nitems * sizeof labels[0]);
    if (labels == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    status = bm_source_numbers(part, c, labels, err);
    if (status != BM_OK)
        bm_parts_fail(&balanced->parts, 0, status, err);
    else
        status = classes_find(balanced, labels, err);
    free(labels);
    return status;
}

static enum bm_status balanced_build(struct balanced *balanced,
                                     const struct balanced_config *config, const char *where,
                                     struct bm_error *err)
{
    struct bm_source *source = &balanced->parts.base;
    enum bm_status status = classes_read(balanced, config, where, err);
    if (status == BM_OK)
        status = bm_parts_same_schema(&balanced->parts, where, err);
    if (status != BM_OK)
        return status;
    source->by_epoch = true;
    source->nitems = config->n > 0 ? (uint64_t)config->n : bm_parts_at(&balanced->parts, 0)->nitems;
    balanced->seed = (uint64_t)config->seed;
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    bm_parts_identify(&balanced->parts, hash);
    bm_hash_add_text(hash, config->by);
    bm_hash_add_u64(hash, balanced->seed);
    source->identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return BM_OK;
}

static enum bm_status balanced_open(const void *config, struct bm_source_ref *const *refs,
                                    unsigned n, const char *where, struct bm_source **ret_source,
                                    struct bm_error *err)
{
    struct balanced *balanced = calloc(1, sizeof *balanced);
    if (balanced == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status =
        bm_parts_init(&balanced->parts, &bm_balanced_source, refs, n, where, err);
    if (status == BM_OK)
        status = balanced_build(balanced, config, where, err);
    if (status != BM_OK) {
        balanced_close(&balanced->parts.base);
        return status;
    }
    *ret_source = &balanced->parts.base;
    return BM_OK;
}

// ---- Reading ----

static uint64_t balanced_find(const struct balanced *balanced, uint64_t epoch, uint64_t item)
{
    // Epochs follow one another; beyond 2^64 items they begin anew, in the same order.
    uint64_t j = epoch * balanced->parts.base.nitems + item;
    uint64_t class = j % balanced->nclasses, before = j / balanced->nclasses;
    uint64_t first = class == 0 ? 0 : balanced->ends[class - 1];
    uint64_t n = balanced->ends[class] - first;
    return balanced
        ->items[first + bm_permute(bm_mix64(balanced->seed) + class, before / n, n, before % n)];
}

static enum bm_status balanced_read(const struct bm_source *source, struct bm_batch *batch,
                                    int64_t *ret_row, struct bm_error *err)
{
    const struct balanced *balanced = (const struct balanced *)source;
    struct bm_part_row *rows = malloc((batch->nitems + 1) * sizeof rows[0]);
    if (rows == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    for (uint64_t row = 0; row < batch->nitems; row++)
        rows[row] = (struct bm_part_row){
            0, balanced_find(balanced, batch->item_epochs[row], batch->items[row])};
    enum bm_status status = bm_parts_read(&balanced->parts, batch, rows, ret_row, err);
    free(rows);
    return status;
}

const struct bm_source_type bm_balanced_source = {
    .name = "balanced",
    .doc = "The classes of another source in turn, so that each comes equally often: of any items "
           "on end, none comes twice more than another. Items of small classes come again before "
           "all of large ones have come, but never before all of their own class.",
    .params = balanced_params,
    .nparams = BALANCED_NPARAMS,
    .config_bytes = sizeof(struct balanced_config),
    .over = balanced_over,
    .open_over = balanced_open,
    .close = balanced_close,
    .read = balanced_read,
};
