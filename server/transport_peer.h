// transport_peer.h -- one connection: requests come, replies go. Layer: server (private).
//
// Of each connection one reply at a time becomes bytes and is sent, by the thread that has it: as
// far as the peer takes it at once, else by the hub's thread, when the peer takes more. Those in
// line stay what they are, references to batches, so that a slow peer costs little.
//
// Threads: what comes is the hub's thread's; the rest is guarded by the hub's mutex, and what
// needs it held takes the hub, so that clang can tell. In order: the executor's mutex, the hub's,
// the session's of answers.
#pragma once
#include "base/list.h"
#include "base/mutex.h"
#include "net/channel.h"
#include "net/frame.h"
#include "net/socket.h"
#include "server/codec.h"
#include "server/transport_type.h"

struct bm_watch { // what epoll tells the hub's thread about
    void (*ready)(struct bm_watch *watch, uint32_t events);
    int fd;
};

struct bm_wires { // what all connections share
    struct bm_executor *executor;
    struct bm_session *session;
    int epoll;
    struct bm_mutex mutex; // of what follows
    struct bm_list peers;
    unsigned nrequests;
    bool stopping;
    uint64_t npeers; // that there were
    struct bm_connection_counts counts;
};

struct bm_request_out;

struct bm_peer {
    struct bm_watch watch;
    struct bm_node node; // in wires->peers
    struct bm_wires *wires;
    struct bm_channel channel; // its socket is that of `watch`
    bool is_ipc;
    struct bm_address address;
    // The hub's thread's: what comes.
    bool shaking; // hands, for TLS
    unsigned char head[BM_FRAME_HEAD_MAX];
    unsigned char *body; // NULL while a head is read
    size_t got, size;
    uint64_t number; // of the connection: no other has it
    // The mutex':
    size_t request_bytes_max;   // of one request: more for those who lend actions
    bool greeted, broken, told; // told: its requests were abandoned
    bool paused;                // nothing is read from it
    bool reads_when_writable;   // TLS has to send something first; the hub's thread's to change
    bool blocked;               // takes no more right now
    uint64_t since_ms;          // connected; then, blocked and has taken nothing
    int untaken;                // bytes of what was sent that its side has not taken, when blocked
    struct bm_list requests, line;
    unsigned nrequests;
    struct bm_request_out *sending;
    // Of who sends: while not blocked the thread that made the reply, else the hub's.
    struct bm_reply_pieces out;
    unsigned piece;
};

enum {
    BM_PEER_READ_BYTES = 4096, // at once, of frames; what is longer is read where it stays
};

static inline struct bm_peer *bm_peer_at(struct bm_node *node)
{
    return BM_CONTAINER(node, struct bm_peer, node);
}

uint64_t bm_wires_now_ms(const struct bm_wires *wires);

struct bm_accepted { // a new connection
    int fd;
    bool is_ipc;
    struct bm_tls_context *tls; // NULL: plain
    struct bm_address address;
};
// Takes the socket, also on failure; greets, over TLS after the handshake. NULL: no memory, or
// nobody is there any more.
struct bm_peer *bm_peer_new(struct bm_wires *wires, const struct bm_accepted *accepted);
void bm_peer_free(struct bm_peer *peer); // nothing of it is under way
void bm_peer_break(struct bm_wires *wires, struct bm_peer *peer) BM_REQUIRES(wires->mutex);
// Reads from it again, if it was paused and need not be any more.
void bm_peer_resume(struct bm_wires *wires, struct bm_peer *peer) BM_REQUIRES(wires->mutex);
// It is broken, and nobody uses it any more.
bool bm_peer_is_over(struct bm_wires *wires, const struct bm_peer *peer) BM_REQUIRES(wires->mutex);
// Drops what it waits to be sent; no thread sends any more.
void bm_peer_drop(struct bm_peer *peer);
