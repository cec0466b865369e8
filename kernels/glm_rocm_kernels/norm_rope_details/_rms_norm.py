"""RMS norm of hidden states, with the residual before it and the FP8 quantisation after it."""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit
from glm_rocm_kernels.quant_details._quantize import largest_magnitude, scale_of, to_codes


@jit
def rms_norm(
    x,
    residual,
    weight,
    out,
    scales,
    sums,
    columns,
    x_row,
    residual_row,
    eps,
    LIMIT: tl.constexpr,
    MIN_SCALE: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Program t: row t, held whole. LIMIT: of the FP8 format that `out` has, or 0.

    Each value is rounded where the separate operations would round it, so that fusing them changes nothing: the sum
    with the residual, and the normed value before it is quantised.
    """
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDTH)
    valid = column < columns
    values = tl.load(x + row * x_row + column, mask=valid, other=0.0)
    rounding = values.dtype
    values = values.to(tl.float32)
    if residual is not None:
        values += tl.load(residual + row * residual_row + column, mask=valid, other=0.0).to(tl.float32)
        rounded = values.to(rounding)
        tl.store(sums + row * columns + column, rounded, mask=valid)
        values = rounded.to(tl.float32)
    factor = tl.rsqrt(tl.sum(values * values, 0) / columns + eps)
    normed = values * factor * tl.load(weight + column, mask=valid, other=0.0).to(tl.float32)
    if LIMIT > 0:
        normed = normed.to(rounding).to(tl.float32)
        scale = scale_of(largest_magnitude(normed[None, :], 1), LIMIT, MIN_SCALE)  # [1]
        tl.store(scales + row + tl.arange(0, 1), scale)
        codes = to_codes(
            tl.div_rn(normed[None, :], tl.broadcast_to(scale[:, None], (1, WIDTH))), LIMIT, out.dtype.element_ty
        )
        tl.store(out + row * columns + column[None, :], codes, mask=valid[None, :])
    else:
        tl.store(out + row * columns + column, normed.to(out.dtype.element_ty), mask=valid)
