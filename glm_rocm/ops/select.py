"""Choose one kernel for one problem, and keep every reason.

The first accepted kernel in priority order wins; a kernel named by the user must be accepted or the selection fails.
Nothing is swallowed: the trace holds one verdict per kernel that was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glm_rocm.errors import SelectionError, UsageError
from glm_rocm.ops.kernel import Accepted, Kernel, Problem, Refused, Verdict
from glm_rocm.target import Target

Probe = Callable[[Kernel, Problem], "Refused | None"]
"""Runs a kernel for a moment: None where it works here, else why it is passed over. May raise to stop everything."""


@dataclass(frozen=True)
class Selection:
    """What was chosen for a problem, and why.

    Attributes:
        problem: the op at its per-rank shape.
        chosen: the kernel that runs it.
        trace: one verdict per candidate in priority order; candidates after the chosen one are judged as well.
        because: the sentence the plan prints.
    """

    problem: Problem
    chosen: Kernel
    trace: tuple[Verdict, ...]
    because: str

    @property
    def refused(self) -> tuple[Refused, ...]:
        """The refusals in the trace."""
        return tuple(verdict for verdict in self.trace if isinstance(verdict, Refused))


def select(
    problem: Problem,
    target: Target,
    kernels: Sequence[Kernel],
    *,
    asked: str | None = None,
    probe: Probe | None = None,
) -> Selection:
    """The first of `kernels` that accepts the problem, or the one `asked` for by name.

    Args:
        problem: the op at its per-rank shape.
        target: the accelerator, detected or stated.
        kernels: candidates in priority order, from `backends.candidates(target)`; other ops' kernels are passed over.
        asked: a kernel's name (`--kernel op=name`), whole (`cuda.flashinfer_attention`) or the part that tells it from
            the op's others (`flashinfer`).
        probe: asked of each accepted kernel in turn, until one works; those after it are not tried.

    Raises:
        UsageError: `asked` names no candidate for this op.
        SelectionError: no candidate, or not the one asked for, accepts; lists every reason.
    """
    candidates = [kernel for kernel in kernels if kernel.op == problem.op]
    trace = tuple(kernel.check(problem, target) for kernel in candidates)
    if asked is not None:
        asked = _whole_name(candidates, asked)
    if probe is not None:
        trace = _probed(problem, candidates, trace, asked, probe)
    accepted = [kernel for kernel, verdict in zip(candidates, trace, strict=True) if isinstance(verdict, Accepted)]
    if asked is not None:
        return _asked(problem, candidates, trace, asked)
    if not accepted:
        raise SelectionError(
            f"no kernel runs {problem.describe()} on {target.arch}: " + _reasons(trace),
            required="at least one candidate that accepts it",
            hint=f"see `glm-rocm backends --target {target.device}`",
        )
    chosen = accepted[0]
    position = candidates.index(chosen)
    skipped = [str(verdict) for verdict in trace[:position] if isinstance(verdict, Refused)]
    because = "first in priority" if not skipped else "preferred ones refused: " + " | ".join(skipped)
    return Selection(problem, chosen, trace, because)


def _whole_name(candidates: Sequence[Kernel], asked: str) -> str:
    """`flashinfer` -> `cuda.flashinfer_attention`, where one candidate alone is meant; else as it is."""
    stems = {kernel.name: kernel.name.partition(".")[2] for kernel in candidates}
    meant = [name for name, stem in stems.items() if asked in (name, stem) or stem.startswith(f"{asked}_")]
    return meant[0] if len(meant) == 1 else asked


def _probed(
    problem: Problem, candidates: Sequence[Kernel], trace: tuple[Verdict, ...], asked: str | None, probe: Probe
) -> tuple[Verdict, ...]:
    """The trace after trying: up to the first kernel that works, or the one asked for alone."""
    verdicts = list(trace)
    for place, kernel in enumerate(candidates):
        if isinstance(verdicts[place], Refused) or asked not in (None, kernel.name):
            continue
        refused = probe(kernel, problem)
        if refused is None:
            break
        verdicts[place] = refused
    return tuple(verdicts)


def _asked(problem: Problem, candidates: Sequence[Kernel], trace: tuple[Verdict, ...], asked: str) -> Selection:
    for kernel, verdict in zip(candidates, trace, strict=True):
        if kernel.name != asked:
            continue
        if isinstance(verdict, Refused):
            raise SelectionError(
                f"kernel `{asked}` does not run {problem.describe()}: {'; '.join(map(str, verdict.reasons))}",
                required="a kernel that accepts the problem",
                hint=f"drop `--kernel {problem.op}={asked}` to let the selection choose",
            )
        return Selection(problem, kernel, trace, f"asked for by `--kernel {problem.op}={asked}`")
    known = ", ".join(f"`{kernel.name}`" for kernel in candidates) or "none on this target"
    raise UsageError(
        f"unknown kernel `{asked}` for op `{problem.op}`",
        required=f"one of {known}",
        hint="list them with `glm-rocm backends`",
    )


def _reasons(trace: tuple[Verdict, ...]) -> str:
    refusals = [str(verdict) for verdict in trace if isinstance(verdict, Refused)]
    return " | ".join(refusals) or "no candidate at all"
