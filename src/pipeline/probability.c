// probability.c -- actions that only some items go through, drawn at random: `probability: 0.5`.
#include <string.h>

#include "pipeline/internal.h"

// ---- When the pipeline is built ----

enum bm_status probability_read(struct action *action, const struct bm_value *value,
                                struct bm_error *err)
{
    bool number = value->kind == BM_VALUE_INTEGER || value->kind == BM_VALUE_FLOAT;
    if (!number || !(value->number >= 0 && value->number <= 1)) {
        struct bm_buffer got;
        bm_buffer_init(&got);
        bm_value_show(value, &got);
        bm_fail(err, BM_INVALID_ARGUMENT, value->where, "expected a number from 0 to 1, got %s",
                bm_buffer_text(&got));
        bm_buffer_fini(&got);
        return BM_INVALID_ARGUMENT;
    }
    action->probability = value->number;
    return BM_OK;
}

// An item that does not go through the action must look like one that did.
enum bm_status probability_check(const struct action *action, const struct bm_schema *in,
                                 const char *where, struct bm_error *err)
{
    if (action->form != BM_PER_ITEM || action->type->waits)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected an action on items for a probability, but %s works on batches",
                       action->type->name);
    bool same = action->schema.ncomponents == in->ncomponents;
    for (unsigned c = 0; c < in->ncomponents && same; c++) {
        const struct bm_component *before = &in->components[c],
                                  *after = &action->schema.components[c];
        same = action->origins[c].from == (int)c && before->dtype == after->dtype &&
               before->ragged == after->ragged && before->ndim == after->ndim &&
               memcmp(before->shape, after->shape, before->ndim * sizeof before->shape[0]) == 0;
    }
    return same ? BM_OK
                : bm_fail(err, BM_INVALID_ARGUMENT, where,
                          "expected an action for a probability that leaves names, dtypes and "
                          "shapes as they are, which %s does not, with these parameters",
                          action->type->name);
}

// ---- In a call ----

// Whether an action with a probability is applied to the item of `row`: drawn apart from the
// numbers that the action itself draws.
bool probability_draw(const struct bm_work *work, unsigned a, uint64_t row)
{
    struct bm_random random;
    unsigned caches = work->pipeline->ncached > 0;
    bm_random_init(&random, repeated_seed(work->seed, work->copies, row), work->epochs[row],
                   work->items[row], (a - caches) | 0x80000000u);
    return bm_random_uniform(&random) < work->pipeline->actions[a].probability;
}

void probability_pass(const struct action *action, const struct bm_batch *in, struct bm_batch *out,
                      const struct bm_range *rows)
{
    for (unsigned c = 0; c < action->schema.ncomponents; c++) {
        uint64_t n;
        const unsigned char *from = bm_batch_rows(in, c, rows->first, rows->count, &n);
        unsigned char *to = bm_batch_rows(out, c, rows->first, rows->count, &n);
        if (to != from && n > 0)
            memcpy(to, from, n * bm_dtype_size(action->schema.components[c].dtype));
    }
}
