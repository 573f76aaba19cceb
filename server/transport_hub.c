// The protocol of nng's REP on sockets of our own: for tcp, tls+tcp and ipc.
//
// nng 1.5.2 forgets an operation of its sockets when their connection breaks between two parts of a
// message (its issues 616 and 1636), and one lost so is never given back; and each message goes
// through three of its threads. Here one thread waits for all connections; replies are sent
// by the thread that has them.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "base/thread.h"
#include "server/config.h"
#include "server/transport_peer.h"

enum {
    TICK_MS = 100,
    EVENTS_MAX = 64,   // of one round
    ACCEPTED_MAX = 64, // of one round
};

struct listener {
    struct bm_watch watch;
    struct bm_hub *hub;
    struct bm_address address;
    bool is_ipc;
    struct bm_tls_context *tls; // NULL: plain
    bool paused;                // the hub's thread's: there were no descriptors left
};

struct bm_hub {
    struct bm_wires wires;
    struct bm_watch stop; // an eventfd
    struct bm_thread thread;
    bool running;
    struct bm_tls_context *tls; // NULL: none
    unsigned peers_max;
    unsigned nlisteners; // the mutex'; the first `nlisteners` stay as they are
    struct listener listeners[BM_LISTEN_MAX];
};

static bool hub_watch(struct bm_hub *hub, int change, struct bm_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(hub->wires.epoll, change, watch->fd, &event) == 0;
}

// ---- Accepting ----

static bool wires_have_room(struct bm_wires *wires, unsigned peers_max,
                            const struct bm_address *address) BM_REQUIRES(wires->mutex)
{
    if (wires->stopping || wires->counts.open >= peers_max)
        return false;
    if (bm_address_is_local(address))
        return true;
    unsigned n = 0;
    struct bm_node *end = &wires->peers.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        const struct bm_peer *peer = bm_peer_at(node);
        n += !peer->broken && bm_address_equal(&peer->address, address);
    }
    return n < BM_ADDRESS_CONNECTIONS_MAX;
}

static void hub_welcome(struct bm_hub *hub, const struct bm_accepted *accepted)
{
    struct bm_wires *wires = &hub->wires;
    bm_mutex_lock(&wires->mutex);
    bool room = wires_have_room(wires, hub->peers_max, &accepted->address);
    wires->counts.accepted += room;
    wires->counts.refused += !room;
    bm_mutex_unlock(&wires->mutex);
    if (!room) {
        close(accepted->fd);
        return;
    }
    struct bm_peer *peer = bm_peer_new(wires, accepted);
    if (peer == NULL)
        return;
    bm_mutex_lock(&wires->mutex);
    bm_list_push_back(&wires->peers, &peer->node);
    wires->counts.open++;
    // What cannot be watched goes with the next tick.
    peer->broken = peer->told = !hub_watch(hub, EPOLL_CTL_ADD, &peer->watch, EPOLLIN);
    bm_mutex_unlock(&wires->mutex);
}

static void listener_ready(struct bm_watch *watch, uint32_t events)
{
    struct listener *listener = BM_CONTAINER(watch, struct listener, watch);
    (void)events;
    for (unsigned i = 0; i < ACCEPTED_MAX; i++) {
        struct bm_accepted accepted = {.is_ipc = listener->is_ipc, .tls = listener->tls};
        accepted.fd = bm_socket_accept(watch->fd, &accepted.address);
        if (accepted.fd >= 0) {
            hub_welcome(listener->hub, &accepted);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            listener->paused = true; // until the next tick: else it would be told over and over
            (void)hub_watch(listener->hub, EPOLL_CTL_MOD, watch, 0);
            return;
        }
        if (errno == EAGAIN)
            return;
    }
}

static void listener_free(struct listener *listener)
{
    close(listener->watch.fd);
    bm_socket_unlisten(&listener->address);
}

enum bm_status bm_hub_listen(struct bm_hub *hub, const char *url, int *ret_port,
                             struct bm_error *err)
{
    struct listener *listener = &hub->listeners[hub->nlisteners];
    struct bm_addresses addresses;
    struct bm_error error;
    int fd;
    enum bm_status status = bm_url_resolve(url, true, &addresses, err);
    if (status != BM_OK)
        return status;
    status = bm_socket_listen(&addresses.list[0], &fd, ret_port, &error);
    if (status != BM_OK)
        return bm_fail(err, status, url, "%s", error.text);
    *listener = (struct listener){.watch = {listener_ready, fd},
                                  .hub = hub,
                                  .address = addresses.list[0],
                                  .is_ipc = bm_url_is_ipc(url),
                                  .tls = bm_url_is_tls(url) ? hub->tls : NULL};
    if (!hub_watch(hub, EPOLL_CTL_ADD, &listener->watch, EPOLLIN)) {
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, url, "cannot watch the socket: %m");
        listener_free(listener);
        return status;
    }
    bm_mutex_lock(&hub->wires.mutex);
    hub->nlisteners++;
    bm_mutex_unlock(&hub->wires.mutex);
    return BM_OK;
}

// ---- The clock: who says nothing at first, or reads nothing, is hung up on ----

// Whether the other side has taken nothing since it was looked at last.
static bool peer_is_stuck(struct bm_wires *wires, struct bm_peer *peer, uint64_t now_ms)
    BM_REQUIRES(wires->mutex)
{
    int untaken = 0;
    (void)wires;
    if (ioctl(peer->watch.fd, SIOCOUTQ, &untaken) == 0 && untaken < peer->untaken) {
        bool first = peer->untaken == INT32_MAX;
        peer->untaken = untaken;
        if (!first)
            peer->since_ms = now_ms;
    }
    return now_ms - peer->since_ms > BM_SEND_TIMEOUT_MS;
}

static void peer_look_after(struct bm_wires *wires, struct bm_peer *peer, uint64_t now_ms)
    BM_REQUIRES(wires->mutex)
{
    if (peer->broken)
        return;
    if (!peer->greeted && now_ms - peer->since_ms > BM_GREETING_MS) {
        wires->counts.no_greeting++;
        bm_peer_break(wires, peer);
    } else if (peer->blocked && peer_is_stuck(wires, peer, now_ms)) {
        wires->counts.slow++;
        bm_peer_break(wires, peer);
    }
    bm_peer_resume(wires, peer); // may have had to wait for others
}

static void hub_tick(struct bm_hub *hub)
{
    struct bm_wires *wires = &hub->wires;
    struct bm_list over;
    struct bm_node *node, *next;
    bm_list_init(&over);
    bm_mutex_lock(&wires->mutex);
    uint64_t now_ms = bm_wires_now_ms(wires);
    for (node = wires->peers.head.next; node != &wires->peers.head; node = next) {
        struct bm_peer *peer = bm_peer_at(node);
        next = node->next;
        peer_look_after(wires, peer, now_ms);
        if (bm_peer_is_over(wires, peer)) {
            bm_list_remove(node);
            bm_list_push_back(&over, node);
            wires->counts.open--;
        }
    }
    unsigned nlisteners = hub->nlisteners;
    bm_mutex_unlock(&wires->mutex);
    while ((node = bm_list_pop_front(&over)) != NULL)
        bm_peer_free(bm_peer_at(node));
    for (unsigned i = 0; i < nlisteners; i++) {
        struct listener *listener = &hub->listeners[i];
        if (listener->paused)
            listener->paused = !hub_watch(hub, EPOLL_CTL_MOD, &listener->watch, EPOLLIN);
    }
}

// ---- Its thread ----

static void hub_woken(struct bm_watch *watch, uint32_t events)
{
    (void)watch;
    (void)events; // it is to look at `stopping`
}

static bool hub_is_stopping(struct bm_hub *hub)
{
    bm_mutex_lock(&hub->wires.mutex);
    bool stopping = hub->wires.stopping;
    bm_mutex_unlock(&hub->wires.mutex);
    return stopping;
}

static void *hub_run(void *context)
{
    struct bm_hub *hub = context;
    struct epoll_event events[EVENTS_MAX];
    uint64_t tick_ms = bm_wires_now_ms(&hub->wires);
    while (!hub_is_stopping(hub)) {
        int n = epoll_wait(hub->wires.epoll, events, EVENTS_MAX, TICK_MS);
        for (int i = 0; i < n; i++) {
            struct bm_watch *watch = events[i].data.ptr;
            watch->ready(watch, events[i].events);
        }
        // Only here a peer goes: what was told of it before is done with.
        uint64_t now_ms = bm_wires_now_ms(&hub->wires);
        if (now_ms - tick_ms >= TICK_MS) {
            hub_tick(hub);
            tick_ms = now_ms;
        }
    }
    return NULL;
}

struct bm_connection_counts bm_hub_counts(struct bm_hub *hub)
{
    bm_mutex_lock(&hub->wires.mutex);
    struct bm_connection_counts counts = hub->wires.counts;
    bm_mutex_unlock(&hub->wires.mutex);
    return counts;
}

// ---- Its life ----

static unsigned connections_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > UINT32_MAX)
        return UINT32_MAX;
    unsigned most = (unsigned)limit.rlim_cur;
    unsigned spare = BM_DESCRIPTORS_SPARE + bm_shared_descriptors_max();
    return most > 2 * spare ? most - spare : most / 2;
}

enum bm_status bm_hub_new(const struct bm_transport_config *config, struct bm_hub **ret_hub,
                          struct bm_error *err)
{
    struct bm_hub *hub = calloc(1, sizeof *hub);
    if (hub == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the sockets");
    hub->wires.executor = config->executor;
    hub->wires.session = config->session;
    hub->tls = config->tls;
    hub->peers_max = connections_max();
    bm_mutex_init(&hub->wires.mutex);
    bm_list_init(&hub->wires.peers);
    hub->wires.epoll = epoll_create1(EPOLL_CLOEXEC);
    hub->stop = (struct bm_watch){hub_woken, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    enum bm_status status = BM_OK;
    if (hub->wires.epoll < 0 || hub->stop.fd < 0)
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "cannot watch sockets: %m");
    else
        (void)hub_watch(hub, EPOLL_CTL_ADD, &hub->stop, EPOLLIN);
    if (status == BM_OK)
        status = bm_thread_start(&hub->thread, "bm:hub", hub_run, hub, err);
    hub->running = status == BM_OK;
    if (status == BM_OK)
        *ret_hub = hub;
    else
        bm_hub_free(hub);
    return status;
}

static void hub_stop(struct bm_hub *hub)
{
    const uint64_t one = 1;
    bm_mutex_lock(&hub->wires.mutex);
    hub->wires.stopping = true; // no peer comes, no request is taken from here on
    bm_mutex_unlock(&hub->wires.mutex);
    if (hub->running && write(hub->stop.fd, &one, sizeof one) == sizeof one)
        bm_thread_join(&hub->thread);
}

void bm_hub_free(struct bm_hub *hub)
{
    struct bm_node *node;
    if (hub == NULL)
        return;
    hub_stop(hub);
    for (unsigned i = 0; i < hub->nlisteners; i++)
        listener_free(&hub->listeners[i]);
    while ((node = bm_list_pop_front(&hub->wires.peers)) != NULL) {
        bm_peer_drop(bm_peer_at(node));
        BM_ASSERT(bm_peer_at(node)->nrequests == 0);
        bm_peer_free(bm_peer_at(node));
    }
    if (hub->stop.fd >= 0)
        close(hub->stop.fd);
    if (hub->wires.epoll >= 0)
        close(hub->wires.epoll);
    bm_mutex_fini(&hub->wires.mutex);
    free(hub);
}
