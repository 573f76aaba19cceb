// What sources/range.c promises: item i is the number i, in any dtype that can hold it.
#include <stdio.h>
#include <string.h>

#include "fakes/source_fixture.h"
#include "support.h"

static struct source_fixture fixture;

static int make_fixture(void **state)
{
    (void)state;
    source_fixture_init(&fixture);
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    source_fixture_fini(&fixture);
    return 0;
}

static void item_i_has_the_value_i(void **state)
{
    (void)state;
    assert_int_equal(source_fixture_open(&fixture, "range: {n: 1000}"), BM_OK);
    assert_int_equal(fixture.source->nitems, 1000);
    assert_int_equal(fixture.source->schema.ncomponents, 1);
    assert_string_equal(fixture.source->schema.components[0].name, "x");
    assert_int_equal(fixture.source->schema.components[0].dtype, BM_INT64);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){999, 0, 7, 7}, 4), BM_OK);
    const int64_t *values = source_fixture_values(&fixture, "x");
    assert_int_equal(values[0], 999);
    assert_int_equal(values[1], 0);
    assert_int_equal(values[2], 7);
    assert_int_equal(values[3], 7);
}

static void the_component_and_its_dtype_can_be_chosen(void **state)
{
    (void)state;
    assert_int_equal(
        source_fixture_open(&fixture, "range: {n: 256, component: step, dtype: uint8}"), BM_OK);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){255, 254}, 2), BM_OK);
    const uint8_t *bytes = source_fixture_values(&fixture, "step");
    assert_int_equal(bytes[0], 255);
    assert_int_equal(bytes[1], 254);

    assert_int_equal(source_fixture_open(&fixture, "range: {n: 10, dtype: float32}"), BM_OK);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){9}, 1), BM_OK);
    assert_true(*(const float *)source_fixture_values(&fixture, "x") == 9.0F);
}

static void an_empty_range_is_a_source_without_items(void **state)
{
    (void)state;
    assert_int_equal(source_fixture_open(&fixture, "range: {n: 0}"), BM_OK);
    assert_int_equal(fixture.source->nitems, 0);
    assert_int_equal(source_fixture_read(&fixture, NULL, 0), BM_OK);
}

static void the_last_value_must_fit_the_dtype(void **state)
{
    (void)state;
    static const struct {
        const char *dtype;
        uint64_t n;
    } largest[] = {{"bool", 2},
                   {"int8", 128},
                   {"uint8", 256},
                   {"int16", 32768},
                   {"uint16", 65536},
                   {"int32", 2147483648},
                   {"uint32", 4294967296},
                   {"float16", 2049},
                   {"bfloat16", 257},
                   {"float32", 16777217},
                   {"float64", 9007199254740993}};
    for (unsigned i = 0; i < sizeof largest / sizeof largest[0]; i++) {
        char yaml[100];
        snprintf(yaml, sizeof yaml, "range: {n: %llu, dtype: %s}", (unsigned long long)largest[i].n,
                 largest[i].dtype);
        assert_int_equal(source_fixture_open(&fixture, yaml), BM_OK);
        const uint64_t last = largest[i].n - 1;
        assert_int_equal(source_fixture_read(&fixture, &last, 1), BM_OK);
        assert_true(bm_dtype_get(fixture.source->schema.components[0].dtype,
                                 source_fixture_values(&fixture, "x"), 0) == (double)last);

        snprintf(yaml, sizeof yaml, "range: {n: %llu, dtype: %s}",
                 (unsigned long long)largest[i].n + 1, largest[i].dtype);
        assert_int_equal(source_fixture_open(&fixture, yaml), BM_INVALID_ARGUMENT);
        assert_non_null(strstr(fixture.error.where, "dtype"));
        assert_non_null(strstr(fixture.error.text, largest[i].dtype));
    }
    assert_int_equal(source_fixture_open(&fixture, "range: {n: 9223372036854775807}"), BM_OK);
}

static void bad_parameters_are_errors_that_name_them(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"range: {n: -1}", "n"},
        {"range: {}", "n"},
        {"range: {n: 1.5}", "n"},
        {"range: {n: 3, dtype: string}", "dtype"},
        {"range: {n: 0, dtype: bytes}", "dtype"},
        {"range: {n: 3, dtype: int128}", "dtype"},
        {"range: {n: 3, component: a b}", "component"},
        {"range: {n: 3, size: 3}", "size"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(source_fixture_open(&fixture, bad[i][0]), BM_INVALID_ARGUMENT);
        if (strstr(fixture.error.where, bad[i][1]) == NULL)
            assert_non_null(strstr(fixture.error.text, bad[i][1]));
    }
}

static void the_identity_tells_ranges_apart_and_is_the_same_for_equal_ones(void **state)
{
    (void)state;
    assert_int_equal(source_fixture_open(&fixture, "range: {n: 5}"), BM_OK);
    uint64_t identity = fixture.source->identity;
    assert_int_equal(source_fixture_open(&fixture, "range: {dtype: int64, component: x, n: 5}"),
                     BM_OK);
    assert_true(fixture.source->identity == identity);
    static const char *const others[] = {"range: {n: 6}", "range: {n: 5, dtype: int32}",
                                         "range: {n: 5, component: y}"};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(source_fixture_open(&fixture, others[i]), BM_OK);
        assert_false(fixture.source->identity == identity);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(item_i_has_the_value_i),
        TEST(the_component_and_its_dtype_can_be_chosen),
        TEST(an_empty_range_is_a_source_without_items),
        TEST(the_last_value_must_fit_the_dtype),
        TEST(bad_parameters_are_errors_that_name_them),
        TEST(the_identity_tells_ranges_apart_and_is_the_same_for_equal_ones),
    };
    return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
