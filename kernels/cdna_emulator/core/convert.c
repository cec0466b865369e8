/* v_cvt_*: the conversions of one number a lane, and the table of all of them.
 *
 * To integers: towards zero, out of range takes the nearest end, NaN is 0. To floats: to nearest even; f16 results
 * follow MODE.FP_ROUND. MODE.FP16_OVFL turns a finite overflow of f16 into its largest number. Source: pseudocode and
 * MODE register of "AMD Instinct MI300" and "CDNA4 Instruction Set Architecture".
 */
#include "convert.h"

#include "half.h"

typedef enum { TO_LARGEST = 0x7BFF, TO_INFINITY = 0x7C00 } HalfEnd;

/* ---- to integers: the value is brought into range first, where C defines the conversion --------------------- */

VECTOR_INLINE uint32_t f32_to_i32(float x) {
    const bool fits = x > -2147483648.0f && x < 2147483648.0f;
    const uint32_t end = x >= 2147483648.0f ? 0x7FFFFFFF : x == x ? 0x80000000 : 0;
    return fits ? (uint32_t)(int32_t)(fits ? x : 0) : end;
}

VECTOR_INLINE uint32_t f32_to_u32(float x) {
    const bool fits = x > 0 && x < 4294967296.0f, upper = x >= 2147483648.0f;
    const float low = fits ? (upper ? x - 2147483648.0f : x) : 0;
    const uint32_t whole = (uint32_t)(int32_t)low + (upper ? 0x80000000 : 0);
    return fits ? whole : x >= 4294967296.0f ? UINT32_MAX : 0;
}

VECTOR_INLINE uint32_t f64_to_i32(double x) {
    if (!(x > -2147483649.0)) return x == x ? 0x80000000 : 0;
    return x < 2147483648.0 ? (uint32_t)(int32_t)x : 0x7FFFFFFF;
}

VECTOR_INLINE uint32_t f64_to_u32(double x) {
    if (!(x > 0)) return 0;
    return x < 4294967296.0 ? (uint32_t)(int64_t)x : UINT32_MAX;
}

VECTOR_INLINE uint32_t half_to_u16(float x) { return x > 0 ? (uint32_t)(int32_t)(x < 65535 ? x : 65535) : 0; }

VECTOR_INLINE uint32_t half_to_i16(float x) {
    const float low = x > -32768 ? x : -32768, bounded = low < 32767 ? low : 32767;
    return x == x ? (uint32_t)(int32_t)bounded & 0xFFFF : 0;
}

VECTOR_INLINE uint32_t bounded_u16(uint32_t x) { return x < 0xFFFF ? x : 0xFFFF; }

VECTOR_INLINE uint32_t bounded_i16(uint32_t x) {
    const int32_t value = (int32_t)x, low = value > -32768 ? value : -32768;
    return (uint32_t)(low < 32767 ? low : 32767) & 0xFFFF;
}

/* ---- to floats ---------------------------------------------------------------------------------------------- */

VECTOR_INLINE float quiet(float x) { return x == x ? x : as_f32(as_u32(x) | 0x00400000); }

/* A 4-bit integer as sixteenths. */
VECTOR_INLINE float sixteenths(uint32_t x) { return (float)((int32_t)(x << 28) >> 28) * 0.0625f; }

VECTOR_INLINE uint32_t overflowed(uint32_t half, float from, HalfEnd end) {
    const bool too_large = (half & 0x7FFF) == 0x7C00 && __builtin_fabsf(from) < __builtin_inff();
    return too_large ? (half & 0x8000) | (uint32_t)end : half;
}

VECTOR_INLINE HalfEnd half_end(const Wave *wave) { return wave->mode & MODE_FP16_OVFL ? TO_LARGEST : TO_INFINITY; }

static Status cvt_f16_f32(Launch *launch, Wave *wave, const Insn *insn) {
    (void)launch;
    uint32_t buffer[LANES], half[LANES];
    const uint32_t *from = source_f32(wave, insn, 0, buffer);
    const Narrowing how = {(Rounding)(wave->mode >> 2 & 3), 0, wave->mode & MODE_FP16_OVFL};
    if (how.rounding == ROUND_NEAREST_EVEN) {
        const HalfEnd end = half_end(wave);
        FOR_LANES(i) half[i] = overflowed(f32_to_half(as_f32(from[i])), as_f32(from[i]), end);
    } else {
        for (uint32_t i = 0; i < LANES; i++) half[i] = encode(from[i], FORMAT_F16, how);
    }
    put_f16(wave, insn, half, HALF_ZEROES);
    return STATUS_OK;
}

/* ---- one line an operation ---------------------------------------------------------------------------------- */

#define OPERATION(NAME) static Status NAME(Launch *launch, Wave *wave, const Insn *insn)

/* x: bits of the source as READ gives them; the result is a float, an f64 or an integer. */
#define TO_F32(NAME, READ, VALUE)                                                                                      \
    OPERATION(NAME) {                                                                                                  \
        uint32_t buffer[LANES], made[LANES];                                                                           \
        REQUIRE_NEAREST(launch, wave, insn, MODE_ROUND_F32);                                                           \
        const uint32_t *from = READ(wave, insn, 0, buffer);                                                            \
        uint32_t *to = result_f32(wave, insn, made);                                                                   \
        FOR_LANES(i) {                                                                                                 \
            const uint32_t x = from[i];                                                                                \
            to[i] = as_u32(VALUE);                                                                                     \
        }                                                                                                              \
        return write_f32(wave, insn, to);                                                                              \
    }
TO_F32(cvt_f32_i32, source32, (float)(int32_t)x)
TO_F32(cvt_f32_u32, source32, (float)x)
TO_F32(cvt_f32_ubyte0, source32, (float)(int32_t)(x & 255))
TO_F32(cvt_f32_ubyte1, source32, (float)(int32_t)(x >> 8 & 255))
TO_F32(cvt_f32_ubyte2, source32, (float)(int32_t)(x >> 16 & 255))
TO_F32(cvt_f32_ubyte3, source32, (float)(int32_t)(x >> 24))
TO_F32(cvt_off_f32_i4, source32, sixteenths(x))
TO_F32(cvt_f32_f16, source_f16, quiet(half_to_f32(x)))

#define TO_I32(NAME, READ, VALUE)                                                                                      \
    OPERATION(NAME) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t buffer[LANES], made[LANES];                                                                           \
        const uint32_t *from = READ(wave, insn, 0, buffer);                                                            \
        uint32_t *to = result32(wave, insn, made);                                                                     \
        FOR_LANES(i) {                                                                                                 \
            const float x = as_f32(from[i]);                                                                           \
            to[i] = VALUE;                                                                                             \
        }                                                                                                              \
        return write32(wave, insn, to);                                                                                \
    }
TO_I32(cvt_i32_f32, source_f32, f32_to_i32(x))
TO_I32(cvt_u32_f32, source_f32, f32_to_u32(x))
TO_I32(cvt_rpi_i32_f32, source_f32, f32_to_i32(__builtin_floorf(x + 0.5f)))
TO_I32(cvt_flr_i32_f32, source_f32, f32_to_i32(__builtin_floorf(x)))

/* 16 bits to 16 bits. */
#define TO_16(NAME, READ, PUT, VALUE)                                                                                  \
    OPERATION(NAME) {                                                                                                  \
        uint32_t buffer[LANES], made[LANES];                                                                           \
        REQUIRE_NEAREST(launch, wave, insn, MODE_ROUND_F16_F64);                                                       \
        const HalfEnd end = half_end(wave);                                                                            \
        (void)end;                                                                                                     \
        const uint32_t *from = READ(wave, insn, 0, buffer);                                                            \
        FOR_LANES(i) {                                                                                                 \
            const uint32_t x = from[i] & 0xFFFF;                                                                       \
            made[i] = VALUE;                                                                                           \
        }                                                                                                              \
        PUT(wave, insn, made, HALF_ZEROES);                                                                            \
        return STATUS_OK;                                                                                              \
    }
TO_16(cvt_u16_f16, source_f16, put16, half_to_u16(half_to_f32(x)))
TO_16(cvt_i16_f16, source_f16, put16, half_to_i16(half_to_f32(x)))
TO_16(cvt_f16_u16, source16, put_f16, overflowed(f32_to_half((float)(int32_t)x), (float)(int32_t)x, end))
TO_16(cvt_f16_i16, source16, put_f16, f32_to_half((float)(int16_t)x))

#define FROM_F64(NAME, ROUND, RESULT, WRITE, VALUE)                                                                    \
    OPERATION(NAME) {                                                                                                  \
        uint32_t buffer[2][LANES], made[LANES];                                                                        \
        REQUIRE_NEAREST(launch, wave, insn, ROUND);                                                                    \
        const Pair from = source_f64(wave, insn, 0, buffer);                                                           \
        uint32_t *to = RESULT(wave, insn, made);                                                                       \
        FOR_LANES(i) {                                                                                                 \
            const double x = as_f64(join(from.low[i], from.high[i]));                                                  \
            to[i] = VALUE;                                                                                             \
        }                                                                                                              \
        return WRITE(wave, insn, to);                                                                                  \
    }
FROM_F64(cvt_f32_f64, MODE_ROUND_F32, result_f32, write_f32, as_u32((float)x))
FROM_F64(cvt_i32_f64, 0, result32, write32, f64_to_i32(x))
FROM_F64(cvt_u32_f64, 0, result32, write32, f64_to_u32(x))

#define TO_F64(NAME, READ, VALUE)                                                                                      \
    OPERATION(NAME) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t buffer[LANES], made[2][LANES];                                                                        \
        const uint32_t *from = READ(wave, insn, 0, buffer);                                                            \
        FOR_LANES(i) {                                                                                                 \
            const uint32_t x = from[i];                                                                                \
            const uint64_t bits = as_u64(VALUE);                                                                       \
            made[0][i] = (uint32_t)bits;                                                                               \
            made[1][i] = (uint32_t)(bits >> 32);                                                                       \
        }                                                                                                              \
        return write_f64(wave, insn, made[0], made[1]);                                                                \
    }
TO_F64(cvt_f64_i32, source32, (double)(int32_t)x)
TO_F64(cvt_f64_u32, source32, (double)x)
TO_F64(cvt_f64_f32, source_f32, (double)as_f32(x))

#define TO_PAIR_OF_16(NAME, VALUE)                                                                                     \
    OPERATION(NAME) {                                                                                                  \
        (void)launch;                                                                                                  \
        uint32_t buffer[2][LANES], made[LANES];                                                                        \
        const uint32_t *low = source32(wave, insn, 0, buffer[0]), *high = source32(wave, insn, 1, buffer[1]);          \
        uint32_t *to = result32(wave, insn, made);                                                                     \
        FOR_LANES(i) to[i] = VALUE(low[i]) | VALUE(high[i]) << 16;                                                     \
        return write32(wave, insn, to);                                                                                \
    }
TO_PAIR_OF_16(cvt_pk_u16_u32, bounded_u16)
TO_PAIR_OF_16(cvt_pk_i16_i32, bounded_i16)

/* neg and abs act on the sign, which the widening keeps. */
OPERATION(cvt_f32_bf16) {
    REQUIRE_GFX950(launch, insn);
    uint32_t buffer[LANES], made[LANES];
    const uint32_t *from = source16(wave, insn, 0, buffer), modifiers = insn->src[0].modifiers;
    const uint32_t keep = modifiers & MODIFIER_ABS ? 0x7FFFFFFF : ~0u, flip = modifiers & MODIFIER_NEG ? 0x80000000 : 0;
    uint32_t *to = result_f32(wave, insn, made);
    FOR_LANES(i) to[i] = as_u32(quiet(as_f32((from[i] << 16 & keep) ^ flip)));
    return write_f32(wave, insn, to);
}

/* ---- table -------------------------------------------------------------------------------------------------- */

enum {
    FLOAT_RESULT = ALLOWS_CLAMP | ALLOWS_OMOD,
    FLOAT_SOURCE = ALLOWS_NEG_ABS,
    MOVED = ALLOWS_DPP | ALLOWS_SDWA,
};

#define ENTRY(NAME, ALLOWS) {"v_" #NAME, NAME, CLASS_VALU, ALLOWS},
#define ENTRY_PACKED(NAME, FROM, TO, ELEMENTS, SOURCES, SCALE, RANDOM, SOURCE_CHOICE, RESULT_CHOICE)                   \
    {"v_cvt_" #NAME, cvt_##NAME, CLASS_VALU,                                                                           \
     ALLOWS_OPSEL |                                                                                                    \
         (NARROWS_##FROM && (ELEMENTS == 1 || (SOURCES == FROM_TWO && ELEMENTS == 2)) ? ALLOWS_NEG_ABS : 0)},
/* neg and abs are clear where each element is an operand of its own, in a format with modifiers */
enum {
    NARROWS_F32 = 1,
    NARROWS_F16 = 1,
    NARROWS_BF16 = 1,
    NARROWS_FP8 = 0,
    NARROWS_BF8 = 0,
    NARROWS_FP6 = 0,
    NARROWS_BF6 = 0,
    NARROWS_FP4 = 0,
};

const OperationEntry CONVERT_OPERATIONS[] = {
    ENTRY(cvt_f32_i32, FLOAT_RESULT | MOVED)
    ENTRY(cvt_f32_u32, FLOAT_RESULT | MOVED)
    ENTRY(cvt_f32_ubyte0, FLOAT_RESULT | MOVED)
    ENTRY(cvt_f32_ubyte1, FLOAT_RESULT | MOVED)
    ENTRY(cvt_f32_ubyte2, FLOAT_RESULT | MOVED)
    ENTRY(cvt_f32_ubyte3, FLOAT_RESULT | MOVED)
    ENTRY(cvt_off_f32_i4, FLOAT_RESULT | MOVED)
    ENTRY(cvt_f32_f16, FLOAT_SOURCE | FLOAT_RESULT | MOVED)
    ENTRY(cvt_f32_bf16, FLOAT_SOURCE | FLOAT_RESULT | MOVED)
    ENTRY(cvt_f32_f64, FLOAT_SOURCE | FLOAT_RESULT)
    ENTRY(cvt_i32_f32, FLOAT_SOURCE | MOVED)
    ENTRY(cvt_u32_f32, FLOAT_SOURCE | MOVED)
    ENTRY(cvt_rpi_i32_f32, FLOAT_SOURCE | MOVED)
    ENTRY(cvt_flr_i32_f32, FLOAT_SOURCE | MOVED)
    ENTRY(cvt_i32_f64, FLOAT_SOURCE)
    ENTRY(cvt_u32_f64, FLOAT_SOURCE)
    ENTRY(cvt_f16_f32, FLOAT_SOURCE | FLOAT_RESULT | MOVED)
    ENTRY(cvt_f16_u16, FLOAT_RESULT | MOVED)
    ENTRY(cvt_f16_i16, FLOAT_RESULT | MOVED)
    ENTRY(cvt_u16_f16, FLOAT_SOURCE | MOVED)
    ENTRY(cvt_i16_f16, FLOAT_SOURCE | MOVED)
    ENTRY(cvt_f64_i32, FLOAT_RESULT)
    ENTRY(cvt_f64_u32, FLOAT_RESULT)
    ENTRY(cvt_f64_f32, FLOAT_SOURCE | FLOAT_RESULT)
    ENTRY(cvt_pk_u16_u32, 0)
    ENTRY(cvt_pk_i16_i32, 0)
    ENTRY(cvt_pk_bf16_f32, FLOAT_SOURCE)
    ENTRY(cvt_pkrtz_f16_f32, FLOAT_SOURCE)
    ENTRY(cvt_f32_fp8, ALLOWS_SDWA)
    ENTRY(cvt_f32_bf8, ALLOWS_SDWA)
    ENTRY(cvt_pk_f32_fp8, ALLOWS_SDWA)
    ENTRY(cvt_pk_f32_bf8, ALLOWS_SDWA)
    PACKED_CONVERSIONS(ENTRY_PACKED)
    {NULL},
};
