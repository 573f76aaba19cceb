// Which items a batch holds: small cases spelt out, then every small case against a list that is
// built the slow way.
#include "data/order.h"
#include "data/permutation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

// Batches of 2 and nothing else given; what follows in the call comes later and counts.
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Woverride-init"
#pragma GCC diagnostic ignored "-Winitializer-overrides"
#define PARAMS(...)                                                                                \
    ((struct bm_order_params){                                                                     \
        .batch_size = 2, .n_epochs = BM_ORDER_UNSET, .n_iters = BM_ORDER_UNSET, ##__VA_ARGS__})

static struct bm_order order_make(struct bm_order_params params, uint64_t nitems)
{
    struct bm_order order;
    struct bm_error err = {0};
    if (bm_order_init(&order, &params, nitems, &err) != BM_OK)
        fail_msg("%s: %s", err.where, err.text);
    return order;
}

// Batches as digits, "01 23 4", with '|' where an epoch ends: before the first item of a later one.
static void order_print(const struct bm_order *order, uint64_t nbatches, char *text)
{
    uint64_t epoch = 0;
    for (uint64_t seq = 0; seq < nbatches; seq++) {
        uint64_t items[16], epochs[16], size = bm_order_size(order, seq);
        assert_in_range(size, 1, 16);
        bm_order_items(order, seq, items, epochs);
        assert_int_equal(bm_order_epoch(order, seq), epochs[0]);
        for (uint64_t i = 0; i < size; i++) {
            if (i == 0 && seq > 0)
                *text++ = ' ';
            for (; epoch < epochs[i]; epoch++)
                *text++ = '|';
            assert_in_range(items[i], 0, 9);
            *text++ = (char)('0' + items[i]);
        }
    }
    *text = '\0';
}

static void assert_stream(struct bm_order_params params, uint64_t nitems, const char *expected)
{
    char text[512];
    struct bm_order order = order_make(params, nitems);
    assert_in_range(bm_order_nbatches(&order), 0, 50);
    order_print(&order, bm_order_nbatches(&order), text);
    assert_string_equal(text, expected);
}

// ---- Small cases ----

static void a_batch_never_crosses_an_epoch_by_default(void **state)
{
    (void)state;
    assert_stream(PARAMS(), 5, "01 23 4");
    assert_stream(PARAMS(.n_epochs = 2), 5, "01 23 4 |01 23 4");
    assert_stream(PARAMS(.n_epochs = 2), 4, "01 23 |01 23");
    assert_stream(PARAMS(.batch_size = 1), 3, "0 1 2");
    assert_stream(PARAMS(.batch_size = 9, .n_epochs = 2), 3, "012 |012");
}

static void a_batch_may_cross_epochs_when_told_to(void **state)
{
    (void)state;
    assert_stream(PARAMS(.n_epochs = 2, .epoch_border = BM_BORDER_CROSS), 5, "01 23 4|0 12 34");
    assert_stream(PARAMS(.n_epochs = 3, .epoch_border = BM_BORDER_CROSS), 3, "01 2|0 12 |01 2");
    assert_stream(PARAMS(.batch_size = 7, .n_epochs = 3, .epoch_border = BM_BORDER_CROSS), 3,
                  "012|012|0 12");
}

static void drop_last_leaves_short_batches_out(void **state)
{
    (void)state;
    assert_stream(PARAMS(.n_epochs = 2, .drop_last = true), 5, "01 23 |01 23");
    assert_stream(PARAMS(.n_epochs = 3, .drop_last = true, .epoch_border = BM_BORDER_CROSS), 5,
                  "01 23 4|0 12 34 |01 23");
}

static void n_iters_gives_exactly_as_many_batches(void **state)
{
    (void)state;
    assert_stream(PARAMS(.n_iters = 4), 5, "01 23 4 |01");
    assert_stream(PARAMS(.n_iters = 1), 5, "01");
    assert_stream(PARAMS(.n_iters = 4, .epoch_border = BM_BORDER_CROSS), 5, "01 23 4|0 12");
    assert_stream(PARAMS(.n_iters = 4, .drop_last = true), 5, "01 23 |01 23");
    assert_stream(PARAMS(.batch_size = 5, .n_iters = 2, .epoch_border = BM_BORDER_CROSS), 2,
                  "01|01|0 1|01|01");
}

static void shards_take_turns_and_stay_in_step(void **state)
{
    (void)state;
    assert_stream(PARAMS(.shard_index = 0, .shard_count = 2), 8, "02 46");
    assert_stream(PARAMS(.shard_index = 1, .shard_count = 2), 8, "13 57");
    assert_stream(PARAMS(.shard_index = 1, .shard_count = 2), 7, "13 5"); // 02 46
    // Shard 0 has a third batch; shard 1 would not, so it gets the position behind the end.
    assert_stream(PARAMS(.shard_index = 0, .shard_count = 2), 9, "02 46 8");
    assert_stream(PARAMS(.shard_index = 1, .shard_count = 2), 9, "13 57 0");
    assert_stream(PARAMS(.shard_index = 2, .shard_count = 4, .n_epochs = 2), 9, "26 1 |26 1");
    // More shards than items.
    assert_stream(PARAMS(.shard_index = 4, .shard_count = 5, .n_epochs = 2), 3, "1 |1");
    assert_stream(PARAMS(.shard_index = 1, .shard_count = 2, .drop_last = true), 7, "13");
    // count 0 reads as 1
    assert_stream(PARAMS(.shard_index = 0, .shard_count = 0), 3, "01 2");
}

static void shards_cross_epochs_in_step(void **state)
{
    (void)state;
    struct bm_order_params params = PARAMS(.shard_count = 2, .n_epochs = 2, .epoch_border = 1);
    assert_stream(params, 5, "02 4|1 3"); // 0 2 4 6=1 8=3
    params.shard_index = 1;
    assert_stream(params, 5, "13 |02 4");
    params.n_epochs = 1; // 02 4 of shard 0
    assert_stream(params, 5, "13 0");
    params.n_iters = 3;
    params.n_epochs = BM_ORDER_UNSET;
    assert_stream(params, 5, "13 |02 4|1");
    params.shard_count = 9; // positions 1 10 19 28 ...
    assert_stream(params, 3, "1|||1 |||1|||1 |||1|||1");
}

static void an_empty_source_has_no_batches(void **state)
{
    (void)state;
    assert_stream(PARAMS(), 0, "");
    assert_stream(PARAMS(.n_epochs = 0), 0, "");
    assert_stream(PARAMS(.n_epochs = 0, .epoch_border = BM_BORDER_CROSS, .shuffle = true), 0, "");
    assert_stream(PARAMS(.drop_last = true), 0, "");
}

static void endless_streams_go_on(void **state)
{
    (void)state;
    char text[64];
    struct bm_order order = order_make(PARAMS(.n_epochs = 0), 3);
    assert_true(bm_order_nbatches(&order) == BM_ORDER_ENDLESS);
    assert_int_equal(bm_order_epoch_batches(&order), 2);
    order_print(&order, 5, text);
    assert_string_equal(text, "01 2 |01 2 |01");
    order = order_make(PARAMS(.n_epochs = 0, .epoch_border = BM_BORDER_CROSS), 3);
    assert_true(bm_order_nbatches(&order) == BM_ORDER_ENDLESS);
    assert_int_equal(bm_order_epoch_batches(&order), 0);
    order_print(&order, 3, text);
    assert_string_equal(text, "01 2|0 12");
}

static void a_shuffled_epoch_is_the_permutation_read_by_position(void **state)
{
    (void)state;
    for (unsigned cross = 0; cross < 2; cross++) {
        struct bm_order order = order_make(PARAMS(.batch_size = 3, .shuffle = true, .seed = 7,
                                                  .n_epochs = 4, .epoch_border = cross),
                                           10);
        uint64_t epochs[3], items[3], position = 0;
        for (uint64_t seq = 0; seq < bm_order_nbatches(&order); seq++) {
            bm_order_items(&order, seq, items, epochs);
            for (uint64_t i = 0; i < bm_order_size(&order, seq); i++, position++) {
                assert_int_equal(epochs[i], position / 10);
                assert_int_equal(items[i], bm_permute(7, position / 10, 10, position % 10));
            }
        }
        assert_int_equal(position, 40);
    }
}

static void a_batch_does_not_depend_on_those_asked_for_before(void **state)
{
    (void)state;
    struct bm_order_params params =
        PARAMS(.batch_size = 64, .shuffle = true, .seed = 3, .n_epochs = 0);
    struct bm_order one = order_make(params, 1000), other = order_make(params, 1000);
    uint64_t a[64], b[64];
    for (uint64_t seq = 0; seq < 50; seq++)
        bm_order_items(&one, 49 - seq, a, NULL); // the other way round
    for (uint64_t seq = 0; seq < 50; seq++) {
        bm_order_items(&one, 123456 + seq, a, NULL);
        bm_order_items(&other, 123456 + seq, b, NULL);
        assert_memory_equal(a, b, bm_order_size(&one, 123456 + seq) * sizeof a[0]);
    }
}

// ---- Every small case against the slow way ----

struct row { // the items of all epochs in order
    uint64_t items[128], epochs[128], length;
};

static void row_make(struct row *row, const struct bm_order_params *params, uint64_t nitems,
                     uint64_t first_epoch, uint64_t nepochs)
{
    row->length = 0;
    for (uint64_t epoch = first_epoch; epoch < first_epoch + nepochs; epoch++) {
        for (uint64_t position = 0; position < nitems; position++, row->length++) {
            assert_true(row->length < 128);
            row->items[row->length] =
                params->shuffle ? bm_permute(params->seed, epoch, nitems, position) : position;
            row->epochs[row->length] = epoch;
        }
    }
}

static uint64_t row_most_batches(const struct row *row, const struct bm_order_params *params)
{
    uint64_t most = 0, least = UINT64_MAX;
    for (uint64_t shard = 0; shard < params->shard_count; shard++) {
        uint64_t share = 0;
        for (uint64_t i = shard; i < row->length; i += params->shard_count)
            share++;
        uint64_t full = share / params->batch_size;
        uint64_t batches = full + (share % params->batch_size > 0);
        least = full < least ? full : least;
        most = batches > most ? batches : most;
    }
    return params->drop_last ? least : most;
}

// The row's batches of this shard are batches first_seq, ... of `order`.
static uint64_t row_check(const struct row *row, const struct bm_order *order, uint64_t first_seq,
                          bool taken[128])
{
    const struct bm_order_params *params = &order->params;
    uint64_t at = params->shard_index, nbatches = row_most_batches(row, params);
    for (uint64_t t = 0; t < nbatches; t++) {
        uint64_t items[8], epochs[8], size = bm_order_size(order, first_seq + t);
        bm_order_items(order, first_seq + t, items, epochs);
        if (at >= row->length) { // nothing left for this shard
            uint64_t extra =
                (params->shard_index + params->shard_count * t * params->batch_size) % row->length;
            assert_int_equal(size, 1);
            assert_int_equal(items[0], row->items[extra]);
            assert_int_equal(epochs[0], row->epochs[extra]);
            continue;
        }
        uint64_t i = 0;
        for (; i < params->batch_size && at < row->length; i++, at += params->shard_count) {
            assert_int_equal(items[i], row->items[at]);
            assert_int_equal(epochs[i], row->epochs[at]);
            assert_false(taken[at]);
            taken[at] = true;
        }
        assert_int_equal(size, i);
    }
    return nbatches;
}

static void stream_check(struct bm_order_params params, uint64_t nitems)
{
    struct row row;
    bool cross = params.epoch_border == BM_BORDER_CROSS;
    row_make(&row, &params, nitems, 0, cross ? params.n_epochs : 1);
    uint64_t expected = row_most_batches(&row, &params) * (cross ? 1 : params.n_epochs);
    bool taken[3][128] = {0};
    for (; params.shard_index < params.shard_count; params.shard_index++) {
        struct bm_order order;
        struct bm_error err;
        enum bm_status status = bm_order_init(&order, &params, nitems, &err);
        assert_int_equal(status, expected == 0 ? BM_INVALID_ARGUMENT : BM_OK);
        if (status != BM_OK) {
            assert_string_equal(err.where,
                                row.length < params.shard_count ? "shard_count" : "batch_size");
            continue;
        }
        assert_int_equal(bm_order_nbatches(&order), expected);
        uint64_t seq = 0;
        for (uint64_t epoch = 0; seq < expected; epoch++) {
            row_make(&row, &params, nitems, epoch, cross ? params.n_epochs : 1);
            seq += row_check(&row, &order, seq, taken[cross ? 0 : epoch]);
        }
    }
    for (unsigned epoch = 0; !params.drop_last && epoch < (cross ? 1 : params.n_epochs); epoch++) {
        for (uint64_t i = 0; i < row.length; i++)
            assert_true(taken[epoch][i]); // by one shard, and row_check() saw to it that by no two
    }
}

static void every_small_stream_is_what_the_slow_way_gives(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 8; flags++) {
        for (uint64_t n = 1; n <= 13; n++) {
            for (uint64_t epochs = 1; epochs <= 3; epochs++) {
                for (uint64_t size = 1; size <= 5; size++) {
                    for (uint64_t shards = 1; shards <= 6; shards++)
                        stream_check(PARAMS(.batch_size = size, .n_epochs = epochs,
                                            .shard_count = shards, .seed = n, .shuffle = flags & 1,
                                            .drop_last = flags & 2,
                                            .epoch_border = flags & 4 ? 1 : 0),
                                     n);
                }
            }
        }
    }
}

// ---- Bad parameters ----

static void senseless_parameters_are_errors_that_name_them(void **state)
{
    (void)state;
    const uint64_t n = 5;
    const struct {
        struct bm_order_params params;
        uint64_t nitems;
        const char *where, *text;
    } cases[] = {
        {PARAMS(.batch_size = 0), n, "batch_size", "expected 1 to 16777216 items, got 0"},
        {PARAMS(.batch_size = BM_BATCH_SIZE_MAX + 1), n, "batch_size",
         "expected 1 to 16777216 items, got 16777217"},
        {PARAMS(.n_epochs = 1, .n_iters = 1), n, "n_iters",
         "n_epochs and n_iters exclude each other"},
        {PARAMS(.n_epochs = 0, .n_iters = 1), n, "n_iters",
         "n_epochs and n_iters exclude each other"},
        {PARAMS(.n_iters = 0), n, "n_iters", "expected at least 1 batch, got 0"},
        {PARAMS(.n_iters = BM_ORDER_UNSET - 1), n, "n_iters",
         "expected at most 4611686018427387904 batches of this size, got 18446744073709551614"},
        {PARAMS(.n_iters = 1), 0, "n_iters", "the source is empty: it has no batch"},
        {PARAMS(.shard_index = 1), n, "shard_index", "expected 0 to 0, got 1"},
        {PARAMS(.shard_index = 3, .shard_count = 3), n, "shard_index", "expected 0 to 2, got 3"},
        {PARAMS(.shard_count = BM_SHARDS_MAX + 1), n, "shard_count",
         "expected at most 1048576, got 1048577"},
        {PARAMS(), ((uint64_t)1 << 62) + 1, "source",
         "expected at most 2^62 items, got 4611686018427387905"},
        {PARAMS(.batch_size = 6, .drop_last = true, .n_epochs = 9), n, "batch_size",
         "with drop_last expected at most 5 items, as there are no more in an epoch, got 6"},
        {PARAMS(.batch_size = 6, .drop_last = true, .n_iters = 9), n, "batch_size",
         "with drop_last expected at most 5 items, as there are no more in an epoch, got 6"},
        {PARAMS(.batch_size = 11, .drop_last = true, .n_epochs = 2, .epoch_border = 1), n,
         "batch_size",
         "with drop_last expected at most 10 items, as there are no more in all epochs, got 11"},
        {PARAMS(.drop_last = true, .shard_count = 3), n, "batch_size",
         "with drop_last expected at most 1 items, as there are no more in a shard, got 2"},
        {PARAMS(.drop_last = true, .shard_count = 6), n, "shard_count",
         "with drop_last expected at most 5, one item for each shard, got 6"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bm_order order = {.nitems = 77};
        struct bm_error err = {0};
        assert_int_equal(bm_order_init(&order, &cases[i].params, cases[i].nitems, &err),
                         BM_INVALID_ARGUMENT);
        assert_int_equal(err.status, BM_INVALID_ARGUMENT);
        assert_string_equal(err.where, cases[i].where);
        assert_string_equal(err.text, cases[i].text);
        assert_int_equal(order.nitems, 77); // left alone
    }
}

// ---- Large numbers ----

static void a_billion_items_cost_no_more_than_a_few(void **state)
{
    (void)state;
    const uint64_t n = 1000000000;
    struct bm_order order =
        order_make(PARAMS(.batch_size = 1024, .shuffle = true, .seed = 1, .n_epochs = 1000), n);
    uint64_t items[1024], epochs[1024], last = bm_order_nbatches(&order) - 1;
    assert_int_equal(last, 976563ull * 1000 - 1);
    for (uint64_t seq = 0; seq <= last; seq += last) {
        bm_order_items(&order, seq, items, epochs);
        for (uint64_t i = 0; i < bm_order_size(&order, seq); i++) {
            assert_true(items[i] < n);
            assert_int_equal(epochs[i], seq == 0 ? 0 : 999);
        }
    }
    assert_int_equal(bm_order_size(&order, last), 512);
    assert_true(sizeof order < 256); // and it refers to nothing else
}

// The batch's items are in range, at its size; returns its first epoch.
static uint64_t batch_probe(const struct bm_order *order, uint64_t seq)
{
    uint64_t *items, size = bm_order_size(order, seq);
    assert_in_range(size, 1, order->params.batch_size);
    items = malloc(size * sizeof *items);
    assert_non_null(items);
    bm_order_items(order, seq, items, NULL);
    for (uint64_t i = 0; i < size; i++)
        assert_true(items[i] < order->nitems);
    free(items);
    return bm_order_epoch(order, seq);
}

static void absurd_numbers_of_epochs_overflow_nothing(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 3, 4, 1000, (uint64_t)1 << 62};
    static const uint64_t epochs[] = {(uint64_t)1 << 32, (uint64_t)1 << 62, BM_ORDER_UNSET - 1};
    for (unsigned i = 0; i < 5 * 3 * 4; i++) {
        struct bm_order_params params =
            PARAMS(.batch_size = 3, .shuffle = true, .n_epochs = epochs[i / 5 % 3],
                   .epoch_border = i / 15 % 2, .shard_count = i / 30 ? BM_SHARDS_MAX : 1);
        params.shard_index = i / 30 ? BM_SHARDS_MAX - 1 : 0;
        struct bm_order order = order_make(params, sizes[i % 5]);
        uint64_t nbatches = bm_order_nbatches(&order);
        assert_true(nbatches <= ((uint64_t)1 << 63) / (3 * params.shard_count));
        assert_true(batch_probe(&order, 0) < BM_SHARDS_MAX);
        assert_true(batch_probe(&order, nbatches - 1) <= params.n_epochs);
        assert_true(batch_probe(&order, nbatches / 2) <= params.n_epochs);
    }
}

static void the_largest_source_keeps_its_last_item(void **state)
{
    (void)state;
    const uint64_t n = (uint64_t)1 << 62;
    for (unsigned cross = 0; cross < 2; cross++) {
        struct bm_order order = order_make(PARAMS(.batch_size = 3, .epoch_border = cross), n);
        uint64_t last = bm_order_nbatches(&order) - 1, item;
        assert_int_equal(last, n / 3);
        assert_int_equal(bm_order_size(&order, last), 1);
        bm_order_items(&order, last, &item, NULL);
        assert_int_equal(item, n - 1);
    }
}

static void the_largest_n_iters_is_exact(void **state)
{
    (void)state;
    const uint64_t most = ((uint64_t)1 << 63) / BM_BATCH_SIZE_MAX;
    for (unsigned cross = 0; cross < 2; cross++) {
        struct bm_order order = order_make(
            PARAMS(.batch_size = BM_BATCH_SIZE_MAX, .n_iters = most, .epoch_border = cross), 10);
        assert_int_equal(bm_order_nbatches(&order), most);
        uint64_t epoch = batch_probe(&order, most - 1);
        assert_int_equal(epoch, cross ? (most - 1) * BM_BATCH_SIZE_MAX / 10 : most - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_never_crosses_an_epoch_by_default),
        cmocka_unit_test(a_batch_may_cross_epochs_when_told_to),
        cmocka_unit_test(drop_last_leaves_short_batches_out),
        cmocka_unit_test(n_iters_gives_exactly_as_many_batches),
        cmocka_unit_test(shards_take_turns_and_stay_in_step),
        cmocka_unit_test(shards_cross_epochs_in_step),
        cmocka_unit_test(an_empty_source_has_no_batches),
        cmocka_unit_test(endless_streams_go_on),
        cmocka_unit_test(a_shuffled_epoch_is_the_permutation_read_by_position),
        cmocka_unit_test(a_batch_does_not_depend_on_those_asked_for_before),
        cmocka_unit_test(every_small_stream_is_what_the_slow_way_gives),
        cmocka_unit_test(senseless_parameters_are_errors_that_name_them),
        cmocka_unit_test(a_billion_items_cost_no_more_than_a_few),
        cmocka_unit_test(absurd_numbers_of_epochs_overflow_nothing),
        cmocka_unit_test(the_largest_source_keeps_its_last_item),
        cmocka_unit_test(the_largest_n_iters_is_exact),
    };
    return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
