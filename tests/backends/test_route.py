"""The torch router against the reference: ids must be equal, not near."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from glm_rocm.backends import by_name
from glm_rocm.backends.torch_kernels.moe import route
from glm_rocm.numerics import compare
from glm_rocm.reference.moe import route as reference

TOLERANCE = by_name("cpu.route").tolerance["float32"]
OPTIONS: dict[str, dict[str, Any]] = {
    "GLM-4.6": {"experts": 160, "top_k": 8, "scale": 2.5},
    "Air": {"experts": 128, "top_k": 8, "scale": 1.0},
    "pocket": {"experts": 8, "top_k": 2, "scale": 2.5},
    "2 of 4 groups": {"experts": 32, "top_k": 4, "n_group": 4, "topk_group": 2},
    "groups of one expert": {"experts": 8, "top_k": 2, "n_group": 8, "topk_group": 3},
    "not normalised": {"experts": 16, "top_k": 3, "normalize": False},
    "every expert": {"experts": 8, "top_k": 8},
}


@pytest.mark.parametrize("tokens", [0, 1, 17, 128])
@pytest.mark.parametrize("bias", [0.0, -2.0, 12.0], ids=["small bias", "negative bias", "large bias"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_ids_equal_and_weights_near(options: dict[str, Any], bias: float, tokens: int) -> None:
    named = dict(options)
    experts = named.pop("experts")
    random = torch.Generator().manual_seed(tokens)
    logits = torch.randn(tokens, experts, generator=random) * 3
    biases = torch.randn(experts, generator=random) * 0.2 + bias
    ids, weights = route(logits, biases, **named)
    want_ids, want_weights = reference(logits, biases, **named)
    assert ids.dtype == torch.int32
    assert torch.equal(ids, want_ids)
    compare(weights, want_weights, TOLERANCE)


def test_tiny_scores_keep_their_weight_under_a_large_bias() -> None:
    """The weight is the sigmoid itself, not (score + bias) - bias, which is 0 here (flashinfer 3875)."""
    logits = torch.tensor([[-18.0, -19.0, -30.0, -31.0]])
    _, weights = route(logits, torch.full((4,), 12.0), top_k=2)
    torch.testing.assert_close(weights, torch.tensor([[0.7311, 0.2689]]), rtol=1e-3, atol=0)


def test_equal_scores_go_to_the_lower_id() -> None:
    ids, _ = route(torch.zeros(3, 160), torch.zeros(160), top_k=8)
    assert ids.tolist() == [list(range(8))] * 3


def test_a_padding_row_of_nan_gets_valid_ids_and_spoils_no_other() -> None:
    logits = torch.randn(4, 16)
    clean_ids, clean_weights = route(logits, torch.zeros(16), top_k=4)
    logits[1] = float("nan")
    ids, weights = route(logits, torch.zeros(16), top_k=4)
    assert bool(((ids >= 0) & (ids < 16)).all())
    assert torch.equal(ids[[0, 2, 3]], clean_ids[[0, 2, 3]])
    assert torch.equal(weights[[0, 2, 3]], clean_weights[[0, 2, 3]])


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_scale_is_applied_once(scale: float) -> None:
    _, weights = route(torch.randn(5, 8), torch.randn(8), top_k=2, scale=scale)
    torch.testing.assert_close(weights.sum(-1), torch.full((5,), scale))
