// What sources/idx.c promises: the files of MNIST as they are, also gzipped.
#include <string.h>

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
    source_fixture_fini(&fixture);
    return 0;
}

// Two images of 2 x 3 pixels, and their labels.
static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2,  0,  0,
                                       0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 7, 3};

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

static void images_and_labels_come_together(void **state)
{
    (void)state;
    source_fixture_write(&fixture, "images", images, sizeof images);
    source_fixture_write(&fixture, "labels", labels, sizeof labels);
    open_ok("idx: {components: {image: images, label: labels}}");
    assert_int_equal(fixture.source->nitems, 2);
    const struct bm_component *image = &fixture.source->schema.components[0];
    assert_int_equal(image->dtype, BM_UINT8);
    assert_int_equal(image->ndim, 2);
    assert_int_equal(image->shape[0], 2);
    assert_int_equal(image->shape[1], 3);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){1, 0}, 2), BM_OK);
    const unsigned char expected[] = {7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6};
    assert_memory_equal(source_fixture_values(&fixture, "image"), expected, sizeof expected);
    assert_memory_equal(source_fixture_values(&fixture, "label"), "\3\7", 2);
}

static void big_endian_numbers_are_turned_around(void **state)
{
    (void)state;
    static const struct {
        unsigned char type;
        enum bm_dtype dtype;
        size_t size;
        unsigned char bytes[16], expected[16];
    } cases[] = {
        {0x08, BM_UINT8, 1, {1, 255}, {1, 255}},
        {0x09, BM_INT8, 1, {1, 255}, {1, 255}},
        {0x0b, BM_INT16, 2, {1, 2, 0xff, 0xfe}, {2, 1, 0xfe, 0xff}},
        {0x0c, BM_INT32, 4, {1, 2, 3, 4, 5, 6, 7, 8}, {4, 3, 2, 1, 8, 7, 6, 5}},
        {0x0d, BM_FLOAT32, 4, {0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0}, {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
        {0x0e,
         BM_FLOAT64,
         8,
         {0x3f, 0xf0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
         {1, 0, 0, 0, 0, 0, 0xf0, 0x3f, 9, 8, 7, 6, 5, 4, 3, 2}},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char bytes[8 + 16] = {0, 0, cases[i].type, 1, 0, 0, 0, 2};
        memcpy(bytes + 8, cases[i].bytes, 16);
        source_fixture_write(&fixture, "a", bytes, 8 + 2 * cases[i].size);
        open_ok("idx: {path: a, component: v}");
        assert_int_equal(fixture.source->schema.components[0].dtype, cases[i].dtype);
        assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
        assert_memory_equal(source_fixture_values(&fixture, "v"), cases[i].expected,
                            2 * cases[i].size);
    }
}

// gzip.compress() of Python, of `labels` above.
static const unsigned char labels_gz[] = {
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x63, 0x60, 0xe0, 0x60, 0x64,
    0x60, 0x60, 0x60, 0x62, 0x67, 0x06, 0x00, 0x64, 0x6b, 0xd4, 0x43, 0x0a, 0x00, 0x00, 0x00};

static void a_gzipped_file_is_the_same_source(void **state)
{
    (void)state;
    source_fixture_write(&fixture, "labels", labels, sizeof labels);
    source_fixture_write(&fixture, "labels.gz", labels_gz, sizeof labels_gz);
    open_ok("idx: {path: labels}");
    uint64_t identity = fixture.source->identity;
    open_ok("idx: {path: labels.gz}");
    assert_true(fixture.source->identity == identity);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){1, 0}, 2), BM_OK);
    assert_memory_equal(source_fixture_values(&fixture, "x"), "\3\7", 2);
    for (size_t cut = 2; cut < sizeof labels_gz; cut++) {
        source_fixture_write(&fixture, "labels.gz", labels_gz, cut);
        refuse("idx: {path: labels.gz}", "labels.gz", "expected");
    }
}

static void headers_that_mean_something_else_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        unsigned char bytes[20];
        size_t size;
        const char *expected;
    } bad[] = {
        {{0}, 0, "fewer than 4 bytes"},
        {{0, 0, 8}, 3, "fewer than 4 bytes"},
        {{1, 0, 8, 1, 0, 0, 0, 0}, 8, "other bytes"},
        {{0, 0, 0x0a, 1, 0, 0, 0, 0}, 8, "got 0a"},
        {{0, 0, 8, 0, 1}, 5, "at least 1 axis"},
        {{0, 0, 8, 255, 0, 0, 0, 1}, 20, "a header of 1024 bytes"},
        {{0, 0, 8, 1, 0, 0, 0, 1}, 8, "9 bytes by its header, got 8"},
        {{0, 0, 8, 1, 0, 0, 0, 1}, 10, "9 bytes by its header, got 10"},
        {{0, 0, 8, 1, 0xff, 0xff, 0xff, 0xff}, 8, "4294967303 bytes by its header"},
        {{0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 0}, 12, "length 0"},
        {{0, 0, 0x0e, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
         16,
         "63 bits"},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        source_fixture_write(&fixture, "a", bad[i].bytes, bad[i].size);
        refuse("idx: {path: a}", "a", bad[i].expected);
    }
    unsigned char deep[4 + 4 * 255] = {0, 0, 8, 255};
    source_fixture_write(&fixture, "a", deep, sizeof deep);
    refuse("idx: {path: a}", "a", "at most 17 axes");
}

static void every_truncation_is_an_error(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < sizeof images; cut++) {
        source_fixture_write(&fixture, "a", images, cut);
        refuse("idx: {path: a}", "a", "expected");
    }
}

static void every_changed_byte_is_survived(void **state)
{
    (void)state;
    for (size_t at = 0; at < sizeof images; at++) {
        for (unsigned value = 0; value < 256; value++) {
            unsigned char bytes[sizeof images];
            memcpy(bytes, images, sizeof bytes);
            bytes[at] = (unsigned char)value;
            source_fixture_write(&fixture, "a", bytes, sizeof bytes);
            if (source_fixture_open(&fixture, "idx: {path: a}") == BM_OK)
                assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
            else
                assert_true(at < 16); // pixels may be anything
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(images_and_labels_come_together),
        TEST(big_endian_numbers_are_turned_around),
        TEST(a_gzipped_file_is_the_same_source),
        TEST(headers_that_mean_something_else_are_refused_with_the_reason),
        TEST(every_truncation_is_an_error),
        TEST(every_changed_byte_is_survived),
    };
    return cmocka_run_group_tests_name("idx", tests, NULL, NULL);
}
