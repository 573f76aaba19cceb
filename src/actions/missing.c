// missing.c -- fill_missing: a value where there is none.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actions/elementwise.h"
#include "actions/targets.h"
#include "actions/types.h"

#define MASK_SUFFIX ".missing" // of the bool component that says where values are missing

struct fill_missing {
    struct bm_texts components;
    struct bm_floats value;
};

static const struct bm_param fill_params[] = {
    BM_PARAM_COMPONENTS(struct fill_missing, "the components to fill: one name or a list"),
    BM_PARAM(struct fill_missing, value, BM_PARAM_FLOATS, .required = true,
             .doc = "what to put there: one number, or one for each component"),
};

struct fill {
    unsigned component;
    int mask; // the bool component beside it, or -1
    size_t size;
    unsigned char value[sizeof(uint64_t)]; // as the kernel's type
};

struct plan {
    unsigned n;
    struct fill fills[];
};

// ---- When the pipeline is built ----

static int mask_find(const struct bm_schema *schema, const struct bm_component *component)
{
    char name[BM_NAME_MAX + sizeof MASK_SUFFIX];
    snprintf(name, sizeof name, "%s%s", component->name, MASK_SUFFIX);
    int index = bm_schema_find(schema, name);
    if (index < 0 || component->ragged)
        return -1;
    const struct bm_component *mask = &schema->components[index];
    bool fits = mask->dtype == BM_BOOL && !mask->ragged &&
                bm_component_elements(mask) == bm_component_elements(component);
    return fits ? index : -1;
}

static enum bm_status fill_init(struct fill *fill, const struct bm_infer *infer, unsigned c,
                                double value, struct bm_error *err)
{
    const struct bm_component *component = &infer->in->components[c];
    char text[BM_ERROR_WHERE_MAX];
    *fill = (struct fill){.component = c, .mask = mask_find(infer->in, component)};
    if (bm_dtype_is_float(component->dtype)) {
        enum bm_dtype as = component->dtype == BM_FLOAT64 ? BM_FLOAT64 : BM_FLOAT32;
        fill->size = bm_dtype_size(as);
        bm_dtype_put(as, fill->value, 0, value);
        return bm_number_check(infer, "value", c, value, err);
    }
    if (fill->mask < 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "components", text),
                       "expected floats, where NaN is missing, or beside %s a bool component "
                       "%s%s of as many elements",
                       component->name, component->name, MASK_SUFFIX);
    fill->size = bm_dtype_size(component->dtype);
    bm_dtype_put(component->dtype, fill->value, 0, value);
    if (fabs(value) <= 0x1p53 && bm_dtype_get(component->dtype, fill->value, 0) == value)
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "value", text),
                   "expected a value that %s has, as dtype of %s, up to 2^53, got %.17g",
                   bm_dtype_name(component->dtype), component->name, value);
}

static enum bm_status fill_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    const struct fill_missing *fill_missing = config;
    const struct bm_floats *value = &fill_missing->value;
    char text[BM_ERROR_WHERE_MAX];
    struct bm_targets *targets = NULL;
    enum bm_status status =
        bm_targets_find(infer, &fill_missing->components, BM_WANT_NUMBER, &targets, err);
    if (status != BM_OK)
        return status;
    struct plan *plan = malloc(sizeof *plan + targets->n * sizeof plan->fills[0]);
    if (plan == NULL) {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
        goto out;
    }
    if (value->n != 1 && value->n != targets->n) {
        status = bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "value", text),
                         "expected one number, or %u, as there are components, got %u", targets->n,
                         value->n);
        goto out;
    }
    plan->n = targets->n;
    for (unsigned i = 0; i < plan->n && status == BM_OK; i++)
        status = fill_init(&plan->fills[i], infer, targets->components[i],
                           value->values[value->n == 1 ? 0 : i], err);
    if (status == BM_OK)
        status = bm_infer_keep_all(infer, err);
    for (unsigned i = 0; i < plan->n && status == BM_OK; i++) {
        unsigned c = targets->components[i], index;
        status = bm_infer_write(infer, &infer->in->components[c], (int)c, &index, err);
    }
    if (status == BM_OK) {
        *ret_plan = plan;
        plan = NULL;
    }
out:
    free(plan);
    free(targets);
    return status;
}

// ---- In a call ----

struct filling {
    const struct fill *fill;
    const bool *missing; // of the rows of the call; NULL: there is no mask
};

#define DEFINE_FILL(type, is_missing)                                                              \
    static void fill_##type(const void *args, uint64_t first, void *x, uint64_t n)                 \
    {                                                                                              \
        const struct filling *filling = args;                                                      \
        const bool *missing = filling->missing == NULL ? NULL : filling->missing + first;          \
        type value, *values = x;                                                                   \
        memcpy(&value, filling->fill->value, sizeof value);                                        \
        for (uint64_t i = 0; i < n; i++)                                                           \
            values[i] = (is_missing) || (missing != NULL && missing[i]) ? value : values[i];       \
    }
DEFINE_FILL(float, values[i] != values[i])
DEFINE_FILL(double, values[i] != values[i])
DEFINE_FILL(uint8_t, false)
DEFINE_FILL(uint16_t, false)
DEFINE_FILL(uint32_t, false)
DEFINE_FILL(uint64_t, false)

static bm_kernel *fill_kernel(enum bm_dtype dtype, size_t size)
{
    if (bm_dtype_is_float(dtype))
        return size == sizeof(double) ? fill_double : fill_float;
    static bm_kernel *const kernels[] = {
        [1] = fill_uint8_t, [2] = fill_uint16_t, [4] = fill_uint32_t, [8] = fill_uint64_t};
    return kernels[size];
}

static enum bm_result fill_run(struct bm_call *call)
{
    const struct plan *plan = call->plan;
    for (unsigned i = 0; i < plan->n; i++) {
        const struct fill *fill = &plan->fills[i];
        struct filling filling = {.fill = fill};
        uint64_t n;
        if (fill->mask >= 0)
            filling.missing = (const bool *)(const void *)bm_batch_rows(
                call->in, (unsigned)fill->mask, call->first, call->count, &n);
        enum bm_dtype dtype = call->in->schema->components[fill->component].dtype;
        bm_map_component(call, fill->component, fill_kernel(dtype, fill->size), &filling);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_fill_missing_action = {
    .name = "fill_missing",
    .doc = "Puts a number where there is none: in floats where they are NaN, and in any numbers "
           "x where a bool component x.missing beside them is true, which stays.",
    .form = BM_PER_ITEM,
    .params = fill_params,
    .nparams = sizeof fill_params / sizeof fill_params[0],
    .config_bytes = sizeof(struct fill_missing),
    .infer = fill_infer,
    .run = fill_run,
};
