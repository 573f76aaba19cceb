// Opening a stream, and opening it again at its position where the server does not know it any
// more.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/c/stream.h"

static void batch_drop(void *batch)
{
    batchmill_batch_free(batch);
}

// ---- Opening ----

static enum batchmill_code client_open(struct batchmill_client *client,
                                       const struct bm_client_open *open,
                                       struct bm_client_opened **ret_opened,
                                       struct batchmill_error *error)
{
    struct bm_buffer request;
    struct bm_client_message *reply = NULL;
    struct bm_client_opened *opened = NULL;
    bm_buffer_init(&request);
    enum batchmill_code code = bm_client_encode_open(open, &request, error);
    if (code == BATCHMILL_OK)
        code = bm_client_exchange(client, &request, 0, client->timeout_ms, &reply, error);
    if (code == BATCHMILL_OK)
        code = bm_client_decode_open(bm_client_message_data(reply), bm_client_message_size(reply),
                                     &opened, error);
    bm_client_message_unref(reply);
    bm_buffer_fini(&request);
    if (code != BATCHMILL_OK)
        return code;
    if (opened->prefetch > BM_CLIENT_PREFETCH_MAX || opened->first_seq > UINT64_MAX / 2) {
        bm_client_explain(error, BATCHMILL_DATA_LOSS,
                          "the server's reply makes no sense: prefetch %u from batch %" PRIu64,
                          opened->prefetch, opened->first_seq);
        free(opened);
        return BATCHMILL_DATA_LOSS;
    }
    *ret_opened = opened;
    return BATCHMILL_OK;
}

// Takes `opened` on success.
static enum batchmill_code stream_new(struct batchmill_client *client,
                                      struct bm_client_opened *opened,
                                      const struct batchmill_order *order, bool is_member,
                                      struct batchmill_stream **ret_stream,
                                      struct batchmill_error *error)
{
    struct batchmill_stream *stream = calloc(1, sizeof *stream);
    bool automatic = order->prefetch == BATCHMILL_PREFETCH_AUTO;
    if (stream == NULL || !bm_client_window_init(&stream->window, opened->first_seq,
                                                 is_member ? UINT64_MAX : opened->batches,
                                                 is_member ? 0 : opened->prefetch,
                                                 !is_member && automatic, batch_drop)) {
        free(stream);
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a stream");
    }
    enum batchmill_code code = bm_client_keep_leases(client, opened->lease_ms, error);
    if (code == BATCHMILL_OK)
        code = bm_client_enter_connection(client, &stream->connection, error);
    if (code != BATCHMILL_OK) {
        bm_client_window_fini(&stream->window);
        free(stream);
        return code;
    }
    stream->client = client;
    stream->opened = opened;
    stream->shared = bm_client_map_server(client, opened);
    strcpy(stream->id, opened->stream);
    stream->on_error = order->on_error;
    stream->traced = order->traced;
    stream->checked = order->checked;
    stream->is_member = is_member;
    stream->wait_ms =
        opened->lease_ms / 2 < BM_CLIENT_WAIT_MS ? opened->lease_ms / 2 + 1 : BM_CLIENT_WAIT_MS;
    for (unsigned i = 0; i < BM_CLIENT_FLIGHTS; i++)
        stream->flights[i].stream = stream;
    bm_cond_init(&stream->changed);
    *ret_stream = stream;
    return BATCHMILL_OK;
}

static bool client_may_map(struct batchmill_client *client)
{
    bm_mutex_lock(&client->mutex);
    bool may = !client->no_shared_memory;
    bm_mutex_unlock(&client->mutex);
    return may;
}

struct bm_client_shared *bm_client_map_server(struct batchmill_client *client,
                                              const struct bm_client_opened *opened)
{
    if (!opened->has_same_host || !client_may_map(client))
        return NULL;
    struct bm_client_shared *shared = bm_client_shared_new(&opened->same_host, client->writable);
    if (shared != NULL)
        return shared;
    bm_mutex_lock(&client->mutex);
    bool told = client->no_shared_memory; // by another thread, just now
    client->no_shared_memory = true;
    bm_mutex_unlock(&client->mutex);
    if (!told)
        bm_client_log(client,
                      "%s: cannot map the server's memory (another user or container?); batches "
                      "come by the socket",
                      client->url);
    return NULL;
}

enum batchmill_code bm_client_stream_open(struct batchmill_client *client, const char *pipeline,
                                          const char *cursor, const struct batchmill_order *order,
                                          struct batchmill_stream **ret_stream,
                                          struct batchmill_error *error)
{
    const struct bm_client_open open = {pipeline, cursor, order, bm_client_nonce(),
                                        cursor == NULL && client_may_map(client)};
    struct bm_client_opened *opened = NULL;
    struct batchmill_stream *stream = NULL;
    enum batchmill_code code = client_open(client, &open, &opened, error);
    if (code == BATCHMILL_OK)
        code = stream_new(client, opened, order, cursor != NULL, &stream, error);
    if (code != BATCHMILL_OK) { // what the server opened goes with its lease
        free(opened);
        return code;
    }
    bm_mutex_lock(&client->mutex);
    bm_list_push_back(&client->streams, &stream->node);
    bm_mutex_unlock(&client->mutex);
    *ret_stream = stream;
    return BATCHMILL_OK;
}

// ---- Opening again ----

static enum batchmill_code stream_ask_again(struct batchmill_stream *stream,
                                            struct bm_client_opened **ret_opened,
                                            struct batchmill_error *error)
{
    char *position = NULL;
    if (asprintf(&position, "%s.%" PRIu64, stream->opened->position_stem, stream->window.want) < 0)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a position");
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS; // the position has all of it
    order.shard_count = 0;
    order.prefetch = stream->window.narrow ? BATCHMILL_PREFETCH_AUTO : stream->opened->prefetch;
    order.on_error = stream->on_error;
    order.traced = stream->traced;
    order.checked = stream->checked;
    order.position = position;
    const struct bm_client_open open = {"", NULL, &order, bm_client_nonce(),
                                        client_may_map(stream->client)};
    enum batchmill_code code = client_open(stream->client, &open, ret_opened, error);
    free(position);
    return code;
}

static enum batchmill_code stream_check_again(const struct batchmill_stream *stream,
                                              const struct bm_client_opened *opened,
                                              struct batchmill_error *error)
{
    if (opened->first_seq != stream->window.want)
        return bm_client_fail(error, BATCHMILL_DATA_LOSS,
                              "the server opened the stream at another batch: expected %" PRIu64
                              ", got %" PRIu64,
                              stream->window.want, opened->first_seq);
    bm_client_log(stream->client,
                  "%s: the server does not know the stream any more; opened it again at batch "
                  "%" PRIu64,
                  stream->client->url, opened->first_seq);
    return BATCHMILL_OK;
}

enum batchmill_code bm_client_stream_open_again(struct batchmill_stream *stream,
                                                struct bm_client_opened **ret_opened,
                                                struct batchmill_error *error)
{
    struct bm_client_opened *opened = NULL;
    enum batchmill_code code = stream_ask_again(stream, &opened, error);
    if (code == BATCHMILL_OK)
        code = stream_check_again(stream, opened, error);
    if (code == BATCHMILL_OK)
        *ret_opened = opened;
    else
        free(opened);
    return code;
}
