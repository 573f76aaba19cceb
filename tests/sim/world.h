// world.h -- one seed's world: virtual time, chance, and processes that can be killed.
//
// Everything that happens is an event on one heap. Events of the same instant come in an order
// that the seed draws. Chance is one generator, so a seed is the whole story and replays exactly.
// What the simulator itself allocates lies in an arena that lives as long as the seed; what the
// product allocates belongs to the process that runs, and goes with it (memory.c).
// Threads: none; fibers (fiber.h) take turns.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"

#define SIM_MS UINT64_C(1000000)
#define SIM_SECOND (1000 * SIM_MS)
#define SIM_NEVER UINT64_MAX

struct sim_process {
    const char *name;
    bool alive;
    unsigned life; // how often it was killed: what was scheduled in an earlier life never happens
    uint64_t paused_until_ns; // nothing of it happens before, as after SIGSTOP
    uint64_t clock_ahead_ns;  // its clock shows this more than the world's
    uint64_t refuse_in;       // the n-th allocation from now fails; 0: none does
    uint64_t refused;         // how many did
    struct bm_list fibers;    // of fiber.c
};

struct sim_event { // zero-initialised means not scheduled
    struct bm_heap_node node;
    void (*fire)(struct sim_event *event);
    struct sim_process *process; // whose code it runs; NULL: the world's own
    unsigned life;               // of the process when it was scheduled
};

struct sim_world {
    uint64_t seed, now_ns, random, nevents;
    bool trace;
    bool failed; // an oracle has spoken; the story ends there
    struct bm_heap events;
    struct sim_process *current; // whose code runs, whose memory is allocated; NULL: the world's
};
extern struct sim_world sim;

void sim_begin(uint64_t seed, bool trace);
bool sim_step(void); // false: nothing is left to happen

// ---- Chance ----

uint64_t sim_draw(uint64_t bound); // 0 .. bound - 1
bool sim_chance(unsigned per_mille);
uint64_t sim_duration(uint64_t usual_ns); // around `usual_ns`, with a long tail

// ---- Events ----

// At `at_ns` or, when that has passed, now. Moves an event that is scheduled already.
void sim_schedule(struct sim_event *event, uint64_t at_ns);
void sim_unschedule(struct sim_event *event);
uint64_t sim_process_now(const struct sim_process *process); // on its clock

// ---- Memory ----

void *sim_alloc(size_t size);                               // zeroed, until the next sim_begin()
void sim_memory_kill(struct sim_process *process);          // frees all that it has
size_t sim_memory_count(const struct sim_process *process); // allocations and files it has
bool sim_memory_refuses(void); // this allocation of the process that runs
// Of files in memory, and what is mapped of them (files.c); part of the above.
void sim_files_kill(const struct sim_process *process);
size_t sim_files_count(const struct sim_process *process);

// ---- What was seen ----

void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
// A promise is broken: says so once, and ends the seed.
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define SIM_CHECK(condition, ...)                                                                  \
    do {                                                                                           \
        if (!(condition))                                                                          \
            sim_fail(__VA_ARGS__);                                                                 \
    } while (0)
