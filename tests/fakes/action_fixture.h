// action_fixture.h -- built-in actions in a real pipeline over numbers that the test lays out.
// Layer: tests. Threads: one thread; its asserts are cmocka's.
//
//     const float numbers[] = {1, 2, 3};
//     action_fixture_give(3, &(struct given){"x", BM_FLOAT32, .values = numbers}, 1);
//     action_fixture_build(&fixture, "[scale: {components: x, factor: 2}]");
//     action_fixture_run(&fixture, 3, 0);
//     const float *doubled = action_fixture_values(&fixture, "x");
#pragma once
#include "pipeline/pipeline.h"

enum { GIVEN_MAX = 8 };

struct given { // a component of the source; `values` holds all items
    const char *name;
    enum bm_dtype dtype;
    unsigned ndim;
    uint64_t shape[4];
    const void *values;
    const uint64_t *offsets; // [nitems + 1] for a ragged one, else NULL
};

struct action_fixture {
    struct bm_registry *registry;
    struct bm_pipeline *pipeline;
    struct bm_work work; // after action_fixture_run(): the batch, or its error
    struct bm_error error;
    uint64_t tile_rows; // of fused actions; 0: as planned
    bool shuffle;
    uint64_t seed, attempt, n_epochs; // 0 epochs: 1
    struct bm_call_host host;         // sleeps by adding to slept_ns
    uint64_t slept_ns;
    unsigned nsleeps;
};

void action_fixture_init(struct action_fixture *fixture); // with all built-in actions
void action_fixture_fini(struct action_fixture *fixture);
// The data of pipelines built from here on; borrowed.
void action_fixture_give(uint64_t nitems, const struct given *components, unsigned n);
// Whether the source lends its memory, so that no action may write in place. Reset by init.
void action_fixture_lend(bool lends);
// `actions` is YAML. An error is left in fixture->error.
enum bm_status action_fixture_build(struct action_fixture *fixture, const char *actions);
// The same over a source of the product, such as "csv: {...}", in the folder of the sources.
enum bm_status action_fixture_build_on(struct action_fixture *fixture, const char *source,
                                       const char *actions);
// All steps of batch `seq`; waits end at once. An error is left in fixture->work.error.
enum bm_result action_fixture_run(struct action_fixture *fixture, uint64_t batch_size,
                                  uint64_t seq);
const struct bm_component *action_fixture_component(const struct action_fixture *fixture,
                                                    const char *name); // NULL: none
const void *action_fixture_values(const struct action_fixture *fixture, const char *name);
// Builds `actions` and fails the test unless that fails with INVALID_ARGUMENT or NOT_FOUND at a
// `where` that ends in `where` and a text that holds `text`.
void action_fixture_refuses(struct action_fixture *fixture, const char *actions, const char *where,
                            const char *text);
// Lets every allocation of building `actions` fail once: each must come back as an error.
void action_fixture_starves(struct action_fixture *fixture, const char *actions);
