// Received messages, and the memory that is used again.
#include <stdint.h>
#include <string.h>

#include "client/c/transport_type.h"
#include "support.h"

enum { LARGE = 100 * 1000 };

static void tensors_in_it_are_aligned(void **state)
{
    (void)state;
    struct bm_client_pool *pool = bm_client_pool_new();
    const size_t sizes[] = {0, 1, 4096, LARGE, (size_t)3 * LARGE};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct bm_client_message *message = bm_client_message_alloc(pool, sizes[i]);
        assert_non_null(message);
        assert_int_equal(((uintptr_t)bm_client_message_bytes(message) + 12) % 64, 0);
        assert_int_equal(bm_client_message_size(message), sizes[i]);
        memset(bm_client_message_bytes(message), 7, sizes[i]);
        assert_null(bm_client_message_unref(message));
    }
    bm_client_pool_close(pool);
}

static void large_memory_is_used_again_when_nobody_has_it(void **state)
{
    (void)state;
    struct bm_client_pool *pool = bm_client_pool_new();
    struct bm_client_message *first = bm_client_message_alloc(pool, LARGE);
    const void *memory = bm_client_message_data(first);
    bm_client_message_ref(first);
    bm_client_message_unref(first);
    struct bm_client_message *second = bm_client_message_alloc(pool, LARGE);
    assert_ptr_not_equal(bm_client_message_data(second), memory); // the first still has it
    bm_client_message_unref(first);
    struct bm_client_message *third = bm_client_message_alloc(pool, LARGE * 9 / 10);
    assert_ptr_equal(bm_client_message_data(third), memory);
    assert_int_equal(bm_client_message_size(third), LARGE * 9 / 10);
    bm_client_message_unref(third);
    struct bm_client_message *small = bm_client_message_alloc(pool, LARGE / 3);
    assert_ptr_not_equal(bm_client_message_data(small), memory); // it would be a waste
    bm_client_message_unref(small);
    bm_client_message_unref(second);
    bm_client_pool_close(pool);
}

static void a_message_may_outlive_its_connection(void **state)
{
    (void)state;
    struct bm_client_pool *pool = bm_client_pool_new();
    struct bm_client_message *message = bm_client_message_alloc(pool, LARGE);
    bm_client_pool_close(pool);
    memset(bm_client_message_bytes(message), 1, LARGE);
    bm_client_message_unref(message); // the sanitizer would see a leak, or a use after the end
}

static void without_memory_there_is_no_message(void **state)
{
    (void)state;
    struct bm_client_pool *pool = bm_client_pool_new();
    assert_null(bm_client_message_alloc(pool, SIZE_MAX - 100));
    assert_null(bm_client_message_alloc(pool, PTRDIFF_MAX));
    bm_client_pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_in_it_are_aligned),
        cmocka_unit_test(large_memory_is_used_again_when_nobody_has_it),
        cmocka_unit_test(a_message_may_outlive_its_connection),
        cmocka_unit_test(without_memory_there_is_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
