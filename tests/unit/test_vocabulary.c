// What data/vocabulary.h promises: names are numbered as they come, or in order, and found again.
#include "data/vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/schema.h"
#include "fakes/heap.h"
#include "support.h"

static struct bm_vocabulary *vocabulary;
static struct bm_error error;

static int make_vocabulary(void **state)
{
    (void)state;
    error = (struct bm_error){0};
    return (int)bm_vocabulary_new(&vocabulary, &error);
}

static int free_vocabulary(void **state)
{
    (void)state;
    vocabulary = bm_vocabulary_unref(vocabulary);
    return 0;
}

static uint64_t add(const char *name)
{
    uint64_t index = UINT64_MAX;
    assert_int_equal(bm_vocabulary_add(vocabulary, name, strlen(name), &index, &error), BM_OK);
    return index;
}

static void names_are_numbered_as_they_come(void **state)
{
    (void)state;
    assert_int_equal(bm_vocabulary_find(vocabulary, "cat", 3), -1);
    assert_int_equal(add("cat"), 0);
    assert_int_equal(add("dog"), 1);
    assert_int_equal(add("cat"), 0);
    assert_int_equal(add(""), 2);
    assert_int_equal(bm_vocabulary_count(vocabulary), 3);
    assert_string_equal(bm_vocabulary_name(vocabulary, 1), "dog");
    assert_int_equal(bm_vocabulary_find(vocabulary, "dogs", 3), 1);
    assert_int_equal(bm_vocabulary_find(vocabulary, "dogs", 4), -1);
    assert_int_equal(bm_vocabulary_find(vocabulary, "do", 2), -1);
    assert_int_equal(bm_vocabulary_find(vocabulary, "", 0), 2);
}

static void a_name_with_nul_is_refused_and_never_found(void **state)
{
    (void)state;
    uint64_t index;
    add("a");
    assert_int_equal(bm_vocabulary_add(vocabulary, "a\0b", 3, &index, &error), BM_INVALID_ARGUMENT);
    assert_int_equal(bm_vocabulary_find(vocabulary, "a\0b", 3), -1);
    assert_int_equal(bm_vocabulary_count(vocabulary), 1);
}

static void many_names_are_all_found_and_sorted(void **state)
{
    (void)state;
    enum { N = 10000 };
    char name[16];
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof name, "n%u", i * 7919 % N);
        assert_int_equal(add(name), i);
    }
    uint64_t hash = bm_vocabulary_hash(vocabulary);
    uint64_t *new_index = malloc(N * sizeof new_index[0]);
    assert_int_equal(bm_vocabulary_sort(vocabulary, new_index, &error), BM_OK);
    assert_int_not_equal(bm_vocabulary_hash(vocabulary), hash);
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof name, "n%u", i * 7919 % N);
        assert_int_equal(bm_vocabulary_find(vocabulary, name, strlen(name)), new_index[i]);
        assert_true(i == 0 || strcmp(bm_vocabulary_name(vocabulary, i - 1),
                                     bm_vocabulary_name(vocabulary, i)) < 0);
    }
    free(new_index);
}

static void a_schema_keeps_the_vocabulary_of_integers_only(void **state)
{
    (void)state;
    struct bm_component label = {"label", BM_INT64, false, 0, {0}, vocabulary};
    struct bm_component price = {"price", BM_FLOAT32, false, 0, {0}, vocabulary};
    struct bm_schema schema, copy;
    add("cat");
    bm_schema_init(&schema);
    assert_int_equal(bm_schema_add(&schema, &label, &error), BM_OK);
    assert_int_equal(bm_schema_add(&schema, &price, &error), BM_OK);
    assert_int_equal(bm_schema_copy(&schema, &copy, &error), BM_OK);
    bm_schema_fini(&schema);
    vocabulary = bm_vocabulary_unref(vocabulary); // the copy has the last one
    assert_string_equal(bm_vocabulary_name(copy.components[0].vocabulary, 0), "cat");
    assert_null(copy.components[1].vocabulary);
    bm_schema_fini(&copy);
}

static void every_failed_allocation_is_told(void **state)
{
    (void)state;
    bool failed;
    uint64_t n = 0;
    do {
        struct bm_vocabulary *made = NULL;
        uint64_t index, new_index[40];
        bm_fake_heap_fail_at(++n);
        enum bm_status status = bm_vocabulary_new(&made, &error);
        for (char name = 'z'; name > 'a' && status == BM_OK; name--)
            status = bm_vocabulary_add(made, &name, 1, &index, &error);
        if (status == BM_OK)
            status = bm_vocabulary_sort(made, new_index, &error);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        assert_int_equal(status, failed ? BM_RESOURCE_EXHAUSTED : BM_OK);
        bm_vocabulary_unref(made);
    } while (failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_vocabulary, free_vocabulary)
        TEST(names_are_numbered_as_they_come),
        TEST(a_name_with_nul_is_refused_and_never_found),
        TEST(many_names_are_all_found_and_sorted),
        TEST(a_schema_keeps_the_vocabulary_of_integers_only),
        TEST(every_failed_allocation_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
