"""What a validation found: checks, cases, the report; JSON in and out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from glm_rocm.errors import UsageError
from glm_rocm.validate.gates import GATES

SCHEMA = 2
LEVELS = ("ops", "block", "model", "server")


@dataclass(frozen=True)
class Check:
    """One figure held against one gate.

    Attributes:
        gate: a name of `GATES`.
        measured, limit: the figure, and what it was held to.
        where: the token, layer or stage at which it was worst.
    """

    gate: str
    measured: float
    limit: float
    passed: bool
    where: str = ""

    @property
    def margin(self) -> float:
        """Measured over limit, how near the gate came; 0 where the limit is 0 and was met, or counts from below."""
        if GATES[self.gate].sense == "at least":
            return 0.0 if self.passed else float("inf")
        if self.limit == 0:
            return 0.0 if self.passed else float("inf")
        return self.measured / self.limit


def nearest(checks: Iterable[Check]) -> Check | None:
    """The check that came nearest its gate, failures first."""
    return max(checks, key=lambda one: (not one.passed, one.margin), default=None)


def check(gate: str, measured: float, *, limit: float | None = None, where: str = "") -> Check:
    """Hold a figure to a gate, or to a stricter limit of a kernel's own."""
    bound = GATES[gate].limit if limit is None else limit
    return Check(gate, float(measured), bound, GATES[gate].holds(measured, bound), where)


@dataclass(frozen=True)
class Case:
    """One run of one thing with all its checks.

    Attributes:
        level: `ops`, `block`, `model` or `server`.
        op: the op, the layer's stage, or what the model level compares.
        kernel: who computed it.
        stress: what the case is for (`plain`, `padding`, `expert map`, ...).
        problem: the shape in words.
        m: tokens; 0 where a case has no such number.
        checks: every figure, in the order in which they arose.
        cut: what was made smaller to be carried by the target; empty: nothing.
        evidence: `hardware`, `emulated` or `interpreted`.
        seconds: how long it took.
        error: why it could not run, where it raised.
        notes: sentences for the reader.
        histogram: of the KL divergence over the tokens, by `statistics.BIN_EDGES`; empty where there is none.
    """

    level: str
    op: str
    kernel: str
    stress: str
    problem: str
    m: int
    checks: tuple[Check, ...]
    cut: str = ""
    evidence: str = ""
    seconds: float = 0.0
    error: str = ""
    notes: tuple[str, ...] = ()
    histogram: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """What names the case in a baseline and to a run that resumes."""
        return "/".join((self.level, self.op, self.kernel, self.stress, self.problem, str(self.m)))

    @property
    def passed(self) -> bool:
        return not self.error and all(one.passed for one in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(one for one in self.checks if not one.passed)

    @property
    def worst(self) -> Check | None:
        """The check that came nearest its gate, failures first."""
        return nearest(self.checks)

    def sentence(self) -> str:
        """The first miss in words, or that there is none."""
        name = f"{self.op}, {self.stress}" + (f", M {self.m}" if self.m else "")
        if self.error:
            return f"{name}: {self.error}"
        if not self.failures:
            return f"{name}: all gates met"
        first = self.failures[0]
        gate = GATES[first.gate]
        at = f" at {first.where}" if first.where else ""
        return f"{name}: {gate.what} is {first.measured:.3g}{at}, {gate.sense} {first.limit:.3g}"

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Case:
        """The inverse of `dataclasses.asdict`."""
        checks = tuple(Check(**{**one, "measured": _number(one["measured"])}) for one in record["checks"])
        lists = {name: tuple(record[name]) for name in ("notes", "histogram")}
        return cls(**{**record, **lists, "checks": checks})


@dataclass(frozen=True)
class Report:
    """A whole validation.

    Attributes:
        model, target: what was validated, and on what.
        evidence: how the kernels ran.
        levels: those that ran.
        started: ISO date and time.
        versions: of what decides a result (glm-rocm, torch, triton).
        cases: in the order in which they ran.
        regressions: keys of cases that the baseline passed and that fail now, or whose figures grew.
    """

    model: str
    target: str
    evidence: str
    levels: tuple[str, ...]
    started: str
    versions: dict[str, str]
    cases: tuple[Case, ...] = ()
    baseline: str = ""
    regressions: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        return bool(self.cases) and all(case.passed for case in self.cases) and not self.regressions

    @property
    def failures(self) -> tuple[Case, ...]:
        return tuple(case for case in self.cases if not case.passed)

    def of_level(self, level: str) -> tuple[Case, ...]:
        return tuple(case for case in self.cases if case.level == level)

    def verdict(self) -> str:
        """The summary in one line."""
        seconds = sum(case.seconds for case in self.cases)
        checks = sum(len(case.checks) for case in self.cases)
        what = f"{len(self.cases)} cases, {checks} checks on {self.target} ({self.evidence}) in {seconds:.0f} s"
        if self.passed:
            return f"passed: {what}, every gate met"
        parts = [f"{len(self.failures)} of {len(self.cases)} cases missed a gate"] if self.failures else []
        if self.regressions:
            parts.append(f"{len(self.regressions)} worse than the baseline")
        return f"failed: {', '.join(parts) or 'nothing ran'}; {what}"

    def to_json(self) -> str:
        """One object; every check stands beside its limit, every gate with its source."""
        gates = {name: asdict(gate) for name, gate in GATES.items()}
        content = {"schema": SCHEMA, "passed": self.passed, "verdict": self.verdict(), "gates": gates, **asdict(self)}
        return json.dumps(_finite(content), indent=1, allow_nan=False)

    @classmethod
    def read(cls, path: Path) -> Report:
        """A report that `to_json` wrote.

        Raises:
            UsageError: no such file, no report, or of another schema.
        """
        hint = "glm-rocm validate --out DIR, then `--baseline DIR/report.json`"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            schema = record.pop("schema")
            cases = tuple(Case.from_record(one) for one in record.pop("cases"))
            known = {name: record[name] for name in ("model", "target", "evidence", "started", "versions", "baseline")}
            levels = tuple(record["levels"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(f"`{path}` is no validation report", required="a report.json", hint=hint) from None
        if schema != SCHEMA:
            raise UsageError(f"`{path}` has schema {schema}", required=f"schema {SCHEMA}", hint=hint)
        return cls(**known, levels=levels, cases=cases, regressions=tuple(record["regressions"]))


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: both become null, which is read as NaN and meets no gate."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else value


GROWTH = 2.0
"""How many times a figure may grow over the baseline's before it is a regression, though its gate is met."""
FLOOR = 0.02
"""Part of a gate's limit below which growth is noise of the machine."""


def regressions(cases: Iterable[Case], before: Sequence[Case]) -> tuple[str, ...]:
    """Keys of cases that got worse: passed before and fail now, or a figure that grew more than GROWTH times."""
    known = {case.key: case for case in before}
    return tuple(case.key for case in cases if case.key in known and _worse(case, known[case.key]))


def _worse(now: Case, then: Case) -> bool:
    if then.passed and not now.passed:
        return True
    before = {one.gate: one for one in then.checks}
    return any(grew(one, before[one.gate]) for one in now.checks if one.gate in before)


def grew(now: Check, then: Check) -> bool:
    """Whether a figure misses its gate and did not before, or grew more than `GROWTH` times."""
    if then.passed and not now.passed:
        return True
    counts_up = GATES[now.gate].sense == "at most" and now.limit > 0
    return counts_up and now.measured > GROWTH * max(then.measured, FLOOR * now.limit)
