"""Linear layers, quantisation, norm and rope: build the call, run it, check it."""

from __future__ import annotations

import torch
from torch import Tensor

from glm_rocm.numerics import E4M3FN, E4M3FNUZ, calc_diff, fn_to_fnuz
from glm_rocm.reference import linear as reference
from glm_rocm.reference import quant as reference_quant
from glm_rocm.reference.norm_rope import cos_sin_table, norm_rope
from glm_rocm.validate.results import Check, check
from glm_rocm.validate.trial import NAN, Trial, activations, bits, format_error, strided_rows, worst

FAR = 131_000
"""A position near GLM-4.5's longest context."""
GAP = 131_072


def encode_weight(w: Tensor, quant: str, fp8: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """A weight `[..., N, K]` as a checkpoint holds it and the target reads it: e4m3fn, converted where it must be."""
    if quant == "none":
        return w, None
    make = reference_quant.quantize_per_channel if quant == "channel_token" else reference_quant.quantize_blocks
    codes, scale = make(w, dtype=E4M3FN.dtype)
    return fn_to_fnuz(codes, scale) if fp8 == E4M3FNUZ.dtype else (codes, scale)


def hold_linear(trial: Trial) -> list[Check]:
    """`x @ w.T + bias`, FP8 or not."""
    problem, random = trial.problem, trial.random
    inputs, outputs = problem.in_features, problem.out_features
    w = torch.randn(outputs, inputs, generator=random) / inputs**0.5
    if trial.stress != "plain":  # channels that differ in size: no scale can stand for another
        w *= 2.0 ** torch.randint(-2, 3, (outputs, 1), generator=random)
    plain = w.to(trial.dtype)
    codes, scale = encode_weight(plain, problem.quant, trial.fp8)
    padded = trial.stress == "padding"
    x = activations(trial, inputs, rows=trial.m + padded)
    if padded:
        x[-1] = NAN
    bias = torch.randn(outputs, generator=random).to(trial.dtype) if trial.stress == "bias" else None
    options = {"w_scale": scale, "bias": bias, "quant": problem.quant, "out_dtype": trial.dtype}
    got = trial.call(x, codes, **options)
    want = reference.linear(x, codes, w_scale=scale, bias=bias, quant=problem.quant)
    checks = trial.parity(got, want, kind_of(problem.quant, problem.dtype), rows=trial.m)
    if trial.repeat:
        checks.append(trial.repeats([got], [trial.call(x, codes, **options)]))
    if problem.quant != "none" and trial.stress == "plain":
        checks += format_error("format.product", got, reference.linear(x, plain, bias=bias))
    return checks


def hold_quant(trial: Trial) -> list[Check]:
    """Codes and scales, bit for bit."""
    padded = trial.stress == "padding"
    x = activations(trial, trial.problem.width, rows=trial.m + padded)
    if padded:
        x[-1] = NAN
    if trial.problem.scheme == "block":
        got = trial.call(x, dtype=trial.fp8)
        want = reference_quant.quantize_token_groups(x, dtype=trial.fp8)
    else:
        got = trial.call(x, trial.fp8)
        want = reference_quant.quantize_per_token(x, trial.fp8)
    rows = trial.m
    different = sum(int((bits(a[:rows]) != bits(b[:rows])).sum()) for a, b in zip(got, want, strict=True))
    finite = int((~torch.isfinite(got[0][:rows].float())).any(-1).sum())
    zero = int((got[1][:rows] <= 0).sum())
    return [check("codes", different), check("finite", finite + zero, where="scales of 0" if zero else "")]


def hold_norm_rope(trial: Trial) -> list[Check]:
    """Norm of each head and rotation, at positions that are far apart."""
    problem, random, m = trial.problem, trial.random, trial.m
    rows = m + (trial.stress == "padding")
    q, k = (_heads(trial, rows, heads) for heads in (problem.heads, problem.kv_heads))
    far = trial.stress == "far positions"
    positions = torch.randint(FAR, GAP, (rows,), generator=random) if far else torch.arange(rows) * 3 % 4096
    table = cos_sin_table(GAP if far else 4096, problem.rotary_dim, 1e6)
    if rows > m:
        q[-1], k[-1] = NAN, NAN
    weights: list[Tensor | None] = [None, None]
    if problem.qk_norm:
        weights = [(torch.rand(problem.head_dim, generator=random) + 0.5).to(trial.dtype) for _ in range(2)]
    options = {"q_weight": weights[0], "k_weight": weights[1], "eps": 1e-5}
    got = trial.call(q, k, positions, table, **options)
    want = norm_rope(q, k, positions, table, q_weight=weights[0], k_weight=weights[1], eps=1e-5)
    checks = []
    for part, found, right in zip(("q", "k"), got, want, strict=True):
        checks += trial.parity(found, right, problem.dtype, rows=m, part=part)
    # Per head as well: one wrong head in twelve is diluted in a token's whole row.
    heads_diff = _per_head(got[0][:m], want[0][:m])
    checks.append(check(f"same_bits.{problem.dtype}", heads_diff[1], where=f"head of q, {heads_diff[0]}"))
    if trial.repeat:
        checks.append(trial.repeats(got, trial.call(q, k, positions, table, **options)))
    return checks


def _heads(trial: Trial, rows: int, heads: int) -> Tensor:
    """`[rows, heads, D]` as a view whose neighbours are NaN."""
    d = trial.problem.head_dim
    flat = torch.randn(rows, heads * d, generator=trial.random) * (1 + heads % 3)
    return strided_rows(flat.to(trial.dtype)).view(rows, heads, d)


def _per_head(got: Tensor, want: Tensor) -> tuple[str, float]:
    return worst(calc_diff(got.flatten(0, 1), want.flatten(0, 1)))


def kind_of(quant: str, dtype: str) -> str:
    """The tolerance that applies: `float8` wherever FP8 is multiplied."""
    return dtype if quant == "none" else "float8"
