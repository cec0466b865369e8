/* VOP2 and VOP3 on integers with carries, and on integers of 64 bits. */
#include "vector.h"

/* ---- carries ------------------------------------------------------------------------------------------------ */

VECTOR_INLINE uint64_t sum(uint32_t a, uint32_t b, uint32_t carry) { return (uint64_t)a + b + carry; }
/* Bit 32 of what wraps around is the borrow. */
VECTOR_INLINE uint64_t rest(uint32_t a, uint32_t b, uint32_t borrow) { return (uint64_t)a - b - borrow; }

/* name, expression of a, b and carry: 33 bits; what a clamp makes of a result that carried; reads a carry */
#define CARRIES(X)                                                                                                     \
    X(v_add_co_u32, sum(a, b, 0), ~0u, false)                                                                          \
    X(v_sub_co_u32, rest(a, b, 0), 0, false)                                                                           \
    X(v_subrev_co_u32, rest(b, a, 0), 0, false)                                                                        \
    X(v_addc_co_u32, sum(a, b, carry), ~0u, true)                                                                      \
    X(v_subb_co_u32, rest(a, b, carry), 0, true)                                                                       \
    X(v_subbrev_co_u32, rest(b, a, carry), 0, true)

#define DEFINE_CARRY(name, expression, clamped, reads)                                                                 \
    OPERATION(name) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t space[3][LANES], carried[LANES], carries[LANES];                                                      \
        SOURCES_2(source32)                                                                                            \
        uint32_t *out = result32(w, insn, space[2]);                                                                   \
        spread_mask(reads ? scalar64(w, &insn->src[2]) : 0, carries);                                                  \
        const bool clamp = insn->flags & FLAG_CLAMP;                                                                   \
        FOR_LANES(i) {                                                                                                 \
            const uint32_t a = x[i], b = y[i], carry = carries[i] & 1;                                                 \
            (void)carry;                                                                                               \
            const uint64_t whole = expression;                                                                         \
            carried[i] = -(uint32_t)(whole >> 32 & 1);                                                                 \
            out[i] = clamp && carried[i] ? clamped : (uint32_t)whole;                                                  \
        }                                                                                                              \
        write_mask(w, insn, &insn->dst2, carried);                                                                     \
        return write32(w, insn, out);                                                                                  \
    }
CARRIES(DEFINE_CARRY)

/* ---- 64 bits ------------------------------------------------------------------------------------------------ */

#define DEFINE_SHIFT_64(name, TYPE, shift)                                                                             \
    OPERATION(name) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t count_space[LANES], space[2][2][LANES];                                                               \
        const uint32_t *count = source32(w, insn, 0, count_space);                                                     \
        const Pair y = source64(w, insn, 1, space[0]);                                                                 \
        uint32_t *low = result32(w, insn, space[1][0]);                                                                \
        uint32_t *high = result_word(w, insn, 0, 1, space[1][1]);                                                      \
        FOR_LANES(i) {                                                                                                 \
            const uint64_t result = (uint64_t)((TYPE)join(y.low[i], y.high[i]) shift(count[i] & 63));                  \
            low[i] = (uint32_t)result;                                                                                 \
            high[i] = (uint32_t)(result >> 32);                                                                        \
        }                                                                                                              \
        return write64(w, insn, low, high);                                                                            \
    }
DEFINE_SHIFT_64(v_lshlrev_b64, uint64_t, <<)
DEFINE_SHIFT_64(v_lshrrev_b64, uint64_t, >>)
DEFINE_SHIFT_64(v_ashrrev_i64, int64_t, >>)

OPERATION(v_lshl_add_u64) {
    (void)launch;
    uint32_t count_space[LANES], space[3][2][LANES];
    const Pair x = source64(w, insn, 0, space[0]);
    const uint32_t *count = source32(w, insn, 1, count_space);
    const Pair z = source64(w, insn, 2, space[1]);
    uint32_t *low = result32(w, insn, space[2][0]), *high = result_word(w, insn, 0, 1, space[2][1]);
    FOR_LANES(i) {
        const uint64_t result = (join(x.low[i], x.high[i]) << (count[i] & 7)) + join(z.low[i], z.high[i]);
        low[i] = (uint32_t)result;
        high[i] = (uint32_t)(result >> 32);
    }
    return write64(w, insn, low, high);
}

/* The carry-out is bit 64 of the sum: of unsigned numbers, or of two numbers sign-extended to 65 bits. */
#define DEFINE_MAD_64(name, is_signed)                                                                                 \
    OPERATION(name) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t space[2][LANES], wide[2][2][LANES], carried[LANES];                                                   \
        SOURCES_2(source32)                                                                                            \
        const Pair z = source64(w, insn, 2, wide[0]);                                                                  \
        uint32_t *low = result32(w, insn, wide[1][0]), *high = result_word(w, insn, 0, 1, wide[1][1]);                 \
        FOR_LANES(i) {                                                                                                 \
            const uint64_t product =                                                                                   \
                is_signed ? (uint64_t)((int64_t)(int32_t)x[i] * (int32_t)y[i]) : (uint64_t)x[i] * y[i];                \
            const uint64_t addend = join(z.low[i], z.high[i]), result = product + addend;                              \
            const uint32_t carry = result < addend;                                                                    \
            const uint32_t signs = is_signed ? (uint32_t)(product >> 63) ^ (uint32_t)(addend >> 63) : 0;               \
            carried[i] = -(carry ^ signs);                                                                             \
            low[i] = (uint32_t)result;                                                                                 \
            high[i] = (uint32_t)(result >> 32);                                                                        \
        }                                                                                                              \
        write_mask(w, insn, &insn->dst2, carried);                                                                     \
        return write64(w, insn, low, high);                                                                            \
    }
DEFINE_MAD_64(v_mad_u64_u32, false)
DEFINE_MAD_64(v_mad_i64_i32, true)

#define CARRY_ROW(name, ...) ENTRY(name, ALLOWS_MOVES | ALLOWS_CLAMP)
const OperationEntry VECTOR_WIDE_OPERATIONS[] = {
    CARRIES(CARRY_ROW)
    ENTRY(v_lshlrev_b64, 0)
    ENTRY(v_lshrrev_b64, 0)
    ENTRY(v_ashrrev_i64, 0)
    ENTRY(v_lshl_add_u64, 0)
    ENTRY(v_mad_u64_u32, 0)
    ENTRY(v_mad_i64_i32, 0)
    {NULL, NULL, 0, 0},
};
