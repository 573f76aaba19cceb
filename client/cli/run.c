// run.c -- `batchmill run`: drains a pipeline on the server; no batch travels.
#include <inttypes.h>
#include <stdio.h>

#include "client/cli/cli.h"

enum { KEY_QUIET = 0x300 };

struct run {
    struct cli_target target;
    struct cli_order order;
    const char *pipeline;
    bool quiet;
    struct cli_progress progress;
};

static const struct argp_option run_options[] = {
    {"quiet", KEY_QUIET, NULL, 0, "no progress", 3},
    {0},
};

static error_t run_parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    struct run *run = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &run->target;
        state->child_inputs[1] = &run->order;
        state->child_inputs[2] = &run->pipeline;
        return 0;
    case KEY_QUIET:
        run->quiet = true;
        return 0;
    case ARGP_KEY_END:
        if (run->order.order.position != NULL)
            argp_error(state, "--position goes with gen: a run starts at the start");
        if (run->order.order.checked)
            argp_error(state, "--checked goes with gen: no batch of a run travels");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool run_progress(void *context, const struct batchmill_run_result *so_far)
{
    struct run *run = context;
    run->progress.total = so_far->expected_batches;
    cli_progress_set(&run->progress, so_far->batches, so_far->items, so_far->bytes);
    return !cli_interrupted();
}

static void run_print(const struct run *run, const struct batchmill_run_result *result)
{
    printf("%s: %" PRIu64 " batches, %" PRIu64 " items, %" PRIu64 " skipped, %" PRIu64
           " failed in %.2f s\n",
           run->pipeline, result->batches, result->items, result->skipped, result->failed,
           result->seconds);
    if (run->order.order.shuffle != BATCHMILL_SHUFFLE_OFF)
        printf("  shuffled with seed %" PRIu64 "\n", result->seed);
    for (size_t i = 0; i < result->nvariables; i++) {
        const struct batchmill_variable *variable = &result->variables[i];
        if (variable->is_integer)
            printf("  %s = %" PRId64 "\n", variable->name, variable->integer);
        else
            printf("  %s = %.17g\n", variable->name, variable->number);
    }
}

int cli_run(int argc, char **argv)
{
    const struct argp argp = {
        .options = run_options,
        .parser = run_parse,
        .args_doc = "PIPELINE",
        .doc = "Drain a pipeline on the server; print counts, seconds and variables.",
        .children = cli_stream_children,
    };
    struct run run = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &run);
    enum cli_exit code = cli_target_open(&run.target);
    if (code != CLI_DONE)
        return (int)code;
    struct batchmill_run_result *result = NULL;
    struct batchmill_error error = {0};
    cli_progress_start(&run.progress, BATCHMILL_UNSET, run.quiet);
    enum batchmill_code got = batchmill_run(run.target.client, run.pipeline, &run.order.order,
                                            run_progress, &run, &result, &error);
    if (result != NULL) {
        run.progress.total = result->expected_batches;
        run_progress(&run, result);
        cli_progress_end(&run.progress);
        run_print(&run, result);
        if (result->failed > 0 && run.order.order.on_error == BATCHMILL_REPORT)
            code = CLI_FAILED;
    }
    if (got != BATCHMILL_OK)
        code = cli_report(argv[0], &error);
    batchmill_run_free(result);
    cli_target_close(&run.target);
    return (int)(fflush(stdout) != 0 ? CLI_FAILED : code);
}
