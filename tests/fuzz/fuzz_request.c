// Any bytes as a request: decoded, or refused with an error that says where. What is decoded keeps
// the promises the session builds on.
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "fuzz/fuzz.h"
#include "server/codec.h"
#include "server/position.h"
#include "server/session.h"

static void open_check(const struct bm_open_request *open)
{
    BM_ASSERT(bm_name_valid(open->pipeline) || open->position[0] != '\0');
    BM_ASSERT(open->cursor[0] == '\0' || bm_name_valid(open->cursor));
    BM_ASSERT(strlen(open->position) <= BM_POSITION_MAX);
    BM_ASSERT(open->on_error <= BM_ON_ERROR_REPORT && open->order.shuffle <= BM_SHUFFLE_DRAWN);
    BM_ASSERT(open->order.epoch_border <= BM_BORDER_CROSS);
    struct bm_position position;
    struct bm_error error;
    if (bm_position_parse(open->position, &position, &error) != BM_OK) {
        fuzz_refused(&error);
        return;
    }
    char *stem = bm_position_stem(&position); // what was read is what would be written
    BM_ASSERT(stem != NULL && strncmp(open->position, stem, strlen(stem)) == 0);
    free(stem);
}

static void id_check(const char *id)
{
    BM_ASSERT(bm_name_valid(id) && strlen(id) <= BM_STREAM_ID_MAX);
}

static void request_check(const struct bm_request *request)
{
    BM_ASSERT(request->kind != BM_CALL_NONE);
    switch (request->kind) {
    case BM_CALL_OPEN_STREAM:
    case BM_CALL_RUN:
        open_check(&request->open);
        break;
    case BM_CALL_NEXT_BATCHES:
        id_check(request->next.stream);
        BM_ASSERT(request->next.wait_ms <= BM_SESSION_WAIT_MS_MAX);
        break;
    case BM_CALL_GET_RUN:
        BM_ASSERT(request->named.wait_ms <= BM_SESSION_WAIT_MS_MAX);
        id_check(request->named.name);
        break;
    case BM_CALL_CLOSE_STREAM:
    case BM_CALL_CANCEL_RUN:
        id_check(request->named.name);
        break;
    case BM_CALL_REGISTER_PIPELINE:
        BM_ASSERT(bm_name_valid(request->registers.name));
        BM_ASSERT(strlen(request->registers.definition) < BM_REQUEST_BYTES_MAX);
        BM_ASSERT(request->registers.lease_ms <= BM_SESSION_REGISTERED_LEASE_MS_MAX);
        break;
    case BM_CALL_UNREGISTER_PIPELINE:
        BM_ASSERT(bm_name_valid(request->named.name));
        id_check(request->named.registration);
        break;
    case BM_CALL_DESCRIBE_PIPELINE:
        BM_ASSERT(bm_name_valid(request->named.name));
        break;
    case BM_CALL_LEND_ACTIONS:
        BM_ASSERT(request->lend.nactions <= BM_REMOTE_ACTIONS_MAX);
        for (unsigned i = 0; i < request->lend.nactions; i++)
            BM_ASSERT(bm_name_valid(request->lend.actions[i].name));
        break;
    case BM_CALL_TAKE_TASK:
        id_check(request->task.lender);
        BM_ASSERT(request->task.wait_ms <= BM_SESSION_WAIT_MS_MAX);
        break;
    case BM_CALL_END_LENDING:
        id_check(request->named.name);
        break;
    case BM_CALL_LIST_PIPELINES:
    case BM_CALL_GET_STATUS:
    case BM_CALL_NONE:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bm_request request = {0};
    struct bm_error error;
    if (bm_request_decode(data, size, &request, &error) != BM_OK) {
        fuzz_refused(&error);
        BM_ASSERT(error.where[0] != '\0');
        BM_ASSERT(request.kind == BM_CALL_NONE && request.decoded == NULL);
        bm_request_fini(&request);
        return 0;
    }
    request_check(&request);
    bm_request_fini(&request);
    return 0;
}
