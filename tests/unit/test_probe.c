// What fail_at, skip_at and end_at promise, and that all actions are there and documented.
#include <string.h>

#include "actions/actions.h"
#include "fakes/action_fixture.h"
#include "support.h"

#define REFUSES(actions, where, text) action_fixture_refuses(&fixture, actions, where, text)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct action_fixture fixture;
static const int64_t values[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

static int make_fixture(void **state)
{
    (void)state;
    action_fixture_init(&fixture);
    action_fixture_give(10, &(struct given){.name = "x", .dtype = BM_INT64, .values = values}, 1);
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    action_fixture_fini(&fixture);
    return 0;
}

static void fail_at_fails_the_batch_and_names_the_item(void **state)
{
    (void)state;
    assert_int_equal(action_fixture_build(&fixture, "[noop, {fail_at: {items: 4}}]"), BM_OK);
    static const enum bm_result results[] = {BM_RESULT_OK, BM_RESULT_FAIL, BM_RESULT_OK,
                                             BM_RESULT_OK};
    for (unsigned seq = 0; seq < COUNT(results); seq++)
        assert_int_equal(action_fixture_run(&fixture, 3, seq), results[seq]);
    assert_int_equal(action_fixture_run(&fixture, 3, 1), BM_RESULT_FAIL);
    assert_int_equal(fixture.work.error.status, BM_UNKNOWN);
    assert_string_equal(fixture.work.error.text, "told to fail at this item");
    assert_string_equal(fixture.work.error.where, "pipeline test, action 1 (fail_at), item 4");
    assert_int_equal(fixture.work.failed_item, 4);
    assert_int_equal(fixture.work.failed_action, 1);
}

static void fail_at_takes_a_list_and_a_message(void **state)
{
    (void)state;
    assert_int_equal(
        action_fixture_build(&fixture, "[fail_at: {items: [9, 1], message: 100% gone}]"), BM_OK);
    for (uint64_t seq = 0; seq < 10; seq++) {
        bool listed = seq == 9 || seq == 1;
        assert_int_equal(action_fixture_run(&fixture, 1, seq),
                         listed ? BM_RESULT_FAIL : BM_RESULT_OK);
        if (listed)
            assert_string_equal(fixture.work.error.text, "100% gone");
    }
    assert_int_equal(action_fixture_run(&fixture, 10, 0), BM_RESULT_FAIL);
    assert_int_equal(fixture.work.failed_item, 1); // the first in the batch
}

static void fail_at_fails_at_every_attempt_and_in_every_order(void **state)
{
    (void)state;
    assert_int_equal(action_fixture_build(&fixture, "[fail_at: {items: 4}]"), BM_OK);
    fixture.shuffle = true;
    for (fixture.seed = 0; fixture.seed < 20; fixture.seed++) {
        unsigned nfailed = 0;
        for (uint64_t seq = 0; seq < 4; seq++) {
            fixture.attempt++;
            bool failed = action_fixture_run(&fixture, 3, seq) == BM_RESULT_FAIL;
            nfailed += failed;
            assert_int_equal(fixture.work.failed_item, failed ? 4 : -1);
        }
        assert_int_equal(nfailed, 1);
    }
}

static void skip_at_and_end_at_say_so_at_their_items(void **state)
{
    (void)state;
    assert_int_equal(
        action_fixture_build(&fixture, "[{skip_at: {items: [0, 7]}}, {end_at: {items: [8, 7]}}]"),
        BM_OK);
    static const enum bm_result results[] = {BM_RESULT_SKIP, BM_RESULT_OK, BM_RESULT_OK,
                                             BM_RESULT_SKIP, BM_RESULT_END};
    for (unsigned seq = 0; seq < COUNT(results); seq++)
        assert_int_equal(action_fixture_run(&fixture, 2, seq), results[seq]);
}

static void items_that_cannot_be_are_refused(void **state)
{
    (void)state;
    REFUSES("[fail_at]", "[0]", "items");
    REFUSES("[fail_at: {items: -1}]", ".items", "at least 0");
    REFUSES("[skip_at: {items: 1.5}]", ".items", "a whole number");
    REFUSES("[end_at: {items: last}]", ".items", "a whole number");
    REFUSES("[skip_at: {items: 1, message: no}]", ".message", "items");
}

static void every_action_says_what_it_does(void **state)
{
    (void)state;
    static const char *const names[] = {
        "accumulate",   "add_noise", "bucketise",    "burn",
        "cache",        "cast",      "center_crop",  "clip",
        "color_jitter", "cutout",    "decode_image", "drop",
        "end_at",       "fail_at",   "fill_missing", "filter",
        "flip",         "hash",      "layout",       "log1p",
        "lookup",       "mixup",     "noop",         "normalize",
        "one_hot",      "pad",       "pad_sequence", "random_resized_crop",
        "rebatch",      "rename",    "repeat",       "reshape",
        "resize",       "scale",     "select",       "skip_at",
        "tokenise",     "wait",      "window",
    };
    assert_int_equal(bm_registry_nactions(fixture.registry), COUNT(names));
    for (unsigned i = 0; i < COUNT(names); i++) {
        const struct bm_action_type *type = bm_registry_action_at(fixture.registry, i);
        assert_string_equal(type->name, names[i]);
        assert_in_range(strlen(type->doc), 20, 400);
        for (unsigned p = 0; p < type->nparams; p++)
            assert_in_range(strlen(type->params[p].doc), 2, 200);
    }
    assert_int_equal(bm_actions_register(fixture.registry, &fixture.error), BM_ALREADY_EXISTS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fail_at_fails_the_batch_and_names_the_item),
        TEST(fail_at_takes_a_list_and_a_message),
        TEST(fail_at_fails_at_every_attempt_and_in_every_order),
        TEST(skip_at_and_end_at_say_so_at_their_items),
        TEST(items_that_cannot_be_are_refused),
        TEST(every_action_says_what_it_does),
    };
    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
