// elementwise.c -- what is done to every element of its own: cast, scale, clip, log1p.
//
// float32 and float64 are computed in their own precision, float16 and bfloat16 in float32 and
// then rounded. An element's result depends on nothing but the element and its place in the item.
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "actions/elementwise.h"
#include "actions/targets.h"
#include "actions/types.h"

// ---- One loop for all ----

enum { CHUNK = 1024 }; // elements that are copied, then changed while they are in the cache

static void map_chunk(bm_kernel *run, const void *args, uint64_t first, enum bm_dtype dtype,
                      void *to, const void *from, uint64_t n)
{
    if (dtype == BM_FLOAT16 || dtype == BM_BFLOAT16) {
        float wide[CHUNK];
        bm_dtype_convert(BM_FLOAT32, wide, dtype, from, n);
        run(args, first, wide, n);
        bm_dtype_convert(dtype, to, BM_FLOAT32, wide, n);
        return;
    }
    if (to != from)
        bm_dtype_convert(dtype, to, dtype, from, n);
    run(args, first, to, n);
}

void bm_map_component(const struct bm_call *call, unsigned component, bm_kernel *run,
                      const void *args)
{
    enum bm_dtype dtype = call->in->schema->components[component].dtype;
    size_t size = bm_dtype_size(dtype);
    uint64_t n;
    const unsigned char *from = bm_batch_rows(call->in, component, call->first, call->count, &n);
    unsigned char *to = bm_batch_rows(call->out, component, call->first, call->count, &n);
    for (uint64_t first = 0; first < n; first += CHUNK)
        map_chunk(run, args, first, dtype, to + first * size, from + first * size,
                  n - first < CHUNK ? n - first : CHUNK);
}

enum bm_status bm_number_check(const struct bm_infer *infer, const char *parameter,
                               unsigned component, double value, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    bool wide = infer->in->components[component].dtype == BM_FLOAT64;
    if (wide || (value >= -(double)FLT_MAX && value <= (double)FLT_MAX))
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, parameter, text),
                   "expected a number that float32 holds, because %s is computed in it, got %.15g",
                   infer->in->components[component].name, value);
}

// ---- cast ----

struct cast {
    struct bm_texts components;
    enum bm_dtype dtype;
};

static const struct bm_param cast_params[] = {
    BM_PARAM_COMPONENTS(struct cast, "the components to convert: one name or a list"),
    BM_PARAM(struct cast, dtype, BM_PARAM_DTYPE, .required = true,
             .doc = "what to convert to; any but bytes and string"),
};

// Of the targets, leaves those in the plan that are of another dtype.
static enum bm_status cast_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    const struct cast *cast = config;
    char text[BM_ERROR_WHERE_MAX];
    struct bm_targets *targets;
    if (!bm_dtype_is_number(cast->dtype))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "dtype", text),
                       "expected a type of numbers, got %s", bm_dtype_name(cast->dtype));
    enum bm_status status =
        bm_targets_find(infer, &cast->components, BM_WANT_NUMBER, &targets, err);
    if (status != BM_OK)
        return status;
    status = bm_infer_keep_all(infer, err);
    unsigned nchanged = 0;
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++) {
        unsigned from = targets->components[i], index;
        struct bm_component component = infer->in->components[from];
        if (component.dtype == cast->dtype)
            continue;
        component.dtype = cast->dtype;
        status = bm_infer_write(infer, &component, (int)from, &index, err);
        targets->components[nchanged++] = from;
    }
    targets->n = nchanged;
    if (status == BM_OK)
        *ret_plan = targets;
    else
        free(targets);
    return status;
}

static enum bm_result cast_run(struct bm_call *call)
{
    const struct cast *cast = call->config;
    const struct bm_targets *targets = call->plan;
    for (unsigned i = 0; i < targets->n; i++) {
        unsigned c = targets->components[i];
        uint64_t n;
        const void *from = bm_batch_rows(call->in, c, call->first, call->count, &n);
        void *to = bm_batch_rows(call->out, c, call->first, call->count, &n);
        bm_dtype_convert(cast->dtype, to, call->in->schema->components[c].dtype, from, n);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_cast_action = {
    .name = "cast",
    .doc = "Converts numbers to another dtype. Floats are rounded to the nearest, ties to even; "
           "what an integer type does not hold becomes its nearest end, and NaN 0; bool is 0 or 1, "
           "and all but 0 becomes true.",
    .form = BM_PER_ITEM,
    .params = cast_params,
    .nparams = sizeof cast_params / sizeof cast_params[0],
    .config_bytes = sizeof(struct cast),
    .infer = cast_infer,
    .run = cast_run,
};

// ---- scale ----

struct scale {
    struct bm_texts components;
    double factor, offset;
};

static const struct bm_param scale_params[] = {
    BM_PARAM_COMPONENTS(struct scale, "the float components to change: one name or a list"),
    BM_PARAM(struct scale, factor, BM_PARAM_FLOAT, .fallback = "1",
             .doc = "multiplies every element"),
    BM_PARAM(struct scale, offset, BM_PARAM_FLOAT, .fallback = "0",
             .doc = "is added to every product"),
};

static enum bm_status scale_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                  struct bm_error *err)
{
    const struct scale *scale = config;
    enum bm_status status =
        bm_targets_plan(infer, &scale->components, BM_WANT_FLOAT, ret_plan, err);
    if (status != BM_OK)
        return status;
    const struct bm_targets *targets = *ret_plan;
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++) {
        status = bm_number_check(infer, "factor", targets->components[i], scale->factor, err);
        if (status == BM_OK)
            status = bm_number_check(infer, "offset", targets->components[i], scale->offset, err);
    }
    return status;
}

#define DEFINE_SCALE(type)                                                                         \
    static void scale_##type(const void *args, uint64_t first, void *x, uint64_t n)                \
    {                                                                                              \
        (void)first;                                                                               \
        const struct scale *scale = args;                                                          \
        const type factor = (type)scale->factor, offset = (type)scale->offset;                     \
        type *values = x;                                                                          \
        for (uint64_t i = 0; i < n; i++)                                                           \
            values[i] = values[i] * factor + offset;                                               \
    }
DEFINE_SCALE(float)
DEFINE_SCALE(double)

static enum bm_result scale_run(struct bm_call *call)
{
    const struct bm_targets *targets = call->plan;
    for (unsigned i = 0; i < targets->n; i++) {
        unsigned c = targets->components[i];
        bool wide = call->in->schema->components[c].dtype == BM_FLOAT64;
        bm_map_component(call, c, wide ? scale_double : scale_float, call->config);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_scale_action = {
    .name = "scale",
    .doc = "x * factor + offset for every element of float components, in their own precision "
           "(float16 and bfloat16: in float32, then rounded).",
    .form = BM_PER_ITEM,
    .params = scale_params,
    .nparams = sizeof scale_params / sizeof scale_params[0],
    .config_bytes = sizeof(struct scale),
    .infer = scale_infer,
    .run = scale_run,
};

// ---- clip ----

struct clip {
    struct bm_texts components;
    struct bm_floats min, max; // lists of one, so that absence shows
};

static const struct bm_param clip_params[] = {
    BM_PARAM_COMPONENTS(struct clip, "the components to change: one name or a list"),
    BM_PARAM(struct clip, min, BM_PARAM_FLOATS,
             .doc = "one number: what is less becomes it; none: no lower bound"),
    BM_PARAM(struct clip, max, BM_PARAM_FLOATS,
             .doc = "one number: what is more becomes it; none: no upper bound"),
};

struct bounds {
    double low, high; // infinite where there is no bound
};

static struct bounds clip_bounds(const struct clip *config)
{
    return (struct bounds){config->min.n == 0 ? -INFINITY : config->min.values[0],
                           config->max.n == 0 ? INFINITY : config->max.values[0]};
}

// A bound must be a value of the dtype; whole numbers up to 2^53 survived being read as float64.
static enum bm_status clip_check_bound(const struct bm_infer *infer, const char *parameter,
                                       const struct bm_floats *bound, unsigned c,
                                       struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    const struct bm_component *component = &infer->in->components[c];
    if (bound->n == 0 || bm_dtype_is_float(component->dtype))
        return BM_OK;
    unsigned char element[sizeof(uint64_t)] = {0};
    bm_dtype_put(component->dtype, element, 0, bound->values[0]);
    if (fabs(bound->values[0]) <= 0x1p53 &&
        bm_dtype_get(component->dtype, element, 0) == bound->values[0])
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, parameter, text),
                   "expected a value that %s has, as dtype of %s, up to 2^53, got %.17g",
                   bm_dtype_name(component->dtype), component->name, bound->values[0]);
}

static enum bm_status clip_check(const struct clip *config, const struct bm_infer *infer,
                                 struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    struct bounds bounds = clip_bounds(config);
    if (config->min.n > 1 || config->max.n > 1)
        return bm_fail(err, BM_INVALID_ARGUMENT,
                       bm_params_where(infer->where, config->min.n > 1 ? "min" : "max", text),
                       "expected one number, got %u",
                       config->min.n > 1 ? config->min.n : config->max.n);
    if (config->min.n + config->max.n == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, infer->where,
                       "expected \"min\", \"max\" or both, got neither");
    if (bounds.low > bounds.high)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "max", text),
                       "expected at least min = %.15g, got %.15g", bounds.low, bounds.high);
    return BM_OK;
}

static enum bm_status clip_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    const struct clip *clip = config;
    enum bm_status status = clip_check(clip, infer, err);
    if (status == BM_OK)
        status = bm_targets_plan(infer, &clip->components, BM_WANT_REAL, ret_plan, err);
    if (status != BM_OK)
        return status;
    const struct bm_targets *targets = *ret_plan;
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++) {
        status = clip_check_bound(infer, "min", &clip->min, targets->components[i], err);
        if (status == BM_OK)
            status = clip_check_bound(infer, "max", &clip->max, targets->components[i], err);
    }
    return status;
}

// X(dtype, type): the types that are changed as they are stored; 16-bit floats come as float.
#define CLIP_TYPES(X)                                                                              \
    X(BM_INT8, int8_t)                                                                             \
    X(BM_INT16, int16_t)                                                                           \
    X(BM_INT32, int32_t)                                                                           \
    X(BM_INT64, int64_t)                                                                           \
    X(BM_UINT8, uint8_t)                                                                           \
    X(BM_UINT16, uint16_t)                                                                         \
    X(BM_UINT32, uint32_t)                                                                         \
    X(BM_UINT64, uint64_t)                                                                         \
    X(BM_FLOAT32, float)                                                                           \
    X(BM_FLOAT64, double)

// NaN is neither less nor more: it stays.
#define DEFINE_CLIP(dtype, type)                                                                   \
    static void clip_##type(const void *args, uint64_t first, void *x, uint64_t n)                 \
    {                                                                                              \
        (void)first;                                                                               \
        const struct bounds bounds = clip_bounds(args);                                            \
        type low, high, *values = x;                                                               \
        bm_dtype_convert(dtype, &low, BM_FLOAT64, &bounds.low, 1);                                 \
        bm_dtype_convert(dtype, &high, BM_FLOAT64, &bounds.high, 1);                               \
        for (uint64_t i = 0; i < n; i++) {                                                         \
            type value = values[i] < low ? low : values[i];                                        \
            values[i] = value > high ? high : value;                                               \
        }                                                                                          \
    }
CLIP_TYPES(DEFINE_CLIP)

static bm_kernel *clip_kernel(enum bm_dtype dtype)
{
    static bm_kernel *const kernels[] = {
#define X(dtype, type) [dtype] = clip_##type,
        CLIP_TYPES(X)
#undef X
            [BM_FLOAT16] = clip_float,
        [BM_BFLOAT16] = clip_float,
    };
    return kernels[dtype];
}

static enum bm_result clip_run(struct bm_call *call)
{
    const struct bm_targets *targets = call->plan;
    for (unsigned i = 0; i < targets->n; i++) {
        unsigned c = targets->components[i];
        bm_map_component(call, c, clip_kernel(call->in->schema->components[c].dtype), call->config);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_clip_action = {
    .name = "clip",
    .doc = "Limits every element of integer or float components to min .. max. NaN stays NaN.",
    .form = BM_PER_ITEM,
    .params = clip_params,
    .nparams = sizeof clip_params / sizeof clip_params[0],
    .config_bytes = sizeof(struct clip),
    .infer = clip_infer,
    .run = clip_run,
};

// ---- log1p ----

struct logarithm {
    struct bm_texts components;
};

static const struct bm_param log1p_params[] = {
    BM_PARAM_COMPONENTS(struct logarithm, "the float components to change: one name or a list"),
};

static enum bm_status log1p_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                  struct bm_error *err)
{
    const struct logarithm *logarithm = config;
    return bm_targets_plan(infer, &logarithm->components, BM_WANT_FLOAT, ret_plan, err);
}

// ln(1 + x) by IEEE operations alone: libm's differs from version to version. With u = 1 + x as
// rounded, it is ln u and what the rounding lost, relative to u. u = m * 2^e with m in
// [sqrt(1/2), sqrt(2)); ln m = 2 artanh(s), s = f / (2 + f), f = m - 1, by its series, added up as
// f - f^2 / 2 + s (f^2 / 2 + the series behind its first term), of which f is exact. Good to about
// 1 unit in the last place.
static double log_of_1_and(double x)
{
    if (!(x > -1))
        return x == -1 ? -(double)INFINITY : (double)NAN;
    if (isinf(x) || fabs(x) < 0x1p-53)
        return x; // also -0
    double u = 1 + x, lost = fabs(x) < 1 ? x - (u - 1) : 1 - (u - x);
    int exponent;
    double m = frexp(u, &exponent); // [1/2, 1)
    if (m < 0.70710678118654752) {
        m *= 2;
        exponent--;
    }
    double f = m - 1, s = f / (2 + f), square = s * s, half = f * f / 2, sum = 0;
    for (int k = 23; k >= 3; k -= 2)
        sum = sum * square + 1.0 / k;
    double low = s * (half + 2 * square * sum) + (exponent * 0x1.a39ef35793c76p-33 + lost / u);
    return exponent * 0x1.62e42feep-1 - ((half - low) - f);
}

#define DEFINE_LOG1P(type)                                                                         \
    static void log1p_##type(const void *args, uint64_t first, void *x, uint64_t n)                \
    {                                                                                              \
        (void)args, (void)first;                                                                   \
        type *values = x;                                                                          \
        for (uint64_t i = 0; i < n; i++)                                                           \
            values[i] = (type)log_of_1_and((double)values[i]);                                     \
    }
DEFINE_LOG1P(float)
DEFINE_LOG1P(double)

static enum bm_result log1p_run(struct bm_call *call)
{
    const struct bm_targets *targets = call->plan;
    for (unsigned i = 0; i < targets->n; i++) {
        unsigned c = targets->components[i];
        bool wide = call->in->schema->components[c].dtype == BM_FLOAT64;
        bm_map_component(call, c, wide ? log1p_double : log1p_float, NULL);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_log1p_action = {
    .name = "log1p",
    .doc = "ln(1 + x) for every element of float components, the same bits on every machine; -1 "
           "becomes -inf, and what is less NaN.",
    .form = BM_PER_ITEM,
    .params = log1p_params,
    .nparams = sizeof log1p_params / sizeof log1p_params[0],
    .config_bytes = sizeof(struct logarithm),
    .infer = log1p_infer,
    .run = log1p_run,
};
