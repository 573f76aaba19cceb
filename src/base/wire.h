// wire.h -- a walk over the fields of a protobuf message that copies nothing and never leaves the
// bytes it was given. Layer: base.
//
//     struct bm_wire_field field;
//     while (bm_wire_next(&wire, &field))
//         if (field.tag == BM_WIRE_TAG(1, BM_WIRE_VARINT)) ...
//     if (wire.broken) ...
//
// Fields of other numbers or types are simply not asked for, so a newer peer may add some.
// Threads: one thread at a time per struct bm_wire.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bm_wire_type { BM_WIRE_VARINT = 0, BM_WIRE_64 = 1, BM_WIRE_BYTES = 2, BM_WIRE_32 = 5 };

#define BM_WIRE_TAG(number, type) ((uint32_t)(number) << 3 | (uint32_t)(type))

struct bm_wire { // what is left of a message, or the contents of a field
    const unsigned char *at, *stop;
    bool broken;
};
struct bm_wire_field {
    uint32_t tag;
    uint64_t value;       // of numbers
    struct bm_wire bytes; // of BM_WIRE_BYTES
};

static inline struct bm_wire bm_wire_of(const void *bytes, size_t size)
{
    const unsigned char *at = bytes; // NULL where there are none
    return (struct bm_wire){.at = at, .stop = size == 0 ? at : at + size};
}
static inline size_t bm_wire_size(const struct bm_wire *wire)
{
    return (size_t)(wire->stop - wire->at);
}

bool bm_wire_varint(struct bm_wire *wire, uint64_t *ret_value); // false: the end, or broken
bool bm_wire_next(struct bm_wire *wire, struct bm_wire_field *ret_field); // the same

// Copies a text and ends it with a NUL, so that it may be shown: control characters, which could
// command a terminal, become '?'. Cut to `size` - 1 bytes.
void bm_wire_text(const struct bm_wire *text, char *to, size_t size);
