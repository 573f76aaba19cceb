// error.h -- fills a batchmill_error. Layer: client/c (may include nothing but its public header).
// Threads: any thread.
#pragma once
#include "batchmill/client.h"

// Fills `error` (when not NULL) and returns `code`. The format knows %m.
enum batchmill_code bm_client_fail(struct batchmill_error *error, enum batchmill_code code,
                                   const char *format, ...) __attribute__((format(printf, 3, 4)));
