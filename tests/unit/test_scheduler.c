// Errors in their place, cancelling, waiting without a worker, fairness, memory.
#include <string.h>

#include "fakes/mill.h"
#include "support.h"

static struct mill mill;

static void start(unsigned nworkers, uint64_t seed, uint64_t memory_bytes)
{
    mill_init(&mill, nworkers, seed, memory_bytes, NULL);
}

static void settle(void)
{
    fake_executor_settle(&mill.executor, UINT64_MAX);
}

// What a consumer sees of a stream: a letter per outcome (b, s, f), then . for the end.
static void read_all(struct bm_stream *stream, char *text)
{
    for (uint64_t seq = 0;; seq++) {
        struct bm_outcome *outcome = NULL;
        if (mill_take(&mill, stream, seq, &outcome) == BM_GOT_END) {
            *text++ = '.';
            *text = '\0';
            return;
        }
        assert_int_equal(outcome->seq, seq);
        *text++ = "bsf"[outcome->kind];
        bm_outcome_unref(outcome);
    }
}

static void read_end(struct bm_stream *stream, uint64_t seq)
{
    struct bm_outcome *outcome = NULL;
    assert_int_equal(mill_get(&mill, stream, seq, &outcome), BM_GOT_END);
}

static void expect(const char *actions, enum bm_on_error on_error, const char *expected)
{
    static const unsigned prefetches[] = {0, 1, 3, 16};
    for (unsigned p = 0; p < 4; p++) {
        for (uint64_t seed = 0; seed < 20; seed++) {
            char text[64];
            start(1 + (unsigned)(seed % 4), seed, 0);
            struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", 6, actions);
            struct bm_stream *stream =
                mill_open(&mill, pipeline,
                          (struct mill_stream){.prefetch = prefetches[p], .on_error = on_error});
            read_all(stream, text);
            assert_string_equal(text, expected);
            read_end(stream, 1000); // and it stays at its end
            mill_close(&mill, stream);
            bm_pipeline_unref(pipeline);
            mill_fini(&mill);
        }
    }
}

static void an_error_comes_in_its_place_and_does_what_on_error_says(void **state)
{
    (void)state;
    expect("[step, {fail: {seq: 2}}, step]", BM_ON_ERROR_STOP, "bbf.");
    expect("[step, {fail: {seq: 2}}, step]", BM_ON_ERROR_SKIP, "bbsbbb.");
    expect("[step, {fail: {seq: 2}}, step]", BM_ON_ERROR_REPORT, "bbfbbb.");
    expect("[{fail: {seq: 0}}]", BM_ON_ERROR_STOP, "f.");
    expect("[{fail: {seq: 5}}]", BM_ON_ERROR_STOP, "bbbbbf.");
    expect("[{fail: {seq: 3}}, {fail: {seq: 1}}]", BM_ON_ERROR_STOP, "bf.");
}

static void a_skip_leaves_its_batch_out_and_an_end_ends_the_stream(void **state)
{
    (void)state;
    expect("[step, {skip: {seq: 0}}]", BM_ON_ERROR_STOP, "sbbbbb.");
    expect("[{skip: {seq: 5}}, step]", BM_ON_ERROR_STOP, "bbbbbs.");
    expect("[{end: {seq: 3}}, step]", BM_ON_ERROR_STOP, "bbb.");
    expect("[{end: {seq: 0}}]", BM_ON_ERROR_STOP, ".");
    expect("[{end: {seq: 4}}, {fail: {seq: 2}}]", BM_ON_ERROR_REPORT, "bbfb.");
    expect("[{fail: {seq: 4}}, {end: {seq: 2}}]", BM_ON_ERROR_STOP, "bb.");
}

static void a_lock_is_free_again_after_an_error_a_skip_and_an_end_inside_it(void **state)
{
    (void)state;
    expect("[{fail: {seq: 2}, use_lock: gpu}]", BM_ON_ERROR_REPORT, "bbfbbb.");
    expect("[{skip: {seq: 2}, use_lock: gpu}]", BM_ON_ERROR_STOP, "bbsbbb.");
    expect("[{end: {seq: 2}, use_lock: gpu}]", BM_ON_ERROR_STOP, "bb.");
    expect("[{nap: {ns: 5}, use_lock: gpu}, {fail: {seq: 2}, use_lock: gpu}]", BM_ON_ERROR_STOP,
           "bbf.");
}

static void an_error_says_which_pipeline_action_and_item(void **state)
{
    (void)state;
    start(2, 1, 0);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", 6, "[step, {fail: {seq: 2}}]");
    struct bm_stream *stream =
        mill_open(&mill, pipeline, (struct mill_stream){.batch_size = 2, .prefetch = 1});
    struct bm_outcome *outcome = NULL;
    for (uint64_t seq = 0; seq < 3; seq++) {
        bm_outcome_unref(outcome);
        assert_int_equal(mill_take(&mill, stream, seq, &outcome), BM_GOT_OUTCOME);
    }
    assert_int_equal(outcome->kind, BM_OUTCOME_FAILED);
    assert_int_equal(outcome->work.error.status, BM_UNKNOWN);
    assert_string_equal(outcome->work.error.text, "told to fail at 2");
    assert_int_equal(outcome->work.failed_action, 1);
    assert_int_equal(outcome->work.failed_item, 4);
    assert_true(bm_stream_counts(stream).stopped);
    bm_outcome_unref(outcome);
    mill_close(&mill, stream);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

static void an_empty_source_ends_at_once(void **state)
{
    (void)state;
    char text[8];
    start(2, 1, 0);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", 0, "[step]");
    struct bm_stream *stream = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 3});
    read_all(stream, text);
    assert_string_equal(text, ".");
    read_end(stream, 0);
    mill_close(&mill, stream);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

// ---- Cancel ----

static void closing_at_any_moment_frees_locks_and_memory(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        start(1 + (unsigned)(seed % 5), seed, 0);
        struct bm_pipeline *pipeline = mill_pipeline(
            &mill, "p", 30,
            "[step, {step: {}, use_lock: gpu}, {nap: {ns: 900}, use_lock: gpu}, step]");
        struct bm_stream *closed = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 5});
        struct bm_stream *stays = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 2});
        mill_ask(&mill, closed, 0);
        mill_ask(&mill, stays, 0);
        for (uint64_t i = 0; i < seed % 60; i++)
            fake_executor_step(&mill.executor);
        mill_close(&mill, closed);
        char text[64];
        read_all(stays, text); // a lock that was left taken would be a deadlock here
        assert_int_equal(strlen(text), 31);
        mill_close(&mill, stays);
        bm_pipeline_unref(pipeline);
        mill_fini(&mill); // asserts that no job and no byte is left
    }
}

static void closing_stops_at_the_next_action_boundary(void **state)
{
    (void)state;
    start(1, 1, 0);
    mill.executor.eager = true;
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", 30, "[step, step, step, step]");
    struct bm_stream *stream = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 9});
    mill_ask(&mill, stream, 0);
    assert_true(fake_executor_step(&mill.executor)); // a worker is in a step now
    assert_int_equal(fake_executor_running(&mill.executor), 1);
    mill_close(&mill, stream);
    assert_int_equal(bm_scheduler_status(mill.scheduler).nready, 0);
    assert_true(fake_executor_step(&mill.executor));
    assert_int_equal(fake_executor_running(&mill.executor), 0);
    assert_true(bm_scheduler_idle(mill.scheduler));
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

// ---- Waiting without a worker ----

static void one_worker_and_ten_parked_batches_leave_another_stream_flowing(void **state)
{
    (void)state;
    start(1, 1, 0);
    struct bm_pipeline *locked = mill_pipeline(&mill, "locked", 20, "[{hand: {}, use_lock: gpu}]");
    struct bm_pipeline *other = mill_pipeline(&mill, "other", 20, "[step, step]");
    struct bm_stream *stuck = mill_open(&mill, locked, (struct mill_stream){.prefetch = 10});
    struct bm_stream *flows = mill_open(&mill, other, (struct mill_stream){.prefetch = 0});
    mill_ask(&mill, stuck, 0);
    settle();
    assert_int_equal(bm_scheduler_status(mill.scheduler).nwaiting, 1);
    assert_int_equal(bm_scheduler_status(mill.scheduler).nparked, 10);
    assert_int_equal(mill_deferred_count(), 1);
    char text[64];
    read_all(flows, text);
    assert_string_equal(text, "bbbbbbbbbbbbbbbbbbbb.");
    // And the line moves on, one by one, when the holder is done.
    for (uint64_t seq = 0; seq < 20; seq++) {
        struct bm_outcome *outcome = NULL;
        mill_ask(&mill, stuck, seq);
        settle();
        assert_int_equal(mill_deferred_count(), 1); // one at a time
        mill_finish_deferred(0, BM_RESULT_OK);
        settle();
        assert_int_equal(mill_get(&mill, stuck, seq, &outcome), BM_GOT_OUTCOME);
        bm_outcome_unref(outcome);
    }
    mill_close(&mill, stuck);
    mill_close(&mill, flows);
    bm_pipeline_unref(locked);
    bm_pipeline_unref(other);
    mill_fini(&mill);
}

static void a_deferred_action_may_end_after_its_stream_was_closed(void **state)
{
    (void)state;
    static const enum bm_result results[] = {BM_RESULT_OK, BM_RESULT_SKIP, BM_RESULT_FAIL};
    for (unsigned i = 0; i < 3; i++) {
        start(2, 1, 0);
        struct bm_pipeline *pipeline =
            mill_pipeline(&mill, "p", 20, "[{hand: {}, use_lock: gpu}, step]");
        struct bm_stream *stream = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 3});
        mill_ask(&mill, stream, 0);
        settle();
        mill_close(&mill, stream);
        assert_false(bm_scheduler_idle(mill.scheduler)); // the action still has its batch
        mill_finish_deferred(0, results[i]);
        assert_true(bm_scheduler_idle(mill.scheduler));
        bm_pipeline_unref(pipeline);
        mill_fini(&mill);
    }
}

static void (*usual_leave)(struct bm_executor *self);
static bool idle_before_out;
static void leave_and_look(struct bm_executor *self)
{
    usual_leave(self);
    idle_before_out = bm_scheduler_idle(mill.scheduler);
}

static void nobody_takes_the_scheduler_away_from_a_thread_that_ends_an_action(void **state)
{
    (void)state;
    start(1, 1, 0);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", 20, "[hand]");
    struct bm_stream *stream = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 0});
    mill_ask(&mill, stream, 0);
    settle();
    mill_close(&mill, stream);
    idle_before_out = true;
    usual_leave = mill.executor.base.leave;
    mill.executor.base.leave = leave_and_look;
    mill_finish_deferred(0, BM_RESULT_OK); // the last job of the last stream
    mill.executor.base.leave = usual_leave;
    assert_false(idle_before_out);
    assert_true(bm_scheduler_idle(mill.scheduler));
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

static void sixteen_naps_overlap_on_two_workers(void **state)
{
    (void)state;
    start(2, 1, 0);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", 16, "[{nap: {ns: 10000000}}]");
    struct bm_stream *stream = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 15});
    uint64_t started_ns = mill.executor.now_ns;
    char text[32];
    read_all(stream, text);
    assert_true(mill.executor.now_ns - started_ns < 12000000); // not 160 ms
    mill_close(&mill, stream);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

// ---- Sharing ----

static void a_wide_stream_does_not_crowd_out_a_narrow_one(void **state)
{
    (void)state;
    start(1, 1, 0);
    mill.executor.eager = true;
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", 400, "[step]");
    struct bm_stream *wide = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 300});
    struct bm_stream *narrow = mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 0});
    struct bm_outcome *outcome = NULL;
    mill_ask(&mill, wide, 0);
    for (uint64_t seq = 0; seq < 20; seq++) {
        assert_int_equal(mill_take(&mill, narrow, seq, &outcome), BM_GOT_OUTCOME);
        outcome = bm_outcome_unref(outcome);
    }
    // Turn by turn: the wide one got about as many batches through as the narrow one.
    assert_in_range(bm_stream_counts(wide).batches, 15, 25);
    mill_close(&mill, wide);
    mill_close(&mill, narrow);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

static void a_budget_shrinks_windows_but_every_stream_goes_on(void **state)
{
    (void)state;
    enum { STREAMS = 6 };
    const uint64_t budget_bytes = 98304;
    for (uint64_t seed = 0; seed < 50; seed++) {
        start(3, seed, budget_bytes); // half is for a batch of each, half for their windows
        struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", 1024, "[{add: {amount: 1}}]");
        struct bm_stream *streams[STREAMS];
        for (unsigned i = 0; i < STREAMS; i++)
            streams[i] =
                mill_open(&mill, pipeline, (struct mill_stream){.batch_size = 128, .prefetch = 7});
        for (uint64_t seq = 0; seq < 8; seq++) {
            for (unsigned i = 0; i < STREAMS; i++) {
                struct bm_outcome *outcome = NULL;
                assert_int_equal(mill_take(&mill, streams[i], seq, &outcome), BM_GOT_OUTCOME);
                bm_outcome_unref(outcome);
                struct bm_scheduler_status now = bm_scheduler_status(mill.scheduler);
                assert_true(now.memory_used_bytes <= budget_bytes);
            }
        }
        for (unsigned i = 0; i < STREAMS; i++)
            mill_close(&mill, streams[i]);
        bm_pipeline_unref(pipeline);
        mill_fini(&mill); // asserts that all memory is given back
    }
}

static void a_stream_whose_one_batch_has_no_room_is_refused(void **state)
{
    (void)state;
    start(1, 1, 24576);
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", 100000, "[]");
    const struct bm_order_params params = {
        .batch_size = 300, .n_epochs = BM_ORDER_UNSET, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_stream_config config = {.pipeline = pipeline, .id = "s"};
    struct bm_stream *first = NULL, *second = NULL;
    struct bm_error error = {0};
    struct bm_executor *executor = &mill.executor.base;
    assert_int_equal(bm_order_init(&config.order, &params, 100000, NULL), BM_OK);
    executor->enter(executor);
    assert_int_equal(bm_stream_open(mill.scheduler, &config, &first, NULL), BM_OK);
    assert_int_equal(bm_stream_open(mill.scheduler, &config, &second, &error),
                     BM_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(error.text, "half of the memory budget"));
    bm_stream_close(first);
    assert_int_equal(bm_stream_open(mill.scheduler, &config, &second, NULL), BM_OK);
    bm_stream_close(second);
    executor->leave(executor);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

static void memory_that_is_given_back_wakes_the_stream_that_waited_for_it(void **state)
{
    (void)state;
    start(2, 1, 17600); // a batch for each, and two more
    struct bm_pipeline *pipeline = mill_pipeline(&mill, "p", 1024, "[]");
    struct mill_stream config = {.batch_size = 128, .prefetch = 3};
    struct bm_stream *first = mill_open(&mill, pipeline, config);
    struct bm_stream *second = mill_open(&mill, pipeline, config);
    mill_ask(&mill, first, 0);
    settle();
    mill_ask(&mill, second, 0);
    settle();
    unsigned before = bm_stream_counts(second).in_flight;
    assert_true(before >= 1 && before < 4);
    mill_close(&mill, first);
    settle();
    assert_true(bm_stream_counts(second).in_flight > before);
    mill_close(&mill, second);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

// ---- Spans ----

static void a_traced_batch_says_when_it_was_where(void **state)
{
    (void)state;
    start(3, 1, 0);
    struct bm_pipeline *pipeline =
        mill_pipeline(&mill, "p", 8, "[step, {step: {}, use_lock: gpu}, {nap: {ns: 500}}]");
    struct bm_stream *stream =
        mill_open(&mill, pipeline, (struct mill_stream){.prefetch = 7, .traced = true});
    unsigned waited = 0;
    for (uint64_t seq = 0; seq < 8; seq++) {
        struct bm_outcome *outcome = NULL;
        assert_int_equal(mill_take(&mill, stream, seq, &outcome), BM_GOT_OUTCOME);
        assert_int_equal(outcome->nspans, 4);
        uint64_t previous_ns = outcome->created_ns;
        for (unsigned step = 0; step < 4; step++) {
            const struct bm_span *span = &outcome->spans[step];
            assert_true(span->queued_ns >= previous_ns);
            assert_true(span->started_ns >= span->queued_ns);
            assert_true(span->ended_ns >= span->started_ns);
            assert_true(span->worker < 3);
            waited += span->parked_ns != 0;
            previous_ns = span->ended_ns;
        }
        assert_true(outcome->spans[3].ended_ns - outcome->spans[3].started_ns >= 500);
        bm_outcome_unref(outcome);
    }
    assert_true(waited > 0);
    mill_close(&mill, stream);
    bm_pipeline_unref(pipeline);
    mill_fini(&mill);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_comes_in_its_place_and_does_what_on_error_says),
        cmocka_unit_test(a_skip_leaves_its_batch_out_and_an_end_ends_the_stream),
        cmocka_unit_test(a_lock_is_free_again_after_an_error_a_skip_and_an_end_inside_it),
        cmocka_unit_test(an_error_says_which_pipeline_action_and_item),
        cmocka_unit_test(an_empty_source_ends_at_once),
        cmocka_unit_test(closing_at_any_moment_frees_locks_and_memory),
        cmocka_unit_test(closing_stops_at_the_next_action_boundary),
        cmocka_unit_test(one_worker_and_ten_parked_batches_leave_another_stream_flowing),
        cmocka_unit_test(a_deferred_action_may_end_after_its_stream_was_closed),
        cmocka_unit_test(nobody_takes_the_scheduler_away_from_a_thread_that_ends_an_action),
        cmocka_unit_test(sixteen_naps_overlap_on_two_workers),
        cmocka_unit_test(a_wide_stream_does_not_crowd_out_a_narrow_one),
        cmocka_unit_test(a_budget_shrinks_windows_but_every_stream_goes_on),
        cmocka_unit_test(a_stream_whose_one_batch_has_no_room_is_refused),
        cmocka_unit_test(memory_that_is_given_back_wakes_the_stream_that_waited_for_it),
        cmocka_unit_test(a_traced_batch_says_when_it_was_where),
    };
    return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
