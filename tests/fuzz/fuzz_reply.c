// Any bytes as a reply: read, or refused with a text, and what is read can be used to its last
// byte.
#include <stdlib.h>
#include <string.h>

#include "client/c/codec.h"
#include "fuzz/fuzz.h"

static uint64_t used; // what was read is looked at, so that a sanitizer sees each access

static void bytes_use(const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        used += ((const unsigned char *)data)[i];
}

static void text_use(const char *text)
{
    used += strlen(text);
}

// Whether it was read; if not, the error tells something.
static bool is_read(enum batchmill_code code, const struct batchmill_error *error)
{
    if (code == BATCHMILL_OK)
        return true;
    BM_ASSERT(error->code == code && strlen(error->text) < sizeof error->text);
    return false;
}

static void components_use(const struct batchmill_component *components, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        text_use(components[i].name);
        BM_ASSERT(batchmill_dtype_size(components[i].dtype) > 0);
        BM_ASSERT(components[i].ndim < BATCHMILL_NDIM_MAX);
        bytes_use(components[i].shape, components[i].ndim * sizeof components[i].shape[0]);
    }
}

static void summary_use(const struct batchmill_summary *summary)
{
    text_use(summary->name);
    text_use(summary->source);
}

// ---- Batches ----

static void batch_use(const struct bm_client_batch *batch)
{
    bytes_use(batch->items, batch->nitems * sizeof batch->items[0]);
    bytes_use(batch->spans, batch->nspans * sizeof batch->spans[0]);
    BM_ASSERT(batch->outcome <= BM_CLIENT_FAILED);
    BM_ASSERT(batch->outcome != BM_CLIENT_FAILED || batch->error != NULL);
    BM_ASSERT(batch->outcome != BM_CLIENT_BATCH || batch->error == NULL);
    BM_ASSERT(batch->error == NULL || batch->error->code > BATCHMILL_OK);
    BM_ASSERT(batch->ntensors <= BM_CLIENT_TENSORS_MAX && batch->nspans <= BM_CLIENT_SPANS_MAX);
    for (size_t i = 0; i < batch->ntensors; i++) {
        const struct batchmill_tensor *tensor = &batch->tensors[i];
        text_use(tensor->name);
        BM_ASSERT((uintptr_t)tensor->data % BM_CLIENT_ALIGNMENT == 0);
        bool elsewhere = batch->places != NULL && batch->places[i].given;
        if (!elsewhere)
            bytes_use(tensor->data, tensor->size_bytes);
        BM_ASSERT(!elsewhere ||
                  (tensor->data == NULL && batch->places[i].size_bytes == tensor->size_bytes));
        uint64_t size_bytes = batchmill_dtype_size(tensor->dtype);
        for (unsigned k = 0; k < tensor->ndim; k++)
            size_bytes *= tensor->shape[k];
        BM_ASSERT(size_bytes == tensor->size_bytes);
        BM_ASSERT(tensor->ragged == (tensor->offsets != NULL));
        BM_ASSERT(tensor->ragged || tensor->shape[0] == batch->nitems);
        for (size_t k = 0; tensor->ragged && k < batch->nitems; k++)
            BM_ASSERT(tensor->offsets[k] <= tensor->offsets[k + 1]);
        BM_ASSERT(!tensor->ragged || tensor->offsets[batch->nitems] == tensor->shape[0]);
    }
}

static void batches_use(const uint8_t *data, size_t size, bool cursor, bool same_host)
{
    struct bm_client_batches batches;
    struct batchmill_error error = {0};
    if (!is_read(bm_client_decode_next(data, size, &batches, &error), &error))
        return;
    uint64_t expected = batches.first;
    if (cursor)
        batches.seq = BATCHMILL_UNSET;
    batches.same_host = same_host;
    for (size_t i = 0; i < batches.nbatches; i++) {
        struct bm_client_batch *batch;
        if (!is_read(bm_client_next_of(&batches, &batch, &error), &error))
            return;
        BM_ASSERT(cursor || batch->seq == expected++); // no gap and no repeat
        BM_ASSERT(same_host || batch->places == NULL);
        batch_use(batch);
        free(batch);
    }
}

// ---- The others ----

static void opened_use(const uint8_t *data, size_t size)
{
    struct batchmill_error error = {0};
    struct bm_client_opened *opened;
    if (is_read(bm_client_decode_open(data, size, &opened, &error), &error)) {
        BM_ASSERT(strlen(opened->stream) <= BM_CLIENT_ID_MAX);
        text_use(opened->position_stem);
        components_use(opened->components, opened->ncomponents);
        for (size_t i = 0; i < opened->nsteps; i++)
            text_use(opened->steps[i]);
        free(opened);
    }
    struct bm_client_run run;
    if (is_read(bm_client_decode_run(data, size, &run, &error), &error))
        BM_ASSERT(strlen(run.run) <= BM_CLIENT_ID_MAX);
}

static void report_use(const uint8_t *data, size_t size)
{
    struct batchmill_error error = {0};
    struct bm_client_run_report report;
    if (!is_read(bm_client_decode_get_run(data, size, &report, &error), &error))
        return;
    BM_ASSERT(report.state <= BM_CLIENT_RUN_CANCELLED);
    BM_ASSERT(!report.has_failure || report.failure.code > BATCHMILL_OK);
    for (size_t i = 0; i < report.result->nvariables; i++)
        text_use(report.result->variables[i].name);
    free(report.result);
}

static void catalog_use(const uint8_t *data, size_t size)
{
    struct batchmill_error error = {0};
    struct batchmill_list *list;
    if (is_read(bm_client_decode_list(data, size, &list, &error), &error)) {
        for (size_t i = 0; i < list->n; i++)
            summary_use(&list->pipelines[i]);
        free(list);
    }
    struct batchmill_description *description;
    if (!is_read(bm_client_decode_describe(data, size, &description, &error), &error))
        return;
    summary_use(&description->summary);
    text_use(description->source_type);
    components_use(description->source_components, description->nsource_components);
    components_use(description->components, description->ncomponents);
    for (size_t i = 0; i < description->nactions; i++) {
        text_use(description->actions[i].name);
        if (description->actions[i].lock != NULL)
            text_use(description->actions[i].lock);
    }
    for (size_t i = 0; i < description->nsteps; i++)
        text_use(description->steps[i]);
    free(description);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct batchmill_error error = {0};
    struct batchmill_status status;
    batches_use(data, size, false, false);
    batches_use(data, size, false, true);
    batches_use(data, size, true, false);
    opened_use(data, size);
    report_use(data, size);
    catalog_use(data, size);
    (void)is_read(bm_client_decode_status(data, size, &status, &error), &error);
    (void)is_read(bm_client_decode_done(data, size, &error), &error);
    volatile uint64_t seen = used;
    (void)seen;
    return 0;
}
