// fake_executor.h -- workers without threads, on virtual time: a seed decides what happens next.
//
// A step of a job takes `duration` of virtual time on its worker (seeded, with rare long tails, or
// what a hook says). Everything else takes none. Ties, and whether an idle worker picks up work at
// once, are decided by the seed. One thread; enter() and leave() only check that they pair.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "run/scheduler.h"

enum { FAKE_WORKERS_MAX = 16 };

struct fake_executor {
    struct bm_executor base;
    struct bm_clock clock;
    struct bm_scheduler *scheduler; // set it before the first step
    unsigned nworkers;
    uint64_t now_ns, random;
    bool eager; // idle workers pick up at once, in order: for stories told event by event
    uint64_t (*duration)(const struct bm_job *job); // NULL: seeded
    void (*flush)(void *context);                   // as bm_pool_set_flush()
    void *flush_context;
    int depth;       // of enter()
    unsigned nready; // upper bound of what can be picked
    struct bm_heap timers;
    struct {
        struct bm_job *job;
        uint64_t due_ns;
    } workers[FAKE_WORKERS_MAX];
};

void fake_executor_init(struct fake_executor *fake, unsigned nworkers, uint64_t seed);
uint64_t fake_executor_random(struct fake_executor *fake, uint64_t bound); // 0 .. bound-1
bool fake_executor_step(struct fake_executor *fake); // one event; false: nothing left to happen
// For a caller that keeps the time: when something is to happen (UINT64_MAX: nothing is), and one
// event of those due at `now_ns`; false: none was.
uint64_t fake_executor_due_ns(struct fake_executor *fake);
bool fake_executor_step_at(struct fake_executor *fake, uint64_t now_ns);
unsigned fake_executor_running(const struct fake_executor *fake);
// Steps until nothing is left, or `until_ns` of virtual time has come.
void fake_executor_settle(struct fake_executor *fake, uint64_t until_ns);
