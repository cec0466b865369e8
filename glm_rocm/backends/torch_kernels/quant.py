"""FP8 quantisation and decoding in torch. Signatures: `glm_rocm.ops.quant`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from glm_rocm.numerics import E4M3FN, FORMATS, decode_table, expand_blocks, quantize_rows

MANY = 100_000
"""Elements from which a few operations on whole vectors beat the look-up of each."""
TABLES = {dtype: decode_table(dtype, torch.device("cpu")) for dtype in FORMATS}
"""The values of every code: made once, since a decoding layer asks for them as often as for a product."""


def quantize_per_token(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """See `glm_rocm.ops.quant.QuantizePerToken`."""
    return quantize_rows(x, dtype)


def quantize_token_groups(x: Tensor, group: int = 128, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """See `glm_rocm.ops.quant.QuantizeTokenGroups`."""
    tokens, width = x.shape
    groups = -(-width // group)
    padded = pad(x, (0, groups * group - width)).view(tokens, groups, group)
    codes, scale = quantize_rows(padded, dtype or E4M3FN.dtype)
    return codes.view(tokens, groups * group)[:, :width], scale[..., 0]


def quantize_per_channel(w: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
    """See `glm_rocm.ops.quant.QuantizePerChannel`."""
    return quantize_rows(w, dtype or E4M3FN.dtype)


def quantize_blocks(
    w: Tensor, block: tuple[int, int] = (128, 128), dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """See `glm_rocm.ops.quant.QuantizeBlocks`."""
    rows, columns = w.shape[-2:]
    padded = pad(w, (0, -columns % block[1], 0, -rows % block[0]))
    grid = (padded.shape[-2] // block[0], block[0], padded.shape[-1] // block[1], block[1])
    tiled = padded.reshape(*w.shape[:-2], *grid).transpose(-3, -2)  # [..., R, C, b0, b1]
    codes, scale = quantize_rows(tiled.flatten(-2), dtype or E4M3FN.dtype)
    whole = codes.view(tiled.shape).transpose(-3, -2).flatten(-2).flatten(-3, -2)  # [..., R b0, C b1]
    return whole[..., :rows, :columns].contiguous(), scale[..., 0]


def widen(x: Tensor) -> Tensor:
    """Any float tensor as fp32, exactly; see `_widen_bits` and `_widen_by_table` for FP8."""
    if x.dtype not in FORMATS:
        return x.float()
    quick = x.dtype == E4M3FN.dtype and x.device.type == "cpu" and x.numel() >= MANY
    return _widen_bits(x.contiguous()) if quick else _widen_by_table(x.contiguous())


def _widen_bits(x: Tensor) -> Tensor:
    """e4m3fn on a CPU by integer operations on whole vectors: ten times quicker than `.float()`.

    Sign, exponent and mantissa stand in a half as they stand in the code, seven bits further up. The half's exponent
    has a bias of 15 where the code's has 7, so that it reads 2^-8 of the value; subnormal codes become subnormal halves
    and are right as well. Only NaN (0x7f, 0xff) would become a number: one look at the largest bytes finds it.
    """
    if int(x.view(torch.uint8).amax()) == 0xFF or int(x.view(torch.int8).amax()) == 0x7F:
        return _widen_by_table(x)
    sign_exponent_mantissa = -0x4080  # 0xbf80 as a signed 16-bit number: what the sign's copies leave
    half = x.view(torch.int8).to(torch.int16).mul_(1 << 7).bitwise_and_(sign_exponent_mantissa).view(torch.float16)
    return half.float().mul_(2.0**8)


def _widen_by_table(x: Tensor) -> Tensor:
    """Any FP8 format through a table of its 256 values, on a CPU five times quicker than `.float()`."""
    table = TABLES[x.dtype] if x.device.type == "cpu" else decode_table(x.dtype, x.device)
    return table.index_select(0, x.view(torch.uint8).reshape(-1).int()).view(x.shape)


def quantized_rows(x: Tensor, dtype: torch.dtype, quant: str) -> tuple[Tensor, Tensor | None]:
    """Activations ready for a product with FP8 weights: values `[T, K]` fp32 and a factor `[T, 1]` for the result.

    Per token the values are the codes themselves, since one factor serves the whole row; per group of 128 they are
    codes times scale and there is no factor.
    """
    if quant == "channel_token":
        codes, scale = quantize_rows(x, dtype)
        return widen(codes), scale
    codes, scale = quantize_token_groups(x, 128, dtype)
    return widen(codes) * expand_blocks(scale, x.shape[0], x.shape[1], (1, 128)), None
