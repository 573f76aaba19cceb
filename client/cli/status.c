// status.c -- `batchmill status`: what a server does and what it has refused.
#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "client/cli/cli.h"

struct status {
    struct cli_target target;
    bool json;
};

static error_t status_parse(int key, char *arg, struct argp_state *state)
{
    struct status *status = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &status->target;
        return 0;
    case 'j':
        status->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static json_t *json_counts(const struct batchmill_status *status)
{
    const struct batchmill_connections *connections = &status->connections;
    json_t *answered = json_object();
    for (unsigned code = 0; code < BATCHMILL_CODES; code++) {
        if (status->answered[code] > 0)
            json_object_set_new(answered, batchmill_code_name((enum batchmill_code)code),
                                json_integer((json_int_t)status->answered[code]));
    }
    return json_pack(
        "{s:s, s:f, s:b, s:i, s:i, s:i, s:i, s:I, s:I, s:{s:i, s:i, s:i, s:i}, s:I, s:I, "
        "s:o, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}}",
        "version", status->version, "uptime_seconds", status->uptime_seconds, "draining",
        status->draining, "workers", (int)status->workers, "pipelines", (int)status->pipelines,
        "streams", (int)status->streams, "runs", (int)status->runs, "batches",
        (json_int_t)status->batches, "shared_batches", (json_int_t)status->shared_batches, "jobs",
        "ready", (int)status->jobs_ready, "running", (int)status->jobs_running, "parked",
        (int)status->jobs_parked, "waiting", (int)status->jobs_waiting, "memory_used_bytes",
        (json_int_t)status->memory_used_bytes, "memory_bytes", (json_int_t)status->memory_bytes,
        "answered", answered, "connections", "open", (json_int_t)connections->open, "unsent_bytes",
        (json_int_t)connections->unsent_bytes, "accepted", (json_int_t)connections->accepted,
        "refused", (json_int_t)connections->refused, "no_greeting",
        (json_int_t)connections->no_greeting, "bad_frame", (json_int_t)connections->bad_frame,
        "slow", (json_int_t)connections->slow);
}

static json_t *json_remotes(const struct batchmill_remote_actions *remotes)
{
    json_t *list = json_array();
    for (size_t i = 0; i < remotes->n; i++) {
        const struct batchmill_remote_action *one = &remotes->actions[i];
        json_array_append_new(
            list, json_pack("{s:s, s:i, s:i, s:i, s:f, s:I, s:I, s:I, s:I}", "name", one->name,
                            "lenders", (int)one->lenders, "waiting", (int)one->waiting, "out",
                            (int)one->out, "waiting_seconds", one->waiting_seconds, "done",
                            (json_int_t)one->done, "failed", (json_int_t)one->failed, "retried",
                            (json_int_t)one->retried, "expired", (json_int_t)one->expired));
    }
    return list;
}

static bool print_json(const struct batchmill_status *status,
                       const struct batchmill_remote_actions *remotes)
{
    json_t *counts = json_counts(status);
    json_object_set_new(counts, "remote_actions", json_remotes(remotes));
    bool good = counts != NULL && json_dumpf(counts, stdout, 0) == 0 && putchar('\n') == '\n';
    json_decref(counts);
    return good;
}

static void print_text(const struct batchmill_status *status)
{
    const struct batchmill_connections *connections = &status->connections;
    const double mib = 1 << 20;
    printf("batchmill %s, up for %.0f s%s\n", status->version, status->uptime_seconds,
           status->draining ? ", draining" : "");
    printf("%" PRIu32 " workers, %" PRIu32 " pipelines, %" PRIu32 " streams, %" PRIu32
           " runs, %" PRIu64 " batches so far, of which %" PRIu64 " sent by reference\n",
           status->workers, status->pipelines, status->streams, status->runs, status->batches,
           status->shared_batches);
    printf("batches now: %" PRIu32 " ready for a worker, %" PRIu32 " on one, %" PRIu32
           " wait for a lock, %" PRIu32 " wait without a worker\n",
           status->jobs_ready, status->jobs_running, status->jobs_parked, status->jobs_waiting);
    printf("memory: %.1f MiB", (double)status->memory_used_bytes / mib);
    if (status->memory_bytes > 0)
        printf(" of %.1f MiB", (double)status->memory_bytes / mib);
    printf("; %.1f MiB of replies on their way\n", (double)connections->unsent_bytes / mib);
    printf("requests answered:");
    for (unsigned code = 0; code < BATCHMILL_CODES; code++) {
        if (status->answered[code] > 0)
            printf(" %s %" PRIu64, batchmill_code_name((enum batchmill_code)code),
                   status->answered[code]);
    }
    printf("\nconnections: %" PRIu64 " open, %" PRIu64 " accepted, %" PRIu64
           " refused; hung up on: %" PRIu64 " without a greeting, %" PRIu64
           " broken frames, %" PRIu64 " too slow\n",
           connections->open, connections->accepted, connections->refused, connections->no_greeting,
           connections->bad_frame, connections->slow);
}

static void print_remotes(const struct batchmill_remote_actions *remotes)
{
    for (size_t i = 0; i < remotes->n; i++) {
        const struct batchmill_remote_action *one = &remotes->actions[i];
        printf("remote action %s: %" PRIu32 " lend it, %" PRIu32 " batches wait", one->name,
               one->lenders, one->waiting);
        if (one->waiting > 0)
            printf(" (the longest for %.1f s)", one->waiting_seconds);
        printf(", %" PRIu32 " are out; %" PRIu64 " done, %" PRIu64 " failed, %" PRIu64
               " given to another, %" PRIu64 " too late\n",
               one->out, one->done, one->failed, one->retried, one->expired);
    }
}

static const struct argp_option status_options[] = {
    {"json", 'j', NULL, 0, "one line of JSON; sizes in bytes", 0},
    {0},
};
static const struct argp_child status_children[] = {{&cli_target_argp, 0, NULL, 0}, {0}};

int cli_status(int argc, char **argv)
{
    const struct argp argp = {.options = status_options,
                              .parser = status_parse,
                              .doc = "Show what a server does and what it has refused.",
                              .children = status_children};
    struct status options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    enum cli_exit code = cli_target_open(&options.target);
    if (code != CLI_DONE)
        return (int)code;
    struct batchmill_status status;
    struct batchmill_error error = {0};
    struct batchmill_remote_actions *remotes = NULL;
    if (batchmill_status(options.target.client, &status, &error) != BATCHMILL_OK ||
        batchmill_remote_status(options.target.client, &remotes, &error) != BATCHMILL_OK) {
        code = cli_report(argv[0], &error);
    } else if (!options.json) {
        print_text(&status);
        print_remotes(remotes);
    } else if (!print_json(&status, remotes)) {
        code = CLI_FAILED;
    }
    batchmill_remote_actions_free(remotes);
    cli_target_close(&options.target);
    return fflush(stdout) == 0 ? (int)code : CLI_FAILED;
}
