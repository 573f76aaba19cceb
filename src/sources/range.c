// range.c -- the numbers 0 to n-1: a source without a file, to try things with.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sources/types.h"

struct range_config {
    int64_t n;
    char *component;
    enum bm_dtype dtype;
};

static const struct bm_param range_params[] = {
    BM_PARAM(struct range_config, n, BM_PARAM_INTEGER, .required = true,
             .doc = "how many items; item i has the value i"),
    BM_PARAM(struct range_config, component, BM_PARAM_NAME, .fallback = "x",
             .doc = "name of the component"),
    BM_PARAM(struct range_config, dtype, BM_PARAM_DTYPE, .fallback = "int64",
             .doc = "a number type that holds every value exactly"),
};

enum { RANGE_NPARAMS = sizeof range_params / sizeof range_params[0] };

// How many of the numbers 0, 1, 2, ... the dtype holds without a gap, capped at 2^63; 0 for text.
static uint64_t range_capacity(enum bm_dtype dtype)
{
    switch (dtype) {
    case BM_BOOL:
        return 2;
    case BM_INT8:
        return UINT64_C(1) << 7;
    case BM_UINT8:
        return UINT64_C(1) << 8;
    case BM_INT16:
        return UINT64_C(1) << 15;
    case BM_UINT16:
        return UINT64_C(1) << 16;
    case BM_INT32:
        return UINT64_C(1) << 31;
    case BM_UINT32:
        return UINT64_C(1) << 32;
    case BM_INT64:
    case BM_UINT64:
        return UINT64_C(1) << 63;
    case BM_FLOAT16: // floats: all up to 2 to the number of bits in the significand, inclusive
        return (UINT64_C(1) << 11) + 1;
    case BM_BFLOAT16:
        return (UINT64_C(1) << 8) + 1;
    case BM_FLOAT32:
        return (UINT64_C(1) << 24) + 1;
    case BM_FLOAT64:
        return (UINT64_C(1) << 53) + 1;
    case BM_DTYPE_NONE:
    case BM_BYTES:
    case BM_STRING:
        break;
    }
    return 0;
}

static enum bm_status range_check(const struct range_config *config, const char *where,
                                  struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (config->n < 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "n", text),
                       "expected 0 or more, got %" PRId64, config->n);
    uint64_t capacity = range_capacity(config->dtype);
    if (capacity == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "dtype", text),
                       "expected a number type, got %s", bm_dtype_name(config->dtype));
    if ((uint64_t)config->n > capacity)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "dtype", text),
                       "expected a dtype that holds 0 to %" PRId64 " exactly, got %s",
                       config->n - 1, bm_dtype_name(config->dtype));
    return BM_OK;
}

static enum bm_status range_identify(const struct range_config *config, uint64_t *ret_identity,
                                     struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    bm_hash_add_text(hash, "range");
    bm_params_hash(range_params, RANGE_NPARAMS, config, hash);
    *ret_identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return BM_OK;
}

static void range_close(struct bm_source *source)
{
    bm_schema_fini(&source->schema);
    free(source);
}

static enum bm_status range_open(const void *config_, const char *directory, const char *where,
                                 struct bm_source **ret_source, struct bm_error *err)
{
    (void)directory;
    const struct range_config *config = config_;
    enum bm_status status = range_check(config, where, err);
    if (status != BM_OK)
        return status;
    struct bm_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    source->type = &bm_range_source;
    source->nitems = (uint64_t)config->n;
    bm_schema_init(&source->schema);
    struct bm_component component = {.dtype = config->dtype};
    memcpy(component.name, config->component, strlen(config->component) + 1);
    status = bm_schema_add(&source->schema, &component, err);
    if (status == BM_OK)
        status = range_identify(config, &source->identity, err);
    if (status != BM_OK) {
        range_close(source);
        return status;
    }
    *ret_source = source;
    return BM_OK;
}

static enum bm_status range_read(const struct bm_source *source, struct bm_batch *batch,
                                 int64_t *ret_row, struct bm_error *err)
{
    (void)ret_row, (void)err;
    bm_dtype_convert(source->schema.components[0].dtype, batch->tensors[0].data, BM_UINT64,
                     batch->items, batch->nitems);
    return BM_OK;
}

const struct bm_source_type bm_range_source = {
    .name = "range",
    .doc = "The numbers 0 to n-1, without any file: to try a pipeline or a client.",
    .params = range_params,
    .nparams = RANGE_NPARAMS,
    .config_bytes = sizeof(struct range_config),
    .open = range_open,
    .close = range_close,
    .read = range_read,
};
