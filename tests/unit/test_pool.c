// The real executor: threads, timers, one mutex. Run it under TSan.
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/mutex.h"
#include "fakes/mill.h"
#include "run/pool.h"
#include "support.h"

enum { NITEMS = 300, BATCH_SIZE = 4, NBATCHES = 75 };

struct consumer {
    struct bm_stream_listener listener;
    struct bm_mutex mutex;
    struct bm_cond cond;
    unsigned changes;
};

static void consumer_changed(struct bm_stream_listener *listener)
{
    struct consumer *consumer = BM_CONTAINER(listener, struct consumer, listener);
    bm_mutex_lock(&consumer->mutex);
    consumer->changes++;
    bm_cond_signal(&consumer->cond);
    bm_mutex_unlock(&consumer->mutex);
}

static void consumer_init(struct consumer *consumer)
{
    *consumer = (struct consumer){.listener = {.changed = consumer_changed}};
    bm_mutex_init(&consumer->mutex);
    bm_cond_init(&consumer->cond);
}

static void consumer_fini(struct consumer *consumer)
{
    bm_cond_fini(&consumer->cond);
    bm_mutex_fini(&consumer->mutex);
}

struct engine {
    struct mill mill; // for its pipelines; its fake executor stays idle
    struct bm_pool *pool;
    struct bm_scheduler *scheduler;
    struct bm_executor *executor;
};

static void engine_start(struct engine *engine, unsigned nworkers)
{
    mill_init(&engine->mill, 1, 1, 0, NULL);
    assert_int_equal(bm_pool_new(nworkers, &engine->pool, NULL), BM_OK);
    engine->executor = bm_pool_executor(engine->pool);
    const struct bm_scheduler_config config = {.executor = engine->executor, .nworkers = nworkers};
    assert_int_equal(bm_scheduler_new(&config, &engine->scheduler, NULL), BM_OK);
    assert_int_equal(bm_pool_start(engine->pool, engine->scheduler, NULL), BM_OK);
}

static void engine_stop(struct engine *engine)
{
    bm_pool_stop(engine->pool);
    assert_true(bm_scheduler_idle(engine->scheduler));
    bm_scheduler_free(engine->scheduler);
    bm_pool_free(engine->pool);
    mill_fini(&engine->mill);
}

static struct bm_stream *engine_open(struct engine *engine, struct bm_pipeline *pipeline,
                                     unsigned prefetch, struct bm_stream_listener *listener)
{
    struct bm_stream_config config = {
        .pipeline = pipeline, .prefetch = prefetch, .id = "s", .listener = listener};
    const struct bm_order_params params = {.batch_size = BATCH_SIZE,
                                           .shuffle = true,
                                           .seed = 3,
                                           .n_epochs = BM_ORDER_UNSET,
                                           .n_iters = BM_ORDER_UNSET,
                                           .shard_count = 1};
    struct bm_stream *stream = NULL;
    assert_int_equal(bm_order_init(&config.order, &params, NITEMS, NULL), BM_OK);
    engine->executor->enter(engine->executor);
    assert_int_equal(bm_stream_open(engine->scheduler, &config, &stream, NULL), BM_OK);
    engine->executor->leave(engine->executor);
    return stream;
}

static void engine_close(struct engine *engine, struct bm_stream *stream)
{
    engine->executor->enter(engine->executor);
    bm_stream_close(stream);
    engine->executor->leave(engine->executor);
}

static enum bm_got engine_take(struct engine *engine, struct bm_stream *stream,
                               struct consumer *consumer, uint64_t seq, struct bm_outcome **outcome)
{
    for (unsigned seen = 0;;) {
        engine->executor->enter(engine->executor);
        bm_stream_ask(stream, seq);
        enum bm_got got = bm_stream_get(stream, seq, outcome);
        engine->executor->leave(engine->executor);
        if (got != BM_GOT_NOT_YET)
            return got;
        bm_mutex_lock(&consumer->mutex);
        while (consumer->changes == seen)
            bm_cond_wait(&consumer->cond, &consumer->mutex);
        seen = consumer->changes;
        bm_mutex_unlock(&consumer->mutex);
    }
}

static uint64_t engine_drain(struct engine *engine, const char *actions, unsigned prefetch)
{
    struct consumer consumer;
    consumer_init(&consumer);
    struct bm_pipeline *pipeline = mill_pipeline(&engine->mill, "p", NITEMS, actions);
    struct bm_stream *stream = engine_open(engine, pipeline, prefetch, &consumer.listener);
    uint64_t digest = 0, seq = 0;
    struct bm_outcome *outcome = NULL;
    for (; engine_take(engine, stream, &consumer, seq, &outcome) == BM_GOT_OUTCOME; seq++) {
        assert_int_equal(outcome->seq, seq);
        digest = bm_mix64(digest ^ mill_digest(outcome));
        outcome = bm_outcome_unref(outcome);
    }
    assert_int_equal(seq, NBATCHES);
    engine_close(engine, stream);
    bm_pipeline_unref(pipeline);
    consumer_fini(&consumer);
    return digest;
}

static void a_step_spread_over_workers_gives_the_same_bytes(void **state)
{
    (void)state;
    uint64_t expected = 0;
    for (unsigned nworkers = 1; nworkers <= 8; nworkers++) {
        struct engine engine;
        engine_start(&engine, nworkers);
        for (unsigned prefetch = 0; prefetch < 3; prefetch++) {
            uint64_t digest = engine_drain(
                &engine, "[mix, {shift: {amount: 2}}, {mix: {}, use_lock: gpu}]", prefetch);
            expected = expected == 0 ? digest : expected;
            assert_true(digest == expected);
        }
        engine_stop(&engine);
    }
}

static void the_bytes_are_equal_for_every_prefetch_and_worker_count(void **state)
{
    (void)state;
    static const unsigned prefetches[] = {0, 1, 3, 16};
    uint64_t expected = 0;
    for (unsigned nworkers = 1; nworkers <= 8; nworkers++) {
        struct engine engine;
        engine_start(&engine, nworkers);
        for (unsigned p = 0; p < 4; p++) {
            uint64_t digest = engine_drain(
                &engine, "[{add: {amount: 2}, use_lock: gpu}, draw, {nap: {ns: 20000}}, step]",
                prefetches[p]);
            expected = expected == 0 ? digest : expected;
            assert_true(digest == expected);
        }
        engine_stop(&engine);
    }
}

static void streams_may_be_closed_while_their_batches_run(void **state)
{
    (void)state;
    struct engine engine;
    struct consumer consumer;
    consumer_init(&consumer);
    engine_start(&engine, 4);
    struct bm_pipeline *pipeline = mill_pipeline(
        &engine.mill, "p", NITEMS,
        "[step, {add: {amount: 1}, use_lock: gpu}, {nap: {ns: 100000}, use_lock: gpu}, step]");
    for (unsigned round = 0; round < 200; round++) {
        struct bm_outcome *outcome = NULL;
        struct bm_stream *closed = engine_open(&engine, pipeline, 7, &consumer.listener);
        for (uint64_t seq = 0; seq < round % 4; seq++) {
            assert_int_equal(engine_take(&engine, closed, &consumer, seq, &outcome),
                             BM_GOT_OUTCOME);
            outcome = bm_outcome_unref(outcome);
        }
        engine_close(&engine, closed);
    }
    // And the lock is free: a last stream gets through.
    struct bm_outcome *outcome = NULL;
    struct bm_stream *last = engine_open(&engine, pipeline, 3, &consumer.listener);
    assert_int_equal(engine_take(&engine, last, &consumer, 0, &outcome), BM_GOT_OUTCOME);
    bm_outcome_unref(outcome);
    engine_close(&engine, last);
    for (bool idle = false; !idle;) { // what was running finds out at its next boundary
        engine.executor->enter(engine.executor);
        idle = bm_scheduler_idle(engine.scheduler);
        engine.executor->leave(engine.executor);
    }
    bm_pipeline_unref(pipeline);
    engine_stop(&engine);
    consumer_fini(&consumer);
}

// ---- The flush hook ----

struct outbox {
    struct bm_stream_listener listener;
    struct bm_mutex mutex;
    struct bm_cond cond;
    unsigned decided, carried_out;
};

static void outbox_changed(struct bm_stream_listener *listener)
{
    struct outbox *outbox = BM_CONTAINER(listener, struct outbox, listener);
    bm_mutex_lock(&outbox->mutex);
    outbox->decided++;
    bm_mutex_unlock(&outbox->mutex);
}

static void outbox_flush(void *context)
{
    struct outbox *outbox = context;
    bm_mutex_lock(&outbox->mutex);
    outbox->carried_out = outbox->decided;
    bm_cond_signal(&outbox->cond);
    bm_mutex_unlock(&outbox->mutex);
}

static void what_a_worker_decided_is_carried_out_before_it_falls_asleep(void **state)
{
    (void)state;
    struct engine engine;
    struct outbox outbox = {.listener = {.changed = outbox_changed}};
    bm_mutex_init(&outbox.mutex);
    bm_cond_init(&outbox.cond);
    engine_start(&engine, 1);
    bm_pool_set_flush(engine.pool, outbox_flush, &outbox);
    struct bm_pipeline *pipeline = mill_pipeline(&engine.mill, "p", NITEMS, "[step]");
    struct bm_stream *stream = engine_open(&engine, pipeline, 0, &outbox.listener);
    for (uint64_t seq = 0; seq < 50; seq++) {
        engine.executor->enter(engine.executor);
        bm_stream_ask(stream, seq);
        engine.executor->leave(engine.executor);
        // Nothing else happens in this process: only the worker itself can flush.
        bm_mutex_lock(&outbox.mutex);
        while (outbox.carried_out < seq + 1)
            bm_cond_wait(&outbox.cond, &outbox.mutex);
        bm_mutex_unlock(&outbox.mutex);
    }
    engine_close(&engine, stream);
    bm_pipeline_unref(pipeline);
    engine_stop(&engine);
    bm_cond_fini(&outbox.cond);
    bm_mutex_fini(&outbox.mutex);
}

// ---- Timers ----

struct alarm {
    struct bm_timer timer;
    struct bm_mutex *mutex;
    struct bm_cond *cond;
    uint64_t fired_ns;
    unsigned *order, position;
};

static void alarm_fire(struct bm_timer *timer)
{
    struct alarm *alarm = BM_CONTAINER(timer, struct alarm, timer);
    struct bm_clock *clock = bm_clock_system();
    bm_mutex_lock(alarm->mutex);
    alarm->fired_ns = clock->now_ns(clock);
    alarm->position = (*alarm->order)++;
    bm_cond_signal(alarm->cond);
    bm_mutex_unlock(alarm->mutex);
}

static void timers_fire_in_order_not_early_and_not_when_disarmed(void **state)
{
    (void)state;
    struct engine engine;
    struct consumer consumer;
    unsigned order = 0;
    consumer_init(&consumer);
    engine_start(&engine, 1);
    struct alarm alarms[3];
    struct bm_clock *clock = engine.executor->clock;
    uint64_t now_ns = clock->now_ns(clock);
    const uint64_t due_ns[3] = {now_ns + 6000000, now_ns + 2000000, now_ns + 4000000};
    engine.executor->enter(engine.executor);
    for (unsigned i = 0; i < 3; i++) {
        alarms[i] = (struct alarm){.timer = {.fire = alarm_fire},
                                   .mutex = &consumer.mutex,
                                   .cond = &consumer.cond,
                                   .order = &order};
        engine.executor->arm(engine.executor, &alarms[i].timer, due_ns[i]);
    }
    engine.executor->disarm(engine.executor, &alarms[2].timer);
    engine.executor->leave(engine.executor);
    bm_mutex_lock(&consumer.mutex);
    while (order < 2)
        bm_cond_wait(&consumer.cond, &consumer.mutex);
    bm_mutex_unlock(&consumer.mutex);
    engine_stop(&engine);
    assert_int_equal(order, 2);
    assert_int_equal(alarms[1].position, 0);
    assert_int_equal(alarms[0].position, 1);
    assert_int_equal(alarms[2].fired_ns, 0);
    assert_true(alarms[0].fired_ns >= due_ns[0] && alarms[1].fired_ns >= due_ns[1]);
    consumer_fini(&consumer);
}

static void a_pool_of_no_workers_or_too_many_is_refused(void **state)
{
    (void)state;
    struct bm_pool *pool = NULL;
    struct bm_error error = {0};
    assert_int_equal(bm_pool_new(0, &pool, &error), BM_INVALID_ARGUMENT);
    assert_int_equal(bm_pool_new(BM_WORKERS_MAX + 1, &pool, &error), BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, "workers");
    assert_null(pool);
    bm_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_spread_over_workers_gives_the_same_bytes),
        cmocka_unit_test(the_bytes_are_equal_for_every_prefetch_and_worker_count),
        cmocka_unit_test(streams_may_be_closed_while_their_batches_run),
        cmocka_unit_test(what_a_worker_decided_is_carried_out_before_it_falls_asleep),
        cmocka_unit_test(timers_fire_in_order_not_early_and_not_when_disarmed),
        cmocka_unit_test(a_pool_of_no_workers_or_too_many_is_refused),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
