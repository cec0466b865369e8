/* What an atomic leaves behind, for memory and LDS alike. Each takes the old value and the operands, and gives the new
 * one. Source: the pseudocode of the CDNA3 and CDNA4 instruction set documents. */
#ifndef ATOMICS_H
#define ATOMICS_H

#include "memory.h"

INLINE float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
INLINE uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
INLINE double double_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
INLINE uint64_t double_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* name, expression of `old`, `a` (first operand), `b` (second operand; LDS only), with U and S the unsigned and signed
 * type of the width. The same list serves 32 and 64 bits. */
#define INTEGER_ATOMICS(X)                                                                                             \
    X(add, old + a)                                                                                                    \
    X(sub, old - a)                                                                                                    \
    X(rsub, a - old)                                                                                                   \
    X(inc, old >= a ? 0 : old + 1)                                                                                     \
    X(dec, old == 0 || old > a ? a : old - 1)                                                                          \
    X(smin, (S)a < (S)old ? a : old)                                                                                   \
    X(smax, (S)a >= (S)old ? a : old)                                                                                  \
    X(umin, a < old ? a : old)                                                                                         \
    X(umax, a >= old ? a : old)                                                                                        \
    X(and, old & a)                                                                                                    \
    X(or, old | a)                                                                                                     \
    X(xor, old ^ a)                                                                                                    \
    X(swap, a)                                                                                                         \
    X(compare, old == a ? b : old) /* a: compared with, b: stored */                                                   \
    X(mskor, (old & ~a) | b)                                                                                           \
    X(wrap, old >= a ? old - a : old + b)

#define DEFINE_ATOMIC(name, expression)                                                                                \
    INLINE U ATOMIC_NAME(name)(U old, U a, U b) {                                                                      \
        (void)old, (void)a, (void)b;                                                                                   \
        return expression;                                                                                             \
    }
#define U uint32_t
#define S int32_t
#define ATOMIC_NAME(name) name##_32
INTEGER_ATOMICS(DEFINE_ATOMIC)
#undef U
#undef S
#undef ATOMIC_NAME
#define U uint64_t
#define S int64_t
#define ATOMIC_NAME(name) name##_64
INTEGER_ATOMICS(DEFINE_ATOMIC)
#undef U
#undef S
#undef ATOMIC_NAME

/* A NaN on either side keeps the old value in min and max: the comparison is false. */
INLINE uint32_t add_f32(uint32_t old, uint32_t a, uint32_t b) { return (void)b, bits_of(float_of(old) + float_of(a)); }
INLINE uint32_t min_f32(uint32_t old, uint32_t a, uint32_t b) { return (void)b, float_of(a) < float_of(old) ? a : old; }
INLINE uint32_t max_f32(uint32_t old, uint32_t a, uint32_t b) { return (void)b, float_of(a) > float_of(old) ? a : old; }
INLINE uint32_t compare_f32(uint32_t old, uint32_t a, uint32_t b) { return float_of(old) == float_of(a) ? b : old; }
INLINE uint64_t add_f64(uint64_t old, uint64_t a, uint64_t b) {
    return (void)b, double_bits(double_of(old) + double_of(a));
}
INLINE uint64_t min_f64(uint64_t old, uint64_t a, uint64_t b) {
    return (void)b, double_of(a) < double_of(old) ? a : old;
}
INLINE uint64_t max_f64(uint64_t old, uint64_t a, uint64_t b) {
    return (void)b, double_of(a) > double_of(old) ? a : old;
}
INLINE uint64_t compare_f64(uint64_t old, uint64_t a, uint64_t b) { return double_of(old) == double_of(a) ? b : old; }

/* Two halves at once. The float sum of two 11-bit significands, rounded again to 11 (or 8) bits, is the correctly
 * rounded sum: 24 >= 2 * 11 + 2. */
INLINE uint16_t add_half(uint16_t x, uint16_t y) {
    _Float16 left, right;
    memcpy(&left, &x, 2);
    memcpy(&right, &y, 2);
    _Float16 sum = (_Float16)((float)left + (float)right);
    uint16_t bits;
    memcpy(&bits, &sum, 2);
    return bits;
}
INLINE uint16_t add_bfloat(uint16_t x, uint16_t y) {
    uint32_t sum = bits_of(float_of((uint32_t)x << 16) + float_of((uint32_t)y << 16));
    if ((sum & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(sum >> 16 | 0x40); /* a quiet NaN stays one */
    return (uint16_t)((sum + 0x7FFF + (sum >> 16 & 1)) >> 16);
}
INLINE uint32_t pk_add_f16(uint32_t old, uint32_t a, uint32_t b) {
    (void)b;
    return (uint32_t)add_half((uint16_t)(old >> 16), (uint16_t)(a >> 16)) << 16 | add_half((uint16_t)old, (uint16_t)a);
}
INLINE uint32_t pk_add_bf16(uint32_t old, uint32_t a, uint32_t b) {
    (void)b;
    return (uint32_t)add_bfloat((uint16_t)(old >> 16), (uint16_t)(a >> 16)) << 16 |
           add_bfloat((uint16_t)old, (uint16_t)a);
}

#endif
