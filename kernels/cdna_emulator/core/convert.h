/* The conversions whose sources and result are packed in registers: VOP3 only, and the reads of fp8 and bf8. Each is
 * one row here; convert_packed.c defines them, convert.c lists them. */
#ifndef CONVERT_H
#define CONVERT_H

#include "formats.h"

enum { NO_OPERAND = 255 };

#define REQUIRE_GFX950(launch, insn)                                                                                   \
    if ((launch)->arch != GFX950) return cdna_unsupported(launch, insn, "gfx942 has no such conversion")

typedef enum { FROM_ONE, FROM_TWO } Sources; /* FROM_TWO: elements come in turn from src0 and src1, 32 bits each */

/* name, formats from and to, elements, sources, index of the scale operand, of the random operand, op_sel bits that
 * choose the place in the source and in the destination. A choice of n bits counts in units of 32 >> n bits.
 * Source: pseudocode of the instructions in "AMD Instinct CDNA4 Instruction Set Architecture". */
#define PACKED_CONVERSIONS(X)                                                                                          \
    X(pk_f16_f32, F32, F16, 2, FROM_TWO, NO_OPERAND, NO_OPERAND, 0, 0)                                                 \
    X(pk_fp8_f32, F32, FP8, 2, FROM_TWO, NO_OPERAND, NO_OPERAND, 0, 1)                                                 \
    X(pk_bf8_f32, F32, BF8, 2, FROM_TWO, NO_OPERAND, NO_OPERAND, 0, 1)                                                 \
    X(sr_fp8_f32, F32, FP8, 1, FROM_ONE, NO_OPERAND, 1, 0, 2)                                                          \
    X(sr_bf8_f32, F32, BF8, 1, FROM_ONE, NO_OPERAND, 1, 0, 2)                                                          \
    X(sr_f16_f32, F32, F16, 1, FROM_ONE, NO_OPERAND, 1, 0, 1)                                                          \
    X(sr_bf16_f32, F32, BF16, 1, FROM_ONE, NO_OPERAND, 1, 0, 1)                                                        \
    X(scalef32_pk_fp8_f32, F32, FP8, 2, FROM_TWO, 2, NO_OPERAND, 0, 1)                                                 \
    X(scalef32_pk_bf8_f32, F32, BF8, 2, FROM_TWO, 2, NO_OPERAND, 0, 1)                                                 \
    X(scalef32_pk_fp4_f32, F32, FP4, 2, FROM_TWO, 2, NO_OPERAND, 0, 2)                                                 \
    X(scalef32_pk_fp8_f16, F16, FP8, 2, FROM_ONE, 1, NO_OPERAND, 0, 1)                                                 \
    X(scalef32_pk_bf8_f16, F16, BF8, 2, FROM_ONE, 1, NO_OPERAND, 0, 1)                                                 \
    X(scalef32_pk_fp4_f16, F16, FP4, 2, FROM_ONE, 1, NO_OPERAND, 0, 2)                                                 \
    X(scalef32_pk_fp8_bf16, BF16, FP8, 2, FROM_ONE, 1, NO_OPERAND, 0, 1)                                               \
    X(scalef32_pk_bf8_bf16, BF16, BF8, 2, FROM_ONE, 1, NO_OPERAND, 0, 1)                                               \
    X(scalef32_pk_fp4_bf16, BF16, FP4, 2, FROM_ONE, 1, NO_OPERAND, 0, 2)                                               \
    X(scalef32_sr_fp8_f32, F32, FP8, 1, FROM_ONE, 2, 1, 0, 2)                                                          \
    X(scalef32_sr_bf8_f32, F32, BF8, 1, FROM_ONE, 2, 1, 0, 2)                                                          \
    X(scalef32_sr_fp8_f16, F16, FP8, 1, FROM_ONE, 2, 1, 0, 2)                                                          \
    X(scalef32_sr_bf8_f16, F16, BF8, 1, FROM_ONE, 2, 1, 0, 2)                                                          \
    X(scalef32_sr_fp8_bf16, BF16, FP8, 1, FROM_ONE, 2, 1, 0, 2)                                                        \
    X(scalef32_sr_bf8_bf16, BF16, BF8, 1, FROM_ONE, 2, 1, 0, 2)                                                        \
    X(scalef32_sr_pk_fp4_f32, F32, FP4, 2, FROM_ONE, 2, 1, 0, 2)                                                       \
    X(scalef32_sr_pk_fp4_f16, F16, FP4, 2, FROM_ONE, 2, 1, 0, 2)                                                       \
    X(scalef32_sr_pk_fp4_bf16, BF16, FP4, 2, FROM_ONE, 2, 1, 0, 2)                                                     \
    X(scalef32_pk_f32_fp8, FP8, F32, 2, FROM_ONE, 1, NO_OPERAND, 1, 0)                                                 \
    X(scalef32_pk_f32_bf8, BF8, F32, 2, FROM_ONE, 1, NO_OPERAND, 1, 0)                                                 \
    X(scalef32_pk_f32_fp4, FP4, F32, 2, FROM_ONE, 1, NO_OPERAND, 2, 0)                                                 \
    X(scalef32_pk_f16_fp8, FP8, F16, 2, FROM_ONE, 1, NO_OPERAND, 1, 0)                                                 \
    X(scalef32_pk_f16_bf8, BF8, F16, 2, FROM_ONE, 1, NO_OPERAND, 1, 0)                                                 \
    X(scalef32_pk_f16_fp4, FP4, F16, 2, FROM_ONE, 1, NO_OPERAND, 2, 0)                                                 \
    X(scalef32_pk_bf16_fp8, FP8, BF16, 2, FROM_ONE, 1, NO_OPERAND, 1, 0)                                               \
    X(scalef32_pk_bf16_bf8, BF8, BF16, 2, FROM_ONE, 1, NO_OPERAND, 1, 0)                                               \
    X(scalef32_pk_bf16_fp4, FP4, BF16, 2, FROM_ONE, 1, NO_OPERAND, 2, 0)                                               \
    X(scalef32_f32_fp8, FP8, F32, 1, FROM_ONE, 1, NO_OPERAND, 2, 0)                                                    \
    X(scalef32_f32_bf8, BF8, F32, 1, FROM_ONE, 1, NO_OPERAND, 2, 0)                                                    \
    X(scalef32_f16_fp8, FP8, F16, 1, FROM_ONE, 1, NO_OPERAND, 2, 1)                                                    \
    X(scalef32_f16_bf8, BF8, F16, 1, FROM_ONE, 1, NO_OPERAND, 2, 1)                                                    \
    X(scalef32_2xpk16_fp6_f32, F32, FP6, 32, FROM_TWO, 2, NO_OPERAND, 0, 0)                                            \
    X(scalef32_2xpk16_bf6_f32, F32, BF6, 32, FROM_TWO, 2, NO_OPERAND, 0, 0)                                            \
    X(scalef32_pk32_fp6_f16, F16, FP6, 32, FROM_ONE, 1, NO_OPERAND, 0, 0)                                              \
    X(scalef32_pk32_bf6_f16, F16, BF6, 32, FROM_ONE, 1, NO_OPERAND, 0, 0)                                              \
    X(scalef32_pk32_fp6_bf16, BF16, FP6, 32, FROM_ONE, 1, NO_OPERAND, 0, 0)                                            \
    X(scalef32_pk32_bf6_bf16, BF16, BF6, 32, FROM_ONE, 1, NO_OPERAND, 0, 0)                                            \
    X(scalef32_sr_pk32_fp6_f32, F32, FP6, 32, FROM_ONE, 2, 1, 0, 0)                                                    \
    X(scalef32_sr_pk32_bf6_f32, F32, BF6, 32, FROM_ONE, 2, 1, 0, 0)                                                    \
    X(scalef32_sr_pk32_fp6_f16, F16, FP6, 32, FROM_ONE, 2, 1, 0, 0)                                                    \
    X(scalef32_sr_pk32_bf6_f16, F16, BF6, 32, FROM_ONE, 2, 1, 0, 0)                                                    \
    X(scalef32_sr_pk32_fp6_bf16, BF16, FP6, 32, FROM_ONE, 2, 1, 0, 0)                                                  \
    X(scalef32_sr_pk32_bf6_bf16, BF16, BF6, 32, FROM_ONE, 2, 1, 0, 0)                                                  \
    X(scalef32_pk32_f32_fp6, FP6, F32, 32, FROM_ONE, 1, NO_OPERAND, 0, 0)                                              \
    X(scalef32_pk32_f32_bf6, BF6, F32, 32, FROM_ONE, 1, NO_OPERAND, 0, 0)                                              \
    X(scalef32_pk32_f16_fp6, FP6, F16, 32, FROM_ONE, 1, NO_OPERAND, 0, 0)                                              \
    X(scalef32_pk32_f16_bf6, BF6, F16, 32, FROM_ONE, 1, NO_OPERAND, 0, 0)                                              \
    X(scalef32_pk32_bf16_fp6, FP6, BF16, 32, FROM_ONE, 1, NO_OPERAND, 0, 0)                                            \
    X(scalef32_pk32_bf16_bf6, BF6, BF16, 32, FROM_ONE, 1, NO_OPERAND, 0, 0)

#define DECLARE_CONVERSION(NAME, ...) Status cvt_##NAME(Launch *launch, Wave *wave, const Insn *insn);
PACKED_CONVERSIONS(DECLARE_CONVERSION)

/* fp8 and bf8 to f32, a byte or a 16-bit pair that SDWA selects; f32 pairs to bf16 and, truncated, to f16. */
Status cvt_f32_fp8(Launch *launch, Wave *wave, const Insn *insn);
Status cvt_f32_bf8(Launch *launch, Wave *wave, const Insn *insn);
Status cvt_pk_f32_fp8(Launch *launch, Wave *wave, const Insn *insn);
Status cvt_pk_f32_bf8(Launch *launch, Wave *wave, const Insn *insn);
Status cvt_pk_bf16_f32(Launch *launch, Wave *wave, const Insn *insn);
Status cvt_pkrtz_f16_f32(Launch *launch, Wave *wave, const Insn *insn);

#endif
