"""A GLM small enough to write by hand: one dense layer, one MoE layer, one MTP layer, sizes that fit no block."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file


@dataclass(frozen=True)
class Sizes:
    """The sizes that tests vary; the default is awkward on purpose (176 is GLM-4.5-Air's expert width at TP 8)."""

    hidden: int = 192
    heads: int = 3
    head_dim: int = 64
    dense: int = 320
    expert: int = 176
    experts: int = 2
    vocab: int = 64

    def config(self) -> dict[str, Any]:
        """config.json of the model."""
        return {
            "architectures": ["Glm4MoeForCausalLM"],
            "model_type": "glm4_moe",
            "dtype": "bfloat16",
            "hidden_size": self.hidden,
            "intermediate_size": self.dense,
            "moe_intermediate_size": self.expert,
            "num_hidden_layers": 2,
            "num_attention_heads": self.heads,
            "num_key_value_heads": 1,
            "head_dim": self.head_dim,
            "partial_rotary_factor": 0.5,
            "rope_theta": 1000000,
            "rms_norm_eps": 1e-05,
            "attention_bias": True,
            "use_qk_norm": True,
            "n_routed_experts": self.experts,
            "n_shared_experts": 1,
            "num_experts_per_tok": 1,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
            "num_nextn_predict_layers": 1,
            "vocab_size": self.vocab,
            "max_position_embeddings": 512,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "eos_token_id": [0],
            "pad_token_id": 0,
        }

    def layer(self, index: int) -> dict[str, tuple[int, ...]]:
        """Tensor shapes of one decoder layer: 0 is dense, 1 has experts, 2 is the MTP layer."""
        hidden, queries, head = self.hidden, self.heads * self.head_dim, self.head_dim
        shapes: dict[str, tuple[int, ...]] = {
            "input_layernorm.weight": (hidden,),
            "post_attention_layernorm.weight": (hidden,),
            "self_attn.q_proj.weight": (queries, hidden),
            "self_attn.k_proj.weight": (head, hidden),
            "self_attn.v_proj.weight": (head, hidden),
            "self_attn.o_proj.weight": (hidden, queries),
            "self_attn.q_proj.bias": (queries,),
            "self_attn.k_proj.bias": (head,),
            "self_attn.v_proj.bias": (head,),
            "self_attn.q_norm.weight": (head,),
            "self_attn.k_norm.weight": (head,),
        }
        wide = {"mlp.": self.dense} if index == 0 else {f"mlp.experts.{e}.": self.expert for e in range(self.experts)}
        if index > 0:
            wide["mlp.shared_experts."] = self.expert
            shapes["mlp.gate.weight"] = (self.experts, hidden)
            shapes["mlp.gate.e_score_correction_bias"] = (self.experts,)
        for place, width in wide.items():
            shapes[f"{place}gate_proj.weight"] = shapes[f"{place}up_proj.weight"] = (width, hidden)
            shapes[f"{place}down_proj.weight"] = (hidden, width)
        if index == 2:
            shapes |= {"enorm.weight": (hidden,), "hnorm.weight": (hidden,), "shared_head.norm.weight": (hidden,)}
            shapes["eh_proj.weight"] = (hidden, 2 * hidden)
            shapes |= {"embed_tokens.weight": (self.vocab, hidden), "shared_head.head.weight": (self.vocab, hidden)}
        return {f"model.layers.{index}.{name}": shape for name, shape in shapes.items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's shape."""
        shapes = {"model.embed_tokens.weight": (self.vocab, self.hidden), "model.norm.weight": (self.hidden,)}
        shapes |= {"lm_head.weight": (self.vocab, self.hidden)}
        for index in range(3):
            shapes |= self.layer(index)
        return shapes

    def tensors(self) -> dict[str, torch.Tensor]:
        """Seeded bf16 tensors of the whole model; the router's bias is F32 as in every GLM."""
        generator = torch.Generator().manual_seed(7)
        tensors = {}
        for name, shape in self.shapes().items():
            tensor = torch.randn(shape, generator=generator) * (0.2 if len(shape) == 2 else 0.05)
            if name.endswith("norm.weight"):
                tensor += 1.0
            tensors[name] = tensor if name.endswith("correction_bias") else tensor.bfloat16()
        return tensors


def write_checkpoint(folder: Path, sizes: Sizes, tensors: dict[str, torch.Tensor], *, shards: int = 1) -> Path:
    """The checkpoint in `folder`, cut into `shards` files with an index when there is more than one."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(sizes.config()))
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "chat_template.jinja").write_text("[gMASK]<sop>{{ messages }}")
    names = list(tensors)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard::shards]
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def sizes() -> type[Sizes]:
    """For tests that need other sizes."""
    return Sizes


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    """The model's tensors, free to change."""
    return Sizes().tensors()


@pytest.fixture
def source(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> Callable[..., Path]:
    """Write the (possibly changed) tensors as a checkpoint `bf16`; `shards=3` for several files."""

    def write(*, shards: int = 1) -> Path:
        return write_checkpoint(tmp_path / "bf16", Sizes(), tensors, shards=shards)

    return write


@pytest.fixture
def large_source(tmp_path: Path) -> Path:
    """A checkpoint of eight shards that take some tens of milliseconds each."""
    sizes = Sizes(hidden=1024, dense=2048, expert=1024, experts=4)
    return write_checkpoint(tmp_path / "bf16", sizes, sizes.tensors(), shards=8)


@pytest.fixture
def whole_block_source(tmp_path: Path) -> Path:
    """A checkpoint whose matrices are whole 128x128 blocks, which is what vLLM takes in `fp8_block`."""
    whole = Sizes(hidden=128, heads=2, head_dim=128, dense=256, expert=128, experts=4, vocab=128)
    return write_checkpoint(tmp_path / "bf16", whole, whole.tensors())
