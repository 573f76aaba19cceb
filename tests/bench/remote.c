// remote.c -- a server in a process of its own, and a consumer of its batches.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <batchmill/client.h>

#include "bench/bench.h"

// The program beside this one in the build folder: the server as users run it.
static void remote_exec(const char *config, unsigned workers, int log)
{
    char program[4096], count[16];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 16);
    if (length < 0)
        _exit(1);
    program[length] = '\0';
    strcpy(strrchr(program, '/'), "/batchmill");
    snprintf(count, sizeof count, "%u", workers);
    dup2(log, STDERR_FILENO);
    execl(program, program, "serve", config, "--workers", count, "--drain", "0", (char *)NULL);
    _exit(1);
}

static void remote_read_url(struct bench_server *server, int log)
{
    char text[4096];
    size_t size = 0;
    for (;;) {
        ssize_t got = read(log, text + size, sizeof text - 1 - size);
        if (got <= 0)
            bench_die("the server did not start", size > 0 ? text : "no log");
        size += (size_t)got;
        text[size] = '\0';
        const char *url = strstr(text, " url=");
        const char *end = url == NULL ? NULL : strpbrk(url + 5, " \n");
        if (end == NULL)
            continue;
        snprintf(server->url, sizeof server->url, "%.*s", (int)(end - url - 5), url + 5);
        return;
    }
}

void bench_server_start(struct bench_server *server, const char *config_yaml, unsigned workers)
{
    char path[] = "/tmp/batchmill-bench-XXXXXX";
    int fd = mkstemp(path), log[2];
    size_t size = strlen(config_yaml);
    if (fd < 0 || write(fd, config_yaml, size) != (ssize_t)size || pipe(log) != 0)
        bench_die("cannot write", path);
    close(fd);
    server->pid = fork();
    if (server->pid < 0)
        bench_die("fork", strerror(errno));
    if (server->pid == 0)
        remote_exec(path, workers, log[1]);
    close(log[1]);
    remote_read_url(server, log[0]);
    unlink(path);
    // The read end stays open: the server may go on logging.
}

void bench_server_stop(struct bench_server *server)
{
    kill(server->pid, SIGTERM);
    waitpid(server->pid, NULL, 0);
}

static void remote_check(enum batchmill_code code, const struct batchmill_error *error)
{
    if (code != BATCHMILL_OK)
        bench_die("remote", error->text);
}

double bench_remote(const char *url, const char *pipeline, uint64_t batch_size, bool shuffle,
                    unsigned prefetch, uint64_t nbatches, uint64_t *ret_bytes)
{
    struct batchmill_error error = {0};
    struct batchmill_client *client = NULL;
    struct batchmill_stream *stream = NULL;
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = batch_size;
    order.shuffle = shuffle ? BATCHMILL_SHUFFLE_SEEDED : BATCHMILL_SHUFFLE_OFF;
    order.seed = 7;
    order.n_iters = nbatches;
    order.prefetch = prefetch;
    remote_check(batchmill_connect(url, NULL, &client, &error), &error);
    remote_check(batchmill_gen_batch(client, pipeline, &order, &stream, &error), &error);
    uint64_t bytes = 0, taken = 0;
    double start = bench_now();
    struct batchmill_batch *batch = NULL;
    enum batchmill_code code;
    while ((code = batchmill_next(stream, &batch, &error)) == BATCHMILL_OK) {
        for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++)
            bytes += batchmill_batch_tensor_at(batch, i)->size_bytes;
        taken++;
        batchmill_batch_free(batch);
    }
    double seconds = bench_now() - start;
    if (code != BATCHMILL_END || taken != nbatches)
        bench_die("the stream ended early", error.text);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
    if (ret_bytes != NULL)
        *ret_bytes = bytes;
    return (double)nbatches / seconds;
}
