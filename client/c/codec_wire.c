#include "codec_wire.h"

#include <stdarg.h>
#include <stdio.h>

bool wire_varint(struct wire *wire, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && wire->at < wire->stop; shift += 7) {
        unsigned char byte = *wire->at++;
        if (shift == 63 && byte > 1)
            break; // more than 64 bits
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    wire->broken = true;
    return false;
}

static bool wire_fixed(struct wire *wire, unsigned size, uint64_t *ret_value)
{
    if (wire_size(wire) < size)
        return false;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)*wire->at++ << (8 * i);
    *ret_value = value;
    return true;
}

static bool wire_bytes(struct wire *wire, struct wire *ret_bytes)
{
    uint64_t size = 0;
    if (!wire_varint(wire, &size) || size > wire_size(wire))
        return false;
    *ret_bytes = wire_of(wire->at, (size_t)size);
    wire->at += size;
    return true;
}

bool wire_next(struct wire *wire, struct wire_field *ret_field)
{
    if (wire->broken || wire->at == wire->stop)
        return false;
    struct wire_field field = {0};
    uint64_t tag = 0;
    bool good = wire_varint(wire, &tag) && tag >> 3 >= 1 && tag <= UINT32_MAX;
    if (good) {
        field.tag = (uint32_t)tag;
        switch (tag & 7) {
        case WIRE_VARINT:
            good = wire_varint(wire, &field.value);
            break;
        case WIRE_64:
            good = wire_fixed(wire, 8, &field.value);
            break;
        case WIRE_32:
            good = wire_fixed(wire, 4, &field.value);
            break;
        case WIRE_BYTES:
            good = wire_bytes(wire, &field.bytes);
            break;
        default: // groups, which are no more in use
            good = false;
        }
    }
    if (!good) {
        wire->broken = true;
        return false;
    }
    *ret_field = field;
    return true;
}

void wire_text(const struct wire *text, char *to, size_t size)
{
    size_t length = wire_size(text) < size ? wire_size(text) : size - 1;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = text->at[i];
        to[i] = (char)(byte < 0x20 || byte == 0x7f ? '?' : byte);
    }
    to[length] = '\0';
}

enum batchmill_code wire_code(uint64_t value)
{
    if (value >= BATCHMILL_CANCELLED && value <= BATCHMILL_UNAUTHENTICATED)
        return (enum batchmill_code)value;
    return BATCHMILL_UNKNOWN;
}

enum batchmill_code wire_reply(const void *bytes, size_t size, uint32_t number,
                               struct wire *ret_body, struct batchmill_error *error)
{
    enum { FIRST_REPLY = 3, LAST_REPLY = 15 };
    struct wire wire = wire_of(bytes, size), message = {0}, body = {0};
    struct wire_field field;
    uint64_t code = 0;
    uint32_t got = 0;
    while (wire_next(&wire, &field)) {
        uint32_t reply = field.tag >> 3;
        if (field.tag == WIRE_TAG(1, WIRE_VARINT))
            code = field.value;
        else if (field.tag == WIRE_TAG(2, WIRE_BYTES))
            message = field.bytes;
        else if ((field.tag & 7) == WIRE_BYTES && reply >= FIRST_REPLY && reply <= LAST_REPLY) {
            got = reply;
            body = field.bytes;
        }
    }
    if (wire.broken)
        return wire_unreadable(error, "it is no message batchmill.v1.Response");
    if (code != 0) {
        if (error != NULL) {
            *error = (struct batchmill_error){.code = wire_code(code)};
            wire_text(&message, error->text, sizeof error->text);
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
