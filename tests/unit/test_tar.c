// What sources/tar.c promises: samples of WebDataset's shards, each from where it lies.
#include <stdio.h>
#include <string.h>

#include "fakes/heap.h"
#include "fakes/source_fixture.h"
#include "server/config.h"
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

// ---- A tar ----

static unsigned char tar[1 << 16];
static size_t tar_size;

static void head_sign(unsigned char *head)
{
    unsigned sum = 0;
    memset(head + 148, ' ', 8);
    for (unsigned i = 0; i < 512; i++)
        sum += head[i];
    snprintf((char *)head + 148, 8, "%06o", sum);
}

static unsigned char *add_typed(const char *name, char type, const char *data, size_t size)
{
    unsigned char *head = tar + tar_size;
    memset(head, 0, 512);
    memcpy(head, name, strlen(name));
    snprintf((char *)head + 124, 12, "%011o", (unsigned)size);
    head[156] = (unsigned char)type;
    memcpy(head + 257, "ustar", 6);
    head_sign(head);
    memcpy(head + 512, data, size);
    memset(head + 512 + size, 0, (512 - size % 512) % 512);
    tar_size += 512 + (size + 511) / 512 * 512;
    return head;
}

static void add(const char *name, const char *data)
{
    add_typed(name, '0', data, strlen(data));
}

static void add_sample(const char *key, const char *image, const char *label)
{
    char name[128];
    snprintf(name, sizeof name, "%s.jpg", key);
    add(name, image);
    snprintf(name, sizeof name, "%s.cls", key);
    add(name, label);
}

static void finish(const char *name)
{
    memset(tar + tar_size, 0, 1024);
    source_fixture_write(&fixture, name, tar, tar_size + 1024);
    tar_size = 0;
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
    int c = bm_schema_find(fixture.batch.schema, component);
    uint64_t n;
    const unsigned char *text = bm_batch_rows(&fixture.batch, (unsigned)c, row, 1, &n);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(text, expected, n);
}

// ---- What it reads ----

static void samples_of_all_shards_come_in_order_and_at_random(void **state)
{
    (void)state;
    add("a/", ""); // whatever comes between
    add_sample("a/one", "first", "3");
    add("a/readme", "nothing");
    add_sample("a/two", "", " -4\n");
    finish("s0.tar");
    add("b.cls", "5");
    add("b.JPEG", "third");
    add("b.json", "{}");
    finish("s1.tar");
    open_ok("tar: {paths: [s0.tar, s1.tar]}");
    assert_int_equal(fixture.source->nitems, 3);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){2, 0, 1}, 3), BM_OK);
    assert_text("key", 0, "b");
    assert_text("image", 0, "third");
    assert_text("key", 1, "a/one");
    assert_text("image", 1, "first");
    assert_text("image", 2, "");
    const int64_t labels[] = {5, 3, -4};
    assert_memory_equal(source_fixture_values(&fixture, "label"), labels, sizeof labels);
}

static void components_and_endings_can_be_chosen(void **state)
{
    (void)state;
    add("1.left.png", "l");
    add("1.right.png", "r");
    add("1.caption.txt", "ein Bär");
    finish("s.tar");
    open_ok("tar: {paths: s.tar, components: {a: left.png, b: right.png, text: caption.txt}}");
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_text("a", 0, "l");
    assert_text("b", 0, "r");
    assert_text("text", 0, "ein Bär");
    assert_int_equal(fixture.source->schema.components[2].dtype, BM_STRING);
}

static void long_names_are_read_in_the_ways_of_gnu_and_pax(void **state)
{
    (void)state;
    char name[300], record[400];
    memset(name, 'n', 200);
    strcpy(name + 200, "/1.jpg");
    add_typed("././@LongLink", 'L', name, strlen(name) + 1);
    add("cut-off.jpg", "gnu");
    strcpy(name + 203, "cls");
    size_t size = 4 + 5 + strlen(name) + 1; // "NNN path=...\n"
    snprintf(record, sizeof record, "%zu path=%s\n", size, name);
    add_typed("pax", 'x', record, size);
    add("cut-off.cls", "7");
    finish("s.tar");
    open_ok("tar: {paths: s.tar}");
    assert_int_equal(fixture.source->nitems, 1);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_text("image", 0, "gnu");
    name[202] = '\0';
    assert_text("key", 0, name);
}

// ---- What it refuses ----

static void a_tar_that_is_cut_off_or_damaged_is_named_with_the_byte(void **state)
{
    (void)state;
    add_sample("x", "picture", "1");
    size_t whole = tar_size;
    finish("s.tar");
    source_fixture_write(&fixture, "cut.tar", tar, whole - 600);
    refuse("tar: {paths: cut.tar}", "cut.tar: byte 1024", "the tar is cut off");
    source_fixture_write(&fixture, "cut.tar", tar, 700);
    refuse("tar: {paths: cut.tar}", "cut.tar: byte 1024", "the tar is cut off");
    tar[3] ^= 1;
    source_fixture_write(&fixture, "bad.tar", tar, whole);
    refuse("tar: {paths: bad.tar}", "bad.tar: byte 0", "expected the head of a file in a tar");
}

static void samples_that_are_not_whole_are_refused(void **state)
{
    (void)state;
    add("1.jpg", "a");
    add("2.jpg", "b");
    finish("s.tar");
    refuse("tar: {paths: s.tar}", "s.tar: 1", "there is none of cls");
    add("1.jpg", "a");
    add("1.png", "b");
    add("1.cls", "0");
    finish("s.tar");
    refuse("tar: {paths: s.tar}", "s.tar: 1", "got two of image");
    refuse("tar: {paths: s.tar, components: {image: ''}}", "components", "expected name: ending");
    refuse("tar: {paths: gone.tar}", "paths", "cannot open");
    add("\xff.jpg", "a");
    add("\xff.cls", "1");
    finish("s.tar");
    refuse("tar: {paths: s.tar}", "s.tar", "expected names in UTF-8");
}

static void a_label_that_is_no_number_fails_its_item(void **state)
{
    (void)state;
    add_sample("1", "a", "3");
    add_sample("2", "b", "three");
    finish("s.tar");
    open_ok("tar: {paths: s.tar}");
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){0, 1}, 2), BM_INVALID_ARGUMENT);
    assert_int_equal(fixture.failed_row, 1);
    assert_string_equal(fixture.error.where, "2");
    assert_string_equal(fixture.error.text, "expected a whole number in its cls, got \"three\"");
}

static void every_failed_allocation_is_told(void **state)
{
    (void)state;
    add_sample("1", "a", "3");
    add_sample("2", "b", "4");
    finish("s.tar");
    static const char yaml[] = "tar: {paths: s.tar}";
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
        TEST(samples_of_all_shards_come_in_order_and_at_random),
        TEST(components_and_endings_can_be_chosen),
        TEST(long_names_are_read_in_the_ways_of_gnu_and_pax),
        TEST(a_tar_that_is_cut_off_or_damaged_is_named_with_the_byte),
        TEST(samples_that_are_not_whole_are_refused),
        TEST(a_label_that_is_no_number_fails_its_item),
        TEST(every_failed_allocation_is_told),
    };
    return cmocka_run_group_tests_name("tar", tests, NULL, NULL);
}
