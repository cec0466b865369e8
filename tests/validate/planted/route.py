"""Bugs of the routing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glm_rocm.reference.moe import route
from planted.fault import Fault, Run, on_arguments, on_options, on_result


def weights_by(recover: Any) -> Any:
    """Weights from other scores of the right choice: `recover(logits, bias)`, normalised and scaled as they should."""

    def change(result: tuple[Tensor, Tensor], logits: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        ids, _ = result
        scores = recover(logits, bias).gather(1, ids.long())
        return ids, scores / (scores.sum(-1, keepdim=True) + 1e-20) * 2.5

    return on_result(change)


def masked_with_zero(run: Run) -> Run:
    def faulty(logits: Tensor, bias: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        groups = options.get("n_group", 1)
        if groups == 1:
            return run(logits, bias, **options)
        choice = (logits.sigmoid() + bias).view(len(logits), groups, -1)
        kept = choice.topk(2).values.sum(-1).topk(options["topk_group"]).indices
        mask = torch.zeros(len(logits), groups, dtype=torch.bool).scatter_(1, kept, True)
        ids = choice.masked_fill(~mask[..., None], 0.0).flatten(1).topk(options["top_k"]).indices
        weights = logits.sigmoid().gather(1, ids)
        return ids.int(), weights / weights.sum(-1, keepdim=True) * options["scale"]

    return faulty


def reversed_ties(run: Run) -> Run:
    def faulty(logits: Tensor, bias: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        ids, weights = run(logits.flip(1), bias.flip(0), **{**options})
        return (logits.shape[1] - 1 - ids).int(), weights

    return faulty


def softmax_scores(run: Run) -> Run:
    def faulty(logits: Tensor, bias: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        return route(torch.logit(logits.softmax(-1).clamp(1e-12, 1 - 1e-6)), bias, **options)

    return faulty


def large_guard(result: tuple[Tensor, Tensor], logits: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    scores = logits.sigmoid().gather(1, result[0].long())
    return result[0], scores / (scores.sum(-1, keepdim=True) + 1e-6) * 2.5


OP = "moe.route"
FAULTS = (
    Fault("weights recovered as biased score minus bias", "flashinfer 3875", OP,
          weights_by(lambda logits, bias: (logits.sigmoid() + bias) - bias)),
    Fault("biased weights", "vLLM-metax 284", OP, weights_by(lambda logits, bias: logits.sigmoid() + bias)),
    Fault("bias rounded to bf16", "TensorRT-LLM 13328", OP, on_arguments(lambda x, b: (x, b.bfloat16().float()))),
    Fault("groups masked with 0 under a negative bias", "vllm 31478", OP, masked_with_zero),
    Fault("routed scale applied twice", "vllm 44313", OP, on_options(scale=lambda scale: scale * scale)),
    Fault("routed scale left out", "class", OP, on_options(scale=lambda scale: 1.0)),
    Fault("weights not normalised", "class", OP, on_options(normalize=lambda flag: False)),
    Fault("softmax in place of the sigmoid", "class", OP, softmax_scores),
    Fault("a guard of 1e-6 in place of 1e-20", "flashinfer 3803, 3946", OP, on_result(large_guard)),
    Fault("bias ignored", "class", OP, on_arguments(lambda x, b: (x, torch.zeros_like(b)))),
    Fault("router logits in bf16", "class", OP, on_arguments(lambda x, b: (x.bfloat16().float(), b))),
    Fault("the higher id first among equals", "class", OP, reversed_ties),
    Fault("weights in another order than ids", "class", OP, on_result(lambda r, *a: (r[0], r[1].flip(1)))),
)  # fmt: skip
