"""The planted faults are importable as `planted`; a machine and a model that every test shares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from glm_rocm.model import load_spec
from glm_rocm.model.spec import ModelSpec
from glm_rocm.validate.machine import Machine, machine

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small lose more to a second thread than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def cpu() -> Machine:
    return machine("cpu")


@pytest.fixture(scope="session")
def pocket() -> ModelSpec:
    return load_spec("pocket")
