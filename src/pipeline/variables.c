#include <stdlib.h>

#include "pipeline/internal.h"

struct bm_variables {
    struct bm_pipeline *pipeline;
    unsigned char *states;
};

enum bm_status bm_variables_new(const struct bm_pipeline *pipeline,
                                struct bm_variables **ret_variables, struct bm_error *err)
{
    struct bm_variables *variables = calloc(1, sizeof *variables);
    unsigned char *states = calloc(1, pipeline->updates_bytes + 1);
    if (variables == NULL || states == NULL) {
        free(variables);
        free(states);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for variables");
    }
    variables->pipeline = bm_pipeline_ref((struct bm_pipeline *)pipeline);
    variables->states = states;
    *ret_variables = variables;
    return BM_OK;
}

void bm_variables_free(struct bm_variables *variables)
{
    if (variables == NULL)
        return;
    bm_pipeline_unref(variables->pipeline);
    free(variables->states);
    free(variables);
}

// The updates of the actions first .. end - 1.
static void updates_merge(struct bm_variables *variables, const unsigned char *updates,
                          unsigned first, unsigned end)
{
    for (unsigned i = first; i < end && updates != NULL; i++) {
        const struct action *action = &variables->pipeline->actions[i];
        if (action->variable != NULL)
            action->variable->merge(action->variable_config,
                                    variables->states + action->update_offset,
                                    updates + action->update_offset);
    }
}

void bm_variables_merge(struct bm_variables *variables, const struct bm_work *work)
{
    const struct bm_pipeline *pipeline = variables->pipeline;
    unsigned gather = pipeline->gather == 0 ? 0 : pipeline->steps[pipeline->gather].first;
    for (uint64_t k = 0; k < work->nparts; k++)
        updates_merge(variables, work->parts[k].updates, 0, gather);
    updates_merge(variables, work->updates, gather, pipeline->nactions);
}

unsigned bm_variables_count(const struct bm_variables *variables)
{
    return variables->pipeline->nnumbers;
}

void bm_variables_report(const struct bm_variables *variables, struct bm_number *ret_numbers)
{
    const struct bm_pipeline *pipeline = variables->pipeline;
    for (unsigned i = 0; i < pipeline->nactions; i++) {
        const struct action *action = &pipeline->actions[i];
        if (action->variable == NULL)
            continue;
        action->variable->report(action->variable_config, variables->states + action->update_offset,
                                 ret_numbers);
        ret_numbers += action->variable->nnumbers;
    }
}
