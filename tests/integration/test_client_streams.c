// Streams of the C client against a real server: bytes, order, failures, threads.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/client_fixture.h"
#include "server/config.h"
#include "support.h"

// ---- Streams ----

static void the_bytes_are_the_same_whatever_carries_and_computes_them(void **state)
{
    (void)state;
    struct host many;
    uint64_t expected = 0;
    host_init(&many);
    for (unsigned workers = 1; workers <= 4; workers++) {
        memset(many.urls, 0, sizeof many.urls);
        host_start(&many, workers, 0);
        for (unsigned u = 0; u < CLIENT_NURLS; u++) {
            struct batchmill_client *client = client_connected(many.urls[u]);
            for (unsigned p = 0; p < CLIENT_NPREFETCHES; p++) {
                struct batchmill_order order = client_order(client_prefetches[p]);
                uint64_t digest = client_stream_digest(client, "plain", &order);
                if (expected == 0)
                    expected = digest;
                assert_true(digest == expected);
                client_stream_digest(client, "locked", &order);
            }
            batchmill_disconnect(client);
        }
        host_stop(&many);
    }
    host_fini(&many);
}

static void large_batches_come_whole_and_in_order(void **state)
{
    (void)state;
    struct host large;
    host_init(&large);
    struct bm_value *definition = host_yaml("{range: {n: 1000000}}");
    bm_source_unref(large.source);
    assert_int_equal(bm_source_open(large.registry, "many", definition, ".", &large.source, NULL),
                     BM_OK);
    bm_value_free(definition);
    host_add(&large, "large", "[]");
    host_start(&large, 2, 0);
    for (unsigned u = 0; u < CLIENT_NURLS; u++) {
        struct batchmill_client *client = client_connected(large.urls[u]);
        struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
        order.batch_size = 150000; // 1.2 MB
        order.prefetch = 3;
        struct batchmill_stream *stream = client_opened(client, "large", &order);
        struct batchmill_batch *batch = NULL;
        int64_t next = 0;
        while (batchmill_next(stream, &batch, NULL) == BATCHMILL_OK) {
            const struct batchmill_tensor *x = batchmill_batch_tensor(batch, "x");
            assert_int_equal((uintptr_t)x->data % 16, 0);
            for (uint64_t i = 0; i < x->shape[0]; i++)
                assert_true(((const int64_t *)x->data)[i] == next++);
            batchmill_batch_free(batch);
        }
        assert_int_equal(next, 1000000);
        batchmill_stream_close(stream);
        batchmill_disconnect(client);
    }
    host_fini(&large);
}

static void an_early_close_leaves_nothing_on_the_server(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    for (unsigned p = 0; p < CLIENT_NPREFETCHES; p++) {
        for (uint64_t n = 0; n < 3; n++) {
            struct batchmill_order order = client_order(client_prefetches[p]);
            struct batchmill_stream *stream = client_opened(client, "plain", &order);
            uint64_t seq = 0;
            client_take_digest(stream, &seq, n);
            batchmill_stream_close(stream);
        }
    }
    struct batchmill_status status;
    assert_int_equal(batchmill_status(client, &status, NULL), BATCHMILL_OK);
    assert_int_equal(status.streams, 0);
    batchmill_disconnect(client);
}

static void a_close_does_not_wait_for_work_under_way(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_order order = client_order(3);
    struct batchmill_stream *stream = client_opened(client, "slow", &order);
    struct batchmill_batch *batch = NULL;
    struct batchmill_error error;
    client_expect_error(batchmill_next_within(stream, 20, &batch, &error), &error,
                        BATCHMILL_DEADLINE_EXCEEDED, "batch 0");
    double before = client_seconds();
    batchmill_stream_close(stream);
    assert_true(client_seconds() - before < 0.25); // a batch takes 0.3 s
    batchmill_disconnect(client);
}

static void a_batch_that_was_late_comes_when_asked_for_again(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_order order = client_order(0);
    order.n_iters = 2;
    struct batchmill_stream *stream = client_opened(client, "slow", &order);
    struct batchmill_batch *batch = NULL;
    for (uint64_t seq = 0; seq < 2; seq++) {
        unsigned nlate = 0;
        enum batchmill_code code;
        while ((code = batchmill_next_within(stream, 20, &batch, NULL)) ==
               BATCHMILL_DEADLINE_EXCEEDED)
            nlate++;
        assert_int_equal(code, BATCHMILL_OK);
        assert_true(nlate > 0);
        assert_int_equal(batchmill_batch_seq(batch), seq);
        batchmill_batch_free(batch);
    }
    assert_int_equal(batchmill_next(stream, &batch, NULL), BATCHMILL_END);
    assert_int_equal(batchmill_next(stream, &batch, NULL), BATCHMILL_END);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
}

static void a_position_gives_the_rest_of_the_stream(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    for (uint64_t n = 0; n <= CLIENT_NBATCHES; n += 43) {
        struct batchmill_order order = client_order(3), rest = client_order(1);
        struct batchmill_stream *stream = client_opened(client, "plain", &order);
        uint64_t seq = 0;
        client_take_digest(stream, &seq, n);
        char position[1024], small[8];
        struct batchmill_error error;
        client_expect_ok(batchmill_position(stream, position, sizeof position, &error), &error);
        client_expect_error(batchmill_position(stream, small, sizeof small, &error), &error,
                            BATCHMILL_OUT_OF_RANGE, "size");
        rest.position = position;
        struct batchmill_stream *resumed = client_opened(client, "plain", &rest);
        struct batchmill_stream_info info;
        batchmill_stream_info(resumed, &info);
        assert_int_equal(info.first_seq, n);
        assert_int_equal(info.batches, CLIENT_NBATCHES);
        assert_int_equal(info.seed, 7);
        uint64_t resumed_seq = n;
        assert_true(client_take_digest(stream, &seq, UINT64_MAX) ==
                    client_take_digest(resumed, &resumed_seq, UINT64_MAX));
        assert_int_equal(resumed_seq, CLIENT_NBATCHES);
        batchmill_stream_close(stream);
        batchmill_stream_close(resumed);
    }
    batchmill_disconnect(client);
}

static void a_batch_outlives_its_stream_and_its_client(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = 5;
    order.traced = true;
    struct batchmill_stream *stream = client_opened(client, "locked", &order);
    struct batchmill_batch *batch = NULL;
    assert_int_equal(batchmill_next(stream, &batch, NULL), BATCHMILL_OK);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
    const struct batchmill_tensor *x = batchmill_batch_tensor(batch, "x");
    assert_int_equal(x->dtype, BATCHMILL_INT64);
    assert_int_equal(x->ndim, 1);
    assert_int_equal(x->shape[0], 5);
    for (int64_t i = 0; i < 5; i++)
        assert_int_equal(((const int64_t *)x->data)[i], i);
    assert_null(batchmill_batch_tensor(batch, "y"));
    size_t nspans = 0;
    const struct batchmill_span *spans = batchmill_batch_spans(batch, &nspans);
    assert_int_equal(nspans, 3); // read, noop, noop with its lock
    for (size_t i = 0; i < nspans; i++)
        assert_true(spans[i].started_ns > 0 && spans[i].ended_ns >= spans[i].started_ns);
    batchmill_batch_free(batch);
}

// ---- Failures ----

static void a_failure_ends_the_stream_in_its_place(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    for (unsigned p = 0; p < CLIENT_NPREFETCHES; p++) {
        struct batchmill_order order = client_in_order(client_prefetches[p], BATCHMILL_STOP);
        struct batchmill_stream *stream = client_opened(client, "fail", &order);
        struct batchmill_batch *batch = NULL;
        struct batchmill_error error;
        uint64_t seq = 0;
        client_take_digest(stream, &seq, 3);
        for (unsigned times = 0; times < 3; times++)
            client_expect_failure(batchmill_next(stream, &batch, &error), &error, 3, 23);
        char position[1024];
        client_expect_ok(batchmill_position(stream, position, sizeof position, &error), &error);
        assert_string_equal(strrchr(position, '.'), ".3"); // the failed batch was not taken
        batchmill_stream_close(stream);
    }
    batchmill_disconnect(client);
}

static void expect_outcome(struct batchmill_stream *stream, uint64_t seq, bool fails)
{
    struct batchmill_batch *batch = NULL;
    struct batchmill_error error;
    enum batchmill_code code = batchmill_next(stream, &batch, &error);
    if (fails) {
        client_expect_failure(code, &error, seq, seq == 3 ? 23 : 100);
        return;
    }
    client_expect_ok(code, &error);
    assert_int_equal(batchmill_batch_seq(batch), seq);
    batchmill_batch_free(batch);
}

static void expect_failures(struct batchmill_client *client, uint32_t prefetch, bool reports)
{
    struct batchmill_order order =
        client_in_order(prefetch, reports ? BATCHMILL_REPORT : BATCHMILL_SKIP);
    struct batchmill_stream *stream = client_opened(client, "fail", &order);
    for (uint64_t seq = 0; seq < CLIENT_NBATCHES; seq++) {
        bool fails = seq == 3 || seq == 14;
        if (!fails || reports)
            expect_outcome(stream, seq, fails);
    }
    struct batchmill_batch *batch = NULL;
    struct batchmill_stream_info info;
    assert_int_equal(batchmill_next(stream, &batch, NULL), BATCHMILL_END);
    batchmill_stream_info(stream, &info);
    assert_int_equal(info.failed, 2);
    assert_int_equal(info.skipped, reports ? 0 : 2);
    batchmill_stream_close(stream);
}

static void failed_batches_are_left_out_or_reported_when_asked_to(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    for (unsigned p = 0; p < CLIENT_NPREFETCHES; p++) {
        expect_failures(client, client_prefetches[p], false);
        expect_failures(client, client_prefetches[p], true);
    }
    batchmill_disconnect(client);
}

static void an_action_may_skip_batches_or_end_the_stream(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    for (unsigned p = 0; p < CLIENT_NPREFETCHES; p++) {
        struct batchmill_order order = client_in_order(client_prefetches[p], BATCHMILL_STOP);
        struct batchmill_stream *stream = client_opened(client, "skip", &order);
        struct batchmill_batch *batch = NULL;
        uint64_t expected = 0, nbatches = 0;
        while (batchmill_next(stream, &batch, NULL) == BATCHMILL_OK) {
            while (expected == 0 || expected == 3 || expected == 14)
                expected++;
            assert_int_equal(batchmill_batch_seq(batch), expected++);
            batchmill_batch_free(batch);
            nbatches++;
        }
        struct batchmill_stream_info info;
        batchmill_stream_info(stream, &info);
        assert_int_equal(info.skipped, 4);
        assert_int_equal(nbatches, CLIENT_NBATCHES - 4);
        batchmill_stream_close(stream);

        uint64_t seq = 0;
        stream = client_opened(client, "end", &order);
        client_take_digest(stream, &seq, UINT64_MAX);
        assert_int_equal(seq, 14);
        batchmill_stream_close(stream);
    }
    batchmill_disconnect(client);
}

static void bad_arguments_are_refused_by_name(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_stream *stream = NULL;
    struct batchmill_error error;
    struct batchmill_order order = client_order(0);
    client_expect_error(batchmill_gen_batch(client, "plan", &order, &stream, &error), &error,
                        BATCHMILL_NOT_FOUND, "plain"); // names those there are
    client_expect_error(batchmill_gen_batch(client, NULL, &order, &stream, &error), &error,
                        BATCHMILL_INVALID_ARGUMENT, "pipeline");
    client_expect_error(batchmill_gen_batch(client, "plain", NULL, &stream, &error), &error,
                        BATCHMILL_INVALID_ARGUMENT, "order");
    client_expect_error(batchmill_gen_batch(NULL, "plain", &order, &stream, &error), &error,
                        BATCHMILL_INVALID_ARGUMENT, "client");
    order.batch_size = 0;
    client_expect_error(batchmill_gen_batch(client, "plain", &order, &stream, &error), &error,
                        BATCHMILL_INVALID_ARGUMENT, "batch_size");
    order = client_order(0);
    order.n_epochs = order.n_iters = 2;
    client_expect_error(batchmill_gen_batch(client, "plain", &order, &stream, &error), &error,
                        BATCHMILL_INVALID_ARGUMENT, "n_iters");
    order = client_order(5000);
    client_expect_error(batchmill_gen_batch(client, "plain", &order, &stream, &error), &error,
                        BATCHMILL_INVALID_ARGUMENT, "prefetch");
    order = client_order(0);
    order.position = "bm2.nonsense.4";
    client_expect_error(batchmill_gen_batch(client, "plain", &order, &stream, &error), &error,
                        BATCHMILL_INVALID_ARGUMENT, "position");
    batchmill_disconnect(client);
}

static void a_server_that_is_not_there_is_named(void **state)
{
    (void)state;
    const struct batchmill_options options = {.timeout_ms = 200};
    struct batchmill_client *client = NULL;
    struct batchmill_error error;
    double before = client_seconds();
    client_expect_error(batchmill_connect("tcp://127.0.0.1:1", &options, &client, &error), &error,
                        BATCHMILL_UNAVAILABLE, "tcp://127.0.0.1:1");
    assert_true(client_seconds() - before < 2);
    client_expect_error(batchmill_connect("inproc://nobody", &options, &client, &error), &error,
                        BATCHMILL_UNAVAILABLE, "inproc://nobody");
    client_expect_error(batchmill_connect("carrier pigeon", &options, &client, &error), &error,
                        BATCHMILL_INVALID_ARGUMENT, "carrier pigeon");
    assert_null(client);
}

// ---- Threads ----

struct taker {
    struct batchmill_client *client;
    uint64_t digest;
    enum batchmill_code code;
};

static void *thread_takes_a_stream(void *context) // never asserts: it is not the main thread
{
    struct taker *taker = context;
    struct batchmill_order order = client_order(3);
    struct batchmill_stream *stream = NULL;
    struct batchmill_batch *batch = NULL;
    struct bm_hash *hash = bm_hash_new();
    taker->code = batchmill_gen_batch(taker->client, "plain", &order, &stream, NULL);
    while (taker->code == BATCHMILL_OK) {
        taker->code = batchmill_next(stream, &batch, NULL);
        if (taker->code == BATCHMILL_OK) {
            client_hash_batch(hash, batch);
            batchmill_batch_free(batch);
        }
    }
    taker->digest = bm_hash_end(hash);
    bm_hash_free(hash);
    batchmill_stream_close(stream);
    return NULL;
}

static void many_threads_have_streams_of_one_client(void **state)
{
    (void)state;
    enum { NTHREADS = 20 }; // more than fit on one connection
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct taker takers[NTHREADS];
    pthread_t threads[NTHREADS];
    struct batchmill_order order = client_order(0);
    uint64_t expected = client_stream_digest(client, "plain", &order);
    for (unsigned i = 0; i < NTHREADS; i++) {
        takers[i] = (struct taker){.client = client};
        assert_int_equal(pthread_create(&threads[i], NULL, thread_takes_a_stream, &takers[i]), 0);
    }
    for (unsigned i = 0; i < NTHREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < NTHREADS; i++) {
        assert_int_equal(takers[i].code, BATCHMILL_END);
        assert_true(takers[i].digest == expected);
    }
    batchmill_disconnect(client);
}

static void *thread_cancels(void *context)
{
    client_nap_ms(50);
    batchmill_cancel(context);
    return NULL;
}

static void a_waiting_consumer_can_be_cancelled_from_another_thread(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_order order = client_order(1);
    struct batchmill_stream *stream = client_opened(client, "slow", &order);
    struct batchmill_batch *batch = NULL;
    struct batchmill_error error;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, thread_cancels, stream), 0);
    double before = client_seconds();
    client_expect_error(batchmill_next(stream, &batch, &error), &error, BATCHMILL_CANCELLED,
                        "cancelled");
    assert_true(client_seconds() - before < 0.25);
    client_expect_error(batchmill_next(stream, &batch, &error), &error, BATCHMILL_CANCELLED,
                        "cancelled");
    pthread_join(thread, NULL);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_the_same_whatever_carries_and_computes_them),
        cmocka_unit_test(large_batches_come_whole_and_in_order),
        TEST(an_early_close_leaves_nothing_on_the_server),
        TEST(a_close_does_not_wait_for_work_under_way),
        TEST(a_batch_that_was_late_comes_when_asked_for_again),
        TEST(a_position_gives_the_rest_of_the_stream),
        TEST(a_batch_outlives_its_stream_and_its_client),
        TEST(a_failure_ends_the_stream_in_its_place),
        TEST(failed_batches_are_left_out_or_reported_when_asked_to),
        TEST(an_action_may_skip_batches_or_end_the_stream),
        TEST(bad_arguments_are_refused_by_name),
        TEST(a_server_that_is_not_there_is_named),
        TEST(many_threads_have_streams_of_one_client),
        TEST(a_waiting_consumer_can_be_cancelled_from_another_thread),
    };
    return cmocka_run_group_tests_name("client_streams", tests, NULL, host_last);
}
