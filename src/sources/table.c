#include "sources/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "sources/identity.h"

static enum bm_status table_no_memory(const char *where, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
}

enum bm_status bm_table_new(const struct bm_source_type *type, const char *name, unsigned ncolumns,
                            uint64_t nitems, struct bm_table **ret_table, struct bm_error *err)
{
    struct bm_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return table_no_memory(name, err);
    table->base.type = type;
    table->base.nitems = nitems;
    table->name = name;
    bm_schema_init(&table->base.schema);
    table->columns = calloc(ncolumns, sizeof *table->columns);
    if (table->columns == NULL) {
        bm_table_close(&table->base);
        return table_no_memory(name, err);
    }
    *ret_table = table;
    return BM_OK;
}

enum bm_status bm_table_add(struct bm_table *table, const struct bm_component *component,
                            struct bm_error *err)
{
    enum bm_status status = bm_schema_add(&table->base.schema, component, err);
    if (status != BM_OK)
        return status;
    struct bm_column *column = &table->columns[table->ncolumns++];
    bm_buffer_init(&column->pieces);
    column->element_bytes = column->item_bytes = bm_component_item_bytes(component);
    uint64_t bytes = component->ragged ? sizeof *column->offsets : column->item_bytes;
    void *memory = NULL;
    if (bm_size_mul(table->base.nitems + 1, bytes, &bytes))
        memory = calloc(1, bytes);
    if (memory == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, table->name,
                       "out of memory for %" PRIu64 " rows of component %s", table->base.nitems,
                       component->name);
    if (component->ragged)
        column->offsets = memory;
    else
        column->values = memory;
    return BM_OK;
}

void bm_table_set_ragged(struct bm_table *table, unsigned column, uint64_t row, const void *data,
                         uint64_t size_bytes)
{
    struct bm_column *to = &table->columns[column];
    bm_buffer_add(&to->pieces, data, size_bytes);
    to->offsets[row + 1] = to->pieces.size / to->element_bytes;
}

static void column_identify(const struct bm_column *column, const struct bm_component *component,
                            uint64_t nitems, struct bm_hash *hash)
{
    bm_identity_add_component(hash, component);
    if (component->vocabulary != NULL)
        bm_hash_add_u64(hash, bm_vocabulary_hash(component->vocabulary));
    if (column->offsets == NULL) {
        bm_hash_add(hash, column->values, nitems * column->item_bytes);
        return;
    }
    bm_hash_add(hash, column->offsets, (nitems + 1) * sizeof *column->offsets);
    bm_hash_add(hash, column->pieces.data, column->pieces.size);
}

enum bm_status bm_table_finish(struct bm_table *table, struct bm_error *err)
{
    for (unsigned i = 0; i < table->ncolumns; i++) {
        if (bm_buffer_failed(&table->columns[i].pieces))
            return table_no_memory(table->name, err);
    }
    struct bm_hash *hash = bm_hash_new();
    if (hash == NULL)
        return table_no_memory(table->name, err);
    bm_identity_add_source(hash, &table->base);
    for (unsigned i = 0; i < table->ncolumns; i++)
        column_identify(&table->columns[i], &table->base.schema.components[i], table->base.nitems,
                        hash);
    table->base.identity = bm_hash_end(hash);
    bm_hash_free(hash);
    table->name = NULL; // borrowed until here
    return BM_OK;
}

void bm_table_close(struct bm_source *base)
{
    struct bm_table *table = (struct bm_table *)base;
    for (unsigned i = 0; i < table->ncolumns && table->columns != NULL; i++) {
        free(table->columns[i].values);
        free(table->columns[i].offsets);
        bm_buffer_fini(&table->columns[i].pieces);
    }
    free(table->columns);
    bm_schema_fini(&base->schema);
    free(table);
}

// ---- Reading ----

// Shuffled rows lie anywhere in memory: asked for this many rows ahead, they come side by side.
enum { ROWS_AHEAD = 32 };

static void column_read_dense(const struct bm_column *column, const struct bm_batch *batch,
                              unsigned char *to)
{
    const uint64_t *items = batch->items;
    uint64_t run; // of consecutive items, copied in one go
    for (uint64_t row = 0; row < batch->nitems; row += run) {
        for (run = 1; row + run < batch->nitems && items[row + run] == items[row] + run;)
            run++;
        if (row + ROWS_AHEAD < batch->nitems)
            __builtin_prefetch(column->values + items[row + ROWS_AHEAD] * column->item_bytes);
        memcpy(to, column->values + items[row] * column->item_bytes, run * column->item_bytes);
        to += run * column->item_bytes;
    }
}

static enum bm_status column_read_ragged(const struct bm_column *column, struct bm_batch *batch,
                                         unsigned c, struct bm_error *err)
{
    struct bm_block *block = bm_block_new((batch->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return table_no_memory(NULL, err);
    uint64_t *offsets = bm_block_data(block);
    offsets[0] = 0;
    for (uint64_t row = 0; row < batch->nitems; row++) {
        const uint64_t *range = column->offsets + batch->items[row];
        offsets[row + 1] = offsets[row] + range[1] - range[0];
    }
    enum bm_status status = bm_batch_alloc_ragged(batch, c, block, err);
    for (uint64_t row = 0; row < batch->nitems && status == BM_OK; row++) {
        uint64_t size = (offsets[row + 1] - offsets[row]) * column->element_bytes;
        if (size > 0)
            memcpy(batch->tensors[c].data + offsets[row] * column->element_bytes,
                   column->pieces.data + column->offsets[batch->items[row]] * column->element_bytes,
                   size);
    }
    bm_block_unref(block);
    return status;
}

enum bm_status bm_table_read(const struct bm_source *base, struct bm_batch *batch, int64_t *ret_row,
                             struct bm_error *err)
{
    (void)ret_row;
    const struct bm_table *table = (const struct bm_table *)base;
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < table->ncolumns && status == BM_OK; i++) {
        if (table->columns[i].offsets == NULL)
            column_read_dense(&table->columns[i], batch, batch->tensors[i].data);
        else
            status = column_read_ragged(&table->columns[i], batch, i, err);
    }
    return status;
}
