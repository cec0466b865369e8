"""FP8 linears: SGLang's layer parameters, turned into the op's call. The op quantises the activations itself."""

from __future__ import annotations

from typing import Any

import torch

from glm_rocm.engines.active import kernel


def apply_fp8(
    original: Any, method: Any, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Around `Fp8LinearMethod.apply`: checkpoints with 128x128 blocks, weight [N, K]."""
    if list(method.quant_config.weight_block_size or ()) != [128, 128]:
        raise NotImplementedError("FP8 linears of this kind are scaled in 128x128 blocks")
    return _apply(x, layer.weight, layer.weight_scale_inv, bias, "block")


def apply_compressed(
    original: Any, scheme: Any, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Around `CompressedTensorsW8A8Fp8.apply_weights`: the GLM-4.5-FP8 checkpoints, per channel and token."""
    if scheme.weight_block_size is not None:
        return _apply(x, layer.weight, layer.weight_scale, bias, "block")
    if scheme.strategy != "channel" or scheme.is_static_input_scheme:
        raise NotImplementedError("FP8 linears of this kind are scaled per channel, their activations per token")
    # SGLang keeps the weight as a transposed [K, N] view; its transpose is the checkpoint's [N, K].
    return _apply(x, layer.weight.t(), layer.weight_scale, bias, "channel_token")


def _apply(
    x: torch.Tensor,
    weight: torch.Tensor,  # [N, K]
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    quant: str,
) -> torch.Tensor:
    """The op over the last dimension of `x`: [..., K] -> [..., N]."""
    rows = x.reshape(-1, x.shape[-1])
    found: torch.Tensor = kernel("linear")(rows, weight, w_scale=scale, bias=bias, quant=quant)
    return found.view(*x.shape[:-1], weight.shape[0])
