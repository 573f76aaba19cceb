// What base/crc32c.c promises: the check of iSCSI, for any length and place.
#include "base/crc32c.h"

#include <string.h>

#include "support.h"

// RFC 3720, appendix B.4, and the check value of the catalogue of CRCs (reveng: CRC-32/ISCSI).
static void known_values(void **state)
{
    (void)state;
    unsigned char bytes[32];
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(bm_crc32c(bytes, sizeof bytes), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(bm_crc32c(bytes, sizeof bytes), 0x62a8ab43);
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(bm_crc32c(bytes, sizeof bytes), 0x46dd794e);
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(31 - i);
    assert_int_equal(bm_crc32c(bytes, sizeof bytes), 0x113fdb5c);
    assert_int_equal(bm_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(bm_crc32c("", 0), 0);
}

// Bit by bit, as the standard defines it.
static uint32_t plain(const unsigned char *at, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= at[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void any_length_at_any_place(void **state)
{
    (void)state;
    unsigned char bytes[96];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 37 + 11);
    for (size_t first = 0; first < 9; first++) {
        for (size_t size = 0; first + size <= sizeof bytes; size++)
            assert_int_equal(bm_crc32c(bytes + first, size), plain(bytes + first, size));
    }
}

static void tables_and_the_processor_agree(void **state)
{
    (void)state;
    unsigned char bytes[67];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * i);
    for (size_t size = 0; size <= sizeof bytes; size++)
        assert_int_equal(bm_crc32c_plain(bytes, size), bm_crc32c(bytes, size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(any_length_at_any_place),
        cmocka_unit_test(tables_and_the_processor_agree),
    };
    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
