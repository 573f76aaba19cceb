// Processes that lend actions: who gets which task, and what becomes of it when one is lost.
#include <stdlib.h>
#include <string.h>

#include "fakes/fake_host.h"
#include "support.h"

static const char declarations[] =
    "{plus: {writes: {x: {like: x}}, params: {amount: 1, name: a}, attempts: 3},"
    " slow: {writes: {y: {dtype: float32, shape: [2]}}, deadline: 5, version: v2},"
    " words: {writes: {w: {dtype: string}}, removes: [x]}}";

static struct fake_host host;
static char lenders[2][BM_STREAM_ID_MAX + 1];

static int setup(void **state)
{
    (void)state;
    fake_host_init_lending(&host, declarations);
    fake_host_add(&host, "one", 6, "[{plus: {amount: 2.5}}]");
    fake_host_add(&host, "locked", 6, "[{plus: {}, use_lock: gpu}]");
    fake_host_add(&host, "slow", 6, "[slow]");
    fake_host_add(&host, "words", 6, "[words]");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_host_fini(&host);
    return 0;
}

// ---- A lender ----

static struct fake_call *call_lend(const char *name, const char *version, const char *lock,
                                   uint32_t slots, uint64_t nonce)
{
    static struct bm_lent_action action;
    action = (struct bm_lent_action){name, version, lock};
    return fake_call(
        &host, BM_CALL_LEND_ACTIONS,
        (struct bm_request){
            .lend = {.nactions = 1, .actions = &action, .slots = slots, .nonce = nonce}});
}

static void lend(unsigned i, const char *name, uint32_t slots)
{
    host.connection = i + 1;
    struct fake_call *call = call_lend(name, strcmp(name, "slow") == 0 ? "v2" : "", "", slots, 0);
    assert_int_equal(fake_reply(call)->code, BM_OK);
    strcpy(lenders[i], fake_reply(call)->lent.id);
    fake_call_free(call);
}

static struct fake_call *ask_slot(unsigned i, uint32_t slot, uint64_t ticket,
                                  struct bm_task_result *result)
{
    host.connection = i + 1;
    return fake_call(&host, BM_CALL_TAKE_TASK,
                     (struct bm_request){.task = {.lender = lenders[i],
                                                  .slot = slot,
                                                  .wait_ms = 10000,
                                                  .ticket = ticket,
                                                  .result = result}});
}

static struct fake_call *ask(unsigned i, uint64_t ticket, struct bm_task_result *result)
{
    return ask_slot(i, 0, ticket, result);
}

static struct bm_task_result *result_new(enum bm_task_ending ending, unsigned ntensors)
{
    struct bm_task_result *result =
        calloc(1, sizeof *result + ntensors * sizeof result->tensors[0]);
    assert_non_null(result);
    atomic_init(&result->refs, 1);
    result->ending = ending;
    result->row = -1;
    result->ntensors = ntensors;
    return result;
}

// x = x + 100, of the batch that the call was given.
static struct bm_task_result *done(const struct fake_call *call)
{
    const struct bm_task_told *told = bm_task_told(fake_reply(call)->given.task);
    int64_t *values = calloc(told->nitems + 1, sizeof values[0]);
    assert_non_null(values);
    const int64_t *from = (const int64_t *)told->batch.tensors[0].data;
    for (uint64_t i = 0; i < told->nitems; i++)
        values[i] = from[i] + 100;
    struct bm_task_result *result = result_new(BM_TASK_DONE, 1);
    result->bytes = values;
    result->tensors[0] = (struct bm_task_tensor){.name = "x",
                                                 .dtype = BM_INT64,
                                                 .ndim = 1,
                                                 .shape = {told->nitems},
                                                 .data = (const unsigned char *)values,
                                                 .data_bytes = told->nitems * sizeof values[0]};
    return result;
}

static uint64_t given_seq(const struct fake_call *call)
{
    assert_int_equal(fake_reply(call)->code, BM_OK);
    assert_non_null(fake_reply(call)->given.task);
    return bm_task_told(fake_reply(call)->given.task)->seq;
}

// ---- A trainer ----

static void open_stream(const char *pipeline, uint32_t prefetch, char ret_id[BM_STREAM_ID_MAX + 1])
{
    fake_id(fake_open(&host, (struct bm_open_request){.pipeline = pipeline,
                                                      .order.batch_size = 2,
                                                      .prefetch = prefetch}),
            ret_id);
}

static struct fake_call *next(const char *id, uint64_t seq)
{
    return fake_next(
        &host, (struct bm_next_request){
                   .stream = id, .first = seq, .ack = seq, .max_batches = 1, .wait_ms = 20000});
}

static void expect_batch(struct fake_call *call, uint64_t seq)
{
    const struct bm_batches *batches = &fake_reply(call)->batches;
    assert_int_equal(batches->noutcomes, 1);
    const struct bm_outcome *outcome = batches->outcomes[0];
    assert_int_equal(outcome->seq, seq);
    assert_int_equal(outcome->kind, BM_OUTCOME_BATCH);
    const int64_t *x = (const int64_t *)outcome->work.batch.tensors[0].data;
    assert_int_equal(x[0], (int64_t)(2 * seq) + 100);
    fake_call_free(call);
}

static void expect_failed(struct fake_call *call, enum bm_status status, const char *text)
{
    const struct bm_outcome *outcome = fake_reply(call)->batches.outcomes[0];
    assert_int_equal(outcome->kind, BM_OUTCOME_FAILED);
    assert_int_equal(outcome->work.error.status, status);
    assert_non_null(strstr(outcome->work.error.text, text));
    fake_call_free(call);
}

// ---- Tests ----

static void a_batch_waits_for_a_lender_and_comes_back_as_it_was_made(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    open_stream("one", 0, id);
    struct fake_call *wants = next(id, 0);
    assert_false(fake_answered(wants));
    lend(0, "plus", 1);
    struct fake_call *task = ask(0, 1, NULL);
    assert_int_equal(given_seq(task), 0);
    const struct bm_task_told *told = bm_task_told(fake_reply(task)->given.task);
    assert_string_equal(told->params, "{\"amount\": 2.5, \"name\": \"a\"}");
    assert_string_equal(told->stream, id);
    assert_int_equal(fake_reply(task)->given.attempt, 1);
    assert_int_equal(told->items[1], 1);
    struct fake_call *waits = ask(0, 2, done(task));
    expect_batch(wants, 0);
    assert_false(fake_answered(waits));
    fake_host_pass(&host, 10000);
    assert_null(fake_reply(waits)->given.task); // not yet
    fake_call_free(task);
    fake_call_free(waits);
}

static void a_ticket_keeps_its_task(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    open_stream("one", 1, id);
    struct fake_call *wants = next(id, 0);
    lend(0, "plus", 1);
    struct fake_call *task = ask(0, 1, NULL), *again = ask(0, 1, NULL);
    assert_ptr_equal(fake_reply(task)->given.task, fake_reply(again)->given.task);
    fake_expect(ask(0, 3, NULL), BM_INVALID_ARGUMENT, "expected 2, got 3");
    struct fake_call *second = ask(0, 2, done(task));
    assert_int_equal(given_seq(second), 1);
    fake_expect(ask(0, 1, NULL), BM_OUT_OF_RANGE, "expected 2");
    struct fake_call *repeated = ask(0, 2, done(task)); // its first answer was lost
    assert_int_equal(given_seq(repeated), 1);
    expect_batch(wants, 0);
    fake_call_free(task);
    fake_call_free(again);
    fake_call_free(second);
    fake_call_free(repeated);
}

static void a_lost_lenders_task_goes_to_the_next_and_its_word_counts_no_more(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    open_stream("one", 0, id);
    struct fake_call *wants = next(id, 0);
    lend(0, "plus", 1);
    struct fake_call *first = ask(0, 1, NULL);
    lend(1, "plus", 1);
    struct fake_call *second = ask(1, 1, NULL);
    assert_false(fake_answered(second));
    fake_host_disconnect(&host, 1);
    assert_int_equal(given_seq(second), 0);
    assert_int_equal(fake_reply(second)->given.attempt, 2);
    struct fake_call *late = ask(0, 2, done(first)); // it was only its connection
    assert_false(fake_answered(wants));
    struct fake_call *rest = ask(1, 2, done(second));
    expect_batch(wants, 0);
    fake_call_free(first);
    fake_call_free(second);
    fake_host_pass(&host, 10000);
    fake_call_free(late);
    fake_call_free(rest);
}

static void a_silent_lender_loses_its_task_with_its_lease(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    open_stream("one", 0, id);
    struct fake_call *wants = next(id, 0);
    lend(0, "plus", 1);
    struct fake_call *task = ask(0, 1, NULL);
    fake_host_pass(&host, FAKE_LEASE_MS - 1);
    fake_call_free(ask(0, 1, NULL)); // which renews it
    fake_host_pass(&host, FAKE_LEASE_MS);
    fake_expect(ask(0, 2, done(task)), BM_NOT_FOUND, "there is no lender");
    fake_call_free(task);
    fake_call_free(wants);
}

static void after_too_many_lost_lenders_the_batch_fails(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    open_stream("one", 0, id);
    struct fake_call *wants = next(id, 0);
    lend(0, "plus", 1);
    for (uint64_t attempt = 1; attempt <= 3; attempt++) {
        struct fake_call *task = ask(0, attempt, NULL);
        assert_int_equal(fake_reply(task)->given.attempt, attempt);
        fake_host_disconnect(&host, 1);
        fake_call_free(task);
    }
    expect_failed(wants, BM_ABORTED, "3 processes were lost");
}

static void whoever_has_nothing_to_do_is_given_the_next(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    lend(0, "plus", 2);
    lend(1, "plus", 2);
    struct fake_call *calls[] = {ask_slot(0, 0, 1, NULL), ask_slot(0, 1, 1, NULL),
                                 ask_slot(1, 0, 1, NULL), ask_slot(1, 1, 1, NULL)};
    open_stream("one", 2, id);
    struct fake_call *wants = next(id, 0);
    unsigned given[2] = {0, 0};
    for (unsigned i = 0; i < 4; i++)
        given[i / 2] += fake_answered(calls[i]);
    assert_int_equal(given[0], 1); // the third batch waits: who has one may take long
    assert_int_equal(given[1], 1);
    fake_host_pass(&host, 10000);
    for (unsigned i = 0; i < 4; i++)
        fake_call_free(calls[i]);
    fake_host_pass(&host, 10000);
    fake_call_free(wants);
}

static void a_closed_stream_takes_its_task_back(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    open_stream("locked", 1, id);
    struct fake_call *wants = next(id, 0);
    lend(0, "plus", 1);
    struct fake_call *task = ask(0, 1, NULL);
    fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, id));
    fake_expect(wants, BM_CANCELLED, "closed");
    struct fake_call *late = ask(0, 2, done(task)); // nobody wants it
    open_stream("locked", 0, id);                   // and the lock is free
    wants = next(id, 0);
    assert_int_equal(given_seq(late), 0);
    struct fake_call *rest = ask(0, 3, done(late));
    expect_batch(wants, 0);
    fake_host_pass(&host, 10000);
    fake_call_free(task);
    fake_call_free(late);
    fake_call_free(rest);
}

static void a_deadline_ends_the_wait_and_the_work(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    open_stream("slow", 0, id);
    struct fake_call *wants = next(id, 0);
    fake_host_pass(&host, 4999);
    assert_false(fake_answered(wants));
    fake_host_pass(&host, 1);
    expect_failed(wants, BM_DEADLINE_EXCEEDED, "no process that lends it was free");
    lend(0, "slow", 1);
    open_stream("slow", 0, id);
    wants = next(id, 0);
    struct fake_call *task = ask(0, 1, NULL);
    fake_host_pass(&host, 5000);
    expect_failed(wants, BM_DEADLINE_EXCEEDED, "the process that has it has not ended it");
    fake_call_free(task);
}

static void what_was_not_declared_fails_the_batch(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t dtype, shape, bytes;
        const char *text;
    } cases[] = {
        {"x", BM_FLOAT64, 2, 16, "x: expected int64 [2], got float64 [2]"},
        {"x", BM_INT64, 3, 24, "x: expected int64 [2], got int64 [3]"},
        {"x", BM_INT64, 2, 8, "x: expected 16 bytes, got 8"},
        {"q", BM_INT64, 2, 16, "got \"q\""},
    };
    static const unsigned char bytes[64];
    lend(0, "plus", 1);
    uint64_t ticket = 1;
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char id[BM_STREAM_ID_MAX + 1];
        open_stream("one", 0, id);
        struct fake_call *wants = next(id, 0);
        struct fake_call *task = ask(0, ticket++, NULL);
        struct bm_task_result *result = result_new(BM_TASK_DONE, 1);
        result->tensors[0] = (struct bm_task_tensor){.dtype = cases[i].dtype,
                                                     .ndim = 1,
                                                     .shape = {cases[i].shape},
                                                     .data = bytes,
                                                     .data_bytes = cases[i].bytes};
        strcpy(result->tensors[0].name, cases[i].name);
        struct fake_call *rest = ask(0, ticket, result);
        expect_failed(wants, BM_INVALID_ARGUMENT, cases[i].text);
        fake_host_pass(&host, 10000);
        fake_call_free(task);
        fake_call_free(rest);
    }
}

static void endings_are_taken_in_the_order_of_batches(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    open_stream("one", 2, id);
    struct fake_call *wants = next(id, 0);
    lend(0, "plus", 1);
    struct fake_call *first = ask(0, 1, NULL);
    struct fake_call *second = ask(0, 2, done(first));
    struct fake_call *third = ask(0, 3, result_new(BM_TASK_SKIP, 0));
    struct bm_task_result *failure = result_new(BM_TASK_FAILED, 0);
    failure->status = BM_OUT_OF_RANGE;
    failure->row = 1;
    strcpy(failure->text, "no");
    struct fake_call *rest = ask(0, 4, failure);
    expect_batch(wants, 0);
    wants = next(id, 1);
    assert_int_equal(fake_reply(wants)->batches.outcomes[0]->kind, BM_OUTCOME_SKIPPED);
    fake_call_free(wants);
    wants = next(id, 2);
    assert_int_equal(fake_reply(wants)->batches.outcomes[0]->work.failed_item, 5);
    expect_failed(wants, BM_OUT_OF_RANGE, "no");
    fake_host_pass(&host, 10000);
    fake_call_free(first);
    fake_call_free(second);
    fake_call_free(third);
    fake_call_free(rest);
}

static void texts_come_with_their_offsets(void **state)
{
    (void)state;
    static const uint64_t offsets[] = {0, 2, 5};
    char id[BM_STREAM_ID_MAX + 1];
    open_stream("words", 0, id);
    struct fake_call *wants = next(id, 0);
    lend(0, "words", 1);
    struct fake_call *task = ask(0, 1, NULL);
    struct bm_task_result *result = result_new(BM_TASK_DONE, 1);
    result->tensors[0] = (struct bm_task_tensor){.name = "w",
                                                 .dtype = BM_STRING,
                                                 .ragged = true,
                                                 .ndim = 1,
                                                 .shape = {5},
                                                 .offsets = (const unsigned char *)offsets,
                                                 .offsets_bytes = sizeof offsets,
                                                 .data = (const unsigned char *)"abcde",
                                                 .data_bytes = 5};
    struct fake_call *rest = ask(0, 2, result);
    const struct bm_batch *batch = &fake_reply(wants)->batches.outcomes[0]->work.batch;
    assert_int_equal(batch->schema->ncomponents, 1); // x was removed
    assert_memory_equal(batch->tensors[0].data, "abcde", 5);
    assert_memory_equal(batch->tensors[0].offsets, offsets, sizeof offsets);
    fake_host_pass(&host, 10000);
    fake_call_free(wants);
    fake_call_free(task);
    fake_call_free(rest);
}

static void who_lends_what_does_not_fit_is_told(void **state)
{
    (void)state;
    fake_expect(call_lend("minus", "", "", 1, 0), BM_NOT_FOUND, "there are: plus, slow, words");
    fake_expect(call_lend("slow", "v1", "", 1, 0), BM_FAILED_PRECONDITION,
                "expected version \"v2\"");
    fake_expect(call_lend("plus", "", "gpu", 1, 0), BM_FAILED_PRECONDITION, "use_lock: gpu");
    fake_expect(call_lend("plus", "", "", 0, 0), BM_INVALID_ARGUMENT, "expected 1 to 16, got 0");
    fake_call_free(call_lend("plus", "", "", 1, 5));
    fake_expect(call_lend("plus", "", "", 2, 5), BM_INVALID_ARGUMENT, "expected a new one");
    fake_expect(call_lend("words", "", "", 1, 5), BM_INVALID_ARGUMENT, "expected a new one");
    host.connection = 0;
    fake_expect(call_lend("plus", "", "", 1, 0), BM_FAILED_PRECONDITION, "tcp, tls+tcp and ipc");
}

static void status_says_who_waits_for_whom(void **state)
{
    (void)state;
    char id[BM_STREAM_ID_MAX + 1];
    open_stream("one", 2, id);
    struct fake_call *wants = next(id, 0);
    fake_host_pass(&host, 3000);
    struct fake_call *call = fake_call(&host, BM_CALL_GET_STATUS, (struct bm_request){0});
    const struct bm_status_report *report = &fake_reply(call)->status;
    assert_int_equal(report->nremotes, 3);
    assert_string_equal(report->remotes[0].info.name, "plus");
    assert_int_equal(report->remotes[0].info.nwaiting, 3);
    assert_int_equal(report->remotes[0].nlenders, 0);
    assert_true(report->remotes[0].waiting_seconds == 3);
    fake_call_free(call);
    fake_call_free(fake_named(&host, BM_CALL_CLOSE_STREAM, id));
    fake_call_free(wants);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_batch_waits_for_a_lender_and_comes_back_as_it_was_made),
        TEST(a_ticket_keeps_its_task),
        TEST(a_lost_lenders_task_goes_to_the_next_and_its_word_counts_no_more),
        TEST(a_silent_lender_loses_its_task_with_its_lease),
        TEST(after_too_many_lost_lenders_the_batch_fails),
        TEST(whoever_has_nothing_to_do_is_given_the_next),
        TEST(a_closed_stream_takes_its_task_back),
        TEST(a_deadline_ends_the_wait_and_the_work),
        TEST(what_was_not_declared_fails_the_batch),
        TEST(endings_are_taken_in_the_order_of_batches),
        TEST(texts_come_with_their_offsets),
        TEST(who_lends_what_does_not_fit_is_told),
        TEST(status_says_who_waits_for_whom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
