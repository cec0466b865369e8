"""`glm-rocm serve --emulate`: a real vLLM whose attention and experts run as MI300X's or MI350's machine code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
QUESTIONS = ("What is 12 + 30?", "What is 45 + 6?", "Who are you?")


def answers(server: Any, **more: Any) -> list[str]:
    """Greedy answers without thinking, one after the other."""
    client = server.client()
    found = []
    for question in QUESTIONS:
        done = client.chat.completions.create(
            model=server.model,
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=24,
            extra_body={"chat_template_kwargs": {"enable_thinking": False}},
            **more,
        )
        found.append(done.choices[0].message.content)
    return found


@pytest.fixture(scope="module")
def plain(start_server: Any, server_folder: Path) -> Iterator[Any]:
    """The same model and dtype on the CPU backend's torch kernels."""
    server = start_server(server_folder, "pocket", 18231, "--dtype", "float32")
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize(("card", "port"), [("gfx942", 18232), ("gfx950", 18233)])
def test_machine_code_gives_the_cpus_tokens(
    card: str, port: int, plain: Any, start_server: Any, server_folder: Path
) -> None:
    server = start_server(server_folder, "pocket", port, "--emulate", card, "--dtype", "float32")
    try:
        assert answers(server) == answers(plain)
    finally:
        assert server.stop() == 0
