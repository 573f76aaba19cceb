// image_layout.c -- layout, alone and joined with normalize: then every pixel of uint8 is looked up
// on its way to its plane.
#include <stdlib.h>
#include <string.h>

#include "actions/image_layout.h"
#include "actions/targets.h"
#include "actions/types.h"
#include "image/image.h"

enum { LAYOUT_CHW, LAYOUT_HWC };

static const struct bm_param layout_params[] = {
    BM_PARAM_COMPONENTS(struct bm_layout, "numbers of three axes: one name or a list"),
    BM_PARAM(struct bm_layout, to, BM_PARAM_CHOICE, .required = true,
             .choices = {[LAYOUT_CHW] = "chw", [LAYOUT_HWC] = "hwc"},
             .doc = "chw: channels first, as PyTorch has them; hwc: channels last again"),
};

static enum bm_status layout_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct bm_layout *layout = config;
    struct bm_targets *targets = NULL;
    char text[BM_ERROR_WHERE_MAX];
    enum bm_status status =
        bm_targets_find(infer, &layout->components, BM_WANT_NUMBER, &targets, err);
    if (status != BM_OK)
        return status;
    status = bm_infer_keep_all(infer, err);
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++) {
        const struct bm_component *before = &infer->in->components[targets->components[i]];
        struct bm_component after = *before;
        unsigned index;
        if (before->ragged || before->ndim != 3) {
            struct bm_buffer got;
            bm_buffer_init(&got);
            bm_component_print(before, &got);
            status =
                bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "components", text),
                        "expected pictures of one size, %s, got %s%s",
                        layout->to == LAYOUT_CHW ? "[height, width, channels]"
                                                 : "[channels, height, width]",
                        bm_buffer_text(&got), before->ragged ? ": resize or crop them first" : "");
            bm_buffer_fini(&got);
            break;
        }
        unsigned shift = layout->to == LAYOUT_CHW ? 2 : 1; // the axis that becomes the first
        for (unsigned axis = 0; axis < 3; axis++)
            after.shape[axis] = before->shape[(axis + shift) % 3];
        status = bm_infer_write(infer, &after, -1, &index, err); // not where it is read from
    }
    if (status == BM_OK)
        *ret_plan = targets;
    else
        free(targets);
    return status;
}

static enum bm_result layout_run(struct bm_call *call)
{
    const struct bm_layout *layout = call->config;
    const struct bm_targets *targets = call->plan;
    for (unsigned i = 0; i < targets->n; i++) {
        unsigned c = targets->components[i];
        const struct bm_component *before = &call->in->schema->components[c];
        size_t size = bm_dtype_size(before->dtype);
        for (uint64_t row = call->first; row < call->first + call->count; row++) {
            uint64_t n;
            const unsigned char *from = bm_batch_rows(call->in, c, row, 1, &n);
            unsigned char *to = bm_batch_rows(call->out, c, row, 1, &n);
            if (n == 0)
                continue;
            if (layout->to == LAYOUT_CHW)
                bm_image_to_planes(from, to, n / before->shape[2], (unsigned)before->shape[2],
                                   size);
            else
                bm_image_from_planes(from, to, n / before->shape[0], (unsigned)before->shape[0],
                                     size);
        }
    }
    return BM_RESULT_OK;
}

// ---- Joined with normalize ----

struct joined_plan {
    uint64_t ntables; // 1, or one for each channel
    enum bm_dtype dtype;
    const struct bm_targets *targets; // behind it in the same memory, as are
    void *tables;                     // [ntables][BM_NORMALIZE_TABLE]
};

static enum bm_status joined_plan_new(const struct bm_normalize *normalize,
                                      const struct bm_infer *infer, struct joined_plan **ret_plan,
                                      struct bm_error *err)
{
    struct bm_targets *targets = NULL;
    enum bm_status status =
        bm_targets_find(infer, &normalize->components, BM_WANT_NUMBER, &targets, err);
    if (status != BM_OK)
        return status;
    uint64_t ntables = bm_normalize_nchannels(normalize);
    enum bm_dtype dtype = bm_normalize_dtype(normalize);
    size_t targets_bytes = sizeof *targets + targets->n * sizeof targets->components[0];
    size_t tables_bytes = ntables * BM_NORMALIZE_TABLE * bm_dtype_size(dtype);
    struct joined_plan *plan = malloc(sizeof *plan + tables_bytes + targets_bytes);
    if (plan == NULL) {
        bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
        status = BM_RESOURCE_EXHAUSTED;
        goto out;
    }
    *plan = (struct joined_plan){.ntables = ntables, .dtype = dtype, .tables = plan + 1};
    plan->targets = memcpy((char *)plan->tables + tables_bytes, targets, targets_bytes);
    bm_normalize_tables(normalize, plan->tables);
    *ret_plan = plan;
out:
    free(targets);
    return status;
}

static enum bm_status joined_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct bm_joined *joined = config;
    struct joined_plan *plan = NULL;
    enum bm_status status =
        joined_plan_new(joined->configs[joined->types[0] == &bm_layout_action], infer, &plan, err);
    if (status == BM_OK)
        status = bm_infer_keep_all(infer, err);
    for (unsigned i = 0; status == BM_OK && i < plan->targets->n; i++) {
        const struct bm_component *before = &infer->in->components[plan->targets->components[i]];
        struct bm_component after = *before;
        unsigned index;
        after.vocabulary = NULL; // other values
        after.dtype = plan->dtype;
        after.shape[0] = before->shape[2];
        after.shape[1] = before->shape[0];
        after.shape[2] = before->shape[1];
        status = bm_infer_write(infer, &after, -1, &index, err);
    }
    if (status == BM_OK)
        *ret_plan = plan;
    else
        free(plan);
    return status;
}

// Three channels, as colours have, in one pass; others one after the other.
#define DEFINE_SPLIT(type)                                                                         \
    static void split_##type(const struct joined_plan *plan, const uint8_t *from, type *to,        \
                             uint64_t npixels, uint64_t nchannels)                                 \
    {                                                                                              \
        const type *first = plan->tables;                                                          \
        if (nchannels == 3) {                                                                      \
            const uint64_t stride = plan->ntables == 1 ? 0 : BM_NORMALIZE_TABLE;                   \
            const type *second = first + stride, *third = second + stride;                         \
            for (uint64_t i = 0; i < npixels; i++) {                                               \
                to[i] = first[from[3 * i]];                                                        \
                to[npixels + i] = second[from[3 * i + 1]];                                         \
                to[2 * npixels + i] = third[from[3 * i + 2]];                                      \
            }                                                                                      \
            return;                                                                                \
        }                                                                                          \
        for (uint64_t c = 0; c < nchannels; c++) {                                                 \
            const type *table = first + c % plan->ntables * BM_NORMALIZE_TABLE;                    \
            for (uint64_t i = 0; i < npixels; i++)                                                 \
                to[c * npixels + i] = table[from[nchannels * i + c]];                              \
        }                                                                                          \
    }
DEFINE_SPLIT(uint16_t)
DEFINE_SPLIT(uint32_t)

static enum bm_result joined_run(struct bm_call *call)
{
    const struct joined_plan *plan = call->plan;
    for (unsigned i = 0; i < plan->targets->n; i++) {
        unsigned c = plan->targets->components[i];
        uint64_t nchannels = call->in->schema->components[c].shape[2];
        for (uint64_t row = call->first; row < call->first + call->count; row++) {
            uint64_t n;
            const uint8_t *from = bm_batch_rows(call->in, c, row, 1, &n);
            void *to = bm_batch_rows(call->out, c, row, 1, &n);
            if (n > 0 && bm_dtype_size(plan->dtype) == sizeof(uint16_t))
                split_uint16_t(plan, from, to, n / nchannels, nchannels);
            else if (n > 0)
                split_uint32_t(plan, from, to, n / nchannels, nchannels);
        }
    }
    return BM_RESULT_OK;
}

static const struct bm_action_type joined_type = {
    .name = "layout and normalize",
    .form = BM_PER_ITEM,
    .infer = joined_infer,
    .run = joined_run,
};

const struct bm_action_type *bm_layout_with_normalize(const struct bm_schema *in,
                                                      const struct bm_layout *layout,
                                                      const struct bm_normalize *normalize,
                                                      int64_t axis)
{
    bool along = normalize->axis == axis || normalize->axis == axis - 3;
    if (layout->to != LAYOUT_CHW || (bm_normalize_nchannels(normalize) > 1 && !along) ||
        !bm_names_equal(&layout->components, &normalize->components))
        return NULL;
    for (unsigned i = 0; i < layout->components.n; i++) {
        int c = bm_schema_find(in, layout->components.values[i]);
        const struct bm_component *image = c < 0 ? NULL : &in->components[c];
        if (image == NULL || image->dtype != BM_UINT8 || image->ragged || image->ndim != 3)
            return NULL;
    }
    return &joined_type;
}

static const struct bm_action_type *layout_join(const struct bm_schema *in, const void *config,
                                                const struct bm_action_type *next,
                                                const void *next_config)
{
    enum { CHANNELS_FIRST = 0 };
    return next == &bm_normalize_action
               ? bm_layout_with_normalize(in, config, next_config, CHANNELS_FIRST)
               : NULL;
}

const struct bm_action_type bm_layout_action = {
    .name = "layout",
    .doc = "Moves the channels of pictures, or of any numbers of three axes: [height, width, "
           "channels] becomes [channels, height, width], or the other way round.",
    .form = BM_PER_ITEM,
    .params = layout_params,
    .nparams = sizeof layout_params / sizeof layout_params[0],
    .config_bytes = sizeof(struct bm_layout),
    .infer = layout_infer,
    .run = layout_run,
    .join = layout_join,
};
