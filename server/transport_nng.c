#include "server/transport_nng.h"

#include <arpa/inet.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1 // a table that cannot grow leaves hh.tbl NULL
#include <uthash.h>

#include "base/mutex.h"
#include "server/codec.h"
#include "server/config.h"

// A context goes round: nng has it until a request came, the session until the answer is known,
// nng again until it is sent. Its aio's callback is what happens at the end of nng's turns.
//
//   RECEIVING -> ANSWERING -> SENDING -> RECEIVING
//
// Mutexes are taken in the order executor, transport, session's line of answers.

enum { CONTEXTS_AT_FIRST = 32, CONTEXTS_SPARE = 16 };

struct peer {    // a connection
    uint32_t id; // of its pipe
    UT_hash_handle hh;
    struct bm_list contexts; // that hold a request of it
    unsigned ncontexts;
    bool gone; // written with both mutexes held; freed when its last context is done
};

struct context {
    struct bm_transport *transport;
    nng_ctx ctx;
    nng_aio *aio;
    bool sending; // else receiving
    struct bm_exchange exchange;
    nng_pipe pipe;
    struct peer *peer; // NULL while receiving
    struct bm_node node;
};

struct bm_transport {
    struct bm_executor *executor;
    struct bm_session *session;
    nng_socket socket;
    unsigned nlisteners;
    nng_listener listeners[BM_LISTEN_MAX];
    char *urls[BM_LISTEN_MAX];
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

// The number of requests of this peer that are on their way now, or 0: it is gone.
static unsigned context_join(struct context *context, nng_pipe pipe)
{
    struct bm_transport *transport = context->transport;
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    unsigned ncontexts = 0;
    struct peer *peer = NULL;
    bm_mutex_lock(&transport->mutex);
    HASH_FIND(hh, transport->peers, &id, sizeof id, peer);
    if (peer != NULL) {
        bm_list_push_back(&peer->contexts, &context->node);
        ncontexts = ++peer->ncontexts;
    }
    context->peer = peer;
    context->pipe = pipe;
    bm_mutex_unlock(&transport->mutex);
    return ncontexts;
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
    unsigned nrequests = context_join(context, nng_msg_get_pipe(msg));
    struct bm_error error;
    enum bm_status status =
        bm_request_decode(nng_msg_body(msg), nng_msg_len(msg), &exchange->request, &error);
    nng_msg_free(msg);
    if (status == BM_OK && nrequests > BM_PEER_REQUESTS_MAX)
        status = bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL,
                         "expected at most %d unanswered requests on a connection, got one more",
                         BM_PEER_REQUESTS_MAX);
    executor->enter(executor);
    bool wanted = nrequests > 0 && nrequests < BM_PEER_REQUESTS_CUT_OFF && !context->peer->gone;
    if (wanted && status == BM_OK)
        bm_session_request(transport->session, exchange);
    else if (wanted)
        bm_session_refuse(transport->session, exchange, &error);
    executor->leave(executor);
    if (wanted)
        return; // and the context may be anywhere by now
    nng_pipe_close(context->pipe);
    context_done(context);
}

static void context_event(void *arg);

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
        if (rv != NNG_ECLOSED && rv != NNG_ECANCELED)
            nng_pipe_close(context->pipe); // it does not read what it asked for
    }
    context_done(context);
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

void bm_transport_reply(struct bm_exchange *exchange)
{
    struct context *context = BM_CONTAINER(exchange, struct context, exchange);
    nng_msg *msg = reply_message(&exchange->reply);
    bm_exchange_fini(exchange); // a slow peer keeps the message waiting, not the batches
    if (msg == NULL) {
        nng_pipe_close(context->pipe);
        context_done(context);
        return;
    }
    context->sending = true;
    nng_aio_set_msg(context->aio, msg);
    nng_aio_set_timeout(context->aio, BM_SEND_TIMEOUT_MS);
    nng_ctx_send(context->ctx, context->aio);
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
                             "the data; insecure allows it");
    } else if (!text_is_one_of(url->u_scheme, local)) {
        status = bm_fail(err, BM_INVALID_ARGUMENT, text,
                         "expected tcp, ipc, ws or inproc as its scheme, got %s", url->u_scheme);
    }
    nng_url_free(url);
    return status;
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
    nng_listener listener;
    char *bound = NULL;
    int rv = nng_listener_create(&listener, transport->socket, url);
    if (rv != 0)
        return transport_fail(err, url, "cannot listen", rv);
    // A peer whose machine is gone says nothing, and would stay for ever. Not every transport has
    // it.
    (void)nng_listener_set_bool(listener, NNG_OPT_TCP_KEEPALIVE, true);
    if ((rv = nng_listener_start(listener, 0)) != 0 ||
        (rv = nng_listener_get_string(listener, NNG_OPT_URL, &bound)) != 0) {
        nng_listener_close(listener);
        return transport_fail(err, url, "cannot listen", rv);
    }
    transport->listeners[transport->nlisteners] = listener;
    transport->urls[transport->nlisteners++] = bound;
    return BM_OK;
}

const char *bm_transport_url(const struct bm_transport *transport, unsigned i)
{
    return i < transport->nlisteners ? transport->urls[i] : NULL;
}

void bm_transport_close_listeners(struct bm_transport *transport)
{
    for (unsigned i = 0; i < transport->nlisteners; i++) {
        nng_listener_close(transport->listeners[i]);
        nng_strfree(transport->urls[i]);
    }
    transport->nlisteners = 0;
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
    transport->stopping = true; // no context is added from here on
    bm_mutex_unlock(&transport->mutex);
    bm_transport_close_listeners(transport);
    nng_close(transport->socket); // returns when every pipe is gone and said so
    // A callback of one context may hand out the answer of another, so all stop before one goes.
    for (unsigned i = 0; i < transport->ncontexts; i++)
        nng_aio_stop(transport->contexts[i]->aio);
    for (unsigned i = 0; i < transport->ncontexts; i++)
        context_free(transport->contexts[i]);
    BM_ASSERT(transport->peers == NULL);
    bm_mutex_fini(&transport->mutex);
    free(transport);
}
