// colour.c -- torchvision's ColorJitter on uint8: the formulas of torchvision/transforms/v2/
// functional/_color.py, in float32 as there, with results cut off, not rounded.
#include "image/image.h"
#include "image/kernels.h"

// What is done to values that lie one after the other, whatever their channel.
static void pixels_blend(const struct bm_pixels *pixels, float factor, float rest)
{
    const struct bm_kernels *kernels = bm_kernels();
    for (uint32_t y = 0; y < pixels->height; y++)
        kernels->blend(pixels->data + y * pixels->stride, (size_t)pixels->width * pixels->channels,
                       factor, rest);
}

// Takes the pixels from `row` that lie at x and behind.
static void block_load(struct bm_block *block, const struct bm_pixels *pixels,
                       const unsigned char *row, uint32_t x)
{
    block->npixels = pixels->width - x < BM_BLOCK ? pixels->width - x : BM_BLOCK;
    bm_kernels()->split3(row + (size_t)x * 3, block->red, BM_BLOCK, block->npixels);
}

static void pixels_change(const struct bm_pixels *pixels,
                          void (*change)(struct bm_block *block, double by), double by)
{
    for (uint32_t y = 0; y < pixels->height; y++) {
        unsigned char *row = pixels->data + y * pixels->stride;
        for (uint32_t x = 0; x < pixels->width; x += BM_BLOCK) {
            struct bm_block block;
            block_load(&block, pixels, row, x);
            change(&block, by);
            bm_kernels()->merge3(block.red, BM_BLOCK, row + (size_t)x * 3, block.npixels);
        }
    }
}

void bm_image_brightness(const struct bm_pixels *pixels, double factor)
{
    pixels_blend(pixels, (float)factor, 0.0F);
}

// The sum is one of whole numbers, so that no order of adding shows.
static double pixels_mean(const struct bm_pixels *pixels)
{
    uint64_t sum = 0;
    for (uint32_t y = 0; y < pixels->height; y++) {
        const unsigned char *row = pixels->data + y * pixels->stride;
        if (pixels->channels == 1) {
            for (uint32_t x = 0; x < pixels->width; x++)
                sum += row[x];
            continue;
        }
        for (uint32_t x = 0; x < pixels->width; x += BM_BLOCK) {
            struct bm_block block;
            block_load(&block, pixels, row, x);
            sum += bm_kernels()->sum_grey(&block);
        }
    }
    return (double)sum / ((double)pixels->height * pixels->width);
}

void bm_image_contrast(const struct bm_pixels *pixels, double factor)
{
    float mean = (float)pixels_mean(pixels);
    pixels_blend(pixels, (float)factor, mean * (float)(1.0 - factor));
}

void bm_image_saturation(const struct bm_pixels *pixels, double factor)
{
    if (pixels->channels == 3)
        pixels_change(pixels, bm_kernels()->saturate, factor);
}

void bm_image_hue(const struct bm_pixels *pixels, double turn)
{
    if (pixels->channels == 3)
        pixels_change(pixels, bm_kernels()->turn, turn);
}
