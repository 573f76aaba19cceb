#include "fakes/action_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "actions/actions.h"
#include "fakes/fake_types.h"
#include "fakes/heap.h"
#include "pipeline/internal.h"
#include "sources/sources.h"
#include "support.h"

// ---- The source `given` ----

static struct {
    uint64_t nitems;
    bool lends;
    unsigned n;
    struct given components[GIVEN_MAX];
} given_data;

static const struct bm_source_type given_type;

static void given_close(struct bm_source *source)
{
    bm_schema_fini(&source->schema);
    free(source);
}

static enum bm_status given_open(const void *config, const char *directory, const char *where,
                                 struct bm_source **ret_source, struct bm_error *err)
{
    (void)config, (void)directory;
    struct bm_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    *source = (struct bm_source){.type = &given_type, .nitems = given_data.nitems};
    bm_schema_init(&source->schema);
    for (unsigned i = 0; i < given_data.n; i++) {
        const struct given *given = &given_data.components[i];
        struct bm_component component = {
            .dtype = given->dtype, .ndim = given->ndim, .ragged = given->offsets != NULL};
        memcpy(component.name, given->name, strlen(given->name) + 1);
        memcpy(component.shape, given->shape, sizeof given->shape);
        assert_int_equal(bm_schema_add(&source->schema, &component, err), BM_OK);
    }
    *ret_source = source;
    return BM_OK;
}

static void given_read_ragged(struct bm_batch *batch, unsigned c)
{
    const struct given *given = &given_data.components[c];
    struct bm_error error;
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    assert_non_null(block);
    uint64_t *offsets = bm_block_data(block);
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems; row++) {
        const uint64_t *from = &given->offsets[batch->items[row]];
        offsets[row + 1] = offsets[row] + from[1] - from[0];
    }
    assert_int_equal(bm_batch_alloc_ragged(batch, c, block, &error), BM_OK);
    bm_block_unref(block);
}

static void given_release(void *block)
{
    bm_block_unref(block);
}

static void given_lend(struct bm_tensor *tensor)
{
    struct bm_block *own = tensor->block;
    tensor->block = bm_block_lend(bm_block_data(own), bm_block_size(own), given_release, own);
    assert_non_null(tensor->block);
}

static enum bm_status given_read(const struct bm_source *source, struct bm_batch *batch,
                                 int64_t *ret_row, struct bm_error *err)
{
    (void)ret_row, (void)err;
    for (unsigned c = 0; c < source->schema.ncomponents; c++) {
        const struct given *given = &given_data.components[c];
        uint64_t bytes = bm_component_item_bytes(&source->schema.components[c]);
        if (given->offsets != NULL)
            given_read_ragged(batch, c);
        for (uint64_t row = 0; row < batch->nitems; row++) {
            uint64_t from = batch->items[row], count = 1, nelements;
            if (given->offsets != NULL) {
                count = given->offsets[from + 1] - given->offsets[from];
                from = given->offsets[from];
            }
            unsigned char *to = bm_batch_rows(batch, c, row, 1, &nelements);
            if (nelements > 0)
                memcpy(to, (const unsigned char *)given->values + from * bytes, count * bytes);
        }
        if (given_data.lends)
            given_lend(&batch->tensors[c]);
    }
    return BM_OK;
}

static const struct bm_source_type given_type = {
    .name = "given",
    .doc = "What the test laid out.",
    .open = given_open,
    .close = given_close,
    .read = given_read,
};

void action_fixture_give(uint64_t nitems, const struct given *components, unsigned n)
{
    assert_in_range(n, 0, GIVEN_MAX);
    given_data.nitems = nitems;
    given_data.n = n;
    memcpy(given_data.components, components, n * sizeof components[0]);
}

void action_fixture_lend(bool lends)
{
    given_data.lends = lends;
}

// ---- The fixture ----

static enum bm_result fixture_sleep(struct bm_call_host *host, uint64_t ns)
{
    struct action_fixture *fixture =
        (struct action_fixture *)(void *)((char *)host - offsetof(struct action_fixture, host));
    fixture->slept_ns += ns;
    fixture->nsleeps++;
    return BM_RESULT_PENDING;
}

void action_fixture_init(struct action_fixture *fixture)
{
    struct bm_error error;
    *fixture = (struct action_fixture){.attempt = 1, .host = {.sleep = fixture_sleep}};
    assert_int_equal(bm_registry_new(&fixture->registry, &error), BM_OK);
    assert_int_equal(bm_registry_add_source(fixture->registry, &given_type, &error), BM_OK);
    assert_int_equal(bm_sources_register(fixture->registry, &error), BM_OK);
    assert_int_equal(bm_actions_register(fixture->registry, &error), BM_OK);
    given_data.nitems = given_data.n = 0;
    given_data.lends = false;
}

void action_fixture_fini(struct action_fixture *fixture)
{
    bm_work_fini(&fixture->work);
    bm_pipeline_unref(fixture->pipeline);
    bm_registry_free(fixture->registry);
}

enum bm_status action_fixture_build_on(struct action_fixture *fixture, const char *source,
                                       const char *actions)
{
    bm_work_fini(&fixture->work);
    bm_pipeline_unref(fixture->pipeline);
    fixture->pipeline = NULL;
    struct bm_source_ref *ref = fake_types_source(fixture->registry, source);
    struct bm_value *value = fake_types_value(actions);
    enum bm_status status =
        bm_pipeline_new(fixture->registry, "test", ref, value, &fixture->pipeline, &fixture->error);
    bm_value_free(value);
    bm_source_unref(ref);
    return status;
}

enum bm_status action_fixture_build(struct action_fixture *fixture, const char *actions)
{
    return action_fixture_build_on(fixture, "{given: {}}", actions);
}

enum bm_result action_fixture_run(struct action_fixture *fixture, uint64_t batch_size, uint64_t seq)
{
    const struct bm_order_params params = {
        .batch_size = batch_size,
        .shuffle = fixture->shuffle,
        .seed = fixture->seed,
        .n_epochs = fixture->n_epochs == 0 ? 1 : fixture->n_epochs,
        .n_iters = BM_ORDER_UNSET,
        .shard_count = 1,
    };
    struct bm_order order;
    struct bm_work *work = &fixture->work;
    bm_work_fini(work);
    assert_non_null(fixture->pipeline);
    assert_int_equal(bm_order_init(&order, &params, bm_pipeline_source(fixture->pipeline)->nitems,
                                   &fixture->error),
                     BM_OK);
    assert_int_equal(bm_work_init(work, fixture->pipeline, &order, seq, &fixture->error), BM_OK);
    work->stream = "stream-1";
    work->attempt = fixture->attempt;
    work->host = &fixture->host;
    for (unsigned step = 0; step < bm_pipeline_nsteps(fixture->pipeline); step++) {
        if (fixture->tile_rows != 0)
            fixture->pipeline->steps[step].tile_rows = fixture->tile_rows;
        enum bm_result result = bm_work_step(work, step);
        if (result == BM_RESULT_PENDING)
            result = bm_work_resume(work, step, BM_RESULT_OK);
        if (result != BM_RESULT_OK)
            return result;
    }
    return BM_RESULT_OK;
}

const struct bm_component *action_fixture_component(const struct action_fixture *fixture,
                                                    const char *name)
{
    const struct bm_schema *schema = bm_pipeline_schema(fixture->pipeline);
    int c = bm_schema_find(schema, name);
    return c < 0 ? NULL : &schema->components[c];
}

const void *action_fixture_values(const struct action_fixture *fixture, const char *name)
{
    int c = bm_schema_find(bm_pipeline_schema(fixture->pipeline), name);
    assert_in_range(c, 0, BM_COMPONENTS_MAX);
    return fixture->work.batch.tensors[c].data;
}

void action_fixture_refuses(struct action_fixture *fixture, const char *actions, const char *where,
                            const char *text)
{
    enum bm_status status = action_fixture_build(fixture, actions);
    if (status == BM_OK)
        fail_msg("%s was accepted", actions);
    size_t length = strlen(fixture->error.where), tail = strlen(where);
    if ((status != BM_INVALID_ARGUMENT && status != BM_NOT_FOUND) || length < tail ||
        strcmp(fixture->error.where + length - tail, where) != 0 ||
        strstr(fixture->error.text, text) == NULL)
        fail_msg("%s: got %s at \"%s\": \"%s\"", actions, bm_status_name(status),
                 fixture->error.where, fixture->error.text);
}

void action_fixture_starves(struct action_fixture *fixture, const char *actions)
{
    struct bm_source_ref *source = fake_types_source(fixture->registry, "{given: {}}");
    struct bm_value *value = fake_types_value(actions);
    bool failed;
    uint64_t n = 0;
    do {
        struct bm_pipeline *pipeline = NULL;
        bm_fake_heap_fail_at(++n);
        enum bm_status status =
            bm_pipeline_new(fixture->registry, "test", source, value, &pipeline, &fixture->error);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        bm_pipeline_unref(pipeline);
    } while (failed);
    assert_in_range(n, 3, 1000);
    bm_value_free(value);
    bm_source_unref(source);
}
