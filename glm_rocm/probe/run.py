"""Start the process that tries a kernel, wait no longer than the limit, and tell what became of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from glm_rocm.probe.outcome import Outcome, State

CHILD = "glm_rocm.probe.child"
TAIL = 2000
"""Characters of stderr that are kept."""


def run(request: str, *, limit_s: float, environment: Mapping[str, str]) -> Outcome:
    """Try what `child.request_of` made.

    Args:
        limit_s: after so many seconds the process and all that it started are killed.
        environment: the process's whole environment.
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="glm-rocm-probe-") as folder:
        report, log = Path(folder, "report"), Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", CHILD, str(report)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=dict(environment),
                start_new_session=True,
            )
            code = _wait(process, request, limit_s)
        detail = log.read_text(encoding="utf-8", errors="replace")[-TAIL:].strip()
        seconds = round(time.monotonic() - begun, 1)
        if code is None:
            return Outcome("hung", f"no result within {limit_s:g} s", detail, seconds)
        found = _report(report)
        return found_outcome(found, detail, seconds) if found else _died(code, detail, seconds)


def _wait(process: subprocess.Popen[bytes], request: str, limit_s: float) -> int | None:
    """The exit status; None where the limit passed. Compilers that it started end with it."""
    try:
        process.communicate(request.encode(), timeout=limit_s)
        return process.returncode
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _report(path: Path) -> dict[str, str] | None:
    """What the process reported; None where it did not come to that."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(found, dict) and found.get("state") in get_args(State) and isinstance(found.get("error"), str)
    return found if known else None


def found_outcome(found: Mapping[str, str], detail: str, seconds: float) -> Outcome:
    """The outcome that a report states."""
    state: State = found["state"]  # type: ignore[assignment]  # checked by _report
    return Outcome(state, found["error"], detail if state != "ran" else "", seconds)


def _died(code: int, detail: str, seconds: float) -> Outcome:
    """No report: a signal, or an exit in the middle."""
    if code == -signal.SIGKILL:  # nobody here sent it: the kernel's own answer to a host without memory
        return Outcome("memory", "killed by SIGKILL, as a host does that runs out of memory", detail, seconds)
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code} without a result"
    last = detail.rpartition("\n")[2]
    return Outcome("crashed", f"{how}: {last}" if last else how, detail, seconds)
