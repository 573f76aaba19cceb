#include "base/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool bm_size_parse(const char *text, uint64_t *ret_bytes)
{
    static const struct {
        const char *suffix;
        uint64_t bytes;
    } units[] = {
        {"", 1},
        {"B", 1},
        {"kB", 1000},
        {"KiB", 1ull << 10},
        {"MB", 1000000},
        {"MiB", 1ull << 20},
        {"GB", 1000000000ull},
        {"GiB", 1ull << 30},
        {"TB", 1000000000000ull},
        {"TiB", 1ull << 40},
    };
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno != 0)
        return false;
    for (unsigned i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].suffix) == 0)
            return bm_size_mul(number, units[i].bytes, ret_bytes);
    }
    return false;
}
