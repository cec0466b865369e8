/* VOP1, VOP2 and VOP3 on single precision.
 *
 * v_exp, v_log, v_rcp, v_rsq and v_sqrt are good to 1 ulp on the card and flush denormals whatever MODE says (LLVM,
 * AMDGPUCodeGenPrepare.cpp: "The rcp instruction doesn't support denormals", likewise for the others, which it scales
 * around). Here they are as good as correctly rounded and flush alike; the last bit may differ from the card's.
 */
#include "half.h"
#include "vector.h"

VECTOR_INLINE float flush32(float a) {
    const uint32_t bits = as_u32(a);
    return as_f32(bits & 0x7F800000 ? bits : bits & 0x80000000);
}

/* ---- functions, in double and without branches --------------------------------------------------------------- */

/* 2^exponent. */
VECTOR_INLINE double power_of_two(int64_t exponent) { return as_f64((uint64_t)(exponent + 1023) << 52); }

/* Taylor's series of e^x at x = ln 2 * f with |f| <= 1/2: the first term left out is below 2^-43. */
VECTOR_INLINE double exp2_reduced(double f) {
    const double x = f * 0x1.62e42fefa39efp-1;
    double sum = 1.0 / 39916800;
    sum = sum * x + 1.0 / 3628800;
    sum = sum * x + 1.0 / 362880;
    sum = sum * x + 1.0 / 40320;
    sum = sum * x + 1.0 / 5040;
    sum = sum * x + 1.0 / 720;
    sum = sum * x + 1.0 / 120;
    sum = sum * x + 1.0 / 24;
    sum = sum * x + 1.0 / 6;
    sum = sum * x + 1.0 / 2;
    sum = sum * x + 1.0;
    return sum * x + 1.0;
}
VECTOR_INLINE double exp2_f64(double a) {
    const double bounded = a > 200 ? 200 : a < -200 ? -200 : a; /* beyond any single, well within a double */
    const double whole = __builtin_rint(bounded);
    const uint64_t shift = as_u64(whole + 0x1.8p52) << 52; /* the integer, moved to the exponent's place */
    const double result = as_f64(as_u64(exp2_reduced(bounded - whole)) + shift);
    return a != a ? a : result;
}

/* log2(m 2^e) = e + 2/ln 2 artanh((m - 1)/(m + 1)), m in [sqrt 1/2, sqrt 2). The first term left out is below 2^-50 of
 * the result, near 1 too. */
VECTOR_INLINE double log2_f64(double a) {
    const uint64_t bits = as_u64(a), half_root = 0x3FE6A09E667F3BCD;
    const uint64_t steps = (bits - half_root) >> 52;
    const double mantissa = as_f64(bits - (steps << 52));
    /* 0x4338... is 1.5 * 2^52: its last bits hold the integer. */
    const double exponent = as_f64(0x4338000000000000 + ((steps ^ 0x800) - 0x800)) - 0x1.8p52;
    const double s = (mantissa - 1) / (mantissa + 1), square = s * s;
    double sum = 1.0 / 21;
    sum = sum * square + 1.0 / 19;
    sum = sum * square + 1.0 / 17;
    sum = sum * square + 1.0 / 15;
    sum = sum * square + 1.0 / 13;
    sum = sum * square + 1.0 / 11;
    sum = sum * square + 1.0 / 9;
    sum = sum * square + 1.0 / 7;
    sum = sum * square + 1.0 / 5;
    sum = sum * square + 1.0 / 3;
    sum = sum * square + 1.0;
    return exponent + s * sum * 0x1.71547652b82fep+1;
}
VECTOR_INLINE float log2_special(float a, float finite) {
    const float below = a == 0 ? -__builtin_inff() : __builtin_nanf("");
    return a > 0 && a < __builtin_inff() ? finite : a > 0 || a != a ? a : below;
}

VECTOR_INLINE float exp2_lane(float a) { return (float)exp2_f64((double)a); }
VECTOR_INLINE float log2_lane(float a) { return log2_special(a, (float)log2_f64((double)a)); }
VECTOR_INLINE float exp_f32(float a) { return flush32(exp2_lane(flush32(a))); }
VECTOR_INLINE float log_f32(float a) { return flush32(log2_lane(flush32(a))); }
VECTOR_INLINE float rcp_f32(float a) { return flush32(1 / flush32(a)); }
VECTOR_INLINE float sqrt_f32(float a) { return __builtin_sqrtf(flush32(a)); }
VECTOR_INLINE float rsq_f32(float a) { return (float)(1 / __builtin_sqrt((double)flush32(a))); }

static float sin_f32(float a) { return (float)turn((double)flush32(a), false); }
static float cos_f32(float a) { return (float)turn((double)flush32(a), true); }

/* ---- parts -------------------------------------------------------------------------------------------------- */

VECTOR_INLINE bool is_finite32(float a) { return a - a == 0; }
/* a = mantissa 2^exponent, mantissa in [1/2, 1). In double, every single but 0 is normal. */
VECTOR_INLINE uint32_t frexp_exponent32(float a) {
    const uint32_t exponent = (uint32_t)(as_u64((double)a) >> 52 & 0x7FF) - 1022;
    return a == 0 || !is_finite32(a) ? 0 : exponent;
}
VECTOR_INLINE float frexp_mantissa32(float a) {
    const uint64_t bits = as_u64((double)a);
    const float mantissa = (float)as_f64((bits & 0x800FFFFFFFFFFFFF) | 0x3FE0000000000000);
    return a == 0 || !is_finite32(a) ? a : mantissa;
}
/* The product in double is exact, so there is one rounding, of denormals too. */
VECTOR_INLINE float ldexp32(float a, uint32_t exponent) {
    const int32_t n = (int32_t)exponent, bounded = n < -300 ? -300 : n > 300 ? 300 : n;
    return (float)((double)a * power_of_two(bounded));
}
VECTOR_INLINE float mul_legacy(float a, float b) { return a == 0 || b == 0 ? 0 : a * b; }
VECTOR_INLINE float fma_f32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

/* ---- the operations ----------------------------------------------------------------------------------------- */

#define OPERATIONS_F32(X)                                                                                              \
    X(v_add_f32, 2, ALLOWS_FLOAT_MOVES, a + b)                                                                         \
    X(v_sub_f32, 2, ALLOWS_FLOAT_MOVES, a - b)                                                                         \
    X(v_subrev_f32, 2, ALLOWS_FLOAT_MOVES, b - a)                                                                      \
    X(v_mul_f32, 2, ALLOWS_FLOAT_MOVES, a *b)                                                                          \
    X(v_mul_legacy_f32, 2, ALLOWS_FLOAT_MOVES, mul_legacy(a, b))                                                       \
    X(v_min_f32, 2, ALLOWS_FLOAT_MOVES, min_f32(a, b, ieee))                                                           \
    X(v_max_f32, 2, ALLOWS_FLOAT_MOVES, max_f32(a, b, ieee))                                                           \
    X(v_fmac_f32, 3, ALLOWS_FLOAT_MOVES, fma_f32(a, b, c))                                                             \
    X(v_fma_f32, 3, ALLOWS_FLOAT, fma_f32(a, b, c))                                                                    \
    X(v_fmamk_f32, 3, 0, fma_f32(a, b, c))                                                                             \
    X(v_fmaak_f32, 3, 0, fma_f32(a, b, c))                                                                             \
    X(v_min3_f32, 3, ALLOWS_FLOAT, min3_f32(a, b, c, ieee))                                                            \
    X(v_max3_f32, 3, ALLOWS_FLOAT, max3_f32(a, b, c, ieee))                                                            \
    X(v_med3_f32, 3, ALLOWS_FLOAT, med3_f32(a, b, c, ieee))                                                            \
    X(v_minimum3_f32, 3, ALLOWS_FLOAT, minimum_f32(minimum_f32(a, b), c)) /* gfx950 */                                 \
    X(v_maximum3_f32, 3, ALLOWS_FLOAT, maximum_f32(maximum_f32(a, b), c)) /* gfx950 */                                 \
    X(v_trunc_f32, 1, ALLOWS_FLOAT_MOVES, __builtin_truncf(a))                                                         \
    X(v_ceil_f32, 1, ALLOWS_FLOAT_MOVES, __builtin_ceilf(a))                                                           \
    X(v_rndne_f32, 1, ALLOWS_FLOAT_MOVES, __builtin_rintf(a))                                                          \
    X(v_floor_f32, 1, ALLOWS_FLOAT_MOVES, __builtin_floorf(a))                                                         \
    X(v_fract_f32, 1, ALLOWS_FLOAT_MOVES, fract_f32(a, 0x1.fffffep-1f))                                                \
    X(v_exp_f32, 1, ALLOWS_FLOAT_MOVES, exp_f32(a))                                                                    \
    X(v_log_f32, 1, ALLOWS_FLOAT_MOVES, log_f32(a))                                                                    \
    X(v_rcp_f32, 1, ALLOWS_FLOAT_MOVES, rcp_f32(a))                                                                    \
    X(v_rcp_iflag_f32, 1, ALLOWS_FLOAT_MOVES, rcp_f32(a))                                                              \
    X(v_rsq_f32, 1, ALLOWS_FLOAT_MOVES, rsq_f32(a))                                                                    \
    X(v_sqrt_f32, 1, ALLOWS_FLOAT_MOVES, sqrt_f32(a))                                                                  \
    X(v_sin_f32, 1, ALLOWS_FLOAT_MOVES, sin_f32(a))                                                                    \
    X(v_cos_f32, 1, ALLOWS_FLOAT_MOVES, cos_f32(a))                                                                    \
    X(v_frexp_mant_f32, 1, ALLOWS_FLOAT_MOVES, frexp_mantissa32(a))

#define DEFINE_F32(name, arity, allows, ...)                                                                           \
    OPERATION(name) {                                                                                                  \
        REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F32);                                                              \
        uint32_t space[4][LANES];                                                                                      \
        const bool ieee = w->mode & MODE_IEEE;                                                                         \
        (void)ieee;                                                                                                    \
        SOURCES_##arity(source_f32) uint32_t *out = result_f32(w, insn, space[3]);                                     \
        FOR_LANES(i) {                                                                                                 \
            LANE_##arity(float, as_f32) out[i] = as_u32(__VA_ARGS__);                                                  \
        }                                                                                                              \
        return write_f32(w, insn, out);                                                                                \
    }
OPERATIONS_F32(DEFINE_F32)

OPERATION(v_ldexp_f32) {
    REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F32);
    uint32_t space[3][LANES];
    const uint32_t *x = source_f32(w, insn, 0, space[0]), *y = source32(w, insn, 1, space[1]);
    uint32_t *out = result_f32(w, insn, space[2]);
    FOR_LANES(i) out[i] = as_u32(ldexp32(as_f32(x[i]), y[i]));
    return write_f32(w, insn, out);
}

OPERATION(v_frexp_exp_i32_f32) {
    (void)launch;
    uint32_t space[2][LANES];
    SOURCES_1(source_f32)
    uint32_t *out = result32(w, insn, space[1]);
    FOR_LANES(i) out[i] = frexp_exponent32(as_f32(x[i]));
    return write32(w, insn, out);
}

#define ROW(name, arity, allows, ...) ENTRY(name, allows)
const OperationEntry VECTOR_FLOAT_OPERATIONS[] = {
    OPERATIONS_F32(ROW)
    ENTRY(v_ldexp_f32, ALLOWS_FLOAT)
    ENTRY(v_frexp_exp_i32_f32, ALLOWS_MOVES | ALLOWS_NEG_ABS)
    {NULL, NULL, 0, 0},
};
