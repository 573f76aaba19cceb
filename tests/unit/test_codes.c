// What bucketise, hash and lookup promise.
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

static void assert_numbers(const char *name, const int64_t *expected, uint64_t n)
{
    const int64_t *values = action_fixture_values(&fixture, name);
    for (uint64_t i = 0; i < n; i++) {
        if (values[i] != expected[i])
            fail_msg("%s[%d]: expected %lld, got %lld", name, (int)i, (long long)expected[i],
                     (long long)values[i]);
    }
}

static const char words[] = "aabab"; // a ab "" ab
static const uint64_t word_offsets[] = {0, 1, 3, 3, 5};
static const int32_t numbers[] = {0, 1, 2, -5};
static const int64_t wide[] = {0, 1, 2, -5};
static const uint64_t big[] = {0, 1, 2, UINT64_MAX};
static const float reals[] = {0.5f, 1, NAN, 2};
static const int16_t pairs[] = {0, 1, 2, -5, 1, 1, 0, 0};

static void give(void)
{
    const struct given given[] = {
        {.name = "word", .dtype = BM_STRING, .values = words, .offsets = word_offsets},
        {.name = "number", .dtype = BM_INT32, .values = numbers},
        {.name = "wide", .dtype = BM_INT64, .values = wide},
        {.name = "big", .dtype = BM_UINT64, .values = big},
        {.name = "real", .dtype = BM_FLOAT32, .values = reals},
        {.name = "pair", .dtype = BM_INT16, .ndim = 1, .shape = {2}, .values = pairs},
    };
    action_fixture_give(4, given, COUNT(given));
}

// ---- bucketise ----

// numpy 1.24.2: np.digitize([-1, 0, 0.5, 1, 10, nan, 9.99], [0, 1, 10]), and with right=True
static void buckets_are_those_of_numpy(void **state)
{
    (void)state;
    static const double values[] = {-1, 0, 0.5, 1, 10, NAN, 9.99};
    static const uint64_t offsets[] = {0, 0, 3, 7};
    static const int64_t left[] = {0, 1, 1, 2, 3, 3, 2}, right[] = {0, 0, 1, 1, 2, 3, 2};
    action_fixture_give(7, &(struct given){.name = "x", .dtype = BM_FLOAT64, .values = values}, 1);
    run("[bucketise: {components: x, boundaries: [0, 1, 10]}]", 7);
    assert_int_equal(action_fixture_component(&fixture, "x")->dtype, BM_INT64);
    assert_numbers("x", left, 7);
    run("[bucketise: {components: x, boundaries: [0, 1, 10], right: true}]", 7);
    assert_numbers("x", right, 7);
    run("[bucketise: {components: x, boundaries: []}]", 7);
    assert_numbers("x", (const int64_t[7]){0}, 7);
    action_fixture_give(
        3,
        &(struct given){
            .name = "x", .dtype = BM_FLOAT64, .ndim = 1, .values = values, .offsets = offsets},
        1);
    run("[bucketise: {components: x, boundaries: [0, 1, 10]}]", 3);
    assert_numbers("x", left, 7);
}

static void buckets_of_whole_numbers(void **state)
{
    (void)state;
    give();
    run("[bucketise: {components: [number, wide, pair], boundaries: [-5, 1.5]}]", 4);
    assert_numbers("number", (const int64_t[]){1, 1, 2, 1}, 4);
    assert_numbers("wide", (const int64_t[]){1, 1, 2, 1}, 4);
    assert_numbers("pair", (const int64_t[]){1, 1, 2, 1, 1, 1, 1, 1}, 8);
}

static void bucketise_refuses_boundaries_that_do_not_rise(void **state)
{
    (void)state;
    give();
    REFUSES("[bucketise: {components: real, boundaries: [1, 1]}]", "bucketise.boundaries",
            "expected numbers that rise, got 1 behind 1");
    REFUSES("[bucketise: {components: word, boundaries: 1}]", "bucketise.components",
            "expected a component of integers or floats");
}

// ---- hash ----

// Python's xxhash 4.1.0: xxh3_64_intdigest(b"a") % 1000, of integers struct.pack("<q", x); with a
// seed mix64(digest ^ mix64(seed)) % 1000.
static void hashes_are_xxh3(void **state)
{
    (void)state;
    give();
    run("[hash: {component: word, buckets: 1000}]", 4);
    assert_int_equal(action_fixture_component(&fixture, "word")->ndim, 0);
    assert_false(action_fixture_component(&fixture, "word")->ragged);
    assert_numbers("word", (const int64_t[]){719, 28, 138, 28}, 4);
    run("[hash: {component: word, buckets: 1000, seed: 7, into: code}]", 4);
    assert_numbers("code", (const int64_t[]){393, 212, 813, 212}, 4);
    assert_int_equal(action_fixture_component(&fixture, "word")->dtype, BM_STRING);
}

static void equal_numbers_have_equal_hashes_in_all_dtypes(void **state)
{
    (void)state;
    give();
    static const int64_t expected[] = {897, 78, 547, 217};
    run("[{hash: {component: number, buckets: 1000}}, {hash: {component: wide, buckets: 1000}}, "
        "{hash: {component: pair, buckets: 1000}}, {hash: {component: big, buckets: 1000}}]",
        4);
    assert_numbers("number", expected, 4);
    assert_numbers("wide", expected, 4);
    assert_numbers("pair", (const int64_t[]){897, 78, 547, 217, 78, 78, 897, 897}, 8);
    assert_numbers("big", (const int64_t[]){897, 78, 547, 627}, 4);
}

static void hash_refuses_floats_and_names_that_are_taken(void **state)
{
    (void)state;
    give();
    REFUSES("[hash: {component: real, buckets: 10}]", "hash.component", "bucketise floats");
    REFUSES("[hash: {component: word, buckets: 0}]", "hash.buckets", "got 0");
    REFUSES("[hash: {component: word, buckets: 9, into: real}]", "hash.into",
            "expected a new name, got real");
}

// ---- lookup ----

static void keys_become_codes_with_a_vocabulary(void **state)
{
    (void)state;
    give();
    run("[lookup: {component: word, keys: [ab, a, ''], into: code}]", 4);
    assert_numbers("code", (const int64_t[]){1, 0, 2, 0}, 4);
    const struct bm_component *code = action_fixture_component(&fixture, "code");
    assert_int_equal(code->dtype, BM_INT64);
    assert_int_equal(bm_vocabulary_count(code->vocabulary), 3);
    assert_string_equal(bm_vocabulary_name(code->vocabulary, 1), "a");
    // Names of the vocabulary are keys, too.
    run("[{lookup: {component: word, keys: [ab, a, '']}}, {lookup: {component: word, keys: [a, '', "
        "ab], dtype: uint8}}]",
        4);
    static const uint8_t again[] = {0, 2, 1, 2};
    assert_memory_equal(action_fixture_values(&fixture, "word"), again, sizeof again);
    run("[{lookup: {component: word, keys: [ab, a, '']}}, {filter: {component: word, in: ab}}]", 4);
    assert_int_equal(fixture.work.batch.nitems, 2);
}

static void keys_become_their_values_and_all_else_the_default(void **state)
{
    (void)state;
    give();
    run("[lookup: {component: number, keys: [-5, 0], values: [0.5, 2], default: -1}]", 4);
    static const float expected[] = {2, -1, -1, 0.5f};
    assert_memory_equal(action_fixture_values(&fixture, "number"), expected, sizeof expected);
    assert_null(action_fixture_component(&fixture, "number")->vocabulary);
    run("[lookup: {component: word, keys: [ab], default: 7}]", 4);
    assert_numbers("word", (const int64_t[]){7, 0, 7, 0}, 4);
    run("[lookup: {component: real, keys: [0.5, 2], values: [3, 300], dtype: int16, default: "
        "-1}]",
        4);
    static const int16_t shorts[] = {3, -1, -1, 300};
    assert_memory_equal(action_fixture_values(&fixture, "real"), shorts, sizeof shorts);
}

static void what_is_no_key_fails_its_item_without_a_default(void **state)
{
    (void)state;
    give();
    assert_int_equal(action_fixture_build(&fixture, "[lookup: {component: word, keys: [a, ab]}]"),
                     BM_OK);
    assert_int_equal(action_fixture_run(&fixture, 4, 0), BM_RESULT_FAIL);
    assert_int_equal(fixture.work.error.status, BM_OUT_OF_RANGE);
    assert_int_equal(fixture.work.failed_item, 2);
    assert_string_equal(fixture.work.error.text,
                        "expected one of the 2 keys in word, got another value");
}

static void lookup_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    give();
    REFUSES("[lookup: {component: word, keys: []}]", "lookup.keys", "expected at least one");
    REFUSES("[lookup: {component: word, keys: [a, a]}]", "[0].lookup",
            "expected each key once, got a twice");
    REFUSES("[lookup: {component: word, keys: [a, b], values: 1}]", "lookup.values",
            "expected 2 numbers, as there are keys, got 1");
    REFUSES("[lookup: {component: word, keys: a, default: [1, 2]}]", "lookup.default",
            "expected one number, got 2");
    REFUSES("[lookup: {component: word, keys: a, default: 0.5}]", "lookup.default",
            "expected values that int64 has, got 0.5");
    REFUSES("[lookup: {component: word, keys: a, values: 300, dtype: uint8}]", "lookup.values",
            "expected values that uint8 has, got 300");
    REFUSES("[lookup: {component: word, keys: a, dtype: string}]", "lookup.dtype",
            "expected a type of numbers, got string");
    REFUSES("[lookup: {component: pair, keys: 1}]", "lookup.component",
            "expected a component of one value per item, got pair of 1 axes");
    REFUSES("[lookup: {component: number, keys: x}]", "lookup.keys",
            "expected values of number, int32, got x");
}

static void without_memory_nothing_is_built(void **state)
{
    (void)state;
    give();
    action_fixture_starves(&fixture, "[bucketise: {components: [real, wide], boundaries: 1}]");
    action_fixture_starves(&fixture, "[hash: {component: word, buckets: 9}]");
    action_fixture_starves(&fixture, "[lookup: {component: word, keys: [a, ab], default: 7}]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(buckets_are_those_of_numpy),
        TEST(buckets_of_whole_numbers),
        TEST(bucketise_refuses_boundaries_that_do_not_rise),
        TEST(hashes_are_xxh3),
        TEST(equal_numbers_have_equal_hashes_in_all_dtypes),
        TEST(hash_refuses_floats_and_names_that_are_taken),
        TEST(keys_become_codes_with_a_vocabulary),
        TEST(keys_become_their_values_and_all_else_the_default),
        TEST(what_is_no_key_fails_its_item_without_a_default),
        TEST(lookup_refuses_what_makes_no_sense),
        TEST(without_memory_nothing_is_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
