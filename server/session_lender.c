// Processes that lend actions: each has *slots*, and each slot counts its own tickets 1, 2, 3, ...
//
// A request for ticket k says how the task of ticket k - 1 ended, and asks for the next; it waits
// here until there is one. Asking for ticket k again gives the same task again, so requests may be
// lost and repeated. A lender that is lost, as its connection broke or its lease ended, gives its
// tasks back; what it says of them later is not heard, as its slots have none any more.
//
// A task goes to the lender with the fewest, and of those to the one that has waited longest. Who
// has one gets another ahead only where tasks are so short that the way would count.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/session_internal.h"

enum { AHEAD_NS = 5000000 }; // tasks shorter than that are given out ahead

struct unsettled { // what the server still looks at
    struct bm_node node;
    uint64_t ticket; // whose request brought it
    struct bm_task_result *result;
};

struct slot {
    uint64_t ticket; // the one that is asked for, or answered; 0: none yet
    struct bm_task *task;
    struct bm_list unsettled; // by ticket
};

struct lender {
    struct session_holding holding;
    struct bm_node node;      // in session->lenders, the one that was given a task last is the last
    uint64_t actions;         // mask
    uint64_t connection;      // that it was heard on last; 0: unknown
    struct bm_mapped *mapped; // its memory; NULL: it does not lend any, or it is not seen
    unsigned nout, nslots;
    struct slot slots[];
};

static struct lender *lender_of(struct session_holding *holding)
{
    return BM_CONTAINER(holding, struct lender, holding);
}

static struct lender *lender_at(struct bm_node *node)
{
    return BM_CONTAINER(node, struct lender, node);
}

// ---- Answers ----

static void slot_settle(struct slot *slot) // forgets what is not looked at any more
{
    const struct bm_node *end = &slot->unsettled.head;
    for (struct bm_node *node = end->next, *next; node != end; node = next) {
        next = node->next;
        struct unsettled *unsettled = BM_CONTAINER(node, struct unsettled, node);
        if (!bm_task_result_alone(unsettled->result))
            continue;
        bm_list_remove(node);
        bm_task_result_unref(unsettled->result);
        free(unsettled);
    }
}

static uint64_t slot_settled(struct slot *slot) // all tickets up to this one
{
    slot_settle(slot);
    if (bm_list_empty(&slot->unsettled))
        return slot->ticket;
    // The analyzer does not see that what was freed has left the list.
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
    return BM_CONTAINER(slot->unsettled.head.next, struct unsettled, node)->ticket - 1;
}

// With the slot's task; without one: not yet.
static void slot_answer(struct lender *lender, struct bm_exchange *exchange)
{
    const struct bm_task_request *request = &exchange->request.task;
    struct slot *slot = &lender->slots[request->slot];
    struct bm_given_task *given = &exchange->reply.given;
    *given = (struct bm_given_task){
        .slot = request->slot,
        .ticket = request->ticket,
        .settled = slot_settled(slot),
        .by_reference = request->same_host && exchange->same_host,
    };
    strcpy(given->lender, lender->holding.id);
    if (slot->task != NULL && request->ticket == slot->ticket) {
        given->task = bm_task_ref(slot->task);
        given->attempt = bm_task_attempt(slot->task);
    }
    session_answer(lender->holding.session, exchange);
}

static void lender_answer_late(struct session_holding *holding, struct bm_exchange *exchange)
{
    slot_answer(lender_of(holding), exchange);
}

// Those that wait for this slot: one, but for repeated ones.
static void slot_answer_parked(struct lender *lender, unsigned s)
{
    const struct bm_node *end = &lender->holding.parked.head;
    for (struct bm_node *node = end->next, *next; node != end; node = next) {
        next = node->next;
        struct bm_exchange *exchange = BM_CONTAINER(node, struct bm_exchange, node);
        if (exchange->request.task.slot != s)
            continue;
        session_unpark(exchange);
        slot_answer(lender, exchange);
    }
}

// ---- Handing out ----

// A slot without a task whose request waits; -1: none.
static int lender_free_slot(const struct lender *lender)
{
    const struct bm_node *end = &lender->holding.parked.head;
    for (const struct bm_node *node = end->next; node != end; node = node->next) {
        unsigned s = BM_CONTAINER(node, struct bm_exchange, node)->request.task.slot;
        if (lender->slots[s].task == NULL)
            return (int)s;
    }
    return -1;
}

static bool lender_is_better(const struct lender *a, const struct lender *b) // b came first
{
    return b == NULL || a->nout < b->nout;
}

// The actions that it may be given more of, now.
static uint64_t lender_wants(const struct session_lenders *lenders, const struct lender *lender)
{
    uint64_t mask = lender->actions;
    for (unsigned i = 0; lender->nout > 0 && i < bm_remote_count(lenders->remote); i++) {
        uint64_t task_ns = bm_remote_task_ns(lenders->remote, i);
        if (task_ns == 0 || task_ns > AHEAD_NS)
            mask &= ~(UINT64_C(1) << i);
    }
    return mask;
}

static struct lender *lenders_best(const struct session_lenders *lenders, uint64_t *ret_mask)
{
    struct lender *best = NULL;
    const struct bm_node *end = &lenders->list.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        struct lender *lender = lender_at(node);
        uint64_t mask = lender_wants(lenders, lender);
        if (!lender_is_better(lender, best) || lender_free_slot(lender) < 0 ||
            !bm_remote_waits(lenders->remote, mask))
            continue;
        best = lender;
        *ret_mask = mask;
    }
    return best;
}

static void lenders_serve(struct session_lenders *lenders)
{
    struct lender *lender;
    uint64_t mask;
    if (lenders->serving)
        return;
    lenders->serving = true;
    while ((lender = lenders_best(lenders, &mask)) != NULL) {
        unsigned s = (unsigned)lender_free_slot(lender);
        lender->slots[s].task = bm_remote_take(lenders->remote, mask, &lender->holding);
        lender->nout++;
        bm_list_remove(&lender->node);
        bm_list_push_back(&lenders->list, &lender->node);
        slot_answer_parked(lender, s);
    }
    lenders->serving = false;
}

static unsigned lenders_of(const struct session_lenders *lenders, unsigned action)
{
    unsigned n = 0;
    const struct bm_node *end = &lenders->list.head;
    for (struct bm_node *node = end->next; node != end; node = node->next)
        n += (lender_at(node)->actions >> action & 1) != 0;
    return n;
}

static void lenders_queued(struct bm_remote_listener *listener, unsigned action)
{
    struct session_lenders *lenders = BM_CONTAINER(listener, struct session_lenders, listener);
    bool missed = lenders_of(lenders, action) == 0;
    if (missed && (lenders->missed >> action & 1) == 0)
        session_note(lenders->session, "a batch waits for a process that lends %s, which none does",
                     bm_remote_at(lenders->remote, action).name);
    if (missed)
        lenders->missed |= UINT64_C(1) << action;
    lenders_serve(lenders);
}

// The slot has no task any more; what its lender says of it will not be heard.
static void lenders_revoked(struct bm_remote_listener *listener, struct bm_task *task)
{
    (void)listener;
    struct lender *lender = lender_of(bm_task_holder(task));
    for (unsigned s = 0; s < lender->nslots; s++) {
        if (lender->slots[s].task != task)
            continue;
        lender->slots[s].task = NULL;
        lender->nout--;
    }
}

// ---- Asking ----

static enum bm_status slot_check(const struct lender *lender, const struct bm_task_request *request,
                                 struct bm_error *err)
{
    if (request->slot >= lender->nslots)
        return bm_fail(err, BM_INVALID_ARGUMENT, "slot", "expected one below %u, got %u",
                       lender->nslots, request->slot);
    const struct slot *slot = &lender->slots[request->slot];
    if (request->ticket < slot->ticket)
        return bm_fail(err, BM_OUT_OF_RANGE, "ticket",
                       "expected %llu, as those before it are over, got %llu",
                       (unsigned long long)slot->ticket, (unsigned long long)request->ticket);
    if (request->ticket == 0 || request->ticket > slot->ticket + 1)
        return bm_fail(err, BM_INVALID_ARGUMENT, "ticket", "expected %llu, got %llu",
                       (unsigned long long)slot->ticket + 1, (unsigned long long)request->ticket);
    return BM_OK;
}

// Remembers what the server may still look at after the answer.
static enum bm_status slot_remember(struct slot *slot, uint64_t ticket,
                                    struct bm_task_result *result, struct bm_error *err)
{
    struct unsettled *unsettled = malloc(sizeof *unsettled);
    if (unsettled == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a result");
    unsettled->ticket = ticket;
    unsettled->result = bm_task_result_ref(result);
    bm_list_push_back(&slot->unsettled, &unsettled->node);
    return BM_OK;
}

// The task of the ticket before has ended so. Without a word on it, it goes to the next.
static enum bm_status slot_next(struct lender *lender, struct bm_task_request *request,
                                struct bm_error *err)
{
    struct slot *slot = &lender->slots[request->slot];
    struct bm_task_result *result = request->result;
    struct bm_task *task = slot->task;
    if (result != NULL && task != NULL && lender->mapped != NULL) {
        enum bm_status status = slot_remember(slot, request->ticket, result, err);
        if (status != BM_OK)
            return status;
        result->mapped = bm_mapped_ref(lender->mapped);
    }
    slot->ticket = request->ticket;
    slot->task = NULL;
    request->result = NULL;
    lender->nout -= task != NULL;
    if (task != NULL && result != NULL)
        bm_task_end(task, result);
    else if (task != NULL)
        bm_task_give_back(task);
    else
        bm_task_result_unref(result);
    return BM_OK;
}

static struct session_holding *lender_find(struct bm_session *session, const char *id)
{
    struct session_holding *holding = NULL;
    HASH_FIND(by_id, session->by_id, id, (unsigned)strlen(id), holding);
    return holding != NULL && holding->type == &session_lender_type ? holding : NULL;
}

void session_task_take(struct bm_session *session, struct bm_exchange *exchange)
{
    struct bm_task_request *request = &exchange->request.task;
    struct session_holding *holding = lender_find(session, request->lender);
    struct bm_error error;
    if (holding == NULL) {
        session_unknown(session, exchange, "lender", request->lender);
        return;
    }
    struct lender *lender = lender_of(holding);
    session_renew(holding);
    lender->connection = exchange->connection;
    enum bm_status status = slot_check(lender, request, &error);
    if (status == BM_OK && request->ticket > lender->slots[request->slot].ticket)
        status = slot_next(lender, request, &error);
    if (status == BM_OK && lender->slots[request->slot].task != NULL)
        slot_answer(lender, exchange);
    else if (status != BM_OK || session_park(holding, exchange, request->wait_ms, &error) != BM_OK)
        session_fail(session, exchange, &error);
    lenders_serve(&session->lenders);
}

// ---- Lending ----

static enum bm_status action_no_remote(const struct bm_remote *remote, const char *name,
                                       struct bm_error *err)
{
    struct bm_buffer names;
    bm_buffer_init(&names);
    for (unsigned i = 0; i < bm_remote_count(remote); i++)
        bm_buffer_print(&names, "%s%s", i == 0 ? "" : ", ", bm_remote_at(remote, i).name);
    bm_fail(err, BM_NOT_FOUND, "actions",
            "there is no remote action \"%.60s\" in this server's configuration; there are: %s",
            name, bm_buffer_text(&names));
    bm_buffer_fini(&names);
    return BM_NOT_FOUND;
}

// Whoever wrote the action counts on its lock: every pipeline has to use it so.
static enum bm_status action_check_lock(const struct bm_catalog *catalog,
                                        const struct bm_lent_action *lent, struct bm_error *err)
{
    for (unsigned i = 0; lent->lock[0] != '\0' && i < bm_catalog_count(catalog); i++) {
        const struct bm_pipeline *pipeline = bm_catalog_at(catalog, i);
        for (unsigned a = 0; a < bm_pipeline_nactions(pipeline); a++) {
            struct bm_action_info info = bm_pipeline_action(pipeline, a);
            if (strcmp(info.type->name, lent->name) == 0 &&
                (info.lock == NULL || strcmp(info.lock, lent->lock) != 0))
                return bm_fail(err, BM_FAILED_PRECONDITION, "actions",
                               "%s is lent with the lock %s, but pipeline %s has it with %s%s: "
                               "write use_lock: %s there",
                               lent->name, lent->lock, bm_pipeline_name(pipeline),
                               info.lock == NULL ? "none" : "the lock ",
                               info.lock == NULL ? "" : info.lock, lent->lock);
        }
    }
    return BM_OK;
}

static enum bm_status lend_check(const struct bm_session *session,
                                 const struct bm_lend_request *request, uint64_t connection,
                                 uint64_t *ret_actions, struct bm_error *err)
{
    const struct bm_remote *remote = session->config.remote;
    if (connection == 0) // it could neither be lost nor bring much
        return bm_fail(err, BM_FAILED_PRECONDITION, NULL,
                       "actions are lent over tcp, tls+tcp and ipc");
    if (bm_remote_count(remote) == 0)
        return bm_fail(err, BM_PERMISSION_DENIED, NULL,
                       "no remote_actions are declared in this server's configuration");
    if (request->slots < 1 || request->slots > BM_LENDER_SLOTS_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, "slots", "expected 1 to %d, got %u",
                       BM_LENDER_SLOTS_MAX, request->slots);
    if (request->nactions == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, "actions", "expected one or more, got none");
    uint64_t actions = 0;
    for (unsigned i = 0; i < request->nactions; i++) {
        const struct bm_lent_action *lent = &request->actions[i];
        int index = bm_remote_find(remote, lent->name);
        if (index < 0)
            return action_no_remote(remote, lent->name, err);
        const char *version = bm_remote_at(remote, (unsigned)index).version;
        if (strcmp(version, lent->version) != 0)
            return bm_fail(err, BM_FAILED_PRECONDITION, "actions",
                           "%s: expected version \"%s\", as the configuration says, got \"%.40s\"",
                           lent->name, version, lent->version);
        enum bm_status status = action_check_lock(session->config.catalog, lent, err);
        if (status != BM_OK)
            return status;
        actions |= UINT64_C(1) << index;
    }
    *ret_actions = actions;
    return BM_OK;
}

static enum bm_status lender_new(struct bm_session *session, const struct bm_lend_request *request,
                                 uint64_t actions, struct lender **ret, struct bm_error *err)
{
    const struct bm_open_request like = {
        .pipeline = "", .position = "", .cursor = "", .nonce = request->nonce};
    struct session_lenders *lenders = &session->lenders;
    if (lenders->n == BM_SESSION_LENDERS_MAX)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL,
                       "expected at most %d lenders, got one more", BM_SESSION_LENDERS_MAX);
    struct lender *lender = calloc(1, sizeof *lender + request->slots * sizeof lender->slots[0]);
    if (lender == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a lender");
    struct bm_session_host *host = session->config.host;
    if (request->probed && host->sees != NULL && host->sees(host, &request->probe))
        lender->mapped = bm_mapped_new(request->probe.pid, false);
    lender->actions = actions;
    lender->nslots = request->slots;
    for (unsigned s = 0; s < lender->nslots; s++)
        bm_list_init(&lender->slots[s].unsettled);
    enum bm_status status =
        session_hold(session, &lender->holding, &session_lender_type, &like, err);
    if (status != BM_OK) {
        bm_mapped_unref(lender->mapped);
        free(lender);
        return status;
    }
    bm_list_push_front(&lenders->list, &lender->node);
    lenders->n++;
    *ret = lender;
    return BM_OK;
}

static void lenders_tell(struct session_lenders *lenders, uint64_t actions)
{
    for (unsigned i = 0; i < bm_remote_count(lenders->remote); i++) {
        if ((lenders->missed & actions) >> i & 1)
            session_note(lenders->session, "a process lends %s now",
                         bm_remote_at(lenders->remote, i).name);
    }
    lenders->missed &= ~actions;
}

// The one that was made by the same call, or a new one.
static enum bm_status lender_get(struct bm_session *session, const struct bm_lend_request *request,
                                 uint64_t connection, struct lender **ret, struct bm_error *err)
{
    struct session_holding *holding = NULL;
    uint64_t actions = 0;
    enum bm_status status = lend_check(session, request, connection, &actions, err);
    if (status != BM_OK)
        return status;
    if (request->nonce != 0)
        HASH_FIND(by_nonce, session->by_nonce, &request->nonce, sizeof request->nonce, holding);
    if (holding == NULL)
        return lender_new(session, request, actions, ret, err);
    struct lender *lender = lender_of(holding);
    if (holding->type != &session_lender_type || lender->actions != actions ||
        lender->nslots != request->slots)
        return bm_fail(err, BM_INVALID_ARGUMENT, "nonce",
                       "expected a new one, as this one named something else");
    session_renew(holding);
    *ret = lender;
    return BM_OK;
}

void session_lend(struct bm_session *session, struct bm_exchange *exchange)
{
    struct lender *lender = NULL;
    struct bm_error error;
    if (lender_get(session, &exchange->request.lend, exchange->connection, &lender, &error) !=
        BM_OK) {
        session_fail(session, exchange, &error);
        return;
    }
    BM_ASSERT(lender != NULL);
    lender->connection = exchange->connection;
    struct bm_lent *lent = &exchange->reply.lent;
    *lent = (struct bm_lent){
        .lease_ms = session->config.lease_ms,
        .seen = lender->mapped != NULL,
        .same_host = exchange->same_host ? session->config.same_host : NULL,
    };
    strcpy(lent->id, lender->holding.id);
    lenders_tell(&session->lenders, lender->actions);
    if (exchange->lends != NULL)
        exchange->lends(exchange);
    session_answer(session, exchange);
}

// ---- Leaving ----

static void lender_give_back(struct lender *lender)
{
    for (unsigned s = 0; s < lender->nslots; s++) {
        struct bm_task *task = lender->slots[s].task;
        lender->slots[s].task = NULL;
        lender->nout -= task != NULL;
        if (task != NULL)
            bm_task_give_back(task);
    }
}

static void lender_destroy(struct session_holding *holding)
{
    struct lender *lender = lender_of(holding);
    struct session_lenders *lenders = &holding->session->lenders;
    bm_list_remove(&lender->node);
    lenders->n--;
    lender_give_back(lender);
    for (unsigned s = 0; s < lender->nslots; s++) {
        struct bm_node *node;
        while ((node = bm_list_pop_front(&lender->slots[s].unsettled)) != NULL) {
            struct unsettled *unsettled = BM_CONTAINER(node, struct unsettled, node);
            bm_task_result_unref(unsettled->result);
            free(unsettled);
        }
    }
    bm_mapped_unref(lender->mapped);
    free(lender);
}

const struct session_holding_type session_lender_type = {
    .late = lender_answer_late,
    .destroy = lender_destroy,
};

void session_end_lending(struct bm_session *session, struct bm_exchange *exchange)
{
    struct session_holding *holding = lender_find(session, exchange->request.named.name);
    if (holding != NULL)
        session_destroy(holding);
    session_answer(session, exchange);
}

void bm_session_disconnected(struct bm_session *session, uint64_t connection)
{
    struct session_lenders *lenders = &session->lenders;
    const struct bm_node *end = &lenders->list.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        struct lender *lender = lender_at(node);
        if (lender->connection != connection || lender->nout == 0)
            continue;
        session_note(session,
                     "the connection of a process that lends actions is gone; %u of its "
                     "batches go to others",
                     lender->nout);
        lender_give_back(lender);
    }
}

// ---- For the session ----

void session_lenders_init(struct bm_session *session)
{
    struct session_lenders *lenders = &session->lenders;
    lenders->session = session;
    lenders->remote = session->config.remote;
    lenders->listener =
        (struct bm_remote_listener){.queued = lenders_queued, .revoked = lenders_revoked};
    bm_list_init(&lenders->list);
    if (lenders->remote != NULL)
        bm_remote_start(lenders->remote, session->config.executor, &lenders->listener);
}

unsigned session_lenders_parked(const struct bm_session *session)
{
    unsigned n = 0;
    const struct bm_node *end = &session->lenders.list.head;
    for (struct bm_node *node = end->next; node != end; node = node->next)
        n += lender_at(node)->holding.nparked;
    return n;
}

enum bm_status session_lenders_status(const struct bm_session *session,
                                      struct bm_status_report *report, struct bm_error *err)
{
    const struct session_lenders *lenders = &session->lenders;
    unsigned n = bm_remote_count(lenders->remote);
    report->remotes = calloc(n + 1, sizeof report->remotes[0]);
    if (report->remotes == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a reply");
    report->nremotes = n;
    for (unsigned i = 0; i < n; i++) {
        struct bm_remote_status *status = &report->remotes[i];
        status->info = bm_remote_at(lenders->remote, i);
        status->nlenders = lenders_of(lenders, i);
        if (status->info.waiting_since_ns > 0)
            status->waiting_seconds =
                (double)(session_now(session) - status->info.waiting_since_ns) / 1e9;
    }
    return BM_OK;
}
