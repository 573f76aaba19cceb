// A run: a stream drained on the server, of which a client wants the counts.
#include "fakes/fake_host.h"

#include <string.h>

#include "support.h"

enum { NITEMS = 40, LEASE_MS = FAKE_LEASE_MS };

static struct fake_host host;

static int setup(void **state)
{
    (void)state;
    fake_host_init(&host);
    fake_host_add(&host, "count", NITEMS, "[{add: {amount: 1}}, sum]");
    fake_host_add(&host, "slow", NITEMS, "[hand, sum]");
    fake_host_add(&host, "naps", NITEMS, "[{nap: {ns: 1000000000}}]");
    fake_host_add(&host, "broken", NITEMS,
                  "[{fail: {seq: 2}}, {skip: {seq: 4}}, {fail: {seq: 6}}, sum]");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_host_fini(&host);
    return 0;
}

static struct bm_open_request open_of(const char *pipeline)
{
    return (struct bm_open_request){.pipeline = pipeline, .order.batch_size = 4, .prefetch = 1};
}

static const char *run_of(struct bm_open_request open)
{
    static char ids[8][BM_STREAM_ID_MAX + 1];
    static unsigned n;
    char *id = ids[n++ % 8];
    fake_id(fake_run(&host, open), id);
    return id;
}

static const struct bm_run_report *report_of(const struct fake_call *call)
{
    const struct bm_reply *reply = fake_reply(call);
    if (reply->code != BM_OK)
        fail_msg("%s: %s", bm_status_name(reply->code), reply->message);
    return &reply->run;
}

static void expect_state(struct fake_call *call, enum bm_run_state state)
{
    assert_int_equal(report_of(call)->state, state);
    fake_call_free(call);
}

static void expect_ok(struct fake_call *call)
{
    assert_int_equal(fake_reply(call)->code, BM_OK);
    fake_call_free(call);
}

static unsigned nstreams(void)
{
    return bm_scheduler_status(host.mill.scheduler).nstreams;
}

static void a_run_counts_every_batch_and_reports_the_variables(void **state)
{
    (void)state;
    const char *id = run_of(open_of("count"));
    struct fake_call *call = fake_get_run(&host, id, 0);
    const struct bm_run_report *report = report_of(call);
    assert_int_equal(report->state, BM_RUN_DONE);
    assert_int_equal(report->batches, 10);
    assert_int_equal(report->items, NITEMS);
    assert_int_equal(report->bytes, NITEMS * sizeof(int64_t));
    assert_int_equal(report->skipped + report->failed, 0);
    assert_null(report->error);
    assert_int_equal(report->nnumbers, 3);
    assert_string_equal(report->numbers[0].name, "x.sum");
    assert_int_equal(report->numbers[0].integer, NITEMS * (NITEMS - 1) / 2 + NITEMS);
    assert_int_equal(report->numbers[1].integer, 10);
    fake_call_free(call);
    assert_int_equal(nstreams(), 0); // its stream is gone, its report stays
}

static void a_run_says_how_long_it_will_be(void **state)
{
    (void)state;
    struct bm_open_request open = open_of("count");
    open.order.n_epochs = 3;
    struct fake_call *call = fake_run(&host, open);
    assert_int_equal(fake_reply(call)->opened.batches, 30);
    assert_int_equal(fake_reply(call)->opened.lease_ms, LEASE_MS);
    assert_null(fake_reply(call)->opened.position_stem);
    fake_call_free(call);
}

static void who_waits_for_a_run_is_answered_at_its_end(void **state)
{
    (void)state;
    const char *id = run_of(open_of("naps"));
    struct fake_call *waiting = fake_get_run(&host, id, 30000);
    struct fake_call *now = fake_get_run(&host, id, 0), *later = fake_get_run(&host, id, 2500);
    expect_state(now, BM_RUN_RUNNING);
    fake_host_pass(&host, 2500);
    const struct bm_run_report *report = report_of(later);
    assert_int_equal(report->state, BM_RUN_RUNNING);
    assert_int_equal(report->batches, 4); // two at a time, a second each
    assert_float_equal(report->seconds, 2.5, 1e-9);
    fake_call_free(later);
    assert_false(fake_answered(waiting));
    fake_host_pass(&host, 2500);
    assert_int_equal(report_of(waiting)->state, BM_RUN_DONE);
    assert_float_equal(report_of(waiting)->seconds, 5, 1e-9);
    fake_call_free(waiting);
}

static void a_failure_ends_a_run_and_is_reported(void **state)
{
    (void)state;
    struct fake_call *call = fake_get_run(&host, run_of(open_of("broken")), 0);
    const struct bm_run_report *report = report_of(call);
    assert_int_equal(report->state, BM_RUN_FAILED);
    assert_int_equal(report->batches, 2);
    assert_int_equal(report->failed, 1);
    assert_int_equal(report->error->seq, 2);
    assert_string_equal(report->error->work.error.text, "told to fail at 2");
    fake_call_free(call);
}

static void a_run_that_goes_on_after_failures_reports_the_first(void **state)
{
    (void)state;
    struct bm_open_request open = open_of("broken");
    open.on_error = BM_ON_ERROR_REPORT;
    struct fake_call *call = fake_get_run(&host, run_of(open), 0);
    assert_int_equal(report_of(call)->state, BM_RUN_DONE);
    assert_int_equal(report_of(call)->batches, 7);
    assert_int_equal(report_of(call)->failed, 2);
    assert_int_equal(report_of(call)->skipped, 1);
    assert_int_equal(report_of(call)->error->seq, 2);
    fake_call_free(call);
    open.on_error = BM_ON_ERROR_SKIP;
    call = fake_get_run(&host, run_of(open), 0);
    assert_int_equal(report_of(call)->state, BM_RUN_DONE);
    assert_int_equal(report_of(call)->skipped + report_of(call)->failed, 3);
    assert_int_equal(report_of(call)->error->seq, 2); // why it was left out
    fake_call_free(call);
}

static void a_cancelled_run_keeps_what_it_counted(void **state)
{
    (void)state;
    const char *id = run_of(open_of("slow"));
    struct fake_call *waiting = fake_get_run(&host, id, 1000);
    for (int i = 0; i < 3; i++)
        fake_host_finish(&host, 0);
    expect_ok(fake_named(&host, BM_CALL_CANCEL_RUN, id));
    assert_int_equal(report_of(waiting)->state, BM_RUN_CANCELLED);
    assert_int_equal(report_of(waiting)->batches, 3);
    assert_int_equal(report_of(waiting)->numbers[1].integer, 3);
    fake_call_free(waiting);
    expect_ok(fake_named(&host, BM_CALL_CANCEL_RUN, id)); // again
    expect_state(fake_get_run(&host, id, 0), BM_RUN_CANCELLED);
    assert_int_equal(nstreams(), 0);
}

static void a_cancelled_run_holds_up_no_drain(void **state)
{
    (void)state;
    const char *id = run_of(open_of("slow"));
    assert_false(bm_session_idle(host.session));
    expect_ok(fake_named(&host, BM_CALL_CANCEL_RUN, id));
    assert_true(bm_session_idle(host.session)); // who cancelled it knows how it ended
}

static void cancelling_a_run_that_is_done_changes_nothing(void **state)
{
    (void)state;
    const char *id = run_of(open_of("count"));
    expect_ok(fake_named(&host, BM_CALL_CANCEL_RUN, id));
    expect_state(fake_get_run(&host, id, 0), BM_RUN_DONE);
    fake_expect(fake_named(&host, BM_CALL_CANCEL_RUN, "no"), BM_NOT_FOUND, "run \"no\"");
}

static void a_run_nobody_asks_for_is_stopped(void **state)
{
    (void)state;
    const char *id = run_of(open_of("slow"));
    fake_host_pass(&host, LEASE_MS - 1);
    expect_state(fake_get_run(&host, id, 0), BM_RUN_RUNNING);
    fake_host_pass(&host, LEASE_MS - 1);
    assert_int_equal(nstreams(), 1);
    fake_host_pass(&host, 1);
    assert_int_equal(nstreams(), 0);
    fake_expect(fake_get_run(&host, id, 0), BM_NOT_FOUND, "run");
}

static void a_detached_run_goes_on_alone_and_keeps_its_report_for_a_lease(void **state)
{
    (void)state;
    struct bm_open_request open = open_of("slow");
    open.detached = true;
    const char *id = run_of(open);
    fake_host_pass(&host, (uint64_t)10 * LEASE_MS);
    assert_int_equal(nstreams(), 1);
    while (mill_deferred_count() > 0)
        fake_host_finish(&host, 0);
    fake_host_pass(&host, LEASE_MS - 1);
    expect_state(fake_get_run(&host, id, 0), BM_RUN_DONE);
    fake_host_pass(&host, LEASE_MS);
    fake_expect(fake_get_run(&host, id, 0), BM_NOT_FOUND, "run");
}

static void a_repeated_run_with_the_same_nonce_is_the_same_run(void **state)
{
    (void)state;
    struct bm_open_request open = open_of("slow");
    open.nonce = 9;
    const char *first = run_of(open), *again = run_of(open);
    assert_string_equal(first, again);
    assert_int_equal(nstreams(), 1);
    open.detached = true;
    fake_expect(fake_run(&host, open), BM_INVALID_ARGUMENT, "detached");
}

static void a_run_is_no_stream(void **state)
{
    (void)state;
    const char *id = run_of(open_of("slow"));
    struct bm_next_request request = {.stream = id, .max_batches = 1};
    fake_expect(fake_next(&host, request), BM_NOT_FOUND, "stream");
    expect_ok(fake_named(&host, BM_CALL_CLOSE_STREAM, id)); // there is no such stream to close
    expect_state(fake_get_run(&host, id, 0), BM_RUN_RUNNING);
}

static void a_server_is_idle_when_the_end_of_every_run_was_told(void **state)
{
    (void)state;
    const char *id = run_of(open_of("count"));
    assert_false(bm_session_idle(host.session));
    expect_state(fake_get_run(&host, id, 0), BM_RUN_DONE);
    assert_true(bm_session_idle(host.session));
    expect_state(fake_get_run(&host, id, 0), BM_RUN_DONE);
}

static void an_empty_run_is_done_at_once(void **state)
{
    (void)state;
    fake_host_add(&host, "empty", 0, "[sum]");
    struct fake_call *call = fake_get_run(&host, run_of(open_of("empty")), 0);
    assert_int_equal(report_of(call)->state, BM_RUN_DONE);
    assert_int_equal(report_of(call)->batches, 0);
    fake_call_free(call);
}

static void there_is_a_limit_to_runs(void **state)
{
    (void)state;
    for (unsigned i = 0; i < BM_SESSION_RUNS_MAX; i++)
        fake_call_free(fake_run(&host, open_of("count")));
    fake_expect(fake_run(&host, open_of("count")), BM_RESOURCE_EXHAUSTED, "1000 runs");
    fake_host_pass(&host, LEASE_MS);
    run_of(open_of("count"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_run_counts_every_batch_and_reports_the_variables),
        TEST(a_run_says_how_long_it_will_be),
        TEST(who_waits_for_a_run_is_answered_at_its_end),
        TEST(a_failure_ends_a_run_and_is_reported),
        TEST(a_run_that_goes_on_after_failures_reports_the_first),
        TEST(a_cancelled_run_keeps_what_it_counted),
        TEST(a_cancelled_run_holds_up_no_drain),
        TEST(cancelling_a_run_that_is_done_changes_nothing),
        TEST(a_run_nobody_asks_for_is_stopped),
        TEST(a_detached_run_goes_on_alone_and_keeps_its_report_for_a_lease),
        TEST(a_repeated_run_with_the_same_nonce_is_the_same_run),
        TEST(a_run_is_no_stream),
        TEST(a_server_is_idle_when_the_end_of_every_run_was_told),
        TEST(an_empty_run_is_done_at_once),
        TEST(there_is_a_limit_to_runs),
    };
    return cmocka_run_group_tests_name("session_run", tests, NULL, NULL);
}
