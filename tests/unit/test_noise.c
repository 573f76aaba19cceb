// What add_noise promises: the same numbers for the same item, whatever happens around it.
#include <math.h>
#include <string.h>

#include "fakes/action_fixture.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { N = 61, WIDTH = 300 }; // of rows that are longer than the action's buffer

static struct action_fixture fixture;
static float zeros[N * WIDTH];
static double doubles[N];
static uint64_t offsets[N + 1];

static int make_fixture(void **state)
{
    (void)state;
    action_fixture_init(&fixture);
    for (unsigned i = 0; i < N; i++)
        offsets[i + 1] = offsets[i] + i % 4;
    const struct given given[] = {
        {.name = "x", .dtype = BM_FLOAT32, .ndim = 1, .shape = {WIDTH}, .values = zeros},
        {.name = "d", .dtype = BM_FLOAT64, .values = doubles},
        {.name = "tail", .dtype = BM_FLOAT32, .ndim = 1, .values = zeros, .offsets = offsets},
        {.name = "i", .dtype = BM_INT8, .values = zeros},
    };
    action_fixture_give(N, given, COUNT(given));
    fixture.seed = 7;
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

static void noise_has_the_mean_and_the_deviation_that_were_asked_for(void **state)
{
    (void)state;
    static const char *const actions[] = {
        "[add_noise: {components: x, std: 3, mean: -2}]",
        "[add_noise: {components: x, std: 3, mean: -2, distribution: uniform}]",
    };
    for (unsigned a = 0; a < COUNT(actions); a++) {
        build(actions[a]);
        assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
        const float *x = action_fixture_values(&fixture, "x");
        double sum = 0, squares = 0, farthest = 0;
        for (unsigned i = 0; i < N * WIDTH; i++) {
            double distance = (double)x[i] + 2;
            sum += distance;
            squares += distance * distance;
            farthest = fmax(farthest, fabs(distance));
        }
        // 18,300 draws: six standard errors are 0.13 for the mean, 0.10 for the deviation.
        assert_true(fabs(sum / (N * WIDTH)) < 0.14);
        assert_true(fabs(sqrt(squares / (N * WIDTH)) - 3) < 0.11);
        double half_width = 3 * sqrt(3);
        assert_true(a == 0 ? farthest > half_width : farthest <= half_width * (1 + 1e-6));
    }
}

static void an_item_gets_the_same_noise_in_any_tile_and_batch(void **state)
{
    (void)state;
    static float x[N * WIDTH], tail[N * 3];
    static double d[N];
    build("[noop, {add_noise: {components: [x, tail, d], std: 0.5}}, {scale: {components: x, "
          "factor: 2}}]");
    assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
    memcpy(x, action_fixture_values(&fixture, "x"), sizeof x);
    memcpy(d, action_fixture_values(&fixture, "d"), sizeof d);
    memcpy(tail, action_fixture_values(&fixture, "tail"), offsets[N] * sizeof(float));
    static const uint64_t tiles[] = {1, 3, 100}, sizes[] = {1, 9, N};
    for (unsigned run = 0; run < COUNT(tiles) * COUNT(sizes) * 2; run++) {
        uint64_t size = sizes[run % COUNT(sizes)];
        fixture.tile_rows = tiles[run / COUNT(sizes) % COUNT(tiles)];
        fixture.shuffle = run >= COUNT(tiles) * COUNT(sizes);
        fixture.attempt = run + 1;
        for (uint64_t seq = 0; seq * size < N; seq++) {
            assert_int_equal(action_fixture_run(&fixture, size, seq), BM_RESULT_OK);
            const struct bm_batch *batch = &fixture.work.batch;
            for (uint64_t row = 0; row < batch->nitems; row++) {
                uint64_t item = batch->items[row], n;
                assert_memory_equal(bm_batch_rows(batch, 0, row, 1, &n), &x[item * WIDTH],
                                    WIDTH * sizeof(float));
                assert_memory_equal(bm_batch_rows(batch, 1, row, 1, &n), &d[item], sizeof d[0]);
                if (item % 4 > 0)
                    assert_memory_equal(bm_batch_rows(batch, 2, row, 1, &n), &tail[offsets[item]],
                                        item % 4 * sizeof(float));
            }
        }
    }
}

static void seed_epoch_item_and_position_each_give_other_noise(void **state)
{
    (void)state;
    double before[N];
    build("[add_noise: {components: d, std: 1}]");
    fixture.n_epochs = 2;
    assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
    memcpy(before, action_fixture_values(&fixture, "d"), sizeof before);
    for (unsigned i = 0; i < N; i++) {
        for (unsigned j = 0; j < i; j++)
            assert_true(before[i] != before[j]);
    }
    assert_int_equal(action_fixture_run(&fixture, N, 1), BM_RESULT_OK); // the second epoch
    assert_memory_not_equal(action_fixture_values(&fixture, "d"), before, sizeof before);
    fixture.seed = 8;
    assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
    assert_memory_not_equal(action_fixture_values(&fixture, "d"), before, sizeof before);
    fixture.seed = 7;
    build("[noop, {add_noise: {components: d, std: 1}}]");
    assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
    assert_memory_not_equal(action_fixture_values(&fixture, "d"), before, sizeof before);
}

static void noise_is_added_to_what_is_there_and_rounded_once(void **state)
{
    (void)state;
    static float floats[N];
    static double wide[N];
    static uint16_t halves[N];
    for (unsigned i = 0; i < N; i++) {
        floats[i] = (float)i * 16;
        wide[i] = (double)floats[i];
        halves[i] = bm_half_from_float(floats[i]);
    }
    static const struct {
        enum bm_dtype dtype;
        const void *values;
    } cases[] = {{BM_FLOAT64, wide}, {BM_FLOAT32, floats}, {BM_FLOAT16, halves}};
    double sums[N];
    for (unsigned c = 0; c < COUNT(cases); c++) {
        action_fixture_give(
            N, &(struct given){.name = "x", .dtype = cases[c].dtype, .values = cases[c].values}, 1);
        build("[add_noise: {components: x, std: 1, mean: 100}]");
        assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
        const void *values = action_fixture_values(&fixture, "x");
        if (c == 0)
            memcpy(sums, values, sizeof sums);
        for (unsigned i = 0; i < N; i++) {
            unsigned char expected[sizeof(double)];
            bm_dtype_put(cases[c].dtype, expected, 0, sums[i]);
            assert_true(bm_dtype_get(cases[c].dtype, values, i) ==
                        bm_dtype_get(cases[c].dtype, expected, 0));
            assert_true(fabs(sums[i] - 100 - wide[i]) < 6);
        }
    }
}

static void a_deviation_of_0_adds_only_the_mean(void **state)
{
    (void)state;
    build("[add_noise: {components: d, std: 0, mean: 2.5}]");
    assert_int_equal(action_fixture_run(&fixture, N, 0), BM_RESULT_OK);
    const double *d = action_fixture_values(&fixture, "d");
    for (unsigned i = 0; i < N; i++)
        assert_true(d[i] == 2.5);
}

static void parameters_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    REFUSES("[add_noise: {components: x}]", "add_noise", "std");
    REFUSES("[add_noise: {components: x, std: -1}]", ".std", "at least 0");
    REFUSES("[add_noise: {components: x, std: 1, mean: .inf}]", ".mean", "finite");
    REFUSES("[add_noise: {components: x, std: 1, distribution: cauchy}]", ".distribution",
            "normal, uniform");
    REFUSES("[add_noise: {components: i, std: 1}]", ".components", "cast it first");
    REFUSES("[add_noise: {components: [x, x], std: 1}]", ".components", "x twice");
    action_fixture_starves(&fixture, "[add_noise: {components: x, std: 1}]");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(noise_has_the_mean_and_the_deviation_that_were_asked_for),
        TEST(an_item_gets_the_same_noise_in_any_tile_and_batch),
        TEST(seed_epoch_item_and_position_each_give_other_noise),
        TEST(noise_is_added_to_what_is_there_and_rounded_once),
        TEST(a_deviation_of_0_adds_only_the_mean),
        TEST(parameters_that_mean_nothing_are_refused),
    };
    return cmocka_run_group_tests_name("noise", tests, NULL, NULL);
}
