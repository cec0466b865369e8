/* VOP1, VOP2 and VOP3 on half precision: computed in single (sums, products, quotients and square roots then round
 * twice without harm: 24 >= 2 * 11 + 2 bits) or, fma, in double. The functions are good to 1 ulp on the card; here they
 * are as good as correctly rounded. */
#include <math.h>

#include "half.h"
#include "vector.h"

VECTOR_INLINE float fma_f16(float a, float b, float c) {
    /* The product is exact; the sum loses bits only where they are below all that half precision sees. */
    return f64_to_odd_f32((double)a * (double)b + (double)c);
}
static float exp_f16(float a) { return f64_to_odd_f32(exp2((double)a)); }
static float log_f16(float a) { return f64_to_odd_f32(log2((double)a)); }
VECTOR_INLINE float rsq_f16(float a) { return f64_to_odd_f32(1 / sqrt((double)a)); }
VECTOR_INLINE float rcp_f16(float a) { return 1 / a; }

static float sin_f16(float a) { return f64_to_odd_f32(turn((double)a, false)); }
static float cos_f16(float a) { return f64_to_odd_f32(turn((double)a, true)); }

/* At most the largest number below 1, 1 - 2^-11. */
VECTOR_INLINE float fract_f16(float a) {
    const float part = fract_f32(a, 0x1.ffcp-1f);
    return part > 0x1.ffcp-1f ? 0x1.ffcp-1f : part;
}
VECTOR_INLINE uint32_t frexp_exponent16(float a) {
    const uint32_t exponent = (as_u32(a) >> 23 & 0xFF) - 126;
    return (a == 0 || a - a != 0 ? 0 : exponent) & 0xFFFF;
}
VECTOR_INLINE float frexp_mantissa16(float a) {
    return a == 0 || a - a != 0 ? a : as_f32((as_u32(a) & 0x807FFFFF) | 0x3F000000);
}
/* Exact in single: 2^-24 * 2^-60 is far from its denormals. */
VECTOR_INLINE float ldexp16(float a, uint32_t exponent) {
    const int32_t n = (int16_t)exponent, bounded = n < -60 ? -60 : n > 60 ? 60 : n;
    return a * as_f32((uint32_t)(bounded + 127) << 23);
}

/* s0: quotient, s1: denominator, s2: numerator. */
VECTOR_INLINE float div_fixup16(float quotient, float d, float n) {
    const float sign = as_f32((as_u32(d) ^ as_u32(n)) & 0x80000000);
    float result = __builtin_copysignf(quotient, sign);
    if (__builtin_fabsf(d) == INFINITY || n == 0) result = sign;
    if (d == 0 || __builtin_fabsf(n) == INFINITY) result = __builtin_copysignf(INFINITY, sign);
    if ((d == 0 && n == 0) || (__builtin_fabsf(d) == INFINITY && __builtin_fabsf(n) == INFINITY))
        result = as_f32(0xFFC00000);
    return n != n ? n : d != d ? d : result;
}

#define OPERATIONS_F16(X)                                                                                              \
    X(v_add_f16, 2, ALLOWS_FLOAT_MOVES, HALF_ZEROES, a + b)                                                            \
    X(v_sub_f16, 2, ALLOWS_FLOAT_MOVES, HALF_ZEROES, a - b)                                                            \
    X(v_subrev_f16, 2, ALLOWS_FLOAT_MOVES, HALF_ZEROES, b - a)                                                         \
    X(v_mul_f16, 2, ALLOWS_FLOAT_MOVES, HALF_ZEROES, a *b)                                                             \
    X(v_min_f16, 2, ALLOWS_FLOAT_MOVES, HALF_ZEROES, min_f32(a, b, ieee))                                              \
    X(v_max_f16, 2, ALLOWS_FLOAT_MOVES, HALF_ZEROES, max_f32(a, b, ieee))                                              \
    X(v_trunc_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, __builtin_truncf(a))                                            \
    X(v_ceil_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, __builtin_ceilf(a))                                              \
    X(v_rndne_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, __builtin_rintf(a))                                             \
    X(v_floor_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, __builtin_floorf(a))                                            \
    X(v_fract_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, fract_f16(a))                                                   \
    X(v_rcp_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, rcp_f16(a))                                                       \
    X(v_sqrt_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, __builtin_sqrtf(a))                                              \
    X(v_rsq_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, rsq_f16(a))                                                       \
    X(v_exp_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, exp_f16(a))                                                       \
    X(v_log_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, log_f16(a))                                                       \
    X(v_sin_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, sin_f16(a))                                                       \
    X(v_cos_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, cos_f16(a))                                                       \
    X(v_frexp_mant_f16, 1, ALLOWS_FLOAT_MOVES, HALF_ZEROES, frexp_mantissa16(a))                                       \
    X(v_fma_f16, 3, ALLOWS_FLOAT | ALLOWS_OPSEL, HALF_KEEPS, fma_f16(a, b, c))                                         \
    X(v_min3_f16, 3, ALLOWS_FLOAT | ALLOWS_OPSEL, HALF_KEEPS, min3_f32(a, b, c, ieee))                                 \
    X(v_max3_f16, 3, ALLOWS_FLOAT | ALLOWS_OPSEL, HALF_KEEPS, max3_f32(a, b, c, ieee))                                 \
    X(v_med3_f16, 3, ALLOWS_FLOAT | ALLOWS_OPSEL, HALF_KEEPS, med3_f32(a, b, c, ieee))                                 \
    X(v_div_fixup_f16, 3, ALLOWS_FLOAT | ALLOWS_OPSEL, HALF_KEEPS, div_fixup16(a, b, c))

#define DEFINE_F16(name, arity, allows, rule, ...)                                                                     \
    OPERATION(name) {                                                                                                  \
        REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F16_F64);                                                          \
        uint32_t space[4][LANES], *out = space[3];                                                                     \
        const bool ieee = w->mode & MODE_IEEE;                                                                         \
        (void)ieee;                                                                                                    \
        SOURCES_##arity(source_f16) FOR_LANES(i) {                                                                     \
            LANE_##arity(float, half_to_f32) out[i] = f32_to_half(__VA_ARGS__);                                        \
        }                                                                                                              \
        put_f16(w, insn, out, rule);                                                                                   \
        return STATUS_OK;                                                                                              \
    }
OPERATIONS_F16(DEFINE_F16)

OPERATION(v_ldexp_f16) {
    REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F16_F64);
    uint32_t space[3][LANES];
    const uint32_t *x = source_f16(w, insn, 0, space[0]), *y = source16(w, insn, 1, space[1]);
    FOR_LANES(i) space[2][i] = f32_to_half(ldexp16(half_to_f32(x[i]), y[i]));
    put_f16(w, insn, space[2], HALF_ZEROES);
    return STATUS_OK;
}

OPERATION(v_frexp_exp_i16_f16) {
    (void)launch;
    uint32_t space[2][LANES];
    SOURCES_1(source_f16)
    FOR_LANES(i) space[1][i] = frexp_exponent16(half_to_f32(x[i]));
    put16(w, insn, space[1], HALF_ZEROES);
    return STATUS_OK;
}

OPERATION(v_pack_b32_f16) {
    (void)launch;
    uint32_t space[3][LANES];
    SOURCES_2(source_f16)
    uint32_t *out = result32(w, insn, space[2]);
    FOR_LANES(i) out[i] = (x[i] & 0xFFFF) | y[i] << 16;
    return write32(w, insn, out);
}

#define ROW(name, arity, allows, ...) ENTRY(name, allows)
const OperationEntry VECTOR_HALF_OPERATIONS[] = {
    OPERATIONS_F16(ROW)
    ENTRY(v_ldexp_f16, ALLOWS_FLOAT_MOVES)
    ENTRY(v_frexp_exp_i16_f16, ALLOWS_MOVES | ALLOWS_NEG_ABS)
    ENTRY(v_pack_b32_f16, ALLOWS_NEG_ABS | ALLOWS_OPSEL)
    {NULL, NULL, 0, 0},
};
