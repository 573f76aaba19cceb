// engine.c -- the scheduler in this process, without any network: streams on a pool of workers, and
// one consumer that takes whatever is ready.
//
// What is counted is all CPU of the process: choosing items, the steps, their order, waking threads
// and the consumer itself, shared out over the actions. So the figure is more than what one more
// action would cost.
// Threads: stream_changed() comes on any, with the pool's mutex held.
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

enum { ENGINE_ACTIONS = 8, ENGINE_PREFETCH = 15, ENGINE_BATCHES = 400000 };

// `burn` of nothing is an action over the whole batch, so each is a step of its own: `noop` is over
// items, and all of them would be fused to one step.
static const char config_yaml[] =
    "sources: {million: {range: {n: 1000000}}}\n"
    "pipelines:\n"
    "  free: {source: million, actions: [burn: {ms: 0}, burn: {ms: 0}, burn: {ms: 0},\n"
    "    burn: {ms: 0}, burn: {ms: 0}, burn: {ms: 0}, burn: {ms: 0}, burn: {ms: 0}]}\n"
    "  locked: {source: million, actions: [\n"
    "    {burn: {ms: 0}, use_lock: one}, {burn: {ms: 0}, use_lock: one},\n"
    "    {burn: {ms: 0}, use_lock: one}, {burn: {ms: 0}, use_lock: one},\n"
    "    {burn: {ms: 0}, use_lock: one}, {burn: {ms: 0}, use_lock: one},\n"
    "    {burn: {ms: 0}, use_lock: one}, {burn: {ms: 0}, use_lock: one}]}\n";

struct engine {
    struct bm_registry *registry;
    struct bm_config config;
    struct bm_pipeline *pipeline;
    struct bm_pool *pool;
    struct bm_executor *executor;
    struct bm_scheduler *scheduler;
    struct bm_mutex mutex; // of `ready`
    struct bm_cond cond;
    struct bm_list ready; // streams that may have something
};

struct taker { // of one stream
    struct bm_stream_listener listener;
    struct bm_node node;
    struct engine *engine;
    struct bm_stream *stream;
    uint64_t seq;
    bool is_ready;
};

static void check(enum bm_status status, const struct bm_error *error)
{
    if (status != BM_OK)
        bench_die(error->where, error->text);
}

// ---- The consumer ----

static void taker_ready(struct taker *taker)
{
    struct engine *engine = taker->engine;
    bm_mutex_lock(&engine->mutex);
    if (!taker->is_ready) {
        taker->is_ready = true;
        bm_list_push_back(&engine->ready, &taker->node);
        bm_cond_signal(&engine->cond);
    }
    bm_mutex_unlock(&engine->mutex);
}

static void stream_changed(struct bm_stream_listener *listener)
{
    taker_ready(BM_CONTAINER(listener, struct taker, listener));
}

static struct taker *taker_next(struct engine *engine)
{
    bm_mutex_lock(&engine->mutex);
    struct bm_node *node;
    while ((node = bm_list_pop_front(&engine->ready)) == NULL)
        bm_cond_wait(&engine->cond, &engine->mutex);
    struct taker *taker = BM_CONTAINER(node, struct taker, node);
    taker->is_ready = false;
    bm_mutex_unlock(&engine->mutex);
    return taker;
}

// Takes all that is there; false: the stream is over.
static bool taker_take(struct taker *taker)
{
    struct bm_executor *executor = taker->engine->executor;
    for (;;) {
        struct bm_outcome *outcome = NULL;
        executor->enter(executor);
        bm_stream_ask(taker->stream, taker->seq);
        enum bm_got got = bm_stream_get(taker->stream, taker->seq, &outcome);
        executor->leave(executor);
        if (got == BM_GOT_NOT_YET)
            return true;
        if (got == BM_GOT_END)
            return false;
        if (got != BM_GOT_OUTCOME || outcome->kind != BM_OUTCOME_BATCH)
            bench_die("engine", "a batch failed");
        bm_outcome_unref(outcome);
        taker->seq++;
    }
}

// ---- The engine ----

static void engine_start(struct engine *engine, const char *pipeline)
{
    struct bm_error error = {0};
    char path[] = "/tmp/batchmill-bench-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, config_yaml, strlen(config_yaml)) != (ssize_t)strlen(config_yaml))
        bench_die("cannot write", path);
    close(fd);
    check(bm_registry_new(&engine->registry, &error), &error);
    check(bm_actions_register(engine->registry, &error), &error);
    check(bm_sources_register(engine->registry, &error), &error);
    check(bm_config_load(path, engine->registry, &engine->config, &error), &error);
    unlink(path);
    check(bm_catalog_find(engine->config.catalog, pipeline, &engine->pipeline, &error), &error);
    check(bm_pool_new(BENCH_WORKERS, &engine->pool, &error), &error);
    engine->executor = bm_pool_executor(engine->pool);
    check(bm_scheduler_new(&(struct bm_scheduler_config){.executor = engine->executor},
                           &engine->scheduler, &error),
          &error);
    check(bm_pool_start(engine->pool, engine->scheduler, &error), &error);
    bm_mutex_init(&engine->mutex);
    bm_cond_init(&engine->cond);
    bm_list_init(&engine->ready);
}

static void taker_open(struct taker *taker, struct engine *engine, uint64_t nbatches)
{
    struct bm_error error = {0};
    *taker = (struct taker){.listener = {.changed = stream_changed}, .engine = engine};
    struct bm_stream_config config = {.pipeline = engine->pipeline,
                                      .prefetch = ENGINE_PREFETCH,
                                      .id = "bench",
                                      .listener = &taker->listener};
    const struct bm_order_params params = {.batch_size = 1,
                                           .shuffle = true,
                                           .seed = 7,
                                           .n_epochs = BM_ORDER_UNSET,
                                           .n_iters = nbatches,
                                           .shard_count = 1};
    check(
        bm_order_init(&config.order, &params, bm_pipeline_source(engine->pipeline)->nitems, &error),
        &error);
    engine->executor->enter(engine->executor);
    enum bm_status status = bm_stream_open(engine->scheduler, &config, &taker->stream, &error);
    engine->executor->leave(engine->executor);
    check(status, &error);
}

// The process ends with the measurement, and the engine with it.
void bench_engine(const struct bench_setup *setup, const void *work, double *values)
{
    const struct bench_actions *actions = work;
    static struct engine engine;
    uint64_t nbatches =
        (uint64_t)(setup->quick ? ENGINE_BATCHES / 4 : ENGINE_BATCHES) / actions->nstreams;
    engine_start(&engine, actions->locked ? "locked" : "free");
    struct taker *takers = calloc(actions->nstreams, sizeof *takers);
    if (takers == NULL)
        bench_die("engine", "out of memory");
    for (unsigned i = 0; i < actions->nstreams; i++)
        taker_open(&takers[i], &engine, nbatches);
    double cpu = bench_cpu_now();
    for (unsigned i = 0; i < actions->nstreams; i++)
        taker_ready(&takers[i]);
    for (unsigned left = actions->nstreams; left > 0;) {
        struct taker *taker = taker_next(&engine);
        if (taker->seq < nbatches && !taker_take(taker))
            left--;
    }
    double total = (double)(nbatches * actions->nstreams * ENGINE_ACTIONS);
    values[0] = (bench_cpu_now() - cpu) / total * 1e6;
}
