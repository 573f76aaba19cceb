// How messages lie on a stream, byte for byte.
#include "net/frame.h"

#include "support.h"

static void a_greeting_is_that_of_nng(void **state)
{
    (void)state;
    unsigned char bytes[BM_GREETING_BYTES];
    bm_greeting_put(bytes, BM_GREETING_REQ);
    assert_memory_equal(bytes, "\0SP\0\0\x30\0\0", 8);
    assert_true(bm_greeting_is(bytes, BM_GREETING_REQ));
    assert_false(bm_greeting_is(bytes, BM_GREETING_REP));
    for (unsigned i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 1;
        assert_false(bm_greeting_is(bytes, BM_GREETING_REQ));
        bytes[i] ^= 1;
    }
}

static void a_head_has_the_length_and_the_id_in_network_order(void **state)
{
    (void)state;
    unsigned char head[BM_FRAME_HEAD_MAX];
    uint64_t size;
    bm_frame_head_put(head, false, 0x10203, 0x80000007);
    assert_int_equal(bm_frame_head_bytes(false), 12);
    assert_memory_equal(head, "\0\0\0\0\0\x01\x02\x07\x80\0\0\x07", 12); // with the id's 4 bytes
    assert_true(bm_frame_length(head, false, &size));
    assert_int_equal(size, 0x10203);
    assert_int_equal(bm_frame_id(head, false), 0x80000007);
    bm_frame_head_put(head, true, 0x10203, 0x80000007);
    assert_int_equal(bm_frame_head_bytes(true), 13);
    assert_memory_equal(head, "\x01\0\0\0\0\0\x01\x02\x07\x80\0\0\x07", 13);
    assert_true(bm_frame_length(head, true, &size));
    assert_int_equal(size, 0x10203);
    assert_int_equal(bm_frame_id(head, true), 0x80000007);
}

static void what_is_no_head_is_refused(void **state)
{
    (void)state;
    uint64_t size;
    for (unsigned char length = 0; length < 4; length++) { // no room for an id
        const unsigned char head[12] = {[7] = length};
        assert_false(bm_frame_length(head, false, &size));
    }
    const unsigned char empty[12] = {[7] = 4};
    assert_true(bm_frame_length(empty, false, &size));
    assert_int_equal(size, 0);
    const unsigned char huge[12] = {255, 255, 255, 255, 255, 255, 255, 255};
    assert_true(bm_frame_length(huge, false, &size));
    assert_true(size == UINT64_MAX - 4);
    const unsigned char other[13] = {2, [8] = 9};
    assert_false(bm_frame_length(other, true, &size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_greeting_is_that_of_nng),
        cmocka_unit_test(a_head_has_the_length_and_the_id_in_network_order),
        cmocka_unit_test(what_is_no_head_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
