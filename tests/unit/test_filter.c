// What filter promises, and what leaving items out means for a batch, whoever does it.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fakes/action_fixture.h"
#include "fakes/heap.h"
#include "pipeline/cache.h"
#include "pipeline/internal.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { NITEMS = 8 };

static struct action_fixture fixture;

static const float prices[NITEMS] = {1, 2.5f, NAN, 4, -1, 6, 2.5f, 8};
static const int64_t kinds[NITEMS] = {0, 1, 2, 0, 1, 2, 0, 1};
static const uint64_t big[NITEMS] = {0, UINT64_MAX, 2, 3, 4, 5, 6, 7};
static const bool flags[NITEMS] = {true, false, true, true, false, false, true, true};
static const char words[] = "aabbccabcaab"; // a ab bc "" ca b c aab
static const uint64_t word_offsets[NITEMS + 1] = {0, 1, 3, 5, 5, 7, 8, 9, 12};
static const int16_t tail[] = {1, 2, 2, 3, 5, 5, 5, 7};
static const uint64_t tail_offsets[NITEMS + 1] = {0, 0, 1, 3, 4, 4, 7, 7, 8};

static void give(void)
{
    const struct given given[] = {
        {.name = "price", .dtype = BM_FLOAT32, .values = prices},
        {.name = "kind", .dtype = BM_INT64, .values = kinds},
        {.name = "big", .dtype = BM_UINT64, .values = big},
        {.name = "flag", .dtype = BM_BOOL, .values = flags},
        {.name = "word", .dtype = BM_STRING, .values = words, .offsets = word_offsets},
        {.name = "tail", .dtype = BM_INT16, .ndim = 1, .values = tail, .offsets = tail_offsets},
    };
    action_fixture_give(NITEMS, given, COUNT(given));
}

static int make_fixture(void **state)
{
    (void)state;
    action_fixture_init(&fixture);
    give();
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    action_fixture_fini(&fixture);
    return 0;
}

static void build(const char *actions)
{
    enum bm_status status = action_fixture_build(&fixture, actions);
    if (status != BM_OK)
        fail_msg("%s: %s: %s", actions, fixture.error.where, fixture.error.text);
}

// The items of the batch, as digits.
static void show_items(char items[NITEMS + 1])
{
    const struct bm_batch *batch = &fixture.work.batch;
    for (uint64_t row = 0; row < batch->nitems; row++)
        items[row] = (char)('0' + batch->items[row]);
    items[batch->nitems] = '\0';
}

// The items that are left of all.
static void assert_left(const char *actions, const char *expected)
{
    char left[NITEMS + 1];
    build(actions);
    assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_OK);
    show_items(left);
    if (strcmp(left, expected) != 0)
        fail_msg("%s: expected %s, got %s", actions, expected, left);
}

// ---- Which items stay ----

static void numbers_stay_between_the_bounds_and_nan_does_not(void **state)
{
    (void)state;
    assert_left("[filter: {component: price, min: 2.5}]", "13567");
    assert_left("[filter: {component: price, max: 2.5}]", "0146");
    assert_left("[filter: {component: price, min: 2.5, max: 4}]", "136");
    assert_left("[filter: {component: price, min: 2.5, max: 4, invert: true}]", "02457");
    assert_left("[filter: {component: kind, min: 1}]", "12457");
    assert_left("[filter: {component: big, max: 3}]", "023");
}

static void values_stay_that_are_in_the_list(void **state)
{
    (void)state;
    assert_left("[filter: {component: price, in: [2.5, 8, -1]}]", "1467");
    assert_left("[filter: {component: kind, in: 2}]", "25");
    assert_left("[filter: {component: kind, in: [2, 0, 2]}]", "02356");
    assert_left("[filter: {component: big, in: [7, 6, 2, 100]}]", "267");
    assert_left("[filter: {component: flag, in: true}]", "02367");
    assert_left("[filter: {component: word, in: [ca, a, '', x]}]", "034");
    assert_left("[filter: {component: word, in: [ca, a], invert: true}]", "123567");
    assert_left("[filter: {component: kind, in: [0, 1], min: 1}]", "147");
}

static void parameters_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    REFUSES("[filter: {min: 1}]", "[0].filter", "expected \"component\"");
    REFUSES("[filter: {component: price}]", "[0].filter",
            "expected \"min\", \"max\" or \"in\", got none of them");
    REFUSES("[filter: {component: none, min: 1}]", "filter.component", "none");
    REFUSES("[filter: {component: tail, min: 1}]", "filter.component",
            "expected a component of one value per item, got tail of 1 axes");
    REFUSES("[filter: {component: price, min: [1, 2]}]", "filter.min",
            "expected one number, got 2");
    REFUSES("[filter: {component: word, max: 1}]", "filter.max",
            "expected none for word of string, got 1");
    REFUSES("[filter: {component: kind, max: 9007199254740992}]", "filter.max",
            "expected a number below 2^53 for kind of int64");
    REFUSES("[filter: {component: kind, in: [1, two]}]", "filter.in",
            "expected values of kind, int64, got two");
    REFUSES("[filter: {component: kind, in: 1.5}]", "filter.in", "got 1.5");
    REFUSES("[filter: {component: kind, in: 9223372036854775807}]", "filter.in", "got 9223");
    REFUSES("[filter: {component: flag, in: 2}]", "filter.in", "got 2");
    REFUSES("[filter: {component: price, in: nan}]", "filter.in", "got nan");
}

static void without_memory_no_filter_is_built(void **state)
{
    (void)state;
    action_fixture_starves(&fixture, "[filter: {component: kind, in: [1, 2]}]");
}

// ---- What is left of a batch ----

static void assert_all_components_of(const char *expected)
{
    const struct bm_batch *batch = &fixture.work.batch;
    assert_int_equal(batch->nitems, strlen(expected));
    const float *price = action_fixture_values(&fixture, "price");
    const int64_t *kind = action_fixture_values(&fixture, "kind");
    int t = bm_schema_find(batch->schema, "tail"), w = bm_schema_find(batch->schema, "word");
    for (uint64_t row = 0; row < batch->nitems; row++) {
        uint64_t item = (uint64_t)(expected[row] - '0'), n;
        assert_int_equal(batch->items[row], item);
        assert_int_equal(batch->item_epochs[row], 0);
        assert_memory_equal(&price[row], &prices[item], sizeof prices[0]);
        assert_int_equal(kind[row], kinds[item]);
        const void *rows = bm_batch_rows(batch, (unsigned)t, row, 1, &n);
        assert_int_equal(n, tail_offsets[item + 1] - tail_offsets[item]);
        if (n > 0)
            assert_memory_equal(rows, tail + tail_offsets[item], n * sizeof tail[0]);
        const void *text = bm_batch_rows(batch, (unsigned)w, row, 1, &n);
        assert_int_equal(n, word_offsets[item + 1] - word_offsets[item]);
        if (n > 0)
            assert_memory_equal(text, words + word_offsets[item], n);
    }
    assert_int_equal(batch->tensors[t].size_bytes,
                     batch->tensors[t].offsets[batch->nitems] * sizeof tail[0]);
    assert_int_equal(batch->tensors[0].size_bytes, batch->nitems * sizeof(float));
}

static void what_is_left_keeps_all_its_components(void **state)
{
    (void)state;
    for (int lends = 0; lends < 2; lends++) {
        action_fixture_lend(lends);
        assert_left("[filter: {component: kind, in: [1, 2]}]", "12457");
        assert_all_components_of("12457");
        assert_left("[filter: {component: kind, in: 0}]", "036");
        assert_all_components_of("036");
        assert_left("[filter: {component: kind, min: 0}]", "01234567");
        assert_all_components_of("01234567");
    }
}

static void memory_that_somebody_else_has_is_not_written(void **state)
{
    (void)state;
    action_fixture_lend(true);
    build("[filter: {component: kind, in: [1, 2]}]");
    struct bm_work *work = &fixture.work;
    assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_OK);
    bm_work_fini(work);
    // A block that another batch still refers to, and one under two names.
    action_fixture_lend(false);
    build("[noop, filter: {component: kind, in: [1, 2]}]");
    assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_OK);
    bm_work_fini(work);
    const struct bm_order_params params = {
        .batch_size = NITEMS, .n_epochs = 1, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_order order;
    assert_int_equal(bm_order_init(&order, &params, NITEMS, NULL), BM_OK);
    assert_int_equal(bm_work_init(work, fixture.pipeline, &order, 0, NULL), BM_OK);
    assert_int_equal(bm_work_step(work, 0), BM_RESULT_OK);
    struct bm_block *held = bm_block_ref(work->batch.tensors[1].block);
    assert_int_equal(bm_work_step(work, 1), BM_RESULT_OK);
    assert_memory_equal(bm_block_data(held), kinds, sizeof kinds);
    assert_all_components_of("12457");
    bm_block_unref(held);
}

static void a_batch_with_none_left_is_skipped(void **state)
{
    (void)state;
    build("[filter: {component: kind, in: 5}]");
    assert_int_equal(action_fixture_run(&fixture, 4, 1), BM_RESULT_SKIP);
    assert_int_equal(fixture.work.batch.nitems, 4);
    assert_int_equal(fixture.work.items[0], 4);
}

static void items_keep_their_epochs(void **state)
{
    (void)state;
    const struct bm_order_params params = {.batch_size = 6,
                                           .n_epochs = 2,
                                           .n_iters = BM_ORDER_UNSET,
                                           .shard_count = 1,
                                           .epoch_border = BM_BORDER_CROSS};
    struct bm_order order;
    struct bm_work *work = &fixture.work;
    assert_int_equal(bm_order_init(&order, &params, NITEMS, NULL), BM_OK);
    build("[filter: {component: kind, in: [1, 2]}]"); // of 6 7 and, an epoch later, 0 1 2 3
    assert_int_equal(bm_work_init(work, fixture.pipeline, &order, 1, NULL), BM_OK);
    assert_int_equal(bm_work_step(work, 0), BM_RESULT_OK);
    assert_int_equal(bm_work_step(work, 1), BM_RESULT_OK);
    static const uint64_t items[] = {7, 1, 2}, epochs[] = {0, 1, 1};
    assert_int_equal(work->batch.nitems, 3);
    assert_memory_equal(work->batch.items, items, sizeof items);
    assert_memory_equal(work->batch.item_epochs, epochs, sizeof epochs);
    assert_int_equal(work->epoch, 0);
    bm_work_fini(work);
    build("[filter: {component: kind, in: 2}]");
    assert_int_equal(bm_work_init(work, fixture.pipeline, &order, 1, NULL), BM_OK);
    assert_int_equal(bm_work_step(work, 0), BM_RESULT_OK);
    assert_int_equal(bm_work_step(work, 1), BM_RESULT_OK);
    assert_int_equal(work->batch.items[0], 2);
    assert_int_equal(work->epoch, 1);
}

static void later_actions_see_only_what_is_left(void **state)
{
    (void)state;
    // one_hot fails at a class beyond the first two.
    assert_left("[{filter: {component: kind, in: [0, 1]}}, {one_hot: {component: kind, classes: "
                "2}}]",
                "013467");
    build("[noop, {filter: {component: kind, in: [0, 1]}}, noop, {filter: {component: price, min: "
          "0}}, noop]");
    assert_int_equal(bm_pipeline_nsteps(fixture.pipeline), 4);
    assert_string_equal(bm_pipeline_step_name(fixture.pipeline, 1), "noop+filter");
    assert_string_equal(bm_pipeline_step_name(fixture.pipeline, 2), "noop+filter");
    assert_string_equal(bm_pipeline_step_name(fixture.pipeline, 3), "noop");
    assert_left("[noop, {filter: {component: kind, in: [0, 1]}}, noop, {filter: {component: price, "
                "min: 0}}, noop]",
                "01367");
    assert_all_components_of("01367");
}

static void variables_count_what_is_left(void **state)
{
    (void)state;
    struct bm_variables *variables;
    struct bm_number numbers[6];
    assert_left("[{filter: {component: kind, in: 1}}, {accumulate: {component: kind}}]", "147");
    assert_int_equal(bm_variables_new(fixture.pipeline, &variables, NULL), BM_OK);
    bm_variables_merge(variables, &fixture.work);
    bm_variables_report(variables, numbers);
    assert_int_equal(numbers[0].integer, 3);
    bm_variables_free(variables);
}

static void random_numbers_do_not_depend_on_who_was_left_out(void **state)
{
    (void)state;
    float all[NITEMS];
    const float *some;
    assert_left("[{filter: {component: price, in: 100, invert: true}}, {add_noise: {components: "
                "price, std: 1}}]",
                "01234567");
    memcpy(all, action_fixture_values(&fixture, "price"), sizeof all);
    assert_left("[{filter: {component: kind, in: 1}}, {add_noise: {components: price, std: 1}}]",
                "147");
    some = action_fixture_values(&fixture, "price");
    for (unsigned i = 0; i < 3; i++)
        assert_memory_equal(&some[i], &all[1 + 3 * i], sizeof(float));
}

static void the_pieces_of_a_step_leave_out_the_same(void **state)
{
    (void)state;
    build("[noop, {filter: {component: kind, in: [1, 2]}}]");
    const struct bm_order_params params = {
        .batch_size = NITEMS, .n_epochs = 1, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_order order;
    struct bm_work *work = &fixture.work;
    assert_int_equal(bm_order_init(&order, &params, NITEMS, NULL), BM_OK);
    for (unsigned npieces = 1; npieces <= NITEMS; npieces++) {
        unsigned piece;
        bm_work_fini(work);
        assert_int_equal(bm_work_init(work, fixture.pipeline, &order, 0, NULL), BM_OK);
        assert_int_equal(bm_work_step(work, 0), BM_RESULT_OK);
        assert_true(bm_pipeline_step_spreads(fixture.pipeline, 1));
        struct bm_spread *spread = bm_spread_new(work, 1, npieces);
        while (bm_spread_claim(spread, &piece))
            (void)bm_spread_run(spread, piece);
        assert_int_equal(bm_spread_end(spread), BM_RESULT_OK);
        assert_all_components_of("12457");
    }
}

static void the_memory_of_a_work_serves_again_after_items_were_left_out(void **state)
{
    (void)state;
    build("[{filter: {component: kind, in: [1, 2]}}]");
    const struct bm_order_params params = {
        .batch_size = NITEMS, .n_epochs = 2, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_order order;
    struct bm_work *work = &fixture.work;
    assert_int_equal(bm_order_init(&order, &params, NITEMS, NULL), BM_OK);
    assert_int_equal(bm_work_init(work, fixture.pipeline, &order, 0, NULL), BM_OK);
    for (unsigned seq = 0; seq < 2; seq++) {
        assert_int_equal(bm_work_step(work, 0), BM_RESULT_OK);
        assert_int_equal(work->batch.nitems, NITEMS);
        assert_int_equal(bm_work_step(work, 1), BM_RESULT_OK);
        assert_int_equal(work->batch.nitems, 5);
        assert_int_equal(work->batch.items[4], 7);
        assert_int_equal(bm_work_again(work, &order, 1, NULL), BM_OK);
    }
}

static void without_memory_for_what_is_left_the_batch_fails_in_its_place(void **state)
{
    (void)state;
    action_fixture_lend(true);
    build("[{filter: {component: kind, in: [1, 2]}}]");
    const struct bm_order_params params = {
        .batch_size = NITEMS, .n_epochs = 1, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_order order;
    struct bm_work *work = &fixture.work;
    assert_int_equal(bm_order_init(&order, &params, NITEMS, NULL), BM_OK);
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        bm_work_fini(work);
        assert_int_equal(bm_work_init(work, fixture.pipeline, &order, 0, NULL), BM_OK);
        assert_int_equal(bm_work_step(work, 0), BM_RESULT_OK);
        bm_fake_heap_fail_at(n);
        enum bm_result result = bm_work_step(work, 1);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(result, failed ? BM_RESULT_FAIL : BM_RESULT_OK);
        if (failed) {
            assert_int_equal(work->error.status, BM_RESOURCE_EXHAUSTED);
            assert_int_equal(work->failed_action, 0);
            assert_string_equal(work->error.where, "pipeline test, action 0 (filter)");
        }
        assert_in_range(n, 1, 100);
    }
    assert_all_components_of("12457");
}

// Batches of 3 of 8 items, epoch by epoch, with and without a cache behind the filters.
static void a_cache_keeps_who_was_left_out(void **state)
{
    (void)state;
    static const char *const filters[] = {
        "{filter: {component: kind, in: [1, 2]}}",
        "{filter: {component: kind, in: [0, 1]}}, noop, {filter: {component: price, max: 3}}",
        "{filter: {component: kind, in: 7}}", // nobody is left
        "{filter: {component: kind, in: [2]}}",
    };
    for (unsigned i = 0; i < COUNT(filters); i++) {
        char plain[256], cached[256];
        snprintf(plain, sizeof plain, "[%s, noop]", filters[i]);
        snprintf(cached, sizeof cached, "[%s, {cache: {memory: 1MiB}}, noop]", filters[i]);
        char left[3][NITEMS + 1] = {""};
        enum bm_result results[3];
        build(plain);
        for (uint64_t seq = 0; seq < 3; seq++) {
            results[seq] = action_fixture_run(&fixture, 3, seq);
            if (results[seq] == BM_RESULT_OK)
                show_items(left[seq]);
        }
        build(cached);
        (void)action_fixture_run(&fixture, 2, 1); // items 2 and 3 are known before
        for (uint64_t k = 0; k < 6; k++) {
            assert_int_equal(action_fixture_run(&fixture, 3, k % 3), results[k % 3]);
            if (results[k % 3] == BM_RESULT_OK)
                assert_all_components_of(left[k % 3]);
        }
        struct bm_cache_report report = bm_cache_report(bm_pipeline_cache(fixture.pipeline));
        assert_int_equal(report.entries, NITEMS);
        assert_int_equal(report.misses, NITEMS);
        assert_int_equal(report.hits, NITEMS + 2);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(numbers_stay_between_the_bounds_and_nan_does_not),
        TEST(values_stay_that_are_in_the_list),
        TEST(parameters_that_make_no_sense_are_refused),
        TEST(without_memory_no_filter_is_built),
        TEST(what_is_left_keeps_all_its_components),
        TEST(memory_that_somebody_else_has_is_not_written),
        TEST(a_batch_with_none_left_is_skipped),
        TEST(items_keep_their_epochs),
        TEST(later_actions_see_only_what_is_left),
        TEST(variables_count_what_is_left),
        TEST(random_numbers_do_not_depend_on_who_was_left_out),
        TEST(the_pieces_of_a_step_leave_out_the_same),
        TEST(the_memory_of_a_work_serves_again_after_items_were_left_out),
        TEST(without_memory_for_what_is_left_the_batch_fails_in_its_place),
        TEST(a_cache_keeps_who_was_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
