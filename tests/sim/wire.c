// The client's transport on a network that does what the seed says: the functions of
// client/c/transport.h, as nng's REQ keeps them. A request without a reply is sent again when
// the connection is back, and after BM_CLIENT_RESEND_MS; a reply to an older request is dropped.
// Below that the network may lose, double, delay, reorder and alter every message, and break every
// connection at any time.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "client/c/error.h"
#include "client/c/transport.h"
#include "sim/simulation.h"

// ---- Replies ----

struct bm_client_message {
    unsigned refs;
    size_t size;
    unsigned char *bytes;
};

struct bm_client_message *bm_client_message_ref(struct bm_client_message *message)
{
    message->refs++;
    return message;
}

struct bm_client_message *bm_client_message_unref(struct bm_client_message *message)
{
    if (message == NULL || --message->refs > 0)
        return NULL;
    free(message->bytes);
    free(message);
    return NULL;
}

const void *bm_client_message_data(const struct bm_client_message *message)
{
    return message->bytes;
}

size_t bm_client_message_size(const struct bm_client_message *message)
{
    return message->size;
}

// With the memory of the process that runs; exactly as large, so that a sanitizer sees its end.
static struct bm_client_message *message_new(const void *bytes, size_t size)
{
    struct bm_client_message *message = malloc(sizeof *message);
    void *copy = malloc(size + (size == 0));
    if (message == NULL || copy == NULL) {
        free(message);
        free(copy);
        return NULL;
    }
    *message = (struct bm_client_message){1, size, memcpy(copy, bytes, size)};
    return message;
}

// ---- The connection ----

struct bm_client_transport {
    struct bm_node node; // in `transports`
    struct bm_client_transport_config config;
    struct sim_process *process;
    unsigned trainer;
    struct sim_connection *connection; // NULL: there is none
    struct sim_event dial;
    uint64_t since_ns; // on the process's clock
    uint64_t backoff_ns;
    bool was_connected, closed;
    struct bm_list calls;
};

struct bm_client_call {
    struct bm_node node;
    struct bm_client_transport *transport;
    void (*done)(void *context, struct bm_client_message *reply);
    void *context;
    void *request; // in the arena
    size_t size;
    uint64_t id;  // of the request, as nng numbers them
    bool busy;    // from start to the callback
    bool ending;  // the callback is on its way
    bool closing; // nobody wants the reply any more
    unsigned ncallbacks;
    struct fiber_cond idle;
    struct sim_event resend;
};

static struct bm_list transports;
static uint64_t dial_after_ns[SIM_TRAINERS_MAX], last_id;

void wire_begin(void)
{
    bm_list_init(&transports);
    memset(dial_after_ns, 0, sizeof dial_after_ns);
    last_id = 0;
}

static void transport_log(const struct bm_client_transport *transport, const char *what)
{
    if (transport->config.log != NULL)
        transport->config.log(transport->config.log_context, what);
}

static void call_transmit(struct bm_client_call *call);

static void transport_dial(struct sim_event *event)
{
    struct bm_client_transport *transport = BM_CONTAINER(event, struct bm_client_transport, dial);
    if (sim.now_ns >= dial_after_ns[transport->trainer])
        transport->connection = server_accept(transport->trainer);
    if (transport->connection == NULL) {
        sim_schedule(event, sim.now_ns + transport->backoff_ns);
        if (transport->backoff_ns < BM_CLIENT_RECONNECT_MAX_MS * SIM_MS)
            transport->backoff_ns *= 2;
        return;
    }
    sim_trace("connected");
    transport->backoff_ns = BM_CLIENT_RECONNECT_MS * SIM_MS;
    transport->since_ns = sim_process_now(transport->process);
    if (transport->was_connected)
        transport_log(transport, "the connection is back");
    transport->was_connected = true;
    struct bm_node *end = &transport->calls.head;
    for (struct bm_node *node = end->next; node != end; node = node->next) {
        struct bm_client_call *call = BM_CONTAINER(node, struct bm_client_call, node);
        if (call->busy && !call->ending)
            call_transmit(call);
    }
}

// The server learns of it now, later, or (a machine that vanished) much later.
struct hang_up {
    struct sim_event event;
    struct sim_connection *connection;
};

static void hang_up_fire(struct sim_event *event)
{
    server_hang_up(BM_CONTAINER(event, struct hang_up, event)->connection);
}

static void transport_break(struct bm_client_transport *transport)
{
    if (transport->connection == NULL)
        return;
    struct hang_up *hang_up = sim_alloc(sizeof *hang_up);
    *hang_up = (struct hang_up){{.fire = hang_up_fire, .process = server_process()},
                                transport->connection};
    sim_schedule(&hang_up->event, sim.now_ns + sim_duration(5 * SIM_MS));
    transport->connection = NULL;
    transport->since_ns = sim_process_now(transport->process);
    if (transport->closed)
        return;
    sim_trace("connection of %s broken", transport->process->name);
    struct sim_process *current = sim.current;
    sim.current = transport->process;
    transport_log(transport, "the connection is lost; connecting again");
    sim.current = current;
    sim_schedule(&transport->dial, sim.now_ns + transport->backoff_ns);
}

void wire_server_gone(void)
{
    for (struct bm_node *node = transports.head.next; node != &transports.head; node = node->next)
        transport_break(BM_CONTAINER(node, struct bm_client_transport, node));
}

void wire_break(unsigned trainer, uint64_t until_ns)
{
    dial_after_ns[trainer] = until_ns;
    for (struct bm_node *node = transports.head.next; node != &transports.head; node = node->next) {
        struct bm_client_transport *transport =
            BM_CONTAINER(node, struct bm_client_transport, node);
        if (transport->trainer == trainer)
            transport_break(transport);
    }
}

static void transport_close(struct bm_client_transport *transport)
{
    transport->closed = true;
    transport_break(transport);
    sim_unschedule(&transport->dial);
    bm_list_remove(&transport->node);
    struct bm_node *end = &transport->calls.head;
    for (struct bm_node *node = end->next; node != end; node = node->next)
        sim_unschedule(&BM_CONTAINER(node, struct bm_client_call, node)->resend);
}

void wire_trainer_gone(unsigned trainer)
{
    struct bm_node *next;
    for (struct bm_node *node = transports.head.next; node != &transports.head; node = next) {
        struct bm_client_transport *transport =
            BM_CONTAINER(node, struct bm_client_transport, node);
        next = node->next;
        if (transport->trainer == trainer)
            transport_close(transport);
    }
}

static unsigned current_trainer(void)
{
    for (unsigned i = 0; i < scenario.ntrainers; i++) {
        if (trainer_process(i) == sim.current)
            return i;
    }
    bm_panic("a transport outside of a trainer", __FILE__, __LINE__);
}

enum batchmill_code bm_client_transport_open(const struct bm_client_transport_config *config,
                                             struct bm_client_transport **ret_transport,
                                             struct batchmill_error *error)
{
    (void)error;
    struct bm_client_transport *transport = sim_alloc(sizeof *transport);
    *transport = (struct bm_client_transport){
        .config = *config,
        .process = sim.current,
        .trainer = current_trainer(),
        .dial = {.fire = transport_dial, .process = sim.current},
        .since_ns = sim_process_now(sim.current),
        .backoff_ns = BM_CLIENT_RECONNECT_MS * SIM_MS,
    };
    bm_list_init(&transport->calls);
    bm_list_push_back(&transports, &transport->node);
    sim_schedule(&transport->dial, sim.now_ns + sim_duration(SIM_MS));
    *ret_transport = transport;
    return BATCHMILL_OK;
}

void bm_client_transport_close(struct bm_client_transport *transport)
{
    if (transport == NULL)
        return;
    BM_ASSERT(bm_list_empty(&transport->calls));
    transport_close(transport);
}

bool bm_client_transport_connected(struct bm_client_transport *transport, uint64_t *ret_since_ns)
{
    *ret_since_ns = transport->since_ns;
    return transport->connection != NULL;
}

bool bm_client_transport_refused(struct bm_client_transport *transport,
                                 struct batchmill_error *ret_why)
{
    (void)transport, (void)ret_why;
    return false;
}

// ---- A message on its way ----

struct letter {
    struct sim_event event;
    struct bm_client_call *call;
    struct sim_connection *connection;
    uint64_t id;
    unsigned char *bytes;
    size_t size;
};

static void letter_post(void (*arrive)(struct sim_event *event), struct sim_process *process,
                        struct bm_client_call *call, struct sim_connection *connection, uint64_t id,
                        const void *bytes, size_t size)
{
    struct sim_faults faults = scenario_faults();
    unsigned copies = sim_chance(faults.drop) ? 0 : 1 + sim_chance(faults.twice);
    if (copies == 0)
        sim_trace("a message is lost");
    for (unsigned i = 0; i < copies; i++) {
        struct letter *letter = sim_alloc(sizeof *letter);
        *letter = (struct letter){
            .event = {.fire = arrive, .process = process},
            .call = call,
            .connection = connection,
            .id = id,
            .bytes = sim_alloc(size + (size == 0)),
            .size = size,
        };
        memcpy(letter->bytes, bytes, size);
        if (size > 0 && sim_chance(faults.altered)) {
            letter->bytes[sim_draw(size)] ^= (unsigned char)(1u << sim_draw(8));
            sim_trace("a message is altered");
        }
        uint64_t delay_ns = sim_duration(faults.latency_ns);
        if (sim_chance(faults.late))
            delay_ns += sim_draw(300 * SIM_MS);
        sim_schedule(&letter->event, sim.now_ns + delay_ns);
    }
}

static void request_arrive(struct sim_event *event)
{
    struct letter *letter = BM_CONTAINER(event, struct letter, event);
    server_request(letter->connection, letter->call, letter->id, letter->bytes, letter->size);
}

static void call_resend(struct sim_event *event)
{
    struct bm_client_call *call = BM_CONTAINER(event, struct bm_client_call, resend);
    if (call->busy && !call->ending)
        call_transmit(call);
}

static void call_transmit(struct bm_client_call *call)
{
    struct sim_faults faults = scenario_faults();
    struct bm_client_transport *transport = call->transport;
    sim_schedule(&call->resend, sim.now_ns + BM_CLIENT_RESEND_MS * SIM_MS);
    if (transport->connection == NULL)
        return;
    letter_post(request_arrive, server_process(), call, transport->connection, call->id,
                call->request, call->size);
    if (sim_chance(faults.broken))
        transport_break(transport);
}

struct ending { // of a call
    struct bm_client_call *call;
    const struct letter *letter; // NULL: without a reply
};

static void call_end_run(void *arg)
{
    struct ending *ending = arg;
    struct bm_client_call *call = ending->call;
    struct bm_client_message *reply = NULL;
    if (ending->letter != NULL)
        reply = message_new(ending->letter->bytes, ending->letter->size);
    call->busy = call->ending = false;
    call->done(call->context, reply);
    call->ncallbacks--;
    fiber_wake(&call->idle);
}

static void call_end(struct bm_client_call *call, const struct letter *letter)
{
    struct ending *ending = sim_alloc(sizeof *ending);
    *ending = (struct ending){call, letter};
    call->ending = true;
    call->ncallbacks++;
    sim_unschedule(&call->resend);
    fiber_start(call->transport->process, call_end_run, ending);
}

static void reply_arrive(struct sim_event *event)
{
    struct letter *letter = BM_CONTAINER(event, struct letter, event);
    struct bm_client_call *call = letter->call;
    struct bm_client_transport *transport = call->transport;
    if (transport->closed || transport->connection != letter->connection || !call->busy ||
        call->ending || call->id != letter->id)
        return;
    call_end(call, letter);
}

void wire_answer(void *tag, uint64_t id, struct sim_connection *connection, const void *bytes,
                 size_t size)
{
    struct bm_client_call *call = tag;
    letter_post(reply_arrive, call->transport->process, call, connection, id, bytes, size);
    if (sim_chance(scenario_faults().broken) && call->transport->connection == connection)
        transport_break(call->transport);
}

// ---- Calls ----

struct bm_client_call *
bm_client_call_new(struct bm_client_transport *transport,
                   void (*done)(void *context, struct bm_client_message *reply), void *context)
{
    void *refused = malloc(1); // there is memory, or there is not
    if (refused == NULL)
        return NULL;
    free(refused);
    struct bm_client_call *call = sim_alloc(sizeof *call);
    *call = (struct bm_client_call){
        .transport = transport,
        .done = done,
        .context = context,
        .resend = {.fire = call_resend, .process = sim.current},
    };
    bm_list_push_back(&transport->calls, &call->node);
    return call;
}

bool bm_client_call_start(struct bm_client_call *call, const void *bytes, size_t size)
{
    void *refused = malloc(1);
    if (refused == NULL)
        return false;
    free(refused);
    if (call->closing)
        return false;
    BM_ASSERT(!call->busy);
    call->busy = true;
    call->id = ++last_id;
    call->request = sim_alloc(size + 1);
    call->size = size;
    memcpy(call->request, bytes, size);
    call_transmit(call);
    return true;
}

void bm_client_call_free(struct bm_client_call *call)
{
    if (call == NULL)
        return;
    call->closing = true;
    if (call->busy && !call->ending)
        call_end(call, NULL);
    while (call->ncallbacks > 0)
        fiber_wait(&call->idle);
    sim_unschedule(&call->resend);
    bm_list_remove(&call->node);
}

// ---- Time ----

struct bm_client_timer {
    struct sim_event event;
    uint64_t period_ns;
    void (*ring)(void *context);
    void *context;
    bool ringing, freed;
    struct fiber_cond idle;
};

static void timer_run(void *arg)
{
    struct bm_client_timer *timer = arg;
    timer->ring(timer->context);
    timer->ringing = false;
    fiber_wake(&timer->idle);
    if (!timer->freed)
        sim_schedule(&timer->event, sim.now_ns + timer->period_ns);
}

static void timer_fire(struct sim_event *event)
{
    struct bm_client_timer *timer = BM_CONTAINER(event, struct bm_client_timer, event);
    timer->ringing = true;
    fiber_start(event->process, timer_run, timer);
}

struct bm_client_timer *bm_client_timer_new(uint32_t period_ms, void (*ring)(void *context),
                                            void *context)
{
    struct bm_client_timer *timer = sim_alloc(sizeof *timer);
    *timer = (struct bm_client_timer){
        .event = {.fire = timer_fire, .process = sim.current},
        .period_ns = period_ms * SIM_MS,
        .ring = ring,
        .context = context,
    };
    sim_schedule(&timer->event, sim.now_ns + timer->period_ns);
    return timer;
}

void bm_client_timer_free(struct bm_client_timer *timer)
{
    if (timer == NULL)
        return;
    timer->freed = true;
    sim_unschedule(&timer->event);
    while (timer->ringing)
        fiber_wait(&timer->idle);
}
