/* How an operation reads its sources and writes its result: modifiers, SDWA, DPP, MODE and EXEC in one place.
 *
 * A source is a pointer to 64 lanes: the register itself where it can be used as it is, else the caller's buffer. A
 * result goes straight into its register when nothing stands between (EXEC full, no modifier), else into a buffer that
 * write_* then puts in place. Lanes never mix after the read, so register and sources may be the same.
 */
#ifndef OPERANDS_H
#define OPERANDS_H

#include "cdna.h"

#if defined(__clang__)
#define LANES_ARE_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define LANES_ARE_INDEPENDENT _Pragma("GCC ivdep")
#endif
#define FOR_LANES(i) LANES_ARE_INDEPENDENT for (uint32_t i = 0; i < LANES; i++)
#define VECTOR_INLINE static inline __attribute__((always_inline))

/* HW_REG_MODE. A set DENORMALS bit keeps them, a clear one makes them zeros of their sign. */
enum {
    MODE_ROUND_F32 = 3, /* 0: nearest even, the only one that is modelled */
    MODE_ROUND_F16_F64 = 3 << 2,
    MODE_DENORMALS_IN_F32 = 1 << 4,
    MODE_DENORMALS_OUT_F32 = 1 << 5,
    MODE_DENORMALS_IN_F16_F64 = 1 << 6,
    MODE_DENORMALS_OUT_F16_F64 = 1 << 7,
    MODE_DX10_CLAMP = 1 << 8, /* a clamped NaN is 0 */
    MODE_IEEE = 1 << 9,       /* signalling NaNs become quiet; output modifiers are ignored */
};

enum {
    FLAGS_OMOD = FLAG_OMOD_X2 | FLAG_OMOD_X4 | FLAG_OMOD_HALF,
    FLAGS_RESULT = FLAG_CLAMP | FLAG_DPP | FLAG_SDWA | FLAGS_OMOD | FLAG_OPSEL_DST, /* the result needs a buffer */
};

VECTOR_INLINE float as_f32(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
VECTOR_INLINE uint32_t as_u32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
VECTOR_INLINE double as_f64(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
VECTOR_INLINE uint64_t as_u64(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
VECTOR_INLINE uint64_t join(uint32_t low, uint32_t high) { return (uint64_t)high << 32 | low; }

/* ---- scalars and masks -------------------------------------------------------------------------------------- */

/* Scalar reads, for the scalar unit too. */
static inline uint32_t scalar32(const Wave *w, const Operand *o) {
    switch (o->kind) {
    case OPERAND_SGPR: return w->s[o->index];
    case OPERAND_SCC:
        return o->index == 0 ? w->scc : o->index == 1 ? sgpr64(w, SGPR_VCC) == 0 : exec_mask(w) == 0;
    default: return o->value;
    }
}

static inline uint64_t scalar64(const Wave *w, const Operand *o) {
    if (o->kind == OPERAND_SGPR) return sgpr64(w, o->index);
    if (o->kind == OPERAND_SCC) return scalar32(w, o);
    return (uint64_t)o->value_hi << 32 | o->value;
}

/* All ones in the lanes whose bit of the mask is set, zero in the others; and back. */
VECTOR_INLINE void spread_mask(uint64_t mask, uint32_t lanes[LANES]) {
    const uint32_t low = (uint32_t)mask, high = (uint32_t)(mask >> 32);
    for (uint32_t i = 0; i < 32; i++) lanes[i] = -(low >> i & 1);
    for (uint32_t i = 0; i < 32; i++) lanes[32 + i] = -(high >> i & 1);
}
VECTOR_INLINE uint64_t collect_mask(const uint32_t lanes[LANES]) {
    uint32_t low = 0, high = 0;
    for (uint32_t i = 0; i < 32; i++) low |= lanes[i] & 1u << i;
    for (uint32_t i = 0; i < 32; i++) high |= lanes[32 + i] & 1u << i;
    return join(low, high);
}

/* ---- sources ------------------------------------------------------------------------------------------------ */

/* The general case of source_word: scalars, constants, DPP, SDWA. */
const uint32_t *source_word_moved(const Wave *w, const Insn *insn, uint32_t n, uint32_t word, uint32_t buffer[LANES]);

/* Into buffer: the lanes with negation, absolute value and the flush of denormals applied; `sign` and `exponent` are
 * the masks of those bits. What stands above the sign is lost. */
const uint32_t *modified_source(const uint32_t *lanes, uint32_t modifiers, bool flush, uint32_t sign,
                                uint32_t exponent, uint32_t buffer[LANES]);

/* Register `word` of source n, as bits. */
VECTOR_INLINE const uint32_t *source_word(const Wave *w, const Insn *insn, uint32_t n, uint32_t word,
                                          uint32_t buffer[LANES]) {
    const Operand *o = &insn->src[n];
    if (o->kind == OPERAND_VGPR && !(insn->flags & (FLAG_DPP | FLAG_SDWA))) return w->v[o->index + word];
    return source_word_moved(w, insn, n, word, buffer);
}

VECTOR_INLINE const uint32_t *source32(const Wave *w, const Insn *insn, uint32_t n, uint32_t buffer[LANES]) {
    return source_word(w, insn, n, 0, buffer);
}

/* Sign modifiers only: for what moves a float and does not compute. */
VECTOR_INLINE const uint32_t *source_signed32(const Wave *w, const Insn *insn, uint32_t n, uint32_t buffer[LANES]) {
    const uint32_t *lanes = source_word(w, insn, n, 0, buffer);
    const uint32_t modifiers = insn->src[n].modifiers & (MODIFIER_NEG | MODIFIER_ABS);
    return modifiers ? modified_source(lanes, modifiers, false, 0x80000000, 0x7F800000, buffer) : lanes;
}

/* Bits of floats. */
VECTOR_INLINE const uint32_t *source_f32(const Wave *w, const Insn *insn, uint32_t n, uint32_t buffer[LANES]) {
    const uint32_t *lanes = source_word(w, insn, n, 0, buffer);
    const uint32_t modifiers = insn->src[n].modifiers & (MODIFIER_NEG | MODIFIER_ABS);
    const bool flush = !(w->mode & MODE_DENORMALS_IN_F32);
    return modifiers || flush ? modified_source(lanes, modifiers, flush, 0x80000000, 0x7F800000, buffer) : lanes;
}

/* Bits 15:0 of each lane are the operand; what stands above is of no meaning. */
VECTOR_INLINE const uint32_t *source16(const Wave *w, const Insn *insn, uint32_t n, uint32_t buffer[LANES]) {
    const uint32_t *lanes = source_word(w, insn, n, 0, buffer);
    if (!(insn->src[n].modifiers & MODIFIER_OPSEL)) return lanes;
    FOR_LANES(i) buffer[i] = lanes[i] >> 16;
    return buffer;
}

VECTOR_INLINE const uint32_t *source_f16(const Wave *w, const Insn *insn, uint32_t n, uint32_t buffer[LANES]) {
    const uint32_t *lanes = source16(w, insn, n, buffer);
    const uint32_t modifiers = insn->src[n].modifiers & (MODIFIER_NEG | MODIFIER_ABS);
    const bool flush = !(w->mode & MODE_DENORMALS_IN_F16_F64);
    return modifiers || flush ? modified_source(lanes, modifiers, flush, 0x8000, 0x7C00, buffer) : lanes;
}

typedef struct { /* a source of two registers */
    const uint32_t *low, *high;
} Pair;

VECTOR_INLINE Pair source64(const Wave *w, const Insn *insn, uint32_t n, uint32_t buffer[2][LANES]) {
    return (Pair){source_word(w, insn, n, 0, buffer[0]), source_word(w, insn, n, 1, buffer[1])};
}

Pair modified_f64(Pair lanes, uint32_t modifiers, bool flush, uint32_t buffer[2][LANES]);

VECTOR_INLINE Pair source_f64(const Wave *w, const Insn *insn, uint32_t n, uint32_t buffer[2][LANES]) {
    const Pair lanes = source64(w, insn, n, buffer);
    const uint32_t modifiers = insn->src[n].modifiers & (MODIFIER_NEG | MODIFIER_ABS);
    const bool flush = !(w->mode & MODE_DENORMALS_IN_F16_F64);
    return modifiers || flush ? modified_f64(lanes, modifiers, flush, buffer) : lanes;
}

/* ---- results ------------------------------------------------------------------------------------------------ */

/* The lanes that the instruction writes: EXEC, less those that DPP leaves alone. */
uint64_t written_lanes(const Wave *w, const Insn *insn);

/* Where to put the result: the register, or the buffer when the result is not simply that. `needed` are the MODE bits
 * that must be set for the result to be taken as computed. */
VECTOR_INLINE uint32_t *result_word(Wave *w, const Insn *insn, uint32_t needed, uint32_t word,
                                    uint32_t buffer[LANES]) {
    const bool plain = exec_mask(w) == UINT64_MAX && !(insn->flags & FLAGS_RESULT) && (w->mode & needed) == needed;
    return plain ? w->v[insn->dst.index + word] : buffer;
}
VECTOR_INLINE uint32_t *result32(Wave *w, const Insn *insn, uint32_t buffer[LANES]) {
    return result_word(w, insn, 0, 0, buffer);
}
VECTOR_INLINE uint32_t *result_f32(Wave *w, const Insn *insn, uint32_t buffer[LANES]) {
    return result_word(w, insn, MODE_DENORMALS_OUT_F32, 0, buffer);
}

/* The flush of denormals and the clamp of a float result, in place. */
void finish_f32(const Wave *w, const Insn *insn, uint32_t *lanes);
void finish_f16(const Wave *w, const Insn *insn, uint32_t *lanes);

/* The rest of the way for what result_* left in a buffer, in place. Float results take output modifier, clamp and the
 * flush of denormals first. HALF_KEEPS: VOP3's 16-bit operations leave the other half of the register as it is;
 * HALF_ZEROES: those that VOP1 and VOP2 have put zeros there (LLVM, GCNSubtarget::zeroesHigh16BitsOfDest, "mostly
 * derived from experimentation"). */
typedef enum { HALF_ZEROES, HALF_KEEPS } HalfRule;
void put32(Wave *w, const Insn *insn, const uint32_t *lanes);
void put_f32(Wave *w, const Insn *insn, uint32_t *lanes);
void put16(Wave *w, const Insn *insn, const uint32_t *lanes, HalfRule rule);
void put_f16(Wave *w, const Insn *insn, uint32_t *lanes, HalfRule rule);
void put64(Wave *w, const Insn *insn, const uint32_t *low, const uint32_t *high);
void put_f64(Wave *w, const Insn *insn, uint32_t *low, uint32_t *high);

VECTOR_INLINE bool in_place(const Wave *w, const Insn *insn, const uint32_t *lanes) {
    return lanes == w->v[insn->dst.index];
}
VECTOR_INLINE Status write32(Wave *w, const Insn *insn, const uint32_t *lanes) {
    if (!in_place(w, insn, lanes)) put32(w, insn, lanes);
    return STATUS_OK;
}
VECTOR_INLINE Status write_f32(Wave *w, const Insn *insn, uint32_t *lanes) {
    if (!in_place(w, insn, lanes)) put_f32(w, insn, lanes);
    return STATUS_OK;
}
VECTOR_INLINE Status write64(Wave *w, const Insn *insn, const uint32_t *low, const uint32_t *high) {
    if (!in_place(w, insn, low)) put64(w, insn, low, high);
    return STATUS_OK;
}
VECTOR_INLINE Status write_f64(Wave *w, const Insn *insn, uint32_t *low, uint32_t *high) {
    if (!in_place(w, insn, low)) put_f64(w, insn, low, high);
    return STATUS_OK;
}

/* A mask as a result: comparisons, carries. Lanes that are off have 0 there. */
VECTOR_INLINE void write_mask(Wave *w, const Insn *insn, const Operand *to, const uint32_t lanes[LANES]) {
    uint64_t mask = collect_mask(lanes);
    mask &= insn->flags & FLAG_DPP ? written_lanes(w, insn) : exec_mask(w);
    set_sgpr64(w, to->index, mask);
}

/* Results are rounded to nearest even only; a kernel that asks for something else stops here. */
#define REQUIRE_NEAREST(launch, w, insn, field)                                                                        \
    if ((w)->mode & (field)) return cdna_unsupported(launch, insn, "MODE.FP_ROUND other than nearest even")

#endif
