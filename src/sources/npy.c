// npy.c -- NumPy's array files, format versions 1.0, 2.0 and 3.0.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html has their description:
// a magic, a version, a length, and a header that is a Python dict literal, of which NumPy
// writes {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } and nothing else.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "sources/array_source.h"
#include "sources/file.h"
#include "sources/types.h"

enum { NPY_MAGIC_SIZE = 6, NPY_TEXT_MAX = 32 };

struct reader { // of the dict literal
    const unsigned char *bytes;
    size_t at, end; // in the file
    const char *name;
    struct bm_error *err;
};

static enum bm_status reader_fail(const struct reader *reader, const char *expected)
{
    char where[BM_ERROR_WHERE_MAX];
    char got[16] = "the end";
    if (reader->at < reader->end) {
        unsigned char c = reader->bytes[reader->at];
        snprintf(got, sizeof got, c > ' ' && c < 0x7f ? "'%c'" : "byte %02x", c);
    }
    return bm_fail(reader->err, BM_INVALID_ARGUMENT,
                   bm_file_where(reader->name, where, "header, byte %zu", reader->at),
                   "expected %s, got %s", expected, got);
}

static void reader_skip_spaces(struct reader *reader)
{
    while (reader->at < reader->end &&
           (reader->bytes[reader->at] == ' ' || reader->bytes[reader->at] == '\n'))
        reader->at++;
}

// Skips spaces, and `c` if it comes next.
static bool reader_accept(struct reader *reader, char c)
{
    reader_skip_spaces(reader);
    if (reader->at == reader->end || reader->bytes[reader->at] != (unsigned char)c)
        return false;
    reader->at++;
    return true;
}

static bool reader_accept_word(struct reader *reader, const char *word)
{
    size_t size = strlen(word);
    reader_skip_spaces(reader);
    if (reader->end - reader->at < size || memcmp(reader->bytes + reader->at, word, size) != 0)
        return false;
    reader->at += size;
    return true;
}

// 'text' or "text" without escapes.
static enum bm_status reader_text(struct reader *reader, const char *expected,
                                  char ret_text[NPY_TEXT_MAX])
{
    char quote = reader_accept(reader, '\'') ? '\'' : '"';
    if (quote == '"' && !reader_accept(reader, '"'))
        return reader_fail(reader, expected);
    size_t size = 0;
    for (; reader->at < reader->end && reader->bytes[reader->at] != (unsigned char)quote; size++) {
        unsigned char c = reader->bytes[reader->at];
        if (size == NPY_TEXT_MAX - 1 || c < ' ' || c > '~')
            return reader_fail(reader, "the end of a text");
        ret_text[size] = (char)reader->bytes[reader->at++];
    }
    ret_text[size] = '\0';
    return reader_accept(reader, quote) ? BM_OK : reader_fail(reader, "the end of a text");
}

static enum bm_status reader_descr(struct reader *reader, struct bm_array_header *header)
{
    char code[NPY_TEXT_MAX] = "";
    if (reader_accept(reader, '['))
        return bm_fail(reader->err, BM_UNIMPLEMENTED, reader->name,
                       "expected one dtype, got a structured one: save its fields as arrays");
    enum bm_status status = reader_text(reader, "a dtype such as '<f4'", code);
    if (status != BM_OK)
        return status;
    header->dtype = bm_dtype_from_npy(code);
    if (header->dtype != BM_DTYPE_NONE)
        return BM_OK;
    const char *hint = code[0] == '>'
                           ? " (big-endian): save it with astype(a.dtype.newbyteorder('<'))"
                       : code[1] == 'O'                   ? " (Python objects): save numbers"
                       : code[1] == 'U' || code[1] == 'S' ? " (texts): save numbers"
                                                          : "";
    return bm_fail(reader->err, BM_UNIMPLEMENTED, reader->name,
                   "expected a dtype of little-endian numbers (|b1 |i1 <i2 <i4 <i8 |u1 <u2 <u4 <u8 "
                   "<f2 <f4 <f8), got '%s'%s",
                   code, hint);
}

static enum bm_status reader_fortran_order(struct reader *reader)
{
    if (reader_accept_word(reader, "False"))
        return BM_OK;
    if (reader_accept_word(reader, "True"))
        return bm_fail(reader->err, BM_UNIMPLEMENTED, reader->name,
                       "expected fortran_order False, got True: save numpy.ascontiguousarray(a)");
    return reader_fail(reader, "True or False");
}

static enum bm_status reader_axis(struct reader *reader, uint64_t *ret_length)
{
    uint64_t length = 0;
    size_t start = reader->at;
    for (; reader->at < reader->end; reader->at++) {
        unsigned digit = reader->bytes[reader->at] - (unsigned)'0';
        if (digit > 9)
            break;
        if (!bm_size_mul(length, 10, &length) || !bm_size_add(length, digit, &length))
            return reader_fail(reader, "a length below 2 to the 64");
    }
    if (reader->at == start)
        return reader_fail(reader, "a length");
    *ret_length = length;
    return BM_OK;
}

// (3, 4), also (3,) and ().
static enum bm_status reader_shape(struct reader *reader, struct bm_array_header *header)
{
    if (!reader_accept(reader, '('))
        return reader_fail(reader, "'('");
    while (!reader_accept(reader, ')')) {
        uint64_t length = 0;
        enum bm_status status = reader_axis(reader, &length);
        if (status == BM_OK)
            status = bm_array_header_add_axis(header, length, reader->name, reader->err);
        if (status != BM_OK)
            return status;
        if (reader_accept(reader, ','))
            continue;
        // Python reads (3) as a number, so a comma is missing.
        if (header->ndim == 1)
            return reader_fail(reader, "','");
        if (!reader_accept(reader, ')'))
            return reader_fail(reader, "',' or ')'");
        break;
    }
    if (header->ndim == 0)
        return bm_fail(reader->err, BM_INVALID_ARGUMENT, reader->name,
                       "expected at least 1 axis, the items', got a single number");
    return BM_OK;
}

static enum bm_status reader_value(struct reader *reader, unsigned key,
                                   struct bm_array_header *header)
{
    switch (key) {
    case 0:
        return reader_descr(reader, header);
    case 1:
        return reader_fortran_order(reader);
    default:
        return reader_shape(reader, header);
    }
}

static enum bm_status reader_dict(struct reader *reader, struct bm_array_header *header)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    static const char *const expected = "'descr', 'fortran_order' and 'shape', once each";
    unsigned seen = 0; // bit set of keys
    if (!reader_accept(reader, '{'))
        return reader_fail(reader, "'{'");
    while (!reader_accept(reader, '}')) {
        char text[NPY_TEXT_MAX];
        unsigned key = 0;
        enum bm_status status = reader_text(reader, expected, text);
        if (status != BM_OK)
            return status;
        while (key < 3 && strcmp(text, keys[key]) != 0)
            key++;
        if (key == 3 || (seen & 1U << key) != 0)
            return reader_fail(reader, expected);
        seen |= 1U << key;
        if (!reader_accept(reader, ':'))
            return reader_fail(reader, "':'");
        if ((status = reader_value(reader, key, header)) != BM_OK)
            return status;
        if (!reader_accept(reader, ',')) {
            if (!reader_accept(reader, '}'))
                return reader_fail(reader, "',' or '}'");
            break;
        }
    }
    if (seen != 7)
        return reader_fail(reader, expected);
    reader_skip_spaces(reader);
    return reader->at == reader->end ? BM_OK : reader_fail(reader, "the end of the header");
}

enum bm_status bm_npy_parse(const unsigned char *bytes, size_t size, const char *name,
                            struct bm_array_header *ret_header, struct bm_error *err)
{
    if (size < NPY_MAGIC_SIZE + 4 || memcmp(bytes, "\x93NUMPY", NPY_MAGIC_SIZE) != 0)
        return bm_fail(err, BM_INVALID_ARGUMENT, name, "expected a .npy file, got %s",
                       size < NPY_MAGIC_SIZE + 4 ? "fewer than 10 bytes"
                                                 : "other bytes than its magic");
    unsigned major = bytes[6], minor = bytes[7];
    if (major < 1 || major > 3 || minor != 0)
        return bm_fail(err, BM_UNIMPLEMENTED, name,
                       "expected format version 1.0, 2.0 or 3.0, got %u.%u", major, minor);
    // Version 1.0 has a length of 2 bytes, later ones of 4.
    size_t start = major == 1 ? 10 : 12;
    uint64_t length = bytes[8] | (uint64_t)bytes[9] << 8;
    if (major > 1 && size >= start)
        length |= (uint64_t)bytes[10] << 16 | (uint64_t)bytes[11] << 24;
    if (size < start || length > size - start)
        return bm_fail(err, BM_DATA_LOSS, name,
                       "expected a header of %" PRIu64 " bytes in the first %zu of the file",
                       length, size);
    struct reader reader = {
        .bytes = bytes, .at = start, .end = start + length, .name = name, .err = err};
    ret_header->data_offset = reader.end;
    return reader_dict(&reader, ret_header);
}

static enum bm_status npy_open(const void *config, const char *directory, const char *where,
                               struct bm_source **ret_source, struct bm_error *err)
{
    static const struct bm_array_format format = {.type = &bm_npy_source, .parse = bm_npy_parse};
    return bm_array_open(&format, config, directory, where, ret_source, err);
}

const struct bm_source_type bm_npy_source = {
    .name = "npy",
    .doc = "Arrays that numpy.save() wrote, in C order and of little-endian numbers; the first "
           "axis counts the items. Rows are read when they are asked for, so a file may be larger "
           "than memory; files up to 64 MiB with rows of at most 32 bytes are kept in it.",
    .params = bm_array_params,
    .nparams = BM_ARRAY_NPARAMS,
    .config_bytes = sizeof(struct bm_array_config),
    .open = npy_open,
    .close = bm_array_close,
    .read = bm_array_read,
};
