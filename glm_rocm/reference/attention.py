"""Paged causal attention as its definition, one query head at a time. Signatures: `glm_rocm.ops.attention`."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from glm_rocm.numerics import FORMATS


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
    out: Tensor | None = None,
) -> Tensor:
    """See `glm_rocm.ops.attention.Attention`; the result is fp32 unless `out` is given."""
    heads, kv_heads = q.shape[1], k_cache.shape[2]
    result = torch.zeros(q.shape, dtype=torch.float32, device=q.device) if out is None else out
    starts = query_start.tolist()
    for sequence, (start, end) in enumerate(pairwise(starts)):
        if start == end:
            continue
        context = int(context_len[sequence])
        keys = read_cache(k_cache, block_table[sequence], context) * k_scale  # [L, Hkv, D]
        values = read_cache(v_cache, block_table[sequence], context) * v_scale  # [L, Hkv, D]
        for row in range(start, end):
            seen = context - (end - start) + (row - start) + 1
            for head in range(heads):
                shared = head // (heads // kv_heads)
                scores = keys[:seen, shared] @ q[row, head].float() * scale  # [seen]
                result[row, head] = (torch.softmax(scores, 0) @ values[:seen, shared]).to(result.dtype)
    return result


def store_kv(
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    slots: Tensor,
    *,
    k_scale: float = 1.0,
    v_scale: float = 1.0,
) -> None:
    """See `glm_rocm.ops.attention.StoreKV`."""
    block_size = k_cache.shape[1]
    for row, slot in enumerate(slots.tolist()):
        if slot < 0:
            continue
        k_cache[slot // block_size, slot % block_size] = encode(k[row], k_cache.dtype, k_scale)
        v_cache[slot // block_size, slot % block_size] = encode(v[row], v_cache.dtype, v_scale)


def read_cache(cache: Tensor, pages: Tensor, length: int) -> Tensor:
    """The first `length` tokens of a sequence, `[length, Hkv, D]` fp32; scales not applied."""
    block_size = cache.shape[1]
    tokens = [cache[int(pages[index // block_size]), index % block_size].float() for index in range(length)]
    return torch.stack(tokens)


def encode(x: Tensor, dtype: torch.dtype, scale: float) -> Tensor:
    """`x / scale` in the cache's dtype, saturated to the finite range where that is FP8 (a KV scale is static, so
    the whole range is used: 448 or 240)."""
    if dtype not in FORMATS:
        return x.to(dtype)
    limit = FORMATS[dtype].finite_max
    return (x.float() / scale).clamp(-limit, limit).to(dtype)
