// main.c -- ./dev bench: what batches cost, beside the limits of this machine and beside other
// products, in the same run.
//
// The machine's speed drifts, so only the ratios mean something. Each round measures every figure
// once, what is compared side by side; the absolute figures say where the ratios come from.
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"

struct options {
    bool json, peers, peers_only;
    unsigned rounds;
    struct bench_setup setup;
};

static const char usage[] =
    "usage: batchmill-bench [--quick] [--peers] [--all] [--rounds N] [--json] [ROW...]\n"
    "  --quick     less of everything, in under two minutes; exit code 1 if a ratio to a limit\n"
    "              misses even half of its goal\n"
    "  --peers     only the rows that are compared with other products, with them\n"
    "  --all       every row, with other products\n"
    "  --rounds N  default 5\n"
    "  --json      one object a line\n"
    "rows:";

// ---- Which figures ----

static bool row_known(const char *row)
{
    for (unsigned i = 0; i < bench_nfigures; i++) {
        if (strcmp(bench_figures[i].row, row) == 0)
            return true;
    }
    return false;
}

// A figure is wanted with its row, and with the figure that is compared with it.
static void row_want(const char *row, bool peers)
{
    for (unsigned i = 0; i < bench_nfigures; i++) {
        struct bench_figure *figure = &bench_figures[i];
        if (strcmp(figure->row, row) == 0)
            figure->wanted = peers || figure->peer == NULL;
    }
    for (unsigned i = 0; i < bench_ngoals; i++) {
        const struct bench_goal *goal = &bench_goals[i];
        if (goal->to >= 0 && strcmp(bench_figures[goal->figure].row, row) == 0 &&
            (peers || bench_figures[goal->to].peer == NULL))
            bench_figures[goal->to].wanted = true;
    }
}

static bool row_wanted(const char *row)
{
    for (unsigned i = 0; i < bench_nfigures; i++) {
        if (bench_figures[i].wanted && strcmp(bench_figures[i].row, row) == 0)
            return true;
    }
    return false;
}

static bool row_has_peer(const char *row)
{
    for (unsigned i = 0; i < bench_nfigures; i++) {
        if (bench_figures[i].peer != NULL && strcmp(bench_figures[i].row, row) == 0)
            return true;
    }
    return false;
}

_Noreturn static void usage_print(void)
{
    fputs(usage, stderr);
    for (unsigned i = 0; i < bench_nfigures; i++) {
        if (i == 0 || strcmp(bench_figures[i].row, bench_figures[i - 1].row) != 0)
            fprintf(stderr, " %s", bench_figures[i].row);
    }
    fputc('\n', stderr);
    exit(2);
}

static unsigned option_rounds(const char *text)
{
    char *end = NULL;
    unsigned long rounds = text == NULL ? 0 : strtoul(text, &end, 10);
    if (rounds < 1 || rounds > BENCH_ROUNDS_MAX || *end != '\0')
        usage_print();
    return (unsigned)rounds;
}

static void options_read(struct options *options, int argc, char **argv)
{
    bool named = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            options->json = true;
        else if (strcmp(argv[i], "--quick") == 0)
            options->setup.quick = true;
        else if (strcmp(argv[i], "--all") == 0)
            options->peers = true;
        else if (strcmp(argv[i], "--peers") == 0)
            options->peers = options->peers_only = true;
        else if (strcmp(argv[i], "--rounds") == 0)
            options->rounds = option_rounds(argv[++i]);
        else if (row_known(argv[i]))
            named = true;
        else
            usage_print();
    }
    if (options->setup.quick && options->peers)
        usage_print();
    for (int i = 1; i < argc; i++) {
        if (row_known(argv[i]))
            row_want(argv[i], options->peers);
    }
    for (unsigned i = 0; i < bench_nfigures && !named; i++) {
        if (!options->peers_only || row_has_peer(bench_figures[i].row))
            row_want(bench_figures[i].row, options->peers);
    }
}

// ---- The rounds ----

static void figure_add(struct bench_figure *figure, const struct bench_outcome *outcome)
{
    figure->values[figure->nrounds++] = outcome->measured ? outcome->values[figure->value] : NAN;
    if (!outcome->measured)
        strcpy(figure->why, outcome->why);
}

// A figure, and those after it that the same measurement gives.
static void figure_measure(unsigned i, const struct bench_setup *setup)
{
    struct bench_figure *figure = &bench_figures[i];
    struct bench_outcome outcome;
    if (figure->peer != NULL)
        bench_peer_measure(figure->peer, setup, figure->work, figure->row, figure->variant,
                           &outcome);
    else
        bench_in_child(figure->measure, setup, figure->work, &outcome);
    figure_add(figure, &outcome);
    for (i++; i < bench_nfigures && bench_figures[i].value > 0; i++)
        figure_add(&bench_figures[i], &outcome);
}

static void rounds_run(const struct options *options)
{
    for (unsigned round = 0; round < options->rounds; round++) {
        for (unsigned i = 0; i < bench_nfigures; i++) {
            const struct bench_figure *figure = &bench_figures[i];
            if (!figure->wanted || figure->value > 0)
                continue;
            if (isatty(STDERR_FILENO))
                fprintf(stderr, "\rround %u of %u: %-40s", round + 1, options->rounds,
                        figure->name);
            figure_measure(i, &options->setup);
        }
    }
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%-60s\r", "");
}

static void settings_print(FILE *to, unsigned rounds)
{
    fprintf(to, "%u interleaved rounds, %ld processors, %d workers, loopback\n", rounds,
            sysconf(_SC_NPROCESSORS_ONLN), BENCH_WORKERS);
    for (unsigned i = 0; i < bench_nfigures; i++) {
        const struct bench_figure *figure = &bench_figures[i];
        const struct bench_stream *stream = figure->work;
        if (figure->wanted && figure->measure == bench_stream_remote && stream->unit != BENCH_ITEMS)
            fprintf(to,
                    "%s: batches of %" PRIu64 " of %" PRIu64 " items of %" PRIu64
                    " random bytes, shuffled, %u actions; ours with prefetch %u\n",
                    figure->name, stream->batch_items, stream->items, stream->item_bytes,
                    stream->nactions, stream->prefetch);
    }
    for (unsigned i = 0; i < bench_npeers; i++) {
        const struct bench_peer *peer = &bench_peers[i];
        if (peer->started)
            fprintf(to, "%s: %s%s\n", peer->name, peer->ready ? "" : "not measured: ", peer->said);
    }
}

int main(int argc, char **argv)
{
    static char config_yaml[8192];
    char folder[] = "/tmp/batchmill-bench-XXXXXX";
    struct options options = {.rounds = 5};
    options_read(&options, argc, argv);
    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(folder) == NULL)
        bench_die(folder, strerror(errno));
    bench_config(folder, row_wanted("images"), config_yaml, sizeof config_yaml);
    if (row_wanted("table"))
        bench_table_make();
    bench_server_start(&options.setup.server, config_yaml, NULL);
    bench_config_clean(folder); // the server has its files open; nothing is left if we are killed
    rounds_run(&options);
    bench_server_stop(&options.setup.server);
    for (unsigned i = 0; i < bench_npeers; i++)
        bench_peer_stop(&bench_peers[i]);
    // What was run with which settings goes where the figures do not have to be parsed.
    settings_print(options.json ? stderr : stdout, options.rounds);
    bool fine = bench_report(options.json);
    return options.setup.quick && !fine;
}
