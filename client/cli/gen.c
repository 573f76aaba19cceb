// gen.c -- `batchmill gen`: a stream of batches, as a summary, JSON lines or NumPy files.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/drain.h"

enum {
    KEY_OUTPUT = 0x300,
    KEY_VALUES,
    KEY_DIRECTORY,
    KEY_QUIET,
    KEY_DIGEST,
    KEY_CHECKPOINT,
    KEY_CHECKPOINT_EVERY
};
enum output { OUTPUT_SUMMARY, OUTPUT_JSONL, OUTPUT_NPY, OUTPUT_NONE };

struct gen {
    struct cli_drain drain;
    const char *directory;
    enum output output;
    bool values;
};

static const struct argp_option gen_options[] = {
    {NULL, 0, NULL, 0, "Output:", 3},
    {"output", KEY_OUTPUT, "FORM", 0,
     "summary (default): totals; jsonl: a line per batch with items and digests; npy: files; none",
     3},
    {"values", KEY_VALUES, NULL, 0, "jsonl: the tensors' values too", 3},
    {"directory", KEY_DIRECTORY, "DIR", 0, "npy: where the files go; default \"batches\"", 3},
    {"digest", KEY_DIGEST, NULL, 0, "summary: with a digest of all that came", 3},
    {"quiet", KEY_QUIET, NULL, 0, "no progress", 3},
    {"checkpoint", KEY_CHECKPOINT, "FILE", 0,
     "go on where FILE says, and keep it up to date; made at the first use", 3},
    {"checkpoint-every", KEY_CHECKPOINT_EVERY, "N", 0,
     "batches between two writes of FILE; what was consumed since the last is done again after a "
     "crash; default 1",
     3},
    {0},
};

static void gen_check(const struct gen *gen, struct argp_state *state)
{
    if (gen->values && gen->output != OUTPUT_JSONL)
        argp_error(state, "--values goes with --output jsonl");
    if (gen->directory != NULL && gen->output != OUTPUT_NPY)
        argp_error(state, "--directory goes with --output npy");
    if (gen->drain.digest && gen->output != OUTPUT_SUMMARY)
        argp_error(state, "--digest goes with --output summary");
    if (gen->drain.every != 0 && gen->drain.checkpoint == NULL)
        argp_error(state, "--checkpoint-every goes with --checkpoint");
    if (gen->drain.checkpoint != NULL && gen->drain.order.order.position != NULL)
        argp_error(state, "--position and --checkpoint exclude each other: the file has one");
}

static void gen_output(struct gen *gen, struct argp_state *state, const char *text)
{
    static const char *const outputs[] = {"summary", "jsonl", "npy", "none"};
    unsigned i = 0;
    while (i < 4 && strcmp(text, outputs[i]) != 0)
        i++;
    if (i == 4)
        argp_error(state, "--output: expected summary, jsonl, npy or none, got \"%s\"", text);
    gen->output = (enum output)i;
}

static error_t gen_parse(int key, char *arg, struct argp_state *state)
{
    struct gen *gen = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &gen->drain.target;
        state->child_inputs[1] = &gen->drain.order;
        state->child_inputs[2] = &gen->drain.pipeline;
        return 0;
    case KEY_OUTPUT:
        gen_output(gen, state, arg);
        return 0;
    case KEY_VALUES:
        gen->values = true;
        return 0;
    case KEY_DIRECTORY:
        gen->directory = arg;
        return 0;
    case KEY_QUIET:
        gen->drain.quiet = true;
        return 0;
    case KEY_DIGEST:
        gen->drain.digest = true;
        return 0;
    case KEY_CHECKPOINT:
        gen->drain.checkpoint = arg;
        gen->drain.order.goes_on = true;
        return 0;
    case KEY_CHECKPOINT_EVERY:
        gen->drain.every = cli_number(state, "checkpoint-every", arg, 1, UINT64_MAX);
        return 0;
    case ARGP_KEY_END:
        gen_check(gen, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *gen_directory(const struct gen *gen)
{
    return gen->directory == NULL ? "batches" : gen->directory;
}

static bool gen_fail(struct batchmill_error *error, const char *text)
{
    *error = (struct batchmill_error){.code = BATCHMILL_UNKNOWN};
    snprintf(error->text, sizeof error->text, "%s", text);
    return false;
}

static bool gen_write(struct cli_drain *drain, const struct batchmill_batch *batch,
                      struct batchmill_error *error)
{
    const struct gen *gen = (const struct gen *)drain;
    const struct cli_json_options json = {.values = gen->values};
    if (gen->output == OUTPUT_JSONL && !cli_json_batch(batch, &json))
        return gen_fail(error, "cannot write to standard output");
    if (gen->output == OUTPUT_NPY)
        return cli_npy_batch(batch, gen_directory(gen), error);
    return true;
}

// What was written is on its way to the disk before the checkpoint says that it was consumed. A
// pipe or a terminal has no disk, which is no error.
static bool gen_flush(struct cli_drain *drain, struct batchmill_error *error)
{
    const struct gen *gen = (const struct gen *)drain;
    if (gen->output == OUTPUT_JSONL &&
        (fflush(stdout) != 0 ||
         (fdatasync(STDOUT_FILENO) != 0 && errno != EINVAL && errno != EROFS && errno != ENOTSUP)))
        return gen_fail(error, "cannot write to standard output");
    if (gen->output != OUTPUT_NPY)
        return true;
    int folder = open(gen_directory(gen), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return errno == ENOENT || gen_fail(error, "cannot open the directory of the files");
    bool ok = syncfs(folder) == 0; // one call, however many files the batches are
    close(folder);
    return ok || gen_fail(error, "cannot write the files to disk");
}

static void gen_failed(struct cli_drain *drain, const struct batchmill_error *error)
{
    if (((const struct gen *)drain)->output == OUTPUT_JSONL)
        cli_json_error(error);
}

static void gen_result(const struct cli_drain *drain)
{
    const struct gen *gen = (const struct gen *)drain;
    const struct cli_checkpoint *done = &drain->done;
    double seconds = (double)done->elapsed_ns / 1e9;
    if (gen->output != OUTPUT_SUMMARY)
        return;
    printf("%s: %" PRIu64 " batches, %" PRIu64 " items, %.1f MB in %.2f s: %.0f batches/s, "
           "%.0f items/s, %.1f MB/s\n",
           gen->drain.pipeline, done->batches, done->items, (double)done->bytes / 1e6, seconds,
           (double)done->batches / seconds, (double)done->items / seconds,
           (double)done->bytes / 1e6 / seconds);
    if (done->skipped > 0 || done->failed > 0)
        printf("  left out or failed: %" PRIu64 " skipped, %" PRIu64 " failed\n", done->skipped,
               done->failed);
    if (done->order[CLI_SHUFFLE] != BATCHMILL_SHUFFLE_OFF)
        printf("  shuffled with seed %" PRIu64 "\n", done->order[CLI_SEED]);
    if (gen->drain.digest)
        printf("  digest %016" PRIx64 "\n", done->digest);
    printf("  position %s\n", done->position);
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
    struct gen gen = {
        .drain = {
            .batch = gen_write, .failed = gen_failed, .flush = gen_flush, .result = gen_result}};
    argp_parse(&argp, argc, argv, 0, NULL, &gen);
    gen.drain.quiet = gen.drain.quiet || gen.output == OUTPUT_NONE;
    enum cli_exit code = cli_drain(&gen.drain);
    if (fflush(stdout) != 0)
        code = CLI_FAILED;
    return (int)code;
}
