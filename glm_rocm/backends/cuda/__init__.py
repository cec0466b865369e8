"""NVIDIA: FlashInfer first, then XFormers, then our own Triton kernels.

Declarations only; a library is imported when its kernel is loaded. No card was at hand: our Triton kernels and
FlashInfer's sources compile for these cards, and nothing here claims more. Whether a library works where it is
installed, the probe at launch finds out.
"""

from __future__ import annotations

from typing import Any

from glm_rocm.backends.cuda.limits import at_least, capability, library, wheel_has_code
from glm_rocm.backends.declare import BLOCKS, DTYPES, EXACT, QUANTS, SAME_BITS, divides, rotary_fits
from glm_rocm.ops.kernel import (
    Evidence,
    Kernel,
    Reason,
    Tolerance,
    at_most,
    module_present,
    on_arch,
    on_vendor,
    one_of,
)
from glm_rocm.target import Target

ARCHS = ("sm90", "sm100")
"""Those that our Triton kernels have launch choices for, and are compiled for in tests/compile."""
HEAD_DIMS = (32, 64, 128)
FLASHINFER = "flashinfer-python>=0.6.13,<0.8"
"""0.6.13 is the one whose signatures the calls are held against; of 0.7.2 the sources were read."""
XFORMERS = "xformers>=0.0.35"
"""0.0.35 is the last that carries its own attention; later ones hand on that of `mslk`, if it is there. Which of its
kernels works where, no version tells: the probe does."""
HALVES = ("bfloat16", "float16")

TOLERANCE = EXACT | {"float8": Tolerance(calc_diff=1e-3, max_abs=1e-1)}
"""FP8 on the same bits (DeepGEMM's gate for FP8, testing/numeric.py)."""
TENSOR_CORES = {
    "bfloat16": Tolerance(calc_diff=5e-5, max_abs=8e-2),
    "float16": Tolerance(calc_diff=1e-6, max_abs=1e-2),
    "float8": Tolerance(calc_diff=1e-3, max_abs=1e-1),
}
"""The libraries round probabilities, or what lies between two products, to the inputs' dtype once more than we do."""

OWN = (
    on_vendor("cuda"),
    on_arch(*ARCHS, cure="the torch kernels run there"),
    module_present("triton", cure="pip install triton"),
)
WITH_FLASHINFER = (on_vendor("cuda"), library(FLASHINFER, "flashinfer"))
WITH_XFORMERS = (
    on_vendor("cuda"),
    library(XFORMERS, "xformers"),
    wheel_has_code("xformers", "cpp_lib.json", cure="build xformers from source for this card"),
)


def _compiled(*dtypes: str) -> tuple[Evidence, ...]:
    where = "compiled by Triton 3.9.0, tests/compile"
    return tuple(Evidence(arch, dtype, "compiled", where) for arch in ARCHS for dtype in dtypes)


def _cache_dtype(problem: Any, target: Target) -> Reason | None:
    """The cache holds the queries' dtype, or e4m3fn where the card converts it."""
    if problem.kv_dtype in (problem.dtype, target.fp8_dtype):
        return None
    return Reason(f"kv_dtype {problem.kv_dtype}", f"{problem.dtype} or {target.fp8_dtype} on {target.arch}")


def _plain_cache(problem: Any, target: Target) -> Reason | None:
    """The cache holds the queries' dtype."""
    if problem.kv_dtype == problem.dtype:
        return None
    return Reason(f"kv_dtype {problem.kv_dtype}", f"{problem.dtype}, as the queries", "drop `--kv-dtype fp8`")


def _cutlass_blocks(problem: Any, target: Target) -> Reason | None:
    """FlashInfer's CUTLASS experts take FP8 blocks on Hopper alone (0.6.13, fused_moe/core.py), and whole ones."""
    if problem.quant != "block":
        return None
    if capability(target.arch) != (9, 0):
        return Reason(f"FP8 blocks on {target.arch}", "compute capability 9.0")
    if problem.intermediate % 128 or problem.hidden % 128:
        found = f"{problem.hidden} and {problem.intermediate} columns in FP8 blocks"
        return Reason(found, "multiples of 128", "a smaller `--tp` cuts the experts less")
    return None


def _aligned(problem: Any, target: Target) -> Reason | None:
    """CUTLASS loads 16 bytes at a time."""
    if problem.hidden % 8 == 0 and problem.intermediate % 8 == 0:
        return None
    return Reason(f"{problem.hidden} and {problem.intermediate} columns", "multiples of 8")


KERNELS = (
    Kernel(
        name="cuda.flashinfer_attention",
        op="attention",
        entry="glm_rocm.backends.cuda.flashinfer_attention:attention",
        limits=(
            *WITH_FLASHINFER,
            at_least(8, 0),
            one_of("dtype", HALVES, cure="`--dtype bfloat16`"),
            _cache_dtype,
            one_of("head_dim", (64, 128, 256)),
            divides("kv_heads", "heads"),
            at_most("block_size", 256),
        ),
        tolerance=TENSOR_CORES,
        requires=("torch", "triton", "flashinfer"),
        graph="uniform",
    ),
    Kernel(
        name="cuda.xformers_attention",
        op="attention",
        entry="glm_rocm.backends.cuda.xformers_attention:attention",
        limits=(
            *WITH_XFORMERS,
            at_least(8, 0),
            one_of("dtype", HALVES, cure="`--dtype bfloat16`"),
            _plain_cache,
            one_of("head_dim", (64, 128, 256)),
            divides("kv_heads", "heads"),
        ),
        tolerance=TENSOR_CORES,
        requires=("torch", "triton", "xformers"),
    ),
    Kernel(
        name="cuda.attention",
        op="attention",
        entry="glm_rocm_kernels.attention:attention",
        limits=(
            *OWN,
            one_of("dtype", DTYPES),
            _cache_dtype,
            one_of("head_dim", HEAD_DIMS),
            divides("kv_heads", "heads"),
            at_most("block_size", 128),
        ),
        tolerance=TOLERANCE,
        evidence=_compiled(*DTYPES, "float8"),
        requires=("torch", "triton"),
        graph="always",
    ),
    Kernel(
        name="cuda.route",
        op="moe.route",
        entry="glm_rocm_kernels.moe:route",
        limits=(*OWN, divides("n_group", "experts")),
        tolerance={"float32": EXACT["float32"]},
        evidence=_compiled("float32"),
        requires=("torch", "triton"),
        graph="always",
    ),
    Kernel(
        name="cuda.flashinfer_experts",
        op="moe.experts",
        entry="glm_rocm.backends.cuda.flashinfer_experts:experts",
        limits=(
            *WITH_FLASHINFER,
            at_least(9, 0, cure="our Triton kernels, or torch's, run there"),
            one_of("dtype", HALVES, cure="`--dtype bfloat16`"),
            one_of("quant", ("none", "block"), cure="our Triton experts run FP8 per channel and token"),
            one_of("block", BLOCKS),
            _cutlass_blocks,
            _aligned,
        ),
        tolerance=TENSOR_CORES,
        requires=("torch", "flashinfer"),
        graph="always",
    ),
    Kernel(
        name="cuda.experts",
        op="moe.experts",
        entry="glm_rocm_kernels.moe:experts",
        limits=(*OWN, one_of("dtype", DTYPES), one_of("quant", QUANTS), one_of("block", BLOCKS)),
        tolerance=TOLERANCE,
        evidence=_compiled(*DTYPES, "float8"),
        requires=("torch", "triton"),
        graph="always",
    ),
    Kernel(
        name="cuda.linear",
        op="linear",
        entry="glm_rocm_kernels.linear:linear",
        limits=(*OWN, one_of("dtype", DTYPES), one_of("quant", QUANTS)),
        tolerance=TOLERANCE,
        evidence=_compiled(*DTYPES, "float8"),
        requires=("torch", "triton"),
        graph="always",
    ),
    Kernel(
        name="cuda.norm_rope",
        op="norm_rope",
        entry="glm_rocm_kernels.norm_rope:norm_rope",
        limits=(*OWN, one_of("dtype", DTYPES), rotary_fits, divides("kv_heads", "heads")),
        tolerance=EXACT,
        evidence=_compiled(*DTYPES),
        requires=("torch", "triton"),
        graph="always",
    ),
    Kernel(
        name="cuda.quant",
        op="quant",
        entry="glm_rocm_kernels.quant:quantize_per_token",
        limits=(*OWN, one_of("dtype", DTYPES), one_of("scheme", ("channel_token",))),
        tolerance=SAME_BITS,
        evidence=_compiled("float8"),
        requires=("torch", "triton"),
        graph="always",
    ),
    Kernel(
        name="cuda.quant_groups",
        op="quant",
        entry="glm_rocm_kernels.quant:quantize_token_groups",
        limits=(*OWN, one_of("dtype", DTYPES), one_of("scheme", ("block",))),
        tolerance=SAME_BITS,
        evidence=_compiled("float8"),
        requires=("torch", "triton"),
        graph="always",
    ),
)


def environment(target: Target) -> dict[str, str]:
    """What a process that compiles FlashInfer's sources needs: the card, so that it compiles for no other.

    `FLASHINFER_CUDA_ARCH_LIST` is FlashInfer's own word (compilation_context.py), `TORCH_CUDA_ARCH_LIST` PyTorch's, for
    what else is built. The letter asks for the instructions of exactly this card (`wgmma` is not in plain 9.0).
    """
    found = capability(target.arch)
    if found is None:
        return {}
    word = f"{found[0]}.{found[1]}" + ("a" if found >= (9, 0) else "")
    return {"FLASHINFER_CUDA_ARCH_LIST": word, "TORCH_CUDA_ARCH_LIST": word}
