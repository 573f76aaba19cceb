// join.c -- sources side by side: item i has the components of item i of each.
#include <inttypes.h>
#include <stdlib.h>

#include "sources/parts.h"
#include "sources/types.h"

struct join_config {
    struct bm_texts sources;
};

static const struct bm_param join_params[] = {
    BM_PARAM(struct join_config, sources, BM_PARAM_NAMES, .required = true,
             .doc = "those whose components come together; all have as many items, and "
                    "components of different names"),
};

static void join_over(const void *config, char *const **ret_names, unsigned *ret_n)
{
    const struct bm_texts *sources = &((const struct join_config *)config)->sources;
    *ret_names = sources->values;
    *ret_n = sources->n;
}

static void join_close(struct bm_source *source)
{
    bm_parts_fini((struct bm_parts *)source);
    free(source);
}

static enum bm_status join_build(struct bm_parts *parts, const char *where, struct bm_error *err)
{
    struct bm_source *source = &parts->base;
    source->nitems = bm_parts_at(parts, 0)->nitems;
    for (unsigned i = 0; i < parts->n; i++) {
        const struct bm_source *part = bm_parts_at(parts, i);
        if (part->nitems != source->nitems)
            return bm_fail(err, BM_INVALID_ARGUMENT, where,
                           "expected %" PRIu64 " items in %s, as in %s, got %" PRIu64,
                           source->nitems, bm_source_name(parts->refs[i]),
                           bm_source_name(parts->refs[0]), part->nitems);
        for (unsigned c = 0; c < part->schema.ncomponents; c++) {
            enum bm_status status =
                bm_schema_add(&source->schema, &part->schema.components[c], err);
            if (status != BM_OK)
                return bm_parts_fail(parts, i, status, err);
        }
    }
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    bm_parts_identify(parts, hash);
    source->identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return BM_OK;
}

static enum bm_status join_open(const void *config, struct bm_source_ref *const *refs, unsigned n,
                                const char *where, struct bm_source **ret_source,
                                struct bm_error *err)
{
    (void)config;
    struct bm_parts *parts = calloc(1, sizeof *parts);
    if (parts == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status = bm_parts_init(parts, &bm_join_source, refs, n, where, err);
    if (status == BM_OK)
        status = join_build(parts, where, err);
    if (status != BM_OK) {
        join_close(&parts->base);
        return status;
    }
    *ret_source = &parts->base;
    return BM_OK;
}

// Each part fills its own components where they are.
static enum bm_status join_read(const struct bm_source *source, struct bm_batch *batch,
                                int64_t *ret_row, struct bm_error *err)
{
    const struct bm_parts *parts = (const struct bm_parts *)source;
    struct bm_batch share = *batch;
    for (unsigned i = 0; i < parts->n; i++) {
        const struct bm_source *part = bm_parts_at(parts, i);
        share.schema = &part->schema;
        enum bm_status status = part->type->read(part, &share, ret_row, err);
        if (status != BM_OK)
            return bm_parts_fail(parts, i, status, err);
        share.tensors += part->schema.ncomponents;
    }
    return BM_OK;
}

static enum bm_status join_numbers(const struct bm_source *source, unsigned c, double *ret_numbers,
                                   struct bm_error *err)
{
    const struct bm_parts *parts = (const struct bm_parts *)source;
    unsigned i = 0;
    for (; c >= bm_parts_at(parts, i)->schema.ncomponents; i++)
        c -= bm_parts_at(parts, i)->schema.ncomponents;
    enum bm_status status = bm_source_numbers(bm_parts_at(parts, i), c, ret_numbers, err);
    return status == BM_OK ? BM_OK : bm_parts_fail(parts, i, status, err);
}

const struct bm_source_type bm_join_source = {
    .name = "join",
    .doc = "Other sources side by side: item i has the components of item i of each.",
    .params = join_params,
    .nparams = sizeof join_params / sizeof join_params[0],
    .config_bytes = sizeof(struct join_config),
    .over = join_over,
    .open_over = join_open,
    .close = join_close,
    .read = join_read,
    .numbers = join_numbers,
};
