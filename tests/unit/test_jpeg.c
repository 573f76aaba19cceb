// What image/jpeg.c promises: the pixels of libjpeg-turbo's own full decoding, for any region.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "fakes/heap.h"
#include "fakes/pictures.h"
#include "image/codec.h"
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
    bm_fake_heap_fail_never();
    bm_image_scratch_free(scratch);
    free(file);
    file = NULL;
    return 0;
}

static void make(const struct fake_jpeg *how)
{
    free(file);
    file = fake_jpeg_new(how, &size);
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

static unsigned char *decode_all(const struct bm_decode *how, const struct bm_image_info *info)
{
    unsigned char *pixels = malloc((size_t)info->height * info->width * how->channels);
    assert_non_null(pixels);
    const struct bm_region all = {0, 0, info->height, info->width};
    if (decode(how, &all, pixels) != BM_OK)
        fail_msg("%s", error.text);
    return pixels;
}

static void refuse(enum bm_status status, enum bm_status expected, const char *text)
{
    assert_int_equal(status, expected);
    assert_non_null(strstr(error.text, text));
}

// ---- The pixels of the whole ----

struct whole {
    uint32_t height, width;
    unsigned channels;
    unsigned char *pixels;
};

// As any program that uses libjpeg decodes a whole picture.
static struct whole whole_new(unsigned shrink, unsigned channels)
{
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors; // which ends the program
    codec.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&codec);
    jpeg_mem_src(&codec, file, (unsigned long)size);
    jpeg_read_header(&codec, TRUE);
    codec.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    codec.do_block_smoothing = FALSE;
    codec.scale_num = 1;
    codec.scale_denom = shrink;
    jpeg_start_decompress(&codec);
    struct whole whole = {codec.output_height, codec.output_width, channels, NULL};
    size_t stride = (size_t)whole.width * channels;
    whole.pixels = malloc(stride * whole.height);
    assert_non_null(whole.pixels);
    while (codec.output_scanline < codec.output_height) {
        JSAMPROW row = whole.pixels + codec.output_scanline * stride;
        jpeg_read_scanlines(&codec, &row, 1);
    }
    jpeg_finish_decompress(&codec);
    jpeg_destroy_decompress(&codec);
    return whole;
}

static void check_region(const struct whole *whole, unsigned shrink, const struct bm_region *region)
{
    const struct bm_file_region what = {*region, shrink};
    const size_t depth = whole->channels, row_size = region->width * depth;
    unsigned char *got = malloc(row_size * region->height); // so that ASan sees its end
    assert_non_null(got);
    const struct bm_pixels to = {got, row_size, region->height, region->width, whole->channels};
    if (bm_jpeg_decode(scratch, file, size, &what, &to, &error) != BM_OK)
        fail_msg("%s", error.text);
    for (uint32_t y = 0; y < region->height; y++) {
        size_t at = ((size_t)(region->top + y) * whole->width + region->left) * depth;
        if (memcmp(got + y * row_size, whole->pixels + at, row_size) != 0)
            fail_msg("%u x %u / %u, %u channels: region %u + %u, %u + %u differs in row %u",
                     whole->height, whole->width, shrink, whole->channels, region->top,
                     region->height, region->left, region->width, y);
    }
    free(got);
}

static uint32_t draw(uint32_t below)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)state * below) >> 32);
}

static void check_regions(unsigned shrink, unsigned channels, unsigned nregions)
{
    struct whole whole = whole_new(shrink, channels);
    check_region(&whole, shrink, &(struct bm_region){0, 0, whole.height, whole.width});
    for (unsigned i = 0; i < nregions / BM_TEST_SLOWNESS + 1; i++) {
        struct bm_region region = {draw(whole.height), draw(whole.width), 1, 1};
        // Narrow ones, too: upsampling has a case of its own for those.
        uint32_t width_max = i % 3 == 0 ? 4 : whole.width, height_max = whole.height;
        if (i % 5 == 0)
            region.left = 0;
        region.height += draw(whole.height - region.top);
        region.width += draw(whole.width - region.left);
        region.width = region.width < width_max ? region.width : width_max;
        region.height = region.height < height_max ? region.height : height_max;
        check_region(&whole, shrink, &region);
    }
    free(whole.pixels);
}

static void a_region_has_the_pixels_of_the_whole_picture(void **state)
{
    (void)state;
    static const struct {
        unsigned across, down;
    } samplings[] = {{1, 1}, {2, 1}, {2, 2}, {1, 2}, {4, 1}, {4, 2}};
    static const struct {
        uint32_t height, width;
    } sides[] = {{83, 97}, {37, 131}, {90, 17}, {40, 3}, {7, 5}, {1, 1}};
    for (unsigned s = 0; s < sizeof samplings / sizeof samplings[0]; s++) {
        for (unsigned i = 0; i < sizeof sides / sizeof sides[0]; i++) {
            for (unsigned form = 0; form < 4; form++) {
                make(&(struct fake_jpeg){.height = sides[i].height,
                                         .width = sides[i].width,
                                         .channels = 3,
                                         .across = samplings[s].across,
                                         .down = samplings[s].down,
                                         .progressive = form == 1,
                                         .separate = form == 2,
                                         .restart = form == 3 ? 2 : 0});
                check_regions(1, 3, 20);
                check_regions(1, 1, 3);
            }
        }
    }
}

static void a_region_of_a_grey_picture_has_the_pixels_of_the_whole(void **state)
{
    (void)state;
    for (unsigned progressive = 0; progressive < 2; progressive++) {
        make(&(struct fake_jpeg){
            .height = 61, .width = 95, .channels = 1, .progressive = progressive != 0});
        check_regions(1, 1, 50);
        check_regions(1, 3, 50);
    }
}

// It ends in order, but with a few coefficients of each block only.
static void a_region_of_an_unfinished_picture_has_the_pixels_of_the_whole(void **state)
{
    (void)state;
    make(&(struct fake_jpeg){.height = 61, .width = 95, .channels = 3, .progressive = true});
    unsigned nscans = 0;
    for (size_t i = 0; i + 1 < size && nscans < 3; i++) {
        if (file[i] == 0xff && file[i + 1] == 0xda && ++nscans == 3) {
            file[i + 1] = 0xd9;
            size = i + 2;
        }
    }
    assert_int_equal(nscans, 3);
    check_regions(1, 3, 50);
}

static void a_region_of_a_shrunk_picture_has_the_pixels_of_the_whole(void **state)
{
    (void)state;
    for (unsigned down = 1; down <= 4; down++) {
        for (unsigned across = 1; across * down <= 8 && across <= 4; across++) {
            make(&(struct fake_jpeg){
                .height = 143, .width = 209, .channels = 3, .across = across, .down = down});
            for (unsigned shrink = 2; shrink <= 8; shrink *= 2)
                check_regions(shrink, 3, 20);
        }
    }
}

// ---- Colours ----

// Pillow 12.3: Image.new("CMYK", (16, 16), (200, 100, 50, 30)) saved with quality=100, opened and
// converted: (49, 137, 181); "L" of that: 116. What Adobe stores is 255 less the ink.
static void inks_become_red_green_and_blue_as_in_pillow(void **state)
{
    (void)state;
    unsigned char inks[16 * 16 * 4], pixels[16 * 16 * 3];
    for (unsigned i = 0; i < sizeof inks; i += 4)
        memcpy(inks + i, (unsigned char[]){55, 155, 205, 225}, 4);
    make(&(struct fake_jpeg){.height = 16, .width = 16, .channels = 4, .pixels = inks});
    assert_int_equal(probe().channels, 4);
    const struct bm_region all = {0, 0, 16, 16};
    assert_int_equal(decode(&colours, &all, pixels), BM_OK);
    assert_in_range(pixels[0], 47, 51); // quality 95 here
    assert_in_range(pixels[1], 135, 139);
    assert_in_range(pixels[2], 179, 183);
    assert_int_equal(decode(&greys, &all, pixels), BM_OK);
    assert_in_range(pixels[255], 114, 118);
}

// ---- Orientation ----

// Where the corners of a file are seen: top left, top right, bottom left, bottom right.
static const char corners[9][5] = {"",     "ABCD", "BADC", "DCBA", "CDAB",
                                   "ACBD", "CADB", "DBCA", "BDAC"};

static void the_orientation_of_exif_turns_a_picture_upright(void **state)
{
    (void)state;
    unsigned char pixels[16 * 32];
    for (unsigned i = 0; i < sizeof pixels; i++) // A 32, B 96, C 160, D 224
        pixels[i] = (unsigned char)(32 + 64 * (i % 32 / 16) + 128 * (i / 32 / 8));
    for (unsigned orientation = 1; orientation <= 8; orientation++) {
        make(&(struct fake_jpeg){.height = 16,
                                 .width = 32,
                                 .channels = 1,
                                 .pixels = pixels,
                                 .orientation = orientation});
        struct bm_image_info info = probe();
        assert_int_equal(info.orientation, orientation);
        assert_int_equal(info.height, orientation < 5 ? 16 : 32);
        assert_int_equal(info.width, orientation < 5 ? 32 : 16);
        unsigned char *seen = decode_all(&greys, &info);
        size_t last = (size_t)(info.height - 1) * info.width;
        const size_t at[] = {0, info.width - 1, last, last + info.width - 1};
        for (unsigned corner = 0; corner < 4; corner++)
            assert_in_range(seen[at[corner]], 24 + 64 * (corners[orientation][corner] - 'A'),
                            40 + 64 * (corners[orientation][corner] - 'A'));
        free(seen);
    }
}

static void a_region_is_one_of_the_upright_picture(void **state)
{
    (void)state;
    for (unsigned orientation = 1; orientation <= 8; orientation++) {
        make(&(struct fake_jpeg){.height = 45,
                                 .width = 70,
                                 .channels = 3,
                                 .across = 2,
                                 .down = 2,
                                 .orientation = orientation});
        struct bm_image_info info = probe();
        unsigned char *all = decode_all(&colours, &info);
        for (unsigned i = 0; i < 20; i++) {
            struct bm_region region = {draw(info.height), draw(info.width), 1, 1};
            region.height += draw(info.height - region.top);
            region.width += draw(info.width - region.left);
            unsigned char part[70 * 70 * 3];
            assert_int_equal(decode(&colours, &region, part), BM_OK);
            for (uint32_t y = 0; y < region.height; y++)
                assert_memory_equal(part + (size_t)y * region.width * 3,
                                    all + ((size_t)(region.top + y) * info.width + region.left) * 3,
                                    (size_t)region.width * 3);
        }
        free(all);
    }
}

static void the_orientation_is_ignored_when_told_so(void **state)
{
    (void)state;
    make(&(struct fake_jpeg){.height = 8, .width = 24, .channels = 1, .orientation = 6});
    struct bm_image_info info;
    const struct bm_decode lying = {.channels = 1, .ignore_orientation = true};
    assert_int_equal(bm_image_probe(file, size, &lying, &info, &error), BM_OK);
    assert_int_equal(info.orientation, 1);
    assert_int_equal(info.height, 8);
    unsigned char pixels[8 * 24];
    struct whole whole = whole_new(1, 1);
    assert_int_equal(decode(&lying, &(struct bm_region){0, 0, 8, 24}, pixels), BM_OK);
    assert_memory_equal(pixels, whole.pixels, sizeof pixels);
    free(whole.pixels);
}

// ---- Shrunk while decoded ----

// Slopes, which look the same however they are shrunk: what differs is out of place.
static void shrinking_in_libjpeg_keeps_everything_in_its_place(void **state)
{
    (void)state;
    static unsigned char slopes[203 * 254];
    for (unsigned i = 0; i < sizeof slopes; i++)
        slopes[i] = (unsigned char)(i % 254 * 3 / 5 + i / 254 / 2);
    for (unsigned orientation = 1; orientation <= 8; orientation++) {
        make(&(struct fake_jpeg){.height = 203,
                                 .width = 254,
                                 .channels = 1,
                                 .pixels = slopes,
                                 .orientation = orientation});
        struct bm_image_info info = probe();
        for (unsigned i = 0; i < 20; i++) {
            struct bm_region region = {draw(60), draw(60), 0, 0};
            region.height = info.height - region.top - draw(60);
            region.width = info.width - region.left - draw(60);
            uint32_t side = 10 + draw(60); // shrunk by 8 down to 1
            unsigned char exact[70 * 70], shrunk[70 * 70];
            const struct bm_pixels to_exact = {exact, side, side, side, 1};
            const struct bm_pixels to_shrunk = {shrunk, side, side, side, 1};
            struct bm_decode_resize how = {greys, {BM_FILTER_BILINEAR, true}, false};
            assert_int_equal(
                bm_image_decode_resize(scratch, file, size, &how, &region, &to_exact, &error),
                BM_OK);
            how.scale_in_dct = true;
            assert_int_equal(
                bm_image_decode_resize(scratch, file, size, &how, &region, &to_shrunk, &error),
                BM_OK);
            for (uint32_t at = 0; at < side * side; at++) {
                bool border = at % side == 0 || at % side == side - 1 || at / side == 0 ||
                              at / side == side - 1; // where one filter sees more than the other
                if (!border && abs(exact[at] - shrunk[at]) > 2)
                    fail_msg("orientation %u, side %u, pixel %u: %d, not %d", orientation, side, at,
                             shrunk[at], exact[at]);
            }
        }
    }
}

// ---- What is refused ----

static void no_prefix_of_a_picture_is_a_picture(void **state)
{
    (void)state;
    for (unsigned progressive = 0; progressive < 2; progressive++) {
        make(&(struct fake_jpeg){
            .height = 20, .width = 30, .channels = 3, .progressive = progressive != 0});
        unsigned char pixels[20 * 30 * 3];
        const size_t whole = size;
        for (size = 0; size < whole; size++) {
            unsigned char *exact = malloc(size + 1); // so that ASan sees its end
            assert_non_null(exact);
            memcpy(exact, file, size);
            unsigned char *kept = file;
            file = exact;
            // The first row alone: the rest is not decoded, and missed all the same.
            enum bm_status status = decode(&colours, &(struct bm_region){0, 0, 1, 30}, pixels);
            assert_int_equal(status, size < 3 ? BM_INVALID_ARGUMENT : BM_DATA_LOSS);
            file = kept;
            free(exact);
        }
        assert_int_equal(decode(&colours, &(struct bm_region){0, 0, 1, 30}, pixels), BM_OK);
    }
}

// The first marker of this kind.
static unsigned char *marker(unsigned char kind)
{
    for (size_t i = 0; i + 1 < size; i++)
        if (file[i] == 0xff && file[i + 1] == kind)
            return file + i;
    fail_msg("no marker %02x", kind);
    return NULL;
}

static void what_libjpeg_warns_about_is_an_error(void **state)
{
    (void)state;
    make(&(struct fake_jpeg){.height = 64, .width = 64, .channels = 1, .restart = 4});
    marker(0xd1)[1] = 0xd5; // a restart that comes too early: data were lost
    unsigned char pixels[64 * 64];
    refuse(decode(&greys, &(struct bm_region){0, 0, 64, 64}, pixels), BM_DATA_LOSS,
           "expected a sound JPEG picture, got: Corrupt JPEG data: found marker 0xd5");
    // And the scratch is as good as before.
    make(&(struct fake_jpeg){.height = 64, .width = 64, .channels = 1});
    assert_int_equal(decode(&greys, &(struct bm_region){0, 0, 64, 64}, pixels), BM_OK);
}

static void forms_that_libjpeg_lacks_are_named(void **state)
{
    (void)state;
    make(&(struct fake_jpeg){.height = 8, .width = 8, .channels = 1});
    unsigned char pixels[8 * 8];
    marker(0xc0)[1] = 0xc3; // the lossless process
    refuse(decode(&greys, &(struct bm_region){0, 0, 8, 8}, pixels), BM_UNIMPLEMENTED, "SOF type");
    make(&(struct fake_jpeg){.height = 8, .width = 8, .channels = 1});
    marker(0xc0)[4] = 12; // bits
    refuse(decode(&greys, &(struct bm_region){0, 0, 8, 8}, pixels), BM_UNIMPLEMENTED, "12");
}

static void endless_scans_are_refused(void **state)
{
    (void)state;
    make(&(struct fake_jpeg){.height = 8, .width = 8, .channels = 3, .separate = true});
    size_t start = 0; // of the last scan
    for (size_t i = 0; i + 1 < size; i++)
        if (file[i] == 0xff && file[i + 1] == 0xda)
            start = i;
    const size_t scan = size - 2 - start;
    unsigned char *many = malloc(size + 600 * scan);
    assert_non_null(many);
    memcpy(many, file, size);
    for (unsigned i = 0; i < 600; i++, size += scan)
        memcpy(many + size - 2, many + start, scan);
    many[size - 2] = 0xff;
    many[size - 1] = 0xd9;
    free(file);
    file = many;
    unsigned char pixels[8 * 8 * 3];
    refuse(decode(&colours, &(struct bm_region){0, 0, 8, 8}, pixels), BM_DATA_LOSS,
           "at most 500 scans");
}

static void too_many_pixels_are_refused_before_they_are_decoded(void **state)
{
    (void)state;
    make(&(struct fake_jpeg){.height = 30, .width = 40, .channels = 1});
    struct bm_image_info info;
    const struct bm_decode enough = {.channels = 1, .pixels_max = 1200};
    assert_int_equal(bm_image_probe(file, size, &enough, &info, &error), BM_OK);
    const struct bm_decode few = {.channels = 1, .pixels_max = 1199};
    refuse(bm_image_probe(file, size, &few, &info, &error), BM_OUT_OF_RANGE,
           "expected a picture of at most 1199 pixels, got 30 x 40 = 1200");
    unsigned char pixel;
    refuse(decode(&few, &(struct bm_region){0, 0, 1, 1}, &pixel), BM_OUT_OF_RANGE, "1199");
}

static void regions_outside_of_the_picture_are_refused(void **state)
{
    (void)state;
    make(&(struct fake_jpeg){.height = 30, .width = 40, .channels = 1, .orientation = 6});
    static const struct bm_region regions[] = {
        {0, 0, 41, 30}, {0, 0, 40, 31}, {1, 0, 40, 30}, {40, 0, 1, 1},
        {0, 30, 1, 1},  {0, 0, 0, 1},   {0, 0, 1, 0},   {UINT32_MAX, 0, 2, 1},
    };
    unsigned char pixels[42 * 42];
    for (unsigned i = 0; i < sizeof regions / sizeof regions[0]; i++)
        refuse(decode(&greys, &regions[i], pixels), BM_OUT_OF_RANGE,
               "expected a region inside of the 40 x 30 pixels, got rows");
}

static void other_bytes_are_no_picture(void **state)
{
    (void)state;
    struct bm_image_info info;
    refuse(bm_image_probe("GIF89a", 6, &colours, &info, &error), BM_INVALID_ARGUMENT,
           "expected a JPEG or PNG picture, got 6 bytes that start with 47 49 46 38 39 61");
    refuse(bm_image_probe(NULL, 0, &colours, &info, &error), BM_INVALID_ARGUMENT, "got no bytes");
}

// ---- Memory ----

static void a_warm_scratch_allocates_nothing(void **state)
{
    (void)state;
    make(&(struct fake_jpeg){
        .height = 80, .width = 90, .channels = 3, .across = 2, .down = 2, .orientation = 6});
    unsigned char pixels[20 * 20 * 3];
    const struct bm_pixels to = {pixels, 60, 20, 20, 3};
    const struct bm_decode_resize how = {{.channels = 3}, {BM_FILTER_BILINEAR, true}, false};
    const struct bm_region all = {0, 0, 90, 80}, part = {30, 9, 41, 57};
    assert_int_equal(bm_image_decode_resize(scratch, file, size, &how, &all, &to, &error), BM_OK);
    bm_fake_heap_fail_never();
    uint64_t before = bm_fake_heap_count();
    assert_int_equal(bm_image_decode_resize(scratch, file, size, &how, &part, &to, &error), BM_OK);
    assert_int_equal(bm_fake_heap_count(), before);
}

static void the_memory_of_a_huge_picture_is_given_back(void **state)
{
    (void)state;
    void *data = NULL;
    const size_t huge = (size_t)100 << 20, usual = (size_t)1 << 20;
    assert_int_equal(bm_scratch_get(scratch, BM_SCRATCH_REGION, huge, &data, &error), BM_OK);
    assert_true(scratch->memory[BM_SCRATCH_REGION].size >= huge);
    assert_int_equal(bm_scratch_get(scratch, BM_SCRATCH_REGION, usual, &data, &error), BM_OK);
    assert_in_range(scratch->memory[BM_SCRATCH_REGION].size, usual, 2 * usual);
}

static void a_failed_allocation_is_an_error_and_no_more(void **state)
{
    (void)state;
    make(&(struct fake_jpeg){.height = 30, .width = 40, .channels = 3, .orientation = 3});
    unsigned char pixels[20 * 20 * 3];
    const struct bm_pixels to = {pixels, 60, 20, 20, 3};
    const struct bm_decode_resize how = {{.channels = 3}, {BM_FILTER_BICUBIC, true}, false};
    const struct bm_region all = {0, 0, 30, 40};
    bool failed;
    uint64_t n = 0;
    do {
        struct bm_image_scratch *own = NULL;
        bm_fake_heap_fail_at(++n);
        enum bm_status status = bm_image_scratch_new(&own, &error);
        if (status == BM_OK)
            status = bm_image_decode_resize(own, file, size, &how, &all, &to, &error);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        bm_image_scratch_free(own);
    } while (failed);
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
        TEST(a_region_has_the_pixels_of_the_whole_picture),
        TEST(a_region_of_a_grey_picture_has_the_pixels_of_the_whole),
        TEST(a_region_of_an_unfinished_picture_has_the_pixels_of_the_whole),
        TEST(a_region_of_a_shrunk_picture_has_the_pixels_of_the_whole),
        TEST(inks_become_red_green_and_blue_as_in_pillow),
        TEST(the_orientation_of_exif_turns_a_picture_upright),
        TEST(a_region_is_one_of_the_upright_picture),
        TEST(the_orientation_is_ignored_when_told_so),
        TEST(shrinking_in_libjpeg_keeps_everything_in_its_place),
        TEST(no_prefix_of_a_picture_is_a_picture),
        TEST(what_libjpeg_warns_about_is_an_error),
        TEST(forms_that_libjpeg_lacks_are_named),
        TEST(endless_scans_are_refused),
        TEST(too_many_pixels_are_refused_before_they_are_decoded),
        TEST(regions_outside_of_the_picture_are_refused),
        TEST(other_bytes_are_no_picture),
        TEST(a_warm_scratch_allocates_nothing),
        TEST(the_memory_of_a_huge_picture_is_given_back),
        TEST(a_failed_allocation_is_an_error_and_no_more),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
