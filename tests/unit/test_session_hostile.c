// Peers that mean harm: what a session bounds, with which code, and that nothing else suffers.
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/random.h"
#include "fakes/fake_host.h"
#include "support.h"

static struct fake_host host;

static int setup(void **state)
{
    (void)state;
    fake_host_init(&host);
    fake_host_add(&host, "train", 1000, "[{add: {amount: 5}}]");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_host_fini(&host);
    return 0;
}

static struct bm_open_request open_of(uint32_t prefetch)
{
    return (struct bm_open_request){
        .pipeline = "train", .order.batch_size = 4, .prefetch = prefetch};
}

static struct bm_scheduler_status engine(void)
{
    return bm_scheduler_status(host.mill.scheduler);
}

static uint64_t heap_bytes(void)
{
    return mallinfo2().uordblks + mallinfo2().hblkhd;
}

static void ten_thousand_opens_run_nothing_and_cost_little(void **state)
{
    (void)state;
    uint64_t before = heap_bytes();
    for (unsigned round = 0; round < 2; round++) { // the second one in memory that was used before
        for (unsigned i = 0; i < BM_SESSION_STREAMS_MAX; i++)
            fake_call_free(fake_open(&host, open_of(63)));
        assert_int_equal(engine().nstreams, BM_SESSION_STREAMS_MAX);
        assert_int_equal(engine().batches + engine().nready + engine().nrunning, 0);
        assert_true(heap_bytes() - before < UINT64_C(64) << 20);
        fake_expect(fake_open(&host, open_of(0)), BM_RESOURCE_EXHAUSTED, "open streams");
        fake_host_pass(&host, FAKE_LEASE_MS); // nobody came for them
        assert_int_equal(engine().nstreams, 0);
    }
    fake_call_free(fake_open(&host, open_of(0)));
}

static void no_id_but_the_right_one_opens_a_stream(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1], forged[BM_STREAM_ID_MAX + 1];
    fake_id(fake_open(&host, open_of(0)), id);
    struct bm_next_request next = {.stream = forged, .max_batches = 1};
    for (uint64_t i = 0; i < 100000; i++) {
        snprintf(forged, sizeof forged, "%016llx%016llx", (unsigned long long)bm_mix64(2 * i),
                 (unsigned long long)bm_mix64(2 * i + 1));
        fake_expect(fake_next(&host, next), BM_NOT_FOUND, "there is no stream");
    }
    for (size_t at = 0; at <= strlen(id); at++) { // one digit off, or cut
        strcpy(forged, id);
        forged[at] = (char)(at == strlen(id) ? '0' : forged[at] == 'a' ? 'b' : 'a');
        forged[strlen(id) + (at == strlen(id))] = '\0';
        fake_expect(fake_next(&host, next), BM_NOT_FOUND, "there is no stream");
        strcpy(forged, id);
        forged[at] = '\0';
        if (at < strlen(id))
            fake_expect(fake_next(&host, next), BM_NOT_FOUND, "there is no stream");
    }
    assert_int_equal(engine().batches + engine().nready + engine().nrunning, 0);
    fake_expect(fake_named(&host, BM_CALL_GET_RUN, id), BM_NOT_FOUND, "there is no run");
    fake_expect(fake_named(&host, BM_CALL_CANCEL_RUN, id), BM_NOT_FOUND, "there is no run");
}

// Every combination of the numbers that a parser, an addition or a window may trip over.
static void numbers_at_the_edge_are_refused_or_answered(void **state)
{
    (void)state;
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     3,
                                     4095,
                                     4096,
                                     INT32_MAX,
                                     UINT32_MAX,
                                     INT64_MAX,
                                     (uint64_t)INT64_MAX + 1,
                                     UINT64_MAX - 1,
                                     UINT64_MAX};
    enum { N = sizeof edges / sizeof edges[0] };
    char id[BM_STREAM_ID_MAX + 1];
    fake_id(fake_open(&host, open_of(2)), id);
    unsigned answered = 0;
    for (unsigned i = 0; i < N * N * N; i++) {
        struct fake_call *call = fake_next(&host, (struct bm_next_request){
                                                      .stream = id,
                                                      .first = edges[i % N],
                                                      .ack = edges[i / N % N],
                                                      .max_batches = (uint32_t)edges[i / N / N],
                                                      .max_bytes = edges[(i * 7) % N],
                                                  });
        fake_host_pass(&host, 1); // wait_ms 0: an answer at once, if only "not yet"
        const struct bm_reply *reply = fake_reply(call);
        assert_true(reply->code == BM_OK || reply->code == BM_INVALID_ARGUMENT ||
                    reply->code == BM_OUT_OF_RANGE);
        answered += reply->code == BM_OK;
        fake_call_free(call);
    }
    assert_true(answered > 0);
    fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, id));
    assert_int_equal(engine().nready + engine().nrunning, 0);
}

// Of what is opened: sizes whose products overflow, or that no memory holds.
static void orders_at_the_edge_are_refused_or_opened(void **state)
{
    (void)state;
    static const uint64_t edges[] = {0, 1, 1 << 20, 1 << 24, (1 << 24) + 1, INT64_MAX, UINT64_MAX};
    enum { N = sizeof edges / sizeof edges[0] };
    for (unsigned i = 0; i < N * N * N; i++) {
        struct bm_open_request open = open_of((uint32_t)(i % 5000));
        open.order.batch_size = edges[i % N];
        open.order.n_epochs = edges[i / N % N];
        open.order.shard_count = edges[i / N / N];
        open.order.shard_index = edges[(i * 5) % N];
        struct fake_call *call = fake_open(&host, open);
        const struct bm_reply *reply = fake_reply(call);
        assert_true(reply->code == BM_OK || reply->code == BM_INVALID_ARGUMENT ||
                    reply->code == BM_RESOURCE_EXHAUSTED);
        fake_call_free(call);
    }
    fake_host_pass(&host, FAKE_LEASE_MS);
    assert_int_equal(engine().nstreams, 0);
}

static void cursors_runs_and_waiting_requests_are_counted(void **state)
{
    (void)state;
    char name[32], id[BM_STREAM_ID_MAX + 1];
    struct bm_open_request open = open_of(0);
    open.cursor = name;
    for (unsigned i = 0; i < BM_SESSION_CURSORS_MAX; i++) {
        snprintf(name, sizeof name, "cursor%u", i);
        fake_call_free(fake_open(&host, open));
    }
    snprintf(name, sizeof name, "one-more");
    fake_expect(fake_open(&host, open), BM_RESOURCE_EXHAUSTED, "cursors");
    for (unsigned i = 0; i < BM_SESSION_RUNS_MAX; i++)
        fake_call_free(fake_run(&host, open_of(0)));
    fake_expect(fake_run(&host, open_of(0)), BM_RESOURCE_EXHAUSTED, "runs");
    // Requests that wait, of one stream: beyond its window nothing comes.
    fake_id(fake_open(&host, open_of(3)), id);
    struct fake_call *calls[BM_SESSION_PARKED_SPARE + 4] = {0};
    unsigned refused = 0;
    for (unsigned i = 0; i < BM_SESSION_PARKED_SPARE + 4; i++) {
        calls[i] =
            fake_next(&host, (struct bm_next_request){
                                 .stream = id, .first = 100, .max_batches = 1, .wait_ms = 30000});
        refused += fake_answered(calls[i]) && fake_reply(calls[i])->code == BM_RESOURCE_EXHAUSTED;
    }
    assert_int_equal(refused, 1);
    fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, id));
    for (unsigned i = 0; i < BM_SESSION_PARKED_SPARE + 4; i++)
        fake_call_free(calls[i]);
    fake_host_pass(&host, FAKE_LEASE_MS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ten_thousand_opens_run_nothing_and_cost_little),
        TEST(no_id_but_the_right_one_opens_a_stream),
        TEST(numbers_at_the_edge_are_refused_or_answered),
        TEST(orders_at_the_edge_are_refused_or_opened),
        TEST(cursors_runs_and_waiting_requests_are_counted),
    };
    return cmocka_run_group_tests_name("session_hostile", tests, NULL, NULL);
}
