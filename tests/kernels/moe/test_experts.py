"""The grouped products against the reference on the same bits: GLM's experts and widths, and what comes by accident."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from glm_rocm.numerics import compare
from glm_rocm_kernels import moe
from glm_rocm_kernels.moe import experts

QUANTS = ["none", "channel_token", "block"]
FLOATS = [torch.bfloat16, torch.float16, torch.float32]
Build = Callable[..., Any]


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize(("count", "intermediate"), [(160, 192), (128, 176)], ids=["GLM-4.6", "Air"])
def test_the_experts_of_a_rank_of_eight(moe_case: Build, count: int, intermediate: int, quant: str) -> None:
    """Most experts have no token, and 176 is a multiple of neither 128 nor 64."""
    moe_case(3, experts=count, intermediate=intermediate, quant=quant).hold()


@pytest.mark.slow
@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("intermediate", [1536, 768, 384, 1408, 704, 352])
def test_the_widths_of_fewer_ranks(moe_case: Build, intermediate: int, quant: str) -> None:
    moe_case(2, experts=6, top_k=4, intermediate=intermediate, quant=quant).hold()


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("hidden", [192, 640])
def test_hidden_sizes_in_whole_and_in_broken_steps(moe_case: Build, hidden: int, quant: str) -> None:
    moe_case(2, experts=8, top_k=4, hidden=hidden, quant=quant).hold()


@pytest.mark.parametrize("quant", QUANTS)
def test_sizes_that_no_wide_load_divides(moe_case: Build, quant: str) -> None:
    moe_case(3, experts=5, top_k=2, hidden=72, intermediate=40, quant=quant).hold()


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_activations_of_other_dtypes(moe_case: Build, dtype: torch.dtype, quant: str) -> None:
    moe_case(3, experts=8, top_k=2, dtype=dtype, quant=quant).hold()


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("tokens", [1, 2, 9, 40])
def test_token_counts_of_a_decode(moe_case: Build, tokens: int, quant: str) -> None:
    moe_case(tokens, experts=24, top_k=4, quant=quant).hold()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("tokens", [65, 300])
def test_token_counts_of_a_prefill(moe_case: Build, tokens: int, quant: str, dtype: torch.dtype) -> None:
    """260 pairs are looked up, 1,200 sorted."""
    moe_case(tokens, experts=16, top_k=4, hidden=64, intermediate=48, quant=quant, dtype=dtype).hold()


def test_more_chunks_than_are_searched_together(moe_case: Build) -> None:
    """600 tokens are 38 chunks of 16. In fp32: of so many short rows, the worst one's bf16 is rounding and no more."""
    moe_case(600, experts=3, top_k=1, hidden=64, intermediate=16, dtype=torch.float32).hold()


@pytest.mark.parametrize("quant", QUANTS)
def test_every_token_wants_the_same_experts(moe_case: Build, quant: str) -> None:
    """More pairs of one expert than a block of rows holds."""
    case = moe_case(37, experts=6, top_k=2, quant=quant)
    case.ids.copy_(torch.tensor([4, 1], dtype=torch.int32))
    case.hold()


def test_an_expert_named_twice_by_a_token_counts_twice(moe_case: Build) -> None:
    case = moe_case(3, experts=6, top_k=4)
    case.ids[1] = 2
    case.hold()


@pytest.mark.parametrize("quant", QUANTS)
def test_the_shared_expert_as_one_more(moe_case: Build, quant: str) -> None:
    """A ninth slot for a 161st expert, whose number is no longer a power of two either."""
    case = moe_case(3, experts=161, top_k=9, quant=quant)
    case.ids[:, 8] = 160
    case.weights[:, 8] = 1.0
    case.hold()


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("tokens", [1, 7])
def test_experts_of_another_rank_add_nothing(moe_case: Build, tokens: int, quant: str) -> None:
    case = moe_case(tokens, experts=4, top_k=3, quant=quant)
    expert_map = torch.tensor([-1, 2, -1, 0, 1, -1, 3, -1], dtype=torch.int32, device=case.x.device)
    ids = torch.rand(tokens, 8, generator=torch.Generator().manual_seed(1)).argsort(-1)[:, :3].int()
    ids[0] = torch.tensor([0, 2, 5])  # a token with no expert here
    got = case.changed(ids=ids.to(case.x.device)).hold(expert_map=expert_map)
    assert not got[0].any()


@pytest.mark.parametrize("quant", QUANTS)
def test_negative_ids_add_nothing_whatever_their_weight(moe_case: Build, quant: str) -> None:
    case = moe_case(6, experts=8, top_k=2, quant=quant)
    case.ids[:, 1] = -1
    case.ids[2] = -3
    case.weights[:, 1] = float("nan")
    case.weights[2] = float("nan")
    assert not case.hold()[2].any()


def test_no_token_has_an_expert_here(moe_case: Build) -> None:
    case = moe_case(4, experts=8, top_k=2)
    case.ids.fill_(-1)
    assert not experts(*case.arguments, **case.options).any()


def test_int64_ids_in_every_other_column(moe_case: Build) -> None:
    case = moe_case(6, experts=8, top_k=2)
    wide = torch.full((6, 4), 7, dtype=torch.int64, device=case.x.device)
    wide[:, ::2] = case.ids
    assert torch.equal(case.changed(ids=wide[:, ::2]).hold(), case.hold())


@pytest.mark.parametrize("quant", QUANTS)
def test_no_token(moe_case: Build, quant: str) -> None:
    assert moe_case(0, experts=8, top_k=2, quant=quant).hold().shape == (0, 128)


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_row_spoils_no_other(moe_case: Build, value: float, quant: str) -> None:
    case = moe_case(5, experts=4, top_k=2, quant=quant)
    clean = experts(*case.arguments, **case.options)
    case.x[3, 17] = value
    got = experts(*case.arguments, **case.options)
    others = [0, 1, 2, 4]
    assert torch.equal(got[others], clean[others])
    assert not got[3].isfinite().any()


def test_a_row_of_zeros(moe_case: Build) -> None:
    case = moe_case(3, experts=4, top_k=2, quant="channel_token")
    case.x[1] = 0
    assert not case.hold()[1].any()


def test_out_is_written_through_its_strides(moe_case: Build) -> None:
    case = moe_case(5, experts=8, top_k=2)
    around = torch.full((5, 300), 7.0, dtype=case.x.dtype, device=case.x.device)
    out = around[:, 10:266:2]
    assert experts(*case.arguments, **case.options, out=out) is out
    compare(out.cpu(), case.want(), case.tolerance)
    around[:, 10:266:2] = 7.0
    assert bool((around == 7.0).all())


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("tokens", [1, 20])
def test_same_bits_whichever_program_is_last(target: Any, moe_case: Build, plant: Any, tokens: int, quant: str) -> None:
    """Programs that take the tiles and the parts of K in the opposite order finish in the opposite order."""
    hidden = 2048 if target.name in ("gfx942", "gfx950") else 256  # only their choices split K, and only a wide one
    case = moe_case(tokens, experts=12, top_k=4, hidden=hidden, quant=quant)
    first = case.hold()
    file = Path(inspect.getfile(moe.gate_up_kernel.fn)).read_text(encoding="utf-8")
    tile, split = "tile = tl.program_id(0)", "split = tl.program_id(2)"
    middle = file[file.index(tile) + len(tile) : file.index(split)]
    reverse = f"tile = (N + BLOCK_N - 1) // BLOCK_N - 1 - tl.program_id(0){middle}split = SPLITS - 1 - tl.program_id(2)"
    plant(moe, "gate_up_kernel", tile + middle + split, reverse)
    assert torch.equal(experts(*case.arguments, **case.options), first)
