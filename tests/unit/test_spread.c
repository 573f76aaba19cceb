// One step of a batch on several workers: the bytes, the failure and the locks of one worker, and
// less time.
#include <stdlib.h>
#include <string.h>

#include "fakes/mill.h"
#include "support.h"

enum { NITEMS = 60, BATCH_SIZE = 20, NBATCHES = 3, NWORKERS_MAX = 8, NSEEDS = 200 };

#define CHAIN "[mix, {shift: {amount: 2}}, mix, {mix: {}, use_lock: gpu}]"
#define SIEVED "[mix, {sieve: {amount: 3}}, mix, {mix: {}, use_lock: gpu}]"
#define CRACKED "[mix, {crack: {amount: 7}}, {shift: {amount: 2}}, {crack: {amount: 5}}]"

// ---- Pieces, in any order ----

static void work_init(struct bm_work *work, const struct bm_pipeline *pipeline)
{
    const struct bm_order_params params = {.batch_size = BATCH_SIZE,
                                           .shuffle = true,
                                           .seed = 5,
                                           .n_epochs = BM_ORDER_UNSET,
                                           .n_iters = BM_ORDER_UNSET,
                                           .shard_count = 1};
    struct bm_order order;
    assert_int_equal(bm_order_init(&order, &params, NITEMS, NULL), BM_OK);
    assert_int_equal(bm_work_init(work, pipeline, &order, 1, NULL), BM_OK);
    work->stream = "s";
    assert_int_equal(bm_work_step(work, 0), BM_RESULT_OK);
}

// The pieces of step 1 in the order that `seed` gives.
static enum bm_result run_pieces(struct bm_work *work, unsigned npieces, uint64_t seed)
{
    unsigned order[BATCH_SIZE], piece, n = 0;
    struct bm_spread *spread = bm_spread_new(work, 1, npieces);
    assert_non_null(spread);
    while (bm_spread_claim(spread, &piece))
        order[n++] = piece;
    assert_int_equal(n, npieces);
    assert_false(bm_spread_claim(spread, &piece));
    while (n > 0) {
        unsigned i = (unsigned)(bm_mix64(++seed) % n);
        (void)bm_spread_run(spread, order[i]);
        order[i] = order[--n];
    }
    return bm_spread_end(spread);
}

static void pieces_in_any_order_give_the_bytes_of_one_worker(void **state)
{
    (void)state;
    struct mill mill;
    struct bm_work expected, work;
    mill_init(&mill, 1, 1, 0, NULL);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", NITEMS, CHAIN);
    work_init(&expected, pipeline);
    assert_int_equal(bm_work_step(&expected, 1), BM_RESULT_OK);
    for (unsigned npieces = 1; npieces <= BATCH_SIZE; npieces++) {
        for (uint64_t seed = 0; seed < 10; seed++) {
            work_init(&work, pipeline);
            assert_int_equal(run_pieces(&work, npieces, 100 * seed), BM_RESULT_OK);
            assert_memory_equal(work.batch.tensors[0].data, expected.batch.tensors[0].data,
                                BATCH_SIZE * sizeof(int64_t));
            bm_work_fini(&work);
        }
    }
    bm_work_fini(&expected);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

static void the_first_row_that_fails_is_the_failure(void **state)
{
    (void)state;
    struct mill mill;
    struct bm_work expected, work;
    mill_init(&mill, 1, 1, 0, NULL);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", NITEMS, CRACKED);
    work_init(&expected, pipeline);
    assert_int_equal(bm_work_step(&expected, 1), BM_RESULT_FAIL);
    for (uint64_t seed = 0; seed < 100; seed++) {
        work_init(&work, pipeline);
        // One row a piece: what comes first in the batch is then the first piece.
        assert_int_equal(run_pieces(&work, BATCH_SIZE, 100 * seed), BM_RESULT_FAIL);
        assert_true(work.failed_item % 7 == 6 || work.failed_item % 5 == 4);
        for (uint64_t i = 0; i < BATCH_SIZE && (int64_t)work.items[i] != work.failed_item; i++)
            assert_true(work.items[i] % 7 != 6 && work.items[i] % 5 != 4);
        assert_non_null(strstr(work.error.text, "told to crack"));
        bm_work_fini(&work);
        work_init(&work, pipeline);
        assert_int_equal(run_pieces(&work, 1, seed), BM_RESULT_FAIL);
        assert_int_equal(work.failed_item, expected.failed_item);
        assert_string_equal(work.error.where, expected.error.where);
        assert_string_equal(work.error.text, expected.error.text);
        bm_work_fini(&work);
    }
    bm_work_fini(&expected);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

static void what_depends_on_the_whole_batch_is_not_spread(void **state)
{
    (void)state;
    struct mill mill;
    mill_init(&mill, 1, 1, 0, NULL);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", NITEMS, "[mix, {add: {amount: 1}}]");
    assert_false(bm_pipeline_step_spreads(pipeline, 0)); // reading
    assert_true(bm_pipeline_step_spreads(pipeline, 1));
    assert_false(bm_pipeline_step_spreads(pipeline, 2));
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

// ---- On workers ----

static uint64_t all_of(struct mill *mill, struct bm_stream *stream)
{
    uint64_t digest = 0;
    struct bm_outcome *outcome = NULL;
    for (uint64_t seq = 0; mill_take(mill, stream, seq, &outcome) == BM_GOT_OUTCOME; seq++) {
        digest = bm_mix64(digest ^ mill_digest(outcome));
        if (outcome->kind == BM_OUTCOME_FAILED)
            digest = bm_mix64(digest ^ (uint64_t)outcome->work.failed_item);
        bm_outcome_unref(outcome);
    }
    return digest;
}

static uint64_t drain(const char *actions, unsigned nworkers, uint64_t seed, unsigned prefetch)
{
    struct mill mill;
    mill_init(&mill, nworkers, seed, 0, NULL);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", NITEMS, actions);
    struct bm_stream *stream = mill_open(&mill, pipeline,
                                         (struct mill_stream){.batch_size = BATCH_SIZE,
                                                              .prefetch = prefetch,
                                                              .seed = 9,
                                                              .on_error = BM_ON_ERROR_REPORT});
    uint64_t digest = all_of(&mill, stream);
    assert_int_equal(bm_stream_counts(stream).batches + bm_stream_counts(stream).failed, NBATCHES);
    mill_close(&mill, stream);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
    return digest;
}

static void the_bytes_are_equal_for_every_number_of_workers(void **state)
{
    (void)state;
    uint64_t expected = drain(CHAIN, 1, 1, 0);
    for (uint64_t seed = 0; seed < NSEEDS; seed++) {
        for (unsigned nworkers = 1; nworkers <= NWORKERS_MAX; nworkers++)
            assert_true(drain(CHAIN, nworkers, seed, (unsigned)(seed % 4)) == expected);
    }
}

static void items_are_left_out_alike_for_every_number_of_workers(void **state)
{
    (void)state;
    uint64_t expected = drain(SIEVED, 1, 1, 0);
    assert_true(drain(CHAIN, 1, 1, 0) != expected);
    for (uint64_t seed = 0; seed < NSEEDS; seed++) {
        for (unsigned nworkers = 1; nworkers <= NWORKERS_MAX; nworkers++)
            assert_true(drain(SIEVED, nworkers, seed, (unsigned)(seed % 4)) == expected);
    }
}

static uint64_t takes_1000(const struct bm_job *job)
{
    (void)job;
    return 1000;
}

// Virtual time for one batch whose step is cut into pieces of 1 us.
static uint64_t time_of_one(unsigned nworkers)
{
    struct mill mill;
    mill_init(&mill, nworkers, 1, 0, NULL);
    mill.executor.eager = true;
    mill.executor.duration = takes_1000;
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", NITEMS, "[mix]");
    struct bm_stream *stream =
        mill_open(&mill, pipeline, (struct mill_stream){.batch_size = 16, .seed = 9});
    uint64_t began_ns = mill.executor.now_ns;
    struct bm_outcome *outcome = NULL;
    assert_int_equal(mill_take(&mill, stream, 0, &outcome), BM_GOT_OUTCOME);
    uint64_t took_ns = mill.executor.now_ns - began_ns;
    bm_outcome_unref(outcome);
    mill_close(&mill, stream);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
    return took_ns;
}

static void idle_workers_help(void **state)
{
    (void)state;
    assert_int_equal(time_of_one(1), 1000 + 1000);         // reading, and the step in one
    assert_int_equal(time_of_one(2), 1000 + 8 * 1000 / 2); // in 8 pieces
    assert_int_equal(time_of_one(4), 1000 + 16 * 1000 / 4);
}

static void a_stream_that_closes_in_the_middle_leaves_nothing_behind(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < NSEEDS; seed++) {
        struct mill mill;
        mill_init(&mill, 4, seed, 0, NULL);
        struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", NITEMS, CHAIN);
        struct bm_stream *stream = mill_open(
            &mill, pipeline, (struct mill_stream){.batch_size = BATCH_SIZE, .prefetch = 1});
        mill_ask(&mill, stream, 0);
        for (uint64_t steps = seed % 60; steps > 0; steps--)
            (void)fake_executor_step(&mill.executor);
        mill_close(&mill, stream);
        bm_pipeline_unref(pipeline);
        mill_fini(&mill); // asserts that the scheduler has nothing any more
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_in_any_order_give_the_bytes_of_one_worker),
        cmocka_unit_test(the_first_row_that_fails_is_the_failure),
        cmocka_unit_test(what_depends_on_the_whole_batch_is_not_spread),
        cmocka_unit_test(the_bytes_are_equal_for_every_number_of_workers),
        cmocka_unit_test(items_are_left_out_alike_for_every_number_of_workers),
        cmocka_unit_test(idle_workers_help),
        cmocka_unit_test(a_stream_that_closes_in_the_middle_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
