// client_fixture.h -- a real server in the test's process, and a client's usual steps.
//
// The server listens on all five transports and hosts small pipelines over the numbers 0 to 599.
// Batches of 7 in order: items 23 and 24 are in batch 3, item 100 in batch 14.
// Threads: the main one only; asserts with cmocka.
#pragma once
#include "base/hash.h"
#include "client/c/include/batchmill/client.h"
#include "server/server.h"

enum {
    CLIENT_NITEMS = 600,
    CLIENT_BATCH_SIZE = 7,
    CLIENT_NBATCHES = 86,
    CLIENT_NURLS = 5,
    CLIENT_TLS = 4, // of the URLs, that of tls+tcp
    CLIENT_NPREFETCHES = 4,
};
extern const uint32_t client_prefetches[CLIENT_NPREFETCHES]; // 0, 1, 3, 16

// ---- A server ----

struct host {
    struct bm_registry *registry;
    struct bm_source_ref *source;
    struct bm_catalog *catalog;
    struct bm_server *server;
    char urls[CLIENT_NURLS][128]; // inproc, tcp, ipc, ws, tls+tcp; as bound
    const char *identity;         // its certificate's name: "server" unless set before it starts
    bool asks_clients;            // for a certificate; likewise
};
extern struct host the_host; // between host_setup() and host_teardown()

struct bm_value *host_yaml(const char *text);
void host_init(struct host *host);
void host_add(struct host *host, const char *name, const char *actions_yaml);
// Started again, it is where it was before.
void host_start(struct host *host, unsigned workers, uint32_t lease_ms);
void host_stop(struct host *host);
void host_fini(struct host *host);
int host_setup(void **state); // for cmocka: the_host with 2 workers
int host_teardown(void **state);
int host_last(void **state); // after all tests: nng frees what it closed in the background

// ---- A client ----

void client_expect_ok(enum batchmill_code code, const struct batchmill_error *error);
void client_expect_error(enum batchmill_code code, const struct batchmill_error *error,
                         enum batchmill_code expected, const char *text);
void client_expect_failure(enum batchmill_code code, const struct batchmill_error *error,
                           uint64_t seq, uint64_t item);    // of pipeline "fail"
struct batchmill_client *client_connected(const char *url); // over TLS: believes the fixture's
struct batchmill_order client_order(uint32_t prefetch);     // shuffled with seed 7
struct batchmill_order client_in_order(uint32_t prefetch, enum batchmill_on_error on_error);
struct batchmill_stream *client_opened(struct batchmill_client *client, const char *pipeline,
                                       const struct batchmill_order *order);
void client_hash_batch(struct bm_hash *hash, const struct batchmill_batch *batch);
// Takes up to `nmax` batches, which must follow each other from *seq on.
uint64_t client_take_digest(struct batchmill_stream *stream, uint64_t *seq, uint64_t nmax);
uint64_t client_stream_digest(struct batchmill_client *client, const char *pipeline,
                              const struct batchmill_order *order); // of all of it
void client_nap_ms(unsigned ms);
double client_seconds(void);
