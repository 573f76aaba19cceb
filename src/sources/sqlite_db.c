#include "sources/sqlite_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"

// ---- The pool ----

// A URI of RFC 8089, of which SQLite decodes the % signs.
static char *uri_of(const char *path)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    struct bm_buffer uri;
    bm_buffer_init(&uri);
    bm_buffer_add_text(&uri, "file:");
    for (const char *at = path; *at != '\0'; at++) {
        if (strchr(plain, *at) != NULL)
            bm_buffer_add(&uri, at, 1);
        else
            bm_buffer_print(&uri, "%%%02x", (unsigned)(unsigned char)*at);
    }
    bm_buffer_add_text(&uri, "?mode=ro&immutable=1");
    char *text = bm_buffer_failed(&uri) ? NULL : strdup(bm_buffer_text(&uri));
    bm_buffer_fini(&uri);
    return text;
}

// What a writer has not put into the file itself yet would not be seen.
static enum bm_status check_journal(const char *path, const char *name, struct bm_error *err)
{
    static const char *const suffixes[] = {"-wal", "-journal"};
    for (unsigned i = 0; i < 2; i++) {
        struct stat info;
        char *journal = NULL;
        if (asprintf(&journal, "%s%s", path, suffixes[i]) < 0)
            return bm_fail(err, BM_RESOURCE_EXHAUSTED, name, "out of memory");
        bool there = stat(journal, &info) == 0 && info.st_size > 0;
        free(journal);
        if (there)
            return bm_fail(err, BM_FAILED_PRECONDITION, name,
                           "expected a database that nobody writes, but %s%s holds changes: close "
                           "it there (PRAGMA wal_checkpoint(TRUNCATE))",
                           name, suffixes[i]);
    }
    return BM_OK;
}

enum bm_status bm_sqlite_pool_init(struct bm_sqlite_pool *pool, const char *path, const char *name,
                                   const char *where, struct bm_error *err)
{
    enum bm_status status = check_journal(path, name, err);
    if (status != BM_OK)
        return status;
    *pool = (struct bm_sqlite_pool){.name = name, .uri = uri_of(path)};
    if (pool->uri == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    bm_mutex_init(&pool->mutex);
    bm_list_init(&pool->idle);
    return BM_OK;
}

static void connection_free(struct bm_sqlite *connection)
{
    sqlite3_finalize(connection->row);
    sqlite3_close(connection->db);
    free(connection);
}

void bm_sqlite_pool_fini(struct bm_sqlite_pool *pool)
{
    struct bm_node *node;
    while ((node = bm_list_pop_front(&pool->idle)) != NULL)
        connection_free(BM_CONTAINER(node, struct bm_sqlite, node));
    bm_mutex_fini(&pool->mutex);
    free(pool->uri);
}

// ---- A connection ----

static int authorize(void *context, int action, const char *first, const char *second,
                     const char *database, const char *trigger)
{
    (void)context, (void)first, (void)database, (void)trigger;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_FUNCTION:
        return second != NULL && strcmp(second, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
    default:
        return SQLITE_DENY;
    }
}

static enum bm_status connection_open(const struct bm_sqlite_pool *pool,
                                      struct bm_sqlite *connection, struct bm_error *err)
{
    int code = sqlite3_open_v2(pool->uri, &connection->db,
                               SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK) {
        sqlite3_db_config(connection->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(connection->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        code = sqlite3_exec(connection->db, "PRAGMA cell_size_check = ON", NULL, NULL, NULL);
    }
    if (code == SQLITE_OK)
        code = sqlite3_set_authorizer(connection->db, authorize, NULL);
    return code == SQLITE_OK ? BM_OK : bm_sqlite_fail(pool, connection, err);
}

enum bm_status bm_sqlite_take(struct bm_sqlite_pool *pool, struct bm_sqlite **ret_connection,
                              struct bm_error *err)
{
    bm_mutex_lock(&pool->mutex);
    struct bm_node *node = bm_list_pop_front(&pool->idle);
    bm_mutex_unlock(&pool->mutex);
    if (node != NULL) {
        *ret_connection = BM_CONTAINER(node, struct bm_sqlite, node);
        return BM_OK;
    }
    struct bm_sqlite *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, pool->name, "out of memory");
    enum bm_status status = connection_open(pool, connection, err);
    if (status != BM_OK) {
        connection_free(connection);
        return status;
    }
    *ret_connection = connection;
    return BM_OK;
}

void bm_sqlite_give(struct bm_sqlite_pool *pool, struct bm_sqlite *connection)
{
    bm_mutex_lock(&pool->mutex);
    bm_list_push_front(&pool->idle, &connection->node);
    bm_mutex_unlock(&pool->mutex);
}

// ---- Statements ----

enum bm_status bm_sqlite_fail(const struct bm_sqlite_pool *pool, const struct bm_sqlite *connection,
                              struct bm_error *err)
{
    int code = connection->db == NULL ? SQLITE_NOMEM : sqlite3_errcode(connection->db);
    const char *text = connection->db == NULL ? "out of memory" : sqlite3_errmsg(connection->db);
    enum bm_status status = BM_DATA_LOSS;
    if (code == SQLITE_NOMEM)
        status = BM_RESOURCE_EXHAUSTED;
    else if (code == SQLITE_ERROR || code == SQLITE_AUTH)
        status = BM_INVALID_ARGUMENT;
    else if (code == SQLITE_CANTOPEN || code == SQLITE_PERM)
        status = BM_FAILED_PRECONDITION;
    return bm_fail(err, status, pool->name, "SQLite says: %s", text);
}

enum bm_status bm_sqlite_prepare(const struct bm_sqlite_pool *pool,
                                 const struct bm_sqlite *connection, const char *sql,
                                 const char *where, sqlite3_stmt **ret_statement,
                                 struct bm_error *err)
{
    sqlite3_stmt *statement = NULL;
    const char *rest = "";
    if (sqlite3_prepare_v3(connection->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, &rest) !=
        SQLITE_OK)
        return bm_sqlite_fail(pool, connection, err);
    if (statement == NULL || rest[strspn(rest, " \t\r\n;")] != '\0' ||
        !sqlite3_stmt_readonly(statement)) {
        sqlite3_finalize(statement);
        return bm_fail(err, BM_INVALID_ARGUMENT, where, "expected one SELECT, got \"%.80s\"", sql);
    }
    *ret_statement = statement;
    return BM_OK;
}
