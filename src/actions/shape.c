// shape.c -- other shapes for the same numbers: reshape, one_hot.
#include <string.h>

#include "actions/targets.h"
#include "actions/types.h"
#include "base/size.h"

// ---- reshape ----

struct reshape {
    char *component;
    struct bm_integers shape;
};

static const struct bm_param reshape_params[] = {
    BM_PARAM(struct reshape, component, BM_PARAM_NAME, .required = true,
             .doc = "the component to reshape"),
    BM_PARAM(struct reshape, shape, BM_PARAM_INTEGERS, .required = true, .min = -1, .max = 0x1p40,
             .doc = "of one item, without the batch; one length may be -1: what is left over"),
};

// Fills the axes of `component`, which has its old ones.
static enum bm_status reshape_solve(const struct bm_integers *shape, const char *where,
                                    struct bm_component *component, struct bm_error *err)
{
    uint64_t before = bm_component_elements(component), known = 1;
    int open_axis = -1; // the one that is -1
    if (shape->n > BM_NDIM_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected at most %d axes, got %u",
                       BM_NDIM_MAX, shape->n);
    for (unsigned i = 0; i < shape->n; i++) {
        if (shape->values[i] >= 0) {
            component->shape[i] = (uint64_t)shape->values[i];
            if (!bm_size_mul(known, component->shape[i], &known))
                return bm_fail(err, BM_INVALID_ARGUMENT, where,
                               "expected %llu elements, got more than 2^64",
                               (unsigned long long)before);
        } else if (open_axis < 0) {
            open_axis = (int)i;
        } else {
            return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected at most one -1, got two");
        }
    }
    if (open_axis >= 0 && (known == 0 || before % known != 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a shape for %llu elements, got %llu a place along the -1",
                       (unsigned long long)before, (unsigned long long)known);
    if (open_axis >= 0)
        component->shape[open_axis] = before / known;
    else if (known != before)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a shape for %llu elements, got one for %llu",
                       (unsigned long long)before, (unsigned long long)known);
    component->ndim = shape->n;
    return BM_OK;
}

static enum bm_status reshape_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                    struct bm_error *err)
{
    (void)ret_plan;
    const struct reshape *reshape = config;
    char text[BM_ERROR_WHERE_MAX];
    unsigned target;
    enum bm_status status =
        bm_target_find(infer, "component", reshape->component, BM_WANT_DENSE, &target, err);
    if (status != BM_OK)
        return status;
    struct bm_component reshaped = infer->in->components[target];
    status = reshape_solve(&reshape->shape, bm_params_where(infer->where, "shape", text), &reshaped,
                           err);
    for (unsigned c = 0; c < infer->in->ncomponents && status == BM_OK; c++)
        status = bm_infer_keep(infer, c, c == target ? &reshaped : NULL, err);
    return status;
}

const struct bm_action_type bm_reshape_action = {
    .name = "reshape",
    .doc = "Gives each item of a component another shape with as many elements, in C order. "
           "No bytes move.",
    .form = BM_PER_ITEM,
    .params = reshape_params,
    .nparams = sizeof reshape_params / sizeof reshape_params[0],
    .config_bytes = sizeof(struct reshape),
    .infer = reshape_infer,
    .run = bm_run_nothing,
};

// ---- one_hot ----

struct one_hot {
    char *component, *into;
    int64_t classes;
    enum bm_dtype dtype;
};

static const struct bm_param one_hot_params[] = {
    BM_PARAM(struct one_hot, component, BM_PARAM_NAME, .required = true,
             .doc = "one integer per item, 0 to classes - 1; another fails its item"),
    BM_PARAM(struct one_hot, classes, BM_PARAM_INTEGER, .required = true, .min = 1, .max = 0x1p32,
             .doc = "how many classes there are"),
    BM_PARAM(struct one_hot, dtype, BM_PARAM_DTYPE, .fallback = "float32",
             .doc = "of the result; any but bytes and string"),
    BM_PARAM(struct one_hot, into, BM_PARAM_NAME,
             .doc = "name of the result, as a new component; none: it replaces the old one"),
};

struct one_hot_plan {
    unsigned in, out;
    size_t element_bytes;
    unsigned char one[sizeof(uint64_t)]; // 1 in the dtype; 0 is zero bytes in all of them
};

static enum bm_status one_hot_check(const struct one_hot *config, const struct bm_infer *infer,
                                    struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (!bm_dtype_is_number(config->dtype))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "dtype", text),
                       "expected a type of numbers, got %s", bm_dtype_name(config->dtype));
    return BM_OK;
}

static enum bm_status one_hot_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                    struct bm_error *err)
{
    const struct one_hot *one_hot = config;
    struct one_hot_plan plan = {.element_bytes = bm_dtype_size(one_hot->dtype)};
    enum bm_status status = one_hot_check(one_hot, infer, err);
    if (status == BM_OK)
        status =
            bm_target_find(infer, "component", one_hot->component, BM_WANT_LABEL, &plan.in, err);
    if (status != BM_OK)
        return status;
    struct bm_component component = {
        .dtype = one_hot->dtype, .ndim = 1, .shape = {(uint64_t)one_hot->classes}};
    status = bm_target_write(infer, plan.in, one_hot->into, &component, false, &plan.out, err);
    if (status != BM_OK)
        return status;
    bm_dtype_put(one_hot->dtype, plan.one, 0, 1.0);
    return bm_plan_copy(infer, &plan, sizeof plan, ret_plan, err);
}

static enum bm_result one_hot_run(struct bm_call *call)
{
    const struct one_hot *one_hot = call->config;
    const struct one_hot_plan *plan = call->plan;
    enum bm_dtype dtype = call->in->schema->components[plan->in].dtype;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        uint64_t nlabels, n;
        int64_t label;
        // Read before anything is written: the row may lie on the memory of its label.
        bm_dtype_convert(BM_INT64, &label, dtype,
                         bm_batch_rows(call->in, plan->in, row, 1, &nlabels), 1);
        if (label < 0 || label >= one_hot->classes)
            return bm_call_fail(call, (int64_t)row, BM_OUT_OF_RANGE,
                                "expected %s of 0 to %lld, got %lld", one_hot->component,
                                (long long)one_hot->classes - 1, (long long)label);
        unsigned char *to = bm_batch_rows(call->out, plan->out, row, 1, &n);
        memset(to, 0, n * plan->element_bytes);
        memcpy(to + (uint64_t)label * plan->element_bytes, plan->one, plan->element_bytes);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_one_hot_action = {
    .name = "one_hot",
    .doc = "Turns a class number into `classes` numbers: 1 at its place, 0 elsewhere.",
    .form = BM_PER_ITEM,
    .params = one_hot_params,
    .nparams = sizeof one_hot_params / sizeof one_hot_params[0],
    .config_bytes = sizeof(struct one_hot),
    .infer = one_hot_infer,
    .run = one_hot_run,
};
