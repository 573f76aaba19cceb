// What wait and burn promise. Nothing here sleeps: the scheduler's side of a wait is a fake.
#include <time.h>

#include "fakes/action_fixture.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)

enum { N = 200 };

static struct action_fixture fixture;
static int64_t values[N];

static int make_fixture(void **state)
{
    (void)state;
    action_fixture_init(&fixture);
    for (int64_t i = 0; i < N; i++)
        values[i] = i;
    action_fixture_give(N, &(struct given){.name = "x", .dtype = BM_INT64, .values = values}, 1);
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    action_fixture_fini(&fixture);
    return 0;
}

static uint64_t slept_ns(uint64_t batch_size, uint64_t seq)
{
    fixture.slept_ns = 0;
    fixture.nsleeps = 0;
    assert_int_equal(action_fixture_run(&fixture, batch_size, seq), BM_RESULT_OK);
    assert_int_equal(fixture.nsleeps, 1);
    return fixture.slept_ns;
}

static void wait_asks_for_its_time_and_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(action_fixture_build(&fixture, "[wait: {ms: 2.5}]"), BM_OK);
    assert_true(bm_pipeline_step_waits(fixture.pipeline, 1));
    assert_int_equal(slept_ns(N, 0), 2500000);
    assert_memory_equal(action_fixture_values(&fixture, "x"), values, sizeof values);
    assert_int_equal(action_fixture_build(&fixture, "[wait: {ms: 0}]"), BM_OK);
    assert_int_equal(slept_ns(N, 0), 0);
    assert_int_equal(action_fixture_build(&fixture, "[wait: {ms: 0.0000016}]"), BM_OK);
    assert_int_equal(slept_ns(N, 0), 2);
}

static void jitter_differs_from_batch_to_batch_and_comes_again(void **state)
{
    (void)state;
    uint64_t first[N], least = UINT64_MAX, most = 0;
    assert_int_equal(action_fixture_build(&fixture, "[wait: {ms: 1, jitter_ms: 4}]"), BM_OK);
    for (uint64_t seq = 0; seq < N; seq++) {
        first[seq] = slept_ns(1, seq);
        assert_in_range(first[seq], 1000000, 5000000);
        least = first[seq] < least ? first[seq] : least;
        most = first[seq] > most ? first[seq] : most;
    }
    assert_in_range(least, 1000000, 1200000); // of 200 draws: missed once in 30,000 seeds
    assert_in_range(most, 4800000, 5000000);
    for (uint64_t seq = 0; seq < N; seq++)
        assert_int_equal(slept_ns(1, seq), first[seq]);
}

static void burn_takes_processor_time_of_its_thread(void **state)
{
    (void)state;
    // Not the time of day: this clock stands still while the thread does not run.
    struct timespec before, after;
    assert_int_equal(action_fixture_build(&fixture, "[burn: {ms: 3}]"), BM_OK);
    assert_false(bm_pipeline_step_waits(fixture.pipeline, 1));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    int64_t burnt_ns =
        (after.tv_sec - before.tv_sec) * INT64_C(1000000000) + after.tv_nsec - before.tv_nsec;
    assert_true(burnt_ns >= 3000000);
    assert_int_equal(fixture.nsleeps, 0);
    assert_memory_equal(action_fixture_values(&fixture, "x"), values, sizeof values);
    assert_int_equal(action_fixture_build(&fixture, "[burn: {ms: 0}]"), BM_OK);
    assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
}

static void times_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    REFUSES("[wait]", "[0]", "ms");
    REFUSES("[wait: {ms: -1}]", ".ms", "from 0");
    REFUSES("[wait: {ms: 86400001}]", ".ms", "to 86400000");
    REFUSES("[wait: {ms: soon}]", ".ms", "a number");
    REFUSES("[wait: {ms: 1, jitter_ms: -1}]", ".jitter_ms", "from 0");
    REFUSES("[burn]", "[0]", "ms");
    REFUSES("[burn: {ms: -1}]", ".ms", "from 0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wait_asks_for_its_time_and_changes_nothing),
        TEST(jitter_differs_from_batch_to_batch_and_comes_again),
        TEST(burn_takes_processor_time_of_its_thread),
        TEST(times_that_mean_nothing_are_refused),
    };
    return cmocka_run_group_tests_name("timing", tests, NULL, NULL);
}
