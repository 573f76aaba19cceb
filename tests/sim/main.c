// batchmill-sim: the real engine, session, codec and client on virtual time, one seed after the
// other. `./dev sim` is how to call it; tests/sim/README.md says what it shows.
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "sim/simulation.h"

enum { EVENTS_MAX = 3000000 };

struct arguments {
    uint64_t seeds, first, jobs;
    const char *list;
    bool trace;
};

// A crash is a finding like any other. What it calls is not safe in a handler, but nothing is lost:
// this process is at its end.
static void crashed(int signal)
{
    sim_fail("signal %d", signal);                                      // NOLINT
    printf("replay: ./dev sim --seed %" PRIu64 " --trace\n", sim.seed); // NOLINT
    fflush(stdout);                                                     // NOLINT
    _exit(3);
}

static bool run_seed(uint64_t seed, bool trace)
{
    sim_begin(seed, trace);
    scenario_draw();
    oracle_begin();
    wire_begin();
    server_begin();
    trainers_begin();
    while (!trainers_done() && sim.now_ns < scenario.deadline_ns && sim.nevents < EVENTS_MAX) {
        if (!sim_step())
            break;
        oracle_check();
    }
    if (!sim.failed && !trainers_done()) {
        sim_fail("faults ended at %g s, and not everything has ended",
                 (double)scenario.faults_until_ns / 1e9 - 1);
        trainers_describe();
    }
    if (!sim.failed)
        consumers_check();
    if (!sim.failed)
        server_stop();
    return !sim.failed;
}

static int run_seeds(const struct arguments *arguments, uint64_t job)
{
    uint64_t nevents = 0;
    double seconds = 0;
    for (uint64_t i = job; i < arguments->seeds; i += arguments->jobs) {
        if (!run_seed(arguments->first + i, arguments->trace)) {
            printf("replay: ./dev sim --seed %" PRIu64 " --trace\n", sim.seed);
            return 1;
        }
        nevents += sim.nevents;
        seconds += (double)sim.now_ns / 1e9 - 1;
    }
    if (arguments->trace || job == 0)
        printf("%" PRIu64 " seeds, %" PRIu64 " events, %.0f s of virtual time, by job 1 of %" PRIu64
               ": every promise held\n",
               (arguments->seeds - job + arguments->jobs - 1) / arguments->jobs, nevents, seconds,
               arguments->jobs);
    return 0;
}

// Lines that begin with a seed; the rest says why.
static int run_list(const char *path, bool trace)
{
    FILE *file = fopen(path, "r");
    char line[512];
    unsigned n = 0;
    if (file == NULL) {
        printf("%s: %s\n", path, strerror(errno));
        return 1;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        char *end;
        uint64_t seed = strtoull(line, &end, 10);
        if (end == line)
            continue;
        n++;
        if (!run_seed(seed, trace)) {
            printf("once before:%s", end);
            fclose(file);
            return 1;
        }
    }
    fclose(file);
    printf("%u seeds that failed once: every promise held\n", n);
    return n == 0;
}

// ---- Arguments ----

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'n':
        arguments->seeds = strtoull(arg, NULL, 10);
        return 0;
    case 'f':
        arguments->first = strtoull(arg, NULL, 10);
        return 0;
    case 's':
        arguments->first = strtoull(arg, NULL, 10);
        arguments->seeds = 1;
        return 0;
    case 'l':
        arguments->list = arg;
        return 0;
    case 'j':
        arguments->jobs = strtoull(arg, NULL, 10);
        if (arguments->jobs == 0)
            argp_error(state, "--jobs: expected at least 1, got %s", arg);
        return 0;
    case 't':
        arguments->trace = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"seeds", 'n', "N", 0, "how many seeds (1,000)", 0},
    {"first", 'f', "SEED", 0, "the first of them (0)", 0},
    {"seed", 's', "SEED", 0, "this one alone", 0},
    {"list", 'l', "FILE", 0, "those at the beginning of its lines", 0},
    {"trace", 't', NULL, 0, "tell every event", 0},
    {"jobs", 'j', "N", 0, "processes that share the seeds (1)", 0},
    {0},
};

int main(int argc, char **argv)
{
    const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Runs Batchmill on virtual time under faults that a seed picks.",
    };
    struct arguments arguments = {.seeds = 1000, .jobs = 1};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    setvbuf(stdout, NULL, _IOLBF, 0);
    oracle_prepare();
    signal(SIGABRT, crashed);
#ifndef __SANITIZE_ADDRESS__ // which says more
    signal(SIGSEGV, crashed);
#endif
    if (arguments.list != NULL)
        return run_list(arguments.list, arguments.trace);
    for (uint64_t job = 1; job < arguments.jobs; job++) {
        pid_t child = fork();
        BM_ASSERT(child >= 0);
        if (child == 0)
            exit(run_seeds(&arguments, job));
    }
    int result = run_seeds(&arguments, 0), status = 0;
    while (wait(&status) > 0)
        result |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    return result;
}
