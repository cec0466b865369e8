"""Decode and verify of our vLLM adapter as under graph capture, on a machine without a card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BOOK = Path(__file__).parents[2] / "backends" / "cuda" / "conftest.py"
MODEL = "zai-org/GLM-4.6"


def test_steps_of_flashinfer_take_no_memory_and_read_nothing_back(
    child: Callable[..., Any], plan_for: Callable[..., Path]
) -> None:
    found = child("captured", str(BOOK), plan=plan_for(MODEL, target="h100:8"))
    for step in ("decode", "replay", "verify"):
        assert found[step] < 5e-5, step
    assert found["wrappers"] == 2, "decode has one, filled anew by the replay's plan; verify has the other"
    assert found["support"] == {
        "as planned": "UNIFORM_BATCH",
        "cuda.attention": "ALWAYS",
        "cuda.xformers_attention": "NEVER",
        "cpu.attention": "NEVER",
    }
