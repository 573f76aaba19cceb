// Two neighbouring actions done in one go: nobody can tell but by the time it takes.
#include <stdlib.h>
#include <string.h>

#include "fakes/action_fixture.h"
#include "pipeline/internal.h"
#include "support.h"

// ---- Types: `unfold` makes rows of their own length, `fold` adds them up ----

enum { NITEMS = 37, ROWS_MAX = 4 };

struct config {
    int64_t fail_item;
    bool needy, crooked;
};

static const struct bm_param params[] = {
    BM_PARAM(struct config, fail_item, BM_PARAM_INTEGER, .fallback = "-1", .doc = "fails there"),
    BM_PARAM(struct config, needy, BM_PARAM_BOOL, .doc = "makes no sense alone"),
    BM_PARAM(struct config, crooked, BM_PARAM_BOOL, .doc = "the joined type has a bug"),
};

static unsigned nfolded_at_once; // how often the joined type ran

static enum bm_status write_one(struct bm_infer *infer, bool ragged, int from, struct bm_error *err)
{
    const struct bm_component rows = {
        .name = "rows", .dtype = BM_INT64, .ragged = ragged, .ndim = ragged ? 1 : 0};
    unsigned index;
    enum bm_status status = bm_infer_keep_all(infer, err);
    return status == BM_OK ? bm_infer_write(infer, &rows, from, &index, err) : status;
}

static enum bm_status unfold_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    (void)ret_plan;
    infer->must_join = ((const struct config *)config)->needy;
    return write_one(infer, true, -1, err);
}

static enum bm_status fold_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                 struct bm_error *err)
{
    (void)config, (void)ret_plan;
    return write_one(infer, false, bm_schema_find(infer->in, "rows"), err);
}

static enum bm_status joined_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                   struct bm_error *err)
{
    (void)ret_plan;
    const struct config *first = ((const struct bm_joined *)config)->configs[0];
    return write_one(infer, first->crooked, first->crooked ? 0 : -1, err);
}

static int64_t item_of(const struct bm_call *call, uint64_t row)
{
    return (int64_t)call->in->items[row];
}

static enum bm_result check(struct bm_call *call, const struct config *config, uint64_t row)
{
    if (item_of(call, row) != config->fail_item)
        return BM_RESULT_OK;
    return bm_call_fail(call, (int64_t)row, BM_DATA_LOSS, "told to fail");
}

// The rows of an item: x and what is drawn.
static enum bm_result unfold(struct bm_call *call, const struct config *config, uint64_t row,
                             int64_t rows[ROWS_MAX])
{
    struct bm_random random;
    bm_call_random(call, row, &random);
    for (int64_t i = 0; i < item_of(call, row) % ROWS_MAX; i++)
        rows[i] = (int64_t)bm_random_below(&random, 1000);
    return check(call, config, row);
}

static enum bm_result fold(struct bm_call *call, const struct config *config, uint64_t row,
                           const int64_t *rows)
{
    struct bm_random random;
    bm_call_random(call, row, &random);
    int64_t sum = (int64_t)bm_random_below(&random, 1000);
    for (int64_t i = 0; i < item_of(call, row) % ROWS_MAX; i++)
        sum += rows[i];
    ((int64_t *)(void *)call->out->tensors[1].data)[row] = sum;
    return check(call, config, row);
}

static enum bm_result unfold_run(struct bm_call *call)
{
    struct bm_block *block = bm_block_new((call->count + 1) * sizeof(uint64_t));
    assert_non_null(block);
    uint64_t *offsets = bm_block_data(block);
    offsets[0] = 0;
    for (uint64_t row = 0; row < call->count; row++)
        offsets[row + 1] = offsets[row] + (uint64_t)(item_of(call, row) % ROWS_MAX);
    enum bm_status status = bm_batch_alloc_ragged(call->out, 1, block, call->error);
    bm_block_unref(block);
    if (status != BM_OK)
        return BM_RESULT_FAIL;
    enum bm_result result = BM_RESULT_OK;
    for (uint64_t row = 0; row < call->count && result == BM_RESULT_OK; row++) {
        uint64_t n;
        result = unfold(call, call->config, row,
                        (int64_t *)(void *)bm_batch_rows(call->out, 1, row, 1, &n));
    }
    return result;
}

static enum bm_result fold_run(struct bm_call *call)
{
    enum bm_result result = BM_RESULT_OK;
    for (uint64_t row = call->first; row < call->first + call->count && result == BM_RESULT_OK;
         row++) {
        uint64_t n;
        result = fold(call, call->config, row,
                      (int64_t *)(void *)bm_batch_rows(call->in, 1, row, 1, &n));
    }
    return result;
}

static enum bm_result joined_run(struct bm_call *call)
{
    const struct bm_joined *joined = call->config;
    enum bm_result result = BM_RESULT_OK;
    nfolded_at_once++;
    for (uint64_t row = call->first; row < call->first + call->count && result == BM_RESULT_OK;
         row++) {
        int64_t rows[ROWS_MAX] = {0};
        result = unfold(call, joined->configs[0], row, rows);
        if (result != BM_RESULT_OK)
            break;
        call->position++;
        result = fold(call, joined->configs[1], row, rows);
        call->position -= result == BM_RESULT_OK;
    }
    return result;
}

static const struct bm_action_type joined_type = {
    .name = "unfold and fold",
    .form = BM_PER_ITEM,
    .random = true,
    .infer = joined_infer,
    .run = joined_run,
};

static const struct bm_action_type fold_type = {
    .name = "fold",
    .doc = "Adds up.",
    .form = BM_PER_ITEM,
    .random = true,
    .params = params,
    .nparams = 1,
    .config_bytes = sizeof(struct config),
    .infer = fold_infer,
    .run = fold_run,
};

static const struct bm_action_type *unfold_join(const struct bm_schema *in, const void *config,
                                                const struct bm_action_type *next,
                                                const void *next_config)
{
    (void)config, (void)next_config;
    assert_string_equal(in->components[0].name, "x");
    return next == &fold_type ? &joined_type : NULL;
}

static const struct bm_action_type unfold_type = {
    .name = "unfold",
    .doc = "Makes rows.",
    .form = BM_PER_BATCH,
    .random = true,
    .params = params,
    .nparams = 3,
    .config_bytes = sizeof(struct config),
    .infer = unfold_infer,
    .run = unfold_run,
    .join = unfold_join,
};

// ---- The fixture ----

static struct action_fixture fixture;

static int make_fixture(void **state)
{
    (void)state;
    static int64_t numbers[NITEMS];
    struct bm_error error;
    action_fixture_init(&fixture);
    fixture.shuffle = true;
    fixture.seed = 7;
    assert_int_equal(bm_registry_add_action(fixture.registry, &unfold_type, &error), BM_OK);
    assert_int_equal(bm_registry_add_action(fixture.registry, &fold_type, &error), BM_OK);
    action_fixture_give(NITEMS, &(struct given){.name = "x", .dtype = BM_INT64, .values = numbers},
                        1);
    nfolded_at_once = 0;
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    action_fixture_fini(&fixture);
    return 0;
}

static void build(const char *actions)
{
    enum bm_status status = action_fixture_build(&fixture, actions);
    if (status != BM_OK)
        fail_msg("%s: %s: %s", actions, fixture.error.where, fixture.error.text);
}

// A lock keeps the two apart.
#define JOINED "[noop, unfold, fold, {cast: {components: rows, dtype: float64}}]"
#define APART                                                                                      \
    "[noop, unfold, {fold: {}, use_lock: true}, {cast: {components: rows, dtype: float64}}]"

static void joined_and_apart_give_the_same_bytes(void **state)
{
    (void)state;
    double expected[NITEMS];
    build(APART);
    assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_OK);
    assert_int_equal(nfolded_at_once, 0);
    memcpy(expected, action_fixture_values(&fixture, "rows"), sizeof expected);
    build(JOINED);
    for (fixture.tile_rows = 0; fixture.tile_rows <= NITEMS + 1; fixture.tile_rows += 19) {
        assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_OK);
        assert_memory_equal(action_fixture_values(&fixture, "rows"), expected, sizeof expected);
    }
    assert_int_equal(nfolded_at_once, 1 + 2 + 1);
}

static void a_joined_pair_is_spread_over_workers(void **state)
{
    (void)state;
    build(JOINED);
    assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_OK);
    double expected[NITEMS];
    memcpy(expected, action_fixture_values(&fixture, "rows"), sizeof expected);
    assert_int_equal(bm_pipeline_nsteps(fixture.pipeline), 2);
    assert_true(bm_pipeline_step_spreads(fixture.pipeline, 1));
    // The same batch again, its pieces from the last to the first.
    const struct bm_order_params order_params = {.batch_size = NITEMS,
                                                 .shuffle = true,
                                                 .seed = 7,
                                                 .n_epochs = 1,
                                                 .n_iters = BM_ORDER_UNSET,
                                                 .shard_count = 1};
    struct bm_order order;
    struct bm_work work;
    assert_int_equal(bm_order_init(&order, &order_params, NITEMS, NULL), BM_OK);
    assert_int_equal(bm_work_init(&work, fixture.pipeline, &order, 0, NULL), BM_OK);
    work.stream = "stream-1";
    assert_int_equal(bm_work_step(&work, 0), BM_RESULT_OK);
    struct bm_spread *spread = bm_spread_new(&work, 1, 5);
    unsigned piece;
    assert_non_null(spread);
    for (unsigned i = 0; i < 5; i++)
        assert_true(bm_spread_claim(spread, &piece));
    uint64_t nrows = 0;
    for (piece = 5; piece-- > 0;)
        nrows += bm_spread_run(spread, piece);
    assert_int_equal(nrows, NITEMS);
    assert_int_equal(bm_spread_end(spread), BM_RESULT_OK);
    assert_memory_equal(work.batch.tensors[1].data, expected, sizeof expected);
    bm_work_fini(&work);
}

static void describe_shows_both(void **state)
{
    (void)state;
    build(JOINED);
    assert_int_equal(bm_pipeline_nactions(fixture.pipeline), 4);
    struct bm_action_info first = bm_pipeline_action(fixture.pipeline, 1);
    struct bm_action_info second = bm_pipeline_action(fixture.pipeline, 2);
    assert_ptr_equal(first.type, &unfold_type);
    assert_int_equal(first.form, BM_PER_BATCH);
    assert_true(first.schema->components[1].ragged);
    assert_ptr_equal(second.type, &fold_type);
    assert_false(second.schema->components[1].ragged);
    assert_string_equal(bm_pipeline_step_name(fixture.pipeline, 1), "noop+unfold+fold+cast");
}

static void joining_leaves_the_fingerprint_alone(void **state)
{
    (void)state;
    build(JOINED);
    uint64_t joined = bm_pipeline_fingerprint(fixture.pipeline);
    build(APART);
    assert_int_equal(bm_pipeline_fingerprint(fixture.pipeline), joined);
}

static void failures_name_the_action_that_failed(void **state)
{
    (void)state;
    static const char *const actions[][2] = {
        {"[{unfold: {fail_item: 9}}, fold]", "[{unfold: {fail_item: 9}, use_lock: a}, fold]"},
        {"[unfold, {fold: {fail_item: 9}}]", "[{unfold: {}, use_lock: a}, {fold: {fail_item: 9}}]"},
    };
    for (unsigned i = 0; i < 2; i++) {
        struct bm_error joined;
        build(actions[i][0]);
        assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_FAIL);
        joined = fixture.work.error;
        assert_int_equal(fixture.work.failed_action, i);
        assert_int_equal(fixture.work.failed_item, 9);
        build(actions[i][1]);
        assert_int_equal(action_fixture_run(&fixture, NITEMS, 0), BM_RESULT_FAIL);
        assert_int_equal(fixture.work.failed_action, i);
        assert_int_equal(fixture.work.failed_item, 9);
        assert_string_equal(fixture.work.error.where, joined.where);
        assert_string_equal(fixture.work.error.text, joined.text);
    }
}

static void actions_that_must_be_joined_are_refused_alone(void **state)
{
    (void)state;
    build("[{unfold: {needy: true}}, fold]");
    static const char *const alone[] = {
        "[{unfold: {needy: true}}]",
        "[{unfold: {needy: true}}, noop]",
        "[{unfold: {needy: true}}, {fold: {}, use_lock: true}]",
        "[{unfold: {needy: true}, use_lock: true}, fold]",
    };
    for (unsigned i = 0; i < 4; i++)
        action_fixture_refuses(&fixture, alone[i], "", "right after unfold");
}

static void pairs_are_taken_from_the_left(void **state)
{
    (void)state;
    build("[unfold, unfold, fold, fold]"); // one that is left over runs as it always did
    assert_string_equal(bm_pipeline_step_name(fixture.pipeline, 1), "unfold");
    assert_string_equal(bm_pipeline_step_name(fixture.pipeline, 2), "unfold+fold+fold");
}

static void a_joined_type_that_comes_to_something_else_is_a_bug(void **state)
{
    (void)state;
    assert_int_equal(action_fixture_build(&fixture, "[{unfold: {crooked: true}}, fold]"),
                     BM_INTERNAL);
    assert_non_null(strstr(fixture.error.text, "a bug in the action type"));
}

static void without_memory_nothing_is_joined_and_nothing_leaks(void **state)
{
    (void)state;
    action_fixture_starves(&fixture, JOINED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(joined_and_apart_give_the_same_bytes),
        TEST(a_joined_pair_is_spread_over_workers),
        TEST(describe_shows_both),
        TEST(joining_leaves_the_fingerprint_alone),
        TEST(failures_name_the_action_that_failed),
        TEST(actions_that_must_be_joined_are_refused_alone),
        TEST(pairs_are_taken_from_the_left),
        TEST(a_joined_type_that_comes_to_something_else_is_a_bug),
        TEST(without_memory_nothing_is_joined_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
