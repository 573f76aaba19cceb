#include "fakes/fake_executor.h"

#include "base/list.h"
#include "base/random.h"

static struct fake_executor *fake_of(struct bm_executor *executor)
{
    return BM_CONTAINER(executor, struct fake_executor, base);
}

uint64_t fake_executor_random(struct fake_executor *fake, uint64_t bound)
{
    fake->random += 0x9e3779b97f4a7c15u;
    return bm_mix64(fake->random) % bound;
}

static uint64_t fake_now(struct bm_clock *clock)
{
    return BM_CONTAINER(clock, struct fake_executor, clock)->now_ns;
}

static void fake_wake(struct bm_executor *self)
{
    fake_of(self)->nready++;
}

static void fake_disarm(struct bm_executor *self, struct bm_timer *timer)
{
    if (timer->node.queued)
        bm_heap_remove(&fake_of(self)->timers, &timer->node);
}

static void fake_arm(struct bm_executor *self, struct bm_timer *timer, uint64_t due_ns)
{
    fake_disarm(self, timer);
    bm_heap_insert(&fake_of(self)->timers, &timer->node, due_ns);
}

static void fake_enter(struct bm_executor *self)
{
    BM_ASSERT(fake_of(self)->depth++ == 0);
}

static void fake_leave(struct bm_executor *self)
{
    struct fake_executor *fake = fake_of(self);
    BM_ASSERT(--fake->depth == 0);
    if (fake->scheduler != NULL)
        bm_outcomes_free(bm_scheduler_garbage(fake->scheduler));
    if (fake->flush != NULL)
        fake->flush(fake->flush_context);
}

void fake_executor_init(struct fake_executor *fake, unsigned nworkers, uint64_t seed)
{
    BM_ASSERT(nworkers >= 1 && nworkers <= FAKE_WORKERS_MAX);
    *fake = (struct fake_executor){
        .base = {.wake = fake_wake,
                 .arm = fake_arm,
                 .disarm = fake_disarm,
                 .enter = fake_enter,
                 .leave = fake_leave},
        .clock = {.now_ns = fake_now},
        .nworkers = nworkers,
        .now_ns = 1000000,
        .random = seed,
    };
    fake->base.clock = &fake->clock;
}

static uint64_t fake_duration(struct fake_executor *fake, const struct bm_job *job)
{
    if (fake->duration != NULL)
        return fake->duration(job);
    if (fake_executor_random(fake, 16) == 0)
        return fake_executor_random(fake, 100000); // a long tail
    return fake_executor_random(fake, 1000);
}

// Takes the worker's job as far as it goes without virtual time passing.
static void fake_go_on(struct fake_executor *fake, unsigned w, bool begin)
{
    struct bm_job *job = fake->workers[w].job;
    for (;;) {
        if (begin && bm_job_begin(job)) {
            fake->workers[w].due_ns = fake->now_ns + fake_duration(fake, job);
            return;
        }
        fake_enter(&fake->base);
        fake->workers[w].job = job = bm_job_done(job);
        fake_leave(&fake->base);
        if (job == NULL)
            return;
        begin = true;
    }
}

static bool fake_pick(struct fake_executor *fake)
{
    for (unsigned w = 0; w < fake->nworkers && fake->nready > 0; w++) {
        if (fake->workers[w].job != NULL)
            continue;
        fake_enter(&fake->base);
        struct bm_job *job = bm_scheduler_pick(fake->scheduler, w);
        fake->nready = job == NULL ? 0 : fake->nready - 1;
        fake->workers[w].job = job;
        fake_leave(&fake->base);
        if (job == NULL)
            return false;
        fake_go_on(fake, w, true);
        return true;
    }
    return false;
}

// The worker whose step ends first, ties by the seed; -1: none is running.
static int fake_first_due(struct fake_executor *fake)
{
    int first = -1;
    unsigned offset = fake->eager ? 0 : (unsigned)fake_executor_random(fake, fake->nworkers);
    for (unsigned i = 0; i < fake->nworkers; i++) {
        unsigned w = (i + offset) % fake->nworkers;
        if (fake->workers[w].job != NULL &&
            (first < 0 || fake->workers[w].due_ns < fake->workers[first].due_ns))
            first = (int)w;
    }
    return first;
}

static bool fake_advance(struct fake_executor *fake)
{
    int w = fake_first_due(fake);
    struct bm_heap_node *timer = bm_heap_first(&fake->timers);
    if (w < 0 && timer == NULL)
        return false;
    if (timer != NULL && (w < 0 || timer->key < fake->workers[w].due_ns)) {
        if (timer->key > fake->now_ns)
            fake->now_ns = timer->key;
        fake_enter(&fake->base);
        bm_heap_remove(&fake->timers, timer);
        struct bm_timer *due = BM_CONTAINER(timer, struct bm_timer, node);
        due->fire(due);
        fake_leave(&fake->base);
        return true;
    }
    if (fake->workers[w].due_ns > fake->now_ns)
        fake->now_ns = fake->workers[w].due_ns;
    fake_go_on(fake, (unsigned)w, bm_job_step(fake->workers[w].job));
    return true;
}

bool fake_executor_step(struct fake_executor *fake)
{
    if (fake->eager || fake_executor_random(fake, 4) != 0) {
        if (fake_pick(fake))
            return true;
    }
    return fake_advance(fake) || fake_pick(fake);
}

unsigned fake_executor_running(const struct fake_executor *fake)
{
    unsigned running = 0;
    for (unsigned w = 0; w < fake->nworkers; w++)
        running += fake->workers[w].job != NULL;
    return running;
}

static uint64_t fake_next_ns(struct fake_executor *fake)
{
    int w = fake_first_due(fake);
    struct bm_heap_node *timer = bm_heap_first(&fake->timers);
    uint64_t next_ns = w < 0 ? UINT64_MAX : fake->workers[w].due_ns;
    return timer != NULL && timer->key < next_ns ? timer->key : next_ns;
}

uint64_t fake_executor_due_ns(struct fake_executor *fake)
{
    for (unsigned w = 0; w < fake->nworkers && fake->nready > 0; w++) {
        if (fake->workers[w].job == NULL)
            return fake->now_ns;
    }
    return fake_next_ns(fake);
}

bool fake_executor_step_at(struct fake_executor *fake, uint64_t now_ns)
{
    fake->now_ns = now_ns;
    bool due = fake_next_ns(fake) <= now_ns;
    if ((!due || fake_executor_random(fake, 2) == 0) && fake_pick(fake))
        return true;
    return due && fake_advance(fake);
}

void fake_executor_settle(struct fake_executor *fake, uint64_t until_ns)
{
    while (fake_pick(fake) || (fake_next_ns(fake) <= until_ns && fake_advance(fake)))
        ;
    if (until_ns != UINT64_MAX && until_ns > fake->now_ns)
        fake->now_ns = until_ns;
}
