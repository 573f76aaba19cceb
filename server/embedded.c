#include "server/embedded.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "actions/actions.h"
#include "sources/sources.h"

struct bm_embedded {
    struct bm_registry *registry;
    struct bm_config config;
    struct bm_server *server;
    unsigned nlisten;
};

enum bm_status bm_registry_of_all(struct bm_registry **ret_registry, struct bm_error *err)
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

static enum bm_status embedded_start(struct bm_embedded *embedded,
                                     const struct bm_embedded_config *config, struct bm_error *err)
{
    static atomic_uint count; // a process may have several
    char url[64];
    enum bm_status status = bm_registry_of_all(&embedded->registry, err);
    if (status == BM_OK)
        status = bm_config_load(config->path, embedded->registry, &embedded->config, err);
    if (status != BM_OK)
        return status;
    snprintf(url, sizeof url, "inproc://batchmill-%ld-%u", (long)getpid(),
             atomic_fetch_add(&count, 1));
    const struct bm_config *loaded = &embedded->config;
    const char *const listen[] = {url, config->listen};
    embedded->nlisten = config->listen == NULL ? 1 : 2;
    return bm_server_start(
        &(struct bm_server_config){
            .catalog = loaded->catalog,
            .registrar = loaded->allow_register ? loaded->registrar : NULL,
            .remote = loaded->remote,
            .listen = listen,
            .nlisten = embedded->nlisten,
            .workers = config->has_workers ? config->workers : loaded->workers,
            .memory_bytes = config->has_memory ? config->memory_bytes : loaded->memory_bytes},
        &embedded->server, err);
}

enum bm_status bm_embedded_start(const struct bm_embedded_config *config,
                                 struct bm_embedded **ret_embedded, struct bm_error *err)
{
    struct bm_embedded *embedded = calloc(1, sizeof *embedded);
    if (embedded == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory");
    enum bm_status status = embedded_start(embedded, config, err);
    if (status == BM_OK)
        *ret_embedded = embedded;
    else
        bm_embedded_stop(embedded);
    return status;
}

const char *bm_embedded_url(const struct bm_embedded *embedded)
{
    return bm_server_url(embedded->server, 0);
}

const char *bm_embedded_listen(const struct bm_embedded *embedded)
{
    return embedded->nlisten == 1 ? NULL : bm_server_url(embedded->server, 1);
}

void bm_embedded_stop(struct bm_embedded *embedded)
{
    if (embedded == NULL)
        return;
    bm_server_stop(embedded->server);
    bm_config_fini(&embedded->config);
    bm_registry_free(embedded->registry);
    free(embedded);
}
