"""The torch linear against the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from glm_rocm.backends import by_name
from glm_rocm.backends.torch_kernels.linear import linear
from glm_rocm.errors import UsageError
from glm_rocm.numerics import compare
from glm_rocm.reference.linear import linear as reference

KERNEL = by_name("cpu.linear")
QUANTS = ["none", "channel_token", "block"]
Quantized = Callable[[Tensor, str, torch.dtype], tuple[Tensor, Tensor | None]]


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("rows", "columns"), [(192, 176), (130, 352), (33, 127), (1, 128), (64, 1)])
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
def test_shapes_and_schemes(
    quantized: Quantized, rows: int, columns: int, dtype: torch.dtype, quant: str, bias: bool
) -> None:
    random = torch.Generator().manual_seed(rows)
    w, scale = quantized(torch.randn(rows, columns, generator=random).to(dtype), quant, torch.float8_e4m3fn)
    x = torch.randn(7, columns + 3, generator=random).to(dtype)[:, 1 : columns + 1]  # strided
    added = torch.randn(rows, generator=random).to(dtype) if bias else None
    got = linear(x, w, w_scale=scale, bias=added, quant=quant)
    want = reference(x, w, w_scale=scale, bias=added, quant=quant)
    exact = str(dtype).removeprefix("torch.")
    # One wide row of an fp32 result is not averaged over anything: its own rounding is what fp32 allows.
    compare(got, want, KERNEL.tolerance["float8" if quant != "none" else exact], label=KERNEL.name)
    assert got.dtype == dtype


@pytest.mark.parametrize("tokens", [*range(1, 18), 31, 32, 33, 64, 128])
def test_token_counts(tokens: int) -> None:
    w, x = torch.randn(96, 80), torch.randn(tokens, 80)
    compare(linear(x, w), reference(x, w), KERNEL.tolerance["float32"])


@pytest.mark.parametrize("quant", QUANTS)
def test_no_token(quantized: Quantized, quant: str) -> None:
    w, scale = quantized(torch.randn(64, 192), quant, torch.float8_e4m3fn)
    assert linear(torch.empty(0, 192), w, w_scale=scale, quant=quant).shape == (0, 64)


@pytest.mark.parametrize("quant", QUANTS)
def test_weight_stored_transposed(quantized: Quantized, quant: str) -> None:
    """vLLM keeps an FP8 weight as `[K, N]`; its transpose is a view whose rows are not contiguous."""
    w, scale = quantized(torch.randn(192, 160), quant, torch.float8_e4m3fn)
    stored = w.view(torch.uint8).t().contiguous().t().view(w.dtype) if quant != "none" else w.t().contiguous().t()
    x = torch.randn(5, 160)
    assert not stored.is_contiguous()
    torch.testing.assert_close(
        linear(x, stored, w_scale=scale, quant=quant), linear(x, w, w_scale=scale, quant=quant), rtol=1e-5, atol=1e-4
    )


def test_result_in_another_dtype() -> None:
    x, w = torch.randn(3, 64).bfloat16(), torch.randn(8, 64).bfloat16()
    got = linear(x, w, out_dtype=torch.float32)
    compare(got, reference(x, w), KERNEL.tolerance["float32"])


def test_scale_given_flat(quantized: Quantized) -> None:
    w, scale = quantized(torch.randn(64, 64), "channel_token", torch.float8_e4m3fn)
    assert scale is not None
    x = torch.randn(3, 64)
    flat = linear(x, w, w_scale=scale.view(-1), quant="channel_token")
    assert torch.equal(flat, linear(x, w, w_scale=scale, quant="channel_token"))


@pytest.mark.parametrize("quant", ["channel_token", "block"])
def test_a_row_of_nan_spoils_no_other(quantized: Quantized, quant: str) -> None:
    w, scale = quantized(torch.randn(64, 192), quant, torch.float8_e4m3fn)
    x = torch.randn(4, 192)
    clean = linear(x, w, w_scale=scale, quant=quant)
    x[2, 17] = float("nan")
    got = linear(x, w, w_scale=scale, quant=quant)
    assert torch.equal(got[[0, 1, 3]], clean[[0, 1, 3]])
    assert bool(got[2].isnan().all())


def test_fp8_without_scale_is_refused() -> None:
    with pytest.raises(UsageError, match="without a weight scale"):
        linear(torch.randn(2, 8), torch.randn(4, 8).to(torch.float8_e4m3fn), quant="block")
