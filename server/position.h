// position.h -- the token that says where a stream stands. Layer: server (may include src/).
//
// Text: "bm2." + base64url, without padding, of a check and a record + "." + decimal seq. The part
// before the last dot is the stem, which the server gives once per stream; a client adds the seq.
// Opaque to clients; versioned by "bm2"; the check (64 bits of XXH3 over the record) finds a
// token that was cut or mistyped, not a forged one: it grants nothing that an OpenStream with the
// same parameters would not.
// Threads: any thread.
#pragma once
#include "server/messages.h"

enum { BM_POSITION_MAX = 1024 };

struct bm_position {
    char pipeline[BM_NAME_MAX + 1];
    struct bm_fingerprint fingerprint;
    struct bm_order_params order; // complete, with the drawn seed
    uint64_t seq;
};

// The stem for `position` (its seq is not part of it); the caller frees. NULL: out of memory.
char *bm_position_stem(const struct bm_position *position);
enum bm_status bm_position_parse(const char *text, struct bm_position *ret_position,
                                 struct bm_error *err);
