// A position is either exactly what a server gave, with some batch number, or refused.
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "fakes/heap.h"
#include "server/position.h"
#include "support.h"

static const struct bm_position example = {
    .pipeline = "digits",
    .fingerprint = {0x0123456789abcdef, 0xfedcba9876543210, 1},
    .order =
        {
            .batch_size = 64,
            .shuffle = true,
            .seed = UINT64_MAX,
            .n_epochs = 3,
            .n_iters = BM_ORDER_UNSET,
            .drop_last = true,
            .shard_index = 1,
            .shard_count = 4,
        },
};

static void token_make(const struct bm_position *position, const char *seq,
                       char token[BM_POSITION_MAX + 2])
{
    char *stem = bm_position_stem(position);
    assert_non_null(stem);
    assert_true(strlen(stem) + strlen(seq) < BM_POSITION_MAX);
    strcpy(token, stem);
    strcat(token, ".");
    strcat(token, seq);
    free(stem);
}

static void positions_equal(const struct bm_position *a, const struct bm_position *b)
{
    assert_string_equal(a->pipeline, b->pipeline);
    assert_true(a->fingerprint.definition == b->fingerprint.definition);
    assert_true(a->fingerprint.data == b->fingerprint.data);
    assert_true(a->fingerprint.format == b->fingerprint.format);
    assert_true(a->order.batch_size == b->order.batch_size);
    assert_int_equal(a->order.shuffle, b->order.shuffle);
    assert_true(a->order.seed == b->order.seed);
    assert_true(a->order.n_epochs == b->order.n_epochs);
    assert_true(a->order.n_iters == b->order.n_iters);
    assert_int_equal(a->order.drop_last, b->order.drop_last);
    assert_int_equal(a->order.epoch_border, b->order.epoch_border);
    assert_true(a->order.shard_index == b->order.shard_index);
    assert_true(a->order.shard_count == b->order.shard_count);
}

static void a_position_comes_back_as_it_was(void **state)
{
    (void)state;
    char token[BM_POSITION_MAX + 2];
    struct bm_position parsed;
    struct bm_position position = example;
    for (size_t length = 1; length <= BM_NAME_MAX; length++) { // all three ways base64 can end
        memset(position.pipeline, 'p', length);
        position.pipeline[length] = '\0';
        position.order.shuffle = length % 2 == 0;
        position.order.epoch_border = length % 3 == 0 ? BM_BORDER_CROSS : BM_BORDER_STOP;
        position.order.drop_last = length % 5 == 0;
        token_make(&position, "18446744073709551615", token);
        assert_int_equal(bm_position_parse(token, &parsed, NULL), BM_OK);
        positions_equal(&parsed, &position);
        assert_true(parsed.seq == UINT64_MAX);
    }
    token_make(&example, "0", token);
    assert_int_equal(bm_position_parse(token, &parsed, NULL), BM_OK);
    assert_int_equal(parsed.seq, 0);
}

static void a_position_reads_the_same_for_ever(void **state)
{
    (void)state;
    static const char token[] = "bm2.moapHvtKWoPvzauJZ0UjARAyVHaYutz-AQAAAAAAAABAAAAAAAAAAP______"
                                "____AwAAAAAAAAD__________wEAAAAAAAAABAAAAAAAAAADZGlnaXRz.7";
    struct bm_position parsed;
    assert_int_equal(bm_position_parse(token, &parsed, NULL), BM_OK);
    positions_equal(&parsed, &example);
    assert_int_equal(parsed.seq, 7);
}

static void every_truncation_is_refused_or_another_batch(void **state)
{
    (void)state;
    char token[BM_POSITION_MAX + 2];
    struct bm_position parsed;
    struct bm_error error;
    token_make(&example, "123", token);
    size_t stem = strlen(token) - 3; // with its dot
    for (size_t length = strlen(token); length-- > 0;) {
        token[length] = '\0';
        memset(&error, 0, sizeof error);
        enum bm_status status = bm_position_parse(token, &parsed, &error);
        if (length > stem) {
            assert_int_equal(status, BM_OK);
            positions_equal(&parsed, &example);
            assert_int_equal(parsed.seq, length - stem == 1 ? 1 : 12);
        } else {
            assert_int_equal(status, BM_INVALID_ARGUMENT);
            assert_string_equal(error.where, "position");
        }
    }
}

static void every_changed_character_is_refused_or_another_batch(void **state)
{
    (void)state;
    char token[BM_POSITION_MAX + 2];
    token_make(&example, "123", token);
    size_t length = strlen(token);
    for (size_t i = 0; i < length; i++) {
        char was = token[i];
        for (int c = 1; c < 256; c++) {
            if ((char)c == was)
                continue;
            token[i] = (char)c;
            struct bm_position parsed;
            enum bm_status status = bm_position_parse(token, &parsed, NULL);
            bool digit = c >= '0' && c <= '9';
            if (i >= length - 3 && digit && !(i == length - 3 && c == '0')) {
                assert_int_equal(status, BM_OK);
                positions_equal(&parsed, &example);
                assert_int_not_equal(parsed.seq, 123);
            } else {
                assert_int_equal(status, BM_INVALID_ARGUMENT);
            }
        }
        token[i] = was;
    }
}

static void a_batch_number_has_one_spelling(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "-1",
                                      "+1",  " 1",
                                      "1 ",  "01",
                                      "00",  "1.",
                                      "x",   "18446744073709551616",
                                      "1e3", "99999999999999999999999999"};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char token[BM_POSITION_MAX + 2];
        struct bm_position parsed;
        struct bm_error error;
        token_make(&example, bad[i], token);
        assert_int_equal(bm_position_parse(token, &parsed, &error), BM_INVALID_ARGUMENT);
        assert_non_null(strstr(error.text, "batch number"));
    }
}

static void what_is_no_position_is_refused_with_a_reason(void **state)
{
    (void)state;
    char long_text[BM_POSITION_MAX + 2];
    memset(long_text, 'A', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    char long_stem[BM_POSITION_MAX] = "bm2.";
    memset(long_stem + 4, 'A', 600);
    strcpy(long_stem + 604, ".1");
    const struct {
        const char *text, *reason;
    } cases[] = {
        {"", "does not begin with bm2."},
        {"bm1.AAAA.1", "of an earlier version (bm1)"},
        {"bm3.AAAA.1", "does not begin with bm2."},
        {"bm2.", "without a batch number"},
        {"bm2.AAAA", "without a batch number"},
        {"bm2..1", "cut or mistyped"},
        {"bm2.AAAA.1", "cut or mistyped"},
        {"bm2.====.1", "cut or mistyped"},
        {long_text, "too long"},
        {long_stem, "too long"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bm_position parsed;
        struct bm_error error;
        assert_int_equal(bm_position_parse(cases[i].text, &parsed, &error), BM_INVALID_ARGUMENT);
        assert_non_null(strstr(error.text, cases[i].reason));
    }
}

// A token around any record, with a check that is right.
static void token_forge(unsigned char *record, size_t size, char *token)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t check = bm_hash_bytes(record + 8, size - 8);
    memcpy(record, &check, sizeof check);
    strcpy(token, "bm2.");
    char *at = token + 4;
    assert_int_equal(size % 3, 0);
    for (size_t bit = 0; bit < size * 8; bit += 6) {
        unsigned pair = (unsigned)record[bit / 8] << 8;
        pair |= bit / 8 + 1 < size ? record[bit / 8 + 1] : 0;
        *at++ = digits[pair >> (10 - bit % 8) & 63];
    }
    strcpy(at, ".5");
}

static void a_right_check_does_not_make_a_record_right(void **state)
{
    (void)state;
    enum { FLAGS_AT = 80, SIZE = 90 }; // the name takes the last 9 bytes
    static const struct {
        const char *name;
        unsigned flags;
        bool good;
    } cases[] = {
        {"digits789", 7, true},
        {"digits789", 8, false}, // of a newer server
        {"dig/ts789", 0, false},
        {"digits78\0", 0, false},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char record[SIZE] = {0};
        char token[BM_POSITION_MAX];
        struct bm_position parsed;
        record[FLAGS_AT] = (unsigned char)cases[i].flags;
        memcpy(record + FLAGS_AT + 1, cases[i].name, 9);
        token_forge(record, SIZE, token);
        assert_int_equal(bm_position_parse(token, &parsed, NULL),
                         cases[i].good ? BM_OK : BM_INVALID_ARGUMENT);
    }
}

static void a_stem_that_finds_no_memory_is_null(void **state)
{
    (void)state;
    bm_fake_heap_fail_at(1);
    char *stem = bm_position_stem(&example);
    bm_fake_heap_fail_never();
    assert_null(stem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_position_comes_back_as_it_was),
        cmocka_unit_test(a_position_reads_the_same_for_ever),
        cmocka_unit_test(every_truncation_is_refused_or_another_batch),
        cmocka_unit_test(every_changed_character_is_refused_or_another_batch),
        cmocka_unit_test(a_batch_number_has_one_spelling),
        cmocka_unit_test(what_is_no_position_is_refused_with_a_reason),
        cmocka_unit_test(a_right_check_does_not_make_a_record_right),
        cmocka_unit_test(a_stem_that_finds_no_memory_is_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
