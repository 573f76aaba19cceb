// What sources/lmdb.c promises: values by the order of their keys, from any number of threads.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <lmdb.h>

#include "fakes/source_fixture.h"
#include "support.h"

static struct source_fixture fixture;

enum { N = 500 };

// Item i: key "k000" .. or, in the database "odd", keys of other lengths; value i % 7 times 'v'.
static void fill(MDB_env *environment, const char *database)
{
    MDB_txn *transaction;
    MDB_dbi dbi;
    assert_int_equal(mdb_txn_begin(environment, NULL, 0, &transaction), 0);
    assert_int_equal(mdb_dbi_open(transaction, database, MDB_CREATE, &dbi), 0);
    for (unsigned i = 0; i < N; i++) {
        char key[16], value[8] = "vvvvvvv";
        int size = snprintf(key, sizeof key, database == NULL ? "k%03u" : "%u", i);
        MDB_val k = {(size_t)size, key}, v = {i % 7, value};
        assert_int_equal(mdb_put(transaction, dbi, &k, &v, 0), 0);
    }
    assert_int_equal(mdb_txn_commit(transaction), 0);
}

static void environment_make(const char *name, unsigned flags, const char *database)
{
    MDB_env *environment;
    assert_int_equal(mdb_env_create(&environment), 0);
    assert_int_equal(mdb_env_set_maxdbs(environment, 2), 0);
    assert_int_equal(
        mdb_env_open(environment, source_fixture_path(&fixture, name), flags | MDB_NOSYNC, 0600),
        0);
    fill(environment, database);
    mdb_env_close(environment);
}

static int make_fixture(void **state)
{
    (void)state;
    source_fixture_init(&fixture);
    assert_int_equal(mkdir(source_fixture_path(&fixture, "folder"), 0700), 0);
    environment_make("folder", 0, NULL);
    environment_make("file.mdb", MDB_NOSUBDIR, "odd");
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

static void values_come_in_the_order_of_their_keys(void **state)
{
    (void)state;
    static const uint64_t items[] = {499, 0, 6, 13, 6, 100};
    open_ok("lmdb: {path: folder, component: image, key: name}");
    assert_int_equal(fixture.source->nitems, N);
    assert_string_equal(fixture.source->schema.components[0].name, "image");
    assert_int_equal(source_fixture_read(&fixture, items, 6), BM_OK);
    for (uint64_t row = 0; row < 6; row++) {
        uint64_t n;
        char key[16];
        snprintf(key, sizeof key, "k%03u", (unsigned)items[row]);
        const unsigned char *at = bm_batch_rows(&fixture.batch, 0, row, 1, &n);
        assert_int_equal(n, items[row] % 7);
        assert_true(n == 0 || memcmp(at, "vvvvvvv", n) == 0);
        at = bm_batch_rows(&fixture.batch, 1, row, 1, &n);
        assert_int_equal(n, 4);
        assert_memory_equal(at, key, 4);
    }
}

static void keys_may_be_of_any_length_in_a_named_database(void **state)
{
    (void)state;
    static const char *const first[] = {"0", "1", "10", "100", "101"};
    open_ok("lmdb: {path: file.mdb, database: odd, key: k}");
    assert_int_equal(source_fixture_read_all(&fixture), BM_OK);
    for (uint64_t row = 0; row < 5; row++) {
        uint64_t n;
        const unsigned char *at = bm_batch_rows(&fixture.batch, 1, row, 1, &n);
        assert_int_equal(n, strlen(first[row]));
        assert_memory_equal(at, first[row], n);
    }
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    refuse("lmdb: {path: nowhere}", "path", "nowhere");
    refuse("lmdb: {path: file.mdb, database: even}", "database", "there is no \"even\"");
    refuse("lmdb: {path: folder, key: data}", "", "there is a component of this name already");
    source_fixture_write(&fixture, "text", "this is some text and no data base at all", 41);
    refuse("lmdb: {path: text}", "text", "LMDB says");
}

static void the_identity_is_of_the_file_or_of_the_id(void **state)
{
    (void)state;
    open_ok("lmdb: {path: folder}");
    uint64_t identity = fixture.source->identity;
    open_ok("lmdb: {path: folder, id: a}");
    assert_int_not_equal(fixture.source->identity, identity);
    open_ok("lmdb: {path: folder}");
    assert_int_equal(fixture.source->identity, identity);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_fixture, free_fixture)
    const struct CMUnitTest tests[] = {
        TEST(values_come_in_the_order_of_their_keys),
        TEST(keys_may_be_of_any_length_in_a_named_database),
        TEST(what_makes_no_sense_is_refused),
        TEST(the_identity_is_of_the_file_or_of_the_id),
    };
    return cmocka_run_group_tests_name("lmdb", tests, NULL, NULL);
}
