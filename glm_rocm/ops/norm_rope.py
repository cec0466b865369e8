"""Per-head RMS norm of queries and keys (355B models), then rotary embedding of the first `rotary_dim` dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NormRopeProblem:
    """QK norm and rope at their per-rank shape; rotary_dim is half of head_dim for GLM."""

    heads: int
    kv_heads: int
    head_dim: int
    rotary_dim: int
    qk_norm: bool
    dtype: str

    @property
    def op(self) -> str:
        return "norm_rope"

    def describe(self) -> str:
        norm = "QK norm and rope" if self.qk_norm else "rope"
        return f"{norm} on {self.rotary_dim} of {self.head_dim}, {self.heads}/{self.kv_heads} heads, {self.dtype}"


class NormRope(Protocol):
    """The call of op `norm_rope`."""

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        positions: Tensor,
        cos_sin: Tensor,
        *,
        q_weight: Tensor | None = None,
        k_weight: Tensor | None = None,
        eps: float,
    ) -> tuple[Tensor, Tensor]:
        """Norm each head where a weight is given, then rotate.

        Args:
            q: `[T, Hq, D]`, strided.
            k: `[T, Hkv, D]`, strided.
            positions: `[T]` int64 or int32.
            cos_sin: `[max_position, rotary_dim]`, the cosines of the rotary_dim / 2 angles, then their sines; NeoX
                pairing (dimension i with i + rotary_dim / 2).
            q_weight, k_weight: `[D]` RMS norm weights shared by all heads; None where the model has no QK norm (Air).
            eps: added to the mean square.

        Returns:
            New q `[T, Hq, D]` and k `[T, Hkv, D]` of the inputs' dtypes (fp32 from the reference).
        """
        ...
