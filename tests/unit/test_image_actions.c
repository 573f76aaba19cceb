// What the actions on pictures promise, in real pipelines. The expected pixels are those of
// torchvision 0.15.2 on Pillow 13.0.0 (torch 1.13.0 for tensors), for pictures that both sides
// compute; the line that made them stands with each.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/action_fixture.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct action_fixture fixture;

static int make_fixture(void **state)
{
    (void)state;
    action_fixture_init(&fixture);
    fixture.seed = 7;
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    action_fixture_fini(&fixture);
    return 0;
}

static void build(const char *actions)
{
    enum bm_status status = action_fixture_build(&fixture, actions);
    if (status != BM_OK)
        fail_msg("%s: %s: %s", actions, fixture.error.where, fixture.error.text);
}

static void run(const char *actions, uint64_t nitems)
{
    build(actions);
    enum bm_result result = action_fixture_run(&fixture, nitems, 0);
    if (result != BM_RESULT_OK)
        fail_msg("%s: %s: %s", actions, fixture.work.error.where, fixture.work.error.text);
}

static void assert_bytes(const char *name, const uint8_t *expected, size_t n, int tolerance)
{
    const uint8_t *bytes = action_fixture_values(&fixture, name);
    for (size_t i = 0; i < n; i++) {
        if (abs(bytes[i] - expected[i]) > tolerance)
            fail_msg("%s[%zu] is %d, expected %d", name, i, bytes[i], expected[i]);
    }
}

static void assert_shape(const char *name, const char *expected)
{
    struct bm_buffer shown;
    bm_buffer_init(&shown);
    const struct bm_component *component = action_fixture_component(&fixture, name);
    assert_non_null(component);
    bm_component_print(component, &shown);
    assert_string_equal(bm_buffer_text(&shown), expected);
    bm_buffer_fini(&shown);
}

// ---- Pictures that are computed ----

enum { PICTURES_MAX = 8, PIXELS_MAX = 8192 };

// picture(h, w, k): y * 5 + k, x * 3 + 7, x * y + 31 * k, each & 255
static uint8_t *picture_write(uint8_t *to, uint32_t height, uint32_t width, uint32_t k)
{
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            *to++ = (uint8_t)(y * 5 + k);
            *to++ = (uint8_t)(x * 3 + 7);
            *to++ = (uint8_t)(x * y + 31 * k);
        }
    }
    return to;
}

static struct {
    uint8_t pixels[3 * PIXELS_MAX];
    uint64_t offsets[PICTURES_MAX + 1];
    int32_t sizes[2 * PICTURES_MAX];
} made;

// Pictures of sizes of their own, as decode_image gives them.
static void give_pictures(const int32_t (*sizes)[2], unsigned n)
{
    uint8_t *end = made.pixels;
    for (unsigned i = 0; i < n; i++) {
        memcpy(&made.sizes[2 * (size_t)i], sizes[i], sizeof sizes[i]);
        end = picture_write(end, (uint32_t)sizes[i][0], (uint32_t)sizes[i][1], i);
        made.offsets[i + 1] = made.offsets[i] + (uint64_t)(sizes[i][0] * sizes[i][1]);
    }
    assert_in_range(made.offsets[n], 1, PIXELS_MAX);
    const struct given given[] = {
        {"image", BM_UINT8, 2, {0, 3}, made.pixels, made.offsets},
        {"image.size", BM_INT32, 1, {2}, made.sizes, NULL},
    };
    action_fixture_give(n, given, 2);
}

// n pictures of one size.
static void give_dense(uint32_t height, uint32_t width, unsigned n)
{
    uint8_t *end = made.pixels;
    assert_in_range(n * height * width, 1, PIXELS_MAX);
    for (unsigned i = 0; i < n; i++)
        end = picture_write(end, height, width, i);
    const struct given image = {"image", BM_UINT8, 3, {height, width, 3}, made.pixels, NULL};
    action_fixture_give(n, &image, 1);
}

static const int32_t four_sizes[][2] = {{40, 50}, {31, 20}, {8, 64}, {25, 25}};

// ---- resize ----

static void resize_gives_what_pillow_gives(void **state)
{
    (void)state;
    // F.resize(Image.fromarray(picture(h, w, k)), [3, 5], BILINEAR)
    static const uint8_t resized[] = {
        37,  23,  41,  37,  51,  97,  37,  81,  115, 37,  111, 118, 37,  138, 118, 98,  23, 95,
        98,  51,  134, 98,  81,  128, 98,  111, 126, 98,  138, 127, 158, 23,  112, 158, 51, 128,
        158, 81,  126, 158, 111, 127, 158, 138, 126, 29,  13,  42,  29,  24,  62,  29,  36, 85,
        29,  48,  107, 29,  58,  122, 76,  13,  59,  76,  24,  114, 76,  36,  160, 76,  48, 145,
        76,  58,  122, 123, 13,  77,  123, 24,  158, 123, 36,  125, 123, 48,  114, 123, 58, 145,
        8,   28,  70,  8,   63,  83,  8,   102, 97,  8,   140, 111, 8,   175, 124, 20,  28, 87,
        20,  63,  128, 20,  102, 165, 20,  140, 157, 20,  175, 134, 31,  28,  104, 31,  63, 169,
        31,  102, 142, 31,  140, 92,  31,  175, 136, 25,  14,  104, 25,  28,  124, 25,  43, 146,
        25,  58,  156, 25,  72,  149, 63,  14,  122, 63,  28,  172, 63,  43,  150, 63,  58, 112,
        63,  72,  122, 101, 14,  141, 101, 28,  163, 101, 43,  93,  101, 58,  147, 101, 72, 126};
    give_pictures(four_sizes, 4);
    run("[resize: {components: image, size: [3, 5]}]", 4);
    assert_shape("image", "image uint8 [3, 5, 3]");
    assert_null(action_fixture_component(&fixture, "image.size"));
    assert_bytes("image", resized, sizeof resized, 0);
    assert_int_equal(bm_pipeline_action(fixture.pipeline, 0).form, BM_PER_ITEM);
}

static void resize_by_the_short_side_keeps_the_shape(void **state)
{
    (void)state;
    // F.resize(Image.fromarray(picture(h, w, k)), 3, BILINEAR)
    static const uint8_t short_sides[] = {
        37,  35,  65,  37,  81,  113, 37,  126, 118, 98,  35,  115, 98,  81,  128, 98,  126, 126,
        158, 35,  119, 158, 81,  127, 158, 126, 126, 22,  17,  45,  22,  36,  70,  22,  54,  95,
        57,  17,  70,  57,  36,  135, 57,  54,  158, 95,  17,  96,  95,  36,  153, 95,  54,  109,
        130, 17,  117, 130, 36,  124, 130, 54,  142, 8,   10,  63,  8,   18,  66,  8,   25,  69,
        8,   34,  72,  8,   42,  75,  8,   49,  77,  8,   58,  81,  8,   66,  84,  8,   73,  86,
        8,   82,  90,  8,   90,  93,  8,   97,  95,  8,   106, 98,  8,   114, 101, 8,   121, 104,
        8,   130, 107, 8,   138, 110, 8,   145, 113, 8,   154, 116, 8,   162, 119, 8,   169, 122,
        8,   178, 125, 8,   186, 128, 8,   193, 131, 20,  10,  66,  20,  18,  75,  20,  25,  84,
        20,  34,  93,  20,  42,  103, 20,  49,  112, 20,  58,  121, 20,  66,  131, 20,  73,  140,
        20,  82,  149, 20,  90,  159, 20,  97,  168, 20,  106, 173, 20,  114, 180, 20,  121, 173,
        20,  130, 156, 20,  138, 166, 20,  145, 175, 20,  154, 135, 20,  162, 115, 20,  169, 124,
        20,  178, 133, 20,  186, 143, 20,  193, 151, 31,  10,  69,  31,  18,  83,  31,  25,  98,
        31,  34,  114, 31,  42,  130, 31,  49,  146, 31,  58,  161, 31,  66,  177, 31,  73,  193,
        31,  82,  208, 31,  90,  187, 31,  97,  166, 31,  106, 118, 31,  114, 96,  31,  121, 89,
        31,  130, 67,  31,  138, 83,  31,  145, 98,  31,  154, 101, 31,  162, 110, 31,  169, 125,
        31,  178, 141, 31,  186, 157, 31,  193, 171, 25,  20,  113, 25,  43,  144, 25,  66,  152,
        63,  20,  144, 63,  43,  148, 63,  66,  118, 101, 20,  152, 101, 43,  118, 101, 66,  135};
    give_pictures(four_sizes, 4);
    run("[resize: {components: image, size: 3, mode: short_side}]", 4);
    assert_shape("image", "image uint8 [varies, 3]");
    assert_shape("image.size", "image.size int32 [2]");
    assert_memory_equal(action_fixture_values(&fixture, "image.size"),
                        ((int32_t[]){3, 3, 4, 3, 3, 24, 3, 3}), 8 * sizeof(int32_t));
    assert_bytes("image", short_sides, sizeof short_sides, 0);
    assert_int_equal(bm_pipeline_action(fixture.pipeline, 0).form, BM_PER_BATCH);
    give_dense(10, 20, 2); // of one size before, of one size after
    run("[resize: {components: image, size: 3, mode: short_side}]", 2);
    assert_shape("image", "image uint8 [3, 6, 3]");
}

static void resize_refuses_what_makes_no_picture(void **state)
{
    (void)state;
    give_pictures(four_sizes, 1);
    REFUSES("[resize: {components: image, size: 0}]", ".size", "1 to 65500");
    REFUSES("[resize: {components: image, size: [4, 65501]}]", ".size", "got 65501");
    REFUSES("[resize: {components: image, size: [1, 2, 3]}]", ".size", "height and width");
    REFUSES("[resize: {components: image, size: [1, 2], mode: short_side}]", ".size", "one number");
    REFUSES("[resize: {components: image.size, size: 4}]", ".components", "expected pictures");
    REFUSES("[resize: {components: image, size: 4, interpolation: lanczos}]", ".interpolation",
            "bicubic");
    REFUSES("[{drop: {components: image.size}}, {resize: {components: image, size: 4}}]",
            ".components", "beside their .size");
    static const int32_t thin[][2] = {{4, 4}, {1, 8000}};
    give_pictures(thin, 2);
    build("[resize: {components: image, size: 9, mode: short_side}]");
    assert_int_equal(action_fixture_run(&fixture, 2, 0), BM_RESULT_FAIL);
    assert_int_equal(fixture.work.failed_item, 1);
    assert_non_null(strstr(fixture.work.error.text, "got 9 x 72000"));
}

static void a_picture_too_thin_to_resize_fails_joined_or_not(void **state)
{
    (void)state;
    static const int32_t thin[][2] = {{4, 4}, {1, 8000}};
    static const char *const actions[] = {
        "[{resize: {components: image, size: 9, mode: short_side}}, {center_crop: {components: "
        "image, size: 3}}]",
        "[{resize: {components: image, size: 9, mode: short_side}, use_lock: a}, {center_crop: "
        "{components: image, size: 3}}]",
    };
    give_pictures(thin, 2);
    for (unsigned i = 0; i < COUNT(actions); i++) {
        build(actions[i]);
        assert_int_equal(action_fixture_run(&fixture, 2, 0), BM_RESULT_FAIL);
        assert_int_equal(fixture.work.failed_item, 1);
        assert_int_equal(fixture.work.failed_action, 0);
        assert_non_null(strstr(fixture.work.error.text, "got 9 x 72000"));
    }
}

static void sides_have_a_limit_whoever_gives_the_pictures(void **state)
{
    (void)state;
    enum { SIDE = 65501 };
    static const uint8_t pixels[SIDE];
    const uint64_t offsets[] = {0, SIDE};
    const int32_t size[] = {1, SIDE};
    const struct given given[] = {
        {"image", BM_UINT8, 2, {0, 1}, pixels, offsets},
        {"image.size", BM_INT32, 1, {2}, size, NULL},
    };
    action_fixture_give(1, given, 2);
    build("[resize: {components: image, size: 4}]");
    assert_int_equal(action_fixture_run(&fixture, 1, 0), BM_RESULT_FAIL);
    const struct given dense = {"image", BM_UINT8, 2, {1, SIDE}, pixels, NULL};
    action_fixture_give(1, &dense, 1);
    REFUSES("[resize: {components: image, size: 4}]", ".components", "expected pictures");
}

static void sizes_that_lie_are_an_error_of_their_item(void **state)
{
    (void)state;
    static const char *const actions[] = {
        "[resize: {components: image, size: 4}]",
        "[resize: {components: image, size: 4, mode: short_side}]",
        "[flip: {components: image}]",
        "[color_jitter: {components: image, hue: 0.1}]",
    };
    static const int32_t lies[][2] = {{7, 4}, {-4, -6}, {0, 0}, {1, 24 << 16}};
    static const int32_t sizes[][2] = {{3, 3}, {4, 6}};
    for (unsigned i = 0; i < COUNT(actions); i++) {
        for (unsigned j = 0; j < COUNT(lies); j++) {
            give_pictures(sizes, 2);
            memcpy(&made.sizes[2], lies[j], sizeof lies[j]);
            build(actions[i]);
            assert_int_equal(action_fixture_run(&fixture, 2, 0), BM_RESULT_FAIL);
            assert_int_equal(fixture.work.failed_item, 1);
            assert_non_null(strstr(fixture.work.error.text, "as image.size says, got 24 pixels"));
        }
    }
}

// ---- random_resized_crop ----

static void random_crops_are_those_of_torchvision(void **state)
{
    (void)state;
    // RandomResizedCrop.get_params() on our random numbers (seed 7, epoch 0, items 0 to 3, action
    // 0), then F.resized_crop(Image.fromarray(picture(h, w, k)), *params, [4, 4], BILINEAR)
    static const uint8_t crops[] = {
        104, 104, 152, 104, 113, 150, 104, 123, 114, 104, 132, 102, 121, 104, 107, 121, 113, 105,
        121, 123, 138, 121, 132, 128, 139, 104, 134, 139, 113, 148, 139, 123, 108, 139, 132, 127,
        156, 104, 140, 156, 113, 115, 156, 123, 139, 156, 132, 112, 11,  16,  37,  11,  28,  45,
        11,  40,  53,  11,  52,  61,  30,  16,  49,  30,  28,  71,  30,  40,  96,  30,  52,  119,
        52,  16,  61,  52,  28,  101, 52,  40,  144, 52,  52,  182, 71,  16,  73,  71,  28,  127,
        71,  40,  185, 71,  52,  165, 6,   88,  81,  6,   96,  83,  6,   104, 85,  6,   112, 87,
        15,  88,  130, 15,  96,  136, 15,  104, 143, 15,  112, 149, 25,  88,  184, 25,  96,  196,
        25,  104, 193, 25,  112, 187, 33,  88,  196, 33,  96,  141, 33,  104, 106, 33,  112, 62,
        67,  19,  144, 67,  26,  172, 67,  33,  204, 67,  40,  221, 76,  19,  151, 76,  26,  184,
        76,  33,  215, 76,  40,  129, 86,  19,  159, 86,  26,  196, 86,  33,  202, 86,  40,  60,
        94,  19,  166, 94,  26,  207, 94,  33,  152, 94,  40,  45};
    give_pictures(four_sizes, 4);
    run("[random_resized_crop: {components: image, size: 4}]", 4);
    assert_shape("image", "image uint8 [4, 4, 3]");
    assert_bytes("image", crops, sizeof crops, 0);
}

static void a_crop_that_never_fits_is_the_middle(void **state)
{
    (void)state;
    // The same with scale (0.9, 1), ratio (5, 6), [2, 3], BICUBIC
    static const uint8_t middles[] = {
        86, 32, 114, 86, 81,  129, 86, 129, 129, 109, 32, 116, 109, 81,  130, 109, 129, 125,
        69, 16, 72,  69, 36,  166, 69, 55,  157, 78,  16, 77,  78,  36,  179, 78,  55,  100,
        10, 55, 89,  10, 102, 120, 10, 148, 133, 29,  55, 152, 29,  102, 157, 29,  148, 110,
        57, 19, 142, 57, 43,  174, 57, 67,  63,  69,  19, 155, 69,  43,  133, 69,  67,  90};
    give_pictures(four_sizes, 4);
    run("[random_resized_crop: {components: image, size: [2, 3], scale: [0.9, 1], ratio: [5, 6], "
        "interpolation: bicubic}]",
        4);
    assert_bytes("image", middles, sizeof middles, 0);
}

static void the_tenth_try_still_counts(void **state)
{
    (void)state;
    // With seed 110, the first nine of RandomResizedCrop.get_params() do not fit; then as above, of
    // picture(30, 33, 0) to [2, 2]
    static const uint8_t tenth[] = {35, 50, 91, 35, 81, 114, 85, 50, 139, 85, 81, 127};
    fixture.seed = 110;
    give_dense(30, 33, 1);
    run("[random_resized_crop: {components: image, size: 2, scale: [0.5, 1], ratio: [1, 3]}]", 1);
    assert_bytes("image", tenth, sizeof tenth, 0);
}

static void pictures_of_an_item_are_cropped_alike(void **state)
{
    (void)state;
    give_pictures(four_sizes, 4);
    const struct given given[] = {
        {"image", BM_UINT8, 2, {0, 3}, made.pixels, made.offsets},
        {"image.size", BM_INT32, 1, {2}, made.sizes, NULL},
        {"mask", BM_UINT8, 2, {0, 3}, made.pixels, made.offsets},
        {"mask.size", BM_INT32, 1, {2}, made.sizes, NULL},
    };
    action_fixture_give(4, given, 4);
    run("[{random_resized_crop: {components: [image, mask], size: 9}}, "
        "{flip: {components: [mask, image]}}]",
        4);
    assert_memory_equal(action_fixture_values(&fixture, "image"),
                        action_fixture_values(&fixture, "mask"), (size_t)4 * 9 * 9 * 3);
}

static void random_crops_refuse_ranges_that_are_none(void **state)
{
    (void)state;
    give_pictures(four_sizes, 1);
    REFUSES("[random_resized_crop: {components: image, size: 4, scale: 0.5}]", ".scale",
            "two numbers");
    REFUSES("[random_resized_crop: {components: image, size: 4, scale: [0.5, 1.5]}]", ".scale",
            "got [0.5, 1.5]");
    REFUSES("[random_resized_crop: {components: image, size: 4, ratio: [2, 1]}]", ".ratio",
            "rising");
    REFUSES("[random_resized_crop: {components: image, size: 4, ratio: [0, 1]}]", ".ratio",
            "more than 0");
}

// ---- center_crop, pad ----

static void center_crop_is_torchvisions(void **state)
{
    (void)state;
    // F.center_crop(Image.fromarray(picture(h, w, k)), [4, 3])
    static const uint8_t centers[] = {
        10, 13,  4,  10, 16,  6,  10,  19,  8,  15,  13,  6,  15,  16,  9,  15,  19,  12, 20,  13,
        8,  20,  16, 12, 20,  19, 16,  25,  13, 10,  25,  16, 15,  25,  19, 20,  1,   7,  31,  1,
        10, 31,  1,  13, 31,  6,  7,   31,  6,  10,  32,  6,  13,  33,  11, 7,   31,  11, 10,  33,
        11, 13,  35, 16, 7,   31, 16,  10,  34, 16,  13,  37, 2,   7,   62, 2,   10,  62, 0,   0,
        0,  7,   7,  62, 7,   10, 63,  0,   0,  0,   12,  7,  62,  12,  10, 64,  0,   0,  0,   0,
        0,  0,   0,  0,  0,   0,  0,   0,   0,  0,   0,   0,  0,   0,   0,  0,   0,   3,  13,  93,
        3,  16,  93, 3,  19,  93, 8,   13,  95, 8,   16,  96, 8,   19,  97, 0,   0,   0,  0,   0,
        0,  0,   0,  0,  14,  7,  124, 14,  10, 126, 14,  13, 128, 19,  7,  124, 19,  10, 127, 19,
        13, 130, 24, 7,  124, 24, 10,  128, 24, 13,  132, 29, 7,   124, 29, 10,  129, 29, 13,  134};
    static const int32_t sizes[][2] = {{9, 8}, {4, 3}, {3, 2}, {2, 6}, {7, 4}};
    give_pictures(sizes, 5);
    run("[center_crop: {components: image, size: [4, 3]}]", 5);
    assert_bytes("image", centers, sizeof centers, 0);
}

static void pad_puts_a_border_around(void **state)
{
    (void)state;
    // F.pad(Image.fromarray(picture(2, 3)), [1, 2, 0, 1], fill=(9, 8, 7))
    static const uint8_t padded[] = {9, 8,  7, 9, 8,  7, 9, 8, 7, 9, 8, 7, 9, 8,  7,
                                     9, 8,  7, 9, 8,  7, 9, 8, 7, 9, 8, 7, 0, 7,  0,
                                     0, 10, 0, 0, 13, 0, 9, 8, 7, 5, 7, 0, 5, 10, 1,
                                     5, 13, 2, 9, 8,  7, 9, 8, 7, 9, 8, 7, 9, 8,  7};
    give_dense(2, 3, 1);
    run("[pad: {components: image, border: [1, 2, 0, 1], value: [9, 8, 7]}]", 1);
    assert_shape("image", "image uint8 [5, 4, 3]");
    assert_bytes("image", padded, sizeof padded, 0);
    static const int32_t sizes[][2] = {{2, 3}, {1, 1}};
    give_pictures(sizes, 2);
    run("[pad: {components: image, border: [1, 2, 0, 1], value: [9, 8, 7]}]", 2);
    assert_bytes("image", padded, sizeof padded, 0);
    assert_memory_equal(action_fixture_values(&fixture, "image.size"), ((int32_t[]){5, 4, 4, 2}),
                        4 * sizeof(int32_t));
}

static void pad_to_a_size_puts_pictures_in_the_middle(void **state)
{
    (void)state;
    static const int32_t sizes[][2] = {{1, 1}, {2, 2}, {3, 2}};
    give_pictures(sizes, 3);
    run("[{pad: {components: image, size: 2, value: 255}}]", 2);
    assert_bytes("image",
                 (const uint8_t[]){0, 7, 0,  255, 255, 255, 255, 255, 255, 255, 255, 255, //
                                   1, 7, 31, 1,   10,  31,  6,   7,   31,  6,   10,  32},
                 24, 0);
    assert_int_equal(action_fixture_run(&fixture, 2, 1), BM_RESULT_FAIL);
    assert_int_equal(fixture.work.failed_item, 2);
    assert_non_null(strstr(fixture.work.error.text, "at most 2 x 2 pixels, got 3 x 2"));
}

static void pad_refuses_what_it_cannot_do(void **state)
{
    (void)state;
    give_dense(4, 5, 1);
    REFUSES("[pad: {components: image}]", "pad", "neither");
    REFUSES("[pad: {components: image, size: 9, border: 1}]", "pad", "both");
    REFUSES("[pad: {components: image, border: [1, 2, 3]}]", ".border", "got 3");
    REFUSES("[pad: {components: image, border: -1}]", ".border", "got -1");
    REFUSES("[pad: {components: image, border: 1, value: 256}]", ".value", "got 256");
    REFUSES("[pad: {components: image, border: 1, value: [1, 2]}]", ".value", "3 channels, got 2");
    REFUSES("[pad: {components: image, border: 65500}]", "pad", "at most 65500");
    REFUSES("[pad: {components: image, size: 4}]", "pad", "at least the pictures' size 4 x 5");
}

// ---- flip, color_jitter ----

static void flip_draws_per_item(void **state)
{
    (void)state;
    // [Random(7, 0, i, 0).uniform() < 0.5 for i in range(8)], by NumPy: a[:, ::-1], a[::-1]
    static const bool flipped[] = {true, true, true, true, false, true, true, false};
    enum { H = 3, W = 5, BYTES = H * W * 3 };
    give_dense(H, W, 8);
    for (int vertical = 0; vertical < 2; vertical++) {
        run(vertical ? "[flip: {components: image, axis: vertical}]"
                     : "[flip: {components: image}]",
            8);
        const uint8_t *to = action_fixture_values(&fixture, "image");
        for (unsigned i = 0; i < 8 * BYTES; i++) {
            unsigned item = i / BYTES, y = i / (W * 3) % H, x = i / 3 % W, c = i % 3;
            bool flip = flipped[item];
            unsigned from_y = flip && vertical ? H - 1 - y : y;
            unsigned from_x = flip && !vertical ? W - 1 - x : x;
            assert_int_equal(to[i], made.pixels[((item * H + from_y) * W + from_x) * 3 + c]);
        }
    }
}

static void flipping_twice_changes_nothing(void **state)
{
    (void)state;
    give_pictures(four_sizes, 4);
    run("[{flip: {components: image, probability: 1}}, {flip: {components: image, probability: "
        "0}}, "
        "{flip: {components: image, probability: 1}}]",
        4);
    assert_bytes("image", made.pixels, 3 * made.offsets[4], 0);
    REFUSES("[flip: {components: image, probability: 1.5}]", ".probability", "1.5");
}

static void color_jitter_is_near_torchvisions(void **state)
{
    (void)state;
    // On our random numbers (seed 7, epoch 0, items 0 to 3, action 0), in the order drawn:
    // F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue of tensors
    static const uint8_t jittered_0[] = {
        2, 6, 2, 2, 8,  3, 3,  10, 5, 5,  13, 6,  5,  6,  2, 6,  8,  5, 7,  11, 6,  8,  15, 10,
        7, 8, 3, 8, 10, 6, 10, 12, 8, 10, 16, 10, 12, 10, 5, 13, 12, 7, 15, 13, 10, 15, 16, 12};
    static const uint8_t jittered_1[] = {
        8,  1, 22, 5,  1, 22, 3,  1, 22, 1,  1, 22, 14, 4, 22, 12, 4, 23, 9,  4, 23, 7,  4,  24,
        17, 4, 22, 16, 7, 23, 15, 8, 25, 14, 8, 26, 21, 4, 22, 21, 7, 24, 21, 9, 26, 20, 11, 28};
    static const uint8_t jittered_2[] = {2,  13, 78, 2,  15, 77, 2,  20, 77, 2,  23, 77,
                                         7,  11, 77, 7,  15, 78, 7,  19, 79, 7,  22, 80,
                                         10, 7,  77, 11, 11, 79, 14, 19, 82, 14, 22, 83,
                                         16, 7,  77, 15, 11, 80, 15, 14, 83, 18, 20, 87};
    static const uint8_t jittered_3[] = {0, 38, 105, 0, 41, 104, 0, 45, 104, 0, 49, 104,
                                         0, 34, 105, 0, 38, 106, 0, 44, 107, 0, 48, 108,
                                         0, 27, 107, 0, 35, 108, 0, 41, 111, 0, 46, 111,
                                         0, 21, 108, 0, 29, 110, 0, 37, 113, 0, 43, 116};
    static const uint8_t *const jittered[] = {jittered_0, jittered_1, jittered_2, jittered_3};
    give_dense(4, 4, 4);
    run("[color_jitter: {components: image, brightness: 0.4, contrast: 0.5, saturation: [0.2, "
        "1.8], "
        "hue: 0.1}]",
        4);
    const uint8_t *to = action_fixture_values(&fixture, "image");
    for (unsigned i = 0; i < 4 * sizeof jittered_0; i++) {
        int expected = jittered[i / sizeof jittered_0][i % sizeof jittered_0];
        if (abs(to[i] - expected) > 2)
            fail_msg("image[%u] is %d, expected %d", i, to[i], expected);
    }
}

static void color_jitter_without_amounts_changes_nothing(void **state)
{
    (void)state;
    give_dense(4, 4, 4);
    run("[color_jitter: {components: image}]", 4);
    assert_bytes("image", made.pixels, (size_t)4 * 4 * 4 * 3, 0);
    REFUSES("[color_jitter: {components: image, hue: 0.6}]", ".hue", "-0.5 to 0.5");
    REFUSES("[color_jitter: {components: image, brightness: -1}]", ".brightness", "got 1 number");
    REFUSES("[color_jitter: {components: image, contrast: [2, 1]}]", ".contrast", "rising");
    REFUSES("[color_jitter: {components: image, saturation: [1, 2, 3]}]", ".saturation", "got 3");
}

// ---- layout ----

static void layout_moves_the_channels_and_back(void **state)
{
    (void)state;
    enum { H = 5, W = 7, N = 3 };
    static const char *const dtypes[] = {"uint8", "float16", "float32", "float64"};
    give_dense(H, W, N);
    run("[layout: {components: image, to: chw}]", N);
    assert_shape("image", "image uint8 [3, 5, 7]");
    const uint8_t *to = action_fixture_values(&fixture, "image");
    for (unsigned i = 0; i < N * 3 * H * W; i++)
        assert_int_equal(
            to[i], made.pixels[(i / (3 * H * W) * H * W + i % (H * W)) * 3 + i / (H * W) % 3]);
    for (unsigned i = 0; i < COUNT(dtypes); i++) {
        char actions[200];
        snprintf(
            actions, sizeof actions,
            "[{cast: {components: image, dtype: %s}}, {layout: {components: image, to: chw}}, "
            "{layout: {components: image, to: hwc}}, {cast: {components: image, dtype: uint8}}]",
            dtypes[i]);
        run(actions, N);
        assert_shape("image", "image uint8 [5, 7, 3]");
        assert_bytes("image", made.pixels, (size_t)N * H * W * 3, 0);
    }
    give_pictures(four_sizes, 1);
    REFUSES("[layout: {components: image, to: chw}]", ".components", "resize or crop them first");
    REFUSES("[layout: {components: image.size, to: hwc}]", ".components",
            "[channels, height, width]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(resize_gives_what_pillow_gives),
        TEST(resize_by_the_short_side_keeps_the_shape),
        TEST(resize_refuses_what_makes_no_picture),
        TEST(a_picture_too_thin_to_resize_fails_joined_or_not),
        TEST(sides_have_a_limit_whoever_gives_the_pictures),
        TEST(sizes_that_lie_are_an_error_of_their_item),
        TEST(random_crops_are_those_of_torchvision),
        TEST(a_crop_that_never_fits_is_the_middle),
        TEST(the_tenth_try_still_counts),
        TEST(pictures_of_an_item_are_cropped_alike),
        TEST(random_crops_refuse_ranges_that_are_none),
        TEST(center_crop_is_torchvisions),
        TEST(pad_puts_a_border_around),
        TEST(pad_to_a_size_puts_pictures_in_the_middle),
        TEST(pad_refuses_what_it_cannot_do),
        TEST(flip_draws_per_item),
        TEST(flipping_twice_changes_nothing),
        TEST(color_jitter_is_near_torchvisions),
        TEST(color_jitter_without_amounts_changes_nothing),
        TEST(layout_moves_the_channels_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
