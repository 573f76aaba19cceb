// epoch.c -- an epoch over 10^9 items, shuffled: how long until its first batch, and what memory
// the server takes beside one that has 1,000 items.
#include <batchmill/client.h>
#include <inttypes.h>

#include "bench/bench.h"

enum { BATCHES = 2000, MANY = 1000000000, FEW = 1000 };

struct epoch {
    double first_ms, rss_mb;
};

static void epoch_check(enum batchmill_code code, const struct batchmill_error *error)
{
    if (code != BATCHMILL_OK)
        bench_die("client", error->text);
}

static struct epoch epoch_measure(uint64_t nitems)
{
    char config[512];
    struct bench_server server;
    struct batchmill_error error = {0};
    struct batchmill_client *client = NULL;
    struct batchmill_stream *stream = NULL;
    struct batchmill_batch *batch = NULL;
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = 32;
    order.shuffle = BATCHMILL_SHUFFLE_DRAWN;
    order.n_iters = BATCHES;
    order.prefetch = 15;
    snprintf(config, sizeof config,
             "listen: ['tcp://127.0.0.1:0']\n"
             "sources: {numbers: {range: {n: %" PRIu64 "}}}\n"
             "pipelines: {numbers: {source: numbers}}\n",
             nitems);
    bench_server_start(&server, config, NULL);
    epoch_check(batchmill_connect(server.url, NULL, &client, &error), &error);
    struct epoch epoch = {0};
    double start = bench_now();
    epoch_check(batchmill_gen_batch(client, "numbers", &order, &stream, &error), &error);
    for (unsigned i = 0; i < BATCHES; i++) {
        epoch_check(batchmill_next(stream, &batch, &error), &error);
        if (i == 0)
            epoch.first_ms = (bench_now() - start) * 1e3;
        batchmill_batch_free(batch);
    }
    epoch.rss_mb = bench_peak_rss_mb(server.pid);
    batchmill_stream_close(stream);
    batchmill_disconnect(client);
    bench_server_stop(&server);
    return epoch;
}

void bench_epoch(const struct bench_setup *setup, const void *work, double *values)
{
    (void)setup, (void)work;
    struct epoch many = epoch_measure(MANY), few = epoch_measure(FEW);
    values[0] = many.first_ms;
    values[1] = many.rss_mb;
    values[2] = few.rss_mb;
}
