// work.c -- one batch through the steps of a pipeline, and where its memory comes from.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"

// ---- Beginning and end ----

static void work_forget_pending(struct bm_work *work)
{
    if (work->pending != NULL)
        work->pending->release(work->pending);
    work->pending = NULL;
}

bool work_make_room(struct bm_work *work, uint64_t nitems)
{
    const struct bm_pipeline *pipeline = work->pipeline;
    nitems *= pipeline->times;
    if (nitems > work->room || work->items == NULL) {
        free(work->items);
        free(work->epochs);
        free(work->copies);
        free(work->dropped);
        work->copies = NULL;
        work->dropped = NULL;
        work->items = malloc((nitems + 1) * sizeof work->items[0]);
        work->epochs = malloc((nitems + 1) * sizeof work->epochs[0]);
        work->room = nitems;
    }
    if (work->copies == NULL && pipeline->times > 1)
        work->copies = malloc((work->room + 1) * sizeof work->copies[0]);
    if (work->copies != NULL)
        memset(work->copies, 0, work->room * sizeof work->copies[0]);
    if (work->tensors == NULL)
        work->tensors = calloc(pipeline->ntensors + 1u, sizeof work->tensors[0]);
    if (work->updates == NULL && pipeline->updates_bytes > 0)
        work->updates = malloc(pipeline->updates_bytes);
    if (work->updates != NULL)
        memset(work->updates, 0, pipeline->updates_bytes);
    if (work->dropped == NULL && pipeline->drops)
        work->dropped = malloc((work->room + 1) * sizeof work->dropped[0]);
    if ((work->dropped == NULL && pipeline->drops) || (work->copies == NULL && pipeline->times > 1))
        return false;
    return work->items != NULL && work->epochs != NULL && work->tensors != NULL &&
           (work->updates != NULL || pipeline->updates_bytes == 0);
}

enum bm_status work_init_items(struct bm_work *work, const struct bm_work *like,
                               const struct bm_pipeline *pipeline, const uint64_t *rows,
                               uint64_t nrows, struct bm_error *err)
{
    *work = (struct bm_work){.pipeline = pipeline};
    if (!work_make_room(work, nrows)) {
        bm_work_fini(work);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch of %llu items",
                       (unsigned long long)nrows);
    }
    for (uint64_t i = 0; i < nrows; i++) {
        work->items[i] = like->items[rows[i]];
        work->epochs[i] = like->epochs[rows[i]];
    }
    work->stream = like->stream;
    work->seq = like->seq;
    work->attempt = like->attempt;
    work->epoch = like->epoch;
    work->seed = like->seed;
    work->failed_action = -1;
    work->failed_item = -1;
    work->batch = (struct bm_batch){.schema = pipeline_schema(pipeline, 0),
                                    .nitems = nrows,
                                    .items = work->items,
                                    .item_epochs = work->epochs};
    return BM_OK;
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
    if (work->pipeline->gather > 0)
        work->parts_of_full = (order->params.batch_size - 1) / work->pipeline->part_items + 1;
    work->seed = order->params.seed;
    work->epoch = nitems == 0 ? 0 : work->epochs[0];
    work->error.status = BM_OK;
    work->failed_action = -1;
    work->failed_item = -1;
    work->late_row = -1;
    work_forget_pending(work);
    bm_batch_fini(&work->next);
    bm_batch_fini(&work->spare);
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
    rebatched_drop(work);
    work_forget_pending(work);
    bm_batch_fini(&work->batch);
    bm_batch_fini(&work->next);
    bm_batch_fini(&work->spare);
    work->batch = (struct bm_batch){
        .schema = schema, .nitems = nitems, .items = work->items, .item_epochs = work->epochs};
}

// NOLINTNEXTLINE(misc-no-recursion): parts have none themselves
void bm_work_fini(struct bm_work *work)
{
    rebatched_fini(work);
    work_forget_pending(work);
    bm_batch_fini(&work->batch);
    bm_batch_fini(&work->next);
    bm_batch_fini(&work->spare);
    free(work->items);
    free(work->epochs);
    free(work->copies);
    free(work->dropped);
    free(work->tensors);
    free(work->updates);
    *work = (struct bm_work){0};
}

// ---- Failing ----

// Says where: "pipeline digits, action 2 (scale), item 17". Actions count from 0, as in the paths
// of a configuration file; -1 is reading the source.
enum bm_result work_fail(struct bm_work *work, int action, int64_t row)
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

// Keeps what the batch before was made of for the step behind reading, when that is the only one:
// what it writes is as large again, and counts in the batch's memory already.
static void work_spare(struct bm_work *work, struct bm_batch *before)
{
    bm_batch_init_in(&work->spare, before->schema,
                     work->tensors + (size_t)2 * work->pipeline->components_max, work->items,
                     work->epochs, work->batch.nitems);
    for (unsigned c = 0; c < before->schema->ncomponents; c++)
        bm_batch_move(&work->spare, c, before, c);
}

enum bm_status work_begin_reading(struct bm_work *work, const struct bm_schema *schema)
{
    struct bm_batch *batch = &work->batch, *before = &work->next;
    enum bm_status status = BM_OK;
    work_batch_init(work, before, batch, schema);
    if (before->tensors != NULL)
        bm_batch_salvage(batch, before);
    if (work->pipeline->nsteps == 2 && work->pipeline->gather == 0 && before->tensors != NULL)
        work_spare(work, before);
    bm_batch_fini(before); // the rest of it, before more is taken
    for (unsigned c = 0; c < schema->ncomponents && status == BM_OK; c++) {
        if (!schema->components[c].ragged && batch->tensors[c].block == NULL)
            status = bm_batch_alloc(batch, c, &work->error);
    }
    return status;
}

static enum bm_result work_read(struct bm_work *work)
{
    const struct bm_source *source = bm_source_get(work->pipeline->source);
    struct bm_batch *batch = &work->batch;
    int64_t row = -1;
    enum bm_status status = work_begin_reading(work, &source->schema);
    if (status == BM_OK)
        status = source->type->read(source, batch, &row, &work->error);
    if (status == BM_OK)
        status = work_check_ragged(batch, &work->error);
    return status == BM_OK ? BM_RESULT_OK : work_fail(work, -1, row);
}

// ---- Running ----

static enum bm_result step_run_fused(struct bm_work *work, const struct step *step)
{
    const struct bm_range all = {0, work->batch.nitems};
    struct chain_failure failure = {.error = &work->error};
    struct chain chain;
    enum bm_result result = chain_init(&chain, work, step, &failure);
    if (result == BM_RESULT_OK)
        result = chain_run(&chain, &all, &failure);
    if (result == BM_RESULT_FAIL)
        work_fail(work, failure.action, failure.row);
    chain_fini(&chain);
    return result == BM_RESULT_OK ? dropped_end(work, step) : result;
}

static enum bm_result step_run_one(struct bm_work *work, unsigned step_index)
{
    unsigned a = work->pipeline->steps[step_index].first;
    struct bm_batch chain[2] = {work->batch};
    work_batch_init(work, &chain[0], &chain[1], &work->pipeline->actions[a].schema);
    if (chain_lay_out(&work->pipeline->actions[a], chain, 0, &work->spare, &work->error) != BM_OK)
        return work_fail(work, (int)a, -1);
    bm_batch_fini(&work->spare);
    work->next =
        chain[1]; // the action may wait: input and output stay where they are until it ends
    const struct bm_range all = {0, work->batch.nitems};
    struct chain_failure failure = {
        .error = &work->error, .late_row = &work->late_row, .pending = &work->pending};
    enum bm_result result = chain_call(work, a, &work->batch, &work->next, &all, &failure);
    if (result == BM_RESULT_FAIL)
        work_fail(work, failure.action, failure.row);
    return result == BM_RESULT_PENDING ? result : bm_work_resume(work, step_index, result);
}

enum bm_result bm_work_step(struct bm_work *work, unsigned step_index)
{
    BM_ASSERT(step_index < work->pipeline->nsteps);
    return work->pipeline->gather > 0 && step_index <= work->pipeline->gather
               ? rebatched_step(work, step_index)
               : work_step_whole(work, step_index);
}

enum bm_result work_step_whole(struct bm_work *work, unsigned step_index)
{
    const struct step *step = &work->pipeline->steps[step_index];
    dropped_begin(work, step);
    if (step->nactions == 0 && work->pipeline->prefix == NULL)
        return work_read(work);
    if (step->nactions == 0) {
        enum bm_result result = work_read_cached(work);
        return result == BM_RESULT_OK ? dropped_end(work, step) : result;
    }
    return step->nactions == 1 ? step_run_one(work, step_index) : step_run_fused(work, step);
}

enum bm_result bm_work_resume(struct bm_work *work, unsigned step_index, enum bm_result result)
{
    BM_ASSERT(result != BM_RESULT_PENDING);
    result = chain_finish(work, work->pipeline->steps[step_index].first, result);
    work_forget_pending(work);
    if (result == BM_RESULT_OK && work_check_ragged(&work->next, &work->error) != BM_OK)
        result = BM_RESULT_FAIL;
    bm_batch_fini(&work->batch);
    work->batch = work->next;
    work->next = (struct bm_batch){0};
    if (result == BM_RESULT_FAIL && work->failed_action < 0) // not recorded by chain_call()
        return work_fail(work, (int)work->pipeline->steps[step_index].first, work->late_row);
    const struct step *step = &work->pipeline->steps[step_index];
    if (result == BM_RESULT_OK)
        result = dropped_end(work, step);
    return result == BM_RESULT_OK ? repeated_end(work, step) : result;
}
