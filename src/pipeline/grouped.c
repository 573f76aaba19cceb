// grouped.c -- the order of a pipeline whose batches hold items of like length.
#include <stdlib.h>
#include <string.h>

#include "data/groups.h"
#include "pipeline/internal.h"

struct group_config {
    char *component;
    int64_t width;
};

static const struct bm_param group_params[] = {
    BM_PARAM(struct group_config, component, BM_PARAM_NAME, .required = true,
             .doc = "of the source: a number, or what is ragged, whose length counts"),
    BM_PARAM(struct group_config, width, BM_PARAM_INTEGER, .fallback = "16", .min = 1, .max = 65536,
             .doc = "batches among which items change places: more mix better and pad more"),
};

enum { GROUP_NPARAMS = sizeof group_params / sizeof group_params[0] };

static enum bm_status groups_make(struct bm_pipeline *pipeline, const struct group_config *config,
                                  const char *where, struct bm_error *err)
{
    const struct bm_source *source = bm_source_get(pipeline->source);
    unsigned c;
    enum bm_status status = bm_schema_require(&source->schema, config->component, where, &c, err);
    if (status != BM_OK)
        return status;
    double *lengths = malloc((source->nitems + 1) * sizeof lengths[0]);
    if (lengths == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    status = bm_source_numbers(source, c, lengths, err);
    if (status == BM_OK)
        status =
            bm_groups_new(lengths, source->nitems, (uint64_t)config->width, &pipeline->groups, err);
    if (status != BM_OK && err != NULL)
        error_move_to(err, where);
    free(lengths);
    return status;
}

enum bm_status pipeline_plan_groups(struct bm_pipeline *pipeline, const struct bm_value *group_by,
                                    struct bm_error *err)
{
    struct group_config config;
    struct bm_value map = *group_by; // a name is short for {component: name}
    char *key = "component";
    struct bm_value *name = (struct bm_value *)group_by;
    if (group_by->kind == BM_VALUE_TEXT) {
        map.kind = BM_VALUE_MAP;
        map.nchildren = 1;
        map.keys = &key;
        map.children = &name;
    }
    enum bm_status status =
        bm_params_parse(group_params, GROUP_NPARAMS, &map, group_by->where, &config, err);
    if (status != BM_OK)
        return status;
    status = groups_make(pipeline, &config, group_by->where, err);
    struct bm_hash *hash = bm_hash_new();
    if (status == BM_OK && hash == NULL)
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, group_by->where, "out of memory");
    if (status == BM_OK) {
        bm_hash_add_text(hash, "group_by");
        bm_params_hash(group_params, GROUP_NPARAMS, &config, hash);
        pipeline->grouping = bm_hash_end(hash);
        strcpy(pipeline->group_by, config.component);
    }
    bm_hash_free(hash);
    bm_params_free(group_params, GROUP_NPARAMS, &config);
    return status;
}
