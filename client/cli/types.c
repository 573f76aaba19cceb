// types.c -- `batchmill actions` and `batchmill sources`: printed from the tables that parse them.
// The types of plug-ins are among them.
#include <stdio.h>

#include "actions/actions.h"
#include "client/cli/cli.h"
#include "plugin/plugin.h"
#include "sources/sources.h"

enum bm_status cli_registry_new(struct bm_registry **ret_registry, struct bm_error *err)
{
    struct bm_registry *registry = NULL;
    enum bm_status status = bm_registry_new(&registry, err);
    if (status == BM_OK)
        status = bm_actions_register(registry, err);
    if (status == BM_OK)
        status = bm_sources_register(registry, err);
    if (status == BM_OK)
        *ret_registry = registry;
    else
        bm_registry_free(registry);
    return status;
}

enum { KEY_PLUGINS = 0x100 };

static const struct argp_option types_options[] = {
    {"plugins", KEY_PLUGINS, "PATH", 0, "with those of this shared object, or folder of *.so", 0},
    {0},
};

static error_t types_parse(int key, char *arg, struct argp_state *state)
{
    const char **plugins = state->input;
    if (key != KEY_PLUGINS)
        return ARGP_ERR_UNKNOWN;
    *plugins = arg;
    return 0;
}

static int print_types(int argc, char **argv, const char *doc,
                       void (*print)(const struct bm_registry *registry, struct bm_buffer *out))
{
    const struct argp argp = {.options = types_options, .parser = types_parse, .doc = doc};
    const char *plugins = NULL;
    argp_parse(&argp, argc, argv, 0, NULL, &plugins);
    struct bm_registry *registry = NULL;
    struct bm_error error = {0};
    enum bm_status status = cli_registry_new(&registry, &error);
    if (status == BM_OK && plugins != NULL)
        status = bm_plugins_load(registry, plugins, &error);
    struct bm_buffer out;
    bm_buffer_init(&out);
    if (status == BM_OK)
        print(registry, &out);
    if (status != BM_OK)
        fprintf(stderr, "%s: %s%s%s\n", argv[0], error.where, error.where[0] == '\0' ? "" : ": ",
                error.text);
    else
        fputs(bm_buffer_text(&out), stdout);
    bm_buffer_fini(&out);
    bm_registry_free(registry);
    return status == BM_OK && fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
}

int cli_actions(int argc, char **argv)
{
    return print_types(argc, argv, "List the built-in actions and their parameters.",
                       bm_registry_print_actions);
}

int cli_sources(int argc, char **argv)
{
    return print_types(argc, argv, "List the built-in sources and their parameters.",
                       bm_registry_print_sources);
}
