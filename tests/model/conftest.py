"""A GLM small enough to write in a moment, and folders that hold one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# As zai-org/GLM-4.5's config.json is laid out (transformers 4 keys), at sizes that fit no power of two.
CONFIG: dict[str, Any] = {
    "architectures": ["Glm4MoeForCausalLM"],
    "model_type": "glm4_moe",
    "hidden_size": 96,
    "intermediate_size": 240,
    "moe_intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "n_routed_experts": 5,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
    "use_qk_norm": True,
    "attention_bias": True,
    "partial_rotary_factor": 0.5,
    "rope_theta": 1000000,
    "rms_norm_eps": 1e-05,
    "vocab_size": 130,
    "max_position_embeddings": 2048,
    "num_nextn_predict_layers": 1,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}

# `quantization_config` of an llm-compressor FP8_DYNAMIC checkpoint, the layout of zai-org/GLM-4.5-FP8.
CHANNEL_TOKEN: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "quantization_status": "compressed",
    "kv_cache_scheme": None,
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", "dynamic": False},
            "input_activations": {
                "num_bits": 8,
                "type": "float",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
        }
    },
    "ignore": ["lm_head", "re:.*mlp\\.gate$"],
}

BLOCK_FP8: dict[str, Any] = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "weight_block_size": [128, 128],
    "modules_to_not_convert": ["lm_head", "model.layers.0"],
}


def copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


WriteModel = Callable[..., Path]


@pytest.fixture
def config() -> dict[str, Any]:
    """config.json, a copy that the test may change."""
    return copy(CONFIG)


@pytest.fixture
def channel_token() -> dict[str, Any]:
    """`quantization_config` of the published FP8 checkpoints, a copy."""
    return copy(CHANNEL_TOKEN)


@pytest.fixture
def block_fp8() -> dict[str, Any]:
    """`quantization_config` of 128 x 128 blocks as DeepSeek writes it, a copy."""
    return copy(BLOCK_FP8)


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteModel:
    """Write config.json (with changes; None removes a key) into a folder of a given name."""

    def write(name: str = "small-glm", **changes: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        merged = {key: value for key, value in {**CONFIG, **changes}.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(merged))
        return folder

    return write
