// mill.h -- a scheduler on the fake executor, with pipelines written in one line of YAML.
//
//     struct bm_pipeline *pipeline = mill_pipeline(&mill, "train", 20, "[step, {step: {}, use_lock:
//     gpu}]");
//
// Its source `count` gives component x (int64) = item index. Its actions, per batch:
//   step {}                          does nothing; the fake executor decides how long it takes
//   add {amount}                     x = x + amount, so that bytes show which actions ran
//   draw {}                          r (float64): a random number per item
//   nap {ns}                         waits without a worker
//   hand {}                          waits until mill_finish_deferred(), in the order of calls
//   fail / skip / end {seq}          at that batch
//   shift {amount}, mix {}, crack {amount}: per item. x + amount; 1000 x + what is drawn; fails at
//                                    every amount-th item
//   twice {}                         every item is there two times
//   sieve {amount}                   per item: leaves out every amount-th item
//   sum {}                           variable: sum of x, count of batches, and a hash of their
//   order
// One thread; asserts with cmocka.
#pragma once
#include "fakes/fake_executor.h"
#include "pipeline/pipeline.h"

enum { MILL_DEFERRED_MAX = 512 };

struct mill {
    struct fake_executor executor;
    struct bm_scheduler *scheduler;
    struct bm_registry *registry;
};

void mill_init(struct mill *mill, unsigned nworkers, uint64_t seed, uint64_t memory_bytes,
               struct bm_observer *observer);
void mill_fini(struct mill *mill); // streams closed; runs what is left
struct bm_pipeline *mill_pipeline(struct mill *mill, const char *name, uint64_t nitems,
                                  const char *actions_yaml);
void mill_register(struct bm_registry *registry); // the types above, for other registries

struct mill_stream {     // parameters with the defaults that tests want
    uint64_t batch_size; // 0 = 1
    unsigned prefetch;
    enum bm_on_error on_error;
    uint64_t seed; // shuffles when not 0
    uint64_t first_seq;
    bool traced;
    struct bm_stream_listener *listener;
};
struct bm_stream *mill_open(struct mill *mill, struct bm_pipeline *pipeline,
                            struct mill_stream config);
void mill_ask(struct mill *mill, struct bm_stream *stream, uint64_t seq);
void mill_close(struct mill *mill, struct bm_stream *stream);
enum bm_got mill_get(struct mill *mill, struct bm_stream *stream, uint64_t seq,
                     struct bm_outcome **ret_outcome);
// Asks for `seq` and steps the executor until it can be had. Fails the test on a deadlock.
enum bm_got mill_take(struct mill *mill, struct bm_stream *stream, uint64_t seq,
                      struct bm_outcome **ret_outcome);
uint64_t mill_digest(const struct bm_outcome *outcome); // of kind, seq, items and tensors

unsigned mill_deferred_count(void);
void mill_finish_deferred(unsigned i, enum bm_result result); // the i-th call that waits
