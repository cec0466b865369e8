"""GLM's mixture of experts: `route` picks the experts of each token, `experts` runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RouteProblem:
    """Routing: E experts in n_group groups, of which topk_group stay; top_k experts per token."""

    experts: int
    top_k: int
    n_group: int
    topk_group: int

    @property
    def op(self) -> str:
        return "moe.route"

    def describe(self) -> str:
        groups = "" if self.n_group == 1 else f" in {self.topk_group} of {self.n_group} groups"
        return f"routing to {self.top_k} of {self.experts} experts{groups}"


@dataclass(frozen=True)
class ExpertsProblem:
    """The routed experts at their per-rank shape.

    Attributes:
        experts: E on this rank.
        top_k: K experts per token.
        hidden: H.
        intermediate: N per rank (192 for GLM-4.6 at TP 8, 176 for Air).
        dtype: of activations and result.
        quant: `none`; `channel_token` (FP8 weight scale per output channel, activation scale per token); `block`.
        block: rows and columns of a weight block, None unless quant is `block`.
    """

    experts: int
    top_k: int
    hidden: int
    intermediate: int
    dtype: str
    quant: str
    block: tuple[int, int] | None = None

    @property
    def op(self) -> str:
        return "moe.experts"

    def describe(self) -> str:
        schemes = {"none": "", "channel_token": ", FP8 per channel and token"}
        scheme = schemes.get(self.quant, f", FP8 blocks {self.block}")
        shape = f"E={self.experts} top-{self.top_k} H={self.hidden} N={self.intermediate}"
        return f"experts {shape}, {self.dtype}{scheme}"


class Route(Protocol):
    """The call of op `moe.route`."""

    def __call__(
        self,
        logits: Tensor,
        bias: Tensor,
        *,
        top_k: int,
        n_group: int = 1,
        topk_group: int = 1,
        normalize: bool = True,
        scale: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Sigmoid routing with a correction bias that chooses and never weighs (transformers, Glm4MoeTopkRouter).

        s = sigmoid(logits); choose the top_k of s + bias among the topk_group groups whose two best sum highest;
        weights are the unbiased s of the chosen, divided by (their sum + 1e-20) where `normalize`, times `scale`
        exactly once.

        Args:
            logits: `[T, E]` fp32.
            bias: `[E]` fp32 (`e_score_correction_bias`); never rounded to bf16, which flips choices; may be negative.

        Returns:
            ids `[T, top_k]` int32 in falling order of s + bias, the lower id first among equals, and weights
            `[T, top_k]` fp32.
        """
        ...


class Experts(Protocol):
    """The call of op `moe.experts`."""

    def __call__(
        self,
        x: Tensor,
        w13: Tensor,
        w2: Tensor,
        ids: Tensor,
        weights: Tensor,
        *,
        w13_scale: Tensor | None = None,
        w2_scale: Tensor | None = None,
        quant: str = "none",
        expert_map: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Sum over a token's experts of weight * (w2 (silu(gate) * up)).

        Args:
            x: `[T, H]`, strided.
            w13: `[E, 2N, H]`, rows 0:N the gate, N:2N the up projection; of x's dtype, or FP8.
            w2: `[E, H, N]`.
            ids: `[T, K]` int32 or int64.
            weights: `[T, K]` fp32, applied after w2.
            w13_scale, w2_scale: fp32. channel_token: `[E, 2N, 1]` and `[E, H, 1]`. block:
                `[E, 2 ceil(N/128), ceil(H/128)]` and `[E, ceil(H/128), ceil(N/128)]`; a checkpoint quantises gate and
                up apart, so the up projection's blocks begin anew at row N, whether or not 128 divides it.
            quant: `none`, `channel_token` or `block`. Activations are really quantised, before either product: one
                scale per token, or one per token and 128 columns for `block`.
            expert_map: `[E_global]` int32, the local number of a global id or -1 for an expert on another rank, which
                then adds nothing. None: ids are local. Negative ids add nothing either way.
            out: `[T, H]` to write to.

        Returns:
            `[T, H]` of x's dtype (fp32 from the reference), `out` where given. A row of NaN spoils no other row.
        """
        ...


class PrepareExperts(Protocol):
    """The call that a module with an experts kernel may offer beside it as `prepare_experts`, for a kernel that wants
    the weights otherwise arranged than a checkpoint has them. `experts_prepared` of that module, with the signature of
    `Experts`, then takes what it has arranged."""

    def __call__(self, w13: Tensor, w13_scale: Tensor | None) -> None:
        """Arrange in place, once after loading and again after each change of the weights.

        Args:
            w13, w13_scale: as `Experts` takes them.
        """
        ...
