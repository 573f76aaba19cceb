// What tokenise, pad_sequence and window promise.
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

static void assert_shape(const char *name, const char *expected)
{
    struct bm_buffer text;
    bm_buffer_init(&text);
    bm_component_print(action_fixture_component(&fixture, name), &text);
    assert_string_equal(bm_buffer_text(&text), expected);
    bm_buffer_fini(&text);
}

static void assert_offsets(const char *name, const uint64_t *expected, uint64_t nitems)
{
    const struct bm_batch *batch = &fixture.work.batch;
    int c = bm_schema_find(batch->schema, name);
    assert_in_range(c, 0, BM_COMPONENTS_MAX);
    assert_memory_equal(batch->tensors[c].offsets, expected, (nitems + 1) * sizeof expected[0]);
}

static const char texts[] = "the cat \xc3\xa9  cat\t"
                            "the \n";
static const uint64_t text_offsets[] = {0, 10, 10, 15, 21};
static const float rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const uint64_t row_offsets[] = {0, 1, 1, 5, 6}; // of 2 numbers each
static const int16_t whole[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,
                                10, 11, 12, 13, 14, 15, 16, 17, 18, 19};

static void give(void)
{
    const struct given given[] = {
        {.name = "text", .dtype = BM_STRING, .values = texts, .offsets = text_offsets},
        {.name = "rows",
         .dtype = BM_FLOAT32,
         .ndim = 2,
         .shape = {0, 2},
         .values = rows,
         .offsets = row_offsets},
        {.name = "whole", .dtype = BM_INT16, .ndim = 1, .shape = {5}, .values = whole},
        {.name = "one", .dtype = BM_INT16, .values = whole},
    };
    action_fixture_give(4, given, COUNT(given));
}

// ---- tokenise ----

static void a_token_for_each_byte(void **state)
{
    (void)state;
    give();
    run("[noop, tokenise: {component: text, into: tokens}]", 4);
    assert_shape("tokens", "tokens int32 [varies]");
    assert_offsets("tokens", text_offsets, 4);
    const int32_t *tokens = action_fixture_values(&fixture, "tokens");
    for (unsigned i = 0; i < 21; i++)
        assert_int_equal(tokens[i], (unsigned char)texts[i]);
    run("[tokenise: {component: text}]", 4);
    assert_int_equal(*(const int32_t *)action_fixture_values(&fixture, "text"), 't');
}

static void a_token_for_each_word(void **state)
{
    (void)state;
    give();
    static const uint64_t offsets[] = {0, 3, 3, 4, 5};
    static const int32_t tokens[] = {1, 0, -1, 0, 1};
    run("[tokenise: {component: text, kind: words, vocabulary: [cat, the], unknown: -1}]", 4);
    assert_offsets("text", offsets, 4);
    assert_memory_equal(action_fixture_values(&fixture, "text"), tokens, sizeof tokens);
    const struct bm_component *component = action_fixture_component(&fixture, "text");
    assert_string_equal(bm_vocabulary_name(component->vocabulary, 1), "the");
    assert_int_equal(
        action_fixture_build(&fixture,
                             "[tokenise: {component: text, kind: words, vocabulary: [cat, the]}]"),
        BM_OK);
    assert_int_equal(action_fixture_run(&fixture, 4, 0), BM_RESULT_FAIL);
    assert_int_equal(fixture.work.failed_item, 0);
    assert_string_equal(fixture.work.error.text,
                        "expected words of the vocabulary, got \"\xc3\xa9\"");
}

static void tokenise_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    give();
    REFUSES("[tokenise: {component: one}]", "tokenise.component",
            "expected texts or bytes, got one of int16");
    REFUSES("[tokenise: {component: text, kind: words}]", "tokenise.vocabulary",
            "expected words, got none");
    REFUSES("[tokenise: {component: text, vocabulary: [a]}]", "tokenise.vocabulary",
            "expected none for bytes, got words");
    REFUSES("[tokenise: {component: text, unknown: 1}]", "tokenise.unknown",
            "expected none for bytes, got 1");
    REFUSES("[tokenise: {component: text, kind: words, vocabulary: [a, b c]}]",
            "tokenise.vocabulary", "expected words without spaces, got \"b c\"");
    REFUSES("[tokenise: {component: text, kind: words, vocabulary: [a, a]}]", "tokenise.vocabulary",
            "expected each word once, got a twice");
}

// ---- pad_sequence ----

// As torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=-1) does where the
// longest item has `length` rows.
static void shorter_ones_are_filled_up_and_masked(void **state)
{
    (void)state;
    give();
    static const float padded[4 * 4 * 2] = {1,  2,  -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                            -1, -1, -1, -1, -1, 3,  4,  5,  6,  7,  8,
                                            9,  10, 11, 12, -1, -1, -1, -1, -1, -1};
    static const bool mask[4 * 4] = {true, false, false, false, false, false, false, false,
                                     true, true,  true,  true,  true,  false, false, false};
    run("[noop, pad_sequence: {component: rows, length: 4, value: -1, mask: true}]", 4);
    assert_shape("rows", "rows float32 [4, 2]");
    assert_shape("rows.mask", "rows.mask bool [4]");
    assert_memory_equal(action_fixture_values(&fixture, "rows"), padded, sizeof padded);
    assert_memory_equal(action_fixture_values(&fixture, "rows.mask"), mask, sizeof mask);
}

static void longer_ones_fail_or_are_cut(void **state)
{
    (void)state;
    give();
    static const float cut[4 * 2 * 2] = {1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 5, 6, 11, 12, 0, 0};
    run("[pad_sequence: {component: rows, length: 2, longer: cut}]", 4);
    assert_memory_equal(action_fixture_values(&fixture, "rows"), cut, sizeof cut);
    assert_int_equal(action_fixture_build(&fixture, "[pad_sequence: {component: rows, length: 2}]"),
                     BM_OK);
    assert_int_equal(action_fixture_run(&fixture, 4, 0), BM_RESULT_FAIL);
    assert_int_equal(fixture.work.failed_item, 2);
    assert_string_equal(fixture.work.error.text, "expected rows of at most 2, got 4");
}

// Likewise, of each batch by itself.
static void the_longest_of_the_batch_gives_the_length(void **state)
{
    (void)state;
    give();
    static const float two[2 * 1 * 2] = {1, 2, 0, 0};
    static const bool two_mask[2] = {true, false};
    static const uint64_t two_offsets[] = {0, 1, 2}, four_offsets[] = {0, 4, 8, 12, 16};
    static const float last[4 * 2] = {11, 12, -1, -1, -1, -1, -1, -1};
    run("[noop, pad_sequence: {component: rows, longest: true, mask: true}]", 2);
    assert_shape("rows", "rows float32 [varies, 2]");
    assert_shape("rows.mask", "rows.mask bool [varies]");
    assert_offsets("rows", two_offsets, 2);
    assert_offsets("rows.mask", two_offsets, 2);
    assert_memory_equal(action_fixture_values(&fixture, "rows"), two, sizeof two);
    assert_memory_equal(action_fixture_values(&fixture, "rows.mask"), two_mask, sizeof two_mask);
    run("[noop, pad_sequence: {component: rows, longest: true, value: -1}]", 4);
    assert_offsets("rows", four_offsets, 4);
    const float *values = action_fixture_values(&fixture, "rows");
    assert_memory_equal(values + (size_t)3 * 4 * 2, last, sizeof last);
}

static void the_longest_is_rounded_up_and_bounded(void **state)
{
    (void)state;
    give();
    static const uint64_t rounded[] = {0, 6, 12, 18, 24}, bounded[] = {0, 3, 6, 9, 12};
    run("[pad_sequence: {component: rows, longest: true, multiple: 3}]", 4);
    assert_offsets("rows", rounded, 4);
    run("[pad_sequence: {component: rows, longest: true, multiple: 8, length: 3, longer: cut}]", 4);
    assert_offsets("rows", bounded, 4);
    assert_int_equal(action_fixture_build(
                         &fixture, "[pad_sequence: {component: rows, longest: true, length: 3}]"),
                     BM_OK);
    assert_int_equal(action_fixture_run(&fixture, 4, 0), BM_RESULT_FAIL);
    assert_string_equal(fixture.work.error.text, "expected rows of at most 3, got 4");
}

static void pad_sequence_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    give();
    REFUSES("[pad_sequence: {component: whole, length: 9}]", "pad_sequence.component",
            "expected a component whose items differ in length, but those of whole do not");
    REFUSES("[pad_sequence: {component: text, length: 9}]", "pad_sequence.component",
            "expected a component of numbers");
    REFUSES("[{tokenise: {component: text}}, {pad_sequence: {component: text, length: 9, value: "
            "0.5}}]",
            "pad_sequence.value", "expected a value that int32 has, got 0.5");
    REFUSES("[pad_sequence: {component: rows}]", "pad_sequence",
            "expected \"length\" or \"longest: true\", got neither");
    REFUSES("[pad_sequence: {component: rows, length: 9, multiple: 8}]", "pad_sequence.multiple",
            "expected \"longest: true\" with it");
    REFUSES("[pad_sequence: {component: rows, longest: true, longer: cut}]", "pad_sequence.longer",
            "expected \"length\" with it");
    REFUSES("[{rename: {names: {one: rows.mask}}}, {pad_sequence: {component: rows, length: 9, "
            "mask: true}}]",
            "pad_sequence.mask", "expected no component rows.mask yet");
}

// ---- window ----

// numpy 1.24.2: numpy.lib.stride_tricks.sliding_window_view(numpy.arange(5), 3)[::s]
static void windows_of_items_of_one_length(void **state)
{
    (void)state;
    give();
    static const int16_t all[] = {5, 6, 7, 6, 7, 8, 7, 8, 9}, some[] = {5, 6, 7, 7, 8, 9};
    run("[noop, window: {component: whole, length: 3}]", 4);
    assert_shape("whole", "whole int16 [3, 3]");
    const int16_t *values = action_fixture_values(&fixture, "whole");
    assert_memory_equal(values + 9, all, sizeof all);
    run("[noop, window: {component: whole, length: 3, stride: 2, into: w}]", 4);
    assert_shape("w", "w int16 [2, 3]");
    values = action_fixture_values(&fixture, "w");
    assert_memory_equal(values + 6, some, sizeof some);
    run("[window: {component: whole, length: 5, stride: 9}]", 4);
    assert_shape("whole", "whole int16 [1, 5]");
    assert_memory_equal(action_fixture_values(&fixture, "whole"), whole, sizeof whole);
}

static void windows_of_items_that_differ_in_length(void **state)
{
    (void)state;
    give();
    static const uint64_t offsets[] = {0, 0, 0, 3, 3};
    static const float expected[] = {3, 4, 5, 6, 5, 6, 7, 8, 7, 8, 9, 10};
    run("[window: {component: rows, length: 2}]", 4);
    assert_shape("rows", "rows float32 [varies, 2, 2]");
    assert_offsets("rows", offsets, 4);
    assert_memory_equal(action_fixture_values(&fixture, "rows"), expected, sizeof expected);
}

static void window_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    give();
    REFUSES("[window: {component: one, length: 2}]", "window.component",
            "expected a component of 1 to 15 axes, got one of 0");
    REFUSES("[window: {component: whole, length: 6}]", "window.length",
            "expected at most 5, as whole has, got 6");
    REFUSES("[window: {component: whole, length: 2, stride: 0}]", "window.stride", "got 0");
}

static void without_memory_nothing_is_built(void **state)
{
    (void)state;
    give();
    action_fixture_starves(
        &fixture,
        "[{tokenise: {component: text, kind: words, vocabulary: [cat, the], into: t}}, "
        "{window: {component: t, length: 2}}, {pad_sequence: {component: rows, length: 4, "
        "mask: true}}]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(a_token_for_each_byte),
        TEST(a_token_for_each_word),
        TEST(tokenise_refuses_what_makes_no_sense),
        TEST(shorter_ones_are_filled_up_and_masked),
        TEST(longer_ones_fail_or_are_cut),
        TEST(the_longest_of_the_batch_gives_the_length),
        TEST(the_longest_is_rounded_up_and_bounded),
        TEST(pad_sequence_refuses_what_makes_no_sense),
        TEST(windows_of_items_of_one_length),
        TEST(windows_of_items_that_differ_in_length),
        TEST(window_refuses_what_makes_no_sense),
        TEST(without_memory_nothing_is_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
