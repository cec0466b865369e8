"""The reference for many tokens: the same sums as `glm_rocm.reference`, whole sequences and experts at a time.

The reference is written token by token so that it can be read; at M 8192 nobody waits for it. tests/validate holds
these to it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from glm_rocm.reference.moe import swiglu


def attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    block_table: Tensor,
    query_start: Tensor,
    context_len: Tensor,
    *,
    scale: float,
    k_scale: float = 1.0,
    v_scale: float = 1.0,
) -> Tensor:
    """See `glm_rocm.ops.attention.Attention`; `[T, Hq, D]` fp32, rows past query_start[-1] are 0."""
    tokens, heads, head_dim = q.shape
    kv_heads = k_cache.shape[2]
    out = torch.zeros(tokens, heads, head_dim)
    for sequence, (start, end) in enumerate(pairwise(query_start.tolist())):
        if start == end:
            continue
        context = int(context_len[sequence])
        keys = pages(k_cache, block_table[sequence], context) * k_scale  # [L, Hkv, D]
        values = pages(v_cache, block_table[sequence], context) * v_scale
        rows = q[start:end].float().view(end - start, kv_heads, heads // kv_heads, head_dim)
        scores = torch.einsum("tgrd,lgd->tgrl", rows, keys) * scale
        seen = torch.arange(context) <= (context - (end - start) + torch.arange(end - start))[:, None]
        weights = scores.masked_fill(~seen[:, None, None], float("-inf")).softmax(-1)
        out[start:end] = torch.einsum("tgrl,lgd->tgrd", weights, values).reshape(end - start, heads, head_dim)
    return out


def pages(cache: Tensor, table: Tensor, length: int) -> Tensor:
    """The first `length` tokens of a sequence, `[length, Hkv, D]` fp32; scales not applied."""
    size = cache.shape[1]
    index = torch.arange(length)
    bits = cache.view(torch.uint8) if cache.element_size() == 1 else cache  # FP8 cannot be gathered everywhere
    return bits[table[index // size].long(), index % size].view(cache.dtype).float()


def experts(
    x: Tensor,
    w13: Tensor,
    w2: Tensor,
    ids: Tensor,
    weights: Tensor,
    *,
    w13_scale: Tensor | None = None,
    w2_scale: Tensor | None = None,
    quant: str = "none",
    expert_map: Tensor | None = None,
    mlp: Callable[..., Tensor] = swiglu,
) -> Tensor:
    """See `glm_rocm.ops.moe.Experts`; `[T, H]` fp32. `mlp` runs one expert, with the signature of `swiglu`."""
    local = ids.long()
    if expert_map is not None:
        local = torch.where(local < 0, -1, expert_map.long()[local.clamp_min(0)])
    slots = torch.zeros(*ids.shape, x.shape[1])  # a token's experts are added in the order of its slots
    for expert in sorted(set(local[local >= 0].tolist())):
        token, slot = (local == expert).nonzero(as_tuple=True)
        slots[token, slot] = mlp(
            x[token],
            w13[expert],
            w2[expert],
            w13_scale=None if w13_scale is None else w13_scale[expert],
            w2_scale=None if w2_scale is None else w2_scale[expert],
            quant=quant,
        )
    result = torch.zeros(x.shape, dtype=torch.float32)
    for slot in range(ids.shape[1]):
        added = local[:, slot] >= 0
        result[added] += weights[added, slot, None].float() * slots[added, slot]
    return result
