"""Make an FP8 checkpoint from a bf16 one: safetensors to safetensors, shard by shard, never loading the model.

    report = quantize_checkpoint("GLM-4.5-Air", "GLM-4.5-Air-FP8")

The destination appears in one step when all is written. A run that was killed goes on where it stopped: call it again
with the same arguments. The source is only read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glm_rocm.errors import UsageError
from glm_rocm.model.checkpoint import INDEX
from glm_rocm.quantize.layout import BLOCK, SCHEMES, Scheme, quantization_config
from glm_rocm.quantize.source import CONFIG, Source, read_source
from glm_rocm.quantize.workspace import Workspace, open_workspace, require_space

if TYPE_CHECKING:
    from glm_rocm.quantize.shards import ShardResult

__all__ = ["SCHEMES", "Progress", "QuantizeReport", "Scheme", "quantize_checkpoint"]

_SLACK = 64 << 20
"""Bytes beyond the tensors to ask of the disk: headers, tokenizer, index."""

_FLUSHED_WORTH_SAYING = 0.01
"""A Gaussian weight of 5120 columns loses about 1e-5 of its values to 0, whatever its size."""


@dataclass(frozen=True)
class Progress:
    """How far it is: after each shard, and once at the start when shards of an earlier run are taken over.

    Attributes:
        shards_done: shards finished, those of an earlier run included.
        shards: all shards.
        bytes_done: bytes of the source that the finished shards held.
        bytes: bytes of all source shards.
        file: the shard that was finished last.
    """

    shards_done: int
    shards: int
    bytes_done: int
    bytes: int
    file: str


@dataclass(frozen=True)
class QuantizeReport:
    """What was written.

    Attributes:
        source, destination: the two folders.
        scheme: `fp8_channel_token` or `fp8_block`.
        shards: number of shards; `resumed` of them stood from an interrupted run.
        quantized: weights that became FP8; `kept` tensors stayed as they were.
        bytes_before, bytes_after: size of all shards.
        worst_error: the largest relative RMS error of a weight, and `worst_tensor` that has it.
        most_flushed: the largest share of a weight's nonzero values that became 0, and `flushed_tensor` that has it.
        notes: what a person should know before serving it; sentences.
    """

    source: str
    destination: str
    scheme: Scheme
    shards: int
    resumed: int
    quantized: int
    kept: int
    bytes_before: int
    bytes_after: int
    worst_error: float
    worst_tensor: str
    most_flushed: float
    flushed_tensor: str
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(asdict(self), indent=2)


def quantize_checkpoint(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    scheme: str = "fp8_channel_token",
    *,
    progress: Callable[[Progress], None] | None = None,
) -> QuantizeReport:
    """Write the FP8 twin of the checkpoint in `src` to the new folder `dst`.

    Attention, dense, shared and routed projections become float8_e4m3fn with F32 scales, the MTP layer's too;
    embeddings, head, router, norms, biases and the MTP joints (`eh_proj`, `shared_head`) stay as they are, as in
    zai-org/GLM-4.5-FP8. Tokenizer, template and generation config are carried over.

    Args:
        src: a bf16, fp16 or fp32 GLM checkpoint: a folder, a hub id in the local cache, or `pocket`.
        dst: a name that is not there yet, or an empty folder; its parent must exist.
        scheme: `fp8_channel_token` (one scale per output channel, activations per token) or `fp8_block` (128x128).
        progress: called after each shard.

    Raises:
        UsageError: unknown scheme; `dst` is taken.
        CheckpointError: `src` is missing, damaged, not `glm4_moe`, already quantised or not finite; the disk is too
            small; another process writes `dst`.
    """
    known = _require_scheme(scheme)
    source = read_source(os.fspath(src))
    destination = Path(os.path.abspath(dst))
    with open_workspace(destination) as workspace:
        results, resumed = _write_shards(source, workspace, known, progress)
        _write_rest(source, workspace, known, results)
        workspace.deliver()
    return _report(source, destination, known, results, resumed)


def _require_scheme(scheme: str) -> Scheme:
    for known in SCHEMES:
        if scheme == known:
            return known
    raise UsageError(
        f"unknown FP8 scheme `{scheme}`",
        required="one of " + ", ".join(f"`{known}`" for known in SCHEMES),
        hint="drop `--scheme` for the layout of zai-org/GLM-4.5-FP8",
    )


def _write_shards(
    source: Source, workspace: Workspace, scheme: Scheme, progress: Callable[[Progress], None] | None
) -> tuple[dict[str, ShardResult], int]:
    """Every shard's result by file name, and how many of them an earlier run had finished."""
    from glm_rocm.quantize.shards import quantize_shard

    prints = {shard.path.name: shard.fingerprint(scheme) for shard in source.shards}
    results = {
        name: result for name, print_ in prints.items() if (result := workspace.finished(name, print_)) is not None
    }
    resumed = len(results)
    workspace.forget_strangers(set(results))
    left = [shard for shard in source.shards if shard.path.name not in results]
    require_space(workspace.root, sum(shard.bytes_after(scheme) for shard in left) + _SLACK)

    def tell(file: str) -> None:
        if progress is not None:
            done = [shard.bytes for shard in source.shards if shard.path.name in results]
            progress(Progress(len(done), len(source.shards), sum(done), sum(s.bytes for s in source.shards), file))

    if results:
        tell(max(results))
    for shard in left:
        name = shard.path.name
        result = quantize_shard(shard, workspace.checkpoint / name, scheme)
        workspace.finish(name, prints[name], result)
        results[name] = result
        tell(name)
    return results, resumed


def _write_rest(source: Source, workspace: Workspace, scheme: Scheme, results: dict[str, ShardResult]) -> None:
    for file in source.companions:
        shutil.copyfile(file, workspace.checkpoint / file.name)
    if len(source.shards) > 1:
        weight_map = {name: shard for shard, result in sorted(results.items()) for name in sorted(result.tensors)}
        total = sum(sum(result.tensors.values()) for result in results.values())
        index: dict[str, Any] = {"metadata": {"total_size": total}, "weight_map": weight_map}
        workspace.write(workspace.checkpoint / INDEX, json.dumps(index, indent=2) + "\n")
    config = {**source.config, "quantization_config": quantization_config(scheme, source.names)}
    workspace.write(workspace.checkpoint / CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def _report(
    source: Source, destination: Path, scheme: Scheme, results: dict[str, ShardResult], resumed: int
) -> QuantizeReport:
    worst = max(results.values(), key=lambda result: result.worst_error)
    most = max(results.values(), key=lambda result: result.most_flushed)
    quantized = sum(result.quantized for result in results.values())
    return QuantizeReport(
        source=str(source.path),
        destination=str(destination),
        scheme=scheme,
        shards=len(source.shards),
        resumed=resumed,
        quantized=quantized,
        kept=len(source.names) - quantized,
        bytes_before=sum(shard.bytes for shard in source.shards),
        bytes_after=sum((destination / name).stat().st_size for name in results),
        worst_error=worst.worst_error,
        worst_tensor=worst.worst_tensor,
        most_flushed=most.most_flushed,
        flushed_tensor=most.flushed_tensor,
        notes=(*_flush_notes(most), *_width_notes(source, scheme)),
    )


def _flush_notes(most: ShardResult) -> tuple[str, ...]:
    if most.most_flushed < _FLUSHED_WORTH_SAYING:
        return ()
    share = f"{most.most_flushed:.1%}"
    return (f"{share} of the values of `{most.flushed_tensor}` became 0: a few huge values set its scales",)


def _width_notes(source: Source, scheme: Scheme) -> tuple[str, ...]:
    width = source.config.get("moe_intermediate_size")
    if scheme != "fp8_block" or not isinstance(width, int) or width % BLOCK[0] == 0:
        return ()
    return (
        f"the experts' {width} rows end in a partial block of {width % BLOCK[0]}: stock vLLM 0.32 refuses that, and "
        "transformers 5.19 reads the scales of such a weight wrongly; use `fp8_channel_token` with either",
    )
