// What repeat promises.
#include <math.h>
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

enum { NITEMS = 5, FOUR_TIMES = 20 };

static const float x[NITEMS] = {10, 20, 30, 40, 50};
static const int16_t tail[] = {1, 2, 2, 4};
static const uint64_t tail_offsets[NITEMS + 1] = {0, 0, 1, 3, 3, 4};

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

// numpy.repeat(x, 3)
static void every_item_comes_several_times(void **state)
{
    (void)state;
    give();
    static const float three[] = {10, 10, 10, 20, 20, 20, 30, 30, 30, 40, 40, 40, 50, 50, 50};
    static const int16_t tails[] = {1, 1, 1, 2, 2, 2, 2, 2, 2, 4, 4, 4};
    for (int lends = 0; lends < 2; lends++) {
        action_fixture_lend(lends);
        run("[noop, repeat: {times: 3}, noop]", NITEMS);
        assert_items("000111222333444");
        assert_memory_equal(action_fixture_values(&fixture, "x"), three, sizeof three);
        assert_memory_equal(action_fixture_values(&fixture, "tail"), tails, sizeof tails);
        assert_int_equal(fixture.work.batch.tensors[1].offsets[15], COUNT(tails));
        assert_int_equal(fixture.work.batch.tensors[1].offsets[4], 1);
    }
    run("[repeat: {times: 1}]", NITEMS);
    assert_items("01234");
}

static void each_copy_draws_numbers_of_its_own(void **state)
{
    (void)state;
    give();
    static float noisy[NITEMS];
    run("[noop, add_noise: {components: x, std: 1}]", NITEMS);
    memcpy(noisy, action_fixture_values(&fixture, "x"), sizeof noisy);
    run("[{repeat: {times: 2}}, {add_noise: {components: x, std: 1}}]", NITEMS);
    const float *values = action_fixture_values(&fixture, "x");
    for (uint64_t i = 0; i < NITEMS; i++) {
        assert_true(values[2 * i] == noisy[i]); // the first is the item itself
        assert_true(values[2 * i + 1] != noisy[i]);
        struct bm_random random;
        bm_random_init(&random, bm_mix64(bm_mix64(fixture.seed) ^ 1), 0, i, 1);
        assert_true(values[2 * i + 1] == (float)((double)x[i] + bm_random_normal(&random)));
    }
}

// A copy is the same one whatever else is in its batch.
static void copies_are_known_when_some_are_left_out(void **state)
{
    (void)state;
    give();
    static float noisy[FOUR_TIMES];
    run("[{repeat: {times: 2}}, {repeat: {times: 2}}, {noop: {}, probability: 0.5}, {add_noise: "
        "{components: x, std: 1}}]",
        NITEMS);
    assert_items("00001111222233334444");
    memcpy(noisy, action_fixture_values(&fixture, "x"), sizeof noisy);
    for (unsigned i = 0; i < FOUR_TIMES; i++)
        assert_true(i % 4 == 0 || noisy[i] != noisy[i - 1]);
    run("[{repeat: {times: 4}}, {filter: {component: x, min: 0}, probability: 0.5}, {filter: "
        "{component: x, in: [20, 40]}}, {add_noise: {components: x, std: 1}}]",
        NITEMS);
    assert_items("11113333");
    run("[{repeat: {times: 4}}, {filter: {component: x, max: 0}, probability: 0.5}, noop, "
        "{add_noise: {components: x, std: 1}}]",
        NITEMS);
    const struct bm_batch *batch = &fixture.work.batch;
    const float *values = action_fixture_values(&fixture, "x");
    assert_in_range(batch->nitems, 1, FOUR_TIMES - 1);
    for (uint64_t row = 0, i = 0; row < batch->nitems; row++, i++) {
        while (i < FOUR_TIMES && values[row] != noisy[i])
            i++; // those left out
        assert_in_range(i, 0, FOUR_TIMES - 1);
        assert_int_equal(batch->items[row], i / 4);
    }
}

static void want_of_memory_fails_the_batch_in_its_place(void **state)
{
    (void)state;
    give();
    run("[repeat: {times: 3}]", NITEMS);
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
        assert_int_equal(work->error.status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        assert_int_equal(work->failed_action, failed ? 0 : -1);
        assert_in_range(n, 1, 100);
    }
    assert_items("000111222333444");
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    give();
    REFUSES("[repeat: {times: 0}]", "repeat.times", "got 0");
    REFUSES("[{repeat: {times: 64}}, {repeat: {times: 17}}]", "",
            "expected items to be repeated at most 1024 times, got 64 times 17");
    REFUSES("[{repeat: {times: 2}, probability: 0.5}]", "[0].probability", "works on batches");
    REFUSES("[{repeat: {times: 2}}, cache: {memory: 1MiB}]", "[1]",
            "action 0 (repeat) repeats items");
}

static void its_memory_is_part_of_the_batchs(void **state)
{
    (void)state;
    give();
    run("[noop]", NITEMS);
    uint64_t plain = bm_pipeline_batch_bytes(fixture.pipeline, 100);
    run("[repeat: {times: 10}]", NITEMS);
    assert_in_range(bm_pipeline_batch_bytes(fixture.pipeline, 100) - plain, 100 * 9 * (4 + 16),
                    100 * 11 * (4 + 16 + 4));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(every_item_comes_several_times),
        TEST(each_copy_draws_numbers_of_its_own),
        TEST(copies_are_known_when_some_are_left_out),
        TEST(want_of_memory_fails_the_batch_in_its_place),
        TEST(what_makes_no_sense_is_refused),
        TEST(its_memory_is_part_of_the_batchs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
