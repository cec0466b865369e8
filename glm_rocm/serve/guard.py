"""The process that stands between `glm-rocm serve` and the engine, so that the engine never outlives its supervisor.

    supervisor --pipe--> guard --> engine leader --> engine core, workers, ...

Run by path (`python -I guard.py FD PATIENCE -- ENGINE ...`) and made of the standard library alone: it starts in some
tens of milliseconds. It ends the engine in order when it gets SIGTERM, or when the pipe on FD closes, which happens
however the supervisor dies, SIGKILL included; at once on SIGQUIT. It adopts the engine's orphans
(PR_SET_CHILD_SUBREAPER), so a worker that moved to a session of its own is found as well. Its exit status is the
engine's.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# <linux/prctl.h>
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_TICK_S = 0.1
_AFTERMATH_S = 2.0
"""What a dead leader's workers get between SIGTERM and SIGKILL."""
_UNKILLABLE_S = 20.0
"""How long a process that ignores SIGKILL (in a driver's call) is waited for."""


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies. Without effect outside Linux."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _processes() -> list[tuple[int, int, int]]:
    """(process, parent, session) of everything that runs, zombies left out; empty without a /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command's name stands in parentheses and may hold anything, so fields are counted behind the last one.
            state, parent, _, session = entry.read_text(errors="replace").rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if state != "Z":
            found.append((int(entry.parent.name), int(parent), int(session)))
    return found


def session_members(session: int) -> list[int]:
    """Process ids of all that runs in a session."""
    return [pid for pid, _, its_session in _processes() if its_session == session]


def descendants(root: int) -> list[int]:
    """Process ids of all that descends from `root`, children before grandchildren."""
    children: dict[int, list[int]] = {}
    for pid, parent, _ in _processes():
        children.setdefault(parent, []).append(pid)
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found


def end(pids: list[int], signum: int) -> None:
    """Send `signum` to each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except (ProcessLookupError, PermissionError):
            continue


def end_descendants(root: int, patience: float) -> None:
    """SIGTERM to every descendant of `root`, SIGKILL to what is left after `patience` seconds; reaps as it goes."""
    end(descendants(root), signal.SIGTERM)
    deadline = time.monotonic() + patience
    while (left := descendants(root)) and time.monotonic() < deadline + _UNKILLABLE_S:
        if time.monotonic() >= deadline:
            end(left, signal.SIGKILL)
        _reap()
        time.sleep(_TICK_S)


def tied_to(parent: int) -> Callable[[], None]:
    """What a child of `parent` runs before its program so that it dies with it."""

    def tie() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before this line
            os._exit(1)

    return tie


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _reap() -> dict[int, int]:
    """Exit statuses of all children that ended, by process id."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


class _Guard:
    """Start the engine, watch the pipe, the signals and the leader; end everything that descends from here."""

    def __init__(self, pipe: int, patience: float, command: list[str]) -> None:
        self.pipe = pipe
        self.patience = patience
        self.asked = False
        self.deadline = float("inf")
        signal.signal(signal.SIGTERM, self._in_order)
        signal.signal(signal.SIGQUIT, self._at_once)
        adopt_orphans()
        # A group of its own: what the terminal or an engine sends to "its" group reaches neither the other nor us.
        self.leader = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=tied_to(os.getpid())
        )

    def _in_order(self, signum: int, frame: object) -> None:
        self.asked = True

    def _at_once(self, signum: int, frame: object) -> None:
        self.deadline = 0.0

    def run(self) -> int:
        """Until the leader ends, asked or not; nothing is left afterwards. Returns the exit status to pass on."""
        while (status := self._status()) is None:
            if (self._supervisor_gone() or self.asked) and self.deadline == float("inf"):
                self.deadline = time.monotonic() + self.patience
                # The leader alone: it drains, then ends its own workers in its own order.
                end([self.leader.pid], signal.SIGTERM)
            if time.monotonic() >= self.deadline:
                end([self.leader.pid, *descendants(os.getpid())], signal.SIGKILL)
        end_descendants(os.getpid(), _AFTERMATH_S)
        return status

    def _supervisor_gone(self) -> bool:
        """Waits one tick. The pipe carries no data: readable means closed."""
        if self.pipe < 0:
            time.sleep(_TICK_S)
            return True
        readable, _, _ = select.select([self.pipe], [], [], _TICK_S)
        if readable:
            os.close(self.pipe)
            self.pipe = -1
        return bool(readable)

    def _status(self) -> int | None:
        status = _reap().get(self.leader.pid)
        if status is None:
            return None
        code = os.waitstatus_to_exitcode(status)
        self.leader.returncode = code
        return code if code >= 0 else 128 - code


def main(arguments: list[str]) -> int:
    """`FD PATIENCE -- COMMAND...`; see the module."""
    pipe, patience, _, *command = arguments
    try:
        guard = _Guard(int(pipe), float(patience), command)
    except OSError as error:
        print(f"error: cannot start `{command[0]}`: {error.strerror}", file=sys.stderr)
        return 127
    return guard.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
