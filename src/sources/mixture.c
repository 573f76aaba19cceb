// mixture.c -- sources mixed by weights.
//
// Which source item i of an epoch comes from is a pure function of i: of any first i items, each
// source has its weight's share, rounded. The sources are split off one by one: of the items that
// are left, number j belongs to the next source if floor((j + 1) w) > floor(j w), where w is its
// weight among those that are left. That also tells how many of its items came before, and so
// which is next: every item of a source comes once before any comes again, in an order of its own
// for each pass, and an epoch goes on where the one before ended.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "data/permutation.h"
#include "sources/parts.h"
#include "sources/types.h"

struct mixture_config {
    struct bm_text_map sources;
    int64_t seed, n;
};

static const struct bm_param mixture_params[] = {
    BM_PARAM(struct mixture_config, sources, BM_PARAM_TEXT_MAP, .required = true,
             .doc = "name: weight, as {web: 0.7, books: 0.3}; only their ratios count. All have "
                    "the same components"),
    BM_PARAM(struct mixture_config, seed, BM_PARAM_INTEGER, .fallback = "0", .min = 0,
             .max = 0x1p62, .doc = "of the order in which each source's items come"),
    BM_PARAM(struct mixture_config, n, BM_PARAM_INTEGER, .min = 1, .max = 0x1p62,
             .doc = "items of an epoch; default: of all sources together"),
};

enum { MIXTURE_NPARAMS = sizeof mixture_params / sizeof mixture_params[0] };

struct mixture {
    struct bm_parts parts;
    uint64_t seed;
    uint64_t *shares; // [parts.n]: of 2^32, among those that are left; the last one's is all
};

static void mixture_over(const void *config, char *const **ret_names, unsigned *ret_n)
{
    const struct bm_text_map *sources = &((const struct mixture_config *)config)->sources;
    *ret_names = sources->keys;
    *ret_n = sources->n;
}

static void mixture_close(struct bm_source *source)
{
    struct mixture *mixture = (struct mixture *)source;
    bm_parts_fini(&mixture->parts);
    free(mixture->shares);
    free(mixture);
}

static enum bm_status mixture_weigh(struct mixture *mixture, const struct mixture_config *config,
                                    const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    double left = 0;
    unsigned n = mixture->parts.n;
    double *weights = malloc(n * sizeof weights[0]);
    mixture->shares = malloc(n * sizeof mixture->shares[0]);
    if (weights == NULL || mixture->shares == NULL) {
        free(weights);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    }
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < n && status == BM_OK; i++) {
        char *end;
        weights[i] = strtod(config->sources.values[i], &end);
        if (end == config->sources.values[i] || *end != '\0' || !isfinite(weights[i]) ||
            weights[i] <= 0)
            status = bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "sources", text),
                             "expected a weight above 0 for %s, got \"%.40s\"",
                             config->sources.keys[i], config->sources.values[i]);
        else if (bm_parts_at(&mixture->parts, i)->nitems == 0)
            status =
                bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "sources", text),
                        "expected sources with items, but %s has none", config->sources.keys[i]);
        else
            left += weights[i];
    }
    for (unsigned i = 0; i < n && status == BM_OK; i++) {
        mixture->shares[i] =
            i + 1 == n ? UINT64_C(1) << 32 : (uint64_t)llround(weights[i] / left * 0x1p32);
        left -= weights[i];
        if (mixture->shares[i] == 0)
            status = bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "sources", text),
                             "expected weights that are less far apart, but %s would never come",
                             config->sources.keys[i]);
    }
    free(weights);
    return status;
}

static enum bm_status mixture_count(struct mixture *mixture, const struct mixture_config *config,
                                    const char *where, struct bm_error *err)
{
    uint64_t *nitems = &mixture->parts.base.nitems;
    *nitems = (uint64_t)config->n;
    for (unsigned i = 0; i < mixture->parts.n && config->n == 0; i++) {
        if (!bm_size_add(*nitems, bm_parts_at(&mixture->parts, i)->nitems, nitems))
            return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected fewer than 2^64 items");
    }
    return BM_OK;
}

static enum bm_status mixture_build(struct mixture *mixture, const struct mixture_config *config,
                                    const char *where, struct bm_error *err)
{
    struct bm_source *source = &mixture->parts.base;
    source->by_epoch = true;
    mixture->seed = (uint64_t)config->seed;
    enum bm_status status = mixture_weigh(mixture, config, where, err);
    if (status == BM_OK)
        status = mixture_count(mixture, config, where, err);
    if (status == BM_OK)
        status = bm_parts_same_schema(&mixture->parts, where, err);
    if (status != BM_OK)
        return status;
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    bm_parts_identify(&mixture->parts, hash);
    bm_hash_add_u64(hash, mixture->seed);
    for (unsigned i = 0; i < mixture->parts.n; i++)
        bm_hash_add_u64(hash, mixture->shares[i]);
    source->identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return BM_OK;
}

static enum bm_status mixture_open(const void *config, struct bm_source_ref *const *refs,
                                   unsigned n, const char *where, struct bm_source **ret_source,
                                   struct bm_error *err)
{
    struct mixture *mixture = calloc(1, sizeof *mixture);
    if (mixture == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status = bm_parts_init(&mixture->parts, &bm_mixture_source, refs, n, where, err);
    if (status == BM_OK)
        status = mixture_build(mixture, config, where, err);
    if (status != BM_OK) {
        mixture_close(&mixture->parts.base);
        return status;
    }
    *ret_source = &mixture->parts.base;
    return BM_OK;
}

// How many of the first j items a share takes.
static uint64_t share_of(uint64_t j, uint64_t share)
{
    return (uint64_t)((unsigned __int128)j * share >> 32);
}

static struct bm_part_row mixture_find(const struct mixture *mixture, uint64_t epoch, uint64_t item)
{
    // Epochs follow one another; beyond 2^64 items they begin anew, in the same order.
    uint64_t j = epoch * mixture->parts.base.nitems + item, before = 0;
    unsigned part = 0;
    for (;; part++) {
        before = share_of(j, mixture->shares[part]);
        if (part + 1 == mixture->parts.n || share_of(j + 1, mixture->shares[part]) > before)
            break;
        j -= before;
    }
    uint64_t n = bm_parts_at(&mixture->parts, part)->nitems;
    return (struct bm_part_row){part, bm_permute(mixture->seed, before / n, n, before % n)};
}

static enum bm_status mixture_read(const struct bm_source *source, struct bm_batch *batch,
                                   int64_t *ret_row, struct bm_error *err)
{
    const struct mixture *mixture = (const struct mixture *)source;
    struct bm_part_row *rows = malloc((batch->nitems + 1) * sizeof rows[0]);
    if (rows == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    for (uint64_t row = 0; row < batch->nitems; row++)
        rows[row] = mixture_find(mixture, batch->item_epochs[row], batch->items[row]);
    enum bm_status status = bm_parts_read(&mixture->parts, batch, rows, ret_row, err);
    free(rows);
    return status;
}

const struct bm_source_type bm_mixture_source = {
    .name = "mixture",
    .doc =
        "Other sources mixed by weights, exactly: of any first items, each source has its share. "
        "Every item of a source comes once before any comes again.",
    .params = mixture_params,
    .nparams = MIXTURE_NPARAMS,
    .config_bytes = sizeof(struct mixture_config),
    .over = mixture_over,
    .open_over = mixture_open,
    .close = mixture_close,
    .read = mixture_read,
};
