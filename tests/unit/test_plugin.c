#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/plugin_fixture.h"
#include "support.h"

static const float numbers[] = {1, 2, 3, 4, 5, 6};

static bool open_change(struct batchmill_setup *setup, struct plugin_self *self) // x = f(x)
{
    struct batchmill_component x;
    self->x = batchmill_require(setup, "component", 0);
    batchmill_component(setup, self->x, &x);
    batchmill_keep_all(setup);
    self->y = batchmill_write(setup, &x, self->x);
    return true;
}

static enum batchmill_result run_add_ten(struct batchmill_call *call)
{
    const struct plugin_self *self = call->self;
    uint64_t n;
    const float *from = batchmill_input(call, self->x, call->first, call->count, &n);
    float *to = batchmill_output(call, self->y, call->first, call->count, &n);
    for (uint64_t i = 0; i < n; i++)
        to[i] = from[i] + 10;
    return BATCHMILL_RESULT_OK;
}

// Builds `actions` and expects that it is refused with `text`.
static void refuses(struct action_fixture *fixture, const char *actions, const char *text)
{
    assert_int_not_equal(action_fixture_build(fixture, actions), BM_OK);
    if (strstr(fixture->error.text, text) == NULL)
        fail_msg("expected \"%s\", got \"%s\"", text, fixture->error.text);
    assert_non_null(strstr(fixture->error.where, "test:1"));
}

// ---- Actions ----

static void an_action_computes_a_new_component(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = plugin_open_new;
    plugin_hook.run = run_add_ten;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    fixture->tile_rows = 1;
    assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_OK);
    const float *y = action_fixture_values(fixture, "y");
    for (unsigned i = 0; i < 6; i++)
        assert_true(y[i] == numbers[i] + 10);
    assert_memory_equal(action_fixture_values(fixture, "x"), numbers, sizeof numbers);
}

static const void *seen_in, *seen_out;
static enum batchmill_result run_look(struct batchmill_call *call)
{
    const struct plugin_self *self = call->self;
    uint64_t n;
    seen_in = batchmill_input(call, self->x, 0, 1, &n);
    seen_out = batchmill_output(call, self->y, 0, 1, &n);
    return BATCHMILL_RESULT_OK;
}

static void output_lies_on_input_only_for_those_that_say_so(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_hook.open = open_change;
    plugin_hook.run = run_look;
    plugin_fixture_add(fixture, 0);
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_OK);
    assert_ptr_not_equal(seen_in, seen_out);
    action_fixture_fini(fixture);
    action_fixture_init(fixture);
    action_fixture_give(3, &(struct given){"x", BM_FLOAT32, .ndim = 1, .shape = {2}, numbers}, 1);
    plugin_fixture_add(fixture, BATCHMILL_IN_PLACE);
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_OK);
    assert_ptr_equal(seen_in, seen_out);
}

static bool open_parameters(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    assert_int_equal(batchmill_param_count(setup, "text"), 1);
    assert_int_equal(batchmill_param_integer(setup, "integer", 0), 4);
    assert_true(batchmill_param_number(setup, "integer", 0) == 4);
    assert_true(batchmill_param_number(setup, "number", 0) == 0.5);
    assert_int_equal(batchmill_param_integer(setup, "flag", 0), 1);
    assert_string_equal(batchmill_param_text(setup, "text", 0), "hello");
    assert_int_equal(batchmill_param_integer(setup, "dtype", 0), BATCHMILL_INT16);
    assert_string_equal(batchmill_param_text(setup, "dtype", 0), "int16");
    assert_int_equal(batchmill_param_integer(setup, "colour", 0), 1);
    assert_string_equal(batchmill_param_text(setup, "colour", 0), "green");
    assert_int_equal(batchmill_param_integer(setup, "size", 0), 2048);
    assert_int_equal(batchmill_param_count(setup, "integers"), 2);
    assert_int_equal(batchmill_param_integer(setup, "integers", 1), -8);
    assert_true(batchmill_param_number(setup, "numbers", 0) == 1.5);
    assert_string_equal(batchmill_param_text(setup, "names", 1), "b");
    assert_int_equal(batchmill_param_count(setup, "texts"), 0);
    assert_string_equal(setup->type, "hook");
    assert_null(setup->directory);
    return batchmill_keep_all(setup);
}

static void parameters_of_all_kinds_arrive(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = open_parameters;
    plugin_hook.run = plugin_run_nothing;
    assert_int_equal(
        action_fixture_build(fixture, "[hook: {integer: 4, flag: true, text: hello, dtype: int16, "
                                      "colour: green, integers: [7, -8], numbers: 1.5, "
                                      "names: [a, b]}]"),
        BM_OK);
    action_fixture_refuses(fixture, "[hook: {integer: 12}]", "hook.integer", "from 0 to 9");
    action_fixture_refuses(fixture, "[hook: {bogus: 1}]", "hook.bogus", "expected one of");
}

static bool open_nothing_given(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    assert_null(batchmill_param_text(setup, "text", 0));
    assert_null(batchmill_param_text(setup, "dtype", 0));
    assert_int_equal(batchmill_param_count(setup, "text"), 0);
    assert_int_equal(batchmill_param_count(setup, "dtype"), 0);
    assert_string_equal(batchmill_param_text(setup, "colour", 0), "red");
    return batchmill_keep_all(setup);
}

static void parameters_have_their_defaults(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = open_nothing_given;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
}

// ---- What open() does wrong ----

static bool open_asks_for_more(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    batchmill_keep_all(setup);
    assert_int_equal(batchmill_param_integer(setup, "nowhere", 0), 0);
    return true;
}
static bool open_asks_for_another_kind(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    batchmill_keep_all(setup);
    assert_null(batchmill_param_text(setup, "integer", 0));
    assert_true(batchmill_param_number(setup, "nowhere", 0) == 0);
    return true;
}
static bool open_asks_beyond_a_list(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    batchmill_keep_all(setup);
    assert_int_equal(batchmill_param_integer(setup, "integers", 0), 0);
    return true;
}
static bool open_keeps_what_is_not_there(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    assert_false(batchmill_keep(setup, 2, NULL));
    return true;
}
static bool open_writes_without_name(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    struct batchmill_component none = {.dtype = BATCHMILL_INT8};
    assert_int_equal(batchmill_write(setup, &none, -1), -1);
    return true;
}
static bool open_writes_lengths_per_item(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    struct batchmill_component text = {.name = "t", .dtype = BATCHMILL_STRING, .ragged = true};
    batchmill_write(setup, &text, -1);
    return true;
}
static bool open_announces_items(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    batchmill_items(setup, 1, "id", 2);
    return batchmill_keep_all(setup);
}
static bool open_is_mute(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)setup, (void)self;
    return false;
}
static bool open_refuses(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    batchmill_refuse(setup, "expected an even number, got %d", 3);
    return batchmill_refuse(setup, "the second reason is not told");
}

static void what_open_does_wrong_refuses_the_pipeline(void **state)
{
    static const struct {
        bool (*open)(struct batchmill_setup *setup, struct plugin_self *self);
        const char *text;
    } wrongs[] = {
        {open_asks_for_more, "a parameter \"nowhere\" that it did not declare"},
        {open_asks_for_another_kind, "parameter \"integer\" as a text"},
        {open_asks_beyond_a_list, "element 0 of the 0 in \"integers\""},
        {open_keeps_what_is_not_there, "takes component 2 of the 2"},
        {open_writes_without_name, "a component without a name"},
        {open_writes_lengths_per_item, "lengths of its own, per item"},
        {open_announces_items, "is for sources"},
        {open_is_mute, "refused without saying why"},
        {open_refuses, "expected an even number, got 3"},
    };
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    for (unsigned i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        plugin_hook.open = wrongs[i].open;
        refuses(fixture, "[hook]", wrongs[i].text);
        assert_int_equal(plugin_hook.nopened, plugin_hook.nclosed);
    }
}

static void a_component_that_is_not_there_is_named_where_it_was_written(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = plugin_open_new;
    action_fixture_refuses(fixture, "[hook: {component: z}]", "hook.component",
                           "expected one of the components (x, tail), got \"z\"");
}

static bool open_reshape(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    const uint64_t shape[] = {1, 2};
    const struct batchmill_component as = {
        .name = "z", .dtype = BATCHMILL_FLOAT32, .ndim = 2, .shape = shape};
    assert_int_equal(batchmill_find(setup, "nothing"), -1);
    return batchmill_keep(setup, batchmill_find(setup, "x"), &as);
}

static void components_are_kept_under_another_name_and_shape_or_left_out(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = open_reshape;
    plugin_hook.run = plugin_run_nothing;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    assert_int_equal(bm_pipeline_schema(fixture->pipeline)->ncomponents, 1);
    assert_int_equal(action_fixture_component(fixture, "z")->ndim, 2);
    assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_OK);
    assert_memory_equal(action_fixture_values(fixture, "z"), numbers, sizeof numbers);
}

// ---- What run() does wrong ----

static uint64_t elements;
static enum batchmill_result run_reads_another_component(struct batchmill_call *call)
{
    assert_null(batchmill_input(call, 7, call->first, 1, &elements));
    return BATCHMILL_RESULT_OK;
}
static enum batchmill_result run_writes_what_it_keeps(struct batchmill_call *call)
{
    assert_null(batchmill_output(call, 0, call->first, 1, &elements));
    return BATCHMILL_RESULT_OK;
}
static enum batchmill_result run_reads_beyond(struct batchmill_call *call)
{
    assert_null(batchmill_input(call, 0, call->first, call->count + 1, &elements));
    assert_null(batchmill_input(call, 0, 1, UINT64_MAX, &elements));
    return BATCHMILL_RESULT_OK;
}
static enum batchmill_result run_draws(struct batchmill_call *call)
{
    struct batchmill_random random = batchmill_random(call, 0);
    batchmill_random_u64(&random);
    return BATCHMILL_RESULT_OK;
}
static enum batchmill_result run_sleeps(struct batchmill_call *call)
{
    return batchmill_sleep(call, 1);
}
static enum batchmill_result run_drops_odd(struct batchmill_call *call)
{
    for (uint64_t item = call->first; item < call->first + call->count; item++) {
        if (call->items[item] % 2 == 1)
            batchmill_drop(call, item);
    }
    return BATCHMILL_RESULT_OK;
}
static enum batchmill_result run_drops_beyond(struct batchmill_call *call)
{
    batchmill_drop(call, call->first + call->count);
    return BATCHMILL_RESULT_OK;
}
static enum batchmill_result run_is_pending(struct batchmill_call *call)
{
    (void)call;
    return BATCHMILL_RESULT_PENDING;
}
static enum batchmill_result run_returns_nonsense(struct batchmill_call *call)
{
    (void)call;
    return (enum batchmill_result)17;
}
static enum batchmill_result run_gives_lengths(struct batchmill_call *call)
{
    const uint64_t lengths[] = {1, 1, 1};
    batchmill_lengths(call, ((struct plugin_self *)call->self)->y, lengths);
    return BATCHMILL_RESULT_OK;
}

static void what_run_does_wrong_fails_the_batch(void **state)
{
    static const struct {
        enum batchmill_result (*run)(struct batchmill_call *call);
        const char *text;
    } wrongs[] = {
        {run_reads_another_component, "wants component 7 of 2"},
        {run_writes_what_it_keeps, "writes x, which it said that it keeps"},
        {run_reads_beyond, "wants 4 items from 0 on, but was called for 3"},
        {run_draws, "without BATCHMILL_RANDOM"},
        {run_drops_odd, "without BATCHMILL_DROPS"},
        {run_drops_beyond, "leaves out item 3, which is not of the call"},
        {run_sleeps, "waits without BATCHMILL_WAITS"},
        {run_is_pending, "nothing will end it"},
        {run_returns_nonsense, "returned 17"},
        {run_gives_lengths, "gives lengths to y, which has its own"},
    };
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = plugin_open_new;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    for (unsigned i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        plugin_hook.run = wrongs[i].run;
        elements = 99;
        plugin_fixture_fails(fixture, BM_INTERNAL, wrongs[i].text);
        assert_true(elements == 99 || elements == 0);
    }
}

static void a_failure_names_the_item(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = plugin_open_keep;
    plugin_hook.run = plugin_run_fail_at_two;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    plugin_fixture_fails(fixture, BM_UNKNOWN, "no bread today");
    assert_int_equal(fixture->work.failed_item, 2);
    assert_string_equal(fixture->work.error.where, "pipeline test, action 0 (hook), item 2");
}

static enum batchmill_result run_ends(struct batchmill_call *call)
{
    (void)call;
    return BATCHMILL_RESULT_END;
}

static const char *told;
static enum batchmill_result run_tells(struct batchmill_call *call)
{
    return (call->host->fail)(call, -1, told); // cmocka has a macro of that name
}

static void what_a_failure_says_is_made_utf8(void **state)
{
    static const char *const texts[][2] = {
        {"Grüße, 你好, 🙂", "Grüße, 你好, 🙂"},
        {"a\nb\x7f", "a?b?"},
        {"cut \xe4\xbd", "cut ??"},
        {"\xff\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80.", "??????????."},
        {NULL, ""},
    };
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = plugin_open_keep;
    plugin_hook.run = run_tells;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        told = texts[i][0];
        assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_FAIL);
        assert_string_equal(fixture->work.error.text, texts[i][1]);
    }
}

static void an_action_skips_its_batch_or_ends_the_stream(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, BATCHMILL_PER_BATCH);
    plugin_hook.open = plugin_open_keep;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    plugin_hook.run = plugin_run_skip;
    assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_SKIP);
    plugin_hook.run = run_ends;
    assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_END);
}

static void an_action_leaves_items_out(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, BATCHMILL_DROPS);
    plugin_hook.open = plugin_open_keep;
    plugin_hook.run = run_drops_odd;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_OK);
    assert_int_equal(fixture->work.batch.nitems, 2);
    assert_int_equal(fixture->work.batch.items[1], 2);
}

static double drawn[3];
static enum batchmill_result run_draws_each(struct batchmill_call *call)
{
    for (uint64_t item = call->first; item < call->first + call->count; item++) {
        struct batchmill_random random = batchmill_random(call, item);
        drawn[call->items[item]] =
            batchmill_random_normal(&random) + batchmill_random_uniform(&random) +
            (double)batchmill_random_below(&random, 10) + (double)batchmill_random_u64(&random);
        assert_int_equal(batchmill_random_below(&random, 0), 0);
    }
    return BATCHMILL_RESULT_OK;
}

static void random_numbers_are_those_of_the_engine(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, BATCHMILL_RANDOM);
    plugin_hook.open = plugin_open_keep;
    plugin_hook.run = run_draws_each;
    fixture->seed = 5;
    assert_int_equal(action_fixture_build(fixture, "[noop, hook]"), BM_OK);
    assert_int_equal(action_fixture_run(fixture, 2, 1), BM_RESULT_OK); // item 2 alone
    struct bm_random random;
    bm_random_init(&random, 5, 0, 2, 1);
    double expected = bm_random_normal(&random) + bm_random_uniform(&random) +
                      (double)bm_random_below(&random, 10) + (double)bm_random_u64(&random);
    assert_true(drawn[2] == expected);
}

// ---- Ragged components ----

static bool open_ragged(struct batchmill_setup *setup, struct plugin_self *self)
{
    struct batchmill_component text = {.name = "text", .dtype = BATCHMILL_STRING, .ragged = true};
    struct batchmill_component tail;
    self->x = batchmill_find(setup, "tail");
    batchmill_component(setup, self->x, &tail);
    assert_true(tail.ragged);
    batchmill_write(setup, &tail, self->x);
    self->y = batchmill_write(setup, &text, -1);
    return true;
}

static enum batchmill_result run_ragged(struct batchmill_call *call)
{
    const struct plugin_self *self = call->self;
    const uint64_t *offsets = batchmill_offsets(call, self->x);
    uint64_t lengths[3], n;
    assert_null(batchmill_offsets(call, 0)); // x is dense
    for (unsigned i = 0; i < 3; i++)
        lengths[i] = 2 * (offsets[i + 1] - offsets[i]);
    assert_true(batchmill_lengths(call, self->y, lengths));
    char *text = batchmill_output(call, self->y, 0, 3, &n);
    assert_int_equal(n, 8);
    memcpy(text, "abcdefgh", n);
    int64_t *tail = batchmill_output(call, 0, 0, 3, &n);
    for (uint64_t i = 0; i < n; i++)
        tail[i] = -(int64_t)i;
    return BATCHMILL_RESULT_OK;
}

static void ragged_components_have_lengths_of_their_own_or_keep_them(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, BATCHMILL_PER_BATCH);
    plugin_hook.open = open_ragged;
    plugin_hook.run = run_ragged;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_OK);
    const uint64_t expected[] = {0, 2, 2, 8};
    assert_memory_equal(fixture->work.batch.tensors[1].offsets, expected, sizeof expected);
    assert_memory_equal(action_fixture_values(fixture, "text"), "abcdefgh", 8);
    const int64_t *tail = action_fixture_values(fixture, "tail");
    assert_int_equal(tail[3], -3);
}

static enum batchmill_result run_without_lengths(struct batchmill_call *call)
{
    batchmill_output(call, ((struct plugin_self *)call->self)->y, 0, 3, &elements);
    return BATCHMILL_RESULT_OK;
}
static enum batchmill_result run_with_endless_lengths(struct batchmill_call *call)
{
    const uint64_t lengths[] = {UINT64_MAX / 2, UINT64_MAX / 2, 9};
    assert_false(batchmill_lengths(call, ((struct plugin_self *)call->self)->y, lengths));
    return BATCHMILL_RESULT_OK;
}

static void ragged_components_without_sensible_lengths_fail(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, BATCHMILL_PER_BATCH);
    plugin_hook.open = open_ragged;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    plugin_hook.run = run_without_lengths;
    plugin_fixture_fails(fixture, BM_INTERNAL, "without having called batchmill_lengths()");
    plugin_hook.run = run_with_endless_lengths;
    plugin_fixture_fails(fixture, BM_RESOURCE_EXHAUSTED, "more rows than can be");
}

// ---- Variables ----

static void hook_merge(const void *self, void *state, const void *update)
{
    (void)self;
    *(int64_t *)state += *(const int64_t *)update;
}

static void hook_report(const void *self, const void *state, struct batchmill_number *ret_numbers)
{
    snprintf(ret_numbers[0].name, sizeof ret_numbers[0].name, "x%d.sum",
             ((const struct plugin_self *)self)->x);
    ret_numbers[0].integer = *(const int64_t *)state;
    snprintf(ret_numbers[1].name, sizeof ret_numbers[1].name, "half");
    ret_numbers[1].real = true;
    ret_numbers[1].number = (double)*(const int64_t *)state / 2;
}

static enum batchmill_result run_count(struct batchmill_call *call)
{
    *(int64_t *)call->update += (int64_t)call->count;
    return BATCHMILL_RESULT_OK;
}

static void variables_are_merged_and_reported(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_hook_type.variable_size = sizeof(int64_t);
    plugin_hook_type.merge = hook_merge;
    plugin_hook_type.report = hook_report;
    plugin_hook_type.nnumbers = 2;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = plugin_open_new;
    plugin_hook.run = run_count;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    struct bm_variables *variables = NULL;
    assert_int_equal(bm_variables_new(fixture->pipeline, &variables, &fixture->error), BM_OK);
    for (uint64_t seq = 0; seq < 2; seq++) { // of 2 items and of 1
        assert_int_equal(action_fixture_run(fixture, 2, seq), BM_RESULT_OK);
        bm_variables_merge(variables, &fixture->work);
    }
    struct bm_number got[2];
    assert_int_equal(bm_variables_count(variables), 2);
    bm_variables_report(variables, got);
    assert_string_equal(got[0].name, "x0.sum");
    assert_int_equal(got[0].integer, 3);
    assert_string_equal(got[1].name, "half");
    assert_true(got[1].kind == BM_NUMBER_FLOAT && got[1].real == 1.5);
    bm_variables_free(variables);
}

// ---- Waiting ----

static struct batchmill_call *lasting;
static enum batchmill_result run_defer(struct batchmill_call *call)
{
    lasting = batchmill_defer(call);
    assert_non_null(lasting);
    return BATCHMILL_RESULT_PENDING;
}

static struct late {
    struct bm_call_host host;
    struct bm_deferred deferred;
    enum bm_result result;
    unsigned nfinished;
} late;

static struct bm_deferred *late_defer(struct bm_call_host *host)
{
    (void)host;
    return &late.deferred;
}

static void late_finish(struct bm_deferred *deferred, enum bm_result result)
{
    (void)deferred;
    late.result = result;
    late.nfinished++;
}

// The batch with all its items up to where the hook, the only action, waits.
static void run_until_deferred(struct action_fixture *fixture)
{
    const struct bm_order_params order_params = {
        .batch_size = 3, .n_epochs = 1, .n_iters = BM_ORDER_UNSET, .shard_count = 1};
    struct bm_order order;
    late = (struct late){.host = {.defer = late_defer}, .deferred = {.finish = late_finish}};
    bm_work_fini(&fixture->work);
    assert_int_equal(bm_order_init(&order, &order_params, 3, &fixture->error), BM_OK);
    assert_int_equal(bm_work_init(&fixture->work, fixture->pipeline, &order, 0, &fixture->error),
                     BM_OK);
    fixture->work.host = &late.host;
    assert_int_equal(bm_work_step(&fixture->work, 0), BM_RESULT_OK);
    assert_int_equal(bm_work_step(&fixture->work, 1), BM_RESULT_PENDING);
    assert_int_equal(late.nfinished, 0);
}

static void a_deferred_call_lasts_until_it_is_finished(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, BATCHMILL_PER_BATCH | BATCHMILL_WAITS);
    plugin_hook.open = plugin_open_new;
    plugin_hook.run = run_defer;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    run_until_deferred(fixture);
    assert_int_equal(run_add_ten(lasting), BATCHMILL_RESULT_OK);
    batchmill_finish(lasting, BATCHMILL_RESULT_OK);
    assert_int_equal(late.nfinished, 1);
    assert_int_equal(bm_work_resume(&fixture->work, 1, late.result), BM_RESULT_OK);
    assert_true(((const float *)action_fixture_values(fixture, "y"))[5] == 16);
}

static void a_deferred_call_fails_at_an_item(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, BATCHMILL_PER_BATCH | BATCHMILL_WAITS);
    plugin_hook.open = plugin_open_new;
    plugin_hook.run = run_defer;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    run_until_deferred(fixture);
    batchmill_finish(lasting, batchmill_fail(lasting, 1, "too late"));
    assert_int_equal(late.result, BM_RESULT_FAIL);
    assert_int_equal(bm_work_resume(&fixture->work, 1, late.result), BM_RESULT_FAIL);
    assert_string_equal(fixture->work.error.where, "pipeline test, action 0 (hook), item 1");
    assert_string_equal(fixture->work.error.text, "too late");
    run_until_deferred(fixture);
    batchmill_finish(lasting, BATCHMILL_RESULT_PENDING);
    assert_int_equal(bm_work_resume(&fixture->work, 1, late.result), BM_RESULT_FAIL);
    assert_non_null(strstr(fixture->work.error.text, "nothing will end it"));
}

static enum batchmill_result run_sleep_twice(struct batchmill_call *call)
{
    assert_int_equal(batchmill_sleep(call, 5), BATCHMILL_RESULT_PENDING);
    return batchmill_sleep(call, 5);
}

static void an_action_sleeps_without_a_worker_once(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, BATCHMILL_PER_BATCH | BATCHMILL_WAITS);
    plugin_hook.open = plugin_open_keep;
    plugin_hook.run = run_sleeps;
    assert_int_equal(action_fixture_build(fixture, "[hook]"), BM_OK);
    assert_int_equal(action_fixture_run(fixture, 3, 0), BM_RESULT_OK);
    assert_int_equal(fixture->slept_ns, 1);
    plugin_hook.run = run_sleep_twice;
    plugin_fixture_fails(fixture, BM_INTERNAL, "waits twice");
}

int main(void)
{
#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, plugin_fixture_setup, plugin_fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_action_computes_a_new_component),
        TEST(output_lies_on_input_only_for_those_that_say_so),
        TEST(parameters_of_all_kinds_arrive),
        TEST(parameters_have_their_defaults),
        TEST(what_open_does_wrong_refuses_the_pipeline),
        TEST(a_component_that_is_not_there_is_named_where_it_was_written),
        TEST(components_are_kept_under_another_name_and_shape_or_left_out),
        TEST(what_run_does_wrong_fails_the_batch),
        TEST(a_failure_names_the_item),
        TEST(what_a_failure_says_is_made_utf8),
        TEST(an_action_skips_its_batch_or_ends_the_stream),
        TEST(an_action_leaves_items_out),
        TEST(random_numbers_are_those_of_the_engine),
        TEST(ragged_components_have_lengths_of_their_own_or_keep_them),
        TEST(ragged_components_without_sensible_lengths_fail),
        TEST(variables_are_merged_and_reported),
        TEST(a_deferred_call_lasts_until_it_is_finished),
        TEST(a_deferred_call_fails_at_an_item),
        TEST(an_action_sleeps_without_a_worker_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
