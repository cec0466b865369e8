"""Faults planted in the source of the attention kernels: the comparisons that pass otherwise see each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from triton.runtime.errors import InterpreterError

from glm_rocm_kernels import attention as module
from glm_rocm_kernels.attention import attention
from glm_rocm_kernels.attention_details import _paged

Build = Callable[..., Any]
Plant = Callable[[Any, str, str, str], None]

ATTEND = [
    ("a key too many", "> tl.arange(0, 4)[None, None, :]", ">= tl.arange(0, 4)[None, None, :]"),
    ("the last key left out", "// RATIO + 1, end),)", "// RATIO, end),)"),
    (
        "queries see those after them",
        "(at + tl.arange(0, TILE)) // RATIO + 1, end",
        "(at + tl.arange(0, TILE)) * RATIO + 1, end",
    ),
    ("one head read for two", "(at % RATIO) * stride_head", "(at % RATIO // 2) * stride_head"),
    ("one query read for all", "(at // RATIO) * stride_token", "(row // RATIO) * stride_token"),
    ("the result keeps an old maximum's scale", "v, state[3 * i + 2] * fade[:, None],", "v, state[3 * i + 2],"),
    ("the sum keeps an old maximum's scale", "state[3 * i + 1] * fade +", "state[3 * i + 1] +"),
    ("the values' scale ignored", "(v_scale / state[3 * i + 1])", "(1.0 / state[3 * i + 1])"),
    ("a split written over another", "* SPLITS + split", "* SPLITS + split // 2"),
    (
        "columns left in the matrix unit's order",
        "tl.permute(x, (2, 5, 0, 4, 1, 3))",
        "tl.permute(x, (2, 4, 0, 5, 1, 3))",
    ),
    ("a turn skipped", "for position in range(masked, end, TURN)", "for position in range(masked + TURN, end, TURN)"),
    ("one KV head for all", "k_ptr += kv_head * k_head", "k_ptr += 0 * k_head"),
]
PAGES = [
    ("NaN of a slot nobody owns", "[:, None] <= left)", "[:, None] <= left + 64)"),
    ("the wrong page", "table_ptr + position // BLOCK_SIZE", "table_ptr + position // (2 * BLOCK_SIZE)"),
    ("the wrong slot", "(position % BLOCK_SIZE) * stride_slot", "(position % BLOCK_SIZE // 2) * stride_slot"),
    (
        "values in another order than weights",
        "else tl.permute(v, (4, 1, 0, 3, 2))",
        "else tl.permute(v, (4, 0, 1, 3, 2))",
    ),
    ("single values in another order", "tl.permute(v, (1, 0, 3, 2))", "tl.permute(v, (0, 1, 3, 2))"),
    ("keys' elements in another order", "tl.permute(k, (0, 1, 3, 2))", "tl.permute(k, (1, 0, 3, 2))"),
]
COMBINE = [
    ("splits of different maxima added as they are", "tl.exp2(peak - higher[None, :])", "tl.exp2(peak * 0)"),
    ("later splits forgotten", "range(0, SPLITS, PARTS)", "range(0, PARTS, PARTS)"),
    ("a split too many", "part * length < seen", "part * length < seen + length"),
    ("the values' scale ignored", "v_scale / total", "1.0 / total"),
    ("one query's splits for all", "(row * HEADS", "(0 * HEADS"),
]


def check(build: Build, target: Any) -> None:
    """Of every kind, of few queries with an FP8 cache and scales, and decode in more splits than are added at once."""
    build([(9, 25), (1, 40), (2, 30)], heads=24, kv_heads=2).hold(attention)
    few = [(2, 150), (1, 20), (4, 90)]
    build(few, kv_dtype=target.fp8, k_scale=0.02, v_scale=0.5, block_size=48).hold(attention)
    build([(1, 40), (1, 1100)], padding=0).hold(attention)


def caught(build: Build, target: Any) -> None:
    with pytest.raises((AssertionError, InterpreterError)):  # numpy may warn, an error here, of what nobody wrote
        check(build, target)


def test_the_batches_pass_without_a_fault(attention_case: Build, target: Any) -> None:
    check(attention_case, target)


@pytest.mark.parametrize(("right", "wrong"), [fault[1:] for fault in ATTEND], ids=[fault[0] for fault in ATTEND])
def test_attend(plant: Plant, attention_case: Build, target: Any, right: str, wrong: str) -> None:
    plant(module, "attend", right, wrong)
    caught(attention_case, target)


@pytest.mark.parametrize(("right", "wrong"), [fault[1:] for fault in PAGES], ids=[fault[0] for fault in PAGES])
def test_pages(plant: Plant, attention_case: Build, target: Any, right: str, wrong: str) -> None:
    plant(_paged, "load_keys", right, wrong)
    faulty = _paged.load_keys.fn.__module__
    plant(module, "attend", "glm_rocm_kernels.attention_details._pages", faulty)
    caught(attention_case, target)


@pytest.mark.parametrize(("right", "wrong"), [fault[1:] for fault in COMBINE], ids=[fault[0] for fault in COMBINE])
def test_combine(plant: Plant, attention_case: Build, target: Any, right: str, wrong: str) -> None:
    plant(module, "combine", right, wrong)
    caught(attention_case, target)
