"""Norms and the rotary embedding: `norm_rope` alone, all of attention's preparation in one launch, and `rms_norm`.

`glm_rocm.ops.norm_rope` states the first call; the other two are what a fused model calls.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from glm_rocm_kernels._triton import current_arch
from glm_rocm_kernels.checks import (
    FLOATS,
    FP8_FINITE_MAX,
    FP8_MAX,
    INDICES,
    MIN_SCALE,
    check_indices,
    check_one_of,
    check_positive,
    check_range,
    check_tensor,
)
from glm_rocm_kernels.errors import KernelArgumentError
from glm_rocm_kernels.launch import choose, launch
from glm_rocm_kernels.norm_rope_details import _norm_rope, _rms_norm

MAX_WIDTH = 1 << 16
"""Columns of a hidden state: a program holds a row in registers."""


class Normed(NamedTuple):
    """What `rms_norm` gives.

    Attributes:
        y: `[T, H]` of x's dtype, or FP8 codes.
        scale: `[T, 1]` fp32 beside codes, else None.
        residual: `[T, H]` x plus the residual, rounded to x's dtype; None where no residual was given.
    """

    y: Tensor
    scale: Tensor | None
    residual: Tensor | None


def norm_rope(
    q: Tensor,
    k: Tensor,
    positions: Tensor,
    cos_sin: Tensor,
    *,
    q_weight: Tensor | None = None,
    k_weight: Tensor | None = None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Norm each head where a weight is given, then rotate its first `rotary_dim` dimensions.

    Args:
        q: `[T, Hq, D]` bf16, fp16 or fp32, strided, unit stride in D.
        k: `[T, Hkv, D]`, likewise.
        positions: `[T]` int64 or int32.
        cos_sin: `[max_position, rotary_dim]`, cosines, then sines; NeoX pairing.
        q_weight, k_weight: `[D]` RMS norm weights; None: no norm.
        eps: added to the mean square.

    Returns:
        New q `[T, Hq, D]` and k `[T, Hkv, D]` of the inputs' dtypes.

    Raises:
        KernelArgumentError: rank, shape, dtype, device, stride; a position beyond the table where it lies on the CPU.
    """
    check_heads(q, k, positions, cos_sin, q_weight, k_weight, eps)
    tokens, q_heads, d = q.shape
    k_heads = k.shape[1]
    q_out, k_out = (
        torch.empty(q.shape, dtype=q.dtype, device=q.device),
        torch.empty(k.shape, dtype=k.dtype, device=k.device),
    )
    choice = choose("norm_rope", current_arch(), name(q.dtype), HEADS=q_heads)
    block = min(choice["HEADS"], triton.next_power_of_2(max(q_heads, 1)))
    launch(
        _norm_rope.norm_rope,
        (tokens, triton.cdiv(q_heads, block) + triton.cdiv(k_heads, block)),
        choice,
        *(q, k, positions, cos_sin, q_weight, k_weight, q_out, k_out, q_heads, k_heads),
        *(*q.stride()[:2], *k.stride()[:2], cos_sin.stride(0), eps),
        **parts(d, cos_sin.shape[1]),
        HEADS=block,
    )
    return q_out, k_out


def bias_norm_rope_store(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    positions: Tensor,
    cos_sin: Tensor,
    slots: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    *,
    q_bias: Tensor | None = None,
    k_bias: Tensor | None = None,
    v_bias: Tensor | None = None,
    q_weight: Tensor | None = None,
    k_weight: Tensor | None = None,
    eps: float,
    k_scale: float = 1.0,
    v_scale: float = 1.0,
) -> Tensor:
    """From the QKV product to what attention reads, in one launch for any number of tokens.

    Bias, norm and rotation are computed in fp32 and rounded once, to the query's or to the cache's dtype.

    Args:
        q, k, v: `[T, Hq, D]`, `[T, Hkv, D]` twice; bf16, fp16 or fp32, strided, unit stride in D.
        positions, cos_sin: as in `norm_rope`.
        slots: `[T]` int64 or int32, page * block_size + offset; a negative slot is skipped. No slot twice.
        k_cache, v_cache: `[num_blocks, block_size, Hkv, D]`, strided, unit stride in D, written in place; of q's dtype,
            or FP8 with `code = x / scale`, saturated to the format's finite range.
        q_bias, k_bias, v_bias: `[Hq * D]`, `[Hkv * D]` twice; None: none.
        q_weight, k_weight, eps: as in `norm_rope`.
        k_scale, v_scale: of an FP8 cache.

    Returns:
        New q `[T, Hq, D]` of q's dtype.

    Raises:
        KernelArgumentError: as `norm_rope`; a slot beyond the cache where it lies on the CPU.
    """
    check_heads(q, k, positions, cos_sin, q_weight, k_weight, eps)
    check_store(q, k, v, slots, k_cache, v_cache)
    tokens, q_heads, d = q.shape
    k_heads, block_size = k.shape[1], k_cache.shape[1]
    for argument, bias, heads in (
        ("q_bias", q_bias, q_heads),
        ("k_bias", k_bias, k_heads),
        ("v_bias", v_bias, k_heads),
    ):
        if bias is not None:
            check_tensor(argument, bias, shape=(heads * d,), dtypes=FLOATS, device=q.device, unit_stride=0)
    check_positive("k_scale", k_scale)
    check_positive("v_scale", v_scale)
    q_out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    choice = choose("norm_rope.store", current_arch(), name(k_cache.dtype), HEADS=q_heads)
    block = min(choice["HEADS"], triton.next_power_of_2(max(q_heads, 1)))
    launch(
        _norm_rope.bias_norm_rope_store,
        (tokens, triton.cdiv(q_heads, block) + triton.cdiv(k_heads, block)),
        choice,
        *(q, k, v, q_bias, k_bias, v_bias, positions, cos_sin, slots, q_weight, k_weight),
        *(q_out, k_cache, v_cache, k_scale, v_scale, q_heads, k_heads),
        *(*q.stride()[:2], *k.stride()[:2], *v.stride()[:2], *k_cache.stride()[:3], *v_cache.stride()[:3]),
        *(cos_sin.stride(0), eps, k_cache.shape[0] * block_size),
        BLOCK_SIZE=block_size,
        LIMIT=FP8_FINITE_MAX.get(k_cache.dtype, 0.0),
        **parts(d, cos_sin.shape[1]),
        PADDED_D=triton.next_power_of_2(d),
        HEADS=block,
    )
    return q_out


def rms_norm(
    x: Tensor,
    weight: Tensor,
    eps: float,
    *,
    residual: Tensor | None = None,
    quant_dtype: torch.dtype | None = None,
) -> Normed:
    """`x / sqrt(mean(x^2) + eps) * weight` over the last dimension, with what stands before and after it in a layer.

    Args:
        x: `[T, H]` bf16, fp16 or fp32, strided, unit stride in H.
        weight: `[H]`.
        eps: added to the mean square.
        residual: `[T, H]` of x's dtype, added to x first; the sum is rounded to x's dtype before it is normed.
        quant_dtype: FP8: the result, rounded to x's dtype, is quantised per token as `quantize_per_token` does it.

    Returns:
        A `Normed`.

    Raises:
        KernelArgumentError: rank, shape, dtype, device, stride, or more than 65,536 columns.
    """
    check_tensor("x", x, shape=(None, None), dtypes=FLOATS, unit_stride=1)
    rows, columns = x.shape
    check_range("x.shape[1]", columns, 1, MAX_WIDTH)
    check_tensor("weight", weight, shape=(columns,), dtypes=FLOATS, device=x.device, unit_stride=0)
    if residual is not None:
        check_tensor("residual", residual, shape=x.shape, dtypes=(x.dtype,), device=x.device, unit_stride=1)
    check_one_of("quant_dtype", quant_dtype, (None, *FP8_MAX))
    y = torch.empty((rows, columns), dtype=quant_dtype or x.dtype, device=x.device)
    scale = torch.empty((rows, 1), dtype=torch.float32, device=x.device) if quant_dtype else None
    sums = torch.empty((rows, columns), dtype=x.dtype, device=x.device) if residual is not None else None
    width = triton.next_power_of_2(columns)
    launch(
        _rms_norm.rms_norm,
        (rows,),
        choose("rms_norm", current_arch(), name(x.dtype), WIDTH=width),
        *(
            x,
            residual,
            weight,
            y,
            scale,
            sums,
            columns,
            x.stride(0),
            residual.stride(0) if residual is not None else 0,
            eps,
        ),
        LIMIT=FP8_MAX[quant_dtype] if quant_dtype else 0.0,
        MIN_SCALE=MIN_SCALE,
        WIDTH=width,
    )
    return Normed(y, scale, sums)


def parts(d: int, rotary_dim: int) -> dict[str, int]:
    """The three parts of a head as the kernels' constants."""
    half, rest = rotary_dim // 2, d - rotary_dim
    padded = {"PADDED_HALF": triton.next_power_of_2(max(half, 1)), "PADDED_REST": triton.next_power_of_2(max(rest, 1))}
    return {"D": d, "HALF": half, **padded}


def name(dtype: torch.dtype) -> str:
    """The dtype's name in launch data."""
    return str(dtype).removeprefix("torch.")


def check_heads(
    q: Tensor,
    k: Tensor,
    positions: Tensor,
    cos_sin: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    eps: float,
) -> None:
    """Raise KernelArgumentError for the first argument that does not fit the others."""
    check_tensor("q", q, shape=(None, None, None), dtypes=FLOATS, unit_stride=2)
    tokens, _, d = q.shape
    check_tensor("k", k, shape=(tokens, None, d), dtypes=(q.dtype,), device=q.device, unit_stride=2)
    check_tensor("positions", positions, shape=(tokens,), dtypes=INDICES, device=q.device, unit_stride=0)
    check_tensor("cos_sin", cos_sin, shape=(None, None), dtypes=FLOATS, device=q.device, unit_stride=1)
    rotary_dim = cos_sin.shape[1]
    if rotary_dim % 2 or rotary_dim > d:
        raise KernelArgumentError("cos_sin", f"of {rotary_dim} columns", f"an even number of at most {d}, the head's")
    for argument, weight in (("q_weight", q_weight), ("k_weight", k_weight)):
        if weight is not None:
            check_tensor(argument, weight, shape=(d,), dtypes=FLOATS, device=q.device, unit_stride=0)
    if eps < 0:
        raise KernelArgumentError("eps", f"{eps:g}", "0 or more")
    check_indices("positions", positions, cos_sin.shape[0])


def check_store(q: Tensor, k: Tensor, v: Tensor, slots: Tensor, k_cache: Tensor, v_cache: Tensor) -> None:
    """Raise KernelArgumentError for the first argument that does not fit the others."""
    check_tensor("v", v, shape=k.shape, dtypes=(q.dtype,), device=q.device, unit_stride=2)
    check_tensor("slots", slots, shape=(q.shape[0],), dtypes=INDICES, device=q.device, unit_stride=0)
    cached = (q.dtype, *FP8_FINITE_MAX)
    check_tensor("k_cache", k_cache, shape=(None, None, *k.shape[1:]), dtypes=cached, device=q.device, unit_stride=3)
    check_tensor("v_cache", v_cache, shape=k_cache.shape, dtypes=(k_cache.dtype,), device=q.device, unit_stride=3)
    check_indices("slots", slots, k_cache.shape[0] * k_cache.shape[1], negative=True)
