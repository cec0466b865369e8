"""A supervised fake engine in processes of its own, and the check that nothing of it is left."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.serve import leader_command

HERE = Path(__file__).parent


class Supervised:
    """A running `supervise.py` over a running `fake_engine.py`."""

    def __init__(self, folder: Path, flags: list[str], limits: dict[str, float], **order: Any) -> None:
        self.port = order.pop("port", None) or free_port()
        ignored = order.pop("ignored", ())
        self.log = folder / "engine.log"
        command = order.pop("command", None)
        command = command or [sys.executable, str(HERE / "fake_engine.py"), "--port", str(self.port), *flags]
        limits = {"start": 20, "drain": 3, "grace": 1, "probe": 2, **limits}
        order = {"command": command, "port": self.port, "log": str(self.log), "limits": limits, **order}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "supervise.py"), json.dumps(order)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: heed_signals_but(ignored),
        )
        self.seen: list[dict[str, Any]] = []

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read events until one has this name."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(json.loads(line))
            if self.seen[-1]["event"] == event:
                return self.seen[-1]
        raise AssertionError(f"no {event} among {self.seen}; stderr: {self.process.communicate()[1]}")

    def finish(self) -> tuple[int, str]:
        """Wait for the end; exit status and what was written to stderr."""
        out, err = self.process.communicate(timeout=30)
        self.seen += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode, err

    def engine_pid(self) -> int:
        """The engine's leader: the only child of the guard."""
        guard = next(event["pid"] for event in self.seen if event["event"] == "Started")
        return int(Path(f"/proc/{guard}/task/{guard}/children").read_text().split()[0])


def heed_signals_but(ignored: Sequence[int]) -> None:
    """In the child: a test runner in the background ignores SIGINT and SIGHUP, and what is ignored is inherited."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def running(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def still_running() -> Callable[[list[int]], list[int]]:
    """The processes among these that run after having had some seconds to go; empty when all went."""

    def left(pids: list[int]) -> list[int]:
        deadline = time.monotonic() + 8
        while (there := [pid for pid in pids if running(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return there

    return left


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    """Start a fake engine under a supervisor: `supervise("--die-after", "0.2", drain=1)`."""
    started: list[Supervised] = []
    numbers = itertools.count()

    def start(*flags: str, order: dict[str, Any] | None = None, **limits: float) -> Supervised:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        started.append(Supervised(folder, list(flags), limits, **(order or {})))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
            one.process.send_signal(signal.SIGTERM)
        one.process.communicate(timeout=30)


@pytest.fixture
def supervise_group(supervise: Callable[..., Supervised]) -> Callable[..., Supervised]:
    """Start two fake servers and a fake router as one: `supervise_group(decode=["--exit-with", "3"], drain=1)`."""

    def start(
        prefill: Sequence[str] = (), decode: Sequence[str] = (), router: Sequence[str] = (), **limits: float
    ) -> Supervised:
        members, port = [], 0
        for name, flags in (("prefill", prefill), ("decode", decode), ("router", ["--workers-after", "0", *router])):
            port = free_port()
            members.append((name, [sys.executable, str(HERE / "fake_engine.py"), "--port", str(port), *flags]))
        order = {"command": leader_command(members, limits.get("drain", 3)), "port": port, "workers": 2}
        return supervise(order=order, **limits)

    return start


@pytest.fixture
def worker_pids(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """Reads the workers' ids from the file that the fake engine writes; ends them should a test have failed."""
    file = tmp_path / "workers"

    def read() -> list[int]:
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []

    yield read
    for pid in read():
        if running(pid):
            os.kill(pid, signal.SIGKILL)
