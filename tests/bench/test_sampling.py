"""A part of a large batch stands for the whole: in its counts, and in results that the reference checks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from glm_rocm.bench import ours, sampling
from glm_rocm.bench.cases import CASES, Case, choose
from glm_rocm.bench.run import Row, emulate
from glm_rocm.bench.unwritten import Poisoned
from glm_rocm.errors import ParityError
from glm_rocm.target import parse_target

LARGE = [case for case in CASES if case.sample > 1]
MI300X = parse_target("gfx942")


@pytest.fixture
def small_batch() -> Case:
    """Twenty tokens: one an expert group, so that a group's blocks hold one row each."""
    (case,) = choose(names=["moe-fp8-m320"])
    return replace(case, name="moe-fp8-m20", tokens=20)


def counted(case: Case) -> Row:
    (row,) = emulate([case], MI300X, against=False)
    return row


@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.name)
@pytest.mark.parametrize("block", [16, 64, 128])
def test_the_part_is_the_stated_share_of_the_filled_blocks(case: Case, block: int) -> None:
    filled = case.experts * -(-sampling.group_of(case) // block)
    chosen = [number for number in range(filled) if sampling.blocks_chosen(case, block)(number)]
    assert len(chosen) * case.sample == filled
    assert chosen == list(range(len(chosen))), "the first experts', all of them"


@pytest.mark.parametrize("group", [1, 4, 16])
def test_vllms_walk_over_blocks_and_columns_is_followed(group: int) -> None:
    """Each chosen block runs with each of its columns, once: by the kernel's own arithmetic, written out here."""
    case, block, columns = LARGE[0], 64, 6
    pairs = case.tokens * case.spec.top_k
    blocks = -(-(pairs + case.experts * (block - 1)) // block)
    predicate = sampling.vllm(case, block, group)["fused_moe_kernel"]((blocks * columns, 1, 1))
    ran = []
    for pid in range(blocks * columns):
        in_group = group * columns
        first = pid // in_group * group
        size = min(blocks - first, group)
        place = first + pid % in_group % size, pid % in_group // size
        if predicate(pid, 0, 0):
            ran.append(place)
    chosen = [number for number in range(blocks) if sampling.blocks_chosen(case, block)(number)]
    assert sorted(ran) == [(number, column) for number in chosen for column in range(columns)]


@pytest.mark.slow
def test_counts_of_the_part_are_those_of_the_whole(small_batch: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    part = counted(small_batch).ours.counts
    monkeypatch.setattr(ours, "choosers", lambda inputs, target: {})
    whole = counted(small_batch).ours.counts
    assert part.workgroups == whole.workgroups
    for name in ("instructions", "mfma_flops", "load_bytes", "lds_read_bytes", "barriers", "streamed_bytes"):
        assert getattr(part, name) == pytest.approx(getattr(whole, name), rel=0.03), name
    assert part.model_us == pytest.approx(whole.model_us, rel=0.03)


def test_memory_that_nobody_wrote_holds_no_earlier_result() -> None:
    size = 1 << 20
    for _ in range(3):
        written = torch.ones(size)
        del written
        with Poisoned():
            fresh, like, integers = (
                torch.empty(size),
                torch.empty_like(torch.ones(3)),
                torch.empty(4, dtype=torch.int32),
            )
            zeros = torch.zeros(size)
        assert bool(fresh.isnan().all())
        assert bool(like.isnan().all())
        assert integers.tolist() == [-1] * 4
        assert not zeros.any(), "zeros are written"


@pytest.mark.slow
def test_blocks_of_other_experts_do_not_pass_for_the_groups(small_batch: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(small_batch)  # leaves the right results in memory
    right = sampling.blocks_chosen
    monkeypatch.setattr(sampling, "blocks_chosen", lambda case, block: lambda number: right(case, block)(number + 1))
    with pytest.raises(ParityError, match="ours in case `moe-fp8-m20`"):
        counted(small_batch)
