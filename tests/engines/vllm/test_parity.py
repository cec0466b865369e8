"""A real vLLM with our kernels against vLLM alone, transformers and the torch reference, on the pocket GLM in float32.

Greedy tokens are compared in float32, where a tie of two logits is rare; FP8 is compared by the distributions over a
prompt, since one activation code that rounds the other way may turn a token.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from glm_rocm.model import load_spec
from glm_rocm.pocket import checkpoint_path
from glm_rocm.quantize import quantize_checkpoint
from glm_rocm.reference.model import load_model, logits, read_tensors

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

Child = Callable[..., Any]
PlanFor = Callable[..., Path]

TOKENS = 32
QUESTIONS = (
    "What is 48 + 27?",
    "Who are you?",
    "What is 305 - 118? /nothink",
    "My key is in the blue box. The lamp is in the red box. Where is the key?",
    "What is 9 * 7?",
    "Say hello to Mara.",
    "What is 12 + 30, and what is 7 + 5?",
    "Read this: " + "the tin is on the shelf; " * 12 + "where is the tin?",  # longer than a chunk of the prefill
)
ACCEPTANCE = {1: 0.8, 2: 0.5}
"""Least share of drafts accepted, by tokens drafted per step. The layer is trained to draft one token, not two."""

KL_BOUND = 1e-3
"""Mean KL that rounding to 16 bits may cost. A routed scale that is missing costs 0.03 and more."""

FP8_MEDIAN_BOUND = 1e-5
"""Median KL between two float32 computations of one FP8 model. The median, since a code that rounds the other way (sums
in another order bring that about) moves the few positions behind it, and a fault of a kernel moves all of them."""

HALF_PRECISION_MEDIAN_BOUND = 1e-2
"""The same where activations have 16 bits: many codes then round the other way, here in a model cut out of another."""


@pytest.fixture(scope="module")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the pocket GLM, so that all that is compared here has the same weights."""
    return Path(shutil.copytree(checkpoint_path(), tmp_path_factory.mktemp("pocket") / "pocket-glm"))


@pytest.fixture(scope="module")
def prompts(pocket: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    read = AutoTokenizer.from_pretrained(pocket)
    chats = [
        read.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False)
        for text in QUESTIONS
    ]
    return [read.encode(chat, add_special_tokens=False) for chat in chats]


@pytest.fixture(scope="module")
def generate(child: Child, prompts: list[list[int]]) -> Callable[..., Any]:
    def run(
        model: Path,
        *,
        plan: Path | None = None,
        logprobs: int | None = None,
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> Any:
        asked = json.dumps({"prompts": prompts, "tokens": TOKENS if logprobs is None else 1, "logprobs": logprobs})
        return child("generate", str(model), json.dumps(options), plan=plan, env=env, stdin=asked)

    return run


@pytest.fixture(scope="module")
def vllm_alone(generate: Callable[..., Any], pocket: Path) -> Any:
    return generate(pocket)


@pytest.fixture(scope="module")
def ours(generate: Callable[..., Any], plan_for: PlanFor, pocket: Path) -> Any:
    return generate(pocket, plan=plan_for(str(pocket), dtype="float32"))


def test_vllm_alone_calls_no_kernel_of_ours(vllm_alone: Any) -> None:
    assert vllm_alone["calls"] == {}


def test_our_kernels_give_the_tokens_of_vllm_alone(ours: Any, vllm_alone: Any) -> None:
    assert ours["tokens"] == vllm_alone["tokens"]


def test_our_kernels_give_the_tokens_of_transformers(ours: Any, pocket: Path, prompts: list[list[int]]) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(pocket, dtype=torch.float32)
    for prompt, got in zip(prompts, ours["tokens"], strict=True):
        whole = model.generate(
            torch.tensor([prompt]), do_sample=False, min_new_tokens=TOKENS, max_new_tokens=TOKENS, eos_token_id=-1
        )
        assert got == whole[0, len(prompt) :].tolist()


def test_every_layer_of_every_step_ran_our_kernels(ours: Any, pocket: Path) -> None:
    spec = load_spec(str(pocket))
    steps = ours["calls"]["attention"] // spec.layers
    assert steps >= TOKENS
    assert ours["calls"]["attention"] == ours["calls"]["store_kv"] == steps * spec.layers
    assert ours["calls"]["experts"] >= steps * (spec.layers - spec.first_dense)
    assert "linear" not in ours["calls"]  # a BF16 linear is vLLM's own


def test_a_plan_of_another_model_is_refused(generate: Callable[..., Any], plan_for: PlanFor, pocket: Path) -> None:
    with pytest.raises(AssertionError, match=r"12 query and 1 key heads of 128.*GLM-4\.5-Air"):
        generate(pocket, plan=plan_for("zai-org/GLM-4.5-Air", target="mi300x:2"))


def test_a_prefill_in_chunks_gives_the_same_tokens(
    ours: Any, generate: Callable[..., Any], plan_for: PlanFor, pocket: Path
) -> None:
    chunked = generate(pocket, plan=plan_for(str(pocket), dtype="float32"), max_num_batched_tokens=48)
    assert chunked["tokens"] == ours["tokens"]
    assert chunked["calls"]["attention"] > ours["calls"]["attention"]


@pytest.mark.parametrize("drafted", [1, 2])
def test_mtp_gives_the_same_tokens_and_most_drafts_are_accepted(
    drafted: int, ours: Any, generate: Callable[..., Any], plan_for: PlanFor, pocket: Path
) -> None:
    speculation = {"method": "mtp", "num_speculative_tokens": drafted}
    found = generate(pocket, plan=plan_for(str(pocket), dtype="float32", mtp=drafted), speculative_config=speculation)
    assert found["tokens"] == ours["tokens"]
    # Counted over answers that end where the model ends them: what follows an end was never trained.
    drafts = found["drafts"]
    assert (
        drafts["vllm:spec_decode_num_accepted_tokens"] / drafts["vllm:spec_decode_num_draft_tokens"]
        >= ACCEPTANCE[drafted]
    )


def divergence(model: Path, found: Any, prompts: list[list[int]]) -> torch.Tensor:
    """KL of what vLLM says against the torch reference, at every position of every prompt."""
    reference = load_model(read_tensors(model), load_spec(str(model)))
    each = []
    for prompt, got in zip(prompts, found["logprobs"], strict=True):
        want = logits(reference, torch.tensor(prompt)).log_softmax(-1)[:-1].double()  # [T - 1, V]
        each.append((want.exp() * (want - torch.tensor(got).double())).sum(-1))
    return torch.cat(each)


@pytest.fixture(scope="module")
def per_channel(pocket: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("fp8") / "channel"
    quantize_checkpoint(pocket, target, "fp8_channel_token")
    return target


@pytest.fixture(scope="module")
def per_block(pocket: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket GLM with experts of 128 columns, in 128x128 blocks: vLLM loads no blocks that a width of 192 cuts."""
    narrow, target = tmp_path_factory.mktemp("narrow"), tmp_path_factory.mktemp("fp8") / "block"
    shutil.copytree(pocket, narrow, dirs_exist_ok=True)
    config = json.loads((narrow / "config.json").read_text())
    (narrow / "config.json").write_text(json.dumps({**config, "moe_intermediate_size": 128}))
    tensors = read_tensors(narrow)
    for name, tensor in tensors.items():
        if "experts" in name:
            tensors[name] = (tensor[:, :128] if "down_proj" in name else tensor[:128]).contiguous()
    save_file(tensors, narrow / "model.safetensors", metadata={"format": "pt"})
    quantize_checkpoint(narrow, target, "fp8_block")
    return target


def test_fp8_per_channel_agrees_with_the_torch_reference(
    per_channel: Path, generate: Callable[..., Any], plan_for: PlanFor, prompts: list[list[int]]
) -> None:
    plan = plan_for(str(per_channel), dtype="float32")
    found = generate(per_channel, plan=plan, logprobs=load_spec(str(per_channel)).vocab)
    assert found["calls"]["linear"] > 0
    assert found["calls"]["experts"] > 0
    assert divergence(per_channel, found, prompts).median() < FP8_MEDIAN_BOUND


def test_traced_by_dynamo_our_kernels_run_behind_operators(
    per_channel: Path, generate: Callable[..., Any], plan_for: PlanFor, prompts: list[list[int]]
) -> None:
    plan, vocab = plan_for(str(per_channel), dtype="float32"), load_spec(str(per_channel)).vocab
    # vLLM's own switch for a compiled model whose graphs are run as they are: the tracing without minutes of inductor.
    traced = {"VLLM_CPU_CI_ENV": "1"}
    found = generate(per_channel, plan=plan, logprobs=vocab, enforce_eager=False, env=traced)
    assert found["calls"]["linear"] > 0
    assert found["calls"]["experts"] > 0
    assert divergence(per_channel, found, prompts).median() < FP8_MEDIAN_BOUND


def test_fp8_per_block_agrees_with_the_torch_reference(
    per_block: Path, generate: Callable[..., Any], plan_for: PlanFor, prompts: list[list[int]]
) -> None:
    plan = plan_for(str(per_block), dtype="float16")  # vLLM's `fp8` method takes no float32
    found = generate(per_block, plan=plan, logprobs=load_spec(str(per_block)).vocab, dtype="float16")
    assert found["calls"]["linear"] > 0
    assert found["calls"]["experts"] > 0
    assert divergence(per_block, found, prompts).median() < HALF_PRECISION_MEDIAN_BOUND


def test_vllm_alone_still_refuses_fp8_on_a_cpu(per_channel: Path, generate: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match="Unsupported FP8 MoE backend"):
        generate(per_channel, logprobs=0)


def test_float16_scales_the_routed_experts_once(
    generate: Callable[..., Any], plan_for: PlanFor, pocket: Path, prompts: list[list[int]]
) -> None:
    plan, vocab = plan_for(str(pocket), dtype="float16"), load_spec(str(pocket)).vocab
    assert divergence(pocket, generate(pocket, plan=plan, logprobs=vocab, dtype="float16"), prompts).mean() < KL_BOUND


def test_vllm_alone_still_loses_the_routed_scale_in_float16(
    generate: Callable[..., Any], pocket: Path, prompts: list[list[int]]
) -> None:
    found = generate(pocket, logprobs=load_spec(str(pocket)).vocab, dtype="float16")
    assert divergence(pocket, found, prompts).mean() > 10 * KL_BOUND


def test_an_fp8_cache_changes_little(
    generate: Callable[..., Any], plan_for: PlanFor, pocket: Path, prompts: list[list[int]]
) -> None:
    spec = load_spec(str(pocket))
    plan = plan_for(str(pocket), dtype="float32", kv_cache="fp8")
    found = generate(pocket, plan=plan, logprobs=spec.vocab, kv_cache_dtype="fp8")
    assert 1e-9 < divergence(pocket, found, prompts).mean() < 2e-2
