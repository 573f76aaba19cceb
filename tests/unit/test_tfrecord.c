// What sources/tfrecord.c promises: features of Examples, any record by itself, each checked.
//
// tests/data/tfrecord was made with tensorflow 2.21.0, for i in range(5), in b.tfrecord.gz with
// compression GZIP:
//     {"x": FloatList([i / 2, -i]), "label": Int64List([i - 2]), "tail": Int64List(range(i)),
//      "name": BytesList([b"item %d" % i])}
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/source_fixture.h"
#include "sources/tfrecord_example.h"
#include "support.h"

static struct source_fixture fixture;
static unsigned char bytes[4096]; // of a file
static size_t size;

#define COMPONENTS                                                                                 \
    "components: {x: {dtype: float32, shape: 2}, label: {dtype: int16}, "                          \
    "t: {feature: tail, dtype: int32, ragged: true}, name: {dtype: string}}"

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

// A file of tests/data under the same name.
static void take(const char *name)
{
    char path[4096];
    const char *root = getenv("BATCHMILL_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/data/tfrecord/%s", root == NULL ? "." : root, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    source_fixture_write(&fixture, name, bytes, size);
}

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

static void assert_records(const uint64_t *items, uint64_t n)
{
    if (source_fixture_read(&fixture, items, n) != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
    const float *x = source_fixture_values(&fixture, "x");
    const int16_t *label = source_fixture_values(&fixture, "label");
    for (uint64_t row = 0; row < n; row++) {
        uint64_t i = items[row] % 5, count;
        char name[16];
        assert_true(x[2 * row] == (float)i / 2 && x[2 * row + 1] == -(float)i);
        assert_int_equal(label[row], (int)i - 2);
        const int32_t *tail =
            (const int32_t *)(const void *)bm_batch_rows(&fixture.batch, 2, row, 1, &count);
        assert_int_equal(count, i);
        for (uint64_t k = 0; k < count; k++)
            assert_int_equal(tail[k], k);
        const unsigned char *text = bm_batch_rows(&fixture.batch, 3, row, 1, &count);
        snprintf(name, sizeof name, "item %u", (unsigned)i);
        assert_int_equal(count, strlen(name));
        assert_memory_equal(text, name, count);
    }
}

static void records_of_tensorflow_come_in_any_order(void **state)
{
    (void)state;
    static const uint64_t items[] = {9, 0, 4, 4, 7, 5, 1};
    take("a.tfrecord");
    take("b.tfrecord.gz");
    open_ok("tfrecord: {paths: [a.tfrecord, b.tfrecord.gz], " COMPONENTS "}");
    assert_int_equal(fixture.source->nitems, 10);
    assert_records(items, 7);
}

static void without_components_an_error_tells_what_there_is(void **state)
{
    (void)state;
    take("a.tfrecord");
    refuse("tfrecord: {paths: a.tfrecord}", "tfrecord",
           "the first record has x (float_list of 2), name (bytes_list of 1), tail (int64_list of "
           "0), label (int64_list of 1)");
    source_fixture_write(&fixture, "none.tfrecord", "", 0);
    refuse("tfrecord: {paths: none.tfrecord}", "tfrecord", "the first record has no feature");
}

static void features_that_do_not_fit_fail_their_record(void **state)
{
    (void)state;
    static const struct {
        const char *component, *where, *text;
        int64_t row;
    } cases[] = {
        {"x: {dtype: float32, shape: 3}", "a.tfrecord: record 0",
         "x: expected feature x as float_list of 3, got float_list of 2", 0},
        {"x: {dtype: int64, shape: 2}", "record 0",
         "expected feature x as int64_list of 2, got float_list of 2", 0},
        {"y: {dtype: int64}", "record 0", "expected feature y as int64_list of 1, got nothing of 0",
         0},
        {"label: {dtype: uint8}", "record 0",
         "expected values that uint8 has in feature label, got -2", 0},
        {"label: {dtype: bool}", "record 0",
         "expected values that bool has in feature label, got -2", 0},
        {"tail: {dtype: int8, ragged: true, shape: 2}", "record 1",
         "as int64_list of a multiple of 2, got int64_list of 1", 1},
        {"label: {dtype: string}", "record 0", "as bytes_list of 1, got int64_list of 1", 0},
    };
    take("a.tfrecord");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char yaml[256];
        snprintf(yaml, sizeof yaml, "tfrecord: {paths: a.tfrecord, components: {%s}}",
                 cases[i].component);
        open_ok(yaml);
        assert_int_not_equal(source_fixture_read_all(&fixture), BM_OK);
        if (strstr(fixture.error.where, cases[i].where) == NULL ||
            strstr(fixture.error.text, cases[i].text) == NULL)
            fail_msg("%s: got \"%s\": \"%s\"", cases[i].component, fixture.error.where,
                     fixture.error.text);
        assert_int_equal(fixture.failed_row, cases[i].row);
    }
    open_ok("tfrecord: {paths: a.tfrecord, components: {y: {dtype: int64, ragged: true}}}");
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK); // lists may be absent
    assert_int_equal(fixture.batch.tensors[0].offsets[5], 0);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    take("a.tfrecord");
    refuse("tfrecord: {paths: a.tfrecord, components: {x: {dtype: string, shape: 2}}}",
           "components.x", "neither `shape` nor `ragged`");
    refuse("tfrecord: {paths: a.tfrecord, components: {x: {dtype: float32, shape: 0}}}",
           "components.x.shape", "at least 1 element");
    refuse("tfrecord: {paths: a.tfrecord, components: {}}", "components", "expected {name:");
    refuse("tfrecord: {paths: a.tfrecord, components: {x: float32}}", "components.x", "expected");
    refuse("tfrecord: {paths: [], " COMPONENTS "}", "paths", "at least one file");
    refuse("tfrecord: {paths: no.tfrecord, " COMPONENTS "}", "paths", "no.tfrecord");
}

// The head of every record is checked when the file is opened, its data when they are read.
static void every_changed_byte_and_every_truncation_is_found(void **state)
{
    (void)state;
    take("a.tfrecord");
    for (size_t at = 0; at < size; at++) {
        bytes[at] ^= 0x20;
        source_fixture_write(&fixture, "other.tfrecord", bytes, size);
        enum bm_status status =
            source_fixture_open(&fixture, "tfrecord: {paths: other.tfrecord, " COMPONENTS "}");
        if (status == BM_OK)
            status = source_fixture_read_all(&fixture);
        assert_int_equal(status, BM_DATA_LOSS);
        assert_non_null(strstr(fixture.error.where, "record "));
        bytes[at] ^= 0x20;
    }
    unsigned whole = 0;
    for (size_t end = 1; end < size; end++) {
        source_fixture_write(&fixture, "cut.tfrecord", bytes, end);
        whole += source_fixture_open(&fixture, "tfrecord: {paths: cut.tfrecord, " COMPONENTS "}") ==
                 BM_OK;
    }
    assert_int_equal(whole, 4); // where it was cut between two records
}

// ---- The walk through an Example ----

// Unpacked numbers, fields of later versions, and a feature that comes twice.
static void other_writers_are_understood(void **state)
{
    (void)state;
    static const unsigned char example[] = {
        0x10, 0x05,                                           // Example.2: a later field
        0x0a, 0x21,                                           // features
        0x0a, 0x0b, 0x0a, 0x01, 'a',                          // "a":
        0x12, 0x06, 0x1a, 0x04, 0x08, 0x07, 0x08, 0x09,       // int64_list [7, 9], not packed
        0x0a, 0x12, 0x0a, 0x01, 'b',                          // "b":
        0x12, 0x0d, 0x12, 0x0b, 0x0d, 0,    0,    0x80, 0x3f, // float_list [1, ...
        0x0a, 0x04, 0,    0,    0,    0x40,                   //   2], one alone and one packed
        0x0a, 0x0b,                                           // features once more:
        0x0a, 0x09, 0x0a, 0x01, 'a',                          // "a" again:
        0x12, 0x04, 0x1a, 0x02, 0x08, 0x03,                   // int64_list [3]
    };
    static const char *const names[] = {"a", "b", "c"};
    struct bm_tf_feature features[3];
    struct bm_tf_values values;
    int64_t integer;
    float real;
    assert_true(bm_tf_example_find(example, sizeof example, names, 3, features));
    assert_int_equal(features[0].kind, BM_TF_INT64);
    assert_int_equal(features[2].kind, BM_TF_NONE);
    bm_tf_values_init(&values, &features[0]);
    assert_true(bm_tf_next_int64(&values, &integer));
    assert_int_equal(integer, 3);
    assert_false(bm_tf_next_int64(&values, &integer));
    bm_tf_values_init(&values, &features[1]);
    assert_true(bm_tf_next_float(&values, &real) && real == 1);
    assert_true(bm_tf_next_float(&values, &real) && real == 2);
    assert_false(bm_tf_next_float(&values, &real) || values.broken);
    for (size_t end = 1; end < sizeof example; end++) // wherever it is cut
        bm_tf_example_find(example, end, names, 3, features);
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    take("a.tfrecord");
    source_fixture_starves(&fixture, "tfrecord: {paths: a.tfrecord, " COMPONENTS "}");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(records_of_tensorflow_come_in_any_order),
        TEST(without_components_an_error_tells_what_there_is),
        TEST(features_that_do_not_fit_fail_their_record),
        TEST(what_makes_no_sense_is_refused),
        TEST(every_changed_byte_and_every_truncation_is_found),
        TEST(other_writers_are_understood),
        TEST(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("tfrecord", tests, NULL, NULL);
}
