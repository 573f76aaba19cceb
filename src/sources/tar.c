// tar.c -- samples in tar shards, as WebDataset packs them: files with the same name up to the
// first dot are one item, and what stands behind it says which component.
// (https://github.com/webdataset/webdataset)
//
// The shards are indexed once, by a pass over their heads, so any item is read from where it lies.
// A shard in gzip or zstd is unpacked into memory at the start: nothing in it could be found
// otherwise.
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/size.h"
#include "base/utf8.h"
#include "sources/identity.h"
#include "sources/tar_index.h"
#include "sources/types.h"

enum { COMPONENTS_MAX = 32 };

struct tar_config {
    struct bm_texts paths;
    struct bm_text_map components;
};

static const struct bm_param tar_params[] = {
    BM_PARAM(struct tar_config, paths, BM_PARAM_TEXTS, .required = true,
             .doc = "the shards in order: one path or a list; also in gzip or zstd, unpacked then "
                    "into memory"),
    BM_PARAM(struct tar_config, components, BM_PARAM_TEXT_MAP,
             .doc = "name: how its files' names end, as {image: 'jpg,jpeg,png', label: cls}, which "
                    "is the default. cls is a whole number in decimal (int64), txt is text, all "
                    "else bytes. Every item has each of them once"),
};

enum { TAR_NPARAMS = sizeof tar_params / sizeof tar_params[0] };

struct column {
    char *name;
    char *endings; // "jpg,jpeg,png"
    enum bm_dtype dtype;
};

struct place { // of one component of one item
    uint64_t offset, size;
    uint32_t shard;
};

struct shard {
    struct bm_file file;
    struct bm_content content; // unpacked, or all zero
};

struct tar {
    struct bm_source base;
    unsigned ncolumns, nshards;
    struct column *columns;
    struct shard *shards;
    struct bm_buffer places; // struct place [nitems * ncolumns]
    struct bm_buffer keys;   // each with its NUL
    struct bm_buffer starts; // uint64_t [nitems]: of the key of each item
};

static struct bm_tar_bytes shard_bytes(const struct shard *shard)
{
    return (struct bm_tar_bytes){.file = &shard->file,
                                 .content = shard->content.data == NULL ? NULL : &shard->content};
}

static const struct place *tar_place(const struct tar *tar, uint64_t item, unsigned column)
{
    return (const struct place *)(const void *)tar->places.data + item * tar->ncolumns + column;
}

static const char *tar_key(const struct tar *tar, uint64_t item)
{
    return (const char *)tar->keys.data + ((const uint64_t *)(const void *)tar->starts.data)[item];
}

// ---- Columns ----

// Whether `ending` is one of "jpg,jpeg,png", in either case.
static bool ending_fits(const char *endings, const char *ending)
{
    size_t length = strlen(ending);
    for (const char *at = endings; *at != '\0';) {
        size_t n = strcspn(at, ",");
        if (n == length && strncasecmp(at, ending, n) == 0)
            return true;
        at += n + (at[n] == ',');
    }
    return false;
}

static enum bm_dtype ending_dtype(const char *endings)
{
    const char *last = strrchr(endings, '.'); // "label.cls" ends in cls, too
    last = last == NULL ? endings : last + 1;
    return strcmp(last, "cls") == 0 ? BM_INT64 : strcmp(last, "txt") == 0 ? BM_STRING : BM_BYTES;
}

static enum bm_status column_init(struct tar *tar, const char *name, const char *endings,
                                  const char *where, struct bm_error *err)
{
    struct column *column = &tar->columns[tar->ncolumns];
    struct bm_component component = {.dtype = ending_dtype(endings)};
    component.ragged = bm_dtype_is_text(component.dtype);
    if (strlen(name) > BM_NAME_MAX || endings[0] == '\0')
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected name: ending, as image: jpg, got \"%.40s\": \"%.40s\"", name,
                       endings);
    memcpy(component.name, name, strlen(name) + 1);
    column->name = strdup(name);
    column->endings = strdup(endings);
    column->dtype = component.dtype;
    tar->ncolumns++;
    if (column->name == NULL || column->endings == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    return bm_schema_add(&tar->base.schema, &component, err);
}

static enum bm_status tar_make_columns(struct tar *tar, const struct tar_config *config,
                                       const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    where = bm_params_where(where, "components", text);
    unsigned n = config->components.n == 0 ? 2 : config->components.n;
    if (n > COMPONENTS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected at most %d, got %u",
                       COMPONENTS_MAX, n);
    tar->columns = calloc(n, sizeof tar->columns[0]);
    if (tar->columns == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < config->components.n && status == BM_OK; i++)
        status =
            column_init(tar, config->components.keys[i], config->components.values[i], where, err);
    if (config->components.n == 0) {
        status = column_init(tar, "image", "jpg,jpeg,png", where, err);
        if (status == BM_OK)
            status = column_init(tar, "label", "cls", where, err);
    }
    const struct bm_component key = {"key", BM_STRING, true, 0, {0}, NULL};
    return status == BM_OK ? bm_schema_add(&tar->base.schema, &key, err) : status;
}

// ---- The index ----

struct indexing {
    struct tar *tar;
    uint32_t shard;
    char key[BM_TAR_NAME_MAX + 1]; // of the item that is being put together; "": none
    bool begun;
    unsigned nseen;
    bool seen[COMPONENTS_MAX];
    struct place places[COMPONENTS_MAX];
};

static enum bm_status index_fail(const struct indexing *indexing, const char *what,
                                 const char *detail, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    return bm_fail(err, BM_INVALID_ARGUMENT,
                   bm_file_where(indexing->tar->shards[indexing->shard].file.name, text, "%.80s",
                                 indexing->key),
                   "%s%s", what, detail);
}

// The item is complete, unless it has none of the components: then it is another's.
static enum bm_status index_end_item(struct indexing *indexing, struct bm_error *err)
{
    struct tar *tar = indexing->tar;
    if (!indexing->begun || indexing->nseen == 0) {
        indexing->begun = false;
        return BM_OK;
    }
    for (unsigned c = 0; c < tar->ncolumns; c++) {
        if (!indexing->seen[c])
            return index_fail(indexing, "expected a file for each component, but there is none of ",
                              tar->columns[c].endings, err);
    }
    if (!bm_utf8_valid(indexing->key, strlen(indexing->key)))
        return index_fail(indexing, "expected names in UTF-8", "", err);
    uint64_t start = tar->keys.size;
    bm_buffer_add(&tar->keys, indexing->key, strlen(indexing->key) + 1);
    bm_buffer_add(&tar->starts, &start, sizeof start);
    bm_buffer_add(&tar->places, indexing->places, tar->ncolumns * sizeof(struct place));
    if (bm_buffer_failed(&tar->keys) || bm_buffer_failed(&tar->starts) ||
        bm_buffer_failed(&tar->places))
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, tar->shards[indexing->shard].file.name,
                       "out of memory for the index of the tar");
    tar->base.nitems++;
    indexing->begun = false;
    return BM_OK;
}

static enum bm_status index_member(void *context, const struct bm_tar_member *member,
                                   struct bm_error *err)
{
    struct indexing *indexing = context;
    struct tar *tar = indexing->tar;
    const char *slash = strrchr(member->name, '/');
    const char *dot = strchr(slash == NULL ? member->name : slash, '.');
    if (dot == NULL) // no ending: no component
        return BM_OK;
    size_t length = (size_t)(dot - member->name);
    if (!indexing->begun || strlen(indexing->key) != length ||
        memcmp(indexing->key, member->name, length) != 0) {
        enum bm_status status = index_end_item(indexing, err);
        if (status != BM_OK)
            return status;
        memcpy(indexing->key, member->name, length);
        indexing->key[length] = '\0';
        indexing->begun = true;
        indexing->nseen = 0;
        memset(indexing->seen, 0, sizeof indexing->seen);
    }
    for (unsigned c = 0; c < tar->ncolumns; c++) {
        if (!ending_fits(tar->columns[c].endings, dot + 1))
            continue;
        if (indexing->seen[c])
            return index_fail(indexing, "expected one file for each component, got two of ",
                              tar->columns[c].name, err);
        indexing->seen[c] = true;
        indexing->nseen++;
        indexing->places[c] = (struct place){member->offset, member->size, indexing->shard};
    }
    return BM_OK;
}

static enum bm_status shard_open(struct shard *shard, const char *directory, const char *path,
                                 const char *where, struct bm_error *err)
{
    bool packed = false;
    enum bm_status status = bm_file_open(&shard->file, directory, path, where, err);
    if (status == BM_OK)
        status = bm_file_is_packed(&shard->file, &packed, err);
    if (status == BM_OK && packed)
        status = bm_file_load(&shard->file, &shard->content, err);
    return status;
}

static enum bm_status tar_index(struct tar *tar, const struct tar_config *config,
                                const char *directory, const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    where = bm_params_where(where, "paths", text);
    tar->shards = calloc(config->paths.n + 1u, sizeof tar->shards[0]);
    struct indexing *indexing = calloc(1, sizeof *indexing);
    if (tar->shards == NULL || indexing == NULL) {
        free(indexing);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    }
    indexing->tar = tar;
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < config->paths.n && status == BM_OK; i++) {
        struct shard *shard = &tar->shards[tar->nshards++];
        shard->file.fd = -1;
        status = shard_open(shard, directory, config->paths.values[i], where, err);
        indexing->shard = i;
        const struct bm_tar_bytes bytes = shard_bytes(shard);
        if (status == BM_OK)
            status = bm_tar_scan(&bytes, index_member, indexing, err);
        if (status == BM_OK)
            status = index_end_item(indexing, err);
    }
    free(indexing);
    return status;
}

static enum bm_status tar_identify(struct tar *tar, struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    bm_identity_add_source(hash, &tar->base);
    for (unsigned c = 0; c < tar->ncolumns; c++)
        bm_hash_add_text(hash, tar->columns[c].name);
    for (uint64_t item = 0; item < tar->base.nitems; item++) {
        bm_hash_add_text(hash, tar_key(tar, item));
        for (unsigned c = 0; c < tar->ncolumns; c++)
            bm_hash_add_u64(hash, tar_place(tar, item, c)->size);
    }
    tar->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return BM_OK;
}

// ---- Opening ----

static void tar_close(struct bm_source *source)
{
    struct tar *tar = (struct tar *)source;
    for (unsigned i = 0; i < tar->ncolumns; i++) {
        free(tar->columns[i].name);
        free(tar->columns[i].endings);
    }
    for (unsigned i = 0; i < tar->nshards; i++) {
        bm_file_close(&tar->shards[i].file);
        bm_content_free(&tar->shards[i].content);
    }
    free(tar->columns);
    free(tar->shards);
    bm_buffer_fini(&tar->places);
    bm_buffer_fini(&tar->keys);
    bm_buffer_fini(&tar->starts);
    bm_schema_fini(&source->schema);
    free(tar);
}

static enum bm_status tar_open(const void *config, const char *directory, const char *where,
                               struct bm_source **ret_source, struct bm_error *err)
{
    struct tar *tar = calloc(1, sizeof *tar);
    if (tar == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    tar->base.type = &bm_tar_source;
    bm_schema_init(&tar->base.schema);
    bm_buffer_init(&tar->places);
    bm_buffer_init(&tar->keys);
    bm_buffer_init(&tar->starts);
    enum bm_status status = tar_make_columns(tar, config, where, err);
    if (status == BM_OK)
        status = tar_index(tar, config, directory, where, err);
    if (status == BM_OK)
        status = tar_identify(tar, err);
    if (status != BM_OK) {
        tar_close(&tar->base);
        return status;
    }
    *ret_source = &tar->base;
    return BM_OK;
}

// ---- Reading ----

static enum bm_status place_read(const struct tar *tar, const struct place *place, void *to,
                                 struct bm_error *err)
{
    const struct bm_tar_bytes bytes = shard_bytes(&tar->shards[place->shard]);
    return bm_tar_read(&bytes, place->offset, to, place->size, err);
}

// A whole number in decimal, perhaps with white space around it.
static enum bm_status label_read(const struct tar *tar, uint64_t item, unsigned column,
                                 int64_t *ret_label, struct bm_error *err)
{
    const struct place *place = tar_place(tar, item, column);
    char text[32] = "", *end = text;
    if (place->size < sizeof text) {
        enum bm_status status = place_read(tar, place, text, err);
        if (status != BM_OK)
            return status;
        *ret_label = strtoll(text, &end, 10);
    }
    bool any = end != text;
    while (isspace((unsigned char)*end))
        end++;
    return any && *end == '\0' ? BM_OK
                               : bm_fail(err, BM_INVALID_ARGUMENT, tar_key(tar, item),
                                         "expected a whole number in its %s, got \"%.20s\"",
                                         tar->columns[column].endings, text);
}

static enum bm_status batch_lay_out(const struct tar *tar, struct bm_batch *batch, unsigned c,
                                    struct bm_error *err)
{
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    uint64_t *offsets = bm_block_data(block);
    enum bm_status status = BM_OK;
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
        uint64_t item = batch->items[row];
        uint64_t size =
            c < tar->ncolumns ? tar_place(tar, item, c)->size : strlen(tar_key(tar, item));
        if (!bm_size_add(offsets[row], size, &offsets[row + 1]))
            status = bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
    }
    if (status == BM_OK)
        status = bm_batch_alloc_ragged(batch, c, block, err);
    bm_block_unref(block);
    return status;
}

static enum bm_status column_read(const struct tar *tar, struct bm_batch *batch, unsigned c,
                                  int64_t *ret_row, struct bm_error *err)
{
    enum bm_status status = BM_OK;
    if (c == tar->ncolumns || tar->columns[c].dtype != BM_INT64)
        status = batch_lay_out(tar, batch, c, err);
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
        uint64_t item = batch->items[row], n;
        unsigned char *to = bm_batch_rows(batch, c, row, 1, &n);
        int64_t label = 0;
        if (c == tar->ncolumns) {
            memcpy(to, tar_key(tar, item), n);
        } else if (tar->columns[c].dtype == BM_INT64) {
            status = label_read(tar, item, c, &label, err);
            memcpy(to, &label, sizeof label);
        } else if (n > 0) {
            status = place_read(tar, tar_place(tar, item, c), to, err);
            if (status == BM_OK && tar->columns[c].dtype == BM_STRING && !bm_utf8_valid(to, n))
                status = bm_fail(err, BM_INVALID_ARGUMENT, tar_key(tar, item),
                                 "expected UTF-8 in its %s", tar->columns[c].endings);
        }
        if (status != BM_OK)
            *ret_row = (int64_t)row;
    }
    return status;
}

static enum bm_status tar_read(const struct bm_source *source, struct bm_batch *batch,
                               int64_t *ret_row, struct bm_error *err)
{
    const struct tar *tar = (const struct tar *)source;
    enum bm_status status = BM_OK;
    for (unsigned c = 0; c <= tar->ncolumns && status == BM_OK; c++) // the last one is the key
        status = column_read(tar, batch, c, ret_row, err);
    return status;
}

const struct bm_source_type bm_tar_source = {
    .name = "tar",
    .doc =
        "Tar shards as WebDataset packs them: files that are called the same up to the first dot "
        "are one item; component `key` is that name. Any item is read from where it lies.",
    .params = tar_params,
    .nparams = TAR_NPARAMS,
    .config_bytes = sizeof(struct tar_config),
    .open = tar_open,
    .close = tar_close,
    .read = tar_read,
};
