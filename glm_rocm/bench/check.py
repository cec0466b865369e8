"""Every measured call is held to the reference first: a figure of a wrong result is no figure."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from glm_rocm.backends.declare import EXACT
from glm_rocm.bench.inputs import Inputs
from glm_rocm.bench.sampling import checked_rows
from glm_rocm.numerics import Comparison, compare
from glm_rocm.ops.kernel import Tolerance
from glm_rocm.reference.attention import attention, encode
from glm_rocm.reference.moe import experts, route
from glm_rocm.reference.norm_rope import norm_rope

LABELS = {
    "attention": ("attention",),
    "moe": ("the experts' sum",),
    "route": ("the experts' sum of the routed tokens",),
    "prologue": ("q", "the key cache", "the value cache"),
}
FP8 = Tolerance(calc_diff=1e-3, max_abs=1e-1)
PEER = {"bfloat16": Tolerance(calc_diff=1e-4, max_abs=1e-1), "float8": Tolerance(calc_diff=1e-3, max_abs=3e-1)}
"""vLLM rounds more often (the softmax's weights and each expert's results to bf16; in FP8 the activations twice), so it
is held less tightly."""
_ROUNDED_STEPS = Tolerance(calc_diff=2e-5, max_abs=8e-2)
"""The torch kernels' prologue rounds after each of its steps."""


def tolerance(inputs: Inputs, who: str) -> Tolerance:
    """What a result may be off by; `who`: `ours`, `torch` or `vllm`."""
    kind = "float8" if inputs.case.fp8 else "bfloat16"
    if who == "vllm":
        return PEER[kind]
    if who == "torch" and inputs.case.op == "prologue":
        return _ROUNDED_STEPS
    return FP8 if inputs.case.fp8 else EXACT[kind]


def reference(inputs: Inputs) -> tuple[Tensor, ...]:
    """The results as the reference gives them, fp32, of inputs on the CPU; of a sampled case the checked rows."""
    case = inputs.case
    return _REFERENCE[case.op](inputs if case.sample == 1 else inputs.rows(checked_rows(case)))


def hold(found: tuple[Tensor, ...], want: tuple[Tensor, ...], inputs: Inputs, who: str) -> Comparison:
    """The worst of the results' comparisons.

    Args:
        found: a call's results, whole.
        want: the reference's.
        who: whose they are, see `tolerance`.

    Raises:
        ParityError: a token outside the tolerance, NaN or Inf.
    """
    if inputs.case.sample > 1:
        found = tuple(result[checked_rows(inputs.case).to(result.device)] for result in found)
    worst = []
    for label, got, right in zip(LABELS[inputs.case.op], found, want, strict=True):
        rows = torch.arange(got.shape[0])
        if got.dim() == 4:  # a cache: its slots are the rows, and those that nobody wrote hold nothing
            got, right = (x.reshape(-1, x.shape[-1]).float() for x in (got.cpu(), right))
            rows = right.abs().amax(-1).nonzero().flatten()
        name = f"{who} in case `{inputs.case.name}`: {label}"
        worst.append(compare(got.cpu().float()[rows], right[rows], tolerance(inputs, who), label=name))
    return max(worst, key=lambda comparison: comparison.calc_diff)


def _attention(inputs: Inputs) -> tuple[Tensor, ...]:
    t = inputs.tensors
    names = ("q", "k_cache", "v_cache", "block_table", "query_start", "context_len")
    return (attention(*(t[name] for name in names), **inputs.options),)


def _moe(inputs: Inputs) -> tuple[Tensor, ...]:
    t = inputs.tensors
    routing = {name: value for name, value in inputs.options.items() if name != "quant"}
    ids, weights = route(t["logits"], t["bias"], **routing)
    scales = {name: t.get(name) for name in ("w13_scale", "w2_scale")}
    return (experts(t["x"], t["w13"], t["w2"], ids, weights, **scales, quant=inputs.options["quant"]),)


def _prologue(inputs: Inputs) -> tuple[Tensor, ...]:
    t = inputs.tensors
    d = t["q"].shape[2]
    q, k, v = (t[name].float() + t[f"{name}_bias"].float().view(1, -1, d) for name in ("q", "k", "v"))
    weights = t.get("q_weight"), t.get("k_weight")
    q, k = norm_rope(q, k, t["positions"], t["cos_sin"], q_weight=weights[0], k_weight=weights[1], **inputs.options)
    caches = []
    for rows, cache in ((k, t["k_cache"]), (v, t["v_cache"])):
        flat = torch.zeros(cache.shape[0] * cache.shape[1], *cache.shape[2:])
        flat[t["slots"]] = encode(rows, cache.dtype, 1.0).float()
        caches.append(flat.view(cache.shape))
    return q, *caches


_REFERENCE: dict[str, Callable[[Inputs], tuple[Tensor, ...]]] = {
    "attention": _attention,
    "moe": _moe,
    "route": _moe,
    "prologue": _prologue,
}
