// error.h -- fills a batchmill_error. Layer: client/c (may include nothing but its public header).
// Threads: any thread.
#pragma once
#include "batchmill/client.h"

// Fills `error` (when not NULL). The format knows %m.
void bm_client_explain(struct batchmill_error *error, enum batchmill_code code, const char *format,
                       ...) __attribute__((format(printf, 3, 4)));
// The same as an expression of value `code`, which a compiler can see.
#define bm_client_fail(error, code, ...) (bm_client_explain((error), (code), __VA_ARGS__), (code))
