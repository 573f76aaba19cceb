// The protocol of nng's REP over byte streams: for tcp and ipc.
//
// nng 1.5.2 forgets an operation of its own sockets when their connection breaks between two parts
// of a message (its issues 616 and 1636), and one lost so is never given back. Its streams do not:
// each operation ends exactly once. So connections and framing are ours, and a peer that does
// harm is hung up on.
//
// A peer first says "\0SP\0", its protocol, and "\0\0", and so do we. A frame is a length of 8
// bytes, big-endian (ipc: a byte 1 before it), a request id of 4 bytes, and the message.
//
// Of each peer one request is read at a time, and handed to the session before the next; any number
// are unanswered. One reply at a time becomes bytes and is sent; those in line stay what they
// are, references to batches, so that a slow peer costs little.
//
// A mutex guards all of it; what needs it held takes the hub, so that clang can tell. In order: the
// executor's, ours, the session's line of answers. A peer is freed by the clock's callback, as its
// own callbacks cannot.
#include <endian.h>
#include <nng/nng.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/list.h"
#include "base/mutex.h"
#include "server/codec.h"
#include "server/config.h"
#include "server/transport_type.h"

enum {
    GREETING_BYTES = 8,
    ID_BYTES = 4,
    HEAD_BYTES_MAX = 1 + 8 + ID_BYTES,
    TICK_MS = 100,
    ACCEPT_AGAIN_MS = 100, // after there were no descriptors left
    UNSENT_PATIENCE_MS = 100,
};

enum peer_state { GREETING, OPEN, BROKEN };

struct peer {            // a connection
    struct bm_node node; // in hub->peers
    struct bm_hub *hub;
    nng_stream *stream;
    nng_aio *rx, *tx;
    bool is_ipc;
    nng_sockaddr address;
    // The hub's mutex:
    enum peer_state state;
    bool rx_busy, tx_busy, told; // told: its requests were abandoned
    uint64_t since_ms;           // connected; then, the last byte of a reply was taken
    struct bm_list requests, line;
    unsigned nrequests;
    struct request *sending;
    nng_msg *reply; // of `sending`; NULL: the greeting goes
    size_t sent, going;
    unsigned char out[HEAD_BYTES_MAX];
    // The callback's of rx:
    unsigned char head[HEAD_BYTES_MAX];
    unsigned char *body; // NULL while its head is read
    size_t got, size;
};

struct request {
    struct bm_exchange exchange;
    struct peer *peer;
    uint32_t id; // as it came
    struct bm_node node, line_node;
};

struct listener {
    struct bm_hub *hub;
    nng_stream_listener *raw;
    nng_aio *accept, *wait;
    bool is_ipc;
};

struct bm_hub {
    struct bm_executor *executor;
    struct bm_session *session;
    unsigned nlisteners;
    struct listener listeners[BM_LISTEN_MAX];
    nng_aio *tick;
    unsigned peers_max;
    struct bm_mutex mutex; // of what follows
    struct bm_list peers;
    unsigned nrequests;
    bool stopping;
    struct bm_connection_counts counts;
};

static struct peer *peer_at(struct bm_node *node)
{
    return BM_CONTAINER(node, struct peer, node);
}

static size_t head_bytes(const struct peer *peer)
{
    return peer->is_ipc ? HEAD_BYTES_MAX : HEAD_BYTES_MAX - 1;
}

static uint64_t hub_now_ms(const struct bm_hub *hub)
{
    return hub->executor->clock->now_ns(hub->executor->clock) / 1000000;
}

// ---- The end of a peer ----

static void peer_break(struct bm_hub *hub, struct peer *peer) BM_REQUIRES(hub->mutex)
{
    (void)hub;
    if (peer->state == BROKEN)
        return;
    peer->state = BROKEN;
    nng_stream_close(peer->stream); // ends what is under way, with an error
}

// Nobody waits for the answers any more, so what waits for a batch need not. Without the mutex.
static void peer_abandon(struct peer *peer)
{
    struct bm_hub *hub = peer->hub;
    hub->executor->enter(hub->executor);
    bm_mutex_lock(&hub->mutex);
    struct bm_node *end = &peer->requests.head;
    for (struct bm_node *node = end->next; node != end; node = node->next)
        bm_session_abandon(hub->session, &BM_CONTAINER(node, struct request, node)->exchange);
    bm_mutex_unlock(&hub->mutex);
    hub->executor->leave(hub->executor);
}

// Whether its requests are still to be abandoned; the caller does that without the mutex.
static bool peer_is_news(struct bm_hub *hub, struct peer *peer) BM_REQUIRES(hub->mutex)
{
    (void)hub;
    bool news = peer->state == BROKEN && !peer->told;
    peer->told |= news;
    return news;
}

static void peer_free(struct peer *peer)
{
    nng_aio_free(peer->rx);
    nng_aio_free(peer->tx);
    nng_stream_free(peer->stream);
    nng_msg_free(peer->reply);
    free(peer->body);
    free(peer);
}

// ---- Sending ----

static void peer_send_on(struct bm_hub *hub, struct peer *peer) BM_REQUIRES(hub->mutex)
{
    (void)hub;
    nng_iov iov[2];
    unsigned n = 0;
    size_t head = peer->reply == NULL ? GREETING_BYTES : head_bytes(peer);
    if (peer->sent < head)
        iov[n++] = (nng_iov){peer->out + peer->sent, head - peer->sent};
    if (peer->reply != NULL) {
        size_t skip = peer->sent < head ? 0 : peer->sent - head;
        iov[n++] =
            (nng_iov){(char *)nng_msg_body(peer->reply) + skip, nng_msg_len(peer->reply) - skip};
    }
    peer->tx_busy = true;
    nng_aio_set_iov(peer->tx, n, iov);
    nng_aio_set_timeout(peer->tx, BM_SEND_TIMEOUT_MS);
    nng_stream_send(peer->stream, peer->tx);
}

static void peer_receive(struct bm_hub *hub, struct peer *peer) BM_REQUIRES(hub->mutex)
{
    (void)hub;
    size_t head = peer->state == GREETING ? GREETING_BYTES : head_bytes(peer);
    nng_iov iov = peer->body == NULL ? (nng_iov){peer->head + peer->got, head - peer->got}
                                     : (nng_iov){peer->body + peer->got, peer->size - peer->got};
    peer->rx_busy = true;
    nng_aio_set_iov(peer->rx, 1, &iov);
    nng_stream_recv(peer->stream, peer->rx);
}

// Who does not read is not read from, and neither is anybody when there are too many.
static bool peer_may_speak(const struct peer *peer)
{
    return peer->state == GREETING ||
           (peer->state == OPEN && peer->hub->nrequests < BM_CONTEXTS_MAX &&
            (peer->nrequests <= BM_PEER_REQUESTS_MAX || peer->sending == NULL));
}

static void peer_resume(struct bm_hub *hub, struct peer *peer) BM_REQUIRES(hub->mutex)
{
    if (!peer->rx_busy && peer_may_speak(peer))
        peer_receive(hub, peer);
}

static void request_done(struct bm_hub *hub, struct request *request) BM_REQUIRES(hub->mutex)
{
    bm_list_remove(&request->node);
    request->peer->nrequests--;
    hub->nrequests--;
    bm_exchange_fini(&request->exchange);
    free(request);
}

// Over the bound, the one that has taken nothing for the longest time goes.
static void hub_make_room(struct bm_hub *hub) BM_REQUIRES(hub->mutex)
{
    struct peer *slowest = NULL;
    if (hub->counts.unsent_bytes <= BM_UNSENT_BYTES_MAX)
        return;
    for (struct bm_node *node = hub->peers.head.next; node != &hub->peers.head; node = node->next) {
        struct peer *peer = peer_at(node);
        if (peer->reply != NULL && peer->state == OPEN &&
            (slowest == NULL || peer->since_ms < slowest->since_ms))
            slowest = peer;
    }
    if (slowest == NULL || hub_now_ms(hub) - slowest->since_ms < UNSENT_PATIENCE_MS)
        return;
    hub->counts.slow++;
    peer_break(hub, slowest); // its callback of tx does the rest
}

// Encodes without the mutex. False: there is nobody to read it, or no memory to say it.
static bool request_send(struct request *request)
{
    struct peer *peer = request->peer;
    struct bm_hub *hub = peer->hub;
    bm_mutex_lock(&hub->mutex);
    bool gone = peer->state == BROKEN;
    bm_mutex_unlock(&hub->mutex);
    nng_msg *reply = gone ? NULL : bm_transport_message(&request->exchange.reply);
    bm_reply_fini(&request->exchange.reply); // what waits now are the bytes, not the batches
    if (reply == NULL)
        return false;
    unsigned char *at = peer->out;
    uint64_t size = htobe64(ID_BYTES + nng_msg_len(reply));
    if (peer->is_ipc)
        *at++ = 1;
    memcpy(at, &size, sizeof size);
    memcpy(at + sizeof size, &request->id, ID_BYTES);
    bm_mutex_lock(&hub->mutex);
    bool good = peer->state == OPEN;
    if (good) {
        peer->reply = reply;
        peer->sent = 0;
        peer->going = head_bytes(peer) + nng_msg_len(reply);
        peer->since_ms = hub_now_ms(hub);
        hub->counts.unsent_bytes += peer->going;
        hub_make_room(hub);
        peer_send_on(hub, peer);
    }
    bm_mutex_unlock(&hub->mutex);
    if (!good)
        nng_msg_free(reply);
    return good;
}

// `request` has its turn; when it cannot be sent, the next in line has.
static void request_turn(struct request *request)
{
    while (request != NULL && !request_send(request)) {
        struct peer *peer = request->peer;
        struct bm_hub *hub = peer->hub;
        bm_mutex_lock(&hub->mutex);
        struct bm_node *next = bm_list_pop_front(&peer->line);
        request_done(hub, request);
        request = next == NULL ? NULL : BM_CONTAINER(next, struct request, line_node);
        peer->sending = request; // without one, the peer may be freed from here on
        if (request == NULL)
            peer_resume(hub, peer);
        bm_mutex_unlock(&hub->mutex);
    }
}

static void request_reply(struct bm_exchange *exchange)
{
    struct request *request = BM_CONTAINER(exchange, struct request, exchange);
    struct peer *peer = request->peer;
    struct bm_hub *hub = peer->hub;
    bm_mutex_lock(&hub->mutex);
    bool its_turn = peer->sending == NULL;
    if (its_turn)
        peer->sending = request;
    else
        bm_list_push_back(&peer->line, &request->line_node);
    bm_mutex_unlock(&hub->mutex);
    if (its_turn)
        request_turn(request);
}

// What was sent is done with; the next in line, which the caller gives its turn.
static struct request *peer_sent(struct bm_hub *hub, struct peer *peer) BM_REQUIRES(hub->mutex)
{
    if (peer->reply == NULL)
        return NULL; // the greeting
    hub->counts.unsent_bytes -= peer->going;
    nng_msg_free(peer->reply);
    peer->reply = NULL;
    request_done(hub, peer->sending);
    struct bm_node *next = bm_list_pop_front(&peer->line);
    peer->sending = next == NULL ? NULL : BM_CONTAINER(next, struct request, line_node);
    return peer->sending;
}

static void peer_tx(void *context)
{
    struct peer *peer = context;
    struct bm_hub *hub = peer->hub;
    struct request *next = NULL;
    int rv = nng_aio_result(peer->tx);
    bm_mutex_lock(&hub->mutex);
    peer->tx_busy = false;
    if (rv == 0) {
        peer->sent += nng_aio_count(peer->tx);
        peer->since_ms = hub_now_ms(hub);
    } else {
        hub->counts.slow += rv == NNG_ETIMEDOUT && peer->state != BROKEN;
        peer_break(hub, peer);
    }
    size_t all = peer->reply == NULL ? GREETING_BYTES : peer->going;
    if (peer->state != BROKEN && peer->sent < all) {
        peer_send_on(hub, peer);
    } else {
        next = peer_sent(hub, peer);
        peer_resume(hub, peer);
    }
    bool news = peer_is_news(hub, peer);
    // What comes next keeps the peer: the tick frees none that sends or has news to tell.
    peer->tx_busy |= next != NULL || news;
    bool held = next != NULL || news;
    bm_mutex_unlock(&hub->mutex);
    if (news)
        peer_abandon(peer);
    if (held) {
        bm_mutex_lock(&hub->mutex);
        peer->tx_busy = false;
        bm_mutex_unlock(&hub->mutex);
    }
    if (next != NULL)
        request_turn(next); // as `sending`, it keeps the peer
}

// ---- Receiving ----

static bool peer_greeted(const struct peer *peer)
{
    static const unsigned char expected[GREETING_BYTES] = {0, 'S', 'P', 0, 0, 0x30, 0, 0}; // REQ
    return memcmp(peer->head, expected, sizeof expected) == 0;
}

// The head of a frame is here, or its length at least; false: it is none that we take.
static bool peer_headed(struct peer *peer)
{
    const unsigned char *at = peer->head;
    uint64_t size;
    if (peer->is_ipc && *at++ != 1)
        return false;
    memcpy(&size, at, sizeof size);
    size = be64toh(size);
    if (size < ID_BYTES || size - ID_BYTES > BM_REQUEST_BYTES_MAX)
        return false;
    if (peer->got < head_bytes(peer))
        return true;
    // The id of a request has its highest bit set; without it, it came through a relay.
    if ((at[sizeof size] & 0x80) == 0)
        return false;
    peer->size = (size_t)size - ID_BYTES;
    peer->got = 0;
    peer->body = malloc(peer->size + 1);
    return peer->body != NULL;
}

// A request is here. Hands it to the session; without the mutex, on the callback of rx.
static void peer_request(struct peer *peer)
{
    struct bm_hub *hub = peer->hub;
    struct request *request = calloc(1, sizeof *request);
    struct bm_error error;
    enum bm_status status = BM_OK;
    if (request != NULL) {
        request->exchange.send = request_reply;
        request->peer = peer;
        memcpy(&request->id, peer->head + head_bytes(peer) - ID_BYTES, ID_BYTES);
        status = bm_request_decode(peer->body, peer->size, &request->exchange.request, &error);
    }
    free(peer->body);
    peer->body = NULL;
    peer->got = 0;
    if (request == NULL)
        return; // lost, for want of memory: it is asked for again
    hub->executor->enter(hub->executor);
    bm_mutex_lock(&hub->mutex);
    bool gone = peer->state == BROKEN || hub->stopping;
    bool many = peer->nrequests >= BM_PEER_REQUESTS_MAX;
    if (!gone) {
        bm_list_push_back(&peer->requests, &request->node);
        peer->nrequests++;
        hub->nrequests++;
    }
    bm_mutex_unlock(&hub->mutex);
    if (many && status == BM_OK)
        status = bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL,
                         "expected at most %d unanswered requests on a connection, got one more",
                         BM_PEER_REQUESTS_MAX);
    if (!gone && status == BM_OK)
        bm_session_request(hub->session, &request->exchange);
    else if (!gone)
        bm_session_refuse(hub->session, &request->exchange, &error);
    hub->executor->leave(hub->executor);
    if (gone) {
        bm_exchange_fini(&request->exchange);
        free(request);
    }
}

// False: hang up.
static bool peer_take(struct bm_hub *hub, struct peer *peer) BM_REQUIRES(hub->mutex)
{
    peer->got += nng_aio_count(peer->rx);
    if (peer->state == GREETING) {
        if (peer->got < GREETING_BYTES)
            return true;
        peer->got = 0;
        bool good = peer_greeted(peer);
        hub->counts.no_greeting += !good;
        peer->state = good ? OPEN : peer->state;
        return good;
    }
    bool length = peer->got >= head_bytes(peer) - ID_BYTES;
    if (peer->body == NULL && length && !peer_headed(peer)) {
        hub->counts.bad_frame++;
        return false;
    }
    if (peer->body != NULL && peer->got == peer->size) {
        bm_mutex_unlock(&hub->mutex);
        peer_request(peer);
        bm_mutex_lock(&hub->mutex);
    }
    return true;
}

static void peer_rx(void *context)
{
    struct peer *peer = context;
    struct bm_hub *hub = peer->hub;
    bm_mutex_lock(&hub->mutex);
    bool good = nng_aio_result(peer->rx) == 0 && peer->state != BROKEN && peer_take(hub, peer);
    if (!good)
        peer_break(hub, peer);
    bool news = peer_is_news(hub, peer);
    if (!news) {
        peer->rx_busy = false; // from here on the tick may free a broken one
        peer_resume(hub, peer);
    }
    bm_mutex_unlock(&hub->mutex);
    if (news) {
        peer_abandon(peer);
        bm_mutex_lock(&hub->mutex);
        peer->rx_busy = false;
        bm_mutex_unlock(&hub->mutex);
    }
}

// ---- Accepting ----

static bool address_is_local(const nng_sockaddr *address)
{
    if (address->s_family == NNG_AF_INET)
        return (be32toh(address->s_in.sa_addr) >> 24) == 127;
    static const uint8_t loopback[16] = {[15] = 1};
    return address->s_family != NNG_AF_INET6 ||
           memcmp(address->s_in6.sa_addr, loopback, sizeof loopback) == 0;
}

static bool address_equal(const nng_sockaddr *a, const nng_sockaddr *b)
{
    if (a->s_family != b->s_family)
        return false;
    if (a->s_family == NNG_AF_INET)
        return a->s_in.sa_addr == b->s_in.sa_addr;
    return memcmp(a->s_in6.sa_addr, b->s_in6.sa_addr, sizeof a->s_in6.sa_addr) == 0;
}

static bool hub_has_room(const struct bm_hub *hub, const nng_sockaddr *address)
{
    if (hub->stopping || hub->counts.open >= hub->peers_max)
        return false;
    if (address_is_local(address))
        return true;
    unsigned n = 0;
    const struct bm_node *end = &hub->peers.head;
    for (const struct bm_node *node = end->next; node != end; node = node->next) {
        const struct peer *peer = BM_CONTAINER(node, struct peer, node);
        n += peer->state != BROKEN && address_equal(&peer->address, address);
    }
    return n < BM_ADDRESS_CONNECTIONS_MAX;
}

static struct peer *peer_new(struct listener *listener, nng_stream *stream)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL)
        return NULL;
    peer->hub = listener->hub;
    peer->stream = stream;
    peer->is_ipc = listener->is_ipc;
    bm_list_init(&peer->requests);
    bm_list_init(&peer->line);
    static const unsigned char greeting[GREETING_BYTES] = {0, 'S', 'P', 0, 0, 0x31, 0, 0}; // REP
    memcpy(peer->out, greeting, sizeof greeting);
    (void)nng_stream_get_addr(stream, NNG_OPT_REMADDR, &peer->address);
    if (nng_aio_alloc(&peer->rx, peer_rx, peer) == 0 &&
        nng_aio_alloc(&peer->tx, peer_tx, peer) == 0) {
        nng_aio_set_timeout(peer->rx, NNG_DURATION_INFINITE);
        return peer;
    }
    nng_aio_free(peer->rx);
    free(peer);
    return NULL;
}

static void hub_welcome(struct listener *listener, nng_stream *stream)
{
    struct bm_hub *hub = listener->hub;
    struct peer *peer = peer_new(listener, stream);
    if (peer == NULL) {
        nng_stream_free(stream);
        return;
    }
    bm_mutex_lock(&hub->mutex);
    bool room = hub_has_room(hub, &peer->address);
    hub->counts.accepted += room;
    hub->counts.refused += !room;
    if (room) {
        peer->since_ms = hub_now_ms(hub);
        bm_list_push_back(&hub->peers, &peer->node);
        hub->counts.open++;
        peer_send_on(hub, peer); // and then reads: no reply overtakes the greeting
    }
    bm_mutex_unlock(&hub->mutex);
    if (!room)
        peer_free(peer);
}

static void listener_accepted(void *context)
{
    struct listener *listener = context;
    int rv = nng_aio_result(listener->accept);
    if (rv == 0)
        hub_welcome(listener, nng_aio_get_output(listener->accept, 0));
    bm_mutex_lock(&listener->hub->mutex);
    if (listener->hub->stopping || rv == NNG_ECLOSED)
        ;
    else if (rv == NNG_ENOMEM || rv == NNG_ENOFILES)
        nng_sleep_aio(ACCEPT_AGAIN_MS, listener->wait);
    else
        nng_stream_listener_accept(listener->raw, listener->accept);
    bm_mutex_unlock(&listener->hub->mutex);
}

static void listener_waited(void *context)
{
    struct listener *listener = context;
    bm_mutex_lock(&listener->hub->mutex);
    if (!listener->hub->stopping && nng_aio_result(listener->wait) == 0)
        nng_stream_listener_accept(listener->raw, listener->accept);
    bm_mutex_unlock(&listener->hub->mutex);
}

static void listener_free(struct listener *listener)
{
    if (listener->raw != NULL)
        nng_stream_listener_close(listener->raw);
    nng_aio_free(listener->accept);
    nng_aio_free(listener->wait);
    nng_stream_listener_free(listener->raw);
    *listener = (struct listener){0};
}

enum bm_status bm_hub_listen(struct bm_hub *hub, const char *url, int *ret_port,
                             struct bm_error *err)
{
    struct listener *listener = &hub->listeners[hub->nlisteners];
    listener->hub = hub;
    listener->is_ipc = strncmp(url, "tcp", 3) != 0;
    int rv = nng_aio_alloc(&listener->accept, listener_accepted, listener);
    if (rv == 0)
        rv = nng_aio_alloc(&listener->wait, listener_waited, listener);
    if (rv == 0)
        rv = nng_stream_listener_alloc(&listener->raw, url);
    if (rv == 0) {
        // A peer whose machine is gone says nothing and would stay for ever; ipc has neither.
        (void)nng_stream_listener_set_bool(listener->raw, NNG_OPT_TCP_KEEPALIVE, true);
        (void)nng_stream_listener_set_bool(listener->raw, NNG_OPT_TCP_NODELAY, true);
        rv = nng_stream_listener_listen(listener->raw);
    }
    if (rv != 0) {
        listener_free(listener);
        return bm_transport_fail(err, url, "cannot listen", rv);
    }
    (void)nng_stream_listener_get_int(listener->raw, NNG_OPT_TCP_BOUND_PORT, ret_port);
    nng_aio_set_timeout(listener->accept, NNG_DURATION_INFINITE);
    hub->nlisteners++;
    nng_stream_listener_accept(listener->raw, listener->accept);
    return BM_OK;
}

// ---- The clock: who says nothing at first is hung up on, and who is gone is freed ----

static bool peer_is_over(const struct peer *peer)
{
    return peer->state == BROKEN && peer->told && !peer->rx_busy && !peer->tx_busy &&
           peer->nrequests == 0 && peer->sending == NULL;
}

static void hub_sweep(struct bm_hub *hub)
{
    struct bm_list over;
    struct bm_node *node, *next;
    bm_list_init(&over);
    bm_mutex_lock(&hub->mutex);
    uint64_t now_ms = hub_now_ms(hub);
    for (node = hub->peers.head.next; node != &hub->peers.head; node = next) {
        struct peer *peer = peer_at(node);
        next = node->next;
        if (peer->state == GREETING && now_ms - peer->since_ms > BM_GREETING_MS) {
            hub->counts.no_greeting++;
            peer_break(hub, peer); // its callbacks do the rest
        }
        if (peer->state == OPEN)
            peer_resume(hub, peer); // may have had to wait for others
        if (peer_is_over(peer)) {
            bm_list_remove(node);
            bm_list_push_back(&over, node);
            hub->counts.open--;
        }
    }
    bm_mutex_unlock(&hub->mutex);
    while ((node = bm_list_pop_front(&over)) != NULL)
        peer_free(peer_at(node));
}

static void hub_tick(void *context)
{
    struct bm_hub *hub = context;
    if (nng_aio_result(hub->tick) != 0)
        return;
    hub_sweep(hub);
    nng_sleep_aio(TICK_MS, hub->tick);
}

struct bm_connection_counts bm_hub_counts(struct bm_hub *hub)
{
    bm_mutex_lock(&hub->mutex);
    struct bm_connection_counts counts = hub->counts;
    bm_mutex_unlock(&hub->mutex);
    return counts;
}

// ---- Its life ----

static unsigned connections_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > UINT32_MAX)
        return UINT32_MAX;
    unsigned most = (unsigned)limit.rlim_cur, spare = BM_DESCRIPTORS_SPARE;
    return most > 2 * spare ? most - spare : most / 2;
}

enum bm_status bm_hub_new(const struct bm_transport_config *config, struct bm_hub **ret_hub,
                          struct bm_error *err)
{
    struct bm_hub *hub = calloc(1, sizeof *hub);
    if (hub == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the sockets");
    hub->executor = config->executor;
    hub->session = config->session;
    hub->peers_max = connections_max();
    bm_mutex_init(&hub->mutex);
    bm_list_init(&hub->peers);
    int rv = nng_aio_alloc(&hub->tick, hub_tick, hub);
    if (rv != 0) {
        bm_mutex_fini(&hub->mutex);
        free(hub);
        return bm_transport_fail(err, NULL, "cannot make a clock", rv);
    }
    nng_sleep_aio(TICK_MS, hub->tick);
    *ret_hub = hub;
    return BM_OK;
}

void bm_hub_free(struct bm_hub *hub)
{
    struct bm_node *node;
    if (hub == NULL)
        return;
    bm_mutex_lock(&hub->mutex);
    hub->stopping = true; // no peer comes, no request is taken from here on
    for (node = hub->peers.head.next; node != &hub->peers.head; node = node->next)
        peer_break(hub, peer_at(node));
    bm_mutex_unlock(&hub->mutex);
    for (unsigned i = 0; i < hub->nlisteners; i++)
        listener_free(&hub->listeners[i]);
    nng_aio_stop(hub->tick);
    nng_aio_free(hub->tick);
    // Callbacks of one peer may hand out answers of another, so all stop before one goes.
    for (node = hub->peers.head.next; node != &hub->peers.head; node = node->next) {
        nng_aio_stop(peer_at(node)->rx);
        nng_aio_stop(peer_at(node)->tx);
    }
    while ((node = bm_list_pop_front(&hub->peers)) != NULL) {
        BM_ASSERT(peer_at(node)->nrequests == 0);
        peer_free(peer_at(node));
    }
    bm_mutex_fini(&hub->mutex);
    free(hub);
}
