// A stream: its window says what to ask for, a handful of flights carry that, and the consumer's
// thread takes what has come.
//
//     batchmill_next() -> stream_next() -> window_ask, window_take; nothing there: pump, wait
//     a reply -> flight_done() -> window_put; wake the consumer; pump
//     a tick  -> streams_keep_alive(): whoever has nothing under way says that it lives
//
// Trouble is what a reply said instead of batches. While there is some, nothing new is sent; the
// consumer's thread deals with it when it has nothing left to take: it opens the stream again at
// its position when the server does not know it any more, tries again when the server is going
// down or has no room, and hands everything else to the user.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "client/c/stream.h"

enum {
    RETRY_MS = 100, // after trouble that may pass; doubles up to
    RETRY_MAX_MS = 1000,
    CLOSE_MS = 1000, // what the server gets to confirm a close
    TICK_MS_MIN = 20,
    OVERSLEPT_MS = 1000, // no thread wakes this late unless its process was stopped
};

#define NS_PER_MS UINT64_C(1000000)

// ---- Sending ----

static struct bm_client_flight *stream_free_flight(struct batchmill_stream *stream)
{
    for (unsigned i = 0; i < BM_CLIENT_FLIGHTS; i++) {
        if (!stream->flights[i].busy)
            return &stream->flights[i];
    }
    bm_panic("no free flight", __FILE__, __LINE__); // the window counts what it asks for
}

static bool trouble_passes(enum batchmill_code code)
{ // the server is going down, or has no room right now
    return code == BATCHMILL_UNAVAILABLE || code == BATCHMILL_RESOURCE_EXHAUSTED;
}

static void stream_trouble(struct batchmill_stream *stream, const struct batchmill_error *error)
{
    if (trouble_passes(error->code) && stream->trouble_ns == 0)
        stream->trouble_ns = bm_client_now_ns();
    if (stream->trouble.code == BATCHMILL_OK)
        stream->trouble = *error;
}

static void stream_forget_trouble(struct batchmill_stream *stream)
{
    stream->trouble_ns = 0;
    stream->npauses = 0;
    stream->retry_ns = 0;
}

static void flight_done(void *context, struct bm_client_message *reply);

// With the mutex, as flight_leave(). What it asks for may come by reference, if there is room for
// so many.
static void flight_enter(struct bm_client_flight *flight, const struct bm_client_ask *ask)
{
    const struct batchmill_stream *stream = flight->stream;
    flight->busy = true;
    flight->ask = *ask;
    bool maps = stream->shared != NULL && !stream->unmapped &&
                bm_client_shared_enter(stream->shared, ask->count);
    flight->shared = maps ? stream->shared : NULL;
}

static void flight_leave(struct bm_client_flight *flight)
{
    if (flight->busy && flight->shared != NULL)
        bm_client_shared_leave(flight->shared, flight->ask.count);
    flight->busy = false;
}

// Without the mutex: nsenders keeps the stream alive.
static void flight_send(struct bm_client_flight *flight)
{
    struct batchmill_stream *stream = flight->stream;
    uint64_t held[BM_SHARED_HELD_MAX];
    size_t nheld = 0;
    if (stream->shared != NULL)
        nheld = bm_client_shared_held(stream->shared, flight->ask.ack, held);
    const struct bm_client_next next = {
        .stream = stream->id,
        .first = flight->ask.first,
        .max_batches = flight->ask.count,
        .wait_ms = stream->wait_ms,
        .ack = flight->ask.ack,
        .waits = flight->ask.waits,
        .same_host = flight->shared != NULL,
        .nheld = nheld,
        .held = held,
    };
    struct batchmill_error error;
    enum batchmill_code code = bm_client_encode_next(&next, &flight->request, &error);
    if (code == BATCHMILL_OK)
        code = bm_client_request_seal(&flight->request, stream->client->token, &error);
    if (flight->call == NULL)
        flight->call = bm_client_call_new(stream->connection->transport, flight_done, flight);
    if (code == BATCHMILL_OK && flight->call != NULL &&
        bm_client_call_start(flight->call, flight->request.data, flight->request.size))
        return;
    bm_client_explain(&error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a request");
    bm_mutex_lock(&stream->client->mutex);
    flight_leave(flight);
    bm_client_window_answered(&stream->window, &flight->ask, true);
    stream_trouble(stream, &error);
    bm_cond_signal(&stream->changed);
    bm_mutex_unlock(&stream->client->mutex);
}

// Sends what the window wants. Gives the mutex back meanwhile; false: there was nothing to send.
static bool stream_pump(struct batchmill_stream *stream) BM_REQUIRES(stream->client->mutex)
{
    struct bm_client_flight *due[BM_CLIENT_FLIGHTS];
    unsigned ndue = 0;
    struct bm_client_ask ask;
    if (stream->closing || stream->trouble.code != BATCHMILL_OK)
        return false;
    while (bm_client_window_next_ask(&stream->window, &ask)) {
        struct bm_client_flight *flight = stream_free_flight(stream);
        flight_enter(flight, &ask);
        due[ndue++] = flight;
    }
    if (ndue == 0)
        return false;
    stream->nsenders++;
    bm_mutex_unlock(&stream->client->mutex);
    for (unsigned i = 0; i < ndue; i++)
        flight_send(due[i]);
    bm_mutex_lock(&stream->client->mutex);
    if (--stream->nsenders == 0)
        bm_cond_broadcast(&stream->client->changed);
    return true;
}

// ---- Receiving ----

// True: this is the first good reply after the server said UNAVAILABLE.
static bool stream_apply(struct batchmill_stream *stream, const struct bm_client_flight *flight,
                         struct bm_client_reply *reply) BM_REQUIRES(stream->client->mutex)
{
    if (reply->code == BATCHMILL_OK)
        bm_client_window_widen(&stream->window, reply->head.window);
    for (size_t i = 0; reply->code == BATCHMILL_OK && i < reply->narrivals; i++) {
        if (bm_client_window_put(&stream->window, flight->ask.first + i, &reply->arrivals[i]))
            reply->arrivals[i].batch = NULL;
    }
    bool back = reply->code == BATCHMILL_OK && stream->npauses > 0;
    if (reply->code != BATCHMILL_OK) {
        stream_trouble(stream, &reply->error);
    } else {
        stream->heard_ns = bm_client_now_ns();
        stream_forget_trouble(stream);
        if (reply->head.end)
            bm_client_window_end(&stream->window, reply->head.end_seq);
    }
    bm_client_window_answered(&stream->window, &flight->ask, reply->code != BATCHMILL_OK);
    return back;
}

static void flight_done(void *context, struct bm_client_message *message)
{
    struct bm_client_flight *flight = context;
    struct batchmill_stream *stream = flight->stream;
    struct bm_client_reply reply;
    // Only the flight's own fields and what does not change while it is under way are looked at.
    const struct bm_client_asked asked = {stream->id, &flight->ask, stream->is_member,
                                          flight->shared};
    bm_client_reply_read(&reply, &asked, message);
    bm_mutex_lock(&stream->client->mutex);
    bool back = stream_apply(stream, flight, &reply);
    bool unmapped = reply.unmapped && !stream->unmapped;
    stream->unmapped |= reply.unmapped;
    flight_leave(flight);
    bm_cond_signal(&stream->changed);
    stream_pump(stream);
    bm_mutex_unlock(&stream->client->mutex);
    if (back)
        bm_client_log(stream->client, "%s: the server answers again", stream->client->url);
    if (unmapped)
        bm_client_log(stream->client,
                      "%s: cannot map a batch in the server's memory; from now on the stream's "
                      "come by the socket",
                      stream->client->url);
    bm_client_reply_fini(&reply);
    bm_client_message_unref(message);
}

// ---- Leases ----

static void streams_keep_alive(void *context)
{
    struct batchmill_client *client = context;
    struct batchmill_stream *due = NULL;
    bm_mutex_lock(&client->mutex);
    for (struct bm_node *node = client->streams.head.next; node != &client->streams.head;
         node = node->next) {
        struct batchmill_stream *stream = BM_CONTAINER(node, struct batchmill_stream, node);
        struct bm_client_ask ask;
        if (stream->trouble.code != BATCHMILL_OK ||
            !bm_client_window_keep_alive(&stream->window, &ask))
            continue;
        stream->due_flight = stream_free_flight(stream);
        flight_enter(stream->due_flight, &ask);
        stream->nsenders++;
        stream->next_due = due;
        due = stream;
    }
    bm_mutex_unlock(&client->mutex);
    while (due != NULL) {
        struct batchmill_stream *stream = due;
        due = stream->next_due;
        flight_send(stream->due_flight);
        bm_mutex_lock(&client->mutex);
        if (--stream->nsenders == 0)
            bm_cond_broadcast(&client->changed);
        bm_mutex_unlock(&client->mutex);
    }
}

enum batchmill_code bm_client_keep_leases(struct batchmill_client *client, uint32_t lease_ms,
                                          struct batchmill_error *error)
{
    bm_mutex_lock(&client->mutex);
    bool running = client->timer != NULL;
    bm_mutex_unlock(&client->mutex);
    if (running)
        return BATCHMILL_OK;
    uint32_t tick_ms = lease_ms / 3 < TICK_MS_MIN ? TICK_MS_MIN : lease_ms / 3;
    struct bm_client_timer *timer = bm_client_timer_new(tick_ms, streams_keep_alive, client);
    if (timer == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a timer");
    bm_mutex_lock(&client->mutex);
    if (client->timer == NULL) {
        client->timer = timer;
        timer = NULL;
    }
    bm_mutex_unlock(&client->mutex);
    bm_client_timer_free(timer); // another thread was faster
    return BATCHMILL_OK;
}

// ---- Opening ----

enum batchmill_code batchmill_gen_batch(struct batchmill_client *client, const char *pipeline,
                                        const struct batchmill_order *order,
                                        struct batchmill_stream **ret_stream,
                                        struct batchmill_error *error)
{
    enum batchmill_code code = bm_client_check(client, error);
    if (code == BATCHMILL_OK)
        code = bm_client_check_order(pipeline, order, error);
    if (code == BATCHMILL_OK)
        code = bm_client_stream_open(client, pipeline, NULL, order, ret_stream, error);
    return code;
}

// ---- Opening again, at its position ----

static uint64_t stream_position(const struct batchmill_stream *stream)
{
    // A failure that ended the stream was told, but its batch was not taken.
    return stream->stopped.code != BATCHMILL_OK ? stream->window.base : stream->window.want;
}

static bool stream_flies(const struct batchmill_stream *stream)
{
    bool flies = false;
    for (unsigned i = 0; i < BM_CLIENT_FLIGHTS; i++)
        flies |= stream->flights[i].busy;
    return flies;
}

// Nothing is under way afterwards. Gives the mutex back meanwhile; `trouble` or `closing` keeps
// others from sending. The server was told, so it answers what is parked there at once: that is
// waited for, within bounds, because nng 1.5.2 can hang when it closes a connection on which a
// message is coming in.
static void stream_land(struct batchmill_stream *stream) BM_REQUIRES(stream->client->mutex)
{
    uint64_t since_ns;
    uint64_t deadline_ns = bm_client_now_ns() + CLOSE_MS * NS_PER_MS;
    while (stream->nsenders > 0)
        bm_cond_wait(&stream->client->changed, &stream->client->mutex);
    while (stream_flies(stream) &&
           bm_client_transport_connected(stream->connection->transport, &since_ns) &&
           bm_cond_wait_until(&stream->changed, &stream->client->mutex, deadline_ns))
        ;
    bm_mutex_unlock(&stream->client->mutex);
    for (unsigned i = 0; i < BM_CLIENT_FLIGHTS; i++) {
        bm_client_call_free(stream->flights[i].call);
        stream->flights[i].call = NULL;
    }
    bm_mutex_lock(&stream->client->mutex);
    for (unsigned i = 0; i < BM_CLIENT_FLIGHTS; i++)
        flight_leave(&stream->flights[i]);
}

static enum batchmill_code stream_reopen(struct batchmill_stream *stream,
                                         struct batchmill_error *error)
    BM_REQUIRES(stream->client->mutex)
{
    struct bm_client_opened *opened = NULL;
    stream_land(stream);
    bm_mutex_unlock(&stream->client->mutex);
    enum batchmill_code code = bm_client_stream_open_again(stream, &opened, error);
    if (code == BATCHMILL_OK) { // nothing is under way: nobody else looks at it
        bm_client_shared_unref(stream->shared);
        stream->shared = bm_client_map_server(stream->client, opened);
    }
    bm_mutex_lock(&stream->client->mutex);
    if (code != BATCHMILL_OK)
        return code;
    bm_client_window_rewind(&stream->window, opened->batches);
    stream->unmapped = false; // what could not be mapped went with the server, or with the lease
    strcpy(stream->id, opened->stream);
    stream->heard_ns = bm_client_now_ns();
    stream->trouble.code = BATCHMILL_OK;
    stream_forget_trouble(stream);
    free(opened);
    return BATCHMILL_OK;
}

// ---- Taking ----

static enum batchmill_code stream_give_trouble(struct batchmill_stream *stream,
                                               struct batchmill_error *error)
{
    struct batchmill_error trouble = stream->trouble;
    stream->trouble.code = BATCHMILL_OK;
    stream_forget_trouble(stream);
    if (trouble_passes(trouble.code))
        return bm_client_fail(error, trouble.code, "%s: %s (tried for %u ms)", stream->client->url,
                              trouble.text, stream->client->timeout_ms);
    if (error != NULL)
        *error = trouble;
    return trouble.code;
}

static enum batchmill_code stream_late(const struct batchmill_stream *stream,
                                       struct batchmill_error *error)
{
    return bm_client_fail(error, BATCHMILL_DEADLINE_EXCEEDED,
                          "batch %" PRIu64 " did not come in the given time; ask again",
                          stream->window.want);
}

// Whether trouble that passes lasts for longer than a consumer has to wait for its end.
static bool stream_is_out_of_patience(const struct batchmill_stream *stream)
{
    uint64_t since_ns =
        stream->trouble_ns > stream->asked_ns ? stream->trouble_ns : stream->asked_ns;
    return stream->trouble_ns != 0 &&
           bm_client_now_ns() > since_ns + stream->client->timeout_ms * NS_PER_MS;
}

// Waits until it is time to try again, a little longer each time, and not equally long in all
// clients of a server that is going down; false: the deadline came before.
static bool stream_pause(struct batchmill_stream *stream, const char *cause, uint64_t deadline_ns)
    BM_REQUIRES(stream->client->mutex)
{
    if (stream->retry_ns == 0) {
        uint64_t pause_ms = (uint64_t)RETRY_MS << (stream->npauses < 4 ? stream->npauses : 4);
        uint64_t most_ns = (pause_ms < RETRY_MAX_MS ? pause_ms : RETRY_MAX_MS) * NS_PER_MS;
        uint64_t pause_ns = most_ns - bm_client_nonce() % (most_ns / 2);
        stream->retry_ns = bm_client_now_ns() + pause_ns;
        if (stream->npauses++ == 0) {
            bm_mutex_unlock(&stream->client->mutex);
            bm_client_log(stream->client, "%s: %s; trying again in %" PRIu64 " ms, then less often",
                          stream->client->url, cause, pause_ns / NS_PER_MS);
            bm_mutex_lock(&stream->client->mutex);
        }
    }
    uint64_t until_ns = stream->retry_ns < deadline_ns ? stream->retry_ns : deadline_ns;
    while (!stream->cancelled &&
           bm_cond_wait_until(&stream->changed, &stream->client->mutex, until_ns))
        ;
    if (!stream->cancelled && until_ns < stream->retry_ns)
        return false;
    stream->retry_ns = 0;
    return true;
}

// The server that does not know the stream may itself be going down. Until its successor opened
// it, the trouble stays what it was, so that nothing is asked for meanwhile.
static enum batchmill_code stream_mend_lost(struct batchmill_stream *stream, uint64_t deadline_ns,
                                            struct batchmill_error *error)
    BM_REQUIRES(stream->client->mutex)
{
    struct batchmill_error cause = {0};
    if (stream->trouble_ns == 0)
        stream->trouble_ns = bm_client_now_ns();
    if (stream->retry_ns == 0) {
        enum batchmill_code code = stream_reopen(stream, &cause);
        if (!trouble_passes(code) || stream_is_out_of_patience(stream)) {
            stream_forget_trouble(stream);
            if (error != NULL && code != BATCHMILL_OK)
                *error = cause;
            return code;
        }
    }
    return stream_pause(stream, cause.text, deadline_ns) ? BATCHMILL_OK
                                                         : stream_late(stream, error);
}

// OK: asking goes on, or mending does.
static enum batchmill_code stream_mend(struct batchmill_stream *stream, uint64_t deadline_ns,
                                       struct batchmill_error *error)
    BM_REQUIRES(stream->client->mutex)
{
    if (stream->trouble.code == BATCHMILL_NOT_FOUND && !stream->is_member)
        return stream_mend_lost(stream, deadline_ns, error);
    if (!trouble_passes(stream->trouble.code) || stream_is_out_of_patience(stream))
        return stream_give_trouble(stream, error);
    struct batchmill_error cause = stream->trouble;
    if (!stream_pause(stream, cause.text, deadline_ns))
        return stream_late(stream, error);
    stream->trouble.code = BATCHMILL_OK; // but trouble_ns stays until there is a good reply
    return BATCHMILL_OK;
}

// When to stop hoping for a reply. A connected server answers within wait_ms, if only with "not
// yet"; a lost one gets the timeout to come back, and then to answer; but one whose every reply
// breaks the connection must not be waited for without end.
static uint64_t stream_patience(const struct batchmill_stream *stream, uint64_t asked_ns)
{
    uint64_t since_ns;
    bool connected = bm_client_transport_connected(stream->connection->transport, &since_ns);
    uint64_t timeout_ns = stream->client->timeout_ms * NS_PER_MS;
    uint64_t wait_ns = stream->wait_ms * NS_PER_MS;
    uint64_t heard_ns = stream->heard_ns > asked_ns ? stream->heard_ns : asked_ns;
    uint64_t end_ns = heard_ns + 2 * (timeout_ns + wait_ns);
    if (since_ns < heard_ns)
        since_ns = heard_ns;
    uint64_t patience_ns = since_ns + timeout_ns + (connected ? wait_ns : 0);
    return patience_ns < end_ns ? patience_ns : end_ns;
}

// OK: something may have changed.
static enum batchmill_code stream_wait(struct batchmill_stream *stream, uint64_t asked_ns,
                                       uint64_t deadline_ns, struct batchmill_error *error)
    BM_REQUIRES(stream->client->mutex)
{
    uint64_t patience_ns = stream_patience(stream, asked_ns);
    uint64_t until_ns = patience_ns < deadline_ns ? patience_ns : deadline_ns;
    uint64_t now_ns = bm_client_now_ns();
    uint64_t late_ns = (until_ns > now_ns ? until_ns : now_ns) + OVERSLEPT_MS * NS_PER_MS;
    if (bm_cond_wait_until(&stream->changed, &stream->client->mutex, until_ns))
        return BATCHMILL_OK;
    now_ns = bm_client_now_ns();
    // A process that was stopped meanwhile could hear nothing: the server gets its time anew.
    if (now_ns > late_ns)
        stream->heard_ns = now_ns;
    if (now_ns >= deadline_ns)
        return stream_late(stream, error);
    if (now_ns >= stream_patience(stream, asked_ns))
        return bm_client_unreachable(stream->client, stream->connection->transport, error);
    return BATCHMILL_OK;
}

static enum batchmill_code stream_hand_out(struct batchmill_stream *stream,
                                           struct batchmill_batch *batch,
                                           struct batchmill_batch **ret_batch,
                                           struct batchmill_error *error)
{
    if (batch->view->outcome == BM_CLIENT_BATCH) {
        *ret_batch = batch;
        return BATCHMILL_OK;
    }
    enum batchmill_code code = batch->view->error->code;
    if (error != NULL)
        *error = *batch->view->error;
    if (stream->on_error == BATCHMILL_STOP || code == BATCHMILL_RESOURCE_EXHAUSTED)
        stream->stopped = *batch->view->error;
    batchmill_batch_free(batch);
    return code;
}

static enum batchmill_code stream_next(struct batchmill_stream *stream, uint64_t asked_ns,
                                       uint64_t deadline_ns, struct batchmill_batch **ret_batch,
                                       struct batchmill_error *error)
    BM_REQUIRES(stream->client->mutex)
{
    if (stream->stopped.code != BATCHMILL_OK) {
        if (error != NULL)
            *error = stream->stopped;
        return stream->stopped.code;
    }
    bm_client_window_ask(&stream->window);
    for (;;) {
        if (stream->cancelled)
            return bm_client_fail(error, BATCHMILL_CANCELLED, "the stream was cancelled");
        void *batch = NULL;
        enum bm_client_taken taken = bm_client_window_take(&stream->window, &batch);
        if (taken == BM_CLIENT_END)
            return bm_client_fail(error, BATCHMILL_END, "the stream is over");
        if (taken == BM_CLIENT_TAKEN) {
            stream_pump(stream);
            return stream_hand_out(stream, batch, ret_batch, error);
        }
        enum batchmill_code code = BATCHMILL_OK;
        if (stream->trouble.code != BATCHMILL_OK)
            code = stream_mend(stream, deadline_ns, error);
        else if (!stream_pump(stream))
            code = stream_wait(stream, asked_ns, deadline_ns, error);
        if (code != BATCHMILL_OK)
            return code;
    }
}

static enum batchmill_code next_until(struct batchmill_stream *stream, bool timed,
                                      uint32_t timeout_ms, struct batchmill_batch **ret_batch,
                                      struct batchmill_error *error)
{
    struct batchmill_error own;
    if (error == NULL)
        error = &own;
    if (stream == NULL || ret_batch == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "%s: expected one, got NULL",
                              stream == NULL ? "stream" : "ret_batch");
    enum batchmill_code code = bm_client_check(stream->client, error);
    if (code != BATCHMILL_OK)
        return code;
    uint64_t now_ns = bm_client_now_ns();
    uint64_t deadline_ns = timed ? now_ns + timeout_ms * NS_PER_MS : UINT64_MAX;
    bm_mutex_lock(&stream->client->mutex);
    // A consumer that asks again and again with a short deadline has waited since the first time.
    if (stream->asked_ns == 0)
        stream->asked_ns = now_ns;
    code = stream_next(stream, stream->asked_ns, deadline_ns, ret_batch, error);
    if (code != BATCHMILL_DEADLINE_EXCEEDED)
        stream->asked_ns = 0;
    uint64_t want = stream->window.want;
    bm_mutex_unlock(&stream->client->mutex);
    if (code == BATCHMILL_UNAVAILABLE && !error->has_batch)
        bm_client_log(stream->client, "%s: gave up on batch %" PRIu64 " after %u ms",
                      stream->client->url, want, stream->client->timeout_ms);
    return code;
}

enum batchmill_code batchmill_next(struct batchmill_stream *stream,
                                   struct batchmill_batch **ret_batch,
                                   struct batchmill_error *error)
{
    return next_until(stream, false, 0, ret_batch, error);
}

enum batchmill_code batchmill_next_within(struct batchmill_stream *stream, uint32_t timeout_ms,
                                          struct batchmill_batch **ret_batch,
                                          struct batchmill_error *error)
{
    return next_until(stream, true, timeout_ms, ret_batch, error);
}

// ---- The rest of what a user may do with it ----

enum batchmill_code batchmill_position(const struct batchmill_stream *stream, char *text,
                                       size_t size, struct batchmill_error *error)
{
    if (stream == NULL || text == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "%s: expected one, got NULL",
                              stream == NULL ? "stream" : "text");
    char digits[24];
    bm_mutex_lock(&stream->client->mutex);
    snprintf(digits, sizeof digits, ".%" PRIu64, stream_position(stream));
    bm_mutex_unlock(&stream->client->mutex);
    size_t needed = strlen(stream->opened->position_stem) + strlen(digits) + 1;
    if (size < needed)
        return bm_client_fail(error, BATCHMILL_OUT_OF_RANGE,
                              "size: expected at least %zu bytes for this position, got %zu",
                              needed, size);
    snprintf(text, size, "%s%s", stream->opened->position_stem, digits);
    return BATCHMILL_OK;
}

void batchmill_cancel(struct batchmill_stream *stream)
{
    if (stream == NULL || bm_client_forked(stream->client))
        return;
    bm_mutex_lock(&stream->client->mutex);
    stream->cancelled = true;
    bm_cond_broadcast(&stream->changed);
    bm_mutex_unlock(&stream->client->mutex);
}

void batchmill_stream_info(const struct batchmill_stream *stream,
                           struct batchmill_stream_info *ret_info)
{
    const struct bm_client_opened *opened = stream->opened;
    bm_mutex_lock(&stream->client->mutex);
    uint64_t skipped = stream->window.skipped, failed = stream->window.failed;
    bm_mutex_unlock(&stream->client->mutex);
    *ret_info = (struct batchmill_stream_info){
        .first_seq = opened->first_seq,
        .batches = opened->batches,
        .epoch_batches = opened->epoch_batches,
        .items = opened->items,
        .seed = opened->seed,
        .fingerprint = opened->fingerprint,
        .stateful = opened->stateful,
        .ncomponents = opened->ncomponents,
        .nsteps = opened->nsteps,
        .components = opened->components,
        .steps = opened->steps,
        .skipped = skipped,
        .failed = failed,
    };
}

// The server ends the work that is under way, and answers what is parked there; a server that is
// not there learns of it when the lease is over.
static void stream_close_there(struct batchmill_stream *stream)
{
    struct batchmill_client *client = stream->client;
    uint64_t since_ns;
    struct bm_buffer request;
    struct bm_client_message *reply = NULL;
    if (!bm_client_transport_connected(client->transport, &since_ns))
        return;
    bm_buffer_init(&request);
    uint32_t timeout_ms = client->timeout_ms < CLOSE_MS ? client->timeout_ms : CLOSE_MS;
    uint64_t want = stream->window.want, held[BM_SHARED_HELD_MAX];
    bool held_none =
        stream->shared != NULL && bm_client_shared_held(stream->shared, want, held) == 0;
    if (bm_client_encode_close(stream->id, want, held_none, &request, NULL) == BATCHMILL_OK &&
        bm_client_exchange(client, &request, 0, timeout_ms, &reply, NULL) == BATCHMILL_OK)
        bm_client_message_unref(reply);
    bm_buffer_fini(&request);
}

void batchmill_stream_close(struct batchmill_stream *stream)
{
    if (stream == NULL || bm_client_forked(stream->client))
        return;
    struct batchmill_client *client = stream->client;
    bm_mutex_lock(&stream->client->mutex);
    stream->closing = true;
    bm_list_remove(&stream->node);
    while (stream->nsenders > 0)
        bm_cond_wait(&client->changed, &stream->client->mutex);
    bm_mutex_unlock(&stream->client->mutex);
    stream_close_there(stream);
    bm_mutex_lock(&stream->client->mutex);
    stream_land(stream);
    bm_mutex_unlock(&stream->client->mutex);
    for (unsigned i = 0; i < BM_CLIENT_FLIGHTS; i++)
        bm_buffer_fini(&stream->flights[i].request);
    bm_client_leave_connection(client, stream->connection);
    bm_client_window_fini(&stream->window);
    bm_client_shared_unref(stream->shared);
    bm_cond_fini(&stream->changed);
    free(stream->opened);
    free(stream);
}
