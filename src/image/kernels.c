#include "image/kernels.h"

#include <string.h>

#include "image/colour_loops.h"
#include "image/kernels_x86.h"

static unsigned char clip_sum(int32_t sum)
{
    int32_t value = sum >> BM_WEIGHT_BITS;
    return (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static inline void plain_across(const struct bm_weights *weights, const unsigned char *from,
                                unsigned char *to, unsigned channels)
{
    for (uint32_t i = 0; i < weights->noutputs; i++, to += channels) {
        const int32_t *taps = weights->taps + (size_t)i * weights->ntaps;
        const unsigned char *pixel = from + (size_t)weights->starts[i] * channels;
        int32_t sums[3] = {1 << (BM_WEIGHT_BITS - 1), 1 << (BM_WEIGHT_BITS - 1),
                           1 << (BM_WEIGHT_BITS - 1)};
        for (uint32_t tap = 0; tap < weights->counts[i]; tap++, pixel += channels)
            for (unsigned c = 0; c < channels; c++)
                sums[c] += pixel[c] * taps[tap];
        for (unsigned c = 0; c < channels; c++)
            to[c] = clip_sum(sums[c]);
    }
}

static void plain_across1(const struct bm_weights *weights, const unsigned char *const *from,
                          unsigned char *const *to)
{
    for (unsigned row = 0; row < BM_ROWS_AT_ONCE; row++)
        plain_across(weights, from[row], to[row], 1);
}

static void plain_across3(const struct bm_weights *weights, const unsigned char *const *from,
                          unsigned char *const *to)
{
    for (unsigned row = 0; row < BM_ROWS_AT_ONCE; row++)
        plain_across(weights, from[row], to[row], 3);
}

static void plain_down(const struct bm_weights *weights, uint32_t output, const unsigned char *from,
                       size_t stride, unsigned char *to, size_t size)
{
    enum { BLOCK = 64 }; // sums that stay near while the rows go by
    const int32_t *taps = weights->taps + (size_t)output * weights->ntaps;
    const unsigned char *first = from + weights->starts[output] * stride;
    for (size_t at = 0; at < size; at += BLOCK) {
        int32_t sums[BLOCK];
        size_t nsums = size - at < BLOCK ? size - at : BLOCK;
        for (size_t i = 0; i < nsums; i++)
            sums[i] = 1 << (BM_WEIGHT_BITS - 1);
        for (uint32_t tap = 0; tap < weights->counts[output]; tap++) {
            const unsigned char *row = first + tap * stride + at;
            for (size_t i = 0; i < nsums; i++)
                sums[i] += row[i] * taps[tap];
        }
        for (size_t i = 0; i < nsums; i++)
            to[at + i] = clip_sum(sums[i]);
    }
}

static void plain_split3(const unsigned char *from, unsigned char *to, size_t plane_bytes,
                         size_t npixels)
{
    for (size_t i = 0; i < npixels; i++, from += 3) {
        to[i] = from[0];
        to[i + plane_bytes] = from[1];
        to[i + 2 * plane_bytes] = from[2];
    }
}

static void plain_merge3(const unsigned char *from, size_t plane_bytes, unsigned char *to,
                         size_t npixels)
{
    for (size_t i = 0; i < npixels; i++, to += 3) {
        to[0] = from[i];
        to[1] = from[i + plane_bytes];
        to[2] = from[i + 2 * plane_bytes];
    }
}

static void plain_reverse3(const unsigned char *from, unsigned char *to, size_t npixels)
{
    for (to += npixels * 3; npixels > 0; npixels--, from += 3)
        memcpy(to -= 3, from, 3);
}

static void plain_blend(unsigned char *values, size_t nvalues, float factor, float rest)
{
    loop_blend(values, nvalues, factor, rest);
}

static uint32_t plain_sum_grey(const struct bm_block *block)
{
    return loop_sum_grey(block);
}

static void plain_saturate(struct bm_block *block, double by)
{
    loop_saturate(block, by);
}

static void plain_turn(struct bm_block *block, double by)
{
    loop_turn(block, by);
}

const struct bm_kernels bm_kernels_plain = {
    .across1 = plain_across1,
    .across3 = plain_across3,
    .down = plain_down,
    .split3 = plain_split3,
    .merge3 = plain_merge3,
    .reverse3 = plain_reverse3,
    .blend = plain_blend,
    .sum_grey = plain_sum_grey,
    .saturate = plain_saturate,
    .turn = plain_turn,
};

const struct bm_kernels *bm_kernels(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return &bm_kernels_avx2;
#endif
    return &bm_kernels_plain;
}
