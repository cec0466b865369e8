"""Real servers, started as a person starts them, and the real `openai` client."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from served import Server

OLD_VARIABLES = {"VLLM_ATTENTION_BACKEND": "XFORMERS", "TORCH_CUDA_ARCH_LIST": "9.0+PTX"}
"""What GLM's README of 2025 has people set."""


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def pocket(server_folder: Path) -> Iterator[Server]:
    """The pocket GLM as `glm-rocm serve` serves it by default, behind a key, with yesterday's variables set."""
    server = Server(server_folder, "pocket", 18210, **OLD_VARIABLES)
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
