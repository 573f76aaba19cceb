#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/hash.h"

enum { TAG = BM_CHECK_FIELD << 3 | 1 };

enum bm_check bm_check_end(const void *bytes, size_t size)
{
    if (size < BM_CHECK_SIZE)
        return BM_CHECK_NONE;
    const unsigned char *end = (const unsigned char *)bytes + size - BM_CHECK_SIZE;
    uint64_t hash = bm_hash_bytes(bytes, size - BM_CHECK_SIZE); // little-endian, as on the wire
    bool tagged = end[0] == TAG, hashed = memcmp(end + 1, &hash, sizeof hash) == 0;
    if (tagged && hashed)
        return BM_CHECK_HOLDS;
    return tagged || hashed ? BM_CHECK_BROKEN : BM_CHECK_NONE;
}

void bm_check_put(void *bytes, size_t size)
{
    unsigned char *end = (unsigned char *)bytes + size;
    uint64_t hash = bm_hash_bytes(bytes, size);
    end[0] = TAG;
    memcpy(end + 1, &hash, sizeof hash);
}
