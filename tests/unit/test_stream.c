// What run/ promises of order, window, locks and bytes, under every interleaving a seed can pick.
#include <string.h>

#include "base/hash.h"
#include "fakes/heap.h"
#include "fakes/mill.h"
#include "support.h"

enum {
    NSEEDS = 1000 / BM_TEST_SLOWNESS,
    NITEMS = 40,
    BATCH_SIZE = 3,
    NBATCHES = 14,
    LOCKS_MAX = 4
};

// ---- Oracles, fed by the scheduler's events ----

static struct {
    struct bm_observer observer;
    unsigned prefetch;
    uint64_t created, released;    // of the one stream
    const struct bm_stream *first; // the stream those count
    // Of the one lock "gpu": who is in, who waits in which order.
    struct {
        const struct bm_stream *stream;
        uint64_t seq;
    } line[256];
    unsigned nline, ninside, parked;
    unsigned bad_window, bad_lock, bad_fifo;
} oracle;

static bool oracle_locked(const struct bm_event *event) // both tests lock step 2 and nothing else
{
    return event->step == 2;
}

static void oracle_lock(const struct bm_event *event)
{
    if (event->kind == BM_EVENT_PARKED) {
        oracle.line[oracle.nline].stream = event->stream;
        oracle.line[oracle.nline++].seq = event->seq;
        oracle.parked++;
    } else if (event->kind == BM_EVENT_GRANTED) {
        oracle.bad_fifo += oracle.nline == 0 || oracle.line[0].stream != event->stream ||
                           oracle.line[0].seq != event->seq;
        memmove(&oracle.line[0], &oracle.line[1], sizeof oracle.line - sizeof oracle.line[0]);
        oracle.nline--;
    } else if (event->kind == BM_EVENT_STARTED) {
        oracle.bad_lock += ++oracle.ninside > 1;
    } else if (event->kind == BM_EVENT_FINISHED) {
        oracle.ninside--;
    }
}

static void oracle_event(struct bm_observer *self, const struct bm_event *event)
{
    (void)self;
    if (oracle.first == NULL)
        oracle.first = event->stream;
    if (event->stream == oracle.first) {
        oracle.created += event->kind == BM_EVENT_CREATED;
        oracle.released += event->kind == BM_EVENT_RELEASED;
        oracle.bad_window += oracle.created - oracle.released > oracle.prefetch + 1;
    }
    if (oracle_locked(event))
        oracle_lock(event);
}

static void oracle_reset(unsigned prefetch)
{
    memset(&oracle, 0, sizeof oracle);
    oracle.observer.event = oracle_event;
    oracle.prefetch = prefetch;
}

static void oracle_check(void)
{
    assert_int_equal(oracle.bad_window, 0);
    assert_int_equal(oracle.bad_lock, 0);
    assert_int_equal(oracle.bad_fifo, 0);
    assert_int_equal(oracle.ninside, 0);
    assert_int_equal(oracle.nline, 0);
}

// ---- One stream from its first to its last batch ----

static uint64_t drain(struct mill *mill, struct bm_stream *stream, uint64_t first)
{
    struct bm_hash *hash = bm_hash_new();
    struct bm_outcome *outcome = NULL;
    uint64_t seq = first;
    for (; mill_take(mill, stream, seq, &outcome) == BM_GOT_OUTCOME; seq++) {
        assert_int_equal(outcome->seq, seq);
        bm_hash_add_u64(hash, mill_digest(outcome));
        bm_outcome_unref(outcome);
    }
    bm_hash_add_u64(hash, seq);
    uint64_t digest = bm_hash_end(hash);
    bm_hash_free(hash);
    return digest;
}

static uint64_t run_once(uint64_t seed, unsigned prefetch, unsigned nworkers, uint64_t order_seed)
{
    struct mill mill;
    oracle_reset(prefetch);
    mill_init(&mill, nworkers, seed, 0, &oracle.observer);
    struct bm_pipeline *pipeline = mill_pipeline(
        &mill, "train", NITEMS,
        "[{add: {amount: 5}}, {step: {}, use_lock: gpu}, draw, {nap: {ns: 700}}, sum]");
    struct bm_stream *stream = mill_open(
        &mill, pipeline,
        (struct mill_stream){.batch_size = BATCH_SIZE, .prefetch = prefetch, .seed = order_seed});
    uint64_t digest = drain(&mill, stream, 0);
    assert_int_equal(bm_stream_counts(stream).batches, NBATCHES);
    assert_int_equal(bm_stream_counts(stream).items, NITEMS);
    struct bm_number numbers[3];
    bm_variables_report(bm_stream_variables(stream), numbers);
    assert_int_equal(numbers[0].integer, NITEMS * (NITEMS - 1) / 2 + 5 * NITEMS);
    assert_int_equal(numbers[1].integer, NBATCHES);
    digest = bm_mix64(digest ^ (uint64_t)numbers[2].integer); // merged in the order of seq
    mill_close(&mill, stream);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
    oracle_check();
    return digest;
}

static void batches_come_in_order_with_equal_bytes_whatever_the_workers_do(void **state)
{
    (void)state;
    static const unsigned prefetches[] = {0, 1, 3, 16};
    uint64_t expected = run_once(1, 0, 1, 7);
    assert_true(run_once(1, 0, 1, 8) != expected); // the digest does see the order
    unsigned parked = 0;
    for (uint64_t seed = 0; seed < NSEEDS; seed++) {
        for (unsigned p = 0; p < 4; p++) {
            for (unsigned nworkers = 1; nworkers <= 8; nworkers++) {
                assert_true(run_once(seed * 8 + nworkers, prefetches[p], nworkers, 7) == expected);
                parked += oracle.parked;
            }
        }
    }
    assert_true(parked > 100 * NSEEDS); // the lock was really fought for
}

static void two_pipelines_with_one_lock_name_never_overlap_in_it(void **state)
{
    (void)state;
    unsigned parked = 0;
    for (uint64_t seed = 0; seed < NSEEDS; seed++) {
        struct mill mill;
        oracle_reset(3);
        mill_init(&mill, 1 + (unsigned)(seed % 6), seed, 0, &oracle.observer);
        struct bm_pipeline *a =
            mill_pipeline(&mill, "a", NITEMS, "[step, {step: {}, use_lock: gpu}]");
        struct bm_pipeline *b =
            mill_pipeline(&mill, "b", NITEMS, "[step, {nap: {ns: 300}, use_lock: gpu}]");
        struct bm_stream *of_a = mill_open(&mill, a, (struct mill_stream){.prefetch = 3});
        struct bm_stream *of_b = mill_open(&mill, b, (struct mill_stream){.prefetch = 3});
        struct bm_outcome *outcome = NULL;
        for (uint64_t seq = 0; seq < NITEMS; seq++) {
            assert_int_equal(mill_take(&mill, of_a, seq, &outcome), BM_GOT_OUTCOME);
            outcome = bm_outcome_unref(outcome);
            assert_int_equal(mill_take(&mill, of_b, seq, &outcome), BM_GOT_OUTCOME);
            outcome = bm_outcome_unref(outcome);
        }
        mill_close(&mill, of_a);
        mill_close(&mill, of_b);
        bm_pipeline_unref(a);
        bm_pipeline_unref(b);
        mill_fini(&mill);
        oracle_check();
        parked += oracle.parked;
    }
    assert_true(parked > 1000);
}

static void a_stream_that_starts_at_a_position_gives_the_rest_of_the_same_batches(void **state)
{
    (void)state;
    struct mill mill;
    mill_init(&mill, 3, 5, 0, NULL);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "train", NITEMS, "[draw]");
    uint64_t digests[NBATCHES];
    struct mill_stream config = {.batch_size = BATCH_SIZE, .prefetch = 2, .seed = 9};
    struct bm_outcome *outcome = NULL;
    struct bm_stream *whole = mill_open(&mill, pipeline, config);
    for (uint64_t seq = 0; seq < NBATCHES; seq++) {
        assert_int_equal(mill_take(&mill, whole, seq, &outcome), BM_GOT_OUTCOME);
        digests[seq] = mill_digest(outcome);
        outcome = bm_outcome_unref(outcome);
    }
    mill_close(&mill, whole);
    for (config.first_seq = 0; config.first_seq <= NBATCHES; config.first_seq++) {
        struct bm_stream *rest = mill_open(&mill, pipeline, config);
        for (uint64_t seq = config.first_seq; seq < NBATCHES; seq++) {
            assert_int_equal(mill_take(&mill, rest, seq, &outcome), BM_GOT_OUTCOME);
            assert_true(mill_digest(outcome) == digests[seq]);
            outcome = bm_outcome_unref(outcome);
        }
        assert_int_equal(mill_take(&mill, rest, NBATCHES, &outcome), BM_GOT_END);
        mill_close(&mill, rest);
    }
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

// Left out for want of memory, a batch would be there the next time: so it ends the stream, and
// what came before has the bytes it always has.
static void want_of_memory_leaves_no_batch_out(void **state)
{
    (void)state;
    static struct mill mill;
    uint64_t digests[NBATCHES + 1] = {0};
    mill_init(&mill, 1, 1, 0, NULL);
    struct bm_pipeline *pipeline =
        mill_pipeline(&mill, "train", NITEMS, "[{add: {amount: 5}}, draw]");
    bool failed = true;
    for (uint64_t n = 0; failed; n++) { // n 0: no allocation fails
        struct bm_stream *stream =
            mill_open(&mill, pipeline,
                      (struct mill_stream){
                          .batch_size = BATCH_SIZE, .prefetch = 2, .on_error = BM_ON_ERROR_SKIP});
        struct bm_outcome *outcome = NULL;
        uint64_t seq = 0;
        bm_fake_heap_fail_at(n);
        while (mill_take(&mill, stream, seq, &outcome) == BM_GOT_OUTCOME) {
            if (outcome->kind == BM_OUTCOME_FAILED)
                break;
            assert_int_equal(outcome->kind, BM_OUTCOME_BATCH);
            const struct bm_tensor *x = &outcome->work.batch.tensors[0]; // mill_digest() allocates
            uint64_t digest = bm_hash_bytes(x->data, x->size_bytes);
            assert_true(n == 0 || digest == digests[seq]);
            assert_true(seq < NBATCHES);
            digests[seq++] = digest;
            outcome = bm_outcome_unref(outcome);
        }
        failed = n == 0 || bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        if (outcome != NULL) {
            assert_int_equal(outcome->work.error.status, BM_RESOURCE_EXHAUSTED);
            bm_outcome_unref(outcome);
            assert_true(bm_stream_counts(stream).stopped);
        } else {
            assert_int_equal(seq, NBATCHES);
        }
        mill_close(&mill, stream);
    }
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

static void what_is_left_of_a_batch_is_counted_and_one_without_items_is_skipped(void **state)
{
    (void)state;
    struct mill mill;
    mill_init(&mill, 2, 3, 0, NULL);
    struct bm_pipeline *pipeline =
        mill_pipeline(&mill, "train", 7, "[{sieve: {amount: 2}}, {nap: {ns: 5}}, sum]");
    struct bm_outcome *outcome = NULL;
    struct bm_stream *stream =
        mill_open(&mill, pipeline, (struct mill_stream){.batch_size = 3, .prefetch = 2});
    static const uint64_t left[] = {2, 1, 1}; // of 0 1 2, 3 4 5, 6: the odd ones go
    for (uint64_t seq = 0; seq < 3; seq++) {
        assert_int_equal(mill_take(&mill, stream, seq, &outcome), BM_GOT_OUTCOME);
        assert_int_equal(outcome->kind, BM_OUTCOME_BATCH);
        assert_int_equal(outcome->nitems, left[seq]);
        assert_int_equal(outcome->work.batch.nitems, left[seq]);
        assert_int_equal(outcome->bytes, left[seq] * sizeof(int64_t));
        outcome = bm_outcome_unref(outcome);
    }
    assert_int_equal(bm_stream_counts(stream).batches, 3);
    assert_int_equal(bm_stream_counts(stream).items, 4);
    struct bm_number numbers[3];
    bm_variables_report(bm_stream_variables(stream), numbers);
    assert_int_equal(numbers[0].integer, 0 + 2 + 4 + 6);
    mill_close(&mill, stream);
    stream = mill_open(&mill, pipeline, (struct mill_stream){.batch_size = 1, .prefetch = 2});
    for (uint64_t seq = 0; seq < 7; seq++) {
        assert_int_equal(mill_take(&mill, stream, seq, &outcome), BM_GOT_OUTCOME);
        assert_int_equal(outcome->kind, seq % 2 == 0 ? BM_OUTCOME_BATCH : BM_OUTCOME_SKIPPED);
        outcome = bm_outcome_unref(outcome);
    }
    assert_int_equal(bm_stream_counts(stream).batches, 4);
    assert_int_equal(bm_stream_counts(stream).items, 4);
    assert_int_equal(bm_stream_counts(stream).skipped, 3);
    mill_close(&mill, stream);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

// ---- Memory ----

// Allocations while `nbatches` pass through a stream in full flow.
static uint64_t count_allocations(struct mill *mill, const char *actions, struct mill_stream config,
                                  uint64_t nbatches)
{
    enum { WARM = 20 };
    struct bm_pipeline *pipeline = mill_pipeline(mill, "p", 1000000, actions);
    struct bm_stream *stream = mill_open(mill, pipeline, config);
    struct bm_outcome *outcome = NULL;
    for (uint64_t seq = 0; seq < WARM + nbatches; seq++) {
        if (seq == WARM)
            bm_fake_heap_fail_at(UINT64_MAX); // counts from here
        assert_int_equal(mill_take(mill, stream, seq, &outcome), BM_GOT_OUTCOME);
        assert_int_equal(outcome->seq, seq);
        outcome = bm_outcome_unref(outcome);
    }
    uint64_t allocations = bm_fake_heap_count();
    bm_fake_heap_fail_never();
    mill_close(mill, stream);
    bm_pipeline_unref(pipeline);
    return allocations;
}

static void a_stream_in_full_flow_allocates_nothing(void **state)
{
    (void)state;
    static struct mill mill;
    static const char actions[] = "[step, {add: {amount: 5}, use_lock: gpu}, {nap: {ns: 50}}, sum]";
    mill_init(&mill, 3, 1, 0, NULL);
    for (unsigned prefetch = 0; prefetch < 40; prefetch += 13) {
        const struct mill_stream config = {.batch_size = 7, .prefetch = prefetch, .seed = 5};
        assert_int_equal(count_allocations(&mill, actions, config, 100), 0);
        const struct mill_stream traced = {.batch_size = 7, .prefetch = prefetch, .traced = true};
        assert_int_equal(count_allocations(&mill, actions, traced, 100), 0);
    }
    mill_fini(&mill);
    mill_init(&mill, 1, 1, 0, NULL); // what is left of a batch stays where it was
    const struct mill_stream config = {.batch_size = 7, .prefetch = 3, .seed = 5};
    assert_int_equal(count_allocations(&mill, "[{sieve: {amount: 3}}, step]", config, 100), 0);
    mill_fini(&mill);
}

static void no_allocation_is_per_item(void **state)
{
    (void)state;
    static struct mill mill;
    mill_init(&mill, 3, 1, 0, NULL);
    for (uint64_t batch_size = 1; batch_size <= 1000; batch_size *= 10) {
        // The block of its new component is that of the batch before in the same place; where a
        // step comes between, it is all that is allocated, and of those in flight some have it when
        // the count begins, others when it ends.
        const struct mill_stream config = {.batch_size = batch_size, .prefetch = 3, .seed = 5};
        assert_in_range(count_allocations(&mill, "[draw]", config, 100), 0, 4);
        assert_in_range(count_allocations(&mill, "[draw, step]", config, 100), 96, 104);
    }
    mill_fini(&mill);
}

// A batch that somebody still refers to keeps its bytes, whatever its stream does meanwhile.
static void what_the_consumer_holds_on_to_is_not_used_again(void **state)
{
    (void)state;
    enum { HELD = 13 };
    static struct mill mill;
    struct bm_outcome *held[HELD];
    uint64_t digests[HELD];
    mill_init(&mill, 2, 1, 0, NULL);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "train", NITEMS, "[{add: {amount: 5}}]");
    struct bm_stream *stream = mill_open(
        &mill, pipeline, (struct mill_stream){.batch_size = BATCH_SIZE, .prefetch = 2, .seed = 3});
    for (uint64_t seq = 0; seq < HELD; seq++) {
        assert_int_equal(mill_take(&mill, stream, seq, &held[seq]), BM_GOT_OUTCOME);
        digests[seq] = mill_digest(held[seq]);
        if (seq % 3 == 1) // some are given back, so that others take their place
            held[seq] = bm_outcome_unref(held[seq]);
    }
    for (uint64_t seq = 0; seq < HELD; seq++) {
        if (held[seq] != NULL)
            assert_true(mill_digest(held[seq]) == digests[seq]);
        bm_outcome_unref(held[seq]);
    }
    mill_close(&mill, stream);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_come_in_order_with_equal_bytes_whatever_the_workers_do),
        cmocka_unit_test(two_pipelines_with_one_lock_name_never_overlap_in_it),
        cmocka_unit_test(a_stream_that_starts_at_a_position_gives_the_rest_of_the_same_batches),
        cmocka_unit_test(what_is_left_of_a_batch_is_counted_and_one_without_items_is_skipped),
        cmocka_unit_test(want_of_memory_leaves_no_batch_out),
        cmocka_unit_test(a_stream_in_full_flow_allocates_nothing),
        cmocka_unit_test(no_allocation_is_per_item),
        cmocka_unit_test(what_the_consumer_holds_on_to_is_not_used_again),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
