"""What a corpus kernel is: a Triton kernel, its arguments, and what its results must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

BOTH = ("gfx942", "gfx950")
FP8 = {"gfx942": torch.float8_e4m3fnuz, "gfx950": torch.float8_e4m3fn}
BF8 = {"gfx942": torch.float8_e5m2fnuz, "gfx950": torch.float8_e5m2}


@dataclass(frozen=True)
class Case:
    """One launch.

    Attributes:
        name: what it stresses.
        kernel: the `triton.jit` function.
        grid: workgroups.
        arguments: for an arch, the positional arguments; tensors on the CPU.
        check: is given the arguments after the launch, and the arch; asserts.
        options: constexprs and compile options.
        archs: where it makes sense.
    """

    name: str
    kernel: Any
    grid: tuple[int, ...]
    arguments: Callable[[str], list[Any]]
    check: Callable[[list[Any], str], None]
    options: dict[str, Any] = field(default_factory=dict)
    archs: tuple[str, ...] = BOTH


def close(found: torch.Tensor, expected: torch.Tensor, relative: float, absolute: float = 0.0) -> None:
    """Assert that the worst element differs by at most relative * |expected| + absolute; NaN equals NaN."""
    found, expected = found.double(), expected.double()
    assert torch.equal(found.isnan(), expected.isnan())
    same = (found == expected) | expected.isnan()
    error = torch.where(same, 0.0, (found - expected).abs() - relative * expected.abs() - absolute)
    worst = int(error.argmax())
    assert error.max() <= 0, f"[{worst}]: {found.flatten()[worst]} for {expected.flatten()[worst]}"


def equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Assert that all elements are the same."""
    different = (found != expected).flatten().nonzero().flatten()
    assert len(different) == 0, (
        f"{len(different)} differ, first [{int(different[0])}]: "
        f"{found.flatten()[different[0]]} for {expected.flatten()[different[0]]}"
    )
