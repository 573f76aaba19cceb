#include <string.h>

#include "fakes/fake_types.h"
#include "fakes/heap.h"
#include "support.h"

// ---- The harness: one pipeline at a time, its batches run step by step ----

static struct bm_registry *registry;
static struct bm_pipeline *pipeline;

static int setup(void **state)
{
    (void)state;
    registry = fake_types_registry();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pipeline = bm_pipeline_unref(pipeline);
    bm_registry_free(registry);
    return 0;
}

static void build(const char *source, const char *actions)
{
    pipeline = bm_pipeline_unref(pipeline);
    pipeline = fake_types_pipeline(registry, source, actions);
}

static enum bm_result run_from(struct bm_work *work, unsigned step)
{
    enum bm_result result = BM_RESULT_OK;
    for (; step < bm_pipeline_nsteps(pipeline) && result == BM_RESULT_OK; step++)
        result = bm_work_step(work, step);
    return result;
}

static void start(struct bm_work *work, uint64_t batch_size, uint64_t seq)
{
    fake_types_work(work, pipeline, batch_size, seq);
}

static void run(struct bm_work *work, uint64_t batch_size, uint64_t seq)
{
    start(work, batch_size, seq);
    if (run_from(work, 0) != BM_RESULT_OK)
        fail_msg("%s: %s", work->error.where, work->error.text);
    assert_ptr_equal(work->batch.schema, bm_pipeline_schema(pipeline));
}

static const struct bm_tensor *tensor(const struct bm_work *work, const char *name)
{
    int c = bm_schema_find(work->batch.schema, name);
    assert_true(c >= 0);
    return &work->batch.tensors[c];
}

static const int64_t *numbers(const struct bm_work *work, const char *name)
{
    return (const int64_t *)(const void *)tensor(work, name)->data;
}

static void assert_counts_from(const int64_t *numbers_, uint64_t n, int64_t first)
{
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(numbers_[i], first + (int64_t)i);
}

// ---- Reading ----

static void without_actions_a_batch_is_what_the_source_reads(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 10}}", "[]");
    start(&work, 4, 2);
    assert_int_equal(work.batch.nitems, 2); // known before it runs
    assert_int_equal(bm_work_step(&work, 0), BM_RESULT_OK);
    assert_int_equal(work.batch.nitems, 2);
    assert_counts_from(numbers(&work, "x"), 2, 8);
    assert_int_equal(work.batch.items[1], 9);
    assert_int_equal(work.seq, 2);
    bm_work_fini(&work);
}

static void an_error_of_the_source_names_the_item_and_the_place_in_the_data(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 10, fail_item: 6}}", "[fake.step]");
    start(&work, 4, 1);
    assert_int_equal(run_from(&work, 0), BM_RESULT_FAIL);
    assert_int_equal(work.failed_action, -1);
    assert_int_equal(work.failed_item, 6);
    assert_int_equal(work.error.status, BM_DATA_LOSS);
    assert_string_equal(work.error.where, "pipeline test, reading, item 6");
    assert_string_equal(work.error.text, "fake.bin: row 1: expected a number, got mud");
    bm_work_fini(&work);
}

static void a_source_that_forgets_a_ragged_component_is_caught(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 10, ragged: true, forget: true}}", "[fake.step]");
    start(&work, 4, 1);
    assert_int_equal(run_from(&work, 0), BM_RESULT_FAIL);
    assert_int_equal(work.error.status, BM_INTERNAL);
    assert_string_equal(work.error.where, "pipeline test, reading");
    assert_string_equal(work.error.text, "tail: was announced, but not given any rows");
    bm_work_fini(&work);
}

// ---- Fused steps ----

static void fused_actions_give_the_bytes_of_single_ones(void **state)
{
    (void)state;
    enum { N = 10000 };
    struct bm_work fused, single;
    build("{fake: {n: 10000, ragged: true}}",
          "[{fake.copy: {as: y}}, {fake.add: {amount: 5}}, {fake.keep: {as: z}}, {fake.add: {}},"
          " fake.float, {fake.add: {component: tail, amount: -1}}, fake.draw]");
    assert_int_equal(bm_pipeline_nsteps(pipeline), 2);
    run(&fused, N, 0);
    struct bm_pipeline *first = bm_pipeline_ref(pipeline);
    build("{fake: {n: 10000, ragged: true}}",
          "[{fake.copy: {as: y}, use_lock: a}, {fake.add: {amount: 5}, use_lock: a},"
          " {fake.keep: {as: z}, use_lock: a}, {fake.add: {}, use_lock: a},"
          " {fake.float: , use_lock: a}, {fake.add: {component: tail, amount: -1}, use_lock: a},"
          " {fake.draw: , use_lock: a}]");
    assert_int_equal(bm_pipeline_nsteps(pipeline), 8);
    run(&single, N, 0);
    assert_counts_from(numbers(&fused, "y"), N, 0);
    assert_counts_from(numbers(&fused, "z"), N, 5);
    const double *x = (const double *)(const void *)tensor(&fused, "x")->data;
    for (uint64_t i = 0; i < N; i++)
        assert_true(x[i] == (double)(i + 6));
    for (unsigned c = 0; c < fused.batch.schema->ncomponents; c++) {
        assert_int_equal(fused.batch.tensors[c].size_bytes, single.batch.tensors[c].size_bytes);
        assert_memory_equal(fused.batch.tensors[c].data, single.batch.tensors[c].data,
                            fused.batch.tensors[c].size_bytes);
    }
    bm_work_fini(&fused);
    bm_work_fini(&single);
    bm_pipeline_unref(first);
}

static void rows_pass_through_fused_actions_in_tiles(void **state)
{
    (void)state;
    struct bm_variables *variables;
    struct bm_number total[3];
    struct bm_work work;
    build("{fake: {n: 10000}}", "[fake.add, fake.total]"); // 16 bytes a row: 2,048 rows a tile
    run(&work, 10000, 0);
    assert_int_equal(bm_variables_new(pipeline, &variables, NULL), BM_OK);
    bm_variables_merge(variables, &work);
    bm_variables_report(variables, total);
    assert_int_equal(total[0].integer, 10000ll * 10001 / 2);
    assert_int_equal(total[1].integer, 10000);
    assert_int_equal(total[2].integer, 5);
    bm_variables_free(variables);
    bm_work_fini(&work);
}

// ---- Memory ----

static void an_action_writes_where_its_origin_lies(void **state)
{
    (void)state;
    const char *const ways[] = {"[fake.add]", "[{fake.add: , use_lock: a}, fake.float]",
                                "[fake.add, fake.add, fake.float, {fake.copy: {as: y}}]"};
    for (unsigned i = 0; i < 3; i++) {
        struct bm_work work;
        build("{fake: {n: 6000}}", ways[i]);
        start(&work, 6000, 0);
        assert_int_equal(bm_work_step(&work, 0), BM_RESULT_OK);
        const unsigned char *before = tensor(&work, "x")->data;
        assert_int_equal(run_from(&work, 1), BM_RESULT_OK);
        assert_ptr_equal(tensor(&work, "x")->data, before);
        bm_work_fini(&work);
    }
}

static void elements_of_another_size_get_memory_of_their_own(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 5}}", "[fake.narrow]");
    start(&work, 5, 0);
    assert_int_equal(bm_work_step(&work, 0), BM_RESULT_OK);
    const unsigned char *before = tensor(&work, "x")->data;
    assert_int_equal(run_from(&work, 1), BM_RESULT_OK);
    assert_ptr_not_equal(tensor(&work, "x")->data, before);
    assert_int_equal(tensor(&work, "x")->size_bytes, 5 * sizeof(int32_t));
    assert_int_equal(((const int32_t *)(const void *)tensor(&work, "x")->data)[4], 4);
    bm_work_fini(&work);
}

static void lent_memory_is_never_written(void **state)
{
    (void)state;
    const char *const ways[] = {"[fake.add]", "[fake.add, fake.add]"};
    for (unsigned i = 0; i < 2; i++) {
        struct bm_work work;
        build("{fake: {n: 5, lent: true}}", ways[i]);
        start(&work, 5, 0);
        assert_int_equal(bm_work_step(&work, 0), BM_RESULT_OK);
        const unsigned char *lent = tensor(&work, "x")->data;
        assert_int_equal(run_from(&work, 1), BM_RESULT_OK);
        assert_ptr_not_equal(tensor(&work, "x")->data, lent);
        assert_counts_from(numbers(&work, "x"), 5, 1 + i);
        bm_work_fini(&work);
    }
}

static void memory_that_somebody_else_refers_to_is_never_written(void **state)
{
    (void)state;
    const char *const ways[] = {"[fake.add]", "[fake.add, fake.add]"};
    for (unsigned i = 0; i < 2; i++) {
        struct bm_work work;
        build("{fake: {n: 5}}", ways[i]);
        start(&work, 5, 0);
        assert_int_equal(bm_work_step(&work, 0), BM_RESULT_OK);
        struct bm_block *held = bm_block_ref(work.batch.tensors[0].block);
        assert_int_equal(run_from(&work, 1), BM_RESULT_OK);
        assert_counts_from(bm_block_data(held), 5, 0);
        assert_counts_from(numbers(&work, "x"), 5, 1 + i);
        bm_block_unref(held);
        bm_work_fini(&work);
    }
}

static void overwriting_a_component_leaves_what_shared_its_memory(void **state)
{
    (void)state;
    const char *const ways[] = {
        "[{fake.keep: {as: y}}, fake.add]",                  // fused
        "[{fake.keep: {as: y}}, {fake.add: , use_lock: a}]", // across steps
        "[fake.add, {fake.add: {amount: -1}}, {fake.keep: {as: y}}, fake.add]",
        "[{fake.keep: {as: y}}, {fake.keep: {as: z}}, {fake.drop: {component: z}}, fake.add]",
        "[{fake.copy: {as: y}}, fake.add]",
        "[{fake.copy: {as: y, amount: -1}}, {fake.add: {component: y}}, fake.add]",
        "[{fake.copy: {as: y, amount: -1}, use_lock: a}, {fake.add: {component: y}}, fake.add]",
        // y comes before x here, so it is laid out while x is not yet kept.
        ("[{fake.copy: {as: y}}, {fake.drop: {component: x}}, {fake.copy: {component: y, as: x}},"
         " {fake.copy: {as: y, amount: -1}}, {fake.add: {component: y}}, fake.add]"),
    };
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct bm_work work;
        build("{fake: {n: 9000}}", ways[i]);
        run(&work, 9000, 0);
        assert_counts_from(numbers(&work, "x"), 9000, 1);
        assert_counts_from(numbers(&work, "y"), 9000, 0);
        bm_work_fini(&work);
    }
}

static void memory_is_the_actions_own_again_when_its_second_name_is_gone(void **state)
{
    (void)state;
    const char *const ways[] = {
        "[{fake.keep: {as: y}}, {fake.drop: {component: y}}, fake.add]",
        "[{fake.keep: {as: y}}, {fake.drop: {component: y}, use_lock: a}, fake.add]",
    };
    for (unsigned i = 0; i < 2; i++) {
        struct bm_work work;
        build("{fake: {n: 9000}}", ways[i]);
        start(&work, 9000, 0);
        assert_int_equal(bm_work_step(&work, 0), BM_RESULT_OK);
        const unsigned char *before = tensor(&work, "x")->data;
        assert_int_equal(run_from(&work, 1), BM_RESULT_OK);
        assert_ptr_equal(tensor(&work, "x")->data, before);
        assert_counts_from(numbers(&work, "x"), 9000, 1);
        bm_work_fini(&work);
    }
}

// ---- Ragged components ----

static void a_ragged_component_keeps_its_row_lengths_without_a_copy(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 7, ragged: true}}",
          "[{fake.add: {component: tail}}, {fake.copy: {component: tail, as: second}},"
          " {fake.narrow: {component: second}}]");
    start(&work, 7, 0);
    assert_int_equal(bm_work_step(&work, 0), BM_RESULT_OK);
    const struct bm_tensor before = *tensor(&work, "tail");
    assert_int_equal(run_from(&work, 1), BM_RESULT_OK);
    const struct bm_tensor *tail = tensor(&work, "tail"), *second = tensor(&work, "second");
    assert_ptr_equal(tail->data, before.data);
    assert_ptr_equal(tail->offsets, before.offsets);
    assert_ptr_equal(second->offsets, before.offsets);
    // Items 0 .. 6 have 0 1 2 0 1 2 0 rows.
    const int64_t expected[] = {2, 3, 3, 5, 6, 6};
    assert_memory_equal(tail->data, expected, sizeof expected);
    assert_int_equal(second->size_bytes, 6 * sizeof(int32_t));
    assert_int_equal(((const int32_t *)(const void *)second->data)[5], 6);
    bm_work_fini(&work);
}

static void a_per_batch_action_gives_its_own_row_lengths(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 6}}", "[fake.upto, {fake.add: {component: upto}}]");
    run(&work, 3, 1); // items 3, 4, 5
    const int64_t expected[] = {1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4, 5};
    assert_int_equal(tensor(&work, "upto")->offsets[3], 12);
    assert_memory_equal(tensor(&work, "upto")->data, expected, sizeof expected);
    bm_work_fini(&work);
}

static void forgetting_a_ragged_component_is_an_error_of_the_action(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 6}}", "[fake.step, {fake.upto: {forget: true}}]");
    start(&work, 3, 0);
    assert_int_equal(run_from(&work, 0), BM_RESULT_FAIL);
    assert_int_equal(work.error.status, BM_INTERNAL);
    assert_int_equal(work.failed_action, 1);
    assert_string_equal(work.error.where, "pipeline test, action 1 (fake.upto)");
    assert_string_equal(work.error.text, "upto: was announced, but not given any rows");
    bm_work_fini(&work);
}

// ---- How actions end ----

static void an_actions_error_names_pipeline_action_and_item(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 9000}}", "[fake.add, {fake.stop: {item: 8123, result: fail}}, fake.add]");
    start(&work, 5000, 1);
    assert_int_equal(run_from(&work, 0), BM_RESULT_FAIL);
    assert_int_equal(work.failed_action, 1);
    assert_int_equal(work.failed_item, 8123);
    assert_int_equal(work.error.status, BM_DATA_LOSS);
    assert_string_equal(work.error.where, "pipeline test, action 1 (fake.stop), item 8123");
    assert_string_equal(work.error.text, "expected luck, got 8123");
    bm_work_fini(&work);
}

static void skip_and_end_pass_through(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 9}}", "[fake.add, {fake.stop: {item: 5, result: skip}}, fake.add]");
    start(&work, 9, 0);
    assert_int_equal(run_from(&work, 0), BM_RESULT_SKIP);
    bm_work_fini(&work);
    build("{fake: {n: 9}}", "[{fake.stop: {item: 5, result: end}}]");
    start(&work, 9, 0);
    assert_int_equal(run_from(&work, 0), BM_RESULT_END);
    assert_int_equal(work.failed_action, -1);
    bm_work_fini(&work);
}

static void waiting_without_having_said_so_is_an_error_of_the_action(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 9}}", "[{fake.stop: {item: 5, result: pending}}]");
    start(&work, 9, 0);
    assert_int_equal(run_from(&work, 0), BM_RESULT_FAIL);
    assert_int_equal(work.error.status, BM_INTERNAL);
    assert_int_equal(work.failed_action, 0);
    bm_work_fini(&work);
}

static enum bm_result fail_silently(struct bm_call *call, void *context)
{
    (void)call, (void)context;
    return BM_RESULT_FAIL;
}

static void failing_without_a_word_still_gives_an_error(void **state)
{
    (void)state;
    struct bm_work work;
    fake_types_hook.step = fail_silently;
    build("{fake: {n: 9}}", "[fake.step]");
    start(&work, 9, 0);
    assert_int_equal(run_from(&work, 0), BM_RESULT_FAIL);
    assert_int_equal(work.error.status, BM_UNKNOWN);
    assert_string_equal(work.error.where, "pipeline test, action 0 (fake.step)");
    assert_string_not_equal(work.error.text, "");
    bm_work_fini(&work);
}

static void a_dropped_batch_still_knows_its_items(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 9}}", "[fake.add]");
    run(&work, 3, 1);
    bm_work_drop(&work);
    assert_null(work.batch.tensors);
    assert_int_equal(work.batch.nitems, 3);
    assert_int_equal(work.items[2], 5);
    bm_work_drop(&work); // again is fine
    bm_work_fini(&work);
}

// ---- Actions that wait ----

struct host {
    struct bm_call_host base;
    uint64_t slept_ns;
    struct bm_deferred deferred;
};

static enum bm_result host_sleep(struct bm_call_host *self, uint64_t ns)
{
    ((struct host *)self)->slept_ns = ns;
    return BM_RESULT_PENDING;
}

static struct bm_deferred *host_defer(struct bm_call_host *self)
{
    return &((struct host *)self)->deferred;
}

static struct host host = {.base = {.sleep = host_sleep, .defer = host_defer}};

static void a_sleeping_action_ends_when_it_is_resumed(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 9}}", "[fake.add, {fake.sleep: {ns: 77}}, fake.add]");
    start(&work, 9, 0);
    work.host = &host.base;
    assert_int_equal(run_from(&work, 0), BM_RESULT_PENDING);
    assert_int_equal(host.slept_ns, 77);
    assert_int_equal(bm_work_resume(&work, 2, BM_RESULT_OK), BM_RESULT_OK);
    assert_null(work.next.tensors);
    assert_int_equal(run_from(&work, 3), BM_RESULT_OK);
    assert_counts_from(numbers(&work, "x"), 9, 2);
    bm_work_fini(&work);
}

static void a_deferred_action_may_write_until_it_ends(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 9}}", "[fake.defer]");
    start(&work, 9, 0);
    work.host = &host.base;
    assert_int_equal(run_from(&work, 0), BM_RESULT_PENDING);
    assert_ptr_equal(fake_types_hook.deferred, &host.deferred);
    memset(work.next.tensors[0].data, 0, work.next.tensors[0].size_bytes);
    assert_int_equal(bm_work_resume(&work, 1, BM_RESULT_OK), BM_RESULT_OK);
    assert_int_equal(numbers(&work, "x")[8], 0);
    bm_work_fini(&work);
}

static void a_deferred_action_may_fail(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 9}}", "[fake.add, fake.defer]");
    start(&work, 9, 0);
    work.host = &host.base;
    assert_int_equal(run_from(&work, 0), BM_RESULT_PENDING);
    bm_fail(fake_types_hook.deferred_error, BM_UNAVAILABLE, "10.0.0.1", "nobody is there");
    assert_int_equal(bm_work_resume(&work, 2, BM_RESULT_FAIL), BM_RESULT_FAIL);
    assert_int_equal(work.failed_action, 1);
    assert_int_equal(work.failed_item, -1);
    assert_int_equal(work.error.status, BM_UNAVAILABLE);
    assert_string_equal(work.error.where, "pipeline test, action 1 (fake.defer)");
    assert_string_equal(work.error.text, "10.0.0.1: nobody is there");
    bm_work_fini(&work);
}

static void a_waiting_batch_can_be_dropped(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 9}}", "[fake.defer]");
    start(&work, 9, 0);
    work.host = &host.base;
    assert_int_equal(run_from(&work, 0), BM_RESULT_PENDING);
    bm_work_drop(&work);
    assert_null(work.next.tensors);
    bm_work_fini(&work);
}

// ---- What an action sees ----

static enum bm_result look(struct bm_call *call, void *context)
{
    struct bm_call *seen = context;
    *seen = *call;
    assert_string_equal(call->stream, "stream-1");
    assert_ptr_not_equal(call->in, call->out);
    return BM_RESULT_OK;
}

static void a_call_names_its_execution(void **state)
{
    (void)state;
    struct bm_work work;
    struct bm_call seen;
    fake_types_hook.step = look;
    fake_types_hook.context = &seen;
    build("{fake: {n: 9}}", "[fake.add, fake.step]");
    start(&work, 4, 2);
    work.attempt = 3;
    work.seed = 99;
    assert_int_equal(run_from(&work, 0), BM_RESULT_OK);
    assert_int_equal(seen.seq, 2);
    assert_int_equal(seen.attempt, 3);
    assert_int_equal(seen.seed, 99);
    assert_int_equal(seen.epoch, 0);
    assert_int_equal(seen.position, 1);
    assert_int_equal(seen.first, 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.failed_row, -1);
    assert_null(seen.update);
    bm_work_fini(&work);
}

static void what_an_action_draws_depends_on_the_item_and_not_on_its_batch(void **state)
{
    (void)state;
    struct bm_work whole, part;
    build("{fake: {n: 12}}", "[fake.draw, {fake.draw: {as: second}}]");
    run(&whole, 12, 0);
    const double *drawn = (const double *)(const void *)tensor(&whole, "drawn")->data;
    const double *second = (const double *)(const void *)tensor(&whole, "second")->data;
    for (uint64_t seq = 0; seq < 3; seq++) {
        run(&part, 5, seq);
        assert_memory_equal(tensor(&part, "drawn")->data, drawn + 5 * seq,
                            part.batch.nitems * sizeof(double));
        bm_work_fini(&part);
    }
    for (unsigned i = 0; i < 12; i++) {
        assert_true(drawn[i] != second[i]); // keyed by the action's position, too
        assert_true(i == 0 || drawn[i] != drawn[i - 1]);
    }
    start(&part, 12, 0);
    part.seed = 1;
    assert_int_equal(run_from(&part, 0), BM_RESULT_OK);
    assert_memory_not_equal(tensor(&part, "drawn")->data, drawn, 12 * sizeof(double));
    bm_work_fini(&part);
    bm_work_fini(&whole);
}

// ---- Variables ----

static void variables_add_up_only_what_is_merged(void **state)
{
    (void)state;
    struct bm_work first, second;
    struct bm_variables *variables;
    struct bm_number totals[6];
    build("{fake: {n: 20}}", "[fake.total, {fake.add: {amount: 100}}, fake.total]");
    assert_int_equal(bm_variables_new(pipeline, &variables, NULL), BM_OK);
    assert_int_equal(bm_variables_count(variables), 6);
    run(&first, 10, 0);
    run(&second, 10, 1);
    bm_variables_merge(variables, &second);
    bm_variables_report(variables, totals);
    assert_int_equal(totals[0].integer, 145);
    assert_int_equal(totals[3].integer, 1145);
    bm_variables_merge(variables, &first);
    bm_variables_report(variables, totals);
    assert_string_equal(totals[0].name, "sum");
    assert_int_equal(totals[0].integer, 190);
    assert_int_equal(totals[1].integer, 20);
    assert_int_equal(totals[3].integer, 2190);
    assert_int_equal(totals[4].integer, 20);
    bm_work_fini(&first);
    bm_work_fini(&second);
    bm_variables_free(variables);
}

// ---- Out of memory ----

static void running_out_of_memory_fails_the_batch_and_loses_nothing(void **state)
{
    (void)state;
    build("{fake: {n: 20, ragged: true}}",
          "[{fake.copy: {as: y}}, fake.total, fake.narrow, fake.upto, {fake.narrow: {component: "
          "tail}}]");
    const struct bm_order_params params = {
        .batch_size = 20, .n_epochs = 1, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_order order;
    assert_int_equal(bm_order_init(&order, &params, 20, NULL), BM_OK);
    bool failed;
    uint64_t n = 0;
    do {
        struct bm_work work;
        struct bm_error error = {0};
        bm_fake_heap_fail_at(++n);
        enum bm_status status = bm_work_init(&work, pipeline, &order, 0, &error);
        if (status == BM_OK && run_from(&work, 0) == BM_RESULT_FAIL)
            error = work.error;
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(error.status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        if (status == BM_OK)
            bm_work_fini(&work);
    } while (failed);
    assert_true(n > 10);
}

// ---- Again ----

static void use_again(struct bm_work *work, uint64_t batch_size, uint64_t seq)
{
    struct bm_order order;
    struct bm_error error;
    const struct bm_order_params params = {.batch_size = batch_size,
                                           .n_epochs = BM_ORDER_UNSET,
                                           .n_iters = BM_ORDER_UNSET,
                                           .shard_count = 1};
    uint64_t nitems = bm_pipeline_source(pipeline)->nitems;
    assert_int_equal(bm_order_init(&order, &params, nitems, &error), BM_OK);
    assert_int_equal(bm_work_again(work, &order, seq, &error), BM_OK);
}

static void work_that_is_used_again_gives_the_bytes_of_new_work(void **state)
{
    (void)state;
    struct bm_work again, fresh;
    build("{fake: {n: 10, ragged: true}}", "[{fake.copy: {as: y}}, {fake.add: {}}, {fake.upto: "
                                           "{as: z}}, {fake.add: {component: tail}}]");
    run(&again, 4, 0);
    static const struct {
        uint64_t batch_size, seq;
    } cases[] = {{4, 1}, {4, 2}, {4, 0}, {9, 0}, {9, 1}, {1, 7}}; // shorter and longer ones
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        use_again(&again, cases[i].batch_size, cases[i].seq);
        assert_int_equal(run_from(&again, 0), BM_RESULT_OK);
        run(&fresh, cases[i].batch_size, cases[i].seq);
        assert_int_equal(again.batch.nitems, fresh.batch.nitems);
        assert_int_equal(again.seq, fresh.seq);
        for (unsigned c = 0; c < fresh.batch.schema->ncomponents; c++) {
            const struct bm_tensor *a = &again.batch.tensors[c], *b = &fresh.batch.tensors[c];
            assert_int_equal(a->size_bytes, b->size_bytes);
            assert_memory_equal(a->data, b->data, a->size_bytes);
        }
        bm_work_fini(&fresh);
    }
    bm_work_fini(&again);
}

static void work_that_failed_can_be_used_again(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 10}}", "[{fake.stop: {item: 5, result: fail}}]");
    start(&work, 4, 1);
    assert_int_equal(run_from(&work, 0), BM_RESULT_FAIL);
    use_again(&work, 4, 2);
    assert_int_equal(work.error.status, BM_OK);
    assert_int_equal(work.failed_action, -1);
    assert_int_equal(work.failed_item, -1);
    assert_int_equal(run_from(&work, 0), BM_RESULT_OK);
    assert_counts_from(numbers(&work, "x"), 2, 8);
    bm_work_fini(&work);
}

static void memory_of_a_batch_that_is_referred_to_is_not_used_again(void **state)
{
    (void)state;
    struct bm_work work;
    build("{fake: {n: 12}}", "[]");
    run(&work, 4, 0);
    struct bm_block *kept = bm_block_ref(work.batch.tensors[0].block);
    const int64_t *before = bm_block_data(kept);
    use_again(&work, 4, 1);
    assert_int_equal(run_from(&work, 0), BM_RESULT_OK);
    assert_counts_from(before, 4, 0);
    assert_counts_from(numbers(&work, "x"), 4, 4);
    struct bm_block *own = work.batch.tensors[0].block;
    use_again(&work, 4, 2);
    assert_int_equal(run_from(&work, 0), BM_RESULT_OK);
    assert_ptr_equal(work.batch.tensors[0].block, own); // nobody refers to that one
    assert_counts_from(numbers(&work, "x"), 4, 8);
    bm_block_unref(kept);
    bm_work_fini(&work);
}

static void want_of_memory_for_a_longer_batch_leaves_nothing(void **state)
{
    (void)state;
    struct bm_work work;
    struct bm_order order;
    struct bm_error error;
    const struct bm_order_params params = {
        .batch_size = 8, .n_epochs = BM_ORDER_UNSET, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    build("{fake: {n: 12}}", "[]");
    assert_int_equal(bm_order_init(&order, &params, 12, &error), BM_OK);
    for (uint64_t n = 1; n <= 2; n++) { // items, epochs
        run(&work, 4, 0);
        bm_fake_heap_fail_at(n);
        assert_int_equal(bm_work_again(&work, &order, 0, &error), BM_RESOURCE_EXHAUSTED);
        bm_fake_heap_fail_never();
        assert_null(work.batch.tensors);
        assert_null(work.items);
        bm_work_fini(&work);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_actions_a_batch_is_what_the_source_reads),
        cmocka_unit_test(an_error_of_the_source_names_the_item_and_the_place_in_the_data),
        cmocka_unit_test(a_source_that_forgets_a_ragged_component_is_caught),
        cmocka_unit_test(fused_actions_give_the_bytes_of_single_ones),
        cmocka_unit_test(rows_pass_through_fused_actions_in_tiles),
        cmocka_unit_test(an_action_writes_where_its_origin_lies),
        cmocka_unit_test(elements_of_another_size_get_memory_of_their_own),
        cmocka_unit_test(lent_memory_is_never_written),
        cmocka_unit_test(memory_that_somebody_else_refers_to_is_never_written),
        cmocka_unit_test(overwriting_a_component_leaves_what_shared_its_memory),
        cmocka_unit_test(memory_is_the_actions_own_again_when_its_second_name_is_gone),
        cmocka_unit_test(a_ragged_component_keeps_its_row_lengths_without_a_copy),
        cmocka_unit_test(a_per_batch_action_gives_its_own_row_lengths),
        cmocka_unit_test(forgetting_a_ragged_component_is_an_error_of_the_action),
        cmocka_unit_test(an_actions_error_names_pipeline_action_and_item),
        cmocka_unit_test(skip_and_end_pass_through),
        cmocka_unit_test(waiting_without_having_said_so_is_an_error_of_the_action),
        cmocka_unit_test(failing_without_a_word_still_gives_an_error),
        cmocka_unit_test(a_dropped_batch_still_knows_its_items),
        cmocka_unit_test(a_sleeping_action_ends_when_it_is_resumed),
        cmocka_unit_test(a_deferred_action_may_write_until_it_ends),
        cmocka_unit_test(a_deferred_action_may_fail),
        cmocka_unit_test(a_waiting_batch_can_be_dropped),
        cmocka_unit_test(a_call_names_its_execution),
        cmocka_unit_test(what_an_action_draws_depends_on_the_item_and_not_on_its_batch),
        cmocka_unit_test(variables_add_up_only_what_is_merged),
        cmocka_unit_test(running_out_of_memory_fails_the_batch_and_loses_nothing),
        cmocka_unit_test(work_that_is_used_again_gives_the_bytes_of_new_work),
        cmocka_unit_test(work_that_failed_can_be_used_again),
        cmocka_unit_test(memory_of_a_batch_that_is_referred_to_is_not_used_again),
        cmocka_unit_test(want_of_memory_for_a_longer_batch_leaves_nothing),
    };
    return cmocka_run_group_tests_name("work", tests, setup, teardown);
}
