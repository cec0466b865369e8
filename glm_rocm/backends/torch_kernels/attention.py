"""Paged causal attention in torch. Signatures: `glm_rocm.ops.attention`.

A batch of any mix is cut into groups of sequences with equally many queries and similar contexts. Each group gathers its
pages once, widens them to fp32, and runs one `scaled_dot_product_attention` per block of queries. Slots that the group
does not own never count: a single sequence is cut at its length, a group's short members are zeroed past theirs (a masked
score alone would not do: NaN + -inf and 0 * NaN are NaN).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from glm_rocm.backends.torch_kernels.quant import widen
from glm_rocm.numerics import FORMATS

GROUP_TOKENS = 4096
"""Cached tokens gathered at once: beyond it the widened pages leave a CPU's L2 and a group gains nothing."""
PADDING_TOKENS = 512
"""Cached tokens times queries of padding that cost about as much as one more group."""
QUERY_BLOCK = 128
"""Queries of one sequence per product: later keys than a block's last query are never touched."""
PACKED_ROWS = 16
"""Up to this many queries per sequence, the query heads of one key head are packed into the rows of one product."""


@dataclass(frozen=True)
class Group:
    """Sequences that run as one: `queries` each, starting at rows `starts`, with `contexts` tokens in the cache."""

    queries: int
    sequences: tuple[int, ...]
    starts: tuple[int, ...]
    contexts: tuple[int, ...]


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
    for group in plan_groups(query_start.tolist(), context_len.tolist()):
        table = _take(block_table, group.sequences, 1)
        keys = _gather(k_cache, table, group.contexts)  # [G, Hkv, L, D] fp32
        values = _gather(v_cache, table, group.contexts)
        rows = _take(q, group.starts, group.queries).float()  # [G n, Hq, D]
        attended = _attend(rows, keys, values, group, scale * k_scale)
        if v_scale != 1.0:
            attended = attended * v_scale
        _put(result, group.starts, group.queries, attended)
    return result


def plan_groups(starts: Sequence[int], contexts: Sequence[int]) -> list[Group]:
    """Cut a batch into groups; sequences without queries fall away. Order within a group rises by row where possible."""
    counts = [end - start for start, end in zip(starts, starts[1:], strict=False)]
    members = [index for index, count in enumerate(counts) if count > 0]
    if members and _fits(counts[members[0]], [contexts[index] for index in members], {counts[m] for m in members}):
        return [_group(members, counts, starts, contexts)]
    groups: list[Group] = []
    current: list[int] = []
    padding = 0
    for index in sorted(members, key=lambda index: (counts[index], contexts[index])):
        if current:
            last = current[-1]
            padding += (contexts[index] - contexts[last]) * len(current) * counts[index]
            full = (len(current) + 1) * contexts[index] > GROUP_TOKENS
            if counts[index] != counts[last] or padding > PADDING_TOKENS or full:
                groups.append(_group(current, counts, starts, contexts))
                current, padding = [], 0
        current.append(index)
    return [*groups, _group(current, counts, starts, contexts)] if current else groups


def _fits(queries: int, contexts: list[int], distinct: set[int]) -> bool:
    """Whether a whole batch may be one group as it stands."""
    longest = max(contexts)
    padding = (longest * len(contexts) - sum(contexts)) * queries
    return len(distinct) == 1 and padding <= PADDING_TOKENS and longest * len(contexts) <= GROUP_TOKENS


def _group(members: Sequence[int], counts: Sequence[int], starts: Sequence[int], contexts: Sequence[int]) -> Group:
    return Group(
        counts[members[0]],
        tuple(members),
        tuple(starts[index] for index in members),
        tuple(contexts[index] for index in members),
    )


def _contiguous(firsts: tuple[int, ...], length: int) -> bool:
    return all(b - a == length for a, b in zip(firsts, firsts[1:], strict=False))


def _take(x: Tensor, firsts: tuple[int, ...], length: int) -> Tensor:
    """Rows first:first + length of every first, as a view where they follow each other."""
    if _contiguous(firsts, length):
        return x[firsts[0] : firsts[0] + length * len(firsts)]
    return x.index_select(0, _rows(firsts, length, x.device))


def _put(x: Tensor, firsts: tuple[int, ...], length: int, rows: Tensor) -> None:
    if _contiguous(firsts, length):
        x[firsts[0] : firsts[0] + length * len(firsts)] = rows
    else:
        x.index_copy_(0, _rows(firsts, length, x.device), rows.to(x.dtype))


def _rows(firsts: tuple[int, ...], length: int, device: torch.device) -> Tensor:
    first = torch.tensor(firsts, device=device)
    return first if length == 1 else (first[:, None] + torch.arange(length, device=device)).view(-1)


def _gather(cache: Tensor, table: Tensor, contexts: tuple[int, ...]) -> Tensor:
    """The pages of a group, `[G, Hkv, L, D]` fp32 with L the longest context, zero past each member's own."""
    block_size, kv_heads, head_dim = cache.shape[1:]
    longest, shortest = max(contexts), min(contexts)
    pages = table[:, : -(-longest // block_size)]  # [G, P]
    if shortest != longest:
        pages = pages.clamp(0, cache.shape[0] - 1)  # a short member's further entries may be anything
    stored = cache.view(torch.uint8) if cache.dtype in FORMATS else cache
    picked = stored.index_select(0, pages.reshape(-1)).view(cache.dtype)  # [G P, block_size, Hkv, D]
    tokens = widen(picked).view(len(contexts), -1, kv_heads, head_dim)[:, :longest]  # [G, L, Hkv, D]
    if shortest != longest:
        lengths = torch.tensor(contexts, device=cache.device)[:, None]
        beyond = torch.arange(shortest, longest, device=cache.device) >= lengths  # [G, L - shortest]
        tokens[:, shortest:].masked_fill_(beyond[..., None, None], 0.0)
    return tokens.transpose(1, 2)


def _attend(rows: Tensor, keys: Tensor, values: Tensor, group: Group, scale: float) -> Tensor:
    """`rows [G n, Hq, D]` against `keys, values [G, Hkv, L, D]`, all fp32 -> `[G n, Hq, D]`."""
    members, queries = len(group.contexts), group.queries
    kv_heads, longest, head_dim = keys.shape[1:]
    ratio = rows.shape[1] // kv_heads
    split = rows.view(members, queries, kv_heads, ratio, head_dim).permute(0, 2, 3, 1, 4)  # [G, Hkv, r, n, D]
    lengths = torch.tensor(group.contexts, device=rows.device)
    parts = []
    for first in range(0, queries, QUERY_BLOCK):
        last = min(first + QUERY_BLOCK, queries)
        seen = longest - queries + last  # no query of the block sees further
        mask = _mask(lengths, group, first, last, seen)
        block = split[:, :, :, first:last]
        parts.append(_product(block, keys[:, :, :seen], values[:, :, :seen], mask, scale))  # [G, Hkv, r, n, D]
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, 3)
    return whole.permute(0, 3, 1, 2, 4).reshape(rows.shape)


def _mask(lengths: Tensor, group: Group, first: int, last: int, seen: int) -> Tensor | None:
    """True where query j in first:last of a member sees a position, `[G, n, seen]`; None where all is seen."""
    if last - first == 1 and len(set(group.contexts)) == 1:
        return None
    offsets = torch.arange(first - group.queries, last - group.queries, device=lengths.device)
    newest = lengths[:, None] + offsets  # [G, n] the query's own position
    return torch.arange(seen, device=lengths.device) <= newest[..., None]


def _product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """`q [G, Hkv, r, n, D]` with `k, v [G, Hkv, L, D]` and `mask [G, n, L]` -> `[G, Hkv, r, n, D]`."""
    members, kv_heads, ratio, queries, head_dim = q.shape
    if queries <= PACKED_ROWS:
        packed = q.reshape(members, kv_heads, ratio * queries, head_dim)
        seen = None if mask is None else mask.repeat(1, ratio, 1)[:, None]  # [G, 1, r n, L]
        return scaled_dot_product_attention(packed, k, v, attn_mask=seen, scale=scale).view(q.shape)
    # One key head per batch entry, its query heads sharing it by a stride of 0.
    flat = (members * kv_heads, ratio, -1, head_dim)
    shared_k = k.reshape(members * kv_heads, 1, -1, head_dim).expand(flat)
    shared_v = v.reshape(members * kv_heads, 1, -1, head_dim).expand(flat)
    seen = None if mask is None else mask.repeat_interleave(kv_heads, 0)[:, None]  # [G Hkv, 1, n, L]
    attended = scaled_dot_product_attention(
        q.reshape(members * kv_heads, ratio, queries, head_dim), shared_k, shared_v, attn_mask=seen, scale=scale
    )
    return attended.view(q.shape)


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
    if slots.numel() == 0:
        return
    if bool((slots < 0).any()):
        kept = (slots >= 0).nonzero().squeeze(1)
        k, v, slots = k[: slots.shape[0]][kept], v[: slots.shape[0]][kept], slots[kept]
    page = slots // k_cache.shape[1]
    offset = slots - page * k_cache.shape[1]
    _scatter(k, k_cache, page, offset, k_scale)
    _scatter(v, v_cache, page, offset, v_scale)


def _scatter(x: Tensor, cache: Tensor, page: Tensor, offset: Tensor, scale: float) -> None:
    x = x[: page.shape[0]]
    if cache.dtype in FORMATS:
        limit = FORMATS[cache.dtype].finite_max
        codes = (x.float() / scale).clamp_(-limit, limit).to(cache.dtype)
        cache.view(torch.uint8)[page, offset] = codes.view(torch.uint8)
    else:
        cache[page, offset] = x.to(cache.dtype)
