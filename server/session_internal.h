// session_internal.h -- what the session's files share. Layer: server (private).
//
// One file per thing a client can hold, and session.c for what they have in common: each is a
// *holding* with an id, a lease that every call on it renews, and requests that are parked on it.
// An exchange that was answered belongs to the host at once, even before the mutex is given
// back: nothing here may look at it again.
// Threads: with the executor's mutex held, except where marked.
#pragma once
#define HASH_NONFATAL_OOM 1 // a table that cannot grow leaves hh.tbl NULL
#include <uthash.h>

#include "base/mutex.h"
#include "server/session.h"

struct session_lease {   // what is given up when nobody asked for it for a while
    struct bm_node node; // in session->leases, the first to expire first; unlinked: no end
    uint64_t expires_ns;
    void (*expired)(struct session_lease *lease);
};

struct session_args { // what a holding was opened with, to tell a repeat from a mistake
    char pipeline[BM_NAME_MAX + 1], cursor[BM_NAME_MAX + 1];
    uint64_t position_hash;
    struct bm_order_request order;
    uint32_t prefetch;
    enum bm_on_error on_error;
    bool traced, detached, checked;
};

struct session_plan {             // what the arguments mean
    struct bm_pipeline *pipeline; // borrowed from the catalog, then from the stream
    struct bm_order order;
    uint64_t first_seq;
    uint32_t prefetch;
    bool prefetch_auto; // `prefetch` is the most that it may become
    uint32_t width;     // of the window at first; 0: all of it
    enum bm_on_error on_error;
    bool traced;
};

struct session_holding;
struct session_holding_type { // one per kind; each function answers `exchange` but destroy()
    void (*opened)(struct session_holding *holding, struct bm_exchange *exchange);
    void (*late)(struct session_holding *holding, struct bm_exchange *exchange); // wait_ms is over
    void (*destroy)(struct session_holding *holding); // no exchange is parked on it
};

struct session_holding {
    struct bm_session *session;
    const struct session_holding_type *type;
    char id[BM_STREAM_ID_MAX + 1];
    uint64_t nonce;
    UT_hash_handle by_id, by_nonce;
    struct session_args args;
    struct session_lease lease;
    bool unleased; // a detached run that is not over
    struct bm_list parked;
    unsigned nparked, nparked_max;
};

struct session_lenders { // session_lender.c
    struct bm_session *session;
    struct bm_remote *remote; // NULL: there are no such actions
    struct bm_remote_listener listener;
    struct bm_list list;
    unsigned n;
    uint64_t missed; // mask of the actions that batches waited for while nobody lent them
    bool serving;
};

struct bm_session {
    struct bm_session_config config;
    uint64_t lease_ns, started_ns;
    bool draining, closed;
    struct session_holding *by_id, *by_nonce;   // uthash
    struct session_cursor *cursors;             // uthash, by name
    struct session_registration *registrations; // likewise
    struct bm_list leases;
    struct bm_timer lease_timer;
    unsigned nstreams, nruns, ncursors, nparked;
    struct session_holding strangers; // where requests without the token wait for their refusal
    uint64_t answered[BM_STATUSES];   // by code
    uint64_t nshared;                 // batches sent by reference
    unsigned nruns_due;               // not over, or nobody was told the result yet
    struct session_lenders lenders;
    struct bm_mutex due_mutex; // of `due` and `notes`; no other mutex is taken under it
    struct bm_list due;        // answered exchanges that bm_session_flush() hands out
    struct bm_list notes;      // likewise, of struct session_noted
};

// ---- session.c ----

uint64_t session_now(const struct bm_session *session);

// Each answers the exchange, which is then the host's.
void session_answer(struct bm_session *session, struct bm_exchange *exchange);
void session_fail(struct bm_session *session, struct bm_exchange *exchange,
                  const struct bm_error *err); // instead of what was put into the reply

void session_unknown(struct bm_session *session, struct bm_exchange *exchange, const char *what,
                     const char *id);
void session_note(struct bm_session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3))); // for the log

// Parks the exchange until session_unpark(), or until wait_ms is over: then type->late().
// RESOURCE_EXHAUSTED: too many are; the caller answers it.
enum bm_status session_park(struct session_holding *holding, struct bm_exchange *exchange,
                            uint32_t wait_ms, struct bm_error *err);
void session_unpark(struct bm_exchange *exchange);                         // the caller answers it
struct bm_exchange *session_first_parked(struct session_holding *holding); // or NULL

// Gives the holding its id and its lease, and enters it where calls find it. On failure nothing
// was done but to the holding itself.
enum bm_status session_hold(struct bm_session *session, struct session_holding *holding,
                            const struct session_holding_type *type,
                            const struct bm_open_request *request, struct bm_error *err);
void session_let_go(struct session_holding *holding); // parked requests are answered CANCELLED
void session_renew(struct session_holding *holding);
void session_destroy(struct session_holding *holding); // let_go() and type->destroy()

void session_lease(struct bm_session *session, struct session_lease *lease); // from now on
void session_unlease(struct session_lease *lease);                           // fine when it is not

void session_id_draw(struct bm_session *session, char ret_id[BM_STREAM_ID_MAX + 1]);
// What OpenStream and Run answer; without a position.
void session_opened(struct session_holding *holding, const struct session_plan *plan,
                    struct bm_opened *ret_opened);

// ---- session_order.c ----

void session_args_of(const struct bm_open_request *request, struct session_args *ret_args);
// INVALID_ARGUMENT with the first parameter that differs and both its values.
enum bm_status session_args_agree(const struct session_args *have, const struct session_args *got,
                                  const char *whose, struct bm_error *err);
enum bm_status session_plan_make(struct bm_session *session, const struct bm_open_request *request,
                                 struct session_plan *ret_plan, struct bm_error *err);
char *session_position_stem(const struct session_plan *plan); // owned; NULL: out of memory
enum bm_status session_plan_start(struct bm_session *session, const struct session_plan *plan,
                                  const char *id, struct bm_stream_listener *listener,
                                  struct bm_stream **ret_stream, struct bm_error *err);

// ---- session_holds.c: batches that a client sees in our memory ----
//
// What went by reference is not written again, nor used for anything else, before the client said
// that it is done with it. It says so in each request, as all that it is not done with: so a lost,
// repeated or late request does no harm.

struct session_holds {
    struct bm_scheduler *scheduler;
    struct bm_outcome **list; // owned array of references, each kept in the scheduler's budget
    unsigned n, room;
};

// Whether the batch may go by reference; it is held from now on, if there is anything to map.
// *ret_new: it was not before.
bool session_holds_add(struct session_holds *holds, struct bm_outcome *outcome, bool *ret_new);
// The client is done with all before `ack` but those of next->held.
void session_holds_settle(struct session_holds *holds, const struct bm_next_request *next);
// `seen`: the client may look at them for as long as it likes.
void session_holds_fini(struct session_holds *holds, bool seen);

// ---- One file each: streams, cursors and their members, runs ----

extern const struct session_holding_type session_stream_type, session_member_type, session_run_type,
    session_lender_type;

void session_stream_open(struct bm_session *session, struct bm_exchange *exchange);
void session_stream_next(struct session_holding *holding, struct bm_exchange *exchange);
void session_stream_held_none(struct session_holding *holding); // nothing that went by reference

void session_member_open(struct bm_session *session, struct bm_exchange *exchange);
void session_member_next(struct session_holding *holding, struct bm_exchange *exchange);
enum bm_status session_member_ack(struct session_holding *holding, uint64_t ack,
                                  struct bm_error *err);
void session_cursors_free(struct bm_session *session); // no member is left

// ---- session_register.c: pipelines that clients register ----

void session_register(struct bm_session *session, struct bm_exchange *exchange);
void session_unregister(struct bm_session *session, struct bm_exchange *exchange);
bool session_is_registered(const struct bm_session *session, const char *name); // by a client
void session_registrations_free(struct bm_session *session); // takes them out of the catalog

// ---- session_lender.c: processes that lend actions ----

void session_lenders_init(struct bm_session *session);
void session_lend(struct bm_session *session, struct bm_exchange *exchange);
void session_task_take(struct bm_session *session, struct bm_exchange *exchange);
void session_end_lending(struct bm_session *session, struct bm_exchange *exchange);
unsigned session_lenders_parked(const struct bm_session *session); // requests that wait for tasks
enum bm_status session_lenders_status(const struct bm_session *session,
                                      struct bm_status_report *report, struct bm_error *err);

void session_run_open(struct bm_session *session, struct bm_exchange *exchange);
void session_run_get(struct session_holding *holding, struct bm_exchange *exchange);
void session_run_cancel(struct session_holding *holding);
