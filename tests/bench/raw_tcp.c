// raw_tcp.c -- a limit: one process fills a message and sends it, this one receives it into one
// buffer; nothing else.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

_Noreturn static void raw_send(int listener, uint64_t size, uint64_t nmessages)
{
    int fd = accept(listener, NULL, NULL);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    char *from = malloc(size), *message = malloc(size);
    if (fd < 0 || from == NULL || message == NULL)
        _exit(1);
    memset(from, 1, size);
    for (uint64_t i = 0; i < nmessages; i++) {
        memcpy(message, from, size); // the least that a producer does
        for (uint64_t sent = 0; sent < size;) {
            ssize_t n = send(fd, message + sent, size - sent, MSG_NOSIGNAL);
            if (n <= 0)
                _exit(1);
            sent += (uint64_t)n;
        }
    }
    _exit(0);
}

void bench_raw_tcp(const struct bench_setup *setup, const void *work, double *values)
{
    const struct bench_stream *stream = work;
    uint64_t size = bench_stream_bytes(stream), nmessages = bench_stream_batches(setup, stream);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        bench_die("raw tcp", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        raw_send(listener, size, nmessages);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char *message = malloc(size);
    if (pid < 0 || fd < 0 || message == NULL ||
        connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        bench_die("raw tcp", strerror(errno));
    double start = bench_now();
    for (uint64_t left = size * nmessages; left > 0;) {
        ssize_t n = recv(fd, message, left < size ? left : size, MSG_WAITALL);
        if (n <= 0)
            bench_die("raw tcp", "the sender stopped");
        left -= (uint64_t)n;
    }
    values[0] = bench_stream_value(stream, (double)nmessages / (bench_now() - start));
    waitpid(pid, NULL, 0);
    free(message);
    close(fd);
    close(listener);
}
