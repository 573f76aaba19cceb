// split.c -- a part of a source by chance: parts of one seed share no item and leave none out.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/permutation.h"
#include "sources/parts.h"
#include "sources/types.h"

struct split_config {
    char *source, *part;
    struct bm_text_map parts;
    int64_t seed;
};

static const struct bm_param split_params[] = {
    BM_PARAM(struct split_config, source, BM_PARAM_NAME, .required = true,
             .doc = "the source that is split"),
    BM_PARAM(struct split_config, parts, BM_PARAM_TEXT_MAP, .required = true,
             .doc = "name: share, as {train: 0.8, test: 0.2}; together 1. Another source over the "
                    "same parts in the same order gives another of them"),
    BM_PARAM(struct split_config, part, BM_PARAM_TEXT, .required = true,
             .doc = "which of `parts` this is"),
    BM_PARAM(struct split_config, seed, BM_PARAM_INTEGER, .fallback = "0", .min = 0, .max = 0x1p62,
             .doc = "decides which items go where"),
};

enum { SPLIT_NPARAMS = sizeof split_params / sizeof split_params[0] };

struct split {
    struct bm_parts parts;
    uint64_t seed, first, whole; // items first .. first + nitems of `whole` in the order of `seed`
};

static void split_over(const void *config, char *const **ret_names, unsigned *ret_n)
{
    *ret_names = &((const struct split_config *)config)->source;
    *ret_n = 1;
}

static void split_close(struct bm_source *source)
{
    struct split *split = (struct split *)source;
    bm_parts_fini(&split->parts);
    free(split);
}

// The share of one part; false: not a number of 0 to 1.
static bool share_read(const char *text, double *ret_share)
{
    char *end;
    *ret_share = strtod(text, &end);
    return end != text && *end == '\0' && *ret_share >= 0 && *ret_share <= 1;
}

// Where the part begins and ends in the order of the seed: shares are rounded at their borders, so
// that nothing is left between them.
static enum bm_status split_find(struct split *split, const struct split_config *config,
                                 const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    uint64_t n = split->whole;
    double before = 0;
    bool found = false;
    for (unsigned i = 0; i < config->parts.n; i++) {
        double share;
        if (!share_read(config->parts.values[i], &share))
            return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "parts", text),
                           "expected a number from 0 to 1 for %s, got \"%.40s\"",
                           config->parts.keys[i], config->parts.values[i]);
        double after = before + share;
        if (strcmp(config->parts.keys[i], config->part) == 0) {
            found = true;
            split->first = (uint64_t)llround(before * (double)n);
            uint64_t end = after > 1 - 1e-9 ? n : (uint64_t)llround(after * (double)n);
            split->parts.base.nitems = end - split->first;
        }
        before = after;
    }
    if (fabs(before - 1) > 1e-9)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "parts", text),
                       "expected shares that are 1 together, got %.10g", before);
    if (!found)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "part", text),
                       "expected one of `parts`, got \"%.40s\"", config->part);
    return BM_OK;
}

static enum bm_status split_build(struct split *split, const struct split_config *config,
                                  const char *where, struct bm_error *err)
{
    struct bm_source *source = &split->parts.base;
    split->seed = (uint64_t)config->seed;
    split->whole = bm_parts_at(&split->parts, 0)->nitems;
    enum bm_status status = split_find(split, config, where, err);
    if (status == BM_OK)
        status = bm_parts_same_schema(&split->parts, where, err);
    if (status != BM_OK)
        return status;
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    bm_parts_identify(&split->parts, hash);
    bm_hash_add_u64(hash, split->seed);
    bm_hash_add_u64(hash, split->first);
    source->identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return BM_OK;
}

static enum bm_status split_open(const void *config, struct bm_source_ref *const *refs, unsigned n,
                                 const char *where, struct bm_source **ret_source,
                                 struct bm_error *err)
{
    struct split *split = calloc(1, sizeof *split);
    if (split == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status = bm_parts_init(&split->parts, &bm_split_source, refs, n, where, err);
    if (status == BM_OK)
        status = split_build(split, config, where, err);
    if (status != BM_OK) {
        split_close(&split->parts.base);
        return status;
    }
    *ret_source = &split->parts.base;
    return BM_OK;
}

// Of the whole.
static uint64_t split_item(const struct split *split, uint64_t item)
{
    return bm_permute(split->seed, 0, split->whole, split->first + item);
}

static enum bm_status split_read(const struct bm_source *source, struct bm_batch *batch,
                                 int64_t *ret_row, struct bm_error *err)
{
    const struct split *split = (const struct split *)source;
    struct bm_part_row *rows = malloc((batch->nitems + 1) * sizeof rows[0]);
    if (rows == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    for (uint64_t row = 0; row < batch->nitems; row++)
        rows[row] = (struct bm_part_row){0, split_item(split, batch->items[row])};
    enum bm_status status = bm_parts_read(&split->parts, batch, rows, ret_row, err);
    free(rows);
    return status;
}

static enum bm_status split_numbers(const struct bm_source *source, unsigned c, double *ret_numbers,
                                    struct bm_error *err)
{
    const struct split *split = (const struct split *)source;
    double *whole = malloc((split->whole + 1) * sizeof whole[0]);
    if (whole == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    enum bm_status status = bm_source_numbers(bm_parts_at(&split->parts, 0), c, whole, err);
    for (uint64_t item = 0; item < source->nitems && status == BM_OK; item++)
        ret_numbers[item] = whole[split_item(split, item)];
    free(whole);
    return status == BM_OK ? BM_OK : bm_parts_fail(&split->parts, 0, status, err);
}

const struct bm_source_type bm_split_source = {
    .name = "split",
    .doc = "A part of another source, its items drawn by a seed: the parts of one seed share no "
           "item and together have all.",
    .params = split_params,
    .nparams = SPLIT_NPARAMS,
    .config_bytes = sizeof(struct split_config),
    .over = split_over,
    .open_over = split_open,
    .close = split_close,
    .read = split_read,
    .numbers = split_numbers,
};
