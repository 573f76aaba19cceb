// sqlite.c -- rows of an SQLite table or query, one an item, found by their keys.
//
// The keys are read once, in their order; where they follow one another without a hole, as they do
// in most tables, not even they are kept. An item is then one lookup, on a connection of the worker
// that reads it.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "pipeline/source.h"
#include "sources/csv_cell.h"
#include "sources/file.h"
#include "sources/identity.h"
#include "sources/sqlite_read.h"
#include "sources/types.h"

struct sqlite_config {
    char *path, *table, *query, *key;
    struct bm_texts columns;
    struct bm_text_map types, fill;
    char *id;
};

static const struct bm_param sqlite_params[] = {
    BM_PARAM(struct sqlite_config, path, BM_PARAM_TEXT, .required = true,
             .doc = "the database; nobody may write it meanwhile"),
    BM_PARAM(struct sqlite_config, table, BM_PARAM_TEXT, .doc = "a table or view"),
    BM_PARAM(struct sqlite_config, query, BM_PARAM_TEXT,
             .doc = "instead of `table`: one SELECT; with `key` among its columns"),
    BM_PARAM(struct sqlite_config, key, BM_PARAM_TEXT,
             .doc = "the column of integers, each once, by which an item is found: best with an "
                    "index; items come in its order. Default: the rowid of a table"),
    BM_PARAM(struct sqlite_config, columns, BM_PARAM_TEXTS,
             .doc = "those that become components, under their names; default: all"),
    BM_PARAM(struct sqlite_config, types, BM_PARAM_TEXT_MAP,
             .doc =
                 "{column: dtype}; else what the column was declared as: int64 (float64 if some "
                 "are NULL and `fill` has nothing for them), float64, bool, string, or bytes for "
                 "BLOB; without a declaration that of its first value"),
    BM_PARAM(struct sqlite_config, fill, BM_PARAM_TEXT_MAP,
             .doc = "{column: what stands for NULL}; else it is NaN in floats and empty in string "
                    "and bytes; in integers and bool it is an error"),
    BM_PARAM(struct sqlite_config, id, BM_PARAM_TEXT,
             .doc = "a text to change whenever the data change; without it the file is read "
                    "through at the start, to know equal data again"),
};

enum { SQLITE_NPARAMS = sizeof sqlite_params / sizeof sqlite_params[0] };

struct opening { // what reading does not need
    const struct sqlite_config *config;
    struct bm_sqlite_source *source;
    struct bm_sqlite *connection;
    const char *where;
    char *from, *key; // in SQL
    struct bm_error *err;
};

static enum bm_status no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

static void sqlite_close(struct bm_source *base)
{
    struct bm_sqlite_source *source = (struct bm_sqlite_source *)base;
    if (source->pooled)
        bm_sqlite_pool_fini(&source->pool);
    bm_data_file_close(&source->data);
    for (unsigned i = 0; i < source->ncolumns; i++) {
        free(source->columns[i].name);
        free(source->columns[i].fill);
    }
    free(source->columns);
    free(source->row_sql);
    free(source->keys);
    bm_schema_fini(&base->schema);
    free(source);
}

// ---- SQL ----

// "..." with its quotes doubled.
static void sql_add_name(struct bm_buffer *sql, const char *name)
{
    bm_buffer_add(sql, "\"", 1);
    for (const char *at = name; *at != '\0'; at++)
        bm_buffer_add(sql, *at == '"' ? "\"\"" : at, *at == '"' ? 2 : 1);
    bm_buffer_add(sql, "\"", 1);
}

static char *sql_take(struct bm_buffer *sql)
{
    char *text = bm_buffer_failed(sql) ? NULL : strdup(bm_buffer_text(sql));
    bm_buffer_fini(sql);
    return text;
}

static enum bm_status opening_prepare(const struct opening *opening, char *sql,
                                      sqlite3_stmt **ret_statement)
{
    enum bm_status status =
        sql == NULL ? no_memory(opening->where, opening->err)
                    : bm_sqlite_prepare(&opening->source->pool, opening->connection, sql,
                                        opening->where, ret_statement, opening->err);
    free(sql);
    return status;
}

static enum bm_status opening_fail(const struct opening *opening)
{
    return bm_sqlite_fail(&opening->source->pool, opening->connection, opening->err);
}

// ---- What to read ----

static enum bm_status opening_from(struct opening *opening)
{
    const struct sqlite_config *config = opening->config;
    struct bm_buffer from, key;
    bm_buffer_init(&from);
    bm_buffer_init(&key);
    if (config->table != NULL)
        sql_add_name(&from, config->table);
    else
        bm_buffer_print(&from, "(%s)", config->query);
    if (config->key != NULL)
        sql_add_name(&key, config->key);
    else
        bm_buffer_add_text(&key, "rowid");
    opening->from = sql_take(&from);
    opening->key = sql_take(&key);
    return opening->from == NULL || opening->key == NULL ? no_memory(opening->where, opening->err)
                                                         : BM_OK;
}

static enum bm_status config_check(const struct sqlite_config *config, const char *where,
                                   struct bm_error *err)
{
    char text[BM_ERROR_WHERE_MAX];
    if ((config->table == NULL) == (config->query == NULL))
        return bm_fail(err, BM_INVALID_ARGUMENT, where,
                       "expected either `table` or `query`, got %s",
                       config->table == NULL ? "neither" : "both");
    if (config->query != NULL && config->key == NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, bm_params_where(where, "key", text),
                       "expected the column of the query that finds an item, got none");
    return BM_OK;
}

// "no such table" helps more with those that there are.
static enum bm_status opening_no_table(const struct opening *opening)
{
    sqlite3_stmt *statement;
    struct bm_buffer names;
    char *sql = strdup("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name "
                       "NOT LIKE 'sqlite_%' ORDER BY name LIMIT 32");
    bm_buffer_init(&names);
    enum bm_status status = opening_prepare(opening, sql, &statement);
    if (status != BM_OK)
        return status;
    while (sqlite3_step(statement) == SQLITE_ROW)
        bm_buffer_print(&names, "%s%s", names.size == 0 ? "" : ", ",
                        (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    char text[BM_ERROR_WHERE_MAX];
    status = bm_fail(opening->err, BM_NOT_FOUND, bm_params_where(opening->where, "table", text),
                     "expected a table of %s (%s), got \"%.60s\"", opening->source->data.file.name,
                     names.size == 0 ? "there are none" : bm_buffer_text(&names),
                     opening->config->table);
    bm_buffer_fini(&names);
    return status;
}

static enum bm_dtype dtype_declared(const char *declared)
{
    static const struct {
        const char *part; // SQLite's rules of affinity, and the two words that it knows not
        enum bm_dtype dtype;
    } rules[] = {{"BOOL", BM_BOOL},     {"INT", BM_INT64},    {"CHAR", BM_STRING},
                 {"CLOB", BM_STRING},   {"TEXT", BM_STRING},  {"DATE", BM_STRING},
                 {"BLOB", BM_BYTES},    {"REAL", BM_FLOAT64}, {"FLOA", BM_FLOAT64},
                 {"DOUBLE", BM_FLOAT64}};
    for (unsigned i = 0; declared != NULL && i < sizeof rules / sizeof rules[0]; i++) {
        if (strcasestr(declared, rules[i].part) != NULL)
            return rules[i].dtype;
    }
    return BM_DTYPE_NONE;
}

static bool column_wanted(const struct sqlite_config *config, const char *name)
{
    for (unsigned i = 0; i < config->columns.n; i++) {
        if (strcmp(config->columns.values[i], name) == 0)
            return true;
    }
    return config->columns.n == 0;
}

static enum bm_status columns_take(struct opening *opening, sqlite3_stmt *statement)
{
    struct bm_sqlite_source *source = opening->source;
    int n = sqlite3_column_count(statement);
    source->columns = calloc((size_t)n + 1, sizeof source->columns[0]);
    if (source->columns == NULL)
        return no_memory(opening->where, opening->err);
    for (int i = 0; i < n; i++) {
        const char *name = sqlite3_column_name(statement, i);
        if (name == NULL)
            return no_memory(opening->where, opening->err);
        struct bm_sqlite_column *column = &source->columns[source->ncolumns++];
        column->name = strdup(name);
        column->dtype = dtype_declared(sqlite3_column_decltype(statement, i));
        if (column->name == NULL)
            return no_memory(opening->where, opening->err);
    }
    return BM_OK;
}

static struct bm_sqlite_column *column_find(const struct bm_sqlite_source *source, const char *name)
{
    for (unsigned i = 0; i < source->ncolumns; i++) {
        if (strcmp(source->columns[i].name, name) == 0)
            return &source->columns[i];
    }
    return NULL;
}

static enum bm_status column_unknown(const struct opening *opening, const char *parameter,
                                     const char *name)
{
    char text[BM_ERROR_WHERE_MAX];
    struct bm_buffer names;
    bm_buffer_init(&names);
    for (unsigned i = 0; i < opening->source->ncolumns; i++)
        bm_buffer_print(&names, "%s%s", i == 0 ? "" : ", ", opening->source->columns[i].name);
    enum bm_status status =
        bm_fail(opening->err, BM_INVALID_ARGUMENT, bm_params_where(opening->where, parameter, text),
                "expected columns (%s), got \"%.60s\"", bm_buffer_text(&names), name);
    bm_buffer_fini(&names);
    return status;
}

// Leaves those that the user wants, in the order of the table.
static enum bm_status columns_choose(struct opening *opening)
{
    struct bm_sqlite_source *source = opening->source;
    const struct bm_texts *wanted = &opening->config->columns;
    unsigned n = 0;
    for (unsigned i = 0; i < wanted->n; i++) {
        if (column_find(source, wanted->values[i]) == NULL)
            return column_unknown(opening, "columns", wanted->values[i]);
    }
    for (unsigned i = 0; i < source->ncolumns; i++) {
        struct bm_sqlite_column column = source->columns[i];
        source->columns[i].name = NULL;
        if (column_wanted(opening->config, column.name))
            source->columns[n++] = column;
        else
            free(column.name);
    }
    source->ncolumns = n;
    return BM_OK;
}

static enum bm_status opening_columns(struct opening *opening)
{
    sqlite3_stmt *statement = NULL;
    struct bm_buffer sql;
    bm_buffer_init(&sql);
    bm_buffer_print(&sql, "SELECT * FROM %s", opening->from);
    enum bm_status status = opening_prepare(opening, sql_take(&sql), &statement);
    if (status == BM_INVALID_ARGUMENT && opening->config->table != NULL)
        return opening_no_table(opening);
    if (status == BM_OK)
        status = columns_take(opening, statement);
    sqlite3_finalize(statement);
    if (status == BM_OK)
        status = columns_choose(opening);
    if (status == BM_OK && opening->source->ncolumns > BM_COMPONENTS_MAX)
        status = bm_fail(opening->err, BM_INVALID_ARGUMENT, opening->where,
                         "expected at most %d columns, got %u", BM_COMPONENTS_MAX,
                         opening->source->ncolumns);
    return status;
}

// ---- Their types ----

static enum bm_status opening_types(struct opening *opening)
{
    char text[BM_ERROR_WHERE_MAX];
    const struct bm_text_map *types = &opening->config->types;
    for (unsigned i = 0; i < types->n; i++) {
        struct bm_sqlite_column *column = column_find(opening->source, types->keys[i]);
        if (column == NULL)
            return column_unknown(opening, "types", types->keys[i]);
        column->given = true;
        column->dtype = bm_dtype_parse(types->values[i]);
        if (column->dtype == BM_DTYPE_NONE)
            return bm_fail(opening->err, BM_INVALID_ARGUMENT,
                           bm_params_where(opening->where, "types", text),
                           "expected one of %s for %s, got \"%.40s\"", bm_dtype_names(),
                           column->name, types->values[i]);
    }
    return BM_OK;
}

// How many NULLs each column has, in one pass.
static enum bm_status opening_count(struct opening *opening)
{
    struct bm_sqlite_source *source = opening->source;
    sqlite3_stmt *statement = NULL;
    struct bm_buffer sql;
    bm_buffer_init(&sql);
    bm_buffer_add_text(&sql, "SELECT count(*)");
    for (unsigned i = 0; i < source->ncolumns; i++) {
        bm_buffer_add_text(&sql, ", count(");
        sql_add_name(&sql, source->columns[i].name);
        bm_buffer_add_text(&sql, ")");
    }
    bm_buffer_print(&sql, " FROM %s", opening->from);
    enum bm_status status = opening_prepare(opening, sql_take(&sql), &statement);
    if (status == BM_OK && sqlite3_step(statement) != SQLITE_ROW)
        status = opening_fail(opening);
    if (status == BM_OK) {
        source->base.nitems = (uint64_t)sqlite3_column_int64(statement, 0);
        for (unsigned i = 0; i < source->ncolumns; i++)
            source->columns[i].nulls =
                source->base.nitems - (uint64_t)sqlite3_column_int64(statement, (int)i + 1);
    }
    sqlite3_finalize(statement);
    return status;
}

static enum bm_status column_first_value(const struct opening *opening,
                                         struct bm_sqlite_column *column)
{
    static const enum bm_dtype dtypes[] = {[SQLITE_INTEGER] = BM_INT64,
                                           [SQLITE_FLOAT] = BM_FLOAT64,
                                           [SQLITE_TEXT] = BM_STRING,
                                           [SQLITE_BLOB] = BM_BYTES,
                                           [SQLITE_NULL] = BM_FLOAT64};
    sqlite3_stmt *statement = NULL;
    struct bm_buffer sql;
    bm_buffer_init(&sql);
    bm_buffer_add_text(&sql, "SELECT ");
    sql_add_name(&sql, column->name);
    bm_buffer_print(&sql, " FROM %s WHERE ", opening->from);
    sql_add_name(&sql, column->name);
    bm_buffer_add_text(&sql, " IS NOT NULL LIMIT 1");
    enum bm_status status = opening_prepare(opening, sql_take(&sql), &statement);
    if (status != BM_OK)
        return status;
    int code = sqlite3_step(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        status = opening_fail(opening);
    column->dtype = dtypes[code == SQLITE_ROW ? sqlite3_column_type(statement, 0) : SQLITE_NULL];
    sqlite3_finalize(statement);
    return status;
}

static enum bm_status column_fill(const struct opening *opening, struct bm_sqlite_column *column,
                                  const char *text)
{
    char where[BM_ERROR_WHERE_MAX], expected[BM_CSV_SHOWN_MAX];
    column->filled = true;
    column->fill = strdup(text);
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (column->fill == NULL || c_locale == (locale_t)0) {
        if (c_locale != (locale_t)0)
            freelocale(c_locale);
        return no_memory(opening->where, opening->err);
    }
    struct bm_csv_cell cell = {.data = column->fill, .size = strlen(column->fill)};
    bool fits = bm_dtype_is_text(column->dtype) ||
                bm_csv_cell_number(&cell, column->dtype, c_locale, column->value);
    freelocale(c_locale);
    return fits ? BM_OK
                : bm_fail(opening->err, BM_INVALID_ARGUMENT,
                          bm_params_where(opening->where, "fill", where),
                          "expected %s for %s, got \"%.40s\"",
                          bm_csv_expected(column->dtype, expected), column->name, text);
}

static enum bm_status opening_fills(struct opening *opening)
{
    const struct bm_text_map *fill = &opening->config->fill;
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < fill->n && status == BM_OK; i++) {
        struct bm_sqlite_column *column = column_find(opening->source, fill->keys[i]);
        status = column == NULL ? column_unknown(opening, "fill", fill->keys[i])
                                : column_fill(opening, column, fill->values[i]);
    }
    return status;
}

static enum bm_status opening_schema(struct opening *opening)
{
    struct bm_sqlite_source *source = opening->source;
    for (unsigned i = 0; i < source->ncolumns; i++) {
        struct bm_sqlite_column *column = &source->columns[i];
        // An integer has no NaN: where nothing is said, it gives way.
        if (column->dtype == BM_INT64 && !column->given && column->nulls > 0 && !column->filled)
            column->dtype = BM_FLOAT64;
        struct bm_component component = {.dtype = column->dtype,
                                         .ragged = bm_dtype_is_text(column->dtype)};
        if (!bm_name_valid(column->name))
            return bm_fail(opening->err, BM_INVALID_ARGUMENT, opening->where,
                           "expected columns with names of " BM_NAME_RULE
                           ", got \"%.40s\": give it another one in `query` (AS)",
                           column->name);
        strcpy(component.name, column->name);
        enum bm_status status = bm_schema_add(&source->base.schema, &component, opening->err);
        if (status != BM_OK)
            return status;
    }
    return BM_OK;
}

static enum bm_status opening_describe(struct opening *opening)
{
    enum bm_status status = opening_columns(opening);
    if (status == BM_OK)
        status = opening_types(opening);
    if (status == BM_OK)
        status = opening_count(opening);
    for (unsigned i = 0; i < opening->source->ncolumns && status == BM_OK; i++) {
        if (opening->source->columns[i].dtype == BM_DTYPE_NONE)
            status = column_first_value(opening, &opening->source->columns[i]);
    }
    if (status == BM_OK)
        status = opening_fills(opening);
    return status == BM_OK ? opening_schema(opening) : status;
}

// ---- Keys ----

static enum bm_status key_wrong(const struct opening *opening, const char *what)
{
    char text[BM_ERROR_WHERE_MAX];
    return bm_fail(opening->err, BM_INVALID_ARGUMENT, bm_params_where(opening->where, "key", text),
                   "expected a column of integers, each once, but %s %s",
                   opening->config->key == NULL ? "rowid" : opening->config->key, what);
}

static enum bm_status keys_take(struct opening *opening, sqlite3_stmt *statement)
{
    struct bm_sqlite_source *source = opening->source;
    int64_t before = 0;
    bool holes = false;
    uint64_t n = 0;
    int code;
    source->keys = malloc((source->base.nitems + 1) * sizeof source->keys[0]);
    if (source->keys == NULL)
        return no_memory(opening->where, opening->err);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW && n < source->base.nitems) {
        if (sqlite3_column_type(statement, 0) != SQLITE_INTEGER)
            return key_wrong(opening, "has something else");
        int64_t key = sqlite3_column_int64(statement, 0);
        if (n > 0 && key == before)
            return key_wrong(opening, "has one twice");
        holes = holes || (n > 0 && key - 1 != before);
        source->keys[n++] = before = key;
    }
    if (code != SQLITE_DONE || n != source->base.nitems)
        return opening_fail(opening);
    source->first_key = n > 0 ? source->keys[0] : 0;
    if (!holes) {
        free(source->keys);
        source->keys = NULL;
    }
    return BM_OK;
}

static enum bm_status opening_keys(struct opening *opening)
{
    sqlite3_stmt *statement = NULL;
    struct bm_buffer sql;
    bm_buffer_init(&sql);
    bm_buffer_print(&sql, "SELECT %s FROM %s ORDER BY 1", opening->key, opening->from);
    enum bm_status status = opening_prepare(opening, sql_take(&sql), &statement);
    if (status == BM_INVALID_ARGUMENT)
        return key_wrong(opening, "is none of its columns: name one");
    if (status == BM_OK)
        status = keys_take(opening, statement);
    sqlite3_finalize(statement);
    if (status != BM_OK)
        return status;
    bm_buffer_init(&sql);
    bm_buffer_add_text(&sql, "SELECT ");
    for (unsigned i = 0; i < opening->source->ncolumns; i++) {
        bm_buffer_add_text(&sql, i == 0 ? "" : ", ");
        sql_add_name(&sql, opening->source->columns[i].name);
    }
    bm_buffer_print(&sql, " FROM %s WHERE %s = ?1", opening->from, opening->key);
    opening->source->row_sql = sql_take(&sql);
    return opening->source->row_sql == NULL ? no_memory(opening->where, opening->err) : BM_OK;
}

// ---- Opening ----

static enum bm_status hash_take(void *hash, const char *bytes, uint64_t size, struct bm_error *err)
{
    (void)err;
    bm_hash_add(hash, bytes, size);
    return BM_OK;
}

static enum bm_status opening_identify(struct opening *opening)
{
    struct bm_sqlite_source *source = opening->source;
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return no_memory(opening->where, opening->err);
    enum bm_status status = BM_OK;
    bm_identity_add_source(hash, &source->base);
    bm_hash_add_text(hash, opening->from);
    bm_hash_add_text(hash, source->row_sql);
    for (unsigned i = 0; i < source->ncolumns; i++) {
        bm_identity_add_component(hash, &source->base.schema.components[i]);
        bm_hash_add_text(hash, source->columns[i].filled ? source->columns[i].fill : "");
    }
    bm_hash_add_text(hash, opening->config->id == NULL ? "" : opening->config->id);
    if (opening->config->id == NULL)
        status = bm_data_file_scan(&source->data, hash_take, hash, opening->err);
    source->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    return status;
}

static enum bm_status sqlite_build(struct opening *opening, const char *directory)
{
    struct bm_sqlite_source *source = opening->source;
    char text[BM_ERROR_WHERE_MAX];
    const char *where = bm_params_where(opening->where, "path", text);
    enum bm_status status =
        bm_data_file_open(&source->data, directory, opening->config->path, where, opening->err);
    if (status != BM_OK)
        return status;
    char *path = bm_source_path(directory, opening->config->path);
    status = path == NULL ? no_memory(where, opening->err)
                          : bm_sqlite_pool_init(&source->pool, path, source->data.file.name, where,
                                                opening->err);
    free(path);
    source->pooled = status == BM_OK;
    if (status == BM_OK)
        status = opening_from(opening);
    if (status == BM_OK)
        status = bm_sqlite_take(&source->pool, &opening->connection, opening->err);
    if (status != BM_OK)
        return status;
    status = opening_describe(opening);
    if (status == BM_OK)
        status = opening_keys(opening);
    if (status == BM_OK)
        status = opening_identify(opening);
    bm_sqlite_give(&source->pool, opening->connection);
    return status;
}

static enum bm_status sqlite_open(const void *config, const char *directory, const char *where,
                                  struct bm_source **ret_source, struct bm_error *err)
{
    enum bm_status status = config_check(config, where, err);
    if (status != BM_OK)
        return status;
    struct bm_sqlite_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return no_memory(where, err);
    source->base.type = &bm_sqlite_source;
    source->data.file.fd = -1;
    bm_schema_init(&source->base.schema);
    struct opening opening = {.config = config, .source = source, .where = where, .err = err};
    status = sqlite_build(&opening, directory);
    free(opening.from);
    free(opening.key);
    if (status == BM_OK)
        *ret_source = &source->base;
    else
        sqlite_close(&source->base);
    return status;
}

const struct bm_source_type bm_sqlite_source = {
    .name = "sqlite",
    .doc = "Rows of an SQLite table or query, in the order of a key, by which any row is found by "
           "itself. The file is opened read-only, and nothing but SELECT reaches it.",
    .params = sqlite_params,
    .nparams = SQLITE_NPARAMS,
    .config_bytes = sizeof(struct sqlite_config),
    .open = sqlite_open,
    .close = sqlite_close,
    .read = bm_sqlite_read,
};
