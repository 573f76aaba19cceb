#include "data/dtype.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are little-endian in memory");

// ---- Names and sizes ----

static const struct {
    const char *name;
    size_t size;
    const char *npy;
} dtypes[] = {[BM_DTYPE_NONE] = {"none", 1, ""},
#define X(name, number, text, size, npy) [name] = {text, size, npy},
              BM_DTYPE_LIST(X)
#undef X
};
enum { NDTYPES = sizeof dtypes / sizeof dtypes[0] };

const char *bm_dtype_name(enum bm_dtype dtype)
{
    return (unsigned)dtype < NDTYPES ? dtypes[dtype].name : "none";
}

enum bm_dtype bm_dtype_parse(const char *name)
{
    for (unsigned i = 1; i < NDTYPES; i++) {
        if (strcmp(dtypes[i].name, name) == 0)
            return (enum bm_dtype)i;
    }
    return BM_DTYPE_NONE;
}

size_t bm_dtype_size(enum bm_dtype dtype)
{
    return (unsigned)dtype < NDTYPES ? dtypes[dtype].size : 1;
}

const char *bm_dtype_npy(enum bm_dtype dtype)
{
    return (unsigned)dtype < NDTYPES ? dtypes[dtype].npy : "";
}

enum bm_dtype bm_dtype_from_npy(const char *code)
{
    for (unsigned i = 1; i < NDTYPES; i++) {
        if (dtypes[i].npy[0] != '\0' && strcmp(dtypes[i].npy, code) == 0)
            return (enum bm_dtype)i;
    }
    return BM_DTYPE_NONE;
}

const char *bm_dtype_names(void)
{
    return "bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, bfloat16, "
           "float32, float64, bytes, string";
}

bool bm_dtype_is_text(enum bm_dtype dtype)
{
    return dtype == BM_BYTES || dtype == BM_STRING;
}

bool bm_dtype_is_integer(enum bm_dtype dtype)
{
    return dtype >= BM_INT8 && dtype <= BM_UINT64;
}

bool bm_dtype_is_float(enum bm_dtype dtype)
{
    return dtype >= BM_FLOAT16 && dtype <= BM_FLOAT64;
}

bool bm_dtype_is_number(enum bm_dtype dtype)
{
    return dtype >= BM_BOOL && dtype <= BM_FLOAT64;
}

// ---- 16-bit floats ----

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float bm_float_from_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = (half >> 10) & 0x1f, fraction = half & 0x3ff;
    if (exponent == 0x1f)
        return float_of(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0) { // zero or subnormal: fraction * 2^-24, exact in float32
        float magnitude = (float)fraction * 0x1p-24f;
        return float_of(sign | bits_of(magnitude));
    }
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t bm_half_from_float(float value)
{
    uint32_t bits = bits_of(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff)); // NaN stays one
    if (magnitude >= 0x477ff000)                                      // rounds to 65536 or more
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { // below the smallest normal: the sum rounds it to 2^-24 units
        uint32_t rounded = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
        return (uint16_t)(sign | rounded);
    }
    uint32_t odd = magnitude >> 13 & 1; // ties to even
    return (uint16_t)(sign | (magnitude - (112u << 23) + 0xfff + odd) >> 13);
}

float bm_float_from_bfloat(uint16_t bfloat)
{
    return float_of((uint32_t)bfloat << 16);
}

uint16_t bm_bfloat_from_float(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// ---- Conversion ----
//
// Every element goes through the widest type of its kind: int64, uint64 or double. All of int8 to
// int64 fit the first, all unsigned ones the second, all floats the third, so going up is exact.

static double double_round(double value) // to nearest even; |value| < 2^52
{
    const double big = value < 0 ? -0x1p52 : 0x1p52; // where doubles are 1 apart
    return (value + big) - big;
}

// Integers of 32 bits or fewer. The sum with 1.5 * 2^52 has no room for a fraction, so it is
// rounded, and its lowest bits are the integer's. Having no branch, it takes half the time.
static inline uint32_t word_from_double(double value, double low, double high)
{
    const double big = 0x1.8p52;
    uint64_t bits;
    value = value == value ? value : 0;
    value = value > low ? value : low;
    value = value < high ? value : high;
    value += big;
    memcpy(&bits, &value, sizeof bits);
    return (uint32_t)bits;
}

static int64_t int64_from_double(double value)
{
    if (!(value == value))
        return 0;
    if (value >= 0x1p63)
        return INT64_MAX;
    if (value <= -0x1p63)
        return INT64_MIN;
    if (value > -0x1p52 && value < 0x1p52)
        value = double_round(value);
    return (int64_t)value;
}

static uint64_t uint64_from_double(double value)
{
    if (!(value > 0)) // NaN too
        return 0;
    if (value >= 0x1p64)
        return UINT64_MAX;
    if (value < 0x1p52)
        value = double_round(value);
    return (uint64_t)value;
}

// What a double becomes as float32 on its way to 16 bits must not round twice: round to odd.
static float float_to_odd(double value)
{
    float nearest = (float)value;
    if (!(value == value) || (double)nearest == value)
        return nearest;
    uint32_t bits = bits_of(nearest);
    if ((bits & 0x7fffffff) == 0x7f800000)
        return nearest;
    double magnitude = value < 0 ? -value : value;
    float near_magnitude = nearest < 0 ? -nearest : nearest;
    if ((double)near_magnitude > magnitude)
        bits--; // truncate
    return float_of(bits | 1);
}

// The same for a 64-bit integer on its way to double.
static double uint64_to_odd(uint64_t value)
{
    if (value >= (uint64_t)1 << 53)
        value = (value & ~(uint64_t)0x7ff) | (uint64_t)((value & 0x7ff) != 0) << 11;
    return (double)value;
}

static double int64_to_odd(int64_t value)
{
    return value < 0 ? -uint64_to_odd(-(uint64_t)value) : uint64_to_odd((uint64_t)value);
}

double bm_dtype_get(enum bm_dtype dtype, const void *data, uint64_t index)
{
    switch (dtype) {
    case BM_BOOL:
        return ((const uint8_t *)data)[index] != 0;
    case BM_INT8:
        return ((const int8_t *)data)[index];
    case BM_INT16:
        return ((const int16_t *)data)[index];
    case BM_INT32:
        return ((const int32_t *)data)[index];
    case BM_INT64:
        return (double)((const int64_t *)data)[index];
    case BM_UINT8:
    case BM_BYTES:
    case BM_STRING:
        return ((const uint8_t *)data)[index];
    case BM_UINT16:
        return ((const uint16_t *)data)[index];
    case BM_UINT32:
        return ((const uint32_t *)data)[index];
    case BM_UINT64:
        return (double)((const uint64_t *)data)[index];
    case BM_FLOAT16:
        return (double)bm_float_from_half(((const uint16_t *)data)[index]);
    case BM_BFLOAT16:
        return (double)bm_float_from_bfloat(((const uint16_t *)data)[index]);
    case BM_FLOAT32:
        return (double)((const float *)data)[index];
    case BM_FLOAT64:
        return ((const double *)data)[index];
    case BM_DTYPE_NONE:
        break;
    }
    return 0;
}

// Stores of each wide type into each dtype. The loops below are these, inlined.
#define DEFINE_INTEGER_STORES(name, type, low, high, from_d)                                       \
    static inline type name##_from_i(int64_t v)                                                    \
    {                                                                                              \
        return (type)(v < (low) ? (low) : v > (int64_t)(high) ? (high) : v);                       \
    }                                                                                              \
    static inline type name##_from_u(uint64_t v)                                                   \
    {                                                                                              \
        return (type)(v > (uint64_t)(high) ? (uint64_t)(high) : v);                                \
    }                                                                                              \
    static inline type name##_from_d(double v)                                                     \
    {                                                                                              \
        return (type)(from_d);                                                                     \
    }
DEFINE_INTEGER_STORES(int8, int8_t, INT8_MIN, INT8_MAX, word_from_double(v, INT8_MIN, INT8_MAX))
DEFINE_INTEGER_STORES(int16, int16_t, INT16_MIN, INT16_MAX,
                      word_from_double(v, INT16_MIN, INT16_MAX))
DEFINE_INTEGER_STORES(int32, int32_t, INT32_MIN, INT32_MAX,
                      word_from_double(v, INT32_MIN, INT32_MAX))
DEFINE_INTEGER_STORES(int64, int64_t, INT64_MIN, INT64_MAX, int64_from_double(v))
DEFINE_INTEGER_STORES(uint8, uint8_t, 0, UINT8_MAX, word_from_double(v, 0, UINT8_MAX))
DEFINE_INTEGER_STORES(uint16, uint16_t, 0, UINT16_MAX, word_from_double(v, 0, UINT16_MAX))
DEFINE_INTEGER_STORES(uint32, uint32_t, 0, UINT32_MAX, word_from_double(v, 0, UINT32_MAX))

static inline uint64_t uint64_from_i(int64_t v)
{
    return v < 0 ? 0 : (uint64_t)v;
}
static inline uint64_t uint64_from_u(uint64_t v)
{
    return v;
}
static inline uint64_t uint64_from_d(double v)
{
    return uint64_from_double(v);
}

#define DEFINE_STORES(name, type, from_i, from_u, from_d)                                          \
    static inline type name##_from_i(int64_t v)                                                    \
    {                                                                                              \
        return (from_i);                                                                           \
    }                                                                                              \
    static inline type name##_from_u(uint64_t v)                                                   \
    {                                                                                              \
        return (from_u);                                                                           \
    }                                                                                              \
    static inline type name##_from_d(double v)                                                     \
    {                                                                                              \
        return (from_d);                                                                           \
    }
DEFINE_STORES(bool8, uint8_t, v != 0, v != 0, v != 0)
DEFINE_STORES(half, uint16_t, bm_half_from_float(float_to_odd((double)v)),
              bm_half_from_float(float_to_odd((double)v)), bm_half_from_float(float_to_odd(v)))
DEFINE_STORES(bfloat, uint16_t, bm_bfloat_from_float(float_to_odd(int64_to_odd(v))),
              bm_bfloat_from_float(float_to_odd(uint64_to_odd(v))),
              bm_bfloat_from_float(float_to_odd(v)))
DEFINE_STORES(float32, float, (float)v, (float)v, (float)v)
DEFINE_STORES(float64, double, (double)v, (double)v, v)

// T(dtype, stored type, store) for each dtype that can be written.
#define STORES(T, arg)                                                                             \
    T(BM_BOOL, uint8_t, bool8, arg)                                                                \
    T(BM_INT8, int8_t, int8, arg)                                                                  \
    T(BM_INT16, int16_t, int16, arg)                                                               \
    T(BM_INT32, int32_t, int32, arg)                                                               \
    T(BM_INT64, int64_t, int64, arg)                                                               \
    T(BM_UINT8, uint8_t, uint8, arg)                                                               \
    T(BM_UINT16, uint16_t, uint16, arg)                                                            \
    T(BM_UINT32, uint32_t, uint32, arg)                                                            \
    T(BM_UINT64, uint64_t, uint64, arg)                                                            \
    T(BM_FLOAT16, uint16_t, half, arg)                                                             \
    T(BM_BFLOAT16, uint16_t, bfloat, arg)                                                          \
    T(BM_FLOAT32, float, float32, arg)                                                             \
    T(BM_FLOAT64, double, float64, arg)

#define STORE_LOOP(dtype, type, store, load)                                                       \
    case dtype:                                                                                    \
        for (uint64_t i = 0; i < n; i++)                                                           \
            ((type *)to)[i] = store##_from_##load;                                                 \
        return;

// One function per source dtype, with a loop per destination.
#define DEFINE_CONVERT(name, type, load)                                                           \
    static void convert_##name(enum bm_dtype to_dtype, void *to, const type *from, uint64_t n)     \
    {                                                                                              \
        switch (to_dtype) {                                                                        \
            STORES(STORE_LOOP, load)                                                               \
        case BM_DTYPE_NONE:                                                                        \
        case BM_BYTES:                                                                             \
        case BM_STRING:                                                                            \
            return;                                                                                \
        }                                                                                          \
    }
DEFINE_CONVERT(bool8, uint8_t, i(from[i] != 0))
DEFINE_CONVERT(int8, int8_t, i(from[i]))
DEFINE_CONVERT(int16, int16_t, i(from[i]))
DEFINE_CONVERT(int32, int32_t, i(from[i]))
DEFINE_CONVERT(int64, int64_t, i(from[i]))
DEFINE_CONVERT(uint8, uint8_t, i(from[i]))
DEFINE_CONVERT(uint16, uint16_t, i(from[i]))
DEFINE_CONVERT(uint32, uint32_t, i(from[i]))
DEFINE_CONVERT(uint64, uint64_t, u(from[i]))
DEFINE_CONVERT(half, uint16_t, d((double)bm_float_from_half(from[i])))
DEFINE_CONVERT(bfloat, uint16_t, d((double)bm_float_from_bfloat(from[i])))
DEFINE_CONVERT(float32, float, d((double)from[i]))
DEFINE_CONVERT(float64, double, d(from[i]))

#define CONVERT_CASE(dtype, type, name, arg)                                                       \
    case dtype:                                                                                    \
        convert_##name(to_dtype, to, from, n);                                                     \
        return;

void bm_dtype_convert(enum bm_dtype to_dtype, void *to, enum bm_dtype from_dtype, const void *from,
                      uint64_t n)
{
    if (to_dtype == from_dtype && to_dtype != BM_BOOL) { // a bool of 2 becomes 1
        if (n > 0)
            memmove(to, from, n * bm_dtype_size(to_dtype));
        return;
    }
    switch (from_dtype) {
        STORES(CONVERT_CASE, )
    case BM_DTYPE_NONE:
    case BM_BYTES:
    case BM_STRING:
        return;
    }
}

void bm_dtype_put(enum bm_dtype dtype, void *data, uint64_t index, double value)
{
    unsigned char *at = (unsigned char *)data + index * bm_dtype_size(dtype);
    bm_dtype_convert(dtype, at, BM_FLOAT64, &value, 1);
}
