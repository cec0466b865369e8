/* The matrix unit: v_mfma_* and v_mfma_scale_*. EXEC is ignored, all 64 lanes take part.
 *
 * Layout, for blocks of M x N x K with M = N, as "AMD Instinct MI300 Instruction Set Architecture" states it (matrix
 * arithmetic instructions, register layouts):
 *     A[i][k] of block b: lane i + M (b + blocks (k / KL)), item k % KL, where KL = K M blocks / 64;  B[k][j] likewise;
 *     D[i][j] of block b: lane j + M ((i / H) % L + L (b % S)), item i % H + H (i / (H L) + (M / (H L)) (b / S)),
 *         H = 4 (1 for f64), S = max(1, 64 H / M^2) blocks side by side in the lanes, L = 64 / (S M).
 * Items stand one after another in the lane's registers, lowest bits first. The 8-bit operands of *_f8f6f4 hold two
 * chunks of 16 consecutive k, K / 2 apart (ROCm Composable Kernel, test/mx_mfma_op, register mapping); the lane of
 * group g gives the scale of k from 32 g to 32 g + 31.
 *
 * Arithmetic. Products are exact; a row times a column is summed in double in ascending k, from C on, and rounded once
 * to f32. The card's order and its intermediate roundings are not public. Integers wrap: their sums are exact in double
 * (C and 64 products of bytes stay below 2^32). f64 is a chain of fused multiply-adds in ascending k. Subnormal numbers
 * are kept, in and out; a NaN result is 0x7FC00000.
 */
#include "formats.h"

#define NOINLINE __attribute__((noinline))
#define MAX_ITEMS 32 /* numbers in a lane */
#define MAX_K 128

typedef const uint32_t (*Registers)[LANES];
typedef double Values[MAX_ITEMS][LANES]; /* A, B, C or D by item and lane */

/* ---- operands ----------------------------------------------------------------------------------------------- */

/* `items` numbers of format `f` from each lane. */
FORMAT_INLINE void unpack(Registers from, uint32_t items, Format f, Values to) {
    const uint32_t bits = format_bits(f);
    for (uint32_t item = 0; item < items; item++) {
        const uint32_t word = item * bits / 32, shift = item * bits % 32;
        if (shift + bits <= 32) {
            for (uint32_t lane = 0; lane < LANES; lane++)
                to[item][lane] = (double)decode_f32(from[word][lane] >> shift, f);
        } else { /* 6 bits across two registers */
            for (uint32_t lane = 0; lane < LANES; lane++)
                to[item][lane] =
                    (double)decode_f32(from[word][lane] >> shift | from[word + 1][lane] << (32 - shift), f);
        }
    }
}

typedef enum {
    INPUT_F16,
    INPUT_BF16,
    INPUT_F32,
    INPUT_XF32,
    INPUT_FP8,
    INPUT_BF8,
    INPUT_FP6,
    INPUT_BF6,
    INPUT_FP4,
    INPUT_I8,
} Input;

static NOINLINE void unpack_input(Registers from, uint32_t items, Input input, Arch arch, Values to) {
    switch (input) {
    case INPUT_F16: unpack(from, items, FORMAT_F16, to); break;
    case INPUT_BF16: unpack(from, items, FORMAT_BF16, to); break;
    case INPUT_FP6: unpack(from, items, FORMAT_FP6, to); break;
    case INPUT_BF6: unpack(from, items, FORMAT_BF6, to); break;
    case INPUT_FP4: unpack(from, items, FORMAT_FP4, to); break;
    case INPUT_FP8:
        if (arch == GFX942) unpack(from, items, FORMAT_FP8_FNUZ, to);
        else unpack(from, items, FORMAT_FP8, to);
        break;
    case INPUT_BF8:
        if (arch == GFX942) unpack(from, items, FORMAT_BF8_FNUZ, to);
        else unpack(from, items, FORMAT_BF8, to);
        break;
    case INPUT_F32:
    case INPUT_XF32:
        for (uint32_t item = 0; item < items; item++)
            for (uint32_t lane = 0; lane < LANES; lane++) {
                uint32_t bits = from[item][lane];
                to[item][lane] = (double)f32_from_bits(input == INPUT_XF32 ? round_to_xf32(bits) : bits);
            }
        break;
    case INPUT_I8:
        for (uint32_t item = 0; item < items; item++)
            for (uint32_t lane = 0; lane < LANES; lane++)
                to[item][lane] = (double)((int32_t)(from[item / 4][lane] << (24 - 8 * (item % 4))) >> 24);
        break;
    }
}

typedef struct { /* M = N */
    uint32_t m, blocks, k;
} Shape;

FORMAT_INLINE uint32_t items_of(Shape s) { return s.k * s.m * s.blocks / LANES; }

/* Where the k-th row of A (column of B) of block 0 starts among Values, in doubles. */
FORMAT_INLINE uint32_t place_of(Shape s, uint32_t k, bool chunked) {
    const uint32_t items = items_of(s), groups = s.k / items;
    const uint32_t item = chunked ? k / (16 * groups) * 16 + k % 16 : k % items;
    const uint32_t group = chunked ? k / 16 % groups : k / items;
    return item * LANES + s.m * s.blocks * group;
}

FORMAT_INLINE uint32_t results_of(Shape s) { return s.m * s.m * s.blocks / LANES; }

static NOINLINE void read_c(const Wave *wave, const Operand *c, uint32_t items, bool integer, Values to) {
    for (uint32_t item = 0; item < items; item++) {
        uint32_t constant[LANES];
        for (uint32_t lane = 0; lane < LANES; lane++) constant[lane] = c->value;
        const uint32_t *from = c->kind == OPERAND_VGPR ? wave->v[c->index + item] : constant;
        if (integer)
            for (uint32_t lane = 0; lane < LANES; lane++) to[item][lane] = (double)(int32_t)from[lane];
        else
            for (uint32_t lane = 0; lane < LANES; lane++) to[item][lane] = (double)f32_from_bits(from[lane]);
    }
}

static NOINLINE void write_d(Wave *wave, const Operand *d, uint32_t items, bool integer, Values from) {
    for (uint32_t item = 0; item < items; item++) {
        uint32_t *to = wave->v[d->index + item];
        if (integer) {
            for (uint32_t lane = 0; lane < LANES; lane++) { /* 1.5 * 2^52 leaves the integer in the lowest bits */
                const double shifted = from[item][lane] + 6755399441055744.0;
                uint64_t bits;
                memcpy(&bits, &shifted, sizeof bits);
                to[lane] = (uint32_t)bits;
            }
        } else {
            for (uint32_t lane = 0; lane < LANES; lane++) {
                const float rounded = (float)from[item][lane];
                to[lane] = rounded != rounded ? F32_QUIET_NAN : f32_to_bits(rounded);
            }
        }
    }
}

/* ---- products ----------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t a[MAX_K], b[MAX_K]; /* place_of each k */
    uint32_t a_block[16];        /* the block of A that each block takes: its own unless A is broadcast */
} Plan;

FORMAT_INLINE void place_rows(Shape s, bool a_chunked, bool b_chunked, Plan *plan) {
    for (uint32_t k = 0; k < s.k; k++) plan->a[k] = place_of(s, k, a_chunked), plan->b[k] = place_of(s, k, b_chunked);
    for (uint32_t block = 0; block < s.blocks; block++) plan->a_block[block] = block;
}

/* Item and first lane of row i of D. */
FORMAT_INLINE void row_of_d(Shape s, uint32_t i, uint32_t block, uint32_t height, uint32_t *item, uint32_t *lane) {
    const uint32_t side = LANES * height / (s.m * s.m), side_by_side = side ? side : 1;
    const uint32_t rows = LANES / (side_by_side * s.m);
    *item = i % height + height * (i / (height * rows) + s.m / (height * rows) * (block / side_by_side));
    *lane = s.m * (i / height % rows + rows * (block % side_by_side));
}

typedef double Quad __attribute__((vector_size(32))); /* two registers where the host has no AVX */

/* Rows i to i + rows of D, columns j to j + 4 quads: few enough that the sums stay in registers. */
FORMAT_INLINE void product_tile(Shape s, const double *a, const double *b, const Plan *plan, double *const *d,
                                uint32_t rows, uint32_t quads) {
    Quad sum[4][4];
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t q = 0; q < quads; q++) memcpy(&sum[r][q], d[r] + 4 * q, sizeof(Quad));
    for (uint32_t k = 0; k < s.k; k++) {
        const double *right = b + plan->b[k], *left = a + plan->a[k];
        for (uint32_t q = 0; q < quads; q++) {
            Quad factor;
            memcpy(&factor, right + 4 * q, sizeof factor);
            for (uint32_t r = 0; r < rows; r++) sum[r][q] += left[r] * factor;
        }
    }
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t q = 0; q < quads; q++) memcpy(d[r] + 4 * q, &sum[r][q], sizeof(Quad));
}

FORMAT_INLINE void product(Shape s, const double *a, const double *b, const Plan *plan, Values d) {
    const uint32_t quads = s.m < 16 ? 1 : 4, rows = s.m < 16 ? 4 : 2;
    for (uint32_t block = 0; block < s.blocks; block++)
        for (uint32_t i = 0; i < s.m; i += rows) {
            double *row[4];
            for (uint32_t r = 0; r < rows; r++) {
                uint32_t item, lane;
                row_of_d(s, i + r, block, 4, &item, &lane);
                row[r] = d[item] + lane;
            }
            for (uint32_t j = 0; j < s.m; j += 4 * quads) {
                product_tile(s, a + s.m * plan->a_block[block] + i, b + s.m * block + j, plan, row, rows, quads);
                for (uint32_t r = 0; r < rows; r++) row[r] += 4 * quads;
            }
        }
}

/* One copy for each shape, so that loops have fixed ends. */
#define SHAPES(X)                                                                                                      \
    X(32, 2, 1) X(16, 4, 1) X(4, 16, 1) X(32, 1, 2) X(16, 1, 4) X(32, 1, 4) X(16, 1, 8) X(32, 2, 4) X(16, 4, 4)        \
    X(4, 16, 4) X(32, 1, 8) X(16, 1, 16) X(32, 1, 16) X(16, 1, 32) X(32, 1, 32) X(16, 1, 64) X(32, 1, 64) X(16, 1, 128)
#define DEFINE_PRODUCT(M, BLOCKS, K)                                                                                   \
    static NOINLINE void product_##M##_##BLOCKS##_##K(const double *a, const double *b, const Plan *plan, Values d) {  \
        product((Shape){M, BLOCKS, K}, a, b, plan, d);                                                                 \
    }
SHAPES(DEFINE_PRODUCT)

typedef void (*Product)(const double *a, const double *b, const Plan *plan, Values d);

/* ---- instructions ------------------------------------------------------------------------------------------- */

enum { ON_GFX942 = 1, ON_GFX950 = 2, ON_BOTH = 3 };

FORMAT_INLINE bool is_on(const Launch *launch, uint32_t archs) {
    return archs & (launch->arch == GFX942 ? ON_GFX942 : ON_GFX950);
}

static Status wrong_arch(Launch *launch, const Insn *insn) {
    return cdna_unsupported(launch, insn, "gfx%d has no such matrix instruction", (int)launch->arch);
}

FORMAT_INLINE uint32_t field_cbsz(const Insn *insn) { return insn->extra & 7; }
FORMAT_INLINE uint32_t field_abid(const Insn *insn) { return insn->extra >> 3 & 15; }
FORMAT_INLINE uint32_t field_blgp(const Insn *insn) { return insn->extra >> 7 & 7; }

/* CBSZ: groups of 2^CBSZ blocks share the A of their block number ABID. */
static Status broadcast_a(Launch *launch, const Insn *insn, uint32_t blocks, Plan *plan) {
    const uint32_t size = 1u << field_cbsz(insn), chosen = field_abid(insn);
    if (field_blgp(insn)) return cdna_unsupported(launch, insn, "blgp=%u", field_blgp(insn));
    if (size > blocks || chosen >= size)
        return cdna_unsupported(launch, insn, "cbsz=%u abid=%u of %u blocks", field_cbsz(insn), chosen, blocks);
    for (uint32_t block = 0; block < blocks; block++) plan->a_block[block] = block / size * size + chosen;
    return STATUS_OK;
}

static void count_flops(Launch *launch, Shape s) {
    launch->counters.mfma_flops += 2ull * s.m * s.m * s.k * s.blocks;
}

FORMAT_INLINE Status mfma(Launch *launch, Wave *wave, const Insn *insn, uint32_t archs, Shape s, Input a_input,
                          Input b_input, Product multiply) {
    if (!is_on(launch, archs)) return wrong_arch(launch, insn);
    Plan plan;
    place_rows(s, false, false, &plan);
    if (insn->extra) {
        Status status = broadcast_a(launch, insn, s.blocks, &plan);
        if (status != STATUS_OK) return status;
    }
    Values a, b, d;
    const bool integer = a_input == INPUT_I8;
    unpack_input((Registers)(wave->v + insn->src[0].index), items_of(s), a_input, launch->arch, a);
    unpack_input((Registers)(wave->v + insn->src[1].index), items_of(s), b_input, launch->arch, b);
    read_c(wave, &insn->src[2], results_of(s), integer, d);
    multiply(a[0], b[0], &plan, d);
    write_d(wave, &insn->dst, results_of(s), integer, d);
    count_flops(launch, s);
    return STATUS_OK;
}

/* Multiplies each number by the scale of its row and its 32 consecutive k. */
static void apply_scale(const Wave *wave, const Operand *scale, Shape s, bool chunked, Values values) {
    const uint32_t byte = (scale->modifiers & MODIFIER_OPSEL ? 1 : 0) | (scale->modifiers & MODIFIER_OPSEL_HI ? 2 : 0);
    double factor[LANES];
    for (uint32_t lane = 0; lane < LANES; lane++) {
        const uint32_t word = scale->kind == OPERAND_VGPR ? wave->v[scale->index][lane]
                              : scale->kind == OPERAND_SGPR ? wave->s[scale->index] : scale->value;
        factor[lane] = decode_e8m0(word >> (8 * byte));
    }
    double *flat = values[0];
    for (uint32_t k = 0; k < s.k; k++) {
        double *row = flat + place_of(s, k, chunked);
        for (uint32_t i = 0; i < s.m; i++) row[i] *= factor[k / 32 * s.m + i];
    }
}

FORMAT_INLINE Status mfma_f8f6f4(Launch *launch, Wave *wave, const Insn *insn, Shape s, bool scaled, Product multiply) {
    static const Input BY_CODE[] = {INPUT_FP8, INPUT_BF8, INPUT_FP6, INPUT_BF6, INPUT_FP4};
    const uint32_t a_code = field_cbsz(insn), b_code = field_blgp(insn);
    if (!is_on(launch, ON_GFX950)) return wrong_arch(launch, insn);
    if (a_code > 4 || b_code > 4) return cdna_unsupported(launch, insn, "cbsz=%u blgp=%u", a_code, b_code);
    if (field_abid(insn)) return cdna_unsupported(launch, insn, "abid=%u", field_abid(insn));
    const bool a_chunked = a_code < 2, b_chunked = b_code < 2;
    Values a, b, d;
    unpack_input((Registers)(wave->v + insn->src[0].index), MAX_ITEMS, BY_CODE[a_code], launch->arch, a);
    unpack_input((Registers)(wave->v + insn->src[1].index), MAX_ITEMS, BY_CODE[b_code], launch->arch, b);
    if (scaled) {
        apply_scale(wave, &insn->src[3], s, a_chunked, a);
        apply_scale(wave, &insn->src[4], s, b_chunked, b);
    }
    Plan plan;
    place_rows(s, a_chunked, b_chunked, &plan);
    read_c(wave, &insn->src[2], results_of(s), false, d);
    multiply(a[0], b[0], &plan, d);
    write_d(wave, &insn->dst, results_of(s), false, d);
    count_flops(launch, s);
    return STATUS_OK;
}

FORMAT_INLINE double f64_of_registers(uint32_t low, uint32_t high, bool negate) {
    const uint64_t bits = ((uint64_t)high << 32 | low) ^ (uint64_t)negate << 63;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* BLGP negates here: bit 0 A, bit 1 B, bit 2 C. */
FORMAT_INLINE Status mfma_f64(Launch *launch, Wave *wave, const Insn *insn, Shape s) {
    if (insn->extra & 0x7F) return cdna_unsupported(launch, insn, "cbsz or abid of f64");
    const uint32_t negated = field_blgp(insn), items = results_of(s);
    Plan plan;
    place_rows(s, false, false, &plan);
    double a[LANES], b[LANES], c[4][LANES];
    for (uint32_t lane = 0; lane < LANES; lane++) {
        uint32_t(*left)[LANES] = wave->v + insn->src[0].index, (*right)[LANES] = wave->v + insn->src[1].index;
        a[lane] = f64_of_registers(left[0][lane], left[1][lane], negated & 1);
        b[lane] = f64_of_registers(right[0][lane], right[1][lane], negated & 2);
    }
    const Operand *third = &insn->src[2];
    for (uint32_t item = 0; item < items; item++)
        for (uint32_t lane = 0; lane < LANES; lane++) {
            const bool in_register = third->kind == OPERAND_VGPR;
            const uint32_t low = in_register ? wave->v[third->index + 2 * item][lane] : third->value;
            const uint32_t high = in_register ? wave->v[third->index + 2 * item + 1][lane] : third->value_hi;
            c[item][lane] = f64_of_registers(low, high, negated & 4);
        }
    for (uint32_t block = 0; block < s.blocks; block++)
        for (uint32_t i = 0; i < s.m; i++) {
            uint32_t item, lane;
            row_of_d(s, i, block, 1, &item, &lane);
            for (uint32_t k = 0; k < s.k; k++)
                for (uint32_t j = 0; j < s.m; j++)
                    c[item][lane + j] = __builtin_fma(a[plan.a[k] + s.m * block + i], b[plan.b[k] + s.m * block + j],
                                                      c[item][lane + j]);
        }
    for (uint32_t item = 0; item < items; item++)
        for (uint32_t lane = 0; lane < LANES; lane++) {
            uint64_t bits;
            memcpy(&bits, &c[item][lane], sizeof bits);
            if (c[item][lane] != c[item][lane]) bits = 0x7FF8000000000000u;
            wave->v[insn->dst.index + 2 * item][lane] = (uint32_t)bits;
            wave->v[insn->dst.index + 2 * item + 1][lane] = (uint32_t)(bits >> 32);
        }
    count_flops(launch, s);
    return STATUS_OK;
}

/* ---- table -------------------------------------------------------------------------------------------------- */

/* mnemonic without v_mfma_, where it is, M, blocks, K, A, B */
#define PLAIN_OPERATIONS(X)                                                                                            \
    X(f32_32x32x1_2b_f32, ON_BOTH, 32, 2, 1, F32, F32)                                                                 \
    X(f32_16x16x1_4b_f32, ON_BOTH, 16, 4, 1, F32, F32)                                                                 \
    X(f32_4x4x1_16b_f32, ON_BOTH, 4, 16, 1, F32, F32)                                                                  \
    X(f32_32x32x2_f32, ON_BOTH, 32, 1, 2, F32, F32)                                                                    \
    X(f32_16x16x4_f32, ON_BOTH, 16, 1, 4, F32, F32)                                                                    \
    X(f32_32x32x4_xf32, ON_GFX942, 32, 1, 4, XF32, XF32)                                                               \
    X(f32_16x16x8_xf32, ON_GFX942, 16, 1, 8, XF32, XF32)                                                               \
    X(f32_32x32x4_2b_f16, ON_BOTH, 32, 2, 4, F16, F16)                                                                 \
    X(f32_16x16x4_4b_f16, ON_BOTH, 16, 4, 4, F16, F16)                                                                 \
    X(f32_4x4x4_16b_f16, ON_BOTH, 4, 16, 4, F16, F16)                                                                  \
    X(f32_32x32x8_f16, ON_BOTH, 32, 1, 8, F16, F16)                                                                    \
    X(f32_16x16x16_f16, ON_BOTH, 16, 1, 16, F16, F16)                                                                  \
    X(f32_32x32x16_f16, ON_GFX950, 32, 1, 16, F16, F16)                                                                \
    X(f32_16x16x32_f16, ON_GFX950, 16, 1, 32, F16, F16)                                                                \
    X(f32_32x32x4_2b_bf16, ON_BOTH, 32, 2, 4, BF16, BF16)                                                              \
    X(f32_16x16x4_4b_bf16, ON_BOTH, 16, 4, 4, BF16, BF16)                                                              \
    X(f32_4x4x4_16b_bf16, ON_BOTH, 4, 16, 4, BF16, BF16)                                                               \
    X(f32_32x32x8_bf16, ON_BOTH, 32, 1, 8, BF16, BF16)                                                                 \
    X(f32_16x16x16_bf16, ON_BOTH, 16, 1, 16, BF16, BF16)                                                               \
    X(f32_32x32x16_bf16, ON_GFX950, 32, 1, 16, BF16, BF16)                                                             \
    X(f32_16x16x32_bf16, ON_GFX950, 16, 1, 32, BF16, BF16)                                                             \
    X(f32_32x32x16_fp8_fp8, ON_BOTH, 32, 1, 16, FP8, FP8)                                                              \
    X(f32_32x32x16_fp8_bf8, ON_BOTH, 32, 1, 16, FP8, BF8)                                                              \
    X(f32_32x32x16_bf8_fp8, ON_BOTH, 32, 1, 16, BF8, FP8)                                                              \
    X(f32_32x32x16_bf8_bf8, ON_BOTH, 32, 1, 16, BF8, BF8)                                                              \
    X(f32_16x16x32_fp8_fp8, ON_BOTH, 16, 1, 32, FP8, FP8)                                                              \
    X(f32_16x16x32_fp8_bf8, ON_BOTH, 16, 1, 32, FP8, BF8)                                                              \
    X(f32_16x16x32_bf8_fp8, ON_BOTH, 16, 1, 32, BF8, FP8)                                                              \
    X(f32_16x16x32_bf8_bf8, ON_BOTH, 16, 1, 32, BF8, BF8)                                                              \
    X(i32_32x32x4_2b_i8, ON_BOTH, 32, 2, 4, I8, I8)                                                                    \
    X(i32_16x16x4_4b_i8, ON_BOTH, 16, 4, 4, I8, I8)                                                                    \
    X(i32_4x4x4_16b_i8, ON_BOTH, 4, 16, 4, I8, I8)                                                                     \
    X(i32_32x32x16_i8, ON_BOTH, 32, 1, 16, I8, I8)                                                                     \
    X(i32_16x16x32_i8, ON_BOTH, 16, 1, 32, I8, I8)                                                                     \
    X(i32_32x32x32_i8, ON_GFX950, 32, 1, 32, I8, I8)                                                                   \
    X(i32_16x16x64_i8, ON_GFX950, 16, 1, 64, I8, I8)
#define DEFINE_PLAIN(NAME, ARCHS, M, BLOCKS, K, A, B)                                                                  \
    static Status NAME(Launch *launch, Wave *wave, const Insn *insn) {                                                 \
        return mfma(launch, wave, insn, ARCHS, (Shape){M, BLOCKS, K}, INPUT_##A, INPUT_##B,                            \
                    product_##M##_##BLOCKS##_##K);                                                                     \
    }
#define ENTRY_PLAIN(NAME, ARCHS, M, BLOCKS, K, A, B)                                                                   \
    {"v_mfma_" #NAME, NAME, CLASS_MFMA, BLOCKS > 1 ? ALLOWS_EXTRA : 0},
PLAIN_OPERATIONS(DEFINE_PLAIN)

#define OTHER_OPERATIONS(X)                                                                                            \
    X(f32_16x16x128_f8f6f4, mfma_f8f6f4, ALLOWS_EXTRA, ((Shape){16, 1, 128}), false, product_16_1_128)                 \
    X(f32_32x32x64_f8f6f4, mfma_f8f6f4, ALLOWS_EXTRA, ((Shape){32, 1, 64}), false, product_32_1_64)                    \
    X(scale_f32_16x16x128_f8f6f4, mfma_f8f6f4, ALLOWS_EXTRA | ALLOWS_OPSEL, ((Shape){16, 1, 128}), true,               \
      product_16_1_128)                                                                                                \
    X(scale_f32_32x32x64_f8f6f4, mfma_f8f6f4, ALLOWS_EXTRA | ALLOWS_OPSEL, ((Shape){32, 1, 64}), true,                 \
      product_32_1_64)                                                                                                 \
    X(f64_16x16x4_f64, mfma_f64, ALLOWS_EXTRA, ((Shape){16, 1, 4}))                                                    \
    X(f64_4x4x4_4b_f64, mfma_f64, ALLOWS_EXTRA, ((Shape){4, 4, 4}))
#define DEFINE_OTHER(NAME, FUNCTION, ALLOWS, ...)                                                                      \
    static Status NAME(Launch *launch, Wave *wave, const Insn *insn) {                                                 \
        return FUNCTION(launch, wave, insn, __VA_ARGS__);                                                              \
    }
#define ENTRY_OTHER(NAME, FUNCTION, ALLOWS, ...) {"v_mfma_" #NAME, NAME, CLASS_MFMA, ALLOWS},
OTHER_OPERATIONS(DEFINE_OTHER)

const OperationEntry MATRIX_OPERATIONS[] = {
    PLAIN_OPERATIONS(ENTRY_PLAIN) OTHER_OPERATIONS(ENTRY_OTHER){NULL},
};
