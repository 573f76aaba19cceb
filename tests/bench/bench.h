// bench.h -- what the rows of `./dev bench` share. Layer: tests (may include everything).
//
// A row measures one thing once and returns its figure; main.c runs all rows in turn, several
// rounds, and prints medians, so that a slow spell of the machine hits every row alike.
// Threads: the main thread only.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct bench_server { // a server in a process of its own
    pid_t pid;
    char url[128];
};

// Must come before anything of nng in this process (it cannot fork afterwards).
void bench_server_start(struct bench_server *server, const char *config_yaml, unsigned workers);
void bench_server_stop(struct bench_server *server);

double bench_now(void);     // seconds
double bench_cpu_now(void); // seconds of CPU of this process, all threads
_Noreturn void bench_die(const char *what, const char *why);

// The engine alone: batches per second, and CPU seconds per batch.
struct bench_rate {
    double per_second, cpu_seconds_each;
};
struct bench_rate bench_local(const char *config_yaml, const char *pipeline, uint64_t batch_size,
                              unsigned prefetch, unsigned workers, uint64_t nbatches);
// Over the network, from `server`: batches per second; *ret_bytes gets the tensor bytes.
double bench_remote(const char *url, const char *pipeline, uint64_t batch_size, bool shuffle,
                    unsigned prefetch, uint64_t nbatches, uint64_t *ret_bytes);
// A bare TCP sender in another process: bytes per second of `nmessages` of `size` bytes.
double bench_raw_tcp(uint64_t size, uint64_t nmessages);
