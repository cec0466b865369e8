"""Bugs of attention and its cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glm_rocm.numerics import E4M3FN, E4M3FNUZ
from planted.fault import Fault, Run, on_arguments, on_options, on_result

NAN = float("nan")


def misread(q: Tensor, k: Tensor, v: Tensor, *rest: Any) -> tuple[Any, ...]:
    if k.dtype != E4M3FN.dtype:
        return q, k, v, *rest
    return q, k.view(E4M3FNUZ.dtype), v.view(E4M3FNUZ.dtype), *rest


def scales_exchanged(run: Run) -> Run:
    def faulty(*arguments: Any, **options: Any) -> Tensor:
        if "k_scale" in options:
            options["k_scale"], options["v_scale"] = options["v_scale"], options["k_scale"]
        return run(*arguments, **options)

    return faulty


def another_page(q: Tensor, k: Tensor, v: Tensor, table: Tensor, *rest: Any) -> tuple[Any, ...]:
    changed = table.clone()
    changed[-1, 0] = table[0, 0]
    return q, k, v, changed, *rest


def unmasked(run: Run) -> Run:
    """Each query as a sequence of its own over the whole context: all its successors are seen."""

    def faulty(
        q: Tensor, k: Tensor, v: Tensor, table: Tensor, starts: Tensor, lengths: Tensor, **options: Any
    ) -> Tensor:
        counts = starts.diff()
        owner = torch.repeat_interleave(torch.arange(len(lengths)), counts)
        one = torch.arange(len(owner) + 1, dtype=torch.int32)
        return run(q, k, v, table[owner], one, lengths[owner], **options)

    return faulty


def one_less_in_verify(q: Tensor, k: Tensor, v: Tensor, table: Tensor, starts: Tensor, lengths: Tensor) -> Any:
    several = (starts.diff() == 4) & (lengths > 4)
    return q, k, v, table, starts, torch.where(several, lengths - 1, lengths)


def heads_in_turn(run: Run) -> Run:
    """Query head h with KV head h mod Hkv, not h // ratio."""

    def faulty(q: Tensor, k: Tensor, *rest: Any, **options: Any) -> Tensor:
        heads, kv_heads = q.shape[1], k.shape[2]
        order = torch.arange(heads).view(-1, kv_heads).t().flatten()
        out = run(q[:, order], k, *rest, **options)
        return out[:, order.argsort()]

    return faulty


def cut_context(most: int, above: int) -> Any:
    def change(q: Tensor, k: Tensor, v: Tensor, table: Tensor, starts: Tensor, lengths: Tensor) -> Any:
        decoding = starts.diff() == 1
        return q, k, v, table, starts, torch.where(decoding & (lengths > above), most, lengths).int()

    return on_arguments(change)


def padding_written(out: Tensor, q: Tensor, k: Tensor, v: Tensor, table: Tensor, starts: Tensor, *rest: Any) -> Tensor:
    changed = out.clone()
    changed[int(starts[-1]) :] = NAN
    return changed


def one_head(out: Tensor, *rest: Any) -> Tensor:
    changed = out.clone()
    changed[:, -1] = out[:, -2]
    return changed


OP = "attention"
FAULTS = (
    Fault("FP8 cache read in the other format", "vllm 45562, 45720", OP, on_arguments(misread)),
    Fault("k_scale forgotten", "class", OP, on_options(k_scale=lambda scale: 1.0)),
    Fault("v_scale forgotten", "class", OP, on_options(v_scale=lambda scale: 1.0)),
    Fault("cache scales of FNUZ not doubled", "vllm 45562", OP,
          on_options(k_scale=lambda scale: scale / 2, v_scale=lambda scale: scale / 2)),
    Fault("cache scales exchanged", "class", OP, scales_exchanged),
    Fault("last key not seen", "class", OP,
          on_arguments(lambda *a: (*a[:5], torch.where(a[5] > a[4].diff(), a[5] - 1, a[5])))),
    Fault("page of another sequence", "vllm 46262", OP, on_arguments(another_page)),
    Fault("no causal mask within the queries", "class", OP, unmasked),
    Fault("MTP verify sees one token less", "vllm 46834", OP, on_arguments(one_less_in_verify)),
    Fault("query heads dealt to KV heads in turn", "aprender 559", OP, heads_in_turn),
    Fault("context past 64 tokens lost", "ollama 10424", OP, cut_context(64, 64)),
    Fault("second split of a long context lost", "vllm 54114", OP, cut_context(512, 1000)),
    Fault("NaN in padded rows", "flashinfer 3650", OP, on_result(padding_written)),
    Fault("scale of the rotary half", "class", OP, on_options(scale=lambda scale: scale * 2**0.5)),
    Fault("the twelfth head is the eleventh", "sglang 37762, vllm 24004", OP, on_result(one_head)),
)  # fmt: skip
