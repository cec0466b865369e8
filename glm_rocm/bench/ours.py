"""Our kernels called with a case's tensors: the Triton kernels, or the torch kernels where the target is a CPU."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torch import Tensor

from glm_rocm.backends import by_name
from glm_rocm.bench import sampling
from glm_rocm.bench.inputs import Inputs
from glm_rocm.target import Target

Call = Callable[[Inputs], "tuple[Tensor, ...]"]
"""Runs a case; the results in the order of `check.LABELS`."""

ATTENTION = ("q", "k_cache", "v_cache", "block_table", "query_start", "context_len")
MOE = ("x", "logits", "bias", "w13", "w2")
PROLOGUE = ("q", "k", "v", "positions", "cos_sin", "slots", "k_cache", "v_cache")

STREAMED = {
    "attention": frozenset({"k_ptr", "v_ptr"}),
    "moe": frozenset({"w"}),
    "prologue": frozenset({"q", "k", "v", "positions", "cos_sin", "slots", "q_out", "k_cache", "v_cache"}),
}
"""The kernels' arguments whose bytes are held against `Inputs.ideal_bytes`."""
LAUNCHES = {"route": 1}
"""Of which ops only the first launches are the case: what follows in the call is the experts' own."""


def on_a_card(inputs: Inputs) -> tuple[Tensor, ...]:
    """One call of our Triton kernels, on the card or in the emulator, whichever Triton launches on."""
    return _TRITON[inputs.case.op](inputs)


def on_a_cpu(inputs: Inputs) -> tuple[Tensor, ...]:
    """One call of our torch kernels."""
    return _TORCH[inputs.case.op](inputs)


def choosers(inputs: Inputs, target: Target) -> dict[str, sampling.Chooser]:
    """Which workgroups of a sampled case run."""
    from glm_rocm_kernels.moe_call import Plan

    case, t = inputs.case, inputs.tensors
    experts, hidden, n = t["w2"].shape
    sizes = (case.tokens, case.spec.top_k, experts, hidden, n)
    plan = Plan(*sizes, inputs.options["quant"], t["x"].dtype, t["w13"].dtype, target.arch)
    return sampling.ours(case, plan.gate_up["BLOCK_M"])


def _call(function: Any, names: tuple[str, ...], inputs: Inputs) -> Any:
    rest = {name: tensor for name, tensor in inputs.tensors.items() if name not in names}
    return function(*(inputs.tensors[name] for name in names), **rest, **inputs.options)


def _triton(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(f"glm_rocm_kernels.{module}"), function)


def _attention(inputs: Inputs) -> tuple[Tensor, ...]:
    return (_call(_triton("attention:attention"), ATTENTION, inputs),)


def _moe(inputs: Inputs) -> tuple[Tensor, ...]:
    return (_call(_triton("moe:moe"), MOE, inputs),)


def _prologue(inputs: Inputs) -> tuple[Tensor, ...]:
    q = _call(_triton("norm_rope:bias_norm_rope_store"), PROLOGUE, inputs)
    return q, inputs.tensors["k_cache"], inputs.tensors["v_cache"]


def _torch_attention(inputs: Inputs) -> tuple[Tensor, ...]:
    return (_call(by_name("cpu.attention").load(), ATTENTION, inputs),)


def _torch_moe(inputs: Inputs) -> tuple[Tensor, ...]:
    x, logits, bias, w13, w2 = (inputs.tensors[name] for name in MOE)
    routing = {name: value for name, value in inputs.options.items() if name != "quant"}
    ids, weights = by_name("cpu.route").load()(logits, bias, **routing)
    scales = {name: inputs.tensors.get(name) for name in ("w13_scale", "w2_scale")}
    return (by_name("cpu.experts").load()(x, w13, w2, ids, weights, **scales, quant=inputs.options["quant"]),)


def _torch_prologue(inputs: Inputs) -> tuple[Tensor, ...]:
    t = inputs.tensors
    tokens, _, d = t["q"].shape
    q, k, v = (t[name] + t[f"{name}_bias"].view(1, -1, d) for name in ("q", "k", "v"))
    q, k = by_name("cpu.norm_rope").load()(
        q,
        k,
        t["positions"],
        t["cos_sin"],
        q_weight=t.get("q_weight"),
        k_weight=t.get("k_weight"),
        **inputs.options,
    )
    for cache, rows in ((t["k_cache"], k), (t["v_cache"], v)):
        cache.view(-1, *cache.shape[2:])[t["slots"]] = rows.to(cache.dtype).view(tokens, -1, d)
    return q, t["k_cache"], t["v_cache"]


_TRITON: dict[str, Call] = {"attention": _attention, "moe": _moe, "route": _moe, "prologue": _prologue}
_TORCH: dict[str, Call] = {
    "attention": _torch_attention,
    "moe": _torch_moe,
    "route": _torch_moe,
    "prologue": _torch_prologue,
}
