// What pipeline/cache.h and the entry `cache` promise: the same bytes with and without, made once,
// within the bound, whatever happened to the file.
#include "pipeline/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actions/types.h"
#include "fakes/fake_types.h"
#include "fakes/heap.h"
#include "support.h"

static struct bm_registry *registry;
static struct bm_error error;
static char directory[64];

static int setup(void **state)
{
    (void)state;
    error = (struct bm_error){0};
    registry = fake_types_registry();
    strcpy(directory, "/tmp/batchmill-cache-XXXXXX");
    return mkdtemp(directory) == NULL ||
           bm_registry_add_action(registry, &bm_cache_action, &error) != BM_OK;
}

// The one file that is in the directory; "" when there is none.
static const char *cache_file(void)
{
    static char path[128 + NAME_MAX];
    path[0] = '\0';
    DIR *dir = opendir(directory);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.')
            snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
    }
    closedir(dir);
    return path;
}

static int teardown(void **state)
{
    (void)state;
    for (const char *path; (path = cache_file())[0] != '\0';)
        unlink(path);
    rmdir(directory);
    bm_registry_free(registry);
    return 0;
}

// ---- Batches of a pipeline, as one hash ----

static uint64_t batch_hash(const struct bm_batch *batch)
{
    struct bm_hash *hash = bm_hash_new();
    for (unsigned c = 0; c < batch->schema->ncomponents; c++) {
        const struct bm_tensor *tensor = &batch->tensors[c];
        bm_hash_add_text(hash, batch->schema->components[c].name);
        bm_hash_add(hash, tensor->data, tensor->size_bytes);
        if (tensor->offsets != NULL)
            bm_hash_add(hash, tensor->offsets, (batch->nitems + 1) * sizeof(uint64_t));
    }
    uint64_t result = bm_hash_end(hash);
    bm_hash_free(hash);
    return result;
}

static enum bm_result run_batch(const struct bm_pipeline *pipeline, uint64_t seq,
                                struct bm_work *work)
{
    enum bm_result result = BM_RESULT_OK;
    fake_types_work(work, pipeline, 4, seq);
    for (unsigned step = 0; step < bm_pipeline_nsteps(pipeline) && result == BM_RESULT_OK; step++)
        result = bm_work_step(work, step);
    return result;
}

static uint64_t epoch_hash(const struct bm_pipeline *pipeline)
{
    uint64_t nbatches = (bm_pipeline_source(pipeline)->nitems + 3) / 4, hash = 0;
    for (uint64_t seq = 0; seq < nbatches; seq++) {
        struct bm_work work;
        if (run_batch(pipeline, seq, &work) != BM_RESULT_OK)
            fail_msg("%s: %s", work.error.where, work.error.text);
        assert_ptr_equal(work.batch.schema, bm_pipeline_schema(pipeline));
        hash = 31 * hash + batch_hash(&work.batch);
        bm_work_fini(&work);
    }
    return hash;
}

#define SOURCE "{fake: {n: 10, ragged: true}}"
#define BEFORE "{fake.add: {amount: 5}}, {fake.add: {component: tail, amount: 2}}"
#define AFTER "{fake.draw: {as: r}}"

static struct bm_pipeline *build(const char *cache)
{
    char actions[256];
    snprintf(actions, sizeof actions, "[" BEFORE ", %s" AFTER "]", cache);
    return fake_types_pipeline(registry, SOURCE, actions);
}

static struct bm_pipeline *build_in_directory(void)
{
    char cache[128];
    snprintf(cache, sizeof cache, "{cache: {directory: %s, size: 1MiB}}, ", directory);
    return build(cache);
}

static uint64_t plain_hash(void)
{
    struct bm_pipeline *pipeline = build("");
    uint64_t hash = epoch_hash(pipeline);
    bm_pipeline_unref(pipeline);
    return hash;
}

static void assert_report(const struct bm_pipeline *pipeline, uint64_t entries, uint64_t hits,
                          uint64_t misses)
{
    struct bm_cache_report report = bm_cache_report(bm_pipeline_cache(pipeline));
    assert_int_equal(report.entries, entries);
    assert_int_equal(report.hits, hits);
    assert_int_equal(report.misses, misses);
    assert_true(report.bytes <= report.bytes_max);
}

// ---- What it keeps ----

static void the_second_epoch_comes_from_the_cache_with_the_same_bytes(void **state)
{
    (void)state;
    struct bm_pipeline *plain = build(""), *cached = build("{cache: {memory: 1MiB}}, ");
    uint64_t hash = epoch_hash(plain);
    assert_int_equal(bm_pipeline_fingerprint(plain), bm_pipeline_fingerprint(cached));
    assert_int_equal(epoch_hash(cached), hash);
    assert_report(cached, 10, 0, 10);
    assert_int_equal(epoch_hash(cached), hash);
    assert_report(cached, 10, 10, 10);
    assert_string_equal(bm_pipeline_step_name(cached, 0), "read+fake.add+fake.add+cache");
    assert_int_equal(bm_pipeline_nactions(cached), 4);
    bm_pipeline_unref(plain);
    bm_pipeline_unref(cached);
}

static void a_batch_may_be_there_in_part(void **state)
{
    (void)state;
    uint64_t hash = plain_hash();
    struct bm_pipeline *pipeline = build("{cache: {memory: 1MiB}}, ");
    struct bm_work work;
    assert_int_equal(run_batch(pipeline, 1, &work), BM_RESULT_OK); // items 4 to 7
    bm_work_fini(&work);
    fake_types_work(&work, pipeline, 10, 0); // all ten in one batch
    assert_int_equal(bm_work_step(&work, 0), BM_RESULT_OK);
    for (int64_t i = 0; i < 10; i++)
        assert_int_equal(((const int64_t *)(const void *)work.batch.tensors[0].data)[i], i + 5);
    bm_work_fini(&work);
    assert_report(pipeline, 10, 4, 10);
    assert_int_equal(epoch_hash(pipeline), hash);
    bm_pipeline_unref(pipeline);
}

static void pipelines_that_begin_alike_share_it(void **state)
{
    (void)state;
    struct bm_source_ref *source = fake_types_source(registry, SOURCE);
    struct bm_value *first = fake_types_value("[" BEFORE ", {cache: {memory: 1MiB}}]");
    struct bm_value *second = fake_types_value("[" BEFORE ", {cache: {memory: 2MiB}}, fake.step]");
    struct bm_value *third = fake_types_value("[{fake.add: {amount: 5}}, {cache: {memory: 1MiB}}]");
    struct bm_pipeline *a, *b, *c;
    assert_int_equal(bm_pipeline_new(registry, "a", source, first, &a, &error), BM_OK);
    assert_int_equal(bm_pipeline_new(registry, "b", source, second, &b, &error), BM_OK);
    assert_int_equal(bm_pipeline_new(registry, "c", source, third, &c, &error), BM_OK);
    assert_ptr_equal(bm_pipeline_cache(a), bm_pipeline_cache(b));
    assert_ptr_not_equal(bm_pipeline_cache(a), bm_pipeline_cache(c));
    assert_int_equal(bm_cache_report(bm_pipeline_cache(a)).bytes_max, 2 << 20);
    epoch_hash(a);
    bm_pipeline_unref(a);
    epoch_hash(b);
    assert_report(b, 10, 10, 10);
    bm_pipeline_unref(b);
    bm_pipeline_unref(c);
    bm_value_free(first);
    bm_value_free(second);
    bm_value_free(third);
    bm_source_unref(source);
}

static void a_full_cache_takes_no_more(void **state)
{
    (void)state;
    uint64_t hash = plain_hash();
    // A page of slots, and four entries of 16 + 8 * (1 + rows) bytes.
    struct bm_pipeline *pipeline = build("{cache: {memory: 24700B}}, ");
    assert_int_equal(epoch_hash(pipeline), hash);
    assert_int_equal(epoch_hash(pipeline), hash);
    struct bm_cache_report report = bm_cache_report(bm_pipeline_cache(pipeline));
    assert_true(report.entries > 0 && report.entries < 10);
    assert_int_equal(report.hits, report.entries);
    assert_true(report.bytes <= 24700);
    bm_pipeline_unref(pipeline);
}

static void what_fails_is_not_kept_and_keeps_its_place(void **state)
{
    (void)state;
    struct bm_pipeline *pipeline = fake_types_pipeline(
        registry, "{fake: {n: 10}}",
        "[fake.keep: {as: y}, {fake.stop: {item: 6, result: fail}}, {cache: {memory: 1MiB}}]");
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        struct bm_work work;
        assert_int_equal(run_batch(pipeline, 1, &work), BM_RESULT_FAIL);
        assert_int_equal(work.failed_action, 1);
        assert_int_equal(work.failed_item, 6);
        assert_string_equal(work.error.where, "pipeline test, action 1 (fake.stop), item 6");
        bm_work_fini(&work);
    }
    assert_report(pipeline, 0, 0, 8);
    bm_pipeline_unref(pipeline);
}

// ---- In a directory ----

static void a_file_serves_again_after_a_restart(void **state)
{
    (void)state;
    uint64_t hash = plain_hash();
    for (unsigned start = 0; start < 3; start++) {
        struct bm_pipeline *pipeline = build_in_directory();
        assert_int_equal(epoch_hash(pipeline), hash);
        assert_report(pipeline, 10, start == 0 ? 0 : 10, start == 0 ? 10 : 0);
        bm_pipeline_unref(pipeline);
    }
}

static void a_file_that_is_cut_off_anywhere_serves_what_is_whole(void **state)
{
    (void)state;
    uint64_t hash = plain_hash();
    struct bm_pipeline *pipeline = build_in_directory();
    epoch_hash(pipeline);
    bm_pipeline_unref(pipeline);
    struct stat st;
    assert_int_equal(stat(cache_file(), &st), 0);
    for (off_t size = st.st_size; size >= 0; size -= 3) {
        assert_int_equal(truncate(cache_file(), size), 0);
        pipeline = build_in_directory();
        uint64_t entries = bm_cache_report(bm_pipeline_cache(pipeline)).entries;
        assert_true(size == st.st_size ? entries == 10 : entries < 10);
        assert_int_equal(epoch_hash(pipeline), hash);
        assert_report(pipeline, 10, entries, 10 - entries);
        bm_pipeline_unref(pipeline);
    }
}

static void a_damaged_byte_anywhere_costs_entries_and_no_bytes(void **state)
{
    (void)state;
    uint64_t hash = plain_hash();
    struct bm_pipeline *pipeline = build_in_directory();
    epoch_hash(pipeline);
    bm_pipeline_unref(pipeline);
    struct stat st;
    assert_int_equal(stat(cache_file(), &st), 0);
    for (off_t at = 32; at < st.st_size; at += 5) { // behind the file's own head
        int fd = open(cache_file(), O_RDWR | O_CLOEXEC);
        unsigned char byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        pipeline = build_in_directory();
        assert_int_equal(epoch_hash(pipeline), hash);
        assert_int_equal(epoch_hash(pipeline), hash);
        assert_int_equal(bm_cache_report(bm_pipeline_cache(pipeline)).entries, 10);
        bm_pipeline_unref(pipeline);
    }
}

static enum bm_status try_to_build(const char *actions)
{
    struct bm_source_ref *source = fake_types_source(registry, SOURCE);
    struct bm_value *value = fake_types_value(actions);
    struct bm_pipeline *pipeline = NULL;
    enum bm_status status = bm_pipeline_new(registry, "p", source, value, &pipeline, &error);
    bm_pipeline_unref(pipeline);
    bm_value_free(value);
    bm_source_unref(source);
    return status;
}

static void a_file_has_one_server_at_a_time(void **state)
{
    (void)state;
    bm_pipeline_unref(build_in_directory());
    int fd = open(cache_file(), O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0); // as another process would
    char actions[192];
    snprintf(actions, sizeof actions, "[" BEFORE ", {cache: {directory: %s, size: 1MiB}}]",
             directory);
    assert_int_equal(try_to_build(actions), BM_FAILED_PRECONDITION);
    assert_non_null(strstr(error.text, "is in use by another server"));
    close(fd);
    assert_int_equal(try_to_build(actions), BM_OK);
}

static void another_file_under_that_name_is_left_alone(void **state)
{
    (void)state;
    struct bm_pipeline *pipeline = build_in_directory();
    bm_pipeline_unref(pipeline);
    int fd = open(cache_file(), O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, "forty bytes of something else: my thesis", 40), 40);
    close(fd);
    char actions[192];
    snprintf(actions, sizeof actions, "[" BEFORE ", {cache: {directory: %s, size: 1MiB}}]",
             directory);
    assert_int_equal(try_to_build(actions), BM_FAILED_PRECONDITION);
    assert_string_equal(error.where, cache_file());
}

// ---- What is refused ----

static void only_what_gives_the_same_every_time_is_kept(void **state)
{
    (void)state;
    static const struct {
        const char *actions, *text;
    } cases[] = {
        {"[{fake.draw: {as: r}}, {cache: {memory: 1MiB}}]", "draws random numbers"},
        {"[fake.step, {cache: {memory: 1MiB}}]", "works on whole batches"},
        {"[{fake.total: {}}, {cache: {memory: 1MiB}}]", "adds to a variable"},
        {"[{fake.add: {}, use_lock: true}, {cache: {memory: 1MiB}}]", "takes a lock or waits"},
        {"[{cache: {memory: 1MiB}}, {cache: {memory: 1MiB}}]", "expected one cache"},
        {"[{cache: {memory: 1MiB}, use_lock: true}]", "a cache takes no lock"},
        {"[{cache: {}}]", "expected either memory (such as 4GiB) or directory"},
        {"[{cache: {memory: 1MiB, directory: /tmp, size: 1MiB}}]", "expected either memory"},
        {"[{cache: {directory: /tmp}}]", "expected size (such as 100GiB) with directory"},
        {"[{cache: {memory: 1MiB, size: 1MiB}}]", "expected size (such as 100GiB) with directory"},
        {"[{cache: {directory: relative, size: 1MiB}}]", "expected an absolute path"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(try_to_build(cases[i].actions), BM_INVALID_ARGUMENT);
        if (strstr(error.text, cases[i].text) == NULL)
            fail_msg("expected \"%s\" in \"%s\"", cases[i].text, error.text);
    }
    assert_int_equal(try_to_build("[{cache: {directory: /nowhere/at/all, size: 1MiB}}]"),
                     BM_UNAVAILABLE);
}

static void without_memory_a_batch_fails_or_is_right(void **state)
{
    (void)state;
    struct bm_work work;
    struct bm_pipeline *plain = build("");
    assert_int_equal(run_batch(plain, 1, &work), BM_RESULT_OK);
    uint64_t hash = batch_hash(&work.batch), n = 0;
    bm_work_fini(&work);
    bm_pipeline_unref(plain);
    bool failed;
    do {
        struct bm_pipeline *pipeline = build("{cache: {memory: 1MiB}}, ");
        fake_types_work(&work, pipeline, 4, 1);
        bm_fake_heap_fail_at(++n);
        enum bm_result result = BM_RESULT_OK;
        for (unsigned step = 0; step < bm_pipeline_nsteps(pipeline) && result == BM_RESULT_OK;
             step++)
            result = bm_work_step(&work, step);
        failed = bm_fake_heap_failed();
        bm_fake_heap_fail_never();
        if (result == BM_RESULT_OK)
            assert_int_equal(batch_hash(&work.batch), hash);
        else
            assert_int_equal(work.error.status, BM_RESOURCE_EXHAUSTED);
        bm_work_fini(&work);
        bm_pipeline_unref(pipeline);
    } while (failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_second_epoch_comes_from_the_cache_with_the_same_bytes),
        TEST(a_batch_may_be_there_in_part),
        TEST(pipelines_that_begin_alike_share_it),
        TEST(a_full_cache_takes_no_more),
        TEST(what_fails_is_not_kept_and_keeps_its_place),
        TEST(a_file_serves_again_after_a_restart),
        TEST(a_file_that_is_cut_off_anywhere_serves_what_is_whole),
        TEST(a_damaged_byte_anywhere_costs_entries_and_no_bytes),
        TEST(a_file_has_one_server_at_a_time),
        TEST(another_file_under_that_name_is_left_alone),
        TEST(only_what_gives_the_same_every_time_is_kept),
        TEST(without_memory_a_batch_fails_or_is_right),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
