/* The shape of an operation on lanes: read one to three sources into a, b, c; one expression; write. */
#ifndef VECTOR_H
#define VECTOR_H

#include "operands.h"

#define SOURCES_1(READ) const uint32_t *x = READ(w, insn, 0, space[0]);
#define SOURCES_2(READ) SOURCES_1(READ) const uint32_t *y = READ(w, insn, 1, space[1]);
#define SOURCES_3(READ) SOURCES_2(READ) const uint32_t *z = READ(w, insn, 2, space[2]);
#define LANE_1(TYPE, AS) const TYPE a = AS(x[i]);
#define LANE_2(TYPE, AS) LANE_1(TYPE, AS) const TYPE b = AS(y[i]);
#define LANE_3(TYPE, AS) LANE_2(TYPE, AS) const TYPE c = AS(z[i]);

#define PAIRS_1(READ) const Pair x = READ(w, insn, 0, space[0]);
#define PAIRS_2(READ) PAIRS_1(READ) const Pair y = READ(w, insn, 1, space[1]);
#define PAIRS_3(READ) PAIRS_2(READ) const Pair z = READ(w, insn, 2, space[2]);
#define LANE64_1(TYPE, AS) const TYPE a = AS(join(x.low[i], x.high[i]));
#define LANE64_2(TYPE, AS) LANE64_1(TYPE, AS) const TYPE b = AS(join(y.low[i], y.high[i]));
#define LANE64_3(TYPE, AS) LANE64_2(TYPE, AS) const TYPE c = AS(join(z.low[i], z.high[i]));

#define OPERATION(name) static Status name(Launch *launch, Wave *w, const Insn *insn)

/* What the encodings of an operation may carry: VOP1 and VOP2 have DPP and SDWA forms, VOP3 has its modifiers. */
enum {
    ALLOWS_MOVES = ALLOWS_DPP | ALLOWS_SDWA,
    ALLOWS_FLOAT = ALLOWS_NEG_ABS | ALLOWS_CLAMP | ALLOWS_OMOD,
    ALLOWS_FLOAT_MOVES = ALLOWS_FLOAT | ALLOWS_MOVES,
};

#define ENTRY(name, allows) {#name, name, CLASS_VALU, allows},

/* ---- minimum and maximum ------------------------------------------------------------------------------------ */

/* Signed integers in the order of the floats that they stand for; -0 is below +0. */
VECTOR_INLINE int32_t order32(uint32_t bits) { return (int32_t)(bits ^ ((uint32_t)((int32_t)bits >> 31) >> 1)); }
VECTOR_INLINE int64_t order64(uint64_t bits) { return (int64_t)(bits ^ ((uint64_t)((int64_t)bits >> 63) >> 1)); }
/* All ones where true: `if` and `&&` would keep the loops over lanes from being vectorised. */
VECTOR_INLINE uint32_t nan32(uint32_t bits) { return -(uint32_t)((int32_t)(bits & INT32_MAX) > 0x7F800000); }
VECTOR_INLINE uint64_t nan64(uint64_t bits) { return -(uint64_t)((int64_t)(bits & INT64_MAX) > 0x7FF0000000000000); }

/* A NaN gives way to a number; with MODE.IEEE a signalling NaN comes out, quiet. Source: pseudocode of v_min_f32 and
 * v_max_f32 in "AMD Instinct CDNA4 Instruction Set Architecture". */
#define DEFINE_EXTREME(name, TYPE, BITS, FROM, TO, order, nan, QUIET, comparison)                                      \
    VECTOR_INLINE TYPE name(TYPE left, TYPE right, bool ieee) {                                                        \
        const BITS a = TO(left), b = TO(right), nan_a = nan(a), nan_b = nan(b);                                        \
        const BITS signalling_a = nan_a & -(BITS)(((a & QUIET) == 0) & ieee);                                          \
        const BITS signalling_b = nan_b & -(BITS)(((b & QUIET) == 0) & ieee);                                          \
        const BITS take_a = (-(BITS)(order(a) comparison order(b)) | nan_b | signalling_a) & ~(nan_a & ~signalling_a); \
        const BITS first = take_a & ~(signalling_b & ~signalling_a);                                                   \
        return FROM((a & first) | (b & ~first) | ((signalling_a | signalling_b) & QUIET));                             \
    }
DEFINE_EXTREME(min_f32, float, uint32_t, as_f32, as_u32, order32, nan32, 0x400000u, <)
DEFINE_EXTREME(max_f32, float, uint32_t, as_f32, as_u32, order32, nan32, 0x400000u, >)
DEFINE_EXTREME(min_f64, double, uint64_t, as_f64, as_u64, order64, nan64, (1ull << 51), <)
DEFINE_EXTREME(max_f64, double, uint64_t, as_f64, as_u64, order64, nan64, (1ull << 51), >)

VECTOR_INLINE float min3_f32(float a, float b, float c, bool ieee) { return min_f32(min_f32(a, b, ieee), c, ieee); }
VECTOR_INLINE float max3_f32(float a, float b, float c, bool ieee) { return max_f32(max_f32(a, b, ieee), c, ieee); }
VECTOR_INLINE float med3_f32(float a, float b, float c, bool ieee) {
    const float most = max3_f32(a, b, c, ieee), least = min3_f32(a, b, c, ieee);
    const float first = most == a ? b : a, second = most == a || most == b ? c : b;
    const float median = max_f32(first, second, ieee);
    return a != a || b != b || c != c ? least : median;
}

/* IEEE 754-2019 minimum and maximum: a NaN comes out. */
VECTOR_INLINE float minimum_f32(float a, float b) { return a != a || b != b ? a + b : min_f32(a, b, false); }
VECTOR_INLINE float maximum_f32(float a, float b) { return a != a || b != b ? a + b : max_f32(a, b, false); }

/* The largest float below 1: what v_fract gives where x - floor(x) rounds up to 1. */
VECTOR_INLINE float fract_f32(float a, float below_one) {
    const float rest = a - __builtin_floorf(a);
    return rest >= 1 ? below_one : rest;
}

/* The argument counts in turns. Beyond 256 of them, the card's range, it gives sin 0 and cos 1. */
static inline double turn(double a, bool cosine) {
    const double part = a - __builtin_rint(a), angle = part * 0x1.921fb54442d18p+2;
    if (a > 256 || a < -256) return a - a != 0 ? __builtin_nan("") : cosine;
    return cosine ? __builtin_cos(angle) : a == 0 ? a : __builtin_sin(angle);
}

#endif
