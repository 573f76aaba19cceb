// Any bytes as a reply: read or refused, and what is read can be used.
#include <stdlib.h>

#include "base/error.h"
#include "client/c/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t bytes_sum(const void *data, size_t size)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += ((const unsigned char *)data)[i];
    return sum;
}

static void batch_use(const struct bm_client_batch *batch)
{
    uint64_t sum = bytes_sum(batch->items, batch->nitems * sizeof batch->items[0]);
    BM_ASSERT(batch->outcome != BM_CLIENT_FAILED || batch->error != NULL);
    BM_ASSERT(batch->error == NULL || batch->error->code > BATCHMILL_OK);
    for (size_t i = 0; i < batch->ntensors; i++) {
        const struct batchmill_tensor *tensor = &batch->tensors[i];
        BM_ASSERT((uintptr_t)tensor->data % BM_CLIENT_ALIGNMENT == 0);
        sum += bytes_sum(tensor->data, tensor->size_bytes);
        BM_ASSERT(tensor->ragged || tensor->shape[0] == batch->nitems);
        BM_ASSERT(!tensor->ragged || tensor->offsets[batch->nitems] == tensor->shape[0]);
    }
    volatile uint64_t used = sum;
    (void)used;
}

static void small_use(const uint8_t *data, size_t size)
{
    struct bm_client_opened *opened;
    if (bm_client_decode_open(data, size, &opened, NULL) == BATCHMILL_OK)
        free(opened);
    struct batchmill_list *list;
    if (bm_client_decode_list(data, size, &list, NULL) == BATCHMILL_OK)
        free(list);
    struct batchmill_description *description;
    if (bm_client_decode_describe(data, size, &description, NULL) == BATCHMILL_OK)
        free(description);
    struct bm_client_run_report report;
    if (bm_client_decode_get_run(data, size, &report, NULL) == BATCHMILL_OK)
        free(report.result);
    struct batchmill_status status;
    bm_client_decode_status(data, size, &status, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bm_client_batches batches;
    struct bm_client_batch *batch;
    struct batchmill_error error;
    small_use(data, size);
    if (bm_client_decode_next(data, size, &batches, &error) != BATCHMILL_OK) {
        BM_ASSERT(error.code > BATCHMILL_OK);
        return 0;
    }
    for (size_t i = 0; i < batches.nbatches; i++) {
        if (bm_client_next_of(&batches, &batch, &error) != BATCHMILL_OK)
            return 0;
        batch_use(batch);
        free(batch);
    }
    return 0;
}
