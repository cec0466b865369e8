"""What a quantised checkpoint holds, against names and shapes written by hand after zai-org/GLM-4.5-FP8."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glm_rocm.quantize import Progress, quantize_checkpoint
from glm_rocm.quantize.layout import ignored_modules, is_quantized

F8, F32, BF16 = torch.float8_e4m3fn, torch.float32, torch.bfloat16

MOE_LAYER_FP8 = {
    "self_attn.q_proj": (192, 192),
    "self_attn.k_proj": (64, 192),
    "self_attn.v_proj": (64, 192),
    "self_attn.o_proj": (192, 192),
    "mlp.experts.0.gate_proj": (176, 192),
    "mlp.experts.0.up_proj": (176, 192),
    "mlp.experts.0.down_proj": (192, 176),
    "mlp.experts.1.gate_proj": (176, 192),
    "mlp.experts.1.up_proj": (176, 192),
    "mlp.experts.1.down_proj": (192, 176),
    "mlp.shared_experts.gate_proj": (176, 192),
    "mlp.shared_experts.up_proj": (176, 192),
    "mlp.shared_experts.down_proj": (192, 176),
}
DENSE_LAYER_FP8 = {
    "self_attn.q_proj": (192, 192),
    "self_attn.k_proj": (64, 192),
    "self_attn.v_proj": (64, 192),
    "self_attn.o_proj": (192, 192),
    "mlp.gate_proj": (320, 192),
    "mlp.up_proj": (320, 192),
    "mlp.down_proj": (192, 320),
}
EXPECTED = (
    {f"model.layers.0.{name}": shape for name, shape in DENSE_LAYER_FP8.items()}
    | {f"model.layers.1.{name}": shape for name, shape in MOE_LAYER_FP8.items()}
    | {f"model.layers.2.{name}": shape for name, shape in MOE_LAYER_FP8.items()}
)
BLOCKS = {(192, 192): (2, 2), (64, 192): (1, 2), (176, 192): (2, 2), (192, 176): (2, 2), (320, 192): (3, 2)}
BLOCKS |= {(192, 320): (2, 3)}
IGNORED = [
    "lm_head",
    "model.layers.1.mlp.gate",
    "model.layers.2.eh_proj",
    "model.layers.2.embed_tokens",
    "model.layers.2.mlp.gate",
    "model.layers.2.shared_head.head",
]


def test_channel_names_shapes_and_dtypes_are_those_of_glm_fp8(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source()
    before = load_file(folder / "model.safetensors")
    quantize_checkpoint(folder, tmp_path / "fp8")
    after = load_file(tmp_path / "fp8" / "model.safetensors")

    expected = {name: (BF16, tuple(tensor.shape)) for name, tensor in before.items()}
    for layer in (1, 2):
        expected[f"model.layers.{layer}.mlp.gate.e_score_correction_bias"] = (F32, (2,))
    for module, (rows, columns) in EXPECTED.items():
        expected[f"{module}.weight"] = (F8, (rows, columns))
        expected[f"{module}.weight_scale"] = (F32, (rows, 1))
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in after.items()} == expected


def test_block_names_shapes_and_dtypes_with_partial_blocks(source: Callable[..., Path], tmp_path: Path) -> None:
    quantize_checkpoint(source(), tmp_path / "fp8", "fp8_block")
    after = load_file(tmp_path / "fp8" / "model.safetensors")
    scales = {name: tuple(tensor.shape) for name, tensor in after.items() if name.endswith("_scale_inv")}
    assert scales == {f"{module}.weight_scale_inv": BLOCKS[shape] for module, shape in EXPECTED.items()}
    assert {after[name].dtype for name in scales} == {F32}
    assert all(after[f"{module}.weight"].dtype == F8 for module in EXPECTED)
    config = json.loads((tmp_path / "fp8" / "config.json").read_text())["quantization_config"]
    assert config == {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": IGNORED,
    }


def test_channel_config_is_compressed_tensors_and_the_rest_of_the_config_is_untouched(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    folder = source()
    quantize_checkpoint(folder, tmp_path / "fp8")
    config = json.loads((tmp_path / "fp8" / "config.json").read_text())
    quantization = config.pop("quantization_config")
    assert config == json.loads((folder / "config.json").read_text())
    assert quantization["quant_method"] == "compressed-tensors"
    assert quantization["format"] == "float-quantized"
    assert quantization["ignore"] == IGNORED
    group = quantization["config_groups"]["group_0"]
    assert group["targets"] == ["Linear"]
    weights, activations = group["weights"], group["input_activations"]
    assert (weights["strategy"], weights["dynamic"], weights["num_bits"]) == ("channel", False, 8)
    assert (activations["strategy"], activations["dynamic"], activations["num_bits"]) == ("token", True, 8)


def test_what_is_not_quantised_keeps_every_bit(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source(shards=3)
    quantize_checkpoint(folder, tmp_path / "fp8")
    before, after = ({}, {})
    for tensors, place in ((before, folder), (after, tmp_path / "fp8")):
        for file in place.glob("*.safetensors"):
            tensors |= load_file(file)
    kept = [name for name in before if not is_quantized(name)]
    assert len(kept) == 3 + 3 * 7 + 2 * 2 + 6  # outside the layers, norms and biases, two routers, MTP's joints
    for name in kept:
        assert after[name].dtype == before[name].dtype
        assert torch.equal(after[name].view(torch.uint8), before[name].view(torch.uint8)), name


def test_several_shards_keep_their_names_and_get_an_index_that_is_true(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    folder = source(shards=3)
    seen: list[Progress] = []
    report = quantize_checkpoint(folder, tmp_path / "fp8", progress=seen.append)
    index = json.loads((tmp_path / "fp8" / "model.safetensors.index.json").read_text())
    found, size = {}, 0
    for file in sorted((tmp_path / "fp8").glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            found[name] = file.name
            size += tensor.nbytes
    assert index["weight_map"] == found
    assert index["metadata"]["total_size"] == size
    assert sorted(set(found.values())) == [f"model-0000{shard}-of-00003.safetensors" for shard in (1, 2, 3)]
    assert [(step.shards_done, step.shards) for step in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[-1].bytes_done == seen[-1].bytes == report.bytes_before
    assert (report.quantized, report.resumed) == (len(EXPECTED), 0)


def test_tokenizer_and_template_come_along_but_other_weights_do_not(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    folder = source()
    (folder / "pytorch_model.bin").write_bytes(b"old weights")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    quantize_checkpoint(folder, tmp_path / "fp8")
    found = {file.name for file in (tmp_path / "fp8").iterdir()}
    assert found == {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", ".gitattributes"}
    template = (tmp_path / "fp8" / "chat_template.jinja").read_bytes()
    assert template == (folder / "chat_template.jinja").read_bytes()


def test_the_same_source_gives_the_same_bytes(source: Callable[..., Path], tmp_path: Path) -> None:
    folder = source(shards=2)
    for name in ("one", "two"):
        quantize_checkpoint(folder, tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_ignored_layers_are_listed_in_layer_order() -> None:
    names = [f"model.layers.{layer}.mlp.gate.weight" for layer in (10, 9, 1)]
    assert ignored_modules(names) == ["lm_head", *(f"model.layers.{layer}.mlp.gate" for layer in (1, 9, 10))]


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.2.eh_proj.weight",
        "model.layers.1.mlp.gate.weight",
        "model.layers.1.mlp.experts.gate_up_proj",
        "lm_head.weight",
        "model.layers.0.self_attn.q_proj.bias",
    ],
)
def test_names_that_look_like_projections_are_not_quantised(name: str) -> None:
    assert not is_quantized(name)
