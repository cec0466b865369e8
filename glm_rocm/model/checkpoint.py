"""Is a checkpoint whole, and are its tensors those its config describes? Reads safetensors headers, never weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glm_rocm.errors import CheckpointError
from glm_rocm.model.config import read_json
from glm_rocm.model.spec import BLOCK, ModelSpec

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
LARGEST_HEADER = 100_000_000
"""Bytes; the safetensors format's own limit."""

PLAIN_DTYPES = ("BF16", "F16", "F32")
FP8_DTYPE = "F8_E4M3"
LAYER = re.compile(r"model\.layers\.(\d+)\.(?:mlp\.experts\.(\d+)\.)?")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor as a header describes it."""

    shape: Shape
    dtype: str
    shard: str


@dataclass(frozen=True)
class Contents:
    """What a checked checkpoint holds."""

    shards: int
    tensors: int
    bytes: int


def local_folder(spec: ModelSpec) -> Path:
    """The folder of a model's files on this machine: its own, or that of the hub's local cache. Downloads nothing.

    Raises:
        CheckpointError: the model was never downloaded.
    """
    if spec.path is not None:
        return Path(spec.path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(spec.name, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"the weights of `{spec.name}` are not on this machine",
            required="a downloaded checkpoint",
            hint=f"hf download {spec.name}",
        ) from error


def check_checkpoint(path: str | Path, spec: ModelSpec, *, mtp: bool = False) -> Contents:
    """Check every shard's presence and length and every tensor's presence, shape and type.

    Args:
        path: the checkpoint folder.
        spec: what its config.json describes.
        mtp: the MTP layer will be used, so its tensors must be there as well (fine-tunes often drop them).

    Raises:
        CheckpointError: a shard is missing, truncated or damaged; a tensor is missing, or contradicts config.json.
    """
    folder = Path(path)
    tensors, shards, size = _read_headers(folder)
    _refuse_surplus(tensors, spec)
    wrong = list(_differences(tensors, spec, mtp))
    if wrong:
        first, more = wrong[0], len(wrong) - 1
        raise CheckpointError(
            f"`{folder}` is at odds with its config.json: {first}" + (f" (and {more} more)" if more else ""),
            required="tensors as config.json describes them",
            hint="drop `--mtp`" if _is_mtp(first, spec) else "download config.json and the weights again, together",
        )
    return Contents(shards, len(tensors), size)


def _read_headers(folder: Path) -> tuple[dict[str, Tensor], int, int]:
    """Every tensor by name, the number of shards and their bytes."""
    if (folder / INDEX).is_file():
        weight_map = read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, Mapping) or not weight_map:
            raise _damaged(folder / INDEX, "it has no `weight_map`")
    elif (folder / SINGLE).is_file():
        weight_map = {}
    else:
        raise CheckpointError(
            f"no weights in `{folder}`",
            required=f"`{SINGLE}`, or `{INDEX}` and its shards",
            hint=f"complete it with `hf download MODEL --local-dir {folder}`",
        )
    names = sorted({str(shard) for shard in weight_map.values()}) or [SINGLE]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(names)} shards are missing in `{folder}`, the first is `{missing[0]}`",
            required=f"every shard that `{INDEX}` names",
            hint=f"complete it with `hf download MODEL --local-dir {folder}`",
        )
    tensors: dict[str, Tensor] = {}
    size = 0
    for name in names:
        held, length = _read_header(folder / name)
        tensors |= held
        size += length
    for tensor, shard in weight_map.items():
        if tensor not in tensors:
            raise _damaged(folder / str(shard), f"`{INDEX}` places `{tensor}` there, and it is not")
    return tensors, len(names), size


def _read_header(shard: Path) -> tuple[dict[str, Tensor], int]:
    """The tensors of one shard and the file's length, which must be exactly what the header adds up to."""
    try:
        length = shard.stat().st_size
        with shard.open("rb") as file:
            header_length = int.from_bytes(file.read(8), "little")
            if length < 8 or header_length > min(LARGEST_HEADER, length - 8):
                raise _damaged(shard, f"{length} bytes do not hold its header")
            raw = file.read(header_length)
    except OSError as error:
        raise CheckpointError(
            f"`{shard}` cannot be read: {error.strerror}",
            required="a file that this user may read",
            hint=f"ls -l {shard}",
        ) from error
    try:
        header: dict[str, Any] = json.loads(raw)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        tensors = {name: Tensor(tuple(item["shape"]), item["dtype"], shard.name) for name, item in entries.items()}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise _damaged(shard, "its header is not that of a safetensors file") from None
    required = 8 + header_length + end
    if length != required:
        word = "truncated" if length < required else "too long"
        raise _damaged(shard, f"{word}: {length} bytes, its header requires {required}")
    return tensors, length


def _damaged(file: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"`{file}` is damaged: {what}",
        required="the file as it was published",
        hint=f"delete it and fetch it again with `hf download MODEL {file.name} --local-dir {file.parent}`",
    )


def _refuse_surplus(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
    """Raise where the weights have more layers or experts than the config: it describes another model."""
    matches = [match for name in tensors if (match := LAYER.match(name))]
    layers = max((int(match.group(1)) for match in matches), default=-1) + 1
    experts = max((int(match.group(2)) for match in matches if match.group(2)), default=-1) + 1
    # The MTP layer stands behind the last decoder layer, whether or not the config counts it.
    if f"model.layers.{layers - 1}.enorm.weight" in tensors:
        layers -= 1
    for what, found, asked in (("layers", layers, spec.layers), ("experts", experts, spec.experts)):
        if found > asked:
            raise CheckpointError(
                f"the weights of `{spec.name}` have {found} {what}",
                required=f"{asked}, as its config.json says",
                hint="download config.json and the weights again, together",
            )


def _differences(tensors: Mapping[str, Tensor], spec: ModelSpec, mtp: bool) -> Iterator[str]:
    """A sentence for each tensor that is missing or not as described."""
    for module, shape, may_be_fp8 in expected_tensors(spec, mtp):
        covered = may_be_fp8 and spec.quantization.covers(module)
        name = module + ("" if module.endswith(("bias", "_bias")) else ".weight")
        found = tensors.get(name)
        if found is None:
            yield f"`{name}` is missing"
        elif found.shape != shape:
            yield f"`{name}` is {list(found.shape)}, config.json asks for {list(shape)}"
        elif covered != (found.dtype == FP8_DTYPE) or (not covered and found.dtype not in PLAIN_DTYPES):
            asked = FP8_DTYPE if covered else " or ".join(PLAIN_DTYPES)
            yield f"`{name}` is {found.dtype}, config.json asks for {asked}"
        elif covered:
            yield from _scale_differences(tensors, module, shape, spec)


def _scale_differences(tensors: Mapping[str, Tensor], module: str, shape: Shape, spec: ModelSpec) -> Iterator[str]:
    """The scale of an FP8 weight: `weight_scale` (compressed-tensors) or `weight_scale_inv` (the fp8 method)."""
    found = tensors.get(module + ".weight_scale") or tensors.get(module + ".weight_scale_inv")
    channel = spec.quantization.scheme == "fp8_channel_token"
    asked = (shape[0], 1) if channel else tuple(-(-side // BLOCK) for side in shape)
    if found is None:
        yield f"`{module}.weight_scale` is missing"
    elif found.shape != asked and not (channel and found.shape == asked[:1]):
        yield f"`{module}.weight_scale` is {list(found.shape)}, config.json asks for {list(asked)}"


def expected_tensors(spec: ModelSpec, mtp: bool) -> Iterator[tuple[str, Shape, bool]]:
    """(module, shape of its weight, whether it may be FP8) for everything that config.json implies.

    Head, router and `eh_proj` are matrices that no engine takes in FP8, whether or not the ignore list names them.
    """
    hidden = (spec.hidden,)
    yield "model.embed_tokens", (spec.vocab, spec.hidden), False
    yield "model.norm", hidden, False
    if not spec.tied_embeddings:
        yield "lm_head", (spec.vocab, spec.hidden), False
    for layer in range(spec.layers):
        yield from _layer(spec, f"model.layers.{layer}.", dense=layer < spec.first_dense)
    for layer in range(spec.layers, spec.layers + (spec.mtp_layers if mtp else 0)):
        prefix = f"model.layers.{layer}."
        yield from _layer(spec, prefix, dense=False)
        yield prefix + "enorm", hidden, False
        yield prefix + "hnorm", hidden, False
        yield prefix + "shared_head.norm", hidden, False
        yield prefix + "eh_proj", (spec.hidden, 2 * spec.hidden), False


def _layer(spec: ModelSpec, prefix: str, *, dense: bool) -> Iterator[tuple[str, Shape, bool]]:
    attention, mlp = prefix + "self_attn.", prefix + "mlp."
    query, key = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    for name, rows in (("q_proj", query), ("k_proj", key), ("v_proj", key)):
        yield attention + name, (rows, spec.hidden), True
        if spec.attention_bias:
            yield attention + name + ".bias", (rows,), False
    yield attention + "o_proj", (spec.hidden, query), True
    if spec.qk_norm:
        yield attention + "q_norm", (spec.head_dim,), False
        yield attention + "k_norm", (spec.head_dim,), False
    yield prefix + "input_layernorm", (spec.hidden,), False
    yield prefix + "post_attention_layernorm", (spec.hidden,), False
    if dense:
        yield from _mlp(spec, mlp, spec.intermediate)
        return
    yield mlp + "gate", (spec.experts, spec.hidden), False
    yield mlp + "gate.e_score_correction_bias", (spec.experts,), False
    if spec.shared_experts:
        yield from _mlp(spec, mlp + "shared_experts.", spec.moe_intermediate * spec.shared_experts)
    for expert in range(spec.experts):
        yield from _mlp(spec, f"{mlp}experts.{expert}.", spec.moe_intermediate)


def _mlp(spec: ModelSpec, prefix: str, width: int) -> Iterator[tuple[str, Shape, bool]]:
    yield prefix + "gate_proj", (width, spec.hidden), True
    yield prefix + "up_proj", (width, spec.hidden), True
    yield prefix + "down_proj", (spec.hidden, width), True


def _is_mtp(sentence: str, spec: ModelSpec) -> bool:
    return f"model.layers.{spec.layers}." in sentence
