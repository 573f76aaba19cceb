// What must hold after each event, and which bytes each batch must have.
//
// The bytes are those of an undisturbed run of the same pipelines, one batch at a time on one
// worker, without a session or a network (that those are right is what the unit tests show).
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/random.h"
#include "fakes/mill.h"
#include "run/internal.h"
#include "sim/simulation.h"

enum {
    NITEMS = 41,
    PIPELINES_MAX = 8,
    ORDERS_MAX = 8,
    LOCKS_MAX = 4,
    LINE_MAX = 512,
    OPENED_MAX = 4096
};

// ---- The truth ----

static const struct {
    const char *name, *actions;
} pipelines[] = {
    {"plain", "[{add: {amount: 3}}]"},
    {"locked", "[{add: {amount: 5}}, {step: {}, use_lock: gpu}, draw, {nap: {ns: 700000}}]"},
    {"two-locks", "[{step: {}, use_lock: gpu}, draw, {step: {}, use_lock: disk}, step]"},
    {"failing",
     "[{step: {}, use_lock: gpu}, {fail: {seq: 7}, use_lock: disk}, {add: {amount: 1}}]"},
    {"skipping", "[{skip: {seq: 3}}, {twice: {}}, {step: {}, use_lock: disk}, draw, sum]"},
    {"ending", "[draw, {end: {seq: 9}}, {step: {}, use_lock: gpu}]"},
    {"spread", "[mix, {shift: {amount: 2}}, {sieve: {amount: 6}}, {mix: {}, use_lock: disk}, "
               "{crack: {amount: 9}}, sum]"},
    {"parts", "[mix, {step: {}, use_lock: gpu}, {sieve: {amount: 6}}, {gather: {amount: 9}}, "
              "{step: {}, use_lock: disk}, draw, sum]"},
};
enum { NPIPELINES = sizeof pipelines / sizeof pipelines[0] };

static const struct batchmill_order orders[] = {
    {.batch_size = 3, .n_epochs = 1, .n_iters = BATCHMILL_UNSET, .shard_count = 1},
    {.batch_size = 1,
     .n_epochs = 1,
     .n_iters = BATCHMILL_UNSET,
     .shard_count = 1,
     .shuffle = BATCHMILL_SHUFFLE_SEEDED,
     .seed = 7},
    {.batch_size = 4,
     .n_epochs = 3,
     .n_iters = BATCHMILL_UNSET,
     .shard_count = 1,
     .shuffle = BATCHMILL_SHUFFLE_SEEDED,
     .seed = 8,
     .epoch_border = BATCHMILL_BORDER_CROSS},
    {.batch_size = 5,
     .n_epochs = 2,
     .n_iters = BATCHMILL_UNSET,
     .shard_count = 3,
     .shard_index = 1,
     .shuffle = BATCHMILL_SHUFFLE_SEEDED,
     .seed = 9},
    {.batch_size = 2,
     .n_epochs = BATCHMILL_UNSET,
     .n_iters = 30,
     .shard_count = 1,
     .drop_last = true,
     .seed = 11},
    {.batch_size = 16,
     .n_epochs = 2,
     .n_iters = BATCHMILL_UNSET,
     .shard_count = 1,
     .drop_last = true,
     .shuffle = BATCHMILL_SHUFFLE_SEEDED,
     .seed = 12},
};
enum { NORDERS = sizeof orders / sizeof orders[0] };

static struct mill mill;
static struct bm_pipeline *built[NPIPELINES];
static struct sim_reference references[NPIPELINES * NORDERS];

struct digest {
    uint64_t value;
};

static void digest_add(struct digest *digest, const void *bytes, size_t size)
{
    digest->value = bm_mix64(digest->value ^ (size == 0 ? 1 : bm_hash_bytes(bytes, size)));
}

static uint64_t outcome_digest(const struct bm_outcome *outcome)
{
    const struct bm_batch *batch = &outcome->work.batch;
    struct digest digest = {outcome->seq};
    digest_add(&digest, batch->items, batch->nitems * sizeof batch->items[0]);
    for (unsigned c = 0; c < batch->schema->ncomponents; c++)
        digest_add(&digest, batch->tensors[c].data, batch->tensors[c].size_bytes);
    return digest.value;
}

uint64_t oracle_digest(const struct batchmill_batch *batch)
{
    struct digest digest = {batchmill_batch_seq(batch)};
    digest_add(&digest, batchmill_batch_items(batch),
               batchmill_batch_nitems(batch) * sizeof(uint64_t));
    for (size_t i = 0; i < batchmill_batch_ntensors(batch); i++) {
        const struct batchmill_tensor *tensor = batchmill_batch_tensor_at(batch, i);
        digest_add(&digest, tensor->data, tensor->size_bytes);
    }
    return digest.value;
}

// ---- What a run tells ----

static void variable_add(struct digest *digest, const char *name, double number)
{
    digest_add(digest, name, strlen(name));
    digest_add(digest, &number, sizeof number);
}

uint64_t oracle_variables(const struct batchmill_run_result *result)
{
    struct digest digest = {0};
    for (size_t i = 0; i < result->nvariables; i++)
        variable_add(&digest, result->variables[i].name, result->variables[i].number);
    return digest.value;
}

static void reference_sum(struct sim_reference *reference, const struct bm_stream *stream)
{
    const struct bm_variables *variables = bm_stream_variables(stream);
    struct bm_number numbers[8];
    struct digest digest = {0};
    unsigned n = bm_variables_count(variables);
    BM_ASSERT(n <= 8);
    bm_variables_report(variables, numbers);
    for (unsigned i = 0; i < n; i++)
        variable_add(&digest, numbers[i].name,
                     numbers[i].kind == BM_NUMBER_INTEGER ? (double)numbers[i].integer
                                                          : numbers[i].real);
    reference->variables = digest.value;
}

// ---- Making it ----

static uint64_t given(uint64_t value)
{
    return value == BATCHMILL_UNSET ? BM_ORDER_UNSET : value;
}

static void reference_make(struct sim_reference *reference, struct bm_pipeline *pipeline,
                           const struct batchmill_order *order)
{
    *reference = (struct sim_reference){.pipeline = bm_pipeline_name(pipeline), .order = *order};
    const struct bm_order_params params = {
        .batch_size = order->batch_size,
        .shuffle = order->shuffle == BATCHMILL_SHUFFLE_SEEDED,
        .seed = order->seed,
        .n_epochs = given(order->n_epochs),
        .n_iters = given(order->n_iters),
        .drop_last = order->drop_last,
        .epoch_border = (enum bm_epoch_border)order->epoch_border,
        .shard_index = order->shard_index,
        .shard_count = order->shard_count,
    };
    struct bm_stream_config config = {
        .pipeline = pipeline, .on_error = BM_ON_ERROR_REPORT, .id = "reference"};
    struct bm_stream *stream = NULL;
    struct bm_executor *executor = &mill.executor.base;
    BM_ASSERT(bm_order_init(&config.order, &params, NITEMS, NULL) == BM_OK);
    executor->enter(executor);
    BM_ASSERT(bm_stream_open(mill.scheduler, &config, &stream, NULL) == BM_OK);
    executor->leave(executor);
    for (;; reference->nbatches++) {
        struct bm_outcome *outcome = NULL;
        if (mill_take(&mill, stream, reference->nbatches, &outcome) != BM_GOT_OUTCOME)
            break;
        BM_ASSERT(reference->nbatches < SIM_SEQS_MAX);
        struct sim_expected *expected = &reference->seqs[reference->nbatches];
        if (outcome->kind == BM_OUTCOME_BATCH)
            *expected = (struct sim_expected){SIM_BATCH, outcome_digest(outcome)};
        else
            expected->what = outcome->kind == BM_OUTCOME_FAILED ? SIM_FAILED : SIM_SKIPPED;
        bm_outcome_unref(outcome);
    }
    reference_sum(reference, stream);
    mill_close(&mill, stream);
}

void oracle_prepare(void)
{
    mill_init(&mill, 1, 1, 0, NULL);
    for (unsigned p = 0; p < NPIPELINES; p++) {
        built[p] = mill_pipeline(&mill, pipelines[p].name, NITEMS, pipelines[p].actions);
        for (unsigned o = 0; o < NORDERS; o++)
            reference_make(&references[p * NORDERS + o], built[p], &orders[o]);
    }
}

unsigned oracle_nreferences(void)
{
    return NPIPELINES * NORDERS;
}

const struct sim_reference *oracle_reference(unsigned i)
{
    return &references[i];
}

struct bm_pipeline *oracle_pipeline(unsigned i)
{
    return i < NPIPELINES ? built[i] : NULL;
}

// ---- The server's promises, event by event ----

struct waiter {
    char id[BM_STREAM_ID_MAX + 1];
    uint64_t seq;
};

struct lock {
    const char *name;
    struct waiter holder; // in its step right now; id "" for nobody
    unsigned nline;
    struct waiter line[LINE_MAX]; // oldest first
};

static struct lock locks[LOCKS_MAX];

struct opened {
    char id[BM_STREAM_ID_MAX + 1];
    unsigned trainer, life;
    bool closed;
};
static struct opened opened[OPENED_MAX]; // the last ones
static unsigned nopened;

static struct lock *lock_of(const struct bm_event *event)
{
    const char *name = bm_pipeline_step_lock(event->stream->pipeline, event->step);
    if (name == NULL)
        return NULL;
    unsigned i = 0;
    while (locks[i].name != NULL && strcmp(locks[i].name, name) != 0)
        i++;
    BM_ASSERT(i < LOCKS_MAX - 1);
    locks[i].name = name;
    return &locks[i];
}

static bool is(const struct waiter *waiter, const struct bm_event *event)
{
    return waiter->seq == event->seq && strcmp(waiter->id, event->stream->id) == 0;
}

static struct waiter waiter_of(const struct bm_event *event)
{
    struct waiter waiter = {.seq = event->seq};
    strcpy(waiter.id, event->stream->id);
    return waiter;
}

// Whether it is still in the line; who was dropped has left it without a word.
static bool still_waits(const struct waiter *waiter, const struct lock *lock)
{
    const struct bm_scheduler *scheduler = server_scheduler();
    const struct bm_node *end = &scheduler->streams.head;
    for (const struct bm_node *node = end->next; node != end; node = node->next) {
        const struct bm_stream *stream = BM_CONTAINER(node, struct bm_stream, node);
        if (strcmp(stream->id, waiter->id) != 0)
            continue;
        const struct bm_job *job = stream_slot(stream, waiter->seq);
        if (job == NULL)
            return false;
        const char *name = bm_pipeline_step_lock(stream->pipeline, job->step);
        return job->state == JOB_PARKED && job->seq == waiter->seq && name != NULL &&
               strcmp(name, lock->name) == 0;
    }
    return false;
}

static void seen_granted(struct lock *lock, const struct bm_event *event)
{
    while (lock->nline > 0 && !is(&lock->line[0], event)) {
        SIM_CHECK(!still_waits(&lock->line[0], lock),
                  "lock %s: batch %llu of %s got it before batch %llu of %s, which came earlier",
                  lock->name, (unsigned long long)event->seq, event->stream->id,
                  (unsigned long long)lock->line[0].seq, lock->line[0].id);
        memmove(&lock->line[0], &lock->line[1], --lock->nline * sizeof lock->line[0]);
    }
    SIM_CHECK(lock->nline > 0, "lock %s: granted to batch %llu, which did not wait", lock->name,
              (unsigned long long)event->seq);
    if (lock->nline > 0)
        memmove(&lock->line[0], &lock->line[1], --lock->nline * sizeof lock->line[0]);
}

static void seen_parked(struct lock *lock, const struct bm_event *event)
{
    if (lock->nline == LINE_MAX) { // those that were dropped have piled up
        unsigned kept = 0;
        for (unsigned i = 0; i < lock->nline; i++) {
            if (still_waits(&lock->line[i], lock))
                lock->line[kept++] = lock->line[i];
        }
        lock->nline = kept;
    }
    BM_ASSERT(lock->nline < LINE_MAX);
    lock->line[lock->nline++] = waiter_of(event);
}

static void seen_created(const struct bm_event *event)
{
    for (unsigned i = nopened; i > 0 && nopened - i < OPENED_MAX; i--) {
        const struct opened *at = &opened[(i - 1) % OPENED_MAX];
        if (strcmp(at->id, event->stream->id) != 0)
            continue;
        uint64_t end = 0;
        if (at->life != trainer_process(at->trainer)->life)
            return; // nobody's
        bool asked = trainer_window_end(at->trainer, &end);
        SIM_CHECK(asked, "batch %llu was created before the consumer asked for any",
                  (unsigned long long)event->seq);
        SIM_CHECK(event->seq < end, "batch %llu was created, and the window ends at %llu",
                  (unsigned long long)event->seq, (unsigned long long)end);
        return;
    }
}

static void oracle_event(struct bm_observer *self, const struct bm_event *event)
{
    static const char *const names[] = {"created", "started", "finished",  "parked",  "granted",
                                        "waiting", "ready",   "committed", "released"};
    (void)self;
    sim_trace("%.4s batch %llu step %u %s", event->stream->id, (unsigned long long)event->seq,
              event->step, names[event->kind]);
    struct lock *lock = NULL;
    if (event->kind >= BM_EVENT_STARTED && event->kind <= BM_EVENT_WAITING)
        lock = lock_of(event);
    if (event->kind == BM_EVENT_CREATED)
        seen_created(event);
    if (lock == NULL)
        return;
    if (event->kind == BM_EVENT_STARTED) {
        SIM_CHECK(lock->holder.id[0] == '\0', "lock %s: batch %llu is in while batch %llu enters",
                  lock->name, (unsigned long long)lock->holder.seq, (unsigned long long)event->seq);
        lock->holder = waiter_of(event);
    } else if (event->kind == BM_EVENT_FINISHED) {
        lock->holder.id[0] = '\0';
    } else if (event->kind == BM_EVENT_PARKED) {
        seen_parked(lock, event);
    } else if (event->kind == BM_EVENT_GRANTED) {
        seen_granted(lock, event);
    }
}

struct bm_observer *oracle_observer(void)
{
    static struct bm_observer observer = {.event = oracle_event};
    return &observer;
}

void oracle_opened(const char *stream_id, unsigned trainer)
{
    for (unsigned i = nopened; i > 0 && nopened - i < OPENED_MAX; i--) {
        if (strcmp(opened[(i - 1) % OPENED_MAX].id, stream_id) == 0)
            return; // told again
    }
    struct opened *at = &opened[nopened++ % OPENED_MAX];
    strcpy(at->id, stream_id);
    at->trainer = trainer;
    at->closed = false;
    at->life = trainer_process(trainer)->life;
}

void oracle_closed(const char *stream_id)
{
    for (unsigned i = nopened; i > 0 && nopened - i < OPENED_MAX; i--) {
        struct opened *at = &opened[(i - 1) % OPENED_MAX];
        if (strcmp(at->id, stream_id) != 0 || at->closed)
            continue;
        at->closed = true;
        consumers_left(-1);
        return;
    }
}

void oracle_server_gone(void)
{
    memset(locks, 0, sizeof locks);
}

void oracle_begin(void)
{
    oracle_server_gone();
    nopened = 0;
}

void oracle_check(void)
{
    const struct bm_scheduler *scheduler = server_scheduler();
    if (scheduler == NULL)
        return;
    SIM_CHECK(scheduler->nrunning <= scenario.nworkers, "%u batches run on %u workers",
              scheduler->nrunning, scenario.nworkers);
    const struct bm_node *end = &scheduler->streams.head;
    for (const struct bm_node *node = end->next; node != end; node = node->next) {
        const struct bm_stream *stream = BM_CONTAINER(node, struct bm_stream, node);
        uint64_t in_flight = stream->created - stream->asked;
        SIM_CHECK(stream->closed || in_flight <= stream->width,
                  "%llu batches of a stream exist with prefetch %u", (unsigned long long)in_flight,
                  stream->width - 1);
    }
    uint64_t used_bytes = bm_scheduler_status(scheduler).memory_used_bytes;
    SIM_CHECK(scheduler->memory_bytes == 0 || used_bytes <= scheduler->memory_bytes,
              "%llu bytes are in use, with a budget of %llu", (unsigned long long)used_bytes,
              (unsigned long long)scheduler->memory_bytes);
}
