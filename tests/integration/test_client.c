// The C client against a real server in this process, over every transport.
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "actions/actions.h"
#include "base/hash.h"
#include "batchmill/client.h"
#include "server/config.h"
#include "server/server.h"
#include "sources/sources.h"
#include "support.h"

enum { NITEMS = 600, BATCH_SIZE = 7, NBATCHES = 86, NURLS = 4 };

static const uint32_t prefetches[] = {0, 1, 3, 16};
enum { NPREFETCHES = sizeof prefetches / sizeof prefetches[0] };

// ---- A server ----

struct host {
    struct bm_registry *registry;
    struct bm_source_ref *source;
    struct bm_catalog *catalog;
    struct bm_server *server;
    char urls[NURLS][128]; // inproc, tcp, ipc, ws; as bound
};

static struct bm_value *yaml(const char *text)
{
    struct bm_value *value = NULL;
    struct bm_error error = {0};
    if (bm_yaml_parse(text, strlen(text), "test", &value, &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    return value;
}

static void host_add(struct host *host, const char *name, const char *actions_yaml)
{
    struct bm_pipeline *pipeline = NULL;
    struct bm_error error = {0};
    struct bm_value *actions = yaml(actions_yaml);
    if (bm_pipeline_new(host->registry, name, host->source, actions, &pipeline, &error) != BM_OK ||
        bm_catalog_add(host->catalog, pipeline, &error) != BM_OK)
        fail_msg("%s: %s: %s", name, error.where, error.text);
    bm_value_free(actions);
}

static void host_init(struct host *host)
{
    *host = (struct host){0};
    struct bm_error error = {0};
    struct bm_value *definition = yaml("{range: {n: 600}}");
    assert_int_equal(bm_registry_new(&host->registry, NULL), BM_OK);
    assert_int_equal(bm_actions_register(host->registry, NULL), BM_OK);
    assert_int_equal(bm_sources_register(host->registry, NULL), BM_OK);
    assert_int_equal(bm_catalog_new(&host->catalog, NULL), BM_OK);
    if (bm_source_open(host->registry, "numbers", definition, ".", &host->source, &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    bm_value_free(definition);
    host_add(host, "plain",
             "[{cast: {components: x, dtype: float32}},"
             " {add_noise: {components: x, std: 1}}]");
    host_add(host, "locked", "[noop, {noop: {}, use_lock: gpu}]");
    host_add(host, "fail", "[{fail_at: {items: [23, 24, 100]}}]");
    host_add(host, "skip", "[{skip_at: {items: [0, 23, 100, 599]}}]");
    host_add(host, "end", "[{end_at: {items: 100}}]");
    host_add(host, "slow", "[{wait: {ms: 300}}]");
    host_add(host, "sum", "[{accumulate: {component: x}}]");
    host_add(host, "slow-sum", "[{wait: {ms: 20}}, {accumulate: {component: x}}]");
}

static void host_start(struct host *host, unsigned workers, uint32_t lease_ms)
{
    char ipc[64];
    snprintf(ipc, sizeof ipc, "ipc:///tmp/batchmill-test-client-%d", (int)getpid());
    const char *listen[NURLS] = {"inproc://test-client", "tcp://127.0.0.1:0", ipc,
                                 "ws://127.0.0.1:0/mill"};
    for (unsigned i = 0; i < NURLS; i++) {
        if (host->urls[i][0] != '\0')
            listen[i] = host->urls[i]; // started again: where it was before
    }
    const struct bm_server_config config = {
        .catalog = host->catalog,
        .listen = listen,
        .nlisten = NURLS,
        .workers = workers,
        .lease_ms = lease_ms,
    };
    struct bm_error error = {0};
    if (bm_server_start(&config, &host->server, &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    for (unsigned i = 0; i < NURLS; i++)
        snprintf(host->urls[i], sizeof host->urls[i], "%s", bm_server_url(host->server, i));
}

static void host_stop(struct host *host)
{
    bm_server_stop(host->server);
    host->server = NULL;
}

static void host_fini(struct host *host)
{
    host_stop(host);
    bm_catalog_free(host->catalog);
    bm_source_unref(host->source);
    bm_registry_free(host->registry);
}

static struct host host;

static int start(void **state)
{
    (void)state;
    host_init(&host);
    host_start(&host, 2, 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    host_fini(&host);
    return 0;
}

// ---- A client ----

static void expect_ok(enum batchmill_code code, const struct batchmill_error *error)
{
    if (code != BATCHMILL_OK)
        fail_msg("%s: %s", batchmill_code_name(code), error->text);
}

static void expect_error(enum batchmill_code code, const struct batchmill_error *error,
                         enum batchmill_code expected, const char *text)
{
    if (code != expected || error->code != expected || strstr(error->text, text) == NULL)
        fail_msg("expected %s with \"%s\", got %s with \"%s\"", batchmill_code_name(expected), text,
                 batchmill_code_name(code), error->text);
}

static struct batchmill_client *connected(const char *url)
{
    struct batchmill_client *client = NULL;
    struct batchmill_error error = {0};
    expect_ok(batchmill_connect(url, NULL, &client, &error), &error);
    return client;
}

static struct batchmill_order order_of(uint32_t prefetch)
{
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = BATCH_SIZE;
    order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    order.seed = 7;
    order.prefetch = prefetch;
    return order;
}

static struct batchmill_stream *opened(struct batchmill_client *client, const char *pipeline,
                                       const struct batchmill_order *order)
{
    struct batchmill_stream *stream = NULL;
    struct batchmill_error error = {0};
    expect_ok(batchmill_gen_batch(client, pipeline, order, &stream, &error), &error);
    return stream;
}

static void hash_batch(struct bm_hash *hash, const struct batchmill_batch *batch)
{
    bm_hash_add_u64(hash, batchmill_batch_seq(batch));
    bm_hash_add_u64(hash, batchmill_batch_epoch(batch));
    bm_hash_add(hash, batchmill_batch_items(batch), batchmill_batch_nitems(batch) * 8);
    for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++) {
        const struct batchmill_tensor *tensor = batchmill_batch_tensor_at(batch, i);
        bm_hash_add_text(hash, tensor->name);
        bm_hash_add(hash, tensor->data, tensor->size_bytes);
    }
}

// Takes up to `nmax` batches, which must follow each other from *seq on.
static uint64_t take_digest(struct batchmill_stream *stream, uint64_t *seq, uint64_t nmax)
{
    struct bm_hash *hash = bm_hash_new();
    enum batchmill_code code = BATCHMILL_OK;
    struct batchmill_error error = {0};
    for (uint64_t n = 0; n < nmax; n++) {
        struct batchmill_batch *batch = NULL;
        if ((code = batchmill_next(stream, &batch, &error)) != BATCHMILL_OK)
            break;
        assert_int_equal(batchmill_batch_seq(batch), *seq);
        (*seq)++;
        hash_batch(hash, batch);
        batchmill_batch_free(batch);
    }
    if (code != BATCHMILL_OK && code != BATCHMILL_END)
        fail_msg("batch %" PRIu64 ": %s", *seq, error.text);
    uint64_t digest = bm_hash_end(hash);
    bm_hash_free(hash);
    return digest;
}

static uint64_t stream_digest(struct batchmill_client *client, const char *pipeline,
                              const struct batchmill_order *order)
{
    uint64_t seq = 0;
    struct batchmill_stream *stream = opened(client, pipeline, order);
    uint64_t digest = take_digest(stream, &seq, UINT64_MAX);
    assert_int_equal(seq, NBATCHES);
    batchmill_stream_close(stream);
    return digest;
}

static void nap_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

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
        for (unsigned u = 0; u < NURLS; u++) {
            struct batchmill_client *client = connected(many.urls[u]);
            for (unsigned p = 0; p < NPREFETCHES; p++) {
                struct batchmill_order order = order_of(prefetches[p]);
                uint64_t digest = stream_digest(client, "plain", &order);
                if (expected == 0)
                    expected = digest;
                assert_true(digest == expected);
                stream_digest(client, "locked", &order);
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
    struct bm_value *definition = yaml("{range: {n: 1000000}}");
    bm_source_unref(large.source);
    assert_int_equal(bm_source_open(large.registry, "many", definition, ".", &large.source, NULL),
                     BM_OK);
    bm_value_free(definition);
    host_add(&large, "large", "[]");
    host_start(&large, 2, 0);
    for (unsigned u = 0; u < NURLS; u++) {
        struct batchmill_client *client = connected(large.urls[u]);
        struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
        order.batch_size = 150000; // 1.2 MB
        order.prefetch = 3;
        struct batchmill_stream *stream = opened(client, "large", &order);
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
    struct batchmill_client *client = connected(host.urls[1]);
    for (unsigned p = 0; p < NPREFETCHES; p++) {
        for (uint64_t n = 0; n < 3; n++) {
            struct batchmill_order order = order_of(prefetches[p]);
            struct batchmill_stream *stream = opened(client, "plain", &order);
            uint64_t seq = 0;
            take_digest(stream, &seq, n);
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
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_order order = order_of(3);
    struct batchmill_stream *stream = opened(client, "slow", &order);
    struct batchmill_batch *batch = NULL;
    struct batchmill_error error;
    expect_error(batchmill_next_within(stream, 20, &batch, &error), &error,
                 BATCHMILL_DEADLINE_EXCEEDED, "batch 0");
    double before = seconds();
    batchmill_stream_close(stream);
    assert_true(seconds() - before < 0.25); // a batch takes 0.3 s
    batchmill_disconnect(client);
}

static void a_batch_that_was_late_comes_when_asked_for_again(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_order order = order_of(0);
    order.n_iters = 2;
    struct batchmill_stream *stream = opened(client, "slow", &order);
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
    struct batchmill_client *client = connected(host.urls[1]);
    for (uint64_t n = 0; n <= NBATCHES; n += 43) {
        struct batchmill_order order = order_of(3), rest = order_of(1);
        struct batchmill_stream *stream = opened(client, "plain", &order);
        uint64_t seq = 0;
        take_digest(stream, &seq, n);
        char position[1024], small[8];
        struct batchmill_error error;
        expect_ok(batchmill_position(stream, position, sizeof position, &error), &error);
        expect_error(batchmill_position(stream, small, sizeof small, &error), &error,
                     BATCHMILL_OUT_OF_RANGE, "size");
        rest.position = position;
        struct batchmill_stream *resumed = opened(client, "plain", &rest);
        struct batchmill_stream_info info;
        batchmill_stream_info(resumed, &info);
        assert_int_equal(info.first_seq, n);
        assert_int_equal(info.batches, NBATCHES);
        assert_int_equal(info.seed, 7);
        uint64_t resumed_seq = n;
        assert_true(take_digest(stream, &seq, UINT64_MAX) ==
                    take_digest(resumed, &resumed_seq, UINT64_MAX));
        assert_int_equal(resumed_seq, NBATCHES);
        batchmill_stream_close(stream);
        batchmill_stream_close(resumed);
    }
    batchmill_disconnect(client);
}

static void a_batch_outlives_its_stream_and_its_client(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = 5;
    order.traced = true;
    struct batchmill_stream *stream = opened(client, "locked", &order);
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

// Batches of 7 in order: items 23 and 24 are in batch 3, item 100 in batch 14.
static struct batchmill_order in_order(uint32_t prefetch, enum batchmill_on_error on_error)
{
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = BATCH_SIZE;
    order.prefetch = prefetch;
    order.on_error = on_error;
    return order;
}

static void expect_failure(enum batchmill_code code, const struct batchmill_error *error,
                           uint64_t seq, uint64_t item)
{
    expect_error(code, error, BATCHMILL_UNKNOWN, "told to fail");
    assert_true(error->has_batch && error->has_item);
    assert_int_equal(error->seq, seq);
    assert_int_equal(error->item, item);
    assert_string_equal(error->pipeline, "fail");
    assert_string_equal(error->action, "fail_at");
}

static void a_failure_ends_the_stream_in_its_place(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    for (unsigned p = 0; p < NPREFETCHES; p++) {
        struct batchmill_order order = in_order(prefetches[p], BATCHMILL_STOP);
        struct batchmill_stream *stream = opened(client, "fail", &order);
        struct batchmill_batch *batch = NULL;
        struct batchmill_error error;
        uint64_t seq = 0;
        take_digest(stream, &seq, 3);
        for (unsigned times = 0; times < 3; times++)
            expect_failure(batchmill_next(stream, &batch, &error), &error, 3, 23);
        char position[1024];
        expect_ok(batchmill_position(stream, position, sizeof position, &error), &error);
        assert_string_equal(strrchr(position, '.'), ".3"); // the failed batch was not taken
        batchmill_stream_close(stream);
    }
    batchmill_disconnect(client);
}

static void failed_batches_are_left_out_or_reported_when_asked_to(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    for (unsigned p = 0; p < NPREFETCHES; p++) {
        for (unsigned reports = 0; reports < 2; reports++) {
            struct batchmill_order order =
                in_order(prefetches[p], reports ? BATCHMILL_REPORT : BATCHMILL_SKIP);
            struct batchmill_stream *stream = opened(client, "fail", &order);
            for (uint64_t seq = 0; seq < NBATCHES; seq++) {
                bool fails = seq == 3 || seq == 14;
                struct batchmill_batch *batch = NULL;
                struct batchmill_error error;
                if (fails && !reports)
                    continue;
                enum batchmill_code code = batchmill_next(stream, &batch, &error);
                if (fails) {
                    expect_failure(code, &error, seq, seq == 3 ? 23 : 100);
                    continue;
                }
                expect_ok(code, &error);
                assert_int_equal(batchmill_batch_seq(batch), seq);
                batchmill_batch_free(batch);
            }
            struct batchmill_batch *batch = NULL;
            struct batchmill_stream_info info;
            assert_int_equal(batchmill_next(stream, &batch, NULL), BATCHMILL_END);
            batchmill_stream_info(stream, &info);
            assert_int_equal(info.failed, 2);
            assert_int_equal(info.skipped, reports ? 0 : 2);
            batchmill_stream_close(stream);
        }
    }
    batchmill_disconnect(client);
}

static void an_action_may_skip_batches_or_end_the_stream(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    for (unsigned p = 0; p < NPREFETCHES; p++) {
        struct batchmill_order order = in_order(prefetches[p], BATCHMILL_STOP);
        struct batchmill_stream *stream = opened(client, "skip", &order);
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
        assert_int_equal(nbatches, NBATCHES - 4);
        batchmill_stream_close(stream);

        uint64_t seq = 0;
        stream = opened(client, "end", &order);
        take_digest(stream, &seq, UINT64_MAX);
        assert_int_equal(seq, 14);
        batchmill_stream_close(stream);
    }
    batchmill_disconnect(client);
}

static void bad_arguments_are_refused_by_name(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_stream *stream = NULL;
    struct batchmill_error error;
    struct batchmill_order order = order_of(0);
    expect_error(batchmill_gen_batch(client, "plan", &order, &stream, &error), &error,
                 BATCHMILL_NOT_FOUND, "plain"); // names those there are
    expect_error(batchmill_gen_batch(client, NULL, &order, &stream, &error), &error,
                 BATCHMILL_INVALID_ARGUMENT, "pipeline");
    expect_error(batchmill_gen_batch(client, "plain", NULL, &stream, &error), &error,
                 BATCHMILL_INVALID_ARGUMENT, "order");
    expect_error(batchmill_gen_batch(NULL, "plain", &order, &stream, &error), &error,
                 BATCHMILL_INVALID_ARGUMENT, "client");
    order.batch_size = 0;
    expect_error(batchmill_gen_batch(client, "plain", &order, &stream, &error), &error,
                 BATCHMILL_INVALID_ARGUMENT, "batch_size");
    order = order_of(0);
    order.n_epochs = order.n_iters = 2;
    expect_error(batchmill_gen_batch(client, "plain", &order, &stream, &error), &error,
                 BATCHMILL_INVALID_ARGUMENT, "n_iters");
    order = order_of(5000);
    expect_error(batchmill_gen_batch(client, "plain", &order, &stream, &error), &error,
                 BATCHMILL_INVALID_ARGUMENT, "prefetch");
    order = order_of(0);
    order.position = "bm1.nonsense.4";
    expect_error(batchmill_gen_batch(client, "plain", &order, &stream, &error), &error,
                 BATCHMILL_INVALID_ARGUMENT, "position");
    batchmill_disconnect(client);
}

static void a_server_that_is_not_there_is_named(void **state)
{
    (void)state;
    const struct batchmill_options options = {.timeout_ms = 200};
    struct batchmill_client *client = NULL;
    struct batchmill_error error;
    double before = seconds();
    expect_error(batchmill_connect("tcp://127.0.0.1:1", &options, &client, &error), &error,
                 BATCHMILL_UNAVAILABLE, "tcp://127.0.0.1:1");
    assert_true(seconds() - before < 2);
    expect_error(batchmill_connect("inproc://nobody", &options, &client, &error), &error,
                 BATCHMILL_UNAVAILABLE, "inproc://nobody");
    expect_error(batchmill_connect("carrier pigeon", &options, &client, &error), &error,
                 BATCHMILL_INVALID_ARGUMENT, "carrier pigeon");
    assert_null(client);
}

// ---- Threads ----

struct taker {
    struct batchmill_client *client;
    uint64_t digest;    // of thread_takes_a_stream
    uint64_t ntaken;    // of thread_takes_from_a_cursor
    atomic_uint *times; // [NBATCHES] how often a batch came
    enum batchmill_code code;
};

static void *thread_takes_a_stream(void *context) // never asserts: it is not the main thread
{
    struct taker *taker = context;
    struct batchmill_order order = order_of(3);
    struct batchmill_stream *stream = NULL;
    struct batchmill_batch *batch = NULL;
    struct bm_hash *hash = bm_hash_new();
    taker->code = batchmill_gen_batch(taker->client, "plain", &order, &stream, NULL);
    while (taker->code == BATCHMILL_OK) {
        taker->code = batchmill_next(stream, &batch, NULL);
        if (taker->code == BATCHMILL_OK) {
            hash_batch(hash, batch);
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
    struct batchmill_client *client = connected(host.urls[1]);
    struct taker takers[NTHREADS];
    pthread_t threads[NTHREADS];
    struct batchmill_order order = order_of(0);
    uint64_t expected = stream_digest(client, "plain", &order);
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
    nap_ms(50);
    batchmill_cancel(context);
    return NULL;
}

static void a_waiting_consumer_can_be_cancelled_from_another_thread(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_order order = order_of(1);
    struct batchmill_stream *stream = opened(client, "slow", &order);
    struct batchmill_batch *batch = NULL;
    struct batchmill_error error;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, thread_cancels, stream), 0);
    double before = seconds();
    expect_error(batchmill_next(stream, &batch, &error), &error, BATCHMILL_CANCELLED, "cancelled");
    assert_true(seconds() - before < 0.25);
    expect_error(batchmill_next(stream, &batch, &error), &error, BATCHMILL_CANCELLED, "cancelled");
    pthread_join(thread, NULL);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
}

// ---- Cursors ----

static void *thread_takes_from_a_cursor(void *context)
{
    struct taker *taker = context;
    struct batchmill_order order = order_of(3);
    struct batchmill_batch *batch = NULL;
    while ((taker->code = batchmill_next_batch(taker->client, "shared", "plain", &order, &batch,
                                               NULL)) == BATCHMILL_OK) {
        if (batchmill_batch_seq(batch) < NBATCHES)
            atomic_fetch_add(&taker->times[batchmill_batch_seq(batch)], 1);
        batchmill_batch_free(batch);
        taker->ntaken++;
    }
    return NULL;
}

static void a_cursor_gives_each_batch_to_one_of_those_who_ask(void **state)
{
    (void)state;
    enum { NTHREADS = 4 };
    atomic_uint times[NBATCHES] = {0};
    struct batchmill_client *clients[2] = {connected(host.urls[1]), connected(host.urls[2])};
    struct taker takers[NTHREADS];
    pthread_t threads[NTHREADS];
    for (unsigned i = 0; i < NTHREADS; i++) {
        takers[i] = (struct taker){.client = clients[i % 2], .times = times};
        assert_int_equal(pthread_create(&threads[i], NULL, thread_takes_from_a_cursor, &takers[i]),
                         0);
    }
    for (unsigned i = 0; i < NTHREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < NTHREADS; i++)
        assert_int_equal(takers[i].code, BATCHMILL_END);
    for (unsigned seq = 0; seq < NBATCHES; seq++)
        assert_int_equal(times[seq], 1);
    batchmill_disconnect(clients[0]);
    batchmill_disconnect(clients[1]);
}

static void a_cursor_goes_on_from_client_to_client(void **state)
{
    (void)state;
    struct batchmill_order order = order_of(0);
    struct batchmill_error error;
    for (uint64_t seq = 0; seq < 10; seq++) {
        struct batchmill_client *client = connected(host.urls[1]);
        struct batchmill_batch *batch = NULL;
        expect_ok(batchmill_next_batch(client, "relay", "plain", &order, &batch, &error), &error);
        assert_int_equal(batchmill_batch_seq(batch), seq);
        batchmill_batch_free(batch);
        batchmill_disconnect(client); // takes the batch with it
    }
}

static void other_arguments_than_the_cursors_are_refused(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_order order = order_of(0), other = order_of(0);
    struct batchmill_batch *batch = NULL;
    struct batchmill_error error;
    other.batch_size = 8;
    expect_ok(batchmill_next_batch(client, "strict", "plain", &order, &batch, &error), &error);
    batchmill_batch_free(batch);
    for (unsigned times = 0; times < 2; times++)
        expect_error(batchmill_next_batch(client, "strict", "plain", &other, &batch, &error),
                     &error, BATCHMILL_INVALID_ARGUMENT, "batch_size");
    expect_error(batchmill_next_batch(client, "strict", "locked", &order, &batch, &error), &error,
                 BATCHMILL_INVALID_ARGUMENT, "pipeline");
    expect_error(batchmill_next_batch(client, "", "plain", &order, &batch, &error), &error,
                 BATCHMILL_INVALID_ARGUMENT, "cursor");
    expect_ok(batchmill_next_batch(client, "strict", "plain", &order, &batch, &error), &error);
    assert_int_equal(batchmill_batch_seq(batch), 1);
    batchmill_batch_free(batch);
    batchmill_disconnect(client);
}

// ---- Runs ----

static bool count_progress(void *context, const struct batchmill_run_result *so_far)
{
    unsigned *ncalls = context;
    (*ncalls)++;
    return so_far->batches <= so_far->expected_batches;
}

static void a_run_tells_how_far_it_is_and_what_came_out(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_order order = order_of(3);
    struct batchmill_run_result *result = NULL;
    struct batchmill_error error;
    unsigned ncalls = 0;
    expect_ok(batchmill_run(client, "slow-sum", &order, count_progress, &ncalls, &result, &error),
              &error);
    assert_true(ncalls > 0);
    assert_int_equal(result->batches, NBATCHES);
    assert_int_equal(result->expected_batches, NBATCHES);
    assert_int_equal(result->items, NITEMS);
    assert_int_equal(result->failed, 0);
    assert_int_equal(result->seed, 7);
    bool found = false;
    for (size_t i = 0; i < result->nvariables; i++) {
        if (strcmp(result->variables[i].name, "x.mean") == 0) {
            found = true;
            assert_true(result->variables[i].number == (NITEMS - 1) / 2.0);
        }
    }
    assert_true(found);
    batchmill_run_free(result);
    batchmill_disconnect(client);
}

static bool refuse_progress(void *context, const struct batchmill_run_result *so_far)
{
    (void)context, (void)so_far;
    return false;
}

static void a_run_can_be_cancelled(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_order order = order_of(0);
    order.n_epochs = 0; // would never end by itself
    struct batchmill_run_result *result = NULL;
    struct batchmill_error error;
    expect_error(batchmill_run(client, "sum", &order, refuse_progress, NULL, &result, &error),
                 &error, BATCHMILL_CANCELLED, "cancelled");
    assert_null(result);
    batchmill_disconnect(client);
}

static void a_run_that_fails_tells_what_it_reached(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_order order = in_order(3, BATCHMILL_STOP);
    struct batchmill_run_result *result = NULL;
    struct batchmill_error error;
    expect_failure(batchmill_run(client, "fail", &order, NULL, NULL, &result, &error), &error, 3,
                   23);
    assert_int_equal(result->batches, 3);
    assert_int_equal(result->failed, 1);
    batchmill_run_free(result);
    order.on_error = BATCHMILL_REPORT;
    expect_ok(batchmill_run(client, "fail", &order, NULL, NULL, &result, &error), &error);
    assert_int_equal(result->batches, NBATCHES - 2);
    assert_int_equal(result->failed, 2);
    batchmill_run_free(result);
    batchmill_disconnect(client);
}

// ---- What there is ----

static void a_server_tells_what_it_hosts(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_error error;
    struct batchmill_list *list = NULL;
    expect_ok(batchmill_list(client, &list, &error), &error);
    assert_int_equal(list->n, 8);
    assert_string_equal(list->pipelines[0].name, "end");
    assert_string_equal(list->pipelines[0].source, "numbers");
    assert_int_equal(list->pipelines[0].items, NITEMS);
    batchmill_list_free(list);
    struct batchmill_description *description = NULL;
    expect_ok(batchmill_describe(client, "locked", &description, &error), &error);
    assert_int_equal(description->nactions, 2);
    assert_null(description->actions[0].lock);
    assert_string_equal(description->actions[1].lock, "gpu");
    assert_int_equal(description->ncomponents, 1);
    assert_string_equal(description->components[0].name, "x");
    assert_string_equal(batchmill_dtype_name(description->components[0].dtype), "int64");
    assert_int_equal(batchmill_dtype_size(description->components[0].dtype), 8);
    batchmill_description_free(description);
    expect_error(batchmill_describe(client, "nothing", &description, &error), &error,
                 BATCHMILL_NOT_FOUND, "nothing");
    struct batchmill_status status;
    expect_ok(batchmill_status(client, &status, &error), &error);
    assert_int_equal(status.pipelines, 8);
    assert_int_equal(status.workers, 2);
    batchmill_disconnect(client);
}

// ---- Connections that do not last ----

struct diary {
    atomic_uint nreopened, nlost, nback;
};

static void diary_log(void *context, const char *message)
{
    struct diary *diary = context;
    if (strstr(message, "opened it again") != NULL)
        atomic_fetch_add(&diary->nreopened, 1);
    if (strstr(message, "lost") != NULL)
        atomic_fetch_add(&diary->nlost, 1);
    if (strstr(message, "back") != NULL)
        atomic_fetch_add(&diary->nback, 1);
}

static void a_stream_goes_on_when_its_server_was_started_again(void **state)
{
    (void)state;
    struct diary diary = {0};
    const struct batchmill_options options = {.log = diary_log, .log_context = &diary};
    for (unsigned p = 0; p < NPREFETCHES; p++) {
        struct batchmill_client *client = NULL;
        struct batchmill_error error;
        expect_ok(batchmill_connect(host.urls[1], &options, &client, &error), &error);
        struct batchmill_order order = order_of(prefetches[p]);
        struct batchmill_stream *undisturbed = opened(client, "plain", &order);
        uint64_t seq = 0, disturbed_seq = 0;
        take_digest(undisturbed, &seq, 20);
        uint64_t expected = take_digest(undisturbed, &seq, UINT64_MAX);
        batchmill_stream_close(undisturbed);
        struct batchmill_stream *stream = opened(client, "plain", &order);
        take_digest(stream, &disturbed_seq, 20);
        unsigned nreopened = atomic_load(&diary.nreopened);
        host_stop(&host);
        host_start(&host, 3, 0);
        assert_true(take_digest(stream, &disturbed_seq, UINT64_MAX) == expected);
        assert_int_equal(disturbed_seq, NBATCHES);
        assert_int_equal(atomic_load(&diary.nreopened), nreopened + 1);
        batchmill_stream_close(stream);
        batchmill_disconnect(client);
    }
    assert_int_equal(atomic_load(&diary.nlost), NPREFETCHES);
    assert_int_equal(atomic_load(&diary.nback), NPREFETCHES);
}

static void a_server_that_stays_away_is_an_error_and_its_stream_goes_on_later(void **state)
{
    (void)state;
    const struct batchmill_options options = {.timeout_ms = 300};
    struct batchmill_client *client = NULL;
    struct batchmill_error error;
    expect_ok(batchmill_connect(host.urls[1], &options, &client, &error), &error);
    struct batchmill_order order = order_of(3);
    uint64_t expected = stream_digest(client, "plain", &order);
    struct batchmill_stream *stream = opened(client, "plain", &order);
    struct bm_hash *hash = bm_hash_new();
    struct batchmill_batch *batch = NULL;
    uint64_t seq = 0;
    bool away = false;
    unsigned nerrors = 0;
    enum batchmill_code code;
    while ((code = batchmill_next(stream, &batch, &error)) != BATCHMILL_END) {
        if (code == BATCHMILL_OK) {
            assert_int_equal(batchmill_batch_seq(batch), seq++);
            hash_batch(hash, batch);
            batchmill_batch_free(batch);
            if (seq == 30) {
                host_stop(&host);
                away = true;
            }
        } else {
            expect_error(code, &error, BATCHMILL_UNAVAILABLE, host.urls[1]);
            assert_true(++nerrors < 10); // connecting again may take longer than the timeout
            if (away)
                host_start(&host, 2, 0);
            away = false;
        }
    }
    assert_int_equal(seq, NBATCHES);
    assert_true(nerrors > 0);
    assert_true(bm_hash_end(hash) == expected);
    bm_hash_free(hash);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
}

static void a_cursor_that_went_with_its_server_is_said_to_be_gone(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    struct batchmill_order order = order_of(0);
    struct batchmill_batch *batch = NULL;
    struct batchmill_error error;
    expect_ok(batchmill_next_batch(client, "lost", "plain", &order, &batch, &error), &error);
    batchmill_batch_free(batch);
    host_stop(&host);
    host_start(&host, 2, 0);
    expect_error(batchmill_next_batch(client, "lost", "plain", &order, &batch, &error), &error,
                 BATCHMILL_ABORTED, "lost");
    expect_ok(batchmill_next_batch(client, "lost", "plain", &order, &batch, &error), &error);
    assert_int_equal(batchmill_batch_seq(batch), 0);
    batchmill_batch_free(batch);
    batchmill_disconnect(client);
}

static void a_paused_consumer_keeps_its_stream(void **state)
{
    (void)state;
    enum { LEASE_MS = 200 };
    struct diary diary = {0};
    const struct batchmill_options options = {.log = diary_log, .log_context = &diary};
    host_stop(&host);
    host_start(&host, 2, LEASE_MS);
    struct batchmill_client *client = NULL;
    struct batchmill_error error;
    expect_ok(batchmill_connect(host.urls[1], &options, &client, &error), &error);
    struct batchmill_order order = order_of(1);
    struct batchmill_stream *unstarted = opened(client, "plain", &order);
    struct batchmill_stream *stream = opened(client, "plain", &order);
    uint64_t seq = 0, unstarted_seq = 0;
    take_digest(stream, &seq, 5);
    nap_ms(5 * LEASE_MS);
    take_digest(stream, &seq, 5);
    take_digest(unstarted, &unstarted_seq, 5);
    assert_int_equal(atomic_load(&diary.nreopened), 0);
    batchmill_stream_close(stream);
    batchmill_stream_close(unstarted);
    batchmill_disconnect(client);
}

static void a_reply_that_is_too_large_does_not_hang(void **state)
{
    (void)state;
    const struct batchmill_options options = {.timeout_ms = 200, .max_message_bytes = 2000};
    struct batchmill_client *client = NULL;
    struct batchmill_error error;
    host_stop(&host);
    host_start(&host, 2, 400); // so that it answers soon
    expect_ok(batchmill_connect(host.urls[1], &options, &client, &error), &error);
    struct batchmill_order order = order_of(0);
    order.batch_size = NITEMS;
    struct batchmill_stream *stream = opened(client, "plain", &order);
    struct batchmill_batch *batch = NULL;
    expect_error(batchmill_next(stream, &batch, &error), &error, BATCHMILL_UNAVAILABLE,
                 host.urls[1]);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
}

static void a_forked_process_is_told_to_connect_again(void **state)
{
    (void)state;
    struct batchmill_client *client = connected(host.urls[1]);
    pid_t child = fork();
    if (child == 0) {
        struct batchmill_status status;
        enum batchmill_code code = batchmill_status(client, &status, NULL);
        batchmill_disconnect(client);
        _exit(code == BATCHMILL_FAILED_PRECONDITION ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
    batchmill_disconnect(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

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
        TEST(a_cursor_gives_each_batch_to_one_of_those_who_ask),
        TEST(a_cursor_goes_on_from_client_to_client),
        TEST(other_arguments_than_the_cursors_are_refused),
        TEST(a_run_tells_how_far_it_is_and_what_came_out),
        TEST(a_run_can_be_cancelled),
        TEST(a_run_that_fails_tells_what_it_reached),
        TEST(a_server_tells_what_it_hosts),
        TEST(a_stream_goes_on_when_its_server_was_started_again),
        TEST(a_server_that_stays_away_is_an_error_and_its_stream_goes_on_later),
        TEST(a_cursor_that_went_with_its_server_is_said_to_be_gone),
        TEST(a_paused_consumer_keeps_its_stream),
        TEST(a_reply_that_is_too_large_does_not_hang),
        TEST(a_forked_process_is_told_to_connect_again),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
