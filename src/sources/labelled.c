#include "sources/labelled.h"

#include <stdlib.h>
#include <string.h>

#include "sources/identity.h"

// ---- Opening ----

enum bm_status bm_labelled_new(const struct bm_source_type *type, const char *directory,
                               const char *path, const char *where, struct bm_labelled **ret_source,
                               struct bm_error *err)
{
    struct bm_labelled *source = calloc(1, sizeof *source);
    if (source == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    source->base.type = type;
    bm_schema_init(&source->base.schema);
    enum bm_status status = bm_files_open(&source->files, directory, path, where, err);
    if (status != BM_OK) {
        bm_labelled_close(&source->base);
        return status;
    }
    *ret_source = source;
    return BM_OK;
}

enum bm_status bm_labelled_sort(struct bm_labelled *source, struct bm_vocabulary *vocabulary,
                                struct bm_error *err)
{
    uint64_t *sorted = malloc((bm_vocabulary_count(vocabulary) + 1) * sizeof sorted[0]);
    if (sorted == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for labels");
    enum bm_status status = bm_vocabulary_sort(vocabulary, sorted, err);
    for (uint64_t i = 0; i < source->files.n && status == BM_OK; i++)
        source->labels[i] = (int64_t)sorted[source->labels[i]];
    free(sorted);
    return status;
}

static enum bm_status schema_append(struct bm_labelled *source, const char *name,
                                    enum bm_dtype dtype, struct bm_vocabulary *vocabulary,
                                    struct bm_error *err)
{
    struct bm_component component = {
        .dtype = dtype, .ragged = bm_dtype_is_text(dtype), .vocabulary = vocabulary};
    memcpy(component.name, name, strlen(name) + 1);
    return bm_schema_add(&source->base.schema, &component, err);
}

static enum bm_status labelled_identify(struct bm_labelled *source, bool whole_files,
                                        struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    bm_identity_add_source(hash, &source->base);
    enum bm_status status = bm_files_identify(&source->files, whole_files, hash, err);
    if (source->labels != NULL)
        bm_hash_add(hash, source->labels, source->files.n * sizeof source->labels[0]);
    source->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return status;
}

enum bm_status bm_labelled_finish(struct bm_labelled *source, const char *component,
                                  struct bm_vocabulary *vocabulary, int identity,
                                  struct bm_error *err)
{
    bool labels = source->labels != NULL;
    source->base.nitems = source->files.n;
    source->label = labels ? 1 : -1;
    source->name = labels ? 2 : 1;
    enum bm_status status = schema_append(source, component, BM_BYTES, NULL, err);
    if (status == BM_OK && labels)
        status = schema_append(source, "label", BM_INT64, vocabulary, err);
    if (status == BM_OK)
        status = schema_append(source, "name", BM_STRING, NULL, err);
    return status == BM_OK ? labelled_identify(source, identity == BM_LABELLED_CONTENTS, err)
                           : status;
}

void bm_labelled_close(struct bm_source *base)
{
    struct bm_labelled *source = (struct bm_labelled *)base;
    bm_files_close(&source->files);
    bm_schema_fini(&base->schema);
    free(source->labels);
    free(source);
}

// ---- Reading ----

enum bm_status bm_labelled_read(const struct bm_source *base, struct bm_batch *batch,
                                int64_t *ret_row, struct bm_error *err)
{
    const struct bm_labelled *source = (const struct bm_labelled *)base;
    for (uint64_t row = 0; row < batch->nitems && source->label >= 0; row++)
        memcpy(batch->tensors[source->label].data + row * sizeof(int64_t),
               &source->labels[batch->items[row]], sizeof(int64_t));
    enum bm_status status = bm_files_read_names(&source->files, batch, (unsigned)source->name, err);
    return status == BM_OK ? bm_files_read(&source->files, batch, 0, ret_row, err) : status;
}

enum bm_status bm_labelled_numbers(const struct bm_source *base, unsigned c, double *ret_numbers,
                                   struct bm_error *err)
{
    (void)err;
    const struct bm_labelled *source = (const struct bm_labelled *)base;
    for (uint64_t i = 0; i < base->nitems; i++) {
        if ((int)c == source->label)
            ret_numbers[i] = (double)source->labels[i];
        else if ((int)c == source->name)
            ret_numbers[i] = (double)strlen(bm_files_name(&source->files, i));
        else
            ret_numbers[i] = (double)source->files.entries[i].size_bytes;
    }
    return BM_OK;
}
