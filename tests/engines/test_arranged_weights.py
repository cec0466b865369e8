"""Experts that want their weights otherwise arranged get them so once, and again when the weights change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.backends.cuda import flashinfer_experts
from glm_rocm.engines import active


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tensor]]:
    """The first weights of each call of FlashInfer, whose experts are the chosen ones."""
    found: list[Tensor] = []

    def fused(**options: Any) -> None:
        found.append(options["fc1_expert_weights"].clone())
        options["output"].zero_()

    monkeypatch.setattr(flashinfer_experts, "_fused_moe", lambda: fused)
    monkeypatch.setattr(flashinfer_experts, "_deterministic", dict)
    calls = (flashinfer_experts.experts_prepared, flashinfer_experts.prepare_experts)
    monkeypatch.setattr(active, "_experts_calls", lambda: calls)
    active._turned.clear()
    yield found
    active._turned.clear()


def call(w13: Tensor) -> None:
    ids = torch.zeros(1, 2, dtype=torch.int32)
    w2 = torch.zeros(w13.shape[0], w13.shape[2], w13.shape[1] // 2)
    active.experts(torch.zeros(1, w13.shape[2]), w13, w2, ids, torch.ones(1, 2), quant="none")


def up_first(w13: Tensor) -> Tensor:
    gate, up = w13.chunk(2, 1)
    return torch.cat([up, gate], 1)


@pytest.mark.parametrize("inference", [False, True])
def test_weights_are_turned_at_the_first_call_and_stay(seen: list[Tensor], inference: bool) -> None:
    with torch.inference_mode(inference):
        w13 = torch.randn(3, 8, 4)
        original = w13.clone()
        for _ in range(3):
            call(w13)
    assert all(torch.equal(weights, up_first(original)) for weights in seen)


def test_weights_written_anew_are_turned_anew(seen: list[Tensor]) -> None:
    w13 = torch.nn.Parameter(torch.randn(3, 8, 4), requires_grad=False)
    call(w13)
    fresh = torch.randn(3, 8, 4)
    with torch.no_grad():
        w13.copy_(fresh)
    call(w13)
    assert torch.equal(seen[1], up_first(fresh))


def test_each_layer_has_its_own(seen: list[Tensor]) -> None:
    layers = [torch.randn(3, 8, 4) for _ in range(2)]
    originals = [w13.clone() for w13 in layers]
    for w13 in (*layers, *layers):
        call(w13)
    for weights, original in zip(seen, (*originals, *originals), strict=True):
        assert torch.equal(weights, up_first(original))
