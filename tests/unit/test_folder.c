// What sources/folder.c promises: the files of a tree as items, the same everywhere, and a clear
// word about what cannot be read.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fakes/heap.h"
#include "fakes/source_fixture.h"
#include "server/config.h"
#include "support.h"

static struct source_fixture fixture;

static void write_file(const char *name, const char *text)
{
    source_fixture_write(&fixture, name, text, strlen(text));
}

static void make_folder(const char *name)
{
    assert_int_equal(mkdir(source_fixture_path(&fixture, name), 0777), 0);
}

// Two classes; the order on disk is not that of the names.
static int make_fixture(void **state)
{
    (void)state;
    source_fixture_init(&fixture);
    make_folder("dog");
    make_folder("cat");
    make_folder("cat/old");
    write_file("dog/b.JPG", "dog b");
    write_file("cat/z.jpeg", "cat z");
    write_file("cat/old/a.png", "");
    write_file("dog/a.jpg", "dog a, longer");
    write_file("dog/readme.txt", "not an item");
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    source_fixture_fini(&fixture);
    return 0;
}

static void open_ok(const char *yaml)
{
    if (source_fixture_open(&fixture, yaml) != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
}

static void refuse(const char *yaml, enum bm_status status, const char *where,
                   const char *expectation)
{
    assert_int_equal(source_fixture_open(&fixture, yaml), status);
    if (strstr(fixture.error.where, where) == NULL ||
        strstr(fixture.error.text, expectation) == NULL)
        fail_msg("expected \"%s\": \"%s\", got \"%s\": \"%s\"", where, expectation,
                 fixture.error.where, fixture.error.text);
}

static void assert_text(const char *component, uint64_t row, const char *expected)
{
    int c = bm_schema_find(fixture.batch.schema, component);
    uint64_t n;
    const unsigned char *text = bm_batch_rows(&fixture.batch, (unsigned)c, row, 1, &n);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(text, expected, n);
}

static void files_come_by_name_with_the_number_of_their_subfolder(void **state)
{
    (void)state;
    open_ok("folder: {path: .}");
    assert_int_equal(fixture.source->nitems, 4);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){3, 0, 1, 2}, 4), BM_OK);
    assert_text("name", 0, "dog/b.JPG");
    assert_text("image", 0, "dog b");
    assert_text("name", 1, "cat/old/a.png");
    assert_text("image", 1, "");
    assert_text("image", 2, "cat z");
    assert_text("image", 3, "dog a, longer");
    const int64_t labels[] = {1, 0, 0, 1};
    assert_memory_equal(source_fixture_values(&fixture, "label"), labels, sizeof labels);
    const struct bm_vocabulary *classes = fixture.source->schema.components[1].vocabulary;
    assert_int_equal(bm_vocabulary_count(classes), 2);
    assert_string_equal(bm_vocabulary_name(classes, 0), "cat");
    assert_string_equal(bm_vocabulary_name(classes, 1), "dog");
}

static void classes_are_in_the_order_of_their_names(void **state)
{
    (void)state;
    make_folder("cat-big"); // "cat-big/x" comes before "cat/x"
    write_file("cat-big/x.jpg", "x");
    open_ok("folder: {path: .}");
    const struct bm_vocabulary *classes = fixture.source->schema.components[1].vocabulary;
    assert_string_equal(bm_vocabulary_name(classes, 0), "cat");
    assert_string_equal(bm_vocabulary_name(classes, 1), "cat-big");
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){0, 1}, 2), BM_OK);
    assert_text("name", 0, "cat-big/x.jpg");
    assert_int_equal(((const int64_t *)source_fixture_values(&fixture, "label"))[0], 1);
    assert_int_equal(((const int64_t *)source_fixture_values(&fixture, "label"))[1], 0);
}

static void the_ends_of_names_and_the_component_can_be_chosen(void **state)
{
    (void)state;
    write_file("top.TXT", "top");
    open_ok("folder: {path: ., extensions: [.txt], component: text, classes: none}");
    assert_int_equal(fixture.source->nitems, 2);
    assert_int_equal(fixture.source->schema.ncomponents, 2);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){1, 0}, 2), BM_OK);
    assert_text("text", 0, "top");
    assert_text("name", 0, "top.TXT");
    assert_text("text", 1, "not an item");
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    refuse("folder: {path: nowhere}", BM_NOT_FOUND, "path", "cannot open the folder");
    refuse("folder: {path: dog/a.jpg}", BM_INVALID_ARGUMENT, "path", "cannot open the folder");
    refuse("folder: {path: dog, extensions: webp}", BM_INVALID_ARGUMENT, "path",
           "expected at least one file whose name ends in one of `extensions`");
    refuse("folder: {path: dog}", BM_INVALID_ARGUMENT, "a.jpg",
           "expected every file in a subfolder of its class");
}

static void links_are_followed_but_not_in_a_circle(void **state)
{
    (void)state;
    char to[128];
    strcpy(to, source_fixture_path(&fixture, "dog"));
    make_folder("fox");
    assert_int_equal(symlink(to, source_fixture_path(&fixture, "fox/more")), 0);
    open_ok("folder: {path: .}");
    assert_int_equal(fixture.source->nitems, 6); // dog's two, once more as fox's
    refuse("folder: {path: ., follow_links: false}", BM_INVALID_ARGUMENT, "fox/more",
           "expected no symbolic link");
    assert_int_equal(symlink("..", source_fixture_path(&fixture, "fox/round")), 0);
    refuse("folder: {path: .}", BM_INVALID_ARGUMENT, "fox/round", "leads back to");
    unlink(source_fixture_path(&fixture, "fox/round"));
    assert_int_equal(symlink("gone", source_fixture_path(&fixture, "fox/c.jpg")), 0);
    refuse("folder: {path: .}", BM_NOT_FOUND, "fox/c.jpg", "is a link to nothing");
}

static void a_file_that_changed_or_went_is_an_error_of_its_item(void **state)
{
    (void)state;
    open_ok("folder: {path: .}");
    write_file("dog/a.jpg", "shorter");
    unlink(source_fixture_path(&fixture, "dog/b.JPG"));
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){1, 2, 0}, 3), BM_DATA_LOSS);
    assert_int_equal(fixture.failed_row, 1);
    assert_string_equal(fixture.error.where, "dog/a.jpg");
    assert_string_equal(fixture.error.text,
                        "expected a file of 13 bytes, as when it was found, got 7 bytes");
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){3}, 1), BM_DATA_LOSS);
    assert_string_equal(fixture.error.where, "dog/b.JPG");
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){1, 0}, 2), BM_OK);
}

static void a_pipe_in_the_place_of_a_file_hangs_nobody(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(source_fixture_path(&fixture, "dog/p.jpg"), 0600), 0);
    open_ok("folder: {path: .}");
    assert_int_equal(fixture.source->nitems, 4); // no item
    unlink(source_fixture_path(&fixture, "cat/z.jpeg"));
    assert_int_equal(mkfifo(source_fixture_path(&fixture, "cat/z.jpeg"), 0600), 0);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){1}, 1), BM_DATA_LOSS);
    assert_non_null(strstr(fixture.error.text, "something else"));
}

static void the_identity_is_that_of_the_data_and_not_of_the_place(void **state)
{
    (void)state;
    open_ok("folder: {path: .}");
    uint64_t names = fixture.source->identity;
    open_ok("folder: {path: ., identity: contents}");
    uint64_t contents = fixture.source->identity;
    assert_int_not_equal(names, contents);
    write_file("dog/b.JPG", "dog B"); // the same size
    open_ok("folder: {path: .}");
    assert_int_equal(fixture.source->identity, names);
    open_ok("folder: {path: ., identity: contents}");
    assert_int_not_equal(fixture.source->identity, contents);
    write_file("dog/b.JPG", "dog bb");
    open_ok("folder: {path: .}");
    assert_int_not_equal(fixture.source->identity, names);
}

static void every_failed_allocation_is_told(void **state)
{
    (void)state;
    static const char yaml[] = "folder: {path: .}";
    struct bm_value *definition = NULL;
    assert_int_equal(bm_yaml_parse(yaml, strlen(yaml), "t", &definition, &fixture.error), BM_OK);
    bool failed;
    uint64_t n = 0;
    do {
        struct bm_source_ref *ref = NULL;
        bm_fake_heap_fail_at(++n);
        enum bm_status status = bm_source_open(fixture.registry, "t", definition, fixture.directory,
                                               &ref, &fixture.error);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        bm_source_unref(ref);
    } while (failed);
    assert_true(n > 10);
    bm_value_free(definition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
        TEST(files_come_by_name_with_the_number_of_their_subfolder),
        TEST(classes_are_in_the_order_of_their_names),
        TEST(the_ends_of_names_and_the_component_can_be_chosen),
        TEST(what_makes_no_sense_is_refused),
        TEST(links_are_followed_but_not_in_a_circle),
        TEST(a_file_that_changed_or_went_is_an_error_of_its_item),
        TEST(a_pipe_in_the_place_of_a_file_hangs_nobody),
        TEST(the_identity_is_that_of_the_data_and_not_of_the_place),
        TEST(every_failed_allocation_is_told),
    };
    return cmocka_run_group_tests_name("folder", tests, NULL, NULL);
}
