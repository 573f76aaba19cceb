// image_pixels.c -- what changes the pixels of pictures and not their size: flip, color_jitter.
#include <stdlib.h>
#include <string.h>

#include "actions/image_target.h"
#include "actions/targets.h"
#include "actions/types.h"

// ---- Pictures that keep their sizes ----

static enum bm_status same_size_infer(const struct bm_texts *names, struct bm_infer *infer,
                                      void **ret_plan, struct bm_error *err)
{
    struct bm_image_targets *targets = NULL;
    enum bm_status status = bm_image_targets_find(infer, names, &targets, err);
    if (status != BM_OK)
        return status;
    status = bm_infer_keep_all(infer, err);
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++) {
        struct bm_image_target *target = &targets->targets[i];
        struct bm_component image = infer->in->components[target->image];
        image.vocabulary = NULL; // other values
        target->to_size = target->size;
        target->out_size = target->size_index;
        status = bm_infer_write(infer, &image, (int)target->image, &target->out, err);
    }
    if (status == BM_OK)
        *ret_plan = targets;
    else
        free(targets);
    return status;
}

// The pixels of the row after the action, which are still those of before.
static bool pixels_begin(struct bm_call *call, const struct bm_image_target *target, uint64_t row,
                         struct bm_pixels *ret_pixels)
{
    struct bm_pixels in;
    if (!bm_image_pixels_in(call, target, row, &in))
        return false;
    bm_image_pixels_out(call, target, row, ret_pixels);
    if (ret_pixels->data != in.data)
        memcpy(ret_pixels->data, in.data, in.height * in.stride);
    return true;
}

// ---- flip ----

enum { AXIS_HORIZONTAL, AXIS_VERTICAL };

struct flip {
    struct bm_texts components;
    int axis;
    double probability;
};

static const struct bm_param flip_params[] = {
    BM_PARAM_COMPONENTS(struct flip,
                        "the pictures: one name or a list; all of an item are flipped together"),
    BM_PARAM(struct flip, axis, BM_PARAM_CHOICE, .fallback = "horizontal",
             .choices = {[AXIS_HORIZONTAL] = "horizontal", [AXIS_VERTICAL] = "vertical"},
             .doc = "horizontal: left becomes right; vertical: top becomes bottom"),
    BM_PARAM(struct flip, probability, BM_PARAM_FLOAT, .fallback = "0.5", .max = 1,
             .doc = "of an item to be flipped"),
};

static enum bm_status flip_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    return same_size_infer(&((const struct flip *)config)->components, infer, ret_plan, err);
}

static enum bm_result flip_run(struct bm_call *call)
{
    const struct flip *flip = call->config;
    const struct bm_image_targets *targets = call->plan;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        struct bm_random random;
        bm_call_random(call, row, &random);
        bool flips = bm_random_uniform(&random) < flip->probability;
        for (unsigned i = 0; i < targets->n; i++) {
            struct bm_pixels pixels;
            if (!pixels_begin(call, &targets->targets[i], row, &pixels))
                return BM_RESULT_FAIL;
            if (flips)
                bm_image_flip(&pixels, flip->axis == AXIS_VERTICAL);
        }
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_flip_action = {
    .name = "flip",
    .doc = "Mirrors pictures (uint8 [height, width, channels], or as decode_image gives them) of "
           "some items, drawn at random: torchvision's RandomHorizontalFlip and "
           "RandomVerticalFlip.",
    .form = BM_PER_ITEM,
    .random = true,
    .params = flip_params,
    .nparams = sizeof flip_params / sizeof flip_params[0],
    .config_bytes = sizeof(struct flip),
    .infer = flip_infer,
    .run = flip_run,
};

// ---- color_jitter ----

enum { BRIGHTNESS, CONTRAST, SATURATION, HUE, NCHANGES };

struct color_jitter {
    struct bm_texts components;
    struct bm_floats brightness, contrast, saturation, hue;
};

#define JITTER_DOC                                                                                 \
    "one number x: a factor from max(0, 1 - x) to 1 + x; or two: from the one to the other; "      \
    "none: as it is"

static const struct bm_param jitter_params[] = {
    BM_PARAM_COMPONENTS(struct color_jitter,
                        "the pictures: one name or a list; all of an item change alike"),
    BM_PARAM(struct color_jitter, brightness, BM_PARAM_FLOATS, .doc = JITTER_DOC),
    BM_PARAM(struct color_jitter, contrast, BM_PARAM_FLOATS, .doc = JITTER_DOC),
    BM_PARAM(struct color_jitter, saturation, BM_PARAM_FLOATS, .doc = JITTER_DOC),
    BM_PARAM(struct color_jitter, hue, BM_PARAM_FLOATS,
             .doc = "one number x up to 0.5: from -x to x of a turn; or two; none: as it is"),
};

struct jitter_plan {
    struct {
        bool given;
        double low, high;
    } changes[NCHANGES];
    struct bm_image_targets *targets;
};

static enum bm_status jitter_range(const struct bm_floats *given, unsigned change,
                                   const char *where, struct jitter_plan *plan,
                                   struct bm_error *err)
{
    static const char *const names[] = {"brightness", "contrast", "saturation", "hue"};
    char text[BM_ERROR_WHERE_MAX];
    double neutral = change == HUE ? 0 : 1, min = change == HUE ? -0.5 : 0;
    double max = change == HUE ? 0.5 : 1e6, low = 0, high = 0;
    if (given->n == 0)
        return BM_OK;
    if (given->n == 1) {
        low = neutral - given->values[0];
        high = neutral + given->values[0];
        if (change != HUE && low < 0)
            low = 0;
    } else if (given->n == 2) {
        low = given->values[0];
        high = given->values[1];
    }
    if (given->n > 2 || low > high || low < min || high > max)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, names[change], text),
                       "expected one number from 0, or two rising ones, from %g to %g, got %u "
                       "number%s: %.15g ...",
                       min, max, given->n, given->n == 1 ? "" : "s", given->values[0]);
    plan->changes[change].given = true;
    plan->changes[change].low = low;
    plan->changes[change].high = high;
    return BM_OK;
}

static enum bm_status jitter_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct color_jitter *jitter = config;
    const struct bm_floats *given[] = {&jitter->brightness, &jitter->contrast, &jitter->saturation,
                                       &jitter->hue};
    struct jitter_plan ranges = {0};
    void *targets = NULL;
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < NCHANGES && status == BM_OK; i++)
        status = jitter_range(given[i], i, infer->where, &ranges, err);
    if (status == BM_OK)
        status = same_size_infer(&jitter->components, infer, &targets, err);
    if (status != BM_OK)
        return status;
    const struct bm_image_targets *found = targets;
    size_t bytes = sizeof *found + found->n * sizeof found->targets[0];
    struct jitter_plan *plan = malloc(sizeof *plan + bytes);
    if (plan == NULL) {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
    } else {
        *plan = ranges;
        plan->targets = memcpy(plan + 1, targets, bytes);
        *ret_plan = plan;
    }
    free(targets);
    return status;
}

static void jitter_change(const struct bm_pixels *pixels, unsigned change, double by)
{
    switch (change) {
    case BRIGHTNESS:
        bm_image_brightness(pixels, by);
        break;
    case CONTRAST:
        bm_image_contrast(pixels, by);
        break;
    case SATURATION:
        bm_image_saturation(pixels, by);
        break;
    default:
        bm_image_hue(pixels, by);
    }
}

static enum bm_result jitter_run(struct bm_call *call)
{
    const struct jitter_plan *plan = call->plan;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        struct bm_random random;
        unsigned order[NCHANGES] = {BRIGHTNESS, CONTRAST, SATURATION, HUE};
        double by[NCHANGES] = {0};
        bm_call_random(call, row, &random);
        for (unsigned i = NCHANGES; i > 1; i--) { // they come in any order
            unsigned j = (unsigned)bm_random_below(&random, i), last = order[i - 1];
            order[i - 1] = order[j];
            order[j] = last;
        }
        for (unsigned i = 0; i < NCHANGES; i++) {
            double low = plan->changes[i].low, high = plan->changes[i].high;
            by[i] = low + (high - low) * bm_random_uniform(&random);
        }
        for (unsigned t = 0; t < plan->targets->n; t++) {
            struct bm_pixels pixels;
            if (!pixels_begin(call, &plan->targets->targets[t], row, &pixels))
                return BM_RESULT_FAIL;
            for (unsigned i = 0; i < NCHANGES; i++) {
                if (plan->changes[order[i]].given)
                    jitter_change(&pixels, order[i], by[order[i]]);
            }
        }
    }
    return BM_RESULT_OK;
}

const struct bm_action_type bm_color_jitter_action = {
    .name = "color_jitter",
    .doc = "Changes brightness, contrast, saturation and hue of pictures (uint8 [height, width, "
           "channels], or as decode_image gives them) by random amounts, in random order, as "
           "torchvision's ColorJitter does. Grey pictures have no saturation and no hue.",
    .form = BM_PER_ITEM,
    .random = true,
    .params = jitter_params,
    .nparams = sizeof jitter_params / sizeof jitter_params[0],
    .config_bytes = sizeof(struct color_jitter),
    .infer = jitter_infer,
    .run = jitter_run,
};
