"""The reference on weights that were trained: the shipped checkpoint, its MTP layer included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, Glm4MoeForCausalLM

from glm_rocm.model import load_spec
from glm_rocm.pocket import checkpoint_path
from glm_rocm.reference import model as reference


@pytest.fixture(scope="module")
def model() -> reference.Model:
    return reference.load_model(reference.read_tensors(checkpoint_path()), load_spec("pocket"))


@pytest.fixture(scope="module")
def theirs() -> Glm4MoeForCausalLM:
    return Glm4MoeForCausalLM.from_pretrained(checkpoint_path(), dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def answer(theirs: Glm4MoeForCausalLM) -> tuple[int, Tensor]:
    """A question with the model's own greedy answer, as tokens, and where the answer begins."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint_path())
    question = [{"role": "user", "content": "What is 12 + 30?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    tokens = theirs.generate(**prompt, max_new_tokens=40, do_sample=False)[0]
    return prompt["input_ids"].shape[1], tokens


def test_logits_are_those_of_transformers(
    model: reference.Model, theirs: Glm4MoeForCausalLM, answer: tuple[int, Tensor]
) -> None:
    _, tokens = answer
    with torch.no_grad():
        want = theirs(tokens[None]).logits[0]
    torch.testing.assert_close(reference.logits(model, tokens), want, rtol=1e-4, atol=1e-4)


def test_mtp_layer_foresees_the_answer(model: reference.Model, answer: tuple[int, Tensor]) -> None:
    """No other implementation to compare with, but a wrong input order or position would foresee next to nothing."""
    start, tokens = answer
    guessed = reference.mtp_logits(model, tokens).argmax(-1)[start - 1 : -1]
    assert (guessed == tokens[start + 1 :]).float().mean() > 0.8
