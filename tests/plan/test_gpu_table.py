"""The cards that GLM's README asks for, row by row, and what the plan says of AMD's."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm_rocm.model import KNOWN
from glm_rocm.plan.gputable import FULL, README_COUNTS, SHORT, WHY_DIFFERENT, gpu_table, render, workload
from glm_rocm.plan.memory import estimate
from glm_rocm.target import parse_target

ROWS = {(row.model, row.context, row.card): row for row in gpu_table()}
HELD = [row for row in ROWS.values() if row.readme is not None]


@pytest.mark.parametrize("row", HELD, ids=lambda row: f"{row.model[8:]}-{row.context // 1024}K-{row.card}")
def test_readme_row_is_met_or_its_difference_explained(row) -> None:
    assert (row.count == row.readme) == (row.why == "")


def test_all_sixteen_rows_are_held_and_one_differs() -> None:
    assert len(HELD) == 16
    assert [key for key in WHY_DIFFERENT if ROWS[key].count != ROWS[key].readme] == list(WHY_DIFFERENT)
    assert len(WHY_DIFFERENT) == 1


def test_the_row_that_differs_differs_for_the_reason_given() -> None:
    model = "zai-org/GLM-4.5-FP8"
    at_eight = [
        estimate(KNOWN[model], parse_target("h100"), 8, workload(model, FULL, fraction)) for fraction in (0.92, 0.7)
    ]
    assert [fit.fits for fit in at_eight] == [True, False]
    assert 2.5e9 < at_eight[0].free < 3.5e9


@pytest.mark.parametrize(
    ("model", "context", "counts"),
    [
        ("zai-org/GLM-4.5", SHORT, (8, 4, 4)),
        ("zai-org/GLM-4.5-FP8", SHORT, (4, 2, 2)),
        ("zai-org/GLM-4.5-Air", SHORT, (2, 1, 1)),
        ("zai-org/GLM-4.5-Air-FP8", SHORT, (1, 1, 1)),
        ("zai-org/GLM-4.5", FULL, (8, 8, 8)),
        ("zai-org/GLM-4.5-FP8", FULL, (4, 4, 4)),
        ("zai-org/GLM-4.5-Air", FULL, (4, 2, 2)),
        ("zai-org/GLM-4.5-Air-FP8", FULL, (2, 1, 1)),
    ],
)
def test_counts_of_mi300x_mi325x_mi355x(model, context, counts) -> None:
    assert tuple(ROWS[model, context, card].count for card in ("mi300x", "mi325x", "mi355x")) == counts


def test_every_count_is_the_smallest_that_fits() -> None:
    for row in ROWS.values():
        spec, target, work = KNOWN[row.model], parse_target(row.card), workload(row.model, row.context)
        assert row.count is not None
        assert estimate(spec, target, row.count, work).free == row.spare >= 0
        for smaller in spec.valid_tps(row.count - 1):
            assert not estimate(spec, target, smaller, work).fits


def test_the_page_is_the_one_the_code_writes() -> None:
    page = Path(__file__).parents[2] / "docs/gpus.md"
    assert page.read_text(encoding="utf-8") == render()
    assert len(README_COUNTS) == 8
