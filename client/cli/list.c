// list.c -- `batchmill list` and `batchmill describe`: what a server hosts.
#include <inttypes.h>
#include <stdio.h>

#include <jansson.h>

#include "client/cli/cli.h"

enum { KEY_JSON = 0x100 };

struct list {
    struct cli_target target;
    const char *pipeline; // of describe
    bool json;            // likewise
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
    if (key == KEY_JSON) {
        list->json = true;
        return 0;
    }
    return list_parse(key, arg, state);
}

static const struct argp_option describe_options[] = {
    {"json", KEY_JSON, NULL, 0, "as JSON, with the components after each action", 0},
    {0},
};
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

static void print_vocabulary(const struct batchmill_vocabulary *vocabulary)
{
    enum { SHOWN = 8 };
    printf("  %s stands for %" PRIu64 " names", vocabulary->component, vocabulary->size);
    for (uint64_t i = 0; vocabulary->names != NULL && i < vocabulary->size && i < SHOWN; i++)
        printf("%s %s", i == 0 ? ":" : ",", vocabulary->names[i]);
    printf("%s\n", vocabulary->names != NULL && vocabulary->size > SHOWN ? ", ..." : "");
}

static void print_cache(const struct batchmill_cache *cache, uint64_t items)
{
    const double mib = 1 / 1048576.0;
    uint64_t asked = cache->hits + cache->misses;
    printf("cache %s: the results of the first %u actions for %" PRIu64 " of %" PRIu64
           " items, %.1f of %.1f MiB",
           cache->on_disk ? "on disk" : "in memory", cache->nactions, cache->items, items,
           mib * (double)cache->bytes, mib * (double)cache->bytes_max);
    if (asked > 0)
        printf("; saved them for %" PRIu64 " of %" PRIu64 " items (%.0f %%)", cache->hits, asked,
               100 * (double)cache->hits / (double)asked);
    if (cache->damaged > 0)
        printf("; %" PRIu64 " were damaged", cache->damaged);
    printf("\n");
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
        printf("  %-20s per %s%s%s%s%s", action->name, action->per_batch ? "batch" : "item",
               action->random ? ", random" : "", action->stateful ? ", stateful" : "",
               action->lock == NULL ? "" : ", lock ", action->lock == NULL ? "" : action->lock);
        if (action->probability < 1)
            printf(", probability %g", action->probability);
        printf("\n");
    }
    printf("steps on a worker:");
    for (size_t i = 0; i < pipeline->nsteps; i++)
        printf("%s %s", i == 0 ? "" : " ->", pipeline->steps[i]);
    printf("\n");
    if (pipeline->cache != NULL)
        print_cache(pipeline->cache, pipeline->summary.items);
    if (pipeline->group_by != NULL)
        printf("shuffled batches are of items of like %s\n", pipeline->group_by);
    printf("batches of items, each\n");
    print_components(pipeline->components, pipeline->ncomponents);
    for (size_t i = 0; i < pipeline->nvocabularies; i++)
        print_vocabulary(&pipeline->vocabularies[i]);
}

static json_t *json_components(const struct batchmill_component *components, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *component = json_object(), *shape = json_array();
        for (unsigned axis = 0; axis < components[i].ndim; axis++) {
            bool varies = axis == 0 && components[i].ragged;
            json_array_append_new(
                shape, varies ? json_null() : json_integer((json_int_t)components[i].shape[axis]));
        }
        json_object_set_new(component, "name", json_string(components[i].name));
        json_object_set_new(component, "dtype",
                            json_string(batchmill_dtype_name(components[i].dtype)));
        json_object_set_new(component, "shape", shape); // null: varies
        json_array_append_new(list, component);
    }
    return list;
}

static json_t *json_vocabularies(const struct batchmill_vocabulary *vocabularies, size_t n)
{
    json_t *all = json_object();
    for (size_t i = 0; i < n; i++) {
        json_t *names = vocabularies[i].names == NULL ? json_null() : json_array();
        for (uint64_t k = 0; vocabularies[i].names != NULL && k < vocabularies[i].size; k++)
            json_array_append_new(names, json_string(vocabularies[i].names[k]));
        json_object_set_new(all, vocabularies[i].component,
                            json_pack("{sIso}", "size", (json_int_t)vocabularies[i].size, "names",
                                      names)); // null: too many to be sent
    }
    return all;
}

static json_t *json_cache(const struct batchmill_cache *cache)
{
    if (cache == NULL)
        return json_null();
    return json_pack("{sisssIsIsIsIsIsI}", "actions", (int)cache->nactions, "where",
                     cache->on_disk ? "disk" : "memory", "items", (json_int_t)cache->items, "bytes",
                     (json_int_t)cache->bytes, "bytes_max", (json_int_t)cache->bytes_max, "hits",
                     (json_int_t)cache->hits, "misses", (json_int_t)cache->misses, "damaged",
                     (json_int_t)cache->damaged);
}

static json_t *json_description(const struct batchmill_description *pipeline)
{
    char fingerprint[20];
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, pipeline->summary.fingerprint);
    json_t *source = json_object(), *actions = json_array(), *steps = json_array();
    json_object_set_new(source, "name", json_string(pipeline->summary.source));
    json_object_set_new(source, "type", json_string(pipeline->source_type));
    json_object_set_new(source, "items", json_integer((json_int_t)pipeline->summary.items));
    json_object_set_new(source, "components",
                        json_components(pipeline->source_components, pipeline->nsource_components));
    for (size_t i = 0; i < pipeline->nactions; i++) {
        const struct batchmill_action *from = &pipeline->actions[i];
        json_t *action = json_object();
        json_object_set_new(action, "name", json_string(from->name));
        json_object_set_new(action, "form", json_string(from->per_batch ? "batch" : "item"));
        json_object_set_new(action, "probability", json_real(from->probability));
        json_object_set_new(action, "random", json_boolean(from->random));
        json_object_set_new(action, "stateful", json_boolean(from->stateful));
        json_object_set_new(action, "lock",
                            from->lock == NULL ? json_null() : json_string(from->lock));
        json_object_set_new(action, "components",
                            json_components(from->components, from->ncomponents));
        json_array_append_new(actions, action);
    }
    for (size_t i = 0; i < pipeline->nsteps; i++)
        json_array_append_new(steps, json_string(pipeline->steps[i]));
    json_t *out = json_object();
    json_object_set_new(out, "name", json_string(pipeline->summary.name));
    json_object_set_new(out, "fingerprint", json_string(fingerprint));
    json_object_set_new(out, "owner",
                        json_string(pipeline->summary.registered ? "client" : "config"));
    json_object_set_new(out, "stateful", json_boolean(pipeline->summary.stateful));
    json_object_set_new(out, "source", source);
    json_object_set_new(out, "actions", actions);
    json_object_set_new(out, "steps", steps);
    json_object_set_new(out, "components",
                        json_components(pipeline->components, pipeline->ncomponents));
    json_object_set_new(out, "vocabularies",
                        json_vocabularies(pipeline->vocabularies, pipeline->nvocabularies));
    json_object_set_new(out, "group_by",
                        pipeline->group_by == NULL ? json_null() : json_string(pipeline->group_by));
    json_object_set_new(out, "cache", json_cache(pipeline->cache));
    return out;
}

static bool print_json(const struct batchmill_description *pipeline)
{
    json_t *out = json_description(pipeline);
    bool ok = json_dumpf(out, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF;
    json_decref(out);
    return ok;
}

int cli_describe(int argc, char **argv)
{
    const struct argp argp = {.options = describe_options,
                              .parser = describe_parse,
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
    if (batchmill_describe(list.target.client, list.pipeline, &description, &error) != BATCHMILL_OK)
        code = cli_report(argv[0], &error);
    else if (!list.json)
        print_description(description);
    else if (!print_json(description))
        code = CLI_FAILED;
    batchmill_description_free(description);
    cli_target_close(&list.target);
    return (int)code;
}
