// Peers that mean harm over TLS: each is bounded, counted and hung up on, and an honest client
// beside them goes on.
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "base/buffer.h"
#include "client/c/codec.h"
#include "fakes/certificates.h"
#include "fakes/client_fixture.h"
#include "net/frame.h"
#include "net/tls.h"
#include "server/codec.h"
#include "support.h"

enum { HEAD_BYTES = BM_FRAME_HEAD_MAX - 1, PATIENCE_MS = 20000 };

static struct bm_tls_context *context; // of all clients here

// ---- A wire: a client's socket, and TLS on it when it comes to that ----

struct wire {
    int fd;
    struct bm_tls *tls; // NULL: not yet
};

static int socket_connect(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *port = strrchr(the_host.urls[CLIENT_TLS], ':');
    address.sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static bool socket_is_closed(int fd) // within PATIENCE_MS; reads what comes
{
    char bytes[65536];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        ;
    return n == 0 || errno == ECONNRESET;
}

static void socket_reset(int fd) // at once, without a goodbye
{
    const struct linger linger = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

static void wait_for(int fd, short events)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
}

static struct wire wire_shaken(void) // the handshake is over
{
    struct wire wire = {.fd = socket_connect()};
    int awaits;
    assert_int_equal(bm_tls_new(context, wire.fd, "127.0.0.1", &wire.tls, NULL), BM_OK);
    while ((awaits = bm_tls_handshake(wire.tls)) > 0)
        wait_for(wire.fd, (short)awaits);
    assert_int_equal(awaits, 0);
    return wire;
}

static void wire_send(const struct wire *wire, const void *bytes, size_t size)
{
    struct iovec piece = {(void *)bytes, size};
    while (piece.iov_len > 0) {
        ssize_t n = bm_tls_send(wire->tls, &piece, 1);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            wait_for(wire->fd, POLLOUT);
            continue;
        }
        piece.iov_base = (char *)piece.iov_base + n;
        piece.iov_len -= (size_t)n;
    }
}

// False: it ended.
static bool wire_read(const struct wire *wire, void *bytes, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = bm_tls_recv(wire->tls, (char *)bytes + got, size - got);
        if (n < 0 && errno == EAGAIN)
            wait_for(wire->fd, (short)bm_tls_awaits(wire->tls));
        else if (n <= 0)
            return false;
        else
            got += (size_t)n;
    }
    return true;
}

static struct wire wire_open(void) // both have said who they are
{
    unsigned char greeting[BM_GREETING_BYTES];
    struct wire wire = wire_shaken();
    bm_greeting_put(greeting, BM_GREETING_REQ);
    wire_send(&wire, greeting, sizeof greeting);
    assert_true(wire_read(&wire, greeting, sizeof greeting));
    assert_true(bm_greeting_is(greeting, BM_GREETING_REP));
    return wire;
}

static void wire_close(struct wire *wire)
{
    bm_tls_free(wire->tls);
    close(wire->fd);
}

static void wire_reset(struct wire *wire)
{
    const struct linger linger = {.l_onoff = 1};
    setsockopt(wire->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    wire_close(wire);
}

static struct bm_buffer frame_of(const struct bm_buffer *request)
{
    struct bm_buffer frame;
    bm_buffer_init(&frame);
    unsigned char *head = bm_buffer_extend(&frame, HEAD_BYTES);
    bm_frame_head_put(head, false, request->size, UINT32_C(0x80000007));
    bm_buffer_add(&frame, request->data, request->size);
    return frame;
}

static struct bm_buffer status_frame(void)
{
    struct bm_buffer request;
    bm_buffer_init(&request);
    assert_int_equal(bm_client_encode_status(&request, NULL), BATCHMILL_OK);
    struct bm_buffer frame = frame_of(&request);
    bm_buffer_fini(&request);
    return frame;
}

static void expect_reply(const struct wire *wire)
{
    unsigned char head[HEAD_BYTES], body[65536];
    uint64_t size;
    assert_true(wire_read(wire, head, sizeof head));
    assert_true(bm_frame_length(head, false, &size));
    assert_true(size > 0 && size <= sizeof body);
    assert_true(wire_read(wire, body, (size_t)size));
}

// ---- What there is to see ----

static struct bm_connection_counts counts(void)
{
    return bm_server_counts(the_host.server);
}

static void expect_connections(uint64_t n) // soon
{
    for (unsigned ms = 0; ms < PATIENCE_MS && counts().open > n; ms += 10)
        client_nap_ms(10);
    if (counts().open > n)
        fail_msg("expected at most %" PRIu64 " connections, got %" PRIu64, n, counts().open);
}

static void expect_honest(void)
{
    double begin = client_seconds();
    struct batchmill_client *client = client_connected(the_host.urls[CLIENT_TLS]);
    struct batchmill_order order = client_order(3);
    struct batchmill_stream *stream = client_opened(client, "locked", &order);
    uint64_t seq = 0;
    client_take_digest(stream, &seq, 10);
    assert_int_equal(seq, 10);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
    assert_true(client_seconds() - begin < 2);
}

// The first bytes of an honest client: its hello.
static size_t hello_get(unsigned char *bytes, size_t size)
{
    int fds[2];
    struct bm_tls *tls = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(bm_tls_new(context, fds[0], "127.0.0.1", &tls, NULL), BM_OK);
    assert_int_equal(bm_tls_handshake(tls), POLLIN);
    ssize_t n = recv(fds[1], bytes, size, 0);
    assert_true(n > 100);
    bm_tls_free(tls);
    close(fds[0]);
    close(fds[1]);
    return (size_t)n;
}

// ---- ----

static void what_is_no_handshake_is_hung_up_on(void **state)
{
    (void)state;
    enum { N = 64 };
    uint32_t random = 1;
    static const unsigned char head[] = {0x16, 0x03, 0x01, 0x03, 0xe3};
    unsigned char bytes[1000];
    for (unsigned i = 0; i < N; i++) {
        int fd = socket_connect();
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (unsigned char)((random = random * 1664525 + 1013904223) >> 24);
        if (i % 2 == 0) // a record of a handshake as far as its head goes
            memcpy(bytes, head, sizeof head);
        assert_int_equal(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), sizeof bytes);
        assert_true(socket_is_closed(fd));
        close(fd);
    }
    assert_int_equal(counts().no_greeting, N);
    int fd = socket_connect(); // as on a plain address
    bm_greeting_put(bytes, BM_GREETING_REQ);
    assert_int_equal(send(fd, bytes, BM_GREETING_BYTES, MSG_NOSIGNAL), BM_GREETING_BYTES);
    assert_true(socket_is_closed(fd));
    close(fd);
    assert_int_equal(counts().no_greeting, N + 1);
    expect_honest();
    expect_connections(0);
}

static void altered_hellos_are_hung_up_on_or_answered(void **state)
{
    (void)state;
    unsigned char hello[4096];
    size_t size = hello_get(hello, sizeof hello);
    for (size_t i = 0; i < size; i += 3) {
        int fd = socket_connect();
        hello[i] ^= (unsigned char)(1 << i % 8);
        (void)send(fd, hello, size, MSG_NOSIGNAL);
        hello[i] ^= (unsigned char)(1 << i % 8);
        socket_reset(fd);
    }
    expect_honest();
    expect_connections(0);
}

static void who_is_slow_with_the_handshake_holds_up_nobody_and_not_for_long(void **state)
{
    (void)state;
    enum { N = 300, NROUNDS = 13 };
    static int fds[N];
    unsigned char hello[4096];
    (void)hello_get(hello, sizeof hello);
    for (unsigned i = 0; i < N; i++)
        fds[i] = socket_connect();
    struct wire wires[10]; // these are slow after it
    for (unsigned i = 0; i < 10; i++)
        wires[i] = wire_shaken();
    expect_honest();
    double begin = client_seconds();
    for (unsigned round = 0; round < NROUNDS && counts().open > 0; round++) {
        for (unsigned i = 0; i < N; i++) { // a third says nothing at all
            if (i % 3 > 0)
                (void)send(fds[i], hello + round, 1, MSG_NOSIGNAL);
        }
        client_nap_ms(1000);
    }
    expect_connections(0);
    assert_true(client_seconds() - begin < 15);
    assert_int_equal(counts().no_greeting, N + 10);
    for (unsigned i = 0; i < N; i++)
        close(fds[i]);
    for (unsigned i = 0; i < 10; i++)
        wire_close(&wires[i]);
}

static void frames_may_come_in_records_of_one_byte_and_several_in_one(void **state)
{
    (void)state;
    struct bm_buffer frame = status_frame(), all;
    struct wire wire = wire_open();
    for (size_t i = 0; i < frame.size; i++)
        wire_send(&wire, frame.data + i, 1);
    expect_reply(&wire);
    bm_buffer_init(&all);
    for (unsigned i = 0; i < 40; i++)
        bm_buffer_add(&all, frame.data, frame.size);
    wire_send(&wire, all.data, all.size);
    for (unsigned i = 0; i < 40; i++)
        expect_reply(&wire);
    wire_close(&wire);
    // The longest request takes several records; it makes no sense, and is told so.
    unsigned char *longest = calloc(1, HEAD_BYTES + BM_REQUEST_BYTES_MAX);
    bm_frame_head_put(longest, false, BM_REQUEST_BYTES_MAX, UINT32_C(0x80000001));
    wire = wire_open();
    wire_send(&wire, longest, HEAD_BYTES + BM_REQUEST_BYTES_MAX);
    expect_reply(&wire);
    bm_frame_head_put(longest, false, BM_REQUEST_BYTES_MAX + 1, UINT32_C(0x80000001));
    wire_send(&wire, longest, HEAD_BYTES);
    assert_false(wire_read(&wire, longest, 1));
    assert_int_equal(counts().bad_frame, 1);
    wire_close(&wire);
    free(longest);
    bm_buffer_fini(&all);
    bm_buffer_fini(&frame);
}

// More requests than it takes at once, in few records, and then a pause: what TLS has taken out of
// the socket is not forgotten.
static void requests_beyond_the_bound_are_not_lost_in_tls(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct bm_buffer frame = status_frame(), all;
    bm_buffer_init(&all);
    for (unsigned i = 0; i < N; i++)
        bm_buffer_add(&all, frame.data, frame.size);
    struct wire wire = wire_open();
    wire_send(&wire, all.data, all.size);
    for (unsigned i = 0; i < N; i++)
        expect_reply(&wire);
    wire_close(&wire);
    bm_buffer_fini(&all);
    bm_buffer_fini(&frame);
}

static void connections_that_break_in_the_middle_of_a_record_leave_nothing(void **state)
{
    (void)state;
    enum { N = 200 };
    struct bm_buffer frame = status_frame();
    for (unsigned i = 0; i < N; i++) {
        struct wire wire = wire_open();
        wire_send(&wire, frame.data, i % frame.size);
        // The head of a record of data, and some of it.
        static const unsigned char begun[40] = {0x17, 0x03, 0x03, 0x01, 0x00};
        (void)send(wire.fd, begun, 1 + i % sizeof begun, MSG_NOSIGNAL);
        wire_reset(&wire);
    }
    expect_connections(0);
    for (unsigned i = 0; i < N; i++) { // and in the middle of the handshake
        unsigned char hello[4096];
        size_t size = hello_get(hello, sizeof hello);
        int fd = socket_connect();
        (void)send(fd, hello, 1 + i * (size - 1) / N, MSG_NOSIGNAL);
        socket_reset(fd);
    }
    expect_connections(0);
    expect_honest();
    bm_buffer_fini(&frame);
    double begin = client_seconds();
    host_stop(&the_host);
    assert_true(client_seconds() - begin < 5);
}

static void who_asks_for_another_handshake_gets_none(void **state)
{
    (void)state;
    SSL_CTX *raw = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(raw, TLS1_2_VERSION);
    SSL *ssl = SSL_new(raw);
    int fd = socket_connect();
    SSL_set_fd(ssl, fd);
    assert_int_equal(SSL_connect(ssl), 1);
    assert_int_equal(SSL_renegotiate(ssl), 1);
    assert_int_not_equal(SSL_do_handshake(ssl), 1);
    SSL_free(ssl);
    SSL_CTX_free(raw);
    close(fd);
    expect_honest();
    expect_connections(0);
}

// ---- ----

static int context_make(void **state)
{
    (void)state;
    host_setup(state); // makes the certificates
    host_teardown(state);
    const struct bm_tls_files files = {.ca = certificates_path("ca.pem")};
    assert_int_equal(bm_tls_context_new(BM_TLS_CLIENT, &files, &context, NULL), BM_OK);
    return 0;
}

static int context_free(void **state)
{
    bm_tls_context_free(context);
    return host_last(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

int main(void)
{
    struct rlimit limit; // both ends of every connection are here
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    setrlimit(RLIMIT_NOFILE, &limit);
    const struct CMUnitTest tests[] = {
        TEST(what_is_no_handshake_is_hung_up_on),
        TEST(altered_hellos_are_hung_up_on_or_answered),
        TEST(who_is_slow_with_the_handshake_holds_up_nobody_and_not_for_long),
        TEST(frames_may_come_in_records_of_one_byte_and_several_in_one),
        TEST(requests_beyond_the_bound_are_not_lost_in_tls),
        TEST(connections_that_break_in_the_middle_of_a_record_leave_nothing),
        TEST(who_asks_for_another_handshake_gets_none),
    };
    return cmocka_run_group_tests_name("hostile_tls", tests, context_make, context_free);
}
