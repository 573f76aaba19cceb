// server.h -- a whole server in a process: pool, scheduler, session, sockets.
// Layer: server (may include src/). Used by `batchmill serve` and, over inproc://, by a client
// that brings its server along.
//
// It stops from the inside out: every stream is closed and its waiting requests are answered, the
// workers finish their steps, then the connections are shut down. Threads that it starts ignore
// signals.
//
// Threads: _start and _stop on one thread; the rest from any.
#pragma once
#include "net/tls.h"
#include "server/config.h"
#include "server/token.h"
#include "server/transport.h"

struct bm_server;

struct bm_server_config {
    struct bm_catalog *catalog;           // borrowed until stopped
    const struct bm_registrar *registrar; // NULL: clients may not register. Likewise
    const char *const *listen;            // URLs: tcp:// tls+tcp:// ipc:// ws:// inproc://
    unsigned nlisten;
    unsigned workers;             // 0 = one per CPU
    uint64_t memory_bytes;        // 0 = unlimited
    uint32_t lease_ms;            // 0 = the default
    const struct bm_token *token; // that clients must have; NULL: none. Borrowed until stopped
    struct bm_tls_files tls;      // for tls+tcp://; all NULL: none. Read when it starts
    struct bm_remote *remote;     // actions that others may lend; NULL: none. As the catalog
    const struct bm_token *lender_token; // for those who lend them; NULL: the same. Borrowed
    void (*note)(const char *text);      // a sentence for the log, from any thread; NULL: none
    bool insecure;                       // allow listening beyond loopback without a token
    bool no_shared_memory;               // every batch goes by the socket
};

enum bm_status bm_server_start(const struct bm_server_config *config, struct bm_server **ret_server,
                               struct bm_error *err);
const char *bm_server_url(const struct bm_server *server, unsigned i);  // as bound: port 0 resolved
struct bm_connection_counts bm_server_counts(struct bm_server *server); // of its connections
void bm_server_drain(struct bm_server *server);                         // refuse new streams
bool bm_server_idle(struct bm_server *server);                          // nothing open any more
void bm_server_stop(struct bm_server *server); // at the next action boundaries; frees it
