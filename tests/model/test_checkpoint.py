"""Damaged, incomplete and contradictory checkpoints, each told by the headers alone."""

from __future__ import annotations

import json
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from glm_rocm.errors import CheckpointError
from glm_rocm.model import KNOWN, load_spec
from glm_rocm.model.checkpoint import Tensor, check_checkpoint, expected_tensors


@pytest.fixture
def model(write_folder):
    """A whole checkpoint in three shards with its MTP layer."""
    folder = write_folder()
    write_weights(folder, shards=3)
    return folder


def write_weights(folder, *, shards=3, change=lambda tensors: tensors) -> None:
    """Every tensor that the config asks for, dealt out to `shards` files, after `change`."""
    spec = load_spec(str(folder))
    tensors = {}
    for module, shape, may_be_fp8 in expected_tensors(spec, mtp=True):
        name = module if module.endswith("bias") else module + ".weight"
        fp8 = may_be_fp8 and spec.quantization.covers(module)
        tensors[name] = torch.zeros(shape, dtype=torch.float8_e4m3fn if fp8 else torch.bfloat16)
        if fp8:
            channel = spec.quantization.scheme == "fp8_channel_token"
            scale = (shape[0], 1) if channel else tuple(-(-side // 128) for side in shape)
            tensors[module + (".weight_scale" if channel else ".weight_scale_inv")] = torch.ones(scale)
    tensors = change(tensors)
    names = sorted(tensors)
    files = {f"model-{number}.safetensors": names[number::shards] for number in range(shards)}
    for file, held in files.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    weight_map = {name: file for file, held in files.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def check(folder, *, mtp=True):
    return check_checkpoint(folder, load_spec(str(folder)), mtp=mtp)


def test_whole_checkpoint_is_counted(model) -> None:
    contents = check(model)
    assert contents.shards == 3
    assert contents.tensors == sum(1 for _ in expected_tensors(load_spec(str(model)), mtp=True))
    assert contents.bytes == sum(file.stat().st_size for file in model.glob("*.safetensors"))


def test_single_file_without_an_index(model) -> None:
    tensors = {}
    for file in model.glob("model-*.safetensors"):
        tensors |= load_file(file)
        file.unlink()
    (model / "model.safetensors.index.json").unlink()
    save_file(tensors, model / "model.safetensors")
    assert check(model).shards == 1


def test_missing_shard_is_named(model) -> None:
    (model / "model-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 3 shards are missing.*model-1\.safetensors") as caught:
        check(model)
    assert "hf download" in caught.value.hint


@pytest.mark.parametrize("keep", [-1, 100_000, 100, 7, 0])
def test_truncated_shard_is_named_wherever_it_was_cut(model, keep) -> None:
    shard = model / "model-2.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:keep])
    with pytest.raises(CheckpointError, match=r"model-2\.safetensors` is damaged"):
        check(model)


def test_shard_with_bytes_behind_its_end_is_named(model) -> None:
    with (model / "model-0.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match=r"model-0\.safetensors` is damaged: too long"):
        check(model)


@pytest.mark.parametrize(
    "header", [b"{", b"[]", b'{"a": {"dtype": "BF16"}}', b'{"a": {"dtype": "BF16", "shape": [1], "data_offsets": 3}}']
)
def test_header_that_is_not_safetensors_is_named(model, header) -> None:
    (model / "model-0.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="not that of a safetensors file"):
        check(model)


def test_web_page_saved_as_a_shard_is_named(model) -> None:
    (model / "model-0.safetensors").write_text("<!DOCTYPE html><html>404</html>" * 9)
    with pytest.raises(CheckpointError, match="do not hold its header"):
        check(model)


def test_shard_that_may_not_be_read_is_named(model, monkeypatch) -> None:
    # The superuser may read everything, so the kernel's answer is stated rather than provoked.
    def refuse(path, *arguments):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    monkeypatch.setattr(
        "glm_rocm.model.checkpoint.read_json", lambda path: {"weight_map": {"a": "model-1.safetensors"}}
    )
    with pytest.raises(CheckpointError, match=r"model-1\.safetensors` cannot be read: Permission denied"):
        check_checkpoint(model, KNOWN["zai-org/GLM-4.6"])


def test_index_that_places_a_tensor_where_it_is_not(model) -> None:
    index = model / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.ghost.weight"] = "model-0.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"places `model\.ghost\.weight`"):
        check(model)


def test_index_without_a_map(model) -> None:
    (model / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no `weight_map`"):
        check(model)


def test_folder_without_weights(write_folder) -> None:
    folder = write_folder()
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match="no weights"):
        check(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_attention_heads": 24}, r"self_attn\.q_proj\.weight` is \[384, 96\], config\.json asks for \[768, 96\]"),
        ({"moe_intermediate_size": 64}, r"\[48, 96\], config\.json asks for \[64, 96\]"),
        ({"n_routed_experts": 4}, "have 5 experts; 4"),
        ({"n_routed_experts": 6}, r"gate\.weight` is \[5, 96\]"),
        ({"num_hidden_layers": 2}, "have 3 layers; 2"),
        ({"num_hidden_layers": 4}, "is missing"),
        ({"vocab_size": 131}, r"embed_tokens\.weight` is \[130, 96\]"),
        ({"first_k_dense_replace": 0}, r"layers\.0\.mlp\.gate\.weight` is missing"),
        ({"tie_word_embeddings": True, "n_shared_experts": 2}, r"shared_experts\.gate_proj\.weight` is \[48, 96\]"),
    ],
)
def test_config_that_contradicts_the_tensors(model, write_folder, changes, words) -> None:
    folder = write_folder(model.name, **changes)
    with pytest.raises(CheckpointError, match=words):
        check(folder)


def test_missing_tensor_is_named_with_how_many_more(write_folder) -> None:
    folder = write_folder()
    gone = ("model.norm.weight", "model.layers.1.self_attn.k_norm.weight")
    write_weights(folder, change=lambda tensors: {name: tensors[name] for name in tensors if name not in gone})
    with pytest.raises(CheckpointError, match=r"`model\.norm\.weight` is missing \(and 1 more\)"):
        check(folder)


def test_absent_mtp_layer_matters_only_when_it_is_used(write_folder) -> None:
    folder = write_folder()
    write_weights(folder, change=lambda tensors: {name: tensors[name] for name in tensors if ".layers.3." not in name})
    check(folder, mtp=False)
    with pytest.raises(CheckpointError, match=r"layers\.3\.") as caught:
        check(folder, mtp=True)
    assert caught.value.hint == "drop `--mtp`"


def test_mtp_layer_that_the_config_does_not_count_is_no_contradiction(model, write_folder) -> None:
    check(write_folder(model.name, num_nextn_predict_layers=0))


@pytest.mark.parametrize(("scheme", "suffix"), [("channel_token", "weight_scale"), ("block_fp8", "weight_scale_inv")])
def test_fp8_weights_need_their_scales(write_folder, request, scheme, suffix) -> None:
    folder = write_folder(quantization_config=request.getfixturevalue(scheme))
    write_weights(folder)
    check(folder)
    name = f"model.layers.1.mlp.experts.2.up_proj.{suffix}"
    write_weights(folder, change=lambda tensors: {key: tensors[key] for key in tensors if key != name})
    with pytest.raises(CheckpointError, match=r"experts\.2\.up_proj\.weight_scale` is missing"):
        check(folder)
    write_weights(folder, change=lambda tensors: {**tensors, name: torch.ones(7, 1)})
    with pytest.raises(CheckpointError, match=r"weight_scale` is \[7, 1\]"):
        check(folder)


def test_fp8_config_over_bf16_weights_and_the_reverse(model, write_folder, channel_token) -> None:
    folder = write_folder(model.name, quantization_config=channel_token)
    with pytest.raises(CheckpointError, match=r"is BF16, config\.json asks for F8_E4M3"):
        check(folder)
    write_weights(folder)
    with pytest.raises(CheckpointError, match=r"is F8_E4M3, config\.json asks for BF16"):
        check(write_folder(model.name))


def test_headers_of_a_355b_are_checked_in_seconds(monkeypatch, tmp_path) -> None:
    spec = KNOWN["zai-org/GLM-4.6"]
    tensors = {
        (module if module.endswith("bias") else module + ".weight"): Tensor(shape, "BF16", "a")
        for module, shape, _ in expected_tensors(spec, mtp=True)
    }
    assert len(tensors) > 40_000
    monkeypatch.setattr("glm_rocm.model.checkpoint._read_headers", lambda folder: (tensors, 93, 1))
    start = time.monotonic()
    check_checkpoint(tmp_path, spec, mtp=True)
    assert time.monotonic() - start < 5
