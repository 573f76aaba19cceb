// plugin_fixture.h -- a plug-in whose functions the test gives, in a pipeline over numbers.
// Layer: tests. Threads: one thread; its asserts are cmocka's.
//
//     plugin_hook.open = plugin_open_new;
//     plugin_hook.run = run_something;
//     plugin_fixture_add(fixture, BATCHMILL_PER_BATCH);
//     action_fixture_build(fixture, "[hook]");
#pragma once
#include <batchmill/plugin.h>

#include "fakes/action_fixture.h"
#include "plugin/plugin.h"

struct plugin_self { // what open() makes
    int x, y;
};

// Of the action `hook` and the source `feed`.
struct plugin_hook {
    bool (*open)(struct batchmill_setup *setup, struct plugin_self *self);
    enum batchmill_result (*run)(struct batchmill_call *call);
    unsigned nopened, nclosed;
};
extern struct plugin_hook plugin_hook;
// The tables, for those who spoil them. Both types have a parameter of each kind, by its name;
// `component` has the default x.
extern struct batchmill_action_type plugin_hook_type;
extern struct batchmill_source_type plugin_feed_type;
extern struct batchmill_plugin plugin_tables;
void plugin_fixture_reset(void);

// Of cmocka; *state is a struct action_fixture over 3 items with x, float32 [2], the numbers 1 to
// 6, and tail, ragged int64: 10; nothing; 20, 30, 40. What was opened must be closed at the end.
int plugin_fixture_setup(void **state);
int plugin_fixture_teardown(void **state);
void plugin_fixture_add(struct action_fixture *fixture, unsigned flags); // of hook
// Runs all items and expects a failure with that text in it.
void plugin_fixture_fails(struct action_fixture *fixture, enum bm_status status, const char *text);

// Usual functions.
bool plugin_open_keep(struct batchmill_setup *setup, struct plugin_self *self); // all that comes in
bool plugin_open_new(struct batchmill_setup *setup, struct plugin_self *self);  // and y, like x
enum batchmill_result plugin_run_nothing(struct batchmill_call *call);
enum batchmill_result plugin_run_skip(struct batchmill_call *call);
enum batchmill_result plugin_run_fail_at_two(struct batchmill_call *call); // "no bread today"
