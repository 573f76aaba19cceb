// chain.c -- the actions of a step and the batches between them.
#include "pipeline/internal.h"

// An empty batch behind `in`, in the row of tensors that `in` does not use.
void work_batch_init(const struct bm_work *work, const struct bm_batch *in, struct bm_batch *out,
                     const struct bm_schema *schema)
{
    bool second = in->tensors == work->tensors;
    bm_batch_init_in(out, schema, work->tensors + (second ? work->pipeline->components_max : 0),
                     work->items, work->epochs, work->batch.nitems);
    out->shared = work->shared;
}

// ---- Memory ----
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
enum bm_status chain_lay_out(const struct action *action, struct bm_batch *chain, unsigned j,
                             struct bm_batch *spare, struct bm_error *err)
{
    const struct bm_batch *in = &chain[j];
    struct bm_batch *out = &chain[j + 1];
    enum bm_status status = BM_OK;
    for (unsigned c = 0; c < action->schema.ncomponents && status == BM_OK; c++) {
        const struct bm_origin *origin = &action->origins[c];
        if (!origin->writes || chain_may_reuse(action, chain, j, c))
            bm_batch_share(out, c, in, (unsigned)origin->from);
        else if (!action->schema.components[c].ragged)
            status = bm_batch_salvage_one(out, c, spare) ? BM_OK : bm_batch_alloc(out, c, err);
        else if (origin->from >= 0)
            status = bm_batch_alloc_ragged(out, c, in->tensors[origin->from].offsets_block, err);
    }
    if (status != BM_OK)
        bm_batch_fini(out);
    return status;
}

// ---- Running ----

static struct bm_call chain_call_of(const struct bm_work *work, unsigned a,
                                    const struct bm_batch *in, struct bm_batch *out,
                                    const struct bm_range *rows,
                                    const struct chain_failure *failure)
{
    const struct action *action = pipeline_part(work->pipeline, a);
    unsigned caches = work->pipeline->ncached > 0; // entries before it that do nothing: the cache
    return (struct bm_call){
        .config = action->config,
        .plan = action->plan,
        .in = in,
        .out = out,
        .first = rows->first,
        .count = rows->count,
        .stream = work->stream,
        .seq = work->seq,
        .attempt = work->attempt,
        .epoch = work->epoch,
        .seed = work->seed,
        .position = a - caches,
        .update = action->variable == NULL ? NULL : work->updates + action->update_offset,
        .error = failure->error,
        .failed_row = -1,
        .late_row = failure->late_row,
        .pending = failure->pending,
        .pipeline = work->pipeline,
        .dropped = action->drops ? work->dropped : NULL,
        .copies = work->copies,
        .host = work->host,
    };
}

static enum bm_result chain_apply(const struct bm_work *work, unsigned a, const struct bm_batch *in,
                                  struct bm_batch *out, const struct bm_range *rows,
                                  struct chain_failure *failure)
{
    const struct action *action = pipeline_part(work->pipeline, a);
    unsigned caches = work->pipeline->ncached > 0;
    struct bm_call call = chain_call_of(work, a, in, out, rows, failure);
    enum bm_result result = action->type->run(&call);
    if (result == BM_RESULT_PENDING && !action->type->waits) {
        bm_fail(failure->error, BM_INTERNAL, NULL, "the action waits without having said so");
        result = BM_RESULT_FAIL;
    }
    failure->action = (int)(call.position + caches); // which of two, where they are joined
    failure->row = call.failed_row;
    return result;
}

enum bm_result chain_finish(struct bm_work *work, unsigned a, enum bm_result result)
{
    const struct action *action = pipeline_part(work->pipeline, a);
    const struct bm_range all = {0, work->batch.nitems};
    const struct chain_failure failure = {.error = &work->error, .pending = &work->pending};
    if (result != BM_RESULT_OK || work->pending == NULL || action->type->finish == NULL)
        return result;
    struct bm_call call = chain_call_of(work, a, &work->batch, &work->next, &all, &failure);
    result = action->type->finish(&call);
    work->late_row = call.failed_row;
    return result;
}

enum bm_result chain_call(const struct bm_work *work, unsigned a, const struct bm_batch *in,
                          struct bm_batch *out, const struct bm_range *rows,
                          struct chain_failure *failure)
{
    const struct action *action = pipeline_part(work->pipeline, a);
    if (action->probability >= 1)
        return chain_apply(work, a, in, out, rows, failure);
    enum bm_result result = BM_RESULT_OK;
    uint64_t end = rows->first + rows->count;
    for (uint64_t first = rows->first; first < end && result == BM_RESULT_OK;) {
        struct bm_range run = {first, 1}; // of rows with the same fate
        bool chosen = probability_draw(work, a, first);
        while (first + run.count < end && probability_draw(work, a, first + run.count) == chosen)
            run.count++;
        if (chosen)
            result = chain_apply(work, a, in, out, &run, failure);
        else
            probability_pass(action, in, out, &run);
        first += run.count;
    }
    return result;
}

enum bm_result chain_run(struct chain *chain, const struct bm_range *rows,
                         struct chain_failure *failure)
{
    const struct step *step = chain->step;
    uint64_t end = rows->first + rows->count;
    uint64_t tile = step->tile_rows == 0 ? rows->count : step->tile_rows;
    for (uint64_t first = rows->first; first < end; first += tile) {
        const struct bm_range part = {first, end - first < tile ? end - first : tile};
        unsigned a = step->first;
        for (unsigned j = 0; j < chain->n; j++) {
            enum bm_result result = chain_call(chain->work, a, &chain->batches[j],
                                               &chain->batches[j + 1], &part, failure);
            if (result != BM_RESULT_OK)
                return result;
            a += pipeline_part(chain->work->pipeline, a)->span;
        }
    }
    return BM_RESULT_OK;
}

// ---- Its life ----

enum bm_result chain_init(struct chain *chain, struct bm_work *work, const struct step *step,
                          struct chain_failure *failure)
{
    struct bm_tensor *between = work->tensors + (size_t)3 * work->pipeline->components_max;
    chain->work = work;
    chain->step = step;
    chain->batches[0] = work->batch;
    chain->n = 0;
    for (unsigned a = step->first, end = a + step->nactions; a < end; chain->n++) {
        unsigned n = chain->n;
        const struct action *action = pipeline_part(work->pipeline, a);
        if (a + action->span == end) {
            work_batch_init(work, &chain->batches[0], &chain->batches[n + 1], &action->schema);
        } else {
            bm_batch_init_in(&chain->batches[n + 1], &action->schema, between, work->items,
                             work->epochs, chain->batches[0].nitems);
            chain->batches[n + 1].shared = work->shared;
            between += action->schema.ncomponents;
        }
        if (chain_lay_out(action, chain->batches, n, &work->spare, failure->error) != BM_OK) {
            failure->action = (int)a;
            failure->row = -1;
            return BM_RESULT_FAIL;
        }
        a += action->span;
    }
    bm_batch_fini(&work->spare);
    return BM_RESULT_OK;
}

void chain_fini(struct chain *chain)
{
    for (unsigned i = 0; i < chain->n; i++)
        bm_batch_fini(&chain->batches[i]);
    chain->work->batch = chain->batches[chain->n];
}

void chain_undo(struct chain *chain)
{
    for (unsigned i = 1; i <= chain->n; i++)
        bm_batch_fini(&chain->batches[i]);
}
