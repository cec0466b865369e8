"""Prefill and decode on two real servers behind the real router; then one of them dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

pytestmark = pytest.mark.sglang

PAIR = ("--disaggregate", "prefill=1,decode=1", "--dtype", "float32", "--context", "1024", "--max-seqs", "4")
TOKENS = 16


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Any:
    return serve("pocket", *PAIR)


def chat(server: Any, **options: Any) -> Any:
    question = [{"role": "user", "content": "What is 12 + 30? /nothink"}]
    asked: dict[str, Any] = {"messages": question, "temperature": 0, "max_tokens": 60}
    return server.client().chat.completions.create(model=server.model, **asked | options)


def test_tokens_through_the_router_are_those_of_transformers(
    server: Any, prompts: list[list[int]], golden: list[list[int]]
) -> None:
    chosen = (0, 3, 7)  # short, longer, and longer than a page of the cache
    found = server.generate([prompts[number] for number in chosen], TOKENS)
    assert [answer["output_ids"] for answer in found] == [golden[number][:TOKENS] for number in chosen]


def test_a_client_of_the_openai_api_notices_nothing(server: Any) -> None:
    whole = chat(server).choices[0].message
    assert whole.content == "12+30=42."
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chat(server, stream=True) if chunk.choices)
    assert streamed == whole.content


def test_the_router_asks_for_the_key(server: Any) -> None:
    client = openai.OpenAI(base_url=f"{server.client().base_url}", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model=server.model, messages=[{"role": "user", "content": "?"}], max_tokens=1)


def test_each_role_has_a_server_and_says_so_in_the_log(server: Any) -> None:
    log = server.log.read_text()
    assert all(f"\n{role} | " in log for role in ("prefill", "decode", "router"))
    first = server.client().base_url.port
    for port in range(first + 1, first + 4):  # prefill, its bootstrap, decode
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) == 0
    assert server.events[0]["plan"]["disaggregation"] == {"prefill": 1, "decode": 1}


def test_a_decode_server_that_is_killed_ends_the_group_with_its_name(server: Any) -> None:
    pids = server.pids()
    decode = next(pid for pid in pids if b"--disaggregation-mode\0decode" in command_line(pid))
    scheduler = next(pid for pid in children(decode) if b"scheduler" in command_line(pid))
    os.kill(scheduler, signal.SIGKILL)  # as the machine does that has no memory left
    server.process.wait(timeout=120)
    said = server.stderr.read_text()
    assert server.process.returncode == 2
    assert "error: `sglang` ended with exit status 1" in said
    assert "`decode` " in said
    deadline = time.monotonic() + 20
    while (left := [pid for pid in pids if command_line(pid)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def test_a_port_that_one_of_the_servers_needs_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ["serve", "pocket", "--engine", "sglang", *PAIR, "--port", str(port - 3), "--state", str(tmp_path)]
        done = subprocess.run([sys.executable, "-m", "glm_rocm.cli", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"error: port `{port}` on `127.0.0.1` is taken" in done.stderr


def command_line(pid: int) -> bytes:
    """Empty when the process is gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
