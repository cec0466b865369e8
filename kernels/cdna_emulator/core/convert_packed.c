/* Conversions of packed numbers: between f32, f16, bf16 and the narrow formats, with and without a scale.
 *
 * The scale is a power of two, the exponent field of an f32: narrowing divides by it, widening multiplies, and the
 * result is rounded once. A field of 255 (infinity, NaN) makes every result NaN.
 */
#include "convert.h"

#include "half.h"

#define NO_SCALE INT32_MIN

typedef struct {
    Format from, to;
    uint32_t elements;
    Sources sources;
    uint8_t scale, random;
    uint8_t source_choice, result_choice; /* bits of op_sel */
} Conversion;

/* The operand in 64 lanes, as it stands: register `number` of it, or the scalar in every lane. */
FORMAT_INLINE const uint32_t *raw_lanes(const Wave *wave, const Operand *operand, uint32_t number, uint32_t *splat) {
    if (operand->kind == OPERAND_VGPR) return wave->v[operand->index + number];
    const uint32_t value = operand->kind == OPERAND_SGPR ? wave->s[operand->index + number] : scalar32(wave, operand);
    for (uint32_t lane = 0; lane < LANES; lane++) splat[lane] = value;
    return splat;
}

/* neg and abs of a number of `bits` bits at the bottom of each lane. */
FORMAT_INLINE const uint32_t *with_modifiers(const Operand *operand, uint32_t bits, const uint32_t *from,
                                             uint32_t *to) {
    if (!(operand->modifiers & (MODIFIER_NEG | MODIFIER_ABS))) return from;
    const uint32_t sign = 1u << (bits - 1), keep = operand->modifiers & MODIFIER_ABS ? ~sign : ~0u;
    const uint32_t flip = operand->modifiers & MODIFIER_NEG ? sign : 0;
    for (uint32_t lane = 0; lane < LANES; lane++) to[lane] = (from[lane] & keep) ^ flip;
    return to;
}

FORMAT_INLINE void store_lanes(Wave *wave, uint32_t index, const uint32_t *values, uint32_t mask_of_bits) {
    uint32_t *to = wave->v[index];
    const uint64_t exec = exec_mask(wave);
    if (exec == UINT64_MAX && mask_of_bits == UINT32_MAX) {
        memcpy(to, values, LANES * sizeof *to);
        return;
    }
    for (uint32_t lane = 0; lane < LANES; lane++) {
        const uint32_t change = exec >> lane & 1 ? mask_of_bits : 0;
        to[lane] = (to[lane] & ~change) | (values[lane] & change);
    }
}

/* The next number of v_prng_b32. */
FORMAT_INLINE uint32_t next_random(uint32_t random) { return random << 1 ^ (random >> 31 ? 197u : 0u); }

static uint32_t bits_at(const uint32_t (*from)[LANES], uint32_t offset, uint32_t bits, uint32_t lane) {
    const uint32_t word = offset / 32, shift = offset % 32;
    uint32_t value = from[word][lane] >> shift;
    if (shift + bits > 32) value |= from[word + 1][lane] << (32 - shift);
    return bits == 32 ? value : value & ((1u << bits) - 1);
}

static uint32_t convert_one(uint32_t code, Format from, Format to, int32_t scale, Narrowing how) {
    const uint32_t bits = decode_bits(code, from);
    if (scale == 128 || scale == -128) return encode(F32_QUIET_NAN, to, how);
    return encode_scaled(bits, scale == NO_SCALE ? 0 : scale, to, how);
}

/* 32 numbers at most, of 32 bits at most, of each lane. */
static void convert_lanes(Conversion c, const uint32_t (*source)[LANES], uint32_t source_offset, const uint32_t *scale,
                          const uint32_t *random, bool saturate, uint32_t result_offset, uint32_t (*result)[LANES]) {
    const uint32_t from_bits = format_bits(c.from), to_bits = format_bits(c.to);
    const bool narrows = c.from.fraction_bits > 3; /* from f32, f16 or bf16 */
    for (uint32_t lane = 0; lane < LANES; lane++) {
        Narrowing how = {random ? ROUND_STOCHASTIC : ROUND_NEAREST_EVEN, random ? random[lane] : 0, saturate};
        int32_t power = NO_SCALE;
        if (scale) power = (int32_t)(scale[lane] >> 23 & 255) - 127;
        if (scale && narrows) power = -power;
        for (uint32_t i = 0; i < c.elements; i++) {
            const uint32_t code = bits_at(source, source_offset + i * from_bits, from_bits, lane);
            const uint32_t made = convert_one(code, c.from, c.to, power, how);
            const uint32_t offset = result_offset + i * to_bits, word = offset / 32, shift = offset % 32;
            result[word][lane] |= made << shift;
            if (shift + to_bits > 32) result[word + 1][lane] |= made >> (32 - shift);
            how.random = next_random(how.random);
        }
    }
}

/* The scale is absent, or 1 as Triton writes it. */
static bool is_unscaled(const Insn *insn, Conversion c) {
    if (c.scale == NO_OPERAND) return true;
    const Operand *scale = &insn->src[c.scale];
    return scale->kind == OPERAND_CONSTANT && (scale->value >> 23 & 255) == 127;
}

/* Pairs between 8 bits and more, unscaled, to nearest even: lanes side by side. */
FORMAT_INLINE void narrow_to(Format to, const uint32_t bits[LANES], bool saturate, uint32_t shift,
                             uint32_t result[LANES]) {
    for (uint32_t lane = 0; lane < LANES; lane++) result[lane] |= encode_nearest8(bits[lane], to, saturate) << shift;
}

static void narrow_pair(Conversion c, const uint32_t (*source)[LANES], bool saturate, uint32_t offset,
                        uint32_t result[LANES]) {
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t *from = source[c.sources == FROM_TWO ? i : 0], shift = offset + 8 * i;
        uint32_t bits[LANES];
        if (c.sources == FROM_TWO) memcpy(bits, from, sizeof bits);
        else
            for (uint32_t lane = 0; lane < LANES; lane++) bits[lane] = decode_bits(from[lane] >> (16 * i), c.from);
        const bool fp8 = c.to.fraction_bits == 3;
        if (c.to.specials == SPECIALS_FNUZ && fp8) narrow_to(FORMAT_FP8_FNUZ, bits, saturate, shift, result);
        else if (c.to.specials == SPECIALS_FNUZ) narrow_to(FORMAT_BF8_FNUZ, bits, saturate, shift, result);
        else if (fp8) narrow_to(FORMAT_FP8, bits, saturate, shift, result);
        else narrow_to(FORMAT_BF8, bits, saturate, shift, result);
    }
}

static void widen_pair(Conversion c, const uint32_t source[LANES], uint32_t offset, uint32_t (*result)[LANES]) {
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t bits[LANES];
        const uint32_t shift = offset + 8 * i;
        for (uint32_t lane = 0; lane < LANES; lane++) bits[lane] = decode_bits(source[lane] >> shift, c.from);
        if (c.to.fraction_bits == 23) memcpy(result[i], bits, sizeof bits);
        else if (c.to.fraction_bits == 7)
            for (uint32_t lane = 0; lane < LANES; lane++) result[0][lane] |= bits[lane] >> 16 << (16 * i);
        else
            for (uint32_t lane = 0; lane < LANES; lane++)
                result[0][lane] |= f32_to_half(f32_from_bits(bits[lane])) << (16 * i);
    }
}

/* Copies what the conversion reads, so that the destination may overlap it. */
static void gather_source(const Wave *wave, const Insn *insn, Conversion c, uint32_t (*to)[LANES]) {
    const uint32_t bits = format_bits(c.from), words = (c.elements * bits + 31) / 32;
    uint32_t splat[LANES], changed[LANES];
    for (uint32_t word = 0; word < words; word++) {
        const Operand *operand = &insn->src[c.sources == FROM_TWO ? word % 2 : 0];
        const uint32_t *lanes = raw_lanes(wave, operand, c.sources == FROM_TWO ? word / 2 : word, splat);
        memcpy(to[word], with_modifiers(operand, bits, lanes, changed), sizeof to[word]);
    }
}

static Status wrong_form(Launch *launch, const Insn *insn) {
    return cdna_unsupported(launch, insn, "op_sel=%u or a modifier of an integer", insn->extra);
}

static Status convert(Launch *launch, Wave *wave, const Insn *insn, Conversion c) {
    const uint32_t choices = (1u << c.source_choice) - 1, op_sel = insn->extra;
    const uint32_t results = ((1u << c.result_choice) - 1) << (4 - c.result_choice);
    const uint32_t to_bits = format_bits(c.to), total = c.elements * to_bits, words = (total + 31) / 32;
    uint32_t source[32][LANES], result[32][LANES], scale[LANES], random[LANES], splat[LANES];
    if (c.scale != NO_OPERAND || c.to.fraction_bits > 3) REQUIRE_GFX950(launch, insn);
    const bool odd_random = c.random != NO_OPERAND && insn->src[c.random].modifiers & (MODIFIER_NEG | MODIFIER_ABS);
    if (op_sel & ~(choices | results) || odd_random) return wrong_form(launch, insn);
    gather_source(wave, insn, c, source);
    if (c.scale != NO_OPERAND) memcpy(scale, raw_lanes(wave, &insn->src[c.scale], 0, splat), sizeof scale);
    if (c.random != NO_OPERAND) memcpy(random, raw_lanes(wave, &insn->src[c.random], 0, splat), sizeof random);
    memset(result, 0, words * sizeof *result);
    const uint32_t from_offset = c.source_choice ? (op_sel & choices) * (32u >> c.source_choice) : 0;
    const uint32_t to_offset = c.result_choice ? (op_sel >> (4 - c.result_choice)) * (32u >> c.result_choice) : 0;
    const uint32_t(*read)[LANES] = (const uint32_t(*)[LANES])source;
    const bool saturate = wave->mode & MODE_FP16_OVFL;
    const bool plain = c.elements == 2 && c.random == NO_OPERAND && is_unscaled(insn, c);
    if (plain && to_bits == 8) narrow_pair(c, read, saturate, to_offset, result[0]);
    else if (plain && format_bits(c.from) == 8) widen_pair(c, source[0], from_offset, result);
    else
        convert_lanes(c, read, from_offset, c.scale != NO_OPERAND ? scale : NULL,
                      c.random != NO_OPERAND ? random : NULL, saturate, to_offset, result);
    const uint32_t written = c.result_choice ? ((1u << total) - 1) << to_offset : UINT32_MAX;
    for (uint32_t word = 0; word < words; word++) store_lanes(wave, insn->dst.index + word, result[word], written);
    return STATUS_OK;
}

#define OF_ARCH_F32 FORMAT_F32
#define OF_ARCH_F16 FORMAT_F16
#define OF_ARCH_BF16 FORMAT_BF16
#define OF_ARCH_FP8 format_fp8(launch->arch)
#define OF_ARCH_BF8 format_bf8(launch->arch)
#define OF_ARCH_FP6 FORMAT_FP6
#define OF_ARCH_BF6 FORMAT_BF6
#define OF_ARCH_FP4 FORMAT_FP4
#define DEFINE_CONVERSION(NAME, FROM, TO, ...)                                                                         \
    Status cvt_##NAME(Launch *launch, Wave *wave, const Insn *insn) {                                                  \
        return convert(launch, wave, insn, (Conversion){OF_ARCH_##FROM, OF_ARCH_##TO, __VA_ARGS__});                   \
    }
PACKED_CONVERSIONS(DEFINE_CONVERSION)

/* ---- hot ones, written for lanes side by side --------------------------------------------------------------- */

FORMAT_INLINE uint32_t bf16_nearest(uint32_t bits) {
    const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return (bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded;
}

Status cvt_pk_bf16_f32(Launch *launch, Wave *wave, const Insn *insn) {
    uint32_t splat[2][LANES], changed[2][LANES], result[LANES];
    const uint32_t *half[2];
    REQUIRE_GFX950(launch, insn);
    if (insn->extra) return wrong_form(launch, insn);
    for (uint32_t i = 0; i < 2; i++)
        half[i] = with_modifiers(&insn->src[i], 32, raw_lanes(wave, &insn->src[i], 0, splat[i]), changed[i]);
    if (wave->mode & MODE_FP16_OVFL) {
        const Narrowing how = {ROUND_NEAREST_EVEN, 0, true};
        for (uint32_t lane = 0; lane < LANES; lane++)
            result[lane] = encode(half[0][lane], FORMAT_BF16, how) | encode(half[1][lane], FORMAT_BF16, how) << 16;
    } else {
        for (uint32_t lane = 0; lane < LANES; lane++)
            result[lane] = bf16_nearest(half[0][lane]) | bf16_nearest(half[1][lane]) << 16;
    }
    store_lanes(wave, insn->dst.index, result, UINT32_MAX);
    return STATUS_OK;
}

/* Rounds towards zero whatever MODE says, so that nothing finite overflows. */
Status cvt_pkrtz_f16_f32(Launch *launch, Wave *wave, const Insn *insn) {
    uint32_t splat[LANES], changed[LANES], result[LANES];
    const Narrowing how = {ROUND_ZERO, 0, wave->mode & MODE_FP16_OVFL};
    if (insn->extra) return wrong_form(launch, insn);
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t *from =
            with_modifiers(&insn->src[i], 32, raw_lanes(wave, &insn->src[i], 0, splat), changed);
        for (uint32_t lane = 0; lane < LANES; lane++)
            result[lane] = (i ? result[lane] : 0) | encode(from[lane], FORMAT_F16, how) << (16 * i);
    }
    store_lanes(wave, insn->dst.index, result, UINT32_MAX);
    return STATUS_OK;
}

/* fp8 or bf8 of byte 0, or of the byte or half that SDWA selects, to `elements` f32. */
FORMAT_INLINE Status widen(Launch *launch, Wave *wave, const Insn *insn, Format f, uint32_t elements) {
    const Operand *source = &insn->src[0];
    const uint32_t select = source->select;
    const bool known = elements == 1 ? select <= SELECT_BYTE3 || select >= SELECT_WORD0 : select >= SELECT_WORD0;
    if (!known || (elements == 1 && select == SELECT_WORD1) || source->modifiers || insn->dst.select != SELECT_DWORD)
        return cdna_unsupported(launch, insn, "SDWA select %u or modifiers of an fp8 source", select);
    const uint32_t shift = select <= SELECT_BYTE3 ? 8 * select : select == SELECT_WORD1 ? 16 : 0;
    uint32_t splat[LANES], result[2][LANES];
    const uint32_t *from = raw_lanes(wave, source, 0, splat);
    for (uint32_t i = 0; i < elements; i++)
        for (uint32_t lane = 0; lane < LANES; lane++)
            result[i][lane] = decode_bits(from[lane] >> (shift + 8 * i), f);
    for (uint32_t i = 0; i < elements; i++) store_lanes(wave, insn->dst.index + i, result[i], UINT32_MAX);
    return STATUS_OK;
}

#define DEFINE_WIDEN(NAME, FORMAT, ELEMENTS)                                                                           \
    Status NAME(Launch *launch, Wave *wave, const Insn *insn) {                                                        \
        return launch->arch == GFX942 ? widen(launch, wave, insn, FORMAT(GFX942), ELEMENTS)                            \
                                      : widen(launch, wave, insn, FORMAT(GFX950), ELEMENTS);                           \
    }
DEFINE_WIDEN(cvt_f32_fp8, format_fp8, 1)
DEFINE_WIDEN(cvt_f32_bf8, format_bf8, 1)
DEFINE_WIDEN(cvt_pk_f32_fp8, format_fp8, 2)
DEFINE_WIDEN(cvt_pk_f32_bf8, format_bf8, 2)
