// Many threads do to one server whatever a client may, for BATCHMILL_STRESS_SECONDS (2). What is
// right is checked as it comes; what races, ThreadSanitizer sees.
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "fakes/client_fixture.h"
#include "support.h"

enum { NTHREADS = 8, NCLIENTS = 3, STRESS_SECONDS = 2 };

static struct batchmill_client *clients[NCLIENTS];
static atomic_bool over;

struct user { // a thread
    uint64_t random;
    struct batchmill_client *client;
    uint64_t nbatches, nruns, nopened, ncancelled;
    char wrong[256]; // "": nothing; only the first
};

static uint64_t draw(struct user *user, uint64_t bound)
{
    user->random += UINT64_C(0x9e3779b97f4a7c15);
    return bm_mix64(user->random) % bound;
}

static void expect(struct user *user, bool right, const char *what,
                   const struct batchmill_error *error)
{
    if (!right && user->wrong[0] == '\0')
        snprintf(user->wrong, sizeof user->wrong, "%s: %.200s", what, error->text);
}

static void *cancel(void *stream)
{
    batchmill_cancel(stream);
    return NULL;
}

// Each batch must be the next one; the stream is left in the middle, cancelled, or taken to its
// end.
static void use_stream(struct user *user)
{
    static const char *const pipelines[] = {"plain", "locked", "sum", "locked"};
    struct batchmill_order order = client_order((uint32_t)draw(user, 20));
    order.traced = draw(user, 4) == 0;
    struct batchmill_stream *stream = NULL;
    struct batchmill_error error = {0};
    enum batchmill_code code =
        batchmill_gen_batch(user->client, pipelines[draw(user, 4)], &order, &stream, &error);
    expect(user, code == BATCHMILL_OK, "open", &error);
    if (code != BATCHMILL_OK)
        return;
    user->nopened++;
    uint64_t n = draw(user, 100), seq = 0;
    bool cancelled = draw(user, 8) == 0;
    pthread_t canceller;
    if (cancelled)
        cancelled = pthread_create(&canceller, NULL, cancel, stream) == 0;
    while (seq < n && code == BATCHMILL_OK) {
        struct batchmill_batch *batch = NULL;
        code = batchmill_next(stream, &batch, &error);
        if (code != BATCHMILL_OK)
            break;
        expect(user, batchmill_batch_seq(batch) == seq, "out of order", &error);
        batchmill_batch_free(batch);
        seq++;
        user->nbatches++;
    }
    bool ended = code == BATCHMILL_END && seq == CLIENT_NBATCHES;
    expect(user, code == BATCHMILL_OK || ended || (cancelled && code == BATCHMILL_CANCELLED),
           "next", &error);
    user->ncancelled += code == BATCHMILL_CANCELLED;
    if (cancelled)
        pthread_join(canceller, NULL);
    batchmill_stream_close(stream);
}

static void use_cursor(struct user *user)
{
    struct batchmill_order order = client_in_order(3, BATCHMILL_STOP);
    order.n_epochs = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct batchmill_batch *batch = NULL;
        struct batchmill_error error = {0};
        enum batchmill_code code =
            batchmill_next_batch(user->client, "shared", "locked", &order, &batch, &error);
        expect(user, code == BATCHMILL_OK, "next_batch", &error);
        batchmill_batch_free(batch);
    }
}

static void use_run(struct user *user)
{
    struct batchmill_order order = client_order(3);
    struct batchmill_run_result *result = NULL;
    struct batchmill_error error = {0};
    enum batchmill_code code =
        batchmill_run(user->client, "sum", &order, NULL, NULL, &result, &error);
    expect(user, code == BATCHMILL_OK && result->batches == CLIENT_NBATCHES, "run", &error);
    user->nruns += code == BATCHMILL_OK;
    batchmill_run_free(result);
}

static void use_questions(struct user *user)
{
    struct batchmill_list *list = NULL;
    struct batchmill_status status;
    struct batchmill_error error = {0};
    enum batchmill_code code = batchmill_list(user->client, &list, &error);
    expect(user, code == BATCHMILL_OK, "list", &error);
    batchmill_list_free(list);
    code = batchmill_status(user->client, &status, &error);
    expect(user, code == BATCHMILL_OK, "status", &error);
}

static void *user_main(void *arg)
{
    struct user *user = arg;
    while (!atomic_load(&over) && user->wrong[0] == '\0') {
        uint64_t whim = draw(user, 20);
        if (whim < 14)
            use_stream(user);
        else if (whim < 17)
            use_cursor(user);
        else if (whim < 19)
            use_questions(user);
        else
            use_run(user);
    }
    return NULL;
}

static void threads_do_what_they_like_and_all_stays_right(void **state)
{
    (void)state;
    static struct user users[NTHREADS];
    pthread_t threads[NTHREADS];
    const char *text = getenv("BATCHMILL_STRESS_SECONDS");
    unsigned seconds = text == NULL ? STRESS_SECONDS : (unsigned)strtoul(text, NULL, 10);
    for (unsigned i = 0; i < NCLIENTS; i++)
        clients[i] = client_connected(the_host.urls[i]); // inproc, tcp, ipc
    for (unsigned i = 0; i < NTHREADS; i++) {
        users[i] = (struct user){.random = i, .client = clients[i % NCLIENTS]};
        assert_int_equal(pthread_create(&threads[i], NULL, user_main, &users[i]), 0);
    }
    client_nap_ms(seconds * 1000);
    atomic_store(&over, true);
    uint64_t nbatches = 0, nopened = 0;
    for (unsigned i = 0; i < NTHREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_string_equal(users[i].wrong, "");
        nbatches += users[i].nbatches;
        nopened += users[i].nopened;
    }
    print_message("%" PRIu64 " streams, %" PRIu64 " batches\n", nopened, nbatches);
    assert_true(nopened > 0 && nbatches > 0);
    for (unsigned i = 0; i < NCLIENTS; i++)
        batchmill_disconnect(clients[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(threads_do_what_they_like_and_all_stays_right, host_setup,
                                        host_teardown),
    };
    return cmocka_run_group_tests_name("stress", tests, NULL, host_last);
}
