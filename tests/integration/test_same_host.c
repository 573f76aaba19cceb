// Batches that a client of the same host sees where the server has them.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fakes/certificates.h"
#include "fakes/client_fixture.h"
#include "support.h"

enum { ITEMS = 8192, NBATCHES = 50 }; // of 8 bytes: a batch is as large as it has to be

static int setup(void **state)
{
    (void)state;
    struct bm_error error;
    host_init(&the_host);
    struct bm_source_ref *numbers = the_host.source;
    struct bm_value *definition = host_yaml("{range: {n: 409600}}");
    if (bm_source_open(the_host.registry, "many", definition, ".", &the_host.source, &error) !=
        BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    bm_value_free(definition);
    host_add(&the_host, "large", "[noop, {noop: {}, use_lock: gpu}]");
    bm_source_unref(the_host.source);
    the_host.source = numbers;
    host_start(&the_host, 2, 0);
    return 0;
}

static unsigned nshared_files(void) // of this process, which is the server, too
{
    unsigned n = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[300], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        ssize_t size = readlink(path, target, sizeof target - 1);
        n += size > 0 && strncmp(target, "/memfd:batchmill", 16) == 0;
    }
    closedir(folder);
    return n;
}

static int teardown(void **state)
{
    host_teardown(state);
    assert_int_equal(nshared_files(), 0); // it leaves none behind
    return 0;
}

struct diary {
    unsigned nlines;
    char last[512];
};

static void diary_log(void *context, const char *message)
{
    struct diary *diary = context;
    diary->nlines++;
    snprintf(diary->last, sizeof diary->last, "%s", message);
}

static struct batchmill_client *connected(unsigned url, const struct batchmill_options *options)
{
    struct batchmill_client *client = NULL;
    struct batchmill_error error;
    struct batchmill_options own = {0};
    if (options != NULL)
        own = *options;
    if (url == CLIENT_TLS)
        own.tls_ca_file = certificates_path("ca.pem");
    client_expect_ok(batchmill_connect(the_host.urls[url], &own, &client, &error), &error);
    return client;
}

static struct batchmill_order large_order(uint32_t prefetch, uint64_t n_epochs)
{
    struct batchmill_order order = client_order(prefetch);
    order.batch_size = ITEMS;
    order.n_epochs = n_epochs;
    return order;
}

static uint64_t nshared(struct batchmill_client *client)
{
    struct batchmill_status status;
    struct batchmill_error error;
    client_expect_ok(batchmill_status(client, &status, &error), &error);
    return status.shared_batches;
}

static uint64_t digest_of(struct batchmill_client *client, uint32_t prefetch)
{
    struct batchmill_order order = large_order(prefetch, 1);
    struct batchmill_stream *stream = client_opened(client, "large", &order);
    uint64_t seq = 0, digest = client_take_digest(stream, &seq, UINT64_MAX);
    assert_int_equal(seq, NBATCHES);
    batchmill_stream_close(stream);
    return digest;
}

static uint64_t batch_digest(const struct batchmill_batch *batch)
{
    struct bm_hash *hash = bm_hash_new();
    client_hash_batch(hash, batch);
    uint64_t digest = bm_hash_end(hash);
    bm_hash_free(hash);
    return digest;
}

static void the_same_bytes_come_either_way(void **state)
{
    (void)state;
    const struct batchmill_options by_socket = {.no_shared_memory = true};
    struct batchmill_client *client = connected(1, &by_socket);
    uint64_t expected = digest_of(client, 3);
    assert_int_equal(nshared(client), 0);
    batchmill_disconnect(client);
    uint64_t shared = 0;
    for (unsigned url = 0; url < CLIENT_NURLS; url++) {
        struct diary diary = {0};
        const struct batchmill_options options = {.log = diary_log, .log_context = &diary};
        client = connected(url, &options);
        for (unsigned p = 0; p < CLIENT_NPREFETCHES; p++)
            assert_true(digest_of(client, client_prefetches[p]) == expected);
        assert_true(digest_of(client, BATCHMILL_PREFETCH_AUTO) == expected);
        bool maps = url == 1 || url == 2 || url == CLIENT_TLS; // tcp and ipc, too
        shared += maps ? (CLIENT_NPREFETCHES + 1) * NBATCHES : 0;
        assert_int_equal(nshared(client), shared);
        assert_int_equal(diary.nlines, 0);
        batchmill_disconnect(client);
    }
}

struct kept { // batches, and what they were when they came
    struct batchmill_batch *batches[20 * NBATCHES];
    uint64_t digests[20 * NBATCHES];
    unsigned n;
};

static void keep(struct kept *kept, struct batchmill_stream *stream, unsigned nmax)
{
    struct batchmill_error error;
    for (unsigned i = 0; i < nmax; i++) {
        client_expect_ok(batchmill_next(stream, &kept->batches[kept->n], &error), &error);
        assert_int_equal(batchmill_batch_seq(kept->batches[kept->n]), kept->n);
        kept->digests[kept->n] = batch_digest(kept->batches[kept->n]);
        kept->n++;
    }
}

static void kept_check(const struct kept *kept)
{
    for (unsigned i = 0; i < kept->n; i++)
        assert_true(batch_digest(kept->batches[i]) == kept->digests[i]);
}

static void kept_free(struct kept *kept)
{
    for (unsigned i = 0; i < kept->n; i++)
        batchmill_batch_free(kept->batches[i]);
    kept->n = 0;
}

static void a_consumer_may_keep_every_batch(void **state)
{
    (void)state;
    static struct kept kept;
    struct batchmill_client *client = connected(1, NULL);
    struct batchmill_order order = large_order(3, 14);
    struct batchmill_stream *stream = client_opened(client, "large", &order);
    keep(&kept, stream, 14 * NBATCHES); // more than may be held: the rest come by the socket
    kept_check(&kept);
    assert_in_range(nshared(client), 100, BM_SHARED_HELD_MAX);
    kept_free(&kept);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
}

static void what_was_taken_outlives_stream_client_and_server(void **state)
{
    (void)state;
    static struct kept kept;
    struct batchmill_client *client = connected(2, NULL);
    struct batchmill_order order = large_order(16, 1);
    struct batchmill_stream *stream = client_opened(client, "large", &order);
    keep(&kept, stream, 20);
    batchmill_stream_close(stream);
    uint64_t expected = digest_of(client, 16); // whatever else lies where they do not
    assert_true(digest_of(client, 3) == expected);
    kept_check(&kept);
    batchmill_disconnect(client);
    host_stop(&the_host);
    kept_check(&kept);
    kept_free(&kept);
    host_start(&the_host, 2, 0);
}

static void a_stream_goes_on_by_reference_when_its_server_was_started_again(void **state)
{
    (void)state;
    static struct kept kept;
    struct batchmill_client *client = connected(1, NULL);
    struct batchmill_order order = large_order(3, 1);
    struct batchmill_stream *stream = client_opened(client, "large", &order);
    keep(&kept, stream, 10);
    host_stop(&the_host);
    host_start(&the_host, 2, 0);
    keep(&kept, stream, NBATCHES - 10);
    // Some may have come before the server went.
    assert_in_range(nshared(client), NBATCHES - 10 - 4, NBATCHES - 10);
    kept_check(&kept);
    kept_free(&kept);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
}

static void what_is_freed_late_is_given_back(void **state)
{
    (void)state;
    static struct kept kept;
    struct batchmill_client *client = connected(1, NULL);
    struct batchmill_order order = large_order(0, 1);
    struct batchmill_stream *stream = client_opened(client, "large", &order);
    keep(&kept, stream, 10);
    unsigned nfiles = nshared_files();
    assert_true(nfiles > 10);
    for (unsigned i = 0; i < 10; i++) // in another order than they came
        batchmill_batch_free(kept.batches[(7 * i) % 10]);
    kept.n = 0;
    uint64_t seq = 10;
    client_take_digest(stream, &seq, UINT64_MAX);
    assert_true(nshared_files() <= nfiles + 1); // they serve the batches behind them
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_same_bytes_come_either_way),
        TEST(a_consumer_may_keep_every_batch),
        TEST(what_was_taken_outlives_stream_client_and_server),
        TEST(a_stream_goes_on_by_reference_when_its_server_was_started_again),
        TEST(what_is_freed_late_is_given_back),
    };
    return cmocka_run_group_tests_name("same_host", tests, NULL, host_last);
}
