// filter.c -- which items stay in a batch.
#include <math.h>
#include <stdlib.h>

#include "actions/targets.h"
#include "actions/types.h"
#include "actions/value_set.h"

struct filter {
    char *component;
    struct bm_floats min, max; // lists of one, so that absence shows
    struct bm_texts in;
    bool invert;
};

static const struct bm_param filter_params[] = {
    BM_PARAM(struct filter, component, BM_PARAM_NAME, .required = true,
             .doc = "one number, bool or text per item, by which it stays"),
    BM_PARAM(struct filter, min, BM_PARAM_FLOATS, .doc = "one number: what is less goes"),
    BM_PARAM(struct filter, max, BM_PARAM_FLOATS, .doc = "one number: what is more goes"),
    BM_PARAM(struct filter, in, BM_PARAM_TEXTS,
             .doc = "one value or a list, also names of a vocabulary: what is none of them goes"),
    BM_PARAM(struct filter, invert, BM_PARAM_BOOL, .fallback = "false",
             .doc = "keep what would go, and leave out the rest"),
};

struct plan {
    unsigned component;
    double low, high;
    bool bounded;
    struct bm_value_set *values; // NULL: any; else right behind this struct
};

// ---- When the pipeline is built ----

static enum bm_status bound_check(const struct bm_infer *infer, const char *parameter,
                                  const struct bm_floats *bound,
                                  const struct bm_component *component, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    const char *where = bm_params_where(infer->where, parameter, text);
    if (bound->n > 1)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected one number, got %u", bound->n);
    if (bound->n == 0 || bm_dtype_is_float(component->dtype))
        return BM_OK;
    // Integers are compared as float64, which tells them apart up to there.
    if (!bm_dtype_is_number(component->dtype) || fabs(bound->values[0]) >= 0x1p53)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected %s for %s of %s, got %.17g",
                       bm_dtype_is_number(component->dtype) ? "a number below 2^53" : "none",
                       component->name, bm_dtype_name(component->dtype), bound->values[0]);
    return BM_OK;
}

static enum bm_status filter_check(const struct filter *filter, const struct bm_infer *infer,
                                   const struct bm_component *component, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (component->ndim > 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "component", text),
                       "expected a component of one value per item, got %s of %u axes",
                       component->name, component->ndim);
    if (filter->min.n + filter->max.n + filter->in.n == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, infer->where,
                       "expected \"min\", \"max\" or \"in\", got none of them");
    enum bm_status status = bound_check(infer, "min", &filter->min, component, err);
    return status == BM_OK ? bound_check(infer, "max", &filter->max, component, err) : status;
}

static enum bm_status filter_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct filter *filter = config;
    char text[BM_ERROR_WHERE_MAX];
    unsigned c;
    enum bm_status status =
        bm_target_find(infer, "component", filter->component, BM_WANT_ANY, &c, err);
    const struct bm_component *component = &infer->in->components[c];
    if (status == BM_OK)
        status = filter_check(filter, infer, component, err);
    if (status == BM_OK)
        status = bm_infer_keep_all(infer, err);
    if (status != BM_OK)
        return status;
    struct plan *plan = malloc(sizeof *plan + bm_value_set_bytes(filter->in.n));
    if (plan == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
    *plan = (struct plan){
        .component = c,
        .low = filter->min.n == 0 ? -INFINITY : filter->min.values[0],
        .high = filter->max.n == 0 ? INFINITY : filter->max.values[0],
        .bounded = filter->min.n + filter->max.n > 0,
    };
    if (filter->in.n > 0) {
        plan->values = (struct bm_value_set *)(void *)(plan + 1);
        status = bm_value_set_init(plan->values, component, &filter->in,
                                   bm_params_where(infer->where, "in", text), err);
    }
    if (status != BM_OK) {
        free(plan);
        return status;
    }
    infer->drops = true;
    *ret_plan = plan;
    return BM_OK;
}

// ---- In a call ----

static bool row_fits(const struct bm_call *call, const struct plan *plan, uint64_t row)
{
    enum bm_dtype dtype = call->in->schema->components[plan->component].dtype;
    if (plan->values != NULL && bm_value_set_find(plan->values, call->in, plan->component, row) < 0)
        return false;
    if (!plan->bounded)
        return true;
    uint64_t n;
    double value = bm_dtype_get(dtype, bm_batch_rows(call->in, plan->component, row, 1, &n), 0);
    return value >= plan->low && value <= plan->high;
}

static enum bm_result filter_run(struct bm_call *call)
{
    const struct filter *filter = call->config;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        if (row_fits(call, call->plan, row) == filter->invert)
            bm_call_drop(call, row);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_filter_action = {
    .name = "filter",
    .doc = "Keeps the items whose component is at least min, at most max, and one of `in`, as far "
           "as these are given (NaN is neither), and leaves out the others. Batches get shorter "
           "by them, and are not filled up: batch_size counts what is read. A batch with none "
           "left is skipped.",
    .form = BM_PER_ITEM,
    .params = filter_params,
    .nparams = sizeof filter_params / sizeof filter_params[0],
    .config_bytes = sizeof(struct filter),
    .infer = filter_infer,
    .run = filter_run,
};
