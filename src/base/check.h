// check.h -- the check at the end of a message: 9 bytes that tell whether it was altered. Layer:
// base.
//
// To protobuf they are field 14, a fixed64; its value is the XXH3 of all bytes before them. So a
// message with a check is as good a message to those who do not know of it.
// Threads: any thread.
#pragma once
#include <stddef.h>

enum { BM_CHECK_FIELD = 14, BM_CHECK_SIZE = 9 };

enum bm_check {
    BM_CHECK_NONE,   // the last bytes are no check; or of a message that ends like one by chance
    BM_CHECK_BROKEN, // they have the tag of one, or the hash of one, and not both
    BM_CHECK_HOLDS,
};
enum bm_check bm_check_end(const void *bytes, size_t size);
// Writes one behind the `size` bytes of a message, where there is room for it.
void bm_check_put(void *bytes, size_t size);
