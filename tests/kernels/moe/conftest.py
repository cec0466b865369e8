"""Experts calls that break grouped products: NaN beside every row, experts without a token, odd widths."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.backends.declare import EXACT
from glm_rocm.numerics import compare
from glm_rocm.ops.kernel import Tolerance
from glm_rocm.reference import quant as reference_quant
from glm_rocm.reference.moe import experts as reference
from glm_rocm_kernels import moe as module
from glm_rocm_kernels.moe import experts
from glm_rocm_kernels.moe_details import _align

FP8 = Tolerance(calc_diff=1e-3, max_abs=1e-1)


@dataclass(frozen=True)
class MoeCase:
    """The arguments of one experts call."""

    x: Tensor
    w13: Tensor
    w2: Tensor
    ids: Tensor
    weights: Tensor
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        return self.x, self.w13, self.w2, self.ids, self.weights

    @property
    def tolerance(self) -> Tolerance:
        return EXACT[str(self.x.dtype).removeprefix("torch.")] if self.options["quant"] == "none" else FP8

    def want(self, **options: Any) -> Tensor:
        """The reference's result, fp32 on the CPU."""
        named = {**self.options, **options}
        on_cpu = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in named.items()}
        return reference(*(argument.cpu() for argument in self.arguments), **on_cpu)

    def hold(self, **options: Any) -> Tensor:
        """The kernel's result, held against the reference on the same bits."""
        got = experts(*self.arguments, **{**self.options, **options})
        assert got.dtype == self.x.dtype
        compare(got.cpu(), self.want(**options), self.tolerance, label="experts")
        return got

    def changed(self, **changes: Any) -> MoeCase:
        return replace(self, **changes)


def quantize(w: Tensor, quant: str, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """A weight in a scheme, by the reference."""
    if quant == "none":
        return w, None
    if quant == "channel_token":
        return reference_quant.quantize_per_channel(w, dtype)
    return reference_quant.quantize_blocks(w, (128, 128), dtype)


def quantize_pair(w13: Tensor, quant: str, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Gate and up quantised apart, as a checkpoint holds them, then one below the other."""
    (gate, gate_scale), (up, up_scale) = (quantize(part, quant, dtype) for part in w13.chunk(2, 1))
    if gate_scale is None or up_scale is None:
        return w13, None
    bits = torch.cat([gate.view(torch.uint8), up.view(torch.uint8)], 1)
    return bits.view(dtype), torch.cat([gate_scale, up_scale], 1)


@pytest.fixture
def moe_case(target: Any, device: torch.device) -> Callable[..., MoeCase]:
    """Build an experts call on the target. Channels, blocks and rows differ in size, so that no scale can stand for
    another; x is a view whose neighbours are NaN."""

    def build(
        tokens: int,
        *,
        experts: int = 160,
        top_k: int = 8,
        hidden: int = 128,
        intermediate: int = 192,
        dtype: torch.dtype = torch.bfloat16,
        quant: str = "none",
        seed: int = 0,
    ) -> MoeCase:
        random = torch.Generator().manual_seed(seed)
        w13 = torch.randn(experts, 2 * intermediate, hidden, generator=random) / hidden**0.5
        w2 = torch.randn(experts, hidden, intermediate, generator=random) / intermediate**0.5
        if quant != "none":
            w13 *= 2.0 ** torch.randint(-2, 3, (experts, 2 * intermediate, 1), generator=random)
            w2 *= 2.0 ** torch.randint(-2, 3, (experts, hidden, 1), generator=random)
        codes13, scale13 = quantize_pair(w13.to(dtype), quant, target.fp8)
        codes2, scale2 = quantize(w2.to(dtype), quant, target.fp8)
        x = torch.full((tokens, hidden + 8), float("nan"), dtype=dtype)[:, 4 : 4 + hidden]
        sizes = 2.0 ** torch.randint(-2, 2, (tokens, 1), generator=random)
        x.copy_(torch.randn(tokens, hidden, generator=random) * sizes)
        ids = torch.rand(tokens, experts, generator=random).argsort(-1)[:, :top_k].int()
        weights = torch.rand(tokens, top_k, generator=random)
        there = [value if value is None else value.to(device) for value in (scale13, scale2)]
        options = {"w13_scale": there[0], "w2_scale": there[1], "quant": quant}
        return MoeCase(*(value.to(device) for value in (x, codes13, codes2, ids, weights)), options)

    return build


@pytest.fixture
def plant_in_alignment(
    plant: Callable[[Any, str, str, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str, str, str], None]:
    """Plant a fault in `_align`, for one of the two kernels that are built on it."""

    def change(kernel: str, right: str, wrong: str) -> None:
        source = Path(inspect.getfile(_align)).read_text(encoding="utf-8")
        assert right in source, f"_align.py has changed: nothing to plant `{wrong}` in place of"
        file = tmp_path / "faulty_align.py"
        file.write_text(source.replace(right, wrong), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        faulty = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, faulty)
        spec.loader.exec_module(faulty)
        plant(module, kernel, f"from {_align.__name__} import", f"from {file.stem} import")

    return change
