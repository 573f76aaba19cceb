// The window of a stream whose server is to find out how many batches to work on ahead.
#include "fakes/fake_host.h"
#include "support.h"

static struct fake_host host;
static char id[BM_STREAM_ID_MAX + 1];
static uint32_t most; // prefetch, as opened

static void open_auto(const char *pipeline, const char *cursor, uint64_t batch_size)
{
    struct fake_call *call =
        fake_open(&host, (struct bm_open_request){.pipeline = pipeline,
                                                  .cursor = cursor,
                                                  .order.batch_size = batch_size,
                                                  .prefetch = BM_PREFETCH_AUTO});
    assert_int_equal(fake_reply(call)->code, BM_OK);
    most = fake_reply(call)->opened.prefetch;
    fake_id(call, id);
}

static int setup(void **state)
{
    (void)state;
    fake_host_init(&host);
    fake_host_add(&host, "hand", 100000, "[hand]"); // its batches wait for fake_host_finish()
    fake_host_add(&host, "wide", 100000000, "[hand]");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_host_fini(&host);
    return 0;
}

// The consumer takes batch `seq`, which it `waits` for; the window that the answer tells of.
static uint32_t take(uint64_t seq, bool waits)
{
    struct fake_call *call = fake_next(&host, (struct bm_next_request){.stream = id,
                                                                       .first = seq,
                                                                       .max_batches = 1,
                                                                       .wait_ms = 1000,
                                                                       .ack = seq,
                                                                       .waits = waits});
    if (!fake_answered(call))
        fake_host_finish(&host, 0);
    assert_int_equal(fake_reply(call)->batches.noutcomes, 1);
    uint32_t window = fake_reply(call)->batches.window;
    fake_call_free(call);
    return window;
}

static void it_grows_while_the_consumer_waits_and_no_further(void **state)
{
    (void)state;
    open_auto("hand", NULL, 4);
    assert_int_equal(most, 255);
    uint32_t window = take(0, true);
    assert_int_equal(window, 4);
    assert_int_equal(mill_deferred_count(), 3); // and the one that was taken
    uint64_t seq = 1, grown = 0;
    for (; window < most + 1; seq++) {
        uint32_t now = take(seq, true);
        assert_true(now == window || (now == 2 * window && seq >= grown + window));
        grown = now == window ? grown : seq;
        window = now;
    }
    assert_int_equal(window, 256);
    assert_true(seq < 1000);
    for (unsigned i = 0; i < 600; i++)
        assert_int_equal(take(seq++, true), 256);
}

static void a_consumer_that_has_enough_keeps_it_narrow(void **state)
{
    (void)state;
    open_auto("hand", NULL, 4);
    for (uint64_t seq = 0; seq < 100; seq++)
        assert_int_equal(take(seq, false), 4);
}

static void large_batches_get_fewer_places(void **state)
{
    (void)state;
    open_auto("wide", NULL, UINT64_C(100000));
    assert_in_range(most, 5, 40);
    open_auto("wide", NULL, UINT64_C(10000000));
    assert_int_equal(most, 4);
}

static void a_fixed_window_tells_of_none(void **state)
{
    (void)state;
    fake_id(fake_open(
                &host,
                (struct bm_open_request){.pipeline = "hand", .order.batch_size = 4, .prefetch = 3}),
            id);
    for (uint64_t seq = 0; seq < 10; seq++)
        assert_int_equal(take(seq, true), 0);
}

static void a_cursor_has_the_least(void **state)
{
    (void)state;
    open_auto("hand", "shared", 4);
    struct fake_call *call =
        fake_next(&host, (struct bm_next_request){.stream = id, .max_batches = 1, .wait_ms = 1000});
    assert_int_equal(mill_deferred_count(), 5);
    fake_host_finish(&host, 0);
    fake_call_free(call);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_grows_while_the_consumer_waits_and_no_further),
        TEST(a_consumer_that_has_enough_keeps_it_narrow),
        TEST(large_batches_get_fewer_places),
        TEST(a_fixed_window_tells_of_none),
        TEST(a_cursor_has_the_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
