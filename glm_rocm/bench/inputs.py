"""The tensors of a case, made from its name alone: the same on every machine, for every kernel that is compared."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from glm_rocm.bench.cases import PAGE, Case
from glm_rocm.numerics import format_of
from glm_rocm.reference.moe import route
from glm_rocm.reference.norm_rope import cos_sin_table

POOL = 1 << 20
"""Random numbers that weights are cut from: each expert begins at another of them, so no two are alike."""
MOST_ROUTED = 16
"""Tokens of the largest batch whose every expert runs. Experts that no workgroup reads stay zero and cost no memory."""
APART = 8.0
"""By how much a token's logits of its group's experts exceed all others, where tokens are grouped."""
ROUTE_WIDTH = 64
"""Hidden and intermediate width behind a `route` case, whose experts only make the routing visible."""
SPREAD = 1.0 / 64
"""RMS of weights, so that a sum of 4,096 products has an RMS of 1."""


@dataclass(frozen=True)
class Inputs:
    """The arguments of one call.

    Attributes:
        tensors: by our wrappers' argument names.
        options: the other arguments.
        useful_flops: multiplications and additions that the result needs, two a term; 0 without matrix products.
        ideal_bytes: of cache or weights (or, in the prologue, of all tensors) read or written once.
    """

    case: Case
    tensors: dict[str, Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    useful_flops: int = 0
    ideal_bytes: int = 0

    def to(self, device: torch.device) -> Inputs:
        """A copy on `device`, new memory also where it is the same device."""
        moved = {name: torch.empty_like(x, device=device).copy_(x) for name, x in self.tensors.items()}
        return replace(self, tensors=moved)

    def rows(self, numbers: Tensor) -> Inputs:
        """The same call with some of a `moe` case's tokens."""
        cut = {name: self.tensors[name][numbers] for name in ("x", "logits")}
        return replace(self, tensors=self.tensors | cut)


def make_inputs(case: Case, fp8: torch.dtype, *, whole: bool = False) -> Inputs:
    """The tensors of a case on the CPU.

    Args:
        fp8: the format that the target multiplies.
        whole: give numbers also to experts whose workgroups the emulator would not run: on a card zeros are cheaper.
    """
    if case.op == "moe":
        return _moe(case, fp8, whole=whole)
    return _MAKERS[case.op](case, fp8)


def _random(case: Case) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(case.name.encode()))


def _attention(case: Case, fp8: torch.dtype) -> Inputs:
    """Pages are dealt out at random; what no sequence owns is NaN."""
    random, rank, d = _random(case), case.rank, case.spec.head_dim
    pages = -(-case.context // PAGE)
    blocks = case.sequences * pages + 1
    deal = torch.randperm(blocks - 1, generator=random).to(torch.int32).view(case.sequences, pages)
    table = torch.zeros(case.sequences, max(pages, case.table // PAGE), dtype=torch.int32)
    table[:, :pages] = deal
    caches = {}
    for name in ("k_cache", "v_cache"):
        x = torch.randn(blocks, PAGE, rank.kv_heads, d, generator=random)
        if case.context % PAGE:
            x[deal[:, -1].long(), case.context % PAGE :] = float("nan")
        x[-1] = float("nan")
        caches[name] = x.to(fp8 if case.fp8 else torch.bfloat16)
    q = torch.randn(case.tokens, rank.heads, d, generator=random).to(torch.bfloat16)
    starts = torch.arange(case.sequences + 1, dtype=torch.int32) * case.queries
    contexts = torch.full((case.sequences,), case.context, dtype=torch.int32)
    first = case.context - case.queries
    seen = case.sequences * sum(first + row + 1 for row in range(case.queries))
    return Inputs(
        case,
        {"q": q, **caches, "block_table": table, "query_start": starts, "context_len": contexts},
        {"scale": d**-0.5},
        useful_flops=4 * d * rank.heads * seen,
        ideal_bytes=2 * case.sequences * case.context * rank.kv_heads * d * caches["k_cache"].element_size(),
    )


def _moe(case: Case, fp8: torch.dtype, *, whole: bool) -> Inputs:
    filled = tuple(range(case.experts)) if whole else _experts_that_run(case)
    return _experts(case, case.hidden, case.rank.moe_intermediate, fp8 if case.fp8 else torch.bfloat16, filled)


def _route(case: Case, fp8: torch.dtype) -> Inputs:
    return _experts(case, ROUTE_WIDTH, ROUTE_WIDTH, torch.bfloat16, tuple(range(case.experts)))


def _experts(case: Case, hidden: int, n: int, dtype: torch.dtype, filled: tuple[int, ...]) -> Inputs:
    logits, bias, options = _routing(case)
    ids, _ = route(logits, bias, **options)
    x = torch.randn(case.tokens, hidden, generator=_random(case)).to(torch.bfloat16)
    tensors = {"x": x, "logits": logits, "bias": bias, **_weights(case.experts, hidden, n, dtype, filled)}
    options["quant"] = "channel_token" if "w13_scale" in tensors else "none"
    if case.op == "route":
        return Inputs(case, tensors, options)
    used = len(set(ids.flatten().tolist()))
    return Inputs(
        case,
        tensors,
        options,
        useful_flops=6 * hidden * n * ids.numel(),
        ideal_bytes=used * 3 * n * hidden * dtype.itemsize,
    )


def _routing(case: Case) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """The first rows of the same logits for every M, so that a weight's experts serve all of them."""
    spec = case.spec
    random = torch.Generator().manual_seed(case.experts)
    logits = torch.randn(max(case.tokens, MOST_ROUTED), case.experts, generator=random)[: case.tokens].contiguous()
    if case.sample > 1:
        group = torch.arange(case.tokens) // (case.tokens // case.sample)
        mine = torch.arange(case.experts) // spec.top_k == group[:, None]
        logits = logits / 4 - APART * ~mine
    bias = torch.randn(case.experts, generator=torch.Generator().manual_seed(1)) / 100
    options: dict[str, Any] = {
        "top_k": spec.top_k,
        "n_group": spec.n_group,
        "topk_group": spec.topk_group,
        "normalize": spec.norm_topk,
        "scale": spec.routed_scale,
    }
    return logits, bias, options


@lru_cache(maxsize=1)
def _weights(experts: int, hidden: int, n: int, dtype: torch.dtype, filled: tuple[int, ...]) -> dict[str, Tensor]:
    """`w13 [E, 2N, H]` and `w2 [E, H, N]`; FP8 with a scale a channel. Kept for the next case of the same weights."""
    random = torch.Generator().manual_seed(hidden + n)
    pool = torch.randn(POOL, generator=random)
    one = format_of(dtype).quant_max / 8 if dtype.itemsize == 1 else SPREAD
    codes = (pool * one).clamp(-8 * one, 8 * one).to(dtype).view(torch.int8 if dtype.itemsize == 1 else torch.int16)
    found = {}
    for name, shape in (("w13", (experts, 2 * n, hidden)), ("w2", (experts, hidden, n))):
        weight = torch.zeros(shape, dtype=codes.dtype)
        for expert in filled:
            _fill(weight[expert].view(-1), codes, 4099 * expert)
        found[name] = weight.view(dtype)
        if dtype.itemsize == 1:
            spread = 2.0 ** torch.randint(-1, 2, (experts, shape[1], 1), generator=random)
            found[f"{name}_scale"] = spread * SPREAD / one
    return found


def _experts_that_run(case: Case) -> tuple[int, ...]:
    """Those that any token of the largest unsampled case goes to; of a sampled case the first group's."""
    if case.sample > 1:
        return tuple(range(case.spec.top_k))
    logits, bias, options = _routing(replace(case, tokens=MOST_ROUTED))
    return tuple(sorted(set(route(logits, bias, **options)[0].flatten().tolist())))


def _fill(row: Tensor, codes: Tensor, start: int) -> None:
    """Numbers of the pool from `start` on, round and round."""
    at = 0
    while at < row.numel():
        first = (start + at) % codes.numel()
        count = min(codes.numel() - first, row.numel() - at)
        row[at : at + count] = codes[first : first + count]
        at += count


def _prologue(case: Case, fp8: torch.dtype) -> Inputs:
    """Rows of one QKV product, as the model gives them: q, k and v are views of it."""
    random, rank, spec, d = _random(case), case.rank, case.spec, case.spec.head_dim
    kv_heads = rank.kv_heads
    qkv = torch.randn(case.tokens, (rank.heads + 2 * kv_heads) * d, generator=random).to(torch.bfloat16)
    q, k, v = (part.view(case.tokens, -1, d) for part in torch.tensor_split(qkv, (rank.heads * d, -kv_heads * d), 1))
    blocks = -(-case.tokens // PAGE) + 1
    cache = torch.zeros(blocks, PAGE, kv_heads, d).to(fp8 if case.fp8 else torch.bfloat16)
    tensors = {
        "q": q,
        "k": k,
        "v": v,
        "positions": torch.randint(0, 8192, (case.tokens,), generator=random),
        "cos_sin": cos_sin_table(8192, spec.rotary_dim, spec.rope_theta),
        "slots": torch.randperm(blocks * PAGE, generator=random)[: case.tokens],
        "k_cache": cache,
        "v_cache": cache.clone(),
    }
    for name, heads in (("q_bias", rank.heads), ("k_bias", kv_heads), ("v_bias", kv_heads)):
        tensors[name] = torch.randn(heads * d, generator=random).to(torch.bfloat16)
    if spec.qk_norm:
        tensors["q_weight"], tensors["k_weight"] = (torch.rand(2, d, generator=random) + 0.5).to(torch.bfloat16)
    return Inputs(
        case,
        tensors,
        {"eps": spec.rms_eps},
        ideal_bytes=2 * qkv.numel() * 2 + case.tokens * (spec.rotary_dim * 4 + 16),
    )


_MAKERS: dict[str, Callable[[Case, torch.dtype], Inputs]] = {
    "attention": _attention,
    "route": _route,
    "prologue": _prologue,
}
