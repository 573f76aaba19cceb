// What sources/npz.c and zip.c promise: the arrays of one archive, exactly, or a clear error.
//
// tests/data/arrays was made with numpy 1.24.2:
//     x = numpy.arange(30, dtype='<f4').reshape(10, 3) / 4; label = numpy.arange(10) ** 2
//     numpy.savez('plain.npz', x=x, label=label)
//     numpy.savez_compressed('deflated.npz', x=x, label=label)
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/heap.h"
#include "fakes/source_fixture.h"
#include "support.h"

static struct source_fixture fixture;
static unsigned char bytes[4096]; // of a file
static size_t size;

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

// A file of tests/data becomes a.npz.
static void take(const char *name)
{
    char path[4096];
    const char *root = getenv("BATCHMILL_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/tests/data/arrays/%s", root == NULL ? "." : root, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    source_fixture_write(&fixture, "a.npz", bytes, size);
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

static void assert_rows(const uint64_t *items, uint64_t n)
{
    assert_int_equal(source_fixture_read(&fixture, items, n), BM_OK);
    const float *x = source_fixture_values(&fixture, "x");
    const int64_t *label = source_fixture_values(&fixture, "label");
    for (uint64_t row = 0; row < n; row++) {
        assert_int_equal(label[row], items[row] * items[row]);
        for (unsigned c = 0; c < 3; c++)
            assert_true(x[3 * row + c] == (float)(3 * items[row] + c) / 4);
    }
}

static void arrays_of_numpy_are_read_by_their_names(void **state)
{
    (void)state;
    static const char *const files[] = {"plain.npz", "deflated.npz"};
    static const uint64_t items[] = {9, 0, 3, 4, 5, 4};
    uint64_t identities[2];
    for (unsigned i = 0; i < 2; i++) {
        take(files[i]);
        open_ok("npz: {path: a.npz}");
        assert_int_equal(fixture.source->nitems, 10);
        assert_int_equal(fixture.source->schema.ncomponents, 2);
        assert_string_equal(fixture.source->schema.components[0].name, "x");
        assert_int_equal(fixture.source->schema.components[0].shape[0], 3);
        assert_rows(items, 6);
        identities[i] = fixture.source->identity;
    }
    assert_int_equal(identities[0], identities[1]); // the values, however they are kept
}

static void some_arrays_under_other_names(void **state)
{
    (void)state;
    take("plain.npz");
    open_ok("npz: {path: a.npz, components: {y: label}}");
    assert_int_equal(fixture.source->schema.ncomponents, 1);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_int_equal(((const int64_t *)source_fixture_values(&fixture, "y"))[9], 81);
    refuse("npz: {path: a.npz, components: {y: z}}", "components",
           "an array of the file, got \"z\"");
    refuse("npz: {path: b.npz}", "path", "b.npz");
    refuse("npz: {components: {x: x}}", "npz", "path");
    source_fixture_write(&fixture, "t.npz", "no archive, but some text", 25);
    refuse("npz: {path: t.npz}", "t.npz", "its directory is missing at the end");
    source_fixture_write(&fixture, "s.npz", "PK", 2);
    refuse("npz: {path: s.npz}", "s.npz", "it is shorter than one");
}

static void a_broken_member_is_found_by_its_check(void **state)
{
    (void)state;
    take("deflated.npz");
    bytes[110] ^= 0x10; // in the data of x
    source_fixture_write(&fixture, "a.npz", bytes, size);
    refuse("npz: {path: a.npz}", "a.npz", "x.npy whole, got broken data");
}

// Each becomes an error, or an archive with the same rows.
static void every_truncation_and_every_changed_byte_is_survived(void **state)
{
    (void)state;
    static const char *const files[] = {"plain.npz", "deflated.npz"};
    for (unsigned i = 0; i < 2; i++) {
        take(files[i]);
        for (size_t end = 0; end < size; end++) {
            source_fixture_write(&fixture, "cut.npz", bytes, end);
            assert_int_not_equal(source_fixture_open(&fixture, "npz: {path: cut.npz}"), BM_OK);
        }
        for (size_t at = 0; at < size; at++) {
            for (unsigned flip = 1; flip < 256; flip *= 4) {
                bytes[at] ^= (unsigned char)flip;
                source_fixture_write(&fixture, "other.npz", bytes, size);
                if (source_fixture_open(&fixture, "npz: {path: other.npz}") == BM_OK)
                    source_fixture_read_all(&fixture);
                bytes[at] ^= (unsigned char)flip;
            }
        }
    }
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    static const char *const files[] = {"plain.npz", "deflated.npz"};
    for (unsigned i = 0; i < 2; i++) {
        take(files[i]);
        source_fixture_starves(&fixture, "npz: {path: a.npz}");
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(arrays_of_numpy_are_read_by_their_names),
        TEST(some_arrays_under_other_names),
        TEST(a_broken_member_is_found_by_its_check),
        TEST(every_truncation_and_every_changed_byte_is_survived),
        TEST(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("npz", tests, NULL, NULL);
}
