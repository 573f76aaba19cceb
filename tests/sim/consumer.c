// Consumers: fibers of a trainer that share its client. One of a stream keeps what it has seen and
// its position in one atomic write, and goes on from there; one of a cursor takes what comes; one
// of a run compares what it counts.
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "sim/simulation.h"

static int nleft; // trainers that left the cursor without the server hearing of it
static unsigned taken[SIM_SEQS_MAX];       // how often each batch of the cursor was had
static const struct sim_reference *shared; // what the cursor is of
static uint32_t shared_prefetch;

// ---- What it may see ----

static enum sim_what expected_what(const struct sim_consumer *consumer, uint64_t seq)
{
    enum sim_what what = consumer->reference->seqs[seq].what;
    if (what == SIM_FAILED && consumer->order.on_error == BATCHMILL_SKIP)
        return SIM_SKIPPED;
    return what;
}

static uint64_t next_to_come(const struct sim_consumer *consumer)
{
    uint64_t seq = consumer->now.next;
    while (seq < consumer->reference->nbatches && expected_what(consumer, seq) == SIM_SKIPPED)
        seq++;
    return seq;
}

bool consumer_window_end(const struct sim_consumer *consumer, uint64_t *ret_seq)
{
    enum { AUTO_MAX = 255 };
    bool automatic = consumer->order.prefetch == BATCHMILL_PREFETCH_AUTO;
    *ret_seq = next_to_come(consumer) + (automatic ? AUTO_MAX : consumer->order.prefetch) + 1;
    return consumer->asked;
}

bool consumer_may_try_again(enum batchmill_code code)
{
    switch ((int)code) {
    case BATCHMILL_UNAVAILABLE:
        return true;
    case BATCHMILL_RESOURCE_EXHAUSTED:
        return scenario.faults.refused || scenario.memory_bytes > 0;
    case BATCHMILL_DATA_LOSS:
        return scenario.faults.altered > 0;
    default:
        return false;
    }
}

// ---- What it does ----

static void consumer_rest(void)
{
    fiber_sleep(sim_duration(20 * SIM_MS));
}

static bool consumer_take(struct sim_consumer *consumer, struct batchmill_stream *stream,
                          const struct batchmill_batch *batch)
{
    uint64_t seq = batchmill_batch_seq(batch), due = next_to_come(consumer);
    sim_trace("got batch %llu", (unsigned long long)seq);
    if (seq != due || seq >= consumer->reference->nbatches) {
        sim_fail("%s expected batch %llu, got %llu", consumer->name, (unsigned long long)due,
                 (unsigned long long)seq);
        return false;
    }
    const struct sim_expected *expected = &consumer->reference->seqs[seq];
    SIM_CHECK(expected->what == SIM_BATCH && oracle_digest(batch) == expected->digest,
              "%s: batch %llu of %s has other bytes than undisturbed", consumer->name,
              (unsigned long long)seq, consumer->reference->pipeline);
    consumer->now.next = seq + 1;
    struct batchmill_error error;
    SIM_CHECK(batchmill_position(stream, consumer->now.position, SIM_POSITION_MAX, &error) ==
                  BATCHMILL_OK,
              "no position: %s", error.text);
    return true;
}

// ---- What it keeps for a while ----

enum { KEPT_MAX = 6 };
struct kept { // batches that it looks at again later
    struct batchmill_batch *batches[KEPT_MAX];
    unsigned n;
};

static void kept_release(const struct sim_consumer *consumer, struct kept *kept, unsigned i)
{
    struct batchmill_batch *batch = kept->batches[i];
    uint64_t seq = batchmill_batch_seq(batch);
    SIM_CHECK(oracle_digest(batch) == consumer->reference->seqs[seq].digest,
              "%s: batch %llu of %s changed while it was kept", consumer->name,
              (unsigned long long)seq, consumer->reference->pipeline);
    batchmill_batch_free(batch);
    kept->batches[i] = kept->batches[--kept->n];
}

static void kept_add(const struct sim_consumer *consumer, struct kept *kept,
                     struct batchmill_batch *batch)
{
    if (kept->n == KEPT_MAX)
        kept_release(consumer, kept, (unsigned)sim_draw(KEPT_MAX));
    kept->batches[kept->n++] = batch;
}

static void consumer_save(struct sim_consumer *consumer) // one atomic write: no turn is given up
{
    if (sim_draw(8) == 0)
        consumer->older = consumer->saved;
    consumer->saved = consumer->now;
    sim_trace("saved at %llu", (unsigned long long)consumer->saved.next);
}

// A batch of its own failed. False: that was the end of the stream.
static bool consumer_failed(struct sim_consumer *consumer, struct batchmill_stream *stream,
                            const struct batchmill_error *error)
{
    uint64_t due = next_to_come(consumer);
    if (error->code == BATCHMILL_RESOURCE_EXHAUSTED && consumer_may_try_again(error->code))
        return true; // the server had no memory: the position is where it was
    SIM_CHECK(due < consumer->reference->nbatches && error->seq == due &&
                  expected_what(consumer, due) == SIM_FAILED,
              "%s: batch %llu failed (%s), expected batch %llu to come", consumer->name,
              (unsigned long long)error->seq, error->text, (unsigned long long)due);
    if (consumer->order.on_error == BATCHMILL_STOP) {
        consumer->done = true;
        return false;
    }
    consumer->now.next = due + 1;
    batchmill_position(stream, consumer->now.position, SIM_POSITION_MAX, NULL);
    return true;
}

// With a batch in its hands. False: it stops here, for now.
static bool consumer_use(struct sim_consumer *consumer, struct batchmill_stream *stream,
                         struct batchmill_batch *batch, struct kept *kept)
{
    bool early = sim_draw(2) == 0;
    bool right = consumer_take(consumer, stream, batch);
    if (early)
        batchmill_batch_free(batch);
    if (scenario.think_ns > 0)
        fiber_sleep(sim_duration(scenario.think_ns));
    if (right && sim_draw(3) > 0)
        consumer_save(consumer);
    if (!early && right && sim_draw(2) == 0)
        kept_add(consumer, kept, batch);
    else if (!early)
        batchmill_batch_free(batch);
    return right && sim_draw(64) > 0;
}

static void consumer_end(struct sim_consumer *consumer)
{
    SIM_CHECK(next_to_come(consumer) == consumer->reference->nbatches,
              "%s: the stream ended at %llu, expected batch %llu to come", consumer->name,
              (unsigned long long)consumer->now.next, (unsigned long long)next_to_come(consumer));
    consumer->done = true;
}

static enum batchmill_code stream_next(struct batchmill_stream *stream,
                                       struct batchmill_batch **ret_batch,
                                       struct batchmill_error *error)
{
    if (scenario.polls)
        return batchmill_next_within(stream, (uint32_t)sim_draw(30), ret_batch, error);
    return batchmill_next(stream, ret_batch, error);
}

// Takes batches until the end, or until it would rather open the stream anew.
static void consumer_drain(struct sim_consumer *consumer, struct batchmill_stream *stream,
                           struct kept *kept)
{
    bool goes_on = true;
    while (goes_on && !consumer->done && !sim.failed) {
        struct batchmill_batch *batch = NULL;
        struct batchmill_error error = {0};
        consumer->asked = true;
        enum batchmill_code code = stream_next(stream, &batch, &error);
        if (code == BATCHMILL_OK) {
            goes_on = consumer_use(consumer, stream, batch, kept);
        } else if (code == BATCHMILL_END) {
            consumer_end(consumer);
        } else if (error.has_batch) {
            goes_on = consumer_failed(consumer, stream, &error) &&
                      error.code != BATCHMILL_RESOURCE_EXHAUSTED;
        } else if (code != BATCHMILL_DEADLINE_EXCEEDED) {
            sim_trace("%s: next: %s", consumer->name, error.text);
            SIM_CHECK(consumer_may_try_again(code), "%s: next: %s: %s", consumer->name,
                      batchmill_code_name(code), error.text);
            goes_on = sim_draw(2) == 0;
            consumer_rest();
        }
    }
}

static void consumer_gen(struct sim_consumer *consumer, struct batchmill_client *client)
{
    struct batchmill_order order = consumer->order;
    struct batchmill_stream *stream = NULL;
    struct batchmill_error error = {0};
    if (consumer->now.position[0] != '\0') {
        order = (struct batchmill_order)BATCHMILL_ORDER_DEFAULTS;
        order.shard_count = 0;
        order.prefetch = consumer->order.prefetch;
        order.on_error = consumer->order.on_error;
        order.checked = consumer->order.checked;
        order.position = consumer->now.position;
    }
    enum batchmill_code code =
        batchmill_gen_batch(client, consumer->reference->pipeline, &order, &stream, &error);
    if (code != BATCHMILL_OK) {
        sim_trace("open: %s", error.text);
        SIM_CHECK(consumer_may_try_again(code), "%s: open: %s: %s", consumer->name,
                  batchmill_code_name(code), error.text);
        consumer_rest();
        return;
    }
    sim_trace("opened %s at %llu", consumer->reference->pipeline,
              (unsigned long long)consumer->now.next);
    if (sim_draw(4) == 0)
        consumer_rest(); // nothing runs meanwhile
    struct kept kept = {.n = 0};
    consumer_drain(consumer, stream, &kept);
    bool later = sim_draw(2) == 0;
    while (kept.n > 0 && !later)
        kept_release(consumer, &kept, 0);
    batchmill_stream_close(stream);
    if (later)
        consumer_rest();
    while (kept.n > 0) // they outlive their stream
        kept_release(consumer, &kept, 0);
}

// ---- A cursor, which several share ----

static void consumer_next(struct sim_consumer *consumer, struct batchmill_client *client)
{
    while (!consumer->done && !sim.failed) {
        struct batchmill_batch *batch = NULL;
        struct batchmill_error error = {0};
        enum batchmill_code code = batchmill_next_batch(
            client, "shared", consumer->reference->pipeline, &consumer->order, &batch, &error);
        if (code == BATCHMILL_OK) {
            uint64_t seq = batchmill_batch_seq(batch);
            const struct sim_expected *expected = &consumer->reference->seqs[seq];
            sim_trace("%s: got batch %llu", consumer->name, (unsigned long long)seq);
            SIM_CHECK(seq < consumer->reference->nbatches && expected->what == SIM_BATCH &&
                          oracle_digest(batch) == expected->digest,
                      "%s: batch %llu has other bytes than undisturbed", consumer->name,
                      (unsigned long long)seq);
            SIM_CHECK(taken[seq]++ == 0, "%s: batch %llu of the cursor was given twice",
                      consumer->name, (unsigned long long)seq);
            if (scenario.think_ns > 0)
                fiber_sleep(sim_duration(scenario.think_ns));
            batchmill_batch_free(batch);
        } else if (code == BATCHMILL_END) {
            consumer->done = true;
        } else {
            sim_trace("%s: %s", consumer->name, error.text);
            SIM_CHECK(consumer_may_try_again(code), "%s: next_batch: %s: %s", consumer->name,
                      batchmill_code_name(code), error.text);
            if (sim_draw(4) == 0)
                return; // what it was sent and did not get goes to whoever asks next
            consumer_rest();
        }
    }
}

void consumers_left(int more)
{
    nleft += more;
}

void consumers_check(void)
{
    for (uint64_t seq = 0; scenario.cursors && seq < shared->nbatches; seq++) {
        unsigned due = shared->seqs[seq].what == SIM_BATCH;
        // Who left without a word may take one along, until its lease is over.
        if (taken[seq] < due && nleft > 0)
            nleft--;
        else
            SIM_CHECK(taken[seq] == due, "batch %llu of the cursor was given %u times",
                      (unsigned long long)seq, taken[seq]);
    }
}

// ---- A run ----

static uint64_t count_of(const struct sim_reference *reference, enum sim_what what)
{
    uint64_t n = 0;
    for (uint64_t seq = 0; seq < reference->nbatches; seq++)
        n += reference->seqs[seq].what == what;
    return n;
}

static bool run_progress(void *context, const struct batchmill_run_result *so_far)
{
    (void)context, (void)so_far;
    return true;
}

static void consumer_run(struct sim_consumer *consumer, struct batchmill_client *client)
{
    const struct sim_reference *reference = consumer->reference;
    struct batchmill_run_result *result = NULL;
    struct batchmill_error error = {0};
    enum batchmill_code code = batchmill_run(client, reference->pipeline, &consumer->order,
                                             run_progress, NULL, &result, &error);
    if (code == BATCHMILL_OK) {
        uint64_t batches = count_of(reference, SIM_BATCH), failed = count_of(reference, SIM_FAILED);
        SIM_CHECK(result->batches == batches && result->failed == failed &&
                      result->skipped == count_of(reference, SIM_SKIPPED),
                  "%s: %llu batches, %llu skipped, %llu failed, expected %llu batches",
                  consumer->name, (unsigned long long)result->batches,
                  (unsigned long long)result->skipped, (unsigned long long)result->failed,
                  (unsigned long long)batches);
        SIM_CHECK(oracle_variables(result) == reference->variables,
                  "%s: the run tells other variables than undisturbed", consumer->name);
        consumer->done = true;
    } else {
        sim_trace("%s: run: %s", consumer->name, error.text);
        bool its_own = error.has_batch && error.code != BATCHMILL_RESOURCE_EXHAUSTED;
        consumer->done = its_own;
        SIM_CHECK(!its_own || (consumer->order.on_error == BATCHMILL_STOP &&
                               reference->seqs[error.seq].what == SIM_FAILED),
                  "%s: run: %s", consumer->name, error.text);
        SIM_CHECK(its_own || code == BATCHMILL_ABORTED || consumer_may_try_again(code),
                  "%s: run: %s: %s", consumer->name, batchmill_code_name(code), error.text);
        consumer_rest();
    }
    batchmill_run_free(result);
}

// ---- All of them ----

void consumer_work(struct sim_consumer *consumer, struct batchmill_client *client)
{
    do {
        if (consumer->kind == SIM_STREAM)
            consumer_gen(consumer, client);
        else if (consumer->kind == SIM_CURSOR)
            consumer_next(consumer, client);
        else
            consumer_run(consumer, client);
    } while (!consumer->done && !sim.failed && sim_draw(8) > 0);
}

void consumer_init(struct sim_consumer *consumer, unsigned trainer, unsigned i)
{
    static const uint32_t prefetches[] = {0, 0, 1, 1, 2, 3, 5, 16, 40, BATCHMILL_PREFETCH_AUTO};
    *consumer = (struct sim_consumer){
        .kind = scenario.cursors   ? SIM_CURSOR
                : sim_draw(8) == 0 ? SIM_RUN
                                   : SIM_STREAM,
        .reference = oracle_reference((unsigned)sim_draw(oracle_nreferences())),
    };
    snprintf(consumer->name, sizeof consumer->name, "%u.%u", trainer, i);
    if (consumer->kind == SIM_CURSOR)
        consumer->reference = shared;
    consumer->order = consumer->reference->order;
    consumer->order.prefetch = prefetches[sim_draw(10)];
    consumer->order.on_error = (enum batchmill_on_error)sim_draw(3);
    consumer->order.checked = consumer->kind != SIM_RUN;
    if (consumer->kind == SIM_CURSOR) { // all must ask for the same
        consumer->order.prefetch = shared_prefetch;
        consumer->order.on_error = BATCHMILL_SKIP;
    }
}

void consumers_begin(void)
{
    static const uint32_t prefetches[] = {0, 1, 3, 16};
    memset(taken, 0, sizeof taken);
    nleft = 0;
    shared = oracle_reference((unsigned)sim_draw(oracle_nreferences()));
    shared_prefetch = prefetches[sim_draw(4)];
}
