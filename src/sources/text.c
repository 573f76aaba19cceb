// text.c -- lines of a text, one an item. Only where each line starts is kept in memory, 8 bytes a
// line; the lines are read when they are asked for.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sources/file.h"
#include "sources/identity.h"
#include "sources/types.h"

struct text_config {
    char *path, *component;
    enum bm_dtype dtype;
    char *id;
};

static const struct bm_param text_params[] = {
    BM_PARAM(struct text_config, path, BM_PARAM_TEXT, .required = true,
             .doc = "the file; compressed by gzip or zstd it is kept in memory"),
    BM_PARAM(struct text_config, component, BM_PARAM_NAME, .fallback = "text",
             .doc = "name of the component"),
    BM_PARAM(struct text_config, dtype, BM_PARAM_DTYPE, .fallback = "string",
             .doc = "string (checked to be UTF-8) or bytes"),
    BM_PARAM(struct text_config, id, BM_PARAM_TEXT,
             .doc = "a text to change whenever the data change; without it the lines themselves "
                    "identify them"),
};

enum { TEXT_NPARAMS = sizeof text_params / sizeof text_params[0] };

// A line's start in the file, and below it how many bytes its line end takes: 0, 1 or 2.
enum { END_BITS = 2, END_MASK = 3 };

struct text_source {
    struct bm_source base;
    struct bm_data_file data;
    struct bm_buffer starts; // uint64_t[nitems + 1]; the last one is the end of the file
};

static enum bm_status text_no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

// ---- Finding the lines ----

struct utf8 { // what the next byte must be, when it goes on a character
    unsigned left;
    unsigned char least, most;
};

struct scan {
    struct text_source *source;
    struct bm_hash *hash; // of the contents, or NULL
    bool checked;         // to be UTF-8
    struct utf8 utf8;
    uint64_t offset;     // in the file
    uint64_t line_start; // of the current line
    char last;           // byte before `offset`
};

// RFC 3629: no surrogates, nothing longer than needed, nothing above U+10FFFF.
static bool utf8_take(struct utf8 *utf8, unsigned char byte)
{
    if (utf8->left > 0) {
        bool fits = byte >= utf8->least && byte <= utf8->most;
        *utf8 = (struct utf8){.left = utf8->left - 1, .least = 0x80, .most = 0xbf};
        return fits;
    }
    if (byte < 0x80)
        return true;
    unsigned left = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
    *utf8 = (struct utf8){.left = left, .least = 0x80, .most = 0xbf};
    if (byte == 0xe0)
        utf8->least = 0xa0;
    else if (byte == 0xed)
        utf8->most = 0x9f;
    else if (byte == 0xf0)
        utf8->least = 0x90;
    else if (byte == 0xf4)
        utf8->most = 0x8f;
    return byte >= 0xc2 && byte <= 0xf4;
}

static enum bm_status scan_not_utf8(const struct scan *scan, struct bm_error *err)
{
    char where[BM_ERROR_WHERE_MAX];
    uint64_t line = scan->source->starts.size / sizeof(uint64_t) + 1;
    return bm_fail(err, BM_INVALID_ARGUMENT,
                   bm_file_where(scan->source->data.file.name, where, "line %" PRIu64, line),
                   "expected UTF-8 text, got other bytes (dtype bytes takes any)");
}

static void scan_end_line(struct scan *scan, uint64_t end, unsigned end_bytes)
{
    uint64_t start = scan->line_start << END_BITS | end_bytes;
    bm_buffer_add(&scan->source->starts, &start, sizeof start);
    scan->line_start = end;
}

static enum bm_status scan_check(struct scan *scan, const char *at, const char *end,
                                 struct bm_error *err)
{
    for (; at < end; at++) {
        if (!utf8_take(&scan->utf8, (unsigned char)*at))
            return scan_not_utf8(scan, err);
    }
    return BM_OK;
}

static enum bm_status scan_take(void *taker, const char *bytes, uint64_t size, struct bm_error *err)
{
    struct scan *scan = taker;
    const char *at = bytes, *end = bytes + size;
    if (scan->hash != NULL)
        bm_hash_add(scan->hash, bytes, size);
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline == NULL ? end : newline + 1;
        enum bm_status status = scan->checked ? scan_check(scan, at, next, err) : BM_OK;
        if (status != BM_OK)
            return status;
        if (newline != NULL) {
            const char *before = newline > bytes ? newline - 1 : &scan->last;
            uint64_t line_end = scan->offset + (uint64_t)(next - bytes);
            // A CR of the line before is not this one's.
            bool returned = *before == '\r' && line_end - scan->line_start > 1;
            scan_end_line(scan, line_end, returned ? 2 : 1);
        }
        at = next;
    }
    scan->offset += size;
    if (size > 0)
        scan->last = end[-1];
    return BM_OK;
}

static enum bm_status scan_finish(struct scan *scan, struct bm_error *err)
{
    struct text_source *source = scan->source;
    if (scan->utf8.left > 0)
        return scan_not_utf8(scan, err);
    if (scan->line_start < scan->offset)
        scan_end_line(scan, scan->offset, 0); // the last line may lack its end
    source->base.nitems = source->starts.size / sizeof(uint64_t);
    scan_end_line(scan, scan->offset, 0);
    return bm_buffer_failed(&source->starts) ? text_no_memory(source->data.file.name, err) : BM_OK;
}

static enum bm_status text_scan(struct text_source *source, const struct text_config *config,
                                struct bm_hash *hash, struct bm_error *err)
{
    struct scan scan = {.source = source,
                        .hash = config->id == NULL ? hash : NULL,
                        .checked = config->dtype == BM_STRING};
    bm_hash_add_text(hash, config->id == NULL ? "" : config->id);
    enum bm_status status = bm_data_file_scan(&source->data, scan_take, &scan, err);
    if (status == BM_OK)
        status = scan_finish(&scan, err);
    if (status == BM_OK)
        bm_identity_add_source(hash, &source->base);
    return status;
}

// ---- The source ----

static void text_close(struct bm_source *base)
{
    struct text_source *source = (struct text_source *)base;
    bm_data_file_close(&source->data);
    bm_buffer_fini(&source->starts);
    bm_schema_fini(&base->schema);
    free(source);
}

static enum bm_status text_build(struct text_source *source, const struct text_config *config,
                                 const char *directory, const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    struct bm_component component = {.dtype = config->dtype, .ragged = true};
    memcpy(component.name, config->component, strlen(config->component) + 1);
    enum bm_status status = bm_schema_add(&source->base.schema, &component, err);
    if (status == BM_OK)
        status = bm_data_file_open(&source->data, directory, config->path,
                                   bm_params_where(where, "path", text), err);
    if (status != BM_OK)
        return status;
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return text_no_memory(where, err);
    bm_identity_add_component(hash, &component);
    status = text_scan(source, config, hash, err);
    source->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return status;
}

static enum bm_status text_open(const void *opaque, const char *directory, const char *where,
                                struct bm_source **ret_source, struct bm_error *err)
{
    const struct text_config *config = opaque;
    char text[BM_ERROR_WHERE_MAX];
    if (!bm_dtype_is_text(config->dtype))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "dtype", text),
                       "expected string or bytes, got %s", bm_dtype_name(config->dtype));
    struct text_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return text_no_memory(where, err);
    source->base.type = &bm_text_source;
    source->data.file.fd = -1;
    bm_schema_init(&source->base.schema);
    bm_buffer_init(&source->starts);
    enum bm_status status = text_build(source, config, directory, where, err);
    if (status == BM_OK)
        *ret_source = &source->base;
    else
        text_close(&source->base);
    return status;
}

static const uint64_t *text_starts(const struct text_source *source)
{
    return (const uint64_t *)(const void *)source->starts.data;
}

static enum bm_status text_read(const struct bm_source *base, struct bm_batch *batch,
                                int64_t *ret_row, struct bm_error *err)
{
    const struct text_source *source = (const struct text_source *)base;
    const uint64_t *starts = text_starts(source);
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return text_no_memory(source->data.file.name, err);
    uint64_t *offsets = bm_block_data(block);
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems; row++) {
        const uint64_t *line = starts + batch->items[row];
        offsets[row + 1] =
            offsets[row] + (line[1] >> END_BITS) - (line[0] >> END_BITS) - (line[0] & END_MASK);
    }
    enum bm_status status = bm_batch_alloc_ragged(batch, 0, block, err);
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
        uint64_t size = offsets[row + 1] - offsets[row];
        if (size == 0)
            continue;
        status = bm_data_file_read(&source->data, starts[batch->items[row]] >> END_BITS,
                                   batch->tensors[0].data + offsets[row], size, err);
        if (status != BM_OK)
            *ret_row = (int64_t)row;
    }
    bm_block_unref(block);
    return status;
}

const struct bm_source_type bm_text_source = {
    .name = "text",
    .doc = "A text file, one line an item, without its line end (LF or CR LF); empty lines are "
           "items, too. The file is read through at the start to find the lines, and each line "
           "when it is asked for.",
    .params = text_params,
    .nparams = TEXT_NPARAMS,
    .config_bytes = sizeof(struct text_config),
    .open = text_open,
    .close = text_close,
    .read = text_read,
};
