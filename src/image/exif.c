#include "image/exif.h"

#include <stdbool.h>
#include <string.h>

enum { // of TIFF 6.0 and EXIF 2.3
    EXIF_HEAD_SIZE = 8,
    EXIF_ENTRY_SIZE = 12,
    EXIF_TAG_ORIENTATION = 0x0112,
    EXIF_TYPE_SHORT = 3,
};
enum { // of JPEG
    JPEG_MARKER_START_OF_SCAN = 0xda,
    JPEG_MARKER_APP1 = 0xe1,
};

static unsigned exif_number(const unsigned char *at, unsigned nbytes, bool big_endian)
{
    unsigned number = 0;
    for (unsigned i = 0; i < nbytes; i++)
        number = number << 8 | at[big_endian ? i : nbytes - 1 - i];
    return number;
}

unsigned bm_exif_orientation(const unsigned char *block, size_t size)
{
    if (size < EXIF_HEAD_SIZE || (memcmp(block, "II*", 4) != 0 && memcmp(block, "MM\0*", 4) != 0))
        return 1;
    bool big_endian = block[0] == 'M';
    size_t at = exif_number(block + 4, 4, big_endian);
    if (at > size || size - at < 2)
        return 1;
    unsigned nentries = exif_number(block + at, 2, big_endian);
    at += 2;
    for (; nentries > 0 && size - at >= EXIF_ENTRY_SIZE; nentries--, at += EXIF_ENTRY_SIZE) {
        const unsigned char *entry = block + at;
        if (exif_number(entry, 2, big_endian) != EXIF_TAG_ORIENTATION ||
            exif_number(entry + 2, 2, big_endian) != EXIF_TYPE_SHORT)
            continue;
        unsigned orientation = exif_number(entry + 8, 2, big_endian);
        return orientation >= 1 && orientation <= 8 ? orientation : 1;
    }
    return 1;
}

const unsigned char *bm_exif_in_jpeg(const unsigned char *data, size_t size, size_t *ret_size)
{
    static const char name[6] = "Exif\0";
    size_t at = 2; // behind the marker that starts a picture
    while (at < size && size - at >= 4 && data[at] == 0xff) {
        unsigned marker = data[at + 1];
        if (marker == 0xff) { // fill
            at++;
            continue;
        }
        size_t length = exif_number(data + at + 2, 2, true); // counts its own 2 bytes
        if (marker == JPEG_MARKER_START_OF_SCAN || length < 2 || length > size - at - 2)
            return NULL;
        if (marker == JPEG_MARKER_APP1 && length >= 2 + sizeof name &&
            memcmp(data + at + 4, name, sizeof name) == 0) {
            *ret_size = length - 2 - sizeof name;
            return data + at + 4 + sizeof name;
        }
        at += 2 + length;
    }
    return NULL;
}
