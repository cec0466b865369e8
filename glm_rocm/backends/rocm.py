"""Our Triton kernels on AMD's matrix cores: first choice on gfx942 and gfx950.

Declarations only; Triton is imported when a kernel is loaded. No card was at hand: what is known of each kernel is that
its machine code, executed by the emulator, gives the reference's results (tests/kernels).
"""

from __future__ import annotations

from typing import Any

from glm_rocm.backends.declare import BLOCKS, DTYPES, EXACT, QUANTS, SAME_BITS, divides, rotary_fits
from glm_rocm.ops.kernel import Evidence, Kernel, Reason, Tolerance, module_present, on_arch, on_vendor, one_of
from glm_rocm.target import Target

ARCHS = ("gfx942", "gfx950")
HEAD_DIMS = (32, 64, 128)

TOLERANCE = EXACT | {"float8": Tolerance(calc_diff=1e-3, max_abs=1e-1)}
"""FP8 on the same bits (DeepGEMM's gate for FP8, testing/numeric.py)."""

HERE = (
    on_vendor("rocm"),
    on_arch(*ARCHS, cure="the torch kernels run there"),
    module_present("triton", cure="pip install triton"),
)


def _emulated(test: str, *dtypes: str) -> tuple[Evidence, ...]:
    where = f"machine code of Triton 3.9.0 run by cdna_emulator, tests/kernels/{test}"
    return tuple(Evidence(arch, dtype, "emulated", where) for arch in ARCHS for dtype in dtypes)


def _cache_dtype(problem: Any, target: Target) -> Reason | None:
    """The cache holds the queries' dtype, or the FP8 format that the card converts."""
    if problem.kv_dtype in (problem.dtype, target.fp8_dtype):
        return None
    return Reason(f"kv_dtype {problem.kv_dtype}", f"{problem.dtype} or {target.fp8_dtype} on {target.arch}")


KERNELS = (
    Kernel(
        name="rocm.attention",
        op="attention",
        entry="glm_rocm_kernels.attention:attention",
        limits=(
            *HERE,
            one_of("dtype", DTYPES),
            _cache_dtype,
            one_of("head_dim", HEAD_DIMS),
            divides("kv_heads", "heads"),
        ),
        tolerance=TOLERANCE,
        evidence=_emulated("test_attention.py", *DTYPES, "float8"),
        requires=("torch", "triton"),
    ),
    Kernel(
        name="rocm.route",
        op="moe.route",
        entry="glm_rocm_kernels.moe:route",
        limits=(*HERE, divides("n_group", "experts")),
        tolerance={"float32": EXACT["float32"]},
        evidence=_emulated("test_route.py", "float32"),
        requires=("torch", "triton"),
    ),
    Kernel(
        name="rocm.experts",
        op="moe.experts",
        entry="glm_rocm_kernels.moe:experts",
        limits=(*HERE, one_of("dtype", DTYPES), one_of("quant", QUANTS), one_of("block", BLOCKS)),
        tolerance=TOLERANCE,
        evidence=_emulated("test_experts.py", *DTYPES, "float8"),
        requires=("torch", "triton"),
    ),
    Kernel(
        name="rocm.linear",
        op="linear",
        entry="glm_rocm_kernels.linear:linear",
        limits=(*HERE, one_of("dtype", DTYPES), one_of("quant", QUANTS)),
        tolerance=TOLERANCE,
        evidence=_emulated("test_linear.py", *DTYPES, "float8"),
        requires=("torch", "triton"),
    ),
    Kernel(
        name="rocm.norm_rope",
        op="norm_rope",
        entry="glm_rocm_kernels.norm_rope:norm_rope",
        limits=(*HERE, one_of("dtype", DTYPES), rotary_fits, divides("kv_heads", "heads")),
        tolerance=EXACT,
        evidence=_emulated("test_norm_rope.py", *DTYPES),
        requires=("torch", "triton"),
    ),
    Kernel(
        name="rocm.quant",
        op="quant",
        entry="glm_rocm_kernels.quant:quantize_per_token",
        limits=(*HERE, one_of("dtype", DTYPES), one_of("scheme", ("channel_token",))),
        tolerance=SAME_BITS,
        evidence=_emulated("test_quant.py", "float8"),
        requires=("torch", "triton"),
    ),
    Kernel(
        name="rocm.quant_groups",
        op="quant",
        entry="glm_rocm_kernels.quant:quantize_token_groups",
        limits=(*HERE, one_of("dtype", DTYPES), one_of("scheme", ("block",))),
        tolerance=SAME_BITS,
        evidence=_emulated("test_quant.py", "float8"),
        requires=("torch", "triton"),
    ),
)
