"""Linear layers, norms, rotary embedding and quantisation at GLM's shapes, as each architecture would launch them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm_kernels.errors import LaunchRefusedError
from glm_rocm_kernels.linear import linear
from glm_rocm_kernels.norm_rope import bias_norm_rope_store, norm_rope, rms_norm
from glm_rocm_kernels.quant import fnuz_from_fn, quantize_per_token, quantize_token_groups

ARCHS = ("gfx942", "gfx950", "gfx90a", "gfx1201", "sm90", "sm100")
SLOW_ARCHS = ("gfx90a", "gfx1201", "sm100")
HIDDEN, QKV, INTERMEDIATE = 5120, 1792, 1536
"""GLM-4.5 at TP 8: (12 + 2) heads of 128 from a hidden state, and a dense layer's share of 12,288."""


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Never touched, so that a weight of any size costs nothing."""
    return torch.empty(shape, dtype=dtype)


def layer(rows: int, dtype: torch.dtype, product: torch.dtype, quant: str, outputs: int, inner: int) -> Tensor:
    """A call of `linear` with a bias; `product` is the weight's dtype."""
    blocks = (-(-outputs // 128), -(-inner // 128))
    scale = (
        None if quant == "none" else empty(*((outputs, 1) if quant == "channel_token" else blocks), dtype=torch.float32)
    )
    x, w = empty(rows, inner, dtype=dtype), empty(outputs, inner, dtype=product)
    return linear(x, w, w_scale=None if quant == "none" else scale, bias=empty(outputs, dtype=dtype), quant=quant)


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
            compiled(arch, lambda: layer(rows, dtype, product, quant, QKV, HIDDEN))
        return
    kernels = compiled(arch, lambda: layer(rows, dtype, product, quant, QKV, HIDDEN))
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
    for kernel in compiled(arch, lambda: layer(16, torch.bfloat16, product, quant, 4096, 176)):
        hold(kernel, type_of(product))


def heads(dtype: torch.dtype, cache: torch.dtype, tokens: int = 64) -> list[Tensor]:
    fused = empty(tokens, 14, 128, dtype=dtype)
    pages = empty(100, 16, 1, 256, dtype=cache)
    index = torch.zeros(tokens, dtype=torch.int64)
    table = empty(1000, 64, dtype=torch.float32)
    return [fused[:, :12], fused[:, 12:13], fused[:, 13:], index, table, index, pages[..., :128], pages[..., 128:]]


def small_calls(dtype: torch.dtype, fp8: torch.dtype) -> dict[str, Callable[[], object]]:
    """One call of each kernel that multiplies no matrices."""
    q, k, v, positions, table, slots, k_cache, v_cache = heads(dtype, dtype)
    weight = empty(128, dtype=dtype)
    weights = {"q_weight": weight, "k_weight": weight}
    biases = {name: empty(width, dtype=dtype) for name, width in (("q_bias", 1536), ("k_bias", 128), ("v_bias", 128))}
    fp8_cache = heads(dtype, fp8)[6:]
    x, norm = empty(64, HIDDEN, dtype=dtype), empty(HIDDEN, dtype=dtype)
    return {
        "rope": lambda: norm_rope(q, k, positions, table, eps=1e-5),
        "norm and rope": lambda: norm_rope(q, k, positions, table, **weights, eps=1e-5),
        "store": lambda: bias_norm_rope_store(
            q, k, v, positions, table, slots, k_cache, v_cache, **weights, **biases, eps=1e-5
        ),
        "store, FP8": lambda: bias_norm_rope_store(
            q, k, v, positions, table, slots, *fp8_cache, **weights, **biases, eps=1e-5, k_scale=0.1
        ),
        "rms norm": lambda: rms_norm(x, norm, 1e-5),
        "rms norm of a sum": lambda: rms_norm(x, norm, 1e-5, residual=x),
        "rms norm of a sum to FP8": lambda: rms_norm(x, norm, 1e-5, residual=x, quant_dtype=fp8),
        "per token": lambda: quantize_per_token(x, fp8),
        "per token, a dense layer": lambda: quantize_per_token(empty(8, 12288, dtype=dtype), fp8),
        "per group": lambda: quantize_token_groups(x, 128, fp8),
        "conversion": lambda: fnuz_from_fn(empty(256, 256, dtype=torch.float8_e4m3fn), empty(1, dtype=torch.float32)),
    }


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
