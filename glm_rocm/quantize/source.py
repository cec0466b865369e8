"""The checkpoint to be quantised: its shards by their headers alone, and every reason not to begin."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from glm_rocm.errors import CheckpointError
from glm_rocm.quantize.layout import Scheme, TensorInfo, is_known, is_quantized, scale_shape

INDEX = "model.safetensors.index.json"
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


def read_source(path: Path) -> Source:
    """The checkpoint in the folder `path`, read by its headers.

    Raises:
        CheckpointError: the folder, its config or a shard is missing; not `glm4_moe`; already quantised; a shard is cut
            short; a tensor that no GLM holds, or one that cannot be quantised.
    """
    config = _read_config(path)
    shards = tuple(Shard(file, _read_header(file)) for file in _shard_files(path))
    for shard in shards:
        for tensor in shard.tensors:
            _check_tensor(tensor, shard.path)
    return Source(path, config, shards)


def _read_config(path: Path) -> dict[str, Any]:
    file = path / CONFIG
    if not file.is_file():
        raise CheckpointError(
            f"no checkpoint at `{path}`",
            required=f"a folder with `{CONFIG}` and safetensors shards",
            hint="hf download zai-org/GLM-4.5-Air --local-dir GLM-4.5-Air",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"`{file}` is not JSON ({error})", hint=f"download `{CONFIG}` again") from error
    if not isinstance(config, dict) or config.get("model_type") != "glm4_moe":
        kind = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(
            f"`{path}` is a `{kind}` model",
            required="`glm4_moe` (GLM-4.5, 4.6, 4.7)",
            hint="glm-rocm quantize GLM-4.5-Air GLM-4.5-Air-FP8",
        )
    if config.get("quantization_config") is not None:
        method = config["quantization_config"].get("quant_method", "unnamed")
        raise CheckpointError(
            f"`{path}` is already quantised (`{method}`)",
            required="a bf16, fp16 or fp32 checkpoint",
            hint=f"serve it as it is: `glm-rocm serve {path}`",
        )
    return config


def _shard_files(path: Path) -> list[Path]:
    index = path / INDEX
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [name for name in names if not (path / name).is_file()]
        if missing:
            raise CheckpointError(
                f"shard `{missing[0]}` is missing from `{path}` ({len(missing)} of {len(names)} are)",
                required=f"every shard that `{INDEX}` names",
                hint="download the checkpoint again; finished shards are kept: `hf download ... --local-dir ...`",
            )
        return [path / name for name in names]
    single = path / "model.safetensors"
    if not single.is_file():
        raise CheckpointError(
            f"no weights in `{path}`",
            required=f"`model.safetensors`, or shards with `{INDEX}`",
            hint="hf download zai-org/GLM-4.5-Air --local-dir GLM-4.5-Air",
        )
    return [single]


def _read_header(file: Path) -> tuple[TensorInfo, ...]:
    try:
        with safe_open(file, "numpy") as shard:
            slices = {name: shard.get_slice(name) for name in shard.keys()}  # noqa: SIM118 (not a dict)
            return tuple(
                TensorInfo(name, part.get_dtype(), tuple(part.get_shape())) for name, part in sorted(slices.items())
            )
    except SafetensorError as error:
        raise CheckpointError(
            f"shard `{file.name}` is truncated or damaged ({error})",
            required="a file as long as its header says",
            hint=f"delete `{file}` and download it again",
        ) from error


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
