#include "sim/fiber.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/mutex.h"

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
enum { STACK_BYTES = 1 << 20 };
#else
enum { STACK_BYTES = 1 << 17 };
#endif

enum { PREEMPTED_PER_MILLE = 60 };

struct fiber {
    struct bm_node node, waiting_node; // of its process, or of the idle ones; of a condition
    struct sim_event turn;
    ucontext_t context;
    void *stack;
    void (*run)(void *arg);
    void *arg;
    uint64_t deadline_ns; // on its process's clock; SIM_NEVER: none
    struct bm_list *waits_in;
    bool over;
};

static struct bm_list idle; // fibers whose stacks can be used again
static struct fiber *running;
static ucontext_t outside;

// ---- Switching ----

static void switch_to(struct fiber *fiber)
{
    running = fiber;
#ifdef FIBER_ASAN
    void *fake = NULL;
    __sanitizer_start_switch_fiber(&fake, fiber->stack, STACK_BYTES);
#endif
    swapcontext(&outside, &fiber->context);
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
    running = NULL;
}

static void switch_outside(struct fiber *fiber)
{
#ifdef FIBER_ASAN
    static const void *outside_stack;
    static size_t outside_bytes;
    void *fake = NULL;
    __sanitizer_start_switch_fiber(fiber->over ? NULL : &fake, outside_stack, outside_bytes);
#endif
    swapcontext(&fiber->context, &outside);
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(fake, &outside_stack, &outside_bytes);
#endif
}

static void fiber_main(void)
{
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
    struct fiber *fiber = running;
    fiber->run(fiber->arg);
    fiber->over = true;
    switch_outside(fiber);
}

static void fiber_leave_line(struct fiber *fiber)
{
    if (fiber->waits_in != NULL)
        bm_list_remove(&fiber->waiting_node);
    fiber->waits_in = NULL;
}

static void fiber_retire(struct fiber *fiber)
{
    bm_list_remove(&fiber->node);
    bm_list_push_back(&idle, &fiber->node);
}

static void fiber_turn(struct sim_event *event)
{
    struct fiber *fiber = BM_CONTAINER(event, struct fiber, turn);
    switch_to(fiber);
    if (fiber->over)
        fiber_retire(fiber);
}

static void fiber_prepare(struct fiber *fiber)
{
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&fiber->context, fiber_main, 0);
}

void fiber_start(struct sim_process *process, void (*run)(void *arg), void *arg)
{
    if (idle.head.next == NULL)
        bm_list_init(&idle);
    struct sim_process *current = sim.current;
    sim.current = NULL; // fibers are the simulator's
    struct bm_node *node = bm_list_pop_front(&idle);
    struct fiber *fiber =
        node != NULL ? BM_CONTAINER(node, struct fiber, node) : calloc(1, sizeof *fiber);
    BM_ASSERT(fiber != NULL);
    void *stack = fiber->stack;
    if (stack == NULL)
        stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    BM_ASSERT(stack != MAP_FAILED);
    sim.current = current;
    *fiber = (struct fiber){
        .stack = stack,
        .run = run,
        .arg = arg,
        .deadline_ns = SIM_NEVER,
        .turn = {.fire = fiber_turn, .process = process},
    };
    fiber_prepare(fiber);
    if (process->fibers.head.next == NULL)
        bm_list_init(&process->fibers);
    bm_list_push_back(&process->fibers, &fiber->node);
    sim_schedule(&fiber->turn, sim.now_ns);
}

void fibers_kill(struct sim_process *process)
{
    struct bm_node *node;
    if (process->fibers.head.next == NULL)
        return;
    while ((node = bm_list_pop_front(&process->fibers)) != NULL) {
        struct fiber *fiber = BM_CONTAINER(node, struct fiber, node);
        BM_ASSERT(fiber != running);
        sim_unschedule(&fiber->turn);
        bm_list_push_back(&idle, &fiber->node);
    }
}

// ---- Waiting ----

static uint64_t fiber_deadline(const struct fiber *fiber) // on the world's clock
{
    uint64_t ahead_ns = fiber->turn.process->clock_ahead_ns;
    if (fiber->deadline_ns == SIM_NEVER)
        return SIM_NEVER;
    return fiber->deadline_ns > ahead_ns ? fiber->deadline_ns - ahead_ns : 0;
}

void fibers_clock_jumped(struct sim_process *process)
{
    if (process->fibers.head.next == NULL)
        return;
    struct bm_node *end = &process->fibers.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        struct fiber *fiber = BM_CONTAINER(node, struct fiber, node);
        if (fiber->deadline_ns != SIM_NEVER)
            sim_schedule(&fiber->turn, fiber_deadline(fiber));
    }
}

// Gives up the turn until the deadline, or until somebody wakes it.
static void fiber_rest(struct fiber *fiber, uint64_t deadline_ns)
{
    fiber->deadline_ns = deadline_ns;
    sim_schedule(&fiber->turn, fiber_deadline(fiber));
    switch_outside(fiber);
    fiber->deadline_ns = SIM_NEVER;
}

void fiber_sleep(uint64_t ns)
{
    fiber_rest(running, sim_process_now(running->turn.process) + ns);
}

static void line_join(struct bm_list *line, struct fiber *fiber)
{
    if (line->head.next == NULL)
        bm_list_init(line);
    bm_list_push_back(line, &fiber->waiting_node);
    fiber->waits_in = line;
}

static void line_wake_first(struct bm_list *line)
{
    if (line->head.next == NULL || bm_list_empty(line))
        return;
    struct fiber *fiber = BM_CONTAINER(line->head.next, struct fiber, waiting_node);
    fiber_leave_line(fiber);
    fiber->deadline_ns = SIM_NEVER;
    sim_schedule(&fiber->turn, sim.now_ns);
}

static void line_wake_all(struct bm_list *line)
{
    while (line->head.next != NULL && !bm_list_empty(line))
        line_wake_first(line);
}

// False: the deadline came first.
static bool fiber_wait_in(struct bm_list *line, uint64_t deadline_ns)
{
    struct fiber *fiber = running;
    line_join(line, fiber);
    fiber_rest(fiber, deadline_ns);
    bool woken = fiber->waits_in == NULL;
    fiber_leave_line(fiber);
    return woken;
}

void fiber_wait(struct fiber_cond *cond)
{
    fiber_wait_in(&cond->waiters, SIM_NEVER);
}

void fiber_wake(struct fiber_cond *cond)
{
    line_wake_all(&cond->waiters);
}

// ---- What the product calls ----

struct sim_mutex { // in the memory of a bm_mutex
    bool locked;
};
_Static_assert(sizeof(struct sim_mutex) <= sizeof(struct bm_mutex), "fits");
_Static_assert(sizeof(struct bm_list) <= sizeof(struct bm_cond), "fits");

static struct sim_mutex *mutex_of(struct bm_mutex *mutex)
{
    return (struct sim_mutex *)mutex;
}

static struct bm_list *line_of(struct bm_cond *cond)
{
    return (struct bm_list *)cond;
}

void __wrap_bm_mutex_init(struct bm_mutex *mutex);
void __wrap_bm_mutex_fini(struct bm_mutex *mutex);
void __wrap_bm_mutex_lock(struct bm_mutex *mutex);
void __wrap_bm_mutex_unlock(struct bm_mutex *mutex);
void __wrap_bm_cond_init(struct bm_cond *cond);
void __wrap_bm_cond_fini(struct bm_cond *cond);
void __wrap_bm_cond_signal(struct bm_cond *cond);
void __wrap_bm_cond_broadcast(struct bm_cond *cond);
void __wrap_bm_cond_wait(struct bm_cond *cond, struct bm_mutex *mutex);
bool __wrap_bm_cond_wait_until(struct bm_cond *cond, struct bm_mutex *mutex, uint64_t deadline_ns);
struct bm_clock *__wrap_bm_clock_system(void);

void __wrap_bm_mutex_init(struct bm_mutex *mutex)
{
    mutex_of(mutex)->locked = false;
}

void __wrap_bm_mutex_fini(struct bm_mutex *mutex)
{
    BM_ASSERT(!mutex_of(mutex)->locked);
}

void __wrap_bm_mutex_lock(struct bm_mutex *mutex)
{
    struct fiber *fiber = running;
    if (fiber != NULL && sim_chance(PREEMPTED_PER_MILLE))
        fiber_rest(fiber, sim_process_now(fiber->turn.process) + sim_draw(3) * 1000);
    while (mutex_of(mutex)->locked) {
        BM_ASSERT(fiber != NULL);
        fiber_rest(fiber, sim_process_now(fiber->turn.process) + 1000);
    }
    mutex_of(mutex)->locked = true;
}

void __wrap_bm_mutex_unlock(struct bm_mutex *mutex)
{
    BM_ASSERT(mutex_of(mutex)->locked);
    mutex_of(mutex)->locked = false;
}

void __wrap_bm_cond_init(struct bm_cond *cond)
{
    bm_list_init(line_of(cond));
}

void __wrap_bm_cond_fini(struct bm_cond *cond)
{
    BM_ASSERT(bm_list_empty(line_of(cond)));
}

void __wrap_bm_cond_signal(struct bm_cond *cond)
{
    line_wake_first(line_of(cond));
}

void __wrap_bm_cond_broadcast(struct bm_cond *cond)
{
    line_wake_all(line_of(cond));
}

bool __wrap_bm_cond_wait_until(struct bm_cond *cond, struct bm_mutex *mutex, uint64_t deadline_ns)
{
    __wrap_bm_mutex_unlock(mutex);
    bool woken = fiber_wait_in(line_of(cond), deadline_ns);
    __wrap_bm_mutex_lock(mutex);
    return woken;
}

void __wrap_bm_cond_wait(struct bm_cond *cond, struct bm_mutex *mutex)
{
    (void)__wrap_bm_cond_wait_until(cond, mutex, SIM_NEVER);
}

static uint64_t current_now(struct bm_clock *self)
{
    (void)self;
    return sim.current == NULL ? sim.now_ns : sim_process_now(sim.current);
}

struct bm_clock *__wrap_bm_clock_system(void)
{
    static struct bm_clock clock = {.now_ns = current_now};
    return &clock;
}
