"""Attention: causal over a whole sequence, and of one token over a paged cache."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from corpus.case import Case, close

D = 128
LOG2_E = tl.constexpr(math.log2(math.e))
RELATIVE = 2.0**-7
"""Probabilities are rounded to bf16 before the second product."""
ABSOLUTE = 8e-3


@triton.jit
def flash(
    q, k, v, out, tokens, scale, stride_qt, stride_qh, stride_kt, stride_kh,
    GROUP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Causal attention; q and out [tokens, heads, D], k and v [tokens, heads / GROUP, D]."""
    block, head = tl.program_id(0), tl.program_id(1)
    rows, columns, inner = block * BM + tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, D)
    place = rows[:, None] * stride_qt + head * stride_qh + inner[None, :]
    query = tl.load(q + place, (rows < tokens)[:, None], other=0.0)
    most = tl.full((BM,), -float("inf"), tl.float32)
    weight = tl.zeros((BM,), tl.float32)
    total = tl.zeros((BM, D), tl.float32)
    for start in range(0, tl.minimum((block + 1) * BM, tokens), BN):
        at = start + columns
        cache = at[:, None] * stride_kt + head // GROUP * stride_kh + inner[None, :]
        keys = tl.load(k + cache, (at < tokens)[:, None], other=0.0)
        score = tl.dot(query, keys.T) * (scale * LOG2_E)
        score = tl.where((at[None, :] <= rows[:, None]) & (at < tokens)[None, :], score, -float("inf"))
        higher = tl.maximum(most, tl.max(score, 1))
        probability, decay = tl.exp2(score - higher[:, None]), tl.exp2(most - higher)
        weight = weight * decay + tl.sum(probability, 1)
        values = tl.load(v + cache, (at < tokens)[:, None], other=0.0)
        total = tl.dot(probability.to(values.dtype), values, total * decay[:, None])
        most = higher
    tl.store(out + place, (total / weight[:, None]).to(out.dtype.element_ty), (rows < tokens)[:, None])


@triton.jit
def paged(
    q, keys, values, table, lengths, out, scale, stride_qb, stride_qh, stride_kb, stride_kp, stride_kh, stride_t,
    GROUP: tl.constexpr, ROWS: tl.constexpr, PAGE: tl.constexpr, BN: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """One token of each sequence over its pages; ROWS is GROUP, the query heads of a KV head, padded to a tile."""
    sequence, head = tl.program_id(0), tl.program_id(1)
    rows, columns, inner = tl.arange(0, ROWS), tl.arange(0, BN), tl.arange(0, D)
    length = tl.load(lengths + sequence)
    place = sequence * stride_qb + (head * GROUP + rows)[:, None] * stride_qh + inner[None, :]
    query = tl.load(q + place, (rows < GROUP)[:, None], other=0.0)
    most = tl.full((ROWS,), -float("inf"), tl.float32)
    weight = tl.zeros((ROWS,), tl.float32)
    total = tl.zeros((ROWS, D), tl.float32)
    for start in range(0, length, BN):
        at = start + columns
        page = tl.load(table + sequence * stride_t + at // PAGE, at < length, other=0).to(tl.int64)
        slot = page * stride_kb + at % PAGE * stride_kp + head * stride_kh
        k = tl.load(keys + slot[None, :] + inner[:, None], (at < length)[None, :], other=0.0)
        score = tl.where((at < length)[None, :], tl.dot(query, k) * (scale * LOG2_E), -float("inf"))
        higher = tl.maximum(most, tl.max(score, 1))
        probability, decay = tl.exp2(score - higher[:, None]), tl.exp2(most - higher)
        weight = weight * decay + tl.sum(probability, 1)
        v = tl.load(values + slot[:, None] + inner[None, :], (at < length)[:, None], other=0.0)
        total = tl.dot(probability.to(v.dtype), v, total * decay[:, None])
        most = higher
    tl.store(out + place, (total / weight[:, None]).to(out.dtype.element_ty), (rows < GROUP)[:, None])


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def _flash_arguments(tokens: int, heads: int, group: int, arch: str) -> list[Any]:
    """q, k and v are views of one projection, as a model makes them."""
    kv = heads // group
    fused = _random(1, tokens, heads + 2 * kv, D)
    q, k, v = fused[:, :heads], fused[:, heads : heads + kv], fused[:, heads + kv :]
    out = torch.zeros(tokens, heads + 2 * kv, D, dtype=torch.bfloat16)[:, :heads]
    return [q, k, v, out, tokens, 1 / math.sqrt(D), fused.stride(0), D, fused.stride(0), D]


def _flash_check(group: int, arguments: list[Any], arch: str) -> None:
    q, k, v, out, tokens, scale = arguments[:6]
    k, v = (each.double().repeat_interleave(group, 1) for each in (k, v))
    score = torch.einsum("qhd,khd->hqk", q.double(), k) * scale
    score.masked_fill_(torch.ones(tokens, tokens, dtype=torch.bool).triu(1), -float("inf"))
    close(out, torch.einsum("hqk,khd->qhd", score.softmax(-1), v), RELATIVE, ABSOLUTE)


def _paged_arguments(arch: str) -> list[Any]:
    group, page, lengths = 12, 16, [45, 1]
    keys, values = _random(2, 6, page, 1, D), _random(3, 6, page, 1, D)
    table = torch.tensor([[4, 1, 3, 0], [5, 0, 0, 0]], dtype=torch.int32)
    q, out = _random(4, 2, group, D), torch.zeros(2, group, D, dtype=torch.bfloat16)
    strides = [group * D, D, page * D, D, D, 4]
    return [q, keys, values, table, torch.tensor(lengths, dtype=torch.int32), out, 1 / math.sqrt(D), *strides]


def _paged_check(arguments: list[Any], arch: str) -> None:
    q, keys, values, table, lengths, out, scale = arguments[:7]
    for sequence, length in enumerate(lengths.tolist()):
        k, v = (each[table[sequence].long()].reshape(-1, D)[:length].double() for each in (keys, values))
        expected = (q[sequence].double() @ k.T * scale).softmax(-1) @ v
        close(out[sequence], expected, RELATIVE, ABSOLUTE)


def _flash(name: str, tokens: int, heads: int, group: int, bm: int, bn: int, **options: Any) -> Case:
    return Case(
        name,
        flash,
        (-(-tokens // bm), heads),
        partial(_flash_arguments, tokens, heads, group),
        partial(_flash_check, group),
        {"GROUP": group, "BM": bm, "BN": bn, "D": D, **options},
    )


CASES = [
    _flash("flash_16x32_of_one_wave", 40, 1, 1, 16, 32, num_warps=1),
    _flash("flash_64x64_two_heads_share_keys", 70, 2, 2, 64, 64, num_warps=4),
    Case(
        "paged_decode_of_12_heads",
        paged,
        (2, 1),
        _paged_arguments,
        _paged_check,
        {"GROUP": 12, "ROWS": 16, "PAGE": 16, "BN": 32, "D": D, "num_warps": 2},
    ),
]
