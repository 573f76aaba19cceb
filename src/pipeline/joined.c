// joined.c -- neighbouring actions that one type does in one go.
//
// The last pair is asked first, so that what came of it may be joined with the action before it.
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"

static bool schema_equals(const struct bm_schema *schema, const struct bm_schema *other)
{
    bool equal = schema->ncomponents == other->ncomponents;
    for (unsigned c = 0; c < schema->ncomponents && equal; c++) {
        const struct bm_component *one = &schema->components[c], *two = &other->components[c];
        equal = strcmp(one->name, two->name) == 0 && one->dtype == two->dtype &&
                one->ragged == two->ragged && one->ndim == two->ndim &&
                memcmp(one->shape, two->shape, one->ndim * sizeof one->shape[0]) == 0 &&
                one->vocabulary == two->vocabulary;
    }
    return equal;
}

// Joins action i and the part behind it if there is a type that does both.
static enum bm_status action_join(struct bm_pipeline *pipeline, unsigned i, const char *where,
                                  struct bm_error *err)
{
    struct action *first = &pipeline->actions[i];
    const struct action *second = pipeline_part(pipeline, i + 1);
    const struct bm_action_type *type = NULL;
    bool always = first->probability >= 1 && second->probability >= 1;
    if (first->lock == NULL && second->lock == NULL && first->type->join != NULL && always)
        type = first->type->join(pipeline_schema(pipeline, i), first->config, second->type,
                                 second->config);
    if (type == NULL)
        return BM_OK;
    struct action *joined = calloc(1, sizeof *joined);
    struct bm_joined *config = malloc(sizeof *config);
    if (joined == NULL || config == NULL) {
        free(joined);
        free(config);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    }
    *config = (struct bm_joined){{first->type, second->type}, {first->config, second->config}};
    joined->type = type;
    joined->config = config;
    joined->probability = 1;
    first->joined = joined; // from here on the pipeline frees it
    enum bm_status status =
        action_infer(pipeline, joined, pipeline_schema(pipeline, i), where, err);
    if (status != BM_OK)
        return status;
    if (joined->form != BM_PER_ITEM || type->waits || joined->variable != NULL ||
        !schema_equals(&joined->schema, &second->schema))
        return bm_fail(err, BM_INTERNAL, where, "a bug in the action type %s: it cannot join %s",
                       first->type->name, second->type->name);
    joined->span = 1 + second->span;
    return BM_OK;
}

enum bm_status pipeline_join(struct bm_pipeline *pipeline, const struct bm_value *actions,
                             struct bm_error *err)
{
    enum bm_status status = BM_OK;
    for (unsigned i = pipeline->nactions; i-- > 0 && status == BM_OK;) {
        const struct action *action = &pipeline->actions[i];
        if (i + 1 < pipeline->nactions)
            status = action_join(pipeline, i, actions->children[i]->where, err);
        if (status == BM_OK && action->must_join && action->joined == NULL)
            status = bm_fail(err, BM_INVALID_ARGUMENT, actions->children[i]->where,
                             "expected right after %s, with these parameters, an action that it "
                             "can be joined with, and no lock at either",
                             action->type->name);
    }
    return status;
}

const struct action *pipeline_part(const struct bm_pipeline *pipeline, unsigned i)
{
    const struct action *action = &pipeline->actions[i];
    return action->joined == NULL ? action : action->joined;
}

unsigned pipeline_part_start(const struct bm_pipeline *pipeline, unsigned i)
{
    unsigned start = 0;
    while (start + pipeline_part(pipeline, start)->span <= i)
        start += pipeline_part(pipeline, start)->span;
    return start;
}
