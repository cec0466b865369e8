"""Paged causal attention in torch. Signatures: `glm_rocm.ops.attention`.

A batch of any mix is cut into groups of sequences with equally many queries and similar contexts. Each group gathers
its pages once, widens them to fp32 and runs one `scaled_dot_product_attention` per block of queries.

Slots that a group does not own never count: its pages are cut at the longest context, and a shorter member is zeroed
past its own. A masked score alone would not do, since NaN + -inf and 0 * NaN are NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from glm_rocm.backends.torch_kernels.groups import Group, plan_groups, put, take
from glm_rocm.backends.torch_kernels.quant import widen
from glm_rocm.numerics import FORMATS

QUERY_BLOCK = 128
"""Queries of one sequence per product: later keys than a block's last query are never touched."""
PACKED_QUERIES = 16
"""Up to this many queries per sequence, the query heads of one key head are packed into the rows of one product."""


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
    """See `glm_rocm.ops.attention.Attention`."""
    result = torch.zeros(q.shape, dtype=q.dtype, device=q.device) if out is None else out
    caches = _joined(k_cache, v_cache)
    for group in plan_groups(query_start.tolist(), context_len.tolist()):
        table = take(block_table, group.sequences, 1)
        gathered = [_gather(cache, table, group) for cache in caches]  # each [G, Hkv, L, D or 2D] fp32
        keys, values = gathered if len(gathered) == 2 else gathered[0].chunk(2, -1)
        rows = take(q, group.starts, group.queries).float()  # [G n, Hq, D]
        attended = _attend(rows, keys, values, group, scale * k_scale)
        put(result, group.starts, group.queries, attended if v_scale == 1.0 else attended * v_scale)
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
    tokens = slots.shape[0]
    if tokens == 0:
        return
    k, v = k[:tokens], v[:tokens]
    if int(slots.min()) < 0:
        kept = (slots >= 0).nonzero().squeeze(1)
        k, v, slots = k[kept], v[kept], slots[kept]
    _scatter(k, k_cache, slots, k_scale)
    _scatter(v, v_cache, slots, v_scale)


def _scatter(x: Tensor, cache: Tensor, slots: Tensor, scale: float) -> None:
    if cache.dtype in FORMATS:
        limit = FORMATS[cache.dtype].finite_max
        x = (x.float() / scale).clamp_(-limit, limit).to(cache.dtype).view(torch.uint8)
        cache = cache.view(torch.uint8)
    block_size = cache.shape[1]
    if block_size == 1 or cache.stride(0) == block_size * cache.stride(1):
        cache.flatten(0, 1).index_copy_(0, slots, x.to(cache.dtype))
    else:
        page = slots.div(block_size, rounding_mode="floor")
        cache[page, slots - page * block_size] = x.to(cache.dtype)


def _joined(k_cache: Tensor, v_cache: Tensor) -> tuple[Tensor, ...]:
    """Both caches, as one view `[num_blocks, block_size, Hkv, 2D]` where V lies right behind K (vLLM's layout)."""
    head_dim = k_cache.shape[-1]
    beside = (
        k_cache.data_ptr() + head_dim * k_cache.element_size() == v_cache.data_ptr()
        and k_cache.stride() == v_cache.stride()
        and k_cache.stride(-1) == 1
        and k_cache.untyped_storage().data_ptr() == v_cache.untyped_storage().data_ptr()
    )
    if not beside:
        return k_cache, v_cache
    return (k_cache.as_strided((*k_cache.shape[:3], 2 * head_dim), k_cache.stride()),)


def _gather(cache: Tensor, table: Tensor, group: Group) -> Tensor:
    """The pages of a group, `[G, Hkv, L, D]` fp32 with L the longest context, zero past each member's own."""
    block_size, kv_heads, width = cache.shape[1:]
    longest = group.longest
    pages = table[:, : -(-longest // block_size)]  # [G, P]
    if group.shortest != longest:
        pages = pages.clamp(0, cache.shape[0] - 1)  # a short member's further entries may be anything
    stored = cache.view(torch.uint8) if cache.dtype in FORMATS else cache
    picked = stored.index_select(0, pages.reshape(-1))  # [G P, block_size, Hkv, D]
    tokens = picked.view(len(group.contexts), -1, kv_heads, width)[:, :longest]  # [G, L, Hkv, D]
    tokens = widen(tokens.view(cache.dtype))
    for member, context in enumerate(group.contexts):  # a loop of fills: five times quicker than one masked fill
        if context < longest:
            tokens[member, context:].zero_()
    return tokens.transpose(1, 2)


def _attend(rows: Tensor, keys: Tensor, values: Tensor, group: Group, scale: float) -> Tensor:
    """`rows [G n, Hq, D]` against `keys, values [G, Hkv, L, D]`, all fp32 -> `[G n, Hq, D]`."""
    members, queries, longest = len(group.contexts), group.queries, group.longest
    kv_heads = keys.shape[1]
    if queries == 1:
        mask = _mask(group, 0, 1, longest, rows.device)
        packed = rows.view(members, kv_heads, -1, rows.shape[-1])  # [G, Hkv, r, D]
        seen_by_all = None if mask is None else mask[:, None]
        decoded = scaled_dot_product_attention(packed, keys, values, attn_mask=seen_by_all, scale=scale)
        return decoded.reshape(rows.shape)
    split = rows.view(members, queries, kv_heads, -1, rows.shape[-1]).permute(0, 2, 3, 1, 4)  # [G, Hkv, r, n, D]
    parts = []
    for first in range(0, queries, QUERY_BLOCK):
        last = min(first + QUERY_BLOCK, queries)
        seen = longest - queries + last  # no query of the block sees further
        mask = _mask(group, first, last, seen, rows.device)
        product = _packed if queries <= PACKED_QUERIES else _shared
        parts.append(product(split[:, :, :, first:last], keys[:, :, :seen], values[:, :, :seen], mask, scale))
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, 3)
    return whole.permute(0, 3, 1, 2, 4).reshape(rows.shape)


def _mask(group: Group, first: int, last: int, seen: int, device: torch.device) -> Tensor | None:
    """True where query j in first:last of a member sees a position, `[G, n, seen]`; None where all is seen."""
    if last - first == 1 and group.shortest == group.longest:
        return None
    lengths = torch.tensor(group.contexts, device=device)[:, None]
    newest = lengths + torch.arange(first - group.queries, last - group.queries, device=device)  # [G, n] own position
    return torch.arange(seen, device=device) <= newest[..., None]


def _packed(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Few queries: `q [G, Hkv, r, n, D]` as r n rows of one product with `k, v [G, Hkv, L, D]`; `mask [G, n, L]`."""
    ratio = q.shape[2]
    if mask is not None:
        mask = mask.repeat(1, ratio, 1)[:, None]  # [G, 1, r n, L]
    return scaled_dot_product_attention(q.flatten(2, 3), k, v, attn_mask=mask, scale=scale).view(q.shape)


def _shared(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Many queries: each key head once per batch entry, its r query heads sharing it by a stride of 0."""
    members, kv_heads, ratio, _, head_dim = q.shape
    flat = (members * kv_heads, ratio, -1, head_dim)
    shared_k = k.reshape(members * kv_heads, 1, -1, head_dim).expand(flat)
    shared_v = v.reshape(members * kv_heads, 1, -1, head_dim).expand(flat)
    if mask is not None:
        mask = mask.repeat_interleave(kv_heads, 0)[:, None]  # [G Hkv, 1, n, L]
    attended = scaled_dot_product_attention(q.reshape(flat), shared_k, shared_v, attn_mask=mask, scale=scale)
    return attended.view(q.shape)
