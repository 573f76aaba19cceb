// The protocol of nng's REQ over a byte stream: for tcp and ipc.
//
// nng 1.5.2 forgets a receive or a send of its own sockets when their connection breaks between two
// parts of a message: the connection is then never made again, and closing hangs (its issues 616
// and 1636). Its streams do not: each operation here ends exactly once, with data or an error. So
// the framing is ours, a hundred lines of it, and what a broken connection means is decided here.
//
//     WAITING -> DIALING -> GREETING -> OPEN -> BREAKING -> WAITING
//
// A frame is a length of 8 bytes, big-endian (ipc: a byte 1 before it), a request id of 4 bytes
// with its highest bit set, and the message. Either side first says "\0SP\0", its protocol, and
// "\0\0".
//
// One operation of each kind is under way at most: dial or wait, receive, send. Their callbacks, on
// nng's threads, are where things happen; a mutex guards all state, and is never held while nng
// or a user's callback runs.
#include <endian.h>
#include <nng/nng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/list.h"
#include "base/mutex.h"
#include "base/state.h"
#include "client/c/error.h"
#include "client/c/transport_type.h"

enum {
    GREETING_BYTES = 8,
    ID_BYTES = 4,
    HEAD_BYTES_MAX = 1 + 8 + ID_BYTES,
    TICK_MS = 500, // how often it looks for replies that are late
};

#define NS_PER_MS UINT64_C(1000000)

enum link_state { WAITING, DIALING, GREETING, OPEN, BREAKING, NSTATES };

static const struct bm_state_rule link_rules[NSTATES] = {
    [WAITING] = {"waiting", BM_TO(DIALING)},
    [DIALING] = {"dialing", BM_TO(GREETING) | BM_TO(WAITING)},
    [GREETING] = {"greeting", BM_TO(OPEN) | BM_TO(BREAKING)},
    [OPEN] = {"open", BM_TO(BREAKING)},
    [BREAKING] = {"breaking", BM_TO(WAITING)},
};

struct link {
    struct bm_client_transport base;
    struct bm_client_transport_config config;
    bool is_ipc;
    nng_stream_dialer *dialer;
    nng_aio *dial, *wait, *rx, *tx, *tick;

    struct bm_mutex mutex; // of what follows
    struct bm_cond called; // a callback of a call is over
    enum link_state state;
    bool closing, was_connected;
    uint64_t since_ns; // when it was made or lost
    uint64_t heard_ns; // the last bytes that came
    uint32_t backoff_ms;
    nng_stream *stream;
    struct bm_list calls; // all of them
    uint32_t last_id;

    // What comes: `rx` runs while rx_busy, and these are its own meanwhile.
    bool rx_busy;
    unsigned char head[HEAD_BYTES_MAX];
    nng_msg *message; // NULL while its head is read
    size_t got;       // of the head, or of the message
    // What goes.
    bool tx_busy;
    struct bm_buffer going, next; // `tx` sends the first; frames are added to the second
    size_t sent;
};

struct link_call {
    struct bm_client_call base;
    struct bm_node node; // in link->calls
    struct link *link;
    void (*done)(void *context, struct bm_client_message *reply);
    void *context;
    // The link's mutex:
    struct bm_buffer request; // kept until the reply is here, to be sent again
    uint32_t id;              // of the request, with its highest bit set
    uint64_t sent_ns;
    bool busy, calling, closing;
};

static void link_move(struct link *link, enum link_state next)
{
    link->state = (enum link_state)bm_state_next(link_rules, (int)link->state, (int)next);
}

static size_t head_bytes(const struct link *link)
{
    return link->is_ipc ? HEAD_BYTES_MAX : HEAD_BYTES_MAX - 1;
}

static struct link_call *call_at(struct bm_node *node)
{
    return BM_CONTAINER(node, struct link_call, node);
}

// ---- Breaking: both directions end, then the stream goes, and a new one is dialled ----

static void link_wait(struct link *link) BM_REQUIRES(link->mutex)
{
    nng_sleep_aio((nng_duration)link->backoff_ms, link->wait);
    link->backoff_ms *= 2;
    if (link->backoff_ms > BM_CLIENT_RECONNECT_MAX_MS)
        link->backoff_ms = BM_CLIENT_RECONNECT_MAX_MS;
}

// The stream, to be freed without the mutex, once nothing uses it any more.
static nng_stream *link_part(struct link *link) BM_REQUIRES(link->mutex)
{
    if (link->state != BREAKING || link->rx_busy || link->tx_busy || link->closing)
        return NULL; // when closing, link_free() does it
    nng_stream *stream = link->stream;
    link->stream = NULL;
    nng_msg_free(link->message);
    link->message = NULL;
    link->got = link->sent = 0;
    bm_buffer_clear(&link->going);
    bm_buffer_clear(&link->next);
    link_move(link, WAITING);
    link_wait(link);
    return stream;
}

// True: the user is to be told that the connection is lost.
static bool link_break(struct link *link) BM_REQUIRES(link->mutex)
{
    if (link->state != OPEN && link->state != GREETING)
        return false;
    bool lost = link->state == OPEN && !link->closing;
    if (lost)
        link->since_ns = bm_client_transport_now_ns();
    link_move(link, BREAKING);
    nng_stream_close(link->stream); // ends what is under way, with an error
    return lost;
}

static void link_tell_lost(const struct link *link)
{
    bm_client_transport_log(&link->config,
                            "the connection is lost; connecting again in 50 ms, then less often");
}

// ---- Sending ----

static void link_send_on(struct link *link) BM_REQUIRES(link->mutex)
{
    nng_iov iov = {link->going.data + link->sent, link->going.size - link->sent};
    nng_aio_set_iov(link->tx, 1, &iov);
    nng_stream_send(link->stream, link->tx);
}

static void link_pump(struct link *link) BM_REQUIRES(link->mutex)
{
    if (link->tx_busy || link->state != OPEN || link->next.size == 0)
        return;
    struct bm_buffer empty = link->going;
    link->going = link->next;
    link->next = empty;
    bm_buffer_clear(&link->next);
    link->sent = 0;
    link->tx_busy = true;
    link_send_on(link);
}

// False: out of memory.
static bool link_frame(struct link *link, struct link_call *call) BM_REQUIRES(link->mutex)
{
    unsigned char head[HEAD_BYTES_MAX], *at = head;
    uint64_t size = htobe64(ID_BYTES + call->request.size);
    uint32_t id = htobe32(call->id);
    if (link->is_ipc)
        *at++ = 1;
    memcpy(at, &size, sizeof size);
    memcpy(at + sizeof size, &id, sizeof id);
    call->sent_ns = bm_client_transport_now_ns();
    unsigned char *frame = bm_buffer_extend(&link->next, head_bytes(link) + call->request.size);
    if (frame == NULL) {
        link->next.failed = false; // what is in it goes
        return false;
    }
    memcpy(frame, head, head_bytes(link));
    memcpy(frame + head_bytes(link), call->request.data, call->request.size);
    return true;
}

static void link_sent(void *context)
{
    struct link *link = context;
    bool lost = false;
    bm_mutex_lock(&link->mutex);
    link->tx_busy = false;
    if (nng_aio_result(link->tx) != 0) {
        lost = link_break(link);
    } else if (link->state == OPEN || link->state == GREETING) {
        link->sent += nng_aio_count(link->tx);
        if (link->sent < link->going.size) {
            link->tx_busy = true;
            link_send_on(link);
        } else {
            link_pump(link);
        }
    }
    nng_stream *stream = link_part(link);
    bm_mutex_unlock(&link->mutex);
    nng_stream_free(stream);
    if (lost)
        link_tell_lost(link);
}

// ---- Receiving ----

static void link_receive(struct link *link) BM_REQUIRES(link->mutex)
{
    nng_iov iov;
    size_t head = link->state == GREETING ? GREETING_BYTES : head_bytes(link);
    if (link->message == NULL)
        iov = (nng_iov){link->head + link->got, head - link->got};
    else
        iov = (nng_iov){(char *)nng_msg_body(link->message) + link->got,
                        nng_msg_len(link->message) - link->got};
    link->rx_busy = true;
    nng_aio_set_iov(link->rx, 1, &iov);
    nng_stream_recv(link->stream, link->rx);
}

// The greeting is here; false: the other side is no server of ours.
static bool link_greeted(struct link *link) BM_REQUIRES(link->mutex)
{
    static const unsigned char expected[GREETING_BYTES] = {0, 'S', 'P', 0, 0, 0x31, 0, 0}; // REP
    if (memcmp(link->head, expected, sizeof expected) != 0)
        return false;
    link_move(link, OPEN);
    link->since_ns = link->heard_ns;
    link->backoff_ms = BM_CLIENT_RECONNECT_MS;
    struct bm_node *end = &link->calls.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        if (call_at(node)->busy)
            (void)link_frame(link, call_at(node)); // else the tick sends it
    }
    if (!link->tx_busy)
        link_pump(link);
    return true;
}

// The head of a frame is here; false: it is none, or too long, or there is no memory for it.
static bool link_headed(struct link *link) BM_REQUIRES(link->mutex)
{
    const unsigned char *at = link->head;
    uint64_t size;
    if (link->is_ipc && *at++ != 1)
        return false;
    memcpy(&size, at, sizeof size);
    size = be64toh(size);
    // The id stays before the message, as nng's own REQ has it: tensors are aligned for that.
    if (size < ID_BYTES || size - ID_BYTES > link->config.max_message_bytes ||
        nng_msg_alloc(&link->message, (size_t)size) != 0)
        return false;
    memcpy(nng_msg_body(link->message), at + sizeof size, ID_BYTES);
    link->got = ID_BYTES;
    return true;
}

// Takes the message that is here to the call that waits for it. Gives the mutex back meanwhile.
static void link_deliver(struct link *link) BM_REQUIRES(link->mutex)
{
    nng_msg *raw = link->message;
    uint32_t id;
    memcpy(&id, nng_msg_body(raw), sizeof id);
    id = be32toh(id);
    nng_msg_trim(raw, ID_BYTES);
    link->message = NULL;
    link->got = 0;
    struct link_call *call = NULL;
    struct bm_node *end = &link->calls.head;
    for (struct bm_node *node = end->next; node != end && call == NULL; node = node->next) {
        if (call_at(node)->busy && call_at(node)->id == id)
            call = call_at(node);
    }
    if (call == NULL) { // answered already, or given up
        nng_msg_free(raw);
        return;
    }
    call->busy = false;
    call->calling = true;
    bm_mutex_unlock(&link->mutex);
    call->done(call->context, bm_client_message_new(raw));
    bm_mutex_lock(&link->mutex);
    call->calling = false;
    bm_cond_broadcast(&link->called);
}

// False: the connection is of no use any more.
static bool link_take(struct link *link, bool *ret_back) BM_REQUIRES(link->mutex)
{
    link->got += nng_aio_count(link->rx);
    link->heard_ns = bm_client_transport_now_ns();
    if (link->state == GREETING) {
        if (link->got < GREETING_BYTES)
            return true;
        link->got = 0;
        *ret_back = link->was_connected;
        link->was_connected = true;
        return link_greeted(link);
    }
    if (link->message == NULL && link->got == head_bytes(link) && !link_headed(link))
        return false;
    if (link->message != NULL && link->got == nng_msg_len(link->message))
        link_deliver(link);
    return true;
}

static void link_received(void *context)
{
    struct link *link = context;
    bool lost = false, back = false;
    bm_mutex_lock(&link->mutex);
    bool good = nng_aio_result(link->rx) == 0 && (link->state == OPEN || link->state == GREETING);
    good = good && link_take(link, &back);
    link->rx_busy = false; // only now: the stream lives as long as this runs
    if (good && (link->state == OPEN || link->state == GREETING))
        link_receive(link);
    else
        lost = link_break(link);
    nng_stream *stream = link_part(link);
    bm_mutex_unlock(&link->mutex);
    nng_stream_free(stream);
    if (back && good)
        bm_client_transport_log(&link->config, "the connection is back");
    if (lost)
        link_tell_lost(link);
}

// ---- Connecting ----

static void link_waited(void *context)
{
    struct link *link = context;
    bm_mutex_lock(&link->mutex);
    if (nng_aio_result(link->wait) == 0 && !link->closing) {
        link_move(link, DIALING);
        nng_stream_dialer_dial(link->dialer, link->dial);
    }
    bm_mutex_unlock(&link->mutex);
}

static void link_dialed(void *context)
{
    static const unsigned char greeting[GREETING_BYTES] = {0, 'S', 'P', 0, 0, 0x30, 0, 0}; // REQ
    struct link *link = context;
    bm_mutex_lock(&link->mutex);
    if (nng_aio_result(link->dial) != 0) {
        link_move(link, WAITING);
        if (!link->closing)
            link_wait(link);
    } else {
        link->stream = nng_aio_get_output(link->dial, 0);
        link_move(link, GREETING);
        link->heard_ns = bm_client_transport_now_ns();
        link->got = link->sent = 0;
        bm_buffer_clear(&link->going);
        bm_buffer_add(&link->going, greeting, sizeof greeting);
        if (!bm_buffer_failed(&link->going)) {
            link->tx_busy = true;
            link_send_on(link);
        }
        link_receive(link);
        if (link->closing || !link->tx_busy)
            (void)link_break(link);
    }
    bm_mutex_unlock(&link->mutex);
}

// What the timer of REQ does: a request without a reply is sent again; and a connection on which
// nothing comes any more, though something must, is given up for a new one.
static void link_ticked(void *context)
{
    struct link *link = context;
    bool lost = false;
    if (nng_aio_result(link->tick) != 0)
        return;
    bm_mutex_lock(&link->mutex);
    uint64_t now_ns = bm_client_transport_now_ns();
    uint64_t late_ns = BM_CLIENT_RESEND_MS * NS_PER_MS;
    bool waits = link->state == GREETING;
    struct bm_node *end = &link->calls.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        struct link_call *call = call_at(node);
        if (!call->busy || now_ns - call->sent_ns < late_ns)
            continue;
        waits = true;
        if (link->state == OPEN)
            (void)link_frame(link, call);
    }
    if (waits && now_ns - link->heard_ns > 2 * late_ns)
        lost = link_break(link);
    link_pump(link);
    if (!link->closing)
        nng_sleep_aio(TICK_MS, link->tick);
    bm_mutex_unlock(&link->mutex);
    if (lost)
        link_tell_lost(link);
}

// ---- Its life ----

static struct link *link_of(struct bm_client_transport *transport)
{
    return BM_CONTAINER(transport, struct link, base);
}

static void link_free(struct link *link)
{
    nng_aio *const aios[] = {link->dial, link->wait, link->rx, link->tx, link->tick};
    // Each callback ends, and starts nothing new: `closing` and a closed stream see to that.
    for (size_t i = 0; i < sizeof aios / sizeof aios[0]; i++)
        nng_aio_stop(aios[i]);
    for (size_t i = 0; i < sizeof aios / sizeof aios[0]; i++)
        nng_aio_free(aios[i]);
    // In this order: the stream, which nng frees in the background, takes the dialer with it.
    nng_stream_dialer_free(link->dialer);
    nng_stream_free(link->stream);
    nng_msg_free(link->message);
    bm_buffer_fini(&link->going);
    bm_buffer_fini(&link->next);
    bm_cond_fini(&link->called);
    bm_mutex_fini(&link->mutex);
    free(link);
}

static void link_close(struct bm_client_transport *transport)
{
    struct link *link = link_of(transport);
    BM_ASSERT(bm_list_empty(&link->calls));
    bm_mutex_lock(&link->mutex);
    link->closing = true;
    (void)link_break(link);
    bm_mutex_unlock(&link->mutex);
    nng_stream_dialer_close(link->dialer);
    link_free(link);
}

static int link_make_aios(struct link *link)
{
    const struct {
        nng_aio **aio;
        void (*done)(void *context);
    } aios[] = {{&link->dial, link_dialed},
                {&link->wait, link_waited},
                {&link->rx, link_received},
                {&link->tx, link_sent},
                {&link->tick, link_ticked}};
    int result = 0;
    for (size_t i = 0; i < sizeof aios / sizeof aios[0] && result == 0; i++) {
        result = nng_aio_alloc(aios[i].aio, aios[i].done, link);
        if (result == 0)
            nng_aio_set_timeout(*aios[i].aio, NNG_DURATION_INFINITE);
    }
    return result;
}

static enum batchmill_code link_open(const struct bm_client_transport_config *config,
                                     struct bm_client_transport **ret_transport,
                                     struct batchmill_error *error)
{
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory");
    link->base.type = &bm_client_transport_stream;
    link->config = *config;
    link->is_ipc = strncmp(config->url, "tcp", 3) != 0;
    link->backoff_ms = BM_CLIENT_RECONNECT_MS;
    link->since_ns = bm_client_transport_now_ns();
    link->last_id = (uint32_t)link->since_ns; // unlike those of a connection before
    bm_mutex_init(&link->mutex);
    bm_cond_init(&link->called);
    bm_list_init(&link->calls);
    bm_buffer_init(&link->going);
    bm_buffer_init(&link->next);
    int result = link_make_aios(link);
    bool made = result == 0;
    if (made)
        result = nng_stream_dialer_alloc(&link->dialer, config->url);
    if (result != 0) {
        link_free(link);
        if (made)
            return bm_client_transport_bad_url(config, result, error);
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory");
    }
    // Only TCP has them; a peer whose machine vanished would stay for ever without the first.
    (void)nng_stream_dialer_set_bool(link->dialer, NNG_OPT_TCP_KEEPALIVE, true);
    (void)nng_stream_dialer_set_bool(link->dialer, NNG_OPT_TCP_NODELAY, true);
    bm_mutex_lock(&link->mutex);
    link_move(link, DIALING);
    nng_stream_dialer_dial(link->dialer, link->dial);
    bm_mutex_unlock(&link->mutex);
    nng_sleep_aio(TICK_MS, link->tick);
    *ret_transport = &link->base;
    return BATCHMILL_OK;
}

static bool link_connected(struct bm_client_transport *transport, uint64_t *ret_since_ns)
{
    struct link *link = link_of(transport);
    bm_mutex_lock(&link->mutex);
    bool connected = link->state == OPEN;
    *ret_since_ns = link->since_ns;
    bm_mutex_unlock(&link->mutex);
    return connected;
}

// ---- Calls ----

static struct bm_client_call *
link_call_new(struct bm_client_transport *transport,
              void (*done)(void *context, struct bm_client_message *reply), void *context)
{
    struct link *link = link_of(transport);
    struct link_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    call->base.type = &bm_client_transport_stream;
    call->link = link;
    call->done = done;
    call->context = context;
    bm_buffer_init(&call->request);
    bm_mutex_lock(&link->mutex);
    bm_list_push_back(&link->calls, &call->node);
    bm_mutex_unlock(&link->mutex);
    return &call->base;
}

static bool link_call_start(struct bm_client_call *base, const void *bytes, size_t size)
{
    struct link_call *call = BM_CONTAINER(base, struct link_call, base);
    struct link *link = call->link;
    bm_mutex_lock(&link->mutex);
    BM_ASSERT(!call->busy);
    bm_buffer_clear(&call->request);
    bm_buffer_add(&call->request, bytes, size);
    bool started = !call->closing && !bm_buffer_failed(&call->request);
    if (started) {
        call->id = ++link->last_id | UINT32_C(0x80000000);
        // Without a connection it goes when there is one.
        started = link->state != OPEN || link_frame(link, call);
        call->busy = started;
        link_pump(link);
    }
    bm_mutex_unlock(&link->mutex);
    return started;
}

static void link_call_free(struct bm_client_call *base)
{
    struct link_call *call = BM_CONTAINER(base, struct link_call, base);
    struct link *link = call->link;
    bm_mutex_lock(&link->mutex);
    call->closing = true;
    call->busy = false;
    while (call->calling)
        bm_cond_wait(&link->called, &link->mutex);
    bm_list_remove(&call->node);
    bm_mutex_unlock(&link->mutex);
    bm_buffer_fini(&call->request);
    free(call);
}

const struct bm_client_transport_type bm_client_transport_stream = {
    .open = link_open,
    .close = link_close,
    .connected = link_connected,
    .call_new = link_call_new,
    .call_start = link_call_start,
    .call_free = link_call_free,
};
