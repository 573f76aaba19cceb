// colour.c -- torchvision's ColorJitter on uint8: the formulas of torchvision/transforms/v2/
// functional/_color.py, in float32 as there, with results cut off, not rounded.
#include "image/colour.h"

#include <math.h>
#include <string.h>

#include "image/image.h"

static unsigned char clip(float value)
{
    return (unsigned char)(value < 0.0F ? 0.0F : value > 255.0F ? 255.0F : value);
}

// Each value of the picture by a table of 256.
static void pixels_map(const struct bm_pixels *pixels, const unsigned char table[256])
{
    const size_t size = (size_t)pixels->width * pixels->channels;
    for (uint32_t y = 0; y < pixels->height; y++) {
        unsigned char *row = pixels->data + y * pixels->stride;
        for (size_t i = 0; i < size; i++)
            row[i] = table[row[i]];
    }
}

// value * factor + other * (1 - factor)
static void pixels_blend(const struct bm_pixels *pixels, float factor, float rest)
{
    unsigned char table[256];
    for (unsigned value = 0; value < 256; value++)
        table[value] = clip((float)value * factor + rest);
    pixels_map(pixels, table);
}

// torchvision's own weights: neither rounded as Pillow's nor of three digits.
static float grey_of(const unsigned char *pixel)
{
    return floorf((float)pixel[0] * 0.2989F + (float)pixel[1] * 0.587F + (float)pixel[2] * 0.114F);
}

void bm_image_brightness(const struct bm_pixels *pixels, double factor)
{
    pixels_blend(pixels, (float)factor, 0.0F);
}

void bm_image_contrast(const struct bm_pixels *pixels, double factor)
{
    uint64_t sum = 0; // of whole numbers, so that no order of adding shows
    for (uint32_t y = 0; y < pixels->height; y++) {
        const unsigned char *pixel = pixels->data + y * pixels->stride;
        for (uint32_t x = 0; x < pixels->width; x++, pixel += pixels->channels)
            sum += pixels->channels == 1 ? pixel[0] : (unsigned)grey_of(pixel);
    }
    double mean = (double)sum / ((double)pixels->height * pixels->width);
    pixels_blend(pixels, (float)factor, (float)mean * (float)(1.0 - factor));
}

void bm_image_saturation(const struct bm_pixels *pixels, double factor)
{
    if (pixels->channels == 1)
        return;
    const float own = (float)factor, other = (float)(1.0 - factor);
    for (uint32_t y = 0; y < pixels->height; y++) {
        unsigned char *pixel = pixels->data + y * pixels->stride;
        for (uint32_t x = 0; x < pixels->width; x++, pixel += 3) {
            float grey = grey_of(pixel) * other;
            for (unsigned c = 0; c < 3; c++)
                pixel[c] = clip((float)pixel[c] * own + grey);
        }
    }
}

// ---- Hue ----

struct hsv { // each 0 to 1
    float hue, saturation, value;
};

static struct hsv hsv_of(const unsigned char *pixel)
{
    const float red = (float)pixel[0] / 255.0F, green = (float)pixel[1] / 255.0F,
                blue = (float)pixel[2] / 255.0F;
    const float most = fmaxf(red, fmaxf(green, blue)), least = fminf(red, fminf(green, blue));
    const float range = most - least;
    if (range == 0.0F)
        return (struct hsv){0.0F, 0.0F, most};
    const float red_away = (most - red) / range, green_away = (most - green) / range,
                blue_away = (most - blue) / range;
    float sixths;
    if (most == red)
        sixths = blue_away - green_away;
    else if (most == green)
        sixths = red_away + 2.0F - blue_away;
    else
        sixths = green_away + 4.0F - red_away;
    return (struct hsv){fmodf(sixths * (float)(1.0 / 6.0) + 1.0F, 1.0F), range / most, most};
}

static float unit(float value)
{
    return value < 0.0F ? 0.0F : value > 1.0F ? 1.0F : value;
}

static void hsv_to(const struct hsv *hsv, unsigned char *pixel)
{
    const float sixths = hsv->hue * 6.0F, sector = floorf(sixths), within = sixths - sector;
    const float v = hsv->value;
    const float p = unit(v * (1.0F - hsv->saturation));
    const float q = unit(v * (1.0F - hsv->saturation * within));
    const float t = unit(v * (1.0F - hsv->saturation * (1.0F - within)));
    const float sectors[6][3] = {
        {v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q},
    };
    for (unsigned c = 0; c < 3; c++)
        pixel[c] = (unsigned char)(sectors[(unsigned)sector % 6][c] * (256.0F - 1e-3F));
}

void bm_image_hue(const struct bm_pixels *pixels, double turn)
{
    if (pixels->channels == 1 || turn == 0.0)
        return;
    for (uint32_t y = 0; y < pixels->height; y++) {
        unsigned char *pixel = pixels->data + y * pixels->stride;
        for (uint32_t x = 0; x < pixels->width; x++, pixel += 3) {
            struct hsv hsv = hsv_of(pixel);
            hsv.hue += (float)turn;
            hsv.hue -= floorf(hsv.hue);
            hsv_to(&hsv, pixel);
        }
    }
}
