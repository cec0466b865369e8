"""FP8 linears: vLLM's layer parameters, turned into the op's call. The op quantises the activations itself."""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.kernels.linear.scaled_mm import (
    Fp8BlockScaledMMLinearKernel,
    FP8ScaledMMLinearKernel,
    FP8ScaledMMLinearLayerConfig,
)
from vllm.model_executor.layers.quantization.utils.quant_utils import (
    kFp8Dynamic128Sym,
    kFp8DynamicTokenSym,
    kFp8Static128BlockSym,
    kFp8StaticChannelSym,
)

from glm_rocm.engines.active import active_plan, kernel
from glm_rocm.engines.vllm.ops import linear_op

Support = tuple[bool, str | None]


def _supported() -> Support:
    return (True, None) if active_plan() is not None else (False, "requires an active glm-rocm plan")


def _apply(
    x: torch.Tensor,
    weight: torch.Tensor,  # [N, K]
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    quant: str,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    """The op over the last dimension of `x`: [..., K] -> [..., N]."""
    rows = x.reshape(-1, x.shape[-1])
    if torch.compiler.is_compiling():
        result: torch.Tensor = linear_op(rows, weight, scale, bias, quant, out_dtype)
    else:
        result = kernel("linear")(rows, weight, w_scale=scale, bias=bias, quant=quant, out_dtype=out_dtype)
    return result.view(*x.shape[:-1], weight.shape[0])


class GlmChannelLinear(FP8ScaledMMLinearKernel):  # type: ignore[misc]
    """Weights FP8 per output channel, activations FP8 per token: the GLM-4.5-FP8 checkpoints."""

    @classmethod
    def is_supported(cls, compute_capability: int | None = None) -> Support:
        """While a plan is active; the plan has checked the device."""
        return _supported()

    @classmethod
    def can_implement(cls, c: FP8ScaledMMLinearLayerConfig) -> Support:
        """Channel and token scales, and nothing else."""
        if (c.weight_quant_key, c.activation_quant_key) == (kFp8StaticChannelSym, kFp8DynamicTokenSym):
            return True, None
        return False, "requires weights scaled per channel and activations scaled per token"

    def apply_weights(self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """vLLM hands the weight over transposed, as a [K, N] view; its transpose is the checkpoint's [N, K]."""
        weight, scale, _, _ = self._get_layer_params(layer)
        return _apply(x, weight.t(), scale, bias, "channel_token", self.config.out_dtype)

    def apply_scaled_mm(self, **kwargs: Any) -> torch.Tensor:
        """Never reached: `apply_weights` does not quantise ahead of the kernel."""
        raise NotImplementedError


class GlmBlockLinear(Fp8BlockScaledMMLinearKernel):  # type: ignore[misc]
    """Weights FP8 in 128x128 blocks, activations FP8 per token and group of 128."""

    @classmethod
    def is_supported(cls, compute_capability: int | None = None) -> Support:
        """While a plan is active; the plan has checked the device."""
        return _supported()

    @classmethod
    def can_implement(cls, config: FP8ScaledMMLinearLayerConfig) -> Support:
        """128x128 blocks, and nothing else."""
        if (config.weight_quant_key, config.activation_quant_key) == (kFp8Static128BlockSym, kFp8Dynamic128Sym):
            return True, None
        return False, "requires weights scaled per 128x128 block and activations scaled per group of 128"

    def apply_weights(
        self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """The layer's [N, K] weight with its block scales."""
        params = self._get_layer_params(layer)
        return _apply(x, params.weight, params.block_scale, bias, "block", self.config.out_dtype)

    def apply_block_scaled_mm(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Never reached: `apply_weights` does not quantise ahead of the kernel."""
        raise NotImplementedError
