// Blocks that another process may map.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/shared_head.h"
#include "data/batch.h"
#include "support.h"

enum { SIZE = BM_SHARED_BYTES_MIN, TOTAL = BM_SHARED_HEAD_BYTES + SIZE };

static struct bm_shared_pool *pool;

static int setup(void **state)
{
    (void)state;
    pool = bm_shared_pool_new(BM_SHARED_BYTES_MIN);
    assert_non_null(pool);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bm_shared_pool_free(pool);
    return 0;
}

static int reopened(int fd, int flags) // as another process would
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), fd);
    return open(path, flags | O_CLOEXEC);
}

static uint64_t block_id(const struct bm_block *block)
{
    return bm_shared_place(bm_block_shared(block)).block;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void another_process_sees_what_is_written_here(void **state)
{
    (void)state;
    struct bm_block *block = bm_block_new_shared(pool, SIZE);
    assert_non_null(block);
    struct bm_shared_place place = bm_shared_place(bm_block_shared(block));
    int fd = reopened(place.fd, O_RDONLY);
    unsigned char *seen = mmap(NULL, TOTAL, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(seen, MAP_FAILED);
    const struct bm_shared_head *head = (const struct bm_shared_head *)seen;
    assert_true(head->magic == BM_SHARED_MAGIC && head->block == place.block);
    assert_int_equal(head->size_bytes, SIZE);
    memset(bm_block_data(block), 7, SIZE);
    assert_int_equal(seen[BM_SHARED_HEAD_BYTES], 7);
    assert_int_equal(seen[TOTAL - 1], 7);
    bm_block_taint(block); // what it sees stays, whatever becomes of the block here
    bm_block_unref(block);
    assert_false(is_open(place.fd));
    assert_int_equal(seen[TOTAL - 1], 7);
    munmap(seen, TOTAL);
    close(fd);
}

static void another_process_can_neither_write_nor_resize_it(void **state)
{
    (void)state;
    struct bm_block *block = bm_block_new_shared(pool, SIZE);
    assert_non_null(block);
    int fd = reopened(bm_shared_place(bm_block_shared(block)).fd, O_RDWR);
    if (fd >= 0) { // it may be opened; that is all
        assert_ptr_equal(mmap(NULL, TOTAL, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        assert_int_equal(pwrite(fd, "x", 1, BM_SHARED_HEAD_BYTES), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(ftruncate(fd, 0), -1);
        assert_int_equal(ftruncate(fd, (off_t)2 * TOTAL), -1);
        assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, TOTAL), -1);
        unsigned char *seen = mmap(NULL, TOTAL, PROT_READ, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(seen, MAP_FAILED);
        assert_int_equal(mprotect(seen, TOTAL, PROT_READ | PROT_WRITE), -1);
        munmap(seen, TOTAL);
        close(fd);
    }
    bm_block_unref(block);
}

static void what_is_given_back_serves_the_next_of_its_size(void **state)
{
    (void)state;
    struct bm_block *block = bm_block_new_shared(pool, SIZE);
    uint64_t first = block_id(block);
    bm_block_unref(block);
    block = bm_block_new_shared(pool, UINT64_C(2) * SIZE);
    assert_true(block_id(block) != first);
    struct bm_block *again = bm_block_new_shared(pool, SIZE);
    assert_true(block_id(again) == first);
    bm_block_unref(again);
    bm_block_unref(block);
}

static void what_a_client_may_still_see_is_never_used_again(void **state)
{
    (void)state;
    struct bm_block *block = bm_block_new_shared(pool, SIZE);
    uint64_t first = block_id(block);
    assert_true(bm_block_writable(block));
    bm_block_taint(block);
    assert_false(bm_block_writable(block)); // nor written in place, while it is here
    bm_block_unref(block);
    block = bm_block_new_shared(pool, SIZE);
    assert_true(block_id(block) != first);
    bm_block_unref(block);
}

static void what_is_kept_has_a_bound_and_the_oldest_goes(void **state)
{
    (void)state;
    enum { N = 4, PART = BM_SHARED_POOL_BYTES / (N - 1) / 4096 * 4096 };
    struct bm_block *blocks[N];
    int fds[N];
    for (unsigned i = 0; i < N; i++) {
        blocks[i] = bm_block_new_shared(pool, PART);
        assert_non_null(blocks[i]);
        fds[i] = bm_shared_place(bm_block_shared(blocks[i])).fd;
    }
    for (unsigned i = 0; i < N; i++)
        bm_block_unref(blocks[i]);
    assert_false(is_open(fds[0]));
    for (unsigned i = 1; i < N; i++)
        assert_true(is_open(fds[i]));
    bm_shared_pool_free(pool);
    for (unsigned i = 0; i < N; i++)
        assert_false(is_open(fds[i]));
    setup(state);
}

static void a_batch_without_a_descriptor_lies_in_ordinary_memory(void **state)
{
    (void)state;
    struct bm_component component = {.name = "x", .dtype = BM_UINT8, .ndim = 1, .shape = {SIZE}};
    struct bm_schema schema = {0};
    assert_int_equal(bm_schema_add(&schema, &component, NULL), BM_OK);
    struct rlimit before, few = {.rlim_cur = 8};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(bm_shared_descriptors_max(), 2);
    struct bm_batch batches[3];
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(bm_batch_init(&batches[i], &schema, NULL, NULL, 1, NULL), BM_OK);
        batches[i].shared = pool;
        assert_int_equal(bm_batch_alloc(&batches[i], 0, NULL), BM_OK);
        assert_int_equal(bm_batch_maps(&batches[i], 0), i < 2);
    }
    setrlimit(RLIMIT_NOFILE, &before);
    for (unsigned i = 0; i < 3; i++)
        bm_batch_fini(&batches[i]);
    bm_schema_fini(&schema);
}

static void small_and_ragged_components_are_not_shared(void **state)
{
    (void)state;
    struct bm_component component = {
        .name = "x", .dtype = BM_UINT8, .ndim = 1, .shape = {SIZE - 1}};
    struct bm_schema schema = {0};
    assert_int_equal(bm_schema_add(&schema, &component, NULL), BM_OK);
    struct bm_batch batch, larger;
    assert_int_equal(bm_batch_init(&batch, &schema, NULL, NULL, 1, NULL), BM_OK);
    batch.shared = pool;
    assert_int_equal(bm_batch_alloc(&batch, 0, NULL), BM_OK);
    assert_false(bm_batch_maps(&batch, 0));
    bm_batch_fini(&batch);
    // What was not shared does not serve what is to be, where it is large enough.
    assert_int_equal(bm_batch_init(&batch, &schema, NULL, NULL, 2, NULL), BM_OK);
    assert_int_equal(bm_batch_alloc(&batch, 0, NULL), BM_OK);
    assert_int_equal(bm_batch_init(&larger, &schema, NULL, NULL, 2, NULL), BM_OK);
    larger.shared = pool;
    bm_batch_salvage(&larger, &batch);
    assert_null(larger.tensors[0].block);
    larger.shared = NULL;
    bm_batch_salvage(&larger, &batch);
    assert_non_null(larger.tensors[0].block);
    bm_batch_fini(&larger);
    bm_batch_fini(&batch);
    bm_schema_fini(&schema);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_process_sees_what_is_written_here),
        TEST(another_process_can_neither_write_nor_resize_it),
        TEST(what_is_given_back_serves_the_next_of_its_size),
        TEST(what_a_client_may_still_see_is_never_used_again),
        TEST(what_is_kept_has_a_bound_and_the_oldest_goes),
        TEST(a_batch_without_a_descriptor_lies_in_ordinary_memory),
        TEST(small_and_ragged_components_are_not_shared),
    };
    return cmocka_run_group_tests_name("shared", tests, NULL, NULL);
}
