// What image/resize.c and its inner loops promise: Pillow's pixels, whatever the processor.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/pictures.h"
#include "image/image.h"
#include "image/kernels.h"
#include "support.h"

static struct bm_image_scratch *scratch;
static struct bm_error error;

static int make_fixture(void **state)
{
    (void)state;
    return bm_image_scratch_new(&scratch, &error) == BM_OK ? 0 : -1;
}

static int free_fixture(void **state)
{
    (void)state;
    bm_image_scratch_free(scratch);
    return 0;
}

static struct bm_pixels packed(unsigned char *data, uint32_t height, uint32_t width,
                               unsigned channels)
{
    return (struct bm_pixels){data, (size_t)width * channels, height, width, channels};
}

// Both in memory of their exact size, so that ASan sees the ends. To be freed.
static unsigned char *resized(const struct bm_resize *how, uint32_t height, uint32_t width,
                              unsigned channels, uint32_t to_height, uint32_t to_width)
{
    unsigned char *data = fake_pixels_new(height, width, channels);
    unsigned char *out = malloc((size_t)to_height * to_width * channels);
    assert_non_null(out);
    const struct bm_pixels from = packed(data, height, width, channels);
    const struct bm_pixels to = packed(out, to_height, to_width, channels);
    assert_int_equal(bm_image_resize(scratch, how, &from, &to, &error), BM_OK);
    free(data);
    return out;
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

// ---- Pillow's pixels ----

// Pillow 12.3, a = fake_pixels_new(4, 6, 3): Image.fromarray(a).resize((3, 2), Image.BILINEAR)
static void a_small_picture_becomes_what_pillow_makes_of_it(void **state)
{
    (void)state;
    static const unsigned char bilinear[] = {39, 54, 71, 64, 74, 69, 58, 65, 70,
                                             69, 61, 49, 73, 74, 71, 68, 74, 84};
    static const unsigned char bicubic[] = {34, 52, 73, 66, 76, 68, 57, 63, 68,
                                            71, 60, 44, 74, 75, 71, 69, 75, 87};
    unsigned char *got = resized(&(struct bm_resize){BM_FILTER_BILINEAR, true}, 4, 6, 3, 2, 3);
    assert_memory_equal(got, bilinear, sizeof bilinear);
    free(got);
    got = resized(&(struct bm_resize){BM_FILTER_BICUBIC, true}, 4, 6, 3, 2, 3);
    assert_memory_equal(got, bicubic, sizeof bicubic);
    free(got);
}

// Pillow 12.3: zlib.crc32(numpy.asarray(Image.fromarray(a).resize((to_width, to_height), filter)))
// From 13.0 on, Pillow resizes down before across where the height shrinks much more than the
// width, as in none of these, and rounds otherwise there.
static void pictures_of_all_sizes_become_what_pillow_makes_of_them(void **state)
{
    (void)state;
    static const struct {
        uint32_t height, width;
        unsigned channels;
        uint32_t to_height, to_width;
        enum bm_filter filter;
        uint32_t crc32;
    } cases[] = {
        {37, 53, 3, 16, 16, BM_FILTER_BILINEAR, 0x57690682},
        {37, 53, 3, 16, 16, BM_FILTER_BICUBIC, 0x6504c51c},
        {37, 53, 3, 16, 16, BM_FILTER_NEAREST, 0x570000a6},
        {9, 11, 3, 40, 31, BM_FILTER_BILINEAR, 0x41b82a4e},
        {9, 11, 3, 40, 31, BM_FILTER_BICUBIC, 0xdabe2fdc},
        {9, 11, 3, 40, 31, BM_FILTER_NEAREST, 0x23c2029e},
        {250, 301, 3, 224, 224, BM_FILTER_BILINEAR, 0x51cea5d1},
        {250, 301, 3, 224, 224, BM_FILTER_BICUBIC, 0x5f44de14},
        {250, 301, 3, 224, 224, BM_FILTER_NEAREST, 0x623cefb2},
        {37, 53, 1, 16, 16, BM_FILTER_BILINEAR, 0x1d2f97ca},
        {9, 11, 1, 40, 31, BM_FILTER_BICUBIC, 0x77a34083},
        {300, 200, 1, 7, 5, BM_FILTER_BICUBIC, 0x010f86a3},
        {33, 47, 3, 33, 20, BM_FILTER_BILINEAR, 0xd4726acc}, // one side stays
        {33, 47, 3, 20, 47, BM_FILTER_BILINEAR, 0x87a52fcc},
        {1, 1, 3, 5, 4, BM_FILTER_BICUBIC, 0x6f143c4e},
        {64, 3, 3, 1, 1, BM_FILTER_BILINEAR, 0x1572aca9},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct bm_resize how = {cases[i].filter, true};
        unsigned char *got = resized(&how, cases[i].height, cases[i].width, cases[i].channels,
                                     cases[i].to_height, cases[i].to_width);
        size_t size = (size_t)cases[i].to_height * cases[i].to_width * cases[i].channels;
        if (crc32_of(got, size) != cases[i].crc32)
            fail_msg("case %u differs", i);
        free(got);
    }
}

static void the_same_size_changes_nothing(void **state)
{
    (void)state;
    unsigned char *pixels = fake_pixels_new(33, 47, 3);
    for (int filter = BM_FILTER_NEAREST; filter <= BM_FILTER_BICUBIC; filter++) {
        unsigned char *got =
            resized(&(struct bm_resize){(enum bm_filter)filter, true}, 33, 47, 3, 33, 47);
        assert_memory_equal(got, pixels, (size_t)33 * 47 * 3);
        free(got);
    }
    free(pixels);
}

// ---- Without antialiasing ----

// Between the two nearest centres, the outermost pixels going on beyond the edge.
static double sample(const unsigned char *pixels, uint32_t height, uint32_t width, double y,
                     double x)
{
    y = fmin(fmax(y, 0), height - 1);
    x = fmin(fmax(x, 0), width - 1);
    uint32_t top = (uint32_t)y, left = (uint32_t)x;
    uint32_t bottom = top + 1 < height ? top + 1 : top, right = left + 1 < width ? left + 1 : left;
    double upper =
        pixels[top * width + left] * (1 - (x - left)) + pixels[top * width + right] * (x - left);
    double lower = pixels[bottom * width + left] * (1 - (x - left)) +
                   pixels[bottom * width + right] * (x - left);
    return upper * (1 - (y - top)) + lower * (y - top);
}

static void without_antialiasing_two_pixels_are_mixed(void **state)
{
    (void)state;
    unsigned char *pixels = fake_pixels_new(50, 70, 1);
    static const uint32_t sizes[][2] = {{20, 30}, {7, 9}, {80, 99}, {1, 1}};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint32_t height = sizes[i][0], width = sizes[i][1];
        unsigned char *got =
            resized(&(struct bm_resize){BM_FILTER_BILINEAR, false}, 50, 70, 1, height, width);
        for (uint32_t y = 0; y < height; y++) {
            for (uint32_t x = 0; x < width; x++) {
                double exact = sample(pixels, 50, 70, (y + 0.5) * 50 / height - 0.5,
                                      (x + 0.5) * 70 / width - 0.5);
                // Half of a step for each of the two passes.
                assert_true(fabs(got[y * width + x] - exact) <= 1.0001);
            }
        }
        free(got);
    }
    free(pixels);
}

// ---- Memory ----

static void rows_may_lie_apart(void **state)
{
    (void)state;
    const struct bm_resize how = {BM_FILTER_BILINEAR, true};
    unsigned char *expected = resized(&how, 20, 30, 3, 12, 17);
    unsigned char *pixels = fake_pixels_new(20, 30, 3);
    unsigned char wide[20 * 100], out[12 * 60];
    memset(out, 0xee, sizeof out);
    memset(wide, 0x55, sizeof wide); // what lies between the rows does not matter
    for (unsigned y = 0; y < 20; y++)
        memcpy(wide + (size_t)y * 100, pixels + (size_t)y * 90, 90);
    const struct bm_pixels from = {wide, 100, 20, 30, 3}, to = {out, 60, 12, 17, 3};
    assert_int_equal(bm_image_resize(scratch, &how, &from, &to, &error), BM_OK);
    for (unsigned y = 0; y < 12; y++) {
        assert_memory_equal(out + (size_t)y * 60, expected + (size_t)y * 51, 51);
        for (unsigned x = 51; x < 60; x++)
            assert_int_equal(out[y * 60 + x], 0xee);
    }
    free(pixels);
    free(expected);
}

// ---- Inner loops ----

enum { LOOP_WIDTH = 150, LOOP_STRIDE = LOOP_WIDTH * 3, LOOP_OUTPUTS = 67, LOOP_TAPS = 24 };

struct loop {
    uint32_t starts[LOOP_OUTPUTS], counts[LOOP_OUTPUTS];
    int32_t taps[LOOP_OUTPUTS * LOOP_TAPS];
    int32_t high[LOOP_OUTPUTS * LOOP_TAPS / 2], low[LOOP_OUTPUTS * LOOP_TAPS / 2];
};

static uint32_t draw(uint32_t below)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)state * below) >> 32);
}

// Weights of both signs whose sums reach beyond 0 and 255.
static struct bm_weights loop_weights(struct loop *loop, uint32_t ninputs)
{
    memset(loop, 0, sizeof *loop);
    for (uint32_t i = 0; i < LOOP_OUTPUTS; i++) {
        loop->counts[i] = 1 + draw(LOOP_TAPS);
        loop->starts[i] = draw(ninputs - loop->counts[i] + 1);
        int32_t *taps = &loop->taps[(size_t)i * LOOP_TAPS];
        for (uint32_t tap = 0; tap < loop->counts[i]; tap++)
            taps[tap] = (int32_t)(draw(3 << BM_WEIGHT_BITS) / loop->counts[i]) -
                        (int32_t)((1u << BM_WEIGHT_BITS) / loop->counts[i]);
        for (uint32_t tap = 0; tap < LOOP_TAPS; tap += 2) {
            uint32_t even = (uint32_t)taps[tap], odd = (uint32_t)taps[tap + 1];
            uint32_t at = (i * LOOP_TAPS + tap) / 2;
            loop->low[at] = (int32_t)((even & 0xfff) | (odd & 0xfff) << 16);
            loop->high[at] = (int32_t)((even >> 12 & 0xffff) | odd >> 12 << 16);
            // The sign, which the shift of an unsigned number loses.
            if (taps[tap] < 0)
                loop->high[at] |= 0xf000;
            if (taps[tap + 1] < 0)
                loop->high[at] = (int32_t)((uint32_t)loop->high[at] | 0xf0000000);
        }
    }
    return (struct bm_weights){LOOP_OUTPUTS, LOOP_TAPS,  loop->starts, loop->counts,
                               loop->taps,   loop->high, loop->low};
}

static void the_loops_of_a_processor_give_the_bytes_of_the_plain_ones(void **state)
{
    (void)state;
    static struct loop loop;
    unsigned char *pixels = fake_pixels_new(LOOP_WIDTH, LOOP_WIDTH, 3);
    const struct bm_kernels *kernels = bm_kernels(), *plain = &bm_kernels_plain;
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned channels = 1; channels <= 3; channels += 2) {
            struct bm_weights weights = loop_weights(&loop, LOOP_WIDTH);
            unsigned char got[4][LOOP_OUTPUTS * 3 + 1], expected[4][LOOP_OUTPUTS * 3 + 1];
            const unsigned char *from[4];
            unsigned char *got_rows[4], *expected_rows[4];
            for (unsigned row = 0; row < 4; row++) {
                from[row] = pixels + (size_t)(row * round) * LOOP_WIDTH * channels;
                got_rows[row] = got[row];
                expected_rows[row] = expected[row];
            }
            (channels == 1 ? kernels->across1 : kernels->across3)(&weights, from, got_rows);
            (channels == 1 ? plain->across1 : plain->across3)(&weights, from, expected_rows);
            for (unsigned row = 0; row < 4; row++)
                assert_memory_equal(got[row], expected[row], (size_t)LOOP_OUTPUTS * channels);
        }
        struct bm_weights weights = loop_weights(&loop, LOOP_WIDTH);
        for (size_t size = 1; size <= LOOP_STRIDE; size += 1 + size / 3) {
            unsigned char got[LOOP_STRIDE + 1] = {0}, expected[LOOP_STRIDE + 1] = {0};
            uint32_t output = draw(LOOP_OUTPUTS);
            kernels->down(&weights, output, pixels, LOOP_STRIDE, got, size);
            plain->down(&weights, output, pixels, LOOP_STRIDE, expected, size);
            assert_memory_equal(got, expected, size + 1);
        }
    }
    for (size_t npixels = 0; npixels < 100; npixels++) {
        unsigned char *got = malloc(npixels * 3 + 1), *expected = malloc(npixels * 3 + 1);
        unsigned char *exact = malloc(npixels * 3 + 1); // so that ASan sees the ends
        assert_true(got != NULL && expected != NULL && exact != NULL);
        memcpy(exact, pixels, npixels * 3);
        kernels->split3(exact, got, npixels, npixels);
        plain->split3(exact, expected, npixels, npixels);
        assert_memory_equal(got, expected, npixels * 3);
        kernels->merge3(exact, npixels, got, npixels);
        plain->merge3(exact, npixels, expected, npixels);
        assert_memory_equal(got, expected, npixels * 3);
        kernels->reverse3(exact, got, npixels);
        plain->reverse3(exact, expected, npixels);
        assert_memory_equal(got, expected, npixels * 3);
        free(exact);
        free(expected);
        free(got);
    }
    free(pixels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
        TEST(a_small_picture_becomes_what_pillow_makes_of_it),
        TEST(pictures_of_all_sizes_become_what_pillow_makes_of_them),
        TEST(the_same_size_changes_nothing),
        TEST(without_antialiasing_two_pixels_are_mixed),
        TEST(rows_may_lie_apart),
        TEST(the_loops_of_a_processor_give_the_bytes_of_the_plain_ones),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
