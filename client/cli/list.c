// list.c -- `batchmill list` and `batchmill describe`: what a server hosts.
#include <inttypes.h>
#include <stdio.h>

#include "client/cli/cli.h"

struct list {
    struct cli_target target;
    const char *pipeline; // of describe
};

static error_t list_parse(int key, char *arg, struct argp_state *state)
{
    struct list *list = state->input;
    (void)arg;
    if (key == ARGP_KEY_INIT) {
        state->child_inputs[0] = &list->target;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static error_t describe_parse(int key, char *arg, struct argp_state *state)
{
    struct list *list = state->input;
    if (key == ARGP_KEY_INIT)
        state->child_inputs[1] = &list->pipeline;
    return list_parse(key, arg, state);
}

static const struct argp_child list_children[] = {{&cli_target_argp, 0, NULL, 0}, {0}};
static const struct argp_child describe_children[] = {
    {&cli_target_argp, 0, NULL, 0}, {&cli_pipeline_argp, 0, NULL, 0}, {0}};

int cli_list(int argc, char **argv)
{
    const struct argp argp = {
        .parser = list_parse, .doc = "List the pipelines of a server.", .children = list_children};
    struct list list = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &list);
    enum cli_exit code = cli_target_open(&list.target);
    if (code != CLI_DONE)
        return (int)code;
    struct batchmill_list *pipelines = NULL;
    struct batchmill_error error = {0};
    if (batchmill_list(list.target.client, &pipelines, &error) != BATCHMILL_OK)
        code = cli_report(argv[0], &error);
    if (pipelines != NULL)
        printf("%-24s %-16s %12s  %s\n", "PIPELINE", "SOURCE", "ITEMS", "FINGERPRINT       OWNER");
    for (size_t i = 0; pipelines != NULL && i < pipelines->n; i++) {
        const struct batchmill_summary *summary = &pipelines->pipelines[i];
        printf("%-24s %-16s %12" PRIu64 "  %016" PRIx64 "  %s%s\n", summary->name, summary->source,
               summary->items, summary->fingerprint, summary->registered ? "client" : "config",
               summary->stateful ? "  stateful" : "");
    }
    batchmill_list_free(pipelines);
    cli_target_close(&list.target);
    return (int)code;
}

static void print_components(const struct batchmill_component *components, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        printf("  %-20s %-9s [", components[i].name, batchmill_dtype_name(components[i].dtype));
        for (unsigned axis = 0; axis < components[i].ndim; axis++) {
            printf("%s", axis == 0 ? "" : ", ");
            if (axis == 0 && components[i].ragged)
                printf("varies");
            else
                printf("%" PRIu64, components[i].shape[axis]);
        }
        printf("]\n");
    }
}

static void print_description(const struct batchmill_description *pipeline)
{
    printf("pipeline %s, fingerprint %016" PRIx64 "\n", pipeline->summary.name,
           pipeline->summary.fingerprint);
    if (pipeline->summary.registered)
        printf("registered by a client\n");
    if (pipeline->summary.stateful)
        printf("stateful: order and exactly-once delivery are promised, equal bytes are not\n");
    printf("source %s (%s), %" PRIu64 " items, each\n", pipeline->summary.source,
           pipeline->source_type, pipeline->summary.items);
    print_components(pipeline->source_components, pipeline->nsource_components);
    printf("actions\n");
    for (size_t i = 0; i < pipeline->nactions; i++) {
        const struct batchmill_action *action = &pipeline->actions[i];
        printf("  %-20s per %s%s%s%s%s\n", action->name, action->per_batch ? "batch" : "item",
               action->random ? ", random" : "", action->stateful ? ", stateful" : "",
               action->lock == NULL ? "" : ", lock ", action->lock == NULL ? "" : action->lock);
    }
    printf("steps on a worker:");
    for (size_t i = 0; i < pipeline->nsteps; i++)
        printf("%s %s", i == 0 ? "" : " ->", pipeline->steps[i]);
    printf("\nbatches of items, each\n");
    print_components(pipeline->components, pipeline->ncomponents);
}

int cli_describe(int argc, char **argv)
{
    const struct argp argp = {.parser = describe_parse,
                              .args_doc = "PIPELINE",
                              .doc = "Show a pipeline: source, actions, locks, components.",
                              .children = describe_children};
    struct list list = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &list);
    enum cli_exit code = cli_target_open(&list.target);
    if (code != CLI_DONE)
        return (int)code;
    struct batchmill_description *description = NULL;
    struct batchmill_error error = {0};
    if (batchmill_describe(list.target.client, list.pipeline, &description, &error) == BATCHMILL_OK)
        print_description(description);
    else
        code = cli_report(argv[0], &error);
    batchmill_description_free(description);
    cli_target_close(&list.target);
    return (int)code;
}
