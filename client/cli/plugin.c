// plugin.c -- `batchmill plugin check FILE`: does a plug-in keep what batchmill/plugin.h asks for?
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/cli/plugin.h"
#include "plugin/plugin.h"
#include "server/config.h"
#include "server/embedded.h"

enum { KEY_TYPE = 0x100, KEY_PARAMETERS, KEY_SOURCE, KEY_TIMEOUT };

struct plugin_options {
    const char *file, *type, *parameters_text, *source_text;
    struct bm_value *parameters, *source;
    unsigned timeout_s;
};

static const struct argp_option plugin_options[] = {
    {"type", KEY_TYPE, "NAME", 0, "only this action or source of the plug-in", 0},
    {"parameters", KEY_PARAMETERS, "YAML", 0,
     "of the type, such as '{component: image}'; default: those that are required, names set to "
     "the first component of the sample that it accepts",
     0},
    {"source", KEY_SOURCE, "YAML", 0,
     "what actions work on, such as '{csv: {path: data.csv}}'; default: a sample with components "
     "of many kinds",
     0},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "for each type; default 60", 0},
    {0},
};

static error_t plugin_parse(int key, char *arg, struct argp_state *state)
{
    struct plugin_options *options = state->input;
    switch (key) {
    case KEY_TYPE:
        options->type = arg;
        return 0;
    case KEY_PARAMETERS:
        options->parameters_text = arg;
        return 0;
    case KEY_SOURCE:
        options->source_text = arg;
        return 0;
    case KEY_TIMEOUT:
        options->timeout_s = (unsigned)cli_number(state, "timeout", arg, 1, 86400);
        return 0;
    case ARGP_KEY_ARG:
        if (options->file != NULL)
            argp_error(state, "expected one plug-in, got \"%s\" and \"%s\"", options->file, arg);
        options->file = arg;
        return 0;
    case ARGP_KEY_END:
        if (options->file == NULL)
            argp_error(state, "which plug-in?");
        if (options->parameters_text != NULL && options->type == NULL)
            argp_error(state, "--parameters goes with --type");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// ---- The lines ----

void check_begin(struct check *check, const char *line)
{
    snprintf(check->progress->running, sizeof check->progress->running, "%s", line);
}

static void line_print(struct check_progress *progress, const char *word, const char *text)
{
    printf("  %-12s %-7s %s\n", progress->running, word, text);
    fflush(stdout);
    progress->running[0] = '\0';
}

void check_end(struct check *check, bool fine, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    check->progress->nfailed += !fine;
    line_print(check->progress, fine ? "ok" : "FAILED", text);
}

void check_skip(struct check *check, const char *why)
{
    line_print(check->progress, "-", why);
}

// ---- Processes ----

// Runs it in a process of its own; how that ended is a line of the table if it did not end well.
static void in_child(struct check *check, unsigned timeout_s, void (*run)(struct check *check))
{
    int status = 0;
    char text[128] = "";
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(timeout_s);
        run(check);
        exit(CLI_DONE); // not _exit(): a sanitizer looks for leaks now
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        snprintf(text, sizeof text, "cannot start a process: %m");
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(text, sizeof text, "did not end within %u s", timeout_s);
    else if (WIFSIGNALED(status))
        snprintf(text, sizeof text, "crashed: %s", strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != CLI_DONE)
        snprintf(text, sizeof text, "ended the process with exit code %d", WEXITSTATUS(status));
    if (text[0] == '\0')
        return;
    if (check->progress->running[0] == '\0')
        check_begin(check, "at the end");
    check_end(check, false, "%s", text);
}

struct loaded {         // in the process that loads it
    struct check check; // first
    const struct plugin_options *options;
};

static bool wants(const struct plugin_options *options, const char *name)
{
    return options->type == NULL || strcmp(options->type, name) == 0;
}

// The plug-in's types are those of the registry that come with code of their own.
static unsigned check_types(struct check *check, const struct plugin_options *options)
{
    unsigned n = 0;
    for (unsigned i = 0; i < bm_registry_nactions(check->registry); i++) {
        const struct bm_action_type *type = bm_registry_action_at(check->registry, i);
        if (type->code == 0 || !wants(options, type->name))
            continue;
        printf("action %s\n", type->name);
        check->action = type;
        check->source = NULL;
        in_child(check, options->timeout_s, check_type);
        n++;
    }
    for (unsigned i = 0; i < bm_registry_nsources(check->registry); i++) {
        const struct bm_source_type *type = bm_registry_source_at(check->registry, i);
        if (type->code == 0 || !wants(options, type->name))
            continue;
        printf("source %s\n", type->name);
        check->action = NULL;
        check->source = type;
        in_child(check, options->timeout_s, check_type);
        n++;
    }
    return n;
}

static void load_and_check(struct check *check)
{
    const struct plugin_options *options = ((struct loaded *)(void *)check)->options;
    struct bm_plugin plugin;
    struct bm_error error = {0};
    check_begin(check, "load");
    enum bm_status status = bm_registry_of_all(&check->registry, &error);
    if (status == BM_OK)
        status = check_sample_register(check->registry, &error);
    if (status == BM_OK)
        status = bm_plugin_load(check->registry, options->file, &plugin, &error);
    if (status != BM_OK) {
        check_end(check, false, "%s: %s", error.where, error.text);
    } else {
        alarm(0); // each type has its own
        check_end(check, true, "%s %s: %u actions, %u sources; code %016llx", plugin.name,
                  plugin.version, plugin.nactions, plugin.nsources,
                  (unsigned long long)plugin.code);
        if (check_types(check, options) == 0) {
            check_begin(check, "type");
            check_end(check, false, "there is no \"%s\" in it", options->type);
        }
    }
    bm_registry_free(check->registry);
}

// ---- The command ----

static enum bm_status read_yaml(const char *text, const char *name, struct bm_value **ret_value,
                                struct bm_error *err)
{
    return text == NULL ? BM_OK : bm_yaml_parse(text, strlen(text), name, ret_value, err);
}

static int plugin_check(struct plugin_options *options)
{
    struct bm_error error = {0};
    if (read_yaml(options->parameters_text, "--parameters", &options->parameters, &error) !=
            BM_OK ||
        read_yaml(options->source_text, "--source", &options->source, &error) != BM_OK) {
        fprintf(stderr, "%s: %s: %s\n", program_invocation_name, error.where, error.text);
        return CLI_USAGE;
    }
    struct check_progress *progress =
        mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED) {
        fprintf(stderr, "%s: out of memory\n", program_invocation_name);
        return CLI_FAILED;
    }
    struct loaded loaded = {
        .check = {.progress = progress, .parameters = options->parameters, .data = options->source},
        .options = options};
    printf("%s\n", options->file);
    in_child(&loaded.check, options->timeout_s, load_and_check);
    unsigned nfailed = progress->nfailed;
    munmap(progress, sizeof *progress);
    printf("%s\n", nfailed == 0 ? "ok" : "not ok");
    return nfailed == 0 ? CLI_DONE : CLI_FAILED;
}

int cli_plugin(int argc, char **argv)
{
    const struct argp argp = {
        .options = plugin_options,
        .parser = plugin_parse,
        .args_doc = "FILE",
        .doc = "Try a plug-in: load it, and open and run each of its types in a process of its "
               "own. The table says whether schemas can be inferred, whether the bytes are the "
               "same at every prefetch, number of workers and size of batch, what becomes of odd "
               "values and of input that it was not made for, and whether memory comes back.",
    };
    struct plugin_options options = {.timeout_s = 60};
    if (argc < 2 || strcmp(argv[1], "check") != 0) {
        fprintf(stderr, "Usage: batchmill plugin check [OPTION...] FILE\n");
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? CLI_DONE : CLI_USAGE;
    }
    char name[] = "batchmill plugin check";
    argv[1] = program_invocation_name = name;
    argp_parse(&argp, argc - 1, argv + 1, 0, NULL, &options);
    int code = plugin_check(&options);
    bm_value_free(options.parameters);
    bm_value_free(options.source);
    return code;
}
