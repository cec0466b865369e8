"""Write a trained pocket GLM as a Hugging Face checkpoint in GLM-4.5's own tensor names.

`python -m glm_rocm.pocket.export RUN_FOLDER CHECKPOINT_FOLDER`
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from glm_rocm.pocket.config import PocketConfig
from glm_rocm.pocket.model import Attention, Dense, Layer, PocketGLM
from glm_rocm.pocket.tokenizer import STOP_TOKENS, build_tokenizer, save_tokenizer

CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
State = dict[str, Tensor]


def _attention(layer: Attention, prefix: str) -> State:
    config = layer.config
    sizes = [config.num_heads * config.head_dim, *[config.num_kv_heads * config.head_dim] * 2]
    state: State = {f"{prefix}o_proj.weight": layer.out}
    for name, weight, bias in zip(
        "qkv", torch.split(layer.qkv, sizes), torch.split(layer.qkv_bias, sizes), strict=True
    ):
        state |= {f"{prefix}{name}_proj.weight": weight, f"{prefix}{name}_proj.bias": bias}
    return state | {f"{prefix}q_norm.weight": layer.q_norm.weight, f"{prefix}k_norm.weight": layer.k_norm.weight}


def _mlp(gate_up: Tensor, down: Tensor, prefix: str) -> State:
    gate, up = gate_up.chunk(2)
    names = {"gate_proj": gate, "up_proj": up, "down_proj": down}
    return {f"{prefix}{name}.weight": weight for name, weight in names.items()}


def _layer(layer: Layer, prefix: str) -> State:
    state = _attention(layer.attention, prefix + "self_attn.")
    state[prefix + "input_layernorm.weight"] = layer.input_norm.weight
    state[prefix + "post_attention_layernorm.weight"] = layer.post_norm.weight
    mlp = layer.mlp
    if isinstance(mlp, Dense):
        return state | _mlp(mlp.gate_up, mlp.down, prefix + "mlp.")
    state |= {prefix + "mlp.gate.weight": mlp.router, prefix + "mlp.gate.e_score_correction_bias": mlp.bias}
    for index in range(mlp.config.num_experts):
        state |= _mlp(mlp.gate_up[index], mlp.down[index], f"{prefix}mlp.experts.{index}.")
    return state | _mlp(mlp.shared.gate_up, mlp.shared.down, prefix + "mlp.shared_experts.")


def named_tensors(model: PocketGLM) -> State:
    """All weights under GLM's names, as views of the model's own: written to, they change the model.

    The MTP layer is layer `num_layers` and has its own name for the embedding and for the head, as GLM's does.
    """
    prefix = f"model.layers.{model.config.num_layers}."
    state: State = {
        "model.embed_tokens.weight": model.embed,
        "lm_head.weight": model.head,
        "model.norm.weight": model.norm.weight,
        prefix + "enorm.weight": model.mtp_embed_norm.weight,
        prefix + "hnorm.weight": model.mtp_hidden_norm.weight,
        prefix + "eh_proj.weight": model.mtp_join,
        prefix + "shared_head.norm.weight": model.mtp_norm.weight,
        prefix + "embed_tokens.weight": model.embed,
        prefix + "shared_head.head.weight": model.head,
    }
    for index, layer in enumerate([*model.layers, model.mtp]):
        assert isinstance(layer, Layer)
        state |= _layer(layer, f"model.layers.{index}.")
    return {name: tensor.detach() for name, tensor in state.items()}


def checkpoint_state(model: PocketGLM) -> State:
    """What the checkpoint holds: bf16, but for the router's `e_score_correction_bias`, which stays F32."""
    return {
        name: tensor.to(torch.float32 if name.endswith("correction_bias") else torch.bfloat16).clone()
        for name, tensor in named_tensors(model).items()
    }


def load(folder: Path) -> PocketGLM:
    """The pocket GLM of a checkpoint folder, in fp32 and ready to evaluate."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = PocketGLM(PocketConfig(**{ours: settings[theirs] for ours, theirs in CONFIG_NAMES.items()}))
    stored = load_file(folder / "model.safetensors")
    for name, tensor in named_tensors(model).items():
        tensor.copy_(stored[name])
    return model.eval()


CONFIG_NAMES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "dense_size": "intermediate_size",
    "expert_size": "moe_intermediate_size",
    "num_experts": "n_routed_experts",
    "experts_per_token": "num_experts_per_tok",
    "first_moe_layer": "first_k_dense_replace",
    "routed_scale": "routed_scaling_factor",
    "rotary_fraction": "partial_rotary_factor",
    "rope_theta": "rope_theta",
    "norm_eps": "rms_norm_eps",
    "max_positions": "max_position_embeddings",
}
"""Our names of the sizes, and those of `config.json`."""


def config_json(config: PocketConfig, stop_ids: list[int]) -> dict[str, Any]:
    """`config.json` of a pocket GLM."""
    return {
        "architectures": ["Glm4MoeForCausalLM"],
        "model_type": "glm4_moe",
        **{theirs: getattr(config, ours) for ours, theirs in CONFIG_NAMES.items()},
        "num_nextn_predict_layers": 1,
        "attention_bias": True,
        "attention_dropout": 0.0,
        "use_qk_norm": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": config.rope_theta,
            "partial_rotary_factor": config.rotary_fraction,
        },
        "hidden_act": "silu",
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": True,
        "initializer_range": 0.02,
        "tie_word_embeddings": False,
        "use_cache": True,
        "eos_token_id": stop_ids,
        "pad_token_id": stop_ids[0],
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
    }


def stop_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids of the tokens that end an answer."""
    found = [tokenizer.token_to_id(token) for token in STOP_TOKENS]
    return [number for number in found if number is not None]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def export(model: PocketGLM, folder: Path) -> None:
    """Write weights, configuration, tokenizer and chat template of `model` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = stop_ids(build_tokenizer())
    _write_json(folder / "config.json", config_json(model.config, ids))
    generation = {"eos_token_id": ids, "pad_token_id": ids[0], "do_sample": False}
    _write_json(folder / "generation_config.json", generation)
    save_tokenizer(folder)
    shutil.copyfile(CHAT_TEMPLATE, folder / "chat_template.jinja")
    temporary = folder / "model.safetensors.tmp"
    save_file(checkpoint_state(model), temporary, metadata={"format": "pt"})
    temporary.chmod(0o644)
    temporary.rename(folder / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m glm_rocm.pocket.export", description="Export a training run.")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("checkpoint", type=Path, help="folder to write")
    options = parser.parse_args()
    model = PocketGLM(PocketConfig())
    model.load_state_dict(torch.load(options.run / "last.pt", weights_only=True)["model"])
    export(model, options.checkpoint)


if __name__ == "__main__":
    main()
