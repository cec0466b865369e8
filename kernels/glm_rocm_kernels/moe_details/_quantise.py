"""FP8 quantisation of rows, as `numerics.quantize_rows` defines it."""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit

MIN_SCALE = tl.constexpr(2.0**-40)


@jit
def row_scale(x, axis: tl.constexpr, LIMIT: tl.constexpr):
    """max|x| / LIMIT along an axis of fp32 `x`, at least MIN_SCALE; NaN where the row holds a NaN or Inf.

    The hardware's maximum skips NaN; a row with one must not come out as finite numbers.
    """
    size = tl.abs(x)
    largest = tl.max(size, axis)
    spoiled = tl.max(tl.where(size <= 3.4028234e38, 0, 1), axis)
    scale = tl.maximum(tl.div_rn(largest, LIMIT), MIN_SCALE)
    return tl.where(spoiled > 0, float("nan"), scale)


@jit
def codes_of(x, scale, LIMIT: tl.constexpr, dtype: tl.constexpr):
    """`x / scale` within +-LIMIT, as FP8. Clamped first: what a cast makes of larger values differs by hardware."""
    return tl.clamp(tl.div_rn(x, scale), -LIMIT, LIMIT).to(dtype)
