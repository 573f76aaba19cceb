#include "server/registrar.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/name.h"
#include "pipeline/params.h"
#include "server/config.h"

struct bm_registrar {
    const struct bm_registry *registry;
    unsigned nsources;
    struct bm_source_ref **sources;
    char **names; // [nsources], borrowed from the sources
};

struct pipeline_settings {
    char *source;
    const struct bm_value *actions, *group_by;
};
static const struct bm_param pipeline_params[] = {
    BM_PARAM(struct pipeline_settings, source, BM_PARAM_NAME, .required = true,
             .doc = "one of `sources`"),
    BM_PARAM(struct pipeline_settings, actions, BM_PARAM_VALUE, .doc = "the chain, in order"),
    BM_PARAM(struct pipeline_settings, group_by, BM_PARAM_VALUE,
             .doc = "a component of the source with the length of each item, or {component: name, "
                    "width: 16}: shuffled streams have batches of items of like length"),
};
enum { NPARAMS = sizeof pipeline_params / sizeof pipeline_params[0] };

// ---- Definitions ----

enum bm_status bm_no_source(char *const *names, unsigned nnames, const char *where,
                            const char *name, struct bm_error *err)
{
    struct bm_buffer list;
    bm_buffer_init(&list);
    for (unsigned i = 0; i < nnames; i++)
        bm_buffer_print(&list, "%s%s", i == 0 ? "" : ", ", names[i]);
    enum bm_status status =
        bm_fail(err, BM_INVALID_ARGUMENT, where, "expected one of `sources` (%s), got \"%s\"",
                nnames == 0 ? "there are none" : bm_buffer_text(&list), name);
    bm_buffer_fini(&list);
    return status;
}

enum bm_status bm_pipeline_define(const struct bm_registry *registry,
                                  const struct bm_source_finder *finder, const char *name,
                                  const struct bm_value *definition,
                                  struct bm_pipeline **ret_pipeline, struct bm_error *err)
{
    struct pipeline_settings settings;
    if (!bm_name_valid(name)) // said here, where the line is known
        return bm_fail(err, BM_INVALID_ARGUMENT, definition->where,
                       "a pipeline's name: expected " BM_NAME_RULE ", got \"%.40s\"", name);
    enum bm_status status =
        bm_params_parse(pipeline_params, NPARAMS, definition, definition->where, &settings, err);
    if (status != BM_OK)
        return status;
    struct bm_source_ref *source = NULL;
    status = finder->find(finder->context, settings.source,
                          bm_value_find(definition, "source")->where, &source, err);
    if (status == BM_OK)
        status = bm_pipeline_new_grouped(registry, name, source, settings.actions,
                                         settings.group_by, ret_pipeline, err);
    bm_source_unref(source);
    bm_params_free(pipeline_params, NPARAMS, &settings);
    return status;
}

// ---- The registrar ----

enum bm_status bm_registrar_new(const struct bm_registry *registry,
                                struct bm_registrar **ret_registrar, struct bm_error *err)
{
    struct bm_registrar *registrar = calloc(1, sizeof *registrar);
    if (registrar == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a registrar");
    registrar->registry = registry;
    *ret_registrar = registrar;
    return BM_OK;
}

void bm_registrar_free(struct bm_registrar *registrar)
{
    if (registrar == NULL)
        return;
    for (unsigned i = 0; i < registrar->nsources; i++)
        bm_source_unref(registrar->sources[i]);
    free(registrar->sources);
    free(registrar->names);
    free(registrar);
}

enum bm_status bm_registrar_add_source(struct bm_registrar *registrar, struct bm_source_ref *source,
                                       struct bm_error *err)
{
    unsigned n = registrar->nsources;
    struct bm_source_ref **sources =
        realloc(registrar->sources, (n + 1) * sizeof(struct bm_source_ref *));
    if (sources != NULL)
        registrar->sources = sources;
    char **names = realloc(registrar->names, (n + 1) * sizeof(char *));
    if (names != NULL)
        registrar->names = names;
    if (sources == NULL || names == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a source");
    sources[n] = bm_source_ref(source);
    names[n] = (char *)bm_source_name(source);
    registrar->nsources++;
    return BM_OK;
}

static enum bm_status registrar_find(void *context, const char *name, const char *where,
                                     struct bm_source_ref **ret_source, struct bm_error *err)
{
    const struct bm_registrar *registrar = context;
    for (unsigned i = 0; i < registrar->nsources; i++) {
        if (strcmp(registrar->names[i], name) != 0)
            continue;
        *ret_source = bm_source_ref(registrar->sources[i]);
        return BM_OK;
    }
    return bm_no_source(registrar->names, registrar->nsources, where, name, err);
}

// What reaches beyond the pipeline itself: the server's memory beside its budget, and its disk.
// Whatever is no list of actions is for bm_pipeline_new() to tell.
static enum bm_status registrar_allows(const struct bm_registrar *registrar,
                                       const struct bm_value *definition, struct bm_error *err)
{
    const struct bm_value *actions =
        definition->kind == BM_VALUE_MAP ? bm_value_find(definition, "actions") : NULL;
    const struct bm_value *group_by =
        definition->kind == BM_VALUE_MAP ? bm_value_find(definition, "group_by") : NULL;
    if (group_by != NULL)
        return bm_fail(err, BM_PERMISSION_DENIED, group_by->where,
                       "group_by reads the whole source: only the configuration may have it");
    if (actions == NULL || actions->kind != BM_VALUE_LIST)
        return BM_OK;
    for (unsigned i = 0; i < actions->nchildren; i++) {
        const struct bm_value *action = actions->children[i];
        unsigned nkeys = action->kind == BM_VALUE_MAP ? action->nchildren : 0;
        for (unsigned k = 0; k < nkeys; k++) {
            const struct bm_action_type *type =
                bm_registry_action(registrar->registry, action->keys[k]);
            if (type != NULL && type->caches)
                return bm_fail(err, BM_PERMISSION_DENIED, action->where,
                               "%s: only the server's configuration may have it", type->name);
        }
    }
    return BM_OK;
}

enum bm_status bm_registrar_build(const struct bm_registrar *registrar, const char *name,
                                  const char *text, struct bm_pipeline **ret_pipeline,
                                  struct bm_error *err)
{
    const struct bm_source_finder finder = {registrar_find, (void *)registrar};
    struct bm_value *definition = NULL;
    enum bm_status status = bm_yaml_parse(text, strlen(text), "definition", &definition, err);
    if (status == BM_OK)
        status = registrar_allows(registrar, definition, err);
    if (status == BM_OK)
        status =
            bm_pipeline_define(registrar->registry, &finder, name, definition, ret_pipeline, err);
    bm_value_free(definition);
    return status;
}
