// export_arrow.c -- all items as one Apache Arrow IPC file, items.arrow: a record batch for each
// batch of the stream, not compressed. At every checkpoint the mark of the end and the footer are
// written behind the last record batch, and the next one goes over them: the file can be read at
// any time, up to there.
//
// https://arrow.apache.org/docs/format/Columnar.html ("Serialization and Interprocess
// Communication"): dense items are nested lists of fixed size, ragged ones large lists, texts
// large_utf8 and large_binary, as their offsets have 64 bits here, too. bfloat16, which Arrow
// lacks, is uint16 (its 16 bits).
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/size.h"
#include "client/cli/export.h"
#include "data/dtype.h"

enum {
    PREFIX_BYTES = 8, // of a message: a marker and the length of its metadata
    HEADER_SCHEMA = 1,
    HEADER_BATCH = 3,
    VERSION_5 = 4,
    MESSAGE_BODY_SLOT = 3
};

enum type {
    TYPE_INT = 2,
    TYPE_FLOAT = 3,
    TYPE_BOOL = 6,
    TYPE_FIXED_LIST = 16,
    TYPE_LARGE_BINARY = 19,
    TYPE_LARGE_UTF8 = 20,
    TYPE_LARGE_LIST = 21
};

static const char file_name[] = "items.arrow";
static const unsigned char file_magic[8] = "ARROW1";

struct block { // of the footer: where a record batch is
    uint64_t offset;
    uint32_t metadata_bytes, unused; // with the prefix
    uint64_t body_bytes;
};
_Static_assert(sizeof(struct block) == 24, "as the footer has it");

struct part { // a node or a buffer of a record batch
    uint64_t first, second;
};

struct arrow_exporter {
    struct cli_exporter base;
    int file;
    size_t ncomponents;
    const struct batchmill_component *components; // lent by the stream
    uint64_t size;                                // bytes up to the mark of the end
    struct bm_buffer blocks, metadata, nodes, buffers, bits;
};

// ---- FlatBuffers, written from front to back: every field takes 8 bytes ----

static void flat_align(struct bm_buffer *out, size_t after) // 4 behind a multiple of 8
{
    static const unsigned char zeros[8];
    bm_buffer_add(out, zeros, (12 - (out->size + after) % 8) % 8);
}

// Fields that are not in the bit set `present` are absent. Returns where the table is.
static size_t flat_table(struct bm_buffer *out, unsigned nslots, unsigned present,
                         const uint64_t *cells)
{
    uint16_t slots[2 + 8] = {(uint16_t)(4 + 2 * nslots), (uint16_t)(4 + 8 * nslots)};
    const int32_t back = slots[0];
    for (unsigned i = 0; i < nslots; i++)
        slots[2 + i] = (uint16_t)((present >> i & 1) != 0 ? 4 + 8 * i : 0);
    flat_align(out, slots[0]);
    bm_buffer_add(out, slots, slots[0]);
    size_t table = out->size;
    bm_buffer_add(out, &back, sizeof back);
    bm_buffer_add(out, cells, 8ULL * nslots);
    return table;
}

static void flat_point(struct bm_buffer *out, size_t at, size_t to)
{
    uint32_t offset = (uint32_t)(to - at);
    if (!bm_buffer_failed(out))
        memcpy(out->data + at, &offset, sizeof offset);
}

static void flat_refer(struct bm_buffer *out, size_t table, unsigned slot, size_t to)
{
    flat_point(out, table + 4 + 8ULL * slot, to);
}

// With n elements of so many bytes; NULL: zeros, to be filled in.
static size_t flat_vector(struct bm_buffer *out, const void *elements, size_t n, size_t bytes)
{
    uint32_t count = (uint32_t)n;
    flat_align(out, 0);
    size_t vector = out->size;
    bm_buffer_add(out, &count, sizeof count);
    if (elements != NULL) {
        bm_buffer_add(out, elements, n * bytes);
        return vector;
    }
    void *room = bm_buffer_extend(out, n * bytes + 1);
    if (room != NULL)
        memset(room, 0, n * bytes + 1);
    return vector;
}

static size_t flat_text(struct bm_buffer *out, const char *text)
{
    size_t vector = flat_vector(out, text, strlen(text), 1);
    bm_buffer_add(out, "", 1);
    return vector;
}

// ---- The schema ----

static bool is_text(const struct batchmill_component *component)
{
    return component->dtype == BATCHMILL_STRING || component->dtype == BATCHMILL_BYTES;
}

static enum type component_type(const struct batchmill_component *component, unsigned axis)
{
    enum bm_dtype dtype = (enum bm_dtype)component->dtype;
    if (is_text(component))
        return dtype == BM_STRING ? TYPE_LARGE_UTF8 : TYPE_LARGE_BINARY;
    if (axis < component->ndim)
        return component->ragged && axis == 0 ? TYPE_LARGE_LIST : TYPE_FIXED_LIST;
    return dtype == BM_BOOL                                   ? TYPE_BOOL
           : bm_dtype_is_float(dtype) && dtype != BM_BFLOAT16 ? TYPE_FLOAT
                                                              : TYPE_INT;
}

static size_t type_write(struct bm_buffer *out, const struct batchmill_component *component,
                         unsigned axis)
{
    enum bm_dtype dtype = (enum bm_dtype)component->dtype;
    uint64_t size = bm_dtype_size(dtype);
    enum type type = component_type(component, axis);
    bool is_signed =
        dtype == BM_INT8 || dtype == BM_INT16 || dtype == BM_INT32 || dtype == BM_INT64;
    if (type == TYPE_INT)
        return flat_table(out, 2, 3, (const uint64_t[]){8 * size, is_signed});
    if (type == TYPE_FLOAT) // half, single, double
        return flat_table(out, 1, 1, (const uint64_t[]){size / 4});
    if (type == TYPE_FIXED_LIST)
        return flat_table(out, 1, 1, &component->shape[axis]);
    return flat_table(out, 0, 0, NULL);
}

enum { FIELD_NAME, FIELD_NULLABLE, FIELD_TYPE_TYPE, FIELD_TYPE, FIELD_DICTIONARY, FIELD_CHILDREN };

// NOLINTNEXTLINE(misc-no-recursion): bounded by the number of axes
static size_t field_write(struct bm_buffer *out, const char *name,
                          const struct batchmill_component *component, unsigned axis)
{
    enum type type = component_type(component, axis);
    const uint64_t cells[FIELD_CHILDREN + 1] = {[FIELD_TYPE_TYPE] = type};
    size_t field = flat_table(
        out, FIELD_CHILDREN + 1,
        1U << FIELD_NAME | 1U << FIELD_TYPE_TYPE | 1U << FIELD_TYPE | 1U << FIELD_CHILDREN, cells);
    flat_refer(out, field, FIELD_NAME, flat_text(out, name));
    flat_refer(out, field, FIELD_TYPE, type_write(out, component, axis));
    bool inner = type == TYPE_FIXED_LIST || type == TYPE_LARGE_LIST;
    size_t children = flat_vector(out, NULL, inner, 4);
    flat_refer(out, field, FIELD_CHILDREN, children);
    if (inner)
        flat_point(out, children + 4, field_write(out, "item", component, axis + 1));
    return field;
}

static size_t schema_write(struct bm_buffer *out, const struct arrow_exporter *arrow)
{
    size_t schema = flat_table(out, 2, 2, (const uint64_t[]){0, 0}); // little-endian is the default
    size_t fields = flat_vector(out, NULL, arrow->ncomponents, 4);
    flat_refer(out, schema, 1, fields);
    for (size_t i = 0; i < arrow->ncomponents; i++) {
        const struct batchmill_component *component = &arrow->components[i];
        flat_point(out, fields + 4 + 4 * i, field_write(out, component->name, component, 0));
    }
    return schema;
}

// ---- Messages ----

// Up to the header's table, which is to be written next and referred to. Returns the message.
static size_t message_begin(struct bm_buffer *out, uint64_t header_type, uint64_t body_bytes)
{
    static const unsigned char zeros[PREFIX_BYTES];
    bm_buffer_clear(out);
    bm_buffer_add(out, zeros, 4); // where the root will be
    const uint64_t cells[] = {VERSION_5, header_type, 0, body_bytes};
    size_t message = flat_table(out, 4, 15, cells);
    flat_point(out, 0, message);
    return message;
}

static bool exporter_write(struct cli_export *export_, struct arrow_exporter *arrow,
                           const void *data, uint64_t size, struct batchmill_error *error)
{
    static const unsigned char zeros[8];
    uint64_t padded = bm_size_align(size, 8);
    if (!cli_write_all(arrow->file, data, size) ||
        !cli_write_all(arrow->file, zeros, padded - size))
        return cli_export_fail(export_, file_name, error);
    arrow->size += padded;
    return true;
}

// The prefix and the metadata; the body is the caller's.
static bool message_write(struct cli_export *export_, struct arrow_exporter *arrow,
                          struct batchmill_error *error)
{
    const uint32_t prefix[] = {UINT32_MAX, (uint32_t)bm_size_align(arrow->metadata.size, 8)};
    errno = ENOMEM;
    if (bm_buffer_failed(&arrow->metadata))
        return cli_export_fail(export_, file_name, error);
    return exporter_write(export_, arrow, prefix, sizeof prefix, error) &&
           exporter_write(export_, arrow, arrow->metadata.data, arrow->metadata.size, error);
}

// ---- Record batches ----

static void part_add(struct bm_buffer *parts, uint64_t first, uint64_t second)
{
    const struct part part = {first, second};
    bm_buffer_add(parts, &part, sizeof part);
}

// A buffer of so many bytes at the end of the body.
static void body_add(struct arrow_exporter *arrow, uint64_t *body_bytes, uint64_t size)
{
    part_add(&arrow->buffers, *body_bytes, size);
    *body_bytes += bm_size_align(size, 8);
}

static uint64_t values_bytes(const struct batchmill_tensor *tensor)
{
    return tensor->dtype == BATCHMILL_BOOL ? (tensor->size_bytes + 7) / 8 : tensor->size_bytes;
}

// Nodes and buffers of one component. Nothing is missing, so buffers of validity are empty.
static void component_lay_out(struct arrow_exporter *arrow,
                              const struct batchmill_component *component,
                              const struct batchmill_tensor *tensor, uint64_t nitems,
                              uint64_t *body_bytes)
{
    uint64_t length = nitems;
    unsigned axis = 0;
    part_add(&arrow->nodes, length, 0);
    body_add(arrow, body_bytes, 0);
    if (tensor->ragged) {
        body_add(arrow, body_bytes, (nitems + 1) * sizeof tensor->offsets[0]);
        length = tensor->offsets[nitems];
        if (!is_text(component)) {
            axis = 1;
            part_add(&arrow->nodes, length, 0);
            body_add(arrow, body_bytes, 0);
        }
    }
    for (; axis < component->ndim; axis++) {
        length *= component->shape[axis];
        part_add(&arrow->nodes, length, 0);
        body_add(arrow, body_bytes, 0);
    }
    body_add(arrow, body_bytes, values_bytes(tensor));
}

static bool component_write(struct cli_export *export_, struct arrow_exporter *arrow,
                            const struct batchmill_tensor *tensor, uint64_t nitems,
                            struct batchmill_error *error)
{
    if (tensor->ragged && !exporter_write(export_, arrow, tensor->offsets,
                                          (nitems + 1) * sizeof tensor->offsets[0], error))
        return false;
    if (tensor->dtype != BATCHMILL_BOOL)
        return exporter_write(export_, arrow, tensor->data, tensor->size_bytes, error);
    uint64_t size = values_bytes(tensor);
    const unsigned char *from = tensor->data;
    bm_buffer_clear(&arrow->bits);
    unsigned char *bits = bm_buffer_extend(&arrow->bits, size + 1);
    errno = ENOMEM;
    if (bits == NULL)
        return cli_export_fail(export_, file_name, error);
    memset(bits, 0, size);
    for (uint64_t i = 0; i < tensor->size_bytes; i++)
        bits[i / 8] |= (unsigned char)((from[i] != 0) << i % 8);
    return exporter_write(export_, arrow, bits, size, error);
}

static bool arrow_batch(struct cli_export *export_, const struct batchmill_batch *batch,
                        struct batchmill_error *error)
{
    struct arrow_exporter *arrow = (struct arrow_exporter *)export_->exporter;
    uint64_t nitems = batchmill_batch_nitems(batch);
    struct block block = {.offset = arrow->size};
    bm_buffer_clear(&arrow->nodes);
    bm_buffer_clear(&arrow->buffers);
    for (size_t i = 0; i < arrow->ncomponents; i++)
        component_lay_out(arrow, &arrow->components[i], batchmill_batch_tensor_at(batch, i), nitems,
                          &block.body_bytes);
    struct bm_buffer *out = &arrow->metadata;
    size_t message = message_begin(out, HEADER_BATCH, block.body_bytes);
    size_t header = flat_table(out, 3, 7, (const uint64_t[]){nitems, 0, 0});
    flat_refer(out, message, 2, header);
    flat_refer(out, header, 1,
               flat_vector(out, arrow->nodes.data, arrow->nodes.size / sizeof(struct part),
                           sizeof(struct part)));
    flat_refer(out, header, 2,
               flat_vector(out, arrow->buffers.data, arrow->buffers.size / sizeof(struct part),
                           sizeof(struct part)));
    out->failed |= bm_buffer_failed(&arrow->nodes) || bm_buffer_failed(&arrow->buffers);
    bool ok = message_write(export_, arrow, error);
    block.metadata_bytes = (uint32_t)(arrow->size - block.offset);
    for (size_t i = 0; i < arrow->ncomponents && ok; i++)
        ok = component_write(export_, arrow, batchmill_batch_tensor_at(batch, i), nitems, error);
    bm_buffer_add(&arrow->blocks, &block, sizeof block);
    return ok;
}

// ---- The end of the file ----

static bool arrow_flush(struct cli_export *export_, struct batchmill_error *error)
{
    struct arrow_exporter *arrow = (struct arrow_exporter *)export_->exporter;
    static const uint32_t end[] = {UINT32_MAX, 0};
    struct bm_buffer *out = &arrow->metadata;
    bm_buffer_clear(out);
    bm_buffer_add(out, end, sizeof end);
    size_t start = out->size; // a multiple of 8, so what is aligned in the file is so in the footer
    bm_buffer_add(out, end + 1, sizeof end[1]);
    size_t footer = flat_table(out, 4, 15, (const uint64_t[]){VERSION_5, 0, 0, 0});
    flat_point(out, start, footer);
    flat_refer(out, footer, 1, schema_write(out, arrow));
    flat_refer(out, footer, 2, flat_vector(out, NULL, 0, sizeof(struct block)));
    flat_refer(out, footer, 3,
               flat_vector(out, arrow->blocks.data, arrow->blocks.size / sizeof(struct block),
                           sizeof(struct block)));
    const uint32_t size = (uint32_t)(out->size - start);
    bm_buffer_add(out, &size, sizeof size);
    bm_buffer_add(out, file_magic, 6);
    export_->drain.done.part_bytes = arrow->size;
    errno = ENOMEM;
    return (!bm_buffer_failed(out) && !bm_buffer_failed(&arrow->blocks) &&
            pwrite(arrow->file, out->data, out->size, (off_t)arrow->size) == (ssize_t)out->size &&
            fdatasync(arrow->file) == 0) ||
           cli_export_fail(export_, file_name, error);
}

// ---- Beginning and going on ----

// The blocks of the record batches that are there: what message_begin() wrote, each.
static bool exporter_recover(struct arrow_exporter *arrow)
{
    for (uint64_t at = sizeof file_magic; at < arrow->size;) {
        struct block block = {.offset = at};
        uint32_t prefix[3]; // and where the message is
        if (pread(arrow->file, prefix, sizeof prefix, (off_t)at) != sizeof prefix)
            return false;
        uint64_t cell = at + PREFIX_BYTES + prefix[2] + 4 + 8ULL * MESSAGE_BODY_SLOT;
        if (prefix[0] != UINT32_MAX || pread(arrow->file, &block.body_bytes, 8, (off_t)cell) != 8)
            return false;
        block.metadata_bytes = PREFIX_BYTES + prefix[1];
        if (at > sizeof file_magic) // the first message is the schema
            bm_buffer_add(&arrow->blocks, &block, sizeof block);
        if (!bm_size_add(at + block.metadata_bytes, block.body_bytes, &at) || at > arrow->size)
            return false;
    }
    return true;
}

static bool exporter_open(struct cli_export *export_, struct arrow_exporter *arrow,
                          struct batchmill_error *error)
{
    bool found = export_->drain.found;
    arrow->file = openat(export_->folder, file_name, cli_export_flags(export_), 0666);
    if (arrow->file < 0)
        return cli_export_fail(export_, file_name, error);
    if (!found) {
        struct bm_buffer *out = &arrow->metadata;
        size_t message = message_begin(out, HEADER_SCHEMA, 0);
        flat_refer(out, message, 2, schema_write(out, arrow));
        return exporter_write(export_, arrow, file_magic, sizeof file_magic, error) &&
               message_write(export_, arrow, error);
    }
    arrow->size = export_->drain.kept.part_bytes;
    errno = ENODATA; // it was cut since the checkpoint was written
    if (lseek(arrow->file, 0, SEEK_END) < (off_t)arrow->size || !exporter_recover(arrow))
        return cli_export_fail(export_, file_name, error);
    return (ftruncate(arrow->file, (off_t)arrow->size) == 0 &&
            lseek(arrow->file, (off_t)arrow->size, SEEK_SET) == (off_t)arrow->size) ||
           cli_export_fail(export_, file_name, error);
}

static void arrow_free(struct cli_exporter *exporter)
{
    struct arrow_exporter *arrow = (struct arrow_exporter *)exporter;
    if (arrow->file >= 0)
        close(arrow->file);
    bm_buffer_fini(&arrow->blocks);
    bm_buffer_fini(&arrow->metadata);
    bm_buffer_fini(&arrow->nodes);
    bm_buffer_fini(&arrow->buffers);
    bm_buffer_fini(&arrow->bits);
    free(arrow);
}

// Lists of fixed size have at most this many elements.
static bool shapes_fit(const struct batchmill_stream_info *info, struct batchmill_error *error)
{
    for (size_t i = 0; i < info->ncomponents; i++) {
        const struct batchmill_component *component = &info->components[i];
        for (unsigned axis = 0; axis < component->ndim; axis++) {
            if (component->shape[axis] <= INT32_MAX)
                continue;
            *error = (struct batchmill_error){.code = BATCHMILL_INVALID_ARGUMENT};
            snprintf(error->text, sizeof error->text,
                     "%.128s: expected axes below 2^31, which Arrow can say", component->name);
            return false;
        }
    }
    return true;
}

struct cli_exporter *cli_export_arrow(struct cli_export *export_,
                                      const struct batchmill_stream_info *info,
                                      struct batchmill_error *error)
{
    if (!shapes_fit(info, error))
        return NULL;
    struct arrow_exporter *arrow = calloc(1, sizeof *arrow);
    if (arrow == NULL) {
        errno = ENOMEM;
        cli_export_fail(export_, file_name, error);
        return NULL;
    }
    arrow->base =
        (struct cli_exporter){.batch = arrow_batch, .flush = arrow_flush, .free = arrow_free};
    arrow->ncomponents = info->ncomponents;
    arrow->components = info->components;
    if (exporter_open(export_, arrow, error))
        return &arrow->base;
    arrow_free(&arrow->base);
    return NULL;
}
