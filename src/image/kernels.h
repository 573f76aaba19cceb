// kernels.h -- the inner loops over pixels, in plain C and for the processor at hand. Layer: image
// (may include base).
//
// Whichever runs, the bytes are the same.
// Threads: any thread.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BM_WEIGHT_BITS = 22,     // of fraction, as in Pillow: 8 bits of pixel and 2 of headroom remain
    BM_WEIGHT_LOW_BITS = 12, // a weight in two parts of 16 bits: high << 12 | low
    BM_TAPS_AT_ONCE = 4,     // the taps of each output are padded to these, with weight 0
    BM_ROWS_AT_ONCE = 4,
    BM_OVERREAD = 16, // bytes behind a row that bm_kernels.across may read
};

// How the pixels of one axis are made: output i is the sum of inputs starts[i] + t, t < counts[i],
// times weight t. [noutputs, ntaps], and [noutputs, ntaps / 2] of pairs of 16 bits, the even tap
// in the lower half.
struct bm_weights {
    uint32_t noutputs, ntaps;
    uint32_t *starts, *counts; // a count is at least 1
    int32_t *taps;
    int32_t *high, *low;
};

// Some pixels, channels apart.
enum { BM_BLOCK = 256 };
struct bm_block {
    size_t npixels;
    unsigned char red[BM_BLOCK], green[BM_BLOCK], blue[BM_BLOCK];
};

struct bm_kernels {
    // One output pixel after the other, of 4 rows at once. Each row of `to` has room for one more
    // byte than it holds. `from` and `to` may name the same row several times.
    void (*across1)(const struct bm_weights *weights, const unsigned char *const *from,
                    unsigned char *const *to);
    void (*across3)(const struct bm_weights *weights, const unsigned char *const *from,
                    unsigned char *const *to);
    // Row `output` of the result, `size` bytes, from rows that lie `stride` bytes apart.
    void (*down)(const struct bm_weights *weights, uint32_t output, const unsigned char *from,
                 size_t stride, unsigned char *to, size_t size);
    // npixels of 3 bytes to 3 planes that begin `plane_bytes` apart, and back.
    void (*split3)(const unsigned char *from, unsigned char *to, size_t plane_bytes,
                   size_t npixels);
    void (*merge3)(const unsigned char *from, size_t plane_bytes, unsigned char *to,
                   size_t npixels);
    // The pixels of a row, 3 bytes each, in reverse; never in place.
    void (*reverse3)(const unsigned char *from, unsigned char *to, size_t npixels);
    // What torchvision does to uint8: value * factor + rest, cut off; the same with the grey of the
    // pixel, cut off, as what is mixed in; and the hue turned by -0.5 to 0.5.
    void (*blend)(unsigned char *values, size_t nvalues, float factor, float rest);
    uint32_t (*sum_grey)(const struct bm_block *block);
    void (*saturate)(struct bm_block *block, double by);
    void (*turn)(struct bm_block *block, double by);
};

extern const struct bm_kernels bm_kernels_plain;
// What the processor at hand runs fastest.
const struct bm_kernels *bm_kernels(void);
