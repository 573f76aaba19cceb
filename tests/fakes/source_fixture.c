#include "fakes/source_fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fakes/heap.h"
#include "server/config.h"
#include "sources/sources.h"
#include "support.h"

void source_fixture_init(struct source_fixture *fixture)
{
    *fixture = (struct source_fixture){.directory = "/tmp/batchmill-sources-XXXXXX"};
    assert_non_null(mkdtemp(fixture->directory));
    assert_int_equal(bm_registry_new(&fixture->registry, &fixture->error), BM_OK);
    assert_int_equal(bm_sources_register(fixture->registry, &fixture->error), BM_OK);
}

static void fixture_close(struct source_fixture *fixture)
{
    bm_batch_fini(&fixture->batch);
    fixture->batch = (struct bm_batch){0};
    free(fixture->items);
    fixture->items = NULL;
    fixture->ref = bm_source_unref(fixture->ref);
    fixture->source = NULL;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    (void)info, (void)kind, (void)ftw;
    return remove(path);
}

void source_fixture_fini(struct source_fixture *fixture)
{
    fixture_close(fixture);
    bm_registry_free(fixture->registry);
    nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *source_fixture_path(const struct source_fixture *fixture, const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", fixture->directory, name);
    return path;
}

void source_fixture_write(struct source_fixture *fixture, const char *name, const void *data,
                          size_t size)
{
    FILE *file = fopen(source_fixture_path(fixture, name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

enum bm_status source_fixture_open_in(struct source_fixture *fixture, const char *directory,
                                      const char *yaml)
{
    struct bm_value *definition = NULL;
    fixture_close(fixture);
    assert_int_equal(bm_yaml_parse(yaml, strlen(yaml), "t.yaml", &definition, &fixture->error),
                     BM_OK);
    enum bm_status status = bm_source_open(fixture->registry, "t", definition, directory,
                                           &fixture->ref, &fixture->error);
    bm_value_free(definition);
    if (status == BM_OK)
        fixture->source = bm_source_get(fixture->ref);
    return status;
}

enum bm_status source_fixture_open(struct source_fixture *fixture, const char *yaml)
{
    return source_fixture_open_in(fixture, fixture->directory, yaml);
}

void source_fixture_starves(struct source_fixture *fixture, const char *yaml)
{
    struct bm_value *definition = NULL;
    fixture_close(fixture);
    assert_int_equal(bm_yaml_parse(yaml, strlen(yaml), "t.yaml", &definition, NULL), BM_OK);
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        bm_fake_heap_fail_at(n);
        enum bm_status status = bm_source_open(fixture->registry, "t", definition,
                                               fixture->directory, &fixture->ref, &fixture->error);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        assert_in_range(n, 1, 10000);
    }
    bm_value_free(definition);
    fixture->source = bm_source_get(fixture->ref);
}

enum bm_status source_fixture_read(struct source_fixture *fixture, const uint64_t *items,
                                   uint64_t nitems)
{
    static const uint64_t epochs[1 << 16];
    const struct bm_source *source = fixture->source;
    assert_true(nitems <= 1 << 16);
    bm_batch_fini(&fixture->batch);
    free(fixture->items);
    fixture->items = calloc(nitems + 1, sizeof *fixture->items);
    assert_non_null(fixture->items);
    for (uint64_t i = 0; i < nitems; i++)
        fixture->items[i] = items[i];
    assert_int_equal(bm_batch_init(&fixture->batch, &source->schema, fixture->items, epochs, nitems,
                                   &fixture->error),
                     BM_OK);
    for (unsigned c = 0; c < source->schema.ncomponents; c++) {
        if (!source->schema.components[c].ragged)
            assert_int_equal(bm_batch_alloc(&fixture->batch, c, &fixture->error), BM_OK);
    }
    fixture->failed_row = -1;
    return source->type->read(source, &fixture->batch, &fixture->failed_row, &fixture->error);
}

enum bm_status source_fixture_read_all(struct source_fixture *fixture)
{
    uint64_t nitems = fixture->source->nitems;
    uint64_t *items = calloc(nitems + 1, sizeof *items);
    assert_non_null(items);
    for (uint64_t i = 0; i < nitems; i++)
        items[i] = i;
    enum bm_status status = source_fixture_read(fixture, items, nitems);
    free(items);
    return status;
}

const void *source_fixture_values(const struct source_fixture *fixture, const char *name)
{
    int c = bm_schema_find(&fixture->source->schema, name);
    assert_true(c >= 0);
    return fixture->batch.tensors[c].data;
}
