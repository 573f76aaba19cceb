// load.c -- ten thousand streams on one server: is each served, are they served alike, what memory
// does the server take, and what does a batch that is ready wait for among so many.
//
// Threads: what is marked atomic is shared with nng's threads; a caller and its figures belong to
// one of them at a time.
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/calls.h"

enum {
    STREAMS = 10000,
    FEW_STREAMS = 100,
    DRIVERS = 100,     // requests at a time while latency is measured
    CONNECTIONS = 200, // a server takes 64 requests at a time of one
    ITEMS = 128,       // in a batch: 1 KiB
    PREFETCH = 3,
    BUDGET_MIB = 128,
    SAMPLES_MAX = 4000, // of a driver
};

static const char config_yaml[] = "listen: ['tcp://127.0.0.1:0']\n"
                                  "sources: {million: {range: {n: 1000000}}}\n"
                                  "pipelines: {million: {source: million}}\n";

struct driver { // asks for one batch at a time, of each of its streams in turn
    struct bench_caller caller;
    struct bench_taken *streams;
    unsigned nstreams, at;
    double started;
    unsigned nsamples;
    double us[SAMPLES_MAX];
};

static struct bm_client_transport *connections[CONNECTIONS];
static struct bench_taken streams[STREAMS];
static struct driver drivers[DRIVERS];
static struct bench_caller callers[STREAMS]; // one a stream, while fairness is measured
static atomic_bool over;
static atomic_uint nunder_way;

// Lets what was started run for a while, and then waits until the last request was answered.
static void load_run(double seconds)
{
    usleep((unsigned)(seconds * 1e6));
    atomic_store(&over, true);
    while (atomic_load(&nunder_way) > 0)
        usleep(1000);
    atomic_store(&over, false);
}

static void failure_check(const struct bench_caller *caller)
{
    if (caller->failed)
        bench_die("request", caller->error.text);
}

// ---- Latency: as many requests at a time however many streams there are ----

static void driver_ask(struct driver *driver)
{
    driver->started = bench_now();
    bench_caller_start(&driver->caller, &driver->streams[driver->at]);
}

static void driver_done(struct bench_caller *caller)
{
    struct driver *driver = BM_CONTAINER(caller, struct driver, caller);
    failure_check(caller);
    if (driver->nsamples < SAMPLES_MAX)
        driver->us[driver->nsamples++] = (bench_now() - driver->started) * 1e6;
    driver->at = (driver->at + 1) % driver->nstreams;
    if (atomic_load(&over))
        atomic_fetch_sub(&nunder_way, 1);
    else
        driver_ask(driver);
}

// What the first batches of each stream take does not count: they are not ready.
static double load_p99_us(unsigned nstreams, double seconds)
{
    unsigned each = nstreams / DRIVERS, n = 0;
    static double us[DRIVERS * SAMPLES_MAX];
    for (unsigned i = 0; i < DRIVERS; i++) {
        struct driver *driver = &drivers[i];
        driver->streams = &streams[(size_t)i * each];
        driver->nstreams = each;
        driver->at = driver->nsamples = 0;
        atomic_fetch_add(&nunder_way, 1);
        driver_ask(driver);
    }
    load_run(seconds);
    for (unsigned i = 0; i < DRIVERS; i++) {
        unsigned ready = drivers[i].nsamples - (each < drivers[i].nsamples ? each : 0);
        memcpy(us + n, drivers[i].us + drivers[i].nsamples - ready, ready * sizeof us[0]);
        n += ready;
    }
    return bench_percentile(us, n, 0.99);
}

// ---- Fairness: every stream always asks for its next batch ----

static void caller_done(struct bench_caller *caller)
{
    failure_check(caller);
    if (atomic_load(&over))
        atomic_fetch_sub(&nunder_way, 1);
    else
        bench_caller_start(caller, caller->stream);
}

// Of 1 when all get the same down to 1/n when one gets everything.
static void load_fairness(double seconds, double *ret_served, double *ret_jain)
{
    static uint64_t before[STREAMS];
    double sum = 0, squares = 0, served = 0;
    for (unsigned i = 0; i < STREAMS; i++) {
        before[i] = streams[i].next;
        bench_caller_init(&callers[i], connections[i % CONNECTIONS], caller_done);
        atomic_fetch_add(&nunder_way, 1);
        bench_caller_start(&callers[i], &streams[i]);
    }
    load_run(seconds);
    for (unsigned i = 0; i < STREAMS; i++) {
        double taken = (double)(streams[i].next - before[i]);
        sum += taken;
        squares += taken * taken;
        served += taken > 0;
    }
    *ret_served = served;
    *ret_jain = sum * sum / (STREAMS * squares);
}

// ---- All of it ----

static void load_open(unsigned first, unsigned last)
{
    for (unsigned i = first; i < last; i++)
        bench_caller_open(&drivers[i % DRIVERS].caller, &streams[i], "million", ITEMS, PREFETCH);
}

void bench_streams(const struct bench_setup *setup, const void *work, double *values)
{
    (void)work;
    struct bench_server server;
    double seconds = setup->quick ? 1 : 2;
    char memory[16];
    snprintf(memory, sizeof memory, "%dMiB", BUDGET_MIB);
    bench_server_start(&server, config_yaml, memory);
    for (unsigned i = 0; i < CONNECTIONS; i++)
        connections[i] = bench_connection(server.url);
    for (unsigned i = 0; i < DRIVERS; i++)
        bench_caller_init(&drivers[i].caller, connections[i], driver_done);
    load_open(0, FEW_STREAMS);
    values[3] = load_p99_us(FEW_STREAMS, seconds);
    load_open(FEW_STREAMS, STREAMS);
    values[4] = load_p99_us(STREAMS, seconds);
    load_fairness(2 * seconds, &values[0], &values[1]);
    values[2] = bench_peak_rss_mb(server.pid) - BUDGET_MIB * 1.048576;
}
