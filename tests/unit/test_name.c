// What base/name.h promises: 1 to 128 of the characters A-Z a-z 0-9 . _ - and nothing else.
#include "base/name.h"

#include <string.h>

#include "support.h"

static void each_byte_is_allowed_or_not(void **state)
{
    (void)state;
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    for (int c = 1; c < 256; c++) {
        const char alone[] = {(char)c, '\0'}, last[] = {'a', (char)c, '\0'};
        bool expected = strchr(allowed, c) != NULL;
        assert_int_equal(bm_name_valid(alone), expected);
        assert_int_equal(bm_name_valid(last), expected);
    }
}

static void a_name_has_1_to_128_bytes(void **state)
{
    (void)state;
    char name[BM_NAME_MAX + 2] = "";
    assert_int_equal(BM_NAME_MAX, 128);
    assert_false(bm_name_valid(name));
    memset(name, 'a', BM_NAME_MAX);
    assert_true(bm_name_valid(name));
    name[BM_NAME_MAX] = 'a';
    assert_false(bm_name_valid(name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_byte_is_allowed_or_not),
        cmocka_unit_test(a_name_has_1_to_128_bytes),
    };
    return cmocka_run_group_tests_name("name", tests, NULL, NULL);
}
