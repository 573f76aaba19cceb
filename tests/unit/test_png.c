// What image/png.c promises: every kind of PNG as 8 bits of grey or colours, in regions.
#include <stdlib.h>
#include <string.h>

#include <spng.h>

#include "fakes/pictures.h"
#include "image/image.h"
#include "support.h"

static struct bm_image_scratch *scratch;
static struct bm_error error;
static unsigned char *file;
static size_t size;

static int make_fixture(void **state)
{
    (void)state;
    return bm_image_scratch_new(&scratch, &error) == BM_OK ? 0 : -1;
}

static int free_fixture(void **state)
{
    (void)state;
    bm_image_scratch_free(scratch);
    free(file);
    file = NULL;
    return 0;
}

// ---- Files ----

struct picture {
    uint32_t height, width;
    unsigned bits, type, interlaced;
    const unsigned char *pixels; // as they lie in a PNG file, rows at whole bytes
    size_t size;
    const struct spng_plte *palette;
    unsigned orientation; // EXIF's; 0: no EXIF
};

static void make(const struct picture *how)
{
    free(file);
    spng_ctx *png = spng_ctx_new(SPNG_CTX_ENCODER);
    assert_non_null(png);
    struct spng_ihdr head = {.width = how->width,
                             .height = how->height,
                             .bit_depth = (uint8_t)how->bits,
                             .color_type = (uint8_t)how->type,
                             .interlace_method = (uint8_t)how->interlaced};
    assert_int_equal(spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1), 0);
    assert_int_equal(spng_set_ihdr(png, &head), 0);
    if (how->palette != NULL) {
        struct spng_plte palette = *how->palette;
        assert_int_equal(spng_set_plte(png, &palette), 0);
    }
    char block[] = {'M',  'M',  0, 42, 0, 0, 0, 8, 0, 1,
                    0x01, 0x12, 0, 3,  0, 0, 0, 1, 0, (char)how->orientation,
                    0,    0,    0, 0,  0, 0};
    struct spng_exif exif = {.length = sizeof block, .data = block};
    if (how->orientation != 0)
        assert_int_equal(spng_set_exif(png, &exif), 0);
    int code = spng_encode_image(png, how->pixels, how->size, SPNG_FMT_RAW, SPNG_ENCODE_FINALIZE);
    if (code != 0)
        fail_msg("%s", spng_strerror(code));
    file = spng_get_png_buffer(png, &size, &code);
    assert_non_null(file);
    spng_ctx_free(png);
}

static const struct bm_decode colours = {.channels = 3};
static const struct bm_decode greys = {.channels = 1};

static struct bm_image_info probe(void)
{
    struct bm_image_info info = {0};
    if (bm_image_probe(file, size, &colours, &info, &error) != BM_OK)
        fail_msg("%s", error.text);
    return info;
}

static enum bm_status decode(const struct bm_decode *how, const struct bm_region *region,
                             unsigned char *to)
{
    const struct bm_pixels pixels = {to, (size_t)region->width * how->channels, region->height,
                                     region->width, how->channels};
    return bm_image_decode(scratch, file, size, how, region, &pixels, &error);
}

// The whole picture is these pixels.
static void check(unsigned channels, const unsigned char *pixels, const unsigned char *grey)
{
    unsigned char got[64 * 3];
    struct bm_image_info info = probe();
    assert_int_equal(info.format, BM_IMAGE_PNG);
    assert_int_equal(info.channels, channels);
    const size_t npixels = (size_t)info.height * info.width;
    const struct bm_region all = {0, 0, info.height, info.width};
    assert_int_equal(decode(&colours, &all, got), BM_OK);
    assert_memory_equal(got, pixels, npixels * 3);
    assert_int_equal(decode(&greys, &all, got), BM_OK);
    assert_memory_equal(got, grey, npixels);
}

// ---- Kinds ----

static void grey_of_few_bits_is_spread_to_255(void **state)
{
    (void)state;
    make(&(struct picture){1, 8, 1, SPNG_COLOR_TYPE_GRAYSCALE, 0, (unsigned char[]){0xa1}, 1, NULL,
                           0});
    check(1, (unsigned char[]){255, 255, 255, 0, 0, 0, 255, 255, 255, 0,   0,   0,
                               0,   0,   0,   0, 0, 0, 0,   0,   0,   255, 255, 255},
          (unsigned char[]){255, 0, 255, 0, 0, 0, 0, 255});
    make(&(struct picture){1, 4, 2, SPNG_COLOR_TYPE_GRAYSCALE, 0, (unsigned char[]){0x1b}, 1, NULL,
                           0});
    check(1, (unsigned char[]){0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255},
          (unsigned char[]){0, 85, 170, 255});
    make(&(struct picture){1, 2, 4, SPNG_COLOR_TYPE_GRAYSCALE, 0, (unsigned char[]){0x3f}, 1, NULL,
                           0});
    check(1, (unsigned char[]){51, 51, 51, 255, 255, 255}, (unsigned char[]){51, 255});
}

static void grey_and_colours_of_8_bits_stay_as_they_are(void **state)
{
    (void)state;
    make(&(struct picture){1, 2, 8, SPNG_COLOR_TYPE_GRAYSCALE, 0, (unsigned char[]){7, 200}, 2,
                           NULL, 0});
    check(1, (unsigned char[]){7, 7, 7, 200, 200, 200}, (unsigned char[]){7, 200});
    // Pillow 12.3: Image.new("RGB", (1, 1), (r, g, b)).convert("L").getpixel((0, 0))
    const unsigned char pixels[] = {200, 100, 50, 1, 2, 3, 255, 254, 250};
    make(&(struct picture){1, 3, 8, SPNG_COLOR_TYPE_TRUECOLOR, 0, pixels, 9, NULL, 0});
    check(3, pixels, (unsigned char[]){124, 2, 254});
}

static void of_16_bits_the_upper_8_are_taken(void **state)
{
    (void)state;
    make(&(struct picture){1, 2, 16, SPNG_COLOR_TYPE_GRAYSCALE, 0,
                           (unsigned char[]){7, 255, 200, 1}, 4, NULL, 0});
    check(1, (unsigned char[]){7, 7, 7, 200, 200, 200}, (unsigned char[]){7, 200});
    make(&(struct picture){1, 1, 16, SPNG_COLOR_TYPE_TRUECOLOR, 0,
                           (unsigned char[]){200, 1, 100, 255, 50, 128}, 6, NULL, 0});
    check(3, (unsigned char[]){200, 100, 50}, (unsigned char[]){124});
}

static void a_palette_is_looked_up(void **state)
{
    (void)state;
    const struct spng_plte palette = {.n_entries = 3,
                                      .entries = {{0, 0, 0, 0}, {200, 100, 50, 0}, {1, 2, 3, 0}}};
    make(&(struct picture){1, 3, 2, SPNG_COLOR_TYPE_INDEXED, 0, (unsigned char[]){0x60}, 1,
                           &palette, 0});
    check(3, (unsigned char[]){200, 100, 50, 1, 2, 3, 0, 0, 0}, (unsigned char[]){124, 2, 0});
    make(&(struct picture){1, 3, 8, SPNG_COLOR_TYPE_INDEXED, 0, (unsigned char[]){2, 0, 1}, 3,
                           &palette, 0});
    check(3, (unsigned char[]){1, 2, 3, 0, 0, 0, 200, 100, 50}, (unsigned char[]){2, 0, 124});
}

static void alpha_is_left_out(void **state)
{
    (void)state;
    make(&(struct picture){1, 2, 8, SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, 0,
                           (unsigned char[]){7, 0, 200, 128}, 4, NULL, 0});
    check(2, (unsigned char[]){7, 7, 7, 200, 200, 200}, (unsigned char[]){7, 200});
    make(&(struct picture){1, 2, 8, SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, 0,
                           (unsigned char[]){200, 100, 50, 0, 1, 2, 3, 255}, 8, NULL, 0});
    check(4, (unsigned char[]){200, 100, 50, 1, 2, 3}, (unsigned char[]){124, 2});
}

// ---- Regions ----

enum { SIZE = 23 * 37 * 3 };

static void make_colours(unsigned interlaced, unsigned orientation)
{
    unsigned char *pixels = fake_pixels_new(23, 37, 3);
    make(&(struct picture){23, 37, 8, SPNG_COLOR_TYPE_TRUECOLOR, interlaced, pixels, SIZE, NULL,
                           orientation});
    free(pixels);
}

static void a_region_is_cut_out_interlaced_or_not(void **state)
{
    (void)state;
    unsigned char *pixels = fake_pixels_new(23, 37, 3);
    static const struct bm_region regions[] = {
        {0, 0, 23, 37}, {5, 7, 11, 13}, {22, 36, 1, 1}, {0, 36, 23, 1}, {22, 0, 1, 37}};
    for (unsigned interlaced = 0; interlaced < 2; interlaced++) {
        make_colours(interlaced, 0);
        for (unsigned i = 0; i < sizeof regions / sizeof regions[0]; i++) {
            const struct bm_region *region = &regions[i];
            unsigned char got[SIZE];
            assert_int_equal(decode(&colours, region, got), BM_OK);
            for (uint32_t y = 0; y < region->height; y++)
                assert_memory_equal(got + (size_t)y * region->width * 3,
                                    pixels + ((size_t)(region->top + y) * 37 + region->left) * 3,
                                    (size_t)region->width * 3);
        }
    }
    free(pixels);
}

static void the_orientation_of_exif_turns_a_picture_upright(void **state)
{
    (void)state;
    unsigned char *pixels = fake_pixels_new(23, 37, 3);
    make_colours(0, 6); // to be turned to the right: the first column, read upwards, is on top
    struct bm_image_info info = probe();
    assert_int_equal(info.orientation, 6);
    assert_int_equal(info.height, 37);
    assert_int_equal(info.width, 23);
    unsigned char top[23 * 3];
    assert_int_equal(decode(&colours, &(struct bm_region){0, 0, 1, 23}, top), BM_OK);
    for (unsigned x = 0; x < 23; x++)
        assert_memory_equal(top + (size_t)x * 3, pixels + (size_t)(22 - x) * 37 * 3, 3);
    free(pixels);
}

// ---- What is refused ----

static void no_prefix_of_a_picture_is_a_picture(void **state)
{
    (void)state;
    for (unsigned interlaced = 0; interlaced < 2; interlaced++) {
        make_colours(interlaced, 0);
        unsigned char pixels[37 * 3];
        const size_t whole = size;
        unsigned char *kept = file;
        for (size = 0; size < whole; size++) {
            file = malloc(size + 1); // so that ASan sees its end
            assert_non_null(file);
            memcpy(file, kept, size);
            enum bm_status status = decode(&colours, &(struct bm_region){0, 0, 1, 37}, pixels);
            assert_int_equal(status, size < 8 ? BM_INVALID_ARGUMENT : BM_DATA_LOSS);
            free(file);
        }
        file = kept;
        assert_int_equal(decode(&colours, &(struct bm_region){0, 0, 1, 37}, pixels), BM_OK);
    }
}

static void changed_bytes_of_a_region_are_an_error(void **state)
{
    (void)state;
    make_colours(0, 0);
    unsigned char pixels[SIZE];
    unsigned char *data = file; // of the picture, behind "IDAT"
    while (memcmp(data, "IDAT", 4) != 0)
        data++;
    for (unsigned char *at = data + 4; at < data + 40; at++) {
        *at ^= 0x10;
        assert_int_equal(decode(&colours, &(struct bm_region){0, 0, 23, 37}, pixels), BM_DATA_LOSS);
        assert_non_null(strstr(error.text, "expected a sound PNG picture, got: "));
        *at ^= 0x10;
    }
}

static void too_many_pixels_are_refused_before_they_are_decoded(void **state)
{
    (void)state;
    make_colours(0, 0);
    struct bm_image_info info;
    const struct bm_decode few = {.channels = 3, .pixels_max = 850};
    assert_int_equal(bm_image_probe(file, size, &few, &info, &error), BM_OUT_OF_RANGE);
    assert_non_null(strstr(error.text, "at most 850 pixels, got 23 x 37 = 851"));
}

static void sides_beyond_65500_are_refused(void **state)
{
    (void)state;
    const unsigned char row[65501 / 8 + 1] = {0};
    make(&(struct picture){1, 65501, 1, SPNG_COLOR_TYPE_GRAYSCALE, 0, row, sizeof row, NULL, 0});
    struct bm_image_info info;
    assert_int_equal(bm_image_probe(file, size, &greys, &info, &error), BM_OUT_OF_RANGE);
    assert_non_null(strstr(error.text, "at most 65500 x 65500 pixels, got 1 x 65501"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
        TEST(grey_of_few_bits_is_spread_to_255),
        TEST(grey_and_colours_of_8_bits_stay_as_they_are),
        TEST(of_16_bits_the_upper_8_are_taken),
        TEST(a_palette_is_looked_up),
        TEST(alpha_is_left_out),
        TEST(a_region_is_cut_out_interlaced_or_not),
        TEST(the_orientation_of_exif_turns_a_picture_upright),
        TEST(no_prefix_of_a_picture_is_a_picture),
        TEST(changed_bytes_of_a_region_are_an_error),
        TEST(too_many_pixels_are_refused_before_they_are_decoded),
        TEST(sides_beyond_65500_are_refused),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
