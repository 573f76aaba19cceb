// Trainers: processes with one client each and a few consumers that share it. They are killed, and
// started again from what their consumers have saved.
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "sim/simulation.h"

struct trainer {
    struct sim_process process;
    char name[24];
    unsigned nconsumers;
    struct sim_consumer consumers[SIM_CONSUMERS_MAX];
    struct sim_event restart;
    // Of this life:
    struct batchmill_client *client;
    unsigned nworking;
    struct fiber_cond rest; // of its consumers
};

static struct trainer trainers[SIM_TRAINERS_MAX];

struct sim_process *trainer_process(unsigned i)
{
    return &trainers[i].process;
}

static bool trainer_done(const struct trainer *trainer)
{
    bool done = true;
    for (unsigned k = 0; k < trainer->nconsumers; k++)
        done &= trainer->consumers[k].done;
    return done;
}

// ---- What it does ----

struct work {
    struct trainer *trainer;
    struct sim_consumer *consumer;
};

static void consumer_fiber(void *arg)
{
    struct work *work = arg;
    consumer_work(work->consumer, work->trainer->client);
    work->trainer->nworking--;
    fiber_wake(&work->trainer->rest);
}

static void consumers_work(struct trainer *trainer)
{
    for (unsigned k = 0; k < trainer->nconsumers; k++) {
        if (trainer->consumers[k].done)
            continue;
        struct work *work = sim_alloc(sizeof *work);
        *work = (struct work){trainer, &trainer->consumers[k]};
        trainer->nworking++;
        fiber_start(&trainer->process, consumer_fiber, work);
    }
    while (trainer->nworking > 0)
        fiber_wait(&trainer->rest);
}

static void trainer_log(void *context, const char *message)
{
    (void)context;
    sim_trace("log: %s", message);
}

static void trainer_run(void *arg)
{
    struct trainer *trainer = arg;
    const struct batchmill_options options = {.timeout_ms = scenario.timeout_ms,
                                              .log = trainer_log};
    while (!trainer_done(trainer) && !sim.failed) {
        struct batchmill_error error = {0};
        enum batchmill_code code =
            batchmill_connect("tcp://simulated:1", &options, &trainer->client, &error);
        if (code == BATCHMILL_OK) {
            consumers_work(trainer);
            batchmill_disconnect(trainer->client);
            consumers_left(1);
            continue;
        }
        sim_trace("connect: %s", error.text);
        SIM_CHECK(consumer_may_try_again(code), "%s: connect: %s: %s", trainer->name,
                  batchmill_code_name(code), error.text);
        fiber_sleep(sim_duration(20 * SIM_MS));
    }
    size_t left = sim_memory_count(&trainer->process);
    SIM_CHECK(left == 0 || sim.failed, "%s ended in order and left %zu allocations behind",
              trainer->name, left);
    sim_trace("done");
}

// ---- Its life ----

static void trainer_start(struct trainer *trainer)
{
    unsigned life = trainer->process.life;
    trainer->process = (struct sim_process){.name = trainer->name, .alive = true, .life = life};
    trainer->nworking = 0;
    trainer->rest = (struct fiber_cond){0};
    for (unsigned k = 0; k < trainer->nconsumers; k++) {
        struct sim_consumer *consumer = &trainer->consumers[k];
        consumer->now = consumer->saved;
        consumer->asked = false;
        sim_trace("consumer %s starts at %llu of %s", consumer->name,
                  (unsigned long long)consumer->now.next, consumer->reference->pipeline);
    }
    fiber_start(&trainer->process, trainer_run, trainer);
}

static void trainer_restart(struct sim_event *event)
{
    trainer_start(BM_CONTAINER(event, struct trainer, restart));
}

void trainer_kill(unsigned i)
{
    struct trainer *trainer = &trainers[i];
    if (!trainer->process.alive || trainer_done(trainer))
        return;
    sim_trace("%s killed", trainer->name);
    fibers_kill(&trainer->process);
    wire_trainer_gone(i);
    sim_memory_kill(&trainer->process);
    trainer->process.alive = false;
    trainer->process.life++;
    for (unsigned k = 0; k < trainer->nconsumers; k++) {
        struct sim_consumer *consumer = &trainer->consumers[k];
        if (sim_draw(10) > 0 || consumer->older.next >= consumer->saved.next)
            continue;
        consumer->saved = consumer->older; // its user goes back to an older checkpoint
        sim_trace("consumer %s goes back to %llu", consumer->name,
                  (unsigned long long)consumer->saved.next);
    }
    sim_schedule(&trainer->restart, sim.now_ns + sim_draw(300 * SIM_MS));
}

void trainer_pause(unsigned i, uint64_t ns)
{
    sim_trace("%s paused for %g ms", trainers[i].name, (double)ns / 1e6);
    trainers[i].process.paused_until_ns = sim.now_ns + ns;
}

void trainer_clock_jump(unsigned i, uint64_t ns)
{
    sim_trace("%s's clock jumps by %g ms", trainers[i].name, (double)ns / 1e6);
    trainers[i].process.clock_ahead_ns += ns;
    fibers_clock_jumped(&trainers[i].process);
}

void trainer_refuse(unsigned i, uint64_t in)
{
    trainers[i].process.refuse_in = in;
}

void trainers_begin(void)
{
    consumers_begin();
    for (unsigned i = 0; i < SIM_TRAINERS_MAX; i++) { // a failed seed may have left them
        fibers_kill(&trainers[i].process);
        sim_memory_kill(&trainers[i].process);
    }
    for (unsigned i = 0; i < scenario.ntrainers; i++) {
        struct trainer *trainer = &trainers[i];
        unsigned life = trainer->process.life + 1;
        *trainer = (struct trainer){
            .restart = {.fire = trainer_restart},
            .process = {.life = life},
            .nconsumers = sim_draw(3) > 0 ? 1 : 1 + (unsigned)sim_draw(SIM_CONSUMERS_MAX),
        };
        snprintf(trainer->name, sizeof trainer->name, "train%u", i);
        for (unsigned k = 0; k < trainer->nconsumers; k++)
            consumer_init(&trainer->consumers[k], i, k);
        trainer_start(trainer);
    }
}

bool trainers_done(void)
{
    for (unsigned i = 0; i < scenario.ntrainers; i++) {
        if (!trainer_done(&trainers[i]) || !bm_list_empty(&trainers[i].process.fibers))
            return false;
    }
    return true;
}

bool trainer_window_end(unsigned i, uint64_t *ret_seq)
{
    const struct trainer *trainer = &trainers[i];
    bool asked = false;
    *ret_seq = 0;
    for (unsigned k = 0; k < trainer->nconsumers; k++) {
        uint64_t end = 0;
        if (trainer->consumers[k].kind != SIM_STREAM)
            *ret_seq = UINT64_MAX; // a run's window moves by itself, a cursor's by all members
        if (trainer->consumers[k].kind != SIM_STREAM ||
            consumer_window_end(&trainer->consumers[k], &end))
            asked = true;
        *ret_seq = end > *ret_seq ? end : *ret_seq;
    }
    return asked;
}

void trainers_describe(void)
{
    static const char *const kinds[] = {"stream", "cursor", "run"};
    for (unsigned i = 0; i < scenario.ntrainers; i++) {
        for (unsigned k = 0; k < trainers[i].nconsumers; k++) {
            const struct sim_consumer *consumer = &trainers[i].consumers[k];
            printf("  %s of %s: %s at batch %llu of %llu, prefetch %u%s\n", consumer->name,
                   consumer->reference->pipeline, kinds[consumer->kind],
                   (unsigned long long)consumer->now.next,
                   (unsigned long long)consumer->reference->nbatches, consumer->order.prefetch,
                   consumer->done ? ", done" : "");
        }
    }
}
