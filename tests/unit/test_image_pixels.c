// What image/colour.c and image/layout.c promise: torchvision's colours, and pixels in their place.
#include <stdlib.h>
#include <string.h>

#include "fakes/pictures.h"
#include "image/image.h"
#include "image/kernels.h"
#include "support.h"

static struct bm_pixels packed(unsigned char *data, uint32_t height, uint32_t width,
                               unsigned channels)
{
    return (struct bm_pixels){data, (size_t)width * channels, height, width, channels};
}

// zlib's.
static uint32_t crc32_of(const unsigned char *data, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

// ---- Colours ----

// torchvision 0.15.2, t = torch.from_numpy(fake_pixels_new(23, 37, channels)).permute(2, 0, 1):
// zlib.crc32(F.adjust_brightness(t, factor).permute(1, 2, 0).contiguous().numpy()), and so on
static void colours_change_as_in_torchvision(void **state)
{
    (void)state;
    static const struct {
        void (*change)(const struct bm_pixels *pixels, double factor);
        unsigned channels;
        double factor;
        uint32_t crc32;
    } cases[] = {
        {bm_image_brightness, 3, 0, 0x251534cb},   {bm_image_brightness, 3, 0.7, 0x182b658a},
        {bm_image_brightness, 3, 1.4, 0x1ed470d4}, {bm_image_contrast, 3, 0, 0x7a9f069d},
        {bm_image_contrast, 3, 0.7, 0xb64bf621},   {bm_image_contrast, 3, 1.4, 0x0e466190},
        {bm_image_saturation, 3, 0, 0x58b897c3},   {bm_image_saturation, 3, 0.7, 0x1ba93211},
        {bm_image_saturation, 3, 1.4, 0x36453ba0}, {bm_image_brightness, 1, 0, 0x7f3632f3},
        {bm_image_brightness, 1, 0.7, 0x1ee880c8}, {bm_image_brightness, 1, 1.4, 0x9d65d4ee},
        {bm_image_contrast, 1, 0, 0x6c7053c6},     {bm_image_contrast, 1, 0.7, 0x00ed8a40},
        {bm_image_contrast, 1, 1.4, 0xca755f08},   {bm_image_saturation, 1, 0, 0x7b3f92bc},
        {bm_image_saturation, 1, 1.4, 0x7b3f92bc}, {bm_image_hue, 1, 0.2, 0x7b3f92bc},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char *data = fake_pixels_new(23, 37, cases[i].channels);
        const struct bm_pixels pixels = packed(data, 23, 37, cases[i].channels);
        cases[i].change(&pixels, cases[i].factor);
        if (crc32_of(data, (size_t)23 * 37 * cases[i].channels) != cases[i].crc32)
            fail_msg("case %u differs", i);
        free(data);
    }
}

// torchvision 0.15.2: F.adjust_hue(t, turn), of which 2 values in 10,000 round otherwise here
static void the_hue_turns_as_in_torchvision(void **state)
{
    (void)state;
    static const unsigned char colours[24] = {200, 100, 50, 0, 255, 0,   0,   0,  255, 255, 255, 0,
                                              17,  17,  17, 3, 250, 249, 130, 20, 200, 0,   0,   0};
    static const struct {
        double turn;
        unsigned char expected[24];
    } cases[] = {
        {-0.5, {50, 150, 200, 255, 0, 255, 255, 255, 0,  0, 0, 255,
                17, 17,  17,  250, 3, 4,   90,  200, 20, 0, 0, 0}},
        {-0.3, {130, 50, 200, 255, 51,  0, 0,  255, 51,  255, 0, 204,
                17,  17, 17,  202, 250, 3, 20, 200, 166, 0,   0, 0}},
        {0.05, {200, 145, 50, 0, 255, 76,  76,  0,  255, 179, 255, 0,
                17,  17,  17, 3, 177, 250, 184, 20, 200, 0,   0,   0}},
        {0.25, {75, 200, 50, 0,   127, 255, 255, 0,  127, 0, 255, 127,
                17, 17,  17, 125, 3,   250, 200, 40, 20,  0, 0,   0}},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char got[24];
        memcpy(got, colours, sizeof got);
        const struct bm_pixels pixels = packed(got, 2, 4, 3);
        bm_image_hue(&pixels, cases[i].turn);
        assert_memory_equal(got, cases[i].expected, sizeof got);
    }
}

static void a_factor_of_1_and_a_turn_of_0_change_nothing(void **state)
{
    (void)state;
    unsigned char *data = fake_pixels_new(20, 300, 3), *same = fake_pixels_new(20, 300, 3);
    const struct bm_pixels pixels = packed(data, 20, 300, 3);
    bm_image_brightness(&pixels, 1);
    bm_image_contrast(&pixels, 1);
    bm_image_saturation(&pixels, 1);
    bm_image_hue(&pixels, 0);
    assert_memory_equal(data, same, (size_t)20 * 300 * 3);
    free(same);
    free(data);
}

static void the_loops_of_a_processor_give_the_bytes_of_the_plain_ones(void **state)
{
    (void)state;
    const struct bm_kernels *kernels = bm_kernels(), *plain = &bm_kernels_plain;
    unsigned char *data = fake_pixels_new(100, BM_BLOCK, 3);
    for (unsigned i = 0; i < 100; i++) {
        struct bm_block got = {.npixels = i < 50 ? i + 1 : BM_BLOCK - i % 3};
        const unsigned char *noise = data + (size_t)i * BM_BLOCK * 3;
        memcpy(got.red, noise, BM_BLOCK);
        memcpy(got.green, noise + BM_BLOCK, BM_BLOCK);
        memcpy(got.blue, noise + (size_t)2 * BM_BLOCK, BM_BLOCK);
        struct bm_block expected = got;
        assert_int_equal(kernels->sum_grey(&got), plain->sum_grey(&expected));
        kernels->turn(&got, i * 0.01 - 0.5);
        plain->turn(&expected, i * 0.01 - 0.5);
        assert_memory_equal(&got, &expected, sizeof got);
        kernels->saturate(&got, i * 0.03);
        plain->saturate(&expected, i * 0.03);
        assert_memory_equal(&got, &expected, sizeof got);
        kernels->blend(got.red, got.npixels, (float)i * 0.02F, 20.5F - (float)i);
        plain->blend(expected.red, got.npixels, (float)i * 0.02F, 20.5F - (float)i);
        assert_memory_equal(&got, &expected, sizeof got);
    }
    free(data);
}

// ---- Flips ----

static void pixels_are_mirrored_left_to_right(void **state)
{
    (void)state;
    for (unsigned channels = 1; channels <= 3; channels += 2) {
        for (uint32_t width = 1; width < 4000; width += 1 + width / 3) {
            const size_t row = (size_t)width * channels;
            unsigned char *data = fake_pixels_new(2, width, channels);
            unsigned char *old = fake_pixels_new(2, width, channels);
            const struct bm_pixels pixels = packed(data, 2, width, channels);
            bm_image_flip(&pixels, false);
            for (uint32_t x = 0; x < width; x++)
                for (unsigned y = 0; y < 2; y++)
                    assert_memory_equal(data + y * row + (size_t)x * channels,
                                        old + y * row + (size_t)(width - 1 - x) * channels,
                                        channels);
            free(old);
            free(data);
        }
    }
}

static void pixels_are_mirrored_top_to_bottom(void **state)
{
    (void)state;
    for (uint32_t height = 1; height < 5; height++) {
        unsigned char *data = fake_pixels_new(height, 700, 3);
        unsigned char *old = fake_pixels_new(height, 700, 3);
        const struct bm_pixels pixels = packed(data, height, 700, 3);
        bm_image_flip(&pixels, true);
        for (uint32_t y = 0; y < height; y++)
            assert_memory_equal(data + (size_t)y * 2100, old + (size_t)(height - 1 - y) * 2100,
                                2100);
        free(old);
        free(data);
    }
}

// ---- Planes ----

static void channels_come_first_and_last_again(void **state)
{
    (void)state;
    enum { NPIXELS = 41 };
    unsigned char *data = fake_pixels_new(1, NPIXELS * 8, 4);
    for (unsigned channels = 1; channels <= 4; channels++) {
        for (size_t bytes = 1; bytes <= 8; bytes *= 2) {
            unsigned char planes[NPIXELS * 8 * 4], back[NPIXELS * 8 * 4];
            bm_image_to_planes(data, planes, NPIXELS, channels, bytes);
            for (unsigned c = 0; c < channels; c++)
                for (unsigned i = 0; i < NPIXELS; i++)
                    assert_memory_equal(planes + ((size_t)c * NPIXELS + i) * bytes,
                                        data + ((size_t)i * channels + c) * bytes, bytes);
            bm_image_from_planes(planes, back, NPIXELS, channels, bytes);
            assert_memory_equal(back, data, bytes * NPIXELS * channels);
        }
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colours_change_as_in_torchvision),
        cmocka_unit_test(the_hue_turns_as_in_torchvision),
        cmocka_unit_test(a_factor_of_1_and_a_turn_of_0_change_nothing),
        cmocka_unit_test(the_loops_of_a_processor_give_the_bytes_of_the_plain_ones),
        cmocka_unit_test(pixels_are_mirrored_left_to_right),
        cmocka_unit_test(pixels_are_mirrored_top_to_bottom),
        cmocka_unit_test(channels_come_first_and_last_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
