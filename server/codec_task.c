// Tasks out to lenders, and what they make of them.
//
// What a lender makes may be long: its request is walked over where it lies, and the result looks
// at it there, until a worker copies it into the batch.
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/wire.h"
#include "server/codec_batches.h"
#include "server/session.h"

enum { FIELD_TASK_REPLY = 13, FIELD_TASK_REQUEST = 15, FIELD_TOKEN = 12 };

// ---- The reply ----

static bool same_epochs(const struct bm_task_told *told)
{
    for (uint64_t i = 0; i < told->nitems; i++) {
        if (told->epochs[i] != told->epoch)
            return false;
    }
    return true;
}

static bool any_copies(const struct bm_task_told *told)
{
    for (uint64_t i = 0; told->copies != NULL && i < told->nitems; i++) {
        if (told->copies[i] != 0)
            return true;
    }
    return false;
}

struct given_head {
    Batchmill__V1__TakeTaskReply message;
    Batchmill__V1__Task task;
};

static struct bm_parcel given_parcel(const struct bm_given_task *given, struct given_head *head)
{
    Batchmill__V1__TakeTaskReply *message = &head->message;
    batchmill__v1__take_task_reply__init(message);
    message->lender = (char *)given->lender;
    message->slot = given->slot;
    message->ticket = given->ticket;
    message->settled = given->settled;
    if (given->task != NULL) {
        const struct bm_task_told *told = bm_task_told(given->task);
        Batchmill__V1__Task *task = message->task = &head->task;
        batchmill__v1__task__init(task);
        task->action = (char *)told->action;
        task->pipeline = (char *)bm_pipeline_name(told->pipeline);
        task->stream = (char *)told->stream;
        task->attempt = given->attempt;
        task->seed = told->seed;
        task->position = told->position;
        task->params = (char *)told->params;
        if (!same_epochs(told)) {
            task->n_epochs = told->nitems;
            task->epochs = (uint64_t *)told->epochs;
        }
        if (any_copies(told)) {
            task->n_copies = told->nitems;
            task->copies = (uint32_t *)told->copies;
        }
    }
    return (struct bm_parcel){.given = given,
                              .head = &message->base,
                              .field = FIELD_TASK_REPLY,
                              .n = given->task != NULL,
                              .by_reference = given->by_reference};
}

enum bm_status bm_given_encode(const struct bm_given_task *given,
                               void *(*alloc)(void *context, size_t size), void *context,
                               struct bm_error *err)
{
    struct given_head head;
    const struct bm_parcel parcel = given_parcel(given, &head);
    return bm_parcel_encode(&parcel, alloc, context, err);
}

enum bm_status bm_given_gather(const struct bm_given_task *given, size_t spare,
                               struct bm_reply_pieces *ret_pieces, struct bm_error *err)
{
    struct given_head head;
    const struct bm_parcel parcel = given_parcel(given, &head);
    return bm_parcel_gather(&parcel, spare, ret_pieces, err);
}

// ---- The request ----

bool bm_task_request_is(const void *bytes, size_t size)
{
    struct bm_wire wire = bm_wire_of(bytes, size);
    struct bm_wire_field field;
    bool is = false;
    while (bm_wire_next(&wire, &field))
        is |= field.tag == BM_WIRE_TAG(FIELD_TASK_REQUEST, BM_WIRE_BYTES);
    return is;
}

static void shape_add(struct bm_task_tensor *tensor, uint64_t length)
{
    if (tensor->ndim <= BM_NDIM_MAX)
        tensor->shape[tensor->ndim] = length;
    if (tensor->ndim <= BM_NDIM_MAX + 1)
        tensor->ndim++;
}

static bool place_walk(struct bm_wire wire, struct bm_mapped_place *ret)
{
    struct bm_wire_field field;
    *ret = (struct bm_mapped_place){0};
    while (bm_wire_next(&wire, &field)) {
        if (field.tag == BM_WIRE_TAG(1, BM_WIRE_VARINT))
            ret->fd = (uint32_t)field.value;
        else if (field.tag == BM_WIRE_TAG(2, BM_WIRE_VARINT))
            ret->offset = field.value;
        else if (field.tag == BM_WIRE_TAG(3, BM_WIRE_VARINT))
            ret->size_bytes = field.value;
        else if (field.tag == BM_WIRE_TAG(4, BM_WIRE_64))
            ret->block = field.value;
    }
    return !wire.broken;
}

static bool tensor_walk(struct bm_wire wire, struct bm_task_tensor *ret)
{
    struct bm_task_tensor tensor = {0};
    struct bm_wire_field field;
    uint64_t length;
    bool good = true;
    while (good && bm_wire_next(&wire, &field)) {
        switch (field.tag) {
        case BM_WIRE_TAG(1, BM_WIRE_BYTES):
            bm_wire_text(&field.bytes, tensor.name, sizeof tensor.name);
            break;
        case BM_WIRE_TAG(2, BM_WIRE_VARINT):
            tensor.dtype = field.value;
            break;
        case BM_WIRE_TAG(3, BM_WIRE_BYTES):
            while (field.bytes.at < field.bytes.stop && bm_wire_varint(&field.bytes, &length))
                shape_add(&tensor, length);
            good = !field.bytes.broken;
            break;
        case BM_WIRE_TAG(3, BM_WIRE_VARINT):
            shape_add(&tensor, field.value);
            break;
        case BM_WIRE_TAG(4, BM_WIRE_VARINT):
            tensor.ragged = field.value != 0;
            break;
        case BM_WIRE_TAG(6, BM_WIRE_BYTES):
            tensor.offsets = field.bytes.at;
            tensor.offsets_bytes = bm_wire_size(&field.bytes);
            break;
        case BM_WIRE_TAG(8, BM_WIRE_BYTES):
            tensor.data = field.bytes.at;
            tensor.data_bytes = bm_wire_size(&field.bytes);
            break;
        case BM_WIRE_TAG(9, BM_WIRE_BYTES):
            tensor.placed = true;
            good = place_walk(field.bytes, &tensor.place);
            break;
        default:
            break;
        }
    }
    *ret = tensor;
    return good && !wire.broken && tensor.ndim > 0 && tensor.ndim <= BM_NDIM_MAX + 1;
}

struct task_view { // as it stands in the message
    struct bm_wire lender, message;
    uint64_t slot, ticket, wait_ms, same_host, ending, code, has_row, row;
    unsigned ntensors;
};

static bool view_walk(struct bm_wire wire, struct task_view *ret)
{
    struct task_view view = {0};
    struct bm_wire_field field;
    uint64_t *const numbers[] = {
        [2] = &view.slot,   [3] = &view.ticket, [4] = &view.wait_ms, [5] = &view.same_host,
        [6] = &view.ending, [7] = &view.code,   [9] = &view.has_row, [10] = &view.row};
    while (bm_wire_next(&wire, &field)) {
        uint32_t number = field.tag >> 3;
        if (field.tag == BM_WIRE_TAG(1, BM_WIRE_BYTES))
            view.lender = field.bytes;
        else if (field.tag == BM_WIRE_TAG(8, BM_WIRE_BYTES))
            view.message = field.bytes;
        else if (field.tag == BM_WIRE_TAG(15, BM_WIRE_BYTES))
            view.ntensors++;
        else if ((field.tag & 7) == BM_WIRE_VARINT && number < sizeof numbers / sizeof numbers[0] &&
                 numbers[number] != NULL)
            *numbers[number] = field.value;
    }
    *ret = view;
    return !wire.broken;
}

static enum bm_status result_fill(struct bm_task_result *result, struct bm_wire wire,
                                  struct bm_error *err)
{
    struct bm_wire_field field;
    while (bm_wire_next(&wire, &field)) {
        if (field.tag != BM_WIRE_TAG(15, BM_WIRE_BYTES))
            continue;
        struct bm_task_tensor *tensor = &result->tensors[result->ntensors];
        if (!tensor_walk(field.bytes, tensor))
            return bm_fail(err, BM_INVALID_ARGUMENT, "tensors",
                           "expected 1 to %d axes, and fields "
                           "that can be read, in tensor %u",
                           BM_NDIM_MAX + 1, result->ntensors);
        result->ntensors++;
    }
    return BM_OK;
}

static enum bm_status result_new(const struct task_view *view, struct bm_wire wire,
                                 struct bm_task_result **ret_result, struct bm_error *err)
{
    if (view->ending > BM_TASK_STOP)
        return bm_fail(err, BM_INVALID_ARGUMENT, "ending", "expected 0 to %d, got %llu",
                       BM_TASK_STOP, (unsigned long long)view->ending);
    unsigned n = view->ending == BM_TASK_DONE ? view->ntensors : 0;
    if (n > BM_COMPONENTS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "tensors", "expected at most %d, got %u",
                       BM_COMPONENTS_MAX, n);
    *ret_result = NULL;
    if (view->ending == 0)
        return BM_OK;
    struct bm_task_result *result = calloc(1, sizeof *result + n * sizeof result->tensors[0]);
    if (result == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a result");
    atomic_init(&result->refs, 1);
    result->ending = (enum bm_task_ending)view->ending;
    bool known = view->code > BM_OK && view->code < BM_STATUSES;
    result->status = known ? (enum bm_status)view->code : BM_UNKNOWN;
    result->row = view->has_row && view->row <= INT32_MAX ? (int64_t)view->row : -1;
    bm_wire_text(&view->message, result->text, sizeof result->text);
    enum bm_status status = n == 0 ? BM_OK : result_fill(result, wire, err);
    if (status == BM_OK)
        *ret_result = result;
    else
        bm_task_result_unref(result);
    return status;
}

static enum bm_status task_decode(struct bm_wire wire, struct bm_request *request,
                                  struct bm_error *err)
{
    struct task_view view;
    char id[BM_STREAM_ID_MAX + 2];
    if (!view_walk(wire, &view))
        return bm_fail(err, BM_INVALID_ARGUMENT, "request", "expected a TakeTaskRequest");
    bm_wire_text(&view.lender, id, sizeof id);
    if (!bm_name_valid(id) || strlen(id) > BM_STREAM_ID_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "lender",
                       "expected an id that this server gave, got something else");
    if (view.wait_ms > BM_SESSION_WAIT_MS_MAX || view.slot > UINT32_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, view.slot > UINT32_MAX ? "slot" : "wait_ms",
                       "expected at most %d", BM_SESSION_WAIT_MS_MAX);
    struct bm_task_request *task = &request->task;
    *task = (struct bm_task_request){.slot = (uint32_t)view.slot,
                                     .wait_ms = (uint32_t)view.wait_ms,
                                     .ticket = view.ticket,
                                     .same_host = view.same_host != 0};
    enum bm_status status = result_new(&view, wire, &task->result, err);
    if (status != BM_OK)
        return status;
    request->decoded = strdup(id);
    if (request->decoded == NULL) {
        task->result = bm_task_result_unref(task->result);
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a request");
    }
    task->lender = request->decoded;
    request->kind = BM_CALL_TAKE_TASK;
    return BM_OK;
}

static bool token_take(const struct bm_wire *token, struct bm_request *request)
{
    if (bm_wire_size(token) == 0)
        return true;
    request->token = malloc(bm_wire_size(token));
    if (request->token == NULL)
        return false;
    request->token_size = bm_wire_size(token);
    memcpy(request->token, token->at, request->token_size);
    return true;
}

enum bm_status bm_task_request_decode(const void *bytes, size_t size,
                                      struct bm_request *ret_request, struct bm_error *err)
{
    struct bm_wire wire = bm_wire_of(bytes, size), body = {0}, token = {0};
    struct bm_wire_field field;
    bool checked = false;
    while (bm_wire_next(&wire, &field)) {
        checked |= field.tag == BM_WIRE_TAG(BM_CHECK_FIELD, BM_WIRE_64);
        if (field.tag == BM_WIRE_TAG(FIELD_TASK_REQUEST, BM_WIRE_BYTES))
            body = field.bytes;
        else if (field.tag == BM_WIRE_TAG(FIELD_TOKEN, BM_WIRE_BYTES))
            token = field.bytes;
    }
    if ((checked || wire.broken) && bm_check_end(bytes, size) != BM_CHECK_HOLDS)
        return bm_fail(err, BM_DATA_LOSS, "request", "the request was altered on its way");
    if (wire.broken || !token_take(&token, ret_request))
        return bm_fail(err, wire.broken ? BM_INVALID_ARGUMENT : BM_RESOURCE_EXHAUSTED, "request",
                       "expected a message batchmill.v1.Request, or out of memory for it");
    return task_decode(body, ret_request, err);
}
