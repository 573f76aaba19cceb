// gen.c -- `batchmill gen`: a stream of batches, as a summary, JSON lines or NumPy files.
//
// With --checkpoint, what was consumed and what came of it (counts, digest) is kept in a file after
// every batch: `kept` is what the file said at the start, `done` is that and what came since.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"

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
    struct cli_target target;
    struct cli_order order;
    const char *pipeline, *directory, *checkpoint;
    enum output output;
    bool values, quiet, digest;
    uint64_t every;    // batches between two checkpoints
    uint64_t not_kept; // batches consumed since the last one
    bool found;        // the checkpoint was there

    struct cli_checkpoint kept, done;
    struct cli_progress progress; // of this process
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
    if (gen->digest && gen->output != OUTPUT_SUMMARY)
        argp_error(state, "--digest goes with --output summary");
    if (gen->every != 0 && gen->checkpoint == NULL)
        argp_error(state, "--checkpoint-every goes with --checkpoint");
    if (gen->checkpoint != NULL && gen->order.order.position != NULL)
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
        state->child_inputs[0] = &gen->target;
        state->child_inputs[1] = &gen->order;
        state->child_inputs[2] = &gen->pipeline;
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
        gen->quiet = true;
        return 0;
    case KEY_DIGEST:
        gen->digest = true;
        return 0;
    case KEY_CHECKPOINT:
        gen->checkpoint = arg;
        gen->order.goes_on = true;
        return 0;
    case KEY_CHECKPOINT_EVERY:
        gen->every = cli_number(state, "checkpoint-every", arg, 1, UINT64_MAX);
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

static bool gen_write(const struct gen *gen, const struct batchmill_batch *batch,
                      struct batchmill_error *error)
{
    const struct cli_json_options json = {.values = gen->values};
    if (gen->output == OUTPUT_JSONL && !cli_json_batch(batch, &json))
        return gen_fail(error, "cannot write to standard output");
    if (gen->output == OUTPUT_NPY)
        return cli_npy_batch(batch, gen_directory(gen), error);
    return true;
}

// ---- The checkpoint ----

// What was written is on its way to the disk before the checkpoint says that it was consumed. A
// pipe or a terminal has no disk, which is no error.
static bool gen_flush(const struct gen *gen, struct batchmill_error *error)
{
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

static bool gen_keep(struct gen *gen, struct batchmill_error *error)
{
    if (gen->checkpoint == NULL)
        return true;
    gen->not_kept = 0;
    return gen_flush(gen, error) && cli_checkpoint_save(gen->checkpoint, &gen->done, error);
}

// Brings `done` up to what the stream has handed out so far.
static void gen_count(struct gen *gen, const struct batchmill_stream *stream)
{
    const struct cli_checkpoint *kept = &gen->kept;
    struct batchmill_stream_info info;
    batchmill_stream_info(stream, &info);
    gen->done.batches = kept->batches + gen->progress.batches;
    gen->done.items = kept->items + gen->progress.items;
    gen->done.bytes = kept->bytes + gen->progress.bytes;
    gen->done.skipped = kept->skipped + info.skipped;
    gen->done.failed = kept->failed + info.failed;
    gen->done.elapsed_ns =
        kept->elapsed_ns + (uint64_t)(cli_progress_seconds(&gen->progress) * 1e9);
    batchmill_position(stream, gen->done.position, sizeof gen->done.position, NULL);
}

// Without a batch: a failure in its place, which *error tells, was consumed.
static bool gen_consumed(struct gen *gen, const struct batchmill_stream *stream,
                         const struct batchmill_batch *batch, struct batchmill_error *error)
{
    if (batch != NULL)
        cli_progress_add(&gen->progress, batch);
    if (gen->digest || gen->checkpoint != NULL)
        gen->done.digest = batch == NULL ? cli_digest_error(gen->done.digest, error)
                                         : cli_digest_batch(gen->done.digest, batch);
    if (gen->checkpoint == NULL)
        return true;
    gen_count(gen, stream);
    return ++gen->not_kept < gen->every || gen_keep(gen, error);
}

// Reads the checkpoint, if there is one, and sees that nothing on the command line contradicts it.
static bool gen_load(struct gen *gen, struct batchmill_error *error)
{
    if (!cli_checkpoint_load(gen->checkpoint, &gen->kept, &gen->found, error))
        return false;
    if (!gen->found)
        return true;
    gen->done = gen->kept;
    if (strcmp(gen->pipeline, gen->kept.pipeline) == 0)
        return cli_order_agrees(&gen->order, gen->kept.order, error);
    *error = (struct batchmill_error){.code = BATCHMILL_INVALID_ARGUMENT};
    snprintf(error->text, sizeof error->text,
             "PIPELINE: expected %s as the checkpoint has it, got %.128s", gen->kept.pipeline,
             gen->pipeline);
    return false;
}

// The order of a stream that goes on: the position has all of it that decides over the batches.
static struct batchmill_order gen_order(const struct gen *gen)
{
    if (!gen->found)
        return gen->order.order;
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.position = gen->kept.position;
    order.prefetch = gen->order.order.prefetch;
    order.checked = gen->order.order.checked;
    order.on_error = (enum batchmill_on_error)gen->kept.order[CLI_ON_ERROR];
    return order;
}

static bool gen_reports(const struct gen *gen)
{
    return gen->done.order[CLI_ON_ERROR] == BATCHMILL_REPORT;
}

// ---- The stream ----

static void gen_print_summary(const struct gen *gen)
{
    const struct cli_checkpoint *done = &gen->done;
    double seconds = (double)done->elapsed_ns / 1e9;
    printf("%s: %" PRIu64 " batches, %" PRIu64 " items, %.1f MB in %.2f s: %.0f batches/s, "
           "%.0f items/s, %.1f MB/s\n",
           gen->pipeline, done->batches, done->items, (double)done->bytes / 1e6, seconds,
           (double)done->batches / seconds, (double)done->items / seconds,
           (double)done->bytes / 1e6 / seconds);
    if (done->skipped > 0 || done->failed > 0)
        printf("  left out or failed: %" PRIu64 " skipped, %" PRIu64 " failed\n", done->skipped,
               done->failed);
    if (done->order[CLI_SHUFFLE] != BATCHMILL_SHUFFLE_OFF)
        printf("  shuffled with seed %" PRIu64 "\n", done->order[CLI_SEED]);
    if (gen->digest)
        printf("  digest %016" PRIx64 "\n", done->digest);
    printf("  position %s\n", done->position);
}

// One outcome of the stream; false: it is over, with *code saying how.
static bool gen_step(struct gen *gen, struct batchmill_stream *stream, enum batchmill_code *code,
                     struct batchmill_error *error)
{
    struct batchmill_batch *batch = NULL;
    *code = cli_next_batch(stream, &batch, error);
    if (*code == BATCHMILL_OK) {
        if (!gen_write(gen, batch, error) || !gen_consumed(gen, stream, batch, error))
            *code = error->code;
        batchmill_batch_free(batch);
        return *code == BATCHMILL_OK;
    }
    if (*code == BATCHMILL_END || !error->has_batch)
        return false;
    if (gen->output == OUTPUT_JSONL)
        cli_json_error(error);
    // Without memory for a batch, a stream ends there whatever --on-error says.
    if (!gen_reports(gen) || *code == BATCHMILL_RESOURCE_EXHAUSTED)
        return false;
    cli_report(program_invocation_name, error);
    if (gen_consumed(gen, stream, NULL, error))
        return true;
    *code = error->code;
    return false;
}

// The first time, what decides over the batches is kept before the first of them comes: a seed that
// was drawn must not be drawn again.
static bool gen_begin(struct gen *gen, const struct batchmill_stream *stream,
                      struct batchmill_error *error)
{
    struct batchmill_stream_info info;
    batchmill_stream_info(stream, &info);
    uint64_t total =
        info.batches == BATCHMILL_UNSET ? BATCHMILL_UNSET : info.batches - info.first_seq;
    cli_progress_start(&gen->progress, total, gen->quiet || gen->output == OUTPUT_NONE);
    if (gen->found)
        return true;
    snprintf(gen->done.pipeline, sizeof gen->done.pipeline, "%s", gen->pipeline);
    cli_order_pack(&gen->order.order, gen->done.order);
    gen->done.order[CLI_SEED] = info.seed;
    gen_count(gen, stream);
    return gen_keep(gen, error);
}

// A stream that broke off is kept at what was consumed; the first error is the one that counts.
static enum batchmill_code gen_end(struct gen *gen, const struct batchmill_stream *stream,
                                   enum batchmill_code code, struct batchmill_error *error)
{
    struct batchmill_error late;
    if (code == BATCHMILL_END) {
        gen->done.finished = true;
        gen_count(gen, stream);
        return gen_keep(gen, error) ? BATCHMILL_END : error->code;
    }
    if (gen->not_kept > 0 && !gen_keep(gen, &late))
        cli_report(program_invocation_name, &late);
    gen_count(gen, stream);
    return code;
}

static enum cli_exit gen_result(const struct gen *gen)
{
    if (gen->output == OUTPUT_SUMMARY)
        gen_print_summary(gen);
    return gen->done.failed > 0 && gen_reports(gen) ? CLI_FAILED : CLI_DONE;
}

static enum cli_exit gen_stream(struct gen *gen, struct batchmill_error *error)
{
    struct batchmill_stream *stream = NULL;
    struct batchmill_order order = gen_order(gen);
    if (batchmill_gen_batch(gen->target.client, gen->pipeline, &order, &stream, error) !=
        BATCHMILL_OK)
        return cli_report(program_invocation_name, error);
    enum batchmill_code code = BATCHMILL_UNKNOWN;
    if (gen_begin(gen, stream, error)) {
        while (gen_step(gen, stream, &code, error))
            ;
        code = gen_end(gen, stream, code, error);
        cli_progress_end(&gen->progress);
    }
    batchmill_stream_close(stream);
    enum cli_exit result = gen_result(gen);
    return code == BATCHMILL_END ? result : cli_report(program_invocation_name, error);
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
    struct batchmill_error error = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &gen);
    if (gen.checkpoint != NULL && !gen_load(&gen, &error))
        return (int)cli_report(program_invocation_name, &error);
    enum cli_exit code = CLI_DONE;
    if (gen.done.finished) {
        code = gen_result(&gen);
    } else {
        code = cli_target_open(&gen.target);
        if (code != CLI_DONE)
            return (int)code;
        code = gen_stream(&gen, &error);
        cli_target_close(&gen.target);
    }
    if (fflush(stdout) != 0)
        code = CLI_FAILED;
    return (int)code;
}
