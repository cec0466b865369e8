"""The trainable model is Glm4MoeForCausalLM, and what it is packed or cached into does not change what it says."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file
from transformers import Glm4MoeForCausalLM

from glm_rocm.pocket.batches import encode, pack
from glm_rocm.pocket.config import PocketConfig
from glm_rocm.pocket.data.dialogue import conversation
from glm_rocm.pocket.export import checkpoint_state, export, load
from glm_rocm.pocket.generate import draft_agreement, generate
from glm_rocm.pocket.model import PocketGLM
from glm_rocm.pocket.tokenizer import build_tokenizer


def random_model(config: PocketConfig, seed: int = 1) -> PocketGLM:
    """A model whose biases and norms are not the trivial ones they start as."""
    torch.manual_seed(seed)
    model = PocketGLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
            if name.endswith("router"):
                parameter *= 20
        for layer in model.experts():
            layer.bias += 0.2 * torch.randn_like(layer.bias)
    return model


def difference_from_transformers(folder: Path, ids: torch.Tensor) -> float:
    reference, found = Glm4MoeForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not found["missing_keys"]
    ours = load(folder)
    with torch.no_grad():
        theirs = reference.eval()(ids).logits
        return float((ours.logits(ours(ids)) - theirs).abs().max() / theirs.std())


def test_a_random_instance_equals_transformers(tiny: PocketConfig, tmp_path: Path) -> None:
    export(random_model(tiny), tmp_path)
    ids = torch.randint(0, tiny.vocab_size, (2, 40), generator=torch.Generator().manual_seed(2))
    assert difference_from_transformers(tmp_path, ids) < 1e-4


@pytest.mark.parametrize("fault", ["router bias in the weights", "bias forgotten"])
def test_a_planted_router_fault_is_seen(
    tiny: PocketConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The control of the test above: a subtly wrong router is far outside its bound."""
    export(random_model(tiny), tmp_path)
    scale = tiny.routed_scale

    def wrong(self: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = torch.sigmoid(torch.nn.functional.linear(x, self.router))
        biased = scores + self.bias if fault == "router bias in the weights" else scores
        ids = torch.topk(biased, tiny.experts_per_token, -1).indices
        weights = biased.gather(1, ids)
        return ids, weights / weights.sum(-1, keepdim=True) * scale

    monkeypatch.setattr("glm_rocm.pocket.model.Experts.route", wrong)
    ids = torch.randint(0, tiny.vocab_size, (2, 40), generator=torch.Generator().manual_seed(2))
    assert difference_from_transformers(tmp_path, ids) > 1e-2


def test_the_shipped_checkpoint_equals_transformers(shipped: Path) -> None:
    parts = encode(conversation(Random(3), "tools"), build_tokenizer(), 0.0)[0]
    assert difference_from_transformers(shipped, torch.tensor([parts])) < 1e-4


def test_export_and_load_are_inverse(tiny: PocketConfig, tmp_path: Path) -> None:
    model = random_model(tiny)
    export(model, tmp_path)
    stored = checkpoint_state(load(tmp_path))
    for name, tensor in checkpoint_state(model).items():
        assert torch.equal(tensor, stored[name]), name


def test_the_router_bias_is_stored_in_f32_and_the_rest_in_bf16(tiny: PocketConfig, tmp_path: Path) -> None:
    export(random_model(tiny), tmp_path)
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        assert tensor.dtype == (torch.float32 if "e_score_correction_bias" in name else torch.bfloat16), name


def test_packed_conversations_do_not_see_each_other(tiny: PocketConfig) -> None:
    model, tokenizer, random = random_model(tiny), build_tokenizer(), Random(4)
    rows = [encode(conversation(random), tokenizer, 0.0) for _ in range(4)]
    batch = pack(rows)
    with torch.no_grad():
        packed = model(batch.ids, batch.positions, batch.lengths)
        further = model.forward_mtp(packed, batch.ahead[1][0].unsqueeze(0), batch.positions, batch.lengths)
        start = 0
        for ids, _ in rows:
            alone = model(torch.tensor([ids]))
            torch.testing.assert_close(packed[:, start : start + len(ids)], alone, atol=1e-4, rtol=1e-4)
            following = torch.tensor([[*ids[1:], 0]])
            expected = model.forward_mtp(alone, following)
            torch.testing.assert_close(further[:, start : start + len(ids)], expected, atol=1e-4, rtol=1e-4)
            start += len(ids)


def test_labels_of_a_packed_batch_stay_within_their_conversation() -> None:
    batch = pack([([1, 2, 3], [0.0, 1.0, 1.0]), ([4, 5], [0.0, 1.0])])
    assert batch.ids.tolist() == [[1, 2, 3, 4, 5]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.ahead[1][0].tolist() == [2, 3, 0, 5, 0]
    assert batch.ahead[1][1].tolist() == [1.0, 1.0, 0.0, 1.0, 0.0]
    assert batch.ahead[2][0].tolist() == [3, 0, 0, 0, 0]
    assert batch.ahead[2][1].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_padded_cached_generation_is_plain_greedy_decoding(tiny: PocketConfig) -> None:
    model, random = random_model(tiny), Random(5)
    prompts = [[random.randrange(900) for _ in range(length)] for length in (3, 17, 9)]
    expected = []
    with torch.no_grad():
        for prompt in prompts:
            ids = list(prompt)
            for _ in range(12):
                ids.append(int(model.logits(model(torch.tensor([ids]))[0, -1]).argmax()))
            expected.append(ids[len(prompt) :])
    assert generate(model, prompts, stop=set(), most=12) == expected
    stop = expected[0][4]
    stopped = generate(model, prompts, {stop}, most=12)
    assert stopped[0] == expected[0][: expected[0].index(stop) + 1]


def test_draft_agreement_counts_the_tokens_foreseen_one_step_early(tiny: PocketConfig) -> None:
    """Against a draft made the way serving makes it, token by token."""
    model = random_model(tiny)
    prompt = [5, 6, 7, 8]
    answer = generate(model, [prompt], set(), most=10)[0]
    accepted = 0
    with torch.no_grad():
        for written in range(1, len(answer)):
            ids = torch.tensor([prompt + answer[:written]])
            further = model.forward_mtp(model(ids[:, :-1]), ids[:, 1:])
            accepted += int(model.logits(further[0, -1]).argmax()) == answer[written]
    assert draft_agreement(model, prompt, answer) == (accepted, len(answer) - 1)
