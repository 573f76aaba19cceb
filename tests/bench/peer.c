// peer.c -- other products. A peer is a program that talks in lines:
//
//     peer:  ready VERSIONS AND SETTINGS        or  unavailable WHY
//     we:    NAME ITEMS ITEM_BYTES BATCH_ITEMS NBATCHES NACTIONS VARIANT
//     peer:  value BATCHES_PER_SECOND [SECONDS_TO_THE_FIRST]  or  error WHY
//
// until we close its input. It starts its own servers, in processes of their own, and ends them.
// Its clock may start with its first batch, so that nothing counts that it does once. While others
// are measured it is stopped, with all of its processes: some have threads that never rest.
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

enum { READY_SECONDS_MAX = 120, VALUE_SECONDS_MAX = 120 };

_Noreturn static void peer_exec(const struct bench_peer *peer, int in, int out)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execl("/bin/sh", "sh", "-c", peer->command, (char *)NULL);
    _exit(127);
}

// One line without its end; false: it closed its output, or took too long.
static bool peer_read(struct bench_peer *peer, double seconds, char *line, size_t size)
{
    double until = bench_now() + seconds;
    for (size_t length = 0; length + 1 < size; length++) {
        struct pollfd ready = {.fd = peer->from, .events = POLLIN};
        double left = until - bench_now();
        if (left <= 0 || poll(&ready, 1, (int)(left * 1e3)) <= 0 ||
            read(peer->from, line + length, 1) != 1)
            return false;
        if (line[length] == '\n') {
            line[length] = '\0';
            return true;
        }
    }
    return false;
}

static void peer_start(struct bench_peer *peer)
{
    int in[2], out[2];
    char line[sizeof peer->said];
    peer->started = true;
    if (pipe2(in, 0) != 0 || pipe2(out, 0) != 0)
        bench_die("pipe", strerror(errno));
    fflush(NULL);
    peer->pid = fork();
    if (peer->pid < 0)
        bench_die("fork", strerror(errno));
    if (peer->pid == 0) {
        close(in[1]);
        close(out[0]);
        peer_exec(peer, in[0], out[1]);
    }
    setpgid(peer->pid, peer->pid);
    close(in[0]);
    close(out[1]);
    peer->to = fdopen(in[1], "we");
    peer->from = out[0];
    if (!peer_read(peer, READY_SECONDS_MAX, line, sizeof line))
        strcpy(peer->said, "it did not start; ./dev bench --peers installs what it needs");
    else if (strncmp(line, "unavailable ", 12) == 0)
        strcpy(peer->said, line + 12);
    else {
        peer->ready = strncmp(line, "ready ", 6) == 0;
        strcpy(peer->said, peer->ready ? line + 6 : line);
    }
}

void bench_peer_measure(struct bench_peer *peer, const struct bench_setup *setup,
                        const struct bench_stream *stream, const char *name, const char *variant,
                        struct bench_outcome *ret_outcome)
{
    *ret_outcome = (struct bench_outcome){.measured = false};
    char line[sizeof ret_outcome->why];
    if (!peer->started)
        peer_start(peer);
    if (!peer->ready) {
        snprintf(ret_outcome->why, sizeof ret_outcome->why, "%.250s", peer->said);
        return;
    }
    (void)kill(-peer->pid, SIGCONT);
    fprintf(peer->to, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %s\n", name,
            stream->items, stream->item_bytes, stream->batch_items,
            bench_stream_batches(setup, stream), stream->nactions, variant);
    fflush(peer->to);
    if (!peer_read(peer, VALUE_SECONDS_MAX, line, sizeof line)) {
        strcpy(ret_outcome->why, "it died, or took too long");
        peer->ready = false;
        strcpy(peer->said, ret_outcome->why);
    } else if (strncmp(line, "value ", 6) == 0) {
        ret_outcome->measured = true;
        char *rest;
        ret_outcome->values[0] = bench_stream_value(stream, strtod(line + 6, &rest));
        ret_outcome->values[1] = strtod(rest, NULL);
    } else {
        strcpy(ret_outcome->why, line);
    }
    (void)kill(-peer->pid, SIGSTOP);
}

void bench_peer_stop(struct bench_peer *peer)
{
    if (!peer->started)
        return;
    fclose(peer->to);
    close(peer->from);
    (void)kill(-peer->pid, SIGCONT);
    kill(-peer->pid, SIGTERM);
    for (unsigned i = 0; i < 200 && waitpid(peer->pid, NULL, WNOHANG) == 0; i++)
        usleep(10000);
    kill(-peer->pid, SIGKILL);
    waitpid(peer->pid, NULL, 0);
}
