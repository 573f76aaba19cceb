// pool.h -- the real executor: worker threads, a timer thread, one mutex.
// Layer: run (may include base).
//
// Threads: any thread. enter() and leave() are the scheduler's mutex; leave() calls the flush hook
// after giving the mutex back, so that what the state machines decided under it (replies to
// encode and send) is carried out without it.
#pragma once
#include "base/error.h"
#include "run/scheduler.h"

struct bm_pool;

enum { BM_WORKERS_MAX = 1024 };

// Makes the executor; no thread runs before bm_pool_start().
enum bm_status bm_pool_new(unsigned nworkers, struct bm_pool **ret_pool, struct bm_error *err);
struct bm_executor *bm_pool_executor(struct bm_pool *pool);
void bm_pool_set_flush(struct bm_pool *pool, void (*flush)(void *context), void *context);
enum bm_status bm_pool_start(struct bm_pool *pool, struct bm_scheduler *scheduler,
                             struct bm_error *err);
void bm_pool_stop(struct bm_pool *pool); // ends when every worker has finished its step
void bm_pool_free(struct bm_pool *pool); // stopped or never started; NULL is fine
unsigned bm_pool_nworkers(const struct bm_pool *pool);
