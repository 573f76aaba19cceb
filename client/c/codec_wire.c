#include "codec_wire.h"

#include <stdarg.h>
#include <stdio.h>

enum batchmill_code wire_code(uint64_t value)
{
    if (value >= BATCHMILL_CANCELLED && value <= BATCHMILL_UNAUTHENTICATED)
        return (enum batchmill_code)value;
    return BATCHMILL_UNKNOWN;
}

enum batchmill_code wire_reply(const void *bytes, size_t size, uint32_t number,
                               struct bm_wire *ret_body, struct batchmill_error *error)
{
    enum { FIRST_REPLY = 3, LAST_REPLY = 17 };
    struct bm_wire wire = bm_wire_of(bytes, size), message = {0}, body = {0};
    struct bm_wire_field field;
    uint64_t code = 0;
    uint32_t got = 0;
    while (bm_wire_next(&wire, &field)) {
        uint32_t reply = field.tag >> 3;
        if (field.tag == BM_WIRE_TAG(1, BM_WIRE_VARINT))
            code = field.value;
        else if (field.tag == BM_WIRE_TAG(2, BM_WIRE_BYTES))
            message = field.bytes;
        else if ((field.tag & 7) == BM_WIRE_BYTES && reply >= FIRST_REPLY && reply <= LAST_REPLY) {
            got = reply;
            body = field.bytes;
        }
    }
    if (wire.broken)
        return wire_unreadable(error, "it is no message batchmill.v1.Response");
    if (code != 0) {
        if (error != NULL) {
            *error = (struct batchmill_error){.code = wire_code(code)};
            bm_wire_text(&message, error->text, sizeof error->text);
        }
        return wire_code(code);
    }
    if (got == 0 || (number != 0 && got != number))
        return wire_unreadable(error, "expected field %u of batchmill.v1.Response, got %u", number,
                               got);
    *ret_body = body;
    return BATCHMILL_OK;
}

enum batchmill_code wire_unreadable(struct batchmill_error *error, const char *format, ...)
{
    if (error != NULL) {
        *error = (struct batchmill_error){.code = BATCHMILL_DATA_LOSS};
        int n = snprintf(error->text, sizeof error->text, "the server's reply cannot be read: ");
        va_list args;
        va_start(args, format);
        vsnprintf(error->text + n, sizeof error->text - (size_t)n, format, args);
        va_end(args);
    }
    return BATCHMILL_DATA_LOSS;
}

enum batchmill_code wire_no_memory(struct batchmill_error *error)
{
    if (error != NULL) {
        *error = (struct batchmill_error){.code = BATCHMILL_RESOURCE_EXHAUSTED};
        snprintf(error->text, sizeof error->text, "out of memory for the server's reply");
    }
    return BATCHMILL_RESOURCE_EXHAUSTED;
}
