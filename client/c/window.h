// window.h -- a stream's consumer side: which batches to ask the server for, and which is next.
// Layer: client/c (may include nothing; no nng, no clock, no thread).
//
// The consumer holds or waits for batch `base`: it is done with all before, and says so in the
// `ack` of every ask. It may have up to `prefetch` batches more than that one anywhere, so the
// window is [base, base + prefetch]. Each seq of it is EMPTY (nobody was asked for it), ASKED, or
// READY (here, not handed out yet). What comes back in any order leaves in the order of seq.
//
//     consumer asks  -> window_ask()        base moves; new seqs are EMPTY
//     it is a turn   -> window_next_ask()   EMPTY -> ASKED; until it says there is none
//     reply          -> window_put() for each batch, window_end(), then window_answered()
//     take           -> window_take()       READY and next in order
//
// When to ask. An ask for one seq at a time would cost one round trip per small batch, and waiting
// until there is much to ask for would let the server run dry. So: large batches, of which a
// reply holds few, are asked for in pieces of as many as fit a reply, all at once; small ones as
// soon as a quarter of the window is to be had, or nothing is under way; the batch that the
// consumer waits for always at once. And an ack alone, one at a time, carries the news that the
// consumer has moved on by a quarter of the window, or waits, when no other ask does.
//
// Threads: not synchronised; with the client's mutex held.
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
    BM_CLIENT_ASKS_MAX = 4,              // under way for one stream, beside one that only acks
    BM_CLIENT_REPLY_BYTES = 1024 * 1024, // what a server puts in a reply, about
    BM_CLIENT_PREFETCH_MAX = 4095,
};

struct bm_client_ask {
    uint64_t first;
    uint32_t count; // 0: only an ack
    uint64_t ack;
    bool waits; // the consumer, for that batch
};

enum bm_client_slot_state { BM_CLIENT_EMPTY = 0, BM_CLIENT_ASKED, BM_CLIENT_READY };

struct bm_client_arrival { // of one seq
    void *batch;           // NULL when skipped
    uint64_t bytes;        // what it took of the reply
    bool skipped, failed;
};

struct bm_client_slot {
    enum bm_client_slot_state state;
    struct bm_client_arrival arrival;
};

struct bm_client_window {
    uint64_t base;
    uint64_t want;    // the next to hand out: base while the consumer waits, else base + 1
    uint64_t end_seq; // there is no batch here or later, as far as known
    uint32_t size;    // prefetch + 1
    uint32_t width;   // as much of it the server works on; it only grows
    bool narrow;      // the server says how much
    uint32_t nempty;  // EMPTY slots of [base, base + size) before end_seq
    uint32_t nasks;   // with a count, under way
    bool started;     // the consumer has asked for its first
    bool acking;      // an ask that only acks is under way
    bool ack_due;     // the server is to be told of `base` soon
    uint64_t acked;   // what it was told last
    uint64_t batch_bytes;
    uint64_t skipped, failed; // passed or handed out so far
    struct bm_client_slot *slots;
    void (*drop)(void *batch);
};

// An all-zero window is fine for _fini(). False: out of memory. `drop` frees batches that nobody
// took; `end_seq` is UINT64_MAX when unknown. `narrow`: the server will say how much of the window
// it works on.
bool bm_client_window_init(struct bm_client_window *window, uint64_t first_seq, uint64_t end_seq,
                           uint32_t prefetch, bool narrow, void (*drop)(void *batch));
void bm_client_window_fini(struct bm_client_window *window);
// Starts over at `want`, as after reopening the stream there: nothing asked, nothing here. Where it
// ends is learned anew: an end for want of memory was that server's, not the stream's.
void bm_client_window_rewind(struct bm_client_window *window, uint64_t end_seq);

// The consumer comes back for the next batch; asking again while it waits changes nothing.
void bm_client_window_ask(struct bm_client_window *window);
// True: *ret_ask is to be sent, and counts as under way until window_answered().
bool bm_client_window_next_ask(struct bm_client_window *window, struct bm_client_ask *ret_ask);
// The same for an ack whose only purpose is that the server hears from us; false when some other
// ask is under way, or there is nothing to keep alive.
bool bm_client_window_keep_alive(struct bm_client_window *window, struct bm_client_ask *ret_ask);

// The server works on that many batches from the last ack on.
void bm_client_window_widen(struct bm_client_window *window, uint64_t width);
// A batch that came: takes it when it is wanted. False: a repeat, or not of the window; it is
// still the caller's.
bool bm_client_window_put(struct bm_client_window *window, uint64_t seq,
                          const struct bm_client_arrival *arrival);
void bm_client_window_end(struct bm_client_window *window, uint64_t end_seq);
// The ask is over, with whatever came of it: the rest is to be asked for again. `lost`: the server
// may not have read it.
void bm_client_window_answered(struct bm_client_window *window, const struct bm_client_ask *ask,
                               bool lost);

enum bm_client_taken { BM_CLIENT_TAKEN, BM_CLIENT_WAIT, BM_CLIENT_END };
// What the consumer gets that has asked. Skipped batches are passed over here, and count as
// consumed.
enum bm_client_taken bm_client_window_take(struct bm_client_window *window, void **ret_batch);
