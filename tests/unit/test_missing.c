// What fill_missing promises.
#include <math.h>
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

static void run(const char *actions, uint64_t batch_size)
{
    enum bm_status status = action_fixture_build(&fixture, actions);
    if (status != BM_OK)
        fail_msg("%s: %s: %s", actions, fixture.error.where, fixture.error.text);
    if (action_fixture_run(&fixture, batch_size, 0) != BM_RESULT_OK)
        fail_msg("%s: %s: %s", actions, fixture.work.error.where, fixture.work.error.text);
}

static const float floats[] = {1, NAN, 3, NAN};
static const double doubles[] = {NAN, 2, INFINITY, NAN};
static const uint16_t halves[] = {0x3c00, 0x7e00, 0xfe00, 0x4000};
static const int32_t integers[] = {10, 0, 30, 0};
static const bool missing[] = {false, true, false, true};
static const bool float_missing[] = {true, false, false, false};

static void give(void)
{
    const struct given given[] = {
        {.name = "f", .dtype = BM_FLOAT32, .values = floats},
        {.name = "d", .dtype = BM_FLOAT64, .ndim = 1, .shape = {1}, .values = doubles},
        {.name = "h", .dtype = BM_FLOAT16, .values = halves},
        {.name = "i", .dtype = BM_INT32, .values = integers},
        {.name = "i.missing", .dtype = BM_BOOL, .values = missing},
        {.name = "f.missing", .dtype = BM_BOOL, .values = float_missing},
        {.name = "bare", .dtype = BM_INT32, .values = integers},
    };
    action_fixture_give(4, given, COUNT(given));
}

static void nan_is_filled_in_floats(void **state)
{
    (void)state;
    give();
    static const double filled[] = {-1.5, 2, INFINITY, -1.5};
    static const uint16_t halves_filled[] = {0x3c00, 0xbe00, 0xbe00, 0x4000};
    run("[fill_missing: {components: [d, h], value: -1.5}]", 4);
    assert_memory_equal(action_fixture_values(&fixture, "d"), filled, sizeof filled);
    assert_memory_equal(action_fixture_values(&fixture, "h"), halves_filled, sizeof halves_filled);
}

static void what_a_mask_says_is_filled_and_the_mask_stays(void **state)
{
    (void)state;
    give();
    static const int32_t filled[] = {10, -7, 30, -7};
    static const float floats_filled[] = {-7, -7, 3, -7};
    run("[noop, fill_missing: {components: [i, f], value: -7}]", 4);
    assert_memory_equal(action_fixture_values(&fixture, "i"), filled, sizeof filled);
    assert_memory_equal(action_fixture_values(&fixture, "f"), floats_filled, sizeof floats_filled);
    assert_memory_equal(action_fixture_values(&fixture, "i.missing"), missing, sizeof missing);
    assert_int_equal(action_fixture_component(&fixture, "i")->dtype, BM_INT32);
    fixture.tile_rows = 1;
    run("[noop, fill_missing: {components: [i, f], value: -7}]", 4);
    assert_memory_equal(action_fixture_values(&fixture, "i"), filled, sizeof filled);
}

static void each_component_may_have_a_value_of_its_own(void **state)
{
    (void)state;
    give();
    static const int32_t filled[] = {10, 5, 30, 5};
    static const double doubles_filled[] = {6, 2, INFINITY, 6};
    run("[fill_missing: {components: [i, d], value: [5, 6]}]", 4);
    assert_memory_equal(action_fixture_values(&fixture, "i"), filled, sizeof filled);
    assert_memory_equal(action_fixture_values(&fixture, "d"), doubles_filled,
                        sizeof doubles_filled);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    give();
    REFUSES("[fill_missing: {components: bare, value: 1}]", "fill_missing.components",
            "beside bare a bool component bare.missing of as many elements");
    REFUSES("[fill_missing: {components: [i, f], value: [1, 2, 3]}]", "fill_missing.value",
            "expected one number, or 2, as there are components, got 3");
    REFUSES("[fill_missing: {components: i, value: 0.5}]", "fill_missing.value",
            "expected a value that int32 has, as dtype of i, up to 2^53, got 0.5");
    REFUSES("[fill_missing: {components: f, value: 1e300}]", "fill_missing.value", "float32");
}

static void without_memory_nothing_is_built(void **state)
{
    (void)state;
    give();
    action_fixture_starves(&fixture, "[fill_missing: {components: [i, d], value: [5, 6]}]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(nan_is_filled_in_floats),
        TEST(what_a_mask_says_is_filled_and_the_mask_stays),
        TEST(each_component_may_have_a_value_of_its_own),
        TEST(what_makes_no_sense_is_refused),
        TEST(without_memory_nothing_is_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
