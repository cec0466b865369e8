"""One call of one kernel at one M, and the checks that every op shares."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glm_rocm.numerics import calc_diff, max_abs
from glm_rocm.ops.kernel import Kernel
from glm_rocm.validate.gates import kernel_limits
from glm_rocm.validate.results import Check, check

NAN = float("nan")
MEANINGFUL = 16
"""Tokens from which on a mean over them is held to a gate."""


@dataclass(frozen=True)
class Trial:
    """What is called and how.

    Attributes:
        problem: the op at its shape.
        m: tokens.
        stress: `plain`, or one of the op's other inputs.
        kernel: the declaration, for its tolerance; `run` is what it loads.
        fp8: the FP8 format that the target multiplies.
        device: where the tensors go.
        context: cached tokens of the longest sequence.
        repeat: call twice and compare bits.
        seed: of the numbers.
    """

    problem: Any
    m: int
    stress: str
    kernel: Kernel
    run: Callable[..., Any]
    fp8: torch.dtype
    device: torch.device
    context: int = 1030
    repeat: bool = True
    seed: int = 0

    @property
    def random(self) -> torch.Generator:
        """The same numbers on every target and for every kernel of the op."""
        return torch.Generator().manual_seed(zlib.crc32(f"{self.problem}/{self.stress}/{self.m}/{self.seed}".encode()))

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = getattr(torch, self.problem.dtype)
        return found

    def call(self, *arguments: Any, **options: Any) -> Any:
        """The kernel on the device; results back on the CPU."""
        moved = [there(value, self.device) for value in arguments]
        named = {name: there(value, self.device) for name, value in options.items()}
        found = self.run(*moved, **named)
        return tuple(x.cpu() for x in found) if isinstance(found, tuple) else found.cpu()

    def parity(self, got: Tensor, want: Tensor, kind: str, *, rows: int | None = None, part: str = "") -> list[Check]:
        """The kernel's own error over the first `rows` tokens: finite, calc_diff and largest element of the worst."""
        rows = got.shape[0] if rows is None else rows
        found, right = got[:rows], want[:rows]
        if found.shape != right.shape:
            return [check("finite", NAN, where=f"shape {tuple(got.shape)}, reference {tuple(want.shape)}")]
        bad = ~torch.isfinite(found.reshape(rows, -1).float()).all(-1)
        first = f"token {int(bad.nonzero()[0])} of {rows}" if bool(bad.any()) else ""
        checks = [check("finite", int(bad.sum()), where=join(part, first))]
        diff_limit, largest_limit = kernel_limits(self.kernel, kind)
        where, diff = worst(calc_diff(found, right))
        checks.append(check(f"same_bits.{kind}", diff, limit=diff_limit, where=join(part, where)))
        where, diff = worst(max_abs(found, right))
        checks.append(check("largest", diff, limit=largest_limit, where=join(part, where)))
        return checks

    def repeats(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> Check:
        """Two equal calls give equal bits."""
        different = sum(int((bits(a) != bits(b)).sum()) for a, b in zip(first, second, strict=True))
        return check("repeat", different)


def format_error(gate: str, got: Tensor, plain: Tensor) -> list[Check]:
    """The format's error: a kernel's FP8 result against the reference on BF16 weights, the worst token and the mean."""
    values = calc_diff(got, plain)
    where, diff = worst(values)
    checks = [check(gate, diff, where=where)]
    if len(values) >= MEANINGFUL:
        checks.append(check("format.mean", float(values.mean())))
    return checks


def worst(values: Tensor) -> tuple[str, float]:
    """The worst token in words, and its figure; NaN is the worst of all."""
    if values.numel() == 0:
        return "", 0.0
    index = int(torch.where(values.isnan(), float("inf"), values).argmax())
    return f"token {index} of {values.shape[0]}", float(values[index])


def join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def bits(x: Tensor) -> Tensor:
    """The bit patterns: NaN equals itself, -0 does not equal 0."""
    return x.contiguous().view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])


def there(x: Any, device: torch.device) -> Any:
    """A tensor on the device with its strides and the memory between its elements, which `.to` would drop."""
    if not isinstance(x, Tensor) or x.device == device:
        return x
    whole = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage()).to(device)
    return whole.as_strided(x.shape, x.stride(), x.storage_offset())


def strided_rows(rows: Tensor) -> Tensor:
    """The same `[T, K]` as a view whose neighbours are NaN."""
    wide = torch.full((rows.shape[0], rows.shape[1] + 16), NAN, dtype=rows.dtype)
    view = wide[:, 8:-8]
    return view.copy_(rows)


def activations(trial: Trial, width: int, *, rows: int | None = None) -> Tensor:
    """`[M, width]`: tokens of different sizes; `outliers` has a huge channel, a row of zeros and a tiny row."""
    random, m = trial.random, trial.m if rows is None else rows
    x = torch.randn(m, width, generator=random) * 2.0 ** torch.randint(-2, 2, (m, 1), generator=random)
    if trial.stress == "outliers":
        x[:, width // 3] *= 300.0
        x[1] = 0.0
        x[2] *= 1e-16  # flashinfer 2595: the scale of such a row underflows
    return strided_rows(x.to(trial.dtype))
