// messages.h -- requests and replies as plain structs, between the session and the codec.
// Layer: server (may include everything in src/).
//
// The session decides with these under its mutex; codec.c turns them into bytes and back without
// it. Field meanings are those of proto/batchmill/v1/batchmill.proto.
// Threads: one owner at a time; a reply may be encoded on any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/shared_head.h"
#include "pipeline/pipeline.h"
#include "remote/remote.h"
#include "run/outcome.h"
#include "run/scheduler.h"

enum bm_call_kind {
    BM_CALL_NONE,
    BM_CALL_LIST_PIPELINES,
    BM_CALL_DESCRIBE_PIPELINE,
    BM_CALL_REGISTER_PIPELINE,
    BM_CALL_UNREGISTER_PIPELINE,
    BM_CALL_OPEN_STREAM,
    BM_CALL_NEXT_BATCHES,
    BM_CALL_CLOSE_STREAM,
    BM_CALL_RUN,
    BM_CALL_GET_RUN,
    BM_CALL_CANCEL_RUN,
    BM_CALL_GET_STATUS,
    BM_CALL_LEND_ACTIONS,
    BM_CALL_TAKE_TASK,
    BM_CALL_END_LENDING,
};

enum bm_shuffle { BM_SHUFFLE_OFF = 0, BM_SHUFFLE_SEEDED = 1, BM_SHUFFLE_DRAWN = 2 };

// Order parameters as given; 0 = not given, as on the wire.
struct bm_order_request {
    uint64_t batch_size, seed, n_epochs, n_iters;
    enum bm_shuffle shuffle;
    bool endless, drop_last;
    enum bm_epoch_border epoch_border;
    uint64_t shard_index, shard_count;
};

#define BM_PREFETCH_AUTO UINT32_MAX           // the server finds out
struct bm_open_request {                      // also of Run, which has no position, cursor or trace
    const char *pipeline, *position, *cursor; // "" when not given
    struct bm_order_request order;
    uint32_t prefetch; // or BM_PREFETCH_AUTO
    enum bm_on_error on_error;
    bool traced, detached, checked;
    bool same_host; // it could map our memory
    uint64_t nonce;
};
struct bm_next_request {
    const char *stream;
    uint64_t first, max_bytes, ack;
    uint32_t max_batches, wait_ms;
    bool waits;           // the consumer, for batch `ack`
    bool same_host;       // large tensors may go by reference
    unsigned nheld;       // batches before `ack` that went so, and that it still looks at
    const uint64_t *held; // [nheld], rising
};

struct bm_register_request {
    const char *name, *definition;
    uint32_t lease_ms; // 0: not given
};

struct bm_lend_request {
    unsigned nactions;
    struct bm_lent_action {
        const char *name, *version, *lock; // "" when not given
    } * actions;                           // [nactions]
    uint32_t slots;
    uint64_t nonce;
    bool probed; // it lends its memory, too
    struct bm_probe probe;
};
struct bm_task_request {
    const char *lender;
    uint32_t slot, wait_ms;
    uint64_t ticket;
    bool same_host;                // large tensors may come by reference
    struct bm_task_result *result; // of the task before; owned until the session takes it, or NULL
};

struct bm_request {
    enum bm_call_kind kind;
    union {
        struct bm_open_request open;          // OPEN_STREAM, RUN
        struct bm_next_request next;          // NEXT_BATCHES
        struct bm_register_request registers; // REGISTER_PIPELINE
        struct bm_lend_request lend;          // LEND_ACTIONS
        struct bm_task_request task;          // TAKE_TASK
        struct {
            const char *name;         // pipeline, stream, run or lender
            const char *registration; // UNREGISTER_PIPELINE
            uint64_t ack;             // CLOSE_STREAM
            bool held_none;           // CLOSE_STREAM
            uint32_t wait_ms;         // GET_RUN
        } named; // DESCRIBE_, UNREGISTER_, CLOSE_STREAM, GET_RUN, CANCEL_RUN, END_LENDING
    };
    void *token; // as given, owned; NULL: none
    size_t token_size;
    void *decoded; // what the strings lie in; bm_request_fini() frees it
};

struct bm_same_host { // what clients on this host may map
    struct bm_probe probe;
    struct bm_shared_pool *pool; // where what they map is from
};
struct bm_opened { // OPEN_STREAM and RUN
    char id[BM_STREAM_ID_MAX + 1];
    struct bm_pipeline *pipeline; // referenced
    uint64_t first_seq, batches, seed, items, epoch_batches;
    bool endless;
    uint32_t lease_ms, prefetch;
    char *position_stem;                  // owned; NULL for a cursor or a run
    const struct bm_same_host *same_host; // borrowed; NULL: not offered
};
struct bm_lent {
    char id[BM_STREAM_ID_MAX + 1];
    uint32_t lease_ms;
    bool seen;                            // what it lends of its memory
    const struct bm_same_host *same_host; // borrowed; NULL: not offered
};
struct bm_given_task {
    char lender[BM_STREAM_ID_MAX + 1];
    uint32_t slot;
    uint64_t ticket, settled, attempt;
    struct bm_task *task; // referenced; NULL: not yet
    bool by_reference;
};
struct bm_registered {
    uint64_t fingerprint;
    char id[BM_STREAM_ID_MAX + 1];
    uint32_t lease_ms;
};
struct bm_batches {
    char stream[BM_STREAM_ID_MAX + 1];
    struct bm_pipeline *pipeline; // referenced
    uint64_t first, end_seq;
    uint32_t window; // 0: as opened
    bool end, stopped;
    bool checked;      // however long it is
    bool by_reference; // tensors that the client may map
    unsigned noutcomes;
    struct bm_outcome **outcomes; // owned array of references
};
enum bm_run_state { BM_RUN_RUNNING = 0, BM_RUN_DONE = 1, BM_RUN_FAILED = 2, BM_RUN_CANCELLED = 3 };
struct bm_run_report {
    enum bm_run_state state;
    uint64_t batches, items, skipped, failed, bytes;
    double seconds;
    struct bm_pipeline *pipeline; // referenced
    struct bm_outcome
        *error; // referenced; of the batch that ended it, else the first failed; or NULL
    unsigned nnumbers;
    struct bm_number *numbers; // owned
};
struct bm_connection_counts { // of tcp, tls+tcp and ipc, since the start unless said otherwise
    uint64_t open;            // right now
    uint64_t unsent_bytes;    // replies on their way right now
    uint64_t accepted;
    uint64_t refused;     // there were too many
    uint64_t no_greeting; // nothing or nonsense came first
    uint64_t bad_frame;   // too long, or none
    uint64_t slow;        // did not read
};
struct bm_remote_status { // of a remote action
    struct bm_remote_info info;
    unsigned nlenders;
    double waiting_seconds; // of the batch that waits longest
};
struct bm_status_report {
    double uptime_seconds;
    uint32_t workers, streams, runs, pipelines;
    uint64_t answered[BM_STATUSES]; // requests since the start, by code
    struct bm_connection_counts connections;
    uint64_t shared_batches; // sent by reference
    unsigned nremotes;
    struct bm_remote_status *remotes; // [nremotes], owned
    bool draining;
    struct bm_scheduler_status scheduler;
};

struct bm_reply {
    enum bm_status code; // not OK: only `message` counts
    char message[BM_ERROR_WHERE_MAX + BM_ERROR_TEXT_MAX + 4];
    enum bm_call_kind kind;
    union {
        struct {
            unsigned n;
            struct bm_pipeline **pipelines; // owned array of references, sorted by name
            bool *by_client;                // [n] who registered it, owned; NULL: none of them
        } list;
        struct {
            struct bm_pipeline *described; // referenced
            bool described_by_client;
        };
        struct bm_registered registered;
        bool unregistered; // there was one
        struct bm_opened opened;
        struct bm_batches batches;
        struct bm_lent lent;
        struct bm_given_task given;
        struct bm_run_report run;
        struct bm_status_report status;
    };
};

void bm_request_fini(struct bm_request *request); // an all-zero request is fine
void bm_reply_fini(struct bm_reply *reply);       // gives back every reference; all-zero is fine
void bm_reply_fail(struct bm_reply *reply, const struct bm_error *err); // after bm_reply_fini()
