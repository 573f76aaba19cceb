// channel.h -- a connected socket that never blocks, plain or with TLS: one way to use both.
// Layer: net (may include base).
//
// Threads: one reads and one writes, at once if they like.
#pragma once
#include <poll.h>
#include <sys/socket.h>

#include "net/tls.h"

struct bm_channel {
    int fd;
    struct bm_tls *tls; // NULL: plain
};

// As recv() and recvmsg(): -1 with EAGAIN, or for good; 0 at the end. With TLS the first piece
// alone is filled, and nothing stays behind when it has room for BM_TLS_RECORD_BYTES.
static inline ssize_t bm_channel_recv(const struct bm_channel *channel, struct iovec *pieces,
                                      size_t npieces)
{
    if (channel->tls != NULL)
        return bm_tls_recv(channel->tls, pieces->iov_base, pieces->iov_len);
    if (npieces == 1)
        return recv(channel->fd, pieces->iov_base, pieces->iov_len, MSG_DONTWAIT);
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = npieces};
    return recvmsg(channel->fd, &message, MSG_DONTWAIT);
}

// As sendmsg(): how much of it went; -1 with EAGAIN, or for good.
static inline ssize_t bm_channel_send(const struct bm_channel *channel, struct iovec *pieces,
                                      size_t npieces)
{
    if (channel->tls != NULL)
        return bm_tls_send(channel->tls, pieces, npieces);
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = npieces};
    return sendmsg(channel->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// What to wait for before reading again.
static inline int bm_channel_awaits(const struct bm_channel *channel)
{
    return channel->tls == NULL ? POLLIN : bm_tls_awaits(channel->tls);
}
