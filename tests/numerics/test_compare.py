"""The error metrics and the comparison that every gate uses: per token, never pooled, and a miss always raises."""

from __future__ import annotations

import pytest
import torch

from glm_rocm.errors import ParityError
from glm_rocm.numerics import calc_diff, check_finite, compare, max_abs
from glm_rocm.ops.kernel import Tolerance

LOOSE = Tolerance(calc_diff=1.0, max_abs=100.0)
TIGHT = Tolerance(calc_diff=1e-6, max_abs=1e-3)


def test_calc_diff_is_deepgemm_s_formula_per_token() -> None:
    x, y = torch.randn(5, 3, 7), torch.randn(5, 3, 7)
    a, b = x.double().flatten(1), y.double().flatten(1)
    want = 1 - 2 * (a * b).sum(-1) / (a * a + b * b).sum(-1)
    torch.testing.assert_close(calc_diff(x, y), want, rtol=1e-12, atol=1e-12)


def test_half_as_much_everywhere_is_a_fifth() -> None:
    y = torch.randn(4, 64)
    torch.testing.assert_close(calc_diff(y / 2, y), torch.full((4,), 0.2).double(), rtol=1e-6, atol=0)


def test_equal_rows_differ_by_exactly_nothing() -> None:
    y = torch.randn(4, 64)
    y[2] = 0.0
    assert not calc_diff(y, y).any()
    assert not max_abs(y, y).any()


def test_a_row_of_zeros_that_should_not_be_and_the_reverse() -> None:
    zero, one = torch.zeros(1, 8), torch.ones(1, 8)
    assert float(calc_diff(zero, one)) == float(calc_diff(one, zero)) == 1.0
    assert float(max_abs(zero, one)) == 1.0
    assert float(max_abs(one, zero)) == float("inf")


def test_max_abs_is_relative_to_the_row() -> None:
    want = torch.tensor([[3.0, 4.0], [300.0, 400.0]])
    got = want + torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    rms = (25 / 2) ** 0.5
    torch.testing.assert_close(max_abs(got, want), torch.tensor([1 / rms, 0.01 / rms]).double())


def test_the_worst_token_is_named_and_not_diluted() -> None:
    want = torch.randn(500, 64)
    got = want.clone()
    got[321] *= 0.9
    with pytest.raises(ParityError, match=r"experts: token 321 of 500 has calc_diff 0\.0055\d*; at most 1e-06"):
        compare(got, want, TIGHT, label="experts")


def test_one_element_far_off_is_caught_where_the_row_is_not() -> None:
    want = torch.randn(3, 5120)
    got = want.clone()
    got[1, 77] += 0.5
    with pytest.raises(ParityError, match="token 1 of 3 is off by"):
        compare(got, want, Tolerance(calc_diff=1e-3, max_abs=1e-1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_inf_are_named(bad: float) -> None:
    want = torch.randn(4, 8)
    got = want.clone()
    got[2, 3] = bad
    with pytest.raises(ParityError, match="result: token 2 holds NaN or Inf"):
        compare(got, want, LOOSE)
    with pytest.raises(ParityError, match="the reference of result: token 2"):
        compare(want, got, LOOSE)


def test_padding_must_be_finite_and_is_not_compared() -> None:
    want, got = torch.zeros(4, 8), torch.zeros(4, 8)
    got[3] = 7.0
    want[3] = float("nan")
    assert compare(got, want, TIGHT, valid=3).calc_diff == 0.0
    got[3, 0] = float("nan")
    with pytest.raises(ParityError, match="the padding of result: token 3 holds"):
        compare(got, want, TIGHT, valid=3)


def test_shapes_must_be_equal() -> None:
    with pytest.raises(ParityError, match=r"shape \(1, 8\); the reference's shape \(3, 8\)"):
        compare(torch.zeros(1, 8), torch.zeros(3, 8), LOOSE)


@pytest.mark.parametrize("shape", [(0, 8), (3, 0), (0,)])
def test_nothing_to_compare(shape: tuple[int, ...]) -> None:
    assert compare(torch.empty(shape), torch.empty(shape), TIGHT).calc_diff == 0.0


def test_the_figures_of_the_worst_token_come_back() -> None:
    want = torch.ones(3, 4)
    got = want.clone()
    got[2] += 0.5
    found = compare(got, want, LOOSE)
    assert (found.calc_diff_token, found.max_abs_token) == (2, 2)
    assert found.max_abs == pytest.approx(0.5)
    assert found.calc_diff == pytest.approx(0.25 / 3.25)


def test_fp8_results_can_be_checked() -> None:
    codes = torch.tensor([[0x7F]], dtype=torch.uint8).view(torch.float8_e4m3fn)
    with pytest.raises(ParityError, match="token 5 holds"):
        check_finite(codes, first=5)
