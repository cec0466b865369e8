"""The adapters alone, on SGLang's own descriptions: who applies the routed scale, whether the shared expert is fused,
FP8 in both schemes, and a chain of drafts against SGLang's own kernels in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from glm_rocm.engines.active import active_plan
from glm_rocm.engines.sglang import experts, speculation
from glm_rocm.errors import EngineError
from glm_rocm.reference import moe as reference

HIDDEN, WIDTH, EXPERTS, TOP_K, SCALE = 64, 32, 8, 2, 2.5


@pytest.fixture
def active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A plan for the pocket GLM, as this process's."""
    from glm_rocm.engines import get_engine
    from glm_rocm.plan import make_plan
    from glm_rocm.pocket import checkpoint_path
    from glm_rocm.target import parse_target

    made = make_plan(str(checkpoint_path()), parse_target("cpu"), engine="sglang", ops=get_engine("sglang").ops)
    (tmp_path / "plan.json").write_text(made.to_json())
    monkeypatch.setenv("GLM_ROCM_PLAN", str(tmp_path / "plan.json"))
    active_plan.cache_clear()
    yield made
    active_plan.cache_clear()


def layer(count: int, chosen: int) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """SGLang's description of a batch of 5 tokens and of `count` experts, `chosen` of them for each token."""
    make = torch.Generator().manual_seed(0)
    x = torch.randn(5, HIDDEN, generator=make)
    w13 = torch.randn(count, 2 * WIDTH, HIDDEN, generator=make) / 8
    w2 = torch.randn(count, HIDDEN, WIDTH, generator=make) / 6
    ids = torch.stack([torch.randperm(count, generator=make)[:chosen] for _ in range(5)]).int()
    weights = torch.rand(5, chosen, generator=make)
    dispatch = SimpleNamespace(hidden_states=x, topk_output=SimpleNamespace(topk_ids=ids, topk_weights=weights))
    quant = SimpleNamespace(
        w13_weight=w13, w2_weight=w2, w13_scale=None, w2_scale=None, use_fp8_w8a8=False, block_shape=None,
        per_channel_quant=False,
    )  # fmt: skip
    return dispatch, quant, {"x": x, "w13": w13, "w2": w2, "ids": ids, "weights": weights}


def run(dispatch: Any, quant: Any, **config: Any) -> torch.Tensor:
    from sglang.srt.layers.moe.moe_runner.base import MoeRunnerConfig

    asked = MoeRunnerConfig(routed_scaling_factor=SCALE, **config)
    found: torch.Tensor = experts.GlmRunner(asked).run_from_dispatch(dispatch, quant, asked).hidden_states
    return found


@pytest.mark.parametrize(("flag", "factor"), [(None, 1.0), ("_is_cuda", SCALE), ("_use_aiter", SCALE)])
def test_the_routed_scale_is_applied_by_the_runner_only_where_the_model_leaves_it(
    flag: str | None, factor: float, active: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sglang.srt.models import glm4_moe

    if flag:
        monkeypatch.setattr(glm4_moe, flag, True)
    dispatch, quant, tensors = layer(EXPERTS, TOP_K)
    torch.testing.assert_close(run(dispatch, quant), factor * reference.experts(**tensors), rtol=1e-5, atol=1e-5)


def test_a_fused_shared_expert_is_one_expert_and_one_choice_more(active: Any) -> None:
    dispatch, quant, tensors = layer(EXPERTS + 1, TOP_K + 1)
    tensors["ids"][:, -1] = EXPERTS
    found = run(dispatch, quant, num_fused_shared_experts=1)
    torch.testing.assert_close(found, reference.experts(**tensors), rtol=1e-5, atol=1e-5)


def test_an_expert_of_another_rank_adds_nothing(active: Any) -> None:
    dispatch, quant, tensors = layer(EXPERTS, TOP_K)
    whole = reference.experts(**tensors | {"weights": tensors["weights"] * (tensors["ids"] != 3)})
    tensors["ids"][tensors["ids"] == 3] = -1
    torch.testing.assert_close(run(dispatch, quant), whole, rtol=1e-5, atol=1e-5)


def test_quantised_experts_of_another_kind_are_refused(active: Any) -> None:
    dispatch, quant, _ = layer(EXPERTS, TOP_K)
    quant.use_fp8_w8a8 = True
    with pytest.raises(NotImplementedError, match="per channel"):
        run(dispatch, quant)


def test_a_branching_draft_is_refused() -> None:
    with pytest.raises(EngineError, match="eagle-topk 2"):
        speculation.require_chain(2)


SGLANG_OWN = """
import torch
from glm_rocm.engines.sglang import torchvision
torchvision.watch()
from glm_rocm.engines.sglang import speculation
from sglang.kernels.ops.speculative import spec_tree
B, n = 3, 4
def blank():
    rows = lambda: torch.full((B, n), -1)
    return {"positions": torch.empty(B * n, dtype=torch.long), "retrieve_index": rows(),
            "retrieve_next_token": rows(), "retrieve_next_sibling": rows()}
lengths = torch.tensor([7, 1, 130])
selected = torch.arange(n - 1).repeat(B, 1)
parents = torch.arange(-1, n - 2).repeat(B, 1)
mask = torch.ones(int(lengths.sum()) * n + n * n * B, dtype=torch.bool)
laid = []
for build in (spec_tree.sgl_build_tree_kernel_triton, speculation.build_chain):
    out = blank()
    build(parents, selected, lengths, mask.clone(), *out.values(), 1, n - 1, n, spec_tree.TreeMaskMode.FULL_MASK)
    laid.append(out)
for name in laid[0]:
    assert torch.equal(laid[0][name], laid[1][name]), (name, laid)
drafts = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 8], [5, 9, 7, 8]])
said = torch.tensor([[6, 7, 8, 4], [6, 1, 8, 2], [3, 7, 8, 1]])
verified = []
for verify in (spec_tree.verify_tree_greedy_triton, speculation.verify_chain):
    out = {"predicts": torch.zeros(B * n, dtype=torch.int32), "accept_index": torch.full((B, n), -1, dtype=torch.int32),
           "accept_token_num": torch.zeros(B, dtype=torch.int32)}
    chain = laid[0]
    verify(**out, candidates=drafts, retrieve_index=chain["retrieve_index"],
           retrieve_next_token=chain["retrieve_next_token"], retrieve_next_sibling=chain["retrieve_next_sibling"],
           target_predict=said)
    verified.append(out)
assert verified[0]["accept_token_num"].tolist() == [3, 1, 0]
for name in verified[0]:
    assert torch.equal(verified[0][name], verified[1][name]), (name, verified)
"""


@pytest.mark.slow
def test_a_chain_is_laid_out_and_verified_as_by_sglangs_own_kernels() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SGLANG_OWN],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_sampling_beside_drafts_has_the_models_distribution() -> None:
    torch.manual_seed(0)
    rows, chain, vocab = 20000, 2, 5
    probs = torch.tensor([0.5, 0.0, 0.2, 0.05, 0.25]).expand(rows, chain, vocab).contiguous()
    drafts = torch.tensor([[0, 4]]).expand(rows, chain).contiguous()  # the second is a draft that comes in 1 of 4
    found = {
        "predicts": torch.zeros(rows * chain, dtype=torch.int32),
        "accept_index": torch.full((rows, chain), -1, dtype=torch.int32),
        "accept_token_num": torch.zeros(rows, dtype=torch.int32),
    }
    index = torch.arange(rows * chain).view(rows, chain)
    speculation.sample_chain(
        **found, candidates=drafts, retrive_index=index, uniform_samples=torch.rand(rows, chain), target_probs=probs
    )
    said = found["predicts"].view(rows, chain)
    accepted = found["accept_token_num"].bool()
    torch.testing.assert_close(torch.bincount(said[:, 0], minlength=vocab) / rows, probs[0, 0], atol=0.015, rtol=0)
    assert torch.equal(accepted, said[:, 0] == 4)
    after = torch.bincount(said[accepted, 1], minlength=vocab) / accepted.sum()
    torch.testing.assert_close(after, probs[0, 0], atol=0.03, rtol=0)
    assert not (said == 1).any()


def test_the_likeliest_tokens_are_kept_and_sum_to_one() -> None:
    probs = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(
        speculation.keep_top_k(probs, torch.tensor([2, 1 << 30])),
        torch.tensor([[4 / 7, 3 / 7, 0, 0], [0.1, 0.2, 0.3, 0.4]]),
    )
    torch.testing.assert_close(
        speculation.keep_top_p(probs, torch.tensor([0.35, 0.75])),
        torch.tensor([[1.0, 0, 0, 0], [0, 2 / 9, 3 / 9, 4 / 9]]),
    )
