// repeated.c -- a step behind which every item is in the batch several times: a a b b, no a b a b.
#include <string.h>

#include "pipeline/internal.h"

uint64_t repeated_seed(uint64_t seed, const uint32_t *copies, uint64_t row)
{
    if (copies == NULL || copies[row] == 0)
        return seed;
    return bm_mix64(bm_mix64(seed) ^ copies[row]);
}

// ---- One component ----

static enum bm_status offsets_repeat(const struct bm_batch *batch, unsigned c, unsigned times,
                                     struct bm_batch *more, struct bm_error *err)
{
    const uint64_t *offsets = batch->tensors[c].offsets;
    struct bm_block *block = bm_block_new((more->nitems + 1) * sizeof(uint64_t));
    if (block == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, batch->schema->components[c].name,
                       "out of memory");
    uint64_t *to = bm_block_data(block);
    *to = 0;
    for (uint64_t row = 0; row < batch->nitems; row++) {
        for (unsigned copy = 0; copy < times; copy++, to++)
            to[1] = to[0] + offsets[row + 1] - offsets[row];
    }
    enum bm_status status = bm_batch_alloc_ragged(more, c, block, err);
    bm_block_unref(block);
    return status;
}

static enum bm_status component_repeat(const struct bm_batch *batch, unsigned c, unsigned times,
                                       struct bm_batch *more, struct bm_error *err)
{
    const struct bm_component *component = &batch->schema->components[c];
    enum bm_status status = component->ragged ? offsets_repeat(batch, c, times, more, err)
                                              : bm_batch_alloc(more, c, err);
    if (status != BM_OK)
        return status;
    unsigned char *to = more->tensors[c].data;
    for (uint64_t row = 0; row < batch->nitems; row++) {
        uint64_t n;
        const unsigned char *from = bm_batch_rows(batch, c, row, 1, &n);
        uint64_t bytes = n * bm_dtype_size(component->dtype);
        for (unsigned copy = 0; copy < times && bytes > 0; copy++, to += bytes)
            memcpy(to, from, bytes);
    }
    return BM_OK;
}

// ---- The batch ----

static void items_repeat(struct bm_work *work, unsigned times)
{
    for (uint64_t row = work->batch.nitems; row-- > 0;) {
        for (unsigned copy = times; copy-- > 0;) { // from the end, so that none is overwritten
            uint64_t to = row * times + copy;
            work->items[to] = work->items[row];
            work->epochs[to] = work->epochs[row];
            work->copies[to] = work->copies[row] * times + copy;
        }
    }
}

enum bm_result repeated_end(struct bm_work *work, const struct step *step)
{
    struct bm_batch more;
    if (step->times == 1)
        return BM_RESULT_OK;
    if (work->batch.nitems > BM_BATCH_SIZE_MAX / step->times) {
        bm_fail(&work->error, BM_OUT_OF_RANGE, NULL,
                "expected a batch of at most %d items, got %llu, %u times", BM_BATCH_SIZE_MAX,
                (unsigned long long)work->batch.nitems, step->times);
        return work_fail(work, (int)step->first, -1);
    }
    work_batch_init(work, &work->batch, &more, work->batch.schema);
    more.nitems = work->batch.nitems * step->times;
    for (unsigned c = 0; c < more.schema->ncomponents; c++) {
        if (component_repeat(&work->batch, c, step->times, &more, &work->error) != BM_OK) {
            bm_batch_fini(&more);
            return work_fail(work, (int)step->first, -1);
        }
    }
    items_repeat(work, step->times);
    bm_batch_fini(&work->batch);
    work->batch = more;
    return BM_RESULT_OK;
}
