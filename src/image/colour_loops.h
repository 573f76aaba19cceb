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

LOOP unsigned char of_unit(float value)
{
    return (unsigned char)(int)(value * (256.0F - 1e-3F));
}

LOOP void loop_turn(struct bm_block *block, double by)
{
    const float turn = (float)by, unit = (float)(1.0 / 255.0);
    for (size_t i = 0; i < block->npixels; i++) {
        const float red = (float)block->red[i] * unit, green = (float)block->green[i] * unit,
                    blue = (float)block->blue[i] * unit;
        float most = red > green ? red : green, least = red < green ? red : green;
        most = most > blue ? most : blue;
        least = least < blue ? least : blue;
        const float range = most - least;
        const float saturation = range / (range == 0.0F ? 1.0F : most);
        float hue = hue_of(red, green, blue, most, range) + turn;
        hue = hue < 0.0F ? hue + 1.0F : hue;
        hue = hue >= 1.0F ? hue - 1.0F : hue;
        const float sixths = hue * 6.0F;
        const int whole = (int)sixths, sector = whole == 6 ? 0 : whole;
        const float part = saturation * (sixths - (float)whole), rest = 1.0F - saturation;
        const float falling = (1.0F - part) * most, rising = (part + rest) * most;
        const float low = rest * most;
        float r = sector == 1 ? falling : sector == 4 ? rising : low;
        float g = sector == 0 ? rising : sector == 3 ? falling : low;
        float b = sector == 2 ? rising : sector == 5 ? falling : low;
        r = sector == 0 || sector == 5 ? most : r;
        g = sector == 1 || sector == 2 ? most : g;
        b = sector == 3 || sector == 4 ? most : b;
        block->red[i] = of_unit(r);
        block->green[i] = of_unit(g);
        block->blue[i] = of_unit(b);
    }
}
