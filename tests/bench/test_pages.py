"""The page and the picture of the bench say what its files say, and the files agree."""

from __future__ import annotations

import csv
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from glm_rocm.bench import baseline
from glm_rocm.bench.cases import CASES

ROOT = Path(__file__).parents[2]
ARCHES = ("gfx942", "gfx950")


def rows(arch: str) -> list[dict[str, str]]:
    with (ROOT / "docs" / "bench" / f"{arch}.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_the_page_holds_the_tables_of_the_files(tmp_path: Path) -> None:
    made = tmp_path / "bench.md"
    subprocess.run([sys.executable, str(ROOT / "docs" / "make_bench.py"), str(made)], check=True)
    assert made.read_text(encoding="utf-8") == (ROOT / "docs" / "bench.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("arch", ARCHES)
def test_the_page_and_the_baseline_were_counted_of_the_same_kernels(arch: str) -> None:
    """Within what the baseline allows: below that, nobody has to count all cases anew."""
    path = ROOT / "ci" / "baselines" / f"{arch}.json"
    before = baseline.read(path, arch, [case.name for case in CASES])
    shown = {row["case"]: int(row["instructions"]) for row in rows(arch) if row["who"] == "ours"}
    assert list(shown) == [case.name for case in CASES]
    for name, instructions in shown.items():
        assert instructions == pytest.approx(before[name]["instructions"], rel=0.03), name


@pytest.mark.parametrize("arch", ARCHES)
def test_vllm_stands_beside_us_wherever_it_has_triton_kernels(arch: str) -> None:
    beside = {row["case"] for row in rows(arch) if row["who"] == "vllm"}
    assert beside == {case.name for case in CASES if case.op in ("attention", "moe")}


def test_the_roofline_draws_both_sides_of_its_cases_inside_the_frame() -> None:
    picture = ElementTree.parse(ROOT / "docs" / "img" / "roofline.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    width, height = (float(size) for size in picture.attrib["viewBox"].split()[2:])
    circles = picture.findall(f"{space}circle")
    assert len(circles) == 2 * 7 + 2, "seven cases, two sides, a legend"
    for circle in circles:
        assert 0 < float(circle.attrib["cx"]) < width
        assert 0 < float(circle.attrib["cy"]) < height
