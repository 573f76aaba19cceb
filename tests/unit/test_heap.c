// What base/heap.h promises: the smallest key first, equal keys first come first served.
#include "base/heap.h"

#include "base/random.h"
#include "fakes/stderr.h"
#include "support.h"

enum { NODES = 300 };

// The same thing done slowly: an array sorted by key, then by arrival.
struct model {
    struct bm_heap_node *nodes[NODES];
    uint64_t keys[NODES];
    unsigned n;
};

static void model_insert(struct model *model, struct bm_heap_node *node, uint64_t key)
{
    unsigned at = model->n++;
    for (; at > 0 && model->keys[at - 1] > key; at--) {
        model->nodes[at] = model->nodes[at - 1];
        model->keys[at] = model->keys[at - 1];
    }
    model->nodes[at] = node;
    model->keys[at] = key;
}

static void model_remove(struct model *model, unsigned at)
{
    model->n--;
    for (; at < model->n; at++) {
        model->nodes[at] = model->nodes[at + 1];
        model->keys[at] = model->keys[at + 1];
    }
}

static unsigned model_find(const struct model *model, const struct bm_heap_node *node)
{
    unsigned at = 0;
    while (model->nodes[at] != node)
        at++;
    return at;
}

static void check_first(const struct bm_heap *heap, const struct model *model)
{
    assert_ptr_equal(bm_heap_first(heap), model->n == 0 ? NULL : model->nodes[0]);
}

static void random_inserts_and_removes_agree_with_a_sorted_array(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct bm_heap_node nodes[NODES] = {0};
        struct bm_heap heap = {0};
        struct model model = {0};
        struct bm_random random;
        bm_random_init(&random, seed, 0, 0, 0);
        uint64_t nkeys = seed % 2 == 0 ? 5 : 1000; // many equal ones; few
        for (unsigned step = 0; step < 3000; step++) {
            struct bm_heap_node *node = &nodes[bm_random_below(&random, NODES)];
            if (bm_random_below(&random, 4) == 0 && model.n > 0)
                node = model.nodes[0];
            if (node->queued) {
                model_remove(&model, model_find(&model, node));
                bm_heap_remove(&heap, node);
                assert_false(node->queued);
            } else {
                uint64_t key = bm_random_below(&random, nkeys);
                model_insert(&model, node, key);
                bm_heap_insert(&heap, node, key);
                assert_true(node->queued);
            }
            check_first(&heap, &model);
        }
        while (model.n > 0) {
            check_first(&heap, &model);
            bm_heap_remove(&heap, bm_heap_first(&heap));
            model_remove(&model, 0);
        }
        assert_null(bm_heap_first(&heap));
    }
}

static void equal_keys_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct bm_heap_node nodes[50] = {0};
    struct bm_heap heap = {0};
    for (unsigned i = 0; i < 50; i++)
        bm_heap_insert(&heap, &nodes[i], 7);
    for (unsigned i = 0; i < 50; i++) {
        assert_ptr_equal(bm_heap_first(&heap), &nodes[i]);
        bm_heap_remove(&heap, &nodes[i]);
    }
}

static void keys_use_all_64_bits(void **state)
{
    (void)state;
    struct bm_heap_node nodes[3] = {0};
    struct bm_heap heap = {0};
    bm_heap_insert(&heap, &nodes[0], UINT64_MAX);
    bm_heap_insert(&heap, &nodes[1], (uint64_t)1 << 63);
    bm_heap_insert(&heap, &nodes[2], 0);
    for (unsigned i = 3; i-- > 0;) {
        assert_ptr_equal(bm_heap_first(&heap), &nodes[i]);
        bm_heap_remove(&heap, &nodes[i]);
    }
}

static void insert_twice(void *arg)
{
    struct bm_heap *heap = arg;
    bm_heap_insert(heap, bm_heap_first(heap), 2);
}

static void remove_a_stranger(void *arg)
{
    struct bm_heap_node stranger = {0};
    bm_heap_remove(arg, &stranger);
}

static void a_node_in_the_wrong_place_is_a_bug(void **state)
{
    (void)state;
    struct bm_heap_node node = {0};
    struct bm_heap heap = {0};
    bm_heap_insert(&heap, &node, 1);
    assert_aborts(insert_twice, &heap, "!node->queued");
    assert_aborts(remove_a_stranger, &heap, "node->queued");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_inserts_and_removes_agree_with_a_sorted_array),
        cmocka_unit_test(equal_keys_come_out_in_the_order_they_went_in),
        cmocka_unit_test(keys_use_all_64_bits),
        cmocka_unit_test(a_node_in_the_wrong_place_is_a_bug),
    };
    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
