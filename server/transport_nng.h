// transport_nng.h -- requests and replies over nng's REP sockets. Layer: server (may include src/).
//
// Each request that came and is not answered yet has a context of its own, so one that waits for
// a batch holds up no other. There are as many contexts as the busiest moment needed, up to a
// limit, and a peer may keep only a part of them busy: who asks without reading its answers loses
// requests, and the others do not notice.
//
// Web browsers speak to a ws:// URL with the subprotocol rep.sp.nanomsg.org; the host in their
// URL must be spelled as in ours. Nothing here checks who a peer is, so only addresses of this
// machine are listened on, unless told otherwise.
//
// Threads: _new, _listen and _free on one thread; _reply from any.
#pragma once
#include "run/executor.h"
#include "server/session.h"

enum {
    BM_CONTEXTS_MAX = 16384,   // requests on their way, of all peers
    BM_PEER_REQUESTS_MAX = 64, // of one connection; more are answered RESOURCE_EXHAUSTED, or not
                               // at all when it does not read
    // How long an answer may wait for the peer to read the one before it, for whose length there
    // is more time.
    BM_SEND_TIMEOUT_MS = 2000,
    BM_SEND_BYTES_PER_MS_MIN = 1024,
};

struct bm_transport;

// Requests go to `session`, with the mutex of `executor`; both are borrowed. Every thread that
// nng starts ignores signals.
enum bm_status bm_transport_new(struct bm_executor *executor, struct bm_session *session,
                                struct bm_transport **ret_transport, struct bm_error *err);
// tcp://host:port, ipc:///path, ws://host:port/path or inproc://name; port 0 takes a free one.
enum bm_status bm_transport_listen(struct bm_transport *transport, const char *url, bool insecure,
                                   struct bm_error *err);
const char *bm_transport_url(const struct bm_transport *transport, unsigned i); // as bound

// For bm_session_host.reply: sends exchange->reply and takes the exchange back.
void bm_transport_reply(struct bm_exchange *exchange);

// The session is closed and flushed, and only nng's own threads may still flush it. NULL is fine.
void bm_transport_free(struct bm_transport *transport);
