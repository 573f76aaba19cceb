// Memory that runs out anywhere between a client's call and its batches: for every k the k-th
// allocation fails, once, or with all after it. Whatever was told before is right, the failure
// comes as RESOURCE_EXHAUSTED in its place, and afterwards the server is as good as new. And how
// often memory is asked for at all.
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "client/c/codec.h"
#include "client/c/window.h"
#include "fakes/fake_host.h"
#include "fakes/heap.h"
#include "server/codec.h"
#include "support.h"

enum { NITEMS = 24, BATCH_SIZE = 4, NBATCHES = 6, PREFETCH = 2, TURNS_MAX = 100, MS = 2000 };

struct story { // a client of a host, told from both sides
    struct fake_host *host;
    uint64_t batch_size;
    struct fake_call call; // the one under way
    struct bm_buffer request, reply;
    char stream[BM_CLIENT_ID_MAX + 1]; // "": not opened
    struct bm_client_window window;
    uint64_t digests[NBATCHES];
    unsigned ntaken;
    double sum; // of a run's variable
};

static void *reply_alloc(void *context, size_t size)
{
    return bm_buffer_extend(context, size);
}

// As the transport does it: an answer that cannot be encoded becomes an error, and one that not
// even that is possible for is lost.
static bool story_encode_reply(struct story *story)
{
    struct bm_reply *reply = &story->call.exchange.reply;
    struct bm_error error;
    for (int attempt = 0; attempt < 2; attempt++) {
        bm_buffer_fini(&story->reply);
        bm_buffer_init(&story->reply);
        if (bm_reply_encode(reply, reply_alloc, &story->reply, &error) == BM_OK)
            return true;
        assert_int_equal(error.status, BM_RESOURCE_EXHAUSTED);
        bm_reply_fini(reply);
        bm_reply_fail(reply, &error);
    }
    return false;
}

// Carries story->request to the server and its answer to story->reply; false: no answer.
static bool story_exchange(struct story *story)
{
    struct bm_executor *executor = &story->host->mill.executor.base;
    struct bm_exchange *exchange = &story->call.exchange;
    struct bm_error error;
    story->call = (struct fake_call){0};
    enum bm_status status =
        bm_request_decode(story->request.data, story->request.size, &exchange->request, &error);
    executor->enter(executor);
    if (status == BM_OK)
        bm_session_request(story->host->session, exchange);
    else
        bm_session_refuse(story->host->session, exchange, &error);
    executor->leave(executor);
    fake_host_pass(story->host, MS); // longer than anything waits
    assert_int_equal(story->call.nanswers, 1);
    bool answered = story_encode_reply(story);
    bm_exchange_fini(exchange);
    return answered;
}

static enum batchmill_code story_open(struct story *story, const char *pipeline)
{
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    order.batch_size = story->batch_size;
    order.prefetch = PREFETCH;
    order.shuffle = BATCHMILL_SHUFFLE_SEEDED;
    order.seed = 7;
    const struct bm_client_open open = {pipeline, NULL, &order, 0, false};
    struct bm_client_opened *opened = NULL;
    enum batchmill_code code = bm_client_encode_open(&open, &story->request, NULL);
    if (code == BATCHMILL_OK && !story_exchange(story))
        code = BATCHMILL_RESOURCE_EXHAUSTED;
    if (code == BATCHMILL_OK)
        code = bm_client_decode_open(story->reply.data, story->reply.size, &opened, NULL);
    if (code != BATCHMILL_OK)
        return code;
    strcpy(story->stream, opened->stream);
    assert_int_equal(opened->batches, NBATCHES);
    bool room = bm_client_window_init(&story->window, opened->first_seq, opened->batches,
                                      opened->prefetch, false, free);
    free(opened);
    return room ? BATCHMILL_OK : BATCHMILL_RESOURCE_EXHAUSTED;
}

static uint64_t batch_digest(const struct bm_client_batch *batch)
{
    uint64_t digest = bm_mix64(batch->seq);
    digest = bm_mix64(digest ^ bm_hash_bytes(batch->items, batch->nitems * sizeof(uint64_t)));
    for (size_t i = 0; i < batch->ntensors; i++)
        digest =
            bm_mix64(digest ^ bm_hash_bytes(batch->tensors[i].data, batch->tensors[i].size_bytes));
    return digest;
}

// Digests are taken where batches arrive, since they are views of the reply; what the window holds
// is the digest alone.
static enum batchmill_code story_put(struct story *story, struct bm_client_batches *batches)
{
    for (size_t i = 0; i < batches->nbatches; i++) {
        struct bm_client_batch *batch = NULL;
        enum batchmill_code code = bm_client_next_of(batches, &batch, NULL);
        if (code != BATCHMILL_OK)
            return code;
        uint64_t seq = batch->seq;
        if (batch->error != NULL) { // in its place: all before it came
            assert_int_equal(batch->error->code, BATCHMILL_RESOURCE_EXHAUSTED);
            assert_int_equal(batch->error->seq, seq);
            free(batch);
            return BATCHMILL_RESOURCE_EXHAUSTED;
        }
        uint64_t *digest = malloc(sizeof *digest);
        if (digest != NULL)
            *digest = batch_digest(batch);
        free(batch);
        if (digest == NULL)
            return BATCHMILL_RESOURCE_EXHAUSTED;
        const struct bm_client_arrival arrival = {.batch = digest, .bytes = 100};
        if (!bm_client_window_put(&story->window, seq, &arrival))
            free(digest);
    }
    return BATCHMILL_OK;
}

static enum batchmill_code story_ask(struct story *story, const struct bm_client_ask *ask)
{
    const struct bm_client_next next = {.stream = story->stream,
                                        .first = ask->first,
                                        .max_batches = ask->count,
                                        .wait_ms = MS / 2,
                                        .ack = ask->ack};
    struct bm_client_batches batches = {0};
    enum batchmill_code code = bm_client_encode_next(&next, &story->request, NULL);
    if (code == BATCHMILL_OK && !story_exchange(story))
        code = BATCHMILL_RESOURCE_EXHAUSTED;
    if (code == BATCHMILL_OK)
        code = bm_client_decode_next(story->reply.data, story->reply.size, &batches, NULL);
    if (code == BATCHMILL_OK)
        code = story_put(story, &batches);
    if (code == BATCHMILL_OK && batches.end)
        bm_client_window_end(&story->window, batches.end_seq);
    bm_client_window_answered(&story->window, ask, code != BATCHMILL_OK);
    return code;
}

static enum batchmill_code story_stream(struct story *story)
{
    enum batchmill_code code = story_open(story, "locked");
    for (unsigned turn = 0; code == BATCHMILL_OK; turn++) {
        struct bm_client_ask ask;
        void *digest = NULL;
        assert_true(turn < TURNS_MAX); // else it hangs
        bm_client_window_ask(&story->window);
        enum bm_client_taken taken = bm_client_window_take(&story->window, &digest);
        if (taken == BM_CLIENT_END)
            break;
        if (taken == BM_CLIENT_TAKEN) {
            assert_true(story->ntaken < NBATCHES);
            story->digests[story->ntaken++] = *(uint64_t *)digest;
            free(digest);
        }
        while (code == BATCHMILL_OK && bm_client_window_next_ask(&story->window, &ask))
            code = story_ask(story, &ask);
    }
    return code;
}

// ---- A run, for the variables and the other half of the calls ----

static enum batchmill_code story_get_run(struct story *story,
                                         struct bm_client_run_report *ret_report)
{
    enum batchmill_code code =
        bm_client_encode_get_run(story->stream, MS / 2, &story->request, NULL);
    if (code == BATCHMILL_OK && !story_exchange(story))
        code = BATCHMILL_RESOURCE_EXHAUSTED;
    return code == BATCHMILL_OK
               ? bm_client_decode_get_run(story->reply.data, story->reply.size, ret_report, NULL)
               : code;
}

static enum batchmill_code story_run(struct story *story)
{
    struct batchmill_order order = BATCHMILL_ORDER_DEFAULTS;
    struct bm_client_run run = {.run = ""};
    struct bm_client_run_report report = {.state = BM_CLIENT_RUN_RUNNING};
    order.batch_size = story->batch_size;
    order.prefetch = PREFETCH;
    enum batchmill_code code = bm_client_encode_run("locked", &order, 0, &story->request, NULL);
    if (code == BATCHMILL_OK && !story_exchange(story))
        code = BATCHMILL_RESOURCE_EXHAUSTED;
    if (code == BATCHMILL_OK)
        code = bm_client_decode_run(story->reply.data, story->reply.size, &run, NULL);
    strcpy(story->stream, run.run);
    for (unsigned turn = 0; code == BATCHMILL_OK && report.state == BM_CLIENT_RUN_RUNNING; turn++) {
        assert_true(turn < TURNS_MAX);
        free(report.result);
        report.result = NULL;
        code = story_get_run(story, &report);
    }
    if (code == BATCHMILL_OK && report.state == BM_CLIENT_RUN_FAILED)
        code = report.failure.code;
    if (code == BATCHMILL_OK) {
        assert_int_equal(report.result->batches, NBATCHES);
        assert_int_equal(report.result->nvariables, 3);
        story->ntaken = NBATCHES;
        story->sum = report.result->variables[0].number;
    }
    free(report.result);
    return code;
}

// ---- Torture ----

static void story_begin(struct story *story, struct fake_host *host)
{
    *story = (struct story){.host = host, .batch_size = BATCH_SIZE};
    bm_buffer_init(&story->request);
    bm_buffer_init(&story->reply);
}

static void story_end(struct story *story, bool is_run)
{
    if (story->stream[0] != '\0') {
        enum batchmill_code code =
            is_run ? bm_client_encode_cancel_run(story->stream, &story->request, NULL)
                   : bm_client_encode_close(story->stream, 0, false, &story->request, NULL);
        assert_int_equal(code, BATCHMILL_OK);
        assert_true(story_exchange(story));
    }
    bm_client_window_fini(&story->window);
    bm_buffer_fini(&story->request);
    bm_buffer_fini(&story->reply);
}

// What was told is what is told without a failure.
static void story_expect(const struct story *story, const struct story *expected)
{
    for (unsigned i = 0; i < story->ntaken; i++)
        assert_true(story->digests[i] == expected->digests[i]);
    if (story->ntaken == NBATCHES)
        assert_true(story->sum == expected->sum);
}

static void story_torture(enum batchmill_code (*tell)(struct story *story), bool is_run,
                          void (*fail_when)(uint64_t n), uint64_t nfailures_min)
{
    struct story expected, story;
    struct fake_host host;
    bool failed = true;
    uint64_t n;
    for (n = 0; failed; n++) { // the first time nothing fails
        fake_host_init(&host);
        fake_host_add(&host, "locked", NITEMS,
                      "[draw, {add: {amount: 5}}, {nap: {ns: 1000}},"
                      " {step: {}, use_lock: gpu}, sum]");
        story_begin(&story, &host);
        if (n > 0)
            fail_when(n);
        enum batchmill_code code = tell(&story);
        failed = n == 0 || bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        if (code != BATCHMILL_OK && (n == 0 || !failed || code != BATCHMILL_RESOURCE_EXHAUSTED))
            fail_msg("allocation %u: got %s", (unsigned)n, batchmill_code_name(code));
        if (n == 0)
            expected = story;
        if (code == BATCHMILL_OK)
            assert_int_equal(story.ntaken, NBATCHES);
        story_expect(&story, &expected);
        story_end(&story, is_run);
        story_begin(&story, &host); // nobody's lock is held, nothing waits for what is gone
        assert_int_equal(tell(&story), BATCHMILL_OK);
        story_expect(&story, &expected);
        story_end(&story, is_run);
        fake_host_fini(&host);
    }
    assert_true(n > nfailures_min);
}

static void a_stream_survives_any_allocation_that_fails(void **state)
{
    (void)state;
    story_torture(story_stream, false, bm_fake_heap_fail_at, 50);
}

static void a_stream_survives_memory_that_has_run_out_from_any_moment_on(void **state)
{
    (void)state;
    story_torture(story_stream, false, bm_fake_heap_fail_from, 50);
}

static void a_run_survives_any_allocation_that_fails(void **state)
{
    (void)state;
    story_torture(story_run, true, bm_fake_heap_fail_at, 50);
}

static void a_run_survives_memory_that_has_run_out_from_any_moment_on(void **state)
{
    (void)state;
    story_torture(story_run, true, bm_fake_heap_fail_from, 50);
}

// ---- How much is asked for ----

// Allocations from opening a stream to its last batch, on both sides.
static uint64_t stream_allocations(uint64_t batch_size)
{
    struct fake_host host;
    struct story story;
    fake_host_init(&host);
    fake_host_add(&host, "locked", NBATCHES * batch_size,
                  "[draw, {add: {amount: 5}}, {nap: {ns: 1000}}, {step: {}, use_lock: gpu}, sum]");
    story_begin(&story, &host);
    story.batch_size = batch_size;
    uint64_t before = bm_fake_heap_count();
    assert_int_equal(story_stream(&story), BATCHMILL_OK);
    uint64_t allocations = bm_fake_heap_count() - before;
    assert_int_equal(story.ntaken, NBATCHES);
    story_end(&story, false);
    fake_host_fini(&host);
    return allocations;
}

static void items_need_no_allocations(void **state)
{
    (void)state;
    uint64_t few = stream_allocations(64);
    assert_in_range(few, 1, 400);
    assert_int_equal(stream_allocations(6400), few);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_need_no_allocations),
        cmocka_unit_test(a_stream_survives_any_allocation_that_fails),
        cmocka_unit_test(a_stream_survives_memory_that_has_run_out_from_any_moment_on),
        cmocka_unit_test(a_run_survives_any_allocation_that_fails),
        cmocka_unit_test(a_run_survives_memory_that_has_run_out_from_any_moment_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
