#include "base/name.h"

#include <string.h>

bool bm_name_valid(const char *name)
{
    size_t length =
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return length >= 1 && length <= BM_NAME_MAX && name[length] == '\0';
}
