"""The process that leads several others which serve as one: a router, and the servers behind it.

    supervisor --pipe--> guard --> leader --> server, server, ..., router

Run as `python -m glm_rocm.serve.group DRAIN MEMBERS`, where MEMBERS is the JSON of `[[name, argv], ...]`, the router
last. Each line that a member prints goes on with the member's name in front. The group lives as long as all of its
members do: when one ends, its last error is told in an `error:` line, the others are ended, and the exit status is 1.
SIGTERM stops the router first, so that what is in flight is answered, then the servers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque

from glm_rocm.serve import guard
from glm_rocm.serve.postmortem import NO_MEMORY, Cause, last_error

_TICK_S = 0.1
_KEPT_LINES = 2000
_AFTERMATH_S = 2.0
"""What the others get between SIGTERM and SIGKILL when one has died: nothing they compute can be answered any more."""


class _Running:
    """A member's process and what it printed last."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.kept: deque[str] = deque(maxlen=_KEPT_LINES)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            process_group=0,  # what one member sends to "its" group reaches no other
            preexec_fn=guard.tied_to(os.getpid()),
        )
        self.reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = text.rstrip()
            self.kept.append(line)
            _say(f"{self.name} | {line}")

    def cause_of_death(self) -> Cause:
        """Why it ended, in its own words where it had any."""
        self.reader.join(timeout=2)
        status = self.process.returncode
        cause = last_error(self.kept)
        how = f"was killed ({signal.Signals(-status).name})" if status < 0 else f"ended with exit status {status}"
        # SGLang kills its own processes when one of them has failed, and then has said why.
        unexplained = status == -signal.SIGKILL and not cause.is_error
        return Cause(f"`{self.name}` {how}: {cause.sentence}", NO_MEMORY if unexplained else cause.hint)


class _Group:
    def __init__(self, drain: float, members: list[tuple[str, list[str]]]) -> None:
        self.drain = drain
        self.asked = False
        signal.signal(signal.SIGTERM, self._stop)
        self.running: list[_Running] = []
        for name, command in members:
            self.running.append(_Running(name, command))
        for member in self.running:  # threads only now: a fork beside threads may hang
            member.reader.start()

    def _stop(self, signum: int, frame: object) -> None:
        self.asked = True

    def run(self) -> int:
        """Until a member ends or SIGTERM comes. Returns the exit status."""
        while not self.asked:
            for member in self.running:
                if member.process.poll() is not None and not self.asked:
                    return self._die_of(member)
            time.sleep(_TICK_S)
        *servers, router = self.running
        self._end([router], time.monotonic() + self.drain)
        self._end(servers, float("inf"))  # the guard's patience bounds it
        return 0

    def _end(self, members: list[_Running], deadline: float) -> None:
        for member in members:
            if member.process.poll() is None:
                member.process.terminate()
        while any(member.process.poll() is None for member in members) and time.monotonic() < deadline:
            time.sleep(_TICK_S)

    def _die_of(self, member: _Running) -> int:
        cause = member.cause_of_death()
        guard.end_descendants(os.getpid(), _AFTERMATH_S)
        for other in self.running:
            other.reader.join(timeout=1)
        _say(f"error: {cause.sentence}")
        _say(f"hint: {cause.hint or 'read the log; check the installation with `glm-rocm doctor`'}")
        return 1


def _say(line: str) -> None:
    """One write a line: members speak at the same time."""
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


def main(arguments: list[str]) -> int:
    """`DRAIN MEMBERS`; see the module."""
    drain, members = arguments
    try:
        group = _Group(float(drain), json.loads(members))
    except OSError as error:
        guard.end_descendants(os.getpid(), _AFTERMATH_S)
        _say(f"error: cannot start `{error.filename}`: {error.strerror}")
        return 127
    return group.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
