"""The support table never says more than the results: what failed, was changed or did not run counts for nothing."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "docs" / "make_support.py"


@pytest.fixture(scope="module")
def support() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_support", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def result(cell: str = "gfx942-kernels-emulated", **change: Any) -> dict[str, Any]:
    found = {
        "cell": cell, "commit": "a" * 40, "changed": False, "date": "2026-11-24T00:00:00+00:00", "outcome": "passed",
        "reason": "", "counts": {"passed": 12, "failed": 0, "skipped": 3}, "ops": {"attention": {"bfloat16": 12}},
    }  # fmt: skip
    return found | change


def line(page: str, *starts: str) -> str:
    (found,) = (line for line in page.splitlines() if line.startswith("| " + " | ".join(starts) + " |"))
    return found


def test_a_passed_cell_counts_for_its_architecture_alone(support: ModuleType) -> None:
    page = support.page({"gfx942-kernels-emulated": result()})
    row = line(page, "attention", "bfloat16")
    assert "Triton: `emulated` (12)" in row
    assert "Triton: `emulated` (not run)" in row, "gfx950"
    assert "torch: `hardware` (not run)" in row, "the CPU"
    assert "| passed | 12, 3 skipped | aaaaaaaaaa | 2026-11-24 |" in line(page, "gfx942-kernels-emulated")


@pytest.mark.parametrize("outcome", ["failed", "not run"])
def test_a_cell_that_did_not_pass_counts_for_nothing(support: ModuleType, outcome: str) -> None:
    page = support.page({"gfx942-kernels-emulated": result(outcome=outcome, reason="it | broke")})
    assert "(12)" not in page
    assert f"| {outcome}: it / broke |" in line(page, "gfx942-kernels-emulated")


def test_another_proof_does_not_stand_for_the_declared_one(support: ModuleType) -> None:
    page = support.page({"gfx942-compiled": result("gfx942-compiled")})
    assert "(12)" not in line(page, "attention", "bfloat16")


def test_without_results_nothing_ran_and_each_line_names_its_command(support: ModuleType) -> None:
    page = support.page({})
    assert "passed |" not in page.replace("outcome | passed | commit", "")
    assert "`emulated` (not run)" in page
    assert "not run: `ci/cell.sh mi300x-8-vllm-fp8`" in line(page, "mi300x-8-vllm-fp8")


def test_results_of_a_changed_checkout_are_left_out(support: ModuleType, tmp_path: Path) -> None:
    for name, changed in (("emulator", True), ("cpu-kernels", False)):
        (tmp_path / f"{name}.json").write_text(json.dumps(result(name, changed=changed)))
    assert list(support.results(tmp_path)) == ["cpu-kernels"]
