// colour_loops.h -- loops over colours, written once and compiled for each processor. Layer: image
// (may include base).
//
// Without branches: every value is computed and the one that is needed picked, so that compilers
// do many pixels at once. Float arithmetic is exact to the bit whatever the width.
// Threads: any thread.
#pragma once
#include "image/kernels.h"

#define LOOP static inline __attribute__((always_inline))

LOOP float clip(float value)
{
    value = value < 0.0F ? 0.0F : value;
    return value > 255.0F ? 255.0F : value;
}

LOOP void loop_blend(unsigned char *restrict values, size_t nvalues, float factor, float rest)
{
    for (size_t i = 0; i < nvalues; i++)
        values[i] = (unsigned char)(int)clip((float)values[i] * factor + rest);
}

// torchvision's own weights, cut off: not those of bm_grey().
LOOP int grey_of(unsigned char red, unsigned char green, unsigned char blue)
{
    return (int)((float)red * 0.2989F + (float)green * 0.587F + (float)blue * 0.114F);
}

LOOP uint32_t loop_sum_grey(const struct bm_block *block)
{
    int sum = 0;
    for (size_t i = 0; i < block->npixels; i++)
        sum += grey_of(block->red[i], block->green[i], block->blue[i]);
    return (uint32_t)sum;
}

LOOP void loop_saturate(struct bm_block *block, double by)
{
    const float factor = (float)by, other = (float)(1.0 - by);
    for (size_t i = 0; i < block->npixels; i++) {
        float grey = (float)grey_of(block->red[i], block->green[i], block->blue[i]) * other;
        block->red[i] = (unsigned char)(int)clip((float)block->red[i] * factor + grey);
        block->green[i] = (unsigned char)(int)clip((float)block->green[i] * factor + grey);
        block->blue[i] = (unsigned char)(int)clip((float)block->blue[i] * factor + grey);
    }
}

LOOP float larger(float a, float b)
{
    return a > b ? a : b;
}

LOOP float smaller(float a, float b)
{
    return a < b ? a : b;
}

// Hue in turns from 0 to below 1.
LOOP float hue_of(float red, float green, float blue, float most, float range)
{
    const float divisor = range == 0.0F ? 1.0F : range;
    const float red_away = (most - red) / divisor;
    const float green_away = (most - green) / divisor;
    const float blue_away = (most - blue) / divisor;
    float sixths = green_away + 4.0F - red_away;
    sixths = most == green ? red_away + 2.0F - blue_away : sixths;
    sixths = most == red ? blue_away - green_away : sixths;
    const float turns = sixths * (float)(1.0 / 6.0) + 1.0F;
    return turns - (float)(int)turns;
}

// The channel that is `most` in sectors 0 and 5 of the wheel. They are floats, since of integers
// gcc makes a switch.
LOOP unsigned char channel_of(float sector, float most, float falling, float rising, float low)
{
    sector -= sector >= 6.0F ? 6.0F : 0.0F;
    const float between = sector == 1.0F ? falling : sector == 4.0F ? rising : low;
    const float value = sector == 0.0F || sector == 5.0F ? most : between;
    return (unsigned char)(int)(value * (256.0F - 1e-3F));
}

LOOP float turn_added(float turns, float turn)
{
    turns += turn;
    turns = turns < 0.0F ? turns + 1.0F : turns;
    return turns >= 1.0F ? turns - 1.0F : turns;
}

LOOP void loop_turn(struct bm_block *block, double by)
{
    const float unit = (float)(1.0 / 255.0);
    for (size_t i = 0; i < block->npixels; i++) {
        const float red = (float)block->red[i] * unit, green = (float)block->green[i] * unit,
                    blue = (float)block->blue[i] * unit;
        const float most = larger(red, larger(green, blue));
        const float range = most - smaller(red, smaller(green, blue));
        const float saturation = range / (range == 0.0F ? 1.0F : most);
        const float sixths = turn_added(hue_of(red, green, blue, most, range), (float)by) * 6.0F;
        const float sector = (float)(int)sixths; // 6 where rounding made it so
        const float part = saturation * (sixths - sector), rest = 1.0F - saturation;
        const float falling = (1.0F - part) * most, rising = (part + rest) * most;
        const float low = rest * most;
        const float wrapped = sector == 6.0F ? 0.0F : sector;
        block->red[i] = channel_of(wrapped, most, falling, rising, low);
        block->green[i] = channel_of(wrapped + 4.0F, most, falling, rising, low);
        block->blue[i] = channel_of(wrapped + 2.0F, most, falling, rising, low);
    }
}
