// What sources/csv.c promises: every cell exactly, or an error that says which one and why.
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

static void write_text(const char *text)
{
    source_fixture_write(&fixture, "a.csv", text, strlen(text));
}

// Writes `text`, opens it with `parameters` besides the path, and reads all items.
static void open_text(const char *text, const char *parameters)
{
    char yaml[512];
    write_text(text);
    snprintf(yaml, sizeof yaml, "csv: {path: a.csv%s}", parameters);
    if (source_fixture_open(&fixture, yaml) != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
}

// Expects an error with these two pieces of its place and text.
static void refuse_text(const char *text, const char *parameters, const char *where,
                        const char *expectation)
{
    char yaml[512];
    write_text(text);
    snprintf(yaml, sizeof yaml, "csv: {path: a.csv%s}", parameters);
    assert_int_not_equal(source_fixture_open(&fixture, yaml), BM_OK);
    if (strstr(fixture.error.where, where) == NULL ||
        strstr(fixture.error.text, expectation) == NULL)
        fail_msg("expected \"%s\": \"%s\", got \"%s\": \"%s\"", where, expectation,
                 fixture.error.where, fixture.error.text);
}

static void assert_text(const char *component, uint64_t row, const char *expected)
{
    int c = bm_schema_find(&fixture.source->schema, component);
    assert_true(c >= 0);
    const struct bm_tensor *tensor = &fixture.batch.tensors[c];
    uint64_t size = tensor->offsets[row + 1] - tensor->offsets[row];
    assert_int_equal(size, strlen(expected));
    assert_true(size == 0 || memcmp(tensor->data + tensor->offsets[row], expected, size) == 0);
}

static enum bm_dtype dtype_of(const char *component)
{
    int c = bm_schema_find(&fixture.source->schema, component);
    assert_true(c >= 0);
    return fixture.source->schema.components[c].dtype;
}

// ---- The bundled digits ----

static const char *source_folder(void)
{
    const char *folder = getenv("BATCHMILL_SOURCE_DIR");
    return folder == NULL ? "." : folder;
}

static const char digits[] =
    "csv: {path: examples/digits/digits.csv.gz, header: false, components: {"
    "pixels: {columns: 0-63, dtype: uint8, shape: [8, 8]}, label: {columns: 64, dtype: int64}}}";

// The expected numbers were computed once with NumPy: numpy.loadtxt(), then the sum of the
// pixels, that sum with each pixel times its position 0..63, the sum and counts of the labels.
static void the_real_digits_are_read_to_the_last_pixel(void **state)
{
    (void)state;
    static const unsigned expected_counts[10] = {178, 182, 177, 183, 181, 182, 181, 179, 174, 180};
    static const uint8_t expected_first_rows[] = {0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5};
    static const uint8_t expected_last_rows[] = {0, 0, 10, 14, 8, 1, 0, 0, 0, 2, 16, 14, 6, 1, 0};
    assert_int_equal(source_fixture_open_in(&fixture, source_folder(), digits), BM_OK);
    assert_int_equal(fixture.source->nitems, 1797);
    const struct bm_component *component = &fixture.source->schema.components[0];
    assert_int_equal(component->ndim, 2);
    assert_int_equal(component->shape[0], 8);
    assert_int_equal(component->shape[1], 8);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    const uint8_t *pixels = source_fixture_values(&fixture, "pixels");
    const int64_t *labels = source_fixture_values(&fixture, "label");

    uint64_t sum = 0, weighted = 0, label_sum = 0;
    unsigned counts[10] = {0};
    for (unsigned i = 0; i < 1797 * 64; i++) {
        sum += pixels[i];
        weighted += pixels[i] * (uint64_t)(i % 64);
    }
    for (unsigned i = 0; i < 1797; i++) {
        assert_in_range(labels[i], 0, 9);
        label_sum += (uint64_t)labels[i];
        counts[labels[i]]++;
    }
    assert_int_equal(sum, 561718);
    assert_int_equal(weighted, 17660653);
    assert_int_equal(label_sum, 8070);
    assert_memory_equal(counts, expected_counts, sizeof counts);
    assert_memory_equal(pixels, expected_first_rows, sizeof expected_first_rows);
    assert_memory_equal(pixels + (size_t)1796 * 64, expected_last_rows, sizeof expected_last_rows);
}

static void items_are_read_in_any_order(void **state)
{
    (void)state;
    assert_int_equal(source_fixture_open_in(&fixture, source_folder(), digits), BM_OK);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){1796, 0, 1, 2, 1796}, 5), BM_OK);
    const int64_t *labels = source_fixture_values(&fixture, "label");
    const int64_t expected[] = {8, 0, 1, 2, 8};
    assert_memory_equal(labels, expected, sizeof expected);
    const uint8_t *pixels = source_fixture_values(&fixture, "pixels");
    assert_memory_equal(pixels, pixels + (size_t)4 * 64, 64);
    assert_int_equal(pixels[64 + 3], 13);
}

// ---- The format ----

static void without_components_columns_come_under_their_names_with_inferred_dtypes(void **state)
{
    (void)state;
    open_text("count,price,species,id\n1,2.5,setosa,9223372036854775808\n-2,3,,7\n", "");
    assert_int_equal(fixture.source->nitems, 2);
    assert_int_equal(dtype_of("count"), BM_INT64);
    assert_int_equal(dtype_of("price"), BM_FLOAT64);
    assert_int_equal(dtype_of("species"), BM_STRING);
    assert_int_equal(dtype_of("id"), BM_FLOAT64);
    const int64_t *counts = source_fixture_values(&fixture, "count");
    const double *prices = source_fixture_values(&fixture, "price");
    assert_int_equal(counts[1], -2);
    assert_true(prices[0] == 2.5 && prices[1] == 3.0);
    assert_text("species", 0, "setosa");
    assert_text("species", 1, "");
}

static void quotes_hold_delimiters_quotes_and_line_ends(void **state)
{
    (void)state;
    open_text("a,b\r\n\"x, y\",\"say \"\"hi\"\"\"\r\n\"two\r\nlines\",\"\"\r\n5\" disc,\"\"\"\"\n",
              "");
    assert_int_equal(fixture.source->nitems, 3);
    assert_text("a", 0, "x, y");
    assert_text("b", 0, "say \"hi\"");
    assert_text("a", 1, "two\r\nlines");
    assert_text("b", 1, "");
    assert_text("a", 2, "5\" disc");
    assert_text("b", 2, "\"");
}

static void line_ends_a_byte_order_mark_and_empty_lines_do_not_matter(void **state)
{
    (void)state;
    static const char *const spellings[] = {
        "a,b\n1,2\n3,4\n",
        "a,b\n1,2\n3,4",
        "a,b\r\n1,2\r\n3,4\r\n",
        "a,b\r\n1,2\r\n3,4\r",
        "\357\273\277a,b\n1,2\n3,4\n",
        "\n\na,b\n\n1,2\r\n\r\n3,4\n\n",
        "\"a\",\"b\"\n\"1\",\"2\"\n\"3\",\"4\"",
        " a ,b\n 1,2\t\n3 , 4\n",
    };
    uint64_t identity = 0;
    for (unsigned i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        open_text(spellings[i], "");
        assert_int_equal(fixture.source->nitems, 2);
        const int64_t *a = source_fixture_values(&fixture, "a");
        const int64_t *b = source_fixture_values(&fixture, "b");
        assert_true(a[0] == 1 && a[1] == 3 && b[0] == 2 && b[1] == 4);
        if (i == 0)
            identity = fixture.source->identity;
        assert_true(fixture.source->identity == identity);
    }
}

static void lines_can_be_skipped_and_the_delimiter_chosen(void **state)
{
    (void)state;
    open_text("150,4,setosa\n# a note\nx;y\n1;2\n", ", skip: 2, delimiter: ;");
    assert_int_equal(fixture.source->nitems, 1);
    assert_int_equal(*(const int64_t *)source_fixture_values(&fixture, "y"), 2);
    open_text("x\ty\n1\t2\n", ", delimiter: \"\\t\"");
    assert_int_equal(*(const int64_t *)source_fixture_values(&fixture, "y"), 2);
}

static void a_header_alone_is_a_source_without_items(void **state)
{
    (void)state;
    open_text("a,b\n", "");
    assert_int_equal(fixture.source->nitems, 0);
    open_text("a,b\n", ", components: {a: {columns: a, dtype: float32}}");
    assert_int_equal(fixture.source->nitems, 0);
}

// ---- Components ----

static void columns_are_chosen_by_number_range_and_name(void **state)
{
    (void)state;
    open_text("w,x,y,z,0-1\n1,2,3,4,5\n",
              ", components: {one: {columns: 2, dtype: int8}, all: {columns: [z, 1-2, w], dtype: "
              "int16}, named: {columns: 0-1, dtype: uint8}, text: {columns: [x], dtype: string}, "
              "raw: {columns: y, dtype: bytes}, row: {columns: x, dtype: int32, shape: [1, 1]}}");
    assert_int_equal(*(const int8_t *)source_fixture_values(&fixture, "one"), 3);
    const int16_t all[] = {4, 2, 3, 1};
    assert_memory_equal(source_fixture_values(&fixture, "all"), all, sizeof all);
    assert_int_equal(fixture.source->schema.components[1].ndim, 1);
    assert_int_equal(*(const uint8_t *)source_fixture_values(&fixture, "named"), 5);
    assert_text("text", 0, "2");
    assert_text("raw", 0, "3");
    assert_int_equal(fixture.source->schema.components[5].ndim, 2);
}

static void bad_parameters_are_errors_that_name_them(void **state)
{
    (void)state;
    static const char text[] = "a,b,b\n1,2,3\n";
    static const char *const bad[][3] = {
        {", delimiter: \"\"", "delimiter", "one ASCII character"},
        {", delimiter: ab", "delimiter", "one ASCII character"},
        {", delimiter: '\"'", "delimiter", "one ASCII character"},
        {", skip: -1", "skip", "0 or more"},
        {", components: {}", "components", "an empty map"},
        {", components: [a]", "components", "list"},
        {", components: {a: {columns: 3, dtype: int8}}", "columns", "from 0 to 2"},
        {", components: {a: {columns: -1, dtype: int8}}", "columns", "from 0 to 2"},
        {", components: {a: {columns: 1-3, dtype: int8}}", "columns", "from 0 to 2"},
        {", components: {a: {columns: 2-1, dtype: int8}}", "columns", "from 0 to 2"},
        {", components: {a: {columns: 99999999999999999999-1, dtype: int8}}", "columns", "from 0"},
        {", components: {a: {columns: c, dtype: int8}}", "columns", "a, b, b; got"},
        {", components: {a: {columns: b, dtype: int8}}", "columns", "2 columns have"},
        {", components: {a: {columns: [], dtype: int8}}", "columns", "from 0 to 2"},
        {", components: {a: {columns: [[0]], dtype: int8}}", "columns", "from 0 to 2"},
        {", components: {a: {columns: 1.5, dtype: int8}}", "columns", "from 0 to 2"},
        {", components: {a: {dtype: int8}}", "", "columns"},
        {", components: {a: {columns: 0}}", "", "dtype"},
        {", components: {a: {columns: 0, dtype: int7}}", "dtype", ""},
        {", components: {a: {columns: 0, dtype: int8, shapes: 1}}", "shapes", ""},
        {", components: {a: {columns: 0-2, dtype: int8, shape: [2]}}", "shape", "3 elements"},
        {", components: {a: {columns: 0-2, dtype: int8, shape: [-3, -1]}}", "shape", "at least 1"},
        {", components: {a: {columns: 0-1, dtype: string}}", "a", "one column"},
        {", components: {a b: {columns: 0, dtype: int8}}", "components", "a b"},
        {", header: false", "t.yaml", "`components`"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuse_text(text, bad[i][0], bad[i][1], bad[i][2]);
    refuse_text(text, "", "a.csv: header line, column 2", "got \"b\", the name of column 1");
    refuse_text("a,sepal (cm)\n1,2\n", "", "a.csv: header line, column 1", "sepal (cm)");
}

static void more_columns_than_components_fit_only_together(void **state)
{
    (void)state;
    char text[2000] = "";
    for (unsigned i = 0; i < 300; i++)
        snprintf(text + strlen(text), 8, "%sc%u", i == 0 ? "" : ",", i);
    strcat(text, "\n");
    refuse_text(text, "", "a.csv", "at most 256 components, got 300");
    open_text(text, ", components: {v: {columns: 0-299, dtype: float32}}");
    assert_int_equal(fixture.source->schema.components[0].shape[0], 300);
}

// ---- Cells ----

static void a_wrong_cell_is_an_error_with_file_line_column_expectation_and_cell(void **state)
{
    (void)state;
    static const char typed[] = ", components: {x: {columns: x, dtype: %s}}";
    static const struct {
        const char *dtype, *cell, *expected;
    } wrong[] = {
        {"uint8", "256", "expected uint8 (0 to 255), got \"256\""},
        {"uint8", "-1", "expected uint8 (0 to 255), got \"-1\""},
        {"int8", "128", "expected int8 (-128 to 127), got \"128\""},
        {"int8", "-129", "(-128 to 127)"},
        {"int64", "9223372036854775808", "9223372036854775807)"},
        {"int64", "-9223372036854775809", "int64"},
        {"uint64", "18446744073709551616", "18446744073709551615)"},
        {"uint64", "99999999999999999999", "uint64"},
        {"int64", "", "got an empty cell"},
        {"int64", "5.0", "got \"5.0\""},
        {"int64", "+", "got \"+\""},
        {"int64", "1 2", "got \"1 2\""},
        {"int64", "0x10", "int64"},
        {"int64", "\xd9\xa1", "int64"}, // a digit, but not of ASCII
        {"bool", "2", "true, false, 0 or 1"},
        {"bool", "", "got an empty cell"},
        {"float64", "1,5", "expected 2 cells, got 3"},
        {"float64", "\"1,5\"", "got \"1,5\""},
        {"float64", ".", "float64"},
        {"float64", "1e", "float64"},
        {"float64", "1e+", "float64"},
        {"float64", "1.2.3", "float64"},
        {"float64", "0x1p3", "float64"},
        {"float64", "1e999", "float64"},
        {"float64", "nano", "float64"},
        {"float64", "nan(1)", "float64"},
        {"float64", "\"1\"\"2\"", "got \"1\"2\""},
        {"float32", "3.5e38", "float32"},
        {"float16", "65520", "float16"},
        {"bfloat16", "1e40", "bfloat16"},
        {"string", "caf\xe9", "expected UTF-8 text, got \"caf\\xe9\""},
        {"string", "\xed\xa0\x80", "UTF-8"},
        {"string", "\xc0\xaf", "UTF-8"},
        {"string", "\xf4\x90\x80\x80", "UTF-8"},
        {"string", "\xe2\x82", "UTF-8"},
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[200], parameters[100];
        snprintf(text, sizeof text, "note,x\n\"two\nlines\",1\nc,%s\n", wrong[i].cell);
        snprintf(parameters, sizeof parameters, typed, wrong[i].dtype);
        refuse_text(text, parameters, "a.csv: line 4", wrong[i].expected);
        if (strstr(wrong[i].expected, "cells") == NULL)
            assert_string_equal(fixture.error.where, "a.csv: line 4, column 1 (x)");
    }
    refuse_text("1,2\n3,x\n", ", header: false, components: {v: {columns: 0-1, dtype: int8}}",
                "a.csv: line 2, column 1", "got \"x\"");
}

static void a_long_name_or_cell_never_hides_the_place(void **state)
{
    (void)state;
    char name[201], text[400], yaml[300];
    memset(name, 'n', 200);
    name[200] = '\0';
    snprintf(text, sizeof text, "x\n%s\n", name);
    source_fixture_write(&fixture, name, text, strlen(text));
    snprintf(yaml, sizeof yaml, "csv: {path: %s, components: {x: {columns: 0, dtype: int8}}}",
             name);
    assert_int_equal(source_fixture_open(&fixture, yaml), BM_INVALID_ARGUMENT);
    assert_non_null(strstr(fixture.error.where, "nnn: line 2, column 0 (x)"));
    assert_non_null(strstr(fixture.error.text, "nnn...\""));
}

static void rows_must_be_as_wide_as_the_first(void **state)
{
    (void)state;
    refuse_text("a,b\n1,2\n3\n", "", "a.csv: line 3", "expected 2 cells, got 1");
    refuse_text("a,b\n1,2,\n", "", "a.csv: line 2", "expected 2 cells, got 3");
    refuse_text("1,2\n\n3,4,5\n", ", header: false, components: {a: {columns: 0, dtype: int8}}",
                "a.csv: line 3", "expected 2 cells, got 3");
}

static void broken_quotes_are_errors(void **state)
{
    (void)state;
    refuse_text("a,b\n1,\"2\n3,4\n", "", "a.csv: line 2, column 1", "closing quote");
    refuse_text("a,b\n1,\"2\"x\n", "", "a.csv: line 2, column 1", "after a closing quote");
    refuse_text("\"", "", "a.csv: line 1, column 0", "closing quote");
}

// What Python's float() and NumPy's float32() and float16() give for the same texts.
static void floats_are_the_nearest_ones(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double expected;
        float expected_single;
    } cases[] = {
        {"0.1", 0x1.999999999999ap-4, 0x1.99999ap-4F},
        {"-0", -0.0, -0.0F},
        {"+1.5E+2", 150, 150},
        {".5", 0.5, 0.5F},
        {"5.", 5, 5},
        {"9007199254740993", 0x1p53, 9007199254740992.0F},
        {"9007199254740993.0000000001", 0x1.0000000000001p53, 9007199254740992.0F},
        {"1.7976931348623157e308", 0x1.fffffffffffffp1023, 0},
        {"4.9406564584124654e-324", 0x1p-1074, 0},
        {"2.4703282292062328e-324", 0x1p-1074, 0},
        {"2.4703282292062327e-324", 0, 0},
        {"1e-400", 0, 0},
        {"0.000000000000000000000000000000000000001e39", 1, 1},
        {"123456789012345678901234567890", 0x1.8ee90ff6c373ep96, 0x1.8ee91p96F},
        // Half-way between two float32, just above it, just below it.
        {"1.000000059604644775390625", 0x1.000001p0, 0x1p0F},
        {"1.000000059604644775390626", 0x1.000001p0, 0x1.000002p0F},
        {"1.000000059604644775390624", 0x1.000001p0, 0x1p0F},
        {"16777217", 16777217, 16777216.0F},
        {"16777219", 16777219, 16777220.0F},
        {"1e23", 0x1.52d02c7e14af6p76, 0x1.52d02cp76F},
        // A little above the middle between 0 and the smallest float32.
        {"7.0064923216240853546186479164495806564013097093825788587853"
         "41419448955413429303007433190941810607910156251E-46",
         0x1p-150, 0x1p-149F},
        {"1e-45", 0x1.6d601ad376ab9p-150, 0x1p-149F},
    };
    char text[2000] = "x\n";
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        strcat(text, cases[i].text);
        strcat(text, "\n");
    }
    open_text(text, ", components: {x: {columns: 0, dtype: float64}}");
    const double *values = source_fixture_values(&fixture, "x");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double expected = cases[i].expected;
        if (values[i] != expected || signbit(values[i]) != signbit(expected))
            fail_msg("%s: got %a, expected %a", cases[i].text, values[i], expected);
    }
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (i == 7) // beyond float32
            continue;
        snprintf(text, sizeof text, "x\n%s\n", cases[i].text);
        open_text(text, ", components: {x: {columns: 0, dtype: float32}}");
        float value = *(const float *)source_fixture_values(&fixture, "x");
        float expected = cases[i].expected_single;
        if (value != expected || signbit(value) != signbit(expected))
            fail_msg("%s: got %a, expected %a", cases[i].text, (double)value, (double)expected);
    }
}

static void sixteen_bit_floats_are_rounded_once(void **state)
{
    (void)state;
    // 1 + 2^-11 lies half-way between two float16; a little more is rounded up, although that
    // little is lost in a float32.
    open_text("x\n1.00048828125\n1.000488281251\n-1.000488281251\n65504\n65519.99\n5.96e-8\n-inf\n",
              ", components: {x: {columns: 0, dtype: float16}}");
    const uint16_t halves[] = {0x3c00, 0x3c01, 0xbc01, 0x7bff, 0x7bff, 0x0001, 0xfc00};
    assert_memory_equal(source_fixture_values(&fixture, "x"), halves, sizeof halves);
    open_text("x\n1.00390625\n1.0039062501\n", ", components: {x: {columns: 0, dtype: bfloat16}}");
    const uint16_t bfloats[] = {0x3f80, 0x3f81};
    assert_memory_equal(source_fixture_values(&fixture, "x"), bfloats, sizeof bfloats);
}

static void nan_and_inf_are_floats_in_any_case(void **state)
{
    (void)state;
    open_text("x\nnan\nNaN\n-nan\ninf\n-INF\n+Infinity\n", "");
    assert_int_equal(dtype_of("x"), BM_FLOAT64);
    const double *values = source_fixture_values(&fixture, "x");
    assert_true(isnan(values[0]) && isnan(values[1]) && isnan(values[2]));
    assert_memory_equal(&values[0], &values[2], sizeof values[0]); // one NaN, so equal bytes
    assert_true(isinf(values[3]) && values[3] > 0);
    assert_true(isinf(values[4]) && values[4] < 0);
    assert_true(isinf(values[5]) && values[5] > 0);
}

static void the_extremes_of_every_integer_dtype_are_read_exactly(void **state)
{
    (void)state;
    open_text("a,b,c,d,e,f,g,h\n"
              "-128,255,-32768,65535,-2147483648,4294967295,-9223372036854775808,"
              "18446744073709551615\n",
              ", components: {a: {columns: 0, dtype: int8}, b: {columns: 1, dtype: uint8}, "
              "c: {columns: 2, dtype: int16}, d: {columns: 3, dtype: uint16}, "
              "e: {columns: 4, dtype: int32}, f: {columns: 5, dtype: uint32}, "
              "g: {columns: 6, dtype: int64}, h: {columns: 7, dtype: uint64}}");
    assert_true(*(const int8_t *)source_fixture_values(&fixture, "a") == INT8_MIN);
    assert_true(*(const uint8_t *)source_fixture_values(&fixture, "b") == UINT8_MAX);
    assert_true(*(const int16_t *)source_fixture_values(&fixture, "c") == INT16_MIN);
    assert_true(*(const uint16_t *)source_fixture_values(&fixture, "d") == UINT16_MAX);
    assert_true(*(const int32_t *)source_fixture_values(&fixture, "e") == INT32_MIN);
    assert_true(*(const uint32_t *)source_fixture_values(&fixture, "f") == UINT32_MAX);
    assert_true(*(const int64_t *)source_fixture_values(&fixture, "g") == INT64_MIN);
    assert_true(*(const uint64_t *)source_fixture_values(&fixture, "h") == UINT64_MAX);
}

static void bools_are_words_or_digits(void **state)
{
    (void)state;
    open_text("x\ntrue\nFalse\n1\n0\n", ", components: {x: {columns: x, dtype: bool}}");
    const unsigned char expected[] = {1, 0, 1, 0};
    assert_memory_equal(source_fixture_values(&fixture, "x"), expected, sizeof expected);
}

static void the_locale_of_the_process_does_not_matter(void **state)
{
    (void)state;
    setlocale(LC_ALL, "de_DE.UTF-8"); // may not be installed
    open_text("x\n1234567890.12345678901234567890\n", "");
    double value = *(const double *)source_fixture_values(&fixture, "x");
    setlocale(LC_ALL, "C");
    assert_true(value == 1234567890.1234567);
}

// ---- Files ----

static void the_identity_depends_on_the_values_not_on_the_file(void **state)
{
    (void)state;
    open_text("a,b,c\n1,2,x\n3,4,y\n", ", components: {v: {columns: [a, b], dtype: int8}}");
    uint64_t identity = fixture.source->identity;
    open_text("skipped\n1;2\n3;4\n", ", skip: 1, header: false, delimiter: ;, components: {v: "
                                     "{columns: 0-1, dtype: int8}}");
    assert_true(fixture.source->identity == identity);
    static const char *const others[][2] = {
        {"a,b\n1,2\n3,5\n", ", components: {v: {columns: 0-1, dtype: int8}}"},
        {"a,b\n1,2\n3,4\n", ", components: {w: {columns: 0-1, dtype: int8}}"},
        {"a,b\n1,2\n3,4\n", ", components: {v: {columns: 0-1, dtype: uint8}}"},
        {"a,b\n1,2\n3,4\n", ", components: {v: {columns: 0-1, dtype: int8, shape: [2, 1]}}"},
        {"a,b\n1,2\n3,4\n", ", components: {v: {columns: [1, 0], dtype: int8}}"},
        {"a,b\n1,2\n", ", components: {v: {columns: 0-1, dtype: int8}}"},
    };
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++) {
        open_text(others[i][0], others[i][1]);
        assert_false(fixture.source->identity == identity);
    }
    open_text("a\nbc\nd\n", "");
    identity = fixture.source->identity;
    open_text("a\nb\ncd\n", "");
    assert_false(fixture.source->identity == identity);
}

static void what_is_no_file_is_refused_without_waiting_for_it(void **state)
{
    (void)state;
    assert_int_equal(source_fixture_open(&fixture, "csv: {path: none.csv}"), BM_NOT_FOUND);
    assert_non_null(strstr(fixture.error.where, "path"));
    assert_non_null(strstr(fixture.error.text, "none.csv"));
    assert_int_equal(source_fixture_open(&fixture, "csv: {path: .}"), BM_INVALID_ARGUMENT);
    assert_non_null(strstr(fixture.error.text, "folder"));
    assert_int_equal(mkfifo(source_fixture_path(&fixture, "fifo"), 0600), 0);
    assert_int_equal(source_fixture_open(&fixture, "csv: {path: fifo}"), BM_INVALID_ARGUMENT);
    assert_non_null(strstr(fixture.error.text, "regular file"));
    refuse_text("", "", "a.csv", "expected a header line");
    refuse_text("\n\n", ", header: false", "a.csv", "expected at least one row");
    refuse_text("a\n", ", skip: 9", "a.csv", "expected a header line");
}

// gzip.compress(b"a,b\n1,2\n") and gzip.compress(b"3,4\n") of Python, one after the other.
static const unsigned char two_members[] = {
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x4b, 0xd4, 0x49,
    0xe2, 0x32, 0xd4, 0x31, 0xe2, 0x02, 0x00, 0x7b, 0x07, 0x97, 0x0a, 0x08, 0x00,
    0x00, 0x00, 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x33,
    0xd6, 0x31, 0xe1, 0x02, 0x00, 0x3e, 0x2d, 0x72, 0xa9, 0x04, 0x00, 0x00, 0x00};
enum { FIRST_MEMBER = 28 };

static void gzip_is_known_by_its_content_and_may_have_members(void **state)
{
    (void)state;
    source_fixture_write(&fixture, "a.csv", two_members, sizeof two_members);
    assert_int_equal(source_fixture_open(&fixture, "csv: {path: a.csv}"), BM_OK);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    const int64_t *b = source_fixture_values(&fixture, "b");
    assert_true(fixture.source->nitems == 2 && b[0] == 2 && b[1] == 4);
    uint64_t identity = fixture.source->identity;
    open_text("a,b\n1,2\n3,4\n", "");
    assert_true(fixture.source->identity == identity);

    unsigned char padded[sizeof two_members + 9] = {0};
    memcpy(padded, two_members, sizeof two_members);
    source_fixture_write(&fixture, "a.csv", padded, sizeof padded);
    assert_int_equal(source_fixture_open(&fixture, "csv: {path: a.csv}"), BM_OK);
    assert_int_equal(fixture.source->nitems, 2);
    padded[sizeof padded - 1] = 1;
    source_fixture_write(&fixture, "a.csv", padded, sizeof padded);
    assert_int_equal(source_fixture_open(&fixture, "csv: {path: a.csv}"), BM_DATA_LOSS);
}

static void every_truncation_of_a_gzip_file_is_an_error_or_ends_between_members(void **state)
{
    (void)state;
    for (size_t size = 2; size < sizeof two_members; size++) {
        source_fixture_write(&fixture, "a.csv", two_members, size);
        enum bm_status expected = size == FIRST_MEMBER ? BM_OK : BM_DATA_LOSS;
        assert_int_equal(source_fixture_open(&fixture, "csv: {path: a.csv}"), expected);
    }
}

static void every_changed_byte_of_a_gzip_file_is_survived(void **state)
{
    (void)state;
    unsigned nrefused = 0;
    for (size_t at = 0; at < sizeof two_members; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            unsigned char bytes[sizeof two_members];
            memcpy(bytes, two_members, sizeof bytes);
            bytes[at] ^= (unsigned char)(1U << bit);
            source_fixture_write(&fixture, "a.csv", bytes, sizeof bytes);
            nrefused += source_fixture_open(&fixture, "csv: {path: a.csv}") != BM_OK;
        }
    }
    // Times, flags of the header's text bit and the system's number are nobody's concern.
    assert_true(nrefused > sizeof two_members * 8 * 7 / 10);
}

static const char hostile[] = "a,\"b\",c\r\n1,\"x\"\"y\",-2.5e3\r\n\"22\",\"\",nan\r\n3,z,0\r\n";

static void every_truncation_of_a_text_is_survived(void **state)
{
    (void)state;
    for (size_t size = 0; size < sizeof hostile; size++) {
        source_fixture_write(&fixture, "a.csv", hostile, size);
        if (source_fixture_open(&fixture, "csv: {path: a.csv}") == BM_OK)
            assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
        else
            assert_non_null(strstr(fixture.error.where, "a.csv"));
    }
}

static void every_changed_byte_of_a_text_is_survived(void **state)
{
    (void)state;
    static const char bytes[] = {'\0', '"', ',', '\n', '\r', '-', '9', 'e', '\x80', '\xff'};
    for (size_t at = 0; at < sizeof hostile - 1; at++) {
        for (unsigned i = 0; i < sizeof bytes; i++) {
            char text[sizeof hostile];
            memcpy(text, hostile, sizeof text);
            text[at] = bytes[i];
            source_fixture_write(&fixture, "a.csv", text, sizeof text - 1);
            if (source_fixture_open(&fixture, "csv: {path: a.csv}") == BM_OK)
                assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
        }
    }
}

static void random_bytes_are_survived(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (unsigned round = 0; round < 500; round++) {
        unsigned char bytes[256];
        for (unsigned i = 0; i < sizeof bytes; i++) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            // Mostly what a parser reacts to.
            bytes[i] = (random >> 60) < 13 ? (unsigned char)"\",\n\r1a.-e"[(random >> 33) % 9]
                                           : (unsigned char)(random >> 33);
        }
        source_fixture_write(&fixture, "a.csv", bytes, sizeof bytes);
        source_fixture_open(&fixture, "csv: {path: a.csv}");
        source_fixture_open(&fixture, "csv: {path: a.csv, header: false, components: {a: {columns: "
                                      "0, dtype: string}}}");
    }
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    struct bm_source *source = NULL;
    write_text("a,b\n1,x\n2,\"y\"\"z\"\n");
    assert_int_equal(source_fixture_open(&fixture, "csv: {path: a.csv}"), BM_OK);
    const struct bm_source_type *type = fixture.source->type;
    // The same without the parser of the configuration.
    struct {
        char *path;
        bool header;
        char *delimiter;
        int64_t skip;
        const struct bm_value *components;
        struct bm_text_map types;
        struct bm_texts missing;
        struct bm_text_map fill;
        struct bm_texts masks;
        const struct bm_value *categories;
    } config = {.path = (char[]){"a.csv"}, .header = true, .delimiter = (char[]){","}};
    assert_int_equal(type->config_bytes, sizeof config);
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
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_real_digits_are_read_to_the_last_pixel),
        TEST(items_are_read_in_any_order),
        TEST(without_components_columns_come_under_their_names_with_inferred_dtypes),
        TEST(quotes_hold_delimiters_quotes_and_line_ends),
        TEST(line_ends_a_byte_order_mark_and_empty_lines_do_not_matter),
        TEST(lines_can_be_skipped_and_the_delimiter_chosen),
        TEST(a_header_alone_is_a_source_without_items),
        TEST(columns_are_chosen_by_number_range_and_name),
        TEST(bad_parameters_are_errors_that_name_them),
        TEST(more_columns_than_components_fit_only_together),
        TEST(a_wrong_cell_is_an_error_with_file_line_column_expectation_and_cell),
        TEST(a_long_name_or_cell_never_hides_the_place),
        TEST(rows_must_be_as_wide_as_the_first),
        TEST(broken_quotes_are_errors),
        TEST(floats_are_the_nearest_ones),
        TEST(sixteen_bit_floats_are_rounded_once),
        TEST(nan_and_inf_are_floats_in_any_case),
        TEST(the_extremes_of_every_integer_dtype_are_read_exactly),
        TEST(bools_are_words_or_digits),
        TEST(the_locale_of_the_process_does_not_matter),
        TEST(the_identity_depends_on_the_values_not_on_the_file),
        TEST(what_is_no_file_is_refused_without_waiting_for_it),
        TEST(gzip_is_known_by_its_content_and_may_have_members),
        TEST(every_truncation_of_a_gzip_file_is_an_error_or_ends_between_members),
        TEST(every_changed_byte_of_a_gzip_file_is_survived),
        TEST(every_truncation_of_a_text_is_survived),
        TEST(every_changed_byte_of_a_text_is_survived),
        TEST(random_bytes_are_survived),
        TEST(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("csv", tests, NULL, NULL);
}
