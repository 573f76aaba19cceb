// transport_type.h -- what each way to carry requests provides. Layer: client/c (private; nng).
//
// transport.c picks one by the URL: transport_stream.c speaks the protocol of nng's REQ on sockets
// of its own (tcp, tls+tcp, ipc); transport_nng.c leaves it to nng's own sockets (inproc, ws).
// Threads: as transport.h says.
#pragma once
#include <nng/nng.h>
#include <stdatomic.h>

#include "client/c/transport.h"

struct bm_client_transport_type {
    enum batchmill_code (*open)(const struct bm_client_transport_config *config,
                                struct bm_client_transport **ret_transport,
                                struct batchmill_error *error);
    void (*close)(struct bm_client_transport *transport);
    bool (*connected)(struct bm_client_transport *transport, uint64_t *ret_since_ns);
    bool (*hello)(struct bm_client_transport *transport, const void *bytes, size_t size); // or NULL
    // NULL: it takes whoever answers.
    bool (*refused)(struct bm_client_transport *transport, struct batchmill_error *ret_why);
    struct bm_client_call *(*call_new)(struct bm_client_transport *transport,
                                       void (*done)(void *context, struct bm_client_message *reply),
                                       void *context);
    bool (*call_start)(struct bm_client_call *call, const void *bytes, size_t size);
    void (*call_free)(struct bm_client_call *call);
};
extern const struct bm_client_transport_type bm_client_transport_nng, bm_client_transport_stream;

struct bm_client_transport { // begins each type's own
    const struct bm_client_transport_type *type;
};
struct bm_client_call { // likewise
    const struct bm_client_transport_type *type;
};

// ---- message.c ----

struct bm_client_message *bm_client_message_new(nng_msg *raw); // takes it; NULL: out of memory
struct bm_client_pool; // memory of messages that are no more; they may outlive it
struct bm_client_pool *bm_client_pool_new(void);
void bm_client_pool_close(struct bm_client_pool *pool);
// To be filled. The first byte lies so that tensors are 64-byte aligned. NULL: out of memory.
struct bm_client_message *bm_client_message_alloc(struct bm_client_pool *pool, size_t size);
unsigned char *bm_client_message_bytes(struct bm_client_message *message);

// ---- transport.c ----

void bm_client_transport_log(const struct bm_client_transport_config *config, const char *what);
uint64_t bm_client_transport_now_ns(void);
// A URL that can never work, and why.
enum batchmill_code bm_client_transport_bad_url(const struct bm_client_transport_config *config,
                                                const char *why, struct batchmill_error *error);
