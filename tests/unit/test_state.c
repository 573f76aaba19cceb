// What base/state.h promises: a move the table lists happens, any other ends the process.
#include "base/state.h"

#include "fakes/stderr.h"
#include "support.h"

enum door { OPEN, CLOSED, LOCKED };

static const struct bm_state_rule rules[] = {
    [OPEN] = {"open", BM_TO(CLOSED)},
    [CLOSED] = {"closed", BM_TO(OPEN) | BM_TO(LOCKED)},
    [LOCKED] = {"locked", BM_TO(CLOSED)},
};

static void the_moves_of_the_table_are_made(void **state)
{
    (void)state;
    assert_int_equal(bm_state_next(rules, OPEN, CLOSED), CLOSED);
    assert_int_equal(bm_state_next(rules, CLOSED, OPEN), OPEN);
    assert_int_equal(bm_state_next(rules, CLOSED, LOCKED), LOCKED);
    assert_int_equal(bm_state_next(rules, LOCKED, CLOSED), CLOSED);
}

struct move {
    enum door from, to;
};

static void make_move(void *arg)
{
    const struct move *move = arg;
    bm_state_next(rules, (int)move->from, (int)move->to);
}

static void any_other_move_ends_the_process_with_both_names(void **state)
{
    (void)state;
    assert_aborts(make_move, &(struct move){OPEN, LOCKED}, "open may move to locked");
    assert_aborts(make_move, &(struct move){LOCKED, OPEN}, "locked may move to open");
    assert_aborts(make_move, &(struct move){OPEN, OPEN}, "open may move to open");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_moves_of_the_table_are_made),
        cmocka_unit_test(any_other_move_ends_the_process_with_both_names),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
