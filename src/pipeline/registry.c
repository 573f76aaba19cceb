#include "pipeline/registry.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/cache.h"

// Both kinds of types are kept as pointers sorted by name; a type begins with its name.
struct table {
    unsigned n;
    const void **types;
};

struct kept {
    void *object;
    void (*release)(void *object);
    struct kept *next;
};

struct bm_registry {
    struct table actions, sources;
    struct kept *kept; // the last one first
    struct bm_caches *caches;
};

static const char *type_name(const void *type)
{
    return *(const char *const *)type;
}
_Static_assert(offsetof(struct bm_action_type, name) == 0 &&
                   offsetof(struct bm_source_type, name) == 0,
               "a type begins with its name");

enum bm_status bm_registry_new(struct bm_registry **ret_registry, struct bm_error *err)
{
    struct bm_registry *registry = calloc(1, sizeof *registry);
    if (registry != NULL)
        registry->caches = bm_caches_new();
    if (registry == NULL || registry->caches == NULL) {
        free(registry);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the registry");
    }
    *ret_registry = registry;
    return BM_OK;
}

void bm_registry_free(struct bm_registry *registry)
{
    if (registry == NULL)
        return;
    while (registry->kept != NULL) {
        struct kept *kept = registry->kept;
        registry->kept = kept->next;
        kept->release(kept->object);
        free(kept);
    }
    free(registry->actions.types);
    free(registry->sources.types);
    bm_caches_unref(registry->caches);
    free(registry);
}

enum bm_status bm_registry_keep(struct bm_registry *registry, void *kept,
                                void (*release)(void *kept), struct bm_error *err)
{
    struct kept *entry = malloc(sizeof *entry);
    if (entry == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the registry");
    *entry = (struct kept){.object = kept, .release = release, .next = registry->kept};
    registry->kept = entry;
    return BM_OK;
}

struct bm_caches *bm_registry_caches(const struct bm_registry *registry)
{
    return registry->caches;
}

static unsigned table_search(const struct table *table, const char *name)
{
    unsigned i = 0; // a few dozen, and only at start
    while (i < table->n && strcmp(type_name(table->types[i]), name) < 0)
        i++;
    return i;
}

static const void *table_find(const struct table *table, const char *name)
{
    unsigned i = table_search(table, name);
    return i < table->n && strcmp(type_name(table->types[i]), name) == 0 ? table->types[i] : NULL;
}

static enum bm_status table_add(struct table *table, const void *type, const char *kind,
                                struct bm_error *err)
{
    const char *name = type_name(type);
    if (!bm_name_valid(name))
        return bm_fail(err, BM_INVALID_ARGUMENT, kind,
                       "expected a name of " BM_NAME_RULE ", got \"%.40s\"", name);
    if (table_find(table, name) != NULL)
        return bm_fail(err, BM_ALREADY_EXISTS, name, "there is %s of this name already", kind);
    const void **grown = realloc(table->types, (table->n + 1) * sizeof(void *));
    if (grown == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, name, "out of memory for the registry");
    table->types = grown;
    unsigned at = table_search(table, name);
    memmove(&grown[at + 1], &grown[at], (table->n - at) * sizeof(void *));
    grown[at] = type;
    table->n++;
    return BM_OK;
}

enum bm_status bm_registry_add_action(struct bm_registry *registry,
                                      const struct bm_action_type *type, struct bm_error *err)
{
    if (strcmp(type->name, "use_lock") == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, type->name,
                       "expected another name for an action: this one gives it a lock");
    if (type->waits && type->form != BM_PER_BATCH)
        return bm_fail(err, BM_INVALID_ARGUMENT, type->name,
                       "expected the per-batch form of an action that waits");
    return table_add(&registry->actions, type, "an action", err);
}

enum bm_status bm_registry_add_source(struct bm_registry *registry,
                                      const struct bm_source_type *type, struct bm_error *err)
{
    return table_add(&registry->sources, type, "a source", err);
}

const struct bm_action_type *bm_registry_action(const struct bm_registry *registry,
                                                const char *name)
{
    return table_find(&registry->actions, name);
}

const struct bm_source_type *bm_registry_source(const struct bm_registry *registry,
                                                const char *name)
{
    return table_find(&registry->sources, name);
}

unsigned bm_registry_nactions(const struct bm_registry *registry)
{
    return registry->actions.n;
}

const struct bm_action_type *bm_registry_action_at(const struct bm_registry *registry, unsigned i)
{
    BM_ASSERT(i < registry->actions.n);
    return registry->actions.types[i];
}

unsigned bm_registry_nsources(const struct bm_registry *registry)
{
    return registry->sources.n;
}

const struct bm_source_type *bm_registry_source_at(const struct bm_registry *registry, unsigned i)
{
    BM_ASSERT(i < registry->sources.n);
    return registry->sources.types[i];
}

// ---- Documentation ----

enum { DOC_COLUMNS = 80 };

// The sentences of a type, indented by two and broken at 80 columns.
static void print_doc(const char *doc, struct bm_buffer *out)
{
    size_t column = 0;
    while (*doc != '\0') {
        size_t word = strcspn(doc, " ");
        if (column == 0 || column + 1 + word > DOC_COLUMNS) {
            bm_buffer_add_text(out, column == 0 ? "  " : "\n  ");
            column = 2 + word;
        } else {
            bm_buffer_add_text(out, " ");
            column += 1 + word;
        }
        bm_buffer_add(out, doc, word);
        doc += word + strspn(doc + word, " ");
    }
    bm_buffer_add_text(out, "\n");
}

void bm_registry_print_actions(const struct bm_registry *registry, struct bm_buffer *out)
{
    for (unsigned i = 0; i < registry->actions.n; i++) {
        const struct bm_action_type *type = registry->actions.types[i];
        bm_buffer_print(out, "%s%s (per %s%s%s%s)\n", i == 0 ? "" : "\n", type->name,
                        type->form == BM_PER_ITEM ? "item" : "batch",
                        type->random ? ", random" : "", type->stateful ? ", stateful" : "",
                        type->waits ? ", waits without a worker" : "");
        print_doc(type->doc, out);
        bm_params_print(type->params, type->nparams, out);
    }
}

void bm_registry_print_sources(const struct bm_registry *registry, struct bm_buffer *out)
{
    for (unsigned i = 0; i < registry->sources.n; i++) {
        const struct bm_source_type *type = registry->sources.types[i];
        bm_buffer_print(out, "%s%s\n", i == 0 ? "" : "\n", type->name);
        print_doc(type->doc, out);
        bm_params_print(type->params, type->nparams, out);
    }
}
