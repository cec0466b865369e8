"""Attention at GLM's head counts, as each architecture would launch it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from glm_rocm_kernels.calls import attention_call, store_call
from glm_rocm_kernels.compiling import ARCHS
from glm_rocm_kernels.errors import LaunchRefusedError

QUICK_ARCHS = ("gfx942", "gfx950")
CASES = [
    ("decode", torch.bfloat16, 16),
    ("verify", torch.bfloat16, 16),
    ("prefill", torch.bfloat16, 16),
    ("decode", "fp8", 16),
    ("verify", "fp8", 16),
    ("prefill", "fp8", 16),
    ("mixed", torch.float32, 16),
    ("mixed", torch.float16, 16),
    ("mixed", torch.bfloat16, 1),
    ("mixed", torch.bfloat16, 64),
]
QUICK_CASES = CASES[:6]
REFUSED: dict[tuple[str, Any], str] = {
    ("gfx90a", "fp8"): "it has no FP8 instructions; give the cache bfloat16",
    ("gfx1201", torch.float32): "an fp32 tile takes more registers than it has",
}


def cases() -> list[Any]:
    """Every case of each architecture; a quick run takes the first of those that this project is for."""
    every: list[Any] = [(arch, *case, 8) for arch in QUICK_ARCHS for case in CASES]
    every += [(arch, *case, 8) for arch in ARCHS[2:] for case in (CASES[0], CASES[2], CASES[3], CASES[6])]
    every += [(arch, batch, torch.bfloat16, 16, 1) for arch in QUICK_ARCHS for batch in ("decode", "mixed")]
    quick = [(arch, *case, 8) for arch in QUICK_ARCHS for case in QUICK_CASES]
    return [case if case in quick else pytest.param(*case, marks=pytest.mark.long) for case in every]


@pytest.mark.parametrize(("arch", "batch", "cache", "block_size", "tp"), cases(), ids=str)
def test_attention(
    compiled: Any, hold: Any, type_of: Any, fp8_of: Any, arch: str, batch: str, cache: Any, block_size: int, tp: int
) -> None:
    dtype = torch.bfloat16 if cache == "fp8" else cache
    stored = fp8_of(arch) if cache == "fp8" else cache
    if (arch, cache) in REFUSED:
        with pytest.raises(LaunchRefusedError, match=REFUSED[arch, cache]):
            compiled(arch, lambda: attention_call(batch, dtype, stored, block_size, tp))
        return
    for kernel in compiled(arch, lambda: attention_call(batch, dtype, stored, block_size, tp)):
        # An FP8 cache is multiplied as FP8, or widened in registers: what the launch data say.
        hold(kernel, type_of(dtype), type_of(stored))


@pytest.mark.parametrize("arch", [*QUICK_ARCHS, *(pytest.param(a, marks=pytest.mark.long) for a in ARCHS[2:])])
@pytest.mark.parametrize("fp8", [False, True], ids=["bf16 cache", "FP8 cache"])
def test_store(compiled: Any, hold: Any, fp8_of: Any, arch: str, fp8: bool) -> None:
    cache = fp8_of(arch) if fp8 else torch.bfloat16
    for kernel in compiled(arch, lambda: store_call(torch.bfloat16, cache)):
        hold(kernel)
