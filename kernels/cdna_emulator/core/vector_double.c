/* VOP1, VOP2 and VOP3 on double precision. v_rcp, v_rsq and v_sqrt, which the card only approximates for a refinement
 * that follows, are correctly rounded here. */
#include <math.h>

#include "vector.h"

VECTOR_INLINE double fract_f64(double a) {
    const double part = a - floor(a);
    return part >= 1 ? 0x1.fffffffffffffp-1 : part;
}
VECTOR_INLINE uint32_t frexp_exponent64(double a) {
    int exponent = 0;
    if (a - a == 0) frexp(a, &exponent);
    return (uint32_t)exponent;
}
VECTOR_INLINE double frexp_mantissa64(double a) {
    int exponent;
    return a - a == 0 ? frexp(a, &exponent) : a;
}

#define OPERATIONS_F64(X)                                                                                              \
    X(v_add_f64, 2, ALLOWS_FLOAT, a + b)                                                                               \
    X(v_mul_f64, 2, ALLOWS_FLOAT, a *b)                                                                                \
    X(v_min_f64, 2, ALLOWS_FLOAT, min_f64(a, b, ieee))                                                                 \
    X(v_max_f64, 2, ALLOWS_FLOAT, max_f64(a, b, ieee))                                                                 \
    X(v_fma_f64, 3, ALLOWS_FLOAT, fma(a, b, c))                                                                        \
    X(v_fmac_f64, 3, ALLOWS_FLOAT | ALLOWS_DPP, fma(a, b, c))                                                          \
    X(v_trunc_f64, 1, ALLOWS_FLOAT | ALLOWS_DPP, trunc(a))                                                             \
    X(v_ceil_f64, 1, ALLOWS_FLOAT | ALLOWS_DPP, ceil(a))                                                               \
    X(v_rndne_f64, 1, ALLOWS_FLOAT | ALLOWS_DPP, rint(a))                                                              \
    X(v_floor_f64, 1, ALLOWS_FLOAT | ALLOWS_DPP, floor(a))                                                             \
    X(v_fract_f64, 1, ALLOWS_FLOAT | ALLOWS_DPP, fract_f64(a))                                                         \
    X(v_rcp_f64, 1, ALLOWS_FLOAT | ALLOWS_DPP, 1 / a)                                                                  \
    X(v_rsq_f64, 1, ALLOWS_FLOAT | ALLOWS_DPP, 1 / sqrt(a))                                                            \
    X(v_sqrt_f64, 1, ALLOWS_FLOAT | ALLOWS_DPP, sqrt(a))                                                               \
    X(v_frexp_mant_f64, 1, ALLOWS_FLOAT | ALLOWS_DPP, frexp_mantissa64(a))

#define STORE_64(value)                                                                                                \
    const uint64_t bits = as_u64(value);                                                                               \
    low[i] = (uint32_t)bits;                                                                                           \
    high[i] = (uint32_t)(bits >> 32);

#define DEFINE_F64(name, arity, allows, ...)                                                                           \
    OPERATION(name) {                                                                                                  \
        REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F16_F64);                                                          \
        uint32_t space[4][2][LANES];                                                                                   \
        const bool ieee = w->mode & MODE_IEEE;                                                                         \
        (void)ieee;                                                                                                    \
        PAIRS_##arity(source_f64);                                                                                     \
        uint32_t *low = result_word(w, insn, MODE_DENORMALS_OUT_F16_F64, 0, space[3][0]);                              \
        uint32_t *high = result_word(w, insn, MODE_DENORMALS_OUT_F16_F64, 1, space[3][1]);                             \
        FOR_LANES(i) {                                                                                                 \
            LANE64_##arity(double, as_f64) STORE_64(__VA_ARGS__)                                                       \
        }                                                                                                              \
        return write_f64(w, insn, low, high);                                                                          \
    }
OPERATIONS_F64(DEFINE_F64)

OPERATION(v_ldexp_f64) {
    REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F16_F64);
    uint32_t space[2][2][LANES], exponents[LANES];
    const Pair x = source_f64(w, insn, 0, space[0]);
    const uint32_t *y = source32(w, insn, 1, exponents);
    uint32_t *low = space[1][0], *high = space[1][1];
    for (uint32_t i = 0; i < LANES; i++) {
        STORE_64(ldexp(as_f64(join(x.low[i], x.high[i])), (int32_t)y[i]))
    }
    return write_f64(w, insn, low, high);
}

OPERATION(v_frexp_exp_i32_f64) {
    (void)launch;
    uint32_t space[2][LANES], result[LANES];
    const Pair x = source_f64(w, insn, 0, space);
    for (uint32_t i = 0; i < LANES; i++) result[i] = frexp_exponent64(as_f64(join(x.low[i], x.high[i])));
    put32(w, insn, result);
    return STATUS_OK;
}

/* 2/pi behind the point, 1201 bits. */
static const uint64_t TWO_OVER_PI[19] = {
    0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041, 0xFE5163ABDEBBC561, 0xB7246E3A424DD2E0,
    0x06492EEA09D1921C, 0xFE1DEB1CB129A73E, 0xE88235F52EBB4484, 0xE99C7026B45F7E41, 0x3991D639835339F4,
    0x9C845F8BBDF9283B, 0x1FF897FFDE05980F, 0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7, 0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B, 0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08, 0x56033046FC7B0000,
};

/* 53 bits of 2/pi, `segment` segments behind the point, further on for large arguments: the reduction of sin and cos
 * multiplies by them. */
static double trig_preop(uint64_t argument, uint32_t segment) {
    const int32_t exponent = (int32_t)(argument >> 52 & 0x7FF);
    const int32_t shift = (int32_t)(segment & 31) * 53 + (exponent > 1077 ? exponent - 1077 : 0);
    uint64_t bits = 0;
    for (int32_t n = shift; n < shift + 53; n++)
        bits = bits << 1 | (n < 1216 ? TWO_OVER_PI[n / 64] >> (63 - n % 64) & 1 : 0);
    return ldexp((double)bits, -53 - shift + (exponent >= 1968 ? 128 : 0));
}

OPERATION(v_trig_preop_f64) {
    (void)launch;
    uint32_t space[2][2][LANES], segments[LANES];
    const Pair x = source_f64(w, insn, 0, space[0]);
    const uint32_t *y = source32(w, insn, 1, segments);
    uint32_t *low = space[1][0], *high = space[1][1];
    for (uint32_t i = 0; i < LANES; i++) {
        STORE_64(trig_preop(join(x.low[i], x.high[i]), y[i]))
    }
    return write_f64(w, insn, low, high);
}

#define ROW(name, arity, allows, ...) ENTRY(name, allows)
const OperationEntry VECTOR_DOUBLE_OPERATIONS[] = {
    OPERATIONS_F64(ROW)
    ENTRY(v_ldexp_f64, ALLOWS_FLOAT)
    ENTRY(v_frexp_exp_i32_f64, ALLOWS_NEG_ABS | ALLOWS_DPP)
    ENTRY(v_trig_preop_f64, ALLOWS_FLOAT)
    {NULL, NULL, 0, 0},
};
