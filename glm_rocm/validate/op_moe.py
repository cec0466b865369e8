"""Routing and experts: build the call, run it, check it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from glm_rocm.ops.moe import ExpertsProblem
from glm_rocm.reference.moe import route
from glm_rocm.validate import oracle
from glm_rocm.validate.op_linear import encode_weight, kind_of
from glm_rocm.validate.results import Check, check
from glm_rocm.validate.trial import NAN, Trial, activations, bits, format_error, worst

SCALE = 2.5
"""routed_scaling_factor of the 355B models: a factor that shows when it is missing or applied twice."""
AMBIGUOUS = 4 * 2.0**-23
"""Scores nearer than this, relatively, may be ordered either way: one ulp of an exponential decides."""
ELSEWHERE = -1
AVERAGING = 1024
"""Products of a token's second sum from which on the format's error averages out as at GLM's own sizes (8 x 176)."""


def hold_route(trial: Trial) -> list[Check]:
    """Choice and weights; inputs that tell a bias that chooses from one that weighs."""
    problem, random = trial.problem, trial.random
    logits = torch.randn(trial.m, problem.experts, generator=random) * 2
    bias = torch.randn(problem.experts, generator=random) * 0.2
    groups = {"n_group": problem.n_group, "topk_group": problem.topk_group}
    match trial.stress:
        case "bias near 12":  # steps that bf16 cannot hold (TensorRT-LLM 13328)
            bias = torch.linspace(11.9, 12.1, problem.experts)[torch.randperm(problem.experts, generator=random)]
        case "tiny scores":  # weights must come from the scores themselves (flashinfer 3875)
            logits = logits / 4 - 18
            bias = bias + 12
        case "negative bias":
            bias = bias - 3
        case "groups" if problem.experts % 4 == 0 and problem.experts // 4 * 2 >= problem.top_k:
            bias, groups = bias - 3, {"n_group": 4, "topk_group": 2}  # vllm 31478
        case "ties":
            logits, bias = torch.zeros_like(logits), torch.zeros_like(bias)
    options = {"top_k": problem.top_k, **groups, "normalize": True, "scale": SCALE}
    ids, weights = trial.call(logits, bias, **options)
    want_ids, want = route(logits, bias, top_k=problem.top_k, **groups, scale=SCALE)
    checks = [ids_check(ids, want_ids, logits, bias, exact=trial.stress == "ties")]
    checks.append(check("finite", int((~torch.isfinite(weights)).any(-1).sum())))
    same = (ids == want_ids).all(-1)
    error = ((weights - want).abs() / want.abs().clamp_min(1e-30)).amax(-1)
    where, largest = worst(torch.where(same, error, torch.zeros_like(error)))
    checks.append(check("weights", largest, where=where))
    if trial.repeat:
        checks.append(trial.repeats((ids, weights), trial.call(logits, bias, **options)))
    return checks


def ids_check(got: Tensor, want: Tensor, logits: Tensor, bias: Tensor, *, exact: bool) -> Check:
    """Slots with another expert than the reference's, those within rounding of the right one left out."""
    if got.shape != want.shape or bool(((got < 0) | (got >= logits.shape[1])).any()):
        return check("ids", NAN, where="ids out of range")
    different = got != want
    if not exact:
        choice = torch.sigmoid(logits) + bias
        apart = (choice.gather(1, got.long()) - choice.gather(1, want.long())).abs()
        different &= apart > AMBIGUOUS * choice.abs().amax(-1, keepdim=True).clamp_min(1.0)
    tokens = different.any(-1).nonzero()
    where = f"token {int(tokens[0])} of {got.shape[0]}" if len(tokens) else ""
    return check("ids", int(different.sum()), where=where)


def hold_experts(trial: Trial) -> list[Check]:
    """The routed experts' sum."""
    problem, m = trial.problem, trial.m
    uneven = trial.stress != "plain"
    plain13, plain2, codes13, codes2, scales = weights_of(problem, trial.fp8, uneven=uneven)
    padded = 3 * (trial.stress == "padding")
    x = activations(trial, problem.hidden, rows=m + padded)
    random = trial.random
    ids = torch.rand(m + padded, problem.experts, generator=random).argsort(-1)[:, : problem.top_k].int()
    gates = torch.rand(m + padded, problem.top_k, generator=random) + 0.1
    options: dict[str, Any] = {**scales, "quant": problem.quant}
    match trial.stress:
        case "one expert":
            ids = ids[:1].repeat(m, 1)
        case "expert map":  # every second expert is on another rank; local weights are the others, in order
            options["expert_map"] = _map(problem.experts)
            codes13, codes2, plain13, plain2 = (part[::2].contiguous() for part in (codes13, codes2, plain13, plain2))
            options |= {name: value[::2].contiguous() for name, value in scales.items() if value is not None}
        case "padding":
            x[m:] = NAN
            ids[m : m + 2] = ELSEWHERE  # silent rows must stay 0; the last one is a NaN with experts of its own
    got = trial.call(x, codes13, codes2, ids, gates, **options)
    want = oracle.experts(x, codes13, codes2, ids, gates, **options)
    checks = trial.parity(got, want, kind_of(problem.quant, problem.dtype), rows=m)
    if padded:
        checks.append(check("padding", int((got[m : m + 2] != 0).sum()), where="rows without an expert"))
    if trial.repeat:
        checks.append(trial.repeats([got], [trial.call(x, codes13, codes2, ids, gates, **options)]))
    if problem.quant != "none" and trial.stress == "plain":
        gate = "format.experts" if problem.top_k * problem.intermediate >= AVERAGING else "format.narrow"
        checks += format_error(gate, got, oracle.experts(x, plain13, plain2, ids, gates))
    return checks


def _map(experts: int) -> Tensor:
    mapping = torch.full((experts,), ELSEWHERE, dtype=torch.int32)
    mapping[::2] = torch.arange(-(-experts // 2), dtype=torch.int32)
    return mapping


@lru_cache(maxsize=2)
def weights_of(
    problem: ExpertsProblem, fp8: torch.dtype, *, uneven: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor | None]]:
    """w13 and w2 as they were and as FP8: Gaussian, or `uneven`, so that no channel's scale can stand for another's."""
    random = torch.Generator().manual_seed(7)
    experts, hidden, n = problem.experts, problem.hidden, problem.intermediate
    dtype: torch.dtype = getattr(torch, problem.dtype)
    w13 = torch.randn(experts, 2 * n, hidden, generator=random) / hidden**0.5
    w2 = torch.randn(experts, hidden, n, generator=random) / n**0.5
    if uneven:
        w13 *= 2.0 ** torch.randint(-2, 3, (experts, 2 * n, 1), generator=random)
        w2 *= 2.0 ** torch.randint(-2, 3, (experts, hidden, 1), generator=random)
    w13, w2 = w13.to(dtype), w2.to(dtype)
    # A checkpoint quantises gate and up apart: their blocks begin anew at row N.
    (gate, gate_scale), (up, up_scale) = (encode_weight(part, problem.quant, fp8) for part in w13.chunk(2, 1))
    codes2, scale2 = encode_weight(w2, problem.quant, fp8)
    if gate_scale is None or up_scale is None:
        return w13, w2, w13, w2, {"w13_scale": None, "w2_scale": None}
    codes13 = torch.cat([bits(gate), bits(up)], 1).view(gate.dtype)
    return w13, w2, codes13, codes2, {"w13_scale": torch.cat([gate_scale, up_scale], 1), "w2_scale": scale2}
