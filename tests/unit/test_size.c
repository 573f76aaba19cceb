// What base/size.h promises: no size wraps around unseen.
#include "base/size.h"

#include "support.h"

static void products_that_fit_are_exact(void **state)
{
    (void)state;
    uint64_t result = 1;
    assert_true(bm_size_mul(0, UINT64_MAX, &result));
    assert_int_equal(result, 0);
    assert_true(bm_size_mul(0xffffffffu, 0x100000001u, &result));
    assert_int_equal(result, UINT64_MAX);
    assert_true(bm_size_mul(1, UINT64_MAX, &result));
    assert_int_equal(result, UINT64_MAX);
}

static void products_that_do_not_fit_leave_the_result_alone(void **state)
{
    (void)state;
    uint64_t result = 17;
    assert_false(bm_size_mul((uint64_t)1 << 32, (uint64_t)1 << 32, &result));
    assert_false(bm_size_mul(UINT64_MAX, 2, &result));
    assert_false(bm_size_mul(UINT64_MAX, UINT64_MAX, &result));
    assert_int_equal(result, 17);
}

static void sums_fit_or_leave_the_result_alone(void **state)
{
    (void)state;
    uint64_t result = 17;
    assert_false(bm_size_add(UINT64_MAX, 1, &result));
    assert_false(bm_size_add((uint64_t)1 << 63, (uint64_t)1 << 63, &result));
    assert_int_equal(result, 17);
    assert_true(bm_size_add(UINT64_MAX - 1, 1, &result));
    assert_int_equal(result, UINT64_MAX);
}

static void the_result_may_be_an_operand(void **state)
{
    (void)state;
    uint64_t size = 6;
    assert_true(bm_size_mul(size, 7, &size));
    assert_true(bm_size_add(size, 1, &size));
    assert_int_equal(size, 43);
}

static void sizes_are_rounded_up_to_the_alignment(void **state)
{
    (void)state;
    assert_int_equal(bm_size_align(0, 64), 0);
    assert_int_equal(bm_size_align(1, 64), 64);
    assert_int_equal(bm_size_align(63, 64), 64);
    assert_int_equal(bm_size_align(64, 64), 64);
    assert_int_equal(bm_size_align(65, 64), 128);
    assert_int_equal(bm_size_align(7, 1), 7);
    assert_int_equal(bm_size_align(((uint64_t)1 << 40) + 1, 8), ((uint64_t)1 << 40) + 8);
}

static void sizes_are_read_with_their_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},      {"1048576", 1 << 20},   {"7B", 7},
        {"3kB", 3000}, {"512MiB", 512u << 20}, {"16777215TiB", 16777215ull << 40},
    };
    static const char *const bad[] = {
        "",      "MiB",  "-1",     "+1",          " 1",
        "1 MiB", "1mib", "1.5GiB", "16777216TiB", "18446744073709551616"};
    uint64_t bytes = 17;
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(bm_size_parse(bad[i], &bytes));
    assert_int_equal(bytes, 17);
    for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(bm_size_parse(good[i].text, &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_that_fit_are_exact),
        cmocka_unit_test(products_that_do_not_fit_leave_the_result_alone),
        cmocka_unit_test(sums_fit_or_leave_the_result_alone),
        cmocka_unit_test(the_result_may_be_an_operand),
        cmocka_unit_test(sizes_are_rounded_up_to_the_alignment),
        cmocka_unit_test(sizes_are_read_with_their_units),
    };
    return cmocka_run_group_tests_name("size", tests, NULL, NULL);
}
