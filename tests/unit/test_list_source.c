// What sources/list.c promises: the files that a text lists, with their labels, or a clear error.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fakes/source_fixture.h"
#include "support.h"

static struct source_fixture fixture;

static int make_fixture(void **state)
{
    (void)state;
    source_fixture_init(&fixture);
    source_fixture_write(&fixture, "a.jpg", "AAA", 3);
    source_fixture_write(&fixture, "b, c.jpg", "BB", 2);
    source_fixture_write(&fixture, "empty", "", 0);
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    source_fixture_fini(&fixture);
    return 0;
}

static void write_list(const char *text)
{
    source_fixture_write(&fixture, "list.txt", text, strlen(text));
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

static void assert_text(const char *component, uint64_t row, const char *expected)
{
    int c = bm_schema_find(&fixture.source->schema, component);
    uint64_t n;
    const unsigned char *at = bm_batch_rows(&fixture.batch, (unsigned)c, row, 1, &n);
    assert_int_equal(n, strlen(expected));
    assert_true(n == 0 || memcmp(at, expected, n) == 0);
}

static int64_t label(uint64_t row)
{
    return ((const int64_t *)source_fixture_values(&fixture, "label"))[row];
}

static void files_come_in_the_order_of_the_text(void **state)
{
    (void)state;
    write_list("b, c.jpg\tdog\r\na.jpg\tcat\n\nempty\tdog\na.jpg\tcat");
    open_ok("list: {path: list.txt}");
    assert_int_equal(fixture.source->nitems, 4);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_text("image", 0, "BB");
    assert_text("name", 0, "b, c.jpg");
    assert_text("image", 2, "");
    assert_text("image", 3, "AAA");
    assert_int_equal(label(0), 1);
    assert_int_equal(label(1), 0);
    const struct bm_component *component = &fixture.source->schema.components[1];
    assert_string_equal(bm_vocabulary_name(component->vocabulary, 1), "dog");
}

static void labels_that_are_numbers_stay_what_they_are(void **state)
{
    (void)state;
    write_list("a.jpg 7\nempty -3\n");
    open_ok("list: {path: list.txt}");
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_int_equal(label(0), 7);
    assert_int_equal(label(1), -3);
    assert_null(fixture.source->schema.components[1].vocabulary);
    write_list("a.jpg,7\nempty,x\n"); // not all of them
    open_ok("list: {path: list.txt, separator: comma}");
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_int_equal(label(0), 0);
    assert_int_equal(label(1), 1);
}

static void without_labels_there_are_none(void **state)
{
    (void)state;
    write_list("b, c.jpg\nempty\n");
    open_ok("list: {path: list.txt, separator: none, component: data}");
    assert_int_equal(fixture.source->schema.ncomponents, 2);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_text("data", 0, "BB");
    write_list("a.jpg\nempty\n");
    open_ok("list: {path: list.txt}");
    assert_int_equal(fixture.source->schema.ncomponents, 2);
}

static void a_file_that_is_not_there_fails_its_item(void **state)
{
    (void)state;
    static const uint64_t there[] = {0, 2}, gone[] = {2, 1};
    write_list("a.jpg\t0\nno.jpg\t1\nempty\t0\n");
    open_ok("list: {path: list.txt}");
    assert_int_equal(source_fixture_read(&fixture, there, 2), BM_OK);
    assert_int_equal(source_fixture_read(&fixture, gone, 2), BM_DATA_LOSS);
    assert_int_equal(fixture.failed_row, 1);
    assert_non_null(strstr(fixture.error.where, "no.jpg"));
}

static void paths_stay_below_the_root(void **state)
{
    (void)state;
    char yaml[256], text[256];
    snprintf(text, sizeof text, "%s/a.jpg\t1\n", fixture.directory);
    write_list(text);
    snprintf(yaml, sizeof yaml, "list: {path: list.txt, root: %s/}", fixture.directory);
    open_ok(yaml);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_text("name", 0, "a.jpg");
    refuse("list: {path: list.txt, root: /usr}", "line 1", "a path below `root`");
    write_list("a.jpg\t1\nx/../../etc/passwd\t1\n");
    refuse("list: {path: list.txt}", "list.txt: line 2", "a path below `root`");
    write_list("..\t1\n");
    refuse("list: {path: list.txt}", "list.txt: line 1", "a path below `root`");
    write_list("a..jpg\n");
    open_ok("list: {path: list.txt}");
}

static void what_is_no_list_is_refused(void **state)
{
    (void)state;
    write_list("\n\n");
    refuse("list: {path: list.txt}", "list.txt", "at least one path");
    write_list("a.jpg\t1\nempty\n");
    refuse("list: {path: list.txt}", "list.txt: line 2", "a path and a label");
    source_fixture_write(&fixture, "list.txt", "a\0b\n", 4);
    refuse("list: {path: list.txt}", "list.txt: line 1", "text");
    write_list("\xff\t1\n");
    refuse("list: {path: list.txt}", "list.txt: line 1", "UTF-8");
    refuse("list: {path: no.txt}", "path", "no.txt");
    refuse("list: {path: list.txt, root: nowhere}", "root", "nowhere");
}

static void labels_are_part_of_the_identity(void **state)
{
    (void)state;
    write_list("a.jpg\t1\n");
    open_ok("list: {path: list.txt}");
    uint64_t identity = fixture.source->identity;
    write_list("a.jpg\t2\n");
    open_ok("list: {path: list.txt}");
    assert_int_not_equal(fixture.source->identity, identity);
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    write_list("a.jpg\tdog\nempty\tcat\n");
    source_fixture_starves(&fixture, "list: {path: list.txt}");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(files_come_in_the_order_of_the_text),
        TEST(labels_that_are_numbers_stay_what_they_are),
        TEST(without_labels_there_are_none),
        TEST(a_file_that_is_not_there_fails_its_item),
        TEST(paths_stay_below_the_root),
        TEST(what_is_no_list_is_refused),
        TEST(labels_are_part_of_the_identity),
        TEST(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("list source", tests, NULL, NULL);
}
