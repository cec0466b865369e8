/* Half precision in loops over lanes: branch-free, so that they vectorise on any x86 or Arm. formats.h has the same
 * formats in general form; these two conversions are what 16-bit arithmetic spends its time on. */
#ifndef HALF_H
#define HALF_H

#include "operands.h"

/* Exact. A NaN keeps its fraction, quiet or not. */
VECTOR_INLINE float half_to_f32(uint32_t half) {
    const uint32_t magnitude = (half & 0x7FFF) << 13, exponent = half & 0x7C00;
    const uint32_t normal = magnitude + (112u << 23); /* the difference of the exponents' biases */
    /* A denormal becomes the fraction of a number in [2^-14, 2^-13), less 2^-14; no f32 denormal slows this down. */
    const uint32_t denormal = as_u32(as_f32(magnitude + (113u << 23)) - 0x1p-14f);
    uint32_t bits = exponent ? normal : denormal;
    bits = exponent == 0x7C00 ? magnitude | 0x7F800000 : bits;
    return as_f32(bits | (half & 0x8000) << 16);
}

/* To nearest even; a NaN becomes quiet. */
VECTOR_INLINE uint32_t f32_to_half(float value) {
    const uint32_t bits = as_u32(value), magnitude = bits & 0x7FFFFFFF;
    const uint32_t normal = (magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13;
    /* 0.5 has its last bit where a half's denormals have theirs, so the sum rounds to them. */
    const uint32_t denormal = as_u32(as_f32(magnitude) + 0.5f) - 0x3F000000;
    uint32_t half = magnitude < 0x38800000 ? denormal : normal;
    half = magnitude >= 0x477FF000 ? 0x7C00 : half;
    half = magnitude > 0x7F800000 ? 0x7E00 | (magnitude >> 13 & 0x3FF) : half;
    return half | (bits >> 16 & 0x8000);
}

/* A double as the float that rounds to the same half: towards zero, the last bit set if anything was lost ("round to
 * odd"). A second rounding, to 22 or fewer bits, is then right. */
VECTOR_INLINE float f64_to_odd_f32(double value) {
    const float near = (float)value;
    const uint32_t bits = as_u32(near), inexact = (double)near != value && !(bits & 1) && near == near;
    const uint32_t below = __builtin_fabs((double)near) < __builtin_fabs(value);
    return as_f32(inexact ? (below ? bits + 1 : bits - 1) : bits);
}

#endif
