// resize.c -- resizing in two passes, first across, then down, each rounding to 8 bits.
//
// Weights, their order of rounding and their 22 bits of fraction are those of Pillow's Resample.c,
// so that the pixels are, too: https://github.com/python-pillow/Pillow/blob/main/src/libImaging
#include "image/resize.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "image/kernels.h"
#include "image/scratch.h"

// ---- Filters ----

static double filter_bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

// Keys' cubic with a = -0.5.
static double filter_bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

struct filter {
    double (*value)(double);
    double support; // it is 0 from here on
};

static struct filter filter_of(enum bm_filter filter)
{
    if (filter == BM_FILTER_BICUBIC)
        return (struct filter){filter_bicubic, 2.0};
    return (struct filter){filter_bilinear, 1.0};
}

// ---- Weights ----

// The taps of all outputs, [noutputs, ntaps].
static enum bm_status weights_new(struct bm_image_scratch *scratch, enum bm_scratch_use use,
                                  uint32_t noutputs, uint64_t ntaps, struct bm_weights *ret_weights,
                                  struct bm_error *err)
{
    // Sides are below 2^16, so the products are far from overflowing.
    void *memory = NULL;
    uint64_t words = (uint64_t)noutputs * (2 + ntaps + ntaps / 2 * 2);
    enum bm_status status = bm_scratch_get(scratch, use, words * sizeof(int32_t), &memory, err);
    if (status != BM_OK)
        return status;
    int32_t *taps = memory;
    int32_t *high = taps + noutputs * ntaps;
    int32_t *low = high + noutputs * (ntaps / 2);
    uint32_t *starts = (uint32_t *)(low + noutputs * (ntaps / 2));
    *ret_weights = (struct bm_weights){
        .noutputs = noutputs,
        .ntaps = (uint32_t)ntaps,
        .starts = starts,
        .counts = starts + noutputs,
        .taps = taps,
        .high = high,
        .low = low,
    };
    return BM_OK;
}

// Two parts of 16 bits of two weights, as struct bm_weights has them.
static int32_t pair(uint32_t even, uint32_t odd)
{
    return (int32_t)((even & 0xffff) | odd << 16);
}

static void weights_set(const struct bm_weights *weights, uint32_t output, uint32_t start,
                        const double *values, uint32_t count)
{
    int32_t *taps = weights->taps + (size_t)output * weights->ntaps;
    double total = 0.0;
    for (uint32_t i = 0; i < count; i++)
        total += values[i];
    uint32_t nzeros = 0; // taps in front that have no weight
    uint32_t end = 0;    // behind the last one that has
    for (uint32_t i = 0; i < count; i++) {
        double value = total != 0.0 ? values[i] / total : values[i];
        value = value * (1 << BM_WEIGHT_BITS) + (value < 0 ? -0.5 : 0.5);
        int32_t tap = (int32_t)value;
        if (tap == 0 && end == 0)
            nzeros++;
        else
            taps[i - nzeros] = tap;
        if (tap != 0)
            end = i + 1;
    }
    uint32_t used = end > nzeros ? end - nzeros : 0;
    memset(taps + used, 0, (weights->ntaps - used) * sizeof taps[0]);
    weights->starts[output] = used > 0 ? start + nzeros : start;
    weights->counts[output] = used > 0 ? used : 1;
    size_t first = (size_t)output * (weights->ntaps / 2);
    for (uint32_t i = 0; i < weights->ntaps; i += 2) {
        const uint32_t low = (1u << BM_WEIGHT_LOW_BITS) - 1;
        weights->high[first + i / 2] = pair((uint32_t)(taps[i] >> BM_WEIGHT_LOW_BITS),
                                            (uint32_t)(taps[i + 1] >> BM_WEIGHT_LOW_BITS));
        weights->low[first + i / 2] = pair((uint32_t)taps[i] & low, (uint32_t)taps[i + 1] & low);
    }
}

struct sampling { // along an axis
    struct filter filter;
    double scale, widen, support;
};

static struct sampling sampling_of(const struct bm_resize *resize, const struct bm_axis *axis)
{
    struct sampling sampling = {.filter = filter_of(resize->filter),
                                .scale = axis->length / axis->noutputs};
    sampling.widen = resize->antialias && sampling.scale > 1.0 ? sampling.scale : 1.0;
    sampling.support = sampling.filter.support * sampling.widen;
    return sampling;
}

struct span { // of pixels of the picture
    uint32_t start, end;
};

static struct span sampling_span(const struct sampling *sampling, const struct bm_axis *axis,
                                 double centre)
{
    double first = centre - sampling->support + 0.5, last = centre + sampling->support + 0.5;
    return (struct span){first > 0.0 ? (uint32_t)first : 0,
                         last < axis->size ? (uint32_t)last : axis->size};
}

static double sampling_centre(const struct sampling *sampling, const struct bm_axis *axis,
                              uint32_t output)
{
    return axis->start + (output + 0.5) * sampling->scale;
}

static enum bm_status weights_make(struct bm_image_scratch *scratch, enum bm_scratch_use use,
                                   const struct bm_resize *resize, const struct bm_axis *axis,
                                   struct bm_weights *ret_weights, struct bm_error *err)
{
    const struct sampling sampling = sampling_of(resize, axis);
    const uint64_t ntaps = bm_size_align((uint64_t)ceil(sampling.support) * 2 + 1, BM_TAPS_AT_ONCE);
    void *memory = NULL;
    enum bm_status status =
        bm_scratch_get(scratch, BM_SCRATCH_VALUES, ntaps * sizeof(double), &memory, err);
    if (status != BM_OK)
        return status;
    double *values = memory;
    struct bm_weights weights;
    status = weights_new(scratch, use, axis->count, ntaps, &weights, err);
    if (status != BM_OK)
        return status;
    const double shrink = 1.0 / sampling.widen;
    for (uint32_t output = 0; output < axis->count; output++) {
        double centre = sampling_centre(&sampling, axis, axis->first + output);
        struct span span = sampling_span(&sampling, axis, centre);
        for (uint32_t i = span.start; i < span.end; i++)
            values[i - span.start] = sampling.filter.value((i - centre + 0.5) * shrink);
        weights_set(&weights, output, span.start - axis->origin, values, span.end - span.start);
    }
    *ret_weights = weights;
    return BM_OK;
}

// Counts the inputs from the first one that is used, and returns that one.
static uint32_t weights_skip(const struct bm_weights *weights)
{
    uint32_t first = weights->starts[0];
    for (uint32_t i = 1; i < weights->noutputs; i++)
        first = weights->starts[i] < first ? weights->starts[i] : first;
    for (uint32_t i = 0; i < weights->noutputs; i++)
        weights->starts[i] -= first;
    return first;
}

static uint32_t weights_ninputs(const struct bm_weights *weights)
{
    uint32_t end = 0;
    for (uint32_t i = 0; i < weights->noutputs; i++) {
        uint32_t own_end = weights->starts[i] + weights->counts[i];
        end = own_end > end ? own_end : end;
    }
    return end;
}

// ---- Passes ----

// From the pixels of `from` to those of `to`, which has as many rows, row by row.
static enum bm_status pass_across(struct bm_image_scratch *scratch,
                                  const struct bm_weights *weights, const struct bm_pixels *from,
                                  const struct bm_pixels *to, struct bm_error *err)
{
    const struct bm_kernels *kernels = bm_kernels();
    const size_t row_size = (size_t)from->width * from->channels;
    const unsigned char *end = from->data + (from->height - 1) * from->stride + row_size;
    void *border = NULL;
    enum bm_status status = bm_scratch_get(scratch, BM_SCRATCH_BORDER,
                                           BM_ROWS_AT_ONCE * row_size + BM_OVERREAD, &border, err);
    if (status != BM_OK)
        return status;
    for (uint32_t y = 0; y < from->height; y += BM_ROWS_AT_ONCE) {
        const unsigned char *rows[BM_ROWS_AT_ONCE];
        unsigned char *outs[BM_ROWS_AT_ONCE];
        for (uint32_t i = 0; i < BM_ROWS_AT_ONCE; i++) {
            uint32_t row = y + i < from->height ? y + i : from->height - 1;
            rows[i] = from->data + row * from->stride;
            outs[i] = to->data + row * to->stride;
            if ((size_t)(end - rows[i]) < row_size + BM_OVERREAD)
                rows[i] = memcpy((unsigned char *)border + i * row_size, rows[i], row_size);
        }
        if (from->channels == 1)
            kernels->across1(weights, rows, outs);
        else
            kernels->across3(weights, rows, outs);
    }
    return BM_OK;
}

static void pass_down(const struct bm_weights *weights, const struct bm_pixels *from,
                      const struct bm_pixels *to)
{
    const struct bm_kernels *kernels = bm_kernels();
    for (uint32_t y = 0; y < to->height; y++)
        kernels->down(weights, y, from->data, from->stride, to->data + y * to->stride,
                      (size_t)to->width * to->channels);
}

static bool axis_unchanged(const struct bm_axis *axis)
{
    return axis->start == 0.0 && axis->length == axis->size && axis->noutputs == axis->size &&
           axis->count == axis->size && axis->origin == 0;
}

static enum bm_status resize_smoothly(struct bm_image_scratch *scratch,
                                      const struct bm_resize *resize, const struct bm_pixels *from,
                                      const struct bm_axis *down, const struct bm_axis *across,
                                      const struct bm_pixels *to, struct bm_error *err)
{
    struct bm_weights weights, weights_down;
    enum bm_status status =
        weights_make(scratch, BM_SCRATCH_DOWN, resize, down, &weights_down, err);
    if (status != BM_OK || axis_unchanged(across)) {
        if (status == BM_OK)
            pass_down(&weights_down, from, to);
        return status;
    }
    status = weights_make(scratch, BM_SCRATCH_ACROSS, resize, across, &weights, err);
    if (status != BM_OK)
        return status;
    // Only the rows that the second pass reads go through the first.
    const uint32_t first = weights_skip(&weights_down);
    struct bm_pixels used = *from;
    used.data += first * from->stride;
    used.height = weights_ninputs(&weights_down);
    struct bm_pixels narrow;
    // One column more than used: bm_kernels.across writes a byte behind each row.
    status = bm_scratch_pixels(scratch, BM_SCRATCH_NARROW, used.height, to->width + 1, to->channels,
                               &narrow, err);
    if (status == BM_OK)
        status = pass_across(scratch, &weights, &used, &narrow, err);
    if (status == BM_OK)
        pass_down(&weights_down, &narrow, to);
    return status;
}

// ---- Nearest ----

// The pixel of every wanted output. Pillow adds step to step, so that ties fall as they do there.
static void nearest_find(const struct bm_axis *axis, uint32_t *ret_pixels)
{
    const double step = axis->length / axis->noutputs;
    double at = axis->start + step * 0.5;
    for (uint32_t i = 0; i < axis->first + axis->count; i++, at += step) {
        if (i >= axis->first)
            ret_pixels[i - axis->first] =
                (at < axis->size ? (uint32_t)at : axis->size - 1) - axis->origin;
    }
}

static enum bm_status resize_nearest(struct bm_image_scratch *scratch, const struct bm_pixels *from,
                                     const struct bm_axis *down, const struct bm_axis *across,
                                     const struct bm_pixels *to, struct bm_error *err)
{
    void *memory = NULL;
    enum bm_status status =
        bm_scratch_get(scratch, BM_SCRATCH_ACROSS,
                       ((size_t)to->height + to->width) * sizeof(uint32_t), &memory, err);
    if (status != BM_OK)
        return status;
    uint32_t *rows = memory, *columns = rows + to->height;
    nearest_find(down, rows);
    nearest_find(across, columns);
    for (uint32_t y = 0; y < to->height; y++) {
        const unsigned char *row = from->data + rows[y] * from->stride;
        unsigned char *out = to->data + y * to->stride;
        for (uint32_t x = 0; x < to->width; x++)
            for (unsigned c = 0; c < from->channels; c++)
                *out++ = row[(size_t)columns[x] * from->channels + c];
    }
    return BM_OK;
}

// ---- Parts ----

void bm_axis_reach(const struct bm_resize *resize, const struct bm_axis *axis, uint32_t *ret_start,
                   uint32_t *ret_length)
{
    struct sampling sampling = sampling_of(resize, axis);
    if (resize->filter == BM_FILTER_NEAREST)
        sampling.support = 2; // more than its sums can be off
    uint32_t last = axis->first + axis->count - 1;
    *ret_start =
        sampling_span(&sampling, axis, sampling_centre(&sampling, axis, axis->first)).start;
    *ret_length =
        sampling_span(&sampling, axis, sampling_centre(&sampling, axis, last)).end - *ret_start;
}

enum bm_status bm_resize_axes(struct bm_image_scratch *scratch, const struct bm_resize *resize,
                              const struct bm_pixels *from, const struct bm_axis *down,
                              const struct bm_axis *across, const struct bm_pixels *to,
                              struct bm_error *err)
{
    BM_ASSERT(from->channels == to->channels && (to->channels == 1 || to->channels == 3));
    BM_ASSERT(from->height > 0 && from->width > 0 && to->height > 0 && to->width > 0);
    BM_ASSERT(down->count == to->height && across->count == to->width);
    return resize->filter == BM_FILTER_NEAREST
               ? resize_nearest(scratch, from, down, across, to, err)
               : resize_smoothly(scratch, resize, from, down, across, to, err);
}

enum bm_status bm_image_resize(struct bm_image_scratch *scratch, const struct bm_resize *resize,
                               const struct bm_pixels *from, const struct bm_pixels *to,
                               struct bm_error *err)
{
    const struct bm_region all = {.height = to->height, .width = to->width};
    return bm_image_resize_part(scratch, resize, from, to->height, to->width, &all, to, err);
}

enum bm_status bm_image_resize_part(struct bm_image_scratch *scratch,
                                    const struct bm_resize *resize, const struct bm_pixels *from,
                                    uint32_t height, uint32_t width, const struct bm_region *part,
                                    const struct bm_pixels *to, struct bm_error *err)
{
    const struct bm_axis down = {.size = from->height,
                                 .length = from->height,
                                 .noutputs = height,
                                 .first = part->top,
                                 .count = part->height};
    const struct bm_axis across = {.size = from->width,
                                   .length = from->width,
                                   .noutputs = width,
                                   .first = part->left,
                                   .count = part->width};
    return bm_resize_axes(scratch, resize, from, &down, &across, to, err);
}
