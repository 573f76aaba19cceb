// jsonl.c -- JSON lines: one object a line, one line an item. The file is parsed once, at open,
// into typed columns in memory; a read only copies rows.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "sources/csv_cell.h"
#include "sources/file.h"
#include "sources/table.h"
#include "sources/types.h"

struct jsonl_config {
    char *path;
    const struct bm_value *components;
    struct bm_text_map fill;
};

static const struct bm_param jsonl_params[] = {
    BM_PARAM(struct jsonl_config, path, BM_PARAM_TEXT, .required = true,
             .doc = "the file; it may be compressed by gzip or zstd"),
    BM_PARAM(struct jsonl_config, components, BM_PARAM_VALUE, .required = true,
             .doc = "name: {field: where it is in the object, such as user.age, else the name; "
                    "dtype; shape of a list, or of a list of lists; ragged: true for lists of any "
                    "length}"),
    BM_PARAM(struct jsonl_config, fill, BM_PARAM_TEXT_MAP,
             .doc = "{component: what stands for null and for absent fields}; else it is NaN in "
                    "floats, the empty text in string and bytes, the empty list where ragged; in "
                    "integers and bools a missing value is an error"),
};

struct field_config {
    char *field;
    enum bm_dtype dtype;
    struct bm_integers shape;
    bool ragged;
};

static const struct bm_param field_params[] = {
    BM_PARAM(struct field_config, field, BM_PARAM_TEXT,
             .doc = "names of fields with points between them; else the component's name"),
    BM_PARAM(struct field_config, dtype, BM_PARAM_DTYPE, .required = true, .doc = "of an element"),
    BM_PARAM(struct field_config, shape, BM_PARAM_INTEGERS,
             .doc = "of a list, or a list of lists; without it a scalar"),
    BM_PARAM(struct field_config, ragged, BM_PARAM_BOOL, .fallback = "false",
             .doc = "a list of numbers or bools, of another length in each item"),
};

enum {
    JSONL_NPARAMS = sizeof jsonl_params / sizeof jsonl_params[0],
    FIELD_NPARAMS = sizeof field_params / sizeof field_params[0]
};

struct field {
    struct bm_component component;
    char *path;                  // in the object
    bool list;                   // ragged, but no text
    char *fill;                  // borrowed; NULL: none
    unsigned char fill_value[8]; // of numbers
};

struct jsonl_job { // what opening needs and reading does not
    const struct jsonl_config *config;
    const char *where, *name; // of the source; of the file
    unsigned nfields;
    struct field *fields;
    uint64_t line;         // counted from 1
    struct bm_buffer list; // one item of a ragged component
    struct bm_table *table;
    struct bm_error *err;
};

static enum bm_status jsonl_no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

// ---- Components ----

static enum bm_status field_shape(struct field *field, const struct field_config *config,
                                  const char *where, struct bm_error *err)
{
    struct bm_component *component = &field->component;
    const struct bm_integers *shape = &config->shape;
    char text[BM_ERROR_WHERE_MAX];
    bool is_text = bm_dtype_is_text(component->dtype);
    if (config->ragged && is_text)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "ragged", text),
                       "expected a dtype of numbers or bool with it, got %s",
                       bm_dtype_name(component->dtype));
    if (shape->n > BM_NDIM_MAX || ((config->ragged || is_text) && shape->n > 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "shape", text),
                       "expected at most %d axes, and none with `ragged` or for texts, got %u",
                       BM_NDIM_MAX, shape->n);
    field->list = config->ragged;
    component->ragged = config->ragged || is_text;
    component->ndim = config->ragged ? 1 : shape->n;
    for (unsigned i = 0; i < shape->n; i++) {
        if (shape->values[i] <= 0)
            return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "shape", text),
                           "expected axes of at least 1 element, got %" PRId64, shape->values[i]);
        component->shape[i] = (uint64_t)shape->values[i];
    }
    return BM_OK;
}

static enum bm_status field_build(struct field *field, const char *name,
                                  const struct field_config *config, const char *where,
                                  struct bm_error *err)
{
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a component name of " BM_NAME_RULE ", got \"%s\"", name);
    memcpy(field->component.name, name, strlen(name) + 1);
    field->component.dtype = config->dtype;
    field->path = strdup(config->field == NULL ? name : config->field);
    return field->path == NULL ? jsonl_no_memory(where, err)
                               : field_shape(field, config, where, err);
}

static enum bm_status field_parse(struct field *field, const char *name,
                                  const struct bm_value *value, struct bm_error *err)
{
    struct field_config config;
    enum bm_status status =
        bm_params_parse(field_params, FIELD_NPARAMS, value, value->where, &config, err);
    if (status != BM_OK)
        return status;
    status = field_build(field, name, &config, value->where, err);
    bm_params_free(field_params, FIELD_NPARAMS, &config);
    return status;
}

static enum bm_status jsonl_parse_fields(struct jsonl_job *job)
{
    const struct bm_value *components = job->config->components;
    if (components->kind != BM_VALUE_MAP || components->nchildren == 0 ||
        components->nchildren > BM_COMPONENTS_MAX)
        return bm_fail(job->err, BM_INVALID_ARGUMENT, components->where,
                       "expected {name: {field: ..., dtype: ...}, ...} of 1 to %d components, got "
                       "%s",
                       BM_COMPONENTS_MAX, bm_value_kind_name(components));
    job->fields = calloc(components->nchildren, sizeof *job->fields);
    if (job->fields == NULL)
        return jsonl_no_memory(job->where, job->err);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < components->nchildren && status == BM_OK; i++) {
        job->nfields++;
        status =
            field_parse(&job->fields[i], components->keys[i], components->children[i], job->err);
    }
    return status;
}

static enum bm_status field_set_fill(struct field *field, char *text, locale_t c_locale,
                                     const char *where, struct bm_error *err)
{
    const struct bm_csv_cell cell = {.data = text, .size = strlen(text)};
    char expected[BM_CSV_SHOWN_MAX], shown[BM_CSV_SHOWN_MAX];
    field->fill = text;
    if (field->list)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected no ragged component, got %s: its missing values are empty lists",
                       field->component.name);
    if (bm_dtype_is_text(field->component.dtype) ||
        bm_csv_cell_number(&cell, field->component.dtype, c_locale, field->fill_value))
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected %s, got %s",
                   bm_csv_expected(field->component.dtype, expected), bm_csv_show(&cell, shown));
}

static enum bm_status jsonl_set_fills(struct jsonl_job *job)
{
    const struct bm_text_map *fill = &job->config->fill;
    char where[BM_ERROR_WHERE_MAX];
    bm_params_where(job->where, "fill", where);
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0)
        return jsonl_no_memory(job->where, job->err);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < fill->n && status == BM_OK && job->fields != NULL; i++) {
        unsigned f = 0;
        while (f < job->nfields && strcmp(job->fields[f].component.name, fill->keys[i]) != 0)
            f++;
        status = f == job->nfields
                     ? bm_fail(job->err, BM_INVALID_ARGUMENT, where,
                               "expected names of components, got \"%s\"", fill->keys[i])
                     : field_set_fill(&job->fields[f], fill->values[i], c_locale, where, job->err);
    }
    freelocale(c_locale);
    return status;
}

// ---- Values ----

static enum bm_status value_wrong(const struct jsonl_job *job, const struct field *field,
                                  const json_t *value, const char *expected)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "a list",  [JSON_STRING] = "a text",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null"};
    char where[BM_ERROR_WHERE_MAX], number[BM_CSV_SHOWN_MAX];
    const char *got = value == NULL ? "nothing" : kinds[json_typeof(value)];
    if (json_is_number(value)) {
        int size = json_is_integer(value)
                       ? snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT,
                                  json_integer_value(value))
                       : snprintf(number, sizeof number, "%.17g", json_real_value(value));
        got = size > 0 ? number : got;
    }
    if (json_is_array(value)) {
        snprintf(number, sizeof number, "a list of %zu", json_array_size(value));
        got = number;
    }
    bm_file_where(job->name, where, "line %" PRIu64 ", %.40s", job->line, field->path);
    return bm_fail(job->err, BM_INVALID_ARGUMENT, where, "expected %s, got %s", expected, got);
}

static bool integer_store(enum bm_dtype dtype, int64_t integer, void *to)
{
    int64_t back = 0;
    if (dtype == BM_BOOL)
        return false;
    bm_dtype_convert(dtype, to, BM_INT64, &integer, 1);
    if (!bm_dtype_is_integer(dtype))
        return isfinite(bm_dtype_get(dtype, to, 0));
    bm_dtype_convert(BM_INT64, &back, dtype, to, 1); // differs where the first one saturated
    return back == integer && (integer >= 0 || dtype != BM_UINT64);
}

static bool scalar_store(enum bm_dtype dtype, const json_t *value, void *to)
{
    switch (json_typeof(value)) {
    case JSON_TRUE:
    case JSON_FALSE:
        *(unsigned char *)to = json_is_true(value);
        return dtype == BM_BOOL;
    case JSON_INTEGER:
        return integer_store(dtype, json_integer_value(value), to);
    case JSON_REAL:
        if (!bm_dtype_is_float(dtype))
            return false;
        bm_dtype_put(dtype, to, 0, json_real_value(value));
        return isfinite(bm_dtype_get(dtype, to, 0));
    case JSON_OBJECT:
    case JSON_ARRAY:
    case JSON_STRING:
    case JSON_NULL:
        break;
    }
    return false;
}

// A number or bool, or what stands for a missing one.
static enum bm_status jsonl_scalar(struct jsonl_job *job, const struct field *field,
                                   const json_t *value, unsigned char *to)
{
    enum bm_dtype dtype = field->component.dtype;
    char expected[BM_CSV_SHOWN_MAX];
    bool missing = value == NULL || json_is_null(value);
    if (missing && field->fill != NULL)
        memcpy(to, field->fill_value, bm_dtype_size(dtype));
    else if (missing && bm_dtype_is_float(dtype))
        bm_dtype_put(dtype, to, 0, (double)NAN);
    else if (missing || !scalar_store(dtype, value, to))
        return value_wrong(job, field, value,
                           dtype == BM_BOOL ? "true or false" : bm_csv_expected(dtype, expected));
    return BM_OK;
}

// The elements of `value` from axis `axis` on; `to` moves on behind them.
// NOLINTNEXTLINE(misc-no-recursion): no deeper than BM_NDIM_MAX
static enum bm_status jsonl_dense(struct jsonl_job *job, const struct field *field,
                                  const json_t *value, unsigned axis, unsigned char **to)
{
    bool missing = value == NULL || json_is_null(value);
    if (axis == field->component.ndim) {
        enum bm_status status = jsonl_scalar(job, field, value, *to);
        *to += bm_dtype_size(field->component.dtype);
        return status;
    }
    uint64_t length = field->component.shape[axis];
    if (!missing && (!json_is_array(value) || json_array_size(value) != length)) {
        char expected[BM_CSV_SHOWN_MAX];
        snprintf(expected, sizeof expected, "a list of %" PRIu64 " elements", length);
        return value_wrong(job, field, value, expected);
    }
    enum bm_status status = BM_OK;
    for (uint64_t i = 0; i < length && status == BM_OK; i++)
        status = jsonl_dense(job, field, missing ? NULL : json_array_get(value, i), axis + 1, to);
    return status;
}

static enum bm_status jsonl_ragged(struct jsonl_job *job, const struct field *field,
                                   const json_t *value, unsigned column, uint64_t row)
{
    bool missing = value == NULL || json_is_null(value);
    if (!missing && !json_is_array(value))
        return value_wrong(job, field, value, "a list");
    bm_buffer_clear(&job->list);
    enum bm_status status = BM_OK;
    for (size_t i = 0; !missing && i < json_array_size(value) && status == BM_OK; i++) {
        void *to = bm_buffer_extend(&job->list, bm_dtype_size(field->component.dtype));
        if (to == NULL)
            return jsonl_no_memory(job->name, job->err);
        status = jsonl_scalar(job, field, json_array_get(value, i), to);
    }
    if (status == BM_OK)
        bm_table_set_ragged(job->table, column, row, job->list.data, job->list.size);
    return status;
}

static enum bm_status jsonl_text(struct jsonl_job *job, const struct field *field,
                                 const json_t *value, unsigned column, uint64_t row)
{
    bool missing = value == NULL || json_is_null(value);
    const char *text = field->fill == NULL ? "" : field->fill;
    if (!missing && !json_is_string(value))
        return value_wrong(job, field, value, "a text");
    bm_table_set_ragged(job->table, column, row, missing ? text : json_string_value(value),
                        missing ? strlen(text) : json_string_length(value));
    return BM_OK;
}

// The field at "a.b.c", or NULL.
static const json_t *object_find(const json_t *object, const char *path)
{
    while (object != NULL) {
        size_t length = strcspn(path, ".");
        object = json_object_getn(object, path, length);
        if (path[length] == '\0')
            break;
        path += length + 1;
    }
    return object;
}

static enum bm_status jsonl_row(struct jsonl_job *job, const json_t *object, uint64_t row)
{
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < job->nfields && status == BM_OK; i++) {
        const struct field *field = &job->fields[i];
        const json_t *value = object_find(object, field->path);
        const struct bm_column *column = &job->table->columns[i];
        if (field->list) {
            status = jsonl_ragged(job, field, value, i, row);
        } else if (field->component.ragged) {
            status = jsonl_text(job, field, value, i, row);
        } else {
            unsigned char *to = column->values + row * column->item_bytes;
            status = jsonl_dense(job, field, value, 0, &to);
        }
    }
    return status;
}

// ---- Lines ----

static bool blank_char(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

// The next line that is not blank, from `*at` on, which moves behind it. False: there is none.
static bool line_next(const char **at, const char *end, uint64_t *line, const char **ret_start,
                      size_t *ret_size)
{
    while (*at < end) {
        const char *start = *at;
        const char *newline = memchr(start, '\n', (size_t)(end - start));
        size_t size = (size_t)((newline == NULL ? end : newline) - start);
        *at = newline == NULL ? end : newline + 1;
        ++*line;
        size_t blank = 0;
        while (blank < size && blank_char(start[blank]))
            blank++;
        if (blank < size) {
            *ret_start = start;
            *ret_size = size;
            return true;
        }
    }
    return false;
}

static enum bm_status jsonl_line(struct jsonl_job *job, const char *start, size_t size,
                                 uint64_t row)
{
    json_error_t error;
    char where[BM_ERROR_WHERE_MAX];
    json_t *object = json_loadb(start, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    enum bm_status status = BM_OK;
    if (object == NULL && json_error_code(&error) == json_error_out_of_memory)
        return jsonl_no_memory(job->name, job->err);
    if (!json_is_object(object))
        status = bm_fail(job->err, BM_INVALID_ARGUMENT,
                         bm_file_where(job->name, where, "line %" PRIu64, job->line),
                         "expected a JSON object, got %s", object == NULL ? error.text : "a list");
    else
        status = jsonl_row(job, object, row);
    json_decref(object);
    return status;
}

static enum bm_status jsonl_fill(struct jsonl_job *job, const struct bm_content *content)
{
    const char *at = content->data, *end = at + content->size, *start = NULL;
    size_t size = 0;
    uint64_t nrows = 0;
    if (content->size >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0)
        at += 3; // the byte order mark
    const char *first = at;
    while (line_next(&at, end, &job->line, &start, &size))
        nrows++;
    enum bm_status status =
        bm_table_new(&bm_jsonl_source, job->name, job->nfields, nrows, &job->table, job->err);
    for (unsigned i = 0; i < job->nfields && status == BM_OK; i++)
        status = bm_table_add(job->table, &job->fields[i].component, job->err);
    at = first;
    job->line = 0;
    for (uint64_t row = 0; row < nrows && status == BM_OK; row++) {
        line_next(&at, end, &job->line, &start, &size); // there is one: they were counted
        status = jsonl_line(job, start, size, row);
    }
    return status == BM_OK ? bm_table_finish(job->table, job->err) : status;
}

// ---- The source ----

static enum bm_status jsonl_load(struct jsonl_job *job, const char *directory)
{
    struct bm_file file = {.fd = -1};
    struct bm_content content = {0};
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status = bm_file_open(&file, directory, job->config->path,
                                         bm_params_where(job->where, "path", text), job->err);
    if (status == BM_OK)
        status = bm_file_load(&file, &content, job->err);
    job->name = file.name;
    if (status == BM_OK)
        status = jsonl_fill(job, &content);
    bm_content_free(&content);
    bm_file_close(&file);
    return status;
}

static enum bm_status jsonl_open(const void *config, const char *directory, const char *where,
                                 struct bm_source **ret_source, struct bm_error *err)
{
    struct jsonl_job job = {.config = config, .where = where, .err = err};
    bm_buffer_init(&job.list);
    enum bm_status status = jsonl_parse_fields(&job);
    if (status == BM_OK)
        status = jsonl_set_fills(&job);
    if (status == BM_OK)
        status = jsonl_load(&job, directory);
    if (status == BM_OK)
        *ret_source = &job.table->base;
    else if (job.table != NULL)
        bm_table_close(&job.table->base);
    for (unsigned i = 0; i < job.nfields; i++)
        free(job.fields[i].path);
    free(job.fields);
    bm_buffer_fini(&job.list);
    return status;
}

const struct bm_source_type bm_jsonl_source = {
    .name = "jsonl",
    .doc = "JSON lines, one object a line and an item, parsed into memory at the start; blank "
           "lines are left out. `components` says which fields make which component, as in {age: "
           "{field: user.age, dtype: int32}, tags: {dtype: int64, ragged: true}, text: {dtype: "
           "string}}. Integers must fit their dtype; a key twice in an object is an error.",
    .params = jsonl_params,
    .nparams = JSONL_NPARAMS,
    .config_bytes = sizeof(struct jsonl_config),
    .open = jsonl_open,
    .close = bm_table_close,
    .read = bm_table_read,
};
