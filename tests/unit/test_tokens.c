// What sources/tokens.c promises: exactly the windows that arithmetic says.
#include <string.h>

#include "fakes/heap.h"
#include "fakes/source_fixture.h"
#include "support.h"

static struct source_fixture fixture;

static int make_fixture(void **state)
{
    (void)state;
    source_fixture_init(&fixture);
    uint16_t tokens[20];
    for (unsigned i = 0; i < 20; i++)
        tokens[i] = (uint16_t)(60000 + i);
    source_fixture_write(&fixture, "a.bin", tokens, 10 * sizeof tokens[0]);
    source_fixture_write(&fixture, "b.bin", tokens + 10, 2 * sizeof tokens[0]);
    source_fixture_write(&fixture, "c.bin", tokens + 12, 5 * sizeof tokens[0]);
    source_fixture_write(&fixture, "odd.bin", tokens, 5);
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    bm_fake_heap_fail_never();
    source_fixture_fini(&fixture);
    return 0;
}

static void open_ok(const char *yaml)
{
    if (source_fixture_open(&fixture, yaml) != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
}

static void refuse(const char *yaml, const char *where, const char *expectation)
{
    assert_int_not_equal(source_fixture_open(&fixture, yaml), BM_OK);
    if (strstr(fixture.error.where, where) == NULL ||
        strstr(fixture.error.text, expectation) == NULL)
        fail_msg("expected \"%s\": \"%s\", got \"%s\": \"%s\"", where, expectation,
                 fixture.error.where, fixture.error.text);
}

static void assert_windows(const char *component, const uint16_t *starts, uint64_t n,
                           unsigned length)
{
    assert_int_equal(fixture.batch.nitems, n);
    const uint16_t *values = source_fixture_values(&fixture, component);
    for (uint64_t row = 0; row < n; row++) {
        for (unsigned i = 0; i < length; i++)
            assert_int_equal(values[row * length + i], 60000 + starts[row] + i);
    }
}

static void windows_do_not_overlap_unless_the_stride_says_so(void **state)
{
    (void)state;
    open_ok("tokens: {path: a.bin, length: 3}");
    assert_windows("tokens", (uint16_t[]){0, 3, 6}, 3, 3);
    open_ok("tokens: {path: a.bin, length: 3, stride: 2}");
    assert_windows("tokens", (uint16_t[]){0, 2, 4, 6}, 4, 3);
    open_ok("tokens: {path: a.bin, length: 4, stride: 1}");
    assert_windows("tokens", (uint16_t[]){0, 1, 2, 3, 4, 5, 6}, 7, 4);
    open_ok("tokens: {path: a.bin, length: 10}");
    assert_windows("tokens", (uint16_t[]){0}, 1, 10);
    open_ok("tokens: {path: a.bin, length: 1, stride: 9}");
    assert_windows("tokens", (uint16_t[]){0, 9}, 2, 1);
    assert_int_equal(fixture.source->schema.ncomponents, 1);
}

static void targets_are_one_token_further_on(void **state)
{
    (void)state;
    open_ok("tokens: {path: a.bin, length: 3, targets: true}");
    assert_windows("tokens", (uint16_t[]){0, 3, 6}, 3, 3);
    assert_windows("targets", (uint16_t[]){1, 4, 7}, 3, 3);
    open_ok("tokens: {path: a.bin, length: 5, targets: true}"); // a second one has no last target
    assert_windows("targets", (uint16_t[]){1}, 1, 5);
    open_ok("tokens: {path: a.bin, length: 1, targets: true}");
    assert_windows("targets", (uint16_t[]){1, 2, 3, 4, 5, 6, 7, 8, 9}, 9, 1);
}

static void no_window_reaches_from_one_file_into_the_next(void **state)
{
    (void)state;
    open_ok("tokens: {path: [b.bin, a.bin, b.bin, c.bin, b.bin], length: 4}");
    assert_windows("tokens", (uint16_t[]){0, 4, 12}, 3, 4);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){2, 0, 2, 1}, 4), BM_OK);
    assert_windows("tokens", (uint16_t[]){12, 0, 12, 4}, 4, 4);
}

static void tokens_may_have_32_bits(void **state)
{
    (void)state;
    static const uint32_t tokens[] = {1, 100000, 4294967295, 7};
    source_fixture_write(&fixture, "d.bin", tokens, sizeof tokens);
    open_ok("tokens: {path: d.bin, length: 2, dtype: uint32}");
    assert_int_equal(fixture.batch.nitems, 2);
    assert_memory_equal(source_fixture_values(&fixture, "tokens"), tokens, sizeof tokens);
}

static void what_makes_no_window_is_an_error(void **state)
{
    (void)state;
    refuse("tokens: {path: a.bin, length: 11}", "path", "a file of at least 11 tokens");
    refuse("tokens: {path: a.bin, length: 10, targets: true}", "path", "at least 11 tokens");
    refuse("tokens: {path: [a.bin, odd.bin], length: 2}", "odd.bin", "no whole number");
    refuse("tokens: {path: [a.bin, none.bin], length: 2}", "path", "none.bin");
    refuse("tokens: {path: a.bin, length: 2, dtype: int16}", "dtype", "uint16 or uint32");
    refuse("tokens: {path: a.bin, length: 0}", "length", "");
    refuse("tokens: {path: a.bin, length: 2, stride: -1}", "stride", "");
    refuse("tokens: {path: a.bin}", "", "length");
}

static void the_identity_is_of_tokens_and_windows(void **state)
{
    (void)state;
    static const char *const yamls[] = {
        "tokens: {path: a.bin, length: 3}", "tokens: {path: a.bin, length: 3, stride: 2}",
        "tokens: {path: a.bin, length: 2}", "tokens: {path: a.bin, length: 3, targets: true}",
        "tokens: {path: c.bin, length: 3}", "tokens: {path: a.bin, length: 3, id: x}",
    };
    uint64_t identities[6];
    for (unsigned i = 0; i < 6; i++) {
        open_ok(yamls[i]);
        identities[i] = fixture.source->identity;
        for (unsigned j = 0; j < i; j++)
            assert_true(identities[i] != identities[j]);
    }
    open_ok("tokens: {path: a.bin, length: 3, stride: 3}"); // the same windows
    assert_true(fixture.source->identity == identities[0]);
}

static void a_file_that_becomes_shorter_is_an_error_of_its_item(void **state)
{
    (void)state;
    open_ok("tokens: {path: a.bin, length: 3}");
    source_fixture_write(&fixture, "a.bin", "0123456789", 10);
    assert_int_equal(source_fixture_read_all(&fixture), BM_DATA_LOSS);
    assert_int_equal(fixture.failed_row, 1);
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    struct bm_source *source = NULL;
    open_ok("tokens: {path: a.bin, length: 3}");
    const struct bm_source_type *type = fixture.source->type;
    struct { // the same without the parser of the configuration
        struct bm_texts path;
        enum bm_dtype dtype;
        int64_t length, stride;
        bool targets;
        char *id;
    } config = {.path = {.n = 1, .values = (char *[]){(char[]){"a.bin"}}},
                .dtype = BM_UINT16,
                .length = 3,
                .targets = true};
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
        TEST(windows_do_not_overlap_unless_the_stride_says_so),
        TEST(targets_are_one_token_further_on),
        TEST(no_window_reaches_from_one_file_into_the_next),
        TEST(tokens_may_have_32_bits),
        TEST(what_makes_no_window_is_an_error),
        TEST(the_identity_is_of_tokens_and_windows),
        TEST(a_file_that_becomes_shorter_is_an_error_of_its_item),
        TEST(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
