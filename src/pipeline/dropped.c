// dropped.c -- what is left of a batch when a step has left out items.
#include <stdlib.h>
#include <string.h>

#include "pipeline/internal.h"

void dropped_begin(struct bm_work *work, const struct step *step)
{
    if (step->drops)
        memset(work->dropped, false, work->batch.nitems * sizeof work->dropped[0]);
}

// ---- One component ----

// The offsets of the rows that stay. NULL: out of memory.
static struct bm_block *offsets_left(const struct bm_work *work, const uint64_t *offsets,
                                     uint64_t nleft)
{
    struct bm_block *block = bm_block_new((nleft + 1) * sizeof(uint64_t));
    if (block == NULL)
        return NULL;
    uint64_t *to = bm_block_data(block);
    *to = 0;
    for (uint64_t row = 0; row < work->batch.nitems; row++) {
        if (work->dropped[row])
            continue;
        to[1] = to[0] + offsets[row + 1] - offsets[row];
        to++;
    }
    return block;
}

// Moves the values of the rows that stay, a run of them at a time; `to` may be where they are.
static void values_move(const struct bm_work *work, unsigned c, unsigned char *to)
{
    const struct bm_batch *batch = &work->batch;
    size_t element_bytes = bm_dtype_size(batch->schema->components[c].dtype);
    for (uint64_t row = 0; row < batch->nitems;) {
        uint64_t first = row, n;
        while (row < batch->nitems && !work->dropped[row])
            row++;
        const unsigned char *from = bm_batch_rows(batch, c, first, row - first, &n);
        if (n > 0) {
            memmove(to, from, n * element_bytes);
            to += n * element_bytes;
        }
        while (row < batch->nitems && work->dropped[row])
            row++;
    }
}

// In place where nobody else can see the memory.
static enum bm_status component_leave(struct bm_work *work, struct bm_batch *left, unsigned c,
                                      struct bm_error *err)
{
    const struct bm_component *component = &left->schema->components[c];
    struct bm_tensor *from = &work->batch.tensors[c], *to = &left->tensors[c];
    struct bm_block *offsets = NULL;
    enum bm_status status = BM_OK;
    if (component->ragged) {
        offsets = offsets_left(work, from->offsets, left->nitems);
        if (offsets == NULL)
            return bm_fail(err, BM_RESOURCE_EXHAUSTED, component->name, "out of memory");
    }
    if (from->block != NULL && bm_block_writable(from->block)) {
        values_move(work, c, from->data);
        uint64_t rows = left->nitems;
        if (component->ragged)
            rows = ((const uint64_t *)bm_block_data(offsets))[left->nitems];
        *to = (struct bm_tensor){.block = from->block,
                                 .data = from->data,
                                 .size_bytes = rows * bm_component_item_bytes(component),
                                 .offsets_block = bm_block_ref(offsets)};
        to->offsets = offsets == NULL ? NULL : bm_block_data(offsets);
        from->block = NULL;
    } else {
        status = component->ragged ? bm_batch_alloc_ragged(left, c, offsets, err)
                                   : bm_batch_alloc(left, c, err);
        if (status == BM_OK)
            values_move(work, c, to->data);
    }
    bm_block_unref(offsets);
    return status;
}

// ---- The batch ----

static enum bm_status batch_leave(struct bm_work *work, uint64_t nleft)
{
    struct bm_batch left;
    work_batch_init(work, &work->batch, &left, work->batch.schema);
    left.nitems = nleft;
    for (unsigned c = 0; c < left.schema->ncomponents; c++) {
        if (component_leave(work, &left, c, &work->error) != BM_OK) {
            bm_batch_fini(&left);
            return work->error.status;
        }
    }
    uint64_t n = 0;
    for (uint64_t row = 0; row < work->batch.nitems; row++) {
        if (work->dropped[row])
            continue;
        work->items[n] = work->items[row];
        work->epochs[n] = work->epochs[row];
        if (work->copies != NULL)
            work->copies[n] = work->copies[row];
        n++;
    }
    memset(work->dropped, false, n * sizeof work->dropped[0]); // they are there
    work->epoch = work->epochs[0];
    bm_batch_fini(&work->batch);
    work->batch = left;
    return BM_OK;
}

enum bm_result dropped_end(struct bm_work *work, const struct step *step)
{
    uint64_t ndropped = 0;
    for (uint64_t row = 0; step->drops && row < work->batch.nitems; row++)
        ndropped += work->dropped[row];
    if (ndropped == 0)
        return BM_RESULT_OK;
    if (ndropped == work->batch.nitems)
        return BM_RESULT_SKIP;
    if (batch_leave(work, work->batch.nitems - ndropped) != BM_OK)
        return work_fail(work, (int)(step->first + step->nactions - 1), -1);
    return BM_RESULT_OK;
}
