// weighted.c -- a source's items as often as a component says.
//
// An epoch of n items lays n points, equally far apart, over the items' weights on end: an item
// comes as often as points fall on it, which is its share of n, rounded up or down. Where the
// points begin changes with the epoch, so over the epochs every share is met. (Systematic sampling;
// in particle filters known as systematic resampling: Kitagawa 1996.)
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/random.h"
#include "data/permutation.h"
#include "sources/parts.h"
#include "sources/types.h"

struct weighted_config {
    char *source, *weights;
    int64_t seed, n;
};

static const struct bm_param weighted_params[] = {
    BM_PARAM(struct weighted_config, source, BM_PARAM_NAME, .required = true,
             .doc = "the source whose items come"),
    BM_PARAM(struct weighted_config, weights, BM_PARAM_NAME, .fallback = "weight",
             .doc = "the component with the weight of each item, 0 or more; only their ratios "
                    "count. It is read once at the start, and takes 8 bytes an item"),
    BM_PARAM(struct weighted_config, seed, BM_PARAM_INTEGER, .fallback = "0", .min = 0,
             .max = 0x1p62, .doc = "of the order in which the items come"),
    BM_PARAM(struct weighted_config, n, BM_PARAM_INTEGER, .min = 1, .max = 0x1p52,
             .doc = "items of an epoch; default: of the source"),
};

enum { WEIGHTED_NPARAMS = sizeof weighted_params / sizeof weighted_params[0] };

struct weighted {
    struct bm_parts parts;
    uint64_t seed, whole;
    double *ends; // [whole] the weights up to and with each item, of the source
};

static void weighted_over(const void *config, char *const **ret_names, unsigned *ret_n)
{
    *ret_names = &((const struct weighted_config *)config)->source;
    *ret_n = 1;
}

static void weighted_close(struct bm_source *source)
{
    struct weighted *weighted = (struct weighted *)source;
    bm_parts_fini(&weighted->parts);
    free(weighted->ends);
    free(weighted);
}

// ---- Opening ----

static enum bm_status weights_add_up(struct weighted *weighted, const char *where,
                                     struct bm_error *err)
{
    double sum = 0;
    for (uint64_t i = 0; i < weighted->whole; i++) {
        double weight = weighted->ends[i];
        if (!(weight >= 0) || isinf(weight))
            return bm_fail(err, BM_INVALID_ARGUMENT, where,
                           "expected weights of 0 or more, got %g for item %" PRIu64, weight, i);
        sum += weight;
        weighted->ends[i] = sum;
    }
    if (!(sum > 0) || isinf(sum))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected weights whose sum is above 0 and finite, got %g", sum);
    return BM_OK;
}

static enum bm_status weights_read(struct weighted *weighted, const struct weighted_config *config,
                                   const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    const struct bm_source *part = bm_parts_at(&weighted->parts, 0);
    const char *where_weights = bm_params_where(where, "weights", text);
    unsigned c;
    enum bm_status status =
        bm_schema_require(&part->schema, config->weights, where_weights, &c, err);
    if (status != BM_OK)
        return status;
    const struct bm_component *component = &part->schema.components[c];
    if (component->ragged || component->ndim > 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, where_weights,
                       "expected a component of one number per item, got %s of %s%s",
                       component->name, component->ragged ? "ragged " : "",
                       bm_dtype_name(component->dtype));
    weighted->whole = part->nitems;
    weighted->ends = malloc((part->nitems + 1) * sizeof weighted->ends[0]);
    if (weighted->ends == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    status = bm_source_numbers(part, c, weighted->ends, err);
    return status == BM_OK ? weights_add_up(weighted, where_weights, err)
                           : bm_parts_fail(&weighted->parts, 0, status, err);
}

static enum bm_status weighted_build(struct weighted *weighted,
                                     const struct weighted_config *config, const char *where,
                                     struct bm_error *err)
{
    struct bm_source *source = &weighted->parts.base;
    enum bm_status status = weights_read(weighted, config, where, err);
    if (status == BM_OK)
        status = bm_parts_same_schema(&weighted->parts, where, err);
    if (status != BM_OK)
        return status;
    source->by_epoch = true;
    source->nitems = config->n > 0 ? (uint64_t)config->n : weighted->whole;
    weighted->seed = (uint64_t)config->seed;
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    bm_parts_identify(&weighted->parts, hash);
    bm_hash_add_text(hash, config->weights);
    bm_hash_add_u64(hash, weighted->seed);
    source->identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return BM_OK;
}

static enum bm_status weighted_open(const void *config, struct bm_source_ref *const *refs,
                                    unsigned n, const char *where, struct bm_source **ret_source,
                                    struct bm_error *err)
{
    struct weighted *weighted = calloc(1, sizeof *weighted);
    if (weighted == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status =
        bm_parts_init(&weighted->parts, &bm_weighted_source, refs, n, where, err);
    if (status == BM_OK)
        status = weighted_build(weighted, config, where, err);
    if (status != BM_OK) {
        weighted_close(&weighted->parts.base);
        return status;
    }
    *ret_source = &weighted->parts.base;
    return BM_OK;
}

// ---- Reading ----

// The first item whose weight reaches beyond `point`, which is below the sum.
static uint64_t item_at(const struct weighted *weighted, double point)
{
    uint64_t low = 0, high = weighted->whole - 1;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (weighted->ends[middle] <= point)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint64_t weighted_find(const struct weighted *weighted, uint64_t epoch, uint64_t item)
{
    struct bm_random random;
    uint64_t n = weighted->parts.base.nitems;
    double step = weighted->ends[weighted->whole - 1] / (double)n;
    bm_random_init(&random, weighted->seed, epoch, 0, 0);
    double begin = bm_random_uniform(&random);
    double point = ((double)bm_permute(weighted->seed, epoch, n, item) + begin) * step;
    // Rounding may carry it to the sum itself, where no item with a weight is.
    double last = nextafter(weighted->ends[weighted->whole - 1], 0);
    return item_at(weighted, point < last ? point : last);
}

static enum bm_status weighted_read(const struct bm_source *source, struct bm_batch *batch,
                                    int64_t *ret_row, struct bm_error *err)
{
    const struct weighted *weighted = (const struct weighted *)source;
    struct bm_part_row *rows = malloc((batch->nitems + 1) * sizeof rows[0]);
    if (rows == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    for (uint64_t row = 0; row < batch->nitems; row++)
        rows[row] = (struct bm_part_row){
            0, weighted_find(weighted, batch->item_epochs[row], batch->items[row])};
    enum bm_status status = bm_parts_read(&weighted->parts, batch, rows, ret_row, err);
    free(rows);
    return status;
}

const struct bm_source_type bm_weighted_source = {
    .name = "weighted",
    .doc = "Another source's items in proportion to weights of their own: in an epoch each comes "
           "as often as its share of the epoch says, rounded up or down, in an order that changes "
           "with the epoch.",
    .params = weighted_params,
    .nparams = WEIGHTED_NPARAMS,
    .config_bytes = sizeof(struct weighted_config),
    .over = weighted_over,
    .open_over = weighted_open,
    .close = weighted_close,
    .read = weighted_read,
};
