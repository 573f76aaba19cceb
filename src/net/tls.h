// tls.h -- TLS 1.2 and 1.3 on a connected socket that never blocks.
// Layer: net (may include base; OpenSSL).
//
// A context is what one side shows and whom it believes. A server shows a certificate, and asks
// for the client's when it has a `ca`; a client believes only servers whose certificate `ca` (or
// the system's authorities) signed for the name that the client expects. There is no way to skip
// that.
//
// A read takes in at most one record and leaves nothing of it behind when its buffer has room for
// BM_TLS_RECORD_BYTES: what is still to come lies in the socket, where poll() sees it.
//
// Threads: a context any. Of a connection one thread reads and one writes, at once if they like,
// after the handshake.
#pragma once
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/error.h"

enum { BM_TLS_RECORD_BYTES = 16384, BM_TLS_NAME_MAX = 255 };

enum bm_tls_side { BM_TLS_CLIENT, BM_TLS_SERVER };

struct bm_tls_files {        // in PEM; NULL: none
    const char *certificate; // and those that lead from it to the authority's
    const char *key;         // without passphrase, in a file that only its owner can read
    const char *ca;          // of those to be believed
};

struct bm_tls_context;
enum bm_status bm_tls_context_new(enum bm_tls_side side, const struct bm_tls_files *files,
                                  struct bm_tls_context **ret_context, struct bm_error *err);
void bm_tls_context_free(struct bm_tls_context *context); // its connections are gone; NULL is fine

struct bm_tls;
// `fd` is borrowed. `name`: of a client, the host name or the address that the certificate must be
// for; of a server NULL.
enum bm_status bm_tls_new(struct bm_tls_context *context, int fd, const char *name,
                          struct bm_tls **ret_tls, struct bm_error *err);
// Says goodbye first, if the socket takes that at once; it is still open. NULL is fine.
void bm_tls_free(struct bm_tls *tls);

// 0: done; POLLIN, POLLOUT: call again when the socket is that; -1: failed.
int bm_tls_handshake(struct bm_tls *tls);
// As recv() and sendmsg() of a socket that does not block: -1 with EAGAIN, or for good.
ssize_t bm_tls_recv(struct bm_tls *tls, void *bytes, size_t size);
ssize_t bm_tls_send(struct bm_tls *tls, const struct iovec *pieces, size_t npieces);
// What to wait for after bm_tls_recv() said EAGAIN: POLLIN, as a rule. The reader's thread.
int bm_tls_awaits(const struct bm_tls *tls);
// Why handshake or recv failed, with the status as the result. UNAVAILABLE: the connection broke;
// PERMISSION_DENIED: a certificate was not accepted; INVALID_ARGUMENT: the peer does not speak TLS.
enum bm_status bm_tls_failure(const struct bm_tls *tls, struct bm_error *err);
