#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *bm_status_name(enum bm_status status)
{
    switch (status) {
#define X(name, number, text)                                                                      \
    case name:                                                                                     \
        return text;
        BM_STATUS_LIST(X)
#undef X
    }
    return "UNKNOWN"; // a number from a newer peer
}

enum bm_status bm_fail(struct bm_error *err, enum bm_status status, const char *where,
                       const char *format, ...)
{
    BM_ASSERT(status != BM_OK);
    if (err != NULL) {
        int saved = errno; // for %m
        va_list args;
        va_start(args, format);
        err->status = status;
        snprintf(err->where, sizeof err->where, "%s", where == NULL ? "" : where);
        errno = saved;
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return status;
}

noreturn void bm_panic(const char *cond, const char *file, int line)
{
    fprintf(stderr, "batchmill: %s:%d: assertion failed: %s\n", file, line, cond);
    abort();
}
