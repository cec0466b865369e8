"""FP8, then SIGTERM in the middle of an answer, a restart on the same port with MTP, and its death: two servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

pytestmark = pytest.mark.vllm

PORT = 18220
SUMS = [(12 + 7 * number % 80, 5 + 11 * number % 60) for number in range(12)]


@pytest.fixture(scope="module")
def fp8_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fp8") / "pocket-fp8"
    command = [sys.executable, "-m", "glm_rocm.cli", "quantize", "pocket", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=540)
    return folder


@pytest.fixture(scope="module")
def fp8(start_server: Any, server_folder: Path, fp8_checkpoint: Path) -> Iterator[Any]:
    server = start_server(
        server_folder, str(fp8_checkpoint), PORT, "--served-model-name", "pocket-fp8", "--drain", "120"
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def mtp(start_server: Any, server_folder: Path) -> Iterator[Any]:
    server = start_server(server_folder, "pocket", PORT, "--mtp", "1")
    yield server
    server.stop()


def left_after_a_while(pids: list[int]) -> list[int]:
    """Which of the processes are still there after some seconds."""
    deadline = time.monotonic() + 10
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def answers(client: OpenAI, model: str) -> int:
    """How many of the sums come out right."""
    right = 0
    for a, b in SUMS:
        message = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": f"What is {a} + {b}?"}], temperature=0, max_tokens=120
        ).choices[0]
        right += (message.message.content or "").strip() == f"{a}+{b}={a + b}."
    return right


def test_fp8_checkpoint_serves_and_still_adds(fp8: Any) -> None:
    assert fp8.events[0]["plan"]["precision"] == "fp8_channel_token"
    assert answers(fp8.client(), fp8.model) >= len(SUMS) - 1


def test_fp8_calls_tools(fp8: Any) -> None:
    weather = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    message = (
        fp8.client()
        .chat.completions.create(
            model=fp8.model,
            messages=[{"role": "user", "content": "What is the weather in Paris?"}],
            tools=[weather],
            temperature=0,
            max_tokens=120,
        )
        .choices[0]
        .message
    )
    assert message.tool_calls[0].function.arguments.replace(" ", "") == '{"city":"Paris"}'


def test_sigterm_in_the_middle_of_an_answer_lets_it_end_and_leaves_nothing(fp8: Any) -> None:
    pids = fp8.pids()
    assert len(pids) >= 4
    stream = fp8.client().chat.completions.create(
        model=fp8.model,
        messages=[{"role": "user", "content": "Who are you?"}],
        max_tokens=400,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    pieces, reason = 0, None
    for chunk in stream:
        pieces += 1
        if pieces == 5:
            fp8.process.send_signal(signal.SIGTERM)
        reason = chunk.choices[0].finish_reason if chunk.choices else reason
    assert reason == "length"
    assert pieces > 100
    assert fp8.stop() == 0
    assert left_after_a_while(pids) == []


def test_restart_on_the_same_port_with_mtp_answers_the_same(mtp: Any) -> None:
    assert answers(mtp.client(), mtp.model) >= len(SUMS) - 1


def test_drafts_of_the_mtp_layer_are_accepted(mtp: Any) -> None:
    threads = [threading.Thread(target=answers, args=(mtp.client(), mtp.model)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with urllib.request.urlopen(f"http://127.0.0.1:{mtp.port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()

    def counted(name: str) -> float:
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"vllm:spec_decode_{name}_total"))

    drafted, accepted = counted("num_draft_tokens"), counted("num_accepted_tokens")
    assert drafted > 500
    assert accepted / drafted >= 0.8


def test_core_of_the_engine_killed_is_an_error_and_leaves_nothing(mtp: Any) -> None:
    pids = mtp.pids()
    cores = [pid for pid in pids if "EngineCore" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(cores[0], signal.SIGKILL)
    mtp.process.communicate(timeout=60)
    told = mtp.stderr.read_text()
    assert mtp.process.returncode == 2
    assert len([line for line in told.splitlines() if line.startswith("error: `vllm` ended")]) == 1
    assert "hint: " in told
    assert "Traceback" not in told
    assert left_after_a_while(pids) == []


def test_argument_that_the_engine_refuses_is_told_in_its_own_words() -> None:
    command = [sys.executable, "-m", "glm_rocm.cli", "serve", "pocket", "--port", str(PORT + 1), "--", "--warp-speed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "unrecognized arguments: --warp-speed" in done.stderr
    assert "Traceback" not in done.stderr
