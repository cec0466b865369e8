/* The scalar unit's arithmetic: SOP1, SOP2, SOPC, and SOPK with a register.
 *
 * An operation is a line of a table: name, value, SCC. In it a, b are the sources, c is SCC before and r the value just
 * computed, all unsigned and as wide as the operation. Semantics: the pseudocode in the CDNA3 and CDNA4 ISA documents.
 */
#include "operands.h"

#define S32(x) ((int32_t)(x))
#define S64(x) ((int64_t)(x))

/* ---- bit fields ------------------------------------------------------------------------------------------------ */

static uint64_t mask_of(uint32_t width) { return width >= 64 ? UINT64_MAX : (1ull << width) - 1; }

/* Bits [offset, offset + width) of x, as s_bfe reads both from one operand: offset in its lowest bits, width in 22:16. */
static uint64_t field(uint64_t x, uint32_t where, uint32_t offset_mask) {
    return x >> (where & offset_mask) & mask_of(where >> 16 & 127);
}

/* The same of a signed x, which is sign-extended from its own width `bits` and then from the field's. */
static int64_t signed_field(int64_t x, uint32_t where, uint32_t offset_mask) {
    uint32_t width = where >> 16 & 127;
    int64_t moved = x >> (where & offset_mask);
    if (width == 0) return 0;
    return width >= 64 ? moved : (int64_t)((uint64_t)moved << (64 - width)) >> (64 - width);
}

static uint64_t reversed(uint64_t x) {
    uint64_t r = 0;
    for (int i = 0; i < 64; i++) r |= (x >> i & 1) << (63 - i);
    return r;
}

static uint32_t first_one(uint64_t x) { return x ? (uint32_t)__builtin_ctzll(x) : UINT32_MAX; }

static uint32_t leading_zeros(uint64_t x, uint32_t bits) {
    return x ? (uint32_t)__builtin_clzll(x) - (64 - bits) : UINT32_MAX;
}

static uint32_t sign_run(uint64_t x, uint64_t inverted, uint32_t bits, bool negative) {
    return leading_zeros(negative ? inverted : x, bits);
}

static uint64_t quads(uint64_t x) { /* bit i: any of bits 4i ... 4i + 3 */
    uint64_t r = 0;
    for (int i = 0; i < 16; i++) r |= (uint64_t)((x >> 4 * i & 15) != 0) << i;
    return r;
}

static uint64_t whole_quads(uint64_t x) {
    uint64_t r = 0;
    for (int i = 0; i < 16; i++) r |= (x >> 4 * i & 15) ? 15ull << 4 * i : 0;
    return r;
}

static uint64_t doubled_bits(uint32_t x) {
    uint64_t r = 0;
    for (int i = 0; i < 32; i++) r |= (x >> i & 1) ? 3ull << 2 * i : 0;
    return r;
}

/* ---- two sources ------------------------------------------------------------------------------------------------ */

#define BINARY_32(X)                                                                                                   \
    X(s_add_u32, a + b, r < a)                                                                                         \
    X(s_sub_u32, a - b, b > a)                                                                                         \
    X(s_add_i32, a + b, (~(a ^ b) & (a ^ r)) >> 31)                                                                    \
    X(s_sub_i32, a - b, ((a ^ b) & (a ^ r)) >> 31)                                                                     \
    X(s_addc_u32, a + b + c, (uint32_t)(((uint64_t)a + b + c) >> 32))                                                  \
    X(s_subb_u32, a - b - c, (uint64_t)b + c > a)                                                                      \
    X(s_min_i32, S32(a) < S32(b) ? a : b, S32(a) < S32(b))                                                             \
    X(s_min_u32, a < b ? a : b, a < b)                                                                                 \
    X(s_max_i32, S32(a) >= S32(b) ? a : b, S32(a) >= S32(b))                                                           \
    X(s_max_u32, a >= b ? a : b, a >= b)                                                                               \
    X(s_cselect_b32, c ? a : b, c)                                                                                     \
    X(s_and_b32, a & b, r != 0)                                                                                        \
    X(s_or_b32, a | b, r != 0)                                                                                         \
    X(s_xor_b32, a ^ b, r != 0)                                                                                        \
    X(s_andn2_b32, a & ~b, r != 0)                                                                                     \
    X(s_orn2_b32, a | ~b, r != 0)                                                                                      \
    X(s_nand_b32, ~(a & b), r != 0)                                                                                    \
    X(s_nor_b32, ~(a | b), r != 0)                                                                                     \
    X(s_xnor_b32, ~(a ^ b), r != 0)                                                                                    \
    X(s_lshl_b32, a << (b & 31), r != 0)                                                                               \
    X(s_lshr_b32, a >> (b & 31), r != 0)                                                                               \
    X(s_ashr_i32, (uint32_t)(S32(a) >> (b & 31)), r != 0)                                                              \
    X(s_bfm_b32, ((1u << (a & 31)) - 1) << (b & 31), c)                                                                \
    X(s_mul_i32, a * b, c)                                                                                             \
    X(s_bfe_u32, (uint32_t)field(a, b, 31), r != 0)                                                                    \
    X(s_bfe_i32, (uint32_t)signed_field(S32(a), b, 31), r != 0)                                                        \
    X(s_absdiff_i32, S32(a - b) < 0 ? b - a : a - b, r != 0)                                                           \
    X(s_mul_hi_u32, (uint32_t)((uint64_t)a * b >> 32), c)                                                              \
    X(s_mul_hi_i32, (uint32_t)((uint64_t)((int64_t)S32(a) * S32(b)) >> 32), c)                                         \
    X(s_lshl1_add_u32, (a << 1) + b, (((uint64_t)a << 1) + b) >> 32 != 0)                                              \
    X(s_lshl2_add_u32, (a << 2) + b, (((uint64_t)a << 2) + b) >> 32 != 0)                                              \
    X(s_lshl3_add_u32, (a << 3) + b, (((uint64_t)a << 3) + b) >> 32 != 0)                                              \
    X(s_lshl4_add_u32, (a << 4) + b, (((uint64_t)a << 4) + b) >> 32 != 0)                                              \
    X(s_pack_ll_b32_b16, (a & 0xFFFF) | b << 16, c)                                                                    \
    X(s_pack_lh_b32_b16, (a & 0xFFFF) | (b & 0xFFFF0000), c)                                                           \
    X(s_pack_hh_b32_b16, a >> 16 | (b & 0xFFFF0000), c)

#define BINARY_64(X)                                                                                                   \
    X(s_cselect_b64, c ? a : b, c)                                                                                     \
    X(s_and_b64, a & b, r != 0)                                                                                        \
    X(s_or_b64, a | b, r != 0)                                                                                         \
    X(s_xor_b64, a ^ b, r != 0)                                                                                        \
    X(s_andn2_b64, a & ~b, r != 0)                                                                                     \
    X(s_orn2_b64, a | ~b, r != 0)                                                                                      \
    X(s_nand_b64, ~(a & b), r != 0)                                                                                    \
    X(s_nor_b64, ~(a | b), r != 0)                                                                                     \
    X(s_xnor_b64, ~(a ^ b), r != 0)

#define BINARY_64_BY_32(X)                                                                                             \
    X(s_lshl_b64, a << (b & 63), r != 0)                                                                               \
    X(s_lshr_b64, a >> (b & 63), r != 0)                                                                               \
    X(s_ashr_i64, (uint64_t)(S64(a) >> (b & 63)), r != 0)                                                              \
    X(s_bfe_u64, field(a, b, 63), r != 0)                                                                              \
    X(s_bfe_i64, (uint64_t)signed_field(S64(a), b, 63), r != 0)

static void give32(Wave *w, const Insn *insn, uint32_t value, uint32_t scc) {
    w->s[insn->dst.index] = value;
    w->scc = scc;
}

static void give64(Wave *w, const Insn *insn, uint64_t value, uint32_t scc) {
    set_sgpr64(w, insn->dst.index, value);
    w->scc = scc;
}

#define BINARY(NAME, VALUE, SCC, BITS, BITS_B)                                                                         \
    static Status NAME(Launch *launch, Wave *w, const Insn *insn) {                                                    \
        (void)launch;                                                                                                  \
        uint##BITS##_t a = scalar##BITS(w, &insn->src[0]);                                                             \
        uint##BITS_B##_t b = scalar##BITS_B(w, &insn->src[1]);                                                         \
        uint32_t c = w->scc;                                                                                           \
        (void)c;                                                                                                       \
        uint##BITS##_t r = VALUE;                                                                                      \
        give##BITS(w, insn, r, SCC);                                                                                   \
        return STATUS_OK;                                                                                              \
    }
#define DEFINE_32(NAME, VALUE, SCC) BINARY(NAME, VALUE, SCC, 32, 32)
#define DEFINE_64(NAME, VALUE, SCC) BINARY(NAME, VALUE, SCC, 64, 64)
#define DEFINE_64_BY_32(NAME, VALUE, SCC) BINARY(NAME, VALUE, SCC, 64, 32)
BINARY_32(DEFINE_32)
BINARY_64(DEFINE_64)
BINARY_64_BY_32(DEFINE_64_BY_32)

static Status s_bfm_b64(Launch *launch, Wave *w, const Insn *insn) {
    (void)launch;
    uint32_t a = scalar32(w, &insn->src[0]), b = scalar32(w, &insn->src[1]);
    set_sgpr64(w, insn->dst.index, mask_of(a & 63) << (b & 63));
    return STATUS_OK;
}

/* ---- one source: name, value, SCC, bits of the source, bits of the result --------------------------------------- */

#define UNARY(X)                                                                                                       \
    X(s_mov_b32, a, c, 32, 32)                                                                                         \
    X(s_mov_b64, a, c, 64, 64)                                                                                         \
    X(s_not_b32, ~a, r != 0, 32, 32)                                                                                   \
    X(s_not_b64, ~a, r != 0, 64, 64)                                                                                   \
    X(s_wqm_b32, (uint32_t)whole_quads(a), r != 0, 32, 32)                                                             \
    X(s_wqm_b64, whole_quads(a), r != 0, 64, 64)                                                                       \
    X(s_quadmask_b32, (uint32_t)quads(a), r != 0, 32, 32)                                                              \
    X(s_quadmask_b64, quads(a), r != 0, 64, 64)                                                                        \
    X(s_brev_b32, (uint32_t)(reversed(a) >> 32), c, 32, 32)                                                            \
    X(s_brev_b64, reversed(a), c, 64, 64)                                                                              \
    X(s_bcnt0_i32_b32, (uint32_t)__builtin_popcount(~a), r != 0, 32, 32)                                               \
    X(s_bcnt0_i32_b64, (uint32_t)__builtin_popcountll(~a), r != 0, 64, 32)                                             \
    X(s_bcnt1_i32_b32, (uint32_t)__builtin_popcount(a), r != 0, 32, 32)                                                \
    X(s_bcnt1_i32_b64, (uint32_t)__builtin_popcountll(a), r != 0, 64, 32)                                              \
    X(s_ff0_i32_b32, first_one((uint32_t)~a), c, 32, 32)                                                               \
    X(s_ff0_i32_b64, first_one(~a), c, 64, 32)                                                                         \
    X(s_ff1_i32_b32, first_one(a), c, 32, 32)                                                                          \
    X(s_ff1_i32_b64, first_one(a), c, 64, 32)                                                                          \
    X(s_flbit_i32_b32, leading_zeros(a, 32), c, 32, 32)                                                                \
    X(s_flbit_i32_b64, leading_zeros(a, 64), c, 64, 32)                                                                \
    X(s_flbit_i32, sign_run(a, (uint32_t)~a, 32, S32(a) < 0), c, 32, 32)                                               \
    X(s_flbit_i32_i64, sign_run(a, ~a, 64, S64(a) < 0), c, 64, 32)                                                     \
    X(s_sext_i32_i8, (uint32_t)(int8_t)a, c, 32, 32)                                                                   \
    X(s_sext_i32_i16, (uint32_t)(int16_t)a, c, 32, 32)                                                                 \
    X(s_abs_i32, S32(a) < 0 ? 0 - a : a, r != 0, 32, 32)                                                               \
    X(s_bitreplicate_b64_b32, doubled_bits(a), c, 32, 64)

#define DEFINE_UNARY(NAME, VALUE, SCC, FROM, TO)                                                                       \
    static Status NAME(Launch *launch, Wave *w, const Insn *insn) {                                                    \
        (void)launch;                                                                                                  \
        uint##FROM##_t a = scalar##FROM(w, &insn->src[0]);                                                             \
        uint32_t c = w->scc;                                                                                           \
        (void)c;                                                                                                       \
        uint##TO##_t r = VALUE;                                                                                        \
        give##TO(w, insn, r, SCC);                                                                                     \
        return STATUS_OK;                                                                                              \
    }
UNARY(DEFINE_UNARY)

/* What may leave its destination, or the rest of it, as it was: name, condition or changed value. */
#define OPERATION(NAME) static Status NAME(Launch *launch, Wave *w, const Insn *insn)

OPERATION(s_cmov_b32) {
    (void)launch;
    if (w->scc) w->s[insn->dst.index] = scalar32(w, &insn->src[0]);
    return STATUS_OK;
}

OPERATION(s_cmov_b64) {
    (void)launch;
    if (w->scc) set_sgpr64(w, insn->dst.index, scalar64(w, &insn->src[0]));
    return STATUS_OK;
}

static Status set_bit(Wave *w, const Insn *insn, uint32_t bits, bool value) {
    uint32_t number = scalar32(w, &insn->src[0]) & (bits - 1);
    uint32_t *word = &w->s[insn->dst.index + number / 32], bit = 1u << number % 32;
    *word = value ? *word | bit : *word & ~bit;
    return STATUS_OK;
}

OPERATION(s_bitset0_b32) { (void)launch; return set_bit(w, insn, 32, false); }
OPERATION(s_bitset0_b64) { (void)launch; return set_bit(w, insn, 64, false); }
OPERATION(s_bitset1_b32) { (void)launch; return set_bit(w, insn, 32, true); }
OPERATION(s_bitset1_b64) { (void)launch; return set_bit(w, insn, 64, true); }

/* Registers chosen by M0. */
static Status moved_register(Launch *launch, const Wave *w, const Insn *insn, const Operand *operand, uint32_t *index) {
    uint64_t number = (uint64_t)operand->index + w->s[SGPR_M0];
    if (operand->kind != OPERAND_SGPR || number + operand->dwords > 102)
        return cdna_unsupported(launch, insn, "scalar register %llu by M0", (unsigned long long)number);
    *index = (uint32_t)number;
    return STATUS_OK;
}

static Status moved_source(Launch *launch, Wave *w, const Insn *insn) {
    uint32_t from = 0;
    Status status = moved_register(launch, w, insn, &insn->src[0], &from);
    if (status == STATUS_OK) memmove(&w->s[insn->dst.index], &w->s[from], insn->dst.dwords * sizeof *w->s);
    return status;
}

static Status moved_destination(Launch *launch, Wave *w, const Insn *insn) {
    uint32_t to = 0;
    Status status = moved_register(launch, w, insn, &insn->dst, &to);
    if (status != STATUS_OK) return status;
    if (insn->dst.dwords == 2) set_sgpr64(w, to, scalar64(w, &insn->src[0]));
    else w->s[to] = scalar32(w, &insn->src[0]);
    return STATUS_OK;
}

/* ---- EXEC: a is the source, e EXEC before; the register gets the old EXEC (saveexec) or the new one (wrexec) ------ */

#define EXEC_OPERATIONS(X)                                                                                             \
    X(s_and_saveexec_b64, a & e, e)                                                                                    \
    X(s_or_saveexec_b64, a | e, e)                                                                                     \
    X(s_xor_saveexec_b64, a ^ e, e)                                                                                    \
    X(s_andn2_saveexec_b64, a & ~e, e)                                                                                 \
    X(s_orn2_saveexec_b64, a | ~e, e)                                                                                  \
    X(s_nand_saveexec_b64, ~(a & e), e)                                                                                \
    X(s_nor_saveexec_b64, ~(a | e), e)                                                                                 \
    X(s_xnor_saveexec_b64, ~(a ^ e), e)                                                                                \
    X(s_andn1_saveexec_b64, ~a & e, e)                                                                                 \
    X(s_orn1_saveexec_b64, ~a | e, e)                                                                                  \
    X(s_andn1_wrexec_b64, ~a & e, r)                                                                                   \
    X(s_andn2_wrexec_b64, a & ~e, r)

#define DEFINE_EXEC(NAME, VALUE, KEPT)                                                                                 \
    OPERATION(NAME) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint64_t a = scalar64(w, &insn->src[0]), e = exec_mask(w), r = VALUE;                                          \
        set_sgpr64(w, SGPR_EXEC, r);                                                                                   \
        set_sgpr64(w, insn->dst.index, KEPT);                                                                          \
        w->scc = r != 0;                                                                                               \
        return STATUS_OK;                                                                                              \
    }
EXEC_OPERATIONS(DEFINE_EXEC)

/* ---- comparisons: into SCC ---------------------------------------------------------------------------------------- */

#define COMPARISONS(X)                                                                                                 \
    X(s_cmp_eq_i32, a == b, 32, 32)                                                                                    \
    X(s_cmp_lg_i32, a != b, 32, 32)                                                                                    \
    X(s_cmp_gt_i32, S32(a) > S32(b), 32, 32)                                                                           \
    X(s_cmp_ge_i32, S32(a) >= S32(b), 32, 32)                                                                          \
    X(s_cmp_lt_i32, S32(a) < S32(b), 32, 32)                                                                           \
    X(s_cmp_le_i32, S32(a) <= S32(b), 32, 32)                                                                          \
    X(s_cmp_eq_u32, a == b, 32, 32)                                                                                    \
    X(s_cmp_lg_u32, a != b, 32, 32)                                                                                    \
    X(s_cmp_gt_u32, a > b, 32, 32)                                                                                     \
    X(s_cmp_ge_u32, a >= b, 32, 32)                                                                                    \
    X(s_cmp_lt_u32, a < b, 32, 32)                                                                                     \
    X(s_cmp_le_u32, a <= b, 32, 32)                                                                                    \
    X(s_cmp_eq_u64, a == b, 64, 64)                                                                                    \
    X(s_cmp_lg_u64, a != b, 64, 64)                                                                                    \
    X(s_bitcmp0_b32, !(a >> (b & 31) & 1), 32, 32)                                                                     \
    X(s_bitcmp1_b32, a >> (b & 31) & 1, 32, 32)                                                                        \
    X(s_bitcmp0_b64, !(a >> (b & 63) & 1), 64, 32)                                                                     \
    X(s_bitcmp1_b64, a >> (b & 63) & 1, 64, 32)

#define DEFINE_COMPARISON(NAME, TEST, BITS, BITS_B)                                                                    \
    OPERATION(NAME) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint##BITS##_t a = scalar##BITS(w, &insn->src[0]);                                                             \
        uint##BITS_B##_t b = scalar##BITS_B(w, &insn->src[1]);                                                         \
        w->scc = (uint32_t)(TEST);                                                                                     \
        return STATUS_OK;                                                                                              \
    }
COMPARISONS(DEFINE_COMPARISON)

/* SOPK: a is the register, k the immediate, sign-extended (u: the 16 bits as they are). */
#define COMPARISONS_K(X)                                                                                               \
    X(s_cmpk_eq_i32, S32(a) == k)                                                                                      \
    X(s_cmpk_lg_i32, S32(a) != k)                                                                                      \
    X(s_cmpk_gt_i32, S32(a) > k)                                                                                       \
    X(s_cmpk_ge_i32, S32(a) >= k)                                                                                      \
    X(s_cmpk_lt_i32, S32(a) < k)                                                                                       \
    X(s_cmpk_le_i32, S32(a) <= k)                                                                                      \
    X(s_cmpk_eq_u32, a == (uint16_t)k)                                                                                 \
    X(s_cmpk_lg_u32, a != (uint16_t)k)                                                                                 \
    X(s_cmpk_gt_u32, a > (uint16_t)k)                                                                                  \
    X(s_cmpk_ge_u32, a >= (uint16_t)k)                                                                                 \
    X(s_cmpk_lt_u32, a < (uint16_t)k)                                                                                  \
    X(s_cmpk_le_u32, a <= (uint16_t)k)

#define DEFINE_COMPARISON_K(NAME, TEST)                                                                                \
    OPERATION(NAME) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t a = scalar32(w, &insn->src[0]);                                                                       \
        int32_t k = insn->imm;                                                                                         \
        w->scc = TEST;                                                                                                 \
        return STATUS_OK;                                                                                              \
    }
COMPARISONS_K(DEFINE_COMPARISON_K)

OPERATION(s_movk_i32) {
    (void)launch;
    w->s[insn->dst.index] = (uint32_t)insn->imm;
    return STATUS_OK;
}

OPERATION(s_cmovk_i32) {
    (void)launch;
    if (w->scc) w->s[insn->dst.index] = (uint32_t)insn->imm;
    return STATUS_OK;
}

OPERATION(s_addk_i32) {
    (void)launch;
    uint32_t a = scalar32(w, &insn->src[0]), b = (uint32_t)insn->imm, r = a + b;
    give32(w, insn, r, (~(a ^ b) & (a ^ r)) >> 31);
    return STATUS_OK;
}

OPERATION(s_mulk_i32) {
    (void)launch;
    w->s[insn->dst.index] = scalar32(w, &insn->src[0]) * (uint32_t)insn->imm;
    return STATUS_OK;
}

#define ENTRY(NAME, ...) {#NAME, NAME, CLASS_SALU, 0},
const OperationEntry SCALAR_OPERATIONS[] = {
    BINARY_32(ENTRY) BINARY_64(ENTRY) BINARY_64_BY_32(ENTRY) UNARY(ENTRY) EXEC_OPERATIONS(ENTRY) COMPARISONS(ENTRY)
    COMPARISONS_K(ENTRY) ENTRY(s_bfm_b64) ENTRY(s_cmov_b32) ENTRY(s_cmov_b64) ENTRY(s_bitset0_b32)
    ENTRY(s_bitset0_b64) ENTRY(s_bitset1_b32) ENTRY(s_bitset1_b64) ENTRY(s_movk_i32) ENTRY(s_cmovk_i32)
    ENTRY(s_addk_i32) ENTRY(s_mulk_i32)
    {"s_movrels_b32", moved_source, CLASS_SALU, 0},
    {"s_movrels_b64", moved_source, CLASS_SALU, 0},
    {"s_movreld_b32", moved_destination, CLASS_SALU, 0},
    {"s_movreld_b64", moved_destination, CLASS_SALU, 0},
    {NULL},
};
