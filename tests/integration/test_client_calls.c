// Cursors, runs and questions of the C client against a real server.
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "fakes/client_fixture.h"
#include "support.h"

// ---- Cursors ----

struct taker {
    struct batchmill_client *client;
    atomic_uint *times; // [CLIENT_NBATCHES] how often a batch came
    enum batchmill_code code;
};

static void *thread_takes_from_a_cursor(void *context)
{
    struct taker *taker = context;
    struct batchmill_order order = client_order(3);
    struct batchmill_batch *batch = NULL;
    while ((taker->code = batchmill_next_batch(taker->client, "shared", "plain", &order, &batch,
                                               NULL)) == BATCHMILL_OK) {
        if (batchmill_batch_seq(batch) < CLIENT_NBATCHES)
            atomic_fetch_add(&taker->times[batchmill_batch_seq(batch)], 1);
        batchmill_batch_free(batch);
    }
    return NULL;
}

static void a_cursor_gives_each_batch_to_one_of_those_who_ask(void **state)
{
    (void)state;
    enum { NTHREADS = 4 };
    atomic_uint times[CLIENT_NBATCHES] = {0};
    struct batchmill_client *clients[2] = {client_connected(the_host.urls[1]),
                                           client_connected(the_host.urls[2])};
    struct taker takers[NTHREADS];
    pthread_t threads[NTHREADS];
    for (unsigned i = 0; i < NTHREADS; i++) {
        takers[i] = (struct taker){.client = clients[i % 2], .times = times};
        assert_int_equal(pthread_create(&threads[i], NULL, thread_takes_from_a_cursor, &takers[i]),
                         0);
    }
    for (unsigned i = 0; i < NTHREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < NTHREADS; i++)
        assert_int_equal(takers[i].code, BATCHMILL_END);
    for (unsigned seq = 0; seq < CLIENT_NBATCHES; seq++)
        assert_int_equal(times[seq], 1);
    batchmill_disconnect(clients[0]);
    batchmill_disconnect(clients[1]);
}

static void a_cursor_goes_on_from_client_to_client(void **state)
{
    (void)state;
    struct batchmill_order order = client_order(0);
    struct batchmill_error error;
    for (uint64_t seq = 0; seq < 10; seq++) {
        struct batchmill_client *client = client_connected(the_host.urls[1]);
        struct batchmill_batch *batch = NULL;
        client_expect_ok(batchmill_next_batch(client, "relay", "plain", &order, &batch, &error),
                         &error);
        assert_int_equal(batchmill_batch_seq(batch), seq);
        batchmill_batch_free(batch);
        batchmill_disconnect(client); // takes the batch with it
    }
}

static void other_arguments_than_the_cursors_are_refused(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_order order = client_order(0), other = client_order(0);
    struct batchmill_batch *batch = NULL;
    struct batchmill_error error;
    other.batch_size = 8;
    client_expect_ok(batchmill_next_batch(client, "strict", "plain", &order, &batch, &error),
                     &error);
    batchmill_batch_free(batch);
    for (unsigned times = 0; times < 2; times++)
        client_expect_error(batchmill_next_batch(client, "strict", "plain", &other, &batch, &error),
                            &error, BATCHMILL_INVALID_ARGUMENT, "batch_size");
    client_expect_error(batchmill_next_batch(client, "strict", "locked", &order, &batch, &error),
                        &error, BATCHMILL_INVALID_ARGUMENT, "pipeline");
    client_expect_error(batchmill_next_batch(client, "", "plain", &order, &batch, &error), &error,
                        BATCHMILL_INVALID_ARGUMENT, "cursor");
    client_expect_ok(batchmill_next_batch(client, "strict", "plain", &order, &batch, &error),
                     &error);
    assert_int_equal(batchmill_batch_seq(batch), 1);
    batchmill_batch_free(batch);
    batchmill_disconnect(client);
}

// ---- Runs ----

static bool count_progress(void *context, const struct batchmill_run_result *so_far)
{
    unsigned *ncalls = context;
    (*ncalls)++;
    return so_far->batches <= so_far->expected_batches;
}

static void a_run_tells_how_far_it_is_and_what_came_out(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_order order = client_order(3);
    struct batchmill_run_result *result = NULL;
    struct batchmill_error error;
    unsigned ncalls = 0;
    client_expect_ok(
        batchmill_run(client, "slow-sum", &order, count_progress, &ncalls, &result, &error),
        &error);
    assert_true(ncalls > 0);
    assert_int_equal(result->batches, CLIENT_NBATCHES);
    assert_int_equal(result->expected_batches, CLIENT_NBATCHES);
    assert_int_equal(result->items, CLIENT_NITEMS);
    assert_int_equal(result->failed, 0);
    assert_int_equal(result->seed, 7);
    bool found = false;
    for (size_t i = 0; i < result->nvariables; i++) {
        if (strcmp(result->variables[i].name, "x.mean") == 0) {
            found = true;
            assert_true(result->variables[i].number == (CLIENT_NITEMS - 1) / 2.0);
        }
    }
    assert_true(found);
    batchmill_run_free(result);
    batchmill_disconnect(client);
}

static bool refuse_progress(void *context, const struct batchmill_run_result *so_far)
{
    (void)context, (void)so_far;
    return false;
}

static void a_run_can_be_cancelled(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_order order = client_order(0);
    order.n_epochs = 0; // would never end by itself
    struct batchmill_run_result *result = NULL;
    struct batchmill_error error;
    client_expect_error(
        batchmill_run(client, "sum", &order, refuse_progress, NULL, &result, &error), &error,
        BATCHMILL_CANCELLED, "cancelled");
    assert_null(result);
    batchmill_disconnect(client);
}

static void a_run_that_fails_tells_what_it_reached(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_order order = client_in_order(3, BATCHMILL_STOP);
    struct batchmill_run_result *result = NULL;
    struct batchmill_error error;
    client_expect_failure(batchmill_run(client, "fail", &order, NULL, NULL, &result, &error),
                          &error, 3, 23);
    assert_int_equal(result->batches, 3);
    assert_int_equal(result->failed, 1);
    batchmill_run_free(result);
    order.on_error = BATCHMILL_REPORT;
    client_expect_ok(batchmill_run(client, "fail", &order, NULL, NULL, &result, &error), &error);
    assert_int_equal(result->batches, CLIENT_NBATCHES - 2);
    assert_int_equal(result->failed, 2);
    batchmill_run_free(result);
    batchmill_disconnect(client);
}

// ---- What there is ----

static void a_server_tells_what_it_hosts(void **state)
{
    (void)state;
    struct batchmill_client *client = client_connected(the_host.urls[1]);
    struct batchmill_error error;
    struct batchmill_list *list = NULL;
    client_expect_ok(batchmill_list(client, &list, &error), &error);
    assert_int_equal(list->n, 8);
    assert_string_equal(list->pipelines[0].name, "end");
    assert_string_equal(list->pipelines[0].source, "numbers");
    assert_int_equal(list->pipelines[0].items, CLIENT_NITEMS);
    batchmill_list_free(list);
    struct batchmill_description *description = NULL;
    client_expect_ok(batchmill_describe(client, "locked", &description, &error), &error);
    assert_int_equal(description->nactions, 2);
    assert_null(description->actions[0].lock);
    assert_string_equal(description->actions[1].lock, "gpu");
    assert_int_equal(description->ncomponents, 1);
    assert_string_equal(description->components[0].name, "x");
    assert_string_equal(batchmill_dtype_name(description->components[0].dtype), "int64");
    assert_int_equal(batchmill_dtype_size(description->components[0].dtype), 8);
    batchmill_description_free(description);
    client_expect_error(batchmill_describe(client, "nothing", &description, &error), &error,
                        BATCHMILL_NOT_FOUND, "nothing");
    struct batchmill_status status;
    client_expect_ok(batchmill_status(client, &status, &error), &error);
    assert_int_equal(status.pipelines, 8);
    assert_int_equal(status.workers, 2);
    batchmill_disconnect(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_cursor_gives_each_batch_to_one_of_those_who_ask),
        TEST(a_cursor_goes_on_from_client_to_client),
        TEST(other_arguments_than_the_cursors_are_refused),
        TEST(a_run_tells_how_far_it_is_and_what_came_out),
        TEST(a_run_can_be_cancelled),
        TEST(a_run_that_fails_tells_what_it_reached),
        TEST(a_server_tells_what_it_hosts),
    };
    return cmocka_run_group_tests_name("client_calls", tests, NULL, host_last);
}
