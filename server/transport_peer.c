#include "server/transport_peer.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { UNSENT_PATIENCE_MS = 100 };

struct bm_request_out { // a request, until its reply is sent
    struct bm_exchange exchange;
    struct bm_peer *peer;
    uint32_t id; // as it came
    struct bm_node node, line_node;
};

uint64_t bm_wires_now_ms(const struct bm_wires *wires)
{
    return wires->executor->clock->now_ns(wires->executor->clock) / 1000000;
}

// ---- What epoll is to tell ----

static void peer_interest(struct bm_wires *wires, struct bm_peer *peer) BM_REQUIRES(wires->mutex)
{
    struct epoll_event event = {.data.ptr = &peer->watch};
    uint32_t reads = peer->reads_when_writable ? EPOLLOUT : EPOLLIN;
    event.events = (peer->paused ? 0u : reads) | (peer->blocked ? EPOLLOUT : 0u);
    if (!peer->told) // it is not watched any more then
        (void)epoll_ctl(wires->epoll, EPOLL_CTL_MOD, peer->watch.fd, &event);
}

// Who does not read is not read from, and neither is anybody when there are too many.
static bool peer_may_ask(struct bm_wires *wires, const struct bm_peer *peer)
    BM_REQUIRES(wires->mutex)
{
    return wires->nrequests < BM_CONTEXTS_MAX &&
           (peer->nrequests <= BM_PEER_REQUESTS_MAX || peer->sending == NULL);
}

void bm_peer_resume(struct bm_wires *wires, struct bm_peer *peer)
{
    if (!peer->paused || peer->broken || !peer_may_ask(wires, peer))
        return;
    peer->paused = false;
    peer_interest(wires, peer);
}

// ---- Its end ----

void bm_peer_break(struct bm_wires *wires, struct bm_peer *peer)
{
    (void)wires;
    if (peer->broken)
        return;
    peer->broken = true;
    (void)shutdown(peer->watch.fd, SHUT_RDWR); // epoll tells the hub's thread, which does the rest
}

// Nobody waits for the answers any more, so what waits for a batch need not. Without the mutex.
static void peer_abandon(struct bm_peer *peer)
{
    struct bm_wires *wires = peer->wires;
    wires->executor->enter(wires->executor);
    bm_mutex_lock(&wires->mutex);
    struct bm_node *end = &peer->requests.head;
    for (struct bm_node *node = end->next; node != end; node = node->next)
        bm_session_abandon(wires->session,
                           &BM_CONTAINER(node, struct bm_request_out, node)->exchange);
    bm_mutex_unlock(&wires->mutex);
    bm_session_disconnected(wires->session, peer->number);
    wires->executor->leave(wires->executor);
}

bool bm_peer_is_over(struct bm_wires *wires, const struct bm_peer *peer)
{
    (void)wires;
    return peer->broken && peer->told && peer->nrequests == 0 && peer->sending == NULL;
}

void bm_peer_free(struct bm_peer *peer)
{
    bm_tls_free(peer->channel.tls);
    close(peer->channel.fd);
    bm_reply_pieces_fini(&peer->out);
    free(peer->body);
    free(peer);
}

static void request_done(struct bm_wires *wires, struct bm_request_out *request)
    BM_REQUIRES(wires->mutex)
{
    bm_list_remove(&request->node);
    request->peer->nrequests--;
    wires->nrequests--;
    bm_exchange_fini(&request->exchange);
    free(request);
}

// ---- Sending ----

// Over the bound, the one that has taken nothing for the longest time goes.
static void wires_make_room(struct bm_wires *wires) BM_REQUIRES(wires->mutex)
{
    struct bm_peer *slowest = NULL;
    if (wires->counts.unsent_bytes <= BM_UNSENT_BYTES_MAX)
        return;
    struct bm_node *end = &wires->peers.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        struct bm_peer *peer = bm_peer_at(node);
        if (peer->blocked && !peer->broken &&
            (slowest == NULL || peer->since_ms < slowest->since_ms))
            slowest = peer;
    }
    if (slowest == NULL || bm_wires_now_ms(wires) - slowest->since_ms < UNSENT_PATIENCE_MS)
        return;
    wires->counts.slow++;
    bm_peer_break(wires, slowest);
}

// The reply as bytes; after a failure the error of that. False: not even memory to say so.
static bool reply_gather(struct bm_reply *reply, struct bm_reply_pieces *ret_pieces)
{
    struct bm_error error;
    for (int attempt = 0; attempt < 2; attempt++) {
        if (bm_reply_gather(reply, BM_FRAME_HEAD_MAX, ret_pieces, &error) == BM_OK)
            return true;
        bm_reply_fini(reply);
        bm_reply_fail(reply, &error);
    }
    return false;
}

// Makes bytes of the reply that has its turn, with the frame's head before them.
static bool peer_encode(struct bm_peer *peer)
{
    struct bm_request_out *request = peer->sending;
    struct bm_reply_pieces *out = &peer->out;
    if (!reply_gather(&request->exchange.reply, out))
        return false;
    size_t head = bm_frame_head_bytes(peer->is_ipc);
    unsigned char *at = (unsigned char *)out->pieces[0].iov_base - head;
    bm_frame_head_put(at, peer->is_ipc, out->size, request->id);
    out->pieces[0] = (struct iovec){at, out->pieces[0].iov_len + head};
    out->size += head;
    peer->piece = 0;
    return true;
}

enum written { WRITTEN, BLOCKED, BROKEN };

static enum written peer_write(struct bm_peer *peer)
{
    struct bm_reply_pieces *out = &peer->out;
    while (peer->piece < out->npieces) {
        struct iovec *pieces = out->pieces + peer->piece;
        size_t n = out->npieces - peer->piece;
        ssize_t taken = bm_channel_send(&peer->channel, pieces, n < IOV_MAX ? n : IOV_MAX);
        if (taken < 0 && errno == EINTR)
            continue;
        if (taken < 0)
            return errno == EAGAIN ? BLOCKED : BROKEN;
        for (size_t left = (size_t)taken; left > 0;) {
            size_t part = left < pieces->iov_len ? left : pieces->iov_len;
            pieces->iov_base = (char *)pieces->iov_base + part;
            pieces->iov_len -= part;
            left -= part;
            if (pieces->iov_len == 0) {
                peer->piece++;
                pieces++;
            }
        }
    }
    return WRITTEN;
}

// Sends what has its turn, and all in line behind it, as far as the peer takes it. Without the
// mutex; the caller is the one who sends. Afterwards the peer may be gone.
static void peer_send(struct bm_peer *peer)
{
    struct bm_wires *wires = peer->wires;
    bm_mutex_lock(&wires->mutex);
    while (peer->sending != NULL) {
        bool fresh = peer->out.npieces == 0, gone = peer->broken;
        bm_mutex_unlock(&wires->mutex);
        bool good = !gone && (!fresh || peer_encode(peer));
        enum written written = good ? peer_write(peer) : WRITTEN;
        bm_mutex_lock(&wires->mutex);
        if (fresh)
            wires->counts.unsent_bytes += peer->out.size;
        if (written == BROKEN)
            bm_peer_break(wires, peer);
        if (written == BLOCKED && !peer->broken) {
            peer->blocked = true;
            peer->since_ms = bm_wires_now_ms(wires);
            peer->untaken = INT_MAX;
            peer_interest(wires, peer);
            wires_make_room(wires);
            break;
        }
        wires->counts.unsent_bytes -= peer->out.size;
        bm_reply_pieces_fini(&peer->out);
        request_done(wires, peer->sending);
        struct bm_node *next = bm_list_pop_front(&peer->line);
        peer->sending = next == NULL ? NULL : BM_CONTAINER(next, struct bm_request_out, line_node);
        if (next == NULL)
            bm_peer_resume(wires, peer);
    }
    bm_mutex_unlock(&wires->mutex);
}

static void request_reply(struct bm_exchange *exchange)
{
    struct bm_request_out *request = BM_CONTAINER(exchange, struct bm_request_out, exchange);
    struct bm_peer *peer = request->peer;
    bm_mutex_lock(&peer->wires->mutex);
    bool its_turn = peer->sending == NULL;
    if (its_turn)
        peer->sending = request;
    else
        bm_list_push_back(&peer->line, &request->line_node);
    bm_mutex_unlock(&peer->wires->mutex);
    if (its_turn)
        peer_send(peer);
}

static void request_lends(struct bm_exchange *exchange)
{
    struct bm_peer *peer = BM_CONTAINER(exchange, struct bm_request_out, exchange)->peer;
    bm_mutex_lock(&peer->wires->mutex);
    peer->request_bytes_max = BM_TASK_REQUEST_BYTES_MAX;
    bm_mutex_unlock(&peer->wires->mutex);
}

void bm_peer_drop(struct bm_peer *peer)
{
    struct bm_wires *wires = peer->wires;
    bm_mutex_lock(&wires->mutex);
    bm_peer_break(wires, peer);
    bm_mutex_unlock(&wires->mutex);
    if (peer->sending != NULL)
        peer_send(peer);
}

// ---- Receiving ----

// The head of a frame is here, or its length at least; false: it is none that we take.
static bool peer_headed(struct bm_peer *peer)
{
    size_t head = bm_frame_head_bytes(peer->is_ipc);
    uint64_t size;
    bm_mutex_lock(&peer->wires->mutex);
    size_t most = peer->request_bytes_max;
    bm_mutex_unlock(&peer->wires->mutex);
    if (!bm_frame_length(peer->head, peer->is_ipc, &size) || size > most)
        return false;
    if (peer->got < head)
        return true;
    // The id of a request has its highest bit set; without it, it came through a relay.
    if ((bm_frame_id(peer->head, peer->is_ipc) & UINT32_C(0x80000000)) == 0)
        return false;
    peer->size = (size_t)size;
    peer->got = 0;
    peer->body = malloc(peer->size + 1);
    return peer->body != NULL;
}

// A request is here: hands it to the session.
static void peer_request(struct bm_peer *peer)
{
    struct bm_wires *wires = peer->wires;
    struct bm_request_out *request = calloc(1, sizeof *request);
    struct bm_error error;
    enum bm_status status = BM_OK;
    bool taken = false;
    if (request != NULL) {
        request->exchange.connection = peer->number;
        request->exchange.send = request_reply;
        request->exchange.lends = request_lends;
        request->exchange.same_host = peer->is_ipc || bm_address_is_local(&peer->address);
        request->peer = peer;
        request->id = bm_frame_id(peer->head, peer->is_ipc);
        status = bm_request_decode_long(peer->body, peer->size, BM_TASK_REQUEST_BYTES_MAX,
                                        &request->exchange.request, &taken, &error);
    }
    if (!taken)
        free(peer->body);
    peer->body = NULL;
    peer->got = 0;
    if (request == NULL)
        return; // lost, for want of memory: it is asked for again
    wires->executor->enter(wires->executor);
    bm_mutex_lock(&wires->mutex);
    bool gone = peer->broken || wires->stopping;
    bool many = peer->nrequests >= BM_PEER_REQUESTS_MAX;
    if (!gone) {
        bm_list_push_back(&peer->requests, &request->node);
        peer->nrequests++;
        wires->nrequests++;
    }
    bm_mutex_unlock(&wires->mutex);
    if (many && status == BM_OK)
        status = bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL,
                         "expected at most %d unanswered requests on a connection, got one more",
                         BM_PEER_REQUESTS_MAX);
    if (!gone && status == BM_OK)
        bm_session_request(wires->session, &request->exchange);
    else if (!gone)
        bm_session_refuse(wires->session, &request->exchange, &error);
    wires->executor->leave(wires->executor);
    if (gone) {
        bm_exchange_fini(&request->exchange);
        free(request);
    }
}

static void peer_count(struct bm_peer *peer, uint64_t *count)
{
    bm_mutex_lock(&peer->wires->mutex);
    (*count)++;
    bm_mutex_unlock(&peer->wires->mutex);
}

// Another `n` bytes of the greeting or of a head are in peer->head. False: hang up.
static bool peer_take_head(struct bm_peer *peer, size_t n)
{
    struct bm_wires *wires = peer->wires;
    peer->got += n;
    if (!peer->greeted) {
        if (peer->got < BM_GREETING_BYTES)
            return true;
        peer->got = 0;
        bool good = bm_greeting_is(peer->head, BM_GREETING_REQ);
        if (!good)
            peer_count(peer, &wires->counts.no_greeting);
        bm_mutex_lock(&wires->mutex);
        peer->greeted = good;
        bm_mutex_unlock(&wires->mutex);
        return good;
    }
    if (peer->got < bm_frame_head_bytes(peer->is_ipc) - BM_FRAME_ID_BYTES || peer_headed(peer))
        return true;
    peer_count(peer, &wires->counts.bad_frame);
    return false;
}

static size_t peer_wants(const struct bm_peer *peer) // until something is complete
{
    if (peer->body != NULL)
        return peer->size - peer->got;
    return (peer->greeted ? bm_frame_head_bytes(peer->is_ipc) : BM_GREETING_BYTES) - peer->got;
}

static void peer_take_body(struct bm_peer *peer, size_t n)
{
    peer->got += n;
    if (peer->got == peer->size)
        peer_request(peer);
}

// Takes apart what came; false: hang up.
static bool peer_feed(struct bm_peer *peer, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        bool head = peer->body == NULL;
        size_t n = peer_wants(peer);
        n = n < size ? n : size;
        memcpy((head ? peer->head : peer->body) + peer->got, bytes, n);
        if (head && !peer_take_head(peer, n))
            return false;
        if (!head)
            peer_take_body(peer, n);
        else if (peer->body != NULL && peer->size == 0)
            peer_take_body(peer, 0); // an empty message
        bytes += n;
        size -= n;
    }
    return true;
}

// What both sides say first. A new socket takes that much at once.
static bool peer_greet(const struct bm_peer *peer)
{
    unsigned char greeting[BM_GREETING_BYTES];
    struct iovec piece = {greeting, sizeof greeting};
    bm_greeting_put(greeting, BM_GREETING_REP);
    return bm_channel_send(&peer->channel, &piece, 1) == sizeof greeting;
}

// Only when that changes: a plain connection never comes here.
static void peer_read_when(struct bm_peer *peer, int awaits)
{
    bool when_writable = awaits == POLLOUT;
    if (when_writable == peer->reads_when_writable)
        return;
    bm_mutex_lock(&peer->wires->mutex);
    peer->reads_when_writable = when_writable;
    peer_interest(peer->wires, peer);
    bm_mutex_unlock(&peer->wires->mutex);
}

// A step of the handshake for TLS. False: hang up. Its time is part of that for the greeting.
static bool peer_shake(struct bm_peer *peer)
{
    int awaits = bm_tls_handshake(peer->channel.tls);
    if (awaits > 0) {
        peer_read_when(peer, awaits);
        return true;
    }
    peer->shaking = false;
    if (awaits == 0) {
        peer_read_when(peer, POLLIN);
        return peer_greet(peer);
    }
    struct bm_wires *wires = peer->wires;
    bm_mutex_lock(&wires->mutex);
    wires->counts.no_greeting += !peer->broken; // else whoever broke it has counted
    bm_mutex_unlock(&wires->mutex);
    return false;
}

// False: hang up. `last`: nothing more will come than what is here.
static bool peer_read(struct bm_peer *peer, bool last)
{
    unsigned char bytes[BM_TLS_RECORD_BYTES];
    bool plain = peer->channel.tls == NULL;
    if (peer->shaking)
        return peer_shake(peer) && !last;
    // What TLS kept of a record, epoll would not tell of: it gets room for all of it.
    bool large = plain && peer->body != NULL && peer_wants(peer) >= BM_PEER_READ_BYTES;
    struct iovec piece = {bytes, plain ? BM_PEER_READ_BYTES : sizeof bytes};
    if (large)
        piece = (struct iovec){peer->body + peer->got, peer_wants(peer)};
    ssize_t n = bm_channel_recv(&peer->channel, &piece, 1);
    if (!plain)
        peer_read_when(peer, bm_channel_awaits(&peer->channel));
    if (n < 0)
        return !last && (errno == EAGAIN || errno == EINTR);
    if (n > 0 && large)
        peer_take_body(peer, (size_t)n);
    else if (n > 0)
        return peer_feed(peer, bytes, (size_t)n);
    return n > 0;
}

// ---- What the hub's thread is told ----

static void peer_hang_up(struct bm_peer *peer)
{
    struct bm_wires *wires = peer->wires;
    bm_mutex_lock(&wires->mutex);
    bm_peer_break(wires, peer);
    bool news = !peer->told, blocked = peer->blocked;
    (void)epoll_ctl(wires->epoll, EPOLL_CTL_DEL, peer->watch.fd, NULL);
    peer->told = true;
    peer->blocked = false;
    bm_mutex_unlock(&wires->mutex);
    if (blocked)
        peer_send(peer); // drops it all
    if (news)
        peer_abandon(peer);
}

static void peer_ready(struct bm_watch *watch, uint32_t events)
{
    struct bm_peer *peer = BM_CONTAINER(watch, struct bm_peer, watch);
    struct bm_wires *wires = peer->wires;
    bool last = (events & (EPOLLERR | EPOLLHUP)) != 0, good = true;
    uint32_t readable = peer->reads_when_writable ? EPOLLOUT : EPOLLIN;
    do {
        good = (!last && (events & readable) == 0) || peer_read(peer, last);
    } while (last && good); // a client may ask and leave: that it closes a stream, say
    if (!good) {
        peer_hang_up(peer);
        return;
    }
    bm_mutex_lock(&wires->mutex);
    bool goes_on = (events & EPOLLOUT) != 0 && peer->blocked;
    if (goes_on)
        peer->blocked = false;
    bool pause = !peer->paused && !peer_may_ask(wires, peer);
    peer->paused |= pause;
    if (goes_on || pause)
        peer_interest(wires, peer);
    bm_mutex_unlock(&wires->mutex);
    if (goes_on)
        peer_send(peer);
}

// ---- Its life ----

struct bm_peer *bm_peer_new(struct bm_wires *wires, const struct bm_accepted *accepted)
{
    int fd = accepted->fd;
    struct bm_peer *peer = calloc(1, sizeof *peer);
    bool good = peer != NULL;
    if (good)
        peer->channel.fd = fd;
    if (good && accepted->tls != NULL)
        good = bm_tls_new(accepted->tls, fd, NULL, &peer->channel.tls, NULL) == BM_OK;
    if (!good || (accepted->tls == NULL && !peer_greet(peer))) {
        free(peer);
        close(fd);
        return NULL;
    }
    peer->watch = (struct bm_watch){peer_ready, fd};
    peer->wires = wires;
    peer->request_bytes_max = BM_REQUEST_BYTES_MAX;
    bm_mutex_lock(&wires->mutex);
    peer->number = ++wires->npeers;
    bm_mutex_unlock(&wires->mutex);
    peer->shaking = accepted->tls != NULL;
    peer->is_ipc = accepted->is_ipc;
    peer->address = accepted->address;
    peer->since_ms = bm_wires_now_ms(wires);
    bm_list_init(&peer->requests);
    bm_list_init(&peer->line);
    return peer;
}
