// Is a shuffled epoch a fair shuffle? Each measure gives its deviation from chance in standard
// deviations; beyond 6 of them, chance is 1 in 10^9. The seeds are fixed, so a test passes always
// or never, and shuffles that are known to be bad show that each measure finds them out.
#include "data/permutation.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/random.h"
#include "support.h"

enum { SIZE_MAX_MEASURED = 300 };
static const double DEVIATIONS_MAX = 6;

// The item at a position, like bm_permute().
typedef uint64_t shuffle_fn(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position);

struct shuffled { // one epoch
    uint64_t n;
    unsigned items[SIZE_MAX_MEASURED];
};

static struct shuffled shuffled_epoch(shuffle_fn *shuffle, uint64_t seed, uint64_t epoch,
                                      uint64_t n)
{
    struct shuffled made = {.n = n};
    for (uint64_t position = 0; position < n; position++)
        made.items[position] = (unsigned)shuffle(seed, epoch, n, position);
    return made;
}

// What turns `from` into `to`: to = step of from.
static struct shuffled shuffled_step(const struct shuffled *from, const struct shuffled *to)
{
    struct shuffled step = {.n = from->n};
    for (uint64_t i = 0; i < from->n; i++)
        step.items[from->items[i]] = to->items[i];
    return step;
}

// ---- Measures ----

// Chi-square as a normal deviation (Wilson and Hilferty).
static double chi_square_deviation(double sum, double freedom)
{
    double spread = 2 / (9 * freedom);
    return (cbrt(sum / freedom) - (1 - spread)) / sqrt(spread);
}

static double counts_deviation(const unsigned *counts, unsigned ncounts, unsigned ncells,
                               double expected)
{
    double sum = 0;
    for (unsigned i = 0; i < ncounts; i++)
        sum += counts[i] * (double)counts[i] / expected;
    return chi_square_deviation(sum - ncells * expected, ncells - 1.0);
}

// Are all n! orders equally likely?
static double orders_deviation(shuffle_fn *shuffle, uint64_t n)
{
    enum { NSEEDS = 60000, CODES_MAX = 46656 }; // 6^6
    unsigned *counts = calloc(CODES_MAX, sizeof *counts), factorial = 1;
    assert_non_null(counts);
    for (uint64_t seed = 0; seed < NSEEDS; seed++) {
        struct shuffled epoch = shuffled_epoch(shuffle, seed, 0, n);
        unsigned code = 0;
        for (uint64_t i = 0; i < n; i++)
            code = code * (unsigned)n + epoch.items[i];
        counts[code]++;
    }
    for (unsigned i = 2; i <= n; i++)
        factorial *= i;
    double deviation = counts_deviation(counts, CODES_MAX, factorial, NSEEDS * 1.0 / factorial);
    free(counts);
    return deviation;
}

// Is every item equally likely at every position, over seeds or over the epochs of one seed?
static double places_deviation(shuffle_fn *shuffle, uint64_t n, bool by_epoch)
{
    const unsigned tries = 4000;
    unsigned *counts = calloc(n * n, sizeof *counts);
    assert_non_null(counts);
    for (unsigned i = 0; i < tries; i++) {
        struct shuffled epoch = shuffled_epoch(shuffle, by_epoch ? 9 : i, by_epoch ? i : 0, n);
        for (uint64_t position = 0; position < n; position++)
            counts[position * n + epoch.items[position]]++;
    }
    double sum = 0, expected = (double)tries / (double)n;
    for (uint64_t i = 0; i < n * n; i++)
        sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    free(counts);
    double share = (double)(n - 1) / (double)n; // each row and each column sums up to `tries`
    return chi_square_deviation(sum * share, (double)((n - 1) * (n - 1)));
}

// Is every pair of items equally likely at two neighbouring positions?
static double neighbours_deviation(shuffle_fn *shuffle, uint64_t n, uint64_t position)
{
    const unsigned tries = 40000;
    unsigned *counts = calloc(n * n, sizeof *counts);
    assert_non_null(counts);
    for (unsigned seed = 0; seed < tries; seed++) {
        uint64_t first = shuffle(seed, seed % 7, n, position);
        uint64_t second = shuffle(seed, seed % 7, n, position + 1);
        counts[first * n + second]++;
    }
    unsigned ncells = (unsigned)(n * (n - 1));
    double deviation = counts_deviation(counts, (unsigned)(n * n), ncells, (double)tries / ncells);
    free(counts);
    return deviation;
}

struct cycles {
    double fixed, cycles, even, tries;
};

static void cycles_add(struct cycles *sums, const struct shuffled *epoch)
{
    bool seen[SIZE_MAX_MEASURED] = {false};
    uint64_t ncycles = 0;
    for (unsigned i = 0; i < epoch->n; i++) {
        sums->fixed += epoch->items[i] == i;
        ncycles += !seen[i];
        for (unsigned j = i; !seen[j]; j = epoch->items[j])
            seen[j] = true;
    }
    sums->cycles += (double)ncycles;
    sums->even += (epoch->n - ncycles) % 2 == 0;
    sums->tries++;
}

// A random permutation has 1 fixed point, 1 + 1/2 + ... + 1/n cycles, and is even half the time.
static double cycles_deviation(const struct cycles *sums, uint64_t n)
{
    double mean = 0, variance = 0, tries = sums->tries;
    for (uint64_t i = 1; i <= n; i++) {
        mean += 1 / (double)i;
        variance += 1 / (double)i - 1 / (double)(i * i);
    }
    double fixed = fabs(sums->fixed - tries) / sqrt(tries);
    double cycles = fabs(sums->cycles - mean * tries) / sqrt(variance * tries);
    double even = fabs(sums->even - tries / 2) / sqrt(tries / 4);
    return fmax(fixed, fmax(cycles, even));
}

// Is an epoch a fresh permutation, and so is the step from it to the next epoch and to the next
// seed's, and the step from one such step to the next?
static double freshness_deviation(shuffle_fn *shuffle, uint64_t n)
{
    struct cycles alone = {0}, next_epoch = {0}, next_seed = {0}, diagonal = {0}, steps = {0};
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t seed = i % 50, epoch = i / 50;
        struct shuffled here = shuffled_epoch(shuffle, seed, epoch, n);
        struct shuffled later = shuffled_epoch(shuffle, seed, epoch + 1, n);
        struct shuffled last = shuffled_epoch(shuffle, seed, epoch + 2, n);
        struct shuffled other = shuffled_epoch(shuffle, seed + 1, epoch, n);
        struct shuffled step = shuffled_step(&here, &later), step_on = shuffled_step(&later, &last);
        struct shuffled to_other = shuffled_step(&here, &other);
        struct shuffled across = shuffled_step(&later, &other);
        struct shuffled between_steps = shuffled_step(&step, &step_on);
        cycles_add(&alone, &here);
        cycles_add(&next_epoch, &step);
        cycles_add(&next_seed, &to_other);
        cycles_add(&diagonal, &across);
        cycles_add(&steps, &between_steps);
    }
    double worst = fmax(cycles_deviation(&alone, n), cycles_deviation(&next_epoch, n));
    worst = fmax(worst, fmax(cycles_deviation(&next_seed, n), cycles_deviation(&diagonal, n)));
    return fmax(worst, cycles_deviation(&steps, n));
}

// ---- The shuffle ----

static void assert_chance(double deviation)
{
    if (!(deviation < DEVIATIONS_MAX))
        fail_msg("%.1f standard deviations from chance", deviation);
}

static void all_orders_of_few_items_are_equally_likely(void **state)
{
    (void)state;
    for (uint64_t n = 2; n <= 6; n++)
        assert_chance(orders_deviation(bm_permute, n));
}

static void every_item_is_equally_likely_at_every_position(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {2, 3, 7, 8, 63, 64, 65, 127, 130};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_chance(places_deviation(bm_permute, sizes[i], false));
        assert_chance(places_deviation(bm_permute, sizes[i], true));
    }
}

static void every_pair_of_items_is_equally_likely_side_by_side(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {4, 16, 63, 64, 65};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_chance(neighbours_deviation(bm_permute, sizes[i], 0));
        assert_chance(neighbours_deviation(bm_permute, sizes[i], sizes[i] / 2 - 1));
    }
}

static void no_epoch_is_tied_to_another_epoch_or_seed(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {8, 15, 16, 64, 255, 256, 300};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        assert_chance(freshness_deviation(bm_permute, sizes[i]));
}

// ---- Shuffles that are not fair ----

static uint64_t same_in_all_epochs(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position)
{
    (void)epoch;
    return bm_permute(seed, 0, n, position);
}

// Epoch e is one permutation applied e + 1 times.
static uint64_t powers_of_one(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position)
{
    for (uint64_t i = 0; i <= epoch; i++)
        position = bm_permute(seed, 0, n, position);
    return position;
}

static uint64_t rotation(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position)
{
    return (position + bm_permute(seed, epoch, n, 0)) % n;
}

// Epochs and seeds are added up, so that seed 1 is seed 0, one epoch later.
static uint64_t added_key(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position)
{
    return bm_permute(0, seed + epoch, n, position);
}

static uint64_t two_rounds(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position)
{
    do {
        uint64_t left = position >> 3, right = position & 7, key = bm_mix64(bm_mix64(seed) + epoch);
        left ^= bm_mix64(key + 1 + right * 16) & 7;
        right ^= bm_mix64(key + 2 + left * 16) & 7;
        position = left << 3 | right;
    } while (position >= n);
    return position;
}

// Fair but for its parity: a shuffle of which every other one is left out.
static uint64_t even_only(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t position)
{
    struct cycles sums = {0};
    struct shuffled made = shuffled_epoch(bm_permute, seed, epoch, n);
    cycles_add(&sums, &made);
    unsigned item = made.items[position];
    return sums.even == 0 && item < 2 ? item ^ 1 : item;
}

static void assert_found_out(double deviation)
{
    if (!(deviation > DEVIATIONS_MAX))
        fail_msg("a bad shuffle passes, %.1f standard deviations from chance", deviation);
}

static void bad_shuffles_are_found_out(void **state)
{
    (void)state;
    assert_found_out(freshness_deviation(same_in_all_epochs, 64));
    assert_found_out(places_deviation(same_in_all_epochs, 64, true));
    assert_found_out(freshness_deviation(powers_of_one, 64));
    assert_found_out(freshness_deviation(added_key, 64));
    assert_found_out(freshness_deviation(even_only, 8));
    assert_found_out(orders_deviation(even_only, 4));
    assert_found_out(orders_deviation(two_rounds, 4));
    assert_found_out(neighbours_deviation(two_rounds, 63, 0));
    assert_found_out(orders_deviation(rotation, 3));
    assert_found_out(neighbours_deviation(rotation, 16, 0));
    // Those that only one measure can tell pass the others.
    assert_chance(orders_deviation(same_in_all_epochs, 4));
    assert_chance(places_deviation(rotation, 64, false));
    assert_chance(places_deviation(even_only, 8, false));
}

// ---- Every item once ----

static void assert_bijection(uint64_t seed, uint64_t epoch, uint64_t n)
{
    unsigned char *seen = calloc(n, 1);
    assert_non_null(seen);
    for (uint64_t position = 0; position < n; position++) {
        uint64_t item = bm_permute(seed, epoch, n, position);
        assert_true(item < n);
        assert_int_equal(seen[item]++, 0);
    }
    free(seen);
}

static void each_epoch_holds_every_item_once(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 300; n++)
        assert_bijection(n, n % 3, n);
    for (unsigned bits = 9; bits <= 15; bits++) {
        for (uint64_t n = ((uint64_t)1 << bits) - 1; n <= ((uint64_t)1 << bits) + 1; n++)
            assert_bijection(UINT64_MAX - bits, UINT64_MAX, n);
    }
    assert_bijection(0, 0, 100003);
}

static int u64_compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void huge_epochs_cost_no_more_than_small_ones(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {
        1000000000, (uint64_t)1 << 62, (uint64_t)1 << 63, ((uint64_t)1 << 63) + 1, UINT64_MAX,
    };
    for (unsigned k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        enum { TRIES = 2000 }; // half of them from the first positions, half up to the last
        static uint64_t items[TRIES];
        uint64_t n = sizes[k];
        double sum = 0;
        for (unsigned i = 0; i < TRIES; i++) {
            items[i] = bm_permute(7, 1, n, i < TRIES / 2 ? i : n - TRIES + i);
            assert_true(items[i] < n);
            sum += (double)items[i] / (double)n;
        }
        assert_chance(fabs(sum - TRIES / 2.0) / sqrt(TRIES / 12.0));
        qsort(items, TRIES, sizeof items[0], u64_compare);
        for (unsigned i = 1; i < TRIES; i++)
            assert_true(items[i] != items[i - 1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_orders_of_few_items_are_equally_likely),
        cmocka_unit_test(every_item_is_equally_likely_at_every_position),
        cmocka_unit_test(every_pair_of_items_is_equally_likely_side_by_side),
        cmocka_unit_test(no_epoch_is_tied_to_another_epoch_or_seed),
        cmocka_unit_test(bad_shuffles_are_found_out),
        cmocka_unit_test(each_epoch_holds_every_item_once),
        cmocka_unit_test(huge_epochs_cost_no_more_than_small_ones),
    };
    return cmocka_run_group_tests_name("shuffle", tests, NULL, NULL);
}
