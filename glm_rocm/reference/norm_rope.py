"""RMS norm and rotary embedding as their definitions. Signatures: `glm_rocm.ops.norm_rope`."""

from __future__ import annotations

import torch
from torch import Tensor


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
    """See `glm_rocm.ops.norm_rope.NormRope`; the results are fp32."""
    table = cos_sin[positions.long()].float()[:, None]  # [T, 1, rotary_dim]
    normed_q = q.float() if q_weight is None else rms_norm(q, q_weight, eps)
    normed_k = k.float() if k_weight is None else rms_norm(k, k_weight, eps)
    return rotate(normed_q, table), rotate(normed_k, table)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """NeoX rotation of the first `rotary_dim` of `x [T, heads, D]` by `table [T, 1, rotary_dim]` (cosines, sines)."""
    cos, sin = table.chunk(2, -1)
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`x / sqrt(mean(x^2) + eps) * weight` over the last dimension, fp32."""
    wide = x.float()
    return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps) * weight.float()


def cos_sin_table(max_position: int, rotary_dim: int, theta: float) -> Tensor:
    """`[max_position, rotary_dim]` fp32 for `cos_sin`: angle i of position p is p * theta ** (-2 i / rotary_dim)."""
    inverse = 1.0 / theta ** (torch.arange(0, rotary_dim, 2, dtype=torch.float32) / rotary_dim)
    angles = torch.arange(max_position, dtype=torch.float32)[:, None] * inverse
    return torch.cat([angles.cos(), angles.sin()], -1)
