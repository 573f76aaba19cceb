#include "sources/tfrecord_features.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

struct component_config {
    char *feature;
    enum bm_dtype dtype;
    struct bm_integers shape;
    bool ragged;
};

static const struct bm_param component_params[] = {
    BM_PARAM(struct component_config, feature, BM_PARAM_TEXT,
             .doc = "name of the feature; else the component's"),
    BM_PARAM(struct component_config, dtype, BM_PARAM_DTYPE, .required = true,
             .doc = "integers and bool from an int64_list, floats from a float_list, bytes and "
                    "string from a bytes_list of one"),
    BM_PARAM(struct component_config, shape, BM_PARAM_INTEGERS,
             .doc = "of an item; with `ragged`, of one row of it"),
    BM_PARAM(struct component_config, ragged, BM_PARAM_BOOL, .fallback = "false",
             .doc = "a list of another length in each item, or none"),
};

enum { COMPONENT_NPARAMS = sizeof component_params / sizeof component_params[0] };

// ---- When the source is opened ----

static enum bm_status column_shape(struct bm_tf_column *column,
                                   const struct component_config *config,
                                   struct bm_component *component, const char *where,
                                   struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    unsigned first = config->ragged ? 1 : 0; // axis 0 varies
    column->text = bm_dtype_is_text(config->dtype);
    column->ragged = config->ragged;
    if (column->text && (config->ragged || config->shape.n > 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected neither `shape` nor `ragged` with %s",
                       bm_dtype_name(config->dtype));
    if (config->shape.n + first > BM_NDIM_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "shape", text),
                       "expected at most %d axes, got %u", BM_NDIM_MAX - (int)first,
                       config->shape.n);
    component->dtype = config->dtype;
    component->ragged = config->ragged || column->text;
    component->ndim = config->shape.n + first;
    for (unsigned i = 0; i < config->shape.n; i++) {
        if (config->shape.values[i] <= 0)
            return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "shape", text),
                           "expected axes of at least 1 element, got %" PRId64,
                           config->shape.values[i]);
        component->shape[first + i] = (uint64_t)config->shape.values[i];
    }
    return BM_OK;
}

static enum bm_status column_parse(struct bm_tf_column *column, const char *name,
                                   const struct bm_value *value, struct bm_schema *schema,
                                   struct bm_error *err)
{
    struct component_config config;
    struct bm_component component = {0};
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, value->where,
                       "expected a component name of " BM_NAME_RULE ", got \"%.40s\"", name);
    memcpy(component.name, name, strlen(name) + 1);
    enum bm_status status =
        bm_params_parse(component_params, COMPONENT_NPARAMS, value, value->where, &config, err);
    if (status != BM_OK)
        return status;
    column->feature = strdup(config.feature == NULL ? name : config.feature);
    status = column->feature == NULL
                 ? bm_fail(err, BM_RESOURCE_EXHAUSTED, value->where, "out of memory")
                 : column_shape(column, &config, &component, value->where, err);
    if (status == BM_OK)
        status = bm_schema_add(schema, &component, err);
    if (status == BM_OK)
        column->elements = bm_component_elements(&component);
    bm_params_free(component_params, COMPONENT_NPARAMS, &config);
    return status;
}

enum bm_status bm_tf_plan_parse(struct bm_tf_plan *plan, const struct bm_value *components,
                                const char *where, struct bm_schema *schema, struct bm_error *err)
{
    if (components->kind != BM_VALUE_MAP || components->nchildren == 0 ||
        components->nchildren > BM_COMPONENTS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected {name: {feature: ..., dtype: ...}, ...} of 1 to %d components, "
                       "got %s",
                       BM_COMPONENTS_MAX, bm_value_kind_name(components));
    plan->columns = calloc(components->nchildren, sizeof plan->columns[0]);
    plan->names = calloc(components->nchildren, sizeof plan->names[0]);
    if (plan->columns == NULL || plan->names == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < components->nchildren && status == BM_OK; i++) {
        plan->n++;
        status = column_parse(&plan->columns[i], components->keys[i], components->children[i],
                              schema, err);
        plan->names[i] = plan->columns[i].feature;
    }
    return status;
}

void bm_tf_plan_fini(struct bm_tf_plan *plan)
{
    for (unsigned i = 0; i < plan->n; i++)
        free(plan->columns[i].feature);
    free(plan->columns);
    free(plan->names);
}

// ---- When a record is read ----

static enum bm_tf_kind kind_of(enum bm_dtype dtype)
{
    if (bm_dtype_is_text(dtype))
        return BM_TF_BYTES;
    return bm_dtype_is_float(dtype) ? BM_TF_FLOAT : BM_TF_INT64;
}

static enum bm_status column_wrong(const struct bm_tf_column *column,
                                   const struct bm_component *component, struct bm_error *err,
                                   const char *got, uint64_t n)
{
    return bm_fail(err, BM_INVALID_ARGUMENT, component->name,
                   "expected feature %s as %s of %s%" PRIu64 ", got %s of %" PRIu64,
                   column->feature, bm_tf_kind_name(kind_of(component->dtype)),
                   column->ragged ? "a multiple of " : "", column->text ? 1 : column->elements, got,
                   n);
}

static void text_find(const struct bm_tf_feature *feature, const unsigned char **ret_data,
                      uint64_t *ret_size)
{
    struct bm_tf_values values;
    *ret_data = NULL;
    *ret_size = 0;
    bm_tf_values_init(&values, feature);
    if (feature->kind == BM_TF_BYTES)
        bm_tf_next_bytes(&values, ret_data, ret_size);
}

enum bm_status bm_tf_column_rows(const struct bm_tf_column *column,
                                 const struct bm_component *component,
                                 const struct bm_tf_feature *feature, uint64_t *ret_rows,
                                 struct bm_error *err)
{
    uint64_t n;
    enum bm_tf_kind kind = kind_of(component->dtype);
    if (!bm_tf_count(feature, &n))
        return bm_fail(err, BM_DATA_LOSS, component->name,
                       "expected feature %s whole, got broken "
                       "bytes",
                       column->feature);
    bool absent = feature->kind == BM_TF_NONE || n == 0;
    if (!absent && feature->kind != kind)
        return column_wrong(column, component, err, bm_tf_kind_name(feature->kind), n);
    if (column->ragged) {
        if (n % column->elements != 0)
            return column_wrong(column, component, err, bm_tf_kind_name(kind), n);
        *ret_rows = n / column->elements;
        return BM_OK;
    }
    if (n != (column->text ? 1 : column->elements))
        return column_wrong(column, component, err, bm_tf_kind_name(feature->kind), n);
    *ret_rows = 1;
    if (!column->text)
        return BM_OK;
    const unsigned char *data;
    text_find(feature, &data, ret_rows);
    if (component->dtype == BM_STRING && !bm_utf8_valid((const char *)data, *ret_rows))
        return bm_fail(err, BM_INVALID_ARGUMENT, component->name,
                       "expected UTF-8 in feature %s, got other bytes (dtype bytes takes any)",
                       column->feature);
    return BM_OK;
}

static bool integer_store(enum bm_dtype dtype, int64_t value, unsigned char *to)
{
    int64_t back = 0;
    if (dtype == BM_BOOL) {
        *to = value != 0;
        return value == 0 || value == 1;
    }
    bm_dtype_convert(dtype, to, BM_INT64, &value, 1);
    bm_dtype_convert(BM_INT64, &back, dtype, to, 1); // differs where the first one saturated
    return back == value && (value >= 0 || dtype != BM_UINT64);
}

enum bm_status bm_tf_column_fill(const struct bm_tf_column *column,
                                 const struct bm_component *component,
                                 const struct bm_tf_feature *feature, unsigned char *to,
                                 struct bm_error *err)
{
    struct bm_tf_values values;
    const unsigned char *data;
    uint64_t size;
    int64_t integer;
    float real;
    size_t element = bm_dtype_size(component->dtype);
    if (column->text) {
        text_find(feature, &data, &size);
        if (size > 0)
            memcpy(to, data, size);
        return BM_OK;
    }
    bm_tf_values_init(&values, feature);
    if (feature->kind == BM_TF_FLOAT) {
        for (; bm_tf_next_float(&values, &real); to += element)
            bm_dtype_convert(component->dtype, to, BM_FLOAT32, &real, 1);
        return BM_OK;
    }
    for (; feature->kind == BM_TF_INT64 && bm_tf_next_int64(&values, &integer); to += element) {
        if (!integer_store(component->dtype, integer, to))
            return bm_fail(err, BM_OUT_OF_RANGE, component->name,
                           "expected values that %s has in feature %s, got %" PRId64,
                           bm_dtype_name(component->dtype), column->feature, integer);
    }
    return BM_OK;
}
