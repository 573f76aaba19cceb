#include "pipeline/action.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/internal.h"

void error_move_to(struct bm_error *err, const char *where)
{
    if (err == NULL)
        return;
    struct bm_error before = *err;
    bm_fail(err, before.status, where, "%s%s%s", before.where, before.where[0] == '\0' ? "" : ": ",
            before.text);
}

// ---- Schema inference ----

// What bm_schema_add() refuses, it places at the component: users look for the parameters.
static enum bm_status infer_add(const struct bm_infer *infer, struct bm_schema *schema,
                                const struct bm_component *component, struct bm_error *err)
{
    enum bm_status status = bm_schema_add(schema, component, err);
    if (status != BM_OK)
        error_move_to(err, infer->where);
    return status;
}

static enum bm_status infer_append(struct bm_infer *infer, const struct bm_component *component,
                                   struct bm_origin origin, struct bm_error *err)
{
    unsigned index = infer->out->ncomponents;
    enum bm_status status = infer_add(infer, infer->out, component, err);
    if (status == BM_OK)
        infer->origins[index] = origin;
    return status;
}

enum bm_status bm_infer_keep(struct bm_infer *infer, unsigned from, const struct bm_component *as,
                             struct bm_error *err)
{
    BM_ASSERT(from < infer->in->ncomponents);
    const struct bm_component *before = &infer->in->components[from];
    if (as == NULL)
        as = before;
    if (as->dtype != before->dtype || as->ragged != before->ragged ||
        bm_component_elements(as) != bm_component_elements(before)) {
        struct bm_buffer shown;
        bm_buffer_init(&shown);
        bm_component_print(before, &shown);
        bm_buffer_add_text(&shown, ", got ");
        bm_component_print(as, &shown);
        bm_fail(err, BM_INVALID_ARGUMENT, infer->where,
                "expected the dtype and the number of elements of %s", bm_buffer_text(&shown));
        bm_buffer_fini(&shown);
        return BM_INVALID_ARGUMENT;
    }
    return infer_append(infer, as, (struct bm_origin){.from = (int)from}, err);
}

enum bm_status bm_infer_keep_all(struct bm_infer *infer, struct bm_error *err)
{
    for (unsigned i = 0; i < infer->in->ncomponents; i++) {
        enum bm_status status = bm_infer_keep(infer, i, NULL, err);
        if (status != BM_OK)
            return status;
    }
    return BM_OK;
}

enum bm_status bm_infer_write(struct bm_infer *infer, const struct bm_component *component,
                              int from, unsigned *ret_index, struct bm_error *err)
{
    BM_ASSERT(from >= -1 && from < (int)infer->in->ncomponents);
    const struct bm_origin origin = {.from = from, .writes = true};
    int index = bm_schema_find(infer->out, component->name);
    if (index < 0) {
        enum bm_status status = infer_append(infer, component, origin, err);
        if (status == BM_OK)
            *ret_index = infer->out->ncomponents - 1;
        return status;
    }
    struct bm_schema checked; // adding it alone checks all but its name's uniqueness
    bm_schema_init(&checked);
    enum bm_status status = infer_add(infer, &checked, component, err);
    if (status == BM_OK) {
        struct bm_component before = infer->out->components[index];
        infer->out->components[index] = checked.components[0];
        checked.components[0] = before; // each schema frees what it has
        infer->origins[index] = origin;
        *ret_index = (unsigned)index;
    }
    bm_schema_fini(&checked);
    return status;
}

// ---- The call ----

enum bm_result bm_call_fail(struct bm_call *call, int64_t row, enum bm_status status,
                            const char *format, ...)
{
    BM_ASSERT(row >= -1 && row < (int64_t)call->in->nitems);
    char text[BM_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bm_fail(call->error, status, NULL, "%s", text); // the engine adds the place
    call->failed_row = row;
    return BM_RESULT_FAIL;
}

void bm_call_drop(struct bm_call *call, uint64_t row)
{
    BM_ASSERT(call->dropped != NULL && row >= call->first && row - call->first < call->count);
    call->dropped[row] = true;
}

void bm_call_random(const struct bm_call *call, uint64_t row, struct bm_random *ret_random)
{
    bm_random_init(ret_random, repeated_seed(call->seed, call->copies, row),
                   call->in->item_epochs[row], call->in->items[row], call->position);
}

enum bm_result bm_call_sleep(struct bm_call *call, uint64_t ns)
{
    return call->host->sleep(call->host, ns);
}

struct bm_deferred *bm_call_defer(struct bm_call *call)
{
    return call->host->defer(call->host);
}

void bm_deferred_finish(struct bm_deferred *deferred, enum bm_result result)
{
    deferred->finish(deferred, result);
}
