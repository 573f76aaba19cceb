#include "sources/sqlite_read.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "sources/csv_cell.h"

struct reading { // of a batch
    const struct bm_sqlite_source *source;
    struct bm_batch *batch;
    struct bm_sqlite *connection;
    struct bm_buffer *texts; // [ncolumns] of all rows, one behind the other
    uint64_t **offsets;      // [ncolumns], in `blocks`; NULL: no text
    struct bm_block **blocks;
    struct bm_error *err;
};

static int64_t key_of(const struct bm_sqlite_source *source, uint64_t item)
{
    return source->keys == NULL ? source->first_key + (int64_t)item : source->keys[item];
}

static enum bm_status value_wrong(const struct reading *reading, unsigned c, uint64_t row,
                                  const char *got)
{
    char where[BM_ERROR_WHERE_MAX], expected[BM_CSV_SHOWN_MAX];
    const struct bm_sqlite_source *source = reading->source;
    return bm_fail(reading->err, BM_INVALID_ARGUMENT,
                   bm_file_where(source->data.file.name, where, "key %" PRId64 ", column %.40s",
                                 key_of(source, reading->batch->items[row]),
                                 source->columns[c].name),
                   "expected %s, got %s", bm_csv_expected(source->columns[c].dtype, expected), got);
}

static const char *kind_name(int type)
{
    static const char *const names[] = {[SQLITE_INTEGER] = "an integer out of its range",
                                        [SQLITE_FLOAT] = "a number with a point",
                                        [SQLITE_TEXT] = "a text",
                                        [SQLITE_BLOB] = "a blob",
                                        [SQLITE_NULL] = "NULL"};
    return names[type];
}

static bool number_store(enum bm_dtype dtype, sqlite3_stmt *statement, int i, unsigned char *to)
{
    int64_t integer = sqlite3_column_int64(statement, i), back = 0;
    if (bm_dtype_is_float(dtype)) {
        bm_dtype_put(dtype, to, 0, sqlite3_column_double(statement, i));
        return true;
    }
    if (sqlite3_column_type(statement, i) != SQLITE_INTEGER)
        return false;
    if (dtype == BM_BOOL) {
        *to = integer != 0;
        return integer == 0 || integer == 1;
    }
    bm_dtype_convert(dtype, to, BM_INT64, &integer, 1);
    bm_dtype_convert(BM_INT64, &back, dtype, to, 1); // differs where the first one saturated
    return back == integer && (integer >= 0 || dtype != BM_UINT64);
}

static enum bm_status number_read(const struct reading *reading, unsigned c, uint64_t row)
{
    const struct bm_sqlite_column *column = &reading->source->columns[c];
    sqlite3_stmt *statement = reading->connection->row;
    size_t size = bm_dtype_size(column->dtype);
    unsigned char *to = reading->batch->tensors[c].data + row * size;
    int type = sqlite3_column_type(statement, (int)c);
    if (type == SQLITE_NULL && column->filled)
        memcpy(to, column->value, size);
    else if (type == SQLITE_NULL && bm_dtype_is_float(column->dtype))
        bm_dtype_put(column->dtype, to, 0, (double)NAN);
    else if ((type != SQLITE_INTEGER && type != SQLITE_FLOAT) ||
             !number_store(column->dtype, statement, (int)c, to))
        return value_wrong(reading, c, row, kind_name(type));
    return BM_OK;
}

static enum bm_status text_read(const struct reading *reading, unsigned c, uint64_t row)
{
    const struct bm_sqlite_column *column = &reading->source->columns[c];
    sqlite3_stmt *statement = reading->connection->row;
    int type = sqlite3_column_type(statement, (int)c);
    bool text = type == SQLITE_TEXT;
    if (type == SQLITE_NULL) {
        if (column->filled)
            bm_buffer_add_text(&reading->texts[c], column->fill);
    } else if (text || (type == SQLITE_BLOB && column->dtype == BM_BYTES)) {
        const void *data = text ? (const void *)sqlite3_column_text(statement, (int)c)
                                : sqlite3_column_blob(statement, (int)c);
        size_t size = (size_t)sqlite3_column_bytes(statement, (int)c);
        if (column->dtype == BM_STRING && size > 0 && !bm_utf8_valid(data, size))
            return value_wrong(reading, c, row, "a text that is no UTF-8");
        bm_buffer_add(&reading->texts[c], data, size);
    } else {
        return value_wrong(reading, c, row, kind_name(type));
    }
    reading->offsets[c][row + 1] = reading->texts[c].size;
    return bm_buffer_failed(&reading->texts[c])
               ? bm_fail(reading->err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch")
               : BM_OK;
}

static enum bm_status row_read(const struct reading *reading, uint64_t row)
{
    const struct bm_sqlite_source *source = reading->source;
    sqlite3_stmt *statement = reading->connection->row;
    int64_t key = key_of(source, reading->batch->items[row]);
    enum bm_status status = BM_OK;
    sqlite3_bind_int64(statement, 1, key);
    int code = sqlite3_step(statement);
    if (code == SQLITE_DONE) {
        char where[BM_ERROR_WHERE_MAX];
        status = bm_fail(reading->err, BM_DATA_LOSS,
                         bm_file_where(source->data.file.name, where, "key %" PRId64, key),
                         "is not there any more");
    } else if (code != SQLITE_ROW) {
        status = bm_sqlite_fail(&source->pool, reading->connection, reading->err);
    }
    for (unsigned c = 0; c < source->ncolumns && status == BM_OK; c++)
        status =
            reading->offsets[c] == NULL ? number_read(reading, c, row) : text_read(reading, c, row);
    sqlite3_reset(statement);
    return status;
}

static enum bm_status reading_begin(struct reading *reading)
{
    const struct bm_sqlite_source *source = reading->source;
    reading->texts = calloc(source->ncolumns + 1u, sizeof reading->texts[0]);
    reading->offsets = calloc(source->ncolumns + 1u, sizeof(uint64_t *));
    reading->blocks = calloc(source->ncolumns + 1u, sizeof(struct bm_block *));
    bool enough = reading->texts != NULL && reading->offsets != NULL && reading->blocks != NULL;
    for (unsigned c = 0; c < source->ncolumns && enough; c++) {
        if (!bm_dtype_is_text(source->columns[c].dtype))
            continue;
        reading->blocks[c] = bm_block_new((reading->batch->nitems + 1) * sizeof(uint64_t));
        enough = reading->blocks[c] != NULL;
        if (enough) {
            reading->offsets[c] = bm_block_data(reading->blocks[c]);
            reading->offsets[c][0] = 0;
        }
    }
    return enough ? BM_OK
                  : bm_fail(reading->err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a batch");
}

static enum bm_status reading_end(const struct reading *reading)
{
    enum bm_status status = BM_OK;
    for (unsigned c = 0; c < reading->source->ncolumns && status == BM_OK; c++) {
        if (reading->blocks[c] == NULL)
            continue;
        status = bm_batch_alloc_ragged(reading->batch, c, reading->blocks[c], reading->err);
        if (status == BM_OK && reading->texts[c].size > 0)
            memcpy(reading->batch->tensors[c].data, reading->texts[c].data, reading->texts[c].size);
    }
    return status;
}

static void reading_fini(struct reading *reading)
{
    for (unsigned c = 0; c < reading->source->ncolumns; c++) {
        if (reading->texts != NULL)
            bm_buffer_fini(&reading->texts[c]);
        if (reading->blocks != NULL)
            bm_block_unref(reading->blocks[c]);
    }
    free(reading->texts);
    free(reading->offsets);
    free(reading->blocks);
}

static enum bm_status rows_read(struct reading *reading, int64_t *ret_row)
{
    struct bm_sqlite_pool *pool = (struct bm_sqlite_pool *)&reading->source->pool; // has a mutex
    enum bm_status status = bm_sqlite_take(pool, &reading->connection, reading->err);
    if (status != BM_OK)
        return status;
    if (reading->connection->row == NULL)
        status = bm_sqlite_prepare(pool, reading->connection, reading->source->row_sql, NULL,
                                   &reading->connection->row, reading->err);
    for (uint64_t row = 0; row < reading->batch->nitems && status == BM_OK; row++) {
        status = row_read(reading, row);
        if (status != BM_OK)
            *ret_row = (int64_t)row;
    }
    bm_sqlite_give(pool, reading->connection);
    return status;
}

enum bm_status bm_sqlite_read(const struct bm_source *base, struct bm_batch *batch,
                              int64_t *ret_row, struct bm_error *err)
{
    struct reading reading = {
        .source = (const struct bm_sqlite_source *)base, .batch = batch, .err = err};
    enum bm_status status = reading_begin(&reading);
    if (status == BM_OK)
        status = rows_read(&reading, ret_row);
    if (status == BM_OK)
        status = reading_end(&reading);
    reading_fini(&reading);
    return status;
}
