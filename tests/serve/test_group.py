"""Two servers and a router as one: ready when the router counts both, dead when one dies, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.serve import leader_command

Start = Callable[..., Any]
Left = Callable[[list[int]], list[int]]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_nothing_is_asked_of_the_router_before_it_counts_both_servers(supervise_group: Start) -> None:
    run = supervise_group(router=["--workers-after", "1.5"])
    run.wait_for("Ready")
    run.process.send_signal(signal.SIGTERM)
    assert run.finish() == (0, "")
    asked = re.findall(r"router \| asked ([\d.]+) s after the start", run.log.read_text())
    assert float(asked[0]) >= 1.5


def test_sigterm_stops_the_router_first_and_then_the_servers(supervise_group: Start, still_running: Left) -> None:
    run = supervise_group()
    run.wait_for("Ready")
    leader = run.engine_pid()
    pids = [leader, *children(leader)]
    assert len(pids) == 4
    run.process.send_signal(signal.SIGTERM)
    assert run.finish() == (0, "")
    gone = [line.split(" | ")[0] for line in run.log.read_text().splitlines() if "left in order" in line]
    assert gone[0] == "router"
    assert sorted(gone[1:]) == ["decode", "prefill"]
    assert still_running(pids) == []


@pytest.mark.parametrize("position", [0, 1, 2], ids=["prefill", "decode", "router"])
def test_one_that_is_killed_ends_the_group_and_is_named(
    supervise_group: Start, still_running: Left, position: int
) -> None:
    run = supervise_group()
    run.wait_for("Ready")
    leader = run.engine_pid()
    pids = [leader, *children(leader)]
    os.kill(pids[1 + position], signal.SIGKILL)
    code, err = run.finish()
    assert code == 2
    assert f"`{('prefill', 'decode', 'router')[position]}` was killed (SIGKILL)" in err
    assert "hint: the machine's memory may have run out" in err
    assert still_running(pids) == []


def test_one_that_runs_out_of_memory_gives_its_reason(
    supervise_group: Start, still_running: Left, worker_pids: Callable[[], list[int]], tmp_path: Path
) -> None:
    workers = ["--worker-pids", str(tmp_path / "workers")]
    said = ["--say", "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2 GiB", "--exit-with", "1"]
    run = supervise_group(prefill=workers, decode=["--start-delay", "1", *said])
    code, err = run.finish()
    assert code == 2
    assert "`decode` ended with exit status 1: `torch.OutOfMemoryError: HIP out of memory." in err
    assert len(worker_pids()) == 2
    assert still_running(worker_pids()) == []


def test_a_router_that_never_counts_both_is_told_after_the_limit(supervise_group: Start) -> None:
    run = supervise_group(router=["--workers-after", "600"], start=2)
    code, err = run.finish()
    assert code == 2
    assert "answered no request within 2 s" in err


def test_a_killed_supervisor_takes_the_group_with_it(supervise_group: Start, still_running: Left) -> None:
    run = supervise_group()
    run.wait_for("Ready")
    leader = run.engine_pid()
    pids = [leader, *children(leader)]
    run.process.kill()
    assert still_running(pids) == []


def test_a_killed_leader_takes_the_group_with_it(supervise_group: Start, still_running: Left) -> None:
    run = supervise_group()
    run.wait_for("Ready")
    leader = run.engine_pid()
    pids = children(leader)
    os.kill(leader, signal.SIGKILL)
    assert run.finish()[0] == 2
    assert still_running(pids) == []


def test_a_program_that_is_not_there_is_named(supervise: Start, tmp_path: Path) -> None:
    stays = [sys.executable, "-c", "import time; time.sleep(600)"]
    missing = str(tmp_path / "missing")
    run = supervise(order={"command": leader_command([("prefill", stays), ("router", [missing])], 1), "workers": 1})
    code, err = run.finish()
    assert code == 2
    assert f"cannot start `{missing}`" in err
