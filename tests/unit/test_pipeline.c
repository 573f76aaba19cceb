#include "pipeline/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/fake_types.h"
#include "fakes/heap.h"
#include "support.h"

static struct bm_registry *registry;
static struct bm_source_ref *source; // 10 items of x (int64) and tail (ragged int64)

static int setup(void **state)
{
    (void)state;
    registry = fake_types_registry();
    source = fake_types_source(registry, "{fake: {n: 10, ragged: true}}");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    source = bm_source_unref(source);
    bm_registry_free(registry);
    return 0;
}

static struct bm_pipeline *build(const char *actions)
{
    return fake_types_pipeline(registry, "{fake: {n: 10, ragged: true}}", actions);
}

static void refused(const char *actions, enum bm_status status, const char *where, const char *text)
{
    struct bm_pipeline *pipeline;
    struct bm_error error;
    struct bm_value *value = fake_types_value(actions);
    assert_int_equal(bm_pipeline_new(registry, "p", source, value, &pipeline, &error), status);
    assert_string_equal(error.where, where);
    assert_string_equal(error.text, text);
    bm_value_free(value);
}

// ---- Grouping ----

static void group(const char *group_by, enum bm_status status, struct bm_pipeline **ret_pipeline,
                  struct bm_error *ret_error)
{
    struct bm_value *value = fake_types_value(group_by);
    assert_int_equal(
        bm_pipeline_new_grouped(registry, "p", source, NULL, value, ret_pipeline, ret_error),
        status);
    bm_value_free(value);
}

static void grouping_decides_the_order_and_the_fingerprint(void **state)
{
    (void)state;
    static const char *const ways[] = {"null", "x", "{component: x, width: 2}"};
    uint64_t fingerprints[3], definitions[3];
    for (unsigned i = 0; i < 3; i++) {
        struct bm_pipeline *pipeline;
        group(ways[i], BM_OK, &pipeline, NULL);
        assert_int_equal(bm_pipeline_groups(pipeline) != NULL, i > 0);
        fingerprints[i] = bm_pipeline_fingerprint(pipeline);
        definitions[i] = bm_pipeline_fingerprint_parts(pipeline).definition;
        for (unsigned k = 0; k < i; k++) {
            assert_int_not_equal(fingerprints[i], fingerprints[k]);
            assert_int_not_equal(definitions[i], definitions[k]);
        }
        bm_pipeline_unref(pipeline);
    }
}

static void what_cannot_be_grouped_by_is_refused(void **state)
{
    (void)state;
    struct bm_pipeline *none;
    struct bm_error error;
    group("y", BM_INVALID_ARGUMENT, &none, &error);
    assert_non_null(strstr(error.text, "x"));
    group("{component: x, width: 0}", BM_INVALID_ARGUMENT, &none, &error);
    assert_non_null(strstr(error.where, "width"));
    group("[x]", BM_INVALID_ARGUMENT, &none, &error);
    group("{width: 3}", BM_INVALID_ARGUMENT, &none, &error);
    assert_non_null(strstr(error.text, "component"));
}

// ---- What it says about itself ----

static void a_pipeline_without_actions_reads(void **state)
{
    (void)state;
    struct bm_pipeline *pipeline;
    assert_int_equal(bm_pipeline_new(registry, "p", source, NULL, &pipeline, NULL), BM_OK);
    assert_string_equal(bm_pipeline_name(pipeline), "p");
    assert_string_equal(bm_pipeline_source_name(pipeline), "data");
    assert_ptr_equal(bm_pipeline_source(pipeline), bm_source_get(source));
    assert_ptr_equal(bm_pipeline_schema(pipeline), &bm_source_get(source)->schema);
    assert_int_equal(bm_pipeline_nactions(pipeline), 0);
    assert_int_equal(bm_pipeline_nsteps(pipeline), 1);
    assert_string_equal(bm_pipeline_step_name(pipeline, 0), "read");
    assert_null(bm_pipeline_step_lock(pipeline, 0));
    assert_false(bm_pipeline_step_waits(pipeline, 0));
    assert_false(bm_pipeline_stateful(pipeline));
    assert_ptr_equal(bm_pipeline_ref(pipeline), pipeline);
    assert_null(bm_pipeline_unref(pipeline));
    assert_null(bm_pipeline_unref(pipeline));
    assert_null(bm_pipeline_unref(NULL));
    pipeline = build("~");
    assert_int_equal(bm_pipeline_nactions(pipeline), 0);
    bm_pipeline_unref(pipeline);
}

static void schemas_follow_from_action_to_action(void **state)
{
    (void)state;
    struct bm_pipeline *pipeline =
        build("[{fake.copy: {as: y}}, {fake.float: {component: x}}, {fake.drop: {component: tail}},"
              " {fake.narrow: {component: y}}, {fake.upto: {as: rows}}]");
    const char *const schemas[] = {
        "x int64 [], tail int64 [varies], y int64 []",
        "x float64 [], tail int64 [varies], y int64 []",
        "x float64 [], y int64 []",
        "x float64 [], y int32 []",
        "x float64 [], y int32 [], rows int64 [varies]",
    };
    struct bm_buffer out;
    bm_buffer_init(&out);
    for (unsigned i = 0; i < 5; i++) {
        bm_buffer_clear(&out);
        bm_schema_print(bm_pipeline_action(pipeline, i).schema, &out);
        assert_string_equal(bm_buffer_text(&out), schemas[i]);
    }
    assert_ptr_equal(bm_pipeline_schema(pipeline), bm_pipeline_action(pipeline, 4).schema);
    assert_string_equal(bm_pipeline_action(pipeline, 1).type->name, "fake.float");
    bm_buffer_fini(&out);
    bm_pipeline_unref(pipeline);
}

static void per_item_actions_fuse_until_a_lock_a_wait_or_a_batch(void **state)
{
    (void)state;
    const struct {
        const char *name, *lock;
        bool waits;
    } steps[] = {
        {"read", NULL, false},
        {"fake.add+fake.add+fake.total", NULL, false},
        {"fake.step", NULL, false},
        {"fake.step", NULL, false},
        {"fake.add", NULL, false},
        {"fake.add", "fake.add", false},
        {"fake.add", "gpu", false},
        {"fake.add", NULL, false},
        {"fake.sleep", NULL, true},
        {"fake.sleep", "gpu", true},
        {"fake.add+fake.draw", NULL, false},
    };
    struct bm_pipeline *pipeline =
        build("[fake.add, {fake.add: {amount: 2}}, fake.total, fake.step, {fake.step: {}},"
              " {fake.add: ~}, {fake.add: {}, use_lock: true}, {use_lock: gpu, fake.add: {}},"
              " {fake.add: {}, use_lock: false}, {fake.sleep: {ns: 1}},"
              " {fake.sleep: {ns: 1}, use_lock: gpu}, {fake.add: {}, use_lock: ~}, fake.draw]");
    assert_int_equal(bm_pipeline_nsteps(pipeline), sizeof steps / sizeof steps[0]);
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        assert_string_equal(bm_pipeline_step_name(pipeline, i), steps[i].name);
        assert_int_equal(bm_pipeline_step_waits(pipeline, i), steps[i].waits);
        const char *lock = bm_pipeline_step_lock(pipeline, i);
        assert_string_equal(lock == NULL ? "" : lock, steps[i].lock == NULL ? "" : steps[i].lock);
    }
    assert_string_equal(bm_pipeline_action(pipeline, 7).lock, "gpu");
    assert_null(bm_pipeline_action(pipeline, 8).lock);
    bm_pipeline_unref(pipeline);
}

static void a_pipeline_is_stateful_if_one_action_is(void **state)
{
    (void)state;
    struct bm_action_type stateful = *bm_registry_action(registry, "fake.step");
    stateful.name = "stateful";
    stateful.stateful = true;
    assert_int_equal(bm_registry_add_action(registry, &stateful, NULL), BM_OK);
    struct bm_pipeline *pipeline = build("[fake.add, stateful, fake.add]");
    assert_true(bm_pipeline_stateful(pipeline));
    bm_pipeline_unref(pipeline);
}

static void the_fullest_step_says_how_large_a_batch_gets(void **state)
{
    (void)state;
    const struct {
        const char *actions;
        uint64_t item_bytes; // tail counts as 0
    } cases[] = {
        {"[]", 8},
        {"[fake.step]", 8},
        {"[fake.add]", 16},                                     // x before and after
        {"[fake.add, fake.add]", 24},                           // one step
        {"[fake.add, fake.step, fake.add]", 16},                // three
        {"[{fake.copy: {as: y}}, fake.step, fake.narrow]", 20}, // x, y and the new x
        {"[{fake.keep: {as: y}}]", 8},                          // nothing new
        {"[{fake.add: {component: tail}}, fake.upto]", 8},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bm_pipeline *pipeline = build(cases[i].actions);
        uint64_t bytes = bm_pipeline_batch_bytes(pipeline, 100);
        uint64_t overhead = bm_pipeline_batch_overhead(pipeline, 100);
        if (bytes != 100 * cases[i].item_bytes + overhead)
            fail_msg("%s: got %llu", cases[i].actions, (unsigned long long)(bytes - overhead));
        assert_true(overhead >= UINT64_C(100) * 16); // an item's index and epoch
        assert_int_equal(bm_pipeline_batch_overhead(pipeline, 200), overhead + UINT64_C(100) * 16);
        assert_true(bm_pipeline_batch_bytes(pipeline, UINT64_MAX / 2) == UINT64_MAX);
        bm_pipeline_unref(pipeline);
    }
}

// ---- Fingerprints ----

static uint64_t fingerprint(const char *source_yaml, const char *actions)
{
    struct bm_pipeline *pipeline = fake_types_pipeline(registry, source_yaml, actions);
    uint64_t digest = bm_pipeline_fingerprint(pipeline);
    bm_pipeline_unref(pipeline);
    return digest;
}

static void the_fingerprint_is_that_of_the_bytes(void **state)
{
    (void)state;
    const char *data = "{fake: {n: 10}}";
    uint64_t digest = fingerprint(data, "[fake.add, {fake.draw: {as: r}}]");
    assert_true(
        fingerprint(data, "[{fake.add: {amount: 1, component: x}}, {fake.draw: {as: r}}]") ==
        digest);
    assert_true(fingerprint(data, "[{fake.add: {}, use_lock: gpu}, {fake.draw: {as: r}}]") ==
                digest); // a lock changes when, not what
    const char *const others[] = {
        "[]",
        "[fake.add]",
        "[{fake.draw: {as: r}}, fake.add]",
        "[{fake.add: {amount: 2}}, {fake.draw: {as: r}}]",
        "[fake.add, fake.step, {fake.draw: {as: r}}]",
        "[fake.add, {fake.draw: {as: q}}]",
    };
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_true(fingerprint(data, others[i]) != digest);
    assert_true(fingerprint("{fake: {n: 11}}", "[]") != fingerprint(data, "[]"));
    assert_true(fingerprint("{fake: {n: 10, ragged: true}}", "[]") != fingerprint(data, "[]"));
}

static void the_fingerprint_is_the_same_on_every_machine(void **state)
{
    (void)state;
    // Positions and caches outlive a server: this number changes only with BM_ENGINE_FORMAT.
    assert_int_equal(fingerprint("{fake: {n: 10}}", "[fake.add]"), UINT64_C(0x0d77a2f033ecfce1));
}

// ---- What is refused ----

static void a_bad_list_is_refused(void **state)
{
    (void)state;
    struct bm_pipeline *pipeline;
    struct bm_error error;
    assert_int_equal(bm_pipeline_new(registry, "a b", source, NULL, &pipeline, &error),
                     BM_INVALID_ARGUMENT);
    refused("{fake.add: {}}", BM_INVALID_ARGUMENT, "test:1",
            "expected a list of actions, got a map");
    refused("[3]", BM_INVALID_ARGUMENT, "test:1: [0]",
            "expected an action, such as noop or {cast: {dtype: float32}}, got a number");
    refused("[fake.add, {}]", BM_INVALID_ARGUMENT, "test:1: [1]",
            "expected an action, such as noop or {cast: {dtype: float32}}, got a map");
    refused("[{use_lock: true}]", BM_INVALID_ARGUMENT, "test:1: [0]",
            "expected an action, such as noop or {cast: {dtype: float32}}, got a map");
    refused("[{fake.add: {},\n  fake.draw: {}}]", BM_INVALID_ARGUMENT, "test:2: [0].fake.draw",
            "expected one action, use_lock and probability, got \"fake.add\" and \"fake.draw\": "
            "write each action as an entry of its own");
    char many[1024] = "[fake.step";
    for (unsigned i = 0; i < BM_ACTIONS_MAX; i++)
        strcat(many, ",fake.step");
    strcat(many, "]");
    refused(many, BM_INVALID_ARGUMENT, "test:1", "expected at most 64 actions, got 65");
}

static void an_unknown_action_is_refused_with_the_known_ones(void **state)
{
    (void)state;
    refused("[fake.add,\n {fake.ad: {}}]", BM_NOT_FOUND, "test:2: [1].fake.ad",
            "there is no action \"fake.ad\"; there are: fake.add, fake.copy, fake.defer, "
            "fake.draw, fake.drop, fake.float, fake.keep, fake.narrow, fake.sleep, fake.step, "
            "fake.stop, fake.total, fake.upto");
}

static void a_lock_is_true_false_or_a_name(void **state)
{
    (void)state;
    refused("[{fake.add: {},\n  use_lock: 3}]", BM_INVALID_ARGUMENT, "test:2: [0].use_lock",
            "expected true, false or a lock's name, got 3");
    refused("[{fake.add: {}, use_lock: [a]}]", BM_INVALID_ARGUMENT, "test:1: [0].use_lock",
            "expected true, false or a lock's name, got a list of 1");
    refused("[{fake.add: {}, use_lock: 'a b'}]", BM_INVALID_ARGUMENT, "test:1: [0].use_lock",
            "expected true, false or a lock's name (1 to 128 of the characters A-Z a-z 0-9 . _ -), "
            "got the text \"a b\"");
}

static void what_an_action_refuses_is_placed_at_its_parameters(void **state)
{
    (void)state;
    refused("[fake.step,\n {fake.add: {amount: much}}]", BM_INVALID_ARGUMENT,
            "test:2: [1].fake.add.amount", "expected a whole number, got the text \"much\"");
    refused("[fake.step,\n {fake.add: {component: z}}]", BM_INVALID_ARGUMENT,
            "test:2: [1].fake.add.component",
            "expected one of the components (x, tail), got \"z\"");
    refused("[{fake.drop: {component: x}},\n fake.add]", BM_INVALID_ARGUMENT,
            "test:2: [1].component", "expected one of the components (tail), got \"x\"");
    // What the schema refuses names the component, too.
    refused("[{fake.keep: {as: tail}}]", BM_INVALID_ARGUMENT, "test:1: [0].fake.keep",
            "tail: there is a component of this name already");
}

// ---- Bugs of action types ----

enum bug { BUG_NO_ORIGIN, BUG_KEEPS_OTHER, BUG_NEW_LENGTHS, BUG_NO_LENGTHS, BUG_NO_PLACE, NBUGS };
static enum bug bug;

static enum bm_status buggy_infer(const void *config, struct bm_infer *infer, void **ret_plan,
                                  struct bm_error *err)
{
    (void)config;
    struct bm_component ragged = {.name = "new", .dtype = BM_INT64, .ragged = true, .ndim = 1};
    struct bm_component other = {.name = "new", .dtype = BM_INT32};
    unsigned index;
    *ret_plan = malloc(1); // whatever happens, the engine frees it
    switch (bug) {
    case BUG_NO_ORIGIN:
        return bm_schema_add(infer->out, &other, err);
    case BUG_KEEPS_OTHER:
        infer->origins[0] = (struct bm_origin){.from = 0};
        return bm_schema_add(infer->out, &other, err);
    case BUG_NEW_LENGTHS:
        return bm_infer_write(infer, &ragged, -1, &index, err);
    case BUG_NO_LENGTHS:
        return bm_infer_write(infer, &ragged, 0, &index, err);
    case BUG_NO_PLACE:
        return bm_fail(err, BM_UNAVAILABLE, NULL, "not today");
    case NBUGS:
        break;
    }
    return BM_OK;
}

static enum bm_result buggy_run(struct bm_call *call)
{
    return bm_call_fail(call, -1, BM_INTERNAL, "must not run");
}

static void bugs_of_action_types_are_caught_when_a_pipeline_is_built(void **state)
{
    (void)state;
    static const struct bm_action_type buggy = {
        .name = "buggy", .form = BM_PER_ITEM, .infer = buggy_infer, .run = buggy_run};
    assert_int_equal(bm_registry_add_action(registry, &buggy, NULL), BM_OK);
    const char *const texts[NBUGS] = {
        "a bug in the action type buggy: for component new it neither keeps nor writes it",
        "a bug in the action type buggy: for component new it keeps it as something else",
        "a bug in the action type buggy: for component new it gives it lengths of its own, per "
        "item",
        "a bug in the action type buggy: for component new it gives it the row lengths of a "
        "component that has none",
        "not today",
    };
    for (bug = 0; bug < NBUGS; bug++)
        refused("[fake.step, buggy]", bug == BUG_NO_PLACE ? BM_UNAVAILABLE : BM_INTERNAL,
                "test:1: [1]", texts[bug]);
}

static void keeping_under_another_shape_needs_as_many_elements(void **state)
{
    (void)state;
    struct bm_component components[] = {
        {.name = "a", .dtype = BM_INT8, .ndim = 2, .shape = {2, 6}},
        {.name = "b", .dtype = BM_INT8, .ndim = 1, .shape = {12}},
        {.name = "b", .dtype = BM_INT8, .ndim = 1, .shape = {11}},
        {.name = "b", .dtype = BM_UINT8, .ndim = 1, .shape = {12}},
    };
    struct bm_schema in, out;
    struct bm_origin origins[BM_COMPONENTS_MAX];
    struct bm_infer infer = {.in = &in, .out = &out, .origins = origins, .where = "here"};
    struct bm_error error;
    bm_schema_init(&in);
    bm_schema_init(&out);
    assert_int_equal(bm_schema_add(&in, &components[0], NULL), BM_OK);
    assert_int_equal(bm_infer_keep(&infer, 0, &components[2], &error), BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, "here");
    assert_string_equal(error.text, "expected the dtype and the number of elements of a int8 "
                                    "[2, 6], got b int8 [11]");
    assert_int_equal(bm_infer_keep(&infer, 0, &components[3], &error), BM_INVALID_ARGUMENT);
    assert_int_equal(out.ncomponents, 0);
    assert_int_equal(bm_infer_keep(&infer, 0, &components[1], &error), BM_OK);
    assert_int_equal(out.components[0].ndim, 1);
    assert_int_equal(origins[0].from, 0);
    assert_false(origins[0].writes);
    bm_schema_fini(&in);
    bm_schema_fini(&out);
}

static void writing_a_kept_component_takes_its_place(void **state)
{
    (void)state;
    const struct bm_schema *in = &bm_source_get(source)->schema;
    struct bm_component wide = {.name = "x", .dtype = BM_FLOAT64, .ndim = 1, .shape = {2}};
    struct bm_component bad = {.name = "x", .dtype = BM_DTYPE_NONE};
    struct bm_schema out;
    struct bm_origin origins[BM_COMPONENTS_MAX];
    struct bm_infer infer = {.in = in, .out = &out, .origins = origins, .where = "here"};
    struct bm_error error;
    unsigned index = 77;
    bm_schema_init(&out);
    assert_int_equal(bm_infer_keep_all(&infer, NULL), BM_OK);
    assert_int_equal(bm_infer_write(&infer, &bad, 0, &index, &error), BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, "here");
    assert_int_equal(index, 77);
    assert_int_equal(out.components[0].dtype, BM_INT64);
    assert_int_equal(bm_infer_write(&infer, &wide, 0, &index, &error), BM_OK);
    assert_int_equal(index, 0);
    assert_int_equal(out.ncomponents, 2);
    assert_int_equal(out.components[0].dtype, BM_FLOAT64);
    assert_true(origins[0].writes);
    strcpy(wide.name, "y");
    assert_int_equal(bm_infer_write(&infer, &wide, -1, &index, &error), BM_OK);
    assert_int_equal(index, 2);
    assert_int_equal(origins[2].from, -1);
    bm_schema_fini(&out);
}

static void out_of_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    struct bm_value *value =
        fake_types_value("[{fake.copy: {as: y}, use_lock: a}, fake.add, fake.total, fake.upto]");
    bool failed;
    uint64_t n = 0;
    do {
        struct bm_pipeline *pipeline = NULL;
        struct bm_variables *variables = NULL;
        bm_fake_heap_fail_at(++n);
        enum bm_status status = bm_pipeline_new(registry, "p", source, value, &pipeline, NULL);
        if (status == BM_OK)
            status = bm_variables_new(pipeline, &variables, NULL);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        // The hash's state comes from a library's allocator, which never fails here.
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        bm_variables_free(variables);
        bm_pipeline_unref(pipeline);
    } while (failed);
    assert_true(n > 30);
    bm_value_free(value);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(grouping_decides_the_order_and_the_fingerprint),
        TEST(what_cannot_be_grouped_by_is_refused),
        TEST(a_pipeline_without_actions_reads),
        TEST(schemas_follow_from_action_to_action),
        TEST(per_item_actions_fuse_until_a_lock_a_wait_or_a_batch),
        TEST(a_pipeline_is_stateful_if_one_action_is),
        TEST(the_fullest_step_says_how_large_a_batch_gets),
        TEST(the_fingerprint_is_that_of_the_bytes),
        TEST(the_fingerprint_is_the_same_on_every_machine),
        TEST(a_bad_list_is_refused),
        TEST(an_unknown_action_is_refused_with_the_known_ones),
        TEST(a_lock_is_true_false_or_a_name),
        TEST(what_an_action_refuses_is_placed_at_its_parameters),
        TEST(bugs_of_action_types_are_caught_when_a_pipeline_is_built),
        TEST(keeping_under_another_shape_needs_as_many_elements),
        TEST(writing_a_kept_component_takes_its_place),
        TEST(out_of_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}
