"""Attention by XFormers over gathered keys and values: the fallback where FlashInfer does not work.

Signatures: `glm_rocm.ops.attention`. The pages of a batch are gathered into one packed row of keys, exactly as many as
each sequence has, and XFormers' block-diagonal causal mask does the rest. Which of its own kernels runs, XFormers
decides; lengths are read on the host, so no graph can hold it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from glm_rocm_kernels.attention import store_kv as store_kv


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
    """See `glm_rocm.ops.attention.Attention`; the cache is of q's dtype, so that its scales are 1."""
    result = torch.zeros(q.shape, dtype=q.dtype, device=q.device) if out is None else out
    queries = query_start.diff().tolist()
    owners = [sequence for sequence, count in enumerate(queries) if count]
    if not owners:
        return result
    lengths = [int(length) for length in context_len.tolist()]
    kept = [lengths[sequence] for sequence in owners]
    slots = slots_of(block_table, owners, kept, k_cache.shape[1])
    rows, heads, head_dim = sum(queries), q.shape[1], q.shape[2]
    kv_heads = k_cache.shape[2]
    shape = (1, -1, kv_heads, heads // kv_heads, head_dim)  # batch, tokens, groups, heads of a group, D
    keys, values = (
        gather(cache, slots)[None, :, :, None].expand(1, -1, kv_heads, heads // kv_heads, head_dim)
        for cache in (k_cache, v_cache)
    )
    mask = causal_mask([queries[sequence] for sequence in owners], kept, q.device)
    attended = _forward()(q[:rows].reshape(shape), keys, values, attn_bias=mask, scale=scale * k_scale)
    result[:rows] = attended.reshape(rows, heads, head_dim) * v_scale
    return result


def slots_of(block_table: Tensor, sequences: list[int], lengths: list[int], block_size: int) -> Tensor:
    """Page * block_size + offset of every cached token of the sequences, int64, one sequence after another."""
    parts = []
    for sequence, length in zip(sequences, lengths, strict=True):
        token = torch.arange(length, device=block_table.device)
        parts.append(block_table[sequence, token // block_size].long() * block_size + token % block_size)
    return torch.cat(parts)


def gather(cache: Tensor, slots: Tensor) -> Tensor:
    """The tokens at `slots` of `[num_blocks, block_size, Hkv, D]`, as `[tokens, Hkv, D]`."""
    page = slots.div(cache.shape[1], rounding_mode="floor")
    return cache[page, slots - page * cache.shape[1]]


def causal_mask(queries: list[int], lengths: list[int], device: torch.device) -> Any:
    """XFormers' mask of sequences whose queries are their newest tokens."""
    from xformers.ops.fmha.attn_bias import BlockDiagonalCausalFromBottomRightMask

    return BlockDiagonalCausalFromBottomRightMask.from_seqlens(queries, lengths, device=device)


@lru_cache(maxsize=1)
def _forward() -> Any:
    """XFormers' function, once its compiled part is known to have loaded: without it it fails at the first call only.

    Raises:
        ImportError: the wheel was built for another PyTorch, CUDA or Python, with XFormers' own words.
    """
    from xformers.ops import memory_efficient_attention_forward

    try:
        from xformers import _cpp_lib
    except ImportError:  # later ones have no compiled part of their own
        return memory_efficient_attention_forward
    broken = getattr(_cpp_lib, "_cpp_library_load_exception", None)
    if broken is not None:
        raise ImportError(f"XFormers' compiled part did not load: {broken}") from broken
    return memory_efficient_attention_forward
