"""What the suite compares with is the reference: the same numbers, for many tokens at once and stage by stage."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from glm_rocm.model.checkpoint import local_folder
from glm_rocm.model.spec import ModelSpec
from glm_rocm.numerics import calc_diff
from glm_rocm.ops.moe import ExpertsProblem
from glm_rocm.reference import attention as reference_attention
from glm_rocm.reference import model as reference_model
from glm_rocm.reference import moe as reference_moe
from glm_rocm.reference.block import block
from glm_rocm.reference.norm_rope import cos_sin_table
from glm_rocm.reference.weights import load_block
from glm_rocm.validate import oracle
from glm_rocm.validate.block import empty_cache, growing, kernels_of
from glm_rocm.validate.layer import Chain, stages_of
from glm_rocm.validate.machine import Machine
from glm_rocm.validate.model import BASE, Runner, Variant
from glm_rocm.validate.op_moe import weights_of
from glm_rocm.validate.text import Sequence, pack, questions
from glm_rocm.validate.weights import quantized, tensors_of

FN = torch.float8_e4m3fn


@pytest.mark.parametrize("quant", ["none", "channel_token", "block"])
def test_experts_at_once_are_the_reference_s(quant: str) -> None:
    problem = ExpertsProblem(8, 2, 192, 176, "float32", quant, (128, 128) if quant == "block" else None)
    _, _, w13, w2, scales = weights_of(problem, FN, uneven=True)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(11, 192, generator=random)
    ids = torch.rand(11, 8, generator=random).argsort(-1)[:, :2].int()
    ids[3] = -1
    weights = torch.rand(11, 2, generator=random)
    mapping = torch.tensor([0, -1, 1, 2, -1, 3, 4, 5], dtype=torch.int32)
    for expert_map in (None, mapping):
        options = {**scales, "quant": quant, "expert_map": expert_map}
        want = reference_moe.experts(x, w13, w2, ids, weights, **options)
        got = oracle.experts(x, w13, w2, ids, weights, **options)
        assert float(calc_diff(got, want).max()) < 1e-10


def test_attention_at_once_is_the_reference_s() -> None:
    random = torch.Generator().manual_seed(0)
    k, v = torch.randn(2, 9, 16, 2, 32, generator=random).to(FN)
    q = torch.randn(10, 8, 32, generator=random)
    table = torch.randperm(9, generator=random)[:8].view(2, 4).int()
    starts, lengths = torch.tensor([0, 3, 9], dtype=torch.int32), torch.tensor([40, 6], dtype=torch.int32)
    options = {"scale": 0.2, "k_scale": 0.5, "v_scale": 2.0}
    want = reference_attention.attention(q, k, v, table, starts, lengths, **options)
    torch.testing.assert_close(oracle.attention(q, k, v, table, starts, lengths, **options), want)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("fp8", [False, True])
def test_chain_of_reference_stages_is_the_reference_block(pocket: ModelSpec, layer: int, fp8: bool) -> None:
    weights = load_block(tensors_of(pocket), layer, pocket)
    weights = quantized(weights, FN) if fp8 else weights
    x = torch.randn(20, pocket.hidden, generator=torch.Generator().manual_seed(0))
    batch, table = growing(20, pocket)[0], cos_sin_table(20, pocket.rotary_dim, pocket.rope_theta)
    want = block(x, weights, empty_cache(20, pocket, torch.float32), batch, table, pocket)
    chain = Chain(stages_of({}), pocket, torch.float32)
    got = chain.layer(x, weights, empty_cache(20, pocket, torch.float32), batch, table)
    # In FP8 a code may round the other way where the order of a sum differs.
    assert float(calc_diff(got, want).max()) < (1e-3 if fp8 else 1e-10)


def test_streamed_model_gives_the_reference_s_logits_and_drafts(pocket: ModelSpec, cpu: Machine) -> None:
    # Text that the model knows: on any other, one near tie of the router decides a token's figure.
    tokens = questions(local_folder(pocket), 1)[0].tokens[:35]
    packed = pack((Sequence("a", tokens, 10), Sequence("b", tokens[:9], 4)))
    runner = Runner(pocket, cpu, packed, {}, (Variant(BASE),))
    runner.hidden(lambda words: None)
    figures = runner.figures(lambda words: None)[BASE]
    model = reference_model.load_model(tensors_of(pocket), pocket)
    want = reference_model.logits(model, torch.tensor(tokens)).log_softmax(-1)
    likely = want[:-1].gather(1, torch.tensor(tokens)[1:, None])[:, 0]
    got = figures.logprob[packed.owner == 0][:-1]
    assert float((got - likely).abs().max()) < 0.15, "BF16 between the stages against fp32 throughout"
    drafts = reference_model.mtp_logits(model, torch.tensor(tokens)).argmax(-1)
    agree = (figures.draft[packed.owner == 0][:-1] == drafts).double().mean()
    assert float(agree) > 0.9


def test_one_layer_is_held_at_a_time(pocket: ModelSpec, cpu: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by a layer, whatever the number of layers."""
    import gc
    import weakref

    from glm_rocm.validate import model as module

    alive: list[weakref.ref[torch.Tensor]] = []
    real = module.load_block

    def counted(*arguments: object) -> object:
        gc.collect()
        assert sum(one() is not None for one in alive) == 0, "an earlier layer is still held"
        weights = real(*arguments)  # type: ignore[arg-type]
        alive.append(weakref.ref(weights.attention.q.weight))
        return weights

    monkeypatch.setattr(module, "load_block", counted)
    packed = pack((Sequence("a", tuple(range(30, 50)), 10),))
    runner = Runner(pocket, cpu, packed, kernels_of(pocket, cpu), (Variant(BASE), Variant("w", weights=True)))
    runner.hidden(lambda words: None)
    assert len(alive) == pocket.layers


def test_packed_pages_belong_to_one_sequence_each() -> None:
    packed = pack((Sequence("a", tuple(range(33)), 3), Sequence("b", (1, 2, 3), 1), Sequence("c", tuple(range(16)), 2)))
    slots = packed.batch.slots
    assert len(set(slots.tolist())) == len(slots) == 52
    assert packed.pages == 5
    assert int(packed.answer.sum()) == 30 + 2 + 14
    assert replace(packed).last.sum() == 3
