#include "server/server.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "run/pool.h"
#include "server/same_host.h"
#include "server/session.h"
#include "server/transport.h"

struct bm_server {
    struct bm_session_host host;
    struct bm_pool *pool;
    struct bm_executor *executor; // of the pool
    struct bm_scheduler *scheduler;
    struct bm_session *session;
    struct bm_tls_context *tls; // NULL: none
    struct bm_transport *transport;
    struct bm_same_host same_host;
    bool has_same_host; // there is one
    void (*note)(const char *text);
};

// ---- What the session needs of the world ----

static void server_reply(struct bm_session_host *self, struct bm_exchange *exchange)
{
    (void)self;
    exchange->send(exchange);
}

static uint64_t server_random(struct bm_session_host *self)
{
    (void)self;
    uint64_t bits;
    while (getrandom(&bits, sizeof bits, 0) != sizeof bits)
        ; // only a signal interrupts it
    return bits;
}

static bool server_sees(struct bm_session_host *self, const struct bm_probe *probe)
{
    (void)self;
    return bm_mapped_is_here(probe);
}

static void server_note(struct bm_session_host *self, const char *text)
{
    const struct bm_server *server = BM_CONTAINER(self, struct bm_server, host);
    if (server->note != NULL)
        server->note(text);
}

static struct bm_connection_counts server_connections(struct bm_session_host *self)
{
    return bm_server_counts(BM_CONTAINER(self, struct bm_server, host));
}

static void server_flush(void *context)
{
    bm_session_flush(context);
}

// ---- Starting ----

static unsigned server_ncpus(void) // that this process may use
{
    cpu_set_t cpus;
    int n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    return n > BM_WORKERS_MAX ? BM_WORKERS_MAX : (unsigned)n;
}

static enum bm_status server_start_transport(struct bm_server *server,
                                             const struct bm_server_config *config,
                                             struct bm_error *err)
{
    const struct bm_tls_files *files = &config->tls;
    enum bm_status status = BM_OK;
    if (files->certificate != NULL || files->key != NULL || files->ca != NULL)
        status = bm_tls_context_new(BM_TLS_SERVER, files, &server->tls, err);
    const struct bm_transport_config transport = {server->executor, server->session, server->tls};
    if (status == BM_OK)
        status = bm_transport_new(&transport, &server->transport, err);
    for (unsigned i = 0; i < config->nlisten && status == BM_OK; i++)
        status = bm_transport_listen(server->transport, config->listen[i],
                                     config->insecure || config->token != NULL, err);
    return status;
}

static enum bm_status server_start(struct bm_server *server, const struct bm_server_config *config,
                                   struct bm_error *err)
{
    unsigned nworkers = config->workers == 0 ? server_ncpus() : config->workers;
    enum bm_status status = bm_pool_new(nworkers, &server->pool, err);
    if (status != BM_OK)
        return status;
    server->executor = bm_pool_executor(server->pool);
    const struct bm_scheduler_config scheduler = {.executor = server->executor,
                                                  .memory_bytes = config->memory_bytes,
                                                  .nworkers = nworkers,
                                                  .spread_ns = BM_SPREAD_NS};
    if ((status = bm_scheduler_new(&scheduler, &server->scheduler, err)) != BM_OK)
        return status;
    server->has_same_host =
        !config->no_shared_memory && bm_same_host_open(BM_SHARED_BYTES_MIN, &server->same_host);
    const struct bm_session_config session = {
        .scheduler = server->scheduler,
        .executor = server->executor,
        .catalog = config->catalog,
        .registrar = config->registrar,
        .host = &server->host,
        .remote = config->remote,
        .token = config->token,
        .lender_token = config->lender_token,
        .same_host = server->has_same_host ? &server->same_host : NULL,
        .workers = nworkers,
        .lease_ms = config->lease_ms,
    };
    if ((status = bm_session_new(&session, &server->session, err)) != BM_OK)
        return status;
    bm_pool_set_flush(server->pool, server_flush, server->session);
    if ((status = bm_pool_start(server->pool, server->scheduler, err)) != BM_OK)
        return status;
    return server_start_transport(server, config, err);
}

enum bm_status bm_server_start(const struct bm_server_config *config, struct bm_server **ret_server,
                               struct bm_error *err)
{
    struct bm_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for the server");
    server->host = (struct bm_session_host){.reply = server_reply,
                                            .random = server_random,
                                            .connections = server_connections,
                                            .note = server_note,
                                            .sees = config->no_shared_memory ? NULL : server_sees};
    server->note = config->note;
    enum bm_status status = server_start(server, config, err);
    if (status != BM_OK)
        bm_server_stop(server);
    else
        *ret_server = server;
    return status;
}

const char *bm_server_url(const struct bm_server *server, unsigned i)
{
    return bm_transport_url(server->transport, i);
}

struct bm_connection_counts bm_server_counts(struct bm_server *server)
{
    return bm_transport_counts(server->transport);
}

// ---- Stopping ----

void bm_server_drain(struct bm_server *server)
{
    server->executor->enter(server->executor);
    bm_session_drain(server->session);
    server->executor->leave(server->executor);
}

bool bm_server_idle(struct bm_server *server)
{
    server->executor->enter(server->executor);
    bool idle = bm_session_idle(server->session);
    server->executor->leave(server->executor);
    return idle;
}

// An action that waits without a worker still has its batch's memory: only it can end the wait.
static void server_wait_for_actions(struct bm_server *server)
{
    for (;;) {
        server->executor->enter(server->executor);
        bool idle = bm_scheduler_idle(server->scheduler);
        server->executor->leave(server->executor);
        if (idle)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

// Works from any point that server_start() may have come to.
void bm_server_stop(struct bm_server *server)
{
    if (server == NULL)
        return;
    if (server->session != NULL) {
        server->executor->enter(server->executor);
        bm_session_close(server->session);
        server->executor->leave(server->executor);
        server_wait_for_actions(server);
    }
    if (server->pool != NULL)
        bm_pool_stop(server->pool);
    bm_transport_free(server->transport);
    bm_tls_context_free(server->tls);
    bm_session_free(server->session);
    bm_scheduler_free(server->scheduler);
    bm_pool_free(server->pool);
    if (server->has_same_host)
        bm_same_host_close(&server->same_host);
    free(server);
}
