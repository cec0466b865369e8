"""The linear kernels against the reference on the same FP8 bits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glm_rocm.backends.declare import EXACT
from glm_rocm.numerics import compare
from glm_rocm.ops.kernel import Tolerance
from glm_rocm.reference import quant as reference_quant
from glm_rocm.reference.linear import linear as reference
from glm_rocm_kernels import linear as module
from glm_rocm_kernels.launch import LaunchChoice
from glm_rocm_kernels.linear import linear, plan

QUANTS = ["none", "channel_token", "block"]
DTYPES = [torch.bfloat16, torch.float16, torch.float32]
FP8 = Tolerance(calc_diff=1e-3, max_abs=1e-1)


def weight(shape: tuple[int, int], dtype: torch.dtype, quant: str, fp8: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """A weight in a scheme, by the reference; its channels differ in size, so that no scale can stand for another."""
    random = torch.Generator().manual_seed(sum(shape))
    sizes = 2.0 ** torch.randint(-3, 3, (shape[0], 1), generator=random)
    w = (torch.randn(shape, generator=random) * sizes / shape[1] ** 0.5).to(dtype)
    if quant == "none":
        return w, None
    if quant == "channel_token":
        return reference_quant.quantize_per_channel(w, fp8)
    return reference_quant.quantize_blocks(w, (128, 128), fp8)


def activations(rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """A strided view whose neighbours are NaN; its rows differ in size."""
    random = torch.Generator().manual_seed(rows)
    x = torch.full((rows, columns + 5), float("nan"), dtype=dtype)[:, 2 : columns + 2]
    sizes = 2.0 ** torch.randint(-3, 3, (rows, 1), generator=random)
    x.copy_(torch.randn(rows, columns, generator=random) * sizes)
    return x


def tolerance(dtype: torch.dtype, quant: str) -> Tolerance:
    return EXACT[str(dtype).removeprefix("torch.")] if quant == "none" else FP8


def to(device: torch.device, *tensors: Tensor | None) -> list[Tensor | None]:
    """On the target; strides stay as they are."""
    return [None if x is None else x.to(device) if device.type != "cpu" else x for x in tensors]


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("outputs", "inner"), [(192, 176), (130, 352), (33, 127), (1, 128), (64, 1)])
def test_shapes_and_schemes(
    target: object, device: torch.device, outputs: int, inner: int, dtype: torch.dtype, quant: str
) -> None:
    w, scale = weight((outputs, inner), dtype, quant, target.fp8)  # type: ignore[attr-defined]
    x, bias = activations(7, inner, dtype), torch.randn(outputs).to(dtype)
    a, b, s, c = to(device, x, w, scale, bias)
    got = linear(a, b, w_scale=s, bias=c, quant=quant)
    assert got.dtype == dtype
    compare(got.cpu(), reference(x, w, w_scale=scale, bias=bias, quant=quant), tolerance(dtype, quant))


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("rows", [0, 1, 16, 17, 65, 130])
def test_token_counts(target: object, device: torch.device, rows: int, quant: str) -> None:
    w, scale = weight((96, 256), torch.bfloat16, quant, target.fp8)  # type: ignore[attr-defined]
    x = activations(rows, 256, torch.bfloat16)
    a, b, s = to(device, x, w, scale)
    got = linear(a, b, w_scale=s, quant=quant)
    compare(got.cpu(), reference(x, w, w_scale=scale, quant=quant), tolerance(torch.bfloat16, quant))


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_k_in_parts(target: object, device: torch.device, dtype: torch.dtype, quant: str) -> None:
    """Long rows and few tiles: the sums of several workgroups are added, the last part being short."""
    w, scale = weight((40, 2200), dtype, quant, target.fp8)  # type: ignore[attr-defined]
    x, bias = activations(3, 2200, dtype), torch.randn(40).to(dtype)
    a, b, s, c = to(device, x, w, scale, bias)
    got = linear(a, b, w_scale=s, bias=c, quant=quant)
    compare(got.cpu(), reference(x, w, w_scale=scale, bias=bias, quant=quant), tolerance(dtype, quant))
    assert torch.equal(got, linear(a, b, w_scale=s, bias=c, quant=quant)), "the same every time"


@pytest.mark.parametrize("quant", QUANTS)
def test_weight_stored_transposed(target: object, device: torch.device, quant: str) -> None:
    w, scale = weight((192, 160), torch.bfloat16, quant, target.fp8)  # type: ignore[attr-defined]
    bits = w.view(torch.uint8) if quant != "none" else w
    stored = bits.t().contiguous().t().view(w.dtype)
    assert not stored.is_contiguous()
    x = activations(5, 160, torch.bfloat16)
    a, b, s = to(device, x, stored, scale)
    got = linear(a, b, w_scale=s, quant=quant)
    compare(got.cpu(), reference(x, w, w_scale=scale, quant=quant), tolerance(torch.bfloat16, quant))


@pytest.mark.parametrize("quant", QUANTS)
def test_a_row_of_nan_spoils_no_other(target: object, device: torch.device, quant: str) -> None:
    w, scale = weight((64, 192), torch.bfloat16, quant, target.fp8)  # type: ignore[attr-defined]
    x = activations(4, 192, torch.bfloat16)
    b, s = to(device, w, scale)
    clean = linear(x.to(device), b, w_scale=s, quant=quant)
    x[2, 17] = float("nan")
    got = linear(x.to(device), b, w_scale=s, quant=quant)
    assert torch.equal(got[[0, 1, 3]], clean[[0, 1, 3]])
    assert bool(got[2].isnan().all())


def test_result_in_another_dtype(device: torch.device) -> None:
    w, _ = weight((40, 64), torch.bfloat16, "none", torch.float8_e4m3fn)
    x = activations(3, 64, torch.bfloat16)
    got = linear(x.to(device), w.to(device), out_dtype=torch.float32)
    compare(got.cpu(), reference(x, w), EXACT["float32"])


def test_channel_scale_given_flat(target: object, device: torch.device) -> None:
    w, scale = weight((64, 64), torch.bfloat16, "channel_token", target.fp8)  # type: ignore[attr-defined]
    assert scale is not None
    x, w, scale = activations(3, 64, torch.bfloat16).to(device), w.to(device), scale.to(device)
    flat = linear(x, w, w_scale=scale.view(-1), quant="channel_token")
    assert torch.equal(flat, linear(x, w, w_scale=scale, quant="channel_token"))


def test_addresses_beyond_32_bits(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arithmetic of a tensor of 2^31 elements, on a small one."""
    monkeypatch.setattr(module, "extent", lambda x: 2**31)
    w, _ = weight((70, 130), torch.bfloat16, "none", torch.float8_e4m3fn)
    x = activations(20, 130, torch.bfloat16)
    a, b = to(device, x, w)
    compare(linear(a, b).cpu(), reference(x, w), EXACT["bfloat16"])


@settings(max_examples=4, deadline=None, database=None)
@given(
    rows=st.integers(1, 40),
    outputs=st.integers(1, 150),
    inner=st.integers(1, 300),
    quant=st.sampled_from(QUANTS),
    bias=st.booleans(),
)
def test_any_shape(target: object, rows: int, outputs: int, inner: int, quant: str, bias: bool) -> None:
    dtype = torch.bfloat16
    w, scale = weight((outputs, inner), dtype, quant, target.fp8)  # type: ignore[attr-defined]
    x, added = activations(rows, inner, dtype), torch.randn(outputs).to(dtype) if bias else None
    with target.run():  # type: ignore[attr-defined]
        a, b, s, c = to(target.device, x, w, scale, added)  # type: ignore[attr-defined]
        got = linear(a, b, w_scale=s, bias=c, quant=quant)
    compare(got.cpu(), reference(x, w, w_scale=scale, bias=added, quant=quant), tolerance(dtype, quant))


@pytest.mark.parametrize("inner", [1, 128, 1000, 5120, 12288])
@pytest.mark.parametrize("outputs", [32, 1792, 8192])
def test_the_parts_of_k_are_disjoint_and_whole(outputs: int, inner: int) -> None:
    constants = {"BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_K": 128, "MAX_PARTS": 8}
    parts, steps = plan(LaunchChoice("linear", "x", constants, {}, "test"), 3, outputs, inner, 304)
    blocks = -(-inner // 128)
    assert (parts - 1) * steps < blocks <= parts * steps
    assert 1 <= parts <= 8
