// main.c -- `batchmill COMMAND`: finds the command. Each command is a file of its own.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *doc;
} commands[] = {
    {"serve", cli_serve, "host the pipelines of a configuration file"},
    {"list", cli_list, "list the pipelines of a server"},
    {"describe", cli_describe, "show a pipeline: source, actions, locks, components"},
    {"register", cli_register, "register a pipeline on a server that allows it"},
    {"unregister", cli_unregister, "remove a registered pipeline"},
    {"status", cli_status, "show what a server does and what it has refused"},
    {"actions", cli_actions, "list the built-in actions and their parameters"},
    {"sources", cli_sources, "list the built-in sources and their parameters"},
    {"gen", cli_gen, "stream the batches of a pipeline, in order"},
    {"export", cli_export, "write a stream to NumPy files or tar shards"},
    {"next", cli_next, "take the next batch of a cursor that lives on the server"},
    {"run", cli_run, "drain a pipeline on the server and print counts and variables"},
    {"trace", cli_trace, "record which batch was in which action when"},
    {"plugin", cli_plugin, "check a plug-in with actions and sources of your own"},
};
enum { NCOMMANDS = sizeof commands / sizeof commands[0] };

static void print_help(FILE *to)
{
    fputs("Usage: batchmill COMMAND [OPTION...]\n"
          "Prepared batches, in order, from a server or from a configuration file.\n\n",
          to);
    for (unsigned i = 0; i < NCOMMANDS; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].doc);
    fprintf(to, "  %-10s %s\n", "version", "print the version");
    fputs("\n`batchmill COMMAND --help` shows a command's options. Exit codes: 0 done, 1 failed,\n"
          "2 usage, 3 server unreachable.\n",
          to);
}

static int run_command(unsigned i, int argc, char **argv)
{
    // argp prints argv[0] in its messages.
    char name[64];
    snprintf(name, sizeof name, "batchmill %s", commands[i].name);
    argv[0] = name;
    program_invocation_name = name;
    return commands[i].main(argc, argv);
}

int main(int argc, char **argv)
{
    argp_err_exit_status = CLI_USAGE;
    signal(SIGPIPE, SIG_IGN); // a closed pipe is an error of write, not a death
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    const char *command = argv[1];
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 ||
        strcmp(command, "-h") == 0) {
        print_help(stdout);
        return CLI_DONE;
    }
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0 ||
        strcmp(command, "-V") == 0) {
        printf("batchmill %s\n", batchmill_version());
        return CLI_DONE;
    }
    for (unsigned i = 0; i < NCOMMANDS; i++) {
        if (strcmp(command, commands[i].name) == 0)
            return run_command(i, argc - 1, argv + 1);
    }
    fprintf(stderr, "batchmill: there is no command \"%s\"; `batchmill help` lists them\n",
            command);
    return CLI_USAGE;
}
