// layout.c -- where pixels lie: mirrored, and channels first.
#include <string.h>

#include "image/image.h"
#include "image/kernels.h"

// ---- Flips ----

enum { FLIP_BLOCK = 512, FLIP_SIZE = FLIP_BLOCK * 3 }; // pixels, bytes

static void row_reverse1(unsigned char *row, size_t npixels)
{
    for (size_t left = 0, right = npixels; left + 1 < right; left++) {
        unsigned char pixel = row[left];
        row[left] = row[--right];
        row[right] = pixel;
    }
}

static void row_reverse3(unsigned char *row, size_t npixels)
{
    const struct bm_kernels *kernels = bm_kernels();
    unsigned char left[FLIP_SIZE], right[2 * FLIP_SIZE];
    // A block at either end changes places with the other, until what remains fits into one go.
    for (; npixels > FLIP_BLOCK + FLIP_BLOCK;
         npixels -= FLIP_BLOCK + FLIP_BLOCK, row += FLIP_SIZE) {
        unsigned char *last = row + npixels * 3 - FLIP_SIZE;
        kernels->reverse3(row, left, FLIP_BLOCK);
        kernels->reverse3(last, right, FLIP_BLOCK);
        memcpy(last, left, sizeof left);
        memcpy(row, right, sizeof left);
    }
    kernels->reverse3(row, right, npixels);
    memcpy(row, right, npixels * 3);
}

static void rows_swap(unsigned char *a, unsigned char *b, size_t size)
{
    unsigned char block[1024];
    while (size > 0) {
        size_t part = size < sizeof block ? size : sizeof block;
        memcpy(block, a, part);
        memcpy(a, b, part);
        memcpy(b, block, part);
        a += part;
        b += part;
        size -= part;
    }
}

void bm_image_flip(const struct bm_pixels *pixels, bool vertical)
{
    if (vertical) {
        for (uint32_t y = 0; y < pixels->height / 2; y++)
            rows_swap(pixels->data + y * pixels->stride,
                      pixels->data + (pixels->height - 1 - y) * pixels->stride,
                      (size_t)pixels->width * pixels->channels);
        return;
    }
    for (uint32_t y = 0; y < pixels->height; y++) {
        unsigned char *row = pixels->data + y * pixels->stride;
        if (pixels->channels == 1)
            row_reverse1(row, pixels->width);
        else
            row_reverse3(row, pixels->width);
    }
}

// ---- Planes ----

// Element (row, column) of [nrows, ncolumns] to (column, row) of [ncolumns, nrows]: channels last
// to first is pixels x channels, and back is channels x pixels.
#define TRANSPOSE(type)                                                                            \
    static void transpose_##type(const type *restrict from, type *restrict to, uint64_t nrows,     \
                                 uint64_t ncolumns)                                                \
    {                                                                                              \
        if (nrows >= ncolumns) {                                                                   \
            for (uint64_t column = 0; column < ncolumns; column++)                                 \
                for (uint64_t row = 0; row < nrows; row++)                                         \
                    to[column * nrows + row] = from[row * ncolumns + column];                      \
        } else {                                                                                   \
            for (uint64_t row = 0; row < nrows; row++)                                             \
                for (uint64_t column = 0; column < ncolumns; column++)                             \
                    to[column * nrows + row] = from[row * ncolumns + column];                      \
        }                                                                                          \
    }
TRANSPOSE(uint8_t)
TRANSPOSE(uint16_t)
TRANSPOSE(uint32_t)
TRANSPOSE(uint64_t)
#undef TRANSPOSE

static void transpose(const void *from, void *to, uint64_t nrows, uint64_t ncolumns,
                      size_t element_bytes)
{
    switch (element_bytes) {
    case 1:
        transpose_uint8_t(from, to, nrows, ncolumns);
        break;
    case 2:
        transpose_uint16_t(from, to, nrows, ncolumns);
        break;
    case 4:
        transpose_uint32_t(from, to, nrows, ncolumns);
        break;
    default:
        BM_ASSERT(element_bytes == 8);
        transpose_uint64_t(from, to, nrows, ncolumns);
    }
}

void bm_image_to_planes(const void *from, void *to, uint64_t npixels, unsigned channels,
                        size_t element_bytes)
{
    if (channels == 3 && element_bytes == 1)
        bm_kernels()->split3(from, to, npixels, npixels);
    else
        transpose(from, to, npixels, channels, element_bytes);
}

void bm_image_from_planes(const void *from, void *to, uint64_t npixels, unsigned channels,
                          size_t element_bytes)
{
    if (channels == 3 && element_bytes == 1)
        bm_kernels()->merge3(from, npixels, to, npixels);
    else
        transpose(from, to, channels, npixels, element_bytes);
}
