"""The committed counts: no kernel has become dearer, and a dearer one would be seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from glm_rocm.bench import baseline
from glm_rocm.bench.cases import CASES, Case
from glm_rocm.bench.count import Counts
from glm_rocm.bench.run import emulate
from glm_rocm.errors import UsageError
from glm_rocm.target import parse_target

BASELINES = Path(__file__).parents[2] / "ci" / "baselines"
QUICK = [case for case in CASES if case.quick]


def counts(**changes: object) -> Counts:
    """A row of one launch with a thousand of everything."""
    thousand = dict.fromkeys((*baseline.COUNTED, "valu", "salu", "vmem", "lds", "mfma_instructions", "vgprs"), 1000)
    made = Counts(
        workgroups=(100,),
        mfma=None,
        bytes_over_ideal=None,
        streamed_bytes=0,
        useful_flops=0,
        ideal_bytes=0,
        occupancy=1.0,
        model_us=1.0,
        each=(),
        **thousand,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A baseline of one case."""
    path = tmp_path / "gfx942.json"
    baseline.write(path, "gfx942", {"decode": counts()})
    return path


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_no_count_of_a_quick_case_has_risen_by_more_than_three_percent(case: Case, arch: str) -> None:
    path = BASELINES / f"{arch}.json"
    (row,) = emulate([case], parse_target(arch), against=False)
    before = baseline.read(path, arch, [case.name])
    assert baseline.risen(before, {case.name: row.ours.counts}) == []


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_every_case_has_counts(arch: str) -> None:
    cases = baseline.read(BASELINES / f"{arch}.json", arch, [case.name for case in CASES])
    assert set(cases) == {case.name for case in CASES}, "a case that is gone"


@pytest.mark.parametrize("name", baseline.COUNTED)
def test_a_rise_beyond_three_percent_of_any_count_is_named(name: str, written: Path) -> None:
    before = baseline.read(written, "gfx942", ["decode"])
    assert baseline.risen(before, {"decode": counts(**{name: 1030})}) == []
    assert [rise.count for rise in baseline.risen(before, {"decode": counts(**{name: 1031})})] == [name]
    assert baseline.risen(before, {"decode": counts(**{name: 500})}) == []


def test_fewer_workgroups_are_no_improvement(written: Path) -> None:
    before = baseline.read(written, "gfx942", ["decode"])
    (rise,) = baseline.risen(before, {"decode": counts(instructions=500, workgroups=(10,))})
    assert str(rise) == "decode: workgroups 100 -> 10 (-90.0%)"


def test_the_first_barrier_of_a_kernel_without_any_is_a_rise(tmp_path: Path) -> None:
    path = tmp_path / "gfx942.json"
    baseline.write(path, "gfx942", {"decode": counts(barriers=0)})
    (rise,) = baseline.risen(baseline.read(path, "gfx942", []), {"decode": counts(barriers=1)})
    assert "from nothing" in str(rise)


def test_writing_some_cases_keeps_the_others(written: Path) -> None:
    baseline.write(written, "gfx942", {"verify": counts(instructions=7)})
    cases = baseline.read(written, "gfx942", ["decode", "verify"])
    assert (cases["decode"]["instructions"], cases["verify"]["instructions"]) == (1000, 7)


def test_counts_of_another_compiler_are_not_compared_and_not_kept(written: Path) -> None:
    written.write_text(written.read_text().replace('"triton": "', '"triton": "1'))
    with pytest.raises(UsageError, match="was counted with triton 1"):
        baseline.read(written, "gfx942", ["decode"])
    baseline.write(written, "gfx942", {"verify": counts()})
    assert set(baseline.read(written, "gfx942", [])) == {"verify"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no baseline"),
        (lambda path: path.write_text("{"), "is no baseline"),
        (lambda path: path.write_text("[]"), "is no baseline"),
        (lambda path: path.write_text(path.read_text().replace('"barriers"', '"stalls"')), "lacks a count"),
        (lambda path: path.write_text(path.read_text().replace('"gfx942"', '"gfx950"')), "is of gfx950"),
        (lambda path: None, "has no case `verify`"),
    ],
    ids=["missing", "cut off", "a list", "another count", "another arch", "another case"],
)
def test_an_unusable_baseline_is_refused_with_the_command_that_mends_it(
    damage: object, message: str, written: Path
) -> None:
    damage(written)  # type: ignore[operator]
    with pytest.raises(UsageError, match=message) as refused:
        baseline.read(written, "gfx942", ["verify"])
    assert "glm-rocm bench --target" in refused.value.hint


def test_the_file_has_a_line_a_case(written: Path) -> None:
    """A change of one kernel is a diff of its lines."""
    lines = written.read_text().splitlines()
    assert sum(line.startswith('    "decode": {') for line in lines) == 1
    assert json.loads(written.read_text())["cases"]["decode"]["workgroups"] == 100
