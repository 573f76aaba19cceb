// lend.h -- what a lender is made of. Layer: client/c (private to lend*.c).
// Threads: as the comments in it say.
#pragma once
#include "client/c/codec_task.h"
#include "client/c/internal.h"
#include "data/mapped.h"

enum lend_slot_state {
    LEND_IDLE,  // asks again at `retry_ns`
    LEND_ASKED, // its request is under way
    LEND_READY, // has a task that nobody took yet
    LEND_HELD,  // the user has it
};

struct lend_sent { // memory that the server may still look at
    struct bm_node node;
    uint64_t ticket; // with which it was sent
    struct bm_shared *shared;
};

struct lend_slot {
    struct batchmill_lender *lender;
    uint32_t index;
    struct bm_client_call *call;
    // The client's mutex:
    enum lend_slot_state state;
    uint64_t ticket;     // asked for last; 0: none
    uint64_t generation; // of the lender, when that was asked
    struct bm_buffer request;
    bool mapped; // that it was asked by reference
    uint64_t retry_ns;
    unsigned npauses;
    struct batchmill_task *task;
    struct bm_list sent; // by ticket
};

struct batchmill_lender {
    struct batchmill_client *client;
    struct bm_client_transport *transport;
    struct bm_buffer lend; // the request that made it, sealed
    struct bm_client_timer *timer;
    struct bm_client_call *keep; // says that it lives
    struct bm_probe probe;       // of our memory
    struct bm_shared_pool *pool; // NULL: none is lent
    struct bm_mapped *server;    // its memory; NULL: it is not to be seen
    struct bm_cond changed;
    // The client's mutex:
    char id[BM_CLIENT_ID_MAX + 1];
    uint64_t generation; // how often it was made
    bool seen;           // our memory, by the server
    bool lost, cancelled, keeping, unmapped;
    struct batchmill_error failure; // that ends it; code OK: none
    unsigned nslots;
    struct lend_slot slots[];
};

struct batchmill_task {
    struct lend_slot *slot;
    uint64_t ticket, generation;
    struct bm_client_told told;
    struct batchmill_batch *batch; // owned; NULL: the user has it
    struct batchmill_task_info info;
    uint64_t *epochs; // [nitems], owned
    uint32_t *copies; // likewise
    size_t nwritten;
    struct bm_client_written *written;
};

// ---- lend_task.c ----

// Takes what was decoded, also on failure, which is BATCHMILL_UNAVAILABLE where the server's memory
// cannot be seen.
enum batchmill_code lend_task_new(struct lend_slot *slot, struct bm_client_task_reply *taken,
                                  struct bm_client_message *message,
                                  struct batchmill_task **ret_task, struct batchmill_error *error);
void lend_task_free(struct batchmill_task *task); // with what was written; NULL is fine

// ---- lend.c ----

// Says how the task ended and asks for the next; frees it.
void lend_slot_end(struct batchmill_task *task, enum bm_client_ending ending,
                   enum batchmill_code code, int64_t row, const char *text);
