// frame.h -- how requests and replies lie on a byte stream, as nng's REQ and REP have it.
// Layer: net (may include base).
//
// Each side first says "\0SP\0", its protocol, and "\0\0". A frame is a length of 8 bytes,
// big-endian (ipc: a byte 1 before it), a request id of 4 bytes, which the reply repeats and whose
// highest bit is set, and the message; the length counts the id.
//
// Threads: any thread.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BM_GREETING_BYTES = 8,
    BM_FRAME_ID_BYTES = 4,
    BM_FRAME_HEAD_MAX = 1 + 8 + BM_FRAME_ID_BYTES,
};
enum bm_greeting { BM_GREETING_REQ = 0x30, BM_GREETING_REP = 0x31 };

void bm_greeting_put(unsigned char to[BM_GREETING_BYTES], enum bm_greeting who);
bool bm_greeting_is(const unsigned char from[BM_GREETING_BYTES], enum bm_greeting who);

size_t bm_frame_head_bytes(bool is_ipc);
void bm_frame_head_put(unsigned char *to, bool is_ipc, uint64_t message_bytes, uint32_t id);
// The message's length, of all of the head but the id. False: no frame begins like that.
bool bm_frame_length(const unsigned char *head, bool is_ipc, uint64_t *ret_message_bytes);
uint32_t bm_frame_id(const unsigned char *head, bool is_ipc); // of the whole head
