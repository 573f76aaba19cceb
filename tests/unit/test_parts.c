// What the sources over others promise: concat, join, mixture, split, balanced, weighted.
#include "sources/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fakes/fake_types.h"
#include "sources/types.h"
#include "support.h"

// ---- Sources by name ----

static struct bm_registry *registry;
static struct bm_error error;

// x is the item's number; tail has x % 3 rows.
static const char *const definitions[][2] = {
    {"ten", "{fake: {n: 10, ragged: true}}"},
    {"four", "{fake: {n: 4, ragged: true}}"},
    {"broken", "{fake: {n: 4, ragged: true, fail_item: 2}}"},
    {"plain", "{fake: {n: 10}}"},
    {"numbers", "{range: {n: 10, component: y}}"},
    {"none", "{range: {n: 0}}"},
    {"both", "{concat: {sources: [ten, four]}}"},
    {"twice", "{concat: {sources: [zoo, zoo]}}"},
    {"half", "{split: {source: twice, part: a, parts: {a: 0.5, b: 0.5}, seed: 3}}"},
    {"epochs", "{mixture: {sources: {zoo: 1}}}"},
};

// Six cats, three dogs and an owl, in the order of `zoo`.
static const char zoo_csv[] = "x,label,weight\n0,1,2\n1,0,1\n2,0,1\n3,1,0\n4,0,0.5\n5,7,4\n6,0,1\n"
                              "7,0,0.25\n8,1,0\n9,0,0.25\n";
static const int zoo_labels[10] = {1, 0, 0, 1, 0, 7, 0, 0, 1, 0};
static const double zoo_weights[10] = {2, 1, 1, 0, 0.5, 4, 1, 0.25, 0, 0.25};
static char zoo_path[] = "/tmp/batchmill-parts-XXXXXX";

static enum bm_status open_named(const char *name, const char *yaml,
                                 struct bm_source_ref **ret_source);

static enum bm_status find(void *context, const char *name, const char *where,
                           struct bm_source_ref **ret_source, struct bm_error *err)
{
    (void)context;
    if (strcmp(name, "zoo") == 0) {
        char yaml[128];
        snprintf(yaml, sizeof yaml, "{csv: {path: %s, types: {weight: float64}}}", zoo_path);
        return open_named(name, yaml, ret_source);
    }
    for (unsigned i = 0; i < sizeof definitions / sizeof definitions[0]; i++) {
        if (strcmp(definitions[i][0], name) == 0)
            return open_named(name, definitions[i][1], ret_source);
    }
    return bm_fail(err, BM_NOT_FOUND, where, "no %s", name);
}

static enum bm_status open_named(const char *name, const char *yaml,
                                 struct bm_source_ref **ret_source)
{
    const struct bm_source_finder finder = {find, NULL};
    struct bm_value *definition = fake_types_value(yaml);
    enum bm_status status =
        bm_source_open_among(registry, name, definition, ".", &finder, ret_source, &error);
    bm_value_free(definition);
    return status;
}

// ---- Reading ----

enum { ITEMS_MAX = 4096 };
static struct bm_source_ref *ref;
static const struct bm_source *source;
static struct bm_batch batch;
static uint64_t items[ITEMS_MAX], epochs[ITEMS_MAX];
static int64_t failed_row;

static int setup(void **state)
{
    (void)state;
    registry = fake_types_registry();
    assert_int_equal(bm_registry_add_source(registry, &bm_range_source, NULL), BM_OK);
    assert_int_equal(bm_registry_add_source(registry, &bm_concat_source, NULL), BM_OK);
    assert_int_equal(bm_registry_add_source(registry, &bm_join_source, NULL), BM_OK);
    assert_int_equal(bm_registry_add_source(registry, &bm_mixture_source, NULL), BM_OK);
    assert_int_equal(bm_registry_add_source(registry, &bm_split_source, NULL), BM_OK);
    assert_int_equal(bm_registry_add_source(registry, &bm_balanced_source, NULL), BM_OK);
    assert_int_equal(bm_registry_add_source(registry, &bm_weighted_source, NULL), BM_OK);
    assert_int_equal(bm_registry_add_source(registry, &bm_csv_source, NULL), BM_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bm_batch_fini(&batch);
    ref = bm_source_unref(ref);
    bm_registry_free(registry);
    return 0;
}

static void open_ok(const char *yaml)
{
    bm_batch_fini(&batch); // before its schema goes
    ref = bm_source_unref(ref);
    if (open_named("it", yaml, &ref) != BM_OK)
        fail_msg("%s: %s", error.where, error.text);
    source = bm_source_get(ref);
}

static void refuse(const char *yaml, const char *text)
{
    struct bm_source_ref *none = NULL;
    assert_int_not_equal(open_named("it", yaml, &none), BM_OK);
    if (strstr(error.text, text) == NULL)
        fail_msg("expected \"%s\", got \"%s: %s\"", text, error.where, error.text);
}

static enum bm_status read_items(uint64_t n, uint64_t epoch)
{
    bm_batch_fini(&batch);
    failed_row = -1;
    for (uint64_t i = 0; i < n; i++)
        epochs[i] = epoch;
    assert_int_equal(bm_batch_init(&batch, &source->schema, items, epochs, n, &error), BM_OK);
    for (unsigned c = 0; c < source->schema.ncomponents; c++) {
        if (!source->schema.components[c].ragged)
            assert_int_equal(bm_batch_alloc(&batch, c, &error), BM_OK);
    }
    return source->type->read(source, &batch, &failed_row, &error);
}

static void read_first(uint64_t n, uint64_t epoch)
{
    for (uint64_t i = 0; i < n; i++)
        items[i] = i;
    assert_int_equal(read_items(n, epoch), BM_OK);
}

static int64_t value(const char *name, uint64_t row)
{
    int c = bm_schema_find(&source->schema, name);
    return ((const int64_t *)(const void *)batch.tensors[c].data)[row];
}

// The ragged component goes with the other one: row r has x % 3 values, each x.
static void assert_tails(uint64_t n)
{
    int c = bm_schema_find(&source->schema, "tail");
    for (uint64_t row = 0; row < n; row++) {
        uint64_t count;
        const int64_t *tail =
            (const int64_t *)(const void *)bm_batch_rows(&batch, (unsigned)c, row, 1, &count);
        assert_int_equal(count, value("x", row) % 3);
        for (uint64_t k = 0; k < count; k++)
            assert_int_equal(tail[k], value("x", row));
    }
}

// ---- concat ----

static void concatenated_sources_follow_one_another(void **state)
{
    (void)state;
    open_ok("{concat: {sources: [ten, four, ten]}}");
    assert_int_equal(source->nitems, 24);
    static const uint64_t asked[] = {13, 0, 10, 23, 9, 14};
    static const int64_t expected[] = {3, 0, 0, 9, 9, 0};
    memcpy(items, asked, sizeof asked);
    assert_int_equal(read_items(6, 0), BM_OK);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(value("x", i), expected[i]);
    assert_tails(6);
    items[0] = 11, items[1] = 12; // all of one part
    assert_int_equal(read_items(2, 0), BM_OK);
    assert_int_equal(value("x", 1), 2);
    assert_tails(2);
}

static void a_failure_in_a_part_is_placed_there_and_at_its_item(void **state)
{
    (void)state;
    open_ok("{concat: {sources: [ten, broken]}}");
    items[0] = 3, items[1] = 12, items[2] = 11;
    assert_int_equal(read_items(3, 0), BM_DATA_LOSS);
    assert_int_equal(failed_row, 1);
    assert_string_equal(error.where, "broken");
    assert_non_null(strstr(error.text, "got mud"));
}

static void parts_of_different_components_are_refused(void **state)
{
    (void)state;
    refuse("{concat: {sources: [ten, plain]}}",
           "expected in plain the components and vocabularies of ten: x int64 [], tail int64 "
           "[varies]; got x int64 []");
    refuse("{concat: {sources: []}}", "expected at least one source");
    refuse("{concat: {sources: [ten, gone]}}", "no gone");
}

static void the_identity_is_that_of_the_parts_and_their_order(void **state)
{
    (void)state;
    open_ok("{concat: {sources: [ten, four]}}");
    uint64_t identity = source->identity;
    open_ok("{concat: {sources: [four, ten]}}");
    assert_int_not_equal(source->identity, identity);
    open_ok("{concat: {sources: [ten, four]}}");
    assert_int_equal(source->identity, identity);
}

// ---- join ----

static void joined_sources_lie_side_by_side(void **state)
{
    (void)state;
    open_ok("{join: {sources: [ten, numbers]}}");
    assert_int_equal(source->nitems, 10);
    assert_int_equal(source->schema.ncomponents, 3);
    items[0] = 7, items[1] = 2;
    assert_int_equal(read_items(2, 0), BM_OK);
    assert_int_equal(value("x", 0), 7);
    assert_int_equal(value("y", 0), 7);
    assert_int_equal(value("y", 1), 2);
    assert_tails(2);
    refuse("{join: {sources: [ten, four]}}", "expected 10 items in four, as in ten, got 4");
    refuse("{join: {sources: [ten, plain]}}", "there is a component of this name already");
}

static void sources_over_sources_over_sources_work(void **state)
{
    (void)state;
    open_ok("{split: {source: both, part: all, parts: {all: 1}}}");
    read_first(14, 0);
    assert_tails(14);
}

// ---- split ----

static void the_parts_of_a_split_share_nothing_and_leave_nothing_out(void **state)
{
    (void)state;
    bool seen[10] = {false};
    static const char *const parts[] = {"train", "dev", "test"};
    static const uint64_t sizes[] = {7, 2, 1};
    for (unsigned i = 0; i < 3; i++) {
        char yaml[160];
        snprintf(yaml, sizeof yaml,
                 "{split: {source: plain, part: %s, parts: {train: 0.7, dev: 0.15, test: 0.15}, "
                 "seed: 7}}",
                 parts[i]);
        open_ok(yaml);
        assert_int_equal(source->nitems, sizes[i]);
        read_first(source->nitems, 3); // the epoch does not matter
        for (uint64_t row = 0; row < source->nitems; row++) {
            assert_false(seen[value("x", row)]);
            seen[value("x", row)] = true;
        }
    }
    for (unsigned i = 0; i < 10; i++)
        assert_true(seen[i]);
    refuse("{split: {source: ten, part: a, parts: {a: 0.5, b: 0.4}}}", "are 1 together, got 0.9");
    refuse("{split: {source: ten, part: c, parts: {a: 0.5, b: 0.5}}}", "one of `parts`, got \"c\"");
    refuse("{split: {source: ten, part: a, parts: {a: much, b: 0.5}}}", "expected a number");
}

// ---- mixture ----

static void of_any_first_items_each_source_has_its_share(void **state)
{
    (void)state;
    open_ok("{mixture: {sources: {ten: 0.7, four: 0.2, both: 0.1}, n: 4096}}");
    assert_int_equal(source->nitems, 4096);
    assert_true(source->by_epoch);
    read_first(4096, 0);
    assert_tails(4096);
    // ten has 0 .. 9; items 10 and more of `both` are four's again, so count what only ten and
    // both can give: 4 .. 9, evenly in each pass.
    unsigned high = 0;
    for (uint64_t row = 0; row < 4096; row++)
        high += value("x", row) >= 4;
    double expected = 4096 * (0.7 * 0.6 + 0.1 * 6 / 14);
    assert_true(high > expected - 12 && high < expected + 12);
}

static void every_item_comes_once_before_any_comes_again(void **state)
{
    (void)state;
    open_ok("{mixture: {sources: {ten: 3, four: 1}, seed: 5, n: 40}}");
    // 30 of ten and 10 of four in an epoch: over two epochs each of four's items comes 5 times.
    unsigned counts[10] = {0};
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        read_first(40, epoch);
        for (uint64_t row = 0; row < 40; row++)
            counts[value("x", row)]++;
    }
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(counts[i], i < 4 ? 6 + 5 : 6);
}

static void mixtures_are_pure(void **state)
{
    (void)state;
    int64_t first[40];
    open_ok("{mixture: {sources: {ten: 3, four: 1}, seed: 5}}");
    assert_int_equal(source->nitems, 14);
    read_first(14, 9);
    for (uint64_t row = 0; row < 14; row++)
        first[row] = value("x", row);
    for (uint64_t row = 0; row < 14; row++) { // one at a time, backwards
        items[0] = 13 - row;
        assert_int_equal(read_items(1, 9), BM_OK);
        assert_int_equal(value("x", 0), first[13 - row]);
    }
    refuse("{mixture: {sources: {ten: 0, four: 1}}}", "expected a weight above 0 for ten");
    refuse("{mixture: {sources: {ten: heavy}}}", "expected a weight above 0 for ten");
    refuse("{mixture: {sources: {ten: 1.0e-12, four: 1}}}", "ten would never come");
    refuse("{mixture: {sources: {none: 1, numbers: 1}}}", "but none has none");
}

// ---- balanced ----

static void classes_come_in_turn_and_equally_often(void **state)
{
    (void)state;
    unsigned counts[10] = {0};
    open_ok("{balanced: {source: zoo, by: label, n: 18}}");
    assert_int_equal(source->nitems, 18);
    assert_true(source->by_epoch);
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        read_first(18, epoch);
        for (uint64_t row = 0; row < 18; row++) {
            int64_t item = value("x", row);
            assert_int_equal(value("label", row), zoo_labels[item]);
            assert_int_equal(zoo_labels[item], row % 3 == 2 ? 7 : row % 3);
            counts[item]++;
        }
    }
    // 12 of each class: the owl every time, each dog 4 times, each cat twice.
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(counts[i], zoo_labels[i] == 7 ? 12 : zoo_labels[i] == 1 ? 4 : 2);
}

static void balanced_sources_are_pure(void **state)
{
    (void)state;
    int64_t first[10];
    open_ok("{balanced: {source: zoo, seed: 4}}");
    assert_int_equal(source->nitems, 10);
    read_first(10, 3);
    for (uint64_t row = 0; row < 10; row++)
        first[row] = value("x", row);
    for (uint64_t row = 0; row < 10; row++) {
        items[0] = 9 - row;
        assert_int_equal(read_items(1, 3), BM_OK);
        assert_int_equal(value("x", 0), first[9 - row]);
    }
}

static void what_cannot_be_balanced_is_refused(void **state)
{
    (void)state;
    refuse("{balanced: {source: zoo, by: weight}}",
           "of one integer per item, got weight of float64");
    refuse("{balanced: {source: zoo, by: kind}}", "kind");
    refuse("{balanced: {source: epochs}}", "the same in every epoch");
    refuse("{balanced: {source: none, by: x}}", "expected");
    refuse("{balanced: {source: ten, by: tail}}", "of one integer per item");
}

// ---- weighted ----

static void items_come_as_often_as_they_weigh(void **state)
{
    (void)state;
    unsigned counts[10] = {0};
    open_ok("{weighted: {source: zoo, n: 100}}");
    for (uint64_t epoch = 0; epoch < 20; epoch++) {
        unsigned in_epoch[10] = {0};
        read_first(100, epoch);
        for (uint64_t row = 0; row < 100; row++)
            in_epoch[value("x", row)]++;
        for (unsigned i = 0; i < 10; i++) {
            double share = zoo_weights[i] * 100 / 10;
            assert_true(in_epoch[i] > share - 1 && in_epoch[i] < share + 1);
            counts[i] += in_epoch[i];
        }
    }
    for (unsigned i = 0; i < 10; i++)
        assert_true(counts[i] > zoo_weights[i] * 200 - 8 && counts[i] < zoo_weights[i] * 200 + 8);
}

// Where shares are below 1, which items come changes with the epoch.
static void every_item_with_a_weight_comes_in_some_epoch(void **state)
{
    (void)state;
    bool seen[10] = {false};
    open_ok("{weighted: {source: zoo, n: 2, seed: 9}}");
    for (uint64_t epoch = 0; epoch < 400; epoch++) {
        read_first(2, epoch);
        seen[value("x", 0)] = seen[value("x", 1)] = true;
    }
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(seen[i], zoo_weights[i] > 0);
}

static void what_cannot_be_weighed_is_refused(void **state)
{
    (void)state;
    refuse("{weighted: {source: zoo, weights: mass}}", "mass");
    refuse("{weighted: {source: ten, weights: tail}}", "one number per item, got tail of ragged");
    refuse("{weighted: {source: none, weights: x}}", "expected");
    refuse("{weighted: {source: epochs}}", "the same in every epoch");
}

// ---- One component of all items, which those two ask for ----

static void numbers_come_through_sources_over_sources(void **state)
{
    (void)state;
    double numbers[20];
    open_ok("{concat: {sources: [half, zoo]}}");
    unsigned c = (unsigned)bm_schema_find(&source->schema, "weight");
    assert_int_equal(bm_source_numbers(source, c, numbers, &error), BM_OK);
    read_first(20, 0);
    for (uint64_t row = 0; row < 20; row++)
        assert_true(numbers[row] == zoo_weights[value("x", row)]);
    open_ok("{join: {sources: [numbers, zoo]}}");
    c = (unsigned)bm_schema_find(&source->schema, "label");
    assert_int_equal(bm_source_numbers(source, c, numbers, &error), BM_OK);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal((int)numbers[i], zoo_labels[i]);
    open_ok("{concat: {sources: [ten]}}");
    c = (unsigned)bm_schema_find(&source->schema, "tail");
    assert_int_equal(bm_source_numbers(source, c, numbers, &error), BM_OK);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal((int)numbers[i], i % 3);
    open_ok("{concat: {sources: [ten, broken]}}");
    assert_int_equal(bm_source_numbers(source, 0, numbers, &error), BM_DATA_LOSS);
    assert_non_null(strstr(error.text, "got mud"));
}

static int setup_zoo(void **state)
{
    (void)state;
    int fd = mkstemp(zoo_path);
    ssize_t size = (ssize_t)sizeof zoo_csv - 1;
    bool written = fd >= 0 && write(fd, zoo_csv, sizeof zoo_csv - 1) == size;
    close(fd);
    return written ? 0 : -1;
}

static int teardown_zoo(void **state)
{
    (void)state;
    return unlink(zoo_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(concatenated_sources_follow_one_another),
        TEST(a_failure_in_a_part_is_placed_there_and_at_its_item),
        TEST(parts_of_different_components_are_refused),
        TEST(the_identity_is_that_of_the_parts_and_their_order),
        TEST(joined_sources_lie_side_by_side),
        TEST(sources_over_sources_over_sources_work),
        TEST(the_parts_of_a_split_share_nothing_and_leave_nothing_out),
        TEST(of_any_first_items_each_source_has_its_share),
        TEST(every_item_comes_once_before_any_comes_again),
        TEST(mixtures_are_pure),
        TEST(classes_come_in_turn_and_equally_often),
        TEST(balanced_sources_are_pure),
        TEST(what_cannot_be_balanced_is_refused),
        TEST(items_come_as_often_as_they_weigh),
        TEST(every_item_with_a_weight_comes_in_some_epoch),
        TEST(what_cannot_be_weighed_is_refused),
        TEST(numbers_come_through_sources_over_sources),
    };
    return cmocka_run_group_tests_name("parts", tests, setup_zoo, teardown_zoo);
}
