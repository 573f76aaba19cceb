// What the key `probability` beside an action promises.
#include <math.h>
#include <string.h>

#include "fakes/action_fixture.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { NITEMS = 1000 };

static struct action_fixture fixture;
static float x[NITEMS];
static int32_t tail[NITEMS];
static uint64_t offsets[NITEMS + 1]; // item i has i % 2 rows

static int make_fixture(void **state)
{
    (void)state;
    action_fixture_init(&fixture);
    uint64_t n = 0;
    for (unsigned i = 0; i < NITEMS; i++) {
        x[i] = (float)(i + 1);
        if (i % 2 == 1)
            tail[n++] = (int32_t)i;
        offsets[i + 1] = n;
    }
    const struct given given[] = {
        {.name = "x", .dtype = BM_FLOAT32, .values = x},
        {.name = "tail", .dtype = BM_INT32, .ndim = 1, .values = tail, .offsets = offsets},
    };
    action_fixture_give(NITEMS, given, COUNT(given));
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    action_fixture_fini(&fixture);
    return 0;
}

static const float *run(const char *actions, uint64_t batch_size, uint64_t seq)
{
    enum bm_status status = action_fixture_build(&fixture, actions);
    if (status != BM_OK)
        fail_msg("%s: %s: %s", actions, fixture.error.where, fixture.error.text);
    if (action_fixture_run(&fixture, batch_size, seq) != BM_RESULT_OK)
        fail_msg("%s: %s: %s", actions, fixture.work.error.where, fixture.work.error.text);
    return action_fixture_values(&fixture, "x");
}

static bool is_chosen(uint64_t item, unsigned position, double probability)
{
    struct bm_random random;
    bm_random_init(&random, fixture.seed, 0, item, position | 0x80000000u);
    return bm_random_uniform(&random) < probability;
}

static void some_items_go_through_and_others_pass_by(void **state)
{
    (void)state;
    for (int lends = 0; lends < 2; lends++) {
        action_fixture_lend(lends);
        const float *values =
            run("[noop, {scale: {components: x, factor: 2}, probability: 0.25}]", NITEMS, 0);
        unsigned n = 0;
        for (uint64_t i = 0; i < NITEMS; i++) {
            bool chosen = is_chosen(i, 1, 0.25);
            assert_true(values[i] == (chosen ? 2 : 1) * x[i]);
            n += chosen;
        }
        assert_in_range(n, 200, 300);
    }
}

static void never_and_always_are_exact(void **state)
{
    (void)state;
    const float *values = run("[{scale: {components: x, factor: 2}, probability: 0}]", NITEMS, 0);
    assert_memory_equal(values, x, sizeof x);
    run("[{scale: {components: x, factor: 2}, probability: 1}]", NITEMS, 0);
    uint64_t certain = bm_pipeline_fingerprint(fixture.pipeline);
    values = run("[{scale: {components: x, factor: 2}}]", NITEMS, 0);
    assert_true(values[NITEMS - 1] == 2 * NITEMS);
    assert_true(certain == bm_pipeline_fingerprint(fixture.pipeline));
    run("[{scale: {components: x, factor: 2}, probability: 0.5}]", NITEMS, 0);
    assert_true(certain != bm_pipeline_fingerprint(fixture.pipeline));
}

static void batches_and_tiles_change_nothing(void **state)
{
    (void)state;
    static const char actions[] = "[{scale: {components: [x], factor: 2}, probability: 0.5}, "
                                  "{add_noise: {components: x, std: 1}, probability: 0.5}]";
    static float expected[NITEMS];
    memcpy(expected, run(actions, NITEMS, 0), sizeof expected);
    assert_true(expected[0] != expected[1]);
    for (fixture.tile_rows = 1; fixture.tile_rows < 40; fixture.tile_rows += 13)
        assert_memory_equal(run(actions, 100, 3), expected + 300, 100 * sizeof(float));
}

static void what_an_action_draws_does_not_depend_on_its_probability(void **state)
{
    (void)state;
    static float noisy[NITEMS];
    memcpy(noisy, run("[add_noise: {components: x, std: 1}]", NITEMS, 0), sizeof noisy);
    const float *values =
        run("[{add_noise: {components: x, std: 1}, probability: 0.5}]", NITEMS, 0);
    for (uint64_t i = 0; i < NITEMS; i++)
        assert_true(values[i] == (is_chosen(i, 0, 0.5) ? noisy[i] : x[i]));
}

static void sequences_pass_by_as_well(void **state)
{
    (void)state;
    action_fixture_lend(true);
    run("[{clip: {components: [tail], max: 10}, probability: 0.5}]", NITEMS, 0);
    const int32_t *values = action_fixture_values(&fixture, "tail");
    for (uint64_t i = 1; i < NITEMS; i += 2)
        assert_int_equal(*values++, is_chosen(i, 0, 0.5) && i > 10 ? 10 : i);
}

static void a_filter_with_a_probability_leaves_out_some(void **state)
{
    (void)state;
    run("[{filter: {component: x, max: 0}, probability: 0.5}]", NITEMS, 0);
    const struct bm_batch *batch = &fixture.work.batch;
    assert_in_range(batch->nitems, 400, 600);
    for (uint64_t row = 0; row < batch->nitems; row++)
        assert_false(is_chosen(batch->items[row], 0, 0.5));
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    REFUSES("[{noop: {}, probability: 1.5}]", "[0].probability",
            "expected a number from 0 to 1, got 1.5");
    REFUSES("[{noop: {}, probability: half}]", "[0].probability",
            "expected a number from 0 to 1, got the text \"half\"");
    REFUSES("[{cast: {components: x, dtype: int8}, probability: 0.5}]", "[0].probability",
            "leaves names, dtypes and shapes as they are, which cast does not");
    REFUSES("[{select: {components: x}, probability: 0.5}]", "[0].probability", "select does not");
    REFUSES("[{mixup: {components: x}, probability: 0.5}]", "[0].probability",
            "expected an action on items for a probability, but mixup works on batches");
    REFUSES("[{scale: {components: x}, probability: 0.5}, cache: {memory: 1MiB}]", "[1]",
            "action 0 (scale) draws random numbers");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(some_items_go_through_and_others_pass_by),
        TEST(never_and_always_are_exact),
        TEST(batches_and_tiles_change_nothing),
        TEST(what_an_action_draws_does_not_depend_on_its_probability),
        TEST(sequences_pass_by_as_well),
        TEST(a_filter_with_a_probability_leaves_out_some),
        TEST(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
