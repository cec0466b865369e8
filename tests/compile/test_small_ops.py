"""Linear layers, norms, rotary embedding and quantisation at GLM's shapes, as each architecture would launch them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from glm_rocm_kernels.calls import HIDDEN, QKV, linear_call, small_calls
from glm_rocm_kernels.compiling import ARCHS
from glm_rocm_kernels.errors import LaunchRefusedError

SLOW_ARCHS = ("gfx90a", "gfx1201", "sm100")


def marked(arch: str, *values: Any) -> Any:
    """A case that a quick run leaves out."""
    return pytest.param(arch, *values, marks=pytest.mark.long)


LAYERS = [
    (1, torch.bfloat16, "none"),
    (64, torch.bfloat16, "none"),
    (4096, torch.bfloat16, "none"),
    (4096, torch.float16, "none"),
    (1, torch.float32, "none"),
    (1, torch.bfloat16, "channel_token"),
    (64, torch.bfloat16, "channel_token"),
    (4096, torch.bfloat16, "channel_token"),
    (1, torch.bfloat16, "block"),
    (4096, torch.bfloat16, "block"),
]


@pytest.mark.parametrize(
    ("arch", "rows", "dtype", "quant"),
    [marked(arch, *case) if arch in SLOW_ARCHS else (arch, *case) for arch in ARCHS for case in LAYERS],
    ids=str,
)
def test_linear(
    compiled: Any, hold: Any, type_of: Any, fp8_of: Any, arch: str, rows: int, dtype: torch.dtype, quant: str
) -> None:
    product = dtype if quant == "none" else fp8_of(arch)
    if quant != "none" and arch == "gfx90a":
        with pytest.raises(LaunchRefusedError, match="it has no FP8 matrix instructions; load the weight as bfloat16"):
            compiled(arch, lambda: linear_call(rows, dtype, product, quant, QKV, HIDDEN))
        return
    kernels = compiled(arch, lambda: linear_call(rows, dtype, product, quant, QKV, HIDDEN))
    assert "gemm" in {kernel.kernel for kernel in kernels}
    for kernel in kernels:
        hold(kernel, type_of(product))
    if rows == 4096 and arch in ("sm90", "sm100"):
        unit = "wgmma" if arch == "sm90" else "tcgen05"
        assert any(name.startswith(unit) for kernel in kernels for name in kernel.products)


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
@pytest.mark.parametrize("quant", ["none", "channel_token"])
def test_rows_of_a_layer_that_no_step_divides(
    compiled: Any, hold: Any, type_of: Any, fp8_of: Any, arch: str, quant: str
) -> None:
    """K = 176, GLM-4.5-Air at TP 8: the last step is masked."""
    product = torch.bfloat16 if quant == "none" else fp8_of(arch)
    for kernel in compiled(arch, lambda: linear_call(16, torch.bfloat16, product, quant, 4096, 176)):
        hold(kernel, type_of(product))


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [
        *(("gfx942", dtype) for dtype in (torch.bfloat16, torch.float16, torch.float32)),
        ("gfx950", torch.bfloat16),
        marked("gfx950", torch.float16),
        marked("gfx950", torch.float32),
        *(marked(arch, torch.bfloat16) for arch in ("gfx90a", "gfx1201", "sm90", "sm100")),
    ],
    ids=str,
)
def test_the_rest(compiled: Any, hold: Any, fp8_of: Any, arch: str, dtype: torch.dtype) -> None:
    for name, call in small_calls(dtype, fp8_of(arch)).items():
        kernels = compiled(arch, call)
        assert len(kernels) == 1, f"{name}: {[kernel.kernel for kernel in kernels]}"
        hold(kernels[0])
