// When a reply waits for more batches, and when it does not.
#include "fakes/fake_host.h"
#include "support.h"

#define US UINT64_C(1000)
enum { PREFETCH = 15, QUARTER = 4 };

static struct fake_host host;
static char id[BM_STREAM_ID_MAX + 1];

static int setup(void **state)
{
    (void)state;
    fake_host_init(&host);
    fake_host_add(&host, "hand", 400, "[hand]"); // its batches wait for finish()
    fake_id(fake_open(&host, (struct bm_open_request){.pipeline = "hand",
                                                      .order.batch_size = 4,
                                                      .prefetch = PREFETCH}),
            id);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_host_fini(&host);
    return 0;
}

static struct fake_call *ask(uint64_t first, uint32_t count)
{
    return fake_next(
        &host,
        (struct bm_next_request){
            .stream = id, .first = first, .max_batches = count, .wait_ms = 1000, .ack = first});
}

static void pass(uint64_t ns)
{
    struct fake_executor *executor = &host.mill.executor;
    uint64_t end_ns = executor->now_ns + ns;
    fake_executor_settle(executor, end_ns);
}

static void finish(uint64_t after_ns) // the next batch
{
    pass(after_ns);
    fake_host_finish(&host, 0);
}

static void expect_batches(struct fake_call *call, unsigned n)
{
    assert_true(fake_answered(call));
    assert_int_equal(fake_reply(call)->code, BM_OK);
    assert_int_equal(fake_reply(call)->batches.noutcomes, n);
    fake_call_free(call);
}

static void run_in(uint64_t pace_ns) // a stream that has this pace; batches 0 and 1 are taken
{
    struct fake_call *call = ask(0, 1);
    finish(0);
    expect_batches(call, 1); // nobody knows yet how fast it is
    call = ask(1, 1);
    finish(pace_ns);
    expect_batches(call, 1); // that is all it asked for
}

static void batches_that_follow_fast_travel_together(void **state)
{
    (void)state;
    run_in(2 * US);
    struct fake_call *call = ask(2, 8);
    for (unsigned i = 0; i < QUARTER; i++) {
        assert_false(fake_answered(call));
        finish(2 * US);
    }
    expect_batches(call, QUARTER); // a quarter of the window
}

static void who_asks_for_few_waits_for_no_more(void **state)
{
    (void)state;
    run_in(2 * US);
    struct fake_call *call = ask(2, 2);
    finish(2 * US);
    assert_false(fake_answered(call));
    finish(2 * US);
    expect_batches(call, 2);
}

static void nobody_waits_longer_than_200_us_for_others(void **state)
{
    (void)state;
    run_in(2 * US);
    struct fake_call *call = ask(2, 8);
    finish(2 * US);
    pass(199 * US);
    assert_false(fake_answered(call));
    pass(1 * US);
    expect_batches(call, 1);
    finish(0); // after such a pause it is no fast stream any more
    expect_batches(ask(3, 8), 1);
}

static void who_asks_late_waits_too(void **state)
{
    (void)state;
    run_in(2 * US);
    finish(2 * US);
    struct fake_call *call = ask(2, 8);
    assert_false(fake_answered(call));
    pass(200 * US);
    expect_batches(call, 1);
}

static void slow_batches_wait_for_nobody(void **state)
{
    (void)state;
    run_in(26 * US);
    for (uint64_t seq = 2; seq < 12; seq++) {
        struct fake_call *call = ask(seq, 8);
        finish(26 * US);
        expect_batches(call, 1);
    }
}

static void a_stream_may_close_while_a_reply_lingers(void **state)
{
    (void)state;
    run_in(2 * US);
    struct fake_call *call = ask(2, 8);
    finish(2 * US);
    fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, id));
    fake_expect(call, BM_CANCELLED, "closed");
    pass(1000 * US); // no timer is left
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(batches_that_follow_fast_travel_together),
        TEST(who_asks_for_few_waits_for_no_more),
        TEST(nobody_waits_longer_than_200_us_for_others),
        TEST(who_asks_late_waits_too),
        TEST(slow_batches_wait_for_nobody),
        TEST(a_stream_may_close_while_a_reply_lingers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
