#define _GNU_SOURCE // strtod_l: the text of a cell means the same in every locale
#include "sources/csv_cell.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/utf8.h"

_Static_assert(FLT_EVAL_METHOD == 0, "the exact cases below need plain double arithmetic");

struct bm_csv_cell bm_csv_cell_trim(struct bm_csv_cell cell)
{
    while (cell.size > 0 && (cell.data[0] == ' ' || cell.data[0] == '\t')) {
        cell.data++;
        cell.size--;
    }
    while (cell.size > 0 && (cell.data[cell.size - 1] == ' ' || cell.data[cell.size - 1] == '\t'))
        cell.size--;
    return cell;
}

static bool cell_is_word(const struct bm_csv_cell *cell, const char *word)
{
    uint64_t i = 0;
    for (; i < cell->size && word[i] != '\0'; i++) {
        if ((cell->data[i] | 0x20) != word[i]) // as lower case: the words are a-z
            return false;
    }
    return i == cell->size && word[i] == '\0';
}

// ---- Integers ----

static uint64_t integer_max(enum bm_dtype dtype, bool negative) // magnitude
{
    unsigned bits = (unsigned)bm_dtype_size(dtype) * 8;
    bool is_unsigned =
        dtype == BM_UINT8 || dtype == BM_UINT16 || dtype == BM_UINT32 || dtype == BM_UINT64;
    if (is_unsigned)
        return negative ? 0 : UINT64_MAX >> (64 - bits);
    return (UINT64_C(1) << (bits - 1)) - !negative;
}

static bool integer_parse(const struct bm_csv_cell *cell, enum bm_dtype dtype, void *to)
{
    const char *at = cell->data, *end = at + cell->size;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    uint64_t magnitude = 0, max = integer_max(dtype, negative);
    if (at == end)
        return false;
    for (; at < end; at++) {
        unsigned digit = (unsigned char)*at - (unsigned)'0';
        if (digit > 9 || !bm_size_mul(magnitude, 10, &magnitude) ||
            !bm_size_add(magnitude, digit, &magnitude) || magnitude > max)
            return false;
    }
    uint64_t value = negative ? 0 - magnitude : magnitude;
    memcpy(to, &value, bm_dtype_size(dtype)); // the low bytes: hosts are little-endian
    return true;
}

// ---- Floats ----

struct decimal { // mantissa * 10^exponent
    bool negative;
    uint64_t mantissa; // above 2^53 if digits were left out of it
    int64_t exponent;
};

static const char *decimal_digits(struct decimal *decimal, const char *at, const char *end,
                                  bool fraction)
{
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        if (decimal->mantissa > (UINT64_MAX - 9) / 10)
            continue;
        decimal->mantissa = decimal->mantissa * 10 + (uint64_t)(*at - '0');
        decimal->exponent -= fraction;
    }
    return at;
}

static bool decimal_exponent(struct decimal *decimal, const char *at, const char *end)
{
    bool negative = at < end && *at == '-';
    int64_t exponent = 0;
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    if (at == end)
        return false;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        if (exponent < 100000) // far beyond every float; larger ones take the slow way anyway
            exponent = exponent * 10 + (*at - '0');
    }
    decimal->exponent += negative ? -exponent : exponent;
    return at == end;
}

// Digits with at most one point, then perhaps an exponent: no hexadecimal, nothing local.
static bool decimal_parse(const struct bm_csv_cell *cell, struct decimal *ret_decimal)
{
    const char *at = cell->data, *end = at + cell->size;
    struct decimal decimal = {.negative = at < end && *at == '-'};
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    const char *start = at;
    at = decimal_digits(&decimal, at, end, false);
    int64_t ndigits = at - start;
    if (at < end && *at == '.') {
        start = ++at;
        at = decimal_digits(&decimal, at, end, true);
        ndigits += at - start;
    }
    if (ndigits == 0)
        return false;
    if (at < end && (*at == 'e' || *at == 'E')) {
        if (!decimal_exponent(&decimal, at + 1, end))
            return false;
        at = end;
    }
    *ret_decimal = decimal;
    return at == end;
}

// Both numbers of the one operation are exact, so its result is the nearest double (Clinger,
// "How to read floating point numbers accurately", 1990). False: not such a case.
static bool decimal_to_double(const struct decimal *decimal, double *ret_value)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (decimal->mantissa > UINT64_C(1) << 53 || decimal->exponent < -22 || decimal->exponent > 22)
        return false;
    double value = (double)decimal->mantissa;
    value =
        decimal->exponent < 0 ? value / tens[-decimal->exponent] : value * tens[decimal->exponent];
    *ret_value = decimal->negative ? -value : value;
    return true;
}

// The text ends where its cell does while the C library reads it.
static double cell_strtod(const struct bm_csv_cell *cell, locale_t c_locale)
{
    char saved = cell->data[cell->size];
    cell->data[cell->size] = '\0';
    double value = strtod_l(cell->data, NULL, c_locale);
    cell->data[cell->size] = saved;
    return value;
}

static float cell_strtof(const struct bm_csv_cell *cell, locale_t c_locale)
{
    char saved = cell->data[cell->size];
    cell->data[cell->size] = '\0';
    float value = strtof_l(cell->data, NULL, c_locale);
    cell->data[cell->size] = saved;
    return value;
}

// Rounding the nearest double once more gives the nearest float, unless the double lies half-way
// between two floats (or where floats are subnormal): then the text decides.
static float float_from_double(double value, const struct bm_csv_cell *cell, locale_t c_locale)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bool half_way = (bits & 0x1fffffff) == 0x10000000;
    if (half_way || (value != 0 && fabs(value) < (double)FLT_MIN))
        return cell_strtof(cell, c_locale);
    return (float)value;
}

// A float that rounds to 16 bits as `value` itself would: where it is not exact its last bit is
// set, so that it lies on the same side of every half-way point (rounding to odd).
static float float_for_half(double value)
{
    float nearest = (float)value;
    if ((double)nearest == value || isinf(nearest))
        return nearest;
    uint32_t bits;
    memcpy(&bits, &nearest, sizeof bits);
    if (fabs((double)nearest) > fabs(value))
        bits--; // towards zero
    bits |= 1;
    memcpy(&nearest, &bits, sizeof bits);
    return nearest;
}

static void float_store(enum bm_dtype dtype, float single, double value, void *to)
{
    uint16_t half;
    switch ((int)dtype) {
    case BM_FLOAT64:
        memcpy(to, &value, sizeof value);
        break;
    case BM_FLOAT32:
        memcpy(to, &single, sizeof single);
        break;
    default:
        half = dtype == BM_FLOAT16 ? bm_half_from_float(single) : bm_bfloat_from_float(single);
        memcpy(to, &half, sizeof half);
    }
}

static bool float_parse_word(const struct bm_csv_cell *cell, double *ret_value)
{
    struct bm_csv_cell word = *cell;
    bool negative = word.size > 0 && word.data[0] == '-';
    if (word.size > 0 && (word.data[0] == '-' || word.data[0] == '+')) {
        word.data++;
        word.size--;
    }
    if (cell_is_word(&word, "nan"))
        *ret_value = (double)NAN;
    else if (cell_is_word(&word, "inf") || cell_is_word(&word, "infinity"))
        *ret_value = negative ? -HUGE_VAL : HUGE_VAL;
    else
        return false;
    return true;
}

static bool float_parse(const struct bm_csv_cell *cell, enum bm_dtype dtype, locale_t c_locale,
                        void *to)
{
    struct decimal decimal;
    double value = 0;
    if (!decimal_parse(cell, &decimal)) {
        if (!float_parse_word(cell, &value))
            return false;
        float_store(dtype, (float)value, value, to);
        return true;
    }
    if (!decimal_to_double(&decimal, &value))
        value = cell_strtod(cell, c_locale);
    float single = dtype == BM_FLOAT64   ? 0
                   : dtype == BM_FLOAT32 ? float_from_double(value, cell, c_locale)
                                         : float_for_half(value);
    float_store(dtype, single, value, to);
    return isfinite(bm_dtype_get(dtype, to, 0)); // else the text is a number that does not fit
}

// ---- Any dtype ----

static bool bool_parse(const struct bm_csv_cell *cell, unsigned char *to)
{
    bool is_true = cell_is_word(cell, "true") || (cell->size == 1 && cell->data[0] == '1');
    bool is_false = cell_is_word(cell, "false") || (cell->size == 1 && cell->data[0] == '0');
    *to = is_true;
    return is_true || is_false;
}

bool bm_csv_cell_number(const struct bm_csv_cell *cell, enum bm_dtype dtype, locale_t c_locale,
                        void *to)
{
    struct bm_csv_cell trimmed = bm_csv_cell_trim(*cell);
    if (dtype == BM_BOOL)
        return bool_parse(&trimmed, to);
    if (bm_dtype_is_integer(dtype))
        return integer_parse(&trimmed, dtype, to);
    return float_parse(&trimmed, dtype, c_locale, to);
}

bool bm_csv_cell_is_utf8(const struct bm_csv_cell *cell)
{
    return bm_utf8_valid(cell->data, cell->size);
}

const char *bm_csv_expected(enum bm_dtype dtype, char *text)
{
    const char *name = bm_dtype_name(dtype);
    if (bm_dtype_is_integer(dtype))
        snprintf(text, BM_CSV_SHOWN_MAX, "%s (%s%" PRIu64 " to %" PRIu64 ")", name,
                 integer_max(dtype, true) == 0 ? "" : "-", integer_max(dtype, true),
                 integer_max(dtype, false));
    else
        snprintf(text, BM_CSV_SHOWN_MAX, "%s%s", name,
                 dtype == BM_BOOL ? " (true, false, 0 or 1)" : "");
    return text;
}

const char *bm_csv_show(const struct bm_csv_cell *cell, char *text)
{
    const unsigned char *at = (const unsigned char *)cell->data, *end = at + cell->size;
    size_t used = 0;
    if (at == end) {
        snprintf(text, BM_CSV_SHOWN_MAX, "an empty cell");
        return text;
    }
    text[used++] = '"';
    // Room for the longest piece, \xff, and for what closes the text.
    while (at < end && used + 4 < BM_CSV_SHOWN_MAX - 5) {
        unsigned length = bm_utf8_length(at, end);
        if (length == 0 || *at < ' ' || *at == 0x7f) {
            used += (size_t)snprintf(text + used, BM_CSV_SHOWN_MAX - used, "\\x%02x", *at++);
            continue;
        }
        memcpy(text + used, at, length);
        used += length;
        at += length;
    }
    snprintf(text + used, BM_CSV_SHOWN_MAX - used, "%s\"", at < end ? "..." : "");
    return text;
}
