"""The pocket GLM: a real Glm4MoeForCausalLM, small enough to ship, that knows something."""

from __future__ import annotations

from pathlib import Path


def checkpoint_path() -> Path:
    """The folder of the shipped checkpoint, to be given to an engine as its model."""
    return Path(__file__).with_name("checkpoint")
