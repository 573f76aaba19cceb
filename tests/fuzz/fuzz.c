#include "fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "actions/actions.h"
#include "server/config.h"
#include "sources/sources.h"

uint64_t fuzz_take(struct fuzz_bytes *bytes, unsigned nbytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < nbytes && bytes->at < bytes->end; i++)
        value |= (uint64_t)*bytes->at++ << (8 * i);
    return value;
}

// ---- Files ----

void fuzz_file_open(struct fuzz_file *file, const void *data, size_t size)
{
    file->fd = memfd_create("fuzz", MFD_CLOEXEC);
    BM_ASSERT(file->fd >= 0);
    snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
    for (size_t done = 0; done < size;) {
        ssize_t n = write(file->fd, (const char *)data + done, size - done);
        BM_ASSERT(n > 0);
        done += (size_t)n;
    }
}

void fuzz_file_close(struct fuzz_file *file)
{
    close(file->fd);
    file->fd = -1;
}

bool fuzz_is_zstd(const uint8_t *data, size_t size)
{
    return size >= 4 && memcmp(data, "\x28\xb5\x2f\xfd", 4) == 0;
}

// ---- Sources ----

struct bm_registry *fuzz_registry(void)
{
    static struct bm_registry *registry;
    if (registry == NULL) {
        BM_ASSERT(bm_registry_new(&registry, NULL) == BM_OK);
        BM_ASSERT(bm_sources_register(registry, NULL) == BM_OK);
        BM_ASSERT(bm_actions_register(registry, NULL) == BM_OK);
    }
    return registry;
}

void fuzz_refused(const struct bm_error *error)
{
    BM_ASSERT(error->status > BM_OK && error->status <= BM_UNAUTHENTICATED);
    BM_ASSERT(error->text[0] != '\0' && strlen(error->text) < sizeof error->text);
    BM_ASSERT(strlen(error->where) < sizeof error->where);
}

bool fuzz_source_open(const char *yaml, struct bm_source_ref **ret_source, struct bm_error *err)
{
    struct bm_value *definition = NULL;
    BM_ASSERT(bm_yaml_parse(yaml, strlen(yaml), "fuzz", &definition, err) == BM_OK);
    enum bm_status status =
        bm_source_open(fuzz_registry(), "fuzz", definition, ".", ret_source, err);
    bm_value_free(definition);
    if (status == BM_OK)
        return true;
    fuzz_refused(err);
    return false;
}

static void tensor_check(const struct bm_batch *batch, unsigned c)
{
    const struct bm_component *component = &batch->schema->components[c];
    const struct bm_tensor *tensor = &batch->tensors[c];
    uint64_t item_bytes = bm_component_item_bytes(component);
    uint64_t rows = batch->nitems;
    BM_ASSERT((tensor->offsets != NULL) == component->ragged);
    for (uint64_t i = 0; component->ragged && i < batch->nitems; i++)
        BM_ASSERT(tensor->offsets[i] <= tensor->offsets[i + 1]);
    if (component->ragged) {
        BM_ASSERT(tensor->offsets[0] == 0);
        rows = tensor->offsets[batch->nitems];
    }
    BM_ASSERT(tensor->size_bytes == rows * item_bytes);
    unsigned sum = 0; // a sanitizer sees each byte
    for (uint64_t i = 0; i < tensor->size_bytes; i++) {
        sum += tensor->data[i];
        BM_ASSERT(component->dtype != BM_BOOL || tensor->data[i] <= 1);
    }
    volatile unsigned seen = sum;
    (void)seen;
}

void fuzz_batch_check(const struct bm_batch *batch)
{
    for (unsigned c = 0; c < batch->schema->ncomponents; c++)
        tensor_check(batch, c);
}

bool fuzz_source_try(const struct bm_source *source, const uint64_t *items, uint64_t nitems,
                     struct fuzz_rows *rows)
{
    struct bm_error error;
    int64_t failed_row = -1;
    BM_ASSERT(nitems <= FUZZ_ITEMS_MAX);
    memcpy(rows->items, items, nitems * sizeof items[0]);
    memset(rows->epochs, 0, sizeof rows->epochs);
    BM_ASSERT(bm_batch_init(&rows->batch, &source->schema, rows->items, rows->epochs, nitems,
                            &error) == BM_OK);
    for (unsigned c = 0; c < source->schema.ncomponents; c++) {
        if (!source->schema.components[c].ragged)
            BM_ASSERT(bm_batch_alloc(&rows->batch, c, &error) == BM_OK);
    }
    if (source->type->read(source, &rows->batch, &failed_row, &error) == BM_OK) {
        fuzz_batch_check(&rows->batch);
        return true;
    }
    fuzz_refused(&error);
    BM_ASSERT(failed_row >= -1 && failed_row < (int64_t)nitems);
    bm_batch_fini(&rows->batch);
    return false;
}

void fuzz_source_read(const struct bm_source *source, const uint64_t *items, uint64_t nitems,
                      struct fuzz_rows *rows)
{
    // The file is there and as long as it was, so nothing is left that could fail.
    BM_ASSERT(fuzz_source_try(source, items, nitems, rows));
}
