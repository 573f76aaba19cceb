// What accumulate promises: NumPy's numbers, whatever the batches.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fakes/action_fixture.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { NUMBERS = 6 };

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

struct expected { // of NumPy, of the elements as float64
    int64_t count;
    double sum, mean, std, min, max;
};

static void assert_near(const char *name, double got, double expected)
{
    double distance = fabs(got - expected);
    if (isnan(expected) ? !isnan(got) : got != expected && !(distance <= 1e-12 * fabs(expected)))
        fail_msg("%s is %.17g, expected %.17g", name, got, expected);
}

static void assert_numbers(const struct bm_number numbers[NUMBERS], const char *name,
                           const struct expected *expected)
{
    static const char *const suffixes[] = {"count", "sum", "mean", "std", "min", "max"};
    const double reals[] = {
        0, expected->sum, expected->mean, expected->std, expected->min, expected->max};
    for (unsigned i = 0; i < NUMBERS; i++) {
        char full[100];
        snprintf(full, sizeof full, "%s.%s", name, suffixes[i]);
        assert_string_equal(numbers[i].name, full);
        assert_int_equal(numbers[i].kind, i == 0 ? BM_NUMBER_INTEGER : BM_NUMBER_FLOAT);
        if (i > 0)
            assert_near(full, numbers[i].real, reals[i]);
    }
    assert_int_equal(numbers[0].integer, expected->count);
}

// Runs all batches and merges them in order.
static void run_all(uint64_t batch_size, struct bm_number *ret_numbers)
{
    struct bm_variables *variables;
    uint64_t nitems = bm_pipeline_source(fixture.pipeline)->nitems;
    assert_int_equal(bm_variables_new(fixture.pipeline, &variables, &fixture.error), BM_OK);
    for (uint64_t seq = 0; seq * batch_size < nitems; seq++) {
        assert_int_equal(action_fixture_run(&fixture, batch_size, seq), BM_RESULT_OK);
        bm_variables_merge(variables, &fixture.work);
    }
    bm_variables_report(variables, ret_numbers);
    bm_variables_free(variables);
}

// Expected numbers: numpy 1.24 on Debian bookworm, x.astype(float): x.size, x.sum(), x.mean(),
// x.std(), x.min(), x.max().

static void the_digits_give_what_numpy_gives(void **state)
{
    (void)state;
    static const struct expected pixels = {115008, 561718, 4.884164579855314, 6.016787548672236,
                                           0,      16};
    static const struct expected label = {1797, 8070, 4.490818030050083, 2.864506423320853, 0, 9};
    assert_int_equal(action_fixture_build_on(
                         &fixture,
                         "csv: {path: examples/digits/digits.csv.gz, header: false, components: "
                         "{pixels: {columns: 0-63, dtype: uint8}, label: {columns: 64, dtype: "
                         "int64}}}",
                         "[{accumulate: {component: pixels}}, {accumulate: {component: label, "
                         "into: digit}}]"),
                     BM_OK);
    static const uint64_t sizes[] = {64, 1, 1797, 100};
    for (unsigned s = 0; s < COUNT(sizes); s++) {
        struct bm_number numbers[2 * NUMBERS];
        run_all(sizes[s], numbers);
        assert_numbers(numbers, "pixels", &pixels);
        assert_numbers(&numbers[NUMBERS], "digit", &label);
    }
}

// x = 1e9 + (i * 7919 % 1000) / 1000.0: the naive sum of squares has no digit of the deviation.
static void a_mean_far_from_0_costs_no_digits(void **state)
{
    (void)state;
    enum { N = 100000 };
    static double x[N];
    for (int64_t i = 0; i < N; i++)
        x[i] = 1e9 + (double)(i * 7919 % 1000) / 1000.0;
    static const struct expected expected = {
        // sum, mean and std of the doubles in exact arithmetic (Python's fractions), rounded once
        N, 100000000049950.0, 1000000000.4995, 0.2886749902605152, 1e9, 1000000000.999};
    action_fixture_give(N / 10, &(struct given){"x", BM_FLOAT64, 1, {10}, x, NULL}, 1);
    build("[accumulate: {component: x}]");
    static const uint64_t sizes[] = {1, 7, 1000, N};
    for (unsigned s = 0; s < COUNT(sizes); s++) {
        struct bm_number numbers[NUMBERS];
        run_all(sizes[s], numbers);
        assert_numbers(numbers, "x", &expected);
    }
}

// y = ((i * 48271) % 65537) / 64 - 300, as float32.
static void floats_are_summed_in_float64(void **state)
{
    (void)state;
    enum { N = 100000 };
    static float y[N];
    for (int64_t i = 0; i < N; i++)
        y[i] = (float)((double)(i * 48271 % 65537) / 64 - 300);
    static const struct expected expected = {
        N, 21199663.78125, 211.9966378125, 295.6100567495531, -300, 724};
    action_fixture_give(N, &(struct given){.name = "y", .dtype = BM_FLOAT32, .values = y}, 1);
    build("[accumulate: {component: y}]");
    struct bm_number numbers[NUMBERS];
    run_all(777, numbers);
    assert_numbers(numbers, "y", &expected);
}

static void integers_bools_and_ragged_rows_count_element_by_element(void **state)
{
    (void)state;
    static const int64_t z[] = {3, -1, INT64_C(1) << 40, 7};
    static const uint8_t b[] = {1, 0, 1, 1};
    static const uint64_t offsets[] = {0, 0, 3, 3, 4};
    const struct given given[] = {
        {.name = "z", .dtype = BM_INT64, .values = z},
        {.name = "b", .dtype = BM_BOOL, .values = b},
        {.name = "tail", .dtype = BM_INT64, .ndim = 1, .values = z, .offsets = offsets},
    };
    action_fixture_give(4, given, 3);
    build("[{accumulate: {component: z}}, {accumulate: {component: b}}, {accumulate: {component: "
          "tail}}]");
    static const struct expected numbers_z = {
        4, 1099511627785, 274877906946.25, 476102500703.89886, -1, 1099511627776};
    static const struct expected numbers_b = {4, 3, 0.75, 0.4330127018922193, 0, 1};
    for (uint64_t size = 1; size <= 4; size++) {
        struct bm_number numbers[3 * NUMBERS];
        run_all(size, numbers);
        assert_numbers(numbers, "z", &numbers_z);
        assert_numbers(&numbers[NUMBERS], "b", &numbers_b);
        assert_numbers(&numbers[(size_t)2 * NUMBERS], "tail", &numbers_z);
    }
}

static void sums_that_cancel_keep_their_digits(void **state)
{
    (void)state;
    static const double x[] = {1e17, 1, -1e17, 1, 1, 1};
    action_fixture_give(6, &(struct given){.name = "x", .dtype = BM_FLOAT64, .values = x}, 1);
    build("[accumulate: {component: x}]");
    struct bm_number numbers[NUMBERS];
    run_all(1, numbers);
    assert_true(numbers[1].real == 4);

    enum { WIDTH = 1000 }; // an item is longer than what is summed up at once
    static double wide[4][WIDTH];
    wide[0][0] = 1e17;
    wide[1][0] = 1;
    wide[2][0] = -1e17;
    wide[3][0] = 1;
    action_fixture_give(4, &(struct given){"x", BM_FLOAT64, 1, {WIDTH}, wide, NULL}, 1);
    build("[accumulate: {component: x}]");
    for (uint64_t size = 1; size <= 4; size++) {
        run_all(size, numbers);
        assert_true(numbers[1].real == 2);
    }
}

static void nan_and_infinity_show_as_numpy_shows_them(void **state)
{
    (void)state;
    static const double with_nan[] = {1, NAN, 3}, with_infinity[] = {1, INFINITY, -2};
    static const struct expected nans = {3, NAN, NAN, NAN, NAN, NAN};
    static const struct expected infinities = {3, INFINITY, INFINITY, NAN, -2, INFINITY};
    const struct given given[] = {
        {.name = "n", .dtype = BM_FLOAT64, .values = with_nan},
        {.name = "i", .dtype = BM_FLOAT64, .values = with_infinity},
    };
    action_fixture_give(3, given, 2);
    build("[{accumulate: {component: n}}, {accumulate: {component: i}}]");
    for (uint64_t size = 1; size <= 3; size++) {
        struct bm_number numbers[2 * NUMBERS];
        run_all(size, numbers);
        assert_numbers(numbers, "n", &nans);
        assert_numbers(&numbers[NUMBERS], "i", &infinities);
    }
}

static void nothing_has_no_mean(void **state)
{
    (void)state;
    static const struct expected nothing = {0, 0, NAN, NAN, NAN, NAN};
    static const uint64_t offsets[] = {0, 0, 0};
    const struct given given[] = {
        {.name = "x", .dtype = BM_FLOAT32, .values = ""},
        {.name = "tail", .dtype = BM_INT8, .ndim = 1, .values = "", .offsets = offsets},
    };
    struct bm_number numbers[NUMBERS];
    action_fixture_give(0, given, 1);
    build("[accumulate: {component: x}]");
    run_all(1, numbers);
    assert_numbers(numbers, "x", &nothing);
    action_fixture_give(2, &given[1], 1); // items without rows
    build("[accumulate: {component: tail}]");
    run_all(1, numbers);
    assert_numbers(numbers, "tail", &nothing);
}

static void the_batch_stays_as_it_is(void **state)
{
    (void)state;
    static const int16_t x[] = {5, -6};
    action_fixture_give(2, &(struct given){.name = "x", .dtype = BM_INT16, .values = x}, 1);
    build("[accumulate: {component: x}]");
    assert_int_equal(action_fixture_component(&fixture, "x")->dtype, BM_INT16);
    assert_int_equal(action_fixture_run(&fixture, 2, 0), BM_RESULT_OK);
    assert_memory_equal(action_fixture_values(&fixture, "x"), x, sizeof x);
}

static void the_numbers_have_the_same_bits_in_any_tile(void **state)
{
    (void)state;
    enum { N = 3000 };
    static float x[N];
    for (unsigned i = 0; i < N; i++)
        x[i] = (float)(i * 7919 % 1000) / 13;
    action_fixture_give(N, &(struct given){.name = "x", .dtype = BM_FLOAT32, .values = x}, 1);
    build("[noop, {scale: {components: x, factor: 0.3}}, {accumulate: {component: x}}, noop]");
    struct bm_number whole[NUMBERS], tiled[NUMBERS];
    run_all(1000, whole);
    for (uint64_t tile = 1; tile < 2000; tile = tile * 3 + 1) {
        fixture.tile_rows = tile;
        run_all(1000, tiled);
        for (unsigned i = 0; i < NUMBERS; i++)
            assert_memory_equal(&tiled[i].real, &whole[i].real, sizeof(double));
    }
}

static void what_has_no_numbers_is_refused(void **state)
{
    (void)state;
    static const uint64_t offsets[] = {0, 2};
    const struct given given[] = {
        {.name = "name", .dtype = BM_STRING, .values = "ab", .offsets = offsets},
        {.name = "x", .dtype = BM_INT8, .values = ""},
    };
    action_fixture_give(1, given, 2);
    REFUSES("[accumulate: {component: name}]", ".component", "a component of numbers");
    REFUSES("[accumulate: {component: y}]", ".component", "name, x");
    REFUSES("[accumulate: {component: x, into: a b}]", ".into", "characters");
    REFUSES("[accumulate]", "[0]", "component");
    action_fixture_starves(&fixture, "[accumulate: {component: x}]");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_digits_give_what_numpy_gives),
        TEST(a_mean_far_from_0_costs_no_digits),
        TEST(floats_are_summed_in_float64),
        TEST(integers_bools_and_ragged_rows_count_element_by_element),
        TEST(sums_that_cancel_keep_their_digits),
        TEST(nan_and_infinity_show_as_numpy_shows_them),
        TEST(nothing_has_no_mean),
        TEST(the_batch_stays_as_it_is),
        TEST(the_numbers_have_the_same_bits_in_any_tile),
        TEST(what_has_no_numbers_is_refused),
    };
    return cmocka_run_group_tests_name("accumulate", tests, NULL, NULL);
}
