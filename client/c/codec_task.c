// The messages of lending, packed and unpacked by protobuf-c but for the tensors of a task, which
// stay in the reply.
#include "client/c/codec_task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "batchmill/v1/batchmill.pb-c.h"
#include "client/c/codec_wire.h"
#include "client/c/error.h"

enum {
    REPLY_TAKE_TASK = 13,
    REPLY_LEND_ACTIONS = 16,
};

static enum batchmill_code request_pack(const Batchmill__V1__Request *request,
                                        struct bm_buffer *out, struct batchmill_error *error)
{
    bm_buffer_clear(out);
    unsigned char *bytes = bm_buffer_extend(out, batchmill__v1__request__get_packed_size(request));
    if (bytes == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a request");
    batchmill__v1__request__pack(request, bytes);
    return BATCHMILL_OK;
}

// ---- Lending ----

enum batchmill_code bm_client_encode_lend(const struct batchmill_lent_action *actions,
                                          size_t nactions, unsigned slots, uint64_t nonce,
                                          const struct bm_probe *probe, struct bm_buffer *out,
                                          struct batchmill_error *error)
{
    Batchmill__V1__LentAction *messages = calloc(nactions + 1, sizeof *messages);
    Batchmill__V1__LentAction **pointers =
        calloc(nactions + 1, sizeof(Batchmill__V1__LentAction *));
    enum batchmill_code code = BATCHMILL_OK;
    if (messages == NULL || pointers == NULL) {
        code = bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a request");
        goto out;
    }
    for (size_t i = 0; i < nactions; i++) {
        Batchmill__V1__LentAction *message = pointers[i] = &messages[i];
        batchmill__v1__lent_action__init(message);
        message->name = (char *)actions[i].name;
        if (actions[i].version != NULL)
            message->version = (char *)actions[i].version;
        if (actions[i].lock != NULL)
            message->lock = (char *)actions[i].lock;
    }
    Batchmill__V1__SameHost same_host = BATCHMILL__V1__SAME_HOST__INIT;
    Batchmill__V1__LendActionsRequest call = BATCHMILL__V1__LEND_ACTIONS_REQUEST__INIT;
    call.n_actions = nactions;
    call.actions = pointers;
    call.slots = slots;
    call.nonce = nonce;
    if (probe != NULL) {
        same_host.pid = probe->pid;
        same_host.fd = probe->fd;
        same_host.nonce = (ProtobufCBinaryData){sizeof probe->nonce, (uint8_t *)probe->nonce};
        call.same_host = &same_host;
    }
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_LEND_ACTIONS;
    request.lend_actions = &call;
    code = request_pack(&request, out, error);
out:
    free(messages);
    free(pointers);
    return code;
}

enum batchmill_code bm_client_decode_lend(const void *bytes, size_t size,
                                          struct bm_client_lent *ret_lent,
                                          struct batchmill_error *error)
{
    struct bm_wire body;
    enum batchmill_code code = wire_reply(bytes, size, REPLY_LEND_ACTIONS, &body, error);
    if (code != BATCHMILL_OK)
        return code;
    Batchmill__V1__LendActionsReply *reply =
        bm_wire_size(&body) > BM_CLIENT_SMALL_REPLY_MAX
            ? NULL
            : batchmill__v1__lend_actions_reply__unpack(NULL, bm_wire_size(&body), body.at);
    if (reply == NULL)
        return wire_unreadable(error, "it is no message batchmill.v1.LendActionsReply");
    struct bm_client_lent lent = {.lease_ms = reply->lease_ms, .seen = reply->seen};
    if (strlen(reply->lender) > BM_CLIENT_ID_MAX)
        code = wire_unreadable(error, "lender: expected at most %d bytes", BM_CLIENT_ID_MAX);
    else
        strcpy(lent.lender, reply->lender);
    if (reply->same_host != NULL && reply->same_host->nonce.len == sizeof lent.same_host.nonce) {
        lent.has_same_host = true;
        lent.same_host.pid = reply->same_host->pid;
        lent.same_host.fd = reply->same_host->fd;
        memcpy(lent.same_host.nonce, reply->same_host->nonce.data, sizeof lent.same_host.nonce);
    }
    batchmill__v1__lend_actions_reply__free_unpacked(reply, NULL);
    if (code == BATCHMILL_OK)
        *ret_lent = lent;
    return code;
}

enum batchmill_code bm_client_encode_end_lending(const char *lender, struct bm_buffer *out,
                                                 struct batchmill_error *error)
{
    Batchmill__V1__EndLendingRequest call = BATCHMILL__V1__END_LENDING_REQUEST__INIT;
    call.lender = (char *)lender;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_END_LENDING;
    request.end_lending = &call;
    return request_pack(&request, out, error);
}

// ---- Taking ----

struct written_message {
    Batchmill__V1__Tensor tensor;
    Batchmill__V1__SharedData shared;
};

static void written_fill(const struct bm_client_written *written, struct written_message *to)
{
    Batchmill__V1__Tensor *tensor = &to->tensor;
    batchmill__v1__tensor__init(tensor);
    tensor->name = (char *)written->name;
    tensor->dtype = (Batchmill__V1__Dtype)written->dtype;
    tensor->n_shape = written->ndim;
    tensor->shape = (uint64_t *)written->shape;
    if (written->offsets != NULL) {
        tensor->ragged = true;
        tensor->offsets = (ProtobufCBinaryData){written->noffsets * sizeof(uint64_t),
                                                (uint8_t *)written->offsets};
    }
    if (written->shared == NULL) {
        tensor->data = (ProtobufCBinaryData){written->size_bytes, written->data};
        return;
    }
    struct bm_shared_place place = bm_shared_place(written->shared);
    batchmill__v1__shared_data__init(&to->shared);
    to->shared.fd = (uint32_t)place.fd;
    to->shared.offset = BM_SHARED_HEAD_BYTES;
    to->shared.size = written->size_bytes;
    to->shared.block = place.block;
    tensor->shared_data = &to->shared;
}

enum batchmill_code bm_client_encode_take(const struct bm_client_take *take, const char *token,
                                          struct bm_buffer *out, struct batchmill_error *error)
{
    struct written_message *messages = calloc(take->nwritten + 1, sizeof *messages);
    Batchmill__V1__Tensor **pointers = calloc(take->nwritten + 1, sizeof(Batchmill__V1__Tensor *));
    enum batchmill_code code;
    if (messages == NULL || pointers == NULL) {
        code = bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a request");
        goto out;
    }
    for (size_t i = 0; i < take->nwritten; i++) {
        written_fill(&take->written[i], &messages[i]);
        pointers[i] = &messages[i].tensor;
    }
    Batchmill__V1__TakeTaskRequest call = BATCHMILL__V1__TAKE_TASK_REQUEST__INIT;
    call.lender = (char *)take->lender;
    call.slot = take->slot;
    call.ticket = take->ticket;
    call.wait_ms = take->wait_ms;
    call.same_host = take->same_host;
    call.ending = (Batchmill__V1__TaskEnding)take->ending;
    call.code = (Batchmill__V1__Code)take->code;
    if (take->text != NULL)
        call.message = (char *)take->text;
    call.has_row = take->row >= 0;
    call.row = take->row >= 0 ? (uint64_t)take->row : 0;
    call.n_tensors = take->nwritten;
    call.tensors = pointers;
    Batchmill__V1__Request request = BATCHMILL__V1__REQUEST__INIT;
    request.call_case = BATCHMILL__V1__REQUEST__CALL_TAKE_TASK;
    request.take_task = &call;
    code = request_pack(&request, out, error);
    if (code == BATCHMILL_OK)
        code = bm_client_request_close(out, token, error);
out:
    free(messages);
    free(pointers);
    return code;
}

// ---- A task ----

static enum batchmill_code told_decode(const struct bm_wire *wire, struct bm_client_told *ret,
                                       struct batchmill_error *error)
{
    Batchmill__V1__Task *task = batchmill__v1__task__unpack(NULL, bm_wire_size(wire), wire->at);
    if (task == NULL)
        return wire_unreadable(error, "it holds a broken task");
    *ret = (struct bm_client_told){
        .message = task,
        .action = task->action,
        .pipeline = task->pipeline,
        .stream = task->stream,
        .params = task->params,
        .attempt = task->attempt,
        .seed = task->seed,
        .position = task->position,
        .nepochs = task->n_epochs,
        .ncopies = task->n_copies,
        .epochs = task->epochs,
        .copies = task->copies,
    };
    return BATCHMILL_OK;
}

void bm_client_told_free(struct bm_client_told *told)
{
    if (told->message != NULL)
        batchmill__v1__task__free_unpacked(told->message, NULL);
    *told = (struct bm_client_told){0};
}

static enum batchmill_code told_check(const struct bm_client_task_reply *taken,
                                      struct batchmill_error *error)
{
    size_t n = taken->batch->nitems;
    const struct bm_client_told *told = &taken->told;
    if (taken->batch->outcome != BM_CLIENT_BATCH)
        return wire_unreadable(error, "expected a batch with its task, got none");
    if ((told->nepochs != 0 && told->nepochs != n) || (told->ncopies != 0 && told->ncopies != n))
        return wire_unreadable(error, "expected %zu epochs and copies, got %zu and %zu", n,
                               told->nepochs, told->ncopies);
    return BATCHMILL_OK;
}

enum batchmill_code bm_client_decode_take(const void *bytes, size_t size, bool same_host,
                                          struct bm_client_task_reply *ret_taken,
                                          struct batchmill_error *error)
{
    struct bm_wire body, task = {0};
    enum batchmill_code code = wire_reply(bytes, size, REPLY_TAKE_TASK, &body, error);
    if (code != BATCHMILL_OK)
        return code;
    struct bm_client_task_reply taken = {0};
    struct bm_client_batches batches = {
        .at = body.at, .stop = body.stop, .seq = BATCHMILL_UNSET, .same_host = same_host};
    struct bm_wire_field field;
    while (bm_wire_next(&body, &field)) {
        if (field.tag == BM_WIRE_TAG(2, BM_WIRE_VARINT)) {
            taken.slot = (uint32_t)field.value;
        } else if (field.tag == BM_WIRE_TAG(3, BM_WIRE_VARINT)) {
            taken.ticket = field.value;
        } else if (field.tag == BM_WIRE_TAG(4, BM_WIRE_VARINT)) {
            taken.settled = field.value;
        } else if (field.tag == BM_WIRE_TAG(5, BM_WIRE_BYTES)) {
            taken.given = true;
            task = field.bytes;
        }
    }
    if (body.broken)
        return wire_unreadable(error, "it is no message batchmill.v1.TakeTaskReply");
    if (taken.given)
        code = told_decode(&task, &taken.told, error);
    if (taken.given && code == BATCHMILL_OK)
        code = bm_client_next_of(&batches, &taken.batch, error);
    if (taken.given && code == BATCHMILL_OK)
        code = told_check(&taken, error);
    if (code == BATCHMILL_OK) {
        *ret_taken = taken;
    } else {
        bm_client_told_free(&taken.told);
        free(taken.batch);
    }
    return code;
}
