"""The router kernel against the reference: ids must be equal, not near."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_rocm.reference.moe import route as reference
from glm_rocm_kernels.moe import route

OPTIONS: dict[str, dict[str, Any]] = {
    "GLM-4.6": {"experts": 160, "top_k": 8, "scale": 2.5},
    "Air": {"experts": 128, "top_k": 8, "scale": 1.0},
    "pocket": {"experts": 8, "top_k": 2, "scale": 2.5},
    "2 of 4 groups": {"experts": 32, "top_k": 4, "n_group": 4, "topk_group": 2},
    "3 of 8 groups of 20": {"experts": 160, "top_k": 8, "n_group": 8, "topk_group": 3},
    "groups of one expert": {"experts": 8, "top_k": 2, "n_group": 8, "topk_group": 3},
    "fewer experts in the groups than chosen": {"experts": 8, "top_k": 4, "n_group": 4, "topk_group": 1},
    "not normalised": {"experts": 16, "top_k": 3, "normalize": False},
    "every expert": {"experts": 8, "top_k": 8},
    "one of one": {"experts": 1, "top_k": 1},
}


def hold(logits: torch.Tensor, bias: torch.Tensor, device: torch.device, **options: Any) -> None:
    """Ids equal to the reference's, weights within a few units of fp32's last place."""
    ids, weights = route(logits.to(device), bias.to(device), **options)
    want_ids, want_weights = reference(logits, bias, **options)
    assert ids.dtype == torch.int32
    assert torch.equal(ids.cpu(), want_ids)
    torch.testing.assert_close(weights.cpu(), want_weights, rtol=5e-7, atol=0)


@pytest.mark.parametrize("tokens", [0, 1, 17])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_ids_equal_and_weights_near(options: dict[str, Any], tokens: int, device: torch.device) -> None:
    named = dict(options)
    experts = named.pop("experts")
    random = torch.Generator().manual_seed(tokens)
    hold(torch.randn(tokens, experts, generator=random) * 3, torch.randn(experts, generator=random), device, **named)


@pytest.mark.parametrize("bias", [-2.0, 12.0], ids=["negative bias", "large bias"])
def test_a_bias_chooses_and_never_weighs(bias: float, device: torch.device) -> None:
    random = torch.Generator().manual_seed(3)
    biases = torch.randn(160, generator=random) * 0.2 + bias
    hold(torch.randn(5, 160, generator=random) * 3, biases, device, top_k=8, scale=2.5)


def test_a_negative_score_of_a_kept_group_goes_before_zero(device: torch.device) -> None:
    """Masked groups are -inf and not 0: a bias may make every score of the kept groups negative."""
    logits = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    hold(logits, torch.full((32,), -3.0), device, top_k=4, n_group=4, topk_group=2)


def test_tiny_scores_keep_their_weight_under_a_large_bias(device: torch.device) -> None:
    """The weight is the sigmoid itself, not (score + bias) - bias, which is 0 here."""
    hold(torch.tensor([[-18.0, -19.0, -30.0, -31.0]]), torch.full((4,), 12.0), device, top_k=2)


@pytest.mark.parametrize("size", [20.0, 60.0])
def test_saturated_scores(size: float, device: torch.device) -> None:
    hold(torch.linspace(-size, size, 160)[None], torch.zeros(160), device, top_k=8)


def test_equal_scores_go_to_the_lower_id(device: torch.device) -> None:
    ids, _ = route(torch.zeros(3, 160, device=device), torch.zeros(160, device=device), top_k=8)
    assert ids.tolist() == [list(range(8))] * 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("groups", [{}, {"n_group": 4, "topk_group": 2}], ids=["no groups", "groups"])
def test_a_bad_row_gets_valid_ids_and_spoils_no_other(
    value: float, groups: dict[str, int], device: torch.device
) -> None:
    logits = torch.randn(4, 160, generator=torch.Generator().manual_seed(0))
    logits[1] = value
    bias = torch.zeros(160)
    ids, weights = route(logits.to(device), bias.to(device), top_k=8, **groups)
    want_ids, want_weights = reference(logits, bias, top_k=8, **groups)
    assert bool(((ids >= 0) & (ids < 160)).all())
    others = [0, 2, 3]
    assert torch.equal(ids.cpu()[others], want_ids[others])
    torch.testing.assert_close(weights.cpu()[others], want_weights[others], rtol=5e-7, atol=0)


def test_rows_of_a_wider_tensor_whose_rest_is_nan(device: torch.device) -> None:
    wide = torch.full((5, 200), float("nan"))
    wide[:, 7:167] = torch.randn(5, 160, generator=torch.Generator().manual_seed(0))
    logits = wide.to(device)[:, 7:167]
    ids, _ = route(logits, torch.zeros(160, device=device), top_k=8)
    want, _ = reference(wide[:, 7:167], torch.zeros(160), top_k=8)
    assert torch.equal(ids.cpu(), want)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_experts_groups_and_top_k(target: Any, data: st.DataObject) -> None:
    groups = data.draw(st.sampled_from([1, 1, 2, 5]), "n_group")
    experts = groups * data.draw(st.integers(1, 200 // groups), "experts of a group")
    kept = data.draw(st.integers(1, groups), "topk_group")
    top_k = data.draw(st.integers(1, min(experts, 9)), "top_k")
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 99), "seed"))
    logits, bias = torch.randn(3, experts, generator=random), torch.randn(experts, generator=random)
    with target.run():
        hold(logits, bias, target.device, top_k=top_k, n_group=groups, topk_group=kept)
