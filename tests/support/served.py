"""A real server, started as a person starts it, for the tests that ask one with the real `openai` client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from openai import OpenAI

EXAMPLES = Path(__file__).parents[2] / "examples"
KEY = "test-key"


class Server:
    """`glm-rocm serve MODEL --port PORT ...` in a process of its own, waited for until it says that it is ready."""

    READY_WITHIN_S: ClassVar[float] = 540
    STOPPED_WITHIN_S: ClassVar[float] = 90

    def __init__(self, folder: Path, model: str, port: int, *flags: str, **more: str) -> None:
        self.port = port
        self.log = folder / f"port-{port}/engine.log"
        self.stderr = folder / f"serve-{time.monotonic_ns()}.txt"
        command = [sys.executable, "-m", "glm_rocm.cli", "serve", model, "--port", str(port), "--json", *flags]
        variables = {"GLM_ROCM_API_KEY": KEY, "GLM_ROCM_STATE": str(folder), **more}
        with self.stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env={**os.environ, **variables}
            )
        self.events: list[dict[str, Any]] = []
        watchdog = threading.Timer(self.READY_WITHIN_S, self.process.terminate)
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

    @property
    def seconds(self) -> float:
        """From the start to the first completion."""
        return float(self.events[-1]["seconds"])

    def client(self, key: str = KEY) -> OpenAI:
        return OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0, timeout=120)

    def run_example(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A program of examples/ against this server."""
        place = {"OPENAI_BASE_URL": f"http://127.0.0.1:{self.port}/v1", "OPENAI_API_KEY": KEY}
        command = [sys.executable, str(EXAMPLES / name), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **place})

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
        self.process.communicate(timeout=self.STOPPED_WITHIN_S)
        return self.process.returncode
