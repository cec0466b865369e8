/* The number formats that conversions and the matrix unit read and write, as exact codecs.
 *
 * Reading is exact and branch-free, so that loops over lanes vectorise. Writing takes an exact value (sign, 24-bit
 * significand, exponent) and rounds it once. Sources: IEEE 754 (f16); OCP 8-bit Floating Point Specification and OCP
 * Microscaling Formats (fp8, bf8, fp6, bf6, fp4, e8m0); the FNUZ formats of gfx942: Noune et al., "8-bit Numerical
 * Formats for Deep Neural Networks" (arXiv 2206.02915). Overflow and MODE.FP16_OVFL: "AMD Instinct CDNA4 Instruction
 * Set Architecture", data conversion, in the reading of AMD's own emulator (ROCm/rocm-systems, rocjitsu, data_types.h).
 */
#ifndef FORMATS_H
#define FORMATS_H

#include "cdna.h"

#define FORMAT_INLINE static inline __attribute__((always_inline))
#define MODE_FP16_OVFL (1u << 23)
#define F32_QUIET_NAN 0x7FC00000u

typedef enum {
    SPECIALS_IEEE, /* largest exponent: infinity and NaN (f16, bf16, bf8 OCP) */
    SPECIALS_FN,   /* only all ones is NaN, no infinity (fp8 OCP) */
    SPECIALS_FNUZ, /* only the code of minus zero is NaN, no infinity */
    SPECIALS_NONE, /* every code is a number (fp6, bf6, fp4) */
} Specials;

typedef struct {
    uint8_t exponent_bits, fraction_bits;
    uint8_t bias;
    uint8_t specials; /* Specials */
} Format;

#define FORMAT_F32 ((Format){8, 23, 127, SPECIALS_IEEE})
#define FORMAT_F16 ((Format){5, 10, 15, SPECIALS_IEEE})
#define FORMAT_BF16 ((Format){8, 7, 127, SPECIALS_IEEE})
#define FORMAT_FP8 ((Format){4, 3, 7, SPECIALS_FN})
#define FORMAT_BF8 ((Format){5, 2, 15, SPECIALS_IEEE})
#define FORMAT_FP8_FNUZ ((Format){4, 3, 8, SPECIALS_FNUZ})
#define FORMAT_BF8_FNUZ ((Format){5, 2, 16, SPECIALS_FNUZ})
#define FORMAT_FP6 ((Format){2, 3, 1, SPECIALS_NONE})
#define FORMAT_BF6 ((Format){3, 2, 3, SPECIALS_NONE})
#define FORMAT_FP4 ((Format){2, 1, 1, SPECIALS_NONE})

/* fp8 and bf8 are FNUZ on gfx942, OCP on gfx950. */
FORMAT_INLINE Format format_fp8(Arch arch) { return arch == GFX942 ? FORMAT_FP8_FNUZ : FORMAT_FP8; }
FORMAT_INLINE Format format_bf8(Arch arch) { return arch == GFX942 ? FORMAT_BF8_FNUZ : FORMAT_BF8; }

FORMAT_INLINE uint32_t format_bits(Format f) { return 1u + f.exponent_bits + f.fraction_bits; }

FORMAT_INLINE float f32_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

FORMAT_INLINE uint32_t f32_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* 2^exponent as a double, for -1022 <= exponent <= 1023. */
FORMAT_INLINE double f64_power(int32_t exponent) {
    uint64_t bits = (uint64_t)(uint32_t)(exponent + 1023) << 52;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

/* Bits of the f32 with the value of `code`; exact. Bits of `code` above the format are ignored. A NaN keeps its sign
 * and its fraction and is made quiet; NaNs of formats with a single NaN are 0x7FC00000. */
FORMAT_INLINE uint32_t decode_bits(uint32_t code, Format f) {
    const uint32_t fraction_bits = f.fraction_bits, magnitude_bits = f.exponent_bits + fraction_bits;
    const uint32_t exponent_max = (1u << f.exponent_bits) - 1;
    const uint32_t sign = (code >> magnitude_bits & 1) << 31;
    const uint32_t magnitude = code & ((1u << magnitude_bits) - 1);
    const uint32_t exponent = magnitude >> fraction_bits, fraction = magnitude & ((1u << fraction_bits) - 1);
    const uint32_t normal = (magnitude << (23 - fraction_bits)) + ((127u - f.bias) << 23);
    const float unit = (float)f64_power(1 - f.bias - f.fraction_bits);
    const uint32_t subnormal = f32_to_bits((float)(int32_t)fraction * unit);
    uint32_t bits = sign | (exponent == 0 ? subnormal : normal);
    if (f.specials == SPECIALS_IEEE) {
        uint32_t quiet = fraction ? 0x7FC00000u | fraction << (23 - fraction_bits) : 0x7F800000u;
        bits = exponent == exponent_max ? sign | quiet : bits;
    } else if (f.specials == SPECIALS_FN) {
        bits = magnitude == (1u << magnitude_bits) - 1 ? sign | F32_QUIET_NAN : bits;
    } else if (f.specials == SPECIALS_FNUZ) {
        bits = sign && magnitude == 0 ? F32_QUIET_NAN : bits;
    }
    return bits;
}

FORMAT_INLINE float decode_f32(uint32_t code, Format f) { return f32_from_bits(decode_bits(code, f)); }

/* A power of two from 2^-127 on; 255 is NaN. */
FORMAT_INLINE double decode_e8m0(uint32_t code) {
    return (code & 255) == 255 ? (double)f32_from_bits(F32_QUIET_NAN) : f64_power((int32_t)(code & 255) - 127);
}

/* XF32 inputs keep 10 fraction bits. AMD does not publish how the matrix unit drops the others; here they are rounded
 * to the nearest, ties to even, as rocWMMA's xfloat32 type does. */
FORMAT_INLINE uint32_t round_to_xf32(uint32_t bits) {
    uint32_t rounded = (bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFFu;
    return (bits & 0x7F800000u) == 0x7F800000u ? bits : rounded;
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

typedef enum { /* the first four as in MODE.FP_ROUND */
    ROUND_NEAREST_EVEN,
    ROUND_UP,
    ROUND_DOWN,
    ROUND_ZERO,
    ROUND_STOCHASTIC,
} Rounding;

typedef struct {
    Rounding rounding;
    uint32_t random; /* ROUND_STOCHASTIC: its top bits are added to the bits that are dropped */
    bool saturate;   /* MODE.FP16_OVFL */
} Narrowing;

/* Subnormal numbers of f32 are normalised here: significand * 2^(exponent - 23), the significand in [2^23, 2^24). */
typedef struct {
    uint32_t significand; /* 0: the value is 0 */
    int32_t exponent;
} Unpacked;

FORMAT_INLINE Unpacked unpack_f32(uint32_t bits) {
    uint32_t fraction = bits & 0x7FFFFF;
    int32_t exponent = (int32_t)(bits >> 23 & 255);
    if (exponent) return (Unpacked){fraction | 0x800000, exponent - 127};
    if (!fraction) return (Unpacked){0, 0};
    int32_t shift = __builtin_clz(fraction) - 8;
    return (Unpacked){fraction << shift, -126 - shift};
}

/* The significand without its lowest `shift` bits (shift >= 0), rounded. */
FORMAT_INLINE uint32_t drop_bits(uint32_t significand, int32_t shift, bool negative, Narrowing how) {
    if (shift > 25) { /* below a quarter of the smallest number: all that counts is that it is not 0 */
        significand = significand != 0;
        shift = 25;
    }
    const uint32_t kept = significand >> shift, dropped = significand & ((1u << shift) - 1);
    switch (how.rounding) {
    case ROUND_NEAREST_EVEN: return (significand + (shift ? (1u << (shift - 1)) - 1 + (kept & 1) : 0)) >> shift;
    case ROUND_UP: return kept + (dropped && !negative);
    case ROUND_DOWN: return kept + (dropped && negative);
    case ROUND_STOCHASTIC: /* AMD's emulator gives 0 where not even the hidden bit is among the 24 random ones */
        return shift == 0 ? kept : shift > 24 ? 0 : kept + ((dropped + (how.random >> (32 - shift))) >> shift);
    default: return kept;
    }
}

FORMAT_INLINE uint32_t largest_code(Format f) {
    const uint32_t all = (1u << (f.exponent_bits + f.fraction_bits)) - 1;
    return f.specials == SPECIALS_IEEE ? all - (1u << f.fraction_bits) : f.specials == SPECIALS_FN ? all - 1 : all;
}

/* What stands for "too large": infinity where there is one, else NaN, else the largest number. */
FORMAT_INLINE uint32_t overflow_code(Format f, uint32_t sign) {
    if (f.specials == SPECIALS_NONE) return sign | largest_code(f);
    return f.specials == SPECIALS_FNUZ ? 1u << (f.exponent_bits + f.fraction_bits) : sign | (largest_code(f) + 1);
}

/* 8-bit formats have one NaN here (all ones); 16-bit ones keep the upper fraction bits and are made quiet. Formats
 * without NaN take the largest number of its sign: no public document says what the card does. */
FORMAT_INLINE uint32_t nan_code(Format f, uint32_t sign, uint32_t bits) {
    const uint32_t magnitude_bits = f.exponent_bits + f.fraction_bits;
    if (f.specials == SPECIALS_FNUZ) return 1u << magnitude_bits;
    if (magnitude_bits < 15) return sign | ((1u << magnitude_bits) - 1);
    return sign | (largest_code(f) + 1) | 1u << (f.fraction_bits - 1) | (bits & 0x7FFFFF) >> (23 - f.fraction_bits);
}

/* Code of the f32 with these bits times 2^scale, rounded once. */
FORMAT_INLINE uint32_t encode_scaled(uint32_t bits, int32_t scale, Format f, Narrowing how) {
    const uint32_t magnitude_bits = f.exponent_bits + f.fraction_bits;
    const bool negative = bits >> 31;
    const uint32_t sign = (uint32_t)negative << magnitude_bits;
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return nan_code(f, sign, bits);
    const bool eight = magnitude_bits < 8; /* formats of 16 bits keep a true infinity even when they saturate */
    if ((bits & 0x7FFFFFFF) == 0x7F800000)
        return how.saturate && eight ? sign | largest_code(f) : overflow_code(f, sign);
    Unpacked x = unpack_f32(bits);
    const int32_t smallest = 1 - f.bias; /* exponent of the smallest normal number */
    x.exponent += scale;
    const int32_t exponent = x.exponent > smallest ? x.exponent : smallest;
    const int32_t shift = 23 - f.fraction_bits + exponent - x.exponent;
    const uint32_t whole = x.significand ? drop_bits(x.significand, shift, negative, how) : 0;
    /* The hidden bit of `whole` carries into the exponent field by itself. */
    const uint64_t code = ((uint64_t)(uint32_t)(x.significand ? exponent - smallest : 0) << f.fraction_bits) + whole;
    if (code > largest_code(f)) {
        const bool towards_zero = how.rounding == ROUND_ZERO || how.rounding == (negative ? ROUND_UP : ROUND_DOWN);
        return how.saturate || towards_zero ? sign | largest_code(f) : overflow_code(f, sign);
    }
    if (code == 0 && f.specials == SPECIALS_FNUZ) return 0; /* there is no minus zero */
    return sign | (uint32_t)code;
}

/* The same to nearest even, for 8-bit formats, without branches: for loops over lanes. */
FORMAT_INLINE uint32_t encode_nearest8(uint32_t bits, Format f, bool saturate) {
    const uint32_t sign = bits >> 31 << 7, magnitude = bits & 0x7FFFFFFF, dropped = 23u - f.fraction_bits;
    const uint32_t shift_of_bias = (127u - f.bias) << f.fraction_bits;
    const uint32_t rounded = magnitude + (1u << (dropped - 1)) - 1 + (magnitude >> dropped & 1);
    const uint32_t normal = (rounded >> dropped) - shift_of_bias;
    /* A number whose last bit has the weight of the format's least one: the sum is rounded there. */
    const uint32_t least = (uint32_t)(127 + 1 - f.bias - f.fraction_bits + 23) << 23;
    const uint32_t subnormal = f32_to_bits(f32_from_bits(magnitude) + f32_from_bits(least)) - least;
    const uint32_t code = magnitude < (128u - f.bias) << 23 ? subnormal : normal;
    const uint32_t end = saturate ? sign | largest_code(f) : overflow_code(f, sign);
    const uint32_t zero_sign = f.specials == SPECIALS_FNUZ && code == 0 ? 0 : sign;
    const uint32_t number = code > largest_code(f) || magnitude == 0x7F800000 ? end : zero_sign | code;
    return magnitude > 0x7F800000 ? nan_code(f, sign, bits) : number;
}

FORMAT_INLINE uint32_t encode(uint32_t bits, Format f, Narrowing how) { return encode_scaled(bits, 0, f, how); }

#endif
