// text.c -- texts of plug-ins travel to clients, whose readers insist on UTF-8.
#include <string.h>

#include "plugin/internal.h"

// Bytes of the character that `text` begins with; 0: it is none.
static size_t character_length(const unsigned char *text)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; // of so many bytes
    size_t length = text[0] < 0x80             ? 1
                    : (text[0] & 0xe0) == 0xc0 ? 2
                    : (text[0] & 0xf0) == 0xe0 ? 3
                    : (text[0] & 0xf8) == 0xf0 ? 4
                                               : 0;
    uint32_t code = length < 2 ? text[0] : text[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) // also the final NUL
            return 0;
        code = code << 6 | (text[i] & 0x3f);
    }
    bool control = code < 0x20 || code == 0x7f;
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return length == 0 || control || surrogate || code < least[length] || code > 0x10ffff ? 0
                                                                                          : length;
}

bool plugin_text_clean(const char *text)
{
    size_t length = 1;
    for (; *text != '\0' && length > 0; text += length)
        length = character_length((const unsigned char *)text);
    return length > 0;
}

void plugin_text_copy(const char *from, char *to, size_t size)
{
    size_t used = 0;
    while (from != NULL && *from != '\0') {
        size_t length = character_length((const unsigned char *)from);
        size_t taken = length == 0 ? 1 : length;
        if (used + taken >= size)
            break;
        memcpy(to + used, length == 0 ? "?" : from, taken);
        used += taken;
        from += taken;
    }
    to[used] = '\0';
}
