// fake_host.h -- a session on a mill, and clients that make one call at a time.
//
// Steps of a batch take no virtual time, so a call is answered within fake_host_settle() or waits
// for something: an action `hand` (mill.h), or time.
// Threads: one; asserts with cmocka.
#pragma once
#include "fakes/mill.h"
#include "server/session.h"

enum { FAKE_LEASE_MS = 60000 };

struct fake_host {
    struct bm_session_host base;
    struct mill mill;
    struct bm_catalog *catalog;
    struct bm_registrar *registrar; // over the source "numbers"; NULL: clients may not register
    struct bm_session *session;
    struct bm_token token; // size 0: none
    uint64_t random;       // what the next draw gives, counted up and mixed
    struct bm_same_host same_host;
    bool local;               // calls come from the same host
    struct bm_remote *remote; // actions that others lend; NULL: none
    uint64_t connection;      // of the calls that come; 1 at first
};

void fake_host_init(struct fake_host *host);
// Steps take time, and the seed picks what happens next: drive it with fake_executor_step().
void fake_host_init_seeded(struct fake_host *host, unsigned nworkers, uint64_t seed);
void fake_host_init_with_token(struct fake_host *host, const char *token); // calls must have it
void fake_host_init_with_memory(struct fake_host *host, uint64_t memory_bytes); // its budget
void fake_host_init_registering(struct fake_host *host);
// With remote actions, {name: {...}}.
void fake_host_init_lending(struct fake_host *host, const char *declarations_yaml);
void fake_host_disconnect(struct fake_host *host, uint64_t connection);
void fake_host_fini(struct fake_host *host); // closes the session, asserts that nothing is left
struct bm_pipeline *fake_host_add(struct fake_host *host, const char *name, uint64_t nitems,
                                  const char *actions_yaml); // borrowed

// ---- Calls ----

struct fake_call {
    struct bm_exchange exchange;
    unsigned nanswers;
};

// Texts that are NULL read as not given; they are borrowed until the call is freed.
struct fake_call *fake_call(struct fake_host *host, enum bm_call_kind kind,
                            struct bm_request request);
struct fake_call *fake_open(struct fake_host *host, struct bm_open_request open);
struct fake_call *fake_run(struct fake_host *host, struct bm_open_request open);
struct fake_call *fake_next(struct fake_host *host, struct bm_next_request next);
struct fake_call *fake_named(struct fake_host *host, enum bm_call_kind kind, const char *name);
struct fake_call *fake_get_run(struct fake_host *host, const char *id, uint32_t wait_ms);
void fake_call_free(struct fake_call *call); // answered; NULL is fine

bool fake_answered(const struct fake_call *call);
const struct bm_reply *fake_reply(const struct fake_call *call); // asserts one answer
// Asserts the code, and that the message has `text` in it; frees the call.
void fake_expect(struct fake_call *call, enum bm_status code, const char *text);
// Asserts that the call opened a stream or a run, copies its id, and frees the call.
void fake_id(struct fake_call *call, char ret_id[BM_STREAM_ID_MAX + 1]);

// ---- Time ----

void fake_host_settle(struct fake_host *host);                // what needs no time to pass
void fake_host_pass(struct fake_host *host, uint64_t ms);     // and what happens in the next `ms`
void fake_host_finish(struct fake_host *host, unsigned hand); // the hand-th call that waits, OK
