"""Reading config.json: layouts, defaults, contradictions, quantisation."""

from __future__ import annotations

import json
import shutil

import pytest

from glm_rocm.errors import CheckpointError
from glm_rocm.model import KNOWN, load_spec
from glm_rocm.model.config import spec_from_config


def read(config, **keywords):
    return spec_from_config(config, name="small-glm", path=None, source="test", **keywords)


def test_transformers_4_keys(config) -> None:
    spec = read(config)
    assert (spec.layers, spec.hidden, spec.heads, spec.kv_heads, spec.head_dim) == (3, 96, 12, 2, 32)
    assert (spec.rotary_dim, spec.rope_theta, spec.dtype) == (16, 1e6, "bfloat16")
    assert (spec.experts, spec.top_k, spec.routed_scale, spec.first_dense) == (5, 2, 2.5, 1)


def test_transformers_5_keys_mean_the_same(config) -> None:
    before = read(config)
    config["rope_parameters"] = {
        "rope_theta": config.pop("rope_theta"),
        "partial_rotary_factor": config.pop("partial_rotary_factor"),
        "rope_type": "default",
    }
    config["dtype"] = config.pop("torch_dtype")
    assert read(config) == before


def test_config_that_transformers_itself_writes_is_read_the_same(config, tmp_path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    transformers.Glm4MoeConfig(**config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert read(written) == read(config)


def test_known_dimensions_agree_with_transformers_defaults_for_air() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    # Glm4MoeConfig's defaults are Air's, but for those that the published configs override.
    default = transformers.Glm4MoeConfig(
        num_nextn_predict_layers=1, attention_bias=True, rope_theta=1e6, head_dim=128, dtype="bfloat16"
    ).to_dict()
    default["rope_parameters"]["rope_theta"] = 1e6
    air = KNOWN["zai-org/GLM-4.5-Air"]
    assert spec_from_config(default, name=air.name, path=None, source=air.source) == air


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("glm4_moe_lite", "GLM-4.7-Flash"),
        ("glm4v_moe", "GLM-4.5V"),
        ("deepseek_v3", "DeepSeek-V3"),
        ("chatglm", "ChatGLM"),
        ("mamba2", "mamba2"),
    ],
)
def test_other_models_are_refused_with_what_they_are(config, kind, what) -> None:
    config["model_type"] = kind
    with pytest.raises(CheckpointError, match=what) as caught:
        read(config)
    assert kind in caught.value.found
    assert caught.value.hint


def test_config_without_a_model_type_is_refused() -> None:
    with pytest.raises(CheckpointError, match="names no `model_type`"):
        read({})


@pytest.mark.parametrize(
    "key",
    ["hidden_size", "num_attention_heads", "n_routed_experts", "rope_theta", "routed_scaling_factor", "vocab_size"],
)
def test_missing_dimension_is_named(config, key) -> None:
    del config[key]
    with pytest.raises(CheckpointError, match=f"has no `{key}`"):
        read(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "96"),
        ("hidden_size", 0),
        ("hidden_size", True),
        ("num_hidden_layers", 3.0),
        ("use_qk_norm", 1),
        ("routed_scaling_factor", float("nan")),
        ("routed_scaling_factor", -1.0),
        ("torch_dtype", "int8"),
        ("rope_parameters", [1]),
    ],
)
def test_value_of_the_wrong_type_or_range_is_named(config, key, value) -> None:
    config[key] = value
    with pytest.raises(CheckpointError, match=key.replace("torch_", "")):
        read(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_key_value_heads": 5}, "12 query heads on 5 KV heads"),
        ({"num_experts_per_tok": 6}, "top-6 of 5 experts"),
        ({"first_k_dense_replace": 4}, "4 dense layers of 3"),
        ({"n_group": 2}, "5 experts in 2 groups"),
        ({"n_group": 5, "topk_group": 6}, "6 of 5 groups"),
        ({"partial_rotary_factor": 1.5}, "48 rotated of 32"),
        ({"head_dim": 6}, "3 rotated of 6"),
        ({"num_nextn_predict_layers": 2}, "2 MTP layers"),
    ],
)
def test_keys_that_contradict_one_another(config, changes, words) -> None:
    with pytest.raises(CheckpointError, match=words):
        read({**config, **changes})


def test_head_dim_left_out_is_hidden_over_heads(config) -> None:
    del config["head_dim"]
    assert read(config).head_dim == 8


def test_fp8_per_channel_and_token(config, channel_token) -> None:
    spec = read({**config, "quantization_config": channel_token})
    assert spec.quantization.scheme == "fp8_channel_token"
    assert spec.quantization.covers("model.layers.1.mlp.experts.0.up_proj")
    assert not spec.quantization.covers("lm_head")
    assert not spec.quantization.covers("model.layers.1.mlp.gate")
    assert spec.quantization.covers("model.layers.1.mlp.gate_proj")


def test_fp8_blocks_by_either_method(config, channel_token, block_fp8) -> None:
    spec = read({**config, "quantization_config": block_fp8})
    assert spec.quantization.scheme == "fp8_block"
    assert not spec.quantization.covers("model.layers.0.self_attn.q_proj")
    assert spec.quantization.covers("model.layers.1.self_attn.q_proj")
    group = channel_token["config_groups"]["group_0"]
    group["weights"] |= {"strategy": "block", "block_structure": [128, 128]}
    group["input_activations"] |= {"strategy": "group", "group_size": 128}
    assert read({**config, "quantization_config": channel_token}).quantization.scheme == "fp8_block"


def test_the_name_never_decides_the_quantisation(write_folder, channel_token) -> None:
    plain = load_spec(str(write_folder("GLM-4.5-FP8")))
    assert plain.quantization.scheme == "none"
    fp8 = load_spec(str(write_folder("GLM-4.5", quantization_config=channel_token)))
    assert fp8.quantization.scheme == "fp8_channel_token"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quant_method": "awq"}, "quant_method `awq`"),
        ({"quant_method": "fp8"}, "weight_block_size None"),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, r"\[64, 64\]"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "static"}, "static"),
        ({"config_groups": {}}, "without `config_groups`"),
        ({"config_groups": {"a": {"weights": None}}}, "without `weights`"),
        ({"config_groups": {"a": {"weights": {"type": "int", "num_bits": 4}}}}, "int weights of 4 bits"),
        ({"config_groups": {"a": {"weights": {"type": "float", "num_bits": 8}}}}, "activations that are not quantised"),
    ],
)
def test_unknown_fp8_scheme_is_refused_with_what_it_is(config, channel_token, change, words) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        read({**config, "quantization_config": {**channel_token, **change}})
    assert "quantize" in caught.value.hint


def test_per_tensor_and_static_fp8_are_refused(config, channel_token) -> None:
    for part, change in (
        ("weights", {"strategy": "tensor"}),
        ("input_activations", {"dynamic": False}),
        ("input_activations", {"strategy": "tensor"}),
    ):
        quantization = json.loads(json.dumps(channel_token))
        quantization["config_groups"]["group_0"][part] |= change
        with pytest.raises(CheckpointError, match="unknown quantisation"):
            read({**config, "quantization_config": quantization})


def test_mixed_schemes_are_refused(config, channel_token) -> None:
    other = json.loads(json.dumps(channel_token["config_groups"]["group_0"]))
    other["weights"] |= {"strategy": "block", "block_structure": [128, 128]}
    other["input_activations"] |= {"strategy": "group"}
    channel_token["config_groups"]["group_1"] = other
    with pytest.raises(CheckpointError, match="a mixture of fp8_block and fp8_channel_token"):
        read({**config, "quantization_config": channel_token})


def test_folder_that_quantize_style_tools_copied_keeps_its_template(write_folder) -> None:
    folder = write_folder("anything")
    assert load_spec(str(folder)).tool_parser == "glm45"
    (folder / "chat_template.jinja").write_text("<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key>")
    assert load_spec(str(folder)).tool_parser == "glm47"
    (folder / "chat_template.jinja").write_text("<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>")
    renamed = folder.with_name("GLM-4.7")
    shutil.move(folder, renamed)
    assert load_spec(str(renamed)).tool_parser == "glm45"


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "\x00\x01"])
def test_config_that_is_no_json_object_is_refused(write_folder, content) -> None:
    folder = write_folder()
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json") as caught:
        load_spec(str(folder))
    assert caught.value.hint
