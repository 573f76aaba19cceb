// process.c -- a process for each measurement, and servers in processes of their own.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

enum { MEASURE_SECONDS_MAX = 120, SERVER_SECONDS_MAX = 20 };

static int outcome_fd = -1; // where a measurement's process tells what came out; -1: it is not one

double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double bench_cpu_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int values_compare(const void *a, const void *b)
{
    const double *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

double bench_percentile(double *values, unsigned n, double share)
{
    qsort(values, n, sizeof values[0], values_compare);
    unsigned at = (unsigned)((double)n * share);
    return values[at < n ? at : n - 1];
}

// ---- Measurements ----

_Noreturn void bench_die(const char *what, const char *why)
{
    if (outcome_fd < 0) {
        fprintf(stderr, "bench: %s: %s\n", what, why);
        exit(1);
    }
    struct bench_outcome outcome = {.measured = false};
    snprintf(outcome.why, sizeof outcome.why, "%.80s: %.160s", what, why);
    _exit(write(outcome_fd, &outcome, sizeof outcome) != (ssize_t)sizeof outcome);
}

static void outcome_read(int fd, struct bench_outcome *ret_outcome)
{
    size_t got = 0;
    double until = bench_now() + MEASURE_SECONDS_MAX;
    while (got < sizeof *ret_outcome) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        double left = until - bench_now();
        const char *why = NULL;
        if (left <= 0 || poll(&ready, 1, (int)(left * 1e3)) == 0)
            why = "it took too long";
        ssize_t n =
            why != NULL ? 0 : read(fd, (char *)ret_outcome + got, sizeof *ret_outcome - got);
        if (n <= 0) {
            *ret_outcome = (struct bench_outcome){.measured = false};
            strcpy(ret_outcome->why, why != NULL ? why : "the measuring process died");
            return;
        }
        got += (size_t)n;
    }
}

void bench_in_child(bench_measure *measure, const struct bench_setup *setup, const void *work,
                    struct bench_outcome *ret_outcome)
{
    int ends[2];
    fflush(NULL);
    if (pipe(ends) != 0)
        bench_die("pipe", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork", strerror(errno));
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        outcome_fd = ends[1];
        struct bench_outcome outcome = {.measured = true};
        measure(setup, work, outcome.values);
        _exit(write(outcome_fd, &outcome, sizeof outcome) != (ssize_t)sizeof outcome);
    }
    setpgid(pid, pid); // whoever of the two comes first; with it goes all that it started
    close(ends[1]);
    outcome_read(ends[0], ret_outcome);
    close(ends[0]);
    kill(-pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

// ---- Servers ----

// The program beside this one in the build folder.
_Noreturn static void server_exec(const char *config, const char *memory, int log)
{
    char program[4096], workers[16];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 16);
    if (length < 0)
        _exit(1);
    program[length] = '\0';
    strcpy(strrchr(program, '/'), "/batchmill");
    snprintf(workers, sizeof workers, "%d", BENCH_WORKERS);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(log, STDERR_FILENO);
    execl(program, program, "serve", config, "--workers", workers, "--drain", "0",
          memory == NULL ? (char *)NULL : "--memory", memory, (char *)NULL);
    _exit(1);
}

static bool server_read_url(struct bench_server *server, int log, char *text, size_t size)
{
    ssize_t got = pread(log, text, size - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    const char *url = strstr(text, " url=");
    const char *end = url == NULL ? NULL : strpbrk(url + 5, " \n");
    if (end == NULL)
        return false;
    snprintf(server->url, sizeof server->url, "%.*s", (int)(end - url - 5), url + 5);
    return true;
}

// The log goes to memory: nobody has to read it for the server to go on.
void bench_server_start(struct bench_server *server, const char *config_yaml, const char *memory)
{
    char path[] = "/tmp/batchmill-bench-XXXXXX.yaml", text[4096] = "";
    int fd = mkstemps(path, 5), log = memfd_create("log", MFD_CLOEXEC);
    size_t size = strlen(config_yaml);
    if (fd < 0 || log < 0 || write(fd, config_yaml, size) != (ssize_t)size)
        bench_die(path, strerror(errno));
    close(fd);
    server->pid = fork();
    if (server->pid < 0)
        bench_die("fork", strerror(errno));
    if (server->pid == 0)
        server_exec(path, memory, log);
    double until = bench_now() + SERVER_SECONDS_MAX;
    while (!server_read_url(server, log, text, sizeof text)) {
        if (bench_now() > until || waitpid(server->pid, NULL, WNOHANG) != 0) {
            unlink(path);
            bench_die("the server did not start", text);
        }
        usleep(1000);
    }
    unlink(path);
    close(log);
}

void bench_server_stop(struct bench_server *server)
{
    kill(server->pid, SIGTERM);
    waitpid(server->pid, NULL, 0);
}

double bench_peak_rss_mb(pid_t pid)
{
    char path[64], line[256];
    unsigned long kib = 0;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        bench_die(path, strerror(errno));
    while (kib == 0 && fgets(line, sizeof line, file) != NULL)
        sscanf(line, "VmHWM: %lu kB", &kib);
    fclose(file);
    return (double)kib * 1024 / 1e6;
}
