// Batches that go by reference: what the session holds for its client, and for how long.
#include <string.h>

#include "fakes/fake_host.h"
#include "support.h"

enum { BATCH = BM_SHARED_BYTES_MIN / 8, NITEMS = 40 * BATCH, PREFETCH = 3 }; // items of 8 bytes

static struct fake_host host;
static char id[BM_STREAM_ID_MAX + 1];

static void stream_open(uint64_t batch_size)
{
    fake_id(fake_open(&host, (struct bm_open_request){.pipeline = "plain",
                                                      .order.batch_size = batch_size,
                                                      .prefetch = PREFETCH,
                                                      .same_host = true}),
            id);
}

static int setup(void **state)
{
    (void)state;
    fake_host_init(&host);
    host.local = true;
    fake_host_add(&host, "plain", NITEMS, "[]");
    stream_open(BATCH);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_host_fini(&host);
    return 0;
}

// Asks by reference for `count` batches from `first` on, holding the `nheld` before that are named.
static struct fake_call *ask(uint64_t first, uint32_t count, unsigned nheld, const uint64_t *held)
{
    return fake_next(&host, (struct bm_next_request){.stream = id,
                                                     .first = first,
                                                     .max_batches = count,
                                                     .wait_ms = 1000,
                                                     .ack = first,
                                                     .same_host = true,
                                                     .nheld = nheld,
                                                     .held = held});
}

static const struct bm_batch *batch_of(struct fake_call *call, unsigned i)
{
    assert_int_equal(fake_reply(call)->code, BM_OK);
    assert_true(fake_reply(call)->batches.noutcomes > i);
    return &fake_reply(call)->batches.outcomes[i]->work.batch;
}

static uint64_t block_of(struct fake_call *call, unsigned i)
{
    const struct bm_block *block = batch_of(call, i)->tensors[0].block;
    assert_non_null(bm_block_shared(block));
    return bm_shared_place(bm_block_shared(block)).block;
}

// Takes one batch, which has to go by reference; its block.
static uint64_t take(uint64_t seq, unsigned nheld, const uint64_t *held)
{
    struct fake_call *call = ask(seq, 1, nheld, held);
    uint64_t block = block_of(call, 0);
    assert_true(fake_reply(call)->batches.by_reference);
    fake_call_free(call);
    return block;
}

// Whether any of the batches from `seq` on, as many as there may be at once, lies in `block`.
static bool comes_again(uint64_t seq, uint64_t block, unsigned nheld, const uint64_t *held)
{
    bool again = false;
    for (unsigned i = 0; i < 2 * (PREFETCH + 2); i++)
        again |= take(seq + i, nheld, held) == block;
    return again;
}

// Whether it waits to be used for something else.
static bool is_free(uint64_t block)
{
    enum { N = 2 * PREFETCH };
    struct bm_block *blocks[N];
    bool found = false;
    for (unsigned i = 0; i < N; i++) {
        blocks[i] = bm_block_new_shared(host.same_host.pool, UINT64_C(8) * BATCH);
        assert_non_null(blocks[i]);
        found |= bm_shared_place(bm_block_shared(blocks[i])).block == block;
    }
    for (unsigned i = 0; i < N; i++)
        bm_block_unref(blocks[i]);
    return found;
}

static uint64_t nshared(void)
{
    struct fake_call *call = fake_call(&host, BM_CALL_GET_STATUS, (struct bm_request){0});
    uint64_t n = fake_reply(call)->status.shared_batches;
    fake_call_free(call);
    return n;
}

static void who_is_done_gives_the_memory_back(void **state)
{
    (void)state;
    assert_true(comes_again(1, take(0, 0, NULL), 0, NULL));
}

static void what_is_held_is_not_used_again(void **state)
{
    (void)state;
    const uint64_t held[] = {0};
    uint64_t block = take(0, 0, NULL);
    assert_false(comes_again(1, block, 1, held));
    assert_false(is_free(block));
    fake_call_free(ask(11, 0, 0, NULL)); // until it is not held any more
    assert_true(is_free(block));
}

static void held_batches_keep_their_bytes(void **state)
{
    (void)state;
    const uint64_t held[] = {0, 2};
    struct fake_call *call = ask(0, 1, 0, NULL);
    const int64_t *first = (const int64_t *)(const void *)batch_of(call, 0)->tensors[0].data;
    fake_call_free(call); // only the hold keeps it
    take(1, 1, held);
    call = ask(2, 1, 1, held);
    const int64_t *third = (const int64_t *)(const void *)batch_of(call, 0)->tensors[0].data;
    fake_call_free(call);
    for (uint64_t seq = 3; seq < 20; seq++)
        take(seq, 2, held);
    for (int64_t i = 0; i < BATCH; i++)
        assert_true(first[i] == i && third[i] == INT64_C(2) * BATCH + i);
}

static void a_late_request_says_nothing_about_what_is_held(void **state)
{
    (void)state;
    const uint64_t held[] = {0};
    uint64_t block = take(0, 0, NULL);
    take(1, 1, held);
    take(2, 1, held);
    struct fake_call *late = ask(1, 0, 0, NULL); // overtaken by the one above
    fake_call_free(late);
    assert_false(comes_again(3, block, 1, held));
}

static void a_repeated_request_gets_the_same_block_and_one_hold(void **state)
{
    (void)state;
    uint64_t block = take(0, 0, NULL);
    assert_true(take(0, 0, NULL) == block);
    assert_int_equal(nshared(), 1);
    const uint64_t held[] = {0};
    assert_false(comes_again(1, block, 1, held));
}

static void what_a_silent_client_may_see_is_never_used_again(void **state)
{
    (void)state;
    uint64_t block = take(0, 0, NULL);
    fake_host_pass(&host, FAKE_LEASE_MS + 1000);
    fake_expect(ask(1, 1, 0, NULL), BM_NOT_FOUND, "no stream");
    stream_open(BATCH);
    assert_false(comes_again(0, block, 0, NULL));
}

static void a_close_says_whether_anything_is_seen_any_more(void **state)
{
    (void)state;
    for (unsigned none = 0; none < 2; none++) {
        uint64_t block = take(0, 0, NULL);
        struct bm_request close = {.named = {.name = id, .held_none = none == 1}};
        fake_call_free(fake_call(&host, BM_CALL_CLOSE_STREAM, close));
        stream_open(BATCH);
        assert_int_equal(comes_again(0, block, 0, NULL), none == 1);
        fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, id));
        stream_open(BATCH);
    }
}

static void who_does_not_ask_or_is_elsewhere_gets_the_bytes(void **state)
{
    (void)state;
    struct fake_call *call =
        fake_next(&host, (struct bm_next_request){.stream = id, .max_batches = 1, .wait_ms = 1000});
    batch_of(call, 0);
    assert_false(fake_reply(call)->batches.by_reference);
    fake_call_free(call);
    host.local = false;
    call = ask(1, 1, 0, NULL);
    batch_of(call, 0);
    assert_false(fake_reply(call)->batches.by_reference);
    fake_call_free(call);
    assert_int_equal(nshared(), 0);
}

static void only_who_asks_from_here_is_told_where_the_probe_is(void **state)
{
    (void)state;
    struct bm_open_request open = {.pipeline = "plain", .order.batch_size = BATCH};
    struct fake_call *call = fake_open(&host, open);
    assert_null(fake_reply(call)->opened.same_host);
    fake_call_free(call);
    open.same_host = true;
    call = fake_open(&host, open);
    assert_ptr_equal(fake_reply(call)->opened.same_host, &host.same_host);
    fake_call_free(call);
    host.local = false;
    call = fake_open(&host, open);
    assert_null(fake_reply(call)->opened.same_host);
    fake_call_free(call);
}

static void small_batches_are_sent(void **state)
{
    (void)state;
    stream_open(BATCH - 1);
    fake_call_free(ask(0, 1, 0, NULL));
    assert_int_equal(nshared(), 0);
}

static void what_is_held_counts_in_the_budget(void **state)
{
    (void)state;
    struct bm_scheduler *scheduler = host.mill.scheduler;
    take(0, 0, NULL);
    const uint64_t held[] = {0};
    take(1, 1, held);
    uint64_t with = bm_scheduler_status(scheduler).memory_used_bytes;
    fake_call_free(ask(1, 0, 0, NULL));
    uint64_t without = bm_scheduler_status(scheduler).memory_used_bytes;
    assert_int_equal(with - without, 8 * BATCH);
}

static void without_budget_for_a_hold_a_batch_is_sent(void **state)
{
    (void)state;
    // Half of it is for a batch of each stream, half for the rest of their windows and holds.
    enum { MEMORY = 10 * 8 * BATCH };
    fake_host_fini(&host);
    fake_host_init_with_memory(&host, MEMORY);
    host.local = true;
    fake_host_add(&host, "plain", NITEMS, "[]");
    stream_open(BATCH);
    uint64_t held[20];
    unsigned nsent = 0;
    for (unsigned seq = 0; seq < 20; seq++) {
        struct fake_call *call = ask(seq, 1, seq, held);
        const int64_t *x = (const int64_t *)(const void *)batch_of(call, 0)->tensors[0].data;
        assert_int_equal(x[0], seq * BATCH);
        nsent += !fake_reply(call)->batches.by_reference;
        fake_call_free(call);
        assert_true(bm_scheduler_status(host.mill.scheduler).memory_used_bytes <= MEMORY);
        held[seq] = seq;
    }
    assert_in_range(nsent, 12, 19); // the others are held
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_is_done_gives_the_memory_back),
        TEST(what_is_held_is_not_used_again),
        TEST(held_batches_keep_their_bytes),
        TEST(a_late_request_says_nothing_about_what_is_held),
        TEST(a_repeated_request_gets_the_same_block_and_one_hold),
        TEST(what_a_silent_client_may_see_is_never_used_again),
        TEST(a_close_says_whether_anything_is_seen_any_more),
        TEST(who_does_not_ask_or_is_elsewhere_gets_the_bytes),
        TEST(only_who_asks_from_here_is_told_where_the_probe_is),
        TEST(small_batches_are_sent),
        TEST(what_is_held_counts_in_the_budget),
        TEST(without_budget_for_a_hold_a_batch_is_sent),
    };
    return cmocka_run_group_tests_name("session_holds", tests, NULL, NULL);
}
