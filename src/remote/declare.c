// Declarations of remote actions, and the action types that they become.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "remote/internal.h"

struct declaration {
    char *doc, *version;
    const struct bm_value *writes, *params;
    struct bm_texts removes;
    bool random, stateful;
    double deadline;
    int64_t attempts;
};
static const struct bm_param declaration_params[] = {
    BM_PARAM(struct declaration, doc, BM_PARAM_TEXT, .doc = "a sentence about it"),
    BM_PARAM(struct declaration, version, BM_PARAM_TEXT, .fallback = "",
             .doc = "that lenders must have; it is part of fingerprints"),
    BM_PARAM(struct declaration, writes, BM_PARAM_VALUE,
             .doc = "name: {dtype: ..., shape: [...], ragged: ..., like: component}"),
    BM_PARAM(struct declaration, removes, BM_PARAM_NAMES,
             .doc = "components that are not there behind it"),
    BM_PARAM(struct declaration, params, BM_PARAM_VALUE, .doc = "name: default"),
    BM_PARAM(struct declaration, random, BM_PARAM_BOOL, .fallback = "false",
             .doc = "it draws random numbers"),
    BM_PARAM(struct declaration, stateful, BM_PARAM_BOOL, .fallback = "false",
             .doc = "its own state reaches its output: no promise of equal bytes"),
    BM_PARAM(struct declaration, deadline, BM_PARAM_FLOAT, .fallback = "0", .min = 0,
             .max = 1000000,
             .doc = "seconds after which a batch that nobody has done fails; 0: it waits"),
    BM_PARAM(struct declaration, attempts, BM_PARAM_INTEGER, .fallback = "10", .min = 1,
             .max = 1000, .doc = "how many lenders may be lost over one batch before it fails"),
};

struct write_declaration {
    enum bm_dtype dtype;
    struct bm_integers shape;
    bool ragged;
    char *like;
};
static const struct bm_param write_params[] = {
    BM_PARAM(struct write_declaration, dtype, BM_PARAM_DTYPE, .doc = "of its elements"),
    BM_PARAM(struct write_declaration, shape, BM_PARAM_INTEGERS, .min = 0, .max = 1e12,
             .doc = "of one item; of a row of it, where it is ragged"),
    BM_PARAM(struct write_declaration, ragged, BM_PARAM_BOOL, .fallback = "false",
             .doc = "items have rows, and differ in how many"),
    BM_PARAM(struct write_declaration, like, BM_PARAM_NAME,
             .doc = "the component before the action whose dtype and shape it has"),
};

#define COUNT(array) ((unsigned)(sizeof(array) / sizeof((array)[0])))

static enum bm_status no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

// ---- What it writes ----

static enum bm_status write_fill(struct remote_write *write, const struct write_declaration *given,
                                 const char *where, bool has_shape, struct bm_error *err)
{
    struct bm_component *component = &write->component;
    write->has_dtype = given->dtype != BM_DTYPE_NONE;
    write->has_shape = has_shape || given->ragged;
    if (!write->has_dtype && given->like == NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected a dtype, or the component that it is like");
    component->dtype = given->dtype;
    component->ragged = given->ragged || bm_dtype_is_text(given->dtype);
    bool text = bm_dtype_is_text(given->dtype);
    unsigned varies = component->ragged && !text;
    if (given->shape.n + varies > BM_NDIM_MAX || (text && given->shape.n > 0))
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "shape: expected at most %u axes, got %u",
                       text ? 0u : BM_NDIM_MAX - varies, given->shape.n);
    component->ndim = given->shape.n + varies;
    for (unsigned i = 0; i < given->shape.n; i++)
        component->shape[i + varies] = (uint64_t)given->shape.values[i];
    if (given->like != NULL && (write->like = strdup(given->like)) == NULL)
        return no_memory(where, err);
    return BM_OK;
}

static enum bm_status write_read(struct remote_write *write, const char *name,
                                 const struct bm_value *value, struct bm_error *err)
{
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, value->where,
                       "a component's name: expected " BM_NAME_RULE ", got \"%.40s\"", name);
    strcpy(write->component.name, name);
    struct write_declaration given;
    enum bm_status status =
        bm_params_parse(write_params, COUNT(write_params), value, value->where, &given, err);
    if (status != BM_OK)
        return status;
    bool has_shape = bm_value_find(value, "shape") != NULL;
    status = write_fill(write, &given, value->where, has_shape, err);
    bm_params_free(write_params, COUNT(write_params), &given);
    return status;
}

static enum bm_status action_read_writes(struct remote_action *action, const struct bm_value *map,
                                         struct bm_error *err)
{
    if (map == NULL || map->kind == BM_VALUE_NULL)
        return BM_OK;
    if (map->kind != BM_VALUE_MAP)
        return bm_fail(err, BM_INVALID_ARGUMENT, map->where, "expected a map of components, got %s",
                       bm_value_kind_name(map));
    action->writes = calloc(map->nchildren + 1, sizeof action->writes[0]);
    if (action->writes == NULL)
        return no_memory(map->where, err);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < map->nchildren && status == BM_OK; i++) {
        action->nwrites++;
        status = write_read(&action->writes[i], map->keys[i], map->children[i], err);
    }
    return status;
}

// ---- Its parameters ----

static enum bm_status action_read_param(struct remote_action *action, const char *name,
                                        const struct bm_value *value, struct bm_error *err)
{
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, value->where,
                       "a parameter's name: expected " BM_NAME_RULE ", got \"%.40s\"", name);
    unsigned i = action->nparams++;
    struct bm_buffer text;
    bm_buffer_init(&text);
    json_add(&text, value);
    action->param_names[i] = strdup(name);
    action->param_defaults[i] = bm_buffer_failed(&text) ? NULL : strdup(bm_buffer_text(&text));
    bm_buffer_fini(&text);
    action->params[i] = (struct bm_param){
        .name = action->param_names[i],
        .kind = BM_PARAM_VALUE,
        .offset = i * sizeof(const struct bm_value *),
        .doc = "for whoever does it",
    };
    return action->param_names[i] == NULL || action->param_defaults[i] == NULL
               ? no_memory(value->where, err)
               : BM_OK;
}

static enum bm_status action_read_params(struct remote_action *action, const struct bm_value *map,
                                         struct bm_error *err)
{
    if (map == NULL || map->kind == BM_VALUE_NULL)
        return BM_OK;
    if (map->kind != BM_VALUE_MAP)
        return bm_fail(err, BM_INVALID_ARGUMENT, map->where,
                       "expected a map of parameters and their defaults, got %s",
                       bm_value_kind_name(map));
    action->params = calloc(map->nchildren + 1, sizeof action->params[0]);
    action->param_names = calloc(map->nchildren + 1, sizeof(char *));
    action->param_defaults = calloc(map->nchildren + 1, sizeof(char *));
    if (action->params == NULL || action->param_names == NULL || action->param_defaults == NULL)
        return no_memory(map->where, err);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < map->nchildren && status == BM_OK; i++)
        status = action_read_param(action, map->keys[i], map->children[i], err);
    return status;
}

// ---- An action ----

static void texts_free(char **texts, unsigned n)
{
    for (unsigned i = 0; texts != NULL && i < n; i++)
        free(texts[i]);
    free(texts);
}

static void action_free(struct remote_action *action)
{
    for (unsigned i = 0; i < action->nwrites; i++)
        free(action->writes[i].like);
    free(action->writes);
    texts_free(action->removes, action->nremoves);
    texts_free(action->param_names, action->nparams);
    texts_free(action->param_defaults, action->nparams);
    free(action->params);
    free(action->doc);
    free(action);
}

// What changes the bytes that come out of it, as far as a server can know.
static enum bm_status action_hash(struct remote_action *action, struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return no_memory(action->name, err);
    bm_hash_add_text(hash, "remote");
    bm_hash_add_text(hash, action->version);
    for (unsigned i = 0; i < action->nparams; i++) {
        bm_hash_add_text(hash, action->param_names[i]);
        bm_hash_add_text(hash, action->param_defaults[i]);
    }
    action->type.code = bm_hash_end(hash) | 1;
    bm_hash_free(hash);
    return BM_OK;
}

static enum bm_status action_take(struct remote_action *action, const struct declaration *given,
                                  const char *where, struct bm_error *err)
{
    if (strlen(given->version) > BM_REMOTE_VERSION_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "version: expected at most %d bytes",
                       BM_REMOTE_VERSION_MAX);
    strcpy(action->version, given->version);
    action->deadline_ns = (uint64_t)llround(given->deadline * 1e9);
    action->attempts_max = (unsigned)given->attempts;
    action->doc = strdup(given->doc == NULL ? "Done by whoever lends it." : given->doc);
    action->removes = calloc(given->removes.n + 1, sizeof(char *));
    if (action->doc == NULL || action->removes == NULL)
        return no_memory(where, err);
    for (unsigned i = 0; i < given->removes.n; i++) {
        if ((action->removes[i] = strdup(given->removes.values[i])) == NULL)
            return no_memory(where, err);
        action->nremoves++;
    }
    enum bm_status status = action_read_writes(action, given->writes, err);
    if (status == BM_OK)
        status = action_read_params(action, given->params, err);
    if (status == BM_OK)
        status = action_hash(action, err);
    if (status != BM_OK)
        return status;
    action->type.name = action->name;
    action->type.doc = action->doc;
    action->type.form = BM_PER_BATCH;
    action->type.random = given->random;
    action->type.stateful = given->stateful;
    action->type.waits = true;
    action->type.apart = true;
    action->type.params = action->params;
    action->type.nparams = action->nparams;
    action->type.config_bytes = action->nparams * sizeof(const struct bm_value *);
    action->type.infer = remote_infer;
    action->type.run = remote_run;
    action->type.finish = remote_finish;
    action->type.plan_free = remote_plan_free;
    return BM_OK;
}

static enum bm_status action_new(struct bm_remote *remote, const char *name,
                                 const struct bm_value *value, struct remote_action **ret,
                                 struct bm_error *err)
{
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, value->where,
                       "an action's name: expected " BM_NAME_RULE ", got \"%.40s\"", name);
    struct declaration given;
    enum bm_status status = bm_params_parse(declaration_params, COUNT(declaration_params), value,
                                            value->where, &given, err);
    if (status != BM_OK)
        return status;
    struct remote_action *action = calloc(1, sizeof *action);
    if (action != NULL) {
        action->remote = remote;
        strcpy(action->name, name);
        bm_list_init(&action->queue);
        status = action_take(action, &given, value->where, err);
    } else {
        status = no_memory(value->where, err);
    }
    bm_params_free(declaration_params, COUNT(declaration_params), &given);
    if (status == BM_OK)
        *ret = action;
    else if (action != NULL)
        action_free(action);
    return status;
}

// ---- All of them ----

enum bm_status bm_remote_new(struct bm_remote **ret_remote, struct bm_error *err)
{
    struct bm_remote *remote = calloc(1, sizeof *remote);
    if (remote == NULL)
        return no_memory(NULL, err);
    *ret_remote = remote;
    return BM_OK;
}

void bm_remote_free(struct bm_remote *remote)
{
    if (remote == NULL)
        return;
    for (unsigned i = 0; i < remote->nactions; i++) {
        BM_ASSERT(bm_list_empty(&remote->actions[i]->queue));
        action_free(remote->actions[i]);
    }
    free(remote);
}

static void remote_insert(struct bm_remote *remote, struct remote_action *action) // by name
{
    unsigned at = remote->nactions++;
    for (; at > 0 && strcmp(remote->actions[at - 1]->name, action->name) > 0; at--)
        remote->actions[at] = remote->actions[at - 1];
    remote->actions[at] = action;
    for (unsigned i = 0; i < remote->nactions; i++)
        remote->actions[i]->index = i;
}

enum bm_status bm_remote_declare(struct bm_remote *remote, const struct bm_value *declarations,
                                 struct bm_registry *registry, struct bm_error *err)
{
    if (declarations == NULL || declarations->kind == BM_VALUE_NULL)
        return BM_OK;
    if (declarations->kind != BM_VALUE_MAP)
        return bm_fail(err, BM_INVALID_ARGUMENT, declarations->where,
                       "expected a map of actions, got %s", bm_value_kind_name(declarations));
    if (declarations->nchildren > BM_REMOTE_ACTIONS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, declarations->where,
                       "expected at most %d actions, got %u", BM_REMOTE_ACTIONS_MAX,
                       declarations->nchildren);
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < declarations->nchildren && status == BM_OK; i++) {
        const struct bm_value *value = declarations->children[i];
        struct remote_action *action = NULL;
        struct bm_error error;
        status = action_new(remote, declarations->keys[i], value, &action, err);
        if (status != BM_OK)
            break;
        BM_ASSERT(action != NULL);
        remote_insert(remote, action); // which frees it from here on
        status = bm_registry_add_action(registry, &action->type, &error);
        if (status != BM_OK)
            bm_fail(err, status, value->where, "%s", error.text);
    }
    return status;
}

unsigned bm_remote_count(const struct bm_remote *remote)
{
    return remote == NULL ? 0 : remote->nactions;
}

int bm_remote_find(const struct bm_remote *remote, const char *name)
{
    for (unsigned i = 0; i < bm_remote_count(remote); i++) {
        if (strcmp(remote->actions[i]->name, name) == 0)
            return (int)i;
    }
    return -1;
}
