"""Our Triton kernels (`glm_rocm_kernels`), declared for a vendor: the same entries, limits and tolerances on each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from glm_rocm.backends.declare import BLOCKS, DTYPES, EXACT, QUANTS, SAME_BITS, divides, rotary_fits
from glm_rocm.ops.kernel import (
    Evidence,
    Kernel,
    Limit,
    Reason,
    Tolerance,
    module_present,
    on_arch,
    on_vendor,
    one_of,
)
from glm_rocm.target import Target

HEAD_DIMS = (32, 64, 128)

TOLERANCE = EXACT | {"float8": Tolerance(calc_diff=1e-3, max_abs=1e-1)}
"""FP8 on the same bits (DeepGEMM's gate for FP8, testing/numeric.py)."""


def cache_dtype(problem: Any, target: Target) -> Reason | None:
    """The cache holds the queries' dtype, or the FP8 format that the card converts."""
    if problem.kv_dtype in (problem.dtype, target.fp8_dtype):
        return None
    return Reason(f"kv_dtype {problem.kv_dtype}", f"{problem.dtype} or {target.fp8_dtype} on {target.arch}")


def triton_kernels(
    vendor: str,
    archs: tuple[str, ...],
    known: Callable[..., tuple[Evidence, ...]],
    *,
    attention: tuple[Limit, ...] = (),
    graph: Literal["always", "uniform", "never"] = "never",
) -> tuple[Kernel, ...]:
    """The kernels as `<vendor>.<stem>`, one for each op and for each kind of quantisation.

    Args:
        archs: those that there are launch choices for.
        known: the evidence of a kernel: `known(test, *dtypes)`, `test` being its file in tests/kernels.
        attention: further limits of attention.
        graph: as `Kernel.graph`.
    """
    here = (
        on_vendor(vendor),
        on_arch(*archs, cure="the torch kernels run there"),
        module_present("triton", cure="pip install triton"),
    )
    dtype = one_of("dtype", DTYPES)

    def kernel(
        stem: str, op: str, entry: str, limits: tuple[Limit, ...], tolerance: dict[str, Tolerance], test: str,
        *dtypes: str,
    ) -> Kernel:  # fmt: skip
        return Kernel(
            name=f"{vendor}.{stem}",
            op=op,
            entry=f"glm_rocm_kernels.{entry}",
            limits=(*here, *limits),
            tolerance=tolerance,
            evidence=known(f"{test}.py", *dtypes),
            requires=("torch", "triton"),
            graph=graph,
        )

    heads = divides("kv_heads", "heads")
    every = (*DTYPES, "float8")
    router = {"float32": EXACT["float32"]}
    paged = (dtype, cache_dtype, one_of("head_dim", HEAD_DIMS), heads, *attention)
    experts = (dtype, one_of("quant", QUANTS), one_of("block", BLOCKS))
    linear = (dtype, one_of("quant", QUANTS))
    rope = (dtype, rotary_fits, heads)
    per_token, blocks = (dtype, one_of("scheme", ("channel_token",))), (dtype, one_of("scheme", ("block",)))
    return (
        kernel("attention", "attention", "attention:attention", paged, TOLERANCE, "test_attention", *every),
        kernel("route", "moe.route", "moe:route", (divides("n_group", "experts"),), router, "test_route", "float32"),
        kernel("experts", "moe.experts", "moe:experts", experts, TOLERANCE, "test_experts", *every),
        kernel("linear", "linear", "linear:linear", linear, TOLERANCE, "test_linear", *every),
        kernel("norm_rope", "norm_rope", "norm_rope:norm_rope", rope, EXACT, "test_norm_rope", *DTYPES),
        kernel("quant", "quant", "quant:quantize_per_token", per_token, SAME_BITS, "test_quant", "float8"),
        kernel("quant_groups", "quant", "quant:quantize_token_groups", blocks, SAME_BITS, "test_quant", "float8"),
    )
