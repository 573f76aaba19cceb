// What base/random.h promises: Philox's published numbers, streams that do not meet, and numbers
// that are spread as they should be. The seeds are fixed, so that a test passes always or never.
#include "base/random.h"

#include <math.h>

#include "support.h"

static void philox_gives_the_published_numbers(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        // kat_vectors of Random123
        {{0}, {0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (unsigned i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t block[4];
        bm_philox4x32_10(vectors[i].counter, vectors[i].key, block);
        assert_memory_equal(block, vectors[i].expected, sizeof block);
    }
}

static void mixing_gives_the_published_numbers(void **state)
{
    (void)state;
    // The first two numbers of SplitMix64 with seed 0.
    assert_int_equal(bm_mix64(0x9e3779b97f4a7c15u), 0xe220a8397b1dcdafu);
    assert_int_equal(bm_mix64(0x9e3779b97f4a7c15u * 2), 0x6e789e6aa1b965f4u);
}

static uint64_t first_of(uint64_t seed, uint64_t epoch, uint64_t item, uint32_t action)
{
    struct bm_random random;
    bm_random_init(&random, seed, epoch, item, action);
    return bm_random_u64(&random);
}

static void each_part_of_the_key_makes_another_stream(void **state)
{
    (void)state;
    uint64_t base = first_of(1, 2, 3, 4);
    assert_int_equal(first_of(1, 2, 3, 4), base);
    assert_int_not_equal(first_of(2, 2, 3, 4), base);
    assert_int_not_equal(first_of(1, 3, 3, 4), base);
    assert_int_not_equal(first_of(1, 2, 4, 4), base);
    assert_int_not_equal(first_of(1, 2, 3, 5), base);
    // The parts are not added up, and their upper halves count.
    assert_int_not_equal(first_of(2, 1, 3, 4), base);
    assert_int_not_equal(first_of(1, 4, 3, 2), base);
    assert_int_not_equal(first_of(1 | (uint64_t)1 << 32, 2, 3, 4), base);
    assert_int_not_equal(first_of(1, 2 | (uint64_t)1 << 32, 3, 4), base);
    assert_int_not_equal(first_of(1, 2, 3 | (uint64_t)1 << 32, 4), base);
}

static void a_stream_is_the_generator_over_item_and_block(void **state)
{
    (void)state;
    struct bm_random random;
    bm_random_init(&random, 1, 2, 0x500000003, 4);
    for (uint32_t number = 0; number < 3; number++) {
        uint32_t expected[4];
        const uint32_t counter[] = {3, 5, number, 0};
        bm_philox4x32_10(counter, random.key, expected);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(bm_random_u32(&random), expected[i]);
    }
    random.counter[2] = 0xffffffff; // the last block before the carry
    random.used = 4;
    bm_random_u32(&random);
    assert_int_equal(random.counter[2], 0);
    assert_int_equal(random.counter[3], 1);
}

static void assert_near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("expected %.17g within %g, got %.17g", expected, tolerance, value);
}

enum { DRAWS = 200000 };

static void uniform_numbers_are_spread_evenly(void **state)
{
    (void)state;
    struct bm_random random;
    double sum = 0, squares = 0;
    unsigned tenths[10] = {0};
    bm_random_init(&random, 1, 0, 0, 0);
    for (unsigned i = 0; i < DRAWS; i++) {
        double value = bm_random_uniform(&random);
        assert_true(value >= 0 && value < 1);
        sum += value;
        squares += value * value;
        tenths[(unsigned)(value * 10)]++;
    }
    double mean = sum / DRAWS;
    assert_near(mean, 0.5, 0.003); // about 4.6 deviations
    assert_near(squares / DRAWS - mean * mean, 1.0 / 12, 0.001);
    for (unsigned i = 0; i < 10; i++)
        assert_near(tenths[i], DRAWS / 10.0, 4.5 * sqrt(DRAWS * 0.09));
}

// A generator whose next 64 bits are these.
static struct bm_random next_is(uint64_t bits)
{
    return (struct bm_random){.block = {(uint32_t)bits, (uint32_t)(bits >> 32), 0, 0}};
}

static void uniform_numbers_reach_0_but_never_1(void **state)
{
    (void)state;
    struct bm_random low = next_is(0), high = next_is(UINT64_MAX), half = next_is(1ull << 63);
    assert_true(bm_random_uniform(&low) == 0);
    assert_true(bm_random_uniform(&high) == 1 - 0x1p-53);
    assert_true(bm_random_uniform(&half) == 0.5);
}

static void numbers_below_a_small_bound_are_equally_likely(void **state)
{
    (void)state;
    struct bm_random random;
    unsigned counts[3] = {0};
    bm_random_init(&random, 2, 0, 0, 0);
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t value = bm_random_below(&random, 3);
        assert_in_range(value, 0, 2);
        counts[value]++;
    }
    for (unsigned i = 0; i < 3; i++)
        assert_near(counts[i], DRAWS / 3.0, 4.5 * sqrt(DRAWS * 2.0 / 9));
    assert_int_equal(bm_random_below(&random, 1), 0);
}

static void numbers_below_a_huge_bound_are_equally_likely(void **state)
{
    (void)state;
    // Without rejection half of the values would be twice as likely as the others: the even ones
    // where the bound is just above 2^63.
    struct bm_random random;
    const uint64_t bound = ((uint64_t)1 << 63) + 1;
    unsigned even = 0, low = 0;
    bm_random_init(&random, 3, 0, 0, 0);
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t value = bm_random_below(&random, bound);
        assert_true(value < bound);
        even += value % 2 == 0;
        low += value < bound / 3;
    }
    assert_near(even, DRAWS / 2.0, 4.5 * sqrt(DRAWS / 4.0));
    assert_near(low, DRAWS / 3.0, 4.5 * sqrt(DRAWS * 2.0 / 9));
    // With 3 * 2^62 every third value would come up from two numbers instead of one.
    unsigned thirds = 0;
    for (unsigned i = 0; i < DRAWS; i++)
        thirds += bm_random_below(&random, (uint64_t)3 << 62) % 3 == 0;
    assert_near(thirds, DRAWS / 3.0, 4.5 * sqrt(DRAWS * 2.0 / 9));
}

static void a_number_that_would_be_unfair_is_drawn_again(void **state)
{
    (void)state;
    struct bm_random random = next_is(0); // 0 * 3 leaves 0, below 2^64 mod 3 = 1
    random.block[2] = 0xffffffff;
    random.block[3] = 0xffffffff;
    assert_int_equal(bm_random_below(&random, 3), 2);
    assert_int_equal(random.used, 4);
}

static void ratios_have_evenly_spread_logarithms(void **state)
{
    (void)state;
    struct bm_random random, same;
    unsigned nbelow = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        bm_random_init(&random, 1, 2, i, 3);
        same = random;
        double ratio = bm_random_ratio(&random, 0.5, 2);
        assert_near(ratio, exp(log(0.5) + bm_random_uniform(&same) * log(4)), 4e-15);
        nbelow += ratio < 1;
    }
    assert_in_range(nbelow, 4800, 5200);
    assert_true(bm_random_ratio(&random, 3, 3) == 3);
    double wide = bm_random_ratio(&random, 1e-100, 1e100); // the series' ends
    assert_true(wide > 0.99e-100 && wide < 1.01e100);
}

static void normal_numbers_are_spread_normally(void **state)
{
    (void)state;
    struct bm_random random;
    double sums[4] = {0};
    unsigned beyond[4] = {0};
    static const double shares[] = {1, 0.31731050786291415, 0.04550026389635842,
                                    0.0026997960632602};
    bm_random_init(&random, 4, 0, 0, 0);
    for (unsigned i = 0; i < DRAWS; i++) {
        double value = bm_random_normal(&random), power = 1;
        for (unsigned k = 0; k < 4; k++)
            sums[k] += power *= value;
        for (unsigned k = 0; k < 4; k++)
            beyond[k] += fabs(value) > k;
    }
    assert_near(sums[0] / DRAWS, 0, 4.5 / sqrt(DRAWS));
    assert_near(sums[1] / DRAWS, 1, 4.5 * sqrt(2.0 / DRAWS));
    assert_near(sums[2] / DRAWS, 0, 4.5 * sqrt(15.0 / DRAWS));
    assert_near(sums[3] / DRAWS, 3, 4.5 * sqrt(96.0 / DRAWS));
    for (unsigned k = 0; k < 4; k++)
        assert_near(beyond[k], DRAWS * shares[k],
                    4.5 * sqrt(DRAWS * shares[k] * (1 - shares[k])) + 0.5);
}

// How far the distribution of what is drawn is from `expected`, at its worst of 19 places.
static double beta_distance(double alpha, double (*expected)(double x))
{
    enum { NDRAWN = 100000, PLACES = 20 };
    unsigned counts[PLACES] = {0}, below = 0;
    double worst = 0;
    for (uint64_t item = 0; item < NDRAWN; item++) {
        struct bm_random random;
        bm_random_init(&random, 11, 0, item, 3);
        double x = bm_random_beta(&random, alpha);
        assert_true(x >= 0 && x <= 1);
        counts[x < 1 ? (unsigned)(x * PLACES) : PLACES - 1]++;
    }
    for (unsigned i = 0; i + 1 < PLACES; i++) {
        below += counts[i];
        double distance = fabs((double)below / NDRAWN - expected((i + 1.0) / PLACES));
        worst = distance > worst ? distance : worst;
    }
    return worst;
}

static double arcsine(double x)
{
    return 2 / 3.141592653589793 * asin(sqrt(x));
}

static double even(double x)
{
    return x;
}

static double cubic(double x)
{
    return x * x * (3 - 2 * x);
}

// Those of Beta(a, a) that have simple distribution functions. With 100,000 draws chance alone
// keeps to about 0.004.
static void beta_numbers_have_their_distribution(void **state)
{
    (void)state;
    assert_true(beta_distance(0.5, arcsine) < 0.005);
    assert_true(beta_distance(1, even) < 0.005);
    assert_true(beta_distance(2, cubic) < 0.005);
    assert_true(beta_distance(2, even) > 0.05);  // the test does tell them apart
    assert_true(beta_distance(0.1, even) < 0.5); // and the ends of the series hold
    assert_true(beta_distance(100, even) < 0.6);
}

static double normal_at(double p)
{
    struct bm_random random = next_is((uint64_t)(p * 0x1p52) << 12);
    return bm_random_normal(&random);
}

static void normal_numbers_are_quantiles(void **state)
{
    (void)state;
    static const double quantiles[][2] = {
        {0.6, 0.2533471031357997},   {0.75, 0.6744897501960817},  {0.9, 1.2815515655446004},
        {0.925, 1.4395314709384563}, {0.95, 1.6448536269514722},  {0.975, 1.959963984540054},
        {0.999, 3.090232306167813},  {0.25, -0.6744897501960817}, {0.025, -1.959963984540054},
        {0.001, -3.090232306167813}, {1e-10, -6.361340902404056},
    };
    for (unsigned i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
        double p = quantiles[i][0], x = quantiles[i][1];
        // p is cut to 52 bits, which moves x by up to 2^-52 / density.
        double density = exp(-x * x / 2) / 2.5066282746310002;
        assert_near(normal_at(p), x, 1e-15 * (1 + fabs(x)) + 0x1p-52 / density);
    }
}

static void the_ends_of_the_normal_numbers_are_finite_and_alike(void **state)
{
    (void)state;
    struct bm_random low = next_is(0), high = next_is(UINT64_MAX);
    double lowest = bm_random_normal(&low), highest = bm_random_normal(&high);
    assert_near(lowest, -8.209536151601387, 1e-14); // of 2^-53
    assert_true(highest == -lowest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_numbers),
        cmocka_unit_test(mixing_gives_the_published_numbers),
        cmocka_unit_test(each_part_of_the_key_makes_another_stream),
        cmocka_unit_test(a_stream_is_the_generator_over_item_and_block),
        cmocka_unit_test(uniform_numbers_are_spread_evenly),
        cmocka_unit_test(uniform_numbers_reach_0_but_never_1),
        cmocka_unit_test(numbers_below_a_small_bound_are_equally_likely),
        cmocka_unit_test(numbers_below_a_huge_bound_are_equally_likely),
        cmocka_unit_test(a_number_that_would_be_unfair_is_drawn_again),
        cmocka_unit_test(ratios_have_evenly_spread_logarithms),
        cmocka_unit_test(beta_numbers_have_their_distribution),
        cmocka_unit_test(normal_numbers_are_spread_normally),
        cmocka_unit_test(normal_numbers_are_quantiles),
        cmocka_unit_test(the_ends_of_the_normal_numbers_are_finite_and_alike),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
