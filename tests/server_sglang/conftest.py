"""Real SGLang servers, started as a person starts them, asked by the real `openai` client and by SGLang's own route.

Without SGLang (in vLLM's environment) nothing of this folder is collected: `make test-sglang` runs it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

if importlib.util.find_spec("sglang") is None:
    collect_ignore_glob = ["test_*.py"]

KEY = "test-key"
READY_WITHIN_S = 580
PORT = 31010


class Server:
    """`glm-rocm serve MODEL --engine sglang ...` in a process of its own, waited for until it says that it is ready."""

    def __init__(self, folder: Path, model: str, *flags: str) -> None:
        self.log = folder / f"port-{PORT}/engine.log"
        self.stderr = folder / f"serve-{time.monotonic_ns()}.txt"
        command = [sys.executable, "-m", "glm_rocm.cli", "serve", model, "--engine", "sglang", "--json", *flags]
        variables = {"GLM_ROCM_API_KEY": KEY, "GLM_ROCM_STATE": str(folder)}
        with self.stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                [*command, "--port", str(PORT)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, **variables},
            )
        self.events: list[dict[str, Any]] = []
        watchdog = threading.Timer(READY_WITHIN_S, self.process.terminate)
        watchdog.start()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == "ready":
                break
        watchdog.cancel()
        if not self.events or self.events[-1]["event"] != "ready":
            self.stop()
            raise AssertionError(self.stderr.read_text())
        self.model = str(self.events[-1]["model"])

    def client(self) -> OpenAI:
        return OpenAI(base_url=f"http://127.0.0.1:{PORT}/v1", api_key=KEY, max_retries=0, timeout=120)

    def generate(self, prompts: list[list[int]], tokens: int, **options: Any) -> list[dict[str, Any]]:
        """SGLang's own route: greedy tokens of these token ids, whatever the model would end with."""
        sampling = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}
        body = json.dumps({"input_ids": prompts, "sampling_params": sampling, **options}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"http://127.0.0.1:{PORT}/generate", body, headers)
        with urllib.request.urlopen(request, timeout=300) as response:
            answers: list[dict[str, Any]] = json.loads(response.read())
        return answers

    def pids(self) -> list[int]:
        """The supervisor and everything below it."""
        parents: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            parents.setdefault(parent, []).append(int(stat.parent.name))
        found = [self.process.pid]
        for pid in found:
            found += parents.get(pid, [])
        return found

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=120)
        return self.process.returncode


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server; whatever a module started has ended with it."""
    folder, started = tmp_path_factory.mktemp("servers"), []

    def start(model: str, *flags: str) -> Server:
        started.append(Server(folder, model, *flags))
        return started[-1]

    yield start
    for server in started:
        server.stop()


QUESTIONS = (
    "What is 48 + 27?",
    "Who are you?",
    "What is 305 - 118? /nothink",
    "My key is in the blue box. The lamp is in the red box. Where is the key?",
    "What is 9 * 7?",
    "Say hello to Mara.",
    "What is 12 + 30, and what is 7 + 5?",
    "Read this: " + "the tin is on the shelf; " * 12 + "where is the tin?",  # longer than a page of the cache
)
"""Those of vLLM's parity test, whose answers equal transformers' as well: so one engine's tokens are the other's."""
TOKENS = 32


@pytest.fixture(scope="session")
def transformers() -> dict[str, list[list[int]]]:
    """The questions as the pocket GLM is asked them, and what transformers says to them."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("children") / "golden.py"), str(TOKENS)],
        input=json.dumps(QUESTIONS),
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    found: dict[str, list[list[int]]] = json.loads(answers[-1].removeprefix("RESULT "))
    return found


@pytest.fixture(scope="session")
def prompts(transformers: dict[str, list[list[int]]]) -> list[list[int]]:
    """The questions as the pocket GLM is asked them."""
    return transformers["prompts"]


@pytest.fixture(scope="session")
def golden(transformers: dict[str, list[list[int]]]) -> list[list[int]]:
    """What transformers says to them in float32, greedily."""
    return transformers["tokens"]
