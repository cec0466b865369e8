"""A linear layer: plain, FP8 per channel and token, or FP8 by blocks of 128. `glm_rocm.ops.linear` states the call.

At few rows a layer is the reading of its weight, and its tiles alone would leave most of a card idle: K is then split
among workgroups, whose fp32 sums a second launch adds in a fixed order. How many parts is decided from shapes alone.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from glm_rocm_kernels._triton import current_arch
from glm_rocm_kernels.checks import FLOATS, FP8_MAX, check_one_of, check_tensor
from glm_rocm_kernels.errors import KernelArgumentError
from glm_rocm_kernels.launch import LaunchChoice, choose, device, launch
from glm_rocm_kernels.linear_details._gemm import add_parts, gemm
from glm_rocm_kernels.quant import quantize_per_token, quantize_token_groups

QUANTS = ("none", "channel_token", "block")
GROUP = 128
"""Rows and columns of a weight block, and columns of an activation group."""
MIN_STEPS = 4
"""Steps of K that a part is worth its sum being stored and read again for."""


def linear(
    x: Tensor,
    w: Tensor,
    *,
    w_scale: Tensor | None = None,
    bias: Tensor | None = None,
    quant: str = "none",
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """`x @ w.T + bias`, accumulated in fp32.

    Args:
        x: `[T, K]` bf16, fp16 or fp32, strided.
        w: `[N, K]`, strided (a transposed `[K, N]` is fine); of x's dtype, or FP8.
        w_scale: fp32. channel_token: `[N, 1]` (or `[N]`); block: `[ceil(N/128), ceil(K/128)]`.
        bias: `[N]` bf16, fp16 or fp32, added in fp32 before the one rounding.
        quant: `none`, `channel_token` or `block`; x is quantised per token, or per token and 128 columns.
        out_dtype: of the result; None: x's dtype.

    Returns:
        `[T, N]`.

    Raises:
        KernelArgumentError: rank, shape, dtype, device, a missing or surplus scale.
        LaunchRefusedError: FP8 of a format that the card does not multiply.
    """
    check_arguments(x, w, w_scale, bias, quant, out_dtype)
    rows, inner = x.shape
    outputs = w.shape[0]
    out = torch.empty((rows, outputs), dtype=out_dtype or x.dtype, device=x.device)
    if rows == 0 or outputs == 0:
        return out
    arch = current_arch()
    dtype = str(w.dtype).removeprefix("torch.")
    choice = choose("linear", arch, dtype, M=rows, N=outputs, K=inner, quant=quant)
    a, x_scale = quantized(x, w.dtype, quant)
    w_scale = w_scale.view(-1, 1) if w_scale is not None and quant == "channel_token" else w_scale
    parts, steps = plan(choice, rows, outputs, inner, device(arch).compute_units)
    target = out if parts == 1 else torch.empty((parts, rows, outputs), dtype=torch.float32, device=x.device)
    tiles = triton.cdiv(rows, choice["BLOCK_M"]) * triton.cdiv(outputs, choice["BLOCK_N"])
    common = {"QUANT": quant, "HAS_BIAS": bias is not None}
    scales = (
        0 if x_scale is None else x_scale.stride(0),
        0 if w_scale is None else w_scale.stride(0),
    )
    launch(
        gemm,
        (tiles, parts),
        choice,
        a,
        w,
        x_scale,
        w_scale,
        bias,
        target,
        rows,
        outputs,
        inner,
        steps,
        a.stride(0),
        a.stride(1),
        w.stride(0),
        w.stride(1),
        *scales,
        0 if w_scale is None else w_scale.stride(1),
        **common,
        SPLIT=parts > 1,
        EVEN_K=inner % choice["BLOCK_K"] == 0,
        WIDE=max(extent(a), extent(w)) >= 2**31,
        PRECISION="ieee" if w.dtype == torch.float32 else None,
        BLOCK_M=choice["BLOCK_M"],
        BLOCK_N=choice["BLOCK_N"],
        BLOCK_K=choice["BLOCK_K"],
        GROUP_M=choice["GROUP_M"],
    )
    if parts > 1:
        adding = choose("linear.add", arch, dtype, M=rows, N=outputs)
        grid = (rows, triton.cdiv(outputs, adding["BLOCK_N"]))
        arguments = (target, x_scale, w_scale, bias, out, rows, outputs, *scales)
        launch(add_parts, grid, adding, *arguments, **common, PARTS=parts, BLOCK_N=adding["BLOCK_N"])
    return out


def quantized(x: Tensor, dtype: torch.dtype, quant: str) -> tuple[Tensor, Tensor | None]:
    """The activations as the product reads them, and their scales."""
    if quant == "channel_token":
        return quantize_per_token(x, dtype)
    if quant == "block":
        return quantize_token_groups(x, GROUP, dtype)
    return x, None


def plan(choice: LaunchChoice, rows: int, outputs: int, inner: int, compute_units: int) -> tuple[int, int]:
    """Into how many parts K is split, and the steps of each: enough workgroups for the card, from shapes alone."""
    tiles = triton.cdiv(rows, choice["BLOCK_M"]) * triton.cdiv(outputs, choice["BLOCK_N"])
    blocks = max(1, triton.cdiv(inner, choice["BLOCK_K"]))
    wanted = max(1, min(choice["MAX_PARTS"], compute_units // tiles, blocks // MIN_STEPS))
    steps = triton.cdiv(blocks, wanted)
    return triton.cdiv(blocks, steps), steps


def extent(x: Tensor) -> int:
    """One more than the largest offset of an element."""
    return 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))


def check_arguments(
    x: Tensor,
    w: Tensor,
    w_scale: Tensor | None,
    bias: Tensor | None,
    quant: str,
    out_dtype: torch.dtype | None,
) -> None:
    """Raise KernelArgumentError for the first argument that does not fit the others."""
    check_one_of("quant", quant, QUANTS)
    check_tensor("x", x, shape=(None, None), dtypes=FLOATS)
    weights = (x.dtype,) if quant == "none" else tuple(FP8_MAX)
    check_tensor("w", w, shape=(None, x.shape[1]), dtypes=weights, device=x.device)
    check_one_of("out_dtype", out_dtype, (None, *FLOATS))
    outputs, inner = w.shape
    if (w_scale is None) != (quant == "none"):
        found = "None" if w_scale is None else "given"
        raise KernelArgumentError("w_scale", found, "None without quantisation, fp32 scales with it")
    if w_scale is not None:
        flat = quant == "channel_token" and w_scale.dim() == 1
        blocks = (triton.cdiv(outputs, GROUP), triton.cdiv(inner, GROUP))
        shape = (outputs,) if flat else (outputs, 1) if quant == "channel_token" else blocks
        check_tensor("w_scale", w_scale, shape=shape, dtypes=(torch.float32,), device=x.device)
    if bias is not None:
        check_tensor("bias", bias, shape=(outputs,), dtypes=FLOATS, device=x.device, unit_stride=0)
