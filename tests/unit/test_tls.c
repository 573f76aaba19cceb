// TLS between two ends of a socket pair: whom it believes, what it carries, how it fails.
#include "net/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "fakes/certificates.h"
#include "fakes/heap.h"
#include "support.h"

enum { SERVER, CLIENT, NENDS };

struct wire { // two ends, and what each of them made of it
    int fds[NENDS];
    struct bm_tls_context *contexts[NENDS];
    struct bm_tls *tls[NENDS];
    int result[NENDS]; // of its handshake
};

static const char *path_or_null(const char *name)
{
    return name == NULL ? NULL : certificates_path(name);
}

static struct bm_tls_context *context_of(enum bm_tls_side side, const char *certificate,
                                         const char *key, const char *ca)
{
    const struct bm_tls_files files = {path_or_null(certificate), path_or_null(key),
                                       path_or_null(ca)};
    struct bm_tls_context *context = NULL;
    struct bm_error error = {0};
    if (bm_tls_context_new(side, &files, &context, &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    return context;
}

static void sockets_make(int fds[NENDS])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

// Takes the contexts.
static struct wire wire_make(struct bm_tls_context *server, struct bm_tls_context *client,
                             const char *name)
{
    struct wire wire = {.contexts = {server, client}};
    sockets_make(wire.fds);
    assert_int_equal(bm_tls_new(server, wire.fds[SERVER], NULL, &wire.tls[SERVER], NULL), BM_OK);
    assert_int_equal(bm_tls_new(client, wire.fds[CLIENT], name, &wire.tls[CLIENT], NULL), BM_OK);
    return wire;
}

static void wire_shake(struct wire *wire) // until both are done, or know that it is no use
{
    wire->result[SERVER] = wire->result[CLIENT] = POLLIN;
    for (unsigned round = 0; round < 10; round++) {
        for (int end = 0; end < NENDS; end++) {
            if (wire->result[end] > 0)
                wire->result[end] = bm_tls_handshake(wire->tls[end]);
            if (wire->result[end] < 0)
                shutdown(wire->fds[end], SHUT_RDWR);
        }
    }
}

static void wire_hang_up(struct wire *wire, int end)
{
    bm_tls_free(wire->tls[end]);
    close(wire->fds[end]);
    wire->tls[end] = NULL;
}

static void wire_free(struct wire *wire)
{
    for (int end = 0; end < NENDS; end++) {
        if (wire->tls[end] != NULL)
            wire_hang_up(wire, end);
        bm_tls_context_free(wire->contexts[end]);
    }
}

static struct wire wire_open(void)
{
    struct wire wire = wire_make(context_of(BM_TLS_SERVER, "server.pem", "server.key", NULL),
                                 context_of(BM_TLS_CLIENT, NULL, NULL, "ca.pem"), "localhost");
    wire_shake(&wire);
    assert_int_equal(wire.result[SERVER], 0);
    assert_int_equal(wire.result[CLIENT], 0);
    return wire;
}

static ssize_t tls_send(struct bm_tls *tls, const void *bytes, size_t size)
{
    const struct iovec piece = {(void *)bytes, size};
    return bm_tls_send(tls, &piece, 1);
}

static void expect_sent(struct bm_tls *tls, const void *bytes, size_t size)
{
    assert_int_equal(tls_send(tls, bytes, size), size);
}

static void expect_again(ssize_t result)
{
    assert_int_equal(result, -1);
    assert_int_equal(errno, EAGAIN);
}

static void expect_failure(const struct bm_tls *tls, enum bm_status status, const char *text)
{
    struct bm_error error = {0};
    if (bm_tls_failure(tls, &error) != status || strstr(error.text, text) == NULL)
        fail_msg("expected %s with \"%s\", got %s with \"%s\"", bm_status_name(status), text,
                 bm_status_name(error.status), error.text);
}

static int make_certificates(void **state)
{
    (void)state;
    certificates_setup();
    return 0;
}

static int remove_certificates(void **state)
{
    (void)state;
    certificates_remove();
    return 0;
}

// ---- Whom it believes ----

static void only_the_expected_server_is_believed(void **state)
{
    (void)state;
    static const struct {
        const char *certificate, *key, *ca, *name, *text; // text NULL: believed
    } cases[] = {
        {"server.pem", "server.key", "ca.pem", "localhost", NULL},
        {"server.pem", "server.key", "ca.pem", "127.0.0.1", NULL},
        {"server.pem", "server.key", "ca.pem", "::1", NULL},
        {"name.pem", "name.key", "ca.pem", "another.example", NULL},
        {"server.pem", "server.key", "ca.pem", "local", "for local of"},
        {"server.pem", "server.key", "ca.pem", "127.0.0.2", "CN=server: IP address mismatch"},
        {"name.pem", "name.key", "ca.pem", "localhost", "CN=name: hostname mismatch"},
        {"name.pem", "name.key", "ca.pem", "www.another.example", "hostname mismatch"},
        {"expired.pem", "expired.key", "ca.pem", "localhost", "CN=expired: certificate has exp"},
        {"stranger.pem", "stranger.key", "ca.pem", "localhost", "CN=stranger: unable to get local"},
        {"ca.pem", "ca.key", "stranger-ca.pem", "localhost", "CN=ca: self-signed certificate"},
        {"server.pem", "server.key", NULL, "localhost", "unable to get local issuer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire wire =
            wire_make(context_of(BM_TLS_SERVER, cases[i].certificate, cases[i].key, NULL),
                      context_of(BM_TLS_CLIENT, NULL, NULL, cases[i].ca), cases[i].name);
        wire_shake(&wire);
        assert_int_equal(wire.result[CLIENT], cases[i].text == NULL ? 0 : -1);
        if (cases[i].text != NULL) {
            expect_failure(wire.tls[CLIENT], BM_PERMISSION_DENIED, cases[i].text);
            assert_int_equal(wire.result[SERVER], -1); // and is told why
            expect_failure(wire.tls[SERVER], BM_PERMISSION_DENIED, "does not accept");
        }
        wire_free(&wire);
    }
}

static void a_server_may_ask_for_the_certificate_of_clients(void **state)
{
    (void)state;
    static const struct {
        const char *certificate, *key, *text; // text NULL: served
    } cases[] = {
        {"client.pem", "client.key", NULL},
        {NULL, NULL, "certificate required"},
        {"stranger.pem", "stranger.key", "unknown ca"},
        {"expired.pem", "expired.key", "certificate expired"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char byte;
        struct wire wire = wire_make(
            context_of(BM_TLS_SERVER, "server.pem", "server.key", "ca.pem"),
            context_of(BM_TLS_CLIENT, cases[i].certificate, cases[i].key, "ca.pem"), "localhost");
        wire_shake(&wire);
        assert_int_equal(wire.result[SERVER], cases[i].text == NULL ? 0 : -1);
        assert_int_equal(wire.result[CLIENT], 0); // which only hears of it afterwards
        assert_int_equal(bm_tls_recv(wire.tls[CLIENT], &byte, 1), -1);
        if (cases[i].text != NULL)
            expect_failure(wire.tls[CLIENT], BM_PERMISSION_DENIED, cases[i].text);
        else
            assert_int_equal(bm_tls_failure(wire.tls[CLIENT], NULL), BM_OK);
        wire_free(&wire);
    }
}

// ---- Files ----

static void expect_refused(enum bm_tls_side side, const struct bm_tls_files *files,
                           enum bm_status status, const char *where, const char *text)
{
    struct bm_tls_context *context = NULL;
    struct bm_error error = {0};
    assert_int_equal(bm_tls_context_new(side, files, &context, &error), status);
    assert_null(context);
    assert_string_equal(error.where, where);
    if (strstr(error.text, text) == NULL)
        fail_msg("expected \"%s\", got \"%s\"", text, error.text);
}

static void files_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    const char *certificate = certificates_path("server.pem"), *ca = certificates_path("ca.pem");
    const char *key = certificates_path("server.key"), *locked = certificates_path("locked.key");
    const char *other = certificates_path("name.key");
    const struct {
        struct bm_tls_files files;
        enum bm_status status;
        const char *where, *text;
    } cases[] = {
        {{NULL, NULL, NULL}, BM_INVALID_ARGUMENT, "tls", "for a server, got none"},
        {{certificate, NULL, NULL}, BM_INVALID_ARGUMENT, "tls", "got only a certificate"},
        {{NULL, key, NULL}, BM_INVALID_ARGUMENT, "tls", "got only a key"},
        {{"/no/file", key, NULL}, BM_NOT_FOUND, "/no/file", "No such file"},
        {{key, key, NULL}, BM_INVALID_ARGUMENT, key, "expected certificates in PEM, got"},
        {{certificate, "/no/file", NULL}, BM_NOT_FOUND, "/no/file", "cannot open the key"},
        {{certificate, certificate, NULL}, BM_PERMISSION_DENIED, certificate, "got mode 0644"},
        {{certificate, other, NULL}, BM_INVALID_ARGUMENT, other, "key values mismatch"},
        {{certificate, locked, NULL}, BM_INVALID_ARGUMENT, locked, "without a passphrase"},
        {{certificate, key, "/no/file"}, BM_NOT_FOUND, "/no/file", "No such file"},
        {{certificate, key, key}, BM_INVALID_ARGUMENT, key, "certificates of authorities"},
        {{certificate, key, "/dev/null"}, BM_INVALID_ARGUMENT, "/dev/null", "authorities"},
    };
    assert_int_equal(chmod(certificate, 0644), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_refused(BM_TLS_SERVER, &cases[i].files, cases[i].status, cases[i].where,
                       cases[i].text);
    const struct bm_tls_files half = {certificate, NULL, ca};
    expect_refused(BM_TLS_CLIENT, &half, BM_INVALID_ARGUMENT, "tls", "got only a certificate");
}

static void a_name_must_be_one(void **state)
{
    (void)state;
    static char long_name[BM_TLS_NAME_MAX + 2];
    struct bm_tls_context *client = context_of(BM_TLS_CLIENT, NULL, NULL, "ca.pem");
    struct bm_tls *tls = NULL;
    memset(long_name, 'a', BM_TLS_NAME_MAX + 1);
    assert_int_equal(bm_tls_new(client, -1, "", &tls, NULL), BM_INVALID_ARGUMENT);
    assert_int_equal(bm_tls_new(client, -1, long_name, &tls, NULL), BM_INVALID_ARGUMENT);
    bm_tls_context_free(client);
}

// ---- What it carries ----

static void a_read_leaves_nothing_where_poll_does_not_see_it(void **state)
{
    (void)state;
    static unsigned char bytes[3 * BM_TLS_RECORD_BYTES + 5], got[sizeof bytes];
    struct wire wire = wire_open();
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 1000);
    expect_sent(wire.tls[SERVER], bytes, sizeof bytes);
    size_t size = 0;
    struct pollfd fd = {.fd = wire.fds[CLIENT], .events = POLLIN};
    while (poll(&fd, 1, 0) == 1) { // the first are no data: tickets for later
        unsigned char room[BM_TLS_RECORD_BYTES];
        ssize_t n = bm_tls_recv(wire.tls[CLIENT], room, sizeof room);
        if (n < 0) {
            expect_again(n);
            continue;
        }
        memcpy(got + size, room, (size_t)n);
        size += (size_t)n;
    }
    assert_int_equal(size, sizeof bytes);
    assert_memory_equal(got, bytes, sizeof bytes);
    expect_again(bm_tls_recv(wire.tls[CLIENT], got, 1));
    assert_int_equal(bm_tls_awaits(wire.tls[CLIENT]), POLLIN);
    wire_free(&wire);
}

// Reads all of `size` bytes, or fails the test.
static void expect_bytes(struct bm_tls *tls, const unsigned char *bytes, size_t size)
{
    unsigned char got[4096];
    size_t sofar = 0;
    for (unsigned idle = 0; sofar < size && idle < 10;) {
        ssize_t n = bm_tls_recv(tls, got, sizeof got < size - sofar ? sizeof got : size - sofar);
        idle = n < 0 ? idle + 1 : 0;
        if (n < 0)
            expect_again(n);
        else
            assert_memory_equal(got, bytes + sofar, (size_t)n);
        sofar += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(sofar, size);
}

static void pieces_of_any_size_arrive_as_one(void **state)
{
    (void)state;
    enum { R = BM_TLS_RECORD_BYTES, TWICE = 2 * R + 3, THRICE = 3 * R };
    static const size_t sizes[][6] = {
        {1, 0, 1, 2, 0, 3},          {0, 0, 0, 0, 0, 1}, {R, R, 1, 0, R, 0},
        {R - 1, 1, R + 1, R - 1},    {5, R, 5, R, 5, R}, {1, R - 2, 1, 1, TWICE, 7},
        {12, 100, THRICE, 40, 0, 9}, {0, R, 0, 0, R, 0},
    };
    static unsigned char bytes[6 * R];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i ^ i >> 8);
    struct wire wire = wire_open();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct iovec pieces[6];
        size_t all = 0;
        for (unsigned k = 0; k < 6; k++) {
            pieces[k] = (struct iovec){bytes + all, sizes[i][k]};
            all += sizes[i][k];
        }
        assert_int_equal(bm_tls_send(wire.tls[SERVER], pieces, 6), all);
        expect_bytes(wire.tls[CLIENT], bytes, all);
    }
    assert_int_equal(bm_tls_send(wire.tls[SERVER], NULL, 0), 0);
    wire_free(&wire);
}

// As far as the socket takes them, and again from there on, until all of them are there.
static void what_the_socket_does_not_take_goes_later(void **state)
{
    (void)state;
    enum { SIZE = 3000000, FIRST = 5, SECOND = 1000000 };
    unsigned char *bytes = malloc(SIZE), *got = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i * 13 + i / 4099);
    struct wire wire = wire_open();
    size_t sent = 0, size = 0;
    unsigned nblocked = 0;
    while (size < SIZE) {
        size_t ends[] = {FIRST, SECOND, SIZE};
        struct iovec pieces[3];
        size_t from = sent;
        for (unsigned k = 0; k < 3; k++) {
            size_t length = ends[k] > from ? ends[k] - from : 0;
            pieces[k] = (struct iovec){bytes + from, length};
            from += length;
        }
        ssize_t n = bm_tls_send(wire.tls[CLIENT], pieces, 3);
        sent += n > 0 ? (size_t)n : 0;
        nblocked += n < 0 && errno == EAGAIN;
        n = bm_tls_recv(wire.tls[SERVER], got + size, SIZE - size < 9000 ? SIZE - size : 9000);
        size += n > 0 ? (size_t)n : 0;
    }
    assert_true(nblocked > 10);
    assert_memory_equal(got, bytes, SIZE);
    free(bytes);
    free(got);
    wire_free(&wire);
}

struct talker { // one direction of one end; records, the main thread asserts
    struct bm_tls *tls;
    int fd;
    bool writes, good;
    unsigned char start;
};
enum { TALK_BYTES = 4000000, TALK_BLOCK = 100000 };

static bool talker_step(const struct talker *talker, unsigned char *block, size_t done,
                        size_t *ret_n)
{
    size_t size = TALK_BLOCK - done % TALK_BLOCK;
    ssize_t n;
    if (talker->writes) {
        for (size_t i = 0; i < size; i++)
            block[i] = (unsigned char)((done + i) * 31 + talker->start);
        n = tls_send(talker->tls, block, size);
    } else {
        n = bm_tls_recv(talker->tls, block, size);
        for (ssize_t i = 0; i < n; i++) {
            if (block[i] != (unsigned char)((done + (size_t)i) * 31 + talker->start))
                return false;
        }
    }
    *ret_n = n > 0 ? (size_t)n : 0;
    if (n >= 0)
        return n > 0;
    int awaits = talker->writes ? POLLOUT : bm_tls_awaits(talker->tls);
    struct pollfd fd = {.fd = talker->fd, .events = (short)awaits};
    return errno == EAGAIN && poll(&fd, 1, 20000) == 1;
}

static void *talker_run(void *context)
{
    struct talker *talker = context;
    unsigned char *block = malloc(TALK_BLOCK);
    size_t done = 0, n = 0;
    while (block != NULL && done < TALK_BYTES && talker_step(talker, block, done, &n))
        done += n;
    talker->good = done == TALK_BYTES;
    free(block);
    return NULL;
}

static void both_sides_read_and_write_at_once(void **state)
{
    (void)state;
    struct wire wire = wire_open();
    struct talker talkers[2 * NENDS];
    pthread_t threads[2 * NENDS];
    for (int end = 0; end < NENDS; end++) {
        for (int writes = 0; writes < 2; writes++)
            talkers[2 * end + writes] = (struct talker){
                .tls = wire.tls[end],
                .fd = wire.fds[end],
                .writes = writes == 1,
                .start = (unsigned char)(end == writes ? 3 : 200),
            };
    }
    for (unsigned i = 0; i < 2 * NENDS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, talker_run, &talkers[i]), 0);
    for (unsigned i = 0; i < 2 * NENDS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 2 * NENDS; i++)
        assert_true(talkers[i].good);
    wire_free(&wire);
}

// Passes one byte on, if there is one.
static void relay_byte(int from, int to)
{
    char byte;
    if (recv(from, &byte, 1, MSG_DONTWAIT) == 1)
        assert_int_equal(send(to, &byte, 1, 0), 1);
}

static void bytes_may_come_one_by_one(void **state)
{
    (void)state;
    static const unsigned char text[] = "as slow as that";
    int near[NENDS], far[NENDS];
    struct wire wire = {.contexts = {context_of(BM_TLS_SERVER, "server.pem", "server.key", NULL),
                                     context_of(BM_TLS_CLIENT, NULL, NULL, "ca.pem")}};
    sockets_make(near);
    sockets_make(far);
    wire.fds[SERVER] = near[0];
    wire.fds[CLIENT] = far[0];
    for (int end = 0; end < NENDS; end++)
        assert_int_equal(
            bm_tls_new(wire.contexts[end], wire.fds[end], "localhost", &wire.tls[end], NULL),
            BM_OK);
    int results[NENDS] = {POLLIN, POLLIN};
    while (results[SERVER] > 0 || results[CLIENT] > 0) {
        for (int end = 0; end < NENDS; end++)
            results[end] = results[end] > 0 ? bm_tls_handshake(wire.tls[end]) : results[end];
        relay_byte(near[1], far[1]);
        relay_byte(far[1], near[1]);
    }
    assert_int_equal(results[SERVER] | results[CLIENT], 0);
    expect_sent(wire.tls[CLIENT], text, sizeof text);
    unsigned char got[100];
    ssize_t n;
    while ((n = bm_tls_recv(wire.tls[SERVER], got, sizeof got)) < 0) {
        expect_again(n);
        relay_byte(far[1], near[1]);
    }
    assert_int_equal(n, sizeof text); // a record comes as a whole
    assert_memory_equal(got, text, sizeof text);
    close(near[1]);
    close(far[1]);
    wire_free(&wire);
}

// ---- How it ends ----

static void a_goodbye_is_an_end_and_a_cut_is_not(void **state)
{
    (void)state;
    char byte;
    struct wire wire = wire_open();
    wire_hang_up(&wire, CLIENT);
    assert_int_equal(bm_tls_recv(wire.tls[SERVER], &byte, 1), 0);
    assert_int_equal(bm_tls_failure(wire.tls[SERVER], NULL), BM_OK);
    wire_free(&wire);
    wire = wire_open();
    shutdown(wire.fds[CLIENT], SHUT_WR);
    assert_int_equal(bm_tls_recv(wire.tls[SERVER], &byte, 1), -1);
    assert_int_equal(errno, ECONNRESET);
    expect_failure(wire.tls[SERVER], BM_UNAVAILABLE, "the connection ended");
    assert_int_equal(tls_send(wire.tls[SERVER], "x", 1), -1); // it stays failed
    assert_int_equal(errno, EPIPE);
    wire_free(&wire);
}

static void nobody_there_raises_no_signal(void **state)
{
    (void)state;
    struct wire wire = wire_open();
    assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    wire_hang_up(&wire, CLIENT);
    assert_int_equal(tls_send(wire.tls[SERVER], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    wire_free(&wire);
}

static void a_handshake_may_break_anywhere(void **state)
{
    (void)state;
    for (unsigned cut = 0; cut < 3000; cut += 101) {
        int relay[NENDS];
        struct wire wire = wire_make(context_of(BM_TLS_SERVER, "server.pem", "server.key", NULL),
                                     context_of(BM_TLS_CLIENT, NULL, NULL, "ca.pem"), "localhost");
        unsigned char hello[4096];
        sockets_make(relay);
        assert_int_equal(bm_tls_handshake(wire.tls[CLIENT]), POLLIN);
        ssize_t n = recv(wire.fds[SERVER], hello, sizeof hello, MSG_PEEK);
        assert_true(n > 0);
        unsigned left = cut < (unsigned)n ? cut : (unsigned)n;
        assert_int_equal(recv(wire.fds[SERVER], hello, sizeof hello, 0), n);
        assert_int_equal(send(wire.fds[CLIENT], hello, left, 0), left);
        shutdown(wire.fds[CLIENT], SHUT_WR);
        int result = POLLIN;
        for (unsigned i = 0; i < 5 && result > 0; i++)
            result = bm_tls_handshake(wire.tls[SERVER]);
        assert_int_equal(result, -1);
        expect_failure(wire.tls[SERVER], BM_UNAVAILABLE, "the connection ended");
        close(relay[0]);
        close(relay[1]);
        wire_free(&wire);
    }
}

static void who_speaks_something_else_is_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {{"\0SP\0\0\x31\0\0", 8}, {"GET / HTTP/1.1\r\n\r\n", 18}, {"SSH-2.0-x\r\n", 11}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int end = 0; end < NENDS; end++) {
            struct wire wire =
                wire_make(context_of(BM_TLS_SERVER, "server.pem", "server.key", NULL),
                          context_of(BM_TLS_CLIENT, NULL, NULL, "ca.pem"), "localhost");
            ssize_t size = (ssize_t)cases[i].size;
            assert_int_equal(send(wire.fds[1 - end], cases[i].bytes, cases[i].size, 0), size);
            assert_int_equal(bm_tls_handshake(wire.tls[end]), -1);
            expect_failure(wire.tls[end], BM_INVALID_ARGUMENT, "speaks TLS 1.2 or 1.3, got");
            wire_free(&wire);
        }
    }
}

static void altered_bytes_are_never_taken_for_data(void **state)
{
    (void)state;
    static const unsigned char text[] = "forty-two bytes or so of somebody's secrets";
    for (size_t at = 0; at < sizeof text + 22; at++) {
        unsigned char record[200], got[200];
        struct wire wire = wire_open();
        expect_sent(wire.tls[CLIENT], text, sizeof text);
        ssize_t n = recv(wire.fds[SERVER], record, sizeof record, 0);
        assert_int_equal(n, sizeof text + 22);
        record[at] ^= 4;
        assert_int_equal(send(wire.fds[CLIENT], record, (size_t)n, 0), n);
        shutdown(wire.fds[CLIENT], SHUT_WR);
        assert_int_equal(bm_tls_recv(wire.tls[SERVER], got, sizeof got), -1);
        assert_int_not_equal(bm_tls_failure(wire.tls[SERVER], NULL), BM_OK);
        wire_free(&wire);
    }
}

// ---- Peers that are no code of ours ----

struct stranger { // OpenSSL's client as it comes
    SSL_CTX *context;
    SSL *ssl;
};

static struct stranger stranger_new(int fd, int version)
{
    struct stranger stranger = {.context = SSL_CTX_new(TLS_client_method())};
    SSL_CTX_set_security_level(stranger.context, 0); // TLS 1.1 is below the usual one
    SSL_CTX_set_min_proto_version(stranger.context, version);
    SSL_CTX_set_max_proto_version(stranger.context, version);
    stranger.ssl = SSL_new(stranger.context);
    SSL_set_fd(stranger.ssl, fd);
    SSL_set_connect_state(stranger.ssl);
    return stranger;
}

static void stranger_free(struct stranger *stranger)
{
    SSL_free(stranger->ssl);
    SSL_CTX_free(stranger->context);
}

static int stranger_shake(struct stranger *stranger, struct bm_tls *server)
{
    int result = POLLIN;
    for (unsigned i = 0; i < 10; i++) {
        (void)SSL_do_handshake(stranger->ssl);
        result = result > 0 ? bm_tls_handshake(server) : result;
    }
    return result;
}

static void versions_before_1_2_are_refused(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};
    for (unsigned i = 0; i < 4; i++) {
        int fds[NENDS];
        struct bm_tls *server = NULL;
        struct bm_tls_context *context =
            context_of(BM_TLS_SERVER, "server.pem", "server.key", NULL);
        sockets_make(fds);
        assert_int_equal(bm_tls_new(context, fds[SERVER], NULL, &server, NULL), BM_OK);
        struct stranger stranger = stranger_new(fds[CLIENT], versions[i]);
        assert_int_equal(stranger_shake(&stranger, server), i < 2 ? -1 : 0);
        if (i < 2) {
            expect_failure(server, BM_INVALID_ARGUMENT, "speaks TLS 1.2 or 1.3, got");
        } else {
            assert_int_equal(SSL_write(stranger.ssl, "hello", 5), 5);
            expect_bytes(server, (const unsigned char *)"hello", 5);
        }
        stranger_free(&stranger);
        bm_tls_free(server);
        bm_tls_context_free(context);
        close(fds[SERVER]);
        close(fds[CLIENT]);
    }
}

// A peer may ask for new keys at any time. The answer has to be sent before data, while what was
// sent before is still under way.
static void keys_may_change_while_the_socket_takes_nothing(void **state)
{
    (void)state;
    int fds[NENDS];
    enum { SIZE = 2000000 };
    unsigned char *bytes = calloc(1, SIZE), room[BM_TLS_RECORD_BYTES];
    struct bm_tls *server = NULL;
    struct bm_tls_context *context = context_of(BM_TLS_SERVER, "server.pem", "server.key", NULL);
    sockets_make(fds);
    assert_int_equal(bm_tls_new(context, fds[SERVER], NULL, &server, NULL), BM_OK);
    struct stranger stranger = stranger_new(fds[CLIENT], TLS1_3_VERSION);
    assert_int_equal(stranger_shake(&stranger, server), 0);
    ssize_t n = tls_send(server, bytes, SIZE);
    assert_true(n > 0 && n < SIZE);
    size_t sent = (size_t)n, got = 0;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(stranger.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_write(stranger.ssl, "x", 1), 1);
    }
    bool broken = false;
    unsigned nread = 0;
    for (unsigned idle = 0; got < SIZE && idle < 100 && !broken; idle++) {
        n = bm_tls_recv(server, room, sizeof room);
        nread += n == 1;
        broken = n < 0 && errno != EAGAIN;
        n = SSL_read(stranger.ssl, bytes, SIZE);
        if (n > 0)
            idle = 0;
        got += n > 0 ? (size_t)n : 0;
        n = sent < SIZE ? tls_send(server, bytes, SIZE - sent) : 0;
        broken |= n < 0 && errno != EAGAIN;
        sent += n > 0 ? (size_t)n : 0;
    }
    if (broken) {
        struct bm_error error = {0};
        bm_tls_failure(server, &error);
        fail_msg("broken after %zu of %zu: %s", got, sent, error.text);
    }
    assert_int_equal(got, SIZE);
    assert_int_equal(nread, 3);
    stranger_free(&stranger);
    bm_tls_free(server);
    bm_tls_context_free(context);
    close(fds[SERVER]);
    close(fds[CLIENT]);
    free(bytes);
}

// ---- Want of memory, also OpenSSL's ----

static void *counted_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return malloc(size);
}

static void *counted_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return realloc(old, size);
}

static void counted_free(void *old, const char *file, int line)
{
    (void)file, (void)line;
    free(old);
}

static void want_of_memory_is_an_error_and_no_more(void **state)
{
    (void)state;
    struct bm_tls_context *context = context_of(BM_TLS_CLIENT, NULL, NULL, "ca.pem");
    bool failed = true;
    unsigned nrefused = 0;
    for (uint64_t n = 1; failed; n++) {
        struct bm_tls *tls = NULL;
        bm_fake_heap_fail_at(n);
        enum bm_status status = bm_tls_new(context, -1, "localhost", &tls, NULL);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_true(status == BM_OK || (failed && status == BM_RESOURCE_EXHAUSTED));
        assert_int_equal(tls == NULL, status != BM_OK);
        nrefused += status != BM_OK;
        bm_tls_free(tls);
    }
    assert_true(nrefused > 5);
    bm_tls_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_expected_server_is_believed),
        cmocka_unit_test(a_server_may_ask_for_the_certificate_of_clients),
        cmocka_unit_test(files_that_do_not_fit_are_refused),
        cmocka_unit_test(a_name_must_be_one),
        cmocka_unit_test(a_read_leaves_nothing_where_poll_does_not_see_it),
        cmocka_unit_test(pieces_of_any_size_arrive_as_one),
        cmocka_unit_test(what_the_socket_does_not_take_goes_later),
        cmocka_unit_test(both_sides_read_and_write_at_once),
        cmocka_unit_test(bytes_may_come_one_by_one),
        cmocka_unit_test(a_goodbye_is_an_end_and_a_cut_is_not),
        cmocka_unit_test(nobody_there_raises_no_signal),
        cmocka_unit_test(a_handshake_may_break_anywhere),
        cmocka_unit_test(who_speaks_something_else_is_told_apart),
        cmocka_unit_test(altered_bytes_are_never_taken_for_data),
        cmocka_unit_test(versions_before_1_2_are_refused),
        cmocka_unit_test(keys_may_change_while_the_socket_takes_nothing),
        cmocka_unit_test(want_of_memory_is_an_error_and_no_more),
    };
    if (CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free) != 1)
        return 1;
    return cmocka_run_group_tests_name("tls", tests, make_certificates, remove_certificates);
}
