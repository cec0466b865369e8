"""The torch quantisers against the reference: codes and scales must be the same bits."""

from __future__ import annotations

import pytest
import torch

from glm_rocm.backends.torch_kernels import quant
from glm_rocm.numerics import FORMATS, decode_table
from glm_rocm.reference import quant as reference

FP8 = list(FORMATS)


def same_bits(got: tuple[torch.Tensor, torch.Tensor], want: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert got[0].dtype == want[0].dtype
    assert torch.equal(got[0].contiguous().view(torch.uint8), want[0].contiguous().view(torch.uint8))
    assert torch.equal(got[1], want[1])


@pytest.mark.parametrize("dtype", FP8, ids=str)
@pytest.mark.parametrize("width", [1, 127, 128, 129, 176, 192, 5120])
@pytest.mark.parametrize("tokens", [0, 1, 17])
def test_per_token_and_per_group(tokens: int, width: int, dtype: torch.dtype) -> None:
    x = torch.randn(tokens, width + 2).bfloat16()[:, 1:-1]
    same_bits(quant.quantize_per_token(x, dtype), reference.quantize_per_token(x, dtype))
    same_bits(quant.quantize_token_groups(x, 128, dtype), reference.quantize_token_groups(x, 128, dtype))


@pytest.mark.parametrize("shape", [(192, 176), (3, 384, 192), (1, 1), (2, 130, 5)])
@pytest.mark.parametrize("dtype", FP8, ids=str)
def test_weights_per_channel_and_per_block(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    w = torch.randn(shape)
    same_bits(quant.quantize_per_channel(w, dtype), reference.quantize_per_channel(w, dtype))
    same_bits(quant.quantize_blocks(w, (128, 128), dtype), reference.quantize_blocks(w, (128, 128), dtype))


@pytest.mark.parametrize("dtype", FP8, ids=str)
def test_widen_reads_every_code_as_torch_does(dtype: torch.dtype) -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(16, 16).view(dtype)
    torch.testing.assert_close(quant.widen(codes), codes.float(), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(quant.widen(codes.t()), codes.float().t(), rtol=0, atol=0, equal_nan=True)
    assert decode_table(dtype, codes.device).shape == (256,)


@pytest.mark.parametrize("nan", [0x7F, 0xFF, None])
@pytest.mark.parametrize("dtype", FP8, ids=str)
def test_widen_reads_a_large_weight_as_torch_does(dtype: torch.dtype, nan: int | None) -> None:
    """Large weights are widened by bit operations, which alone would read a NaN code as a number."""
    bits = torch.arange(quant.MANY + 7).remainder(256).to(torch.uint8)
    for code in {0x7F, 0xFF} - {nan}:
        bits[bits == code] = 0
    codes = bits.view(dtype)
    got, want = quant.widen(codes), codes.float()
    torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(got.signbit(), want.signbit()), "a zero lost its sign"


def test_activations_of_a_row_of_zeros_stay_zero() -> None:
    x = torch.zeros(2, 192)
    x[0] = 1.0
    for scheme in ("channel_token", "block"):
        values, factor = quant.quantized_rows(x, torch.float8_e4m3fn, scheme)
        assert not values[1].any()
        assert factor is None or bool((factor > 0).all())
