// What client/c/window.c promises: strict order, never more than the window, never starved.
#include "client/c/window.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "support.h"

// ---- By hand ----

static unsigned ndropped;

static void count_drop(void *batch)
{
    (void)batch;
    ndropped++;
}

static struct bm_client_window opened(uint64_t first_seq, uint32_t prefetch)
{
    struct bm_client_window window;
    assert_true(bm_client_window_init(&window, first_seq, UINT64_MAX, prefetch, false, count_drop));
    return window;
}

static struct bm_client_ask expect_ask(struct bm_client_window *window, uint64_t first,
                                       uint32_t count, uint64_t ack)
{
    struct bm_client_ask ask;
    assert_true(bm_client_window_next_ask(window, &ask));
    assert_int_equal(ask.first, first);
    assert_int_equal(ask.count, count);
    assert_int_equal(ask.ack, ack);
    return ask;
}

static void expect_no_ask(struct bm_client_window *window)
{
    struct bm_client_ask ask;
    assert_false(bm_client_window_next_ask(window, &ask));
}

static char batches[256]; // batch k is the address of batches[k]

static void put(struct bm_client_window *window, uint64_t seq, uint64_t bytes)
{
    const struct bm_client_arrival arrival = {.batch = &batches[seq], .bytes = bytes};
    assert_true(bm_client_window_put(window, seq, &arrival));
}

static void expect_taken(struct bm_client_window *window, uint64_t seq)
{
    void *batch = NULL;
    assert_int_equal(bm_client_window_take(window, &batch), BM_CLIENT_TAKEN);
    assert_ptr_equal(batch, &batches[seq]);
}

static void expect_wait(struct bm_client_window *window)
{
    void *batch = NULL;
    assert_int_equal(bm_client_window_take(window, &batch), BM_CLIENT_WAIT);
}

static void nothing_is_asked_for_before_the_consumer_asks(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 3);
    expect_no_ask(&window);
    bm_client_window_ask(&window);
    expect_ask(&window, 0, 4, 0);
    expect_no_ask(&window);
    bm_client_window_fini(&window);
}

static void without_prefetch_the_next_is_asked_for_when_the_consumer_comes_back(void **state)
{
    (void)state;
    struct bm_client_window window = opened(7, 0);
    bm_client_window_ask(&window);
    struct bm_client_ask ask = expect_ask(&window, 7, 1, 7);
    put(&window, 7, 100);
    bm_client_window_answered(&window, &ask, false);
    expect_taken(&window, 7);
    expect_no_ask(&window);
    bm_client_window_ask(&window);
    expect_ask(&window, 8, 1, 8);
    bm_client_window_fini(&window);
}

static void a_consumer_that_holds_a_batch_has_the_rest_of_the_window_asked_for(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 1);
    bm_client_window_ask(&window);
    struct bm_client_ask ask = expect_ask(&window, 0, 2, 0);
    put(&window, 0, 100);
    bm_client_window_answered(&window, &ask, false);
    expect_taken(&window, 0);
    expect_ask(&window, 1, 1, 0);
    expect_no_ask(&window); // batch 2 is beyond what prefetch 1 allows
    bm_client_window_ask(&window);
    expect_ask(&window, 2, 1, 1);
    bm_client_window_fini(&window);
}

static void an_ack_travels_alone_when_there_is_nothing_to_ask_for(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 15);
    bm_client_window_ask(&window);
    struct bm_client_ask head = expect_ask(&window, 0, 16, 0);
    for (uint64_t seq = 0; seq < 9; seq++)
        put(&window, seq, 100);
    bm_client_window_answered(&window, &head, false);
    bm_client_window_end(&window, 16);
    expect_taken(&window, 0);
    expect_ask(&window, 9, 7, 0);
    for (uint64_t seq = 1; seq < 4; seq++) {
        bm_client_window_ask(&window); // done with the one before
        expect_taken(&window, seq);
        expect_no_ask(&window);
    }
    bm_client_window_ask(&window); // done with 4 of 16: the server may go on
    struct bm_client_ask ack = expect_ask(&window, 4, 0, 4);
    expect_taken(&window, 4);
    for (uint64_t seq = 5; seq < 9; seq++) {
        bm_client_window_ask(&window);
        expect_taken(&window, seq);
        expect_no_ask(&window); // one at a time
    }
    bm_client_window_answered(&window, &ack, false);
    expect_ask(&window, 9, 0, 8);
    bm_client_window_fini(&window);
}

static void large_batches_are_asked_for_one_by_one(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 3);
    bm_client_window_ask(&window);
    struct bm_client_ask ask = expect_ask(&window, 0, 4, 0);
    put(&window, 0, UINT64_C(3) * BM_CLIENT_REPLY_BYTES);
    bm_client_window_answered(&window, &ask, false);
    expect_taken(&window, 0);
    bm_client_window_ask(&window);
    expect_ask(&window, 1, 1, 1);
    expect_ask(&window, 2, 1, 1);
    expect_ask(&window, 3, 1, 1);
    expect_ask(&window, 4, 1, 1);
    expect_no_ask(&window);
    bm_client_window_fini(&window);
}

static void the_batch_the_consumer_waits_for_is_asked_for_at_once(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 15);
    bm_client_window_ask(&window);
    struct bm_client_ask head = expect_ask(&window, 0, 16, 0);
    for (uint64_t seq = 0; seq < 15; seq++)
        put(&window, seq, 100);
    expect_taken(&window, 0);
    for (uint64_t seq = 1; seq < 15; seq++) {
        bm_client_window_ask(&window);
        expect_taken(&window, seq);
    }
    expect_ask(&window, 16, 14, 14);
    bm_client_window_ask(&window);
    expect_no_ask(&window);
    expect_wait(&window);
    struct bm_client_ask ack = expect_ask(&window, 15, 0, 15); // so that the whole window works
    expect_no_ask(&window);
    bm_client_window_answered(&window, &ack, false);
    bm_client_window_answered(&window, &head, false);
    expect_ask(&window, 15, 1, 15); // one seq among many that are under way
    bm_client_window_fini(&window);
}

static void with_nothing_under_way_a_small_rest_is_asked_for_too(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 15);
    bm_client_window_ask(&window);
    struct bm_client_ask ask = expect_ask(&window, 0, 16, 0);
    for (uint64_t seq = 0; seq < 15; seq++)
        put(&window, seq, 100);
    bm_client_window_answered(&window, &ask, false);
    expect_ask(&window, 15, 1, 0);
    bm_client_window_fini(&window);
}

static void a_lost_ask_is_repeated_and_so_is_its_ack(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 0);
    bm_client_window_ask(&window);
    struct bm_client_ask ask = expect_ask(&window, 0, 1, 0);
    bm_client_window_answered(&window, &ask, true);
    ask = expect_ask(&window, 0, 1, 0);
    bm_client_window_answered(&window, &ask, false); // not yet
    ask = expect_ask(&window, 0, 1, 0);
    put(&window, 0, 1);
    bm_client_window_answered(&window, &ask, false);
    expect_taken(&window, 0);
    assert_true(bm_client_window_keep_alive(&window, &ask));
    bm_client_window_answered(&window, &ask, true);
    ask = expect_ask(&window, 1, 0, 0);
    bm_client_window_fini(&window);
}

static void a_lease_is_kept_only_while_nothing_else_is_under_way(void **state)
{
    (void)state;
    struct bm_client_window window = opened(5, 0);
    struct bm_client_ask ask, other;
    assert_true(bm_client_window_keep_alive(&window, &ask)); // open, but never asked
    assert_int_equal(ask.count, 0);
    assert_int_equal(ask.ack, 5);
    assert_false(bm_client_window_keep_alive(&window, &other));
    bm_client_window_answered(&window, &ask, false);
    bm_client_window_ask(&window);
    ask = expect_ask(&window, 5, 1, 5);
    assert_false(bm_client_window_keep_alive(&window, &other));
    put(&window, 5, 1);
    bm_client_window_end(&window, 6);
    bm_client_window_answered(&window, &ask, false);
    expect_taken(&window, 5);
    assert_false(bm_client_window_keep_alive(&window, &other)); // it is over
    bm_client_window_fini(&window);
}

static void a_batch_that_is_repeated_or_was_not_wanted_is_refused(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 2);
    const struct bm_client_arrival arrival = {.batch = &batches[0], .bytes = 1};
    bm_client_window_ask(&window);
    struct bm_client_ask ask = expect_ask(&window, 0, 3, 0);
    put(&window, 1, 1);
    assert_false(bm_client_window_put(&window, 1, &arrival));
    assert_false(bm_client_window_put(&window, 3, &arrival));
    put(&window, 0, 1);
    bm_client_window_answered(&window, &ask, false);
    expect_taken(&window, 0);
    assert_false(bm_client_window_put(&window, 0, &arrival));
    ndropped = 0;
    bm_client_window_fini(&window);
    assert_int_equal(ndropped, 1); // batch 1, which nobody took
}

static void skipped_batches_are_passed_over_and_counted(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 1);
    const struct bm_client_arrival skipped = {.skipped = true},
                                   left_out = {.skipped = true, .failed = true};
    bm_client_window_ask(&window);
    struct bm_client_ask ask = expect_ask(&window, 0, 2, 0);
    assert_true(bm_client_window_put(&window, 0, &skipped));
    assert_true(bm_client_window_put(&window, 1, &left_out));
    bm_client_window_answered(&window, &ask, false);
    expect_wait(&window);
    ask = expect_ask(&window, 2, 2, 2); // the window has moved past them
    put(&window, 2, 1);
    bm_client_window_answered(&window, &ask, false);
    expect_taken(&window, 2);
    assert_int_equal(window.skipped, 2);
    assert_int_equal(window.failed, 1);
    bm_client_window_fini(&window);
}

static void after_the_end_nothing_is_asked_for(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 3);
    void *batch = NULL;
    bm_client_window_ask(&window);
    struct bm_client_ask ask = expect_ask(&window, 0, 4, 0);
    put(&window, 0, 1);
    bm_client_window_end(&window, 1);
    bm_client_window_answered(&window, &ask, false);
    expect_taken(&window, 0);
    expect_no_ask(&window);
    bm_client_window_ask(&window);
    assert_int_equal(bm_client_window_take(&window, &batch), BM_CLIENT_END);
    bm_client_window_ask(&window);
    assert_int_equal(bm_client_window_take(&window, &batch), BM_CLIENT_END);
    expect_no_ask(&window);
    bm_client_window_fini(&window);
}

static void a_stream_that_is_opened_again_goes_on_with_the_next_batch(void **state)
{
    (void)state;
    struct bm_client_window window = opened(0, 2);
    bm_client_window_ask(&window);
    struct bm_client_ask ask = expect_ask(&window, 0, 3, 0);
    put(&window, 0, 1);
    put(&window, 1, 1);
    bm_client_window_answered(&window, &ask, false);
    expect_taken(&window, 0);
    bm_client_window_ask(&window);
    expect_ask(&window, 2, 2, 1);
    ndropped = 0;
    bm_client_window_end(&window, 2); // for want of memory there; not the stream's own end
    bm_client_window_rewind(&window, 9);
    assert_int_equal(ndropped, 1);
    assert_int_equal(window.end_seq, 9);
    expect_ask(&window, 1, 3, 1);
    expect_no_ask(&window);
    bm_client_window_fini(&window);
}

static void a_narrow_window_grows_as_the_server_says(void **state)
{
    (void)state;
    struct bm_client_window window;
    assert_true(bm_client_window_init(&window, 0, UINT64_MAX, 15, true, count_drop));
    bm_client_window_ask(&window);
    struct bm_client_ask ask = expect_ask(&window, 0, 1, 0); // how wide it is, nobody knows yet
    assert_true(ask.waits);
    expect_no_ask(&window);
    bm_client_window_widen(&window, 4);
    put(&window, 0, 100);
    bm_client_window_answered(&window, &ask, false);
    expect_taken(&window, 0);
    ask = expect_ask(&window, 1, 3, 0);
    assert_false(ask.waits);            // it has batch 0
    bm_client_window_widen(&window, 2); // an old answer
    bm_client_window_widen(&window, 1000);
    expect_ask(&window, 4, 12, 0);
    bm_client_window_rewind(&window, UINT64_MAX); // a new stream begins like the first
    bm_client_window_ask(&window);
    expect_ask(&window, 1, 1, 1);
    expect_no_ask(&window);
    bm_client_window_fini(&window);
}

// ---- Against a server that takes its time ----
//
// The model follows PROTOCOL.md: the window moves by acks, batches get ready in any order and are
// committed in order, a request is parked until its first batch is there, and answers hold fewer
// batches than asked for, or none. Requests and replies overtake each other.

enum { FLYING_MAX = BM_CLIENT_ASKS_MAX + 1, BATCHES_MAX = 400 };

enum flying_state { FREE, REQUESTED, PARKED, REPLIED };
struct flying {
    enum flying_state state;
    struct bm_client_ask ask;
    uint32_t nbatches;
    bool end, lost;
};

struct world {
    struct bm_random random;
    struct bm_client_window window;
    uint32_t prefetch;
    uint64_t first, end; // of the stream
    uint64_t bytes;      // of a batch
    struct flying flying[FLYING_MAX];
    bool asked_for[BATCHES_MAX]; // by a request under way
    // The server:
    bool started;
    uint64_t asked, committed;
    bool ready[BATCHES_MAX];
    // The consumer:
    bool waiting, over;
    uint64_t expected;
    uint64_t nlive; // batches that exist in the client
};

static struct world world;

static bool chance(unsigned one_in)
{
    return bm_random_below(&world.random, one_in) == 0;
}

static bool is_skipped(uint64_t seq)
{
    return seq % 7 == 3;
}

static void world_drop(void *batch)
{
    world.nlive--;
    free(batch);
}

static bool server_can_answer(const struct flying *flying)
{
    return flying->ask.count == 0 || flying->ask.first < world.committed ||
           world.committed == world.end;
}

static void server_receive(struct flying *flying)
{
    flying->state = PARKED;
    if (flying->ask.count > 0)
        world.started = true;
    if (flying->ask.ack > world.asked)
        world.asked = flying->ask.ack;
    assert_true(world.asked <= world.committed); // nobody acks what was never handed out
}

static void server_answer(struct flying *flying, bool late)
{
    flying->state = REPLIED;
    flying->lost = chance(50);
    flying->nbatches = 0;
    flying->end = false;
    if (late || flying->lost || flying->ask.count == 0)
        return;
    assert_true(flying->ask.first >= world.asked); // released already
    while (flying->nbatches < flying->ask.count &&
           flying->ask.first + flying->nbatches < world.committed &&
           (flying->nbatches == 0 || !chance(4)))
        flying->nbatches++;
    flying->end = world.committed == world.end && flying->ask.first + flying->nbatches >= world.end;
}

static void client_receive(struct flying *flying)
{
    for (uint32_t i = 0; i < flying->nbatches; i++) {
        uint64_t seq = flying->ask.first + i;
        struct bm_client_arrival arrival = {
            .bytes = world.bytes, .skipped = is_skipped(seq), .failed = seq % 11 == 5};
        for (unsigned times = 0; times < (chance(10) ? 2 : 1); times++) {
            if (!arrival.skipped) {
                uint64_t *batch = malloc(sizeof *batch);
                *batch = seq;
                arrival.batch = batch;
                world.nlive++;
            }
            bool taken = bm_client_window_put(&world.window, seq, &arrival);
            assert_int_equal(taken, times == 0);
            if (!taken && !arrival.skipped)
                world_drop(arrival.batch);
        }
    }
    if (flying->end)
        bm_client_window_end(&world.window, world.end);
    if (!flying->lost)
        bm_client_window_widen(&world.window, bm_random_below(&world.random, 500));
    bm_client_window_answered(&world.window, &flying->ask, flying->lost);
    for (uint32_t i = 0; i < flying->ask.count; i++)
        world.asked_for[flying->ask.first + i] = false;
    flying->state = FREE;
}

// Sends all that the window wants, and checks that it may want it.
static void client_pump(void)
{
    struct bm_client_ask ask;
    while (bm_client_window_next_ask(&world.window, &ask)) {
        uint64_t held = world.expected > world.first && !world.waiting ? 1 : 0;
        assert_true(ask.ack <= world.window.want);
        assert_true(ask.ack + held >= world.window.want);
        assert_true(ask.first + ask.count <= ask.ack + world.prefetch + 1);
        assert_true(ask.first + ask.count <= BATCHES_MAX);
        for (uint32_t i = 0; i < ask.count; i++) {
            assert_false(world.asked_for[ask.first + i]); // once at a time
            world.asked_for[ask.first + i] = true;
        }
        struct flying *flying = world.flying;
        while (flying < world.flying + FLYING_MAX && flying->state != FREE)
            flying++;
        assert_true(flying < world.flying + FLYING_MAX);
        *flying = (struct flying){.state = REQUESTED, .ask = ask};
    }
}

static void consumer_take(void)
{
    void *batch = NULL;
    switch (bm_client_window_take(&world.window, &batch)) {
    case BM_CLIENT_TAKEN:
        while (is_skipped(world.expected))
            world.expected++;
        assert_int_equal(*(uint64_t *)batch, world.expected);
        world.expected++;
        world.waiting = false;
        world_drop(batch);
        break;
    case BM_CLIENT_END:
        while (world.expected < world.end && is_skipped(world.expected))
            world.expected++;
        assert_int_equal(world.expected, world.end);
        world.over = true;
        break;
    case BM_CLIENT_WAIT:
        break;
    }
    client_pump();
}

static void consumer_step(void)
{
    if (!world.waiting) {
        world.waiting = true;
        bm_client_window_ask(&world.window);
    }
    consumer_take();
}

static void server_finish_one(void)
{
    if (!world.started)
        return;
    uint64_t stop = world.asked + world.prefetch + 1;
    for (uint64_t seq = world.committed; seq < stop && seq < world.end; seq++) {
        if (!world.ready[seq] && chance(3)) {
            world.ready[seq] = true;
            break;
        }
    }
    while (world.committed < world.end && world.ready[world.committed])
        world.committed++;
}

static void flying_step(struct flying *flying)
{
    switch (flying->state) {
    case FREE:
        break;
    case REQUESTED:
        server_receive(flying);
        break;
    case PARKED:
        if (server_can_answer(flying))
            server_answer(flying, false);
        else if (chance(20))
            server_answer(flying, true);
        break;
    case REPLIED:
        client_receive(flying);
        client_pump();
        break;
    }
}

// Everything that moves has arrived: then the server must know about how far the consumer is.
static void settle(void)
{
    for (unsigned i = 0; i < 2 * BATCHES_MAX; i++) {
        struct flying *flying = &world.flying[i % FLYING_MAX];
        if (flying->state != PARKED || server_can_answer(flying))
            flying_step(flying);
        server_finish_one();
    }
    uint64_t quarter = (world.prefetch + 1) / 4;
    if (world.window.started && world.window.base < world.end)
        assert_true(world.window.base - world.asked < (quarter > 1 ? quarter : 1));
}

static void stream_all(uint64_t seed, uint32_t prefetch)
{
    memset(&world, 0, sizeof world);
    bm_random_init(&world.random, seed, prefetch, 0, 0);
    world.prefetch = prefetch;
    world.first = world.asked = world.committed = world.expected = seed % 5;
    world.end = world.first + bm_random_below(&world.random, 100);
    world.bytes = chance(2) ? 1024 : 700000;
    bool known_end = chance(2);
    assert_true(bm_client_window_init(&world.window, world.first,
                                      known_end ? world.end : UINT64_MAX, prefetch, chance(2),
                                      world_drop));
    unsigned nsteps = 0;
    while (!world.over) {
        uint64_t choice = bm_random_below(&world.random, FLYING_MAX + 4);
        if (choice < FLYING_MAX)
            flying_step(&world.flying[choice]);
        else if (choice == FLYING_MAX)
            consumer_step();
        else
            server_finish_one();
        if (chance(200))
            settle();
        assert_true(world.nlive <= prefetch + 1);
        assert_true(++nsteps < 100000); // starved
    }
    bm_client_window_fini(&world.window);
    assert_int_equal(world.nlive, 0);
}

static void every_batch_comes_once_and_in_order_whatever_the_network_does(void **state)
{
    (void)state;
    static const uint32_t prefetches[] = {0, 1, 3, 64};
    for (unsigned i = 0; i < sizeof prefetches / sizeof prefetches[0]; i++) {
        for (uint64_t seed = 0; seed < 500; seed++)
            stream_all(seed, prefetches[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_asked_for_before_the_consumer_asks),
        cmocka_unit_test(without_prefetch_the_next_is_asked_for_when_the_consumer_comes_back),
        cmocka_unit_test(a_consumer_that_holds_a_batch_has_the_rest_of_the_window_asked_for),
        cmocka_unit_test(an_ack_travels_alone_when_there_is_nothing_to_ask_for),
        cmocka_unit_test(large_batches_are_asked_for_one_by_one),
        cmocka_unit_test(the_batch_the_consumer_waits_for_is_asked_for_at_once),
        cmocka_unit_test(with_nothing_under_way_a_small_rest_is_asked_for_too),
        cmocka_unit_test(a_narrow_window_grows_as_the_server_says),
        cmocka_unit_test(a_lost_ask_is_repeated_and_so_is_its_ack),
        cmocka_unit_test(a_lease_is_kept_only_while_nothing_else_is_under_way),
        cmocka_unit_test(a_batch_that_is_repeated_or_was_not_wanted_is_refused),
        cmocka_unit_test(skipped_batches_are_passed_over_and_counted),
        cmocka_unit_test(after_the_end_nothing_is_asked_for),
        cmocka_unit_test(a_stream_that_is_opened_again_goes_on_with_the_next_batch),
        cmocka_unit_test(every_batch_comes_once_and_in_order_whatever_the_network_does),
    };
    return cmocka_run_group_tests_name("client_window", tests, NULL, NULL);
}
