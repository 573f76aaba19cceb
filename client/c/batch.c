// A batch is a view into the message it came in, or into the server's memory; the batches of one
// reply share the message.
#include <stdlib.h>
#include <string.h>

#include "client/c/internal.h"
#include "data/dtype.h"

const char *batchmill_dtype_name(enum batchmill_dtype dtype)
{
    return bm_dtype_name((enum bm_dtype)dtype);
}

size_t batchmill_dtype_size(enum batchmill_dtype dtype)
{
    return bm_dtype_size((enum bm_dtype)dtype);
}

struct batchmill_batch *bm_client_batch_new(struct bm_client_batch *view,
                                            struct bm_client_message *message,
                                            struct bm_client_hold *hold)
{
    struct batchmill_batch *batch = malloc(sizeof *batch);
    if (batch != NULL)
        *batch = (struct batchmill_batch){
            .view = view, .message = bm_client_message_ref(message), .hold = hold};
    return batch;
}

void batchmill_batch_free(struct batchmill_batch *batch)
{
    if (batch == NULL)
        return;
    free(batch->view);
    bm_client_message_unref(batch->message);
    bm_client_hold_free(batch->hold);
    if (batch->release != NULL)
        batch->release(batch->context);
    free(batch);
}

uint64_t batchmill_batch_seq(const struct batchmill_batch *batch)
{
    return batch->view->seq;
}

uint64_t batchmill_batch_epoch(const struct batchmill_batch *batch)
{
    return batch->view->epoch;
}

size_t batchmill_batch_nitems(const struct batchmill_batch *batch)
{
    return batch->view->nitems;
}

const uint64_t *batchmill_batch_items(const struct batchmill_batch *batch)
{
    return batch->view->items;
}

size_t batchmill_batch_ntensors(const struct batchmill_batch *batch)
{
    return batch->view->ntensors;
}

const struct batchmill_tensor *batchmill_batch_tensor_at(const struct batchmill_batch *batch,
                                                         size_t i)
{
    return i < batch->view->ntensors ? &batch->view->tensors[i] : NULL;
}

const struct batchmill_tensor *batchmill_batch_tensor(const struct batchmill_batch *batch,
                                                      const char *name)
{
    for (size_t i = 0; i < batch->view->ntensors; i++) {
        if (strcmp(batch->view->tensors[i].name, name) == 0)
            return &batch->view->tensors[i];
    }
    return NULL;
}

const struct batchmill_span *batchmill_batch_spans(const struct batchmill_batch *batch,
                                                   size_t *ret_n)
{
    *ret_n = batch->view->nspans;
    return batch->view->spans;
}
