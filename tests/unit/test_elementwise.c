// What cast, scale, normalize, clip and log1p promise, in real pipelines.
#include <float.h>
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

static void build(const char *actions)
{
    enum bm_status status = action_fixture_build(&fixture, actions);
    if (status != BM_OK)
        fail_msg("%s: %s: %s", actions, fixture.error.where, fixture.error.text);
}

static void give_floats(const float *values, uint64_t nitems)
{
    action_fixture_give(nitems, &(struct given){.name = "x", .dtype = BM_FLOAT32, .values = values},
                        1);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void assert_floats(const char *name, const float *expected, uint64_t n)
{
    const float *values = action_fixture_values(&fixture, name);
    for (uint64_t i = 0; i < n; i++) {
        if (bits_of(values[i]) != bits_of(expected[i]))
            fail_msg("%s[%d] is %.9g, expected %.9g", name, (int)i, (double)values[i],
                     (double)expected[i]);
    }
}

// ---- cast ----

static void cast_rounds_to_even_and_saturates(void **state)
{
    (void)state;
    static const float values[] = {0.5F, 1.5F, -0.5F, 300, -300, NAN, INFINITY, 254.5F};
    give_floats(values, 8);
    build("[cast: {components: x, dtype: uint8}]");
    assert_int_equal(action_fixture_component(&fixture, "x")->dtype, BM_UINT8);
    assert_int_equal(action_fixture_run(&fixture, 8, 0), BM_RESULT_OK);
    assert_memory_equal(action_fixture_values(&fixture, "x"),
                        ((uint8_t[]){0, 2, 0, 255, 0, 0, 255, 254}), 8);
}

static void cast_in_place_gives_what_a_copy_gives(void **state)
{
    (void)state;
    enum { N = 3001 }; // long enough for a loop over vectors, and not a multiple of one
    static int32_t values[N];
    for (int i = 0; i < N; i++)
        values[i] = i * 977 - 100000;
    action_fixture_give(N, &(struct given){.name = "x", .dtype = BM_INT32, .values = values}, 1);
    build("[cast: {components: x, dtype: float32}]"); // as many bytes: in place
    assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
    const float *floats = action_fixture_values(&fixture, "x");
    for (int i = 0; i < N; i++)
        assert_true(floats[i] == (float)values[i]);
}

static void cast_takes_several_components_ragged_ones_too(void **state)
{
    (void)state;
    static const int64_t x[] = {1, 2, 3}, tail[] = {10, 20, 30};
    static const uint64_t offsets[] = {0, 2, 2, 3};
    const struct given given[] = {
        {.name = "x", .dtype = BM_INT64, .values = x},
        {.name = "tail", .dtype = BM_INT64, .ndim = 1, .values = tail, .offsets = offsets},
    };
    action_fixture_give(3, given, 2);
    build("[cast: {components: [tail, x], dtype: float32}]");
    assert_int_equal(action_fixture_run(&fixture, 3, 0), BM_RESULT_OK);
    assert_floats("x", (float[]){1, 2, 3}, 3);
    assert_floats("tail", (float[]){10, 20, 30}, 3);
    assert_memory_equal(fixture.work.batch.tensors[1].offsets, offsets, sizeof offsets);
}

static void cast_to_the_same_dtype_copies_nothing(void **state)
{
    (void)state;
    static const float values[] = {1, 2};
    give_floats(values, 2);
    build("[noop]");
    uint64_t bytes = bm_pipeline_batch_bytes(fixture.pipeline, 2);
    build("[cast: {components: x, dtype: float32}]");
    assert_int_equal(bm_pipeline_batch_bytes(fixture.pipeline, 2), bytes);
    assert_int_equal(action_fixture_run(&fixture, 2, 0), BM_RESULT_OK);
    assert_floats("x", values, 2);
}

static void cast_refuses_text_and_unknown_names(void **state)
{
    (void)state;
    static const uint64_t offsets[] = {0, 2};
    const struct given given[] = {
        {.name = "x", .dtype = BM_INT64, .values = &(int64_t){0}},
        {.name = "name", .dtype = BM_STRING, .values = "ab", .offsets = offsets},
    };
    action_fixture_give(1, given, 2);
    REFUSES("[cast: {components: name, dtype: int8}]", ".components",
            "expected a component of numbers, got name string");
    REFUSES("[cast: {components: x, dtype: string}]", ".dtype", "got string");
    REFUSES("[cast: {components: y, dtype: int8}]", ".components", "x, name");
    REFUSES("[cast: {components: [x, x], dtype: int8}]", ".components", "x twice");
    REFUSES("[cast: {components: [], dtype: int8}]", ".components", "at least one name");
    REFUSES("[cast: {components: x}]", "cast", "dtype");
    REFUSES("[cast: {components: x, dtype: int8, copy: true}]", ".copy", "components, dtype");
}

// ---- scale ----

static void scale_computes_in_the_components_own_precision(void **state)
{
    (void)state;
    static const float floats[] = {1, 0.1F, -3, NAN};
    static const double doubles[] = {1, 0.1, -3, 1e300};
    const uint16_t halves[] = {bm_half_from_float(1), bm_half_from_float(0.1F),
                               bm_half_from_float(-3), bm_half_from_float(60000)};
    const uint16_t bfloats[] = {bm_bfloat_from_float(1), bm_bfloat_from_float(0.1F),
                                bm_bfloat_from_float(-3), bm_bfloat_from_float(1e30F)};
    const struct given given[] = {
        {.name = "f", .dtype = BM_FLOAT32, .values = floats},
        {.name = "d", .dtype = BM_FLOAT64, .values = doubles},
        {.name = "h", .dtype = BM_FLOAT16, .values = halves},
        {.name = "b", .dtype = BM_BFLOAT16, .values = bfloats},
    };
    action_fixture_give(4, given, 4);
    build("[scale: {components: [f, d, h, b], factor: 0.1, offset: 7}]");
    assert_int_equal(action_fixture_run(&fixture, 4, 0), BM_RESULT_OK);
    const float *f = action_fixture_values(&fixture, "f");
    const double *d = action_fixture_values(&fixture, "d");
    const uint16_t *h = action_fixture_values(&fixture, "h");
    const uint16_t *b = action_fixture_values(&fixture, "b");
    for (unsigned i = 0; i < 4; i++) {
        float product = floats[i] * 0.1F;
        assert_true(i == 3 ? isnan(f[i]) : f[i] == product + 7);
        assert_true(d[i] == doubles[i] * 0.1 + 7);
        assert_int_equal(h[i], bm_half_from_float(bm_float_from_half(halves[i]) * 0.1F + 7));
        assert_int_equal(b[i], bm_bfloat_from_float(bm_float_from_bfloat(bfloats[i]) * 0.1F + 7));
    }
}

static void scale_changes_nothing_without_factor_and_offset(void **state)
{
    (void)state;
    static const float values[] = {1.25F, -7, 1e-40F};
    give_floats(values, 3);
    build("[scale: {components: x}]");
    assert_int_equal(action_fixture_run(&fixture, 3, 0), BM_RESULT_OK);
    assert_floats("x", values, 3);
}

static void scale_refuses_integers_and_numbers_beyond_the_dtype(void **state)
{
    (void)state;
    const struct given given[] = {
        {.name = "pixels", .dtype = BM_UINT8, .ndim = 2, .shape = {8, 8}, .values = ""},
        {.name = "x", .dtype = BM_FLOAT32, .values = ""},
        {.name = "d", .dtype = BM_FLOAT64, .values = ""},
    };
    action_fixture_give(0, given, 3);
    REFUSES("[scale: {components: pixels, factor: 2}]", ".components",
            "expected a float component, got pixels uint8 [8, 8]: cast it first");
    REFUSES("[scale: {components: [d, x], factor: 1e39}]", ".factor", "float32");
    REFUSES("[scale: {components: x, offset: -1e39}]", ".offset", "float32");
    REFUSES("[scale: {components: x, factor: .inf}]", ".factor", "finite");
    build("[scale: {components: d, factor: 1e39, offset: -1e39}]");
}

// ---- normalize ----

static void normalize_takes_one_number_for_all(void **state)
{
    (void)state;
    static const float values[] = {1, 2, 3.5F};
    give_floats(values, 3);
    build("[normalize: {components: x, mean: 0.1, std: 0.3}]");
    assert_int_equal(action_fixture_run(&fixture, 3, 0), BM_RESULT_OK);
    assert_floats("x", (float[]){(1 - 0.1F) / 0.3F, (2 - 0.1F) / 0.3F, (3.5F - 0.1F) / 0.3F}, 3);
}

// x[i] of items of shape [4, 5, 3], in the order of memory.
enum { ITEMS = 40, NELEMENTS = ITEMS * 4 * 5 * 3 };

static void check_axis(enum bm_dtype dtype, const char *actions, const double *mean,
                       const double *std, uint64_t inner, uint64_t places)
{
    static double doubles[NELEMENTS];
    static unsigned char numbers[NELEMENTS * sizeof(double)];
    for (unsigned i = 0; i < NELEMENTS; i++) {
        bm_dtype_put(dtype, numbers, i, (double)i / 7);
        doubles[i] = bm_dtype_get(dtype, numbers, i);
    }
    const struct given x = {"x", dtype, 3, {4, 5, 3}, numbers, NULL};
    action_fixture_give(ITEMS, &x, 1);
    build(actions);
    assert_int_equal(action_fixture_run(&fixture, ITEMS, 0), BM_RESULT_OK);
    for (uint64_t i = 0; i < NELEMENTS; i++) {
        uint64_t place = i / inner % places;
        double result = (doubles[i] - mean[place]) / std[place];
        if (dtype != BM_FLOAT64)
            result = (double)(((float)doubles[i] - (float)mean[place]) / (float)std[place]);
        unsigned char expected[sizeof(double)];
        bm_dtype_put(dtype, expected, 0, result);
        assert_true(bm_dtype_get(dtype, action_fixture_values(&fixture, "x"), i) ==
                    bm_dtype_get(dtype, expected, 0));
    }
}

static void normalize_takes_a_list_along_any_axis(void **state)
{
    (void)state;
    static const double mean[] = {0.1, -2, 30, 0.7, 11}, std[] = {2, 0.3, 7, 0.01, 1.1};
    static const double ones[] = {1, 1, 1, 1, 1}, twos[] = {2, 2, 2, 2, 2};
    static const enum bm_dtype dtypes[] = {BM_FLOAT32, BM_FLOAT64, BM_FLOAT16, BM_BFLOAT16};
    for (unsigned i = 0; i < COUNT(dtypes); i++) {
        check_axis(dtypes[i], "[normalize: {components: x, mean: [0.1, -2, 30], std: [2, 0.3, 7]}]",
                   mean, std, 1, 3);
        check_axis(dtypes[i],
                   "[normalize: {components: x, mean: [0.1, -2, 30, 0.7, 11], std: 2, axis: -2}]",
                   mean, twos, 3, 5);
        check_axis(dtypes[i],
                   "[normalize: {components: x, mean: 1, std: [2, 0.3, 7, 0.01], axis: 0}]", ones,
                   std, 15, 4);
        check_axis(dtypes[i], "[normalize: {components: x, mean: 1, std: [2], axis: 9}]", ones,
                   twos, 1, 1);
    }
}

static void normalize_works_on_rows_of_ragged_components(void **state)
{
    (void)state;
    static const float values[] = {1, 2, 3, 4, 5, 6};
    static const uint64_t offsets[] = {0, 1, 3};
    const struct given x = {"x", BM_FLOAT32, 2, {0, 2}, values, offsets};
    action_fixture_give(2, &x, 1);
    build("[normalize: {components: x, mean: [1, 2], std: 2}]");
    assert_int_equal(action_fixture_run(&fixture, 2, 0), BM_RESULT_OK);
    assert_floats("x", (float[]){0, 0, 1, 1, 2, 2}, 6);
    REFUSES("[normalize: {components: x, mean: [1, 2], std: 2, axis: 0}]", ".axis", "varies");
}

static void normalize_refuses_lists_that_do_not_fit(void **state)
{
    (void)state;
    const struct given given[] = {
        {.name = "x", .dtype = BM_FLOAT32, .ndim = 2, .shape = {4, 3}, .values = ""},
        {.name = "s", .dtype = BM_FLOAT32, .values = ""},
        {.name = "i", .dtype = BM_INT32, .values = ""},
    };
    action_fixture_give(0, given, 3);
    REFUSES("[normalize: {components: x, mean: [1, 2], std: 1}]", ".mean",
            "expected one number, or 3 as axis 1 of x has places, got 2");
    REFUSES("[normalize: {components: x, mean: 0, std: [1, 2]}]", ".std", "got 2");
    REFUSES("[normalize: {components: x, mean: [1, 2, 3], std: [1, 2]}]", ".std", "3 as `mean`");
    REFUSES("[normalize: {components: x, mean: [], std: 1}]", ".mean", "none");
    REFUSES("[normalize: {components: x, mean: 0, std: []}]", ".std", "none");
    REFUSES("[normalize: {components: x, mean: 0, std: 0}]", ".std", "more than 0");
    REFUSES("[normalize: {components: x, mean: 0, std: [1, -1, 1]}]", ".std", "more than 0");
    REFUSES("[normalize: {components: x, mean: 0, std: 1e-60}]", ".std", "in float32");
    REFUSES("[normalize: {components: x, mean: 1e39, std: 1}]", ".mean", "float32");
    REFUSES("[normalize: {components: x, mean: [1, 2, 3], std: 1, axis: 2}]", ".axis", "no such");
    REFUSES("[normalize: {components: x, mean: [1, 2, 3], std: 1, axis: -3}]", ".axis", "no such");
    REFUSES("[normalize: {components: [x, s], mean: [1, 2, 3], std: 1}]", ".axis", "s has no such");
    REFUSES("[normalize: {components: i, mean: 0, std: 1}]", ".components", "cast it first");
    REFUSES("[normalize: {components: x, mean: 0}]", "normalize", "std");
}

// ---- clip ----

static void clip_limits_every_dtype_of_numbers(void **state)
{
    (void)state;
    static const enum bm_dtype dtypes[] = {BM_INT8,    BM_INT16,    BM_INT32,   BM_INT64,
                                           BM_UINT8,   BM_UINT16,   BM_UINT32,  BM_UINT64,
                                           BM_FLOAT16, BM_BFLOAT16, BM_FLOAT32, BM_FLOAT64};
    enum { N = 2500 };
    static unsigned char values[N * sizeof(uint64_t)];
    for (unsigned d = 0; d < COUNT(dtypes); d++) {
        for (unsigned i = 0; i < N; i++)
            bm_dtype_put(dtypes[d], values, i, i % 100);
        const struct given x = {"x", dtypes[d], 1, {5}, values, NULL};
        action_fixture_give(N / 5, &x, 1);
        static const struct {
            const char *actions;
            double low, high;
        } cases[] = {{"[clip: {components: x, min: 3, max: 50}]", 3, 50},
                     {"[clip: {components: x, min: 3}]", 3, 1000},
                     {"[clip: {components: x, max: 50}]", -1000, 50},
                     {"[clip: {components: x, min: 7, max: 7}]", 7, 7}};
        for (unsigned c = 0; c < COUNT(cases); c++) {
            build(cases[c].actions);
            assert_int_equal(action_fixture_run(&fixture, N / 5, 0), BM_RESULT_OK);
            for (unsigned i = 0; i < N; i++) {
                double expected = fmin(fmax(i % 100, cases[c].low), cases[c].high);
                double got = bm_dtype_get(dtypes[d], action_fixture_values(&fixture, "x"), i);
                assert_true(got == expected);
            }
        }
    }
}

static void clip_keeps_nan_and_the_ends_of_a_type(void **state)
{
    (void)state;
    static const float floats[] = {NAN, -INFINITY, INFINITY, -1};
    static const int64_t integers[] = {INT64_MIN, INT64_MAX, -5, 5};
    const struct given given[] = {
        {.name = "f", .dtype = BM_FLOAT32, .values = floats},
        {.name = "i", .dtype = BM_INT64, .values = integers},
    };
    action_fixture_give(4, given, 2);
    build("[clip: {components: [f, i], max: 2}]");
    assert_int_equal(action_fixture_run(&fixture, 4, 0), BM_RESULT_OK);
    const float *f = action_fixture_values(&fixture, "f");
    const int64_t *i = action_fixture_values(&fixture, "i");
    assert_true(isnan(f[0]) && f[1] == -INFINITY && f[2] == 2 && f[3] == -1);
    assert_true(i[0] == INT64_MIN && i[1] == 2 && i[2] == -5 && i[3] == 2);
}

static void clip_refuses_bounds_that_mean_nothing(void **state)
{
    (void)state;
    const struct given given[] = {
        {.name = "u", .dtype = BM_UINT8, .values = ""},
        {.name = "x", .dtype = BM_FLOAT32, .values = ""},
        {.name = "l", .dtype = BM_INT64, .values = ""},
        {.name = "b", .dtype = BM_BOOL, .values = ""},
    };
    action_fixture_give(0, given, 4);
    REFUSES("[clip: {components: x}]", "clip", "got neither");
    REFUSES("[clip: {components: x, min: 2, max: 1}]", ".max", "at least min = 2, got 1");
    REFUSES("[clip: {components: x, min: [1, 2]}]", ".min", "one number, got 2");
    REFUSES("[clip: {components: x, max: [1, 2]}]", ".max", "one number, got 2");
    REFUSES("[clip: {components: x, max: .nan}]", ".max", "finite");
    REFUSES("[clip: {components: [x, u], max: 256}]", ".max", "uint8");
    REFUSES("[clip: {components: u, min: -1}]", ".min", "uint8");
    REFUSES("[clip: {components: u, min: 0.5}]", ".min", "uint8");
    REFUSES("[clip: {components: l, max: 9007199254740994}]", ".max", "2^53");
    REFUSES("[clip: {components: b, max: 1}]", ".components", "integers or floats");
    build("[clip: {components: l, max: 9007199254740992}]");
}

// ---- log1p ----

// numpy 1.24.2: np.log1p(x); 1 unit in the last place may differ (NumPy's float32 of 0.25 is not
// the nearest).
static void log1p_is_that_of_numpy(void **state)
{
    (void)state;
    static const double values[] = {0.0,
                                    1e-10,
                                    -1e-10,
                                    0.5,
                                    -0.5,
                                    1.0,
                                    2.718281828459045,
                                    100.0,
                                    1e300,
                                    -0.9999999999999999,
                                    3e-5,
                                    0.41421356237309515};
    static const double expected[] = {0x0.0p+0,
                                      0x1.b7cdfd9d1d693p-34,
                                      -0x1.b7cdfd9dda4e3p-34,
                                      0x1.9f323ecbf984cp-2,
                                      -0x1.62e42fefa39efp-1,
                                      0x1.62e42fefa39efp-1,
                                      0x1.5031eafefb049p+0,
                                      0x1.275e2271bba31p+2,
                                      0x1.5963447f87fb5p+9,
                                      -0x1.25e4f7b2737fap+5,
                                      0x1.f74f16101d066p-16,
                                      0x1.62e42fefa39f0p-2};
    static const float narrow[] = {0.25f, 7, 1e-6f, -0.75f, 123456, -1, -2, -0.0f};
    static const float narrow_expected[] = {0x1.c8ff7ep-3f, 0x1.0a2b24p+1f, 0x1.0c6f72p-20f,
                                            -0x1.62e43p+0f, 0x1.772820p+3f};
    action_fixture_give(COUNT(values),
                        &(struct given){.name = "x", .dtype = BM_FLOAT64, .values = values}, 1);
    build("[log1p: {components: x}]");
    assert_int_equal(action_fixture_run(&fixture, COUNT(values), 0), BM_RESULT_OK);
    const double *x = action_fixture_values(&fixture, "x");
    for (unsigned i = 0; i < COUNT(values); i++) {
        if (!(fabs(x[i] - expected[i]) <= fabs(expected[i]) * 0x1p-52))
            fail_msg("log1p(%.17g): expected %a, got %a", values[i], expected[i], x[i]);
    }
    give_floats(narrow, COUNT(narrow));
    build("[log1p: {components: x}]");
    assert_int_equal(action_fixture_run(&fixture, COUNT(narrow), 0), BM_RESULT_OK);
    const float *y = action_fixture_values(&fixture, "x");
    for (unsigned i = 0; i < 5; i++)
        assert_in_range(bits_of(y[i]), bits_of(narrow_expected[i]) - 1,
                        bits_of(narrow_expected[i]) + 1);
    assert_true(y[0] == 0x1.c8ff7cp-3f && y[5] == -INFINITY);
    assert_true(isnan(y[6]) && y[7] == 0 && signbit(y[7]));
}

// ---- All ----

static void the_bytes_do_not_depend_on_the_tile_or_the_batch(void **state)
{
    (void)state;
    enum { N = 97, WIDTH = 33, NFLOATS = N * WIDTH };
    static float values[NFLOATS], whole[NFLOATS];
    for (unsigned i = 0; i < NFLOATS; i++)
        values[i] = (float)((i * 7919) % 1000) / 13;
    const struct given x = {"x", BM_FLOAT32, 2, {11, 3}, values, NULL};
    action_fixture_give(N, &x, 1);
    build("[noop, {scale: {components: x, factor: 0.3, offset: -1}}, {normalize: {components: x, "
          "mean: [0.1, 0.2, 0.3], std: [1.1, 1.2, 1.3]}}, {cast: {components: x, dtype: float16}}, "
          "{clip: {components: x, min: -1, max: 10.5}}, {cast: {components: x, dtype: float32}}]");
    assert_int_equal(bm_pipeline_nsteps(fixture.pipeline), 2);
    assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
    memcpy(whole, action_fixture_values(&fixture, "x"), sizeof whole);
    static const uint64_t tiles[] = {1, 2, 7, 96, 1000}, sizes[] = {1, 10, N};
    action_fixture_lend(true); // and not on whether it is written in place
    assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
    assert_floats("x", whole, NFLOATS);
    for (unsigned t = 0; t < COUNT(tiles); t++) {
        for (unsigned s = 0; s < COUNT(sizes); s++) {
            fixture.tile_rows = tiles[t];
            for (uint64_t first = 0; first < N; first += sizes[s]) {
                assert_int_equal(action_fixture_run(&fixture, sizes[s], first / sizes[s]),
                                 BM_RESULT_OK);
                assert_floats("x", &whole[first * WIDTH], fixture.work.batch.nitems * WIDTH);
            }
        }
    }
}

static void running_out_of_memory_is_an_error_of_its_own(void **state)
{
    (void)state;
    give_floats((float[]){0}, 1);
    static const char *const actions[] = {
        "[cast: {components: x, dtype: int8}]", "[scale: {components: x}]",
        "[normalize: {components: x, mean: 0, std: 1}]", "[clip: {components: x, min: 0}]"};
    for (unsigned i = 0; i < COUNT(actions); i++)
        action_fixture_starves(&fixture, actions[i]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(cast_rounds_to_even_and_saturates),
        TEST(cast_in_place_gives_what_a_copy_gives),
        TEST(cast_takes_several_components_ragged_ones_too),
        TEST(cast_to_the_same_dtype_copies_nothing),
        TEST(cast_refuses_text_and_unknown_names),
        TEST(scale_computes_in_the_components_own_precision),
        TEST(scale_changes_nothing_without_factor_and_offset),
        TEST(scale_refuses_integers_and_numbers_beyond_the_dtype),
        TEST(normalize_takes_one_number_for_all),
        TEST(normalize_takes_a_list_along_any_axis),
        TEST(normalize_works_on_rows_of_ragged_components),
        TEST(normalize_refuses_lists_that_do_not_fit),
        TEST(clip_limits_every_dtype_of_numbers),
        TEST(clip_keeps_nan_and_the_ends_of_a_type),
        TEST(clip_refuses_bounds_that_mean_nothing),
        TEST(log1p_is_that_of_numpy),
        TEST(the_bytes_do_not_depend_on_the_tile_or_the_batch),
        TEST(running_out_of_memory_is_an_error_of_its_own),
    };
    return cmocka_run_group_tests_name("elementwise", tests, NULL, NULL);
}
