// What an order by length promises: every item once an epoch, batches of like lengths, for every
// batch size, width and number of shards.
#include "data/groups.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "data/order.h"
#include "support.h"

enum { N = 10000, ALL = 64 };

static struct bm_groups *groups;
static double lengths[N];

// Between 1 and 500, as sentences are: many short ones.
static int setup(void **state)
{
    (void)state;
    struct bm_random random;
    for (unsigned i = 0; i < N; i++) {
        bm_random_init(&random, 1, 0, i, 0);
        double u = bm_random_uniform(&random);
        lengths[i] = floor(1 + 499 * u * u * u);
    }
    return bm_groups_new(lengths, N, 16, &groups, NULL) == BM_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    bm_groups_free(groups);
    groups = NULL;
    return 0;
}

static struct bm_order_params params_of(uint64_t batch_size, uint64_t shard, uint64_t shards)
{
    return (struct bm_order_params){
        .batch_size = batch_size,
        .shuffle = true,
        .seed = 7,
        .n_epochs = 2,
        .n_iters = BM_ORDER_UNSET,
        .shard_index = shard,
        .shard_count = shards,
        .groups = groups,
    };
}

static void every_item_comes_once_in_every_epoch(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= ALL; n++) {
        for (uint64_t together = 1; together <= n + 2; together += 1 + n / 8) {
            for (uint64_t width = 1; width <= 4; width++) {
                struct bm_groups *small;
                uint64_t items[ALL];
                bool seen[ALL] = {false};
                assert_int_equal(bm_groups_new(lengths, n, width, &small, NULL), BM_OK);
                for (uint64_t i = 0; i < n; i++)
                    items[i] = i;
                bm_groups_apply(small, 7, n, together, 1 + n % 3, items, n);
                for (uint64_t i = 0; i < n; i++) {
                    assert_true(items[i] < n && !seen[items[i]]);
                    seen[items[i]] = true;
                }
                bm_groups_free(small);
            }
        }
    }
}

// An item's place does not depend on which others are asked for with it.
static void positions_may_be_asked_for_in_any_pieces(void **state)
{
    (void)state;
    uint64_t whole[512], piece[512];
    for (uint64_t i = 0; i < 512; i++)
        whole[i] = 300 + i;
    bm_groups_apply(groups, 7, 3, 32, 1, whole, 512);
    for (uint64_t size = 1; size <= 500; size += 71) {
        for (uint64_t first = 0; first + size <= 512; first += size) {
            for (uint64_t i = 0; i < size; i++)
                piece[i] = 300 + first + i;
            bm_groups_apply(groups, 7, 3, 32, 1, piece, size);
            assert_memory_equal(piece, whole + first, size * sizeof piece[0]);
        }
    }
}

// How much of the batches' area is padding, if each is padded to its longest item.
static double padding(const struct bm_order *order)
{
    double area = 0, used = 0;
    for (uint64_t seq = 0; seq < bm_order_nbatches(order); seq++) {
        uint64_t items[256], size = bm_order_size(order, seq);
        double longest = 0;
        bm_order_items(order, seq, items, NULL);
        for (uint64_t i = 0; i < size; i++) {
            longest = fmax(longest, lengths[items[i]]);
            used += lengths[items[i]];
        }
        area += longest * (double)size;
    }
    return 1 - used / area;
}

static void batches_of_like_length_waste_little_padding(void **state)
{
    (void)state;
    for (uint64_t shards = 1; shards <= 3; shards++) {
        struct bm_order_params params = params_of(32, shards - 1, shards);
        struct bm_order grouped, mixed;
        assert_int_equal(bm_order_init(&grouped, &params, N, NULL), BM_OK);
        params.groups = NULL;
        assert_int_equal(bm_order_init(&mixed, &params, N, NULL), BM_OK);
        assert_true(padding(&mixed) > 0.6);
        assert_true(padding(&grouped) < 0.12);
    }
}

static void batch_t_of_all_shards_is_of_like_length(void **state)
{
    (void)state;
    enum { SHARDS = 4 };
    double worst = 0;
    for (uint64_t seq = 0; seq < 70; seq++) {
        double longest = 0, shortest = INFINITY;
        for (uint64_t shard = 0; shard < SHARDS; shard++) {
            struct bm_order_params params = params_of(32, shard, SHARDS);
            struct bm_order order;
            uint64_t items[32];
            assert_int_equal(bm_order_init(&order, &params, N, NULL), BM_OK);
            bm_order_items(&order, seq, items, NULL);
            for (unsigned i = 0; i < 32; i++) {
                longest = fmax(longest, lengths[items[i]]);
                shortest = fmin(shortest, lengths[items[i]]);
            }
        }
        worst = fmax(worst, longest - shortest);
    }
    // A block is 4 runs of 128 items, a twentieth of all, and a run may lie across two of them. The
    // longest tenth lies above 359.
    assert_true(worst < 141);
}

// Which items lie together, and in what order batches come, changes from epoch to epoch.
static void epochs_differ(void **state)
{
    (void)state;
    uint64_t first[64], second[64], same = 0;
    for (uint64_t i = 0; i < 64; i++)
        first[i] = second[i] = i;
    bm_groups_apply(groups, 7, 0, 64, 1, first, 64);
    bm_groups_apply(groups, 7, 1, 64, 1, second, 64);
    for (unsigned i = 0; i < 64; i++)
        same += first[i] == second[i];
    assert_true(same < 8);
}

// With drop_last the items that fill no batch must not be the same in every epoch: not the longest.
static void the_items_left_over_change_with_the_epoch(void **state)
{
    (void)state;
    double least = INFINITY, most = 0;
    for (uint64_t epoch = 0; epoch < 32; epoch++) {
        uint64_t x = N - 1; // 10000 = 39 * 256 + 16
        bm_groups_apply(groups, 7, epoch, 256, 1, &x, 1);
        least = fmin(least, lengths[x]);
        most = fmax(most, lengths[x]);
    }
    assert_true(least < 50 && most > 250);
}

static void without_shuffle_items_come_as_they_are(void **state)
{
    (void)state;
    struct bm_order_params params = params_of(10, 0, 1);
    struct bm_order order;
    uint64_t items[10];
    params.shuffle = false;
    assert_int_equal(bm_order_init(&order, &params, N, NULL), BM_OK);
    bm_order_items(&order, 3, items, NULL);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(items[i], 30 + i);
}

// Nothing that a component may hold breaks the order: NaN counts as 0.
static void odd_lengths_are_sorted_too(void **state)
{
    (void)state;
    const double odd[] = {NAN, INFINITY, -1, 0, -INFINITY, NAN, 1e300};
    struct bm_groups *small;
    uint64_t items[7];
    bool seen[7] = {false};
    assert_int_equal(bm_groups_new(odd, 7, 1, &small, NULL), BM_OK);
    for (unsigned i = 0; i < 7; i++)
        items[i] = i;
    bm_groups_apply(small, 0, 0, 1, 1, items, 7);
    for (unsigned i = 0; i < 7; i++) {
        assert_true(items[i] < 7 && !seen[items[i]]);
        seen[items[i]] = true;
    }
    bm_groups_free(small);
}

static void too_many_items_are_refused(void **state)
{
    (void)state;
    struct bm_groups *none;
    struct bm_error error;
    assert_int_equal(bm_groups_new(lengths, (uint64_t)UINT32_MAX + 1, 1, &none, &error),
                     BM_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, "at most 2^32 - 1 items"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_comes_once_in_every_epoch),
        cmocka_unit_test(positions_may_be_asked_for_in_any_pieces),
        cmocka_unit_test(batches_of_like_length_waste_little_padding),
        cmocka_unit_test(batch_t_of_all_shards_is_of_like_length),
        cmocka_unit_test(epochs_differ),
        cmocka_unit_test(the_items_left_over_change_with_the_epoch),
        cmocka_unit_test(without_shuffle_items_come_as_they_are),
        cmocka_unit_test(odd_lengths_are_sorted_too),
        cmocka_unit_test(too_many_items_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
