// A lender: its slots ask a server for tasks, one request each, which says how the last one ended.
//
//     IDLE -> ASKED -> READY -> HELD -> ASKED          take() hands READY ones out
//      ^        |
//      +--------+                                      no answer that helps: asked again, later
//
// What comes back is looked at on the connection's thread, and what needs patience (making the
// lender again, asking later) is done by take(), whose caller waits anyway. While the user works on
// a task, a timer says to the server that it lives.
//
// Functions of a slot, and lender_ready() to lender_take(), are called with the client's mutex
// held, which clang cannot follow from a slot to its client.
#include "client/c/lend.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum {
    PAUSE_MS = 100, // before asking again; doubles up to
    PAUSE_MS_MAX = 1000,
    CLOSE_MS = 1000, // how long it waits until its tasks are given back
};

#define NS_PER_MS UINT64_C(1000000)

// ---- One request on its connection, one reply ----

struct lend_exchange {
    struct batchmill_lender *lender;
    bool over; // the client's mutex
    struct bm_client_message *reply;
};

static void lend_exchange_done(void *context, struct bm_client_message *reply)
{
    struct lend_exchange *exchange = context;
    struct batchmill_lender *lender = exchange->lender;
    bm_mutex_lock(&lender->client->mutex);
    exchange->over = true;
    exchange->reply = reply;
    bm_cond_broadcast(&lender->changed);
    bm_mutex_unlock(&lender->client->mutex);
}

// `request` is sealed. Without the mutex.
static enum batchmill_code lender_exchange(struct batchmill_lender *lender,
                                           const struct bm_buffer *request, uint32_t timeout_ms,
                                           struct bm_client_message **ret_reply,
                                           struct batchmill_error *error)
{
    struct batchmill_client *client = lender->client;
    struct lend_exchange exchange = {.lender = lender};
    uint64_t deadline_ns = bm_client_now_ns() + timeout_ms * NS_PER_MS;
    struct bm_client_call *call =
        bm_client_call_new(lender->transport, lend_exchange_done, &exchange);
    bool sent = call != NULL && bm_client_call_start(call, request->data, request->size);
    bm_mutex_lock(&client->mutex);
    while (sent && !exchange.over && !lender->cancelled &&
           bm_cond_wait_until(&lender->changed, &client->mutex, deadline_ns))
        ;
    bm_mutex_unlock(&client->mutex);
    bm_client_call_free(call);
    if (exchange.reply != NULL) {
        *ret_reply = exchange.reply;
        return BATCHMILL_OK;
    }
    if (!sent)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a request");
    return bm_client_unreachable(client, lender->transport, error);
}

// Makes it on the server, or finds it there.
static enum batchmill_code lender_make(struct batchmill_lender *lender,
                                       struct bm_client_lent *ret_lent,
                                       struct batchmill_error *error)
{
    struct bm_client_message *reply = NULL;
    enum batchmill_code code =
        lender_exchange(lender, &lender->lend, lender->client->timeout_ms, &reply, error);
    if (code != BATCHMILL_OK)
        return code;
    const void *bytes = bm_client_message_data(reply);
    size_t size = bm_client_message_size(reply);
    if (bm_client_reply_altered(bytes, size))
        code = bm_client_fail(error, BATCHMILL_UNAVAILABLE, "a message was altered on its way");
    else
        code = bm_client_decode_lend(bytes, size, ret_lent, error);
    bm_client_message_unref(reply);
    return code;
}

static bool code_passes(enum batchmill_code code) // asking again may help
{
    return code == BATCHMILL_UNAVAILABLE || code == BATCHMILL_DATA_LOSS ||
           code == BATCHMILL_RESOURCE_EXHAUSTED || code == BATCHMILL_CANCELLED;
}

// ---- Asking ----

static void slot_pause(struct lend_slot *slot) // with the mutex
{
    uint64_t pause_ms = (uint64_t)PAUSE_MS << (slot->npauses < 4 ? slot->npauses : 4);
    slot->npauses++;
    slot->state = LEND_IDLE;
    slot->retry_ns =
        bm_client_now_ns() + (pause_ms < PAUSE_MS_MAX ? pause_ms : PAUSE_MS_MAX) * NS_PER_MS;
    bm_cond_broadcast(&slot->lender->changed);
}

// Sends the request again that it has. Gives the mutex back meanwhile.
static BM_UNCHECKED void slot_send(struct lend_slot *slot)
{
    struct batchmill_client *client = slot->lender->client;
    slot->state = LEND_ASKED;
    bm_mutex_unlock(&client->mutex);
    bool sent = bm_client_call_start(slot->call, slot->request.data, slot->request.size);
    bm_mutex_lock(&client->mutex);
    if (!sent && slot->state == LEND_ASKED)
        slot_pause(slot);
}

// Asks for the ticket that it has, with nothing to say of the one before.
static void slot_ask(struct lend_slot *slot)
{
    struct batchmill_lender *lender = slot->lender;
    slot->mapped = lender->server != NULL && !lender->unmapped;
    slot->generation = lender->generation;
    const struct bm_client_take take = {
        .lender = lender->id,
        .slot = slot->index,
        .ticket = slot->ticket,
        .wait_ms = BM_CLIENT_WAIT_MS,
        .same_host = slot->mapped,
        .row = -1,
    };
    if (bm_client_encode_take(&take, lender->client->token, &slot->request, NULL) == BATCHMILL_OK)
        slot_send(slot);
    else
        slot_pause(slot);
}

static void slot_forget_sent(struct lend_slot *slot, uint64_t settled, bool taint)
{
    while (!bm_list_empty(&slot->sent)) {
        struct lend_sent *sent = BM_CONTAINER(slot->sent.head.next, struct lend_sent, node);
        // The analyzer does not see that what was freed has left the list.
        if (sent->ticket > settled) // NOLINT(clang-analyzer-unix.Malloc)
            return;
        bm_list_remove(&sent->node);
        if (taint) // who has it may look at it for as long as it likes
            bm_shared_taint(sent->shared);
        bm_shared_free(sent->shared);
        free(sent);
    }
}

// ---- What comes back: on the connection's thread ----

static void slot_trouble(struct lend_slot *slot, const struct batchmill_error *error)
{
    struct batchmill_lender *lender = slot->lender;
    if (error->code == BATCHMILL_NOT_FOUND && slot->generation == lender->generation)
        lender->lost = true;
    else if (error->code != BATCHMILL_NOT_FOUND && !code_passes(error->code) &&
             lender->failure.code == BATCHMILL_OK)
        lender->failure = *error;
    slot_pause(slot);
}

// Another ask for the same: with the server's memory, or without.
static void slot_repeat(struct lend_slot *slot)
{
    if (slot->mapped && slot->lender->unmapped)
        slot_ask(slot);
    else
        slot_send(slot);
}

static void slot_done(void *context, struct bm_client_message *reply)
{
    struct lend_slot *slot = context;
    struct batchmill_lender *lender = slot->lender;
    struct bm_client_task_reply taken = {0};
    struct batchmill_task *task = NULL;
    struct batchmill_error error = {.code = BATCHMILL_UNAVAILABLE};
    enum batchmill_code code = BATCHMILL_UNAVAILABLE;
    const void *bytes = reply == NULL ? NULL : bm_client_message_data(reply);
    size_t size = reply == NULL ? 0 : bm_client_message_size(reply);
    if (reply != NULL && !bm_client_reply_altered(bytes, size))
        code = bm_client_decode_take(bytes, size, slot->mapped, &taken, &error);
    bool unmapped = false;
    if (code == BATCHMILL_OK && taken.given) {
        code = lend_task_new(slot, &taken, reply, &task, &error);
        unmapped = code == BATCHMILL_UNAVAILABLE;
    }
    bm_client_message_unref(reply);
    bm_mutex_lock(&lender->client->mutex);
    lender->unmapped |= unmapped;
    bool ours = taken.ticket == slot->ticket && slot->generation == lender->generation;
    if (code == BATCHMILL_OK && ours)
        slot_forget_sent(slot, taken.settled, false);
    if (code == BATCHMILL_OK && ours && task != NULL) {
        task->generation = slot->generation;
        slot->task = task;
        slot->state = LEND_READY;
        slot->npauses = 0;
        task = NULL;
        bm_cond_broadcast(&lender->changed);
    } else if (code == BATCHMILL_OK || unmapped) {
        slot->npauses = 0;
        slot_repeat(slot); // not yet, or otherwise
    } else {
        slot_trouble(slot, &error);
    }
    bm_mutex_unlock(&lender->client->mutex);
    lend_task_free(task);
}

// ---- That it lives ----

static void lender_kept(void *context, struct bm_client_message *reply)
{
    struct batchmill_lender *lender = context;
    bm_client_message_unref(reply); // what it says, a slot hears as well
    bm_mutex_lock(&lender->client->mutex);
    lender->keeping = false;
    bm_mutex_unlock(&lender->client->mutex);
}

static void lender_ring(void *context)
{
    struct batchmill_lender *lender = context;
    bm_mutex_lock(&lender->client->mutex);
    bool keeps = !lender->keeping && !lender->lost;
    lender->keeping |= keeps;
    bm_mutex_unlock(&lender->client->mutex);
    if (!keeps || bm_client_call_start(lender->keep, lender->lend.data, lender->lend.size))
        return;
    bm_mutex_lock(&lender->client->mutex);
    lender->keeping = false;
    bm_mutex_unlock(&lender->client->mutex);
}

// ---- The end of a task ----

// Keeps what the server will look at.
static void slot_keep_written(struct lend_slot *slot, struct batchmill_task *task)
{
    for (size_t i = 0; i < task->nwritten; i++) {
        struct bm_client_written *written = &task->written[i];
        struct lend_sent *sent = written->shared == NULL ? NULL : malloc(sizeof *sent);
        if (sent == NULL) {
            if (written->shared != NULL) // it cannot be known when; so never
                bm_shared_taint(written->shared);
            continue;
        }
        *sent = (struct lend_sent){.ticket = slot->ticket, .shared = written->shared};
        bm_list_push_back(&slot->sent, &sent->node);
        written->shared = NULL;
        written->data = NULL;
    }
}

void lend_slot_end(struct batchmill_task *task, enum bm_client_ending ending,
                   enum batchmill_code code, int64_t row, const char *text)
{
    struct lend_slot *slot = task->slot;
    struct batchmill_lender *lender = slot->lender;
    struct batchmill_client *client = lender->client;
    bm_mutex_lock(&client->mutex);
    BM_ASSERT(slot->state == LEND_HELD && slot->task == task);
    slot->task = NULL;
    bool current = task->generation == lender->generation;
    slot->ticket = current ? slot->ticket + 1 : 1;
    slot->generation = lender->generation;
    slot->mapped = lender->server != NULL && !lender->unmapped;
    const struct bm_client_take take = {
        .lender = lender->id,
        .slot = slot->index,
        .ticket = slot->ticket,
        .wait_ms = BM_CLIENT_WAIT_MS,
        .same_host = slot->mapped,
        .ending = current ? ending : BM_CLIENT_TASK_NONE,
        .code = code,
        .text = text,
        .row = row,
        .nwritten = current && ending == BM_CLIENT_TASK_DONE ? task->nwritten : 0,
        .written = task->written,
    };
    bm_mutex_unlock(&client->mutex); // the slot is this thread's until it is sent
    enum batchmill_code encoded = bm_client_encode_take(&take, client->token, &slot->request, NULL);
    bm_mutex_lock(&client->mutex);
    if (take.nwritten > 0)
        slot_keep_written(slot, task);
    if (encoded == BATCHMILL_OK)
        slot_send(slot);
    else
        slot_ask(slot); // without the result: another does it
    bm_mutex_unlock(&client->mutex);
    lend_task_free(task);
}

// ---- Taking ----

// The server does not know it any more: it was started again, or heard nothing for too long.
static BM_UNCHECKED enum batchmill_code lender_make_again(struct batchmill_lender *lender,
                                                          struct batchmill_error *error)
{
    struct batchmill_client *client = lender->client;
    struct bm_client_lent lent;
    bm_mutex_unlock(&client->mutex);
    enum batchmill_code code = lender_make(lender, &lent, error);
    struct bm_mapped *server = NULL;
    if (code == BATCHMILL_OK && lent.has_same_host && !client->no_shared_memory &&
        bm_mapped_is_here(&lent.same_host))
        server = bm_mapped_new(lent.same_host.pid, client->writable);
    bm_mutex_lock(&client->mutex);
    if (code != BATCHMILL_OK)
        return code;
    bm_mapped_unref(lender->server);
    lender->server = server;
    lender->lost = lender->unmapped = false;
    lender->seen = lent.seen;
    lender->generation++;
    strcpy(lender->id, lent.lender);
    for (unsigned s = 0; s < lender->nslots; s++) {
        struct lend_slot *slot = &lender->slots[s];
        slot_forget_sent(slot, UINT64_MAX, true);
        if (slot->state != LEND_IDLE && slot->state != LEND_READY)
            continue;
        struct batchmill_task *stale = slot->task;
        slot->task = NULL;
        slot->ticket = 1;
        slot->npauses = 0;
        slot_ask(slot);
        lend_task_free(stale);
    }
    return BATCHMILL_OK;
}

static struct batchmill_task *lender_ready(struct batchmill_lender *lender)
{
    struct lend_slot *oldest = NULL; // the first that was asked for comes first
    for (unsigned s = 0; s < lender->nslots; s++) {
        struct lend_slot *slot = &lender->slots[s];
        if (slot->state == LEND_READY &&
            (oldest == NULL || slot->task->info.seq < oldest->task->info.seq))
            oldest = slot;
    }
    if (oldest == NULL)
        return NULL;
    oldest->state = LEND_HELD;
    return oldest->task;
}

// Asks again where it is time; when it will be next, or UINT64_MAX.
static uint64_t lender_retry(struct batchmill_lender *lender)
{
    uint64_t next_ns = UINT64_MAX, now_ns = bm_client_now_ns();
    for (unsigned s = 0; s < lender->nslots; s++) {
        struct lend_slot *slot = &lender->slots[s];
        if (slot->state != LEND_IDLE)
            continue;
        if (slot->generation != lender->generation) {
            slot->ticket = 1;
            slot_ask(slot);
        } else if (slot->retry_ns <= now_ns) {
            slot_repeat(slot);
        } else if (slot->retry_ns < next_ns) {
            next_ns = slot->retry_ns;
        }
    }
    return next_ns;
}

static BM_UNCHECKED enum batchmill_code lender_take(struct batchmill_lender *lender,
                                                    uint64_t deadline_ns,
                                                    struct batchmill_task **ret_task,
                                                    struct batchmill_error *error)
{
    struct batchmill_client *client = lender->client;
    for (;;) {
        if (lender->cancelled)
            return bm_client_fail(error, BATCHMILL_CANCELLED, "the lender was cancelled");
        if (lender->failure.code != BATCHMILL_OK) {
            if (error != NULL)
                *error = lender->failure;
            return lender->failure.code;
        }
        if ((*ret_task = lender_ready(lender)) != NULL)
            return BATCHMILL_OK;
        struct batchmill_error why;
        enum batchmill_code code = lender->lost ? lender_make_again(lender, &why) : BATCHMILL_OK;
        if (code != BATCHMILL_OK && !code_passes(code)) {
            lender->failure = why;
            continue;
        }
        uint64_t next_ns =
            lender->lost ? bm_client_now_ns() + PAUSE_MS_MAX * NS_PER_MS : lender_retry(lender);
        if (bm_client_now_ns() >= deadline_ns)
            return bm_client_fail(error, BATCHMILL_DEADLINE_EXCEEDED, "no task came in time");
        bm_cond_wait_until(&lender->changed, &client->mutex,
                           next_ns < deadline_ns ? next_ns : deadline_ns);
    }
}

enum batchmill_code batchmill_take(struct batchmill_lender *lender, uint32_t timeout_ms,
                                   struct batchmill_task **ret_task, struct batchmill_error *error)
{
    if (lender == NULL || ret_task == NULL)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "%s: expected one, got NULL",
                              lender == NULL ? "lender" : "ret_task");
    enum batchmill_code code = bm_client_check(lender->client, error);
    if (code != BATCHMILL_OK)
        return code;
    uint64_t deadline_ns =
        timeout_ms == UINT32_MAX ? INT64_MAX : bm_client_now_ns() + timeout_ms * NS_PER_MS;
    struct batchmill_task *task = NULL;
    bm_mutex_lock(&lender->client->mutex);
    code = lender_take(lender, deadline_ns, &task, error);
    bm_mutex_unlock(&lender->client->mutex);
    if (code == BATCHMILL_OK)
        *ret_task = task;
    return code;
}

void batchmill_lender_cancel(struct batchmill_lender *lender)
{
    bm_mutex_lock(&lender->client->mutex);
    lender->cancelled = true;
    bm_cond_broadcast(&lender->changed);
    bm_mutex_unlock(&lender->client->mutex);
}

// ---- Its life ----

static void lender_free(struct batchmill_lender *lender)
{
    bm_client_timer_free(lender->timer);
    bm_client_call_free(lender->keep);
    for (unsigned s = 0; s < lender->nslots; s++)
        bm_client_call_free(lender->slots[s].call);
    bm_client_transport_close(lender->transport);
    bm_mutex_lock(&lender->client->mutex);
    for (unsigned s = 0; s < lender->nslots; s++)
        slot_forget_sent(&lender->slots[s], UINT64_MAX, true);
    bm_mutex_unlock(&lender->client->mutex);
    for (unsigned s = 0; s < lender->nslots; s++) {
        lend_task_free(lender->slots[s].task);
        bm_buffer_fini(&lender->slots[s].request);
    }
    if (lender->pool != NULL)
        bm_probe_close(&lender->probe);
    bm_shared_pool_free(lender->pool);
    bm_mapped_unref(lender->server);
    bm_buffer_fini(&lender->lend);
    bm_cond_fini(&lender->changed);
    free(lender);
}

void batchmill_lender_close(struct batchmill_lender *lender)
{
    if (lender == NULL || bm_client_forked(lender->client))
        return;
    struct bm_buffer request;
    struct bm_client_message *reply = NULL;
    uint64_t since_ns;
    bm_buffer_init(&request);
    bm_mutex_lock(&lender->client->mutex);
    lender->cancelled = false; // else the farewell would not wait
    bm_mutex_unlock(&lender->client->mutex);
    // Its tasks go back at once; if this does not arrive, they do when the connection is closed.
    if (bm_client_transport_connected(lender->transport, &since_ns) &&
        bm_client_encode_end_lending(lender->id, &request, NULL) == BATCHMILL_OK &&
        bm_client_request_seal(&request, lender->client->token, NULL) == BATCHMILL_OK)
        (void)lender_exchange(lender, &request, CLOSE_MS, &reply, NULL);
    bm_client_message_unref(reply);
    bm_buffer_fini(&request);
    lender_free(lender);
}

static enum batchmill_code lender_prepare(struct batchmill_lender *lender,
                                          const struct batchmill_lent_action *actions,
                                          size_t nactions, struct batchmill_error *error)
{
    struct batchmill_client *client = lender->client;
    bool lends_memory = !client->no_shared_memory && bm_probe_open(&lender->probe);
    if (lends_memory && (lender->pool = bm_shared_pool_new(BM_SHARED_BYTES_MIN)) == NULL)
        bm_probe_close(&lender->probe);
    enum batchmill_code code =
        bm_client_encode_lend(actions, nactions, lender->nslots, bm_client_nonce(),
                              lender->pool == NULL ? NULL : &lender->probe, &lender->lend, error);
    if (code == BATCHMILL_OK)
        code = bm_client_request_seal(&lender->lend, client->token, error);
    if (code == BATCHMILL_OK)
        code = bm_client_connect(client, &lender->transport, error);
    if (code == BATCHMILL_OK &&
        !bm_client_transport_hello(lender->transport, lender->lend.data, lender->lend.size))
        code = bm_client_fail(error, BATCHMILL_FAILED_PRECONDITION,
                              "%s: actions are lent over tcp, tls+tcp and ipc", client->url);
    return code;
}

static enum batchmill_code lender_start(struct batchmill_lender *lender, uint32_t lease_ms,
                                        struct batchmill_error *error)
{
    bool good = true;
    for (unsigned s = 0; s < lender->nslots; s++) {
        struct lend_slot *slot = &lender->slots[s];
        slot->call = bm_client_call_new(lender->transport, slot_done, slot);
        good = good && slot->call != NULL;
    }
    lender->keep = bm_client_call_new(lender->transport, lender_kept, lender);
    if (good && lender->keep != NULL)
        lender->timer = bm_client_timer_new(lease_ms < 30 ? 10 : lease_ms / 3, lender_ring, lender);
    if (lender->timer == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a lender");
    return BATCHMILL_OK;
}

enum batchmill_code batchmill_lend(struct batchmill_client *client,
                                   const struct batchmill_lent_action *actions, size_t nactions,
                                   unsigned slots, struct batchmill_lender **ret_lender,
                                   struct batchmill_error *error)
{
    enum { SLOTS_MAX = 16 };
    enum batchmill_code code = bm_client_check(client, error);
    if (code != BATCHMILL_OK)
        return code;
    if (ret_lender == NULL || (actions == NULL && nactions > 0))
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "%s: expected one, got NULL",
                              ret_lender == NULL ? "ret_lender" : "actions");
    if (slots < 1 || slots > SLOTS_MAX)
        return bm_client_fail(error, BATCHMILL_INVALID_ARGUMENT, "slots: expected 1 to %d, got %u",
                              SLOTS_MAX, slots);
    struct batchmill_lender *lender = calloc(1, sizeof *lender + slots * sizeof lender->slots[0]);
    if (lender == NULL)
        return bm_client_fail(error, BATCHMILL_RESOURCE_EXHAUSTED, "out of memory for a lender");
    lender->client = client;
    lender->nslots = slots;
    lender->lost = true; // take() of the first task
    bm_cond_init(&lender->changed);
    bm_buffer_init(&lender->lend);
    for (unsigned s = 0; s < slots; s++) {
        struct lend_slot *slot = &lender->slots[s];
        slot->lender = lender;
        slot->index = s;
        bm_buffer_init(&slot->request);
        bm_list_init(&slot->sent);
    }
    struct bm_client_lent lent;
    code = lender_prepare(lender, actions, nactions, error);
    if (code == BATCHMILL_OK) // tells at once what is wrong with it
        code = lender_make(lender, &lent, error);
    if (code == BATCHMILL_OK)
        code = lender_start(lender, lent.lease_ms, error);
    if (code == BATCHMILL_OK) {
        bm_mutex_lock(&client->mutex);
        code = lender_make_again(lender, error);
        bm_mutex_unlock(&client->mutex);
    }
    if (code == BATCHMILL_OK)
        *ret_lender = lender;
    else
        lender_free(lender);
    return code;
}
