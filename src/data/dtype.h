// dtype.h -- the element types that flow. Layer: data (may include base).
//
// Numbers are little-endian in memory and on the wire (the build refuses other hosts). float16
// and bfloat16 are stored as their 16 bits; arithmetic on them goes through float32.
// bytes and string are one variable-length run of bytes per item; string is UTF-8.
// Threads: any thread.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// X(name, wire number, text, size in bytes, NumPy's code or "" where it has none)
#define BM_DTYPE_LIST(X)                                                                           \
    X(BM_BOOL, 1, "bool", 1, "|b1")                                                                \
    X(BM_INT8, 2, "int8", 1, "|i1")                                                                \
    X(BM_INT16, 3, "int16", 2, "<i2")                                                              \
    X(BM_INT32, 4, "int32", 4, "<i4")                                                              \
    X(BM_INT64, 5, "int64", 8, "<i8")                                                              \
    X(BM_UINT8, 6, "uint8", 1, "|u1")                                                              \
    X(BM_UINT16, 7, "uint16", 2, "<u2")                                                            \
    X(BM_UINT32, 8, "uint32", 4, "<u4")                                                            \
    X(BM_UINT64, 9, "uint64", 8, "<u8")                                                            \
    X(BM_FLOAT16, 10, "float16", 2, "<f2")                                                         \
    X(BM_BFLOAT16, 11, "bfloat16", 2, "")                                                          \
    X(BM_FLOAT32, 12, "float32", 4, "<f4")                                                         \
    X(BM_FLOAT64, 13, "float64", 8, "<f8")                                                         \
    X(BM_BYTES, 14, "bytes", 1, "")                                                                \
    X(BM_STRING, 15, "string", 1, "")

enum bm_dtype {
    BM_DTYPE_NONE = 0,
#define X(name, number, text, size, npy) name = number,
    BM_DTYPE_LIST(X)
#undef X
};

const char *bm_dtype_name(enum bm_dtype dtype);    // "float32"; "none" for others
enum bm_dtype bm_dtype_parse(const char *name);    // BM_DTYPE_NONE when unknown
size_t bm_dtype_size(enum bm_dtype dtype);         // bytes of an element; 1 for bytes and string
const char *bm_dtype_npy(enum bm_dtype dtype);     // "<f4"; "" where NumPy has none
enum bm_dtype bm_dtype_from_npy(const char *code); // little-endian codes only, else NONE
const char *bm_dtype_names(void);                  // "bool, int8, ..., string": for error texts

bool bm_dtype_is_text(enum bm_dtype dtype);    // bytes, string
bool bm_dtype_is_integer(enum bm_dtype dtype); // signed or unsigned, not bool
bool bm_dtype_is_float(enum bm_dtype dtype);
bool bm_dtype_is_number(enum bm_dtype dtype); // bool, integer or float

// IEEE 754 binary16 and bfloat16, round to nearest even; NaN stays NaN.
float bm_float_from_half(uint16_t half);
uint16_t bm_half_from_float(float value);
float bm_float_from_bfloat(uint16_t bfloat);
uint16_t bm_bfloat_from_float(float value);

// Reads element `index` of an array of numbers as double (64-bit integers above 2^53 round), and
// writes one: integers are rounded to nearest even and saturate, NaN becomes 0 in integers.
double bm_dtype_get(enum bm_dtype dtype, const void *data, uint64_t index);
void bm_dtype_put(enum bm_dtype dtype, void *data, uint64_t index, double value);

// Converts `n` elements. Integer to integer saturates exactly, without a detour through double;
// from bool is 0 or 1, to bool is "not zero". `to` and `from` may be the same array only when
// the sizes are equal.
void bm_dtype_convert(enum bm_dtype to_dtype, void *to, enum bm_dtype from_dtype, const void *from,
                      uint64_t n);
