// What sources/sqlite.c promises: rows by their keys, typed, on any number of threads; and that
// nothing but SELECT ever reaches the file.
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "fakes/source_fixture.h"
#include "support.h"

static struct source_fixture fixture;

static void execute(const char *name, const char *sql)
{
    sqlite3 *db;
    char *error = NULL;
    assert_int_equal(sqlite3_open(source_fixture_path(&fixture, name), &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s", error);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int make_fixture(void **state)
{
    (void)state;
    source_fixture_init(&fixture);
    execute(
        "a.db",
        "CREATE TABLE pets (id INTEGER PRIMARY KEY, kind TEXT, age INT, weight REAL, chip BLOB,"
        " indoors BOOLEAN, note);"
        "INSERT INTO pets VALUES (1, 'cat', 3, 4.5, x'00ff', 1, 7), (2, 'dog', NULL, 9, NULL, 0,"
        " 8), (3, NULL, 5, NULL, x'', 1, 9);"
        "CREATE TABLE holes (k INTEGER, v INTEGER, UNIQUE (k));"
        "INSERT INTO holes VALUES (40, 4), (10, 1), (-5, 0), (30, 3);"
        "CREATE VIEW old AS SELECT id, kind FROM pets WHERE id > 1;"
        "CREATE TABLE \"od\"\"d\" (x INTEGER); INSERT INTO \"od\"\"d\" VALUES (5), (6);");
    return 0;
}

static int free_fixture(void **state)
{
    (void)state;
    source_fixture_fini(&fixture);
    return 0;
}

static void open_ok(const char *yaml)
{
    if (source_fixture_open(&fixture, yaml) != BM_OK)
        fail_msg("%s: %s", fixture.error.where, fixture.error.text);
}

static void refuse(const char *yaml, const char *where, const char *expectation)
{
    assert_int_not_equal(source_fixture_open(&fixture, yaml), BM_OK);
    if (strstr(fixture.error.where, where) == NULL ||
        strstr(fixture.error.text, expectation) == NULL)
        fail_msg("expected \"%s\": \"%s\", got \"%s\": \"%s\"", where, expectation,
                 fixture.error.where, fixture.error.text);
}

static void assert_schema(const char *expected)
{
    struct bm_buffer text;
    bm_buffer_init(&text);
    bm_schema_print(&fixture.source->schema, &text);
    assert_string_equal(bm_buffer_text(&text), expected);
    bm_buffer_fini(&text);
}

static void assert_text(const char *component, uint64_t row, const char *expected, uint64_t size)
{
    int c = bm_schema_find(&fixture.source->schema, component);
    uint64_t n;
    const unsigned char *at = bm_batch_rows(&fixture.batch, (unsigned)c, row, 1, &n);
    assert_int_equal(n, size);
    assert_true(n == 0 || memcmp(at, expected, n) == 0);
}

static void columns_have_the_types_they_were_declared_with(void **state)
{
    (void)state;
    open_ok("sqlite: {path: a.db, table: pets}");
    assert_int_equal(fixture.source->nitems, 3);
    assert_schema("id int64 [], kind string [], age float64 [], weight float64 [], chip bytes "
                  "[], indoors bool [], note int64 []");
    static const uint64_t items[] = {2, 0, 1};
    assert_int_equal(source_fixture_read(&fixture, items, 3), BM_OK);
    assert_int_equal(((const int64_t *)source_fixture_values(&fixture, "id"))[0], 3);
    assert_text("kind", 0, "", 0); // NULL
    assert_text("kind", 1, "cat", 3);
    assert_true(((const double *)source_fixture_values(&fixture, "age"))[0] == 5);
    assert_true(isnan(((const double *)source_fixture_values(&fixture, "age"))[2]));
    assert_true(isnan(((const double *)source_fixture_values(&fixture, "weight"))[0]));
    assert_true(((const double *)source_fixture_values(&fixture, "weight"))[2] == 9);
    assert_text("chip", 1, "\0\xff", 2);
    assert_true(((const bool *)source_fixture_values(&fixture, "indoors"))[1]);
    assert_int_equal(((const int64_t *)source_fixture_values(&fixture, "note"))[2], 8);
}

static void types_and_fills_may_be_given(void **state)
{
    (void)state;
    open_ok(
        "sqlite: {path: a.db, table: pets, columns: [age, kind], types: {age: int8}, fill: {age: "
        "-1, kind: none}}");
    assert_schema("kind string [], age int8 []");
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_int_equal(((const int8_t *)source_fixture_values(&fixture, "age"))[1], -1);
    assert_text("kind", 2, "none", 4);
    open_ok("sqlite: {path: a.db, table: pets, types: {age: int32}}");
    assert_int_equal(source_fixture_read_all(&fixture), BM_INVALID_ARGUMENT);
    assert_int_equal(fixture.failed_row, 1);
    assert_string_equal(fixture.error.where, "a.db: key 2, column age");
    assert_non_null(strstr(fixture.error.text, "expected int32"));
    assert_non_null(strstr(fixture.error.text, "got NULL"));
    open_ok("sqlite: {path: a.db, table: pets, columns: kind, types: {kind: int64}}");
    assert_int_equal(source_fixture_read_all(&fixture), BM_INVALID_ARGUMENT);
    assert_non_null(strstr(fixture.error.text, "got a text"));
    open_ok("sqlite: {path: a.db, table: pets, columns: id, types: {id: bool}}");
    assert_int_equal(source_fixture_read_all(&fixture), BM_INVALID_ARGUMENT);
    assert_int_equal(fixture.failed_row, 1); // 2 is neither 0 nor 1
}

static void keys_with_holes_come_in_their_order(void **state)
{
    (void)state;
    static const int64_t expected[] = {0, 1, 3, 4};
    open_ok("sqlite: {path: a.db, table: holes, key: k, columns: v}");
    assert_int_equal(fixture.source->nitems, 4);
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_memory_equal(source_fixture_values(&fixture, "v"), expected, sizeof expected);
}

static void queries_and_views_have_a_key_of_their_own(void **state)
{
    (void)state;
    open_ok(
        "sqlite: {path: a.db, query: 'SELECT id, age * 2 AS twice FROM pets WHERE age > 0', key: "
        "id}");
    assert_schema("id int64 [], twice int64 []");
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_int_equal(((const int64_t *)source_fixture_values(&fixture, "twice"))[1], 10);
    open_ok("sqlite: {path: a.db, table: old, key: id}");
    assert_int_equal(fixture.source->nitems, 2);
    open_ok("sqlite: {path: a.db, table: 'od\"d'}");
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    assert_int_equal(((const int64_t *)source_fixture_values(&fixture, "x"))[1], 6);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    refuse("sqlite: {path: a.db, table: cats}", "table",
           "expected a table of a.db (holes, od\"d, "
           "old, pets), got \"cats\"");
    refuse("sqlite: {path: a.db}", "sqlite", "either `table` or `query`, got neither");
    refuse("sqlite: {path: a.db, query: 'SELECT 1 AS x'}", "key", "the column of the query");
    refuse("sqlite: {path: a.db, table: pets, columns: [age, size]}", "columns",
           "indoors, note), got \"size\"");
    refuse("sqlite: {path: a.db, table: pets, types: {age: int128}}", "types", "for age");
    refuse("sqlite: {path: a.db, table: pets, fill: {age: old}}", "fill", "for age, got \"old\"");
    refuse("sqlite: {path: a.db, table: pets, key: kind}", "key", "has something else");
    refuse("sqlite: {path: a.db, table: pets, key: indoors}", "key", "has one twice");
    refuse("sqlite: {path: a.db, table: old}", "key", "rowid");
    refuse("sqlite: {path: no.db, table: pets}", "path", "no.db");
    source_fixture_write(&fixture, "t.db", "this is no data base, but some text of enough bytes",
                         51);
    refuse("sqlite: {path: t.db, table: pets}", "t.db", "not a database");
}

static void nothing_but_select_reaches_the_file(void **state)
{
    (void)state;
    static const char *const queries[] = {
        "DELETE FROM pets",
        "SELECT id FROM pets; DELETE FROM pets",
        "SELECT id FROM pets) UNION SELECT (1",
        "PRAGMA user_version = 7",
        "ATTACH ''/tmp/batchmill-attached.db'' AS other",
        "SELECT load_extension(''x'') AS id",
        "SELECT id FROM pets WHERE id IN (SELECT writefile(''/tmp/x'', id))",
    };
    for (unsigned i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        char yaml[256];
        snprintf(yaml, sizeof yaml, "sqlite: {path: a.db, query: '%s', key: id}", queries[i]);
        enum bm_status status = source_fixture_open(&fixture, yaml);
        assert_true(status != BM_OK || strstr(queries[i], "UNION") != NULL);
    }
    assert_int_not_equal(access("/tmp/batchmill-attached.db", F_OK), 0);
    open_ok("sqlite: {path: a.db, table: pets}");
    assert_int_equal(fixture.source->nitems, 3);
}

static void a_database_that_is_being_written_is_refused(void **state)
{
    (void)state;
    source_fixture_write(&fixture, "a.db-wal", "changes", 7);
    refuse("sqlite: {path: a.db, table: pets}", "a.db", "a.db-wal holds changes");
}

static void the_identity_is_of_the_file_or_of_the_id(void **state)
{
    (void)state;
    open_ok("sqlite: {path: a.db, table: holes, key: k}");
    uint64_t first = fixture.source->identity;
    open_ok("sqlite: {path: a.db, table: holes, key: k, id: one}");
    uint64_t named = fixture.source->identity;
    execute("a.db", "UPDATE holes SET v = 7 WHERE k = 10");
    open_ok("sqlite: {path: a.db, table: holes, key: k}");
    assert_int_not_equal(fixture.source->identity, first);
    open_ok("sqlite: {path: a.db, table: holes, key: k, id: one}");
    assert_int_equal(fixture.source->identity, named);
    open_ok("sqlite: {path: a.db, table: holes, key: k, columns: v, id: one}");
    assert_int_not_equal(fixture.source->identity, named);
}

// ---- Threads ----

enum { MANY = 3000, THREADS = 4, ROWS = 64, ROUNDS = 40 };

static void *read_some(void *wrong_)
{
    unsigned *wrong = wrong_;
    const struct bm_source *source = fixture.source;
    uint64_t items[ROWS], epochs[ROWS] = {0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct bm_batch batch;
        int64_t failed = -1;
        for (uint64_t i = 0; i < ROWS; i++)
            items[i] = (i * 769 + (uint64_t)round * 31) % MANY;
        if (bm_batch_init(&batch, &source->schema, items, epochs, ROWS, NULL) != BM_OK ||
            bm_batch_alloc(&batch, 0, NULL) != BM_OK ||
            source->type->read(source, &batch, &failed, NULL) != BM_OK) {
            ++*wrong;
            continue;
        }
        const int64_t *v = (const int64_t *)(const void *)batch.tensors[0].data;
        for (uint64_t i = 0; i < ROWS; i++)
            *wrong += v[i] != (int64_t)(items[i] * items[i]);
        bm_batch_fini(&batch);
    }
    return NULL;
}

static void many_threads_read_at_once(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    unsigned wrong[THREADS] = {0};
    execute("many.db", "CREATE TABLE t (v INTEGER, text TEXT);"
                       "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < "
                       "2999) INSERT INTO t SELECT i * i, 'row ' || i FROM n;");
    open_ok("sqlite: {path: many.db, table: t}");
    assert_int_equal(fixture.source->nitems, MANY);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_some, &wrong[i]), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

// ---- Broken files: rows or an error, never more than that ----

static void any_damage_is_survived(void **state)
{
    (void)state;
    static unsigned char bytes[1 << 16];
    FILE *file = fopen(source_fixture_path(&fixture, "a.db"), "rb");
    assert_non_null(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (unsigned round = 0; round < 300; round++) {
        size_t at = (round * 7919u + 16) % size, length = round % 10 == 0 ? at : size;
        unsigned char before = bytes[at];
        bytes[at] ^= (unsigned char)(1 + round % 255);
        source_fixture_write(&fixture, "b.db", bytes, length);
        if (source_fixture_open(&fixture, "sqlite: {path: b.db, table: pets}") == BM_OK)
            source_fixture_read_all(&fixture);
        bytes[at] = before;
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(columns_have_the_types_they_were_declared_with),
        TEST(types_and_fills_may_be_given),
        TEST(keys_with_holes_come_in_their_order),
        TEST(queries_and_views_have_a_key_of_their_own),
        TEST(what_makes_no_sense_is_refused),
        TEST(nothing_but_select_reaches_the_file),
        TEST(a_database_that_is_being_written_is_refused),
        TEST(the_identity_is_of_the_file_or_of_the_id),
        TEST(many_threads_read_at_once),
        TEST(any_damage_is_survived),
    };
    return cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
