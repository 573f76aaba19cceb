// What sources/text.c promises: every line, in any order, without its end.
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

static void open_text(const char *text, size_t size, const char *parameters)
{
    char yaml[256];
    source_fixture_write(&fixture, "a.txt", text, size);
    snprintf(yaml, sizeof yaml, "text: {path: a.txt%s}", parameters);
    if (source_fixture_open(&fixture, yaml) != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
}

static void assert_line(uint64_t row, const char *expected)
{
    const struct bm_tensor *tensor = &fixture.batch.tensors[0];
    uint64_t size = tensor->offsets[row + 1] - tensor->offsets[row];
    assert_int_equal(size, strlen(expected));
    assert_true(size == 0 || memcmp(tensor->data + tensor->offsets[row], expected, size) == 0);
}

static void refuse(const char *text, const char *parameters, const char *where,
                   const char *expectation)
{
    char yaml[256];
    source_fixture_write(&fixture, "a.txt", text, strlen(text));
    snprintf(yaml, sizeof yaml, "text: {path: a.txt%s}", parameters);
    assert_int_not_equal(source_fixture_open(&fixture, yaml), BM_OK);
    if (strstr(fixture.error.where, where) == NULL ||
        strstr(fixture.error.text, expectation) == NULL)
        fail_msg("expected \"%s\": \"%s\", got \"%s\": \"%s\"", where, expectation,
                 fixture.error.where, fixture.error.text);
}

static void lines_come_without_their_ends_and_empty_ones_count(void **state)
{
    (void)state;
    static const char text[] = "one\n\r\n\ntwo\r\n\rthree\r\r\nfour";
    open_text(text, sizeof text - 1, "");
    assert_int_equal(fixture.source->nitems, 6);
    static const char *const expected[] = {"one", "", "", "two", "\rthree\r", "four"};
    for (uint64_t i = 0; i < 6; i++)
        assert_line(i, expected[i]);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){5, 3, 5}, 3), BM_OK);
    assert_line(0, "four");
    assert_line(1, "two");
    assert_line(2, "four");
}

static void the_last_line_end_makes_no_further_line(void **state)
{
    (void)state;
    open_text("a\n", 2, "");
    assert_int_equal(fixture.source->nitems, 1);
    open_text("", 0, ", component: line");
    assert_int_equal(fixture.source->nitems, 0);
    assert_string_equal(fixture.source->schema.components[0].name, "line");
    open_text("\n", 1, "");
    assert_int_equal(fixture.source->nitems, 1);
    assert_line(0, "");
}

static void a_line_end_may_lie_across_what_is_read_at_once(void **state)
{
    (void)state;
    enum { PIECE = 1 << 20 };
    static char text[PIECE + 3];
    memset(text, 'x', sizeof text);
    // Bytes with a length, no strings: NOLINTBEGIN(bugprone-not-null-terminated-result)
    memcpy(text + PIECE - 4, "\n\xc3\xa9\r\n\xe2\x82", 7); // CR | LF, then half a character
    text[PIECE - 1] = '\r';
    memcpy(text + PIECE, "\ny", 2);
    open_text(text, PIECE + 2, "");
    assert_int_equal(fixture.source->nitems, 3);
    assert_line(1, "\xc3\xa9");
    assert_line(2, "y");
    memcpy(text + PIECE - 1, "\xe2\x82\xac", 3);
    open_text(text, PIECE + 2, "");
    assert_line(1, "\xc3\xa9\xe2\x82\xac");
    // NOLINTEND(bugprone-not-null-terminated-result)
}

static void strings_are_utf8_and_bytes_are_any(void **state)
{
    (void)state;
    static const char *const bad[] = {"a\n\xff",        "a\n\xc0\xaf\n",       "a\n\xed\xa0\x80\n",
                                      "a\n\xe2\x82\nb", "a\n\xf4\x90\x80\x80", "a\n\xe2\x82"};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refuse(bad[i], "", "a.txt: line 2", "expected UTF-8 text");
        open_text(bad[i], strlen(bad[i]), ", dtype: bytes");
        assert_line(0, "a");
    }
    refuse("a", ", dtype: int8", "dtype", "string or bytes, got int8");
    refuse("a", ", paths: 1", "paths", "");
}

static void the_real_sonnets_have_their_lines(void **state)
{
    (void)state;
    const char *folder = getenv("BATCHMILL_SOURCE_DIR");
    if (source_fixture_open_in(&fixture, folder == NULL ? "." : folder,
                               "text: {path: examples/text/sonnets.txt}") != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
    assert_int_equal(fixture.source->nitems, 44); // of three sonnets, and two empty ones
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){43, 14, 0}, 3), BM_OK);
    assert_line(0, "I never writ, nor no man ever loved.");
    assert_line(1, "");
    assert_line(2, "Shall I compare thee to a summer's day?");
}

static void the_identity_is_of_the_lines_or_the_given_id(void **state)
{
    (void)state;
    open_text("a\nb\n", 4, "");
    uint64_t identity = fixture.source->identity;
    open_text("a\nb\n", 4, "");
    assert_true(fixture.source->identity == identity);
    open_text("a\nc\n", 4, "");
    assert_true(fixture.source->identity != identity);
    open_text("a\nb\n", 4, ", id: one");
    identity = fixture.source->identity;
    open_text("a\nc\n", 4, ", id: one");
    assert_true(fixture.source->identity == identity);
    open_text("a\nc\n", 4, ", id: two");
    assert_true(fixture.source->identity != identity);
}

static void a_file_that_becomes_shorter_is_an_error_of_its_item(void **state)
{
    (void)state;
    open_text("one\ntwo\n", 8, "");
    source_fixture_write(&fixture, "a.txt", "one\n", 4);
    assert_int_equal(source_fixture_read_all(&fixture), BM_DATA_LOSS);
    assert_int_equal(fixture.failed_row, 1);
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    struct bm_source *source = NULL;
    source_fixture_write(&fixture, "a.txt", "one\ntwo", 7);
    assert_int_equal(source_fixture_open(&fixture, "text: {path: a.txt}"), BM_OK);
    const struct bm_source_type *type = fixture.source->type;
    struct { // the same without the parser of the configuration
        char *path, *component;
        enum bm_dtype dtype;
        char *id;
    } config = {.path = (char[]){"a.txt"}, .component = (char[]){"text"}, .dtype = BM_STRING};
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
    assert_true(n > 5);
    type->close(source);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_come_without_their_ends_and_empty_ones_count),
        TEST(the_last_line_end_makes_no_further_line),
        TEST(a_line_end_may_lie_across_what_is_read_at_once),
        TEST(strings_are_utf8_and_bytes_are_any),
        TEST(the_real_sonnets_have_their_lines),
        TEST(the_identity_is_of_the_lines_or_the_given_id),
        TEST(a_file_that_becomes_shorter_is_an_error_of_its_item),
        TEST(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
