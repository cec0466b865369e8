"""The mixture of experts at GLM's per-rank shapes, as each architecture would launch it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from glm_rocm_kernels.calls import AIR, GLM, QUANTS, WIDTHS, moe_call, route_call
from glm_rocm_kernels.compiling import ARCHS
from glm_rocm_kernels.errors import LaunchRefusedError

QUICK_ARCHS = ("gfx942", "gfx950")


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
            compiled(arch, lambda: moe_call(tokens, dtype, product, quant, model, width))
        return
    kernels = compiled(arch, lambda: moe_call(tokens, dtype, product, quant, model, width))
    assert sum(bool(kernel.operand_types) for kernel in kernels) >= 2, "gate-up and down"
    for kernel in kernels:
        hold(kernel, type_of(product))


@pytest.mark.parametrize("arch", [*QUICK_ARCHS, *(pytest.param(a, marks=pytest.mark.long) for a in ARCHS[2:])])
def test_route(compiled: Any, hold: Any, arch: str) -> None:
    for kernel in compiled(arch, route_call):
        hold(kernel)
