// next.c -- `batchmill next`: one batch of a cursor that lives on the server.
#include <inttypes.h>
#include <stdio.h>

#include "client/cli/cli.h"

enum { KEY_CURSOR = 0x300, KEY_VALUES };

struct next {
    struct cli_target target;
    struct cli_order order;
    const char *pipeline, *cursor;
    bool values;
};

static const struct argp_option next_options[] = {
    {"cursor", KEY_CURSOR, "NAME", 0, "the cursor; made at its first use (required)", 3},
    {"values", KEY_VALUES, NULL, 0, "the tensors' values too", 3},
    {0},
};

static error_t next_parse(int key, char *arg, struct argp_state *state)
{
    struct next *next = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &next->target;
        state->child_inputs[1] = &next->order;
        state->child_inputs[2] = &next->pipeline;
        return 0;
    case KEY_CURSOR:
        next->cursor = arg;
        return 0;
    case KEY_VALUES:
        next->values = true;
        return 0;
    case ARGP_KEY_END:
        if (next->cursor == NULL)
            argp_error(state, "--cursor is required");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cli_next(int argc, char **argv)
{
    const struct argp argp = {
        .options = next_options,
        .parser = next_parse,
        .args_doc = "PIPELINE",
        .doc = "Take the next batch of a cursor, and print it as a line of JSON. Whoever asks "
               "next gets the next batch. At the end nothing is printed.",
        .children = cli_stream_children,
    };
    struct next next = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &next);
    enum cli_exit code = cli_target_open(&next.target);
    if (code != CLI_DONE)
        return (int)code;
    struct batchmill_batch *batch = NULL;
    struct batchmill_error error = {0};
    enum batchmill_code got = batchmill_next_batch(next.target.client, next.cursor, next.pipeline,
                                                   &next.order.order, &batch, &error);
    const struct cli_json_options json = {.values = next.values};
    if (got == BATCHMILL_OK && !cli_json_batch(batch, &json))
        code = CLI_FAILED;
    else if (got == BATCHMILL_END)
        fprintf(stderr, "%s: the cursor is at its end\n", argv[0]);
    else if (got != BATCHMILL_OK)
        code = cli_report(argv[0], &error);
    batchmill_batch_free(batch);
    cli_target_close(&next.target);
    return (int)(fflush(stdout) != 0 ? CLI_FAILED : code);
}
