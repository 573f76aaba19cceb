// A remote action as the engine sees it: what it does to schemas, and a call that becomes a task.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/internal.h"

// ---- Laying out ----

static bool action_removes(const struct remote_action *action, const char *name)
{
    for (unsigned i = 0; i < action->nremoves; i++) {
        if (strcmp(action->removes[i], name) == 0)
            return true;
    }
    return false;
}

static enum bm_status infer_removes(const struct remote_action *action,
                                    const struct bm_infer *infer, struct bm_error *err)
{
    unsigned index;
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < action->nremoves && status == BM_OK; i++)
        status = bm_schema_require(infer->in, action->removes[i], infer->where, &index, err);
    return status;
}

static enum bm_status infer_write(const struct remote_write *write, struct bm_infer *infer,
                                  struct bm_error *err)
{
    struct bm_component component = write->component;
    unsigned index;
    if (write->like != NULL) {
        enum bm_status status =
            bm_schema_require(infer->in, write->like, infer->where, &index, err);
        if (status != BM_OK)
            return status;
        const struct bm_component *like = &infer->in->components[index];
        if (!write->has_dtype)
            component.dtype = like->dtype;
        if (!write->has_shape) {
            component.ragged = like->ragged;
            component.ndim = like->ndim;
            memcpy(component.shape, like->shape, sizeof component.shape);
        }
    }
    return bm_infer_write(infer, &component, -1, &index, err);
}

// The parameters as JSON: those given, and the defaults of the rest.
static char *params_json(const struct remote_action *action, const void *config)
{
    const struct bm_value *const *values = config;
    struct bm_buffer text;
    bm_buffer_init(&text);
    bm_buffer_add_text(&text, "{");
    for (unsigned i = 0; i < action->nparams; i++) {
        if (i > 0)
            bm_buffer_add_text(&text, ", ");
        json_add_text(&text, action->param_names[i]);
        bm_buffer_add_text(&text, ": ");
        if (values[i] == NULL)
            bm_buffer_add_text(&text, action->param_defaults[i]);
        else
            json_add(&text, values[i]);
    }
    bm_buffer_add_text(&text, "}");
    char *json = bm_buffer_failed(&text) ? NULL : strdup(bm_buffer_text(&text));
    bm_buffer_fini(&text);
    return json;
}

enum bm_status remote_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                            struct bm_error *err)
{
    struct remote_action *action = BM_CONTAINER(infer->type, struct remote_action, type);
    enum bm_status status = infer_removes(action, infer, err);
    for (unsigned c = 0; c < infer->in->ncomponents && status == BM_OK; c++) {
        if (!action_removes(action, infer->in->components[c].name))
            status = bm_infer_keep(infer, c, NULL, err);
    }
    for (unsigned i = 0; i < action->nwrites && status == BM_OK; i++)
        status = infer_write(&action->writes[i], infer, err);
    if (status != BM_OK)
        return status;
    struct remote_plan *plan = calloc(1, sizeof *plan);
    char *params = params_json(action, config);
    if (plan == NULL || params == NULL) {
        free(plan);
        free(params);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, infer->where, "out of memory");
    }
    *plan = (struct remote_plan){action, params};
    *ret_plan = plan;
    return BM_OK;
}

void remote_plan_free(void *object)
{
    struct remote_plan *plan = object;
    free(plan->params);
    free(plan);
}

// ---- A task ----

static void task_release(struct bm_pending *pending)
{
    bm_task_unref(BM_CONTAINER(pending, struct bm_task, pending));
}

// The batch as it is now, by reference: what becomes of the stream meanwhile does not matter.
static enum bm_status task_copy(struct bm_task *task, const struct bm_call *call)
{
    uint64_t n = call->in->nitems;
    const bool copies = call->copies != NULL;
    unsigned char *at = malloc(n * (2 * sizeof(uint64_t) + sizeof(uint32_t)) + 1);
    if (at == NULL)
        return bm_fail(call->error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    task->copied = at;
    struct bm_task_told *told = &task->told;
    told->items = memcpy(at, call->in->items, n * sizeof(uint64_t));
    told->epochs = memcpy(at + n * sizeof(uint64_t), call->in->item_epochs, n * sizeof(uint64_t));
    if (copies)
        told->copies = memcpy(at + n * 2 * sizeof(uint64_t), call->copies, n * sizeof(uint32_t));
    enum bm_status status =
        bm_batch_init(&told->batch, call->in->schema, told->items, told->epochs, n, call->error);
    for (unsigned c = 0; status == BM_OK && c < call->in->schema->ncomponents; c++)
        bm_batch_share(&told->batch, c, call->in, c);
    return status;
}

static enum bm_status task_new(struct bm_call *call, struct bm_task **ret_task)
{
    const struct remote_plan *plan = call->plan;
    struct bm_task *task = calloc(1, sizeof *task);
    if (task == NULL)
        return bm_fail(call->error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    atomic_init(&task->refs, 1);
    task->pending.release = task_release;
    task->action = plan->action;
    task->attempt = call->attempt;
    task->pipeline = bm_pipeline_ref((struct bm_pipeline *)call->pipeline);
    snprintf(task->stream, sizeof task->stream, "%s", call->stream);
    task->told = (struct bm_task_told){
        .action = plan->action->name,
        .stream = task->stream,
        .params = plan->params,
        .pipeline = call->pipeline,
        .seq = call->seq,
        .epoch = call->epoch,
        .seed = call->seed,
        .position = call->position,
        .nitems = call->in->nitems,
    };
    enum bm_status status = task_copy(task, call);
    if (status == BM_OK)
        *ret_task = task;
    else
        bm_task_unref(task);
    return status;
}

struct bm_task *bm_task_ref(struct bm_task *task)
{
    atomic_fetch_add_explicit(&task->refs, 1, memory_order_relaxed);
    return task;
}

struct bm_task *bm_task_unref(struct bm_task *task)
{
    if (task == NULL || atomic_fetch_sub_explicit(&task->refs, 1, memory_order_acq_rel) > 1)
        return NULL;
    bm_batch_fini(&task->told.batch);
    free(task->copied);
    bm_task_result_unref(task->result);
    bm_pipeline_unref(task->pipeline);
    free(task);
    return NULL;
}

const struct bm_task_told *bm_task_told(const struct bm_task *task)
{
    return &task->told;
}

// ---- The call ----

enum bm_result remote_run(struct bm_call *call)
{
    const struct remote_plan *plan = call->plan;
    struct bm_task *task = NULL;
    if (plan->action->remote->executor == NULL || call->pending == NULL || call->host == NULL)
        return bm_call_fail(call, -1, BM_FAILED_PRECONDITION,
                            "expected a server, which others can lend this action to");
    if (task_new(call, &task) != BM_OK)
        return BM_RESULT_FAIL;
    BM_ASSERT(task != NULL);
    *call->pending = &task->pending; // takes the reference
    task->deferred = bm_call_defer(call);
    task_queue(bm_task_ref(task));
    return BM_RESULT_PENDING;
}

enum bm_result remote_finish(struct bm_call *call)
{
    struct bm_task *task = BM_CONTAINER(*call->pending, struct bm_task, pending);
    struct bm_task_result *result = task->result;
    if (result == NULL)
        return bm_call_fail(call, -1, task->end_status, "%s", task->end_text);
    switch (result->ending) {
    case BM_TASK_DONE:
        break;
    case BM_TASK_FAILED:
        return bm_call_fail(call, result->row < (int64_t)call->count ? result->row : -1,
                            result->status, "%s", result->text);
    case BM_TASK_SKIP:
        return BM_RESULT_SKIP;
    case BM_TASK_STOP:
        return BM_RESULT_END;
    }
    enum bm_result end = result_put(call, result);
    task->result = bm_task_result_unref(result); // so its lender may use its memory again
    return end;
}
