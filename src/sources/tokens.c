// tokens.c -- windows over flat files of token numbers, as trainers of language models keep them.
// Which window item i is, is arithmetic; nothing of the files is in memory.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sources/file.h"
#include "sources/identity.h"
#include "sources/types.h"

struct tokens_config {
    struct bm_texts path;
    enum bm_dtype dtype;
    int64_t length, stride;
    bool targets;
    char *id;
};

static const struct bm_param tokens_params[] = {
    BM_PARAM(struct tokens_config, path, BM_PARAM_TEXTS, .required = true,
             .doc = "the file, or a list of them; compressed by gzip or zstd they are kept in "
                    "memory"),
    BM_PARAM(struct tokens_config, dtype, BM_PARAM_DTYPE, .fallback = "uint16",
             .doc = "of a token in the file, little-endian: uint16 or uint32"),
    BM_PARAM(struct tokens_config, length, BM_PARAM_INTEGER, .required = true, .min = 1,
             .max = 1 << 28, .doc = "tokens of a window"),
    BM_PARAM(struct tokens_config, stride, BM_PARAM_INTEGER, .min = 0, .max = 1 << 28,
             .doc = "tokens from the start of a window to that of the next; 0 or absent: "
                    "`length`, so that windows do not overlap; 1: every possible window"),
    BM_PARAM(struct tokens_config, targets, BM_PARAM_BOOL, .fallback = "false",
             .doc = "also the component targets: the window one token further on"),
    BM_PARAM(struct tokens_config, id, BM_PARAM_TEXT,
             .doc = "a text to change whenever the data change; without it the files are read "
                    "through at the start, to know equal data again"),
};

enum { TOKENS_NPARAMS = sizeof tokens_params / sizeof tokens_params[0] };

struct part { // one file; no window reaches from one to the next
    struct bm_data_file data;
    uint64_t first_item; // of the source
};

struct tokens_source {
    struct bm_source base;
    uint64_t token_bytes, length, stride;
    bool targets;
    unsigned nparts;
    struct part parts[];
};

static enum bm_status tokens_no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

static enum bm_status hash_take(void *hash, const char *bytes, uint64_t size, struct bm_error *err)
{
    (void)err;
    bm_hash_add(hash, bytes, size);
    return BM_OK;
}

static void tokens_close(struct bm_source *base)
{
    struct tokens_source *source = (struct tokens_source *)base;
    for (unsigned i = 0; i < source->nparts; i++)
        bm_data_file_close(&source->parts[i].data);
    bm_schema_fini(&base->schema);
    free(source);
}

// ---- Opening ----

static enum bm_status part_open(struct tokens_source *source, const char *directory,
                                const char *path, const char *where, struct bm_error *err)
{
    struct part *part = &source->parts[source->nparts];
    enum bm_status status = bm_data_file_open(&part->data, directory, path, where, err);
    if (status != BM_OK)
        return status;
    source->nparts++; // closed with the others from here on
    part->first_item = source->base.nitems;
    if (part->data.size_bytes % source->token_bytes != 0)
        return bm_fail(err, BM_DATA_LOSS, part->data.file.name,
                       "expected tokens of %" PRIu64 " bytes, got %" PRIu64
                       " bytes, which is no whole number of them",
                       source->token_bytes, part->data.size_bytes);
    uint64_t ntokens = part->data.size_bytes / source->token_bytes;
    uint64_t needed = source->length + source->targets;
    if (ntokens >= needed)
        source->base.nitems += (ntokens - needed) / source->stride + 1;
    return BM_OK;
}

static enum bm_status tokens_identify(struct tokens_source *source,
                                      const struct tokens_config *config, const char *where,
                                      struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return tokens_no_memory(where, err);
    enum bm_status status = BM_OK;
    bm_identity_add_source(hash, &source->base);
    for (unsigned i = 0; i < source->base.schema.ncomponents; i++)
        bm_identity_add_component(hash, &source->base.schema.components[i]);
    bm_hash_add_u64(hash, source->stride);
    bm_hash_add_text(hash, config->id == NULL ? "" : config->id);
    for (unsigned i = 0; i < source->nparts && status == BM_OK; i++) {
        bm_hash_add_u64(hash, source->parts[i].data.size_bytes);
        if (config->id == NULL)
            status = bm_data_file_scan(&source->parts[i].data, hash_take, hash, err);
    }
    source->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return status;
}

static enum bm_status tokens_build(struct tokens_source *source, const struct tokens_config *config,
                                   const char *directory, const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    struct bm_component component = {
        .name = "tokens", .dtype = config->dtype, .ndim = 1, .shape = {source->length}};
    enum bm_status status = bm_schema_add(&source->base.schema, &component, err);
    memcpy(component.name, "targets", sizeof "targets");
    if (status == BM_OK && source->targets)
        status = bm_schema_add(&source->base.schema, &component, err);
    bm_params_where(where, "path", text);
    for (unsigned i = 0; i < config->path.n && status == BM_OK; i++)
        status = part_open(source, directory, config->path.values[i], text, err);
    if (status == BM_OK && source->base.nitems == 0)
        status = bm_fail(err, BM_INVALID_ARGUMENT, text,
                         "expected a file of at least %" PRIu64 " tokens, got none so long",
                         source->length + source->targets);
    return status == BM_OK ? tokens_identify(source, config, where, err) : status;
}

static enum bm_status tokens_open(const void *opaque, const char *directory, const char *where,
                                  struct bm_source **ret_source, struct bm_error *err)
{
    const struct tokens_config *config = opaque;
    char text[BM_ERROR_WHERE_MAX];
    if (config->dtype != BM_UINT16 && config->dtype != BM_UINT32)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "dtype", text),
                       "expected uint16 or uint32, got %s", bm_dtype_name(config->dtype));
    struct tokens_source *source =
        calloc(1, sizeof *source + config->path.n * sizeof source->parts[0]);
    if (source == NULL)
        return tokens_no_memory(where, err);
    source->base.type = &bm_tokens_source;
    source->token_bytes = bm_dtype_size(config->dtype);
    source->length = (uint64_t)config->length;
    source->stride = (uint64_t)(config->stride == 0 ? config->length : config->stride);
    source->targets = config->targets;
    bm_schema_init(&source->base.schema);
    enum bm_status status = tokens_build(source, config, directory, where, err);
    if (status == BM_OK)
        *ret_source = &source->base;
    else
        tokens_close(&source->base);
    return status;
}

// ---- Reading ----

// The last part that begins at or before the item; parts without a window begin where the next
// does.
static const struct part *tokens_find(const struct tokens_source *source, uint64_t item)
{
    unsigned low = 0, high = source->nparts;
    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;
        if (source->parts[middle].first_item <= item)
            low = middle;
        else
            high = middle;
    }
    return &source->parts[low];
}

static enum bm_status tokens_read(const struct bm_source *base, struct bm_batch *batch,
                                  int64_t *ret_row, struct bm_error *err)
{
    const struct tokens_source *source = (const struct tokens_source *)base;
    uint64_t bytes = source->length * source->token_bytes;
    for (uint64_t row = 0; row < batch->nitems; row++) {
        const struct part *part = tokens_find(source, batch->items[row]);
        uint64_t start = (batch->items[row] - part->first_item) * source->stride;
        uint64_t offset = start * source->token_bytes;
        unsigned char *tokens = batch->tensors[0].data + row * bytes;
        enum bm_status status = bm_data_file_read(&part->data, offset, tokens, bytes, err);
        if (status == BM_OK && source->targets) {
            unsigned char *targets = batch->tensors[1].data + row * bytes;
            uint64_t shared = bytes - source->token_bytes; // with the window itself
            memcpy(targets, tokens + source->token_bytes, shared);
            status = bm_data_file_read(&part->data, offset + bytes, targets + shared,
                                       source->token_bytes, err);
        }
        if (status != BM_OK) {
            *ret_row = (int64_t)row;
            return status;
        }
    }
    return BM_OK;
}

const struct bm_source_type bm_tokens_source = {
    .name = "tokens",
    .doc = "Flat files of token numbers without a header, such as nanoGPT's train.bin: item i is "
           "the component tokens, `length` tokens from token i * `stride` on. No window reaches "
           "from one file into the next, and what is left at a file's end is left out.",
    .params = tokens_params,
    .nparams = TOKENS_NPARAMS,
    .config_bytes = sizeof(struct tokens_config),
    .open = tokens_open,
    .close = tokens_close,
    .read = tokens_read,
};
