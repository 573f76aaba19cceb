// export.c -- `batchmill export`: a stream as files for other programs, resumed where it stood.
//
// The folder holds the files and `export.checkpoint`. What is behind the checkpoint when a run
// ends in whatever way is cut off by the next one, which goes on there: the files are byte for byte
// those of one unbroken run.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/export.h"

enum { KEY_TO = 0x400, KEY_FORMAT, KEY_SHARD_ITEMS, KEY_CHECKPOINT_EVERY_MS, KEY_QUIET };

static const struct argp_option export_options[] = {
    {NULL, 0, NULL, 0, "Output:", 3},
    {"to", KEY_TO, "DIR", 0, "where the files go; made if it is not there", 3},
    {"format", KEY_FORMAT, "FORM", 0,
     "npy (default): one NumPy file per component, of all items; webdataset: tar shards with "
     "a file per item and component; arrow: one Arrow IPC file (Feather version 2), items.arrow",
     3},
    {"shard-items", KEY_SHARD_ITEMS, "N", 0, "webdataset: items in a shard; default 10000", 3},
    {"checkpoint-every-ms", KEY_CHECKPOINT_EVERY_MS, "MS", 0,
     "how often what is there is written to the disk for good; default 1000; 0: after every batch",
     3},
    {"quiet", KEY_QUIET, NULL, 0, "no progress", 3},
    {0},
};

struct form {
    const char *name;
    struct cli_exporter *(*begin)(struct cli_export *export_,
                                  const struct batchmill_stream_info *info,
                                  struct batchmill_error *error);
};

static const struct form forms[] = {
    {"npy", cli_export_npy}, {"webdataset", cli_export_tar}, {"arrow", cli_export_arrow}};

struct export
{
    struct cli_export common;
    const struct form *form;
    char checkpoint[4096];
};

static void export_check(struct export *export_, struct argp_state *state)
{
    struct cli_export *common = &export_->common;
    if (common->directory == NULL)
        argp_error(state, "--to: expected a directory");
    if (common->shard_items != 0 && export_->form->begin != cli_export_tar)
        argp_error(state, "--shard-items goes with --format webdataset");
    if (common->drain.order.order.position != NULL)
        argp_error(state, "--position: the directory says where an export goes on");
    int length = snprintf(export_->checkpoint, sizeof export_->checkpoint, "%s/export.checkpoint",
                          common->directory);
    if ((size_t)length >= sizeof export_->checkpoint)
        argp_error(state, "--to: expected a shorter path");
    common->drain.checkpoint = export_->checkpoint;
}

static const struct form *form_find(const struct argp_state *state, const char *name)
{
    for (unsigned i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (strcmp(forms[i].name, name) == 0)
            return &forms[i];
    }
    argp_error(state, "--format: expected npy, webdataset or arrow, got \"%s\"", name);
    return &forms[0]; // argp_error() ends the program
}

static error_t export_parse(int key, char *arg, struct argp_state *state)
{
    struct export *export_ = state->input;
    struct cli_drain *drain = &export_->common.drain;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &drain->target;
        state->child_inputs[1] = &drain->order;
        state->child_inputs[2] = &drain->pipeline;
        drain->order.goes_on = true;
        return 0;
    case KEY_TO:
        export_->common.directory = arg;
        return 0;
    case KEY_FORMAT:
        export_->form = form_find(state, arg);
        return 0;
    case KEY_SHARD_ITEMS:
        export_->common.shard_items = cli_number(state, "shard-items", arg, 1, UINT32_MAX);
        return 0;
    case KEY_CHECKPOINT_EVERY_MS:
        drain->every_ns = 1000000 * cli_number(state, "checkpoint-every-ms", arg, 0, UINT32_MAX);
        return 0;
    case KEY_QUIET:
        drain->quiet = true;
        return 0;
    case ARGP_KEY_END:
        export_check(export_, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

bool cli_export_fail(const struct cli_export *export_, const char *name,
                     struct batchmill_error *error)
{
    *error = (struct batchmill_error){.code = BATCHMILL_UNKNOWN};
    snprintf(error->text, sizeof error->text, "cannot write %.200s/%.200s: %s", export_->directory,
             name, strerror(errno));
    return false;
}

int cli_export_flags(const struct cli_export *export_)
{
    int made = export_->begun ? O_CREAT | O_TRUNC : O_CREAT | O_EXCL;
    return O_RDWR | O_CLOEXEC | (export_->drain.found ? 0 : made);
}

bool cli_write_all(int file, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(file, (const unsigned char *)data + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

// ---- Before the first checkpoint ----
//
// Files are there a moment before the checkpoint that says whose they are. Until then another file
// does, so that a run that is killed in between can be begun again.

#define MARKER ".begun"

static bool marker_set(struct cli_export *common, struct batchmill_error *error)
{
    int marker = openat(common->folder, MARKER, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    common->begun = marker < 0 && errno == EEXIST;
    if (marker < 0 && !common->begun)
        return cli_export_fail(common, MARKER, error);
    if (marker >= 0)
        close(marker);
    common->marked = true;
    return true;
}

static void marker_clear(struct cli_export *common)
{
    if (common->marked)
        unlinkat(common->folder, MARKER, 0);
    common->marked = false;
}

// ---- The stream ----

static bool export_begin(struct cli_drain *drain, const struct batchmill_stream_info *info,
                         struct batchmill_error *error)
{
    struct export *export_ = (struct export *)drain;
    struct cli_export *common = &export_->common;
    common->marked = drain->found; // by a run that got no further
    if (!drain->found && !marker_set(common, error))
        return false;
    common->exporter = export_->form->begin(common, info, error);
    if (common->exporter == NULL && !common->begun)
        marker_clear(common);
    return common->exporter != NULL;
}

static bool export_batch(struct cli_drain *drain, const struct batchmill_batch *batch,
                         struct batchmill_error *error)
{
    struct cli_export *common = (struct cli_export *)drain;
    marker_clear(common); // there is a checkpoint
    return common->exporter->batch(common, batch, error);
}

static bool export_flush(struct cli_drain *drain, struct batchmill_error *error)
{
    struct cli_export *common = (struct cli_export *)drain;
    return common->exporter->flush(common, error);
}

static void export_result(const struct cli_drain *drain)
{
    const struct cli_checkpoint *done = &drain->done;
    printf("%s: %llu items in %llu batches written to %s%s\n", drain->pipeline,
           (unsigned long long)done->items, (unsigned long long)done->batches,
           ((const struct cli_export *)drain)->directory,
           done->finished ? "" : ", not all: the same command goes on from there");
    if (done->skipped > 0 || done->failed > 0)
        printf("  left out or failed: %llu skipped, %llu failed batches\n",
               (unsigned long long)done->skipped, (unsigned long long)done->failed);
}

int cli_export(int argc, char **argv)
{
    const struct argp argp = {
        .options = export_options,
        .parser = export_parse,
        .args_doc = "PIPELINE",
        .doc = "Write the items of a pipeline's stream to files, in order. The same command goes "
               "on where it was stopped, and does nothing once all is there.",
        .children = cli_stream_children,
    };
    struct export export_ = {.form = &forms[0],
                             .common.drain = {.every = 1,
                                              .every_ns = 1000000000,
                                              .begin = export_begin,
                                              .batch = export_batch,
                                              .flush = export_flush,
                                              .result = export_result}};
    struct cli_export *common = &export_.common;
    argp_parse(&argp, argc, argv, 0, NULL, &export_);
    struct batchmill_error error = {0};
    if (mkdir(common->directory, 0777) != 0 && errno != EEXIST) {
        cli_export_fail(common, "", &error);
        return (int)cli_report(program_invocation_name, &error);
    }
    common->folder = open(common->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (common->folder < 0) {
        cli_export_fail(common, "", &error);
        return (int)cli_report(program_invocation_name, &error);
    }
    enum cli_exit code = cli_drain(&common->drain);
    if (common->exporter != NULL) {
        marker_clear(common);
        common->exporter->free(common->exporter);
    }
    close(common->folder);
    if (fflush(stdout) != 0)
        code = CLI_FAILED;
    return (int)code;
}
