#include "actions/image_window.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "actions/targets.h"
#include "actions/types.h"

// ---- Parameters that several have ----

#define PARAM(field, kind, ...) BM_PARAM(struct bm_window_config, field, kind, __VA_ARGS__)
#define PARAM_COMPONENTS                                                                           \
    PARAM(components, BM_PARAM_NAMES, .required = true,                                            \
          .doc = "the pictures: one name or a list; all of an item are treated alike")
#define PARAM_FILTERS                                                                              \
    {.name = "interpolation",                                                                      \
     .kind = BM_PARAM_CHOICE,                                                                      \
     .offset = offsetof(struct bm_window_config, filter),                                          \
     .fallback = "bilinear",                                                                       \
     .choices = {[BM_FILTER_NEAREST] = "nearest",                                                  \
                 [BM_FILTER_BILINEAR] = "bilinear",                                                \
                 [BM_FILTER_BICUBIC] = "bicubic"},                                                 \
     .doc = "how pixels between those of the picture are computed"},                               \
        PARAM(antialias, BM_PARAM_BOOL, .fallback = "true",                                        \
              .doc = "weigh all pixels that a smaller one covers, as Pillow does; false: only "    \
                     "those next to its centre")

// `size` must have from 1 to `n_max` numbers that can be sides of a picture.
static enum bm_status size_check(const struct bm_window_config *config, unsigned n_max,
                                 const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    where = bm_params_where(where, "size", text);
    if (config->size.n == 0 || config->size.n > n_max)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected %s, got %u numbers",
                       n_max == 1 ? "one number" : "one number, or height and width",
                       config->size.n);
    for (unsigned i = 0; i < config->size.n; i++) {
        if (config->size.values[i] < 1 || config->size.values[i] > BM_IMAGE_SIDE_MAX)
            return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected 1 to %d pixels, got %lld",
                           BM_IMAGE_SIDE_MAX, (long long)config->size.values[i]);
    }
    return BM_OK;
}

static struct bm_image_size size_given(const struct bm_window_config *config,
                                       struct bm_image_size size)
{
    (void)size;
    const struct bm_integers *given = &config->size;
    return (struct bm_image_size){(uint32_t)given->values[0],
                                  (uint32_t)given->values[given->n - 1]};
}

static struct bm_region region_all(struct bm_image_size size)
{
    return (struct bm_region){.height = size.height, .width = size.width};
}

static bool fixed_always(const struct bm_window_config *config)
{
    (void)config;
    return true;
}

// ---- resize ----

enum { MODE_EXACT, MODE_SHORT_SIDE };

static const struct bm_param resize_params[] = {
    PARAM_COMPONENTS,
    PARAM(size, BM_PARAM_INTEGERS, .required = true,
          .doc = "of the result in pixels: one number, or [height, width]"),
    PARAM_FILTERS,
    PARAM(mode, BM_PARAM_CHOICE, .fallback = "exact",
          .choices = {[MODE_EXACT] = "exact", [MODE_SHORT_SIDE] = "short_side"},
          .doc =
              "exact: `size`, whatever the picture's shape; short_side: its shape stays, and its "
              "shorter side becomes `size` (as torchvision's Resize(256) does)"),
};

static enum bm_status resize_check(const struct bm_window_config *config, const char *where,
                                   struct bm_error *err)
{
    return size_check(config, config->mode == MODE_EXACT ? 2 : 1, where, err);
}

static bool resize_fixed(const struct bm_window_config *config)
{
    return config->mode == MODE_EXACT;
}

static struct bm_image_size resize_size(const struct bm_window_config *config,
                                        struct bm_image_size size)
{
    if (config->mode == MODE_EXACT)
        return size_given(config, size);
    uint64_t side = (uint64_t)config->size.values[0];
    if (size.height <= size.width)
        return (struct bm_image_size){(uint32_t)side, (uint32_t)(side * size.width / size.height)};
    return (struct bm_image_size){(uint32_t)(side * size.height / size.width), (uint32_t)side};
}

static bool resize_choose(const struct bm_window_config *config, struct bm_random *random,
                          struct bm_image_size size, struct bm_image_size to, struct bm_window *ret)
{
    (void)config, (void)random;
    *ret = (struct bm_window){
        .from = region_all(size), .scaled = to, .part = region_all(to), .to = region_all(to)};
    return true;
}

static const struct bm_window_kind resize_kind = {
    .check = resize_check,
    .fixed = resize_fixed,
    .size = resize_size,
    .choose = resize_choose,
    .resizes = true,
};

// ---- random_resized_crop ----

static const struct bm_param crop_params[] = {
    PARAM_COMPONENTS,
    PARAM(size, BM_PARAM_INTEGERS, .required = true,
          .doc = "of the result in pixels: one number, or [height, width]"),
    PARAM(scale, BM_PARAM_FLOATS,
          .doc = "two numbers, default [0.08, 1]: the crop's share of the picture's area"),
    PARAM(ratio, BM_PARAM_FLOATS,
          .doc = "two numbers, default [3/4, 4/3]: the crop's width over its height"),
    PARAM_FILTERS,
};

struct range {
    double low, high;
};

static struct range range_given(const struct bm_floats *given, double low, double high)
{
    return given->n == 0 ? (struct range){low, high}
                         : (struct range){given->values[0], given->values[1]};
}

static enum bm_status range_check(const struct bm_floats *given, double max, const char *name,
                                  const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if (given->n == 0 || (given->n == 2 && given->values[0] > 0 &&
                          given->values[0] <= given->values[1] && given->values[1] <= max))
        return BM_OK;
    struct bm_buffer got;
    bm_buffer_init(&got);
    for (unsigned i = 0; i < given->n; i++)
        bm_buffer_print(&got, "%s%.15g", i == 0 ? "" : ", ", given->values[i]);
    bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, name, text),
            "expected two numbers, more than 0, rising, up to %g, got [%s]", max,
            bm_buffer_text(&got));
    bm_buffer_fini(&got);
    return BM_INVALID_ARGUMENT;
}

static enum bm_status crop_check(const struct bm_window_config *config, const char *where,
                                 struct bm_error *err)
{
    enum bm_status status = size_check(config, 2, where, err);
    if (status == BM_OK)
        status = range_check(&config->scale, 1, "scale", where, err);
    if (status == BM_OK)
        status = range_check(&config->ratio, 1e6, "ratio", where, err);
    return status;
}

// The whole picture, or as much of its middle as has a ratio that is allowed.
static struct bm_region crop_middle(struct bm_image_size size, struct range ratio)
{
    struct bm_region crop = region_all(size);
    double shape = (double)size.width / size.height;
    if (shape < ratio.low)
        crop.height = (uint32_t)rint(size.width / ratio.low);
    else if (shape > ratio.high)
        crop.width = (uint32_t)rint(size.height * ratio.high);
    crop.height += crop.height == 0;
    crop.width += crop.width == 0;
    crop.top = (size.height - crop.height) / 2;
    crop.left = (size.width - crop.width) / 2;
    return crop;
}

// torchvision's RandomResizedCrop.get_params().
static bool crop_choose(const struct bm_window_config *config, struct bm_random *random,
                        struct bm_image_size size, struct bm_image_size to, struct bm_window *ret)
{
    struct range scale = range_given(&config->scale, 0.08, 1);
    struct range ratio = range_given(&config->ratio, 3.0 / 4, 4.0 / 3);
    double whole = (double)size.height * size.width;
    ret->scaled = to;
    ret->part = ret->to = region_all(to);
    for (unsigned attempt = 0; attempt < 10; attempt++) {
        double area = whole * (scale.low + (scale.high - scale.low) * bm_random_uniform(random));
        double shape = bm_random_ratio(random, ratio.low, ratio.high);
        double width = rint(sqrt(area * shape)), height = rint(sqrt(area / shape));
        if (width < 1 || width > size.width || height < 1 || height > size.height)
            continue;
        ret->from.height = (uint32_t)height;
        ret->from.width = (uint32_t)width;
        ret->from.top = (uint32_t)bm_random_below(random, size.height - ret->from.height + 1u);
        ret->from.left = (uint32_t)bm_random_below(random, size.width - ret->from.width + 1u);
        return true;
    }
    ret->from = crop_middle(size, ratio);
    return true;
}

static const struct bm_window_kind crop_kind = {
    .check = crop_check,
    .fixed = fixed_always,
    .size = size_given,
    .choose = crop_choose,
    .resizes = true,
};

// ---- center_crop ----

static const struct bm_param center_params[] = {
    PARAM_COMPONENTS,
    PARAM(size, BM_PARAM_INTEGERS, .required = true,
          .doc = "of the result in pixels: one number, or [height, width]"),
    PARAM(value, BM_PARAM_INTEGERS,
          .doc = "0 to 255, one number or one for each channel, default 0: what surrounds a "
                 "picture that is smaller than `size`"),
};

static enum bm_status center_check(const struct bm_window_config *config, const char *where,
                                   struct bm_error *err)
{
    return size_check(config, 2, where, err);
}

// Along one axis. As in torchvision, halves go to the even side when cropped, up when padded.
static void center_axis(uint32_t size, uint32_t to, uint32_t *from_start, uint32_t *to_start,
                        uint32_t *length)
{
    *from_start = size > to ? (uint32_t)rint((size - to) / 2.0) : 0;
    *to_start = size > to ? 0 : (to - size) / 2;
    *length = size > to ? to : size;
}

static bool center_choose(const struct bm_window_config *config, struct bm_random *random,
                          struct bm_image_size size, struct bm_image_size to, struct bm_window *ret)
{
    (void)config, (void)random;
    ret->from = region_all(size);
    ret->scaled = size;
    center_axis(size.height, to.height, &ret->part.top, &ret->to.top, &ret->part.height);
    center_axis(size.width, to.width, &ret->part.left, &ret->to.left, &ret->part.width);
    ret->to.height = ret->part.height;
    ret->to.width = ret->part.width;
    return true;
}

static const struct bm_window_kind center_kind = {
    .check = center_check,
    .fixed = fixed_always,
    .size = size_given,
    .choose = center_choose,
};

// ---- pad ----

static const struct bm_param pad_params[] = {
    PARAM_COMPONENTS,
    PARAM(size, BM_PARAM_INTEGERS,
          .doc = "of the result in pixels: one number, or [height, width]; the picture, which must "
                 "not be larger, goes to the middle"),
    PARAM(border, BM_PARAM_INTEGERS,
          .doc = "instead of `size`, pixels around the picture: one number, [left and right, top "
                 "and bottom], or [left, top, right, bottom]"),
    PARAM(value, BM_PARAM_INTEGERS,
          .doc = "0 to 255, one number or one for each channel, default 0: of the pixels around"),
};

static enum bm_status pad_check(const struct bm_window_config *config, const char *where,
                                struct bm_error *err)
{
    const struct bm_integers *border = &config->border;
    char text[BM_ERROR_WHERE_MAX];
    if ((config->size.n == 0) == (border->n == 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected either \"size\" or \"border\", got %s",
                       border->n == 0 ? "neither" : "both");
    if (border->n == 0)
        return size_check(config, 2, where, err);
    where = bm_params_where(where, "border", text);
    if (border->n == 3 || border->n > 4)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected 1, 2 or 4 numbers, got %u",
                       border->n);
    for (unsigned i = 0; i < border->n; i++) {
        if (border->values[i] < 0 || border->values[i] > BM_IMAGE_SIDE_MAX)
            return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected 0 to %d pixels, got %lld",
                           BM_IMAGE_SIDE_MAX, (long long)border->values[i]);
    }
    return BM_OK;
}

static bool pad_fixed(const struct bm_window_config *config)
{
    return config->border.n == 0;
}

// Of side 0 to 3: left, top, right, bottom.
static uint32_t pad_border(const struct bm_window_config *config, unsigned side)
{
    return (uint32_t)config->border.values[side % config->border.n];
}

static struct bm_image_size pad_size(const struct bm_window_config *config,
                                     struct bm_image_size size)
{
    if (config->border.n == 0)
        return size_given(config, size);
    return (struct bm_image_size){size.height + pad_border(config, 1) + pad_border(config, 3),
                                  size.width + pad_border(config, 0) + pad_border(config, 2)};
}

static bool pad_choose(const struct bm_window_config *config, struct bm_random *random,
                       struct bm_image_size size, struct bm_image_size to, struct bm_window *ret)
{
    (void)random;
    if (size.height > to.height || size.width > to.width)
        return false;
    ret->scaled = size;
    ret->from = ret->part = ret->to = region_all(size);
    ret->to.top = config->border.n > 0 ? pad_border(config, 1) : (to.height - size.height) / 2;
    ret->to.left = config->border.n > 0 ? pad_border(config, 0) : (to.width - size.width) / 2;
    return true;
}

static const struct bm_window_kind pad_kind = {
    .check = pad_check,
    .fixed = pad_fixed,
    .size = pad_size,
    .choose = pad_choose,
};

// ---- resize and center_crop in one go ----

static enum bm_status both_check(const struct bm_window_config *config, const char *where,
                                 struct bm_error *err)
{
    (void)config, (void)where, (void)err; // each has checked its own
    return BM_OK;
}

static struct bm_image_size both_size(const struct bm_window_config *config,
                                      struct bm_image_size size)
{
    const struct bm_window_config crop = {.size = config->crop};
    return size_given(&crop, size);
}

// resize's parameters, with those of center_crop.
static const struct bm_window_config *both_config(const struct bm_joined *joined,
                                                  struct bm_window_config *ret_config)
{
    const struct bm_window_config *resize = joined->configs[0], *crop = joined->configs[1];
    *ret_config = *resize;
    ret_config->crop = crop->size;
    ret_config->value = crop->value;
    return ret_config;
}

static bool both_choose(const struct bm_window_config *config, struct bm_random *random,
                        struct bm_image_size size, struct bm_image_size to, struct bm_window *ret)
{
    bool fits = center_choose(config, random, resize_size(config, size), to, ret);
    ret->from = region_all(size);
    return fits;
}

static const struct bm_window_kind both_kind = {
    .check = both_check,
    .fixed = fixed_always,
    .size = both_size,
    .choose = both_choose,
    .resizes = true,
};

// ---- What all do when the pipeline is built ----

struct plan {
    const struct bm_window_kind *kind;
    struct bm_window_config config;
    struct bm_image_targets *targets; // behind it in the same memory
};

static enum bm_status value_check(const struct bm_window_config *config,
                                  const struct bm_image_targets *targets, const char *where,
                                  struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    const struct bm_integers *value = &config->value;
    where = bm_params_where(where, "value", text);
    for (unsigned i = 0; i < value->n; i++) {
        if (value->values[i] < 0 || value->values[i] > UINT8_MAX)
            return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected 0 to 255, got %lld",
                           (long long)value->values[i]);
    }
    for (unsigned i = 0; i < targets->n && value->n > 1; i++) {
        if (value->n != targets->targets[i].channels)
            return bm_fail(err, BM_INVALID_ARGUMENT, where,
                           "expected one number, or one for each of %u channels, got %u",
                           targets->targets[i].channels, value->n);
    }
    return BM_OK;
}

static bool size_fits(struct bm_image_size size)
{
    return size.height >= 1 && size.height <= BM_IMAGE_SIDE_MAX && size.width >= 1 &&
           size.width <= BM_IMAGE_SIDE_MAX;
}

// The size of the results, where it is one for all.
static enum bm_status targets_size(const struct bm_window_kind *kind,
                                   const struct bm_window_config *config,
                                   struct bm_image_targets *targets, const struct bm_infer *infer,
                                   struct bm_error *err)
{
    for (unsigned i = 0; i < targets->n; i++) {
        struct bm_image_target *target = &targets->targets[i];
        if (target->size_index >= 0 && !kind->fixed(config))
            continue;
        target->to_size = kind->size(config, target->size);
        if (!size_fits(target->to_size))
            return bm_fail(err, BM_INVALID_ARGUMENT, infer->where,
                           "expected results of at most %d pixels a side, got %u x %u",
                           BM_IMAGE_SIDE_MAX, target->to_size.height, target->to_size.width);
        struct bm_window window;
        if (target->size_index < 0 && kind == &pad_kind &&
            !kind->choose(config, NULL, target->size, target->to_size, &window))
            return bm_fail(err, BM_INVALID_ARGUMENT, infer->where,
                           "expected at least the pictures' size %u x %u, got %u x %u",
                           target->size.height, target->size.width, target->to_size.height,
                           target->to_size.width);
    }
    return BM_OK;
}

static enum bm_status window_infer(const struct bm_window_kind *kind,
                                   const struct bm_window_config *window, struct bm_infer *infer,
                                   void **ret_plan, struct bm_error *err)
{
    struct bm_image_targets *targets = NULL;
    enum bm_status status = kind->check(window, infer->where, err);
    if (status == BM_OK)
        status = bm_image_targets_find(infer, &window->components, &targets, err);
    if (status == BM_OK)
        status = value_check(window, targets, infer->where, err);
    if (status == BM_OK)
        status = targets_size(kind, window, targets, infer, err);
    if (status == BM_OK)
        status = bm_image_targets_write(infer, targets, err);
    if (status != BM_OK)
        goto out;
    for (unsigned i = 0; i < targets->n; i++) {
        if (targets->targets[i].out_size >= 0)
            infer->form = BM_PER_BATCH;
    }
    size_t bytes = sizeof *targets + targets->n * sizeof targets->targets[0];
    struct plan *plan = malloc(sizeof *plan + bytes);
    if (plan == NULL) {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
        goto out;
    }
    plan->kind = kind;
    plan->config = *window;
    plan->targets = (struct bm_image_targets *)(void *)(plan + 1);
    memcpy(plan->targets, targets, bytes);
    *ret_plan = plan;
out:
    free(targets);
    return status;
}

// ---- What all do in a call ----

static bool size_check_result(struct bm_call *call, uint64_t row, struct bm_image_size size)
{
    if (size_fits(size))
        return true;
    bm_call_fail(call, (int64_t)row, BM_INVALID_ARGUMENT,
                 "expected a result of at most %d pixels a side, got %u x %u", BM_IMAGE_SIDE_MAX,
                 size.height, size.width);
    return false;
}

bool bm_window_choose(struct bm_call *call, const struct bm_window_kind *kind,
                      const struct bm_window_config *config, uint64_t row,
                      struct bm_image_size size, struct bm_image_size to, struct bm_window *ret)
{
    struct bm_random random;
    bm_call_random(call, row, &random);
    if (kind->choose(config, &random, size, to, ret))
        return size_check_result(call, row, ret->scaled);
    bm_call_fail(call, (int64_t)row, BM_INVALID_ARGUMENT,
                 "expected a picture of at most %u x %u pixels, got %u x %u: resize it first",
                 to.height, to.width, size.height, size.width);
    return false;
}

bool bm_window_resizes(const struct bm_window *window)
{
    return window->scaled.height != window->from.height ||
           window->scaled.width != window->from.width;
}

struct bm_pixels bm_pixels_part(const struct bm_pixels *pixels, const struct bm_region *region)
{
    struct bm_pixels part = *pixels;
    part.data += region->top * pixels->stride + (size_t)region->left * pixels->channels;
    part.height = region->height;
    part.width = region->width;
    return part;
}

static void pixels_fill(const struct bm_pixels *pixels, const struct bm_integers *value)
{
    size_t bytes = (size_t)pixels->width * pixels->channels;
    for (uint32_t y = 0; y < pixels->height; y++) {
        unsigned char *row = pixels->data + y * pixels->stride;
        if (value->n <= 1) {
            memset(row, value->n == 0 ? 0 : (int)value->values[0], bytes);
            continue;
        }
        for (size_t i = 0; i < bytes; i++)
            row[i] = (unsigned char)value->values[i % value->n];
    }
}

struct bm_pixels bm_window_open(const struct bm_window_config *config,
                                const struct bm_window *window, const struct bm_pixels *out)
{
    if (window->to.height < out->height || window->to.width < out->width)
        pixels_fill(out, &config->value);
    return bm_pixels_part(out, &window->to);
}

static enum bm_status pixels_render(const struct bm_window_config *config,
                                    const struct bm_window *window, const struct bm_pixels *in,
                                    const struct bm_pixels *to, struct bm_error *err)
{
    struct bm_pixels from = bm_pixels_part(in, &window->from);
    if (!bm_window_resizes(window)) {
        from = bm_pixels_part(&from, &window->part);
        for (uint32_t y = 0; y < to->height; y++)
            memcpy(to->data + y * to->stride, from.data + y * from.stride,
                   (size_t)to->width * to->channels);
        return BM_OK;
    }
    const struct bm_resize resize = {(enum bm_filter)config->filter, config->antialias};
    struct bm_image_scratch *scratch;
    enum bm_status status = bm_image_scratch_own(&scratch, err);
    return status == BM_OK ? bm_image_resize_part(scratch, &resize, &from, window->scaled.height,
                                                  window->scaled.width, &window->part, to, err)
                           : status;
}

// Lays out the results where each has a size of its own.
static enum bm_result results_alloc(struct bm_call *call, const struct plan *plan,
                                    const struct bm_image_target *target)
{
    enum bm_result result = BM_RESULT_OK;
    struct bm_image_size *sizes = malloc((call->count + 1) * sizeof *sizes);
    if (sizes == NULL)
        return bm_call_fail(call, -1, BM_RESOURCE_EXHAUSTED, "out of memory");
    for (uint64_t row = 0; row < call->count && result == BM_RESULT_OK; row++) {
        struct bm_pixels in;
        if (!bm_image_pixels_in(call, target, row, &in)) {
            result = BM_RESULT_FAIL;
            break;
        }
        sizes[row] = plan->kind->size(&plan->config, (struct bm_image_size){in.height, in.width});
        if (!size_check_result(call, row, sizes[row]))
            result = BM_RESULT_FAIL;
    }
    if (result == BM_RESULT_OK && bm_image_alloc(call, target, sizes) != BM_OK)
        result = BM_RESULT_FAIL;
    free(sizes);
    return result;
}

static enum bm_result window_row(struct bm_call *call, const struct plan *plan,
                                 const struct bm_image_target *target, uint64_t row)
{
    struct bm_pixels in, out;
    struct bm_window window;
    if (!bm_image_pixels_in(call, target, row, &in))
        return BM_RESULT_FAIL;
    bm_image_pixels_out(call, target, row, &out);
    if (!bm_window_choose(call, plan->kind, &plan->config, row,
                          (struct bm_image_size){in.height, in.width},
                          (struct bm_image_size){out.height, out.width}, &window))
        return BM_RESULT_FAIL;
    struct bm_pixels to = bm_window_open(&plan->config, &window, &out);
    if (pixels_render(&plan->config, &window, &in, &to, call->error) == BM_OK)
        return BM_RESULT_OK;
    call->failed_row = (int64_t)row;
    return BM_RESULT_FAIL;
}

static enum bm_result window_run(struct bm_call *call)
{
    const struct plan *plan = call->plan;
    enum bm_result result = BM_RESULT_OK;
    for (unsigned i = 0; i < plan->targets->n && result == BM_RESULT_OK; i++) {
        const struct bm_image_target *target = &plan->targets->targets[i];
        if (target->out_size >= 0)
            result = results_alloc(call, plan, target);
        for (uint64_t row = call->first; row < call->first + call->count && result == BM_RESULT_OK;
             row++)
            result = window_row(call, plan, target, row);
    }
    return result;
}

// ---- The types ----

static enum bm_status both_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    const struct bm_joined *joined = config;
    struct bm_window_config both;
    return window_infer(&both_kind, both_config(joined, &both), infer, ret_plan, err);
}

static const struct bm_action_type both_type = {
    .name = "resize and center_crop",
    .form = BM_PER_ITEM,
    .infer = both_infer,
    .run = window_run,
};

static const struct bm_action_type *resize_join(const struct bm_schema *in, const void *config,
                                                const struct bm_action_type *next,
                                                const void *next_config)
{
    (void)in;
    const struct bm_window_config *resize = config, *crop = next_config;
    return next == &bm_center_crop_action && bm_names_equal(&resize->components, &crop->components)
               ? &both_type
               : NULL;
}

#define DEFINE_WINDOW(noun, type_name, is_random, join_with, text)                                 \
    static enum bm_status noun##_infer(const void *config, struct bm_infer *infer,                 \
                                       void **ret_plan, struct bm_error *err)                      \
    {                                                                                              \
        return window_infer(&noun##_kind, config, infer, ret_plan, err);                           \
    }                                                                                              \
    const struct bm_action_type bm_##type_name##_action = {                                        \
        .name = #type_name,                                                                        \
        .doc = text,                                                                               \
        .form = BM_PER_ITEM,                                                                       \
        .alone = true,                                                                             \
        .random = is_random,                                                                       \
        .params = noun##_params,                                                                   \
        .nparams = sizeof noun##_params / sizeof noun##_params[0],                                 \
        .config_bytes = sizeof(struct bm_window_config),                                           \
        .infer = noun##_infer,                                                                     \
        .run = window_run,                                                                         \
        .join = join_with,                                                                         \
    };

DEFINE_WINDOW(resize, resize, false, resize_join,
              "Pictures of uint8 [height, width, channels], or as decode_image gives them, become "
              "uint8 [height, width, channels] of `size`, as torchvision's Resize and Pillow's "
              "resize() do. With `mode: short_side` and pictures of several sizes, the results are "
              "of several sizes, too: then it works per batch.")
DEFINE_WINDOW(crop, random_resized_crop, true, NULL,
              "A random part of each picture (uint8 [height, width, channels], or as decode_image "
              "gives it) becomes uint8 [height, width, channels] of `size`: the part is chosen as "
              "torchvision's RandomResizedCrop does, ten tries for area and shape, then the "
              "middle. Right after decode_image no more than that part is decoded.")
DEFINE_WINDOW(center, center_crop, false, NULL,
              "The middle of each picture (uint8 [height, width, channels], or as decode_image "
              "gives it) as uint8 [height, width, channels] of `size`, as torchvision's "
              "CenterCrop; what is missing of a smaller picture is filled with `value`. Right "
              "after decode_image no more than that part is decoded.")
DEFINE_WINDOW(pad, pad, false, NULL,
              "Puts pixels of one colour around pictures (uint8 [height, width, channels], or as "
              "decode_image gives them): up to `size`, or a `border`. With a border around "
              "pictures of several sizes it works per batch.")

const struct bm_window_kind *bm_window_of(const struct bm_action_type *type, const void *config,
                                          struct bm_window_config *ret_config)
{
    static const struct {
        const struct bm_action_type *type;
        const struct bm_window_kind *kind;
    } kinds[] = {
        {&bm_resize_action, &resize_kind},
        {&bm_random_resized_crop_action, &crop_kind},
        {&bm_center_crop_action, &center_kind},
        {&bm_pad_action, &pad_kind},
    };
    if (type == &both_type) {
        both_config(config, ret_config);
        return &both_kind;
    }
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].type == type) {
            *ret_config = *(const struct bm_window_config *)config;
            return kinds[i].kind;
        }
    }
    return NULL;
}
