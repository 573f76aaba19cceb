// sqlite_db.h -- connections to an SQLite file that can do nothing but read. Layer: sources.
//
// Opened read-only and `immutable`: no locks, no journal, no file is made beside it. Only SELECT
// passes: an authorizer refuses everything else, ATTACH and load_extension() included. What the
// file's own schema says is not trusted (SQLite's "trusted_schema", "defensive",
// "cell_size_check"). Threads: each connection by one thread at a time; the pool from any.
#pragma once
#include <sqlite3.h>

#include "base/error.h"
#include "base/list.h"
#include "base/mutex.h"

struct bm_sqlite { // a connection, with the statement that reads a row
    struct bm_node node;
    sqlite3 *db;
    sqlite3_stmt *row; // NULL: not prepared yet
};

struct bm_sqlite_pool {
    char *uri;        // "file:...?mode=ro&immutable=1"
    const char *name; // of the file, for errors; borrowed
    struct bm_mutex mutex;
    struct bm_list idle; // of those that nobody uses
};

// `path` is where the file is. On failure nothing needs freeing.
enum bm_status bm_sqlite_pool_init(struct bm_sqlite_pool *pool, const char *path, const char *name,
                                   const char *where, struct bm_error *err);
void bm_sqlite_pool_fini(struct bm_sqlite_pool *pool); // all connections have been given back

// A connection for the calling thread: an idle one, or a new one.
enum bm_status bm_sqlite_take(struct bm_sqlite_pool *pool, struct bm_sqlite **ret_connection,
                              struct bm_error *err);
void bm_sqlite_give(struct bm_sqlite_pool *pool, struct bm_sqlite *connection);

// One SELECT; anything else is an error at `where`.
enum bm_status bm_sqlite_prepare(const struct bm_sqlite_pool *pool,
                                 const struct bm_sqlite *connection, const char *sql,
                                 const char *where, sqlite3_stmt **ret_statement,
                                 struct bm_error *err);
// What SQLite said last, placed at the file.
enum bm_status bm_sqlite_fail(const struct bm_sqlite_pool *pool, const struct bm_sqlite *connection,
                              struct bm_error *err);
