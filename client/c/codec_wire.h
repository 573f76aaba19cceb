// codec_wire.h -- what a server's reply says, and how a broken one is told of.
// Layer: client/c (may include base).
// Threads: any thread.
#pragma once
#include "base/wire.h"
#include "batchmill/client.h"

// The body of the reply that is Response's field `number` (0: of any). Otherwise the server's own
// code and text, or BATCHMILL_DATA_LOSS.
enum batchmill_code wire_reply(const void *bytes, size_t size, uint32_t number,
                               struct bm_wire *ret_body, struct batchmill_error *error);
// A number off the wire as an error's code: never OK or END, which would be no error.
enum batchmill_code wire_code(uint64_t value);
// "the server's reply cannot be read: ..."
enum batchmill_code wire_unreadable(struct batchmill_error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
enum batchmill_code wire_no_memory(struct batchmill_error *error);
