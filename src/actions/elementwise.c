// elementwise.c -- what is done to every element of its own: cast, scale, normalize, clip.
//
// float32 and float64 are computed in their own precision, float16 and bfloat16 in float32 and
// then rounded. An element's result depends on nothing but the element and its place in the item.
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "actions/targets.h"
#include "actions/types.h"

// ---- One loop for all ----

// Changes `x` in place: a loop over one array vectorises without asking whether two overlap.
// `first` is the number of elements before x[0] since the first row of the call.
typedef void kernel(const void *args, uint64_t first, void *x, uint64_t n);

enum { CHUNK = 1024 }; // elements that are copied, then changed while they are in the cache

static void map_chunk(kernel *run, const void *args, uint64_t first, enum bm_dtype dtype, void *to,
                      const void *from, uint64_t n)
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

static void map_component(const struct bm_call *call, unsigned component, kernel *run,
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

// Whether `value` is a finite number in the precision that `component` is computed in.
static enum bm_status number_check(const struct bm_infer *infer, const char *parameter,
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
        status = number_check(infer, "factor", targets->components[i], scale->factor, err);
        if (status == BM_OK)
            status = number_check(infer, "offset", targets->components[i], scale->offset, err);
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
        map_component(call, c, wide ? scale_double : scale_float, call->config);
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

// ---- normalize ----
//
// The channels of a component are the places along its axis; `inner` elements that follow each
// other belong to one channel. With inner = 1 (the last axis) the numbers change from element to
// element: then the tables repeat the channels, so that loops are long also for three colours.

enum { LANES_MIN = 256 };

struct normalize {
    struct bm_texts components;
    struct bm_floats mean, std;
    int64_t axis;
};

static const struct bm_param normalize_params[] = {
    BM_PARAM_COMPONENTS(struct normalize, "the float components to change: one name or a list"),
    BM_PARAM(struct normalize, mean, BM_PARAM_FLOATS, .required = true,
             .doc = "is subtracted: one number, or one for each place along `axis`"),
    BM_PARAM(struct normalize, std, BM_PARAM_FLOATS, .required = true,
             .doc = "divides, more than 0: one number, or one for each place along `axis`"),
    BM_PARAM(struct normalize, axis, BM_PARAM_INTEGER, .fallback = "-1", .min = -BM_NDIM_MAX,
             .max = BM_NDIM_MAX - 1,
             .doc = "of an item, without the batch; negative ones count from the end, so -1 is "
                    "the last"),
};

struct normalize_target {
    const struct normalize_plan *plan;
    unsigned component;
    uint64_t inner;
};

struct normalize_plan {
    uint64_t nchannels, nlanes; // lanes: a multiple of the channels
    struct {
        double *mean, *std; // [nlanes] each, behind the targets in the same memory
    } as_double;
    struct {
        float *mean, *std;
    } as_float;
    unsigned ntargets;
    struct normalize_target targets[];
};

static enum bm_status normalize_check(const struct normalize *config, const struct bm_infer *infer,
                                      unsigned component, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < config->mean.n && status == BM_OK; i++)
        status = number_check(infer, "mean", component, config->mean.values[i], err);
    for (unsigned i = 0; i < config->std.n && status == BM_OK; i++) {
        double std = config->std.values[i];
        status = number_check(infer, "std", component, std, err);
        bool wide = infer->in->components[component].dtype == BM_FLOAT64;
        if (status == BM_OK && !(wide ? std > 0 : (float)std > 0))
            status = bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "std", text),
                             "expected more than 0%s, got %.15g", wide ? "" : " in float32", std);
    }
    return status;
}

// How many numbers there are: 1, or as many as the longer list has.
static enum bm_status normalize_count(const struct normalize *config, const struct bm_infer *infer,
                                      uint64_t *ret_nchannels, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    unsigned mean = config->mean.n, std = config->std.n;
    if (mean == 0 || std == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT,
                       bm_params_where(infer->where, mean == 0 ? "mean" : "std", text),
                       "expected at least one number, got none");
    if (mean != std && mean != 1 && std != 1)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "std", text),
                       "expected one number, or %u as `mean` has, got %u", mean, std);
    *ret_nchannels = mean > std ? mean : std;
    return BM_OK;
}

// How many elements of the component follow each other in one channel.
static enum bm_status normalize_inner(const struct normalize *config, const struct bm_infer *infer,
                                      unsigned c, uint64_t nchannels, uint64_t *ret_inner,
                                      struct bm_error *err)
{
    const struct bm_component *component = &infer->in->components[c];
    char text[BM_ERROR_WHERE_MAX];
    if (nchannels == 1) {
        *ret_inner = UINT64_MAX;
        return BM_OK;
    }
    int64_t axis = config->axis < 0 ? config->axis + component->ndim : config->axis;
    if (axis < 0 || axis >= component->ndim || (component->ragged && axis == 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "axis", text),
                       "expected an axis of fixed length for %llu numbers, but %s has %s",
                       (unsigned long long)nchannels, component->name,
                       axis == 0 && component->ragged ? "an axis 0 that varies" : "no such axis");
    if (component->shape[axis] != nchannels)
        return bm_fail(err, BM_INVALID_ARGUMENT,
                       bm_params_where(infer->where, config->mean.n > 1 ? "mean" : "std", text),
                       "expected one number, or %llu as axis %lld of %s has places, got %llu",
                       (unsigned long long)component->shape[axis], (long long)axis, component->name,
                       (unsigned long long)nchannels);
    *ret_inner = 1;
    for (unsigned i = (unsigned)axis + 1; i < component->ndim; i++)
        *ret_inner *= component->shape[i];
    return BM_OK;
}

static struct normalize_plan *normalize_plan_new(const struct normalize *config,
                                                 const struct bm_targets *targets,
                                                 uint64_t nchannels)
{
    uint64_t nlanes = nchannels * ((LANES_MIN + nchannels - 1) / nchannels);
    size_t head = sizeof(struct normalize_plan) + targets->n * sizeof(struct normalize_target);
    struct normalize_plan *plan = malloc(head + nlanes * 2 * (sizeof(double) + sizeof(float)));
    if (plan == NULL)
        return NULL;
    *plan =
        (struct normalize_plan){.nchannels = nchannels, .nlanes = nlanes, .ntargets = targets->n};
    for (unsigned i = 0; i < targets->n; i++)
        plan->targets[i] = (struct normalize_target){plan, targets->components[i], 0};
    plan->as_double.mean = (double *)(void *)((char *)plan + head);
    plan->as_double.std = plan->as_double.mean + nlanes;
    plan->as_float.mean = (float *)(void *)(plan->as_double.std + nlanes);
    plan->as_float.std = plan->as_float.mean + nlanes;
    for (uint64_t i = 0; i < nlanes; i++) {
        plan->as_double.mean[i] = config->mean.values[i % nchannels % config->mean.n];
        plan->as_double.std[i] = config->std.values[i % nchannels % config->std.n];
        plan->as_float.mean[i] = (float)plan->as_double.mean[i];
        plan->as_float.std[i] = (float)plan->as_double.std[i];
    }
    return plan;
}

static enum bm_status normalize_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                      struct bm_error *err)
{
    const struct normalize *normalize = config;
    struct bm_targets *targets = NULL;
    struct normalize_plan *plan = NULL;
    uint64_t nchannels = 0;
    enum bm_status status = normalize_count(normalize, infer, &nchannels, err);
    if (status == BM_OK)
        status = bm_targets_find(infer, &normalize->components, BM_WANT_FLOAT, &targets, err);
    if (status != BM_OK)
        return status;
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++)
        status = normalize_check(normalize, infer, targets->components[i], err);
    if (status != BM_OK)
        goto out;
    plan = normalize_plan_new(normalize, targets, nchannels);
    if (plan == NULL) {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
        goto out;
    }
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++)
        status = normalize_inner(normalize, infer, targets->components[i], nchannels,
                                 &plan->targets[i].inner, err);
    if (status == BM_OK)
        status = bm_targets_write(infer, targets, err);
    if (status != BM_OK)
        goto out;
    *ret_plan = plan;
    plan = NULL;
out:
    free(plan);
    free(targets);
    return status;
}

#define DEFINE_NORMALIZE(type)                                                                     \
    static void normalize_lanes_##type(type *x, const type *mean, const type *std, uint64_t n)     \
    {                                                                                              \
        for (uint64_t i = 0; i < n; i++)                                                           \
            x[i] = (x[i] - mean[i]) / std[i];                                                      \
    }                                                                                              \
    static void normalize_channel_##type(type *x, type mean, type std, uint64_t n)                 \
    {                                                                                              \
        for (uint64_t i = 0; i < n; i++)                                                           \
            x[i] = (x[i] - mean) / std;                                                            \
    }                                                                                              \
    static void normalize_##type(const void *args, uint64_t first, void *x, uint64_t n)            \
    {                                                                                              \
        const struct normalize_target *target = args;                                              \
        const struct normalize_plan *plan = target->plan;                                          \
        const type *mean = plan->as_##type.mean, *std = plan->as_##type.std;                       \
        const uint64_t period = target->inner == 1 ? plan->nlanes : target->inner;                 \
        type *values = x;                                                                          \
        for (uint64_t done = 0, run; done < n; done += run) {                                      \
            uint64_t place = (first + done) % period;                                              \
            uint64_t channel = (first + done) / period % plan->nchannels;                          \
            run = n - done < period - place ? n - done : period - place;                           \
            if (target->inner == 1)                                                                \
                normalize_lanes_##type(&values[done], &mean[place], &std[place], run);             \
            else                                                                                   \
                normalize_channel_##type(&values[done], mean[channel], std[channel], run);         \
        }                                                                                          \
    }
DEFINE_NORMALIZE(float)
DEFINE_NORMALIZE(double)

static enum bm_result normalize_run(struct bm_call *call)
{
    const struct normalize_plan *plan = call->plan;
    for (unsigned i = 0; i < plan->ntargets; i++) {
        unsigned c = plan->targets[i].component;
        bool wide = call->in->schema->components[c].dtype == BM_FLOAT64;
        map_component(call, c, wide ? normalize_double : normalize_float, &plan->targets[i]);
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_normalize_action = {
    .name = "normalize",
    .doc = "(x - mean) / std for every element of float components, in their own precision "
           "(float16 and bfloat16: in float32, then rounded).",
    .form = BM_PER_ITEM,
    .params = normalize_params,
    .nparams = sizeof normalize_params / sizeof normalize_params[0],
    .config_bytes = sizeof(struct normalize),
    .infer = normalize_infer,
    .run = normalize_run,
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

static kernel *clip_kernel(enum bm_dtype dtype)
{
    static kernel *const kernels[] = {
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
        map_component(call, c, clip_kernel(call->in->schema->components[c].dtype), call->config);
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
