/* Dot products of two to eight elements within a register, added to an accumulator. */
#include "half.h"
#include "vector.h"

VECTOR_INLINE float f16_element(uint32_t bits) { return half_to_f32(bits); }
VECTOR_INLINE float bf16_element(uint32_t bits) { return as_f32(bits << 16); }

/* Where the two elements of source n lie: VOP2 has no choice. */
typedef struct {
    uint32_t shift[2];
    uint32_t change[2]; /* sign bit of an f32 */
} Elements;
static Elements elements(const Operand *o, bool packed) {
    const uint32_t m = o->modifiers;
    if (!packed) return (Elements){{0, 16}, {0, 0}};
    return (Elements){{m & MODIFIER_OPSEL ? 16 : 0, m & MODIFIER_OPSEL_HI ? 16 : 0},
                      {m & MODIFIER_NEG ? 0x80000000 : 0, m & MODIFIER_NEG_HI ? 0x80000000 : 0}};
}

/* The order of the sums is the pseudocode's; products of halves are exact in single precision. */
#define DEFINE_DOT2_FLOAT(name, element, packed, expression)                                                           \
    OPERATION(name) {                                                                                                  \
        REQUIRE_NEAREST(launch, w, insn, MODE_ROUND_F32);                                                              \
        uint32_t space[3][LANES], out[LANES];                                                                          \
        SOURCES_2(source32)                                                                                            \
        const uint32_t *z = source_f32(w, insn, 2, space[2]);                                                          \
        const Elements left = elements(&insn->src[0], packed), right = elements(&insn->src[1], packed);                \
        FOR_LANES(i) {                                                                                                 \
            float product[2];                                                                                          \
            for (uint32_t n = 0; n < 2; n++) {                                                                         \
                const float a = element(x[i] >> left.shift[n] & 0xFFFF);                                               \
                const float b = element(y[i] >> right.shift[n] & 0xFFFF);                                              \
                product[n] = as_f32(as_u32(a) ^ left.change[n]) * as_f32(as_u32(b) ^ right.change[n]);                 \
            }                                                                                                          \
            const float c = as_f32(z[i]);                                                                              \
            out[i] = as_u32(expression);                                                                               \
        }                                                                                                              \
        put_f32(w, insn, out);                                                                                         \
        return STATUS_OK;                                                                                              \
    }
DEFINE_DOT2_FLOAT(v_dot2_f32_f16, f16_element, true, c + product[0] + product[1])
DEFINE_DOT2_FLOAT(v_dot2c_f32_f16, f16_element, false, c + product[0] + product[1])
DEFINE_DOT2_FLOAT(v_dot2_f32_bf16, bf16_element, true, product[0] + product[1] + c)
DEFINE_DOT2_FLOAT(v_dot2c_f32_bf16, bf16_element, false, c + product[0] + product[1])

VECTOR_INLINE int64_t signed_part(uint32_t bits, uint32_t shift, uint32_t size) {
    return (int32_t)(bits << (32 - size - shift)) >> (32 - size);
}
VECTOR_INLINE int64_t unsigned_part(uint32_t bits, uint32_t shift, uint32_t size) {
    return bits << (32 - size - shift) >> (32 - size);
}

/* name, part, type of the accumulator, bits of an element, bounds of a clamp, what it allows */
#define INTEGER_DOTS(X)                                                                                                \
    X(v_dot2_i32_i16, signed_part, int32_t, 16, INT32_MIN, INT32_MAX, ALLOWS_OPSEL | ALLOWS_CLAMP)                     \
    X(v_dot2_u32_u16, unsigned_part, uint32_t, 16, 0, UINT32_MAX, ALLOWS_OPSEL | ALLOWS_CLAMP)                         \
    X(v_dot2c_i32_i16, signed_part, int32_t, 16, INT32_MIN, INT32_MAX, ALLOWS_CLAMP | ALLOWS_DPP)                      \
    X(v_dot4_i32_i8, signed_part, int32_t, 8, INT32_MIN, INT32_MAX, ALLOWS_CLAMP)                                      \
    X(v_dot4_u32_u8, unsigned_part, uint32_t, 8, 0, UINT32_MAX, ALLOWS_CLAMP)                                          \
    X(v_dot4c_i32_i8, signed_part, int32_t, 8, INT32_MIN, INT32_MAX, ALLOWS_CLAMP | ALLOWS_DPP)                        \
    X(v_dot8_i32_i4, signed_part, int32_t, 4, INT32_MIN, INT32_MAX, ALLOWS_CLAMP)                                      \
    X(v_dot8_u32_u4, unsigned_part, uint32_t, 4, 0, UINT32_MAX, ALLOWS_CLAMP)                                          \
    X(v_dot8c_i32_i4, signed_part, int32_t, 4, INT32_MIN, INT32_MAX, ALLOWS_CLAMP | ALLOWS_DPP)

/* Two elements may be chosen by op_sel; four and eight may not. A VOP2 form has its parts in their places. */
static void chosen_halves(const Operand *o, const uint32_t *lanes, uint32_t to[LANES]) {
    const Elements e = elements(o, true);
    for (uint32_t i = 0; i < LANES; i++)
        to[i] = (lanes[i] >> e.shift[0] & 0xFFFF) | (lanes[i] >> e.shift[1] & 0xFFFF) << 16;
}
#define DEFINE_DOT_INTEGER(name, part, TYPE, bits, low, high, allows)                                                  \
    OPERATION(name) {                                                                                                  \
        uint32_t space[3][LANES], out[LANES];                                                                          \
        SOURCES_3(source32)                                                                                            \
        if ((allows) & ALLOWS_OPSEL) {                                                                                 \
            if ((insn->src[0].modifiers | insn->src[1].modifiers | insn->src[2].modifiers) &                           \
                (MODIFIER_NEG | MODIFIER_NEG_HI))                                                                      \
                return cdna_unsupported(launch, insn, "a negated integer");                                            \
            uint32_t chosen[2][LANES];                                                                                 \
            chosen_halves(&insn->src[0], x, chosen[0]);                                                                \
            chosen_halves(&insn->src[1], y, chosen[1]);                                                                \
            memcpy(space[0], chosen[0], sizeof chosen[0]);                                                             \
            memcpy(space[1], chosen[1], sizeof chosen[1]);                                                             \
            x = space[0], y = space[1];                                                                                \
        }                                                                                                              \
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
