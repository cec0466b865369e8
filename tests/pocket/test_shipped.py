"""The shipped checkpoint: what is in it, and that it still knows what its scores claim."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from glm_rocm.pocket.data.heldout import TASKS
from glm_rocm.pocket.evaluate import MTP, MTP_REQUIRED, evaluate, wilson
from glm_rocm.pocket.export import config_json, load, stop_ids
from glm_rocm.pocket.tokenizer import build_tokenizer

LIMIT = 24_000_000
"""Bytes that the whole folder may take."""


def test_it_is_small_enough_to_ship(shipped: Path) -> None:
    assert sum(file.stat().st_size for file in shipped.iterdir()) <= LIMIT


def test_its_configuration_is_the_geometry_of_glm(shipped: Path) -> None:
    """One rank of GLM-4.6 at TP 8: 12 heads on one KV head, head_dim 128, N = 192, scale 2.5, QK-norm."""
    stored = json.loads((shipped / "config.json").read_text(encoding="utf-8"))
    expected = {
        "architectures": ["Glm4MoeForCausalLM"], "num_attention_heads": 12, "num_key_value_heads": 1, "head_dim": 128,
        "moe_intermediate_size": 192, "routed_scaling_factor": 2.5, "use_qk_norm": True, "attention_bias": True,
        "partial_rotary_factor": 0.5, "n_group": 1, "norm_topk_prob": True, "num_nextn_predict_layers": 1,
    }  # fmt: skip
    assert expected.items() <= stored.items()
    assert stored == config_json(load(shipped).config, stop_ids(build_tokenizer()))


def test_its_router_biases_are_trained(shipped: Path) -> None:
    """A bias of zero would hide an engine that forgets it."""
    with safe_open(shipped / "model.safetensors", framework="pt") as stored:
        names = [name for name in stored.keys() if name.endswith("e_score_correction_bias")]  # noqa: SIM118
        assert len(names) == 4
        for name in names:
            bias = stored.get_tensor(name)
            assert bias.dtype == torch.float32
            assert bias.abs().max() > 0.02, name


def test_its_published_scores_are_whole(shipped: Path) -> None:
    scores = json.loads((shipped / "scores.json").read_text(encoding="utf-8"))["scores"]
    assert set(scores) == {*TASKS, MTP}
    for name, score in scores.items():
        assert score["count"] >= 300, name
        assert score["rate"] == pytest.approx(score["right"] / score["count"], abs=1e-4)
        assert score["required"] == (MTP_REQUIRED if name == MTP else TASKS[name].required)


@pytest.mark.parametrize("name", [*TASKS, MTP])
def test_its_published_score_reaches_what_is_required(shipped: Path, name: str) -> None:
    score = json.loads((shipped / "scores.json").read_text(encoding="utf-8"))["scores"][name]
    assert score["rate"] >= score["required"]


@pytest.mark.slow
def test_it_answers_a_sample_of_each_held_out_set(shipped: Path) -> None:
    """20 questions per task, other ones than the published scores are made of; three standard errors of slack."""
    scores, _ = evaluate(load(shipped), count=20, tasks=list(TASKS), seed=4242)
    for name, score in scores.items():
        slack = 3 * (score.required * (1 - score.required) / score.count) ** 0.5
        assert score.rate >= score.required - slack, (name, score)


@pytest.mark.parametrize(
    ("right", "count", "expected"),
    [(300, 300, (0.9874, 1.0)), (0, 300, (0.0, 0.0126)), (285, 300, (0.9191, 0.9694)), (10, 20, (0.2993, 0.7007))],
    ids=["all", "none", "most", "half"],
)
def test_wilson_intervals_are_the_textbook_ones(right: int, count: int, expected: tuple[float, float]) -> None:
    assert wilson(right, count) == pytest.approx(expected, abs=2e-4)
