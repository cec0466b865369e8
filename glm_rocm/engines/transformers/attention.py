"""Our paged attention behind transformers' attention interface.

transformers keeps one growing tensor per layer, `[B, Hkv, L, D]`. Our kernels read pages; here a page is one token, and
`B` sequences of `L` tokens are one cache of slots by strides alone:

    slot(b, l) = (b * stride_B + l * stride_L) / unit,   unit = gcd(stride_B, stride_L)

so nothing is copied, whatever the layout. Padding, on whichever side, is left out: a sequence's block table lists its
real tokens, and only its real queries are rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from glm_rocm.engines.transformers.active import kernel
from glm_rocm.engines.transformers.hooks import CAUSAL
from glm_rocm.errors import UsageError


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of the last Q of L positions.

    Args:
        query: `[B, Hq, Q, D]`.
        key, value: `[B, Hkv, L, D]`, the queries' own included.
        attention_mask: `[B, L]` bool from `padding_mask`, False at padding; None: no padding.
        scaling: factor of q . k.
        dropout: must be 0; there is no backward pass.

    Returns:
        `[B, Q, Hq, D]` contiguous, zero at padding; and None for the weights that nobody keeps.
    """
    if dropout:
        raise UsageError("attention with dropout", required="inference", hint="call `model.eval()`")
    if key.stride() != value.stride():
        key, value = key.contiguous(), value.contiguous()
    slots = slot_numbers(key)  # [B, L]
    caches = slot_view(key), slot_view(value)
    rows = query.transpose(1, 2)  # [B, Q, Hq, D]
    run = kernel("attention")
    if attention_mask is None:
        return _attend_all(run, rows, caches, slots, scaling), None
    return _attend_real(run, rows, caches, slots, _checked(attention_mask, slots), scaling), None


def padding_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] | None = None,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> Tensor | None:
    """What transformers hands to `attend` as its mask: `[B, L]`, False at padding, or None where there is none.

    Raises:
        UsageError: a mask that is more than causal and padding, or a cache that is not filled to its end.
    """
    if mask_function is not None and mask_function is not CAUSAL.resolve():
        raise UsageError(
            "an attention mask beyond causal and padding (packed sequences, a custom mask)",
            required="one sequence per row of the batch",
            hint="pad the batch and pass a two-dimensional `attention_mask`",
        )
    if kv_offset != 0 or int(q_offset) + q_length != kv_length:
        raise UsageError(
            f"a cache of {kv_length} positions whose last query is at {int(q_offset) + q_length}",
            required="a cache that grows with the sequence",
            hint='generate with `cache_implementation="dynamic"`, the default',
        )
    if attention_mask is None or bool(attention_mask.all()):
        return None
    return attention_mask.to(torch.bool)


def slot_numbers(cache: Tensor) -> Tensor:
    """The slot of each token of `cache [B, Hkv, L, D]` in its `slot_view`, `[B, L]` int32."""
    batch, _, length, _ = cache.shape
    unit = _unit(cache)
    sequences = torch.arange(batch, device=cache.device, dtype=torch.int32) * (cache.stride(0) // unit)
    tokens = torch.arange(length, device=cache.device, dtype=torch.int32) * (cache.stride(2) // unit)
    return sequences[:, None] + tokens


def slot_view(cache: Tensor) -> Tensor:
    """`cache [B, Hkv, L, D]` as `[slots, 1, Hkv, D]` without a copy; slots overlap, and only some are tokens."""
    batch, kv_heads, length, head_dim = cache.shape
    unit = _unit(cache)
    last = (batch - 1) * cache.stride(0) + (length - 1) * cache.stride(2)
    shape = (last // unit + 1, 1, kv_heads, head_dim)
    return cache.as_strided(shape, (unit, unit, cache.stride(1), cache.stride(3)))


def _unit(cache: Tensor) -> int:
    return math.gcd(cache.stride(0), cache.stride(2)) or 1


def _attend_all(
    run: Callable[..., Tensor], rows: Tensor, caches: tuple[Tensor, Tensor], slots: Tensor, scaling: float
) -> Tensor:
    """Every position is real: B sequences of Q queries and L tokens."""
    batch, queries, heads, head_dim = rows.shape
    starts = torch.arange(0, (batch + 1) * queries, queries, dtype=torch.int32, device=rows.device)
    lengths = torch.full((batch,), slots.shape[1], dtype=torch.int32, device=rows.device)
    flat = rows.reshape(batch * queries, heads, head_dim)
    return run(flat, *caches, slots, starts, lengths, scale=scaling).view(batch, queries, heads, head_dim)


def _attend_real(
    run: Callable[..., Tensor],
    rows: Tensor,
    caches: tuple[Tensor, Tensor],
    slots: Tensor,
    real: Tensor,
    scaling: float,
) -> Tensor:
    """Only the tokens and queries where `real [B, L]` is True count."""
    queries = real[:, -rows.shape[1] :]  # [B, Q]
    starts = torch.zeros(real.shape[0] + 1, dtype=torch.int32, device=rows.device)
    starts[1:] = queries.sum(1).cumsum(0)
    # A stable sort puts each row's real tokens first, in order; what follows them is beyond the context length.
    order = real.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    table = slots.gather(1, order)
    lengths = real.sum(1, dtype=torch.int32)
    out = torch.zeros(rows.shape, dtype=rows.dtype, device=rows.device)
    out[queries] = run(rows[queries], *caches, table, starts, lengths, scale=scaling)
    return out


def _checked(mask: Tensor, slots: Tensor) -> Tensor:
    if mask.shape == slots.shape:
        return mask
    raise UsageError(
        f"an attention mask of shape {tuple(mask.shape)}",
        required=f"{tuple(slots.shape)}: one flag per sequence and position",
        hint="pass a two-dimensional `attention_mask`",
    )
