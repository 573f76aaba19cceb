#include "client/c/transport_nng.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/mutex.h"
#include "client/c/error.h"

// ---- Replies ----

struct bm_client_message {
    atomic_uint refs;
    nng_msg *raw;
};

static struct bm_client_message *message_new(nng_msg *raw) // takes it, also on failure
{
    struct bm_client_message *message = malloc(sizeof *message);
    if (message == NULL) {
        nng_msg_free(raw);
        return NULL;
    }
    atomic_init(&message->refs, 1);
    message->raw = raw;
    return message;
}

struct bm_client_message *bm_client_message_ref(struct bm_client_message *message)
{
    atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
    return message;
}

struct bm_client_message *bm_client_message_unref(struct bm_client_message *message)
{
    if (message == NULL || atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) > 1)
        return NULL;
    nng_msg_free(message->raw);
    free(message);
    return NULL;
}

const void *bm_client_message_data(const struct bm_client_message *message)
{
    return nng_msg_body(message->raw);
}

size_t bm_client_message_size(const struct bm_client_message *message)
{
    return nng_msg_len(message->raw);
}

// ---- The connection ----

struct bm_client_transport {
    nng_socket socket;
    struct bm_client_transport_config config;
    struct bm_mutex mutex;
    struct bm_cond idle; // some call is not busy any more
    unsigned npipes;     // connections; the mutex
    bool was_connected;  // the mutex
    bool closing;        // the mutex
    uint64_t since_ns;   // when it was made or lost; the mutex
};

static void transport_log(const struct bm_client_transport *transport, const char *what)
{
    if (transport->config.log == NULL)
        return;
    char text[512];
    snprintf(text, sizeof text, "%s: %s", transport->config.url, what);
    transport->config.log(transport->config.log_context, text);
}

static void transport_pipe(nng_pipe pipe, nng_pipe_ev event, void *context)
{
    (void)pipe;
    struct bm_client_transport *transport = context;
    bool added = event == NNG_PIPE_EV_ADD_POST;
    bm_mutex_lock(&transport->mutex);
    bool back = added && transport->was_connected && transport->npipes == 0;
    if (added)
        transport->npipes++;
    else if (transport->npipes > 0)
        transport->npipes--;
    bool lost = !added && transport->npipes == 0 && !transport->closing;
    transport->was_connected |= added;
    transport->since_ns = bm_clock_system()->now_ns(bm_clock_system());
    bm_mutex_unlock(&transport->mutex);
    if (back)
        transport_log(transport, "the connection is back");
    if (lost)
        transport_log(transport,
                      "the connection is lost; connecting again in 50 ms, then less often");
}

// nng starts its threads with its first call. They inherit the signal mask, and must not take
// signals that the application waits for in its own threads.
static int transport_open_socket(nng_socket *ret_socket)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = nng_req0_open(ret_socket);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

static int transport_configure(const struct bm_client_transport *transport)
{
    nng_socket socket = transport->socket;
    int result =
        nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, (size_t)transport->config.max_message_bytes);
    if (result == 0)
        result = nng_socket_set_ms(socket, NNG_OPT_REQ_RESENDTIME, BM_CLIENT_RESEND_MS);
    if (result == 0)
        result = nng_socket_set_ms(socket, NNG_OPT_RECONNMINT, BM_CLIENT_RECONNECT_MS);
    if (result == 0)
        result = nng_socket_set_ms(socket, NNG_OPT_RECONNMAXT, BM_CLIENT_RECONNECT_MAX_MS);
    return result;
}

static int transport_dial(struct bm_client_transport *transport)
{
    nng_dialer dialer;
    int result = nng_dialer_create(&dialer, transport->socket, transport->config.url);
    if (result != 0)
        return result;
    // Only TCP has it; without it a peer whose machine vanished would stay for ever.
    nng_dialer_set_bool(dialer, NNG_OPT_TCP_KEEPALIVE, true);
    return nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
}

enum batchmill_code bm_client_transport_open(const struct bm_client_transport_config *config,
                                             struct bm_client_transport **ret_transport,
                                             struct batchmill_error *error)
{
    struct bm_client_transport *transport = calloc(1, sizeof *transport);
    if (transport == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory");
    int result = transport_open_socket(&transport->socket);
    if (result != 0) {
        free(transport);
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "cannot open a socket: %s",
                              nng_strerror(result));
    }
    transport->config = *config;
    transport->since_ns = bm_clock_system()->now_ns(bm_clock_system());
    bm_mutex_init(&transport->mutex);
    bm_cond_init(&transport->idle);
    nng_pipe_notify(transport->socket, NNG_PIPE_EV_ADD_POST, transport_pipe, transport);
    nng_pipe_notify(transport->socket, NNG_PIPE_EV_REM_POST, transport_pipe, transport);
    if ((result = transport_configure(transport)) != 0 ||
        (result = transport_dial(transport)) != 0) {
        bm_client_explain(error, BATCHMILL_INVALID_ARGUMENT,
                          "expected a URL as tcp://host:port, ipc:///path, ws://host:port/path or "
                          "inproc://name, got \"%s\" (%s)",
                          config->url, nng_strerror(result));
        bm_client_transport_close(transport);
        return BATCHMILL_INVALID_ARGUMENT;
    }
    *ret_transport = transport;
    return BATCHMILL_OK;
}

void bm_client_transport_close(struct bm_client_transport *transport)
{
    if (transport == NULL)
        return;
    bm_mutex_lock(&transport->mutex);
    transport->closing = true; // what follows is no loss
    bm_mutex_unlock(&transport->mutex);
    nng_close(transport->socket);
    bm_cond_fini(&transport->idle);
    bm_mutex_fini(&transport->mutex);
    free(transport);
}

bool bm_client_transport_connected(struct bm_client_transport *transport, uint64_t *ret_since_ns)
{
    bm_mutex_lock(&transport->mutex);
    bool connected = transport->npipes > 0;
    *ret_since_ns = transport->since_ns;
    bm_mutex_unlock(&transport->mutex);
    return connected;
}

// ---- Calls ----
//
// Sending and receiving take turns on one aio: nng 1.5.2 crashes when a receive is cancelled
// whose request still waits for a connection. For the same reason nothing here has a timeout or
// is cancelled: giving up means closing the context, which ends whatever is under way on it.

struct bm_client_call {
    struct bm_client_transport *transport;
    void (*done)(void *context, struct bm_client_message *reply);
    void *context;
    nng_ctx ctx;
    nng_aio *aio;
    bool receiving; // the second half; only the call's own callbacks look
    bool busy;      // from start to the last callback; the transport's mutex
    bool closing;   // the transport's mutex
};

static bool call_is_closing(struct bm_client_call *call)
{
    bm_mutex_lock(&call->transport->mutex);
    bool closing = call->closing;
    bm_mutex_unlock(&call->transport->mutex);
    return closing;
}

static void call_proceed(void *arg)
{
    struct bm_client_call *call = arg;
    int result = nng_aio_result(call->aio);
    if (result == 0 && !call->receiving && !call_is_closing(call)) {
        call->receiving = true;
        nng_ctx_recv(call->ctx, call->aio); // a context closed meanwhile brings us back here
        return;
    }
    struct bm_client_message *reply = NULL;
    if (call->receiving && result == 0)
        reply = message_new(nng_aio_get_msg(call->aio));
    else if (!call->receiving && result != 0)
        nng_msg_free(nng_aio_get_msg(call->aio)); // the request came back
    nng_aio_set_msg(call->aio, NULL);
    bm_mutex_lock(&call->transport->mutex);
    call->busy = false;
    bm_cond_broadcast(&call->transport->idle);
    bm_mutex_unlock(&call->transport->mutex);
    call->done(call->context, reply);
}

struct bm_client_call *
bm_client_call_new(struct bm_client_transport *transport,
                   void (*done)(void *context, struct bm_client_message *reply), void *context)
{
    struct bm_client_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    call->transport = transport;
    call->done = done;
    call->context = context;
    if (nng_aio_alloc(&call->aio, call_proceed, call) != 0) {
        free(call);
        return NULL;
    }
    if (nng_ctx_open(&call->ctx, transport->socket) != 0) {
        nng_aio_free(call->aio);
        free(call);
        return NULL;
    }
    return call;
}

bool bm_client_call_start(struct bm_client_call *call, const void *bytes, size_t size)
{
    nng_msg *request;
    if (nng_msg_alloc(&request, 0) != 0)
        return false;
    if (nng_msg_append(request, bytes, size) != 0) {
        nng_msg_free(request);
        return false;
    }
    bm_mutex_lock(&call->transport->mutex);
    bool closing = call->closing;
    if (!closing) {
        BM_ASSERT(!call->busy);
        call->busy = true;
    }
    bm_mutex_unlock(&call->transport->mutex);
    if (closing) {
        nng_msg_free(request);
        return false;
    }
    call->receiving = false;
    nng_aio_set_msg(call->aio, request);
    nng_ctx_send(call->ctx, call->aio);
    return true;
}

void bm_client_call_free(struct bm_client_call *call)
{
    if (call == NULL)
        return;
    bm_mutex_lock(&call->transport->mutex);
    call->closing = true;
    bm_mutex_unlock(&call->transport->mutex);
    nng_ctx_close(call->ctx);
    // Only an aio without a context may be freed: nng would go on to cancel it there.
    bm_mutex_lock(&call->transport->mutex);
    while (call->busy)
        bm_cond_wait(&call->transport->idle, &call->transport->mutex);
    bm_mutex_unlock(&call->transport->mutex);
    nng_aio_free(call->aio); // waits for the rest of a callback
    free(call);
}

// ---- Time ----

struct bm_client_timer {
    nng_aio *aio;
    nng_duration period_ms;
    void (*ring)(void *context);
    void *context;
};

static void timer_proceed(void *arg)
{
    struct bm_client_timer *timer = arg;
    if (nng_aio_result(timer->aio) != 0)
        return; // stopped
    timer->ring(timer->context);
    nng_sleep_aio(timer->period_ms, timer->aio);
}

struct bm_client_timer *bm_client_timer_new(uint32_t period_ms, void (*ring)(void *context),
                                            void *context)
{
    struct bm_client_timer *timer = malloc(sizeof *timer);
    if (timer == NULL)
        return NULL;
    *timer = (struct bm_client_timer){NULL, (nng_duration)period_ms, ring, context};
    if (nng_aio_alloc(&timer->aio, timer_proceed, timer) != 0) {
        free(timer);
        return NULL;
    }
    nng_sleep_aio(timer->period_ms, timer->aio);
    return timer;
}

void bm_client_timer_free(struct bm_client_timer *timer)
{
    if (timer == NULL)
        return;
    nng_aio_stop(timer->aio);
    nng_aio_free(timer->aio);
    free(timer);
}
