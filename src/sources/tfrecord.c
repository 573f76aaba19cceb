// tfrecord.c -- records of tf.train.Example, as TensorFlow keeps data sets.
//
// A record is its length (8 bytes, little-endian), that one's check, the Example, and its check:
// CRC32C, "masked" as TensorFlow does it (tensorflow/core/lib/io/record_writer.cc). Where each
// record begins is found once, 8 bytes a record; then any is read by itself.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/utf8.h"
#include "sources/file.h"
#include "sources/identity.h"
#include "sources/tfrecord_features.h"
#include "sources/types.h"

enum { HEAD_BYTES = 12, CHECK_BYTES = 4 };

struct tfrecord_config {
    struct bm_texts paths;
    const struct bm_value *components;
    char *id;
};

static const struct bm_param tfrecord_params[] = {
    BM_PARAM(struct tfrecord_config, paths, BM_PARAM_TEXTS, .required = true,
             .doc = "the files in order: one path or a list; in gzip (TensorFlow's compression) or "
                    "zstd they are unpacked into memory"),
    BM_PARAM(struct tfrecord_config, components, BM_PARAM_VALUE,
             .doc =
                 "name: {feature: its name in the Example, else the component's; dtype; shape of "
                 "a list; ragged: true for lists of any length, also of none}. Without it an "
                 "error tells which features the first record has"),
    BM_PARAM(struct tfrecord_config, id, BM_PARAM_TEXT,
             .doc = "a text to change whenever the data change; without it the files are read "
                    "through at the start, to know equal data again"),
};

enum { TFRECORD_NPARAMS = sizeof tfrecord_params / sizeof tfrecord_params[0] };

struct part { // one file
    struct bm_data_file data;
    uint64_t first_item;     // of the source
    struct bm_buffer starts; // uint64_t[records + 1]: of each record's head; the last is the end
};

struct tfrecord {
    struct bm_source base;
    struct bm_tf_plan plan;
    unsigned nparts;
    struct part parts[];
};

static enum bm_status no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

static void tfrecord_close(struct bm_source *base)
{
    struct tfrecord *source = (struct tfrecord *)base;
    for (unsigned i = 0; i < source->nparts; i++) {
        bm_data_file_close(&source->parts[i].data);
        bm_buffer_fini(&source->parts[i].starts);
    }
    bm_tf_plan_fini(&source->plan);
    bm_schema_fini(&base->schema);
    free(source);
}

// ---- Records ----

static uint32_t number32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t check_of(const void *data, uint64_t size)
{
    uint32_t crc = bm_crc32c(data, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint64_t record_start(const struct part *part, uint64_t record)
{
    uint64_t start;
    memcpy(&start, part->starts.data + record * sizeof start, sizeof start);
    return start;
}

static uint64_t record_size(const struct part *part, uint64_t record) // of its Example
{
    return record_start(part, record + 1) - record_start(part, record) - HEAD_BYTES - CHECK_BYTES;
}

static enum bm_status record_broken(const struct part *part, uint64_t record, const char *what,
                                    struct bm_error *err)
{
    char where[BM_ERROR_WHERE_MAX];
    return bm_fail(err, BM_DATA_LOSS,
                   bm_file_where(part->data.file.name, where, "record %" PRIu64, record), "%s",
                   what);
}

static enum bm_status part_index(struct part *part, struct bm_error *err)
{
    uint64_t at = 0, end = part->data.size_bytes, n = 0;
    for (;; n++) {
        unsigned char head[HEAD_BYTES];
        bm_buffer_add(&part->starts, &at, sizeof at);
        if (bm_buffer_failed(&part->starts))
            return no_memory(part->data.file.name, err);
        if (at == end)
            return BM_OK;
        if (end - at < HEAD_BYTES + CHECK_BYTES)
            return record_broken(part, n, "expected a record, the file ends within it", err);
        enum bm_status status = bm_data_file_read(&part->data, at, head, sizeof head, err);
        if (status != BM_OK)
            return status;
        uint64_t size = number32(head) | (uint64_t)number32(head + 4) << 32;
        if (number32(head + 8) != check_of(head, 8))
            return record_broken(part, n,
                                 n == 0 ? "expected a TFRecord file, the check of the first "
                                          "record's length differs"
                                        : "the check of its length differs",
                                 err);
        if (size > end - at - HEAD_BYTES - CHECK_BYTES)
            return record_broken(part, n, "expected a record, the file ends within it", err);
        at += HEAD_BYTES + size + CHECK_BYTES;
    }
}

// The Example of a record into `to`, which has room for it and its check.
static enum bm_status record_read(const struct part *part, uint64_t record, unsigned char *to,
                                  struct bm_error *err)
{
    uint64_t size = record_size(part, record);
    enum bm_status status = bm_data_file_read(&part->data, record_start(part, record) + HEAD_BYTES,
                                              to, size + CHECK_BYTES, err);
    if (status == BM_OK && number32(to + size) != check_of(to, size))
        status = record_broken(part, record, "the check of its data differs", err);
    return status;
}

// ---- Opening ----

static enum bm_status hash_take(void *hash, const char *bytes, uint64_t size, struct bm_error *err)
{
    (void)err;
    bm_hash_add(hash, bytes, size);
    return BM_OK;
}

static enum bm_status tfrecord_identify(struct tfrecord *source, const char *id, const char *where,
                                        struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return no_memory(where, err);
    enum bm_status status = BM_OK;
    bm_identity_add_source(hash, &source->base);
    for (unsigned i = 0; i < source->plan.n; i++) {
        bm_hash_add_text(hash, source->plan.names[i]);
        bm_identity_add_component(hash, &source->base.schema.components[i]);
    }
    bm_hash_add_text(hash, id == NULL ? "" : id);
    for (unsigned i = 0; i < source->nparts && status == BM_OK; i++) {
        bm_hash_add_u64(hash, source->parts[i].data.size_bytes);
        if (id == NULL)
            status = bm_data_file_scan(&source->parts[i].data, hash_take, hash, err);
    }
    source->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return status;
}

static enum bm_status part_open(struct tfrecord *source, const char *directory, const char *path,
                                const char *where, struct bm_error *err)
{
    struct part *part = &source->parts[source->nparts];
    enum bm_status status = bm_data_file_open(&part->data, directory, path, where, err);
    if (status != BM_OK)
        return status;
    source->nparts++; // closed with the others from here on
    bm_buffer_init(&part->starts);
    part->first_item = source->base.nitems;
    status = part_index(part, err);
    if (status == BM_OK)
        source->base.nitems += part->starts.size / sizeof(uint64_t) - 1;
    return status;
}

static void feature_show(void *taker, const char *name, uint64_t length,
                         const struct bm_tf_feature *feature)
{
    uint64_t n;
    if (!bm_tf_count(feature, &n) || !bm_utf8_valid(name, length))
        return;
    struct bm_buffer *shown = taker;
    bm_buffer_print(shown, "%s%.*s (%s of %" PRIu64 ")", shown->size == 0 ? "" : ", ", (int)length,
                    name, bm_tf_kind_name(feature->kind), n);
}

// What the user has to choose from.
static enum bm_status tfrecord_suggest(const struct tfrecord *source, const char *where,
                                       struct bm_error *err)
{
    struct bm_buffer shown;
    bm_buffer_init(&shown);
    const struct part *part = &source->parts[0];
    while (part < source->parts + source->nparts - 1 && part->starts.size == sizeof(uint64_t))
        part++; // without a record
    unsigned char *bytes = NULL;
    enum bm_status status = BM_OK;
    if (part->starts.size > sizeof(uint64_t)) {
        uint64_t size = record_size(part, 0);
        bytes = malloc(size + CHECK_BYTES);
        status = bytes == NULL ? no_memory(where, err) : record_read(part, 0, bytes, err);
        if (status == BM_OK)
            bm_tf_example_list(bytes, size, feature_show, &shown);
    }
    if (status == BM_OK)
        status = bm_fail(err, BM_INVALID_ARGUMENT, where,
                         "expected \"components\"; the first record has %s",
                         shown.size == 0 ? "no feature" : bm_buffer_text(&shown));
    free(bytes);
    bm_buffer_fini(&shown);
    return status;
}

static enum bm_status tfrecord_build(struct tfrecord *source, const struct tfrecord_config *config,
                                     const char *directory, const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status = BM_OK;
    bm_params_where(where, "paths", text);
    for (unsigned i = 0; i < config->paths.n && status == BM_OK; i++)
        status = part_open(source, directory, config->paths.values[i], text, err);
    if (status == BM_OK && config->components == NULL)
        return tfrecord_suggest(source, where, err);
    if (status == BM_OK)
        status =
            bm_tf_plan_parse(&source->plan, config->components,
                             bm_params_where(where, "components", text), &source->base.schema, err);
    return status == BM_OK ? tfrecord_identify(source, config->id, where, err) : status;
}

static enum bm_status tfrecord_open(const void *config_, const char *directory, const char *where,
                                    struct bm_source **ret_source, struct bm_error *err)
{
    const struct tfrecord_config *config = config_;
    char text[BM_ERROR_WHERE_MAX];
    if (config->paths.n == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "paths", text),
                       "expected at least one file, got none");
    struct tfrecord *source = calloc(1, sizeof *source + config->paths.n * sizeof source->parts[0]);
    if (source == NULL)
        return no_memory(where, err);
    source->base.type = &bm_tfrecord_source;
    bm_schema_init(&source->base.schema);
    enum bm_status status = tfrecord_build(source, config, directory, where, err);
    if (status == BM_OK)
        *ret_source = &source->base;
    else
        tfrecord_close(&source->base);
    return status;
}

// ---- Reading ----

// The last part that begins at or before the item; parts without a record begin where the next
// does.
static const struct part *part_of(const struct tfrecord *source, uint64_t item)
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

struct reading { // of a batch
    const struct tfrecord *source;
    struct bm_batch *batch;
    unsigned char *bytes;           // the Examples, one behind the other
    struct bm_tf_feature *features; // [nitems][plan.n]
};

static struct bm_tf_feature *features_of(const struct reading *reading, uint64_t row)
{
    return reading->features + row * reading->source->plan.n;
}

static enum bm_status reading_begin(struct reading *reading, struct bm_error *err)
{
    const struct bm_batch *batch = reading->batch;
    uint64_t size = 1;
    for (uint64_t row = 0; row < batch->nitems; row++) {
        const struct part *part = part_of(reading->source, batch->items[row]);
        size += record_size(part, batch->items[row] - part->first_item) + CHECK_BYTES;
    }
    reading->bytes = malloc(size);
    reading->features =
        malloc((batch->nitems * reading->source->plan.n + 1) * sizeof reading->features[0]);
    return reading->bytes == NULL || reading->features == NULL
               ? bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch")
               : BM_OK;
}

static enum bm_status examples_read(struct reading *reading, int64_t *ret_row, struct bm_error *err)
{
    const struct bm_tf_plan *plan = &reading->source->plan;
    unsigned char *at = reading->bytes;
    for (uint64_t row = 0; row < reading->batch->nitems; row++) {
        uint64_t item = reading->batch->items[row];
        const struct part *part = part_of(reading->source, item);
        uint64_t record = item - part->first_item, size = record_size(part, record);
        *ret_row = (int64_t)row;
        enum bm_status status = record_read(part, record, at, err);
        if (status == BM_OK &&
            !bm_tf_example_find(at, size, plan->names, plan->n, features_of(reading, row)))
            status =
                record_broken(part, record, "expected a tf.train.Example, got other bytes", err);
        if (status != BM_OK)
            return status;
        at += size + CHECK_BYTES;
    }
    *ret_row = -1;
    return BM_OK;
}

// "train.tfrecord: record 17: label" in front of what is wrong.
static enum bm_status reading_fail(const struct reading *reading, uint64_t row,
                                   enum bm_status status, struct bm_error *err)
{
    if (err == NULL)
        return status;
    uint64_t item = reading->batch->items[row];
    const struct part *part = part_of(reading->source, item);
    struct bm_error before = *err;
    char where[BM_ERROR_WHERE_MAX];
    return bm_fail(
        err, status,
        bm_file_where(part->data.file.name, where, "record %" PRIu64, item - part->first_item),
        "%s: %s", before.where, before.text);
}

static enum bm_status column_lay_out(const struct reading *reading, unsigned c, int64_t *ret_row,
                                     struct bm_error *err)
{
    struct bm_batch *batch = reading->batch;
    const struct bm_component *component = &batch->schema->components[c];
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    uint64_t *offsets = bm_block_data(block), rows = 0;
    enum bm_status status = BM_OK;
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
        status = bm_tf_column_rows(&reading->source->plan.columns[c], component,
                                   &features_of(reading, row)[c], &rows, err);
        offsets[row + 1] = offsets[row] + rows;
        if (status != BM_OK) {
            *ret_row = (int64_t)row;
            reading_fail(reading, row, status, err);
        }
    }
    if (status == BM_OK && component->ragged)
        status = bm_batch_alloc_ragged(batch, c, block, err);
    bm_block_unref(block);
    return status;
}

static enum bm_status column_read(const struct reading *reading, unsigned c, int64_t *ret_row,
                                  struct bm_error *err)
{
    struct bm_batch *batch = reading->batch;
    enum bm_status status = column_lay_out(reading, c, ret_row, err);
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
        uint64_t n;
        unsigned char *to = bm_batch_rows(batch, c, row, 1, &n);
        status = bm_tf_column_fill(&reading->source->plan.columns[c], &batch->schema->components[c],
                                   &features_of(reading, row)[c], to, err);
        if (status != BM_OK) {
            *ret_row = (int64_t)row;
            reading_fail(reading, row, status, err);
        }
    }
    return status;
}

static enum bm_status tfrecord_read(const struct bm_source *base, struct bm_batch *batch,
                                    int64_t *ret_row, struct bm_error *err)
{
    struct reading reading = {.source = (const struct tfrecord *)base, .batch = batch};
    enum bm_status status = reading_begin(&reading, err);
    if (status == BM_OK)
        status = examples_read(&reading, ret_row, err);
    for (unsigned c = 0; c < reading.source->plan.n && status == BM_OK; c++)
        status = column_read(&reading, c, ret_row, err);
    free(reading.bytes);
    free(reading.features);
    return status;
}

const struct bm_source_type bm_tfrecord_source = {
    .name = "tfrecord",
    .doc = "Records of tf.train.Example: features as components, in any order of records. Every "
           "record's checks are checked. SequenceExample is not understood.",
    .params = tfrecord_params,
    .nparams = TFRECORD_NPARAMS,
    .config_bytes = sizeof(struct tfrecord_config),
    .open = tfrecord_open,
    .close = tfrecord_close,
    .read = tfrecord_read,
};
