#include "net/frame.h"

#include <endian.h>
#include <string.h>

void bm_greeting_put(unsigned char to[BM_GREETING_BYTES], enum bm_greeting who)
{
    const unsigned char greeting[BM_GREETING_BYTES] = {0, 'S', 'P', 0, 0, (unsigned char)who, 0, 0};
    memcpy(to, greeting, sizeof greeting);
}

bool bm_greeting_is(const unsigned char from[BM_GREETING_BYTES], enum bm_greeting who)
{
    unsigned char expected[BM_GREETING_BYTES];
    bm_greeting_put(expected, who);
    return memcmp(from, expected, sizeof expected) == 0;
}

size_t bm_frame_head_bytes(bool is_ipc)
{
    return is_ipc ? BM_FRAME_HEAD_MAX : BM_FRAME_HEAD_MAX - 1;
}

void bm_frame_head_put(unsigned char *to, bool is_ipc, uint64_t message_bytes, uint32_t id)
{
    uint64_t length = htobe64(BM_FRAME_ID_BYTES + message_bytes);
    id = htobe32(id);
    if (is_ipc)
        *to++ = 1;
    memcpy(to, &length, sizeof length);
    memcpy(to + sizeof length, &id, sizeof id);
}

bool bm_frame_length(const unsigned char *head, bool is_ipc, uint64_t *ret_message_bytes)
{
    uint64_t length;
    if (is_ipc && *head++ != 1)
        return false;
    memcpy(&length, head, sizeof length);
    length = be64toh(length);
    *ret_message_bytes = length - BM_FRAME_ID_BYTES;
    return length >= BM_FRAME_ID_BYTES;
}

uint32_t bm_frame_id(const unsigned char *head, bool is_ipc)
{
    uint32_t id;
    memcpy(&id, head + bm_frame_head_bytes(is_ipc) - BM_FRAME_ID_BYTES, sizeof id);
    return be32toh(id);
}
