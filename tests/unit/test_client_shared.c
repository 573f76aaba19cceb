// The client's side of the server's memory: what it maps, refuses and says that it holds.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/c/shared.h"
#include "fakes/fake_replies.h"
#include "fakes/fake_types.h"
#include "fakes/heap.h"
#include "server/codec.h"
#include "server/same_host.h"
#include "support.h"

enum { SIZE = BM_SHARED_BYTES_MIN };

static struct bm_same_host probe;
static struct bm_client_same_host where;

static int setup(void **state)
{
    (void)state;
    assert_true(bm_same_host_open(BM_SHARED_BYTES_MIN, &probe));
    where = (struct bm_client_same_host){.pid = probe.probe.pid, .fd = probe.probe.fd};
    memcpy(where.nonce, probe.probe.nonce, sizeof where.nonce);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bm_same_host_close(&probe);
    return 0;
}

struct seen { // a batch of one tensor in the server's memory
    struct batchmill_tensor tensor;
    struct bm_client_place place;
    struct bm_client_batch batch;
};

static void seen_init(struct seen *seen, uint64_t seq, const struct bm_block *block)
{
    struct bm_shared_place place = bm_shared_place(bm_block_shared(block));
    *seen =
        (struct seen){.place = {true, (uint32_t)place.fd, BM_SHARED_HEAD_BYTES, SIZE, place.block}};
    seen->batch = (struct bm_client_batch){
        .seq = seq, .ntensors = 1, .tensors = &seen->tensor, .places = &seen->place};
}

static void only_a_server_that_is_seen_is_mapped(void **state)
{
    (void)state;
    struct bm_client_shared *shared = bm_client_shared_new(&where, false);
    assert_non_null(shared);
    bm_client_shared_unref(shared);
    struct bm_client_same_host other = where;
    other.nonce[3] ^= 1; // the same numbers, in another namespace of processes
    assert_null(bm_client_shared_new(&other, false));
    other = where;
    other.fd = 1000000;
    assert_null(bm_client_shared_new(&other, false));
    other = where;
    other.pid = 0;
    assert_null(bm_client_shared_new(&other, false));
    int fds[2]; // what is no file is not even opened, as that may wait
    assert_int_equal(pipe(fds), 0);
    other.pid = where.pid;
    other.fd = (uint32_t)fds[0];
    assert_null(bm_client_shared_new(&other, false));
    close(fds[0]);
    close(fds[1]);
}

static void a_batch_is_seen_where_the_server_has_it(void **state)
{
    (void)state;
    struct bm_client_shared *shared = bm_client_shared_new(&where, false);
    struct bm_block *block = bm_block_new_shared(probe.pool, SIZE);
    unsigned char *bytes = bm_block_data(block);
    bytes[5] = 42;
    struct seen seen;
    seen_init(&seen, 3, block);
    struct bm_client_hold *hold = bm_client_hold_new(shared, &seen.batch);
    assert_non_null(hold);
    const unsigned char *data = seen.tensor.data;
    assert_int_equal(data[5], 42);
    bytes[5] = 43; // no copy
    assert_int_equal(data[5], 43);
    bm_block_taint(block);
    bm_block_unref(block); // the server is done with it, and the stream is closed
    bm_client_shared_unref(shared);
    assert_int_equal(data[5], 43);
    bm_client_hold_free(hold);
}

static void what_is_not_as_the_server_says_is_refused(void **state)
{
    (void)state;
    struct bm_client_shared *shared = bm_client_shared_new(&where, false);
    struct bm_block *block = bm_block_new_shared(probe.pool, SIZE);
    struct seen seen;
    const struct {
        uint64_t fd, offset, size, block;
    } lies[] = {
        {probe.probe.fd, 0, 0, 0},
        {1000000, 0, 0, 0},
        {0, 1, 0, 0},
        {0, 16, 0, 0},
        {0, SIZE, 0, 0},
        {0, UINT64_MAX - 4095, 0, 0},
        {0, 0, 1, 0},
        {0, 0, UINT64_MAX - SIZE, 0},
        {0, 0, 0, 1},
    };
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        seen_init(&seen, i, block);
        if (lies[i].fd != 0)
            seen.place.fd = (uint32_t)lies[i].fd;
        seen.place.offset += lies[i].offset;
        seen.place.size_bytes += lies[i].size;
        seen.place.block ^= lies[i].block;
        assert_null(bm_client_hold_new(shared, &seen.batch));
    }
    uint64_t held[BM_SHARED_HELD_MAX];
    assert_int_equal(bm_client_shared_held(shared, 100, held), 0);
    // A file that could shrink under the reader is none to look at.
    int fd = memfd_create("unsealed", MFD_CLOEXEC);
    seen_init(&seen, 0, block);
    const struct bm_shared_head head = {BM_SHARED_MAGIC, seen.place.block, SIZE};
    assert_int_equal(pwrite(fd, &head, sizeof head, 0), sizeof head);
    assert_int_equal(ftruncate(fd, BM_SHARED_HEAD_BYTES + SIZE), 0);
    seen.place.fd = (uint32_t)fd;
    bm_client_shared_unref(shared); // it knows the block that these numbers are of
    shared = bm_client_shared_new(&where, false);
    assert_null(bm_client_hold_new(shared, &seen.batch));
    close(fd);
    bm_block_unref(block);
    bm_client_shared_unref(shared);
}

static void what_is_held_is_said_in_rising_order_and_once(void **state)
{
    (void)state;
    static const uint64_t seqs[] = {4, 2, 9, 2, 7};
    enum { N = 5 };
    struct bm_client_shared *shared = bm_client_shared_new(&where, false);
    struct bm_block *block = bm_block_new_shared(probe.pool, SIZE);
    struct bm_client_hold *holds[N];
    for (unsigned i = 0; i < N; i++) {
        struct seen seen;
        seen_init(&seen, seqs[i], block);
        holds[i] = bm_client_hold_new(shared, &seen.batch);
        assert_non_null(holds[i]);
    }
    uint64_t held[BM_SHARED_HELD_MAX];
    static const uint64_t before_9[] = {2, 4, 7};
    assert_int_equal(bm_client_shared_held(shared, 9, held), 3);
    assert_memory_equal(held, before_9, sizeof before_9);
    bm_client_hold_free(holds[1]);
    assert_int_equal(bm_client_shared_held(shared, 4, held), 1); // the other 2
    bm_client_hold_free(holds[3]);
    assert_int_equal(bm_client_shared_held(shared, 4, held), 0);
    bm_client_hold_free(holds[0]);
    bm_client_hold_free(holds[2]);
    bm_client_hold_free(holds[4]);
    assert_int_equal(bm_client_shared_held(shared, 100, held), 0);
    bm_block_unref(block);
    bm_client_shared_unref(shared);
}

static void no_more_come_by_reference_than_can_be_said(void **state)
{
    (void)state;
    struct bm_client_shared *shared = bm_client_shared_new(&where, false);
    struct bm_block *block = bm_block_new_shared(probe.pool, SIZE);
    assert_false(bm_client_shared_enter(shared, BM_SHARED_HELD_MAX + 1));
    assert_true(bm_client_shared_enter(shared, BM_SHARED_HELD_MAX));
    assert_false(bm_client_shared_enter(shared, 1));
    assert_true(bm_client_shared_enter(shared, 0)); // an ack alone
    struct seen seen;
    seen_init(&seen, 0, block);
    struct bm_client_hold *hold = bm_client_hold_new(shared, &seen.batch);
    bm_client_shared_leave(shared, BM_SHARED_HELD_MAX);
    assert_false(bm_client_shared_enter(shared, BM_SHARED_HELD_MAX));
    assert_true(bm_client_shared_enter(shared, BM_SHARED_HELD_MAX - 1));
    bm_client_hold_free(hold);
    assert_true(bm_client_shared_enter(shared, 1));
    bm_block_unref(block);
    bm_client_shared_unref(shared);
}

static void without_memory_nothing_is_held_or_lost(void **state)
{
    (void)state;
    struct bm_block *block = bm_block_new_shared(probe.pool, SIZE);
    bool failed;
    uint64_t n = 0;
    do {
        bm_fake_heap_fail_at(++n);
        struct bm_client_shared *shared = bm_client_shared_new(&where, false);
        struct bm_client_hold *hold = NULL;
        struct seen seen;
        seen_init(&seen, 0, block);
        if (shared != NULL)
            hold = bm_client_hold_new(shared, &seen.batch);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(hold == NULL, failed);
        bm_client_hold_free(hold);
        bm_client_shared_unref(shared);
    } while (failed);
    assert_int_equal(n, 5);
    bm_block_unref(block);
}

// ---- The way there ----

static void a_reply_says_where_its_tensors_are(void **state)
{
    (void)state;
    struct bm_registry *registry = fake_types_registry();
    struct bm_pipeline *pipeline = fake_types_pipeline(registry, "{fake: {n: 10}}", "[fake.step]");
    struct bm_schema schema = {0};
    static const uint64_t large[] = {SIZE}, small[] = {3};
    fake_schema_add(&schema, "large", BM_UINT8, false, 1, large);
    fake_schema_add(&schema, "small", BM_UINT8, false, 1, small);
    struct bm_outcome *outcome = fake_shared_outcome(pipeline, &schema, 6, 2, probe.pool);
    struct bm_reply reply = {.kind = BM_CALL_NEXT_BATCHES};
    reply.batches = (struct bm_batches){.stream = "s1",
                                        .pipeline = bm_pipeline_ref(pipeline),
                                        .first = 6,
                                        .by_reference = true,
                                        .noutcomes = 1,
                                        .outcomes = fake_array(1, sizeof(void *))};
    reply.batches.outcomes[0] = bm_outcome_ref(outcome);
    struct fake_bytes bytes = fake_bytes_reply(&reply);
    assert_true(bytes.size < 1024);
    struct bm_client_batches batches;
    struct bm_client_batch *batch = NULL;
    struct batchmill_error error;
    assert_int_equal(bm_client_decode_next(bytes.data, bytes.size, &batches, &error), BATCHMILL_OK);
    // Who did not ask for it is not to be given it.
    assert_int_equal(bm_client_next_of(&batches, &batch, &error), BATCHMILL_DATA_LOSS);
    assert_non_null(strstr(error.text, "expected tensors, got where they are"));
    batches.same_host = true;
    assert_int_equal(bm_client_next_of(&batches, &batch, &error), BATCHMILL_OK);
    assert_int_equal(batch->ntensors, 2);
    assert_true(batch->places[0].given);
    assert_false(batch->places[1].given);
    assert_null(batch->tensors[0].data);
    const struct bm_tensor *tensors = outcome->work.batch.tensors;
    assert_memory_equal(batch->tensors[1].data, tensors[1].data, 6);
    struct bm_client_shared *shared = bm_client_shared_new(&where, false);
    struct bm_client_hold *hold = bm_client_hold_new(shared, batch);
    assert_non_null(hold);
    assert_int_equal(batch->tensors[0].size_bytes, 2 * SIZE);
    assert_memory_equal(batch->tensors[0].data, tensors[0].data, (size_t)2 * SIZE);
    bm_client_hold_free(hold);
    bm_client_shared_unref(shared);
    free(batch);
    free(bytes.memory);
    bm_outcome_unref(outcome);
    bm_schema_fini(&schema);
    bm_pipeline_unref(pipeline);
    bm_registry_free(registry);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_a_server_that_is_seen_is_mapped),
        TEST(a_batch_is_seen_where_the_server_has_it),
        TEST(what_is_not_as_the_server_says_is_refused),
        TEST(what_is_held_is_said_in_rising_order_and_once),
        TEST(no_more_come_by_reference_than_can_be_said),
        TEST(without_memory_nothing_is_held_or_lost),
        TEST(a_reply_says_where_its_tensors_are),
    };
    return cmocka_run_group_tests_name("client_shared", tests, NULL, NULL);
}
