// transport_type.h -- the two ways in which requests come. Layer: server (private; nng).
//
// transport.c picks one by the URL: transport_hub.c and transport_peer.c speak the protocol of
// nng's REP on sockets of their own (tcp, tls+tcp, ipc), transport_nng.c leaves it to nng's socket
// (inproc, ws). Threads: as transport.h says; listen, stop and free on one thread.
#pragma once
#include <nng/nng.h>

#include "server/transport.h"

// nng's own REP socket, with a context per request.
struct bm_rep;
enum bm_status bm_rep_new(const struct bm_transport_config *config, struct bm_rep **ret_rep,
                          struct bm_error *err);
// *ret_port: the port it got, when the URL's is 0.
enum bm_status bm_rep_listen(struct bm_rep *rep, const char *url, int *ret_port,
                             struct bm_error *err);
void bm_rep_free(struct bm_rep *rep);

// Sockets and a thread of our own.
struct bm_hub;
enum bm_status bm_hub_new(const struct bm_transport_config *config, struct bm_hub **ret_hub,
                          struct bm_error *err);
enum bm_status bm_hub_listen(struct bm_hub *hub, const char *url, int *ret_port,
                             struct bm_error *err);
struct bm_connection_counts bm_hub_counts(struct bm_hub *hub);
void bm_hub_free(struct bm_hub *hub);

// The reply as bytes; after a failure the error of that. NULL: not even memory to say so.
nng_msg *bm_transport_message(struct bm_reply *reply);
enum bm_status bm_transport_fail(struct bm_error *err, const char *where, const char *what, int rv);
