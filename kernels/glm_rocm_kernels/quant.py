"""FP8 quantisation of activations, bit for bit the reference's, and the load-time conversion of weights to fnuz."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from glm_rocm_kernels._triton import current_arch
from glm_rocm_kernels.checks import FLOATS, FP8_MAX, MIN_SCALE, check_one_of, check_range, check_tensor
from glm_rocm_kernels.errors import KernelArgumentError
from glm_rocm_kernels.launch import choose, launch
from glm_rocm_kernels.quant_details._quantize import convert_to_fnuz
from glm_rocm_kernels.quant_details._quantize import quantize as quantize_kernel

MAX_GROUP = 1 << 16
"""Columns that one scale may cover: a program holds a whole group in registers."""


def quantize_per_token(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """One scale per row.

    Args:
        x: `[T, K]` bf16, fp16 or fp32, strided. A NaN or Inf makes its own row NaN and no other.
        dtype: `float8_e4m3fn` or `float8_e4m3fnuz`.

    Returns:
        codes `[T, K]` of `dtype` and scale `[T, 1]` fp32: max|row| / 448 (fn) or / 224 (fnuz), at least 2^-40.

    Raises:
        KernelArgumentError: rank, dtype, or more than 65,536 columns.
    """
    return quantize_token_groups(x, max(x.shape[-1], 1) if x.dim() else 1, dtype)


def quantize_token_groups(x: Tensor, group: int = 128, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """One scale per row and `group` columns; the last group of a row may be short.

    Args:
        x: `[T, K]` as in `quantize_per_token`.
        group: columns of a group, at most 65,536.
        dtype: as there; `float8_e4m3fn` unless told.

    Returns:
        codes `[T, K]` of `dtype` and scale `[T, ceil(K / group)]` fp32.

    Raises:
        KernelArgumentError: rank, dtype or group.
    """
    dtype = dtype or torch.float8_e4m3fn
    check_tensor("x", x, shape=(None, None), dtypes=FLOATS)
    check_one_of("dtype", dtype, FP8_MAX)
    check_range("group", group, 1, MAX_GROUP)
    rows, columns = x.shape
    codes = torch.empty((rows, columns), dtype=dtype, device=x.device)
    if columns == 0:
        return codes, x.new_full((rows, 1), MIN_SCALE, dtype=torch.float32)
    groups = triton.cdiv(columns, group)
    scale = torch.empty((rows, groups), dtype=torch.float32, device=x.device)
    width = triton.next_power_of_2(group)
    choice = choose("quant", current_arch(), str(x.dtype).removeprefix("torch."), WIDTH=width)
    per_program = max(1, min(triton.next_power_of_2(groups), choice["ELEMENTS"] // width))
    launch(
        quantize_kernel,
        (rows, triton.cdiv(groups, per_program)),
        choice,
        x,
        codes,
        scale,
        columns,
        group,
        x.stride(0),
        x.stride(1),
        LIMIT=FP8_MAX[dtype],
        MIN_SCALE=MIN_SCALE,
        GROUPS=per_program,
        WIDTH=width,
    )
    return codes, scale


def fnuz_from_fn(codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The same numbers in the format of gfx94x: a checkpoint's weights, once, when they are loaded.

    A bit pattern is worth half as much in fnuz, which the doubled scale makes good; -0 becomes 0, NaN stays NaN.

    Args:
        codes: `float8_e4m3fn`, any shape, contiguous.
        scale: fp32, any shape.

    Returns:
        codes `float8_e4m3fnuz` and scale of the same shapes; the arguments are left as they are.

    Raises:
        KernelArgumentError: dtype, or codes that are not contiguous.
    """
    check_tensor("codes", codes, shape=[None] * codes.dim(), dtypes=(torch.float8_e4m3fn,))
    check_tensor("scale", scale, shape=[None] * scale.dim(), dtypes=(torch.float32,), device=codes.device)
    if not codes.is_contiguous():
        raise KernelArgumentError("codes", f"of strides {list(codes.stride())}", "contiguous; `.contiguous()` gives it")
    target = torch.empty(codes.shape, dtype=torch.uint8, device=codes.device)
    choice = choose("quant.convert", current_arch(), "uint8")
    launch(
        convert_to_fnuz,
        (triton.cdiv(codes.numel(), choice["BLOCK"]),),
        choice,
        codes.view(torch.uint8),
        target,
        codes.numel(),
        BLOCK=choice["BLOCK"],
    )
    return target.view(torch.float8_e4m3fnuz), scale * 2.0
