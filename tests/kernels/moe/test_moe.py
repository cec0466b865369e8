"""From router logits to the summed output: the same numbers as routing and experts apart, in at most four launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from glm_rocm.numerics import compare
from glm_rocm.reference.moe import route as reference_route
from glm_rocm_kernels.moe import experts, moe, route

QUANTS = ["none", "channel_token", "block"]
Build = Callable[..., Any]


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("tokens", [1, 40, 70])
def test_logits_to_sum(moe_case: Build, tokens: int, quant: str) -> None:
    case = moe_case(tokens, experts=160, top_k=8, hidden=64, intermediate=64, quant=quant)
    random = torch.Generator().manual_seed(tokens)
    logits, bias = torch.randn(tokens, 160, generator=random) * 3, torch.randn(160, generator=random)
    device = case.x.device
    got = moe(case.x, logits.to(device), bias.to(device), case.w13, case.w2, top_k=8, scale=2.5, **case.options)
    ids, weights = reference_route(logits, bias, top_k=8, scale=2.5)
    compare(got.cpu(), case.changed(ids=ids, weights=weights).want(), case.tolerance, label="moe")


@pytest.mark.parametrize("tokens", [4, 140])
def test_equals_its_two_halves_with_groups_and_an_expert_map(moe_case: Build, tokens: int) -> None:
    """The router knows 32 experts, this rank's weights are 12 of them."""
    case = moe_case(tokens, experts=12, top_k=4, hidden=64, intermediate=64)
    device = case.x.device
    random = torch.Generator().manual_seed(0)
    logits, bias = (torch.randn(*shape, generator=random).to(device) for shape in ((tokens, 32), (32,)))
    expert_map = torch.full((32,), -1, dtype=torch.int32, device=device)
    expert_map[3:31:3] = torch.arange(10, dtype=torch.int32, device=device)
    routing = {"top_k": 4, "n_group": 4, "topk_group": 2, "normalize": False, "scale": 0.5}
    got = moe(case.x, logits, bias, case.w13, case.w2, **routing, **case.options, expert_map=expert_map)
    ids, weights = route(logits, bias, **routing)
    want = experts(case.x, case.w13, case.w2, ids, weights, **case.options, expert_map=expert_map)
    assert torch.equal(got, want)


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("tokens", [1, 64, 65, 400])
def test_at_most_four_launches(target: Any, tokens: int, quant: str, moe_case: Build) -> None:
    if target.name not in ("gfx942", "gfx950"):
        pytest.skip("launches are counted where there is an emulator to count them")
    case = moe_case(tokens, experts=16, top_k=2, hidden=64, intermediate=64, quant=quant)
    with target.run() as gpu:
        moe(case.x, torch.randn(tokens, 16), torch.zeros(16), case.w13, case.w2, top_k=2, **case.options)
    assert [launch.name for launch in gpu.launches] == ["prepare_kernel", "gate_up_kernel", "down_kernel", "sum_kernel"]


def test_experts_of_a_small_unquantised_batch_need_nothing_prepared(target: Any, moe_case: Build) -> None:
    if target.name not in ("gfx942", "gfx950"):
        pytest.skip("launches are counted where there is an emulator to count them")
    case = moe_case(5, experts=16, top_k=2, hidden=64, intermediate=64)
    with target.run() as gpu:
        experts(*case.arguments, **case.options)
    assert [launch.name for launch in gpu.launches] == ["gate_up_kernel", "down_kernel", "sum_kernel"]


@pytest.mark.parametrize("quant", ["none", "channel_token"])
@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_no_race_no_unwritten_memory_no_missing_wait(target: Any, order: str, quant: str, moe_case: Build) -> None:
    """Run under the emulator's checks; `undefined` reads would be of padding rows that nobody wrote."""
    if target.name not in ("gfx942", "gfx950"):
        pytest.skip("only the emulator can look for these")
    case = moe_case(5, experts=12, top_k=3, hidden=512, intermediate=176, quant=quant)
    logits = torch.randn(5, 12)
    with target.run(check_races=True, check_undefined=True, check_waits=True, order=order):
        moe(case.x, logits, torch.zeros(12), case.w13, case.w2, top_k=3, **case.options)
