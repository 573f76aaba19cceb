// transport.h -- one connection to a server: requests out, replies back.
// Layer: client/c (may include base).
//
// Any number of calls are under way at once, and their replies come in any order. A lost connection
// is made again for as long as the transport lives, and every request without a reply is sent
// again by itself: callers see a late reply, never a lost one. That needs requests that may
// arrive twice, which ours may. On the wire it is nng's REQ; only the files transport*.c know nng.
//
// Threads: any thread. Callbacks come on nng's threads, with no mutex held; they must not block,
// and must not free the call or timer that they belong to.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batchmill/client.h"

enum {
    // A server answers every request at the latest after this, if only with "not yet".
    BM_CLIENT_WAIT_MS = 5000,
    // A lost connection makes nng send again at once. Its timer is for what that cannot see, so
    // it only has to be longer than an honest answer takes: short of that, each parked request
    // would travel over and over.
    BM_CLIENT_RESEND_MS = BM_CLIENT_WAIT_MS + 1000,
    BM_CLIENT_RECONNECT_MS = 50, // doubles up to
    BM_CLIENT_RECONNECT_MAX_MS = 500,
};

// ---- Replies ----

struct bm_client_message; // a received message, shared by the batches that lie in it
struct bm_client_message *bm_client_message_ref(struct bm_client_message *message);
struct bm_client_message *bm_client_message_unref(struct bm_client_message *message); // NULL
const void *bm_client_message_data(const struct bm_client_message *message);
size_t bm_client_message_size(const struct bm_client_message *message);

// ---- The connection ----

struct bm_client_transport;
struct bm_tls_context;
struct bm_client_transport_config {
    const char *url; // borrowed until closed
    uint64_t max_message_bytes;
    void (*log)(void *context, const char *message); // may be NULL
    void *log_context;
    struct bm_tls_context *tls; // of tls+tcp://, and whom the server must be; borrowed
    const char *tls_name;
    // Before it was connected for the first time, calls to a server that is refused end: nobody
    // relies on it yet. Otherwise it is tried again, as it may be put right meanwhile.
    bool ends_when_refused;
};
// Does not wait for the connection. Fails on a URL that can never work.
enum batchmill_code bm_client_transport_open(const struct bm_client_transport_config *config,
                                             struct bm_client_transport **ret_transport,
                                             struct batchmill_error *error);
// A request that is sent first whenever the connection is made again, before all others. Over tcp,
// tls+tcp and ipc. False: out of memory.
bool bm_client_transport_hello(struct bm_client_transport *transport, const void *bytes,
                               size_t size);
// Every call has been freed. NULL is fine.
void bm_client_transport_close(struct bm_client_transport *transport);
// Whether it is connected, and since when it is or is not (bm_clock_system).
bool bm_client_transport_connected(struct bm_client_transport *transport, uint64_t *ret_since_ns);
// Whether what was found at the URL last is not whom to talk to, or does not want to; and why.
bool bm_client_transport_refused(struct bm_client_transport *transport,
                                 struct batchmill_error *ret_why);

// ---- Calls ----

struct bm_client_call; // carries one request at a time
// `done` gets the reply, which it then owns; NULL when there will be none.
struct bm_client_call *bm_client_call_new(struct bm_client_transport *transport,
                                          void (*done)(void *context,
                                                       struct bm_client_message *reply),
                                          void *context); // NULL: out of memory
// False: nothing was sent and `done` will not be called, since there is no memory, or the call is
// being freed. The call must not be under way; `done` may start it again.
bool bm_client_call_start(struct bm_client_call *call, const void *bytes, size_t size);
// Gives up on a reply that is not here yet; afterwards `done` neither runs nor will. Waits for
// no peer. NULL is fine.
void bm_client_call_free(struct bm_client_call *call);

// ---- Time ----

struct bm_client_timer;
// Calls `ring` every `period_ms` from now on. NULL: out of memory.
struct bm_client_timer *bm_client_timer_new(uint32_t period_ms, void (*ring)(void *context),
                                            void *context);
void bm_client_timer_free(struct bm_client_timer *timer); // afterwards `ring` does not run
