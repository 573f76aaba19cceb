// What noop, select, drop and rename promise: names and order change, memory does not.
#include "fakes/action_fixture.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)

static struct action_fixture fixture;

static const int32_t a_values[] = {1, 2};
static const float b_values[] = {0.5F, 1.5F};
static const int64_t c_values[] = {7, 8, 9};
static const uint64_t c_offsets[] = {0, 1, 3};

static int make_fixture(void **state)
{
    (void)state;
    action_fixture_init(&fixture);
    const struct given given[] = {
        {.name = "a", .dtype = BM_INT32, .values = a_values},
        {.name = "b", .dtype = BM_FLOAT32, .values = b_values},
        {.name = "c", .dtype = BM_INT64, .ndim = 1, .values = c_values, .offsets = c_offsets},
    };
    action_fixture_give(2, given, 3);
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    action_fixture_fini(&fixture);
    return 0;
}

// Builds and runs; the schema afterwards must print as `expected`.
static void assert_schema(const char *actions, const char *expected)
{
    if (action_fixture_build(&fixture, actions) != BM_OK)
        fail_msg("%s: %s: %s", actions, fixture.error.where, fixture.error.text);
    struct bm_buffer schema;
    bm_buffer_init(&schema);
    bm_schema_print(bm_pipeline_schema(fixture.pipeline), &schema);
    assert_string_equal(bm_buffer_text(&schema), expected);
    bm_buffer_fini(&schema);
    assert_int_equal(action_fixture_run(&fixture, 2, 0), BM_RESULT_OK);
}

static void noop_changes_nothing(void **state)
{
    (void)state;
    assert_schema("[noop, noop]", "a int32 [], b float32 [], c int64 [varies]");
    assert_memory_equal(action_fixture_values(&fixture, "a"), a_values, sizeof a_values);
    assert_memory_equal(action_fixture_values(&fixture, "b"), b_values, sizeof b_values);
    assert_memory_equal(action_fixture_values(&fixture, "c"), c_values, sizeof c_values);
    assert_memory_equal(fixture.work.batch.tensors[2].offsets, c_offsets, sizeof c_offsets);
    REFUSES("[noop: {fast: true}]", ".fast", "no parameters");
}

static void select_keeps_these_in_this_order(void **state)
{
    (void)state;
    assert_schema("[select: {components: [c, a]}]", "c int64 [varies], a int32 []");
    assert_memory_equal(action_fixture_values(&fixture, "a"), a_values, sizeof a_values);
    assert_memory_equal(action_fixture_values(&fixture, "c"), c_values, sizeof c_values);
    assert_memory_equal(fixture.work.batch.tensors[0].offsets, c_offsets, sizeof c_offsets);
    assert_schema("[select: {components: b}]", "b float32 []");
}

static void drop_leaves_these_out(void **state)
{
    (void)state;
    assert_schema("[drop: {components: b}]", "a int32 [], c int64 [varies]");
    assert_memory_equal(action_fixture_values(&fixture, "c"), c_values, sizeof c_values);
    assert_schema("[drop: {components: [c, a]}]", "b float32 []");
    assert_memory_equal(action_fixture_values(&fixture, "b"), b_values, sizeof b_values);
}

static void a_batch_may_have_no_component_and_still_has_its_items(void **state)
{
    (void)state;
    assert_schema("[drop: {components: [a, b, c]}]", "");
    assert_int_equal(fixture.work.batch.nitems, 2);
    assert_int_equal(fixture.work.batch.items[1], 1);
}

static void rename_changes_names_and_nothing_else(void **state)
{
    (void)state;
    assert_schema("[rename: {names: {b: price, c: tail}}]",
                  "a int32 [], price float32 [], tail int64 [varies]");
    assert_memory_equal(action_fixture_values(&fixture, "price"), b_values, sizeof b_values);
    assert_memory_equal(action_fixture_values(&fixture, "tail"), c_values, sizeof c_values);
}

static void rename_lets_two_components_swap_their_names(void **state)
{
    (void)state;
    assert_schema("[rename: {names: {a: b, b: a}}]", "b int32 [], a float32 [], c int64 [varies]");
    assert_memory_equal(action_fixture_values(&fixture, "b"), a_values, sizeof a_values);
    assert_schema("[rename: {names: {a: a}}]", "a int32 [], b float32 [], c int64 [varies]");
    assert_schema("[rename: {names: {}}]", "a int32 [], b float32 [], c int64 [varies]");
}

static void later_actions_know_the_new_names_only(void **state)
{
    (void)state;
    assert_schema("[{rename: {names: {a: x}}}, {select: {components: x}}]", "x int32 []");
    REFUSES("[{rename: {names: {a: x}}}, {select: {components: a}}]", ".components", "x, b, c");
    REFUSES("[{drop: {components: a}}, {select: {components: a}}]", ".components", "b, c");
}

static void names_that_are_wrong_are_refused(void **state)
{
    (void)state;
    REFUSES("[select: {components: z}]", ".components", "a, b, c");
    REFUSES("[select: {components: []}]", ".components", "at least one");
    REFUSES("[select: {components: [a, b, a]}]", ".components", "a twice");
    REFUSES("[select: {components: a b}]", ".components", "characters");
    REFUSES("[select]", "[0]", "components");
    REFUSES("[drop: {components: [a, z]}]", ".components", "a, b, c");
    REFUSES("[drop: {components: [a, a]}]", ".components", "a twice");
    REFUSES("[drop: {components: []}]", ".components", "at least one");
    REFUSES("[rename: {names: {z: y}}]", ".names", "a, b, c");
    REFUSES("[rename: {names: {a: b}}]", "rename", "b: there is a component of this name");
    REFUSES("[rename: {names: {a: x, b: x}}]", "rename", "x: there is a component of this name");
    REFUSES("[rename: {names: {a: x y}}]", ".names", "got \"x y\"");
    REFUSES("[rename: {names: {a: ''}}]", ".names", "characters");
    REFUSES("[rename: {names: [a, b]}]", ".names", "a map");
    REFUSES("[rename: {names: {a: [b]}}]", ".names.a", "a text");
}

static void running_out_of_memory_is_an_error_of_its_own(void **state)
{
    (void)state;
    action_fixture_starves(&fixture, "[select: {components: a}]");
    action_fixture_starves(&fixture, "[drop: {components: a}]");
    action_fixture_starves(&fixture, "[rename: {names: {a: x}}]");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(noop_changes_nothing),
        TEST(select_keeps_these_in_this_order),
        TEST(drop_leaves_these_out),
        TEST(a_batch_may_have_no_component_and_still_has_its_items),
        TEST(rename_changes_names_and_nothing_else),
        TEST(rename_lets_two_components_swap_their_names),
        TEST(later_actions_know_the_new_names_only),
        TEST(names_that_are_wrong_are_refused),
        TEST(running_out_of_memory_is_an_error_of_its_own),
    };
    return cmocka_run_group_tests_name("components", tests, NULL, NULL);
}
