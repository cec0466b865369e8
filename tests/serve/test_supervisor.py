"""The supervisor over a real process tree: readiness, drain, death, and that nothing is left however it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]
Left = Callable[[list[int]], list[int]]


def ask(port: int, prompt: str) -> str:
    body = json.dumps({"model": "pocket-glm", "prompt": prompt}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", body)
    with urllib.request.urlopen(request, timeout=20) as response:
        return str(json.load(response)["choices"][0]["text"])


def test_ready_only_after_a_completion_succeeds_and_sigterm_ends_in_order(supervise: Start) -> None:
    run = supervise("--busy", "2", "--start-delay", "0.3")
    run.wait_for("Ready")
    assert ask(run.port, "hello") == "HELLO"
    run.process.send_signal(signal.SIGTERM)
    code, err = run.finish()
    assert (code, err) == (0, "")
    assert "engine left in order" in run.log.read_text()
    names = [event["event"] for event in run.seen]
    assert names[0] == "Started"
    assert names[-2:] == ["Line", "Stopped"]


def test_sigint_is_a_stop_as_well(supervise: Start) -> None:
    run = supervise()
    run.wait_for("Ready")
    run.process.send_signal(signal.SIGINT)
    assert run.finish() == (0, "")


def test_a_signal_that_was_ignored_stays_ignored_as_under_nohup(supervise: Start) -> None:
    run = supervise(order={"ignored": [signal.SIGHUP]})
    run.wait_for("Ready")
    run.process.send_signal(signal.SIGHUP)
    assert ask(run.port, "hello") == "HELLO"
    run.process.send_signal(signal.SIGTERM)
    run.finish()
    assert [event["signal"] for event in run.seen if event["event"] == "Stopping"] == ["SIGTERM"]


def test_phases_come_from_the_log_each_once_and_in_order(supervise: Start) -> None:
    run = supervise("--say", "loading weights 1/2", "--say", "loading weights 2/2", "--say", "warming up")
    run.wait_for("Ready")
    assert [event["name"] for event in run.seen if event["event"] == "Phase"] == ["load", "warm-up"]


def test_a_request_in_flight_is_answered_after_sigterm(supervise: Start) -> None:
    run = supervise("--request-takes", "1")
    run.wait_for("Ready")
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(ask(run.port, "slow")))
    client.start()
    while "request began" not in run.wait_for("Line")["text"]:
        pass
    run.process.send_signal(signal.SIGTERM)
    code, _ = run.finish()
    client.join()
    assert code == 0
    assert answers == ["SLOW"]


def test_drain_has_a_limit(supervise: Start, still_running: Left) -> None:
    run = supervise("--request-takes", "60", drain=0.5, grace=0.5)
    run.wait_for("Ready")
    failures: list[Exception] = []

    def client() -> None:
        try:
            ask(run.port, "endless")
        except (urllib.error.URLError, OSError) as error:
            failures.append(error)

    thread = threading.Thread(target=client)
    thread.start()
    while "request began" not in run.wait_for("Line")["text"]:
        pass
    pid = run.engine_pid()
    run.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code, _ = run.finish()
    thread.join()
    assert code == 0
    assert time.monotonic() - began < 6
    assert still_running([pid]) == []
    assert len(failures) == 1


def test_a_second_signal_does_not_wait(supervise: Start) -> None:
    run = supervise("--ignore-sigterm", drain=60)
    run.wait_for("Ready")
    run.process.send_signal(signal.SIGINT)
    run.wait_for("Stopping")
    run.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert run.finish()[0] == 0
    assert time.monotonic() - began < 6


def test_engine_dead_before_ready_gives_its_last_error_and_nonzero(supervise: Start) -> None:
    run = supervise("--say", "ValueError: no free GPU memory", "--exit-with", "3")
    code, err = run.finish()
    assert code != 0
    assert "exit status 3" in err
    assert "`ValueError: no free GPU memory`" in err
    assert "hint: " in err


def test_engine_dead_while_serving_gives_its_last_error_and_nonzero(supervise: Start) -> None:
    run = supervise("--die-after", "0.2")
    run.wait_for("Ready")
    code, err = run.finish()
    assert code != 0
    assert "exit status 7" in err
    assert "HIP error: out of memory" in err


def test_engine_killed_from_outside_is_told_as_such(supervise: Start) -> None:
    run = supervise()
    run.wait_for("Ready")
    os.kill(run.engine_pid(), signal.SIGKILL)
    code, err = run.finish()
    assert code != 0
    assert f"exit status {128 + signal.SIGKILL}" in err


def test_engine_that_accepts_and_never_answers_is_not_ready(supervise: Start) -> None:
    run = supervise("--never-answer", start=2, probe=0.5)
    code, err = run.finish()
    assert code != 0
    assert "answered no request within 2 s" in err
    assert not [event for event in run.seen if event["event"] == "Ready"]


@pytest.mark.parametrize("status", [400, 401, 404])
def test_engine_that_is_up_and_refuses_is_an_error_at_once(supervise: Start, status: int) -> None:
    run = supervise("--status", str(status))
    code, err = run.finish()
    assert code != 0
    assert f"HTTP {status}" in err
    assert "`pocket-glm` does not exist" in err


def test_api_key_reaches_engine_and_probe_by_environment_alone(supervise: Start) -> None:
    run = supervise(order={"api_key": "s3cret-key"})
    run.wait_for("Ready")
    shown = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (run.engine_pid(), run.seen[0]["pid"])]
    assert not [line for line in shown if "s3cret-key" in line]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(run.port, "hello")


def test_wrong_key_in_the_probe_is_refused_not_waited_for(supervise: Start) -> None:
    run = supervise(order={"api_key": "right", "sent_key": "wrong"})
    code, err = run.finish()
    assert code != 0
    assert "HTTP 401" in err


def test_port_taken_is_found_before_the_engine_starts(supervise: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        run = supervise("--worker-pids", str(tmp_path / "workers"), order={"port": port})
        code, err = run.finish()
    assert code == 2
    assert f"port `{port}` on `127.0.0.1` is taken" in err
    assert "hint: add `--port " in err
    assert not (tmp_path / "workers").exists()


def test_command_that_does_not_exist_is_told(supervise: Start) -> None:
    code, err = supervise(order={"command": ["/nowhere/engine"]}).finish()
    assert code != 0
    assert "`/nowhere/engine`" in err


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_the_supervisor_ends(
    supervise: Start, still_running: Left, tmp_path: Path, worker_pids: Callable[[], list[int]], signum: signal.Signals
) -> None:
    run = supervise("--worker-pids", str(tmp_path / "workers"))
    run.wait_for("Ready")
    pids = [run.engine_pid(), run.seen[0]["pid"], *worker_pids()]
    assert len(pids) == 4
    run.process.send_signal(signum)
    run.finish()
    assert still_running(pids) == []


def test_nothing_is_left_when_the_engines_leader_is_killed(
    supervise: Start, still_running: Left, tmp_path: Path, worker_pids: Callable[[], list[int]]
) -> None:
    run = supervise("--worker-pids", str(tmp_path / "workers"))
    run.wait_for("Ready")
    os.kill(run.engine_pid(), signal.SIGKILL)
    assert run.finish()[0] != 0
    assert still_running(worker_pids()) == []


def test_engine_and_group_are_gone_when_the_guard_is_killed(
    supervise: Start, still_running: Left, tmp_path: Path, worker_pids: Callable[[], list[int]]
) -> None:
    run = supervise("--worker-pids", str(tmp_path / "workers"))
    run.wait_for("Ready")
    leader, in_session = run.engine_pid(), worker_pids()[0]
    os.kill(run.seen[0]["pid"], signal.SIGKILL)
    assert run.finish()[0] != 0
    assert still_running([leader, in_session]) == []


def test_stop_while_still_starting_waits_for_nothing_and_leaves_nothing(supervise: Start, still_running: Left) -> None:
    run = supervise("--say", "loading weights", "--start-delay", "60", drain=60)
    run.wait_for("Phase")
    pid = run.engine_pid()
    run.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert run.finish()[0] == 0
    assert time.monotonic() - began < 6
    assert still_running([pid]) == []


def test_no_event_after_the_engine_wrote_bytes_that_are_not_text(supervise: Start) -> None:
    code = "import sys; sys.stdout.buffer.write(b'\\xff\\xfe broken\\n'); sys.exit(5)"
    run = supervise(order={"command": [sys.executable, "-c", code]})
    status, err = run.finish()
    assert status != 0
    assert "exit status 5" in err
    assert "broken" in err
