// What reshape and one_hot promise.
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

// ---- reshape ----

static const int16_t pixels[2 * 12] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                       12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
static const int64_t tail[] = {1, 2, 3};
static const uint64_t tail_offsets[] = {0, 1, 3};

static void give_pixels(void)
{
    const struct given given[] = {
        {.name = "pixels", .dtype = BM_INT16, .ndim = 1, .shape = {12}, .values = pixels},
        {.name = "one", .dtype = BM_INT16, .values = pixels},
        {.name = "none", .dtype = BM_INT16, .ndim = 2, .shape = {3, 0}, .values = pixels},
        {.name = "tail", .dtype = BM_INT64, .ndim = 1, .values = tail, .offsets = tail_offsets},
    };
    action_fixture_give(2, given, COUNT(given));
}

static void assert_shape(const char *actions, const char *name, const char *expected)
{
    build(actions);
    struct bm_buffer text;
    bm_buffer_init(&text);
    bm_component_print(action_fixture_component(&fixture, name), &text);
    assert_string_equal(bm_buffer_text(&text), expected);
    bm_buffer_fini(&text);
}

static void reshape_changes_the_shape_and_no_byte(void **state)
{
    (void)state;
    give_pixels();
    assert_shape("[reshape: {component: pixels, shape: [3, 2, 2]}]", "pixels",
                 "pixels int16 [3, 2, 2]");
    assert_string_equal(bm_pipeline_schema(fixture.pipeline)->components[0].name, "pixels");
    assert_int_equal(action_fixture_run(&fixture, 2, 0), BM_RESULT_OK);
    assert_memory_equal(action_fixture_values(&fixture, "pixels"), pixels, sizeof pixels);
}

static void reshape_finds_the_length_that_is_left_open(void **state)
{
    (void)state;
    give_pixels();
    assert_shape("[reshape: {component: pixels, shape: [-1, 4]}]", "pixels", "pixels int16 [3, 4]");
    assert_shape("[reshape: {component: pixels, shape: [6, -1]}]", "pixels", "pixels int16 [6, 2]");
    assert_shape("[reshape: {component: pixels, shape: -1}]", "pixels", "pixels int16 [12]");
    assert_shape("[reshape: {component: one, shape: [1, -1]}]", "one", "one int16 [1, 1]");
    assert_shape("[reshape: {component: none, shape: [5, -1]}]", "none", "none int16 [5, 0]");
    assert_shape("[{reshape: {component: one, shape: [1, 1]}}, {reshape: {component: one, shape: "
                 "[]}}]",
                 "one", "one int16 []");
}

static void reshape_refuses_shapes_that_do_not_fit(void **state)
{
    (void)state;
    give_pixels();
    REFUSES("[reshape: {component: pixels, shape: [3, 5]}]", ".shape",
            "expected a shape for 12 elements, got one for 15");
    REFUSES("[reshape: {component: pixels, shape: [5, -1]}]", ".shape", "12 elements");
    REFUSES("[reshape: {component: pixels, shape: [-1, 0]}]", ".shape", "12 elements");
    REFUSES("[reshape: {component: none, shape: [-1, 0]}]", ".shape", "0 elements");
    REFUSES("[reshape: {component: pixels, shape: [-1, 3, -1]}]", ".shape", "at most one -1");
    REFUSES("[reshape: {component: pixels, shape: [-2, 3]}]", ".shape[0]", "from -1");
    REFUSES("[reshape: {component: pixels, shape: [1099511627776, 1099511627776]}]", ".shape",
            "2^64");
    REFUSES("[reshape: {component: pixels, shape: []}]", ".shape", "got one for 1");
    REFUSES("[reshape: {component: pixels, shape: [12, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, "
            "1]}]",
            "reshape", "axes");
    REFUSES("[reshape: {component: pixels, shape: [12, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, "
            "1, 1]}]",
            ".shape", "axes");
    REFUSES("[reshape: {component: tail, shape: [3]}]", ".component",
            "expected a component of one shape, got tail int64 [varies]");
    REFUSES("[reshape: {component: image, shape: [3]}]", ".component", "pixels, one");
    REFUSES("[reshape: {component: pixels}]", "reshape", "shape");
}

// ---- one_hot ----

static const int64_t labels[] = {2, 0, 3, 1};

static void give_labels(void)
{
    const struct given given[] = {
        {.name = "label", .dtype = BM_INT64, .values = labels},
        {.name = "pair", .dtype = BM_INT64, .ndim = 1, .shape = {1}, .values = labels},
        {.name = "real", .dtype = BM_FLOAT64, .values = labels},
    };
    action_fixture_give(4, given, COUNT(given));
}

static void one_hot_replaces_a_number_by_a_one_at_its_place(void **state)
{
    (void)state;
    give_labels();
    assert_shape("[one_hot: {component: label, classes: 4}]", "label", "label float32 [4]");
    assert_int_equal(bm_schema_find(bm_pipeline_schema(fixture.pipeline), "label"), 0);
    assert_int_equal(action_fixture_run(&fixture, 4, 0), BM_RESULT_OK);
    static const float expected[] = {0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0};
    assert_memory_equal(action_fixture_values(&fixture, "label"), expected, sizeof expected);
}

static void one_hot_can_leave_the_number_where_it_is(void **state)
{
    (void)state;
    give_labels();
    assert_shape("[one_hot: {component: label, classes: 5, into: target, dtype: uint8}]", "target",
                 "target uint8 [5]");
    assert_int_equal(bm_schema_find(bm_pipeline_schema(fixture.pipeline), "target"), 3);
    assert_int_equal(action_fixture_run(&fixture, 2, 1), BM_RESULT_OK);
    assert_memory_equal(action_fixture_values(&fixture, "label"), &labels[2], 2 * sizeof labels[0]);
    assert_memory_equal(action_fixture_values(&fixture, "target"),
                        ((uint8_t[]){0, 0, 0, 1, 0, 0, 1, 0, 0, 0}), 10);
}

// 8 bytes of label become 8 bytes of ones and zeros, in the same memory.
static void one_hot_may_lie_on_its_own_label(void **state)
{
    (void)state;
    static const int64_t in[] = {1, 0, 1, 1, 0};
    action_fixture_give(5, &(struct given){.name = "y", .dtype = BM_INT64, .values = in}, 1);
    static const uint64_t tiles[] = {1, 2, 5};
    for (unsigned t = 0; t < COUNT(tiles); t++) {
        build("[noop, {one_hot: {component: y, classes: 2}}]");
        fixture.tile_rows = tiles[t];
        assert_int_equal(action_fixture_run(&fixture, 5, 0), BM_RESULT_OK);
        assert_memory_equal(action_fixture_values(&fixture, "y"),
                            ((float[]){0, 1, 1, 0, 0, 1, 0, 1, 1, 0}), 10 * sizeof(float));
    }
}

static void one_hot_takes_every_integer_and_gives_every_number(void **state)
{
    (void)state;
    static const enum bm_dtype integers[] = {BM_INT8,  BM_INT16,  BM_INT32,  BM_INT64,
                                             BM_UINT8, BM_UINT16, BM_UINT32, BM_UINT64};
    static const enum bm_dtype numbers[] = {
        BM_BOOL,   BM_INT8,   BM_INT16,   BM_INT32,    BM_INT64,   BM_UINT8,  BM_UINT16,
        BM_UINT32, BM_UINT64, BM_FLOAT16, BM_BFLOAT16, BM_FLOAT32, BM_FLOAT64};
    uint64_t values[3];
    for (unsigned i = 0; i < COUNT(integers); i++) {
        for (unsigned n = 0; n < COUNT(numbers); n++) {
            for (unsigned row = 0; row < 3; row++)
                bm_dtype_put(integers[i], values, row, 2 - row);
            action_fixture_give(
                3, &(struct given){.name = "y", .dtype = integers[i], .values = values}, 1);
            char actions[100];
            snprintf(actions, sizeof actions, "[one_hot: {component: y, classes: 3, dtype: %s}]",
                     bm_dtype_name(numbers[n]));
            build(actions);
            assert_int_equal(action_fixture_run(&fixture, 3, 0), BM_RESULT_OK);
            for (unsigned at = 0; at < 9; at++)
                assert_true(bm_dtype_get(numbers[n], action_fixture_values(&fixture, "y"), at) ==
                            (at % 3 == 2 - at / 3));
        }
    }
}

static void one_hot_fails_the_item_whose_number_is_no_class(void **state)
{
    (void)state;
    give_labels();
    build("[one_hot: {component: label, classes: 3}]");
    assert_int_equal(action_fixture_run(&fixture, 2, 0), BM_RESULT_OK);
    assert_int_equal(action_fixture_run(&fixture, 2, 1), BM_RESULT_FAIL);
    assert_int_equal(fixture.work.error.status, BM_OUT_OF_RANGE);
    assert_string_equal(fixture.work.error.text, "expected label of 0 to 2, got 3");
    assert_non_null(strstr(fixture.work.error.where, "one_hot), item 2"));
    assert_int_equal(fixture.work.failed_item, 2);

    action_fixture_give(1, &(struct given){.name = "y", .dtype = BM_INT8, .values = "\xff"}, 1);
    build("[one_hot: {component: y, classes: 3}]");
    assert_int_equal(action_fixture_run(&fixture, 1, 0), BM_RESULT_FAIL);
    assert_string_equal(fixture.work.error.text, "expected y of 0 to 2, got -1");
}

static void one_hot_refuses_what_is_no_class_number(void **state)
{
    (void)state;
    give_labels();
    REFUSES("[one_hot: {component: pair, classes: 3}]", ".component", "one integer per item");
    REFUSES("[one_hot: {component: real, classes: 3}]", ".component", "one integer per item");
    REFUSES("[one_hot: {component: label, classes: 0}]", ".classes", "from 1");
    REFUSES("[one_hot: {component: label, classes: 3, dtype: bytes}]", ".dtype", "got bytes");
    REFUSES("[one_hot: {component: label, classes: 3, into: pair}]", ".into", "there is already");
    REFUSES("[one_hot: {component: label}]", "one_hot", "classes");
}

static void running_out_of_memory_is_an_error_of_its_own(void **state)
{
    (void)state;
    give_labels();
    action_fixture_starves(&fixture, "[one_hot: {component: label, classes: 3}]");
    action_fixture_starves(&fixture, "[reshape: {component: label, shape: [1]}]");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reshape_changes_the_shape_and_no_byte),
        TEST(reshape_finds_the_length_that_is_left_open),
        TEST(reshape_refuses_shapes_that_do_not_fit),
        TEST(one_hot_replaces_a_number_by_a_one_at_its_place),
        TEST(one_hot_can_leave_the_number_where_it_is),
        TEST(one_hot_may_lie_on_its_own_label),
        TEST(one_hot_takes_every_integer_and_gives_every_number),
        TEST(one_hot_fails_the_item_whose_number_is_no_class),
        TEST(one_hot_refuses_what_is_no_class_number),
        TEST(running_out_of_memory_is_an_error_of_its_own),
    };
    return cmocka_run_group_tests_name("shape", tests, NULL, NULL);
}
