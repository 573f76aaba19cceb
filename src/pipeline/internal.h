// internal.h -- what pipeline.c builds and work.c runs. Layer: pipeline (private).
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
    size_t update_offset;                    // of its update and state
};

struct step { // step 0 reads and has no actions
    unsigned first, nactions;
    uint64_t tile_rows; // rows that pass through fused actions together; 0: all
    char *name;
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
    bool stateful;
};

// The schema before action i; with i = nactions, of the batches.
const struct bm_schema *pipeline_schema(const struct bm_pipeline *pipeline, unsigned i);
// `where` becomes the error's place; the one it had (a component, a row of a file) goes in front
// of the text.
void error_move_to(struct bm_error *err, const char *where);
