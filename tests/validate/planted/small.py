"""Bugs of linears, quantisation, norm and rope."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glm_rocm.numerics import E4M3FN
from glm_rocm.reference.norm_rope import cos_sin_table, rms_norm, rotate
from glm_rocm.validate.trial import bits
from planted.experts import misread, per_tensor, tail_dropped
from planted.fault import Fault, Run, on_arguments, on_options, on_result

ROTARY, HEAD = 64, 128


def bias_scaled(run: Run) -> Run:
    def faulty(x: Tensor, w: Tensor, **options: Any) -> Tensor:
        if options.get("bias") is not None and options.get("w_scale") is not None:
            options["bias"] = options["bias"] * options["w_scale"].flatten()[0].to(options["bias"].dtype)
        return run(x, w, **options)

    return faulty


def without(name: str) -> Any:
    def plant(run: Run) -> Run:
        return lambda *arguments, **options: run(*arguments, **{**options, name: None})

    return plant


def columns_dropped(out: Tensor, *rest: Any) -> Tensor:
    changed = out.clone()
    changed[:, out.shape[1] // 64 * 64 :] = 0
    changed[:, -16:] = 0
    return changed


LINEAR = (
    Fault("doubled scale of FNUZ forgotten", "vllm 47201", "linear", on_options(w_scale=lambda scale: scale / 2)),
    Fault("fn codes read as fnuz", "sglang 35111", "linear", on_arguments(lambda x, w: (x, misread(w)))),
    Fault("scale of the neighbour channel", "class", "linear", on_options(w_scale=lambda scale: scale.roll(1, 0))),
    Fault("one activation scale for all tokens", "aiter 3202", "linear", per_tensor),
    Fault("bias ignored", "class", "linear", without("bias")),
    Fault("bias multiplied by the scale", "class", "linear", bias_scaled),
    Fault("K tail dropped", "sglang 8647", "linear", on_arguments(lambda x, w: (x, tail_dropped(w)))),
    Fault("N tail dropped", "zai-org/GLM-4.5 94", "linear", on_result(columns_dropped)),
    Fault("a NaN row spoils the others", "vllm 17154", "linear",
          on_result(lambda out, x, *a: out * float("nan") if bool(x.isnan().any()) else out)),
)  # fmt: skip


def quantized_to(limit: float, *, least: float = 2.0**-40, clamp: bool = True, per_row: bool = True) -> Any:
    """Quantisation that maps a row's largest to `limit`."""

    def plant(run: Run) -> Run:
        def faulty(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            wide = x.float()
            largest = wide.abs().amax(-1, keepdim=True)
            if not per_row:
                largest = wide.nan_to_num().abs().max().expand_as(largest)
            scale = (largest / limit).clamp_min(least)
            ratio = wide / scale
            return (ratio.clamp(-448, 448) if clamp else ratio).to(dtype), scale

        return faulty if run.__name__ != "quantize_token_groups" else run

    return plant


def truncated(run: Run) -> Run:
    def faulty(x: Tensor, *arguments: Any, **options: Any) -> Any:
        codes, scale = run(x, *arguments, **options)
        return torch.where(codes.float().abs() > 1, bits(codes) - 1, bits(codes)).view(codes.dtype), scale

    return faulty


QUANT = (
    Fault("range of 240 in place of the format's", "aiter 600", "quant", quantized_to(240.0)),
    Fault("no clamp before the cast", "flashinfer 2595", "quant", quantized_to(500.0, clamp=False)),
    Fault("scale of 0 for a row of zeros", "flashinfer 2595", "quant", quantized_to(448.0, least=0.0)),
    Fault("one scale for all tokens", "aiter 3202", "quant", quantized_to(448.0, per_row=False)),
    Fault("rounded towards 0", "class", "quant", truncated),
    Fault("inverse scale stored", "class", "quant", on_result(lambda r, *a: (r[0], 1 / r[1]))),
    Fault("codes in the other format's bits", "vllm 45720", "quant",
          on_result(lambda r, *a: ((r[0].float() / 2).to(E4M3FN.dtype), r[1]))),
    Fault("scale of the next token", "class", "quant", on_result(lambda r, *a: (r[0], r[1].roll(1, 0)))),
    Fault("scale rounded to bf16", "class", "quant", on_result(lambda r, *a: (r[0], r[1].bfloat16().float()))),
)  # fmt: skip


def heads(q: Tensor, k: Tensor, positions: Tensor, table: Tensor, options: dict[str, Any], *, after: bool) -> Any:
    """Norm and rope in the wrong order where `after`."""
    found = []
    for x, weight in ((q, options["q_weight"]), (k, options["k_weight"])):
        angles = table[positions.long()].float()[:, None]
        if weight is None:
            return None
        y = rms_norm(rotate(x.float(), angles), weight, options["eps"]) if after else rotate(x.float(), angles)
        found.append(y.to(x.dtype))
    return tuple(found)


def norm_after_rope(run: Run) -> Run:
    return lambda q, k, p, t, **o: heads(q, k, p, t, o, after=True) or run(q, k, p, t, **o)


def norm_forgotten(run: Run) -> Run:
    return lambda q, k, p, t, **o: run(q, k, p, t, **{**o, "q_weight": None, "k_weight": None})


def whole_head(run: Run) -> Run:
    return lambda q, k, p, t, **o: run(q, k, p, cos_sin_table(t.shape[0], HEAD, 1e6), **o)


def neighbours_paired(run: Run) -> Run:
    order = torch.cat([torch.arange(ROTARY).view(ROTARY // 2, 2).t().flatten(), torch.arange(ROTARY, HEAD)])

    def faulty(q: Tensor, k: Tensor, p: Tensor, t: Tensor, **o: Any) -> tuple[Tensor, ...]:
        turned = {n: o[n] if o[n] is None else o[n][order] for n in ("q_weight", "k_weight")}
        return tuple(y[..., order.argsort()] for y in run(q[..., order], k[..., order], p, t, **{**o, **turned}))

    return faulty


def bf16_positions(run: Run) -> Run:
    return lambda q, k, p, t, **o: run(q, k, p.bfloat16().long().clamp_max(t.shape[0] - 1), t, **o)


NORM_ROPE = (
    Fault("whole head rotated", "class", "norm_rope", whole_head),
    Fault("neighbours paired", "llama.cpp 15198", "norm_rope", neighbours_paired),
    Fault("norm forgotten", "class", "norm_rope", norm_forgotten),
    Fault("norm after rope", "class", "norm_rope", norm_after_rope),
    Fault("positions in bf16", "vllm 54114", "norm_rope", bf16_positions),
    Fault("sines and cosines exchanged", "class", "norm_rope",
          on_arguments(lambda q, k, p, t: (q, k, p, torch.cat(t.chunk(2, -1)[::-1], -1)))),
    Fault("keys left unrotated", "class", "norm_rope", on_result(lambda r, q, k, *a: (r[0], k))),
    Fault("weight of the queries on the keys", "class", "norm_rope",
          lambda run: lambda *a, **o: run(*a, **{**o, "k_weight": o["q_weight"]})),
    Fault("position of the neighbour", "class", "norm_rope",
          on_arguments(lambda q, k, p, t: (q, k, (p + 1).clamp_max(t.shape[0] - 1), t))),
)  # fmt: skip
