"""Real servers, started as a person starts them, and the real `openai` client."""

from __future__ import annotations

import ast
import json
import operator
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

KEY = "test-key"
READY_WITHIN_S = 540


class Server:
    """`glm-rocm serve MODEL --port PORT ...` in a process of its own, waited for until it says that it is ready."""

    def __init__(self, folder: Path, model: str, port: int, *flags: str) -> None:
        self.port = port
        self.log = folder / f"port-{port}/engine.log"
        self.stderr = folder / f"serve-{time.monotonic_ns()}.txt"
        command = [sys.executable, "-m", "glm_rocm.cli", "serve", model, "--port", str(port), "--json", *flags]
        variables = {"GLM_ROCM_API_KEY": KEY, "GLM_ROCM_STATE": str(folder)}
        with self.stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True, env={**os.environ, **variables}
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

    @property
    def seconds(self) -> float:
        """From the start to the first completion."""
        return float(self.events[-1]["seconds"])

    def client(self, key: str = KEY) -> OpenAI:
        return OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0, timeout=120)

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
        self.process.communicate(timeout=90)
        return self.process.returncode


class Tools:
    """GLM's four tools, really run: a tiny web of pages and a Python that can only do sums."""

    SCHEMAS = (
        ("python", "Run Python code and return what it prints.", "code", "string"),
        ("browser.search", "Search the web.", "query", "string"),
        ("browser.open", "Open a search result.", "id", "integer"),
        ("browser.find", "Find a text in the open page.", "pattern", "string"),
    )
    PAGES = {  # noqa: RUF012
        "Anna": {"price": "52", "owner": "Tom"},
        "Brimo": {"weight": "317", "color": "green"},
        "Zelka": {"code": "QX4T", "street": "Maple Road"},
    }
    OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}  # noqa: RUF012

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.open_page: str | None = None

    def schemas(self) -> list[dict[str, Any]]:
        return [
            {
                "type": "function",
                "function": {
                    "name": name,
                    "description": description,
                    "parameters": {
                        "type": "object",
                        "properties": {argument: {"type": kind}},
                        "required": [argument],
                    },
                },
            }
            for name, description, argument, kind in self.SCHEMAS
        ]

    def run(self, name: str, arguments: str) -> str:
        """One call as the model made it; what it cannot do it says in words, as tools do."""
        given = json.loads(arguments)
        self.calls.append((name, given))
        try:
            return str(getattr(self, name.replace(".", "_"))(**given))
        except (ValueError, SyntaxError, LookupError, TypeError) as error:
            return f"error: {error}"

    def python(self, code: str) -> str:
        inside = re.fullmatch(r"\s*print\((.*)\)\s*", code)
        return str(self._value(ast.parse(inside[1] if inside else code, mode="eval").body))

    def _value(self, node: ast.expr) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in self.OPERATORS:
            return int(self.OPERATORS[type(node.op)](self._value(node.left), self._value(node.right)))
        raise ValueError(f"only sums of whole numbers, not {ast.dump(node)}")

    def browser_search(self, query: str) -> str:
        titles = list(self.PAGES)
        hits = [title for title in titles if title.lower() in query.lower()] or titles
        others = [title for title in titles if title not in hits][:1]
        return "\n".join(f"[{titles.index(title) + 1}] {title}" for title in [*others, *hits])

    def browser_open(self, id: int) -> str:
        self.open_page = list(self.PAGES)[id - 1]
        return f"A page about {self.open_page}."

    def browser_find(self, pattern: str) -> str:
        facts = self.PAGES.get(self.open_page or "", {})
        return f"The {pattern} is {facts[pattern]}." if pattern in facts else f"no {pattern} here"


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def pocket(server_folder: Path) -> Iterator[Server]:
    """The pocket GLM as `glm-rocm serve` serves it by default, behind a key."""
    server = Server(server_folder, "pocket", 18210)
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="session")
def start_server() -> type[Server]:
    return Server


@pytest.fixture
def client(pocket: Server) -> OpenAI:
    return pocket.client()


@pytest.fixture
def model(pocket: Server) -> str:
    return pocket.model


@pytest.fixture
def tools() -> Tools:
    return Tools()
