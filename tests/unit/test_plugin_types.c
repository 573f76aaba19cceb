#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "fakes/fake_types.h"
#include "fakes/heap.h"
#include "fakes/plugin_fixture.h"
#include "support.h"

static const float numbers[] = {1, 2, 3, 4, 5, 6};

static uint64_t elements;

// ---- Sources ----

static bool open_feed(struct batchmill_setup *setup, struct plugin_self *self)
{
    const uint64_t three = 3;
    const struct batchmill_component x = {
        .name = "x", .dtype = BATCHMILL_INT64, .ndim = 1, .shape = &three};
    const struct batchmill_component s = {.name = "s", .dtype = BATCHMILL_BYTES, .ragged = true};
    assert_int_equal(setup->ncomponents, 0);
    assert_non_null(setup->directory);
    self->x = batchmill_write(setup, &x, -1);
    self->y = batchmill_write(setup, &s, -1);
    return batchmill_items(setup, 5, "data of the test", 16);
}

static enum batchmill_result read_feed(struct batchmill_call *call)
{
    const struct plugin_self *self = call->self;
    uint64_t lengths[5], n;
    for (uint64_t i = 0; i < call->nitems; i++) {
        int64_t *x = batchmill_output(call, self->x, i, 1, &n);
        assert_int_equal(n, 3);
        x[0] = x[1] = x[2] = (int64_t)call->items[i];
        lengths[i] = call->items[i];
    }
    batchmill_lengths(call, self->y, lengths);
    char *text = batchmill_output(call, self->y, 0, call->nitems, &n);
    memset(text, 's', n);
    return BATCHMILL_RESULT_OK;
}

static void a_source_announces_and_reads_its_items(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = open_feed;
    plugin_hook.run = read_feed;
    assert_int_equal(action_fixture_build_on(fixture, "{feed: {}}", "[]"), BM_OK);
    assert_int_equal(bm_pipeline_source(fixture->pipeline)->nitems, 5);
    assert_true(bm_pipeline_source(fixture->pipeline)->identity ==
                bm_hash_bytes("data of the test", 16));
    assert_int_equal(action_fixture_run(fixture, 3, 1), BM_RESULT_OK); // items 3 and 4
    const int64_t *x = action_fixture_values(fixture, "x");
    assert_int_equal(x[5], 4);
    assert_memory_equal(action_fixture_values(fixture, "s"), "sssssss", 7);
}

static enum batchmill_result read_reads(struct batchmill_call *call)
{
    assert_null(batchmill_input(call, 0, 0, 1, &elements));
    return BATCHMILL_RESULT_OK;
}

static void a_source_fails_in_its_place(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = open_feed;
    assert_int_equal(action_fixture_build_on(fixture, "{feed: {}}", "[]"), BM_OK);
    plugin_hook.run = plugin_run_fail_at_two;
    plugin_fixture_fails(fixture, BM_UNKNOWN, "no bread today");
    assert_string_equal(fixture->work.error.where, "pipeline test, reading, item 2");
    plugin_hook.run = plugin_run_skip;
    plugin_fixture_fails(fixture, BM_INTERNAL, "it returned 1 from read()");
    plugin_hook.run = read_reads;
    plugin_fixture_fails(fixture, BM_INTERNAL, "nothing comes into a source");
    plugin_hook.run = plugin_run_nothing;
    plugin_fixture_fails(fixture, BM_INTERNAL, "was announced, but not given any rows");
}

static bool open_feed_without_items(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)setup, (void)self;
    return true;
}
static bool open_feed_without_identity(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    return batchmill_items(setup, 5, "", 0);
}
static bool open_feed_twice_the_same(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    const struct batchmill_component x = {.name = "x", .dtype = BATCHMILL_INT64};
    batchmill_write(setup, &x, -1);
    assert_int_equal(batchmill_write(setup, &x, -1), -1);
    return batchmill_items(setup, 5, "id", 2);
}
static bool open_feed_keeps(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    assert_false(batchmill_keep_all(setup));
    return true;
}

static void what_a_source_does_wrong_refuses_it(void **state)
{
    static const struct {
        bool (*open)(struct batchmill_setup *setup, struct plugin_self *self);
        const char *text;
    } wrongs[] = {
        {open_feed_without_items, "did not call batchmill_items()"},
        {open_feed_without_identity, "without what identifies the data"},
        {open_feed_twice_the_same, "x: "},
        {open_feed_keeps, "nothing comes into a source"},
    };
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    for (unsigned i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        struct bm_source_ref *source = NULL;
        struct bm_value *definition = fake_types_value("{feed: {}}");
        plugin_hook.open = wrongs[i].open;
        assert_int_not_equal(
            bm_source_open(fixture->registry, "s", definition, ".", &source, &fixture->error),
            BM_OK);
        if (strstr(fixture->error.text, wrongs[i].text) == NULL)
            fail_msg("expected \"%s\", got \"%s\"", wrongs[i].text, fixture->error.text);
        bm_value_free(definition);
        assert_int_equal(plugin_hook.nopened, plugin_hook.nclosed);
    }
}

static bool open_labels(struct batchmill_setup *setup, struct plugin_self *self)
{
    static const char *const names[] = {"cat", "dog", "Kükenküche"};
    const struct batchmill_component label = {.name = "label", .dtype = BATCHMILL_INT8};
    self->x = batchmill_write(setup, &label, -1);
    self->y = self->x;
    batchmill_names(setup, self->x, names, 2);
    batchmill_names(setup, self->x, names, 3); // the last ones count
    return setup->ncomponents > 0 || batchmill_items(setup, 5, "labels", 6);
}

static bool open_reads_labels(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    assert_string_equal(batchmill_name(setup, 0, 1), "dog");
    assert_string_equal(batchmill_name(setup, 0, 2), "Kükenküche");
    assert_null(batchmill_name(setup, 0, 3));
    assert_null(batchmill_name(setup, 1, 0));
    return batchmill_keep_all(setup);
}

static bool open_renames_labels(struct batchmill_setup *setup, struct plugin_self *self)
{
    (void)self;
    const struct batchmill_component as = {.name = "class", .dtype = BATCHMILL_INT8};
    return batchmill_keep(setup, 0, &as);
}

static bool open_labels_alike(struct batchmill_setup *setup, struct plugin_self *self)
{
    static const char *const names[] = {"cat", "cat"};
    open_labels(setup, self);
    return batchmill_names(setup, self->x, names, 2);
}

static bool open_labels_bytes(struct batchmill_setup *setup, struct plugin_self *self)
{
    static const char *const names[] = {"\xff"};
    open_labels(setup, self);
    return batchmill_names(setup, self->x, names, 1);
}

static bool open_labels_floats(struct batchmill_setup *setup, struct plugin_self *self)
{
    static const char *const names[] = {"a"};
    const struct batchmill_component x = {.name = "x", .dtype = BATCHMILL_FLOAT32};
    return batchmill_names(setup, batchmill_write(setup, &x, -1), names, 1) && self != NULL;
}

static void integers_have_names(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = open_labels;
    struct bm_source_ref *source = fake_types_source(fixture->registry, "{feed: {}}");
    const struct bm_component *label = &bm_source_get(source)->schema.components[0];
    assert_int_equal(bm_vocabulary_count(label->vocabulary), 3);
    struct bm_value *actions = fake_types_value("[hook]");
    static const struct {
        bool (*open)(struct batchmill_setup *setup, struct plugin_self *self);
        const char *text;
    } cases[] = {
        {open_reads_labels, NULL},
        {open_labels, NULL},
        {open_renames_labels, NULL},
        {open_labels_alike, "names 0 and 1 are alike: \"cat\""},
        {open_labels_bytes, "name 0 is not UTF-8"},
        {open_labels_floats, "what is no written integer component"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bm_pipeline *pipeline = NULL;
        plugin_hook.open = cases[i].open;
        enum bm_status status =
            bm_pipeline_new(fixture->registry, "test", source, actions, &pipeline, &fixture->error);
        assert_int_equal(status == BM_OK, cases[i].text == NULL);
        if (cases[i].text != NULL)
            assert_non_null(strstr(fixture->error.text, cases[i].text));
        else
            assert_int_equal(
                bm_vocabulary_count(bm_pipeline_schema(pipeline)->components[0].vocabulary), 3);
        bm_pipeline_unref(pipeline);
    }
    bm_value_free(actions);
    bm_source_unref(source);
}

// ---- The layout, on which plug-ins rely that were built long ago ----

static void the_layout_of_abi_1_does_not_change(void **state)
{
    (void)state;
    static const struct {
        size_t is, was;
    } numbers_of_1[] = {
        {sizeof(struct batchmill_component), 32},
        {sizeof(struct batchmill_param), 56},
        {sizeof(struct batchmill_setup), 40},
        {sizeof(struct batchmill_call), 112},
        {sizeof(struct batchmill_random), 72},
        {sizeof(struct batchmill_number), 152},
        {sizeof(struct batchmill_action_type), 96},
        {sizeof(struct batchmill_source_type), 64},
        {sizeof(struct batchmill_plugin), 56},
        {offsetof(struct batchmill_host, param_count), 24},
        {offsetof(struct batchmill_host, component), 80},
        {offsetof(struct batchmill_host, write), 104},
        {offsetof(struct batchmill_host, items), 128},
        {offsetof(struct batchmill_host, input), 136},
        {offsetof(struct batchmill_host, lengths), 160},
        {offsetof(struct batchmill_host, fail), 168},
        {offsetof(struct batchmill_host, drop), 176},
        {offsetof(struct batchmill_host, finish), 200},
        {offsetof(struct batchmill_host, random), 208},
        {offsetof(struct batchmill_host, random_normal), 240},
    };
    for (unsigned i = 0; i < sizeof numbers_of_1 / sizeof numbers_of_1[0]; i++)
        assert_int_equal(numbers_of_1[i].is, numbers_of_1[i].was);
    assert_int_equal(BATCHMILL_PLUGIN_ABI, 1); // a later one may append: then so does this list
}

// ---- Tables ----

static struct batchmill_param one;
static const struct batchmill_param two_alike[] = {
    {.name = "a", .doc = "d", .kind = BATCHMILL_PARAM_BOOL},
    {.name = "a", .doc = "d", .kind = BATCHMILL_PARAM_BOOL},
};

static void give_one(enum batchmill_param_kind kind)
{
    one = (struct batchmill_param){.name = "p", .doc = "d", .kind = kind};
    plugin_hook_type.params = &one;
    plugin_hook_type.nparams = 1;
}
static void an_old_size(void)
{
    plugin_hook_type.size = 8;
}
static void no_name(void)
{
    plugin_hook_type.name = "two words";
}
static void no_doc(void)
{
    plugin_hook_type.doc = NULL;
}
static void no_run(void)
{
    plugin_hook_type.run = NULL;
}
static void strange_flags(void)
{
    plugin_hook_type.flags = 1 << 20;
}
static void waits_per_item(void)
{
    plugin_hook_type.flags = BATCHMILL_WAITS;
}
static void no_merge(void)
{
    plugin_hook_type.variable_size = 8;
}
static void a_builtin_name(void)
{
    plugin_hook_type.name = "noop";
}
static void equal_params(void)
{
    plugin_hook_type.params = two_alike;
    plugin_hook_type.nparams = 2;
}
static void strange_kind(void)
{
    give_one((enum batchmill_param_kind)99);
}
static void range_upside_down(void)
{
    give_one(BATCHMILL_PARAM_FLOAT);
    one.min = 2;
    one.max = 1;
}
static void range_of_nan(void)
{
    give_one(BATCHMILL_PARAM_FLOAT);
    one.min = NAN;
}
static void default_beyond_range(void)
{
    give_one(BATCHMILL_PARAM_INTEGER);
    one.max = 5;
    one.fallback = "6";
}
static void default_of_null(void)
{
    give_one(BATCHMILL_PARAM_NAME);
    one.fallback = "null";
}
static void default_of_list(void)
{
    give_one(BATCHMILL_PARAM_TEXTS);
    one.fallback = "a";
}
static void default_of_required(void)
{
    give_one(BATCHMILL_PARAM_TEXT);
    one.fallback = "a";
    one.required = true;
}
static void no_choices(void)
{
    give_one(BATCHMILL_PARAM_CHOICE);
}
static void undocumented(void)
{
    give_one(BATCHMILL_PARAM_BOOL);
    one.doc = "";
}
static void from_the_future(void)
{
    plugin_tables.abi = BATCHMILL_PLUGIN_ABI + 1;
}
static void without_types(void)
{
    plugin_tables.actions = NULL;
    plugin_tables.sources = NULL;
}
static void of_another_layout(void)
{
    plugin_tables.param_size = 4;
}
static void flagged_source(void)
{
    plugin_feed_type.flags = BATCHMILL_RANDOM;
}
static void no_read(void)
{
    plugin_feed_type.read = NULL;
}

static void bad_tables_are_refused_with_their_place(void **state)
{
    static const struct {
        void (*spoil)(void);
        const char *where, *text;
    } wrongs[] = {
        {an_old_size, "p.so: action hook", "its size"},
        {no_name, "p.so: action two words", "expected a name"},
        {no_doc, "p.so: action hook", "documents"},
        {no_run, "p.so: action hook", "open() and run()"},
        {strange_flags, "p.so: action hook", "batchmill_flag"},
        {waits_per_item, "p.so: action hook", "BATCHMILL_PER_BATCH with"},
        {no_merge, "p.so: action hook", "merge() and report()"},
        {a_builtin_name, "p.so: action noop", "there is an action of this name already"},
        {equal_params, "p.so: action hook", "two parameters"},
        {strange_kind, "p.so: action hook, parameter p", "kind"},
        {range_upside_down, "p.so: action hook, parameter p", "min <= max"},
        {range_of_nan, "p.so: action hook, parameter p", "min <= max"},
        {default_beyond_range, "p.so: action hook, parameter p",
         "its default: expected a whole number from 0 to 5, got 6"},
        {default_of_null, "p.so: action hook, parameter p", "got nothing"},
        {default_of_list, "p.so: action hook, parameter p", "as it is a list"},
        {default_of_required, "p.so: action hook, parameter p", "as it is required"},
        {no_choices, "p.so: action hook, parameter p", "1 to 12 choices"},
        {undocumented, "p.so: action hook, parameter p", "documents"},
        {from_the_future, "p.so", "expected a plug-in of ABI 1 to 1, got one of 2"},
        {without_types, "p.so", "expected 1 to 256 actions or sources"},
        {of_another_layout, "p.so", "not of ABI 1"},
        {flagged_source, "p.so: source feed", "no flags"},
        {no_read, "p.so: source feed", "open() and read()"},
    };
    struct action_fixture *fixture = *state;
    for (unsigned i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        struct bm_plugin plugin;
        plugin_fixture_reset();
        wrongs[i].spoil();
        fixture->error = (struct bm_error){0};
        assert_int_not_equal(bm_plugin_register(fixture->registry, &plugin_tables, 1, "p.so",
                                                &plugin, &fixture->error),
                             BM_OK);
        if (strcmp(fixture->error.where, wrongs[i].where) != 0 ||
            strstr(fixture->error.text, wrongs[i].text) == NULL)
            fail_msg("%u: got \"%s\": \"%s\"", i, fixture->error.where, fixture->error.text);
    }
}

static void a_plugin_is_not_added_twice(void **state)
{
    struct action_fixture *fixture = *state;
    struct bm_plugin plugin;
    plugin_fixture_add(fixture, 0);
    assert_int_equal(
        bm_plugin_register(fixture->registry, &plugin_tables, 1, "q.so", &plugin, &fixture->error),
        BM_ALREADY_EXISTS);
    assert_string_equal(fixture->error.where, "q.so: action hook");
}

// ---- Fingerprints ----

static struct bm_fingerprint fingerprint_with(uint64_t code, const char *source,
                                              const char *actions)
{
    struct action_fixture fixture;
    struct bm_plugin plugin;
    action_fixture_init(&fixture);
    action_fixture_give(3, &(struct given){"x", BM_FLOAT32, .ndim = 1, .shape = {2}, numbers}, 1);
    assert_int_equal(
        bm_plugin_register(fixture.registry, &plugin_tables, code, "p.so", &plugin, &fixture.error),
        BM_OK);
    assert_int_equal(action_fixture_build_on(&fixture, source, actions), BM_OK);
    struct bm_fingerprint parts = bm_pipeline_fingerprint_parts(fixture.pipeline);
    action_fixture_fini(&fixture);
    return parts;
}

static void other_code_is_another_definition_where_it_is_used(void **state)
{
    (void)state;
    plugin_hook.open = plugin_open_new;
    assert_int_equal(fingerprint_with(1, "{given: {}}", "[hook]").definition,
                     fingerprint_with(1, "{given: {}}", "[hook]").definition);
    assert_int_not_equal(fingerprint_with(1, "{given: {}}", "[hook]").definition,
                         fingerprint_with(2, "{given: {}}", "[hook]").definition);
    assert_int_equal(fingerprint_with(1, "{given: {}}", "[noop]").definition,
                     fingerprint_with(2, "{given: {}}", "[noop]").definition);
    plugin_hook.open = open_feed;
    assert_int_not_equal(fingerprint_with(1, "{feed: {}}", "[]").definition,
                         fingerprint_with(2, "{feed: {}}", "[]").definition);
    assert_int_equal(fingerprint_with(1, "{feed: {}}", "[]").data,
                     fingerprint_with(2, "{feed: {}}", "[]").data);
}

// ---- Want of memory ----

static void memory_may_run_out_while_a_pipeline_is_built(void **state)
{
    struct action_fixture *fixture = *state;
    plugin_fixture_add(fixture, 0);
    plugin_hook.open = plugin_open_new;
    bool failed;
    uint64_t n = 0;
    struct bm_source_ref *source = fake_types_source(fixture->registry, "{given: {}}");
    struct bm_value *actions = fake_types_value("[hook: {text: a, names: [b, c]}]");
    do {
        struct bm_pipeline *pipeline = NULL;
        bm_fake_heap_fail_at(++n);
        enum bm_status status =
            bm_pipeline_new(fixture->registry, "test", source, actions, &pipeline, &fixture->error);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status == BM_OK, !failed);
        bm_pipeline_unref(pipeline);
        assert_int_equal(plugin_hook.nopened, plugin_hook.nclosed);
    } while (failed);
    assert_in_range(n, 5, 1000);
    bm_value_free(actions);
    bm_source_unref(source);
}

static void memory_may_run_out_while_a_plugin_is_added(void **state)
{
    (void)state;
    enum bm_status status;
    uint64_t n = 0;
    do {
        struct bm_registry *registry = NULL;
        struct bm_plugin plugin;
        struct bm_error error;
        assert_int_equal(bm_registry_new(&registry, &error), BM_OK);
        bm_fake_heap_fail_at(++n);
        status = bm_plugin_register(registry, &plugin_tables, 1, "p.so", &plugin, &error);
        bm_fake_heap_fail_never();
        assert_true(status == BM_OK || status == BM_RESOURCE_EXHAUSTED);
        bm_registry_free(registry);
    } while (status != BM_OK);
    assert_in_range(n, 5, 1000);
}

int main(void)
{
#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, plugin_fixture_setup, plugin_fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_source_announces_and_reads_its_items),
        TEST(a_source_fails_in_its_place),
        TEST(what_a_source_does_wrong_refuses_it),
        TEST(integers_have_names),
        TEST(the_layout_of_abi_1_does_not_change),
        TEST(bad_tables_are_refused_with_their_place),
        TEST(a_plugin_is_not_added_twice),
        TEST(other_code_is_another_definition_where_it_is_used),
        TEST(memory_may_run_out_while_a_pipeline_is_built),
        TEST(memory_may_run_out_while_a_plugin_is_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
