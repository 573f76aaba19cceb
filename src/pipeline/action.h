// action.h -- one step of a pipeline: what it is, and what it sees when it is called.
// Layer: pipeline (may include base, data).
//
// An action type is a constant struct. At registration its parameters are parsed and infer() turns
// the schema before it into the schema after it, so layouts are known, and errors come, before a
// batch exists. Then run() is called for every batch:
//
//   * BM_PER_ITEM: for rows [first, first + count) of the batch, in any tiles, perhaps on several
//     workers at once. Its written components are allocated by the engine. Consecutive per-item
//     actions without locks are fused: the engine passes one tile of rows through all of them.
//   * BM_PER_BATCH: once, with first = 0 and count = nitems. Dense components, and ragged ones
//     that keep the row lengths of the component they come from, are allocated by the engine;
//     for other ragged ones it calls bm_batch_alloc_ragged() itself.
//
// Threads: run() may be called from any worker, for several batches at once; a config is
// immutable after open().
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/random.h"
#include "data/batch.h"
#include "pipeline/params.h"
#include "pipeline/variable.h"

enum bm_action_form { BM_PER_ITEM, BM_PER_BATCH };

enum bm_result {
    BM_RESULT_OK,
    BM_RESULT_SKIP,    // leave this batch out of the stream, and count it
    BM_RESULT_END,     // the stream ends before this batch
    BM_RESULT_FAIL,    // call->error says why; call->failed_row which item, if one
    BM_RESULT_PENDING, // not done: bm_call_sleep() or bm_call_defer() was called; no worker is held
};

// ---- Schema inference ----

// Where a component after the action comes from. Kept components pass through by reference.
struct bm_origin {
    int from;    // index before the action, or -1: new
    bool writes; // run() writes it; `from` then is what it reads, or -1
};

struct bm_infer {
    const struct bm_schema *in;
    struct bm_schema *out;                   // starts empty
    struct bm_origin *origins;               // [BM_COMPONENTS_MAX], one per component of `out`
    const char *where;                       // of the action's parameters, for errors
    const struct bm_action_type *type;       // whose infer() this is
    const struct bm_variable_type *variable; // set it to have one
    // What merge() and report() of the variable see as their config; NULL: the parsed struct.
    // Something in the plan, as it must live as long.
    const void *variable_config;
    enum bm_action_form form; // the type's; set BM_PER_BATCH if these parameters ask for it
    bool must_join;           // set it if these parameters make no sense where it is not joined
    bool drops;               // set it if run() may call bm_call_drop()
    unsigned times;           // per batch: how often each item is in the batch after it; 0 is 1
    // Per batch, and run() is not called: what is before it works on parts of at most so many
    // items, one after the other, and what is behind it on the whole batch. 0: no such action.
    uint64_t gathers;
};

// Keeps every component of `in`, in place.
enum bm_status bm_infer_keep_all(struct bm_infer *infer, struct bm_error *err);
// Adds to `out` component `from` of `in` unchanged, or under another name or shape when
// `as` is not NULL (its dtype and number of elements must be the same).
enum bm_status bm_infer_keep(struct bm_infer *infer, unsigned from, const struct bm_component *as,
                             struct bm_error *err);
// Says that run() writes `component`: in place of the one of that name if `out` has it already,
// else appended. `from` is the component of `in` that it is computed from, or -1; a ragged
// component with from >= 0 keeps its row lengths and is allocated by the engine.
enum bm_status bm_infer_write(struct bm_infer *infer, const struct bm_component *component,
                              int from, unsigned *ret_index, struct bm_error *err);

// ---- The call ----

struct bm_call_host; // the scheduler's side
struct bm_pipeline;

// What an action that was deferred leaves for its finish().
struct bm_pending {
    void (*release)(struct bm_pending *self); // any thread, without the executor's mutex or with it
};

struct bm_call {
    const void *config; // what the parameters were parsed into
    const void *plan;   // what infer() left in *ret_plan, or NULL
    const struct bm_batch *in;
    struct bm_batch *out;   // kept components are shared with `in`; written ones allocated. A
                            // written one may lie on the same memory as its origin
    uint64_t first, count;  // the rows to work on
    const char *stream;     // id of the stream, for side effects that must be fenced:
    uint64_t seq;           //   (stream, seq, attempt) names this execution
    uint64_t attempt;       //   1, 2, ... : execution is at least once
    uint64_t epoch;         // of the batch's first item
    uint64_t seed;          // of the stream
    unsigned position;      // of this action in the pipeline, from 0. See bm_action_type.join
    void *update;           // of the action's variable, zeroed before the first row; NULL: none
    struct bm_error *error; // for BM_RESULT_FAIL
    int64_t failed_row;     // row of the item that failed, or -1
    // The same for who ends a deferred call with a failure, when this struct is gone already. NULL
    // where nothing can be deferred.
    int64_t *late_row;
    struct bm_pending **pending; // [1], NULL at first; it is released with the batch, or after
                                 // finish(). NULL where nothing can be deferred
    const struct bm_pipeline *pipeline; // whose action this is
    bool *dropped;          // [rows of the batch], set by bm_call_drop(); NULL: it may not
    const uint32_t *copies; // [rows of the batch], which of its item's each is; NULL: the only one
    struct bm_call_host *host;
};

// Fails the batch, naming the item of `row` (-1: no particular one).
enum bm_result bm_call_fail(struct bm_call *call, int64_t row, enum bm_status status,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));
// Leaves the item of `row` out of the batch, which is shorter from the next action on; one with no
// item left is skipped. What the action writes for the row does not matter, and a row may be left
// out twice. Rows are those of this call, and infer() must have set `drops`.
void bm_call_drop(struct bm_call *call, uint64_t row);
// The generator for the item of `row`: keyed by (seed, epoch of the item, item, position). Copy n >
// 0 of an item has mix64(mix64(seed) ^ n) for a seed.
void bm_call_random(const struct bm_call *call, uint64_t row, struct bm_random *ret_random);

// An action that waits holds no worker. run() calls one of these once and returns
// BM_RESULT_PENDING; a lock it holds stays held until it has ended. Per-batch actions only.
// Sleep: ends as OK after `ns`. Defer: ends when bm_deferred_finish() is called, from any thread,
// exactly once, even when the stream was closed meanwhile; `out` and `error` of the call may be
// written until then.
enum bm_result bm_call_sleep(struct bm_call *call, uint64_t ns);
struct bm_deferred;
struct bm_deferred *bm_call_defer(struct bm_call *call);
void bm_deferred_finish(struct bm_deferred *deferred, enum bm_result result);

// What the scheduler gives to the three functions above; nobody else calls it.
struct bm_call_host {
    enum bm_result (*sleep)(struct bm_call_host *self, uint64_t ns);
    struct bm_deferred *(*defer)(struct bm_call_host *self);
};
struct bm_deferred {
    void (*finish)(struct bm_deferred *self, enum bm_result result);
    void (*finish_within)(struct bm_deferred *self, enum bm_result result); // with the mutex held
    // The action's to set before run() returns, or NULL. Nobody wants the batch any more, which
    // the action then need not end: it looks at neither the batch nor this afterwards. With the
    // executor's mutex held.
    void (*let_go)(struct bm_deferred *self);
    void *owner; // the action's
};

// ---- The type ----

struct bm_joined { // the config of a type that does two actions in one go
    const struct bm_action_type *types[2];
    const void *configs[2];
};

struct bm_action_type {
    const char *name;
    const char *doc; // one or two sentences; shown by `batchmill actions`
    enum bm_action_form form;
    bool random;   // draws from bm_call_random()
    bool stateful; // its own state reaches its output: such pipelines promise no equal bytes
    bool waits;    // may return BM_RESULT_PENDING
    bool apart;    // what it writes never lies on the memory that it reads
    uint64_t code; // hash of code that is not the product's own: part of fingerprints; else 0
    bool alone;    // per batch, but what becomes of an item depends on no other item
    bool caches;   // marks where results are kept; its config is a struct bm_cache_config
    const struct bm_param *params;
    unsigned nparams;
    size_t config_bytes;
    // `config` is the parsed struct. `ret_plan` may receive memory from malloc() that the engine
    // frees after the last call: indices and tables that run() needs.
    enum bm_status (*infer)(const void *config, struct bm_infer *infer, void **ret_plan,
                            struct bm_error *err);
    enum bm_result (*run)(struct bm_call *call);
    // NULL, or: the rest of a call that was deferred and ended as OK, on a worker, where `pending`
    // and `out` are those of that call. It does not wait again.
    enum bm_result (*finish)(struct bm_call *call);
    void (*plan_free)(void *plan); // instead of free(), NULL never comes; or NULL
    // NULL, or: a type that does this action and the next one in one go and comes to the same
    // bytes, or NULL when there is none for these two. It is asked where neither has a lock, with
    // the schema before the first one; both have inferred theirs already. The next one may be
    // joined with those behind it already. That type is per item, without parameters, variable and
    // waiting; its config is a struct bm_joined. infer() sees the schema before the first action
    // and must come to the one after the second. In a call, `position` is that of the first action;
    // run() adds 1 to it while it does the second one's part, so that each draws its own numbers
    // and answers for its own failures.
    const struct bm_action_type *(*join)(const struct bm_schema *in, const void *config,
                                         const struct bm_action_type *next,
                                         const void *next_config);
};
