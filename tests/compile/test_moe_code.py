"""The mixture of experts at GLM's per-rank shapes, as each architecture would launch it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm_kernels.errors import LaunchRefusedError
from glm_rocm_kernels.moe import experts, moe, route

ARCHS = ("gfx942", "gfx950", "gfx90a", "gfx1201", "sm90", "sm100")
QUICK_ARCHS = ("gfx942", "gfx950")
GLM = {"hidden": 5120, "count": 160}
AIR = {"hidden": 4096, "count": 128}
WIDTHS = [(GLM, width) for width in (192, 384, 768, 1536)] + [(AIR, width) for width in (176, 352, 704, 1408)]
"""Hidden size and experts, and the width of an expert at TP 8, 4, 2 and 1."""
QUANTS = ("none", "channel_token", "block")


def blocks(size: int) -> int:
    return -(-size // 128)


def weights(product: torch.dtype, quant: str, hidden: int, count: int, width: int) -> dict[str, Any]:
    """Both weights, never touched, and their scales."""
    shapes = {
        "none": (None, None),
        "channel_token": ((count, 2 * width, 1), (count, hidden, 1)),
        "block": ((count, 2 * blocks(width), blocks(hidden)), (count, blocks(hidden), blocks(width))),
    }
    scales = [None if shape is None else torch.empty(shape) for shape in shapes[quant]]
    w13 = torch.empty(count, 2 * width, hidden, dtype=product)
    w2 = torch.empty(count, hidden, width, dtype=product)
    return {"w13": w13, "w2": w2, "w13_scale": scales[0], "w2_scale": scales[1], "quant": quant}


def run(tokens: int, dtype: torch.dtype, product: torch.dtype, quant: str, model: dict[str, int], width: int) -> Tensor:
    """From logits to the sum where one launch routes too; else the experts alone, whose ids must be some."""
    given = weights(product, quant, **model, width=width)
    x = torch.empty(tokens, model["hidden"], dtype=dtype)
    if tokens <= 64:
        return moe(x, torch.empty(tokens, model["count"]), torch.empty(model["count"]), **given, top_k=8)
    return experts(x, ids=torch.zeros(tokens, 8, dtype=torch.int32), weights=torch.empty(tokens, 8), **given)


def cases() -> list[Any]:
    """Every batch size at TP 8, every other width with FP8 once; a quick run takes what this project is for."""
    bf16, fp32 = torch.bfloat16, torch.float32
    every: list[Any] = [(arch, 1, bf16, quant, GLM, 192) for arch in ARCHS for quant in QUANTS]
    every += [(arch, 4096, bf16, quant, GLM, 192) for arch in ARCHS for quant in QUANTS[:2]]
    every += [(arch, tokens, bf16, "block", GLM, 192) for arch in QUICK_ARCHS for tokens in (64, 4096)]
    every += [(arch, 16, fp32, "none", GLM, 192) for arch in QUICK_ARCHS]
    every += [("gfx942", 16, bf16, "channel_token", *shape) for shape in WIDTHS[1:]]
    every += [(arch, 16, bf16, quant, AIR, 176) for arch in QUICK_ARCHS for quant in ("none", "block")]
    quick = [(arch, 1, bf16, quant, GLM, 192) for arch in QUICK_ARCHS for quant in QUANTS]
    quick += [(arch, 4096, bf16, "channel_token", GLM, 192) for arch in QUICK_ARCHS]
    quick += [("gfx942", 16, bf16, "channel_token", AIR, 176)]
    return [case if case in quick else pytest.param(*case, marks=pytest.mark.long) for case in every]


def name(value: Any) -> str:
    return "Air" if value == AIR else "GLM" if value == GLM else str(value)


@pytest.mark.parametrize(("arch", "tokens", "dtype", "quant", "model", "width"), cases(), ids=name)
def test_experts(
    compiled: Any,
    hold: Any,
    type_of: Any,
    fp8_of: Any,
    arch: str,
    tokens: int,
    dtype: torch.dtype,
    quant: str,
    model: dict[str, int],
    width: int,
) -> None:
    product = dtype if quant == "none" else fp8_of(arch)
    if quant != "none" and arch == "gfx90a":
        with pytest.raises(LaunchRefusedError, match="no FP8 matrix instructions"):
            compiled(arch, lambda: run(tokens, dtype, product, quant, model, width))
        return
    kernels = compiled(arch, lambda: run(tokens, dtype, product, quant, model, width))
    assert sum(bool(kernel.operand_types) for kernel in kernels) >= 2, "gate-up and down"
    for kernel in kernels:
        hold(kernel, type_of(product))


@pytest.mark.parametrize("arch", [*QUICK_ARCHS, *(pytest.param(a, marks=pytest.mark.long) for a in ARCHS[2:])])
def test_route(compiled: Any, hold: Any, arch: str) -> None:
    for kernel in compiled(arch, lambda: route(torch.empty(4096, 160), torch.empty(160), top_k=8)):
        hold(kernel)
