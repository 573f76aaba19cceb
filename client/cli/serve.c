// serve.c -- `batchmill serve`: the server as a process: options, signals, drain.
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "client/cli/cli.h"
#include "plugin/plugin.h"
#include "server/embedded.h"

enum {
    KEY_CONFIG = 0x100,
    KEY_LISTEN,
    KEY_WORKERS,
    KEY_MEMORY,
    KEY_CHECK,
    KEY_INSECURE,
    KEY_ALLOW_REGISTER,
    KEY_NO_SHARED,
    KEY_TOKEN_FILE,
    KEY_TLS_CERTIFICATE,
    KEY_TLS_KEY,
    KEY_TLS_CLIENT_CA,
    KEY_LOG_FORMAT,
    KEY_LOG_LEVEL,
    KEY_DRAIN,
    KEY_PLUGINS
};

enum { STOP_SECONDS_MAX = 10, PLUGINS_MAX = 64 };

struct serve {
    const char *config, *token_file;
    struct bm_token token, lender_token; // size 0: none
    struct bm_tls_files tls;
    const char *listen[BM_LISTEN_MAX];
    const char *plugins[PLUGINS_MAX];
    unsigned nlisten, nplugins, workers;
    bool has_workers, has_memory, check, insecure, allow_register, no_shared_memory, json;
    uint64_t memory_bytes, drain_seconds;
    enum bm_log_level level;
};

static const struct argp_option serve_options[] = {
    {"config", KEY_CONFIG, "FILE", 0, "the configuration; also as the only argument", 0},
    {"check", KEY_CHECK, NULL, 0, "only validate the configuration and open its sources", 0},
    {"listen", KEY_LISTEN, "URL", 0, "instead of the configuration's; may be repeated", 0},
    {"workers", KEY_WORKERS, "N", 0, "instead of the configuration's; 0 = one per CPU", 0},
    {"memory", KEY_MEMORY, "SIZE", 0, "instead of the configuration's, such as 4GiB", 0},
    {"token-file", KEY_TOKEN_FILE, "FILE", 0,
     "instead of the configuration's: only clients that have the token in this file are served; "
     "mode 0600",
     0},
    {"tls-certificate", KEY_TLS_CERTIFICATE, "FILE", 0,
     "instead of the configuration's, with --tls-key: what tls+tcp:// shows to clients, in PEM", 0},
    {"tls-key", KEY_TLS_KEY, "FILE", 0, "the certificate's key, in PEM; mode 0600", 0},
    {"tls-client-ca", KEY_TLS_CLIENT_CA, "FILE", 0,
     "over tls+tcp://, serve only clients with a certificate of these authorities", 0},
    {"insecure", KEY_INSECURE, NULL, 0, "listen on other addresses than loopback without a token",
     0},
    {"allow-register", KEY_ALLOW_REGISTER, NULL, 0,
     "clients may register pipelines over the configuration's sources", 0},
    {"no-shared-memory", KEY_NO_SHARED, NULL, 0,
     "send every batch by the socket, also to clients on this host", 0},
    {"plugins", KEY_PLUGINS, "PATH", 0,
     "beside the configuration's: a shared object with actions and sources, or a folder of *.so; "
     "may be repeated",
     0},
    {"drain", KEY_DRAIN, "SECONDS", 0,
     "after SIGTERM, wait this long for open streams; default 30. A second signal ends at once", 0},
    {"log-format", KEY_LOG_FORMAT, "text|json", 0, "default text (logfmt), on standard error", 0},
    {"log-level", KEY_LOG_LEVEL, "LEVEL", 0, "debug, info (default), warning or error", 0},
    {0},
};

static void serve_log_level(struct serve *serve, struct argp_state *state, const char *text)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(text, levels[i]) == 0) {
            serve->level = (enum bm_log_level)i;
            return;
        }
    }
    argp_error(state, "--log-level: expected debug, info, warning or error, got \"%s\"", text);
}

static void serve_listen(struct serve *serve, struct argp_state *state, const char *url)
{
    if (serve->nlisten == BM_LISTEN_MAX)
        argp_error(state, "--listen: at most %d URLs", BM_LISTEN_MAX);
    serve->listen[serve->nlisten++] = url;
}

static void serve_plugins(struct serve *serve, struct argp_state *state, const char *path)
{
    if (serve->nplugins == PLUGINS_MAX)
        argp_error(state, "--plugins: at most %d paths", PLUGINS_MAX);
    serve->plugins[serve->nplugins++] = path;
}

static void serve_set_config(struct serve *serve, struct argp_state *state, const char *path)
{
    if (serve->config != NULL)
        argp_error(state, "expected one configuration, got \"%s\" and \"%s\"", serve->config, path);
    serve->config = path;
}

static error_t serve_parse(int key, char *arg, struct argp_state *state)
{
    struct serve *serve = state->input;
    struct bm_error error;
    switch (key) {
    case KEY_CONFIG:
    case ARGP_KEY_ARG:
        serve_set_config(serve, state, arg);
        return 0;
    case KEY_LISTEN:
        serve_listen(serve, state, arg);
        return 0;
    case KEY_PLUGINS:
        serve_plugins(serve, state, arg);
        return 0;
    case KEY_WORKERS:
        serve->workers = (unsigned)cli_number(state, "workers", arg, 0, 1024);
        serve->has_workers = true;
        return 0;
    case KEY_MEMORY:
        if (bm_config_parse_size(arg, "--memory", &serve->memory_bytes, &error) != BM_OK)
            argp_error(state, "%s: %s", error.where, error.text);
        serve->has_memory = true;
        return 0;
    case KEY_CHECK:
        serve->check = true;
        return 0;
    case KEY_INSECURE:
        serve->insecure = true;
        return 0;
    case KEY_ALLOW_REGISTER:
        serve->allow_register = true;
        return 0;
    case KEY_NO_SHARED:
        serve->no_shared_memory = true;
        return 0;
    case KEY_TOKEN_FILE:
        serve->token_file = arg;
        return 0;
    case KEY_TLS_CERTIFICATE:
        serve->tls.certificate = arg;
        return 0;
    case KEY_TLS_KEY:
        serve->tls.key = arg;
        return 0;
    case KEY_TLS_CLIENT_CA:
        serve->tls.ca = arg;
        return 0;
    case KEY_DRAIN:
        serve->drain_seconds = cli_number(state, "drain", arg, 0, 86400);
        return 0;
    case KEY_LOG_FORMAT:
        serve->json = strcmp(arg, "json") == 0;
        if (!serve->json && strcmp(arg, "text") != 0)
            argp_error(state, "--log-format: expected text or json, got \"%s\"", arg);
        return 0;
    case KEY_LOG_LEVEL:
        serve_log_level(serve, state, arg);
        return 0;
    case ARGP_KEY_END:
        if (serve->config == NULL)
            argp_error(state, "which configuration?");
        if ((serve->tls.certificate == NULL) != (serve->tls.key == NULL))
            argp_error(state, "--tls-certificate and --tls-key belong together");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int serve_fail(const char *event, const struct bm_error *error)
{
    BM_LOG(BM_LOG_ERROR, event, BM_TEXT("code", bm_status_name(error->status)),
           BM_TEXT("where", error->where), BM_TEXT("message", error->text));
    return CLI_FAILED;
}

// Large messages are allocated and freed all the time: keep their memory instead of giving it
// back to the kernel page by page (measured: replies of 1 MiB are 1.2 to 1.8 times as fast).
static void serve_tune_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);
    mallopt(M_TRIM_THRESHOLD, 1024 * 1024 * 1024);
    mallopt(M_ARENA_MAX, 1);
}

// Waits for a signal, at most `seconds`; 0: none came.
static int serve_wait(const sigset_t *signals, double seconds)
{
    struct timespec limit = {.tv_sec = (time_t)seconds,
                             .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    int got = sigtimedwait(signals, NULL, &limit);
    return got > 0 ? got : 0;
}

static void serve_until_signal(struct bm_server *server, const struct serve *serve,
                               const sigset_t *signals)
{
    int got = 0;
    while (got == 0)
        got = serve_wait(signals, 3600);
    BM_LOG(BM_LOG_INFO, "draining", BM_TEXT("signal", strsignal(got)),
           BM_NUMBER("seconds_max", serve->drain_seconds));
    bm_server_drain(server);
    struct bm_clock *clock = bm_clock_system();
    uint64_t until_ns = clock->now_ns(clock) + serve->drain_seconds * 1000000000u;
    while (!bm_server_idle(server) && clock->now_ns(clock) < until_ns) {
        if (serve_wait(signals, 0.02) != 0) {
            BM_LOG(BM_LOG_WARNING, "second-signal", BM_TEXT("message", "leaving at once"));
            return;
        }
    }
}

// Everything is answered and closed by now; only nng 1.5.2 may hang on a connection that broke at a
// bad moment, and a service must not outlive its SIGTERM for that.
static void serve_leave_anyway(int signal)
{
    (void)signal;
    _exit(CLI_DONE);
}

// What the options say comes before what the configuration says: certificate and key together.
static struct bm_tls_files serve_tls(const struct serve *serve, const struct bm_config_tls *tls)
{
    struct bm_tls_files files = {tls->certificate, tls->key, tls->client_ca};
    if (serve->tls.certificate != NULL) {
        files.certificate = serve->tls.certificate;
        files.key = serve->tls.key;
    }
    if (serve->tls.ca != NULL)
        files.ca = serve->tls.ca;
    return files;
}

static void serve_note(const char *text)
{
    BM_LOG(BM_LOG_INFO, "remote-actions", BM_TEXT("message", text));
}

static int serve_run(const struct serve *serve, const struct bm_config *config,
                     const sigset_t *signals)
{
    bool allow_register = serve->allow_register || config->allow_register;
    unsigned npipelines = bm_catalog_count(config->catalog); // before clients add theirs
    struct bm_server_config server_config = {
        .catalog = config->catalog,
        .registrar = allow_register ? config->registrar : NULL,
        .listen = (const char *const *)config->listen,
        .nlisten = config->nlisten,
        .workers = serve->has_workers ? serve->workers : config->workers,
        .memory_bytes = serve->has_memory ? serve->memory_bytes : config->memory_bytes,
        .remote = config->remote,
        .token = serve->token.size == 0 ? NULL : &serve->token,
        .lender_token = serve->lender_token.size == 0 ? NULL : &serve->lender_token,
        .note = serve_note,
        .tls = serve_tls(serve, &config->tls),
        .insecure = serve->insecure,
        .no_shared_memory = serve->no_shared_memory,
    };
    if (serve->nlisten > 0) {
        server_config.listen = serve->listen;
        server_config.nlisten = serve->nlisten;
    }
    struct bm_server *server = NULL;
    struct bm_error error = {0};
    if (bm_server_start(&server_config, &server, &error) != BM_OK)
        return serve_fail("cannot-start", &error);
    for (unsigned i = 0; i < server_config.nlisten; i++)
        BM_LOG(BM_LOG_INFO, "listening", BM_TEXT("url", bm_server_url(server, i)),
               BM_NUMBER("pipelines", npipelines), BM_TEXT("version", batchmill_version()));
    serve_until_signal(server, serve, signals);
    signal(SIGALRM, serve_leave_anyway);
    alarm(STOP_SECONDS_MAX);
    bm_server_stop(server);
    BM_LOG(BM_LOG_INFO, "stopped", BM_TEXT("message", "bye"));
    return CLI_DONE;
}

static enum bm_status serve_load(struct serve *serve, struct bm_registry **registry,
                                 struct bm_config *config, struct bm_error *err)
{
    enum bm_status status = bm_registry_of_all(registry, err);
    for (unsigned i = 0; i < serve->nplugins && status == BM_OK; i++)
        status = bm_plugins_load(*registry, serve->plugins[i], err);
    if (status == BM_OK)
        status = bm_config_load(serve->config, *registry, config, err);
    const char *token_file = serve->token_file != NULL ? serve->token_file : config->token_file;
    if (status == BM_OK && token_file != NULL)
        status = bm_token_load(token_file, &serve->token, err);
    if (status == BM_OK && config->lender_token_file != NULL)
        status = bm_token_load(config->lender_token_file, &serve->lender_token, err);
    return status;
}

int cli_serve(int argc, char **argv)
{
    const struct argp argp = {.options = serve_options,
                              .parser = serve_parse,
                              .args_doc = "[FILE]",
                              .doc = "Host the pipelines of a configuration file."};
    struct serve serve = {.drain_seconds = 30, .level = BM_LOG_INFO};
    argp_parse(&argp, argc, argv, 0, NULL, &serve);
    bm_log_setup(serve.level, serve.json);
    serve_tune_memory();
    // Before any thread starts, so that only this one, in sigtimedwait(), gets them; else a
    // process 1 in a container would ignore SIGTERM.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    struct bm_registry *registry = NULL;
    struct bm_config config = {0};
    struct bm_error error = {0};
    int code;
    if (serve_load(&serve, &registry, &config, &error) != BM_OK) {
        if (serve.check) // for people and editors: file:line: path: what
            fprintf(stderr, "%s: %s\n", error.where, error.text);
        code = serve.check ? CLI_FAILED : serve_fail("bad-configuration", &error);
    } else if (serve.check) {
        printf("%s: ok, %u pipelines\n", serve.config, bm_catalog_count(config.catalog));
        code = CLI_DONE;
    } else {
        code = serve_run(&serve, &config, &signals);
    }
    bm_token_fini(&serve.token);
    bm_token_fini(&serve.lender_token);
    bm_config_fini(&config);
    bm_registry_free(registry);
    return code;
}
