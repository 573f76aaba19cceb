// What all ways to carry requests share, and which of them a URL wants.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "client/c/error.h"
#include "client/c/transport_type.h"
#include "net/socket.h"

// ---- Which one ----

uint64_t bm_client_transport_now_ns(void)
{
    return bm_clock_system()->now_ns(bm_clock_system());
}

void bm_client_transport_log(const struct bm_client_transport_config *config, const char *what)
{
    if (config->log == NULL)
        return;
    char text[512];
    snprintf(text, sizeof text, "%s: %s", config->url, what);
    config->log(config->log_context, text);
}

enum batchmill_code bm_client_transport_bad_url(const struct bm_client_transport_config *config,
                                                const char *why, struct batchmill_error *error)
{
    return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                          "expected a URL as tcp://host:port, tls+tcp://host:port, ipc:///path, "
                          "ws://host:port/path or inproc://name, got \"%s\" (%s)",
                          config->url, why);
}

enum batchmill_code bm_client_transport_open(const struct bm_client_transport_config *config,
                                             struct bm_client_transport **ret_transport,
                                             struct batchmill_error *error)
{
    const struct bm_client_transport_type *type = &bm_client_transport_nng;
    if (bm_url_is_tcp(config->url) || bm_url_is_tls(config->url) || bm_url_is_ipc(config->url))
        type = &bm_client_transport_stream;
    // nng starts its threads with its first call. They inherit the signal mask, and must not take
    // signals that the application waits for in its own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    enum batchmill_code code = type->open(config, ret_transport, error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

void bm_client_transport_close(struct bm_client_transport *transport)
{
    if (transport != NULL)
        transport->type->close(transport);
}

bool bm_client_transport_hello(struct bm_client_transport *transport, const void *bytes,
                               size_t size)
{
    return transport->type->hello != NULL && transport->type->hello(transport, bytes, size);
}

bool bm_client_transport_connected(struct bm_client_transport *transport, uint64_t *ret_since_ns)
{
    return transport->type->connected(transport, ret_since_ns);
}

bool bm_client_transport_refused(struct bm_client_transport *transport,
                                 struct batchmill_error *ret_why)
{
    const struct bm_client_transport_type *type = transport->type;
    return type->refused != NULL && type->refused(transport, ret_why);
}

struct bm_client_call *
bm_client_call_new(struct bm_client_transport *transport,
                   void (*done)(void *context, struct bm_client_message *reply), void *context)
{
    return transport->type->call_new(transport, done, context);
}

bool bm_client_call_start(struct bm_client_call *call, const void *bytes, size_t size)
{
    return call->type->call_start(call, bytes, size);
}

void bm_client_call_free(struct bm_client_call *call)
{
    if (call != NULL)
        call->type->call_free(call);
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
