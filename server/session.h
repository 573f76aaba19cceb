// session.h -- what a server knows of its clients: streams, cursors, runs, parked requests.
// Layer: server (may include src/; neither nng, nor a socket, nor a thread).
//
// Pure: a request comes in, replies go out, now or later. It owns no clock, thread or random
// source; the shell (server.c with transport_nng.c, or a simulator) drives it. A request that has
// to wait for a batch is parked here and blocks nobody.
//
// Threads: everything with the executor's mutex held, except bm_session_flush(), which the shell
// calls without it, each time after it gave the mutex back (bm_pool_set_flush() does that). Answers
// wait in a line of their own, so that a slow send holds up nobody; whoever flushes first hands
// them out, so an exchange is out of its maker's hands as soon as the session has answered it.
#pragma once
#include "base/list.h"
#include "server/catalog.h"
#include "server/messages.h"
#include "server/registrar.h"
#include "server/token.h"

enum {
    BM_SESSION_STREAMS_MAX = 10000,  // open streams and cursor members of all clients
    BM_SESSION_CURSORS_MAX = 1000,   // also those that wait for a member
    BM_SESSION_RUNS_MAX = 1000,      // runs that are not forgotten yet
    BM_SESSION_PARKED_MAX = 16384,   // requests of all clients that wait for a batch or a run
    BM_SESSION_PARKED_SPARE = 64,    // of one stream, beside one for each batch it may prefetch
    BM_SESSION_STRANGERS_MAX = 4096, // requests without the token that wait for their refusal
    BM_SESSION_STRANGER_MS = 100,    // so long, so that guessing takes time
    BM_SESSION_LEASE_MS = 60000,
    BM_SESSION_WAIT_MS_MAX = 30000,
    BM_SESSION_LENDERS_MAX = 256,
    BM_LENDER_SLOTS_MAX = 16,
    BM_SESSION_REGISTERED_MAX = 64, // pipelines of clients, of all of them
    BM_SESSION_REGISTERED_LEASE_MS_MAX = 24 * 60 * 60 * 1000,
    BM_SESSION_REPLY_BYTES = 1024 * 1024,          // of a reply, when the client sets no max_bytes
    BM_SESSION_REPLY_BYTES_MAX = 16 * 1024 * 1024, // whatever it sets; one batch always fits
};

struct bm_session;

// One request on its way, embedded in the transport's own. The transport fills nothing else but
// the zero struct, `send`, `lends`, `same_host` and `connection`; the session answers each exactly
// once through bm_session_host.reply.
struct bm_exchange {
    // Sends exchange->reply and takes the exchange back; the transport's. A host that knows where
    // it came from needs none.
    void (*send)(struct bm_exchange *exchange);
    // Requests of this connection may be long from now on: it is that of a lender. With the mutex
    // held; NULL: they may not.
    void (*lends)(struct bm_exchange *exchange);
    struct bm_node node;
    struct bm_request request;
    struct bm_reply reply;
    bool same_host;        // the transport's word: it came from this machine
    uint64_t connection;   // the transport's number of it, for bm_session_disconnected(), or 0
    struct bm_timer timer; // wait_ms
    void *parked_on;       // the stream or run it waits for, NULL otherwise
};

struct bm_session_host {
    // Send exchange->reply. Called without the mutex, from bm_session_flush(); the host encodes,
    // and then owns the exchange again (bm_exchange_fini it before using it anew).
    void (*reply)(struct bm_session_host *self, struct bm_exchange *exchange);
    uint64_t (*random)(struct bm_session_host *self); // 64 unpredictable bits: ids, drawn seeds
    // Whether memory of another process can be seen from here. NULL: no.
    bool (*sees)(struct bm_session_host *self, const struct bm_probe *probe);
    // A sentence for the log; called like reply(). NULL: there is none.
    void (*note)(struct bm_session_host *self, const char *text);
    // For GetStatus. NULL: there are no connections.
    struct bm_connection_counts (*connections)(struct bm_session_host *self);
};

struct bm_session_config {
    struct bm_scheduler *scheduler;
    struct bm_executor *executor;
    struct bm_catalog *catalog;           // borrowed; what clients register is in it, too
    const struct bm_registrar *registrar; // NULL: clients may not register. Borrowed
    struct bm_session_host *host;
    struct bm_remote *remote;             // actions that others may lend; NULL: none. Borrowed
    const struct bm_token *token;         // that every request must have; NULL: none. Borrowed
    const struct bm_token *lender_token;  // instead, for those who lend actions; NULL: the same
    const struct bm_same_host *same_host; // that clients may map; NULL: none. Borrowed
    unsigned workers;                     // for GetStatus
    uint32_t lease_ms;                    // 0 = BM_SESSION_LEASE_MS
};

enum bm_status bm_session_new(const struct bm_session_config *config,
                              struct bm_session **ret_session, struct bm_error *err);
// Closes every stream and run; parked exchanges are answered with UNAVAILABLE (flush afterwards).
void bm_session_close(struct bm_session *session);
void bm_session_free(struct bm_session *session); // closed and flushed; NULL is fine

// Takes a decoded request (the exchange owns it) and answers it now or later.
void bm_session_request(struct bm_session *session, struct bm_exchange *exchange);
// Answers a request that could not be decoded.
void bm_session_refuse(struct bm_session *session, struct bm_exchange *exchange,
                       const struct bm_error *err);
// The client's connection is gone and so is the wish for an answer: unparks the exchange if it is
// parked and answers it with CANCELLED, so that the host gets it back.
void bm_session_abandon(struct bm_session *session, struct bm_exchange *exchange);

// The connection is gone: who lent actions over it gives back what it has. After its requests were
// abandoned.
void bm_session_disconnected(struct bm_session *session, uint64_t connection);

// No new streams and runs (UNAVAILABLE); what is open goes on.
void bm_session_drain(struct bm_session *session);
// No stream, member or parked request, and no run whose end nobody was told.
bool bm_session_idle(const struct bm_session *session);

void bm_session_flush(struct bm_session *session); // without the mutex: hands out due replies
void bm_exchange_fini(struct bm_exchange *exchange);
