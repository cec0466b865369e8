/* VOP3P without the matrix unit: two halves, or two registers, in one instruction. Each source chooses for the low and
 * for the high result which of its parts is read (op_sel, op_sel_hi), and may negate it (neg_lo, neg_hi). */
#include "half.h"
#include "vector.h"

/* ---- reading ------------------------------------------------------------------------------------------------ */

typedef enum { LOW, HIGH } Part;

VECTOR_INLINE bool reads_upper(const Operand *o, Part part) {
    return o->modifiers & (part == LOW ? MODIFIER_OPSEL : MODIFIER_OPSEL_HI);
}
VECTOR_INLINE bool negates(const Operand *o, Part part) {
    return o->modifiers & (part == LOW ? MODIFIER_NEG : MODIFIER_NEG_HI);
}

/* What one result reads of source n, in bits 15:0 of each lane: bits above are of no meaning. */
VECTOR_INLINE const uint32_t *part16(const Wave *w, const Insn *insn, uint32_t n, Part part, uint32_t buffer[LANES]) {
    const uint32_t *lanes = source32(w, insn, n, buffer);
    if (!reads_upper(&insn->src[n], part)) return lanes;
    FOR_LANES(i) buffer[i] = lanes[i] >> 16;
    return buffer;
}
VECTOR_INLINE const uint32_t *part_f16(const Wave *w, const Insn *insn, uint32_t n, Part part,
                                       uint32_t buffer[LANES]) {
    const uint32_t *lanes = part16(w, insn, n, part, buffer);
    const bool flush = !(w->mode & MODE_DENORMALS_IN_F16_F64), negate = negates(&insn->src[n], part);
    return flush || negate ? modified_source(lanes, negate ? MODIFIER_NEG : 0, flush, 0x8000, 0x7C00, buffer) : lanes;
}

/* Packed single precision: a register of the pair; a constant is the same for both. */
VECTOR_INLINE const uint32_t *part32(const Wave *w, const Insn *insn, uint32_t n, Part part, uint32_t buffer[LANES]) {
    const Operand *o = &insn->src[n];
    return source_word(w, insn, n, o->kind != OPERAND_CONSTANT && reads_upper(o, part), buffer);
}
VECTOR_INLINE const uint32_t *part_f32(const Wave *w, const Insn *insn, uint32_t n, Part part,
                                       uint32_t buffer[LANES]) {
    const uint32_t *lanes = part32(w, insn, n, part, buffer);
    const bool flush = !(w->mode & MODE_DENORMALS_IN_F32), negate = negates(&insn->src[n], part);
    return flush || negate ? modified_source(lanes, negate ? MODIFIER_NEG : 0, flush, 0x80000000, 0x7F800000, buffer)
                           : lanes;
}

#define PARTS_1(READ, part) const uint32_t *x = READ(w, insn, 0, part, space[0]);
#define PARTS_2(READ, part) PARTS_1(READ, part) const uint32_t *y = READ(w, insn, 1, part, space[1]);
#define PARTS_3(READ, part) PARTS_2(READ, part) const uint32_t *z = READ(w, insn, 2, part, space[2]);

/* ---- two halves --------------------------------------------------------------------------------------------- */

VECTOR_INLINE uint32_t to_u16(uint32_t bits) { return bits & 0xFFFF; }
VECTOR_INLINE int32_t to_i16(uint32_t bits) { return (int16_t)bits; }
VECTOR_INLINE int32_t saturate(int64_t a, int32_t low, int32_t high) {
    return (int32_t)(a < low ? low : a > high ? high : a);
}

/* name, sources, type, what is computed, with which bounds a clamp applies (equal: it is not allowed) */
#define PACKED_16(X)                                                                                                   \
    X(v_pk_mad_i16, 3, i16, (int64_t)a *b + c, INT16_MIN, INT16_MAX)                                                   \
    X(v_pk_mad_u16, 3, u16, (int64_t)((uint64_t)a * b + c), 0, UINT16_MAX)                                             \
    X(v_pk_add_i16, 2, i16, (int64_t)a + b, INT16_MIN, INT16_MAX)                                                      \
    X(v_pk_sub_i16, 2, i16, (int64_t)a - b, INT16_MIN, INT16_MAX)                                                      \
    X(v_pk_add_u16, 2, u16, (int64_t)a + b, 0, UINT16_MAX)                                                             \
    X(v_pk_sub_u16, 2, u16, (int64_t)a - b, 0, UINT16_MAX)                                                             \
    X(v_pk_mul_lo_u16, 2, u16, (int64_t)((uint64_t)a * b), 0, 0)                                                       \
    X(v_pk_lshlrev_b16, 2, u16, (int64_t)b << (a & 15), 0, 0)                                                          \
    X(v_pk_lshrrev_b16, 2, u16, b >> (a & 15), 0, 0)                                                                   \
    X(v_pk_ashrrev_i16, 2, i16, b >> (a & 15), 0, 0)                                                                   \
    X(v_pk_max_i16, 2, i16, a > b ? a : b, 0, 0)                                                                       \
    X(v_pk_min_i16, 2, i16, a < b ? a : b, 0, 0)                                                                       \
    X(v_pk_max_u16, 2, u16, a > b ? a : b, 0, 0)                                                                       \
    X(v_pk_min_u16, 2, u16, a < b ? a : b, 0, 0)

#define LANE_i16(arity) LANE_##arity(int32_t, to_i16)
#define LANE_u16(arity) LANE_##arity(uint32_t, to_u16)
#define DEFINE_HALF_OF_16(name, arity, TYPE, expression, low, high)                                                    \
    static void name##_part(const Wave *w, const Insn *insn, Part part, uint32_t out[LANES]) {                         \
        uint32_t space[3][LANES];                                                                                      \
        PARTS_##arity(part16, part)                                                                                    \
        if (insn->flags & FLAG_CLAMP)                                                                                  \
            FOR_LANES(i) { LANE_##TYPE(arity) out[i] = (uint32_t)saturate(expression, low, high); }                    \
        else                                                                                                           \
            FOR_LANES(i) { LANE_##TYPE(arity) out[i] = (uint32_t)(expression); }                                       \
    }

#define PACKED_F16(X)                                                                                                  \
    X(v_pk_fma_f16, 3, f64_to_odd_f32((double)a * (double)b + (double)c))                                              \
    X(v_pk_add_f16, 2, a + b)                                                                                          \
    X(v_pk_mul_f16, 2, a *b)                                                                                           \
    X(v_pk_min_f16, 2, min_f32(a, b, ieee))                                                                            \
    X(v_pk_max_f16, 2, max_f32(a, b, ieee))                                                                            \
    X(v_pk_minimum3_f16, 3, minimum_f32(minimum_f32(a, b), c)) /* gfx950 */                                            \
    X(v_pk_maximum3_f16, 3, maximum_f32(maximum_f32(a, b), c)) /* gfx950 */

#define DEFINE_HALF_OF_F16(name, arity, ...)                                                                           \
    static void name##_part(const Wave *w, const Insn *insn, Part part, uint32_t out[LANES]) {                         \
        uint32_t space[3][LANES];                                                                                      \
        const bool ieee = w->mode & MODE_IEEE;                                                                         \
        (void)ieee;                                                                                                    \
        PARTS_##arity(part_f16, part) FOR_LANES(i) {                                                                   \
            LANE_##arity(float, half_to_f32) out[i] = f32_to_half(__VA_ARGS__);                                        \
        }                                                                                                              \
        finish_f16(w, insn, out);                                                                                      \
    }

PACKED_16(DEFINE_HALF_OF_16)
PACKED_F16(DEFINE_HALF_OF_F16)

#define DEFINE_BOTH(name, require)                                                                                     \
    OPERATION(name) {                                                                                                  \
        (void)launch;                                                                                                  \
        require;                                                                                                       \
        uint32_t low[LANES], high[LANES];                                                                              \
        name##_part(w, insn, LOW, low);                                                                                \
        name##_part(w, insn, HIGH, high);                                                                              \
        FOR_LANES(i) low[i] = (low[i] & 0xFFFF) | high[i] << 16;                                                       \
        put32(w, insn, low);                                                                                           \
        return STATUS_OK;                                                                                              \
    }
#define DEFINE_PACKED_16(name, ...) DEFINE_BOTH(name, )
#define DEFINE_PACKED_F16(name, ...) DEFINE_BOTH(name, REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F16_F64))
PACKED_16(DEFINE_PACKED_16)
PACKED_F16(DEFINE_PACKED_F16)

/* VOP2: the halves of all three in their places. */
OPERATION(v_pk_fmac_f16) {
    Insn plain = *insn;
    for (uint32_t n = 0; n < 3; n++) plain.src[n].modifiers |= MODIFIER_OPSEL_HI;
    return v_pk_fma_f16(launch, w, &plain);
}

/* ---- two registers ------------------------------------------------------------------------------------------ */

#define PACKED_F32(X)                                                                                                  \
    X(v_pk_fma_f32, 3, __builtin_fmaf(a, b, c), __builtin_fmaf(d, e, f))                                               \
    X(v_pk_mul_f32, 2, a *b, d *e)                                                                                     \
    X(v_pk_add_f32, 2, a + b, d + e)

#define BOTH_2                                                                                                         \
    const uint32_t *x = part_f32(w, insn, 0, LOW, space[0]), *y = part_f32(w, insn, 1, LOW, space[1]);                 \
    const uint32_t *t = part_f32(w, insn, 0, HIGH, space[2]), *u = part_f32(w, insn, 1, HIGH, space[3]);
#define BOTH_3                                                                                                         \
    BOTH_2 const uint32_t *z = part_f32(w, insn, 2, LOW, space[4]), *v = part_f32(w, insn, 2, HIGH, space[5]);
#define BOTH_LANES_2                                                                                                   \
    const float a = as_f32(x[i]), b = as_f32(y[i]), d = as_f32(t[i]), e = as_f32(u[i]);
#define BOTH_LANES_3 BOTH_LANES_2 const float c = as_f32(z[i]), f = as_f32(v[i]);

#define DEFINE_PACKED_F32(name, arity, first, second)                                                                  \
    OPERATION(name) {                                                                                                  \
        REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F32);                                                              \
        uint32_t space[6][LANES], made[2][LANES];                                                                      \
        BOTH_##arity uint32_t *low = result_word(w, insn, MODE_DENORMALS_OUT_F32, 0, made[0]);                         \
        uint32_t *high = result_word(w, insn, MODE_DENORMALS_OUT_F32, 1, made[1]);                                     \
        FOR_LANES(i) {                                                                                                 \
            BOTH_LANES_##arity const uint32_t one = as_u32(first), two = as_u32(second);                               \
            low[i] = one;                                                                                              \
            high[i] = two;                                                                                             \
        }                                                                                                              \
        if (in_place(w, insn, low)) return STATUS_OK;                                                                  \
        finish_f32(w, insn, low);                                                                                      \
        finish_f32(w, insn, high);                                                                                     \
        put64(w, insn, low, high);                                                                                     \
        return STATUS_OK;                                                                                              \
    }
PACKED_F32(DEFINE_PACKED_F32)

/* The low result is a register of the first source, the high one a register of the second: both by op_sel. */
OPERATION(v_pk_mov_b32) {
    (void)launch;
    uint32_t space[2][LANES], low[LANES], high[LANES];
    memcpy(low, part32(w, insn, 0, LOW, space[0]), sizeof low);
    memcpy(high, part32(w, insn, 1, LOW, space[1]), sizeof high);
    put64(w, insn, low, high);
    return STATUS_OK;
}

/* ---- one result from single and half precision --------------------------------------------------------------- */

/* op_sel_hi says that a source is a half, op_sel which; else it is single. neg_hi is the absolute value here. */
static void mixed_source(const Wave *w, const Insn *insn, uint32_t n, float out[LANES]) {
    const Operand *o = &insn->src[n];
    uint32_t buffer[LANES];
    const uint32_t *lanes = source32(w, insn, n, buffer);
    const bool half = o->modifiers & MODIFIER_OPSEL_HI && o->kind != OPERAND_CONSTANT;
    const bool upper = o->modifiers & MODIFIER_OPSEL;
    const uint32_t keep = o->modifiers & MODIFIER_NEG_HI ? 0x7FFFFFFF : ~0u;
    const uint32_t change = o->modifiers & MODIFIER_NEG ? 0x80000000 : 0;
    const bool flush = !(w->mode & (half ? MODE_DENORMALS_IN_F16_F64 : MODE_DENORMALS_IN_F32));
    const float least = half ? 0x1p-14f : 0x1p-126f;
    FOR_LANES(i) {
        const float value = half ? half_to_f32(upper ? lanes[i] >> 16 : lanes[i]) : as_f32(lanes[i]);
        const float flushed = flush && __builtin_fabsf(value) < least ? __builtin_copysignf(0, value) : value;
        out[i] = as_f32((as_u32(flushed) & keep) ^ change);
    }
}

/* A constant that is one number in either width, so that it does not matter which the operand's flag makes it: 0, 0.5,
 * 1, 2, 4 and their negatives. LLVM adds a half to a float as a product with the constant 1 flagged as a half. */
static bool same_as_half(const Operand *o) {
    const uint32_t exponent = o->value >> 23 & 0xFF;
    return !(o->modifiers & MODIFIER_OPSEL) && !(o->value & 0x7FFFFF) && (o->value == 0 || (exponent > 112 && exponent < 143));
}

/* The documents call it v_mad_mix; on gfx942 and gfx950 it is v_fma_mix, which rounds once (LLVM, FeatureFmaMixInsts).
 * To a half it rounds a second time: LLVM takes it for fptrunc(fma). */
static Status mixed_fma(Launch *launch, Wave *w, const Insn *insn, float out[LANES]) {
    REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F32 | MODE_ROUND_F16_F64);
    float in[3][LANES];
    for (uint32_t n = 0; n < 3; n++) {
        const Operand *o = &insn->src[n];
        if (o->kind == OPERAND_CONSTANT && o->modifiers & MODIFIER_OPSEL_HI && !same_as_half(o))
            return cdna_unsupported(launch, insn, "a constant as a half");
        mixed_source(w, insn, n, in[n]);
    }
    FOR_LANES(i) out[i] = __builtin_fmaf(in[0][i], in[1][i], in[2][i]);
    return STATUS_OK;
}

OPERATION(v_fma_mix_f32) {
    float result[LANES];
    uint32_t lanes[LANES];
    const Status status = mixed_fma(launch, w, insn, result);
    if (status != STATUS_OK) return status;
    FOR_LANES(i) lanes[i] = as_u32(result[i]);
    put_f32(w, insn, lanes);
    return STATUS_OK;
}

static Status mixed_half(Launch *launch, Wave *w, const Insn *insn, bool upper) {
    float result[LANES];
    uint32_t half[LANES];
    const Status status = mixed_fma(launch, w, insn, result);
    if (status != STATUS_OK) return status;
    FOR_LANES(i) half[i] = f32_to_half(result[i]);
    finish_f16(w, insn, half);
    const uint32_t *old = w->v[insn->dst.index];
    if (upper)
        FOR_LANES(i) half[i] = half[i] << 16 | (old[i] & 0xFFFF);
    else
        FOR_LANES(i) half[i] |= old[i] & 0xFFFF0000;
    put32(w, insn, half);
    return STATUS_OK;
}
OPERATION(v_fma_mixlo_f16) { return mixed_half(launch, w, insn, false); }
OPERATION(v_fma_mixhi_f16) { return mixed_half(launch, w, insn, true); }

#define PACKED_ROW(name, arity, TYPE, expression, low, high)                                                           \
    ENTRY(name, ALLOWS_OPSEL | ((low) != (high) ? ALLOWS_CLAMP : 0))
#define FLOAT_ROW(name, ...) ENTRY(name, ALLOWS_OPSEL | ALLOWS_CLAMP)
const OperationEntry PACKED_OPERATIONS[] = {
    PACKED_16(PACKED_ROW) PACKED_F16(FLOAT_ROW) PACKED_F32(FLOAT_ROW)
    ENTRY(v_pk_fmac_f16, 0)
    ENTRY(v_pk_mov_b32, ALLOWS_OPSEL)
    ENTRY(v_fma_mix_f32, ALLOWS_OPSEL | ALLOWS_CLAMP)
    ENTRY(v_fma_mixlo_f16, ALLOWS_OPSEL | ALLOWS_CLAMP)
    ENTRY(v_fma_mixhi_f16, ALLOWS_OPSEL | ALLOWS_CLAMP)
    {NULL, NULL, 0, 0},
};
