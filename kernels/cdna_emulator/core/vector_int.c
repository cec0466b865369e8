/* VOP1, VOP2 and VOP3 on integers of 16 and 32 bits. Source of the semantics, here and in the other vector files: the
 * pseudocode of "AMD Instinct MI300" and "AMD Instinct CDNA4 Instruction Set Architecture". */
#include "vector.h"

VECTOR_INLINE uint32_t min_u(uint32_t a, uint32_t b) { return a < b ? a : b; }
VECTOR_INLINE uint32_t max_u(uint32_t a, uint32_t b) { return a > b ? a : b; }
VECTOR_INLINE uint32_t min_i(uint32_t a, uint32_t b) { return (int32_t)a < (int32_t)b ? a : b; }
VECTOR_INLINE uint32_t max_i(uint32_t a, uint32_t b) { return (int32_t)a > (int32_t)b ? a : b; }
VECTOR_INLINE uint32_t med_u(uint32_t a, uint32_t b, uint32_t c) { return max_u(min_u(a, b), min_u(max_u(a, b), c)); }
VECTOR_INLINE uint32_t med_i(uint32_t a, uint32_t b, uint32_t c) { return max_i(min_i(a, b), min_i(max_i(a, b), c)); }

VECTOR_INLINE uint32_t u24(uint32_t a) { return a & 0xFFFFFF; }
VECTOR_INLINE int32_t i24(uint32_t a) { return (int32_t)(a << 8) >> 8; }
VECTOR_INLINE uint32_t u16(uint32_t a) { return a & 0xFFFF; }
VECTOR_INLINE int32_t i16(uint32_t a) { return (int16_t)a; }

VECTOR_INLINE uint32_t saturate_u32(int64_t a) { return a < 0 ? 0 : a > UINT32_MAX ? UINT32_MAX : (uint32_t)a; }
VECTOR_INLINE uint32_t saturate_i32(int64_t a) {
    return (uint32_t)(int32_t)(a < INT32_MIN ? INT32_MIN : a > INT32_MAX ? INT32_MAX : a);
}
VECTOR_INLINE uint32_t saturate_u16(int32_t a) { return (uint32_t)(a < 0 ? 0 : a > UINT16_MAX ? UINT16_MAX : a); }
/* The product of two u16 and a third fits in 32 bits unsigned only. */
VECTOR_INLINE uint32_t saturate_u16_up(uint32_t a) { return a > UINT16_MAX ? UINT16_MAX : a; }
VECTOR_INLINE uint32_t saturate_i16(int64_t a) {
    return (uint32_t)(int32_t)(a < INT16_MIN ? INT16_MIN : a > INT16_MAX ? INT16_MAX : a);
}

VECTOR_INLINE uint32_t bit_field(uint32_t a, uint32_t offset, uint32_t width) {
    return a >> (offset & 31) & ((1u << (width & 31)) - 1);
}
VECTOR_INLINE uint32_t signed_bit_field(uint32_t a, uint32_t offset, uint32_t width) {
    const uint32_t bits = width & 31, up = (32 - bits) & 31;
    const uint32_t field = (uint32_t)((int32_t)a >> (offset & 31));
    return bits ? (uint32_t)((int32_t)(field << up) >> up) : 0;
}
VECTOR_INLINE uint32_t reverse_bits(uint32_t a) {
    a = (a >> 1 & 0x55555555) | (a & 0x55555555) << 1;
    a = (a >> 2 & 0x33333333) | (a & 0x33333333) << 2;
    a = (a >> 4 & 0x0F0F0F0F) | (a & 0x0F0F0F0F) << 4;
    return __builtin_bswap32(a);
}
VECTOR_INLINE uint32_t count_bits(uint32_t a) {
    a -= a >> 1 & 0x55555555;
    a = (a & 0x33333333) + (a >> 2 & 0x33333333);
    return ((a + (a >> 4)) & 0x0F0F0F0F) * 0x01010101 >> 24;
}
VECTOR_INLINE uint32_t first_one_from_top(uint32_t a) { return a ? (uint32_t)__builtin_clz(a) : ~0u; }
VECTOR_INLINE uint32_t first_one_from_bottom(uint32_t a) { return a ? (uint32_t)__builtin_ctz(a) : ~0u; }
/* Where the sign's run ends, from the top. */
VECTOR_INLINE uint32_t sign_run(uint32_t a) { return first_one_from_top(a ^ (uint32_t)((int32_t)a >> 31)); }

/* Of {a, b}, the byte that the selector names; from 8 on the sign of a 16-bit part, 0, or all ones. */
VECTOR_INLINE uint32_t pick_byte(uint32_t a, uint32_t b, uint32_t selector) {
    const uint32_t byte = (selector & 4 ? a : b) >> 8 * (selector & 3) & 0xFF;
    const uint32_t sign = (selector & 2 ? a : b) >> (selector & 1 ? 31 : 15) & 1 ? 0xFF : 0;
    const uint32_t fixed = selector == 12 ? 0 : 0xFF;
    return selector < 8 ? byte : selector < 12 ? sign : fixed;
}
VECTOR_INLINE uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t c) {
    return pick_byte(a, b, c & 0xFF) | pick_byte(a, b, c >> 8 & 0xFF) << 8 | pick_byte(a, b, c >> 16 & 0xFF) << 16 |
           pick_byte(a, b, c >> 24) << 24;
}

VECTOR_INLINE uint32_t difference(uint32_t a, uint32_t b) { return a > b ? a - b : b - a; }
VECTOR_INLINE uint32_t byte(uint32_t a, uint32_t n) { return a >> 8 * n & 0xFF; }
VECTOR_INLINE uint32_t byte_differences(uint32_t a, uint32_t b) {
    return difference(byte(a, 0), byte(b, 0)) + difference(byte(a, 1), byte(b, 1)) +
           difference(byte(a, 2), byte(b, 2)) + difference(byte(a, 3), byte(b, 3));
}
VECTOR_INLINE uint32_t masked_difference(uint32_t a, uint32_t b) { return b ? difference(a, b) : 0; }
VECTOR_INLINE uint32_t masked_byte_differences(uint32_t a, uint32_t b) {
    return masked_difference(byte(a, 0), byte(b, 0)) + masked_difference(byte(a, 1), byte(b, 1)) +
           masked_difference(byte(a, 2), byte(b, 2)) + masked_difference(byte(a, 3), byte(b, 3));
}
VECTOR_INLINE uint32_t average_byte(uint32_t a, uint32_t b, uint32_t c, uint32_t n) {
    return (byte(a, n) + byte(b, n) + (byte(c, n) & 1)) >> 1 << 8 * n;
}
VECTOR_INLINE uint32_t average_bytes(uint32_t a, uint32_t b, uint32_t c) {
    return average_byte(a, b, c, 0) | average_byte(a, b, c, 1) | average_byte(a, b, c, 2) | average_byte(a, b, c, 3);
}

VECTOR_INLINE uint32_t saturate_byte(int32_t a, int32_t low, int32_t high) {
    return (uint32_t)(a < low ? low : a > high ? high : a) & 0xFF;
}
VECTOR_INLINE uint32_t shifted_bytes(uint32_t a, uint32_t b, uint32_t c, int32_t low, int32_t high) {
    return saturate_byte((int32_t)a >> (c & 31), low, high) | saturate_byte((int32_t)b >> (c & 31), low, high) << 8;
}

/* ---- the operations: name, sources, what they allow, expression, expression with clamp ----------------------- */

#define OPERATIONS_32(X)                                                                                               \
    X(v_not_b32, 1, ALLOWS_MOVES, ~a)                                                                                  \
    X(v_bfrev_b32, 1, ALLOWS_MOVES, reverse_bits(a))                                                                   \
    X(v_ffbh_u32, 1, ALLOWS_MOVES, first_one_from_top(a))                                                              \
    X(v_ffbl_b32, 1, ALLOWS_MOVES, first_one_from_bottom(a))                                                           \
    X(v_ffbh_i32, 1, ALLOWS_MOVES, sign_run(a))                                                                        \
    X(v_prng_b32, 1, ALLOWS_MOVES, a << 1 ^ (a >> 31 ? 197u : 0u)) /* gfx950 */                                        \
    X(v_mul_i32_i24, 2, ALLOWS_MOVES, (uint32_t)i24(a) * (uint32_t)i24(b))                                             \
    X(v_mul_hi_i32_i24, 2, ALLOWS_MOVES, (uint32_t)((int64_t)i24(a) * i24(b) >> 32))                                   \
    X(v_mul_u32_u24, 2, ALLOWS_MOVES, u24(a) * u24(b))                                                                 \
    X(v_mul_hi_u32_u24, 2, ALLOWS_MOVES, (uint32_t)((uint64_t)u24(a) * u24(b) >> 32))                                  \
    X(v_min_i32, 2, ALLOWS_MOVES, min_i(a, b))                                                                         \
    X(v_max_i32, 2, ALLOWS_MOVES, max_i(a, b))                                                                         \
    X(v_min_u32, 2, ALLOWS_MOVES, min_u(a, b))                                                                         \
    X(v_max_u32, 2, ALLOWS_MOVES, max_u(a, b))                                                                         \
    X(v_lshrrev_b32, 2, ALLOWS_MOVES, b >> (a & 31))                                                                   \
    X(v_ashrrev_i32, 2, ALLOWS_MOVES, (uint32_t)((int32_t)b >> (a & 31)))                                              \
    X(v_lshlrev_b32, 2, ALLOWS_MOVES, b << (a & 31))                                                                   \
    X(v_and_b32, 2, ALLOWS_MOVES, a & b)                                                                               \
    X(v_or_b32, 2, ALLOWS_MOVES, a | b)                                                                                \
    X(v_xor_b32, 2, ALLOWS_MOVES, a ^ b)                                                                               \
    X(v_xnor_b32, 2, ALLOWS_MOVES, ~(a ^ b))                                                                           \
    X(v_mul_lo_u32, 2, 0, a * b)                                                                                       \
    X(v_mul_hi_u32, 2, 0, (uint32_t)((uint64_t)a * b >> 32))                                                           \
    X(v_mul_hi_i32, 2, 0, (uint32_t)((int64_t)(int32_t)a * (int32_t)b >> 32))                                          \
    X(v_bcnt_u32_b32, 2, 0, count_bits(a) + b)                                                                         \
    X(v_mbcnt_lo_u32_b32, 2, 0, count_bits(a & (i < 32 ? (1u << (i & 31)) - 1 : ~0u)) + b)                             \
    X(v_mbcnt_hi_u32_b32, 2, 0, count_bits(a & (i < 32 ? 0 : (1u << (i & 31)) - 1)) + b)                               \
    X(v_bfm_b32, 2, 0, ((1u << (a & 31)) - 1) << (b & 31))                                                             \
    X(v_bfe_u32, 3, 0, bit_field(a, b, c))                                                                             \
    X(v_bfe_i32, 3, 0, signed_bit_field(a, b, c))                                                                      \
    X(v_bfi_b32, 3, 0, (a & b) | (~a & c))                                                                             \
    X(v_alignbit_b32, 3, 0, (uint32_t)(join(b, a) >> (c & 31)))                                                        \
    X(v_alignbyte_b32, 3, 0, (uint32_t)(join(b, a) >> 8 * (c & 3)))                                                    \
    X(v_min3_i32, 3, 0, min_i(min_i(a, b), c))                                                                         \
    X(v_min3_u32, 3, 0, min_u(min_u(a, b), c))                                                                         \
    X(v_max3_i32, 3, 0, max_i(max_i(a, b), c))                                                                         \
    X(v_max3_u32, 3, 0, max_u(max_u(a, b), c))                                                                         \
    X(v_med3_i32, 3, 0, med_i(a, b, c))                                                                                \
    X(v_med3_u32, 3, 0, med_u(a, b, c))                                                                                \
    X(v_xad_u32, 3, 0, (a ^ b) + c)                                                                                    \
    X(v_lshl_add_u32, 3, 0, (a << (b & 31)) + c)                                                                       \
    X(v_add_lshl_u32, 3, 0, (a + b) << (c & 31))                                                                       \
    X(v_add3_u32, 3, 0, a + b + c)                                                                                     \
    X(v_lshl_or_b32, 3, 0, a << (b & 31) | c)                                                                          \
    X(v_and_or_b32, 3, 0, (a & b) | c)                                                                                 \
    X(v_or3_b32, 3, 0, a | b | c)                                                                                      \
    X(v_lerp_u8, 3, 0, average_bytes(a, b, c))                                                                         \
    X(v_sad_u8, 3, 0, byte_differences(a, b) + c)                                                                      \
    X(v_sad_hi_u8, 3, 0, (byte_differences(a, b) << 16) + c)                                                           \
    X(v_sad_u16, 3, 0, difference(u16(a), u16(b)) + difference(a >> 16, b >> 16) + c)                                  \
    X(v_sad_u32, 3, 0, difference(a, b) + c)                                                                           \
    X(v_msad_u8, 3, 0, masked_byte_differences(a, b) + c)

#define CLAMPED_32(X)                                                                                                  \
    X(v_add_u32, 2, ALLOWS_MOVES, a + b, saturate_u32((int64_t)a + b))                                                 \
    X(v_sub_u32, 2, ALLOWS_MOVES, a - b, saturate_u32((int64_t)a - b))                                                 \
    X(v_subrev_u32, 2, ALLOWS_MOVES, b - a, saturate_u32((int64_t)b - a))                                              \
    X(v_add_i32, 2, 0, a + b, saturate_i32((int64_t)(int32_t)a + (int32_t)b))                                          \
    X(v_sub_i32, 2, 0, a - b, saturate_i32((int64_t)(int32_t)a - (int32_t)b))                                          \
    X(v_mad_i32_i24, 3, 0, (uint32_t)i24(a) * (uint32_t)i24(b) + c,                                                    \
      saturate_i32((int64_t)i24(a) * i24(b) + (int32_t)c))                                                             \
    X(v_mad_u32_u24, 3, 0, u24(a) * u24(b) + c, saturate_u32((int64_t)u24(a) * u24(b) + c))

/* 16-bit sources, 32-bit addend and result. */
#define MIXED_32(X)                                                                                                    \
    X(v_mad_u32_u16, 3, ALLOWS_OPSEL, u16(a) * u16(b) + c, saturate_u32((int64_t)u16(a) * u16(b) + c))                 \
    X(v_mad_i32_i16, 3, ALLOWS_OPSEL, (uint32_t)(i16(a) * i16(b)) + c,                                                 \
      saturate_i32((int64_t)i16(a) * i16(b) + (int32_t)c))

#define OPERATIONS_16(X)                                                                                               \
    X(v_mul_lo_u16, 2, ALLOWS_MOVES, HALF_ZEROES, a * b)                                                               \
    X(v_lshlrev_b16, 2, ALLOWS_MOVES, HALF_ZEROES, b << (a & 15))                                                      \
    X(v_lshrrev_b16, 2, ALLOWS_MOVES, HALF_ZEROES, u16(b) >> (a & 15))                                                 \
    X(v_ashrrev_i16, 2, ALLOWS_MOVES, HALF_ZEROES, (uint32_t)(i16(b) >> (a & 15)))                                     \
    X(v_max_u16, 2, ALLOWS_MOVES, HALF_ZEROES, max_u(u16(a), u16(b)))                                                  \
    X(v_max_i16, 2, ALLOWS_MOVES, HALF_ZEROES, (uint32_t)max_i((uint32_t)i16(a), (uint32_t)i16(b)))                    \
    X(v_min_u16, 2, ALLOWS_MOVES, HALF_ZEROES, min_u(u16(a), u16(b)))                                                  \
    X(v_min_i16, 2, ALLOWS_MOVES, HALF_ZEROES, (uint32_t)min_i((uint32_t)i16(a), (uint32_t)i16(b)))                    \
    X(v_min3_u16, 3, ALLOWS_OPSEL, HALF_KEEPS, min_u(min_u(u16(a), u16(b)), u16(c)))                                   \
    X(v_max3_u16, 3, ALLOWS_OPSEL, HALF_KEEPS, max_u(max_u(u16(a), u16(b)), u16(c)))                                   \
    X(v_med3_u16, 3, ALLOWS_OPSEL, HALF_KEEPS, med_u(u16(a), u16(b), u16(c)))                                          \
    X(v_min3_i16, 3, ALLOWS_OPSEL, HALF_KEEPS,                                                                         \
      min_i(min_i((uint32_t)i16(a), (uint32_t)i16(b)), (uint32_t)i16(c)))                                              \
    X(v_max3_i16, 3, ALLOWS_OPSEL, HALF_KEEPS,                                                                         \
      max_i(max_i((uint32_t)i16(a), (uint32_t)i16(b)), (uint32_t)i16(c)))                                              \
    X(v_med3_i16, 3, ALLOWS_OPSEL, HALF_KEEPS, med_i((uint32_t)i16(a), (uint32_t)i16(b), (uint32_t)i16(c)))

#define CLAMPED_16(X)                                                                                                  \
    X(v_add_u16, 2, ALLOWS_MOVES, HALF_ZEROES, a + b, saturate_u16((int32_t)(u16(a) + u16(b))))                        \
    X(v_sub_u16, 2, ALLOWS_MOVES, HALF_ZEROES, a - b, saturate_u16((int32_t)u16(a) - (int32_t)u16(b)))                 \
    X(v_subrev_u16, 2, ALLOWS_MOVES, HALF_ZEROES, b - a, saturate_u16((int32_t)u16(b) - (int32_t)u16(a)))              \
    X(v_add_i16, 2, ALLOWS_OPSEL, HALF_KEEPS, a + b, saturate_i16(i16(a) + i16(b)))                                    \
    X(v_sub_i16, 2, ALLOWS_OPSEL, HALF_KEEPS, a - b, saturate_i16(i16(a) - i16(b)))                                    \
    X(v_mad_u16, 3, ALLOWS_OPSEL, HALF_KEEPS, a *b + c, saturate_u16_up(u16(a) * u16(b) + u16(c)))                     \
    X(v_mad_i16, 3, ALLOWS_OPSEL, HALF_KEEPS, a *b + c, saturate_i16((int64_t)i16(a) * i16(b) + i16(c)))

#define LOOP(arity, ...)                                                                                               \
    FOR_LANES(i) {                                                                                                     \
        LANE_##arity(uint32_t, ) out[i] = __VA_ARGS__;                                                                 \
    }

#define DEFINE_32(name, arity, allows, ...)                                                                            \
    OPERATION(name) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t space[4][LANES];                                                                                      \
        SOURCES_##arity(source32) uint32_t *out = result32(w, insn, space[3]);                                         \
        LOOP(arity, __VA_ARGS__)                                                                                       \
        return write32(w, insn, out);                                                                                  \
    }
OPERATIONS_32(DEFINE_32)

#define DEFINE_CLAMPED_32_FROM(READ, name, arity, expression, ...)                                                     \
    OPERATION(name) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t space[4][LANES];                                                                                      \
        SOURCES_##arity(READ) uint32_t *out = result32(w, insn, space[3]);                                             \
        if (insn->flags & FLAG_CLAMP)                                                                                  \
            LOOP(arity, __VA_ARGS__)                                                                                   \
        else                                                                                                           \
            LOOP(arity, expression)                                                                                    \
        return write32(w, insn, out);                                                                                  \
    }
#define DEFINE_CLAMPED_32(name, arity, allows, ...) DEFINE_CLAMPED_32_FROM(source32, name, arity, __VA_ARGS__)
#define DEFINE_MIXED_32(name, arity, allows, ...) DEFINE_CLAMPED_32_FROM(source16, name, arity, __VA_ARGS__)
CLAMPED_32(DEFINE_CLAMPED_32)
MIXED_32(DEFINE_MIXED_32)

#define DEFINE_16(name, arity, allows, rule, ...)                                                                      \
    OPERATION(name) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t space[4][LANES], *out = space[3];                                                                     \
        SOURCES_##arity(source16) LOOP(arity, __VA_ARGS__)                                                             \
        put16(w, insn, out, rule);                                                                                     \
        return STATUS_OK;                                                                                              \
    }
OPERATIONS_16(DEFINE_16)

#define DEFINE_CLAMPED_16(name, arity, allows, rule, expression, ...)                                                  \
    OPERATION(name) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t space[4][LANES], *out = space[3];                                                                     \
        SOURCES_##arity(source16) if (insn->flags & FLAG_CLAMP)                                                        \
            LOOP(arity, __VA_ARGS__)                                                                                   \
        else                                                                                                           \
            LOOP(arity, expression)                                                                                    \
        put16(w, insn, out, rule);                                                                                     \
        return STATUS_OK;                                                                                              \
    }
CLAMPED_16(DEFINE_CLAMPED_16)

/* ---- more than an expression -------------------------------------------------------------------------------- */

/* Compilers give the selector in a scalar: then each byte comes from a place known beforehand. */
static bool permute_alike(uint32_t selector, const uint32_t *x, const uint32_t *y, uint32_t *out) {
    const uint32_t *from[4];
    uint32_t shift[4];
    for (uint32_t n = 0; n < 4; n++) {
        const uint32_t byte = selector >> 8 * n & 0xFF;
        if (byte >= 8) return false;
        from[n] = byte & 4 ? x : y;
        shift[n] = 8 * (byte & 3);
    }
    const uint32_t *p = from[0], *q = from[1], *r = from[2], *s = from[3];
    FOR_LANES(i) {
        out[i] = (p[i] >> shift[0] & 0xFF) | (q[i] >> shift[1] & 0xFF) << 8 | (r[i] >> shift[2] & 0xFF) << 16 |
                 (s[i] >> shift[3] & 0xFF) << 24;
    }
    return true;
}

OPERATION(v_perm_b32) {
    (void)launch;
    uint32_t space[4][LANES];
    SOURCES_3(source32)
    uint32_t *out = result32(w, insn, space[3]);
    if (insn->src[2].kind == OPERAND_VGPR || !permute_alike(z[0], x, y, out))
        FOR_LANES(i) out[i] = permute_bytes(x[i], y[i], z[i]);
    return write32(w, insn, out);
}

/* Any function of three bits: Insn.extra is its table, bit 4a + 2b + c. */
static void bit_table(uint32_t table, const uint32_t *x, const uint32_t *y, const uint32_t *z, uint32_t *out) {
    uint32_t when[8];
    for (uint32_t n = 0; n < 8; n++) when[n] = -(table >> n & 1);
    FOR_LANES(i) {
        const uint32_t a = x[i], b = y[i], c = z[i];
        const uint32_t none = (c & when[1]) | (~c & when[0]), only_b = (c & when[3]) | (~c & when[2]);
        const uint32_t only_a = (c & when[5]) | (~c & when[4]), both = (c & when[7]) | (~c & when[6]);
        out[i] = (a & ((b & both) | (~b & only_a))) | (~a & ((b & only_b) | (~b & none)));
    }
}

OPERATION(v_bitop3_b32) { /* gfx950 */
    (void)launch;
    uint32_t space[4][LANES];
    SOURCES_3(source32)
    uint32_t *out = result32(w, insn, space[3]);
    bit_table(insn->extra, x, y, z, out);
    return write32(w, insn, out);
}

OPERATION(v_bitop3_b16) { /* gfx950 */
    (void)launch;
    uint32_t space[4][LANES];
    SOURCES_3(source16)
    bit_table(insn->extra, x, y, z, space[3]);
    put16(w, insn, space[3], HALF_KEEPS);
    return STATUS_OK;
}

#define DEFINE_SHIFTED_BYTES(name, low, high)                                                                          \
    OPERATION(name) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t space[4][LANES], *out = space[3];                                                                     \
        SOURCES_3(source32) LOOP(3, shifted_bytes(a, b, c, low, high)) put16(w, insn, out, HALF_KEEPS);                \
        return STATUS_OK;                                                                                              \
    }
DEFINE_SHIFTED_BYTES(v_ashr_pk_i8_i32, -128, 127) /* gfx950 */
DEFINE_SHIFTED_BYTES(v_ashr_pk_u8_i32, 0, 255)    /* gfx950 */

#define ROW(name, arity, allows, ...) ENTRY(name, allows)
#define CLAMPED_ROW(name, arity, allows, ...) ENTRY(name, (allows) | ALLOWS_CLAMP)
const OperationEntry VECTOR_INT_OPERATIONS[] = {
    OPERATIONS_32(ROW) CLAMPED_32(CLAMPED_ROW) MIXED_32(CLAMPED_ROW) OPERATIONS_16(ROW) CLAMPED_16(CLAMPED_ROW)
    ENTRY(v_perm_b32, 0) ENTRY(v_bitop3_b32, 0) ENTRY(v_bitop3_b16, ALLOWS_OPSEL)
    ENTRY(v_ashr_pk_i8_i32, 0) ENTRY(v_ashr_pk_u8_i32, 0)
    {NULL, NULL, 0, 0},
};
