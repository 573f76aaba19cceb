// What image/exif.c promises: the orientation where there is one, and 1 for whatever makes no
// sense.
#include <stdlib.h>
#include <string.h>

#include "image/exif.h"
#include "support.h"

// Two entries, the second of which is the orientation 6.
static const unsigned char little[] = {
    'I',  'I',  42, 0, 8, 0, 0, 0, 2, 0,       // head, where the entries are, how many
    0x00, 0x01, 4,  0, 1, 0, 0, 0, 9, 0, 0, 0, // the width
    0x12, 0x01, 3,  0, 1, 0, 0, 0, 6, 0, 0, 0, // the orientation
    0,    0,    0,  0,                         // no further entries
};
static const unsigned char big[] = {
    'M',  'M',  0, 42, 0, 0, 0, 8, 0, 1,       //
    0x01, 0x12, 0, 3,  0, 0, 0, 1, 0, 8, 0, 0, //
};

static void both_byte_orders_are_read(void **state)
{
    (void)state;
    assert_int_equal(bm_exif_orientation(little, sizeof little), 6);
    assert_int_equal(bm_exif_orientation(big, sizeof big), 8);
}

static void what_makes_no_sense_means_upright(void **state)
{
    (void)state;
    static const struct {
        unsigned at;
        unsigned char value;
    } changes[] = {
        {0, 'X'},   // no byte order
        {2, 43},    // no TIFF
        {4, 200},   // entries behind the end
        {7, 0xff},  //
        {8, 1},     // one entry only
        {22, 0x13}, // another entry
        {24, 4},    // of another type
        {30, 0},    // no orientation
        {30, 9},    //
        {31, 1},    //
    };
    for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        unsigned char block[sizeof little];
        memcpy(block, little, sizeof block);
        block[changes[i].at] = changes[i].value;
        if (bm_exif_orientation(block, sizeof block) != 1)
            fail_msg("change %u", i);
    }
}

static void a_block_that_is_cut_off_means_upright(void **state)
{
    (void)state;
    for (size_t size = 0; size < sizeof little; size++) {
        unsigned char *block = malloc(size + (size == 0)); // so that ASan sees its end
        assert_non_null(block);
        memcpy(block, little, size);
        assert_int_equal(bm_exif_orientation(block, size), size < 34 ? 1 : 6);
        free(block);
    }
}

// A file up to its first scan: a comment, another kind of APP1, fill, and then EXIF.
#define BEFORE "\xff\xd8\xff\xfe\0\x04no\xff\xe1\0\x0bhttp://x\0\xff\xff\xff\xe1\0\x0b"
#define EXIF "Exif\0\0abc"

static void the_block_is_found_among_the_markers_of_a_file(void **state)
{
    (void)state;
    static const char file[] = BEFORE EXIF "\xff\xda";
    size_t size = 0;
    const unsigned char *block = bm_exif_in_jpeg((const unsigned char *)file, sizeof file, &size);
    assert_non_null(block);
    assert_int_equal(size, 3);
    assert_memory_equal(block, "abc", 3);
}

static void behind_the_first_scan_nothing_is_looked_for(void **state)
{
    (void)state;
    static const char file[] = "\xff\xd8\xff\xda\0\x02\xff\xe1\0\x0b" EXIF;
    size_t size = 0;
    assert_null(bm_exif_in_jpeg((const unsigned char *)file, sizeof file, &size));
}

static void a_file_that_is_cut_off_has_no_block(void **state)
{
    (void)state;
    static const char file[] = BEFORE EXIF;
    for (size_t size = 3; size < sizeof file - 1; size++) {
        unsigned char *data = malloc(size); // so that ASan sees its end
        assert_non_null(data);
        memcpy(data, file, size);
        size_t found = 0;
        assert_null(bm_exif_in_jpeg(data, size, &found));
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_byte_orders_are_read),
        cmocka_unit_test(what_makes_no_sense_means_upright),
        cmocka_unit_test(a_block_that_is_cut_off_means_upright),
        cmocka_unit_test(the_block_is_found_among_the_markers_of_a_file),
        cmocka_unit_test(behind_the_first_scan_nothing_is_looked_for),
        cmocka_unit_test(a_file_that_is_cut_off_has_no_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
