// A client's own stream: every batch to the one who opened it, by its seq.
#include <stdlib.h>
#include <string.h>

#include "server/codec.h"
#include "server/session_internal.h"

enum {
    // A reply for each small batch would cost more than the batch. So when others follow this fast,
    // a reply waits for them: until a quarter of the window is there, or this long.
    LINGER_NS = 200000,
    // With prefetch auto the window begins like this, and doubles.
    WIDTH_MIN = 4,
    FAST_NS = LINGER_NS / 8, // from one batch to the next
};

struct stream {
    struct session_holding holding;
    struct session_plan plan;
    struct bm_stream *stream;
    struct bm_stream_listener listener;
    struct session_holds holds;
    bool held_none; // as its client said when it closed it
    // How fast batches come of late, for who lingers.
    uint64_t ready, ready_ns; // one past the last that is ready, and since when
    uint64_t pace_ns;         // from one to the next, on average; 0: unknown
    uint32_t width;           // of the window, as far as it is known to take
    uint64_t widen_from;      // not before the consumer waits for this batch, or a later one
    struct bm_timer linger;
    bool lingering; // it is armed
};

static struct stream *stream_of(struct session_holding *holding)
{
    return BM_CONTAINER(holding, struct stream, holding);
}

// ---- Replies ----

static void stream_reply_init(struct stream *stream, struct bm_exchange *exchange)
{
    struct bm_batches *batches = &exchange->reply.batches;
    strcpy(batches->stream, stream->holding.id);
    batches->pipeline = bm_pipeline_ref(stream->plan.pipeline);
    batches->first = exchange->request.next.first;
    batches->checked = stream->holding.args.checked;
    batches->window = stream->plan.prefetch_auto ? stream->width : 0;
}

static void stream_answer_empty(struct session_holding *holding, struct bm_exchange *exchange)
{
    stream_reply_init(stream_of(holding), exchange);
    session_answer(holding->session, exchange);
}

static void stream_answer_released(struct stream *stream, struct bm_exchange *exchange)
{
    struct bm_error error;
    bm_fail(&error, BM_OUT_OF_RANGE, "first",
            "expected batch %llu or later, as those before it are acknowledged, got %llu",
            (unsigned long long)bm_stream_counts(stream->stream).asked,
            (unsigned long long)exchange->request.next.first);
    session_fail(stream->holding.session, exchange, &error);
}

// Whether the client can map our memory, and wants to.
static bool stream_maps(const struct stream *stream, const struct bm_exchange *exchange)
{
    return exchange->request.next.same_host && exchange->same_host &&
           stream->holding.session->config.same_host != NULL;
}

static bool stream_lend(struct stream *stream, struct bm_outcome *outcome)
{
    bool new;
    bool lent = session_holds_add(&stream->holds, outcome, &new);
    stream->holding.session->nshared += lent && new;
    return lent;
}

// Packs what is there, from `first` on, into one reply; nothing is waited for.
static void stream_answer_batches(struct stream *stream, struct bm_exchange *exchange)
{
    const struct bm_next_request *next = &exchange->request.next;
    struct bm_batches *batches = &exchange->reply.batches;
    stream_reply_init(stream, exchange);
    uint32_t room =
        next->max_batches <= stream->plan.prefetch ? next->max_batches : stream->plan.prefetch + 1;
    uint64_t bytes_max = next->max_bytes == 0 ? BM_SESSION_REPLY_BYTES : next->max_bytes;
    if (bytes_max > BM_SESSION_REPLY_BYTES_MAX)
        bytes_max = BM_SESSION_REPLY_BYTES_MAX;
    batches->outcomes = calloc(room, sizeof(struct bm_outcome *));
    if (batches->outcomes == NULL) {
        struct bm_error error;
        bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a reply");
        session_fail(stream->holding.session, exchange, &error);
        return;
    }
    uint64_t bytes = 0;
    struct bm_outcome *outcome = NULL;
    batches->by_reference = stream_maps(stream, exchange);
    while (batches->noutcomes < room &&
           bm_stream_get(stream->stream, next->first + batches->noutcomes, &outcome) ==
               BM_GOT_OUTCOME) {
        bool first = batches->noutcomes == 0;
        bytes += bm_outcome_wire_bytes(outcome, batches->by_reference);
        bool fits = first || bytes <= bytes_max;
        bool lent = fits && batches->by_reference && stream_lend(stream, outcome);
        if (!fits || (batches->by_reference && !lent && !first)) {
            bm_outcome_unref(outcome);
            break;
        }
        if (batches->by_reference && !lent) { // then this one goes by the socket, and no other
            batches->by_reference = false;
            bytes = bytes_max;
        }
        batches->outcomes[batches->noutcomes++] = outcome;
    }
    struct bm_stream_counts counts = bm_stream_counts(stream->stream);
    batches->end = next->first + batches->noutcomes >= counts.end_seq;
    batches->end_seq = batches->end ? counts.end_seq : 0;
    batches->stopped = batches->end && counts.stopped;
    session_answer(stream->holding.session, exchange);
}

// ---- Asking ----

static enum bm_got stream_look(struct stream *stream, uint64_t seq)
{
    struct bm_outcome *outcome = NULL;
    enum bm_got got = bm_stream_get(stream->stream, seq, &outcome);
    bm_outcome_unref(outcome);
    return got;
}

// False: there is nothing to say yet. A batch beyond the window comes into it when the consumer
// acknowledges others, so asking for it early is no mistake.
static bool stream_can_answer(enum bm_got got)
{
    return got != BM_GOT_NOT_YET && got != BM_GOT_BEYOND;
}

static void stream_answer(struct stream *stream, struct bm_exchange *exchange, enum bm_got got)
{
    if (got == BM_GOT_RELEASED)
        stream_answer_released(stream, exchange);
    else
        stream_answer_batches(stream, exchange);
}

// One past the last batch that is ready.
static uint64_t stream_ready(const struct stream *stream, const struct bm_stream_counts *counts)
{
    return stream->plan.first_seq + counts->batches + counts->skipped + counts->failed;
}

// Whether there may soon be more to answer this with, so that it should wait.
static bool stream_lingers(const struct stream *stream, const struct bm_next_request *next)
{
    if (stream->pace_ns == 0 || stream->pace_ns > FAST_NS)
        return false;
    struct bm_stream_counts counts = bm_stream_counts(stream->stream);
    uint64_t ready = stream_ready(stream, &counts), quarter = stream->width / 4;
    uint64_t wanted = next->max_batches < quarter ? next->max_batches : quarter;
    uint64_t here = ready > next->first ? ready - next->first : 0;
    return !counts.ended && here < wanted;
}

static void stream_measure(struct stream *stream)
{
    struct bm_stream_counts counts = bm_stream_counts(stream->stream);
    uint64_t ready = stream_ready(stream, &counts), n = ready - stream->ready;
    if (n == 0)
        return;
    uint64_t now_ns = session_now(stream->holding.session);
    uint64_t each_ns = (now_ns - stream->ready_ns) / n + 1;
    if (stream->ready_ns != 0) // what came together counts as much as it is
        stream->pace_ns = stream->pace_ns == 0 ? each_ns : (7 * stream->pace_ns + each_ns) / 8;
    stream->ready = ready;
    stream->ready_ns = now_ns;
}

// Answers who waits, but for those who linger; `patience`: they may.
static void stream_serve(struct stream *stream, bool patience)
{
    struct bm_executor *executor = stream->holding.session->config.executor;
    struct bm_node *end = &stream->holding.parked.head, *next;
    bool lingers = false;
    for (struct bm_node *node = end->next; node != end; node = next) {
        next = node->next;
        struct bm_exchange *exchange = BM_CONTAINER(node, struct bm_exchange, node);
        enum bm_got got = stream_look(stream, exchange->request.next.first);
        if (!stream_can_answer(got))
            continue;
        if (patience && got == BM_GOT_OUTCOME && stream_lingers(stream, &exchange->request.next)) {
            lingers = true;
            continue;
        }
        session_unpark(exchange);
        stream_answer(stream, exchange, got);
    }
    if (lingers && !stream->lingering)
        executor->arm(executor, &stream->linger, session_now(stream->holding.session) + LINGER_NS);
    else if (!lingers)
        executor->disarm(executor, &stream->linger);
    stream->lingering = lingers;
}

static void stream_changed(struct bm_stream_listener *listener)
{
    struct stream *stream = BM_CONTAINER(listener, struct stream, listener);
    stream_measure(stream);
    stream_serve(stream, true);
}

static void stream_lingered(struct bm_timer *timer)
{
    struct stream *stream = BM_CONTAINER(timer, struct stream, linger);
    stream->lingering = false;
    stream_serve(stream, false);
}

static enum bm_status stream_acknowledge(struct stream *stream, const struct bm_next_request *next,
                                         struct bm_error *err)
{
    struct bm_stream_counts counts = bm_stream_counts(stream->stream);
    uint64_t committed = stream_ready(stream, &counts);
    if (next->ack > committed)
        return bm_fail(err, BM_INVALID_ARGUMENT, "ack",
                       "expected at most %llu, as later ones were never handed out, got %llu",
                       (unsigned long long)committed, (unsigned long long)next->ack);
    if (next->ack >= counts.asked) // else it is older than what we know
        session_holds_settle(&stream->holds, next);
    // Nothing runs before the first batch was asked for: to keep the lease is not to ask.
    if (next->max_batches > 0 || next->ack > counts.asked)
        bm_stream_ask(stream->stream, next->ack);
    return BM_OK;
}

// The consumer waits, for a batch or for its way here, so the window is too narrow, unless the
// workers have enough to do as it is. One step at a time: the next is not before this one can show.
static void stream_widen(struct stream *stream, const struct bm_next_request *next)
{
    struct bm_scheduler *scheduler = stream->holding.session->config.scheduler;
    uint32_t most = stream->plan.prefetch + 1;
    if (!next->waits || next->ack < stream->widen_from || stream->width == most ||
        bm_scheduler_status(scheduler).nready > 0)
        return;
    stream->width = stream->width < most / 2 ? 2 * stream->width : most;
    stream->widen_from = next->ack + stream->width;
    bm_stream_widen(stream->stream, stream->width);
}

void session_stream_next(struct session_holding *holding, struct bm_exchange *exchange)
{
    struct stream *stream = stream_of(holding);
    const struct bm_next_request *next = &exchange->request.next;
    struct bm_error error;
    const struct bm_same_host *same_host = holding->session->config.same_host;
    bm_stream_share(stream->stream, stream_maps(stream, exchange) ? same_host->pool : NULL);
    stream_widen(stream, next); // before the ack gives the workers more to do
    if (stream_acknowledge(stream, next, &error) != BM_OK) {
        session_fail(holding->session, exchange, &error);
        return;
    }
    enum bm_got got = BM_GOT_NOT_YET;
    if (next->max_batches > 0)
        got = stream_look(stream, next->first);
    bool lingers = got == BM_GOT_OUTCOME && next->wait_ms > 0 && stream_lingers(stream, next);
    if (stream_can_answer(got) && !lingers)
        stream_answer(stream, exchange, got);
    else if (next->max_batches == 0)
        stream_answer_empty(holding, exchange);
    else if (session_park(holding, exchange, next->wait_ms, &error) != BM_OK)
        session_fail(holding->session, exchange, &error);
    else if (lingers)
        stream_serve(stream, true);
}

// ---- Opening and closing ----

static void stream_opened(struct session_holding *holding, struct bm_exchange *exchange)
{
    struct stream *stream = stream_of(holding);
    struct bm_opened *opened = &exchange->reply.opened;
    session_opened(holding, &stream->plan, opened);
    opened->position_stem = session_position_stem(&stream->plan);
    if (opened->position_stem == NULL) {
        struct bm_error error;
        bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a position");
        session_fail(holding->session, exchange, &error);
        return;
    }
    if (exchange->same_host && exchange->request.open.same_host)
        opened->same_host = holding->session->config.same_host;
    session_answer(holding->session, exchange);
}

void session_stream_held_none(struct session_holding *holding)
{
    stream_of(holding)->held_none = true;
}

static void stream_destroy(struct session_holding *holding)
{
    struct stream *stream = stream_of(holding);
    struct bm_executor *executor = holding->session->config.executor;
    holding->session->nstreams--;
    executor->disarm(executor, &stream->linger);
    session_holds_fini(&stream->holds, !stream->held_none);
    bm_stream_close(stream->stream);
    free(stream);
}

const struct session_holding_type session_stream_type = {
    .opened = stream_opened,
    .late = stream_answer_empty,
    .destroy = stream_destroy,
};

void session_stream_open(struct bm_session *session, struct bm_exchange *exchange)
{
    const struct bm_open_request *request = &exchange->request.open;
    struct bm_error error;
    struct session_plan plan;
    enum bm_status status = session_plan_make(session, request, &plan, &error);
    if (status != BM_OK)
        goto fail;
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a stream");
        goto fail;
    }
    if (plan.prefetch_auto)
        plan.width = WIDTH_MIN;
    stream->plan = plan;
    stream->listener.changed = stream_changed;
    stream->linger.fire = stream_lingered;
    stream->holds.scheduler = session->config.scheduler;
    stream->ready = plan.first_seq;
    stream->width = plan.prefetch_auto ? WIDTH_MIN : plan.prefetch + 1;
    stream->widen_from = plan.first_seq + WIDTH_MIN; // the first ones are always waited for
    status = session_hold(session, &stream->holding, &session_stream_type, request, &error);
    if (status != BM_OK)
        goto fail_stream;
    status = session_plan_start(session, &plan, stream->holding.id, &stream->listener,
                                &stream->stream, &error);
    if (status != BM_OK)
        goto fail_hold;
    session->nstreams++;
    stream_opened(&stream->holding, exchange);
    return;
fail_hold:
    session_let_go(&stream->holding);
fail_stream:
    free(stream);
fail:
    session_fail(session, exchange, &error);
}
