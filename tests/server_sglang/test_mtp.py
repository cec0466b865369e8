"""EAGLE with the pocket GLM's MTP layer, 3 steps, 1 token a step, 4 verified: the same tokens, in fewer steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.sglang

ACCEPTANCE_LENGTH = 1.5
"""Least number of tokens that a step yields on average, the one that needs no draft included."""


@pytest.fixture(scope="module")
def server(serve: Callable[..., Any]) -> Any:
    return serve("pocket", "--mtp", "3", "--dtype", "float32", "--context", "1024", "--max-seqs", "8")


def test_mtp_gives_the_tokens_of_transformers_and_drafts_are_accepted(
    server: Any, prompts: list[list[int]], golden: list[list[int]]
) -> None:
    found = server.generate(prompts, len(golden[0]))
    lengths = [answer["meta_info"]["spec_accept_length"] for answer in found]
    print(f"acceptance length {sum(lengths) / len(lengths):.2f}, of each prompt {[round(one, 2) for one in lengths]}")
    assert [answer["output_ids"] for answer in found] == golden
    assert sum(lengths) / len(lengths) > ACCEPTANCE_LENGTH


def test_samples_with_drafts_too(server: Any) -> None:
    answer = server.client().chat.completions.create(
        model=server.model, messages=[{"role": "user", "content": "What is 12 + 30?"}], temperature=0.6, max_tokens=60
    )
    assert "42" in answer.choices[0].message.content
