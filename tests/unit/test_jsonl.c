// What sources/jsonl.c promises: every field exactly, or an error that says which and why.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fakes/heap.h"
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
    bm_fake_heap_fail_never();
    source_fixture_fini(&fixture);
    return 0;
}

static enum bm_status try_text(const char *text, const char *components)
{
    char yaml[600];
    source_fixture_write(&fixture, "a.jsonl", text, strlen(text));
    snprintf(yaml, sizeof yaml, "jsonl: {path: a.jsonl, components: %s}", components);
    return source_fixture_open(&fixture, yaml);
}

static void open_text(const char *text, const char *components)
{
    if (try_text(text, components) != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
}

static void refuse(const char *text, const char *components, const char *where,
                   const char *expectation)
{
    assert_int_not_equal(try_text(text, components), BM_OK);
    if (strstr(fixture.error.where, where) == NULL ||
        strstr(fixture.error.text, expectation) == NULL)
        fail_msg("expected \"%s\": \"%s\", got \"%s\": \"%s\"", where, expectation,
                 fixture.error.where, fixture.error.text);
}

static const struct bm_tensor *tensor_of(const char *component)
{
    int c = bm_schema_find(&fixture.source->schema, component);
    assert_true(c >= 0);
    return &fixture.batch.tensors[c];
}

static void assert_piece(const char *component, uint64_t row, const char *expected)
{
    const struct bm_tensor *tensor = tensor_of(component);
    uint64_t size = tensor->offsets[row + 1] - tensor->offsets[row];
    assert_int_equal(size, strlen(expected));
    assert_true(size == 0 || memcmp(tensor->data + tensor->offsets[row], expected, size) == 0);
}

static void fields_of_every_kind_are_read(void **state)
{
    (void)state;
    open_text("{\"n\": -5, \"x\": 2, \"t\": \"caf\\u00e9\", \"ok\": true, \"u\": {\"age\": 7}}\r\n"
              "\n \t\r\n"
              "{\"ok\":false,\"u\":{\"age\":255},\"t\":\"\",\"x\":-1.5e-3,\"n\":127,\"z\":[]}",
              "{n: {dtype: int8}, x: {dtype: float32}, t: {dtype: string}, ok: {dtype: bool}, "
              "age: {field: u.age, dtype: uint8}}");
    assert_int_equal(fixture.source->nitems, 2);
    const int8_t *n = source_fixture_values(&fixture, "n");
    const float *x = source_fixture_values(&fixture, "x");
    const unsigned char *ok = source_fixture_values(&fixture, "ok");
    const uint8_t *age = source_fixture_values(&fixture, "age");
    assert_true(n[0] == -5 && n[1] == 127 && x[0] == 2 && x[1] == -1.5e-3f);
    assert_true(ok[0] == 1 && ok[1] == 0 && age[0] == 7 && age[1] == 255);
    assert_piece("t", 0, "caf\xc3\xa9");
    assert_piece("t", 1, "");
}

static void lists_are_of_one_shape_or_ragged(void **state)
{
    (void)state;
    open_text("{\"v\": [1, 2], \"m\": [[1], [2], [3]], \"r\": [10, 20, 30]}\n"
              "{\"v\": [3, 4], \"m\": [[4], [5], [6]], \"r\": []}\n"
              "{\"v\": [5, 6], \"m\": [[7], [8], [9]], \"r\": [40]}\n",
              "{v: {dtype: int16, shape: 2}, m: {dtype: float64, shape: [3, 1]}, r: {dtype: int32, "
              "ragged: true}}");
    const int16_t v[] = {1, 2, 3, 4, 5, 6};
    assert_memory_equal(source_fixture_values(&fixture, "v"), v, sizeof v);
    assert_true(((const double *)source_fixture_values(&fixture, "m"))[8] == 9);
    const uint64_t offsets[] = {0, 3, 3, 4};
    const int32_t r[] = {10, 20, 30, 40};
    assert_memory_equal(tensor_of("r")->offsets, offsets, sizeof offsets);
    assert_memory_equal(source_fixture_values(&fixture, "r"), r, sizeof r);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){2, 0}, 2), BM_OK);
    const int32_t turned[] = {40, 10, 20, 30};
    assert_memory_equal(source_fixture_values(&fixture, "r"), turned, sizeof turned);
}

static void null_and_absent_fields_are_missing(void **state)
{
    (void)state;
    open_text("{\"x\": null, \"v\": [1, null], \"t\": null, \"r\": null, \"n\": null}\n{}\n",
              "{x: {dtype: float32}, v: {dtype: float64, shape: 2}, t: {dtype: string}, r: {dtype: "
              "int8, ragged: true}, n: {dtype: int64}, s: {dtype: bytes}}, fill: {n: -1, s: none}");
    const float *x = source_fixture_values(&fixture, "x");
    const double *v = source_fixture_values(&fixture, "v");
    const int64_t *n = source_fixture_values(&fixture, "n");
    assert_true(isnan(x[0]) && isnan(x[1]) && v[0] == 1 && isnan(v[1]) && isnan(v[2]));
    assert_true(n[0] == -1 && n[1] == -1);
    assert_piece("t", 0, "");
    assert_piece("s", 1, "none");
    assert_int_equal(tensor_of("r")->offsets[2], 0);
}

static void integers_must_fit_exactly(void **state)
{
    (void)state;
    open_text("{\"a\": -9223372036854775808, \"b\": 9223372036854775807}\n",
              "{a: {dtype: int64}, b: {dtype: uint64}}");
    assert_true(*(const int64_t *)source_fixture_values(&fixture, "a") == INT64_MIN);
    assert_true(*(const uint64_t *)source_fixture_values(&fixture, "b") == INT64_MAX);
    static const char *const wrong[][3] = {
        {"256", "uint8", "expected uint8 (0 to 255), got 256"},
        {"-1", "uint8", "got -1"},
        {"-1", "uint64", "got -1"},
        {"-129", "int8", "got -129"},
        {"5.0", "int64", "got 5"},
        {"true", "int64", "got true"},
        {"\"5\"", "int64", "got a text"},
        {"null", "int64", "got null"},
        {"1", "bool", "expected true or false, got 1"},
        {"null", "bool", "got null"},
        {"1e39", "float32", "expected float32"},
        {"70000", "float16", "expected float16"},
        {"{}", "float32", "got an object"},
        {"[1]", "float32", "got a list of 1"},
        {"5", "string", "expected a text, got 5"},
        {"false", "bytes", "got false"},
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[100], components[100];
        snprintf(text, sizeof text, "\n{\"u\": {\"n\": %s}}\n", wrong[i][0]);
        snprintf(components, sizeof components, "{n: {field: u.n, dtype: %s}}", wrong[i][1]);
        refuse(text, components, "a.jsonl: line 2, u.n", wrong[i][2]);
    }
}

static void lists_of_another_shape_are_errors(void **state)
{
    (void)state;
    static const char fixed[] = "{v: {dtype: int8, shape: [2, 1]}}";
    refuse("{\"v\": [[1]]}", fixed, "line 1, v", "a list of 2 elements, got a list of 1");
    refuse("{\"v\": [[1], [2], [3]]}", fixed, "line 1, v", "got a list of 3");
    refuse("{\"v\": [[1], 2]}", fixed, "line 1, v", "a list of 1 elements, got 2");
    refuse("{\"v\": [[1], [\"a\"]]}", fixed, "line 1, v", "int8");
    refuse("{\"v\": 1}", "{v: {dtype: int8, ragged: true}}", "line 1, v", "a list, got 1");
    refuse("{\"v\": [1, []]}", "{v: {dtype: int8, ragged: true}}", "line 1, v", "got a list of 0");
    refuse("{\"v\": [1, null]}", "{v: {dtype: int8, ragged: true}}", "line 1, v", "got null");
}

static void what_is_no_object_is_an_error_with_its_line(void **state)
{
    (void)state;
    static const char *const bad[] = {"[]",
                                      "5",
                                      "{",
                                      "{\"a\": 1,}",
                                      "{\"a\": 01}",
                                      "{\"a\": 1} 2",
                                      "{'a': 1}",
                                      "{\"a\": NaN}",
                                      "{\"a\": 1, \"a\": 1}",
                                      "{\"a\": \"\xff\"}",
                                      "{\"a\": 1e999}",
                                      "{\"a\": 9223372036854775808}"};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"a\": 1}\n%s\n", bad[i]);
        refuse(text, "{a: {dtype: int8}}", "a.jsonl: line 2", "expected a JSON object");
    }
}

static void bad_parameters_are_errors_that_name_them(void **state)
{
    (void)state;
    static const char *const bad[][3] = {
        {"{}", "components", "1 to 256 components"},
        {"[a]", "components", "a list"},
        {"{a: {}}", "", "dtype"},
        {"{a b: {dtype: int8}}", "components", "a b"},
        {"{a: {dtype: int8, shape: 0}}", "shape", "at least 1"},
        {"{a: {dtype: int8, shape: 2, ragged: true}}", "shape", "none with"},
        {"{a: {dtype: string, shape: 2}}", "shape", "none with"},
        {"{a: {dtype: string, ragged: true}}", "ragged", "got string"},
        {"{a: {dtype: int8}}, fill: {b: 1}", "fill", "\"b\""},
        {"{a: {dtype: int8}}, fill: {a: 1.5}", "fill", "int8 (-128 to 127), got \"1.5\""},
        {"{a: {dtype: int8, ragged: true}}, fill: {a: 1}", "fill", "no ragged component"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse("{\"a\": 1}\n", bad[i][0], bad[i][1], bad[i][2]);
}

static void every_truncation_and_changed_byte_is_survived(void **state)
{
    (void)state;
    static const char hostile[] = "{\"a\": [1, -2.5e3], \"b\": {\"c\": \"x\\n\\u0041\"}}\n";
    static const char components[] =
        "{a: {dtype: float32, ragged: true}, c: {field: b.c, dtype: string}}";
    static const char bytes[] = {'"', ',', '\n', '{', ']', '-', '9', '\\', '\x80', 'u'};
    char text[sizeof hostile];
    for (size_t size = 0; size < sizeof hostile; size++) {
        memcpy(text, hostile, size);
        text[size] = '\0';
        if (try_text(text, components) == BM_OK)
            assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    }
    for (size_t at = 0; at < sizeof hostile - 1; at++) {
        for (unsigned i = 0; i < sizeof bytes; i++) {
            memcpy(text, hostile, sizeof text);
            text[at] = bytes[i];
            if (try_text(text, components) == BM_OK)
                assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
        }
    }
}

static void add_text(struct bm_value *map, const char *key, const char *text)
{
    struct bm_value *value = bm_value_new_scalar(text, false, "t.yaml");
    assert_non_null(value);
    assert_true(bm_value_append(map, key, value));
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": [1, 2], \"b\": \"x\"}\n{\"a\": [3], \"b\": null}\n";
    open_text(text, "{a: {dtype: int8, ragged: true}, b: {dtype: string}}");
    const struct bm_source_type *type = fixture.source->type;
    struct bm_value *components = bm_value_new(BM_VALUE_MAP, "t.yaml");
    struct bm_value *a = bm_value_new(BM_VALUE_MAP, "t.yaml");
    struct bm_value *b = bm_value_new(BM_VALUE_MAP, "t.yaml");
    add_text(a, "dtype", "int8");
    add_text(a, "ragged", "true");
    add_text(b, "dtype", "string");
    assert_true(bm_value_append(components, "a", a) && bm_value_append(components, "b", b));
    struct { // the same without the parser of the configuration
        char *path;
        const struct bm_value *components;
        struct bm_text_map fill;
    } config = {.path = (char[]){"a.jsonl"}, .components = components};
    assert_int_equal(type->config_bytes, sizeof config);
    struct bm_source *source = NULL;
    bool failed;
    uint64_t n = 0;
    do {
        bm_fake_heap_fail_at(++n);
        enum bm_status status =
            type->open(&config, fixture.directory, "t", &source, &fixture.error);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
    } while (failed);
    assert_true(n > 10);
    type->close(source);
    bm_value_free(components);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fields_of_every_kind_are_read),
        TEST(lists_are_of_one_shape_or_ragged),
        TEST(null_and_absent_fields_are_missing),
        TEST(integers_must_fit_exactly),
        TEST(lists_of_another_shape_are_errors),
        TEST(what_is_no_object_is_an_error_with_its_line),
        TEST(bad_parameters_are_errors_that_name_them),
        TEST(every_truncation_and_changed_byte_is_survived),
        TEST(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("jsonl", tests, NULL, NULL);
}
