// fake_types.h -- a source and actions that tests can read the bytes of. Layer: tests.
//
//     struct bm_registry *registry = fake_types_registry();
//     struct bm_pipeline *pipeline =
//         fake_types_pipeline(registry, "{fake: {n: 10}}", "[{fake.add: {amount: 1}}, fake.step]");
//
// The source `fake` {n, fail_item, lent, ragged, forget}: component x (int64) = item index, in
// memory that is lent when so told; with `ragged` also component tail: item i has i % 3 rows, each
// = i. Reading item `fail_item` fails; `forget` leaves out tail.
//
// Per item, components default to x:
//   fake.add {component, amount}     component = component + amount (int64, also ragged)
//   fake.copy {component, as, amount}
//                                    `as` (int64) = component + amount (0); component stays
//   fake.keep {component, as}        `as` is the memory of component, which stays
//   fake.drop {component}
//   fake.float {component}           the same numbers as float64: as many bytes
//   fake.narrow {component}          the same numbers as int32: fewer bytes
//   fake.draw {as}                   `as` (float64): a random number per item
//   fake.stop {item, result}         SKIP, END or FAIL at that item of the source
//   fake.total {component}           variable: sum of the component, number of rows and of calls
// Per batch:
//   fake.step {}                     calls fake_types_hook.step, if there is one
//   fake.sleep {ns}                  waits
//   fake.defer {}                    waits for whoever takes fake_types_hook.deferred
//   fake.upto {as, forget}           `as`, ragged: item i has the rows 0 .. i-1; `forget` leaves
//                                    it out
//
// Threads: registering and the hook, one thread; the types, any thread.
#pragma once
#include "pipeline/pipeline.h"

struct fake_types_hook { // reset by fake_types_registry()
    enum bm_result (*step)(struct bm_call *call, void *context);
    void *context;
    // Of the last fake.defer: what ends it, and where it may write until then.
    struct bm_deferred *deferred;
    struct bm_error *deferred_error;
};
extern struct fake_types_hook fake_types_hook;

// All fail the test when they cannot do it.
struct bm_registry *fake_types_registry(void); // with the types above
void fake_types_register(struct bm_registry *registry);
struct bm_value *fake_types_value(const char *yaml); // `where` of the root is "test:1"
struct bm_source_ref *fake_types_source(const struct bm_registry *registry, const char *yaml);
struct bm_pipeline *fake_types_pipeline(const struct bm_registry *registry, const char *source_yaml,
                                        const char *actions_yaml);
// Batch `seq` of the items in order, `batch_size` each. The caller calls bm_work_fini().
void fake_types_work(struct bm_work *work, const struct bm_pipeline *pipeline, uint64_t batch_size,
                     uint64_t seq);
