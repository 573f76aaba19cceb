// What OpenStream makes of its parameters, and how a position goes on.
#include "fakes/fake_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/heap.h"
#include "server/position.h"
#include "support.h"

enum { NITEMS = 40 };

static struct fake_host host;

static int setup(void **state)
{
    (void)state;
    fake_host_init(&host);
    fake_host_add(&host, "train", NITEMS, "[draw]");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_host_fini(&host);
    return 0;
}

static struct bm_open_request open_of(void)
{
    return (struct bm_open_request){.pipeline = "train", .order.batch_size = 4};
}

static void expect_refused(struct bm_open_request open, const char *text)
{
    fake_expect(fake_open(&host, open), BM_INVALID_ARGUMENT, text);
}

static uint64_t batches_of(struct bm_open_request open)
{
    struct fake_call *call = fake_open(&host, open);
    if (fake_reply(call)->code != BM_OK)
        fail_msg("%s", fake_reply(call)->message);
    uint64_t batches = fake_reply(call)->opened.batches;
    fake_call_free(call);
    return batches;
}

// The digest of batch `seq` of the stream opened like that, read in order; 0: it ended before.
static uint64_t digest_of(struct bm_open_request open, uint64_t seq)
{
    struct fake_call *call = fake_open(&host, open);
    uint64_t digest = 0, k = fake_reply(call)->opened.first_seq;
    char id[BM_STREAM_ID_MAX + 1];
    fake_id(call, id);
    for (bool end = false; k <= seq && !end; k++) {
        struct bm_next_request request = {.stream = id, .first = k, .max_batches = 1, .ack = k};
        request.wait_ms = 1000;
        call = fake_next(&host, request);
        const struct bm_batches *batches = &fake_reply(call)->batches;
        end = batches->noutcomes == 0;
        digest = end ? 0 : mill_digest(batches->outcomes[0]);
        fake_call_free(call);
    }
    fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, id));
    return digest;
}

// ---- Parameters ----

static void a_senseless_parameter_is_refused_by_its_name(void **state)
{
    (void)state;
    struct bm_open_request open = open_of();
    open.order.batch_size = 0;
    expect_refused(open, "batch_size: expected 1 to");
    open.order.batch_size = UINT64_MAX;
    expect_refused(open, "batch_size: expected 1 to");
    open = open_of();
    open.prefetch = BM_PREFETCH_MAX + 1;
    expect_refused(open, "prefetch: expected 0 to 4095 batches, got 4096");
    open = open_of();
    open.order.shard_count = 2;
    open.order.shard_index = 2;
    expect_refused(open, "shard_index");
    open = open_of();
    open.order.drop_last = true;
    open.order.batch_size = NITEMS + 1;
    expect_refused(open, "batch_size");
    assert_int_equal(bm_scheduler_status(host.mill.scheduler).nstreams, 0);
}

static void what_is_not_given_has_its_default(void **state)
{
    (void)state;
    struct bm_open_request open = open_of();
    assert_int_equal(batches_of(open), 10); // one epoch
    open.order.n_epochs = 3;
    assert_int_equal(batches_of(open), 30);
    open.order.n_epochs = 0;
    open.order.n_iters = 7;
    assert_int_equal(batches_of(open), 7);
    open.order.n_iters = 0;
    open.order.endless = true;
    struct fake_call *call = fake_open(&host, open);
    assert_true(fake_reply(call)->opened.endless);
    assert_int_equal(fake_reply(call)->opened.batches, 0);
    fake_call_free(call);
}

static void a_drawn_seed_is_reported_and_gives_the_same_batches_again(void **state)
{
    (void)state;
    struct bm_open_request drawn = open_of(), seeded = open_of();
    drawn.order.shuffle = BM_SHUFFLE_DRAWN;
    drawn.nonce = 1;
    struct fake_call *one = fake_open(&host, drawn);
    drawn.nonce = 2;
    struct fake_call *other = fake_open(&host, drawn);
    seeded.order.shuffle = BM_SHUFFLE_SEEDED;
    seeded.order.seed = fake_reply(one)->opened.seed;
    assert_true(seeded.order.seed != fake_reply(other)->opened.seed);
    assert_true(seeded.order.seed < (uint64_t)1 << 53); // a number that every language can say
    fake_call_free(one);
    fake_call_free(other);
    drawn.nonce = 1;
    assert_true(digest_of(seeded, 0) == digest_of(drawn, 0));
    assert_true(digest_of(seeded, 0) != digest_of(open_of(), 0));
}

// ---- Positions ----

static void position_at(struct bm_open_request open, uint64_t seq, char *ret_text, size_t size)
{
    struct fake_call *call = fake_open(&host, open);
    snprintf(ret_text, size, "%s.%u", fake_reply(call)->opened.position_stem, (unsigned)seq);
    fake_call_free(call);
}

static void a_stream_opened_at_a_position_goes_on_from_there(void **state)
{
    (void)state;
    char text[1100];
    struct bm_open_request open = open_of(), resumed = {.position = text};
    open.order.shuffle = BM_SHUFFLE_SEEDED;
    open.order.seed = 6;
    open.order.n_epochs = 2;
    for (uint64_t seq = 0; seq < 20; seq += 3) {
        position_at(open, seq, text, sizeof text);
        struct fake_call *call = fake_open(&host, resumed);
        assert_int_equal(fake_reply(call)->opened.first_seq, seq);
        assert_int_equal(fake_reply(call)->opened.batches, 20);
        assert_int_equal(fake_reply(call)->opened.seed, 6);
        fake_call_free(call);
        assert_true(digest_of(resumed, seq) == digest_of(open, seq));
        assert_true(digest_of(resumed, 19) == digest_of(open, 19));
    }
}

static void a_position_at_the_end_ends_at_once_and_beyond_is_refused(void **state)
{
    (void)state;
    char text[1100];
    struct bm_open_request resumed = {.pipeline = "train", .position = text};
    position_at(open_of(), 10, text, sizeof text);
    assert_int_equal(digest_of(resumed, 10), 0);
    position_at(open_of(), 11, text, sizeof text);
    fake_expect(fake_open(&host, resumed), BM_OUT_OF_RANGE, "position: expected at most batch 10");
}

static void parameters_beside_a_position_must_agree_with_it(void **state)
{
    (void)state;
    char text[1100];
    struct bm_open_request open = open_of();
    open.order.shuffle = BM_SHUFFLE_SEEDED;
    open.order.seed = 3;
    open.order.n_epochs = 2;
    position_at(open, 1, text, sizeof text);
    open.position = text;
    fake_call_free(fake_open(&host, open)); // all the same
    struct bm_open_request other = open;
    other.order.batch_size = 5;
    expect_refused(other, "batch_size: expected 4 as in the position, got 5");
    other = open;
    other.order.seed = 4;
    expect_refused(other, "seed: expected 3 as in the position, got 4");
    other = open;
    other.order.n_epochs = 3;
    expect_refused(other, "n_epochs: expected 2 as in the position, got 3");
    other = open;
    other.order.n_epochs = 0;
    other.order.n_iters = 3;
    expect_refused(other, "n_iters: expected nothing as in the position, got 3");
    other = open;
    other.order.n_epochs = 0;
    other.order.endless = true;
    expect_refused(other, "endless");
    other = open;
    other.order.shard_count = 2;
    expect_refused(other, "shard_count: expected 1");
    other = open;
    other.order.drop_last = true;
    expect_refused(other, "drop_last");
    other = open;
    other.pipeline = "tests";
    expect_refused(other, "pipeline: expected \"train\" as in the position, got \"tests\"");
}

// Where "train" stood on a server that had it otherwise.
static void position_of_another(unsigned nitems, const char *actions, char *ret_text, size_t size)
{
    struct fake_host before;
    fake_host_init(&before);
    fake_host_add(&before, "train", nitems, actions);
    struct fake_call *call = fake_open(&before, open_of());
    snprintf(ret_text, size, "%s.0", fake_reply(call)->opened.position_stem);
    fake_call_free(call);
    fake_host_fini(&before);
}

static void a_position_of_a_changed_pipeline_is_refused_and_told_what_changed(void **state)
{
    (void)state;
    char text[1100];
    struct bm_open_request resumed = {.pipeline = "train", .position = text};
    position_of_another(NITEMS + 1, "[draw]", text, sizeof text);
    fake_expect(fake_open(&host, resumed), BM_FAILED_PRECONDITION,
                "position: the data of pipeline \"train\" changed since this position was given "
                "(data ");
    text[10] ^= 1; // mistyped
    expect_refused(resumed, "position");
    position_of_another(NITEMS, "[draw, step]", text, sizeof text);
    fake_expect(fake_open(&host, resumed), BM_FAILED_PRECONDITION,
                "position: the definition of pipeline \"train\" changed since this position was "
                "given (definition ");
    position_of_another(NITEMS + 1, "[draw, step]", text, sizeof text);
    fake_expect(fake_open(&host, resumed), BM_FAILED_PRECONDITION,
                "position: the definition and the data of pipeline \"train\" changed since");
}

static void a_position_of_another_engine_is_refused(void **state)
{
    (void)state;
    char text[1100];
    struct bm_open_request resumed = {.pipeline = "train", .position = text};
    struct bm_position position;
    position_of_another(NITEMS, "[draw]", text, sizeof text);
    assert_int_equal(bm_position_parse(text, &position, NULL), BM_OK);
    position.fingerprint.format++;
    char *stem = bm_position_stem(&position);
    snprintf(text, sizeof text, "%s.0", stem);
    free(stem);
    fake_expect(fake_open(&host, resumed), BM_FAILED_PRECONDITION,
                "position: the engine's format of pipeline \"train\" changed since this position "
                "was given (engine's format 0000000000000002 then and 0000000000000001 now)");
}

// ---- Memory ----

static void every_allocation_of_an_open_may_fail(void **state)
{
    (void)state;
    static const enum bm_call_kind kinds[] = {BM_CALL_OPEN_STREAM, BM_CALL_OPEN_STREAM,
                                              BM_CALL_RUN};
    static const char *const cursors[] = {"", "shared", ""};
    for (unsigned k = 0; k < 3; k++) {
        bool failed = true;
        for (uint64_t n = 1; failed; n++) {
            struct fake_call call = {.exchange.request = {.kind = kinds[k], .open = open_of()}};
            struct bm_executor *executor = &host.mill.executor.base;
            call.exchange.request.open.cursor = cursors[k];
            call.exchange.request.open.position = "";
            call.exchange.request.open.nonce = n + (uint64_t)1000 * k;
            bm_fake_heap_fail_at(n);
            executor->enter(executor);
            bm_session_request(host.session, &call.exchange);
            executor->leave(executor);
            failed = bm_fake_heap_failed();
            bm_fake_heap_fail_never();
            fake_host_settle(&host);
            const struct bm_reply *reply = fake_reply(&call);
            bool opened = reply->code == BM_OK; // a run's batch may fail without the run's open
            assert_true(opened || (failed && reply->code == BM_RESOURCE_EXHAUSTED));
            bm_exchange_fini(&call.exchange);
        }
    }
}

static void every_allocation_of_an_answer_may_fail(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1], member[BM_STREAM_ID_MAX + 1];
    struct bm_open_request open = open_of();
    fake_id(fake_open(&host, open), id);
    open.cursor = "shared";
    fake_id(fake_open(&host, open), member);
    const struct bm_request requests[] = {
        {.kind = BM_CALL_NEXT_BATCHES, .next = {.stream = id, .max_batches = 1}},
        {.kind = BM_CALL_NEXT_BATCHES, .next = {.stream = member, .max_batches = 1}},
        {.kind = BM_CALL_LIST_PIPELINES},
    };
    for (unsigned k = 0; k < 3; k++) {
        fake_call_free(fake_call(&host, requests[k].kind, requests[k])); // makes the batch
        bool failed = true;
        for (uint64_t n = 1; failed; n++) {
            struct fake_call call = {.exchange.request = requests[k]};
            struct bm_executor *executor = &host.mill.executor.base;
            bm_fake_heap_fail_at(n);
            executor->enter(executor);
            bm_session_request(host.session, &call.exchange);
            executor->leave(executor);
            failed = bm_fake_heap_failed();
            bm_fake_heap_fail_never();
            fake_host_settle(&host);
            assert_int_equal(fake_reply(&call)->code, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
            bm_exchange_fini(&call.exchange);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_senseless_parameter_is_refused_by_its_name),
        TEST(what_is_not_given_has_its_default),
        TEST(a_drawn_seed_is_reported_and_gives_the_same_batches_again),
        TEST(a_stream_opened_at_a_position_goes_on_from_there),
        TEST(a_position_at_the_end_ends_at_once_and_beyond_is_refused),
        TEST(parameters_beside_a_position_must_agree_with_it),
        TEST(a_position_of_a_changed_pipeline_is_refused_and_told_what_changed),
        TEST(a_position_of_another_engine_is_refused),
        TEST(every_allocation_of_an_open_may_fail),
        TEST(every_allocation_of_an_answer_may_fail),
    };
    return cmocka_run_group_tests_name("session_order", tests, NULL, NULL);
}
