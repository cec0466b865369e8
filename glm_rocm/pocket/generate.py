"""Greedy generation for many prompts at once, in plain torch with a KV cache."""

from __future__ import annotations

import torch
from torch import Tensor

from glm_rocm.pocket.model import Cache, PocketGLM

Ids = list[int]


def _prefill(model: PocketGLM, prompts: list[Ids], cache: Cache) -> tuple[Tensor, Tensor]:
    """Run the prompts, padded at the left; the last hidden states [B, H] and the padding [B] of each row."""
    longest = max(len(prompt) for prompt in prompts)
    padding = torch.tensor([longest - len(prompt) for prompt in prompts])
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    column = torch.arange(longest)
    positions = (column - padding[:, None]).clamp(min=0)
    causal = column[None, :] <= column[:, None]
    # A padded query sees itself, as a softmax over nothing is NaN.
    seen = (column >= padding[:, None])[:, None, None, :] & causal | torch.eye(longest, dtype=torch.bool)
    return model(ids, positions, seen, cache)[:, -1], padding


@torch.no_grad()
def generate(model: PocketGLM, prompts: list[Ids], stop: set[int], most: int = 128) -> list[Ids]:
    """Greedy continuations of `prompts`, each up to and including its first token in `stop`, at most `most` tokens."""
    cache: Cache = {}
    hidden, padding = _prefill(model, prompts, cache)
    length = max(len(prompt) for prompt in prompts)
    written: list[Ids] = [[] for _ in prompts]
    running = set(range(len(prompts)))
    for step in range(most):
        following = model.logits(hidden).argmax(-1)  # [B]
        for row in list(running):
            written[row].append(int(following[row]))
            if written[row][-1] in stop:
                running.discard(row)
        if not running:
            break
        seen = (torch.arange(length + step + 1) >= padding[:, None])[:, None, None, :]
        hidden = model(following[:, None], (length + step - padding)[:, None], seen, cache)[:, -1]
    return written


@torch.no_grad()
def draft_agreement(model: PocketGLM, prompt: Ids, answer: Ids) -> tuple[int, int]:
    """How many tokens of a greedy `answer` the MTP layer foresaw one step early, of how many.

    This is the acceptance of speculative decoding with one draft token: a draft is accepted when it is the token that
    the model itself writes.
    """
    ids = torch.tensor([prompt + answer])
    further = model.forward_mtp(model(ids[:, :-1]), ids[:, 1:])  # position i foresees token i+2
    foreseen = model.logits(further[0, len(prompt) - 1 : -1]).argmax(-1)
    return int((foreseen == ids[0, len(prompt) + 1 :]).sum()), len(foreseen)
