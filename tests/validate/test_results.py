"""Figures against gates, reports against baselines, pages that people can read."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_rocm.errors import UsageError
from glm_rocm.validate.gates import GATES
from glm_rocm.validate.page import page
from glm_rocm.validate.results import Case, Report, check, regressions
from glm_rocm.validate.statistics import mcnemar, paired_interval

VOID = {"meta", "br"}


def case(measured: float, *, m: int = 1, stress: str = "plain") -> Case:
    checks = (check("finite", 0), check("same_bits.float8", measured, where="token 0 of 1"))
    return Case("ops", "linear", "rocm.linear", stress, "linear <192> -> 128", m, checks, evidence="emulated")


def report(*cases: Case) -> Report:
    return Report("pocket-glm", "gfx942", "emulated", ("ops",), "2026-01-01T00:00:00", {"torch": "2"}, cases)


def test_every_gate_has_a_source() -> None:
    assert all(gate.source and gate.what for gate in GATES.values())
    assert all(name == gate.name for name, gate in GATES.items())


@pytest.mark.parametrize("gate", GATES.values(), ids=lambda gate: gate.name)
def test_nan_meets_no_gate(gate: object) -> None:
    assert not check(gate.name, math.nan).passed  # type: ignore[attr-defined]


def test_a_report_without_cases_has_not_passed() -> None:
    assert not report().passed
    assert "nothing ran" in report().verdict()


def test_report_survives_json_with_nan_and_infinity(tmp_path: Path) -> None:
    made = report(case(1e-6), case(math.nan, m=2), case(math.inf, m=3))
    (tmp_path / "report.json").write_text(made.to_json())
    read = Report.read(tmp_path / "report.json")
    assert [one.passed for one in read.cases] == [True, False, False]
    assert read.cases[0] == made.cases[0]
    assert json.loads(made.to_json())["gates"]["same_bits.float8"]["source"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 1, "cases": 3}', "not json"])
def test_a_file_that_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(UsageError, match="no validation report"):
        Report.read(tmp_path / "report.json")


def test_a_report_of_another_schema_is_refused(tmp_path: Path) -> None:
    record = json.loads(report(case(0)).to_json())
    (tmp_path / "report.json").write_text(json.dumps(record | {"schema": 99}))
    with pytest.raises(UsageError, match="schema 99"):
        Report.read(tmp_path / "report.json")


def test_a_miss_and_a_figure_that_grew_are_regressions_and_noise_is_not() -> None:
    before = [case(1e-5), case(4e-4, m=2), case(1e-4, m=3), case(1e-9, m=4)]
    now = [case(2e-3), case(9.9e-4, m=2), case(1.5e-4, m=3), case(9e-9, m=4), case(2e-3, m=5)]
    assert [key[-1] for key in regressions(now, before)] == ["1", "2"]


def test_a_regression_fails_a_report_whose_gates_are_met() -> None:
    assert not replace(report(case(0)), regressions=("x",)).passed


class Balanced(HTMLParser):
    """Holds that every element is closed, in order, and that nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name in ("src", "href") for name, _ in attrs)
        assert all((value or "").startswith("#") for name, value in attrs if name == "xlink:href")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_works_offline_and_escapes() -> None:
    cases = [case(value, m=m) for m, value in ((1, 1e-6), (2, 0.0), (3, math.inf), (8192, 3e-4))]
    text = page(replace(report(*cases), regressions=("a<b",), baseline="old.json"))
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert "&lt;192&gt;" in text
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert pictures
    for picture in pictures:
        ElementTree.fromstring(picture)


def test_page_opens_the_first_failure_and_says_so_without_colour() -> None:
    text = page(report(case(1e-6), case(1.0, m=3), case(1.0, m=4)))
    assert text.count("<details open>") == 1
    assert "failed: 2 of 3 cases missed a gate" in text
    assert "missed</span>" in text


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_a_probability_symmetric_and_certain_of_nothing_without_change(lost: int, gained: int) -> None:
    p = mcnemar(lost, gained)
    assert 0 < p <= 1
    assert p == mcnemar(gained, lost)


@pytest.mark.parametrize(("lost", "gained", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (10, 2, 0.03857), (1, 1, 1.0)])
def test_mcnemar_by_hand(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost, gained) == pytest.approx(p, abs=1e-5)


@given(st.integers(1, 500), st.data())
def test_interval_holds_the_difference_that_was_seen(count: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, count))
    gained = data.draw(st.integers(0, count - lost))
    low, high = paired_interval(lost, gained, count)
    shrunk = (gained - lost) / (count + 2)
    assert low < shrunk < high
    assert high - low > 0, "no number of questions makes it certain"
