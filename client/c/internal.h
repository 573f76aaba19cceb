// internal.h -- what the client's files share. Layer: client/c (may include base, data/dtype.h).
//
// One file per thing a user holds (client.c, stream.c, batch.c), one per way to ask (cursor.c,
// run.c), reply.c for what comes back, window.c for the order of a stream, transport_nng.c for the
// connection, codec.c for the bytes. Threads: one mutex per client guards everything in it; it is
// never held while nng is called.
#pragma once
#include "base/list.h"
#include "base/mutex.h"
#include "client/c/codec.h"
#include "client/c/error.h"
#include "client/c/shared.h"
#include "client/c/transport.h"
#include "client/c/window.h"

enum {
    // A server takes 64 requests at once from one connection, as a defence. Streams beyond what
    // fits there get a connection of their own, and exchanges wait for their turn.
    BM_CLIENT_STREAMS_MAX = 8, // of a connection: 5 requests each
    BM_CLIENT_EXCHANGES_MAX = 16,
};

struct bm_client_connection {
    struct bm_client_connection *next;
    struct bm_client_transport *transport;
    unsigned nstreams; // the client's mutex
};

struct batchmill_client {
    struct bm_client_transport *transport;    // of the first connection: for exchanges
    struct bm_client_connection *connections; // newest first; the mutex
    unsigned nexchanges;                      // the mutex
    uint64_t max_message_bytes;
    char *url;
    char *token;                // NULL: none
    struct bm_tls_context *tls; // NULL: none
    char *tls_name;             // of the server; NULL: the URL's host
    uint32_t timeout_ms;
    void (*log)(void *context, const char *message); // may be NULL
    void *log_context;
    int pid; // of the process that connected: no other may use it
    struct bm_mutex mutex;
    struct bm_cond changed;        // a member is free, nobody sends for some stream any more, or an
                                   // exchange is over
    struct bm_list streams;        // open ones, with cursors' members; the mutex
    struct bm_list members;        // of cursors; the mutex
    struct bm_client_timer *timer; // keeps the leases; from the first stream on; the mutex
    bool writable;                 // tensors are
    bool no_shared_memory;         // not wanted, or not possible; the mutex
};

// ---- client.c ----

// Says why `client` cannot be used, if so: it is NULL, or this is a fork of its process.
enum batchmill_code bm_client_check(const struct batchmill_client *client,
                                    struct batchmill_error *error);
bool bm_client_forked(const struct batchmill_client *client);
// What the server cannot check: that there is something to send.
enum batchmill_code bm_client_check_order(const char *pipeline, const struct batchmill_order *order,
                                          struct batchmill_error *error);
void bm_client_log(const struct batchmill_client *client, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t bm_client_now_ns(void);
uint64_t bm_client_nonce(void); // never 0
// What there is to say when nothing came on `transport` for too long.
enum batchmill_code bm_client_unreachable(const struct batchmill_client *client,
                                          struct bm_client_transport *transport,
                                          struct batchmill_error *error);
// A connection for one stream more, made when all there are have enough.
enum batchmill_code bm_client_enter_connection(struct batchmill_client *client,
                                               struct bm_client_connection **ret_connection,
                                               struct batchmill_error *error);
void bm_client_leave_connection(struct batchmill_client *client,
                                struct bm_client_connection *connection);

// One that is nobody else's.
enum batchmill_code bm_client_connect(const struct batchmill_client *client,
                                      struct bm_client_transport **ret_transport,
                                      struct batchmill_error *error);

// Seals and sends `request` and waits for the reply; it gives up `timeout_ms` after the server
// should have answered. `wait_ms`: how long the server may take over it.
enum batchmill_code bm_client_exchange(struct batchmill_client *client, struct bm_buffer *request,
                                       uint32_t wait_ms, uint32_t timeout_ms,
                                       struct bm_client_message **ret_reply,
                                       struct batchmill_error *error);

// ---- batch.c ----

struct batchmill_batch {
    struct bm_client_batch *view;
    struct bm_client_message *message; // where its tensors lie,
    struct bm_client_hold *hold;       // or the server's memory; NULL: none do
    void (*release)(void *context);    // whatever else they lie in; NULL: nothing
    void *context;
};
// Takes `view` and `hold` on success, and a reference to `message`. NULL: out of memory.
struct batchmill_batch *bm_client_batch_new(struct bm_client_batch *view,
                                            struct bm_client_message *message,
                                            struct bm_client_hold *hold);

// ---- reply.c ----

struct bm_client_reply {
    enum batchmill_code code;
    struct batchmill_error error; // when not OK
    struct bm_client_batches head;
    struct bm_client_arrival *arrivals; // [narrivals], of head.nbatches; what was not taken is ours
    size_t narrivals;
    bool unmapped; // the rest lies in the server's memory, and cannot be seen from here
};
struct bm_client_asked { // what a reply has to answer
    const char *stream;  // its id
    const struct bm_client_ask *ask;
    bool is_member;
    struct bm_client_shared *shared; // NULL: batches have to come by the socket
};
// What `message` says to what was asked; NULL is one for which there was no memory. It holds on to
// the message only for the batches it has.
void bm_client_reply_read(struct bm_client_reply *reply, const struct bm_client_asked *asked,
                          struct bm_client_message *message);
void bm_client_reply_fini(struct bm_client_reply *reply);

// ---- stream.c ----

// `cursor` is NULL for a stream of its own.
enum batchmill_code bm_client_stream_open(struct batchmill_client *client, const char *pipeline,
                                          const char *cursor, const struct batchmill_order *order,
                                          struct batchmill_stream **ret_stream,
                                          struct batchmill_error *error);

// ---- cursor.c ----

void bm_client_members_free(struct batchmill_client *client); // closes their streams
