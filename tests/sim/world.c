#include "sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"

struct sim_world sim;

// ---- The arena: chunks are kept from seed to seed ----

enum { CHUNK_BYTES = 1 << 20, ALIGNMENT = 16 };

void *__real_malloc(size_t size);

struct chunk {
    struct chunk *next;
    size_t used;
    _Alignas(ALIGNMENT) unsigned char bytes[CHUNK_BYTES];
};
static struct chunk *first_chunk, *chunk;

static struct chunk *chunk_new(void)
{
    struct chunk *fresh = __real_malloc(sizeof *fresh);
    BM_ASSERT(fresh != NULL);
    fresh->next = NULL;
    return fresh;
}

void *sim_alloc(size_t size)
{
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    BM_ASSERT(size <= CHUNK_BYTES);
    if (chunk->used + size > CHUNK_BYTES) {
        if (chunk->next == NULL)
            chunk->next = chunk_new();
        chunk = chunk->next;
        chunk->used = 0;
    }
    void *at = chunk->bytes + chunk->used;
    chunk->used += size;
    return memset(at, 0, size);
}

// ---- Events ----

// Time in the upper bits, a draw in the lower ones: so ties are the seed's to decide.
enum { TIE_BITS = 12 };

void sim_schedule(struct sim_event *event, uint64_t at_ns)
{
    sim_unschedule(event);
    if (at_ns == SIM_NEVER)
        return;
    if (at_ns < sim.now_ns)
        at_ns = sim.now_ns;
    event->life = event->process == NULL ? 0 : event->process->life;
    bm_heap_insert(&sim.events, &event->node, at_ns << TIE_BITS | sim_draw(1 << TIE_BITS));
}

void sim_unschedule(struct sim_event *event)
{
    if (event->node.queued)
        bm_heap_remove(&sim.events, &event->node);
}

uint64_t sim_process_now(const struct sim_process *process)
{
    return sim.now_ns + process->clock_ahead_ns;
}

void sim_begin(uint64_t seed, bool trace)
{
    if (first_chunk == NULL)
        first_chunk = chunk_new();
    chunk = first_chunk;
    chunk->used = 0;
    sim = (struct sim_world){
        .seed = seed,
        .trace = trace,
        .now_ns = SIM_SECOND, // a clock that shows 0 means "never" here and there
        .random = bm_mix64(seed ^ UINT64_C(0x5eed5eed5eed5eed)),
    };
}

bool sim_step(void)
{
    struct bm_heap_node *first = bm_heap_first(&sim.events);
    if (first == NULL || sim.failed)
        return false;
    struct sim_event *event = BM_CONTAINER(first, struct sim_event, node);
    sim.now_ns = first->key >> TIE_BITS;
    bm_heap_remove(&sim.events, first);
    struct sim_process *process = event->process;
    if (process != NULL && process->life != event->life)
        return true;
    if (process != NULL && process->paused_until_ns > sim.now_ns) {
        sim_schedule(event, process->paused_until_ns);
        return true;
    }
    sim.nevents++;
    sim.current = process;
    event->fire(event);
    sim.current = NULL;
    return true;
}

// ---- Chance ----

uint64_t sim_draw(uint64_t bound)
{
    sim.random += UINT64_C(0x9e3779b97f4a7c15);
    return bm_mix64(sim.random) % bound;
}

bool sim_chance(unsigned per_mille)
{
    return per_mille > 0 && sim_draw(1000) < per_mille;
}

uint64_t sim_duration(uint64_t usual_ns)
{
    uint64_t whim = sim_draw(64);
    if (whim == 0)
        return usual_ns * (1 + sim_draw(200));
    if (whim < 4)
        return 0;
    return sim_draw(2 * usual_ns + 1);
}

// ---- What was seen ----

static void say(const char *kind, const char *format, va_list arguments)
{
    printf("%12.6f %-7s ", (double)sim.now_ns / 1e9 - 1, kind);
    vprintf(format, arguments);
    printf("\n");
}

void sim_trace(const char *format, ...)
{
    if (!sim.trace)
        return;
    va_list arguments;
    va_start(arguments, format);
    say(sim.current == NULL ? "-" : sim.current->name, format, arguments);
    va_end(arguments);
}

void sim_fail(const char *format, ...)
{
    if (sim.failed)
        return;
    sim.failed = true;
    va_list arguments;
    va_start(arguments, format);
    printf("seed %llu: ", (unsigned long long)sim.seed);
    vprintf(format, arguments);
    printf(" (at %.6f s, event %llu)\n", (double)sim.now_ns / 1e9 - 1,
           (unsigned long long)sim.nevents);
    va_end(arguments);
}
