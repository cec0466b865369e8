"""A checkpoint's layers as one rank's kernels take them: quantised or not, converted to the target's FP8 format.

Layers are read one at a time from memory-mapped shards; a layer is the most that is held (`layer_bytes`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glm_rocm.errors import CheckpointError
from glm_rocm.model.checkpoint import INDEX, local_folder
from glm_rocm.model.config import read_json
from glm_rocm.model.spec import ModelSpec
from glm_rocm.numerics import E4M3FN, E4M3FNUZ, fn_to_fnuz
from glm_rocm.reference.linear import dequantize_weight
from glm_rocm.reference.quant import quantize_per_channel
from glm_rocm.reference.weights import MtpWeights, Projection

SINGLE = "model.safetensors"


class LazyTensors(Mapping[str, Tensor]):
    """The tensors of a checkpoint folder by name; each is read when it is asked for, and not kept."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        files = [SINGLE]
        if (folder / INDEX).is_file():
            files = sorted(set(read_json(folder / INDEX)["weight_map"].values()))
        self._open = [safe_open(folder / name, framework="pt") for name in files]
        held = [(name, shard) for shard in self._open for name in list(shard.keys())]  # type: ignore[no-untyped-call]
        self._where = dict(held)
        counts = Counter(name for name, _ in held)
        self.repeated = [f"`{name}`: {count} shards hold it" for name, count in counts.items() if count > 1]

    def __getitem__(self, name: str) -> Tensor:
        found: Tensor = self._where[name].get_tensor(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def tensors_of(spec: ModelSpec) -> LazyTensors:
    """A model's tensors on this machine.

    Raises:
        CheckpointError: it was never downloaded.
    """
    hint = "glm-rocm validate MODEL --level ops"
    try:
        folder = local_folder(spec)
    except CheckpointError as error:
        raise CheckpointError(error.found, required=error.required, hint=f"{error.hint}, or `{hint}`") from error
    if not (folder / SINGLE).is_file() and not (folder / INDEX).is_file():
        raise CheckpointError(
            f"`{folder}` holds no weights",
            required="a downloaded checkpoint for the levels `block`, `model` and `server`",
            hint=hint,
        )
    return LazyTensors(folder)


def layer_bytes(weights: Any) -> int:
    """Bytes of every tensor in a layer."""
    if isinstance(weights, Tensor):
        return weights.numel() * weights.element_size()
    if is_dataclass(weights):
        return sum(layer_bytes(getattr(weights, field.name)) for field in fields(weights))
    return 0


def quantized(weights: Any, fp8: torch.dtype) -> Any:
    """A layer with its projections in FP8 per channel, as `glm-rocm quantize` makes them, in the target's format.

    What is FP8 already stays; the MTP layer's `combine` is never quantised.
    """
    if isinstance(weights, Projection):
        if weights.quant != "none":
            return for_target(weights, fp8)
        codes, scale = quantize_per_channel(weights.weight, E4M3FN.dtype)
        return for_target(Projection(codes, scale, weights.bias, "channel_token"), fp8)
    if isinstance(weights, MtpWeights):
        return replace(weights, block=quantized(weights.block, fp8))
    return _each(weights, lambda part: quantized(part, fp8))


def for_target(weights: Any, fp8: torch.dtype) -> Any:
    """A layer with its e4m3fn codes converted to the target's format at load: FNUZ halves them and doubles scales."""
    if isinstance(weights, Projection):
        if weights.scale is None or weights.weight.dtype != E4M3FN.dtype or fp8 != E4M3FNUZ.dtype:
            return weights
        codes, scale = fn_to_fnuz(weights.weight, weights.scale.float())
        return replace(weights, weight=codes, scale=scale)
    return _each(weights, lambda part: for_target(part, fp8))


def widened(weights: Any, dtype: torch.dtype) -> Any:
    """A layer with FP8 projections as plain ones of the same numbers: weight FP8 alone, activations untouched."""
    if isinstance(weights, Projection):
        if weights.scale is None:
            return weights
        return replace(weights, weight=_wide(weights, dtype), scale=None, quant="none")
    return _each(weights, lambda part: widened(part, dtype))


def _each(weights: Any, change: Callable[[Any], Any]) -> Any:
    """A dataclass with each of its fields changed; anything else as it is."""
    if is_dataclass(weights) and not isinstance(weights, type):
        return replace(weights, **{field.name: change(getattr(weights, field.name)) for field in fields(weights)})
    return weights


def _wide(weights: Projection, dtype: torch.dtype) -> Tensor:
    w, scale, quant = weights.weight, weights.scale, weights.quant
    assert scale is not None
    if w.dim() == 2:
        return dequantize_weight(w, scale, quant).to(dtype)
    return torch.stack([dequantize_weight(one, its, quant).to(dtype) for one, its in zip(w, scale, strict=True)])
