// components.c -- which components a batch has, and under which names. No bytes move.
#include <stdlib.h>
#include <string.h>

#include "actions/targets.h"
#include "actions/types.h"

// ---- select ----

struct select {
    struct bm_texts components;
};

static const struct bm_param select_params[] = {
    BM_PARAM_COMPONENTS(struct select, "the components to keep, in this order: a name or a list"),
};

static enum bm_status select_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    (void)ret_plan;
    const struct select *select = config;
    struct bm_targets *targets;
    enum bm_status status = bm_targets_find(infer, &select->components, BM_WANT_ANY, &targets, err);
    if (status != BM_OK)
        return status;
    for (unsigned i = 0; i < targets->n && status == BM_OK; i++)
        status = bm_infer_keep(infer, targets->components[i], NULL, err);
    free(targets);
    return status;
}

const struct bm_action_type bm_select_action = {
    .name = "select",
    .doc = "Keeps these components, in this order, and leaves out all others.",
    .form = BM_PER_ITEM,
    .params = select_params,
    .nparams = sizeof select_params / sizeof select_params[0],
    .config_bytes = sizeof(struct select),
    .infer = select_infer,
    .run = bm_run_nothing,
};

// ---- drop ----

struct drop {
    struct bm_texts components;
};

static const struct bm_param drop_params[] = {
    BM_PARAM_COMPONENTS(struct drop, "the components to leave out: one name or a list"),
};

static enum bm_status drop_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    (void)ret_plan;
    const struct drop *drop = config;
    struct bm_targets *targets;
    enum bm_status status = bm_targets_find(infer, &drop->components, BM_WANT_ANY, &targets, err);
    if (status != BM_OK)
        return status;
    bool dropped[BM_COMPONENTS_MAX] = {false};
    for (unsigned i = 0; i < targets->n; i++)
        dropped[targets->components[i]] = true;
    free(targets);
    for (unsigned c = 0; c < infer->in->ncomponents && status == BM_OK; c++) {
        if (!dropped[c])
            status = bm_infer_keep(infer, c, NULL, err);
    }
    return status;
}

const struct bm_action_type bm_drop_action = {
    .name = "drop",
    .doc = "Leaves out these components. A batch without any still has its items' indices.",
    .form = BM_PER_ITEM,
    .params = drop_params,
    .nparams = sizeof drop_params / sizeof drop_params[0],
    .config_bytes = sizeof(struct drop),
    .infer = drop_infer,
    .run = bm_run_nothing,
};

// ---- rename ----

struct rename {
    struct bm_text_map names;
};

static const struct bm_param rename_params[] = {
    BM_PARAM(struct rename, names, BM_PARAM_TEXT_MAP, .required = true,
             .doc = "the name that there is, to the name that it gets: {old: new}"),
};

// All names change at once, so that two components may swap theirs.
static enum bm_status rename_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    (void)ret_plan;
    const struct rename *rename = config;
    const char *new_names[BM_COMPONENTS_MAX] = {NULL};
    char text[BM_ERROR_WHERE_MAX];
    const char *where = bm_params_where(infer->where, "names", text);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < rename->names.n && status == BM_OK; i++) {
        unsigned c;
        const char *old_name = rename->names.keys[i], *new_name = rename->names.values[i];
        status = bm_target_find(infer, "names", old_name, BM_WANT_ANY, &c, err);
        if (status == BM_OK && new_names[c] != NULL)
            status = bm_fail(err, BM_INVALID_ARGUMENT, where,
                             "expected each name once, got %s twice", old_name);
        if (status == BM_OK && !bm_name_valid(new_name))
            status = bm_fail(err, BM_INVALID_ARGUMENT, where,
                             "expected a name of " BM_NAME_RULE ", got \"%.128s\"", new_name);
        if (status == BM_OK)
            new_names[c] = new_name;
    }
    for (unsigned c = 0; c < infer->in->ncomponents && status == BM_OK; c++) {
        struct bm_component component = infer->in->components[c];
        if (new_names[c] != NULL)
            memcpy(component.name, new_names[c], strlen(new_names[c]) + 1);
        status = bm_infer_keep(infer, c, &component, err);
    }
    return status;
}

const struct bm_action_type bm_rename_action = {
    .name = "rename",
    .doc = "Gives components other names. They keep their places.",
    .form = BM_PER_ITEM,
    .params = rename_params,
    .nparams = sizeof rename_params / sizeof rename_params[0],
    .config_bytes = sizeof(struct rename),
    .infer = rename_infer,
    .run = bm_run_nothing,
};
