"""Our Triton kernels' own host code under graph capture: nothing is read back, and where it may, memory is PyTorch's.

What PyTorch allocates while it captures comes from the graph's own pool and stays; only the launch itself is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from glm_rocm_kernels import attention as kernels


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that were launched for sm90, in order; no card runs them."""
    found: list[str] = []

    def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
        found.append(kernel.__name__)

    monkeypatch.setattr(kernels, "launch", launch)
    monkeypatch.setattr(kernels, "current_arch", lambda: "sm90")
    monkeypatch.setattr(kernels, "check_block_table", lambda *args: None)  # looks at tables on the CPU alone
    monkeypatch.setattr(kernels, "check_indices", lambda *args, **options: None)  # and at slots there
    return found


@pytest.mark.parametrize("sequences", [[(1, 30), (1, 700)], [(4, 40), (4, 71)]], ids=["decode", "verify"])
def test_attention_reads_nothing_back(
    attention_case: Callable[..., Any],
    captured: Callable[..., Any],
    launched: list[str],
    sequences: list[tuple[int, int]],
) -> None:
    case = attention_case(sequences, dtype=torch.bfloat16)
    out = torch.zeros_like(case.arguments[0])
    with captured(fixed=False):
        kernels.attention(*case.arguments, **case.options, out=out)
    assert launched[0] == "attend"


def test_the_store_takes_no_memory_either(captured: Callable[..., Any], launched: list[str]) -> None:
    k, v = torch.zeros(2, 3, 1, 128, dtype=torch.bfloat16)
    caches = torch.zeros(2, 4, 16, 1, 128, dtype=torch.bfloat16)
    slots = torch.tensor([5, -1, 63])
    with captured(fixed=True):
        kernels.store_kv(k, v, caches[0], caches[1], slots)
    assert launched == ["store"]
