// What sources/csv.c promises of missing values, dates and categories.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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

static const double *floats_of(const char *component)
{
    return source_fixture_values(&fixture, component);
}

static const int64_t *integers_of(const char *component)
{
    return source_fixture_values(&fixture, component);
}

static const char *name_of(const char *component, int64_t code)
{
    int c = bm_schema_find(&fixture.source->schema, component);
    assert_true(c >= 0);
    struct bm_vocabulary *vocabulary = fixture.source->schema.components[c].vocabulary;
    assert_true(code >= 0 && (uint64_t)code < bm_vocabulary_count(vocabulary));
    return bm_vocabulary_name(vocabulary, (uint64_t)code);
}

static const char holes[] = "delay,count,price,tail,flag,day\n"
                            "5,1,1.5,N1,true,2013-01-01\n"
                            "NA,2,null,NA,false,\n"
                            " ,3,N/A,,true,1969-12-31\n";

static void missing_numbers_are_nan_and_make_floats_of_integers(void **state)
{
    (void)state;
    open_text(holes, "");
    assert_int_equal(dtype_of("delay"), BM_FLOAT64);
    assert_int_equal(dtype_of("count"), BM_INT64);
    assert_int_equal(dtype_of("price"), BM_FLOAT64);
    assert_int_equal(dtype_of("tail"), BM_STRING);
    assert_int_equal(dtype_of("flag"), BM_BOOL);
    assert_int_equal(dtype_of("day"), BM_INT64);
    assert_true(floats_of("delay")[0] == 5 && isnan(floats_of("delay")[1]));
    assert_true(isnan(floats_of("delay")[2]) && isnan(floats_of("price")[2]));
    assert_text("tail", 1, "NA"); // a word here
    assert_text("tail", 2, "");
    const unsigned char *flags = source_fixture_values(&fixture, "flag");
    assert_true(flags[0] == 1 && flags[1] == 0 && flags[2] == 1);
    const int64_t days[] = {15706, INT64_MIN, -1};
    assert_memory_equal(integers_of("day"), days, sizeof days);
}

static void what_fills_missing_values_keeps_integers(void **state)
{
    (void)state;
    open_text(holes, ", fill: {delay: -1, price: 0.25, tail: none, day: 2000-03-01}, "
                     "masks: [delay, tail]");
    assert_int_equal(dtype_of("delay"), BM_INT64);
    const int64_t delays[] = {5, -1, -1}, days[] = {15706, 11017, -1};
    assert_memory_equal(integers_of("delay"), delays, sizeof delays);
    assert_memory_equal(integers_of("day"), days, sizeof days);
    assert_true(floats_of("price")[0] == 1.5 && floats_of("price")[2] == 0.25);
    assert_text("tail", 2, "none");
    const unsigned char delay_mask[] = {0, 1, 1}, tail_mask[] = {0, 0, 1};
    assert_int_equal(dtype_of("delay.missing"), BM_BOOL);
    assert_memory_equal(source_fixture_values(&fixture, "delay.missing"), delay_mask, 3);
    assert_memory_equal(source_fixture_values(&fixture, "tail.missing"), tail_mask, 3);
    assert_int_equal(fixture.source->schema.ncomponents, 8);
}

static void what_is_missing_may_be_said(void **state)
{
    (void)state;
    open_text("a,b\n-99,x\n1,-99\n", ", missing: ['-99']");
    assert_true(isnan(floats_of("a")[0]) && floats_of("a")[1] == 1);
    assert_text("b", 1, "");
    open_text("a\n1\nNA\n", ", missing: ['?']");
    assert_int_equal(dtype_of("a"), BM_STRING);
    open_text("a\n\"\"\nNA\n", ""); // nothing says that they are numbers
    assert_int_equal(dtype_of("a"), BM_STRING);
}

static void missing_values_of_vectors_have_masks_of_their_shape(void **state)
{
    (void)state;
    open_text("1,NA\n,4\n", ", header: false, masks: v, components: {v: {columns: 0-1, dtype: "
                            "float32}}");
    const float *values = source_fixture_values(&fixture, "v");
    assert_true(values[0] == 1 && isnan(values[1]) && isnan(values[2]) && values[3] == 4);
    const unsigned char mask[] = {0, 1, 1, 0};
    assert_memory_equal(source_fixture_values(&fixture, "v.missing"), mask, sizeof mask);
    assert_int_equal(fixture.source->schema.components[1].shape[0], 2);
}

static void types_can_be_given_for_some_columns(void **state)
{
    (void)state;
    open_text("id,n,when\n007,1,2013-01-01\n8,2,2013-01-01T00:00:01Z\n",
              ", types: {id: string, n: uint8}");
    assert_int_equal(dtype_of("id"), BM_STRING);
    assert_text("id", 0, "007");
    assert_int_equal(dtype_of("n"), BM_UINT8);
    const int64_t times[] = {1356998400000000000, 1356998401000000000};
    assert_memory_equal(integers_of("when"), times, sizeof times);
    refuse_text("a\n300\n", ", types: {a: uint8}", "a.csv: line 2", "uint8 (0 to 255)");
    refuse_text("a\n1\n", ", types: {b: uint8}", "types", "\"b\"");
    refuse_text("a\n1\n", ", types: {a: word}", "types",
                "date, datetime or category, got \"word\"");
    refuse_text("a\n1\n", ", types: {a: int8}, components: {a: {columns: 0, dtype: int8}}", "types",
                "got both");
}

// Reference: numpy.datetime64("...").astype("M8[D]" or "M8[ns]").astype(int), NumPy 1.24.2.
static void dates_are_those_of_numpy(void **state)
{
    (void)state;
    static const struct {
        const char *cell;
        int64_t days;
    } dates[] = {{"1970-01-01", 0},       {"2000-02-29", 11016},   {"1900-03-01", -25508},
                 {"0001-01-01", -719162}, {"9999-12-31", 2932896}, {"2100-03-01", 47541}};
    static const struct {
        const char *cell;
        int64_t ns;
    } times[] = {{"2013-01-01T10:00:00Z", 1357034400000000000},
                 {"2013-01-01 10:00", 1357034400000000000},
                 {"2013-01-01T12:30:00+02:30", 1357034400000000000},
                 {"2013-01-01T05:00:00-0500", 1357034400000000000},
                 {"1969-12-31T23:59:59.999999999", -1},
                 {"2261-12-31T23:59:59.5", 9214646399500000000},
                 {"1678-01-01", -9214560000000000000}};
    for (unsigned i = 0; i < sizeof dates / sizeof dates[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "d\n%s\n", dates[i].cell);
        open_text(text, "");
        assert_int_equal(*integers_of("d"), dates[i].days);
    }
    for (unsigned i = 0; i < sizeof times / sizeof times[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "t\n%s\n", times[i].cell);
        open_text(text, ", types: {t: datetime}");
        assert_int_equal(*integers_of("t"), times[i].ns);
    }
}

static void what_is_no_date_is_an_error_or_a_string(void **state)
{
    (void)state;
    static const char *const bad[] = {"2013-02-29",  "2013-13-01", "2013-00-01", "2013-01-00",
                                      "0000-01-01",  "13-01-01",   "2013-1-1",   "2013/01/01",
                                      "2013-01-01x", "2013-01-0",  "-013-01-01"};
    static const char *const bad_times[] = {"2013-01-01T",
                                            "2013-01-01T24:00",
                                            "2013-01-01T10:60",
                                            "2013-01-01T10:00:60",
                                            "2013-01-01Z",
                                            "2013-01-01T10:00:00.",
                                            "2013-01-01T10:00+24:00",
                                            "2013-01-01T10:00 Z",
                                            "1677-01-01",
                                            "2263-01-01",
                                            "2013-01-01T10:00:00.1234567890"};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "d\n%s\n", bad[i]);
        open_text(text, "");
        assert_int_equal(dtype_of("d"), BM_STRING);
        refuse_text(text, ", types: {d: date}", "line 2, column 0 (d)", "expected a date such as");
        refuse_text(text, ", types: {d: datetime}", "line 2", "expected a time such as");
    }
    for (unsigned i = 0; i < sizeof bad_times / sizeof bad_times[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "d\n%s\n", bad_times[i]);
        refuse_text(text, ", types: {d: datetime}", "line 2", bad_times[i]);
    }
}

static void categories_are_codes_with_their_names_sorted(void **state)
{
    (void)state;
    open_text("c\nUA\nB6\n\"\"\nUA\nAA\n", ", types: {c: category}");
    const int64_t codes[] = {2, 1, -1, 2, 0};
    assert_memory_equal(integers_of("c"), codes, sizeof codes);
    assert_string_equal(name_of("c", 0), "AA");
    assert_string_equal(name_of("c", 2), "UA");
    uint64_t identity = fixture.source->identity;
    open_text("c\nUX\nB6\n\"\"\nUX\nAA\n", ", types: {c: category}");
    assert_memory_equal(integers_of("c"), codes, sizeof codes);
    assert_true(fixture.source->identity != identity); // the names differ
    open_text("c\nb\n\"\"\n", ", types: {c: category}, fill: {c: a}");
    assert_true(integers_of("c")[0] == 1 && integers_of("c")[1] == 0);
}

static void categories_can_be_given_in_their_order(void **state)
{
    (void)state;
    open_text("c\nlow\nhigh\n", ", types: {c: category}, categories: {c: [high, middle, low]}");
    assert_true(integers_of("c")[0] == 2 && integers_of("c")[1] == 0);
    assert_string_equal(name_of("c", 1), "middle");
    refuse_text("c\nlow\nno\n", ", types: {c: category}, categories: {c: [low]}",
                "a.csv: line 3, column 0 (c)", "one of the given categories, got \"no\"");
    refuse_text("c\n1\n", ", categories: {c: [a]}", "categories", "dtype category");
    refuse_text("c\na\n", ", types: {c: category}, categories: {c: a}", "categories", "a list");
    refuse_text("c\na\n", ", types: {c: category}, categories: {c: [a, a]}", "categories", "once");
    refuse_text("c\na\n", ", types: {c: category}, categories: {d: [a]}", "categories", "\"d\"");
    refuse_text("c\n\xff\n", ", types: {c: category}", "line 2", "in UTF-8");
}

static void what_fills_must_be_a_value_of_a_component(void **state)
{
    (void)state;
    refuse_text("a\n1\n", ", fill: {a: x}, types: {a: int8}", "fill",
                "int8 (-128 to 127), got \"x\"");
    refuse_text("a\n1\n", ", fill: {b: 1}", "fill", "\"b\"");
    refuse_text("a\n1\n", ", masks: b", "masks", "\"b\"");
    refuse_text("a\nNA\n", ", types: {a: int64}", "line 2, column 0 (a)", "got \"NA\"");
}

// Of Python's csv.DictReader over the same file: how many cells are NA, and the sums of the others.
static void the_real_flights_have_the_missing_values_that_python_finds(void **state)
{
    (void)state;
    const char *folder = getenv("BATCHMILL_SOURCE_DIR");
    assert_int_equal(source_fixture_open_in(&fixture, folder == NULL ? "." : folder,
                                            "csv: {path: examples/table/flights.csv.gz, types: "
                                            "{carrier: category}, masks: dep_time}"),
                     BM_OK);
    assert_int_equal(fixture.source->nitems, 1500);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    const unsigned char *mask = source_fixture_values(&fixture, "dep_time.missing");
    uint64_t nmissing = 0;
    double sum = 0;
    int64_t distance = 0;
    for (unsigned i = 0; i < 1500; i++) {
        nmissing += mask[i];
        assert_int_equal(mask[i], isnan(floats_of("dep_time")[i]));
        sum += isnan(floats_of("arr_delay")[i]) ? 0 : floats_of("arr_delay")[i];
        distance += integers_of("distance")[i];
    }
    assert_int_equal(nmissing, 4);
    assert_true(sum == 17069);
    assert_int_equal(distance, 1599575);
    assert_int_equal(integers_of("time_hour")[0], 1357034400000000000);
    assert_string_equal(name_of("carrier", integers_of("carrier")[0]), "UA");
}

// As many as all flights that left New York in 2013.
static void a_large_table_has_the_types_that_its_last_rows_say(void **state)
{
    (void)state;
    enum { NROWS = 336776, NLAST = 60000 };
    struct bm_buffer text;
    bm_buffer_init(&text);
    bm_buffer_add_text(&text, "whole,holes,late,word\n");
    for (unsigned i = 0; i < NROWS; i++) {
        bool last = i == NROWS - 1;
        bm_buffer_print(&text, "%u,", i);
        bm_buffer_print(&text, i % 40 == 7 ? "NA," : "%u,", i);
        bm_buffer_add_text(&text, last ? "0.5,x\n" : "1,2\n");
    }
    assert_false(bm_buffer_failed(&text));
    source_fixture_write(&fixture, "a.csv", text.data, text.size);
    bm_buffer_fini(&text);
    assert_int_equal(source_fixture_open(&fixture, "csv: {path: a.csv}"), BM_OK);
    assert_int_equal(fixture.source->nitems, NROWS);
    assert_int_equal(dtype_of("whole"), BM_INT64);
    assert_int_equal(dtype_of("holes"), BM_FLOAT64);
    assert_int_equal(dtype_of("late"), BM_FLOAT64);
    assert_int_equal(dtype_of("word"), BM_STRING);
    static uint64_t items[NLAST];
    for (unsigned i = 0; i < NLAST; i++)
        items[i] = NROWS - NLAST + i;
    assert_int_equal(source_fixture_read(&fixture, items, NLAST), BM_OK);
    for (unsigned i = 0; i < NLAST; i++) {
        assert_true(integers_of("whole")[i] == (int64_t)items[i]);
        double hole = floats_of("holes")[i];
        assert_true(items[i] % 40 == 7 ? isnan(hole) : hole == (double)items[i]);
    }
    assert_true(floats_of("late")[NLAST - 1] == 0.5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(missing_numbers_are_nan_and_make_floats_of_integers),
        TEST(what_fills_missing_values_keeps_integers),
        TEST(what_is_missing_may_be_said),
        TEST(missing_values_of_vectors_have_masks_of_their_shape),
        TEST(types_can_be_given_for_some_columns),
        TEST(dates_are_those_of_numpy),
        TEST(what_is_no_date_is_an_error_or_a_string),
        TEST(categories_are_codes_with_their_names_sorted),
        TEST(categories_can_be_given_in_their_order),
        TEST(what_fills_must_be_a_value_of_a_component),
        TEST(the_real_flights_have_the_missing_values_that_python_finds),
        TEST(a_large_table_has_the_types_that_its_last_rows_say),
    };
    return cmocka_run_group_tests_name("csv_values", tests, NULL, NULL);
}
