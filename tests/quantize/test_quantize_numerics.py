"""How near the FP8 weights are: half an ulp of e4m3fn, whatever the row holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glm_rocm.quantize import quantize_checkpoint
from glm_rocm.quantize.shards import quantize_weight, relative_error

QUERY = "model.layers.1.self_attn.q_proj.weight"
UP = "model.layers.1.mlp.experts.1.up_proj.weight"


def spread(scale: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """One scale per element, by indexing with each element's block: not the way the writer does it."""
    rows, columns = torch.arange(shape[0])[:, None], torch.arange(shape[1])[None, :]
    return scale.expand(shape) if scale.shape == (shape[0], 1) else scale[rows // 128, columns // 128]


def half_ulp(values: torch.Tensor) -> torch.Tensor:
    """Half the distance of e4m3fn neighbours around each value (3 mantissa bits, smallest normal 2^-6)."""
    exponents = (torch.frexp(values).exponent - 1).clamp_min(-6)
    return 2.0 ** (exponents - 3).double() / 2


def assert_within_half_ulp(weight: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor) -> None:
    ideal = weight.double() / spread(scale, (weight.shape[0], weight.shape[1])).double()
    assert float(ideal.abs().max()) <= 448 * (1 + 1e-6)
    excess = (ideal - codes.double()).abs() / half_ulp(ideal)
    assert float(excess.max()) <= 1 + 1e-5, f"element {int(excess.argmax())} is {float(excess.max())} half ulps away"


@pytest.mark.parametrize("scheme", ["fp8_channel_token", "fp8_block"])
def test_every_weight_is_within_half_an_ulp(source: Callable[..., Path], tmp_path: Path, scheme: str) -> None:
    folder = source()
    before = load_file(folder / "model.safetensors")
    quantize_checkpoint(folder, tmp_path / "fp8", scheme)
    after = load_file(tmp_path / "fp8" / "model.safetensors")
    suffix = "_scale_inv" if scheme == "fp8_block" else "_scale"
    for name in (QUERY, UP, "model.layers.0.mlp.down_proj.weight"):
        assert_within_half_ulp(before[name], after[name], after[name + suffix])


@pytest.mark.parametrize("scheme", ["fp8_channel_token", "fp8_block"])
@pytest.mark.parametrize("shape", [(176, 352), (128, 128), (1, 1), (129, 127), (3, 1)])
def test_odd_sizes(scheme: str, shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    codes, scale = quantize_weight(weight, scheme)
    assert codes.shape == weight.shape
    assert_within_half_ulp(weight, codes, scale)


@pytest.mark.parametrize("scheme", ["fp8_channel_token", "fp8_block"])
def test_a_row_or_block_of_zeros_stays_zero_with_a_finite_scale(scheme: str) -> None:
    weight = torch.randn(256, 128, generator=torch.Generator().manual_seed(2)).bfloat16()
    weight[:128] = 0
    codes, scale = quantize_weight(weight, scheme)
    assert torch.isfinite(scale).all()
    assert (scale > 0).all()
    assert (codes[:128].float() == 0).all()
    assert codes[128:].float().abs().max() == 448


@pytest.mark.parametrize("scheme", ["fp8_channel_token", "fp8_block"])
@pytest.mark.parametrize("huge", [3e38, -6e4, 1e-3])
def test_a_single_huge_value_is_kept_and_harms_its_own_scale_group_only(scheme: str, huge: float) -> None:
    weight = (torch.randn(256, 256, generator=torch.Generator().manual_seed(3)) * 1e-2 * abs(huge)).bfloat16()
    weight[5, 7] = huge
    codes, scale = quantize_weight(weight, scheme)
    assert torch.isfinite(scale).all()
    assert codes.float()[5, 7] * spread(scale, (256, 256))[5, 7] == pytest.approx(huge, rel=2**-4)
    assert_within_half_ulp(weight, codes, scale)


def test_the_report_names_the_weight_whose_values_were_flushed(
    source: Callable[..., Path], tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    tensors[UP][:, 0] = 1e6  # no norm shows it: the one kept column outweighs all others
    report = quantize_checkpoint(source(shards=2), tmp_path / "fp8")
    assert report.worst_error < 0.03
    assert report.flushed_tensor == UP
    assert report.most_flushed > 0.9
    assert [UP in note for note in report.notes] == [True]


def test_relative_error_of_a_gaussian_is_that_of_three_mantissa_bits() -> None:
    weight = torch.randn(64, 512, generator=torch.Generator().manual_seed(4))
    assert 0.02 < relative_error(weight, *quantize_weight(weight, "fp8_channel_token")) < 0.03
    zero = torch.zeros(4, 4)
    assert relative_error(zero, *quantize_weight(zero, "fp8_block")) == 0.0


@pytest.mark.parametrize("scheme", ["fp8_channel_token", "fp8_block"])
def test_scales_are_bf16_numbers_and_never_too_small(scheme: str) -> None:
    weight = torch.randn(300, 300, generator=torch.Generator().manual_seed(5)).float()
    _, scale = quantize_weight(weight, scheme)
    assert scale.dtype == torch.float32
    assert torch.equal(scale.bfloat16().float(), scale)
    ratio = (weight.abs() / spread(scale, (300, 300))).max()
    assert 448 / (1 + 2**-7) <= float(ratio) <= 448 * (1 + 2**-22)
