"""The torch kernels: they run every op on every device that torch runs on, and are the last candidate everywhere.

Declarations only; torch is imported when a kernel is loaded. Everything before the one rounding of a result is fp32;
FP8 is held against the reference on the same bits, where only a code that rounds the other way may differ.
"""

from __future__ import annotations

from glm_rocm.backends.declare import BLOCKS, DTYPES, EXACT, FP8, QUANTS, SAME_BITS, divides, rotary_fits
from glm_rocm.ops.kernel import Evidence, Kernel, Tolerance, one_of

TOLERANCE = EXACT | {"float8": Tolerance(calc_diff=3e-4, max_abs=1e-1)}


def _ran(test: str, *dtypes: str) -> tuple[Evidence, ...]:
    where = f"x86-64 with AVX2, 2026-11-24, tests/backends/{test}"
    return tuple(Evidence("cpu", dtype, "hardware", where) for dtype in dtypes)


KERNELS = (
    Kernel(
        name="cpu.attention",
        op="attention",
        entry="glm_rocm.backends.torch_kernels.attention:attention",
        limits=(one_of("dtype", DTYPES), one_of("kv_dtype", DTYPES + FP8), divides("kv_heads", "heads")),
        tolerance=TOLERANCE,
        evidence=_ran("test_attention.py", *DTYPES, "float8"),
        requires=("torch",),
    ),
    Kernel(
        name="cpu.route",
        op="moe.route",
        entry="glm_rocm.backends.torch_kernels.moe:route",
        limits=(divides("n_group", "experts"),),
        tolerance={"float32": EXACT["float32"]},
        evidence=_ran("test_route.py", "float32"),
        requires=("torch",),
    ),
    Kernel(
        name="cpu.experts",
        op="moe.experts",
        entry="glm_rocm.backends.torch_kernels.moe:experts",
        limits=(one_of("dtype", DTYPES), one_of("quant", QUANTS), one_of("block", BLOCKS)),
        tolerance=TOLERANCE,
        evidence=_ran("test_experts.py", *DTYPES, "float8"),
        requires=("torch",),
    ),
    Kernel(
        name="cpu.linear",
        op="linear",
        entry="glm_rocm.backends.torch_kernels.linear:linear",
        limits=(one_of("dtype", DTYPES), one_of("quant", QUANTS)),
        tolerance=TOLERANCE,
        evidence=_ran("test_linear.py", *DTYPES, "float8"),
        requires=("torch",),
    ),
    Kernel(
        name="cpu.norm_rope",
        op="norm_rope",
        entry="glm_rocm.backends.torch_kernels.norm_rope:norm_rope",
        limits=(one_of("dtype", DTYPES), rotary_fits, divides("kv_heads", "heads")),
        tolerance=EXACT,
        evidence=_ran("test_norm_rope.py", *DTYPES),
        requires=("torch",),
    ),
    Kernel(
        name="cpu.quant",
        op="quant",
        entry="glm_rocm.backends.torch_kernels.quant:quantize_per_token",
        limits=(one_of("dtype", DTYPES), one_of("scheme", ("channel_token",))),
        tolerance=SAME_BITS,
        evidence=_ran("test_quant.py", "float8"),
        requires=("torch",),
    ),
    Kernel(
        name="cpu.quant_groups",
        op="quant",
        entry="glm_rocm.backends.torch_kernels.quant:quantize_token_groups",
        limits=(one_of("dtype", DTYPES), one_of("scheme", ("block",))),
        tolerance=SAME_BITS,
        evidence=_ran("test_quant.py", "float8"),
        requires=("torch",),
    ),
)
