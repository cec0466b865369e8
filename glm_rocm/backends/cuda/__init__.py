"""NVIDIA: FlashInfer first, then XFormers, then our own Triton kernels.

Declarations only; a library is imported when its kernel is loaded. No card was at hand: our Triton kernels and
FlashInfer's sources compile for these cards, and nothing here claims more. Whether a library works where it is
installed, the probe at launch finds out.
"""

from __future__ import annotations

from typing import Any

from glm_rocm.backends.cuda.limits import at_least, capability, library, wheel_has_code
from glm_rocm.backends.declare import BLOCKS, divides
from glm_rocm.backends.triton_kernels import cache_dtype, triton_kernels
from glm_rocm.ops.kernel import Evidence, Kernel, Reason, Tolerance, at_most, on_vendor, one_of
from glm_rocm.target import Target

ARCHS = ("sm90", "sm100")
"""Those that our Triton kernels have launch choices for, and are compiled for in tests/compile."""
FLASHINFER = "flashinfer-python>=0.6.13,<0.8"
"""0.6.13 is the one whose signatures the calls are held against; of 0.7.2 the sources were read."""
XFORMERS = "xformers>=0.0.35"
"""0.0.35 is the last that carries its own attention; later ones hand on that of `mslk`, if it is there. Which of its
kernels works where, no version tells: the probe does."""
HALVES = ("bfloat16", "float16")

TENSOR_CORES = {
    "bfloat16": Tolerance(calc_diff=5e-5, max_abs=8e-2),
    "float16": Tolerance(calc_diff=1e-6, max_abs=1e-2),
    "float8": Tolerance(calc_diff=1e-3, max_abs=1e-1),
}
"""The libraries round probabilities, or what lies between two products, to the inputs' dtype once more than we do."""

WITH_FLASHINFER = (on_vendor("cuda"), library(FLASHINFER, "flashinfer"))
WITH_XFORMERS = (
    on_vendor("cuda"),
    library(XFORMERS, "xformers"),
    wheel_has_code("xformers", "cpp_lib.json", cure="build xformers from source for this card"),
)


def _compiled(test: str, *dtypes: str) -> tuple[Evidence, ...]:
    where = "compiled by Triton 3.9.0, tests/compile"
    return tuple(Evidence(arch, dtype, "compiled", where) for arch in ARCHS for dtype in dtypes)


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
            cache_dtype,
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
    *triton_kernels("cuda", ARCHS, _compiled, attention=(at_most("block_size", 128),), graph="always"),
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
