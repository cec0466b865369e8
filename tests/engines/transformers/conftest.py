"""A random GLM with the awkward shapes of GLM-4.5-Air at TP 8, and kernels that count their calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from glm_rocm.engines.transformers import active, plan_generation
from glm_rocm.plan import Plan
from glm_rocm.target import parse_target

LAYERS, DENSE_LAYERS = 3, 1


def write_model(folder: Path, **changes: Any) -> Path:
    """12 query heads on one, N = 176, 8 experts top 2, routed scale 2.5; weights large enough to make tokens vary."""
    from transformers import Glm4MoeConfig, Glm4MoeForCausalLM

    sizes = {
        "vocab_size": 97,
        "hidden_size": 192,
        "intermediate_size": 320,
        "moe_intermediate_size": 176,
        "num_hidden_layers": LAYERS,
        "first_k_dense_replace": DENSE_LAYERS,
        "num_attention_heads": 12,
        "num_key_value_heads": 1,
        "head_dim": 128,
        "attention_bias": True,
        "use_qk_norm": True,
        "n_routed_experts": 8,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "routed_scaling_factor": 2.5,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5},
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "eos_token_id": [96],
    }
    torch.manual_seed(11)
    model = Glm4MoeForCausalLM(Glm4MoeConfig(**(sizes | changes)))
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.normal_(std=0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A model this small is no work for two threads; on a busy machine they wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random GLM, fp32, one KV head."""
    return write_model(tmp_path_factory.mktemp("random") / "glm")


@pytest.fixture(scope="session")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two KV heads, whose cache no view can merge into pages."""
    return write_model(tmp_path_factory.mktemp("random") / "glm-2", num_key_value_heads=2)


@pytest.fixture
def plan_for() -> Callable[..., Plan]:
    """`plan_for(folder, dtype=...)`: a plan for this CPU."""

    def plan(folder: Path, dtype: str = "float32") -> Plan:
        return plan_generation(str(folder), parse_target("cpu"), dtype=dtype)

    return plan


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counter[str]]:
    """Count the calls of the kernels that are installed now, so that a silent fallback shows as a missing call."""

    def count() -> Counter[str]:
        counter: Counter[str] = Counter()
        for op in list(active._kernels):
            monkeypatch.setitem(active._kernels, op, _counted(op, active._kernels[op], counter))
        return counter

    return count


def _counted(op: str, run: Callable[..., Any], counter: Counter[str]) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        counter[op] += 1
        return run(*args, **kwargs)

    return counted
