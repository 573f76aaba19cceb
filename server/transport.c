#include "server/transport.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/socket.h"
#include "server/codec.h"
#include "server/config.h"
#include "server/transport_type.h"

struct bm_transport {
    struct bm_transport_config config;
    struct bm_hub *hub; // each made when a URL needs it
    struct bm_rep *rep;
    unsigned nlisteners;
    char *urls[BM_LISTEN_MAX];
};

enum bm_status bm_transport_fail(struct bm_error *err, const char *where, const char *what, int rv)
{
    enum bm_status status = rv == NNG_ENOMEM ? BM_RESOURCE_EXHAUSTED : BM_UNAVAILABLE;
    return bm_fail(err, status, where, "%s: %s", what, nng_strerror(rv));
}

// ---- Replies ----

static void *reply_alloc(void *arg, size_t size)
{
    nng_msg **msg = arg;
    return nng_msg_alloc(msg, size) == 0 ? nng_msg_body(*msg) : NULL;
}

nng_msg *bm_transport_message(struct bm_reply *reply)
{
    struct bm_error error;
    for (int attempt = 0; attempt < 2; attempt++) {
        nng_msg *msg = NULL;
        if (bm_reply_encode(reply, reply_alloc, &msg, &error) == BM_OK)
            return msg;
        nng_msg_free(msg);
        bm_reply_fini(reply);
        bm_reply_fail(reply, &error);
    }
    return NULL;
}

// ---- Listening ----

static bool host_is_loopback(const char *host)
{
    struct in_addr ip4;
    struct in6_addr ip6;
    if (inet_pton(AF_INET, host, &ip4) == 1)
        return ntohl(ip4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &ip6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&ip6);
    return strcmp(host, "localhost") == 0;
}

static bool text_is_one_of(const char *text, const char *const *list)
{
    while (*list != NULL && strcmp(text, *list) != 0)
        list++;
    return *list != NULL;
}

static enum bm_status url_check(const char *text, bool insecure, struct bm_error *err)
{
    static const char *const local[] = {"ipc", "unix", "abstract", "inproc", NULL};
    static const char *const remote[] = {"tcp",      "tcp4",     "tcp6", "tls+tcp",
                                         "tls+tcp4", "tls+tcp6", "ws",   NULL};
    nng_url *url = NULL;
    if (nng_url_parse(&url, text) != 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, text,
                       "expected tcp://host:port, tls+tcp://host:port, ipc:///path, "
                       "ws://host:port/path or inproc://name");
    enum bm_status status = BM_OK;
    if (text_is_one_of(url->u_scheme, remote)) {
        if (!insecure && !host_is_loopback(url->u_hostname))
            status = bm_fail(err, BM_PERMISSION_DENIED, text,
                             "expected an address of this machine alone (127.0.0.1, [::1] or "
                             "localhost), as every client that reaches another one could read "
                             "the data; a token or insecure allows it");
    } else if (!text_is_one_of(url->u_scheme, local)) {
        status = bm_fail(err, BM_INVALID_ARGUMENT, text,
                         "expected tcp, tls+tcp, ipc, ws or inproc as its scheme, got %s",
                         url->u_scheme);
    }
    nng_url_free(url);
    return status;
}

// The URL with the port it got, or NULL: out of memory. The caller frees it.
static char *url_bound(const char *text, int port)
{
    nng_url *url = NULL;
    char *bound = NULL;
    if (nng_url_parse(&url, text) != 0)
        return NULL;
    bool drawn = url->u_port != NULL && strcmp(url->u_port, "0") == 0 && port != 0;
    if (!drawn)
        bound = strdup(text);
    else if (asprintf(&bound, strchr(url->u_hostname, ':') ? "%s://[%s]:%d%s" : "%s://%s:%d%s",
                      url->u_scheme, url->u_hostname, port, url->u_path) < 0)
        bound = NULL;
    nng_url_free(url);
    return bound;
}

static enum bm_status transport_start(struct bm_transport *transport, const char *url,
                                      int *ret_port, struct bm_error *err)
{
    enum bm_status status = BM_OK;
    if (bm_url_is_tls(url) && transport->config.tls == NULL)
        return bm_fail(err, BM_FAILED_PRECONDITION, url,
                       "expected a certificate and its key to show (tls: in the configuration, "
                       "--tls-certificate and --tls-key), got none");
    if (bm_url_is_tcp(url) || bm_url_is_tls(url) || bm_url_is_ipc(url)) {
        if (transport->hub == NULL)
            status = bm_hub_new(&transport->config, &transport->hub, err);
        return status == BM_OK ? bm_hub_listen(transport->hub, url, ret_port, err) : status;
    }
    if (transport->rep == NULL)
        status = bm_rep_new(&transport->config, &transport->rep, err);
    return status == BM_OK ? bm_rep_listen(transport->rep, url, ret_port, err) : status;
}

enum bm_status bm_transport_listen(struct bm_transport *transport, const char *url, bool insecure,
                                   struct bm_error *err)
{
    enum bm_status status = url_check(url, insecure, err);
    if (status != BM_OK)
        return status;
    if (transport->nlisteners == BM_LISTEN_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, url, "expected at most %d addresses to listen on",
                       BM_LISTEN_MAX);
    int port = 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // the first call starts nng's threads
    status = transport_start(transport, url, &port, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != BM_OK)
        return status;
    char *bound = url_bound(url, port);
    if (bound == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, url, "out of memory for an address");
    transport->urls[transport->nlisteners++] = bound;
    return BM_OK;
}

const char *bm_transport_url(const struct bm_transport *transport, unsigned i)
{
    return i < transport->nlisteners ? transport->urls[i] : NULL;
}

struct bm_connection_counts bm_transport_counts(struct bm_transport *transport)
{
    return transport->hub == NULL ? (struct bm_connection_counts){0}
                                  : bm_hub_counts(transport->hub);
}

// ---- Its life ----

enum bm_status bm_transport_new(const struct bm_transport_config *config,
                                struct bm_transport **ret_transport, struct bm_error *err)
{
    struct bm_transport *transport = calloc(1, sizeof *transport);
    if (transport == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the sockets");
    transport->config = *config;
    *ret_transport = transport;
    return BM_OK;
}

void bm_transport_free(struct bm_transport *transport)
{
    if (transport == NULL)
        return;
    bm_hub_free(transport->hub);
    bm_rep_free(transport->rep);
    for (unsigned i = 0; i < transport->nlisteners; i++)
        free(transport->urls[i]);
    free(transport);
}
