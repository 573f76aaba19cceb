// codec_wire.h -- a walk over the fields of a protobuf message that copies nothing and never
// leaves the bytes it was given. Layer: client/c (may include base, data/dtype.h and the messages).
//
//     struct wire_field field;
//     while (wire_next(&wire, &field))
//         if (field.tag == WIRE_TAG(1, WIRE_VARINT)) ...
//     if (wire.broken) ...
//
// Fields of other numbers or types are simply not asked for, so a newer peer may add some.
// Threads: one thread at a time per struct wire.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batchmill/client.h"

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

#define WIRE_TAG(number, type) ((uint32_t)(number) << 3 | (uint32_t)(type))

struct wire { // what is left of a message, or the contents of a field
    const unsigned char *at, *stop;
    bool broken;
};
struct wire_field {
    uint32_t tag;
    uint64_t value;    // of numbers
    struct wire bytes; // of WIRE_BYTES
};

static inline struct wire wire_of(const void *bytes, size_t size)
{
    return (struct wire){.at = bytes, .stop = (const unsigned char *)bytes + size};
}
static inline size_t wire_size(const struct wire *wire)
{
    return (size_t)(wire->stop - wire->at);
}

bool wire_varint(struct wire *wire, uint64_t *ret_value);        // false: the end, or broken
bool wire_next(struct wire *wire, struct wire_field *ret_field); // the same

// Copies a text and ends it with a NUL, so that it may be shown: control characters, which could
// command a terminal, become '?'. Cut to `size` - 1 bytes.
void wire_text(const struct wire *text, char *to, size_t size);

// The body of the reply that is Response's field `number` (0: of any). Otherwise the server's own
// code and text, or BATCHMILL_DATA_LOSS.
enum batchmill_code wire_reply(const void *bytes, size_t size, uint32_t number,
                               struct wire *ret_body, struct batchmill_error *error);
// A number off the wire as an error's code: never OK or END, which would be no error.
enum batchmill_code wire_code(uint64_t value);
// "the server's reply cannot be read: ..."
enum batchmill_code wire_unreadable(struct batchmill_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
enum batchmill_code wire_no_memory(struct batchmill_error *error);
