// Peers that mean harm, on the wire: each is bounded, counted and hung up on, and an honest client
// beside them goes on.
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "client/c/codec.h"
#include "client/c/internal.h"
#include "fakes/client_fixture.h"
#include "pipeline/source.h"
#include "server/codec.h"
#include "support.h"

enum { GREETING_BYTES = 8, HEAD_BYTES = 12, PATIENCE_S = 20 };

static const unsigned char greeting[GREETING_BYTES] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};

// ---- A wire ----

static int wire_connect(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *port = strrchr(the_host.urls[1], ':');
    address.sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static bool wire_send(int fd, const void *bytes, size_t size)
{
    return send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static int wire_open(void) // both have said who they are
{
    char theirs[GREETING_BYTES];
    int fd = wire_connect();
    assert_true(wire_send(fd, greeting, sizeof greeting));
    assert_int_equal(recv(fd, theirs, sizeof theirs, MSG_WAITALL), sizeof theirs);
    return fd;
}

static bool wire_is_closed(int fd) // within PATIENCE_S; reads what comes
{
    char bytes[65536];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        ;
    return n == 0 || errno == ECONNRESET;
}

static void wire_reset(int fd) // at once, without reading what came
{
    const struct linger linger = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

static void head_put(unsigned char head[HEAD_BYTES], uint64_t size, uint32_t id)
{
    for (unsigned i = 0; i < 8; i++)
        head[i] = (unsigned char)(size >> (56 - 8 * i));
    for (unsigned i = 0; i < 4; i++)
        head[8 + i] = (unsigned char)(id >> (24 - 8 * i));
}

static struct bm_buffer frame_of(const struct bm_buffer *request)
{
    unsigned char head[HEAD_BYTES];
    struct bm_buffer frame;
    bm_buffer_init(&frame);
    head_put(head, request->size + 4, UINT32_C(0x80000007));
    bm_buffer_add(&frame, head, sizeof head);
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

// Reads one reply; its size.
static uint64_t wire_reply(int fd)
{
    unsigned char head[HEAD_BYTES], bytes[65536];
    assert_int_equal(recv(fd, head, sizeof head, MSG_WAITALL), sizeof head);
    uint64_t size = 0;
    for (unsigned i = 0; i < 8; i++)
        size = size << 8 | head[i];
    uint64_t left = size - 4;
    while (left > 0) {
        ssize_t n = recv(fd, bytes, left < sizeof bytes ? left : sizeof bytes, 0);
        assert_true(n > 0);
        left -= (uint64_t)n;
    }
    return size - 4;
}

// ---- What there is to see ----

static struct bm_connection_counts counts(void)
{
    return bm_server_counts(the_host.server);
}

static void expect_connections(uint64_t n) // soon
{
    for (unsigned ms = 0; ms < 1000 * PATIENCE_S && counts().open > n; ms += 10)
        client_nap_ms(10);
    if (counts().open > n)
        fail_msg("expected at most %" PRIu64 " connections, got %" PRIu64 "; %" PRIu64
                 " were slow, %" PRIu64 " bytes are unsent",
                 n, counts().open, counts().slow, counts().unsent_bytes);
}

static uint64_t resident_bytes(void)
{
    unsigned long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &all, &resident), 2); // NOLINT(cert-err34-c)
    fclose(file);
    return resident * 4096;
}

static void expect_honest(void) // connects, and gets what it asks for, within a second
{
    double begin = client_seconds();
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_order order = client_order(3);
    struct batchmill_stream *stream = client_opened(client, "locked", &order);
    uint64_t seq = 0;
    client_take_digest(stream, &seq, 10);
    assert_int_equal(seq, 10);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
    assert_true(client_seconds() - begin < 1);
}

// ---- Greetings ----

static void who_does_not_say_what_it_is_is_hung_up_on(void **state)
{
    (void)state;
    enum { N = 64 };
    for (unsigned i = 0; i < N; i++) { // each bit of it wrong
        unsigned char wrong[GREETING_BYTES];
        memcpy(wrong, greeting, sizeof wrong);
        wrong[i / 8] ^= (unsigned char)(1u << i % 8);
        int fd = wire_connect();
        assert_true(wire_send(fd, wrong, sizeof wrong));
        assert_true(wire_is_closed(fd));
        close(fd);
    }
    assert_int_equal(counts().no_greeting, N);
    expect_honest();
    expect_connections(0);
}

static void who_says_nothing_holds_up_nobody_and_not_for_long(void **state)
{
    (void)state;
    enum { N = 900 };
    static int fds[N];
    for (unsigned i = 0; i < N; i++) {
        fds[i] = wire_connect();
        if (i % 2 == 0) // as slow as a byte a second would be
            assert_true(wire_send(fds[i], greeting, i / 2 % GREETING_BYTES));
    }
    expect_honest();
    double begin = client_seconds();
    expect_connections(0);
    assert_true(client_seconds() - begin < 15);
    assert_int_equal(counts().no_greeting, N);
    for (unsigned i = 0; i < N; i++)
        close(fds[i]);
}

// ---- Frames ----

static void a_length_that_is_none_closes_only_its_connection(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0,
                                     3,
                                     BM_REQUEST_BYTES_MAX + 5,
                                     UINT64_C(1) << 31,
                                     UINT64_C(1) << 63,
                                     (UINT64_C(1) << 63) - 1,
                                     UINT64_MAX};
    enum { N = sizeof sizes / sizeof sizes[0] };
    for (unsigned i = 0; i < N; i++) {
        unsigned char head[HEAD_BYTES];
        int fd = wire_open();
        head_put(head, sizes[i], UINT32_C(0x80000001));
        assert_true(wire_send(fd, head, 8));
        assert_true(wire_is_closed(fd));
        close(fd);
    }
    int fd = wire_open(); // what comes through a relay has a longer path before its id
    unsigned char head[HEAD_BYTES];
    head_put(head, 100, 1);
    assert_true(wire_send(fd, head, sizeof head));
    assert_true(wire_is_closed(fd));
    close(fd);
    assert_int_equal(counts().bad_frame, N + 1);
    expect_honest();
}

static void claims_without_bytes_cost_little(void **state)
{
    (void)state;
    enum { N = 500 };
    static int fds[N];
    uint64_t before = resident_bytes();
    unsigned char head[HEAD_BYTES];
    head_put(head, BM_REQUEST_BYTES_MAX + 4, UINT32_C(0x80000001));
    for (unsigned i = 0; i < N; i++) {
        fds[i] = wire_open();
        assert_true(wire_send(fds[i], head, sizeof head));
    }
    expect_honest();
    assert_true(resident_bytes() - before < UINT64_C(64) << 20);
    for (unsigned i = 0; i < N; i++)
        close(fds[i]);
    expect_connections(0);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct bm_buffer frame = status_frame();
    int fd = wire_open();
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < frame.size; i++) {
            assert_true(wire_send(fd, frame.data + i, 1));
            if (i % 16 == 0)
                client_nap_ms(1);
        }
        assert_true(wire_reply(fd) > 0);
    }
    close(fd);
    bm_buffer_fini(&frame);
}

// ---- Who asks and does not read, or breaks off in the middle ----

// Asks for a batch of 1 MiB, of a stream that nobody closes: as often as one likes.
static struct bm_buffer greedy_frame(void)
{
    struct batchmill_order order = client_order(0);
    order.batch_size = 1 << 17;
    const struct bm_client_open open = {"large", NULL, &order, 0, false};
    struct bm_buffer request;
    bm_buffer_init(&request);
    assert_int_equal(bm_client_encode_open(&open, &request, NULL), BATCHMILL_OK);
    struct bm_buffer frame = frame_of(&request);
    unsigned char reply[HEAD_BYTES + 4096];
    int fd = wire_open();
    assert_true(wire_send(fd, frame.data, frame.size));
    ssize_t n = recv(fd, reply, HEAD_BYTES, MSG_WAITALL);
    assert_int_equal(n, HEAD_BYTES);
    size_t size = (size_t)(reply[6] << 8 | reply[7]) - 4;
    assert_true(size <= 4096);
    assert_int_equal(recv(fd, reply, size, MSG_WAITALL), size);
    close(fd);
    struct bm_client_opened *opened = NULL;
    assert_int_equal(bm_client_decode_open(reply, size, &opened, NULL), BATCHMILL_OK);
    const struct bm_client_next next = {
        .stream = opened->stream, .max_batches = 1, .wait_ms = 1000};
    bm_buffer_clear(&request);
    bm_buffer_fini(&frame);
    assert_int_equal(bm_client_encode_next(&next, &request, NULL), BATCHMILL_OK);
    frame = frame_of(&request);
    bm_buffer_fini(&request);
    free(opened);
    fd = wire_open(); // once, so that the batch is there, and stays, from here on
    assert_true(wire_send(fd, frame.data, frame.size));
    assert_true(wire_reply(fd) > 1 << 20);
    close(fd);
    return frame;
}

static void eager_peers_are_answered_after_the_greeting(void **state)
{
    (void)state;
    enum { NROUNDS = 50, N = 40 };
    struct bm_buffer frame = greedy_frame();
    struct bm_buffer all; // as one piece
    bm_buffer_init(&all);
    bm_buffer_add(&all, greeting, sizeof greeting);
    bm_buffer_add(&all, frame.data, frame.size);
    uint64_t size = 0;
    for (unsigned round = 0; round < NROUNDS; round++) {
        static const unsigned char expected[GREETING_BYTES] = {0, 'S', 'P', 0, 0, 0x31, 0, 0};
        unsigned char theirs[GREETING_BYTES];
        int fds[N];
        for (unsigned i = 0; i < N; i++) {
            fds[i] = wire_connect();
            assert_true(wire_send(fds[i], all.data, all.size));
        }
        for (unsigned i = 0; i < N; i++) {
            assert_int_equal(recv(fds[i], theirs, sizeof theirs, MSG_WAITALL), sizeof theirs);
            assert_memory_equal(theirs, expected, sizeof theirs);
            uint64_t n = wire_reply(fds[i]);
            assert_true(size == 0 || n == size);
            size = n;
            close(fds[i]);
        }
    }
    bm_buffer_fini(&all);
    bm_buffer_fini(&frame);
}

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void an_honest_client_hardly_notices_those_who_never_read(void **state)
{
    (void)state;
    enum { NHOGS = 100, NREQUESTS = 200, N = 500 };
    static int hogs[NHOGS];
    static double seconds[N];
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct bm_buffer frame = greedy_frame();
    uint64_t before = resident_bytes();
    for (unsigned i = 0; i < NHOGS; i++) {
        hogs[i] = wire_open();
        for (unsigned k = 0; k < NREQUESTS; k++)
            (void)send(hogs[i], frame.data, frame.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    struct batchmill_order order = client_order(0);
    order.n_epochs = 0;
    struct batchmill_stream *honest = client_opened(client, "plain", &order);
    for (unsigned i = 0; i < N; i++) {
        struct batchmill_batch *batch = NULL;
        double begin = client_seconds();
        assert_int_equal(batchmill_next(honest, &batch, NULL), BATCHMILL_OK);
        seconds[i] = client_seconds() - begin;
        batchmill_batch_free(batch);
    }
    qsort(seconds, N, sizeof seconds[0], compare_doubles);
    print_message("beside %d that never read: p50 %.2f ms, p99 %.2f ms; %" PRIu64 " MiB more\n",
                  NHOGS, seconds[N / 2] * 1e3, seconds[N * 99 / 100] * 1e3,
                  (resident_bytes() - before) >> 20);
    assert_true(seconds[N * 99 / 100] < 1); // 0.1 is the goal, on a machine of its own
    assert_true(counts().unsent_bytes < UINT64_C(2) * BM_UNSENT_BYTES_MAX);
    // Who has a reply to read is hung up on; the others were refused, and wait for nothing.
    for (unsigned ms = 0; ms < 1000 * PATIENCE_S && counts().unsent_bytes > 0; ms += 10)
        client_nap_ms(10);
    assert_int_equal(counts().unsent_bytes, 0);
    assert_true(counts().slow >= 10);
    struct batchmill_status status; // what others see of it
    assert_int_equal(batchmill_status(client, &status, NULL), BATCHMILL_OK);
    assert_int_equal(status.connections.slow, counts().slow);
    assert_true(status.answered[BATCHMILL_RESOURCE_EXHAUSTED] > 0);
    for (unsigned i = 0; i < NHOGS; i++)
        close(hogs[i]);
    expect_connections(1); // that of `client`
    batchmill_stream_close(honest);
    batchmill_disconnect(client);
    bm_buffer_fini(&frame);
}

static void connections_that_break_in_the_middle_leave_nothing(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct bm_buffer frame = greedy_frame();
    for (unsigned i = 0; i < N; i++) {
        char bytes[4096];
        int fd = wire_open();
        assert_true(wire_send(fd, frame.data, frame.size));
        if (i % 3 > 0)
            (void)recv(fd, bytes, 1 + i % sizeof bytes, 0);
        (void)wire_send(fd, frame.data, i % frame.size); // half of another request
        wire_reset(fd);
    }
    expect_connections(0);
    expect_honest();
    bm_buffer_fini(&frame);
    double begin = client_seconds();
    host_stop(&the_host);
    assert_true(client_seconds() - begin < 5);
}

// ---- ----

static int large_setup(void **state)
{
    host_setup(state);
    host_stop(&the_host);
    struct bm_source_ref *numbers = the_host.source;
    struct bm_value *definition = host_yaml("{range: {n: 200000}}");
    assert_int_equal(
        bm_source_open(the_host.registry, "many", definition, ".", &the_host.source, NULL), BM_OK);
    bm_value_free(definition);
    host_add(&the_host, "large", "[]");
    bm_source_unref(the_host.source);
    the_host.source = numbers;
    host_start(&the_host, 2, 0);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
#define TEST_LARGE(name) cmocka_unit_test_setup_teardown(name, large_setup, host_teardown)

int main(void)
{
    struct rlimit limit; // both ends of every connection are here
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    setrlimit(RLIMIT_NOFILE, &limit);
    const struct CMUnitTest tests[] = {
        TEST(who_does_not_say_what_it_is_is_hung_up_on),
        TEST(who_says_nothing_holds_up_nobody_and_not_for_long),
        TEST(a_length_that_is_none_closes_only_its_connection),
        TEST(claims_without_bytes_cost_little),
        TEST(a_request_may_come_byte_by_byte),
        TEST_LARGE(eager_peers_are_answered_after_the_greeting),
        TEST_LARGE(an_honest_client_hardly_notices_those_who_never_read),
        TEST_LARGE(connections_that_break_in_the_middle_leave_nothing),
    };
    return cmocka_run_group_tests_name("hostile", tests, NULL, host_last);
}
