#include "pipeline/params.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "base/size.h"

static enum bm_status no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

static bool has_range(const struct bm_param *param)
{
    BM_ASSERT(param->min <= param->max);
    return param->min != 0 || param->max != 0;
}

static void range_print(const struct bm_param *param, struct bm_buffer *out)
{
    if (!has_range(param))
        return;
    if (param->min == -__builtin_inf())
        bm_buffer_print(out, " up to %.15g", param->max);
    else if (param->max == __builtin_inf())
        bm_buffer_print(out, " of at least %.15g", param->min);
    else
        bm_buffer_print(out, " from %.15g to %.15g", param->min, param->max);
}

static void choices_print(const struct bm_param *param, struct bm_buffer *out)
{
    for (unsigned i = 0; i < sizeof param->choices / sizeof param->choices[0]; i++) {
        if (param->choices[i] != NULL)
            bm_buffer_print(out, "%s%s", i == 0 ? "" : ", ", param->choices[i]);
    }
}

// What one value of a parameter should have been, in the words of an error.
static void expected_print(const struct bm_param *param, struct bm_buffer *out)
{
    switch (param->kind) {
    case BM_PARAM_BOOL:
        bm_buffer_add_text(out, "true or false");
        break;
    case BM_PARAM_INTEGER:
    case BM_PARAM_INTEGERS:
        bm_buffer_add_text(out, "a whole number");
        range_print(param, out);
        break;
    case BM_PARAM_FLOAT:
    case BM_PARAM_FLOATS:
        bm_buffer_add_text(out, has_range(param) ? "a number" : "a finite number");
        range_print(param, out);
        break;
    case BM_PARAM_BYTES:
        bm_buffer_add_text(out, BM_SIZE_RULE);
        break;
    case BM_PARAM_NAME:
    case BM_PARAM_NAMES:
        bm_buffer_add_text(out, "a name of " BM_NAME_RULE);
        break;
    case BM_PARAM_DTYPE:
        bm_buffer_print(out, "a dtype (%s)", bm_dtype_names());
        break;
    case BM_PARAM_CHOICE:
        bm_buffer_add_text(out, "one of ");
        choices_print(param, out);
        break;
    case BM_PARAM_TEXT_MAP:
        bm_buffer_add_text(out, "a map of texts");
        break;
    case BM_PARAM_TEXT:
    case BM_PARAM_TEXTS:
        bm_buffer_add_text(out, "a text");
        break;
    case BM_PARAM_VALUE:
        bm_buffer_add_text(out, "a value");
        break;
    }
}

static enum bm_status value_refuse(const struct bm_param *param, const struct bm_value *value,
                                   struct bm_error *err)
{
    struct bm_buffer text;
    bm_buffer_init(&text);
    bm_buffer_add_text(&text, "expected ");
    expected_print(param, &text);
    bm_buffer_add_text(&text, ", got ");
    bm_value_show(value, &text);
    enum bm_status status =
        bm_fail(err, BM_INVALID_ARGUMENT, value->where, "%s", bm_buffer_text(&text));
    bm_buffer_fini(&text);
    return status;
}

// ---- Reading one value ----

static bool in_range(const struct bm_param *param, double number)
{
    return !has_range(param) || (number >= param->min && number <= param->max);
}

static enum bm_status read_integer(const struct bm_param *param, const struct bm_value *value,
                                   int64_t *ret_integer, struct bm_error *err)
{
    if (value->kind == BM_VALUE_FLOAT && __builtin_fabs(value->number) >= 0x1p63)
        return bm_fail(err, BM_INVALID_ARGUMENT, value->where,
                       "expected a whole number from -2^63 to 2^63 - 1, got %.40s", value->text);
    if (value->kind != BM_VALUE_INTEGER || !in_range(param, value->number))
        return value_refuse(param, value, err);
    *ret_integer = value->integer;
    return BM_OK;
}

static enum bm_status read_float(const struct bm_param *param, const struct bm_value *value,
                                 double *ret_number, struct bm_error *err)
{
    bool number = value->kind == BM_VALUE_INTEGER || value->kind == BM_VALUE_FLOAT;
    if (!number || !__builtin_isfinite(value->number) || !in_range(param, value->number))
        return value_refuse(param, value, err);
    *ret_number = value->number;
    return BM_OK;
}

// A number or a boolean is a text, too, as it was written: `id: 7`, `columns: {price: 3}`.
static const char *value_text(const struct bm_value *value) // NULL: not a scalar
{
    return value->kind == BM_VALUE_NULL ? NULL : value->text;
}

static enum bm_status read_bytes(const struct bm_param *param, const struct bm_value *value,
                                 uint64_t *ret_bytes, struct bm_error *err)
{
    const char *text = value_text(value);
    return text != NULL && bm_size_parse(text, ret_bytes) ? BM_OK : value_refuse(param, value, err);
}

static enum bm_status read_text(const struct bm_param *param, const struct bm_value *value,
                                char **ret_text, struct bm_error *err)
{
    const char *text = value_text(value);
    bool name = param->kind == BM_PARAM_NAME || param->kind == BM_PARAM_NAMES;
    if (text == NULL || (name && !bm_name_valid(text)))
        return value_refuse(param, value, err);
    *ret_text = strdup(text);
    return *ret_text == NULL ? no_memory(value->where, err) : BM_OK;
}

static enum bm_status read_dtype(const struct bm_param *param, const struct bm_value *value,
                                 enum bm_dtype *ret_dtype, struct bm_error *err)
{
    const char *text = value_text(value);
    enum bm_dtype dtype = text == NULL ? BM_DTYPE_NONE : bm_dtype_parse(text);
    if (dtype == BM_DTYPE_NONE)
        return value_refuse(param, value, err);
    *ret_dtype = dtype;
    return BM_OK;
}

static enum bm_status read_choice(const struct bm_param *param, const struct bm_value *value,
                                  int *ret_choice, struct bm_error *err)
{
    const char *text = value_text(value);
    for (unsigned i = 0; text != NULL && i < sizeof param->choices / sizeof param->choices[0];
         i++) {
        if (param->choices[i] != NULL && strcmp(param->choices[i], text) == 0) {
            *ret_choice = (int)i;
            return BM_OK;
        }
    }
    return value_refuse(param, value, err);
}

// ---- Reading lists: each grows by one as its element is read, so that a failure in the middle
// leaves what bm_params_free() can free ----

static unsigned list_length(const struct bm_value *value)
{
    return value->kind == BM_VALUE_LIST ? value->nchildren : 1;
}

static const struct bm_value *list_at(const struct bm_value *value, unsigned i)
{
    return value->kind == BM_VALUE_LIST ? value->children[i] : value;
}

static enum bm_status read_integers(const struct bm_param *param, const struct bm_value *value,
                                    struct bm_integers *list, struct bm_error *err)
{
    list->values = calloc(list_length(value) + 1u, sizeof list->values[0]);
    enum bm_status status = list->values == NULL ? no_memory(value->where, err) : BM_OK;
    for (unsigned i = 0; status == BM_OK && i < list_length(value); i++, list->n++)
        status = read_integer(param, list_at(value, i), &list->values[i], err);
    return status;
}

static enum bm_status read_floats(const struct bm_param *param, const struct bm_value *value,
                                  struct bm_floats *list, struct bm_error *err)
{
    list->values = calloc(list_length(value) + 1u, sizeof list->values[0]);
    enum bm_status status = list->values == NULL ? no_memory(value->where, err) : BM_OK;
    for (unsigned i = 0; status == BM_OK && i < list_length(value); i++, list->n++)
        status = read_float(param, list_at(value, i), &list->values[i], err);
    return status;
}

static enum bm_status read_texts(const struct bm_param *param, const struct bm_value *value,
                                 struct bm_texts *list, struct bm_error *err)
{
    list->values = calloc(list_length(value) + 1u, sizeof list->values[0]);
    enum bm_status status = list->values == NULL ? no_memory(value->where, err) : BM_OK;
    for (unsigned i = 0; status == BM_OK && i < list_length(value); i++, list->n++)
        status = read_text(param, list_at(value, i), &list->values[i], err);
    return status;
}

static enum bm_status read_text_map(const struct bm_param *param, const struct bm_value *value,
                                    struct bm_text_map *map, struct bm_error *err)
{
    if (value->kind != BM_VALUE_MAP)
        return value_refuse(param, value, err);
    map->keys = calloc(value->nchildren + 1u, sizeof map->keys[0]);
    map->values = calloc(value->nchildren + 1u, sizeof map->values[0]);
    if (map->keys == NULL || map->values == NULL)
        return no_memory(value->where, err);
    for (unsigned i = 0; i < value->nchildren; i++) {
        const char *text = value_text(value->children[i]);
        if (text == NULL)
            return bm_fail(err, BM_INVALID_ARGUMENT, value->children[i]->where,
                           "expected a text, got %s", bm_value_kind_name(value->children[i]));
        map->n++;
        map->keys[i] = strdup(value->keys[i]);
        map->values[i] = strdup(text);
        if (map->keys[i] == NULL || map->values[i] == NULL)
            return no_memory(value->where, err);
    }
    return BM_OK;
}

static void *param_field(const struct bm_param *param, void *config)
{
    return (char *)config + param->offset;
}

static enum bm_status param_read(const struct bm_param *param, const struct bm_value *value,
                                 void *config, struct bm_error *err)
{
    void *field = param_field(param, config);
    switch (param->kind) {
    case BM_PARAM_BOOL:
        if (value->kind != BM_VALUE_BOOL)
            return value_refuse(param, value, err);
        *(bool *)field = value->boolean;
        return BM_OK;
    case BM_PARAM_INTEGER:
        return read_integer(param, value, field, err);
    case BM_PARAM_FLOAT:
        return read_float(param, value, field, err);
    case BM_PARAM_BYTES:
        return read_bytes(param, value, field, err);
    case BM_PARAM_TEXT:
    case BM_PARAM_NAME:
        return read_text(param, value, field, err);
    case BM_PARAM_DTYPE:
        return read_dtype(param, value, field, err);
    case BM_PARAM_CHOICE:
        return read_choice(param, value, field, err);
    case BM_PARAM_INTEGERS:
        return read_integers(param, value, field, err);
    case BM_PARAM_FLOATS:
        return read_floats(param, value, field, err);
    case BM_PARAM_NAMES:
    case BM_PARAM_TEXTS:
        return read_texts(param, value, field, err);
    case BM_PARAM_TEXT_MAP:
        return read_text_map(param, value, field, err);
    case BM_PARAM_VALUE:
        *(const struct bm_value **)field = value;
        return BM_OK;
    }
    return BM_OK;
}

// ---- The whole table ----

static void param_zero(const struct bm_param *param, void *config)
{
    static const size_t sizes[] = {
        [BM_PARAM_BOOL] = sizeof(bool),
        [BM_PARAM_INTEGER] = sizeof(int64_t),
        [BM_PARAM_FLOAT] = sizeof(double),
        [BM_PARAM_BYTES] = sizeof(uint64_t),
        [BM_PARAM_TEXT] = sizeof(char *),
        [BM_PARAM_NAME] = sizeof(char *),
        [BM_PARAM_DTYPE] = sizeof(enum bm_dtype),
        [BM_PARAM_CHOICE] = sizeof(int),
        [BM_PARAM_INTEGERS] = sizeof(struct bm_integers),
        [BM_PARAM_FLOATS] = sizeof(struct bm_floats),
        [BM_PARAM_NAMES] = sizeof(struct bm_texts),
        [BM_PARAM_TEXTS] = sizeof(struct bm_texts),
        [BM_PARAM_TEXT_MAP] = sizeof(struct bm_text_map),
        [BM_PARAM_VALUE] = sizeof(const struct bm_value *),
    };
    memset(param_field(param, config), 0, sizes[param->kind]);
}

static void texts_free(char **texts, unsigned n)
{
    for (unsigned i = 0; texts != NULL && i < n; i++)
        free(texts[i]);
    free(texts);
}

static void param_free(const struct bm_param *param, void *config)
{
    void *field = param_field(param, config);
    switch (param->kind) {
    case BM_PARAM_TEXT:
    case BM_PARAM_NAME:
        free(*(char **)field);
        break;
    case BM_PARAM_INTEGERS:
        free(((struct bm_integers *)field)->values);
        break;
    case BM_PARAM_FLOATS:
        free(((struct bm_floats *)field)->values);
        break;
    case BM_PARAM_NAMES:
    case BM_PARAM_TEXTS: {
        const struct bm_texts *texts = field;
        texts_free(texts->values, texts->n);
        break;
    }
    case BM_PARAM_TEXT_MAP: {
        const struct bm_text_map *map = field;
        texts_free(map->keys, map->n);
        texts_free(map->values, map->n);
        break;
    }
    case BM_PARAM_BOOL:
    case BM_PARAM_INTEGER:
    case BM_PARAM_FLOAT:
    case BM_PARAM_BYTES:
    case BM_PARAM_DTYPE:
    case BM_PARAM_CHOICE:
    case BM_PARAM_VALUE:
        break;
    }
    param_zero(param, config);
}

void bm_params_free(const struct bm_param *params, unsigned nparams, void *config)
{
    for (unsigned i = 0; i < nparams; i++)
        param_free(&params[i], config);
}

// Errors in a default are bugs of the table, but memory may run out here as well.
static enum bm_status param_fall_back(const struct bm_param *param, const char *where, void *config,
                                      struct bm_error *err)
{
    BM_ASSERT(param->kind != BM_PARAM_VALUE); // it would be borrowed from nobody
    struct bm_value *value =
        bm_value_new_scalar(param->fallback, param->kind == BM_PARAM_TEXT, where);
    if (value == NULL)
        return no_memory(where, err);
    enum bm_status status = param_read(param, value, config, err);
    bm_value_free(value);
    BM_ASSERT(status == BM_OK || status == BM_RESOURCE_EXHAUSTED);
    return status;
}

static enum bm_status param_fill(const struct bm_param *param, const struct bm_value *values,
                                 const char *where, void *config, struct bm_error *err)
{
    const struct bm_value *value = values == NULL ? NULL : bm_value_find(values, param->name);
    if (value != NULL && value->kind != BM_VALUE_NULL)
        return param_read(param, value, config, err);
    if (param->required)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected \"%s\" (%s), got nothing",
                       param->name, param->doc);
    return param->fallback == NULL ? BM_OK : param_fall_back(param, where, config, err);
}

static enum bm_status params_check_keys(const struct bm_param *params, unsigned nparams,
                                        const struct bm_value *values, struct bm_error *err)
{
    for (unsigned i = 0; i < values->nchildren; i++) {
        unsigned known = 0;
        while (known < nparams && strcmp(params[known].name, values->keys[i]) != 0)
            known++;
        if (known < nparams)
            continue;
        struct bm_buffer names;
        bm_buffer_init(&names);
        for (unsigned j = 0; j < nparams; j++)
            bm_buffer_print(&names, "%s%s", j == 0 ? "one of " : ", ", params[j].name);
        enum bm_status status = bm_fail(
            err, BM_INVALID_ARGUMENT, values->children[i]->where, "expected %s, got \"%.128s\"",
            nparams == 0 ? "no parameters" : bm_buffer_text(&names), values->keys[i]);
        bm_buffer_fini(&names);
        return status;
    }
    return BM_OK;
}

enum bm_status bm_params_parse(const struct bm_param *params, unsigned nparams,
                               const struct bm_value *values, const char *where, void *ret_config,
                               struct bm_error *err)
{
    enum bm_status status = BM_OK;
    if (values != NULL) {
        where = values->where;
        if (values->kind == BM_VALUE_NULL)
            values = NULL;
        else if (values->kind != BM_VALUE_MAP) {
            struct bm_buffer shown;
            bm_buffer_init(&shown);
            bm_value_show(values, &shown);
            status = bm_fail(err, BM_INVALID_ARGUMENT, where,
                             "expected a map of parameters, got %s", bm_buffer_text(&shown));
            bm_buffer_fini(&shown);
            return status;
        }
    }
    for (unsigned i = 0; i < nparams; i++)
        param_zero(&params[i], ret_config);
    if (values != NULL)
        status = params_check_keys(params, nparams, values, err);
    for (unsigned i = 0; i < nparams && status == BM_OK; i++)
        status = param_fill(&params[i], values, where, ret_config, err);
    if (status != BM_OK)
        bm_params_free(params, nparams, ret_config);
    return status;
}

// ---- Hashing ----

static void hash_optional_text(struct bm_hash *hash, const char *text)
{
    bm_hash_add_u64(hash, text != NULL);
    if (text != NULL)
        bm_hash_add_text(hash, text);
}

static void hash_double(struct bm_hash *hash, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    bm_hash_add_u64(hash, bits);
}

// As it was written: only its owner knows what would be the same.
// NOLINTNEXTLINE(misc-no-recursion): who builds values bounds their depth
static void hash_value(struct bm_hash *hash, const struct bm_value *value)
{
    bm_hash_add_u64(hash, value == NULL ? BM_VALUE_NULL : value->kind);
    if (value == NULL)
        return;
    hash_optional_text(hash, value_text(value));
    bm_hash_add_u64(hash, value->nchildren);
    for (unsigned i = 0; i < value->nchildren; i++) {
        hash_optional_text(hash, value->keys == NULL ? NULL : value->keys[i]);
        hash_value(hash, value->children[i]);
    }
}

static void param_hash(const struct bm_param *param, const void *config, struct bm_hash *hash)
{
    const void *field = (const char *)config + param->offset;
    switch (param->kind) {
    case BM_PARAM_BOOL:
        bm_hash_add_u64(hash, *(const bool *)field);
        break;
    case BM_PARAM_INTEGER:
        bm_hash_add_u64(hash, (uint64_t) * (const int64_t *)field);
        break;
    case BM_PARAM_FLOAT:
        hash_double(hash, *(const double *)field);
        break;
    case BM_PARAM_BYTES:
        bm_hash_add_u64(hash, *(const uint64_t *)field);
        break;
    case BM_PARAM_TEXT:
    case BM_PARAM_NAME:
        hash_optional_text(hash, *(char *const *)field);
        break;
    case BM_PARAM_DTYPE:
        bm_hash_add_u64(hash, *(const enum bm_dtype *)field);
        break;
    case BM_PARAM_CHOICE:
        hash_optional_text(hash, param->choices[*(const int *)field]);
        break;
    case BM_PARAM_INTEGERS: {
        const struct bm_integers *list = field;
        bm_hash_add_u64(hash, list->n);
        for (unsigned i = 0; i < list->n; i++)
            bm_hash_add_u64(hash, (uint64_t)list->values[i]);
        break;
    }
    case BM_PARAM_FLOATS: {
        const struct bm_floats *list = field;
        bm_hash_add_u64(hash, list->n);
        for (unsigned i = 0; i < list->n; i++)
            hash_double(hash, list->values[i]);
        break;
    }
    case BM_PARAM_NAMES:
    case BM_PARAM_TEXTS: {
        const struct bm_texts *list = field;
        bm_hash_add_u64(hash, list->n);
        for (unsigned i = 0; i < list->n; i++)
            bm_hash_add_text(hash, list->values[i]);
        break;
    }
    case BM_PARAM_TEXT_MAP: {
        const struct bm_text_map *map = field;
        bm_hash_add_u64(hash, map->n);
        for (unsigned i = 0; i < map->n; i++) {
            bm_hash_add_text(hash, map->keys[i]);
            bm_hash_add_text(hash, map->values[i]);
        }
        break;
    }
    case BM_PARAM_VALUE:
        hash_value(hash, *(const struct bm_value *const *)field);
        break;
    }
}

void bm_params_hash(const struct bm_param *params, unsigned nparams, const void *config,
                    struct bm_hash *hash)
{
    for (unsigned i = 0; i < nparams; i++) {
        bm_hash_add_text(hash, params[i].name);
        param_hash(&params[i], config, hash);
    }
}

// ---- For people ----

const char *bm_param_kind_name(enum bm_param_kind kind)
{
    static const char *const names[] = {
        [BM_PARAM_BOOL] = "bool",     [BM_PARAM_INTEGER] = "integer",
        [BM_PARAM_FLOAT] = "float",   [BM_PARAM_TEXT] = "text",
        [BM_PARAM_NAME] = "name",     [BM_PARAM_DTYPE] = "dtype",
        [BM_PARAM_CHOICE] = "one of", [BM_PARAM_INTEGERS] = "integers",
        [BM_PARAM_FLOATS] = "floats", [BM_PARAM_NAMES] = "names",
        [BM_PARAM_TEXTS] = "texts",   [BM_PARAM_TEXT_MAP] = "map of texts",
        [BM_PARAM_VALUE] = "value",   [BM_PARAM_BYTES] = "bytes",
    };
    return names[kind];
}

static void kind_print(const struct bm_param *param, struct bm_buffer *out)
{
    bm_buffer_add_text(out, bm_param_kind_name(param->kind));
    if (param->kind == BM_PARAM_CHOICE) {
        bm_buffer_add_text(out, " ");
        choices_print(param, out);
    }
    range_print(param, out);
}

void bm_params_print(const struct bm_param *params, unsigned nparams, struct bm_buffer *out)
{
    int width = 0;
    for (unsigned i = 0; i < nparams; i++) {
        int length = (int)strlen(params[i].name);
        width = length > width ? length : width;
    }
    for (unsigned i = 0; i < nparams; i++) {
        const struct bm_param *param = &params[i];
        bm_buffer_print(out, "  %-*s  ", width, param->name);
        kind_print(param, out);
        if (param->required)
            bm_buffer_add_text(out, ", required");
        else if (param->fallback != NULL)
            bm_buffer_print(out, ", default %s",
                            param->fallback[0] == '\0' ? "\"\"" : param->fallback);
        bm_buffer_print(out, ": %s\n", param->doc);
    }
}

const char *bm_params_where(const char *where, const char *name, char *text)
{
    bool top = where == NULL || where[0] == '\0';
    snprintf(text, BM_ERROR_WHERE_MAX, "%s%s%s", top ? "" : where, top ? "" : ".", name);
    return text;
}
