#include "pipeline/value.h"

#include <stdio.h>

#include "fakes/heap.h"
#include "support.h"

static struct bm_value *plain(const char *text)
{
    struct bm_value *value = bm_value_new_scalar(text, false, "f.yaml:3: a.b");
    assert_non_null(value);
    assert_string_equal(value->text, text); // what the user wrote, whatever it means
    assert_string_equal(value->where, "f.yaml:3: a.b");
    return value;
}

static void assert_kind(const char *text, enum bm_value_kind kind)
{
    struct bm_value *value = plain(text);
    if (value->kind != kind)
        fail_msg("\"%s\": expected kind %d, got %d", text, (int)kind, (int)value->kind);
    bm_value_free(value);
}

static void plain_scalars_mean_what_yaml_1_2_says(void **state)
{
    (void)state;
    const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    for (unsigned i = 0; i < 5; i++)
        assert_kind(nulls[i], BM_VALUE_NULL);
    const char *const booleans[] = {"true", "True", "TRUE", "false", "False", "FALSE"};
    for (unsigned i = 0; i < 6; i++) {
        struct bm_value *value = plain(booleans[i]);
        assert_int_equal(value->kind, BM_VALUE_BOOL);
        assert_int_equal(value->boolean, i < 3);
        bm_value_free(value);
    }
    // YAML 1.1 took these for booleans, numbers and times; 1.2 does not.
    const char *const texts[] = {"yes", "no",  "on",    "nULL",  "tRUE",  "1_000", "12:30",
                                 "0x",  "0xg", "0o8",   "0b1",   "-0x1",  "+",     "-",
                                 ".",   "e5",  "1e",    "1e+",   "1.2.3", "inf",   "nan",
                                 "+.",  "1 2", "0x1p3", ".infx", "-.nan", "1f",    "--1"};
    for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_kind(texts[i], BM_VALUE_TEXT);
}

static void integers_are_exact_within_64_bits(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t integer;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"+12", 12},
        {"-7", -7},
        {"007", 7}, // decimal: octal is written 0o7
        {"0x1F", 31},
        {"0o17", 15},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"0x7fffffffffffffff", INT64_MAX},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bm_value *value = plain(cases[i].text);
        assert_int_equal(value->kind, BM_VALUE_INTEGER);
        assert_true(value->integer == cases[i].integer);
        assert_true(value->number == (double)cases[i].integer);
        bm_value_free(value);
    }
    assert_kind("9223372036854775808", BM_VALUE_FLOAT); // too large: the nearest float
    assert_kind("0xffffffffffffffff", BM_VALUE_TEXT);
}

static void floats_are_read(void **state)
{
    (void)state;
    const struct {
        const char *text;
        double number;
    } cases[] = {
        {"1.5", 1.5},
        {".5", 0.5},
        {"-3.", -3},
        {"1e3", 1000},
        {"+2.5E-1", 0.25},
        {".inf", __builtin_inf()},
        {"+.Inf", __builtin_inf()},
        {"-.INF", -__builtin_inf()},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bm_value *value = plain(cases[i].text);
        assert_int_equal(value->kind, BM_VALUE_FLOAT);
        assert_true(value->number == cases[i].number);
        bm_value_free(value);
    }
    struct bm_value *nan = plain(".NaN");
    assert_int_equal(nan->kind, BM_VALUE_FLOAT);
    assert_true(nan->number != nan->number);
    bm_value_free(nan);
}

static void quotes_make_a_text_of_anything(void **state)
{
    (void)state;
    const char *const texts[] = {"", "null", "true", "12", "1.5"};
    for (unsigned i = 0; i < 5; i++) {
        struct bm_value *value = bm_value_new_scalar(texts[i], true, NULL);
        assert_int_equal(value->kind, BM_VALUE_TEXT);
        assert_string_equal(value->text, texts[i]);
        assert_string_equal(value->where, "");
        bm_value_free(value);
    }
}

static void maps_keep_the_order_in_which_they_were_written(void **state)
{
    (void)state;
    struct bm_value *map = bm_value_new(BM_VALUE_MAP, "f");
    char key[16];
    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "k%u", 99 - i);
        assert_true(bm_value_append(map, key, bm_value_new(BM_VALUE_LIST, key)));
    }
    assert_int_equal(map->nchildren, 100);
    assert_string_equal(map->keys[0], "k99");
    assert_ptr_equal(bm_value_find(map, "k3"), map->children[96]);
    assert_null(bm_value_find(map, "k100"));
    assert_null(bm_value_find(map->children[0], "k1")); // a list has no keys
    bm_value_free(map);
    bm_value_free(NULL);
}

static void assert_shown(struct bm_value *value, const char *kind_name, const char *expected)
{
    struct bm_buffer out;
    bm_buffer_init(&out);
    bm_value_show(value, &out);
    assert_string_equal(bm_buffer_text(&out), expected);
    assert_string_equal(bm_value_kind_name(value), kind_name);
    bm_buffer_fini(&out);
    bm_value_free(value);
}

static void values_are_shown_short_in_errors(void **state)
{
    (void)state;
    assert_shown(plain("~"), "nothing", "nothing");
    assert_shown(plain("True"), "true or false", "True");
    assert_shown(plain("0x1f"), "a number", "0x1f");
    assert_shown(plain("1.50"), "a number", "1.50");
    assert_shown(plain("abc"), "a text", "the text \"abc\"");
}

static void a_long_text_is_cut(void **state)
{
    (void)state;
    assert_shown(plain("a123456789b123456789c123456789d1234567890"), "a text",
                 "the text \"a123456789b123456789c123456789d123456789\"...");
    assert_shown(plain("a123456789b123456789c123456789d12345678\xc3\xa4"), "a text",
                 "the text \"a123456789b123456789c123456789d12345678\"...");
    struct bm_value *list = bm_value_new(BM_VALUE_LIST, NULL);
    assert_true(bm_value_append(list, NULL, plain("1")));
    assert_shown(list, "a list", "a list of 1");
    assert_shown(bm_value_new(BM_VALUE_MAP, NULL), "a map", "a map");
}

static void out_of_memory_leaves_the_child_with_its_owner(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 4; n++) {
        bm_fake_heap_fail_at(n);
        struct bm_value *value = bm_value_new_scalar("abc", false, "f");
        bool failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(value == NULL, failed);
        assert_int_equal(failed, n <= 3);
        bm_value_free(value);
    }
    for (uint64_t n = 1; n <= 4; n++) {
        struct bm_value *map = bm_value_new(BM_VALUE_MAP, "f"), *child = plain("1");
        bm_fake_heap_fail_at(n);
        bool appended = bm_value_append(map, "key", child);
        bool failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(appended, !failed);
        assert_int_equal(failed, n <= 3);
        assert_int_equal(map->nchildren, appended);
        if (!appended) // the map is as good as before
            assert_true(bm_value_append(map, "key", child));
        assert_ptr_equal(bm_value_find(map, "key"), child);
        bm_value_free(map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_scalars_mean_what_yaml_1_2_says),
        cmocka_unit_test(integers_are_exact_within_64_bits),
        cmocka_unit_test(floats_are_read),
        cmocka_unit_test(quotes_make_a_text_of_anything),
        cmocka_unit_test(maps_keep_the_order_in_which_they_were_written),
        cmocka_unit_test(values_are_shown_short_in_errors),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(out_of_memory_leaves_the_child_with_its_owner),
    };
    return cmocka_run_group_tests_name("value", tests, NULL, NULL);
}
