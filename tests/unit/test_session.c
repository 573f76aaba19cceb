// What a client may rely on when it opens, reads and closes a stream, one call at a time.
#include "fakes/fake_host.h"

#include <stdio.h>
#include <string.h>

#include "support.h"

enum { NITEMS = 40, LEASE_MS = FAKE_LEASE_MS };

static struct fake_host host;

static int setup(void **state)
{
    (void)state;
    fake_host_init(&host);
    fake_host_add(&host, "fast", NITEMS, "[{add: {amount: 5}}]");
    fake_host_add(&host, "slow", NITEMS, "[hand]"); // its batches wait for fake_host_finish()
    fake_host_add(&host, "broken", NITEMS, "[{fail: {seq: 2}}]");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_host_fini(&host);
    return 0;
}

static struct bm_open_request open_of(const char *pipeline, uint32_t prefetch)
{
    return (struct bm_open_request){
        .pipeline = pipeline, .order.batch_size = 4, .prefetch = prefetch};
}

// Ten batches of four: the id of a new stream.
static const char *stream_of(const char *pipeline, uint32_t prefetch)
{
    static char ids[8][BM_STREAM_ID_MAX + 1];
    static unsigned n;
    char *id = ids[n++ % 8];
    fake_id(fake_open(&host, open_of(pipeline, prefetch)), id);
    return id;
}

static struct bm_next_request next_of(const char *id, uint64_t first, uint32_t max_batches)
{
    return (struct bm_next_request){
        .stream = id, .first = first, .max_batches = max_batches, .wait_ms = 1000, .ack = first};
}

static struct fake_call *next(const char *id, uint64_t first)
{
    return fake_next(&host, next_of(id, first, 1));
}

static const struct bm_batches *batches_of(const struct fake_call *call)
{
    const struct bm_reply *reply = fake_reply(call);
    if (reply->code != BM_OK)
        fail_msg("%s: %s", bm_status_name(reply->code), reply->message);
    return &reply->batches;
}

static bool call_is_empty(const struct fake_call *call)
{
    return batches_of(call)->noutcomes == 0 && !batches_of(call)->end;
}

static void expect_empty(struct fake_call *call)
{
    assert_true(call_is_empty(call));
    fake_call_free(call);
}

static void expect_batch(struct fake_call *call, uint64_t seq)
{
    assert_true(batches_of(call)->noutcomes >= 1);
    assert_int_equal(batches_of(call)->outcomes[0]->seq, seq);
    fake_call_free(call);
}

static unsigned nstreams(void)
{
    return bm_scheduler_status(host.mill.scheduler).nstreams;
}

// ---- Opening ----

static void opening_a_stream_tells_what_will_come_and_starts_nothing(void **state)
{
    (void)state;
    struct fake_call *call = fake_open(&host, open_of("slow", 3));
    const struct bm_opened *opened = &fake_reply(call)->opened;
    assert_int_equal(strlen(opened->id), 32);
    assert_int_equal(opened->first_seq, 0);
    assert_int_equal(opened->batches, 10);
    assert_int_equal(opened->items, NITEMS);
    assert_int_equal(opened->epoch_batches, 10);
    assert_int_equal(opened->lease_ms, LEASE_MS);
    assert_int_equal(opened->prefetch, 3);
    assert_false(opened->endless);
    assert_non_null(opened->position_stem);
    assert_string_equal(bm_pipeline_name(opened->pipeline), "slow");
    assert_int_equal(mill_deferred_count(), 0);
    fake_call_free(call);
}

static void an_unknown_pipeline_is_told_the_names_there_are(void **state)
{
    (void)state;
    fake_expect(fake_open(&host, open_of("fats", 0)), BM_NOT_FOUND, "broken, fast, slow");
}

static void a_repeated_open_with_the_same_nonce_gets_the_same_stream(void **state)
{
    (void)state;
    struct bm_open_request open = open_of("fast", 1);
    open.nonce = 77;
    open.order.shuffle = BM_SHUFFLE_DRAWN;
    struct fake_call *first = fake_open(&host, open), *again = fake_open(&host, open);
    assert_string_equal(fake_reply(first)->opened.id, fake_reply(again)->opened.id);
    assert_true(fake_reply(first)->opened.seed == fake_reply(again)->opened.seed);
    assert_string_equal(fake_reply(first)->opened.position_stem,
                        fake_reply(again)->opened.position_stem);
    assert_int_equal(nstreams(), 1);
    fake_call_free(first);
    fake_call_free(again);
    fake_expect(fake_run(&host, open), BM_INVALID_ARGUMENT, "nonce: expected a new one");
    open.prefetch = 2;
    fake_expect(fake_open(&host, open), BM_INVALID_ARGUMENT, "prefetch: expected 1");
    open.nonce = 0; // every one of these is a stream of its own
    fake_call_free(fake_open(&host, open));
    fake_call_free(fake_open(&host, open));
    assert_int_equal(nstreams(), 3);
}

static void a_nonce_is_free_again_when_its_stream_is_closed(void **state)
{
    (void)state;
    struct bm_open_request open = open_of("fast", 1);
    char first[BM_STREAM_ID_MAX + 1], second[BM_STREAM_ID_MAX + 1];
    open.nonce = 5;
    fake_id(fake_open(&host, open), first);
    fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, first));
    open.prefetch = 2;
    fake_id(fake_open(&host, open), second);
    assert_string_not_equal(first, second);
}

static void there_is_a_limit_to_open_streams(void **state)
{
    (void)state;
    for (unsigned i = 0; i < BM_SESSION_STREAMS_MAX; i++)
        fake_call_free(fake_open(&host, open_of("fast", 0)));
    fake_expect(fake_open(&host, open_of("fast", 0)), BM_RESOURCE_EXHAUSTED, "10000");
    fake_host_pass(&host, LEASE_MS);
    assert_int_equal(nstreams(), 0);
    stream_of("fast", 0);
}

// ---- Reading ----

static void batches_come_in_order_and_the_last_brings_the_end(void **state)
{
    (void)state;
    const char *id = stream_of("fast", 2);
    for (uint64_t seq = 0; seq < 10; seq++) {
        struct fake_call *call = next(id, seq);
        const struct bm_batches *batches = batches_of(call);
        assert_string_equal(batches->stream, id);
        assert_int_equal(batches->first, seq);
        assert_int_equal(batches->noutcomes, 1);
        assert_int_equal(batches->outcomes[0]->seq, seq);
        assert_int_equal(batches->end, seq == 9);
        assert_int_equal(batches->end_seq, seq == 9 ? 10 : 0);
        assert_false(batches->stopped);
        fake_call_free(call);
    }
    struct fake_call *call = next(id, 10);
    assert_true(batches_of(call)->end);
    assert_int_equal(batches_of(call)->noutcomes, 0);
    fake_call_free(call);
}

static void only_asking_moves_the_window(void **state)
{
    (void)state;
    const char *id = stream_of("slow", 1);
    struct bm_next_request keep_alive = next_of(id, 0, 0);
    expect_empty(fake_next(&host, keep_alive));
    assert_int_equal(mill_deferred_count(), 0); // to keep the lease is not to ask
    struct fake_call *call = next(id, 0);
    assert_int_equal(mill_deferred_count(), 2);
    fake_host_finish(&host, 0);
    fake_host_finish(&host, 0);
    expect_batch(call, 0);
    assert_int_equal(mill_deferred_count(), 0);
    keep_alive.ack = 1; // done with batch 0
    expect_empty(fake_next(&host, keep_alive));
    assert_int_equal(mill_deferred_count(), 1);
    fake_host_finish(&host, 0);
}

static void a_repeated_request_gets_an_equal_answer(void **state)
{
    (void)state;
    const char *id = stream_of("fast", 4);
    struct fake_call *one = next(id, 0), *two = next(id, 0);
    const struct bm_outcome *a = batches_of(one)->outcomes[0], *b = batches_of(two)->outcomes[0];
    assert_true(mill_digest(a) == mill_digest(b));
    fake_call_free(one);
    fake_call_free(two);
}

static void a_request_that_has_to_wait_is_answered_when_its_batch_is_ready(void **state)
{
    (void)state;
    const char *id = stream_of("slow", 2);
    struct fake_call *third = fake_next(
        &host,
        (struct bm_next_request){.stream = id, .first = 2, .max_batches = 1, .wait_ms = 1000});
    struct fake_call *first = next(id, 0), *repeated = next(id, 0);
    assert_false(fake_answered(first));
    fake_host_finish(&host, 2); // out of turn
    assert_false(fake_answered(third));
    fake_host_finish(&host, 0);
    expect_batch(first, 0);
    expect_batch(repeated, 0);
    assert_false(fake_answered(third));
    fake_host_finish(&host, 0);
    expect_batch(third, 2);
}

static void an_answer_takes_what_is_ready_and_does_not_wait_for_more(void **state)
{
    (void)state;
    const char *id = stream_of("slow", 5);
    struct fake_call *call = fake_next(&host, next_of(id, 0, 6));
    for (int i = 0; i < 3; i++)
        fake_host_finish(&host, 1); // 1, 2 and 3 are ready, 0 is not
    assert_false(fake_answered(call));
    fake_host_finish(&host, 0);
    assert_int_equal(batches_of(call)->noutcomes, 4);
    fake_call_free(call);
    struct bm_next_request some = next_of(id, 1, 2);
    call = fake_next(&host, some);
    assert_int_equal(batches_of(call)->noutcomes, 2);
    fake_call_free(call);
    some.max_batches = 6;
    some.max_bytes = 1; // one batch always comes
    call = fake_next(&host, some);
    assert_int_equal(batches_of(call)->noutcomes, 1);
    fake_call_free(call);
}

static void a_request_that_waited_long_enough_is_answered_not_yet(void **state)
{
    (void)state;
    const char *id = stream_of("slow", 0);
    struct bm_next_request request = next_of(id, 0, 1);
    struct fake_call *call = fake_next(&host, request);
    fake_host_pass(&host, 999);
    assert_false(fake_answered(call));
    fake_host_pass(&host, 1);
    expect_empty(call);
    request.wait_ms = 0;
    expect_empty(fake_next(&host, request));
}

static void
a_batch_beyond_the_window_is_waited_for_until_an_acknowledgement_lets_it_in(void **state)
{
    (void)state;
    const char *id = stream_of("fast", 1);
    expect_batch(next(id, 0), 0);
    struct bm_next_request beyond = {.stream = id, .first = 2, .max_batches = 1, .wait_ms = 1000};
    struct fake_call *call = fake_next(&host, beyond);
    assert_false(fake_answered(call));
    struct bm_next_request ack = {.stream = id, .ack = 1};
    expect_empty(fake_next(&host, ack));
    expect_batch(call, 2);
    beyond.first = 9;
    call = fake_next(&host, beyond);
    fake_host_pass(&host, 1000);
    expect_empty(call);
}

static void what_is_acknowledged_is_gone(void **state)
{
    (void)state;
    const char *id = stream_of("fast", 3);
    expect_batch(next(id, 0), 0);
    expect_batch(next(id, 2), 2); // acknowledges 0 and 1
    fake_expect(next(id, 1), BM_OUT_OF_RANGE, "expected batch 2 or later");
    struct bm_next_request request = next_of(id, 3, 1);
    request.ack = 4;
    fake_expect(fake_next(&host, request), BM_OUT_OF_RANGE, "got 3");
}

static void an_acknowledgement_of_what_was_never_handed_out_is_refused(void **state)
{
    (void)state;
    const char *id = stream_of("fast", 1);
    fake_expect(next(id, 3), BM_INVALID_ARGUMENT, "ack: expected at most 0");
    expect_batch(next(id, 0), 0);
    fake_expect(next(id, 3), BM_INVALID_ARGUMENT, "ack: expected at most 2");
}

static void a_failed_batch_comes_in_its_place_and_ends_the_stream(void **state)
{
    (void)state;
    const char *id = stream_of("broken", 5);
    struct fake_call *call = next(id, 0);
    fake_host_settle(&host);
    fake_call_free(call);
    call = fake_next(&host, next_of(id, 0, 9));
    const struct bm_batches *batches = batches_of(call);
    assert_int_equal(batches->noutcomes, 3);
    assert_int_equal(batches->outcomes[1]->kind, BM_OUTCOME_BATCH);
    assert_int_equal(batches->outcomes[2]->kind, BM_OUTCOME_FAILED);
    assert_true(batches->end && batches->stopped);
    assert_int_equal(batches->end_seq, 3);
    fake_call_free(call);
    call = next(id, 3);
    assert_true(batches_of(call)->end && batches_of(call)->stopped);
    fake_call_free(call);
}

static void too_many_requests_that_wait_are_refused(void **state)
{
    (void)state;
    enum { MOST = BM_SESSION_PARKED_SPARE + 1 };
    const char *id = stream_of("slow", 1);
    struct fake_call *calls[MOST];
    for (unsigned i = 0; i < MOST; i++)
        calls[i] = next(id, 0);
    fake_expect(next(id, 0), BM_RESOURCE_EXHAUSTED, "65 requests");
    fake_host_finish(&host, 0);
    for (unsigned i = 0; i < MOST; i++)
        expect_batch(calls[i], 0);
}

// ---- Leases, closing ----

static void silence_longer_than_the_lease_closes_a_stream_and_frees_its_work(void **state)
{
    (void)state;
    const char *id = stream_of("slow", 3), *kept = stream_of("slow", 0);
    struct bm_next_request poll = next_of(id, 0, 1);
    poll.wait_ms = 0;
    expect_empty(fake_next(&host, poll));
    fake_host_pass(&host, LEASE_MS - 1);
    expect_empty(fake_next(&host, next_of(kept, 0, 0)));
    assert_int_equal(nstreams(), 2);
    fake_host_pass(&host, 1);
    assert_int_equal(nstreams(), 1);
    fake_expect(next(id, 0), BM_NOT_FOUND, "60 s");
    while (mill_deferred_count() > 0)
        fake_host_finish(&host, 0);
    fake_host_pass(&host, LEASE_MS);
    assert_int_equal(nstreams(), 0);
    assert_int_equal(bm_scheduler_status(host.mill.scheduler).memory_used_bytes, 0);
}

static void a_request_that_waits_keeps_the_lease_and_its_answer_starts_it_anew(void **state)
{
    (void)state;
    const char *id = stream_of("slow", 0);
    struct bm_next_request request = next_of(id, 0, 1);
    fake_host_pass(&host, LEASE_MS - 10);
    request.wait_ms = LEASE_MS + 10;
    struct fake_call *call = fake_next(&host, request);
    fake_host_pass(&host, LEASE_MS + 10);
    expect_empty(call);
    fake_host_pass(&host, LEASE_MS - 1);
    assert_int_equal(nstreams(), 1);
    fake_host_pass(&host, 1);
    assert_int_equal(nstreams(), 0);
}

static void a_closed_stream_answers_who_waits_and_closing_again_is_harmless(void **state)
{
    (void)state;
    const char *id = stream_of("slow", 1);
    struct fake_call *waiting = next(id, 0);
    fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, id));
    fake_expect(waiting, BM_CANCELLED, "closed");
    assert_int_equal(nstreams(), 0);
    fake_expect(next(id, 0), BM_NOT_FOUND, id);
    struct fake_call *again = fake_named(&host, BM_CALL_CLOSE_STREAM, id);
    assert_int_equal(fake_reply(again)->code, BM_OK);
    fake_call_free(again);
}

static void an_abandoned_request_is_given_back_and_the_stream_goes_on(void **state)
{
    (void)state;
    const char *id = stream_of("slow", 0);
    struct fake_call *gone = next(id, 0), *stays = next(id, 0);
    struct bm_executor *executor = &host.mill.executor.base;
    executor->enter(executor);
    bm_session_abandon(host.session, &gone->exchange);
    executor->leave(executor);
    fake_expect(gone, BM_CANCELLED, "connection");
    fake_host_finish(&host, 0);
    executor->enter(executor);
    bm_session_abandon(host.session, &stays->exchange); // answered already: nothing happens
    executor->leave(executor);
    expect_batch(stays, 0);
}

// ---- The server as a whole ----

static void a_draining_server_goes_on_with_what_it_has(void **state)
{
    (void)state;
    struct bm_open_request open = open_of("fast", 0);
    char id[BM_STREAM_ID_MAX + 1];
    open.nonce = 1;
    fake_id(fake_open(&host, open), id);
    bm_session_drain(host.session);
    fake_expect(fake_open(&host, open_of("fast", 0)), BM_UNAVAILABLE, "nothing new");
    fake_expect(fake_run(&host, open_of("fast", 0)), BM_UNAVAILABLE, "nothing new");
    fake_call_free(fake_open(&host, open)); // said before
    expect_batch(next(id, 0), 0);
    assert_false(bm_session_idle(host.session));
    fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, id));
    assert_true(bm_session_idle(host.session));
}

static void a_closing_server_answers_everybody(void **state)
{
    (void)state;
    struct bm_executor *executor = &host.mill.executor.base;
    struct fake_call *waiting = next(stream_of("slow", 0), 0);
    executor->enter(executor);
    bm_session_close(host.session);
    executor->leave(executor);
    fake_expect(waiting, BM_UNAVAILABLE, "shutting down");
    fake_expect(fake_open(&host, open_of("fast", 0)), BM_UNAVAILABLE, "shutting down");
    fake_host_finish(&host, 0);
}

static void pipelines_are_listed_by_name_and_described(void **state)
{
    (void)state;
    struct fake_call *call = fake_call(&host, BM_CALL_LIST_PIPELINES, (struct bm_request){0});
    assert_int_equal(fake_reply(call)->list.n, 3);
    assert_string_equal(bm_pipeline_name(fake_reply(call)->list.pipelines[0]), "broken");
    assert_string_equal(bm_pipeline_name(fake_reply(call)->list.pipelines[2]), "slow");
    fake_call_free(call);
    call = fake_named(&host, BM_CALL_DESCRIBE_PIPELINE, "fast");
    assert_string_equal(bm_pipeline_name(fake_reply(call)->described), "fast");
    fake_call_free(call);
    fake_expect(fake_named(&host, BM_CALL_DESCRIBE_PIPELINE, "x"), BM_NOT_FOUND, "fast");
}

static void clients_register_no_pipelines(void **state)
{
    (void)state;
    fake_expect(fake_named(&host, BM_CALL_REGISTER_PIPELINE, "mine"), BM_PERMISSION_DENIED,
                "may not register");
    fake_expect(fake_named(&host, BM_CALL_UNREGISTER_PIPELINE, "fast"), BM_PERMISSION_DENIED,
                "may not register");
    fake_expect(fake_call(&host, BM_CALL_NONE, (struct bm_request){0}), BM_INVALID_ARGUMENT,
                "one of the calls");
}

static void the_status_counts_what_is_going_on(void **state)
{
    (void)state;
    struct fake_call *waiting = next(stream_of("slow", 1), 0);
    stream_of("fast", 0);
    fake_host_pass(&host, 500);
    struct fake_call *call = fake_call(&host, BM_CALL_GET_STATUS, (struct bm_request){0});
    const struct bm_status_report *report = &fake_reply(call)->status;
    assert_int_equal(report->streams, 2);
    assert_int_equal(report->runs, 0);
    assert_int_equal(report->workers, 2);
    assert_int_equal(report->pipelines, 3);
    assert_int_equal(report->scheduler.nwaiting, 2);
    assert_float_equal(report->uptime_seconds, 0.5, 1e-9);
    assert_false(report->draining);
    fake_call_free(call);
    fake_host_finish(&host, 0);
    fake_host_finish(&host, 0);
    expect_batch(waiting, 0);
}

static void a_request_that_could_not_be_read_is_answered_with_what_was_wrong(void **state)
{
    (void)state;
    struct fake_call call = {0};
    struct bm_error error;
    struct bm_executor *executor = &host.mill.executor.base;
    bm_fail(&error, BM_INVALID_ARGUMENT, "stream", "expected an id");
    executor->enter(executor);
    bm_session_refuse(host.session, &call.exchange, &error);
    executor->leave(executor);
    assert_int_equal(fake_reply(&call)->code, BM_INVALID_ARGUMENT);
    assert_string_equal(fake_reply(&call)->message, "stream: expected an id");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(opening_a_stream_tells_what_will_come_and_starts_nothing),
        TEST(an_unknown_pipeline_is_told_the_names_there_are),
        TEST(a_repeated_open_with_the_same_nonce_gets_the_same_stream),
        TEST(a_nonce_is_free_again_when_its_stream_is_closed),
        TEST(there_is_a_limit_to_open_streams),
        TEST(batches_come_in_order_and_the_last_brings_the_end),
        TEST(only_asking_moves_the_window),
        TEST(a_repeated_request_gets_an_equal_answer),
        TEST(a_request_that_has_to_wait_is_answered_when_its_batch_is_ready),
        TEST(an_answer_takes_what_is_ready_and_does_not_wait_for_more),
        TEST(a_request_that_waited_long_enough_is_answered_not_yet),
        TEST(a_batch_beyond_the_window_is_waited_for_until_an_acknowledgement_lets_it_in),
        TEST(what_is_acknowledged_is_gone),
        TEST(an_acknowledgement_of_what_was_never_handed_out_is_refused),
        TEST(a_failed_batch_comes_in_its_place_and_ends_the_stream),
        TEST(too_many_requests_that_wait_are_refused),
        TEST(silence_longer_than_the_lease_closes_a_stream_and_frees_its_work),
        TEST(a_request_that_waits_keeps_the_lease_and_its_answer_starts_it_anew),
        TEST(a_closed_stream_answers_who_waits_and_closing_again_is_harmless),
        TEST(an_abandoned_request_is_given_back_and_the_stream_goes_on),
        TEST(a_draining_server_goes_on_with_what_it_has),
        TEST(a_closing_server_answers_everybody),
        TEST(pipelines_are_listed_by_name_and_described),
        TEST(clients_register_no_pipelines),
        TEST(the_status_counts_what_is_going_on),
        TEST(a_request_that_could_not_be_read_is_answered_with_what_was_wrong),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
