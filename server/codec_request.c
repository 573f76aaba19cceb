// The bytes of a request become a struct bm_request. Whatever a peer sends ends here as a valid
// request or as an error that names the field.
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/name.h"
#include "batchmill/v1/batchmill.pb-c.h"
#include "server/codec.h"
#include "server/codec_batches.h"
#include "server/position.h"
#include "server/session.h"

// ---- Memory: protobuf-c makes up to 76 bytes of one, so what it takes is counted ----

struct budget {
    size_t left;
    bool exceeded, refused; // by us; by the system
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *budget = data;
    if (size > budget->left) {
        budget->exceeded = true;
        return NULL;
    }
    budget->left -= size;
    void *memory = malloc(size);
    budget->refused |= memory == NULL;
    return memory;
}

static void budget_free(void *data, void *memory)
{
    (void)data; // what one request took in all is what counts
    free(memory);
}

// Copies the texts out of the unpacked message into one block, which the request then owns: a
// request that has to wait keeps only what it says, not the memory it took to read it.
static enum bm_status request_keep(struct bm_request *request, const char **texts[], unsigned n,
                                   struct bm_error *err)
{
    size_t total = 0;
    for (unsigned i = 0; i < n; i++)
        total += strlen(*texts[i]) + 1;
    char *at = malloc(total);
    if (at == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a request");
    request->decoded = at;
    for (unsigned i = 0; i < n; i++) {
        size_t size = strlen(*texts[i]) + 1;
        *texts[i] = memcpy(at, *texts[i], size);
        at += size;
    }
    return BM_OK;
}

// ---- Fields ----

static enum bm_status name_check(const char *field, const char *name, struct bm_error *err)
{
    if (bm_name_valid(name))
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, field, "expected " BM_NAME_RULE ", got %s",
                   name[0] == '\0' ? "nothing" : "something else");
}

static enum bm_status id_check(const char *field, const char *id, struct bm_error *err)
{
    if (bm_name_valid(id) && strlen(id) <= BM_STREAM_ID_MAX)
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, field, "expected an id that this server gave, got %s",
                   id[0] == '\0' ? "nothing" : "something else");
}

static enum bm_status choice_check(const char *field, int value, int last, struct bm_error *err)
{
    if (value >= 0 && value <= last)
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, field, "expected 0 to %d, got %d", last, value);
}

static enum bm_status wait_check(uint32_t wait_ms, struct bm_error *err)
{
    if (wait_ms <= BM_SESSION_WAIT_MS_MAX)
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, "wait_ms", "expected at most %d, got %u",
                   BM_SESSION_WAIT_MS_MAX, wait_ms);
}

// Checks what the message alone can tell; the ranges are bm_order_init()'s.
static enum bm_status order_decode(const Batchmill__V1__Order *order, struct bm_order_request *ret,
                                   struct bm_error *err)
{
    if (order == NULL)
        return BM_OK; // nothing given; a position brings its own
    enum bm_status status;
    if ((status = choice_check("shuffle", (int)order->shuffle, BM_SHUFFLE_DRAWN, err)) != BM_OK ||
        (status = choice_check("epoch_border", (int)order->epoch_border, BM_BORDER_CROSS, err)) !=
            BM_OK)
        return status;
    if (order->shuffle == BATCHMILL__V1__SHUFFLE__SHUFFLE_DRAWN && order->seed != 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, "seed",
                       "expected none with SHUFFLE_DRAWN, as the server draws it, got %llu",
                       (unsigned long long)order->seed);
    const char *given[3];
    unsigned ngiven = 0;
    if (order->n_epochs != 0)
        given[ngiven++] = "n_epochs";
    if (order->n_iters != 0)
        given[ngiven++] = "n_iters";
    if (order->endless)
        given[ngiven++] = "endless";
    if (ngiven > 1)
        return bm_fail(err, BM_INVALID_ARGUMENT, given[0],
                       "expected at most one of n_epochs, n_iters and endless, got %s as well",
                       given[1]);
    *ret = (struct bm_order_request){
        .batch_size = order->batch_size,
        .seed = order->seed,
        .n_epochs = order->n_epochs,
        .n_iters = order->n_iters,
        .shuffle = (enum bm_shuffle)order->shuffle,
        .endless = order->endless,
        .drop_last = order->drop_last,
        .epoch_border = (enum bm_epoch_border)order->epoch_border,
        .shard_index = order->shard_index,
        .shard_count = order->shard_count,
    };
    return BM_OK;
}

// ---- Calls ----

static enum bm_status open_decode(struct bm_request *request, const Batchmill__V1__Order *order,
                                  int on_error, struct bm_error *err)
{
    struct bm_open_request *open = &request->open;
    enum bm_status status = BM_OK;
    if (open->position[0] == '\0' || open->pipeline[0] != '\0') // a position knows its pipeline
        status = name_check("pipeline", open->pipeline, err);
    if (status != BM_OK || (status = order_decode(order, &open->order, err)) != BM_OK ||
        (status = choice_check("on_error", on_error, BM_ON_ERROR_REPORT, err)) != BM_OK)
        return status;
    open->on_error = (enum bm_on_error)on_error;
    if (open->cursor[0] != '\0' && (status = name_check("cursor", open->cursor, err)) != BM_OK)
        return status;
    if (strlen(open->position) > BM_POSITION_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "position", "expected at most %d bytes, got %zu",
                       BM_POSITION_MAX, strlen(open->position));
    const char **texts[] = {&open->pipeline, &open->position, &open->cursor};
    return request_keep(request, texts, 3, err);
}

static enum bm_status open_stream_decode(const Batchmill__V1__OpenStreamRequest *message,
                                         struct bm_request *request, struct bm_error *err)
{
    request->open = (struct bm_open_request){
        .pipeline = message->pipeline,
        .position = message->position,
        .cursor = message->cursor,
        .prefetch = message->prefetch,
        .traced = message->traced,
        .checked = message->checked,
        .same_host = message->same_host,
        .nonce = message->nonce,
    };
    return open_decode(request, message->order, (int)message->on_error, err);
}

static enum bm_status run_decode(const Batchmill__V1__RunRequest *message,
                                 struct bm_request *request, struct bm_error *err)
{
    request->open = (struct bm_open_request){
        .pipeline = message->pipeline,
        .position = "",
        .cursor = "",
        .prefetch = message->prefetch,
        .detached = message->detached,
        .nonce = message->nonce,
    };
    return open_decode(request, message->order, (int)message->on_error, err);
}

static enum bm_status held_check(const Batchmill__V1__NextBatchesRequest *message,
                                 struct bm_error *err)
{
    if (message->n_held > BM_SHARED_HELD_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "held", "expected at most %d batches, got %zu",
                       BM_SHARED_HELD_MAX, message->n_held);
    for (size_t i = 1; i < message->n_held; i++) {
        if (message->held[i] <= message->held[i - 1])
            return bm_fail(
                err, BM_INVALID_ARGUMENT, "held", "expected rising numbers, got %llu after %llu",
                (unsigned long long)message->held[i], (unsigned long long)message->held[i - 1]);
    }
    return BM_OK;
}

// As request_keep(), with the batches that are held before the text, as they are aligned.
static enum bm_status next_keep(struct bm_request *request, const uint64_t *held,
                                struct bm_error *err)
{
    struct bm_next_request *next = &request->next;
    size_t held_bytes = next->nheld * sizeof *held, text_bytes = strlen(next->stream) + 1;
    unsigned char *at = malloc(held_bytes + text_bytes);
    if (at == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a request");
    request->decoded = at;
    if (next->nheld > 0)
        next->held = memcpy(at, held, held_bytes);
    next->stream = memcpy(at + held_bytes, next->stream, text_bytes);
    return BM_OK;
}

static enum bm_status next_decode(const Batchmill__V1__NextBatchesRequest *message,
                                  struct bm_request *request, struct bm_error *err)
{
    request->next = (struct bm_next_request){
        .stream = message->stream,
        .first = message->first,
        .max_bytes = message->max_bytes,
        .ack = message->ack,
        .max_batches = message->max_batches,
        .wait_ms = message->wait_ms,
        .waits = message->waits,
        .same_host = message->same_host,
        .nheld = (unsigned)message->n_held,
    };
    enum bm_status status;
    if ((status = id_check("stream", message->stream, err)) != BM_OK ||
        (status = wait_check(message->wait_ms, err)) != BM_OK ||
        (status = held_check(message, err)) != BM_OK)
        return status;
    return next_keep(request, message->held, err);
}

static enum bm_status pipeline_decode(const char *name, struct bm_request *request,
                                      struct bm_error *err)
{
    request->named.name = name;
    enum bm_status status = name_check("name", name, err);
    if (status != BM_OK)
        return status;
    const char **texts[] = {&request->named.name};
    return request_keep(request, texts, 1, err);
}

static enum bm_status register_decode(const Batchmill__V1__RegisterPipelineRequest *message,
                                      struct bm_request *request, struct bm_error *err)
{
    enum bm_status status = name_check("name", message->name, err);
    if (status != BM_OK)
        return status;
    if (message->lease_ms > BM_SESSION_REGISTERED_LEASE_MS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "lease_ms", "expected at most %d, got %u",
                       BM_SESSION_REGISTERED_LEASE_MS_MAX, message->lease_ms);
    request->registers =
        (struct bm_register_request){message->name, message->definition, message->lease_ms};
    const char **texts[] = {&request->registers.name, &request->registers.definition};
    return request_keep(request, texts, 2, err);
}

static enum bm_status unregister_decode(const Batchmill__V1__UnregisterPipelineRequest *message,
                                        struct bm_request *request, struct bm_error *err)
{
    enum bm_status status;
    if ((status = name_check("name", message->name, err)) != BM_OK ||
        (status = id_check("registration", message->registration, err)) != BM_OK)
        return status;
    request->named.name = message->name;
    request->named.registration = message->registration;
    const char **texts[] = {&request->named.name, &request->named.registration};
    return request_keep(request, texts, 2, err);
}

static enum bm_status id_decode(const char *field, const char *id, struct bm_request *request,
                                struct bm_error *err)
{
    request->named.name = id;
    enum bm_status status = id_check(field, id, err);
    if (status != BM_OK)
        return status;
    const char **texts[] = {&request->named.name};
    return request_keep(request, texts, 1, err);
}

static enum bm_status lend_check(const Batchmill__V1__LendActionsRequest *message,
                                 struct bm_error *err)
{
    enum bm_status status = BM_OK;
    if (message->n_actions > BM_REMOTE_ACTIONS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "actions", "expected at most %d, got %zu",
                       BM_REMOTE_ACTIONS_MAX, message->n_actions);
    for (size_t i = 0; i < message->n_actions && status == BM_OK; i++) {
        const Batchmill__V1__LentAction *action = message->actions[i];
        status = name_check("actions", action->name, err);
        if (status == BM_OK && action->lock[0] != '\0')
            status = name_check("lock", action->lock, err);
    }
    if (status == BM_OK && message->same_host != NULL &&
        message->same_host->nonce.len != BM_SHARED_NONCE_BYTES)
        status = bm_fail(err, BM_INVALID_ARGUMENT, "same_host", "expected a nonce of %d bytes",
                         BM_SHARED_NONCE_BYTES);
    return status;
}

// The table of actions first, as it is aligned, then their texts.
static enum bm_status lend_keep(const Batchmill__V1__LendActionsRequest *message,
                                struct bm_request *request, struct bm_error *err)
{
    size_t total = message->n_actions * sizeof(struct bm_lent_action) + 1;
    for (size_t i = 0; i < message->n_actions; i++)
        total += strlen(message->actions[i]->name) + strlen(message->actions[i]->version) +
                 strlen(message->actions[i]->lock) + 3;
    struct bm_lent_action *actions = malloc(total);
    if (actions == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a request");
    request->decoded = request->lend.actions = actions;
    char *at = (char *)(actions + message->n_actions);
    for (size_t i = 0; i < message->n_actions; i++) {
        const Batchmill__V1__LentAction *from = message->actions[i];
        actions[i].name = at;
        at = stpcpy(at, from->name) + 1;
        actions[i].version = at;
        at = stpcpy(at, from->version) + 1;
        actions[i].lock = at;
        at = stpcpy(at, from->lock) + 1;
    }
    return BM_OK;
}

static enum bm_status lend_decode(const Batchmill__V1__LendActionsRequest *message,
                                  struct bm_request *request, struct bm_error *err)
{
    enum bm_status status = lend_check(message, err);
    if (status != BM_OK)
        return status;
    request->lend = (struct bm_lend_request){.nactions = (unsigned)message->n_actions,
                                             .slots = message->slots,
                                             .nonce = message->nonce,
                                             .probed = message->same_host != NULL};
    if (message->same_host != NULL) {
        request->lend.probe.pid = message->same_host->pid;
        request->lend.probe.fd = message->same_host->fd;
        memcpy(request->lend.probe.nonce, message->same_host->nonce.data, BM_SHARED_NONCE_BYTES);
    }
    return lend_keep(message, request, err);
}

static enum bm_status call_decode(const Batchmill__V1__Request *message, struct bm_request *request,
                                  struct bm_error *err)
{
    enum bm_status status;
    switch ((int)message->call_case) {
    case BATCHMILL__V1__REQUEST__CALL_LIST_PIPELINES:
        request->kind = BM_CALL_LIST_PIPELINES;
        return BM_OK;
    case BATCHMILL__V1__REQUEST__CALL_DESCRIBE_PIPELINE:
        request->kind = BM_CALL_DESCRIBE_PIPELINE;
        return pipeline_decode(message->describe_pipeline->name, request, err);
    case BATCHMILL__V1__REQUEST__CALL_REGISTER_PIPELINE:
        request->kind = BM_CALL_REGISTER_PIPELINE;
        return register_decode(message->register_pipeline, request, err);
    case BATCHMILL__V1__REQUEST__CALL_UNREGISTER_PIPELINE:
        request->kind = BM_CALL_UNREGISTER_PIPELINE;
        return unregister_decode(message->unregister_pipeline, request, err);
    case BATCHMILL__V1__REQUEST__CALL_OPEN_STREAM:
        request->kind = BM_CALL_OPEN_STREAM;
        return open_stream_decode(message->open_stream, request, err);
    case BATCHMILL__V1__REQUEST__CALL_NEXT_BATCHES:
        request->kind = BM_CALL_NEXT_BATCHES;
        return next_decode(message->next_batches, request, err);
    case BATCHMILL__V1__REQUEST__CALL_CLOSE_STREAM:
        request->kind = BM_CALL_CLOSE_STREAM;
        request->named.ack = message->close_stream->ack;
        request->named.held_none = message->close_stream->held_none;
        return id_decode("stream", message->close_stream->stream, request, err);
    case BATCHMILL__V1__REQUEST__CALL_RUN:
        request->kind = BM_CALL_RUN;
        return run_decode(message->run, request, err);
    case BATCHMILL__V1__REQUEST__CALL_GET_RUN:
        request->kind = BM_CALL_GET_RUN;
        request->named.wait_ms = message->get_run->wait_ms;
        if ((status = wait_check(message->get_run->wait_ms, err)) != BM_OK)
            return status;
        return id_decode("run", message->get_run->run, request, err);
    case BATCHMILL__V1__REQUEST__CALL_CANCEL_RUN:
        request->kind = BM_CALL_CANCEL_RUN;
        return id_decode("run", message->cancel_run->run, request, err);
    case BATCHMILL__V1__REQUEST__CALL_GET_STATUS:
        request->kind = BM_CALL_GET_STATUS;
        return BM_OK;
    case BATCHMILL__V1__REQUEST__CALL_LEND_ACTIONS:
        request->kind = BM_CALL_LEND_ACTIONS;
        return lend_decode(message->lend_actions, request, err);
    case BATCHMILL__V1__REQUEST__CALL_END_LENDING:
        request->kind = BM_CALL_END_LENDING;
        return id_decode("lender", message->end_lending->lender, request, err);
    default:
        break;
    }
    if (message->base.n_unknown_fields > 0)
        return bm_fail(err, BM_UNIMPLEMENTED, "request",
                       "expected a call that this server knows, got field %u",
                       message->base.unknown_fields[0].tag);
    return bm_fail(err, BM_INVALID_ARGUMENT, "request", "expected a call, got none");
}

// What was altered is not always unreadable, and what is unreadable was not always altered. An
// altered length may have swallowed the check: then the message ends like one that has it, does
// not, and holds something that it should not.
static bool request_was_altered(const Batchmill__V1__Request *message, enum bm_check end)
{
    if (message == NULL)
        return end != BM_CHECK_NONE;
    if (message->check != 0)
        return end != BM_CHECK_HOLDS;
    bool called = message->call_case != BATCHMILL__V1__REQUEST__CALL__NOT_SET;
    const ProtobufCMessage *call = (const ProtobufCMessage *)message->list_pipelines; // any of them
    return end == BM_CHECK_BROKEN &&
           (!called || call->n_unknown_fields > 0 || message->base.n_unknown_fields > 0);
}

// Of any call but TakeTask.
static enum bm_status request_decode(const void *bytes, size_t size, struct bm_request *ret_request,
                                     struct bm_error *err)
{
    if (size > BM_REQUEST_BYTES_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "request", "expected at most %d bytes, got %zu",
                       BM_REQUEST_BYTES_MAX, size);
    struct budget budget = {.left = BM_REQUEST_MEMORY_MAX};
    ProtobufCAllocator allocator = {
        .alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};
    Batchmill__V1__Request *message = batchmill__v1__request__unpack(&allocator, size, bytes);
    if (budget.exceeded)
        return bm_fail(err, BM_INVALID_ARGUMENT, "request",
                       "expected one that takes at most %d bytes of memory, got too many fields",
                       BM_REQUEST_MEMORY_MAX);
    if (message == NULL && budget.refused)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a request");
    if (request_was_altered(message, bm_check_end(bytes, size))) {
        if (message != NULL)
            batchmill__v1__request__free_unpacked(message, &allocator);
        return bm_fail(err, BM_DATA_LOSS, "request", "the request was altered on its way");
    }
    if (message == NULL)
        return bm_fail(err, BM_INVALID_ARGUMENT, "request",
                       "expected a message batchmill.v1.Request, got %zu bytes of something else",
                       size);
    struct bm_request request = {0};
    enum bm_status status = call_decode(message, &request, err);
    if (status != BM_OK)
        request = (struct bm_request){0};
    request.token = message->token.data; // out of the message, which then does not free it
    request.token_size = message->token.len;
    message->token = (ProtobufCBinaryData){0};
    batchmill__v1__request__free_unpacked(message, &allocator);
    *ret_request = request;
    return status;
}

enum bm_status bm_request_decode_long(void *bytes, size_t size, size_t size_max,
                                      struct bm_request *ret_request, bool *ret_taken,
                                      struct bm_error *err)
{
    *ret_taken = false;
    if (size <= size_max && bm_task_request_is(bytes, size)) {
        enum bm_status status = bm_task_request_decode(bytes, size, ret_request, err);
        struct bm_task_result *result = status == BM_OK ? ret_request->task.result : NULL;
        if (result != NULL) {
            result->bytes = bytes;
            *ret_taken = true;
        }
        return status;
    }
    return request_decode(bytes, size, ret_request, err);
}

static enum bm_status task_decode_copy(const void *bytes, size_t size,
                                       struct bm_request *ret_request, struct bm_error *err)
{
    bool taken;
    void *copy = malloc(size);
    if (copy == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a request");
    memcpy(copy, bytes, size);
    enum bm_status status =
        bm_request_decode_long(copy, size, BM_REQUEST_BYTES_MAX, ret_request, &taken, err);
    if (!taken)
        free(copy);
    return status;
}

enum bm_status bm_request_decode(const void *bytes, size_t size, struct bm_request *ret_request,
                                 struct bm_error *err)
{
    if (size <= BM_REQUEST_BYTES_MAX && bm_task_request_is(bytes, size))
        return task_decode_copy(bytes, size, ret_request, err);
    return request_decode(bytes, size, ret_request, err);
}
