// What run/lock.c promises: first come, first served, server-wide names, and nobody blocks.
#include "run/lock.h"
#include "support.h"

static struct bm_lock_table *table;

static int make_table(void **state)
{
    (void)state;
    return bm_lock_table_new(&table, NULL) == BM_OK ? 0 : -1;
}

static int free_table(void **state)
{
    (void)state;
    bm_lock_table_free(table); // asserts that every lock was given back
    return 0;
}

static struct bm_lock *get(const char *name)
{
    struct bm_lock *lock = NULL;
    assert_int_equal(bm_lock_get(table, name, &lock, NULL), BM_OK);
    return lock;
}

static void the_first_batch_enters_and_the_rest_park_in_order(void **state)
{
    (void)state;
    struct bm_lock *lock = get("gpu");
    struct bm_waiter first, second, third;
    assert_true(bm_lock_enter(lock, &first));
    assert_false(bm_lock_enter(lock, &second));
    assert_false(bm_lock_enter(lock, &third));
    assert_int_equal(bm_lock_line(lock), 2);
    assert_ptr_equal(bm_lock_holder(lock), &first);
    assert_ptr_equal(bm_lock_next(lock, NULL), &second);
    assert_ptr_equal(bm_lock_next(lock, &second), &third);
    assert_null(bm_lock_next(lock, &third));
    assert_ptr_equal(bm_lock_leave(lock), &second);
    assert_ptr_equal(bm_lock_holder(lock), &second);
    assert_ptr_equal(bm_lock_leave(lock), &third);
    assert_null(bm_lock_leave(lock));
    assert_null(bm_lock_holder(lock));
    bm_lock_put(lock);
}

static void a_batch_of_a_closed_stream_gives_up_its_place(void **state)
{
    (void)state;
    struct bm_lock *lock = get("gpu");
    struct bm_waiter first, closed, third;
    assert_true(bm_lock_enter(lock, &first));
    assert_false(bm_lock_enter(lock, &closed));
    assert_false(bm_lock_enter(lock, &third));
    bm_lock_abandon(lock, &closed);
    assert_int_equal(bm_lock_line(lock), 1);
    assert_ptr_equal(bm_lock_leave(lock), &third);
    assert_null(bm_lock_leave(lock));
    bm_lock_put(lock);
}

static void a_name_is_one_lock_for_everybody_who_uses_it(void **state)
{
    (void)state;
    struct bm_lock *lock = get("gpu");
    assert_ptr_equal(get("gpu"), lock);
    assert_ptr_not_equal(get("gpu1"), lock);
    assert_string_equal(bm_lock_name(lock), "gpu");
    bm_lock_put(get("gpu1"));
    bm_lock_put(get("gpu1"));
    bm_lock_put(lock);
    bm_lock_put(lock);
    struct bm_lock *other = get("gpu1"); // of the first get above: still there
    bm_lock_put(other);
    bm_lock_put(other);
}

static void names_do_not_disturb_each_other(void **state)
{
    (void)state;
    struct bm_lock *a = get("a"), *b = get("b");
    struct bm_waiter in_a, in_b;
    assert_true(bm_lock_enter(a, &in_a));
    assert_true(bm_lock_enter(b, &in_b));
    assert_null(bm_lock_leave(a));
    assert_null(bm_lock_leave(b));
    bm_lock_put(a);
    bm_lock_put(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_table, free_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_batch_enters_and_the_rest_park_in_order),
        TEST(a_batch_of_a_closed_stream_gives_up_its_place),
        TEST(a_name_is_one_lock_for_everybody_who_uses_it),
        TEST(names_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
