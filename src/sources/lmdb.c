// lmdb.c -- values of an LMDB database, as image data sets are kept in it: one an item, in the
// order of their keys, which are kept in memory.
//
// LMDB maps its file, so unlike all other formats here a file that somebody cuts or damages may
// kill the process: the file must be trusted. Reading takes no locks, so nobody may write it
// meanwhile.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <lmdb.h>

#include "sources/file.h"
#include "sources/identity.h"
#include "sources/types.h"

struct lmdb_config {
    char *path, *database, *component, *key, *id;
};

static const struct bm_param lmdb_params[] = {
    BM_PARAM(struct lmdb_config, path, BM_PARAM_TEXT, .required = true,
             .doc = "the environment: its folder, or its file where it has none; nobody may write "
                    "it meanwhile, and it must be trusted, as LMDB does not check it"),
    BM_PARAM(struct lmdb_config, database, BM_PARAM_TEXT,
             .doc = "a named database in it; default: the main one"),
    BM_PARAM(struct lmdb_config, component, BM_PARAM_NAME, .fallback = "data",
             .doc = "name of the component with the values (bytes)"),
    BM_PARAM(struct lmdb_config, key, BM_PARAM_NAME,
             .doc = "name of a component with the keys (bytes); default none"),
    BM_PARAM(struct lmdb_config, id, BM_PARAM_TEXT,
             .doc = "a text to change whenever the data change; without it the file is read "
                    "through at the start, to know equal data again"),
};

enum { LMDB_NPARAMS = sizeof lmdb_params / sizeof lmdb_params[0] };
#define DATA_FILE "data.mdb" // of an environment with a folder

struct lmdb_source {
    struct bm_source base;
    struct bm_data_file data; // for the identity and its name
    MDB_env *environment;
    MDB_dbi database;
    bool with_keys;
    struct bm_buffer keys; // one behind the other
    uint64_t key_bytes;    // of each key, or 0: they differ
    struct bm_buffer ends; // then uint64_t[nitems] where each key ends
};

static enum bm_status no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

static enum bm_status lmdb_fail(const struct lmdb_source *source, int code, struct bm_error *err)
{
    return bm_fail(err, code == ENOMEM ? BM_RESOURCE_EXHAUSTED : BM_DATA_LOSS,
                   source->data.file.name, "LMDB says: %s", mdb_strerror(code));
}

static void lmdb_close(struct bm_source *base)
{
    struct lmdb_source *source = (struct lmdb_source *)base;
    mdb_env_close(source->environment); // NULL is fine
    bm_data_file_close(&source->data);
    bm_buffer_fini(&source->keys);
    bm_buffer_fini(&source->ends);
    bm_schema_fini(&base->schema);
    free(source);
}

// ---- Opening ----

static MDB_val key_at(const struct lmdb_source *source, uint64_t item)
{
    uint64_t begin = item * source->key_bytes, end = begin + source->key_bytes;
    if (source->key_bytes == 0) {
        const uint64_t *ends = (const uint64_t *)(const void *)source->ends.data;
        begin = item == 0 ? 0 : ends[item - 1];
        end = ends[item];
    }
    return (MDB_val){end - begin, source->keys.data + begin};
}

static enum bm_status keys_take(struct lmdb_source *source, MDB_cursor *cursor,
                                struct bm_error *err)
{
    MDB_val key, value;
    bool equal = true;
    uint64_t first = 0;
    int code;
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        bm_buffer_add(&source->keys, key.mv_data, key.mv_size);
        uint64_t end = source->keys.size;
        bm_buffer_add(&source->ends, &end, sizeof end);
        first = source->base.nitems == 0 ? key.mv_size : first;
        equal = equal && key.mv_size == first;
        source->base.nitems++;
    }
    if (bm_buffer_failed(&source->keys) || bm_buffer_failed(&source->ends))
        return no_memory(source->data.file.name, err);
    if (code != MDB_NOTFOUND)
        return lmdb_fail(source, code, err);
    if (equal && first > 0) {
        source->key_bytes = first;
        bm_buffer_fini(&source->ends);
        bm_buffer_init(&source->ends);
    }
    return BM_OK;
}

static enum bm_status keys_read(struct lmdb_source *source, const struct lmdb_config *config,
                                const char *where, struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    MDB_txn *transaction;
    MDB_cursor *cursor;
    int code = mdb_txn_begin(source->environment, NULL, MDB_RDONLY, &transaction);
    if (code != 0)
        return lmdb_fail(source, code, err);
    enum bm_status status = BM_OK;
    code = mdb_dbi_open(transaction, config->database, 0, &source->database);
    unsigned flags = 0;
    if (code == 0)
        code = mdb_dbi_flags(transaction, source->database, &flags);
    if (code == MDB_NOTFOUND)
        status = bm_fail(err, BM_NOT_FOUND, bm_params_where(where, "database", text),
                         "there is no \"%.60s\" in %s", config->database, source->data.file.name);
    else if (code == 0 && (flags & MDB_DUPSORT) != 0)
        status = bm_fail(err, BM_INVALID_ARGUMENT, where,
                         "expected one value for each key, got a database with several (DUPSORT)");
    else if (code == 0 && (code = mdb_cursor_open(transaction, source->database, &cursor)) == 0) {
        status = keys_take(source, cursor, err);
        mdb_cursor_close(cursor);
    }
    if (code != 0 && status == BM_OK)
        status = lmdb_fail(source, code, err);
    // Committed, so that the handle of the database stays.
    code = status == BM_OK ? mdb_txn_commit(transaction) : (mdb_txn_abort(transaction), 0);
    return code == 0 ? status : lmdb_fail(source, code, err);
}

static enum bm_status environment_open(struct lmdb_source *source, const struct lmdb_config *config,
                                       const char *directory, const char *where,
                                       struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX], *name = NULL;
    struct stat info;
    char *path = bm_source_path(directory, config->path);
    if (path == NULL)
        return no_memory(where, err);
    bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    if (asprintf(&name, "%s%s", config->path, folder ? "/" DATA_FILE : "") < 0)
        name = NULL;
    enum bm_status status = name == NULL
                                ? no_memory(where, err)
                                : bm_data_file_open(&source->data, directory, name,
                                                    bm_params_where(where, "path", text), err);
    int code = status == BM_OK ? mdb_env_create(&source->environment) : 0;
    if (status == BM_OK && code == 0)
        code = mdb_env_set_maxdbs(source->environment, 1);
    if (status == BM_OK && code == 0)
        code = mdb_env_open(source->environment, path,
                            MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS | (folder ? 0 : MDB_NOSUBDIR), 0);
    if (status == BM_OK && code != 0)
        status = lmdb_fail(source, code, err);
    free(name);
    free(path);
    return status;
}

static enum bm_status hash_take(void *hash, const char *bytes, uint64_t size, struct bm_error *err)
{
    (void)err;
    bm_hash_add(hash, bytes, size);
    return BM_OK;
}

static enum bm_status lmdb_identify(struct lmdb_source *source, const struct lmdb_config *config,
                                    const char *where, struct bm_error *err)
{
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return no_memory(where, err);
    enum bm_status status = BM_OK;
    bm_identity_add_source(hash, &source->base);
    for (unsigned i = 0; i < source->base.schema.ncomponents; i++)
        bm_identity_add_component(hash, &source->base.schema.components[i]);
    bm_hash_add_text(hash, config->database == NULL ? "" : config->database);
    bm_hash_add_text(hash, config->id == NULL ? "" : config->id);
    if (config->id == NULL)
        status = bm_data_file_scan(&source->data, hash_take, hash, err);
    source->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return status;
}

static enum bm_status schema_append(struct lmdb_source *source, const char *name,
                                    struct bm_error *err)
{
    struct bm_component component = {.dtype = BM_BYTES, .ragged = true};
    memcpy(component.name, name, strlen(name) + 1);
    return bm_schema_add(&source->base.schema, &component, err);
}

static enum bm_status lmdb_open(const void *config_, const char *directory, const char *where,
                                struct bm_source **ret_source, struct bm_error *err)
{
    const struct lmdb_config *config = config_;
    struct lmdb_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return no_memory(where, err);
    source->base.type = &bm_lmdb_source;
    source->data.file.fd = -1;
    source->with_keys = config->key != NULL;
    bm_schema_init(&source->base.schema);
    bm_buffer_init(&source->keys);
    bm_buffer_init(&source->ends);
    enum bm_status status = schema_append(source, config->component, err);
    if (status == BM_OK && config->key != NULL)
        status = schema_append(source, config->key, err);
    if (status == BM_OK)
        status = environment_open(source, config, directory, where, err);
    if (status == BM_OK)
        status = keys_read(source, config, where, err);
    if (status == BM_OK)
        status = lmdb_identify(source, config, where, err);
    if (status == BM_OK)
        *ret_source = &source->base;
    else
        lmdb_close(&source->base);
    return status;
}

// ---- Reading ----

// Component c has these rows.
static enum bm_status rows_copy(struct bm_batch *batch, unsigned c, const MDB_val *rows,
                                struct bm_error *err)
{
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return no_memory(NULL, err);
    uint64_t *offsets = bm_block_data(block);
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems; row++)
        offsets[row + 1] = offsets[row] + rows[row].mv_size;
    enum bm_status status = bm_batch_alloc_ragged(batch, c, block, err);
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
        if (rows[row].mv_size > 0)
            memcpy(batch->tensors[c].data + offsets[row], rows[row].mv_data, rows[row].mv_size);
    }
    bm_block_unref(block);
    return status;
}

static enum bm_status values_read(const struct lmdb_source *source, struct bm_batch *batch,
                                  MDB_txn *transaction, MDB_val *rows, int64_t *ret_row,
                                  struct bm_error *err)
{
    for (uint64_t row = 0; row < batch->nitems; row++) {
        MDB_val key = key_at(source, batch->items[row]);
        int code = mdb_get(transaction, source->database, &key, &rows[row]);
        if (code != 0) {
            *ret_row = (int64_t)row;
            return lmdb_fail(source, code, err);
        }
    }
    return rows_copy(batch, 0, rows, err);
}

static enum bm_status lmdb_read(const struct bm_source *base, struct bm_batch *batch,
                                int64_t *ret_row, struct bm_error *err)
{
    const struct lmdb_source *source = (const struct lmdb_source *)base;
    MDB_txn *transaction;
    MDB_val *rows = calloc(batch->nitems + 1, sizeof rows[0]);
    if (rows == NULL)
        return no_memory(NULL, err);
    int code = mdb_txn_begin(source->environment, NULL, MDB_RDONLY, &transaction);
    if (code != 0) {
        free(rows);
        return lmdb_fail(source, code, err);
    }
    enum bm_status status = values_read(source, batch, transaction, rows, ret_row, err);
    mdb_txn_abort(transaction);
    for (uint64_t row = 0; row < batch->nitems && source->with_keys; row++)
        rows[row] = key_at(source, batch->items[row]);
    if (status == BM_OK && source->with_keys)
        status = rows_copy(batch, 1, rows, err);
    free(rows);
    return status;
}

const struct bm_source_type bm_lmdb_source = {
    .name = "lmdb",
    .doc = "Values of an LMDB database, in the order of their keys: component `data` (bytes), and "
           "the keys if wanted. Values are copied from where LMDB maps them.",
    .params = lmdb_params,
    .nparams = LMDB_NPARAMS,
    .config_bytes = sizeof(struct lmdb_config),
    .open = lmdb_open,
    .close = lmdb_close,
    .read = lmdb_read,
};
