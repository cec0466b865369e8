"""A kernel declares what it runs, how exact it is and how that is known; it decides nothing.

`Kernel.check` turns the declaration into a value, `Accepted` or `Refused`, that the plan, the error message, the
support table and the test skip all print.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from glm_rocm.target import Target

EvidenceLevel = Literal["hardware", "emulated", "compiled", "none"]
"""How a kernel is known to be right: ran on the card; its machine code ran in the emulator; it compiled; not at all."""

GraphSupport = Literal["always", "uniform", "never"]
"""Under which batches a kernel may be captured in a CUDA or HIP graph: any; those whose sequences have equally many
queries (decode, verify), planned before the capture; none, since it reads from the device."""


class Problem(Protocol):
    """One op at one per-rank shape: a frozen dataclass of plain ints, strings and bools (see the op's file)."""

    @property
    def op(self) -> str: ...

    def describe(self) -> str:
        """The problem in one line, as the plan prints it."""
        ...


@dataclass(frozen=True)
class Reason:
    """Why a kernel does not run a problem: what was found, what it requires, what would cure it."""

    found: str
    required: str
    cure: str = ""

    def __str__(self) -> str:
        text = f"{self.found}, required {self.required}"
        return f"{text}; {self.cure}" if self.cure else text


@dataclass(frozen=True)
class Accepted:
    """The kernel runs the problem on the target."""

    kernel: str


@dataclass(frozen=True)
class Refused:
    """The kernel does not run the problem; `reasons` holds all of them, not the first."""

    kernel: str
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        return f"{self.kernel}: " + "; ".join(map(str, self.reasons))


Verdict = Accepted | Refused
Limit = Callable[[Any, Target], "Reason | None"]
"""A declared limit: None where the problem is inside it."""


@dataclass(frozen=True)
class Tolerance:
    """The largest error allowed, per token (the worst token counts, never the pool), against the fp32 reference.

    Attributes:
        calc_diff: 1 - 2 sum(xy) / sum(x^2 + y^2) in double (DeepGEMM, testing/numeric.py).
        max_abs: largest absolute difference of one element over the RMS of the reference's row.
    """

    calc_diff: float
    max_abs: float


@dataclass(frozen=True)
class Evidence:
    """How correctness on one arch and dtype is known; `where` names card and date, or the check that shows it."""

    arch: str
    dtype: str
    level: EvidenceLevel
    where: str


@dataclass(frozen=True)
class Kernel:
    """One implementation of one op.

    Attributes:
        name: `<backend>.<stem>`, unique, the value of `--kernel op=name`.
        op: the op's name (`attention`, `moe.route`, `moe.experts`, `linear`, `norm_rope`, `quant`).
        entry: `package.module:function`, imported only when the kernel is run; the function has the op's signature.
        limits: declared limits, all of them checked, each miss a Reason.
        tolerance: by the problem's compute dtype (`bfloat16`, `float16`, `float32`, `float8`).
        evidence: how it is known, per arch and dtype.
        requires: importable modules without which `entry` fails.
        graph: what an engine may capture of it.
    """

    name: str
    op: str
    entry: str
    limits: tuple[Limit, ...]
    tolerance: dict[str, Tolerance]
    evidence: tuple[Evidence, ...] = ()
    requires: tuple[str, ...] = field(default=())
    graph: GraphSupport = "never"

    def check(self, problem: Problem, target: Target) -> Verdict:
        """Every declared limit held against the problem and the target. Touches no device and imports nothing."""
        reasons = [reason for limit in self.limits if (reason := limit(problem, target)) is not None]
        return Refused(self.name, tuple(reasons)) if reasons else Accepted(self.name)

    def load(self) -> Callable[..., Any]:
        """The function behind `entry`, imported now."""
        module, _, function = self.entry.partition(":")
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return loaded

    def evidence_for(self, arch: str, dtype: str) -> Evidence:
        """The recorded evidence for (arch, dtype), or level `none`."""
        for item in self.evidence:
            if item.arch == arch and item.dtype == dtype:
                return item
        return Evidence(arch, dtype, "none", "not run, not compiled")


def one_of(attribute: str, allowed: Collection[object], *, cure: str = "") -> Limit:
    """The problem's attribute is one of `allowed`."""

    def limit(problem: Any, target: Target) -> Reason | None:
        value = getattr(problem, attribute)
        if value in allowed:
            return None
        return Reason(f"{attribute} {value}", f"one of {', '.join(map(str, allowed))}", cure)

    return limit


def multiple_of(attribute: str, unit: int, *, cure: str = "") -> Limit:
    """The problem's attribute is a multiple of `unit`."""

    def limit(problem: Any, target: Target) -> Reason | None:
        value = getattr(problem, attribute)
        return None if value % unit == 0 else Reason(f"{attribute} {value}", f"a multiple of {unit}", cure)

    return limit


def at_most(attribute: str, bound: int, *, cure: str = "") -> Limit:
    """The problem's attribute does not exceed `bound`."""

    def limit(problem: Any, target: Target) -> Reason | None:
        value = getattr(problem, attribute)
        return None if value <= bound else Reason(f"{attribute} {value}", f"at most {bound}", cure)

    return limit


def on_vendor(*vendors: str, cure: str = "") -> Limit:
    """The target is of one of these vendors."""

    def limit(problem: Any, target: Target) -> Reason | None:
        return None if target.vendor in vendors else Reason(f"vendor {target.vendor}", " or ".join(vendors), cure)

    return limit


def on_arch(*archs: str, cure: str = "") -> Limit:
    """The target is one of these architectures."""

    def limit(problem: Any, target: Target) -> Reason | None:
        return None if target.arch in archs else Reason(f"arch {target.arch}", " or ".join(archs), cure)

    return limit


def module_present(name: str, *, cure: str) -> Limit:
    """A module can be found on this machine (found, not imported). Planning for a stated target does not ask."""

    def limit(problem: Any, target: Target) -> Reason | None:
        if target.stated or importlib.util.find_spec(name) is not None:
            return None
        return Reason(f"no module `{name}`", f"`{name}` installed", cure)

    return limit
