// What a lender made, checked and copied into the batch.
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "remote/internal.h"

// ---- A result's life ----

struct bm_task_result *bm_task_result_ref(struct bm_task_result *result)
{
    atomic_fetch_add_explicit(&result->refs, 1, memory_order_relaxed);
    return result;
}

struct bm_task_result *bm_task_result_unref(struct bm_task_result *result)
{
    if (result == NULL || atomic_fetch_sub_explicit(&result->refs, 1, memory_order_acq_rel) > 1)
        return NULL;
    bm_mapped_unref(result->mapped);
    free(result->bytes);
    free(result);
    return NULL;
}

bool bm_task_result_alone(const struct bm_task_result *result)
{
    return atomic_load_explicit(&result->refs, memory_order_acquire) == 1;
}

// ---- One tensor ----

static void shape_print(struct bm_buffer *out, const char *dtype, bool ragged,
                        const uint64_t *shape, unsigned ndim)
{
    bm_buffer_print(out, "%s%s [", ragged ? "ragged " : "", dtype);
    for (unsigned i = 0; i < ndim && i <= BM_NDIM_MAX; i++)
        bm_buffer_print(out, "%s%llu", i == 0 ? "" : ", ", (unsigned long long)shape[i]);
    bm_buffer_add_text(out, "]");
}

static enum bm_result tensor_refuse(struct bm_call *call, unsigned c,
                                    const struct bm_task_tensor *tensor)
{
    const struct bm_component *component = &call->out->schema->components[c];
    uint64_t shape[BM_NDIM_MAX + 1] = {call->in->nitems};
    memcpy(shape + 1, component->shape, component->ndim * sizeof shape[0]);
    struct bm_buffer text;
    bm_buffer_init(&text);
    shape_print(&text, bm_dtype_name(component->dtype), component->ragged, shape,
                component->ndim + 1);
    bm_buffer_add_text(&text, ", got ");
    bool known = tensor->dtype >= BM_BOOL && tensor->dtype <= BM_STRING;
    shape_print(&text, known ? bm_dtype_name((enum bm_dtype)tensor->dtype) : "an unknown dtype",
                tensor->ragged, tensor->shape, tensor->ndim);
    bm_call_fail(call, -1, BM_INVALID_ARGUMENT, "%s: expected %s", component->name,
                 bm_buffer_text(&text));
    bm_buffer_fini(&text);
    return BM_RESULT_FAIL;
}

// Rows of the tensor, as its shape says; false: it is not what was declared.
static bool tensor_rows(const struct bm_component *component, uint64_t nitems,
                        const struct bm_task_tensor *tensor, uint64_t *ret_rows)
{
    if (tensor->dtype != (uint64_t)component->dtype || tensor->ragged != component->ragged)
        return false;
    bool text = bm_dtype_is_text(component->dtype);
    // [rows, rest of the item] where it is ragged, else [items, item...].
    unsigned skipped = component->ragged && !text ? 1 : 0;
    if (tensor->ndim != component->ndim - skipped + 1)
        return false;
    if (memcmp(tensor->shape + 1, component->shape + skipped,
               (tensor->ndim - 1) * sizeof tensor->shape[0]) != 0)
        return false;
    *ret_rows = tensor->shape[0];
    return component->ragged || tensor->shape[0] == nitems;
}

static enum bm_result offsets_read(struct bm_call *call, unsigned c, uint64_t rows,
                                   const struct bm_task_tensor *tensor, struct bm_block **ret_block)
{
    const char *name = call->out->schema->components[c].name;
    uint64_t n = call->in->nitems;
    if (tensor->offsets_bytes != (n + 1) * sizeof(uint64_t))
        return bm_call_fail(call, -1, BM_INVALID_ARGUMENT,
                            "%s: expected %llu offsets, got %llu bytes", name,
                            (unsigned long long)n + 1, (unsigned long long)tensor->offsets_bytes);
    struct bm_block *block = bm_block_new(tensor->offsets_bytes);
    if (block == NULL)
        return bm_call_fail(call, -1, BM_RESOURCE_EXHAUSTED, "out of memory");
    uint64_t *offsets = bm_block_data(block);
    memcpy(offsets, tensor->offsets, tensor->offsets_bytes);
    bool good = offsets[0] == 0 && offsets[n] == rows;
    for (uint64_t i = 0; i < n && good; i++)
        good = offsets[i] <= offsets[i + 1];
    if (good) {
        *ret_block = block;
        return BM_RESULT_OK;
    }
    bm_block_unref(block);
    return bm_call_fail(call, -1, BM_INVALID_ARGUMENT,
                        "%s: expected offsets that rise from 0 to its %llu rows", name,
                        (unsigned long long)rows);
}

// Ragged components get their memory here, as only now it is known how much.
static enum bm_result tensor_alloc(struct bm_call *call, unsigned c, uint64_t rows,
                                   const struct bm_task_tensor *tensor)
{
    struct bm_block *offsets = NULL;
    if (!call->out->schema->components[c].ragged)
        return BM_RESULT_OK;
    enum bm_result result = offsets_read(call, c, rows, tensor, &offsets);
    if (result != BM_RESULT_OK)
        return result;
    struct bm_error error;
    enum bm_status status = bm_batch_alloc_ragged(call->out, c, offsets, &error);
    bm_block_unref(offsets);
    return status == BM_OK ? BM_RESULT_OK : bm_call_fail(call, -1, status, "%s", error.text);
}

static enum bm_result tensor_copy(struct bm_call *call, unsigned c, struct bm_mapped *mapped,
                                  const struct bm_task_tensor *tensor)
{
    struct bm_tensor *to = &call->out->tensors[c];
    const char *name = call->out->schema->components[c].name;
    uint64_t got = tensor->placed ? tensor->place.size_bytes : tensor->data_bytes;
    if (got != to->size_bytes)
        return bm_call_fail(call, -1, BM_INVALID_ARGUMENT, "%s: expected %llu bytes, got %llu",
                            name, (unsigned long long)to->size_bytes, (unsigned long long)got);
    if (!tensor->placed) {
        if (got > 0)
            memcpy(to->data, tensor->data, got);
        return BM_RESULT_OK;
    }
    void *data = NULL;
    struct bm_mapping *mapping =
        mapped == NULL ? NULL : bm_mapped_enter(mapped, &tensor->place, &data);
    if (mapping == NULL)
        return bm_call_fail(call, -1, BM_UNAVAILABLE,
                            "%s: the memory that it was said to be in cannot be seen", name);
    memcpy(to->data, data, got);
    bm_mapped_leave(mapped, mapping);
    return BM_RESULT_OK;
}

static enum bm_result tensor_put(struct bm_call *call, unsigned c, struct bm_mapped *mapped,
                                 const struct bm_task_tensor *tensor)
{
    uint64_t rows;
    const struct bm_component *component = &call->out->schema->components[c];
    if (!tensor_rows(component, call->in->nitems, tensor, &rows))
        return tensor_refuse(call, c, tensor);
    enum bm_result result = tensor_alloc(call, c, rows, tensor);
    return result == BM_RESULT_OK ? tensor_copy(call, c, mapped, tensor) : result;
}

// ---- All of them ----

static bool action_writes(const struct remote_action *action, const char *name)
{
    for (unsigned i = 0; i < action->nwrites; i++) {
        if (strcmp(action->writes[i].component.name, name) == 0)
            return true;
    }
    return false;
}

static const struct bm_task_tensor *result_find(const struct bm_task_result *result,
                                                const char *name)
{
    for (unsigned i = 0; i < result->ntensors; i++) {
        if (strcmp(result->tensors[i].name, name) == 0)
            return &result->tensors[i];
    }
    return NULL;
}

enum bm_result result_put(struct bm_call *call, struct bm_task_result *result)
{
    const struct remote_plan *plan = call->plan;
    for (unsigned i = 0; i < result->ntensors; i++) {
        if (!action_writes(plan->action, result->tensors[i].name))
            return bm_call_fail(call, -1, BM_INVALID_ARGUMENT,
                                "expected only components that it is declared to write, got \"%s\"",
                                result->tensors[i].name);
    }
    for (unsigned i = 0; i < plan->action->nwrites; i++) {
        const char *name = plan->action->writes[i].component.name;
        const struct bm_task_tensor *tensor = result_find(result, name);
        if (tensor == NULL)
            return bm_call_fail(call, -1, BM_INVALID_ARGUMENT,
                                "%s: expected it, as it is declared to be written, got none", name);
        unsigned c = (unsigned)bm_schema_find(call->out->schema, name);
        enum bm_result end = tensor_put(call, c, result->mapped, tensor);
        if (end != BM_RESULT_OK)
            return end;
    }
    return BM_RESULT_OK;
}
