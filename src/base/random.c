#include "base/random.h"

#include <string.h>

void bm_philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t ret[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (unsigned round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xd2511f53u * c0, product1 = (uint64_t)0xcd9e8d57u * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    ret[0] = c0;
    ret[1] = c1;
    ret[2] = c2;
    ret[3] = c3;
}

void bm_random_init(struct bm_random *random, uint64_t seed, uint64_t epoch, uint64_t item,
                    uint32_t action)
{
    uint64_t key = bm_mix64(bm_mix64(bm_mix64(seed) ^ epoch) ^ action);
    *random = (struct bm_random){
        .key = {(uint32_t)key, (uint32_t)(key >> 32)},
        .counter = {(uint32_t)item, (uint32_t)(item >> 32), 0, 0},
        .used = 4,
    };
}

uint32_t bm_random_u32(struct bm_random *random)
{
    if (random->used == 4) {
        bm_philox4x32_10(random->counter, random->key, random->block);
        random->used = 0;
        if (++random->counter[2] == 0)
            random->counter[3]++;
    }
    return random->block[random->used++];
}

uint64_t bm_random_u64(struct bm_random *random)
{
    uint64_t low = bm_random_u32(random);
    return low | (uint64_t)bm_random_u32(random) << 32;
}

// Lemire, "Fast random integer generation in an interval", ACM TOMACS 29 (2019).
uint64_t bm_random_below(struct bm_random *random, uint64_t bound)
{
    unsigned __int128 product = (unsigned __int128)bm_random_u64(random) * bound;
    if ((uint64_t)product < bound) {
        uint64_t threshold = -bound % bound;
        while ((uint64_t)product < threshold)
            product = (unsigned __int128)bm_random_u64(random) * bound;
    }
    return (uint64_t)(product >> 64);
}

double bm_random_uniform(struct bm_random *random)
{
    return (double)(bm_random_u64(random) >> 11) * 0x1p-53;
}

// ---- Normal: the inverse of the distribution function, without libm ----

// ln(x) for normal x > 0: x = m * 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh(s),
// s = (m - 1) / (m + 1), |s| < 0.1716, by its series. Good to about 1e-16.
static double plain_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m /= 2;
        exponent++;
    }
    double s = (m - 1) / (m + 1), square = s * s, sum = 0;
    for (int k = 23; k >= 1; k -= 2)
        sum = sum * square + 1.0 / k;
    return 2 * s * sum + exponent * 0.6931471805599453;
}

static double plain_sqrt(double x) // exact by IEEE 754
{
    return __builtin_sqrt(x);
}

static double polynomial(const double *c, unsigned n, double x) // c[0] + c[1] x + ...
{
    double sum = c[n - 1];
    for (unsigned i = n - 1; i > 0; i--)
        sum = sum * x + c[i - 1];
    return sum;
}

// Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied
// Statistics 37 (1988): PPND16, about 1 part in 10^16.
static double normal_quantile(double p)
{
    static const double a[] = {3.3871328727963666080e0, 1.3314166789178437745e2,
                               1.9715909503065514427e3, 1.3731693765509461125e4,
                               4.5921953931549871457e4, 6.7265770927008700853e4,
                               3.3430575583588128105e4, 2.5090809287301226727e3};
    static const double b[] = {1.0,
                               4.2313330701600911252e1,
                               6.8718700749205790830e2,
                               5.3941960214247511077e3,
                               2.1213794301586595867e4,
                               3.9307895800092710610e4,
                               2.8729085735721942674e4,
                               5.2264952788528545610e3};
    static const double c[] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                               5.76949722146069140550e0,  3.64784832476320460504e0,
                               1.27045825245236838258e0,  2.41780725177450611770e-1,
                               2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[] = {1.0,
                               2.05319162663775882187e0,
                               1.67638483018380384940e0,
                               6.89767334985100004550e-1,
                               1.48103976427480074590e-1,
                               1.51986665636164571966e-2,
                               5.47593808499534494600e-4,
                               1.05075007164441684324e-9};
    static const double e[] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                               1.78482653991729133580e0,  2.96560571828504891230e-1,
                               2.65321895265761230930e-2, 1.24266094738807843860e-3,
                               2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double f[] = {1.0,
                               5.99832206555887937690e-1,
                               1.36929880922735805310e-1,
                               1.48753612908506148525e-2,
                               7.86869131145613259100e-4,
                               1.84631831751005468180e-5,
                               1.42151175831644588870e-7,
                               2.04426310338993978564e-15};
    double q = p - 0.5;
    if (q <= 0.425 && q >= -0.425) {
        double r = 0.180625 - q * q;
        return q * polynomial(a, 8, r) / polynomial(b, 8, r);
    }
    double r = plain_sqrt(-plain_log(q < 0 ? p : 1 - p));
    double tail = r <= 5 ? polynomial(c, 8, r - 1.6) / polynomial(d, 8, r - 1.6)
                         : polynomial(e, 8, r - 5) / polynomial(f, 8, r - 5);
    return q < 0 ? -tail : tail;
}

// The middle of one of 2^52 intervals of (0, 1), which is exact: neither end can come up.
static double random_open(struct bm_random *random)
{
    return ((double)(bm_random_u64(random) >> 12) + 0.5) * 0x1p-52;
}

double bm_random_normal(struct bm_random *random)
{
    return normal_quantile(random_open(random));
}

// ---- Ratios ----

// e^x for |x| < 700: 2^n e^r with |r| <= ln 2 / 2, by its series. Good to about 1e-15.
static double plain_exp(double x)
{
    double turns = x * 1.4426950408889634;
    int n = (int)(turns < 0 ? turns - 0.5 : turns + 0.5);
    // ln 2 in two parts, so that the difference keeps its last bits.
    double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33, sum = 1;
    for (int k = 17; k >= 1; k--)
        sum = 1 + sum * r / k;
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

double bm_random_ratio(struct bm_random *random, double low, double high)
{
    return low * plain_exp(bm_random_uniform(random) * plain_log(high / low));
}

// ---- Beta ----

// Gamma(alpha) from Gamma(alpha + 1): Marsaglia, Tsang: "A simple method for generating gamma
// variables", ACM TOMS 26 (2000).
static double random_gamma(struct bm_random *random, double alpha)
{
    double d = alpha + 2.0 / 3, c = 1 / plain_sqrt(9 * d);
    for (;;) {
        double n = bm_random_normal(random), root = 1 + c * n, v = root * root * root;
        if (v > 0 && plain_log(random_open(random)) < n * n / 2 + d - d * v + d * plain_log(v))
            return d * v * plain_exp(plain_log(random_open(random)) / alpha);
    }
}

double bm_random_beta(struct bm_random *random, double alpha)
{
    double x = random_gamma(random, alpha), y = random_gamma(random, alpha);
    return x / (x + y);
}
