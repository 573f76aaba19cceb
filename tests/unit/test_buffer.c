// What base/buffer.h promises: bytes in the order they came, and a failure nobody can miss.
#include "base/buffer.h"

#include <string.h>

#include "fakes/heap.h"
#include "support.h"

static void an_empty_buffer_is_an_empty_text(void **state)
{
    (void)state;
    struct bm_buffer buffer;
    bm_buffer_init(&buffer);
    assert_null(buffer.data);
    assert_string_equal(bm_buffer_text(&buffer), "");
    bm_buffer_add(&buffer, NULL, 0);
    assert_int_equal(buffer.size, 0);
    assert_false(bm_buffer_failed(&buffer));
    bm_buffer_fini(&buffer);
    bm_buffer_fini(&buffer);
}

static void bytes_stay_in_order_however_they_come(void **state)
{
    (void)state;
    struct bm_buffer buffer;
    bm_buffer_init(&buffer);
    bm_buffer_add(&buffer, "a\0b", 3);
    bm_buffer_add_text(&buffer, "cd");
    bm_buffer_print(&buffer, "%d-%s", 12, "e");
    memcpy(bm_buffer_extend(&buffer, 2), "fg", 2);
    assert_int_equal(buffer.size, 11);
    assert_memory_equal(buffer.data, "a\0bcd12-efg", 11);
    assert_memory_equal(bm_buffer_text(&buffer), "a\0bcd12-efg", 12); // with a NUL behind
    assert_int_equal(buffer.size, 11);
    bm_buffer_fini(&buffer);
}

static void every_size_around_a_growth_fits(void **state)
{
    (void)state;
    for (size_t first = 60; first <= 68; first++) {
        for (size_t more = 0; more <= 130; more++) {
            struct bm_buffer buffer;
            bm_buffer_init(&buffer);
            memset(bm_buffer_extend(&buffer, first), 'a', first);
            bm_buffer_print(&buffer, "%*s", (int)more, "");
            assert_int_equal(strlen(bm_buffer_text(&buffer)), first + more);
            bm_buffer_fini(&buffer);
        }
    }
}

static void growing_keeps_what_was_there(void **state)
{
    (void)state;
    struct bm_buffer buffer;
    bm_buffer_init(&buffer);
    for (unsigned i = 0; i < 100000; i++)
        bm_buffer_add(&buffer, &(unsigned char){(unsigned char)(i * 7)}, 1);
    assert_int_equal(buffer.size, 100000);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(buffer.data[i], (unsigned char)(i * 7));
    bm_buffer_fini(&buffer);
}

static void a_failed_allocation_is_remembered(void **state)
{
    (void)state;
    struct bm_buffer buffer;
    bm_buffer_init(&buffer);
    bm_buffer_add_text(&buffer, "kept");
    bm_fake_heap_fail_at(1);
    void *room = bm_buffer_extend(&buffer, 1000);
    bm_fake_heap_fail_never();
    assert_null(room);
    assert_true(bm_buffer_failed(&buffer));
    bm_buffer_add_text(&buffer, "x"); // would fit
    bm_buffer_print(&buffer, "x");
    assert_null(bm_buffer_extend(&buffer, 1));
    assert_int_equal(buffer.size, 4);
    assert_string_equal(bm_buffer_text(&buffer), "");
    assert_true(bm_buffer_failed(&buffer));
    bm_buffer_fini(&buffer);
    assert_false(bm_buffer_failed(&buffer));
}

static void each_way_to_append_can_fail(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 4; way++) {
        struct bm_buffer buffer;
        bm_buffer_init(&buffer);
        bm_fake_heap_fail_at(1);
        if (way == 0)
            bm_buffer_add(&buffer, "x", 1);
        else if (way == 1)
            bm_buffer_add_text(&buffer, "x");
        else if (way == 2)
            bm_buffer_print(&buffer, "x");
        else
            bm_buffer_text(&buffer);
        bm_fake_heap_fail_never();
        assert_true(bm_buffer_failed(&buffer));
        assert_int_equal(buffer.size, 0);
        bm_buffer_fini(&buffer);
    }
}

static void a_size_beyond_all_memory_fails(void **state)
{
    (void)state;
    struct bm_buffer buffer;
    bm_buffer_init(&buffer);
    assert_null(bm_buffer_extend(&buffer, (size_t)-1));
    assert_true(bm_buffer_failed(&buffer));
    bm_buffer_fini(&buffer);
}

static void clearing_forgets_the_bytes_and_the_failure_but_keeps_the_memory(void **state)
{
    (void)state;
    struct bm_buffer buffer;
    bm_buffer_init(&buffer);
    bm_buffer_add_text(&buffer, "abc");
    const unsigned char *data = buffer.data;
    bm_buffer_extend(&buffer, (size_t)-1);
    assert_true(bm_buffer_failed(&buffer));
    bm_buffer_clear(&buffer);
    assert_false(bm_buffer_failed(&buffer));
    bm_buffer_add_text(&buffer, "d");
    assert_ptr_equal(buffer.data, data);
    assert_string_equal(bm_buffer_text(&buffer), "d");
    bm_buffer_fini(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_is_an_empty_text),
        cmocka_unit_test(bytes_stay_in_order_however_they_come),
        cmocka_unit_test(every_size_around_a_growth_fits),
        cmocka_unit_test(growing_keeps_what_was_there),
        cmocka_unit_test(a_failed_allocation_is_remembered),
        cmocka_unit_test(each_way_to_append_can_fail),
        cmocka_unit_test(a_size_beyond_all_memory_fails),
        cmocka_unit_test(clearing_forgets_the_bytes_and_the_failure_but_keeps_the_memory),
    };
    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
