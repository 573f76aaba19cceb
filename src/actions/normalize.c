// normalize.c -- (x / scale - mean) / std: floats in their own precision, and uint8, of which there
// are so few that each value's result is looked up.
//
// The channels of a component are the places along its axis; `inner` elements that follow each
// other belong to one channel. With inner = 1 (the last axis) the numbers change from element to
// element: then the tables repeat the channels, so that loops are long also for three colours.
#include <stdlib.h>

#include "actions/elementwise.h"
#include "actions/image_layout.h"
#include "actions/targets.h"
#include "actions/types.h"

enum { LANES_MIN = 256, TABLE = BM_NORMALIZE_TABLE, TABLES_MAX = 4096 };

static const struct bm_param normalize_params[] = {
    BM_PARAM_COMPONENTS(struct bm_normalize,
                        "the components to change, of floats or uint8: one name or a list"),
    BM_PARAM(struct bm_normalize, mean, BM_PARAM_FLOATS, .required = true,
             .doc = "is subtracted: one number, or one for each place along `axis`"),
    BM_PARAM(struct bm_normalize, std, BM_PARAM_FLOATS, .required = true,
             .doc = "divides, more than 0: one number, or one for each place along `axis`"),
    BM_PARAM(struct bm_normalize, axis, BM_PARAM_INTEGER, .fallback = "-1", .min = -BM_NDIM_MAX,
             .max = BM_NDIM_MAX - 1,
             .doc = "of an item, without the batch; negative ones count from the end, so -1 is "
                    "the last"),
    BM_PARAM(struct bm_normalize, scale, BM_PARAM_FLOAT, .fallback = "1",
             .doc = "divides before all else, more than 0: 255 for pixels of uint8"),
    BM_PARAM(struct bm_normalize, dtype, BM_PARAM_DTYPE,
             .doc = "what uint8 becomes: float32 (which is the default), float16 or bfloat16; "
                    "floats stay what they are"),
};

struct normalize_target {
    const struct normalize_plan *plan;
    unsigned component;
    uint64_t inner;
};

struct normalize_plan {
    uint64_t nchannels, nlanes; // lanes: a multiple of the channels
    double scale;
    void *tables; // [nchannels][TABLE] the results of uint8, where there is such a target
    size_t element_bytes;
    struct {
        double *mean, *std; // [nlanes] each, behind the targets in the same memory
    } as_double;
    struct {
        float *mean, *std;
    } as_float;
    unsigned ntargets;
    struct normalize_target targets[];
};

static enum bm_status normalize_check(const struct bm_normalize *config,
                                      const struct bm_infer *infer, unsigned component,
                                      struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < config->mean.n && status == BM_OK; i++)
        status = bm_number_check(infer, "mean", component, config->mean.values[i], err);
    for (unsigned i = 0; i < config->std.n && status == BM_OK; i++) {
        double std = config->std.values[i];
        status = bm_number_check(infer, "std", component, std, err);
        bool wide = infer->in->components[component].dtype == BM_FLOAT64;
        if (status == BM_OK && !(wide ? std > 0 : (float)std > 0))
            status = bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "std", text),
                             "expected more than 0%s, got %.15g", wide ? "" : " in float32", std);
    }
    return status;
}

// `scale` and `dtype`, which have nothing to do with the component.
static enum bm_status normalize_check_rest(const struct bm_normalize *config,
                                           const struct bm_infer *infer, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (!((float)config->scale > 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "scale", text),
                       "expected more than 0 in float32, got %.15g", config->scale);
    if (config->dtype != BM_DTYPE_NONE && config->dtype != BM_FLOAT32 &&
        config->dtype != BM_FLOAT16 && config->dtype != BM_BFLOAT16)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "dtype", text),
                       "expected float32, float16 or bfloat16, got %s",
                       bm_dtype_name(config->dtype));
    return BM_OK;
}

// Floats and uint8 will do.
static enum bm_status normalize_find(const struct bm_normalize *config,
                                     const struct bm_infer *infer, struct bm_targets **ret_targets,
                                     struct bm_error *err)
{
    struct bm_targets *targets = NULL;
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status =
        bm_targets_find(infer, &config->components, BM_WANT_NUMBER, &targets, err);
    for (unsigned i = 0; status == BM_OK && i < targets->n; i++) {
        const struct bm_component *component = &infer->in->components[targets->components[i]];
        if (component->dtype == BM_UINT8)
            continue;
        status = bm_target_find(infer, "components", component->name, BM_WANT_FLOAT,
                                &targets->components[i], err);
        if (status == BM_OK && config->dtype != BM_DTYPE_NONE && config->dtype != component->dtype)
            status =
                bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "dtype", text),
                        "expected none, or that of %s, which stays %s, got %s", component->name,
                        bm_dtype_name(component->dtype), bm_dtype_name(config->dtype));
    }
    if (status == BM_OK)
        *ret_targets = targets;
    else
        free(targets);
    return status;
}

// How many numbers there are: 1, or as many as the longer list has.
static enum bm_status normalize_count(const struct bm_normalize *config,
                                      const struct bm_infer *infer, uint64_t *ret_nchannels,
                                      struct bm_error *err)
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
    *ret_nchannels = bm_normalize_nchannels(config);
    return BM_OK;
}

// How many elements of the component follow each other in one channel.
static enum bm_status normalize_inner(const struct bm_normalize *config,
                                      const struct bm_infer *infer, unsigned c, uint64_t nchannels,
                                      uint64_t *ret_inner, struct bm_error *err)
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
        const type scale = (type)plan->scale;                                                      \
        const uint64_t period = target->inner == 1 ? plan->nlanes : target->inner;                 \
        type *values = x;                                                                          \
        for (uint64_t i = 0; i < n && scale != 1; i++)                                             \
            values[i] = values[i] / scale;                                                         \
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

uint64_t bm_normalize_nchannels(const struct bm_normalize *normalize)
{
    return normalize->mean.n > normalize->std.n ? normalize->mean.n : normalize->std.n;
}

enum bm_dtype bm_normalize_dtype(const struct bm_normalize *normalize)
{
    return normalize->dtype == BM_DTYPE_NONE ? BM_FLOAT32 : normalize->dtype;
}

// A result is that of the same number as float32.
void bm_normalize_tables(const struct bm_normalize *normalize, void *ret_tables)
{
    enum bm_dtype dtype = bm_normalize_dtype(normalize);
    float wide[TABLE];
    for (uint64_t c = 0; c < bm_normalize_nchannels(normalize); c++) {
        for (unsigned i = 0; i < TABLE; i++)
            wide[i] = (float)i / (float)normalize->scale;
        normalize_channel_float(wide, (float)normalize->mean.values[c % normalize->mean.n],
                                (float)normalize->std.values[c % normalize->std.n], TABLE);
        bm_dtype_convert(dtype, (char *)ret_tables + c * TABLE * bm_dtype_size(dtype), BM_FLOAT32,
                         wide, TABLE);
    }
}

static struct normalize_plan *normalize_plan_new(const struct bm_normalize *config,
                                                 const struct bm_targets *targets,
                                                 uint64_t nchannels, bool looks_up)
{
    uint64_t nlanes = nchannels * ((LANES_MIN + nchannels - 1) / nchannels);
    size_t head = sizeof(struct normalize_plan) + targets->n * sizeof(struct normalize_target);
    size_t element_bytes = bm_dtype_size(bm_normalize_dtype(config));
    size_t table_bytes = looks_up ? TABLE * element_bytes : 0;
    struct normalize_plan *plan =
        malloc(head + nlanes * 2 * (sizeof(double) + sizeof(float)) + nchannels * table_bytes);
    if (plan == NULL)
        return NULL;
    *plan = (struct normalize_plan){
        .nchannels = nchannels, .nlanes = nlanes, .scale = config->scale, .ntargets = targets->n};
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
    plan->tables = plan->as_float.std + nlanes;
    plan->element_bytes = element_bytes;
    if (looks_up)
        bm_normalize_tables(config, plan->tables);
    return plan;
}

static enum bm_status normalize_write(const struct bm_normalize *config, struct bm_infer *infer,
                                      const struct bm_targets *targets, struct bm_error *err)
{
    enum bm_status status = bm_targets_write(infer, targets, err);
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++) {
        unsigned c = targets->components[i], index;
        struct bm_component component = infer->out->components[c];
        if (component.dtype != BM_UINT8)
            continue;
        component.dtype = bm_normalize_dtype(config);
        status = bm_infer_write(infer, &component, (int)c, &index, err);
    }
    return status;
}

static enum bm_status normalize_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                      struct bm_error *err)
{
    const struct bm_normalize *normalize = config;
    struct bm_targets *targets = NULL;
    struct normalize_plan *plan = NULL;
    uint64_t nchannels = 0;
    bool looks_up = false;
    enum bm_status status = normalize_count(normalize, infer, &nchannels, err);
    if (status == BM_OK)
        status = normalize_check_rest(normalize, infer, err);
    if (status == BM_OK)
        status = normalize_find(normalize, infer, &targets, err);
    if (status != BM_OK)
        return status;
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++) {
        status = normalize_check(normalize, infer, targets->components[i], err);
        looks_up = looks_up || infer->in->components[targets->components[i]].dtype == BM_UINT8;
    }
    if (status == BM_OK && looks_up && nchannels > TABLES_MAX)
        status = bm_fail(err, BM_INVALID_ARGUMENT, infer->where,
                         "expected at most %d numbers for uint8, got %llu: cast it first",
                         TABLES_MAX, (unsigned long long)nchannels);
    if (status != BM_OK)
        goto out;
    plan = normalize_plan_new(normalize, targets, nchannels, looks_up);
    if (plan == NULL) {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
        goto out;
    }
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++)
        status = normalize_inner(normalize, infer, targets->components[i], nchannels,
                                 &plan->targets[i].inner, err);
    if (status == BM_OK)
        status = normalize_write(normalize, infer, targets, err);
    if (status != BM_OK)
        goto out;
    *ret_plan = plan;
    plan = NULL;
out:
    free(plan);
    free(targets);
    return status;
}

// Three channels that follow each other, as colours do, deserve a loop of their own.
#define DEFINE_LOOK_UP(type)                                                                       \
    static void look_up_##type(const struct normalize_target *target, const uint8_t *from,         \
                               type *to, uint64_t n)                                               \
    {                                                                                              \
        const struct normalize_plan *plan = target->plan;                                          \
        const type *tables = plan->tables;                                                         \
        uint64_t nchannels = plan->nchannels, done = 0;                                            \
        for (; target->inner == 1 && nchannels == 3 && done + 3 <= n; done += 3) {                 \
            to[done] = tables[from[done]];                                                         \
            to[done + 1] = tables[TABLE + from[done + 1]];                                         \
            to[done + 2] = tables[2 * TABLE + from[done + 2]];                                     \
        }                                                                                          \
        for (uint64_t channel = 0; done < n; channel = (channel + 1) % nchannels) {                \
            const type *table = tables + channel * TABLE;                                          \
            uint64_t end = n - done < target->inner ? n : done + target->inner;                    \
            for (; done < end; done++)                                                             \
                to[done] = table[from[done]];                                                      \
        }                                                                                          \
    }
DEFINE_LOOK_UP(uint16_t)
DEFINE_LOOK_UP(uint32_t)

static void normalize_uint8(const struct bm_call *call, const struct normalize_target *target)
{
    unsigned c = target->component;
    uint64_t n;
    const uint8_t *from = bm_batch_rows(call->in, c, call->first, call->count, &n);
    void *to = bm_batch_rows(call->out, c, call->first, call->count, &n);
    if (target->plan->element_bytes == sizeof(uint16_t))
        look_up_uint16_t(target, from, to, n);
    else
        look_up_uint32_t(target, from, to, n);
}

static enum bm_result normalize_run(struct bm_call *call)
{
    const struct normalize_plan *plan = call->plan;
    for (unsigned i = 0; i < plan->ntargets; i++) {
        unsigned c = plan->targets[i].component;
        enum bm_dtype dtype = call->in->schema->components[c].dtype;
        if (dtype == BM_UINT8)
            normalize_uint8(call, &plan->targets[i]);
        else
            bm_map_component(call, c, dtype == BM_FLOAT64 ? normalize_double : normalize_float,
                             &plan->targets[i]);
    }
    return BM_RESULT_OK;
}

static const struct bm_action_type *normalize_join(const struct bm_schema *in, const void *config,
                                                   const struct bm_action_type *next,
                                                   const void *next_config)
{
    enum { CHANNELS_LAST = 2 };
    return next == &bm_layout_action
               ? bm_layout_with_normalize(in, next_config, config, CHANNELS_LAST)
               : NULL;
}

const struct bm_action_type bm_normalize_action = {
    .name = "normalize",
    .doc = "(x / scale - mean) / std for every element of float components, in their own precision "
           "(float16 and bfloat16: in float32, then rounded), and of uint8 ones, which become "
           "`dtype`. For pixels: scale 255 gives what torchvision's ToTensor and Normalize give; "
           "axis -1 for [height, width, channels], axis 0 behind layout to chw.",
    .form = BM_PER_ITEM,
    .params = normalize_params,
    .nparams = sizeof normalize_params / sizeof normalize_params[0],
    .config_bytes = sizeof(struct bm_normalize),
    .infer = normalize_infer,
    .run = normalize_run,
    .join = normalize_join,
};
