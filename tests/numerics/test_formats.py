"""The FP8 formats, their conversion and quantisation, against arithmetic written out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from glm_rocm.errors import UsageError
from glm_rocm.numerics import (
    E4M3FN,
    E4M3FNUZ,
    FORMATS,
    MIN_SCALE,
    Float8Format,
    decode_table,
    dequantize,
    expand_blocks,
    fn_to_fnuz,
    format_of,
    quantize_rows,
)

CODES = torch.arange(256, dtype=torch.uint8)
BOTH = list(FORMATS.values())


def decode(code: int, form: Float8Format) -> float:
    """A code's value from its sign, exponent and mantissa."""
    if code in form.nan_codes:
        return math.nan
    sign, exponent, mantissa = (-1.0) ** (code >> 7), (code >> 3) & 15, code & 7
    if exponent == 0:
        return sign * mantissa / 8 * 2.0 ** (1 - form.bias)
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - form.bias)


@pytest.mark.parametrize("form", BOTH, ids=lambda form: form.name)
def test_every_code_means_what_the_data_says(form: Float8Format) -> None:
    want = torch.tensor([decode(code, form) for code in range(256)])
    torch.testing.assert_close(CODES.view(form.dtype).float(), want, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(decode_table(form.dtype, CODES.device), want, rtol=0, atol=0, equal_nan=True)
    assert want[want.isfinite()].max() == form.finite_max


def test_fnuz_quantises_to_224_so_that_both_formats_share_their_codes() -> None:
    x = torch.randn(9, 192)
    fn, fn_scale = quantize_rows(x, E4M3FN.dtype)
    fnuz, fnuz_scale = quantize_rows(x, E4M3FNUZ.dtype)
    bits = fn.view(torch.uint8)
    assert torch.equal(torch.where(bits == 0x80, 0, bits), fnuz.view(torch.uint8))
    assert torch.equal(fnuz_scale, fn_scale * 2)


def test_conversion_is_exact_for_all_256_codes() -> None:
    codes, scale = CODES.view(E4M3FN.dtype), torch.tensor([3.0])
    converted, doubled = fn_to_fnuz(codes, scale)
    torch.testing.assert_close(dequantize(converted, doubled), dequantize(codes, scale), rtol=0, atol=0, equal_nan=True)
    assert int(converted.view(torch.uint8)[0x80]) == 0, "-0 would be NaN"
    assert converted.float()[[0x7F, 0xFF]].isnan().all(), "NaN would be +-240"


def test_conversion_leaves_its_inputs_and_takes_views() -> None:
    codes, scale = CODES.view(16, 16).view(E4M3FN.dtype), torch.ones(16, 1)
    converted, _ = fn_to_fnuz(codes.t(), scale)
    assert torch.equal(codes.view(torch.uint8), CODES.view(16, 16))
    assert torch.equal(scale, torch.ones(16, 1))
    straight, _ = fn_to_fnuz(codes, scale)
    assert torch.equal(converted.view(torch.uint8), straight.view(torch.uint8).t())


def test_converting_twice_is_refused() -> None:
    codes, scale = fn_to_fnuz(CODES.view(E4M3FN.dtype), torch.ones(1))
    with pytest.raises(UsageError, match="float8_e4m3fnuz"):
        fn_to_fnuz(codes, scale)


@pytest.mark.parametrize("form", BOTH, ids=lambda form: form.name)
def test_round_trip_error_is_half_a_step(form: Float8Format) -> None:
    x = torch.randn(17, 192) * torch.logspace(-6, 6, 17)[:, None]
    codes, scale = quantize_rows(x, form.dtype)
    error = (dequantize(codes, scale) - x).abs()
    smallest_step = scale * 2.0 ** (1 - form.bias - 3)
    assert bool((error <= torch.maximum(x.abs() / 16, smallest_step / 2) * 1.0001).all())
    assert bool((codes.float().abs().amax(-1) == form.quant_max).all())


@pytest.mark.parametrize("form", BOTH, ids=lambda form: form.name)
def test_awkward_rows(form: Float8Format) -> None:
    x = torch.randn(6, 32)
    clean, clean_scale = quantize_rows(x[5:], form.dtype)
    x[0] = 0.0
    x[1] *= 1e-30
    x[2, 3] = float("nan")
    x[3, 3] = float("inf")
    x[4] *= 1e30
    codes, scale = quantize_rows(x, form.dtype)
    assert float(scale[0]) == float(scale[1]) == MIN_SCALE
    assert not codes[:2].float().any()
    assert codes[2].float().isnan().all()
    assert codes[3].float().isnan().any(), "an Inf does not become a number"
    assert codes[4].float().isfinite().all()
    assert torch.equal(codes[5:].view(torch.uint8), clean.view(torch.uint8))
    assert torch.equal(scale[5:], clean_scale)


def test_no_column_and_no_row() -> None:
    codes, scale = quantize_rows(torch.empty(3, 0), E4M3FN.dtype)
    assert (codes.shape, scale.shape) == ((3, 0), (3, 1))
    codes, scale = quantize_rows(torch.empty(0, 8), E4M3FN.dtype)
    assert (codes.shape, scale.shape) == ((0, 8), (0, 1))


def test_block_scales_cover_the_edge() -> None:
    scale = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert expand_blocks(scale, 3, 5, (2, 4)).tolist() == [[1, 1, 1, 1, 2]] * 2 + [[3, 3, 3, 3, 4]]


def test_other_dtypes_are_no_fp8_format() -> None:
    with pytest.raises(UsageError, match="float8_e5m2"):
        format_of(torch.float8_e5m2)
