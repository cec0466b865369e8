"""Servers for the server level, started as a person starts them and stopped afterwards."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from glm_rocm.errors import EngineError
from glm_rocm.validate.server import Server

READY_S = 1800.0
"""Until the first completion: a large checkpoint is read from disk first."""
STOP_S = 60.0
LAST = 300
"""Characters of a failed command's error that are repeated."""


@contextmanager
def started(model: str, *, stock: bool = False) -> Iterator[Server]:
    """`glm-rocm serve MODEL`, for as long as the context lasts; with `stock`, the engine alone beside it.

    Raises:
        EngineError: one did not become ready; carries its own last words.
    """
    with ExitStack() as stack:
        url = stack.enter_context(serving(model))
        yield Server(url, stack.enter_context(serving(model, "--stock")) if stock else "")


@contextmanager
def serving(model: str, *flags: str) -> Iterator[str]:
    """The address of `glm-rocm serve MODEL FLAGS` on a free port of this machine.

    Raises:
        EngineError: it did not become ready; carries its own last words.
    """
    with tempfile.TemporaryDirectory(prefix="glm-rocm-validate-") as folder:
        port = free_port()
        words = [sys.executable, "-m", "glm_rocm.cli", "serve", model, *flags, "--port", str(port), "--json"]
        told = Path(folder) / "stderr.txt"
        with told.open("w") as stderr:
            process = subprocess.Popen(
                [*words, "--state", folder], stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True
            )
        watchdog = threading.Timer(READY_S, process.terminate)
        watchdog.start()
        try:
            if not _ready(process):
                last = _last_words(told.read_text(encoding="utf-8", errors="replace"))
                raise EngineError(
                    f"`glm-rocm serve {model}` did not become ready: {last or 'it said nothing'}",
                    required="a server that answers",
                    hint=f"glm-rocm serve {model}, then `glm-rocm validate {model} --url http://127.0.0.1:8000`",
                )
            yield f"http://127.0.0.1:{port}"
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _ready(process: subprocess.Popen[str]) -> bool:
    """Read the supervisor's events up to the one that says that a completion succeeded."""
    assert process.stdout is not None
    for line in process.stdout:
        try:
            event = json.loads(line)["event"]
        except (ValueError, KeyError, TypeError):
            continue
        if event == "ready":
            return True
    return False


def _last_words(text: str) -> str:
    """The error of a command that failed, in one line."""
    _, _, error = text.rpartition("error: ")
    return " ".join(error.partition("hint:")[0].split())[:LAST]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
