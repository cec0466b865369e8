"""Bugs of the experts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glm_rocm.numerics import E4M3FN, E4M3FNUZ
from glm_rocm.validate.trial import bits
from planted.fault import Fault, Run, on_arguments, on_options, on_result

NAN = float("nan")


def same_bits_as(w: Tensor, changed: Tensor) -> Tensor:
    return changed.view(w.dtype)


def swapped(w13: Tensor) -> Tensor:
    gate, up = bits(w13).chunk(2, 1)
    return torch.cat([up, gate], 1).view(w13.dtype)


def tail_dropped(w: Tensor) -> Tensor:
    changed = bits(w).clone()
    changed[..., 128:] = 0
    return changed.view(w.dtype)


def misread(w: Tensor) -> Tensor:
    return w.view(E4M3FNUZ.dtype) if w.dtype == E4M3FN.dtype else w


def at(sizes: tuple[int, ...], change: Any) -> Any:
    """The change at these values of M alone."""
    return on_result(lambda out, x, *rest: change(out) if x.shape[0] in sizes else out)


def filled(out: Tensor) -> Tensor:
    return torch.full_like(out, NAN)


def last_expert_dropped(run: Run) -> Run:
    def faulty(x: Tensor, w13: Tensor, w2: Tensor, ids: Tensor, weights: Tensor, **options: Any) -> Tensor:
        if x.shape[0] in (3, 4):
            weights = torch.cat([weights[:, :-1], torch.zeros_like(weights[:, -1:])], 1)
        return run(x, w13, w2, ids, weights, **options)

    return faulty


def per_tensor(run: Run) -> Run:
    def faulty(x: Tensor, w13: Tensor, *rest: Any, **options: Any) -> Tensor:
        if options.get("quant", "none") == "none" or x.shape[0] < 2:
            return run(x, w13, *rest, **options)
        scale = x.float().nan_to_num().abs().max() / 448
        codes = (x.float() / scale).clamp(-448, 448).to(E4M3FN.dtype)
        return run((codes.float() * scale).to(x.dtype), w13, *rest, **options)

    return faulty


def weight_only(run: Run) -> Run:
    def faulty(x: Tensor, w13: Tensor, w2: Tensor, ids: Tensor, weights: Tensor, **options: Any) -> Tensor:
        if options.get("quant") != "channel_token":
            return run(x, w13, w2, ids, weights, **options)
        wide = [w.float() * options[name] for w, name in ((w13, "w13_scale"), (w2, "w2_scale"))]
        plain = {name: value for name, value in options.items() if name == "expert_map"}
        return run(x.float(), *wide, ids, weights, **plain).to(x.dtype)

    return faulty


def unstable(run: Run) -> Run:
    calls = 0

    def faulty(*arguments: Any, **options: Any) -> Tensor:
        nonlocal calls
        calls += 1
        out = run(*arguments, **options)
        return out if calls % 2 else (out.float() * (1 + 2.0**-7)).to(out.dtype)

    return faulty


def wrong_token(x: Tensor, w13: Tensor, w2: Tensor, ids: Tensor, weights: Tensor) -> tuple[Any, ...]:
    changed = ids.clone()
    changed[-1, 0] = next(e for e in range(w13.shape[0]) if e not in ids[-1].tolist())
    return x, w13, w2, changed, weights


def nan_spreads(out: Tensor, x: Tensor, *rest: Any) -> Tensor:
    return filled(out) if bool(x.isnan().any()) else out


def silent_rows_written(out: Tensor, x: Tensor, w13: Tensor, w2: Tensor, ids: Tensor, *rest: Any) -> Tensor:
    silent = (ids < 0).all(-1, keepdim=True)
    return torch.where(silent, NAN, out.float()).to(out.dtype)


def tiny_is_nan(out: Tensor, x: Tensor, *rest: Any) -> Tensor:
    tiny = (x.float().abs().amax(-1, keepdim=True) < 1e-14) & x.isfinite().all(-1, keepdim=True)
    return torch.where(tiny, NAN, out.float()).to(out.dtype)


def out_of_resources(run: Run) -> Run:
    def faulty(x: Tensor, *rest: Any, **options: Any) -> Tensor:
        if x.shape[0] > 16:
            raise RuntimeError("out of resource: shared memory, Required: 98304, Hardware limit: 65536")
        return run(x, *rest, **options)

    return faulty


def weights_on_input(x: Tensor, w13: Tensor, w2: Tensor, ids: Tensor, weights: Tensor) -> tuple[Any, ...]:
    return x * weights.mean(-1, keepdim=True).to(x.dtype), w13, w2, ids, torch.ones_like(weights)


def with_w(change13: Any = None, change2: Any = None) -> Any:
    def change(x: Tensor, w13: Tensor, w2: Tensor, *rest: Any) -> tuple[Any, ...]:
        return (x, change13(w13) if change13 else w13, change2(w2) if change2 else w2, *rest)

    return on_arguments(change)


def halved(scale: Tensor) -> Tensor:
    return scale / 2


def neighbours(scale: Tensor) -> Tensor:
    return scale.roll(1, 1)


def first_expert_added(run: Run) -> Run:
    def faulty(x: Tensor, w13: Tensor, w2: Tensor, ids: Tensor, weights: Tensor, **options: Any) -> Tensor:
        ids = torch.cat([ids, torch.zeros_like(ids[:, :1])], 1)
        return run(x, w13, w2, ids, torch.cat([weights, torch.ones_like(weights[:, :1])], 1), **options)

    return faulty


OP = "moe.experts"
FAULTS = (
    Fault("doubled scale of FNUZ forgotten", "vllm 47201", OP, on_options(w13_scale=halved, w2_scale=halved)),
    Fault("doubled scale forgotten in w2 alone", "vllm 47201", OP, on_options(w2_scale=halved)),
    Fault("fn codes read as fnuz", "vllm 45562, 45720", OP, with_w(misread, misread)),
    Fault("w13 scale of the neighbour channel", "class", OP, on_options(w13_scale=neighbours)),
    Fault("w2 scale of the neighbour channel", "class", OP, on_options(w2_scale=neighbours)),
    Fault("scale of the neighbour expert", "class", OP, on_options(w13_scale=lambda scale: scale.roll(1, 0))),
    Fault("gate and up swapped", "class", OP, with_w(swapped)),
    Fault("NaN at M 1", "aiter 4032", OP, at((1,), filled)),
    Fault("wrong kernel at M 3 and 4", "aiter 3933", OP, last_expert_dropped),
    Fault("NaN at M 8192", "aiter 4528", OP, at((8192,), filled), sizes=(8192,)),
    Fault("0/1 mask in place of the expert map", "vllm 49758", OP, on_options(expert_map=lambda m: (m >= 0).int())),
    Fault("collapsed expert map", "vllm 47158", OP, on_options(expert_map=lambda m: m.clamp_min(0))),
    Fault("padded columns of N under TP", "vllm 44679", OP, with_w(None, tail_dropped)),
    Fault("K tail of the first product dropped", "sglang 8647", OP, with_w(tail_dropped)),
    Fault("shuffled block GEMM", "sglang 28471, 28685", OP, with_w(lambda w: bits(w).roll(16, -1).view(w.dtype))),
    Fault("a further expert added to each token", "sglang 8454, 8456", OP, first_expert_added),
    Fault("one expert of the last token wrong", "class", OP, on_arguments(wrong_token)),
    Fault("router weight forgotten", "class", OP, on_arguments(lambda *a: (*a[:4], torch.full_like(a[4], 0.5)))),
    Fault("router weight on the input", "class", OP, on_arguments(weights_on_input)),
    Fault("one activation scale for all tokens", "sglang 22568", OP, per_tensor),
    Fault("activations left unquantised", "class", OP, weight_only),
    Fault("NaN for tiny rows", "flashinfer 2595", OP, on_result(tiny_is_nan)),
    Fault("NaN in silent padded rows", "flashinfer 3650", OP, on_result(silent_rows_written)),
    Fault("a NaN row spoils its neighbours", "flashinfer 3650", OP, on_result(nan_spreads)),
    Fault("result depends on timing", "aiter 1455", OP, unstable),
    Fault("out of LDS above M 16", "vllm 47209, sglang 8513", OP, out_of_resources),
    Fault(
        "results kept with 4 bits", "aiter 2421", OP,
        on_result(lambda out, *a: (out.float() / 64).to(torch.float8_e5m2).to(out.dtype) * 64),
    ),
)  # fmt: skip
