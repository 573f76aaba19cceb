#include "fakes/mill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "server/config.h"
#include "support.h"

// ---- Source ----

struct count_config {
    int64_t n;
};
static const struct bm_param count_params[] = {
    BM_PARAM(struct count_config, n, BM_PARAM_INTEGER, .required = true, .min = 0, .max = 1e15,
             .doc = "how many items"),
};

static const struct bm_source_type count_type;

static enum bm_status count_open(const void *config, const char *directory, const char *where,
                                 struct bm_source **ret_source, struct bm_error *err)
{
    (void)directory, (void)where;
    const struct count_config *count = config;
    struct bm_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    source->type = &count_type;
    source->nitems = (uint64_t)count->n;
    source->identity = (uint64_t)count->n;
    bm_schema_init(&source->schema);
    enum bm_status status =
        bm_schema_add(&source->schema, &(struct bm_component){.name = "x", .dtype = BM_INT64}, err);
    if (status != BM_OK) {
        bm_schema_fini(&source->schema);
        free(source);
        return status;
    }
    *ret_source = source;
    return BM_OK;
}

static void count_close(struct bm_source *source)
{
    bm_schema_fini(&source->schema);
    free(source);
}

static enum bm_status count_read(const struct bm_source *source, struct bm_batch *batch,
                                 int64_t *ret_row, struct bm_error *err)
{
    (void)source, (void)ret_row, (void)err;
    int64_t *x = (int64_t *)(void *)batch->tensors[0].data;
    for (uint64_t i = 0; i < batch->nitems; i++)
        x[i] = (int64_t)batch->items[i];
    return BM_OK;
}

static const struct bm_source_type count_type = {
    .name = "count",
    .doc = "Counts.",
    .params = count_params,
    .nparams = 1,
    .config_bytes = sizeof(struct count_config),
    .open = count_open,
    .close = count_close,
    .read = count_read,
};

// ---- Actions ----

struct mill_config { // of all actions; each has its own table
    int64_t amount, ns, seq;
};

static enum bm_status keep_all(const void *config, struct bm_infer *infer, void **ret_plan,
                               struct bm_error *err)
{
    (void)config, (void)ret_plan;
    return bm_infer_keep_all(infer, err);
}

static enum bm_result step_run(struct bm_call *call)
{
    (void)call;
    return BM_RESULT_OK;
}
static const struct bm_action_type step_type = {
    .name = "step", .doc = "Nothing.", .form = BM_PER_BATCH, .infer = keep_all, .run = step_run};

static const struct bm_param amount_params[] = {
    BM_PARAM(struct mill_config, amount, BM_PARAM_INTEGER, .required = true, .doc = "how much"),
};
static enum bm_status add_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                struct bm_error *err)
{
    (void)config, (void)ret_plan;
    unsigned index;
    int x = bm_schema_find(infer->in, "x");
    enum bm_status status = bm_infer_keep_all(infer, err);
    if (status == BM_OK)
        status = bm_infer_write(infer, &infer->in->components[x], x, &index, err);
    return status;
}
static enum bm_result add_run(struct bm_call *call)
{
    const struct mill_config *config = call->config;
    int c = bm_schema_find(call->in->schema, "x");
    const int64_t *in = (const int64_t *)(const void *)call->in->tensors[c].data;
    int64_t *out = (int64_t *)(void *)call->out->tensors[c].data;
    for (uint64_t i = call->first; i < call->first + call->count; i++)
        out[i] = in[i] + config->amount;
    return BM_RESULT_OK;
}
static const struct bm_action_type add_type = {.name = "add",
                                               .doc = "Adds.",
                                               .form = BM_PER_BATCH,
                                               .params = amount_params,
                                               .nparams = 1,
                                               .config_bytes = sizeof(struct mill_config),
                                               .infer = add_infer,
                                               .run = add_run};

// The same, one item at a time.
static const struct bm_action_type shift_type = {.name = "shift",
                                                 .doc = "Adds.",
                                                 .form = BM_PER_ITEM,
                                                 .params = amount_params,
                                                 .nparams = 1,
                                                 .config_bytes = sizeof(struct mill_config),
                                                 .infer = add_infer,
                                                 .run = add_run};

static enum bm_result mix_run(struct bm_call *call)
{
    int c = bm_schema_find(call->in->schema, "x");
    const int64_t *in = (const int64_t *)(const void *)call->in->tensors[c].data;
    int64_t *out = (int64_t *)(void *)call->out->tensors[c].data;
    for (uint64_t i = call->first; i < call->first + call->count; i++) {
        struct bm_random random;
        bm_call_random(call, i, &random);
        out[i] = in[i] * 1000 + (int64_t)(bm_random_uniform(&random) * 1000);
    }
    return BM_RESULT_OK;
}
static const struct bm_action_type mix_type = {.name = "mix",
                                               .doc = "Adds what is drawn.",
                                               .form = BM_PER_ITEM,
                                               .random = true,
                                               .infer = add_infer,
                                               .run = mix_run};

static enum bm_result crack_run(struct bm_call *call)
{
    const struct mill_config *config = call->config;
    for (uint64_t i = call->first; i < call->first + call->count; i++) {
        if (call->in->items[i] % (uint64_t)config->amount == (uint64_t)config->amount - 1)
            return bm_call_fail(call, (int64_t)i, BM_UNKNOWN, "told to crack");
    }
    return BM_RESULT_OK;
}
static const struct bm_action_type crack_type = {.name = "crack",
                                                 .doc = "Fails at some items.",
                                                 .form = BM_PER_ITEM,
                                                 .params = amount_params,
                                                 .nparams = 1,
                                                 .config_bytes = sizeof(struct mill_config),
                                                 .infer = keep_all,
                                                 .run = crack_run};

static enum bm_status sieve_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                  struct bm_error *err)
{
    infer->drops = true;
    return keep_all(config, infer, ret_plan, err);
}
static enum bm_result sieve_run(struct bm_call *call)
{
    const struct mill_config *config = call->config;
    for (uint64_t i = call->first; i < call->first + call->count; i++) {
        if (call->in->items[i] % (uint64_t)config->amount == (uint64_t)config->amount - 1)
            bm_call_drop(call, i);
    }
    return BM_RESULT_OK;
}
static const struct bm_action_type sieve_type = {.name = "sieve",
                                                 .doc = "Leaves out some items.",
                                                 .form = BM_PER_ITEM,
                                                 .params = amount_params,
                                                 .nparams = 1,
                                                 .config_bytes = sizeof(struct mill_config),
                                                 .infer = sieve_infer,
                                                 .run = sieve_run};

static enum bm_status twice_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                  struct bm_error *err)
{
    infer->times = 2;
    return keep_all(config, infer, ret_plan, err);
}
static const struct bm_action_type twice_type = {.name = "twice",
                                                 .doc = "Each item two times.",
                                                 .form = BM_PER_BATCH,
                                                 .infer = twice_infer,
                                                 .run = step_run};

static enum bm_status gather_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    infer->gathers = (uint64_t)((const struct mill_config *)config)->amount;
    return keep_all(config, infer, ret_plan, err);
}
static const struct bm_action_type gather_type = {.name = "gather",
                                                  .doc = "Parts until here.",
                                                  .form = BM_PER_BATCH,
                                                  .params = amount_params,
                                                  .nparams = 1,
                                                  .config_bytes = sizeof(struct mill_config),
                                                  .infer = gather_infer,
                                                  .run = step_run};

static enum bm_status draw_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    (void)config, (void)ret_plan;
    unsigned index;
    enum bm_status status = bm_infer_keep_all(infer, err);
    if (status == BM_OK)
        status = bm_infer_write(infer, &(struct bm_component){.name = "r", .dtype = BM_FLOAT64}, -1,
                                &index, err);
    return status;
}
static enum bm_result draw_run(struct bm_call *call)
{
    int c = bm_schema_find(call->out->schema, "r");
    double *out = (double *)(void *)call->out->tensors[c].data;
    for (uint64_t i = call->first; i < call->first + call->count; i++) {
        struct bm_random random;
        bm_call_random(call, i, &random);
        out[i] = bm_random_uniform(&random);
    }
    return BM_RESULT_OK;
}
static const struct bm_action_type draw_type = {.name = "draw",
                                                .doc = "Draws.",
                                                .form = BM_PER_BATCH,
                                                .random = true,
                                                .infer = draw_infer,
                                                .run = draw_run};

static const struct bm_param ns_params[] = {
    BM_PARAM(struct mill_config, ns, BM_PARAM_INTEGER, .required = true, .doc = "how long"),
};
static enum bm_result nap_run(struct bm_call *call)
{
    const struct mill_config *config = call->config;
    return bm_call_sleep(call, (uint64_t)config->ns);
}
static const struct bm_action_type nap_type = {.name = "nap",
                                               .doc = "Waits.",
                                               .form = BM_PER_BATCH,
                                               .waits = true,
                                               .params = ns_params,
                                               .nparams = 1,
                                               .config_bytes = sizeof(struct mill_config),
                                               .infer = keep_all,
                                               .run = nap_run};

static struct bm_deferred *deferred[MILL_DEFERRED_MAX];
static unsigned ndeferred;

static enum bm_result hand_run(struct bm_call *call)
{
    BM_ASSERT(ndeferred < MILL_DEFERRED_MAX);
    deferred[ndeferred++] = bm_call_defer(call);
    return BM_RESULT_PENDING;
}
static const struct bm_action_type hand_type = {.name = "hand",
                                                .doc = "Waits for the test.",
                                                .form = BM_PER_BATCH,
                                                .waits = true,
                                                .infer = keep_all,
                                                .run = hand_run};

unsigned mill_deferred_count(void)
{
    return ndeferred;
}

void mill_finish_deferred(unsigned i, enum bm_result result)
{
    BM_ASSERT(i < ndeferred);
    struct bm_deferred *one = deferred[i];
    ndeferred--;
    memmove(&deferred[i], &deferred[i + 1], (ndeferred - i) * sizeof(struct bm_deferred *));
    bm_deferred_finish(one, result);
}

static const struct bm_param seq_params[] = {
    BM_PARAM(struct mill_config, seq, BM_PARAM_INTEGER, .required = true, .doc = "which batch"),
};
static bool is_at(const struct bm_call *call)
{
    return (int64_t)call->seq == ((const struct mill_config *)call->config)->seq;
}
static enum bm_result fail_run(struct bm_call *call)
{
    return is_at(call) ? bm_call_fail(call, 0, BM_UNKNOWN, "told to fail at %d", (int)call->seq)
                       : BM_RESULT_OK;
}
static enum bm_result skip_run(struct bm_call *call)
{
    return is_at(call) ? BM_RESULT_SKIP : BM_RESULT_OK;
}
static enum bm_result end_run(struct bm_call *call)
{
    return is_at(call) ? BM_RESULT_END : BM_RESULT_OK;
}
#define AT_TYPE(name_, run_)                                                                       \
    {                                                                                              \
        .name = name_, .doc = "At a batch.", .form = BM_PER_BATCH, .params = seq_params,           \
        .nparams = 1, .config_bytes = sizeof(struct mill_config), .infer = keep_all, .run = run_   \
    }
static const struct bm_action_type fail_type = AT_TYPE("fail", fail_run);
static const struct bm_action_type skip_type = AT_TYPE("skip", skip_run);
static const struct bm_action_type end_type = AT_TYPE("end", end_run);

struct sum {
    int64_t sum, count, order;
};
static void sum_merge(const void *config, void *state, const void *update)
{
    (void)config;
    struct sum *to = state;
    const struct sum *from = update;
    to->sum += from->sum;
    to->count += from->count;
    to->order = (int64_t)bm_mix64((uint64_t)to->order * 31 + (uint64_t)from->order);
}
static void sum_report(const void *config, const void *state, struct bm_number *ret_numbers)
{
    (void)config;
    const struct sum *sum = state;
    ret_numbers[0] = (struct bm_number){"x.sum", BM_NUMBER_INTEGER, sum->sum, 0};
    ret_numbers[1] = (struct bm_number){"x.count", BM_NUMBER_INTEGER, sum->count, 0};
    ret_numbers[2] = (struct bm_number){"x.order", BM_NUMBER_INTEGER, sum->order, 0};
}
static const struct bm_variable_type sum_variable = {
    .state_bytes = sizeof(struct sum), .merge = sum_merge, .nnumbers = 3, .report = sum_report};
static enum bm_status sum_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                struct bm_error *err)
{
    infer->variable = &sum_variable;
    return keep_all(config, infer, ret_plan, err);
}
static enum bm_result sum_run(struct bm_call *call)
{
    struct sum *update = call->update;
    int c = bm_schema_find(call->in->schema, "x");
    const int64_t *in = (const int64_t *)(const void *)call->in->tensors[c].data;
    for (uint64_t i = call->first; i < call->first + call->count; i++)
        update->sum += in[i];
    update->count++;
    update->order = (int64_t)call->seq + 1;
    return BM_RESULT_OK;
}
static const struct bm_action_type sum_type = {
    .name = "sum", .doc = "Sums.", .form = BM_PER_BATCH, .infer = sum_infer, .run = sum_run};

// ---- The mill ----

void mill_register(struct bm_registry *registry)
{
    const struct bm_action_type *actions[] = {&step_type,  &add_type,   &draw_type,  &nap_type,
                                              &hand_type,  &fail_type,  &skip_type,  &end_type,
                                              &sum_type,   &shift_type, &mix_type,   &crack_type,
                                              &sieve_type, &twice_type, &gather_type};
    assert_int_equal(bm_registry_add_source(registry, &count_type, NULL), BM_OK);
    for (unsigned i = 0; i < sizeof actions / sizeof actions[0]; i++)
        assert_int_equal(bm_registry_add_action(registry, actions[i], NULL), BM_OK);
}

void mill_init(struct mill *mill, unsigned nworkers, uint64_t seed, uint64_t memory_bytes,
               struct bm_observer *observer)
{
    *mill = (struct mill){0};
    ndeferred = 0;
    fake_executor_init(&mill->executor, nworkers, seed);
    const struct bm_scheduler_config config = {
        .executor = &mill->executor.base,
        .observer = observer,
        .memory_bytes = memory_bytes,
        .nworkers = nworkers, // every step that can be spread is
    };
    assert_int_equal(bm_scheduler_new(&config, &mill->scheduler, NULL), BM_OK);
    mill->executor.scheduler = mill->scheduler;
    assert_int_equal(bm_registry_new(&mill->registry, NULL), BM_OK);
    mill_register(mill->registry);
}

void mill_fini(struct mill *mill)
{
    while (fake_executor_step(&mill->executor))
        ;
    assert_true(bm_scheduler_idle(mill->scheduler)); // nothing left behind
    bm_scheduler_free(mill->scheduler);
    bm_registry_free(mill->registry);
}

struct bm_pipeline *mill_pipeline(struct mill *mill, const char *name, uint64_t nitems,
                                  const char *actions_yaml)
{
    char text[64];
    struct bm_error error = {0};
    struct bm_value *definition = NULL, *actions = NULL;
    struct bm_source_ref *source = NULL;
    struct bm_pipeline *pipeline = NULL;
    snprintf(text, sizeof text, "{count: {n: %llu}}", (unsigned long long)nitems);
    assert_int_equal(bm_yaml_parse(text, strlen(text), "source", &definition, &error), BM_OK);
    if (bm_yaml_parse(actions_yaml, strlen(actions_yaml), "actions", &actions, &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    if (bm_source_open(mill->registry, "count", definition, ".", &source, &error) != BM_OK ||
        bm_pipeline_new(mill->registry, name, source, actions, &pipeline, &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    bm_source_unref(source);
    bm_value_free(definition);
    bm_value_free(actions);
    return pipeline;
}

struct bm_stream *mill_open(struct mill *mill, struct bm_pipeline *pipeline,
                            struct mill_stream config)
{
    const struct bm_order_params params = {
        .batch_size = config.batch_size == 0 ? 1 : config.batch_size,
        .shuffle = config.seed != 0,
        .seed = config.seed,
        .n_epochs = BM_ORDER_UNSET,
        .n_iters = BM_ORDER_UNSET,
        .shard_count = 1,
    };
    struct bm_stream_config stream_config = {.pipeline = pipeline,
                                             .first_seq = config.first_seq,
                                             .prefetch = config.prefetch,
                                             .on_error = config.on_error,
                                             .traced = config.traced,
                                             .id = bm_pipeline_name(pipeline),
                                             .listener = config.listener};
    struct bm_error error = {0};
    struct bm_stream *stream = NULL;
    struct bm_executor *executor = &mill->executor.base;
    if (bm_order_init(&stream_config.order, &params, bm_pipeline_source(pipeline)->nitems,
                      &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    executor->enter(executor);
    if (bm_stream_open(mill->scheduler, &stream_config, &stream, &error) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    executor->leave(executor);
    return stream;
}

void mill_ask(struct mill *mill, struct bm_stream *stream, uint64_t seq)
{
    struct bm_executor *executor = &mill->executor.base;
    executor->enter(executor);
    bm_stream_ask(stream, seq);
    executor->leave(executor);
}

void mill_close(struct mill *mill, struct bm_stream *stream)
{
    struct bm_executor *executor = &mill->executor.base;
    executor->enter(executor);
    bm_stream_close(stream);
    executor->leave(executor);
}

enum bm_got mill_get(struct mill *mill, struct bm_stream *stream, uint64_t seq,
                     struct bm_outcome **ret_outcome)
{
    struct bm_executor *executor = &mill->executor.base;
    executor->enter(executor);
    enum bm_got got = bm_stream_get(stream, seq, ret_outcome);
    executor->leave(executor);
    return got;
}

enum bm_got mill_take(struct mill *mill, struct bm_stream *stream, uint64_t seq,
                      struct bm_outcome **ret_outcome)
{
    mill_ask(mill, stream, seq);
    for (;;) {
        enum bm_got got = mill_get(mill, stream, seq, ret_outcome);
        if (got != BM_GOT_NOT_YET)
            return got;
        if (!fake_executor_step(&mill->executor))
            fail_msg("deadlock: batch %d is not ready and nothing is left to happen", (int)seq);
    }
}

uint64_t mill_digest(const struct bm_outcome *outcome)
{
    struct bm_hash *hash = bm_hash_new();
    BM_ASSERT(hash != NULL);
    bm_hash_add_u64(hash, outcome->kind);
    bm_hash_add_u64(hash, outcome->seq);
    const struct bm_batch *batch = &outcome->work.batch;
    if (outcome->kind == BM_OUTCOME_BATCH) {
        bm_hash_add(hash, batch->items, batch->nitems * sizeof batch->items[0]);
        for (unsigned c = 0; c < batch->schema->ncomponents; c++)
            bm_hash_add(hash, batch->tensors[c].data, batch->tensors[c].size_bytes);
    }
    uint64_t digest = bm_hash_end(hash);
    bm_hash_free(hash);
    return digest;
}
