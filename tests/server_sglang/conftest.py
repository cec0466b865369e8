"""Real SGLang servers, started as a person starts them, asked by the real `openai` client and by SGLang's own route.

Without SGLang (in vLLM's environment) nothing of this folder is collected: `make test-sglang` runs it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import served

if importlib.util.find_spec("sglang") is None:
    collect_ignore_glob = ["test_*.py"]

PORT = 31010


class Server(served.Server):
    """A server of the engine that is under test, always on the same port."""

    READY_WITHIN_S = 580
    STOPPED_WITHIN_S = 120

    def __init__(self, folder: Path, model: str, *flags: str) -> None:
        super().__init__(folder, model, PORT, "--engine", "sglang", *flags)

    def generate(self, prompts: list[list[int]], tokens: int, **options: Any) -> list[dict[str, Any]]:
        """SGLang's own route: greedy tokens of these token ids, whatever the model would end with."""
        sampling = {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}
        body = json.dumps({"input_ids": prompts, "sampling_params": sampling, **options}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {served.KEY}"}
        request = urllib.request.Request(f"http://127.0.0.1:{PORT}/generate", body, headers)
        with urllib.request.urlopen(request, timeout=300) as response:
            answers: list[dict[str, Any]] = json.loads(response.read())
        return answers


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
