// lock.h -- named locks that park batches, never threads. Layer: run (may include base).
//
// The holder and the waiters are batches. A worker that meets a taken lock parks the batch and
// picks up other work; bm_lock_leave() names the batch that goes next, oldest first. Names are
// server-wide: streams of all pipelines meet in one table.
//
// Threads: not synchronised. Call with the scheduler's mutex held.
#pragma once
#include <stdbool.h>

#include "base/error.h"
#include "base/list.h"

struct bm_lock;
struct bm_waiter { // embedded in a job, so waiting allocates nothing
    struct bm_node node;
};

struct bm_lock_table;
enum bm_status bm_lock_table_new(struct bm_lock_table **ret_table, struct bm_error *err);
void bm_lock_table_free(struct bm_lock_table *table); // every lock free and unused; NULL is fine

// The lock of that name, made at its first use; each get needs one put.
enum bm_status bm_lock_get(struct bm_lock_table *table, const char *name, struct bm_lock **ret_lock,
                           struct bm_error *err);
void bm_lock_put(struct bm_lock *lock); // NULL is fine

// True: `waiter` now holds the lock. False: it is parked at the end of the line and is borrowed
// until bm_lock_leave() returns it or bm_lock_abandon() takes it out.
bool bm_lock_enter(struct bm_lock *lock, struct bm_waiter *waiter);
void bm_lock_abandon(struct bm_lock *lock, struct bm_waiter *waiter); // a parked one
// Returns the waiter that now holds the lock, or NULL if the lock is free.
struct bm_waiter *bm_lock_leave(struct bm_lock *lock);
// Who comes behind `waiter` in the line, or with NULL the first; NULL: nobody.
const struct bm_waiter *bm_lock_next(const struct bm_lock *lock, const struct bm_waiter *waiter);
const struct bm_waiter *bm_lock_holder(const struct bm_lock *lock); // or NULL
const char *bm_lock_name(const struct bm_lock *lock);
unsigned bm_lock_line(const struct bm_lock *lock); // how many are parked
