"""Run the levels, tell how far they are, keep what is finished, and make the report."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import torch

import glm_rocm
from glm_rocm.errors import UsageError
from glm_rocm.model import load_spec
from glm_rocm.model.checkpoint import local_folder
from glm_rocm.model.spec import ModelSpec
from glm_rocm.validate.block import block_cases, kernels_of
from glm_rocm.validate.checkpoint import checkpoint_case
from glm_rocm.validate.machine import Machine, machine
from glm_rocm.validate.model import model_cases
from glm_rocm.validate.ops import op_cases, single_thread_where_small
from glm_rocm.validate.results import LEVELS, Case, Report, regressions
from glm_rocm.validate.server import Server, server_cases
from glm_rocm.validate.started import started
from glm_rocm.validate.text import pack, questions
from glm_rocm.validate.weights import tensors_of

KEPT = "cases.jsonl"
"""Finished cases in `--out DIR`, one a line; a run that was stopped goes on behind them."""


@dataclass(frozen=True)
class Wishes:
    """What is asked of a validation.

    Attributes:
        model: a folder, a hub id, or `pocket`.
        target: as `machine` takes it.
        levels: of `LEVELS`, in any order.
        tp: whose per-rank shapes the op level takes.
        quick: few values of M and few questions.
        out: where finished cases and the reports are kept.
        baseline: a report.json to compare with.
        server: a running server, and one without the plug-in to compare with; None: one is started.
        stock: start one without the plug-in too, where the first is started.
    """

    model: str = "pocket"
    target: str | None = None
    levels: tuple[str, ...] = ("ops", "block", "model")
    tp: int = 1
    quick: bool = False
    out: Path | None = None
    baseline: Path | None = None
    server: Server | None = None
    stock: bool = False


@dataclass(frozen=True)
class Progress:
    """Told after each case: how many are done, of how many (0: not known yet), and the case."""

    done: int
    total: int
    case: Case | None
    words: str = ""


def validate(wishes: Wishes, tell: Callable[[Progress], None] = lambda progress: None) -> Report:
    """Run what is asked for; a missed gate is in the report, not raised.

    Raises:
        UsageError: an unknown level, a baseline that is none.
        TargetError, EngineError: the target is neither here nor can be emulated; the server does not answer.
        CheckpointError: the model is missing or damaged.
    """
    for level in wishes.levels:
        if level not in LEVELS:
            raise UsageError(
                f"`--level {level}`", required=f"one or more of {', '.join(f'`{name}`' for name in LEVELS)}",
                hint="glm-rocm validate --level ops,block",
            )  # fmt: skip
    before = Report.read(wishes.baseline) if wishes.baseline else None
    spec, where = load_spec(wishes.model), machine(wishes.target)
    spec.per_rank(wishes.tp)
    if before is not None and (before.model, before.target) != (spec.name, where.name):
        raise UsageError(
            f"`{wishes.baseline}` is a report of {before.model} on {before.target}",
            required=f"one of {spec.name} on {where.name}",
            hint="glm-rocm validate --out DIR",
        )
    if set(wishes.levels) - {"ops"}:
        tensors_of(spec)  # refuse before the op level has run for minutes
    where.activate()
    single_thread_where_small(spec)
    report = Report(
        model=spec.name,
        target=where.name,
        evidence=where.evidence,
        levels=tuple(level for level in LEVELS if level in wishes.levels),
        started=datetime.now().isoformat(timespec="seconds"),
        versions=versions(),
        baseline=str(wishes.baseline or ""),
    )
    cases = tuple(_run(wishes, spec, where, report, tell))
    worse = regressions(cases, before.cases) if before else ()
    return replace(report, cases=cases, regressions=worse)


def _run(
    wishes: Wishes, spec: ModelSpec, where: Machine, report: Report, tell: Callable[[Progress], None]
) -> Iterator[Case]:
    book = Book(wishes.out, fingerprint(wishes, spec, report))
    done = 0

    def told(case: Case, total: int = 0) -> Case:
        nonlocal done
        done += 1
        tell(Progress(done, total, case))
        return case

    if "ops" in report.levels:
        planned = list(op_cases(spec, wishes.tp, where, quick=wishes.quick))
        for one in planned:
            case = book.known.get(one.key) or book.keep(one.run(where))
            yield told(case, len(planned))
    rest = (("block", _block), ("model", _model), ("server", _server))
    for level, run in rest:
        if level not in report.levels:
            continue
        kept = [case for case in book.known.values() if case.level == level]
        if book.finished(level):
            yield from map(told, kept)
            continue
        for case in run(wishes, spec, where, tell):
            yield told(book.keep(case))
        book.finish(level)


def _block(wishes: Wishes, spec: ModelSpec, where: Machine, tell: Callable[[Progress], None]) -> Iterator[Case]:
    packed = pack(questions(local_folder(spec), 1)[:1])
    return block_cases(spec, where, packed.tokens)


def _model(wishes: Wishes, spec: ModelSpec, where: Machine, tell: Callable[[Progress], None]) -> Iterator[Case]:
    yield checkpoint_case(spec)
    per_task, longest = _amount(wishes, where)
    packed = pack(questions(local_folder(spec), per_task, longest=longest))
    yield from model_cases(
        spec, where, packed, kernels_of(spec, where), tell=lambda words: tell(Progress(0, 0, None, words))
    )


def _server(wishes: Wishes, spec: ModelSpec, where: Machine, tell: Callable[[Progress], None]) -> Iterator[Case]:
    packed = pack(questions(local_folder(spec), 1 if wishes.quick else 3))
    tell(Progress(0, 0, None, "server"))
    with nullcontext(wishes.server) if wishes.server else started(wishes.model, stock=wishes.stock) as server:
        yield from server_cases(spec, where, packed, kernels_of(spec, where), server)


def _amount(wishes: Wishes, where: Machine) -> tuple[int, int]:
    """(questions a task, tokens of one at most)"""
    if where.emulate:
        return (1, 120) if wishes.quick else (1, 400)
    return (2 if wishes.quick else 17), 400


class Book:
    """The finished cases of a folder; without one nothing is kept.

    A folder that holds the cases of another model, target, level of detail or version is begun anew.
    """

    def __init__(self, folder: Path | None, stamp: str) -> None:
        self.known: dict[str, Case] = {}
        self._finished: set[str] = set()
        self._file: Path | None = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / KEPT
        text = self._file.read_text(encoding="utf-8") if self._file.is_file() else ""
        lines = text.splitlines()
        if not lines or json.loads(lines[0]) != {"stamp": stamp}:
            self._file.write_text(json.dumps({"stamp": stamp}) + "\n", encoding="utf-8")
            return
        for line in lines[1:]:
            self._read(line)
        if not text.endswith("\n"):
            self._append()  # ends the line that a killed run was writing

    def _read(self, line: str) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            return
        if "finished" in record:
            self._finished.add(record["finished"])
        else:
            case = Case.from_record(record)
            self.known[case.key] = case

    def finished(self, level: str) -> bool:
        return level in self._finished

    def keep(self, case: Case) -> Case:
        """Remember a case."""
        self._append(asdict(case))
        return case

    def finish(self, level: str) -> None:
        """Remember that a level ran to its end."""
        self._append({"finished": level})

    def _append(self, record: dict[str, object] | None = None) -> None:
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write("\n" if record is None else json.dumps(record) + "\n")


def fingerprint(wishes: Wishes, spec: ModelSpec, report: Report) -> str:
    """What must be equal for a finished case to be taken over; the sources that it depends on included."""
    digest = hashlib.sha256(repr((spec, report.target, wishes.tp, wishes.quick, report.versions)).encode())
    own = () if report.target == "cpu" else ("glm_rocm_kernels",)
    for package in (*own, "glm_rocm.backends", "glm_rocm.validate", "glm_rocm.reference"):
        for file in _sources(package):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _sources(package: str) -> Sequence[Path]:
    found = importlib.util.find_spec(package)
    roots = list(found.submodule_search_locations or ()) if found else []
    return sorted(file for root in roots for suffix in ("py", "json") for file in Path(root).rglob(f"*.{suffix}"))


def versions() -> dict[str, str]:
    """Of what decides a result."""
    found = {"glm-rocm": glm_rocm.__version__, "torch": torch.__version__}
    for name in ("triton", "tinygrad"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
