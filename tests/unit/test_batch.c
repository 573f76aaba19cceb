// What data/batch.h promises: aligned blocks shared by count, and tensors that lie where the
// schema says.
#include "data/batch.h"

#include <string.h>

#include "fakes/heap.h"
#include "fakes/stderr.h"
#include "support.h"

enum { PIXELS, LABEL, WORDS, NAME, NCOMPONENTS, NITEMS = 3 };

static struct bm_component components[] = {
    [PIXELS] = {"pixels", BM_FLOAT32, false, 2, {4, 5}, NULL},
    [LABEL] = {"label", BM_INT64, false, 0, {0}, NULL},
    [WORDS] = {"words", BM_INT16, true, 2, {0, 3}, NULL},
    [NAME] = {"name", BM_STRING, true, 0, {0}, NULL},
};
static const struct bm_schema schema = {NCOMPONENTS, components};
static const uint64_t items[NITEMS] = {7, 8, 9}, epochs[NITEMS];

// ---- Blocks ----

static void the_first_byte_of_a_block_is_aligned(void **state)
{
    (void)state;
    for (uint64_t size = 0; size < 300; size += 7) {
        struct bm_block *block = bm_block_new(size);
        assert_non_null(block);
        assert_int_equal((uintptr_t)bm_block_data(block) % 64, 0);
        assert_int_equal(bm_block_size(block), size);
        memset(bm_block_data(block), 0xff, size); // all of it is ours: the sanitizer watches
        assert_null(bm_block_unref(block));
    }
}

static void a_block_of_an_impossible_size_is_none(void **state)
{
    (void)state;
    assert_null(bm_block_new(UINT64_MAX));
    assert_null(bm_block_new(UINT64_MAX - 64));
    assert_null(bm_block_ref(NULL));
    assert_null(bm_block_unref(NULL));
}

static void a_block_is_written_only_by_whoever_holds_all_of_it(void **state)
{
    (void)state;
    struct bm_block *block = bm_block_new(8);
    assert_non_null(block);
    assert_true(bm_block_writable(block));
    assert_true(bm_block_owned(block, 1));
    assert_false(bm_block_owned(block, 2));
    assert_ptr_equal(bm_block_ref(block), block);
    assert_false(bm_block_writable(block));
    assert_true(bm_block_owned(block, 2));
    bm_block_unref(block);
    assert_true(bm_block_writable(block));
    bm_block_unref(block);
}

static void count_release(void *owner)
{
    ++*(int *)owner;
}

static void lent_memory_goes_back_once_and_is_never_written(void **state)
{
    (void)state;
    char memory[] = "abc";
    int released = 0;
    struct bm_block *block = bm_block_lend(memory, sizeof memory, count_release, &released);
    assert_non_null(block);
    assert_ptr_equal(bm_block_data(block), memory);
    assert_int_equal(bm_block_size(block), 4);
    assert_false(bm_block_writable(block));
    assert_false(bm_block_owned(block, 1));
    bm_block_ref(block);
    bm_block_unref(block);
    assert_int_equal(released, 0);
    bm_block_unref(block);
    assert_int_equal(released, 1);
    assert_string_equal(memory, "abc");
    bm_block_unref(bm_block_lend(memory, 4, NULL, NULL)); // nobody wants to know
}

static void without_memory_there_is_no_block_and_nothing_is_released(void **state)
{
    (void)state;
    int released = 0;
    bm_fake_heap_fail_at(1);
    struct bm_block *block = bm_block_new(8);
    bm_fake_heap_fail_at(1);
    struct bm_block *lent = bm_block_lend(&released, 4, count_release, &released);
    bm_fake_heap_fail_never();
    assert_null(block);
    assert_null(lent);
    assert_int_equal(released, 0);
}

// ---- Batches ----

static struct bm_block *make_offsets(const uint64_t starts[NITEMS + 1])
{
    struct bm_block *block = bm_block_new((NITEMS + 1) * sizeof(uint64_t));
    if (block != NULL)
        memcpy(bm_block_data(block), starts, (NITEMS + 1) * sizeof(uint64_t));
    return block;
}

static enum bm_status alloc_ragged(struct bm_batch *batch, unsigned c, const uint64_t *starts,
                                   struct bm_error *err)
{
    struct bm_block *offsets = make_offsets(starts);
    if (offsets == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, NULL, "out of memory for offsets");
    enum bm_status status = bm_batch_alloc_ragged(batch, c, offsets, err);
    bm_block_unref(offsets); // the batch has its own reference
    return status;
}

static enum bm_status make_batch(struct bm_batch *batch, struct bm_error *err)
{
    static const uint64_t words[] = {0, 2, 2, 5}, names[] = {0, 3, 4, 11};
    enum bm_status status = bm_batch_init(batch, &schema, items, epochs, NITEMS, err);
    if (status == BM_OK)
        status = bm_batch_alloc(batch, PIXELS, err);
    if (status == BM_OK)
        status = bm_batch_alloc(batch, LABEL, err);
    if (status == BM_OK)
        status = alloc_ragged(batch, WORDS, words, err);
    if (status == BM_OK)
        status = alloc_ragged(batch, NAME, names, err);
    return status;
}

static void a_new_batch_has_no_tensors(void **state)
{
    (void)state;
    struct bm_batch batch;
    assert_int_equal(bm_batch_init(&batch, &schema, items, epochs, NITEMS, NULL), BM_OK);
    assert_int_equal(bm_batch_bytes(&batch), 0);
    assert_ptr_equal(batch.items, items);
    assert_int_equal(batch.nitems, NITEMS);
    for (unsigned c = 0; c < NCOMPONENTS; c++) {
        assert_null(batch.tensors[c].block);
        assert_null(batch.tensors[c].data);
        assert_null(batch.tensors[c].offsets);
    }
    bm_batch_fini(&batch);
    bm_batch_fini(&batch); // all zero now
}

static void tensors_have_the_shapes_of_the_wire(void **state)
{
    (void)state;
    static const struct {
        unsigned ndim;
        uint64_t shape[3], size_bytes;
    } expected[] = {{3, {3, 4, 5}, 240}, {1, {3}, 24}, {2, {5, 3}, 30}, {1, {11}, 11}};
    struct bm_batch batch;
    assert_int_equal(make_batch(&batch, NULL), BM_OK);
    for (unsigned c = 0; c < NCOMPONENTS; c++) {
        uint64_t shape[BM_NDIM_MAX + 1];
        assert_int_equal(bm_batch_shape(&batch, c, shape), expected[c].ndim);
        for (unsigned i = 0; i < expected[c].ndim; i++)
            assert_int_equal(shape[i], expected[c].shape[i]);
        assert_int_equal(batch.tensors[c].size_bytes, expected[c].size_bytes);
        assert_int_equal((uintptr_t)batch.tensors[c].data % BM_TENSOR_ALIGNMENT, 0);
        assert_true(bm_block_writable(batch.tensors[c].block));
    }
    assert_int_equal(bm_batch_bytes(&batch), 240 + 24 + 30 + 11 + 2 * 4 * 8);
    bm_batch_fini(&batch);
}

static void the_widest_component_has_room_for_its_shape(void **state)
{
    (void)state;
    struct bm_component wide = {"wide", BM_INT8, false, BM_NDIM_MAX - 1, {0}, NULL};
    for (unsigned i = 0; i < wide.ndim; i++)
        wide.shape[i] = 1 + i % 2;
    const struct bm_schema wide_schema = {1, &wide};
    struct bm_batch batch;
    uint64_t shape[BM_NDIM_MAX + 1];
    assert_int_equal(bm_batch_init(&batch, &wide_schema, items, epochs, NITEMS, NULL), BM_OK);
    assert_int_equal(bm_batch_shape(&batch, 0, shape), BM_NDIM_MAX);
    assert_int_equal(shape[0], NITEMS);
    assert_int_equal(shape[BM_NDIM_MAX - 1], 1);
    bm_batch_fini(&batch);
}

static void rows_lie_where_the_offsets_say(void **state)
{
    (void)state;
    static const struct {
        unsigned c;
        uint64_t first, count, at, elements;
    } cases[] = {
        {PIXELS, 0, 3, 0, 60}, {PIXELS, 1, 2, 80, 40}, {LABEL, 2, 1, 16, 1}, {LABEL, 3, 0, 24, 0},
        {WORDS, 0, 1, 0, 6},   {WORDS, 1, 1, 12, 0},   {WORDS, 1, 2, 12, 9}, {WORDS, 0, 3, 0, 15},
        {NAME, 1, 1, 3, 1},    {NAME, 1, 2, 3, 8},     {NAME, 3, 0, 11, 0},
    };
    struct bm_batch batch;
    assert_int_equal(make_batch(&batch, NULL), BM_OK);
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t elements = 99;
        const unsigned char *rows =
            bm_batch_rows(&batch, cases[i].c, cases[i].first, cases[i].count, &elements);
        assert_ptr_equal(rows, batch.tensors[cases[i].c].data + cases[i].at);
        assert_int_equal(elements, cases[i].elements);
    }
    bm_batch_fini(&batch);
}

static void a_batch_of_no_items_has_empty_tensors(void **state)
{
    (void)state;
    struct bm_batch batch;
    struct bm_block *offsets = bm_block_new(sizeof(uint64_t));
    assert_non_null(offsets);
    *(uint64_t *)bm_block_data(offsets) = 0;
    assert_int_equal(bm_batch_init(&batch, &schema, NULL, NULL, 0, NULL), BM_OK);
    assert_int_equal(bm_batch_alloc(&batch, PIXELS, NULL), BM_OK);
    assert_int_equal(bm_batch_alloc_ragged(&batch, NAME, offsets, NULL), BM_OK);
    assert_int_equal(bm_batch_bytes(&batch), 8);
    uint64_t elements = 99;
    bm_batch_rows(&batch, NAME, 0, 0, &elements);
    assert_int_equal(elements, 0);
    bm_block_unref(offsets);
    bm_batch_fini(&batch);
}

static void a_shared_tensor_is_the_same_memory_and_read_only(void **state)
{
    (void)state;
    struct bm_batch from, to;
    assert_int_equal(make_batch(&from, NULL), BM_OK);
    assert_int_equal(make_batch(&to, NULL), BM_OK); // what was there is given back
    bm_batch_share(&to, WORDS, &from, WORDS);
    bm_batch_share(&to, LABEL, &from, LABEL);
    assert_ptr_equal(to.tensors[WORDS].data, from.tensors[WORDS].data);
    assert_ptr_equal(to.tensors[WORDS].offsets, from.tensors[WORDS].offsets);
    assert_false(bm_block_writable(to.tensors[WORDS].block));
    assert_true(bm_block_owned(to.tensors[WORDS].block, 2));
    assert_true(bm_block_owned(to.tensors[WORDS].offsets_block, 2));
    bm_batch_fini(&from);
    assert_true(bm_block_writable(to.tensors[WORDS].block));
    assert_true(bm_block_writable(to.tensors[LABEL].block));
    assert_int_equal(to.tensors[WORDS].offsets[3], 5);
    bm_batch_fini(&to);
}

static void a_moved_tensor_leaves_its_batch(void **state)
{
    (void)state;
    struct bm_batch from, to;
    assert_int_equal(make_batch(&from, NULL), BM_OK);
    assert_int_equal(make_batch(&to, NULL), BM_OK);
    const unsigned char *data = from.tensors[NAME].data;
    bm_batch_move(&to, NAME, &from, NAME);
    assert_ptr_equal(to.tensors[NAME].data, data);
    assert_true(bm_block_writable(to.tensors[NAME].block));
    assert_null(from.tensors[NAME].block);
    assert_null(from.tensors[NAME].offsets_block);
    assert_int_equal(bm_batch_bytes(&from), 240 + 24 + 30 + 4 * 8);
    bm_batch_fini(&from);
    assert_int_equal(to.tensors[NAME].offsets[3], 11);
    bm_batch_fini(&to);
}

static void a_failure_at_any_allocation_leaves_nothing_behind(void **state)
{
    (void)state;
    struct bm_error error;
    bool failed;
    uint64_t n = 0;
    do { // what leaks, or is freed twice, the address sanitizer reports
        struct bm_batch batch = {0};
        bm_fake_heap_fail_at(++n);
        enum bm_status status = make_batch(&batch, &error);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        bm_batch_fini(&batch);
    } while (failed);
    assert_int_equal(n, 8); // the batch, four tensors and two blocks of offsets can fail
}

static void offsets_are_not_kept_when_their_tensor_fails(void **state)
{
    (void)state;
    static const uint64_t starts[] = {0, 1, 2, 3};
    struct bm_error error = {0};
    struct bm_batch batch;
    struct bm_block *offsets = make_offsets(starts);
    assert_non_null(offsets);
    assert_int_equal(bm_batch_init(&batch, &schema, items, epochs, NITEMS, NULL), BM_OK);
    bm_fake_heap_fail_at(1);
    enum bm_status status = bm_batch_alloc_ragged(&batch, NAME, offsets, &error);
    bm_fake_heap_fail_never();
    assert_int_equal(status, BM_RESOURCE_EXHAUSTED);
    assert_string_equal(error.where, "name");
    assert_true(bm_block_writable(offsets));
    assert_null(batch.tensors[NAME].offsets);
    bm_block_unref(offsets);
    bm_batch_fini(&batch);
}

static void a_batch_larger_than_all_memory_is_an_error(void **state)
{
    (void)state;
    struct bm_error error = {0};
    struct bm_batch batch;
    assert_int_equal(bm_batch_init(&batch, &schema, items, epochs, (uint64_t)1 << 61, &error),
                     BM_OK);
    assert_int_equal(bm_batch_alloc(&batch, LABEL, &error), BM_RESOURCE_EXHAUSTED);
    assert_string_equal(error.where, "label");
    assert_string_equal(error.text, "out of memory for 2305843009213693952 rows of 8 bytes");
    bm_batch_fini(&batch);
}

static void alloc_ragged_as_dense(void *arg)
{
    bm_batch_alloc(arg, NAME, NULL);
}

static void alloc_with_short_offsets(void *arg)
{
    bm_batch_alloc_ragged(arg, NAME, bm_block_new(8), NULL);
}

static void memory_of_the_wrong_kind_is_a_bug(void **state)
{
    (void)state;
    struct bm_batch batch;
    assert_int_equal(bm_batch_init(&batch, &schema, items, epochs, NITEMS, NULL), BM_OK);
    assert_aborts(alloc_ragged_as_dense, &batch, "!component->ragged");
    assert_aborts(alloc_with_short_offsets, &batch, "bm_block_size(offsets)");
    bm_batch_fini(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_byte_of_a_block_is_aligned),
        cmocka_unit_test(a_block_of_an_impossible_size_is_none),
        cmocka_unit_test(a_block_is_written_only_by_whoever_holds_all_of_it),
        cmocka_unit_test(lent_memory_goes_back_once_and_is_never_written),
        cmocka_unit_test(without_memory_there_is_no_block_and_nothing_is_released),
        cmocka_unit_test(a_new_batch_has_no_tensors),
        cmocka_unit_test(tensors_have_the_shapes_of_the_wire),
        cmocka_unit_test(the_widest_component_has_room_for_its_shape),
        cmocka_unit_test(rows_lie_where_the_offsets_say),
        cmocka_unit_test(a_batch_of_no_items_has_empty_tensors),
        cmocka_unit_test(a_shared_tensor_is_the_same_memory_and_read_only),
        cmocka_unit_test(a_moved_tensor_leaves_its_batch),
        cmocka_unit_test(a_failure_at_any_allocation_leaves_nothing_behind),
        cmocka_unit_test(offsets_are_not_kept_when_their_tensor_fails),
        cmocka_unit_test(a_batch_larger_than_all_memory_is_an_error),
        cmocka_unit_test(memory_of_the_wrong_kind_is_a_bug),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
