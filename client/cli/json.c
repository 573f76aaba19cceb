// json.c -- a batch as one line of JSON, for scripts in any language.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/hash.h"
#include "client/cli/cli.h"
#include "data/dtype.h"

// JSON has no number for these; the texts are what Python's float() reads.
static json_t *json_number(double number)
{
    if (isnan(number))
        return json_string("nan");
    if (isinf(number))
        return json_string(number > 0 ? "inf" : "-inf");
    return json_real(number);
}

static json_t *json_element(const struct batchmill_tensor *tensor, uint64_t index)
{
    enum bm_dtype dtype = (enum bm_dtype)tensor->dtype; // the numbers are the wire's in both
    if (dtype == BM_BOOL)
        return json_boolean(((const uint8_t *)tensor->data)[index] != 0);
    if (dtype == BM_INT64)
        return json_integer(((const int64_t *)tensor->data)[index]);
    if (dtype == BM_UINT64 && ((const uint64_t *)tensor->data)[index] > INT64_MAX) {
        char text[24]; // jansson has no unsigned integers
        snprintf(text, sizeof text, "%" PRIu64, ((const uint64_t *)tensor->data)[index]);
        return json_string(text);
    }
    double number = bm_dtype_get(dtype, tensor->data, index);
    return bm_dtype_is_integer(dtype) ? json_integer((json_int_t)number) : json_number(number);
}

// Axes [axis, ndim) of the block that begins at *index, which it moves past. As deep as a tensor
// has axes, at most 17. NOLINTNEXTLINE(misc-no-recursion)
static json_t *json_axes(const struct batchmill_tensor *tensor, unsigned axis, uint64_t *index)
{
    if (axis >= tensor->ndim)
        return json_element(tensor, (*index)++);
    json_t *list = json_array();
    for (uint64_t i = 0; i < tensor->shape[axis]; i++)
        json_array_append_new(list, json_axes(tensor, axis + 1, index));
    return list;
}

static json_t *json_text(const struct batchmill_tensor *tensor, uint64_t from, uint64_t to)
{
    const char *bytes = (const char *)tensor->data + from;
    if (from == to)
        return json_string("");
    json_t *text = tensor->dtype == BATCHMILL_STRING ? json_stringn(bytes, to - from) : NULL;
    if (text != NULL)
        return text;
    json_t *list = json_array(); // bytes, or what is not UTF-8 after all: as numbers
    for (uint64_t i = from; i < to; i++)
        json_array_append_new(list, json_integer(((const uint8_t *)tensor->data)[i]));
    return list;
}

static json_t *json_ragged(const struct batchmill_tensor *tensor, size_t nitems)
{
    bool text = tensor->dtype == BATCHMILL_STRING || tensor->dtype == BATCHMILL_BYTES;
    uint64_t index = 0;
    json_t *items = json_array();
    for (size_t i = 0; i < nitems; i++) {
        uint64_t from = tensor->offsets[i], to = tensor->offsets[i + 1];
        if (text) {
            json_array_append_new(items, json_text(tensor, from, to));
            continue;
        }
        json_t *rows = json_array();
        for (uint64_t row = from; row < to; row++)
            json_array_append_new(rows, json_axes(tensor, 1, &index));
        json_array_append_new(items, rows);
    }
    return items;
}

// XXH3 of the offsets (of ragged tensors) and the data, as 16 hexadecimal digits.
static json_t *json_digest(const struct batchmill_tensor *tensor, size_t nitems)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return NULL;
    if (tensor->ragged)
        bm_hash_add(hash, tensor->offsets, (nitems + 1) * sizeof tensor->offsets[0]);
    bm_hash_add(hash, tensor->data, tensor->size_bytes);
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, bm_hash_end(hash));
    bm_hash_free(hash);
    return json_string(text);
}

static json_t *json_tensor(const struct batchmill_batch *batch,
                           const struct batchmill_tensor *tensor, bool values)
{
    size_t nitems = batchmill_batch_nitems(batch);
    json_t *shape = json_array();
    for (unsigned i = 0; i < tensor->ndim; i++)
        json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
    json_t *out = json_object();
    json_object_set_new(out, "dtype", json_string(batchmill_dtype_name(tensor->dtype)));
    json_object_set_new(out, "shape", shape);
    json_object_set_new(out, "xxh3", json_digest(tensor, nitems));
    if (tensor->ragged) {
        json_t *offsets = json_array();
        for (size_t i = 0; i <= nitems; i++)
            json_array_append_new(offsets, json_integer((json_int_t)tensor->offsets[i]));
        json_object_set_new(out, "offsets", offsets);
    }
    if (values) {
        uint64_t index = 0;
        json_object_set_new(out, "values",
                            tensor->ragged ? json_ragged(tensor, nitems)
                                           : json_axes(tensor, 0, &index));
    }
    return out;
}

static bool json_line(json_t *line)
{
    bool ok = json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17)) == 0 &&
              putchar('\n') != EOF;
    json_decref(line);
    return ok;
}

bool cli_json_batch(const struct batchmill_batch *batch, const struct cli_json_options *options)
{
    json_t *items = json_array();
    for (size_t i = 0; i < batchmill_batch_nitems(batch); i++)
        json_array_append_new(items, json_integer((json_int_t)batchmill_batch_items(batch)[i]));
    json_t *tensors = json_object();
    for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++) {
        const struct batchmill_tensor *tensor = batchmill_batch_tensor_at(batch, i);
        json_object_set_new(tensors, tensor->name, json_tensor(batch, tensor, options->values));
    }
    json_t *line = json_object();
    json_object_set_new(line, "seq", json_integer((json_int_t)batchmill_batch_seq(batch)));
    json_object_set_new(line, "epoch", json_integer((json_int_t)batchmill_batch_epoch(batch)));
    json_object_set_new(line, "items", items);
    json_object_set_new(line, "tensors", tensors);
    return json_line(line);
}

bool cli_json_error(const struct batchmill_error *error)
{
    json_t *about = json_object();
    json_object_set_new(about, "code", json_string(batchmill_code_name(error->code)));
    json_object_set_new(about, "action", json_string(error->action));
    if (error->has_item)
        json_object_set_new(about, "item", json_integer((json_int_t)error->item));
    json_object_set_new(about, "message", json_string(error->text));
    json_t *line = json_object();
    json_object_set_new(line, "seq", json_integer((json_int_t)error->seq));
    json_object_set_new(line, "error", about);
    return json_line(line);
}
