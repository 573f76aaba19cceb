#include "base/crc32c.h"

#include <stdbool.h>
#include <string.h>

enum { POLYNOMIAL_TABLES = 8 };
#define POLYNOMIAL 0x82f63b78u // reversed: bit 31 is x^0

// ---- Eight bytes at a time, by tables (Kounavis and Berry: "A systematic approach to building
// high performance software-based CRC generators", 2005) ----

static uint32_t tables[POLYNOMIAL_TABLES][256];

// Before main(), so that no thread has to ask whether they are there.
__attribute__((constructor)) static void tables_fill(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        tables[0][i] = crc;
    }
    for (unsigned i = 0; i < 256; i++) {
        for (unsigned t = 1; t < POLYNOMIAL_TABLES; t++)
            tables[t][i] = tables[t - 1][i] >> 8 ^ tables[0][tables[t - 1][i] & 0xff];
    }
}

static uint32_t crc_by_tables(uint32_t crc, const unsigned char *at, size_t size)
{
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word); // little-endian: see CMakeLists.txt
        word ^= crc;
        crc = 0;
        for (unsigned t = 0; t < POLYNOMIAL_TABLES; t++)
            crc ^= tables[POLYNOMIAL_TABLES - 1 - t][word >> 8 * t & 0xff];
    }
    for (; size > 0; at++, size--)
        crc = crc >> 8 ^ tables[0][(crc ^ *at) & 0xff];
    return crc;
}

// ---- By the processor, where it can ----

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc_by_sse42(uint32_t crc,
                                                               const unsigned char *at, size_t size)
{
    uint64_t wide = crc;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size > 0; at++, size--)
        crc = __builtin_ia32_crc32qi(crc, *at);
    return crc;
}

static bool has_sse42(void)
{
    return __builtin_cpu_supports("sse4.2") != 0;
}
#else
static uint32_t crc_by_sse42(uint32_t crc, const unsigned char *at, size_t size)
{
    return crc_by_tables(crc, at, size);
}

static bool has_sse42(void)
{
    return false;
}
#endif

uint32_t bm_crc32c(const void *data, size_t size)
{
    return ~(has_sse42() ? crc_by_sse42(UINT32_MAX, data, size)
                         : crc_by_tables(UINT32_MAX, data, size));
}

uint32_t bm_crc32c_plain(const void *data, size_t size)
{
    return ~crc_by_tables(UINT32_MAX, data, size);
}
