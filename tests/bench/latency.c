// latency.c -- how long a ready batch of 1 KiB takes from asking to having it, one at a time, and
// what a bare nng REQ/REP pair takes to carry as much between two processes.
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/calls.h"

enum { ASKS = 20000, WARM_UP = 1000, REQUEST_BYTES = 56, REPLY_BYTES = 1109 };

static unsigned asks_of(const struct bench_setup *setup)
{
    return setup->quick ? ASKS / 4 : ASKS;
}

// ---- Ours ----

// With a window of 4, the batches after the one that is asked for are ready on the server.
void bench_latency(const struct bench_setup *setup, const void *work, double *values)
{
    (void)work;
    unsigned n = asks_of(setup);
    double *us = calloc(n + WARM_UP, sizeof *us);
    if (us == NULL)
        bench_die("latency", "out of memory");
    struct bench_caller caller;
    bench_caller_init(&caller, bench_connection(setup->server.url), NULL);
    struct bench_taken stream;
    bench_caller_open(&caller, &stream, "kib", 1, 3);
    for (unsigned i = 0; i < n + WARM_UP; i++) {
        double start = bench_now();
        bench_caller_take(&caller, &stream);
        us[i] = (bench_now() - start) * 1e6;
    }
    values[0] = bench_percentile(us + WARM_UP, n, 0.5);
}

// ---- nng alone ----

static void echo_check(int result)
{
    if (result != 0)
        bench_die("nng", nng_strerror(result));
}

// Answers every request with as many bytes as a batch of 1 KiB takes.
_Noreturn static void echo_serve(int told)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    nng_socket socket;
    nng_listener listener;
    char *url = NULL, reply[REPLY_BYTES] = {0};
    if (nng_rep0_open(&socket) != 0 || nng_listen(socket, "tcp://127.0.0.1:0", &listener, 0) != 0 ||
        nng_listener_get_string(listener, NNG_OPT_URL, &url) != 0 ||
        write(told, url, strlen(url) + 1) < 0)
        _exit(1);
    for (;;) {
        nng_msg *message = NULL;
        if (nng_recvmsg(socket, &message, 0) != 0)
            _exit(1);
        nng_msg_clear(message);
        if (nng_msg_append(message, reply, sizeof reply) != 0 ||
            nng_sendmsg(socket, message, 0) != 0)
            _exit(1);
    }
}

void bench_nng_echo(const struct bench_setup *setup, const void *work, double *values)
{
    (void)work;
    unsigned n = asks_of(setup);
    double *us = calloc(n + WARM_UP, sizeof *us);
    char url[128] = "", request[REQUEST_BYTES] = {0};
    int ends[2];
    if (us == NULL || pipe(ends) != 0)
        bench_die("nng", "no memory, or no pipe");
    pid_t pid = fork(); // before anything of nng in this process
    if (pid == 0)
        echo_serve(ends[1]);
    if (pid < 0 || read(ends[0], url, sizeof url - 1) <= 0)
        bench_die("nng", "the echo did not start");
    nng_socket socket;
    echo_check(nng_req0_open(&socket));
    echo_check(nng_dial(socket, url, NULL, 0));
    for (unsigned i = 0; i < n + WARM_UP; i++) {
        nng_msg *message = NULL;
        double start = bench_now();
        echo_check(nng_msg_alloc(&message, 0));
        echo_check(nng_msg_append(message, request, sizeof request));
        echo_check(nng_sendmsg(socket, message, 0));
        echo_check(nng_recvmsg(socket, &message, 0));
        us[i] = (bench_now() - start) * 1e6;
        if (nng_msg_len(message) != REPLY_BYTES)
            bench_die("nng", "another answer");
        nng_msg_free(message);
    }
    values[0] = bench_percentile(us + WARM_UP, n, 0.5);
}
