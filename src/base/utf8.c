#include "base/utf8.h"

#include <stdint.h>

unsigned bm_utf8_length(const unsigned char *at, const unsigned char *end)
{
    if (*at < 0x80)
        return 1;
    unsigned length = *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : 2;
    if (*at < 0xc2 || *at > 0xf4 || (uint64_t)(end - at) < length)
        return 0;
    for (unsigned i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    bool bad_second = (*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f) ||
                      (*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] > 0x8f);
    return bad_second ? 0 : length;
}

bool bm_utf8_valid(const void *text, size_t size)
{
    const unsigned char *at = text, *end = at + size;
    while (at < end) {
        unsigned length = bm_utf8_length(at, end);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}
