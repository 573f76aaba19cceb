// What sources/arrow.c promises: every value that pyarrow wrote, or an error that says which file,
// column and batch, and why. The files are those of tests/data/arrow/make.py (pyarrow 26.0.1).
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/vocabulary.h"
#include "fakes/heap.h"
#include "fakes/source_fixture.h"
#include "support.h"

enum { NROWS = 10 };

static struct source_fixture fixture;
static char folder[400]; // with the files

static int make_fixture(void **state)
{
    (void)state;
    const char *root = getenv("BATCHMILL_SOURCE_DIR");
    snprintf(folder, sizeof folder, "%s/tests/data/arrow", root == NULL ? "." : root);
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

static void open_yaml(const char *yaml)
{
    if (source_fixture_open_in(&fixture, folder, yaml) != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
    if (source_fixture_read_all(&fixture) != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
}

static void assert_error(const char *where, const char *expectation)
{
    if (strstr(fixture.error.where, where) == NULL ||
        strstr(fixture.error.text, expectation) == NULL)
        fail_msg("expected \"%s\": \"%s\", got \"%s\": \"%s\"", where, expectation,
                 fixture.error.where, fixture.error.text);
}

static void refuse(const char *yaml, const char *where, const char *expectation)
{
    assert_int_not_equal(source_fixture_open_in(&fixture, folder, yaml), BM_OK);
    assert_error(where, expectation);
}

static const struct bm_component *component_of(const char *name)
{
    int c = bm_schema_find(&fixture.source->schema, name);
    if (c < 0)
        fail_msg("expected a component %s", name);
    return &fixture.source->schema.components[c];
}

static const struct bm_tensor *tensor_of(const char *name)
{
    return &fixture.batch.tensors[component_of(name) - fixture.source->schema.components];
}

static double number(const char *name, uint64_t i)
{
    return bm_dtype_get(component_of(name)->dtype, tensor_of(name)->data, i);
}

static void assert_number(double got, double expected)
{
    if (!(got == expected))
        fail_msg("expected %.17g, got %.17g", expected, got);
}

static void assert_piece(const char *name, uint64_t row, const void *expected, uint64_t size)
{
    const struct bm_tensor *tensor = tensor_of(name);
    uint64_t row_bytes = bm_component_item_bytes(component_of(name));
    uint64_t begin = tensor->offsets[row] * row_bytes;
    assert_int_equal(tensor->offsets[row + 1] * row_bytes - begin, size);
    if (size > 0)
        assert_memory_equal(tensor->data + begin, expected, size);
}

// ---- Values ----

static void assert_numbers(uint64_t row, uint64_t item)
{
    static const char *const integers[] = {"int8",  "int16",  "int32",  "int64",
                                           "uint8", "uint16", "uint32", "uint64"};
    static const char *const floats[] = {"float16", "float32", "float64"};
    double i = (double)item;
    for (unsigned k = 0; k < 8; k++)
        assert_number(number(integers[k], row), 3 * i - (k < 4 ? 5 : 0));
    for (unsigned k = 0; k < 3; k++)
        assert_number(number(floats[k], row), i / 4 - 1);
    assert_int_equal(number("bool", row), item % 3 == 0);
    for (unsigned k = 0; k < 3; k++) {
        assert_number(number("fixed", 3 * row + k), 3 * i + k);
        assert_int_equal(number("flags", 3 * row + k), (3 * item + k) % 4 == 0);
    }
    for (unsigned k = 0; k < 6; k++)
        assert_number(number("matrix", 6 * row + k), 6 * i + k);
    assert_number(number("date32", row), i - 2);
    assert_number(number("date64", row), i - 2);
    assert_number(number("time_s", row), (i - 3) * 1e9);
    assert_number(number("time_ms", row), (i - 3) * 1e6);
    assert_number(number("time_us", row), (i - 3) * 1e3);
    assert_number(number("time_ns", row), i - 3);
    assert_int_equal(number("class", row), item % 3);
}

static void assert_pieces(uint64_t row, uint64_t item)
{
    static const char text[] = "éééééééééé";
    static const int32_t list[] = {0, 1, 2};
    static const unsigned char flags[] = {0, 1};
    const unsigned char digits[] = {(unsigned char)('0' + item), (unsigned char)('0' + item)};
    const unsigned char bytes[] = {(unsigned char)item, 255};
    const unsigned char pixels[] = {bytes[0], 0, 7, bytes[0], 1, 7};
    assert_piece("string", row, text, 2 * item);
    assert_piece("large_string", row, digits, 2);
    assert_piece("binary", row, "\xff\xff", item % 3);
    assert_piece("large_binary", row, bytes, 2);
    assert_piece("list", row, list, sizeof list[0] * (item % 4));
    assert_piece("large_list", row, flags, item % 3);
    assert_piece("pixels", row, pixels, 3 * (item % 3));
}

static void every_type_comes_out_in_any_order(void **state)
{
    (void)state;
    static const char *const files[] = {"all.arrow", "all.lz4.arrow", "all.zstd.stream.arrow"};
    static const uint64_t items[] = {9, 3, 4, 5, 5, 0, 8, 7, 6, 7, 8};
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
        char yaml[100];
        snprintf(yaml, sizeof yaml, "arrow: {path: %s}", files[i]);
        open_yaml(yaml);
        assert_int_equal(fixture.source->nitems, NROWS);
        for (uint64_t item = 0; item < NROWS; item++) {
            assert_numbers(item, item);
            assert_pieces(item, item);
        }
        uint64_t nitems = sizeof items / sizeof items[0];
        assert_int_equal(source_fixture_read(&fixture, items, nitems), BM_OK);
        for (uint64_t row = 0; row < nitems; row++) {
            assert_numbers(row, items[row]);
            assert_pieces(row, items[row]);
        }
    }
}

static void the_schema_says_shapes_and_what_is_ragged(void **state)
{
    (void)state;
    struct bm_buffer text;
    bm_buffer_init(&text);
    open_yaml("arrow: {path: all.arrow, components: {m: matrix, p: pixels, l: list, t: time_ms}}");
    bm_schema_print(&fixture.source->schema, &text);
    assert_string_equal(bm_buffer_text(&text),
                        "m int16 [2, 3], p uint8 [varies, 3], l int32 [varies], t int64 []");
    bm_buffer_fini(&text);
}

static void dictionaries_are_vocabularies_also_over_several_files(void **state)
{
    (void)state;
    static const char *const names[] = {"cat", "dog", "ant", "emu"};
    open_yaml("arrow: {path: [all.arrow, other.arrow], components: {class: class}}");
    const struct bm_vocabulary *vocabulary = component_of("class")->vocabulary;
    assert_int_equal(bm_vocabulary_count(vocabulary), 4);
    for (unsigned i = 0; i < 4; i++)
        assert_string_equal(bm_vocabulary_name(vocabulary, i), names[i]);
    assert_int_equal(fixture.source->nitems, NROWS + 2);
    assert_int_equal(number("class", 9), 0);
    assert_int_equal(number("class", 10), 3);
    assert_int_equal(number("class", 11), 0);
}

static void a_dictionary_may_grow_in_the_middle(void **state)
{
    (void)state;
    static const int expected[] = {0, 1, 2, 0};
    open_yaml("arrow: {path: delta.arrow}");
    assert_int_equal(bm_vocabulary_count(component_of("c")->vocabulary), 3);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(number("c", i), expected[i]);
}

static void files_of_older_versions_are_read(void **state)
{
    (void)state;
    open_yaml("arrow: {path: v4.arrow}");
    for (uint64_t i = 0; i < NROWS; i++)
        assert_number(number("int32", i), 3 * (double)i - 5);
    assert_piece("string", 1, "é", 2);
}

static void columns_behind_others_that_are_not_supported_are_found(void **state)
{
    (void)state;
    open_yaml("arrow: {path: struct.arrow, components: {z: z}}");
    assert_int_equal(number("z", 0), 5);
    refuse("arrow: {path: struct.arrow}", "struct.arrow: column a", "got struct: name the columns");
    refuse("arrow: {path: struct.arrow, components: {m: m}}", "column m", "got map");
    refuse("arrow: {path: struct.arrow, components: {n: n}}", "column n", "got null");
}

// ---- Missing values ----

#define HOLES "arrow: {path: holes.arrow, components: "

static void missing_values_are_what_csv_makes_of_them(void **state)
{
    (void)state;
    open_yaml(HOLES "{f: f, s: s, c: c, d: d, l: l, v: v}, masks: [s, v]}");
    for (uint64_t i = 0; i < NROWS; i++) {
        bool missing = i % 4 == 1;
        const char digit = (char)('0' + i), value = (char)i;
        assert_int_equal(number("s.missing", i), missing);
        assert_number(number("v.missing", 2 * i + 1), missing);
        assert_int_equal(isnan(number("f", i)), missing);
        assert_int_equal(isnan(number("v", 2 * i)), missing);
        assert_int_equal(isnan(number("v", 2 * i + 1)), missing);
        assert_piece("s", i, &digit, !missing);
        assert_piece("l", i, &value, !missing);
        assert_number(number("c", i), missing ? -1 : (double)(i % 2));
        assert_number(number("d", i), missing ? (double)INT64_MIN : (double)i);
    }
}

static void the_user_says_what_stands_for_missing_values(void **state)
{
    (void)state;
    open_yaml(HOLES "{x: x, b: b, s: s, c: c, d: d}, "
                    "fill: {x: -7, b: true, s: none, c: unknown, d: 1970-01-03}}");
    assert_number(number("x", 1), -7);
    assert_number(number("x", 2), 2);
    assert_number(number("b", 5), 1);
    assert_number(number("d", 9), 2);
    assert_piece("s", 1, "none", 4);
    assert_piece("s", 4, "4", 1);
    assert_string_equal(bm_vocabulary_name(component_of("c")->vocabulary, (uint64_t)number("c", 1)),
                        "unknown");
    refuse(HOLES "{x: x}, fill: {x: 1.5}}", "fill", "expected int32");
    refuse(HOLES "{d: d}, fill: {d: soon}}", "fill", "expected a date");
    refuse(HOLES "{l: l}, fill: {l: 1}}", "fill", "expected components without lists");
    refuse(HOLES "{x: x}, fill: {y: 1}}", "fill", "expected names of components");
}

static void missing_integers_are_refused_at_open(void **state)
{
    (void)state;
    refuse(HOLES "{x: x}}", "holes.arrow: rows 0 to 6, component x", "expected a value");
    refuse(HOLES "{b: b}}", "component b", "say what stands for them in `fill`");
}

// ---- Identity ----

static uint64_t identity_of(const char *yaml)
{
    open_yaml(yaml);
    return fixture.source->identity;
}

static void the_identity_is_that_of_the_data_or_the_id(void **state)
{
    (void)state;
    uint64_t all = identity_of("arrow: {path: all.arrow}");
    assert_int_equal(identity_of("arrow: {path: all.arrow}"), all);
    assert_int_not_equal(identity_of("arrow: {path: all.arrow, id: a}"), all);
    uint64_t x = identity_of(HOLES "{x: x}, fill: {x: 1}}");
    assert_int_not_equal(identity_of(HOLES "{x: x}, fill: {x: 2}}"), x);
    assert_int_not_equal(identity_of(HOLES "{y: x}, fill: {y: 1}}"), x);
}

// ---- What is wrong ----

static size_t load(const char *name, unsigned char *data, size_t size)
{
    char path[500];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rbe");
    assert_non_null(file);
    size_t got = fread(data, 1, size, file);
    fclose(file);
    return got;
}

static enum bm_status try_bytes(const void *data, size_t size)
{
    source_fixture_write(&fixture, "a.arrow", data, size);
    enum bm_status status = source_fixture_open(&fixture, "arrow: {path: a.arrow}");
    return status == BM_OK ? source_fixture_read_all(&fixture) : status;
}

static void files_that_are_cut_anywhere_are_refused(void **state)
{
    (void)state;
    static unsigned char data[20000];
    static const char *const files[] = {"v4.arrow", "delta.arrow"};
    for (unsigned i = 0; i < 2; i++) {
        size_t size = load(files[i], data, sizeof data);
        assert_int_equal(try_bytes(data, size), BM_OK);
        for (size_t cut = 0; cut < size; cut++)
            assert_int_not_equal(try_bytes(data, cut), BM_OK);
    }
    assert_int_not_equal(try_bytes("PAR1", 4), BM_OK);
    assert_error("a.arrow", "Parquet files are to be converted");
}

static void any_byte_may_be_wrong(void **state)
{
    (void)state;
    static unsigned char data[20000];
    static const char *const files[][2] = {{"holes.arrow", "{f: f, s: s, c: c, l: l, v: v}"},
                                           {"delta.arrow", "{c: c}"},
                                           {"v4.arrow", "{s: string, i: int32}"}};
    for (unsigned i = 0; i < 3; i++) {
        char yaml[200];
        size_t size = load(files[i][0], data, sizeof data);
        snprintf(yaml, sizeof yaml, "arrow: {path: a.arrow, components: %s}", files[i][1]);
        for (size_t at = 0; at < size; at++) {
            unsigned char right = data[at];
            data[at] ^= (unsigned char)(1 + at % 255);
            source_fixture_write(&fixture, "a.arrow", data, size);
            data[at] = right;
            // Whatever comes out: the sanitizers watch.
            if (source_fixture_open(&fixture, yaml) == BM_OK)
                (void)source_fixture_read_all(&fixture);
        }
    }
}

static void values_that_mean_nothing_are_named(void **state)
{
    (void)state;
    static unsigned char data[20000];
    size_t size = load("other.arrow", data, sizeof data);
    // The indices 0 and 1 (int32), and the mark of the end.
    static const unsigned char indices[] = {0, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0};
    unsigned char *at = memmem(data, size, indices, sizeof indices);
    assert_non_null(at);
    at[4] = 2;
    assert_int_not_equal(try_bytes(data, size), BM_OK);
    assert_error("a.arrow: row 1, component class", "expected an index below 2");
}

static void parameters_that_do_not_fit_are_named(void **state)
{
    (void)state;
    refuse("arrow: {path: []}", "path", "at least one file");
    refuse("arrow: {path: all.arrow, components: {x: nothing}}", "components", "got \"nothing\"");
    refuse("arrow: {path: [other.arrow, delta.arrow]}", "delta.arrow", "expected column 0");
    refuse("arrow: {path: all.arrow, components: {x: int8}, masks: [y]}", "masks", "got \"y\"");
    refuse("arrow: {path: none.arrow}", "path", "cannot open");
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    open_yaml("arrow: {path: delta.arrow}");
    const struct bm_source_type *type = fixture.source->type;
    char *paths[] = {(char[]){"holes.arrow"}};
    char *names[] = {(char[]){"s"}, (char[]){"c"}, (char[]){"l"}};
    char *fill[] = {(char[]){"none"}};
    struct { // the same without the parser of the configuration
        struct bm_texts path;
        struct bm_text_map components, fill;
        struct bm_texts masks;
        char *id;
    } config = {.path = {.n = 1, .values = paths},
                .components = {.n = 3, .keys = names, .values = names},
                .fill = {.n = 1, .keys = names, .values = fill},
                .masks = {.n = 2, .values = names}};
    assert_int_equal(type->config_bytes, sizeof config);
    struct bm_source *source = NULL;
    bool failed;
    uint64_t n = 0;
    do {
        bm_fake_heap_fail_at(++n);
        enum bm_status status = type->open(&config, folder, "t", &source, &fixture.error);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
    } while (failed);
    assert_true(n > 10);
    type->close(source);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_type_comes_out_in_any_order),
        TEST(the_schema_says_shapes_and_what_is_ragged),
        TEST(dictionaries_are_vocabularies_also_over_several_files),
        TEST(a_dictionary_may_grow_in_the_middle),
        TEST(files_of_older_versions_are_read),
        TEST(columns_behind_others_that_are_not_supported_are_found),
        TEST(missing_values_are_what_csv_makes_of_them),
        TEST(the_user_says_what_stands_for_missing_values),
        TEST(missing_integers_are_refused_at_open),
        TEST(the_identity_is_that_of_the_data_or_the_id),
        TEST(files_that_are_cut_anywhere_are_refused),
        TEST(any_byte_may_be_wrong),
        TEST(values_that_mean_nothing_are_named),
        TEST(parameters_that_do_not_fit_are_named),
        TEST(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("arrow", tests, NULL, NULL);
}
