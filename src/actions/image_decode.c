// image_decode.c -- decode_image, alone and joined with a step that takes a part of the picture.
#include <stdlib.h>
#include <string.h>

#include "actions/image_window.h"
#include "actions/targets.h"
#include "actions/types.h"

enum { MODE_RGB, MODE_GREY };
enum { ORIENTATION_EXIF, ORIENTATION_IGNORE };
enum { BROKEN_FAIL, BROKEN_DROP, BROKEN_SKIP_BATCH };

struct decode_image {
    struct bm_texts components;
    int mode, orientation, broken;
    int64_t max_pixels;
    bool dct_scale;
};

static const struct bm_param decode_params[] = {
    BM_PARAM_COMPONENTS(struct decode_image, "the files as bytes: one name or a list"),
    BM_PARAM(struct decode_image, mode, BM_PARAM_CHOICE, .fallback = "rgb",
             .choices = {[MODE_RGB] = "rgb", [MODE_GREY] = "grey"},
             .doc = "channels of the pictures, 3 or 1, whatever their files have"),
    BM_PARAM(struct decode_image, orientation, BM_PARAM_CHOICE, .fallback = "exif",
             .choices = {[ORIENTATION_EXIF] = "exif", [ORIENTATION_IGNORE] = "ignore"},
             .doc = "exif: turn pictures upright as their files say; ignore: as they are stored"),
    BM_PARAM(
        struct decode_image, broken, BM_PARAM_CHOICE, .fallback = "fail",
        .choices =
            {[BROKEN_FAIL] = "fail", [BROKEN_DROP] = "drop", [BROKEN_SKIP_BATCH] = "skip_batch"},
        .doc = "what a file leads to that is no picture, or a damaged one: an error that names "
               "it, a batch without that item (filter says what that means), or no batch"),
    BM_PARAM(struct decode_image, max_pixels, BM_PARAM_INTEGER, .fallback = "89478485", .min = 1,
             .max = 4290250000,
             .doc = "larger pictures count as broken; nothing of them is decoded"),
    BM_PARAM(struct decode_image, dct_scale, BM_PARAM_BOOL, .fallback = "false",
             .doc = "shrink large JPEGs while they are decoded: faster, and not quite the same "
                    "pixels; only right before resize or random_resized_crop, without locks"),
};

struct plan {
    struct bm_decode how;
    const struct bm_window_kind *kind; // of the step that it is joined with; NULL: alone
    struct bm_window_config window;    // of that
    int name;                          // index of a component that names items, or -1
    unsigned n;
    struct bm_image_target targets[]; // of bytes, so that they have no size
};

// ---- When the pipeline is built ----

static enum bm_status plan_new(const struct decode_image *config, const struct bm_infer *infer,
                               struct plan **ret_plan, struct bm_error *err)
{
    struct bm_targets *found = NULL;
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status = bm_targets_find(infer, &config->components, BM_WANT_ANY, &found, err);
    if (status != BM_OK)
        return status;
    struct plan *plan = calloc(1, sizeof *plan + found->n * sizeof plan->targets[0]);
    if (plan == NULL) {
        bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
        status = BM_RESOURCE_EXHAUSTED;
        goto out;
    }
    for (plan->n = 0; plan->n < found->n; plan->n++) {
        const struct bm_component *image = &infer->in->components[found->components[plan->n]];
        if (image->dtype != BM_BYTES) {
            bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "components", text),
                    "expected a component of bytes, each the content of a file, got %s of %s",
                    image->name, bm_dtype_name(image->dtype));
            status = BM_INVALID_ARGUMENT;
            goto out;
        }
        plan->targets[plan->n].image = found->components[plan->n];
        plan->targets[plan->n].channels = config->mode == MODE_RGB ? 3 : 1;
    }
    plan->how = (struct bm_decode){
        .channels = config->mode == MODE_RGB ? 3 : 1,
        .ignore_orientation = config->orientation == ORIENTATION_IGNORE,
        .pixels_max = (uint64_t)config->max_pixels,
    };
    plan->name = bm_schema_find(infer->in, "name");
    if (plan->name >= 0 && infer->in->components[plan->name].dtype != BM_STRING)
        plan->name = -1;
    *ret_plan = plan;
    plan = NULL;
out:
    free(plan);
    free(found);
    return status;
}

// The pictures of target i after the action: of to_size, or of sizes of their own.
static enum bm_status target_write(struct bm_infer *infer, struct bm_image_target *target,
                                   struct bm_error *err)
{
    struct bm_component image = {.dtype = BM_UINT8};
    strcpy(image.name, infer->in->components[target->image].name);
    bool fixed = target->to_size.height > 0;
    image.ragged = !fixed;
    image.ndim = fixed ? 3 : 2;
    image.shape[0] = target->to_size.height;
    image.shape[1] = fixed ? target->to_size.width : target->channels;
    image.shape[2] = fixed ? target->channels : 0;
    target->out_size = -1;
    enum bm_status status = bm_infer_write(infer, &image, -1, &target->out, err);
    if (status != BM_OK || fixed)
        return status;
    unsigned before = infer->out->ncomponents;
    status = bm_image_size_write(infer, image.name, &target->out_size, err);
    if (status == BM_OK && infer->out->ncomponents == before)
        status = bm_fail(err, BM_INVALID_ARGUMENT, infer->where,
                         "expected no component %s, as the pictures' sizes get that name",
                         infer->out->components[target->out_size].name);
    return status;
}

static enum bm_status plan_infer(struct plan *plan, struct bm_infer *infer, struct bm_error *err)
{
    enum bm_status status = bm_infer_keep_all(infer, err);
    for (unsigned i = 0; i < plan->n && status == BM_OK; i++)
        status = target_write(infer, &plan->targets[i], err);
    return status;
}

static enum bm_status decode_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct decode_image *decode = config;
    struct plan *plan = NULL;
    infer->must_join = decode->dct_scale;
    infer->drops = decode->broken == BROKEN_DROP;
    enum bm_status status = plan_new(decode, infer, &plan, err);
    if (status != BM_OK)
        return status;
    status = plan_infer(plan, infer, err);
    if (status == BM_OK)
        *ret_plan = plan;
    else
        free(plan);
    return status;
}

static enum bm_status joined_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct bm_joined *joined = config;
    const struct decode_image *decode = joined->configs[0];
    struct plan *plan = NULL;
    infer->drops = decode->broken == BROKEN_DROP;
    enum bm_status status = plan_new(decode, infer, &plan, err);
    if (status != BM_OK)
        return status;
    plan->kind = bm_window_of(joined->types[1], joined->configs[1], &plan->window);
    for (unsigned i = 0; i < plan->n; i++)
        plan->targets[i].to_size = plan->kind->size(&plan->window, (struct bm_image_size){0});
    status = plan_infer(plan, infer, err);
    if (status == BM_OK)
        *ret_plan = plan;
    else
        free(plan);
    return status;
}

// ---- In a call ----

// What becomes of the batch because of a file that cannot be decoded; OK: it loses that item.
static enum bm_result decode_broken(struct bm_call *call, const struct decode_image *config,
                                    uint64_t row, const struct bm_error *error)
{
    const struct plan *plan = call->plan;
    bool ours = error->status == BM_RESOURCE_EXHAUSTED; // not the file's fault
    if (config->broken == BROKEN_SKIP_BATCH && !ours)
        return BM_RESULT_SKIP;
    if (config->broken == BROKEN_DROP && !ours) {
        bm_call_drop(call, row);
        return BM_RESULT_OK;
    }
    uint64_t length = 0;
    const unsigned char *name =
        plan->name < 0 ? NULL : bm_batch_rows(call->in, (unsigned)plan->name, row, 1, &length);
    return bm_call_fail(call, (int64_t)row, error->status, "%.*s%s%s",
                        (int)(length < BM_NAME_MAX ? length : BM_NAME_MAX),
                        length == 0 ? "" : (const char *)name, length == 0 ? "" : ": ",
                        error->text);
}

struct file {
    const unsigned char *data;
    size_t size;
    struct bm_image_size pixels;
};

static enum bm_status file_open(const struct bm_call *call, const struct plan *plan,
                                const struct bm_image_target *target, uint64_t row,
                                struct file *ret_file, struct bm_error *err)
{
    uint64_t n;
    struct bm_image_info info;
    ret_file->data = bm_batch_rows(call->in, target->image, row, 1, &n);
    ret_file->size = (size_t)n;
    enum bm_status status = bm_image_probe(ret_file->data, ret_file->size, &plan->how, &info, err);
    if (status == BM_OK)
        ret_file->pixels = (struct bm_image_size){info.height, info.width};
    return status;
}

// ---- Alone ----

static enum bm_result target_measure(struct bm_call *call, const struct bm_image_target *target,
                                     struct bm_image_size *sizes)
{
    enum bm_result result = BM_RESULT_OK;
    for (uint64_t row = 0; row < call->count && result == BM_RESULT_OK; row++) {
        struct bm_error error;
        struct file file = {0};
        if (file_open(call, call->plan, target, row, &file, &error) != BM_OK)
            result = decode_broken(call, call->config, row, &error);
        sizes[row] = file.pixels;
    }
    if (result == BM_RESULT_OK && bm_image_alloc(call, target, sizes) != BM_OK)
        result = BM_RESULT_FAIL;
    return result;
}

static enum bm_result target_decode(struct bm_call *call, struct bm_image_scratch *scratch,
                                    const struct bm_image_target *target, uint64_t row)
{
    const struct plan *plan = call->plan;
    struct bm_error error;
    struct bm_pixels to;
    uint64_t n;
    const unsigned char *data = bm_batch_rows(call->in, target->image, row, 1, &n);
    bm_image_pixels_out(call, target, row, &to);
    const struct bm_region all = {.height = to.height, .width = to.width};
    if (to.height == 0) // is left out
        return BM_RESULT_OK;
    if (bm_image_decode(scratch, data, (size_t)n, &plan->how, &all, &to, &error) == BM_OK)
        return BM_RESULT_OK;
    memset(to.data, 0, to.height * to.stride);
    return decode_broken(call, call->config, row, &error);
}

static enum bm_result decode_run(struct bm_call *call)
{
    const struct plan *plan = call->plan;
    struct bm_image_scratch *scratch;
    enum bm_result result = BM_RESULT_OK;
    struct bm_image_size *sizes = malloc((call->count + 1) * sizeof *sizes);
    if (sizes == NULL)
        return bm_call_fail(call, -1, BM_RESOURCE_EXHAUSTED, "out of memory");
    if (bm_image_scratch_own(&scratch, call->error) != BM_OK)
        result = BM_RESULT_FAIL;
    for (unsigned i = 0; i < plan->n && result == BM_RESULT_OK; i++) {
        result = target_measure(call, &plan->targets[i], sizes);
        for (uint64_t row = 0; row < call->count && result == BM_RESULT_OK; row++)
            result = target_decode(call, scratch, &plan->targets[i], row);
    }
    free(sizes);
    return result;
}

// ---- Joined ----

static enum bm_status window_decode(struct bm_image_scratch *scratch, const struct bm_call *call,
                                    const struct file *file, const struct bm_window *window,
                                    const struct bm_pixels *to, struct bm_error *err)
{
    const struct bm_joined *joined = call->config;
    const struct plan *plan = call->plan;
    const struct bm_decode_resize how = {
        .decode = plan->how,
        .resize = {(enum bm_filter)plan->window.filter, plan->window.antialias},
        .scale_in_dct = ((const struct decode_image *)joined->configs[0])->dct_scale,
    };
    struct bm_region region = window->from;
    if (!bm_window_resizes(window)) {
        region = (struct bm_region){region.top + window->part.top, region.left + window->part.left,
                                    window->part.height, window->part.width};
        return bm_image_decode(scratch, file->data, file->size, &how.decode, &region, to, err);
    }
    if (window->part.height == window->scaled.height && window->part.width == window->scaled.width)
        return bm_image_decode_resize(scratch, file->data, file->size, &how, &region, to, err);
    return bm_image_decode_resize_part(scratch, file->data, file->size, &how, window->scaled.height,
                                       window->scaled.width, &window->part, to, err);
}

static enum bm_result joined_row(struct bm_call *call, struct bm_image_scratch *scratch,
                                 const struct bm_image_target *target, uint64_t row)
{
    const struct bm_joined *joined = call->config;
    const struct plan *plan = call->plan;
    struct bm_error error;
    struct file file;
    struct bm_window window;
    struct bm_pixels out;
    bm_image_pixels_out(call, target, row, &out);
    if (file_open(call, plan, target, row, &file, &error) != BM_OK)
        goto broken;
    call->position++; // it draws, and answers for pictures that do not fit
    if (!bm_window_choose(call, plan->kind, &plan->window, row, file.pixels, target->to_size,
                          &window))
        return BM_RESULT_FAIL;
    call->position--;
    struct bm_pixels to = bm_window_open(&plan->window, &window, &out);
    if (window_decode(scratch, call, &file, &window, &to, &error) == BM_OK)
        return BM_RESULT_OK;
broken:
    memset(out.data, 0, out.height * out.stride);
    return decode_broken(call, joined->configs[0], row, &error);
}

static enum bm_result joined_run(struct bm_call *call)
{
    const struct plan *plan = call->plan;
    struct bm_image_scratch *scratch;
    enum bm_result result = BM_RESULT_OK;
    if (bm_image_scratch_own(&scratch, call->error) != BM_OK)
        return BM_RESULT_FAIL;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        for (unsigned i = 0; i < plan->n && result == BM_RESULT_OK; i++)
            result = joined_row(call, scratch, &plan->targets[i], row);
    }
    return result;
}

static const struct bm_action_type joined_type = {
    .name = "decode_image and a part of it",
    .form = BM_PER_ITEM,
    .random = true,
    .infer = joined_infer,
    .run = joined_run,
};

static const struct bm_action_type *decode_join(const struct bm_schema *in, const void *config,
                                                const struct bm_action_type *next,
                                                const void *next_config)
{
    (void)in;
    const struct decode_image *decode = config;
    struct bm_window_config window;
    const struct bm_window_kind *kind = bm_window_of(next, next_config, &window);
    if (kind == NULL || !kind->fixed(&window) || (decode->dct_scale && !kind->resizes) ||
        !bm_names_equal(&decode->components, &window.components))
        return NULL;
    return &joined_type;
}

const struct bm_action_type bm_decode_image_action = {
    .name = "decode_image",
    .doc = "Files of pictures (JPEG or PNG, as bytes) become pixels: uint8 rows of `mode`'s "
           "channels, one row per pixel, and beside `image` an `image.size` int32 [2]: height, "
           "width. Right before resize, random_resized_crop, center_crop or pad to a size only the "
           "part that is needed is decoded, items side by side.",
    .form = BM_PER_BATCH, // for its rows' lengths
    .alone = true,
    .params = decode_params,
    .nparams = sizeof decode_params / sizeof decode_params[0],
    .config_bytes = sizeof(struct decode_image),
    .infer = decode_infer,
    .run = decode_run,
    .join = decode_join,
};
