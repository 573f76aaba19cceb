// Requests, packed by protobuf-c. What it is given is only read, so texts are lent, not copied.
#include "codec.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "batchmill/v1/batchmill.pb-c.h"

static enum batchmill_code fail(struct batchmill_error *error, enum batchmill_code code,
                                const char *text)
{
    if (error != NULL) {
        *error = (struct batchmill_error){.code = code};
        snprintf(error->text, sizeof error->text, "%s", text);
    }
    return code;
}

static enum batchmill_code request_pack(const Batchmill__V1__Request *request,
                                        struct bm_buffer *out, struct batchmill_error *error)
{
    size_t size = batchmill__v1__request__get_packed_size(request);
    if (size > BM_CLIENT_REQUEST_BYTES_MAX)
        return fail(error, BATCHMILL_INVALID_ARGUMENT,
                    "request: expected at most 65536 bytes, got a name, a position or a definition "
                    "that is longer");
    bm_buffer_clear(out);
    unsigned char *bytes = bm_buffer_extend(out, size);
    if (bytes == NULL)
        return fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a request");
    batchmill__v1__request__pack(request, bytes);
    return BATCHMILL_OK;
}

enum batchmill_code bm_client_request_close(struct bm_buffer *request, const char *token,
                                            struct batchmill_error *error)
{
    enum { TAG_TOKEN = 12 << 3 | 2 };
    if (token != NULL) {
        size_t length = strlen(token);
        unsigned char head[1 + 10] = {TAG_TOKEN}, *at = head + 1;
        for (size_t rest = length; at == head + 1 || rest > 0; rest >>= 7)
            *at++ = (unsigned char)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
        bm_buffer_add(request, head, (size_t)(at - head));
        bm_buffer_add(request, token, length);
    }
    size_t size = request->size;
    if (bm_buffer_extend(request, BM_CHECK_SIZE) != NULL)
        bm_check_put(request->data, size);
    if (bm_buffer_failed(request))
        return fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a request");
    return BATCHMILL_OK;
}

enum batchmill_code bm_client_request_seal(struct bm_buffer *request, const char *token,
                                           struct batchmill_error *error)
{
    enum batchmill_code code = bm_client_request_close(request, token, error);
    if (code == BATCHMILL_OK && request->size > BM_CLIENT_REQUEST_BYTES_MAX)
        return fail(
            error, BATCHMILL_INVALID_ARGUMENT,
            "request: expected at most 65536 bytes, got a name, a position, a definition or a "
            "token that is longer");
    return code;
}

// On the wire 0 stands for "not given", so what would read as that has to be said otherwise.
static enum batchmill_code order_fill(const struct batchmill_order *order, Batchmill__V1__Order *to,
                                      struct batchmill_error *error)
{
    if (order->n_iters == 0)
        return fail(error, BATCHMILL_INVALID_ARGUMENT,
                    "n_iters: expected at least 1 or BATCHMILL_UNSET, got 0");
    batchmill__v1__order__init(to);
    to->batch_size = order->batch_size;
    to->shuffle = (Batchmill__V1__Shuffle)order->shuffle;
    to->seed = order->seed;
    to->n_epochs = order->n_epochs == BATCHMILL_UNSET ? 0 : order->n_epochs;
    to->endless = order->n_epochs == 0;
    to->n_iters = order->n_iters == BATCHMILL_UNSET ? 0 : order->n_iters;
    to->drop_last = order->drop_last;
    to->epoch_border = (Batchmill__V1__EpochBorder)order->epoch_border;
    to->shard_index = order->shard_index;
    to->shard_count = order->shard_count == 1 ? 0 : order->shard_count; // all: not given
    return BATCHMILL_OK;
}

enum batchmill_code bm_client_encode_open(const struct bm_client_open *open, struct bm_buffer *out,
                                          struct batchmill_error *error)
{
    Batchmill__V1__Order order;
    enum batchmill_code code = order_fill(open->order, &order, error);
    if (code != BATCHMILL_OK)
        return code;
    Batchmill__V1__OpenStreamRequest call = BATCHMILL__V1__OPEN_STREAM_REQUEST__INIT;
    call.pipeline = (char *)open->pipeline;
    call.order = &order;
    call.prefetch = open->order->prefetch;
    call.on_error = (Batchmill__V1__OnError)open->order->on_error;
    if (open->order->position != NULL)
        call.position = (char *)open->order->position;
    if (open->cursor != NULL)
        call.cursor = (char *)open->cursor;
    call.traced = open->order->traced;
    call.checked = open->order->checked;
    call.nonce = open->nonce;
    call.same_host = open->same_host;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_OPEN_STREAM;
    request.open_stream = &call;
    return request_pack(&request, out, error);
}

enum batchmill_code bm_client_encode_next(const struct bm_client_next *next, struct bm_buffer *out,
                                          struct batchmill_error *error)
{
    Batchmill__V1__NextBatchesRequest call = BATCHMILL__V1__NEXT_BATCHES_REQUEST__INIT;
    call.stream = (char *)next->stream;
    call.first = next->first;
    call.max_batches = next->max_batches;
    call.max_bytes = next->max_bytes;
    call.wait_ms = next->wait_ms;
    call.ack = next->ack;
    call.waits = next->waits;
    call.same_host = next->same_host;
    call.n_held = next->nheld;
    call.held = (uint64_t *)next->held;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_NEXT_BATCHES;
    request.next_batches = &call;
    return request_pack(&request, out, error);
}

enum batchmill_code bm_client_encode_close(const char *stream, uint64_t ack, bool held_none,
                                           struct bm_buffer *out, struct batchmill_error *error)
{
    Batchmill__V1__CloseStreamRequest call = BATCHMILL__V1__CLOSE_STREAM_REQUEST__INIT;
    call.stream = (char *)stream;
    call.ack = ack;
    call.held_none = held_none;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_CLOSE_STREAM;
    request.close_stream = &call;
    return request_pack(&request, out, error);
}

enum batchmill_code bm_client_encode_run(const char *pipeline, const struct batchmill_order *order,
                                         uint64_t nonce, struct bm_buffer *out,
                                         struct batchmill_error *error)
{
    if (order->position != NULL || order->traced || order->checked)
        return fail(error, BATCHMILL_INVALID_ARGUMENT,
                    "run: expected neither position, traced nor checked, got one of them");
    Batchmill__V1__Order wire_order;
    enum batchmill_code code = order_fill(order, &wire_order, error);
    if (code != BATCHMILL_OK)
        return code;
    Batchmill__V1__RunRequest call = BATCHMILL__V1__RUN_REQUEST__INIT;
    call.pipeline = (char *)pipeline;
    call.order = &wire_order;
    call.prefetch = order->prefetch;
    call.on_error = (Batchmill__V1__OnError)order->on_error;
    call.nonce = nonce;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_RUN;
    request.run = &call;
    return request_pack(&request, out, error);
}

enum batchmill_code bm_client_encode_get_run(const char *run, uint32_t wait_ms,
                                             struct bm_buffer *out, struct batchmill_error *error)
{
    Batchmill__V1__GetRunRequest call = BATCHMILL__V1__GET_RUN_REQUEST__INIT;
    call.run = (char *)run;
    call.wait_ms = wait_ms;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_GET_RUN;
    request.get_run = &call;
    return request_pack(&request, out, error);
}

enum batchmill_code bm_client_encode_cancel_run(const char *run, struct bm_buffer *out,
                                                struct batchmill_error *error)
{
    Batchmill__V1__CancelRunRequest call = BATCHMILL__V1__CANCEL_RUN_REQUEST__INIT;
    call.run = (char *)run;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_CANCEL_RUN;
    request.cancel_run = &call;
    return request_pack(&request, out, error);
}

enum batchmill_code bm_client_encode_list(struct bm_buffer *out, struct batchmill_error *error)
{
    Batchmill__V1__ListPipelinesRequest call = BATCHMILL__V1__LIST_PIPELINES_REQUEST__INIT;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_LIST_PIPELINES;
    request.list_pipelines = &call;
    return request_pack(&request, out, error);
}

enum batchmill_code bm_client_encode_describe(const char *pipeline, struct bm_buffer *out,
                                              struct batchmill_error *error)
{
    Batchmill__V1__DescribePipelineRequest call = BATCHMILL__V1__DESCRIBE_PIPELINE_REQUEST__INIT;
    call.name = (char *)pipeline;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_DESCRIBE_PIPELINE;
    request.describe_pipeline = &call;
    return request_pack(&request, out, error);
}

enum batchmill_code bm_client_encode_register(const char *name, const char *definition,
                                              uint32_t lease_ms, struct bm_buffer *out,
                                              struct batchmill_error *error)
{
    Batchmill__V1__RegisterPipelineRequest call = BATCHMILL__V1__REGISTER_PIPELINE_REQUEST__INIT;
    call.name = (char *)name;
    call.definition = (char *)definition;
    call.lease_ms = lease_ms;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_REGISTER_PIPELINE;
    request.register_pipeline = &call;
    return request_pack(&request, out, error);
}

enum batchmill_code bm_client_encode_unregister(const char *name, const char *registration,
                                                struct bm_buffer *out,
                                                struct batchmill_error *error)
{
    Batchmill__V1__UnregisterPipelineRequest call =
        BATCHMILL__V1__UNREGISTER_PIPELINE_REQUEST__INIT;
    call.name = (char *)name;
    call.registration = (char *)registration;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_UNREGISTER_PIPELINE;
    request.unregister_pipeline = &call;
    return request_pack(&request, out, error);
}

enum batchmill_code bm_client_encode_status(struct bm_buffer *out, struct batchmill_error *error)
{
    Batchmill__V1__GetStatusRequest call = BATCHMILL__V1__GET_STATUS_REQUEST__INIT;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_GET_STATUS;
    request.get_status = &call;
    return request_pack(&request, out, error);
}
