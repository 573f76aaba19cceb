// main.c -- ./dev bench: what batches cost, beside the limits of this machine in the same run.
//
// Every figure is the median of interleaved rounds. The machine's speed drifts, so only the
// ratios mean something; the absolute figures say where they come from.
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

enum { ROUNDS_MAX = 21, NROWS = 8, NOOP_ACTIONS = 3, BATCH_ACTIONS = 8, WORKERS = 2 };
enum { BLOCKS = 1024, BLOCK_BYTES = 16 * 1024 };
#define MIB ((uint64_t)1 << 20)

static char config_yaml[2048];

// %s: a file of BLOCKS items of 16 KiB, so that a batch of 64 is 1 MiB.
static const char config_format[] =
    "listen: ['tcp://127.0.0.1:0']\n"
    "sources:\n"
    "  million: {range: {n: 1000000}}\n"
    "  blocks: {npy: {path: '%s'}}\n"
    "pipelines:\n"
    "  bare: {source: million}\n"
    "  blocks: {source: blocks}\n"
    "  noop3: {source: million, actions: [noop, noop, noop]}\n"
    "  batch8: {source: million, actions: [burn: {ms: 0}, burn: {ms: 0}, burn: {ms: 0},\n"
    "    burn: {ms: 0}, burn: {ms: 0}, burn: {ms: 0}, burn: {ms: 0}, burn: {ms: 0}]}\n"
    "  locked8: {source: million, actions: [\n"
    "    {burn: {ms: 0}, use_lock: a}, {burn: {ms: 0}, use_lock: b},\n"
    "    {burn: {ms: 0}, use_lock: a}, {burn: {ms: 0}, use_lock: b},\n"
    "    {burn: {ms: 0}, use_lock: a}, {burn: {ms: 0}, use_lock: b},\n"
    "    {burn: {ms: 0}, use_lock: a}, {burn: {ms: 0}, use_lock: b}]}\n";

struct row {
    const char *name, *unit;
    int ratio_to; // index of another row, or -1
    double values[ROUNDS_MAX];
};
enum { NOOP_LOCAL, NOOP_TCP, NOOP_TCP_WIDE, RAW_1M, TCP_1M, ACTION_FUSED, ACTION, ACTION_LOCKED };

static struct row rows[NROWS] = {
    [NOOP_LOCAL] = {"noop_local", "batches/s", -1, {0}},
    [NOOP_TCP] = {"noop_tcp_prefetch_3", "batches/s", NOOP_LOCAL, {0}},
    [NOOP_TCP_WIDE] = {"noop_tcp_prefetch_63", "batches/s", NOOP_LOCAL, {0}},
    [RAW_1M] = {"raw_tcp_1m", "MB/s", -1, {0}},
    [TCP_1M] = {"tcp_1m", "MB/s", RAW_1M, {0}},
    [ACTION_FUSED] = {"action_cost_per_item_fused", "us CPU", -1, {0}},
    [ACTION] = {"action_cost_per_batch", "us CPU", -1, {0}},
    [ACTION_LOCKED] = {"action_cost_locked", "us CPU", ACTION, {0}},
};

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

_Noreturn void bench_die(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    const double *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static double median(const struct row *row, unsigned rounds)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, row->values, rounds * sizeof sorted[0]);
    qsort(sorted, rounds, sizeof sorted[0], compare);
    return sorted[rounds / 2];
}

static void measure(const char *url, unsigned round, uint64_t n)
{
    uint64_t bytes = 0;
    double rate;
    uint64_t large = n / 50; // batches of 1 MiB
    rows[NOOP_LOCAL].values[round] =
        bench_local(config_yaml, "noop3", 32, 15, WORKERS, n).per_second;
    rows[NOOP_TCP].values[round] = bench_remote(url, "noop3", 32, true, 3, n / 4, NULL);
    rows[NOOP_TCP_WIDE].values[round] = bench_remote(url, "noop3", 32, true, 63, n, NULL);
    rows[RAW_1M].values[round] = bench_raw_tcp(MIB, large) / 1e6;
    rate = bench_remote(url, "blocks", MIB / BLOCK_BYTES, true, 3, large, &bytes);
    rows[TCP_1M].values[round] = rate * (double)bytes / (double)large / 1e6;
    // The cost of an action is what a pipeline costs more with than without.
    double bare = bench_local(config_yaml, "bare", 32, 15, 1, n).cpu_seconds_each;
    double noop = bench_local(config_yaml, "noop3", 32, 15, 1, n).cpu_seconds_each;
    double batch = bench_local(config_yaml, "batch8", 32, 15, 1, n).cpu_seconds_each;
    double locked = bench_local(config_yaml, "locked8", 32, 15, 1, n).cpu_seconds_each;
    rows[ACTION_FUSED].values[round] = (noop - bare) / NOOP_ACTIONS * 1e6;
    rows[ACTION].values[round] = (batch - bare) / BATCH_ACTIONS * 1e6;
    rows[ACTION_LOCKED].values[round] = (locked - bare) / BATCH_ACTIONS * 1e6;
}

static void print_rows(unsigned rounds, bool json)
{
    if (!json)
        printf("%-28s %14s %-10s %8s %s\n", "row", "median", "unit", "ratio", "to");
    for (unsigned i = 0; i < NROWS; i++) {
        const struct row *row = &rows[i];
        double value = median(row, rounds);
        double ratio = row->ratio_to < 0 ? 0 : value / median(&rows[row->ratio_to], rounds);
        const char *to = row->ratio_to < 0 ? "" : rows[row->ratio_to].name;
        if (json && row->ratio_to < 0)
            printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"ratio_to\":null,"
                   "\"ratio\":null}\n",
                   row->name, value, row->unit);
        else if (json)
            printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"ratio_to\":\"%s\","
                   "\"ratio\":%.4g}\n",
                   row->name, value, row->unit, to, ratio);
        else if (row->ratio_to < 0)
            printf("%-28s %14.6g %-10s\n", row->name, value, row->unit);
        else
            printf("%-28s %14.6g %-10s %8.3f %s\n", row->name, value, row->unit, ratio, to);
    }
}

// Pseudo-random bytes as a NumPy array [BLOCKS, BLOCK_BYTES] of uint8.
static void write_blocks(const char *path)
{
    static unsigned char block[BLOCK_BYTES];
    char header[128] = {(char)0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 118, 0};
    FILE *file = fopen(path, "wbe");
    if (file == NULL)
        bench_die("cannot write", path);
    memset(header + 10, ' ', sizeof header - 10);
    int length = snprintf(header + 10, sizeof header - 10,
                          "{'descr': '|u1', 'fortran_order': False, 'shape': (%d, %d), }", BLOCKS,
                          BLOCK_BYTES);
    header[10 + length] = ' ';
    header[sizeof header - 1] = '\n';
    fwrite(header, 1, sizeof header, file);
    uint64_t random = 1;
    for (unsigned i = 0; i < BLOCKS; i++) {
        for (unsigned j = 0; j < BLOCK_BYTES; j++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            block[j] = (unsigned char)(random >> 56);
        }
        fwrite(block, 1, sizeof block, file);
    }
    if (fclose(file) != 0)
        bench_die("cannot write", path);
}

int main(int argc, char **argv)
{
    bool json = false, quick = false;
    for (int i = 1; i < argc; i++) {
        json = json || strcmp(argv[i], "--json") == 0;
        quick = quick || strcmp(argv[i], "--quick") == 0;
        if (strcmp(argv[i], "--json") != 0 && strcmp(argv[i], "--quick") != 0) {
            fprintf(stderr, "usage: batchmill-bench [--quick] [--json]\n");
            return 2;
        }
    }
    unsigned rounds = quick ? 1 : 5;
    char path[64];
    snprintf(path, sizeof path, "/tmp/batchmill-bench-%ld.npy", (long)getpid());
    write_blocks(path);
    snprintf(config_yaml, sizeof config_yaml, config_format, path);
    struct bench_server server;
    bench_server_start(&server, config_yaml, WORKERS);
    for (unsigned round = 0; round < rounds; round++)
        measure(server.url, round, quick ? 4000 : 20000);
    bench_server_stop(&server);
    unlink(path);
    if (!json)
        printf("%u interleaved rounds; shuffled batches of 32 int64 (noop, actions) and of "
               "64 x 16 KiB (1m); %d workers\n",
               rounds, WORKERS);
    print_rows(rounds, json);
    return 0;
}
