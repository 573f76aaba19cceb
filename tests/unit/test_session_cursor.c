// A cursor: many clients take from one stream, whoever asks next gets the next batch.
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
    fake_host_add(&host, "slow", NITEMS, "[hand]");
    fake_host_add(&host, "holes", NITEMS, "[{skip: {seq: 0}}, {skip: {seq: 2}}]");
    fake_host_add(&host, "broken", NITEMS, "[{fail: {seq: 1}}]");
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
    return (struct bm_open_request){
        .pipeline = pipeline, .cursor = "shared", .order.batch_size = 4, .prefetch = 1};
}

// A new member of the cursor "shared".
static const char *member_of(const char *pipeline)
{
    static char ids[8][BM_STREAM_ID_MAX + 1];
    static unsigned n;
    char *id = ids[n++ % 8];
    fake_id(fake_open(&host, open_of(pipeline)), id);
    return id;
}

static struct fake_call *next(const char *id, uint64_t ticket)
{
    return fake_next(&host, (struct bm_next_request){
                                .stream = id, .first = ticket, .max_batches = 5, .wait_ms = 1000});
}

static const struct bm_batches *batches_of(const struct fake_call *call)
{
    const struct bm_reply *reply = fake_reply(call);
    if (reply->code != BM_OK)
        fail_msg("%s: %s", bm_status_name(reply->code), reply->message);
    return &reply->batches;
}

static void expect_batch(struct fake_call *call, uint64_t seq)
{
    assert_int_equal(batches_of(call)->noutcomes, 1); // one, however many were asked for
    assert_int_equal(batches_of(call)->outcomes[0]->seq, seq);
    assert_int_equal(batches_of(call)->first, call->exchange.request.next.first);
    fake_call_free(call);
}

static void expect_end(struct fake_call *call, bool stopped)
{
    assert_int_equal(batches_of(call)->noutcomes, 0);
    assert_true(batches_of(call)->end);
    assert_int_equal(batches_of(call)->stopped, stopped);
    assert_int_equal(batches_of(call)->end_seq, batches_of(call)->first);
    fake_call_free(call);
}

static void expect_empty(struct fake_call *call)
{
    assert_int_equal(batches_of(call)->noutcomes, 0);
    assert_false(batches_of(call)->end);
    fake_call_free(call);
}

static void close_member(const char *id, uint64_t ack)
{
    struct bm_request request = {.named = {.name = id, .ack = ack}};
    struct fake_call *call = fake_call(&host, BM_CALL_CLOSE_STREAM, request);
    assert_int_equal(fake_reply(call)->code, BM_OK);
    fake_call_free(call);
}

static void whoever_asks_next_gets_the_next_batch(void **state)
{
    (void)state;
    const char *a = member_of("fast"), *b = member_of("fast");
    assert_string_not_equal(a, b);
    expect_batch(next(a, 0), 0);
    expect_batch(next(b, 0), 1);
    expect_batch(next(b, 1), 2);
    expect_batch(next(a, 1), 3);
    for (uint64_t ticket = 2; ticket < 8; ticket++)
        expect_batch(next(a, ticket), ticket + 2);
    expect_end(next(a, 8), false);
    expect_end(next(b, 2), false);
    expect_end(next(member_of("fast"), 0), false); // and so it stays
}

static void a_cursor_tells_a_new_member_what_it_is_and_gives_no_position(void **state)
{
    (void)state;
    struct bm_open_request open = open_of("fast");
    open.order.shuffle = BM_SHUFFLE_DRAWN;
    struct fake_call *a = fake_open(&host, open), *b = fake_open(&host, open);
    assert_int_equal(fake_reply(b)->opened.batches, 10);
    assert_int_equal(fake_reply(b)->opened.first_seq, 0);
    assert_null(fake_reply(b)->opened.position_stem);
    assert_true(fake_reply(a)->opened.seed == fake_reply(b)->opened.seed);
    fake_call_free(a);
    fake_call_free(b);
    open.position = "bm2.x.0";
    fake_expect(fake_open(&host, open), BM_INVALID_ARGUMENT, "position: expected none");
}

static void joining_with_other_arguments_is_refused_by_name(void **state)
{
    (void)state;
    member_of("fast");
    struct bm_open_request open = open_of("fast");
    open.order.batch_size = 5;
    fake_expect(fake_open(&host, open), BM_INVALID_ARGUMENT,
                "batch_size: expected 4 as this cursor has it, got 5");
    open = open_of("slow");
    fake_expect(fake_open(&host, open), BM_INVALID_ARGUMENT,
                "pipeline: expected \"fast\" as this cursor has it, got \"slow\"");
    open = open_of("fast");
    open.on_error = BM_ON_ERROR_SKIP;
    fake_expect(fake_open(&host, open), BM_INVALID_ARGUMENT, "on_error");
    open.cursor = "another"; // whose arguments are its own
    fake_call_free(fake_open(&host, open));
}

static void a_ticket_asked_again_gets_the_same_batch(void **state)
{
    (void)state;
    const char *a = member_of("fast"), *b = member_of("fast");
    expect_batch(next(a, 0), 0);
    expect_batch(next(b, 0), 1);
    expect_batch(next(a, 0), 0);
    expect_batch(next(a, 1), 2);
    fake_expect(next(a, 0), BM_OUT_OF_RANGE, "expected ticket 1");
    fake_expect(next(a, 3), BM_INVALID_ARGUMENT, "expected ticket 2, got 3");
}

static void tickets_that_wait_are_served_in_the_order_of_asking(void **state)
{
    (void)state;
    const char *a = member_of("slow"), *b = member_of("slow"), *c = member_of("slow");
    struct fake_call *of_b = next(b, 0), *of_a = next(a, 0), *of_c = next(c, 0);
    struct fake_call *of_b_again = next(b, 0);
    fake_expect(next(b, 1), BM_INVALID_ARGUMENT, "expected ticket 0"); // 0 has no answer yet
    assert_int_equal(mill_deferred_count(), 2); // the window is one for all, two batches
    fake_host_finish(&host, 1);
    assert_false(fake_answered(of_b));
    fake_host_finish(&host, 0);
    expect_batch(of_b, 0);
    expect_batch(of_b_again, 0);
    expect_batch(of_a, 1);
    assert_false(fake_answered(of_c));
    fake_host_finish(&host, 0);
    expect_batch(of_c, 2);
}

static void who_stopped_waiting_lets_the_others_pass(void **state)
{
    (void)state;
    const char *a = member_of("slow"), *b = member_of("slow");
    struct fake_call *of_a = next(a, 0);
    fake_host_pass(&host, 1000);
    expect_empty(of_a);
    struct fake_call *of_b = next(b, 0);
    fake_host_finish(&host, 0);
    expect_batch(of_b, 0);
    of_a = next(a, 0);
    fake_host_finish(&host, 0);
    expect_batch(of_a, 1);
}

static void only_asking_moves_a_cursor(void **state)
{
    (void)state;
    const char *a = member_of("slow");
    struct bm_next_request keep_alive = {.stream = a};
    expect_empty(fake_next(&host, keep_alive));
    assert_int_equal(mill_deferred_count(), 0);
    struct fake_call *call = next(a, 0);
    fake_host_finish(&host, 0);
    expect_batch(call, 0);
    fake_host_finish(&host, 0);
    keep_alive.ack = 1; // done with it, but another one is not wanted yet
    expect_empty(fake_next(&host, keep_alive));
    assert_int_equal(mill_deferred_count(), 0);
    keep_alive.ack = 2;
    fake_expect(fake_next(&host, keep_alive), BM_INVALID_ARGUMENT, "ack: expected at most 1");
    expect_batch(next(a, 1), 1);
}

static void skipped_batches_are_passed_over(void **state)
{
    (void)state;
    const char *a = member_of("holes");
    expect_batch(next(a, 0), 1);
    expect_batch(next(a, 1), 3);
}

static void a_failure_goes_to_whoever_asks_and_then_the_cursor_is_stopped_for_all(void **state)
{
    (void)state;
    const char *a = member_of("broken"), *b = member_of("broken");
    expect_batch(next(a, 0), 0);
    struct fake_call *call = next(b, 0);
    assert_int_equal(batches_of(call)->outcomes[0]->kind, BM_OUTCOME_FAILED);
    assert_int_equal(batches_of(call)->outcomes[0]->seq, 1);
    fake_call_free(call);
    expect_end(next(a, 1), true);
    expect_end(next(b, 1), true);
}

static void what_a_member_leaves_behind_goes_to_the_next_who_asks(void **state)
{
    (void)state;
    const char *a = member_of("fast"), *b = member_of("fast"), *c = member_of("fast");
    expect_batch(next(a, 0), 0);
    expect_batch(next(b, 0), 1);
    expect_batch(next(c, 0), 2);
    close_member(b, 0);
    close_member(a, 0);
    expect_batch(next(c, 1), 0); // the oldest first
    expect_batch(next(c, 2), 1);
    expect_batch(next(c, 3), 3);
}

static void what_a_member_acknowledges_when_it_leaves_is_not_given_again(void **state)
{
    (void)state;
    const char *a = member_of("fast"), *b = member_of("fast");
    expect_batch(next(a, 0), 0);
    close_member(a, 1);
    close_member(a, 1); // repeated
    expect_batch(next(b, 0), 1);
}

static void a_member_that_dies_gives_its_batch_back_when_its_lease_is_over(void **state)
{
    (void)state;
    const char *a = member_of("slow"), *b = member_of("slow");
    struct fake_call *call = next(a, 0);
    fake_host_finish(&host, 0);
    expect_batch(call, 0);
    fake_host_pass(&host, LEASE_MS - 1);
    call = next(b, 0); // batch 1 is still being made
    assert_false(fake_answered(call));
    fake_host_pass(&host, 1);
    expect_batch(call, 0);
    fake_expect(next(a, 0), BM_NOT_FOUND, "stream");
}

static void a_cursor_outlives_its_members_by_one_lease(void **state)
{
    (void)state;
    const char *a = member_of("fast");
    expect_batch(next(a, 0), 0);
    expect_batch(next(a, 1), 1);
    fake_host_pass(&host, 2 * LEASE_MS - 1); // the member goes first
    const char *b = member_of("fast");
    expect_batch(next(b, 0), 1);
    close_member(b, 1);
    fake_host_pass(&host, LEASE_MS);
    expect_batch(next(member_of("fast"), 0), 0); // a new one of the same name
}

static void there_is_a_limit_to_cursors(void **state)
{
    (void)state;
    char name[BM_SESSION_CURSORS_MAX + 1][16];
    struct bm_open_request open = open_of("fast");
    for (unsigned i = 0; i < BM_SESSION_CURSORS_MAX; i++) {
        snprintf(name[i], sizeof name[i], "c%u", i);
        open.cursor = name[i];
        char id[BM_STREAM_ID_MAX + 1];
        fake_id(fake_open(&host, open), id);
        close_member(id, 0); // its cursor lives on for a while
    }
    open.cursor = "one_more";
    fake_expect(fake_open(&host, open), BM_RESOURCE_EXHAUSTED, "cursor: expected at most 1000");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(whoever_asks_next_gets_the_next_batch),
        TEST(a_cursor_tells_a_new_member_what_it_is_and_gives_no_position),
        TEST(joining_with_other_arguments_is_refused_by_name),
        TEST(a_ticket_asked_again_gets_the_same_batch),
        TEST(tickets_that_wait_are_served_in_the_order_of_asking),
        TEST(who_stopped_waiting_lets_the_others_pass),
        TEST(only_asking_moves_a_cursor),
        TEST(skipped_batches_are_passed_over),
        TEST(a_failure_goes_to_whoever_asks_and_then_the_cursor_is_stopped_for_all),
        TEST(what_a_member_leaves_behind_goes_to_the_next_who_asks),
        TEST(what_a_member_acknowledges_when_it_leaves_is_not_given_again),
        TEST(a_member_that_dies_gives_its_batch_back_when_its_lease_is_over),
        TEST(a_cursor_outlives_its_members_by_one_lease),
        TEST(there_is_a_limit_to_cursors),
    };
    return cmocka_run_group_tests_name("session_cursor", tests, NULL, NULL);
}
