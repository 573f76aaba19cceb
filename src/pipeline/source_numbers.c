#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "pipeline/source.h"

enum { ITEMS = 256 }; // read in one go: they may be pictures

// What the batch says of component c.
static void batch_numbers(const struct bm_batch *batch, unsigned c, double *ret_numbers)
{
    const struct bm_tensor *tensor = &batch->tensors[c];
    const struct bm_component *component = &batch->schema->components[c];
    for (uint64_t row = 0; row < batch->nitems; row++) {
        if (component->ragged)
            ret_numbers[row] = (double)(tensor->offsets[row + 1] - tensor->offsets[row]);
        else
            ret_numbers[row] = bm_dtype_get(component->dtype, tensor->data, row);
    }
}

static enum bm_status source_read(const struct bm_source *source, struct bm_batch *batch,
                                  struct bm_error *err)
{
    int64_t row = -1;
    enum bm_status status = BM_OK;
    for (unsigned c = 0; c < source->schema.ncomponents && status == BM_OK; c++) {
        if (!source->schema.components[c].ragged)
            status = bm_batch_alloc(batch, c, err);
    }
    if (status == BM_OK)
        status = source->type->read(source, batch, &row, err);
    if (status != BM_OK && row >= 0 && err != NULL && err->where[0] == '\0')
        snprintf(err->where, sizeof err->where, "item %" PRIu64, batch->items[row]);
    return status;
}

static enum bm_status numbers_by_reading(const struct bm_source *source, unsigned c,
                                         double *ret_numbers, struct bm_error *err)
{
    uint64_t items[ITEMS], epochs[ITEMS] = {0};
    enum bm_status status = BM_OK;
    for (uint64_t first = 0; first < source->nitems && status == BM_OK; first += ITEMS) {
        struct bm_batch batch;
        uint64_t n = source->nitems - first < ITEMS ? source->nitems - first : ITEMS;
        for (uint64_t i = 0; i < n; i++)
            items[i] = first + i;
        status = bm_batch_init(&batch, &source->schema, items, epochs, n, err);
        if (status != BM_OK)
            break;
        status = source_read(source, &batch, err);
        if (status == BM_OK)
            batch_numbers(&batch, c, ret_numbers + first);
        bm_batch_fini(&batch);
    }
    return status;
}

enum bm_status bm_source_numbers(const struct bm_source *source, unsigned c, double *ret_numbers,
                                 struct bm_error *err)
{
    const struct bm_component *component = &source->schema.components[c];
    if (!component->ragged && component->ndim > 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, component->name,
                       "expected one number per item, or something ragged, whose length counts, "
                       "got %s of %u axes",
                       bm_dtype_name(component->dtype), component->ndim);
    if (source->by_epoch)
        return bm_fail(err, BM_INVALID_ARGUMENT, component->name,
                       "expected a source whose items are the same in every epoch");
    return source->type->numbers == NULL ? numbers_by_reading(source, c, ret_numbers, err)
                                         : source->type->numbers(source, c, ret_numbers, err);
}
