// What cutout and mixup promise.
#include <math.h>
#include <string.h>

#include "fakes/action_fixture.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct action_fixture fixture;

static int make_fixture(void **state)
{
    (void)state;
    action_fixture_init(&fixture);
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    action_fixture_fini(&fixture);
    return 0;
}

static void run(const char *actions, uint64_t batch_size)
{
    enum bm_status status = action_fixture_build(&fixture, actions);
    if (status != BM_OK)
        fail_msg("%s: %s: %s", actions, fixture.error.where, fixture.error.text);
    if (action_fixture_run(&fixture, batch_size, 0) != BM_RESULT_OK)
        fail_msg("%s: %s: %s", actions, fixture.work.error.where, fixture.work.error.text);
}

enum {
    NITEMS = 6,
    HEIGHT = 5,
    WIDTH = 7,
    CHANNELS = 3,
    PIXELS = HEIGHT * WIDTH,
    ELEMENTS = CHANNELS * HEIGHT * WIDTH
};

static uint8_t hwc[NITEMS][HEIGHT][WIDTH][CHANNELS];
static float chw[NITEMS][CHANNELS][HEIGHT][WIDTH];
static double labels[NITEMS][2];
static uint16_t halves[NITEMS];
static const uint64_t offsets[NITEMS + 1] = {0, 1, 2, 3, 4, 5, 6};

static void give(void)
{
    for (unsigned i = 0; i < NITEMS; i++) {
        memset(hwc[i], (int)(i + 1), sizeof hwc[i]);
        for (unsigned k = 0; k < ELEMENTS; k++)
            (&chw[i][0][0][0])[k] = (float)(i + 1);
        labels[i][0] = i;
        labels[i][1] = 1;
        halves[i] = bm_half_from_float((float)i);
    }
    const struct given given[] = {
        {.name = "hwc",
         .dtype = BM_UINT8,
         .ndim = 3,
         .shape = {HEIGHT, WIDTH, CHANNELS},
         .values = hwc},
        {.name = "chw",
         .dtype = BM_FLOAT32,
         .ndim = 3,
         .shape = {CHANNELS, HEIGHT, WIDTH},
         .values = chw},
        {.name = "grey", .dtype = BM_UINT8, .ndim = 2, .shape = {HEIGHT, WIDTH}, .values = hwc},
        {.name = "label", .dtype = BM_FLOAT64, .ndim = 1, .shape = {2}, .values = labels},
        {.name = "half", .dtype = BM_FLOAT16, .values = halves},
        {.name = "ragged", .dtype = BM_FLOAT32, .ndim = 1, .values = chw, .offsets = offsets},
    };
    action_fixture_give(NITEMS, given, COUNT(given));
}

// ---- cutout ----

// The generator of an item for the action at `position`.
static struct bm_random random_of(uint64_t item, unsigned position)
{
    struct bm_random random;
    bm_random_init(&random, fixture.seed, 0, item, position);
    return random;
}

static bool inside(uint64_t at, uint64_t middle, uint64_t size)
{
    return at + size / 2 >= middle && at + size / 2 < middle + size;
}

static void a_hole_lies_around_a_pixel_of_the_picture(void **state)
{
    (void)state;
    give();
    fixture.seed = 5;
    run("[noop, cutout: {components: [hwc, grey], size: [2, 3], value: 9}]", NITEMS);
    const uint8_t(*pixels)[HEIGHT][WIDTH][CHANNELS] = action_fixture_values(&fixture, "hwc");
    const uint8_t *grey = action_fixture_values(&fixture, "grey");
    unsigned ncut = 0;
    for (uint64_t item = 0; item < NITEMS; item++) {
        struct bm_random random = random_of(item, 1);
        (void)bm_random_uniform(&random);
        uint64_t y = bm_random_below(&random, HEIGHT), x = bm_random_below(&random, WIDTH);
        for (uint64_t i = 0; i < PIXELS; i++) {
            bool cut = inside(i / WIDTH, y, 2) && inside(i % WIDTH, x, 3);
            ncut += cut;
            for (unsigned c = 0; c < CHANNELS; c++)
                assert_int_equal(pixels[item][i / WIDTH][i % WIDTH][c], cut ? 9 : item + 1);
            if (cut)
                assert_int_equal(grey[item * PIXELS + i], 9);
        }
    }
    assert_in_range(ncut, NITEMS, 6 * NITEMS);
}

static void channels_may_come_first_and_have_values_of_their_own(void **state)
{
    (void)state;
    give();
    run("[cutout: {components: chw, size: 3, value: [0.25, -1, 7], layout: chw}]", NITEMS);
    const float(*planes)[CHANNELS][HEIGHT][WIDTH] = action_fixture_values(&fixture, "chw");
    static const float values[] = {0.25f, -1, 7};
    for (uint64_t item = 0; item < NITEMS; item++) {
        struct bm_random random = random_of(item, 0);
        (void)bm_random_uniform(&random);
        uint64_t y = bm_random_below(&random, HEIGHT), x = bm_random_below(&random, WIDTH);
        for (uint64_t i = 0; i < ELEMENTS; i++) {
            uint64_t c = i / PIXELS, row = i % PIXELS / WIDTH, column = i % WIDTH;
            bool cut = inside(row, y, 3) && inside(column, x, 3);
            assert_true(planes[item][c][row][column] == (cut ? values[c] : (float)(item + 1)));
        }
    }
}

static void a_hole_may_be_seldom_never_and_larger_than_the_picture(void **state)
{
    (void)state;
    give();
    run("[cutout: {components: hwc, size: 3, probability: 0}]", NITEMS);
    assert_memory_equal(action_fixture_values(&fixture, "hwc"), hwc, sizeof hwc);
    run("[cutout: {components: hwc, size: 100}]", NITEMS);
    static const uint8_t nothing[NITEMS][HEIGHT][WIDTH][CHANNELS];
    assert_memory_equal(action_fixture_values(&fixture, "hwc"), nothing, sizeof nothing);
    action_fixture_lend(true); // what is not cut is copied
    run("[cutout: {components: hwc, size: 100, probability: 0.5}]", NITEMS);
    const uint8_t(*pixels)[HEIGHT][WIDTH][CHANNELS] = action_fixture_values(&fixture, "hwc");
    unsigned ncut = 0;
    for (uint64_t item = 0; item < NITEMS; item++) {
        struct bm_random random = random_of(item, 0);
        bool cut = bm_random_uniform(&random) < 0.5;
        assert_int_equal(pixels[item][2][2][0], cut ? 0 : item + 1);
        ncut += cut;
    }
    assert_in_range(ncut, 1, NITEMS - 1);
}

static void cutout_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    give();
    REFUSES("[cutout: {components: label, size: 3}]", "cutout.components",
            "expected pictures of one size");
    REFUSES("[cutout: {components: [hwc, chw], size: 3}]", "cutout.components",
            "expected pictures of the size of hwc, got chw");
    REFUSES("[cutout: {components: hwc, size: [1, 2, 3]}]", "cutout.size",
            "expected one number or two, got 3");
    REFUSES("[cutout: {components: hwc, size: 3, value: [1, 2]}]", "cutout.value",
            "expected one number, or 3, as hwc has channels, got 2");
    REFUSES("[cutout: {components: hwc, size: 3, value: 256}]", "cutout.value",
            "expected values that uint8 has, as dtype of hwc, got 256");
    REFUSES("[cutout: {components: hwc, size: 3, probability: 1.5}]", "cutout.probability", "1.5");
}

// ---- mixup ----

// torchvision.transforms.v2.MixUp: lam * x + (1 - lam) * x.roll(1, 0), here with a lam per item.
static void items_are_mixed_with_the_one_before(void **state)
{
    (void)state;
    give();
    for (int lends = 0; lends < 2; lends++) {
        action_fixture_lend(lends);
        fixture.seed = 8;
        run("[noop, mixup: {components: [chw, label, half], alpha: 0.4}]", NITEMS);
        const float *pixels = action_fixture_values(&fixture, "chw");
        const double *mixed = action_fixture_values(&fixture, "label");
        const uint16_t *half = action_fixture_values(&fixture, "half");
        for (uint64_t item = 0; item < NITEMS; item++) {
            struct bm_random random = random_of(item, 1);
            double lam = bm_random_beta(&random, 0.4);
            uint64_t before = (item + NITEMS - 1) % NITEMS;
            assert_true(lam > 0 && lam < 1);
            assert_true(mixed[2 * item] == (double)item * lam + (double)before * (1 - lam));
            assert_true(fabs(mixed[2 * item + 1] - 1) < 1e-15);
            float own = (float)lam, rest = (float)(1 - lam);
            float expected = (float)(item + 1) * own + (float)(before + 1) * rest;
            assert_true(pixels[item * ELEMENTS] == expected);
            assert_true(pixels[(item + 1) * ELEMENTS - 1] == expected);
            assert_int_equal(half[item],
                             bm_half_from_float((float)item * own + (float)before * rest));
        }
    }
}

static void an_item_alone_is_mixed_with_itself(void **state)
{
    (void)state;
    give();
    run("[mixup: {components: label}]", 1);
    const double *mixed = action_fixture_values(&fixture, "label");
    assert_true(mixed[0] == 0 && fabs(mixed[1] - 1) < 1e-15);
}

static void mixup_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    give();
    REFUSES("[mixup: {components: hwc}]", "mixup.components", "cast it first");
    REFUSES("[mixup: {components: ragged}]", "mixup.components",
            "expected a component of one shape, but items of ragged differ in length");
    REFUSES("[mixup: {components: label, alpha: 0}]", "mixup.alpha", "got 0");
}

static void without_memory_nothing_is_built(void **state)
{
    (void)state;
    give();
    action_fixture_starves(
        &fixture, "[{cutout: {components: [hwc, grey], size: 2}}, {mixup: {components: label}}]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(a_hole_lies_around_a_pixel_of_the_picture),
        TEST(channels_may_come_first_and_have_values_of_their_own),
        TEST(a_hole_may_be_seldom_never_and_larger_than_the_picture),
        TEST(cutout_refuses_what_makes_no_sense),
        TEST(items_are_mixed_with_the_one_before),
        TEST(an_item_alone_is_mixed_with_itself),
        TEST(mixup_refuses_what_makes_no_sense),
        TEST(without_memory_nothing_is_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
