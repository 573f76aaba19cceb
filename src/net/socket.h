// socket.h -- tcp, tls and ipc: addresses as URLs, and sockets that never block.
// Layer: net (may include base).
//
// tcp://host:port (tcp4, tcp6: of that family only; host "" or "*": every address of this machine),
// tls+tcp://host:port (likewise; what is said over the socket is channel.h's matter),
// ipc:///path or unix:///path (a socket file), abstract://name (Linux: one without a file).
//
// Threads: any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

enum { BM_ADDRESSES_MAX = 8, BM_URL_HOST_MAX = 255 };

struct bm_address {
    struct sockaddr_storage storage;
    socklen_t size;
};
struct bm_addresses { // what one URL means, in the order in which to try them
    unsigned n;
    struct bm_address list[BM_ADDRESSES_MAX];
};

bool bm_url_is_tcp(const char *url); // plain
bool bm_url_is_tls(const char *url);
bool bm_url_is_ipc(const char *url); // a message on it begins with another byte: see transport

// INVALID_ARGUMENT: it can never work. Asks nobody.
enum bm_status bm_url_check(const char *url, struct bm_error *err);
// Of a URL with a host: what its server should be called; this machine is "localhost".
enum bm_status bm_url_host(const char *url, char ret_host[BM_URL_HOST_MAX + 1],
                           struct bm_error *err);
// May wait for a name server. INVALID_ARGUMENT: the URL can never work; UNAVAILABLE: nobody knows
// the host right now. `passive`: to listen.
enum bm_status bm_url_resolve(const char *url, bool passive, struct bm_addresses *ret_addresses,
                              struct bm_error *err);

// Listens; a socket file that a dead process left behind is replaced. *ret_port: the one it got.
enum bm_status bm_socket_listen(const struct bm_address *address, int *ret_fd, int *ret_port,
                                struct bm_error *err);
// Removes the socket file, if there is one.
void bm_socket_unlisten(const struct bm_address *address);
// The next connection, or -1 with errno; EAGAIN: nobody is waiting.
int bm_socket_accept(int listener, struct bm_address *ret_from);
// Begins to connect; when the socket can be written, bm_socket_error() says how it ended. -1:
// errno.
int bm_socket_connect(const struct bm_address *address);
int bm_socket_error(int fd); // 0 or an errno

bool bm_address_is_local(const struct bm_address *address); // of this machine alone
bool bm_address_equal(const struct bm_address *a, const struct bm_address *b); // but for the port
