// fiber.h -- threads of simulated processes: they take turns, and the seed says whose it is.
//
// The product's bm_mutex and bm_cond end up here (the linker's --wrap), and so does its clock. A
// fiber gives up its turn where a thread could lose it: before it takes a mutex (now and then),
// when it waits, and when it sleeps. Outside of fibers a mutex is always free.
// Threads: none.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "sim/world.h"

// Starts run(arg) as a thread of `process`, now, but not at once.
void fiber_start(struct sim_process *process, void (*run)(void *arg), void *arg);
void fiber_sleep(uint64_t ns);                         // the running one
void fibers_kill(struct sim_process *process);         // none of them runs again
void fibers_clock_jumped(struct sim_process *process); // deadlines come sooner now

// A condition of the simulator's own.
struct fiber_cond {
    struct bm_list waiters; // all zero: nobody
};
void fiber_wait(struct fiber_cond *cond);
void fiber_wake(struct fiber_cond *cond); // all
