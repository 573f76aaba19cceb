// gen.c -- `batchmill gen`: a stream of batches, as a summary, JSON lines or NumPy files.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"

enum { KEY_OUTPUT = 0x300, KEY_VALUES, KEY_DIRECTORY, KEY_QUIET };
enum output { OUTPUT_SUMMARY, OUTPUT_JSONL, OUTPUT_NPY, OUTPUT_NONE };

struct gen {
    struct cli_target target;
    struct cli_order order;
    const char *pipeline, *directory;
    enum output output;
    bool values, quiet;
};

static const struct argp_option gen_options[] = {
    {NULL, 0, NULL, 0, "Output:", 3},
    {"output", KEY_OUTPUT, "FORM", 0,
     "summary (default): totals; jsonl: a line per batch with items and digests; npy: files; none",
     3},
    {"values", KEY_VALUES, NULL, 0, "jsonl: the tensors' values too", 3},
    {"directory", KEY_DIRECTORY, "DIR", 0, "npy: where the files go; default \"batches\"", 3},
    {"quiet", KEY_QUIET, NULL, 0, "no progress", 3},
    {0},
};

static error_t gen_parse(int key, char *arg, struct argp_state *state)
{
    static const char *const outputs[] = {"summary", "jsonl", "npy", "none"};
    struct gen *gen = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &gen->target;
        state->child_inputs[1] = &gen->order;
        state->child_inputs[2] = &gen->pipeline;
        return 0;
    case KEY_OUTPUT:
        for (unsigned i = 0; i < 4; i++) {
            if (strcmp(arg, outputs[i]) == 0) {
                gen->output = (enum output)i;
                return 0;
            }
        }
        argp_error(state, "--output: expected summary, jsonl, npy or none, got \"%s\"", arg);
        return EINVAL;
    case KEY_VALUES:
        gen->values = true;
        return 0;
    case KEY_DIRECTORY:
        gen->directory = arg;
        return 0;
    case KEY_QUIET:
        gen->quiet = true;
        return 0;
    case ARGP_KEY_END:
        if (gen->values && gen->output != OUTPUT_JSONL)
            argp_error(state, "--values goes with --output jsonl");
        if (gen->directory != NULL && gen->output != OUTPUT_NPY)
            argp_error(state, "--directory goes with --output npy");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool gen_write(const struct gen *gen, const struct batchmill_batch *batch,
                      struct batchmill_error *error)
{
    const struct cli_json_options json = {.values = gen->values};
    if (gen->output == OUTPUT_JSONL && !cli_json_batch(batch, &json)) {
        *error = (struct batchmill_error){.code = BATCHMILL_UNKNOWN,
                                          .text = "cannot write to standard output"};
        return false;
    }
    if (gen->output == OUTPUT_NPY)
        return cli_npy_batch(batch, gen->directory == NULL ? "batches" : gen->directory, error);
    return true;
}

static void gen_print_summary(const struct gen *gen, const struct batchmill_stream *stream,
                              const struct cli_progress *progress)
{
    double seconds = cli_progress_seconds(progress);
    struct batchmill_stream_info info;
    batchmill_stream_info(stream, &info);
    printf("%s: %" PRIu64 " batches, %" PRIu64 " items, %.1f MB in %.2f s: %.0f batches/s, "
           "%.0f items/s, %.1f MB/s\n",
           gen->pipeline, progress->batches, progress->items, (double)progress->bytes / 1e6,
           seconds, (double)progress->batches / seconds, (double)progress->items / seconds,
           (double)progress->bytes / 1e6 / seconds);
    if (info.skipped > 0 || info.failed > 0)
        printf("  left out or failed: %" PRIu64 " skipped, %" PRIu64 " failed\n", info.skipped,
               info.failed);
    if (gen->order.order.shuffle != BATCHMILL_SHUFFLE_OFF)
        printf("  shuffled with seed %" PRIu64 "\n", info.seed);
    char position[1024];
    if (batchmill_position(stream, position, sizeof position, NULL) == BATCHMILL_OK)
        printf("  position %s\n", position);
}

// One outcome of the stream; false: it is over, with *code saying how.
static bool gen_step(struct gen *gen, struct batchmill_stream *stream,
                     struct cli_progress *progress, enum batchmill_code *code,
                     struct batchmill_error *error)
{
    struct batchmill_batch *batch = NULL;
    *code = cli_next_batch(stream, &batch, error);
    if (*code == BATCHMILL_OK) {
        cli_progress_add(progress, batch);
        if (!gen_write(gen, batch, error))
            *code = error->code;
        batchmill_batch_free(batch);
        return *code == BATCHMILL_OK;
    }
    if (*code == BATCHMILL_END || !error->has_batch)
        return false;
    if (gen->output == OUTPUT_JSONL)
        cli_json_error(error);
    if (gen->order.order.on_error != BATCHMILL_REPORT)
        return false;
    cli_report(program_invocation_name, error);
    return true;
}

static enum cli_exit gen_stream(struct gen *gen, struct batchmill_error *error)
{
    struct batchmill_stream *stream = NULL;
    if (batchmill_gen_batch(gen->target.client, gen->pipeline, &gen->order.order, &stream, error) !=
        BATCHMILL_OK)
        return cli_report(program_invocation_name, error);
    struct batchmill_stream_info info;
    batchmill_stream_info(stream, &info);
    uint64_t total =
        info.batches == BATCHMILL_UNSET ? BATCHMILL_UNSET : info.batches - info.first_seq;
    struct cli_progress progress;
    cli_progress_start(&progress, total, gen->quiet || gen->output == OUTPUT_NONE);
    enum batchmill_code code;
    while (gen_step(gen, stream, &progress, &code, error))
        ;
    cli_progress_end(&progress);
    batchmill_stream_info(stream, &info);
    bool failed =
        code != BATCHMILL_END || (info.failed > 0 && gen->order.order.on_error == BATCHMILL_REPORT);
    if (gen->output == OUTPUT_SUMMARY)
        gen_print_summary(gen, stream, &progress);
    batchmill_stream_close(stream);
    if (code != BATCHMILL_END)
        return cli_report(program_invocation_name, error);
    return failed ? CLI_FAILED : CLI_DONE;
}

int cli_gen(int argc, char **argv)
{
    const struct argp argp = {
        .options = gen_options,
        .parser = gen_parse,
        .args_doc = "PIPELINE",
        .doc = "Stream the batches of a pipeline, strictly in order.",
        .children = cli_stream_children,
    };
    struct gen gen = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &gen);
    enum cli_exit code = cli_target_open(&gen.target);
    if (code != CLI_DONE)
        return (int)code;
    struct batchmill_error error = {0};
    code = gen_stream(&gen, &error);
    cli_target_close(&gen.target);
    if (fflush(stdout) != 0)
        code = CLI_FAILED;
    return (int)code;
}
