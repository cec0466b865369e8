"""Casts in the interpreter against torch, bit for bit. Run by test_exact.py with `TRITON_INTERPRET=1`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

import exact_interpreter

exact_interpreter.install()

FLOATS = [torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.bfloat16, torch.float16]
UNSIGNED = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32}


@triton.jit
def cast(source, target, COUNT: tl.constexpr):
    at = tl.arange(0, COUNT)
    tl.store(target + at, tl.load(source + at).to(target.dtype.element_ty))


def casted(x: Tensor, dtype: torch.dtype) -> Tensor:
    padded = torch.zeros(triton.next_power_of_2(x.numel()), dtype=torch.uint8)
    padded = padded.to(x.dtype) if x.element_size() > 1 else padded.view(x.dtype)
    padded[: x.numel()] = x
    out = torch.zeros(padded.numel(), dtype=torch.float32).to(dtype)
    cast[(1,)](padded, out, padded.numel())
    return out[: x.numel()]


def mismatches(got: Tensor, want: Tensor) -> int:
    """Different bit patterns; two NaN are the same, whatever their payload."""
    same = got.view(UNSIGNED[got.element_size()]) == want.view(UNSIGNED[want.element_size()])
    return int((~(same | (got.float().isnan() & want.float().isnan()))).sum())


def fp32() -> Tensor:
    """200,000 values of any exponent, and the edges: signed zeros, denormals, ties, infinities, NaN."""
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    near = (random.standard_normal(100_000) * 2.0 ** random.integers(-20, 12, 100_000)).astype(np.float32)
    ties = np.arange(256, dtype=np.float32) / 16 + 1 / 32
    edges = np.array(
        [0, -0.0, 1e-45, -1e-45, np.inf, -np.inf, np.nan, 448, 464, 465, 240, 248, 57344, 61440], np.float32
    )
    return torch.from_numpy(np.concatenate([bits, near, ties, -ties, edges]))


def bf16() -> Tensor:
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    assert int(every.isfinite().sum()) == 65_280
    return every


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_fp32_to(dtype: torch.dtype) -> None:
    assert mismatches(casted(fp32(), dtype), fp32().to(dtype)) == 0


@pytest.mark.parametrize("dtype", [*FLOATS[:3], torch.float16, torch.float32], ids=str)
def test_every_bf16_to(dtype: torch.dtype) -> None:
    assert mismatches(casted(bf16(), dtype), bf16().to(dtype)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("fp8", [*FLOATS[:3], torch.float8_e5m2fnuz], ids=str)
def test_every_fp8_to(fp8: torch.dtype, dtype: torch.dtype) -> None:
    every = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(fp8)
    assert mismatches(casted(every, dtype), every.float().to(dtype)) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_integers_to(dtype: torch.dtype) -> None:
    numbers = torch.arange(-3000, 3000, dtype=torch.int32)
    assert mismatches(casted(numbers, dtype), numbers.float().to(dtype)) == 0


def test_bf16_to_integers() -> None:
    numbers = torch.linspace(-3000, 3000, 4096).bfloat16()
    assert torch.equal(casted(numbers, torch.int32), numbers.to(torch.int32))


@triton.jit
def cast_towards_zero(source, target, COUNT: tl.constexpr):
    at = tl.arange(0, COUNT)
    tl.store(target + at, tl.load(source + at).to(tl.bfloat16, fp_downcast_rounding="rtz"))


def test_a_rounding_that_is_not_known_is_refused() -> None:
    with pytest.raises(Exception, match="only to nearest even is known"):
        cast_towards_zero[(1,)](torch.ones(16), torch.ones(16).bfloat16(), 16)
