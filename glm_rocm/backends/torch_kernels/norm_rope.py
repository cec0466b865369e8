"""QK norm and rope in torch. Signature: `glm_rocm.ops.norm_rope`."""

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
    """See `glm_rocm.ops.norm_rope.NormRope`."""
    table = cos_sin.index_select(0, positions).float().unsqueeze(1)  # [T, 1, rotary_dim]
    return _one(q, q_weight, table, eps), _one(k, k_weight, table, eps)


def _one(x: Tensor, weight: Tensor | None, table: Tensor, eps: float) -> Tensor:
    wide = x.float()
    if weight is not None:
        wide = torch.nn.functional.rms_norm(wide, (wide.shape[-1],), weight.float(), eps)
    cos, sin = table.chunk(2, -1)
    half = cos.shape[-1]
    first, second = wide[..., :half], wide[..., half : 2 * half]
    rotated = torch.empty(x.shape, dtype=torch.float32, device=x.device)
    torch.sub(first * cos, second * sin, out=rotated[..., :half])
    torch.add(second * cos, first * sin, out=rotated[..., half : 2 * half])
    rotated[..., 2 * half :] = wide[..., 2 * half :]
    return rotated.to(x.dtype)
