// trace.c -- `batchmill trace`: which batch was in which action when, for Perfetto or as text.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"

enum { KEY_OUT = 0x300, KEY_GANTT, KEY_COLUMNS, KEY_ROWS };

struct trace {
    struct cli_target target;
    struct cli_order order;
    const char *pipeline, *out;
    bool gantt;
    unsigned columns, rows;
};

static const struct argp_option trace_options[] = {
    {"out", KEY_OUT, "FILE", 0,
     "Chrome trace JSON, which ui.perfetto.dev opens; default trace.json, \"-\" is standard output",
     3},
    {"gantt", KEY_GANTT, NULL, 0, "draw the first batches as text instead", 3},
    {"columns", KEY_COLUMNS, "N", 0, "width of the drawing; default 72", 3},
    {"rows", KEY_ROWS, "N", 0, "batches in the drawing; default 12", 3},
    {0},
};

static error_t trace_parse(int key, char *arg, struct argp_state *state)
{
    struct trace *trace = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &trace->target;
        state->child_inputs[1] = &trace->order;
        state->child_inputs[2] = &trace->pipeline;
        return 0;
    case KEY_OUT:
        trace->out = arg;
        return 0;
    case KEY_GANTT:
        trace->gantt = true;
        return 0;
    case KEY_COLUMNS:
        trace->columns = (unsigned)cli_number(state, "columns", arg, 10, 500);
        return 0;
    case KEY_ROWS:
        trace->rows = (unsigned)cli_number(state, "rows", arg, 1, 1000);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// A step of one locked action carries the action's name; locked actions and their steps come in
// the same order.
static void trace_find_locks(const struct batchmill_description *pipeline, const char **locks)
{
    size_t step = 0;
    for (size_t i = 0; i < pipeline->nactions; i++) {
        if (pipeline->actions[i].lock == NULL)
            continue;
        while (step < pipeline->nsteps &&
               strcmp(pipeline->steps[step], pipeline->actions[i].name) != 0)
            step++;
        if (step < pipeline->nsteps)
            locks[step++] = pipeline->actions[i].lock;
    }
}

static enum batchmill_code trace_record(const struct trace *trace, struct cli_spans *spans,
                                        struct batchmill_stream *stream,
                                        struct batchmill_error *error)
{
    enum batchmill_code code;
    do {
        struct batchmill_batch *batch = NULL;
        code = cli_next_batch(stream, &batch, error);
        if (code == BATCHMILL_OK && !cli_spans_add(spans, batch)) {
            *error = (struct batchmill_error){.code = BATCHMILL_RESOURCE_EXHAUSTED,
                                              .text = "out of memory for the trace"};
            code = error->code;
        }
        batchmill_batch_free(batch);
        if (code != BATCHMILL_OK && code != BATCHMILL_END && error->has_batch &&
            trace->order.order.on_error == BATCHMILL_REPORT)
            code = BATCHMILL_OK;
    } while (code == BATCHMILL_OK);
    return code;
}

static enum cli_exit trace_write(const struct trace *trace, const struct cli_spans *spans)
{
    const char *path = trace->out == NULL ? "trace.json" : trace->out;
    if (trace->gantt)
        cli_spans_print_gantt(spans, trace->columns, trace->rows);
    if (trace->gantt && trace->out == NULL)
        return CLI_DONE;
    if (!cli_spans_write_chrome(spans, path)) {
        fprintf(stderr, "%s: cannot write %s\n", program_invocation_name, path);
        return CLI_FAILED;
    }
    if (strcmp(path, "-") != 0)
        fprintf(stderr, "%s: wrote %zu spans to %s\n", program_invocation_name, spans->n, path);
    return CLI_DONE;
}

static enum cli_exit trace_stream(struct trace *trace, struct batchmill_error *error)
{
    struct batchmill_description *pipeline = NULL;
    struct batchmill_stream *stream = NULL;
    struct batchmill_client *client = trace->target.client;
    trace->order.order.traced = true;
    enum batchmill_code code = batchmill_describe(client, trace->pipeline, &pipeline, error);
    if (code == BATCHMILL_OK)
        code = batchmill_gen_batch(client, trace->pipeline, &trace->order.order, &stream, error);
    enum cli_exit exit_code = CLI_FAILED;
    const char **locks = NULL;
    if (code == BATCHMILL_OK) {
        locks = calloc(pipeline->nsteps, sizeof *locks);
        struct cli_spans spans = {
            .nsteps = (unsigned)pipeline->nsteps, .steps = pipeline->steps, .locks = locks};
        if (locks != NULL) {
            trace_find_locks(pipeline, locks);
            code = trace_record(trace, &spans, stream, error);
            exit_code = trace_write(trace, &spans);
        }
        cli_spans_free(&spans);
    }
    free(locks);
    batchmill_stream_close(stream);
    batchmill_description_free(pipeline);
    if (code != BATCHMILL_OK && code != BATCHMILL_END)
        return cli_report(program_invocation_name, error);
    return exit_code;
}

int cli_trace(int argc, char **argv)
{
    const struct argp argp = {
        .options = trace_options,
        .parser = trace_parse,
        .args_doc = "PIPELINE",
        .doc = "Stream a pipeline and record which batch was in which action when.",
        .children = cli_stream_children,
    };
    struct trace trace = {.columns = 72, .rows = 12};
    argp_parse(&argp, argc, argv, 0, NULL, &trace);
    enum cli_exit code = cli_target_open(&trace.target);
    if (code != CLI_DONE)
        return (int)code;
    struct batchmill_error error = {0};
    code = trace_stream(&trace, &error);
    cli_target_close(&trace.target);
    return (int)(fflush(stdout) != 0 ? CLI_FAILED : code);
}
