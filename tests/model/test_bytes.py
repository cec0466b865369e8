"""Per-rank shapes and bytes, held against published sizes and against tensors that transformers really makes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_rocm.errors import PlanError
from glm_rocm.model import KNOWN
from glm_rocm.model.checkpoint import expected_tensors
from glm_rocm.model.config import spec_from_config

BIG, AIR = KNOWN["zai-org/GLM-4.5"], KNOWN["zai-org/GLM-4.5-Air"]


@pytest.mark.parametrize(
    ("spec", "tp", "heads", "kv_heads", "copies", "columns"),
    [
        (BIG, 1, 96, 8, 1, 1536),
        (BIG, 4, 24, 2, 1, 384),
        (BIG, 8, 12, 1, 1, 192),
        (BIG, 16, 6, 1, 2, 96),
        (AIR, 1, 96, 8, 1, 1408),
        (AIR, 2, 48, 4, 1, 704),
        (AIR, 4, 24, 2, 1, 352),
        (AIR, 8, 12, 1, 1, 176),
    ],
)
def test_awkward_shapes_of_the_published_models(spec, tp, heads, kv_heads, copies, columns) -> None:
    rank = spec.per_rank(tp)
    assert (rank.heads, rank.kv_heads, rank.kv_copies, rank.moe_intermediate) == (heads, kv_heads, copies, columns)
    assert rank.experts == spec.experts


def test_expert_parallelism_deals_out_whole_experts() -> None:
    rank = BIG.per_rank(8, ep=4)
    assert (rank.experts, rank.moe_intermediate) == (40, 768)
    rank = BIG.per_rank(8, ep=8)
    assert (rank.experts, rank.moe_intermediate) == (20, 1536)


def test_degrees_in_which_the_models_can_be_cut() -> None:
    assert BIG.valid_tps(64) == (1, 2, 4, 8, 16, 32)
    assert AIR.valid_tps(64) == (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("tp", "words"),
    [(3, "8 KV heads"), (5, "96 query heads"), (24, "vocabulary"), (64, "96 query heads"), (0, "positive")],
)
def test_degree_that_does_not_divide_is_refused_with_those_that_do(tp, words) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        BIG.per_rank(tp)
    assert "1, 2, 4, 8, 16, 32" in caught.value.required


def test_block_fp8_refuses_degrees_that_cut_a_block() -> None:
    block = replace(BIG, quantization=replace(BIG.quantization, scheme="fp8_block"))
    assert block.valid_tps(64) == (1, 2, 4)
    with pytest.raises(PlanError, match="192 columns, not a multiple of the 128"):
        block.per_rank(8)
    # Air's dense layer has 10944 columns, which are no whole number of blocks at any TP, unless it is left in BF16.
    air = replace(AIR, quantization=replace(block.quantization))
    assert air.valid_tps(64) == (1,)
    dense_in_bf16 = replace(air.quantization, ignore=(r"re:model\.layers\.0\.mlp\..*",))
    assert (
        air.cut_block(1) == "at TP 1 a dense MLP has 10944 columns, not a multiple of the 128 that share an FP8 scale"
    )
    assert replace(air, quantization=dense_in_bf16).cut_block(1) is None


def test_weights_are_what_the_recipes_ask_for() -> None:
    # vllm-project/recipes gives 857-859 GB (BF16) and 428-430 GB (FP8) as the least VRAM: 1.2 times the weights.
    assert 1.2 * BIG.weight_bytes(1).total == pytest.approx(858e9, rel=0.005)
    assert 1.2 * KNOWN["zai-org/GLM-4.5-FP8"].weight_bytes(1).total == pytest.approx(429e9, rel=0.01)


def test_parameters_are_what_the_names_say() -> None:
    # 355B and 106B, router in float32 and all else in bfloat16, MTP layer and its copies of the embeddings aside.
    assert BIG.weight_bytes(1, mtp=False).total / 2 == pytest.approx(353e9, rel=0.002)
    assert AIR.weight_bytes(1, mtp=False).total / 2 == pytest.approx(106.9e9, rel=0.002)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_bytes_equal_those_of_the_model_that_transformers_makes(config, qk_norm) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    torch = pytest.importorskip("torch", reason="torch is an extra")
    config |= {"use_qk_norm": qk_norm, "vocab_size": 128}
    spec = spec_from_config(config, name="small", path=None, source="test")
    with torch.device("meta"):
        model = transformers.Glm4MoeForCausalLM(transformers.Glm4MoeConfig(**config))
    elements = sum(tensor.numel() for tensor in model.state_dict().values())
    router = (spec.layers - spec.first_dense) * spec.experts * (spec.hidden + 1)
    assert spec.weight_bytes(1, mtp=False).total == 2 * elements + 2 * router


@pytest.mark.parametrize(
    "name", ["zai-org/GLM-4.6", "zai-org/GLM-4.6-FP8", "zai-org/GLM-4.5-Air", "zai-org/GLM-4.5-Air-FP8"]
)
def test_bytes_are_the_sum_over_the_tensors_that_a_checkpoint_must_hold(name) -> None:
    spec = KNOWN[name]
    total = 0
    for module, shape, may_be_fp8 in expected_tensors(spec, mtp=True):
        elements = math.prod(shape)
        if may_be_fp8 and spec.quantization.covers(module):
            total += elements + 4 * shape[0]
        else:
            router = module.endswith((".mlp.gate", "e_score_correction_bias"))  # held in float32
            total += elements * (4 if router else 2)
    assert spec.weight_bytes(1).total == total


def test_dtype_of_the_engine_counts_not_that_of_the_file() -> None:
    assert BIG.weight_bytes(1, dtype="float32").embedding == 2 * BIG.weight_bytes(1).embedding


def test_fp8_halves_the_linears_and_adds_their_scales() -> None:
    fp8 = KNOWN["zai-org/GLM-4.5-FP8"].weight_bytes(8)
    plain = BIG.weight_bytes(8)
    assert fp8.embedding == plain.embedding
    assert fp8.router == plain.router
    scales = 89 * 160 * 4 * (2 * 192 + 5120)
    assert fp8.routed_experts == plain.routed_experts // 2 + scales


def test_shared_and_routed_weights_scale_with_tp_and_router_does_not() -> None:
    one, eight = BIG.weight_bytes(1), BIG.weight_bytes(8)
    assert one.routed_experts == 8 * eight.routed_experts
    assert one.shared_experts == 8 * eight.shared_experts
    assert (one.router, one.norms) == (eight.router, eight.norms)


def test_tied_embeddings_have_no_head() -> None:
    assert replace(BIG, tied_embeddings=True).weight_bytes(1).head == 0


def test_kv_cache_per_token() -> None:
    assert BIG.kv_bytes_per_token(1, "bfloat16") == 2 * 8 * 128 * 2 * 92
    assert BIG.kv_bytes_per_token(8, "bfloat16") == 2 * 1 * 128 * 2 * 92
    assert BIG.kv_bytes_per_token(16, "bfloat16") == BIG.kv_bytes_per_token(8, "bfloat16")
    assert BIG.kv_bytes_per_token(8, "float8_e4m3fnuz") == BIG.kv_bytes_per_token(8, "bfloat16") // 2
    assert BIG.kv_bytes_per_token(8, "bfloat16", mtp=True) == 2 * 128 * 2 * 93


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(KNOWN)), st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_ranks_together_hold_the_model_and_what_is_copied(name, tp) -> None:
    spec = KNOWN[name]
    whole, rank = spec.weight_bytes(1), spec.weight_bytes(tp)
    assert rank.total * tp >= whole.total
    # The overhead is router, norms, copied KV heads and the scales of row-cut weights: under 2.5 % at TP 8.
    assert tp > 8 or rank.total * tp <= 1.025 * whole.total
