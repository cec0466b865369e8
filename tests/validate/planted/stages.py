"""Bugs of what stands between kernels: adapters, the residual stream, the cache's store, the MTP layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from glm_rocm.numerics import FORMATS
from glm_rocm.validate.trial import bits
from planted.experts import FAULTS as EXPERTS
from planted.fault import Fault, Run, on_arguments, on_options, on_result


def store(change: Any) -> Any:
    return on_arguments(change)


def unsaturated(run: Run) -> Run:
    """A store that does not clamp: values past the range become NaN."""

    def faulty(k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor, **options: Any) -> None:
        run(k, v, k_cache, v_cache, slots, **options)
        if k_cache.dtype in FORMATS:
            past = k.float().abs() / options["k_scale"] > 64
            flat = bits(k_cache).flatten(0, 1)
            stored = flat[slots]
            stored[past] = 0x7F
            bits(k_cache).view(-1, *stored.shape[1:])[slots] = stored

    return faulty


def scales_exchanged(run: Run) -> Run:
    def faulty(*arguments: Any, k_scale: float, v_scale: float) -> None:
        run(*arguments, k_scale=v_scale, v_scale=k_scale)

    return faulty


def half_heads(x: Tensor, weights: Any) -> tuple[Any, ...]:
    changed = x.clone()
    changed[:, x.shape[1] // 2 :] = 0
    return changed, weights


def without_bias(x: Tensor, weights: Any) -> tuple[Any, ...]:
    parts = {name: replace(getattr(weights, name), bias=None) for name in ("q", "k", "v")}
    return x, replace(weights, **parts)


def swapped(x: Tensor, weights: Any) -> tuple[Any, ...]:
    w13 = weights.w13
    gate, up = bits(w13.weight).chunk(2, 0)
    scale = None if w13.scale is None else torch.cat(w13.scale.chunk(2, 0)[::-1])
    joined = torch.cat([up, gate]).view(w13.weight.dtype)
    return x, replace(weights, w13=replace(w13, weight=joined, scale=scale))


def halves_exchanged(x: Tensor, weights: Any) -> tuple[Any, ...]:
    return torch.cat(x.chunk(2, -1)[::-1], -1), weights


def halved_scale(x: Tensor, weights: Any) -> tuple[Any, ...]:
    if weights.scale is None:
        return x, weights
    return x, replace(weights, scale=weights.scale / 2)


STAGES = (
    Fault("residual stream dropped", "class", "attention_sum", on_result(lambda r, x, y: y)),
    Fault("attention added twice", "class", "attention_sum", on_result(lambda r, x, y: r + y)),
    Fault("routed scale applied after the router too", "vllm 44313", "layer_sum",
          lambda run: lambda x, *parts: run(x, *((parts[0] * 2.5, *parts[1:]) if len(parts) > 1 else parts))),
    Fault("routed sum divided by the scale in float16", "vLLM 0.32 on GLM in float16", "layer_sum",
          lambda run: lambda x, *parts: run(x, *((parts[0] / 2.5, *parts[1:]) if len(parts) > 1 else parts))),
    Fault("shared expert forgotten", "sglang 8609", "layer_sum", lambda run: lambda x, *parts: run(x, parts[0])
          if len(parts) > 1 else run(x, *parts)),
    Fault("router in bf16", "class", "router", on_arguments(lambda x, w: (x, w.to(torch.float8_e5m2)))),
    Fault("slots one too far", "class", "store_kv",
          store(lambda k, v, kc, vc, s: (k, v, kc, vc, (s + 1) % (kc.shape[0] * kc.shape[1])))),
    Fault("keys and values exchanged", "class", "store_kv", store(lambda k, v, kc, vc, s: (v, k, kc, vc, s))),
    Fault("store does not saturate", "vllm 45562", "store_kv", unsaturated),
    Fault("store with the scales exchanged", "class", "store_kv", scales_exchanged),
    Fault("half of the heads lost under TP", "vllm 24004", "o_proj", on_arguments(half_heads)),
    Fault("FNUZ scale of o_proj not doubled", "vllm 47201", "o_proj", on_arguments(halved_scale)),
    Fault("bias of qkv dropped", "class", "qkv", on_arguments(without_bias)),
    Fault("gate and up of the shared expert swapped", "sglang 8455", "shared", on_arguments(swapped)),
    Fault("gate and up of the dense MLP swapped", "class", "mlp", on_arguments(swapped)),
    Fault("norm weight plus one", "class", "input_norm", on_arguments(lambda x, w, e: (x, w + 1, e))),
    Fault("norm without eps' place, by the mean and not the mean square", "class", "post_norm",
          on_result(lambda r, x, w, e: r * 1.01)),
    Fault("eh_proj fed in the wrong order", "vllm 25993, 46834", "combine", on_arguments(halves_exchanged)),
    Fault("enorm skipped", "vllm 52833", "embed_norm", on_result(lambda r, x, w, e: x.float())),
    Fault("hnorm skipped", "sglang 39778", "hidden_norm", on_result(lambda r, x, w, e: x.float())),
    Fault("shared_head norm skipped", "sglang 12659", "final_norm", on_result(lambda r, x, w, e: x.float())),
    Fault("head of another vocabulary order", "vllm 25993", "head", on_arguments(lambda x, w: (x, w.roll(1, 0)))),
    Fault("attention of a layer at half scale", "class", "attention", on_options(scale=lambda scale: scale / 2)),
    Fault("expert of a layer at the neighbour's scale", "vllm 54924", "moe.experts", EXPERTS[3].plant),
    Fault("router's weights not normalised in a layer", "class", "moe.route", on_options(normalize=lambda flag: False)),
    Fault("rope of a layer one position on", "vllm 46262", "norm_rope",
          on_arguments(lambda q, k, p, t: (q, k, (p + 1).clamp_max(len(t) - 1), t))),
)  # fmt: skip
