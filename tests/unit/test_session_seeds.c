// Exactly once and in order, under every interleaving a seed can pick: clients repeat, overtake,
// poll, wait, leave and die.
#include "fakes/fake_host.h"

#include <string.h>

#include "support.h"

enum {
    NSEEDS = 2000 / BM_TEST_SLOWNESS,
    NITEMS = 40,
    BATCH_SIZE = 3,
    NBATCHES = 14,
    NCALLS = 6,
    NMEMBERS = 4
};

static struct fake_host host;

static uint64_t draw(uint64_t bound)
{
    return fake_executor_random(&host.mill.executor, bound);
}

static void start(uint64_t seed)
{
    fake_host_init_seeded(&host, 1 + (unsigned)(seed % 4), seed);
    fake_host_add(&host, "train", NITEMS,
                  "[{add: {amount: 5}}, {step: {}, use_lock: gpu}, draw, {nap: {ns: 700}}]");
}

static struct bm_open_request open_of(const char *cursor)
{
    return (struct bm_open_request){
        .pipeline = "train",
        .cursor = cursor,
        .order = {.batch_size = BATCH_SIZE, .shuffle = BM_SHUFFLE_SEEDED, .seed = 7},
        .prefetch = (uint32_t)draw(5)};
}

// ---- A stream ----

static struct {
    char id[BM_STREAM_ID_MAX + 1];
    struct fake_call *calls[NCALLS];
    uint64_t next, acked, digests[NBATCHES + 1]; // 0: not come yet
    bool end;
} client;

static void client_ask(unsigned i)
{
    static const uint32_t waits[] = {0, 1, 30000};
    client.calls[i] = fake_next(&host, (struct bm_next_request){
                                           .stream = client.id,
                                           .first = client.next + draw(4),
                                           .max_batches = (uint32_t)draw(4),
                                           .wait_ms = waits[draw(3)],
                                           .ack = client.next,
                                       });
    client.acked = client.next;
}

static void client_hear(unsigned i)
{
    struct fake_call *call = client.calls[i];
    const struct bm_next_request *asked = &call->exchange.request.next;
    const struct bm_reply *reply = fake_reply(call);
    client.calls[i] = NULL;
    if (reply->code == BM_OUT_OF_RANGE)
        assert_true(asked->first < client.acked); // another request overtook it
    else
        assert_int_equal(reply->code, BM_OK);
    for (unsigned k = 0; reply->code == BM_OK && k < reply->batches.noutcomes; k++) {
        const struct bm_outcome *outcome = reply->batches.outcomes[k];
        uint64_t *digest = &client.digests[outcome->seq];
        assert_int_equal(outcome->seq, asked->first + k);
        assert_true(*digest == 0 || *digest == mill_digest(outcome)); // the same when repeated
        *digest = mill_digest(outcome);
    }
    if (reply->code == BM_OK && reply->batches.end) {
        assert_int_equal(reply->batches.end_seq, NBATCHES);
        client.end = true;
    }
    fake_call_free(call);
    while (client.next < NBATCHES && client.digests[client.next] != 0)
        client.next++; // the consumer takes it, and is done with those before
}

static void a_stream_comes_whole_and_equal_whatever_its_client_does(void **state)
{
    (void)state;
    uint64_t expected[NBATCHES] = {0};
    for (uint64_t seed = 0; seed < NSEEDS; seed++) {
        start(seed);
        memset(&client, 0, sizeof client);
        fake_id(fake_open(&host, open_of("")), client.id);
        for (unsigned steps = 0; client.next < NBATCHES || !client.end; steps++) {
            unsigned i = (unsigned)draw(NCALLS);
            if (client.calls[i] == NULL)
                client_ask(i);
            else if (fake_answered(client.calls[i]))
                client_hear(i);
            else
                (void)fake_executor_step(&host.mill.executor);
            assert_true(steps < 100000);
        }
        for (unsigned seq = 0; seq < NBATCHES; seq++) {
            assert_true(seed == 0 || client.digests[seq] == expected[seq]);
            expected[seq] = client.digests[seq];
        }
        fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, client.id));
        for (unsigned i = 0; i < NCALLS; i++)
            fake_call_free(client.calls[i]); // closing has answered them
        fake_host_fini(&host);
    }
}

// ---- A cursor ----

struct taker {
    char id[BM_STREAM_ID_MAX + 1];
    bool joined;
    struct fake_call *call;
    uint64_t ticket;
    int64_t held; // seq of the batch of its ticket, or -1
};

static struct taker takers[NMEMBERS];
static unsigned taken[NBATCHES]; // how often each batch was taken for good

static void taker_done(struct taker *taker) // with what it holds
{
    if (taker->held >= 0)
        taken[taker->held]++;
    taker->held = -1;
}

static void taker_ask(struct taker *taker)
{
    static const uint32_t waits[] = {0, 1, 20000};
    if (taker->held >= 0) {
        taker->ticket++;
        taker_done(taker); // asking for the next one says so
    }
    taker->call = fake_next(&host, (struct bm_next_request){.stream = taker->id,
                                                            .first = taker->ticket,
                                                            .max_batches = 1,
                                                            .wait_ms = waits[draw(3)]});
}

// False: the cursor has ended.
static bool taker_hear(struct taker *taker)
{
    struct fake_call *call = taker->call;
    const struct bm_batches *batches = &fake_reply(call)->batches;
    assert_int_equal(fake_reply(call)->code, BM_OK);
    bool end = batches->end;
    if (batches->noutcomes > 0)
        taker->held = (int64_t)batches->outcomes[0]->seq;
    taker->call = NULL;
    fake_call_free(call);
    return !end;
}

static void taker_leave(struct taker *taker)
{
    struct bm_request request = {.named = {.name = taker->id, .ack = taker->ticket}};
    if (taker->held >= 0 && draw(2) == 0) { // it did take it
        request.named.ack++;
        taker_done(taker);
    }
    fake_call_free(fake_call(&host, BM_CALL_CLOSE_STREAM, request));
    fake_call_free(taker->call);
    *taker = (struct taker){.held = -1};
}

static void taker_die(struct taker *taker) // without a word; its requests are answered to nobody
{
    if (taker->call != NULL) {
        struct bm_executor *executor = &host.mill.executor.base;
        executor->enter(executor);
        bm_session_abandon(host.session, &taker->call->exchange);
        executor->leave(executor);
        fake_call_free(taker->call);
    }
    *taker = (struct taker){.held = -1};
}

static bool taker_move(struct taker *taker, const struct bm_open_request *open)
{
    uint64_t whim = draw(40);
    if (!taker->joined) {
        fake_id(fake_open(&host, *open), taker->id);
        taker->joined = true;
    } else if (whim == 0) {
        taker_leave(taker);
    } else if (whim == 1) {
        taker_die(taker);
    } else if (taker->call == NULL) {
        taker_ask(taker);
    } else if (fake_answered(taker->call)) {
        return taker_hear(taker);
    } else {
        (void)fake_executor_step(&host.mill.executor);
    }
    return true;
}

static void every_batch_of_a_cursor_is_taken_exactly_once(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < NSEEDS; seed++) {
        start(seed);
        memset(taken, 0, sizeof taken);
        struct bm_open_request open = open_of("shared");
        for (unsigned i = 0; i < NMEMBERS; i++)
            takers[i] = (struct taker){.held = -1};
        while (taker_move(&takers[draw(NMEMBERS)], &open))
            ;
        for (unsigned i = 0; i < NMEMBERS; i++)
            taker_die(&takers[i]);
        fake_host_pass(&host, FAKE_LEASE_MS); // what the dead held is free again
        bool more = true;
        while (more) {
            if (!takers[0].joined)
                (void)taker_move(&takers[0], &open);
            taker_ask(&takers[0]);
            while (!fake_answered(takers[0].call))
                assert_true(fake_executor_step(&host.mill.executor));
            more = taker_hear(&takers[0]);
        }
        for (unsigned seq = 0; seq < NBATCHES; seq++)
            assert_int_equal(taken[seq], 1);
        fake_host_fini(&host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_comes_whole_and_equal_whatever_its_client_does),
        cmocka_unit_test(every_batch_of_a_cursor_is_taken_exactly_once),
    };
    return cmocka_run_group_tests_name("session_seeds", tests, NULL, NULL);
}
