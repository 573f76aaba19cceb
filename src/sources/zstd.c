#include "sources/zstd.h"

#include <inttypes.h>
#include <stdlib.h>

#include <zstd.h>

enum {
    FIRST_SIZE = 1 << 16,
    WINDOW_LOG_MAX = 27 // 128 MiB of history, as the command zstd allows by itself
};

struct unpacker {
    ZSTD_DCtx *context;
    ZSTD_inBuffer in;
    char *data;
    uint64_t size, capacity, size_max;
    const char *name;
};

static enum bm_status unpacker_no_memory(const struct unpacker *unpacker, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, unpacker->name, "out of memory");
}

static enum bm_status unpacker_grow(struct unpacker *unpacker, struct bm_error *err)
{
    if (unpacker->size < unpacker->capacity)
        return BM_OK;
    if (unpacker->capacity > unpacker->size_max)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, unpacker->name,
                       "expected at most %" PRIu64 " bytes after decompression, got more",
                       unpacker->size_max);
    uint64_t capacity = unpacker->capacity == 0 ? FIRST_SIZE : unpacker->capacity * 2;
    if (capacity > unpacker->size_max)
        capacity = unpacker->size_max + 1; // the one more byte shows that there is more
    char *data = realloc(unpacker->data, capacity + 1);
    if (data == NULL)
        return unpacker_no_memory(unpacker, err);
    unpacker->data = data;
    unpacker->capacity = capacity;
    return BM_OK;
}

static enum bm_status unpacker_run(struct unpacker *unpacker, struct bm_error *err)
{
    size_t left = 1; // 0: at the end of a frame
    while (unpacker->in.pos < unpacker->in.size || left > 0) {
        enum bm_status status = unpacker_grow(unpacker, err);
        if (status != BM_OK)
            return status;
        ZSTD_outBuffer out = {.dst = unpacker->data + unpacker->size,
                              .size = unpacker->capacity - unpacker->size};
        size_t used = unpacker->in.pos;
        left = ZSTD_decompressStream(unpacker->context, &out, &unpacker->in);
        if (ZSTD_isError(left))
            return bm_fail(err, BM_DATA_LOSS, unpacker->name,
                           "expected valid zstd data, got bad bytes after byte %zu (%s)", used,
                           ZSTD_getErrorName(left));
        unpacker->size += out.pos;
        bool stuck = unpacker->in.pos == used && out.pos == 0;
        if (stuck && left > 0 && unpacker->in.pos == unpacker->in.size)
            return bm_fail(err, BM_DATA_LOSS, unpacker->name,
                           "expected more zstd data, the file ends after %zu bytes",
                           unpacker->in.size);
    }
    return BM_OK;
}

enum bm_status bm_unzstd(const struct bm_content *packed, uint64_t size_max, const char *name,
                         struct bm_content *ret_content, struct bm_error *err)
{
    struct unpacker unpacker = {.context = ZSTD_createDCtx(),
                                .in = {.src = packed->data, .size = packed->size},
                                .size_max = size_max,
                                .name = name};
    if (unpacker.context == NULL)
        return unpacker_no_memory(&unpacker, err);
    ZSTD_DCtx_setParameter(unpacker.context, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
    enum bm_status status = unpacker_run(&unpacker, err);
    if (status == BM_OK && unpacker.size > size_max)
        status =
            bm_fail(err, BM_RESOURCE_EXHAUSTED, name,
                    "expected at most %" PRIu64 " bytes after decompression, got more", size_max);
    ZSTD_freeDCtx(unpacker.context);
    if (status != BM_OK) {
        free(unpacker.data);
        return status;
    }
    unpacker.data[unpacker.size] = '\0';
    *ret_content = (struct bm_content){.data = unpacker.data, .size = unpacker.size};
    return BM_OK;
}
