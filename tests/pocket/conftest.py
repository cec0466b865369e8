"""What the pocket GLM's tests share: an instance small enough to train in a blink, and the shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glm_rocm.pocket import checkpoint_path
from glm_rocm.pocket.config import PocketConfig

TINY = PocketConfig(
    hidden_size=64, num_layers=3, num_heads=4, head_dim=32, dense_size=96, expert_size=48, num_experts=4
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> PocketConfig:
    return TINY


@pytest.fixture
def shipped() -> Path:
    return checkpoint_path()
