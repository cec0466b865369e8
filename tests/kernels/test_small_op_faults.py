"""Faults planted in the source of the small kernels: the comparisons that pass otherwise see each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import cdna_emulator
from glm_rocm.backends.declare import EXACT
from glm_rocm.errors import ParityError
from glm_rocm.numerics import compare
from glm_rocm.ops.kernel import Tolerance
from glm_rocm.reference import quant as reference_quant
from glm_rocm.reference.attention import store_kv
from glm_rocm.reference.linear import linear as reference_linear
from glm_rocm.reference.norm_rope import cos_sin_table
from glm_rocm.reference.norm_rope import norm_rope as reference_norm_rope
from glm_rocm.reference.norm_rope import rms_norm as reference_rms_norm
from glm_rocm_kernels import linear as linear_module
from glm_rocm_kernels import quant as quant_module
from glm_rocm_kernels.linear import linear
from glm_rocm_kernels.norm_rope import bias_norm_rope_store, norm_rope, rms_norm
from glm_rocm_kernels.norm_rope_details import _norm_rope, _rms_norm
from glm_rocm_kernels.quant import fnuz_from_fn, quantize_token_groups

Plant = Callable[[Any, str, str, str], None]
FP8 = Tolerance(calc_diff=1e-3, max_abs=1e-1)
NONE = ("", "")
"""No fault: the check itself must pass on the kernel as it is."""
STRAYING = {("left = inner - first - step * BLOCK_K", "left = BLOCK_K")}
"""A dropped mask: some lanes leave their tensor, which the emulator and the interpreter report and a card does not."""


def caught(target: Any, fault: tuple[str, str], check: Callable[[], None]) -> None:
    """The check fails, and only where a fault was planted."""
    if fault == NONE:
        check()
    elif fault not in STRAYING:
        with pytest.raises((AssertionError, ParityError)):
            check()
    elif target.name in ("cuda", "rocm"):
        pytest.skip("it reads out of bounds, which a card does not report")
    else:
        with pytest.raises((AssertionError, ParityError, IndexError, cdna_emulator.OutOfBoundsError)):
            check()


def quant_check(fp8: torch.dtype) -> None:
    x = torch.randn(4, 330) * torch.tensor([[1e-3], [1.0], [50.0], [1.0]])
    x[3, 7] = float("nan")
    codes, scale = quantize_token_groups(x, 100, fp8)
    want_codes, want_scale = reference_quant.quantize_token_groups(x, 100, fp8)
    torch.testing.assert_close(scale, want_scale, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(codes.float(), want_codes.float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "fault",
    [
        NONE,
        ("valid = (inner[None, :] < group) & (column < columns)", "valid = column < columns"),
        ("return tl.max(bits, AXIS).to(tl.float32, bitcast=True)", "return tl.max(tl.abs(x), AXIS)"),
        ("tl.broadcast_to(scale[:, None], values.shape)", "tl.full(values.shape, 0.01, tl.float32)"),
        ("row * groups + index, scale", "row * groups + index, scale * 2"),
        ("row * columns + column, quantized", "row * columns + column // 2, quantized"),
    ],
)
def test_quantize(plant: Plant, device: torch.device, target: Any, fault: tuple[str, str]) -> None:
    if fault != NONE:
        plant(quant_module, "quantize_kernel", *fault)
    caught(target, fault, lambda: quant_check(target.fp8))


@pytest.mark.parametrize(
    "fault", [NONE, ("bits == 0x80, 0,", "bits == 0x81, 0,"), ("== 0x7F, 0x80,", "== 0x7F, 0x7F,")]
)
def test_conversion(plant: Plant, device: torch.device, target: Any, fault: tuple[str, str]) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)
    if fault != NONE:
        plant(quant_module, "convert_to_fnuz", *fault)

    def check() -> None:
        codes, scale = fnuz_from_fn(every, torch.ones(1))
        torch.testing.assert_close(codes.float() * scale, every.float(), rtol=0, atol=0, equal_nan=True)

    caught(target, fault, check)


def linear_check(quant: str, fp8: torch.dtype) -> None:
    """Several parts of K, the last of them short; columns of x beyond K are NaN."""
    w = torch.randn(160, 2190) * 2.0 ** torch.arange(160).remainder(5)[:, None]
    bias = torch.randn(160) * 30
    x = torch.full((5, 2304), float("nan"))[:, :2190]
    x.copy_(torch.randn(5, 2190) * 2.0 ** torch.arange(5)[:, None])
    scale: Tensor | None = None
    if quant == "channel_token":
        w, scale = reference_quant.quantize_per_channel(w, fp8)
    elif quant == "block":
        w, scale = reference_quant.quantize_blocks(w, (128, 128), fp8)
    spare = torch.zeros(161, w.shape[1], dtype=torch.uint8 if quant != "none" else w.dtype)
    spare[:160] = w.view(spare.dtype)
    got = linear(x, spare[:160].view(w.dtype), w_scale=scale, bias=bias, quant=quant)
    want = reference_linear(x, w, w_scale=scale, bias=bias, quant=quant)
    compare(got, want, EXACT["float32"] if quant == "none" else FP8)


@pytest.mark.parametrize("quant", ["none", "channel_token", "block"])
@pytest.mark.parametrize(
    ("kernel", "fault"),
    [
        ("gemm", NONE),
        ("gemm", ("left = inner - first - step * BLOCK_K", "left = BLOCK_K")),
        ("gemm", ("k = first + tl.arange(0, BLOCK_K)", "k = tl.arange(0, BLOCK_K)")),
        ("gemm", ("x_at += BLOCK_K * x_column", "x_at += 0 * x_column")),
        ("add_parts", ("tl.static_range(PARTS)", "tl.static_range(PARTS - 1)")),
        ("add_parts", ("total += tl.load(bias", "total += 0.0 * tl.load(bias")),
    ],
)
def test_linear(
    plant: Plant, device: torch.device, target: Any, quant: str, kernel: str, fault: tuple[str, str]
) -> None:
    if fault != NONE:
        plant(linear_module, kernel, *fault)
    caught(target, fault, lambda: linear_check(quant, target.fp8))


@pytest.mark.parametrize(
    ("quant", "kernel", "fault"),
    [
        ("channel_token", "add_parts", ("tl.load(w_scale + column * w_scale_row", "tl.load(w_scale + column * 0")),
        ("channel_token", "add_parts", ("tl.load(x_scale + row * x_scale_row", "tl.load(x_scale + row * 0")),
        ("block", "gemm", ("column // 128 * w_scale_row", "column // 256 * w_scale_row")),
        ("block", "gemm", ("at * w_scale_column", "0 * w_scale_column")),
        ("block", "gemm", ("row * x_scale_row + at", "row * x_scale_row")),
    ],
)
def test_scales_of_the_wrong_axis(
    plant: Plant, device: torch.device, target: Any, quant: str, kernel: str, fault: tuple[str, str]
) -> None:
    plant(linear_module, kernel, *fault)
    caught(target, fault, lambda: linear_check(quant, target.fp8))


def norm_rope_check() -> None:
    fused = torch.randn(3, 14, 128)
    positions, table = torch.tensor([40, 1, 7]), cos_sin_table(50, 64, 1e4)
    weights = {"q_weight": torch.randn(128), "k_weight": torch.randn(128)}
    arguments = (fused[:, :12], fused[:, 12:13], positions, table)
    got, want = norm_rope(*arguments, **weights, eps=1e-2), reference_norm_rope(*arguments, **weights, eps=1e-2)
    for mine, theirs in zip(got, want, strict=True):
        compare(mine, theirs, EXACT["float32"])


@pytest.mark.parametrize(
    "fault",
    [
        NONE,
        ("first * cos - second * sin", "first * cos + second * sin"),
        ("angles + HALF + pair", "angles + pair"),
        ("+ tl.sum(rest * rest, 1)", ""),
        ("squares / D + eps", "squares / D"),
        ("weighted(second, weight, factor, HALF,", "weighted(second, weight, factor, 0,"),
        ("angles, block - q_blocks, k_heads", "angles, block, k_heads"),
        ("positions + token)", "positions)"),
    ],
)
def test_norm_rope(plant: Plant, device: torch.device, target: Any, fault: tuple[str, str]) -> None:
    if fault != NONE:
        plant(_norm_rope, "norm_rope", *fault)
    caught(target, fault, norm_rope_check)


def store_check(fp8: torch.dtype) -> None:
    q, k, v = torch.randn(4, 2, 16), torch.randn(4, 1, 16), torch.randn(4, 1, 16)
    biases = {"q_bias": torch.randn(32), "k_bias": torch.randn(16), "v_bias": torch.randn(16)}
    positions, table, slots = torch.tensor([0, 9, 4, 2]), cos_sin_table(20, 8, 1e4), torch.tensor([5, -1, 11, 0])
    caches = [torch.zeros(5, 3, 1, 16, dtype=torch.uint8).view(fp8) for _ in range(4)]
    scales = {"k_scale": 0.002, "v_scale": 0.5}
    got_q = bias_norm_rope_store(q, k, v, positions, table, slots, *caches[:2], **biases, eps=1e-5, **scales)
    q, k, v = (x + bias.view(x.shape[1:]) for x, bias in zip((q, k, v), biases.values(), strict=True))
    want_q, k = reference_norm_rope(q, k, positions, table, eps=1e-5)
    store_kv(k, v, *caches[2:], slots, **scales)
    compare(got_q, want_q, EXACT["float32"])
    for got, want in zip(caches[:2], caches[2:], strict=True):
        compare(got.float().flatten(0, 1), want.float().flatten(0, 1), Tolerance(calc_diff=1e-3, max_abs=1e-1))


@pytest.mark.parametrize(
    "fault",
    [
        NONE,
        ("x += tl.load(bias", "x += 0.0 * tl.load(bias"),
        ("slot // BLOCK_SIZE, slot % BLOCK_SIZE", "slot // 4, slot % 4"),
        ("slot = tl.load(slots + token).to(tl.int64)", "slot = tl.abs(tl.load(slots + token).to(tl.int64))"),
        ("v_cache_head, v_scale, LIMIT", "v_cache_head, k_scale, LIMIT"),
        ("        x = x / scale\n", ""),
        ("x = tl.where(x == x, tl.clamp(x, -LIMIT, LIMIT), x)", "x = tl.clamp(x, -8.0, 8.0)"),
    ],
)
def test_store(plant: Plant, device: torch.device, target: Any, fault: tuple[str, str]) -> None:
    if fault != NONE:
        plant(_norm_rope, "bias_norm_rope_store", *fault)
    caught(target, fault, lambda: store_check(target.fp8))


def rms_norm_check() -> None:
    x, residual = torch.randn(2, 3, 300).bfloat16().unbind(0)
    weight = torch.randn(300).bfloat16()
    got = rms_norm(x, weight, 0.3, residual=residual)
    assert got.residual is not None
    assert torch.equal(got.residual, x + residual)
    compare(got.y, reference_rms_norm(x + residual, weight, 0.3), EXACT["bfloat16"])


@pytest.mark.parametrize(
    "fault",
    [
        NONE,
        ("/ columns + eps", "/ WIDTH + eps"),
        ("/ columns + eps", "/ columns"),
        ("values += tl.load(residual", "values += 0.0 * tl.load(residual"),
        (
            "normed = values * factor * tl.load(weight + column",
            "normed = values * factor * tl.load(weight + 0 * column",
        ),
    ],
)
def test_rms_norm(plant: Plant, device: torch.device, target: Any, fault: tuple[str, str]) -> None:
    if fault != NONE:
        plant(_rms_norm, "rms_norm", *fault)
    caught(target, fault, rms_norm_check)
