// A check holds for the bytes it was made of, and for no others.
#include <string.h>

#include "base/check.h"
#include "support.h"

static void a_check_holds_and_any_altered_bit_breaks_it(void **state)
{
    (void)state;
    for (size_t size = 0; size <= 300; size += size < 20 ? 1 : 40) {
        unsigned char bytes[300 + BM_CHECK_SIZE];
        for (size_t i = 0; i < size; i++)
            bytes[i] = (unsigned char)(7 * i);
        bm_check_put(bytes, size);
        size_t total = size + BM_CHECK_SIZE;
        assert_int_equal(bm_check_end(bytes, total), BM_CHECK_HOLDS);
        for (size_t bit = 0; bit < 8 * total; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            assert_int_equal(bm_check_end(bytes, total), BM_CHECK_BROKEN);
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        for (size_t cut = 1; cut <= total; cut++)
            assert_int_not_equal(bm_check_end(bytes, total - cut), BM_CHECK_HOLDS);
    }
}

static void what_has_no_check_is_no_broken_one(void **state)
{
    (void)state;
    unsigned char bytes[40] = {0};
    for (size_t size = 0; size <= sizeof bytes; size++)
        assert_int_equal(bm_check_end(bytes, size), BM_CHECK_NONE);
}

static void a_check_is_the_same_on_every_machine(void **state)
{
    (void)state;
    unsigned char bytes[3 + BM_CHECK_SIZE] = "abc";
    // XXH3_64bits("abc") = 0x78af5f94892f3950, after the tag of field 14, a fixed64.
    static const unsigned char expected[] = {0x71, 0x50, 0x39, 0x2f, 0x89, 0x94, 0x5f, 0xaf, 0x78};
    bm_check_put(bytes, 3);
    assert_memory_equal(bytes + 3, expected, sizeof expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_check_holds_and_any_altered_bit_breaks_it),
        cmocka_unit_test(what_has_no_check_is_no_broken_one),
        cmocka_unit_test(a_check_is_the_same_on_every_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
