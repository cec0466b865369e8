"""What several backends declare alike: the ops' own limits, and the tolerances of fp32 maths with one rounding."""

from __future__ import annotations

from typing import Any

from glm_rocm.ops.kernel import Limit, Reason, Tolerance
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
"""A few times what one rounding of the result costs (bf16: 2^-9 relative, hence a calc_diff near 1.5e-6)."""
SAME_BITS = {"float8": Tolerance(calc_diff=0.0, max_abs=0.0)}


def divides(part: str, whole: str) -> Limit:
    """The attribute `part` divides the attribute `whole`."""

    def limit(problem: Any, target: Target) -> Reason | None:
        divisor, value = getattr(problem, part), getattr(problem, whole)
        if divisor > 0 and value % divisor == 0:
            return None
        return Reason(f"{whole} {value}", f"a multiple of {part} {divisor}")

    return limit


def rotary_fits(problem: Any, target: Target) -> Reason | None:
    """The rotary dimensions are pairs within the head."""
    if problem.rotary_dim % 2 == 0 and problem.rotary_dim <= problem.head_dim:
        return None
    return Reason(f"rotary_dim {problem.rotary_dim}", f"an even number of at most head_dim {problem.head_dim}")
