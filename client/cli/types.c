// types.c -- `batchmill actions` and `batchmill sources`: printed from the tables that parse them.
// The types of plug-ins are among them.
#include <stdio.h>

#include <jansson.h>

#include "client/cli/cli.h"
#include "plugin/plugin.h"
#include "server/embedded.h"

enum { KEY_PLUGINS = 0x100, KEY_JSON };

struct types {
    const char *plugins;
    bool json;
};

static const struct argp_option types_options[] = {
    {"plugins", KEY_PLUGINS, "PATH", 0, "with those of this shared object, or folder of *.so", 0},
    {"json", KEY_JSON, NULL, 0, "as JSON, for editors and programs", 0},
    {0},
};

static error_t types_parse(int key, char *arg, struct argp_state *state)
{
    struct types *types = state->input;
    switch (key) {
    case KEY_PLUGINS:
        types->plugins = arg;
        return 0;
    case KEY_JSON:
        types->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// ---- As JSON ----

// Numbers and truth values as such, everything else as the text that YAML would have.
static json_t *json_fallback(const struct bm_param *param)
{
    bool plain = param->kind == BM_PARAM_BOOL || param->kind == BM_PARAM_INTEGER ||
                 param->kind == BM_PARAM_FLOAT;
    json_t *value = plain ? json_loads(param->fallback, JSON_DECODE_ANY, NULL) : NULL;
    return value != NULL ? value : json_string(param->fallback);
}

static json_t *json_param(const struct bm_param *param)
{
    json_t *out = json_object();
    enum { NCHOICES = sizeof param->choices / sizeof param->choices[0] };
    json_object_set_new(out, "name", json_string(param->name));
    json_object_set_new(
        out, "type",
        json_string(param->kind == BM_PARAM_CHOICE ? "choice" : bm_param_kind_name(param->kind)));
    json_object_set_new(out, "required", json_boolean(param->required));
    if (param->fallback != NULL)
        json_object_set_new(out, "default", json_fallback(param));
    if (param->min != 0 || param->max != 0) {
        json_object_set_new(out, "min", json_real(param->min));
        json_object_set_new(out, "max", json_real(param->max));
    }
    if (param->kind == BM_PARAM_CHOICE) {
        json_t *choices = json_array();
        for (unsigned i = 0; i < NCHOICES && param->choices[i] != NULL; i++)
            json_array_append_new(choices, json_string(param->choices[i]));
        json_object_set_new(out, "choices", choices);
    }
    json_object_set_new(out, "doc", json_string(param->doc));
    return out;
}

static json_t *json_described(const char *name, const char *doc, const struct bm_param *params,
                              unsigned nparams)
{
    json_t *out = json_object(), *list = json_array();
    json_object_set_new(out, "name", json_string(name));
    json_object_set_new(out, "doc", json_string(doc));
    for (unsigned i = 0; i < nparams; i++)
        json_array_append_new(list, json_param(&params[i]));
    json_object_set_new(out, "parameters", list);
    return out;
}

static json_t *json_actions(const struct bm_registry *registry)
{
    json_t *out = json_array();
    for (unsigned i = 0; i < bm_registry_nactions(registry); i++) {
        const struct bm_action_type *type = bm_registry_action_at(registry, i);
        json_t *action = json_described(type->name, type->doc, type->params, type->nparams);
        json_object_set_new(action, "form",
                            json_string(type->form == BM_PER_ITEM ? "item" : "batch"));
        json_object_set_new(action, "random", json_boolean(type->random));
        json_object_set_new(action, "stateful", json_boolean(type->stateful));
        json_object_set_new(action, "waits", json_boolean(type->waits));
        json_array_append_new(out, action);
    }
    return out;
}

static json_t *json_sources(const struct bm_registry *registry)
{
    json_t *out = json_array();
    for (unsigned i = 0; i < bm_registry_nsources(registry); i++) {
        const struct bm_source_type *type = bm_registry_source_at(registry, i);
        json_array_append_new(out,
                              json_described(type->name, type->doc, type->params, type->nparams));
    }
    return out;
}

// ---- The commands ----

struct types_form { // how one kind of types is written
    const char *doc;
    void (*print)(const struct bm_registry *registry, struct bm_buffer *out);
    json_t *(*json)(const struct bm_registry *registry);
};

static bool types_write(const struct types_form *form, const struct bm_registry *registry,
                        bool as_json)
{
    if (as_json) {
        json_t *list = form->json(registry);
        bool ok = json_dumpf(list, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF;
        json_decref(list);
        return ok;
    }
    struct bm_buffer out;
    bm_buffer_init(&out);
    form->print(registry, &out);
    bool ok = !bm_buffer_failed(&out) && fputs(bm_buffer_text(&out), stdout) != EOF;
    bm_buffer_fini(&out);
    return ok;
}

static int print_types(int argc, char **argv, const struct types_form *form)
{
    const struct argp argp = {.options = types_options, .parser = types_parse, .doc = form->doc};
    struct types types = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &types);
    struct bm_registry *registry = NULL;
    struct bm_error error = {0};
    bool ok = false;
    enum bm_status status = bm_registry_of_all(&registry, &error);
    if (status == BM_OK && types.plugins != NULL)
        status = bm_plugins_load(registry, types.plugins, &error);
    if (status != BM_OK)
        fprintf(stderr, "%s: %s%s%s\n", argv[0], error.where, error.where[0] == '\0' ? "" : ": ",
                error.text);
    else
        ok = types_write(form, registry, types.json);
    bm_registry_free(registry);
    return ok && fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
}

int cli_actions(int argc, char **argv)
{
    static const struct types_form form = {"List the built-in actions and their parameters.",
                                           bm_registry_print_actions, json_actions};
    return print_types(argc, argv, &form);
}

int cli_sources(int argc, char **argv)
{
    static const struct types_form form = {"List the built-in sources and their parameters.",
                                           bm_registry_print_sources, json_sources};
    return print_types(argc, argv, &form);
}
