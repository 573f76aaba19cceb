#include "pipeline/source.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/pipeline.h"

struct bm_source_ref {
    atomic_uint refs;
    char *name;
    struct bm_source *source;
};

char *bm_source_path(const char *directory, const char *path)
{
    if (path[0] == '/' || directory == NULL || directory[0] == '\0')
        return strdup(path);
    size_t size = strlen(directory) + 1 + strlen(path) + 1;
    char *joined = malloc(size);
    if (joined != NULL)
        snprintf(joined, size, "%s/%s", directory, path);
    return joined;
}

// ---- {type: {parameters}}, or only the type's name ----

static enum bm_status source_definition(const struct bm_value *definition, const char **ret_type,
                                        const struct bm_value **ret_params, struct bm_error *err)
{
    if (definition->kind == BM_VALUE_TEXT) {
        *ret_type = definition->text;
        *ret_params = NULL;
        return BM_OK;
    }
    if (definition->kind == BM_VALUE_MAP && definition->nchildren == 1) {
        *ret_type = definition->keys[0];
        *ret_params = definition->children[0];
        return BM_OK;
    }
    struct bm_buffer shown;
    bm_buffer_init(&shown);
    if (definition->kind == BM_VALUE_MAP)
        bm_buffer_print(&shown, "%u keys", definition->nchildren);
    else
        bm_value_show(definition, &shown);
    enum bm_status status =
        bm_fail(err, BM_INVALID_ARGUMENT, definition->where,
                "expected one source type with its parameters, as in {csv: {path: data.csv}}, "
                "got %s",
                bm_buffer_text(&shown));
    bm_buffer_fini(&shown);
    return status;
}

static enum bm_status source_unknown_type(const struct bm_registry *registry, const char *where,
                                          const char *type, struct bm_error *err)
{
    struct bm_buffer names;
    bm_buffer_init(&names);
    for (unsigned i = 0; i < bm_registry_nsources(registry); i++)
        bm_buffer_print(&names, "%s%s", i == 0 ? "" : ", ",
                        bm_registry_source_at(registry, i)->name);
    enum bm_status status =
        bm_fail(err, BM_NOT_FOUND, where, "expected one of the source types (%s), got \"%.128s\"",
                bm_buffer_text(&names), type);
    bm_buffer_fini(&names);
    return status;
}

// ---- Sources over others ----

static void parts_free(struct bm_source_ref **parts, unsigned nparts)
{
    for (unsigned i = 0; parts != NULL && i < nparts; i++)
        bm_source_unref(parts[i]);
    free(parts);
}

static enum bm_status source_open_over(const struct bm_source_type *type, const void *config,
                                       const struct bm_source_finder *finder, const char *where,
                                       struct bm_source **ret_source, struct bm_error *err)
{
    char *const *names;
    unsigned n, found = 0;
    type->over(config, &names, &n);
    if (finder == NULL)
        return bm_fail(err, BM_FAILED_PRECONDITION, where,
                       "%s is made of other sources, and there are none here", type->name);
    if (n == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected at least one source, got none");
    struct bm_source_ref **parts = calloc(n, sizeof(struct bm_source_ref *));
    if (parts == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status = BM_OK;
    for (; found < n && status == BM_OK; found += status == BM_OK)
        status = finder->find(finder->context, names[found], where, &parts[found], err);
    if (status == BM_OK)
        status = type->open_over(config, parts, n, where, ret_source, err);
    parts_free(parts, found);
    return status;
}

static enum bm_status source_open(const struct bm_source_type *type, const struct bm_value *params,
                                  const char *where, const char *directory,
                                  const struct bm_source_finder *finder,
                                  struct bm_source **ret_source, struct bm_error *err)
{
    void *config = calloc(1, type->config_bytes + 1);
    if (config == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status =
        bm_params_parse(type->params, type->nparams, params, where, config, err);
    if (status == BM_OK) {
        if (type->open_over != NULL)
            status = source_open_over(type, config, finder, where, ret_source, err);
        else if (type->open_type != NULL)
            status = type->open_type(type, config, directory, where, ret_source, err);
        else
            status = type->open(config, directory, where, ret_source, err);
        if (status != BM_OK && err != NULL && err->where[0] == '\0')
            snprintf(err->where, sizeof err->where, "%s", where);
        bm_params_free(type->params, type->nparams, config);
    }
    free(config);
    return status;
}

// ---- The shared source ----

enum bm_status bm_source_open(const struct bm_registry *registry, const char *name,
                              const struct bm_value *definition, const char *directory,
                              struct bm_source_ref **ret_source, struct bm_error *err)
{
    return bm_source_open_among(registry, name, definition, directory, NULL, ret_source, err);
}

enum bm_status bm_source_open_among(const struct bm_registry *registry, const char *name,
                                    const struct bm_value *definition, const char *directory,
                                    const struct bm_source_finder *finder,
                                    struct bm_source_ref **ret_source, struct bm_error *err)
{
    const char *type_name = NULL;
    const struct bm_value *params = NULL;
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, definition->where,
                       "expected a name of " BM_NAME_RULE ", got \"%.128s\"", name);
    enum bm_status status = source_definition(definition, &type_name, &params, err);
    if (status != BM_OK)
        return status;
    const char *where = params == NULL ? definition->where : params->where;
    const struct bm_source_type *type = bm_registry_source(registry, type_name);
    if (type == NULL)
        return source_unknown_type(registry, where, type_name, err);
    struct bm_source_ref *source = calloc(1, sizeof *source);
    if (source == NULL || (source->name = strdup(name)) == NULL) {
        free(source);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    }
    status = source_open(type, params, where, directory, finder, &source->source, err);
    if (status != BM_OK) {
        free(source->name);
        free(source);
        return status;
    }
    BM_ASSERT(source->source != NULL && source->source->type == type);
    atomic_init(&source->refs, 1);
    *ret_source = source;
    return BM_OK;
}

struct bm_source_ref *bm_source_ref(struct bm_source_ref *source)
{
    atomic_fetch_add_explicit(&source->refs, 1, memory_order_relaxed);
    return source;
}

struct bm_source_ref *bm_source_unref(struct bm_source_ref *source)
{
    if (source != NULL && atomic_fetch_sub_explicit(&source->refs, 1, memory_order_acq_rel) == 1) {
        source->source->type->close(source->source);
        free(source->name);
        free(source);
    }
    return NULL;
}

const struct bm_source *bm_source_get(const struct bm_source_ref *source)
{
    return source->source;
}

const char *bm_source_name(const struct bm_source_ref *source)
{
    return source->name;
}
