"""The laws that the suite's arithmetic stands on, over whatever hypothesis finds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glm_rocm.numerics import E4M3FN, E4M3FNUZ, Float8Format, calc_diff, dequantize, fn_to_fnuz, quantize_rows

FORMATS = pytest.mark.parametrize("form", [E4M3FN, E4M3FNUZ], ids=lambda form: form.name)
numbers = st.floats(-(2.0**20), 2.0**20, width=32)
rows = st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=1, max_size=6)


def finite_codes(form: Float8Format) -> Tensor:
    every = torch.arange(256, dtype=torch.uint8).view(form.dtype)
    return every[every.float().isfinite()]


@FORMATS
def test_every_code_survives_the_round_trip(form: Float8Format) -> None:
    codes = finite_codes(form)
    assert torch.equal(codes.float().to(form.dtype).float(), codes.float())


def test_fn_to_fnuz_is_exact_halving_of_the_code_and_doubling_of_the_scale() -> None:
    codes = finite_codes(E4M3FN)
    fnuz, scale = fn_to_fnuz(codes, torch.tensor(0.37))
    assert torch.equal(fnuz.float() * 2, codes.float())
    assert torch.equal(dequantize(fnuz, scale), dequantize(codes, torch.tensor(0.37)))


@FORMATS
@given(row=st.lists(numbers, min_size=2, max_size=30))
@settings(deadline=None)
def test_quantisation_is_monotonic(form: Float8Format, row: list[float]) -> None:
    x = torch.tensor([sorted(row)])
    codes, _ = quantize_rows(x, form.dtype)
    assert bool((codes.float().diff() >= 0).all())


@FORMATS
@given(values=rows, power=st.integers(-10, 10))
@settings(deadline=None)
def test_a_power_of_two_moves_into_the_scale_alone(form: Float8Format, values: list[list[float]], power: int) -> None:
    x = torch.tensor(values)
    x = torch.where(x.abs() < 1, torch.ones_like(x), x)  # clear of the smallest scale
    (codes, scale), (moved, larger) = quantize_rows(x, form.dtype), quantize_rows(x * 2.0**power, form.dtype)
    assert torch.equal(codes.float(), moved.float())
    assert torch.equal(scale * 2.0**power, larger)


@FORMATS
@given(values=rows)
@settings(deadline=None)
def test_no_code_is_nan_and_no_scale_is_zero(form: Float8Format, values: list[list[float]]) -> None:
    codes, scale = quantize_rows(torch.tensor(values), form.dtype)
    assert bool(codes.float().isfinite().all())
    assert bool((scale > 0).all())


@given(values=rows, other=rows)
@settings(deadline=None)
def test_calc_diff_is_zero_for_equals_symmetric_and_at_most_two(
    values: list[list[float]], other: list[list[float]]
) -> None:
    count = min(len(values), len(other))
    x, y = torch.tensor(values)[:count], torch.tensor(other)[:count]
    assert not calc_diff(x, x).any()
    assert torch.equal(calc_diff(x, y), calc_diff(y, x))
    assert bool(((calc_diff(x, y) >= 0) & (calc_diff(x, y) <= 2.0 + 1e-12)).all())


@given(values=rows, other=rows)
@settings(deadline=None)
def test_the_worst_token_is_no_better_than_the_pool(values: list[list[float]], other: list[list[float]]) -> None:
    count = min(len(values), len(other))
    x, y = torch.tensor(values)[:count], torch.tensor(other)[:count]
    pooled = calc_diff(x.reshape(1, -1), y.reshape(1, -1))
    assert float(calc_diff(x, y).max()) >= float(pooled) * (1 - 1e-9)
