#include "sources/arrow_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/utf8.h"
#include "sources/lz4.h"
#include "sources/zstd.h"

#ifndef BM_WITH_LZ4
#define BM_WITH_LZ4 1
#endif
#ifndef BM_WITH_ZSTD
#define BM_WITH_ZSTD 1
#endif

enum {
    MAGIC_BYTES = 6, // "ARROW1"
    HEAD_BYTES = 8,  // the magic and two bytes
    TAIL_BYTES = 10, // the footer's length and the magic
    NODE_BYTES = 16,
    BUFFER_BYTES = 16,
    PREFIX_BYTES = 8 // in front of a compressed buffer: its length
};

// Slots of the tables in Message.fbs.
enum { MESSAGE_VERSION, MESSAGE_HEADER_TYPE, MESSAGE_HEADER, MESSAGE_BODY_LENGTH };
enum { HEADER_SCHEMA = 1, HEADER_DICTIONARY, HEADER_BATCH };
enum { BATCH_LENGTH, BATCH_NODES, BATCH_BUFFERS, BATCH_COMPRESSION };
enum { DICTIONARY_ID, DICTIONARY_DATA, DICTIONARY_IS_DELTA };
enum { VERSION_4 = 3, VERSION_5 = 4 };
enum codec { CODEC_NONE = -1, CODEC_LZ4, CODEC_ZSTD };

struct message {
    struct bm_flat flat; // holds memory of its own
    struct bm_flat_table header;
    int64_t type;
    uint64_t at, body, body_size; // where it stands, where its body does
};

static enum bm_status file_no_memory(const struct bm_arrow_file *file, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, file->data.file.name, "out of memory");
}

static enum bm_status message_fail(const struct bm_arrow_file *file, uint64_t at, const char *text,
                                   struct bm_error *err)
{
    char where[BM_ERROR_WHERE_MAX];
    bm_file_where(file->data.file.name, where, "byte %" PRIu64, at);
    return bm_fail(err, BM_DATA_LOSS, where, "expected %s", text);
}

// ---- Messages ----

static enum bm_status file_word(const struct bm_arrow_file *file, uint64_t at, int32_t *ret_word,
                                struct bm_error *err)
{
    if (file->end - at < sizeof *ret_word)
        return message_fail(file, at, "another message, or the mark of the end; the file ends here",
                            err);
    return bm_data_file_read(&file->data, at, ret_word, sizeof *ret_word, err);
}

static enum bm_status message_parse(const struct bm_arrow_file *file, struct message *message,
                                    struct bm_error *err)
{
    struct bm_flat_table table = bm_flat_root(&message->flat);
    int64_t version = bm_flat_integer(&table, MESSAGE_VERSION, 2, 0);
    int64_t size = bm_flat_integer(&table, MESSAGE_BODY_LENGTH, 8, 0);
    message->type = bm_flat_integer(&table, MESSAGE_HEADER_TYPE, 1, 0);
    message->header = bm_flat_child(&table, MESSAGE_HEADER);
    if (message->flat.bad || message->header.at == 0)
        return message_fail(file, message->at, "valid metadata of a message", err);
    if (version != VERSION_4 && version != VERSION_5)
        return bm_fail(err, BM_UNIMPLEMENTED, file->data.file.name,
                       "expected metadata of version V4 or V5, got V%" PRId64, version + 1);
    if (size < 0 || (uint64_t)size > file->end - message->body)
        return message_fail(file, message->at, "the message's body in the file, which is shorter",
                            err);
    message->body_size = (uint64_t)size;
    return BM_OK;
}

// Before version 0.15 of Arrow there was no marker in front of the length.
static enum bm_status message_next(struct bm_arrow_file *file, struct message *message,
                                   bool *ret_found, struct bm_error *err)
{
    int32_t length = 0;
    message->at = file->at;
    if (file->footed && file->at == file->end) // neither did files have the mark of the end
        return BM_OK;
    enum bm_status status = file_word(file, file->at, &length, err);
    file->at += sizeof length;
    if (status == BM_OK && length == -1) {
        status = file_word(file, file->at, &length, err);
        file->at += sizeof length;
    }
    if (status != BM_OK || length == 0)
        return status;
    if (length < 0 || (uint64_t)length > file->end - file->at)
        return message_fail(file, message->at, "a message, or the file ends in one", err);
    unsigned char *metadata = malloc((size_t)length);
    if (metadata == NULL)
        return file_no_memory(file, err);
    message->flat = (struct bm_flat){.data = metadata, .size = (uint64_t)length};
    message->body = file->at + (uint64_t)length;
    status = bm_data_file_read(&file->data, file->at, metadata, (uint64_t)length, err);
    if (status == BM_OK)
        status = message_parse(file, message, err);
    if (status != BM_OK) {
        free(metadata);
        return status;
    }
    file->at = message->body + message->body_size;
    *ret_found = true;
    return BM_OK;
}

static void message_free(struct message *message)
{
    free((void *)message->flat.data);
}

// ---- Buffers ----

struct body { // of a record batch, or of a dictionary
    struct bm_arrow_file *file;
    struct message *message;
    struct bm_flat_table table; // RecordBatch
    struct bm_flat_vector nodes, buffers;
    enum codec codec;
    uint64_t nrows;
    uint64_t *unpacked; // bytes of the file so far
    char where[BM_ERROR_WHERE_MAX];
    struct bm_error *err;
};

struct node {
    int64_t length, nulls;
};

static enum bm_status body_fail(const struct body *body, const char *expected)
{
    return bm_fail(body->err, BM_DATA_LOSS, body->where, "expected %s", expected);
}

static enum bm_status body_init(struct body *body, uint64_t nnodes, uint64_t nbuffers)
{
    struct bm_flat *flat = body->table.flat;
    struct bm_flat_table compression = bm_flat_child(&body->table, BATCH_COMPRESSION);
    int64_t length = bm_flat_integer(&body->table, BATCH_LENGTH, 8, 0);
    body->nodes = bm_flat_vector(&body->table, BATCH_NODES, NODE_BYTES);
    body->buffers = bm_flat_vector(&body->table, BATCH_BUFFERS, BUFFER_BYTES);
    int64_t codec = bm_flat_integer(&compression, 0, 1, CODEC_LZ4);
    int64_t method = bm_flat_integer(&compression, 1, 1, 0);
    if (flat->bad || body->table.at == 0 || length < 0 || length > INT32_MAX * 1024LL)
        return body_fail(body, "valid metadata of a record batch");
    if (body->nodes.n != nnodes || body->buffers.n != nbuffers)
        return bm_fail(body->err, BM_DATA_LOSS, body->where,
                       "expected %" PRIu64 " nodes and %" PRIu64
                       " buffers by the schema, got %" PRIu64 " and %" PRIu64,
                       nnodes, nbuffers, body->nodes.n, body->buffers.n);
    body->codec = CODEC_NONE;
    if (compression.at != 0 && (method != 0 || (codec != CODEC_LZ4 && codec != CODEC_ZSTD)))
        return bm_fail(body->err, BM_UNIMPLEMENTED, body->where,
                       "expected buffers without compression, or of LZ4 or zstd, got another");
    if (compression.at != 0)
        body->codec = codec == CODEC_LZ4 ? CODEC_LZ4 : CODEC_ZSTD;
    body->nrows = (uint64_t)length;
    return BM_OK;
}

static struct node body_node(const struct body *body, uint64_t i)
{
    struct node node;
    BM_ASSERT(i < body->nodes.n);
    memcpy(&node, body->table.flat->data + body->nodes.at + i * NODE_BYTES, sizeof node);
    return node;
}

static enum bm_status span_unlz4(const struct body *body, const struct bm_content *packed,
                                 struct bm_arrow_span *span)
{
#if BM_WITH_LZ4
    if (span->size / BM_LZ4_RATIO_MAX > packed->size)
        return body_fail(body, "a length in front of a buffer that LZ4 can reach");
    span->data = malloc(span->size + 1);
    if (span->data == NULL)
        return file_no_memory(body->file, body->err);
    return bm_unlz4(packed->data, packed->size, span->data, span->size, body->where, body->err);
#else
    (void)packed, (void)span;
    return bm_fail(body->err, BM_UNIMPLEMENTED, body->where,
                   "expected no compression, got LZ4, which this build leaves out");
#endif
}

static enum bm_status span_unzstd(const struct body *body, const struct bm_content *packed,
                                  struct bm_arrow_span *span)
{
#if BM_WITH_ZSTD
    struct bm_content content = {0};
    enum bm_status status = bm_unzstd(packed, span->size, body->where, &content, body->err);
    if (status == BM_OK && content.size != span->size)
        status = body_fail(body, "as many bytes of zstd as the buffer says");
    span->data = (unsigned char *)content.data;
    return status;
#else
    (void)packed, (void)span;
    return bm_fail(body->err, BM_UNIMPLEMENTED, body->where,
                   "expected no compression, got zstd, which this build leaves out");
#endif
}

static enum bm_status span_unpack(const struct body *body, struct bm_arrow_span *span)
{
    const struct bm_data_file *data = &body->file->data;
    int64_t size = 0;
    if (span->size < PREFIX_BYTES)
        return body_fail(body, "the length of a compressed buffer");
    enum bm_status status = bm_data_file_read(data, span->offset, &size, sizeof size, body->err);
    if (status != BM_OK)
        return status;
    struct bm_content packed = {.size = span->size - PREFIX_BYTES};
    span->offset += PREFIX_BYTES;
    if (size == -1) { // it would not become smaller, and is as it was
        span->size = packed.size;
        return BM_OK;
    }
    if (size < 0 || (uint64_t)size > BM_FILE_LOAD_MAX - *body->unpacked)
        return bm_fail(body->err, BM_RESOURCE_EXHAUSTED, body->where,
                       "expected at most %" PRIu64 " bytes in a file after decompression, got more",
                       BM_FILE_LOAD_MAX);
    packed.data = malloc(packed.size + 1);
    if (packed.data == NULL)
        return file_no_memory(body->file, body->err);
    span->size = (uint64_t)size;
    *body->unpacked += span->size;
    status = bm_data_file_read(data, span->offset, packed.data, packed.size, body->err);
    if (status == BM_OK)
        status = body->codec == CODEC_LZ4 ? span_unlz4(body, &packed, span)
                                          : span_unzstd(body, &packed, span);
    bm_content_free(&packed);
    return status;
}

// Buffer i, of at least `needed` bytes. What it holds is freed with its chunk, also on failure.
static enum bm_status body_span(const struct body *body, uint64_t i, uint64_t needed,
                                struct bm_arrow_span *span)
{
    struct {
        int64_t offset, size;
    } buffer;
    BM_ASSERT(i < body->buffers.n);
    memcpy(&buffer, body->table.flat->data + body->buffers.at + i * BUFFER_BYTES, sizeof buffer);
    const struct message *message = body->message;
    if (buffer.offset < 0 || buffer.size < 0 || (uint64_t)buffer.offset > message->body_size ||
        (uint64_t)buffer.size > message->body_size - (uint64_t)buffer.offset)
        return body_fail(body, "buffers within the body of their message");
    span->offset = message->body + (uint64_t)buffer.offset;
    span->size = (uint64_t)buffer.size;
    enum bm_status status =
        body->codec != CODEC_NONE && span->size > 0 ? span_unpack(body, span) : BM_OK;
    if (status == BM_OK && span->size < needed)
        status = bm_fail(body->err, BM_DATA_LOSS, body->where,
                         "expected a buffer of at least %" PRIu64 " bytes, got %" PRIu64, needed,
                         span->size);
    return status;
}

enum bm_status bm_arrow_span_read(const struct bm_arrow_file *file,
                                  const struct bm_arrow_span *span, uint64_t offset, void *to,
                                  uint64_t size, struct bm_error *err)
{
    BM_ASSERT(offset <= span->size && size <= span->size - offset);
    if (span->data == NULL)
        return bm_data_file_read(&file->data, span->offset + offset, to, size, err);
    memcpy(to, span->data + offset, size);
    return BM_OK;
}

uint64_t bm_arrow_offset(const unsigned char *offsets, unsigned bytes, uint64_t i)
{
    int64_t wide = 0;
    int32_t narrow = 0;
    if (bytes == 8)
        memcpy(&wide, offsets + 8 * i, sizeof wide);
    else
        memcpy(&narrow, offsets + 4 * i, sizeof narrow);
    return bytes == 8 ? (uint64_t)wide : (uint64_t)(int64_t)narrow;
}

// ---- Dictionaries ----

static enum bm_status codes_add(const struct body *body, const unsigned char *names, uint64_t begin,
                                uint64_t end, struct bm_vocabulary *vocabulary, int64_t *ret_code)
{
    uint64_t index = 0;
    if (!bm_utf8_valid(names + begin, end - begin) ||
        memchr(names + begin, '\0', end - begin) != NULL)
        return body_fail(body, "a dictionary of UTF-8 without NUL");
    enum bm_status status =
        bm_vocabulary_add(vocabulary, (const char *)names + begin, end - begin, &index, body->err);
    *ret_code = (int64_t)index;
    return status;
}

// `offsets` and `names` are all bytes of these buffers.
static enum bm_status codes_append(const struct body *body, struct bm_arrow_codes *codes,
                                   unsigned bytes, const unsigned char *offsets,
                                   const unsigned char *names, uint64_t names_size,
                                   struct bm_vocabulary *vocabulary)
{
    int64_t *grown = reallocarray(codes->codes, codes->n + body->nrows + 1, sizeof *grown);
    if (grown == NULL)
        return file_no_memory(body->file, body->err);
    codes->codes = grown;
    enum bm_status status = BM_OK;
    for (uint64_t i = 0; i < body->nrows && status == BM_OK; i++) {
        uint64_t begin = bm_arrow_offset(offsets, bytes, i),
                 end = bm_arrow_offset(offsets, bytes, i + 1);
        status = begin > end || end > names_size
                     ? body_fail(body, "offsets of a dictionary that rise, within its texts")
                     : codes_add(body, names, begin, end, vocabulary, &codes->codes[codes->n]);
        if (status == BM_OK)
            codes->n++;
    }
    return status;
}

static enum bm_status span_load(const struct body *body, const struct bm_arrow_span *span,
                                unsigned char **ret_data)
{
    unsigned char *data = malloc(span->size + 1);
    if (data == NULL)
        return file_no_memory(body->file, body->err);
    enum bm_status status = bm_arrow_span_read(body->file, span, 0, data, span->size, body->err);
    if (status == BM_OK)
        *ret_data = data;
    else
        free(data);
    return status;
}

static enum bm_status dictionary_take(const struct body *body, unsigned c,
                                      struct bm_vocabulary *vocabulary)
{
    unsigned bytes = body->file->schema.columns[c].name_bytes;
    struct bm_arrow_span offsets = {0}, names = {0};
    unsigned char *offset_bytes = NULL, *name_bytes = NULL;
    if (body_node(body, 0).nulls != 0)
        return body_fail(body, "a dictionary without missing names");
    uint64_t needed = body->nrows == 0 ? 0 : (body->nrows + 1) * bytes;
    enum bm_status status = body_span(body, 1, needed, &offsets);
    if (status == BM_OK)
        status = body_span(body, 2, 0, &names);
    if (status == BM_OK)
        status = span_load(body, &offsets, &offset_bytes);
    if (status == BM_OK)
        status = span_load(body, &names, &name_bytes);
    if (status == BM_OK)
        status = codes_append(body, &body->file->codes[c], bytes, offset_bytes, name_bytes,
                              names.size, vocabulary);
    free(offset_bytes);
    free(name_bytes);
    free(offsets.data);
    free(names.data);
    return status;
}

static enum bm_status scan_dictionary(struct body *body, struct bm_vocabulary *const *vocabularies)
{
    struct message *message = body->message;
    int64_t id = bm_flat_integer(&message->header, DICTIONARY_ID, 8, 0);
    bool delta = bm_flat_integer(&message->header, DICTIONARY_IS_DELTA, 1, 0) != 0;
    body->table = bm_flat_child(&message->header, DICTIONARY_DATA);
    bm_file_where(body->file->data.file.name, body->where, "dictionary %" PRId64, id);
    enum bm_status status = BM_OK;
    const struct bm_arrow_schema *schema = &body->file->schema;
    for (unsigned c = 0; c < schema->ncolumns && status == BM_OK; c++) {
        const struct bm_arrow_column *column = &schema->columns[c];
        if (column->kind != BM_ARROW_CODE || column->dictionary != id)
            continue;
        if (!delta && body->file->codes[c].codes != NULL)
            return bm_fail(body->err, BM_UNIMPLEMENTED, body->where,
                           "expected one dictionary per column, or additions to it, got another "
                           "that replaces it");
        status = body_init(body, 1, 3);
        if (status == BM_OK)
            status = dictionary_take(body, c, vocabularies[c]);
    }
    return message->flat.bad && status == BM_OK ? body_fail(body, "valid metadata") : status;
}

// ---- Record batches ----

static uint64_t bits_bytes(uint64_t n)
{
    return n / 8 + (n % 8 != 0);
}

// A node within a row: of `length` values.
static enum bm_status chunk_inner(const struct body *body, uint64_t i, uint64_t length, bool holes)
{
    struct node node = body_node(body, i);
    if (node.length < 0 || (uint64_t)node.length != length || node.nulls < 0 ||
        node.nulls > node.length)
        return body_fail(body, "as many values in lists as their lengths make");
    if (node.nulls != 0 && !holes)
        return bm_fail(body->err, BM_INVALID_ARGUMENT, body->where,
                       "expected no missing values within lists, got %" PRId64, node.nulls);
    return BM_OK;
}

// The levels of lists down to the values. Each has one buffer of validity. A list of fixed size
// that is missing has missing values, so these are allowed where it is the only level.
static enum bm_status chunk_values(const struct body *body, const struct bm_arrow_column *column,
                                   uint64_t node, uint64_t buffer, uint64_t length,
                                   struct bm_arrow_chunk *chunk)
{
    enum bm_status status = BM_OK;
    uint64_t needed = 0;
    for (unsigned i = 0; i < column->nlevels && status == BM_OK; i++) {
        if (!bm_size_mul(length, column->level_sizes[i], &length))
            return body_fail(body, "lengths of lists that fit 64 bits");
        bool holes = column->nlevels == 1 && !column->component.ragged;
        status = chunk_inner(body, ++node, length, holes);
        if (status == BM_OK && body_node(body, node).nulls > 0) {
            chunk->inner_holes = true;
            status = body_span(body, buffer, bits_bytes(length), &chunk->inner);
        }
        buffer++;
    }
    chunk->nvalues = length;
    if (column->kind == BM_ARROW_BITS)
        needed = bits_bytes(length);
    else if (!bm_size_mul(length, bm_dtype_size(column->stored), &needed))
        return body_fail(body, "lengths of columns that fit 64 bits");
    return status == BM_OK ? body_span(body, buffer, needed, &chunk->values) : status;
}

static enum bm_status chunk_build(const struct body *body, const struct bm_arrow_column *column,
                                  struct bm_arrow_chunk *chunk)
{
    uint64_t node_at = column->node, buffer = column->buffer;
    struct node node = body_node(body, node_at);
    if (node.length < 0 || (uint64_t)node.length != body->nrows || node.nulls < 0 ||
        node.nulls > node.length)
        return body_fail(body, "as many values as the batch has rows, or fewer missing ones");
    chunk->holes = node.nulls > 0;
    enum bm_status status = BM_OK;
    if (chunk->holes)
        status = body_span(body, buffer, bits_bytes(body->nrows), &chunk->valid);
    buffer++;
    uint64_t length = body->nrows;
    if (status == BM_OK && column->offset_bytes > 0) {
        uint64_t needed = (body->nrows + 1) * column->offset_bytes;
        status = body_span(body, buffer++, needed, &chunk->offsets);
        if (status != BM_OK)
            return status;
        if (bm_dtype_is_text(column->component.dtype)) {
            status = body_span(body, buffer, 0, &chunk->values);
            chunk->nvalues = chunk->values.size;
            return status;
        }
        int64_t inner = body_node(body, ++node_at).length;
        length = inner < 0 ? 0 : (uint64_t)inner;
        status = chunk_inner(body, node_at, length, false);
        buffer++;
    }
    return status == BM_OK ? chunk_values(body, column, node_at, buffer, length, chunk) : status;
}

static void chunks_free(struct bm_arrow_chunk *chunks, unsigned n)
{
    for (unsigned i = 0; i < n && chunks != NULL; i++) {
        free(chunks[i].valid.data);
        free(chunks[i].inner.data);
        free(chunks[i].offsets.data);
        free(chunks[i].values.data);
    }
    free(chunks);
}

static enum bm_status batches_grow(struct bm_arrow_batches *batches, const struct body *body)
{
    if (batches->n < batches->capacity)
        return BM_OK;
    uint64_t capacity = batches->capacity == 0 ? 16 : 2 * batches->capacity;
    struct bm_arrow_batch *grown = reallocarray(batches->at, capacity, sizeof *grown);
    if (grown == NULL)
        return file_no_memory(body->file, body->err);
    batches->at = grown;
    batches->capacity = capacity;
    return BM_OK;
}

static enum bm_status scan_batch(struct body *body, uint64_t number,
                                 struct bm_arrow_batches *batches)
{
    const struct bm_arrow_schema *schema = &body->file->schema;
    const char *name = body->file->data.file.name;
    body->table = body->message->header;
    bm_file_where(name, body->where, "record batch %" PRIu64, number);
    enum bm_status status = body_init(body, schema->nnodes, schema->nbuffers);
    if (status == BM_OK)
        status = batches_grow(batches, body);
    if (status != BM_OK || body->nrows == 0)
        return status;
    struct bm_arrow_batch *batch = &batches->at[batches->n];
    *batch = (struct bm_arrow_batch){.file = body->file,
                                     .first = batches->nrows,
                                     .nrows = body->nrows,
                                     .chunks = calloc(schema->ncolumns, sizeof *batch->chunks)};
    if (batch->chunks == NULL)
        return file_no_memory(body->file, body->err);
    batches->n++; // freed with the others from here on
    batches->nrows += body->nrows;
    for (unsigned c = 0; c < schema->ncolumns && status == BM_OK; c++) {
        bm_file_where(name, body->where, "record batch %" PRIu64 ", component %.40s", number,
                      schema->columns[c].component.name);
        status = chunk_build(body, &schema->columns[c], &batch->chunks[c]);
    }
    return status;
}

enum bm_status bm_arrow_file_scan(struct bm_arrow_file *file,
                                  struct bm_vocabulary *const *vocabularies,
                                  struct bm_arrow_batches *batches, struct bm_error *err)
{
    uint64_t unpacked = 0, number = 0;
    enum bm_status status = BM_OK;
    bool found = true;
    file->first = batches->nrows;
    batches->ncolumns = file->schema.ncolumns;
    while (found && status == BM_OK) {
        struct message message = {0};
        struct body body = {.file = file, .message = &message, .unpacked = &unpacked, .err = err};
        found = false;
        status = message_next(file, &message, &found, err);
        if (status != BM_OK || !found)
            break;
        if (message.type == HEADER_BATCH)
            status = scan_batch(&body, number++, batches);
        else if (message.type == HEADER_DICTIONARY)
            status = scan_dictionary(&body, vocabularies);
        else
            status = message_fail(file, message.at, "a record batch or a dictionary", err);
        message_free(&message);
    }
    if (status == BM_OK && !file->footed && file->at != file->end)
        status = message_fail(file, file->at, "no bytes behind the mark of the end", err);
    return status;
}

// ---- One file ----

// Where messages begin and end.
static enum bm_status file_bounds(struct bm_arrow_file *file, struct bm_error *err)
{
    const struct bm_data_file *data = &file->data;
    char head[HEAD_BYTES] = "", tail[TAIL_BYTES];
    file->end = data->size_bytes;
    uint64_t size = data->size_bytes < sizeof head ? data->size_bytes : sizeof head;
    enum bm_status status = bm_data_file_read(data, 0, head, size, err);
    if (status != BM_OK || memcmp(head, "ARROW1", MAGIC_BYTES) != 0)
        return status;
    int32_t footer = 0;
    uint64_t least = HEAD_BYTES + TAIL_BYTES;
    if (data->size_bytes >= least) {
        status = bm_data_file_read(data, data->size_bytes - sizeof tail, tail, sizeof tail, err);
        if (status != BM_OK)
            return status;
        memcpy(&footer, tail, sizeof footer);
    }
    if (data->size_bytes < least || memcmp(tail + 4, "ARROW1", MAGIC_BYTES) != 0 || footer <= 0 ||
        (uint64_t)footer > data->size_bytes - least)
        return bm_fail(err, BM_DATA_LOSS, data->file.name,
                       "expected the footer of an Arrow file at its end: it is not whole");
    file->footed = true;
    file->at = HEAD_BYTES;
    file->end -= (uint64_t)footer + sizeof tail;
    return BM_OK;
}

static enum bm_status file_schema(struct bm_arrow_file *file, const struct bm_text_map *components,
                                  const char *where, struct bm_error *err)
{
    const char *name = file->data.file.name;
    struct message message = {0};
    bool found = false;
    enum bm_status status = file_bounds(file, err);
    if (status != BM_OK)
        return status;
    status = message_next(file, &message, &found, err);
    bool other = !file->footed && status == BM_DATA_LOSS; // nothing said that it would be one
    if (other || (status == BM_OK && (!found || message.type != HEADER_SCHEMA)))
        status = bm_fail(err, BM_INVALID_ARGUMENT, name,
                         "expected an Arrow IPC file or stream, which begins with its schema, got "
                         "something else (Parquet files are to be converted)");
    if (status == BM_OK)
        status =
            bm_arrow_schema_parse(&message.header, components, name, where, &file->schema, err);
    if (found)
        message_free(&message);
    if (status != BM_OK)
        return status;
    file->codes = calloc(file->schema.ncolumns, sizeof *file->codes);
    return file->codes == NULL ? file_no_memory(file, err) : BM_OK;
}

enum bm_status bm_arrow_file_open(struct bm_arrow_file *file, const char *directory,
                                  const char *path, const struct bm_text_map *components,
                                  const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    struct bm_arrow_file opened = {.data.file.fd = -1};
    enum bm_status status =
        bm_data_file_open(&opened.data, directory, path, bm_params_where(where, "path", text), err);
    if (status == BM_OK)
        status = file_schema(&opened, components, where, err);
    if (status == BM_OK)
        *file = opened;
    else
        bm_arrow_file_close(&opened);
    return status;
}

void bm_arrow_file_close(struct bm_arrow_file *file)
{
    for (unsigned c = 0; c < file->schema.ncolumns && file->codes != NULL; c++)
        free(file->codes[c].codes);
    free(file->codes);
    bm_arrow_schema_free(&file->schema);
    bm_data_file_close(&file->data);
}

void bm_arrow_batches_free(struct bm_arrow_batches *batches)
{
    for (uint64_t i = 0; i < batches->n; i++)
        chunks_free(batches->at[i].chunks, batches->ncolumns);
    free(batches->at);
    *batches = (struct bm_arrow_batches){0};
}
