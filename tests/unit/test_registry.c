#include "pipeline/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/heap.h"
#include "pipeline/pipeline.h"
#include "support.h"

static struct bm_registry *registry;

static int setup(void **state)
{
    (void)state;
    return bm_registry_new(&registry, NULL) == BM_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    bm_registry_free(registry);
    return 0;
}

static void types_are_found_by_name_and_listed_in_order(void **state)
{
    (void)state;
    static const struct bm_action_type actions[] = {{.name = "scale"}, {.name = "cast"},
                                                    {.name = "noop"},  {.name = "b"},
                                                    {.name = "Z"},     {.name = "a"}};
    static const struct bm_source_type sources[] = {{.name = "npy"}, {.name = "csv"}};
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(bm_registry_add_action(registry, &actions[i], NULL), BM_OK);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(bm_registry_add_source(registry, &sources[i], NULL), BM_OK);
    const char *const sorted[] = {"Z", "a", "b", "cast", "noop", "scale"};
    assert_int_equal(bm_registry_nactions(registry), 6);
    for (unsigned i = 0; i < 6; i++) {
        assert_string_equal(bm_registry_action_at(registry, i)->name, sorted[i]);
        assert_ptr_equal(bm_registry_action(registry, sorted[i]),
                         bm_registry_action_at(registry, i));
    }
    assert_int_equal(bm_registry_nsources(registry), 2);
    assert_string_equal(bm_registry_source_at(registry, 0)->name, "csv");
    assert_ptr_equal(bm_registry_source(registry, "npy"), &sources[0]);
    assert_null(bm_registry_action(registry, "csv")); // a name of the other kind
    assert_null(bm_registry_source(registry, "scale"));
    assert_null(bm_registry_action(registry, "zz"));
    assert_null(bm_registry_action(registry, ""));
}

static void a_name_is_given_once(void **state)
{
    (void)state;
    static const struct bm_action_type first = {.name = "scale"}, second = {.name = "scale"};
    struct bm_error error;
    assert_int_equal(bm_registry_add_action(registry, &first, &error), BM_OK);
    assert_int_equal(bm_registry_add_action(registry, &second, &error), BM_ALREADY_EXISTS);
    assert_string_equal(error.where, "scale");
    assert_ptr_equal(bm_registry_action(registry, "scale"), &first);
    assert_int_equal(bm_registry_nactions(registry), 1);
}

static void types_that_cannot_be_used_are_refused(void **state)
{
    (void)state;
    static const struct bm_action_type bad_name = {.name = "a b"}, reserved = {.name = "use_lock"},
                                       waits = {.name = "w", .waits = true, .form = BM_PER_ITEM};
    assert_int_equal(bm_registry_add_action(registry, &bad_name, NULL), BM_INVALID_ARGUMENT);
    assert_int_equal(bm_registry_add_action(registry, &reserved, NULL), BM_INVALID_ARGUMENT);
    assert_int_equal(bm_registry_add_action(registry, &waits, NULL), BM_INVALID_ARGUMENT);
    assert_int_equal(bm_registry_nactions(registry), 0);
}

static void the_list_for_people_has_forms_sentences_and_parameters(void **state)
{
    (void)state;
    struct scale {
        double factor;
    };
    static const struct bm_param params[] = {
        BM_PARAM(struct scale, factor, BM_PARAM_FLOAT, .fallback = "1",
                 .doc = "multiplies every element"),
    };
    static const struct bm_action_type scale = {
        .name = "scale",
        .doc = "Multiplies, and then adds: y = factor x + offset, in the component's own dtype, "
               "rounded to the nearest where it is an integer.",
        .params = params,
        .nparams = 1,
        .form = BM_PER_ITEM,
        .random = true,
        .stateful = true};
    static const struct bm_action_type wait = {
        .name = "wait", .doc = "Waits.", .form = BM_PER_BATCH, .waits = true};
    static const struct bm_source_type csv = {.name = "csv", .doc = "A table."};
    assert_int_equal(bm_registry_add_action(registry, &wait, NULL), BM_OK);
    assert_int_equal(bm_registry_add_action(registry, &scale, NULL), BM_OK);
    assert_int_equal(bm_registry_add_source(registry, &csv, NULL), BM_OK);
    struct bm_buffer out;
    bm_buffer_init(&out);
    bm_registry_print_actions(registry, &out);
    assert_string_equal(
        bm_buffer_text(&out),
        "scale (per item, random, stateful)\n"
        "  Multiplies, and then adds: y = factor x + offset, in the component's own\n"
        "  dtype, rounded to the nearest where it is an integer.\n"
        "  factor  float, default 1: multiplies every element\n"
        "\n"
        "wait (per batch, waits without a worker)\n"
        "  Waits.\n");
    bm_buffer_clear(&out);
    bm_registry_print_sources(registry, &out);
    assert_string_equal(bm_buffer_text(&out), "csv\n  A table.\n");
    bm_buffer_fini(&out);
}

static void a_sentence_may_fill_80_columns_and_no_more(void **state)
{
    (void)state;
    char doc[160], expected[160];
    struct bm_buffer out;
    bm_buffer_init(&out);
    for (unsigned n = 76; n <= 77; n++) { // two words after an indent of two: 80 or 81 columns
        memset(doc, 'a', n);
        strcpy(doc + n, " b");
        struct bm_source_type type = {.name = "t", .doc = doc};
        struct bm_registry *one;
        assert_int_equal(bm_registry_new(&one, NULL), BM_OK);
        assert_int_equal(bm_registry_add_source(one, &type, NULL), BM_OK);
        bm_buffer_clear(&out);
        bm_registry_print_sources(one, &out);
        snprintf(expected, sizeof expected, "t\n  %.*s%sb\n", (int)n, doc, n == 76 ? " " : "\n  ");
        assert_string_equal(bm_buffer_text(&out), expected);
        bm_registry_free(one);
    }
    bm_buffer_fini(&out);
}

static void out_of_memory_leaves_the_registry_as_it_was(void **state)
{
    (void)state;
    static const struct bm_action_type action = {.name = "a"};
    bm_fake_heap_fail_at(1);
    assert_int_equal(bm_registry_add_action(registry, &action, NULL), BM_RESOURCE_EXHAUSTED);
    struct bm_registry *other;
    bm_fake_heap_fail_at(1);
    assert_int_equal(bm_registry_new(&other, NULL), BM_RESOURCE_EXHAUSTED);
    bm_fake_heap_fail_never();
    assert_int_equal(bm_registry_nactions(registry), 0);
    assert_int_equal(bm_registry_add_action(registry, &action, NULL), BM_OK);
    bm_registry_free(NULL);
}

// ---- Opening sources ----

struct counter {
    struct bm_source base;
    char *directory;
};

struct counter_config {
    int64_t n;
    char *path;
};

static const struct bm_param counter_params[] = {
    BM_PARAM(struct counter_config, n, BM_PARAM_INTEGER, .fallback = "3", .doc = "how many"),
    BM_PARAM(struct counter_config, path, BM_PARAM_TEXT, .doc = "a file"),
};
static unsigned nclosed;
static const struct bm_source_type counter_type;

static enum bm_status counter_open(const void *config_, const char *directory, const char *where,
                                   struct bm_source **ret_source, struct bm_error *err)
{
    const struct counter_config *config = config_;
    if (config->n < 0) // one error with a place of its own, one without
        return bm_fail(err, BM_INVALID_ARGUMENT, config->n == -1 ? "data.bin: row 7" : NULL,
                       "no data");
    struct counter *counter = calloc(1, sizeof *counter);
    if (counter == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    counter->base.type = &counter_type;
    counter->base.nitems = (uint64_t)config->n;
    counter->directory = bm_source_path(directory, config->path == NULL ? "none" : config->path);
    *ret_source = &counter->base;
    return BM_OK;
}

static void counter_close(struct bm_source *source)
{
    free(((struct counter *)source)->directory);
    free(source);
    nclosed++;
}

static const struct bm_source_type counter_type = {.name = "counter",
                                                   .params = counter_params,
                                                   .nparams = 2,
                                                   .config_bytes = sizeof(struct counter_config),
                                                   .open = counter_open,
                                                   .close = counter_close};
static const struct bm_source_type other_type = {.name = "apples"};

static int setup_sources(void **state)
{
    setup(state);
    assert_int_equal(bm_registry_add_source(registry, &counter_type, NULL), BM_OK);
    assert_int_equal(bm_registry_add_source(registry, &other_type, NULL), BM_OK);
    nclosed = 0;
    return 0;
}

// {key: {name: text}}, or only a text.
static struct bm_value *definition(const char *key, const char *name, const char *text)
{
    struct bm_value *map = bm_value_new(BM_VALUE_MAP, "f:1: sources.data");
    struct bm_value *params = bm_value_new(BM_VALUE_MAP, "f:2: sources.data.counter");
    assert_true(bm_value_append(map, key, params));
    if (name != NULL)
        assert_true(bm_value_append(params, name,
                                    bm_value_new_scalar(text, false, "f:3: sources.data.x.n")));
    return map;
}

static void a_source_is_closed_with_its_last_user(void **state)
{
    (void)state;
    struct bm_source_ref *source;
    struct bm_value *value = definition("counter", "n", "12");
    assert_int_equal(bm_source_open(registry, "data", value, "/etc", &source, NULL), BM_OK);
    bm_value_free(value);
    assert_string_equal(bm_source_name(source), "data");
    assert_int_equal(bm_source_get(source)->nitems, 12);
    assert_string_equal(((const struct counter *)bm_source_get(source))->directory, "/etc/none");
    bm_source_ref(source);
    bm_source_ref(source);
    assert_null(bm_source_unref(source));
    assert_null(bm_source_unref(source));
    assert_int_equal(nclosed, 0);
    assert_null(bm_source_unref(source));
    assert_int_equal(nclosed, 1);
    assert_null(bm_source_unref(NULL));
}

static void a_type_alone_takes_its_defaults(void **state)
{
    (void)state;
    struct bm_source_ref *source;
    struct bm_value *value = bm_value_new_scalar("counter", false, "f:1: sources.data");
    assert_int_equal(bm_source_open(registry, "data", value, ".", &source, NULL), BM_OK);
    assert_int_equal(bm_source_get(source)->nitems, 3);
    bm_source_unref(source);
    bm_value_free(value);
}

static void refused(struct bm_value *value, const char *name, enum bm_status status,
                    const char *where, const char *text)
{
    struct bm_source_ref *source;
    struct bm_error error;
    assert_int_equal(bm_source_open(registry, name, value, ".", &source, &error), status);
    assert_string_equal(error.where, where);
    assert_string_equal(error.text, text);
    bm_value_free(value);
}

static void a_bad_definition_says_where_and_what_was_expected(void **state)
{
    (void)state;
    refused(definition("orange", NULL, NULL), "data", BM_NOT_FOUND, "f:2: sources.data.counter",
            "expected one of the source types (apples, counter), got \"orange\"");
    refused(definition("counter", "m", "1"), "data", BM_INVALID_ARGUMENT, "f:3: sources.data.x.n",
            "expected one of n, path, got \"m\"");
    refused(definition("counter", "n", "-1"), "data", BM_INVALID_ARGUMENT, "data.bin: row 7",
            "no data");
    refused(definition("counter", "n", "-2"), "data", BM_INVALID_ARGUMENT,
            "f:2: sources.data.counter", "no data");
    refused(definition("counter", NULL, NULL), "a b", BM_INVALID_ARGUMENT, "f:1: sources.data",
            "expected a name of 1 to 128 of the characters A-Z a-z 0-9 . _ -, got \"a b\"");
    const char *shape = "expected one source type with its parameters, as in "
                        "{csv: {path: data.csv}}, got ";
    char text[160];
    snprintf(text, sizeof text, "%s%s", shape, "7");
    refused(bm_value_new_scalar("7", false, "f:1: sources.data"), "data", BM_INVALID_ARGUMENT,
            "f:1: sources.data", text);
    snprintf(text, sizeof text, "%s%s", shape, "2 keys");
    struct bm_value *two = definition("counter", NULL, NULL);
    assert_true(bm_value_append(two, "apples", bm_value_new(BM_VALUE_MAP, "f:4: sources.data.a")));
    refused(two, "data", BM_INVALID_ARGUMENT, "f:1: sources.data", text);
}

static void relative_paths_are_meant_from_the_directory(void **state)
{
    (void)state;
    const char *const cases[][3] = {
        {"/etc", "a/b.csv", "/etc/a/b.csv"},
        {"..", "b.csv", "../b.csv"},
        {"/etc", "/b.csv", "/b.csv"},
        {"", "b.csv", "b.csv"},
        {NULL, "b.csv", "b.csv"},
    };
    for (unsigned i = 0; i < 5; i++) {
        char *path = bm_source_path(cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        free(path);
    }
}

static void out_of_memory_opens_nothing(void **state)
{
    (void)state;
    struct bm_value *value = definition("counter", "path", "a.bin");
    bool failed;
    uint64_t n = 0;
    do {
        struct bm_source_ref *source = NULL;
        bm_fake_heap_fail_at(++n);
        enum bm_status status = bm_source_open(registry, "data", value, NULL, &source, NULL);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        if (status == BM_OK)
            bm_source_unref(source);
        else
            assert_int_equal(status, BM_RESOURCE_EXHAUSTED);
        assert_true(failed || status == BM_OK);
    } while (failed);
    assert_true(n > 5);
    bm_value_free(value);
}

#define SOURCES(name) cmocka_unit_test_setup_teardown(name, setup_sources, teardown)
#define TYPES(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TYPES(types_are_found_by_name_and_listed_in_order),
        TYPES(a_name_is_given_once),
        TYPES(types_that_cannot_be_used_are_refused),
        TYPES(the_list_for_people_has_forms_sentences_and_parameters),
        TYPES(a_sentence_may_fill_80_columns_and_no_more),
        TYPES(out_of_memory_leaves_the_registry_as_it_was),
        SOURCES(a_source_is_closed_with_its_last_user),
        SOURCES(a_type_alone_takes_its_defaults),
        SOURCES(a_bad_definition_says_where_and_what_was_expected),
        SOURCES(relative_paths_are_meant_from_the_directory),
        SOURCES(out_of_memory_opens_nothing),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
