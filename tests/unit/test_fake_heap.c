#include "support.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "fakes/heap.h"

// A compiler may leave out a block that nobody looks at; it must believe that this is looked at.
static void *seen(void *block)
{
    static void *volatile last;
    last = block;
    return last;
}

static void only_the_named_allocation_fails(void **state)
{
    (void)state;
    bm_fake_heap_fail_at(2);
    void *first = seen(malloc(8)), *second = seen(calloc(1, 8)), *third = seen(malloc(8));
    bool failed = bm_fake_heap_failed();
    bm_fake_heap_fail_never();
    assert_true(failed);
    assert_int_equal(bm_fake_heap_count(), 3);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    free(first);
    free(third);
}

static void *heap_malloc(void *old)
{
    (void)old;
    return malloc(8);
}

static void *heap_calloc(void *old)
{
    (void)old;
    return calloc(1, 8);
}

static void *heap_realloc(void *old)
{
    return realloc(old, 16);
}

static void *heap_reallocarray(void *old)
{
    return reallocarray(old, 2, 8);
}

static void *heap_strdup(void *old)
{
    return strdup(old);
}

static void *heap_strndup(void *old)
{
    return strndup(old, 2);
}

static void *heap_aligned_alloc(void *old)
{
    (void)old;
    return aligned_alloc(64, 64);
}

static void *heap_posix_memalign(void *old)
{
    (void)old;
    void *block = NULL;
    return posix_memalign(&block, 64, 64) == 0 ? block : NULL;
}

static void every_way_to_allocate_can_fail(void **state)
{
    (void)state;
    void *(*const ways[])(void *) = {
        heap_malloc, heap_calloc,  heap_realloc,       heap_reallocarray,
        heap_strdup, heap_strndup, heap_aligned_alloc, heap_posix_memalign,
    };
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        char *old = calloc(1, 8);
        bm_fake_heap_fail_at(1);
        void *block = ways[i](old);
        bool failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_true(failed);
        assert_int_equal(bm_fake_heap_count(), 1);
        assert_null(block);
        free(block == NULL ? old : block); // realloc() takes the old one when it succeeds
    }
}

static void the_code_under_test_meets_the_failure(void **state)
{
    (void)state;
    struct bm_buffer buffer;
    bm_buffer_init(&buffer);
    bm_fake_heap_fail_at(1);
    bm_buffer_add(&buffer, "x", 1);
    bm_fake_heap_fail_never();
    assert_true(bm_buffer_failed(&buffer));
    bm_buffer_fini(&buffer);
}

static void nothing_fails_before_the_named_one_nor_when_told_never(void **state)
{
    (void)state;
    bm_fake_heap_fail_at(2);
    void *first = seen(malloc(8));
    assert_false(bm_fake_heap_failed());
    bm_fake_heap_fail_never();
    void *second = seen(malloc(8));
    assert_non_null(first);
    assert_non_null(second);
    free(first);
    free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_named_allocation_fails),
        cmocka_unit_test(every_way_to_allocate_can_fail),
        cmocka_unit_test(the_code_under_test_meets_the_failure),
        cmocka_unit_test(nothing_fails_before_the_named_one_nor_when_told_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
