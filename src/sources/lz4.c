#include "sources/lz4.h"

#include <inttypes.h>
#include <stdbool.h>

#include <lz4frame.h>

static enum bm_status frame_unpack(LZ4F_dctx *context, const void *packed, uint64_t packed_size,
                                   void *to, uint64_t to_size, const char *where,
                                   struct bm_error *err)
{
    size_t read = 0, written = 0, left = 1; // 0: at the end of the frame
    bool stuck = false;
    while (left > 0 && !stuck) {
        size_t in = packed_size - read, out = to_size - written;
        left = LZ4F_decompress(context, (char *)to + written, &out, (const char *)packed + read,
                               &in, NULL);
        if (LZ4F_isError(left))
            return bm_fail(err, BM_DATA_LOSS, where,
                           "expected valid LZ4 data, got bad bytes after byte %zu (%s)", read,
                           LZ4F_getErrorName(left));
        stuck = in == 0 && out == 0;
        read += in;
        written += out;
    }
    if (left > 0 || written != to_size || read != packed_size)
        return bm_fail(err, BM_DATA_LOSS, where,
                       "expected one LZ4 frame of %" PRIu64 " bytes, got %s", to_size,
                       left > 0 ? "another" : "one of fewer, or bytes after it");
    return BM_OK;
}

enum bm_status bm_unlz4(const void *packed, uint64_t packed_size, void *to, uint64_t to_size,
                        const char *where, struct bm_error *err)
{
    LZ4F_dctx *context = NULL;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)))
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, where, "out of memory");
    enum bm_status status = frame_unpack(context, packed, packed_size, to, to_size, where, err);
    LZ4F_freeDecompressionContext(context);
    return status;
}
