// register.c -- `batchmill register` and `batchmill unregister`: pipelines from clients.
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli/cli.h"

enum { KEY_NAME = 0x100, KEY_LEASE, KEY_KEEP, KEY_REGISTRATION };
enum { DEFINITION_BYTES_MAX = 64 * 1024, LEASE_SECONDS_MAX = 24 * 60 * 60 };

struct registering {
    struct cli_target target;
    const char *path; // of the definition; of unregister: NULL
    const char *name, *registration;
    uint32_t lease_ms; // 0: the server's
    bool keep;
};

static const struct argp_option register_options[] = {
    {"name", KEY_NAME, "NAME", 0, "of the pipeline; default the file's name up to its dot", 0},
    {"lease", KEY_LEASE, "SECONDS", 0,
     "remove it when nobody has used it for so long; default the server's, 60", 0},
    {"keep", KEY_KEEP, NULL, 0, "keep it until this command is interrupted, then remove it", 0},
    {0},
};

static error_t register_parse(int key, char *arg, struct argp_state *state)
{
    struct registering *input = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &input->target;
        return 0;
    case KEY_NAME:
        input->name = arg;
        return 0;
    case KEY_LEASE:
        input->lease_ms = (uint32_t)cli_number(state, "lease", arg, 1, LEASE_SECONDS_MAX) * 1000;
        return 0;
    case KEY_KEEP:
        input->keep = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            return ARGP_ERR_UNKNOWN;
        input->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (input->path == NULL)
            argp_error(state, "which file?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option unregister_options[] = {
    {"registration", KEY_REGISTRATION, "ID", 0, "as `batchmill register` printed it; required", 0},
    {0},
};

static error_t unregister_parse(int key, char *arg, struct argp_state *state)
{
    struct registering *input = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &input->target;
        return 0;
    case KEY_REGISTRATION:
        input->registration = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            return ARGP_ERR_UNKNOWN;
        input->name = arg;
        return 0;
    case ARGP_KEY_END:
        if (input->name == NULL || input->registration == NULL)
            argp_error(state, "which pipeline, and which registration?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child register_children[] = {{&cli_target_argp, 0, NULL, 0}, {0}};

// The whole file as a text; NULL: said why.
static char *definition_read(const char *command, const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = file == NULL ? NULL : malloc(DEFINITION_BYTES_MAX + 1);
    size_t size = text == NULL ? 0 : fread(text, 1, DEFINITION_BYTES_MAX + 1, file);
    const char *problem = NULL;
    if (text == NULL || ferror(file) != 0)
        problem = strerror(errno);
    else if (size > DEFINITION_BYTES_MAX)
        problem = "expected at most 65536 bytes";
    else if (memchr(text, '\0', size) != NULL)
        problem = "expected a text, got a NUL character";
    if (file != NULL)
        fclose(file);
    if (problem != NULL || text == NULL) {
        fprintf(stderr, "%s: %s: %s\n", command, path, problem);
        free(text);
        return NULL;
    }
    text[size] = '\0';
    return text;
}

// Renews the lease three times before it ends, so that one lost answer does no harm.
static enum batchmill_code registration_keep(const struct registering *input,
                                             const char *definition, const char *name,
                                             struct batchmill_registration *registration,
                                             struct batchmill_error *error)
{
    enum { POLL_MS = 100 };
    uint32_t waited_ms = 0;
    while (!cli_interrupted()) {
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        waited_ms += POLL_MS;
        if (waited_ms < registration->lease_ms / 3)
            continue;
        waited_ms = 0;
        enum batchmill_code code = batchmill_register(input->target.client, name, definition,
                                                      input->lease_ms, registration, error);
        if (code != BATCHMILL_OK && code != BATCHMILL_UNAVAILABLE)
            return code;
    }
    return batchmill_unregister(input->target.client, name, registration->id, NULL, error);
}

static enum batchmill_code register_file(const struct registering *input, const char *definition,
                                         const char *name, struct batchmill_error *error)
{
    struct batchmill_registration registration;
    enum batchmill_code code = batchmill_register(input->target.client, name, definition,
                                                  input->lease_ms, &registration, error);
    if (code != BATCHMILL_OK)
        return code;
    printf("registered %s, fingerprint %016" PRIx64 ", registration %s, for %g s after its last "
           "use\n",
           name, registration.fingerprint, registration.id, registration.lease_ms / 1e3);
    fflush(stdout);
    if (input->keep)
        code = registration_keep(input, definition, name, &registration, error);
    return code;
}

int cli_register(int argc, char **argv)
{
    const struct argp argp = {
        .options = register_options,
        .parser = register_parse,
        .args_doc = "FILE",
        .doc = "Register a pipeline on a server that allows it. FILE is YAML or JSON: {source: "
               "NAME, actions: [...]}, as under a pipeline's name in the server's configuration.",
        .children = register_children};
    struct registering input = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &input);
    char *definition = definition_read(argv[0], input.path);
    char *path = strdup(input.path);
    enum cli_exit code = CLI_FAILED;
    if (definition == NULL || path == NULL)
        goto out;
    char *base = basename(path);
    if (base[0] != '.')
        base[strcspn(base, ".")] = '\0';
    if ((code = cli_target_open(&input.target)) != CLI_DONE)
        goto out;
    struct batchmill_error error = {0};
    const char *name = input.name == NULL ? base : input.name;
    if (register_file(&input, definition, name, &error) != BATCHMILL_OK)
        code = cli_report(argv[0], &error);
    cli_target_close(&input.target);
out:
    free(path);
    free(definition);
    return (int)code;
}

int cli_unregister(int argc, char **argv)
{
    const struct argp argp = {.options = unregister_options,
                              .parser = unregister_parse,
                              .args_doc = "PIPELINE",
                              .doc = "Remove a registered pipeline. Streams that are open go on.",
                              .children = register_children};
    struct registering input = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &input);
    enum cli_exit code = cli_target_open(&input.target);
    if (code != CLI_DONE)
        return (int)code;
    struct batchmill_error error = {0};
    bool removed = false;
    if (batchmill_unregister(input.target.client, input.name, input.registration, &removed,
                             &error) != BATCHMILL_OK)
        code = cli_report(argv[0], &error);
    else
        printf("%s %s\n", removed ? "removed" : "there is no such registration of", input.name);
    cli_target_close(&input.target);
    return (int)code;
}
