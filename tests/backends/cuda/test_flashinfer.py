"""FlashInfer: page lists against ones written by hand, results against the reference, graphs without a card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm.backends import by_name
from glm_rocm.backends.cuda import flashinfer_attention, flashinfer_experts
from glm_rocm.backends.cuda.flashinfer_attention import attention, plan_batch
from glm_rocm.backends.cuda.pages import paged_batch
from glm_rocm.numerics import compare
from glm_rocm.ops.attention import AttentionProblem
from glm_rocm.reference import attention as reference
from glm_rocm.reference import moe as reference_moe

ATTENTION = by_name("cuda.flashinfer_attention")
EXPERTS = by_name("cuda.flashinfer_experts")
MIXED = [(1, 5), (1, 70), (33, 33), (2, 100), (0, 0), (17, 90), (1, 1), (2, 2), (1, 16)]
VERIFY = [(4, 40), (4, 71), (4, 102)]
GARBAGE = 2**30
Build = Callable[..., Any]


def i32(*values: int) -> list[int]:
    return list(values)


def test_page_lists_are_those_written_by_hand() -> None:
    table = torch.tensor([[7, 3, GARBAGE], [5, GARBAGE, GARBAGE], [9, 8, 2], [4, 4, 4]], dtype=torch.int32)
    # Prefill of 20 on two pages of 16, a sequence without queries, decode at a page's last slot, decode at its first.
    batch = paged_batch(table, torch.tensor([0, 20, 20, 21, 22]), torch.tensor([20, GARBAGE, 48, 1]), 16)
    assert batch.query_indptr.tolist() == i32(0, 20, 20, 21, 22)
    assert batch.page_indptr.tolist() == i32(0, 2, 2, 5, 6)
    assert batch.page_indices.tolist() == i32(7, 3, 9, 8, 2, 4)
    assert batch.last_page_len.tolist() == i32(4, 16, 16, 1)
    assert (batch.rows, batch.longest) == (22, 20)
    tensors = (batch.query_indptr, batch.page_indptr, batch.page_indices, batch.last_page_len)
    assert {tensor.dtype for tensor in tensors} == {torch.int32}


def test_page_lists_of_slots_and_of_no_sequence() -> None:
    slots = paged_batch(torch.tensor([[3, 1, 2]], dtype=torch.int32), torch.tensor([0, 1]), torch.tensor([3]), 1)
    assert (slots.page_indices.tolist(), slots.last_page_len.tolist()) == ([3, 1, 2], [1])
    none = paged_batch(torch.zeros(0, 4, dtype=torch.int32), torch.tensor([0]), torch.zeros(0, dtype=torch.int64), 16)
    assert (none.page_indptr.tolist(), none.page_indices.tolist(), none.rows, none.longest) == ([0], [], 0, 0)


@pytest.mark.parametrize("layout", ["vllm", "separate", "heads first"])
@pytest.mark.parametrize("block_size", [1, 16, 64])
def test_a_mixed_batch_by_the_book(attention_case: Build, book: Any, block_size: int, layout: str) -> None:
    case = attention_case(MIXED, heads=24, kv_heads=2, block_size=block_size, layout=layout, dtype=torch.bfloat16)
    got = attention(*case.arguments, **case.options)
    want = reference.attention(*case.arguments, **case.options)
    compare(got, want, ATTENTION.tolerance["bfloat16"], label="flashinfer", valid=case.valid)
    assert not got[case.valid :].any()


def test_an_fp8_cache_gets_both_scales(attention_case: Build, book: Any) -> None:
    kind = torch.float8_e4m3fn
    case = attention_case(VERIFY, dtype=torch.bfloat16, kv_dtype=kind, k_scale=0.03, v_scale=0.02)
    got = attention(*case.arguments, **case.options)
    want = reference.attention(*case.arguments, **case.options)
    compare(got, want, ATTENTION.tolerance["float8"], label="flashinfer", valid=case.valid)
    assert book.plans[0]["kv_data_type"] is kind


def test_rows_past_the_last_query_are_left_alone(attention_case: Build, book: Any) -> None:
    case = attention_case([(2, 9)], dtype=torch.bfloat16)
    out = torch.full_like(case.arguments[0], 7.0)
    assert attention(*case.arguments, **case.options, out=out) is out
    assert bool((out[case.valid :] == 7.0).all())
    nothing = attention_case([(0, 0)], dtype=torch.bfloat16)
    assert not attention(*nothing.arguments, **nothing.options).any()


@pytest.mark.parametrize(
    ("sequences", "cache", "kernel"),
    [
        ([(1, 9)] * 3, torch.bfloat16, "fa2"),
        (VERIFY, torch.bfloat16, "fa2"),
        ([(1, 9), (40, 40)], torch.bfloat16, "fa3"),
        ([(1, 9), (40, 40)], torch.float8_e4m3fn, "fa2"),
    ],
    ids=["decode", "verify", "prefill", "prefill, FP8 cache"],
)
def test_hopper_takes_its_own_kernel_for_long_plain_prefills_alone(
    attention_case: Build,
    book: Any,
    monkeypatch: pytest.MonkeyPatch,
    sequences: list[tuple[int, int]],
    cache: torch.dtype,
    kernel: str,
) -> None:
    monkeypatch.setattr(flashinfer_attention, "is_hopper", lambda device: True)
    case = attention_case(sequences, dtype=torch.bfloat16, kv_dtype=cache)
    attention(*case.arguments, **case.options)
    assert [wrapper.options["backend"] for wrapper in book.wrappers] == [kernel]


def test_other_cards_have_one_kernel_for_all(attention_case: Build, book: Any) -> None:
    case = attention_case([(1, 9), (40, 40)], dtype=torch.bfloat16)
    attention(*case.arguments, **case.options)
    assert [wrapper.options["backend"] for wrapper in book.wrappers] == ["fa2"]


def planned(case: Any, *, capture: bool = False) -> None:
    q, k_cache, _, table, starts, contexts = case.arguments
    problem = AttentionProblem(q.shape[1], k_cache.shape[2], q.shape[2], k_cache.shape[1], "bfloat16", "bfloat16")
    plan_batch(
        problem,
        table,
        starts,
        contexts,
        query_start_host=starts.clone(),
        context_len_host=contexts.clone(),
        capture=capture,
    )


def test_layers_of_a_planned_batch_plan_nothing(attention_case: Build, book: Any) -> None:
    case = attention_case(MIXED, dtype=torch.bfloat16)
    planned(case)
    for _ in range(3):
        attention(*case.arguments, **case.options)
    assert [call.function for call in book.calls].count("prefill.plan") == 1


def test_a_step_without_queries_is_neither_planned_nor_run(attention_case: Build, book: Any) -> None:
    case = attention_case([(0, 0)], dtype=torch.bfloat16)
    planned(case)
    assert not attention(*case.arguments, **case.options).any()
    assert [call.function for call in book.calls] == ["prefill.__init__"]


def test_a_plan_is_not_taken_for_another_batch(attention_case: Build, book: Any) -> None:
    first, second = attention_case([(1, 40)], dtype=torch.bfloat16), attention_case([(1, 9)], dtype=torch.bfloat16)
    planned(first)
    for case in (second, first):  # the call that planned for itself has not undone the step's plan
        got = attention(*case.arguments, **case.options)
        want = reference.attention(*case.arguments, **case.options)
        compare(got, want, ATTENTION.tolerance["bfloat16"], label="flashinfer", valid=case.valid)
    assert len(book.plans) == 2


@pytest.mark.parametrize("sequences", [[(1, 30), (1, 70), (1, 1)], VERIFY], ids=["decode", "verify"])
def test_a_captured_batch_takes_no_memory_and_reads_nothing_back(
    attention_case: Build, book: Any, captured: Callable[..., Any], sequences: list[tuple[int, int]]
) -> None:
    case = attention_case(sequences, dtype=torch.bfloat16)
    out = torch.zeros_like(case.arguments[0])
    planned(case, capture=True)
    with captured(fixed=True):
        for _ in range(2):
            attention(*case.arguments, **case.options, out=out)
    want = reference.attention(*case.arguments, **case.options)
    compare(out, want, ATTENTION.tolerance["bfloat16"], label="flashinfer", valid=case.valid)


def test_planning_in_a_call_is_what_a_graph_cannot_hold(
    attention_case: Build, book: Any, captured: Callable[..., Any]
) -> None:
    case = attention_case(VERIFY, dtype=torch.bfloat16)
    with pytest.raises(AssertionError, match="while a graph is captured"), captured(fixed=True):
        attention(*case.arguments, **case.options, out=torch.zeros_like(case.arguments[0]))


def test_a_replay_computes_the_batch_that_was_planned_last(attention_case: Build, book: Any) -> None:
    short, longer = ([(1, length) for length in lengths] for lengths in ((1, 1, 1), (60, 16, 33)))
    warm, real = attention_case(short, dtype=torch.bfloat16), attention_case(longer, dtype=torch.bfloat16)
    roomy = torch.full((3, 8), GARBAGE, dtype=torch.int32)
    roomy[:, : warm.arguments[3].shape[1]] = warm.arguments[3]
    warm = replace(warm, arguments=(*warm.arguments[:3], roomy, *warm.arguments[4:]))
    planned(warm, capture=True)
    (graph,) = book.wrappers
    planned(real)
    assert book.wrappers == [graph], "the batch has the captured shape: its plan fills the captured buffers"
    attention(*real.arguments, **real.options)
    assert graph.options["paged_kv_indptr_buf"].tolist() == [0, 4, 5, 8]
    assert graph.options["paged_kv_last_page_len_buf"].tolist() == [12, 16, 1]


@pytest.mark.parametrize("quant", ["none", "block"])
def test_experts_by_the_book(experts_case: Build, book: Any, quant: str) -> None:
    case = experts_case(5, hidden=256, intermediate=128, quant=quant, dtype=torch.bfloat16)
    before = [None if x is None else x.clone() for x in case.arguments]
    got = flashinfer_experts.experts(*case.arguments, **case.options)
    want = reference_moe.experts(*case.plain if quant == "none" else case.arguments, **case.options)
    # By the book the activations stay as they are; the reference quantises them: FP8's own error, and no other.
    tolerance = (
        EXPERTS.tolerance["bfloat16"] if quant == "none" else replace(EXPERTS.tolerance["float8"], calc_diff=2e-3)
    )
    compare(got, want, replace(tolerance, max_abs=0.3), label="flashinfer")
    assert all(
        x is None or torch.equal(bits(x), bits(y)) for x, y in zip(case.arguments, before, strict=True) if y is not None
    )


def bits(x: Tensor) -> Tensor:
    return x.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])


def test_experts_turned_once_run_as_those_turned_at_each_call(experts_case: Build, book: Any) -> None:
    case = experts_case(4, hidden=64, intermediate=24, dtype=torch.bfloat16)
    want = flashinfer_experts.experts(*case.arguments, **case.options)
    flashinfer_experts.prepare_experts(case.arguments[1], None)
    got = flashinfer_experts.experts_prepared(*case.arguments, **case.options)
    assert torch.equal(got, want)
    assert not torch.equal(flashinfer_experts.experts(*case.arguments, **case.options), want)


def test_experts_elsewhere_add_nothing_and_silence_is_zero(experts_case: Build, book: Any) -> None:
    case = experts_case(4, hidden=64, intermediate=24, dtype=torch.bfloat16)
    x, w13, w2, ids, weights = case.arguments
    ids[0] = -1
    x[0] = float("nan")
    mapping = torch.full((8,), -1, dtype=torch.int32)
    mapping[::2] = torch.arange(4, dtype=torch.int32)
    arguments = (x, w13[::2].contiguous(), w2[::2].contiguous(), ids, weights)
    got = flashinfer_experts.experts(*arguments, expert_map=mapping)
    want = reference_moe.experts(*arguments, expert_map=mapping)
    assert not got[0].any()
    compare(got[1:], want[1:], replace(EXPERTS.tolerance["bfloat16"], max_abs=0.3), label="flashinfer")


def test_no_token_calls_nothing(experts_case: Build, book: Any) -> None:
    case = experts_case(0, hidden=64, intermediate=24, dtype=torch.bfloat16)
    assert flashinfer_experts.experts(*case.arguments, **case.options).shape == (0, 64)
    assert book.calls == []


def test_the_workspace_is_one_for_all_wrappers_of_a_device(attention_case: Build, book: Any) -> None:
    for sequences in ([(1, 9)], [(40, 40)], [(1, 9), (1, 3)]):
        planned(attention_case(sequences, dtype=torch.bfloat16), capture=len(sequences) == 2)
    workspace = flashinfer_attention.planner(torch.device("cpu")).workspace
    assert [wrapper.workspace is workspace for wrapper in book.wrappers] == [True, True]
