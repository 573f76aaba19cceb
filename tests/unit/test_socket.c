// URLs to addresses, and sockets that have a name but no port.
#include "net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "support.h"

static void urls_that_can_never_work_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           "tcp",           "tcp:/a:1",
        "tcp://",     "tcp://host",    "tcp://h:",
        "tcp://h:x",  "tcp://h:65536", "tcp://h:1/path",
        "tcp://[::1", "tcp://[::1]",   "tcp://[::1]1",
        "ipc://",     "abstract://",   "udp://h:1",
        "http://h",   "tcp://h:-1",    "tcp://h: 1",
        "ws://h:1/p", "tcp5://h:1",    "tls://h:1",
        "tls+tcp://", "tls+ipc:///x",  "tls+tcp://h",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bm_error error;
        assert_int_equal(bm_url_check(bad[i], &error), BM_INVALID_ARGUMENT);
        assert_string_equal(error.where, bad[i]);
    }
    char longest[200];
    struct bm_addresses addresses;
    snprintf(longest, sizeof longest, "ipc://%0108d", 0);
    assert_int_equal(bm_url_resolve(longest, false, &addresses, NULL), BM_INVALID_ARGUMENT);
    snprintf(longest, sizeof longest, "ipc://%0107d", 0);
    assert_int_equal(bm_url_resolve(longest, false, &addresses, NULL), BM_OK);
}

static void a_server_is_called_as_its_url_says(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"tls+tcp://db.example:7", "db.example"},
        {"tls+tcp://10.0.0.1:7", "10.0.0.1"},
        {"tls+tcp6://[::1]:7", "::1"},
        {"tls+tcp://*:7", "localhost"},
        {"tls+tcp://:7", "localhost"},
    };
    char host[BM_URL_HOST_MAX + 1];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(bm_url_host(names[i][0], host, NULL), BM_OK);
        assert_string_equal(host, names[i][1]);
    }
    assert_int_equal(bm_url_host("nonsense", host, NULL), BM_INVALID_ARGUMENT);
}

static void addresses_are_what_the_url_says(void **state)
{
    (void)state;
    struct bm_addresses addresses;
    assert_int_equal(bm_url_resolve("tcp://127.0.0.2:7310", false, &addresses, NULL), BM_OK);
    assert_int_equal(addresses.n, 1);
    const struct sockaddr_in *ip4 = (const struct sockaddr_in *)&addresses.list[0].storage;
    assert_int_equal(ip4->sin_family, AF_INET);
    assert_int_equal(ntohs(ip4->sin_port), 7310);
    assert_int_equal(ntohl(ip4->sin_addr.s_addr), 0x7f000002);
    assert_int_equal(bm_url_resolve("tcp://[::1]:1", false, &addresses, NULL), BM_OK);
    assert_int_equal(addresses.list[0].storage.ss_family, AF_INET6);
    assert_int_equal(bm_url_resolve("tcp4://*:0", true, &addresses, NULL), BM_OK);
    assert_int_equal(ip4->sin_addr.s_addr, INADDR_ANY);
    assert_int_equal(bm_url_resolve("unix:///tmp/x", false, &addresses, NULL), BM_OK);
    const struct sockaddr_un *path = (const struct sockaddr_un *)&addresses.list[0].storage;
    assert_string_equal(path->sun_path, "/tmp/x");
    assert_true(bm_url_is_tcp("tcp6://[::1]:1"));
    assert_false(bm_url_is_tcp("ws://h:1/"));
    assert_false(bm_url_is_tcp("tls+tcp://h:1"));
    assert_true(bm_url_is_tls("tls+tcp://h:1") && bm_url_is_tls("tls+tcp6://[::1]:1"));
    assert_false(bm_url_is_tls("tcp://h:1"));
    assert_true(bm_url_is_ipc("abstract://x"));
    assert_false(bm_url_is_ipc("inproc://x"));
}

static struct bm_address address_of(const char *url)
{
    struct bm_addresses addresses;
    assert_int_equal(bm_url_resolve(url, false, &addresses, NULL), BM_OK);
    return addresses.list[0];
}

static void this_machine_is_told_from_others(void **state)
{
    (void)state;
    static const char *const local[] = {"tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tcp://[::1]:1",
                                        "tcp://[::ffff:127.0.0.1]:1", "ipc:///tmp/x"};
    static const char *const others[] = {"tcp://10.0.0.1:1", "tcp://[fe80::1]:1", "tcp://0.0.0.0:1",
                                         "tcp://[::ffff:10.0.0.1]:1"};
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
        struct bm_address address = address_of(local[i]);
        assert_true(bm_address_is_local(&address));
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct bm_address address = address_of(others[i]);
        assert_false(bm_address_is_local(&address));
    }
    struct bm_address a = address_of("tcp://10.0.0.1:1"), b = address_of("tcp://10.0.0.1:2"),
                      c = address_of("tcp://10.0.0.2:1"), d = address_of(others[3]);
    assert_true(bm_address_equal(&a, &b)); // another port is the same machine
    assert_false(bm_address_equal(&a, &c));
    assert_true(bm_address_equal(&a, &d)); // however its address is written
}

static int listener_of(const struct bm_address *address)
{
    int fd = -1, port = -1;
    struct bm_error error;
    enum bm_status status = bm_socket_listen(address, &fd, &port, &error);
    if (status != BM_OK)
        return -1;
    assert_int_equal(port, 0);
    return fd;
}

static void a_connection_carries_bytes(void **state)
{
    (void)state;
    char url[64], bytes[4];
    snprintf(url, sizeof url, "abstract://batchmill-unit-%ld", (long)getpid());
    struct bm_address address = address_of(url), from;
    int listener = listener_of(&address);
    assert_true(listener >= 0);
    assert_int_equal(bm_socket_accept(listener, &from), -1);
    assert_int_equal(errno, EAGAIN);
    int client = bm_socket_connect(&address);
    assert_true(client >= 0);
    assert_int_equal(bm_socket_error(client), 0);
    int server = bm_socket_accept(listener, &from);
    assert_true(server >= 0);
    assert_true(bm_address_is_local(&from));
    assert_int_equal(recv(server, bytes, sizeof bytes, 0), -1); // it never blocks
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(send(client, "abc", 4, 0), 4);
    assert_int_equal(recv(server, bytes, sizeof bytes, 0), 4);
    assert_string_equal(bytes, "abc");
    assert_int_equal(listener_of(&address), -1); // taken
    close(client);
    close(server);
    close(listener);
}

static void a_file_of_a_dead_process_is_replaced_and_one_in_use_is_not(void **state)
{
    (void)state;
    char url[64];
    snprintf(url, sizeof url, "ipc:///tmp/batchmill-unit-%ld", (long)getpid());
    struct bm_address address = address_of(url);
    int dead = listener_of(&address);
    assert_true(dead >= 0);
    assert_int_equal(listener_of(&address), -1); // in use
    close(dead);                                 // as a kill does it: the file stays
    int listener = listener_of(&address);
    assert_true(listener >= 0);
    close(listener);
    bm_socket_unlisten(&address);
    assert_int_equal(access(url + strlen("ipc://"), F_OK), -1);
    FILE *file = fopen(url + strlen("ipc://"), "we"); // somebody's, and no socket
    assert_non_null(file);
    fclose(file);
    assert_int_equal(listener_of(&address), -1);
    assert_int_equal(access(url + strlen("ipc://"), F_OK), 0);
    unlink(url + strlen("ipc://"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_that_can_never_work_are_refused),
        cmocka_unit_test(a_server_is_called_as_its_url_says),
        cmocka_unit_test(addresses_are_what_the_url_says),
        cmocka_unit_test(this_machine_is_told_from_others),
        cmocka_unit_test(a_connection_carries_bytes),
        cmocka_unit_test(a_file_of_a_dead_process_is_replaced_and_one_in_use_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
