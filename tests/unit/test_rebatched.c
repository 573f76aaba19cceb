// What rebatch promises: actions before it see batches of another size; nothing else changes.
#include <stdio.h>
#include <string.h>

#include "fakes/action_fixture.h"
#include "fakes/heap.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct action_fixture fixture;

static int make_fixture(void **state)
{
    (void)state;
    action_fixture_init(&fixture);
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    action_fixture_fini(&fixture);
    return 0;
}

static void run(const char *actions, uint64_t batch_size)
{
    enum bm_status status = action_fixture_build(&fixture, actions);
    if (status != BM_OK)
        fail_msg("%s: %s: %s", actions, fixture.error.where, fixture.error.text);
    if (action_fixture_run(&fixture, batch_size, 0) != BM_RESULT_OK)
        fail_msg("%s: %s: %s", actions, fixture.work.error.where, fixture.work.error.text);
}

enum { NITEMS = 7, FOUR_TIMES = 28 };

static const float x[NITEMS] = {10, 20, 30, 40, 50, 60, 70};
static const int16_t tail[] = {1, 2, 2, 4, 5, 5, 5, 6};
static const uint64_t tail_offsets[NITEMS + 1] = {0, 0, 1, 3, 3, 4, 7, 8};

static void give(void)
{
    const struct given given[] = {
        {.name = "x", .dtype = BM_FLOAT32, .values = x},
        {.name = "tail", .dtype = BM_INT16, .ndim = 1, .values = tail, .offsets = tail_offsets},
    };
    action_fixture_give(NITEMS, given, COUNT(given));
}

static void assert_items(const char *expected)
{
    const struct bm_batch *batch = &fixture.work.batch;
    assert_int_equal(batch->nitems, strlen(expected));
    for (uint64_t row = 0; row < batch->nitems; row++) {
        assert_int_equal(batch->items[row], expected[row] - '0');
        assert_int_equal(batch->item_epochs[row], 0);
    }
}

static void assert_tail(const int16_t *values, const uint64_t *offsets)
{
    const struct bm_batch *batch = &fixture.work.batch;
    unsigned c = (unsigned)bm_schema_find(batch->schema, "tail");
    assert_memory_equal(batch->tensors[c].offsets, offsets, (batch->nitems + 1) * sizeof *offsets);
    assert_memory_equal(batch->tensors[c].data, values, offsets[batch->nitems] * sizeof *values);
}

// Each part is padded to the longest of its own, the whole behind it to the longest of all.
static void actions_before_it_see_batches_of_its_size(void **state)
{
    (void)state;
    give();
    static const uint64_t by_two[] = {0, 1, 2, 4, 6, 9, 12, 13};
    static const int16_t parts[] = {0, 1, 2, 2, 0, 0, 4, 0, 0, 5, 5, 5, 6};
    for (int lends = 0; lends < 2; lends++) {
        action_fixture_lend(lends);
        run("[{pad_sequence: {component: tail, longest: true}}, rebatch: {from: 2}]", NITEMS);
        assert_items("0123456");
        assert_tail(parts, by_two);
        assert_memory_equal(action_fixture_values(&fixture, "x"), x, sizeof x);
    }
    static const uint64_t by_seven[] = {0, 3, 6, 9, 12, 15, 18, 21};
    run("[{pad_sequence: {component: tail, longest: true}}, {rebatch: {from: 2}}, {pad_sequence: "
        "{component: tail, longest: true}}]",
        NITEMS);
    const struct bm_batch *batch = &fixture.work.batch;
    assert_memory_equal(batch->tensors[1].offsets, by_seven, sizeof by_seven);
}

static void what_is_per_item_comes_to_the_same_bytes(void **state)
{
    (void)state;
    give();
    static float noisy[FOUR_TIMES];
    static uint64_t items[FOUR_TIMES];
    static const char *const sizes[] = {"1", "2", "3", "7", "100"};
    run("[{repeat: {times: 4}}, {filter: {component: x, max: 35}, probability: 0.5}, {add_noise: "
        "{components: x, std: 1}}]",
        NITEMS);
    uint64_t n = fixture.work.batch.nitems;
    assert_in_range(n, 1, FOUR_TIMES - 1);
    memcpy(noisy, action_fixture_values(&fixture, "x"), n * sizeof noisy[0]);
    memcpy(items, fixture.work.items, n * sizeof items[0]);
    for (unsigned i = 0; i < COUNT(sizes); i++) {
        char yaml[256];
        snprintf(yaml, sizeof yaml,
                 "[{repeat: {times: 4}}, {filter: {component: x, max: 35}, probability: 0.5}, "
                 "{add_noise: {components: x, std: 1}}, {rebatch: {from: %s}}]",
                 sizes[i]);
        run(yaml, NITEMS);
        assert_int_equal(fixture.work.batch.nitems, n);
        assert_memory_equal(action_fixture_values(&fixture, "x"), noisy, n * sizeof noisy[0]);
        assert_memory_equal(fixture.work.items, items, n * sizeof items[0]);
    }
}

static void parts_that_are_left_out_or_empty_leave_the_others(void **state)
{
    (void)state;
    give();
    run("[{filter: {component: x, in: [10, 50, 70]}}, {rebatch: {from: 2}}]", NITEMS);
    assert_items("046");
    run("[{skip_at: {items: 3}}, {rebatch: {from: 2}}]", NITEMS);
    assert_items("01456");
    assert_int_equal(
        action_fixture_build(&fixture, "[{filter: {component: x, max: 0}}, {rebatch: {from: 2}}]"),
        BM_OK);
    assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_SKIP);
    assert_int_equal(action_fixture_build(&fixture, "[{end_at: {items: 6}}, {rebatch: {from: 2}}]"),
                     BM_OK);
    assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_END);
}

static void a_failure_names_its_action_and_item(void **state)
{
    (void)state;
    give();
    assert_int_equal(
        action_fixture_build(&fixture, "[noop, {fail_at: {items: 5}}, {rebatch: {from: 2}}]"),
        BM_OK);
    assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_FAIL);
    assert_int_equal(fixture.work.failed_action, 1);
    assert_int_equal(fixture.work.failed_item, 5);
    assert_non_null(strstr(fixture.work.error.where, "action 1 (fail_at), item 5"));
}

static void variables_see_every_part_once(void **state)
{
    (void)state;
    give();
    static const char *const lists[] = {
        "[{accumulate: {component: x}}, {rebatch: {from: 2}}]",
        "[{rebatch: {from: 2}}, {accumulate: {component: x}}]",
    };
    for (unsigned i = 0; i < COUNT(lists); i++) {
        struct bm_variables *variables;
        struct bm_number numbers[8];
        run(lists[i], NITEMS);
        assert_int_equal(bm_variables_new(fixture.pipeline, &variables, NULL), BM_OK);
        bm_variables_merge(variables, &fixture.work);
        assert_in_range(bm_variables_count(variables), 2, 8);
        bm_variables_report(variables, numbers);
        assert_true(numbers[0].integer == NITEMS);
        assert_true(numbers[1].real == 280);
        bm_variables_free(variables);
    }
}

// Batches that serve again, of which the last one is short.
static void a_stream_of_batches_in_one_memory(void **state)
{
    (void)state;
    give();
    static const char *const expected[] = {"0123", "456", "0123"};
    const struct bm_order_params params = {
        .batch_size = 4, .n_epochs = 2, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_order order;
    struct bm_work work = {0};
    run("[{scale: {components: x, factor: 2}}, {rebatch: {from: 3}}, {scale: {components: x, "
        "factor: 2}}]",
        NITEMS);
    assert_int_equal(bm_order_init(&order, &params, NITEMS, NULL), BM_OK);
    assert_int_equal(bm_work_init(&work, fixture.pipeline, &order, 0, NULL), BM_OK);
    for (uint64_t seq = 0; seq < 3; seq++) {
        if (seq > 0)
            assert_int_equal(bm_work_again(&work, &order, seq, NULL), BM_OK);
        for (unsigned step = 0; step < bm_pipeline_nsteps(fixture.pipeline); step++)
            assert_int_equal(bm_work_step(&work, step), BM_RESULT_OK);
        assert_int_equal(work.batch.nitems, strlen(expected[seq]));
        for (uint64_t row = 0; row < work.batch.nitems; row++) {
            float value = ((const float *)(const void *)work.batch.tensors[0].data)[row];
            assert_int_equal(work.batch.items[row], expected[seq][row] - '0');
            assert_true(value == 4 * x[work.batch.items[row]]);
        }
        assert_int_equal(work.epoch, seq / 2);
    }
    bm_work_fini(&work);
}

static void want_of_memory_fails_the_batch_in_its_place(void **state)
{
    (void)state;
    give();
    const struct bm_order_params params = {
        .batch_size = NITEMS, .n_epochs = 1, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_order order;
    struct bm_work *work = &fixture.work;
    run("[{repeat: {times: 2}}, {filter: {component: x, max: 35}}, {rebatch: {from: 3}}]", NITEMS);
    assert_int_equal(bm_order_init(&order, &params, NITEMS, NULL), BM_OK);
    for (uint64_t n = 1; n <= 3; n++) { // room for the parts and their items
        bm_work_fini(work);
        assert_int_equal(bm_work_init(work, fixture.pipeline, &order, 0, NULL), BM_OK);
        bm_fake_heap_fail_at(n);
        assert_int_equal(bm_work_step(work, 0), BM_RESULT_FAIL);
        bm_fake_heap_fail_never();
        assert_int_equal(work->error.status, BM_RESOURCE_EXHAUSTED);
    }
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        enum bm_result result = BM_RESULT_OK;
        bm_work_fini(work);
        assert_int_equal(bm_work_init(work, fixture.pipeline, &order, 0, NULL), BM_OK);
        assert_int_equal(bm_work_step(work, 0), BM_RESULT_OK); // the fake source must not want
        bm_fake_heap_fail_at(n);
        for (unsigned s = 1; s < bm_pipeline_nsteps(fixture.pipeline) && result == BM_RESULT_OK;
             s++)
            result = bm_work_step(work, s);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(result, failed ? BM_RESULT_FAIL : BM_RESULT_OK);
        assert_int_equal(work->error.status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        assert_in_range(n, 1, 200);
    }
    assert_items("001122");
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    give();
    REFUSES("[rebatch: {from: 0}]", "rebatch.from", "got 0");
    REFUSES("[rebatch: {}]", "rebatch", "from");
    REFUSES("[{rebatch: {from: 2}}, {rebatch: {from: 4}}]", "",
            "expected one rebatch in a pipeline");
    REFUSES("[noop, {wait: {ms: 1}}, {rebatch: {from: 4}}]", "",
            "expected no action before it that waits, but action 1 (wait) does");
    REFUSES("[{rebatch: {from: 2}, probability: 0.5}]", "[0].probability", "works on batches");
    REFUSES("[{rebatch: {from: 2}}, cache: {memory: 1MiB}]", "[1]", "action 0 (rebatch)");
}

static void its_memory_is_part_of_the_batchs(void **state)
{
    (void)state;
    give();
    run("[noop]", NITEMS);
    uint64_t plain = bm_pipeline_batch_bytes(fixture.pipeline, 100);
    run("[noop, rebatch: {from: 10}]", NITEMS);
    assert_in_range(bm_pipeline_batch_bytes(fixture.pipeline, 100) - plain,
                    UINT64_C(100) * (4 + 16) + 10 * sizeof(struct bm_work),
                    UINT64_C(100) * (4 + 16) + 20 * (sizeof(struct bm_work) + 1024));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(actions_before_it_see_batches_of_its_size),
        TEST(what_is_per_item_comes_to_the_same_bytes),
        TEST(parts_that_are_left_out_or_empty_leave_the_others),
        TEST(a_failure_names_its_action_and_item),
        TEST(variables_see_every_part_once),
        TEST(a_stream_of_batches_in_one_memory),
        TEST(want_of_memory_fails_the_batch_in_its_place),
        TEST(what_makes_no_sense_is_refused),
        TEST(its_memory_is_part_of_the_batchs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
