// What base/hash.h promises: canonical XXH3, in pieces or at once, with texts kept apart.
#include "base/hash.h"

#include "support.h"

static uint64_t hash_of_texts(const char *first, const char *second)
{
    struct bm_hash *hash = bm_hash_new();
    assert_non_null(hash);
    bm_hash_add_text(hash, first);
    bm_hash_add_text(hash, second);
    uint64_t value = bm_hash_end(hash);
    bm_hash_free(hash);
    return value;
}

static void the_published_value_of_nothing_comes_out(void **state)
{
    (void)state;
    struct bm_hash *hash = bm_hash_new();
    assert_non_null(hash);
    assert_int_equal(bm_hash_end(hash), 0x2d06800538d394c2u);
    assert_int_equal(bm_hash_bytes("", 0), 0x2d06800538d394c2u);
    bm_hash_free(hash);
    bm_hash_free(NULL);
}

static void pieces_hash_like_the_whole(void **state)
{
    (void)state;
    unsigned char data[5000];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * i >> 3);
    for (size_t piece = 1; piece < sizeof data; piece = piece * 3 + 1) {
        struct bm_hash *hash = bm_hash_new();
        assert_non_null(hash);
        for (size_t at = 0; at < sizeof data; at += piece)
            bm_hash_add(hash, data + at, piece < sizeof data - at ? piece : sizeof data - at);
        assert_int_equal(bm_hash_end(hash), bm_hash_bytes(data, sizeof data));
        bm_hash_free(hash);
    }
}

static void the_value_can_be_read_on_the_way(void **state)
{
    (void)state;
    struct bm_hash *hash = bm_hash_new();
    assert_non_null(hash);
    bm_hash_add(hash, "ab", 2);
    assert_int_equal(bm_hash_end(hash), bm_hash_bytes("ab", 2));
    bm_hash_add(hash, "c", 1);
    assert_int_equal(bm_hash_end(hash), bm_hash_bytes("abc", 3));
    bm_hash_free(hash);
}

static void where_a_text_ends_matters(void **state)
{
    (void)state;
    assert_int_not_equal(hash_of_texts("ab", "c"), hash_of_texts("a", "bc"));
    assert_int_not_equal(hash_of_texts("", "a"), hash_of_texts("a", ""));
    assert_int_equal(hash_of_texts("ab", "c"), bm_hash_bytes("ab\0c", 5));
}

static void a_number_is_8_little_endian_bytes(void **state)
{
    (void)state;
    struct bm_hash *hash = bm_hash_new();
    assert_non_null(hash);
    bm_hash_add_u64(hash, 0x0807060504030201u);
    assert_int_equal(bm_hash_end(hash), bm_hash_bytes("\1\2\3\4\5\6\7\10", 8));
    bm_hash_free(hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_value_of_nothing_comes_out),
        cmocka_unit_test(pieces_hash_like_the_whole),
        cmocka_unit_test(the_value_can_be_read_on_the_way),
        cmocka_unit_test(where_a_text_ends_matters),
        cmocka_unit_test(a_number_is_8_little_endian_bytes),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
