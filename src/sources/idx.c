// idx.c -- the format of MNIST: 00 00, a type byte, the number of axes, then big-endian numbers.
// http://yann.lecun.com/exdb/mnist/ has its description.
#include <inttypes.h>

#include "sources/array_source.h"
#include "sources/types.h"

static enum bm_dtype idx_dtype(unsigned char code)
{
    switch (code) {
    case 0x08:
        return BM_UINT8;
    case 0x09:
        return BM_INT8;
    case 0x0b:
        return BM_INT16;
    case 0x0c:
        return BM_INT32;
    case 0x0d:
        return BM_FLOAT32;
    case 0x0e:
        return BM_FLOAT64;
    default:
        return BM_DTYPE_NONE;
    }
}

static enum bm_status idx_parse(const unsigned char *bytes, size_t size, const char *name,
                                struct bm_array_header *ret_header, struct bm_error *err)
{
    if (size < 4 || bytes[0] != 0 || bytes[1] != 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, name,
                       "expected an idx file (00 00, type, number of axes), got %s",
                       size < 4 ? "fewer than 4 bytes" : "other bytes");
    unsigned naxes = bytes[3];
    ret_header->dtype = idx_dtype(bytes[2]);
    ret_header->big_endian = bm_dtype_size(ret_header->dtype) > 1;
    ret_header->data_offset = 4 + 4 * (uint64_t)naxes;
    if (ret_header->dtype == BM_DTYPE_NONE)
        return bm_fail(err, BM_INVALID_ARGUMENT, name,
                       "expected type 08 (uint8), 09 (int8), 0b (int16), 0c (int32), 0d (float32) "
                       "or 0e (float64), got %02x",
                       bytes[2]);
    if (naxes == 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, name,
                       "expected at least 1 axis, the items', got none");
    if (size < ret_header->data_offset)
        return bm_fail(err, BM_DATA_LOSS, name, "expected a header of %" PRIu64 " bytes, got %zu",
                       ret_header->data_offset, size);
    enum bm_status status = BM_OK;
    const unsigned char *axis = bytes + 4;
    for (unsigned i = 0; i < naxes && status == BM_OK; i++, axis += 4) {
        uint64_t length =
            (uint64_t)axis[0] << 24 | (uint64_t)axis[1] << 16 | (uint64_t)axis[2] << 8 | axis[3];
        status = bm_array_header_add_axis(ret_header, length, name, err);
    }
    return status;
}

static enum bm_status idx_open(const void *config, const char *directory, const char *where,
                               struct bm_source **ret_source, struct bm_error *err)
{
    static const struct bm_array_format format = {.type = &bm_idx_source, .parse = idx_parse};
    return bm_array_open(&format, config, directory, where, ret_source, err);
}

const struct bm_source_type bm_idx_source = {
    .name = "idx",
    .doc = "Arrays in the format of MNIST (train-images-idx3-ubyte, also .gz); the first axis "
           "counts the items.",
    .params = bm_array_params,
    .nparams = BM_ARRAY_NPARAMS,
    .config_bytes = sizeof(struct bm_array_config),
    .open = idx_open,
    .close = bm_array_close,
    .read = bm_array_read,
};
