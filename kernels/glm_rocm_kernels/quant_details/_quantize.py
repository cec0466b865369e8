"""One scale per row or group of a row, and the codes."""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit


@jit
def largest_magnitude(x, AXIS: tl.constexpr):
    """max|x| of fp32 along an axis; NaN where there is one.

    Magnitudes are ordered as their bit patterns are, with infinity and then NaN on top: an integer maximum keeps a NaN,
    which a float one drops.
    """
    bits = x.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    return tl.max(bits, AXIS).to(tl.float32, bitcast=True)


@jit
def to_codes(x, LIMIT: tl.constexpr, DTYPE: tl.constexpr):
    """fp32 to FP8, saturated: beyond the range cards differ, so nothing beyond it is cast. NaN stays NaN."""
    return tl.where(x == x, tl.clamp(x, -LIMIT, LIMIT), x).to(DTYPE)


@jit
def scale_of(largest, LIMIT: tl.constexpr, MIN_SCALE: tl.constexpr):
    """max|x| / LIMIT, never below MIN_SCALE; NaN stays NaN."""
    scale = tl.div_rn(largest, tl.full(largest.shape, LIMIT, tl.float32))
    return tl.where(scale < MIN_SCALE, MIN_SCALE, scale)


@jit
def quantize(
    x,
    codes,
    scales,
    columns,
    group,
    x_row,
    x_column,
    LIMIT: tl.constexpr,
    MIN_SCALE: tl.constexpr,
    GROUPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Program (t, g): groups g * GROUPS to (g + 1) * GROUPS of row t; WIDTH is group or more, a power of two."""
    row = tl.program_id(0).to(tl.int64)
    groups = tl.cdiv(columns, group)
    index = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)  # [GROUPS]
    inner = tl.arange(0, WIDTH)
    column = index[:, None] * group + inner[None, :]  # [GROUPS, WIDTH]
    valid = (inner[None, :] < group) & (column < columns)
    values = tl.load(x + row * x_row + column * x_column, mask=valid, other=0.0).to(tl.float32)
    scale = scale_of(largest_magnitude(values, 1), LIMIT, MIN_SCALE)  # [GROUPS]
    quantized = to_codes(
        tl.div_rn(values, tl.broadcast_to(scale[:, None], values.shape)), LIMIT, codes.dtype.element_ty
    )
    tl.store(codes + row * columns + column, quantized, mask=valid)
    tl.store(scales + row * groups + index, scale, mask=index < groups)


@jit
def convert_to_fnuz(source, target, count, BLOCK: tl.constexpr):
    """Bit patterns of e4m3fn to those of e4m3fnuz that are worth half: -0 to 0, NaN to NaN, the rest as they are."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    bits = tl.load(source + at, mask=at < count, other=0)
    patched = tl.where(bits == 0x80, 0, tl.where((bits & 0x7F) == 0x7F, 0x80, bits))
    tl.store(target + at, patched.to(tl.uint8), mask=at < count)
