"""The reference on FP8 checkpoints: scales are found by their names, joined in order, and really used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.numerics import calc_diff
from glm_rocm.reference.block import block, empty_cache, mlp, one_sequence
from glm_rocm.reference.linear import dequantize_weight
from glm_rocm.reference.norm_rope import cos_sin_table
from glm_rocm.reference.quant import quantize_blocks, quantize_per_channel
from glm_rocm.reference.weights import BlockWeights, MlpWeights, load_block

TOKENS = 13
SCHEMES: dict[str, tuple[str, Callable[[Tensor], tuple[Tensor, Tensor]]]] = {
    "channel_token": ("weight_scale", quantize_per_channel),
    "block": ("weight_scale_inv", quantize_blocks),
}
WIDE = {"hidden_size": 160, "moe_intermediate_size": 136, "intermediate_size": 192}
"""Widths that are no multiple of a 128-wide block."""


def quantized(tensors: dict[str, Tensor], scheme: str) -> dict[str, Tensor]:
    """A checkpoint's tensors with every projection in FP8, as the published layouts name them."""
    suffix, quantize = SCHEMES[scheme]
    result = dict(tensors)
    for name, tensor in tensors.items():
        if name.endswith("_proj.weight"):
            result[name], result[name.removesuffix("weight") + suffix] = quantize(tensor)
    return result


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("layer", [0, 1], ids=["dense", "experts"])
def test_block_stays_near_its_unquantised_self(tiny_glm: Any, scheme: str, layer: int) -> None:
    _, tensors, ours = tiny_glm(**WIDE)
    x = torch.randn(TOKENS, ours.spec.hidden)
    cos_sin = cos_sin_table(TOKENS, ours.spec.rotary_dim, ours.spec.rope_theta)

    def through(weights: BlockWeights) -> Tensor:
        return block(x, weights, empty_cache(TOKENS, ours.spec), one_sequence(TOKENS), cos_sin, ours.spec) - x

    fp8 = through(load_block(quantized(tensors, scheme), layer, ours.spec))
    cost = calc_diff(fp8, through(ours.blocks[layer]))
    assert 1e-4 < float(cost.median()) < 1e-2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_expert_keeps_its_own_scale(tiny_glm: Any, scheme: str) -> None:
    _, tensors, ours = tiny_glm(**WIDE)
    loaded = load_block(quantized(tensors, scheme), 1, ours.spec).mlp
    plain = ours.blocks[1].mlp
    assert not isinstance(loaded, MlpWeights)
    assert not isinstance(plain, MlpWeights)
    assert loaded.w13.scale is not None
    assert loaded.w2.scale is not None
    assert loaded.w13.quant == loaded.w2.quant == scheme
    for expert in range(ours.spec.experts):
        wide = dequantize_weight(loaded.w2.weight[expert], loaded.w2.scale[expert], scheme)
        torch.testing.assert_close(wide, plain.w2.weight[expert], rtol=0.07, atol=0.01)


def test_gate_and_up_of_a_width_that_cuts_a_block_keep_their_scales_apart(tiny_glm: Any) -> None:
    """Gate and up are quantised apart: of 136 rows each, two blocks each, and not the three blocks of 272 rows."""
    _, tensors, ours = tiny_glm(**WIDE)
    loaded = load_block(quantized(tensors, "block"), 1, ours.spec).mlp
    plain = ours.blocks[1].mlp
    assert not isinstance(loaded, MlpWeights)
    assert not isinstance(plain, MlpWeights)
    assert loaded.shared is not None
    assert plain.shared is not None
    assert loaded.shared.w13.scale is not None
    x = torch.randn(TOKENS, ours.spec.hidden)
    cost = calc_diff(mlp(x, loaded.shared), mlp(x, plain.shared))
    assert float(cost.max()) < 1e-2, "blocks that ran on from gate to up would cost more than 0.02"
