"""FP8 quantisation, group by group. Signatures: `glm_rocm.ops.quant`."""

from __future__ import annotations

import torch
from torch import Tensor

from glm_rocm.numerics import E4M3FN, quantize_rows


def quantize_per_token(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """See `glm_rocm.ops.quant.QuantizePerToken`."""
    return quantize_rows(x, dtype)


def quantize_token_groups(x: Tensor, group: int = 128, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """See `glm_rocm.ops.quant.QuantizeTokenGroups`."""
    parts = [quantize_rows(part, dtype or E4M3FN.dtype) for part in torch.split(x, group, -1)]
    return torch.cat([codes.view(torch.uint8) for codes, _ in parts], -1).view(dtype or E4M3FN.dtype), torch.cat(
        [scale for _, scale in parts], -1
    )


def quantize_per_channel(w: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """See `glm_rocm.ops.quant.QuantizePerChannel`."""
    return quantize_rows(w, dtype or E4M3FN.dtype)


def quantize_blocks(
    w: Tensor, block: tuple[int, int] = (128, 128), dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """See `glm_rocm.ops.quant.QuantizeBlocks`."""
    rows, columns = w.shape[-2:]
    codes = torch.empty(w.shape, dtype=dtype or E4M3FN.dtype, device=w.device)
    scale = torch.empty(
        *w.shape[:-2], -(-rows // block[0]), -(-columns // block[1]), dtype=torch.float32, device=w.device
    )
    for i in range(scale.shape[-2]):
        for j in range(scale.shape[-1]):
            tile = (..., slice(i * block[0], (i + 1) * block[0]), slice(j * block[1], (j + 1) * block[1]))
            part, part_scale = quantize_rows(w[tile].flatten(-2), codes.dtype)
            codes[tile] = part.view(w[tile].shape)
            scale[..., i, j] = part_scale[..., 0]
    return codes, scale
