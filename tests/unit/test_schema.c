// What data/schema.h promises: a schema that was built is sound, and a refusal says why.
#include "data/schema.h"

#include <stdio.h>
#include <string.h>

#include "fakes/heap.h"
#include "support.h"

static struct bm_schema schema;
static struct bm_error error;

static int make_schema(void **state)
{
    (void)state;
    bm_schema_init(&schema);
    error = (struct bm_error){0};
    return 0;
}

static int free_schema(void **state)
{
    (void)state;
    bm_schema_fini(&schema);
    bm_schema_fini(&schema); // an empty one is fine
    return 0;
}

static enum bm_status add(struct bm_component component)
{
    return bm_schema_add(&schema, &component, &error);
}

static void assert_refused(struct bm_component component, const char *where, const char *text)
{
    unsigned before = schema.ncomponents;
    assert_int_equal(add(component), BM_INVALID_ARGUMENT);
    assert_int_equal(error.status, BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, where);
    if (strstr(error.text, text) == NULL)
        fail_msg("expected \"%s\" in \"%s\"", text, error.text);
    assert_int_equal(schema.ncomponents, before);
}

static void assert_prints(const char *expected)
{
    struct bm_buffer out;
    bm_buffer_init(&out);
    bm_schema_print(&schema, &out);
    assert_string_equal(bm_buffer_text(&out), expected);
    bm_buffer_fini(&out);
}

static void add_examples(void)
{
    assert_int_equal(add((struct bm_component){"pixels", BM_FLOAT32, false, 2, {8, 8}, NULL}),
                     BM_OK);
    assert_int_equal(add((struct bm_component){"label", BM_INT64, false, 0, {0}, NULL}), BM_OK);
    assert_int_equal(add((struct bm_component){"words", BM_FLOAT16, true, 2, {99, 3}, NULL}),
                     BM_OK);
    assert_int_equal(add((struct bm_component){"name", BM_STRING, true, 0, {0}, NULL}), BM_OK);
}

static void components_are_found_by_name(void **state)
{
    (void)state;
    assert_int_equal(bm_schema_find(&schema, "pixels"), -1);
    add_examples();
    assert_int_equal(schema.ncomponents, 4);
    assert_int_equal(bm_schema_find(&schema, "pixels"), 0);
    assert_int_equal(bm_schema_find(&schema, "name"), 3);
    assert_int_equal(bm_schema_find(&schema, "Pixels"), -1);
    assert_int_equal(bm_schema_find(&schema, "pixel"), -1);
    assert_int_equal(bm_schema_find(&schema, ""), -1);
}

static void a_schema_prints_in_one_line(void **state)
{
    (void)state;
    assert_prints("");
    add_examples();
    assert_prints("pixels float32 [8, 8], label int64 [], words float16 [varies, 3], "
                  "name string []");
}

static void a_component_knows_its_size(void **state)
{
    (void)state;
    static const uint64_t elements[] = {64, 1, 3, 1}, bytes[] = {256, 8, 6, 1};
    add_examples();
    for (unsigned c = 0; c < 4; c++) {
        assert_int_equal(bm_component_elements(&schema.components[c]), elements[c]);
        assert_int_equal(bm_component_item_bytes(&schema.components[c]), bytes[c]);
    }
    assert_int_equal(schema.components[2].shape[0], 0); // "varies", whatever was asked for
}

static void a_schema_is_fixed_without_ragged_components(void **state)
{
    (void)state;
    assert_true(bm_schema_fixed(&schema));
    assert_int_equal(add((struct bm_component){"a", BM_INT8, false, 1, {2}, NULL}), BM_OK);
    assert_true(bm_schema_fixed(&schema));
    assert_int_equal(add((struct bm_component){"b", BM_INT8, true, 1, {0}, NULL}), BM_OK);
    assert_false(bm_schema_fixed(&schema));
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    assert_refused((struct bm_component){"", BM_INT8, false, 0, {0}, NULL}, "", BM_NAME_RULE);
    assert_refused((struct bm_component){"a b", BM_INT8, false, 0, {0}, NULL}, "", "got \"a b\"");
}

static void a_name_names_one_component(void **state)
{
    (void)state;
    add_examples();
    assert_refused((struct bm_component){"label", BM_INT8, false, 0, {0}, NULL}, "label",
                   "already");
}

static void a_component_needs_a_dtype(void **state)
{
    (void)state;
    assert_refused((struct bm_component){"a", BM_DTYPE_NONE, false, 0, {0}, NULL}, "a",
                   "bool, int8, int16");
    assert_refused((struct bm_component){"a", (enum bm_dtype)(BM_STRING + 1), false, 0, {0}, NULL},
                   "a", "bool, int8, int16");
}

static void text_is_ragged_without_axes(void **state)
{
    (void)state;
    assert_refused((struct bm_component){"a", BM_BYTES, false, 0, {0}, NULL}, "a",
                   "bytes is one run");
    assert_refused((struct bm_component){"a", BM_STRING, true, 1, {0}, NULL}, "a",
                   "string is one run");
    assert_refused((struct bm_component){"a", BM_STRING, false, 1, {4}, NULL}, "a", "ragged");
}

static void a_ragged_component_needs_an_axis(void **state)
{
    (void)state;
    assert_refused((struct bm_component){"a", BM_INT8, true, 0, {0}, NULL}, "a",
                   "an axis that varies");
}

static void there_are_at_most_15_axes_beside_that_of_the_batch(void **state)
{
    (void)state;
    struct bm_component component = {"a", BM_INT8, false, BM_NDIM_MAX, {0}, NULL};
    for (unsigned i = 0; i < BM_NDIM_MAX; i++)
        component.shape[i] = 1;
    assert_refused(component, "a", "at most 15 axes, got 16");
    component.ndim = 1000;
    assert_refused(component, "a", "got 1000");
    component.ndim = 15;
    assert_int_equal(add(component), BM_OK);
}

static void an_item_has_at_most_a_terabyte(void **state)
{
    (void)state;
    const uint64_t kilo = 1024, huge = (uint64_t)1 << 40;
    assert_int_equal(add((struct bm_component){"fits", BM_INT8, false, 1, {huge}, NULL}), BM_OK);
    assert_refused((struct bm_component){"a", BM_INT8, false, 1, {huge + 1}, NULL}, "a",
                   "2^40 bytes");
    assert_refused((struct bm_component){"a", BM_INT16, false, 1, {huge}, NULL}, "a", "2^40 bytes");
    assert_refused((struct bm_component){"a", BM_FLOAT64, false, 1, {UINT64_MAX}, NULL}, "a",
                   "2^40");
    assert_refused((struct bm_component){"a", BM_FLOAT64, false, 1, {(uint64_t)1 << 61}, NULL}, "a",
                   "2^40");
    assert_refused((struct bm_component){"a", BM_INT8, false, 5, {kilo, kilo, kilo, kilo, 2}, NULL},
                   "a", "2^40");
    assert_refused((struct bm_component){"a", BM_INT8, true, 2, {0, huge + 1}, NULL}, "a", "2^40");
    // The axis that varies is not counted, and an item may be empty.
    assert_int_equal(add((struct bm_component){"b", BM_INT8, true, 2, {UINT64_MAX, 2}, NULL}),
                     BM_OK);
    assert_int_equal(add((struct bm_component){"c", BM_INT8, false, 2, {0, UINT64_MAX}, NULL}),
                     BM_OK);
    assert_int_equal(bm_component_item_bytes(&schema.components[2]), 0);
}

static void there_are_at_most_256_components(void **state)
{
    (void)state;
    struct bm_component component = {.dtype = BM_INT8};
    for (unsigned i = 0; i < BM_COMPONENTS_MAX; i++) {
        snprintf(component.name, sizeof component.name, "c%u", i);
        assert_int_equal(add(component), BM_OK);
    }
    assert_refused((struct bm_component){"more", BM_INT8, false, 0, {0}, NULL}, "more",
                   "at most 256");
    assert_int_equal(bm_schema_find(&schema, "c255"), 255);
}

static void what_is_required_is_there_or_the_error_lists_what_is(void **state)
{
    (void)state;
    unsigned index = 99;
    assert_int_equal(bm_schema_require(&schema, "x", "a.components[0]", &index, &error),
                     BM_INVALID_ARGUMENT);
    assert_string_equal(error.text, "expected one of the components (there are none), got \"x\"");
    add_examples();
    assert_int_equal(bm_schema_require(&schema, "x", "a.components[0]", &index, &error),
                     BM_INVALID_ARGUMENT);
    assert_string_equal(error.where, "a.components[0]");
    assert_string_equal(error.text,
                        "expected one of the components (pixels, label, words, name), got \"x\"");
    assert_int_equal(index, 99);
    assert_int_equal(bm_schema_require(&schema, "words", "a", &index, NULL), BM_OK);
    assert_int_equal(index, 2);
    assert_int_equal(bm_schema_require(&schema, "x", "a", &index, NULL), BM_INVALID_ARGUMENT);
}

static void a_copy_is_equal_and_separate(void **state)
{
    (void)state;
    struct bm_schema copy;
    assert_int_equal(bm_schema_copy(&schema, &copy, &error), BM_OK);
    assert_int_equal(copy.ncomponents, 0);
    bm_schema_fini(&copy);
    add_examples();
    assert_int_equal(bm_schema_copy(&schema, &copy, &error), BM_OK);
    bm_schema_fini(&schema);
    schema = copy;
    assert_prints("pixels float32 [8, 8], label int64 [], words float16 [varies, 3], "
                  "name string []");
}

static void without_memory_a_schema_stays_as_it_was(void **state)
{
    (void)state;
    struct bm_schema copy;
    add_examples();
    bm_fake_heap_fail_at(1);
    enum bm_status status = add((struct bm_component){"more", BM_INT8, false, 0, {0}, NULL});
    bm_fake_heap_fail_never();
    assert_int_equal(status, BM_RESOURCE_EXHAUSTED);
    assert_int_equal(schema.ncomponents, 4);
    assert_int_equal(bm_schema_find(&schema, "more"), -1);
    bm_fake_heap_fail_at(1);
    status = bm_schema_copy(&schema, &copy, &error);
    bm_fake_heap_fail_never();
    assert_int_equal(status, BM_RESOURCE_EXHAUSTED);
    bm_schema_fini(&copy);
    unsigned index;
    bm_fake_heap_fail_at(1); // the list of names is left out, the refusal is not
    status = bm_schema_require(&schema, "x", "a", &index, &error);
    bm_fake_heap_fail_never();
    assert_int_equal(status, BM_INVALID_ARGUMENT);
    assert_non_null(strstr(error.text, "got \"x\""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_schema, free_schema)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(components_are_found_by_name),
        TEST(a_schema_prints_in_one_line),
        TEST(a_component_knows_its_size),
        TEST(a_schema_is_fixed_without_ragged_components),
        TEST(bad_names_are_refused),
        TEST(a_name_names_one_component),
        TEST(a_component_needs_a_dtype),
        TEST(text_is_ragged_without_axes),
        TEST(a_ragged_component_needs_an_axis),
        TEST(there_are_at_most_15_axes_beside_that_of_the_batch),
        TEST(an_item_has_at_most_a_terabyte),
        TEST(there_are_at_most_256_components),
        TEST(what_is_required_is_there_or_the_error_lists_what_is),
        TEST(a_copy_is_equal_and_separate),
        TEST(without_memory_a_schema_stays_as_it_was),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
