// What base/list.h promises: first in, first out, and any node can leave at any time.
#include "base/list.h"

#include "support.h"

struct car {
    int number;
    struct bm_node node;
};

static int pop(struct bm_list *list)
{
    struct bm_node *node = bm_list_pop_front(list);
    return node == NULL ? -1 : BM_CONTAINER(node, struct car, node)->number;
}

static void nodes_leave_in_the_order_they_came(void **state)
{
    (void)state;
    struct bm_list list;
    struct car cars[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    bm_list_init(&list);
    assert_true(bm_list_empty(&list));
    for (int i = 0; i < 3; i++)
        bm_list_push_back(&list, &cars[i].node);
    assert_false(bm_list_empty(&list));
    for (int i = 0; i < 3; i++)
        assert_int_equal(pop(&list), i);
    assert_true(bm_list_empty(&list));
    assert_int_equal(pop(&list), -1);
}

static void a_node_may_go_to_the_front(void **state)
{
    (void)state;
    struct bm_list list;
    struct car cars[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    bm_list_init(&list);
    bm_list_push_front(&list, &cars[1].node);
    bm_list_push_front(&list, &cars[0].node);
    bm_list_push_back(&list, &cars[2].node);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pop(&list), i);
}

static void first_middle_and_last_can_be_removed(void **state)
{
    (void)state;
    for (int gone = 0; gone < 3; gone++) {
        struct bm_list list;
        struct car cars[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
        bm_list_init(&list);
        for (int i = 0; i < 3; i++)
            bm_list_push_back(&list, &cars[i].node);
        bm_list_remove(&cars[gone].node);
        assert_null(cars[gone].node.next);
        assert_null(cars[gone].node.prev);
        for (int i = 0; i < 3; i++) {
            if (i != gone)
                assert_int_equal(pop(&list), i);
        }
        assert_int_equal(pop(&list), -1);
    }
}

static void a_node_that_left_may_come_again(void **state)
{
    (void)state;
    struct bm_list list;
    struct car a = {.number = 1}, b = {.number = 2};
    bm_list_init(&list);
    bm_list_push_back(&list, &a.node);
    bm_list_push_back(&list, &b.node);
    bm_list_remove(&a.node);
    bm_list_push_back(&list, &a.node);
    assert_ptr_equal(list.head.next, &b.node);
    assert_ptr_equal(list.head.prev, &a.node);
    assert_int_equal(pop(&list), 2);
    assert_int_equal(pop(&list), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_leave_in_the_order_they_came),
        cmocka_unit_test(a_node_may_go_to_the_front),
        cmocka_unit_test(first_middle_and_last_can_be_removed),
        cmocka_unit_test(a_node_that_left_may_come_again),
    };
    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
