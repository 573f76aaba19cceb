// work.c -- one batch through the steps of a pipeline, and where its memory comes from.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"

// ---- Beginning and end ----

// Room for the batch's items and what the pipeline needs. False: out of memory.
static bool work_make_room(struct bm_work *work, uint64_t nitems)
{
    const struct bm_pipeline *pipeline = work->pipeline;
    if (nitems > work->room || work->items == NULL) {
        free(work->items);
        free(work->epochs);
        work->items = malloc((nitems + 1) * sizeof work->items[0]);
        work->epochs = malloc((nitems + 1) * sizeof work->epochs[0]);
        work->room = nitems;
    }
    if (work->tensors == NULL)
        work->tensors = calloc(pipeline->ntensors + 1u, sizeof work->tensors[0]);
    if (work->updates == NULL && pipeline->updates_bytes > 0)
        work->updates = malloc(pipeline->updates_bytes);
    if (work->updates != NULL)
        memset(work->updates, 0, pipeline->updates_bytes);
    return work->items != NULL && work->epochs != NULL && work->tensors != NULL &&
           (work->updates != NULL || pipeline->updates_bytes == 0);
}

enum bm_status bm_work_again(struct bm_work *work, const struct bm_order *order, uint64_t seq,
                             struct bm_error *err)
{
    uint64_t nitems = bm_order_size(order, seq);
    if (!work_make_room(work, nitems)) {
        bm_work_fini(work);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch of %llu items",
                       (unsigned long long)nitems);
    }
    bm_order_items(order, seq, work->items, work->epochs);
    work->seq = seq;
    work->seed = order->params.seed;
    work->epoch = nitems == 0 ? 0 : work->epochs[0];
    work->error.status = BM_OK;
    work->failed_action = -1;
    work->failed_item = -1;
    bm_batch_fini(&work->next);
    work->next = work->batch; // work_read() salvages its blocks
    work->batch = (struct bm_batch){.schema = pipeline_schema(work->pipeline, 0),
                                    .nitems = nitems,
                                    .items = work->items,
                                    .item_epochs = work->epochs};
    return BM_OK;
}

enum bm_status bm_work_init(struct bm_work *work, const struct bm_pipeline *pipeline,
                            const struct bm_order *order, uint64_t seq, struct bm_error *err)
{
    *work = (struct bm_work){.pipeline = pipeline};
    return bm_work_again(work, order, seq, err);
}

void bm_work_drop(struct bm_work *work)
{
    uint64_t nitems = work->batch.nitems;
    const struct bm_schema *schema = work->batch.schema;
    bm_batch_fini(&work->batch);
    bm_batch_fini(&work->next);
    work->batch = (struct bm_batch){
        .schema = schema, .nitems = nitems, .items = work->items, .item_epochs = work->epochs};
}

void bm_work_fini(struct bm_work *work)
{
    bm_batch_fini(&work->batch);
    bm_batch_fini(&work->next);
    free(work->items);
    free(work->epochs);
    free(work->tensors);
    free(work->updates);
    *work = (struct bm_work){0};
}

// An empty batch behind `in`, in the row of tensors that `in` does not use.
static void work_batch_init(const struct bm_work *work, const struct bm_batch *in,
                            struct bm_batch *out, const struct bm_schema *schema)
{
    bool second = in->tensors == work->tensors;
    bm_batch_init_in(out, schema, work->tensors + (second ? work->pipeline->components_max : 0),
                     work->items, work->epochs, work->batch.nitems);
    out->shared = work->shared;
}

// ---- Failing ----

// Says where: "pipeline digits, action 2 (scale), item 17". Actions count from 0, as in the paths
// of a configuration file; -1 is reading the source.
static enum bm_result work_fail(struct bm_work *work, int action, int64_t row)
{
    const struct bm_pipeline *pipeline = work->pipeline;
    char where[3 * BM_NAME_MAX], item[32] = ""; // bm_fail() cuts it to size
    work->failed_action = action;
    work->failed_item = row < 0 ? -1 : (int64_t)work->items[row];
    if (work->failed_item >= 0)
        snprintf(item, sizeof item, ", item %lld", (long long)work->failed_item);
    if (action < 0)
        snprintf(where, sizeof where, "pipeline %s, reading%s", pipeline->name, item);
    else
        snprintf(where, sizeof where, "pipeline %s, action %d (%s)%s", pipeline->name, action,
                 pipeline->actions[action].type->name, item);
    if (work->error.status == BM_OK)
        bm_fail(&work->error, BM_UNKNOWN, NULL, "failed without saying why");
    error_move_to(&work->error, where);
    return BM_RESULT_FAIL;
}

// Ragged components are for sources and actions to allocate: nobody later should find a hole.
static enum bm_status work_check_ragged(const struct bm_batch *batch, struct bm_error *err)
{
    for (unsigned c = 0; c < batch->schema->ncomponents; c++) {
        if (batch->schema->components[c].ragged && batch->tensors[c].offsets == NULL)
            return bm_fail(err, BM_INTERNAL, batch->schema->components[c].name,
                           "was announced, but not given any rows");
    }
    return BM_OK;
}

// ---- Reading ----

static enum bm_result work_read(struct bm_work *work)
{
    const struct bm_source *source = bm_source_get(work->pipeline->source);
    struct bm_batch *batch = &work->batch, *before = &work->next;
    int64_t row = -1;
    enum bm_status status = BM_OK;
    work_batch_init(work, before, batch, &source->schema);
    if (before->tensors != NULL)
        bm_batch_salvage(batch, before);
    bm_batch_fini(before); // the rest of it, before more is taken
    for (unsigned c = 0; c < source->schema.ncomponents && status == BM_OK; c++) {
        if (!source->schema.components[c].ragged && batch->tensors[c].block == NULL)
            status = bm_batch_alloc(batch, c, &work->error);
    }
    if (status == BM_OK)
        status = source->type->read(source, batch, &row, &work->error);
    if (status == BM_OK)
        status = work_check_ragged(batch, &work->error);
    return status == BM_OK ? BM_RESULT_OK : work_fail(work, -1, row);
}

// ---- Memory of a step ----
//
// The actions of a step work on a chain of batches, chain[0] the one before the step, chain[j + 1]
// what action j makes. All are laid out before the first row moves. A written component lies on
// its origin's memory when element k of the one is as large as element k of the other, and nobody
// outside the chain refers to that memory: batches of the chain are dead behind the row that passes
// through them, so writing row r late in the chain cannot disturb an action that still has to read
// row r + 1 early in it.

static unsigned chain_references(const struct bm_batch *chain, unsigned n,
                                 const struct bm_block *block)
{
    unsigned references = 0;
    for (unsigned i = 0; i < n; i++) {
        for (unsigned c = 0; c < chain[i].schema->ncomponents; c++)
            references += chain[i].tensors[c].block == block;
    }
    return references;
}

static bool chain_may_reuse(const struct action *action, const struct bm_batch *chain, unsigned j,
                            unsigned c)
{
    int from = action->origins[c].from;
    if (!action->may_write_in_place || from < 0)
        return false;
    const struct bm_component *before = &chain[j].schema->components[from];
    const struct bm_component *after = &action->schema.components[c];
    const struct bm_block *block = chain[j].tensors[from].block;
    return before->ragged == after->ragged &&
           bm_dtype_size(before->dtype) == bm_dtype_size(after->dtype) &&
           bm_component_elements(before) == bm_component_elements(after) && block != NULL &&
           chain_references(&chain[j], 1, block) == 1 && // no second name for it
           bm_block_owned(block, chain_references(chain, j + 1, block));
}

// Fills the empty batch that action j makes. What it shares with the one before counts as the
// chain's own.
static enum bm_status chain_lay_out(const struct action *action, struct bm_batch *chain, unsigned j,
                                    struct bm_error *err)
{
    const struct bm_batch *in = &chain[j];
    struct bm_batch *out = &chain[j + 1];
    enum bm_status status = BM_OK;
    for (unsigned c = 0; c < action->schema.ncomponents && status == BM_OK; c++) {
        const struct bm_origin *origin = &action->origins[c];
        if (!origin->writes || chain_may_reuse(action, chain, j, c))
            bm_batch_share(out, c, in, (unsigned)origin->from);
        else if (!action->schema.components[c].ragged)
            status = bm_batch_alloc(out, c, err);
        else if (origin->from >= 0)
            status = bm_batch_alloc_ragged(out, c, in->tensors[origin->from].offsets_block, err);
    }
    if (status != BM_OK)
        bm_batch_fini(out);
    return status;
}

// ---- Running ----

static enum bm_result chain_call(struct bm_work *work, unsigned a, const struct bm_batch *in,
                                 struct bm_batch *out, uint64_t first, uint64_t count)
{
    const struct action *action = &work->pipeline->actions[a];
    struct bm_call call = {
        .config = action->config,
        .plan = action->plan,
        .in = in,
        .out = out,
        .first = first,
        .count = count,
        .stream = work->stream,
        .seq = work->seq,
        .attempt = work->attempt,
        .epoch = work->epoch,
        .seed = work->seed,
        .position = a,
        .update = action->variable == NULL ? NULL : work->updates + action->update_offset,
        .error = &work->error,
        .failed_row = -1,
        .host = work->host,
    };
    enum bm_result result = action->type->run(&call);
    if (result == BM_RESULT_PENDING && !action->type->waits) {
        bm_fail(&work->error, BM_INTERNAL, NULL, "the action waits without having said so");
        result = BM_RESULT_FAIL;
    }
    return result == BM_RESULT_FAIL ? work_fail(work, (int)a, call.failed_row) : result;
}

static enum bm_result chain_run(struct bm_work *work, const struct step *step,
                                struct bm_batch *chain)
{
    uint64_t nitems = chain[0].nitems;
    uint64_t tile = step->tile_rows == 0 ? nitems : step->tile_rows;
    for (uint64_t first = 0; first < nitems; first += tile) {
        uint64_t count = nitems - first < tile ? nitems - first : tile;
        for (unsigned j = 0; j < step->nactions; j++) {
            enum bm_result result =
                chain_call(work, step->first + j, &chain[j], &chain[j + 1], first, count);
            if (result != BM_RESULT_OK)
                return result;
        }
    }
    return BM_RESULT_OK;
}

static enum bm_result step_run_fused(struct bm_work *work, const struct step *step)
{
    struct bm_batch chain[BM_ACTIONS_MAX + 1];
    chain[0] = work->batch;
    enum bm_result result = BM_RESULT_OK;
    struct bm_tensor *between = work->tensors + (size_t)2 * work->pipeline->components_max;
    unsigned n = 0; // laid out so far
    while (n < step->nactions && result == BM_RESULT_OK) {
        unsigned a = step->first + n;
        const struct action *action = &work->pipeline->actions[a];
        if (n + 1 == step->nactions) {
            work_batch_init(work, &chain[0], &chain[n + 1], &action->schema);
        } else {
            bm_batch_init_in(&chain[n + 1], &action->schema, between, work->items, work->epochs,
                             chain[0].nitems);
            chain[n + 1].shared = work->shared;
            between += action->schema.ncomponents;
        }
        if (chain_lay_out(action, chain, n, &work->error) == BM_OK)
            n++;
        else
            result = work_fail(work, (int)a, -1);
    }
    if (result == BM_RESULT_OK)
        result = chain_run(work, step, chain);
    for (unsigned i = 0; i < n; i++)
        bm_batch_fini(&chain[i]);
    work->batch = chain[n];
    return result;
}

static enum bm_result step_run_one(struct bm_work *work, unsigned step_index)
{
    unsigned a = work->pipeline->steps[step_index].first;
    struct bm_batch chain[2] = {work->batch};
    work_batch_init(work, &chain[0], &chain[1], &work->pipeline->actions[a].schema);
    if (chain_lay_out(&work->pipeline->actions[a], chain, 0, &work->error) != BM_OK)
        return work_fail(work, (int)a, -1);
    work->next =
        chain[1]; // the action may wait: input and output stay where they are until it ends
    enum bm_result result = chain_call(work, a, &work->batch, &work->next, 0, work->batch.nitems);
    return result == BM_RESULT_PENDING ? result : bm_work_resume(work, step_index, result);
}

enum bm_result bm_work_step(struct bm_work *work, unsigned step_index)
{
    BM_ASSERT(step_index < work->pipeline->nsteps);
    const struct step *step = &work->pipeline->steps[step_index];
    if (step->nactions == 0)
        return work_read(work);
    return step->nactions == 1 ? step_run_one(work, step_index) : step_run_fused(work, step);
}

enum bm_result bm_work_resume(struct bm_work *work, unsigned step_index, enum bm_result result)
{
    BM_ASSERT(result != BM_RESULT_PENDING);
    if (result == BM_RESULT_OK && work_check_ragged(&work->next, &work->error) != BM_OK)
        result = BM_RESULT_FAIL;
    bm_batch_fini(&work->batch);
    work->batch = work->next;
    work->next = (struct bm_batch){0};
    if (result == BM_RESULT_FAIL && work->failed_action < 0) // not recorded by chain_call()
        return work_fail(work, (int)work->pipeline->steps[step_index].first, -1);
    return result;
}
