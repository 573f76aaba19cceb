// A reply to NextBatches: what a message turned out to be, before anybody's state hears of it.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/c/internal.h"

static enum batchmill_code reply_check(const struct bm_client_batches *head,
                                       const struct bm_client_asked *asked,
                                       struct batchmill_error *error)
{
    const struct bm_client_ask *ask = asked->ask;
    const char *stream = asked->stream;
    if (strcmp(head->stream, stream) != 0 || head->first != ask->first)
        return bm_client_fail(error, BATCHMILL_DATA_LOSS,
                              "the server's reply is of another request: expected batch %" PRIu64
                              " of %s, got %" PRIu64 " of %s",
                              ask->first, stream, head->first, head->stream);
    if (head->nbatches > ask->count)
        return bm_client_fail(
            error, BATCHMILL_DATA_LOSS,
            "the server's reply is too long: expected at most %u batches, got %zu", ask->count,
            head->nbatches);
    if (head->end && ask->count > 0 && head->end_seq > head->first + head->nbatches)
        return bm_client_fail(error, BATCHMILL_DATA_LOSS,
                              "the server's reply lacks batches: expected all before the end at "
                              "%" PRIu64 ", got those before %" PRIu64,
                              head->end_seq, head->first + head->nbatches);
    return BATCHMILL_OK;
}

// Takes `view` and `hold`.
static enum batchmill_code reply_add(struct bm_client_reply *reply, struct bm_client_batch *view,
                                     struct bm_client_hold *hold, struct bm_client_message *message,
                                     struct batchmill_error *error)
{
    struct bm_client_arrival arrival = {
        .bytes = bm_client_message_size(message) / reply->head.nbatches,
        .skipped = view->outcome == BM_CLIENT_SKIPPED,
        .failed = view->error != NULL,
    };
    if (arrival.skipped) {
        free(view);
    } else if ((arrival.batch = bm_client_batch_new(view, message, hold)) == NULL) {
        free(view);
        bm_client_hold_free(hold);
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a batch");
    }
    reply->arrivals[reply->narrivals++] = arrival;
    return BATCHMILL_OK;
}

static enum batchmill_code reply_take_batch(struct bm_client_reply *reply,
                                            const struct bm_client_asked *asked,
                                            struct bm_client_message *message,
                                            struct batchmill_error *error)
{
    struct bm_client_batch *view = NULL;
    struct bm_client_hold *hold = NULL;
    enum batchmill_code code = bm_client_next_of(&reply->head, &view, error);
    if (code != BATCHMILL_OK)
        return code;
    if (view->places != NULL && (hold = bm_client_hold_new(asked->shared, view)) == NULL) {
        reply->unmapped = true;
        free(view);
        return BATCHMILL_OK;
    }
    return reply_add(reply, view, hold, message, error);
}

static enum batchmill_code reply_read(struct bm_client_reply *reply,
                                      const struct bm_client_asked *asked,
                                      struct bm_client_message *message,
                                      struct batchmill_error *error)
{
    if (message == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a reply");
    // As good as lost: asked for again, like what a server that is not there was asked.
    if (bm_client_reply_altered(bm_client_message_data(message), bm_client_message_size(message)))
        return bm_client_fail(error, BATCHMILL_UNAVAILABLE, "a message was altered on its way");
    enum batchmill_code code = bm_client_decode_next(
        bm_client_message_data(message), bm_client_message_size(message), &reply->head, error);
    if (code == BATCHMILL_OK)
        code = reply_check(&reply->head, asked, error);
    if (code != BATCHMILL_OK || reply->head.nbatches == 0)
        return code;
    if (asked->is_member)
        reply->head.seq = BATCHMILL_UNSET;
    reply->head.same_host = asked->shared != NULL;
    reply->arrivals = calloc(reply->head.nbatches, sizeof *reply->arrivals);
    if (reply->arrivals == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a reply");
    while (code == BATCHMILL_OK && !reply->unmapped && reply->narrivals < reply->head.nbatches)
        code = reply_take_batch(reply, asked, message, error);
    return code;
}

void bm_client_reply_read(struct bm_client_reply *reply, const struct bm_client_asked *asked,
                          struct bm_client_message *message)
{
    *reply = (struct bm_client_reply){0};
    reply->code = reply_read(reply, asked, message, &reply->error);
}

void bm_client_reply_fini(struct bm_client_reply *reply)
{
    for (size_t i = 0; i < reply->narrivals; i++)
        batchmill_batch_free(reply->arrivals[i].batch);
    free(reply->arrivals);
}
