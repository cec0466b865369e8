"""The checkpoint to be quantised: its shards by their headers alone, and every reason not to begin."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from glm_rocm.errors import CheckpointError
from glm_rocm.model import load_spec
from glm_rocm.model.checkpoint import INDEX, SINGLE, check_checkpoint, local_folder
from glm_rocm.model.config import read_json
from glm_rocm.quantize.layout import Scheme, TensorInfo, is_known, is_quantized, scale_shape

CONFIG = "config.json"

_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_FLOATS = ("BF16", "F16", "F32")


@dataclass(frozen=True)
class Shard:
    """One safetensors file of the source and what its header holds."""

    path: Path
    tensors: tuple[TensorInfo, ...]

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    def bytes_after(self, scheme: Scheme) -> int:
        """Tensor bytes of the shard once quantised."""
        return sum(_bytes_after(tensor, scheme) for tensor in self.tensors)

    def fingerprint(self, scheme: Scheme) -> str:
        """Changes whenever the file does: what a finished shard of an interrupted run is held against."""
        stat = self.path.stat()
        facts = [scheme, stat.st_size, stat.st_mtime_ns, *((t.name, t.dtype, t.shape) for t in self.tensors)]
        return hashlib.sha256(repr(facts).encode()).hexdigest()


@dataclass(frozen=True)
class Source:
    """A bf16, fp16 or fp32 GLM checkpoint: its folder, the parsed config.json and its shards."""

    path: Path
    config: dict[str, Any]
    shards: tuple[Shard, ...]

    @property
    def names(self) -> list[str]:
        """Every tensor's name."""
        return [tensor.name for shard in self.shards for tensor in shard.tensors]

    @property
    def companions(self) -> list[Path]:
        """Files to carry over as they are: tokenizer, chat template, generation config, licence."""
        weights = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack")
        skipped = {CONFIG, INDEX}
        return [
            file
            for file in sorted(self.path.iterdir())
            if file.is_file() and file.name not in skipped and not file.name.endswith((*weights, ".index.json"))
        ]


def read_source(model: str) -> Source:
    """The checkpoint `model`, read by its headers.

    Args:
        model: a folder, a hub id whose files are in the hub's local cache, or `pocket`.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, at odds with its config, not `glm4_moe`, or quantised
            already; a tensor that no GLM holds, or one that cannot be quantised.
    """
    spec = load_spec(model)
    if spec.quantization.scheme != "none":
        raise CheckpointError(
            f"`{model}` is already quantised (`{spec.quantization.scheme}`)",
            required="a bf16, fp16 or fp32 checkpoint",
            hint=f"serve it as it is: `glm-rocm serve {model}`",
        )
    path = local_folder(spec)
    check_checkpoint(path, spec)
    shards = tuple(Shard(file, _read_header(file)) for file in _shard_files(path))
    for shard in shards:
        for tensor in shard.tensors:
            _check_tensor(tensor, shard.path)
    return Source(path, read_json(path / CONFIG), shards)


def _shard_files(path: Path) -> list[Path]:
    """The shards of a checkpoint that was checked: all of them are there."""
    if not (path / INDEX).is_file():
        return [path / SINGLE]
    names = sorted(set(read_json(path / INDEX)["weight_map"].values()))
    if any(Path(name).name != name for name in names):
        raise CheckpointError(
            f"`{path / INDEX}` names shards outside its folder",
            required="plain file names",
            hint=f"download `{INDEX}` again",
        )
    return [path / name for name in names]


def _read_header(file: Path) -> tuple[TensorInfo, ...]:
    with safe_open(file, "numpy") as shard:
        slices = {name: shard.get_slice(name) for name in shard.keys()}  # noqa: SIM118 (not a dict)
        return tuple(
            TensorInfo(name, part.get_dtype(), tuple(part.get_shape())) for name, part in sorted(slices.items())
        )


def _check_tensor(tensor: TensorInfo, file: Path) -> None:
    if not is_known(tensor.name):
        raise CheckpointError(
            f"`{file.name}` holds `{tensor.name}`, which no GLM-4.5 / 4.6 / 4.7 checkpoint does",
            required="one tensor per expert and projection, named as in zai-org/GLM-4.5",
            hint="write the checkpoint anew with `save_pretrained` of transformers 5",
        )
    if tensor.dtype not in _BYTES or (
        is_quantized(tensor.name) and (tensor.dtype not in _FLOATS or len(tensor.shape) != 2)
    ):
        raise CheckpointError(
            f"`{tensor.name}` is {tensor.dtype} of shape {list(tensor.shape)}",
            required=f"a tensor of {', '.join(_FLOATS)}, and a matrix where it is to be quantised",
            hint="quantise the checkpoint that this one was made from",
        )


def _bytes_after(tensor: TensorInfo, scheme: Scheme) -> int:
    elements = 1
    for size in tensor.shape:
        elements *= size
    if not is_quantized(tensor.name):
        return elements * _BYTES[tensor.dtype]
    rows, columns = scale_shape(tensor.shape, scheme)
    return elements + 4 * rows * columns
