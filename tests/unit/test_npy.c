// What sources/npy.c and array_source.c promise: rows of arrays, exactly, or a clear error.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

// A file as NumPy writes it, but with any dict. Returns its size.
static size_t npy_build(unsigned char *bytes, unsigned version, const char *dict, const void *data,
                        size_t size)
{
    size_t start = version == 1 ? 10 : 12;
    size_t end = (start + strlen(dict) + 1 + 63) / 64 * 64;
    size_t length = end - start;
    memset(bytes, ' ', end);
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (unsigned char)version;
    bytes[7] = 0;
    for (unsigned i = 8; i < start; i++)
        bytes[i] = (unsigned char)(length >> 8 * (i - 8));
    memcpy(bytes + start, dict, strlen(dict));
    bytes[end - 1] = '\n';
    memcpy(bytes + end, data, size);
    return end + size;
}

static void write_npy(const char *name, const char *dict, const void *data, size_t size)
{
    unsigned char bytes[2048];
    source_fixture_write(&fixture, name, bytes, npy_build(bytes, 1, dict, data, size));
}

static const int16_t numbers[] = {1, 2, 3, 4, 5, 6};
#define NUMBERS_DICT "{'descr': '<i2', 'fortran_order': False, 'shape': (3, 2), }"

static void open_ok(const char *yaml)
{
    if (source_fixture_open(&fixture, yaml) != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
}

static void refuse(const char *yaml, const char *where, const char *expectation)
{
    assert_int_not_equal(source_fixture_open(&fixture, yaml), BM_OK);
    if (strstr(fixture.error.where, where) == NULL ||
        strstr(fixture.error.text, expectation) == NULL)
        fail_msg("expected \"%s\": \"%s\", got \"%s\": \"%s\"", where, expectation,
                 fixture.error.where, fixture.error.text);
}

// The whole output of numpy.save() of numpy.arange(6, dtype='<i2').reshape(3, 2), as text up to
// the padding.
static void a_file_of_numpy_is_read_row_by_row(void **state)
{
    (void)state;
    static const char head[] = "\x93NUMPY\x01\x00v\x00" NUMBERS_DICT;
    unsigned char bytes[140];
    memset(bytes, ' ', sizeof bytes);
    memcpy(bytes, head, sizeof head);
    bytes[sizeof head - 1] = ' ';
    bytes[127] = '\n';
    const unsigned char data[] = {0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0};
    memcpy(bytes + 128, data, sizeof data);
    source_fixture_write(&fixture, "a.npy", bytes, sizeof bytes);
    open_ok("npy: {path: a.npy}");
    assert_int_equal(fixture.source->nitems, 3);
    const struct bm_component *component = &fixture.source->schema.components[0];
    assert_string_equal(component->name, "x");
    assert_int_equal(component->dtype, BM_INT16);
    assert_int_equal(component->ndim, 1);
    assert_int_equal(component->shape[0], 2);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){2, 0, 1, 2, 2}, 5), BM_OK);
    const int16_t expected[] = {4, 5, 0, 1, 2, 3, 4, 5, 4, 5};
    assert_memory_equal(source_fixture_values(&fixture, "x"), expected, sizeof expected);
}

static void versions_1_2_and_3_are_read(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 3; version++) {
        unsigned char bytes[512];
        size_t size = npy_build(bytes, version, NUMBERS_DICT, numbers, sizeof numbers);
        source_fixture_write(&fixture, "a.npy", bytes, size);
        open_ok("npy: {path: a.npy, component: pairs}");
        assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
        assert_memory_equal(source_fixture_values(&fixture, "pairs"), numbers, sizeof numbers);
    }
    unsigned char bytes[512];
    size_t size = npy_build(bytes, 4, NUMBERS_DICT, numbers, sizeof numbers);
    source_fixture_write(&fixture, "a.npy", bytes, size);
    refuse("npy: {path: a.npy}", "a.npy", "1.0, 2.0 or 3.0, got 4.0");
}

static void every_dtype_of_numpy_has_its_own(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        enum bm_dtype dtype;
        size_t size;
    } cases[] = {{"|b1", BM_BOOL, 1},    {"|i1", BM_INT8, 1},    {"<i2", BM_INT16, 2},
                 {"<i4", BM_INT32, 4},   {"<i8", BM_INT64, 8},   {"|u1", BM_UINT8, 1},
                 {"<u2", BM_UINT16, 2},  {"<u4", BM_UINT32, 4},  {"<u8", BM_UINT64, 8},
                 {"<f2", BM_FLOAT16, 2}, {"<f4", BM_FLOAT32, 4}, {"<f8", BM_FLOAT64, 8}};
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char dict[100];
        const unsigned char data[16] = {1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1};
        snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (2,), }",
                 cases[i].code);
        write_npy("a.npy", dict, data, 2 * cases[i].size);
        open_ok("npy: {path: a.npy}");
        assert_int_equal(fixture.source->schema.components[0].dtype, cases[i].dtype);
        assert_int_equal(fixture.source->schema.components[0].ndim, 0);
        assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
        assert_memory_equal(source_fixture_values(&fixture, "x"), data, 2 * cases[i].size);
    }
}

static void any_byte_of_a_bool_array_becomes_0_or_1(void **state)
{
    (void)state;
    write_npy("a.npy", "{'descr': '|b1', 'fortran_order': False, 'shape': (4,), }", "\0\1\2\xff",
              4);
    open_ok("npy: {path: a.npy}");
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_memory_equal(source_fixture_values(&fixture, "x"), "\0\1\1\1", 4);
}

static void several_arrays_are_joined_by_their_first_axis(void **state)
{
    (void)state;
    write_npy("a.npy", NUMBERS_DICT, numbers, sizeof numbers);
    write_npy("b.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "abc", 3);
    open_ok("npy: {components: {pairs: a.npy, letter: b.npy}}");
    assert_int_equal(fixture.source->schema.ncomponents, 2);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){1, 2}, 2), BM_OK);
    assert_memory_equal(source_fixture_values(&fixture, "pairs"), numbers + 2, 8);
    assert_memory_equal(source_fixture_values(&fixture, "letter"), "bc", 2);

    write_npy("b.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }", "abcd", 4);
    refuse("npy: {components: {pairs: a.npy, letter: b.npy}}", "b.npy",
           "expected 3 rows as in a.npy, got 4");
}

static void an_array_without_rows_is_a_source_without_items(void **state)
{
    (void)state;
    write_npy("a.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 7), }", "", 0);
    open_ok("npy: {path: a.npy}");
    assert_int_equal(fixture.source->nitems, 0);
}

static void headers_that_mean_something_else_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"{'descr': '>i2', 'fortran_order': False, 'shape': (3, 2), }", "big-endian"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (3, 2), }", "Python objects"},
        {"{'descr': '<U3', 'fortran_order': False, 'shape': (3, 2), }", "texts"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (3, 2), }", "'<c8'"},
        {"{'descr': '', 'fortran_order': False, 'shape': (3, 2), }", "got ''"},
        {"{'descr': [('a', '<i2')], 'fortran_order': False, 'shape': (3,), }", "structured"},
        {"{'descr': '<i2', 'fortran_order': True, 'shape': (3, 2), }", "fortran_order False"},
        {"{'descr': '<i2', 'fortran_order': 0, 'shape': (3, 2), }", "True or False"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (), }", "at least 1 axis"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (6), }", "','"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': 6, }", "'('"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (-6,), }", "a length"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (6.0,), }", "','"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 2 }", "',' or ')'"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 0), }", "length 0"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 3), }", "by its header"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 2), }", "by its header"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (9223372036854775807, 2), }",
         "63 bits"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (0, 4294967296, 4294967296), }",
         "63 bits"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (18446744073709551616, ), }",
         "2 to the 64"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': "
         "(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6), }",
         "at most 17 axes"},
        {"{'descr': '<i2', 'fortran_order': False, }", "once each"},
        {"{'descr': '<i2', 'descr': '<i2', 'fortran_order': False, 'shape': (3, 2), }",
         "once each"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 2), 'more': 1}", "once each"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (3, 2), } x", "end of the header"},
        {"{'descr': '<i2' 'fortran_order': False, 'shape': (3, 2), }", "',' or '}'"},
        {"{'descr' '<i2', 'fortran_order': False, 'shape': (3, 2), }", "':'"},
        {"{'descr': '<i2, 'fortran_order': False, 'shape': (3, 2), }", "got '<i2, '"},
        {"{'descr': 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'shape': (3, 2), }", "end of a text"},
        {"'descr'", "'{'"},
        {"", "'{'"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_npy("a.npy", bad[i][0], numbers, sizeof numbers);
        refuse("npy: {path: a.npy}", "a.npy", bad[i][1]);
    }
    source_fixture_write(&fixture, "a.npy", "a,b\n1,2\n3,4\n", 12);
    refuse("npy: {path: a.npy}", "a.npy", "expected a .npy file");
}

static void bad_parameters_are_errors_that_name_them(void **state)
{
    (void)state;
    write_npy("a.npy", NUMBERS_DICT, numbers, sizeof numbers);
    refuse("npy: {}", "t", "got neither");
    refuse("npy: {path: a.npy, components: {x: a.npy}}", "t", "got both");
    refuse("npy: {component: y, components: {x: a.npy}}", "component", "together with `path`");
    refuse("npy: {components: {a b: a.npy}}", "components", "a b");
    refuse("npy: {path: none.npy}", "path", "none.npy");
    refuse("npy: {components: {x: none.npy}}", "components", "none.npy");
    refuse("npy: {path: a.npy, mmap: true}", "mmap", "");
}

static void a_file_that_shrinks_after_open_is_an_error_at_the_item_not_a_crash(void **state)
{
    (void)state;
    static const int16_t wide[3 * 20]; // rows of 40 bytes, which are not kept in memory
    write_npy("a.npy", "{'descr': '<i2', 'fortran_order': False, 'shape': (3, 20), }", wide,
              sizeof wide);
    open_ok("npy: {path: a.npy}");
    assert_int_equal(truncate(source_fixture_path(&fixture, "a.npy"), 128 + 60), 0);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){0}, 1), BM_OK);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){0, 2, 1}, 3), BM_DATA_LOSS);
    assert_int_equal(fixture.failed_row, 1);
    assert_non_null(strstr(fixture.error.where, "a.npy"));
}

static void small_files_of_short_rows_are_kept_in_memory(void **state)
{
    (void)state;
    static const uint64_t items[] = {2, 0, 1};
    write_npy("a.npy", NUMBERS_DICT, numbers, sizeof numbers);
    open_ok("npy: {path: a.npy}");
    assert_int_equal(truncate(source_fixture_path(&fixture, "a.npy"), 0), 0);
    assert_int_equal(source_fixture_read(&fixture, items, 3), BM_OK);
    const int16_t *values = source_fixture_values(&fixture, "x");
    assert_int_equal(values[0], 5);
    assert_int_equal(values[5], 4);
}

static void the_identity_is_of_the_values_or_of_the_id(void **state)
{
    (void)state;
    int16_t changed[6];
    memcpy(changed, numbers, sizeof numbers);
    changed[5]++;
    write_npy("a.npy", NUMBERS_DICT, numbers, sizeof numbers);
    write_npy("same.npy", NUMBERS_DICT, numbers, sizeof numbers);
    write_npy("b.npy", NUMBERS_DICT, changed, sizeof changed);
    open_ok("npy: {path: a.npy}");
    uint64_t identity = fixture.source->identity;
    open_ok("npy: {path: same.npy}");
    assert_true(fixture.source->identity == identity);
    static const char *const others[] = {"npy: {path: b.npy}", "npy: {path: a.npy, component: y}",
                                         "npy: {path: a.npy, id: v1}"};
    for (unsigned i = 0; i < 3; i++) {
        open_ok(others[i]);
        assert_false(fixture.source->identity == identity);
    }
    identity = fixture.source->identity; // of id v1
    open_ok("npy: {path: b.npy, id: v1}");
    assert_true(fixture.source->identity == identity);
    open_ok("npy: {path: a.npy, id: v2}");
    assert_false(fixture.source->identity == identity);
}

static void every_truncation_is_an_error(void **state)
{
    (void)state;
    unsigned char bytes[512];
    size_t size = npy_build(bytes, 1, NUMBERS_DICT, numbers, sizeof numbers);
    for (size_t cut = 0; cut < size; cut++) {
        source_fixture_write(&fixture, "a.npy", bytes, cut);
        refuse("npy: {path: a.npy}", "a.npy", "expected");
    }
}

static void every_changed_byte_is_survived(void **state)
{
    (void)state;
    unsigned char bytes[512];
    size_t size = npy_build(bytes, 2, NUMBERS_DICT, numbers, sizeof numbers);
    static const unsigned char values[] = {0, '9', '0', '(', ')', ',', '\'', '{', '}', 0x80, 0xff};
    for (size_t at = 0; at < size; at++) {
        for (unsigned i = 0; i < sizeof values; i++) {
            unsigned char saved = bytes[at];
            bytes[at] = values[i];
            source_fixture_write(&fixture, "a.npy", bytes, size);
            if (source_fixture_open(&fixture, "npy: {path: a.npy}") == BM_OK)
                assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
            bytes[at] = saved;
        }
    }
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    struct bm_source *source = NULL;
    write_npy("a.npy", NUMBERS_DICT, numbers, sizeof numbers);
    open_ok("npy: {path: a.npy}");
    const struct bm_source_type *type = fixture.source->type;
    void *config = calloc(1, type->config_bytes);
    struct bm_value *values = bm_value_new(BM_VALUE_MAP, "t");
    struct bm_value *path = bm_value_new_scalar("a.npy", false, "t.path");
    assert_true(bm_value_append(values, "path", path));
    assert_int_equal(
        bm_params_parse(type->params, type->nparams, values, "t", config, &fixture.error), BM_OK);
    bool failed;
    uint64_t n = 0;
    do {
        bm_fake_heap_fail_at(++n);
        enum bm_status status = type->open(config, fixture.directory, "t", &source, &fixture.error);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
    } while (failed);
    assert_true(n > 4);
    type->close(source);
    bm_params_free(type->params, type->nparams, config);
    bm_value_free(values);
    free(config);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_of_numpy_is_read_row_by_row),
        TEST(versions_1_2_and_3_are_read),
        TEST(every_dtype_of_numpy_has_its_own),
        TEST(any_byte_of_a_bool_array_becomes_0_or_1),
        TEST(several_arrays_are_joined_by_their_first_axis),
        TEST(an_array_without_rows_is_a_source_without_items),
        TEST(headers_that_mean_something_else_are_refused_with_the_reason),
        TEST(bad_parameters_are_errors_that_name_them),
        TEST(a_file_that_shrinks_after_open_is_an_error_at_the_item_not_a_crash),
        TEST(small_files_of_short_rows_are_kept_in_memory),
        TEST(the_identity_is_of_the_values_or_of_the_id),
        TEST(every_truncation_is_an_error),
        TEST(every_changed_byte_is_survived),
        TEST(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("npy", tests, NULL, NULL);
}
