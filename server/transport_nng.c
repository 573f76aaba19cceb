// nng's own REP socket: for inproc and ws.
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1 // a table that cannot grow leaves hh.tbl NULL
#include <uthash.h>

#include "base/mutex.h"
#include "server/codec.h"
#include "server/transport_type.h"

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
// 1636).
//
// Mutexes are taken in the order executor, transport, session's line of answers.

enum { CONTEXTS_AT_FIRST = 32, CONTEXTS_SPARE = 16, SEND_BYTES_PER_MS_MIN = 1024 };

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
    struct bm_rep *rep;
    nng_ctx ctx;
    nng_aio *aio;
    bool sending; // else receiving
    struct bm_exchange exchange;
    struct peer *peer; // NULL while receiving
    struct bm_node node, line_node;
};

struct bm_rep {
    struct bm_executor *executor;
    struct bm_session *session;
    nng_socket socket;
    struct bm_mutex mutex; // of what follows
    struct peer *peers;    // uthash
    unsigned nreceiving, ncontexts;
    bool stopping;
    struct context *contexts[BM_CONTEXTS_MAX];
};

// ---- Peers ----

static void peer_added(struct bm_rep *rep, nng_pipe pipe)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL) {
        nng_pipe_close(pipe);
        return;
    }
    peer->id = (uint32_t)nng_pipe_id(pipe);
    bm_list_init(&peer->contexts);
    bm_list_init(&peer->line);
    bm_mutex_lock(&rep->mutex);
    HASH_ADD(hh, rep->peers, id, sizeof peer->id, peer);
    bool added = peer->hh.tbl != NULL;
    bm_mutex_unlock(&rep->mutex);
    if (added)
        return;
    free(peer);
    nng_pipe_close(pipe);
}

// Nobody waits for the answers any more, so what waits for a batch need not.
static void peer_removed(struct bm_rep *rep, nng_pipe pipe)
{
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    struct bm_executor *executor = rep->executor;
    executor->enter(executor);
    bm_mutex_lock(&rep->mutex);
    struct peer *peer = NULL;
    HASH_FIND(hh, rep->peers, &id, sizeof id, peer);
    if (peer != NULL) {
        HASH_DELETE(hh, rep->peers, peer);
        peer->gone = true;
        struct bm_node *end = &peer->contexts.head;
        for (struct bm_node *node = end->next; node != end; node = node->next)
            bm_session_abandon(rep->session, &BM_CONTAINER(node, struct context, node)->exchange);
        if (peer->ncontexts == 0)
            free(peer);
    }
    bm_mutex_unlock(&rep->mutex);
    executor->leave(executor);
}

static void rep_pipe_event(nng_pipe pipe, nng_pipe_ev event, void *arg)
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
    struct bm_rep *rep = context->rep;
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    enum verdict verdict = DROP;
    struct peer *peer = NULL;
    bm_mutex_lock(&rep->mutex);
    if (!rep->stopping)
        HASH_FIND(hh, rep->peers, &id, sizeof id, peer);
    bool many = peer != NULL && peer->ncontexts >= BM_PEER_REQUESTS_MAX;
    if (peer != NULL && !(many && peer->sending) && !(peer->stalled && peer->ncontexts > 0)) {
        bm_list_push_back(&peer->contexts, &context->node);
        peer->ncontexts++;
        context->peer = peer;
        verdict = many ? REFUSE : TAKE;
    }
    bm_mutex_unlock(&rep->mutex);
    return verdict;
}

static void context_part(struct context *context)
{
    struct bm_rep *rep = context->rep;
    bm_mutex_lock(&rep->mutex);
    struct peer *peer = context->peer;
    context->peer = NULL;
    if (peer != NULL) {
        bm_list_remove(&context->node);
        if (--peer->ncontexts == 0 && peer->gone)
            free(peer);
    }
    bm_mutex_unlock(&rep->mutex);
}

// ---- One context on its round ----

static void context_receive(struct context *context)
{
    struct bm_rep *rep = context->rep;
    bm_mutex_lock(&rep->mutex);
    rep->nreceiving++;
    bm_mutex_unlock(&rep->mutex);
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
    struct bm_rep *rep = context->rep;
    struct bm_executor *executor = rep->executor;
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
        bm_session_request(rep->session, exchange);
    else if (!gone)
        bm_session_refuse(rep->session, exchange, &error);
    executor->leave(executor);
    if (gone) // else the context may be anywhere by now
        context_done(context);
}

static void context_event(void *arg);
static void context_sent(struct context *context, bool late);
static void context_reply(struct bm_exchange *exchange);

static void context_free(struct context *context)
{
    if (context->aio != NULL && nng_aio_get_msg(context->aio) != NULL)
        nng_msg_free(nng_aio_get_msg(context->aio));
    nng_aio_free(context->aio);
    bm_exchange_fini(&context->exchange);
    context_part(context);
    free(context);
}

static int context_new(struct bm_rep *rep, struct context **ret_context)
{
    struct context *context = calloc(1, sizeof *context);
    if (context == NULL)
        return NNG_ENOMEM;
    context->rep = rep;
    context->exchange.send = context_reply;
    int rv = nng_aio_alloc(&context->aio, context_event, context);
    if (rv == 0)
        rv = nng_ctx_open(&context->ctx, rep->socket);
    if (rv != 0) {
        context_free(context);
        return rv;
    }
    *ret_context = context;
    return 0;
}

// One more context, unless there are as many as there may be.
static int rep_grow(struct bm_rep *rep)
{
    struct context *context = NULL;
    int rv = context_new(rep, &context);
    if (rv != 0)
        return rv;
    bm_mutex_lock(&rep->mutex);
    bool keep = !rep->stopping && rep->ncontexts < BM_CONTEXTS_MAX;
    if (keep)
        rep->contexts[rep->ncontexts++] = context;
    bm_mutex_unlock(&rep->mutex);
    if (keep) {
        context_receive(context);
    } else {
        nng_ctx_close(context->ctx);
        context_free(context);
    }
    return 0;
}

static void rep_received(struct bm_rep *rep)
{
    bm_mutex_lock(&rep->mutex);
    bool few =
        --rep->nreceiving < CONTEXTS_SPARE && rep->ncontexts < BM_CONTEXTS_MAX && !rep->stopping;
    bm_mutex_unlock(&rep->mutex);
    if (few)
        (void)rep_grow(rep); // without one more, requests wait for a free context
}

// On a thread of nng, which must not be held up.
static void context_event(void *arg)
{
    struct context *context = arg;
    int rv = nng_aio_result(context->aio);
    if (!context->sending) {
        if (rv != 0)
            return; // the socket is closing: a receive has no timeout
        rep_received(context->rep);
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

// False: nobody is there to read it, or there is no memory to say it.
static bool context_try_send(struct context *context)
{
    struct bm_rep *rep = context->rep;
    struct peer *peer = context->peer;
    bm_mutex_lock(&rep->mutex);
    bool gone = peer->gone;
    bm_mutex_unlock(&rep->mutex);
    nng_msg *msg = gone ? NULL : bm_transport_message(&context->exchange.reply);
    if (msg == NULL)
        return false;
    bm_exchange_fini(&context->exchange); // what waits now is the message, not the batches
    size_t ahead_ms = peer->ahead_bytes / SEND_BYTES_PER_MS_MIN;
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
        struct bm_rep *rep = context->rep;
        struct peer *peer = context->peer;
        bm_mutex_lock(&rep->mutex);
        struct bm_node *next = bm_list_pop_front(&peer->line);
        peer->sending = next != NULL;
        bm_mutex_unlock(&rep->mutex);
        context_done(context);
        context = next == NULL ? NULL : BM_CONTAINER(next, struct context, line_node);
    }
}

// The turn of `context` is over. Late: its peer does not read, and who waits in line behind it
// would only wait in vain.
static void context_sent(struct context *context, bool late)
{
    struct bm_rep *rep = context->rep;
    struct peer *peer = context->peer;
    struct bm_list dropped;
    struct bm_node *node;
    bm_list_init(&dropped);
    bm_mutex_lock(&rep->mutex);
    peer->stalled = late;
    while (late && (node = bm_list_pop_front(&peer->line)) != NULL)
        bm_list_push_back(&dropped, node);
    struct bm_node *next = bm_list_pop_front(&peer->line);
    peer->sending = next != NULL;
    bm_mutex_unlock(&rep->mutex);
    context_done(context);
    while ((node = bm_list_pop_front(&dropped)) != NULL)
        context_done(BM_CONTAINER(node, struct context, line_node));
    if (next != NULL)
        context_send(BM_CONTAINER(next, struct context, line_node));
}

static void context_reply(struct bm_exchange *exchange)
{
    struct context *context = BM_CONTAINER(exchange, struct context, exchange);
    struct bm_rep *rep = context->rep;
    struct peer *peer = context->peer;
    bm_mutex_lock(&rep->mutex);
    bool its_turn = !peer->sending;
    peer->sending = true;
    if (!its_turn)
        bm_list_push_back(&peer->line, &context->line_node);
    bm_mutex_unlock(&rep->mutex);
    if (its_turn)
        context_send(context);
}

// ---- Its life ----

static int rep_open(struct bm_rep *rep)
{
    int rv = nng_rep0_open(&rep->socket);
    if (rv != 0)
        return rv;
    nng_socket socket = rep->socket;
    if ((rv = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, BM_REQUEST_BYTES_MAX)) != 0 ||
        (rv = nng_socket_set_int(socket, NNG_OPT_MAXTTL, 1)) != 0 || // no relays
        (rv = nng_pipe_notify(socket, NNG_PIPE_EV_ADD_PRE, rep_pipe_event, rep)) != 0 ||
        (rv = nng_pipe_notify(socket, NNG_PIPE_EV_REM_POST, rep_pipe_event, rep)) != 0)
        nng_close(socket);
    return rv;
}

enum bm_status bm_rep_new(const struct bm_transport_config *config, struct bm_rep **ret_rep,
                          struct bm_error *err)
{
    struct bm_rep *rep = calloc(1, sizeof *rep);
    if (rep == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the sockets");
    rep->executor = config->executor;
    rep->session = config->session;
    int rv = rep_open(rep);
    if (rv != 0) {
        free(rep);
        return bm_transport_fail(err, NULL, "cannot open a socket", rv);
    }
    bm_mutex_init(&rep->mutex);
    for (unsigned i = 0; i < CONTEXTS_AT_FIRST && rv == 0; i++)
        rv = rep_grow(rep);
    if (rv != 0) {
        bm_rep_free(rep);
        return bm_transport_fail(err, NULL, "cannot open a socket's context", rv);
    }
    *ret_rep = rep;
    return BM_OK;
}

enum bm_status bm_rep_listen(struct bm_rep *rep, const char *url, int *ret_port,
                             struct bm_error *err)
{
    nng_listener listener;
    int rv = nng_listener_create(&listener, rep->socket, url);
    if (rv != 0)
        return bm_transport_fail(err, url, "cannot listen", rv);
    // A peer whose machine is gone says nothing and would stay for ever. Not all transports have
    // it.
    (void)nng_listener_set_bool(listener, NNG_OPT_TCP_KEEPALIVE, true);
    rv = nng_listener_start(listener, 0);
    if (rv != 0) {
        nng_listener_close(listener);
        return bm_transport_fail(err, url, "cannot listen", rv);
    }
    (void)nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, ret_port);
    return BM_OK;
}

void bm_rep_free(struct bm_rep *rep)
{
    if (rep == NULL)
        return;
    bm_mutex_lock(&rep->mutex);
    rep->stopping = true; // no context is added, no request taken from here on
    bm_mutex_unlock(&rep->mutex);
    nng_close(rep->socket); // returns when every pipe is gone and said so
    // A callback of one context may hand out the answer of another, so all stop before one goes.
    for (unsigned i = 0; i < rep->ncontexts; i++)
        nng_aio_stop(rep->contexts[i]->aio);
    for (unsigned i = 0; i < rep->ncontexts; i++)
        context_free(rep->contexts[i]);
    BM_ASSERT(rep->peers == NULL);
    bm_mutex_fini(&rep->mutex);
    free(rep);
}
