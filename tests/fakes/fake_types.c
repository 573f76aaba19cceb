#include "fakes/fake_types.h"

#include <stdlib.h>
#include <string.h>

#include "server/config.h"
#include "support.h"

struct fake_types_hook fake_types_hook;

// ---- The source ----

struct fake_config {
    int64_t n, fail_item;
    bool lent, ragged, forget;
};

static const struct bm_param fake_params[] = {
    BM_PARAM(struct fake_config, n, BM_PARAM_INTEGER, .required = true, .doc = "how many items"),
    BM_PARAM(struct fake_config, fail_item, BM_PARAM_INTEGER, .fallback = "-1",
             .doc = "reading it fails"),
    BM_PARAM(struct fake_config, lent, BM_PARAM_BOOL, .doc = "x lies in memory of somebody else"),
    BM_PARAM(struct fake_config, ragged, BM_PARAM_BOOL, .doc = "gives `tail` as well"),
    BM_PARAM(struct fake_config, forget, BM_PARAM_BOOL, .doc = "the source has a bug"),
};

struct fake_source {
    struct bm_source base;
    struct fake_config config;
};

static const struct bm_source_type fake_source_type;

static void fake_close(struct bm_source *base)
{
    bm_schema_fini(&base->schema);
    free(base);
}

static enum bm_status fake_open(const void *config, const char *directory, const char *where,
                                struct bm_source **ret_source, struct bm_error *err)
{
    (void)directory;
    struct fake_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    source->config = *(const struct fake_config *)config;
    source->base = (struct bm_source){.type = &fake_source_type,
                                      .nitems = (uint64_t)source->config.n,
                                      .identity = (uint64_t)source->config.n};
    bm_schema_init(&source->base.schema);
    enum bm_status status = bm_schema_add(
        &source->base.schema, &(struct bm_component){.name = "x", .dtype = BM_INT64}, err);
    if (status == BM_OK && source->config.ragged)
        status = bm_schema_add(
            &source->base.schema,
            &(struct bm_component){.name = "tail", .dtype = BM_INT64, .ragged = true, .ndim = 1},
            err);
    if (status != BM_OK) {
        fake_close(&source->base);
        return status;
    }
    *ret_source = &source->base;
    return BM_OK;
}

// A ragged int64 component whose item i has length(item) rows; the caller fills them.
static enum bm_status alloc_rows(struct bm_batch *batch, unsigned c,
                                 uint64_t (*length)(uint64_t item), struct bm_error *err)
{
    struct bm_block *offsets = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (offsets == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    uint64_t *starts = bm_block_data(offsets);
    starts[0] = 0;
    for (uint64_t row = 0; row < batch->nitems; row++)
        starts[row + 1] = starts[row] + length(batch->items[row]);
    enum bm_status status = bm_batch_alloc_ragged(batch, c, offsets, err);
    bm_block_unref(offsets);
    return status;
}

static uint64_t tail_length(uint64_t item)
{
    return item % 3;
}

static enum bm_status fake_read_tail(struct bm_batch *batch, struct bm_error *err)
{
    enum bm_status status = alloc_rows(batch, 1, tail_length, err);
    if (status != BM_OK)
        return status;
    for (uint64_t row = 0; row < batch->nitems; row++) {
        uint64_t n;
        int64_t *tail = (int64_t *)(void *)bm_batch_rows(batch, 1, row, 1, &n);
        for (uint64_t i = 0; i < n; i++)
            tail[i] = (int64_t)batch->items[row];
    }
    return BM_OK;
}

static enum bm_status fake_lend(struct bm_batch *batch, struct bm_error *err)
{
    struct bm_tensor *x = &batch->tensors[0];
    int64_t *numbers = malloc(x->size_bytes);
    if (numbers == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    struct bm_block *block = bm_block_lend(numbers, x->size_bytes, free, numbers);
    if (block == NULL) {
        free(numbers);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    }
    bm_block_unref(x->block);
    x->block = block;
    x->data = (unsigned char *)numbers;
    return BM_OK;
}

static enum bm_status fake_read(const struct bm_source *base, struct bm_batch *batch,
                                int64_t *ret_row, struct bm_error *err)
{
    const struct fake_source *source = (const struct fake_source *)base;
    enum bm_status status = source->config.lent ? fake_lend(batch, err) : BM_OK;
    if (status == BM_OK && source->config.ragged && !source->config.forget)
        status = fake_read_tail(batch, err);
    if (status != BM_OK)
        return status;
    int64_t *x = (int64_t *)(void *)batch->tensors[0].data;
    for (uint64_t row = 0; row < batch->nitems; row++) {
        x[row] = (int64_t)batch->items[row];
        if (x[row] == source->config.fail_item) {
            *ret_row = (int64_t)row;
            return bm_fail(err, BM_DATA_LOSS, "fake.bin: row 1", "expected a number, got mud");
        }
    }
    return BM_OK;
}

static const struct bm_source_type fake_source_type = {
    .name = "fake",
    .doc = "Counts.",
    .params = fake_params,
    .nparams = sizeof fake_params / sizeof fake_params[0],
    .config_bytes = sizeof(struct fake_config),
    .open = fake_open,
    .close = fake_close,
    .read = fake_read,
};

// ---- What the actions share ----

struct action_config { // each action has a table of its own over it
    char *component, *as;
    int64_t amount, item, ns;
    int result;
    bool forget;
};

struct action_plan {
    unsigned in, out;
};

static enum bm_status plan_new(struct action_plan plan, void **ret_plan, struct bm_error *err)
{
    struct action_plan *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    *copy = plan;
    *ret_plan = copy;
    return BM_OK;
}

// Everything stays; a component called `as`, of type `dtype`, is computed from config->component.
static enum bm_status infer_written(const struct action_config *config, struct bm_infer *infer,
                                    enum bm_dtype dtype, const char *as, void **ret_plan,
                                    struct bm_error *err)
{
    char where[BM_ERROR_WHERE_MAX];
    struct action_plan plan;
    enum bm_status status =
        bm_schema_require(infer->in, config->component,
                          bm_params_where(infer->where, "component", where), &plan.in, err);
    if (status == BM_OK)
        status = bm_infer_keep_all(infer, err);
    if (status != BM_OK)
        return status;
    struct bm_component component = infer->in->components[plan.in];
    component.dtype = dtype;
    strcpy(component.name, as);
    status = bm_infer_write(infer, &component, (int)plan.in, &plan.out, err);
    return status == BM_OK ? plan_new(plan, ret_plan, err) : status;
}

static enum bm_status infer_keep(const void *config, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    (void)config, (void)ret_plan;
    return bm_infer_keep_all(infer, err);
}

#define ACTION(name_, form_, infer_, run_, ...)                                                    \
    {                                                                                              \
        .name = (name_), .doc = "For tests.", .form = (form_), .infer = (infer_), .run = (run_),   \
        .config_bytes = sizeof(struct action_config), __VA_ARGS__                                  \
    }
#define PARAMS(table) .params = (table), .nparams = sizeof(table) / sizeof((table)[0])
#define PARAM(field, kind, ...) BM_PARAM(struct action_config, field, kind, __VA_ARGS__)
#define COMPONENT                                                                                  \
    PARAM(component, BM_PARAM_NAME, .fallback = "x", .doc = "what the action is about")

static const struct bm_param component_params[] = {COMPONENT};
static const struct bm_param as_params[] = {
    COMPONENT, PARAM(as, BM_PARAM_NAME, .required = true, .doc = "name of the new one")};

// ---- Per item ----

static enum bm_status add_infer(const void *config_, struct bm_infer *infer, void **ret_plan,
                                struct bm_error *err)
{
    const struct action_config *config = config_;
    return infer_written(config, infer, BM_INT64, config->component, ret_plan, err);
}

static enum bm_status copy_infer(const void *config_, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    const struct action_config *config = config_;
    return infer_written(config, infer, BM_INT64, config->as, ret_plan, err);
}

static enum bm_result add_run(struct bm_call *call) // with amount 0, a copy
{
    const struct action_config *config = call->config;
    const struct action_plan *plan = call->plan;
    uint64_t n;
    const int64_t *in = (const int64_t *)(const void *)bm_batch_rows(call->in, plan->in,
                                                                     call->first, call->count, &n);
    int64_t *out =
        (int64_t *)(void *)bm_batch_rows(call->out, plan->out, call->first, call->count, &n);
    for (uint64_t i = 0; i < n; i++)
        out[i] = in[i] + config->amount;
    return BM_RESULT_OK;
}

static const struct bm_param add_params[] = {
    COMPONENT, PARAM(amount, BM_PARAM_INTEGER, .fallback = "1", .doc = "how much")};
static const struct bm_action_type add_type =
    ACTION("fake.add", BM_PER_ITEM, add_infer, add_run, PARAMS(add_params));
static const struct bm_param copy_params[] = {
    COMPONENT, PARAM(as, BM_PARAM_NAME, .required = true, .doc = "name of the new one"),
    PARAM(amount, BM_PARAM_INTEGER, .fallback = "0", .doc = "how much it differs")};
static const struct bm_action_type copy_type =
    ACTION("fake.copy", BM_PER_ITEM, copy_infer, add_run, PARAMS(copy_params));

static enum bm_status keep_infer(const void *config_, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    (void)ret_plan;
    const struct action_config *config = config_;
    unsigned from;
    enum bm_status status =
        bm_schema_require(infer->in, config->component, infer->where, &from, err);
    if (status == BM_OK)
        status = bm_infer_keep_all(infer, err);
    if (status != BM_OK)
        return status;
    struct bm_component second = infer->in->components[from];
    strcpy(second.name, config->as);
    return bm_infer_keep(infer, from, &second, err);
}

static enum bm_result nothing_run(struct bm_call *call)
{
    (void)call;
    return BM_RESULT_OK;
}

static const struct bm_action_type keep_type =
    ACTION("fake.keep", BM_PER_ITEM, keep_infer, nothing_run, PARAMS(as_params));

static enum bm_status drop_infer(const void *config_, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    (void)ret_plan;
    const struct action_config *config = config_;
    unsigned dropped;
    enum bm_status status =
        bm_schema_require(infer->in, config->component, infer->where, &dropped, err);
    for (unsigned c = 0; c < infer->in->ncomponents && status == BM_OK; c++) {
        if (c != dropped)
            status = bm_infer_keep(infer, c, NULL, err);
    }
    return status;
}

static const struct bm_action_type drop_type =
    ACTION("fake.drop", BM_PER_ITEM, drop_infer, nothing_run, PARAMS(component_params));

static enum bm_status float_infer(const void *config_, struct bm_infer *infer, void **ret_plan,
                                  struct bm_error *err)
{
    const struct action_config *config = config_;
    return infer_written(config, infer, BM_FLOAT64, config->component, ret_plan, err);
}

static enum bm_status narrow_infer(const void *config_, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    const struct action_config *config = config_;
    return infer_written(config, infer, BM_INT32, config->component, ret_plan, err);
}

static enum bm_result convert_run(struct bm_call *call)
{
    const struct action_plan *plan = call->plan;
    uint64_t n;
    const unsigned char *in = bm_batch_rows(call->in, plan->in, call->first, call->count, &n);
    unsigned char *out = bm_batch_rows(call->out, plan->out, call->first, call->count, &n);
    bm_dtype_convert(call->out->schema->components[plan->out].dtype, out,
                     call->in->schema->components[plan->in].dtype, in, n);
    return BM_RESULT_OK;
}

static const struct bm_action_type float_type =
    ACTION("fake.float", BM_PER_ITEM, float_infer, convert_run, PARAMS(component_params));
static const struct bm_action_type narrow_type =
    ACTION("fake.narrow", BM_PER_ITEM, narrow_infer, convert_run, PARAMS(component_params));

static enum bm_status draw_infer(const void *config_, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    const struct action_config *config = config_;
    struct bm_component drawn = {.dtype = BM_FLOAT64};
    strcpy(drawn.name, config->as);
    struct action_plan plan = {0};
    enum bm_status status = bm_infer_keep_all(infer, err);
    if (status == BM_OK)
        status = bm_infer_write(infer, &drawn, -1, &plan.out, err);
    return status == BM_OK ? plan_new(plan, ret_plan, err) : status;
}

static enum bm_result draw_run(struct bm_call *call)
{
    const struct action_plan *plan = call->plan;
    double *out = (double *)(void *)call->out->tensors[plan->out].data;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        struct bm_random random;
        bm_call_random(call, row, &random);
        out[row] = bm_random_uniform(&random);
    }
    return BM_RESULT_OK;
}

static const struct bm_param draw_params[] = {
    PARAM(as, BM_PARAM_NAME, .fallback = "drawn", .doc = "name of the new one")};
static const struct bm_action_type draw_type =
    ACTION("fake.draw", BM_PER_ITEM, draw_infer, draw_run, PARAMS(draw_params), .random = true);

static enum bm_result stop_run(struct bm_call *call)
{
    const struct action_config *config = call->config;
    for (uint64_t row = call->first; row < call->first + call->count; row++) {
        if ((int64_t)call->in->items[row] != config->item)
            continue;
        static const enum bm_result results[] = {BM_RESULT_SKIP, BM_RESULT_END, BM_RESULT_FAIL,
                                                 BM_RESULT_PENDING};
        if (results[config->result] == BM_RESULT_FAIL)
            return bm_call_fail(call, (int64_t)row, BM_DATA_LOSS, "expected %s, got %d", "luck",
                                (int)config->item);
        return results[config->result];
    }
    return BM_RESULT_OK;
}

static const struct bm_param stop_params[] = {
    PARAM(item, BM_PARAM_INTEGER, .required = true, .doc = "where"),
    PARAM(result, BM_PARAM_CHOICE, .required = true, .choices = {"skip", "end", "fail", "pending"},
          .doc = "how"),
};
static const struct bm_action_type stop_type =
    ACTION("fake.stop", BM_PER_ITEM, infer_keep, stop_run, PARAMS(stop_params));

struct total {
    int64_t sum, rows, calls;
};

static void total_merge(const void *config, void *state_, const void *update_)
{
    (void)config;
    struct total *state = state_;
    const struct total *update = update_;
    state->sum += update->sum;
    state->rows += update->rows;
    state->calls += update->calls;
}

static void total_report(const void *config, const void *state, struct bm_number *ret_numbers)
{
    (void)config;
    const struct total *total = state;
    ret_numbers[0] = (struct bm_number){"sum", BM_NUMBER_INTEGER, total->sum, 0};
    ret_numbers[1] = (struct bm_number){"rows", BM_NUMBER_INTEGER, total->rows, 0};
    ret_numbers[2] = (struct bm_number){"calls", BM_NUMBER_INTEGER, total->calls, 0};
}

static const struct bm_variable_type total_variable = {.state_bytes = sizeof(struct total),
                                                       .merge = total_merge,
                                                       .nnumbers = 3,
                                                       .report = total_report};

static enum bm_status total_infer(const void *config_, struct bm_infer *infer, void **ret_plan,
                                  struct bm_error *err)
{
    const struct action_config *config = config_;
    struct action_plan plan = {0};
    infer->variable = &total_variable;
    enum bm_status status =
        bm_schema_require(infer->in, config->component, infer->where, &plan.in, err);
    if (status == BM_OK)
        status = bm_infer_keep_all(infer, err);
    return status == BM_OK ? plan_new(plan, ret_plan, err) : status;
}

static enum bm_result total_run(struct bm_call *call)
{
    const struct action_plan *plan = call->plan;
    struct total *update = call->update;
    uint64_t n;
    const int64_t *in = (const int64_t *)(const void *)bm_batch_rows(call->in, plan->in,
                                                                     call->first, call->count, &n);
    for (uint64_t i = 0; i < n; i++)
        update->sum += in[i];
    update->rows += (int64_t)call->count;
    update->calls++;
    return BM_RESULT_OK;
}

static const struct bm_action_type total_type =
    ACTION("fake.total", BM_PER_ITEM, total_infer, total_run, PARAMS(component_params));

// ---- Per batch ----

static enum bm_result step_run(struct bm_call *call)
{
    return fake_types_hook.step == NULL ? BM_RESULT_OK
                                        : fake_types_hook.step(call, fake_types_hook.context);
}

static const struct bm_action_type step_type =
    ACTION("fake.step", BM_PER_BATCH, infer_keep, step_run);

static enum bm_result sleep_run(struct bm_call *call)
{
    const struct action_config *config = call->config;
    return bm_call_sleep(call, (uint64_t)config->ns);
}

static const struct bm_param sleep_params[] = {
    PARAM(ns, BM_PARAM_INTEGER, .required = true, .min = 0, .max = 1e18, .doc = "how long")};
static const struct bm_action_type sleep_type =
    ACTION("fake.sleep", BM_PER_BATCH, infer_keep, sleep_run, PARAMS(sleep_params), .waits = true);

static enum bm_result defer_run(struct bm_call *call)
{
    fake_types_hook.deferred_error = call->error;
    fake_types_hook.deferred = bm_call_defer(call);
    return BM_RESULT_PENDING;
}

static const struct bm_action_type defer_type = ACTION(
    "fake.defer", BM_PER_BATCH, add_infer, defer_run, PARAMS(component_params), .waits = true);

static enum bm_status upto_infer(const void *config_, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    const struct action_config *config = config_;
    struct bm_component rows = {.dtype = BM_INT64, .ragged = true, .ndim = 1};
    strcpy(rows.name, config->as);
    struct action_plan plan = {0};
    enum bm_status status = bm_infer_keep_all(infer, err);
    if (status == BM_OK)
        status = bm_infer_write(infer, &rows, -1, &plan.out, err);
    return status == BM_OK ? plan_new(plan, ret_plan, err) : status;
}

static uint64_t upto_length(uint64_t item)
{
    return item;
}

static enum bm_result upto_run(struct bm_call *call)
{
    const struct action_config *config = call->config;
    const struct action_plan *plan = call->plan;
    if (config->forget)
        return BM_RESULT_OK;
    if (alloc_rows(call->out, plan->out, upto_length, call->error) != BM_OK)
        return BM_RESULT_FAIL;
    for (uint64_t row = 0; row < call->count; row++) {
        uint64_t n;
        int64_t *rows = (int64_t *)(void *)bm_batch_rows(call->out, plan->out, row, 1, &n);
        for (uint64_t i = 0; i < n; i++)
            rows[i] = (int64_t)i;
    }
    return BM_RESULT_OK;
}

static const struct bm_param upto_params[] = {
    PARAM(as, BM_PARAM_NAME, .fallback = "upto", .doc = "name of the new one"),
    PARAM(forget, BM_PARAM_BOOL, .doc = "the action has a bug"),
};
static const struct bm_action_type upto_type =
    ACTION("fake.upto", BM_PER_BATCH, upto_infer, upto_run, PARAMS(upto_params));

// ---- For the tests ----

static void require(enum bm_status status, const struct bm_error *error)
{
    if (status != BM_OK)
        fail_msg("%s: %s", error->where, error->text);
}

void fake_types_register(struct bm_registry *registry)
{
    const struct bm_action_type *actions[] = {
        &add_type,  &copy_type,  &keep_type, &drop_type,  &float_type, &narrow_type, &draw_type,
        &stop_type, &total_type, &step_type, &sleep_type, &defer_type, &upto_type};
    struct bm_error error;
    require(bm_registry_add_source(registry, &fake_source_type, &error), &error);
    for (unsigned i = 0; i < sizeof actions / sizeof actions[0]; i++)
        require(bm_registry_add_action(registry, actions[i], &error), &error);
}

struct bm_registry *fake_types_registry(void)
{
    struct bm_registry *registry;
    struct bm_error error;
    require(bm_registry_new(&registry, &error), &error);
    fake_types_register(registry);
    fake_types_hook = (struct fake_types_hook){0};
    return registry;
}

struct bm_value *fake_types_value(const char *yaml)
{
    struct bm_value *value;
    struct bm_error error;
    require(bm_yaml_parse(yaml, strlen(yaml), "test", &value, &error), &error);
    return value;
}

struct bm_source_ref *fake_types_source(const struct bm_registry *registry, const char *yaml)
{
    struct bm_source_ref *source;
    struct bm_error error;
    struct bm_value *definition = fake_types_value(yaml);
    require(bm_source_open(registry, "data", definition, ".", &source, &error), &error);
    bm_value_free(definition);
    return source;
}

struct bm_pipeline *fake_types_pipeline(const struct bm_registry *registry, const char *source_yaml,
                                        const char *actions_yaml)
{
    struct bm_pipeline *pipeline;
    struct bm_error error;
    struct bm_source_ref *source = fake_types_source(registry, source_yaml);
    struct bm_value *actions = fake_types_value(actions_yaml);
    require(bm_pipeline_new(registry, "test", source, actions, &pipeline, &error), &error);
    bm_value_free(actions);
    bm_source_unref(source);
    return pipeline;
}

void fake_types_work(struct bm_work *work, const struct bm_pipeline *pipeline, uint64_t batch_size,
                     uint64_t seq)
{
    const struct bm_order_params params = {
        .batch_size = batch_size, .n_epochs = 1, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_order order;
    struct bm_error error;
    require(bm_order_init(&order, &params, bm_pipeline_source(pipeline)->nitems, &error), &error);
    require(bm_work_init(work, pipeline, &order, seq, &error), &error);
    work->stream = "stream-1";
    work->attempt = 1;
}
