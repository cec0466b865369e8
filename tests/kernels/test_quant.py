"""The quantisation kernels against the reference, bit for bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glm_rocm import numerics
from glm_rocm.reference import quant as reference
from glm_rocm_kernels import checks
from glm_rocm_kernels.quant import fnuz_from_fn, quantize_per_token, quantize_token_groups

FP8 = [torch.float8_e4m3fn, torch.float8_e4m3fnuz]


def assert_same_bits(got: tuple[Tensor, Tensor], want: tuple[Tensor, Tensor]) -> None:
    """Codes and scales are equal, a NaN (of either sign) to a NaN."""
    torch.testing.assert_close(got[1], want[1], rtol=0, atol=0, equal_nan=True)
    assert got[0].dtype == want[0].dtype
    nan = want[0].float().isnan()
    assert torch.equal(got[0].float().isnan(), nan)
    bits = [codes.view(torch.uint8)[~nan] for codes in (got[0], want[0])]
    assert torch.equal(*bits)


def values(rows: int, columns: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Rows of very different size."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=random) * 2.0 ** torch.randint(-12, 12, (rows, 1), generator=random)
    return x.to(dtype)


@pytest.mark.parametrize("fp8", FP8, ids=str)
@pytest.mark.parametrize("dtype", checks.FLOATS, ids=str)
def test_per_token(device: torch.device, dtype: torch.dtype, fp8: torch.dtype) -> None:
    x = values(5, 352, dtype)
    assert_same_bits(quantize_per_token(x.to(device), fp8), reference.quantize_per_token(x, fp8))


@pytest.mark.parametrize("fp8", FP8, ids=str)
@pytest.mark.parametrize("group", [128, 64, 48, 1])
@pytest.mark.parametrize("columns", [176, 128, 1, 640])
def test_groups_with_a_short_last_one(device: torch.device, columns: int, group: int, fp8: torch.dtype) -> None:
    x = values(3, columns, torch.bfloat16, seed=columns)
    got = quantize_token_groups(x.to(device), group, fp8)
    assert_same_bits(got, reference.quantize_token_groups(x, group, fp8))


@pytest.mark.parametrize("columns", [5120, 12288])
def test_the_width_of_a_hidden_state_and_of_a_dense_layer(device: torch.device, columns: int) -> None:
    x = values(2, columns, torch.bfloat16)
    assert_same_bits(quantize_per_token(x.to(device), FP8[0]), reference.quantize_per_token(x, FP8[0]))


@pytest.mark.parametrize("fp8", FP8, ids=str)
def test_a_row_of_zeros_has_the_smallest_scale(device: torch.device, fp8: torch.dtype) -> None:
    x = torch.zeros(2, 64).bfloat16()
    x[1] = 1e-30
    codes, scale = quantize_per_token(x.to(device), fp8)
    assert scale.tolist() == [[numerics.MIN_SCALE]] * 2
    assert not codes.view(torch.uint8).any()


@pytest.mark.parametrize("fp8", FP8, ids=str)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_bad_value_spoils_its_own_row(device: torch.device, bad: float, fp8: torch.dtype) -> None:
    x = values(3, 130, torch.float32)
    x[1, 77] = bad
    assert_same_bits(quantize_per_token(x.to(device), fp8), reference.quantize_per_token(x, fp8))


@pytest.mark.parametrize("fp8", FP8, ids=str)
def test_strided_views_whose_neighbours_are_nan(device: torch.device, fp8: torch.dtype) -> None:
    fused = torch.full((4, 3, 80), float("nan"), dtype=torch.bfloat16)
    fused[:, 1] = values(4, 80, torch.bfloat16)
    across = torch.full((80, 9), float("nan"))
    across[:, 2:6] = values(80, 4, torch.float32)
    for x in (fused[:, 1], across[:, 2:6].t()):
        assert_same_bits(quantize_per_token(x.to(device), fp8), reference.quantize_per_token(x, fp8))


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_no_column(device: torch.device, rows: int) -> None:
    for columns in (0, 7):
        x = torch.ones(rows, columns, device=device)
        codes, scale = quantize_per_token(x, FP8[0])
        want = reference.quantize_per_token(x.cpu(), FP8[0])
        assert codes.shape == want[0].shape
        assert torch.equal(scale.cpu(), want[1])


@settings(max_examples=8, deadline=None, database=None)
@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 300),
    group=st.sampled_from([1, 33, 128, 160]),
    fp8=st.sampled_from(FP8),
    dtype=st.sampled_from(checks.FLOATS),
    seed=st.integers(0, 99),
)
def test_any_shape(
    target: object, rows: int, columns: int, group: int, fp8: torch.dtype, dtype: torch.dtype, seed: int
) -> None:
    x = values(rows, columns, dtype, seed)
    with target.run():  # type: ignore[attr-defined]
        got = quantize_token_groups(x, group, fp8)
    assert_same_bits(got, reference.quantize_token_groups(x, group, fp8))


def test_every_weight_code_means_the_same_in_fnuz(device: torch.device) -> None:
    every = torch.arange(256, dtype=torch.uint8).repeat(20)[:5111].view(torch.float8_e4m3fn)
    scale = torch.rand(3, 1)
    codes, doubled = fnuz_from_fn(every.to(device), scale.to(device))
    want = numerics.fn_to_fnuz(every, scale)
    assert torch.equal(codes.cpu().view(torch.uint8), want[0].view(torch.uint8))
    assert torch.equal(doubled.cpu(), want[1])
    torch.testing.assert_close(codes.float().cpu() * 2, every.float(), rtol=0, atol=0, equal_nan=True)


def test_what_the_product_and_the_kernels_both_state_is_one() -> None:
    """The kernels do not import the product; their constants are held together here."""
    assert {entry.dtype: entry.quant_max for entry in numerics.FORMATS.values()} == checks.FP8_MAX
    assert checks.MIN_SCALE == numerics.MIN_SCALE
