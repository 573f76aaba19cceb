#include "sources/gzip.h"

#include <inttypes.h>
#include <stdlib.h>

#include <zlib.h>

enum {
    GZIP_ONLY = 16 + MAX_WBITS, // as inflateInit2() wants it said
    FIRST_SIZE = 1 << 16,
    STEP_MAX = 1 << 30 // zlib counts in unsigned int
};

struct unpacker {
    z_stream stream;
    const unsigned char *packed;
    uint64_t packed_size, packed_used;
    char *data;
    uint64_t size, capacity, size_max;
    const char *name;
};

static enum bm_status unpacker_too_big(const struct unpacker *unpacker, struct bm_error *err)
{
    return bm_fail(err, BM_RESOURCE_EXHAUSTED, unpacker->name,
                   "expected at most %" PRIu64 " bytes after decompression, got more",
                   unpacker->size_max);
}

static enum bm_status unpacker_grow(struct unpacker *unpacker, struct bm_error *err)
{
    if (unpacker->size < unpacker->capacity)
        return BM_OK;
    if (unpacker->capacity > unpacker->size_max)
        return unpacker_too_big(unpacker, err);
    uint64_t capacity = unpacker->capacity == 0 ? FIRST_SIZE : unpacker->capacity * 2;
    if (capacity > unpacker->size_max)
        capacity = unpacker->size_max + 1; // the one more byte shows that there is more
    char *data = realloc(unpacker->data, capacity + 1);
    if (data == NULL)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, unpacker->name,
                       "out of memory at %" PRIu64 " bytes after decompression", capacity);
    unpacker->data = data;
    unpacker->capacity = capacity;
    return BM_OK;
}

// One call of inflate() over at most STEP_MAX bytes on either side.
static int unpacker_step(struct unpacker *unpacker)
{
    z_stream *stream = &unpacker->stream;
    uint64_t in = unpacker->packed_size - unpacker->packed_used;
    uint64_t room = unpacker->capacity - unpacker->size;
    stream->next_in = (z_const Bytef *)unpacker->packed + unpacker->packed_used;
    stream->avail_in = (uInt)(in < STEP_MAX ? in : STEP_MAX);
    stream->next_out = (Bytef *)unpacker->data + unpacker->size;
    stream->avail_out = (uInt)(room < STEP_MAX ? room : STEP_MAX);
    uInt avail_in = stream->avail_in, avail_out = stream->avail_out;
    int result = inflate(stream, Z_NO_FLUSH);
    unpacker->packed_used += avail_in - stream->avail_in;
    unpacker->size += avail_out - stream->avail_out;
    return result;
}

static enum bm_status unpacker_fail(const struct unpacker *unpacker, int result,
                                    struct bm_error *err)
{
    if (result == Z_MEM_ERROR)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, unpacker->name, "out of memory");
    if (result == Z_BUF_ERROR)
        return bm_fail(err, BM_DATA_LOSS, unpacker->name,
                       "expected more gzip data, the file ends after %" PRIu64 " bytes",
                       unpacker->packed_size);
    return bm_fail(err, BM_DATA_LOSS, unpacker->name,
                   "expected valid gzip data, got bad bytes before byte %" PRIu64 " (%s)",
                   unpacker->packed_used,
                   unpacker->stream.msg == NULL ? zError(result) : unpacker->stream.msg);
}

// Some tools pad the last member with zeros.
static bool unpacker_only_zeros_left(const struct unpacker *unpacker)
{
    for (uint64_t i = unpacker->packed_used; i < unpacker->packed_size; i++) {
        if (unpacker->packed[i] != 0)
            return false;
    }
    return true;
}

static enum bm_status unpacker_run(struct unpacker *unpacker, struct bm_error *err)
{
    for (;;) {
        enum bm_status status = unpacker_grow(unpacker, err);
        if (status != BM_OK)
            return status;
        int result = unpacker_step(unpacker);
        if (result == Z_STREAM_END) {
            if (unpacker_only_zeros_left(unpacker))
                return BM_OK;
            result = inflateReset(&unpacker->stream);
        }
        if (result != Z_OK)
            return unpacker_fail(unpacker, result, err);
    }
}

enum bm_status bm_gunzip(const struct bm_content *packed, uint64_t size_max, const char *name,
                         struct bm_content *ret_content, struct bm_error *err)
{
    struct unpacker unpacker = {.packed = (const unsigned char *)packed->data,
                                .packed_size = packed->size,
                                .size_max = size_max,
                                .name = name};
    if (inflateInit2(&unpacker.stream, GZIP_ONLY) != Z_OK)
        return bm_fail(err, BM_RESOURCE_EXHAUSTED, name, "out of memory");
    enum bm_status status = unpacker_run(&unpacker, err);
    if (status == BM_OK && unpacker.size > size_max)
        status = unpacker_too_big(&unpacker, err);
    inflateEnd(&unpacker.stream);
    if (status != BM_OK) {
        free(unpacker.data);
        return status;
    }
    unpacker.data[unpacker.size] = '\0';
    *ret_content = (struct bm_content){.data = unpacker.data, .size = unpacker.size};
    return BM_OK;
}
