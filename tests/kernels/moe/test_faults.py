"""Faults planted in the source of the experts' kernels: the comparisons that pass otherwise see each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cdna_emulator import OutOfBoundsError
from glm_rocm.errors import ParityError
from glm_rocm.reference.moe import route as reference_route
from glm_rocm_kernels import moe as module

Build = Callable[..., Any]
Plant = Callable[[Any, str, str, str], None]
SEEN = (AssertionError, ParityError, OutOfBoundsError, IndexError)
"""How a fault shows: the comparison fails, or memory is watched and an access is outside of it."""
NONE = ("sum_kernel", "", "")
"""No fault: the checks themselves must pass on the kernels as they are."""


def caught(fault: tuple[str, str, str], plant: Plant, check: Callable[[], None]) -> None:
    """The check fails, and only where a fault was planted."""
    if fault == NONE:
        check()
        return
    plant(module, *fault)
    with pytest.raises((AssertionError, ParityError)):
        check()


ANY_SCHEME = [
    NONE,
    ("gate_up_kernel", "_silu_times(gate, up).to(", "_silu_times(up, gate).to("),
    ("gate_up_kernel", "w_up = w_gate + N * HIDDEN", "w_up = w_gate"),
    ("gate_up_kernel", "token = pair // TOP_K", "token = pair // (TOP_K + 1)"),
    ("down_kernel", "acc *= row[:, None]", "acc *= 1.0"),
    ("down_kernel", "mask=valid[:, None] & (n < HIDDEN)[None, :]", "mask=(pair > 0)[:, None] & (n < HIDDEN)[None, :]"),
    ("sum_kernel", "static_range(TOP_K)", "static_range(TOP_K - 1)"),
]
BEYOND = [
    ("gate_up_kernel", "EVEN: tl.constexpr = HIDDEN % BLOCK_K == 0", "EVEN: tl.constexpr = True"),
    ("down_kernel", "EVEN: tl.constexpr = N % BLOCK_K == 0", "EVEN: tl.constexpr = True"),
    ("sum_kernel", "there = (theirs >= 0) &", "there = (theirs >= -1) &"),
]
"""Faults that also read or write outside the arguments' memory."""
LOOKED_UP = [
    ("gate_up_kernel", "(pair < block)", "(pair <= block)"),
    ("gate_up_kernel", "tl.where(before % BLOCK_M == 0, expert, -1)", "tl.where(before == 0, expert, -1)"),
    ("gate_up_kernel", "(pair > last)", "(pair >= last)"),
    ("gate_up_kernel", "- before, BLOCK_M)", "- before, BLOCK_M - 1)"),
    ("gate_up_kernel", "token, slot = block // TOP_K, block % TOP_K", "token, slot = 0, block % TOP_K"),
]
"""Where a block's pairs are looked up in the ids."""
SORTED = [
    ("prepare_kernel", "number = (chunk * TOKENS +", "number = (0 * TOKENS +"),
    ("prepare_kernel", "(local // TOP_K_2)", "(local // TOP_K)"),
    ("prepare_kernel", "tl.cumsum(counts, 0))", "counts)"),
    ("gate_up_kernel", "chunk * PAIRS + end - after", "chunk * PAIRS + end - passed"),
    ("gate_up_kernel", "after = passed + tl.cumsum(found, 0)", "after = passed + found"),
    ("gate_up_kernel", "(block_end <= block)", "(block_end < block)"),
    ("gate_up_kernel", "mask=rank < count, other=-1", "mask=rank < count, other=0"),
]
"""Where they are found in sorted chunks."""
FP8 = [
    (
        "gate_up_kernel",
        "up *= row_scales * tl.load(w_scale + column + N)",
        "up *= row_scales * tl.load(w_scale + column)",
    ),
    ("gate_up_kernel", "row_scales = tl.load(x_scale + token)", "row_scales = tl.load(x_scale + 0 * token)"),
    ("gate_up_kernel", "if arrived ==", "if arrived + 1 =="),
    ("down_kernel", "row *= tl.load(hidden_scale + pair)", "row *= tl.load(hidden_scale + block)"),
    ("down_kernel", "tl.load(w_scale + expert * HIDDEN + column)", "tl.load(w_scale + column)"),
    (
        "prepare_kernel",
        "tl.store(scales + token * GROUPS + group, scale",
        "tl.store(scales + token * GROUPS + group, 1.0",
    ),
]
BLOCKS = [
    ("gate_up_kernel", "up_scales = gate_scales + N_SCALES * SCALES", "up_scales = gate_scales"),
    ("gate_up_kernel", "group = k // 128", "group = 0"),
    ("gate_up_kernel", "tile * BLOCK_N // 128) * SCALES", "tile * BLOCK_N // 256) * SCALES"),
    ("down_kernel", "tile * BLOCK_N // 128) * SCALES", "tile * BLOCK_N // 256) * SCALES"),
    ("down_kernel", "pair * SCALES + k // 128", "pair * SCALES"),
    ("gate_up_kernel", "hidden_scale + pair[:, None] * GROUPS + group", "hidden_scale + pair[:, None] + group"),
]


@pytest.mark.parametrize("fault", ANY_SCHEME)
def test_any_scheme(plant: Plant, moe_case: Build, fault: tuple[str, str, str]) -> None:
    """Widths that no step divides, NaN beside x, a token without an expert in one slot."""
    case = moe_case(5, experts=6, top_k=3, hidden=328, intermediate=104, seed=len(fault[2]))
    case.ids[1, 2] = -1
    caught(fault, plant, lambda: case.hold())


@pytest.mark.parametrize("fault", [NONE, *FP8])
def test_a_scale_per_channel_and_token(plant: Plant, moe_case: Build, fault: tuple[str, str, str]) -> None:
    caught(
        fault,
        plant,
        lambda: moe_case(5, experts=6, top_k=3, hidden=256, quant="channel_token", seed=len(fault[2])).hold(),
    )


@pytest.mark.parametrize("fault", [NONE, *BLOCKS])
def test_a_scale_per_block(plant: Plant, moe_case: Build, fault: tuple[str, str, str]) -> None:
    caught(fault, plant, lambda: moe_case(5, experts=6, top_k=3, hidden=384, quant="block", seed=len(fault[2])).hold())


@pytest.mark.parametrize(
    "fault",
    [
        ("gate_up_kernel", "gate += tl.load(pointers, mask", "gate = tl.load(pointers, mask"),
        ("gate_up_kernel", "begin = split * (STEPS * BLOCK_K)", "begin = 0"),
        ("gate_up_kernel", "TURNS: tl.constexpr = (STEPS - 1) // 2", "TURNS: tl.constexpr = (STEPS - 3) // 2"),
    ],
)
def test_parts_of_k(target: Any, plant: Plant, moe_case: Build, fault: tuple[str, str, str]) -> None:
    """One token, whose K is split between programs."""
    case = moe_case(1, experts=6, top_k=3, hidden=3072, quant="channel_token")
    if target.arch not in ("gfx942", "gfx950"):
        pytest.skip(f"no launch choice of {target.arch} splits K")
    caught(fault, plant, lambda: case.hold())


@pytest.mark.parametrize("fault", BEYOND)
def test_beyond_memory(target: Any, plant: Plant, moe_case: Build, fault: tuple[str, str, str]) -> None:
    """Where memory is watched, the first access outside it ends the launch; elsewhere nothing is promised."""
    if target.name in ("cuda", "rocm"):
        pytest.skip("a card may take the process down")
    case = moe_case(5, experts=6, top_k=3, hidden=328, intermediate=104)
    case.ids[1, 2] = -1
    case.ids[4, 2] = -1
    plant(module, *fault)
    with pytest.raises(SEEN):
        case.hold()


@pytest.mark.parametrize(
    ("tokens", "fault"), [*((100, fault) for fault in LOOKED_UP), *((180, fault) for fault in SORTED)]
)
def test_alignment(
    target: Any,
    plant_in_alignment: Callable[[str, str, str], None],
    moe_case: Build,
    tokens: int,
    fault: tuple[str, str, str],
) -> None:
    if target.name in ("cuda", "rocm"):
        pytest.skip("a card may take the process down")
    case = moe_case(tokens, experts=6, top_k=3, hidden=64, intermediate=32, seed=tokens)
    plant_in_alignment(*fault)
    with pytest.raises(SEEN):
        case.hold()


def route_check(device: torch.device) -> None:
    random = torch.Generator().manual_seed(0)
    logits, bias = torch.randn(24, 160, generator=random), torch.randn(160, generator=random) - 2
    logits[2], bias[5] = 0.0, bias[7]  # equal scores
    bias[159] = 1.0  # the last expert is chosen too
    for groups in ({}, {"n_group": 8, "topk_group": 4}):
        options: dict[str, Any] = {"top_k": 8, "scale": 2.5, **groups}
        ids, weights = module.route(logits.to(device), bias.to(device), **options)
        want_ids, want_weights = reference_route(logits, bias, **options)
        assert torch.equal(ids.cpu(), want_ids)
        torch.testing.assert_close(weights.cpu(), want_weights, rtol=5e-7, atol=0)


@pytest.mark.parametrize(
    "fault",
    [
        NONE,
        ("route_kernel", "choice = sigmoid(logit) + tl.load(bias", "choice = sigmoid(logit) + 0.0 * tl.load(bias"),
        ("route_kernel", "weight = sigmoid(tl.load(logits", "weight = 0.1 + sigmoid(tl.load(logits"),
        ("route_kernel", "(EXPERTS_2 - 1 - expert).to(tl.int64)", "((EXPERTS_2 - 1 - expert) ^ 1).to(tl.int64)"),
        ("route_kernel", "weight * scale", "weight * scale * scale"),
        ("route_kernel", 'float("-inf")', "0.0"),
        ("route_kernel", "score += _value(second)", "score += 0.0"),
        ("route_kernel", "if NORMALIZE:", "if not NORMALIZE:"),
        ("route_kernel", "there = expert < EXPERTS", "there = expert < EXPERTS - 1"),
    ],
)
def test_route(plant: Plant, device: torch.device, fault: tuple[str, str, str]) -> None:
    caught(fault, plant, lambda: route_check(device))
