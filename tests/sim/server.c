// The server: the real codec, session and scheduler on the fake executor. Killing it frees its
// memory as the kernel would; what it had is lost, and the network finds out.
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "fakes/fake_executor.h"
#include "server/codec.h"
#include "server/same_host.h"
#include "server/session.h"
#include "sim/simulation.h"

struct exchange { // the transport's context
    struct bm_node node;
    struct bm_exchange exchange;
    struct sim_connection *connection;
    void *tag;
    uint64_t id;
};

static struct {
    struct sim_process process;
    struct fake_executor executor;
    struct bm_session_host host;
    struct bm_scheduler *scheduler;
    struct bm_catalog *catalog;
    struct bm_session *session;
    struct bm_same_host same_host;
    bool shares;
    struct bm_list connections;
    struct sim_event step, restart, leave;
    bool closed; // draining is over; what still runs is waited for
    uint64_t drain_until_ns;
} server;

bool server_alive(void)
{
    return server.process.alive;
}

struct sim_process *server_process(void)
{
    return &server.process;
}

const struct bm_scheduler *server_scheduler(void)
{
    return server.process.alive ? server.scheduler : NULL;
}

static struct bm_executor *server_enter(void)
{
    struct bm_executor *executor = &server.executor.base;
    server.executor.now_ns = sim_process_now(&server.process);
    executor->enter(executor);
    return executor;
}

// The executor's next event becomes one of the world's.
static void server_schedule(void)
{
    uint64_t due_ns = fake_executor_due_ns(&server.executor);
    uint64_t now_ns = server.executor.now_ns;
    if (due_ns == UINT64_MAX)
        sim_unschedule(&server.step);
    else
        sim_schedule(&server.step, sim.now_ns + (due_ns > now_ns ? due_ns - now_ns : 0));
}

static void server_leave(struct bm_executor *executor)
{
    executor->leave(executor);
    server_schedule();
}

static void server_step(struct sim_event *event)
{
    (void)event;
    fake_executor_step_at(&server.executor, sim_process_now(&server.process));
    server_schedule();
}

static uint64_t step_duration(const struct bm_job *job)
{
    (void)job;
    return sim_duration(scenario.step_ns);
}

// ---- Answers ----

static void exchange_free(struct exchange *exchange)
{
    bm_exchange_fini(&exchange->exchange);
    bm_list_remove(&exchange->node);
    free(exchange);
}

// The world loses messages, not pieces of them. No memory to join them: the answer is lost.
static void host_send(const struct exchange *exchange, const struct bm_reply_pieces *pieces)
{
    char *bytes = malloc(pieces->size), *at = bytes;
    for (unsigned i = 0; i < pieces->npieces && bytes != NULL; i++)
        at = (char *)mempcpy(at, pieces->pieces[i].iov_base, pieces->pieces[i].iov_len);
    if (bytes != NULL)
        wire_answer(exchange->tag, exchange->id, exchange->connection, bytes, pieces->size);
    free(bytes);
}

// As transport_peer.c does it, but for the line of answers that wait for a slow reader.
static void host_reply(struct bm_session_host *host, struct bm_exchange *raw)
{
    (void)host;
    struct exchange *exchange = BM_CONTAINER(raw, struct exchange, exchange);
    struct bm_reply *reply = &raw->reply;
    if (reply->code == BM_OK && reply->kind == BM_CALL_OPEN_STREAM && exchange->connection->open)
        oracle_opened(reply->opened.id, exchange->connection->trainer);
    if (reply->code == BM_OK && reply->kind == BM_CALL_CLOSE_STREAM)
        oracle_closed(raw->request.named.name);
    struct bm_error error;
    struct bm_reply_pieces pieces = {0};
    enum bm_status status = bm_reply_gather(reply, 0, &pieces, &error);
    if (status != BM_OK) {
        bm_reply_fini(reply);
        bm_reply_fail(reply, &error);
        status = bm_reply_gather(reply, 0, &pieces, &error);
    }
    if (status == BM_OK && exchange->connection->open)
        host_send(exchange, &pieces);
    bm_reply_pieces_fini(&pieces);
    exchange_free(exchange);
}

static uint64_t host_random(struct bm_session_host *host)
{
    (void)host;
    return sim_draw(UINT64_MAX);
}

static void host_flush(void *context)
{
    bm_session_flush(context);
}

void server_request(struct sim_connection *connection, void *tag, uint64_t id, const void *bytes,
                    size_t size)
{
    if (!connection->open)
        return;
    struct sim_process *before = sim.current;
    sim.current = &server.process;
    struct exchange *exchange = calloc(1, sizeof *exchange);
    void *copy = malloc(size + 1);
    if (exchange != NULL && copy != NULL) { // else the request is lost
        exchange->connection = connection;
        exchange->tag = tag;
        exchange->id = id;
        exchange->exchange.same_host = true;
        bm_list_push_back(&connection->exchanges, &exchange->node);
        struct bm_error error;
        enum bm_status status =
            bm_request_decode(memcpy(copy, bytes, size), size, &exchange->exchange.request, &error);
        struct bm_executor *executor = server_enter();
        if (status == BM_OK)
            bm_session_request(server.session, &exchange->exchange);
        else
            bm_session_refuse(server.session, &exchange->exchange, &error);
        server_leave(executor);
    } else {
        free(exchange);
    }
    free(copy);
    sim.current = before;
}

// ---- Connections ----

struct sim_connection *server_accept(unsigned trainer)
{
    if (!server.process.alive || server.process.paused_until_ns > sim.now_ns)
        return NULL;
    struct sim_connection *connection = sim_alloc(sizeof *connection);
    connection->trainer = trainer;
    connection->open = true;
    bm_list_init(&connection->exchanges);
    bm_list_push_back(&server.connections, &connection->node);
    return connection;
}

void server_hang_up(struct sim_connection *connection)
{
    if (!connection->open)
        return;
    struct sim_process *before = sim.current;
    sim.current = &server.process;
    connection->open = false;
    bm_list_remove(&connection->node);
    struct bm_executor *executor = server_enter();
    struct bm_node *end = &connection->exchanges.head;
    for (struct bm_node *node = end->next; node != end; node = node->next)
        bm_session_abandon(server.session, &BM_CONTAINER(node, struct exchange, node)->exchange);
    server_leave(executor);
    sim.current = before;
}

void server_break_connections(void)
{
    wire_server_gone();
}

// ---- Its life ----

static void server_create(void)
{
    unsigned nworkers = scenario.nworkers;
    fake_executor_init(&server.executor, nworkers, sim_draw(UINT64_MAX));
    server.executor.duration = step_duration;
    server.executor.now_ns = sim_process_now(&server.process);
    server.host = (struct bm_session_host){.reply = host_reply, .random = host_random};
    const struct bm_scheduler_config scheduler_config = {
        .executor = &server.executor.base,
        .observer = oracle_observer(),
        .memory_bytes = scenario.memory_bytes,
        .nworkers = nworkers, // every step that can be spread is
    };
    BM_ASSERT(bm_scheduler_new(&scheduler_config, &server.scheduler, NULL) == BM_OK);
    server.executor.scheduler = server.scheduler;
    BM_ASSERT(bm_catalog_new(&server.catalog, NULL) == BM_OK);
    for (unsigned i = 0; oracle_pipeline(i) != NULL; i++)
        BM_ASSERT(bm_catalog_add(server.catalog, bm_pipeline_ref(oracle_pipeline(i)), NULL) ==
                  BM_OK);
    server.shares = scenario.shares && bm_same_host_open(1, &server.same_host);
    const struct bm_session_config session_config = {
        .scheduler = server.scheduler,
        .executor = &server.executor.base,
        .catalog = server.catalog,
        .host = &server.host,
        .same_host = server.shares ? &server.same_host : NULL,
        .workers = nworkers,
        .lease_ms = scenario.lease_ms,
    };
    BM_ASSERT(bm_session_new(&session_config, &server.session, NULL) == BM_OK);
    server.executor.flush = host_flush;
    server.executor.flush_context = server.session;
}

static void server_start(void)
{
    if (server.process.alive)
        return;
    unsigned life = server.process.life;
    server.process = (struct sim_process){.name = "server", .alive = true, .life = life};
    server.step = (struct sim_event){.fire = server_step, .process = &server.process};
    server.closed = false;
    bm_list_init(&server.connections);
    struct sim_process *before = sim.current;
    sim.current = &server.process;
    server_create();
    sim.current = before;
    sim_trace("server started");
}

static void server_restart(struct sim_event *event)
{
    (void)event;
    server_start();
}

// The process is gone; another one comes.
static void server_gone(void)
{
    struct bm_node *node;
    while ((node = bm_list_pop_front(&server.connections)) != NULL)
        BM_CONTAINER(node, struct sim_connection, node)->open = false;
    sim_unschedule(&server.step);
    sim_unschedule(&server.leave);
    server.process.alive = false;
    server.process.life++;
    sim_memory_kill(&server.process);
    oracle_server_gone();
    wire_server_gone();
    server.restart = (struct sim_event){.fire = server_restart};
    sim_schedule(&server.restart, sim.now_ns + sim_draw(400 * SIM_MS));
}

void server_kill(void)
{
    if (!server.process.alive)
        return;
    sim_trace("server killed");
    server_gone();
}

void server_pause(uint64_t ns)
{
    if (!server.process.alive)
        return;
    sim_trace("server paused for %g ms", (double)ns / 1e6);
    server.process.paused_until_ns = sim.now_ns + ns;
}

void server_clock_jump(uint64_t ns)
{
    if (!server.process.alive)
        return;
    sim_trace("server's clock jumps by %g ms", (double)ns / 1e6);
    server.process.clock_ahead_ns += ns;
    server.executor.now_ns = sim_process_now(&server.process);
    server_schedule();
}

void server_refuse(uint64_t in)
{
    server.process.refuse_in = in;
}

static void server_close(void)
{
    server.closed = true;
    struct bm_executor *executor = server_enter();
    bm_session_close(server.session);
    server_leave(executor);
}

static void server_free(void)
{
    bm_session_free(server.session);
    bm_catalog_free(server.catalog);
    server.executor.flush = NULL;
    bm_outcomes_free(bm_scheduler_garbage(server.scheduler));
    bm_scheduler_free(server.scheduler);
    if (server.shares)
        bm_same_host_close(&server.same_host);
    // Requests that came on a connection and were answered are gone with their answers.
    size_t left = sim_memory_count(&server.process);
    SIM_CHECK(left == 0, "the server ended in order and left %zu allocations behind", left);
}

static void server_leave_step(struct sim_event *event)
{
    bool late = sim.now_ns >= server.drain_until_ns;
    if (!server.closed && (late || bm_session_idle(server.session)))
        server_close();
    if (!server.closed || !bm_scheduler_idle(server.scheduler)) {
        sim_schedule(event, sim.now_ns + SIM_MS);
        return;
    }
    server_free();
    sim_trace("server ended");
    sim.current = NULL;
    server_gone();
}

void server_drain(void)
{
    if (!server.process.alive || server.leave.node.queued)
        return;
    sim_trace("server is drained");
    sim.current = &server.process;
    server.leave = (struct sim_event){.fire = server_leave_step, .process = &server.process};
    server.drain_until_ns = sim.now_ns + sim_draw(2 * SIM_SECOND);
    struct bm_executor *executor = server_enter();
    bm_session_drain(server.session);
    server_leave(executor);
    sim.current = NULL;
    sim_schedule(&server.leave, sim.now_ns);
}

void server_stop(void)
{
    if (!server.process.alive)
        return;
    sim.current = &server.process;
    server.process.refuse_in = 0;
    if (!server.closed)
        server_close();
    while (!bm_scheduler_idle(server.scheduler) && fake_executor_step(&server.executor))
        ;
    server_free();
    sim.current = NULL;
    server.process.alive = false;
}

void server_begin(void)
{
    if (server.process.alive) // a failed seed left it
        sim_memory_kill(&server.process);
    server.process.alive = false;
    server.process.life++;
    server.restart = server.leave = (struct sim_event){0};
    server_start();
}
