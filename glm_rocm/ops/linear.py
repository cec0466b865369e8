"""A linear layer, plain or FP8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class LinearProblem:
    """A linear layer at its per-rank shape: K = in_features, N = out_features; quant as in ExpertsProblem."""

    in_features: int
    out_features: int
    dtype: str
    quant: str

    @property
    def op(self) -> str:
        return "linear"

    def describe(self) -> str:
        scheme = {"none": "", "channel_token": ", FP8 per channel and token"}.get(self.quant, ", FP8 blocks")
        return f"linear {self.in_features} -> {self.out_features}, {self.dtype}{scheme}"


class Linear(Protocol):
    """The call of op `linear`."""

    def __call__(
        self,
        x: Tensor,
        w: Tensor,
        *,
        w_scale: Tensor | None = None,
        bias: Tensor | None = None,
        quant: str = "none",
        out_dtype: torch.dtype | None = None,
    ) -> Tensor:
        """`x @ w.T + bias`, accumulated in fp32.

        Args:
            x: `[T, K]`, strided.
            w: `[N, K]`, strided (a transposed `[K, N]` is fine); of x's dtype, or FP8.
            w_scale: fp32. channel_token: `[N, 1]`; block: `[ceil(N/128), ceil(K/128)]`.
            bias: `[N]`, added in fp32 before the one rounding.
            quant: `none`, `channel_token` or `block`; x is really quantised, per token or per token and 128 columns.
            out_dtype: of the result; None: x's dtype (fp32 from the reference).

        Returns:
            `[T, N]`.
        """
        ...
