"""XFormers' adapter: pages gathered into one row of keys, against the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from glm_rocm.backends import by_name
from glm_rocm.backends.cuda.xformers_attention import attention, slots_of
from glm_rocm.numerics import compare
from glm_rocm.reference import attention as reference

KERNEL = by_name("cuda.xformers_attention")
MIXED = [(1, 5), (1, 70), (33, 33), (2, 100), (0, 0), (17, 90), (1, 1), (2, 2), (1, 16)]


@pytest.mark.parametrize("layout", ["vllm", "separate", "heads first"])
@pytest.mark.parametrize(("heads", "kv_heads", "block_size"), [(12, 1, 16), (24, 2, 1), (24, 2, 64)])
def test_a_mixed_batch_by_the_book(
    attention_case: Callable[..., Any], xbook: Any, heads: int, kv_heads: int, block_size: int, layout: str
) -> None:
    case = attention_case(
        MIXED, heads=heads, kv_heads=kv_heads, block_size=block_size, layout=layout, dtype=torch.bfloat16
    )
    got = attention(*case.arguments, **case.options)
    want = reference.attention(*case.arguments, **case.options)
    compare(got, want, KERNEL.tolerance["bfloat16"], label="xformers", valid=case.valid)
    assert not got[case.valid :].any()


def test_rows_past_the_last_query_are_left_alone(attention_case: Callable[..., Any], xbook: Any) -> None:
    case = attention_case([(2, 9)], dtype=torch.bfloat16)
    out = torch.full_like(case.arguments[0], 7.0)
    assert attention(*case.arguments, **case.options, out=out) is out
    assert bool((out[case.valid :] == 7.0).all())


def test_a_batch_without_queries_calls_nothing(attention_case: Callable[..., Any], xbook: Any) -> None:
    case = attention_case([(0, 0)], dtype=torch.bfloat16)
    assert not attention(*case.arguments, **case.options).any()
    assert xbook.calls == []


def test_slots_are_those_written_by_hand() -> None:
    table = torch.tensor([[7, 3, 99], [5, 99, 99]], dtype=torch.int32)
    assert slots_of(table, [0, 1], [5, 2], 4).tolist() == [28, 29, 30, 31, 12, 20, 21]
