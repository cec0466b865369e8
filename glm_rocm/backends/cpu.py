"""The torch kernels: they run every op on every device that torch runs on, and are the last candidate everywhere.

Declarations only; torch is imported when a kernel is loaded. The tolerances are a few times what one rounding of the
result costs (bf16: 2^-9 relative, hence a calc_diff near 1.5e-6), since everything before it is fp32; FP8 is held
against the reference on the same bits, where only a code that rounds the other way may differ.
"""

from __future__ import annotations

from typing import Any

from glm_rocm.ops.kernel import Evidence, Kernel, Limit, Reason, Tolerance, one_of
from glm_rocm.target import Target

DTYPES = ("bfloat16", "float16", "float32")
FP8 = ("float8_e4m3fn", "float8_e4m3fnuz")
QUANTS = ("none", "channel_token", "block")
BLOCKS = (None, (128, 128))

EXACT = {
    "bfloat16": Tolerance(calc_diff=1e-5, max_abs=4e-2),
    "float16": Tolerance(calc_diff=2e-7, max_abs=5e-3),
    "float32": Tolerance(calc_diff=1e-10, max_abs=1e-4),
}
TOLERANCE = EXACT | {"float8": Tolerance(calc_diff=1e-4, max_abs=1e-1)}
SAME_BITS = {"float8": Tolerance(calc_diff=0.0, max_abs=0.0)}


def _ran(test: str, *dtypes: str) -> tuple[Evidence, ...]:
    where = f"x86-64 with AVX2, 2026-11-24, tests/backends/{test}"
    return tuple(Evidence("cpu", dtype, "hardware", where) for dtype in dtypes)


def divides(part: str, whole: str) -> Limit:
    """The attribute `part` divides the attribute `whole`."""

    def limit(problem: Any, target: Target) -> Reason | None:
        divisor, value = getattr(problem, part), getattr(problem, whole)
        if divisor > 0 and value % divisor == 0:
            return None
        return Reason(f"{whole} {value}", f"a multiple of {part} {divisor}")

    return limit


def _rotary_fits(problem: Any, target: Target) -> Reason | None:
    if problem.rotary_dim % 2 == 0 and problem.rotary_dim <= problem.head_dim:
        return None
    return Reason(f"rotary_dim {problem.rotary_dim}", f"an even number of at most head_dim {problem.head_dim}")


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
        limits=(one_of("dtype", DTYPES), _rotary_fits, divides("kv_heads", "heads")),
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
