// kernels_x86.c -- inner loops with AVX2.
//
// A weight of 24 bits times a pixel of 8 is done as two products of 16 bits, since the processor
// multiplies and adds pairs of those in one go; (high << 12) + low is then the exact sum, even
// where one of the two wraps around.
#include "image/kernels_x86.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "image/colour_loops.h"

#define AVX2 __attribute__((target("avx2")))

enum { HALF = 1 << (BM_WEIGHT_BITS - 1) };

struct sums { // 8 of 32 bits
    __m256i high, low;
};

AVX2 static inline struct sums sums_start(int rounding)
{
    return (struct sums){_mm256_setzero_si256(), _mm256_set1_epi32(rounding)};
}

AVX2 static inline void sums_add(struct sums *sums, __m256i pairs, __m256i high, __m256i low)
{
    sums->high = _mm256_add_epi32(sums->high, _mm256_madd_epi16(pairs, high));
    sums->low = _mm256_add_epi32(sums->low, _mm256_madd_epi16(pairs, low));
}

AVX2 static inline __m256i sums_whole(const struct sums *sums)
{
    return _mm256_add_epi32(_mm256_slli_epi32(sums->high, BM_WEIGHT_LOW_BITS), sums->low);
}

AVX2 static inline __m256i sums_end(const struct sums *sums)
{
    return _mm256_srai_epi32(sums_whole(sums), BM_WEIGHT_BITS);
}

AVX2 static inline __m256i load_two(const unsigned char *lower, const unsigned char *upper)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)lower)),
                                   _mm_loadu_si128((const __m128i *)upper), 1);
}

AVX2 static inline int load_4(const unsigned char *from)
{
    int value;
    memcpy(&value, from, sizeof value);
    return value;
}

AVX2 static inline void store_4(unsigned char *to, int value)
{
    memcpy(to, &value, sizeof value);
}

// A register holds the pixels of two rows, one in each half.
AVX2 static void avx2_across3(const struct bm_weights *weights, const unsigned char *const *from,
                              unsigned char *const *to)
{
    // Pixels 0 and 1, then 2 and 3, as pairs of 16 bits for each channel.
    const __m256i first = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m256i second = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    const uint32_t npairs = weights->ntaps / 2;
    for (uint32_t i = 0; i < weights->noutputs; i++) {
        const int32_t *high = weights->high + (size_t)i * npairs;
        const int32_t *low = weights->low + (size_t)i * npairs;
        size_t at = (size_t)weights->starts[i] * 3;
        size_t end = at + (size_t)weights->counts[i] * 3;
        struct sums a = sums_start(HALF), b = sums_start(HALF);
        for (; at < end; at += 12, high += 2, low += 2) {
            __m256i pixels_a = load_two(from[0] + at, from[1] + at);
            __m256i pixels_b = load_two(from[2] + at, from[3] + at);
            __m256i high_0 = _mm256_set1_epi32(high[0]), low_0 = _mm256_set1_epi32(low[0]);
            __m256i high_1 = _mm256_set1_epi32(high[1]), low_1 = _mm256_set1_epi32(low[1]);
            sums_add(&a, _mm256_shuffle_epi8(pixels_a, first), high_0, low_0);
            sums_add(&b, _mm256_shuffle_epi8(pixels_b, first), high_0, low_0);
            sums_add(&a, _mm256_shuffle_epi8(pixels_a, second), high_1, low_1);
            sums_add(&b, _mm256_shuffle_epi8(pixels_b, second), high_1, low_1);
        }
        __m256i words = _mm256_packs_epi32(sums_end(&a), sums_end(&b));
        __m256i bytes = _mm256_packus_epi16(words, words);
        size_t out = (size_t)i * 3;
        store_4(to[0] + out, _mm256_extract_epi32(bytes, 0));
        store_4(to[1] + out, _mm256_extract_epi32(bytes, 4));
        store_4(to[2] + out, _mm256_extract_epi32(bytes, 1));
        store_4(to[3] + out, _mm256_extract_epi32(bytes, 5));
    }
}

// A register holds 4 pixels of each of the 4 rows; a sum of pixels 0 and 1 lies beside one of 2
// and 3.
AVX2 static void avx2_across1(const struct bm_weights *weights, const unsigned char *const *from,
                              unsigned char *const *to)
{
    const uint32_t npairs = weights->ntaps / 2;
    for (uint32_t i = 0; i < weights->noutputs; i++) {
        const int32_t *high = weights->high + (size_t)i * npairs;
        const int32_t *low = weights->low + (size_t)i * npairs;
        size_t at = weights->starts[i];
        size_t end = at + weights->counts[i];
        struct sums sums = sums_start(HALF / 2);
        for (; at < end; at += 4, high += 2, low += 2) {
            __m256i pixels =
                _mm256_cvtepu8_epi16(_mm_setr_epi32(load_4(from[0] + at), load_4(from[1] + at),
                                                    load_4(from[2] + at), load_4(from[3] + at)));
            sums_add(&sums, pixels, _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)high)),
                     _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)low)));
        }
        __m256i whole = sums_whole(&sums);
        whole = _mm256_srai_epi32(_mm256_hadd_epi32(whole, whole), BM_WEIGHT_BITS);
        __m256i words = _mm256_packs_epi32(whole, whole);
        __m256i bytes = _mm256_packus_epi16(words, words);
        to[0][i] = (unsigned char)_mm256_extract_epi8(bytes, 0);
        to[1][i] = (unsigned char)_mm256_extract_epi8(bytes, 1);
        to[2][i] = (unsigned char)_mm256_extract_epi8(bytes, 16);
        to[3][i] = (unsigned char)_mm256_extract_epi8(bytes, 17);
    }
}

// Bytes 0 to 31 of the row.
AVX2 static inline void down_32(const int32_t *high, const int32_t *low, uint32_t count,
                                const unsigned char *from, size_t stride, unsigned char *to)
{
    const __m256i zero = _mm256_setzero_si256();
    struct sums a = sums_start(HALF), b = sums_start(HALF), c = sums_start(HALF),
                d = sums_start(HALF);
    for (uint32_t tap = 0; tap < count; tap += 2, from += 2 * stride, high++, low++) {
        const unsigned char *next = tap + 1 < count ? from + stride : from; // its weight is 0
        __m256i even = _mm256_loadu_si256((const __m256i *)from);
        __m256i odd = _mm256_loadu_si256((const __m256i *)next);
        __m256i lower = _mm256_unpacklo_epi8(even, odd), upper = _mm256_unpackhi_epi8(even, odd);
        __m256i high_0 = _mm256_set1_epi32(*high), low_0 = _mm256_set1_epi32(*low);
        sums_add(&a, _mm256_unpacklo_epi8(lower, zero), high_0, low_0);
        sums_add(&b, _mm256_unpackhi_epi8(lower, zero), high_0, low_0);
        sums_add(&c, _mm256_unpacklo_epi8(upper, zero), high_0, low_0);
        sums_add(&d, _mm256_unpackhi_epi8(upper, zero), high_0, low_0);
    }
    // Packing works in each half of 16 bytes, as unpacking did, and so undoes it.
    __m256i ab = _mm256_packs_epi32(sums_end(&a), sums_end(&b));
    __m256i cd = _mm256_packs_epi32(sums_end(&c), sums_end(&d));
    _mm256_storeu_si256((__m256i *)to, _mm256_packus_epi16(ab, cd));
}

AVX2 static void avx2_down(const struct bm_weights *weights, uint32_t output,
                           const unsigned char *from, size_t stride, unsigned char *to, size_t size)
{
    if (size < 32) {
        bm_kernels_plain.down(weights, output, from, stride, to, size);
        return;
    }
    const int32_t *high = weights->high + (size_t)output * (weights->ntaps / 2);
    const int32_t *low = weights->low + (size_t)output * (weights->ntaps / 2);
    const uint32_t count = weights->counts[output];
    from += weights->starts[output] * stride;
    for (size_t at = 0; at + 32 <= size; at += 32)
        down_32(high, low, count, from + at, stride, to + at);
    down_32(high, low, count, from + size - 32, stride, to + size - 32);
}

// Which of the 16 bytes at `part` of 48 belong to `channel`, in their places among 16.
AVX2 static inline __m128i split_mask(int part, int channel)
{
    char mask[16];
    for (int i = 0; i < 16; i++) {
        int at = 3 * i + channel - 16 * part;
        mask[i] = (char)(at >= 0 && at < 16 ? at : -1);
    }
    return _mm_loadu_si128((const __m128i *)mask);
}

// Where the 16 bytes of `channel` come in the 16 bytes at `part` of 48.
AVX2 static inline __m128i merge_mask(int part, int channel)
{
    char mask[16];
    for (int i = 0; i < 16; i++) {
        int at = 16 * part + i;
        mask[i] = (char)(at % 3 == channel ? at / 3 : -1);
    }
    return _mm_loadu_si128((const __m128i *)mask);
}

AVX2 static void avx2_split3(const unsigned char *from, unsigned char *to, size_t plane_bytes,
                             size_t npixels)
{
    const size_t whole = npixels / 16 * 16;
    for (int channel = 0; channel < 3; channel++) {
        const __m128i mask_0 = split_mask(0, channel), mask_1 = split_mask(1, channel),
                      mask_2 = split_mask(2, channel);
        const __m128i *at = (const __m128i *)from;
        unsigned char *plane = to + (size_t)channel * plane_bytes;
        for (size_t i = 0; i < whole; i += 16, at += 3) {
            __m128i bytes = _mm_shuffle_epi8(_mm_loadu_si128(at), mask_0);
            bytes = _mm_or_si128(bytes, _mm_shuffle_epi8(_mm_loadu_si128(at + 1), mask_1));
            bytes = _mm_or_si128(bytes, _mm_shuffle_epi8(_mm_loadu_si128(at + 2), mask_2));
            _mm_storeu_si128((__m128i *)(plane + i), bytes);
        }
    }
    bm_kernels_plain.split3(from + whole * 3, to + whole, plane_bytes, npixels - whole);
}

AVX2 static void avx2_merge3(const unsigned char *from, size_t plane_bytes, unsigned char *to,
                             size_t npixels)
{
    const size_t whole = npixels / 16 * 16;
    for (int part = 0; part < 3; part++) {
        const __m128i mask_0 = merge_mask(part, 0), mask_1 = merge_mask(part, 1),
                      mask_2 = merge_mask(part, 2);
        __m128i *at = (__m128i *)to + part;
        for (size_t i = 0; i < whole; i += 16, at += 3) {
            const __m128i *plane = (const __m128i *)(from + i);
            const __m128i *next = (const __m128i *)(from + plane_bytes + i);
            const __m128i *last = (const __m128i *)(from + 2 * plane_bytes + i);
            __m128i bytes = _mm_shuffle_epi8(_mm_loadu_si128(plane), mask_0);
            bytes = _mm_or_si128(bytes, _mm_shuffle_epi8(_mm_loadu_si128(next), mask_1));
            bytes = _mm_or_si128(bytes, _mm_shuffle_epi8(_mm_loadu_si128(last), mask_2));
            _mm_storeu_si128(at, bytes);
        }
    }
    bm_kernels_plain.merge3(from + whole, plane_bytes, to + whole * 3, npixels - whole);
}

AVX2 static void avx2_reverse3(const unsigned char *from, unsigned char *to, size_t npixels)
{
    // 5 pixels at a time; the byte before them is written over by the next 5, or by the rest.
    const __m128i mask = _mm_setr_epi8(-1, 12, 13, 14, 9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2);
    unsigned char *end = to + npixels * 3;
    size_t left = npixels;
    for (; left >= 6; left -= 5, from += 15, end -= 15)
        _mm_storeu_si128((__m128i *)(end - 16),
                         _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)from), mask));
    bm_kernels_plain.reverse3(from, to, left);
}

AVX2 static void avx2_blend(unsigned char *values, size_t nvalues, float factor, float rest)
{
    loop_blend(values, nvalues, factor, rest);
}

AVX2 static uint32_t avx2_sum_grey(const struct bm_block *block)
{
    return loop_sum_grey(block);
}

AVX2 static void avx2_saturate(struct bm_block *block, double by)
{
    loop_saturate(block, by);
}

AVX2 static void avx2_turn(struct bm_block *block, double by)
{
    loop_turn(block, by);
}

const struct bm_kernels bm_kernels_avx2 = {
    .across1 = avx2_across1,
    .across3 = avx2_across3,
    .down = avx2_down,
    .split3 = avx2_split3,
    .merge3 = avx2_merge3,
    .reverse3 = avx2_reverse3,
    .blend = avx2_blend,
    .sum_grey = avx2_sum_grey,
    .saturate = avx2_saturate,
    .turn = avx2_turn,
};
#endif
