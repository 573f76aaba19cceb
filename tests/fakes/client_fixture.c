#include "fakes/client_fixture.h"

#include <inttypes.h>
#include <nng/nng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "actions/actions.h"
#include "fakes/certificates.h"
#include "server/config.h"
#include "sources/sources.h"
#include "support.h"

// ---- A server ----

struct bm_value *host_yaml(const char *text)
{
    struct bm_value *value = NULL;
    struct bm_error error = {0};
    if (bm_yaml_parse(text, strlen(text), "test", &value, &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    return value;
}

void host_add(struct host *host, const char *name, const char *actions_yaml)
{
    struct bm_pipeline *pipeline = NULL;
    struct bm_error error = {0};
    struct bm_value *actions = host_yaml(actions_yaml);
    if (bm_pipeline_new(host->registry, name, host->source, actions, &pipeline, &error) != BM_OK ||
        bm_catalog_add(host->catalog, pipeline, &error) != BM_OK)
        fail_msg("%s: %s: %s", name, error.where, error.text);
    bm_value_free(actions);
}

static void certificates_once(void)
{
    static bool made;
    if (made)
        return;
    made = true;
    certificates_setup();
    assert_int_equal(atexit(certificates_remove), 0);
}

void host_init(struct host *host)
{
    *host = (struct host){.identity = "server"};
    certificates_once();
    struct bm_error error = {0};
    struct bm_value *definition = host_yaml("{range: {n: 600}}");
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

void host_start(struct host *host, unsigned workers, uint32_t lease_ms)
{
    char ipc[64], certificate[32], key[32];
    snprintf(certificate, sizeof certificate, "%s.pem", host->identity);
    snprintf(key, sizeof key, "%s.key", host->identity);
    snprintf(ipc, sizeof ipc, "ipc:///tmp/batchmill-test-client-%d", (int)getpid());
    const char *listen[CLIENT_NURLS] = {"inproc://test-client", "tcp://127.0.0.1:0", ipc,
                                        "ws://127.0.0.1:0/mill", "tls+tcp://127.0.0.1:0"};
    for (unsigned i = 0; i < CLIENT_NURLS; i++) {
        if (host->urls[i][0] != '\0')
            listen[i] = host->urls[i]; // started again: where it was before
    }
    const struct bm_server_config config = {
        .catalog = host->catalog,
        .listen = listen,
        .nlisten = CLIENT_NURLS,
        .workers = workers,
        .lease_ms = lease_ms,
        .tls = {certificates_path(certificate), certificates_path(key),
                host->asks_clients ? certificates_path("ca.pem") : NULL},
    };
    struct bm_error error = {0};
    if (bm_server_start(&config, &host->server, &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    for (unsigned i = 0; i < CLIENT_NURLS; i++)
        snprintf(host->urls[i], sizeof host->urls[i], "%s", bm_server_url(host->server, i));
}

void host_stop(struct host *host)
{
    bm_server_stop(host->server);
    host->server = NULL;
}

void host_fini(struct host *host)
{
    host_stop(host);
    bm_catalog_free(host->catalog);
    bm_source_unref(host->source);
    bm_registry_free(host->registry);
}

struct host the_host;

const uint32_t client_prefetches[CLIENT_NPREFETCHES] = {0, 1, 3, 16};

int host_setup(void **state)
{
    (void)state;
    host_init(&the_host);
    host_start(&the_host, 2, 0);
    return 0;
}

int host_teardown(void **state)
{
    (void)state;
    host_fini(&the_host);
    return 0;
}

int host_last(void **state)
{
    (void)state;
    nng_fini();
    return 0;
}

// ---- A client ----

void client_expect_ok(enum batchmill_code code, const struct batchmill_error *error)
{
    if (code != BATCHMILL_OK)
        fail_msg("%s: %s", batchmill_code_name(code), error->text);
}

void client_expect_error(enum batchmill_code code, const struct batchmill_error *error,
                         enum batchmill_code expected, const char *text)
{
    if (code != expected || error->code != expected || strstr(error->text, text) == NULL)
        fail_msg("expected %s with \"%s\", got %s with \"%s\"", batchmill_code_name(expected), text,
                 batchmill_code_name(code), error->text);
}

struct batchmill_client *client_connected(const char *url)
{
    struct batchmill_client *client = NULL;
    struct batchmill_error error = {0};
    bool tls = strncmp(url, "tls+", 4) == 0;
    const struct batchmill_options options = {.tls_ca_file =
                                                  tls ? certificates_path("ca.pem") : NULL};
    client_expect_ok(batchmill_connect(url, &options, &client, &error), &error);
    return client;
}

struct batchmill_order client_order(uint32_t prefetch)
{
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = CLIENT_BATCH_SIZE;
    order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    order.seed = 7;
    order.prefetch = prefetch;
    return order;
}

struct batchmill_stream *client_opened(struct batchmill_client *client, const char *pipeline,
                                       const struct batchmill_order *order)
{
    struct batchmill_stream *stream = NULL;
    struct batchmill_error error = {0};
    client_expect_ok(batchmill_gen_batch(client, pipeline, order, &stream, &error), &error);
    return stream;
}

void client_hash_batch(struct bm_hash *hash, const struct batchmill_batch *batch)
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
uint64_t client_take_digest(struct batchmill_stream *stream, uint64_t *seq, uint64_t nmax)
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
        client_hash_batch(hash, batch);
        batchmill_batch_free(batch);
    }
    if (code != BATCHMILL_OK && code != BATCHMILL_END)
        fail_msg("batch %" PRIu64 ": %s", *seq, error.text);
    uint64_t digest = bm_hash_end(hash);
    bm_hash_free(hash);
    return digest;
}

uint64_t client_stream_digest(struct batchmill_client *client, const char *pipeline,
                              const struct batchmill_order *order)
{
    uint64_t seq = 0;
    struct batchmill_stream *stream = client_opened(client, pipeline, order);
    uint64_t digest = client_take_digest(stream, &seq, UINT64_MAX);
    assert_int_equal(seq, CLIENT_NBATCHES);
    batchmill_stream_close(stream);
    return digest;
}

void client_nap_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

double client_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct batchmill_order client_in_order(uint32_t prefetch, enum batchmill_on_error on_error)
{
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = CLIENT_BATCH_SIZE;
    order.prefetch = prefetch;
    order.on_error = on_error;
    return order;
}

void client_expect_failure(enum batchmill_code code, const struct batchmill_error *error,
                           uint64_t seq, uint64_t item)
{
    client_expect_error(code, error, BATCHMILL_UNKNOWN, "told to fail");
    assert_true(error->has_batch && error->has_item);
    assert_int_equal(error->seq, seq);
    assert_int_equal(error->item, item);
    assert_string_equal(error->pipeline, "fail");
    assert_string_equal(error->action, "fail_at");
}
