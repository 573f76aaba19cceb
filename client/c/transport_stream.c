// The protocol of nng's REQ on a socket of our own: for tcp, tls+tcp and ipc.
//
// nng 1.5.2 forgets a receive or a send of its own sockets when their connection breaks between two
// parts of a message: the connection is then never made again, and closing hangs (its issues 616
// and 1636); and each message goes through three of its threads. Here a thread per connection
// makes it, reads from it, and makes it again when it is lost; requests are sent by whoever makes
// them.
//
//     WAITING -> DIALING -> GREETING -> OPEN -> WAITING        the handshake of TLS is a greeting
//
// A mutex guards what the thread and the callers share, and is never held while the socket or a
// user's callback works.
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/list.h"
#include "base/mutex.h"
#include "base/state.h"
#include "base/thread.h"
#include "client/c/error.h"
#include "client/c/transport_type.h"
#include "net/channel.h"
#include "net/frame.h"
#include "net/socket.h"

enum {
    TICK_MS = 500, // how often it looks for replies that are late
    DIAL_MS = 5000,
    READ_BYTES = 4096, // of heads and short replies; what is longer is read where it stays
    // For the rest of a long reply it is woken once so much has come.
    LOW_WATER_BYTES = 128 * 1024,
};

#define NS_PER_MS UINT64_C(1000000)

enum link_state { WAITING, DIALING, GREETING, OPEN, NSTATES };

static const struct bm_state_rule link_rules[NSTATES] = {
    [WAITING] = {"waiting", BM_TO(DIALING)},
    [DIALING] = {"dialing", BM_TO(GREETING) | BM_TO(WAITING)},
    [GREETING] = {"greeting", BM_TO(OPEN) | BM_TO(WAITING)},
    [OPEN] = {"open", BM_TO(WAITING)},
};

struct link {
    struct bm_client_transport base;
    struct bm_client_transport_config config;
    bool is_ipc;
    char name[BM_TLS_NAME_MAX + 1]; // of the server, for TLS
    struct bm_client_pool *pool;
    struct bm_thread thread;
    int wake; // an eventfd: the thread is to look again

    struct bm_mutex mutex; // of what follows
    struct bm_cond called; // a callback of a call is over, or a send
    enum link_state state;
    bool closing, was_connected;
    struct bm_error refusal; // why the last server is not the one to talk to; BM_OK: it is
    uint64_t since_ns;       // when it was made or lost
    struct bm_list calls;
    uint32_t last_id;
    bool sending;                 // somebody is about to send `going`
    bool blocked;                 // the socket does not take the rest of `going` yet
    struct bm_buffer hello;       // first of all on a new connection; empty: nothing
    struct bm_buffer going, next; // frames are added to the second
    size_t sent;

    // The thread's.
    struct bm_channel channel; // whoever sends may use it too
    uint64_t heard_ns, ticked_ns;
    uint32_t backoff_ms;
    int low_water;
    unsigned char head[BM_FRAME_HEAD_MAX];
    struct bm_client_message *message; // NULL while its head is read
    size_t got;                        // of the head, or of the message
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
    bool ended; // there will be no reply; of one that is busy
};

static void link_move(struct link *link, enum link_state next) BM_REQUIRES(link->mutex)
{
    link->state = (enum link_state)bm_state_next(link_rules, (int)link->state, (int)next);
}

static void link_enter(struct link *link, enum link_state next)
{
    bm_mutex_lock(&link->mutex);
    link_move(link, next);
    bm_mutex_unlock(&link->mutex);
}

static struct link_call *call_at(struct bm_node *node)
{
    return BM_CONTAINER(node, struct link_call, node);
}

// ---- Waiting ----

static void link_wake(struct link *link)
{
    const uint64_t one = 1;
    while (write(link->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static bool link_is_closing(struct link *link)
{
    bm_mutex_lock(&link->mutex);
    bool closing = link->closing;
    bm_mutex_unlock(&link->mutex);
    return closing;
}

// Waits for the socket (none: -1), or until it is woken. What happened to the socket.
static short link_poll(const struct link *link, int fd, short events, int ms)
{
    struct pollfd fds[] = {{.fd = link->wake, .events = POLLIN}, {.fd = fd, .events = events}};
    uint64_t count;
    if (poll(fds, 2, ms) <= 0)
        return 0;
    if (fds[0].revents != 0 && read(link->wake, &count, sizeof count) < 0 && errno != EAGAIN)
        return POLLERR;
    return fds[1].revents;
}

// Until then, or the link is closed; what happened to the socket, if anything.
static short link_wait_for(struct link *link, int fd, short events, uint64_t ms)
{
    uint64_t end_ns = bm_client_transport_now_ns() + ms * NS_PER_MS;
    for (;;) {
        uint64_t now_ns = bm_client_transport_now_ns();
        if (now_ns >= end_ns || link_is_closing(link))
            return 0;
        short seen = link_poll(link, fd, events, (int)((end_ns - now_ns) / NS_PER_MS) + 1);
        if (seen != 0)
            return seen;
    }
}

// ---- Sending ----

// Sends what is in `going`, as far as the socket takes it. Gives the mutex back meanwhile.
static void link_write(struct link *link) BM_REQUIRES(link->mutex)
{
    struct iovec piece = {link->going.data + link->sent, link->going.size - link->sent};
    link->sending = true;
    link->blocked = false;
    bm_mutex_unlock(&link->mutex);
    ssize_t n = bm_channel_send(&link->channel, &piece, 1);
    bool broken = n < 0 && errno != EAGAIN && errno != EINTR;
    if (broken)
        (void)shutdown(link->channel.fd, SHUT_RDWR); // the thread sees that
    bm_mutex_lock(&link->mutex);
    link->sending = false;
    link->sent += n > 0 ? (size_t)n : 0;
    link->blocked = !broken && link->sent < link->going.size;
    if (broken)
        bm_buffer_clear(&link->going);
    if (link->blocked)
        link_wake(link);
    if (link->state != OPEN)
        bm_cond_broadcast(&link->called);
}

static void link_pump(struct link *link) BM_REQUIRES(link->mutex)
{
    while (link->state == OPEN && !link->sending && !link->blocked && link->next.size > 0) {
        struct bm_buffer empty = link->going;
        link->going = link->next;
        link->next = empty;
        bm_buffer_clear(&link->next);
        link->sent = 0;
        link_write(link);
    }
}

// False: out of memory.
static bool link_frame_bytes(struct link *link, const struct bm_buffer *request, uint32_t id)
    BM_REQUIRES(link->mutex)
{
    size_t head = bm_frame_head_bytes(link->is_ipc), size = request->size;
    unsigned char *frame = bm_buffer_extend(&link->next, head + size);
    if (frame == NULL) {
        link->next.failed = false; // what is in it goes
        return false;
    }
    bm_frame_head_put(frame, link->is_ipc, size, id);
    memcpy(frame + head, request->data, size);
    return true;
}

static bool link_frame(struct link *link, struct link_call *call) BM_REQUIRES(link->mutex)
{
    call->sent_ns = bm_client_transport_now_ns();
    return link_frame_bytes(link, &call->request, call->id);
}

static uint32_t link_id(struct link *link) BM_REQUIRES(link->mutex)
{
    return ++link->last_id | UINT32_C(0x80000000);
}

// ---- Receiving ----

static void call_finish(struct link_call *call, struct bm_client_message *message)
{
    struct link *link = call->link;
    call->done(call->context, message);
    bm_mutex_lock(&link->mutex);
    call->calling = false;
    bm_cond_broadcast(&link->called);
    bm_mutex_unlock(&link->mutex);
}

// Takes the message that is here to the call that waits for it.
static void link_deliver(struct link *link)
{
    struct bm_client_message *message = link->message;
    uint32_t id = bm_frame_id(link->head, link->is_ipc);
    struct link_call *call = NULL;
    link->message = NULL;
    link->got = 0;
    bm_mutex_lock(&link->mutex);
    struct bm_node *end = &link->calls.head;
    for (struct bm_node *node = end->next; node != end && call == NULL; node = node->next) {
        if (call_at(node)->busy && call_at(node)->id == id)
            call = call_at(node);
    }
    if (call != NULL) {
        call->busy = false;
        call->calling = true;
    }
    bm_mutex_unlock(&link->mutex);
    if (call == NULL) { // answered already, or given up
        bm_client_message_unref(message);
        return;
    }
    call_finish(call, message);
}

// The head of a frame is here; false: it is none, or too long, or there is no memory for it.
static bool link_headed(struct link *link)
{
    uint64_t size;
    if (!bm_frame_length(link->head, link->is_ipc, &size) || size > link->config.max_message_bytes)
        return false;
    link->message = bm_client_message_alloc(link->pool, (size_t)size);
    link->got = 0;
    return link->message != NULL;
}

static size_t link_wants(const struct link *link)
{
    size_t all = link->message == NULL ? bm_frame_head_bytes(link->is_ipc)
                                       : bm_client_message_size(link->message);
    return all - link->got;
}

// Another `n` bytes are where they belong. False: the connection is of no use any more.
static bool link_took(struct link *link, size_t n)
{
    link->got += n;
    if (link_wants(link) > 0)
        return true;
    if (link->message == NULL && !link_headed(link))
        return false;
    if (link->message != NULL && link_wants(link) == 0)
        link_deliver(link);
    return true;
}

static bool link_feed(struct link *link, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        unsigned char *to =
            link->message == NULL ? link->head : bm_client_message_bytes(link->message);
        size_t n = link_wants(link) < size ? link_wants(link) : size;
        memcpy(to + link->got, bytes, n);
        if (!link_took(link, n))
            return false;
        bytes += n;
        size -= n;
    }
    return true;
}

// How much has to come before poll() tells of it.
static void link_low_water(struct link *link, size_t bytes)
{
    // TLS may have taken most of a record out of the socket already.
    size_t taken = link->channel.tls == NULL ? 0 : 2 * BM_TLS_RECORD_BYTES;
    int low_water = bytes < LOW_WATER_BYTES + taken ? 1 : LOW_WATER_BYTES;
    if (low_water != link->low_water &&
        setsockopt(link->channel.fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water) == 0)
        link->low_water = low_water;
}

enum received { SOMETHING, NOTHING, THE_END };

static enum received link_read(struct link *link)
{
    unsigned char bytes[READ_BYTES];
    size_t wants = link->message == NULL ? 0 : link_wants(link);
    struct iovec pieces[2] = {{NULL, wants}, {bytes, sizeof bytes}};
    if (wants > 0)
        pieces[0].iov_base = bm_client_message_bytes(link->message) + link->got;
    ssize_t n = bm_channel_recv(&link->channel, pieces + (wants == 0), wants == 0 ? 1 : 2);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? NOTHING : THE_END;
    if (n == 0)
        return THE_END;
    size_t direct = (size_t)n < wants ? (size_t)n : wants;
    link->heard_ns = bm_client_transport_now_ns();
    if (direct > 0 && !link_took(link, direct))
        return THE_END;
    return link_feed(link, bytes, (size_t)n - direct) ? SOMETHING : THE_END;
}

// ---- A connection's life ----

// What the timer of REQ does: a request without a reply is sent again; and a connection on which
// nothing comes any more, though something must, is given up for a new one: false.
static bool link_tick(struct link *link)
{
    uint64_t now_ns = bm_client_transport_now_ns();
    uint64_t late_ns = BM_CLIENT_RESEND_MS * NS_PER_MS;
    bool waits = false;
    if (now_ns - link->ticked_ns < TICK_MS * NS_PER_MS)
        return true;
    link->ticked_ns = now_ns;
    bm_mutex_lock(&link->mutex);
    struct bm_node *end = &link->calls.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        struct link_call *call = call_at(node);
        if (!call->busy || now_ns - call->sent_ns < late_ns)
            continue;
        waits = true;
        (void)link_frame(link, call);
    }
    link_pump(link);
    bm_mutex_unlock(&link->mutex);
    return !waits || now_ns - link->heard_ns <= 2 * late_ns;
}

// What is left to send goes, when the socket takes it. Whether there still is something.
static bool link_unblock(struct link *link, bool writable)
{
    bm_mutex_lock(&link->mutex);
    if (link->blocked && writable) {
        link_write(link);
        link_pump(link);
    }
    bool blocked = link->blocked;
    bm_mutex_unlock(&link->mutex);
    return blocked;
}

// Until the connection is lost, or the link is closed.
static void link_serve(struct link *link)
{
    while (link_tick(link)) {
        enum received received = link_read(link);
        if (received == THE_END || link_is_closing(link))
            return;
        if (received == SOMETHING)
            continue;
        bool blocked = link_unblock(link, false);
        link_low_water(link, link->message == NULL ? 0 : link_wants(link));
        short events = (short)(bm_channel_awaits(&link->channel) | (blocked ? POLLOUT : 0));
        short seen = link_poll(link, link->channel.fd, events, TICK_MS);
        if ((seen & POLLOUT) != 0)
            (void)link_unblock(link, true);
    }
}

// Connected to one of the addresses, or -1.
static int link_connect(struct link *link)
{
    struct bm_addresses addresses;
    if (bm_url_resolve(link->config.url, false, &addresses, NULL) != BM_OK)
        return -1;
    for (unsigned i = 0; i < addresses.n; i++) {
        int fd = bm_socket_connect(&addresses.list[i]);
        if (fd >= 0 && link_wait_for(link, fd, POLLOUT, DIAL_MS) != 0 && bm_socket_error(fd) == 0)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    return -1;
}

// The handshake of TLS. False: the other side is not whom we expect, or it broke.
static bool link_shake(struct link *link)
{
    struct bm_channel *channel = &link->channel;
    if (bm_tls_new(link->config.tls, channel->fd, link->name, &channel->tls, NULL) != BM_OK)
        return false; // out of memory; maybe not the next time
    uint64_t end_ns = bm_client_transport_now_ns() + DIAL_MS * NS_PER_MS;
    int awaits;
    while ((awaits = bm_tls_handshake(channel->tls)) > 0) {
        uint64_t now_ns = bm_client_transport_now_ns();
        if (now_ns >= end_ns ||
            link_wait_for(link, channel->fd, (short)awaits, (end_ns - now_ns) / NS_PER_MS + 1) == 0)
            return false;
    }
    return awaits == 0;
}

// False: the other side is no server of ours, or says nothing.
static bool link_greet(struct link *link)
{
    unsigned char bytes[BM_GREETING_BYTES];
    struct iovec piece = {bytes, sizeof bytes};
    bm_greeting_put(bytes, BM_GREETING_REQ);
    if (bm_channel_send(&link->channel, &piece, 1) != sizeof bytes)
        return false; // a new socket takes that much at once
    for (size_t got = 0; got < sizeof bytes;) {
        piece = (struct iovec){bytes + got, sizeof bytes - got};
        ssize_t n = bm_channel_recv(&link->channel, &piece, 1);
        if (n < 0 && errno == EAGAIN &&
            link_wait_for(link, link->channel.fd, (short)bm_channel_awaits(&link->channel),
                          UINT64_C(2) * BM_CLIENT_RESEND_MS) == 0)
            return false;
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        got += n > 0 ? (size_t)n : 0;
    }
    return bm_greeting_is(bytes, BM_GREETING_REP);
}

static void link_begin(struct link *link)
{
    link->heard_ns = link->ticked_ns = bm_client_transport_now_ns();
    link->backoff_ms = BM_CLIENT_RECONNECT_MS;
    link->got = 0;
    link->low_water = 1;
    bm_mutex_lock(&link->mutex);
    bool back = link->was_connected;
    link->was_connected = true;
    link->since_ns = link->heard_ns;
    link->refusal.status = BM_OK;
    link_move(link, OPEN);
    if (link->hello.size > 0) // nobody waits for the answer
        (void)link_frame_bytes(link, &link->hello, link_id(link));
    struct bm_node *end = &link->calls.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        if (call_at(node)->busy)
            (void)link_frame(link, call_at(node)); // else the tick sends it
    }
    link_pump(link);
    bm_mutex_unlock(&link->mutex);
    if (back)
        bm_client_transport_log(&link->config, "the connection is back");
}

// A call that is to end without a reply, and is marked as being called; NULL: none.
static struct link_call *link_take_ended(struct link *link)
{
    struct link_call *found = NULL;
    bm_mutex_lock(&link->mutex);
    struct bm_node *end = &link->calls.head;
    for (struct bm_node *node = end->next; node != end && found == NULL; node = node->next) {
        if (call_at(node)->busy && call_at(node)->ended)
            found = call_at(node);
    }
    if (found != NULL) {
        found->busy = found->ended = false;
        found->calling = true;
    }
    bm_mutex_unlock(&link->mutex);
    return found;
}

// Keeps why the other side is not accepted, or does not accept us, if that was it.
static void link_refuse(struct link *link)
{
    struct bm_error why = {0};
    if (link->channel.tls != NULL && bm_tls_failure(link->channel.tls, &why) == BM_UNAVAILABLE)
        why.status = BM_OK; // it only broke
    bm_mutex_lock(&link->mutex);
    link->refusal = why;
    bool ends = why.status != BM_OK && link->config.ends_when_refused && !link->was_connected;
    struct bm_node *end = &link->calls.head;
    for (struct bm_node *node = end->next; ends && node != end; node = node->next)
        call_at(node)->ended = call_at(node)->busy;
    bm_mutex_unlock(&link->mutex);
    struct link_call *call;
    while (ends && (call = link_take_ended(link)) != NULL)
        call_finish(call, NULL);
}

static void link_end(struct link *link)
{
    bm_mutex_lock(&link->mutex);
    bool lost = link->state == OPEN && !link->closing;
    if (link->state == OPEN)
        link->since_ns = bm_client_transport_now_ns();
    link_move(link, WAITING);
    while (link->sending) // it uses the socket
        bm_cond_wait(&link->called, &link->mutex);
    link->blocked = false;
    link->sent = 0;
    bm_buffer_clear(&link->going);
    bm_buffer_clear(&link->next);
    bm_mutex_unlock(&link->mutex);
    link->message = bm_client_message_unref(link->message);
    bm_tls_free(link->channel.tls);
    close(link->channel.fd);
    link->channel = (struct bm_channel){-1, NULL};
    if (lost)
        bm_client_transport_log(
            &link->config, "the connection is lost; connecting again in 50 ms, then less often");
}

static void *link_run(void *context)
{
    struct link *link = context;
    while (!link_is_closing(link)) {
        link_enter(link, DIALING);
        link->channel.fd = link_connect(link);
        link_enter(link, link->channel.fd < 0 ? WAITING : GREETING);
        if (link->channel.fd >= 0) {
            if ((link->config.tls == NULL || link_shake(link)) && link_greet(link)) {
                link_begin(link);
                link_serve(link);
            } else {
                link_refuse(link);
            }
            link_end(link);
        }
        (void)link_wait_for(link, -1, 0, link->backoff_ms);
        link->backoff_ms *= 2;
        if (link->backoff_ms > BM_CLIENT_RECONNECT_MAX_MS)
            link->backoff_ms = BM_CLIENT_RECONNECT_MAX_MS;
    }
    return NULL;
}

// ---- Its life ----

static struct link *link_of(struct bm_client_transport *transport)
{
    return BM_CONTAINER(transport, struct link, base);
}

static void link_free(struct link *link)
{
    bm_client_pool_close(link->pool);
    if (link->wake >= 0)
        close(link->wake);
    bm_buffer_fini(&link->hello);
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
    bm_mutex_unlock(&link->mutex);
    link_wake(link);
    bm_thread_join(&link->thread);
    link_free(link);
}

static enum batchmill_code link_open(const struct bm_client_transport_config *config,
                                     struct bm_client_transport **ret_transport,
                                     struct batchmill_error *error)
{
    struct bm_error why;
    if (bm_url_check(config->url, &why) != BM_OK)
        return bm_client_transport_bad_url(config, why.text, error);
    const char *name = config->tls_name == NULL ? "" : config->tls_name;
    if (strlen(name) > BM_TLS_NAME_MAX)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT,
                              "tls_server_name: expected at most %d bytes, got %zu",
                              BM_TLS_NAME_MAX, strlen(name));
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory");
    (void)bm_url_host(config->url, link->name, NULL); // it can be parsed
    if (name[0] != '\0')
        strcpy(link->name, name);
    link->base.type = &bm_client_transport_stream;
    link->config = *config;
    link->is_ipc = bm_url_is_ipc(config->url);
    link->backoff_ms = BM_CLIENT_RECONNECT_MS;
    link->since_ns = bm_client_transport_now_ns();
    link->last_id = (uint32_t)link->since_ns; // unlike those of a connection before
    link->pool = bm_client_pool_new();
    link->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bm_mutex_init(&link->mutex);
    bm_cond_init(&link->called);
    bm_list_init(&link->calls);
    bm_buffer_init(&link->hello);
    bm_buffer_init(&link->going);
    bm_buffer_init(&link->next);
    if (link->pool == NULL || link->wake < 0 ||
        bm_thread_start(&link->thread, "bm:link", link_run, link, NULL) != BM_OK) {
        link_free(link);
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED,
                              "cannot start a connection: out of memory, threads or descriptors");
    }
    *ret_transport = &link->base;
    return BATCHMILL_OK;
}

static bool link_hello(struct bm_client_transport *transport, const void *bytes, size_t size)
{
    struct link *link = link_of(transport);
    bm_mutex_lock(&link->mutex);
    bm_buffer_clear(&link->hello);
    bm_buffer_add(&link->hello, bytes, size);
    bool good = !bm_buffer_failed(&link->hello);
    bm_mutex_unlock(&link->mutex);
    return good;
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

static bool link_refused(struct bm_client_transport *transport, struct batchmill_error *ret_why)
{
    struct link *link = link_of(transport);
    bm_mutex_lock(&link->mutex);
    bool refused = link->refusal.status != BM_OK;
    if (refused)
        bm_client_fail(ret_why, (enum batchmill_code)link->refusal.status, "%s: %s",
                       link->config.url, link->refusal.text);
    bm_mutex_unlock(&link->mutex);
    return refused;
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
        call->id = link_id(link);
        // Without a connection it goes when there is one.
        started = link->state != OPEN || link_frame(link, call);
        call->busy = started;
        link_pump(link); // from here on the call may be over, and gone
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
    .hello = link_hello,
    .connected = link_connected,
    .refused = link_refused,
    .call_new = link_call_new,
    .call_start = link_call_start,
    .call_free = link_call_free,
};
