#include "sources/array_source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "sources/file.h"
#include "sources/identity.h"
#include "sources/zip.h"

enum {
    HASHED_AT_ONCE = 1 << 20,
    // A row so small costs less than the system call that reads it: files with such rows are kept
    // in memory, up to a size.
    KEPT_ROW_BYTES_MAX = 32,
    KEPT_FILE_BYTES_MAX = 64 << 20,
    ROWS_AHEAD = 32, // shuffled rows lie anywhere: asked for so far ahead, they come side by side
};

struct array { // one file, one component
    struct bm_file file;
    uint64_t begin, file_bytes; // where the array is in it
    struct bm_content content;  // of a packed file; otherwise the rows are read from `file`
    struct bm_array_header header;
    uint64_t size_bytes; // of all rows
    uint64_t row_bytes;
};

struct array_source {
    struct bm_source base;
    unsigned narrays;
    struct array arrays[]; // in the order of the schema
};

const struct bm_param bm_array_params[BM_ARRAY_NPARAMS] = {
    BM_PARAM(struct bm_array_config, path, BM_PARAM_TEXT,
             .doc = "the file; compressed by gzip or zstd it is kept in memory"),
    BM_PARAM(struct bm_array_config, component, BM_PARAM_NAME,
             .doc = "with `path`: name of the component, else x"),
    BM_PARAM(struct bm_array_config, components, BM_PARAM_TEXT_MAP,
             .doc = "instead of `path`: {name: file, ...}; item i is row i of each of them"),
    BM_PARAM(struct bm_array_config, id, BM_PARAM_TEXT,
             .doc = "a text to change whenever the data change; without it the files are read "
                    "through at the start, to know equal data again"),
};

static enum bm_status array_no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

enum bm_status bm_array_header_add_axis(struct bm_array_header *header, uint64_t length,
                                        const char *name, struct bm_error *err)
{
    if (header->ndim > BM_NDIM_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, name, "expected at most %d axes, got more",
                       BM_NDIM_MAX + 1);
    header->shape[header->ndim++] = length;
    return BM_OK;
}

// ---- Opening one file ----

static enum bm_status array_parse_header(const struct bm_array_format *format, struct array *array,
                                         struct bm_error *err)
{
    if (array->content.data != NULL)
        return format->parse((const unsigned char *)array->content.data,
                             array->content.size < BM_ARRAY_HEADER_MAX ? array->content.size
                                                                       : BM_ARRAY_HEADER_MAX,
                             array->file.name, &array->header, err);
    uint64_t size = array->file_bytes;
    if (size > BM_ARRAY_HEADER_MAX)
        size = BM_ARRAY_HEADER_MAX;
    unsigned char *bytes = malloc(size + 1);
    if (bytes == NULL)
        return array_no_memory(array->file.name, err);
    enum bm_status status = bm_file_read(&array->file, array->begin, bytes, size, err);
    if (status == BM_OK)
        status = format->parse(bytes, size, array->file.name, &array->header, err);
    free(bytes);
    return status;
}

// What the header claims must be what the file has, before anybody allocates by it.
static enum bm_status array_check_size(struct array *array, struct bm_error *err)
{
    const struct bm_array_header *header = &array->header;
    uint64_t row_bytes = bm_dtype_size(header->dtype), size_bytes, file_bytes;
    bool fits = true;
    for (unsigned i = 1; i < header->ndim && fits; i++)
        fits = bm_size_mul(row_bytes, header->shape[i], &row_bytes);
    fits = fits && bm_size_mul(row_bytes, header->shape[0], &size_bytes) &&
           bm_size_add(size_bytes, header->data_offset, &file_bytes) && file_bytes <= INT64_MAX;
    if (!fits)
        return bm_fail(err, BM_INVALID_ARGUMENT, array->file.name,
                       "expected a size that fits 63 bits, the shape in the header does not");
    if (row_bytes == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, array->file.name,
                       "expected items of at least one element, the shape in the header has "
                       "an axis of length 0");
    uint64_t got = array->content.data == NULL ? array->file_bytes : array->content.size;
    if (got != file_bytes)
        return bm_fail(err, BM_DATA_LOSS, array->file.name,
                       "expected %" PRIu64 " bytes by its header, got %" PRIu64, file_bytes, got);
    array->row_bytes = row_bytes;
    array->size_bytes = size_bytes;
    return BM_OK;
}

static enum bm_status array_find_file(struct array *array, struct bm_error *err)
{
    bool packed = false;
    array->file_bytes = array->file.size_bytes;
    enum bm_status status = bm_file_is_packed(&array->file, &packed, err);
    return status == BM_OK && packed ? bm_file_load(&array->file, &array->content, err) : status;
}

static enum bm_status array_find_member(const struct bm_zip *zip, struct array *array,
                                        const char *name, const char *where, struct bm_error *err)
{
    const struct bm_zip_member *member = bm_zip_find(zip, name);
    if (member == NULL)
        return bm_fail(err, BM_NOT_FOUND, where, "there is no %s in %s", name, array->file.name);
    enum bm_status status = member->deflated
                                ? bm_zip_load(&array->file, member, &array->content, err)
                                : bm_zip_locate(&array->file, member, &array->begin, err);
    array->file_bytes = member->size_bytes;
    char *both = NULL; // for errors
    if (status == BM_OK && asprintf(&both, "%s: %s", array->file.name, name) < 0)
        return array_no_memory(where, err);
    if (both != NULL) {
        free(array->file.name);
        array->file.name = both;
    }
    return status;
}

static enum bm_status array_keep(struct array *array, struct bm_error *err)
{
    if (array->content.data != NULL || array->row_bytes > KEPT_ROW_BYTES_MAX ||
        array->file_bytes > KEPT_FILE_BYTES_MAX)
        return BM_OK;
    struct bm_content content = {.data = malloc(array->file_bytes + 1), .size = array->file_bytes};
    if (content.data == NULL)
        return array_no_memory(array->file.name, err);
    enum bm_status status =
        bm_file_read(&array->file, array->begin, content.data, content.size, err);
    if (status == BM_OK)
        array->content = content;
    else
        free(content.data);
    return status;
}

// `member` of an archive, or NULL.
static enum bm_status array_open(const struct bm_array_format *format, struct array *array,
                                 const char *directory, const char *path, const char *member,
                                 const char *where, struct bm_error *err)
{
    enum bm_status status = bm_file_open(&array->file, directory, path, where, err);
    if (status == BM_OK)
        status = member == NULL ? array_find_file(array, err)
                                : array_find_member(format->zip, array, member, where, err);
    if (status == BM_OK)
        status = array_parse_header(format, array, err);
    if (status == BM_OK)
        status = array_check_size(array, err);
    if (status == BM_OK)
        status = array_keep(array, err);
    return status;
}

// ---- Identity ----

static enum bm_status array_hash_rows(const struct array *array, struct bm_hash *hash,
                                      struct bm_error *err)
{
    uint64_t offset = array->header.data_offset;
    if (array->content.data != NULL) {
        bm_hash_add(hash, array->content.data + offset, array->size_bytes);
        return BM_OK;
    }
    unsigned char *bytes = malloc(HASHED_AT_ONCE);
    if (bytes == NULL)
        return array_no_memory(array->file.name, err);
    enum bm_status status = BM_OK;
    offset += array->begin;
    for (uint64_t left = array->size_bytes; left > 0 && status == BM_OK;) {
        uint64_t size = left < HASHED_AT_ONCE ? left : HASHED_AT_ONCE;
        status = bm_file_read(&array->file, offset, bytes, size, err);
        if (status == BM_OK)
            bm_hash_add(hash, bytes, size);
        offset += size;
        left -= size;
    }
    free(bytes);
    return status;
}

static enum bm_status source_hash(const struct array_source *source, const char *id,
                                  struct bm_hash *hash, struct bm_error *err)
{
    enum bm_status status = BM_OK;
    bm_identity_add_source(hash, &source->base);
    bm_hash_add_text(hash, id == NULL ? "" : id);
    for (unsigned i = 0; i < source->narrays && status == BM_OK; i++) {
        bm_identity_add_component(hash, &source->base.schema.components[i]);
        if (id == NULL)
            status = array_hash_rows(&source->arrays[i], hash, err);
    }
    return status;
}

static enum bm_status source_identify(struct array_source *source, const char *id,
                                      const char *where, struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return array_no_memory(where, err);
    enum bm_status status = source_hash(source, id, hash, err);
    if (status == BM_OK)
        source->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return status;
}

// ---- Opening the source ----

static enum bm_status config_check(const struct bm_array_format *format,
                                   const struct bm_array_config *config, const char *where,
                                   struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (config->path != NULL && config->components.n > 0 && format->zip != NULL)
        return BM_OK;
    if ((config->path == NULL) == (config->components.n == 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected either `path` or `components`, got %s",
                       config->path == NULL ? "neither" : "both");
    if (config->component != NULL && config->path == NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "component", text),
                       "expected `component` only together with `path`, got it with `components`");
    return BM_OK;
}

static enum bm_status source_add(struct array_source *source, const struct bm_array_format *format,
                                 const char *name, const char *path, const char *member,
                                 const char *directory, const char *where, struct bm_error *err)
{
    struct array *array = &source->arrays[source->narrays];
    enum bm_status status = array_open(format, array, directory, path, member, where, err);
    source->narrays++; // closed with the others from here on
    if (status != BM_OK)
        return status;
    struct bm_component component = {.dtype = array->header.dtype, .ndim = array->header.ndim - 1};
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a name of " BM_NAME_RULE ", got \"%s\"", name);
    memcpy(component.name, name, strlen(name) + 1);
    memcpy(component.shape, array->header.shape + 1, component.ndim * sizeof component.shape[0]);
    if (source->narrays == 1)
        source->base.nitems = array->header.shape[0];
    if (array->header.shape[0] != source->base.nitems)
        return bm_fail(err, BM_INVALID_ARGUMENT, array->file.name,
                       "expected %" PRIu64 " rows as in %s, got %" PRIu64, source->base.nitems,
                       source->arrays[0].file.name, array->header.shape[0]);
    return bm_schema_add(&source->base.schema, &component, err);
}

static enum bm_status source_add_all(struct array_source *source,
                                     const struct bm_array_format *format,
                                     const struct bm_array_config *config, const char *directory,
                                     const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (format->zip == NULL && config->path != NULL)
        return source_add(source, format, config->component == NULL ? "x" : config->component,
                          config->path, NULL, directory, bm_params_where(where, "path", text), err);
    bm_params_where(where, "components", text);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < config->components.n && status == BM_OK; i++) {
        const char *value = config->components.values[i];
        status = source_add(source, format, config->components.keys[i],
                            format->zip == NULL ? value : config->path,
                            format->zip == NULL ? NULL : value, directory, text, err);
    }
    return status;
}

enum bm_status bm_array_open(const struct bm_array_format *format,
                             const struct bm_array_config *config, const char *directory,
                             const char *where, struct bm_source **ret_source, struct bm_error *err)
{
    enum bm_status status = config_check(format, config, where, err);
    if (status != BM_OK)
        return status;
    unsigned narrays = config->components.n > 0 ? config->components.n : 1;
    struct array_source *source = calloc(1, sizeof *source + narrays * sizeof source->arrays[0]);
    if (source == NULL)
        return array_no_memory(where, err);
    for (unsigned i = 0; i < narrays; i++)
        source->arrays[i].file.fd = -1;
    source->base.type = format->type;
    bm_schema_init(&source->base.schema);
    status = source_add_all(source, format, config, directory, where, err);
    if (status == BM_OK)
        status = source_identify(source, config->id, where, err);
    if (status != BM_OK) {
        bm_array_close(&source->base);
        return status;
    }
    *ret_source = &source->base;
    return BM_OK;
}

void bm_array_close(struct bm_source *base)
{
    struct array_source *source = (struct array_source *)base;
    for (unsigned i = 0; i < source->narrays; i++) {
        bm_file_close(&source->arrays[i].file);
        bm_content_free(&source->arrays[i].content);
    }
    bm_schema_fini(&base->schema);
    free(source);
}

// ---- Reading ----

static void values_swap(unsigned char *data, uint64_t size_bytes, size_t element_bytes)
{
    for (unsigned char *element = data; element < data + size_bytes; element += element_bytes) {
        for (size_t low = 0, high = element_bytes - 1; low < high; low++, high--) {
            unsigned char byte = element[low];
            element[low] = element[high];
            element[high] = byte;
        }
    }
}

// A file may hold any byte where a bool should be; past this point it is 0 or 1.
static void values_to_bool(unsigned char *data, uint64_t size_bytes)
{
    for (uint64_t i = 0; i < size_bytes; i++)
        data[i] = data[i] != 0;
}

static enum bm_status array_read(const struct array *array, const struct bm_batch *batch,
                                 unsigned char *to, int64_t *ret_row, struct bm_error *err)
{
    const uint64_t *items = batch->items;
    uint64_t run; // of consecutive items, read in one go
    for (uint64_t row = 0; row < batch->nitems; row += run) {
        for (run = 1; row + run < batch->nitems && items[row + run] == items[row] + run;)
            run++;
        uint64_t offset = array->header.data_offset + items[row] * array->row_bytes;
        uint64_t size = run * array->row_bytes;
        enum bm_status status = BM_OK;
        if (array->content.data != NULL && row + ROWS_AHEAD < batch->nitems)
            __builtin_prefetch(array->content.data + array->header.data_offset +
                               items[row + ROWS_AHEAD] * array->row_bytes);
        if (array->content.data != NULL)
            memcpy(to, array->content.data + offset, size);
        else
            status = bm_file_read(&array->file, array->begin + offset, to, size, err);
        if (status != BM_OK) {
            *ret_row = (int64_t)row;
            return status;
        }
        to += size;
    }
    return BM_OK;
}

enum bm_status bm_array_read(const struct bm_source *base, struct bm_batch *batch, int64_t *ret_row,
                             struct bm_error *err)
{
    const struct array_source *source = (const struct array_source *)base;
    for (unsigned i = 0; i < source->narrays; i++) {
        const struct array *array = &source->arrays[i];
        unsigned char *data = batch->tensors[i].data;
        uint64_t size = batch->nitems * array->row_bytes;
        enum bm_status status = array_read(array, batch, data, ret_row, err);
        if (status != BM_OK)
            return status;
        if (array->header.big_endian)
            values_swap(data, size, bm_dtype_size(array->header.dtype));
        if (array->header.dtype == BM_BOOL)
            values_to_bool(data, size);
    }
    return BM_OK;
}
