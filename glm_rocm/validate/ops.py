"""The op level: every kernel that the selection could pick, held against the reference over M and awkward inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from glm_rocm.backends import candidates
from glm_rocm.model.spec import ModelSpec, Quantization
from glm_rocm.ops.kernel import Accepted, Kernel
from glm_rocm.plan.problems import AnyProblem, problems_of
from glm_rocm.validate.machine import Machine
from glm_rocm.validate.op_attention import hold_attention
from glm_rocm.validate.op_linear import hold_linear, hold_norm_rope, hold_quant
from glm_rocm.validate.op_moe import hold_experts, hold_route
from glm_rocm.validate.results import Case, Check
from glm_rocm.validate.sweep import cut, runs
from glm_rocm.validate.trial import Trial

HOLD: dict[str, Callable[[Trial], list[Check]]] = {
    "norm_rope": hold_norm_rope,
    "attention": hold_attention,
    "moe.route": hold_route,
    "moe.experts": hold_experts,
    "linear": hold_linear,
    "quant": hold_quant,
}
SCHEMES = ("fp8_channel_token", "fp8_block")
"""Held beside the checkpoint's own scheme: the same kernels serve the FP8 twin of a BF16 checkpoint."""
IGNORED = ("lm_head", r"re:.*\.mlp\.gate$", r"re:.*\.eh_proj$", r"re:.*\.shared_head\.head$", r"re:.*embed_tokens$")


@dataclass(frozen=True)
class OpCase:
    """One kernel on one input."""

    kernel: Kernel
    problem: AnyProblem
    stress: str
    m: int
    cut: str

    def run(self, machine: Machine, function: Callable[..., object] | None = None, *, seed: int = 0) -> Case:
        """Run it; an exception is a result as well. `function` stands in for what the kernel loads."""
        begun = time.monotonic()
        checks: list[Check] = []
        error = ""
        try:
            trial = Trial(
                problem=self.problem,
                m=self.m,
                stress=self.stress,
                kernel=self.kernel,
                run=function or self.kernel.load(),
                fp8=machine.fp8,
                device=machine.device,
                context=machine.budget.context,
                repeat=self.m <= machine.repeat_up_to,
                seed=seed,
            )
            checks = HOLD[self.problem.op](trial)
        except Exception as raised:
            error = f"{type(raised).__name__}: {' '.join(str(raised).split())[:300]}"
        return Case(
            level="ops",
            op=self.problem.op,
            kernel=self.kernel.name,
            stress=self.stress,
            problem=self.problem.describe(),
            m=self.m,
            checks=tuple(checks),
            cut=self.cut,
            evidence=machine.evidence_of(self.kernel),
            seconds=round(time.monotonic() - begun, 3),
            error=error,
        )

    @property
    def key(self) -> str:
        """As `Case.key`."""
        parts = ("ops", self.problem.op, self.kernel.name, self.stress, self.problem.describe(), str(self.m))
        return "/".join(parts)


def op_cases(spec: ModelSpec, tp: int, machine: Machine, *, quick: bool = False) -> Iterator[OpCase]:
    """Every case of a model on a machine, an op's M rising."""
    for problem in problems(spec, tp, machine):
        small, words = cut(problem, machine.budget)
        for kernel in kernels(small, machine):
            for stress, m in runs(small, machine.budget, quick=quick):
                yield OpCase(kernel, small, stress, m, words)


def kernels(problem: AnyProblem, machine: Machine) -> tuple[Kernel, ...]:
    """The kernels that the selection could pick; where a card is emulated, its own alone: the others ran on `cpu`."""
    accepted = [k for k in candidates(machine.target) if k.op == problem.op]
    accepted = [k for k in accepted if isinstance(k.check(problem, machine.target), Accepted)]
    own = [kernel for kernel in accepted if kernel.name.startswith(f"{machine.target.vendor}.")]
    return tuple(own if machine.emulate and own else accepted)


def problems(spec: ModelSpec, tp: int, machine: Machine) -> tuple[AnyProblem, ...]:
    """What one rank computes, in BF16 and in both FP8 schemes, with a cache of either kind; each problem once."""
    found: list[AnyProblem] = []
    fp8 = str(machine.fp8).removeprefix("torch.")
    for scheme in ("none", *SCHEMES):
        quantization = Quantization() if scheme == "none" else _quantization(spec, scheme)
        kv_dtype = spec.dtype if scheme == "none" else fp8
        variant = replace(spec, quantization=quantization)
        if scheme == "fp8_block" and variant.cut_block(tp) is not None and tp > 1:
            continue  # the scales of a cut block cannot be dealt out
        found += problems_of(variant, tp, dtype=spec.dtype, kv_dtype=kv_dtype, block_size=machine.page)
    return tuple(dict.fromkeys(found))


def _quantization(spec: ModelSpec, scheme: str) -> Quantization:
    if spec.quantization.scheme == scheme:
        return spec.quantization
    return Quantization(scheme, IGNORED)  # type: ignore[arg-type]  # one of SCHEMES


def single_thread_where_small(spec: ModelSpec) -> None:
    """Matrices this small lose more to a second thread than it gives."""
    if spec.hidden <= 1024:
        torch.set_num_threads(1)
