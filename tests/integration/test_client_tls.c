// tls+tcp:// of the C client against a real server: whom it believes, and what a break does.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "fakes/certificates.h"
#include "fakes/client_fixture.h"
#include "support.h"

static const char *tls_url(void)
{
    return the_host.urls[CLIENT_TLS];
}

static void host_restart(const char *identity, bool asks_clients)
{
    host_stop(&the_host);
    the_host.identity = identity;
    the_host.asks_clients = asks_clients;
    host_start(&the_host, 2, 0);
}

static void expect_refused(const struct batchmill_options *options, const char *url,
                           enum batchmill_code code, const char *text)
{
    struct batchmill_client *client = NULL;
    struct batchmill_error error = {0};
    double begin = client_seconds();
    client_expect_error(batchmill_connect(url, options, &client, &error), &error, code, text);
    assert_true(client_seconds() - begin < 5); // the timeout is 10 s
    assert_null(client);
}

static void a_server_that_is_not_whom_we_expect_is_an_error_at_once(void **state)
{
    (void)state;
    const char *ca = certificates_path("ca.pem");
    const struct batchmill_options none = {0}, fine = {.tls_ca_file = ca};
    const struct batchmill_options other = {.tls_ca_file = certificates_path("stranger-ca.pem")};
    const struct batchmill_options name = {.tls_ca_file = ca, .tls_server_name = "db.example"};
    expect_refused(&none, tls_url(), BATCHMILL_PERMISSION_DENIED, "of a known authority, got one");
    expect_refused(&other, tls_url(), BATCHMILL_PERMISSION_DENIED, "got one of CN=server: unable");
    expect_refused(&name, tls_url(), BATCHMILL_PERMISSION_DENIED, "hostname mismatch");
    host_restart("expired", false);
    expect_refused(&fine, tls_url(), BATCHMILL_PERMISSION_DENIED, "certificate has expired");
    host_restart("name", false);
    expect_refused(&fine, tls_url(), BATCHMILL_PERMISSION_DENIED, "IP address mismatch");
    const struct batchmill_options right = {.tls_ca_file = ca,
                                            .tls_server_name = "another.example"};
    struct batchmill_client *client = NULL;
    struct batchmill_error error = {0};
    client_expect_ok(batchmill_connect(tls_url(), &right, &client, &error), &error);
    batchmill_disconnect(client);
}

static void a_server_may_want_to_know_its_clients(void **state)
{
    (void)state;
    host_restart("server", true);
    const char *ca = certificates_path("ca.pem");
    const struct batchmill_options none = {.tls_ca_file = ca};
    const struct batchmill_options other = {
        .tls_ca_file = ca,
        .tls_certificate_file = certificates_path("stranger.pem"),
        .tls_key_file = certificates_path("stranger.key"),
    };
    const struct batchmill_options known = {
        .tls_ca_file = ca,
        .tls_certificate_file = certificates_path("client.pem"),
        .tls_key_file = certificates_path("client.key"),
    };
    expect_refused(&none, tls_url(), BATCHMILL_PERMISSION_DENIED, "does not accept this side's");
    expect_refused(&other, tls_url(), BATCHMILL_PERMISSION_DENIED, "unknown ca");
    struct batchmill_client *client = NULL;
    struct batchmill_error error = {0};
    client_expect_ok(batchmill_connect(tls_url(), &known, &client, &error), &error);
    struct batchmill_order order = client_order(3);
    client_stream_digest(client, "plain", &order);
    batchmill_disconnect(client);
}

static void options_that_cannot_work_are_refused(void **state)
{
    (void)state;
    static char long_name[300];
    memset(long_name, 'a', sizeof long_name - 1);
    const char *ca = certificates_path("ca.pem"), *certificate = certificates_path("client.pem");
    const struct batchmill_options fine = {.tls_ca_file = ca};
    const struct batchmill_options missing = {.tls_ca_file = "/no/file"};
    const struct batchmill_options half = {.tls_ca_file = ca, .tls_certificate_file = certificate};
    const struct batchmill_options name = {.tls_ca_file = ca, .tls_server_name = long_name};
    expect_refused(&fine, the_host.urls[1], BATCHMILL_INVALID_ARGUMENT, "tls+tcp://host:port with");
    expect_refused(&missing, tls_url(), BATCHMILL_NOT_FOUND, "/no/file: cannot open");
    expect_refused(&half, tls_url(), BATCHMILL_INVALID_ARGUMENT, "got only a certificate");
    expect_refused(&name, tls_url(), BATCHMILL_INVALID_ARGUMENT, "at most 255 bytes");
    char plain[140]; // what is there speaks no TLS
    snprintf(plain, sizeof plain, "tls+%s", the_host.urls[1]);
    expect_refused(&fine, plain, BATCHMILL_INVALID_ARGUMENT, "expected a peer that speaks TLS");
}

static void a_server_that_is_not_there_is_waited_for(void **state)
{
    (void)state;
    const struct batchmill_options options = {.tls_ca_file = certificates_path("ca.pem"),
                                              .timeout_ms = 300};
    struct batchmill_client *client = NULL;
    struct batchmill_error error = {0};
    host_stop(&the_host);
    double begin = client_seconds();
    client_expect_error(batchmill_connect(tls_url(), &options, &client, &error), &error,
                        BATCHMILL_UNAVAILABLE, "cannot be reached (tried for 300 ms)");
    assert_true(client_seconds() - begin >= 0.3);
    host_start(&the_host, 2, 0);
}

static void a_stream_goes_on_when_its_server_was_started_again(void **state)
{
    (void)state;
    for (unsigned p = 0; p < CLIENT_NPREFETCHES; p++) {
        struct batchmill_client *client = client_connected(tls_url());
        struct batchmill_order order = client_order(client_prefetches[p]);
        struct batchmill_stream *stream = client_opened(client, "plain", &order);
        uint64_t seq = 0, expected_seq = 0;
        uint64_t begin = client_take_digest(stream, &seq, 20);
        host_restart("server", false);
        uint64_t rest = client_take_digest(stream, &seq, UINT64_MAX);
        assert_int_equal(seq, CLIENT_NBATCHES);
        batchmill_stream_close(stream);
        batchmill_disconnect(client);
        client = client_connected(the_host.urls[1]);
        stream = client_opened(client, "plain", &order);
        assert_true(client_take_digest(stream, &expected_seq, 20) == begin);
        assert_true(client_take_digest(stream, &expected_seq, UINT64_MAX) == rest);
        batchmill_stream_close(stream);
        batchmill_disconnect(client);
    }
}

static void a_certificate_that_went_bad_is_waited_for_and_named(void **state)
{
    (void)state;
    const struct batchmill_options options = {.tls_ca_file = certificates_path("ca.pem"),
                                              .timeout_ms = 500};
    struct batchmill_client *client = NULL;
    struct batchmill_error error = {0};
    client_expect_ok(batchmill_connect(tls_url(), &options, &client, &error), &error);
    struct batchmill_order order = client_order(3);
    struct batchmill_stream *stream = client_opened(client, "plain", &order);
    uint64_t seq = 0;
    client_take_digest(stream, &seq, 20);
    host_restart("expired", false);
    struct batchmill_batch *batch = NULL;
    enum batchmill_code code;
    while ((code = batchmill_next(stream, &batch, &error)) == BATCHMILL_OK) { // what was here
        assert_int_equal(batchmill_batch_seq(batch), seq++);
        batchmill_batch_free(batch);
    }
    client_expect_error(code, &error, BATCHMILL_UNAVAILABLE, "certificate has expired (tried for");
    host_restart("server", false);
    while ((code = batchmill_next(stream, &batch, &error)) == BATCHMILL_UNAVAILABLE)
        ;
    while (code == BATCHMILL_OK) {
        assert_int_equal(batchmill_batch_seq(batch), seq++);
        batchmill_batch_free(batch);
        code = batchmill_next(stream, &batch, &error);
    }
    assert_int_equal(code, BATCHMILL_END);
    assert_int_equal(seq, CLIENT_NBATCHES);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
}

struct reader { // a thread with a stream; the main thread asserts
    struct batchmill_client *client;
    uint64_t nbatches;
    enum batchmill_code code;
    struct batchmill_error error;
};

static void *reader_run(void *context)
{
    struct reader *reader = context;
    struct batchmill_order order = client_order(7);
    struct batchmill_stream *stream = NULL;
    struct batchmill_batch *batch = NULL;
    do { // a server that is going down opens nothing
        reader->code =
            batchmill_gen_batch(reader->client, "slow-sum", &order, &stream, &reader->error);
    } while (reader->code == BATCHMILL_UNAVAILABLE);
    while (reader->code == BATCHMILL_OK &&
           (reader->code = batchmill_next(stream, &batch, &reader->error)) == BATCHMILL_OK) {
        reader->nbatches += batchmill_batch_seq(batch) == reader->nbatches;
        batchmill_batch_free(batch);
    }
    batchmill_stream_close(stream);
    return NULL;
}

static void many_streams_share_connections_and_survive_restarts(void **state)
{
    (void)state;
    enum { N = 20 };
    struct batchmill_client *client = client_connected(tls_url());
    struct reader readers[N];
    pthread_t threads[N];
    for (unsigned i = 0; i < N; i++) {
        readers[i] = (struct reader){.client = client};
        assert_int_equal(pthread_create(&threads[i], NULL, reader_run, &readers[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        client_nap_ms(20);
        host_restart("server", false);
    }
    for (unsigned i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        if (readers[i].code != BATCHMILL_END)
            fail_msg("after %d batches: %s", (int)readers[i].nbatches, readers[i].error.text);
        assert_int_equal(readers[i].nbatches, CLIENT_NBATCHES);
    }
    batchmill_disconnect(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_server_that_is_not_whom_we_expect_is_an_error_at_once),
        TEST(a_server_may_want_to_know_its_clients),
        TEST(options_that_cannot_work_are_refused),
        TEST(a_server_that_is_not_there_is_waited_for),
        TEST(a_stream_goes_on_when_its_server_was_started_again),
        TEST(a_certificate_that_went_bad_is_waited_for_and_named),
        TEST(many_streams_share_connections_and_survive_restarts),
    };
    return cmocka_run_group_tests_name("client_tls", tests, NULL, host_last);
}
