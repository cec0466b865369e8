/* The three steps of an IEEE division around Newton's iteration: v_div_scale keeps its numbers away from overflow and
 * denormals, v_div_fmas takes the last step and undoes the scale, v_div_fixup puts the special cases right.
 *
 * The documents' pseudocode is followed with four corrections, without which the sequence does not divide: v_div_fmas
 * scales by 2^64 or 2^-64 (single) as the quotient is large or small, not by 2^32; a denominator whose reciprocal is
 * denormal is scaled down, not up, when the quotient is denormal too; a quotient that vanishes altogether counts as
 * denormal; and a quotient beyond all range, for which the iteration gives NaN, becomes infinite in v_div_fixup.
 * Test: LLVM's sequence against correctly rounded division over all exponents.
 */
#include <math.h>

#include "vector.h"

typedef struct { /* what v_div_scale does */
    int32_t exponent;
    bool flag; /* v_div_fmas has to scale, too */
} Scale;

/* The rule for both precisions: `far` the distance of exponents near overflow, `tiny` the biased exponent of a small
 * numerator, `large` one whose reciprocal is surely normal, `step` the scale, `least` the smallest normal number.
 * Exponents are the biased ones, 0 for denormals. */
typedef struct {
    int32_t far, tiny, large, step;
    double least;
} DivisionLimits;

/* Nothing to scale: neither number, nor the quotient, nor the reciprocal is near an end of the range. */
static bool ordinary(DivisionLimits limits, int32_t d_exponent, int32_t n_exponent) {
    const int32_t distance = n_exponent - d_exponent;
    return d_exponent > 0 && d_exponent <= limits.large && n_exponent > limits.tiny && distance < limits.far &&
           distance > -(limits.large - 1) / 2;
}

static Scale division_scale(DivisionLimits limits, bool of_denominator, bool of_numerator, double d, double n,
                            int32_t d_exponent, int32_t n_exponent) {
    if (ordinary(limits, d_exponent, n_exponent)) return (Scale){0, false};
    const double quotient = fabs(n / d);
    const bool small_quotient = quotient < limits.least, small_reciprocal = fabs(1 / d) < limits.least;
    if (n_exponent - d_exponent >= limits.far) return (Scale){of_denominator ? limits.step : 0, true};
    if (d_exponent == 0) return (Scale){limits.step, false};
    if (small_reciprocal && small_quotient) return (Scale){of_denominator ? -limits.step : 0, true};
    if (small_reciprocal) return (Scale){-limits.step, false};
    if (small_quotient) return (Scale){of_numerator ? limits.step : 0, true};
    return (Scale){n_exponent <= limits.tiny ? limits.step : 0, false};
}

static float div_scale32(float a, float d, float n, bool *flag) {
    static const DivisionLimits LIMITS = {96, 23, 252, 64, 0x1p-126};
    *flag = false;
    if (n == 0 || d == 0) return NAN;
    const Scale scale = division_scale(LIMITS, a == d, a == n, (double)d, (double)n, (int32_t)(as_u32(d) >> 23 & 0xFF),
                                       (int32_t)(as_u32(n) >> 23 & 0xFF));
    *flag = scale.flag;
    return scale.exponent ? ldexpf(a, scale.exponent) : a;
}
static double div_scale64(double a, double d, double n, bool *flag) {
    static const DivisionLimits LIMITS = {768, 53, 2044, 128, 0x1p-1022};
    *flag = false;
    if (n == 0 || d == 0) return NAN;
    const Scale scale = division_scale(LIMITS, a == d, a == n, d, n, (int32_t)(as_u64(d) >> 52 & 0x7FF),
                                       (int32_t)(as_u64(n) >> 52 & 0x7FF));
    *flag = scale.flag;
    return scale.exponent ? ldexp(a, scale.exponent) : a;
}

/* a * b + c with the last bit set if anything was lost below it, so that a second rounding is right. */
static double fma_to_odd(double a, double b, double c) {
    const double sum = fma(a, b, c);
    const double lost = fma(a, b, c - sum); /* exact for a quotient c and its small correction a * b */
    const uint64_t bits = as_u64(sum);
    if (lost == 0 || lost != lost || bits & 1) return sum;
    return as_f64((lost > 0) == (sum > 0) ? bits + 1 : bits - 1);
}
static float div_fmas32(float a, float b, float c, bool flag) {
    if (!flag) return fmaf(a, b, c);
    return (float)(fma_to_odd((double)a, (double)b, (double)c) * ((as_u32(c) >> 23 & 0xFF) > 127 ? 0x1p64 : 0x1p-64));
}
static double div_fmas64(double a, double b, double c, bool flag) {
    const double sum = fma(a, b, c);
    if (!flag) return sum;
    if ((as_u64(c) >> 52 & 0x7FF) > 1023) return sum * 0x1p128;
    /* A denormal is rounded a second time. That goes wrong only where the sum lies just between two, which it did not
     * before its own rounding. */
    const double lost = fma(a, b, c - sum), scaled = sum * 0x1p-128, rest = sum - scaled * 0x1p128;
    const bool wrong = fabs(rest) == 0x1p-947 && lost != 0 && (lost > 0) == (rest > 0);
    return wrong ? scaled + copysign(0x1p-1074, rest) : scaled;
}

/* `quotient` has been computed, d and n are as they were before the scale. Beyond the exponents' distance `gone` the
 * quotient is below half the smallest denormal. */
#define DEFINE_FIXUP(name, TYPE, copysign, fabs, exponent, gone)                                                       \
    static TYPE name(TYPE quotient, TYPE d, TYPE n) {                                                                  \
        const TYPE sign = copysign(1, d) * copysign(1, n);                                                             \
        if (n != n) return n + n;                                                                                      \
        if (d != d) return d + d;                                                                                      \
        if ((d == 0 && n == 0) || (fabs(d) == (TYPE)INFINITY && fabs(n) == (TYPE)INFINITY)) return (TYPE)-NAN;         \
        if (d == 0 || fabs(n) == (TYPE)INFINITY) return sign * (TYPE)INFINITY;                                         \
        if (n == 0 || fabs(d) == (TYPE)INFINITY || exponent(n) - exponent(d) < gone) return sign * 0;                  \
        return quotient != quotient ? sign * (TYPE)INFINITY : copysign(quotient, sign);                                \
    }
#define EXPONENT32(x) ((int32_t)(as_u32(x) >> 23 & 0xFF))
#define EXPONENT64(x) ((int32_t)(as_u64(x) >> 52 & 0x7FF))
DEFINE_FIXUP(div_fixup32, float, copysignf, fabsf, EXPONENT32, -150)
DEFINE_FIXUP(div_fixup64, double, copysign, fabs, EXPONENT64, -1075)

/* ---- the operations ----------------------------------------------------------------------------------------- */

OPERATION(v_div_scale_f32) {
    REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F32);
    uint32_t space[4][LANES], flags[LANES];
    SOURCES_3(source_f32)
    for (uint32_t i = 0; i < LANES; i++) {
        bool flag;
        space[3][i] = as_u32(div_scale32(as_f32(x[i]), as_f32(y[i]), as_f32(z[i]), &flag));
        flags[i] = flag ? ~0u : 0;
    }
    write_mask(w, insn, &insn->dst2, flags);
    return write_f32(w, insn, space[3]);
}

OPERATION(v_div_fmas_f32) {
    REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F32);
    uint32_t space[4][LANES];
    const uint64_t vcc = sgpr64(w, SGPR_VCC);
    SOURCES_3(source_f32)
    for (uint32_t i = 0; i < LANES; i++)
        space[3][i] = as_u32(div_fmas32(as_f32(x[i]), as_f32(y[i]), as_f32(z[i]), vcc >> i & 1));
    return write_f32(w, insn, space[3]);
}

OPERATION(v_div_fixup_f32) {
    (void)launch;
    uint32_t space[4][LANES];
    SOURCES_3(source_f32)
    for (uint32_t i = 0; i < LANES; i++)
        space[3][i] = as_u32(div_fixup32(as_f32(x[i]), as_f32(y[i]), as_f32(z[i])));
    return write_f32(w, insn, space[3]);
}

#define LANES_F64                                                                                                      \
    const double a = as_f64(join(x.low[i], x.high[i])), b = as_f64(join(y.low[i], y.high[i]));                         \
    const double c = as_f64(join(z.low[i], z.high[i]));
#define STORE_F64(value)                                                                                               \
    const uint64_t bits = as_u64(value);                                                                               \
    space[3][0][i] = (uint32_t)bits;                                                                                   \
    space[3][1][i] = (uint32_t)(bits >> 32);

OPERATION(v_div_scale_f64) {
    REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F16_F64);
    uint32_t space[4][2][LANES], flags[LANES];
    PAIRS_3(source_f64)
    for (uint32_t i = 0; i < LANES; i++) {
        bool flag;
        LANES_F64
        STORE_F64(div_scale64(a, b, c, &flag))
        flags[i] = flag ? ~0u : 0;
    }
    write_mask(w, insn, &insn->dst2, flags);
    return write_f64(w, insn, space[3][0], space[3][1]);
}

OPERATION(v_div_fmas_f64) {
    REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F16_F64);
    uint32_t space[4][2][LANES];
    const uint64_t vcc = sgpr64(w, SGPR_VCC);
    PAIRS_3(source_f64)
    for (uint32_t i = 0; i < LANES; i++) {
        LANES_F64
        STORE_F64(div_fmas64(a, b, c, vcc >> i & 1))
    }
    return write_f64(w, insn, space[3][0], space[3][1]);
}

OPERATION(v_div_fixup_f64) {
    (void)launch;
    uint32_t space[4][2][LANES];
    PAIRS_3(source_f64)
    for (uint32_t i = 0; i < LANES; i++) {
        LANES_F64
        STORE_F64(div_fixup64(a, b, c))
    }
    return write_f64(w, insn, space[3][0], space[3][1]);
}

const OperationEntry VECTOR_DIVISION_OPERATIONS[] = {
    ENTRY(v_div_scale_f32, ALLOWS_NEG_ABS)
    ENTRY(v_div_fmas_f32, ALLOWS_FLOAT)
    ENTRY(v_div_fixup_f32, ALLOWS_FLOAT)
    ENTRY(v_div_scale_f64, ALLOWS_NEG_ABS)
    ENTRY(v_div_fmas_f64, ALLOWS_FLOAT)
    ENTRY(v_div_fixup_f64, ALLOWS_FLOAT)
    {NULL, NULL, 0, 0},
};
