"""Tiny GLMs made by transformers itself, saved and read back in the layout of a published checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Glm4MoeConfig, Glm4MoeForCausalLM

from glm_rocm.model import load_spec
from glm_rocm.reference.model import Model, load_model, read_tensors

SIZES: dict[str, Any] = {
    "vocab_size": 160,
    "hidden_size": 48,
    "intermediate_size": 80,
    "moe_intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 12,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "partial_rotary_factor": 0.5,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "attention_bias": True,
    "use_qk_norm": True,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
    "n_group": 1,
    "topk_group": 1,
    "initializer_range": 0.2,
    "max_position_embeddings": 256,
    "num_nextn_predict_layers": 0,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small lose more to a second thread than it gives, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_glm(tmp_path: Path) -> Callable[..., tuple[Glm4MoeForCausalLM, dict[str, Tensor], Model]]:
    """Make a tiny GLM: transformers' model, its tensors as saved, and the reference's model of them."""

    def make(**changes: Any) -> tuple[Glm4MoeForCausalLM, dict[str, Tensor], Model]:
        torch.manual_seed(0)
        theirs = Glm4MoeForCausalLM(Glm4MoeConfig(**{**SIZES, **changes})).eval()
        for name, tensor in theirs.state_dict().items():
            # transformers starts biases at 0 and norms at 1, which would hide that they are read at all.
            if name.endswith(("bias", "norm.weight")):
                tensor.add_(torch.randn_like(tensor) * 0.2)
        theirs.save_pretrained(tmp_path)
        tensors = read_tensors(tmp_path)
        return theirs, tensors, load_model(tensors, load_spec(str(tmp_path)))

    return make
