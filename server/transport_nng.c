#include "server/transport_nng.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/supplemental/util/platform.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define HASH_NONFATAL_OOM 1 // a table that cannot grow leaves hh.tbl NULL
#include <uthash.h>

#include "base/mutex.h"
#include "server/codec.h"
#include "server/config.h"

// A context goes round: nng has it until a request came, the session until the answer is known,
// nng again until it is sent. Its aio's callback is what happens at the end of nng's turns.
//
//   RECEIVING -> ANSWERING -> (in line) -> SENDING -> RECEIVING
//
// Of each peer one answer at a time becomes bytes and waits for the peer to read the one before;
// those in line stay what they are, references to batches, so that a slow peer costs little. When
// a peer reads too slowly its requests are dropped, which for it is a lost message like any other:
// it asks again. Its connection is left alone: nng 1.5.2 forgets a receive whose connection it
// closes between two parts of a message, and then waits for its end for ever (its issues 616 and
// 1636). For the same reason connections are shut down under nng before it closes them at the end.
//
// Mutexes are taken in the order executor, transport, session's line of answers.

enum { CONTEXTS_AT_FIRST = 32, CONTEXTS_SPARE = 16, HANG_UP_MS = 2000 };

struct peer {    // a connection
    uint32_t id; // of its pipe
    UT_hash_handle hh;
    struct bm_list contexts; // that hold a request of it
    unsigned ncontexts;
    struct bm_list line; // of contexts whose answer waits for the one being sent
    bool sending;
    bool stalled;       // the last one could not be sent in time
    size_t ahead_bytes; // of the message before the one being sent; whose turn it is
    bool gone;          // written with both mutexes held; freed when its last context is done
};

struct context {
    struct bm_transport *transport;
    nng_ctx ctx;
    nng_aio *aio;
    bool sending; // else receiving
    struct bm_exchange exchange;
    struct peer *peer; // NULL while receiving
    struct bm_node node, line_node;
};

struct listener {
    nng_listener raw;
    nng_sockaddr address;
    char *url;
};

struct bm_transport {
    struct bm_executor *executor;
    struct bm_session *session;
    nng_socket socket;
    unsigned nlisteners;
    struct listener listeners[BM_LISTEN_MAX];
    struct bm_mutex mutex; // of what follows
    struct peer *peers;    // uthash
    unsigned nreceiving, ncontexts;
    bool stopping;
    struct context *contexts[BM_CONTEXTS_MAX];
};

static enum bm_status transport_fail(struct bm_error *err, const char *where, const char *what,
                                     int rv)
{
    enum bm_status status = rv == NNG_ENOMEM ? BM_RESOURCE_EXHAUSTED : BM_UNAVAILABLE;
    return bm_fail(err, status, where, "%s: %s", what, nng_strerror(rv));
}

// ---- Peers ----

static void peer_added(struct bm_transport *transport, nng_pipe pipe)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL) {
        nng_pipe_close(pipe);
        return;
    }
    peer->id = (uint32_t)nng_pipe_id(pipe);
    bm_list_init(&peer->contexts);
    bm_list_init(&peer->line);
    bm_mutex_lock(&transport->mutex);
    HASH_ADD(hh, transport->peers, id, sizeof peer->id, peer);
    bool added = peer->hh.tbl != NULL;
    bm_mutex_unlock(&transport->mutex);
    if (added)
        return;
    free(peer);
    nng_pipe_close(pipe);
}

// Nobody waits for the answers any more, so what waits for a batch need not.
static void peer_removed(struct bm_transport *transport, nng_pipe pipe)
{
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    struct bm_executor *executor = transport->executor;
    executor->enter(executor);
    bm_mutex_lock(&transport->mutex);
    struct peer *peer = NULL;
    HASH_FIND(hh, transport->peers, &id, sizeof id, peer);
    if (peer != NULL) {
        HASH_DELETE(hh, transport->peers, peer);
        peer->gone = true;
        struct bm_node *end = &peer->contexts.head;
        for (struct bm_node *node = end->next; node != end; node = node->next)
            bm_session_abandon(transport->session,
                               &BM_CONTAINER(node, struct context, node)->exchange);
        if (peer->ncontexts == 0)
            free(peer);
    }
    bm_mutex_unlock(&transport->mutex);
    executor->leave(executor);
}

static void transport_pipe_event(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    if (event == NNG_PIPE_EV_ADD_PRE)
        peer_added(arg, pipe);
    else
        peer_removed(arg, pipe);
}

enum verdict { TAKE, REFUSE, DROP };

// What to do with the request that `context` received. Unless it is dropped, it belongs to its peer
// from here on.
static enum verdict context_join(struct context *context, nng_pipe pipe)
{
    struct bm_transport *transport = context->transport;
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    enum verdict verdict = DROP;
    struct peer *peer = NULL;
    bm_mutex_lock(&transport->mutex);
    if (!transport->stopping)
        HASH_FIND(hh, transport->peers, &id, sizeof id, peer);
    bool many = peer != NULL && peer->ncontexts >= BM_PEER_REQUESTS_MAX;
    if (peer != NULL && !(many && peer->sending) && !(peer->stalled && peer->ncontexts > 0)) {
        bm_list_push_back(&peer->contexts, &context->node);
        peer->ncontexts++;
        context->peer = peer;
        verdict = many ? REFUSE : TAKE;
    }
    bm_mutex_unlock(&transport->mutex);
    return verdict;
}

static void context_part(struct context *context)
{
    struct bm_transport *transport = context->transport;
    bm_mutex_lock(&transport->mutex);
    struct peer *peer = context->peer;
    context->peer = NULL;
    if (peer != NULL) {
        bm_list_remove(&context->node);
        if (--peer->ncontexts == 0 && peer->gone)
            free(peer);
    }
    bm_mutex_unlock(&transport->mutex);
}

// ---- One context on its round ----

static void context_receive(struct context *context)
{
    struct bm_transport *transport = context->transport;
    bm_mutex_lock(&transport->mutex);
    transport->nreceiving++;
    bm_mutex_unlock(&transport->mutex);
    context->sending = false;
    nng_aio_set_timeout(context->aio, NNG_DURATION_INFINITE);
    nng_ctx_recv(context->ctx, context->aio);
}

static void context_done(struct context *context) // with its request
{
    bm_exchange_fini(&context->exchange);
    context_part(context);
    context_receive(context);
}

static void context_request(struct context *context)
{
    struct bm_transport *transport = context->transport;
    struct bm_executor *executor = transport->executor;
    struct bm_exchange *exchange = &context->exchange;
    nng_msg *msg = nng_aio_get_msg(context->aio);
    nng_aio_set_msg(context->aio, NULL);
    struct bm_error error;
    enum bm_status status = BM_OK;
    enum verdict verdict = context_join(context, nng_msg_get_pipe(msg));
    if (verdict == REFUSE)
        status = bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL,
                         "expected at most %d unanswered requests on a connection, got one more",
                         BM_PEER_REQUESTS_MAX);
    else if (verdict == TAKE)
        status = bm_request_decode(nng_msg_body(msg), nng_msg_len(msg), &exchange->request, &error);
    nng_msg_free(msg);
    if (verdict == DROP) {
        context_done(context);
        return;
    }
    executor->enter(executor);
    bool gone = context->peer->gone;
    if (!gone && status == BM_OK)
        bm_session_request(transport->session, exchange);
    else if (!gone)
        bm_session_refuse(transport->session, exchange, &error);
    executor->leave(executor);
    if (gone) // else the context may be anywhere by now
        context_done(context);
}

static void context_event(void *arg);
static void context_sent(struct context *context, bool late);

static void context_free(struct context *context)
{
    if (context->aio != NULL && nng_aio_get_msg(context->aio) != NULL)
        nng_msg_free(nng_aio_get_msg(context->aio));
    nng_aio_free(context->aio);
    bm_exchange_fini(&context->exchange);
    context_part(context);
    free(context);
}

static int context_new(struct bm_transport *transport, struct context **ret_context)
{
    struct context *context = calloc(1, sizeof *context);
    if (context == NULL)
        return NNG_ENOMEM;
    context->transport = transport;
    int rv = nng_aio_alloc(&context->aio, context_event, context);
    if (rv == 0)
        rv = nng_ctx_open(&context->ctx, transport->socket);
    if (rv != 0) {
        context_free(context);
        return rv;
    }
    *ret_context = context;
    return 0;
}

// One more context, unless there are as many as there may be.
static int transport_grow(struct bm_transport *transport)
{
    struct context *context = NULL;
    int rv = context_new(transport, &context);
    if (rv != 0)
        return rv;
    bm_mutex_lock(&transport->mutex);
    bool keep = !transport->stopping && transport->ncontexts < BM_CONTEXTS_MAX;
    if (keep)
        transport->contexts[transport->ncontexts++] = context;
    bm_mutex_unlock(&transport->mutex);
    if (keep) {
        context_receive(context);
    } else {
        nng_ctx_close(context->ctx);
        context_free(context);
    }
    return 0;
}

static void transport_received(struct bm_transport *transport)
{
    bm_mutex_lock(&transport->mutex);
    bool few = --transport->nreceiving < CONTEXTS_SPARE && transport->ncontexts < BM_CONTEXTS_MAX &&
               !transport->stopping;
    bm_mutex_unlock(&transport->mutex);
    if (few)
        (void)transport_grow(transport); // without one more, requests wait for a free context
}

// On a thread of nng, which must not be held up.
static void context_event(void *arg)
{
    struct context *context = arg;
    int rv = nng_aio_result(context->aio);
    if (!context->sending) {
        if (rv != 0)
            return; // the socket is closing: a receive has no timeout
        transport_received(context->transport);
        context_request(context);
        return;
    }
    if (rv != 0) {
        nng_msg_free(nng_aio_get_msg(context->aio));
        nng_aio_set_msg(context->aio, NULL);
    }
    context_sent(context, rv == NNG_ETIMEDOUT);
}

// ---- Answering ----

static void *reply_alloc(void *arg, size_t size)
{
    nng_msg **msg = arg;
    return nng_msg_alloc(msg, size) == 0 ? nng_msg_body(*msg) : NULL;
}

// NULL: not even memory to say that there is none.
static nng_msg *reply_message(struct bm_reply *reply)
{
    struct bm_error error;
    for (int attempt = 0; attempt < 2; attempt++) {
        nng_msg *msg = NULL;
        if (bm_reply_encode(reply, reply_alloc, &msg, &error) == BM_OK)
            return msg;
        if (msg != NULL)
            nng_msg_free(msg);
        bm_reply_fini(reply);
        bm_reply_fail(reply, &error);
    }
    return NULL;
}

// False: nobody is there to read it, or there is no memory to say it.
static bool context_try_send(struct context *context)
{
    struct bm_transport *transport = context->transport;
    struct peer *peer = context->peer;
    bm_mutex_lock(&transport->mutex);
    bool gone = peer->gone;
    bm_mutex_unlock(&transport->mutex);
    nng_msg *msg = gone ? NULL : reply_message(&context->exchange.reply);
    if (msg == NULL)
        return false;
    bm_exchange_fini(&context->exchange); // what waits now is the message, not the batches
    size_t ahead_ms = peer->ahead_bytes / BM_SEND_BYTES_PER_MS_MIN;
    peer->ahead_bytes = nng_msg_len(msg);
    context->sending = true;
    nng_aio_set_msg(context->aio, msg);
    nng_aio_set_timeout(context->aio, (nng_duration)(BM_SEND_TIMEOUT_MS + ahead_ms));
    nng_ctx_send(context->ctx, context->aio);
    return true;
}

// Sends, and if that cannot be, sends the next in line; NULL is fine.
static void context_send(struct context *context)
{
    while (context != NULL && !context_try_send(context)) {
        struct bm_transport *transport = context->transport;
        struct peer *peer = context->peer;
        bm_mutex_lock(&transport->mutex);
        struct bm_node *next = bm_list_pop_front(&peer->line);
        peer->sending = next != NULL;
        bm_mutex_unlock(&transport->mutex);
        context_done(context);
        context = next == NULL ? NULL : BM_CONTAINER(next, struct context, line_node);
    }
}

// The turn of `context` is over. Late: its peer does not read, and who waits in line behind it
// would only wait in vain.
static void context_sent(struct context *context, bool late)
{
    struct bm_transport *transport = context->transport;
    struct peer *peer = context->peer;
    struct bm_list dropped;
    struct bm_node *node;
    bm_list_init(&dropped);
    bm_mutex_lock(&transport->mutex);
    peer->stalled = late;
    while (late && (node = bm_list_pop_front(&peer->line)) != NULL)
        bm_list_push_back(&dropped, node);
    struct bm_node *next = bm_list_pop_front(&peer->line);
    peer->sending = next != NULL;
    bm_mutex_unlock(&transport->mutex);
    context_done(context);
    while ((node = bm_list_pop_front(&dropped)) != NULL)
        context_done(BM_CONTAINER(node, struct context, line_node));
    if (next != NULL)
        context_send(BM_CONTAINER(next, struct context, line_node));
}

void bm_transport_reply(struct bm_exchange *exchange)
{
    struct context *context = BM_CONTAINER(exchange, struct context, exchange);
    struct bm_transport *transport = context->transport;
    struct peer *peer = context->peer;
    bm_mutex_lock(&transport->mutex);
    bool its_turn = !peer->sending;
    peer->sending = true;
    if (!its_turn)
        bm_list_push_back(&peer->line, &context->line_node);
    bm_mutex_unlock(&transport->mutex);
    if (its_turn)
        context_send(context);
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
    static const char *const remote[] = {"tcp", "tcp4", "tcp6", "ws", NULL};
    nng_url *url = NULL;
    if (nng_url_parse(&url, text) != 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, text,
                       "expected tcp://host:port, ipc:///path, ws://host:port/path or "
                       "inproc://name");
    enum bm_status status = BM_OK;
    if (text_is_one_of(url->u_scheme, remote)) {
        if (!insecure && !host_is_loopback(url->u_hostname))
            status = bm_fail(err, BM_PERMISSION_DENIED, text,
                             "expected an address of this machine alone (127.0.0.1, [::1] or "
                             "localhost), as every client that reaches another one could read "
                             "the data; a token or insecure allows it");
    } else if (!text_is_one_of(url->u_scheme, local)) {
        status = bm_fail(err, BM_INVALID_ARGUMENT, text,
                         "expected tcp, ipc, ws or inproc as its scheme, got %s", url->u_scheme);
    }
    nng_url_free(url);
    return status;
}

// The listener's URL with the port it got, or NULL: out of memory. The caller frees it.
static char *url_bound(nng_listener listener, const char *text)
{
    nng_url *url = NULL;
    char *bound = NULL;
    int port = 0;
    if (nng_url_parse(&url, text) != 0)
        return NULL;
    bool drawn = url->u_port != NULL && strcmp(url->u_port, "0") == 0 &&
                 nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port) == 0;
    if (!drawn)
        bound = strdup(text);
    else if (asprintf(&bound, strchr(url->u_hostname, ':') ? "%s://[%s]:%d%s" : "%s://%s:%d%s",
                      url->u_scheme, url->u_hostname, port, url->u_path) < 0)
        bound = NULL;
    nng_url_free(url);
    return bound;
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
    struct listener *listener = &transport->listeners[transport->nlisteners];
    int rv = nng_listener_create(&listener->raw, transport->socket, url);
    if (rv != 0)
        return transport_fail(err, url, "cannot listen", rv);
    // A peer whose machine is gone says nothing and would stay for ever. Not all transports have
    // it.
    (void)nng_listener_set_bool(listener->raw, NNG_OPT_TCP_KEEPALIVE, true);
    if ((rv = nng_listener_start(listener->raw, 0)) == 0 &&
        (listener->url = url_bound(listener->raw, url)) == NULL)
        rv = NNG_ENOMEM;
    if (rv != 0) {
        nng_listener_close(listener->raw);
        return transport_fail(err, url, "cannot listen", rv);
    }
    listener->address.s_family = NNG_AF_UNSPEC;
    if (strncmp(url, "ws", 2) != 0)
        (void)nng_listener_get_addr(listener->raw, NNG_OPT_LOCADDR, &listener->address);
    transport->nlisteners++;
    return BM_OK;
}

const char *bm_transport_url(const struct bm_transport *transport, unsigned i)
{
    return i < transport->nlisteners ? transport->listeners[i].url : NULL;
}

// ---- Hanging up ----

static bool listener_made(const struct listener *listener, const struct sockaddr_storage *local)
{
    const struct sockaddr_in *ip4 = (const void *)local;
    const struct sockaddr_in6 *ip6 = (const void *)local;
    const struct sockaddr_un *ipc = (const void *)local;
    switch (listener->address.s_family) {
    case NNG_AF_INET:
        return local->ss_family == AF_INET && ip4->sin_port == listener->address.s_in.sa_port;
    case NNG_AF_INET6:
        return local->ss_family == AF_INET6 && ip6->sin6_port == listener->address.s_in6.sa_port;
    case NNG_AF_IPC:
        return local->ss_family == AF_UNIX &&
               strncmp(ipc->sun_path, listener->address.s_ipc.sa_path, sizeof ipc->sun_path) == 0;
    default:
        return false;
    }
}

// Shuts down the listening sockets and the connections they made; returns how many there still are.
static unsigned transport_shut_down(const struct bm_transport *transport)
{
    unsigned nsockets = 0;
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) { // NOLINT: our own stream
        struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
        socklen_t size = sizeof local;
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (getsockname(fd, (struct sockaddr *)&local, &size) != 0)
            continue;
        for (unsigned i = 0; i < transport->nlisteners; i++) {
            if (listener_made(&transport->listeners[i], &local)) {
                shutdown(fd, SHUT_RDWR);
                nsockets++;
                break;
            }
        }
    }
    if (folder != NULL)
        closedir(folder);
    return nsockets;
}

static void transport_hang_up(const struct bm_transport *transport)
{
    unsigned nlistening = 0;
    for (unsigned i = 0; i < transport->nlisteners; i++)
        nlistening += transport->listeners[i].address.s_family != NNG_AF_UNSPEC &&
                      transport->listeners[i].address.s_family != NNG_AF_INPROC;
    for (unsigned ms = 0; ms < HANG_UP_MS && transport_shut_down(transport) > nlistening; ms++)
        nng_msleep(1);
}

// ---- Its life ----

static int transport_open(struct bm_transport *transport)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // the first call starts nng's threads
    int rv = nng_rep0_open(&transport->socket);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rv != 0)
        return rv;
    nng_socket socket = transport->socket;
    if ((rv = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, BM_REQUEST_BYTES_MAX)) != 0 ||
        (rv = nng_socket_set_int(socket, NNG_OPT_MAXTTL, 1)) != 0 || // no relays
        (rv = nng_pipe_notify(socket, NNG_PIPE_EV_ADD_PRE, transport_pipe_event, transport)) != 0 ||
        (rv = nng_pipe_notify(socket, NNG_PIPE_EV_REM_POST, transport_pipe_event, transport)) != 0)
        nng_close(socket);
    return rv;
}

enum bm_status bm_transport_new(struct bm_executor *executor, struct bm_session *session,
                                struct bm_transport **ret_transport, struct bm_error *err)
{
    struct bm_transport *transport = calloc(1, sizeof *transport);
    if (transport == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the sockets");
    transport->executor = executor;
    transport->session = session;
    int rv = transport_open(transport);
    if (rv != 0) {
        free(transport);
        return transport_fail(err, NULL, "cannot open a socket", rv);
    }
    bm_mutex_init(&transport->mutex);
    for (unsigned i = 0; i < CONTEXTS_AT_FIRST && rv == 0; i++)
        rv = transport_grow(transport);
    if (rv != 0) {
        bm_transport_free(transport);
        return transport_fail(err, NULL, "cannot open a socket's context", rv);
    }
    *ret_transport = transport;
    return BM_OK;
}

void bm_transport_free(struct bm_transport *transport)
{
    if (transport == NULL)
        return;
    bm_mutex_lock(&transport->mutex);
    transport->stopping = true; // no context is added, no request taken from here on
    bm_mutex_unlock(&transport->mutex);
    transport_hang_up(transport);
    nng_close(transport->socket); // returns when every pipe is gone and said so
    // A callback of one context may hand out the answer of another, so all stop before one goes.
    for (unsigned i = 0; i < transport->ncontexts; i++)
        nng_aio_stop(transport->contexts[i]->aio);
    for (unsigned i = 0; i < transport->ncontexts; i++)
        context_free(transport->contexts[i]);
    for (unsigned i = 0; i < transport->nlisteners; i++)
        free(transport->listeners[i].url);
    BM_ASSERT(transport->peers == NULL);
    bm_mutex_fini(&transport->mutex);
    free(transport);
}
