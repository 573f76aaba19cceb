// executor.h -- what runs jobs and keeps time: worker threads in production, a seeded picker on
// virtual time in tests. Layer: run (may include base).
//
// The scheduler decides *what* runs next (bm_scheduler_pick); an executor only decides *when* a
// worker asks.
// Threads: with the scheduler's mutex held, except enter() and leave(), which take it and give it
// back.
#pragma once
#include "base/clock.h"
#include "base/heap.h"

struct bm_timer { // embedded; zero-initialised means not armed
    struct bm_heap_node node;
    void (*fire)(struct bm_timer *timer); // with the mutex held, once, at or after its time
};

struct bm_executor {
    void (*wake)(struct bm_executor *self); // one more job can be picked
    // Borrows `timer` until it fired or was disarmed. Arming an armed timer moves it.
    void (*arm)(struct bm_executor *self, struct bm_timer *timer, uint64_t due_ns);
    void (*disarm)(struct bm_executor *self, struct bm_timer *timer); // fine when not armed
    void (*enter)(struct bm_executor *self);
    void (*leave)(struct bm_executor *self);
    struct bm_clock *clock;
};
