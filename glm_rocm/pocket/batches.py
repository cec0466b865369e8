"""Training batches: encoded conversations, end to end."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from glm_rocm.pocket.data.chat import Conversation, segments
from glm_rocm.pocket.data.dialogue import conversation

MAX_TOKENS = 448
"""Longer conversations are left out."""


@dataclass(frozen=True)
class Batch:
    """Conversations laid end to end, T tokens in all, without padding.

    Attributes:
        ids: [1, T] int64.
        positions: [1, T] int64, from 0 in each conversation.
        lengths: tokens of each conversation.
        ahead: for 1 and 2 tokens ahead: (the token there [T] int64, the weight of its loss [T]); a weight is 1 for a
            target, 0 beyond the end of the conversation.
    """

    ids: Tensor
    positions: Tensor
    lengths: list[int]
    ahead: dict[int, tuple[Tensor, Tensor]]


def encode(item: Conversation, tokenizer: Tokenizer, prompt_weight: float) -> tuple[list[int], list[float]]:
    """Token ids of a conversation and the weight of each token's loss.

    Targets weigh 1, what the model only reads `prompt_weight`, and the opening of an answer that the prompt gives
    nothing: learnt, its empty `<think></think>` would tempt the model not to think.
    """
    parts = segments(item)
    ids: list[int] = []
    weights: list[float] = []
    for part, encoding in zip(parts, tokenizer.encode_batch_fast([part.text for part in parts]), strict=True):
        ids += encoding.ids
        weight = 1.0 if part.target else 0.0 if part.text.startswith("<|assistant|>") else prompt_weight
        weights += [weight] * len(encoding.ids)
    return ids, weights


def pack(rows: list[tuple[list[int], list[float]]]) -> Batch:
    """A batch of the encoded conversations `rows`."""
    lengths = [len(ids) for ids, _ in rows]
    ahead = {}
    for distance in (1, 2):
        tokens = [token for ids, _ in rows for token in ids[distance:] + [0] * distance]
        weights = [weight for _, row in rows for weight in row[distance:] + [0.0] * distance]
        ahead[distance] = (torch.tensor(tokens), torch.tensor(weights))
    ids = torch.tensor([[token for ids, _ in rows for token in ids]])
    positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0)
    return Batch(ids, positions, lengths, ahead)


def step_batch(
    tokenizer: Tokenizer, seed: str, tokens: int, prompt_weight: float, mix: dict[str, float] | None = None
) -> Batch:
    """About `tokens` tokens of conversations for one step.

    The same `seed` gives the same batch: a resumed run goes on with the very data it would have seen.
    """
    random = Random(seed)
    rows: list[tuple[list[int], list[float]]] = []
    total = 0
    while total < tokens:
        task = random.choices(list(mix), list(mix.values()))[0] if mix else None
        row = encode(conversation(random, task), tokenizer, prompt_weight)
        if len(row[0]) <= MAX_TOKENS:
            rows.append(row)
            total += len(row[0])
    return pack(rows)
