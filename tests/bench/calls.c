#include "bench/calls.h"

#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

enum { MESSAGE_BYTES_MAX = 1 << 26 };

static void calls_check(enum batchmill_code code, const struct batchmill_error *error)
{
    if (code != BATCHMILL_OK)
        bench_die("request", error->text);
}

struct bm_client_transport *bench_connection(const char *url)
{
    struct batchmill_error error = {0};
    struct bm_client_transport *transport = NULL;
    const struct bm_client_transport_config config = {.url = url,
                                                      .max_message_bytes = MESSAGE_BYTES_MAX};
    calls_check(bm_client_transport_open(&config, &transport, &error), &error);
    return transport;
}

// Counts what came, as a consumer would look at it. False: the batch is not ready yet.
static bool reply_take(struct bench_caller *caller, const void *bytes, size_t size)
{
    struct bm_client_batches batches;
    struct batchmill_error *error = &caller->error;
    caller->failed = bm_client_decode_next(bytes, size, &batches, error) != BATCHMILL_OK;
    for (size_t i = 0; !caller->failed && i < batches.nbatches; i++) {
        struct bm_client_batch *batch = NULL;
        caller->failed = bm_client_next_of(&batches, &batch, error) != BATCHMILL_OK;
        free(batch);
    }
    if (caller->failed)
        return true;
    caller->stream->next += batches.nbatches;
    return batches.nbatches > 0;
}

static void caller_send(struct bench_caller *caller)
{
    struct batchmill_error error = {0};
    calls_check(bm_client_request_seal(&caller->request, NULL, &error), &error);
    if (!bm_client_call_start(caller->call, caller->request.data, caller->request.size))
        bench_die("request", "out of memory");
}

static void caller_answered(void *context, struct bm_client_message *reply)
{
    struct bench_caller *caller = context;
    if (reply == NULL)
        bench_die("request", "there will be no reply");
    const void *bytes = bm_client_message_data(reply);
    size_t size = bm_client_message_size(reply);
    if (caller->stream == NULL)
        caller->failed =
            bm_client_decode_open(bytes, size, &caller->opened, &caller->error) != BATCHMILL_OK;
    else if (!reply_take(caller, bytes, size)) {
        bm_client_message_unref(reply);
        bench_caller_start(caller, caller->stream);
        return;
    }
    bm_client_message_unref(reply);
    if (caller->done != NULL && caller->stream != NULL) {
        caller->done(caller);
        return;
    }
    bm_mutex_lock(&caller->mutex);
    caller->answered = true;
    bm_cond_signal(&caller->cond);
    bm_mutex_unlock(&caller->mutex);
}

void bench_caller_init(struct bench_caller *caller, struct bm_client_transport *transport,
                       void (*done)(struct bench_caller *caller))
{
    *caller = (struct bench_caller){.transport = transport, .done = done};
    bm_buffer_init(&caller->request);
    bm_mutex_init(&caller->mutex);
    bm_cond_init(&caller->cond);
    caller->call = bm_client_call_new(transport, caller_answered, caller);
    if (caller->call == NULL)
        bench_die("request", "out of memory");
}

static void caller_wait(struct bench_caller *caller)
{
    bm_mutex_lock(&caller->mutex);
    while (!caller->answered)
        bm_cond_wait(&caller->cond, &caller->mutex);
    caller->answered = false;
    bm_mutex_unlock(&caller->mutex);
    if (caller->failed)
        bench_die("request", caller->error.text);
}

void bench_caller_open(struct bench_caller *caller, struct bench_taken *ret_stream,
                       const char *pipeline, uint64_t batch_size, uint32_t prefetch)
{
    struct batchmill_error error = {0};
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = batch_size;
    order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    order.seed = 7;
    order.n_epochs = 0;
    order.prefetch = prefetch;
    const struct bm_client_open open = {.pipeline = pipeline, .order = &order};
    caller->stream = NULL;
    calls_check(bm_client_encode_open(&open, &caller->request, &error), &error);
    caller_send(caller);
    caller_wait(caller);
    *ret_stream = (struct bench_taken){.next = caller->opened->first_seq};
    memcpy(ret_stream->id, caller->opened->stream, sizeof ret_stream->id);
    free(caller->opened);
}

void bench_caller_start(struct bench_caller *caller, struct bench_taken *stream)
{
    struct batchmill_error error = {0};
    const struct bm_client_next next = {.stream = stream->id,
                                        .first = stream->next,
                                        .max_batches = 1,
                                        .wait_ms = BM_CLIENT_WAIT_MS,
                                        .ack = stream->next};
    caller->stream = stream;
    calls_check(bm_client_encode_next(&next, &caller->request, &error), &error);
    caller_send(caller);
}

void bench_caller_take(struct bench_caller *caller, struct bench_taken *stream)
{
    bench_caller_start(caller, stream);
    caller_wait(caller);
}
