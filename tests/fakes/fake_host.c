#include "fakes/fake_host.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "server/config.h"
#include "support.h"

static void host_reply(struct bm_session_host *self, struct bm_exchange *exchange)
{
    (void)self;
    BM_CONTAINER(exchange, struct fake_call, exchange)->nanswers++;
}

static uint64_t host_random(struct bm_session_host *self)
{
    return bm_mix64(++BM_CONTAINER(self, struct fake_host, base)->random);
}

static void host_flush(void *context)
{
    bm_session_flush(context);
}

static uint64_t no_time(const struct bm_job *job)
{
    (void)job;
    return 0;
}

static void host_make_registrar(struct fake_host *host)
{
    static const char text[] = "{count: {n: 40}}";
    struct bm_value *definition = NULL;
    struct bm_source_ref *source = NULL;
    assert_int_equal(bm_yaml_parse(text, strlen(text), "source", &definition, NULL), BM_OK);
    assert_int_equal(bm_source_open(host->mill.registry, "numbers", definition, ".", &source, NULL),
                     BM_OK);
    assert_int_equal(bm_registrar_new(host->mill.registry, &host->registrar, NULL), BM_OK);
    assert_int_equal(bm_registrar_add_source(host->registrar, source, NULL), BM_OK);
    bm_source_unref(source);
    bm_value_free(definition);
}

static void host_declare(struct fake_host *host, const char *text)
{
    struct bm_value *declarations = NULL;
    assert_int_equal(bm_yaml_parse(text, strlen(text), "remote", &declarations, NULL), BM_OK);
    assert_int_equal(bm_remote_new(&host->remote, NULL), BM_OK);
    assert_int_equal(bm_remote_declare(host->remote, declarations, host->mill.registry, NULL),
                     BM_OK);
    bm_value_free(declarations);
}

static void host_start(struct fake_host *host, unsigned nworkers, uint64_t seed, const char *token,
                       uint64_t memory_bytes, bool registers, const char *declarations)
{
    *host = (struct fake_host){.base = {.reply = host_reply, .random = host_random},
                               .token = {.size = strlen(token)},
                               .connection = 1};
    strcpy(host->token.text, token);
    mill_init(&host->mill, nworkers, seed, memory_bytes, NULL);
    host->same_host.pool = bm_shared_pool_new(BM_SHARED_BYTES_MIN);
    assert_non_null(host->same_host.pool);
    assert_int_equal(bm_catalog_new(&host->catalog, NULL), BM_OK);
    if (registers)
        host_make_registrar(host);
    if (declarations != NULL)
        host_declare(host, declarations);
    const struct bm_session_config config = {
        .scheduler = host->mill.scheduler,
        .executor = &host->mill.executor.base,
        .catalog = host->catalog,
        .registrar = host->registrar,
        .host = &host->base,
        .remote = host->remote,
        .token = host->token.size == 0 ? NULL : &host->token,
        .same_host = &host->same_host,
        .workers = 2,
        .lease_ms = FAKE_LEASE_MS,
    };
    assert_int_equal(bm_session_new(&config, &host->session, NULL), BM_OK);
    host->mill.executor.flush = host_flush;
    host->mill.executor.flush_context = host->session;
}

void fake_host_init_seeded(struct fake_host *host, unsigned nworkers, uint64_t seed)
{
    host_start(host, nworkers, seed, "", 0, false, NULL);
}

static void host_start_plain(struct fake_host *host, const char *token, uint64_t memory_bytes,
                             bool registers, const char *declarations)
{
    // One worker: actions `hand` wait in order of seq.
    host_start(host, 1, 1, token, memory_bytes, registers, declarations);
    host->mill.executor.eager = true;
    host->mill.executor.duration = no_time;
}

void fake_host_init(struct fake_host *host)
{
    host_start_plain(host, "", 0, false, NULL);
}

void fake_host_init_with_token(struct fake_host *host, const char *token)
{
    host_start_plain(host, token, 0, false, NULL);
}

void fake_host_init_with_memory(struct fake_host *host, uint64_t memory_bytes)
{
    host_start_plain(host, "", memory_bytes, false, NULL);
}

void fake_host_init_registering(struct fake_host *host)
{
    host_start_plain(host, "", 0, true, NULL);
}

void fake_host_init_lending(struct fake_host *host, const char *declarations_yaml)
{
    host_start_plain(host, "", 0, false, declarations_yaml);
}

void fake_host_disconnect(struct fake_host *host, uint64_t connection)
{
    struct bm_executor *executor = &host->mill.executor.base;
    executor->enter(executor);
    bm_session_disconnected(host->session, connection);
    executor->leave(executor);
    fake_host_settle(host);
}

void fake_host_fini(struct fake_host *host)
{
    struct bm_executor *executor = &host->mill.executor.base;
    executor->enter(executor);
    bm_session_close(host->session);
    assert_true(bm_session_idle(host->session));
    executor->leave(executor);
    while (mill_deferred_count() > 0) // only the action ends its wait, also when nobody wants it
        fake_host_finish(host, 0);
    host->mill.executor.flush = NULL;
    bm_session_free(host->session);
    bm_registrar_free(host->registrar);
    bm_catalog_free(host->catalog);
    mill_fini(&host->mill);
    bm_remote_free(host->remote);
    bm_shared_pool_free(host->same_host.pool);
}

struct bm_pipeline *fake_host_add(struct fake_host *host, const char *name, uint64_t nitems,
                                  const char *actions_yaml)
{
    struct bm_pipeline *pipeline = mill_pipeline(&host->mill, name, nitems, actions_yaml);
    assert_int_equal(bm_catalog_add(host->catalog, pipeline, NULL), BM_OK);
    return pipeline;
}

// ---- Calls ----

struct fake_call *fake_call(struct fake_host *host, enum bm_call_kind kind,
                            struct bm_request request)
{
    struct bm_executor *executor = &host->mill.executor.base;
    struct fake_call *call = calloc(1, sizeof *call);
    assert_non_null(call);
    request.kind = kind;
    call->exchange.request = request;
    call->exchange.same_host = host->local;
    call->exchange.connection = host->connection;
    executor->enter(executor);
    bm_session_request(host->session, &call->exchange);
    executor->leave(executor);
    fake_host_settle(host);
    return call;
}

static struct bm_open_request open_complete(struct bm_open_request open)
{
    open.pipeline = open.pipeline == NULL ? "" : open.pipeline;
    open.position = open.position == NULL ? "" : open.position;
    open.cursor = open.cursor == NULL ? "" : open.cursor;
    return open;
}

struct fake_call *fake_open(struct fake_host *host, struct bm_open_request open)
{
    return fake_call(host, BM_CALL_OPEN_STREAM, (struct bm_request){.open = open_complete(open)});
}

struct fake_call *fake_run(struct fake_host *host, struct bm_open_request open)
{
    return fake_call(host, BM_CALL_RUN, (struct bm_request){.open = open_complete(open)});
}

struct fake_call *fake_next(struct fake_host *host, struct bm_next_request next)
{
    return fake_call(host, BM_CALL_NEXT_BATCHES, (struct bm_request){.next = next});
}

struct fake_call *fake_named(struct fake_host *host, enum bm_call_kind kind, const char *name)
{
    return fake_call(host, kind, (struct bm_request){.named.name = name});
}

struct fake_call *fake_get_run(struct fake_host *host, const char *id, uint32_t wait_ms)
{
    struct bm_request request = {.named = {.name = id, .wait_ms = wait_ms}};
    return fake_call(host, BM_CALL_GET_RUN, request);
}

void fake_call_free(struct fake_call *call)
{
    if (call == NULL)
        return;
    assert_int_equal(call->nanswers, 1);
    bm_exchange_fini(&call->exchange);
    free(call);
}

bool fake_answered(const struct fake_call *call)
{
    return call->nanswers > 0;
}

const struct bm_reply *fake_reply(const struct fake_call *call)
{
    assert_int_equal(call->nanswers, 1);
    return &call->exchange.reply;
}

void fake_expect(struct fake_call *call, enum bm_status code, const char *text)
{
    const struct bm_reply *reply = fake_reply(call);
    if (reply->code != code || strstr(reply->message, text) == NULL)
        fail_msg("expected %s with \"%s\", got %s: %s", bm_status_name(code), text,
                 bm_status_name(reply->code), reply->message);
    fake_call_free(call);
}

void fake_id(struct fake_call *call, char ret_id[BM_STREAM_ID_MAX + 1])
{
    const struct bm_reply *reply = fake_reply(call);
    if (reply->code != BM_OK)
        fail_msg("expected OK, got %s: %s", bm_status_name(reply->code), reply->message);
    strcpy(ret_id, reply->opened.id);
    fake_call_free(call);
}

// ---- Time ----

void fake_host_settle(struct fake_host *host)
{
    fake_executor_settle(&host->mill.executor, host->mill.executor.now_ns);
}

void fake_host_pass(struct fake_host *host, uint64_t ms)
{
    fake_executor_settle(&host->mill.executor, host->mill.executor.now_ns + ms * 1000000);
}

void fake_host_finish(struct fake_host *host, unsigned hand)
{
    mill_finish_deferred(hand, BM_RESULT_OK);
    fake_host_settle(host);
}
