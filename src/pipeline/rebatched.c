// rebatched.c -- what is before an action that gathers works on parts of the batch.
//
// Each part is a work of its own, with consecutive items of the whole. They pass a step one after
// the other, under the one lock that the batch takes for it, so nothing changes for the scheduler:
// order, prefetch and locks are those of the batch.
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "pipeline/internal.h"

// ---- When the pipeline is built ----

enum bm_status pipeline_plan_gather(struct bm_pipeline *pipeline, const struct bm_value *actions,
                                    struct bm_error *err)
{
    for (unsigned s = 1; s < pipeline->nsteps; s++) {
        unsigned a = pipeline->steps[s].first;
        if (pipeline->actions[a].gathers == 0)
            continue;
        if (pipeline->gather > 0)
            return bm_fail(err, BM_INVALID_ARGUMENT, actions->children[a]->where,
                           "expected one %s in a pipeline, got a second one",
                           pipeline->actions[a].type->name);
        pipeline->gather = s;
        pipeline->part_items = pipeline->actions[a].gathers;
        for (unsigned before = 0; before < a; before++) {
            if (pipeline->actions[before].type->waits)
                return bm_fail(err, BM_INVALID_ARGUMENT, actions->children[a]->where,
                               "expected no action before it that waits, but action %u (%s) does",
                               before, pipeline->actions[before].type->name);
        }
    }
    return BM_OK;
}

// ---- The parts ----

static bool parts_make_room(struct bm_work *work, uint64_t n)
{
    if (n > work->parts_room) {
        struct bm_work *parts = realloc(work->parts, n * sizeof parts[0]);
        if (parts == NULL)
            return false;
        memset(parts + work->parts_room, 0, (n - work->parts_room) * sizeof parts[0]);
        work->parts = parts;
        work->parts_room = n;
    }
    return true;
}

// Part k is to have its items of the whole, as they are read.
static bool part_begin(struct bm_work *work, uint64_t k)
{
    struct bm_work *part = &work->parts[k];
    uint64_t first = k * work->pipeline->part_items, n = work->batch.nitems - first;
    if (n > work->pipeline->part_items)
        n = work->pipeline->part_items;
    part->pipeline = work->pipeline;
    if (!work_make_room(part, n))
        return false;
    memcpy(part->items, work->items + first, n * sizeof part->items[0]);
    memcpy(part->epochs, work->epochs + first, n * sizeof part->epochs[0]);
    part->stream = work->stream;
    part->seq = work->seq * work->parts_of_full + k;
    part->attempt = work->attempt;
    part->epoch = part->epochs[0];
    part->seed = work->seed;
    part->host = work->host;
    part->shared = work->shared;
    part->failed_action = -1;
    part->failed_item = -1;
    part->late_row = -1;
    part->error.status = BM_OK;
    part->batch = (struct bm_batch){.schema = pipeline_schema(work->pipeline, 0),
                                    .nitems = n,
                                    .items = part->items,
                                    .item_epochs = part->epochs};
    return true;
}

static enum bm_result parts_begin(struct bm_work *work)
{
    uint64_t n = (work->batch.nitems - 1) / work->pipeline->part_items + 1;
    bool enough = parts_make_room(work, n);
    work->nparts = enough ? n : 0;
    for (uint64_t k = 0; k < n && enough; k++)
        enough = part_begin(work, k);
    if (enough)
        return BM_RESULT_OK;
    bm_fail(&work->error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the parts of a batch");
    return work_fail(work, -1, -1);
}

// The items of a part that was skipped are left out, and so is a batch with no items left.
static enum bm_result parts_step(struct bm_work *work, unsigned step)
{
    uint64_t left = 0;
    for (uint64_t k = 0; k < work->nparts; k++) {
        struct bm_work *part = &work->parts[k];
        if (part->batch.nitems == 0)
            continue;
        enum bm_result result = work_step_whole(part, step);
        BM_ASSERT(result != BM_RESULT_PENDING); // pipeline_plan_gather() has seen to that
        if (result == BM_RESULT_FAIL) {
            work->error = part->error;
            work->failed_action = part->failed_action;
            work->failed_item = part->failed_item;
        }
        if (result == BM_RESULT_SKIP) {
            bm_work_drop(part);
            part->batch.nitems = 0;
        } else if (result != BM_RESULT_OK) {
            return result;
        }
        left += part->batch.nitems;
    }
    return left > 0 ? BM_RESULT_OK : BM_RESULT_SKIP;
}

// ---- Gathering ----

static enum bm_status offsets_gather(const struct bm_work *work, struct bm_batch *whole, unsigned c,
                                     struct bm_error *err)
{
    struct bm_block *block = bm_block_new((whole->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, whole->schema->components[c].name,
                       "out of memory");
    uint64_t *to = bm_block_data(block);
    *to = 0;
    for (uint64_t k = 0; k < work->nparts; k++) {
        const struct bm_batch *part = &work->parts[k].batch;
        for (uint64_t row = 0; row < part->nitems; row++, to++)
            to[1] = to[0] + part->tensors[c].offsets[row + 1] - part->tensors[c].offsets[row];
    }
    enum bm_status status = bm_batch_alloc_ragged(whole, c, block, err);
    bm_block_unref(block);
    return status;
}

static enum bm_status component_gather(const struct bm_work *work, struct bm_batch *whole,
                                       unsigned c, struct bm_error *err)
{
    const struct bm_component *component = &whole->schema->components[c];
    enum bm_status status = BM_OK;
    if (component->ragged)
        status = offsets_gather(work, whole, c, err);
    else if (whole->tensors[c].block == NULL)
        status = bm_batch_alloc(whole, c, err);
    if (status != BM_OK)
        return status;
    unsigned char *to = whole->tensors[c].data;
    for (uint64_t k = 0; k < work->nparts; k++) {
        const struct bm_batch *part = &work->parts[k].batch;
        if (part->nitems == 0)
            continue;
        uint64_t n;
        const unsigned char *from = bm_batch_rows(part, c, 0, part->nitems, &n);
        if (n > 0)
            memcpy(to, from, n * bm_dtype_size(component->dtype));
        to += n * bm_dtype_size(component->dtype);
    }
    return BM_OK;
}

// The indices of what is left, in the order of the parts.
static uint64_t items_gather(struct bm_work *work)
{
    uint64_t n = 0;
    for (uint64_t k = 0; k < work->nparts; k++) {
        const struct bm_work *part = &work->parts[k];
        memcpy(work->items + n, part->items, part->batch.nitems * sizeof part->items[0]);
        memcpy(work->epochs + n, part->epochs, part->batch.nitems * sizeof part->epochs[0]);
        if (work->copies != NULL)
            memcpy(work->copies + n, part->copies, part->batch.nitems * sizeof part->copies[0]);
        n += part->batch.nitems;
    }
    return n;
}

static enum bm_result parts_gather(struct bm_work *work)
{
    unsigned a = work->pipeline->steps[work->pipeline->gather].first;
    struct bm_batch whole, *before = &work->next; // that of the batch before, in this memory
    work_batch_init(work, before, &whole, &work->pipeline->actions[a].schema);
    whole.nitems = items_gather(work);
    work->epoch = work->epochs[0];
    if (before->tensors != NULL)
        bm_batch_salvage(&whole, before);
    bm_batch_fini(before);
    for (unsigned c = 0; c < whole.schema->ncomponents; c++) {
        if (component_gather(work, &whole, c, &work->error) != BM_OK) {
            bm_batch_fini(&whole);
            return work_fail(work, (int)a, -1);
        }
    }
    rebatched_drop(work);
    work->batch = whole;
    return BM_RESULT_OK;
}

enum bm_result rebatched_step(struct bm_work *work, unsigned step)
{
    if (step == work->pipeline->gather)
        return parts_gather(work);
    enum bm_result result = step == 0 ? parts_begin(work) : BM_RESULT_OK;
    return result == BM_RESULT_OK ? parts_step(work, step) : result;
}

// NOLINTNEXTLINE(misc-no-recursion): parts have none themselves
void rebatched_drop(struct bm_work *work)
{
    for (uint64_t k = 0; k < work->parts_room; k++)
        bm_work_drop(&work->parts[k]);
}

// NOLINTNEXTLINE(misc-no-recursion): likewise
void rebatched_fini(struct bm_work *work)
{
    for (uint64_t k = 0; k < work->parts_room; k++)
        bm_work_fini(&work->parts[k]);
    free(work->parts);
}
