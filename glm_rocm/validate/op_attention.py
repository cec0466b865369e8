"""Attention over a paged cache: build the batch, run it, check it. What no sequence owns is NaN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glm_rocm.numerics import FORMATS, calc_diff
from glm_rocm.reference.attention import encode
from glm_rocm.validate import oracle
from glm_rocm.validate.results import Check, check
from glm_rocm.validate.sweep import contexts
from glm_rocm.validate.trial import NAN, Trial, format_error, worst

GARBAGE = 2**30
"""What stands in a block table past a sequence's last page: anything may."""
K_SCALE, V_SCALE = 0.03, 0.02
"""Of an FP8 cache: different, and far from 1, so that none can be forgotten or exchanged."""
PADDING = 3


@dataclass(frozen=True)
class Pages:
    """A cache with its table, in the problem's cache dtype, and the same numbers in the queries' dtype."""

    k: Tensor
    v: Tensor
    plain_k: Tensor
    plain_v: Tensor
    table: Tensor


def hold_attention(trial: Trial) -> list[Check]:
    """Prefill, decode and verify over pages dealt out at random."""
    problem = trial.problem
    sequences = batch_of(trial)
    fp8 = getattr(torch, problem.kv_dtype) in FORMATS
    scales = {"k_scale": K_SCALE, "v_scale": V_SCALE} if fp8 else {}
    pages = deal(trial, [context for _, context in sequences], scales)
    valid = sum(queries for queries, _ in sequences)
    rows = valid + (PADDING if trial.stress == "padding" else 0)
    q = torch.full((rows, problem.heads, problem.head_dim + 8), NAN, dtype=trial.dtype)[..., : problem.head_dim]
    q[:valid] = (torch.randn(valid, problem.heads, problem.head_dim, generator=trial.random) * 2).to(trial.dtype)
    starts = torch.tensor([0, *(queries for queries, _ in sequences)]).cumsum(0).to(torch.int32)
    lengths = torch.tensor([context for _, context in sequences], dtype=torch.int32)
    options = {"scale": problem.head_dim**-0.5, **scales}
    arguments = (q, pages.k, pages.v, pages.table, starts, lengths)
    got = trial.call(*arguments, **options)
    want = oracle.attention(*arguments, **options)
    kind = "float8" if fp8 else problem.dtype
    checks = trial.parity(got, want, kind, rows=valid)
    # Per head as well: one wrong head in twelve is diluted in a token's whole row.
    where, diff = worst(calc_diff(got[:valid].flatten(0, 1), want[:valid].flatten(0, 1)))
    checks.append(check(f"same_bits.{kind}", diff, where=f"head, {where}"))
    if rows > valid:
        checks.append(check("padding", int((got[valid:] != 0).sum())))
    if trial.repeat:
        checks.append(trial.repeats([got], [trial.call(*arguments, **options)]))
    if fp8:
        plain = oracle.attention(q, pages.plain_k, pages.plain_v, *arguments[3:], scale=options["scale"])
        checks += format_error("format.attention", got[:valid], plain[:valid])
    return checks


def batch_of(trial: Trial) -> list[tuple[int, int]]:
    """(queries, context) of each sequence, M queries in all."""
    m, most = trial.m, contexts(trial.m)
    match trial.stress:
        case "verify":  # four queries a sequence: three MTP drafts and the token before them
            return [(4, 40 + 31 * index) for index in range(m // 4)]
        case "prefill":
            return [(m, m)]
        case "mixed":  # prefill from nothing, a chunk of a prefill, a verify, decodes
            return [(9, 9), (8, 57), (4, 70), (1, 1), (1, 33)]
        case "long":
            return [(1, trial.context)]
        case _:
            return [(1, 1 + 17 * index % most) for index in range(m)] if m > 1 else [(1, most)]


def deal(trial: Trial, lengths: Sequence[int], scales: dict[str, float]) -> Pages:
    """Keys and values on pages in random order."""
    problem, random = trial.problem, trial.random
    size, counts = problem.block_size, [-(-length // problem.block_size) for length in lengths]
    blocks = sum(counts) + 2
    order = torch.randperm(blocks, generator=random).to(torch.int32)
    table = torch.full((len(lengths), max(counts) + 2), GARBAGE, dtype=torch.int32)
    shape = (blocks * size, problem.kv_heads, problem.head_dim)
    taken, slots = 0, []
    for row, (count, length) in enumerate(zip(counts, lengths, strict=True)):
        table[row, :count] = order[taken : taken + count]
        index = torch.arange(length)
        slots.append(table[row, index // size].long() * size + index % size)
        taken += count
    owned = torch.cat(slots)
    caches, plain = [], []
    kv_dtype: torch.dtype = getattr(torch, problem.kv_dtype)
    for scale in (scales.get("k_scale", 1.0), scales.get("v_scale", 1.0)):
        whole = torch.full(shape, NAN)
        whole[owned] = torch.randn(len(owned), *shape[1:], generator=random)
        stored = encode(whole, kv_dtype, scale)
        caches.append(stored.view(blocks, size, *shape[1:]))
        plain.append(whole.to(trial.dtype).view(blocks, size, *shape[1:]))
    return Pages(caches[0], caches[1], plain[0], plain[1], table)
