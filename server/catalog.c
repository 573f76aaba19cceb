#include "server/catalog.h"

#include <stdlib.h>
#include <string.h>

struct bm_catalog {
    unsigned n;
    struct bm_pipeline **pipelines; // sorted by name
};

enum bm_status bm_catalog_new(struct bm_catalog **ret_catalog, struct bm_error *err)
{
    struct bm_catalog *catalog = calloc(1, sizeof *catalog);
    if (catalog == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the catalog");
    *ret_catalog = catalog;
    return BM_OK;
}

void bm_catalog_free(struct bm_catalog *catalog)
{
    if (catalog == NULL)
        return;
    for (unsigned i = 0; i < catalog->n; i++)
        bm_pipeline_unref(catalog->pipelines[i]);
    free(catalog->pipelines);
    free(catalog);
}

// Index of the first pipeline whose name is not before `name`.
static unsigned catalog_search(const struct bm_catalog *catalog, const char *name)
{
    unsigned low = 0, high = catalog->n;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (strcmp(bm_pipeline_name(catalog->pipelines[middle]), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool catalog_has(const struct bm_catalog *catalog, unsigned i, const char *name)
{
    return i < catalog->n && strcmp(bm_pipeline_name(catalog->pipelines[i]), name) == 0;
}

enum bm_status bm_catalog_add(struct bm_catalog *catalog, struct bm_pipeline *pipeline,
                              struct bm_error *err)
{
    const char *name = bm_pipeline_name(pipeline);
    unsigned at = catalog_search(catalog, name);
    if (catalog_has(catalog, at, name))
        return bm_fail(err, BM_ALREADY_EXISTS, name, "there is a pipeline of this name already");
    struct bm_pipeline **grown =
        realloc(catalog->pipelines, (catalog->n + 1) * sizeof(struct bm_pipeline *));
    if (grown == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, name, "out of memory for the catalog");
    catalog->pipelines = grown;
    memmove(&grown[at + 1], &grown[at], (catalog->n - at) * sizeof(struct bm_pipeline *));
    grown[at] = pipeline;
    catalog->n++;
    return BM_OK;
}

void bm_catalog_remove(struct bm_catalog *catalog, const char *name)
{
    unsigned at = catalog_search(catalog, name);
    BM_ASSERT(catalog_has(catalog, at, name));
    bm_pipeline_unref(catalog->pipelines[at]);
    catalog->n--;
    memmove(&catalog->pipelines[at], &catalog->pipelines[at + 1],
            (catalog->n - at) * sizeof(struct bm_pipeline *));
}

enum bm_status bm_catalog_find(const struct bm_catalog *catalog, const char *name,
                               struct bm_pipeline **ret_pipeline, struct bm_error *err)
{
    unsigned at = catalog_search(catalog, name);
    if (catalog_has(catalog, at, name)) {
        *ret_pipeline = catalog->pipelines[at];
        return BM_OK;
    }
    struct bm_buffer names;
    bm_buffer_init(&names);
    for (unsigned i = 0; i < catalog->n; i++)
        bm_buffer_print(&names, "%s%s", i == 0 ? "" : ", ",
                        bm_pipeline_name(catalog->pipelines[i]));
    bm_fail(err, BM_NOT_FOUND, NULL, "there is no pipeline \"%s\"; there are: %s", name,
            catalog->n == 0 ? "none" : bm_buffer_text(&names));
    bm_buffer_fini(&names);
    return BM_NOT_FOUND;
}

unsigned bm_catalog_count(const struct bm_catalog *catalog)
{
    return catalog->n;
}

struct bm_pipeline *bm_catalog_at(const struct bm_catalog *catalog, unsigned i)
{
    return catalog->pipelines[i];
}
