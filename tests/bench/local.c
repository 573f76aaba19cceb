// local.c -- the engine without any network: pool, scheduler, one consumer.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actions/actions.h"
#include "base/list.h"
#include "base/mutex.h"
#include "bench/bench.h"
#include "run/pool.h"
#include "server/config.h"
#include "sources/sources.h"

struct consumer {
    struct bm_stream_listener listener;
    struct bm_mutex mutex;
    struct bm_cond cond;
    uint64_t changes;
};

static void consumer_changed(struct bm_stream_listener *listener)
{
    struct consumer *consumer = BM_CONTAINER(listener, struct consumer, listener);
    bm_mutex_lock(&consumer->mutex);
    consumer->changes++;
    bm_cond_signal(&consumer->cond);
    bm_mutex_unlock(&consumer->mutex);
}

static void local_take(struct bm_executor *executor, struct bm_stream *stream,
                       struct consumer *consumer, uint64_t seq)
{
    uint64_t seen = 0;
    for (;;) {
        struct bm_outcome *outcome = NULL;
        executor->enter(executor);
        bm_stream_ask(stream, seq);
        enum bm_got got = bm_stream_get(stream, seq, &outcome);
        executor->leave(executor);
        if (got == BM_GOT_OUTCOME) {
            if (outcome->kind != BM_OUTCOME_BATCH)
                bench_die("a batch failed", outcome->work.error.text);
            bm_outcome_unref(outcome);
            return;
        }
        bm_mutex_lock(&consumer->mutex);
        while (consumer->changes == seen)
            bm_cond_wait(&consumer->cond, &consumer->mutex);
        seen = consumer->changes;
        bm_mutex_unlock(&consumer->mutex);
    }
}

static struct bench_rate local_stream(struct bm_pool *pool, struct bm_scheduler *scheduler,
                                      struct bm_pipeline *pipeline, uint64_t batch_size,
                                      unsigned prefetch, uint64_t nbatches)
{
    struct bm_error error = {0};
    struct bm_executor *executor = bm_pool_executor(pool);
    struct consumer consumer = {.listener = {.changed = consumer_changed}};
    bm_mutex_init(&consumer.mutex);
    bm_cond_init(&consumer.cond);
    struct bm_stream_config config = {
        .pipeline = pipeline, .prefetch = prefetch, .id = "bench", .listener = &consumer.listener};
    const struct bm_order_params params = {.batch_size = batch_size,
                                           .shuffle = true,
                                           .seed = 7,
                                           .n_epochs = BM_ORDER_UNSET,
                                           .n_iters = nbatches,
                                           .shard_count = 1};
    if (bm_order_init(&config.order, &params, bm_pipeline_source(pipeline)->nitems, &error) !=
        BM_OK)
        bench_die("order", error.text);
    struct bm_stream *stream = NULL;
    executor->enter(executor);
    enum bm_status status = bm_stream_open(scheduler, &config, &stream, &error);
    executor->leave(executor);
    if (status != BM_OK)
        bench_die("stream", error.text);
    double cpu = bench_cpu_now(), start = bench_now();
    for (uint64_t seq = 0; seq < nbatches; seq++)
        local_take(executor, stream, &consumer, seq);
    struct bench_rate rate = {.per_second = (double)nbatches / (bench_now() - start),
                              .cpu_seconds_each = (bench_cpu_now() - cpu) / (double)nbatches};
    executor->enter(executor);
    bm_stream_close(stream);
    executor->leave(executor);
    bm_cond_fini(&consumer.cond);
    bm_mutex_fini(&consumer.mutex);
    return rate;
}

static void local_load(const char *config_yaml, struct bm_registry **registry,
                       struct bm_config *config)
{
    struct bm_error error = {0};
    char path[] = "/tmp/batchmill-bench-XXXXXX";
    int fd = mkstemp(path);
    size_t size = strlen(config_yaml);
    if (fd < 0 || write(fd, config_yaml, size) != (ssize_t)size)
        bench_die("cannot write", path);
    close(fd);
    enum bm_status status = bm_registry_new(registry, &error);
    if (status == BM_OK)
        status = bm_actions_register(*registry, &error);
    if (status == BM_OK)
        status = bm_sources_register(*registry, &error);
    if (status == BM_OK)
        status = bm_config_load(path, *registry, config, &error);
    unlink(path);
    if (status != BM_OK)
        bench_die(error.where, error.text);
}

struct bench_rate bench_local(const char *config_yaml, const char *pipeline_name,
                              uint64_t batch_size, unsigned prefetch, unsigned workers,
                              uint64_t nbatches)
{
    struct bm_error error = {0};
    struct bm_registry *registry = NULL;
    struct bm_config config = {0};
    struct bm_pipeline *pipeline = NULL;
    struct bm_pool *pool = NULL;
    struct bm_scheduler *scheduler = NULL;
    local_load(config_yaml, &registry, &config);
    enum bm_status status = bm_catalog_find(config.catalog, pipeline_name, &pipeline, &error);
    if (status == BM_OK)
        status = bm_pool_new(workers, &pool, &error);
    if (status == BM_OK)
        status = bm_scheduler_new(&(struct bm_scheduler_config){.executor = bm_pool_executor(pool)},
                                  &scheduler, &error);
    if (status == BM_OK)
        status = bm_pool_start(pool, scheduler, &error);
    if (status != BM_OK)
        bench_die("engine", error.text);
    struct bench_rate rate =
        local_stream(pool, scheduler, pipeline, batch_size, prefetch, nbatches);
    bm_pool_stop(pool);
    bm_scheduler_free(scheduler);
    bm_pool_free(pool);
    bm_config_fini(&config);
    bm_registry_free(registry);
    return rate;
}
