"""What the writer refuses: each time a sentence that names the culprit, and nothing at the destination."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from glm_rocm.errors import CheckpointError, GlmRocmError, UsageError
from glm_rocm.quantize import quantize_checkpoint
from glm_rocm.quantize.workspace import open_workspace

GATE = "model.layers.1.mlp.experts.1.gate_proj.weight"


def refusal(error: type[GlmRocmError], src: Path, dst: Path, scheme: str = "fp8_channel_token") -> GlmRocmError:
    """The error that quantising raises; the destination must not have appeared."""
    there = dst.exists()
    with pytest.raises(error) as caught:
        quantize_checkpoint(src, dst, scheme)
    assert dst.exists() == there
    assert caught.value.hint
    return caught.value


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_a_destination_with_something_in_it_is_never_touched(source: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "fp8").mkdir()
    (tmp_path / "fp8" / "precious.txt").write_text("keep me")
    error = refusal(UsageError, source(), tmp_path / "fp8")
    assert "not empty" in error.found
    assert [file.name for file in (tmp_path / "fp8").iterdir()] == ["precious.txt"]


def test_a_destination_that_is_a_file(source: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "fp8").write_text("a file")
    assert "no folder" in refusal(UsageError, source(), tmp_path / "fp8").found
    assert (tmp_path / "fp8").read_text() == "a file"


def test_an_empty_destination_folder_is_taken(source: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "fp8").mkdir()
    quantize_checkpoint(source(), tmp_path / "fp8")
    assert (tmp_path / "fp8" / "model.safetensors").is_file()


def test_the_source_itself_as_destination(source: Callable[..., Path]) -> None:
    folder = source()
    assert "not empty" in refusal(UsageError, folder, folder).found


def test_a_destination_in_a_folder_that_is_not_there(source: Callable[..., Path], tmp_path: Path) -> None:
    error = refusal(UsageError, source(), tmp_path / "no" / "fp8")
    assert error.hint == f"mkdir -p {tmp_path / 'no'}"


def test_a_destination_that_nobody_can_write_to(source: Callable[..., Path]) -> None:
    error = refusal(UsageError, source(), Path("/proc/glm-fp8"))
    assert "`/proc`" in error.found


def test_an_unknown_scheme(source: Callable[..., Path], tmp_path: Path) -> None:
    error = refusal(UsageError, source(), tmp_path / "fp8", "int4")
    assert "`int4`" in error.found
    assert "`fp8_channel_token`" in error.required


def test_no_checkpoint_at_the_source(tmp_path: Path) -> None:
    assert str(tmp_path / "nothing") in refusal(CheckpointError, tmp_path / "nothing", tmp_path / "fp8").found


def test_a_model_that_is_no_glm4_moe(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source()
    edit_config(folder, model_type="llama")
    error = refusal(CheckpointError, folder, tmp_path / "fp8")
    assert "`llama`" in error.found
    assert "glm4_moe" in error.required


def test_a_model_known_by_name_that_was_never_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(CheckpointError) as caught:
        quantize_checkpoint("zai-org/GLM-4.5-Air", tmp_path / "fp8")
    assert "zai-org/GLM-4.5-Air" in caught.value.found
    assert caught.value.hint.startswith("hf download zai-org/GLM-4.5-Air")


@pytest.mark.parametrize("scheme", ["fp8_channel_token", "fp8_block"])
def test_what_is_already_quantised(source: Callable[..., Path], tmp_path: Path, scheme: str) -> None:
    quantize_checkpoint(source(), tmp_path / "once", scheme)
    error = refusal(CheckpointError, tmp_path / "once", tmp_path / "twice")
    assert "already quantised" in error.found


def test_fp8_weights_under_a_config_that_does_not_say_so(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source()
    quantize_checkpoint(folder, tmp_path / "once")
    shutil.copy(folder / "config.json", tmp_path / "once" / "config.json")
    error = refusal(CheckpointError, tmp_path / "once", tmp_path / "twice")
    assert "F8_E4M3" in error.found or "weight_scale" in error.found


def test_a_shard_that_is_cut_short(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source(shards=3)
    shard = folder / "model-00002-of-00003.safetensors"
    with shard.open("r+b") as handle:
        handle.truncate(shard.stat().st_size - 1000)
    error = refusal(CheckpointError, folder, tmp_path / "fp8")
    assert shard.name in error.found


def test_a_shard_that_is_missing(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source(shards=3)
    (folder / "model-00003-of-00003.safetensors").unlink()
    error = refusal(CheckpointError, folder, tmp_path / "fp8")
    assert "model-00003-of-00003.safetensors" in error.found


def test_an_index_that_points_out_of_its_folder(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source(shards=2)
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001", "../model-00001"))
    (folder / "model-00001-of-00002.safetensors").rename(tmp_path / "model-00001-of-00002.safetensors")
    assert "outside its folder" in refusal(CheckpointError, folder, tmp_path / "fp8").found


def test_no_weights_at_all(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source()
    (folder / "model.safetensors").unlink()
    refusal(CheckpointError, folder, tmp_path / "fp8")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_named(
    source: Callable[..., Path], tensors: dict[str, torch.Tensor], tmp_path: Path, value: float
) -> None:
    tensors[GATE][3, 4] = value
    error = refusal(CheckpointError, source(shards=2), tmp_path / "fp8")
    assert GATE in error.found


def test_fused_experts_are_refused_instead_of_copied_unquantised(
    source: Callable[..., Path], tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    tensors["model.layers.1.mlp.experts.gate_up_proj"] = torch.zeros(2, 352, 192).bfloat16()
    error = refusal(CheckpointError, source(), tmp_path / "fp8")
    assert "model.layers.1.mlp.experts.gate_up_proj" in error.found


def test_a_disk_that_is_too_small(sizes: Any, tmp_path: Path) -> None:
    """A sparse file claims a vocabulary of terabytes; the free space that it is held against is the real one."""
    large = sizes(vocab=1 << 31)
    header, end = {}, 0
    for name, shape in large.shapes().items():
        plain = name.endswith("correction_bias")
        start, end = end, end + math.prod(shape) * (4 if plain else 2)
        header[name] = {"dtype": "F32" if plain else "BF16", "shape": shape, "data_offsets": [start, end]}
    folder = tmp_path / "bf16"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(large.config()))
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        handle.truncate(8 + len(text) + end)
    error = refusal(CheckpointError, folder, tmp_path / "fp8")
    assert "GB are free" in error.found
    assert not (tmp_path / ".fp8.quantizing").exists()
    assert error.required.startswith("3298.")  # four vocabularies of 2^31 x 192 in bf16, and little else


def test_a_second_writer_is_refused_while_the_first_is_at_work(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source()
    with open_workspace(tmp_path / "fp8"):
        assert "another process" in refusal(CheckpointError, folder, tmp_path / "fp8").found
    quantize_checkpoint(folder, tmp_path / "fp8")


def test_a_source_that_changed_under_an_interrupted_run_is_quantised_anew(
    source: Callable[..., Path], tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    tensors[GATE][0, 0] = float("nan")
    folder = source(shards=2)
    refusal(CheckpointError, folder, tmp_path / "fp8")
    for file in folder.glob("*.safetensors"):
        changed = {name: tensor.nan_to_num(0.0) * 2 for name, tensor in load_file(file).items()}
        save_file(changed, file, metadata={"format": "pt"})
    report = quantize_checkpoint(folder, tmp_path / "fp8")
    assert report.resumed == 0
    quantize_checkpoint(folder, tmp_path / "fresh")
    for file in (tmp_path / "fresh").iterdir():
        assert file.read_bytes() == (tmp_path / "fp8" / file.name).read_bytes(), file.name
