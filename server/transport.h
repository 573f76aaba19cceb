// transport.h -- requests in, replies out, over nng's REQ/REP. Layer: server (may include src/).
//
// Each request that came and is not answered yet is on its own, so one that waits for a batch holds
// up no other. What one peer may keep busy is bounded: who asks without reading its answers is
// hung up on, and the others do not notice. A client that lost its connection so asks again on a
// new one.
//
// Web browsers speak to a ws:// URL with the subprotocol rep.sp.nanomsg.org; the host in their
// URL must be spelled as in ours.
//
// Threads: _new, _listen and _free on one thread; the rest from any.
#pragma once
#include "run/executor.h"
#include "server/session.h"

enum {
    BM_CONTEXTS_MAX = 16384,   // requests on their way, of all peers; more wait to be read
    BM_PEER_REQUESTS_MAX = 64, // of one connection; more are answered RESOURCE_EXHAUSTED, or not
                               // read at all while it does not read
    BM_GREETING_MS = 10000,    // for a connection to say what it is
    // How long a reply may go without the peer taking a byte of it.
    BM_SEND_TIMEOUT_MS = 2000,
    // Replies on their way to all peers, about; beyond it, who takes nothing for 100 ms is hung
    // up on.
    BM_UNSENT_BYTES_MAX = 256 * 1024 * 1024,
    BM_ADDRESS_CONNECTIONS_MAX = 256, // from one address that is not this machine
    BM_DESCRIPTORS_SPARE = 64,        // not for connections: files, logs, listeners
};

struct bm_transport;

struct bm_transport_config { // borrowed
    struct bm_executor *executor;
    struct bm_session *session;
    struct bm_tls_context *tls; // for tls+tcp://; NULL: no certificate to show
};
// Requests go to the session, with the executor's mutex. Every thread that nng starts ignores
// signals. Replies go through exchange->send.
enum bm_status bm_transport_new(const struct bm_transport_config *config,
                                struct bm_transport **ret_transport, struct bm_error *err);
// tcp://host:port, tls+tcp://host:port, ipc:///path, ws://host:port/path or inproc://name; port 0
// takes a free one.
enum bm_status bm_transport_listen(struct bm_transport *transport, const char *url, bool insecure,
                                   struct bm_error *err);
const char *bm_transport_url(const struct bm_transport *transport, unsigned i); // as bound

struct bm_connection_counts bm_transport_counts(struct bm_transport *transport);

// The session is closed and flushed, and only nng's own threads may still flush it. NULL is fine.
void bm_transport_free(struct bm_transport *transport);
