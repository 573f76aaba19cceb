// internal.h -- what pipeline.c builds, and work.c, chain.c and their like run.
// Layer: pipeline (private).
//
// Threads: a pipeline is immutable once built.
#pragma once
#include <stdatomic.h>

#include "pipeline/pipeline.h"

struct action {
    const struct bm_action_type *type;
    void *config;                            // parsed parameters
    void *plan;                              // what infer() left, or NULL
    char *lock;                              // or NULL
    struct bm_schema schema;                 // after it
    struct bm_origin *origins;               // [schema.ncomponents]
    bool may_write_in_place;                 // see plan_in_place() in pipeline.c
    const struct bm_variable_type *variable; // or NULL
    const void *variable_config;             // what it sees
    enum bm_action_form form;
    bool must_join, drops;
    unsigned times;        // each item is in the batch after it
    uint64_t gathers;      // parts of so many items; 0: it does not
    double probability;    // of an item to go through it; 1: all do
    unsigned span;         // 1; of a joined one, how many actions of the list it does
    struct action *joined; // this one and those behind it in one go, instead of each; or NULL
    size_t update_offset;  // of its update and state
};

struct step { // step 0 reads and has no actions; a joined one counts as those that it does
    unsigned first, nactions;
    uint64_t tile_rows; // rows that pass through fused actions together; 0: all
    bool drops;         // its last action may leave out items
    unsigned times;     // each item is in the batch after it
    char *name;
};

struct bm_range { // of rows
    uint64_t first, count;
};

struct bm_pipeline {
    atomic_uint refs;
    char name[BM_NAME_MAX + 1];
    struct bm_source_ref *source;
    unsigned nactions, nsteps;
    struct action *actions;
    struct step *steps;
    unsigned components_max; // of the source's schema and those after the actions
    unsigned ntensors;       // that a batch needs on its way; see struct bm_work
    uint64_t item_bytes_max; // of one item at the fullest moment, as far as schemas say
    size_t updates_bytes;
    unsigned nnumbers;
    uint64_t fingerprint;
    struct bm_fingerprint parts;
    bool stateful, drops;
    unsigned times; // items in a batch for one that is read, at most
    // With an entry `cache`: what comes before it, as a pipeline of its own, and how many actions
    // reading replaces (the entry itself included). Else NULL and 0.
    struct bm_pipeline *prefix;
    struct bm_cache *cache;
    unsigned ncached;
    unsigned gather; // the step that gathers parts, of `part_items`; 0: none does
    uint64_t part_items;
    struct bm_groups *groups; // or NULL
    char group_by[BM_NAME_MAX + 1];
    uint64_t grouping; // hash of what they were made by
};

// ---- pipeline.c ----

// The schema after the action, and its plan.
enum bm_status action_infer(struct bm_pipeline *pipeline, struct action *action,
                            const struct bm_schema *in, const char *where, struct bm_error *err);
// The schema before action i; with i = nactions, of the batches.
const struct bm_schema *pipeline_schema(const struct bm_pipeline *pipeline, unsigned i);
// `where` becomes the error's place; the one it had (a component, a row of a file) goes in front
// of the text.
void error_move_to(struct bm_error *err, const char *where);

// ---- joined.c ----

// Joins what can be joined.
enum bm_status pipeline_join(struct bm_pipeline *pipeline, const struct bm_value *actions,
                             struct bm_error *err);
// What is run from action i on: that one, or it and those behind it that it is joined with.
const struct action *pipeline_part(const struct bm_pipeline *pipeline, unsigned i);
// Where the part begins that action i belongs to.
unsigned pipeline_part_start(const struct bm_pipeline *pipeline, unsigned i);

// ---- work.c ----

// Room for the batch's items and what the pipeline needs. False: out of memory.
bool work_make_room(struct bm_work *work, uint64_t nitems);
// A step of a work that is no part and has none.
enum bm_result work_step_whole(struct bm_work *work, unsigned step);

// Says in work->error where it failed; row -1: no particular one. BM_RESULT_FAIL.
enum bm_result work_fail(struct bm_work *work, int action, int64_t row);

// The batch is to have these items.
enum bm_status work_init_items(struct bm_work *work, const struct bm_work *like,
                               const struct bm_pipeline *pipeline, const uint64_t *rows,
                               uint64_t nrows, struct bm_error *err);

// An empty batch of `schema` whose dense components have memory.
enum bm_status work_begin_reading(struct bm_work *work, const struct bm_schema *schema);

// ---- cached.c ----

// Finds the entry `cache` in the list, checks what is before it, and opens its cache.
enum bm_status pipeline_plan_cache(struct bm_pipeline *pipeline, const struct bm_registry *registry,
                                   const struct bm_value *actions, struct bm_error *err);
// Step 0 of a pipeline with a cache: what it has, and the rest made by the prefix.
enum bm_result work_read_cached(struct bm_work *work);

// ---- grouped.c ----

// Reads the lengths and sorts the items.
enum bm_status pipeline_plan_groups(struct bm_pipeline *pipeline, const struct bm_value *group_by,
                                    struct bm_error *err);

// ---- probability.c ----

enum bm_status probability_read(struct action *action, const struct bm_value *value,
                                struct bm_error *err);
// Whether some of the items may pass by the action, which has been inferred.
enum bm_status probability_check(const struct action *action, const struct bm_schema *in,
                                 const char *where, struct bm_error *err);
// Whether the item of `row` goes through action `a`: drawn apart from what the action itself draws.
bool probability_draw(const struct bm_work *work, unsigned a, uint64_t row);
// What becomes of rows that pass by the action.
void probability_pass(const struct action *action, const struct bm_batch *in, struct bm_batch *out,
                      const struct bm_range *rows);

// ---- dropped.c ----

// Before a step: nothing is left out yet.
void dropped_begin(struct bm_work *work, const struct step *step);
// After a step that went well: what it left out is taken out of work->batch.
enum bm_result dropped_end(struct bm_work *work, const struct step *step);

// ---- repeated.c ----

enum { TIMES_MAX = 1024 }; // of all steps together

// The stream's seed for the row.
uint64_t repeated_seed(uint64_t seed, const uint32_t *copies, uint64_t row);
// After a step that went well: every item is in work->batch as often as it says.
enum bm_result repeated_end(struct bm_work *work, const struct step *step);

// ---- rebatched.c ----

// Finds the step that gathers; what is before it must not wait.
enum bm_status pipeline_plan_gather(struct bm_pipeline *pipeline, const struct bm_value *actions,
                                    struct bm_error *err);
// A step before it, of each part, and it itself.
enum bm_result rebatched_step(struct bm_work *work, unsigned step);
void rebatched_drop(struct bm_work *work); // frees the tensors, keeps the rest
void rebatched_fini(struct bm_work *work);

// ---- chain.c ----

struct chain_failure {
    struct bm_error *error;      // what it was, borrowed
    int64_t *late_row;           // as in struct bm_call, borrowed
    struct bm_pending **pending; // likewise
    int action;                  // where
    int64_t row;
};
void work_batch_init(const struct bm_work *work, const struct bm_batch *in, struct bm_batch *out,
                     const struct bm_schema *schema);
// What it writes lies in blocks of `spare` where they fit.
enum bm_status chain_lay_out(const struct action *action, struct bm_batch *chain, unsigned j,
                             struct bm_batch *spare, struct bm_error *err);
// One action, or two that are joined, over a range of rows.
enum bm_result chain_call(const struct bm_work *work, unsigned a, const struct bm_batch *in,
                          struct bm_batch *out, const struct bm_range *rows,
                          struct chain_failure *failure);

// The rest of a call that was deferred and ended so.
enum bm_result chain_finish(struct bm_work *work, unsigned a, enum bm_result result);

struct chain {
    struct bm_work *work;
    const struct step *step;
    unsigned n; // of its batches, how many are done with at its end
    struct bm_batch batches[BM_ACTIONS_MAX + 1];
};
// All batches of the step are laid out; chain_fini() also after a failure.
enum bm_result chain_init(struct chain *chain, struct bm_work *work, const struct step *step,
                          struct chain_failure *failure);
// All actions of the step, a tile of rows at a time; for different rows on several threads at once.
enum bm_result chain_run(struct chain *chain, const struct bm_range *rows,
                         struct chain_failure *failure);
// The last of its batches becomes work->batch.
void chain_fini(struct chain *chain);
void chain_undo(struct chain *chain); // instead: work->batch stays what it was
