#include "server/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/name.h"
#include "base/size.h"
#include "pipeline/params.h"
#include "plugin/plugin.h"

#define DEFAULT_LISTEN "tcp://127.0.0.1:7310"

struct settings { // the top level of the file
    struct bm_texts listen, plugins;
    int64_t workers;
    char *token_file;
    bool allow_register;
    char *lender_token_file;
    const struct bm_value *memory, *tls, *remote_actions, *sources, *pipelines;
};
static const struct bm_param settings_params[] = {
    BM_PARAM(struct settings, listen, BM_PARAM_TEXTS,
             .doc = "URLs to listen on; default " DEFAULT_LISTEN),
    BM_PARAM(struct settings, workers, BM_PARAM_INTEGER, .fallback = "0", .min = 0, .max = 1024,
             .doc = "threads of the pool; 0 = one per CPU"),
    BM_PARAM(struct settings, memory, BM_PARAM_VALUE,
             .doc = "budget of all streams together: bytes, or 512MiB, 4GiB; 0 = unlimited; "
                    "not given: half of what there is"),
    BM_PARAM(struct settings, token_file, BM_PARAM_TEXT,
             .doc = "a file of mode 0600 with the token that clients must have; default none"),
    BM_PARAM(struct settings, tls, BM_PARAM_VALUE,
             .doc = "{certificate: FILE, key: FILE, client_ca: FILE} for tls+tcp://"),
    BM_PARAM(struct settings, allow_register, BM_PARAM_BOOL, .fallback = "false",
             .doc = "clients may register pipelines over these sources"),
    BM_PARAM(struct settings, plugins, BM_PARAM_TEXTS,
             .doc = "shared objects with actions and sources of your own, or folders of *.so"),
    BM_PARAM(struct settings, lender_token_file, BM_PARAM_TEXT,
             .doc = "the same for those who lend actions; default the clients'"),
    BM_PARAM(struct settings, remote_actions, BM_PARAM_VALUE,
             .doc = "name: {writes: {...}, removes: [...], params: {...}, version, random, "
                    "stateful, deadline, attempts, doc}: actions that other processes lend"),
    BM_PARAM(struct settings, sources, BM_PARAM_VALUE, .doc = "name: {type: {parameters}}"),
    BM_PARAM(struct settings, pipelines, BM_PARAM_VALUE,
             .doc = "name: {source: name, actions: [...]}"),
};

static const struct bm_param tls_params[] = {
    BM_PARAM(struct bm_config_tls, certificate, BM_PARAM_TEXT, .required = true,
             .doc = "the server's, in PEM, and those that lead from it to the authority's"),
    BM_PARAM(struct bm_config_tls, key, BM_PARAM_TEXT, .required = true,
             .doc = "the certificate's key, in PEM, in a file of mode 0600"),
    BM_PARAM(struct bm_config_tls, client_ca, BM_PARAM_TEXT,
             .doc = "only clients with a certificate of these authorities; default all clients"),
};

#define COUNT(array) ((unsigned)(sizeof(array) / sizeof((array)[0])))

// ---- Memory sizes ----

enum bm_status bm_config_parse_size(const char *text, const char *where, uint64_t *ret_bytes,
                                    struct bm_error *err)
{
    return bm_size_parse(text, ret_bytes)
               ? BM_OK
               : bm_fail(err, BM_INVALID_ARGUMENT, where,
                         "expected " BM_SIZE_RULE ", got \"%.40s\"", text);
}

static enum bm_status config_read_memory(const struct bm_value *memory, uint64_t *ret_bytes,
                                         struct bm_error *err)
{
    if (memory == NULL || memory->kind == BM_VALUE_NULL) {
        *ret_bytes = bm_config_default_memory();
        return BM_OK;
    }
    if (memory->kind != BM_VALUE_TEXT && memory->kind != BM_VALUE_INTEGER)
        return bm_fail(err, BM_INVALID_ARGUMENT, memory->where,
                       "expected a number of bytes such as 512MiB, got %s",
                       bm_value_kind_name(memory));
    return bm_config_parse_size(memory->text, memory->where, ret_bytes, err);
}

// ---- Sources and pipelines ----

struct loader {
    struct bm_registry *registry;
    const char *directory;
    struct bm_error *err;
    const struct bm_value *definitions; // of the sources; NULL: there are none
    struct bm_source_ref **sources;     // [definitions->nchildren], NULL: not opened yet
    bool *opening;                      // likewise: waits for those that it is made of
    unsigned depth;                     // of sources that wait for one another
};
enum { SOURCE_DEPTH_MAX = 16 };

static enum bm_status config_expect_map(const struct bm_value *value, struct bm_error *err)
{
    if (value == NULL || value->kind == BM_VALUE_MAP)
        return BM_OK;
    return bm_fail(err, BM_INVALID_ARGUMENT, value->where, "expected a map, got %s",
                   bm_value_kind_name(value));
}

static unsigned config_nsources(const struct loader *loader)
{
    return loader->definitions == NULL ? 0 : loader->definitions->nchildren;
}

static enum bm_status config_find_source(void *context, const char *name, const char *where,
                                         struct bm_source_ref **ret_source, struct bm_error *err);

// Opens source i and those that it is made of, if they are not open yet.
// NOLINTNEXTLINE(misc-no-recursion): at most SOURCE_DEPTH_MAX deep
static enum bm_status config_open_source(struct loader *loader, unsigned i)
{
    const char *name = loader->definitions->keys[i];
    const struct bm_value *definition = loader->definitions->children[i];
    const struct bm_source_finder finder = {config_find_source, loader};
    if (loader->sources[i] != NULL)
        return BM_OK;
    if (loader->opening[i])
        return bm_fail(loader->err, BM_INVALID_ARGUMENT, definition->where,
                       "source %s is made of itself, by way of others or not", name);
    if (loader->depth == SOURCE_DEPTH_MAX)
        return bm_fail(loader->err, BM_INVALID_ARGUMENT, definition->where,
                       "expected sources of sources at most %d deep", SOURCE_DEPTH_MAX);
    loader->opening[i] = true;
    loader->depth++;
    enum bm_status status =
        bm_source_open_among(loader->registry, name, definition, loader->directory, &finder,
                             &loader->sources[i], loader->err);
    loader->depth--;
    loader->opening[i] = false;
    return status;
}

// NOLINTNEXTLINE(misc-no-recursion): likewise
static enum bm_status config_find_source(void *context, const char *name, const char *where,
                                         struct bm_source_ref **ret_source, struct bm_error *err)
{
    struct loader *loader = context;
    (void)err; // the loader's
    for (unsigned i = 0; i < config_nsources(loader); i++) {
        if (strcmp(loader->definitions->keys[i], name) != 0)
            continue;
        enum bm_status status = config_open_source(loader, i);
        if (status == BM_OK)
            *ret_source = bm_source_ref(loader->sources[i]);
        return status;
    }
    return bm_no_source(config_nsources(loader) == 0 ? NULL : loader->definitions->keys,
                        config_nsources(loader), where, name, loader->err);
}

static enum bm_status config_open_sources(struct loader *loader, const struct bm_value *sources)
{
    enum bm_status status = config_expect_map(sources, loader->err);
    if (status != BM_OK || sources == NULL)
        return status;
    loader->definitions = sources;
    loader->sources = calloc(sources->nchildren + 1, sizeof(struct bm_source_ref *));
    loader->opening = calloc(sources->nchildren + 1, sizeof loader->opening[0]);
    if (loader->sources == NULL || loader->opening == NULL)
        return bm_fail(loader->err, BM_RESOURCE_EXHAUSTED, sources->where, "out of memory");
    for (unsigned i = 0; i < sources->nchildren && status == BM_OK; i++)
        status = config_open_source(loader, i);
    return status;
}

static void config_close_sources(struct loader *loader)
{
    for (unsigned i = 0; loader->sources != NULL && i < config_nsources(loader); i++)
        bm_source_unref(loader->sources[i]);
    free(loader->sources);
    free(loader->opening);
}

static enum bm_status config_add_pipeline(struct loader *loader, const char *name,
                                          const struct bm_value *definition,
                                          struct bm_catalog *catalog)
{
    const struct bm_source_finder finder = {config_find_source, loader};
    struct bm_pipeline *pipeline = NULL;
    enum bm_status status =
        bm_pipeline_define(loader->registry, &finder, name, definition, &pipeline, loader->err);
    if (status == BM_OK)
        status = bm_catalog_add(catalog, pipeline, loader->err);
    if (status != BM_OK)
        bm_pipeline_unref(pipeline);
    return status;
}

// To the pipelines that clients may register.
static enum bm_status config_lend_sources(const struct loader *loader, struct bm_config *config)
{
    enum bm_status status = bm_registrar_new(loader->registry, &config->registrar, loader->err);
    for (unsigned i = 0; i < config_nsources(loader) && status == BM_OK; i++)
        status = bm_registrar_add_source(config->registrar, loader->sources[i], loader->err);
    return status;
}

static enum bm_status config_build(struct loader *loader, const struct settings *settings,
                                   struct bm_config *config)
{
    enum bm_status status = bm_catalog_new(&config->catalog, loader->err);
    if (status == BM_OK)
        status = config_open_sources(loader, settings->sources);
    if (status == BM_OK)
        status = config_expect_map(settings->pipelines, loader->err);
    const struct bm_value *pipelines = settings->pipelines;
    for (unsigned i = 0; status == BM_OK && pipelines != NULL && i < pipelines->nchildren; i++)
        status = config_add_pipeline(loader, pipelines->keys[i], pipelines->children[i],
                                     config->catalog);
    if (status == BM_OK)
        status = config_lend_sources(loader, config);
    config_close_sources(loader);
    return status;
}

static enum bm_status config_load_plugins(const struct loader *loader,
                                          const struct bm_texts *plugins)
{
    enum bm_status status = BM_OK;
    for (unsigned i = 0; i < plugins->n && status == BM_OK; i++) {
        char *path = bm_source_path(loader->directory, plugins->values[i]);
        status = path == NULL
                     ? bm_fail(loader->err, BM_RESOURCE_EXHAUSTED, "plugins", "out of memory")
                     : bm_plugins_load(loader->registry, path, loader->err);
        free(path);
    }
    return status;
}

// As a path from the configuration's folder; NULL stays NULL.
static enum bm_status config_take_path(const char *directory, const char *given, char **ret_path,
                                       struct bm_error *err)
{
    *ret_path = given == NULL ? NULL : bm_source_path(directory, given);
    if (given != NULL && *ret_path == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, given, "out of memory");
    return BM_OK;
}

static enum bm_status config_read_tls(const struct bm_value *given, const char *directory,
                                      struct bm_config_tls *tls, struct bm_error *err)
{
    struct bm_config_tls settings;
    if (given == NULL)
        return BM_OK;
    enum bm_status status =
        bm_params_parse(tls_params, COUNT(tls_params), given, given->where, &settings, err);
    if (status != BM_OK)
        return status;
    if ((status = config_take_path(directory, settings.certificate, &tls->certificate, err)) ==
            BM_OK &&
        (status = config_take_path(directory, settings.key, &tls->key, err)) == BM_OK)
        status = config_take_path(directory, settings.client_ca, &tls->client_ca, err);
    bm_params_free(tls_params, COUNT(tls_params), &settings);
    return status;
}

static enum bm_status config_copy_listen(const struct settings *settings, const char *path,
                                         struct bm_config *config, struct bm_error *err)
{
    static char *by_default[] = {DEFAULT_LISTEN};
    const struct bm_texts *given = &settings->listen;
    unsigned n = given->n == 0 ? 1 : given->n;
    char **urls = given->n == 0 ? by_default : given->values;
    if (n > BM_LISTEN_MAX)
        return bm_fail(err, BM_INVALID_ARGUMENT, path, "listen: expected at most %d URLs, got %u",
                       BM_LISTEN_MAX, n);
    for (unsigned i = 0; i < n; i++) {
        config->listen[i] = strdup(urls[i]);
        if (config->listen[i] == NULL)
            return bm_fail(err, BM_RESOURCE_EXHAUSTED, path, "out of memory");
        config->nlisten++;
    }
    return BM_OK;
}

// ---- The file ----

static enum bm_status config_read_fd(int fd, const char *path, struct bm_buffer *text,
                                     struct bm_error *err)
{
    for (;;) {
        char block[16384];
        ssize_t got = read(fd, block, sizeof block);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return bm_fail(err, BM_INVALID_ARGUMENT, path, "cannot read: %m");
        if (got == 0)
            return BM_OK;
        bm_buffer_add(text, block, (size_t)got);
        if (bm_buffer_failed(text))
            return bm_fail(err, BM_RESOURCE_EXHAUSTED, path, "out of memory");
    }
}

static enum bm_status config_read_file(const char *path, struct bm_buffer *text,
                                       struct bm_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return bm_fail(err, BM_NOT_FOUND, path, "cannot open: %m");
    struct stat info;
    enum bm_status status;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        status = bm_fail(err, BM_INVALID_ARGUMENT, path, "expected a regular file");
    else
        status = config_read_fd(fd, path, text, err);
    close(fd);
    return status;
}

// Of the file, for the relative paths in it.
static char *config_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static enum bm_status config_read(const struct bm_value *root, const char *path,
                                  struct bm_registry *registry, struct bm_config *config,
                                  struct bm_error *err)
{
    char *directory = config_directory(path);
    if (directory == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, path, "out of memory");
    struct loader loader = {.registry = registry, .directory = directory, .err = err};
    struct settings settings;
    enum bm_status status =
        bm_params_parse(settings_params, COUNT(settings_params), root, path, &settings, err);
    if (status != BM_OK) {
        free(directory);
        return status;
    }
    config->workers = (unsigned)settings.workers;
    config->allow_register = settings.allow_register;
    status = config_read_memory(settings.memory, &config->memory_bytes, err);
    if (status == BM_OK)
        status = config_copy_listen(&settings, path, config, err);
    if (status == BM_OK)
        status = config_take_path(directory, settings.token_file, &config->token_file, err);
    if (status == BM_OK)
        status = config_read_tls(settings.tls, directory, &config->tls, err);
    if (status == BM_OK)
        status = config_load_plugins(&loader, &settings.plugins);
    if (status == BM_OK)
        status = config_take_path(directory, settings.lender_token_file, &config->lender_token_file,
                                  err);
    if (status == BM_OK && settings.remote_actions != NULL)
        status = bm_remote_new(&config->remote, err);
    if (status == BM_OK && settings.remote_actions != NULL)
        status = bm_remote_declare(config->remote, settings.remote_actions, registry, err);
    if (status == BM_OK)
        status = config_build(&loader, &settings, config);
    bm_params_free(settings_params, COUNT(settings_params), &settings);
    free(directory);
    return status;
}

enum bm_status bm_config_load(const char *path, struct bm_registry *registry,
                              struct bm_config *ret_config, struct bm_error *err)
{
    struct bm_buffer text;
    struct bm_value *root = NULL;
    struct bm_config config = {0};
    bm_buffer_init(&text);
    enum bm_status status = config_read_file(path, &text, err);
    if (status == BM_OK) // of an empty file there is no data, and libyaml wants a text
        status = bm_yaml_parse(text.size == 0 ? "" : (const char *)text.data, text.size, path,
                               &root, err);
    if (status == BM_OK)
        status = config_read(root, path, registry, &config, err);
    if (status == BM_OK)
        *ret_config = config;
    else
        bm_config_fini(&config);
    bm_value_free(root);
    bm_buffer_fini(&text);
    return status;
}

void bm_config_fini(struct bm_config *config)
{
    for (unsigned i = 0; i < config->nlisten; i++)
        free(config->listen[i]);
    free(config->token_file);
    free(config->lender_token_file);
    free(config->tls.certificate);
    free(config->tls.key);
    free(config->tls.client_ca);
    bm_registrar_free(config->registrar);
    bm_catalog_free(config->catalog);
    bm_remote_free(config->remote); // its pipelines are gone
    *config = (struct bm_config){0};
}
