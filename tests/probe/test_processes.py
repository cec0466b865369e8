"""Real processes that crash, hang and fail: each is told apart, and what it started is gone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.backends import by_name
from glm_rocm.errors import EngineError, ParityError, SelectionError
from glm_rocm.ops.kernel import Kernel, Refused
from glm_rocm.ops.moe import ExpertsProblem
from glm_rocm.ops.select import select
from glm_rocm.probe import Prober, child
from glm_rocm.probe.outcome import Outcome
from glm_rocm.probe.run import run

Candidate = Callable[[str], Kernel]


def request(kernel: Kernel, problem: Any) -> str:
    return child.request_of(kernel, problem, "cpu", "float8_e4m3fn")


DIES = {
    "segfault": ("crashed", "killed by SIGSEGV", ""),
    "abort": ("crashed", "killed by SIGABRT", ""),
    "leave": ("crashed", "exit status 0 without a result: half way", ""),
    "no_nvcc": ("failed", "RuntimeError: Could not find nvcc", "install the CUDA toolkit and set CUDA_HOME"),
    "half": ("failed", "ModuleNotFoundError: No module named 'a_library", "install `a_library_that_is_not_there`"),
    "read_only": ("failed", "OSError: [Errno 30] Read-only file system", "FLASHINFER_WORKSPACE_BASE"),
}


@pytest.mark.parametrize("name", DIES)
def test_a_candidate_that_dies_is_passed_over_with_its_own_error(
    candidate: Candidate, problem: Any, here: Any, name: str
) -> None:
    state, error, cure = DIES[name]
    prober = Prober(here, folder=None)
    refused = prober(candidate(name), problem)
    assert isinstance(refused, Refused)
    assert refused.kernel == f"test.{name}"
    (reason,) = refused.reasons
    assert error in reason.found
    assert cure in reason.cure
    assert prober.outcomes[f"test.{name}"][0].state == state


def test_a_hanging_candidate_ends_at_the_limit_with_all_it_started(candidate: Candidate, problem: Any) -> None:
    begun = time.monotonic()
    outcome = run(request(candidate("hang"), problem), limit_s=2, environment=dict(os.environ))
    assert (outcome.state, outcome.error) == ("hung", "no result within 2 s")
    assert time.monotonic() - begun < 20
    deadline = time.monotonic() + 5
    while left := [pid for pid in os.listdir("/proc") if pid.isdigit() and _is_ours(pid)]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.05)


def _is_ours(pid: str) -> bool:
    """Whether a process is what the hanging candidate started."""
    try:
        return Path("/proc", pid, "cmdline").read_bytes() == b"sleep\x00317.25\x00"
    except OSError:
        return False


def test_a_process_that_the_host_kills_stops_the_launch(candidate: Candidate, problem: Any, here: Any) -> None:
    with pytest.raises(EngineError, match="killed by SIGKILL"):
        Prober(here, folder=None)(candidate("killed"), problem)


@pytest.mark.slow
def test_a_kernel_that_works_is_run_in_its_process_and_chosen(candidate: Candidate, problem: Any, here: Any) -> None:
    kernels = [candidate("segfault"), candidate("torch"), candidate("half")]
    prober = Prober(here, folder=None)
    selection = select(problem, here, kernels, probe=prober)
    assert selection.chosen.name == "test.torch"
    assert "killed by SIGSEGV" in selection.because
    assert set(prober.outcomes) == {"test.segfault", "test.torch"}, "those after the one that works are not tried"


def test_one_asked_for_is_tried_alone_and_its_failure_is_an_error(
    candidate: Candidate, problem: Any, here: Any
) -> None:
    prober = Prober(here, folder=None)
    kernels = [candidate("segfault"), candidate("half"), candidate("torch")]
    with pytest.raises(SelectionError, match=r"kernel `test\.half` does not run .*ModuleNotFoundError"):
        select(problem, here, kernels, asked="half", probe=prober)
    assert set(prober.outcomes) == {"test.half"}


def test_nothing_left_is_an_error_with_the_whole_trace(candidate: Candidate, problem: Any, here: Any) -> None:
    with pytest.raises(SelectionError) as caught:
        select(problem, here, [candidate("segfault"), candidate("no_nvcc")], probe=Prober(here, folder=None))
    assert "SIGSEGV" in caught.value.found
    assert "nvcc" in caught.value.found


STOPS = {
    "wrong": ("parity", ParityError, "gives other results than the reference"),
    "argument": ("argument", EngineError, "was called wrongly.*o_data_type"),
    "memory": ("memory", EngineError, "found no memory.*2.00 GiB"),
}


@pytest.mark.parametrize("name", STOPS)
def test_what_another_kernel_would_only_hide_stops(candidate: Candidate, problem: Any, name: str) -> None:
    state, error, words = STOPS[name]
    found = child.attempt(_parsed(request(candidate(name), problem)))
    assert found["state"] == state
    stop = Outcome(state, found["error"]).stop(candidate(name), problem)  # type: ignore[arg-type]
    with pytest.raises(error, match=words):
        raise stop  # type: ignore[misc]


def test_a_library_that_does_not_take_the_card_is_passed_over(candidate: Candidate, problem: Any) -> None:
    found = child.attempt(_parsed(request(candidate("value"), problem)))
    assert found == {"state": "failed", "error": "ValueError: BF16 MoE needs compute capability 9.0"}


def _parsed(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_the_torch_kernels_are_not_tried(problem: Any, here: Any) -> None:
    prober = Prober(here, folder=None)
    assert prober(by_name("cpu.attention"), problem) is None
    assert prober.outcomes == {}


def test_experts_are_tried_at_their_widths_and_fewer() -> None:
    full = ExpertsProblem(160, 8, 5120, 192, "bfloat16", "channel_token")
    assert child.small(full) == ExpertsProblem(16, 8, 5120, 192, "bfloat16", "channel_token")


def test_a_long_error_keeps_its_beginning_and_its_end() -> None:
    line = child.one_line(RuntimeError("Ninja build failed. " + "x" * 5000 + " error: nvcc not found"))
    assert line.startswith("RuntimeError: Ninja build failed.")
    assert line.endswith("error: nvcc not found")
    assert len(line) < 500
