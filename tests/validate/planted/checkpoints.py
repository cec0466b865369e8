"""Troubles of a checkpoint: each changes the tensors of a sound FP8 one, or its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

PROJECTION = "model.layers.2.mlp.experts.3.down_proj"
WEIGHT, SCALE = f"{PROJECTION}.weight", f"{PROJECTION}.weight_scale"
SHARD = "model.safetensors"
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Trouble:
    """One trouble: what is done to the folder, and the words by which it must be named."""

    name: str
    named: str
    plant: Callable[[Path], None]

    def __str__(self) -> str:
        return self.name


def on_tensors(change: Callable[[Tensors], None]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        tensors = load_file(folder / SHARD)
        change(tensors)
        save_file(tensors, folder / SHARD)

    return plant


def code(bits: int) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[WEIGHT].view(torch.uint8)[5, 7] = bits

    return change


def scale(value: float) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[SCALE].view(-1)[4] = value

    return change


def other_axis(tensors: Tensors) -> None:
    tensors[SCALE] = tensors[SCALE].view(1, -1).contiguous()


def misshapen(tensors: Tensors) -> None:
    tensors[WEIGHT] = tensors[WEIGHT][:-1].contiguous()


def lost(tensors: Tensors) -> None:
    del tensors[SCALE]


def norm_of_nan(tensors: Tensors) -> None:
    tensors["model.layers.1.input_layernorm.weight"][3] = float("nan")


def unquantised(tensors: Tensors) -> None:
    tensors[WEIGHT] = tensors[WEIGHT].to(torch.bfloat16)


def truncated(folder: Path) -> None:
    whole = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(whole[:-1000])


def twice(folder: Path) -> None:
    """Two shards with the same tensor, of which the index names one."""
    tensors = load_file(folder / SHARD)
    save_file(tensors, folder / "model-1.safetensors")
    save_file(
        {WEIGHT: tensors[WEIGHT], "model.norm.weight": tensors["model.norm.weight"]}, folder / "model-2.safetensors"
    )
    names = dict.fromkeys(tensors, "model-1.safetensors") | {"model.norm.weight": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / SHARD).unlink()


TROUBLES = (
    Trouble("a code of 0x7f", WEIGHT, on_tensors(code(0x7F))),
    Trouble("a code of 0xff", WEIGHT, on_tensors(code(0xFF))),
    Trouble("a scale of 0", SCALE, on_tensors(scale(0.0))),
    Trouble("a negative scale", SCALE, on_tensors(scale(-0.5))),
    Trouble("a scale of NaN", SCALE, on_tensors(scale(float("nan")))),
    Trouble("an infinite scale", SCALE, on_tensors(scale(float("inf")))),
    Trouble("scales on the other axis", SCALE, on_tensors(other_axis)),
    Trouble("a weight of another shape", WEIGHT, on_tensors(misshapen)),
    Trouble("a missing scale", PROJECTION, on_tensors(lost)),
    Trouble("NaN in a norm", "model.layers.1.input_layernorm.weight", on_tensors(norm_of_nan)),
    Trouble("a weight that the config calls FP8 in BF16", WEIGHT, on_tensors(unquantised)),
    Trouble("a truncated shard", SHARD, truncated),
    Trouble("a tensor in two shards", WEIGHT, twice),
)
