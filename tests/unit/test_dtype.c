// What data/dtype.h promises: names, 16-bit floats to the bit, and conversions that saturate and
// round once, to nearest even.
#include "data/dtype.h"

#include <math.h>
#include <string.h>

#include "support.h"

static const enum bm_dtype integers[] = {BM_INT8,  BM_INT16,  BM_INT32,  BM_INT64,
                                         BM_UINT8, BM_UINT16, BM_UINT32, BM_UINT64};
enum { NINTEGERS = sizeof integers / sizeof integers[0] };

// ---- Names ----

static void each_dtype_has_its_name_size_and_numpy_code(void **state)
{
    (void)state;
    static const struct {
        const char *name, *npy;
        size_t size;
    } expected[] = {
        {"none", "", 1},       {"bool", "|b1", 1},    {"int8", "|i1", 1},    {"int16", "<i2", 2},
        {"int32", "<i4", 4},   {"int64", "<i8", 8},   {"uint8", "|u1", 1},   {"uint16", "<u2", 2},
        {"uint32", "<u4", 4},  {"uint64", "<u8", 8},  {"float16", "<f2", 2}, {"bfloat16", "", 2},
        {"float32", "<f4", 4}, {"float64", "<f8", 8}, {"bytes", "", 1},      {"string", "", 1},
        {"none", "", 1}, // a number from a newer peer
    };
    for (int i = 0; i < (int)(sizeof expected / sizeof expected[0]); i++) {
        enum bm_dtype dtype = (enum bm_dtype)i;
        bool known = i >= 1 && i <= 15;
        assert_string_equal(bm_dtype_name(dtype), expected[i].name);
        assert_string_equal(bm_dtype_npy(dtype), expected[i].npy);
        assert_int_equal(bm_dtype_size(dtype), expected[i].size);
        assert_int_equal(bm_dtype_parse(expected[i].name), known ? i : 0);
        if (expected[i].npy[0] != '\0')
            assert_int_equal(bm_dtype_from_npy(expected[i].npy), i);
        if (known)
            assert_non_null(strstr(bm_dtype_names(), expected[i].name));
    }
}

static void other_names_are_no_dtypes(void **state)
{
    (void)state;
    static const char *const names[] = {"", "Float32", "float", "int", "float32 ", "float128"};
    static const char *const codes[] = {"", ">f4", "f4", "<f16", "<c8", "|S1", "<i1"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(bm_dtype_parse(names[i]), BM_DTYPE_NONE);
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++)
        assert_int_equal(bm_dtype_from_npy(codes[i]), BM_DTYPE_NONE);
}

static void each_dtype_is_of_one_kind(void **state)
{
    (void)state;
    for (int i = 0; i <= 16; i++) {
        enum bm_dtype dtype = (enum bm_dtype)i;
        assert_int_equal(bm_dtype_is_integer(dtype), i >= 2 && i <= 9);
        assert_int_equal(bm_dtype_is_float(dtype), i >= 10 && i <= 13);
        assert_int_equal(bm_dtype_is_number(dtype), i >= 1 && i <= 13);
        assert_int_equal(bm_dtype_is_text(dtype), i == 14 || i == 15);
    }
}

// ---- 16-bit floats ----

// What a 16-bit float of these fields is worth, from the definition; not for NaN.
static double worth(uint16_t bits, int fraction_bits, int bias)
{
    int exponent = (bits & 0x7fff) >> fraction_bits, ones = 0x7fff >> fraction_bits;
    int fraction = bits & ((1 << fraction_bits) - 1);
    double value = exponent == ones ? HUGE_VAL
                   : exponent == 0
                       ? ldexp(fraction, 1 - bias - fraction_bits)
                       : ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
    return bits >> 15 ? -value : value;
}

static void every_half_survives_float32(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t half = (uint16_t)i;
        float value = bm_float_from_half(half);
        if ((half & 0x7fff) > 0x7c00) { // quiet, with sign and payload
            assert_true(isnan(value));
            assert_int_equal(bm_half_from_float(value), half | 0x200);
        } else {
            assert_true((double)value == worth(half, 10, 15));
            assert_int_equal(!!signbit(value), half >> 15);
            assert_int_equal(bm_half_from_float(value), half);
        }
    }
}

static void every_bfloat_survives_float32(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t bfloat = (uint16_t)i;
        float value = bm_float_from_bfloat(bfloat);
        if ((bfloat & 0x7fff) > 0x7f80) {
            assert_true(isnan(value));
            assert_int_equal(bm_bfloat_from_float(value), bfloat | 0x40);
        } else {
            assert_true((double)value == worth(bfloat, 7, 127));
            assert_int_equal(!!signbit(value), bfloat >> 15);
            assert_int_equal(bm_bfloat_from_float(value), bfloat);
        }
    }
}

static uint16_t put16(enum bm_dtype dtype, double value)
{
    uint16_t bits = 0xdead;
    bm_dtype_put(dtype, &bits, 0, value);
    return bits;
}

// Between each two neighbours, the largest finite one and infinity included: the middle goes to
// the even one, and whatever is nearer to one of them, by the least a double or float can say,
// goes there.
static void check_middles(enum bm_dtype dtype, uint16_t infinity, int fraction_bits, int bias,
                          uint16_t (*from_float)(float))
{
    for (uint16_t low = 0; low < infinity; low++) {
        uint16_t high = (uint16_t)(low + 1), even = low % 2 == 0 ? low : high;
        double a = worth(low, fraction_bits, bias);
        double b = high == infinity
                       ? 2 * worth((uint16_t)(infinity - (1 << fraction_bits)), fraction_bits, bias)
                       : worth(high, fraction_bits, bias);
        double middle = a + (b - a) / 2;
        for (int sign = 0; sign < 2; sign++) {
            double s = sign ? -1 : 1;
            uint16_t mask = (uint16_t)(sign << 15);
            assert_int_equal(put16(dtype, s * middle), even | mask);
            assert_int_equal(put16(dtype, s * nextafter(middle, 0)), low | mask);
            assert_int_equal(put16(dtype, s * nextafter(middle, HUGE_VAL)), high | mask);
            float f = (float)(s * middle); // exact, but for half of the least bfloat
            if ((double)f != s * middle)
                continue;
            assert_int_equal(from_float(f), even | mask);
            assert_int_equal(from_float(nextafterf(f, 0)), low | mask);
            assert_int_equal(from_float(nextafterf(f, sign ? -HUGE_VALF : HUGE_VALF)), high | mask);
        }
    }
}

static void halves_round_once_to_nearest_even(void **state)
{
    (void)state;
    check_middles(BM_FLOAT16, 0x7c00, 10, 15, bm_half_from_float);
    assert_int_equal(put16(BM_FLOAT16, 65519.999), 0x7bff);
    assert_int_equal(put16(BM_FLOAT16, 65520), 0x7c00);
    assert_int_equal(put16(BM_FLOAT16, 1 + 0x1p-11 + 0x1p-40), 0x3c01); // float32 would say 1
}

static void bfloats_round_once_to_nearest_even(void **state)
{
    (void)state;
    check_middles(BM_BFLOAT16, 0x7f80, 7, 127, bm_bfloat_from_float);
    assert_int_equal(put16(BM_BFLOAT16, 1 + 0x1p-8 + 0x1p-40), 0x3f81);
}

static void the_ends_of_16_bit_floats_are_zero_infinity_and_nan(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        enum bm_dtype dtype = wide ? BM_BFLOAT16 : BM_FLOAT16;
        uint16_t infinity = wide ? 0x7f80 : 0x7c00;
        assert_int_equal(put16(dtype, 1e300), infinity);
        assert_int_equal(put16(dtype, -1e300), infinity | 0x8000);
        assert_int_equal(put16(dtype, HUGE_VAL), infinity);
        assert_int_equal(put16(dtype, -HUGE_VAL), infinity | 0x8000);
        assert_int_equal(put16(dtype, 1e-300), 0);
        assert_int_equal(put16(dtype, -1e-300), 0x8000);
        assert_int_equal(put16(dtype, -0.0), 0x8000);
        assert_true((put16(dtype, (double)NAN) & 0x7fff) > infinity);
    }
}

// A NaN whose payload lies in the bits that are cut must not turn into an infinity.
static void a_nan_stays_one(void **state)
{
    (void)state;
    float nan;
    memcpy(&nan, &(uint32_t){0x7f800001}, sizeof nan);
    assert_int_equal(bm_half_from_float(nan), 0x7e00);
    assert_int_equal(bm_bfloat_from_float(nan), 0x7fc0);
    memcpy(&nan, &(uint32_t){0xffffffff}, sizeof nan);
    assert_int_equal(bm_half_from_float(nan), 0xffff);
    assert_int_equal(bm_bfloat_from_float(nan), 0xffff);
}

// ---- Integers ----

static bool is_signed(enum bm_dtype dtype)
{
    return dtype <= BM_INT64;
}

static __int128 low_of(enum bm_dtype dtype)
{
    return is_signed(dtype) ? -((__int128)1 << (8 * bm_dtype_size(dtype) - 1)) : 0;
}

static __int128 high_of(enum bm_dtype dtype)
{
    return ((__int128)1 << (8 * bm_dtype_size(dtype) - is_signed(dtype))) - 1;
}

static __int128 clamp(__int128 value, enum bm_dtype dtype)
{
    __int128 low = low_of(dtype), high = high_of(dtype);
    return value < low ? low : value > high ? high : value;
}

static __int128 load(enum bm_dtype dtype, const void *data)
{
    uint64_t bits = 0;
    memcpy(&bits, data, bm_dtype_size(dtype));
    return bits > (uint64_t)high_of(dtype)
               ? (__int128)bits - ((__int128)1 << (8 * bm_dtype_size(dtype)))
               : (__int128)bits;
}

static void check_integer(enum bm_dtype from_dtype, __int128 value)
{
    uint64_t from = (uint64_t)value;
    if (value < low_of(from_dtype) || value > high_of(from_dtype))
        return;
    for (unsigned t = 0; t < NINTEGERS; t++) {
        uint64_t to[2] = {0, 0};
        bm_dtype_convert(integers[t], to, from_dtype, &from, 1);
        if (load(integers[t], to) != clamp(value, integers[t]))
            fail_msg("%s to %s of %lld: got %lld", bm_dtype_name(from_dtype),
                     bm_dtype_name(integers[t]), (long long)value,
                     (long long)load(integers[t], to));
    }
    uint8_t truth = 7;
    bm_dtype_convert(BM_BOOL, &truth, from_dtype, &from, 1);
    assert_int_equal(truth, value != 0);
    float single = 0;
    double real = 0;
    bm_dtype_convert(BM_FLOAT32, &single, from_dtype, &from, 1);
    bm_dtype_convert(BM_FLOAT64, &real, from_dtype, &from, 1);
    assert_true(single == (float)value);
    assert_true(real == (double)value);
    assert_true(bm_dtype_get(from_dtype, &from, 0) == (double)value);
}

static void integers_saturate_exactly_in_every_direction(void **state)
{
    (void)state;
    for (unsigned f = 0; f < NINTEGERS; f++) {
        for (unsigned bit = 0; bit <= 64; bit++) {
            for (int near = -3; near <= 3; near++) {
                check_integer(integers[f], ((__int128)1 << bit) + near);
                check_integer(integers[f], -((__int128)1 << bit) + near);
            }
        }
    }
}

static void integers_become_bfloats_with_one_rounding(void **state)
{
    (void)state;
    // One more than the middle between two bfloats; a double cannot hold the one more.
    int64_t above = ((int64_t)1 << 62) + ((int64_t)1 << 54) + 1, below = -above;
    uint64_t unsigned_above = (uint64_t)above * 2, middle = unsigned_above - 2;
    uint16_t bits;
    bm_dtype_convert(BM_BFLOAT16, &bits, BM_INT64, &above, 1);
    assert_int_equal(bits, 0x5e81);
    bm_dtype_convert(BM_BFLOAT16, &bits, BM_INT64, &below, 1);
    assert_int_equal(bits, 0xde81);
    bm_dtype_convert(BM_BFLOAT16, &bits, BM_UINT64, &unsigned_above, 1);
    assert_int_equal(bits, 0x5f01);
    bm_dtype_convert(BM_BFLOAT16, &bits, BM_UINT64, &middle, 1);
    assert_int_equal(bits, 0x5f00);
    bm_dtype_convert(BM_BFLOAT16, &bits, BM_INT64, &(int64_t){INT64_MIN}, 1);
    assert_int_equal(bits, 0xdf00);
    bm_dtype_convert(BM_FLOAT16, &bits, BM_INT64, &above, 1);
    assert_int_equal(bits, 0x7c00);
    bm_dtype_convert(BM_FLOAT16, &bits, BM_INT32, &(int32_t){-65519}, 1);
    assert_int_equal(bits, 0xfbff);
    bm_dtype_convert(BM_FLOAT16, &bits, BM_UINT16, &(uint16_t){2049}, 1);
    assert_int_equal(bits, 0x6800);
}

static void assert_becomes(double value, __int128 expected)
{
    for (unsigned t = 0; t < NINTEGERS; t++) {
        uint64_t to[3] = {0, 0, 0};
        bm_dtype_put(integers[t], to, 1, value);
        const unsigned char *at = (const unsigned char *)to + bm_dtype_size(integers[t]);
        if (load(integers[t], at) != clamp(expected, integers[t]))
            fail_msg("%.17g to %s: got %lld", value, bm_dtype_name(integers[t]),
                     (long long)load(integers[t], at));
    }
}

static void floats_become_integers_by_ties_to_even(void **state)
{
    (void)state;
    static const struct {
        double value;
        int64_t expected;
    } cases[] = {
        {0.5, 0},     {1.5, 2},       {2.5, 2},     {0.49999999999999994, 0},
        {-0.5, 0},    {-1.5, -2},     {-2.5, -2},   {126.5, 126},
        {127.5, 128}, {-128.5, -128}, {254.5, 254}, {255.5, 256},
        {1e-300, 0},  {0.7, 1},       {-0.7, -1},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_becomes(cases[i].value, cases[i].expected);
}

static void ties_are_even_up_to_where_doubles_have_no_fractions(void **state)
{
    (void)state;
    for (int bit = 40; bit <= 51; bit++) {
        int64_t whole = (int64_t)1 << bit;
        for (int64_t i = -3; i <= 3; i++) {
            int64_t even = (whole + i) % 2 == 0 ? whole + i : whole + i + 1;
            assert_becomes((double)(whole + i) + 0.5, even);
            assert_becomes(-(double)(whole + i) - 0.5, -even);
        }
    }
    assert_becomes(0x1p52 - 0.5, (int64_t)1 << 52);
    assert_becomes(0x1p52 + 1, ((int64_t)1 << 52) + 1);
    assert_becomes(0x1p53 - 1, ((int64_t)1 << 53) - 1);
    assert_becomes(-0x1p52 - 1, -((int64_t)1 << 52) - 1);
}

static void floats_beyond_the_integers_saturate(void **state)
{
    (void)state;
    assert_becomes((double)NAN, 0);
    assert_becomes(HUGE_VAL, (__int128)1 << 100);
    assert_becomes(-HUGE_VAL, -((__int128)1 << 100));
    assert_becomes(1e300, (__int128)1 << 100);
    assert_becomes(0x1p63, (__int128)1 << 63);
    assert_becomes(-0x1p63, -((__int128)1 << 63));
    assert_becomes(nextafter(0x1p63, 0), ((__int128)1 << 63) - 1024);
    assert_becomes(0x1p64, (__int128)1 << 64);
    assert_becomes(nextafter(0x1p64, 0), ((__int128)1 << 64) - 2048);
}

static void narrow_floats_become_integers_like_wide_ones(void **state)
{
    (void)state;
    const uint16_t halves[] = {0x4100, 0xc300, 0x7c00, 0xfc00, 0x7e00}; // 2.5 -3.5 inf -inf nan
    const float singles[] = {2.5f, -3.5f, HUGE_VALF, -HUGE_VALF, NAN};
    int16_t out[5];
    static const int16_t expected[] = {2, -4, INT16_MAX, INT16_MIN, 0};
    bm_dtype_convert(BM_INT16, out, BM_FLOAT16, halves, 5);
    assert_memory_equal(out, expected, sizeof out);
    memset(out, 0, sizeof out);
    bm_dtype_convert(BM_INT16, out, BM_FLOAT32, singles, 5);
    assert_memory_equal(out, expected, sizeof out);
}

// ---- Everything else ----

static void bools_are_0_or_1(void **state)
{
    (void)state;
    const uint8_t bools[] = {0, 1, 2, 255}, clean[] = {0, 1, 1, 1};
    const float floats[] = {0, -0.0f, 0.1f, NAN}, ones[] = {0, 1, 1, 1};
    const uint8_t expected[] = {0, 0, 1, 1};
    uint8_t out[4];
    float reals[4];
    bm_dtype_convert(BM_BOOL, out, BM_BOOL, bools, 4);
    assert_memory_equal(out, clean, 4);
    bm_dtype_convert(BM_UINT8, out, BM_BOOL, bools, 4);
    assert_memory_equal(out, clean, 4);
    bm_dtype_convert(BM_FLOAT32, reals, BM_BOOL, bools, 4);
    assert_memory_equal(reals, ones, sizeof ones);
    bm_dtype_convert(BM_BOOL, out, BM_FLOAT32, floats, 4);
    assert_memory_equal(out, expected, 4);
    assert_true(bm_dtype_get(BM_BOOL, bools, 3) == 1);
}

static void equal_sizes_convert_in_place(void **state)
{
    (void)state;
    union { // as a block of memory that two dtypes take turns in
        double reals[64];
        int64_t wholes[64];
        uint8_t bytes[64];
    } at;
    for (int i = 0; i < 64; i++)
        at.reals[i] = i - 31.75;
    bm_dtype_convert(BM_INT64, &at, BM_FLOAT64, &at, 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(at.wholes[i], i - 32);
    bm_dtype_convert(BM_FLOAT64, &at, BM_INT64, &at, 64);
    for (int i = 0; i < 64; i++)
        assert_true(at.reals[i] == i - 32);
    for (int i = 0; i < 64; i++)
        at.bytes[i] = (uint8_t)(200 + i);
    bm_dtype_convert(BM_INT8, &at, BM_UINT8, &at, 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(at.bytes[i], 200 + i > 255 ? 200 + i - 256 : 127);
}

static void the_same_dtype_is_copied_bit_by_bit(void **state)
{
    (void)state;
    const uint32_t from[] = {0x7f800001, 0xffffffff, 0x80000000, 1}; // a signalling NaN stays
    uint32_t to[4] = {0};
    bm_dtype_convert(BM_FLOAT32, to, BM_FLOAT32, from, 4);
    assert_memory_equal(to, from, sizeof to);
    bm_dtype_convert(BM_FLOAT32, NULL, BM_FLOAT32, NULL, 0);
    bm_dtype_convert(BM_INT8, NULL, BM_FLOAT32, NULL, 0);
    bm_dtype_convert(BM_STRING, to, BM_STRING, "abcd", 4);
    assert_memory_equal(to, "abcd", 4);
}

static void text_does_not_become_a_number_nor_a_number_text(void **state)
{
    (void)state;
    float number = 7;
    char text[] = "abcd";
    bm_dtype_convert(BM_FLOAT32, &number, BM_BYTES, text, 1);
    bm_dtype_convert(BM_STRING, text, BM_FLOAT32, &number, 1);
    assert_true(number == 7);
    assert_string_equal(text, "abcd");
}

static void what_was_put_can_be_got(void **state)
{
    (void)state;
    for (int i = BM_INT8; i <= BM_FLOAT64; i++) {
        unsigned char data[40];
        memset(data, 0xee, sizeof data);
        _Alignas(8) unsigned char aligned[40];
        memcpy(aligned, data, sizeof data);
        enum bm_dtype dtype = (enum bm_dtype)i;
        size_t size = bm_dtype_size(dtype);
        bm_dtype_put(dtype, aligned, 3, 100);
        assert_true(bm_dtype_get(dtype, aligned, 3) == 100);
        assert_memory_equal(aligned, data, 3 * size); // nothing but element 3 was touched
        assert_memory_equal(aligned + 4 * size, data, sizeof data - 4 * size);
    }
    assert_true(bm_dtype_get(BM_BYTES, "\xff", 0) == 255);
    assert_true(bm_dtype_get(BM_DTYPE_NONE, NULL, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_dtype_has_its_name_size_and_numpy_code),
        cmocka_unit_test(other_names_are_no_dtypes),
        cmocka_unit_test(each_dtype_is_of_one_kind),
        cmocka_unit_test(every_half_survives_float32),
        cmocka_unit_test(every_bfloat_survives_float32),
        cmocka_unit_test(halves_round_once_to_nearest_even),
        cmocka_unit_test(bfloats_round_once_to_nearest_even),
        cmocka_unit_test(the_ends_of_16_bit_floats_are_zero_infinity_and_nan),
        cmocka_unit_test(a_nan_stays_one),
        cmocka_unit_test(integers_saturate_exactly_in_every_direction),
        cmocka_unit_test(integers_become_bfloats_with_one_rounding),
        cmocka_unit_test(floats_become_integers_by_ties_to_even),
        cmocka_unit_test(ties_are_even_up_to_where_doubles_have_no_fractions),
        cmocka_unit_test(floats_beyond_the_integers_saturate),
        cmocka_unit_test(narrow_floats_become_integers_like_wide_ones),
        cmocka_unit_test(bools_are_0_or_1),
        cmocka_unit_test(equal_sizes_convert_in_place),
        cmocka_unit_test(the_same_dtype_is_copied_bit_by_bit),
        cmocka_unit_test(text_does_not_become_a_number_nor_a_number_text),
        cmocka_unit_test(what_was_put_can_be_got),
    };
    return cmocka_run_group_tests_name("dtype", tests, NULL, NULL);
}
