// codec.h -- bytes to requests, replies to bytes. Layer: server (may include everything in src/).
//
// Encoding writes each tensor once, straight into the memory the caller gives (the outgoing
// message), with the headers around it; the bytes are those that protobuf-c would produce.
// Threads: any thread.
#pragma once
#include <sys/uio.h>

#include "server/messages.h"

enum {
    BM_REQUEST_BYTES_MAX = 64 * 1024,
    BM_REQUEST_MEMORY_MAX = 1024 * 1024,            // what unpacking one request may allocate
    BM_TASK_REQUEST_BYTES_MAX = 1024 * 1024 * 1024, // of one that brings what a lender made
    BM_REPLY_BYTES_MAX = INT32_MAX,                 // what protobuf parsers accept
    BM_LENT_BYTES_MIN = 16 * 1024,                  // a smaller tensor is copied beside its heads
    BM_CHECKED_BYTES_MAX = 64 * 1024, // a longer reply has a check only if the stream wants it
    // Tensor data and offsets start at an offset o of the Response with o % 64 == 12: behind the
    // 4-byte request id of nng's REQ that is 16-byte aligned in the frame, and 64-byte aligned
    // where nng's C library puts a large message.
    BM_WIRE_ALIGNMENT = 64,
    BM_WIRE_ALIGNMENT_REST = 12,
};

// The error is for the peer. On failure the request holds the token, if it could be read, and
// nothing else, so that nobody without it is told what is wrong; bm_request_fini() it in any case.
enum bm_status bm_request_decode(const void *bytes, size_t size, struct bm_request *ret_request,
                                 struct bm_error *err);
// Of one that may be as long as `size_max`, and that looks at `bytes`, of malloc(): then it has
// them, and *ret_taken is true.
enum bm_status bm_request_decode_long(void *bytes, size_t size, size_t size_max,
                                      struct bm_request *ret_request, bool *ret_taken,
                                      struct bm_error *err);

// Calls `alloc` once with the exact size and fills what it returns; NULL from it is out of memory.
enum bm_status bm_reply_encode(const struct bm_reply *reply,
                               void *(*alloc)(void *context, size_t size), void *context,
                               struct bm_error *err);
// A reply as pieces of memory, in their order. Large tensors are lent: they lie where the action
// left them, so the reply must live as long.
struct bm_reply_pieces {
    struct iovec *pieces;
    unsigned npieces;
    uint64_t size;        // of all
    unsigned char *heads; // owned: all that is not lent
};
// `spare` bytes are left free before the first piece, which lies in `heads`.
enum bm_status bm_reply_gather(const struct bm_reply *reply, size_t spare,
                               struct bm_reply_pieces *ret_pieces, struct bm_error *err);
void bm_reply_pieces_fini(struct bm_reply_pieces *pieces); // all-zero is fine

// What one outcome adds to a reply, roughly, for max_bytes.
uint64_t bm_outcome_wire_bytes(const struct bm_outcome *outcome, bool by_reference);
