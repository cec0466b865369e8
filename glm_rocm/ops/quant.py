"""FP8 quantisation of activations and weights: `codes * scale` gives the values back; scales are fp32, never zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class QuantProblem:
    """Quantising activations of `width` columns: `channel_token` (a scale per token), `block` (and per 128 columns)."""

    width: int
    dtype: str
    scheme: str

    @property
    def op(self) -> str:
        return "quant"

    def describe(self) -> str:
        unit = "token" if self.scheme == "channel_token" else "token and 128 columns"
        return f"FP8 quantisation per {unit}, width {self.width}, from {self.dtype}"


class QuantizePerToken(Protocol):
    """The call of op `quant`, scheme `channel_token`."""

    def __call__(self, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """x `[T, K]` -> codes `[T, K]` of an FP8 dtype and scale `[T, 1]`, max|row| / 448 (fn) or / 224 (fnuz)."""
        ...


class QuantizeTokenGroups(Protocol):
    """The call of op `quant`, scheme `block`."""

    def __call__(self, x: Tensor, group: int = 128, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """x `[T, K]` -> codes `[T, K]` and scale `[T, ceil(K / group)]`; the last group may be short."""
        ...


class QuantizePerChannel(Protocol):
    """Weights with one scale per output channel."""

    def __call__(self, w: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """w `[..., N, K]` -> codes `[..., N, K]` (e4m3fn unless told) and scale `[..., N, 1]`."""
        ...


class QuantizeBlocks(Protocol):
    """Weights with one scale per block of rows and columns."""

    def __call__(
        self, w: Tensor, block: tuple[int, int] = (128, 128), dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """w `[..., N, K]` -> codes of its shape, scale `[..., ceil(N/b0), ceil(K/b1)]`; edge blocks may be short."""
        ...
