#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/session_internal.h"

enum { SESSION_ID_DIGITS = 32 };

struct session_noted {
    struct bm_node node; // in session->notes
    char text[256];
};

uint64_t session_now(const struct bm_session *session)
{
    struct bm_clock *clock = session->config.executor->clock;
    return clock->now_ns(clock);
}

// ---- Answers ----

void session_answer(struct bm_session *session, struct bm_exchange *exchange)
{
    exchange->reply.kind = exchange->request.kind;
    session->answered[exchange->reply.code]++;
    bm_mutex_lock(&session->due_mutex);
    bm_list_push_back(&session->due, &exchange->node);
    bm_mutex_unlock(&session->due_mutex);
}

void session_fail(struct bm_session *session, struct bm_exchange *exchange,
                  const struct bm_error *err)
{
    exchange->reply.kind = exchange->request.kind;
    bm_reply_fini(&exchange->reply);
    bm_reply_fail(&exchange->reply, err);
    session_answer(session, exchange);
}

// A note that there is no memory for is not made.
void session_note(struct bm_session *session, const char *format, ...)
{
    struct session_noted *noted = malloc(sizeof *noted);
    if (noted == NULL)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(noted->text, sizeof noted->text, format, args);
    va_end(args);
    bm_mutex_lock(&session->due_mutex);
    bm_list_push_back(&session->notes, &noted->node);
    bm_mutex_unlock(&session->due_mutex);
}

void bm_session_flush(struct bm_session *session)
{
    struct bm_session_host *host = session->config.host;
    for (;;) {
        bm_mutex_lock(&session->due_mutex);
        struct bm_node *note = bm_list_pop_front(&session->notes);
        struct bm_node *node = note != NULL ? NULL : bm_list_pop_front(&session->due);
        bm_mutex_unlock(&session->due_mutex);
        if (note != NULL) {
            struct session_noted *noted = BM_CONTAINER(note, struct session_noted, node);
            if (host->note != NULL)
                host->note(host, noted->text);
            free(noted);
        } else if (node != NULL) {
            host->reply(host, BM_CONTAINER(node, struct bm_exchange, node));
        } else {
            return;
        }
    }
}

void bm_exchange_fini(struct bm_exchange *exchange)
{
    bm_request_fini(&exchange->request);
    bm_reply_fini(&exchange->reply);
}

// ---- Parking ----

static void exchange_late(struct bm_timer *timer)
{
    struct bm_exchange *exchange = BM_CONTAINER(timer, struct bm_exchange, timer);
    struct session_holding *holding = exchange->parked_on;
    session_unpark(exchange);
    holding->type->late(holding, exchange);
}

// Those who wait without being anybody take no place of those who are.
static unsigned session_nparked(const struct bm_session *session)
{
    return session->nparked - session->strangers.nparked;
}

enum bm_status session_park(struct session_holding *holding, struct bm_exchange *exchange,
                            uint32_t wait_ms, struct bm_error *err)
{
    struct bm_session *session = holding->session;
    struct bm_executor *executor = session->config.executor;
    if (holding->nparked == holding->nparked_max)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, holding->id,
                       "expected at most %u requests that wait at once, got one more",
                       holding->nparked_max);
    if (holding != &session->strangers && session_nparked(session) == BM_SESSION_PARKED_MAX)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL,
                       "%d requests wait already, which is what this server allows",
                       BM_SESSION_PARKED_MAX);
    bm_list_push_back(&holding->parked, &exchange->node);
    holding->nparked++;
    session->nparked++;
    exchange->parked_on = holding;
    exchange->timer.fire = exchange_late;
    executor->arm(executor, &exchange->timer, session_now(session) + wait_ms * UINT64_C(1000000));
    return BM_OK;
}

void session_unpark(struct bm_exchange *exchange)
{
    struct session_holding *holding = exchange->parked_on;
    struct bm_executor *executor = holding->session->config.executor;
    executor->disarm(executor, &exchange->timer);
    bm_list_remove(&exchange->node);
    exchange->parked_on = NULL;
    holding->nparked--;
    holding->session->nparked--;
    session_renew(holding); // it was not silent as long as it waited
}

struct bm_exchange *session_first_parked(struct session_holding *holding)
{
    if (bm_list_empty(&holding->parked))
        return NULL;
    return BM_CONTAINER(holding->parked.head.next, struct bm_exchange, node);
}

static void holding_refuse_parked(struct session_holding *holding, const struct bm_error *err)
{
    struct bm_exchange *exchange;
    while ((exchange = session_first_parked(holding)) != NULL) {
        session_unpark(exchange);
        session_fail(holding->session, exchange, err);
    }
}

void bm_session_abandon(struct bm_session *session, struct bm_exchange *exchange)
{
    if (exchange->parked_on == NULL)
        return;
    struct bm_error error;
    bm_fail(&error, BM_CANCELLED, NULL, "the connection is gone");
    session_unpark(exchange);
    session_fail(session, exchange, &error);
}

// ---- Leases: all are equally long, so the list is in the order they expire ----

static void session_sweep(struct bm_timer *timer)
{
    struct bm_session *session = BM_CONTAINER(timer, struct bm_session, lease_timer);
    struct bm_executor *executor = session->config.executor;
    uint64_t now_ns = session_now(session);
    while (!bm_list_empty(&session->leases)) {
        struct session_lease *first =
            BM_CONTAINER(session->leases.head.next, struct session_lease, node);
        if (first->expires_ns > now_ns) {
            executor->arm(executor, timer, first->expires_ns);
            return;
        }
        session_unlease(first);
        first->expired(first);
    }
}

void session_lease(struct bm_session *session, struct session_lease *lease)
{
    struct bm_executor *executor = session->config.executor;
    session_unlease(lease);
    lease->expires_ns = session_now(session) + session->lease_ns;
    bm_list_push_back(&session->leases, &lease->node);
    if (!session->lease_timer.node.queued)
        executor->arm(executor, &session->lease_timer, lease->expires_ns);
}

void session_unlease(struct session_lease *lease)
{
    if (lease->node.next != NULL)
        bm_list_remove(&lease->node);
}

// ---- Holdings ----

static void holding_expired(struct session_lease *lease)
{
    struct session_holding *holding = BM_CONTAINER(lease, struct session_holding, lease);
    if (holding->nparked > 0)
        session_renew(holding);
    else
        session_destroy(holding);
}

void session_renew(struct session_holding *holding)
{
    if (!holding->unleased)
        session_lease(holding->session, &holding->lease);
}

void session_id_draw(struct bm_session *session, char ret_id[BM_STREAM_ID_MAX + 1])
{
    static const char digits[] = "0123456789abcdef";
    struct bm_session_host *host = session->config.host;
    uint64_t bits = 0;
    for (unsigned i = 0; i < SESSION_ID_DIGITS; i++) {
        if (i % 16 == 0)
            bits = host->random(host);
        ret_id[i] = digits[bits & 15];
        bits >>= 4;
    }
    ret_id[SESSION_ID_DIGITS] = '\0';
}

// The table grows or not; the hash library says so by leaving hh.tbl NULL.
static bool holding_enter_tables(struct session_holding *holding)
{
    struct bm_session *session = holding->session;
    HASH_ADD(by_id, session->by_id, id, (unsigned)strlen(holding->id), holding);
    if (holding->by_id.tbl == NULL)
        return false;
    if (holding->nonce == 0)
        return true;
    HASH_ADD(by_nonce, session->by_nonce, nonce, sizeof holding->nonce, holding);
    if (holding->by_nonce.tbl != NULL)
        return true;
    HASH_DELETE(by_id, session->by_id, holding);
    return false;
}

enum bm_status session_hold(struct bm_session *session, struct session_holding *holding,
                            const struct session_holding_type *type,
                            const struct bm_open_request *request, struct bm_error *err)
{
    holding->session = session;
    holding->type = type;
    holding->nonce = request->nonce;
    holding->lease.expired = holding_expired;
    uint32_t prefetch = request->prefetch < BM_PREFETCH_MAX ? request->prefetch : BM_PREFETCH_MAX;
    holding->nparked_max = BM_SESSION_PARKED_SPARE + prefetch;
    bm_list_init(&holding->parked);
    session_args_of(request, &holding->args);
    session_id_draw(session, holding->id);
    if (!holding_enter_tables(holding))
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for another stream");
    session_renew(holding);
    return BM_OK;
}

void session_let_go(struct session_holding *holding)
{
    struct bm_session *session = holding->session;
    struct bm_error error;
    bm_fail(&error, BM_CANCELLED, NULL, "it was closed while this request waited");
    holding_refuse_parked(holding, &error);
    HASH_DELETE(by_id, session->by_id, holding);
    if (holding->nonce != 0)
        HASH_DELETE(by_nonce, session->by_nonce, holding);
    session_unlease(&holding->lease);
}

void session_destroy(struct session_holding *holding)
{
    session_let_go(holding);
    holding->type->destroy(holding);
}

void session_opened(struct session_holding *holding, const struct session_plan *plan,
                    struct bm_opened *ret_opened)
{
    struct bm_session *session = holding->session;
    uint64_t batches = bm_order_nbatches(&plan->order);
    bool endless = batches == BM_ORDER_ENDLESS;
    *ret_opened = (struct bm_opened){
        .pipeline = bm_pipeline_ref(plan->pipeline),
        .first_seq = plan->first_seq,
        .batches = endless ? 0 : batches,
        .endless = endless,
        .seed = plan->order.params.seed,
        .items = bm_pipeline_source(plan->pipeline)->nitems,
        .epoch_batches = bm_order_epoch_batches(&plan->order),
        .lease_ms = session->config.lease_ms,
        .prefetch = plan->prefetch,
    };
    strcpy(ret_opened->id, holding->id);
}

static struct session_holding *session_find(struct bm_session *session, const char *id,
                                            const struct session_holding_type *type)
{
    struct session_holding *holding = NULL;
    HASH_FIND(by_id, session->by_id, id, (unsigned)strlen(id), holding);
    return holding != NULL && holding->type == type ? holding : NULL;
}

void session_unknown(struct bm_session *session, struct bm_exchange *exchange, const char *what,
                     const char *id)
{
    struct bm_error error;
    bm_fail(&error, BM_NOT_FOUND, NULL,
            "there is no %s \"%s\": it was closed, or nobody asked for it for %g s", what, id,
            session->config.lease_ms / 1e3);
    session_fail(session, exchange, &error);
}

// ---- Opening, once per nonce ----

// True: this call was made before, and is answered as it was then.
static bool session_reopen(struct bm_session *session, struct bm_exchange *exchange)
{
    const struct bm_open_request *request = &exchange->request.open;
    struct session_holding *holding = NULL;
    if (request->nonce != 0)
        HASH_FIND(by_nonce, session->by_nonce, &request->nonce, sizeof request->nonce, holding);
    if (holding == NULL)
        return false;
    struct session_args args;
    struct bm_error error;
    session_args_of(request, &args);
    bool is_run = holding->type == &session_run_type;
    enum bm_status status = BM_OK;
    if (is_run != (exchange->request.kind == BM_CALL_RUN))
        status = bm_fail(&error, BM_INVALID_ARGUMENT, "nonce",
                         "expected a new one, as this one named a %s", is_run ? "run" : "stream");
    else
        status = session_args_agree(&holding->args, &args, "the call with the same nonce", &error);
    if (status != BM_OK) {
        session_fail(session, exchange, &error);
    } else {
        session_renew(holding);
        holding->type->opened(holding, exchange);
    }
    return true;
}

static void session_open(struct bm_session *session, struct bm_exchange *exchange)
{
    if (session_reopen(session, exchange))
        return;
    struct bm_error error;
    enum bm_status status = BM_OK;
    bool is_run = exchange->request.kind == BM_CALL_RUN;
    if (session->draining)
        status = bm_fail(&error, BM_UNAVAILABLE, NULL,
                         "the server is finishing what it has and takes nothing new");
    else if (is_run && session->nruns == BM_SESSION_RUNS_MAX)
        status = bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL,
                         "expected at most %d runs that are not forgotten, got one more",
                         BM_SESSION_RUNS_MAX);
    else if (!is_run && session->nstreams == BM_SESSION_STREAMS_MAX)
        status = bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL,
                         "expected at most %d open streams, got one more", BM_SESSION_STREAMS_MAX);
    if (status != BM_OK)
        session_fail(session, exchange, &error);
    else if (is_run)
        session_run_open(session, exchange);
    else if (exchange->request.open.cursor[0] != '\0')
        session_member_open(session, exchange);
    else
        session_stream_open(session, exchange);
}

// ---- The other calls ----

static void session_next(struct bm_session *session, struct bm_exchange *exchange)
{
    const char *id = exchange->request.next.stream;
    struct session_holding *stream = session_find(session, id, &session_stream_type);
    struct session_holding *member = session_find(session, id, &session_member_type);
    if (stream != NULL) {
        session_renew(stream);
        session_stream_next(stream, exchange);
    } else if (member != NULL) {
        session_renew(member);
        session_member_next(member, exchange);
    } else {
        session_unknown(session, exchange, "stream", id);
    }
}

// A repeated close finds nothing, and that is what it wanted.
static void session_close_stream(struct bm_session *session, struct bm_exchange *exchange)
{
    const char *id = exchange->request.named.name;
    struct session_holding *stream = session_find(session, id, &session_stream_type);
    struct session_holding *member = session_find(session, id, &session_member_type);
    struct bm_error error;
    if (member != NULL &&
        session_member_ack(member, exchange->request.named.ack, &error) != BM_OK) {
        session_fail(session, exchange, &error);
        return;
    }
    if (stream != NULL && exchange->request.named.held_none)
        session_stream_held_none(stream);
    if (stream != NULL || member != NULL)
        session_destroy(stream != NULL ? stream : member);
    session_answer(session, exchange);
}

static void session_get_run(struct bm_session *session, struct bm_exchange *exchange)
{
    const char *id = exchange->request.named.name;
    struct session_holding *run = session_find(session, id, &session_run_type);
    if (run == NULL) {
        session_unknown(session, exchange, "run", id);
        return;
    }
    session_renew(run);
    session_run_get(run, exchange);
}

static void session_cancel_run(struct bm_session *session, struct bm_exchange *exchange)
{
    const char *id = exchange->request.named.name;
    struct session_holding *run = session_find(session, id, &session_run_type);
    if (run == NULL) {
        session_unknown(session, exchange, "run", id);
        return;
    }
    session_renew(run);
    session_run_cancel(run);
    session_answer(session, exchange);
}

static void session_list(struct bm_session *session, struct bm_exchange *exchange)
{
    struct bm_reply *reply = &exchange->reply;
    unsigned n = bm_catalog_count(session->config.catalog);
    reply->list.pipelines = calloc(n + 1, sizeof(struct bm_pipeline *));
    reply->list.by_client = calloc(n + 1, sizeof reply->list.by_client[0]);
    if (reply->list.pipelines == NULL || reply->list.by_client == NULL) {
        struct bm_error error;
        bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a list of %u", n);
        session_fail(session, exchange, &error);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        struct bm_pipeline *pipeline = bm_catalog_at(session->config.catalog, i);
        reply->list.pipelines[i] = bm_pipeline_ref(pipeline);
        reply->list.by_client[i] = session_is_registered(session, bm_pipeline_name(pipeline));
    }
    reply->list.n = n;
    session_answer(session, exchange);
}

static void session_describe(struct bm_session *session, struct bm_exchange *exchange)
{
    struct bm_error error;
    struct bm_pipeline *pipeline = NULL;
    if (bm_catalog_find(session->config.catalog, exchange->request.named.name, &pipeline, &error) !=
        BM_OK) {
        session_fail(session, exchange, &error);
        return;
    }
    exchange->reply.described = bm_pipeline_ref(pipeline);
    exchange->reply.described_by_client =
        session_is_registered(session, exchange->request.named.name);
    session_answer(session, exchange);
}

static void session_status(struct bm_session *session, struct bm_exchange *exchange)
{
    struct bm_session_host *host = session->config.host;
    struct bm_status_report *report = &exchange->reply.status;
    *report = (struct bm_status_report){
        .uptime_seconds = (double)(session_now(session) - session->started_ns) / 1e9,
        .workers = session->config.workers,
        .streams = session->nstreams,
        .runs = session->nruns,
        .pipelines = bm_catalog_count(session->config.catalog),
        .draining = session->draining,
        .shared_batches = session->nshared,
        .scheduler = bm_scheduler_status(session->config.scheduler),
    };
    struct bm_error error;
    if (session_lenders_status(session, report, &error) != BM_OK) {
        session_fail(session, exchange, &error);
        return;
    }
    memcpy(report->answered, session->answered, sizeof report->answered);
    if (host->connections != NULL)
        report->connections = host->connections(host);
    session_answer(session, exchange);
}

// ---- Strangers: requests without the token ----

static bool session_knows(const struct bm_session *session, const struct bm_request *request)
{
    bool lends = request->kind == BM_CALL_LEND_ACTIONS || request->kind == BM_CALL_TAKE_TASK ||
                 request->kind == BM_CALL_END_LENDING;
    const struct bm_token *token = session->config.token;
    if (lends && session->config.lender_token != NULL)
        token = session->config.lender_token;
    return token == NULL || bm_token_matches(token, request->token, request->token_size);
}

static void stranger_refuse(struct session_holding *strangers, struct bm_exchange *exchange)
{
    struct bm_error error;
    bm_fail(&error, BM_UNAUTHENTICATED, NULL, "expected a request with this server's token");
    session_fail(strangers->session, exchange, &error);
}

static const struct session_holding_type stranger_type = {.late = stranger_refuse};

// A wrong token is told nothing that none is not told, and neither keeps anything here.
static void session_turn_away(struct bm_session *session, struct bm_exchange *exchange)
{
    bm_request_fini(&exchange->request);
    if (session_park(&session->strangers, exchange, BM_SESSION_STRANGER_MS, NULL) != BM_OK)
        stranger_refuse(&session->strangers, exchange);
}

// ---- Requests ----

void bm_session_request(struct bm_session *session, struct bm_exchange *exchange)
{
    struct bm_error error;
    if (session->closed) {
        bm_fail(&error, BM_UNAVAILABLE, NULL, "the server is shutting down");
        session_fail(session, exchange, &error);
        return;
    }
    if (!session_knows(session, &exchange->request)) {
        session_turn_away(session, exchange);
        return;
    }
    switch (exchange->request.kind) {
    case BM_CALL_NONE:
        bm_fail(&error, BM_INVALID_ARGUMENT, "request", "expected one of the calls, got none");
        session_fail(session, exchange, &error);
        break;
    case BM_CALL_LIST_PIPELINES:
        session_list(session, exchange);
        break;
    case BM_CALL_DESCRIBE_PIPELINE:
        session_describe(session, exchange);
        break;
    case BM_CALL_REGISTER_PIPELINE:
        session_register(session, exchange);
        break;
    case BM_CALL_UNREGISTER_PIPELINE:
        session_unregister(session, exchange);
        break;
    case BM_CALL_OPEN_STREAM:
    case BM_CALL_RUN:
        session_open(session, exchange);
        break;
    case BM_CALL_NEXT_BATCHES:
        session_next(session, exchange);
        break;
    case BM_CALL_CLOSE_STREAM:
        session_close_stream(session, exchange);
        break;
    case BM_CALL_GET_RUN:
        session_get_run(session, exchange);
        break;
    case BM_CALL_CANCEL_RUN:
        session_cancel_run(session, exchange);
        break;
    case BM_CALL_GET_STATUS:
        session_status(session, exchange);
        break;
    case BM_CALL_LEND_ACTIONS:
        session_lend(session, exchange);
        break;
    case BM_CALL_TAKE_TASK:
        session_task_take(session, exchange);
        break;
    case BM_CALL_END_LENDING:
        session_end_lending(session, exchange);
        break;
    }
}

void bm_session_refuse(struct bm_session *session, struct bm_exchange *exchange,
                       const struct bm_error *err)
{
    bool tells = err->status == BM_INVALID_ARGUMENT || err->status == BM_UNIMPLEMENTED;
    if (tells && !session->closed && !session_knows(session, &exchange->request))
        session_turn_away(session, exchange);
    else
        session_fail(session, exchange, err);
}

// ---- The session itself ----

enum bm_status bm_session_new(const struct bm_session_config *config,
                              struct bm_session **ret_session, struct bm_error *err)
{
    struct bm_session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the session");
    session->config = *config;
    if (session->config.lease_ms == 0)
        session->config.lease_ms = BM_SESSION_LEASE_MS;
    session->lease_ns = session->config.lease_ms * UINT64_C(1000000);
    session->started_ns = session_now(session);
    session->lease_timer.fire = session_sweep;
    session->strangers = (struct session_holding){
        .session = session,
        .type = &stranger_type,
        .unleased = true,
        .nparked_max = BM_SESSION_STRANGERS_MAX,
    };
    bm_list_init(&session->strangers.parked);
    bm_list_init(&session->leases);
    bm_list_init(&session->due);
    bm_list_init(&session->notes);
    session_lenders_init(session);
    bm_mutex_init(&session->due_mutex);
    *ret_session = session;
    return BM_OK;
}

void bm_session_close(struct bm_session *session)
{
    struct bm_executor *executor = session->config.executor;
    struct bm_error error;
    bm_fail(&error, BM_UNAVAILABLE, NULL, "the server is shutting down");
    session->closed = true;
    for (struct session_holding *holding = session->by_id; holding != NULL;
         holding = holding->by_id.next)
        holding_refuse_parked(holding, &error);
    holding_refuse_parked(&session->strangers, &error);
    while (session->by_id != NULL)
        session_destroy(session->by_id);
    session_cursors_free(session);
    session_registrations_free(session);
    executor->disarm(executor, &session->lease_timer);
}

void bm_session_free(struct bm_session *session)
{
    if (session == NULL)
        return;
    BM_ASSERT(session->closed && bm_list_empty(&session->due));
    if (session->config.remote != NULL)
        bm_remote_stop(session->config.remote);
    bm_mutex_fini(&session->due_mutex);
    free(session);
}

void bm_session_drain(struct bm_session *session)
{
    session->draining = true;
}

bool bm_session_idle(const struct bm_session *session)
{
    return session->nstreams == 0 && session->nruns_due == 0 &&
           session_nparked(session) == session_lenders_parked(session);
}
