#include "fakes/plugin_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

struct plugin_hook plugin_hook;
struct batchmill_action_type plugin_hook_type;
struct batchmill_source_type plugin_feed_type;
struct batchmill_plugin plugin_tables;

static bool hook_open(struct batchmill_setup *setup, void **ret_self)
{
    struct plugin_self *self = calloc(1, sizeof *self);
    if (self == NULL)
        return batchmill_refuse(setup, "no memory");
    if (!plugin_hook.open(setup, self)) {
        free(self);
        return false;
    }
    plugin_hook.nopened++;
    *ret_self = self;
    return true;
}

static void hook_close(void *self)
{
    plugin_hook.nclosed++;
    free(self);
}

static enum batchmill_result hook_run(struct batchmill_call *call)
{
    return plugin_hook.run(call);
}

static const char *const colours[] = {"red", "green", NULL};
static const struct batchmill_param params[] = {
    {.name = "component", .doc = "d", .kind = BATCHMILL_PARAM_NAME, .fallback = "x"},
    {.name = "integer", .doc = "d", .kind = BATCHMILL_PARAM_INTEGER, .fallback = "3", .max = 9},
    {.name = "number", .doc = "d", .kind = BATCHMILL_PARAM_FLOAT, .fallback = "0.5"},
    {.name = "flag", .doc = "d", .kind = BATCHMILL_PARAM_BOOL},
    {.name = "text", .doc = "d", .kind = BATCHMILL_PARAM_TEXT},
    {.name = "dtype", .doc = "d", .kind = BATCHMILL_PARAM_DTYPE},
    {.name = "colour", .doc = "d", .kind = BATCHMILL_PARAM_CHOICE, .choices = colours},
    {.name = "size", .doc = "d", .kind = BATCHMILL_PARAM_BYTES, .fallback = "2KiB"},
    {.name = "integers", .doc = "d", .kind = BATCHMILL_PARAM_INTEGERS},
    {.name = "numbers", .doc = "d", .kind = BATCHMILL_PARAM_FLOATS},
    {.name = "names", .doc = "d", .kind = BATCHMILL_PARAM_NAMES},
    {.name = "texts", .doc = "d", .kind = BATCHMILL_PARAM_TEXTS},
};
enum { NPARAMS = sizeof params / sizeof params[0] };

static const struct batchmill_action_type hook_default = {
    .size = sizeof hook_default,
    .name = "hook",
    .doc = "What the test says.",
    .nparams = NPARAMS,
    .params = params,
    .open = hook_open,
    .close = hook_close,
    .run = hook_run,
};
static const struct batchmill_source_type feed_default = {
    .size = sizeof feed_default,
    .name = "feed",
    .doc = "What the test says.",
    .nparams = NPARAMS,
    .params = params,
    .open = hook_open,
    .close = hook_close,
    .read = hook_run,
};
static const struct batchmill_action_type *const hooks[] = {&plugin_hook_type, NULL};
static const struct batchmill_source_type *const feeds[] = {&plugin_feed_type, NULL};

void plugin_fixture_reset(void)
{
    plugin_hook_type = hook_default;
    plugin_feed_type = feed_default;
    plugin_tables = (struct batchmill_plugin){BATCHMILL_PLUGIN_HEAD, .name = "p", .version = "1",
                                              .actions = hooks, .sources = feeds};
    plugin_hook = (struct plugin_hook){0};
}

void plugin_fixture_add(struct action_fixture *fixture, unsigned flags)
{
    struct bm_plugin plugin;
    plugin_hook_type.flags = flags;
    assert_int_equal(
        bm_plugin_register(fixture->registry, &plugin_tables, 77, "p.so", &plugin, &fixture->error),
        BM_OK);
    assert_string_equal(plugin.name, "p");
    assert_int_equal(plugin.nactions, 1);
    assert_int_equal(plugin.nsources, 1);
}

static const float numbers[] = {1, 2, 3, 4, 5, 6};
static const int64_t tails[] = {10, 20, 30, 40};
static const uint64_t tail_offsets[] = {0, 1, 1, 4};

int plugin_fixture_setup(void **state)
{
    struct action_fixture *fixture = malloc(sizeof *fixture);
    plugin_fixture_reset();
    action_fixture_init(fixture);
    const struct given given[] = {
        {"x", BM_FLOAT32, .ndim = 1, .shape = {2}, .values = numbers},
        {"tail", BM_INT64, .ndim = 1, .values = tails, .offsets = tail_offsets},
    };
    action_fixture_give(3, given, 2);
    *state = fixture;
    return 0;
}

int plugin_fixture_teardown(void **state)
{
    action_fixture_fini(*state);
    free(*state);
    assert_int_equal(plugin_hook.nopened, plugin_hook.nclosed);
    return 0;
}

// ---- Usual functions ----

bool plugin_open_keep(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    return batchmill_keep_all(setup);
}

bool plugin_open_new(struct batchmill_setup *setup, struct plugin_self *self)
{
    struct batchmill_component y;
    self->x = batchmill_require(setup, "component", 0);
    batchmill_component(setup, self->x, &y);
    y.name = "y";
    batchmill_keep_all(setup);
    self->y = batchmill_write(setup, &y, self->x);
    return true;
}

enum batchmill_result plugin_run_nothing(struct batchmill_call *call)
{
    (void)call;
    return BATCHMILL_RESULT_OK;
}

enum batchmill_result plugin_run_skip(struct batchmill_call *call)
{
    (void)call;
    return BATCHMILL_RESULT_SKIP;
}

enum batchmill_result plugin_run_fail_at_two(struct batchmill_call *call)
{
    for (uint64_t item = call->first; item < call->first + call->count; item++) {
        if (call->items[item] == 2)
            return batchmill_fail(call, (int64_t)item, "no %s today", "bread");
    }
    return BATCHMILL_RESULT_OK;
}

void plugin_fixture_fails(struct action_fixture *fixture, enum bm_status status, const char *text)
{
    assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_FAIL);
    if (fixture->work.error.status != status || strstr(fixture->work.error.text, text) == NULL)
        fail_msg("expected \"%s\", got %d \"%s\"", text, (int)fixture->work.error.status,
                 fixture->work.error.text);
}
