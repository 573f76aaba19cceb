// A stream that many clients take from: whoever asks next gets the next batch.
//
// Each client is a *member* and counts its own tickets 0, 1, 2, ... A ticket gets one batch, keeps
// it however often it is asked for, and is acknowledged by asking for the next one. All members
// together are one consumer of the cursor's stream: its window moves when one of them asks. What
// a member leaves behind without acknowledging it goes to the next who asks.
#include <stdlib.h>
#include <string.h>

#include "server/session_internal.h"

struct handout {                // one batch in a member's hands, or given back
    struct bm_node node;        // in cursor->given_back
    struct bm_outcome *outcome; // NULL: none
};

struct session_cursor {
    struct bm_session *session;
    char name[BM_NAME_MAX + 1];
    UT_hash_handle by_name;
    struct session_args args;
    struct session_plan plan;
    struct bm_stream *stream;
    struct bm_stream_listener listener;
    struct session_lease lease; // runs only while there is no member
    unsigned nmembers;
    uint64_t next;             // seq of the first batch that nobody got
    struct bm_list given_back; // of struct handout, by seq
    struct bm_list line;       // of members with a request, in the order they asked
    bool serving;
};

struct member {
    struct session_holding holding;
    struct session_cursor *cursor;
    uint64_t ticket;      // the one being asked for, or answered
    struct handout *hand; // allocated with the member, so that giving back cannot fail
    struct bm_node line_node;
};

static struct member *member_of(struct session_holding *holding)
{
    return BM_CONTAINER(holding, struct member, holding);
}

// ---- Replies ----

static void member_reply_init(struct member *member, struct bm_exchange *exchange)
{
    struct bm_batches *batches = &exchange->reply.batches;
    strcpy(batches->stream, member->holding.id);
    batches->pipeline = bm_pipeline_ref(member->cursor->plan.pipeline);
    batches->first = exchange->request.next.first;
    batches->checked = member->holding.args.checked;
}

static void member_answer_empty(struct session_holding *holding, struct bm_exchange *exchange)
{
    member_reply_init(member_of(holding), exchange);
    session_answer(holding->session, exchange);
}

// With the batch in the member's hand; without one, the stream is over.
static void member_answer(struct member *member, struct bm_exchange *exchange)
{
    struct bm_session *session = member->holding.session;
    struct bm_batches *batches = &exchange->reply.batches;
    struct bm_outcome *outcome = member->hand->outcome;
    member_reply_init(member, exchange);
    if (outcome == NULL) {
        batches->end = true;
        batches->end_seq = batches->first;
        batches->stopped = bm_stream_counts(member->cursor->stream).stopped;
    } else {
        batches->outcomes = calloc(1, sizeof(struct bm_outcome *));
        if (batches->outcomes == NULL) {
            struct bm_error error;
            bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a reply");
            session_fail(session, exchange, &error);
            return;
        }
        batches->outcomes[batches->noutcomes++] = bm_outcome_ref(outcome);
    }
    session_answer(session, exchange);
}

static void member_answer_parked(struct member *member)
{
    struct bm_exchange *exchange;
    while ((exchange = session_first_parked(&member->holding)) != NULL) {
        session_unpark(exchange);
        member_answer(member, exchange);
    }
}

// ---- Handing out ----

// The first in line that wants a batch now, or NULL. Whose requests were abandoned or came to the
// end of their wait loses its place here, and not before: asking again in time keeps it.
static struct member *cursor_first_in_line(struct session_cursor *cursor)
{
    while (!bm_list_empty(&cursor->line)) {
        struct bm_node *node = cursor->line.head.next;
        struct member *member = BM_CONTAINER(node, struct member, line_node);
        if (member->holding.nparked > 0)
            return member;
        bm_list_remove(node);
    }
    return NULL;
}

static enum bm_got cursor_take(struct session_cursor *cursor, struct bm_outcome **ret_outcome)
{
    struct bm_node *node = bm_list_pop_front(&cursor->given_back);
    if (node != NULL) {
        struct handout *handout = BM_CONTAINER(node, struct handout, node);
        *ret_outcome = handout->outcome;
        free(handout);
        return BM_GOT_OUTCOME;
    }
    for (;;) {
        bm_stream_ask(cursor->stream, cursor->next);
        enum bm_got got = bm_stream_get(cursor->stream, cursor->next, ret_outcome);
        if (got != BM_GOT_OUTCOME)
            return got;
        cursor->next++;
        if ((*ret_outcome)->kind != BM_OUTCOME_SKIPPED)
            return got;
        *ret_outcome = bm_outcome_unref(*ret_outcome);
    }
}

static void cursor_serve(struct session_cursor *cursor)
{
    struct member *member;
    if (cursor->serving)
        return; // asking for the next batch said at once that there is one; the loop below goes on
    cursor->serving = true;
    while ((member = cursor_first_in_line(cursor)) != NULL) {
        struct bm_outcome *outcome = NULL;
        enum bm_got got = cursor_take(cursor, &outcome);
        if (got != BM_GOT_OUTCOME && got != BM_GOT_END)
            break;
        bm_list_remove(&member->line_node);
        member->hand->outcome = outcome;
        member_answer_parked(member);
    }
    cursor->serving = false;
}

static void cursor_changed(struct bm_stream_listener *listener)
{
    cursor_serve(BM_CONTAINER(listener, struct session_cursor, listener));
}

// Takes the batch of a member that goes; the oldest is handed out again first.
static void cursor_take_back(struct session_cursor *cursor, struct handout *handout)
{
    struct bm_node *before = cursor->given_back.head.prev;
    while (before != &cursor->given_back.head &&
           BM_CONTAINER(before, struct handout, node)->outcome->seq > handout->outcome->seq)
        before = before->prev;
    bm_list_insert_(before, &handout->node, before->next);
}

// ---- Asking ----

static void member_done(struct member *member) // with the batch in its hand
{
    member->hand->outcome = bm_outcome_unref(member->hand->outcome);
    member->ticket++;
}

enum bm_status session_member_ack(struct session_holding *holding, uint64_t ack,
                                  struct bm_error *err)
{
    struct member *member = member_of(holding);
    if (ack <= member->ticket)
        return BM_OK;
    uint64_t most = member->ticket + (member->hand->outcome != NULL);
    if (ack > most)
        return bm_fail(err, BM_INVALID_ARGUMENT, "ack",
                       "expected at most %llu, as later tickets were never answered, got %llu",
                       (unsigned long long)most, (unsigned long long)ack);
    member_done(member);
    return BM_OK;
}

static enum bm_status member_ask(struct member *member, const struct bm_next_request *next,
                                 struct bm_error *err)
{
    enum bm_status status = session_member_ack(&member->holding, next->ack, err);
    if (status != BM_OK || next->max_batches == 0)
        return status;
    bool holds = member->hand->outcome != NULL;
    if (next->first < member->ticket)
        return bm_fail(err, BM_OUT_OF_RANGE, "first",
                       "expected ticket %llu, as those before it are acknowledged, got %llu",
                       (unsigned long long)member->ticket, (unsigned long long)next->first);
    if (next->first > member->ticket + holds)
        return bm_fail(err, BM_INVALID_ARGUMENT, "first", "expected ticket %llu, got %llu",
                       (unsigned long long)member->ticket + holds, (unsigned long long)next->first);
    if (next->first > member->ticket)
        member_done(member);
    return BM_OK;
}

void session_member_next(struct session_holding *holding, struct bm_exchange *exchange)
{
    struct member *member = member_of(holding);
    const struct bm_next_request *next = &exchange->request.next;
    struct bm_error error;
    if (member_ask(member, next, &error) != BM_OK) {
        session_fail(holding->session, exchange, &error);
        return;
    }
    if (next->max_batches == 0) {
        member_answer_empty(holding, exchange);
    } else if (member->hand->outcome != NULL) {
        member_answer(member, exchange);
    } else if (session_park(holding, exchange, next->wait_ms, &error) != BM_OK) {
        session_fail(holding->session, exchange, &error);
    } else {
        if (member->line_node.next == NULL)
            bm_list_push_back(&member->cursor->line, &member->line_node);
        cursor_serve(member->cursor);
    }
}

// ---- Opening and closing ----

static void cursor_free(struct session_cursor *cursor)
{
    struct bm_session *session = cursor->session;
    BM_ASSERT(cursor->nmembers == 0);
    session_unlease(&cursor->lease);
    HASH_DELETE(by_name, session->cursors, cursor);
    session->ncursors--;
    bm_stream_close(cursor->stream);
    struct bm_node *node;
    while ((node = bm_list_pop_front(&cursor->given_back)) != NULL) {
        struct handout *handout = BM_CONTAINER(node, struct handout, node);
        bm_outcome_unref(handout->outcome);
        free(handout);
    }
    free(cursor);
}

static void cursor_expired(struct session_lease *lease)
{
    cursor_free(BM_CONTAINER(lease, struct session_cursor, lease));
}

void session_cursors_free(struct bm_session *session)
{
    while (session->cursors != NULL)
        cursor_free(session->cursors); // NOLINT(clang-analyzer-unix.Malloc): it left the table
}

static enum bm_status cursor_new(struct bm_session *session, const struct bm_open_request *request,
                                 struct session_cursor **ret_cursor, struct bm_error *err)
{
    char id[BM_STREAM_ID_MAX + 1];
    if (session->ncursors == BM_SESSION_CURSORS_MAX)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, "cursor",
                       "expected at most %d cursors, got one more", BM_SESSION_CURSORS_MAX);
    struct session_cursor *cursor = calloc(1, sizeof *cursor);
    if (cursor == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, "cursor", "out of memory for a cursor");
    cursor->session = session;
    cursor->listener.changed = cursor_changed;
    cursor->lease.expired = cursor_expired;
    strcpy(cursor->name, request->cursor);
    bm_list_init(&cursor->given_back);
    bm_list_init(&cursor->line);
    session_args_of(request, &cursor->args);
    session_id_draw(session, id);
    enum bm_status status = session_plan_make(session, request, &cursor->plan, err);
    if (status == BM_OK)
        status =
            session_plan_start(session, &cursor->plan, id, &cursor->listener, &cursor->stream, err);
    if (status != BM_OK)
        goto fail;
    HASH_ADD(by_name, session->cursors, name, (unsigned)strlen(cursor->name), cursor);
    if (cursor->by_name.tbl == NULL) {
        bm_stream_close(cursor->stream);
        status = bm_fail(err, BM_RESOURCE_EXHAUSTED, "cursor", "out of memory for a cursor");
        goto fail;
    }
    session->ncursors++;
    session_lease(session, &cursor->lease); // until its first member has joined
    *ret_cursor = cursor;
    return BM_OK;
fail:
    free(cursor);
    return status;
}

// The cursor of that name, made at its first use.
static enum bm_status cursor_get(struct bm_session *session, const struct bm_open_request *request,
                                 struct session_cursor **ret_cursor, struct bm_error *err)
{
    struct session_args args;
    struct session_cursor *cursor = NULL;
    if (request->position[0] != '\0')
        return bm_fail(err, BM_INVALID_ARGUMENT, "position",
                       "expected none with a cursor, which keeps its own");
    HASH_FIND(by_name, session->cursors, request->cursor, (unsigned)strlen(request->cursor),
              cursor);
    if (cursor == NULL)
        return cursor_new(session, request, ret_cursor, err);
    session_args_of(request, &args);
    enum bm_status status = session_args_agree(&cursor->args, &args, "this cursor", err);
    if (status == BM_OK)
        *ret_cursor = cursor;
    return status;
}

static void member_opened(struct session_holding *holding, struct bm_exchange *exchange)
{
    session_opened(holding, &member_of(holding)->cursor->plan, &exchange->reply.opened);
    session_answer(holding->session, exchange);
}

static void member_destroy(struct session_holding *holding)
{
    struct member *member = member_of(holding);
    struct session_cursor *cursor = member->cursor;
    holding->session->nstreams--;
    if (member->line_node.next != NULL)
        bm_list_remove(&member->line_node);
    if (member->hand->outcome != NULL)
        cursor_take_back(cursor, member->hand);
    else
        free(member->hand);
    free(member);
    if (--cursor->nmembers == 0)
        session_lease(cursor->session, &cursor->lease);
    cursor_serve(cursor);
}

const struct session_holding_type session_member_type = {
    .opened = member_opened,
    .late = member_answer_empty,
    .destroy = member_destroy,
};

void session_member_open(struct bm_session *session, struct bm_exchange *exchange)
{
    const struct bm_open_request *request = &exchange->request.open;
    struct session_cursor *cursor = NULL;
    struct bm_error error;
    struct member *member = calloc(1, sizeof *member);
    struct handout *hand = calloc(1, sizeof *hand);
    if (member == NULL || hand == NULL) {
        bm_fail(&error, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for a cursor's member");
        goto fail;
    }
    if (cursor_get(session, request, &cursor, &error) != BM_OK ||
        session_hold(session, &member->holding, &session_member_type, request, &error) != BM_OK)
        goto fail;
    BM_ASSERT(cursor != NULL);
    member->cursor = cursor;
    member->hand = hand;
    session->nstreams++;
    cursor->nmembers++;
    session_unlease(&cursor->lease);
    member_opened(&member->holding, exchange);
    return;
fail:
    free(hand);
    free(member);
    session_fail(session, exchange, &error);
}
