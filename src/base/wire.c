#include "base/wire.h"

bool bm_wire_varint(struct bm_wire *wire, uint64_t *ret_value)
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

static bool wire_fixed(struct bm_wire *wire, unsigned size, uint64_t *ret_value)
{
    if (bm_wire_size(wire) < size)
        return false;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)*wire->at++ << (8 * i);
    *ret_value = value;
    return true;
}

static bool wire_bytes(struct bm_wire *wire, struct bm_wire *ret_bytes)
{
    uint64_t size = 0;
    if (!bm_wire_varint(wire, &size) || size > bm_wire_size(wire))
        return false;
    *ret_bytes = bm_wire_of(wire->at, (size_t)size);
    wire->at += size;
    return true;
}

bool bm_wire_next(struct bm_wire *wire, struct bm_wire_field *ret_field)
{
    if (wire->broken || wire->at == wire->stop)
        return false;
    struct bm_wire_field field = {0};
    uint64_t tag = 0;
    bool good = bm_wire_varint(wire, &tag) && tag >> 3 >= 1 && tag <= UINT32_MAX;
    if (good) {
        field.tag = (uint32_t)tag;
        switch (tag & 7) {
        case BM_WIRE_VARINT:
            good = bm_wire_varint(wire, &field.value);
            break;
        case BM_WIRE_64:
            good = wire_fixed(wire, 8, &field.value);
            break;
        case BM_WIRE_32:
            good = wire_fixed(wire, 4, &field.value);
            break;
        case BM_WIRE_BYTES:
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

void bm_wire_text(const struct bm_wire *text, char *to, size_t size)
{
    size_t length = bm_wire_size(text) < size ? bm_wire_size(text) : size - 1;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = text->at[i];
        to[i] = (char)(byte < 0x20 || byte == 0x7f ? '?' : byte);
    }
    to[length] = '\0';
}
