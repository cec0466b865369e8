/* Dot products of two to eight elements within a register, added to an accumulator. */
#include "half.h"
#include "vector.h"

VECTOR_INLINE float f16_element(uint32_t bits) { return half_to_f32(bits); }
VECTOR_INLINE float bf16_element(uint32_t bits) { return as_f32(bits << 16); }

/* VOP3P has op_sel here too, but must leave it alone (LLVM, AMDGPUAsmParser, validateOpSel): another choice stops.
 * neg_lo and neg_hi negate elements of halves only. */
static bool allowed_parts(const Insn *insn, bool packed, bool negation) {
    if (!packed) return true;
    for (uint32_t n = 0; n < 2; n++) {
        const uint32_t m = insn->src[n].modifiers;
        if (m & MODIFIER_OPSEL || !(m & MODIFIER_OPSEL_HI)) return false;
        if (!negation && m & (MODIFIER_NEG | MODIFIER_NEG_HI)) return false;
    }
    return !(insn->src[2].modifiers & (MODIFIER_OPSEL | MODIFIER_NEG_HI | (negation ? 0 : MODIFIER_NEG)));
}
#define REQUIRE_PARTS(packed, negation)                                                                                \
    if (!allowed_parts(insn, packed, negation)) return cdna_unsupported(launch, insn, "op_sel or neg of a dot product")

/* The order of the sums is the pseudocode's; products of halves are exact in single precision. */
#define DEFINE_DOT2_FLOAT(name, element, packed, expression)                                                           \
    OPERATION(name) {                                                                                                  \
        REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F32);                                                              \
        REQUIRE_PARTS(packed, true);                                                                                   \
        uint32_t space[3][LANES], out[LANES];                                                                          \
        SOURCES_2(source32)                                                                                            \
        const uint32_t *z = source_f32(w, insn, 2, space[2]);                                                          \
        const uint32_t signs = insn->src[0].modifiers ^ insn->src[1].modifiers;                                        \
        const float low = signs & MODIFIER_NEG ? -1 : 1, high = signs & MODIFIER_NEG_HI ? -1 : 1;                      \
        FOR_LANES(i) {                                                                                                 \
            const float first = element(x[i] & 0xFFFF) * element(y[i] & 0xFFFF) * low;                                 \
            const float second = element(x[i] >> 16) * element(y[i] >> 16) * high;                                     \
            const float c = as_f32(z[i]);                                                                              \
            out[i] = as_u32(expression);                                                                               \
        }                                                                                                              \
        put_f32(w, insn, out);                                                                                         \
        return STATUS_OK;                                                                                              \
    }
DEFINE_DOT2_FLOAT(v_dot2_f32_f16, f16_element, true, c + first + second)
DEFINE_DOT2_FLOAT(v_dot2c_f32_f16, f16_element, false, c + first + second)
DEFINE_DOT2_FLOAT(v_dot2_f32_bf16, bf16_element, true, first + second + c)
DEFINE_DOT2_FLOAT(v_dot2c_f32_bf16, bf16_element, false, c + first + second)

VECTOR_INLINE int64_t signed_part(uint32_t bits, uint32_t shift, uint32_t size) {
    return (int32_t)(bits << (32 - size - shift)) >> (32 - size);
}
VECTOR_INLINE int64_t unsigned_part(uint32_t bits, uint32_t shift, uint32_t size) {
    return bits << (32 - size - shift) >> (32 - size);
}

/* name, part, type of the accumulator, bits of an element, bounds of a clamp, what it allows */
#define INTEGER_DOTS(X)                                                                                                \
    X(v_dot2_i32_i16, signed_part, int32_t, 16, INT32_MIN, INT32_MAX, ALLOWS_CLAMP)                                    \
    X(v_dot2_u32_u16, unsigned_part, uint32_t, 16, 0, UINT32_MAX, ALLOWS_CLAMP)                                        \
    X(v_dot2c_i32_i16, signed_part, int32_t, 16, INT32_MIN, INT32_MAX, ALLOWS_CLAMP | ALLOWS_DPP)                      \
    X(v_dot4_i32_i8, signed_part, int32_t, 8, INT32_MIN, INT32_MAX, ALLOWS_CLAMP)                                      \
    X(v_dot4_u32_u8, unsigned_part, uint32_t, 8, 0, UINT32_MAX, ALLOWS_CLAMP)                                          \
    X(v_dot4c_i32_i8, signed_part, int32_t, 8, INT32_MIN, INT32_MAX, ALLOWS_CLAMP | ALLOWS_DPP)                        \
    X(v_dot8_i32_i4, signed_part, int32_t, 4, INT32_MIN, INT32_MAX, ALLOWS_CLAMP)                                      \
    X(v_dot8_u32_u4, unsigned_part, uint32_t, 4, 0, UINT32_MAX, ALLOWS_CLAMP)                                          \
    X(v_dot8c_i32_i4, signed_part, int32_t, 4, INT32_MIN, INT32_MAX, ALLOWS_CLAMP | ALLOWS_DPP)

#define DEFINE_DOT_INTEGER(name, part, TYPE, bits, low, high, allows)                                                  \
    OPERATION(name) {                                                                                                  \
        REQUIRE_PARTS(!((allows) & ALLOWS_DPP), false);                                                                \
        uint32_t space[3][LANES], out[LANES];                                                                          \
        SOURCES_3(source32)                                                                                            \
        const bool clamp = insn->flags & FLAG_CLAMP;                                                                   \
        for (uint32_t i = 0; i < LANES; i++) {                                                                         \
            int64_t sum = (TYPE)z[i];                                                                                  \
            for (uint32_t at = 0; at < 32; at += (bits)) sum += part(x[i], at, bits) * part(y[i], at, bits);           \
            if (clamp) sum = sum < (low) ? (low) : sum > (high) ? (high) : sum;                                        \
            out[i] = (uint32_t)sum;                                                                                    \
        }                                                                                                              \
        put32(w, insn, out);                                                                                           \
        return STATUS_OK;                                                                                              \
    }
INTEGER_DOTS(DEFINE_DOT_INTEGER)

#define ROW(name, part, TYPE, bits, low, high, allows) ENTRY(name, allows)
const OperationEntry DOT_OPERATIONS[] = {
    ENTRY(v_dot2_f32_f16, ALLOWS_OPSEL | ALLOWS_CLAMP)
    ENTRY(v_dot2c_f32_f16, ALLOWS_DPP)
    ENTRY(v_dot2_f32_bf16, ALLOWS_OPSEL | ALLOWS_CLAMP)
    ENTRY(v_dot2c_f32_bf16, ALLOWS_DPP)
    INTEGER_DOTS(ROW)
    {NULL, NULL, 0, 0},
};
