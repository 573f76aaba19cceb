// simulation.h -- what the simulated server, network, consumers and oracles know of each other.
//
//     trainer.c    processes with the real client library, killed and started again
//     consumer.c   what their fibers do with it: streams with checkpoints, cursors, runs
//     wire.c       its transport: connections that break; messages dropped, doubled, late, altered
//     server.c     the real codec, session and scheduler on virtual workers, killed and restarted
//     oracle.c     what must be true after each event, and which bytes each batch must have
//     scenario.c   what a seed means, and the faults it brings
// Threads: none; fibers take turns.
#pragma once
#include "batchmill/client.h"
#include "run/scheduler.h"
#include "sim/fiber.h"
#include "sim/world.h"

enum { SIM_TRAINERS_MAX = 4, SIM_CONSUMERS_MAX = 3, SIM_POSITION_MAX = 1024, SIM_SEQS_MAX = 512 };

// ---- What a seed means (scenario.c) ----

struct sim_faults { // chances per mille, while faults last
    unsigned drop, twice, late, altered, broken;
    bool refused;        // allocations, now and then
    uint64_t latency_ns; // usual, of a message
};

struct sim_reference;

struct sim_scenario {
    unsigned nworkers, ntrainers;
    uint64_t memory_bytes; // budget; 0: unlimited
    uint32_t lease_ms, timeout_ms;
    uint64_t step_ns;  // usual duration of a step
    uint64_t think_ns; // of a consumer, usual, between two batches
    uint64_t faults_until_ns, deadline_ns;
    bool polls;   // consumers ask with short deadlines
    bool shares;  // server and trainers are on one host
    bool cursors; // consumers share a cursor; no process ends or loses its lease, then
    struct sim_faults faults;
};
extern struct sim_scenario scenario;

void scenario_draw(void);                // for sim.seed; schedules the faults
bool scenario_calm(void);                // no more faults
struct sim_faults scenario_faults(void); // right now

// ---- The server (server.c) ----

struct sim_connection {  // as the server sees it
    struct bm_node node; // in the list of the server's
    struct bm_list exchanges;
    unsigned trainer; // who is at the other end
    bool open;
};

void server_begin(void);
void server_kill(void);
void server_drain(void); // finishes what it has, then starts again
bool server_alive(void);
struct sim_process *server_process(void);
void server_pause(uint64_t ns);
void server_clock_jump(uint64_t ns);
void server_refuse(uint64_t in); // its in-th allocation from now
void server_break_connections(void);
void server_stop(void);                                 // in order; must leave nothing
struct sim_connection *server_accept(unsigned trainer); // NULL: nobody is there
void server_hang_up(struct sim_connection *connection); // the other end is gone
// A request came. Its answer goes to wire_answer() with the same `tag`.
void server_request(struct sim_connection *connection, void *tag, uint64_t id, const void *bytes,
                    size_t size);
const struct bm_scheduler *server_scheduler(void); // NULL: it is not there

// ---- The network (wire.c) ----

void wire_begin(void);
void wire_answer(void *tag, uint64_t id, struct sim_connection *connection, const void *bytes,
                 size_t size);
void wire_server_gone(void);                          // every connection of its breaks
void wire_break(unsigned trainer, uint64_t until_ns); // and none is made before `until_ns`
void wire_trainer_gone(unsigned trainer);             // killed

// ---- Trainers (trainer.c) ----

void trainers_begin(void);
void trainer_kill(unsigned i); // started again by itself, a while later
void trainer_pause(unsigned i, uint64_t ns);
void trainer_clock_jump(unsigned i, uint64_t ns);
void trainer_refuse(unsigned i, uint64_t in); // its in-th allocation from now
bool trainers_done(void);
void trainers_describe(void); // prints how far they are
struct sim_process *trainer_process(unsigned i);
// Nothing may be created for its streams from this seq on. False: it has asked for nothing in this
// life.
bool trainer_window_end(unsigned i, uint64_t *ret_seq);

// ---- Consumers (consumer.c) ----

struct sim_checkpoint {
    uint64_t next;                   // the first batch that is not in it
    char position[SIM_POSITION_MAX]; // "": from the start
};
enum sim_kind { SIM_STREAM, SIM_CURSOR, SIM_RUN };

struct sim_consumer {
    char name[24];
    enum sim_kind kind;
    const struct sim_reference *reference;
    struct batchmill_order order;
    struct sim_checkpoint saved, older; // on its disk: survive kill -9
    bool done;                          // too
    struct sim_checkpoint now;          // in its memory
    bool asked;
};

void consumers_begin(void);
void consumer_init(struct sim_consumer *consumer, unsigned trainer, unsigned i);
// Works until it is done, or would rather connect anew.
void consumer_work(struct sim_consumer *consumer, struct batchmill_client *client);
// Whether `code` is what trouble may give, after which one tries again.
bool consumer_may_try_again(enum batchmill_code code);
bool consumer_window_end(const struct sim_consumer *consumer, uint64_t *ret_seq);
void consumers_left(int more); // trainers, of whom the server does not know that they left
void consumers_check(void);    // at the end: what cursors gave, together

// ---- Oracles (oracle.c) ----

enum sim_what { SIM_BATCH, SIM_SKIPPED, SIM_FAILED };
struct sim_expected { // of one seq
    enum sim_what what;
    uint64_t digest; // of seq, items and tensors
};
struct sim_reference { // what a stream must give, whatever happens
    const char *pipeline;
    struct batchmill_order order; // without prefetch, position and on_error
    uint64_t nbatches;            // up to the end
    struct sim_expected seqs[SIM_SEQS_MAX];
    uint64_t variables; // a digest of what a run of all of it tells
};
void oracle_prepare(void); // once per program
unsigned oracle_nreferences(void);
const struct sim_reference *oracle_reference(unsigned i);
struct bm_pipeline *oracle_pipeline(unsigned i); // NULL: there are not so many
uint64_t oracle_digest(const struct batchmill_batch *batch);
uint64_t oracle_variables(const struct batchmill_run_result *result); // as reference->variables

void oracle_begin(void);
struct bm_observer *oracle_observer(void);
void oracle_opened(const char *stream_id, unsigned trainer); // the server told this consumer
void oracle_closed(const char *stream_id);                   // the server heard that
void oracle_server_gone(void);
void oracle_check(void); // after each event
