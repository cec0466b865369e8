"""Run one cell of the vendor matrix and write its one result file.

    ci/cell.sh CELL [--results DIR] [--resume] [--python PYTHON]

Exit code 0: passed; 1: failed; 3: not run, and the result says why. What a machine cannot run is never a pass.
The result follows result.schema.json; the command's output goes to build/cells/CELL.log. Needs Python 3.11.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import environments
import evidence
import matrix
from matrix import ROOT, Cell

LOGS = ROOT / "build" / "cells"
NOT_CODE = (":!ci/results", ":!docs/support.md")
"""What a run itself changes in the checkout."""
NO_CODE = (*NOT_CODE, ":!*.md")
"""And what changes no result."""
EXIT = {"passed": 0, "failed": 1, "not run": 3}
STOP_S = 20.0


@dataclass(frozen=True)
class Outcome:
    """What came of a command: `passed`, `failed` or `not run`, why, and what it reported."""

    outcome: str
    reason: str = ""
    evidence: evidence.Evidence | None = None


def git(*words: str) -> str:
    """git's answer about this checkout, whoever owns it."""
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def same_code(commit: str) -> bool:
    """Whether `commit` holds the code that is checked out, but for pages and results."""
    try:
        return git("diff", "--stat", commit, "--", ".", *NO_CODE) == ""
    except subprocess.CalledProcessError:
        return False  # a commit that this clone has not


def lacking(cell: Cell) -> str:
    """Why this machine or this checkout cannot run the cell; empty where it can."""
    if cell.needs_card:
        found = _card(cell)
        if found:
            return (
                f"found {found}, required {cell.runner.devices} x {cell.arch}; run `{cell.command}` on such a machine"
            )
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    if cell.kind == "make" and not re.search(rf"^{re.escape(cell.words[0])}:", makefile, re.MULTILINE):
        return f"the Makefile has no target `{cell.words[0]}`"
    if cell.kind in ("pytest", "script"):
        paths = [word for word in cell.words if word.startswith(("tests/", "ci/"))]
        missing = [path for path in paths if not (ROOT / path).exists()]
        if missing:
            return f"found no `{missing[0]}` in this checkout"
    return ""


def _card(cell: Cell) -> str:
    """What is here instead of the cell's cards; empty where they are here."""
    sys.path.insert(0, str(ROOT))
    from glm_rocm.errors import TargetError
    from glm_rocm.target import detect_target

    try:
        target = detect_target()
    except TargetError as error:
        return error.sentence
    if target.arch == cell.arch and target.count >= cell.runner.devices:
        return ""
    return "no accelerator" if target.vendor == "cpu" else f"{target.count} x {target.arch}"


def arguments(cell: Cell, python: Path, folder: Path) -> list[str]:
    """The command line; what it reports goes under `folder`."""
    if cell.kind == "pytest":
        return [str(python), "-m", "pytest", "-q", *cell.words, f"--junitxml={folder / 'junit.xml'}"]
    if cell.kind == "validate":
        return [str(python), "-m", "glm_rocm.cli", "validate", *cell.words, "--out", str(folder / "validate")]
    if cell.kind == "make":
        tests = cell.words[0].startswith("test")
        return ["make", *cell.words, *([f"ARGS=--junitxml={folder / 'junit.xml'}"] if tests else [])]
    return list(cell.words)


def run(cell: Cell, python: Path, folder: Path) -> Outcome:
    """Run the cell's command to its end or its time limit, and read what it reported."""
    environment = dict(os.environ)
    environment |= {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    if not cell.needs_card:
        environment.setdefault("HF_HUB_OFFLINE", "1")  # what runs anywhere runs on what is there
    if cell.engine != "none":
        environment["GLM_ROCM_ENGINE"] = cell.engine
    log = folder / "output.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            arguments(cell, python, folder),
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(cell.minutes * 60)
        except subprocess.TimeoutExpired:
            return Outcome("failed", f"stopped after {cell.minutes} minutes, its limit")
        finally:
            _end(process)
    return judge(cell, code, folder)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the command's process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_S)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue


def judge(cell: Cell, code: int, folder: Path) -> Outcome:
    """The outcome of a command that ended by itself."""
    junit, report = folder / "junit.xml", folder / "validate" / "report.json"
    found = None
    if junit.exists():
        found = evidence.from_junit(junit)
    elif report.exists():
        found = evidence.from_report(report)
    if code != 0 and found is not None and found.failures:
        return Outcome("failed", f"{found.failed} failed, first `{found.failures[0]}`", found)
    if code not in (0, 5):  # 5: pytest collected nothing
        return Outcome("failed", f"exit code {code}: {_last_words(folder / 'output.log')}", found)
    if cell.kind in ("pytest", "validate") and (found is None or found.passed == 0):
        skipped = found.skipped if found else 0
        return Outcome("not run", f"no check ran, {skipped} were skipped: {_last_words(folder / 'output.log')}", found)
    return Outcome("passed", evidence=found)


def _last_words(log: Path) -> str:
    """The first `error:` line of a log, or its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.lower().startswith("error")]
    return (told[:1] or lines[-1:] or ["it said nothing"])[0][:300]


def checkout() -> dict[str, object]:
    """Which code is checked out: git's word, or the CI's own where a container has no git.

    Raises:
        LookupError: nobody knows.
    """
    try:
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ".", *NOT_CODE)
    except (OSError, subprocess.CalledProcessError):
        told = os.environ.get("GITHUB_SHA") or os.environ.get("BUILDKITE_COMMIT")
        if not told:
            raise LookupError("this folder is no git checkout with a commit") from None
        commit, changes = told, ""
    return {"commit": commit, "changed": changes != ""}


def result(cell: Cell, outcome: Outcome, tools: dict[str, str], seconds: float) -> dict[str, object]:
    """What the result file says of a run, beside the code that ran."""
    found = outcome.evidence
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "proof": cell.proof if outcome.outcome == "passed" else "none",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "tools": tools,
        "counts": {"passed": found.passed, "failed": found.failed, "skipped": found.skipped} if found else None,
        "ops": {op: dict(sorted(counts.items())) for op, counts in sorted(found.ops.items())} if found else {},
        "command": shlex.join(arguments(cell, Path("python"), Path("build/cells") / cell.name)),
        "seconds": round(seconds, 1),
    }


def perform(cell: Cell, python: Path | None) -> dict[str, object]:
    """Run the cell, or find why it cannot be run."""
    started = time.monotonic()
    reason = lacking(cell)
    code = checkout()
    folder = LOGS / cell.name
    shutil.rmtree(folder, ignore_errors=True)  # `validate --out` would go on where an earlier run stopped
    folder.mkdir(parents=True)
    tools: dict[str, str] = {}
    if reason:
        outcome = Outcome("not run", reason)
    else:
        try:
            own = cell.kind in ("make", "script")  # they find their environment themselves
            chosen = python or (Path(sys.executable) if own else environments.python_of(cell.environment))
            tools = environments.versions(chosen)
            outcome = run(cell, chosen, folder)
        except environments.CannotMakeError as error:
            outcome = Outcome("not run", str(error))
    return {"cell": cell.name, **code, **result(cell, outcome, tools, time.monotonic() - started)}


def fail(sentence: str, hint: str) -> int:
    print(f"error: {sentence}\n\nhint: {hint}", file=sys.stderr)
    return 2


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("cell")
    ask.add_argument("--results", type=Path, default=matrix.RESULTS, help="folder of the result file (ci/results)")
    ask.add_argument("--resume", action="store_true", help="do not run again what passed with this code")
    ask.add_argument("--python", type=Path, help="the interpreter of an environment that is there already")
    asked = ask.parse_args()
    cells = matrix.load()
    if asked.cell not in cells:
        return fail(f"no cell `{asked.cell}` in ci/matrix.json", "python3 ci/matrix.py names")
    if asked.python and not os.access(asked.python, os.X_OK):
        return fail(f"`{asked.python}` is no program", "drop `--python`: the cell makes its own environment")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # ends the command on its way
    file = asked.results / f"{asked.cell}.json"
    if asked.resume and file.exists():
        old = json.loads(file.read_text(encoding="utf-8"))
        if old["outcome"] == "passed" and not old["changed"] and same_code(old["commit"]):
            print(f"{asked.cell}: passed before, with this code", file=sys.stderr)
            return 0
    try:
        found = perform(cells[asked.cell], asked.python.absolute() if asked.python else None)
    except LookupError as error:
        return fail(str(error), "git clone the repository, or set GITHUB_SHA to the commit that this is")
    asked.results.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    why = f": {found['reason']}" if found["reason"] else ""
    print(f"{asked.cell}: {found['outcome']}{why} ({found['seconds']} s)", file=sys.stderr)
    return EXIT[str(found["outcome"])]


if __name__ == "__main__":
    sys.exit(main())
