// cli.h -- what the commands of `batchmill` share. Layer: client/cli (may include everything).
//
// Each command is `int cli_NAME(int argc, char **argv)`: argv[0] is "batchmill NAME". It returns an
// exit code. Threads: the main thread only.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include <argp.h>

#include <batchmill/client.h>

#include "base/error.h"

enum cli_exit { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_UNREACHABLE = 3 };

int cli_serve(int argc, char **argv);
int cli_list(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_describe(int argc, char **argv);
int cli_actions(int argc, char **argv);
int cli_sources(int argc, char **argv);
int cli_gen(int argc, char **argv);
int cli_next(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_trace(int argc, char **argv);
int cli_plugin(int argc, char **argv);
int cli_export(int argc, char **argv);
int cli_register(int argc, char **argv);
int cli_unregister(int argc, char **argv);

// ---- target.c: which server ----

struct cli_target {
    const char *server, *config; // as given: one of them, or neither for the default server
    const char *token_file;
    const char *tls_ca, *tls_server_name, *tls_certificate, *tls_key;
    uint32_t timeout_ms;
    bool no_shared_memory;
    struct batchmill_client *client;
    struct bm_embedded *embedded; // with --config
};
extern const struct argp cli_target_argp; // a child parser; its input is a struct cli_target
// Connects, or starts the server of --config in this process. Prints what goes wrong and returns
// the exit code; CLI_DONE is success.
enum cli_exit cli_target_open(struct cli_target *target);
void cli_target_close(struct cli_target *target);

// ---- order.c: order parameters ----

struct cli_order {
    struct batchmill_order order;
    uint32_t given; // which options, as bits
    bool goes_on;   // from a file that may have the order: no option is required
};
extern const struct argp cli_order_argp; // a child parser; its input is a struct cli_order

// What decides over the batches, as numbers that a file can keep. UNSET is BATCHMILL_UNSET.
enum cli_order_number {
    CLI_BATCH_SIZE,
    CLI_SHUFFLE,
    CLI_SEED,
    CLI_N_EPOCHS,
    CLI_N_ITERS,
    CLI_DROP_LAST,
    CLI_EPOCH_BORDER,
    CLI_SHARD_INDEX,
    CLI_SHARD_COUNT,
    CLI_ON_ERROR,
    CLI_ORDER_NUMBERS
};
const char *cli_order_name(unsigned i);
void cli_order_pack(const struct batchmill_order *order, uint64_t ret_numbers[CLI_ORDER_NUMBERS]);
bool cli_order_sensible(const uint64_t numbers[CLI_ORDER_NUMBERS]); // its choices are choices
// False, and the error says which: an option that was given contradicts what was kept.
bool cli_order_agrees(const struct cli_order *input, const uint64_t kept[CLI_ORDER_NUMBERS],
                      struct batchmill_error *error);

extern const struct argp cli_pipeline_argp; // the argument PIPELINE; its input is a const char *
// Of the commands that stream: target, order, pipeline, in this order.
extern const struct argp_child cli_stream_children[];

// ---- A number on the command line, checked: usage error naming the option otherwise ----

uint64_t cli_number(struct argp_state *state, const char *option, const char *text, uint64_t min,
                    uint64_t max);

// ---- report.c ----

// "batchmill gen: text" on stderr; the exit code that fits.
enum cli_exit cli_report(const char *command, const struct batchmill_error *error);

// ---- interrupt.c ----

void cli_interrupt_setup(
    void); // Ctrl-C and SIGTERM end a command in an orderly way; twice: at once
bool cli_interrupted(void);
// batchmill_next() that Ctrl-C can end, with BATCHMILL_CANCELLED.
enum batchmill_code cli_next_batch(struct batchmill_stream *stream, struct batchmill_batch **batch,
                                   struct batchmill_error *error);

// ---- progress.c: a bar on a terminal, plain lines elsewhere; on stderr ----

struct cli_progress {
    uint64_t total; // batches; BATCHMILL_UNSET when unknown
    uint64_t batches, items, bytes;
    uint64_t started_ns, shown_ns;
    bool terminal, quiet, drawn;
};
void cli_progress_start(struct cli_progress *progress, uint64_t total, bool quiet);
void cli_progress_add(struct cli_progress *progress, const struct batchmill_batch *batch);
void cli_progress_set(struct cli_progress *progress, uint64_t batches, uint64_t items,
                      uint64_t bytes);
void cli_progress_end(struct cli_progress *progress); // leaves a clean line behind
double cli_progress_seconds(const struct cli_progress *progress);

// ---- json.c ----

struct cli_json_options {
    bool values;
};
// One line for a batch, or for an error in its place; false: cannot write.
bool cli_json_batch(const struct batchmill_batch *batch, const struct cli_json_options *options);
bool cli_json_error(const struct batchmill_error *error);

// ---- npy.c ----

// DIRECTORY/000000012.tensor.pixels.npy for every tensor of the batch (and .offsets.pixels.npy for
// a ragged one), and 000000012.items.npy.
bool cli_npy_batch(const struct batchmill_batch *batch, const char *directory,
                   struct batchmill_error *error);

// The header of a file for an array of `shape`, with room up to `size` bytes (a multiple of 64; 0:
// no more than needed). *out has more than that when the shape is too long for it.
struct bm_buffer;
void cli_npy_header(struct bm_buffer *out, const char *code, const uint64_t *shape, unsigned ndim,
                    size_t size);
const char *cli_npy_code(enum batchmill_dtype dtype); // "<f4"; text and bfloat16 as their bytes

// ---- checkpoint.c: where gen stands, in a file ----

struct cli_checkpoint {
    char pipeline[129];
    char position[1025]; // of the next batch that was not consumed
    uint64_t order[CLI_ORDER_NUMBERS];
    uint64_t batches, items, bytes, skipped, failed; // consumed before the position
    uint64_t digest;                                 // of all that
    uint64_t elapsed_ns;
    // Of an export in parts: which one is being written, how far, and the items of a whole one.
    uint64_t part, part_bytes, part_items;
    bool finished; // there is nothing behind the position
};
// *ret_found is false, and that is no error, when there is no such file. A file that was cut or
// altered is an error: going on from the start instead would repeat what was consumed.
bool cli_checkpoint_load(const char *path, struct cli_checkpoint *ret_checkpoint, bool *ret_found,
                         struct batchmill_error *error);
// Replaces the file at once and for good: after a crash there is the old one or this one.
bool cli_checkpoint_save(const char *path, const struct cli_checkpoint *checkpoint,
                         struct batchmill_error *error);
// The running digest, after one more batch, or one more failure in its place.
uint64_t cli_digest_batch(uint64_t digest, const struct batchmill_batch *batch);
uint64_t cli_digest_error(uint64_t digest, const struct batchmill_error *error);

// ---- spans.c: the timings of a traced stream ----

struct cli_span {
    uint64_t seq;
    unsigned step;
    struct batchmill_span span;
};
struct cli_spans {
    size_t n, capacity;
    struct cli_span *spans;
    unsigned nsteps;
    const char *const *steps; // borrowed from the stream
    const char *const *locks; // [nsteps], NULL where none; borrowed from the description
};
bool cli_spans_add(struct cli_spans *spans, const struct batchmill_batch *batch);
void cli_spans_free(struct cli_spans *spans);
bool cli_spans_write_chrome(const struct cli_spans *spans, const char *path); // "-": stdout
void cli_spans_print_gantt(const struct cli_spans *spans, unsigned columns, unsigned rows);
