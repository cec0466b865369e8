"""The torch experts against the reference: GLM's awkward widths, every scheme, and what comes by accident."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.backends import by_name
from glm_rocm.backends.torch_kernels import moe
from glm_rocm.errors import UsageError
from glm_rocm.numerics import calc_diff, compare, fn_to_fnuz
from glm_rocm.reference.moe import experts as reference

KERNEL = by_name("cpu.experts")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
QUANTS = ["none", "channel_token", "block"]
Build = Callable[..., Any]


def hold(case: Any, **options: Any) -> Tensor:
    """The kernel's result against the reference on the same bits."""
    x, *_ = case.arguments
    fp8 = case.options["quant"] != "none"
    got = moe.experts(*case.arguments, **case.options, **options)
    want = reference(*case.arguments, **case.options, **options)
    compare(got, want, KERNEL.tolerance["float8" if fp8 else str(x.dtype).removeprefix("torch.")], label=KERNEL.name)
    assert got.dtype == x.dtype
    return got


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("intermediate", [192, 176, 352])
def test_width_per_rank_that_is_no_multiple_of_128(
    experts_case: Build, intermediate: int, quant: str, dtype: torch.dtype
) -> None:
    hold(experts_case(9, intermediate=intermediate, quant=quant, dtype=dtype))


@pytest.mark.parametrize("quant", QUANTS)
def test_160_experts_of_which_most_have_no_token(experts_case: Build, quant: str) -> None:
    hold(experts_case(3, experts=160, top_k=8, hidden=64, quant=quant))


@pytest.mark.parametrize("quant", QUANTS)
def test_hidden_of_5120(experts_case: Build, quant: str) -> None:
    hold(experts_case(3, experts=3, hidden=5120, quant=quant, dtype=torch.bfloat16))


@pytest.mark.parametrize("tokens", [*range(1, 18), 31, 32, 33, 64, 128])
def test_token_counts(experts_case: Build, tokens: int) -> None:
    hold(experts_case(tokens, hidden=48, intermediate=40))


@pytest.mark.parametrize("quant", QUANTS)
def test_more_tokens_than_a_chunk(experts_case: Build, quant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moe, "CHUNK", 4)
    hold(experts_case(11, quant=quant, hidden=160))


@pytest.mark.parametrize("top_k", [1, 8])
def test_one_expert_and_all_experts(experts_case: Build, top_k: int) -> None:
    hold(experts_case(5, top_k=top_k))


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("tokens", [1, 7])
def test_experts_of_another_rank_add_nothing(experts_case: Build, tokens: int, quant: str) -> None:
    case = experts_case(tokens, experts=4, quant=quant)
    x, w13, w2, _, _ = case.arguments
    expert_map = torch.tensor([-1, 2, -1, 0, 1, -1, 3, -1], dtype=torch.int32)
    random = torch.Generator().manual_seed(1)
    ids = torch.rand(tokens, 8, generator=random).argsort(-1)[:, :3]
    ids[0] = torch.tensor([0, 2, 5])  # a token with no expert here
    object.__setattr__(case, "arguments", (x, w13, w2, ids, torch.rand(tokens, 3, generator=random)))
    got = hold(case, expert_map=expert_map)
    assert not got[0].any()


def test_negative_ids_add_nothing_whatever_their_weight(experts_case: Build) -> None:
    case = experts_case(6)
    ids, weights = case.arguments[3], case.arguments[4]
    ids[:, 1] = -1
    ids[2] = -1
    weights[:, 1] = float("nan")
    weights[2] = float("nan")
    assert not hold(case)[2].any()


def test_int64_ids(experts_case: Build) -> None:
    case = experts_case(6)
    x, w13, w2, ids, weights = case.arguments
    assert torch.equal(moe.experts(x, w13, w2, ids.long(), weights), moe.experts(x, w13, w2, ids, weights))


@pytest.mark.parametrize("quant", QUANTS)
def test_no_token(experts_case: Build, quant: str) -> None:
    assert hold(experts_case(0, quant=quant)).shape == (0, 192)


@pytest.mark.parametrize("quant", QUANTS)
def test_a_row_of_nan_spoils_no_other(experts_case: Build, quant: str) -> None:
    case = experts_case(9, quant=quant)
    clean = moe.experts(*case.arguments, **case.options)
    case.arguments[0][4] = float("nan")
    got = moe.experts(*case.arguments, **case.options)
    others = [row for row in range(9) if row != 4]
    assert torch.equal(got[others], clean[others])
    assert bool(got[4].isnan().all())


def test_out_is_written_through_its_strides(experts_case: Build) -> None:
    case = experts_case(5)
    out = torch.zeros(5, 400)[:, 100:292]
    assert moe.experts(*case.arguments, **case.options, out=out) is out
    compare(out, reference(*case.arguments, **case.options), KERNEL.tolerance["float32"])


@pytest.mark.parametrize("quant", QUANTS)
def test_same_inputs_give_same_bits(experts_case: Build, quant: str) -> None:
    case = experts_case(17, quant=quant, dtype=torch.bfloat16)
    first, second = (moe.experts(*case.arguments, **case.options) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("quant", ["channel_token", "block"])
@pytest.mark.parametrize("intermediate", [192, 176])
def test_fp8_stays_near_the_weights_it_was_made_from(experts_case: Build, intermediate: int, quant: str) -> None:
    """Not a parity gate: what FP8 itself costs a whole mixture of 8. Typical token 2e-3, worst of 33 up to 3.5e-3."""
    case = experts_case(33, intermediate=intermediate, quant=quant, top_k=8)
    cost = float(calc_diff(moe.experts(*case.arguments, **case.options), reference(*case.plain)).max())
    assert 1e-4 < cost < 5e-3


def test_fnuz_weights_give_what_fn_weights_give(experts_case: Build) -> None:
    case = experts_case(9, quant="channel_token")
    x, w13, w2, ids, weights = case.arguments
    codes13, scale13 = fn_to_fnuz(w13, case.options["w13_scale"])
    codes2, scale2 = fn_to_fnuz(w2, case.options["w2_scale"])
    got = moe.experts(x, codes13, codes2, ids, weights, w13_scale=scale13, w2_scale=scale2, quant="channel_token")
    compare(got, reference(*case.arguments, **case.options), KERNEL.tolerance["float8"])


def test_fp8_without_scales_is_refused(experts_case: Build) -> None:
    case = experts_case(2, quant="channel_token")
    with pytest.raises(UsageError, match="without a weight scale"):
        moe.experts(*case.arguments, quant="channel_token")


def test_unknown_scheme_is_refused(experts_case: Build) -> None:
    with pytest.raises(UsageError, match="unknown quantisation `int4`"):
        moe.experts(*experts_case(2).arguments, quant="int4")
