"""What the backends declare: it loads, it has the op's signature, it is found by name and it is always there."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from glm_rocm.backends import by_name, candidates, cuda, rocm, triton_kernels
from glm_rocm.backends.cpu import KERNELS
from glm_rocm.errors import UsageError
from glm_rocm.ops import attention, linear, moe, norm_rope, quant
from glm_rocm.ops.attention import AttentionProblem
from glm_rocm.ops.kernel import Accepted, Kernel, Refused
from glm_rocm.ops.linear import LinearProblem
from glm_rocm.ops.moe import ExpertsProblem, RouteProblem
from glm_rocm.ops.norm_rope import NormRopeProblem
from glm_rocm.ops.quant import QuantProblem
from glm_rocm.target import parse_target

CPU = parse_target("cpu")
CALLS = {
    "cpu.attention": attention.Attention,
    "cpu.route": moe.Route,
    "cpu.experts": moe.Experts,
    "cpu.linear": linear.Linear,
    "cpu.norm_rope": norm_rope.NormRope,
    "cpu.quant": quant.QuantizePerToken,
    "cpu.quant_groups": quant.QuantizeTokenGroups,
}
BESIDE = {
    "attention:store_kv": attention.StoreKV,
    "quant:quantize_per_channel": quant.QuantizePerChannel,
    "quant:quantize_blocks": quant.QuantizeBlocks,
}


def parameters(function: Callable[..., Any]) -> list[tuple[str, object, object]]:
    """Name, kind and default of each parameter, `self` left out."""
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in found if one.name != "self"]


@pytest.mark.parametrize("kernel", [*KERNELS, *rocm.KERNELS, *cuda.KERNELS], ids=lambda kernel: kernel.name)
def test_kernel_and_reference_have_the_signature_of_the_op(kernel: Kernel) -> None:
    stem = kernel.name.partition(".")[2].removeprefix("flashinfer_").removeprefix("xformers_")
    wanted = parameters(CALLS[f"cpu.{stem}"].__call__)
    assert parameters(kernel.load()) == wanted
    module, function = next(one for one in KERNELS if one.name == f"cpu.{stem}").entry.rpartition(".")[2].split(":")
    assert parameters(getattr(importlib.import_module(f"glm_rocm.reference.{module}"), function)) == wanted


@pytest.mark.parametrize(("entry", "call"), BESIDE.items(), ids=BESIDE)
def test_functions_beside_the_kernels_have_their_signature(entry: str, call: type) -> None:
    module, function = entry.split(":")
    homes = [f"glm_rocm.backends.torch_kernels.{module}", f"glm_rocm.reference.{module}"]
    if module == "attention":
        libraries = [f"glm_rocm.backends.cuda.{name}_attention" for name in ("flashinfer", "xformers")]
        homes += ["glm_rocm_kernels.attention", *libraries]
    for home in homes:
        loaded = getattr(importlib.import_module(home), function)
        assert parameters(loaded) == parameters(call.__call__)


def test_declaring_imports_no_torch() -> None:
    script = (
        "import sys, glm_rocm.backends as b\n"
        "from glm_rocm.target import parse_target\n"
        "assert b.candidates(parse_target('mi300x:8'))\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_names_are_unique_and_lead_back_to_the_kernel() -> None:
    declared = [*KERNELS, *rocm.KERNELS, *cuda.KERNELS]
    assert [by_name(kernel.name) for kernel in declared] == declared
    assert len({kernel.name for kernel in declared}) == len(declared)


@pytest.mark.parametrize("name", ["cpu.nothing", "nothing.attention", "", "cpu", "torch_kernels.attention", "a b.c"])
def test_unknown_name_says_what_there_is(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown kernel .*\n*.*`cpu.attention`"):
        by_name(name)


@pytest.mark.parametrize("target", ["cpu", "mi300x:8", "h100:4"])
def test_torch_kernels_stand_last_everywhere_and_once(target: str) -> None:
    found = candidates(parse_target(target))
    assert found[-len(KERNELS) :] == KERNELS
    assert len(set(map(id, found))) == len(found)


PROBLEMS = [
    AttentionProblem(12, 1, 128, 16, "bfloat16", "float8_e4m3fnuz"),
    RouteProblem(160, 8, 1, 1),
    ExpertsProblem(160, 8, 5120, 192, "bfloat16", "channel_token"),
    ExpertsProblem(8, 2, 192, 176, "float16", "block", (128, 128)),
    LinearProblem(5120, 1792, "bfloat16", "channel_token"),
    NormRopeProblem(12, 1, 128, 64, True, "float32"),
    QuantProblem(192, "bfloat16", "channel_token"),
    QuantProblem(192, "bfloat16", "block"),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.describe())
def test_exactly_one_torch_kernel_runs_what_glm_poses(problem: Any) -> None:
    verdicts = [kernel.check(problem, CPU) for kernel in KERNELS if kernel.op == problem.op]
    assert sum(isinstance(verdict, Accepted) for verdict in verdicts) == 1


REFUSED = {
    "head count": (AttentionProblem(12, 5, 128, 16, "bfloat16", "bfloat16"), "heads 12, required a multiple of kv_"),
    "no head": (AttentionProblem(12, 0, 128, 16, "bfloat16", "bfloat16"), "a multiple of kv_heads 0"),
    "dtype": (LinearProblem(8, 8, "float64", "none"), "dtype float64, required one of bfloat16, float16, float32"),
    "scheme": (LinearProblem(8, 8, "bfloat16", "int4"), "quant int4, required one of none, channel_token, block"),
    "block": (ExpertsProblem(8, 2, 64, 64, "bfloat16", "block", (64, 64)), r"block \(64, 64\), required one of"),
    "rotary": (NormRopeProblem(12, 1, 64, 128, True, "bfloat16"), "rotary_dim 128, required an even number of at most"),
    "groups": (RouteProblem(10, 2, 4, 1), "experts 10, required a multiple of n_group 4"),
}


@pytest.mark.parametrize(("problem", "reason"), REFUSED.values(), ids=REFUSED)
def test_refusal_states_found_and_required(problem: Any, reason: str) -> None:
    verdicts = [kernel.check(problem, CPU) for kernel in KERNELS if kernel.op == problem.op]
    assert all(isinstance(verdict, Refused) for verdict in verdicts)
    assert any(re.search(reason, str(verdict)) for verdict in verdicts)


def test_what_is_planned_for_a_batch_has_the_signature_of_the_op() -> None:
    planning = importlib.import_module("glm_rocm.backends.cuda.flashinfer_attention").plan_batch
    assert parameters(planning) == parameters(attention.PlanBatch.__call__)


def test_arranging_weights_has_the_signature_of_the_op() -> None:
    module = importlib.import_module("glm_rocm.backends.cuda.flashinfer_experts")
    assert parameters(module.prepare_experts) == parameters(moe.PrepareExperts.__call__)
    assert parameters(module.experts_prepared) == parameters(moe.Experts.__call__)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.describe())
def test_a_triton_kernel_comes_first_on_mi300x(problem: Any) -> None:
    card = parse_target("mi300x:8")
    verdicts = [kernel.check(problem, card) for kernel in candidates(card) if kernel.op == problem.op]
    accepted = [verdict.kernel for verdict in verdicts if isinstance(verdict, Accepted)]
    assert accepted[0].startswith("rocm.")
    assert accepted[-1].startswith("cpu.")


REFUSED_BY_TRITON = {
    "arch": ("mi250x", AttentionProblem(12, 1, 128, 16, "bfloat16", "bfloat16"), "gfx90a, required gfx942 or gfx950"),
    "foreign cache": (
        "mi300x",
        AttentionProblem(12, 1, 128, 16, "bfloat16", "float8_e4m3fn"),
        "kv_dtype float8_e4m3fn, required bfloat16 or float8_e4m3fnuz on gfx942",
    ),
    "head size": ("mi300x", AttentionProblem(12, 1, 96, 16, "bfloat16", "bfloat16"), "head_dim 96, required one of 32"),
}


def test_attention_declares_the_head_sizes_that_its_kernel_takes() -> None:
    assert triton_kernels.HEAD_DIMS == importlib.import_module("glm_rocm_kernels.attention").HEAD_DIMS


@pytest.mark.parametrize(("card", "problem", "reason"), REFUSED_BY_TRITON.values(), ids=REFUSED_BY_TRITON)
def test_triton_kernel_refuses_with_found_and_required(card: str, problem: Any, reason: str) -> None:
    verdicts = [kernel.check(problem, parse_target(card)) for kernel in rocm.KERNELS if kernel.op == problem.op]
    assert any(reason in str(verdict) for verdict in verdicts if isinstance(verdict, Refused))


def test_evidence_of_the_triton_kernels_is_emulation_and_no_more() -> None:
    for kernel in rocm.KERNELS:
        assert {(item.arch, item.level) for item in kernel.evidence} == {("gfx942", "emulated"), ("gfx950", "emulated")}
        assert set(kernel.tolerance) == {item.dtype for item in kernel.evidence}


def test_evidence_on_nvidia_is_compilation_and_no_more() -> None:
    for kernel in cuda.KERNELS:
        assert {item.level for item in kernel.evidence} <= {"compiled"}
        assert {item.dtype for item in kernel.evidence} <= set(kernel.tolerance)


def test_evidence_claims_the_cpu_alone() -> None:
    for kernel in KERNELS:
        assert kernel.evidence
        assert {(item.arch, item.level) for item in kernel.evidence} == {("cpu", "hardware")}
        assert set(kernel.tolerance) == {item.dtype for item in kernel.evidence}
