"""A linear layer as its definition, and what quantisation means to one. Signatures: `glm_rocm.ops.linear`."""

from __future__ import annotations

import torch
from torch import Tensor

from glm_rocm.errors import UsageError
from glm_rocm.numerics import dequantize, expand_blocks
from glm_rocm.reference.quant import quantize_per_token, quantize_token_groups

BLOCK = (128, 128)
"""Rows and columns of a weight block, and the width of an activation group, in block quantisation."""


def linear(
    x: Tensor,
    w: Tensor,
    *,
    w_scale: Tensor | None = None,
    bias: Tensor | None = None,
    quant: str = "none",
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """See `glm_rocm.ops.linear.Linear`; the result is fp32 unless `out_dtype` is given."""
    y = fake_quantize(x, w.dtype, quant) @ dequantize_weight(w, w_scale, quant).T
    if bias is not None:
        y = y + bias.float()
    return y.to(out_dtype or torch.float32)


def fake_quantize(x: Tensor, dtype: torch.dtype, quant: str) -> Tensor:
    """The activations as an FP8 product sees them: quantised to `dtype` by the scheme and back, `[T, K]` fp32."""
    if quant == "none":
        return x.float()
    if quant == "channel_token":
        return dequantize(*quantize_per_token(x, dtype))
    if quant == "block":
        codes, scale = quantize_token_groups(x, BLOCK[1], dtype)
        return codes.float() * expand_blocks(scale, x.shape[0], x.shape[1], (1, BLOCK[1]))
    raise UsageError(f"unknown quantisation `{quant}`", required="one of `none`, `channel_token`, `block`")


def dequantize_weight(w: Tensor, scale: Tensor | None, quant: str) -> Tensor:
    """The weight's numbers, `[N, K]` fp32."""
    if quant == "none":
        return w.float()
    if scale is None:
        raise UsageError(f"quantisation `{quant}` without a weight scale", required="`w_scale`")
    if quant == "channel_token":
        return dequantize(w, scale)
    return w.float() * expand_blocks(scale, w.shape[0], w.shape[1], BLOCK)
