"""Quantise one shard into one shard: FP8 codes and scales for what the layout names, the rest as it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glm_rocm import numerics
from glm_rocm.backends.torch_kernels.quant import widen
from glm_rocm.errors import CheckpointError
from glm_rocm.quantize.layout import BLOCK, Scheme, is_quantized, scale_name
from glm_rocm.quantize.source import Shard


@dataclass(frozen=True)
class ShardResult:
    """What became of one shard.

    Attributes:
        tensors: name and size in bytes of every tensor written.
        quantized: how many weights became FP8.
        worst_error: the largest relative RMS error among them, `|w - dequantised| / |w|`; about 0.026 for a Gaussian.
        worst_tensor: the weight it belongs to; empty where none was quantised.
        most_flushed: the largest share of one weight's nonzero values that became 0: what a huge value, which hides in
            a norm, does to its neighbours under one scale.
        flushed_tensor: the weight it belongs to; empty where none was quantised.
    """

    tensors: dict[str, int]
    quantized: int
    worst_error: float
    worst_tensor: str
    most_flushed: float
    flushed_tensor: str


def quantize_weight(weight: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """FP8 codes `[N, K]` (float8_e4m3fn) and F32 scales (`[N, 1]`, or one per 128x128 block) of a weight `[N, K]`.

    The scale is max|w| / 448 rounded up to a bf16 number: readers that keep scales in bf16 (transformers) then see the
    same value as those that keep them in fp32 (vLLM), and the 0.8% that it may be larger costs no precision.
    A row or block of zeros gets codes 0 and a finite scale; one with NaN or infinity gets a scale that is not finite.
    """
    largest = _largest(weight.float().abs(), scheme)
    scale = _up_to_bf16((largest / numerics.E4M3FN.quant_max).clamp_min(numerics.MIN_SCALE))
    return (weight.float() / _spread(scale, weight.shape)).to(numerics.E4M3FN.dtype), scale


def quantize_shard(shard: Shard, file: Path, scheme: Scheme) -> ShardResult:
    """Write the quantised `shard` to `file`, complete or not at all (written beside it, synced, renamed).

    Memory: the output shard and one weight in F32.

    Raises:
        CheckpointError: a weight holds NaN or infinity; the file cannot be written.
    """
    out: dict[str, Tensor] = {}
    errors: dict[str, float] = {}
    flushed: dict[str, float] = {}
    with safe_open(shard.path, "pt") as source:
        for tensor in shard.tensors:
            weight = source.get_tensor(tensor.name)
            if not is_quantized(tensor.name):
                out[tensor.name] = weight
                continue
            codes, scale = quantize_weight(weight, scheme)
            if not bool(torch.isfinite(scale).all()):
                raise _not_finite(weight, tensor.name, shard.path)
            out[tensor.name], out[scale_name(tensor.name, scheme)] = codes, scale
            errors[tensor.name] = relative_error(weight, codes, scale)
            flushed[tensor.name] = flushed_share(weight, codes)
        _save(out, file)
    sizes = {name: tensor.nbytes for name, tensor in out.items()}
    worst, most = (max(found, key=found.__getitem__, default="") for found in (errors, flushed))
    return ShardResult(sizes, len(errors), errors.get(worst, 0.0), worst, flushed.get(most, 0.0), most)


def dequantize_weight(codes: Tensor, scale: Tensor) -> Tensor:
    """The F32 weight that `codes` and `scale` stand for; the scale's shape tells channels `[N, 1]` from blocks."""
    return widen(codes) * _spread(scale, codes.shape)


def relative_error(weight: Tensor, codes: Tensor, scale: Tensor) -> float:
    """`|w - dequantised| / |w|` in the Frobenius norm; 0 for a weight of zeros."""
    exact = weight.float()
    norm = float(torch.linalg.vector_norm(exact))
    if norm == 0.0:
        return 0.0
    return float(torch.linalg.vector_norm(exact - dequantize_weight(codes, scale))) / norm


def flushed_share(weight: Tensor, codes: Tensor) -> float:
    """The share of the weight's nonzero values whose code is 0; 0 for a weight of zeros."""
    nonzero = int(torch.count_nonzero(weight))
    # Without the sign bit: -0 is flushed as well.
    return 1.0 - int(torch.count_nonzero(codes.view(torch.uint8) & 0x7F)) / nonzero if nonzero else 0.0


def _largest(magnitudes: Tensor, scheme: Scheme) -> Tensor:
    """The largest element under each scale: `[N, 1]`, or `[ceil(N / 128), ceil(K / 128)]`."""
    if scheme == "fp8_channel_token":
        return magnitudes.amax(1, keepdim=True)
    rows, columns = magnitudes.shape
    padded = F.pad(magnitudes, (0, -columns % BLOCK[1], 0, -rows % BLOCK[0]))
    return padded.view(-(-rows // BLOCK[0]), BLOCK[0], -(-columns // BLOCK[1]), BLOCK[1]).amax((1, 3))


def _spread(scale: Tensor, shape: torch.Size) -> Tensor:
    """The scales in a shape that broadcasts to the weight's."""
    rows, columns = shape
    return scale if scale.shape == (rows, 1) else numerics.expand_blocks(scale, rows, columns, BLOCK)


def _up_to_bf16(positive: Tensor) -> Tensor:
    """The smallest bf16 number not below each positive fp32 value, as fp32."""
    bits = positive.view(torch.int32)
    return ((bits + 0xFFFF) & -0x10000).view(torch.float32)


def _not_finite(weight: Tensor, name: str, file: Path) -> CheckpointError:
    bad = int((~torch.isfinite(weight)).sum())
    return CheckpointError(
        f"`{name}` in `{file.name}` holds {bad} NaN or infinite values of {weight.numel()}",
        required="finite weights",
        hint=f"mend `{file.name}` or download it again, and repeat the command: finished shards are kept",
    )


def _save(tensors: dict[str, Tensor], file: Path) -> None:
    unfinished = file.with_name(file.name + ".unfinished")
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        save_file(whole, unfinished, metadata={"format": "pt"})
        with unfinished.open("rb") as handle:
            os.fsync(handle.fileno())
        unfinished.replace(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"`{file.name}` cannot be written: {error}",
            required="room for the quantised shard",
            hint=f"look at `df -h {file.parent}`, and repeat the command: finished shards are kept",
        ) from error
