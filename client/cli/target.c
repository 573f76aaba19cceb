// target.c -- which server a command talks to: one at a URL, or one of its own over inproc.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "server/embedded.h"
#include "server/token.h"

enum {
    KEY_SERVER = 0x100,
    KEY_CONFIG,
    KEY_TIMEOUT,
    KEY_TOKEN_FILE,
    KEY_TLS_CA,
    KEY_TLS_SERVER_NAME,
    KEY_TLS_CERTIFICATE,
    KEY_TLS_KEY,
    KEY_NO_SHARED,
};

static const struct argp_option target_options[] = {
    {NULL, 0, NULL, 0, "Server:", 1},
    {"server", KEY_SERVER, "URL", 0,
     "tcp://host:port, tls+tcp://host:port, ipc:///path or ws://host:port/path; default "
     "tcp://127.0.0.1:7310, or $BATCHMILL_SERVER",
     1},
    {"config", KEY_CONFIG, "FILE", 0,
     "no server: host the pipelines of this file in the command's own process", 1},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0,
     "give up when the server is silent this long; default 10", 1},
    {"token-file", KEY_TOKEN_FILE, "FILE", 0,
     "the server's token, in a file of mode 0600; or $BATCHMILL_TOKEN_FILE", 1},
    {"tls-ca", KEY_TLS_CA, "FILE", 0,
     "of tls+tcp://: the authorities that may have signed the server's certificate, in PEM; "
     "default "
     "$BATCHMILL_TLS_CA, or the system's",
     1},
    {"tls-server-name", KEY_TLS_SERVER_NAME, "NAME", 0,
     "whose certificate it must be; default the URL's host", 1},
    {"tls-certificate", KEY_TLS_CERTIFICATE, "FILE", 0,
     "for a server that asks for one, with --tls-key, in PEM", 1},
    {"tls-key", KEY_TLS_KEY, "FILE", 0, "the certificate's key, in PEM; mode 0600", 1},
    {"no-shared-memory", KEY_NO_SHARED, NULL, 0,
     "let every batch come by the socket, also from a server on this host", 1},
    {0},
};

static error_t target_parse(int key, char *arg, struct argp_state *state)
{
    struct cli_target *target = state->input;
    switch (key) {
    case KEY_SERVER:
        target->server = arg;
        return 0;
    case KEY_CONFIG:
        target->config = arg;
        return 0;
    case KEY_TIMEOUT:
        target->timeout_ms = (uint32_t)cli_number(state, "timeout", arg, 1, 1000000) * 1000;
        return 0;
    case KEY_TOKEN_FILE:
        target->token_file = arg;
        return 0;
    case KEY_TLS_CA:
        target->tls_ca = arg;
        return 0;
    case KEY_TLS_SERVER_NAME:
        target->tls_server_name = arg;
        return 0;
    case KEY_TLS_CERTIFICATE:
        target->tls_certificate = arg;
        return 0;
    case KEY_TLS_KEY:
        target->tls_key = arg;
        return 0;
    case KEY_NO_SHARED:
        target->no_shared_memory = true;
        return 0;
    case ARGP_KEY_END:
        if (target->token_file != NULL && target->config != NULL)
            argp_error(state, "--token-file goes with --server: one of its own has no token");
        if (target->server != NULL && target->config != NULL)
            argp_error(state, "--server and --config exclude each other");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cli_target_argp = {.options = target_options, .parser = target_parse};

// The server of --config listens nowhere but inside this process.
static enum cli_exit target_embed(struct cli_target *target, const char **ret_url)
{
    struct bm_error error = {0};
    if (bm_embedded_start(&(struct bm_embedded_config){.path = target->config}, &target->embedded,
                          &error) != BM_OK) {
        fprintf(stderr, "%s: %s%s%s\n", program_invocation_name, error.where,
                error.where[0] == '\0' ? "" : ": ", error.text);
        return CLI_FAILED;
    }
    *ret_url = bm_embedded_url(target->embedded);
    return CLI_DONE;
}

static void target_log(void *context, const char *message)
{
    (void)context;
    fprintf(stderr, "%s: %s\n", program_invocation_name, message);
}

// With the token of that file, if there is one.
static enum batchmill_code target_connect(struct cli_target *target, const char *url,
                                          const char *token_file, struct batchmill_error *error)
{
    struct bm_token token = {0};
    struct bm_error reason = {0};
    if (token_file != NULL && bm_token_load(token_file, &token, &reason) != BM_OK) {
        *error = (struct batchmill_error){.code = (enum batchmill_code)reason.status};
        snprintf(error->text, sizeof error->text, "%s: %s", reason.where, reason.text);
        return error->code;
    }
    const struct batchmill_options options = {
        .timeout_ms = target->timeout_ms,
        .log = target_log,
        .token = token.size == 0 ? NULL : token.text,
        .tls_ca_file = target->tls_ca,
        .tls_server_name = target->tls_server_name,
        .tls_certificate_file = target->tls_certificate,
        .tls_key_file = target->tls_key,
        .no_shared_memory = target->no_shared_memory,
    };
    enum batchmill_code code = batchmill_connect(url, &options, &target->client, error);
    bm_token_fini(&token);
    return code;
}

enum cli_exit cli_target_open(struct cli_target *target)
{
    cli_interrupt_setup();
    const char *url = target->server;
    if (url == NULL)
        url = getenv("BATCHMILL_SERVER");
    if (url == NULL)
        url = "tcp://127.0.0.1:7310";
    if (target->config != NULL) {
        enum cli_exit code = target_embed(target, &url);
        if (code != CLI_DONE)
            return code;
    }
    if (target->tls_ca == NULL && strncmp(url, "tls+", 4) == 0)
        target->tls_ca = getenv("BATCHMILL_TLS_CA");
    const char *token_file = target->token_file;
    if (token_file == NULL && target->config == NULL)
        token_file = getenv("BATCHMILL_TOKEN_FILE");
    struct batchmill_error error;
    if (target_connect(target, url, token_file, &error) == BATCHMILL_OK)
        return CLI_DONE;
    enum cli_exit code = cli_report(program_invocation_name, &error);
    cli_target_close(target);
    return code;
}

void cli_target_close(struct cli_target *target)
{
    batchmill_disconnect(target->client);
    target->client = NULL;
    bm_embedded_stop(target->embedded);
    target->embedded = NULL;
}
