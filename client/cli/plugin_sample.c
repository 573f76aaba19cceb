// plugin_sample.c -- the items that actions of plug-ins are tried on.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "client/cli/plugin.h"

enum { SAMPLE_ITEMS = 120, ODD_EVERY = 30, ODD_FIRST = 7 };

struct sample_config {
    bool odd;
};
static const struct bm_param sample_params[] = {
    BM_PARAM(struct sample_config, odd, BM_PARAM_BOOL, .fallback = "false",
             .doc = "with values that are easily forgotten"),
};

struct sample {
    struct bm_source source; // first
    bool odd;
};

static const struct bm_component components[] = {
    {.name = "vector", .dtype = BM_FLOAT32, .ndim = 1, .shape = {8}},
    {.name = "number", .dtype = BM_FLOAT32},
    {.name = "double", .dtype = BM_FLOAT64},
    {.name = "label", .dtype = BM_INT64},
    {.name = "image", .dtype = BM_UINT8, .ndim = 3, .shape = {6, 8, 3}},
    {.name = "flag", .dtype = BM_BOOL},
    {.name = "words", .dtype = BM_INT64, .ragged = true, .ndim = 1},
    {.name = "points", .dtype = BM_FLOAT32, .ragged = true, .ndim = 2, .shape = {0, 2}},
    {.name = "text", .dtype = BM_STRING, .ragged = true},
    {.name = "data", .dtype = BM_BYTES, .ragged = true},
};
enum { NCOMPONENTS = sizeof components / sizeof components[0] };
const char *const check_sample_names[] = {"vector", "number", "double", "label", "image", "flag",
                                          "words",  "points", "text",   "data",  NULL};
_Static_assert(sizeof check_sample_names / sizeof(char *) == NCOMPONENTS + 1, "");

static const struct bm_source_type sample_type;

static void sample_close(struct bm_source *source)
{
    bm_schema_fini(&source->schema);
    free(source);
}

static enum bm_status sample_open(const void *config, const char *directory, const char *where,
                                  struct bm_source **ret_source, struct bm_error *err)
{
    (void)directory;
    struct sample *sample = calloc(1, sizeof *sample);
    if (sample == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    sample->odd = ((const struct sample_config *)config)->odd;
    sample->source = (struct bm_source){.type = &sample_type, .nitems = SAMPLE_ITEMS};
    bm_schema_init(&sample->source.schema);
    enum bm_status status = BM_OK;
    for (unsigned c = 0; c < NCOMPONENTS && status == BM_OK; c++)
        status = bm_schema_add(&sample->source.schema, &components[c], err);
    if (status == BM_OK)
        *ret_source = &sample->source;
    else
        sample_close(&sample->source);
    return status;
}

static void sample_random(struct bm_random *random, uint64_t item, unsigned c)
{
    bm_random_init(random, 1, 0, item, c);
}

static bool is_odd(const struct sample *sample, uint64_t item)
{
    return sample->odd && item % ODD_EVERY == ODD_FIRST;
}

// Of a ragged component: some items have none, the odd ones do not.
static uint64_t sample_length(const struct sample *sample, uint64_t item, unsigned c)
{
    struct bm_random random;
    sample_random(&random, item, c);
    uint64_t length = bm_random_below(&random, 7);
    return is_odd(sample, item) ? 0 : length;
}

static double odd_value(uint64_t item, uint64_t i)
{
    static const double values[] = {NAN, INFINITY, -INFINITY, -0.0, 1e300, -1e300, 1e-310, 0.0};
    return values[(item / ODD_EVERY + i) % (sizeof values / sizeof values[0])];
}

static void sample_fill(const struct sample *sample, unsigned c, uint64_t item, void *data,
                        uint64_t n)
{
    enum bm_dtype dtype = components[c].dtype;
    struct bm_random random;
    sample_random(&random, item, c);
    for (uint64_t i = 0; i < n; i++) {
        double value = bm_random_uniform(&random);
        if (dtype == BM_STRING)
            ((char *)data)[i] = (char)('a' + (int)(value * 26));
        else if (dtype == BM_BYTES)
            ((unsigned char *)data)[i] = (unsigned char)(value * 256);
        else if (is_odd(sample, item))
            bm_dtype_put(dtype, data, i, odd_value(item, i));
        else
            bm_dtype_put(dtype, data, i, bm_dtype_is_float(dtype) ? value * 2 - 1 : value * 10);
    }
}

static enum bm_status sample_give_lengths(const struct sample *sample, struct bm_batch *batch,
                                          unsigned c, struct bm_error *err)
{
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    uint64_t *offsets = bm_block_data(block);
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems; row++)
        offsets[row + 1] = offsets[row] + sample_length(sample, batch->items[row], c);
    enum bm_status status = bm_batch_alloc_ragged(batch, c, block, err);
    bm_block_unref(block);
    return status;
}

static enum bm_status sample_read(const struct bm_source *source, struct bm_batch *batch,
                                  int64_t *ret_row, struct bm_error *err)
{
    (void)ret_row;
    const struct sample *sample = (const struct sample *)(const void *)source;
    enum bm_status status = BM_OK;
    for (unsigned c = 0; c < NCOMPONENTS && status == BM_OK; c++) {
        if (components[c].ragged)
            status = sample_give_lengths(sample, batch, c, err);
        for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
            uint64_t n;
            void *data = bm_batch_rows(batch, c, row, 1, &n);
            sample_fill(sample, c, batch->items[row], data, n);
        }
    }
    return status;
}

static const struct bm_source_type sample_type = {
    .name = "check_sample",
    .doc = "What the actions of a plug-in are tried on.",
    .params = sample_params,
    .nparams = 1,
    .config_bytes = sizeof(struct sample_config),
    .open = sample_open,
    .close = sample_close,
    .read = sample_read,
};

enum bm_status check_sample_register(struct bm_registry *registry, struct bm_error *err)
{
    return bm_registry_add_source(registry, &sample_type, err);
}
