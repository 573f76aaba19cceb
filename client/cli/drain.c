// drain.c -- a stream to its end, and where it stands in a file.
//
// With a checkpoint, what was consumed and what came of it (counts, digest) is kept in a file after
// every so many batches: `kept` is what the file said at the start, `done` is that and what came
// since.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/drain.h"

// ---- The checkpoint ----

static bool drain_keep(struct cli_drain *drain, struct batchmill_error *error)
{
    if (drain->checkpoint == NULL)
        return true;
    drain->not_kept = 0;
    drain->kept_at_ns = drain->done.elapsed_ns;
    return drain->flush(drain, error) &&
           cli_checkpoint_save(drain->checkpoint, &drain->done, error);
}

// Brings `done` up to what the stream has handed out so far.
static void drain_count(struct cli_drain *drain, const struct batchmill_stream *stream)
{
    const struct cli_checkpoint *kept = &drain->kept;
    struct batchmill_stream_info info;
    batchmill_stream_info(stream, &info);
    drain->done.batches = kept->batches + drain->progress.batches;
    drain->done.items = kept->items + drain->progress.items;
    drain->done.bytes = kept->bytes + drain->progress.bytes;
    drain->done.skipped = kept->skipped + info.skipped;
    drain->done.failed = kept->failed + info.failed;
    drain->done.elapsed_ns =
        kept->elapsed_ns + (uint64_t)(cli_progress_seconds(&drain->progress) * 1e9);
    batchmill_position(stream, drain->done.position, sizeof drain->done.position, NULL);
}

// Without a batch: a failure in its place, which *error tells, was consumed.
static bool drain_consumed(struct cli_drain *drain, const struct batchmill_stream *stream,
                           const struct batchmill_batch *batch, struct batchmill_error *error)
{
    if (batch != NULL)
        cli_progress_add(&drain->progress, batch);
    if (drain->digest || drain->checkpoint != NULL)
        drain->done.digest = batch == NULL ? cli_digest_error(drain->done.digest, error)
                                           : cli_digest_batch(drain->done.digest, batch);
    if (drain->checkpoint == NULL)
        return true;
    drain_count(drain, stream);
    bool due = ++drain->not_kept >= drain->every &&
               drain->done.elapsed_ns - drain->kept_at_ns >= drain->every_ns;
    return !due || drain_keep(drain, error);
}

// Reads the checkpoint, if there is one, and sees that nothing on the command line contradicts it.
static bool drain_load(struct cli_drain *drain, struct batchmill_error *error)
{
    if (!cli_checkpoint_load(drain->checkpoint, &drain->kept, &drain->found, error))
        return false;
    if (!drain->found)
        return true;
    drain->done = drain->kept;
    if (strcmp(drain->pipeline, drain->kept.pipeline) == 0)
        return cli_order_agrees(&drain->order, drain->kept.order, error);
    *error = (struct batchmill_error){.code = BATCHMILL_INVALID_ARGUMENT};
    snprintf(error->text, sizeof error->text,
             "PIPELINE: expected %s as the checkpoint has it, got %.128s", drain->kept.pipeline,
             drain->pipeline);
    return false;
}

// The order of a stream that goes on: the position has all of it that decides over the batches.
static struct batchmill_order drain_order(const struct cli_drain *drain)
{
    if (!drain->found)
        return drain->order.order;
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.position = drain->kept.position;
    order.prefetch = drain->order.order.prefetch;
    order.checked = drain->order.order.checked;
    order.on_error = (enum batchmill_on_error)drain->kept.order[CLI_ON_ERROR];
    return order;
}

static bool drain_reports(const struct cli_drain *drain)
{
    return drain->done.order[CLI_ON_ERROR] == BATCHMILL_REPORT;
}

// ---- The stream ----

// One outcome of the stream; false: it is over, with *code saying how.
static bool drain_step(struct cli_drain *drain, struct batchmill_stream *stream,
                       enum batchmill_code *code, struct batchmill_error *error)
{
    struct batchmill_batch *batch = NULL;
    *code = cli_next_batch(stream, &batch, error);
    if (*code == BATCHMILL_OK) {
        if (!drain->batch(drain, batch, error) || !drain_consumed(drain, stream, batch, error))
            *code = error->code;
        batchmill_batch_free(batch);
        return *code == BATCHMILL_OK;
    }
    if (*code == BATCHMILL_END || !error->has_batch)
        return false;
    if (drain->failed != NULL)
        drain->failed(drain, error);
    // Without memory for a batch, a stream ends there whatever --on-error says.
    if (!drain_reports(drain) || *code == BATCHMILL_RESOURCE_EXHAUSTED)
        return false;
    cli_report(program_invocation_name, error);
    if (drain_consumed(drain, stream, NULL, error))
        return true;
    *code = error->code;
    return false;
}

// The first time, what decides over the batches is kept before the first of them comes: a seed that
// was drawn must not be drawn again.
static bool drain_begin(struct cli_drain *drain, const struct batchmill_stream *stream,
                        struct batchmill_error *error)
{
    struct batchmill_stream_info info;
    batchmill_stream_info(stream, &info);
    uint64_t total =
        info.batches == BATCHMILL_UNSET ? BATCHMILL_UNSET : info.batches - info.first_seq;
    cli_progress_start(&drain->progress, total, drain->quiet);
    if (drain->begin != NULL && !drain->begin(drain, &info, error))
        return false;
    if (drain->found)
        return true;
    snprintf(drain->done.pipeline, sizeof drain->done.pipeline, "%s", drain->pipeline);
    cli_order_pack(&drain->order.order, drain->done.order);
    drain->done.order[CLI_SEED] = info.seed;
    drain_count(drain, stream);
    return drain_keep(drain, error);
}

// A stream that broke off is kept at what was consumed; the first error is the one that counts.
static enum batchmill_code drain_end(struct cli_drain *drain, const struct batchmill_stream *stream,
                                     enum batchmill_code code, struct batchmill_error *error)
{
    struct batchmill_error late;
    if (code == BATCHMILL_END) {
        drain->done.finished = true;
        drain_count(drain, stream);
        return drain_keep(drain, error) ? BATCHMILL_END : error->code;
    }
    if (drain->not_kept > 0 && !drain_keep(drain, &late))
        cli_report(program_invocation_name, &late);
    drain_count(drain, stream);
    return code;
}

static enum cli_exit drain_result(const struct cli_drain *drain)
{
    if (drain->result != NULL)
        drain->result(drain);
    return drain->done.failed > 0 && drain_reports(drain) ? CLI_FAILED : CLI_DONE;
}

static enum cli_exit drain_stream(struct cli_drain *drain, struct batchmill_error *error)
{
    struct batchmill_stream *stream = NULL;
    struct batchmill_order order = drain_order(drain);
    if (batchmill_gen_batch(drain->target.client, drain->pipeline, &order, &stream, error) !=
        BATCHMILL_OK)
        return cli_report(program_invocation_name, error);
    enum batchmill_code code = BATCHMILL_UNKNOWN;
    if (drain_begin(drain, stream, error)) {
        while (drain_step(drain, stream, &code, error))
            ;
        code = drain_end(drain, stream, code, error);
    } else {
        code = error->code;
    }
    cli_progress_end(&drain->progress);
    batchmill_stream_close(stream);
    enum cli_exit result = drain_result(drain);
    return code == BATCHMILL_END ? result : cli_report(program_invocation_name, error);
}

enum cli_exit cli_drain(struct cli_drain *drain)
{
    struct batchmill_error error = {0};
    if (drain->checkpoint != NULL && !drain_load(drain, &error))
        return cli_report(program_invocation_name, &error);
    if (drain->done.finished)
        return drain_result(drain);
    enum cli_exit code = cli_target_open(&drain->target);
    if (code != CLI_DONE)
        return code;
    code = drain_stream(drain, &error);
    cli_target_close(&drain->target);
    return code;
}
