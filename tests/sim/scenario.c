// What a seed means: how large the world is, how bad the network, and which faults come when. After
// `faults_until_ns` there are none, and everything must end by the deadline.
#include <string.h>

#include "sim/simulation.h"

struct sim_scenario scenario;

bool scenario_calm(void)
{
    return sim.now_ns >= scenario.faults_until_ns;
}

struct sim_faults scenario_faults(void)
{
    if (!scenario_calm())
        return scenario.faults;
    return (struct sim_faults){.latency_ns = scenario.faults.latency_ns};
}

// ---- Faults that come by themselves ----

#define OUTAGE_NS_MAX (20 * SIM_SECOND)

enum fault {
    KILL_SERVER,
    DRAIN_SERVER,
    PAUSE_SERVER,
    JUMP_SERVER,
    BREAK_SERVER,
    KILL_TRAINER,
    PAUSE_TRAINER,
    JUMP_TRAINER,
    PARTITION,
    REFUSE_SERVER,
    REFUSE_TRAINER,
    NFAULTS,
};

static struct {
    struct sim_event event;
    uint64_t every_ns;
    unsigned allowed; // bits of enum fault
} weather;

static void weather_change(struct sim_event *event)
{
    if (scenario_calm())
        return;
    sim_schedule(event, sim.now_ns + sim_duration(weather.every_ns));
    enum fault fault = (enum fault)sim_draw(NFAULTS);
    unsigned i = (unsigned)sim_draw(scenario.ntrainers);
    uint64_t ns = sim_duration(sim_draw(4) == 0 ? 2 * SIM_SECOND : 50 * SIM_MS);
    ns = ns < OUTAGE_NS_MAX ? ns : OUTAGE_NS_MAX;
    if ((weather.allowed >> fault & 1) == 0)
        return;
    switch (fault) {
    case KILL_SERVER:
        server_kill();
        break;
    case DRAIN_SERVER:
        server_drain();
        break;
    case PAUSE_SERVER:
        server_pause(ns);
        break;
    case JUMP_SERVER:
        server_clock_jump(ns);
        break;
    case BREAK_SERVER:
        server_break_connections();
        break;
    case KILL_TRAINER:
        trainer_kill(i);
        break;
    case PAUSE_TRAINER:
        trainer_pause(i, ns);
        break;
    case JUMP_TRAINER:
        trainer_clock_jump(i, ns);
        break;
    case PARTITION:
        wire_break(i, sim.now_ns + ns);
        break;
    case REFUSE_SERVER:
        server_refuse(1 + sim_draw(60));
        break;
    case REFUSE_TRAINER:
        trainer_refuse(i, 1 + sim_draw(60));
        break;
    case NFAULTS:
        break;
    }
}

// ---- The draw ----

static uint64_t one_of(const uint64_t *values, size_t n)
{
    return values[sim_draw(n)];
}
#define ONE_OF(...)                                                                                \
    one_of((const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / 8)

void scenario_draw(void)
{
    scenario = (struct sim_scenario){
        .nworkers = (unsigned)ONE_OF(1, 1, 2, 2, 3, 4, 8),
        .ntrainers = (unsigned)ONE_OF(1, 1, 1, 2, 2, 3, 4),
        .memory_bytes = ONE_OF(0, 0, 0, 9000, 11000, 20000),
        .lease_ms = (uint32_t)ONE_OF(60000, 60000, 10000, 1000, 40),
        .timeout_ms = (uint32_t)ONE_OF(10000, 10000, 2000, 500),
        .step_ns = ONE_OF(0, 100000, SIM_MS, 5 * SIM_MS),
        .think_ns = ONE_OF(0, 0, SIM_MS, 10 * SIM_MS),
        .polls = sim_draw(4) == 0,
        .cursors = sim_draw(10) == 0,
        .faults = {.latency_ns = ONE_OF(50000, 200000, 2 * SIM_MS)},
    };
    scenario.faults_until_ns = sim.now_ns + ONE_OF(0, SIM_SECOND, 3 * SIM_SECOND, 10 * SIM_SECOND);
    scenario.deadline_ns = scenario.faults_until_ns + 600 * SIM_SECOND;
    if (sim_draw(2) == 0) {
        scenario.faults.drop = (unsigned)ONE_OF(0, 5, 50, 200);
        scenario.faults.twice = (unsigned)ONE_OF(0, 20, 200);
        scenario.faults.late = (unsigned)ONE_OF(0, 0, 50, 300);
        scenario.faults.broken = (unsigned)ONE_OF(0, 0, 10, 50);
        scenario.faults.altered = (unsigned)ONE_OF(0, 0, 10, 100);
    }
    weather.event = (struct sim_event){.fire = weather_change};
    weather.every_ns = ONE_OF(10 * SIM_MS, 50 * SIM_MS, 200 * SIM_MS, SIM_SECOND);
    unsigned some = (unsigned)sim_draw(1 << NFAULTS), others = (unsigned)sim_draw(1 << NFAULTS);
    weather.allowed = sim_draw(4) == 0 ? 0 : some | others;
    if (scenario.cursors) {
        weather.allowed &= 1 << BREAK_SERVER | 1 << PARTITION;
        scenario.lease_ms = 60000;
        if (sim_draw(2) == 0)
            scenario.timeout_ms = 500; // so that members give up, with a batch in their hands
    }
    scenario.shares = sim_draw(3) == 0;
    scenario.faults.refused =
        (weather.allowed >> REFUSE_SERVER | weather.allowed >> REFUSE_TRAINER) & 1;
    sim_schedule(&weather.event, sim.now_ns + sim_duration(weather.every_ns));
}
