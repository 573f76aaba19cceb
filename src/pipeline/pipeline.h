// pipeline.h -- a source and a chain of actions under a name, checked and laid out.
// Layer: pipeline (may include base, data).
//
// A pipeline is immutable once built. Building it parses the actions' parameters, infers every
// schema, plans which memory passes through, fuses per-item actions, and computes the
// fingerprint. A *step* is what a worker does in one go: reading the source (step 0), one action,
// or several fused ones. Locks are named here and made by the scheduler.
//
// Threads: immutable after _new; _ref and _unref from any thread.
#pragma once
#include <stdint.h>

#include "data/order.h"
#include "pipeline/registry.h"
#include "pipeline/value.h"

enum { BM_ACTIONS_MAX = 64, BM_ENGINE_FORMAT = 1 }; // the format is part of the fingerprint

struct bm_pipeline;
struct bm_cache;

// ---- Building ----

// A source may be used by many pipelines; opened once, closed with its last user.
struct bm_source_ref;
enum bm_status bm_source_open(const struct bm_registry *registry, const char *name,
                              const struct bm_value *definition, // {csv: {path: ...}}
                              const char *directory, struct bm_source_ref **ret_source,
                              struct bm_error *err);
// The same where sources may be made of others, which `finder` opens or finds.
struct bm_source_finder {
    // A new reference. `where` is of the definition that names it.
    enum bm_status (*find)(void *context, const char *name, const char *where,
                           struct bm_source_ref **ret_source, struct bm_error *err);
    void *context;
};
enum bm_status bm_source_open_among(const struct bm_registry *registry, const char *name,
                                    const struct bm_value *definition, const char *directory,
                                    const struct bm_source_finder *finder,
                                    struct bm_source_ref **ret_source, struct bm_error *err);
struct bm_source_ref *bm_source_ref(struct bm_source_ref *source);
struct bm_source_ref *bm_source_unref(struct bm_source_ref *source);
const struct bm_source *bm_source_get(const struct bm_source_ref *source);
const char *bm_source_name(const struct bm_source_ref *source);

// `actions` is a list (NULL or null: none) of "name" or {name: {parameters}, use_lock: ...,
// probability: ...}. An action with a probability below 1 is applied to an item if the first
// uniform number for (seed, epoch, item, position + 2^31) is below it (base/random.h).
enum bm_status bm_pipeline_new(const struct bm_registry *registry, const char *name,
                               struct bm_source_ref *source, const struct bm_value *actions,
                               struct bm_pipeline **ret_pipeline, struct bm_error *err);
// The same, and shuffled streams have batches of items of like length (data/groups.h). `group_by`
// (NULL or null: no) is the source's component that has it, or {component: name, width: batches}.
enum bm_status bm_pipeline_new_grouped(const struct bm_registry *registry, const char *name,
                                       struct bm_source_ref *source, const struct bm_value *actions,
                                       const struct bm_value *group_by,
                                       struct bm_pipeline **ret_pipeline, struct bm_error *err);
struct bm_pipeline *bm_pipeline_ref(struct bm_pipeline *pipeline);
struct bm_pipeline *bm_pipeline_unref(struct bm_pipeline *pipeline);
unsigned bm_pipeline_refs(const struct bm_pipeline *pipeline); // as of now: others may be at it

// ---- Asking ----

const char *bm_pipeline_name(const struct bm_pipeline *pipeline);
const struct bm_source *bm_pipeline_source(const struct bm_pipeline *pipeline);
const char *bm_pipeline_source_name(const struct bm_pipeline *pipeline);
uint64_t bm_pipeline_fingerprint(const struct bm_pipeline *pipeline);
// The same in three parts, which tell what has changed when the fingerprint has.
struct bm_fingerprint {
    uint64_t definition; // the actions, their parameters, and the components that they give
    uint64_t data;       // of the source: its identity, length and components
    uint64_t format;     // BM_ENGINE_FORMAT
};
struct bm_fingerprint bm_pipeline_fingerprint_parts(const struct bm_pipeline *pipeline);
const struct bm_schema *bm_pipeline_schema(const struct bm_pipeline *pipeline); // of its batches
bool bm_pipeline_stateful(const struct bm_pipeline *pipeline);
// For the order of its streams, borrowed; NULL: their batches are of any items.
const struct bm_groups *bm_pipeline_groups(const struct bm_pipeline *pipeline);
const char *bm_pipeline_group_by(const struct bm_pipeline *pipeline); // the component, or NULL
unsigned bm_pipeline_nactions(const struct bm_pipeline *pipeline);
struct bm_action_info { // borrowed from the pipeline
    const struct bm_action_type *type;
    const char *lock;               // or NULL
    const struct bm_schema *schema; // after it
    enum bm_action_form form;       // of this one: parameters may make it per batch
    double probability;             // of an item to go through it
};
struct bm_action_info bm_pipeline_action(const struct bm_pipeline *pipeline, unsigned i);

// Where results of its first actions are kept (pipeline/cache.h), or NULL.
struct bm_cache *bm_pipeline_cache(const struct bm_pipeline *pipeline);
unsigned bm_pipeline_ncached(const struct bm_pipeline *pipeline); // how many actions those are

unsigned bm_pipeline_nsteps(const struct bm_pipeline *pipeline); // at least 1: reading
const char *bm_pipeline_step_name(const struct bm_pipeline *pipeline, unsigned step); // "a+b"
const char *bm_pipeline_step_lock(const struct bm_pipeline *pipeline, unsigned step); // or NULL
bool bm_pipeline_step_waits(const struct bm_pipeline *pipeline, unsigned step);
// The most bytes a batch for which `nitems` are read holds at once, as far as the schemas say
// (ragged components count as 0: what they really took is known after the first batch).
uint64_t bm_pipeline_batch_bytes(const struct bm_pipeline *pipeline, uint64_t nitems);
// What a batch holds beside its tensors' bytes for as long as it is there: its items' indices and
// epochs, and the tensors' descriptions. It is part of the above.
uint64_t bm_pipeline_batch_overhead(const struct bm_pipeline *pipeline, uint64_t nitems);

// ---- Running ----

struct bm_work { // one batch on its way through the steps; owned by the scheduler's job
    const struct bm_pipeline *pipeline;
    struct bm_batch batch;    // before the next step; after the last one: the result
    struct bm_batch next;     // of a step that is pending
    struct bm_batch spare;    // the batch before in this memory, while its blocks may serve again
    uint64_t *items, *epochs; // [room], owned
    uint32_t *copies;         // [room] which of its item's each row is, owned; NULL: there is one
    bool *dropped;            // [room] items that the step leaves out, owned; NULL: none ever does
    uint64_t room;
    // Before the action that gathers them, the batch is in parts of up to `parts_room`, owned; the
    // whole has its items, but no tensors yet. NULL: there is no such action.
    struct bm_work *parts;
    uint64_t nparts, parts_room;
    uint64_t parts_of_full; // as many as a full batch of the stream has
    // Two rows of tensors, from which a step reads and to which it writes in turn, one for `spare`,
    // and behind them those between fused actions. Owned.
    struct bm_tensor *tensors;
    unsigned char *updates; // of all variables, one after the other, owned; NULL: none
    const char *stream;     // as in struct bm_call, borrowed
    uint64_t seq, attempt, epoch, seed;
    struct bm_call_host *host;
    struct bm_pending *pending;    // of the step that waits, owned; or NULL
    struct bm_shared_pool *shared; // where large tensors lie, or NULL: as in struct bm_batch
    int failed_action;             // index of the action that failed, -1: reading, or none
    int64_t failed_item;           // index in the source, or -1
    int64_t late_row;              // at which a deferred call failed, or -1
    struct bm_error error;         // last, as it is large and seldom touched
};

// Copies nothing but the numbers; allocates items, epochs and updates for batch `seq`.
enum bm_status bm_work_init(struct bm_work *work, const struct bm_pipeline *pipeline,
                            const struct bm_order *order, uint64_t seq, struct bm_error *err);
// The same where `work` was one of that pipeline and what it made is not needed any more: its
// memory serves again, so that a stream in full flow allocates nothing. On failure it is all zero.
enum bm_status bm_work_again(struct bm_work *work, const struct bm_order *order, uint64_t seq,
                             struct bm_error *err);
void bm_work_fini(struct bm_work *work);
// Executes one step on the calling thread. After BM_RESULT_PENDING the step is ended, once its
// result is known, by bm_work_resume(), which may be called on any one thread.
enum bm_result bm_work_step(struct bm_work *work, unsigned step);
enum bm_result bm_work_resume(struct bm_work *work, unsigned step, enum bm_result result);
void bm_work_drop(struct bm_work *work); // frees the tensors, keeps the rest

// A step whose rows several workers take, a piece of consecutive rows at a time. What comes of it
// is what bm_work_step() gives, the failure of the first row that fails included.
//
//     spread = bm_spread_new()                                   one thread
//     while (bm_spread_claim(spread, &piece))
//         bm_spread_run(spread, piece);                          any number of threads
//     bm_spread_end(spread)                                      one, when all of those are over
struct bm_spread;
// All actions of the step are per item, and none has a variable or a state of its own.
bool bm_pipeline_step_spreads(const struct bm_pipeline *pipeline, unsigned step);
// NULL: there is no memory for it; nothing has changed. `npieces`: 1 to the number of rows.
struct bm_spread *bm_spread_new(struct bm_work *work, unsigned step, unsigned npieces);
bool bm_spread_claim(struct bm_spread *spread, unsigned *ret_piece); // false: none is left
uint64_t bm_spread_run(struct bm_spread *spread, unsigned piece);    // rows done; 0 after a failure
enum bm_result bm_spread_end(struct bm_spread *spread);              // frees it

// ---- Variables of a stream ----

struct bm_variables; // one set per stream
enum bm_status bm_variables_new(const struct bm_pipeline *pipeline,
                                struct bm_variables **ret_variables, struct bm_error *err);
void bm_variables_free(struct bm_variables *variables);
void bm_variables_merge(struct bm_variables *variables, const struct bm_work *work);
unsigned bm_variables_count(const struct bm_variables *variables);
void bm_variables_report(const struct bm_variables *variables, struct bm_number *ret_numbers);
