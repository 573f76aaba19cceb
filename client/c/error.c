#include "client/c/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"

void bm_client_explain(struct batchmill_error *error, enum batchmill_code code, const char *format,
                       ...)
{
    if (error == NULL)
        return;
    *error = (struct batchmill_error){.code = code};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
}

const char *batchmill_code_name(enum batchmill_code code)
{
    return code == BATCHMILL_END ? "END" : bm_status_name((enum bm_status)code);
}
