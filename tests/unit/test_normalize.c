// What normalize promises for pixels of uint8; test_elementwise.c has the rest of it. The expected
// values are those of torchvision 0.15.2 on Pillow 13.0.0; the line that made them stands with
// them.
#include <stdio.h>
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

static uint8_t pixels[3 * 64];

// picture(h, w, k): y * 5 + k, x * 3 + 7, x * y + 31 * k, each & 255
static void give_pictures(uint32_t height, uint32_t width, uint32_t first_k, unsigned n)
{
    uint8_t *to = pixels;
    assert_in_range(n * height * width, 1, sizeof pixels / 3);
    for (uint32_t k = first_k; k < first_k + n; k++) {
        for (uint32_t i = 0; i < height * width; i++) {
            uint32_t y = i / width, x = i % width;
            *to++ = (uint8_t)(y * 5 + k);
            *to++ = (uint8_t)(x * 3 + 7);
            *to++ = (uint8_t)(x * y + 31 * k);
        }
    }
    const struct given image = {"image", BM_UINT8, 3, {height, width, 3}, pixels, NULL};
    action_fixture_give(n, &image, 1);
}

// ---- normalize ----

static void normalized_pixels_are_torchvisions(void **state)
{
    (void)state;
    // T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(F.to_tensor(picture(3, 4, 1)))
    static const float normalized[] = {
        -0x1.0ce6560000000p+1F, -0x1.0ce6560000000p+1F, -0x1.0ce6560000000p+1F,
        -0x1.0ce6560000000p+1F, -0x1.01f09e0000000p+1F, -0x1.01f09e0000000p+1F,
        -0x1.01f09e0000000p+1F, -0x1.01f09e0000000p+1F, -0x1.edf5ca0000000p+0F,
        -0x1.edf5ca0000000p+0F, -0x1.edf5ca0000000p+0F, -0x1.edf5ca0000000p+0F,
        -0x1.e9c5320000000p+0F, -0x1.dc532e0000000p+0F, -0x1.cee12a0000000p+0F,
        -0x1.c16f260000000p+0F, -0x1.e9c5320000000p+0F, -0x1.dc532e0000000p+0F,
        -0x1.cee12a0000000p+0F, -0x1.c16f260000000p+0F, -0x1.e9c5320000000p+0F,
        -0x1.dc532e0000000p+0F, -0x1.cee12a0000000p+0F, -0x1.c16f260000000p+0F,
        -0x1.439ea40000000p+0F, -0x1.439ea40000000p+0F, -0x1.439ea40000000p+0F,
        -0x1.439ea40000000p+0F, -0x1.439ea40000000p+0F, -0x1.3f28640000000p+0F,
        -0x1.3ab2280000000p+0F, -0x1.363bea0000000p+0F, -0x1.439ea40000000p+0F,
        -0x1.3ab2280000000p+0F, -0x1.31c5ac0000000p+0F, -0x1.28d9320000000p+0F};
    give_pictures(3, 4, 1, 1);
    static const char *const orders[] = {
        "[{normalize: {components: image, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], "
        "scale: 255}}, {layout: {components: image, to: chw}}]",
        "[{layout: {components: image, to: chw}}, {normalize: {components: image, mean: [0.485, "
        "0.456, 0.406], std: [0.229, 0.224, 0.225], scale: 255, axis: 0, dtype: float32}}]",
        "[{cast: {components: image, dtype: float32}}, {normalize: {components: image, mean: "
        "[0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], scale: 255}}, {layout: {components: "
        "image, to: chw}}]",
    };
    for (unsigned i = 0; i < COUNT(orders); i++) {
        run(orders[i], 1);
        assert_shape("image", "image float32 [3, 3, 4]");
        assert_memory_equal(action_fixture_values(&fixture, "image"), normalized,
                            sizeof normalized);
    }
    static const char *const narrow[] = {"float16", "bfloat16"};
    for (unsigned i = 0; i < COUNT(narrow); i++) {
        char actions[300];
        uint16_t expected[COUNT(normalized)];
        snprintf(
            actions, sizeof actions,
            "[{normalize: {components: image, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, "
            "0.225], scale: 255, dtype: %s}}, {layout: {components: image, to: chw}}]",
            narrow[i]);
        run(actions, 1);
        bm_dtype_convert(i == 0 ? BM_FLOAT16 : BM_BFLOAT16, expected, BM_FLOAT32, normalized,
                         COUNT(normalized));
        assert_memory_equal(action_fixture_values(&fixture, "image"), expected, sizeof expected);
    }
}

// A lock keeps the two apart.
static void normalize_and_layout_at_once_are_normalize_and_layout(void **state)
{
    (void)state;
    enum { H = 3, W = 4, N = 2, CHANNELS_MAX = 4 };
    static const char *const formats[] = {
        "[{layout: {components: image, to: chw}%s}, {normalize: {components: image, mean: %s, std: "
        "3, scale: 2, axis: 0, dtype: %s}}]",
        "[{layout: {components: image, to: chw}%s}, {normalize: {components: image, mean: %s, std: "
        "3, axis: -3, dtype: %s}}]",
        "[{normalize: {components: image, mean: %2$s, std: 3, dtype: %3$s}%1$s}, {layout: "
        "{components: image, to: chw}}]",
        "[{normalize: {components: image, mean: %2$s, std: 3, axis: 2, dtype: %3$s}%1$s}, {layout: "
        "{components: image, to: chw}}]",
    };
    static const char *const means[] = {"1", "[2]", "[1, 2]", "[1, 2, 3]", "[1, 2, 3, 4]"};
    static const char *const dtypes[] = {"float32", "float16", "bfloat16"};
    static float expected[N * H * W * CHANNELS_MAX];
    for (unsigned i = 0; i < COUNT(formats) * CHANNELS_MAX * 2 * COUNT(dtypes); i++) {
        unsigned nchannels = i / COUNT(formats) % CHANNELS_MAX + 1;
        bool one_mean = i / COUNT(formats) / CHANNELS_MAX % 2 == 0;
        const char *mean = means[one_mean ? 0 : nchannels];
        const char *dtype = dtypes[i / COUNT(formats) / CHANNELS_MAX / 2];
        char actions[2][300];
        for (unsigned j = 0; j < 2; j++)
            snprintf(actions[j], sizeof actions[j], formats[i % COUNT(formats)],
                     j == 0 ? "" : ", use_lock: a", mean, dtype);
        give_pictures(3, 16, 0, 1);
        const struct given image = {"image", BM_UINT8, 3, {H, W, nchannels}, pixels, NULL};
        action_fixture_give(N, &image, 1);
        run(actions[1], N);
        assert_int_equal(bm_pipeline_nsteps(fixture.pipeline), 3);
        uint64_t bytes = fixture.work.batch.tensors[0].size_bytes;
        uint64_t apart_bytes = bm_pipeline_batch_bytes(fixture.pipeline, 1);
        memcpy(expected, action_fixture_values(&fixture, "image"), bytes);
        run(actions[0], N);
        assert_memory_equal(action_fixture_values(&fixture, "image"), expected, bytes);
        if (i % COUNT(formats) >= 2) // floats of both layouts never are there together
            assert_true(bm_pipeline_batch_bytes(fixture.pipeline, 1) < apart_bytes);
    }
}

static void normalize_of_uint8_works_along_any_axis(void **state)
{
    (void)state;
    enum { H = 4, W = 5, N = 3 };
    static const float mean[] = {1, 2, 3, 4, 5};
    static const struct {
        const char *actions;
        unsigned inner, nchannels;
    } cases[] = {
        {"[normalize: {components: image, mean: 1, std: 2}]", 1, 1},
        {"[normalize: {components: image, mean: [1, 2, 3], std: 2}]", 1, 3},
        {"[normalize: {components: image, mean: [1, 2, 3, 4, 5], std: 2, axis: 1}]", 3, 5},
        {"[normalize: {components: image, mean: [1, 2, 3, 4], std: 2, axis: 0}]", 3 * W, 4},
    };
    give_pictures(H, W, 0, N);
    for (unsigned i = 0; i < COUNT(cases); i++) {
        for (fixture.tile_rows = 0; fixture.tile_rows < 3; fixture.tile_rows++) {
            run(cases[i].actions, N);
            const float *to = action_fixture_values(&fixture, "image");
            for (unsigned j = 0; j < N * H * W * 3; j++)
                assert_true(to[j] ==
                            ((float)pixels[j] - mean[j / cases[i].inner % cases[i].nchannels]) / 2);
        }
    }
}

static void normalize_refuses_scales_and_dtypes_that_do_not_fit(void **state)
{
    (void)state;
    const struct given given[] = {
        {.name = "image", .dtype = BM_UINT8, .ndim = 3, .shape = {4, 4, 3}, .values = ""},
        {.name = "x", .dtype = BM_FLOAT32, .values = ""},
    };
    action_fixture_give(0, given, 2);
    REFUSES("[normalize: {components: image, mean: 0, std: 1, scale: 0}]", ".scale", "more than 0");
    REFUSES("[normalize: {components: image, mean: 0, std: 1, dtype: int8}]", ".dtype", "bfloat16");
    REFUSES("[normalize: {components: [image, x], mean: 0, std: 1, dtype: float16}]", ".dtype",
            "which stays float32");
    build("[normalize: {components: [image, x], mean: 0, std: 1, dtype: float32}]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(normalized_pixels_are_torchvisions),
        TEST(normalize_and_layout_at_once_are_normalize_and_layout),
        TEST(normalize_of_uint8_works_along_any_axis),
        TEST(normalize_refuses_scales_and_dtypes_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
