// augment.c -- items changed at random, so that a model does not learn them by heart: cutout,
// mixup; and repeat, behind which an item comes several times, each time changed in another way.
#include <stdlib.h>
#include <string.h>

#include "actions/targets.h"
#include "actions/types.h"

// ---- cutout ----

enum { LAYOUT_HWC, LAYOUT_CHW };

struct cutout {
    struct bm_texts components;
    struct bm_integers size;
    struct bm_floats value;
    double probability;
    int layout;
};

static const struct bm_param cutout_params[] = {
    BM_PARAM_COMPONENTS(struct cutout, "pictures of one size, of any numbers: one name or a list; "
                                       "an item's have the hole at the same place"),
    BM_PARAM(struct cutout, size, BM_PARAM_INTEGERS, .required = true, .min = 1, .max = 0x1p31,
             .doc = "of the hole in pixels: one number, or [height, width]"),
    BM_PARAM(struct cutout, value, BM_PARAM_FLOATS,
             .doc = "what is in the hole: one number, or one for each channel; none: 0"),
    BM_PARAM(struct cutout, probability, BM_PARAM_FLOAT, .fallback = "1", .max = 1,
             .doc = "of an item to get a hole"),
    BM_PARAM(struct cutout, layout, BM_PARAM_CHOICE, .fallback = "hwc",
             .choices = {[LAYOUT_HWC] = "hwc", [LAYOUT_CHW] = "chw"},
             .doc = "of pictures with channels: last or first"),
};

// A picture is `nplanes` planes [height, width], whose pixels are `pixel_bytes` each.
struct cutout_target {
    unsigned component;
    uint64_t nplanes, height, width;
    size_t pixel_bytes;
    const unsigned char *pixels; // [nplanes] of what is in the hole
};

struct cutout_plan {
    unsigned n;
    struct cutout_target targets[]; // and behind them their pixels
};

static void target_measure(const struct cutout *cutout, const struct bm_component *component,
                           struct cutout_target *target, uint64_t *ret_nchannels)
{
    bool planes = component->ndim == 3 && cutout->layout == LAYOUT_CHW;
    unsigned first = planes ? 1 : 0; // the axis of the rows
    *ret_nchannels = component->ndim == 2 ? 1 : component->shape[planes ? 0 : 2];
    target->nplanes = planes ? *ret_nchannels : 1;
    target->height = component->shape[first];
    target->width = component->shape[first + 1];
    target->pixel_bytes = bm_dtype_size(component->dtype) * (size_t)(planes ? 1 : *ret_nchannels);
}

// What is in the hole: all channels of one pixel, one after the other in both layouts.
static enum bm_status target_fill(const struct cutout *cutout, const struct bm_infer *infer,
                                  const struct bm_component *component, uint64_t nchannels,
                                  unsigned char *pixels, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    const char *where = bm_params_where(infer->where, "value", text);
    if (cutout->value.n > 1 && cutout->value.n != nchannels)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected one number, or %llu, as %s has channels, got %u",
                       (unsigned long long)nchannels, component->name, cutout->value.n);
    for (uint64_t i = 0; i < nchannels; i++) {
        double value = cutout->value.n == 0 ? 0 : cutout->value.values[cutout->value.n > 1 ? i : 0];
        bm_dtype_put(component->dtype, pixels, i, value);
        if (!bm_dtype_is_float(component->dtype) &&
            bm_dtype_get(component->dtype, pixels, i) != value)
            return bm_fail(err, BM_INVALID_ARGUMENT, where,
                           "expected values that %s has, as dtype of %s, got %.15g",
                           bm_dtype_name(component->dtype), component->name, value);
    }
    return BM_OK;
}

static enum bm_status target_init(const struct cutout *cutout, const struct bm_infer *infer,
                                  struct cutout_target *target, unsigned char *pixels,
                                  uint64_t *ret_nchannels, struct bm_error *err)
{
    const struct bm_component *component = &infer->in->components[target->component];
    bool picture = !component->ragged && (component->ndim == 2 || component->ndim == 3);
    if (picture)
        target_measure(cutout, component, target, ret_nchannels);
    if (!picture || *ret_nchannels > BM_COMPONENTS_MAX || target->height * target->width == 0) {
        char text[BM_ERROR_WHERE_MAX];
        struct bm_buffer got;
        bm_buffer_init(&got);
        bm_component_print(component, &got);
        bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "components", text),
                "expected pictures of one size with at most %d channels, got %s", BM_COMPONENTS_MAX,
                bm_buffer_text(&got));
        bm_buffer_fini(&got);
        return BM_INVALID_ARGUMENT;
    }
    target->pixels = pixels;
    return target_fill(cutout, infer, component, *ret_nchannels, pixels, err);
}

static enum bm_status cutout_plan_init(const struct cutout *cutout, const struct bm_infer *infer,
                                       const struct bm_targets *targets, struct cutout_plan *plan,
                                       struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    unsigned char *pixels = (unsigned char *)&plan->targets[targets->n];
    enum bm_status status = BM_OK;
    for (plan->n = 0; plan->n < targets->n && status == BM_OK; plan->n++) {
        struct cutout_target *target = &plan->targets[plan->n];
        uint64_t nchannels = 0;
        target->component = targets->components[plan->n];
        status = target_init(cutout, infer, target, pixels, &nchannels, err);
        pixels += BM_COMPONENTS_MAX * sizeof(uint64_t);
        if (status == BM_OK &&
            (target->height != plan->targets[0].height || target->width != plan->targets[0].width))
            status =
                bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "components", text),
                        "expected pictures of the size of %s, got %s",
                        infer->in->components[plan->targets[0].component].name,
                        infer->in->components[target->component].name);
    }
    return status;
}

static enum bm_status cutout_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct cutout *cutout = config;
    char text[BM_ERROR_WHERE_MAX];
    struct bm_targets *targets = NULL;
    if (cutout->size.n == 0 || cutout->size.n > 2)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "size", text),
                       "expected one number or two, got %u", cutout->size.n);
    enum bm_status status =
        bm_targets_find(infer, &cutout->components, BM_WANT_NUMBER, &targets, err);
    if (status != BM_OK)
        return status;
    struct cutout_plan *plan =
        malloc(sizeof *plan +
               targets->n * (sizeof plan->targets[0] + BM_COMPONENTS_MAX * sizeof(uint64_t)));
    if (plan == NULL) {
        free(targets);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
    }
    status = cutout_plan_init(cutout, infer, targets, plan, err);
    if (status == BM_OK)
        status = bm_targets_write(infer, targets, err);
    free(targets);
    if (status == BM_OK)
        *ret_plan = plan;
    else
        free(plan);
    return status;
}

struct hole {
    uint64_t top, bottom, left, right;
};

// Along one axis: the middle lies anywhere in the picture, what is outside is cut off.
static void hole_axis(struct bm_random *random, uint64_t length, uint64_t size, uint64_t *ret_start,
                      uint64_t *ret_end)
{
    uint64_t middle = bm_random_below(random, length), end = middle + size - size / 2;
    *ret_start = middle > size / 2 ? middle - size / 2 : 0;
    *ret_end = end < length ? end : length;
}

static void hole_cut(const struct cutout_target *target, const struct hole *hole,
                     unsigned char *picture)
{
    size_t bytes = target->pixel_bytes;
    for (uint64_t plane = 0; plane < target->nplanes; plane++) {
        const unsigned char *pixel = target->pixels + plane * bytes;
        for (uint64_t y = hole->top; y < hole->bottom; y++) {
            unsigned char *line = picture + ((plane * target->height + y) * target->width) * bytes;
            for (uint64_t x = hole->left; x < hole->right; x++)
                memcpy(line + x * bytes, pixel, bytes);
        }
    }
}

static enum bm_result cutout_run(struct bm_call *call)
{
    const struct cutout *cutout = call->config;
    const struct cutout_plan *plan = call->plan;
    const uint64_t height = (uint64_t)cutout->size.values[0];
    const uint64_t width = (uint64_t)cutout->size.values[cutout->size.n - 1];
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        struct bm_random random;
        struct hole hole;
        bm_call_random(call, row, &random);
        bool cuts = bm_random_uniform(&random) < cutout->probability;
        hole_axis(&random, plan->targets[0].height, height, &hole.top, &hole.bottom);
        hole_axis(&random, plan->targets[0].width, width, &hole.left, &hole.right);
        for (unsigned i = 0; i < plan->n; i++) {
            const struct cutout_target *target = &plan->targets[i];
            uint64_t n;
            const unsigned char *from = bm_batch_rows(call->in, target->component, row, 1, &n);
            unsigned char *to = bm_batch_rows(call->out, target->component, row, 1, &n);
            if (to != from)
                memcpy(to, from,
                       target->nplanes * target->height * target->width * target->pixel_bytes);
            if (cuts)
                hole_cut(target, &hole, to);
        }
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_cutout_action = {
    .name = "cutout",
    .doc = "Cuts a hole into pictures, whose middle lies anywhere in them (DeVries and Taylor, "
           "2017).",
    .form = BM_PER_ITEM,
    .random = true,
    .params = cutout_params,
    .nparams = sizeof cutout_params / sizeof cutout_params[0],
    .config_bytes = sizeof(struct cutout),
    .infer = cutout_infer,
    .run = cutout_run,
};

// ---- mixup ----

enum { CHUNK = 512 };

struct mixup {
    struct bm_texts components;
    double alpha;
};

static const struct bm_param mixup_params[] = {
    BM_PARAM_COMPONENTS(struct mixup, "float components, such as pictures and their labels as "
                                      "one_hot makes them: one name or a list"),
    BM_PARAM(struct mixup, alpha, BM_PARAM_FLOAT, .fallback = "0.2", .min = 0.1, .max = 100,
             .doc = "an item's own part is drawn from Beta(alpha, alpha)"),
};

static enum bm_status mixup_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                  struct bm_error *err)
{
    const struct mixup *mixup = config;
    char text[BM_ERROR_WHERE_MAX];
    struct bm_targets *targets = NULL;
    enum bm_status status =
        bm_targets_find(infer, &mixup->components, BM_WANT_FLOAT, &targets, err);
    if (status != BM_OK)
        return status;
    status = bm_infer_keep_all(infer, err);
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++) {
        const struct bm_component *component = &infer->in->components[targets->components[i]];
        unsigned index;
        if (component->ragged)
            status =
                bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "components", text),
                        "expected a component of one shape, but items of %s differ in length",
                        component->name);
        else // in memory of its own: an item is read again after it was written
            status = bm_infer_write(infer, component, -1, &index, err);
    }
    if (status == BM_OK)
        *ret_plan = targets;
    else
        free(targets);
    return status;
}

#define DEFINE_MIX(type)                                                                           \
    static void mix_##type(type *restrict to, const type *from, const type *other, double part,    \
                           uint64_t n)                                                             \
    {                                                                                              \
        const type own = (type)part, rest = (type)(1 - part);                                      \
        for (uint64_t i = 0; i < n; i++)                                                           \
            to[i] = from[i] * own + other[i] * rest;                                               \
    }
DEFINE_MIX(float)
DEFINE_MIX(double)

static void mix_row(enum bm_dtype dtype, unsigned char *to, const unsigned char *from,
                    const unsigned char *other, double part, uint64_t n)
{
    if (dtype == BM_FLOAT64) {
        mix_double((double *)(void *)to, (const double *)(const void *)from,
                   (const double *)(const void *)other, part, n);
        return;
    }
    if (dtype == BM_FLOAT32) {
        mix_float((float *)(void *)to, (const float *)(const void *)from,
                  (const float *)(const void *)other, part, n);
        return;
    }
    size_t size = bm_dtype_size(dtype);
    for (uint64_t first = 0; first < n; first += CHUNK) {
        uint64_t count = n - first < CHUNK ? n - first : CHUNK;
        float one[CHUNK], two[CHUNK], mixed[CHUNK];
        bm_dtype_convert(BM_FLOAT32, one, dtype, from + first * size, count);
        bm_dtype_convert(BM_FLOAT32, two, dtype, other + first * size, count);
        mix_float(mixed, one, two, part, count);
        bm_dtype_convert(dtype, to + first * size, BM_FLOAT32, mixed, count);
    }
}

static enum bm_result mixup_run(struct bm_call *call)
{
    const struct mixup *mixup = call->config;
    const struct bm_targets *targets = call->plan;
    for (uint64_t row = 0; row < call->count; row++) {
        struct bm_random random;
        bm_call_random(call, row, &random);
        double part = bm_random_beta(&random, mixup->alpha);
        uint64_t before = (row == 0 ? call->count : row) - 1;
        for (unsigned i = 0; i < targets->n; i++) {
            unsigned c = targets->components[i];
            uint64_t n;
            const unsigned char *other = bm_batch_rows(call->in, c, before, 1, &n);
            const unsigned char *from = bm_batch_rows(call->in, c, row, 1, &n);
            mix_row(call->in->schema->components[c].dtype, bm_batch_rows(call->out, c, row, 1, &n),
                    from, other, part, n);
        }
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_mixup_action = {
    .name = "mixup",
    .doc = "Mixes every item with the one before it in its batch, the first with the last: part * "
           "x + (1 - part) * other (Zhang et al., 2018; torchvision's MixUp draws one part for a "
           "batch, this one for each item).",
    .form = BM_PER_BATCH,
    .random = true,
    .params = mixup_params,
    .nparams = sizeof mixup_params / sizeof mixup_params[0],
    .config_bytes = sizeof(struct mixup),
    .infer = mixup_infer,
    .run = mixup_run,
};

// ---- repeat ----

struct repeat {
    int64_t times;
};

static const struct bm_param repeat_params[] = {
    BM_PARAM(struct repeat, times, BM_PARAM_INTEGER, .required = true, .min = 1, .max = 1024,
             .doc = "how often each item is in the batch"),
};

static enum bm_status repeat_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct repeat *repeat = config;
    infer->times = (unsigned)repeat->times;
    return bm_infer_nothing(config, infer, ret_plan, err);
}

const struct bm_action_type bm_repeat_action = {
    .name = "repeat",
    .doc = "Every item is in the batch `times` times, one behind the other; batch_size counts what "
           "is read. Random actions behind it draw other numbers for each.",
    .form = BM_PER_BATCH,
    .params = repeat_params,
    .nparams = sizeof repeat_params / sizeof repeat_params[0],
    .config_bytes = sizeof(struct repeat),
    .infer = repeat_infer,
    .run = bm_run_nothing,
};
