// What sources/zstd.c promises: all frames, or an error, whatever the bytes.
#include <string.h>

#include <zstd.h>

#include "fakes/heap.h"
#include "fakes/source_fixture.h"
#include "sources/zstd.h"
#include "support.h"

static const char text[] = "one\ntwo\nthree\nthree\nthree\nthree\n";
enum { TEXT_SIZE = sizeof text - 1 };

static size_t pack(char *to, size_t room, const void *data, size_t size)
{
    size_t packed = ZSTD_compress(to, room, data, size, 3);
    assert_false(ZSTD_isError(packed));
    return packed;
}

static void frames_come_one_after_the_other(void **state)
{
    (void)state;
    char packed[256];
    struct bm_error error;
    struct bm_content content = {0};
    size_t size = pack(packed, 100, text, TEXT_SIZE);
    size += pack(packed + size, 100, "", 0);
    size += pack(packed + size, 100, "four", 4);
    const struct bm_content in = {.data = packed, .size = size};
    assert_int_equal(bm_unzstd(&in, 1000, "a.zst", &content, &error), BM_OK);
    assert_int_equal(content.size, TEXT_SIZE + 4);
    assert_memory_equal(content.data, text, TEXT_SIZE);
    assert_memory_equal(content.data + TEXT_SIZE, "four", 5); // and a NUL
    bm_content_free(&content);
}

static void more_than_allowed_is_an_error(void **state)
{
    (void)state;
    static char zeros[1 << 20];
    char packed[256];
    struct bm_error error;
    struct bm_content content = {0};
    const struct bm_content in = {.data = packed,
                                  .size = pack(packed, sizeof packed, zeros, sizeof zeros)};
    assert_int_equal(bm_unzstd(&in, sizeof zeros - 1, "a.zst", &content, &error),
                     BM_RESOURCE_EXHAUSTED);
    assert_string_equal(error.where, "a.zst");
    assert_int_equal(bm_unzstd(&in, 0, "a.zst", &content, &error), BM_RESOURCE_EXHAUSTED);
    assert_null(content.data);
    assert_int_equal(bm_unzstd(&in, sizeof zeros, "a.zst", &content, &error), BM_OK);
    assert_int_equal(content.size, sizeof zeros);
    bm_content_free(&content);
}

static void every_truncation_and_changed_byte_is_survived(void **state)
{
    (void)state;
    char packed[128];
    struct bm_error error;
    size_t size = pack(packed, sizeof packed, text, TEXT_SIZE);
    for (size_t cut = 0; cut < size; cut++) {
        struct bm_content content = {0};
        const struct bm_content in = {.data = packed, .size = cut};
        assert_int_equal(bm_unzstd(&in, 1 << 20, "a.zst", &content, &error), BM_DATA_LOSS);
    }
    for (size_t at = 0; at < size; at++) {
        for (unsigned change = 1; change < 256; change++) {
            struct bm_content content = {0};
            const struct bm_content in = {.data = packed, .size = size};
            packed[at] = (char)(packed[at] ^ (char)change);
            (void)bm_unzstd(&in, 1 << 20, "a.zst", &content, &error);
            packed[at] = (char)(packed[at] ^ (char)change);
            bm_content_free(&content);
        }
    }
}

static void want_of_memory_is_an_error(void **state)
{
    (void)state;
    char packed[128];
    struct bm_error error;
    struct bm_content content = {0};
    const struct bm_content in = {.data = packed,
                                  .size = pack(packed, sizeof packed, text, TEXT_SIZE)};
    bm_fake_heap_fail_at(1);
    enum bm_status status = bm_unzstd(&in, 1000, "a.zst", &content, &error);
    bm_fake_heap_fail_never();
    assert_int_equal(status, BM_RESOURCE_EXHAUSTED);
}

static void sources_know_it_by_its_content(void **state)
{
    (void)state;
    char packed[128];
    struct source_fixture fixture;
    source_fixture_init(&fixture);
    source_fixture_write(&fixture, "a", text, TEXT_SIZE);
    assert_int_equal(source_fixture_open(&fixture, "text: {path: a}"), BM_OK);
    uint64_t identity = fixture.source->identity;
    source_fixture_write(&fixture, "a", packed, pack(packed, sizeof packed, text, TEXT_SIZE));
    assert_int_equal(source_fixture_open(&fixture, "text: {path: a}"), BM_OK);
    assert_true(fixture.source->identity == identity);
    assert_int_equal(source_fixture_read(&fixture, (uint64_t[]){1}, 1), BM_OK);
    assert_memory_equal(fixture.batch.tensors[0].data, "two", 3);
    source_fixture_fini(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_one_after_the_other),
        cmocka_unit_test(more_than_allowed_is_an_error),
        cmocka_unit_test(every_truncation_and_changed_byte_is_survived),
        cmocka_unit_test(sources_know_it_by_its_content),
        cmocka_unit_test(want_of_memory_is_an_error),
    };
    return cmocka_run_group_tests_name("zstd", tests, NULL, NULL);
}
