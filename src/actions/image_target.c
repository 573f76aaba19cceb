#include "actions/image_target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actions/targets.h"
#include "base/thread.h"

// ---- While the pipeline is built ----

static enum bm_status size_name(const char *image, const char *where, char name[BM_NAME_MAX + 1],
                                struct bm_error *err)
{
    if (strlen(image) + strlen(BM_IMAGE_SIZE_SUFFIX) > BM_NAME_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a name of at most %zu bytes for pictures, got %s",
                       BM_NAME_MAX - strlen(BM_IMAGE_SIZE_SUFFIX), image);
    strcpy(name, image);
    strcat(name, BM_IMAGE_SIZE_SUFFIX);
    return BM_OK;
}

// The index of the sizes of a ragged component, or -1.
static int size_find(const struct bm_schema *schema, const struct bm_component *image)
{
    char name[BM_NAME_MAX + 1];
    if (size_name(image->name, NULL, name, NULL) != BM_OK)
        return -1;
    int index = bm_schema_find(schema, name);
    if (index < 0)
        return -1;
    const struct bm_component *size = &schema->components[index];
    bool fits = size->dtype == BM_INT32 && !size->ragged && size->ndim == 1 && size->shape[0] == 2;
    return fits ? index : -1;
}

static bool target_fits(const struct bm_schema *schema, struct bm_image_target *target)
{
    const struct bm_component *image = &schema->components[target->image];
    const uint64_t *shape = image->shape;
    if (image->dtype != BM_UINT8)
        return false;
    target->size_index = -1;
    target->channels = 1;
    if (image->ragged) {
        if (image->ndim != 2 || (shape[1] != 1 && shape[1] != 3))
            return false;
        target->channels = (unsigned)shape[1];
        target->size_index = size_find(schema, image);
        return target->size_index >= 0;
    }
    if (image->ndim != 2 && (image->ndim != 3 || (shape[2] != 1 && shape[2] != 3)))
        return false;
    if (shape[0] == 0 || shape[0] > BM_IMAGE_SIDE_MAX || shape[1] == 0 ||
        shape[1] > BM_IMAGE_SIDE_MAX)
        return false;
    if (image->ndim == 3)
        target->channels = (unsigned)shape[2];
    target->size = (struct bm_image_size){(uint32_t)shape[0], (uint32_t)shape[1]};
    return true;
}

static enum bm_status target_refuse(const struct bm_infer *infer, unsigned c, struct bm_error *err)
{
    const struct bm_component *image = &infer->in->components[c];
    char text[BM_ERROR_WHERE_MAX];
    struct bm_buffer got;
    bm_buffer_init(&got);
    bm_component_print(image, &got);
    enum bm_status status =
        bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(infer->where, "components", text),
                "expected pictures (uint8 [height, width, 1 or 3], or those of decode_image beside "
                "their " BM_IMAGE_SIZE_SUFFIX "), got %s%s",
                bm_buffer_text(&got),
                image->dtype == BM_BYTES ? ": decode_image makes pictures of files" : "");
    bm_buffer_fini(&got);
    return status;
}

enum bm_status bm_image_targets_find(const struct bm_infer *infer, const struct bm_texts *names,
                                     struct bm_image_targets **ret_targets, struct bm_error *err)
{
    struct bm_targets *found = NULL;
    enum bm_status status = bm_targets_find(infer, names, BM_WANT_ANY, &found, err);
    if (status != BM_OK)
        return status;
    struct bm_image_targets *targets =
        calloc(1, sizeof *targets + found->n * sizeof targets->targets[0]);
    if (targets == NULL) {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
        goto out;
    }
    targets->n = found->n;
    for (unsigned i = 0; i < found->n && status == BM_OK; i++) {
        targets->targets[i].image = found->components[i];
        if (!target_fits(infer->in, &targets->targets[i]))
            status = target_refuse(infer, found->components[i], err);
    }
    if (status != BM_OK)
        goto out;
    *ret_targets = targets;
    targets = NULL;
out:
    free(targets);
    free(found);
    return status;
}

enum bm_status bm_image_size_write(struct bm_infer *infer, const char *image, int *ret_index,
                                   struct bm_error *err)
{
    struct bm_component size = {.dtype = BM_INT32, .ndim = 1, .shape = {2}};
    unsigned index;
    enum bm_status status = size_name(image, infer->where, size.name, err);
    if (status == BM_OK)
        status = bm_infer_write(infer, &size, -1, &index, err);
    if (status == BM_OK)
        *ret_index = (int)index;
    return status;
}

// Whether component c holds the sizes of pictures that are of one size after the action.
static bool size_is_over(const struct bm_image_targets *targets, unsigned c)
{
    for (unsigned i = 0; i < targets->n; i++) {
        if (targets->targets[i].size_index == (int)c && targets->targets[i].to_size.height > 0)
            return true;
    }
    return false;
}

// Nothing is computed in place: regions are read while others are written.
static enum bm_status target_write(struct bm_infer *infer, struct bm_image_target *target,
                                   struct bm_error *err)
{
    struct bm_component image = infer->in->components[target->image];
    bool fixed = target->to_size.height > 0;
    image.vocabulary = NULL; // other values
    if (!fixed && !image.ragged) {
        image.shape[1] = target->channels;
        image.ndim = 2;
    } else if (fixed && image.ragged) {
        image.shape[2] = target->channels;
        image.ndim = 3;
    }
    image.ragged = !fixed;
    image.shape[0] = target->to_size.height;
    if (fixed)
        image.shape[1] = target->to_size.width;
    target->out_size = -1;
    enum bm_status status = bm_infer_write(infer, &image, -1, &target->out, err);
    if (status == BM_OK && !fixed)
        status = bm_image_size_write(infer, image.name, &target->out_size, err);
    return status;
}

enum bm_status bm_image_targets_write(struct bm_infer *infer, struct bm_image_targets *targets,
                                      struct bm_error *err)
{
    enum bm_status status = BM_OK;
    for (unsigned c = 0; c < infer->in->ncomponents && status == BM_OK; c++) {
        if (!size_is_over(targets, c))
            status = bm_infer_keep(infer, c, NULL, err);
    }
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++)
        status = target_write(infer, &targets->targets[i], err);
    return status;
}

// ---- Rows ----

static struct bm_image_size row_size(const struct bm_batch *batch, int size_index, uint64_t row)
{
    int32_t sides[2];
    memcpy(sides, batch->tensors[size_index].data + row * sizeof sides, sizeof sides);
    return (struct bm_image_size){(uint32_t)sides[0], (uint32_t)sides[1]};
}

static void pixels_set(struct bm_pixels *pixels, unsigned char *data, struct bm_image_size size,
                       unsigned channels)
{
    *pixels = (struct bm_pixels){.data = data,
                                 .stride = (size_t)size.width * channels,
                                 .height = size.height,
                                 .width = size.width,
                                 .channels = channels};
}

bool bm_image_pixels_in(struct bm_call *call, const struct bm_image_target *target, uint64_t row,
                        struct bm_pixels *ret_pixels)
{
    uint64_t n;
    unsigned char *data = bm_batch_rows(call->in, target->image, row, 1, &n);
    struct bm_image_size size = target->size;
    if (target->size_index >= 0) { // a source may have given them
        size = row_size(call->in, target->size_index, row);
        if (size.height == 0 || size.height > BM_IMAGE_SIDE_MAX || size.width == 0 ||
            size.width > BM_IMAGE_SIDE_MAX ||
            (uint64_t)size.height * size.width * target->channels != n) {
            bm_call_fail(call, (int64_t)row, BM_INVALID_ARGUMENT,
                         "expected a picture of %d x %d pixels, as %s says, got %llu pixels",
                         (int)size.height, (int)size.width,
                         call->in->schema->components[target->size_index].name,
                         (unsigned long long)(n / target->channels));
            return false;
        }
    }
    pixels_set(ret_pixels, data, size, target->channels);
    return true;
}

void bm_image_pixels_out(const struct bm_call *call, const struct bm_image_target *target,
                         uint64_t row, struct bm_pixels *ret_pixels)
{
    uint64_t n;
    unsigned char *data = bm_batch_rows(call->out, target->out, row, 1, &n);
    struct bm_image_size size =
        target->out_size < 0 ? target->to_size : row_size(call->out, target->out_size, row);
    pixels_set(ret_pixels, data, size, target->channels);
}

enum bm_status bm_image_alloc(struct bm_call *call, const struct bm_image_target *target,
                              const struct bm_image_size *sizes)
{
    struct bm_block *block = bm_block_new((call->count + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(call->error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    uint64_t *offsets = bm_block_data(block);
    unsigned char *out = call->out->tensors[target->out_size].data;
    offsets[0] = 0;
    for (uint64_t row = 0; row < call->count; row++) {
        int32_t sides[2] = {(int32_t)sizes[row].height, (int32_t)sizes[row].width};
        memcpy(out + row * sizeof sides, sides, sizeof sides);
        offsets[row + 1] = offsets[row] + (uint64_t)sizes[row].height * sizes[row].width;
    }
    enum bm_status status = bm_batch_alloc_ragged(call->out, target->out, block, call->error);
    bm_block_unref(block);
    return status;
}

// ---- Scratch memory ----

static void scratch_release(void *scratch)
{
    bm_image_scratch_free(scratch);
}

enum bm_status bm_image_scratch_own(struct bm_image_scratch **ret_scratch, struct bm_error *err)
{
    static _Thread_local struct bm_image_scratch *own;
    if (own == NULL) {
        struct bm_image_scratch *scratch;
        enum bm_status status = bm_image_scratch_new(&scratch, err);
        if (status != BM_OK)
            return status;
        if (!bm_thread_at_end(scratch_release, scratch)) {
            bm_image_scratch_free(scratch);
            return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
        }
        own = scratch;
    }
    *ret_scratch = own;
    return BM_OK;
}
