// The sockets of nng: for inproc and ws. A context per call.
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/list.h"
#include "base/mutex.h"
#include "client/c/error.h"
#include "client/c/transport_type.h"

// ---- The connection ----

struct req {
    struct bm_client_transport base;
    nng_socket socket;
    struct bm_client_transport_config config;
    struct bm_mutex mutex;
    struct bm_cond idle; // some call is not busy any more
    unsigned npipes;     // connections; the mutex
    bool was_connected;  // the mutex
    bool closing;        // the mutex
    uint64_t since_ns;   // when it was made or lost; the mutex
};

static struct req *req_of(struct bm_client_transport *transport)
{
    return BM_CONTAINER(transport, struct req, base);
}

static void req_pipe(nng_pipe pipe, nng_pipe_ev event, void *context)
{
    (void)pipe;
    struct req *req = context;
    bool added = event == NNG_PIPE_EV_ADD_POST;
    bm_mutex_lock(&req->mutex);
    bool back = added && req->was_connected && req->npipes == 0;
    if (added)
        req->npipes++;
    else if (req->npipes > 0)
        req->npipes--;
    bool lost = !added && req->npipes == 0 && !req->closing;
    req->was_connected |= added;
    req->since_ns = bm_client_transport_now_ns();
    bm_mutex_unlock(&req->mutex);
    if (back)
        bm_client_transport_log(&req->config, "the connection is back");
    if (lost)
        bm_client_transport_log(
            &req->config, "the connection is lost; connecting again in 50 ms, then less often");
}

static int req_configure(const struct req *req)
{
    nng_socket socket = req->socket;
    int result =
        nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, (size_t)req->config.max_message_bytes);
    if (result == 0)
        result = nng_socket_set_ms(socket, NNG_OPT_REQ_RESENDTIME, BM_CLIENT_RESEND_MS);
    if (result == 0)
        result = nng_socket_set_ms(socket, NNG_OPT_RECONNMINT, BM_CLIENT_RECONNECT_MS);
    if (result == 0)
        result = nng_socket_set_ms(socket, NNG_OPT_RECONNMAXT, BM_CLIENT_RECONNECT_MAX_MS);
    return result;
}

static int req_dial(const struct req *req)
{
    nng_dialer dialer;
    int result = nng_dialer_create(&dialer, req->socket, req->config.url);
    if (result != 0)
        return result;
    // Only TCP has it; without it a peer whose machine vanished would stay for ever.
    nng_dialer_set_bool(dialer, NNG_OPT_TCP_KEEPALIVE, true);
    return nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
}

static void req_close(struct bm_client_transport *transport);

static enum batchmill_code req_open(const struct bm_client_transport_config *config,
                                    struct bm_client_transport **ret_transport,
                                    struct batchmill_error *error)
{
    struct req *req = calloc(1, sizeof *req);
    if (req == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory");
    int result = nng_req0_open(&req->socket);
    req->base.type = &bm_client_transport_nng;
    if (result != 0) {
        free(req);
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "cannot open a socket: %s",
                              nng_strerror(result));
    }
    req->config = *config;
    req->since_ns = bm_client_transport_now_ns();
    bm_mutex_init(&req->mutex);
    bm_cond_init(&req->idle);
    nng_pipe_notify(req->socket, NNG_PIPE_EV_ADD_POST, req_pipe, req);
    nng_pipe_notify(req->socket, NNG_PIPE_EV_REM_POST, req_pipe, req);
    if ((result = req_configure(req)) != 0 || (result = req_dial(req)) != 0) {
        req_close(&req->base);
        return bm_client_transport_bad_url(config, nng_strerror(result), error);
    }
    *ret_transport = &req->base;
    return BATCHMILL_OK;
}

static void req_close(struct bm_client_transport *transport)
{
    struct req *req = req_of(transport);
    bm_mutex_lock(&req->mutex);
    req->closing = true; // what follows is no loss
    bm_mutex_unlock(&req->mutex);
    nng_close(req->socket);
    bm_cond_fini(&req->idle);
    bm_mutex_fini(&req->mutex);
    free(req);
}

static bool req_connected(struct bm_client_transport *transport, uint64_t *ret_since_ns)
{
    struct req *req = req_of(transport);
    bm_mutex_lock(&req->mutex);
    bool connected = req->npipes > 0;
    *ret_since_ns = req->since_ns;
    bm_mutex_unlock(&req->mutex);
    return connected;
}

// ---- Calls ----
//
// Sending and receiving take turns on one aio: nng 1.5.2 crashes when a receive is cancelled
// whose request still waits for a connection. For the same reason nothing here has a timeout or
// is cancelled: giving up means closing the context, which ends whatever is under way on it.

struct req_call {
    struct bm_client_call base;
    struct req *req;
    void (*done)(void *context, struct bm_client_message *reply);
    void *context;
    nng_ctx ctx;
    nng_aio *aio;
    bool receiving; // the second half; only the call's own callbacks look
    bool busy;      // from start to the last callback; the transport's mutex
    bool closing;   // the transport's mutex
};

static struct req_call *req_call_of(struct bm_client_call *call)
{
    return BM_CONTAINER(call, struct req_call, base);
}

static bool call_is_closing(struct req_call *call)
{
    bm_mutex_lock(&call->req->mutex);
    bool closing = call->closing;
    bm_mutex_unlock(&call->req->mutex);
    return closing;
}

static void call_proceed(void *arg)
{
    struct req_call *call = arg;
    int result = nng_aio_result(call->aio);
    if (result == 0 && !call->receiving && !call_is_closing(call)) {
        call->receiving = true;
        nng_ctx_recv(call->ctx, call->aio); // a context closed meanwhile brings us back here
        return;
    }
    struct bm_client_message *reply = NULL;
    if (call->receiving && result == 0)
        reply = bm_client_message_new(nng_aio_get_msg(call->aio));
    else if (!call->receiving && result != 0)
        nng_msg_free(nng_aio_get_msg(call->aio)); // the request came back
    nng_aio_set_msg(call->aio, NULL);
    bm_mutex_lock(&call->req->mutex);
    call->busy = false;
    bm_cond_broadcast(&call->req->idle);
    bm_mutex_unlock(&call->req->mutex);
    call->done(call->context, reply);
}

static struct bm_client_call *
req_call_new(struct bm_client_transport *transport,
             void (*done)(void *context, struct bm_client_message *reply), void *context)
{
    struct req_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    call->base.type = &bm_client_transport_nng;
    call->req = req_of(transport);
    call->done = done;
    call->context = context;
    if (nng_aio_alloc(&call->aio, call_proceed, call) != 0) {
        free(call);
        return NULL;
    }
    if (nng_ctx_open(&call->ctx, call->req->socket) != 0) {
        nng_aio_free(call->aio);
        free(call);
        return NULL;
    }
    return &call->base;
}

static bool req_call_start(struct bm_client_call *base, const void *bytes, size_t size)
{
    struct req_call *call = req_call_of(base);
    nng_msg *request;
    if (nng_msg_alloc(&request, 0) != 0)
        return false;
    if (nng_msg_append(request, bytes, size) != 0) {
        nng_msg_free(request);
        return false;
    }
    bm_mutex_lock(&call->req->mutex);
    bool closing = call->closing;
    if (!closing) {
        BM_ASSERT(!call->busy);
        call->busy = true;
    }
    bm_mutex_unlock(&call->req->mutex);
    if (closing) {
        nng_msg_free(request);
        return false;
    }
    call->receiving = false;
    nng_aio_set_msg(call->aio, request);
    nng_ctx_send(call->ctx, call->aio);
    return true;
}

static void req_call_free(struct bm_client_call *base)
{
    struct req_call *call = req_call_of(base);
    bm_mutex_lock(&call->req->mutex);
    call->closing = true;
    bm_mutex_unlock(&call->req->mutex);
    nng_ctx_close(call->ctx);
    // Only an aio without a context may be freed: nng would go on to cancel it there.
    bm_mutex_lock(&call->req->mutex);
    while (call->busy)
        bm_cond_wait(&call->req->idle, &call->req->mutex);
    bm_mutex_unlock(&call->req->mutex);
    nng_aio_free(call->aio); // waits for the rest of a callback
    free(call);
}

const struct bm_client_transport_type bm_client_transport_nng = {
    .open = req_open,
    .close = req_close,
    .connected = req_connected,
    .call_new = req_call_new,
    .call_start = req_call_start,
    .call_free = req_call_free,
};
